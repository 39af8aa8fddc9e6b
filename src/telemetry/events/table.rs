//! What happens to a static table.

use std::fmt::Display;
use std::time::Duration;

use tracing::{info, warn};

use crate::telemetry::names;
use crate::telemetry::time::{Now, millis};

/// A static table was read: queries join with its rows from now on.
#[derive(Debug)]
pub struct TableLoaded<'a> {
    /// The pipeline.
    pub pipeline: &'a str,
    /// The table.
    pub table: &'a str,
    /// Its rows.
    pub rows: u64,
    /// The memory that they take.
    pub bytes: u64,
    /// Time that reading took.
    pub took: Duration,
}

impl TableLoaded<'_> {
    /// Logs and counts it.
    pub fn emit(self) {
        let Self { pipeline, table, rows, bytes, took } = self;
        info!(pipeline, table, rows, bytes, took_ms = millis(took), "table loaded");
        let labels = [pipeline, table];
        names::TABLE_LOADS.with(labels).increment(1);
        names::TABLE_LOAD_SECONDS.with(labels).record(took.as_secs_f64());
        names::TABLE_LOADED.with(labels).set(Now::read().wall().unix_seconds());
        names::TABLE_ROWS.with(labels).set(rows as f64);
        names::TABLE_BYTES.with(labels).set(bytes as f64);
        names::TABLE_FAILING.with(labels).set(0.0);
    }
}

/// A static table could not be read, or it could not be seen whether it has changed. Queries keep
/// the rows they have; it is tried again at the next refresh.
pub struct TableFailed<'a> {
    /// The pipeline.
    pub pipeline: &'a str,
    /// The table.
    pub table: &'a str,
    /// Why, as one of a fixed list of codes.
    pub reason: &'static str,
    /// Why, in words.
    pub error: &'a dyn Display,
}

impl TableFailed<'_> {
    /// Logs and counts it.
    pub fn emit(self) {
        let Self { pipeline, table, reason, error } = self;
        warn!(pipeline, table, reason, error = %error, "table not read");
        names::TABLE_FAILURES.with([pipeline, table, reason]).increment(1);
        names::TABLE_FAILING.with([pipeline, table]).set(1.0);
    }
}

/// A look at a static table after one that had failed: it is as it was before.
#[derive(Debug)]
pub struct TableRecovered<'a> {
    /// The pipeline.
    pub pipeline: &'a str,
    /// The table.
    pub table: &'a str,
}

impl TableRecovered<'_> {
    /// Logs and counts it.
    pub fn emit(self) {
        let Self { pipeline, table } = self;
        info!(pipeline, table, "table unchanged after all");
        names::TABLE_FAILING.with([pipeline, table]).set(0.0);
    }
}
