//! A fresh ledger: what keeps the store small, and what mends it after a failure.
//!
//! sled's log and memory grow with everything ever written, so the ledger is now and then
//! written anew with only what is live, beside the old one, and then put in its place by
//! replacing the file `CURRENT`. The same step goes back to an earlier epoch, by leaving out what
//! came after it, and compacts shared segment files that have become mostly dead.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::error::CheckpointError;
use super::files::sync_dir;
use super::index::Index;
use super::ledger::Ledger;
use super::record::{Key, encode};
use super::store::{Inner, current, ledger_name, remove_other_ledgers, serial, set_current};
use super::table::{Blob, EntryId, Table, TableHead};

/// What is moved is gathered in memory up to this size before a file is written.
const GATHERED_BYTES: u64 = 32 * 1024 * 1024;

/// What a blob belongs to.
#[derive(Clone, Copy)]
enum Holder {
    Entry(EntryId),
    Payload(u64),
}

impl Inner {
    /// Opens the ledger again if an earlier call left it in doubt, and takes back an epoch that
    /// was not acknowledged: its caller was told that it failed.
    pub(super) fn usable(&mut self) -> Result<(), CheckpointError> {
        if self.ledger.is_some() && !self.suspect {
            return Ok(());
        }
        self.suspect = true;
        self.reopen()?;
        remove_other_ledgers(&self.dir, &current(&self.dir)?.unwrap_or_default())?;
        let acknowledged = self.acknowledged.min(self.index.newest());
        // Always into a fresh ledger. After a failed fsync the kernel may show what the disk
        // does not have, and says so only once.
        if acknowledged.is_none_or(|number| self.undamaged(number).is_ok()) {
            self.rotate(self.index.rolled_back(acknowledged))?;
        }
        self.suspect = false;
        self.sweep()?;
        tracing::info!(
            dir = %self.dir.display(),
            epoch = acknowledged,
            "checkpoint ledger opened again after a failed write"
        );
        Ok(())
    }

    pub(super) fn discard_after(&mut self, number: u64) -> Result<(), CheckpointError> {
        self.usable()?;
        self.kept(number)?;
        self.undamaged(number)?;
        if self.index.newest() == Some(number) && self.unresolved().is_none() {
            return Ok(());
        }
        // Before the ledger loses them: the mark must not be ahead of it.
        self.mark.set_back(number)?;
        self.rotate(self.index.rolled_back(Some(number)))?;
        self.acknowledged = Some(number);
        self.sweep()
    }

    /// Rewrites the ledger if it has grown enough. The epoch is durable either way, so a failure
    /// is told to the log and tried again after the next epoch.
    pub(super) fn rotate_if_large(&mut self) {
        let Ok(ledger) = self.ledger() else { return };
        let log_is_large =
            ledger.bytes() > self.options.ledger_bytes.max(self.fresh_bytes.saturating_mul(4));
        if !log_is_large && !self.files_are_dead() {
            return;
        }
        let started = std::time::Instant::now();
        let before = ledger.bytes();
        match self.rotate(self.index.clone()) {
            Ok(()) => tracing::debug!(
                before,
                after = self.fresh_bytes,
                took_ms = started.elapsed().as_millis() as u64,
                "checkpoint ledger rewritten"
            ),
            Err(error) => tracing::warn!(%error, "checkpoint ledger not rewritten"),
        }
    }

    fn files_are_dead(&self) -> bool {
        let (bytes, live) = self
            .index
            .files()
            .values()
            .fold((0, 0), |(bytes, live), used| (bytes + used.bytes, live + used.live));
        bytes - live > self.options.dead_bytes.max(live)
    }

    /// Writes `index` into a fresh ledger and goes on with that one.
    fn rotate(&mut self, mut index: Index) -> Result<(), CheckpointError> {
        let epochs: Vec<u64> = index.epochs.keys().copied().collect();
        for number in epochs {
            if index.epochs.get(&number).is_some_and(|state| state.damage.is_some()) {
                index.remove_epoch(number);
            }
        }
        let needed: BTreeSet<EntryId> =
            index.epochs.keys().flat_map(|number| index.live(*number).map(|(id, _)| id)).collect();
        let unneeded: Vec<EntryId> =
            index.entries().map(|(id, _)| id).filter(|id| !needed.contains(id)).collect();
        for id in unneeded {
            index.remove(id);
        }
        let empty: Vec<u64> = index
            .tables
            .iter()
            .filter(|(_, table)| table.entries == 0)
            .map(|(born, _)| *born)
            .collect();
        for born in empty {
            index.remove_table(born);
        }

        let mut new_files = Vec::new();
        let old = current(&self.dir)?;
        let next = old.as_deref().and_then(serial).map_or(1, |serial| serial.saturating_add(1));
        let name = ledger_name(next);
        let path = self.dir.join(&name);
        let filled = self
            .compact(&mut index, &mut new_files)
            .and_then(|()| self.fill(&path, &mut index, &mut new_files));
        let fresh = match filled {
            Ok(fresh) => fresh,
            Err(error) => {
                // What is left over goes at the next open at the latest.
                let _ = fs::remove_dir_all(&path);
                new_files.iter().for_each(|name| self.files.remove(name));
                return Err(error);
            }
        };
        if let Err(error) = set_current(&self.dir, &name) {
            // Either of the two may be the one that counts now.
            self.suspect = true;
            return Err(error);
        }
        let old_files = std::mem::replace(&mut self.index, index);
        self.fresh_bytes = fresh.bytes();
        self.ledger = Some(fresh);
        if let Err(error) = remove_other_ledgers(&self.dir, &name) {
            tracing::warn!(%error, "old checkpoint ledger not removed");
        }
        for name in old_files.files().keys() {
            if !self.index.files().contains_key(name) {
                self.files.remove(name);
            }
        }
        Ok(())
    }

