//! The keys of a sink of `type = "kafka"`.

use std::time::Duration;

use super::super::diagnostics::ConfigError;
use super::super::document::Value;
use super::super::format::registry;
use super::super::model::{KafkaHeaders, KafkaSinkSettings, KafkaValue};
use super::super::section::Section;
use super::super::source::{Client, brokers, is_topic, options};
use super::super::values::{COLUMN, COLUMNS};

pub(super) fn read(section: &Section<'_>) -> Option<KafkaSinkSettings> {
    let brokers = brokers(section);
    let topic = topic(section);
    let topic_column = section.text("topic_column", COLUMN);
    let key = key(section);
    let headers = match either(section, "headers", "headers_column") {
        Some(false) => section.text("headers_column", COLUMN).map(KafkaHeaders::Column),
        _ => Some(KafkaHeaders::Columns(section.columns("headers", COLUMNS))),
    };
    let value = value(section);
    let partition_column = section.text("partition_column", COLUMN);
    let timestamp_column = section.text("timestamp_column", COLUMN);
    let tombstone_column = section.text("tombstone_column", COLUMN);
    let second = Duration::from_secs(1);
    let transaction_timeout =
        section.duration("transaction_timeout", 60 * second, second, 900 * second);
    let options = options(&section.section("options"), Client::Producer);
    Some(KafkaSinkSettings {
        brokers: brokers?,
        topic: topic?,
        topic_column,
        key,
        headers: headers?,
        value: value?,
        partition_column,
        timestamp_column,
        tombstone_column,
        transaction_timeout,
        options,
    })
}

/// `key` or `key_column`, which mean the same: `key` is what other sinks have, `key_column` goes
/// with the other columns of a record.
fn key(section: &Section<'_>) -> Option<String> {
    let name = if either(section, "key", "key_column")? { "key" } else { "key_column" };
    if let Some(entry) = section.entry(name)
        && let Value::Array(items) = &entry.node.value
        && items.len() != 1
    {
        let help = "make one of them in the query: to_json(struct(a, b)) AS key".to_owned();
        let message = match items.len() {
            0 => "this array is empty".to_owned(),
            several => format!("{several} columns are given"),
        };
        let error = ConfigError::new(message)
            .expected("one column")
            .help((items.len() > 1).then_some(help));
        section.report(name, &entry.node.at, error);
        return None;
    }
    section.columns(name, COLUMN).pop()
}

/// Whether the first or the second of two keys is there; both are one too many.
fn either(section: &Section<'_>, first: &'static str, second: &'static str) -> Option<bool> {
    match (section.has(first), section.has(second)) {
        (true, true) => {
            let message = format!("is given beside `{first}`");
            section.forbid(&[second], &message, "one of them");
            Some(true)
        }
        (true, false) => Some(true),
        (false, true) => Some(false),
        (false, false) => None,
    }
}

fn topic(section: &Section<'_>) -> Option<String> {
    const TOPIC: &str = "the name of a topic: letters, digits, `.`, `_` and `-`";
    let found = section.required("topic", TOPIC, "\"alerts\"")?;
    if !found.unresolved && !is_topic(found.text) {
        section.reject("topic", found.node, TOPIC, None);
        return None;
    }
    Some(found.text.to_owned())
}

fn value(section: &Section<'_>) -> Option<KafkaValue> {
    const VALUE: &str = "`json`, `avro` or { column = \"value\" }";
    let avro = match section.entry("value") {
        None => false,
        Some(entry) if entry.node.as_table().is_some() => {
            let table = section.section("value");
            let column = table.required("column", COLUMN, "\"value\"");
            table.finish();
            avro_only(section);
            return column.map(|column| KafkaValue::Column(column.text.to_owned()));
        }
        Some(entry) => {
            let choices = [("json", false), ("avro", true)];
            let refused = [("raw", "name the column that holds it: { column = \"value\" }")];
            section.choose_of("value", &entry.node, &choices, &refused, VALUE)?
        }
    };
    if !avro {
        avro_only(section);
        return Some(KafkaValue::Json);
    }
    let subject = section.text("subject", "the name of a subject of the registry");
    if !section.has("registry") {
        section.missing("registry", "{ url = \"http://localhost:8081\" }");
    }
    Some(KafkaValue::Avro { registry: registry(section)?, subject })
}

fn avro_only(section: &Section<'_>) {
    for key in ["registry", "subject"] {
        if let Some(entry) = section.entry(key) {
            let error = ConfigError::new(format!("`{key}` has no effect: values are not Avro"))
                .expected(format!("`value = \"avro\"`, or no `{key}`"));
            section.report(key, &entry.key_at, error);
        }
    }
}
