//! The catalogue: which tables there are, by name.
//!
//! Every Delta table that a configuration writes (sinks, dead letters, anomalies) or reads (static
//! tables, sources of type `delta`) has a name, `schema.table`: what the configuration says with
//! `table = "bronze.logs"`, or else the pipeline's name and that of the query. Where only one
//! schema has a table of a name, the name alone will do. A path, a URL or `` delta.`path` `` names
//! any table, also one that no configuration knows of.
//!
//! The configuration room fills it ([`Catalog::of`]); nothing is read from any table here.

mod name;

use std::path::Path;

use serde::Serialize;

pub(crate) use name::PART;
pub use name::TableName;

use crate::lake::TableLocation;
use crate::sql::nearest;

/// What a table is to the configuration that knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TableKind {
    /// A query writes it.
    Sink,
    /// Records that could not be read go there.
    DeadLetters,
    /// Detectors write it.
    Anomalies,
    /// Queries join with it: `[tables.NAME]`.
    Static,
    /// A source reads it.
    Source,
    /// It was named by its path.
    Path,
}

impl TableKind {
    /// In words, for lists.
    pub fn words(self) -> &'static str {
        match self {
            Self::Sink => "sink",
            Self::DeadLetters => "dead letters",
            Self::Anomalies => "anomalies",
            Self::Static => "static table",
            Self::Source => "source",
            Self::Path => "path",
        }
    }
}

/// A table that is known by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableEntry {
    /// `schema.table`. Of a table that was named by its path: `delta.<path>`, see
    /// [`shown`](Self::shown).
    pub name: TableName,
    /// Where it is.
    pub location: TableLocation,
    /// What it is to the configuration.
    pub kind: TableKind,
    /// Who writes it, if that is in the configuration: `query bronze`.
    pub written_by: Option<String>,
}

impl TableEntry {
    /// A table that is known by its path only.
    pub fn at_path(path: &str) -> Self {
        Self {
            name: TableName::of("delta", path),
            location: TableLocation::new(path),
            kind: TableKind::Path,
            written_by: None,
        }
    }

    /// How messages and lists call it: by its name, or by its path if it has none.
    pub fn shown(&self) -> String {
        match self.kind {
            TableKind::Path => self.location.uri().to_owned(),
            _ => self.name.to_string(),
        }
    }
}

/// A name that is none, or not just one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CatalogError {
    /// No table is called that.
    #[error("there is no table '{name}'; {hint}")]
    Unknown {
        /// As it was written.
        name: String,
        /// The nearest name, or all there are.
        hint: String,
    },
    /// Several schemas have a table of this name.
    #[error("'{name}' is ambiguous: write {}", candidates.join(" or "))]
    Ambiguous {
        /// As it was written.
        name: String,
        /// The full names.
        candidates: Vec<String>,
    },
    /// It cannot be a table's name.
    #[error(
        "'{name}' cannot be the name of a table; expected `schema.table` or `table`, each of {PART}"
    )]
    Name {
        /// As it was written.
        name: String,
    },
    /// Two tables have one name.
    #[error("'{name}' is the name of two tables, at {first} and {second}")]
    Twice {
        /// The name.
        name: TableName,
        /// Where one is.
        first: String,
        /// Where the other is.
        second: String,
    },
}

/// The tables that are known by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalog {
    tables: Vec<TableEntry>,
    /// Tables without a name are not to be had.
    only_named: bool,
}

impl Catalog {
    /// Without tables: only paths can be resolved.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a table.
    ///
    /// # Errors
    /// [`CatalogError::Twice`] if another table has its name.
    pub fn add(&mut self, entry: TableEntry) -> Result<(), CatalogError> {
        if let Some(other) = self.tables.iter().find(|other| other.name.is(&entry.name)) {
            return Err(CatalogError::Twice {
                name: entry.name,
                first: other.location.uri().to_owned(),
                second: entry.location.uri().to_owned(),
            });
        }
        self.tables.push(entry);
        Ok(())
    }

    /// The same, without what was only known by its path: for those who may read the tables of the
    /// configuration, and not whatever else this process could read.
    pub fn only_named(self) -> Self {
        Self { only_named: true, ..self }
    }

    /// All tables with a name, in the order of the configuration.
    pub fn tables(&self) -> &[TableEntry] {
        &self.tables
    }

