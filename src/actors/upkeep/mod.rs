//! Upkeep on a schedule: one thread a pipeline that keeps its tables in order.
//!
//! It is a supervised task with a runtime of its own rather than an actor: it answers nobody, and what
//! it does takes minutes. It shares nothing with the stream but the tables themselves, which it
//! changes as any other writer would, so that neither its slowness nor its failure holds anything up:
//! what fails, or panics, is shown, counted, and tried again. It lives as long as the pipeline, across
//! its generations.
//!
//! When the daemon is told to stop, a run under way is given up at its next batch of rows; what it
//! has committed stands, and the files it has not are removed by a later vacuum.

mod promised;
mod table;
#[cfg(test)]
mod tests;

use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use chrono::Utc;
use futures::FutureExt;
use tokio::sync::Notify;

pub use promised::{PromisedError, promised_files};

use self::table::{Ran, UpkeptTable, upkept};
use super::blueprint::Blueprint;
use crate::checkpoint::CheckpointStore;
use crate::telemetry::events::{UpkeepFailed, UpkeepFinished, UpkeepOutcome, UpkeepStarted};
use crate::telemetry::progress::{LastRunReport, PipelineProgress, UpkeepProgress};
use crate::upkeep::{Agenda, Progress, Task, UpkeepError};

/// How long to sleep at the most: the clock may be set meanwhile.
const NAP: Duration = Duration::from_secs(30);
/// How long a stop waits for the thread.
const END: Duration = Duration::from_secs(1);

/// Tells the thread to stop.
#[derive(Default)]
struct Stop {
    asked: AtomicBool,
    wake: Notify,
}

/// The thread. It stops when this is dropped.
pub struct Upkeep {
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
}

impl Upkeep {
    /// Starts the upkeep of the pipeline's tables; `None` if none has any.
    pub fn start(
        blueprint: &Blueprint,
        progress: &Arc<PipelineProgress>,
        store: &Arc<CheckpointStore>,
    ) -> Option<Self> {
        let tables = upkept(blueprint);
        let mut agenda = Agenda::default();
        let now = Utc::now();
        for (index, table) in tables.iter().enumerate() {
            for (task, schedule) in table.tasks() {
                agenda.add(index, task, schedule.clone(), now);
                let next = agenda.next_of(index, task);
                progress.upkeep(&table.name, task.as_str()).scheduled(&schedule.to_string(), next);
            }
        }
        if agenda.is_empty() {
            return None;
        }
        for table in &tables {
            clear_spills(&table.settings.spill_dir);
        }
        let stop = Arc::new(Stop::default());
        let keeper = Keeper {
            tables,
            agenda,
            progress: progress.clone(),
            store: store.clone(),
            stop: stop.clone(),
        };
        let thread = thread::Builder::new().name("upkeep".to_owned()).spawn(move || keeper.run());
        match thread {
            Ok(thread) => Some(Self { stop, thread: Some(thread) }),
            Err(error) => {
                // The stream does not need it.
                tracing::error!(%error, "the upkeep of tables can't be started");
                None
            }
        }
    }

    /// Asks the thread to give up what it does and to end.
    pub fn stop(&self) {
        self.stop.asked.store(true, Ordering::Relaxed);
        self.stop.wake.notify_one();
    }

