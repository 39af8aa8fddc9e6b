//! `${…}` in strings: environment variables, files of secrets, and what the configuration
//! itself says.
//!
//! | written | becomes |
//! |---|---|
//! | `${NAME}` | the environment variable; an error if it is not set |
//! | `${NAME:-text}` | the variable, or `text` if it is not set or empty |
//! | `${file:/run/secrets/x}` | the file's text, without the line break at its end |
//! | `${data_dir}` | the configuration's own `data_dir` |
//! | `$${` | `${` |
//!
//! This happens in strings that are already parsed, so a value cannot break the TOML, and no
//! value is looked at for further `${`.

use std::collections::BTreeMap;
use std::io::Read;

use super::diagnostics::{ConfigError, Location};
use super::document::{Node, Origin, Table, Text, Value, write_path};
use super::suggest;
use super::text::offsets_of;

/// A file of a secret of more bytes than this is some other file.
const LARGEST_SECRET: u64 = 1 << 20;

/// Where `${…}` is looked up.
#[derive(Clone, Debug, Default)]
pub enum Environment {
    /// The process's environment and file system.
    #[default]
    Real,
    /// Nothing is looked up: `${…}` without a default stays as it is, and what depends on its
    /// value is not checked (`validate --no-environment`).
    None,
    /// As [`Real`](Self::Real), but a variable that is not set stays as it is, and secret files are
    /// left alone: for commands that need to know where tables are, and not the password of a
    /// broker. What depends on such values is not checked.
    Partial,
    /// These values and no others: by variable name, or by `file:PATH`.
    Map(BTreeMap<String, String>),
}

impl Environment {
    /// Whether checks may look at the machine.
    pub(crate) fn is_real(&self) -> bool {
        matches!(self, Self::Real)
    }

    /// `None`: not set.
    fn variable(&self, name: &str) -> Result<Option<String>, String> {
        match self {
            Self::Real | Self::Partial => match std::env::var(name) {
                Ok(value) => Ok(Some(value)),
                Err(std::env::VarError::NotPresent) => Ok(None),
                Err(std::env::VarError::NotUnicode(_)) => {
                    Err(format!("the environment variable `{name}` is not UTF-8"))
                }
            },
            Self::None => Ok(None),
            Self::Map(values) => Ok(values.get(name).cloned()),
        }
    }

    fn file(&self, path: &str) -> Result<String, String> {
        let text = match self {
            Self::Real => read_secret(path)?,
            Self::None | Self::Partial => return Err("files are not looked at".to_owned()),
            Self::Map(values) => match values.get(&format!("file:{path}")) {
                Some(text) => text.clone(),
                None => return Err(format!("cannot read {path}: no such file")),
            },
        };
        let text = text.strip_suffix('\n').unwrap_or(&text);
        Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
    }
}

fn read_secret(path: &str) -> Result<String, String> {
    let file = std::fs::File::open(path).map_err(|error| format!("cannot read {path}: {error}"))?;
    let mut text = String::new();
    // An error of decoding is told without the bytes at fault.
    file.take(LARGEST_SECRET + 1).read_to_string(&mut text).map_err(|error| {
        match error.kind() {
            std::io::ErrorKind::InvalidData => format!("{path} is not UTF-8"),
            _ => format!("cannot read {path}: {error}"),
        }
    })?;
    if text.len() as u64 > LARGEST_SECRET {
        return Err(format!("{path} is larger than 1 MiB"));
    }
    Ok(text)
}

/// Replaces every `${…}` of the tree. Values that have errors are left as they are written.
pub(crate) fn interpolate(root: &mut Table, environment: &Environment) -> Vec<ConfigError> {
    let mut pass = Interpolation { environment, data_dir: None, path: vec![], errors: vec![] };
    // `data_dir` first: all else may refer to it.
    if let Some(entry) = root.entries.iter_mut().find(|entry| entry.key == "data_dir") {
        pass.path.push("data_dir".to_owned());
        pass.node(&mut entry.node);
        pass.path.pop();
    }
    pass.data_dir = Some(match root.get("data_dir").map(|entry| &entry.node.value) {
        Some(Value::String(text)) => (text.value.clone(), text.origin),
        _ => (super::DEFAULT_DATA_DIR.to_owned(), Origin::Configuration),
    });
    for entry in root.entries.iter_mut().filter(|entry| entry.key != "data_dir") {
        pass.path.push(entry.key.clone());
        pass.node(&mut entry.node);
        pass.path.pop();
    }
    pass.errors
}

struct Interpolation<'a> {
    environment: &'a Environment,
    data_dir: Option<(String, Origin)>,
    path: Vec<String>,
    errors: Vec<ConfigError>,
}

