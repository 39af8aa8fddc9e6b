//! The rows of one input that may still match something.
//!
//! Rows stay in the batches they came in, cut at the borders of panes: stretches of time whose
//! length is a power of two. Small batches are merged. One index over all panes finds the rows of a
//! key; a row's key is compared byte by byte before it counts as equal.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::mem;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, filter_record_batch, take_record_batch};
use datafusion::common::{Result, exec_err};

use super::index::{RowIndex, RowRef};
use super::pane::Pane;
use super::stored::{Arriving, Gather, Stored, is_wasteful, locate};
use crate::operator::keyed::{KeyBytes, KeyCodec, KeyLayout, hash_key};

/// Panes in the time that rows are kept: so much more than is needed stays in memory.
const PANES: i64 = 16;
/// A pane is not shorter than 2^24 us, about 17 s: each costs a segment an epoch, and how far rows
/// come ahead of the watermark is not known.
const MIN_SHIFT: u32 = 24;
/// About 71 minutes, for rows that are kept for ever.
const NEVER_SHIFT: u32 = 32;
/// Batches with fewer rows than this are small ...
const SMALL_ROWS: usize = 2_048;
/// ... and so many of them in a row are merged.
const SMALL_BATCHES: usize = 32;

/// When a row can match nothing any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expiry {
    /// It always can.
    Never,
    /// Once the watermark is after its event time plus so many microseconds.
    Event(i64),
    /// So many microseconds after it came.
    Wall(i64),
}

/// How far time has come.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reached {
    pub(super) watermark: Option<i64>,
    /// Processing time.
    pub(super) now: i64,
}

impl Expiry {
    pub(super) fn is_due(self, time: i64, reached: Reached) -> bool {
        match self {
            Self::Never => false,
            // The end of all input is after everything, also after what does not fit 64 bits.
            Self::Event(keep) => reached
                .watermark
                .is_some_and(|mark| mark == i64::MAX || mark > time.saturating_add(keep)),
            Self::Wall(ttl) => reached.now >= time.saturating_add(ttl),
        }
    }

    /// The length of panes, as a power of two of microseconds. A side that keeps its rows for less
    /// than the other cuts them as coarsely: it is the other one that sets the size of the state.
    pub(super) fn shift(self, other: Self) -> u32 {
        let keep = |expiry| match expiry {
            Self::Never => 0,
            Self::Event(keep) | Self::Wall(keep) => keep.max(0),
        };
        if self == Self::Never {
            return NEVER_SHIFT;
        }
        let longer = keep(self).max(keep(other));
        (longer / PANES).checked_ilog2().unwrap_or(0).max(MIN_SHIFT)
    }
}

/// The rows of one input.
pub(super) struct Side {
    pub(super) layout: KeyLayout,
    pub(super) codec: KeyCodec,
    pub(super) expiry: Expiry,
    shift: u32,
    stored: Vec<Option<Stored>>,
    free: Vec<u32>,
    pub(super) panes: BTreeMap<i64, Pane>,
    index: RowIndex,
    /// Panes that are gone and that the checkpoint has segments of.
    closed: Vec<i64>,
    rows: usize,
    bytes: usize,
}

impl Side {
    pub(super) fn new(layout: KeyLayout, expiry: Expiry, shift: u32) -> Result<Self> {
        Ok(Self {
            codec: KeyCodec::new(&layout.key_types())?,
            layout,
            expiry,
            shift,
            stored: vec![],
            free: vec![],
            panes: BTreeMap::new(),
            index: RowIndex::new(),
            closed: vec![],
            rows: 0,
            bytes: 0,
        })
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.stored.clear();
        self.free.clear();
        self.panes.clear();
        self.index = RowIndex::new();
        self.closed.clear();
        (self.rows, self.bytes) = (0, 0);
    }

    /// The pane of a time. The lowest bit is free: segments note the side there.
    pub(super) fn start(&self, time: i64) -> i64 {
        time >> self.shift << self.shift
    }

