//! Rows of a partial batch by their window or pane.

use std::collections::BTreeMap;

use arrow::array::{ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::compute::{take, take_record_batch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use datafusion::common::Result;

use super::AggregateSet;

/// Some rows of a batch.
pub(super) enum Rows {
    All,
    Some(UInt32Array),
}

impl Rows {
    /// How many rows of a batch they are.
    pub(super) fn len(&self, batch: &RecordBatch) -> usize {
        match self {
            Self::All => batch.num_rows(),
            Self::Some(rows) => rows.len(),
        }
    }

    /// These rows of a batch.
    pub(super) fn of_batch(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        match self {
            Self::All => Ok(batch.clone()),
            Self::Some(rows) => Ok(take_record_batch(batch, rows)?),
        }
    }

    /// These rows of columns.
    pub(super) fn of_columns(&self, columns: &[ArrayRef]) -> Result<Vec<ArrayRef>> {
        match self {
            Self::All => Ok(columns.to_vec()),
            Self::Some(rows) => {
                let taken = columns.iter().map(|column| take(column, rows, None));
                Ok(taken.collect::<Result<_, _>>()?)
            }
        }
    }

    /// These rows of a list.
    pub(super) fn of_list<T: Copy>(&self, list: &[T]) -> Vec<T> {
        match self {
            Self::All => list.to_vec(),
            Self::Some(rows) => rows.values().iter().map(|row| list[*row as usize]).collect(),
        }
    }
}

/// The first column of a partial batch: starts of windows or panes, or event times.
pub(super) fn starts(partial: &RecordBatch) -> &[i64] {
    partial.column(0).as_primitive::<TimestampMicrosecondType>().values()
}

/// Input rows behind each row of a partial batch.
pub(super) fn counts<'a>(set: &AggregateSet, partial: &'a RecordBatch) -> &'a [i64] {
    partial.column(set.count_column()).as_primitive::<Int64Type>().values()
}

/// Input rows behind some rows of a partial batch.
pub(super) fn count(counts: &[i64], rows: &Rows) -> u64 {
    let count: i64 = match rows {
        Rows::All => counts.iter().sum(),
        Rows::Some(rows) => rows.values().iter().map(|row| counts[*row as usize]).sum(),
    };
    count.max(0).unsigned_abs()
}

/// The rows of each window, in the order the windows first occur. A batch mostly holds one to
/// three, so the last one is tried first and then the list is searched.
pub(super) fn by_window(starts: &[i64]) -> Vec<(i64, Rows)> {
    let Some(first) = starts.first() else { return vec![] };
    if starts.iter().all(|start| start == first) {
        return vec![(*first, Rows::All)];
    }
    let mut windows: Vec<(i64, Vec<u32>)> = vec![];
    let mut sorted: BTreeMap<i64, usize> = BTreeMap::new();
    let mut last = 0;
    for (row, start) in starts.iter().enumerate() {
        if windows.get(last).is_none_or(|(window, _)| window != start) {
            last = *sorted.entry(*start).or_insert_with(|| {
                windows.push((*start, vec![]));
                windows.len() - 1
            });
        }
        windows[last].1.push(row as u32);
    }
    windows.into_iter().map(|(start, rows)| (start, Rows::Some(rows.into()))).collect()
}
