//! `[queries.NAME.sink]` and `[detectors.NAME.sink]`: reading them.

use std::collections::BTreeMap;

use super::diagnostics::ConfigError;
use super::document::Value;
use super::model::{Compression, DeltaSinkSettings};
use super::section::Section;
use super::suggest;

const PATH: &str = "a directory, relative to the working directory or absolute";

/// Schemes of object stores, which this build has no client for.
const OBJECT_STORES: &[&str] =
    &["s3", "s3a", "s3n", "gs", "az", "adl", "abfs", "abfss", "wasb", "wasbs", "hdfs", "dbfs"];

/// `default_path`: for sinks that may leave `path` out.
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
        (true, _) => table_path(section),
    };
    let mut partition_by: Vec<String> = Vec::new();
    for column in section.strings("partition_by", "names of columns of the query") {
        if partition_by.iter().any(|other| other == column.text) {
            let error = ConfigError::new(format!("{} is listed twice", column.node.shown()))
                .expected("each column once");
            section.report("partition_by", &column.node.at, error);
        } else {
            partition_by.push(column.text.to_owned());
        }
    }
    let settings = DeltaSinkSettings {
        path: String::new(),
        partition_by,
        compression: compression(section),
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
        checkpoint_interval: section.integer("checkpoint_interval", 1, 100_000).unwrap_or(10),
        properties: properties(&section.section("properties")),
    };
    section.finish();
    path.map(|path| DeltaSinkSettings { path, ..settings })
}

/// The `path` of a table; errors are reported.
pub(crate) fn table_path(section: &Section<'_>) -> Option<String> {
    let found = section.string("path", PATH)?;
    if found.unresolved {
        return Some(found.text.to_owned());
    }
    if let Some((scheme, _)) = found.text.split_once("://")
        && !scheme.eq_ignore_ascii_case("file")
    {
        let help = if OBJECT_STORES.contains(&scheme.to_ascii_lowercase().as_str()) {
            "object stores are not supported yet: only local and mounted directories are"
        } else {
            "only `file://` is an address of a table"
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

fn compression(section: &Section<'_>) -> Compression {
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
    let level = text.strip_prefix("zstd(").and_then(|rest| rest.strip_suffix(')'));
    if let Some(level) = level.and_then(|level| level.trim().parse().ok())
        && (1..=22).contains(&level)
    {
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