    /// The rows whose key is `key` and that are not due.
    #[inline]
    pub(super) fn for_each_match(
        &self,
        hash: u64,
        key: &[u8],
        reached: Reached,
        mut visit: impl FnMut(RowRef),
    ) {
        self.index.for_each(hash, |row| {
            let Some(stored) = &self.stored[row.slot()] else { return };
            if stored.keys.get(row.row()) != key {
                return;
            }
            // Only the oldest pane can have rows that are due.
            let is_due = self.expiry.is_due(stored.pane, reached)
                && stored.times.get(row.row()).is_some_and(|t| self.expiry.is_due(*t, reached));
            if !is_due {
                visit(row);
            }
        });
    }

    /// Notes that something matched a row. Whether it is the first time.
    pub(super) fn set_matched(&mut self, row: RowRef) -> bool {
        let Some(stored) = &self.stored[row.slot()] else { return false };
        let number = stored.first + row.row();
        self.panes.get_mut(&stored.pane).is_some_and(|pane| pane.set_matched(number))
    }

    /// Makes a row unfindable; it stays in its pane.
    pub(super) fn unlink(&mut self, row: RowRef) {
        let Some(stored) = &self.stored[row.slot()] else { return };
        let hash = hash_key(stored.keys.get(row.row()));
        self.index.begin_sweep();
        self.index.sweep(hash, |other| other == row);
    }

