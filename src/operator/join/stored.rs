//! Batches of stored rows, and how rows of several are put side by side.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use arrow::compute::interleave;
use arrow::datatypes::{Field, SchemaRef};
use datafusion::common::Result;

use super::index::RowRef;
use super::pane::Pane;
use crate::operator::keyed::{EncodedKeys, KeyBytes};
use crate::sql::new_batch;

/// Rows of one pane that lie together.
pub(super) struct Stored {
    pub(super) pane: i64,
    /// The number that the first row has in the pane.
    pub(super) first: usize,
    /// As the router made them.
    pub(super) rows: RecordBatch,
    pub(super) keys: KeyBytes,
    /// What each row's expiry counts from; empty if it has none.
    pub(super) times: ScalarBuffer<i64>,
    pub(super) bytes: usize,
}

impl Stored {
    pub(super) fn new(
        pane: i64,
        first: usize,
        rows: RecordBatch,
        keys: KeyBytes,
        times: ScalarBuffer<i64>,
    ) -> Self {
        let bytes = rows.get_array_memory_size() + keys.size() + size_of::<Self>();
        Self { pane, first, rows, keys, times, bytes }
    }
}

/// What is to be stored of a batch.
pub(super) struct Arriving<'a> {
    /// As the router made it.
    pub(super) rows: &'a RecordBatch,
    pub(super) keys: &'a EncodedKeys,
    /// The rows without a NULL among their keys; `None`: all.
    pub(super) present: Option<&'a NullBuffer>,
    /// What each row's expiry counts from; empty if it has none.
    pub(super) times: ScalarBuffer<i64>,
    /// Rows that something matched; empty: none.
    pub(super) matched: &'a [bool],
}

/// Where the row of this number in a pane is.
pub(super) fn locate(stored: &[Option<Stored>], pane: &Pane, row: usize) -> Option<RowRef> {
    let first = |slot: u32| stored[slot as usize].as_ref().map_or(0, |stored| stored.first);
    let at = pane.batches.partition_point(|slot| first(*slot) <= row).checked_sub(1)?;
    let slot = pane.batches[at];
    Some(RowRef::new(slot, (row - first(slot)) as u32))
}

/// Whether a batch holds on to much more memory than its rows need, being a slice of a larger one.
pub(super) fn is_wasteful(rows: &RecordBatch) -> bool {
    let needed: usize = rows
        .columns()
        .iter()
        .map(|column| column.to_data().get_slice_memory_size().unwrap_or(usize::MAX / 64))
        .sum();
    rows.columns().iter().map(|column| column.get_buffer_memory_size()).sum::<usize>()
        > needed.saturating_mul(2).saturating_add(4_096)
}

/// Stored rows to be put side by side.
pub(super) struct Gather<'a> {
    pub(super) batches: Vec<&'a RecordBatch>,
    pub(super) places: Vec<(usize, usize)>,
}

impl Gather<'_> {
    /// One column of them.
    pub(super) fn column(&self, column: usize) -> Result<ArrayRef> {
        let arrays: Vec<&dyn Array> =
            self.batches.iter().map(|batch| batch.column(column).as_ref()).collect();
        Ok(interleave(&arrays, &self.places)?)
    }
}

/// Rows of one side with NULLs for the columns of the other.
pub(super) fn with_nulls(
    output: &SchemaRef,
    columns: Vec<ArrayRef>,
    columns_first: bool,
) -> Result<RecordBatch> {
    let rows = columns.first().map_or(0, |column| column.len());
    let fields = output.fields();
    let null = |field: &Arc<Field>| arrow::array::new_null_array(field.data_type(), rows);
    let others = fields.len() - columns.len();
    let columns = if columns_first {
        let nulls = fields[columns.len()..].iter().map(null);
        columns.into_iter().chain(nulls.collect::<Vec<_>>()).collect()
    } else {
        fields[..others].iter().map(null).chain(columns).collect()
    };
    new_batch(output, columns, rows)
}
