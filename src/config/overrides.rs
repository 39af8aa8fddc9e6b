//! `--set KEY.PATH=VALUE`: single values laid over the files.

use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use super::diagnostics::{ConfigError, Location, SourceFile};
use super::document::{self, Entry, Node, Table, Text, Value};

/// One override as a tree of its own.
///
/// `value` is a TOML value (`4`, `true`, `"text"`, `["a", "b"]`, `{ a = 1 }`); what is not one
/// (`localhost:9092`, `10s`) is taken as a string, so that nobody has to quote twice in a shell.
pub(crate) fn parse(key: &str, value: &str) -> (Arc<SourceFile>, Result<Table, Vec<ConfigError>>) {
    let key = key.trim();
    let text = format!("{key}={value}");
    // A key of many lines would be a document, and would break the report's first line.
    let shown: String = key.chars().filter(|c| !c.is_control()).take(200).collect();
    let file = SourceFile::new(format!("--set {shown}"), text);
    let path = match key_path(key) {
        Ok(path) => path,
        Err(reason) => {
            let error = ConfigError::new(format!("this override names no key: {reason}"))
                .at(&Location::new(&file, 0..key.len()))
                .expected("KEY.PATH=VALUE, such as `checkpoint.interval=\"5s\"`");
            mask_value(&file, key);
            return (file, Err(vec![error]));
        }
    };
    let is_toml = DeValue::parse(value).is_ok();
    let looks_like_toml = value.trim_start().starts_with(['"', '\'', '[', '{']);
    if is_toml || looks_like_toml {
        let parsed = document::parse(&file);
        return (file, parsed);
    }
    if document::is_secret_path(&path) || document::holds_credentials(value) {
        mask_value(&file, key);
    }
    let start = key.len() + 1;
    let key_at = Location::new(&file, 0..key.len());
    let mut node = Node {
        value: Value::String(Text::plain(value)),
        at: Location::new(&file, start..start + value.len()),
    };
    let mut table = Table::default();
    for (depth, name) in path.into_iter().enumerate().rev() {
        let entry = Entry { key: name, key_at: key_at.clone(), node };
        table = Table { entries: vec![entry] };
        if depth == 0 {
            break;
        }
        node = Node { value: Value::Table(std::mem::take(&mut table)), at: key_at.clone() };
    }
    (file, Ok(table))
}

fn mask_value(file: &Arc<SourceFile>, key: &str) {
    file.mask(std::iter::once(key.len() + 1..file.text.len()).collect());
}

/// The parts of a dotted TOML key.
fn key_path(key: &str) -> Result<Vec<String>, String> {
    if key.is_empty() {
        return Err("it is empty".to_owned());
    }
    if key.chars().any(char::is_control) || key.contains('=') {
        return Err("it is not a dotted key".to_owned());
    }
    let text = format!("{key}=0");
    let table = DeTable::parse(&text).map_err(|error| error.message().to_owned())?;
    let mut path = Vec::new();
    let mut table = table.get_ref();
    while let Some((name, value)) = table.iter().next() {
        path.push(name.get_ref().to_string());
        match value.get_ref() {
            DeValue::Table(inner) => table = inner,
            _ => break,
        }
    }
    if path.is_empty() {
        return Err("it is not a dotted key".to_owned());
    }
    Ok(path)
}
