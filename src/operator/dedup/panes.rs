//! The keys that were seen, by the time they were seen at.

use std::collections::BTreeMap;
use std::mem;

use datafusion::common::{Result, exec_err};

use super::Keep;
use crate::operator::index::HashIndex;
use crate::operator::keyed::{KeyBytes, hash_key};
use crate::operator::segment::Saved;

/// Panes in the time that keys are kept: so much more than is needed stays in memory.
const PANES: i64 = 16;
/// A pane is not shorter than 2^22 us, about four seconds: each costs a segment an epoch.
const MIN_SHIFT: u32 = 22;
/// About 17 s: the delay of the watermark, which sets how long keys are kept then, is not known.
const WATERMARK_SHIFT: u32 = 24;

/// Keys of one stretch of time, in the order they came.
#[derive(Default)]
pub(super) struct Pane {
    start: i64,
    pub(super) keys: KeyBytes,
    pub(super) times: Vec<i64>,
    pub(super) saved: Saved,
}

impl Pane {
    pub(super) fn len(&self) -> usize {
        self.times.len()
    }
}

/// Panes, and where in them each key is.
pub(super) struct Panes {
    /// How long keys are kept, in microseconds.
    keep_us: i64,
    /// A pane is 2^shift microseconds long.
    shift: u32,
    /// By number; those that are gone leave their number free.
    panes: Vec<Option<Pane>>,
    free: Vec<u32>,
    by_start: BTreeMap<i64, u32>,
    /// The pane's number in the upper half of a value, the place in it in the lower.
    index: HashIndex,
    /// Panes that are gone and that the checkpoint has segments of.
    closed: Vec<i64>,
}

impl Panes {
    pub(super) fn new(keep: Keep) -> Self {
        let (keep_us, shift) = match keep {
            Keep::UntilWatermark => (0, WATERMARK_SHIFT),
            Keep::EventTime { us } | Keep::Wall { us } => {
                let us = us.max(0);
                (us, (us / PANES).checked_ilog2().unwrap_or(0).max(MIN_SHIFT))
            }
        };
        Self {
            keep_us,
            shift,
            panes: vec![],
            free: vec![],
            by_start: BTreeMap::new(),
            index: HashIndex::new(),
            closed: vec![],
        }
    }

    fn is_due(&self, time: i64, reached: Option<i64>) -> bool {
        reached.is_some_and(|reached| time.saturating_add(self.keep_us) <= reached)
    }

    /// Remembers a key that was seen at `time`. Returns false if it was known, and not due at
    /// `reached`.
    #[inline]
    pub(super) fn insert(
        &mut self,
        hash: u64,
        key: &[u8],
        time: i64,
        reached: Option<i64>,
    ) -> Result<bool> {
        let found = self.find(hash, key);
        if let Some((_, known)) = found
            && !self.is_due(known, reached)
        {
            return Ok(false);
        }
        let value = self.push(key, time)?;
        match found {
            // The old entry stays in its pane, where nothing points at it.
            Some((at, _)) => self.index.set(at, value),
            None => self.index.insert(hash, value),
        }
        Ok(true)
    }

    /// Takes a key from a checkpoint. It may hold a key twice, if it was due and seen again; the
    /// later one counts, even if the watermark that is restored has not reached the earlier yet.
    pub(super) fn restore(
        &mut self,
        hash: u64,
        key: &[u8],
        time: i64,
        reached: Option<i64>,
    ) -> Result<()> {
        if self.is_due(time, reached) {
            return Ok(());
        }
        match self.find(hash, key) {
            Some((_, known)) if known >= time => return Ok(()),
            Some((at, _)) => {
                let value = self.push(key, time)?;
                self.index.set(at, value);
            }
            None => {
                let value = self.push(key, time)?;
                self.index.insert(hash, value);
            }
        }
        let start = self.start(time);
        if let Some(pane) = self
            .by_start
            .get(&start)
            .and_then(|number| self.panes.get_mut(*number as usize)?.as_mut())
            && !pane.saved.rewrite
        {
            pane.saved = Saved::restored();
        }
        Ok(())
    }

