//! Hashes of keys to the rows that have them.

use crate::operator::index::HashIndex;

/// A stored row: the slot of its batch in the upper half, its place there in the lower.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RowRef(u64);

/// Marks a value of the index as the number of a list. Slots stay below 2^31.
const LIST: u64 = 1 << 63;

impl RowRef {
    pub(super) fn new(slot: u32, row: u32) -> Self {
        Self(u64::from(slot) << 32 | u64::from(row))
    }

    pub(super) fn slot(self) -> usize {
        (self.0 >> 32) as usize
    }

    pub(super) fn row(self) -> usize {
        self.0 as u32 as usize
    }
}

/// The rows of one hash, if there are several.
#[derive(Default)]
struct List {
    rows: Vec<RowRef>,
    /// The sweep that last went over it.
    swept: u64,
}

/// Where the rows of each hash are. A row alone is kept in place; more of them in a list, so that a
/// key with many rows is read in one go.
pub(super) struct RowIndex {
    index: HashIndex,
    lists: Vec<List>,
    free: Vec<u32>,
    /// Bytes of the lists' rows.
    list_bytes: usize,
    sweep: u64,
}

impl RowIndex {
    pub(super) fn new() -> Self {
        Self { index: HashIndex::new(), lists: vec![], free: vec![], list_bytes: 0, sweep: 0 }
    }

    /// Bytes of memory.
    pub(super) fn size(&self) -> usize {
        self.index.size() + self.lists.capacity() * size_of::<List>() + self.list_bytes
    }

    /// The rows with this hash, in no particular order.
    #[inline]
    pub(super) fn for_each(&self, hash: u64, mut visit: impl FnMut(RowRef)) {
        let Some(at) = self.index.find(hash, |_| true) else { return };
        let value = self.index.value(at);
        if value & LIST == 0 {
            return visit(RowRef(value));
        }
        self.lists[(value & !LIST) as usize].rows.iter().copied().for_each(visit);
    }

    pub(super) fn insert(&mut self, hash: u64, row: RowRef) {
        let Some(at) = self.index.find(hash, |_| true) else {
            return self.index.insert(hash, row.0);
        };
        let value = self.index.value(at);
        if value & LIST == 0 {
            let number = self.free.pop().unwrap_or_else(|| {
                self.lists.push(List::default());
                self.lists.len() as u32 - 1
            });
            let list = &mut self.lists[number as usize];
            list.rows.extend([RowRef(value), row]);
            self.list_bytes += list.rows.capacity() * size_of::<RowRef>();
            return self.index.set(at, LIST | u64::from(number));
        }
        let list = &mut self.lists[(value & !LIST) as usize];
        let before = list.rows.capacity();
        list.rows.push(row);
        self.list_bytes += (list.rows.capacity() - before) * size_of::<RowRef>();
    }

    /// Puts `new` where `old` is; nothing happens if `old` is not there.
    pub(super) fn replace(&mut self, hash: u64, old: RowRef, new: RowRef) {
        let Some(at) = self.index.find(hash, |_| true) else { return };
        let value = self.index.value(at);
        if value == old.0 {
            self.index.set(at, new.0);
        } else if value & LIST != 0 {
            let list = &mut self.lists[(value & !LIST) as usize];
            if let Some(row) = list.rows.iter_mut().find(|row| **row == old) {
                *row = new;
            }
        }
    }

    /// Begins a sweep: [`sweep`](Self::sweep) then looks at each list once.
    pub(super) fn begin_sweep(&mut self) {
        self.sweep += 1;
    }

    /// Removes the rows with this hash that are `dead`.
    pub(super) fn sweep(&mut self, hash: u64, dead: impl Fn(RowRef) -> bool) {
        let Some(at) = self.index.find(hash, |_| true) else { return };
        let value = self.index.value(at);
        if value & LIST == 0 {
            if dead(RowRef(value)) {
                self.index.remove(at);
            }
            return;
        }
        let number = (value & !LIST) as usize;
        let list = &mut self.lists[number];
        if list.swept == self.sweep {
            return;
        }
        list.swept = self.sweep;
        list.rows.retain(|row| !dead(*row));
        match list.rows.as_slice() {
            [] => self.index.remove(at),
            [only] => self.index.set(at, only.0),
            _ => return,
        }
        self.list_bytes -= list.rows.capacity() * size_of::<RowRef>();
        *list = List::default();
        self.free.push(number as u32);
    }

    /// Gives memory back that is not needed.
    pub(super) fn shrink(&mut self) {
        self.index.shrink();
        if self.index.len() == 0 {
            *self = Self { sweep: self.sweep, ..Self::new() };
        }
    }
}
