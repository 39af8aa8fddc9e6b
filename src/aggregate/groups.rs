//! A table of groups: keys, and the accumulators' state for each.

use std::mem;

use arrow::array::{Array, ArrayRef};
use datafusion::common::Result;
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use datafusion::physical_plan::aggregates::group_values::{GroupValues, new_group_values};
use datafusion::physical_plan::aggregates::order::GroupOrdering;

use super::AggregateSet;

/// Keys to group numbers. Without keys there is one group, once a row has come.
enum Keys {
    None { seen: bool },
    Values(Box<dyn GroupValues>),
}

/// The groups of one window in one shard.
pub(super) struct GroupTable {
    keys: Keys,
    accumulators: Vec<Box<dyn GroupsAccumulator>>,
    /// Group number of each row of the batch at hand; kept to spare the allocation.
    indices: Vec<usize>,
}

/// All groups of a table, as columns.
pub(super) struct Emitted {
    pub(super) keys: Vec<ArrayRef>,
    pub(super) values: Vec<ArrayRef>,
    pub(super) groups: usize,
}

impl GroupTable {
    pub(super) fn new(set: &AggregateSet) -> Result<Self> {
        let keys = if set.keys == 0 {
            Keys::None { seen: false }
        } else {
            Keys::Values(new_group_values(set.key_schema(), &GroupOrdering::None)?)
        };
        Ok(Self { keys, accumulators: set.accumulators()?, indices: vec![] })
    }

    /// Number of groups.
    pub(super) fn len(&self) -> usize {
        match &self.keys {
            Keys::None { seen } => usize::from(*seen),
            Keys::Values(values) => values.len(),
        }
    }

    /// Bytes held.
    pub(super) fn size(&self) -> usize {
        let keys = match &self.keys {
            Keys::None { .. } => 0,
            Keys::Values(values) => values.size(),
        };
        let accumulators: usize = self.accumulators.iter().map(|a| a.size()).sum();
        keys + accumulators + self.indices.capacity() * mem::size_of::<usize>()
    }

    /// Merges rows of intermediate state. `states` are the state columns of all functions in the
    /// plan's order.
    pub(super) fn merge(
        &mut self,
        set: &AggregateSet,
        keys: &[ArrayRef],
        states: &[ArrayRef],
        rows: usize,
    ) -> Result<()> {
        if rows == 0 {
            return Ok(());
        }
        self.indices.clear();
        match &mut self.keys {
            Keys::None { seen } => {
                *seen = true;
                self.indices.resize(rows, 0);
            }
            Keys::Values(values) => values.intern(keys, &mut self.indices)?,
        }
        let groups = self.len();
        let first = set.functions.first().map_or(0, |function| function.state.start);
        for (function, accumulator) in set.functions.iter().zip(&mut self.accumulators) {
            let range = function.state.start - first..function.state.end - first;
            accumulator.merge_batch(&states[range], &self.indices, groups)?;
        }
        Ok(())
    }

    /// All groups with their intermediate state; the table is used up.
    pub(super) fn into_state(mut self) -> Result<Emitted> {
        let groups = self.len();
        let keys = self.emit_keys()?;
        let mut values = vec![];
        for accumulator in &mut self.accumulators {
            values.extend(accumulator.state(EmitTo::All)?);
        }
        debug_assert!(values.iter().all(|column| column.len() == groups));
        Ok(Emitted { keys, values, groups })
    }

    /// All groups with their final values; the table is used up.
    pub(super) fn into_results(mut self) -> Result<Emitted> {
        let groups = self.len();
        let keys = self.emit_keys()?;
        let values = self
            .accumulators
            .iter_mut()
            .map(|accumulator| accumulator.evaluate(EmitTo::All))
            .collect::<Result<Vec<_>>>()?;
        debug_assert!(values.iter().all(|column| column.len() == groups));
        Ok(Emitted { keys, values, groups })
    }

    fn emit_keys(&mut self) -> Result<Vec<ArrayRef>> {
        match &mut self.keys {
            Keys::None { .. } => Ok(vec![]),
            Keys::Values(values) => values.emit(EmitTo::All),
        }
    }
}
