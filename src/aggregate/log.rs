//! State at rest: for each group one row, in chunks that are also what the checkpoint holds.
//!
//! A log-structured store (Rosenblum and Ousterhout, "The design and implementation of a
//! log-structured file system", 1991). A group's newest state is appended with that of all others
//! that changed; its older row is dead from then on. A chunk half of whose rows are dead is cleaned:
//! its live rows are appended too, and it is dropped. So memory is at most about twice what is
//! live, and what a snapshot writes is a small multiple of what changed, however much there is.

use std::mem::size_of;

use arrow::array::{Array, ArrayRef, UInt32Array};
use arrow::compute::{interleave, take};
use datafusion::common::{Result, internal_err};

/// Rows of a chunk, at most: what one cleaning has to copy at once.
pub(super) const CHUNK_ROWS: usize = 65_536;
/// So many chunks of about the same size become one. Sizes are the same if they have the same
/// logarithm to this base.
const FAN_IN: usize = 8;

/// Where a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    chunk: u32,
    row: u32,
}

const NOWHERE: Place = Place { chunk: u32::MAX, row: u32::MAX };

struct Chunk {
    /// Names the pane that holds it in the checkpoint; larger ones are newer. 0 before that.
    id: i64,
    /// For each row, the slot that it is or was the state of.
    slots: Vec<u32>,
    states: Vec<ArrayRef>,
    live: usize,
}

/// A chunk that has to be written.
pub(super) struct Written<'a> {
    pub(super) id: i64,
    pub(super) slots: &'a [u32],
    pub(super) states: &'a [ArrayRef],
}

/// Rows of state by slot; slots are small numbers that the caller gives to groups.
#[derive(Default)]
pub(super) struct StateLog {
    chunks: Vec<Option<Chunk>>,
    free: Vec<u32>,
    /// By slot.
    places: Vec<Place>,
    /// Slots with a row.
    live: usize,
    /// Chunks in the checkpoint that are no more.
    closed: Vec<i64>,
}

impl StateLog {
    /// Number of slots that have a row.
    pub(super) fn len(&self) -> usize {
        self.live
    }

    /// Where the row of a slot is.
    #[inline]
    pub(super) fn place(&self, slot: u32) -> Option<Place> {
        self.places.get(slot as usize).copied().filter(|place| *place != NOWHERE)
    }

    /// Appends the new state of some slots, each of which occurs once.
    pub(super) fn append(&mut self, slots: Vec<u32>, states: Vec<ArrayRef>) -> Result<()> {
        if slots.len() <= CHUNK_ROWS {
            self.append_chunk(slots, states);
            return Ok(());
        }
        for (start, slots) in (0_u32..).step_by(CHUNK_ROWS).zip(slots.chunks(CHUNK_ROWS)) {
            // Copied, so that no chunk keeps the memory of the others.
            let rows = UInt32Array::from_iter_values(start..start + slots.len() as u32);
            let part = states.iter().map(|column| take(column, &rows, None));
            self.append_chunk(slots.to_vec(), part.collect::<Result<_, _>>()?);
        }
        Ok(())
    }

    fn append_chunk(&mut self, slots: Vec<u32>, states: Vec<ArrayRef>) {
        if slots.is_empty() {
            return;
        }
        let index = self.free.pop().unwrap_or_else(|| {
            self.chunks.push(None);
            self.chunks.len() as u32 - 1
        });
        for (row, slot) in (0_u32..).zip(&slots) {
            self.remove(*slot);
            if self.places.len() <= *slot as usize {
                self.places.resize(*slot as usize + 1, NOWHERE);
            }
            self.places[*slot as usize] = Place { chunk: index, row };
        }
        self.live += slots.len();
        let live = slots.len();
        self.chunks[index as usize] = Some(Chunk { id: 0, slots, states, live });
    }

    /// Forgets the row of a slot.
    pub(super) fn remove(&mut self, slot: u32) {
        let Some(place) = self.place(slot) else { return };
        self.places[slot as usize] = NOWHERE;
        self.live -= 1;
        let held = &mut self.chunks[place.chunk as usize];
        if let Some(chunk) = held {
            chunk.live -= 1;
            if chunk.live == 0 {
                self.closed.extend((chunk.id != 0).then_some(chunk.id));
                *held = None;
                self.free.push(place.chunk);
            }
        }
    }

