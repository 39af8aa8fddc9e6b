//! Pairs of an arriving row and a stored one: which of them count, and the rows they make.

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::{filter, take};
use arrow::datatypes::SchemaRef;
use datafusion::common::Result;

use super::filter::PairFilter;
use super::index::RowRef;
use super::plan::SideName;
use super::side::Side;
use crate::sql::new_batch;

/// Pairs that are looked at together, which bounds the memory that they need.
const PAIRS: usize = 8_192;

/// Pairs by their rows in the arriving batch and in the other side's state.
#[derive(Default)]
pub(super) struct Pairs {
    pub(super) arriving: Vec<u32>,
    pub(super) stored: Vec<RowRef>,
}

impl Pairs {
    pub(super) fn push(&mut self, arriving: usize, stored: RowRef) {
        self.arriving.push(arriving as u32);
        self.stored.push(stored);
    }

    /// Enough of them have come together.
    pub(super) fn is_full(&self) -> bool {
        self.stored.len() >= PAIRS
    }

    pub(super) fn clear(&mut self) {
        self.arriving.clear();
        self.stored.clear();
    }

    /// In pieces of bounded size: one row can have any number of partners.
    pub(super) fn chunks(&self) -> impl Iterator<Item = (&[u32], &[RowRef])> {
        self.arriving.chunks(PAIRS).zip(self.stored.chunks(PAIRS))
    }
}

/// The two sides of pairs.
pub(super) struct Sources<'a> {
    /// The side that rows arrive at.
    pub(super) from: SideName,
    pub(super) batch: &'a RecordBatch,
    /// Columns of the arriving side's input.
    pub(super) width: usize,
    /// The other side.
    pub(super) state: &'a Side,
}

/// Pairs that meet the condition, and those of their columns that are there already.
pub(super) struct Matches {
    pub(super) arriving: Vec<u32>,
    pub(super) stored: Vec<RowRef>,
    /// By column of left and right, counted through.
    columns: Vec<(usize, ArrayRef)>,
}

impl Sources<'_> {
    /// Columns of left and right by their numbers, counted through.
    fn columns(
        &self,
        arriving: &[u32],
        stored: &[RowRef],
        wanted: impl Iterator<Item = usize>,
    ) -> Result<Vec<(usize, ArrayRef)>> {
        let rows = UInt32Array::from(arriving.to_vec());
        let gather = self.state.gather(stored);
        let left = match self.from {
            SideName::Left => self.width,
            SideName::Right => self.state.layout.width,
        };
        wanted
            .map(|column| {
                let (side, at) = if column < left {
                    (SideName::Left, column)
                } else {
                    (SideName::Right, column - left)
                };
                let array = if side == self.from {
                    take(self.batch.column(at), &rows, None)?
                } else {
                    gather.column(at)?
                };
                Ok((column, array))
            })
            .collect()
    }

    /// The pairs that meet the condition.
    pub(super) fn matches(
        &self,
        arriving: &[u32],
        stored: &[RowRef],
        condition: Option<&PairFilter>,
    ) -> Result<Matches> {
        let all =
            |columns| Matches { arriving: arriving.to_vec(), stored: stored.to_vec(), columns };
        let Some(condition) = condition else { return Ok(all(vec![])) };
        let columns = self.columns(arriving, stored, condition.columns.iter().copied())?;
        let arrays = columns.iter().map(|(_, array)| array.clone()).collect();
        let mask = condition.evaluate(arrays, stored.len())?;
        if mask.true_count() == stored.len() {
            return Ok(all(columns));
        }
        let kept = || mask.values().set_indices();
        let columns = columns
            .iter()
            .map(|(column, array)| Ok((*column, filter(array, &mask)?)))
            .collect::<Result<_>>()?;
        Ok(Matches {
            arriving: kept().map(|pair| arriving[pair]).collect(),
            stored: kept().map(|pair| stored[pair]).collect(),
            columns,
        })
    }

    /// The joined rows of pairs.
    pub(super) fn joined(&self, matches: &Matches, output: &SchemaRef) -> Result<RecordBatch> {
        let count = output.fields().len();
        let is_there = |column: usize| matches.columns.iter().any(|(known, _)| *known == column);
        let missing = (0..count).filter(|column| !is_there(*column));
        let mut columns = self.columns(&matches.arriving, &matches.stored, missing)?;
        columns.extend(matches.columns.iter().cloned());
        columns.sort_unstable_by_key(|(column, _)| *column);
        let columns = columns.into_iter().map(|(_, array)| array).collect();
        new_batch(output, columns, matches.stored.len())
    }
}
