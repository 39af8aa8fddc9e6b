//! What tests came to, for people and for programs.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use super::check::{Failure, TestResult};
use crate::config::After;
use crate::trial::{ComparedRow, Comparison, Side};

/// A column wider than this is not filled up to its width.
const WIDEST: usize = 60;

/// Colours, where they are seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Style {
    coloured: bool,
}

impl Style {
    /// Of an output that is a terminal or not.
    pub(super) fn of(terminal: bool) -> Self {
        let asked_not_to = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { coloured: terminal && !asked_not_to }
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.coloured { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

const GREEN: &str = "32";
const RED: &str = "31";
const STRONG_GREEN: &str = "1;32";
const STRONG_RED: &str = "1;31";

/// A line, and below it what was not as expected.
pub(super) fn as_text(result: &TestResult, style: Style) -> String {
    let took = milliseconds(result.took);
    if result.failures.is_empty() {
        return format!("{}      {} ({took:.1} ms)\n", style.paint(GREEN, "ok"), result.name);
    }
    let mut text = format!("{}  {} ({took:.1} ms)\n", style.paint(RED, "FAILED"), result.name);
    for failure in &result.failures {
        text += &failure_as_text(failure, &result.query, style);
    }
    text
}

fn failure_as_text(failure: &Failure, query: &str, style: Style) -> String {
    let after = match failure.after {
        After::Batch(batch) => format!("after batch {batch}"),
        After::End => "at the end".to_owned(),
    };
    let mut text = format!("  {query} {after}, {}:{}\n", failure.file, failure.line);
    if let Some(rows) = &failure.rows {
        text += "    - expected, + got\n";
        text += &table(rows, style);
    }
    for (what, expected, got) in &failure.counts {
        text += &format!("    {what}: expected {expected}, got {got}\n");
    }
    for note in &failure.notes {
        text += &format!("    ({note})\n");
    }
    text
}

/// Rows below each other, one column below the other.
fn table(rows: &Comparison, style: Style) -> String {
    let width = |column: usize| {
        let cells = rows.rows.iter().map(|row| row.cells[column].chars().count());
        let widest = cells.chain([rows.columns[column].chars().count()]).max().unwrap_or(0);
        widest.min(WIDEST)
    };
    let widths: Vec<usize> = (0..rows.columns.len()).map(width).collect();
    let mut text = String::new();
    let header: Vec<String> = rows.columns.iter().map(|name| one_line(name)).collect();
    // Writing to a String cannot fail.
    let _ = writeln!(text, "      {}", line(&header, &widths, |_, cell| cell.to_owned()));
    if rows.rows.is_empty() {
        text += "      (no rows)\n";
    }
    for row in &rows.rows {
        let (mark, plain, strong) = match row.side {
            Side::Both => (' ', None, None),
            Side::Expected => ('-', Some(RED), Some(STRONG_RED)),
            Side::Got => ('+', Some(GREEN), Some(STRONG_GREEN)),
        };
        let cells = row_cells(row);
        let cells = line(&cells, &widths, |column, cell| {
            let code = if row.differs.contains(&column) { strong } else { plain };
            code.map_or_else(|| cell.to_owned(), |code| style.paint(code, cell))
        });
        let mark = mark.to_string();
        let mark = plain.map_or_else(|| mark.clone(), |code| style.paint(code, &mark));
        let _ = writeln!(text, "    {mark} {cells}");
    }
    text
}

fn row_cells(row: &ComparedRow) -> Vec<String> {
    row.cells.iter().map(|cell| one_line(cell)).collect()
}

/// Control characters as escapes, so that a row stays a row.
fn one_line(text: &str) -> String {
    if text.chars().any(char::is_control) {
        text.chars()
            .flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] })
            .collect()
    } else {
        text.to_owned()
    }
}

fn line(cells: &[String], widths: &[usize], paint: impl Fn(usize, &str) -> String) -> String {
    let mut text = String::new();
    for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
        if column > 0 {
            text += " | ";
        }
        text += &paint(column, cell);
        if column + 1 < cells.len() {
            let missing = width.saturating_sub(cell.chars().count());
            text.extend(std::iter::repeat_n(' ', missing));
        }
    }
    text.trim_end_matches(' ').to_owned()
}

/// One line for all tests.
pub(super) fn summary(name: &str, results: &[TestResult], took: Duration) -> String {
    if results.is_empty() {
        return format!("{name}: no [[tests]]");
    }
    let failed = results.iter().filter(|result| !result.failures.is_empty()).count();
    let tests = if results.len() == 1 { "test" } else { "tests" };
    let what = match failed {
        0 => "all passed".to_owned(),
        _ => format!("{failed} FAILED, {} passed", results.len() - failed),
    };
    format!("{name}: {} {tests}, {what} ({:.1} ms)", results.len(), milliseconds(took))
}

/// Everything, for programs.
pub(super) fn as_json(name: &str, results: &[TestResult], took: Duration) -> Value {
    let failed = results.iter().filter(|result| !result.failures.is_empty()).count();
    let tests = results.iter().map(|result| {
        json!({
            "name": result.name,
            "query": result.query,
            "passed": result.failures.is_empty(),
            "milliseconds": milliseconds(result.took),
            "failures": result.failures.iter().map(failure_as_json).collect::<Vec<_>>(),
        })
    });
    json!({
        "name": name,
        "tests": tests.collect::<Vec<_>>(),
        "passed": results.len() - failed,
        "failed": failed,
        "milliseconds": milliseconds(took),
    })
}

fn failure_as_json(failure: &Failure) -> Value {
    let row = |row: &ComparedRow| {
        let side = match row.side {
            Side::Both => "both",
            Side::Expected => "expected",
            Side::Got => "got",
        };
        json!({ "in": side, "cells": row.cells })
    };
    let rows = failure.rows.as_ref().map(|rows| {
        json!({
            "columns": rows.columns,
            "rows": rows.rows.iter().map(row).collect::<Vec<_>>(),
        })
    });
    let counts = failure
        .counts
        .iter()
        .map(|(what, expected, got)| json!({ "what": what, "expected": expected, "got": got }));
    json!({
        "file": failure.file,
        "line": failure.line,
        "after": failure.after,
        "rows": rows,
        "counts": counts.collect::<Vec<_>>(),
        "notes": failure.notes,
    })
}

fn milliseconds(took: Duration) -> f64 {
    took.as_secs_f64() * 1_000.0
}
