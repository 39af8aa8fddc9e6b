//! The series that a detector knows, with a bound on their number.

use std::collections::HashMap;
use std::sync::Arc;

use super::state::{Reader, Writer};
use super::{DetectorError, SeriesValue};

/// What a detector keeps for a series, with its bytes in a snapshot.
pub trait SeriesState: Sized {
    fn write(&self, out: &mut Writer);
    /// # Errors
    ///
    /// [`DetectorError::Corrupt`] if the bytes are damaged.
    fn read(input: &mut Reader<'_>) -> Result<Self, DetectorError>;
}

/// No slot: the end of the list.
const NONE: u32 = u32::MAX;

#[derive(Debug)]
struct Slot<S> {
    key: Arc<str>,
    /// Start of the window in which the series was last seen, microseconds.
    seen: i64,
    state: S,
    older: u32,
    newer: u32,
}

/// States by key, in a list from the longest unseen to the last seen. Every operation takes
/// constant time.
#[derive(Debug)]
pub struct SeriesMap<S> {
    index: HashMap<Arc<str>, u32>,
    slots: Vec<Slot<S>>,
    oldest: u32,
    newest: u32,
    max: usize,
    evicted: u64,
    refused: u64,
}

impl<S: SeriesState> SeriesMap<S> {
    /// Holds at most `max` series (at least one).
    pub fn new(max: usize) -> Self {
        SeriesMap {
            index: HashMap::new(),
            slots: Vec::new(),
            oldest: NONE,
            newest: NONE,
            // Slots are numbered by u32, and NONE is taken.
            max: max.clamp(1, NONE as usize - 1),
            evicted: 0,
            refused: 0,
        }
    }

    pub fn len(&self) -> usize {
        self.slots.len()
    }

    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Series forgotten for others since this map was made.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Values of new series that found no place since this map was made.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Finds or makes the states of a window's series, as positions for
    /// [`state_mut`](Self::state_mut) that hold until the next call; `None` where there is no
    /// place. New series come last, so that none takes the place of one in the same window: with
    /// more series than places, those that have a baseline keep it.
    pub fn admit(
        &mut self,
        window_start: i64,
        series: &[&SeriesValue],
        mut make: impl FnMut() -> S,
    ) -> Vec<Option<u32>> {
        let mut places: Vec<Option<u32>> =
            series.iter().map(|item| self.touch(&item.key, window_start)).collect();
        for (place, item) in places.iter_mut().zip(series) {
            if place.is_none() {
                *place = self.touch_or_insert(&item.key, window_start, &mut make);
            }
        }
        places
    }

    /// Finds a series and notes that it was seen in this window.
    pub fn touch(&mut self, key: &str, window_start: i64) -> Option<u32> {
        let at = *self.index.get(key)?;
        self.unlink(at);
        self.slots[at as usize].seen = window_start;
        self.link_newest(at);
        Some(at)
    }

    /// As [`touch`](Self::touch), and makes the series if it is new and there is a place.
    pub fn touch_or_insert(
        &mut self,
        key: &Arc<str>,
        window_start: i64,
        make: impl FnOnce() -> S,
    ) -> Option<u32> {
        if let Some(at) = self.touch(key, window_start) {
            return Some(at);
        }
        if self.slots.len() < self.max {
            return Some(self.push(key.clone(), window_start, make()));
        }
        let oldest = self.oldest;
        if oldest == NONE || self.slots[oldest as usize].seen >= window_start {
            self.refused += 1;
            return None;
        }
        // In its very place, so that the places of the window's other series hold.
        self.evicted += 1;
        self.unlink(oldest);
        let slot = &mut self.slots[oldest as usize];
        self.index.remove(&slot.key);
        slot.key = key.clone();
        slot.seen = window_start;
        slot.state = make();
        self.index.insert(key.clone(), oldest);
        self.link_newest(oldest);
        Some(oldest)
    }

    pub fn state(&self, place: u32) -> &S {
        &self.slots[place as usize].state
    }

