//! `[tables.NAME]`: reading it.

use std::time::Duration;

use super::format;
use super::model::{TableKind, TableSettings};
use super::names::check_name;
use super::section::Section;
use super::sink::delta_path;
use super::source::{DAY, files_path, schema};
use super::storage;
use super::text::TextLocation;

#[derive(Clone, Copy)]
enum Kind {
    Delta,
    Parquet,
    Csv,
    Json,
}

/// Only what has errors comes back as nothing.
pub(crate) fn read(name: &str, section: &Section<'_>) -> Option<TableSettings> {
    check_name(section, name, "table");
    let Some(entry) = section.entry("type") else {
        section.missing("type", "\"delta\", \"parquet\", \"csv\" or \"json\"");
        return None;
    };
    let choices = [
        ("delta", Kind::Delta),
        ("parquet", Kind::Parquet),
        ("csv", Kind::Csv),
        ("json", Kind::Json),
    ];
    let refused = [
        ("ndjson", "write \"json\": a line is a row"),
        ("files", "write the format: \"parquet\", \"csv\" or \"json\""),
        ("kafka", "a topic is a stream: write it as [sources.NAME]"),
        ("postgres", "write the rows to a Delta table, or to files"),
    ];
    let kind = section.choose("type", &entry.node, &choices, &refused)?;
    let path = match kind {
        Kind::Delta => {
            if !section.has("path") {
                section.missing("path", "\"./data/products\"");
            }
            delta_path(section)
        }
        Kind::Parquet => files_path(section, "\"./products.parquet\""),
        Kind::Csv => files_path(section, "\"./products.csv\""),
        Kind::Json => files_path(section, "\"./products.json\""),
    };
    let storage = match kind {
        Kind::Delta => storage::of_table(section),
        Kind::Parquet | Kind::Csv | Kind::Json => Default::default(),
    };
    let declared = schema(section, matches!(kind, Kind::Csv | Kind::Json));
    let refresh = section
        .duration_or("refresh", &["never"], Duration::from_millis(100), 365 * DAY)
        .unwrap_or(Some(Duration::from_secs(30)));
    let kind = match kind {
        Kind::Delta => TableKind::Delta,
        Kind::Parquet => TableKind::Parquet,
        Kind::Csv => {
            let section = section.section("format");
            let kind = TableKind::Csv(format::csv(&section, true));
            section.finish();
            kind
        }
        Kind::Json => {
            let section = section.section("format");
            let kind = TableKind::Json(format::json(&section));
            section.finish();
            kind
        }
    };
    section.finish();
    let (schema_text, schema_location) = match declared? {
        Some((text, location)) => (Some(text), location),
        None => {
            let header = &section.header;
            (None, TextLocation::new(header.source(), vec![header.span().start]))
        }
    };
    Some(TableSettings {
        name: name.to_owned(),
        kind,
        path: path?,
        storage,
        schema_text,
        schema_location,
        refresh,
        location: section.header.clone(),
    })
}
