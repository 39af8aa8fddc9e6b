//! Other readers have to agree with this one about what is in a table.

use std::path::Path;

use serde_json::{Value, json};

use super::python;

/// Which tables are read, how, and how far back.
pub struct Agreement<'a> {
    tables: Vec<(String, String)>,
    storage: &'a [(String, String)],
    versions: Option<usize>,
}

impl<'a> Agreement<'a> {
    /// About tables below a directory or an address: three versions of each, the newest and the
    /// oldest among them.
    pub fn below(base: &Path, names: &[&str]) -> Self {
        let tables = names
            .iter()
            .map(|name| ((*name).to_owned(), base.join(name).to_string_lossy().into_owned()))
            .collect();
        Self { tables, storage: &[], versions: Some(3) }
    }

    /// In an object store that is found with these variables.
    #[must_use]
    pub fn in_store(mut self, storage: &'a [(String, String)]) -> Self {
        self.storage = storage;
        self
    }

    /// About this many versions of each table; 0: about all.
    #[must_use]
    pub fn versions(mut self, count: usize) -> Self {
        self.versions = Some(count).filter(|count| *count > 0);
        self
    }

    /// Asserts that `millpond sql`, DuckDB's Delta extension, Python's deltalake and Polars find the
    /// same schema and the same rows in each version. Gives the number of rows of each table's
    /// newest version.
    pub fn check(self) -> Vec<u64> {
        let object = |pairs: &[(String, String)]| -> Value {
            pairs.iter().map(|(name, value)| (name.clone(), json!(value))).collect()
        };
        let answer = python::script_in(
            &python::environment_with_stores(),
            "readers.py",
            &json!({
                "millpond": env!("CARGO_BIN_EXE_millpond"),
                "tables": object(&self.tables),
                "storage": object(self.storage),
                "versions": self.versions,
            }),
        );
        println!("readers agree about {}", answer["checked"]);
        let disagree = answer["disagree"].as_array().expect("a list");
        assert!(disagree.is_empty(), "the readers disagree: {disagree:#?}");
        let rows = |(name, _): &(String, String)| {
            let versions = answer["checked"][name].as_array().expect("versions of each table");
            let newest = versions.last().expect("a table has a version");
            newest[1].as_u64().unwrap_or_else(|| panic!("{name}: {newest}"))
        };
        self.tables.iter().map(rows).collect()
    }
}
