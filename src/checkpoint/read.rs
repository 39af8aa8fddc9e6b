//! Reading back: bytes with their checksums verified, and the index of all that is there.

use serde::de::IgnoredAny;

use super::error::CheckpointError;
use super::files::{HEADER_BYTES, ReadError, Reader, SegmentFiles, verify};
use super::index::{Entry, EpochState, Index};
use super::ledger::Ledger;
use super::record::{FORMAT_VERSION, Fault, Key, decode};
use super::table::{Blob, EntryId, EpochHead, Payload, Table, TableHead, ordinals};

/// Reads what the ledger names, keeping the last table and the last file at hand: state that was
/// written together mostly is read together.
#[derive(Debug)]
pub(super) struct StateReader<'a> {
    ledger: &'a Ledger,
    files: &'a SegmentFiles,
    reader: Reader<'a>,
    /// The table's epoch, what follows its head in the ledger, and where state begins in that.
    table: Option<(u64, Vec<u8>, usize)>,
}

impl<'a> StateReader<'a> {
    pub(super) fn new(ledger: &'a Ledger, files: &'a SegmentFiles) -> Self {
        Self { ledger, files, reader: files.reader(), table: None }
    }

    /// The bytes of a piece of state that `epoch` needs.
    pub(super) fn entry(
        &mut self,
        id: EntryId,
        blob: &Blob,
        epoch: u64,
    ) -> Result<Vec<u8>, CheckpointError> {
        if blob.file.is_some() {
            return self.file_bytes(blob, epoch);
        }
        let key = Key::Table(id.born);
        let (tail, start) = match &self.table {
            Some((born, tail, start)) if *born == id.born => (tail, *start),
            _ => {
                let (head, tail) = self.value::<TableHead>(key, epoch)?;
                let start = if head.table.file.is_none() { head.table.bytes as usize } else { 0 };
                let (_, tail, start) = self.table.insert((id.born, tail, start));
                (&*tail, *start)
            }
        };
        slice(tail.get(start..).unwrap_or_default(), blob)
            .map(<[u8]>::to_vec)
            .map_err(|fault| told(fault, key.to_string(), epoch))
    }

    /// An epoch's payload.
    pub(super) fn payload(&mut self, number: u64, blob: &Blob) -> Result<Vec<u8>, CheckpointError> {
        self.following::<EpochHead>(Key::Epoch(number), blob, number)
    }

    /// A table, as it was written.
    fn table(&mut self, born: u64, blob: &Blob) -> Result<Table, CheckpointError> {
        let bytes = self.following::<TableHead>(Key::Table(born), blob, born)?;
        serde_json::from_slice(&bytes).map_err(|error| {
            let fault = Fault::Damaged(format!("its table cannot be read: {error}"));
            told(fault, Key::Table(born).to_string(), born)
        })
    }

    /// A blob that is in a file, or right behind the head of `key`'s value.
    fn following<T: serde::de::DeserializeOwned>(
        &mut self,
        key: Key,
        blob: &Blob,
        epoch: u64,
    ) -> Result<Vec<u8>, CheckpointError> {
        if blob.file.is_some() {
            return self.file_bytes(blob, epoch);
        }
        let (_, tail) = self.value::<T>(key, epoch)?;
        slice(&tail, blob).map(<[u8]>::to_vec).map_err(|fault| told(fault, key.to_string(), epoch))
    }

    /// The head of `key`'s value and what follows it.
    fn value<T: serde::de::DeserializeOwned>(
        &self,
        key: Key,
        epoch: u64,
    ) -> Result<(T, Vec<u8>), CheckpointError> {
        let value = self.ledger.get(key)?;
        let decoded = match &value {
            None => Err(Fault::Damaged("it is missing".into())),
            Some(value) => decode::<T>(key, value),
        };
        match decoded {
            Ok((head, tail)) => Ok((head, tail.to_vec())),
            Err(fault) => Err(told(fault, key.to_string(), epoch)),
        }
    }

    fn file_bytes(&mut self, blob: &Blob, epoch: u64) -> Result<Vec<u8>, CheckpointError> {
        // Only called with a file; an empty name would be told as a missing one.
        let name = blob.file.clone().unwrap_or_default();
        let path = self.files.path(&name);
        self.reader.read(blob, &name).map_err(|error| match error {
            ReadError::Fault(fault) => told(fault, path.display().to_string(), epoch),
            ReadError::Io(source) => CheckpointError::Io { action: "read", path, source },
        })
    }
}

/// The part of `tail` that `blob` describes, verified.
fn slice<'a>(tail: &'a [u8], blob: &Blob) -> Result<&'a [u8], Fault> {
    let bytes = usize::try_from(blob.offset)
        .ok()
        .zip(usize::try_from(blob.bytes).ok())
        .and_then(|(start, length)| tail.get(start..start.checked_add(length)?))
        .ok_or_else(|| Fault::Damaged("it is shorter than what it should hold".into()))?;
    verify(blob, bytes)?;
    Ok(bytes)
}

