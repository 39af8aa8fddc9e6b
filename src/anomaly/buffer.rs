//! Windows on their way to a detector.
//!
//! The rows of one window come from several shards, in several batches, in any order. They are
//! held here until all inputs have passed the window's end; then it goes to the detector whole,
//! in the order of time. The buffer is part of the detector's state and goes into its snapshot.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use super::spec::Combine;
use super::state::{Reader, Writer};
use super::{DetectorError, SeriesValue, SpecError, WindowSlice};

/// Windows without any row that are given out in a row. More are a stream that stood still or
/// jumped, from which a detector would learn nothing but zeros.
const MAX_EMPTY: i64 = 60;

/// Name of the buffer's bytes.
const KIND: &str = "window_buffer";

/// A window of a [`WindowBuffer`], complete.
#[derive(Debug, Clone, PartialEq)]
pub struct OwnedWindow {
    /// Start, microseconds since the Unix epoch, inclusive.
    pub start: i64,
    /// End, microseconds since the Unix epoch, exclusive.
    pub end: i64,
    /// Sorted by key, each key once.
    pub series: Vec<SeriesValue>,
}

impl OwnedWindow {
    /// What [`Detector::observe`](super::Detector::observe) takes.
    pub fn as_slice(&self) -> WindowSlice<'_> {
        WindowSlice { start: self.start, end: self.end, series: &self.series }
    }
}

/// What became of the values pushed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pushed {
    /// Held for their window, alone or combined with one of the same key.
    pub taken: u64,
    /// Of a window already given out, or before it.
    pub late: u64,
    /// Of a key not yet held, when the buffer was full.
    pub refused: u64,
}

/// What one row of a query says.
#[derive(Debug, Clone, PartialEq)]
struct Held {
    series: Arc<str>,
    value: f64,
    weight: f64,
}

/// Collects the values of windows by key.
#[derive(Debug, Clone, PartialEq)]
pub struct WindowBuffer {
    window_us: i64,
    combine: Combine,
    max_values: usize,
    /// By the start of the window and the row: of values that are only ever added up, the series.
    windows: BTreeMap<i64, BTreeMap<Arc<str>, Held>>,
    values: usize,
    /// Start of the last window given out.
    last: Option<i64>,
    /// Empty windows given out since the last one with rows.
    empty: i64,
}

impl WindowBuffer {
    /// For tumbling windows of this length, holding at most `max_values` values.
    ///
    /// # Errors
    ///
    /// [`SpecError::Window`] if the length is not above 0.
    pub fn new(window_us: i64, combine: Combine, max_values: usize) -> Result<Self, SpecError> {
        if window_us <= 0 {
            return Err(SpecError::Window { found: window_us });
        }
        Ok(WindowBuffer {
            window_us,
            combine,
            max_values: max_values.max(1),
            windows: BTreeMap::new(),
            values: 0,
            last: None,
            empty: 0,
        })
    }

    /// Values held.
    pub fn len(&self) -> usize {
        self.values
    }

    pub fn is_empty(&self) -> bool {
        self.values == 0
    }

    /// Takes in (window start, value) items in any order. Values of one key and window become
    /// one, so that a detector can look at a coarser key than its query groups by.
    pub fn push(&mut self, items: impl IntoIterator<Item = (i64, SeriesValue)>) -> Pushed {
        let mut pushed = Pushed::default();
        for (start, item) in items {
            if self.last.is_some_and(|last| start <= last) {
                pushed.late += 1;
                continue;
            }
            let full = self.values >= self.max_values;
            if full && !self.windows.get(&start).is_some_and(|w| w.contains_key(&item.key)) {
                pushed.refused += 1;
                continue;
            }
            pushed.taken += 1;
            match self.windows.entry(start).or_default().entry(item.key) {
                Entry::Vacant(place) => {
                    let (series, value, weight) = (place.key().clone(), item.value, item.weight);
                    place.insert(Held { series, value, weight });
                    self.values += 1;
                }
                Entry::Occupied(mut place) => {
                    let held = place.get_mut();
                    let both = (held.value, held.weight);
                    (held.value, held.weight) = self.combine.both(both, (item.value, item.weight));
                }
            }
        }
        pushed
    }

    /// Takes in (window start, row, value) items of a query that gives changed rows again: a row
    /// takes the place of the one before it. Which rows of a window make a series' value is
    /// settled when the window is given out, in the order of rows, so that the order in which they
    /// came makes no difference to the last digit.
    pub fn replace(
        &mut self,
        items: impl IntoIterator<Item = (i64, Arc<str>, SeriesValue)>,
    ) -> Pushed {
        let mut pushed = Pushed::default();
        for (start, row, item) in items {
            if self.last.is_some_and(|last| start <= last) {
                pushed.late += 1;
                continue;
            }
            let known = self.windows.get(&start).is_some_and(|w| w.contains_key(&row));
            if self.values >= self.max_values && !known {
                pushed.refused += 1;
                continue;
            }
            pushed.taken += 1;
            let held = Held { series: item.key, value: item.value, weight: item.weight };
            if self.windows.entry(start).or_default().insert(row, held).is_none() {
                self.values += 1;
            }
        }
        pushed
    }