    /// The state columns of the rows at these places, in this order.
    pub(super) fn gather(&self, places: &[Place]) -> Result<Vec<ArrayRef>> {
        // Where each chunk is among those that are used.
        let mut used: Vec<usize> = vec![usize::MAX; self.chunks.len()];
        let mut chunks: Vec<&Chunk> = vec![];
        let mut rows: Vec<(usize, usize)> = Vec::with_capacity(places.len());
        for place in places {
            let at = &mut used[place.chunk as usize];
            if *at == usize::MAX {
                let Some(chunk) = &self.chunks[place.chunk as usize] else {
                    return internal_err!("a row of state in a chunk that is gone");
                };
                *at = chunks.len();
                chunks.push(chunk);
            }
            rows.push((*at, place.row as usize));
        }
        let columns = chunks.first().map_or(0, |chunk| chunk.states.len());
        (0..columns)
            .map(|column| {
                let arrays: Vec<&dyn Array> =
                    chunks.iter().map(|chunk| chunk.states[column].as_ref()).collect();
                Ok(interleave(&arrays, &rows)?)
            })
            .collect()
    }

    /// Cleans, and shows the chunks that the checkpoint does not hold yet to `write`. `next` is
    /// the identifier of the next chunk.
    pub(super) fn snapshot(
        &mut self,
        next: &mut i64,
        mut write: impl FnMut(Written<'_>) -> Result<()>,
    ) -> Result<()> {
        let moving = self.to_move();
        let mut places: Vec<Place> = vec![];
        for index in moving {
            let Some(chunk) = &self.chunks[index as usize] else { continue };
            let all = (0..chunk.slots.len() as u32).map(|row| Place { chunk: index, row });
            places.extend(
                all.zip(&chunk.slots)
                    .filter(|(place, slot)| self.places[**slot as usize] == *place)
                    .map(|(place, _)| place),
            );
        }
        for places in places.chunks(CHUNK_ROWS) {
            let slots = places.iter().filter_map(|place| {
                let chunk = self.chunks[place.chunk as usize].as_ref()?;
                Some(chunk.slots[place.row as usize])
            });
            let slots: Vec<u32> = slots.collect();
            let states = self.gather(places)?;
            self.append_chunk(slots, states);
        }
        for chunk in self.chunks.iter_mut().flatten().filter(|chunk| chunk.id == 0) {
            chunk.id = *next;
            *next += 1;
            write(Written { id: chunk.id, slots: &chunk.slots, states: &chunk.states })?;
        }
        Ok(())
    }

    /// The chunks whose rows are to be written anew.
    fn to_move(&self) -> Vec<u32> {
        let chunks = || (0_u32..).zip(&self.chunks).filter_map(|(i, c)| Some((i, c.as_ref()?)));
        // What is new, if it is not one full chunk each: one segment is better than many.
        let (mut new, mut full, mut changed) = (vec![], 0, 0);
        for (index, chunk) in chunks().filter(|(_, chunk)| chunk.id == 0) {
            changed += chunk.live;
            match chunk.live == chunk.slots.len() && chunk.live > CHUNK_ROWS / 2 {
                true => full += 1,
                false => new.push(index),
            }
        }
        if changed == 0 && full == 0 {
            return vec![];
        }
        let mut old: Vec<(u32, &Chunk)> = chunks().filter(|(_, chunk)| chunk.id != 0).collect();
        let mut moving = vec![];
        // Mostly dead, the worst first; not all at once, or single snapshots would take long.
        let mut budget = changed.max(CHUNK_ROWS);
        old.sort_by_key(|(_, chunk)| (chunk.live * 1_000 / chunk.slots.len(), chunk.id));
        old.retain(|(index, chunk)| {
            let clean = chunk.live * 2 <= chunk.slots.len() && chunk.live <= budget;
            if clean {
                budget -= chunk.live;
                moving.push(*index);
            }
            !clean
        });
        // Many of the same size.
        let class = |rows: usize| rows.max(1).ilog(FAN_IN) as usize;
        let mut classes: Vec<Vec<u32>> = vec![vec![]; class(CHUNK_ROWS) + 1];
        for (index, chunk) in old.iter().filter(|(_, chunk)| chunk.live <= CHUNK_ROWS / 2) {
            classes[class(chunk.live)].push(*index);
        }
        moving.extend(classes.into_iter().filter(|class| class.len() >= FAN_IN).flatten());
        if let [single] = new[..]
            && moving.is_empty()
            && self.chunks[single as usize].as_ref().is_some_and(|c| c.live == c.slots.len())
        {
            return vec![];
        }
        moving.extend(new);
        moving
    }

    /// Chunks that the checkpoint can drop since this was last asked.
    pub(super) fn take_closed(&mut self) -> Vec<i64> {
        std::mem::take(&mut self.closed)
    }

    /// Forgets all rows; the checkpoint can drop these chunks.
    pub(super) fn into_closed(self) -> Vec<i64> {
        let held = self.chunks.iter().flatten().map(|chunk| chunk.id).filter(|id| *id != 0);
        held.chain(self.closed.iter().copied()).collect()
    }

    /// Bytes of memory.
    pub(super) fn size(&self) -> usize {
        let chunks = self.chunks.iter().flatten().map(|chunk| {
            let states: usize = chunk.states.iter().map(|c| c.get_array_memory_size()).sum();
            states + chunk.slots.capacity() * size_of::<u32>()
        });
        chunks.sum::<usize>() + self.places.capacity() * size_of::<Place>()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use arrow::array::{AsArray, Int64Array};
    use arrow::datatypes::Int64Type;

    use super::*;

    fn column(values: impl IntoIterator<Item = i64>) -> Vec<ArrayRef> {
        vec![Arc::new(Int64Array::from_iter_values(values))]
    }

    /// A checkpoint's segments: by chunk, slots and values.
    #[derive(Default)]
    struct Store {
        segments: BTreeMap<i64, Vec<(u32, i64)>>,
        written: usize,
    }

    impl Store {
        fn snapshot(&mut self, log: &mut StateLog, next: &mut i64) {
            log.snapshot(next, |chunk| {
                let values = chunk.states[0].as_primitive::<Int64Type>().values();
                let rows = chunk.slots.iter().copied().zip(values.iter().copied());
                self.written += chunk.slots.len();
                self.segments.insert(chunk.id, rows.collect());
                Ok(())
            })
            .unwrap();
            for closed in log.take_closed() {
                assert!(self.segments.remove(&closed).is_some());
            }
        }

        /// Newer segments replace what older ones say.
        fn read(&self) -> BTreeMap<u32, i64> {
            self.segments.values().flatten().copied().collect()
        }
    }

    #[test]
    fn the_checkpoint_holds_the_newest_row_of_each_slot() {
        let (mut log, mut next, mut store) = (StateLog::default(), 1, Store::default());
        let mut model: BTreeMap<u32, i64> = BTreeMap::new();
        let mut random = 7_u64;
        for round in 0..400 {
            let mut slots: Vec<u32> = (0..60)
                .map(|_| {
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (random >> 33) as u32 % 2_000
                })
                .collect();
            slots.sort_unstable();
            slots.dedup();
            let values: Vec<i64> = slots.iter().map(|slot| i64::from(*slot) * round).collect();
            model.extend(slots.iter().copied().zip(values.iter().copied()));
            log.append(slots, column(values)).unwrap();
            if round % 3 == 0 {
                store.snapshot(&mut log, &mut next);
                assert_eq!(store.read(), model);
            }
        }
        store.snapshot(&mut log, &mut next);
        let places: Vec<Place> = model.keys().map(|slot| log.place(*slot).unwrap()).collect();
        let values = log.gather(&places).unwrap();
        assert!(values[0].as_primitive::<Int64Type>().values().iter().eq(model.values()));
        assert_eq!(log.len(), model.len());
        let rows: usize = store.segments.values().map(Vec::len).sum();
        assert!(rows < 3 * model.len(), "{rows} rows for {} groups", model.len());
        assert!(store.segments.len() < 40);
        assert!(store.written < 8 * 400 * 60, "{} rows written", store.written);
    }

    #[test]
    fn what_does_not_change_is_not_written_again() {
        let (mut log, mut next, mut store) = (StateLog::default(), 1, Store::default());
        log.append((0..200_000).collect(), column(0..200_000)).unwrap();
        store.snapshot(&mut log, &mut next);
        assert_eq!((store.written, store.segments.len()), (200_000, 4));
        for round in 0..100 {
            log.append((round..round + 10).collect(), column(0..10)).unwrap();
            store.snapshot(&mut log, &mut next);
        }
        assert!(store.written < 200_000 + 5 * 1_000, "{}", store.written);
        for slot in 0..200_000 {
            log.remove(slot);
        }
        assert_eq!(log.len(), 0);
        store.snapshot(&mut log, &mut next);
        assert!(store.segments.is_empty());
    }
}