    /// The stored rows behind `refs`, ready to be gathered column by column.
    pub(super) fn gather(&self, refs: &[RowRef]) -> Gather<'_> {
        let mut gather = Gather { batches: vec![], places: Vec::with_capacity(refs.len()) };
        let mut known: BTreeMap<usize, usize> = BTreeMap::new();
        // Neighbours mostly lie in the same batch.
        let mut last = (usize::MAX, 0);
        for row in refs {
            let Some(stored) = &self.stored[row.slot()] else { continue };
            if last.0 != row.slot() {
                let number = *known.entry(row.slot()).or_insert_with(|| {
                    gather.batches.push(&stored.rows);
                    gather.batches.len() - 1
                });
                last = (row.slot(), number);
            }
            gather.places.push((last.1, row.row()));
        }
        gather
    }

    /// Keeps the rows of a batch for which `keep` is true.
    pub(super) fn store(
        &mut self,
        arriving: &Arriving<'_>,
        keep: impl Fn(usize) -> bool,
    ) -> Result<()> {
        let count = arriving.rows.num_rows();
        let mut groups: Vec<(i64, Vec<u32>)> = vec![];
        let mut last = 0;
        for row in (0..count).filter(|row| keep(*row)) {
            let start = self.start(arriving.times.get(row).copied().unwrap_or(0));
            if groups.get(last).is_none_or(|(known, _)| *known != start) {
                last = groups.iter().position(|(known, _)| *known == start).unwrap_or_else(|| {
                    groups.push((start, vec![]));
                    groups.len() - 1
                });
            }
            groups[last].1.push(row as u32);
        }
        for (start, rows) in groups {
            let batch = if rows.len() == count && !is_wasteful(arriving.rows) {
                arriving.rows.clone()
            } else {
                take_record_batch(arriving.rows, &UInt32Array::from(rows.clone()))?
            };
            self.store_in(start, arriving, batch, &rows)?;
        }
        Ok(())
    }

    /// Puts `batch`, the rows `from` of what arrives, into one pane.
    fn store_in(
        &mut self,
        start: i64,
        arriving: &Arriving<'_>,
        batch: RecordBatch,
        from: &[u32],
    ) -> Result<()> {
        let slot = self.add_slot()?;
        let pane = self.panes.entry(start).or_default();
        let first = pane.rows;
        let bytes = from.iter().map(|row| arriving.keys.get(*row as usize).len()).sum();
        let mut keys = KeyBytes::with_capacity(from.len(), bytes);
        for (place, row) in from.iter().enumerate() {
            let row = *row as usize;
            keys.push(arriving.keys.get(row));
            if arriving.present.is_none_or(|present| present.is_valid(row)) {
                self.index.insert(arriving.keys.hashes[row], RowRef::new(slot, place as u32));
            }
            if arriving.matched.get(row).is_some_and(|matched| *matched) {
                pane.set_matched(first + place);
            } else if let (Some(due), Some(time)) = (&mut pane.due, arriving.times.get(row)) {
                due.push(Reverse((*time, first + place)));
            }
        }
        let times = if from.len() == arriving.times.len() {
            arriving.times.clone()
        } else {
            let times = from.iter().filter_map(|row| arriving.times.get(*row as usize).copied());
            times.collect::<Vec<_>>().into()
        };
        pane.rows += from.len();
        pane.batches.push(slot);
        self.rows += from.len();
        let stored = Stored::new(start, first, batch, keys, times);
        self.bytes += stored.bytes;
        self.stored[slot as usize] = Some(stored);
        self.merge_small(start)
    }

    fn add_slot(&mut self) -> Result<u32> {
        if let Some(slot) = self.free.pop() {
            return Ok(slot);
        }
        // References leave 31 bits for the slot.
        let Some(slot) = u32::try_from(self.stored.len()).ok().filter(|slot| *slot < 1 << 31)
        else {
            return exec_err!("more than {} batches of rows are kept for a join", 1_u32 << 31);
        };
        self.stored.push(None);
        Ok(slot)
    }

    /// Merges the last batches of a pane if they are many and small: a batch costs memory and time
    /// of its own.
    fn merge_small(&mut self, start: i64) -> Result<()> {
        let Some(pane) = self.panes.get_mut(&start) else { return Ok(()) };
        let stored = &self.stored;
        let is_small = |slot: &u32| {
            stored[*slot as usize].as_ref().is_some_and(|s| s.rows.num_rows() < SMALL_ROWS)
        };
        let small = pane.batches.iter().rev().take_while(|slot| is_small(slot)).count();
        if small < SMALL_BATCHES {
            return Ok(());
        }
        let slots = pane.batches.split_off(pane.batches.len() - small);
        let target = slots[0];
        let parts: Vec<Stored> =
            slots.iter().filter_map(|slot| self.stored[*slot as usize].take()).collect();
        let Some(first) = parts.first().map(|part| part.first) else { return Ok(()) };
        let rows = concat_batches(&self.layout.schema, parts.iter().map(|part| &part.rows))?;
        let count = rows.num_rows();
        let bytes = parts.iter().map(|part| part.keys.bytes()).sum();
        let mut keys = KeyBytes::with_capacity(count, bytes);
        let mut times = Vec::with_capacity(count);
        for (slot, part) in slots.iter().zip(&parts) {
            for row in 0..part.keys.len() {
                let key = part.keys.get(row);
                let place = keys.len() as u32;
                let (old, new) = (RowRef::new(*slot, row as u32), RowRef::new(target, place));
                if old != new {
                    self.index.replace(hash_key(key), old, new);
                }
                keys.push(key);
            }
            times.extend_from_slice(&part.times);
            self.bytes -= part.bytes;
        }
        let merged = Stored::new(start, first, rows, keys, times.into());
        self.bytes += merged.bytes;
        self.stored[target as usize] = Some(merged);
        self.free.extend(&slots[1..]);
        pane.batches.push(target);
        Ok(())
    }

    /// Drops panes whose rows are all due. If `out` is given, the input's columns of rows that
    /// nothing matched are pushed to it as soon as the row itself is due, oldest pane first.
    pub(super) fn evict(
        &mut self,
        reached: Reached,
        mut out: Option<&mut Vec<Vec<ArrayRef>>>,
    ) -> Result<()> {
        let mut gone = false;
        while let Some(entry) = self.panes.first_entry() {
            let last = *entry.key() | ((1 << self.shift) - 1);
            if !self.expiry.is_due(last, reached) {
                break;
            }
            let (start, pane) = entry.remove_entry();
            if let Some(out) = &mut out {
                self.push_unmatched(&pane, out)?;
            }
            self.drop_pane(start, &pane);
            gone = true;
        }
        if gone {
            self.index.shrink();
        }
        if let Some(out) = out {
            self.push_due(reached, out)?;
        }
        Ok(())
    }

    fn push_unmatched(&self, pane: &Pane, out: &mut Vec<Vec<ArrayRef>>) -> Result<()> {
        for stored in pane.batches.iter().filter_map(|slot| self.stored[*slot as usize].as_ref()) {
            let mask: BooleanArray = (0..stored.rows.num_rows())
                .map(|row| Some(!pane.is_matched(stored.first + row)))
                .collect();
            if mask.true_count() > 0 {
                let rows = filter_record_batch(&stored.rows, &mask)?;
                out.push(self.layout.input_columns(&rows).to_vec());
            }
        }
        Ok(())
    }

    /// The rows that are due of a pane that is not yet.
    fn push_due(&mut self, reached: Reached, out: &mut Vec<Vec<ArrayRef>>) -> Result<()> {
        let Some(mut entry) = self.panes.first_entry() else { return Ok(()) };
        if !self.expiry.is_due(*entry.key(), reached) {
            return Ok(());
        }
        let pane = entry.get_mut();
        let mut due = match pane.due.take() {
            Some(due) => due,
            None => {
                let batches = pane.batches.iter().filter_map(|s| self.stored[*s as usize].as_ref());
                let rows = batches.flat_map(|stored| {
                    stored.times.iter().enumerate().map(|(row, time)| (*time, stored.first + row))
                });
                rows.filter(|(_, row)| !pane.is_matched(*row)).map(Reverse).collect()
            }
        };
        let mut refs = vec![];
        while let Some(Reverse((time, row))) = due.peek().copied()
            && self.expiry.is_due(time, reached)
        {
            due.pop();
            if pane.set_matched(row) {
                refs.extend(locate(&self.stored, pane, row));
            }
        }
        pane.due = Some(due);
        if !refs.is_empty() {
            let gather = self.gather(&refs);
            out.push((0..self.layout.width).map(|c| gather.column(c)).collect::<Result<_>>()?);
        }
        Ok(())
    }

    fn drop_pane(&mut self, start: i64, pane: &Pane) {
        let dropped: Vec<Stored> =
            pane.batches.iter().filter_map(|slot| self.stored[*slot as usize].take()).collect();
        let stored = &self.stored;
        self.index.begin_sweep();
        for part in &dropped {
            for row in 0..part.keys.len() {
                let hash = hash_key(part.keys.get(row));
                self.index.sweep(hash, |row| stored[row.slot()].is_none());
            }
            self.rows -= part.keys.len();
            self.bytes -= part.bytes;
        }
        self.free.extend(&pane.batches);
        if pane.saved.segments > 0 {
            self.closed.push(start);
        }
    }

    /// A pane's rows from number `first` on, with their times if expiry counts from processing
    /// time.
    pub(super) fn rows_from(&self, pane: &Pane, first: usize) -> Vec<(RecordBatch, &[i64])> {
        let mut result = vec![];
        for stored in pane.batches.iter().filter_map(|slot| self.stored[*slot as usize].as_ref()) {
            let count = stored.rows.num_rows();
            let skip = first.saturating_sub(stored.first).min(count);
            if skip < count {
                let times = stored.times.get(skip..).unwrap_or_default();
                result.push((stored.rows.slice(skip, count - skip), times));
            }
        }
        result
    }

    pub(super) fn take_closed(&mut self) -> Vec<i64> {
        mem::take(&mut self.closed)
    }

    /// Rows that are kept.
    pub(super) fn len(&self) -> usize {
        self.rows
    }

    /// Bytes of memory.
    pub(super) fn size(&self) -> usize {
        let panes: usize = self.panes.values().map(Pane::size).sum();
        let slots = self.stored.capacity() * size_of::<Option<Stored>>();
        self.bytes + self.index.size() + panes + slots
    }
}
