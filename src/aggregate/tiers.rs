//! Panes of sliding windows, and the panes merged by twos, fours, eights ...
//!
//! A row goes into one pane, however many windows share it. A window is then put together from the
//! largest aligned blocks of panes that it covers, at most two of each size, and a block is merged
//! from its halves once, when a window first asks for it. So a row is merged once for each tier at
//! most, and a window of n panes needs about 2 log2(n) blocks. Blocks are plain columns; rows that
//! come for a pane after blocks were made of it are added to those blocks as well.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;

use datafusion::common::Result;

use super::AggregateSet;
use super::pieces::{Merger, Piece, Stack};

/// A block is kept merged if that makes at most so many rows of four; otherwise its halves'
/// columns are shared. Keys that do not repeat would else be in memory once a tier.
const WORTHWHILE: usize = 3;

/// One pane: its rows, as they came and merged.
#[derive(Default)]
pub(super) struct Pane {
    pub(super) stack: Stack,
    /// Pieces at the front of the stack that the checkpoint holds.
    pub(super) saved: usize,
    /// Segments that the checkpoint holds of this pane, and the rows in them.
    pub(super) segments: usize,
    pub(super) segment_rows: usize,
    /// The next snapshot has to write the pane whole.
    pub(super) rewrite: bool,
}

/// A block of panes.
struct Block {
    stack: Stack,
    /// Its columns are not those of its halves.
    own: bool,
}

/// The panes of one shard, by ordinal.
pub(super) struct Panes {
    panes: BTreeMap<i64, Pane>,
    /// Blocks of 2, 4, 8 ... panes, by their first pane's ordinal divided by that.
    tiers: Vec<BTreeMap<i64, Block>>,
}

impl Panes {
    /// For windows of at most `window` panes.
    pub(super) fn new(window: usize) -> Self {
        let tiers = (0..window.max(1).ilog2()).map(|_| BTreeMap::new()).collect();
        Self { panes: BTreeMap::new(), tiers }
    }

    /// The first pane, not before `pane`, that has rows.
    pub(super) fn first(&self, pane: i64) -> Option<i64> {
        self.panes.range(pane..).next().map(|(pane, _)| *pane)
    }

