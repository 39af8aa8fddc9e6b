//! Where a table's upkeep stands.

use std::sync::{Arc, Mutex};

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Serialize, Serializer};

use crate::telemetry::lock;

/// Where one task of one table stands.
#[derive(Debug)]
pub struct UpkeepProgress {
    table: Arc<str>,
    task: &'static str,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    schedule: Arc<str>,
    next: Option<DateTime<Utc>>,
    running: Option<RunningReport>,
    last: Option<LastRunReport>,
}

/// A run under way.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RunningReport {
    /// What it is doing: `compacting`, `removing`.
    pub phase: String,
    /// When it began.
    #[serde(serialize_with = "rfc3339")]
    pub since: DateTime<Utc>,
    /// Files done of those there are to do.
    pub files_done: u64,
    /// Files there are to do.
    pub files: u64,
    /// Bytes done of those there are to do.
    pub bytes_done: u64,
    /// Bytes there are to do; 0 where only files are counted.
    pub bytes: u64,
}

/// The last run that ended.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LastRunReport {
    /// When it ended.
    #[serde(serialize_with = "rfc3339")]
    pub at: DateTime<Utc>,
    /// `done`, `nothing`, `conflict`, `failed`, `cancelled`.
    pub outcome: &'static str,
    /// How long it took.
    pub duration_ms: u64,
    /// Files taken out of the table, or removed.
    pub files_removed: u64,
    /// Files that took their place.
    pub files_added: u64,
    /// Why it failed, if it did.
    pub error: Option<String>,
}

/// Where one task of one table stands, to be shown.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UpkeepReport {
    /// The table's name.
    pub table: Arc<str>,
    /// `compact`, `zorder`, `vacuum`, `checkpoint`, `clean_log`.
    pub task: &'static str,
    /// Its cron schedule, in UTC.
    pub schedule: Arc<str>,
    /// When it is due next.
    #[serde(serialize_with = "rfc3339_or_null")]
    pub next_run: Option<DateTime<Utc>>,
    /// The run under way.
    pub running: Option<RunningReport>,
    /// The last run.
    pub last_run: Option<LastRunReport>,
}

fn rfc3339<S: Serializer>(time: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&time.to_rfc3339_opts(SecondsFormat::Millis, true))
}

fn rfc3339_or_null<S: Serializer>(
    time: &Option<DateTime<Utc>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => rfc3339(time, serializer),
        None => serializer.serialize_none(),
    }
}

impl UpkeepProgress {
    pub(super) fn new(table: &str, task: &'static str) -> Self {
        Self { table: table.into(), task, inner: Mutex::default() }
    }

    /// Its schedule, and when it is due next.
    pub fn scheduled(&self, schedule: &str, next: Option<DateTime<Utc>>) {
        let mut inner = lock(&self.inner);
        inner.schedule = schedule.into();
        inner.next = next;
    }

    /// A run, or a part of one, begins.
    pub fn begin(&self, phase: &str, files: u64, bytes: u64) {
        let mut inner = lock(&self.inner);
        let since = inner.running.as_ref().map_or_else(Utc::now, |running| running.since);
        let phase = phase.to_owned();
        inner.running =
            Some(RunningReport { phase, since, files_done: 0, files, bytes_done: 0, bytes });
    }

    /// So much more is done.
    pub fn advance(&self, files: u64, bytes: u64) {
        if let Some(running) = &mut lock(&self.inner).running {
            running.files_done += files;
            running.bytes_done += bytes;
        }
    }

    /// The run ended; it is due again at `next`.
    pub fn ended(&self, last: LastRunReport, next: Option<DateTime<Utc>>) {
        let mut inner = lock(&self.inner);
        inner.running = None;
        inner.last = Some(last);
        inner.next = next;
    }

    pub(super) fn report(&self) -> UpkeepReport {
        let inner = lock(&self.inner);
        UpkeepReport {
            table: Arc::clone(&self.table),
            task: self.task,
            schedule: Arc::clone(&inner.schedule),
            next_run: inner.next,
            running: inner.running.clone(),
            last_run: inner.last.clone(),
        }
    }
}
