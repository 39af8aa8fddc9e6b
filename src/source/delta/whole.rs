//! A Delta table that is read as a whole and not as a stream: a static table, or the input of a
//! query that is computed again.

use std::sync::Arc;
use std::sync::mpsc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use deltalake::kernel::Snapshot;

use super::commit::Piece;
use super::differences;
use super::options::DeltaOptions;
use super::rows::{self, Committed, Shape};
use super::table::{self, Table, ask};
use crate::lake::TableLocation;
use crate::source::SourceError;

/// Which table it is, and how often it was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::source) struct TableVersion {
    pub table_id: String,
    pub version: i64,
}

impl TableVersion {
    fn of(snapshot: &Snapshot) -> Self {
        let table_id = snapshot.metadata().id().to_owned();
        Self { table_id, version: snapshot.version().cast_signed() }
    }
}

/// The newest version of the table at `location`. Reads its log; blocks for as long as that takes.
pub(in crate::source) fn newest(location: &TableLocation) -> Result<TableVersion, SourceError> {
    let options = Arc::new(DeltaOptions::at(location));
    ask(async { Ok(TableVersion::of(&Table::open(options)?.snapshot(None).await?)) })
}

/// All rows of the newest version of the table at `location`, as the columns of `schema`; `None` if
/// that is the version `known`. Blocks for as long as that takes.
pub(in crate::source) fn read(
    location: &TableLocation,
    schema: &SchemaRef,
    known: Option<&TableVersion>,
) -> Result<Option<(TableVersion, Vec<RecordBatch>)>, SourceError> {
    let options = Arc::new(DeltaOptions::at(location));
    ask(async {
        let table = Table::open(options)?;
        let newest = TableVersion::of(&table.snapshot(None).await?);
        if known == Some(&newest) {
            return Ok(None);
        }
        // The files and the columns of one version, whatever is committed meanwhile.
        let version = newest.version;
        let (snapshot, pieces) = table.files(version).await?;
        let trouble = |error| table.trouble("read the schema of", &error);
        let shape = Shape {
            output: schema.clone(),
            change_feed: false,
            columns: table::columns(snapshot.metadata()).map_err(trouble)?,
            partition_by: snapshot.metadata().partition_columns().to_vec(),
        };
        table.schema_error(version, differences(&shape))?;
        // Only a change feed has columns of this.
        let committed = Committed { version, timestamp_us: 0 };
        let mut batches = Vec::new();
        for piece in &pieces {
            // Otherwise no row is left in the file.
            if let Ok(mut rows) = rows::open(&table, &shape, piece, committed, 0).await? {
                while let Some(batch) = rows.next(&table, piece, version).await? {
                    batches.push(batch);
                }
            }
        }
        Ok(Some((newest, batches)))
    })
}

/// One version of a Delta table, to be read once as a bounded stream: file by file, those with the
/// oldest rows first, as far as the files' statistics tell.
pub struct WholeTable {
    table: Table,
    version: i64,
    declared: SchemaRef,
    columns: Vec<table::Column>,
    partition_by: Vec<String>,
    files: Vec<WholeFile>,
}

struct WholeFile {
    piece: Piece,
    rows: Option<u64>,
    /// No event time in the file is before this; `None`: nothing is known.
    least: Option<i64>,
    /// The file holds no event time at all.
    without_time: bool,
}

/// What a whole table gives, in order.
#[derive(Debug)]
pub enum WholeItem {
    /// Rows, in the columns that were asked for.
    Rows(RecordBatch),
    /// A file has been read to its end. No row that follows has an event time before this;
    /// `None`: nothing is known of that.
    File(Option<i64>),
    /// There are no more.
    End,
    /// They cannot be read.
    Failed(SourceError),
}

/// Batches that are read ahead.
const AHEAD: usize = 4;

