//! Errors of other rooms, shown at their place in the configuration.

use std::fmt;
use std::sync::Arc;

use super::diagnostics::{ConfigError, Location};
use super::document::{Node, Table, Value, write_path};
use super::model::{DetectorSettings, QuerySettings, Settings, SourceSettings};
use super::suggest;

/// Finds the place of a key path.
#[derive(Clone)]
pub(crate) struct Locator {
    root: Arc<Table>,
    start: Location,
}

impl Locator {
    pub(crate) fn new(root: Arc<Table>, start: Location) -> Self {
        Self { root, start }
    }

    /// The value at a path; if there is none, the key of the innermost table that is there.
    /// The second part says whether it is there.
    fn find(&self, path: &[&str]) -> (Location, bool) {
        let mut at = self.start.clone();
        let Some((first, rest)) = path.split_first() else { return (at, true) };
        let Some(entry) = self.root.get(first) else { return (at, false) };
        at = entry.key_at.clone();
        let mut node = &entry.node;
        for key in rest {
            match &node.value {
                Value::Table(table) => {
                    let Some(entry) = table.get(key) else { return (at, false) };
                    at = entry.key_at.clone();
                    node = &entry.node;
                }
                Value::Array(items) => {
                    let item = key.parse().ok().and_then(|n: usize| items.get(n));
                    let Some(item) = item else { return (at, false) };
                    at = item.at.clone();
                    node = item;
                }
                _ => return (at, false),
            }
        }
        // Of a table, its name in the header says more than the whole of it.
        if node.as_table().is_none() {
            at = node.at.clone();
        }
        (at, true)
    }

    /// `message` without what `${…}` under a path stand for: other rooms quote what they read.
    fn conceal(&self, path: &[&str], message: &str) -> String {
        let mut message = message.to_owned();
        let mut table = Some(&*self.root);
        for (n, key) in path.iter().enumerate() {
            let Some(entry) = table.and_then(|table| table.get(key)) else { break };
            if n + 1 == path.len() {
                conceal(&entry.node, &mut message);
            }
            table = entry.node.as_table();
        }
        message
    }
}

fn conceal(node: &Node, message: &mut String) {
    match &node.value {
        // What is shorter keeps no secret, and would be found in any sentence.
        Value::String(text) => {
            for (value, written) in text.inserted.iter().filter(|(value, _)| value.len() > 2) {
                *message = message.replace(value, written);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| conceal(item, message)),
        Value::Table(table) => {
            table.entries.iter().for_each(|entry| conceal(&entry.node, message));
        }
        _ => {}
    }
}

/// Holds values that may be secret: says nothing.
impl fmt::Debug for Locator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Locator")
    }
}

impl Settings {
    /// An error at the value of a key path, such as `["sources", "logs", "watermark",
    /// "column"]`; if the file leaves the key out, at the table that it would be in.
    pub fn error_at(
        &self,
        path: &[&str],
        message: impl Into<String>,
        help: Option<String>,
    ) -> ConfigError {
        let (at, _) = self.locator.find(path);
        let message = self.locator.conceal(path, &message.into());
        ConfigError::new(message).at(&at).key(write_path(path)).help(help)
    }

    /// An error at a line and column (characters), both from 1, of a query's SQL.
    pub fn error_at_sql(
        &self,
        query: &QuerySettings,
        line: usize,
        column: usize,
        message: impl Into<String>,
        help: Option<String>,
    ) -> ConfigError {
        let at = query.sql_location.at_line_column(&query.sql, line, column);
        self.error_at(&["queries", &query.name, "sql"], message, help).at(&at)
    }

    /// An error at a byte of a source's declared columns.
    pub fn error_at_schema(
        &self,
        source: &SourceSettings,
        offset: usize,
        message: impl Into<String>,
        help: Option<String>,
    ) -> ConfigError {
        let at = source.schema_location.at_offset(offset);
        self.error_at(&["sources", &source.name, "schema"], message, help).at(&at)
    }

    /// An error of a detector's parameter, or of the detector as a whole.
    pub fn error_at_detector(
        &self,
        detector: &DetectorSettings,
        parameter: Option<&str>,
        message: impl Into<String>,
        help: Option<String>,
    ) -> ConfigError {
        let mut path = vec!["detectors", detector.name.as_str()];
        path.extend(parameter);
        self.error_at(&path, message, help)
    }

