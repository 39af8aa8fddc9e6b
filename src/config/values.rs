//! Values that several sections have in common: columns, files, secrets, times, characters.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as MapEntry;
use std::path::PathBuf;

use chrono::{NaiveDate, NaiveDateTime};

use super::diagnostics::ConfigError;
use super::document::{Entry, Node, Origin, Value};
use super::secret::Secret;
use super::section::Section;

pub(crate) const COLUMN: &str = "the name of a column of the query";
pub(crate) const COLUMNS: &str = "names of columns of the query";
const TIME: &str = "a time, such as \"2026-11-21T10:00:00Z\" or \"2026-11-21 10:00:00\" (UTC)";

impl<'a> Section<'a> {
    /// Names of columns, each once.
    pub(crate) fn columns(&self, key: &'static str, expected: &str) -> Vec<String> {
        let mut columns: Vec<String> = Vec::new();
        for column in self.strings(key, expected) {
            if columns.iter().any(|other| other == column.text) {
                let error = ConfigError::new(format!("{} is listed twice", column.node.shown()))
                    .expected("each column once");
                self.report(key, &column.node.at, error);
            } else {
                columns.push(column.text.to_owned());
            }
        }
        columns
    }

    /// As [`columns`](Self::columns); a list without any is reported.
    pub(crate) fn some_columns(&self, key: &'static str, expected: &str) -> Vec<String> {
        if let Some(entry) = self.entry(key)
            && matches!(&entry.node.value, Value::Array(items) if items.is_empty())
        {
            let error = ConfigError::new("this array is empty").expected(expected);
            self.report(key, &entry.node.at, error);
        }
        self.columns(key, expected)
    }

    pub(crate) fn text(&self, key: &'static str, expected: &str) -> Option<String> {
        self.string(key, expected).map(|found| found.text.to_owned())
    }

    /// A file that has to be there.
    pub(crate) fn file(&self, key: &'static str, expected: &str) -> Option<PathBuf> {
        let found = self.string(key, expected)?;
        if !found.unresolved
            && self.context.environment.is_real()
            && let Err(error) = std::fs::metadata(found.text)
        {
            let error = ConfigError::new(format!("the file that `{key}` names: {error}"))
                .expected("the path of a file that this process can read");
            self.report(key, &found.node.at, error);
        }
        Some(PathBuf::from(found.text))
    }

    /// A string that is never shown, wherever it comes from; and whether it is known.
    pub(crate) fn secret(&self, key: &'static str, expected: &str) -> Option<(Secret, bool)> {
        let node = &self.entry(key)?.node;
        let Value::String(text) = &node.value else {
            let error = ConfigError::new(format!("{} is not valid here", node.kind()));
            self.report(key, &node.at, error.expected(expected));
            return None;
        };
        let known = text.origin != Origin::Unresolved;
        if known && text.value.is_empty() {
            let error = ConfigError::new("this string is empty").expected(expected);
            self.report(key, &node.at, error);
            return None;
        }
        Some((Secret::new(text.value.clone()), known))
    }

    /// A point in time, in microseconds UTC.
    pub(crate) fn time(&self, key: &'static str) -> Option<i64> {
        let node = &self.entry(key)?.node;
        let text = match &node.value {
            Value::Datetime(time) => time.to_string(),
            Value::Integer(_) => {
                let help = "write it out: a number may be seconds or milliseconds".to_owned();
                self.reject(key, node, TIME, Some(help));
                return None;
            }
            _ => {
                let found = self.as_string(key, node, TIME)?;
                if found.unresolved {
                    return None;
                }
                found.text.trim().to_owned()
            }
        };
        let time = parse_time(&text);
        if time.is_none() {
            self.reject(key, node, TIME, None);
        }
        time
    }

    /// One ASCII character; `Some(None)` of an empty string, where `none` allows it.
    pub(crate) fn character(&self, key: &'static str, none: bool) -> Option<Option<u8>> {
        let expected = if none {
            "one ASCII character, or \"\" for none"
        } else {
            "one ASCII character, such as \",\" or \"\\t\""
        };
        let node = &self.entry(key)?.node;
        let found = self.as_string(key, node, expected)?;
        match found.text.as_bytes() {
            _ if found.unresolved => None,
            [] if none => Some(None),
            [one] if one.is_ascii() && !matches!(one, 0 | b'\r' | b'\n') => Some(Some(*one)),
            _ => {
                self.reject(key, node, expected, None);
                None
            }
        }
    }

