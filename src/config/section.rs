//! One table of the tree, read key by key: each read says what it expects, takes note of the
//! key as one that exists, and reports what it finds instead. What nobody read is unknown.

use std::cell::RefCell;
use std::time::Duration;

use super::context::{Context, Unknown};
use super::diagnostics::{ConfigError, Location};
use super::document::{Entry, Node, Origin, Table, Value, write_path};
use super::suggest::{self, alternatives};
use super::text::offsets_of;
use super::units::{self, format_duration, format_size, parse_duration, parse_size};

const DURATION: &str = "a duration, such as \"10s\", \"500ms\", \"2 minutes\" or \"1h30m\"";
const SIZE: &str = "a size, such as \"64MiB\", \"1GB\" or a number of bytes";

/// A string that was found, and where.
#[derive(Clone, Copy)]
pub(crate) struct Found<'a> {
    pub(crate) text: &'a str,
    pub(crate) node: &'a Node,
    /// Its `${…}` were not looked up: nothing can be said about its value.
    pub(crate) unresolved: bool,
}

impl Found<'_> {
    /// The offset in the file of each byte of the text and of its end, across `${…}`.
    pub(crate) fn offsets(&self) -> Vec<usize> {
        let at = &self.node.at;
        let Value::String(text) = &self.node.value else { return vec![at.span().start] };
        let raw = offsets_of(at.source(), at.span(), &text.raw);
        match &text.offsets {
            None => raw,
            Some(offsets) => offsets.iter().map(|offset| raw[*offset]).collect(),
        }
    }
}

pub(crate) struct Section<'a> {
    pub(crate) context: &'a Context<'a>,
    table: Option<&'a Table>,
    pub(crate) path: Vec<String>,
    pattern: Vec<String>,
    /// The key of the table in its header: where what it lacks is reported.
    pub(crate) header: Location,
    /// One of an array of tables: `[[tests.batches]]`.
    item: bool,
    asked: RefCell<Vec<&'static str>>,
}

impl<'a> Section<'a> {
    pub(crate) fn root(context: &'a Context<'a>, table: &'a Table, header: Location) -> Self {
        let asked = RefCell::default();
        let item = false;
        Self { context, table: Some(table), path: vec![], pattern: vec![], header, item, asked }
    }

    /// The entry of a key; from now on the key is one that exists.
    pub(crate) fn entry(&self, key: &'static str) -> Option<&'a Entry> {
        if !self.asked.borrow().contains(&key) {
            self.asked.borrow_mut().push(key);
            self.context.note_key(&self.pattern, key);
        }
        self.table?.get(key)
    }

    pub(crate) fn has(&self, key: &'static str) -> bool {
        self.entry(key).is_some()
    }

    pub(crate) fn path_of(&self, key: &str) -> String {
        let mut path: Vec<&str> = self.path.iter().map(String::as_str).collect();
        path.push(key);
        write_path(&path)
    }

    /// The section as it is written in a header: `[sources.logs]`.
    pub(crate) fn title(&self) -> String {
        if self.path.is_empty() {
            "at the top of the file".to_owned()
        } else if self.item {
            format!("in [[{}]]", write_path(&self.path))
        } else {
            format!("in [{}]", write_path(&self.path))
        }
    }

    /// The place of a key's value, or of the table that lacks it.
    pub(crate) fn location(&self, key: &'static str) -> Location {
        self.entry(key).map_or_else(|| self.header.clone(), |entry| entry.node.at.clone())
    }

    pub(crate) fn report(&self, key: &str, at: &Location, error: ConfigError) {
        self.context.report(error.at(at).key(self.path_of(key)));
    }

    /// Reports a value that is not what it should be.
    pub(crate) fn reject(&self, key: &str, node: &Node, expected: &str, help: Option<String>) {
        let message = match &node.value {
            Value::Array(_) | Value::Table(_) => format!("{} is not valid here", node.kind()),
            _ => format!("invalid value {}", node.shown()),
        };
        self.report(key, &node.at, ConfigError::new(message).expected(expected).help(help));
    }

    pub(crate) fn missing(&self, key: &'static str, example: &str) {
        // A key that is there by another name is the likeliest reason.
        let asked = self.asked.borrow();
        let others = self.keys().filter(|other| !asked.contains(other));
        let help = suggest::nearest(key, others).map(|near| format!("is `{near}` meant for it?"));
        let error = ConfigError::new(format!("missing key `{key}` {}", self.title()))
            .expected(format!("{key} = {example}"))
            .help(help);
        self.report(key, &self.header, error);
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.entries().iter().map(|entry| entry.key.as_str())
    }

    pub(crate) fn entries(&self) -> &'a [Entry] {
        self.table.map_or(&[], |table| table.entries.as_slice())
    }

