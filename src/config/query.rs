//! `[queries.NAME]`: reading it.

use super::diagnostics::ConfigError;
use super::document::{Node, Value};
use super::model::{OutputMode, QuerySettings, SinkSettings};
use super::names::check_name;
use super::section::Section;
use super::sink::read_delta;
use super::text::TextLocation;

const ONLY_APPEND: &str =
    "not supported yet: rows go to an append-only table, once, when their window has closed";

/// Only what has errors comes back as nothing.
pub(crate) fn read(name: &str, section: &Section<'_>) -> Option<QuerySettings> {
    check_name(section, name, "query");
    let sql = section.required("sql", "a SELECT statement", "'''SELECT … FROM …'''");
    let mode = section.choice(
        "mode",
        &[("append", OutputMode::Append)],
        &[("update", ONLY_APPEND), ("complete", ONLY_APPEND)],
        OutputMode::Append,
    );
    let sinks = sinks(section);
    section.finish();
    let sql = sql?;
    Some(QuerySettings {
        name: name.to_owned(),
        sql: sql.text.to_owned(),
        sql_location: TextLocation::new(sql.node.at.source(), sql.offsets()),
        mode,
        sinks: sinks?,
        location: section.header.clone(),
    })
}

/// `[queries.NAME.sink]`, or one `[[queries.NAME.sinks]]`.
fn sinks(section: &Section<'_>) -> Option<Vec<SinkSettings>> {
    let one = section.entry("sink");
    let many = section.entry("sinks");
    if let (Some(_), Some(many)) = (one, many) {
        let error = ConfigError::new("both `sink` and `sinks` are given").expected("one of them");
        section.report("sinks", &many.key_at, error);
        return None;
    }
    let Some(many) = many else {
        if one.is_none() {
            section.missing("sink", "{ type = \"delta\", path = \"…\" }");
            return None;
        }
        return Some(vec![sink(&section.section("sink"))?]);
    };
    let group = section.section_of_array("sinks");
    let items: &[Node] = match &many.node.value {
        Value::Array(items) => items,
        _ => {
            section.reject("sinks", &many.node, "an array of tables: [[queries.NAME.sinks]]", None);
            return None;
        }
    };
    if items.len() != 1 {
        let at = items.get(1).map_or(&many.node.at, |item| &item.at);
        let error = ConfigError::new(format!("{} sinks are given", items.len()))
            .expected("exactly one sink")
            .help("write another query for another table; the source is read once".to_owned());
        section.report("sinks", at, error);
        return None;
    }
    let mut sinks = Vec::new();
    for item in items {
        let Some(table) = item.as_table() else {
            section.reject("sinks", item, "a table", None);
            return None;
        };
        sinks.push(sink(&group.over(table, item.at.clone()))?);
    }
    Some(sinks)
}

fn sink(section: &Section<'_>) -> Option<SinkSettings> {
    const LATER: &str = "rows can only go to Delta tables so far";
    if !section.has("type") {
        section.missing("type", "\"delta\"");
    }
    let refused = [
        ("kafka", LATER),
        ("console", LATER),
        ("files", LATER),
        ("parquet", LATER),
        ("postgres", LATER),
        ("memory", LATER),
    ];
    section.choice("type", &[("delta", ())], &refused, ());
    read_delta(section, None).map(SinkSettings::Delta)
}
