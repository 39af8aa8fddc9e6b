//! Partial aggregates as columns, and merging them.

use std::mem::size_of;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, UInt32Array};
use arrow::compute::take;
use datafusion::common::Result;
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};

use super::AggregateSet;

/// More pieces than this in a stack, and the small ones are merged.
const MAX_PIECES: usize = 8;

/// Intermediate state of some groups: for each row a group's number and its state. A number may
/// occur more than once. Cloning shares the columns.
#[derive(Clone)]
pub(super) struct Piece {
    pub(super) ids: Arc<Vec<u32>>,
    /// The state columns of all functions in the plan's order.
    pub(super) states: Vec<ArrayRef>,
}

impl Piece {
    pub(super) fn new(ids: Vec<u32>, states: Vec<ArrayRef>) -> Self {
        Self { ids: Arc::new(ids), states }
    }

    pub(super) fn rows(&self) -> usize {
        self.ids.len()
    }

    /// Bytes of memory.
    pub(super) fn size(&self) -> usize {
        let states: usize = self.states.iter().map(|column| column.get_array_memory_size()).sum();
        states + self.ids.capacity() * size_of::<u32>()
    }
}

/// Merges pieces, and gives what they come to as a piece or as results.
///
/// One is enough for an operator: between two uses it is empty.
///
/// Accumulators take every group up to the number of groups for one that has had a value, unless
/// NULLs or filters come with the batch. So a group gets its place with its first row, not before.
pub(super) struct Merger {
    accumulators: Vec<Box<dyn GroupsAccumulator>>,
    /// For each number, its place in `ids` plus one; 0 is none.
    cells: Vec<u32>,
    ids: Vec<u32>,
    indices: Vec<usize>,
    /// Numbers that are marked, by number and as a list.
    marks: Vec<bool>,
    marked: Vec<u32>,
    /// Numbers that are not marked are passed over.
    selects: bool,
}

impl Merger {
    pub(super) fn new(set: &AggregateSet) -> Result<Self> {
        Ok(Self {
            accumulators: set.accumulators()?,
            cells: vec![],
            ids: vec![],
            indices: vec![],
            marks: vec![],
            marked: vec![],
            selects: false,
        })
    }

    /// Restricts what is merged next to the groups with these numbers.
    pub(super) fn select<'a>(&mut self, ids: impl Iterator<Item = &'a u32>) {
        for id in ids {
            self.mark(*id);
        }
        self.selects = true;
    }

    /// Marks a number; whether it was not marked before.
    pub(super) fn mark(&mut self, id: u32) -> bool {
        if self.marks.len() <= id as usize {
            self.marks.resize((id as usize + 1).next_power_of_two(), false);
        }
        let new = !std::mem::replace(&mut self.marks[id as usize], true);
        if new {
            self.marked.push(id);
        }
        new
    }

    pub(super) fn clear_marks(&mut self) {
        for id in self.marked.drain(..) {
            self.marks[id as usize] = false;
        }
        self.selects = false;
    }

    /// The numbers of what was added, in the order they first came.
    pub(super) fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Whether something was added for this number.
    pub(super) fn contains(&self, id: u32) -> bool {
        self.cells.get(id as usize).is_some_and(|cell| *cell != 0)
    }

    /// The place of a number, which may be new.
    #[inline]
    fn index(&mut self, id: u32) -> usize {
        if self.cells.len() <= id as usize {
            self.cells.resize((id as usize + 1).next_power_of_two(), 0);
        }
        let cell = &mut self.cells[id as usize];
        if *cell == 0 {
            self.ids.push(id);
            *cell = self.ids.len() as u32;
        }
        *cell as usize - 1
    }

    pub(super) fn add(&mut self, set: &AggregateSet, piece: &Piece) -> Result<()> {
        let mut indices = std::mem::take(&mut self.indices);
        indices.clear();
        let added = if self.selects {
            let mut rows = vec![];
            for (row, id) in (0_u32..).zip(piece.ids.iter()) {
                if self.marks.get(*id as usize).is_some_and(|marked| *marked) {
                    indices.push(self.index(*id));
                    rows.push(row);
                }
            }
            if rows.len() == piece.rows() {
                self.merge(set, &piece.states, &indices)
            } else {
                let rows = UInt32Array::from(rows);
                let states = piece.states.iter().map(|column| take(column, &rows, None));
                let states = states.collect::<Result<Vec<_>, _>>()?;
                self.merge(set, &states, &indices)
            }
        } else {
            indices.extend(piece.ids.iter().map(|id| self.index(*id)));
            self.merge(set, &piece.states, &indices)
        };
        self.indices = indices;
        added
    }

    fn merge(&mut self, set: &AggregateSet, states: &[ArrayRef], indices: &[usize]) -> Result<()> {
        if indices.is_empty() {
            return Ok(());
        }
        merge_states(set, &mut self.accumulators, states, indices, self.ids.len())
    }

    fn take_ids(&mut self) -> Vec<u32> {
        self.clear_marks();
        for id in &self.ids {
            self.cells[*id as usize] = 0;
        }
        std::mem::take(&mut self.ids)
    }

    /// What was added, merged; nothing is left.
    pub(super) fn take_piece(&mut self) -> Result<Piece> {
        let ids = self.take_ids();
        let states = emit_states(&mut self.accumulators)?;
        Ok(Piece::new(ids, states))
    }

    /// The numbers of what was added, and the results; nothing is left.
    pub(super) fn take_results(&mut self) -> Result<(Vec<u32>, Vec<ArrayRef>)> {
        let ids = self.take_ids();
        let values = self.accumulators.iter_mut().map(|a| a.evaluate(EmitTo::All));
        Ok((ids, values.collect::<Result<_>>()?))
    }

    /// The results of states that are whole, row by row.
    pub(super) fn evaluate(
        &mut self,
        set: &AggregateSet,
        states: &[ArrayRef],
        rows: usize,
    ) -> Result<Vec<ArrayRef>> {
        self.indices.clear();
        self.indices.extend(0..rows);
        merge_states(set, &mut self.accumulators, states, &self.indices, rows)?;
        self.accumulators.iter_mut().map(|a| a.evaluate(EmitTo::All)).collect()
    }

    /// Bytes of memory.
    pub(super) fn size(&self) -> usize {
        let accumulators: usize = self.accumulators.iter().map(|a| a.size()).sum();
        let lists =
            self.cells.capacity() * size_of::<u32>() + self.ids.capacity() * size_of::<u32>();
        accumulators + lists + self.indices.capacity() * size_of::<usize>() + self.marks.capacity()
    }
}