    /// The keys that nobody asked for.
    pub(crate) fn rest(&self) -> Vec<&'a Entry> {
        let asked = self.asked.borrow();
        self.entries().iter().filter(|entry| !asked.contains(&entry.key.as_str())).collect()
    }

    /// The table under a key; if there is none, one that holds only defaults.
    pub(crate) fn section(&self, key: &'static str) -> Section<'a> {
        let mut section = self.section_of_array(key);
        if let Some(entry) = self.entry(key) {
            section.table = self.as_table(key, &entry.node);
        }
        section
    }

    /// As [`section`](Self::section), for a key whose tables are the items of an array: see
    /// [`over`](Self::over).
    pub(crate) fn section_of_array(&self, key: &'static str) -> Section<'a> {
        let mut section = Section {
            context: self.context,
            table: None,
            path: self.path.clone(),
            pattern: self.pattern.clone(),
            header: self.entry(key).map_or(&self.header, |entry| &entry.key_at).clone(),
            item: false,
            asked: RefCell::default(),
        };
        section.path.push(key.to_owned());
        section.pattern.push(key.to_owned());
        section
    }

    fn as_table(&self, key: &str, node: &'a Node) -> Option<&'a Table> {
        if node.as_table().is_none() {
            let mut path = self.path.clone();
            path.push(key.to_owned());
            let expected = format!("a table: [{}]", write_path(&path));
            self.reject(key, node, &expected, None);
        }
        node.as_table()
    }

    /// The tables `[key.NAME]`, in the order of the file.
    pub(crate) fn named(&self, key: &'static str) -> Vec<(&'a str, Section<'a>)> {
        let group = self.section(key);
        let mut sections = Vec::new();
        for entry in group.entries() {
            let Some(table) = entry.node.as_table() else {
                let expected = format!("a table with a name: [{key}.NAME]");
                group.reject(&entry.key, &entry.node, &expected, None);
                continue;
            };
            let mut path = group.path.clone();
            path.push(entry.key.clone());
            let mut pattern = group.pattern.clone();
            pattern.push("*".to_owned());
            let section = Section {
                context: self.context,
                table: Some(table),
                path,
                pattern,
                header: entry.key_at.clone(),
                item: false,
                asked: RefCell::default(),
            };
            sections.push((entry.key.as_str(), section));
        }
        sections
    }

    /// The section of one entry of a table of names, without what stands in it: see
    /// [`table_of`](Self::table_of).
    pub(crate) fn named_entry(&self, entry: &'a Entry) -> Section<'a> {
        let mut path = self.path.clone();
        path.push(entry.key.clone());
        let mut pattern = self.pattern.clone();
        pattern.push("*".to_owned());
        Section {
            context: self.context,
            table: None,
            path,
            pattern,
            header: entry.key_at.clone(),
            item: false,
            asked: RefCell::default(),
        }
    }

    /// Reads from what stands in the entry from now on, if it is a table.
    pub(crate) fn table_of(&mut self, entry: &'a Entry) {
        self.table = entry.node.as_table();
    }

    /// The same section over another table (an item of an array of tables).
    pub(crate) fn over(&self, table: &'a Table, header: Location) -> Section<'a> {
        Section {
            context: self.context,
            table: Some(table),
            path: self.path.clone(),
            pattern: self.pattern.clone(),
            header,
            item: true,
            asked: RefCell::default(),
        }
    }

    /// The tables of an array `[[key]]`; what is not one is reported.
    pub(crate) fn items(&self, key: &'static str) -> Vec<Section<'a>> {
        let Some(entry) = self.entry(key) else { return Vec::new() };
        let group = self.section_of_array(key);
        let Value::Array(items) = &entry.node.value else {
            let path: Vec<&str> = group
                .pattern
                .iter()
                .map(|part| if part == "*" { "NAME" } else { part.as_str() })
                .collect();
            let expected = format!("an array of tables: [[{}]]", write_path(&path));
            self.reject(key, &entry.node, &expected, None);
            return Vec::new();
        };
        items
            .iter()
            .filter_map(|item| match item.as_table() {
                Some(table) => Some(group.over(table, item.at.clone())),
                None => {
                    self.reject(key, item, "a table", None);
                    None
                }
            })
            .collect()
    }

    /// Reports the keys that nobody asked for. Call it after the last read.
    pub(crate) fn finish(&self) {
        for entry in self.rest() {
            let mut path = self.path.clone();
            path.push(entry.key.clone());
            self.context.note_unknown(Unknown {
                path,
                pattern: self.pattern.clone(),
                at: entry.key_at.clone(),
                siblings: self.asked.borrow().clone(),
            });
        }
    }

    /// A node that must be a string.
    pub(crate) fn as_string(&self, key: &str, node: &'a Node, expected: &str) -> Option<Found<'a>> {
        let Value::String(text) = &node.value else {
            self.reject(key, node, expected, None);
            return None;
        };
        if text.origin == Origin::File {
            let error = ConfigError::new("a secret from a file cannot be used here")
                .expected(expected)
                .help(
                    "this value is shown in logs and metrics; `${file:…}` is for `options` only"
                        .to_owned(),
                );
            self.report(key, &node.at, error);
            return None;
        }
        let unresolved = text.origin == Origin::Unresolved;
        Some(Found { text: &text.value, node, unresolved })
    }

    pub(crate) fn string(&self, key: &'static str, expected: &str) -> Option<Found<'a>> {
        let found = self.as_string(key, &self.entry(key)?.node, expected)?;
        if found.text.trim().is_empty() && !found.unresolved {
            let error = match found.node.shown().as_str() {
                "\"\"" => ConfigError::new("this string is empty"),
                shown => ConfigError::new(format!("{shown} is empty")),
            };
            self.report(key, &found.node.at, error.expected(expected));
            return None;
        }
        Some(found)
    }

    /// A string that must be there; `example` is a TOML value.
    pub(crate) fn required(
        &self,
        key: &'static str,
        expected: &str,
        example: &str,
    ) -> Option<Found<'a>> {
        if !self.has(key) {
            self.missing(key, example);
        }
        self.string(key, expected)
    }

    /// One string or an array of them.
    pub(crate) fn strings(&self, key: &'static str, expected: &str) -> Vec<Found<'a>> {
        let Some(entry) = self.entry(key) else { return Vec::new() };
        match &entry.node.value {
            Value::Array(items) => items
                .iter()
                .filter_map(|item| {
                    let found = self.as_string(key, item, expected)?;
                    if found.text.trim().is_empty() && !found.unresolved {
                        let error = ConfigError::new("this string is empty").expected(expected);
                        self.report(key, &item.at, error);
                        return None;
                    }
                    Some(found)
                })
                .collect(),
            _ => self.string(key, expected).into_iter().collect(),
        }
    }

    /// The value of a scalar key by `parse`, which gets integers and booleans written out;
    /// `Err` holds what to do about it. Nothing if it is absent, invalid or unresolved.
    fn parsed<T>(
        &self,
        key: &'static str,
        expected: &str,
        accepts: fn(&Value) -> bool,
        parse: impl FnOnce(&str) -> Result<T, units::Help>,
    ) -> Option<T> {
        let node = &self.entry(key)?.node;
        let text = match &node.value {
            // What was interpolated is always a string; it may stand for any scalar.
            Value::String(text) if text.is_interpolated() => {
                let found = self.as_string(key, node, expected)?;
                if found.unresolved {
                    return None;
                }
                found.text.to_owned()
            }
            value if !accepts(value) => {
                self.reject(key, node, expected, None);
                return None;
            }
            Value::String(text) => text.value.clone(),
            Value::Integer(number) => number.to_string(),
            Value::Boolean(value) => value.to_string(),
            _ => {
                self.reject(key, node, expected, None);
                return None;
            }
        };
        match parse(text.trim()) {
            Ok(value) => Some(value),
            Err(help) => {
                self.reject(key, node, expected, help);
                None
            }
        }
    }

    pub(crate) fn boolean(&self, key: &'static str, default: bool) -> bool {
        let accepts = |value: &Value| matches!(value, Value::Boolean(_));
        self.parsed(key, "true or false", accepts, |text| text.parse().map_err(|_| None))
            .unwrap_or(default)
    }

    pub(crate) fn integer(&self, key: &'static str, from: u64, to: u64) -> Option<u64> {
        let expected = if to == u64::MAX {
            format!("a whole number, {from} or more")
        } else {
            format!("a whole number from {from} to {to}")
        };
        let accepts = |value: &Value| matches!(value, Value::Integer(_));
        self.parsed(key, &expected, accepts, |text| match text.parse() {
            Ok(number) if (from..=to).contains(&number) => Ok(number),
            _ => Err(None),
        })
    }

    /// As [`integer`](Self::integer), for counts of things in memory.
    pub(crate) fn count(&self, key: &'static str, from: u64, to: u64) -> Option<usize> {
        self.integer(key, from, to).and_then(|number| usize::try_from(number).ok())
    }

    /// A duration of `from` to `to`.
    pub(crate) fn duration(
        &self,
        key: &'static str,
        default: Duration,
        from: Duration,
        to: Duration,
    ) -> Duration {
        self.duration_or(key, &[], from, to).flatten().unwrap_or(default)
    }

    /// A duration, or one of some words, which give `Some(None)`.
    pub(crate) fn duration_or(
        &self,
        key: &'static str,
        words: &[&str],
        from: Duration,
        to: Duration,
    ) -> Option<Option<Duration>> {
        let mut expected = DURATION.to_owned();
        for word in words {
            expected = format!("{expected}, or \"{word}\"");
        }
        if let Some(entry) = self.entry(key)
            && let Value::Integer(number) = entry.node.value
        {
            let help = format!("add a unit: \"{number}s\" or \"{number}ms\"");
            self.reject(key, &entry.node, &expected, Some(help));
            return None;
        }
        let accepts = |value: &Value| matches!(value, Value::String(_));
        let value = self.parsed(key, &expected, accepts, |text| {
            if words.contains(&text) {
                return Ok(None);
            }
            let nearest = |help: units::Help| {
                help.or_else(|| suggest::did_you_mean(text, words.iter().copied()))
            };
            parse_duration(text).map(Some).map_err(nearest)
        })?;
        let Some(duration) = value else { return Some(None) };
        if duration < from || duration > to {
            let node = &self.entry(key)?.node;
            let expected =
                format!("a duration from {} to {}", format_duration(from), format_duration(to));
            self.reject(key, node, &expected, None);
            return None;
        }
        Some(Some(duration))
    }

    /// Bytes, of `from` to `to`.
    pub(crate) fn size(&self, key: &'static str, default: usize, from: usize, to: usize) -> usize {
        let accepts = |value: &Value| matches!(value, Value::String(_) | Value::Integer(_));
        let Some(bytes) = self.parsed(key, SIZE, accepts, parse_size) else { return default };
        if bytes < from || bytes > to {
            if let Some(entry) = self.entry(key) {
                let expected = format!("a size from {} to {}", format_size(from), format_size(to));
                self.reject(key, &entry.node, &expected, None);
            }
            return default;
        }
        bytes
    }

    /// One of some names. `refused`: names that exist but cannot be had, and why.
    pub(crate) fn choice<T: Copy>(
        &self,
        key: &'static str,
        choices: &[(&str, T)],
        refused: &[(&str, &str)],
        default: T,
    ) -> T {
        let Some(entry) = self.entry(key) else { return default };
        self.choose(key, &entry.node, choices, refused).unwrap_or(default)
    }

    pub(crate) fn choose<T: Copy>(
        &self,
        key: &str,
        node: &'a Node,
        choices: &[(&str, T)],
        refused: &[(&str, &str)],
    ) -> Option<T> {
        let expected = alternatives(choices.iter().map(|(name, _)| *name));
        self.choose_of(key, node, choices, refused, &expected)
    }

    /// As [`choose`](Self::choose), where something else than a name would do too.
    pub(crate) fn choose_of<T: Copy>(
        &self,
        key: &str,
        node: &'a Node,
        choices: &[(&str, T)],
        refused: &[(&str, &str)],
        expected: &str,
    ) -> Option<T> {
        let reason = |name: &str| {
            let found = refused.iter().find(|(refused, _)| refused.eq_ignore_ascii_case(name));
            found.map(|(_, reason)| (*reason).to_owned())
        };
        if let Value::Boolean(value) = &node.value {
            self.reject(key, node, expected, reason(&value.to_string()));
            return None;
        }
        let found = self.as_string(key, node, expected)?;
        if found.unresolved {
            return None;
        }
        let chosen = choices.iter().find(|(name, _)| *name == found.text);
        if let Some((_, value)) = chosen {
            return Some(*value);
        }
        let help = reason(found.text)
            .or_else(|| suggest::did_you_mean(found.text, choices.iter().map(|(name, _)| *name)));
        self.reject(key, node, expected, help);
        None
    }
}
