//! A Delta table as a stream: the rows that are appended to it, or its change feed. With this,
//! bronze, silver and gold can be daemons of their own.
//!
//! Each version's files are read in the order of its commit, so that a row's number within its
//! version never changes: version and row make the position. A thread with a small runtime reads
//! ahead, a few batches at most.

mod commit;
pub(crate) mod data;
mod feed;
mod object;
mod options;
mod rows;
mod table;
mod vector;
pub(super) mod whole;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::datatypes::{DataType, SchemaRef};
use tokio::sync::mpsc::Receiver;
use tokio::sync::mpsc::error::TryRecvError;

pub use options::{DeltaOptions, DeltaStart, Rewrites};
pub use whole::{WholeItem, WholeTable};

use self::feed::{Feed, Item, Shared};
use self::rows::Shape;
use self::table::{Began, CHANGE_TYPE, COMMIT_TIMESTAMP, COMMIT_VERSION, Table, ask};
use super::wake::Waker;
use super::{
    BacklogUnit, ColumnsTaken, MAX_SEQUENCE, Record, SourceError, SplitReader, Taken, columns,
    keep, parse_position, position,
};

/// A table as one split. See the module's documentation.
pub struct DeltaSource {
    options: Arc<DeltaOptions>,
    began: Began,
    shape: Shape,
    checked: i64,
    waker: Waker,
    shared: Arc<Shared>,
    items: Option<Receiver<Item>>,
    /// Taken from the thread, and not handed out, or not all of it.
    pending: Option<Item>,
    /// The position of the next row.
    next: i64,
    /// Files begun since the last barrier.
    begun: usize,
    end: Option<i64>,
    ended: bool,
}

impl DeltaSource {
    /// The table's columns now, as a source declares them: all may be NULL; with a change feed
    /// followed by `_change_type STRING`, `_commit_version BIGINT`, `_commit_timestamp TIMESTAMP`.
    ///
    /// Reads the table's log; blocks for as long as that takes.
    pub fn schema(options: &DeltaOptions) -> Result<SchemaRef, SourceError> {
        let options = Arc::new(options.clone());
        ask(async {
            let table = Table::open(options.clone())?;
            Ok(table::declared(&table.snapshot(None).await?, options.change_feed))
        })
    }

    /// Opens the source called `name` to read the columns of `schema` (as [`DeltaSource::schema`]
    /// gave it, or fewer) that `projection` names, in its order. Where it began is kept in
    /// `<sources_dir>/<name>.delta`.
    ///
    /// Reads the table's log; blocks for as long as that takes.
    pub fn open(
        options: DeltaOptions,
        schema: &SchemaRef,
        projection: &[usize],
        sources_dir: &Path,
        name: &str,
    ) -> Result<Self, SourceError> {
        if options.max_files_per_trigger == Some(0) {
            return Err(SourceError::Option {
                option: "max_files_per_trigger",
                problem: "0 would never read anything".to_owned(),
            });
        }
        let output = schema.project(projection).map_err(|error| SourceError::Option {
            option: "projection",
            problem: error.to_string(),
        })?;
        let output = Arc::new(output);
        let options = Arc::new(options);
        let path = sources_dir.join(format!("{name}.delta"));
        let kept = keep::load::<Began>(&path)?;
        let is_new = kept.is_none();
        let (began, shape, checked) = ask(async {
            let table = Table::open(options.clone())?;
            let newest = table.snapshot(None).await?;
            let began = match kept {
                Some(began) => began,
                None => table.begin(&newest).await?,
            };
            let latest = newest.version().cast_signed();
            if began.table_id != newest.metadata().id() {
                let other = "another table is there now than the checkpoint knows; begin anew with \
                             an empty checkpoint directory";
                table.schema_error(latest, vec![other.to_owned()])?;
            }
            let trouble = |error| table.trouble("read the schema of", &error);
            let shape = Shape {
                output: output.clone(),
                change_feed: options.change_feed,
                columns: table::columns(newest.metadata()).map_err(trouble)?,
                partition_by: newest.metadata().partition_columns().to_vec(),
            };
            table.schema_error(latest, differences(&shape))?;
            Ok((began, shape, latest))
        })?;
        if is_new {
            keep::store(&path, &began)?;
        }
        if checked >= MAX_SEQUENCE {
            return Err(SourceError::Position {
                position: i64::MAX,
                reason: format!("positions can number {MAX_SEQUENCE} versions"),
            });
        }
        let shared = Arc::new(Shared::default());
        shared.latest.store(checked, Ordering::Relaxed);
        let next = position(began.version, 0);
        Ok(Self {
            options,
            began,
            shape,
            checked,
            waker: Waker::default(),
            shared,
            items: None,
            pending: None,
            next,
            begun: 0,
            end: None,
            ended: false,
        })
    }

    fn start(&mut self) -> Result<(), SourceError> {
        if self.items.is_none() && !self.ended {
            let feed = Feed {
                options: self.options.clone(),
                began: self.began.clone(),
                shape: self.shape.clone(),
                checked: self.checked,
                from: self.next,
                end: self.end,
                waker: self.waker.clone(),
                shared: self.shared.clone(),
            };
            self.items = Some(feed.start()?);
        }
        Ok(())
    }

    /// Stops reading ahead; the next take begins at the position that was reached.
    fn stop(&mut self) {
        self.items = None;
        self.pending = None;
        self.ended = false;
    }

