//! The configuration: TOML files, merged, with secrets filled in, validated as a whole.
//!
//! ```text
//! files and directories --parse--> trees --merge--> one tree   (--set laid over it)
//!    --interpolate ${…}--> the same tree --read--> Settings --check--> Settings, or all errors
//! ```
//!
//! Every key and value keeps its place in its file through all of it, so that each error is
//! shown at file, line and column with what was expected, and other rooms' errors (of SQL, of
//! declared columns, of a detector's parameters) can be shown at theirs: see
//! [`Settings::error_at_sql`] and its neighbours.
//!
//! What is unknown is rejected. What is secret is never shown: see [`Secret`].

mod alerts;
mod batch;
mod catalog;
mod checks;
mod context;
mod detector;
mod diagnostics;
mod document;
mod environment;
mod expect;
mod format;
mod kafka_options;
mod locator;
mod model;
mod names;
mod overrides;
mod pipeline;
mod query;
mod secret;
mod section;
mod server;
mod sink;
mod source;
mod storage;
mod suggest;
mod table;
#[cfg(test)]
mod tests;
mod text;
mod typed_keys;
mod unit_test;
mod units;
mod upkeep;
mod values;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use diagnostics::{ConfigError, ConfigErrors, Location};
pub use environment::Environment;
pub use model::{
    After, AfterFile, AlertFilter, AlertSeverity, AlertSinkSettings, AlertsSettings, AvroFormat,
    BatchJobSettings, BatchRunsSettings, BatchSettings, CheckpointSettings, Compression,
    ConsoleSinkSettings, CsvFormat, CsvHeader, CsvMode, DeadLetterSettings, DebeziumFormat,
    DebeziumPayload, DecimalSetting, DeltaSinkSettings, DeltaSourceSettings, DeltaStart,
    DetectorSettings, DropDuplicates, DropWithin, ExpectationSettings, FileCompression, FileOrder,
    FilesFormat, FilesSettings, FilesSinkSettings, FormatSettings, Framing, JsonFormat,
    JsonSchemaFormat, KafkaHeaders, KafkaSettings, KafkaSinkSettings, KafkaValue, LogFormat,
    LoggingSettings, MemorySettings, MemorySinkSettings, MetadataColumn, MetadataField, OutputMode,
    PostgresConnection, PostgresMode, PostgresSinkSettings, PostgresTls, ProtobufFormat,
    ProtobufOrigin, QuerySettings, QuerySink, RateSettings, RegistryAuth, RegistrySettings,
    RestartSettings, SchemaOrigin, ServerSettings, Settings, SinkSettings, SocketSettings,
    SourceKind, SourceSettings, SqlBoxSettings, StartOffset, StartPosition, TableKind,
    TableSettings, TestBatch, TestExpectation, TestInput, TestRecords, TestRow, TestSettings,
    TestTable, TextCompression, TimeSettings, TimestampSetting, TlsSettings, Trigger, TypeChange,
    UnknownFields, UpkeepKeys, UpkeepSettings, ViolationAction, WatermarkSettings, WebhookFormat,
    WebhookSettings, When,
};
pub use secret::{OptionValue, Secret};
pub use text::TextLocation;

use context::Context;
use diagnostics::SourceFile;
use document::{LARGEST, Table};
use locator::Locator;
use section::Section;

pub(crate) use units::{parse_duration, parse_size};

pub(crate) const DEFAULT_DATA_DIR: &str = "./data";

/// Reads and validates a configuration.
///
/// `paths` are files, or directories whose `*.toml` files are taken in the order of their names
/// (hidden files and inner directories are not). Files are merged in the order given: tables
/// key by key, everything else is replaced by what comes later.
///
/// # Errors
/// All that is wrong, in the order of the files; if some file is not TOML, that only.
pub fn load(paths: &[PathBuf], environment: &Environment) -> Result<Settings, ConfigErrors> {
    load_with_overrides(paths, &[], environment)
}

