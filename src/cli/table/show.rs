//! Results for people: tables that align, sizes that can be read.

use chrono::{DateTime, SecondsFormat, Utc};
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table};
use serde::Serialize;
use serde_json::{Map, Value};

use super::TableError;

/// A table without lines: columns, and rows of as many cells. Columns of numbers are aligned to the
/// right.
pub fn table(columns: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_preset(comfy_table::presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Disabled);
    let number = |column: usize| {
        !rows.is_empty()
            && rows.iter().all(|row| {
                row.get(column).is_some_and(|cell| {
                    cell.chars().next().is_none_or(|first| first.is_ascii_digit())
                        && !cell.contains('-')
                        && !cell.contains('/')
                })
            })
    };
    let right: Vec<bool> = (0..columns.len()).map(number).collect();
    let cell = |column: usize, text: &str| {
        let cell = Cell::new(text);
        if right[column] { cell.set_alignment(CellAlignment::Right) } else { cell }
    };
    table.set_header(columns.iter().enumerate().map(|(i, name)| cell(i, name)));
    for row in &rows {
        table.add_row(row.iter().enumerate().map(|(i, text)| cell(i.min(columns.len() - 1), text)));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let text = table.to_string();
    text.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// Names and values below each other.
pub fn pairs(pairs: &[(&str, String)]) -> String {
    let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    pairs
        .iter()
        .flat_map(|(name, value)| {
            let mut lines = value.lines();
            let first = format!("{name:<width$}  {}", lines.next().unwrap_or_default());
            let rest: Vec<String> = lines.map(|line| format!("{:width$}  {line}", "")).collect();
            std::iter::once(first).chain(rest)
        })
        .map(|line| format!("{}\n", line.trim_end()))
        .collect()
}

/// `12.3 MiB`.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// `2026-11-21 10:00:00.123`, in UTC.
pub fn time(time: Option<DateTime<Utc>>) -> String {
    time.map_or_else(String::new, |time| {
        let text = time.to_rfc3339_opts(SecondsFormat::Millis, true);
        text.replace('T', " ").trim_end_matches('Z').to_owned()
    })
}

/// The members of an object in one line, those with something in them.
pub fn members(map: &Map<String, Value>) -> String {
    let shown = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let members: Vec<String> = map
        .iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| (name, shown(value)))
        .filter(|(_, text)| !text.is_empty() && text != "[]" && text != "{}")
        .map(|(name, text)| format!("{name}={text}"))
        .collect();
    members.join(" ")
}

/// Prints a result as JSON.
pub fn json(result: &impl Serialize) -> Result<(), TableError> {
    let text = serde_json::to_string_pretty(result);
    println!("{}", text.map_err(|error| TableError::Process(error.to_string()))?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_well() {
        for (size, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1_048_575, "1.0 MiB"),
            (134_217_728, "128.0 MiB"),
            (u64::MAX, "16384.0 PiB"),
        ] {
            assert_eq!(bytes(size), text);
        }
    }

    #[test]
    fn columns_align_and_numbers_are_to_the_right() {
        let rows = vec![vec!["9".into(), "WRITE".into()], vec!["10".into(), "a".into()]];
        assert_eq!(
            table(&["version", "operation"], rows),
            "\
version  operation
      9  WRITE
     10  a
"
        );
        assert_eq!(table(&["path"], Vec::new()), "path\n");
        assert_eq!(
            pairs(&[("a", "1\n2".into()), ("long", "x".into())]),
            "a     1\n      2\nlong  x\n"
        );
    }
}
