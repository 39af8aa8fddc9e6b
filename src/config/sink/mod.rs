//! `[queries.NAME.sink]` and `[detectors.NAME.sink]`: reading them.

mod kafka;
mod local;
mod postgres;

use std::collections::BTreeMap;

use crate::catalog::{PART, TableName};

use super::diagnostics::ConfigError;
use super::document::Value;
use super::model::{Compression, DeltaSinkSettings, OutputMode, SinkSettings, TypeChange};
use super::section::Section;
use super::storage;
use super::suggest;
use super::upkeep;
use super::values::COLUMNS;
use crate::lake::location_problem;

const PATH: &str = "a directory, relative to the working directory or absolute";

/// Schemes of object stores, where only Delta tables can be.
const OBJECT_STORES: &[&str] =
    &["s3", "s3a", "s3n", "gs", "az", "adl", "abfs", "abfss", "wasb", "wasbs", "hdfs", "dbfs"];

#[derive(Clone, Copy)]
enum Kind {
    Delta,
    Kafka,
    Postgres,
    Files,
    Console,
    Memory,
}

/// A sink of a query that has this output mode, and its name if it has one.
pub(crate) fn read(
    section: &Section<'_>,
    mode: OutputMode,
) -> Option<(Option<String>, SinkSettings)> {
    let Some(entry) = section.entry("type") else {
        section.missing("type", "\"delta\"");
        return None;
    };
    let kind = section.choose(
        "type",
        &entry.node,
        &[
            ("delta", Kind::Delta),
            ("kafka", Kind::Kafka),
            ("postgres", Kind::Postgres),
            ("files", Kind::Files),
            ("console", Kind::Console),
            ("memory", Kind::Memory),
        ],
        &[
            ("parquet", "write \"files\", and `format = \"parquet\"`"),
            ("json", "write \"files\", and `format = \"ndjson\"`"),
            ("ndjson", "write \"files\", and `format = \"ndjson\"`"),
            ("csv", "write \"files\", and `format = \"csv\"`"),
            ("jdbc", "write \"postgres\""),
            ("postgresql", "write \"postgres\""),
            ("foreachBatch", "write several [[queries.NAME.sinks]]"),
        ],
    )?;
    let name = name(section);
    let settings = match kind {
        Kind::Delta => {
            let key = key(section, mode == OutputMode::Update, "mode = \"update\"");
            let on_type_change = section.choice(
                "on_type_change",
                &[("refuse", TypeChange::Refuse), ("dead_letter", TypeChange::DeadLetter)],
                &[("fail", "write \"refuse\""), ("overwrite", "types are never changed")],
                TypeChange::Refuse,
            );
            read_delta(section, None).map(|delta| DeltaSinkSettings {
                key,
                on_type_change,
                ..delta
            })
        }
        .map(SinkSettings::Delta),
        Kind::Kafka => kafka::read(section).map(SinkSettings::Kafka),
        Kind::Postgres => postgres::read(section, mode).map(SinkSettings::Postgres),
        Kind::Files => local::read_files(section, mode).map(SinkSettings::Files),
        Kind::Console => Some(SinkSettings::Console(local::read_console(section))),
        Kind::Memory => Some(SinkSettings::Memory(local::read_memory(section))),
    };
    section.finish();
    Some((name, settings?))
}

/// The `name` of one of several sinks.
fn name(section: &Section<'_>) -> Option<String> {
    const NAME: &str = "letters, digits, `_` and `-`, at most 64";
    let found = section.string("name", NAME)?;
    let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if !found.unresolved && (found.text.len() > 64 || !found.text.chars().all(valid)) {
        section.reject("name", found.node, NAME, None);
    }
    Some(found.text.to_owned())
}

/// The columns by which a row replaces another, where there is such a thing.
fn key(section: &Section<'_>, replaces: bool, expected: &str) -> Vec<String> {
    let key = section.some_columns("key", COLUMNS);
    if !replaces && let Some(entry) = section.entry("key") {
        let error = ConfigError::new("`key` has no effect: rows are only added")
            .expected(format!("`{expected}`, or no `key`"));
        section.report("key", &entry.key_at, error);
    }
    key
}

/// `default_path`: for sinks that may leave `path` out. `finish` is the caller's.
pub(crate) fn read_delta(
    section: &Section<'_>,
    default_path: Option<String>,
) -> Option<DeltaSinkSettings> {
    let path = match (section.has("path"), default_path) {
        (false, Some(path)) => Some(path),
        (false, None) => {
            section.missing("path", "\"${data_dir}/bronze\"");
            None
        }
        (true, _) => delta_path(section),
    };
    let partition_by = section.columns("partition_by", COLUMNS);
    let settings = DeltaSinkSettings {
        path: String::new(),
        storage: storage::of_table(section),
        table: table_name(section),
        partition_by,
        key: Vec::new(),
        compression: parquet_compression(section),
        target_file_size: section.size("target_file_size", 64 << 20, 64 << 10, 4 << 30),
        evolve: section.choice(
            "evolve",
            &[("add", true), ("none", false)],
            &[
                ("true", "write \"add\": columns that are new are added to the table"),
                ("false", "write \"none\""),
                ("overwrite", "types and columns that are there are never changed"),
            ],
            false,
        ),
        on_type_change: TypeChange::Refuse,
        checkpoint_interval: section.integer("checkpoint_interval", 1, 100_000).unwrap_or(10),
        properties: properties(&section.section("properties")),
        upkeep: upkeep::read(section, true).map(Box::new),
    };
    path.map(|path| DeltaSinkSettings { path, ..settings })
}