/// As [`load`], with values laid over the files: pairs of a dotted key path and a value, which
/// is TOML (`4`, `true`, `["a"]`) or else taken as a string (`10s`, `localhost:9092`).
pub fn load_with_overrides(
    paths: &[PathBuf],
    overrides: &[(String, String)],
    environment: &Environment,
) -> Result<Settings, ConfigErrors> {
    let mut errors = Vec::new();
    let mut files = Vec::new();
    let mut names = Vec::new();
    if paths.is_empty() {
        errors.push(
            ConfigError::new("no configuration is given")
                .expected("one or more paths of TOML files, or of directories of them"),
        );
    }
    for path in paths {
        match fragments(path) {
            Ok(fragments) => {
                for path in fragments {
                    match read_file(&path) {
                        Ok(file) => {
                            files.push(file);
                            names.push(path);
                        }
                        Err(error) => errors.push(error),
                    }
                }
            }
            Err(error) => errors.push(error),
        }
    }
    if !errors.is_empty() {
        return Err(ConfigErrors::new(errors, &files));
    }
    build(files, names, overrides, environment)
}

/// Validates one text; `name` stands for its file in errors.
///
/// # Errors
/// As [`load`].
pub fn parse_str(
    name: &str,
    text: &str,
    environment: &Environment,
) -> Result<Settings, ConfigErrors> {
    parse_str_with_overrides(name, text, &[], environment)
}

/// As [`parse_str`], with overrides as for [`load_with_overrides`].
///
/// # Errors
/// As [`load`].
pub fn parse_str_with_overrides(
    name: &str,
    text: &str,
    overrides: &[(String, String)],
    environment: &Environment,
) -> Result<Settings, ConfigErrors> {
    build(vec![SourceFile::new(name, text)], vec![PathBuf::from(name)], overrides, environment)
}

fn build(
    mut files: Vec<Arc<SourceFile>>,
    names: Vec<PathBuf>,
    overrides: &[(String, String)],
    environment: &Environment,
) -> Result<Settings, ConfigErrors> {
    let mut root = Table::default();
    let mut errors = Vec::new();
    for file in &files {
        match document::parse(file) {
            Ok(table) => root.merge(table),
            Err(found) => errors.extend(found),
        }
    }
    for (key, value) in overrides {
        let (file, parsed) = overrides::parse(key, value);
        files.push(file);
        match parsed {
            Ok(table) => root.merge(table),
            Err(found) => errors.extend(found),
        }
    }
    if !errors.is_empty() {
        return Err(ConfigErrors::new(errors, &files));
    }
    errors = environment::interpolate(&mut root, environment);
    let start = match files.first() {
        Some(file) => Location::new(file, 0..0),
        None => Location::new(&SourceFile::new("configuration", ""), 0..0),
    };
    let root = Arc::new(root);
    let context = Context::new(environment);
    let locator = Locator::new(Arc::clone(&root), start.clone());
    let settings = pipeline::read(&Section::root(&context, &root, start), names, locator);
    errors.extend(context.into_errors());
    errors.extend(checks::check(&settings, &root));
    if errors.is_empty() { Ok(settings) } else { Err(ConfigErrors::new(errors, &files)) }
}

/// The files that a path stands for.
fn fragments(path: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    if !path.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let failed = |error: std::io::Error| {
        ConfigError::new(format!("cannot list {}: {error}", path.display()))
            .expected("a directory of TOML files that this process can read")
    };
    let mut fragments = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        let hidden = file.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
        if !hidden
            && file.extension().is_some_and(|extension| extension == "toml")
            && file.is_file()
        {
            fragments.push(file);
        }
    }
    fragments.sort();
    if fragments.is_empty() {
        return Err(ConfigError::new(format!("{} holds no configuration", path.display()))
            .expected("one or more files whose names end in `.toml`"));
    }
    Ok(fragments)
}

fn read_file(path: &Path) -> Result<Arc<SourceFile>, ConfigError> {
    use std::io::Read;

    let failed = |error: std::io::Error| {
        ConfigError::new(format!("cannot read {}: {error}", path.display()))
            .expected("a TOML file that this process can read")
            .help(neighbour(path))
    };
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .map_err(failed)?
        .take(LARGEST as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    let name = path.display().to_string();
    String::from_utf8(bytes).map(|text| SourceFile::new(&*name, text)).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        // What comes before is shown, so that the place can be found.
        let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
        let file = SourceFile::new(&*name, text);
        file.mask(document::assignments_of_secrets(&file.text));
        ConfigError::new("this is not UTF-8, as TOML must be")
            .at(&Location::new(&file, at..at + 1))
            .expected("UTF-8")
    })
}

/// A file of nearly the same name, where there is one.
fn neighbour(path: &Path) -> Option<String> {
    let wanted = path.file_name()?.to_str()?;
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let names: Vec<String> = std::fs::read_dir(directory)
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.ends_with(".toml"))
        .collect();
    suggest::did_you_mean(wanted, names.iter().map(String::as_str))
}