/// Merges state columns into the accumulators of all functions.
pub(super) fn merge_states(
    set: &AggregateSet,
    accumulators: &mut [Box<dyn GroupsAccumulator>],
    states: &[ArrayRef],
    indices: &[usize],
    groups: usize,
) -> Result<()> {
    let first = set.functions.first().map_or(0, |function| function.state.start);
    for (function, accumulator) in set.functions.iter().zip(accumulators) {
        let range = function.state.start - first..function.state.end - first;
        accumulator.merge_batch(&states[range], indices, groups)?;
    }
    Ok(())
}

/// The state columns of all functions; nothing is left.
pub(super) fn emit_states(
    accumulators: &mut [Box<dyn GroupsAccumulator>],
) -> Result<Vec<ArrayRef>> {
    let mut states = vec![];
    for accumulator in accumulators {
        states.extend(accumulator.state(EmitTo::All)?);
    }
    Ok(states)
}

/// Pieces in the order they came. Those at the end are merged from time to time, so that their
/// sizes grow at least geometrically towards the front: a row is merged a logarithmic number of
/// times and there is a logarithmic number of pieces.
#[derive(Clone, Default)]
pub(super) struct Stack {
    pub(super) pieces: Vec<Piece>,
}

impl Stack {
    pub(super) fn rows(&self) -> usize {
        self.pieces.iter().map(Piece::rows).sum()
    }

    /// Adds a piece; the first `keep` are left as they are.
    pub(super) fn push(
        &mut self,
        set: &AggregateSet,
        merger: &mut Merger,
        piece: Piece,
        keep: usize,
    ) -> Result<()> {
        self.pieces.push(piece);
        if self.pieces.len() - keep <= MAX_PIECES {
            return Ok(());
        }
        let mut from = self.pieces.len() - 1;
        let mut rows = self.pieces[from].rows();
        while from > keep && self.pieces[from - 1].rows() <= 2 * rows {
            from -= 1;
            rows += self.pieces[from].rows();
        }
        self.merge_from(set, merger, from)
    }

    /// Makes one piece of those from `from` on.
    pub(super) fn merge_from(
        &mut self,
        set: &AggregateSet,
        merger: &mut Merger,
        from: usize,
    ) -> Result<()> {
        if self.pieces.len() - from < 2 {
            return Ok(());
        }
        for piece in self.pieces.drain(from..) {
            merger.add(set, &piece)?;
        }
        self.pieces.push(merger.take_piece()?);
        Ok(())
    }
}
