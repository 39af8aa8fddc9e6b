//! The thread that reads ahead: version by version, file by file, a few batches at most.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::datatypes::DataType;
use tokio::runtime::Builder;
use tokio::sync::mpsc::{self, Receiver, Sender};

use super::commit::{Commit, Piece};
use super::options::DeltaOptions;
use super::rows::{self, Committed, Shape};
use super::table::{self, Began, Table};
use crate::source::wake::Waker;
use crate::source::{SourceError, columns, parse_position, position};

/// Batches that are read ahead. Each has at most 8,192 rows.
const AHEAD: usize = 4;
/// The first pause after storage failed; it doubles up to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LAST_PAUSE: Duration = Duration::from_secs(30);
/// How often it is made sure that a version which is not there has not been cleaned up.
const LOOK_FOR_GAP: Duration = Duration::from_secs(60);

/// What the thread hands over, in the order of the stream.
pub(super) enum Item {
    Rows {
        batch: RecordBatch,
        /// The position of the first row.
        first: i64,
        file: Arc<str>,
        /// Microseconds since the Unix epoch.
        modified_us: Option<i64>,
        /// Whether they are the first of their file that this thread hands over.
        starts_file: bool,
    },
    /// Everything before this position has been handed over.
    Passed(i64),
    /// The end of a bounded run.
    Finished(i64),
    Failed(SourceError),
}

/// What thread and reader share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// The newest version known.
    pub latest: AtomicI64,
    trouble: Mutex<Option<String>>,
}

impl Shared {
    pub fn trouble(&self) -> MutexGuard<'_, Option<String>> {
        // Nothing panics while it holds the lock, and the text would be whole if something did.
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a feed is to read.
pub(super) struct Feed {
    pub options: Arc<DeltaOptions>,
    pub began: Began,
    pub shape: Shape,
    /// The version that `shape` was checked against.
    pub checked: i64,
    /// The position to begin at.
    pub from: i64,
    /// The position where a bounded run ends.
    pub end: Option<i64>,
    pub waker: Waker,
    pub shared: Arc<Shared>,
}

/// Nobody is interested any more, or an error that is not to be tried again.
enum Stop {
    Closed,
    Error(SourceError),
}

impl From<SourceError> for Stop {
    fn from(error: SourceError) -> Self {
        Self::Error(error)
    }
}

impl Feed {
    /// Starts to read. The thread ends when what it returns is dropped.
    pub fn start(self) -> Result<Receiver<Item>, SourceError> {
        let (sender, receiver) = mpsc::channel(AHEAD);
        let failed = |error: std::io::Error| {
            SourceError::Thread(format!("no thread to read a Delta table on: {error}"))
        };
        let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
        thread::Builder::new()
            .name("delta-source".into())
            .spawn(move || {
                let mut reader =
                    Reader { at: self.from, asked: None, table: None, sender, feed: self };
                runtime.block_on(reader.run());
            })
            .map_err(failed)?;
        Ok(receiver)
    }
}

struct Reader {
    feed: Feed,
    /// Opened here, since its connections belong to this thread's runtime.
    table: Option<Table>,
    /// The position of the next row.
    at: i64,
    /// When it was last made sure that the next version is yet to come.
    asked: Option<Instant>,
    sender: Sender<Item>,
}

impl Reader {
    async fn run(&mut self) {
        let mut pause = FIRST_PAUSE;
        loop {
            if let Some(end) = self.feed.end.filter(|end| self.at >= *end) {
                // Whoever is gone needs no news.
                let _ = self.send(Item::Finished(end)).await;
                return;
            }
            let before = self.at;
            let pause_now = match self.version().await {
                Ok(true) => {
                    *self.feed.shared.trouble() = None;
                    pause = FIRST_PAUSE;
                    continue;
                }
                Ok(false) => {
                    *self.feed.shared.trouble() = None;
                    self.feed.options.poll_interval
                }
                Err(Stop::Closed) => return,
                Err(Stop::Error(error)) if error.is_transient() => {
                    if self.at > before {
                        pause = FIRST_PAUSE;
                    }
                    tracing::warn!(
                        table = &*self.feed.options.path,
                        %error,
                        pause_seconds = pause.as_secs_f64(),
                        "a Delta table cannot be read; trying again after a pause"
                    );
                    *self.feed.shared.trouble() = Some(error.to_string());
                    let now = pause;
                    pause = (pause * 2).min(LAST_PAUSE);
                    now
                }
                Err(Stop::Error(error)) => {
                    let _ = self.send(Item::Failed(error)).await;
                    return;
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause_now) => {}
                () = self.sender.closed() => return,
            }
        }
    }

    async fn send(&self, item: Item) -> Result<(), Stop> {
        self.sender.send(item).await.map_err(|_| Stop::Closed)?;
        self.feed.waker.wake();
        Ok(())
    }

