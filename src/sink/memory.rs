//! This process's memory: the rows that the API and the SQL command show.
//!
//! - **Append**: the newest rows, up to a number; older ones make room.
//! - **Update**: the newest row of every key, up to the same number; keys that have not changed for
//!   longest make room. Without keys, as append.
//! - **Complete**: the rows of the last trigger, as many as the bound allows.
//!
//! **Exactly once for as long as the daemon runs.** Rows and marker are one value behind one lock,
//! and outlive restarts of the pipeline inside the daemon, so that an epoch is not shown twice. The
//! table does not outlive the daemon: after its start it holds the last epoch, which is staged on
//! disk, and what comes then. A second daemon has a memory of its own.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::row::{RowConverter, SortField};

use super::error::SinkError;
use super::staged::StagedRows;
use super::target::{CommitInfo, Guarantee, Marker, TargetContext};
use crate::codec::{Encoder, EncodingSpec, JsonEncoding};
use crate::sql::OutputMode;

/// Batches are joined when there are more than this many of them.
const MOST_BATCHES: usize = 64;

/// Where a memory sink's rows are.
#[derive(Clone, Debug)]
pub struct MemoryOptions {
    /// The table, which whoever reads it holds as well.
    pub table: Arc<MemoryTable>,
}

/// The rows of a memory sink. One table belongs to one sink and is kept over restarts of the
/// pipeline.
#[derive(Debug)]
pub struct MemoryTable {
    max_rows: usize,
    content: RwLock<MemoryRows>,
}

/// What a memory sink's table holds at one moment.
#[derive(Clone, Debug)]
pub struct MemoryRows {
    /// The columns; none before the sink was first opened.
    pub schema: SchemaRef,
    /// The rows, oldest first.
    pub batches: Vec<RecordBatch>,
    /// The epoch of the newest rows.
    pub marker: Option<Marker>,
    /// When they came.
    pub updated_at: Option<std::time::SystemTime>,
    /// Rows that had to make room since the daemon started.
    pub dropped: u64,
}

impl MemoryRows {
    /// The rows as a JSON array of objects, as the Kafka and files sinks write them.
    ///
    /// # Errors
    /// A column has a type that JSON cannot show.
    pub fn to_json(&self) -> Result<String, SinkError> {
        let spec = EncodingSpec::Json(JsonEncoding::default());
        let mut encoder = Encoder::new(&self.schema, &spec).map_err(SinkError::internal)?;
        let mut text = Vec::from(b"[");
        for batch in &self.batches {
            for row in encoder.encode(batch).map_err(SinkError::internal)?.iter() {
                if text.len() > 1 {
                    text.push(b',');
                }
                text.extend_from_slice(row);
            }
        }
        text.push(b']');
        String::from_utf8(text).map_err(SinkError::internal)
    }

    /// How many rows there are.
    pub fn num_rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }
}

impl MemoryTable {
    /// The default bound.
    pub const MAX_ROWS: usize = 100_000;

    /// An empty table for at most `max_rows` rows.
    pub fn new(max_rows: usize) -> Self {
        let content = MemoryRows {
            schema: Arc::new(Schema::empty()),
            batches: Vec::new(),
            marker: None,
            updated_at: None,
            dropped: 0,
        };
        Self { max_rows, content: RwLock::new(content) }
    }

    /// The rows as they are now. The batches are shared, not copied.
    pub fn rows(&self) -> MemoryRows {
        // The content is replaced as a whole: whoever panicked has left a whole one.
        self.content.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The bound.
    pub fn max_rows(&self) -> usize {
        self.max_rows
    }

    fn replace(&self, rows: MemoryRows) {
        *self.content.write().unwrap_or_else(PoisonError::into_inner) = rows;
    }
}

/// Fills a [`MemoryTable`].
pub struct MemoryTarget {
    table: Arc<MemoryTable>,
    context: TargetContext,
    keys: Vec<usize>,
}

impl MemoryTarget {
    pub(super) const GUARANTEE: Guarantee = Guarantee::ExactlyOnce(
        "rows and epoch are one value in memory; nothing of it outlives the daemon",
    );

