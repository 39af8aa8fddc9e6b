//! TOML files as one merged tree, in which every key and value knows its place.

use std::ops::Range;
use std::sync::Arc;

use toml::de::{DeTable, DeValue};
use toml::value::Datetime;

use super::diagnostics::{ConfigError, Location, SourceFile};
use super::kafka_options::is_secret_option;
use super::secret::{MASK, names_secret};
use crate::lake::store::looks_secret;

/// A configuration of more bytes than this is some other file.
pub(crate) const LARGEST: usize = 4 << 20;

/// Tables and arrays within each other; the model has six.
const DEEPEST: usize = 64;

#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) value: Value,
    /// Of a value: its span; of a table: its header.
    pub(crate) at: Location,
}

#[derive(Clone)]
pub(crate) enum Value {
    String(Text),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    Datetime(Datetime),
    Array(Vec<Node>),
    Table(Table),
}

/// A string and what became of its `${…}`.
#[derive(Clone)]
pub(crate) struct Text {
    /// As the file has it, escapes undone: safe to show, since secrets are not in it.
    pub(crate) raw: String,
    /// With every `${…}` replaced.
    pub(crate) value: String,
    pub(crate) origin: Origin,
    /// For each byte of `value` and its end, the offset in `raw`; absent if they are equal.
    pub(crate) offsets: Option<Vec<usize>>,
    /// The parts of `value` that came from the environment, and how `raw` has each.
    pub(crate) inserted: Vec<(String, String)>,
}

/// Where the value of a string came from; what comes later outweighs what comes before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Origin {
    /// The configuration itself, `${data_dir}` included.
    Configuration,
    /// An environment variable.
    Environment,
    /// `${file:…}`
    File,
    /// Not known: the environment was not to be looked at.
    Unresolved,
}

impl Text {
    pub(crate) fn plain(text: impl Into<String>) -> Self {
        let raw = text.into();
        Self {
            value: raw.clone(),
            raw,
            origin: Origin::Configuration,
            offsets: None,
            inserted: vec![],
        }
    }

    pub(crate) fn is_interpolated(&self) -> bool {
        self.origin != Origin::Configuration
    }
}

impl Node {
    /// The value for an error: short, and as the file has it, never what was interpolated.
    pub(crate) fn shown(&self) -> String {
        match &self.value {
            Value::String(text) => {
                let shown = if text.is_interpolated() { &text.raw } else { &text.value };
                if holds_credentials(shown) {
                    return MASK.to_owned();
                }
                let mut short: String = shown.chars().take(60).collect();
                if shown.chars().nth(60).is_some() {
                    short.push('…');
                }
                format!("\"{}\"", short.escape_debug())
            }
            Value::Integer(number) => number.to_string(),
            Value::Float(number) => number.to_string(),
            Value::Boolean(value) => value.to_string(),
            Value::Datetime(value) => value.to_string(),
            Value::Array(_) => "an array".to_owned(),
            Value::Table(_) => "a table".to_owned(),
        }
    }

    pub(crate) fn kind(&self) -> &'static str {
        match &self.value {
            Value::String(_) => "a string",
            Value::Integer(_) => "an integer",
            Value::Float(_) => "a float",
            Value::Boolean(_) => "a boolean",
            Value::Datetime(_) => "a date or time",
            Value::Array(_) => "an array",
            Value::Table(_) => "a table",
        }
    }

    pub(crate) fn as_table(&self) -> Option<&Table> {
        match &self.value {
            Value::Table(table) => Some(table),
            _ => None,
        }
    }
}

/// Keys and values in the order of the file.
#[derive(Clone, Default)]
pub(crate) struct Table {
    pub(crate) entries: Vec<Entry>,
}

#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_at: Location,
    pub(crate) node: Node,
}

impl Table {
    pub(crate) fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// Lays `later` over this: tables are merged key by key, all else is replaced.
    pub(crate) fn merge(&mut self, later: Table) {
        for entry in later.entries {
            match self.entries.iter_mut().find(|mine| mine.key == entry.key) {
                None => self.entries.push(entry),
                Some(mine) => match (&mut mine.node.value, entry.node.value) {
                    (Value::Table(mine), Value::Table(later)) => mine.merge(later),
                    (_, value) => {
                        mine.key_at = entry.key_at;
                        mine.node = Node { value, at: entry.node.at };
                    }
                },
            }
        }
    }
}

