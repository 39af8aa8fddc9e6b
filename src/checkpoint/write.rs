//! Writing an epoch.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Instant;

use super::error::CheckpointError;
use super::index::{Entry, EpochState, Index};
use super::model::{EpochWrite, StoreOptions, WriteStats};
use super::record::{
    Blob, EntryHead, EntryId, EpochHead, FileRef, Key, Killed, LiveSet, Owner, PayloadRef, encode,
};
use super::store::Inner;

/// The most state that one epoch puts into the ledger; the rest goes to its file however small
/// the pieces are. It bounds the one batch that has to fit sled's memory and log.
const INLINE_BYTES_PER_EPOCH: usize = 256 * 1024;

/// A piece of state that this epoch adds.
struct Piece<'a> {
    head: EntryHead,
    bytes: &'a [u8],
    fingerprint: Option<u64>,
}

/// What an epoch changes.
struct Draft<'a> {
    pieces: Vec<Piece<'a>>,
    killed: BTreeSet<EntryId>,
}

impl<'a> Draft<'a> {
    fn new(index: &Index, write: &'a EpochWrite) -> Self {
        let mut killed = BTreeSet::new();
        if !write.replace_all.is_empty() {
            for (owner, ids) in index.owners() {
                if let Owner::Pane { query, .. } = owner
                    && write.replace_all.contains(&**query)
                {
                    killed.extend(ids);
                }
            }
        }
        let mut names: BTreeMap<&str, Arc<str>> = BTreeMap::new();
        let mut owner = |query: &'a str, shard: u32, pane: i64| {
            let query = names.entry(query).or_insert_with(|| query.into()).clone();
            Owner::Pane { query, shard, pane }
        };
        for closed in &write.closed {
            killed.extend(index.current(&owner(&closed.query, closed.shard, closed.pane)));
        }
        // Written and replaced within one epoch: never stored at all.
        let mut pieces: Vec<Option<Piece<'a>>> = Vec::with_capacity(write.segments.len());
        let mut of_pane: HashMap<Owner, Vec<usize>> = HashMap::new();
        for segment in &write.segments {
            let owner = owner(&segment.query, segment.shard, segment.pane);
            let earlier = of_pane.entry(owner.clone()).or_default();
            if segment.whole {
                killed.extend(index.current(&owner));
                for position in earlier.drain(..) {
                    pieces[position] = None;
                }
            }
            earlier.push(pieces.len());
            pieces.push(Some(Piece::new(owner, segment.groups, &segment.bytes)));
        }
        for (name, bytes) in &write.epoch.operators {
            let owner = Owner::Operator { name: name.as_str().into() };
            let mut piece = Piece::new(owner, 0, bytes);
            piece.fingerprint = Some(fingerprint(bytes));
            let before = index.current(&piece.head.owner);
            let unchanged = before.iter().any(|id| {
                index.entry(*id).is_some_and(|entry| {
                    entry.fingerprint == piece.fingerprint
                        && entry.head.as_ref().is_ok_and(|head| {
                            let new = &piece.head.blob;
                            (head.blob.bytes, head.blob.crc) == (new.bytes, new.crc)
                        })
                })
            });
            if !unchanged {
                killed.extend(before);
                pieces.push(Some(piece));
            }
        }
        for (owner, ids) in index.owners() {
            if let Owner::Operator { name } = owner
                && !write.epoch.operators.contains_key(&**name)
            {
                killed.extend(ids);
            }
        }
        Self { pieces: pieces.into_iter().flatten().collect(), killed }
    }

    fn killed(&self) -> Killed {
        let mut killed: Killed = Vec::new();
        for id in &self.killed {
            match killed.last_mut() {
                Some((born, ordinals)) if *born == id.born => ordinals.push(id.ordinal),
                _ => killed.push((id.born, vec![id.ordinal])),
            }
        }
        killed
    }
}

impl<'a> Piece<'a> {
    fn new(owner: Owner, groups: u64, bytes: &'a [u8]) -> Self {
        Self { head: EntryHead { owner, groups, blob: blob(bytes) }, bytes, fingerprint: None }
    }
}

