//! Writing an epoch.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::error::CheckpointError;
use super::files::NewFile;
use super::index::{Entry, EpochState, Index};
use super::ledger::Changes;
use super::model::{EpochWrite, StoreOptions, WriteStats};
use super::record::{Key, encode};
use super::store::Inner;
use super::table::{
    Blob, EntryId, EpochHead, Killed, LiveSet, Owner, PayloadRef, Table, TableHead, bitmap,
};

/// The most state that one epoch puts into the ledger; with more, all of it goes to the epoch's
/// file however small the pieces are. It bounds the batch, and with it sled's memory.
const INLINE_BYTES_PER_EPOCH: usize = 256 * 1024;

/// A piece of state that this epoch adds.
struct Piece<'a> {
    owner: Owner,
    groups: u64,
    blob: Blob,
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
            let before = index.current(&piece.owner);
            let unchanged = before.iter().any(|id| {
                index.entry(*id).is_some_and(|entry| {
                    entry.fingerprint == piece.fingerprint
                        && (entry.blob.bytes, entry.blob.crc) == (piece.blob.bytes, piece.blob.crc)
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
        Self { owner, groups, blob: Blob::of(bytes), bytes, fingerprint: None }
    }
}

fn entry_id(born: u64, ordinal: usize) -> EntryId {
    // One epoch's pieces are in memory together, so they are far fewer than 2^32.
    EntryId { born, ordinal: ordinal as u32 }
}

/// SipHash with fixed keys; compared only within one process.
fn fingerprint(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

/// Where an epoch's bytes go that are not in its pieces themselves.
struct Layout<'a> {
    files: Vec<NewFile<'a>>,
    table: Blob,
    /// The table, if it goes into the ledger.
    inline_table: Vec<u8>,
}

/// What a write takes out of the ledger: epochs, and entries by the table that they are in.
struct Forgotten {
    epochs: Vec<u64>,
    entries: BTreeMap<u64, BTreeSet<u32>>,
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
        let mut head = EpochHead {
            pipeline: write.epoch.pipeline.clone(),
            shards: write.epoch.shards,
            created_at_ms: write.epoch.created_at_ms,
            live: self.live_after(number, &draft),
            payload: Blob::of(&payload),
        };
        let layout = self
            .lay_out(number, &mut draft.pieces, &payload, &mut head.payload)
            .map_err(|error| self.encoding(error))?;
        let forgotten = self.forgotten(number, &draft.killed);
        let changes = self
            .changes(number, &head, &payload, &draft.pieces, &layout, &forgotten)
            .map_err(|error| self.encoding(error))?;

        fail::fail_point!("checkpoint_files_begin");
        if let Err(error) = self.finish_files(&layout.files) {
            layout.files.iter().for_each(|file| self.files.remove(&file.name));
            return Err(error);
        }
        fail::fail_point!("checkpoint_files_written");

        // From here until they are durable, only the disk knows.
        self.suspect = true;
        self.ledger_mut()?.apply(&changes)?;
        fail::fail_point!("checkpoint_ledger_durable");
        let stats = WriteStats {
            epoch: number,
            bytes: payload.len() as u64
                + draft.pieces.iter().map(|piece| piece.blob.bytes).sum::<u64>(),
            segments: draft.pieces.len() as u64,
            files: layout.files.len() as u64,
            took: Duration::ZERO,
        };
        let dead_files = self.adopt(number, head, draft, layout.table, &forgotten);
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

    fn live_after(&self, number: u64, draft: &Draft<'_>) -> LiveSet {
        let newest = self.index.newest().and_then(|number| self.index.epochs.get(&number));
        let mut live =
            newest.and_then(|state| state.head.as_ref()).map(|head| head.live).unwrap_or_default();
        for id in &draft.killed {
            if let Some(entry) = self.index.entry(*id) {
                live.remove(*id, &entry.blob);
            }
        }
        for (ordinal, piece) in draft.pieces.iter().enumerate() {
            live.add(entry_id(number, ordinal), &piece.blob);
        }
        live
    }

    /// Decides where every byte goes.
    fn lay_out<'a>(
        &mut self,
        number: u64,
        pieces: &mut [Piece<'a>],
        payload: &'a [u8],
        payload_blob: &mut Blob,
    ) -> Result<Layout<'a>, serde_json::Error> {
        let StoreOptions { inline_bytes, own_file_bytes, .. } = self.options;
        let is_small = |bytes: &[u8]| bytes.len() <= inline_bytes;
        let small: usize =
            pieces.iter().map(|piece| piece.bytes).filter(|b| is_small(b)).map(<[u8]>::len).sum();
        let mut files = Vec::new();
        let mut shared = self.files.begin(number);
        let mut inline_end = 0;
        for piece in pieces.iter_mut() {
            if piece.bytes.len() >= own_file_bytes {
                let mut own = self.files.begin(number);
                own.add(piece.bytes, &mut piece.blob);
                files.push(own);
            } else if is_small(piece.bytes) && small <= INLINE_BYTES_PER_EPOCH {
                piece.blob.offset = inline_end;
                inline_end += piece.blob.bytes;
            } else {
                shared.add(piece.bytes, &mut piece.blob);
            }
        }
        if !is_small(payload) {
            shared.add(payload, payload_blob);
        }
        let rows = pieces.iter().enumerate().map(|(ordinal, piece)| {
            (entry_id(number, ordinal).ordinal, &piece.owner, piece.groups, &piece.blob)
        });
        let mut inline_table = serde_json::to_vec(&Table::new(rows))?;
        let mut table = Blob::of(&inline_table);
        if !is_small(&inline_table) {
            shared.add(std::mem::take(&mut inline_table), &mut table);
        }
        if !shared.is_empty() {
            files.push(shared);
        }
        Ok(Layout { files, table, inline_table })
    }

    fn finish_files(&self, files: &[NewFile<'_>]) -> Result<(), CheckpointError> {
        for file in files {
            self.files.finish(file)?;
        }
        if files.is_empty() { Ok(()) } else { self.files.sync() }
    }

    /// What no kept epoch needs once `number` is written.
    fn forgotten(&self, number: u64, killed: &BTreeSet<EntryId>) -> Forgotten {
        let mut epochs: Vec<u64> = self.index.epochs.keys().copied().chain([number]).collect();
        let kept = epochs.split_off(epochs.len().saturating_sub(self.options.keep_epochs));
        let oldest = kept.first().copied().unwrap_or(number);
        let mut entries: BTreeMap<u64, BTreeSet<u32>> = BTreeMap::new();
        for (id, entry) in self.index.entries() {
            let dead = if killed.contains(&id) { Some(number) } else { entry.dead };
            if dead.is_some_and(|dead| dead <= oldest) {
                entries.entry(id.born).or_default().insert(id.ordinal);
            }
        }
        Forgotten { epochs, entries }
    }

    /// The one transaction.
    fn changes(
        &self,
        number: u64,
        head: &EpochHead,
        payload: &[u8],
        pieces: &[Piece<'_>],
        layout: &Layout<'_>,
        forgotten: &Forgotten,
    ) -> Result<Changes, serde_json::Error> {
        let key = Key::Epoch(number);
        let tail = if head.payload.file.is_none() { payload } else { &[] };
        let mut changes = vec![(key, Some(encode(key, head, &[tail])?))];
        if !pieces.is_empty() {
            let key = Key::Table(number);
            let mut parts = vec![layout.inline_table.as_slice()];
            let inline = pieces.iter().filter(|piece| piece.blob.file.is_none());
            parts.extend(inline.map(|piece| piece.bytes));
            let head = TableHead { table: layout.table.clone() };
            changes.push((key, Some(encode(key, &head, &parts)?)));
        }
        for number in &forgotten.epochs {
            changes.push((Key::Epoch(*number), None));
            changes.push((Key::Committed(*number), None));
        }
        for (born, ordinals) in &forgotten.entries {
            let Some(table) = self.index.tables.get(born) else { continue };
            let key = Key::Dead(*born);
            if table.entries == ordinals.len() {
                changes.push((Key::Table(*born), None));
                changes.push((key, None));
            } else {
                let bitmap = bitmap(table.dead.union(ordinals));
                changes.push((key, Some(encode(key, &(), &[&bitmap])?)));
            }
        }
        Ok(changes)
    }

    /// Takes what is durable now into the index; returns the files that are no longer needed.
    fn adopt(
        &mut self,
        number: u64,
        head: EpochHead,
        draft: Draft<'_>,
        table: Blob,
        forgotten: &Forgotten,
    ) -> Vec<Arc<str>> {
        let index = &mut self.index;
        index.insert_epoch(number, EpochState { head: Some(head), damage: None, committed: false });
        for id in draft.killed {
            index.kill(id, number);
        }
        if !draft.pieces.is_empty() {
            index.insert_table(number, Ok(table));
        }
        for (ordinal, piece) in draft.pieces.into_iter().enumerate() {
            let Piece { owner, groups, blob, fingerprint, .. } = piece;
            let entry = Entry { owner, groups, blob, dead: None, fingerprint };
            index.insert(entry_id(number, ordinal), entry);
        }
        let mut dead_files = Vec::new();
        for (born, ordinals) in &forgotten.entries {
            for ordinal in ordinals {
                dead_files.extend(index.remove(EntryId { born: *born, ordinal: *ordinal }));
            }
            if index.tables.get(born).is_some_and(|table| table.entries == 0) {
                dead_files.extend(index.remove_table(*born));
            }
        }
        dead_files.extend(forgotten.epochs.iter().filter_map(|number| index.remove_epoch(*number)));
        dead_files
    }

    pub(super) fn encoding(&self, error: serde_json::Error) -> CheckpointError {
        CheckpointError::Ledger {
            dir: self.dir.clone(),
            detail: format!("an entry could not be encoded: {error}"),
        }
    }
}