    /// Where a key is in the index, and its time.
    #[inline]
    fn find(&self, hash: u64, key: &[u8]) -> Option<(usize, i64)> {
        let mut time = 0;
        let at = self.index.find(hash, |value| {
            let Some(pane) = &self.panes[(value >> 32) as usize] else { return false };
            pane.keys.get(value as u32 as usize) == key
        })?;
        let value = self.index.value(at);
        if let Some(pane) = &self.panes[(value >> 32) as usize] {
            time = pane.times[value as u32 as usize];
        }
        Some((at, time))
    }

    fn start(&self, time: i64) -> i64 {
        time >> self.shift << self.shift
    }

    /// Adds a key to the pane of its time.
    fn push(&mut self, key: &[u8], time: i64) -> Result<u64> {
        let start = self.start(time);
        let number = match self.by_start.get(&start) {
            Some(number) => *number,
            None => self.add_pane(start)?,
        };
        let Some(pane) = &mut self.panes[number as usize] else {
            return exec_err!("a pane that is listed is gone");
        };
        let Ok(place) = u32::try_from(pane.len()) else {
            return exec_err!(
                "more than {} keys in {} microseconds",
                u32::MAX,
                1_i64 << self.shift
            );
        };
        pane.keys.push(key);
        pane.times.push(time);
        Ok(u64::from(number) << 32 | u64::from(place))
    }

    fn add_pane(&mut self, start: i64) -> Result<u32> {
        let pane = Some(Pane { start, ..Pane::default() });
        let number = match self.free.pop() {
            Some(number) => {
                self.panes[number as usize] = pane;
                number
            }
            None => {
                // The largest number would make a value that the index has a meaning for.
                let Some(number) =
                    u32::try_from(self.panes.len()).ok().filter(|number| *number < u32::MAX)
                else {
                    return exec_err!("more than {} panes of keys", u32::MAX);
                };
                self.panes.push(pane);
                number
            }
        };
        self.by_start.insert(start, number);
        Ok(number)
    }

    /// Drops the panes of which all keys are due.
    pub(super) fn forget(&mut self, reached: i64) {
        let mut gone = false;
        while let Some(entry) = self.by_start.first_entry() {
            let last = *entry.key() | ((1 << self.shift) - 1);
            if last.saturating_add(self.keep_us) > reached {
                break;
            }
            let number = entry.remove();
            if let Some(pane) = self.panes[number as usize].take() {
                self.drop_pane(number, &pane);
            }
            self.free.push(number);
            gone = true;
        }
        if gone {
            self.index.shrink();
        }
    }

    fn drop_pane(&mut self, number: u32, pane: &Pane) {
        for place in 0..pane.len() {
            let value = u64::from(number) << 32 | place as u64;
            let hash = hash_key(pane.keys.get(place));
            // None if the key was seen again since.
            if let Some(at) = self.index.find(hash, |known| known == value) {
                self.index.remove(at);
            }
        }
        if pane.saved.segments > 0 {
            self.closed.push(pane.start);
        }
    }

    /// Starts and numbers of the panes, oldest first.
    pub(super) fn in_order(&self) -> Vec<(i64, u32)> {
        self.by_start.iter().map(|(start, number)| (*start, *number)).collect()
    }

    pub(super) fn get(&self, number: u32) -> Option<&Pane> {
        self.panes.get(number as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut Pane> {
        self.panes.get_mut(number as usize)?.as_mut()
    }

    pub(super) fn take_closed(&mut self) -> Vec<i64> {
        mem::take(&mut self.closed)
    }

    /// Panes that have keys.
    pub(super) fn count(&self) -> usize {
        self.by_start.len()
    }

    /// Keys that are remembered.
    pub(super) fn keys(&self) -> usize {
        self.index.len()
    }

    /// Bytes of memory.
    pub(super) fn size(&self) -> usize {
        let panes = self.panes.iter().flatten();
        let keys: usize =
            panes.map(|pane| pane.keys.size() + pane.times.capacity() * size_of::<i64>()).sum();
        keys + self.panes.capacity() * size_of::<Option<Pane>>() + self.index.size()
    }
}