/// Parses a file. Syntax errors are all reported; a file that has some gives no tree.
pub(crate) fn parse(file: &Arc<SourceFile>) -> Result<Table, Vec<ConfigError>> {
    if file.text.len() > LARGEST {
        let error = ConfigError::new(format!("{} is not a configuration: too large", file.name))
            .expected(format!("at most {} MiB", LARGEST >> 20));
        return Err(vec![error]);
    }
    let (root, syntax) = DeTable::parse_recoverable(&file.text);
    if syntax.is_empty() {
        let mut conversion = Conversion { file, masked: Vec::new(), errors: Vec::new() };
        let table = conversion.table(root.get_ref(), None, 0);
        file.mask(conversion.masked);
        return if conversion.errors.is_empty() { Ok(table) } else { Err(conversion.errors) };
    }
    file.mask(assignments_of_secrets(&file.text));
    let mut last_line = 0;
    let mut errors = Vec::new();
    for error in syntax {
        let location = Location::new(file, error.span().unwrap_or(0..0));
        // What follows on the same line is nearly always a consequence.
        if location.line() != last_line {
            last_line = location.line();
            errors.push(
                ConfigError::new(format!("this is not TOML: {}", error.message()))
                    .at(&location)
                    .help(syntax_help(error.message())),
            );
        }
    }
    Err(errors)
}

fn syntax_help(message: &str) -> Option<String> {
    message.contains("duplicate key").then(|| {
        "a file may give a key once; to override it, give it in a file that is read later"
            .to_owned()
    })
}

struct Conversion<'a> {
    file: &'a Arc<SourceFile>,
    masked: Vec<Range<usize>>,
    errors: Vec<ConfigError>,
}

impl Conversion<'_> {
    /// `within`: inside a table of pass-through options, the dotted name so far (which is
    /// empty in `options` itself).
    fn table(&mut self, table: &DeTable<'_>, within: Option<&str>, depth: usize) -> Table {
        let mut entries: Vec<(usize, Entry)> = Vec::with_capacity(table.len());
        for (key, value) in table {
            let name: &str = key.get_ref();
            let dotted = option_name(within, name);
            let secret = is_secret_name(dotted.as_deref(), name);
            let credentials = value.get_ref().as_str().is_some_and(holds_credentials);
            if (secret || credentials)
                && !value.get_ref().is_table()
                && !is_reference(value.get_ref())
            {
                self.masked.push(value.span());
            }
            let entry = Entry {
                key: name.to_owned(),
                key_at: Location::new(self.file, key.span()),
                node: self.node(value, dotted.as_deref(), depth + 1),
            };
            entries.push((key.span().start, entry));
        }
        // The map is sorted by key; the order of the file is the order that users see.
        entries.sort_by_key(|(start, _)| *start);
        Table { entries: entries.into_iter().map(|(_, entry)| entry).collect() }
    }

    fn node(
        &mut self,
        value: &toml::Spanned<DeValue<'_>>,
        within: Option<&str>,
        depth: usize,
    ) -> Node {
        let at = Location::new(self.file, value.span());
        let value = match value.get_ref() {
            _ if depth > DEEPEST => {
                self.errors.push(ConfigError::new("tables are nested too deeply").at(&at));
                Value::Boolean(false)
            }
            DeValue::String(text) => Value::String(Text::plain(text.as_ref())),
            DeValue::Integer(number) => {
                let digits = number.as_str().replace('_', "");
                match i64::from_str_radix(&digits, number.radix()) {
                    Ok(number) => Value::Integer(number),
                    Err(_) => {
                        self.errors.push(
                            ConfigError::new("this integer is out of range")
                                .at(&at)
                                .expected("an integer of 64 bits"),
                        );
                        Value::Integer(0)
                    }
                }
            }
            DeValue::Float(number) => match number.as_str().replace('_', "").parse() {
                Ok(number) => Value::Float(number),
                Err(_) => {
                    self.errors.push(ConfigError::new("this is not a number").at(&at));
                    Value::Float(0.0)
                }
            },
            DeValue::Boolean(value) => Value::Boolean(*value),
            DeValue::Datetime(value) => Value::Datetime(*value),
            DeValue::Array(items) => {
                Value::Array(items.iter().map(|item| self.node(item, within, depth + 1)).collect())
            }
            DeValue::Table(table) => Value::Table(self.table(table, within, depth)),
        };
        Node { value, at }
    }
}

