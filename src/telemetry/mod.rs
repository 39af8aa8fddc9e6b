//! Telemetry: what the daemon says about itself, in one place.
//!
//! - [`names`]: every metric, once: name, type, unit, labels, help text, buckets.
//! - [`events`]: one struct for each thing that happens; `emit()` logs it and counts it.
//! - [`progress`]: where each pipeline stands, for `/api/v1/pipelines`, `/readyz` and the live view.
//! - [`exporter`]: the recorder behind the metrics and the page that Prometheus scrapes.
//! - [`exposition`]: the formats of that page.
//! - [`logging`]: the subscriber behind the log lines.
//!
//! Labels are bounded: names out of the configuration, partitions, and short enumerations. A
//! record's key, a client's address or an error's text goes to the log or to a table, never to a
//! label.

pub mod events;
pub mod exporter;
pub mod exposition;
pub mod logging;
pub mod names;
pub mod process;
pub mod progress;
pub mod rate_limit;
pub mod time;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks `mutex` whether or not a thread panicked while holding it. What telemetry guards are
/// plain counters and maps that are whole after every statement, and a panic in one pipeline must
/// not take away the page that explains it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
