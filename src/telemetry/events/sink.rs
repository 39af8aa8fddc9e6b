//! What happens at a sink.

use std::fmt::Display;
use std::time::Duration;

use tracing::{debug, error, info, warn};

use crate::telemetry::names;
use crate::telemetry::time::{Now, millis};

/// A Delta table has a new version with an epoch's rows.
#[derive(Debug)]
pub struct SinkCommitted<'a> {
    /// The pipeline.
    pub pipeline: &'a str,
    /// The sink.
    pub sink: &'a str,
    /// The version that the commit made, of sinks that have versions.
    pub version: Option<i64>,
    /// Files added.
    pub files: u64,
    /// Rows in them.
    pub rows: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Time the commit took.
    pub took: Duration,
}

impl SinkCommitted<'_> {
    /// Logs and counts it.
    pub fn emit(self) {
        let Self { pipeline, sink, version, files, rows, bytes, took } = self;
        info!(
            pipeline,
            sink,
            version,
            files,
            rows,
            bytes,
            took_ms = millis(took),
            "sink committed"
        );
        let labels = [pipeline, sink];
        names::SINK_COMMITS.with(labels).increment(1);
        names::SINK_COMMITTED.with(labels).set(Now::read().wall().unix_seconds());
        names::SINK_COMMIT_SECONDS.with(labels).record(took.as_secs_f64());
        names::SINK_COMMIT_ROWS.with(labels).record(rows as f64);
        names::SINK_COMMIT_FILES.with(labels).record(files as f64);
        names::SINK_ROWS.with(labels).increment(rows);
        names::SINK_BYTES.with(labels).increment(bytes);
        if let Some(version) = version {
            names::SINK_VERSION.with(labels).set(version as f64);
        }
    }
}

/// Rows do not fit the types that a table has, and went to the dead letters.
#[derive(Debug)]
pub struct TypesRejected<'a> {
    /// The pipeline.
    pub pipeline: &'a str,
    /// The sink.
    pub sink: &'a str,
    /// Rows.
    pub rows: u64,
}

impl TypesRejected<'_> {
    /// Logs and counts it.
    pub fn emit(self) {
        let Self { pipeline, sink, rows } = self;
        debug!(pipeline, sink, rows, "rows do not fit the table's types");
        names::SINK_TYPE_CHANGE_ROWS.with([pipeline, sink]).increment(rows);
    }
}

/// A data file is complete; no reader sees it before the commit.
#[derive(Debug)]
pub struct FileWritten<'a> {
    /// The pipeline.
    pub pipeline: &'a str,
    /// The sink.
    pub sink: &'a str,
    /// The file's path in the table.
    pub path: &'a str,
    /// Rows in it.
    pub rows: u64,
    /// Its size, in bytes.
    pub bytes: u64,
}

impl FileWritten<'_> {
    /// Logs and counts it.
    pub fn emit(self) {
        let Self { pipeline, sink, path, rows, bytes } = self;
        debug!(pipeline, sink, path, rows, bytes, "file written");
        names::SINK_FILE_BYTES.with([pipeline, sink]).record(bytes as f64);
    }
}

/// An attempt of a sink failed in a way that may heal; it is made again after `backoff`.
pub struct SinkRetrying<'a> {
    /// The pipeline.
    pub pipeline: &'a str,
    /// The sink.
    pub sink: &'a str,
    /// Why, as one of the sink's fixed codes: `conflict`, `io` and so on.
    pub reason: &'static str,
    /// Why, in words.
    pub error: &'a dyn Display,
    /// Attempts that have failed, this one included.
    pub attempt: u32,
    /// Time until the next one.
    pub backoff: Duration,
}

impl SinkRetrying<'_> {
    /// Logs and counts it.
    pub fn emit(self) {
        let Self { pipeline, sink, reason, error, attempt, backoff } = self;
        warn!(
            pipeline,
            sink,
            reason,
            error = %error,
            attempt,
            backoff_ms = millis(backoff),
            "sink retrying"
        );
        names::SINK_RETRIES.with([pipeline, sink, reason]).increment(1);
        names::SINK_RETRYING.with([pipeline, sink]).set(1.0);
    }
}

/// A sink that had been retrying got through.
#[derive(Debug)]
pub struct SinkRecovered<'a> {
    /// The pipeline.
    pub pipeline: &'a str,
    /// The sink.
    pub sink: &'a str,
    /// Attempts that had failed.
    pub attempts: u32,
}

impl SinkRecovered<'_> {
    /// Logs and counts it.
    pub fn emit(self) {
        let Self { pipeline, sink, attempts } = self;
        info!(pipeline, sink, attempts, "sink recovered");
        names::SINK_RETRYING.with([pipeline, sink]).set(0.0);
    }
}

/// Another daemon has committed input that this one believes is its own. This one must stop.
#[derive(Debug)]
pub struct Fenced<'a> {
    /// The pipeline.
    pub pipeline: &'a str,
    /// The sink.
    pub sink: &'a str,
    /// The table's transaction identifier that moved.
    pub app_id: &'a str,
    /// The transaction version this daemon committed last; none if it had committed nothing.
    pub expected: Option<i64>,
    /// The transaction version the table has.
    pub found: Option<i64>,
}

impl Fenced<'_> {
    /// Logs and counts it.
    pub fn emit(self) {
        let Self { pipeline, sink, app_id, expected, found } = self;
        error!(pipeline, sink, app_id, expected, found, "fenced by another daemon");
        names::SINK_FENCED.with([pipeline, sink]).increment(1);
    }
}
