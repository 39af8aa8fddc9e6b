//! `millpond table list`: which tables there are.

use std::process::ExitCode;

use chrono::{DateTime, SecondsFormat, Utc};
use comfy_table::{CellAlignment, Table, presets};
use futures::StreamExt as _;
use serde_json::{Value, json};

use super::super::catalog::CatalogArgs;
use super::super::{FAILED, OK, USAGE};
use crate::catalog::TableEntry;
use crate::lakesql::{LakeSqlError, Overview, overview};

const EXAMPLES: &str = "\
Examples:
  millpond table list --config config/weblogs.toml
  millpond table list --config config/weblogs.toml --json | jq -r '.[].name'

A table that has not been written yet is listed as `not there yet`. Exit status: 0, or 1 if a
table is there and cannot be read.";

/// Tables that are looked at at a time.
const PARALLEL: usize = 8;

/// List the tables of a configuration: version, rows, files, size, last commit
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct ListArgs {
    #[command(flatten)]
    catalog: CatalogArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

type Looked = Result<Option<Overview>, LakeSqlError>;

/// Runs the subcommand.
pub fn execute(args: ListArgs) -> anyhow::Result<ExitCode> {
    let Some(settings) = (match args.catalog.settings() {
        Ok(settings) => settings,
        Err(status) => return Ok(status),
    }) else {
        eprintln!(
            "error: no configuration is given\n  = expected: --config FILE, or MILLPOND_CONFIG in \
             the environment"
        );
        return Ok(ExitCode::from(USAGE));
    };
    let catalog = crate::catalog::Catalog::of(&settings);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let looked: Vec<Looked> = runtime.block_on(
        futures::stream::iter(catalog.tables()).map(overview).buffered(PARALLEL).collect(),
    );
    let failed = looked.iter().any(Result::is_err);
    let tables: Vec<(&TableEntry, Looked)> = catalog.tables().iter().zip(looked).collect();
    if args.json {
        println!("{:#}", as_json(&tables));
    } else {
        print!("{}", as_text(&tables, Utc::now()));
    }
    for (entry, looked) in &tables {
        if let Err(error) = looked {
            eprintln!("error: {}: {error}", entry.name);
        }
    }
    Ok(ExitCode::from(if failed { FAILED } else { OK }))
}

fn as_text(tables: &[(&TableEntry, Looked)], now: DateTime<Utc>) -> String {
    let mut text = Table::new();
    text.load_preset(presets::NOTHING);
    text.set_header([
        "TABLE",
        "VERSION",
        "ROWS",
        "FILES",
        "SIZE",
        "LAST COMMIT",
        "WRITTEN BY",
        "LOCATION",
    ]);
    for (entry, looked) in tables {
        let by = entry.written_by.clone().unwrap_or_else(|| match entry.kind {
            crate::catalog::TableKind::Static | crate::catalog::TableKind::Source => {
                format!("(a {})", entry.kind.words())
            }
            kind => kind.words().to_owned(),
        });
        let mut row = vec![entry.name.to_string()];
        match looked {
            Ok(Some(overview)) => row.extend([
                overview.version.to_string(),
                overview.rows.map_or_else(|| "?".to_owned(), grouped),
                grouped(overview.files),
                size(overview.bytes),
                overview.last_commit.map_or_else(|| "?".to_owned(), |at| ago(at, now)),
            ]),
            Ok(None) => row.extend(["-", "-", "-", "-", "not there yet"].map(str::to_owned)),
            Err(_) => row.extend(["?", "?", "?", "?", "unreadable"].map(str::to_owned)),
        }
        row.extend([by, entry.location.uri().to_owned()]);
        text.add_row(row);
    }
    for column in 1..=4 {
        if let Some(column) = text.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let lines: Vec<String> =
        text.to_string().lines().map(|line| format!("{}\n", line.trim())).collect();
    lines.concat()
}

fn as_json(tables: &[(&TableEntry, Looked)]) -> Value {
    let tables = tables.iter().map(|(entry, looked)| {
        let overview = looked.as_ref().ok().and_then(Option::as_ref);
        json!({
            "name": entry.name,
            "kind": entry.kind,
            "writtenBy": entry.written_by,
            "location": entry.location.uri(),
            "exists": overview.is_some(),
            "version": overview.map(|o| o.version),
            "numRows": overview.and_then(|o| o.rows),
            "numFiles": overview.map(|o| o.files),
            "sizeInBytes": overview.map(|o| o.bytes),
            "lastCommit": overview.and_then(|o| o.last_commit)
                .map(|at| at.to_rfc3339_opts(SecondsFormat::Millis, true)),
            "error": looked.as_ref().err().map(ToString::to_string),
        })
    });
    Value::from(tables.collect::<Vec<_>>())
}

/// A number with its thousands apart.
pub(in crate::cli) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes in the largest unit that leaves a whole part.
pub(in crate::cli) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// How long ago, in one unit.
fn ago(at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    let seconds = (now - at).num_seconds();
    match seconds {
        ..0 => "in the future".to_owned(),
        0..60 => format!("{seconds} s ago"),
        60..3600 => format!("{} min ago", seconds / 60),
        3600..172_800 => format!("{} h ago", seconds / 3600),
        _ => format!("{} d ago", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_easy_to_read() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0, 1023, 1024, 3 << 30].map(size), ["0 B", "1023 B", "1.0 KiB", "3.0 GiB"]);
        let now = DateTime::from_timestamp(1_000_000, 0).unwrap();
        let at = |seconds| ago(now - chrono::Duration::seconds(seconds), now);
        assert_eq!(
            [0, 59, 60, 7_200, 259_200].map(at),
            ["0 s ago", "59 s ago", "1 min ago", "2 h ago", "3 d ago"]
        );
        assert_eq!(at(-5), "in the future");
    }
}
