//! One stretch of time on one side: which rows came, and what is known of each.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::operator::segment::Saved;

/// A set of small numbers.
#[derive(Debug, Default, Clone)]
pub(super) struct Bits {
    words: Vec<u64>,
}

impl Bits {
    pub(super) fn get(&self, index: usize) -> bool {
        self.words.get(index / 64).is_some_and(|word| word >> (index % 64) & 1 == 1)
    }

    /// Whether it is new.
    pub(super) fn set(&mut self, index: usize) -> bool {
        if self.words.len() <= index / 64 {
            self.words.resize(index / 64 + 1, 0);
        }
        let word = &mut self.words[index / 64];
        let bit = 1 << (index % 64);
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }

    pub(super) fn size(&self) -> usize {
        self.words.capacity() * size_of::<u64>()
    }
}

/// Rows of one stretch of time. Each has a number in its pane, which it keeps.
#[derive(Default)]
pub(super) struct Pane {
    /// The rows there are.
    pub(super) rows: usize,
    /// Slots of their batches, in the order of the rows.
    pub(super) batches: Vec<u32>,
    /// Rows that something matched, or that went out without a match: they go out no more.
    matched: Bits,
    /// Those of the rows in the checkpoint of which this is not known there.
    flagged: Vec<usize>,
    pub(super) saved: Saved,
    /// Rows without a match by their time, once the first of the pane are due.
    pub(super) due: Option<BinaryHeap<Reverse<(i64, usize)>>>,
}

impl Pane {
    pub(super) fn is_matched(&self, row: usize) -> bool {
        self.matched.get(row)
    }

    /// Notes a match. Whether it is the row's first.
    pub(super) fn set_matched(&mut self, row: usize) -> bool {
        let first = self.matched.set(row);
        if first && row < self.saved.rows {
            self.flagged.push(row);
        }
        first
    }

    /// Whether a snapshot has something to write.
    pub(super) fn is_dirty(&self) -> bool {
        self.saved.rewrite || self.rows > self.saved.rows || !self.flagged.is_empty()
    }

    /// The rows from `first` on that are matched, and those before it of which the checkpoint does
    /// not know; ascending.
    pub(super) fn take_flags(&mut self, first: usize) -> Vec<usize> {
        let mut flags = std::mem::take(&mut self.flagged);
        flags.retain(|row| *row < first);
        flags.sort_unstable();
        flags.extend((first..self.rows).filter(|row| self.matched.get(*row)));
        flags
    }

    /// Bytes of memory beside those of the rows.
    pub(super) fn size(&self) -> usize {
        let due = self.due.as_ref().map_or(0, |due| due.capacity() * size_of::<(i64, usize)>());
        size_of::<Self>()
            + self.matched.size()
            + self.batches.capacity() * size_of::<u32>()
            + self.flagged.capacity() * size_of::<usize>()
            + due
    }
}