    /// Waits a little for the end of the thread: what does not end by itself ends with the process.
    pub async fn end(mut self) {
        self.stop();
        let until = Instant::now() + END;
        if let Some(thread) = self.thread.take() {
            while !thread.is_finished() && Instant::now() < until {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

impl Drop for Upkeep {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What the thread works with.
struct Keeper {
    tables: Vec<UpkeptTable>,
    agenda: Agenda,
    progress: Arc<PipelineProgress>,
    store: Arc<CheckpointStore>,
    stop: Arc<Stop>,
}

impl Keeper {
    fn run(mut self) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        match runtime {
            Ok(runtime) => runtime.block_on(self.keep()),
            Err(error) => tracing::error!(%error, "the upkeep of tables can't be started"),
        }
    }

    async fn keep(&mut self) {
        while !self.stop.asked.load(Ordering::Relaxed) {
            let now = Utc::now();
            if let Some((table, task)) = self.agenda.due(now) {
                self.once(table, task).await;
                continue;
            }
            let until = self.agenda.next_at().and_then(|next| (next - now).to_std().ok());
            let nap = until.unwrap_or(NAP).min(NAP);
            let _ = tokio::time::timeout(nap, self.stop.wake.notified()).await;
        }
    }

    async fn once(&mut self, index: usize, task: Task) {
        let Some(table) = self.tables.get(index) else { return };
        let pipeline = self.progress.name().clone();
        let name = table.name.clone();
        let progress = self.progress.upkeep(&name, task.as_str());
        UpkeepStarted { pipeline: &pipeline, table: &name, task: task.as_str() }.emit();
        progress.begin(task.as_str(), 0, 0);
        let teller = Teller { progress: progress.clone(), stop: self.stop.clone() };
        let started = Instant::now();
        let work = AssertUnwindSafe(table.run(task, &self.store, &teller)).catch_unwind();
        let result = work.await.unwrap_or_else(|panic| {
            Err(UpkeepError::Internal {
                table: name.to_string(),
                reason: format!("it panicked: {}", words(panic.as_ref())),
            })
        });
        let took = started.elapsed();
        let now = Utc::now();
        let (outcome, ran, error) = match result {
            Ok(ran) if ran.is_nothing() => (UpkeepOutcome::Nothing, ran, None),
            Ok(ran) => (UpkeepOutcome::Done, ran, None),
            // It is not there yet.
            Err(UpkeepError::NoTable { .. }) => (UpkeepOutcome::Nothing, Ran::default(), None),
            Err(UpkeepError::Cancelled) => (UpkeepOutcome::Cancelled, Ran::default(), None),
            Err(error @ UpkeepError::Conflict { .. }) => {
                (UpkeepOutcome::Conflict, Ran::default(), Some(error))
            }
            Err(error) => (UpkeepOutcome::Failed, Ran::default(), Some(error)),
        };
        let next = match &error {
            None => {
                self.agenda.done(index, task, now);
                self.agenda.next_of(index, task)
            }
            Some(error) => self.agenda.failed(index, task, again(error), now),
        };
        match &error {
            None => UpkeepFinished {
                pipeline: &pipeline,
                table: &name,
                task: task.as_str(),
                outcome,
                version: ran.version,
                files_removed: ran.files_removed,
                bytes_removed: ran.bytes_removed,
                files_added: ran.files_added,
                bytes_added: ran.bytes_added,
                conflicts: ran.conflicts,
                took,
            }
            .emit(),
            Some(error) => UpkeepFailed {
                pipeline: &pipeline,
                table: &name,
                task: task.as_str(),
                outcome,
                error,
                again_in: next.and_then(|next| (next - now).to_std().ok()),
                took,
            }
            .emit(),
        }
        let last = LastRunReport {
            at: now,
            outcome: outcome.as_str(),
            duration_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            files_removed: ran.files_removed,
            files_added: ran.files_added,
            error: error.map(|error| error.to_string()),
        };
        progress.ended(last, next);
    }
}

/// Whether trying again before the next time may help. A panic may have been one of storage.
fn again(error: &UpkeepError) -> bool {
    error.is_transient() || matches!(error, UpkeepError::Internal { .. })
}

fn words(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

/// Shows how far a run is, and hears of the stop.
struct Teller {
    progress: Arc<UpkeepProgress>,
    stop: Arc<Stop>,
}

impl Progress for Teller {
    fn begin(&self, what: &str, files: u64, bytes: u64) {
        self.progress.begin(what, files, bytes);
    }

    fn advance(&self, files: u64, bytes: u64) {
        self.progress.advance(files, bytes);
    }

    fn cancelled(&self) -> bool {
        self.stop.asked.load(Ordering::Relaxed)
    }
}

/// Removes what a killed daemon left of its z-orders. The directory is this pipeline's own.
fn clear_spills(dir: &Path) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with("millpond-zorder-") {
            // Best effort: it is in nobody's way.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}