impl Interpolation<'_> {
    fn node(&mut self, node: &mut Node) {
        match &mut node.value {
            Value::String(text) if text.raw.contains("${") => self.text(text, &node.at),
            Value::Array(items) => {
                for item in items {
                    self.node(item);
                }
            }
            Value::Table(table) => {
                for entry in &mut table.entries {
                    self.path.push(entry.key.clone());
                    self.node(&mut entry.node);
                    self.path.pop();
                }
            }
            _ => {}
        }
    }

    fn text(&mut self, text: &mut Text, at: &Location) {
        let raw = text.raw.as_str();
        let mut out = Output { value: String::new(), offsets: Vec::new() };
        let mut origin = Origin::Configuration;
        let mut inserted = Vec::new();
        let mut rest = 0;
        while let Some(dollar) = raw[rest..].find('$').map(|found| rest + found) {
            out.copy(&raw[rest..dollar], rest);
            if raw[dollar..].starts_with("$${") {
                out.insert("${", dollar);
                rest = dollar + 3;
                continue;
            }
            if !raw[dollar..].starts_with("${") {
                out.insert("$", dollar);
                rest = dollar + 1;
                continue;
            }
            let Some(close) = raw[dollar..].find('}').map(|found| dollar + found) else {
                text.origin = Origin::Unresolved;
                let error = ConfigError::new("`${` is never closed")
                    .expected("`${NAME}`, `${NAME:-default}` or `${file:PATH}`")
                    .help("write `$${` for the characters themselves".to_owned());
                return self.fail(error, at, raw, dollar..raw.len());
            };
            let reference = &raw[dollar + 2..close];
            match self.resolve(reference) {
                Ok(Some((value, from))) => {
                    origin = origin.max(from);
                    out.insert(&value, dollar);
                    if from != Origin::Configuration {
                        inserted.push((value, raw[dollar..=close].to_owned()));
                    }
                }
                Ok(None) => {
                    origin = Origin::Unresolved;
                    out.insert(&raw[dollar..=close], dollar);
                }
                Err(error) => {
                    text.origin = Origin::Unresolved;
                    return self.fail(error, at, raw, dollar..close + 1);
                }
            }
            rest = close + 1;
        }
        out.copy(&raw[rest..], rest);
        out.offsets.push(raw.len());
        text.origin = origin;
        text.value = out.value;
        text.inserted = inserted;
        text.offsets = Some(out.offsets);
    }

    fn fail(&mut self, error: ConfigError, at: &Location, raw: &str, part: std::ops::Range<usize>) {
        let offsets = offsets_of(at.source(), at.span(), raw);
        let at = Location::new(at.source(), offsets[part.start]..offsets[part.end]);
        self.errors.push(error.at(&at).key(write_path(&self.path)));
    }

    /// What stands between `${` and `}`; `None`: not to be looked up.
    fn resolve(&self, reference: &str) -> Result<Option<(String, Origin)>, ConfigError> {
        if let Some(path) = reference.strip_prefix("file:") {
            if path.is_empty() {
                return Err(ConfigError::new("`${file:}` names no file")
                    .expected("a path, such as `${file:/run/secrets/kafka_password}`"));
            }
            if matches!(self.environment, Environment::None | Environment::Partial) {
                return Ok(None);
            }
            return match self.environment.file(path) {
                Ok(text) => Ok(Some((text, Origin::File))),
                Err(reason) => Err(ConfigError::new(reason)
                    .expected(format!("`${{file:{path}}}` to name a readable text file"))),
            };
        }
        let (name, default) = match reference.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (reference, None),
        };
        let mut characters = name.chars();
        let first = characters.next();
        if !first.is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
            || !characters.all(|c| c.is_ascii_alphanumeric() || c == '_')
        {
            return Err(ConfigError::new(format!(
                "`${{{}}}` is not a reference",
                reference.chars().take(60).collect::<String>()
            ))
            .expected("`${NAME}`, `${NAME:-default}` or `${file:PATH}`")
            .help("write `$${` for the characters themselves".to_owned()));
        }
        if name == "data_dir" {
            return match &self.data_dir {
                Some(data_dir) => Ok(Some(data_dir.clone())),
                None => Err(ConfigError::new("`data_dir` cannot refer to itself")
                    .expected("a path, or an environment variable that holds one")),
            };
        }
        if default.is_some_and(|default| default.contains("${")) {
            return Err(ConfigError::new("a default cannot hold another `${`")
                .expected("`${NAME:-default}` with a plain text as the default"));
        }
        match (self.environment.variable(name).map_err(ConfigError::new)?, default) {
            (Some(value), None) => Ok(Some((value, Origin::Environment))),
            (Some(value), Some(_)) if !value.is_empty() => Ok(Some((value, Origin::Environment))),
            (_, Some(default)) => Ok(Some((default.to_owned(), Origin::Environment))),
            (None, None)
                if matches!(self.environment, Environment::None | Environment::Partial) =>
            {
                Ok(None)
            }
            (None, None) => {
                let similar = match self.environment {
                    Environment::Real => {
                        let names: Vec<String> = std::env::vars_os()
                            .filter_map(|(name, _)| name.into_string().ok())
                            .collect();
                        suggest::did_you_mean(name, names.iter().map(String::as_str))
                    }
                    Environment::None | Environment::Partial => None,
                    Environment::Map(values) => {
                        suggest::did_you_mean(name, values.keys().map(String::as_str))
                    }
                };
                Err(ConfigError::new(format!("the environment variable `{name}` is not set"))
                    .expected(format!("`{name}` to be set, or a default: `${{{name}:-…}}`"))
                    .help(similar))
            }
        }
    }
}

/// The text made so far, and where in the raw text each of its bytes came from.
struct Output {
    value: String,
    offsets: Vec<usize>,
}

impl Output {
    fn copy(&mut self, text: &str, from: usize) {
        self.value.push_str(text);
        self.offsets.extend(from..from + text.len());
    }

    fn insert(&mut self, text: &str, at: usize) {
        self.value.push_str(text);
        self.offsets.extend(std::iter::repeat_n(at, text.len()));
    }
}
