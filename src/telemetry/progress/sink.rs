//! Where a sink stands.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::report::{RetryReport, SinkReport};
use crate::telemetry::lock;
use crate::telemetry::time::{Now, millis};

/// Where one sink stands. Updated once a commit, so behind one lock.
#[derive(Debug)]
pub struct SinkProgress {
    name: Arc<str>,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    kind: Arc<str>,
    description: Arc<str>,
    open: bool,
    version: Option<i64>,
    commits: u64,
    rows: u64,
    files: u64,
    bytes: u64,
    last_commit: Option<(Now, Duration)>,
    retrying: Option<Retry>,
}

#[derive(Debug)]
struct Retry {
    error: String,
    attempt: u32,
    backoff: Duration,
    since: Now,
}

impl SinkProgress {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.into(), inner: Mutex::default() }
    }

    /// The sink's name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// What kind of sink it is (`delta`) and where it writes: a path or a URL without secrets.
    pub fn describe(&self, kind: &str, description: &str) {
        let mut inner = lock(&self.inner);
        inner.kind = kind.into();
        inner.description = description.into();
    }

    /// The sink is open; a table is at `version`.
    pub fn opened(&self, version: Option<i64>) {
        let mut inner = lock(&self.inner);
        inner.open = true;
        inner.version = version.or(inner.version);
        inner.retrying = None;
    }

    /// It committed `files` with `rows` rows and `bytes` bytes in `took`; a table is at `version`
    /// now.
    pub fn committed(
        &self,
        version: Option<i64>,
        rows: u64,
        files: u64,
        bytes: u64,
        took: Duration,
    ) {
        let now = Now::read();
        let mut inner = lock(&self.inner);
        inner.open = true;
        inner.version = version.or(inner.version);
        inner.commits += 1;
        inner.rows += rows;
        inner.files += files;
        inner.bytes += bytes;
        inner.last_commit = Some((now, took));
        inner.retrying = None;
    }

    /// Attempt `attempt` failed with `error`; the next is made after `backoff`.
    pub fn retrying(&self, error: &str, attempt: u32, backoff: Duration) {
        let now = Now::read();
        let mut inner = lock(&self.inner);
        let since = inner.retrying.as_ref().map_or(now, |retry| retry.since);
        inner.retrying = Some(Retry { error: error.to_owned(), attempt, backoff, since });
    }

    /// It got through again.
    pub fn recovered(&self) {
        lock(&self.inner).retrying = None;
    }

    pub(super) fn reset(&self) {
        let mut inner = lock(&self.inner);
        inner.open = false;
        inner.retrying = None;
    }

    /// Why the sink cannot be reached, if so.
    pub(super) fn trouble(&self) -> Option<String> {
        let inner = lock(&self.inner);
        match &inner.retrying {
            Some(retry) => Some(format!(
                "sink '{}' is retrying after {} failed {}: {}",
                self.name,
                retry.attempt,
                if retry.attempt == 1 { "attempt" } else { "attempts" },
                retry.error
            )),
            None if !inner.open => Some(format!("sink '{}' is not open yet", self.name)),
            None => None,
        }
    }

    pub(super) fn report(&self) -> SinkReport {
        let inner = lock(&self.inner);
        SinkReport {
            name: Arc::clone(&self.name),
            kind: Arc::clone(&inner.kind),
            description: Arc::clone(&inner.description),
            version: inner.version,
            num_commits: inner.commits,
            num_output_rows: inner.rows,
            num_files: inner.files,
            num_bytes: inner.bytes,
            last_commit_at: inner.last_commit.map(|(at, _)| at.wall()),
            last_commit_ms: inner.last_commit.map(|(_, took)| millis(took)),
            retrying: inner.retrying.as_ref().map(|retry| RetryReport {
                error: retry.error.clone(),
                attempt: retry.attempt,
                backoff_ms: millis(retry.backoff),
                since: retry.since.wall(),
            }),
        }
    }
}
