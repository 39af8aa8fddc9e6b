//! The keys of a sink of `type = "kafka"`.

use std::time::Duration;

use super::super::diagnostics::ConfigError;
use super::super::format::{TIMESTAMPS, registry};
use super::super::model::{
    KafkaHeaders, KafkaKey, KafkaSinkSettings, KafkaTopic, KafkaValue, TimestampSetting,
};
use super::super::section::Section;
use super::super::source::{Client, brokers, is_topic, options};
use super::super::values::{COLUMN, COLUMNS};

pub(super) fn read(section: &Section<'_>) -> Option<KafkaSinkSettings> {
    let brokers = brokers(section);
    let topic = topic(section);
    let key = either(section, "key", "key_column");
    let key = match key {
        Some(true) => match section.some_columns("key", COLUMNS).as_slice() {
            [one] => KafkaKey::Column(one.clone()),
            several => KafkaKey::Columns(several.to_vec()),
        },
        Some(false) => section.text("key_column", COLUMN).map_or(KafkaKey::None, KafkaKey::Column),
        None => KafkaKey::None,
    };
    let headers = match either(section, "headers", "headers_column") {
        Some(false) => section.text("headers_column", COLUMN).map(KafkaHeaders::Column),
        _ => Some(KafkaHeaders::Columns(section.columns("headers", COLUMNS))),
    };
    let value = value(section, topic.as_ref());
    let timestamps = section.choice("timestamps", TIMESTAMPS, &[], TimestampSetting::Auto);
    if let Some(value) = &value
        && *value != KafkaValue::Json
    {
        let message = "has no effect: it is about values in JSON";
        section.forbid(&["timestamps"], message, "`value = \"json\"`, or no `timestamps`");
    }
    let timestamp_column = section.text("timestamp_column", COLUMN);
    let partition_column = section.text("partition_column", COLUMN);
    let tombstone_column = section.text("tombstone_column", COLUMN);
    let second = Duration::from_secs(1);
    let transaction_timeout =
        section.duration("transaction_timeout", 60 * second, second, 900 * second);
    let transactional_id = section.text("transactional_id", "the name of a transactional producer");
    let options = options(&section.section("options"), Client::Producer);
    Some(KafkaSinkSettings {
        brokers: brokers?,
        topic: topic?,
        key,
        headers: headers?,
        value: value?,
        timestamps,
        timestamp_column,
        partition_column,
        tombstone_column,
        transaction_timeout,
        transactional_id,
        options,
    })
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

fn topic(section: &Section<'_>) -> Option<KafkaTopic> {
    const TOPIC: &str = "the name of a topic: letters, digits, `.`, `_` and `-`";
    let keys = [("topic", "\"alerts\""), ("topic_column", "\"topic\"")];
    if section.one_of(&keys)? == "topic_column" {
        return section.text("topic_column", COLUMN).map(KafkaTopic::Column);
    }
    let found = section.string("topic", TOPIC)?;
    if !found.unresolved && !is_topic(found.text) {
        section.reject("topic", found.node, TOPIC, None);
        return None;
    }
    Some(KafkaTopic::Fixed(found.text.to_owned()))
}

fn value(section: &Section<'_>, topic: Option<&KafkaTopic>) -> Option<KafkaValue> {
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
    if subject.is_none() && matches!(topic, Some(KafkaTopic::Column(_))) {
        section.missing("subject", "\"alerts-value\"");
    }
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
