//! Errors and times as people read them.

use std::time::Duration;

use crate::lakesql::LakeSqlError;

/// Longer lines of a statement are shown around the place that matters.
const WIDEST: usize = 100;

/// Says what is wrong, with the line of the statement that it is about.
pub(super) fn print_error(error: &LakeSqlError, text: &str) {
    eprint!("{}", shown(error, text));
}

/// As the configuration's errors are shown: the message, the place, what would be right.
pub(super) fn shown(error: &LakeSqlError, text: &str) -> String {
    let mut out = format!("error: {}\n", error.message());
    if let Some((line, column)) = error.location()
        && let Some(source) = text.lines().nth(line - 1)
    {
        let (source, column) = around(source, column);
        let number = line.to_string();
        let margin = " ".repeat(number.len());
        out += &format!(
            "{margin}--> line {line}, column {column}\n",
            column = error.location().map_or(column, |at| at.1)
        );
        out +=
            &format!("{margin} |\n{number} | {source}\n{margin} | {}^\n", " ".repeat(column - 1));
    }
    if let Some(hint) = error.hint() {
        out += &format!("  = help: {hint}\n");
    }
    out
}

/// A part of a line with the column in it, and where that is now. Tabs become blanks.
fn around(source: &str, column: usize) -> (String, usize) {
    let characters: Vec<char> =
        source.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if characters.len() <= WIDEST {
        return (characters.iter().collect(), column);
    }
    let start = column.saturating_sub(WIDEST / 2).min(characters.len().saturating_sub(WIDEST));
    let end = (start + WIDEST).min(characters.len());
    (characters[start..end].iter().collect(), (column - start).max(1))
}

/// A time in the unit that suits it.
pub(super) fn took(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds < 1.0 {
        format!("{:.0} ms", seconds * 1_000.0)
    } else if seconds < 100.0 {
        format!("{seconds:.2} s")
    } else {
        let whole = duration.as_secs();
        format!("{} min {} s", whole / 60, whole % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::SqlError;

    #[test]
    fn an_error_points_at_its_place() {
        let error = SqlError {
            message: "unknown column 'endpiont'".into(),
            hint: Some("did you mean 'endpoint'?".into()),
            location: Some((2, 3)),
        };
        let text = shown(&LakeSqlError::Sql(error), "SELECT\n\tendpiont\nFROM t");
        let expected = "\
error: unknown column 'endpiont'
 --> line 2, column 3
  |
2 |  endpiont
  |   ^
  = help: did you mean 'endpoint'?
";
        assert_eq!(text, expected);
    }

    #[test]
    fn long_lines_are_cut_around_the_place() {
        let line = "x".repeat(500);
        let (shown, column) = around(&line, 300);
        assert_eq!((shown.len(), column), (WIDEST, 50));
        let (shown, column) = around(&line, 500);
        assert_eq!((shown.len(), column), (WIDEST, 100));
        assert_eq!(around(&line, 1).1, 1);
    }

    #[test]
    fn times_have_a_unit_that_suits_them() {
        assert_eq!(took(Duration::from_millis(12)), "12 ms");
        assert_eq!(took(Duration::from_millis(1_234)), "1.23 s");
        assert_eq!(took(Duration::from_secs(125)), "2 min 5 s");
    }
}
