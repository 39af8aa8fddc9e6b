//! What is live: every piece of state in memory, without its bytes.
//!
//! An entry is born with the epoch that wrote it and dies with the epoch whose `killed` list
//! names it, so epoch `e` consists of the entries with `born <= e < dead`. An epoch's own record
//! therefore only lists what it killed, not what it consists of. Entries that died at or before
//! the oldest kept epoch are in no kept epoch. They are dropped in the transaction that makes that
//! epoch the oldest: their table's bitmap of the dead grows, and a table with no entry left goes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::table::{Blob, EntryId, EpochHead, Killed, LiveSet, Owner};

/// One piece of state.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub owner: Owner,
    pub groups: u64,
    pub blob: Blob,
    /// The first kept epoch that it is no part of.
    pub dead: Option<u64>,
    /// A second hash of an operator's bytes, of this process's own writes only: a crc alone
    /// is too short to decide that state did not change.
    pub fingerprint: Option<u64>,
}

/// One kept epoch.
#[derive(Clone, Debug)]
pub(super) struct EpochState {
    /// `None`: unreadable, and [`damage`](Self::damage) says why.
    pub head: Option<EpochHead>,
    /// Why it cannot be restored.
    pub damage: Option<String>,
    pub committed: bool,
}

/// What one epoch wrote, as far as it is still needed.
#[derive(Clone, Debug)]
pub(super) struct TableState {
    /// Where the table is, or why it cannot be read; then it is not known which epochs miss it.
    pub blob: Result<Blob, String>,
    /// Its entries in the index.
    pub entries: usize,
    /// Rows that it still has in the ledger, but that no kept epoch needs.
    pub dead: BTreeSet<u32>,
}

/// How much of a segment file is in use.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FileUse {
    /// Bytes that were written into it.
    pub bytes: u64,
    /// Bytes that a kept epoch needs.
    pub live: u64,
    /// Pieces that a kept epoch needs.
    pub pieces: u64,
}

/// All that the ledger holds.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    pub epochs: BTreeMap<u64, EpochState>,
    pub tables: BTreeMap<u64, TableState>,
    entries: BTreeMap<EntryId, Entry>,
    /// Those of the entries that are part of the newest epoch, by owner.
    current: HashMap<Owner, Vec<EntryId>>,
    files: HashMap<Arc<str>, FileUse>,
}

impl Index {
    pub(super) fn newest(&self) -> Option<u64> {
        self.epochs.last_key_value().map(|(number, _)| *number)
    }

    pub(super) fn entry(&self, id: EntryId) -> Option<&Entry> {
        self.entries.get(&id)
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = (EntryId, &Entry)> {
        self.entries.iter().map(|(id, entry)| (*id, entry))
    }

    /// The entries that epoch `born` wrote.
    pub(super) fn of_table(&self, born: u64) -> impl Iterator<Item = (EntryId, &Entry)> {
        self.entries
            .range(EntryId { born, ordinal: 0 }..=EntryId { born, ordinal: u32::MAX })
            .map(|(id, entry)| (*id, entry))
    }

    /// The entries that `epoch` consists of, in the order in which they were written.
    pub(super) fn live(&self, epoch: u64) -> impl Iterator<Item = (EntryId, &Entry)> {
        self.entries
            .range(..=EntryId { born: epoch, ordinal: u32::MAX })
            .filter(move |(_, entry)| entry.dead.is_none_or(|dead| dead > epoch))
            .map(|(id, entry)| (*id, entry))
    }

    /// What the newest epoch holds of `owner`, oldest first.
    pub(super) fn current(&self, owner: &Owner) -> &[EntryId] {
        self.current.get(owner).map_or(&[], Vec::as_slice)
    }

    /// All owners that the newest epoch holds something of.
    pub(super) fn owners(&self) -> impl Iterator<Item = (&Owner, &[EntryId])> {
        self.current.iter().map(|(owner, ids)| (owner, ids.as_slice()))
    }

    pub(super) fn files(&self) -> &HashMap<Arc<str>, FileUse> {
        &self.files
    }

    pub(super) fn insert_epoch(&mut self, number: u64, state: EpochState) {
        if let Some(head) = &state.head {
            self.claim(&head.payload);
        }
        self.epochs.insert(number, state);
    }

    /// Forgets an epoch; returns the file that nothing needs any more, if that is so now.
    pub(super) fn remove_epoch(&mut self, number: u64) -> Option<Arc<str>> {
        let head = self.epochs.remove(&number)?.head?;
        self.release(&head.payload)
    }

    /// Adds a table; its entries follow.
    pub(super) fn insert_table(&mut self, born: u64, blob: Result<Blob, String>) {
        if let Ok(blob) = &blob {
            self.claim(blob);
        }
        self.tables.insert(born, TableState { blob, entries: 0, dead: BTreeSet::new() });
    }

    /// Forgets a table that has no entries; returns the file that nothing needs any more.
    pub(super) fn remove_table(&mut self, born: u64) -> Option<Arc<str>> {
        let blob = self.tables.remove(&born)?.blob.ok()?;
        self.release(&blob)
    }

    /// Adds an entry to its table.
    pub(super) fn insert(&mut self, id: EntryId, entry: Entry) {
        self.claim(&entry.blob);
        if entry.dead.is_none() {
            self.current.entry(entry.owner.clone()).or_default().push(id);
        }
        if let Some(table) = self.tables.get_mut(&id.born) {
            table.entries += 1;
        }
        self.entries.insert(id, entry);
    }

    /// Takes an entry out and notes that its table's row is dead; returns the file that nothing
    /// needs any more, if that is so now.
    pub(super) fn remove(&mut self, id: EntryId) -> Option<Arc<str>> {
        self.retire(id);
        let entry = self.entries.remove(&id)?;
        if let Some(table) = self.tables.get_mut(&id.born) {
            table.entries -= 1;
            table.dead.insert(id.ordinal);
        }
        self.release(&entry.blob)
    }

    /// Marks an entry as no part of `epoch` and what follows.
    pub(super) fn kill(&mut self, id: EntryId, epoch: u64) {
        self.retire(id);
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.dead = Some(epoch);
        }
    }

