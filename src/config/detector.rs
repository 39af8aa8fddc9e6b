//! `[detectors.NAME]`: reading it, but for the parameters that belong to its rule.

use super::document::{Node, Origin, Value};
use super::model::DetectorSettings;
use super::names::check_name;
use super::section::Section;
use super::sink::read_delta;

/// Only what has errors comes back as nothing.
pub(crate) fn read(name: &str, section: &Section<'_>, sink_path: &str) -> Option<DetectorSettings> {
    const COLUMN: &str = "the name of a column of the query";
    check_name(section, name, "detector");
    let kind = section.required("kind", "the name of a rule", "\"traffic_spike\"");
    let query = section.required("query", "the name of a windowed query", "\"endpoint_minutes\"");
    let value = section.required("value", COLUMN, "\"requests\"");
    let key: Vec<String> =
        section.strings("key", COLUMN).iter().map(|found| found.text.to_owned()).collect();
    let weight = section.string("weight", COLUMN).map(|found| found.text.to_owned());
    let window =
        section.string("window", COLUMN).map_or("window_start".to_owned(), |w| w.text.to_owned());
    let count = |key, default, least, most| {
        let found = section.integer(key, least, most);
        found.and_then(|n| u32::try_from(n).ok()).unwrap_or(default)
    };
    let open_after = count("open_after", 1, 1, 1000);
    let clear_after = count("clear_after", 3, 1, 1000);
    let update_every = count("update_every", 10, 0, 1_000_000);
    let metric_series = count("metric_series", 20, 0, 1000);
    let sink = section.section("sink");
    sink.choice("type", &[("delta", ())], &[], ());
    let delta = read_delta(&sink, Some(sink_path.to_owned()));
    sink.finish();
    let mut parameters = toml::Table::new();
    for entry in section.rest() {
        // Required keys are reported as missing, with this one named as the likely cause.
        if let Some(value) = plain(section, &entry.key, &entry.node) {
            parameters.insert(entry.key.clone(), value);
        }
    }
    Some(DetectorSettings {
        name: name.to_owned(),
        query: query?.text.to_owned(),
        value: value?.text.to_owned(),
        key,
        weight,
        window,
        kind: kind?.text.to_owned(),
        open_after,
        clear_after,
        update_every,
        metric_series: metric_series as usize,
        parameters,
        sink: delta?,
        location: section.header.clone(),
    })
}

/// A value without its places. What is not resolved is left out: its default stands in.
fn plain(section: &Section<'_>, key: &str, node: &Node) -> Option<toml::Value> {
    Some(match &node.value {
        Value::String(text) if text.origin == Origin::Unresolved => return None,
        Value::String(text) => {
            section.as_string(key, node, "a value that may be shown")?;
            toml::Value::String(text.value.clone())
        }
        Value::Integer(number) => toml::Value::Integer(*number),
        Value::Float(number) => toml::Value::Float(*number),
        Value::Boolean(value) => toml::Value::Boolean(*value),
        Value::Datetime(value) => toml::Value::Datetime(*value),
        Value::Array(items) => {
            toml::Value::Array(items.iter().filter_map(|item| plain(section, key, item)).collect())
        }
        Value::Table(table) => {
            let mut plain_table = toml::Table::new();
            for entry in &table.entries {
                if let Some(value) = plain(section, &entry.key, &entry.node) {
                    plain_table.insert(entry.key.clone(), value);
                }
            }
            toml::Value::Table(plain_table)
        }
    })
}
