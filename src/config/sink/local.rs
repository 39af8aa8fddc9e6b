//! The keys of sinks of `type = "files"`, `"console"` and `"memory"`.

use super::super::diagnostics::ConfigError;
use super::super::document::Value;
use super::super::model::{
    ConsoleSinkSettings, FilesFormat, FilesSinkSettings, MemorySinkSettings, OutputMode,
    TextCompression,
};
use super::super::section::Section;
use super::super::values::COLUMNS;
use super::{level, parquet_compression, table_path};

#[derive(Clone, Copy)]
enum Kind {
    Ndjson,
    Csv,
    Parquet,
}

pub(super) fn read_files(section: &Section<'_>, mode: OutputMode) -> Option<FilesSinkSettings> {
    if mode == OutputMode::Update {
        let error = ConfigError::new("a sink of files does not take mode `update`")
            .expected(
                "a query of mode `append` or `complete`: files that are written do not change",
            )
            .help("`delta` and `postgres` take rows that replace others".to_owned());
        section.report("type", &section.location("type"), error);
    }
    if !section.has("path") {
        section.missing("path", "\"${data_dir}/events\"");
    }
    let path = table_path(section);
    let Some(entry) = section.entry("format") else {
        section.missing("format", "\"ndjson\"");
        return None;
    };
    let choices = [("ndjson", Kind::Ndjson), ("csv", Kind::Csv), ("parquet", Kind::Parquet)];
    let refused = [("json", "write \"ndjson\": one object a line")];
    let format = match section.choose("format", &entry.node, &choices, &refused)? {
        Kind::Ndjson => FilesFormat::Ndjson { compression: text_compression(section) },
        Kind::Csv => FilesFormat::Csv {
            compression: text_compression(section),
            header: section.boolean("header", true),
            delimiter: section.character("delimiter", false).flatten().unwrap_or(b','),
        },
        Kind::Parquet => FilesFormat::Parquet { compression: parquet_compression(section) },
    };
    let partition_by = section.columns("partition_by", COLUMNS);
    let max_file_rows = section.integer("max_file_rows", 1, u64::from(u32::MAX));
    let max_file_rows = max_file_rows.unwrap_or(10_000_000);
    Some(FilesSinkSettings { path: path?, format, partition_by, max_file_rows })
}

fn text_compression(section: &Section<'_>) -> TextCompression {
    const EXPECTED: &str = "`none`, `gzip`, `zstd` or `zstd(LEVEL)` with a level of 1 to 22";
    if let Some(entry) = section.entry("compression")
        && let Value::String(text) = &entry.node.value
        && let Some(level) = level(text.value.trim())
    {
        return TextCompression::Zstd(level);
    }
    let Some(entry) = section.entry("compression") else { return TextCompression::None };
    let choices = [
        ("none", TextCompression::None),
        ("gzip", TextCompression::Gzip),
        ("zstd", TextCompression::Zstd(3)),
    ];
    let refused = [("gz", "write \"gzip\""), ("snappy", "write \"zstd\": it is as quick")];
    section
        .choose_of("compression", &entry.node, &choices, &refused, EXPECTED)
        .unwrap_or(TextCompression::None)
}

pub(super) fn read_console(section: &Section<'_>) -> ConsoleSinkSettings {
    ConsoleSinkSettings {
        truncate: truncate(section),
        rows: section.count("rows", 1, 1_000_000).unwrap_or(20),
        vertical: section.boolean("vertical", false),
    }
}

fn truncate(section: &Section<'_>) -> Option<usize> {
    const EXPECTED: &str = "true (to 20 characters), false, or a number of characters";
    let default = Some(20);
    let Some(entry) = section.entry("truncate") else { return default };
    match &entry.node.value {
        Value::Boolean(true) => default,
        Value::Boolean(false) | Value::Integer(0) => None,
        Value::Integer(number) if *number > 0 => usize::try_from(*number).ok(),
        // Spark's option is a string.
        Value::String(text) if text.value == "true" => default,
        Value::String(text) if text.value == "false" => None,
        Value::String(text) if text.is_interpolated() => match text.value.trim().parse::<usize>() {
            Ok(0) => None,
            Ok(number) => Some(number),
            Err(_) if text.value.contains("${") => default,
            Err(_) => {
                section.reject("truncate", &entry.node, EXPECTED, None);
                default
            }
        },
        _ => {
            section.reject("truncate", &entry.node, EXPECTED, None);
            default
        }
    }
}

pub(super) fn read_memory(section: &Section<'_>) -> MemorySinkSettings {
    let max_rows = section.count("max_rows", 1, 10_000_000).unwrap_or(10_000);
    MemorySinkSettings { max_rows }
}
