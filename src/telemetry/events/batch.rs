//! What batch jobs do.

use std::fmt::Display;
use std::time::Duration;

use tracing::{error, info, warn};

use crate::telemetry::names;
use crate::telemetry::time::{Now, millis};

/// A run of a job is over, with all its attempts.
#[derive(Debug)]
pub struct BatchRunEnded<'a> {
    /// The pipeline.
    pub pipeline: &'a str,
    /// The job.
    pub job: &'a str,
    /// `succeeded` or `failed`.
    pub outcome: &'static str,
    /// Rows of the tables it read.
    pub rows_read: Option<u64>,
    /// Rows of the table it filled.
    pub rows_written: Option<u64>,
    /// That table's version.
    pub version: Option<i64>,
    /// How often it was tried.
    pub attempts: u32,
    /// How long it took.
    pub took: Duration,
    /// What it failed of.
    pub error: Option<&'a str>,
}

impl BatchRunEnded<'_> {
    /// Logs and counts it.
    pub fn emit(self) {
        let Self {
            pipeline,
            job,
            outcome,
            rows_read,
            rows_written,
            version,
            attempts,
            took,
            error,
        } = self;
        names::BATCH_RUNS.with([pipeline, job, outcome]).increment(1);
        names::BATCH_SECONDS.with([pipeline, job]).record(took.as_secs_f64());
        if let Some(reason) = error {
            error!(
                pipeline,
                job,
                attempts,
                took_ms = millis(took),
                error = reason,
                "batch run failed; the pipeline goes on"
            );
            return;
        }
        let rows = rows_written.unwrap_or(0);
        names::BATCH_ROWS.with([pipeline, job]).increment(rows);
        names::BATCH_SUCCEEDED.with([pipeline, job]).set(Now::read().unix_us as f64 / 1e6);
        info!(
            pipeline,
            job,
            rows_read,
            rows_written,
            version,
            attempts,
            took_ms = millis(took),
            "batch run succeeded"
        );
    }
}

/// An attempt failed and is repeated.
pub struct BatchRunRetried<'a> {
    /// The pipeline.
    pub pipeline: &'a str,
    /// The job.
    pub job: &'a str,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// How long until the next.
    pub pause: Duration,
    /// Why it failed.
    pub error: &'a dyn Display,
}

impl BatchRunRetried<'_> {
    /// Logs it.
    pub fn emit(self) {
        let Self { pipeline, job, attempt, pause, error } = self;
        warn!(pipeline, job, attempt, pause_ms = millis(pause), %error, "batch run is tried again");
    }
}

/// A run could not be written to the log of runs.
pub struct BatchLogFailed<'a> {
    /// The pipeline.
    pub pipeline: &'a str,
    /// The job.
    pub job: &'a str,
    /// Why.
    pub error: &'a dyn Display,
}

impl BatchLogFailed<'_> {
    /// Logs and counts it.
    pub fn emit(self) {
        let Self { pipeline, job, error } = self;
        names::BATCH_LOG_ERRORS.with([pipeline]).increment(1);
        error!(pipeline, job, %error, "a batch run is missing in the log of runs");
    }
}