    /// What [`ready`](Self::ready) would give, without giving it out.
    pub fn ahead(&self, up_to: i64) -> Vec<OwnedWindow> {
        let mut ahead = self.clone();
        ahead.ready(up_to)
    }

    /// The windows that end at or before `up_to` (microseconds since the Unix epoch; what all
    /// inputs have passed), oldest first. Windows without rows in between and after are among
    /// them, at most 60 in a row, so that a detector sees that nothing came; `i64::MAX` (the end
    /// of the input) gives none after the last with rows.
    pub fn ready(&mut self, up_to: i64) -> Vec<OwnedWindow> {
        let mut ready = Vec::new();
        while let Some(entry) = self.windows.first_entry() {
            let start = *entry.key();
            if start.saturating_add(self.window_us) > up_to {
                break;
            }
            let series = entry.remove();
            self.values -= series.len();
            self.fill(start, &mut ready);
            let series = self.combined(series);
            ready.push(OwnedWindow { start, end: start.saturating_add(self.window_us), series });
            self.last = Some(start);
            self.empty = 0;
        }
        // Up to the first window that still waits, or to the first that has not ended.
        if up_to != i64::MAX {
            let open = up_to.saturating_sub(self.window_us).saturating_add(1);
            let end = self.windows.keys().next().map_or(open, |start| open.min(*start));
            self.fill(end, &mut ready);
        }
        ready
    }

    fn combined(&self, rows: BTreeMap<Arc<str>, Held>) -> Vec<SeriesValue> {
        let mut series: BTreeMap<Arc<str>, (f64, f64)> = BTreeMap::new();
        for held in rows.into_values() {
            match series.entry(held.series) {
                Entry::Vacant(place) => {
                    place.insert((held.value, held.weight));
                }
                Entry::Occupied(mut place) => {
                    let both = *place.get();
                    place.insert(self.combine.both(both, (held.value, held.weight)));
                }
            }
        }
        let value = |(key, (value, weight))| SeriesValue { key, value, weight };
        series.into_iter().map(value).collect()
    }

    /// Empty windows after the last given out that start before `end`.
    fn fill(&mut self, end: i64, ready: &mut Vec<OwnedWindow>) {
        while let Some(last) = self.last
            && self.empty < MAX_EMPTY
            && let Some(start) = last.checked_add(self.window_us)
            && start < end
        {
            ready.push(OwnedWindow {
                start,
                end: start.saturating_add(self.window_us),
                series: Vec::new(),
            });
            self.last = Some(start);
            self.empty += 1;
        }
    }

    /// All it holds, versioned.
    ///
    /// # Errors
    ///
    /// As [`Detector::snapshot`](super::Detector::snapshot).
    pub fn snapshot(&self) -> Result<Vec<u8>, DetectorError> {
        let mut out = Writer::new(KIND);
        out.i64(self.window_us);
        out.time(self.last);
        out.i64(self.empty);
        out.varint(self.windows.len() as u64);
        for (start, series) in &self.windows {
            out.i64(*start);
            out.varint(series.len() as u64);
            for (row, held) in series {
                out.text(row);
                out.u8(u8::from(*row == held.series));
                if *row != held.series {
                    out.text(&held.series);
                }
                out.bits(held.value);
                out.bits(held.weight);
            }
        }
        Ok(out.finish())
    }

    /// Replaces what it holds by a snapshot. On error it is as it was.
    ///
    /// # Errors
    ///
    /// [`DetectorError`] if the bytes are no snapshot of a buffer of this window length.
    pub fn restore(&mut self, bytes: &[u8]) -> Result<(), DetectorError> {
        let mut input = Reader::new(KIND, bytes)?;
        if input.i64()? != self.window_us {
            return Err(input.corrupt("its windows have another length"));
        }
        let last = input.time()?;
        let empty = input.i64()?;
        let mut windows = BTreeMap::new();
        let mut values = 0;
        for _ in 0..input.count(9)? {
            let start = input.i64()?;
            let mut series = BTreeMap::new();
            for _ in 0..input.count(18)? {
                let row = input.text()?;
                let series_key = if input.u8()? != 0 { row.clone() } else { input.text()? };
                let (value, weight) = (input.bits()?, input.bits()?);
                series.insert(row, Held { series: series_key, value, weight });
            }
            values += series.len();
            if windows.insert(start, series).is_some() {
                return Err(input.corrupt("a window comes twice"));
            }
        }
        input.finish()?;
        (self.last, self.empty, self.windows, self.values) = (last, empty, windows, values);
        Ok(())
    }
}

impl Combine {
    /// One (value, weight) from two.
    fn both(self, a: (f64, f64), b: (f64, f64)) -> (f64, f64) {
        match self {
            Combine::Sum => (a.0 + b.0, a.1 + b.1),
            Combine::WeightedMean => {
                let weight = a.1 + b.1;
                if weight > 0.0 {
                    ((a.0 * a.1 + b.0 * b.1) / weight, weight)
                } else {
                    ((a.0 + b.0) / 2.0, weight)
                }
            }
        }
    }
}