impl WholeTable {
    /// The table at `location` as of `version` (default: the newest). `time` names the column by which
    /// files are put in order. Reads the table's log; blocks for as long as that takes.
    ///
    /// # Errors
    /// There is no table, or not that version of it; it cannot be read.
    pub fn open(
        location: &TableLocation,
        version: Option<i64>,
        time: Option<&str>,
    ) -> Result<Self, SourceError> {
        let path = location.uri();
        let options = Arc::new(DeltaOptions {
            storage_options: location.storage_options().clone(),
            ..DeltaOptions::new(path)
        });
        ask(async {
            let table = Table::open(options)?;
            let newest = table.snapshot(None).await?.version().cast_signed();
            let version = version.unwrap_or(newest);
            if !(0..=newest).contains(&version) {
                return Err(SourceError::Table {
                    action: "read",
                    table: path.to_owned(),
                    reason: format!("it has the versions 0 to {newest}, and not {version}"),
                    transient: false,
                });
            }
            let (snapshot, pieces) = table.files_with_stats(version).await?;
            let trouble = |error| table.trouble("read the schema of", &error);
            let columns = table::columns(snapshot.metadata()).map_err(trouble)?;
            let physical = time.and_then(|time| {
                let column = columns.iter().find(|column| column.logical == time)?;
                Some(column.physical.clone())
            });
            let mut files: Vec<WholeFile> = pieces
                .into_iter()
                .map(|(piece, stats)| {
                    let stats =
                        stats.as_deref().and_then(|text| serde_json::from_str::<Stats>(text).ok());
                    let known = stats.as_ref().zip(physical.as_deref());
                    let least = known.and_then(|(stats, name)| {
                        let text = stats.min_values.get(name)?.as_str()?;
                        let time = chrono::DateTime::parse_from_rfc3339(text).ok()?;
                        // Writers cut to milliseconds, which is never after the value.
                        Some(time.timestamp_micros())
                    });
                    let rows = stats.as_ref().and_then(|stats| stats.num_records);
                    let without_time = known.is_some_and(|(stats, name)| {
                        let nulls = stats.null_count.get(name).and_then(|n| n.as_u64());
                        nulls.is_some() && nulls == rows
                    });
                    WholeFile { piece, rows, least, without_time }
                })
                .collect();
            // The oldest first; what is not known may be older than all.
            files.sort_by(|a, b| {
                (a.least, a.piece.modified_ms, &a.piece.path).cmp(&(
                    b.least,
                    b.piece.modified_ms,
                    &b.piece.path,
                ))
            });
            Ok(Self {
                declared: table::declared(&snapshot, false),
                partition_by: snapshot.metadata().partition_columns().to_vec(),
                columns,
                files,
                version,
                table,
            })
        })
    }

    /// The table's columns.
    pub fn schema(&self) -> SchemaRef {
        self.declared.clone()
    }

    /// The version that is read.
    pub fn version(&self) -> i64 {
        self.version
    }

    /// How the table is called: its path or URL.
    pub fn name(&self) -> &str {
        self.table.name()
    }

    /// How many files it has.
    pub fn num_files(&self) -> usize {
        self.files.len()
    }

    /// How many rows it has, if all files say so.
    pub fn num_rows(&self) -> Option<u64> {
        self.files.iter().map(|file| file.rows).sum()
    }

    /// No event time in the table is before this, if all files say so.
    pub fn least(&self) -> Option<i64> {
        floor(&self.files)
    }

    /// Reads all rows as the columns of `schema`, a few batches ahead, on a thread of its own that
    /// ends when what is returned is dropped.
    ///
    /// # Errors
    /// The table lacks a column of `schema`, or has it with another type.
    pub fn read(self, schema: &SchemaRef) -> Result<mpsc::Receiver<WholeItem>, SourceError> {
        let shape = Shape {
            output: schema.clone(),
            change_feed: false,
            columns: self.columns.clone(),
            partition_by: self.partition_by.clone(),
        };
        self.table.schema_error(self.version, differences(&shape))?;
        let (sender, receiver) = mpsc::sync_channel(AHEAD);
        let failed = |error: std::io::Error| {
            SourceError::Thread(format!("no thread to read a Delta table on: {error}"))
        };
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        std::thread::Builder::new()
            .name("delta-whole".into())
            .spawn(move || {
                let end = runtime.block_on(self.send(&shape, &sender));
                // Whoever is gone needs no news.
                let _ = sender.send(end.map_or_else(WholeItem::Failed, |()| WholeItem::End));
            })
            .map_err(failed)?;
        Ok(receiver)
    }

    async fn send(
        &self,
        shape: &Shape,
        sender: &mpsc::SyncSender<WholeItem>,
    ) -> Result<(), SourceError> {
        let version = self.version;
        // Only a change feed has columns of this.
        let committed = Committed { version, timestamp_us: 0 };
        for (place, file) in self.files.iter().enumerate() {
            // Otherwise no row is left in the file.
            if let Ok(mut rows) = rows::open(&self.table, shape, &file.piece, committed, 0).await? {
                while let Some(batch) = rows.next(&self.table, &file.piece, version).await? {
                    if sender.send(WholeItem::Rows(batch)).is_err() {
                        return Ok(());
                    }
                }
            }
            if sender.send(WholeItem::File(floor(&self.files[place + 1..]))).is_err() {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// The least event time in any of the files; `None` if one of them does not say. Files are in order,
/// and those of which nothing is known stand first.
fn floor(files: &[WholeFile]) -> Option<i64> {
    let timed = files.iter().find(|file| !file.without_time);
    match timed {
        Some(file) => file.least,
        None => None,
    }
}

/// Of a file's statistics, what is needed here.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stats {
    num_records: Option<u64>,
    #[serde(default)]
    min_values: serde_json::Map<String, serde_json::Value>,
    #[serde(default)]
    null_count: serde_json::Map<String, serde_json::Value>,
}