    /// Reports keys that only mean something together with another.
    pub(crate) fn forbid(&self, keys: &[&'static str], message: &str, expected: &str) {
        for key in keys {
            if let Some(entry) = self.entry(key) {
                let error = ConfigError::new(format!("`{key}` {message}")).expected(expected);
                self.report(key, &entry.key_at, error);
            }
        }
    }

    /// Which one of some keys is there: exactly one must be. `examples`: its key and a value.
    pub(crate) fn one_of(&self, examples: &[(&'static str, &str)]) -> Option<&'static str> {
        let found: Vec<&'static str> =
            examples.iter().map(|(key, _)| *key).filter(|key| self.has(key)).collect();
        let written: Vec<String> =
            examples.iter().map(|(key, value)| format!("{key} = {value}")).collect();
        match found.as_slice() {
            [one] => Some(one),
            [] => {
                let names: Vec<String> =
                    examples.iter().map(|(key, _)| format!("`{key}`")).collect();
                let message = format!("missing key {} {}", names.join(" or "), self.title());
                let error = ConfigError::new(message).expected(written.join("\nor "));
                let key = examples.first().map_or("", |(key, _)| key);
                self.report(key, &self.header, error);
                None
            }
            [first, second, ..] => {
                let error = ConfigError::new(format!("both `{first}` and `{second}` are given"))
                    .expected("one of them");
                if let Some(entry) = self.entry(second) {
                    self.report(second, &entry.key_at, error);
                }
                None
            }
        }
    }

    /// A table of someone else's dotted names: `"a.b" = 1` and `a.b = 1` mean the same.
    pub(crate) fn dotted(&self) -> BTreeMap<String, &'a Entry> {
        let mut names = BTreeMap::new();
        self.flatten(self.entries(), "", &mut names);
        names
    }

    fn flatten(&self, entries: &'a [Entry], prefix: &str, names: &mut BTreeMap<String, &'a Entry>) {
        for entry in entries {
            let name = format!("{prefix}{}", entry.key);
            if let Some(table) = entry.node.as_table() {
                self.flatten(&table.entries, &format!("{name}."), names);
                continue;
            }
            match names.entry(name) {
                MapEntry::Vacant(place) => {
                    place.insert(entry);
                }
                MapEntry::Occupied(taken) => {
                    let name = taken.key();
                    let error = ConfigError::new(format!("`{name}` is given twice"))
                        .expected("one value, under the quoted name");
                    self.report(name, &entry.key_at, error);
                }
            }
        }
    }
}

/// RFC 3339, or without a zone (UTC), or a date.
pub(crate) fn parse_time(text: &str) -> Option<i64> {
    if let Ok(time) = chrono::DateTime::parse_from_rfc3339(text) {
        return Some(time.timestamp_micros());
    }
    let local = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M"]
        .iter()
        .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())
        .or_else(|| NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0))?;
    Some(local.and_utc().timestamp_micros())
}

/// A value as JSON; what JSON cannot say is said as Spark says it. Nothing: it is not known.
pub(crate) fn as_json(section: &Section<'_>, key: &str, node: &Node) -> Option<serde_json::Value> {
    Some(match &node.value {
        Value::String(text) if text.origin == Origin::Unresolved => {
            serde_json::Value::String(text.value.clone())
        }
        Value::String(_) => {
            section.as_string(key, node, "a value that may be shown")?.text.to_owned().into()
        }
        Value::Integer(number) => (*number).into(),
        Value::Float(number) if number.is_nan() => "NaN".into(),
        Value::Float(number) if number.is_infinite() => {
            if *number > 0.0 {
                "Infinity".into()
            } else {
                "-Infinity".into()
            }
        }
        Value::Float(number) => (*number).into(),
        Value::Boolean(value) => (*value).into(),
        Value::Datetime(value) => value.to_string().into(),
        Value::Array(items) => {
            items.iter().filter_map(|item| as_json(section, key, item)).collect()
        }
        Value::Table(table) => table
            .entries
            .iter()
            .filter_map(|entry| {
                Some((entry.key.clone(), as_json(section, &entry.key, &entry.node)?))
            })
            .collect(),
    })
}