    /// Drops an entry from the newest epoch's owners.
    fn retire(&mut self, id: EntryId) {
        let Some(Entry { dead: None, owner, .. }) = self.entries.get(&id) else { return };
        if let Some(ids) = self.current.get_mut(owner) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.current.remove(owner);
            }
        }
    }

    /// Applies an epoch's list of the dead. Names that are not there are entries that have been
    /// dropped since; [`check`](Self::check) notices the others.
    pub(super) fn kill_all(&mut self, killed: &Killed, epoch: u64) {
        for (born, ordinals) in killed {
            for ordinal in ordinals {
                self.kill(EntryId { born: *born, ordinal: *ordinal }, epoch);
            }
        }
    }

    /// Counts a blob's file as needed.
    fn claim(&mut self, blob: &Blob) {
        if let Some(name) = &blob.file {
            let used = self.files.entry(name.clone()).or_default();
            used.live += blob.bytes;
            used.pieces += 1;
            used.bytes = used.bytes.max(used.live);
        }
    }

    /// Counts a blob's file as no longer needed for it; returns the file if it was the last.
    fn release(&mut self, blob: &Blob) -> Option<Arc<str>> {
        let name = blob.file.as_ref()?;
        let used = self.files.get_mut(name)?;
        used.live = used.live.saturating_sub(blob.bytes);
        used.pieces = used.pieces.saturating_sub(1);
        if used.pieces > 0 {
            return None;
        }
        self.files.remove(name);
        Some(name.clone())
    }

    /// Records how much was once written into a file.
    pub(super) fn set_file_bytes(&mut self, name: &str, bytes: u64) {
        if let Some(used) = self.files.get_mut(name) {
            used.bytes = bytes.max(used.live);
        }
    }

    /// Recounts an epoch's entries and finds those that are damaged or gone.
    pub(super) fn check(&self, epoch: u64) -> Result<(), String> {
        for table in self.tables.range(..=epoch).map(|(_, table)| table) {
            if let Err(damage) = &table.blob {
                return Err(damage.clone());
            }
        }
        let mut found = LiveSet::default();
        for (id, entry) in self.live(epoch) {
            found.add(id, &entry.blob);
        }
        match self.epochs.get(&epoch).and_then(|state| state.head.as_ref()) {
            Some(head) if head.live != found => Err(format!(
                "the ledger holds {} pieces of its state, it was written with {}{}",
                found.count,
                head.live.count,
                if head.live.count == found.count { " others" } else { "" }
            )),
            _ => Ok(()),
        }
    }

    /// The same index as it was when `newest` was the newest epoch (`None`: empty).
    pub(super) fn rolled_back(&self, newest: Option<u64>) -> Self {
        let mut back = Self::default();
        let Some(newest) = newest else { return back };
        for (number, state) in self.epochs.range(..=newest) {
            back.insert_epoch(*number, state.clone());
        }
        for (born, table) in self.tables.range(..=newest) {
            back.insert_table(*born, table.blob.clone());
        }
        for (id, entry) in self.entries.range(..=EntryId { born: newest, ordinal: u32::MAX }) {
            let dead = entry.dead.filter(|dead| *dead <= newest);
            back.insert(*id, Entry { dead, ..entry.clone() });
        }
        for (name, used) in &self.files {
            back.set_file_bytes(name, used.bytes);
        }
        back
    }

    /// Points an entry at another place. The caller has put the bytes there.
    pub(super) fn move_entry(&mut self, id: EntryId, blob: Blob) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let old = std::mem::replace(&mut entry.blob, blob.clone());
        self.claim(&blob);
        self.release(&old);
    }

    /// Points an epoch's payload at another place.
    pub(super) fn move_payload(&mut self, number: u64, blob: Blob) {
        let Some(EpochState { head: Some(head), .. }) = self.epochs.get_mut(&number) else {
            return;
        };
        let old = std::mem::replace(&mut head.payload, blob.clone());
        self.claim(&blob);
        self.release(&old);
    }

    /// Points a table at another place, where only its needed rows were written.
    pub(super) fn move_table(&mut self, born: u64, blob: Blob) {
        let Some(table) = self.tables.get_mut(&born) else { return };
        table.dead.clear();
        let old = std::mem::replace(&mut table.blob, Ok(blob.clone()));
        self.claim(&blob);
        if let Ok(old) = old {
            self.release(&old);
        }
    }
}