    pub fn state_mut(&mut self, place: u32) -> &mut S {
        &mut self.slots[place as usize].state
    }

    pub fn key(&self, place: u32) -> &Arc<str> {
        &self.slots[place as usize].key
    }

    /// Start of the window in which the series was last seen.
    pub fn seen(&self, place: u32) -> i64 {
        self.slots[place as usize].seen
    }

    /// The series not seen since before this window, longest unseen first.
    pub fn unseen(&self, window_start: i64) -> Vec<u32> {
        self.oldest_first().take_while(|at| self.seen(*at) < window_start).collect()
    }

    /// Forgets series from the longest unseen on, until the first for which `forget` (given when
    /// it was last seen, and its state) says no.
    pub fn forget_oldest_while(&mut self, mut forget: impl FnMut(i64, &S) -> bool) {
        while self.oldest != NONE {
            let slot = &self.slots[self.oldest as usize];
            if !forget(slot.seen, &slot.state) {
                break;
            }
            self.remove(self.oldest);
        }
    }

    fn oldest_first(&self) -> impl Iterator<Item = u32> {
        let mut at = self.oldest;
        std::iter::from_fn(move || {
            let this = (at != NONE).then_some(at)?;
            at = self.slots[this as usize].newer;
            Some(this)
        })
    }

    pub fn write(&self, out: &mut Writer) {
        out.varint(self.slots.len() as u64);
        for at in self.oldest_first() {
            let slot = &self.slots[at as usize];
            out.text(&slot.key);
            out.i64(slot.seen);
            slot.state.write(out);
        }
    }

    /// A map of at most `max` series from a snapshot; of more, the last seen.
    ///
    /// # Errors
    ///
    /// [`DetectorError::Corrupt`] if the bytes are damaged.
    pub fn read(max: usize, input: &mut Reader<'_>) -> Result<Self, DetectorError> {
        let mut map = SeriesMap::new(max);
        // A series takes at least its key's length, the time and a byte of state.
        for _ in 0..input.count(10)? {
            let key = input.text()?;
            let seen = input.i64()?;
            let state = S::read(input)?;
            if map.index.contains_key(&key) {
                return Err(input.corrupt("a series comes twice"));
            }
            if map.slots.len() >= map.max {
                map.remove(map.oldest);
            }
            map.push(key, seen, state);
        }
        Ok(map)
    }

    fn push(&mut self, key: Arc<str>, seen: i64, state: S) -> u32 {
        // `max` bounds the length below u32::MAX.
        let at = self.slots.len() as u32;
        self.slots.push(Slot { key: key.clone(), seen, state, older: NONE, newer: NONE });
        self.index.insert(key, at);
        self.link_newest(at);
        at
    }

    fn remove(&mut self, at: u32) {
        self.unlink(at);
        let gone = self.slots.swap_remove(at as usize);
        self.index.remove(&gone.key);
        // The last slot has moved here: its neighbours and the index must follow.
        if let Some(moved) = self.slots.get(at as usize) {
            let (older, newer) = (moved.older, moved.newer);
            self.index.insert(moved.key.clone(), at);
            self.set_newer(older, at);
            self.set_older(newer, at);
        }
    }

    fn unlink(&mut self, at: u32) {
        let (older, newer) = (self.slots[at as usize].older, self.slots[at as usize].newer);
        self.set_newer(older, newer);
        self.set_older(newer, older);
    }

    fn link_newest(&mut self, at: u32) {
        let newest = self.newest;
        self.slots[at as usize].older = newest;
        self.slots[at as usize].newer = NONE;
        self.set_newer(newest, at);
        self.newest = at;
    }

    fn set_newer(&mut self, of: u32, newer: u32) {
        match self.slots.get_mut(of as usize) {
            Some(slot) => slot.newer = newer,
            None => self.oldest = newer,
        }
    }

    fn set_older(&mut self, of: u32, older: u32) {
        match self.slots.get_mut(of as usize) {
            Some(slot) => slot.older = older,
            None => self.newest = older,
        }
    }
}