    /// Reads the next version. `false`: it is not there yet.
    async fn version(&mut self) -> Result<bool, Stop> {
        let table = match &self.table {
            Some(table) => table.clone(),
            None => {
                let table = Table::open(self.feed.options.clone())?;
                self.table = Some(table.clone());
                table
            }
        };
        let (version, _) = parse_position(self.at);
        if self.feed.began.snapshot && version == self.feed.began.version {
            let (_, pieces) = table.files(version).await?;
            let timestamp_us = match table.commit(version).await? {
                Some(commit) => table.committed_us(version, &commit).await?,
                // Its commit is cleaned up, and a checkpoint of the log stands for it.
                None => pieces.iter().filter_map(|p| p.modified_ms).max().unwrap_or(0) * 1000,
            };
            self.pieces(&table, pieces, Committed { version, timestamp_us }).await?;
        } else {
            let Some(commit) = table.commit(version).await? else {
                self.look_for_gap(&table, version).await?;
                return Ok(false);
            };
            let timestamp_us = if self.feed.options.change_feed {
                table.committed_us(version, &commit).await?
            } else {
                0
            };
            self.check(&table, version, &commit)?;
            let pieces = commit.pieces(&self.feed.options, version)?;
            self.pieces(&table, pieces, Committed { version, timestamp_us }).await?;
        }
        self.feed.shared.latest.fetch_max(version, Ordering::Relaxed);
        self.at = position(version + 1, 0);
        self.asked = None;
        self.send(Item::Passed(self.at)).await?;
        Ok(true)
    }

    /// Hands over the rows of a version, from the one on that is next.
    async fn pieces(
        &mut self,
        table: &Table,
        pieces: Vec<Piece>,
        committed: Committed,
    ) -> Result<(), Stop> {
        let version = committed.version;
        let shape = self.feed.shape.clone();
        // Rows of the files before this one.
        let mut before = 0;
        for piece in pieces {
            let (_, row) = parse_position(self.at);
            let skip = row.saturating_sub(before);
            let mut rows = match rows::open(table, &shape, &piece, committed, skip).await? {
                Ok(rows) => rows,
                Err(count) => {
                    before += count;
                    continue;
                }
            };
            let file: Arc<str> = piece.path.as_str().into();
            let modified_us = piece.modified_ms.and_then(|ms| ms.checked_mul(1000));
            let mut starts_file = true;
            let mut next = before + skip;
            while let Some(batch) = rows.next(table, &piece, version).await? {
                let first = position(version, next);
                next += batch.num_rows() as u64;
                let file = file.clone();
                self.send(Item::Rows { batch, first, file, modified_us, starts_file }).await?;
                self.at = position(version, next);
                starts_file = false;
            }
            before = next;
        }
        Ok(())
    }

    /// A version that is not there is to come, unless there are later ones.
    async fn look_for_gap(&mut self, table: &Table, version: i64) -> Result<(), Stop> {
        let now = Instant::now();
        if self.asked.is_some_and(|asked| now.duration_since(asked) < LOOK_FOR_GAP) {
            return Ok(());
        }
        let newest = table.snapshot(None).await?;
        if newest.metadata().id() != self.feed.began.table_id {
            return Err(replaced(table, version).into());
        }
        let latest = newest.version().cast_signed();
        self.feed.shared.latest.fetch_max(latest, Ordering::Relaxed);
        // It may have been committed in this very moment.
        if latest >= version && table.commit(version).await?.is_none() {
            return Err(table.cleaned(version).into());
        }
        if latest + 1 < version {
            return Err(SourceError::Position {
                position: self.at,
                reason: format!(
                    "version {version} of the Delta table at {} is next, and its newest is \
                     {latest}: the table was made anew or restored from a backup",
                    table.name()
                ),
            }
            .into());
        }
        self.asked = Some(now);
        Ok(())
    }

    /// A schema that changes while its rows are being read.
    fn check(&self, table: &Table, version: i64, commit: &Commit) -> Result<(), Stop> {
        if version <= self.feed.checked {
            // What came before the schema that the source was opened with.
            return Ok(());
        }
        if let Some(protocol) = &commit.protocol {
            table.check_protocol(protocol, version)?;
        }
        let Some(metadata) = &commit.metadata else { return Ok(()) };
        if metadata.id() != self.feed.began.table_id {
            return Err(replaced(table, version).into());
        }
        let now = table::columns(metadata).map_err(|e| table.trouble("read the schema of", &e))?;
        let mut changes = Vec::new();
        for before in &self.feed.shape.columns {
            let read = self.feed.shape.output.field_with_name(&before.logical);
            let Ok(declared) = read else { continue };
            let there = now.iter().find(|column| column.logical == before.logical);
            changes.extend(match there {
                None => Some(format!("column `{}` is gone", before.logical)),
                Some(column) if column.physical != before.physical => {
                    Some(format!("column `{}` is another one of the same name", before.logical))
                }
                Some(column) => changed(&before.logical, &column.data_type, declared.data_type()),
            });
        }
        if *metadata.partition_columns() != self.feed.shape.partition_by {
            changes.push("it is partitioned by other columns".to_owned());
        }
        if !changes.is_empty() {
            changes.push(
                "restart the pipeline to read on with the new schema, once its queries fit it"
                    .to_owned(),
            );
            table.schema_error(version, changes)?;
        }
        let known = |name: &str| self.feed.shape.columns.iter().any(|old| old.logical == name);
        for column in now.iter().filter(|column| !known(&column.logical)) {
            tracing::info!(
                table = &*self.feed.options.path,
                version,
                column = column.logical,
                "the table has a new column; it is read from the next start on"
            );
        }
        Ok(())
    }
}

fn changed(name: &str, now: &DataType, declared: &DataType) -> Option<String> {
    columns::fits(now, declared)
        .err()
        .map(|_| format!("column `{name}` was {declared} and is {now}"))
}

fn replaced(table: &Table, version: i64) -> SourceError {
    SourceError::Schema {
        table: table.name().to_owned(),
        version,
        changes: vec![
            "it was replaced by another table; begin anew with an empty checkpoint directory"
                .to_owned(),
        ],
    }
}