    /// What serde says about a detector's parameters, at the parameter it means and with the
    /// nearest name that would have been right.
    ///
    /// Knows serde's wording of unknown fields and variants and of missing fields; other
    /// messages are shown as they are.
    pub fn detector_error(
        &self,
        detector: &DetectorSettings,
        error: &toml::de::Error,
    ) -> ConfigError {
        let message = self.locator.conceal(&["detectors", &detector.name], error.message());
        let mut names = message.split('`').skip(1).step_by(2);
        let first = names.next().unwrap_or("");
        let valid: Vec<&str> = names.collect();
        let report = |parameter: Option<&str>, message: String, help| {
            let report = self.error_at_detector(detector, parameter, message, help);
            if valid.is_empty() {
                report
            } else {
                report.expected(suggest::alternatives(valid.iter().copied()))
            }
        };
        if message.starts_with("unknown field") {
            let own = ["key", "weight", "window", "sink"];
            let help = suggest::did_you_mean(first, valid.iter().copied().chain(own));
            let path = ["detectors", detector.name.as_str(), first];
            let mut report = report(Some(first), format!("unknown key `{first}`"), help);
            if let Some(key_at) = self.key_location(&path) {
                report = report.at(&key_at);
            }
            return report;
        }
        if message.starts_with("unknown variant") {
            let help = suggest::did_you_mean(first, valid.iter().copied());
            // Which key has this value is not said, but it can be seen.
            let parameter = detector
                .parameters
                .iter()
                .find(|(_, value)| value.as_str() == Some(first))
                .map(|(key, _)| key.as_str())
                .or_else(|| (detector.kind == first).then_some("kind"));
            return report(parameter, format!("invalid value \"{first}\""), help);
        }
        if message.starts_with("missing field") {
            let message = format!("missing key `{first}` in [detectors.{}]", detector.name);
            return report(Some(first), message, None).expected(format!("{first} = …"));
        }
        if let Some((found, expected)) = message
            .strip_prefix("invalid type: ")
            .or_else(|| message.strip_prefix("invalid value: "))
            .and_then(|rest| rest.rsplit_once(", expected "))
        {
            // A tagged enum's errors name no key, but they quote the value.
            let mut matching =
                detector.parameters.iter().filter(|(_, value)| in_serdes_words(value) == found);
            if let (Some((key, _)), None) = (matching.next(), matching.next()) {
                let expected = match expected {
                    "f64" | "f32" => "a number",
                    "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, 0 or more",
                    "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
                    other => other,
                };
                let message = format!("invalid value: {found}");
                return self
                    .error_at_detector(detector, Some(key), message, None)
                    .expected(expected);
            }
        }
        // The last line of the whole error names the path: "in `a.b`".
        let whole = error.to_string();
        let path = whole
            .lines()
            .last()
            .and_then(|line| line.strip_prefix("in `")?.strip_suffix('`'))
            .map(|path| path.split('.').next().unwrap_or(path).to_owned());
        self.error_at_detector(detector, path.as_deref(), message, None)
    }

    /// The path of a key of a query's sink, in whichever way the file writes the sink.
    pub(crate) fn sink_key<'a>(&self, query: &'a str, key: &'a str) -> Vec<&'a str> {
        let in_array = vec!["queries", query, "sinks", "0", key];
        let (_, found) = self.locator.find(&in_array[..4]);
        if found { in_array } else { vec!["queries", query, "sink", key] }
    }

    /// An error of a query's sink: at one of its keys, or at its table if the file leaves the
    /// key out.
    pub fn error_at_sink(
        &self,
        query: &QuerySettings,
        key: &str,
        message: impl Into<String>,
        help: Option<String>,
    ) -> ConfigError {
        self.error_at(&self.sink_key(&query.name, key), message, help)
    }

    /// The place of a key itself, not of its value.
    fn key_location(&self, path: &[&str]) -> Option<Location> {
        let (last, parents) = path.split_last()?;
        let mut table = &*self.locator.root;
        for key in parents {
            match &table.get(key)?.node.value {
                Value::Table(inner) => table = inner,
                _ => return None,
            }
        }
        Some(table.get(last)?.key_at.clone())
    }
}

/// A value as serde's messages put it.
fn in_serdes_words(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => format!("string {text:?}"),
        toml::Value::Integer(number) => format!("integer `{number}`"),
        toml::Value::Float(number) => format!("floating point `{number}`"),
        toml::Value::Boolean(value) => format!("boolean `{value}`"),
        toml::Value::Array(_) => "sequence".to_owned(),
        toml::Value::Table(_) | toml::Value::Datetime(_) => "map".to_owned(),
    }
}

impl DetectorSettings {
    /// The rule as one table, `kind` and parameters together: what a tagged serde enum reads.
    pub fn rule(&self) -> toml::Table {
        let mut rule = self.parameters.clone();
        rule.insert("kind".to_owned(), toml::Value::String(self.kind.clone()));
        rule
    }
}
