//! Where a batch job stands.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::report::BatchReport;
use crate::telemetry::lock;
use crate::telemetry::time::{EventTime, millis};

/// Where one batch job stands. Updated once a run, so behind one lock.
#[derive(Debug)]
pub struct BatchProgress {
    inner: Mutex<BatchReport>,
}

impl BatchProgress {
    pub(super) fn new(name: &str) -> Self {
        Self { inner: Mutex::new(BatchReport { name: name.into(), ..BatchReport::default() }) }
    }

    /// When it runs (`None`: at the end of a bounded run), and which table it fills.
    pub fn describe(&self, schedule: Option<&str>, table: &str) {
        let mut inner = lock(&self.inner);
        inner.schedule = schedule.map(Arc::from);
        inner.description = table.into();
    }

    /// When it is due next, in microseconds.
    pub fn next_at(&self, time: Option<i64>) {
        lock(&self.inner).next_run_at = time.map(EventTime);
    }

    /// It runs, or not any more.
    pub fn running(&self, running: bool) {
        lock(&self.inner).running = running;
    }

    /// A run is over since `at` (microseconds), and took so long.
    pub fn ended(&self, succeeded: bool, at: i64, took: Duration, error: Option<&str>) {
        let mut inner = lock(&self.inner);
        inner.running = false;
        inner.num_runs += 1;
        inner.num_failed_runs += u64::from(!succeeded);
        inner.last_run_at = Some(EventTime(at));
        inner.last_run_ms = Some(millis(took));
        inner.error = error.map(str::to_owned);
    }

    pub(super) fn report(&self) -> BatchReport {
        lock(&self.inner).clone()
    }
}
