//! Hashes to 64-bit values.

/// Marks an empty slot; no value is as large.
const EMPTY: u64 = u64::MAX;
const MIN_SLOTS: usize = 64;

#[derive(Clone, Copy)]
struct Slot {
    hash: u64,
    value: u64,
}

/// Open addressing with linear probing. A hash may be in it several times; whether two keys are
/// equal is for the caller to say. Slots hold the whole hash, so that growing and removing look at
/// nothing else.
pub(super) struct HashIndex {
    slots: Vec<Slot>,
    used: usize,
}

impl HashIndex {
    pub(super) fn new() -> Self {
        Self { slots: vec![], used: 0 }
    }

    /// Entries.
    pub(super) fn len(&self) -> usize {
        self.used
    }

    /// Bytes of memory.
    pub(super) fn size(&self) -> usize {
        self.slots.capacity() * size_of::<Slot>()
    }

    /// The place of the entry with this hash that `same` recognises by its value.
    #[inline]
    pub(super) fn find(&self, hash: u64, same: impl Fn(u64) -> bool) -> Option<usize> {
        if self.slots.is_empty() {
            return None;
        }
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            let slot = self.slots[at];
            if slot.value == EMPTY {
                return None;
            }
            if slot.hash == hash && same(slot.value) {
                return Some(at);
            }
            at = (at + 1) & mask;
        }
    }

    /// The value at a place that [`find`](Self::find) gave.
    pub(super) fn value(&self, at: usize) -> u64 {
        self.slots[at].value
    }

    /// Replaces the value at a place that [`find`](Self::find) gave.
    pub(super) fn set(&mut self, at: usize, value: u64) {
        self.slots[at].value = value;
    }

    /// Adds an entry; `value` must be below `u64::MAX`.
    pub(super) fn insert(&mut self, hash: u64, value: u64) {
        debug_assert_ne!(value, EMPTY);
        if (self.used + 1) * 4 > self.slots.len() * 3 {
            self.resize((self.slots.len() * 2).max(MIN_SLOTS));
        }
        self.used += 1;
        self.put(Slot { hash, value });
    }

    fn put(&mut self, slot: Slot) {
        let mask = self.slots.len() - 1;
        let mut at = slot.hash as usize & mask;
        while self.slots[at].value != EMPTY {
            at = (at + 1) & mask;
        }
        self.slots[at] = slot;
    }

    #[cold]
    fn resize(&mut self, size: usize) {
        let empty = Slot { hash: 0, value: EMPTY };
        let old = std::mem::replace(&mut self.slots, vec![empty; size]);
        for slot in old.into_iter().filter(|slot| slot.value != EMPTY) {
            self.put(slot);
        }
    }

    /// Removes the entry at a place that [`find`](Self::find) gave. Entries behind it that would
    /// not be found any more move up (Knuth, The Art of Computer Programming 3, 6.4, algorithm R).
    pub(super) fn remove(&mut self, at: usize) {
        let mask = self.slots.len() - 1;
        let mut hole = at;
        let mut next = at;
        loop {
            next = (next + 1) & mask;
            let slot = self.slots[next];
            if slot.value == EMPTY {
                break;
            }
            let home = slot.hash as usize & mask;
            // It may move if the hole lies between its home and its place, in a circle.
            if (next.wrapping_sub(home) & mask) >= (next.wrapping_sub(hole) & mask) {
                self.slots[hole] = slot;
                hole = next;
            }
        }
        self.slots[hole].value = EMPTY;
        self.used -= 1;
    }

    /// Gives memory back that a smaller number of entries does not need.
    pub(super) fn shrink(&mut self) {
        if self.used == 0 {
            self.slots = vec![];
        } else if self.slots.len() > MIN_SLOTS && self.used * 8 < self.slots.len() {
            self.resize((self.used * 2).next_power_of_two().max(MIN_SLOTS));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Few hashes, so that entries crowd and wrap around.
        #[test]
        fn equals_a_set(steps in proptest::collection::vec((any::<bool>(), 0..40u64), 0..400)) {
            let mut index = HashIndex::new();
            let mut model = BTreeSet::new();
            let hash = |value: u64| (value / 3).wrapping_mul(u64::MAX - 1);
            for (insert, value) in steps {
                let found = index.find(hash(value), |known| known == value);
                prop_assert_eq!(found.is_some(), model.contains(&value));
                match (insert, found) {
                    (true, None) => {
                        index.insert(hash(value), value);
                        model.insert(value);
                    }
                    (false, Some(at)) => {
                        index.remove(at);
                        index.shrink();
                        model.remove(&value);
                    }
                    _ => {}
                }
                prop_assert_eq!(index.len(), model.len());
                for value in 0..40 {
                    let found = index.find(hash(value), |known| known == value);
                    prop_assert_eq!(found.is_some(), model.contains(&value));
                }
            }
        }
    }
}
