//! Static tables: read before the first generation starts, and again when they change.
//!
//! A table lives as long as the pipeline: queries of every generation join with the rows that are
//! there when a batch passes. Each has a task that looks at it every `refresh`, and a thread for each
//! look, because reading blocks: a disk that hangs must neither hold up the other tables nor the end
//! of the process.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::actors::blueprint::TableBlueprint;
use crate::source::table::{Refreshed, TableError, TableReader, TableRows, TableStamp};
use crate::sql::StaticTable;
use crate::telemetry::events::{TableFailed, TableLoaded, TableRecovered};
use crate::telemetry::progress::{PipelineProgress, TableProgress};

/// How soon a table is looked at again that may still be being written.
const SETTLE: Duration = Duration::from_millis(500);
/// How often at the most; then it is read as it is.
const PATIENCE: u32 = 20;

/// Why a table was not read.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// What its reader says.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The thread that read it could not be started, or is gone.
    #[error("{0}")]
    Thread(String),
    /// Its rows are not what queries were planned with.
    #[error("{0}")]
    Columns(String),
}

impl LoadError {
    fn code(&self) -> &'static str {
        match self {
            Self::Table(error) => error.code(),
            Self::Thread(_) => "thread",
            Self::Columns(_) => "schema",
        }
    }
}

/// The tables of a pipeline. Looking ends when this is dropped.
pub struct StaticTables {
    /// Those that have not been read yet.
    waiting: Vec<Loader>,
    tasks: Vec<JoinHandle<()>>,
}

impl StaticTables {
    /// For planned tables; nothing is read yet.
    pub fn new(tables: &[TableBlueprint], progress: &Arc<PipelineProgress>) -> Self {
        let waiting = tables
            .iter()
            .map(|table| {
                let of_table = progress.table(&table.name);
                of_table.describe(table.kind, table.reader.path());
                Loader {
                    pipeline: progress.name().clone(),
                    name: table.name.clone(),
                    reader: table.reader.clone(),
                    table: table.table.clone(),
                    progress: of_table,
                    refresh: table.refresh,
                }
            })
            .collect();
        Self { waiting, tasks: Vec::new() }
    }

    /// Reads the tables that have not been read before. After an error, those that are left are
    /// read by the next call.
    ///
    /// Must be called on a thread with a local task set, as actors' threads are.
    ///
    /// # Errors
    /// The name of the first table that cannot be read, and why.
    pub async fn load(&mut self) -> Result<(), (String, LoadError)> {
        while let Some(loader) = self.waiting.last() {
            match loader.load().await {
                Ok(stamp) => {
                    if let Some(loader) = self.waiting.pop() {
                        self.tasks.extend(loader.refresh.map(|pause| {
                            actix::spawn(async move { loader.keep_fresh(stamp, pause).await })
                        }));
                    }
                }
                Err(error) => {
                    loader.failed(&error);
                    return Err((loader.name.to_string(), error));
                }
            }
        }
        Ok(())
    }
}

impl Drop for StaticTables {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// What reads one table.
struct Loader {
    pipeline: Arc<str>,
    name: Arc<str>,
    reader: Arc<TableReader>,
    table: Arc<StaticTable>,
    progress: Arc<TableProgress>,
    refresh: Option<Duration>,
}

impl Loader {
    async fn load(&self) -> Result<TableStamp, LoadError> {
        let started = Instant::now();
        let rows = self.aside(TableReader::read).await??;
        self.replace(rows, started)
    }

    async fn keep_fresh(&self, mut stamp: TableStamp, pause: Duration) {
        let mut unsettled = 0;
        loop {
            tokio::time::sleep(if unsettled > 0 { pause.min(SETTLE) } else { pause }).await;
            let started = Instant::now();
            let (known, settled) = (stamp.clone(), unsettled < PATIENCE);
            let looked = self.aside(move |reader| reader.refresh(&known, settled)).await;
            let changed = match looked.and_then(|looked| Ok(looked?)) {
                Ok(Refreshed::Unsettled) => {
                    unsettled += 1;
                    continue;
                }
                Ok(Refreshed::Unchanged) => {
                    if self.progress.unchanged() {
                        TableRecovered { pipeline: &self.pipeline, table: &self.name }.emit();
                    }
                    None
                }
                Ok(Refreshed::Changed(rows)) => Some(self.replace(rows, started)),
                Err(error) => Some(Err(error)),
            };
            unsettled = 0;
            match changed {
                None => {}
                Some(Ok(now)) => stamp = now,
                Some(Err(error)) => self.failed(&error),
            }
        }
    }

    /// Does something that blocks, on a thread of its own.
    async fn aside<T: Send + 'static>(
        &self,
        work: impl FnOnce(&TableReader) -> T + Send + 'static,
    ) -> Result<T, LoadError> {
        let (answer, asked) = oneshot::channel();
        let reader = self.reader.clone();
        thread::Builder::new()
            .name(format!("table-{}", self.name))
            .spawn(move || {
                // Nobody waits for the answer any more when the pipeline has ended.
                let _ = answer.send(work(&reader));
            })
            .map_err(|error| LoadError::Thread(format!("no thread to read it: {error}")))?;
        let gone = |_| LoadError::Thread("the thread that read it panicked".to_owned());
        asked.await.map_err(gone)
    }

    fn replace(&self, rows: TableRows, started: Instant) -> Result<TableStamp, LoadError> {
        let (count, bytes) = (rows.len() as u64, rows.memory_bytes() as u64);
        let TableRows { batches, stamp } = rows;
        self.table.replace(batches).map_err(|error| LoadError::Columns(error.to_string()))?;
        let took = started.elapsed();
        self.progress.loaded(count, bytes, took);
        TableLoaded { pipeline: &self.pipeline, table: &self.name, rows: count, bytes, took }
            .emit();
        Ok(stamp)
    }

    fn failed(&self, error: &LoadError) {
        self.progress.failed(&error.to_string());
        let reason = error.code();
        TableFailed { pipeline: &self.pipeline, table: &self.name, reason, error }.emit();
    }
}

#[cfg(test)]
#[path = "static_tables_tests.rs"]
mod tests;