    /// The table that is meant by `name`, as somebody writes it on a command line: `table`,
    /// `schema.table` (with or without backquotes), `` delta.`path` ``, a path or a URL.
    ///
    /// # Errors
    /// [`CatalogError::Unknown`] with the nearest name, [`CatalogError::Ambiguous`].
    pub fn resolve(&self, name: &str) -> Result<TableEntry, CatalogError> {
        let name = name.trim();
        let parts = unquoted(name);
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        match self.resolve_parts(&parts) {
            Err(CatalogError::Unknown { .. } | CatalogError::Name { .. })
                if !self.only_named && is_path(name) =>
            {
                Ok(TableEntry::at_path(name))
            }
            Err(CatalogError::Unknown { hint, .. }) => {
                Err(CatalogError::Unknown { name: name.to_owned(), hint })
            }
            other => other,
        }
    }

    /// The table that SQL means by the parts of a name, without their quotes.
    ///
    /// # Errors
    /// As [`resolve`](Self::resolve).
    pub fn resolve_parts(&self, parts: &[&str]) -> Result<TableEntry, CatalogError> {
        let unknown = || CatalogError::Unknown { name: parts.join("."), hint: self.hint(parts) };
        match parts {
            [table] => {
                let found: Vec<&TableEntry> = self
                    .tables
                    .iter()
                    .filter(|entry| entry.name.table().eq_ignore_ascii_case(table))
                    .collect();
                match found.as_slice() {
                    [] if !self.only_named && is_path(table) => Ok(TableEntry::at_path(table)),
                    [] => Err(unknown()),
                    [entry] => Ok((*entry).clone()),
                    // A table that one query writes and another reads has two names.
                    [first, rest @ ..] if rest.iter().all(|e| e.location == first.location) => {
                        Ok((*first).clone())
                    }
                    several => Err(CatalogError::Ambiguous {
                        name: (*table).to_owned(),
                        candidates: several.iter().map(|entry| entry.name.to_string()).collect(),
                    }),
                }
            }
            // A catalogue of this name would be Spark's own.
            ["spark_catalog" | "millpond", rest @ ..] if !rest.is_empty() => {
                self.resolve_parts(rest)
            }
            [schema, table] => {
                let found = self.tables.iter().find(|entry| {
                    entry.name.schema().eq_ignore_ascii_case(schema)
                        && entry.name.table().eq_ignore_ascii_case(table)
                });
                match found {
                    Some(entry) => Ok(entry.clone()),
                    None if !self.only_named
                        && schema.eq_ignore_ascii_case("delta")
                        && !table.is_empty() =>
                    {
                        Ok(TableEntry::at_path(table))
                    }
                    None => Err(unknown()),
                }
            }
            _ => Err(CatalogError::Name { name: parts.join(".") }),
        }
    }

    fn hint(&self, parts: &[&str]) -> String {
        if self.only_named && parts.iter().any(|part| part.contains('/')) {
            return "here tables are read by their names, not by their paths".to_owned();
        }
        if self.tables.is_empty() {
            return "no configuration names any tables: give one with --config, or the path of a \
                    Delta table"
                .to_owned();
        }
        let full: Vec<String> = self.tables.iter().map(|entry| entry.name.to_string()).collect();
        let wanted = parts.join(".");
        let by_table = || {
            let names = self.tables.iter().map(|entry| entry.name.table());
            let table = nearest(parts.last()?, names)?;
            let entry = self.tables.iter().find(|entry| entry.name.table() == table)?;
            Some(entry.name.to_string())
        };
        let by_full_name = || nearest(&wanted, full.iter().map(String::as_str)).map(str::to_owned);
        let near = match parts {
            [_] => by_table().or_else(by_full_name),
            _ => by_full_name().or_else(by_table),
        };
        match near {
            Some(near) => format!("did you mean '{near}'?"),
            None => format!("the tables are {}", full.join(", ")),
        }
    }
}

/// Whether this can only be meant as a path, or there is a table in the directory of this name.
fn is_path(name: &str) -> bool {
    name.contains('/') || name.starts_with('.') || Path::new(name).join("_delta_log").is_dir()
}

/// The parts of a name, split at the dots that are not in backquotes.
fn unquoted(name: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut quoted = false;
    let mut characters = name.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            // Two of them inside of quotes are one.
            '`' if quoted && characters.peek() == Some(&'`') => {
                characters.next();
                push(&mut parts, '`');
            }
            '`' => quoted = !quoted,
            '.' if !quoted => parts.push(String::new()),
            c => push(&mut parts, c),
        }
    }
    parts
}

fn push(parts: &mut [String], c: char) {
    if let Some(part) = parts.last_mut() {
        part.push(c);
    }
}

#[cfg(test)]
mod tests;