fn entry_id(born: u64, ordinal: usize) -> EntryId {
    // One epoch's pieces are in memory together, so they are far fewer than 2^32.
    EntryId { born, ordinal: ordinal as u32 }
}

fn blob(bytes: &[u8]) -> Blob {
    Blob { bytes: bytes.len() as u64, crc: crc32fast::hash(bytes), file: None }
}

/// SipHash with fixed keys; compared only within one process.
fn fingerprint(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

impl Inner {
    pub(super) fn write(&mut self, write: &EpochWrite) -> Result<WriteStats, CheckpointError> {
        let started = Instant::now();
        self.usable()?;
        let number = write.epoch.number;
        self.check_order(number)?;

        let mut draft = Draft::new(&self.index, write);
        let payload = serde_json::to_vec(&PayloadRef {
            positions: &write.epoch.positions,
            fingerprints: &write.epoch.fingerprints,
            watermarks: &write.epoch.watermarks,
            precommits: &write.epoch.precommits,
            killed: draft.killed(),
        })
        .map_err(|error| self.encoding(error))?;
        let mut payload_blob = blob(&payload);

        let mut new_files = BTreeSet::new();
        fail::fail_point!("checkpoint_files_begin");
        let placed =
            self.place(number, &mut draft.pieces, &payload, &mut payload_blob, &mut new_files);
        if let Err(error) = placed {
            new_files.iter().for_each(|name| self.files.remove(name));
            return Err(error);
        }
        fail::fail_point!("checkpoint_files_written");

        let head = EpochHead {
            pipeline: write.epoch.pipeline.clone(),
            shards: write.epoch.shards,
            created_at_ms: write.epoch.created_at_ms,
            live: self.live_after(number, &draft),
            payload: payload_blob,
        };
        let stats = WriteStats {
            epoch: number,
            bytes: payload.len() as u64
                + draft.pieces.iter().map(|piece| piece.head.blob.bytes).sum::<u64>(),
            segments: draft.pieces.len() as u64,
            files: new_files.len() as u64,
            took: started.elapsed(),
        };
        let (forgotten_epochs, forgotten_entries) = self.forgotten(number, &draft.killed);
        let batch = self
            .batch(number, &head, &payload, &draft.pieces, &forgotten_epochs, &forgotten_entries)
            .map_err(|error| self.encoding(error))?;

        // From here until the batch is durable, only the disk knows.
        self.suspect = true;
        self.ledger()?.apply(batch)?;
        fail::fail_point!("checkpoint_ledger_durable");

        self.index
            .insert_epoch(number, EpochState { head: Some(head), damage: None, committed: false });
        for id in draft.killed {
            self.index.kill(id, number);
        }
        for (ordinal, piece) in draft.pieces.into_iter().enumerate() {
            let entry = Entry { dead: None, head: Ok(piece.head), fingerprint: piece.fingerprint };
            self.index.insert(entry_id(number, ordinal), entry);
        }
        let mut dead_files = Vec::new();
        dead_files.extend(forgotten_entries.iter().filter_map(|id| self.index.remove(*id)));
        dead_files.extend(forgotten_epochs.iter().filter_map(|n| self.index.remove_epoch(*n)));
        self.acknowledged = Some(number);
        self.suspect = false;

        if let Err(error) = self.mark.set(number) {
            tracing::warn!(%error, "mark of the newest epoch not written");
        }
        dead_files.iter().for_each(|name| self.files.remove(name));
        self.rotate_if_large();
        Ok(WriteStats { took: started.elapsed(), ..stats })
    }

    fn check_order(&self, number: u64) -> Result<(), CheckpointError> {
        if let Some(fallback) = self.unresolved() {
            return Err(CheckpointError::Order(format!(
                "epoch {number} cannot be written on top of a checkpoint that is not whole \
                 ({}); discard what is damaged first",
                fallback.reason
            )));
        }
        match self.index.newest() {
            Some(newest) if newest >= number => Err(CheckpointError::Order(format!(
                "epoch {number} cannot follow epoch {newest}: epochs only rise"
            ))),
            _ => Ok(()),
        }
    }

    /// Decides where each piece goes, and writes those that go to files.
    fn place(
        &mut self,
        epoch: u64,
        pieces: &mut [Piece<'_>],
        payload: &[u8],
        payload_blob: &mut Blob,
        new_files: &mut BTreeSet<Arc<str>>,
    ) -> Result<(), CheckpointError> {
        let StoreOptions { inline_bytes, own_file_bytes, .. } = self.options;
        let mut inline = 0;
        let mut shared: Vec<&[u8]> = Vec::new();
        let mut to_place: Vec<&mut Option<FileRef>> = Vec::new();
        if payload.len() > inline_bytes {
            shared.push(payload);
            to_place.push(&mut payload_blob.file);
        }
        for piece in pieces {
            let length = piece.bytes.len();
            if length <= inline_bytes && inline + length <= INLINE_BYTES_PER_EPOCH {
                inline += length;
            } else if length >= own_file_bytes {
                let mut places = self.files.write(epoch, &[piece.bytes])?;
                piece.head.blob.file = places.pop();
                new_files.extend(piece.head.blob.file.as_ref().map(|place| place.name.clone()));
            } else {
                shared.push(piece.bytes);
                to_place.push(&mut piece.head.blob.file);
            }
        }
        if !shared.is_empty() {
            for (slot, place) in to_place.into_iter().zip(self.files.write(epoch, &shared)?) {
                new_files.insert(place.name.clone());
                *slot = Some(place);
            }
        }
        if new_files.is_empty() { Ok(()) } else { self.files.sync() }
    }

    fn live_after(&self, number: u64, draft: &Draft<'_>) -> LiveSet {
        let newest = self.index.newest().and_then(|number| self.index.epochs.get(&number));
        let mut live =
            newest.and_then(|state| state.head.as_ref()).map(|head| head.live).unwrap_or_default();
        for id in &draft.killed {
            if let Some(Entry { head: Ok(head), .. }) = self.index.entry(*id) {
                live.remove(*id, &head.blob);
            }
        }
        for (ordinal, piece) in draft.pieces.iter().enumerate() {
            live.add(entry_id(number, ordinal), &piece.head.blob);
        }
        live
    }

    /// What no kept epoch needs once `number` is written.
    fn forgotten(&self, number: u64, killed: &BTreeSet<EntryId>) -> (Vec<u64>, Vec<EntryId>) {
        let mut epochs: Vec<u64> = self.index.epochs.keys().copied().chain([number]).collect();
        let kept = epochs.split_off(epochs.len().saturating_sub(self.options.keep_epochs));
        let oldest = kept.first().copied().unwrap_or(number);
        let entries = self
            .index
            .entries()
            .filter(|(id, entry)| {
                let dead = if killed.contains(id) { Some(number) } else { entry.dead };
                dead.is_some_and(|dead| dead <= oldest)
            })
            .map(|(id, _)| id)
            .collect();
        (epochs, entries)
    }

    fn batch(
        &self,
        number: u64,
        head: &EpochHead,
        payload: &[u8],
        pieces: &[Piece<'_>],
        forgotten_epochs: &[u64],
        forgotten_entries: &[EntryId],
    ) -> Result<sled::Batch, serde_json::Error> {
        let mut batch = sled::Batch::default();
        let key = Key::Epoch(number);
        let tail = if head.payload.file.is_none() { payload } else { &[] };
        batch.insert(key.to_bytes(), encode(key, head, tail)?);
        for (ordinal, piece) in pieces.iter().enumerate() {
            let key = Key::Entry(entry_id(number, ordinal));
            let tail = if piece.head.blob.file.is_none() { piece.bytes } else { &[] };
            batch.insert(key.to_bytes(), encode(key, &piece.head, tail)?);
        }
        for number in forgotten_epochs {
            batch.remove(Key::Epoch(*number).to_bytes());
            batch.remove(Key::Committed(*number).to_bytes());
        }
        for id in forgotten_entries {
            batch.remove(Key::Entry(*id).to_bytes());
        }
        Ok(batch)
    }

    pub(super) fn encoding(&self, error: serde_json::Error) -> CheckpointError {
        CheckpointError::Ledger {
            dir: self.dir.clone(),
            detail: format!("an entry could not be encoded: {error}"),
        }
    }
}
