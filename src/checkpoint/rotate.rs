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
use super::record::{Blob, EntryId, Key, encode};
use super::store::{Inner, current, ledger_name, remove_other_ledgers, serial, set_current};

/// Entries are copied in batches of about this size.
const COPY_BYTES: usize = 256 * 1024;

/// Compaction gathers state in memory up to this size before it writes a file.
const COMPACT_BYTES: u64 = 32 * 1024 * 1024;

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
        if acknowledged.is_none_or(|number| self.whole(number)) {
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

    fn whole(&self, number: u64) -> bool {
        self.index.epochs.get(&number).is_some_and(|state| state.damage.is_none())
    }

    pub(super) fn discard_after(&mut self, number: u64) -> Result<(), CheckpointError> {
        self.usable()?;
        self.kept(number)?;
        if let Some(damage) = self.index.epochs.get(&number).and_then(|s| s.damage.clone()) {
            return Err(CheckpointError::Corrupt {
                what: Key::Epoch(number).to_string(),
                epoch: Some(number),
                detail: damage,
            });
        }
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

        let mut new_files = Vec::new();
        let old = current(&self.dir)?;
        let next = old.as_deref().and_then(serial).map_or(1, |serial| serial.saturating_add(1));
        let name = ledger_name(next);
        let path = self.dir.join(&name);
        let filled =
            self.compact(&mut index, &mut new_files).and_then(|()| self.fill(&path, &index));
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

    /// Copies every entry of `index` into a new ledger at `path`, durably.
    fn fill(&self, path: &Path, index: &Index) -> Result<Ledger, CheckpointError> {
        if path.exists() {
            fs::remove_dir_all(path).map_err(CheckpointError::io("remove", path))?;
        }
        let fresh = Ledger::open(path)?;
        let mut reader = self.files.reader();
        let mut copier = Copier { fresh: &fresh, batch: sled::Batch::default(), bytes: 0 };
        for (number, state) in &index.epochs {
            let Some(head) = &state.head else { continue };
            let key = Key::Epoch(*number);
            let tail = match head.payload.file {
                None => self.read(&mut reader, key, &head.payload, *number)?,
                Some(_) => Vec::new(),
            };
            copier.add(key, encode(key, head, &tail).map_err(|e| self.encoding(e))?)?;
            if state.committed {
                let key = Key::Committed(*number);
                copier.add(key, encode(key, &(), &[]).map_err(|e| self.encoding(e))?)?;
            }
        }
        for (id, entry) in index.entries() {
            let key = Key::Entry(id);
            let head = entry.head.as_ref().map_err(|damage| CheckpointError::Corrupt {
                what: key.to_string(),
                epoch: Some(id.born),
                detail: damage.clone(),
            })?;
            let tail = match head.blob.file {
                None => self.read(&mut reader, key, &head.blob, id.born)?,
                Some(_) => Vec::new(),
            };
            copier.add(key, encode(key, head, &tail).map_err(|e| self.encoding(e))?)?;
        }
        copier.finish()?;
        fresh.sync_all()?;
        sync_dir(&self.dir)?;
        Ok(fresh)
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
        let is_sparse =
            |blob: &Blob| blob.file.as_ref().is_some_and(|place| sparse.contains(&place.name));
        let payloads = index.epochs.iter().filter_map(|(number, state)| {
            Some((Holder::Payload(*number), Key::Epoch(*number), &state.head.as_ref()?.payload))
        });
        let entries = index.entries().filter_map(|(id, entry)| {
            Some((Holder::Entry(id), Key::Entry(id), &entry.head.as_ref().ok()?.blob))
        });
        let moving: Vec<(Holder, Key, Blob)> = payloads
            .chain(entries)
            .filter(|(_, _, blob)| is_sparse(blob))
            .map(|(holder, key, blob)| (holder, key, blob.clone()))
            .collect();

        let mut rest = moving.as_slice();
        while !rest.is_empty() {
            let mut gathered = Vec::new();
            let mut bytes = 0;
            while let Some(((_, key, blob), after)) = rest.split_first() {
                if bytes > 0 && bytes + blob.bytes > COMPACT_BYTES {
                    break;
                }
                gathered.push(self.read(&mut self.files.reader(), *key, blob, newest)?);
                bytes += blob.bytes;
                rest = after;
            }
            let start = moving.len() - rest.len() - gathered.len();
            let pieces: Vec<&[u8]> = gathered.iter().map(Vec::as_slice).collect();
            let places = self.files.write(newest, &pieces)?;
            new_files.extend(places.first().map(|place| place.name.clone()));
            for ((holder, _, blob), place) in moving[start..].iter().zip(places) {
                let blob = Blob { file: Some(place), ..blob.clone() };
                match holder {
                    Holder::Entry(id) => index.move_entry(*id, blob),
                    Holder::Payload(number) => index.move_payload(*number, blob),
                }
            }
        }
        self.files.sync()
    }
}

/// Gathers entries into batches.
struct Copier<'a> {
    fresh: &'a Ledger,
    batch: sled::Batch,
    bytes: usize,
}

impl Copier<'_> {
    fn add(&mut self, key: Key, value: Vec<u8>) -> Result<(), CheckpointError> {
        self.bytes += value.len();
        self.batch.insert(key.to_bytes(), value);
        if self.bytes >= COPY_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), CheckpointError> {
        self.bytes = 0;
        self.fresh.stage(std::mem::take(&mut self.batch))
    }

    fn finish(mut self) -> Result<(), CheckpointError> {
        self.flush()
    }
}