/// What the catalogue calls a table; errors are reported.
pub(crate) fn table_name(section: &Section<'_>) -> Option<String> {
    let expected = format!("`schema.table` or `table`, each of {PART}");
    let found = section.string("table", &expected)?;
    if !found.unresolved && TableName::parse(found.text, "schema").is_err() {
        section.reject("table", found.node, &expected, None);
        return None;
    }
    (!found.unresolved).then(|| found.text.to_owned())
}

/// The `path` of a Delta table; errors are reported.
pub(crate) fn delta_path(section: &Section<'_>) -> Option<String> {
    const EXPECTED: &str = "a directory, relative to the working directory or absolute, or the \
                            address of a table in an object store, such as s3://bucket/tables/bronze";
    let found = section.string("path", EXPECTED)?;
    if found.unresolved {
        return Some(found.text.to_owned());
    }
    let problem = location_problem(found.text);
    if problem.is_some() || found.text.contains('\0') {
        section.reject("path", found.node, EXPECTED, problem);
        return None;
    }
    Some(found.text.to_owned())
}

/// The `path` of a directory of files; errors are reported.
pub(super) fn table_path(section: &Section<'_>) -> Option<String> {
    let found = section.string("path", PATH)?;
    if found.unresolved {
        return Some(found.text.to_owned());
    }
    if let Some((scheme, _)) = found.text.split_once("://")
        && !scheme.eq_ignore_ascii_case("file")
    {
        let help = if OBJECT_STORES.contains(&scheme.to_ascii_lowercase().as_str()) {
            "only Delta tables can be in an object store; files go to local and mounted directories"
        } else {
            "only `file://` is an address of a directory"
        };
        section.reject("path", found.node, PATH, Some(help.to_owned()));
        return None;
    }
    if found.text.contains('\0') {
        section.reject("path", found.node, PATH, None);
        return None;
    }
    Some(found.text.to_owned())
}

pub(crate) fn parquet_compression(section: &Section<'_>) -> Compression {
    const EXPECTED: &str =
        "`none`, `snappy`, `lz4`, `zstd` or `zstd(LEVEL)` with a level of 1 to 22";
    const NAMES: [(&str, Compression); 4] = [
        ("none", Compression::None),
        ("snappy", Compression::Snappy),
        ("lz4", Compression::Lz4),
        // The level that zstd itself defaults to.
        ("zstd", Compression::Zstd(3)),
    ];
    let Some(found) = section.string("compression", EXPECTED) else { return Compression::Snappy };
    if found.unresolved {
        return Compression::Snappy;
    }
    let text = found.text.trim();
    if let Some((_, compression)) = NAMES.iter().find(|(name, _)| *name == text) {
        return *compression;
    }
    if let Some(level) = level(text) {
        return Compression::Zstd(level);
    }
    let help = match text {
        "gzip" | "brotli" | "lzo" => Some("zstd is smaller and quicker".to_owned()),
        "uncompressed" => Some("did you mean `none`?".to_owned()),
        _ => suggest::did_you_mean(text, NAMES.iter().map(|(name, _)| *name)),
    };
    section.reject("compression", found.node, EXPECTED, help);
    Compression::Snappy
}

/// The level of `zstd(LEVEL)`, if it is one.
fn level(text: &str) -> Option<i32> {
    let level = text.strip_prefix("zstd(")?.strip_suffix(')')?.trim().parse().ok()?;
    (1..=22).contains(&level).then_some(level)
}

fn properties(section: &Section<'_>) -> BTreeMap<String, String> {
    const EXPECTED: &str = "a string, a number, true or false";
    let mut properties = BTreeMap::new();
    for (name, entry) in section.dotted() {
        let value = match &entry.node.value {
            Value::String(_) => {
                let Some(found) = section.as_string(&name, &entry.node, EXPECTED) else { continue };
                found.text.to_owned()
            }
            Value::Integer(number) => number.to_string(),
            Value::Float(number) => number.to_string(),
            Value::Boolean(value) => value.to_string(),
            _ => {
                section.reject(&name, &entry.node, EXPECTED, None);
                continue;
            }
        };
        properties.insert(name, value);
    }
    properties
}
