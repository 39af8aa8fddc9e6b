//! What is live: every entry of the ledger in memory, without its bytes.
//!
//! An entry is born with the epoch that wrote it and dies with the epoch whose `killed` list
//! names it, so epoch `e` consists of the entries with `born <= e < dead`. An epoch's own record
//! therefore only lists what it killed, not what it consists of. Entries that died at or before
//! the oldest kept epoch are in no kept epoch and go, in the transaction that makes that epoch
//! the oldest.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::record::{Blob, EntryHead, EntryId, EpochHead, Killed, LiveSet, Owner};

/// One entry of the ledger.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// The first kept epoch that it is no part of.
    pub dead: Option<u64>,
    /// What it is, or what is wrong with it.
    pub head: Result<EntryHead, String>,
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

/// How much of a segment file is in use.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FileUse {
    /// Bytes of state that were written into it.
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

    /// Adds an entry that is part of the newest epoch.
    pub(super) fn insert(&mut self, id: EntryId, entry: Entry) {
        if let Ok(head) = &entry.head {
            self.claim(&head.blob);
            if entry.dead.is_none() {
                self.current.entry(head.owner.clone()).or_default().push(id);
            }
        }
        self.entries.insert(id, entry);
    }

    /// Takes an entry out; returns the file that nothing needs any more, if that is so now.
    pub(super) fn remove(&mut self, id: EntryId) -> Option<Arc<str>> {
        self.retire(id);
        let head = self.entries.remove(&id)?.head.ok()?;
        self.release(&head.blob)
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
        let Some(Entry { dead: None, head: Ok(head), .. }) = self.entries.get(&id) else { return };
        if let Some(ids) = self.current.get_mut(&head.owner) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.current.remove(&head.owner);
            }
        }
    }

    /// Applies an epoch's list of the dead. Names that are not there are entries that have been
    /// removed since; [`check`](Self::check) notices the others.
    pub(super) fn kill_all(&mut self, killed: &Killed, epoch: u64) {
        for (born, ordinals) in killed {
            for ordinal in ordinals {
                self.kill(EntryId { born: *born, ordinal: *ordinal }, epoch);
            }
        }
    }

    /// Counts a blob's file as needed.
    pub(super) fn claim(&mut self, blob: &Blob) {
        if let Some(file) = &blob.file {
            let used = self.files.entry(file.name.clone()).or_default();
            used.live += blob.bytes;
            used.pieces += 1;
            used.bytes = used.bytes.max(used.live);
        }
    }

    /// Counts a blob's file as no longer needed for it; returns the file if it was the last.
    pub(super) fn release(&mut self, blob: &Blob) -> Option<Arc<str>> {
        let file = blob.file.as_ref()?;
        let used = self.files.get_mut(&file.name)?;
        used.live = used.live.saturating_sub(blob.bytes);
        used.pieces = used.pieces.saturating_sub(1);
        if used.pieces > 0 {
            return None;
        }
        self.files.remove(&file.name);
        Some(file.name.clone())
    }

    /// Records how much was once written into a file.
    pub(super) fn set_file_bytes(&mut self, name: &str, bytes: u64) {
        if let Some(used) = self.files.get_mut(name) {
            used.bytes = bytes.max(used.live);
        }
    }

    /// Recounts an epoch's entries and finds those that are damaged or gone.
    pub(super) fn check(&self, epoch: u64) -> Result<LiveSet, String> {
        let mut found = LiveSet::default();
        for (id, entry) in self.live(epoch) {
            match &entry.head {
                Ok(head) => found.add(id, &head.blob),
                Err(damage) => return Err(damage.clone()),
            }
        }
        match self.epochs.get(&epoch).and_then(|state| state.head.as_ref()) {
            Some(head) if head.live != found => Err(format!(
                "the ledger holds {} pieces of its state, it was written with {}{}",
                found.count,
                head.live.count,
                if head.live.count == found.count { " others" } else { "" }
            )),
            _ => Ok(found),
        }
    }

    /// The same index as it was when `newest` was the newest epoch (`None`: empty).
    pub(super) fn rolled_back(&self, newest: Option<u64>) -> Self {
        let Some(newest) = newest else { return Self::default() };
        let mut back = Self::default();
        for (number, state) in self.epochs.range(..=newest) {
            back.insert_epoch(*number, state.clone());
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

    /// Points an entry at another place. The caller has put the bytes there.
    pub(super) fn move_entry(&mut self, id: EntryId, blob: Blob) {
        let Some(Entry { head: Ok(head), .. }) = self.entries.get_mut(&id) else { return };
        let old = std::mem::replace(&mut head.blob, blob.clone());
        self.release(&old);
        self.claim(&blob);
    }

    /// Points an epoch's payload at another place.
    pub(super) fn move_payload(&mut self, number: u64, blob: Blob) {
        let Some(EpochState { head: Some(head), .. }) = self.epochs.get_mut(&number) else {
            return;
        };
        let old = std::mem::replace(&mut head.payload, blob.clone());
        self.release(&old);
        self.claim(&blob);
    }
}