    /// Copies everything in `index` into a new ledger at `path`, durably.
    fn fill(
        &mut self,
        path: &Path,
        index: &mut Index,
        new_files: &mut Vec<Arc<str>>,
    ) -> Result<Ledger, CheckpointError> {
        if path.exists() {
            fs::remove_dir_all(path).map_err(CheckpointError::io("remove", path))?;
        }
        let mut fresh = Ledger::open(path)?;
        for (number, state) in &index.epochs {
            let Some(head) = &state.head else { continue };
            let key = Key::Epoch(*number);
            let payload = match head.payload.file {
                None => self.reader()?.payload(*number, &head.payload)?,
                Some(_) => Vec::new(),
            };
            let value = encode(key, head, &[&payload]).map_err(|e| self.encoding(e))?;
            let mut changes = vec![(key, Some(value))];
            if state.committed {
                let key = Key::Committed(*number);
                changes.push((key, Some(encode(key, &(), &[]).map_err(|e| self.encoding(e))?)));
            }
            fresh.stage(&changes)?;
        }
        let Some(newest) = index.newest() else {
            return self.finish(fresh);
        };
        let mut large = self.files.begin(newest);
        let tables: Vec<u64> = index.tables.keys().copied().collect();
        for born in tables {
            let inline = self.inline_state(index, born)?;
            let rows = index.of_table(born);
            let table = Table::new(rows.map(|(id, e)| (id.ordinal, &e.owner, e.groups, &e.blob)));
            let mut table = serde_json::to_vec(&table).map_err(|e| self.encoding(e))?;
            let mut blob = Blob::of(&table);
            if table.len() > self.options.inline_bytes {
                large.add(std::mem::take(&mut table), &mut blob);
            }
            let key = Key::Table(born);
            let head = TableHead { table: blob.clone() };
            let value = encode(key, &head, &[&table, &inline]).map_err(|e| self.encoding(e))?;
            fresh.stage(&vec![(key, Some(value))])?;
            index.move_table(born, blob);
            if large.bytes() > GATHERED_BYTES {
                let full = std::mem::replace(&mut large, self.files.begin(newest));
                new_files.push(full.name.clone());
                self.files.finish(&full)?;
            }
        }
        if !large.is_empty() {
            new_files.push(large.name.clone());
            self.files.finish(&large)?;
        }
        self.files.sync()?;
        self.finish(fresh)
    }

    fn finish(&self, fresh: Ledger) -> Result<Ledger, CheckpointError> {
        fresh.sync_all()?;
        sync_dir(&self.dir)?;
        Ok(fresh)
    }

    /// The state of one table that the ledger itself holds, packed without what is dead.
    fn inline_state(&self, index: &mut Index, born: u64) -> Result<Vec<u8>, CheckpointError> {
        let inline: Vec<(EntryId, Blob)> = index
            .of_table(born)
            .filter(|(_, entry)| entry.blob.file.is_none())
            .map(|(id, entry)| (id, entry.blob.clone()))
            .collect();
        let mut reader = self.reader()?;
        let mut packed = Vec::new();
        for (id, blob) in inline {
            let bytes = reader.entry(id, &blob, born)?;
            index.move_entry(id, Blob { offset: packed.len() as u64, ..blob });
            packed.extend(bytes);
        }
        Ok(packed)
    }

    /// Moves what is live out of files that are mostly dead.
    fn compact(
        &mut self,
        index: &mut Index,
        new_files: &mut Vec<Arc<str>>,
    ) -> Result<(), CheckpointError> {
        let Some(newest) = index.newest() else { return Ok(()) };
        if !self.files_are_dead() {
            return Ok(());
        }
        let sparse: BTreeSet<Arc<str>> = index
            .files()
            .iter()
            .filter(|(_, used)| used.live.saturating_mul(2) < used.bytes)
            .map(|(name, _)| name.clone())
            .collect();
        let is_sparse = |blob: &Blob| blob.file.as_ref().is_some_and(|name| sparse.contains(name));
        let payloads = index.epochs.iter().filter_map(|(number, state)| {
            Some((Holder::Payload(*number), &state.head.as_ref()?.payload))
        });
        let entries = index.entries().map(|(id, entry)| (Holder::Entry(id), &entry.blob));
        let moving: Vec<(Holder, Blob)> = payloads
            .chain(entries)
            .filter(|(_, blob)| is_sparse(blob))
            .map(|(holder, blob)| (holder, blob.clone()))
            .collect();

        let mut file = self.files.begin(newest);
        for (holder, mut blob) in moving {
            match holder {
                Holder::Entry(id) => {
                    let bytes = self.reader()?.entry(id, &blob, newest)?;
                    file.add(bytes, &mut blob);
                    index.move_entry(id, blob);
                }
                Holder::Payload(number) => {
                    let bytes = self.reader()?.payload(number, &blob)?;
                    file.add(bytes, &mut blob);
                    index.move_payload(number, blob);
                }
            }
            if file.bytes() > GATHERED_BYTES {
                let full = std::mem::replace(&mut file, self.files.begin(newest));
                new_files.push(full.name.clone());
                self.files.finish(&full)?;
            }
        }
        if !file.is_empty() {
            new_files.push(file.name.clone());
            self.files.finish(&file)?;
        }
        self.files.sync()
    }
}