    /// The last pane that has rows.
    pub(super) fn last(&self) -> Option<i64> {
        self.panes.keys().next_back().copied()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (i64, &Pane)> {
        self.panes.iter().map(|(ordinal, pane)| (*ordinal, pane))
    }

    pub(super) fn get_mut(&mut self, pane: i64) -> Option<&mut Pane> {
        self.panes.get_mut(&pane)
    }

    /// Adds rows to a pane.
    pub(super) fn push(
        &mut self,
        set: &AggregateSet,
        merger: &mut Merger,
        ordinal: i64,
        piece: Piece,
    ) -> Result<()> {
        for (tier, level) in self.tiers.iter_mut().zip(1_u32..) {
            if let Some(block) = tier.get_mut(&(ordinal >> level)) {
                block.stack.push(set, merger, piece.clone(), 0)?;
            }
        }
        let pane = self.panes.entry(ordinal).or_default();
        pane.stack.push(set, merger, piece, pane.saved)
    }

    /// Drops the first pane, and blocks without panes.
    pub(super) fn pop_first(&mut self) -> Option<(i64, Pane)> {
        let popped = self.panes.pop_first();
        let first = self.panes.keys().next().copied().unwrap_or(i64::MAX);
        for (tier, level) in self.tiers.iter_mut().zip(1_u32..) {
            while tier.first_key_value().is_some_and(|(block, _)| *block < first >> level) {
                tier.pop_first();
            }
        }
        popped
    }

    /// Pieces that come to the rows of the panes in `range`. Blocks are made where `settled` says
    /// that rows for these panes have become rare.
    pub(super) fn pieces(
        &mut self,
        set: &AggregateSet,
        merger: &mut Merger,
        range: Range<i64>,
        settled: &dyn Fn(&Range<i64>) -> bool,
    ) -> Result<Vec<Piece>> {
        let mut pieces = vec![];
        // Nothing lies outside of the panes that there are.
        let mut at = range.start.max(self.panes.keys().next().copied().unwrap_or(range.end));
        let end = range.end.min(self.last().map_or(at, |last| last.saturating_add(1)));
        while at < end {
            let fits = (end.abs_diff(at)).ilog2();
            let level = at.trailing_zeros().min(fits).min(self.tiers.len() as u32);
            self.block(set, merger, level, at >> level, settled, &mut pieces)?;
            at += 1 << level;
        }
        Ok(pieces)
    }

    fn block(
        &mut self,
        set: &AggregateSet,
        merger: &mut Merger,
        level: u32,
        index: i64,
        settled: &dyn Fn(&Range<i64>) -> bool,
        out: &mut Vec<Piece>,
    ) -> Result<()> {
        let Some(below) = level.checked_sub(1) else {
            let pane = self.panes.get(&index);
            out.extend(pane.into_iter().flat_map(|pane| pane.stack.pieces.iter().cloned()));
            return Ok(());
        };
        let tier = below as usize;
        if let Some(block) = self.tiers[tier].get(&index) {
            out.extend(block.stack.pieces.iter().cloned());
            return Ok(());
        }
        let panes = index << level..(index + 1) << level;
        if self.panes.range(panes.clone()).next().is_none() {
            return Ok(());
        }
        let mut halves = vec![];
        self.block(set, merger, below, 2 * index, settled, &mut halves)?;
        self.block(set, merger, below, 2 * index + 1, settled, &mut halves)?;
        if !settled(&panes) {
            out.append(&mut halves);
            return Ok(());
        }
        let mut own = false;
        if halves.len() > 1 {
            let rows: usize = halves.iter().map(Piece::rows).sum();
            for piece in &halves {
                merger.add(set, piece)?;
            }
            let merged = merger.take_piece()?;
            if merged.rows() * 4 <= rows * WORTHWHILE {
                (own, halves) = (true, vec![merged]);
            }
        }
        out.extend(halves.iter().cloned());
        self.tiers[tier].insert(index, Block { stack: Stack { pieces: halves }, own });
        Ok(())
    }

    /// Which keys occur.
    pub(super) fn used(&self, keys: usize) -> Vec<bool> {
        let mut used = vec![false; keys];
        for piece in self.panes.values().flat_map(|pane| &pane.stack.pieces) {
            for id in piece.ids.iter() {
                used[*id as usize] = true;
            }
        }
        used
    }

    /// Gives every key its new number.
    pub(super) fn renumber(&mut self, moved: &[u32]) {
        // Pieces share their numbers with blocks.
        let mut done: HashMap<*const Vec<u32>, Arc<Vec<u32>>> = HashMap::new();
        let mut kept = vec![];
        let panes = self.panes.values_mut().map(|pane| &mut pane.stack);
        let blocks = self.tiers.iter_mut().flat_map(|tier| tier.values_mut());
        for stack in panes.chain(blocks.map(|block| &mut block.stack)) {
            for piece in &mut stack.pieces {
                let new = done.entry(Arc::as_ptr(&piece.ids)).or_insert_with(|| {
                    Arc::new(piece.ids.iter().map(|id| moved[*id as usize]).collect())
                });
                // Kept alive, so that no other list gets its address meanwhile.
                kept.push(std::mem::replace(&mut piece.ids, Arc::clone(new)));
            }
        }
    }

    /// Groups in the panes.
    pub(super) fn groups(&self) -> usize {
        self.panes.values().map(|pane| pane.stack.rows()).sum()
    }

    /// Bytes of memory, of the panes and of blocks that do not share the panes' columns.
    pub(super) fn size(&self) -> usize {
        let blocks = self.tiers.iter().flat_map(|tier| tier.values());
        let stacks = self.panes.values().map(|pane| &pane.stack);
        let own = blocks.filter(|block| block.own).map(|block| &block.stack);
        stacks.chain(own).flat_map(|stack| &stack.pieces).map(Piece::size).sum()
    }
}