    pub(super) fn open(options: MemoryOptions, context: TargetContext) -> Result<Self, SinkError> {
        let keys = match context.mode {
            OutputMode::Update => context.key_columns()?,
            OutputMode::Append | OutputMode::Complete => Vec::new(),
        };
        let table = options.table;
        let rows = table.rows();
        // Another ledger or other columns: the rows are of a past that is no more.
        let foreign = rows.marker.as_ref().is_some_and(|m| m.instance != context.instance);
        if foreign || rows.schema != context.schema {
            table.replace(MemoryRows {
                schema: context.schema.clone(),
                batches: Vec::new(),
                marker: None,
                ..rows
            });
        }
        Ok(Self { table, context, keys })
    }

    pub(super) fn marker(&self) -> Option<Marker> {
        self.table.rows().marker
    }

    pub(super) fn commit(
        &mut self,
        epoch: u64,
        rows: &StagedRows,
    ) -> Result<CommitInfo, SinkError> {
        let started = Instant::now();
        let marker = self.context.marker(epoch, rows.token());
        let mut info = CommitInfo { rows: rows.num_rows(), ..CommitInfo::default() };
        let mut now = self.table.rows();
        if now.marker.as_ref() == Some(&marker) {
            info.already_there = true;
            return Ok(info);
        }
        let kept = rows.last_of_each(&self.keys)?;
        info.written = kept.num_rows();
        let new = rows
            .kept_batches(&kept)?
            .filter(|batch| !batch.as_ref().is_ok_and(|batch| batch.num_rows() == 0))
            .collect::<Result<Vec<_>, _>>()?;
        match self.context.mode {
            OutputMode::Complete => now.batches.clear(),
            OutputMode::Update if !self.keys.is_empty() => {
                now.batches = without(&now.batches, &new, &self.keys, &self.context)?;
            }
            OutputMode::Append | OutputMode::Update => {}
        }
        now.batches.extend(new);
        now.dropped += self.bound(&mut now.batches);
        if now.batches.len() > MOST_BATCHES {
            let whole = concat_batches(&self.context.schema, &now.batches);
            now.batches = vec![whole.map_err(SinkError::internal)?];
        }
        now.marker = Some(marker);
        now.updated_at = Some(std::time::SystemTime::now());
        self.table.replace(now);
        info.took = started.elapsed();
        Ok(info)
    }

    /// Drops rows beyond the bound, the oldest first; returns how many.
    fn bound(&self, batches: &mut Vec<RecordBatch>) -> u64 {
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        let mut excess = rows.saturating_sub(self.table.max_rows);
        let dropped = excess as u64;
        if self.context.mode == OutputMode::Complete {
            // Of an ordered result the first rows are those that were asked for.
            let mut room = self.table.max_rows;
            batches.retain_mut(|batch| {
                *batch = batch.slice(0, batch.num_rows().min(room));
                room -= batch.num_rows();
                batch.num_rows() > 0
            });
            return dropped;
        }
        batches.retain_mut(|batch| {
            let cut = excess.min(batch.num_rows());
            if cut > 0 {
                *batch = batch.slice(cut, batch.num_rows() - cut);
                excess -= cut;
            }
            batch.num_rows() > 0
        });
        dropped
    }
}

/// `old` without the rows whose key is in `new`.
fn without(
    old: &[RecordBatch],
    new: &[RecordBatch],
    keys: &[usize],
    context: &TargetContext,
) -> Result<Vec<RecordBatch>, SinkError> {
    let fields = keys.iter().map(|key| context.schema.field(*key).data_type().clone());
    let converter =
        RowConverter::new(fields.map(SortField::new).collect()).map_err(SinkError::internal)?;
    let keys_of = |batch: &RecordBatch| {
        let columns: Vec<_> = keys.iter().map(|key| batch.column(*key).clone()).collect();
        converter.convert_columns(&columns).map_err(SinkError::internal)
    };
    let mut changed: HashSet<Box<[u8]>> = HashSet::new();
    for batch in new {
        changed.extend(keys_of(batch)?.iter().map(|row| row.as_ref().into()));
    }
    let mut kept = Vec::with_capacity(old.len());
    for batch in old {
        let rows = keys_of(batch)?;
        let mask: BooleanArray =
            rows.iter().map(|row| Some(!changed.contains(row.as_ref()))).collect();
        let batch = if mask.true_count() == batch.num_rows() {
            batch.clone()
        } else {
            filter_record_batch(batch, &mask).map_err(SinkError::internal)?
        };
        if batch.num_rows() > 0 {
            kept.push(batch);
        }
    }
    Ok(kept)
}