    fn receive(&mut self) -> Result<Option<Item>, SourceError> {
        if let Some(item) = self.pending.take() {
            return Ok(Some(item));
        }
        let Some(items) = &mut self.items else { return Ok(None) };
        match items.try_recv() {
            Ok(item) => Ok(Some(item)),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => {
                self.items = None;
                if self.ended {
                    return Ok(None);
                }
                let gone = "the thread that reads a Delta table is gone".to_owned();
                Err(SourceError::Thread(gone))
            }
        }
    }
}

/// What the declared columns ask for and the table does not have.
fn differences(shape: &Shape) -> Vec<String> {
    let mut differences = Vec::new();
    for field in shape.output.fields() {
        let name = field.name();
        if shape.change_feed && [CHANGE_TYPE, COMMIT_VERSION, COMMIT_TIMESTAMP].contains(&&**name) {
            continue;
        }
        match shape.columns.iter().find(|column| column.logical == *name) {
            None => differences.push(format!("column `{name}` is declared and not in the table")),
            Some(column) => {
                if let Err(reason) = columns::fits(&column.data_type, field.data_type()) {
                    differences.push(format!("column `{name}`: {reason}"));
                }
                let mapped = shape.columns.iter().any(|column| column.logical != column.physical);
                if mapped && has_struct(field.data_type()) {
                    differences.push(format!(
                        "column `{name}` is nested and the table maps columns \
                         (delta.columnMapping.mode), which is not supported together"
                    ));
                }
            }
        }
    }
    differences
}

fn has_struct(data_type: &DataType) -> bool {
    match data_type {
        DataType::Struct(_) => true,
        DataType::List(item) => has_struct(item.data_type()),
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) => fields.iter().any(|field| has_struct(field.data_type())),
            _ => false,
        },
        _ => false,
    }
}

impl SplitReader for DeltaSource {
    fn take(&mut self, _limit: usize, _visit: &mut dyn FnMut(Record<'_>)) -> Taken {
        Taken::default()
    }

    fn take_columns(&mut self, limit: usize) -> Option<ColumnsTaken> {
        let mut taken = ColumnsTaken::default();
        if let Err(error) = self.start() {
            taken.error = Some(error);
            return Some(taken);
        }
        loop {
            match self.receive() {
                Err(error) => {
                    taken.error = Some(error);
                    break;
                }
                Ok(None) => break,
                Ok(Some(Item::Failed(error))) => {
                    self.ended = true;
                    taken.error = Some(error);
                    break;
                }
                Ok(Some(Item::Passed(next))) => self.next = next,
                Ok(Some(Item::Finished(next))) => {
                    self.next = next;
                    self.ended = true;
                    taken.finished = true;
                    break;
                }
                Ok(Some(Item::Rows { mut batch, first, file, modified_us, starts_file })) => {
                    if starts_file {
                        if self.options.max_files_per_trigger.is_some_and(|max| self.begun >= max) {
                            let item = Item::Rows { batch, first, file, modified_us, starts_file };
                            self.pending = Some(item);
                            taken.limited = true;
                            break;
                        }
                        self.begun += 1;
                    }
                    let rows = batch.num_rows();
                    let now = rows.min(limit.max(1));
                    self.next = first + now as i64;
                    if now < rows {
                        self.pending = Some(Item::Rows {
                            batch: batch.slice(now, rows - now),
                            first: self.next,
                            file: file.clone(),
                            modified_us,
                            starts_file: false,
                        });
                        batch = batch.slice(0, now);
                    }
                    taken.batch = Some(batch);
                    taken.first = first;
                    taken.file = Some(file);
                    taken.modified_us = modified_us;
                    break;
                }
            }
        }
        taken.finished |= self.ended && taken.error.is_none() && self.end == Some(self.next);
        taken.next = Some(self.next);
        Some(taken)
    }

    fn on_ready(&mut self, wake: Box<dyn Fn() + Send + Sync>) {
        self.waker.set(wake);
    }

    fn seek(&mut self, next: i64) -> Result<(), SourceError> {
        let begin = position(self.began.version, 0);
        if next > 0 && next < begin {
            return Err(SourceError::Position {
                position: next,
                reason: format!("the source began at version {}", self.began.version),
            });
        }
        self.stop();
        self.begun = 0;
        self.next = next.max(begin);
        Ok(())
    }

    /// Versions of the table, as far as they are known, that are not read to their end.
    fn backlog(&self) -> Option<u64> {
        let (version, _) = parse_position(self.next);
        let latest = self.shared.latest.load(Ordering::Relaxed);
        Some(u64::try_from(latest + 1 - version).unwrap_or(0))
    }

    fn backlog_unit(&self) -> BacklogUnit {
        BacklogUnit::Versions
    }

    fn barrier(&mut self, _epoch: u64) {
        self.begun = 0;
    }

    fn durable(&mut self, _next: i64) {}

    /// Up to the newest version there is now; blocks for as long as asking takes.
    fn bound(&mut self) -> Result<i64, SourceError> {
        if let Some(end) = self.end {
            return Ok(end);
        }
        let options = self.options.clone();
        let latest = ask(async {
            let newest = Table::open(options)?.snapshot(None).await?;
            Ok(newest.version().cast_signed())
        })?;
        self.shared.latest.fetch_max(latest, Ordering::Relaxed);
        let end = position(latest + 1, 0).max(position(self.began.version, 0));
        self.stop();
        self.end = Some(end);
        Ok(end)
    }

    fn trouble(&self) -> Option<String> {
        self.shared.trouble().clone()
    }
}

#[cfg(test)]
mod tests;