/// The dotted name of a pass-through option after one more key; empty in the table of options
/// itself, absent outside of one.
fn option_name(within: Option<&str>, key: &str) -> Option<String> {
    match within {
        None if matches!(key, "options" | "properties") => Some(String::new()),
        None => None,
        Some("") => Some(key.to_owned()),
        Some(outer) => Some(format!("{outer}.{key}")),
    }
}

/// What the names of keys contain whose values are not shown, outside of `options`. The latter ones
/// are those of object stores, which a configuration must not have; errors say so.
const SECRET_KEYS: [&str; 8] = [
    "password",
    "secret",
    "token",
    "access_key",
    "account_key",
    "sas_key",
    "credential",
    "service_account",
];

fn is_secret_name(option: Option<&str>, key: &str) -> bool {
    match option {
        None => SECRET_KEYS.iter().any(|word| key.contains(word)),
        Some(option) => !option.is_empty() && is_secret_option(option),
    }
}

/// Whether the value of a key path must not be shown.
pub(crate) fn is_secret_path(path: &[String]) -> bool {
    let mut option = None;
    let mut secret = false;
    for key in path {
        option = option_name(option.as_deref(), key);
        secret = is_secret_name(option.as_deref(), key);
    }
    secret
}

/// Whether a text is an address with a user in it (`postgres://user:password@host`), or one of
/// PostgreSQL's `password=…` strings.
pub(crate) fn holds_credentials(text: &str) -> bool {
    // `abfss://container@account.dfs.core.windows.net/` has no user in it.
    let container = text.strip_prefix("abfss://").or_else(|| text.strip_prefix("abfs://"));
    if let Some((name, _)) = container.and_then(|rest| rest.split_once('@'))
        && !name.contains([':', '/'])
    {
        return looks_secret(text);
    }
    let user = text.match_indices("://").any(|(at, _)| {
        let rest = &text[at + 3..];
        rest[..rest.find('/').unwrap_or(rest.len())].contains('@')
    });
    // A password may hold a slash where it should not: then the user is not found above.
    user || (text.contains("://") && text.contains('@'))
        || text.contains("password=")
        || looks_secret(text)
}

/// Whether a value is one `${…}` and nothing else: then it says where a secret is, not what.
fn is_reference(value: &DeValue<'_>) -> bool {
    let Some(inner) = value.as_str().and_then(|text| text.strip_prefix("${")?.strip_suffix('}'))
    else {
        return false;
    };
    !inner.contains(['$', '{', '}']) && !inner.contains(":-")
}

/// What follows `password = ` and the like, in a file too broken for its tree to be trusted.
pub(crate) fn assignments_of_secrets(text: &str) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let mut start = 0;
    while let Some(equals) = text[start..].find('=').map(|at| start + at) {
        let line = text[..equals].rfind('\n').map_or(0, |at| at + 1);
        let rest = &text[equals + 1..];
        let written = &rest[..rest.find('\n').unwrap_or(rest.len())];
        if !names_secret(&text[line.max(start)..equals]) && !holds_credentials(written) {
            start = equals + 1;
            continue;
        }
        let value = &text[equals + 1..];
        let trimmed = value.trim_start_matches([' ', '\t']);
        let long = ["\"\"\"", "'''"].into_iter().find(|quote| trimmed.starts_with(quote));
        let end = match long {
            Some(quote) => {
                let body = value.len() - trimmed.len() + quote.len();
                value[body..].find(quote).map_or(value.len(), |at| body + at + quote.len())
            }
            None => value.find('\n').unwrap_or(value.len()),
        };
        let from = equals + 1 + (value.len() - trimmed.len()).min(end);
        ranges.push(from..equals + 1 + end);
        start = equals + 1 + end;
    }
    ranges
}

/// A key as it is written in a path: bare if it can be.
pub(crate) fn write_key(key: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !key.is_empty() && key.chars().all(bare) {
        key.to_owned()
    } else {
        format!("\"{}\"", key.escape_debug())
    }
}

/// A key path as it is written for `--set`.
pub(crate) fn write_path<S: AsRef<str>>(path: &[S]) -> String {
    path.iter().map(|key| write_key(key.as_ref())).collect::<Vec<_>>().join(".")
}
