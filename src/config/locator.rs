//! Errors of other rooms, shown at their place in the configuration.

use std::fmt;
use std::sync::Arc;

use super::diagnostics::{ConfigError, Location};
use super::document::{Node, Table, Value, write_path};
use super::model::{
    DetectorSettings, ExpectationSettings, QuerySettings, Settings, SourceSettings, TableSettings,
    TestSettings,
};

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

    /// The place of the value at a path; if there is none, of the key of the innermost table
    /// that is there. The second part says whether it is there.
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

    /// The place of the key that ends a path, if it is there.
    fn find_key(&self, path: &[&str]) -> Option<Location> {
        let (last, parents) = path.split_last()?;
        let mut table = &*self.root;
        for key in parents {
            table = table.get(key)?.node.as_table()?;
        }
        Some(table.get(last)?.key_at.clone())
    }

    /// `message` without what `${…}` under a path stand for: other rooms quote what they read.
    fn conceal(&self, path: &[&str], message: &str) -> String {
        let mut message = message.to_owned();
        let Some((first, rest)) = path.split_first() else { return message };
        let mut node = self.root.get(first).map(|entry| &entry.node);
        for key in rest {
            node = match node.map(|node| &node.value) {
                Some(Value::Table(table)) => table.get(key).map(|entry| &entry.node),
                Some(Value::Array(items)) => key.parse().ok().and_then(|n: usize| items.get(n)),
                _ => None,
            };
        }
        if let Some(node) = node {
            conceal(node, &mut message);
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

    /// As [`error_at`](Self::error_at), but at the key itself: for keys that should not be there.
    pub fn error_at_key(
        &self,
        path: &[&str],
        message: impl Into<String>,
        help: Option<String>,
    ) -> ConfigError {
        let error = self.error_at(path, message, help);
        match self.locator.find_key(path) {
            Some(at) => error.at(&at),
            None => error,
        }
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

    /// An error in a query's rule: at a line and column of its condition, or as a whole.
    pub fn error_at_expectation(
        &self,
        query: &QuerySettings,
        rule: &ExpectationSettings,
        place: Option<(usize, usize)>,
        message: impl Into<String>,
        help: Option<String>,
    ) -> ConfigError {
        let at = match place {
            Some((line, column)) => rule.that_location.at_line_column(&rule.that, line, column),
            None => rule.location.clone(),
        };
        let path = ["queries", &query.name, "expect", &rule.name];
        self.error_at(&path, message, help).at(&at)
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

    /// As [`error_at_schema`](Self::error_at_schema), of a static table.
    pub fn error_at_table_schema(
        &self,
        table: &TableSettings,
        offset: usize,
        message: impl Into<String>,
        help: Option<String>,
    ) -> ConfigError {
        let at = table.schema_location.at_offset(offset);
        self.error_at(&["tables", &table.name, "schema"], message, help).at(&at)
    }

    /// An error of one of a detector's keys (a parameter, `kind`, `query` …), or of the detector
    /// as a whole.
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

    /// The path of a key of one of a query's sinks, in whichever way the file writes them.
    pub(crate) fn sink_key(&self, query: &str, sink: usize, key: &str) -> Vec<String> {
        let index = sink.to_string();
        let (_, found) = self.locator.find(&["queries", query, "sinks", &index]);
        let path: &[&str] = if found {
            &["queries", query, "sinks", &index, key]
        } else {
            &["queries", query, "sink", key]
        };
        path.iter().map(|part| (*part).to_owned()).collect()
    }

    /// An error of one of a query's sinks, by its place among them: at one of its keys, or at its
    /// table if the file leaves the key out.
    pub fn error_at_sink(
        &self,
        query: &QuerySettings,
        sink: usize,
        key: &str,
        message: impl Into<String>,
        help: Option<String>,
    ) -> ConfigError {
        let path = self.sink_key(&query.name, sink, key);
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        self.error_at(&path, message, help)
    }

    /// An error of a test: at a path below it, such as `["expect", "0", "rows", "2"]`, with places
    /// in arrays from 0; if the file leaves it out, at the nearest table around it.
    pub fn error_at_test(
        &self,
        test: &TestSettings,
        path: &[&str],
        message: impl Into<String>,
        help: Option<String>,
    ) -> ConfigError {
        let index = test.index.to_string();
        let mut whole = vec!["tests", index.as_str()];
        whole.extend(path);
        self.error_at(&whole, message, help)
    }
}