/// A fault with its place and its epoch.
fn told(fault: Fault, what: String, epoch: u64) -> CheckpointError {
    match fault {
        Fault::Damaged(detail) => CheckpointError::Corrupt { what, epoch: Some(epoch), detail },
        Fault::Newer(found) => newer(what, found),
    }
}

pub(super) fn newer(what: String, found: impl Into<u32>) -> CheckpointError {
    CheckpointError::NewerFormat { what, found: found.into(), supported: FORMAT_VERSION.into() }
}

/// Lets damage through as text, and everything else as an error.
pub(super) fn damage<T>(
    result: Result<T, CheckpointError>,
) -> Result<Result<T, String>, CheckpointError> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(CheckpointError::Corrupt { what, detail, .. }) => Ok(Err(format!("{what}: {detail}"))),
        Err(other) => Err(other),
    }
}

/// Reads everything but state. Damage is noted where it is, and only matters once somebody wants
/// what is damaged.
pub(super) fn load(ledger: &Ledger, files: &SegmentFiles) -> Result<Index, CheckpointError> {
    let mut index = Index::default();
    let mut reader = StateReader::new(ledger, files);
    let mut keys: Vec<Key> = ledger.keys().collect();
    // Tables before the bitmaps that thin them out, and all before the epochs that kill.
    keys.sort_by_key(|key| match key {
        Key::Table(epoch) => (0, *epoch),
        Key::Dead(epoch) => (1, *epoch),
        Key::Epoch(epoch) => (2, *epoch),
        Key::Committed(epoch) => (3, *epoch),
    });
    for key in keys {
        match key {
            Key::Table(born) => load_table(&mut index, &mut reader, born)?,
            Key::Dead(born) => {
                match damage(reader.value::<IgnoredAny>(key, born))? {
                    Ok((_, bitmap)) => {
                        for ordinal in ordinals(&bitmap) {
                            index.remove(EntryId { born, ordinal });
                        }
                    }
                    Err(damage) => index.insert_table(born, Err(damage)),
                };
            }
            Key::Epoch(number) => {
                let read = damage(reader.value::<EpochHead>(key, number))?;
                let (head, damage) = match read {
                    Ok((head, _)) => (Some(head), None),
                    Err(damage) => (None, Some(damage)),
                };
                index.insert_epoch(number, EpochState { head, damage, committed: false });
            }
            Key::Committed(number) => match index.epochs.get_mut(&number) {
                Some(state) => state.committed = true,
                None => lost_epoch(&mut index, number),
            },
        }
    }
    // State without the epoch that wrote it: that epoch was lost, and what it killed with it.
    if let Some((&born, _)) = index.tables.last_key_value()
        && Some(born) > index.newest()
    {
        lost_epoch(&mut index, born);
    }
    for found in files.list()? {
        index.set_file_bytes(&found.name, found.bytes.saturating_sub(HEADER_BYTES));
    }
    let numbers: Vec<u64> = index.epochs.keys().copied().collect();
    for number in numbers {
        let Some(head) = index.epochs.get(&number).and_then(|state| state.head.clone()) else {
            continue;
        };
        let checked = match damage(payload(&mut reader, number, &head))? {
            Ok(payload) => {
                index.kill_all(&payload.killed, number);
                index.check(number)
            }
            Err(damage) => Err(damage),
        };
        if let Some(state) = index.epochs.get_mut(&number) {
            state.damage = checked.err();
        }
    }
    Ok(index)
}

fn load_table(
    index: &mut Index,
    reader: &mut StateReader<'_>,
    born: u64,
) -> Result<(), CheckpointError> {
    let key = Key::Table(born);
    let read = reader.value::<TableHead>(key, born).and_then(|(head, _)| {
        let table = reader.table(born, &head.table)?;
        let entries: Option<Vec<_>> = table.entries().collect();
        let entries = entries.ok_or_else(|| {
            let fault = Fault::Damaged("a row names what is not there".into());
            told(fault, key.to_string(), born)
        })?;
        Ok((head.table, entries))
    });
    match damage(read)? {
        Ok((blob, entries)) => {
            index.insert_table(born, Ok(blob));
            for (ordinal, owner, groups, blob) in entries {
                let entry = Entry { owner, groups, blob, dead: None, fingerprint: None };
                index.insert(EntryId { born, ordinal }, entry);
            }
        }
        Err(damage) => index.insert_table(born, Err(damage)),
    }
    Ok(())
}

fn lost_epoch(index: &mut Index, number: u64) {
    let damage = Some(format!("{} is missing", Key::Epoch(number)));
    index.insert_epoch(number, EpochState { head: None, damage, committed: false });
}

pub(super) fn payload(
    reader: &mut StateReader<'_>,
    number: u64,
    head: &EpochHead,
) -> Result<Payload, CheckpointError> {
    let bytes = reader.payload(number, &head.payload)?;
    serde_json::from_slice(&bytes).map_err(|error| {
        let fault = Fault::Damaged(format!("it cannot be read: {error}"));
        told(fault, Key::Epoch(number).to_string(), number)
    })
}
