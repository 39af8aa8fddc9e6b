//! Values to numbers, by hashing.

use std::mem::size_of;
use std::ops::Range;

use crate::sql::{hash_bytes, hash_u64};

const TAG: u64 = 0xffff_ffff_0000_0000;

/// Open addressing with linear probing over the numbers of entries. A slot holds the upper half of
/// an entry's hash, which also decides its place, and the entry's number plus one; 0 is empty.
#[derive(Default)]
struct Slots {
    slots: Vec<u64>,
    used: usize,
}

impl Slots {
    /// The entry with this hash that `same` recognises, or else the number `next`, which is noted;
    /// the caller then adds that entry.
    #[inline]
    fn find_or_insert(&mut self, hash: u64, next: u32, same: impl Fn(u32) -> bool) -> u32 {
        if self.used * 2 >= self.slots.len() {
            self.grow();
        }
        let mask = self.slots.len() - 1;
        let mut at = (hash >> 32) as usize & mask;
        loop {
            let slot = self.slots[at];
            if slot == 0 {
                self.slots[at] = (hash & TAG) | u64::from(next + 1);
                self.used += 1;
                return next;
            }
            let entry = (slot & !TAG) as u32 - 1;
            if slot & TAG == hash & TAG && same(entry) {
                return entry;
            }
            at = (at + 1) & mask;
        }
    }

    #[cold]
    fn grow(&mut self) {
        let size = (self.slots.len() * 2).max(256);
        let old = std::mem::replace(&mut self.slots, vec![0; size]);
        for slot in old.into_iter().filter(|slot| *slot != 0) {
            let mut at = (slot >> 32) as usize & (size - 1);
            while self.slots[at] != 0 {
                at = (at + 1) & (size - 1);
            }
            self.slots[at] = slot;
        }
    }

    fn clear(&mut self) {
        self.slots.clear();
        self.used = 0;
    }

    fn size(&self) -> usize {
        self.slots.capacity() * size_of::<u64>()
    }
}

/// 64-bit values to numbers.
#[derive(Default)]
pub(super) struct Numbers {
    slots: Slots,
    values: Vec<u64>,
}

impl Numbers {
    #[inline]
    pub(super) fn code(&mut self, value: u64) -> u32 {
        let next = self.values.len() as u32;
        let values = &self.values;
        let code = self
            .slots
            .find_or_insert(hash_u64(0, value), next, |entry| values[entry as usize] == value);
        if code == next {
            self.values.push(value);
        }
        code
    }

    /// An entry that no value finds: it stands for NULL.
    pub(super) fn add_unreachable(&mut self) -> u32 {
        self.values.push(0);
        self.values.len() as u32 - 1
    }

    pub(super) fn get(&self, code: u32) -> u64 {
        self.values[code as usize]
    }

    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    pub(super) fn clear(&mut self) {
        self.slots.clear();
        self.values.clear();
    }

    pub(super) fn size(&self) -> usize {
        self.slots.size() + self.values.capacity() * size_of::<u64>()
    }
}

/// Byte strings to numbers.
#[derive(Default)]
pub(super) struct Texts {
    slots: Slots,
    /// Ends of the entries in `bytes`.
    ends: Vec<usize>,
    bytes: Vec<u8>,
}

#[inline]
fn range(ends: &[usize], entry: usize) -> Range<usize> {
    let start = if entry == 0 { 0 } else { ends[entry - 1] };
    start..ends[entry]
}

impl Texts {
    #[inline]
    pub(super) fn code(&mut self, text: &[u8]) -> u32 {
        let next = self.ends.len() as u32;
        let (ends, bytes) = (&self.ends, &self.bytes);
        let code = self.slots.find_or_insert(hash_bytes(0, text), next, |entry| {
            &bytes[range(ends, entry as usize)] == text
        });
        if code == next {
            self.bytes.extend_from_slice(text);
            self.ends.push(self.bytes.len());
        }
        code
    }

    /// An entry that no text finds: it stands for NULL.
    pub(super) fn add_unreachable(&mut self) -> u32 {
        let code = self.ends.len() as u32;
        self.ends.push(self.bytes.len());
        code
    }

    #[inline]
    pub(super) fn get(&self, code: u32) -> &[u8] {
        &self.bytes[range(&self.ends, code as usize)]
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Bytes of text in all entries.
    pub(super) fn text_len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn clear(&mut self) {
        self.slots.clear();
        self.ends.clear();
        self.bytes.clear();
    }

    pub(super) fn size(&self) -> usize {
        self.slots.size() + self.ends.capacity() * size_of::<usize>() + self.bytes.capacity()
    }
}
