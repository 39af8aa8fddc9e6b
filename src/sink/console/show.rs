//! Tables of text as Spark's `Dataset.show` prints them.

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use arrow::error::ArrowError;

use super::render::Renderer;

/// A column is at least this wide.
const LEAST_WIDTH: usize = 3;

/// How a table is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Show {
    /// At most so many rows, from the first on.
    pub num_rows: usize,
    /// Values are cut to so many characters; 0: never. Cut values stand at the right of their
    /// column, whole ones at the left.
    pub truncate: usize,
    /// One line for each value instead of one for each row.
    pub vertical: bool,
}

impl Default for Show {
    /// `show()`: 20 rows, cut to 20 characters.
    fn default() -> Self {
        Self { num_rows: 20, truncate: 20, vertical: false }
    }
}

/// The rows of `batches` as text, to be printed with a line break behind it: a whole table then ends
/// with an empty line, as Spark's do. All batches must have the columns of `schema`.
///
/// # Errors
/// If Arrow cannot bring a column into a plain form.
pub fn show(schema: &Schema, batches: &[RecordBatch], how: &Show) -> Result<String, ArrowError> {
    let header: Vec<String> = schema.fields().iter().map(|f| escape(f.name())).collect();
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut more = false;
    'batches: for batch in batches {
        let left = how.num_rows - rows.len();
        more |= batch.num_rows() > left;
        let batch = batch.slice(0, batch.num_rows().min(left));
        let columns =
            batch.columns().iter().map(Renderer::new).collect::<Result<Vec<_>, ArrowError>>()?;
        for row in 0..batch.num_rows() {
            rows.push(columns.iter().map(|column| cell(column, row, how.truncate)).collect());
        }
        if more {
            break 'batches;
        }
    }
    let mut out = String::new();
    if how.vertical {
        vertical(&header, &rows, &mut out)
    } else {
        table(&header, &rows, how, &mut out)
    }
    if how.vertical && rows.is_empty() {
        out.push_str("(0 rows)\n");
    } else if more {
        let word = if how.num_rows == 1 { "row" } else { "rows" };
        // Spark 4 has no line break here, and Spark 3 had one.
        out.push_str(&format!("only showing top {} {word}", how.num_rows));
    }
    Ok(out)
}

fn cell(column: &Renderer, row: usize, truncate: usize) -> String {
    let mut text = String::new();
    column.write(row, &mut text);
    cut(escape(&text), truncate)
}

/// Characters that would break the table, as Spark writes them.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            '\t' => escaped.push_str("\\t"),
            '\u{c}' => escaped.push_str("\\f"),
            '\u{8}' => escaped.push_str("\\b"),
            '\u{b}' => escaped.push_str("\\v"),
            '\u{7}' => escaped.push_str("\\a"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// Spark counts in UTF-16 code units, so that an emoji is two characters. It may cut one in half;
/// what is left of it is printed as `?`.
fn cut(text: String, truncate: usize) -> String {
    if truncate == 0 || units(&text) <= truncate {
        return text;
    }
    let (keep, ellipsis) = if truncate < 4 { (truncate, "") } else { (truncate - 3, "...") };
    let mut kept = 0;
    let mut short = String::new();
    for character in text.chars() {
        kept += character.len_utf16();
        if kept > keep {
            if kept == keep + 1 && character.len_utf16() == 2 {
                short.push('?');
            }
            break;
        }
        short.push(character);
    }
    short.push_str(ellipsis);
    short
}

fn units(text: &str) -> usize {
    text.chars().map(char::len_utf16).sum()
}

/// Columns of a terminal that a text takes, by Spark's reckoning: characters of East Asian width
/// take two.
fn width(text: &str) -> usize {
    let wide = text.chars().filter(|character| {
        matches!(*character,
            '\u{1100}'..='\u{115F}' | '\u{2E80}'..='\u{A4CF}' | '\u{AC00}'..='\u{D7A3}'
            | '\u{F900}'..='\u{FAFF}' | '\u{FE10}'..='\u{FE19}' | '\u{FE30}'..='\u{FE6F}'
            | '\u{FF00}'..='\u{FF60}' | '\u{FFE0}'..='\u{FFE6}')
    });
    units(text) + wide.count()
}

fn pad(text: &str, to: usize, left: bool, out: &mut String) {
    let spaces = std::iter::repeat_n(' ', to.saturating_sub(width(text)));
    if left {
        out.extend(spaces);
        out.push_str(text);
    } else {
        out.push_str(text);
        out.extend(spaces);
    }
}

fn table(header: &[String], rows: &[Vec<String>], how: &Show, out: &mut String) {
    let mut widths = vec![LEAST_WIDTH; header.len()];
    for row in std::iter::once(header).chain(rows.iter().map(Vec::as_slice)) {
        for (place, cell) in row.iter().enumerate() {
            widths[place] = widths[place].max(width(cell));
        }
    }
    let rule = format!(
        "+{}+\n",
        widths.iter().map(|width| "-".repeat(*width)).collect::<Vec<_>>().join("+")
    );
    let line = |row: &[String], out: &mut String| {
        out.push('|');
        for (place, (cell, width)) in row.iter().zip(&widths).enumerate() {
            if place > 0 {
                out.push('|');
            }
            pad(cell, *width, how.truncate > 0, out);
        }
        out.push_str("|\n");
    };
    out.push_str(&rule);
    line(header, out);
    out.push_str(&rule);
    for row in rows {
        line(row, out);
    }
    out.push_str(&rule);
}

fn vertical(header: &[String], rows: &[Vec<String>], out: &mut String) {
    let widest = |cells: &mut dyn Iterator<Item = &String>| {
        cells.map(|cell| width(cell)).max().unwrap_or(0).max(LEAST_WIDTH)
    };
    let names = widest(&mut header.iter());
    let values = widest(&mut rows.iter().flatten());
    for (number, row) in rows.iter().enumerate() {
        let title = format!("-RECORD {number}");
        out.push_str(&title);
        // Five more for the blanks and the bar around name and value.
        out.extend(std::iter::repeat_n('-', (names + values + 5).saturating_sub(title.len())));
        out.push('\n');
        for (name, value) in header.iter().zip(row) {
            out.push(' ');
            pad(name, names, false, out);
            out.push_str(" | ");
            pad(value, values, false, out);
            out.push_str(" \n");
        }
    }
}
