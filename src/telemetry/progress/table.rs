//! Where a static table stands.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::report::TableReport;
use crate::telemetry::lock;
use crate::telemetry::time::{Now, millis};

/// Where one static table stands. Updated once a refresh, so behind one lock.
#[derive(Debug)]
pub struct TableProgress {
    name: Arc<str>,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    kind: Arc<str>,
    description: Arc<str>,
    rows: u64,
    bytes: u64,
    loads: u64,
    loaded: Option<(Now, Duration)>,
    error: Option<String>,
}

impl TableProgress {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.into(), inner: Mutex::default() }
    }

    /// What kind of table it is (`csv`) and where it is.
    pub fn describe(&self, kind: &str, description: &str) {
        let mut inner = lock(&self.inner);
        inner.kind = kind.into();
        inner.description = description.into();
    }

    /// It was read, which took so long: so many rows, and bytes of memory.
    pub fn loaded(&self, rows: u64, bytes: u64, took: Duration) {
        let mut inner = lock(&self.inner);
        (inner.rows, inner.bytes) = (rows, bytes);
        inner.loads += 1;
        inner.loaded = Some((Now::read(), took));
        inner.error = None;
    }

    /// It could not be read, or it could not be seen whether it has changed.
    pub fn failed(&self, error: &str) {
        lock(&self.inner).error = Some(error.to_owned());
    }

    /// It was looked at and has not changed. Whether the look before that had failed.
    pub fn unchanged(&self) -> bool {
        lock(&self.inner).error.take().is_some()
    }

    pub(super) fn report(&self) -> TableReport {
        let inner = lock(&self.inner);
        TableReport {
            name: Arc::clone(&self.name),
            kind: Arc::clone(&inner.kind),
            description: Arc::clone(&inner.description),
            num_rows: inner.rows,
            memory_used_bytes: inner.bytes,
            num_loads: inner.loads,
            loaded_at: inner.loaded.map(|(at, _)| at.wall()),
            load_ms: inner.loaded.map(|(_, took)| millis(took)),
            error: inner.error.clone(),
        }
    }
}
