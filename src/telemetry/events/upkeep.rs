//! What upkeep does to tables.

use std::fmt::Display;
use std::time::Duration;

use tracing::{debug, info, warn};

use crate::telemetry::names;
use crate::telemetry::time::{Now, millis};

/// How a run of upkeep ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpkeepOutcome {
    /// It did something.
    Done,
    /// There was nothing to do.
    Nothing,
    /// Others changed the files while they were being rewritten, again and again.
    Conflict,
    /// It failed.
    Failed,
    /// It was given up because the daemon stops.
    Cancelled,
}

impl UpkeepOutcome {
    /// As a label value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Nothing => "nothing",
            Self::Conflict => "conflict",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// A run began.
#[derive(Debug)]
pub struct UpkeepStarted<'a> {
    /// The pipeline.
    pub pipeline: &'a str,
    /// The table.
    pub table: &'a str,
    /// What is done to it.
    pub task: &'a str,
}

impl UpkeepStarted<'_> {
    /// Logs and counts it.
    pub fn emit(self) {
        let Self { pipeline, table, task } = self;
        debug!(pipeline, table, task, "upkeep started");
        names::UPKEEP_RUNNING.with([pipeline, table, task]).set(1.0);
    }
}

/// A run ended as it should.
#[derive(Debug)]
pub struct UpkeepFinished<'a> {
    /// The pipeline.
    pub pipeline: &'a str,
    /// The table.
    pub table: &'a str,
    /// What was done to it.
    pub task: &'a str,
    /// Whether there was anything to do: [`UpkeepOutcome::Done`], [`UpkeepOutcome::Nothing`] or
    /// [`UpkeepOutcome::Cancelled`].
    pub outcome: UpkeepOutcome,
    /// The table's version afterwards, where the task makes one.
    pub version: Option<u64>,
    /// Files taken out of the table, or removed.
    pub files_removed: u64,
    /// Their bytes.
    pub bytes_removed: u64,
    /// Files that took their place.
    pub files_added: u64,
    /// Their bytes.
    pub bytes_added: u64,
    /// Files that were rewritten in vain.
    pub conflicts: u64,
    /// Time it took.
    pub took: Duration,
}

impl UpkeepFinished<'_> {
    /// Logs and counts it.
    pub fn emit(self) {
        let Self { pipeline, table, task, outcome, took, .. } = self;
        if outcome == UpkeepOutcome::Nothing {
            debug!(pipeline, table, task, took_ms = millis(took), "upkeep had nothing to do");
        } else {
            info!(
                pipeline,
                table,
                task,
                outcome = outcome.as_str(),
                version = self.version,
                files_removed = self.files_removed,
                bytes_removed = self.bytes_removed,
                files_added = self.files_added,
                bytes_added = self.bytes_added,
                conflicts = self.conflicts,
                took_ms = millis(took),
                "upkeep finished"
            );
        }
        let labels = [pipeline, table, task];
        names::UPKEEP_RUNNING.with(labels).set(0.0);
        names::UPKEEP_RUNS.with([pipeline, table, task, outcome.as_str()]).increment(1);
        names::UPKEEP_SECONDS.with(labels).record(took.as_secs_f64());
        names::UPKEEP_REMOVED_FILES.with(labels).increment(self.files_removed);
        names::UPKEEP_REMOVED_BYTES.with(labels).increment(self.bytes_removed);
        names::UPKEEP_ADDED_FILES.with(labels).increment(self.files_added);
        names::UPKEEP_ADDED_BYTES.with(labels).increment(self.bytes_added);
        names::UPKEEP_CONFLICTS.with(labels).increment(self.conflicts);
        if outcome != UpkeepOutcome::Cancelled {
            names::UPKEEP_FAILING.with(labels).set(0.0);
            names::UPKEEP_FINISHED.with(labels).set(Now::read().wall().unix_seconds());
        }
    }
}

/// A run failed; the stream goes on. It is tried again after a pause, or at its next time.
pub struct UpkeepFailed<'a> {
    /// The pipeline.
    pub pipeline: &'a str,
    /// The table.
    pub table: &'a str,
    /// What was to be done to it.
    pub task: &'a str,
    /// [`UpkeepOutcome::Failed`] or [`UpkeepOutcome::Conflict`].
    pub outcome: UpkeepOutcome,
    /// Why, in words.
    pub error: &'a dyn Display,
    /// How long until it is tried again, if it is.
    pub again_in: Option<Duration>,
    /// Time it took.
    pub took: Duration,
}

impl UpkeepFailed<'_> {
    /// Logs and counts it.
    pub fn emit(self) {
        let Self { pipeline, table, task, outcome, error, again_in, took } = self;
        warn!(
            pipeline,
            table,
            task,
            outcome = outcome.as_str(),
            error = %error,
            again_in_seconds = again_in.map(|pause| pause.as_secs()),
            took_ms = millis(took),
            "upkeep failed"
        );
        let labels = [pipeline, table, task];
        names::UPKEEP_RUNNING.with(labels).set(0.0);
        names::UPKEEP_FAILING.with(labels).set(1.0);
        names::UPKEEP_RUNS.with([pipeline, table, task, outcome.as_str()]).increment(1);
        names::UPKEEP_SECONDS.with(labels).record(took.as_secs_f64());
    }
}
