//! What users see: whole reports, compared as they are printed.

mod alerts;
mod files_errors;
mod format_errors;
mod general_errors;
mod kafka_errors;
mod kafka_sink_errors;
mod key_errors;
mod locations;
mod merging;
mod properties;
mod queries;
mod query_errors;
mod query_keys;
mod registry_errors;
mod secrets;
mod shipped;
mod sink_errors;
mod source_errors;
mod sources;
mod storage;
mod stream_errors;
mod tables;
mod test_errors;
mod upkeep;
mod values;

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::diagnostics::SourceFile;
use super::{
    ConfigErrors, DeltaSinkSettings, Environment, FormatSettings, JsonFormat, KafkaSettings,
    Settings, SinkSettings, SourceKind, SourceSettings, build,
};

/// A configuration without errors, which each case lays a file of its own over.
pub(super) const BASE: &str = r#"
name = "weblogs"
shards = 2

[sources.logs]
type = "kafka"
brokers = "localhost:9092"
topics = ["web-logs"]
schema = "timestamp TIMESTAMP NOT NULL, ip STRING"

[sources.logs.watermark]
column = "timestamp"
delay = "2 minutes"

[queries.bronze]
sql = "SELECT * FROM logs"

[queries.bronze.sink]
type = "delta"
path = "./data/bronze"
"#;

pub(super) fn no_variables() -> Environment {
    Environment::Map(BTreeMap::new())
}

pub(super) fn variables(pairs: &[(&str, &str)]) -> Environment {
    Environment::Map(
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
    )
}

/// The base with `case.toml` laid over it.
pub(super) fn over_base(case: &str, environment: &Environment) -> Result<Settings, ConfigErrors> {
    merged(&[("base.toml", BASE), ("case.toml", case)], &[], environment)
}

pub(super) fn merged(
    files: &[(&str, &str)],
    overrides: &[(&str, &str)],
    environment: &Environment,
) -> Result<Settings, ConfigErrors> {
    let names = files.iter().map(|(name, _)| PathBuf::from(name)).collect();
    let files = files.iter().map(|(name, text)| SourceFile::new(*name, *text)).collect();
    let overrides: Vec<(String, String)> =
        overrides.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    build(files, names, &overrides, environment)
}

/// What a source says about Kafka.
#[track_caller]
pub(super) fn kafka(source: &SourceSettings) -> &KafkaSettings {
    match &source.kind {
        SourceKind::Kafka(kafka) => kafka,
        other => panic!("the source is of type {}", other.name()),
    }
}

/// What a source says about its JSON.
#[track_caller]
pub(super) fn json(source: &SourceSettings) -> &JsonFormat {
    match &source.format {
        Some(FormatSettings::Json(json)) => json,
        other => panic!("the format is {other:?}"),
    }
}

/// What the first sink of a query says about its table.
#[track_caller]
pub(super) fn delta(settings: &Settings, query: usize) -> &DeltaSinkSettings {
    match &settings.queries[query].sinks[0].settings {
        SinkSettings::Delta(delta) => delta,
        other => panic!("the sink is of type {}", other.name()),
    }
}

/// The whole report about `case.toml` over the base.
#[track_caller]
pub(super) fn rejects(case: &str, report: &str) {
    assert_report(over_base(case.trim_start_matches('\n'), &no_variables()), report);
}

#[track_caller]
pub(super) fn assert_report(result: Result<Settings, ConfigErrors>, report: &str) {
    let actual = match result {
        Ok(_) => panic!("the configuration is accepted, not rejected with:\n{report}"),
        Err(errors) => errors.to_string(),
    };
    assert_text(&actual, report);
}

#[track_caller]
pub(super) fn assert_text(actual: &str, report: &str) {
    let expected = report.strip_prefix('\n').unwrap_or(report);
    let expected = expected.strip_suffix('\n').unwrap_or(expected);
    assert!(actual == expected, "the report is\n{actual}\n--- and not\n{expected}");
}
