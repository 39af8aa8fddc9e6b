//! The store: opening, reading back and verifying.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::de::IgnoredAny;

use super::error::CheckpointError;
use super::files::{HEADER_BYTES, ReadError, Reader, SegmentFiles, replace_file, sync_dir, verify};
use super::index::{Entry, EpochState, Index};
use super::ledger::Ledger;
use super::lock::DirectoryLock;
use super::mark::{HEAD, HeadMark};
use super::model::{Epoch, Fallback, Latest, MAX_INLINE_BYTES, StoreOptions, StoredSegment};
use super::record::{
    Blob, EntryHead, EpochHead, FORMAT_VERSION, Fault, Key, Owner, Payload, decode,
};

const CURRENT: &str = "CURRENT";
const LEDGER_PREFIX: &str = "ledger-";
pub(super) const SEGMENTS: &str = "segments";

/// Everything behind the store's lock.
#[derive(Debug)]
pub(super) struct Inner {
    pub dir: PathBuf,
    pub options: StoreOptions,
    /// `None` between a failure and the next call that opens it again.
    pub ledger: Option<Ledger>,
    pub index: Index,
    pub files: SegmentFiles,
    pub mark: HeadMark,
    /// Set while the ledger is being changed; still set afterwards if that failed or panicked.
    /// Then what the ledger holds is only known after opening it again.
    pub suspect: bool,
    /// The newest epoch that a caller was told is durable.
    pub acknowledged: Option<u64>,
    /// The ledger's size when it was fresh.
    pub fresh_bytes: u64,
    _lock: DirectoryLock,
}

impl Inner {
    pub(super) fn open(dir: &Path, mut options: StoreOptions) -> Result<Self, CheckpointError> {
        options.inline_bytes = options.inline_bytes.min(MAX_INLINE_BYTES);
        options.keep_epochs = options.keep_epochs.max(2);
        fs::create_dir_all(dir).map_err(CheckpointError::io("create", dir))?;
        let lock = DirectoryLock::acquire(dir)?;
        let mark = HeadMark::open(dir)?;
        let files = SegmentFiles::open(dir.join(SEGMENTS))?;
        let name = match current(dir)? {
            Some(name) => name,
            None => create(dir, &mark, &files)?,
        };
        remove_other_ledgers(dir, &name)?;
        let mut inner = Self {
            dir: dir.to_path_buf(),
            options,
            ledger: None,
            index: Index::default(),
            files,
            mark,
            suspect: false,
            acknowledged: None,
            fresh_bytes: 0,
            _lock: lock,
        };
        inner.reopen()?;
        inner.acknowledged = inner.index.newest();
        inner.sweep()?;
        Ok(inner)
    }

    /// Opens the current ledger from disk and reads what it holds.
    pub(super) fn reopen(&mut self) -> Result<(), CheckpointError> {
        self.ledger = None;
        let missing = |what: &Path, detail: &str| CheckpointError::Corrupt {
            what: what.display().to_string(),
            epoch: self.mark.epoch(),
            detail: detail.to_owned(),
        };
        let Some(name) = current(&self.dir)? else {
            return Err(missing(&self.dir.join(CURRENT), "the file is missing"));
        };
        let path = self.dir.join(&name);
        if !path.join("db").is_file() {
            return Err(missing(&path, "the ledger is missing"));
        }
        let ledger = Ledger::open(&path)?;
        self.index = self.load(&ledger)?;
        self.ledger = Some(ledger);
        Ok(())
    }

    pub(super) fn ledger(&self) -> Result<&Ledger, CheckpointError> {
        self.ledger.as_ref().ok_or_else(|| CheckpointError::Ledger {
            dir: self.dir.clone(),
            detail: "it is not open".into(),
        })
    }

    /// Reads every entry. Damage is noted where it is, and only then looked at when somebody
    /// wants what is damaged.
    fn load(&self, ledger: &Ledger) -> Result<Index, CheckpointError> {
        let mut index = Index::default();
        let mut inline_payloads = BTreeMap::new();
        for (key, value) in ledger.scan()? {
            let Some(parsed) = Key::parse(&key) else {
                return Err(CheckpointError::Corrupt {
                    what: ledger.path().display().to_string(),
                    epoch: None,
                    detail: format!("it holds a key of no known kind, {key:02x?}"),
                });
            };
            match parsed {
                Key::Epoch(number) => {
                    let state = match self.checked(parsed, decode::<EpochHead>(parsed, &value))? {
                        Ok((head, tail)) => {
                            if head.payload.file.is_none() {
                                inline_payloads.insert(number, tail.to_vec());
                            }
                            EpochState { head: Some(head), damage: None, committed: false }
                        }
                        Err(damage) => {
                            EpochState { head: None, damage: Some(damage), committed: false }
                        }
                    };
                    let committed = index.epochs.remove(&number).is_some_and(|s| s.committed);
                    index.insert_epoch(number, EpochState { committed, ..state });
                }
                // Sorts before the epoch it speaks of, and may be all that is left of it.
                Key::Committed(number) => {
                    let placeholder = EpochState {
                        head: None,
                        damage: Some(format!("{} is missing", Key::Epoch(number))),
                        committed: true,
                    };
                    index.epochs.insert(number, placeholder);
                }
                Key::Entry(id) => {
                    let head = self.checked(parsed, decode::<EntryHead>(parsed, &value))?;
                    let head = head.map(|(head, _)| head);
                    index.insert(id, Entry { dead: None, head, fingerprint: None });
                }
            }
        }
        // Entries without their epoch: it was lost, and what it killed is not known.
        let orphans: BTreeSet<u64> = index
            .entries()
            .map(|(id, _)| id.born)
            .filter(|born| Some(*born) > index.newest())
            .collect();
        for number in orphans {
            let damage = Some(format!("{} is missing", Key::Epoch(number)));
            index.insert_epoch(number, EpochState { head: None, damage, committed: false });
        }
        for found in self.files.list()? {
            index.set_file_bytes(&found.name, found.bytes.saturating_sub(HEADER_BYTES));
        }
        let numbers: Vec<u64> = index.epochs.keys().copied().collect();
        for number in numbers {
            let payload = self.payload(&index, number, inline_payloads.get(&number));
            let checked = match payload {
                Ok(payload) => {
                    index.kill_all(&payload.killed, number);
                    index.check(number).map(|_| ())
                }
                Err(CheckpointError::Corrupt { what, detail, .. }) => {
                    Err(format!("{what}: {detail}"))
                }
                Err(other) => return Err(other),
            };
            if let Err(damage) = checked
                && let Some(state) = index.epochs.get_mut(&number)
            {
                state.damage.get_or_insert(damage);
            }
        }
        Ok(index)
    }

    /// Lets damage through as text, and refuses entries of a newer format.
    fn checked<T>(
        &self,
        key: Key,
        decoded: Result<T, Fault>,
    ) -> Result<Result<T, String>, CheckpointError> {
        match decoded {
            Ok(value) => Ok(Ok(value)),
            Err(Fault::Damaged(detail)) => Ok(Err(format!("{key}: {detail}"))),
            Err(Fault::Newer(found)) => Err(newer(key.to_string(), found)),
        }
    }

    fn payload(
        &self,
        index: &Index,
        number: u64,
        inline: Option<&Vec<u8>>,
    ) -> Result<Payload, CheckpointError> {
        let corrupt = |detail: String| CheckpointError::Corrupt {
            what: Key::Epoch(number).to_string(),
            epoch: Some(number),
            detail,
        };
        let state = index.epochs.get(&number);
        let Some(head) = state.and_then(|state| state.head.as_ref()) else {
            let damage = state.and_then(|state| state.damage.clone());
            return Err(corrupt(damage.unwrap_or_else(|| "it is missing".into())));
        };
        let bytes = match inline {
            Some(bytes) => bytes.clone(),
            None => {
                self.read(&mut self.files.reader(), Key::Epoch(number), &head.payload, number)?
            }
        };
        serde_json::from_slice(&bytes).map_err(|error| corrupt(error.to_string()))
    }

    /// The verified bytes of `blob`, which belongs to `key` and is wanted for `epoch`.
    pub(super) fn read(
        &self,
        reader: &mut Reader<'_>,
        key: Key,
        blob: &Blob,
        epoch: u64,
    ) -> Result<Vec<u8>, CheckpointError> {
        let (what, read) = match &blob.file {
            Some(place) => {
                let what = self.files.path(&place.name);
                let read = reader.read(blob, place);
                if let Err(ReadError::Io(source)) = read {
                    return Err(CheckpointError::Io { action: "read", path: what, source });
                }
                (what.display().to_string(), read)
            }
            None => {
                let read = match self.ledger()?.get(key)? {
                    None => Err(Fault::Damaged("it is missing".into())),
                    Some(value) => decode::<IgnoredAny>(key, &value)
                        .and_then(|(_, tail)| verify(blob, tail).map(|()| tail.to_vec())),
                };
                (key.to_string(), read.map_err(ReadError::Fault))
            }
        };
        match read {
            Ok(bytes) => Ok(bytes),
            Err(ReadError::Fault(Fault::Newer(found))) => Err(newer(what, found)),
            Err(ReadError::Fault(Fault::Damaged(detail))) => {
                Err(CheckpointError::Corrupt { what, epoch: Some(epoch), detail })
            }
            // Told apart above, where the path is known.
            Err(ReadError::Io(source)) => {
                Err(CheckpointError::Io { action: "read", path: what.into(), source })
            }
        }
    }

    /// Removes files that no entry names: what a crash left between writing a file and writing
    /// the ledger. Nothing is removed while anything is damaged, since then it is not known
    /// what the damaged entries name.
    pub(super) fn sweep(&self) -> Result<(), CheckpointError> {
        let damaged = self.index.epochs.values().any(|state| state.damage.is_some())
            || self.index.entries().any(|(_, entry)| entry.head.is_err())
            || self.mark.epoch() > self.index.newest();
        if damaged {
            return Ok(());
        }
        for found in self.files.list()? {
            if !self.index.files().contains_key(found.name.as_str()) {
                tracing::debug!(file = found.name, bytes = found.bytes, "orphan segment file");
                self.files.remove(&found.name);
            }
        }
        Ok(())
    }

    /// What stands between the newest acknowledged epoch and the one that `latest` may return,
    /// as far as it is known without reading state.
    pub(super) fn unresolved(&self) -> Option<Fallback> {
        let newest = self.index.newest();
        if let Some(acknowledged) = self.mark.epoch()
            && Some(acknowledged) > newest
        {
            return Some(Fallback {
                newest: acknowledged,
                reason: format!(
                    "epoch {acknowledged} was acknowledged, but the ledger {}",
                    newest.map_or("is empty".into(), |n| format!("ends with epoch {n}"))
                ),
            });
        }
        let (number, state) = self.index.epochs.last_key_value()?;
        let reason = state.damage.clone()?;
        Some(Fallback { newest: *number, reason })
    }

    pub(super) fn latest(&mut self) -> Result<Option<Latest>, CheckpointError> {
        self.usable()?;
        let mut fallback = self.unresolved();
        let numbers: Vec<u64> = self.index.epochs.keys().rev().copied().collect();
        for number in numbers {
            match self.verified(number) {
                Ok(epoch) => return Ok(Some(Latest { epoch, fallback })),
                Err(CheckpointError::Corrupt { what, detail, .. }) => {
                    let reason = if detail.starts_with(&what) {
                        detail
                    } else {
                        format!("{what}: {detail}")
                    };
                    tracing::warn!(epoch = number, reason, "checkpoint epoch is damaged");
                    if let Some(state) = self.index.epochs.get_mut(&number) {
                        state.damage.get_or_insert(reason.clone());
                    }
                    fallback.get_or_insert(Fallback { newest: number, reason });
                }
                Err(other) => return Err(other),
            }
        }
        match fallback {
            None => Ok(None),
            Some(Fallback { newest, reason }) => Err(CheckpointError::Corrupt {
                what: self.dir.display().to_string(),
                epoch: Some(newest),
                detail: format!("{reason}; no older epoch is whole"),
            }),
        }
    }

    /// The epoch, after reading every byte that restoring it will need.
    fn verified(&self, number: u64) -> Result<Epoch, CheckpointError> {
        let corrupt = |detail: String| CheckpointError::Corrupt {
            what: Key::Epoch(number).to_string(),
            epoch: Some(number),
            detail,
        };
        let state = self.index.epochs.get(&number);
        if let Some(damage) = state.and_then(|state| state.damage.clone()) {
            return Err(corrupt(damage));
        }
        let Some((head, committed)) =
            state.and_then(|state| Some((state.head.as_ref()?, state.committed)))
        else {
            return Err(corrupt("it is missing".into()));
        };
        let payload = self.payload(&self.index, number, None)?;
        let mut operators = BTreeMap::new();
        let mut reader = self.files.reader();
        for (id, entry) in self.index.live(number) {
            let entry = entry.head.as_ref().map_err(|damage| corrupt(damage.clone()))?;
            let bytes = self.read(&mut reader, Key::Entry(id), &entry.blob, number)?;
            if let Owner::Operator { name } = &entry.owner {
                operators.insert(name.to_string(), bytes);
            }
        }
        Ok(Epoch {
            number,
            pipeline: head.pipeline.clone(),
            shards: head.shards,
            positions: payload.positions,
            fingerprints: payload.fingerprints,
            watermarks: payload.watermarks,
            precommits: payload.precommits,
            operators,
            created_at_ms: head.created_at_ms,
            committed,
        })
    }

    pub(super) fn segments(
        &mut self,
        epoch: u64,
        query: &str,
    ) -> Result<Vec<StoredSegment>, CheckpointError> {
        self.usable()?;
        self.kept(epoch)?;
        let mut reader = self.files.reader();
        let mut segments = Vec::new();
        for (id, entry) in self.index.live(epoch) {
            let head = entry.head.as_ref().map_err(|damage| CheckpointError::Corrupt {
                what: Key::Entry(id).to_string(),
                epoch: Some(epoch),
                detail: damage.clone(),
            })?;
            if let Owner::Pane { query: of, shard, pane } = &head.owner
                && &**of == query
            {
                segments.push(StoredSegment {
                    query: query.to_owned(),
                    shard: *shard,
                    pane: *pane,
                    epoch: id.born,
                    bytes: self.read(&mut reader, Key::Entry(id), &head.blob, epoch)?,
                });
            }
        }
        Ok(segments)
    }

    pub(super) fn kept(&self, epoch: u64) -> Result<(), CheckpointError> {
        if self.index.epochs.contains_key(&epoch) {
            return Ok(());
        }
        let kept: Vec<u64> = self.index.epochs.keys().copied().collect();
        Err(CheckpointError::Order(format!("epoch {epoch} is not kept; kept are {kept:?}")))
    }
}

pub(super) fn newer(what: String, found: impl Into<u32>) -> CheckpointError {
    CheckpointError::NewerFormat { what, found: found.into(), supported: FORMAT_VERSION.into() }
}

/// The name of the ledger that counts, `None` in a directory that has never had one.
pub(super) fn current(dir: &Path) -> Result<Option<String>, CheckpointError> {
    let path = dir.join(CURRENT);
    let text = match fs::read(&path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(CheckpointError::io("read", &path)(source)),
    };
    let corrupt = || CheckpointError::Corrupt {
        what: path.display().to_string(),
        epoch: None,
        detail: "it does not name a ledger".into(),
    };
    let (format, name) =
        text.strip_suffix('\n').and_then(|t| t.split_once('\n')).ok_or_else(corrupt)?;
    let version: u32 = format
        .strip_prefix("millpond checkpoint ")
        .and_then(|version| version.parse().ok())
        .ok_or_else(corrupt)?;
    if version > FORMAT_VERSION.into() {
        return Err(newer(path.display().to_string(), version));
    }
    serial(name).ok_or_else(corrupt)?;
    Ok(Some(name.to_owned()))
}

/// Makes `name` the ledger that counts, in one step.
pub(super) fn set_current(dir: &Path, name: &str) -> Result<(), CheckpointError> {
    let text = format!("millpond checkpoint {FORMAT_VERSION}\n{name}\n");
    replace_file(dir, CURRENT, text.as_bytes())
}

pub(super) fn serial(ledger: &str) -> Option<u64> {
    ledger.strip_prefix(LEDGER_PREFIX)?.parse().ok()
}

pub(super) fn ledger_name(serial: u64) -> String {
    format!("{LEDGER_PREFIX}{serial:06}")
}

/// Sets a directory up that has never held an epoch.
fn create(dir: &Path, mark: &HeadMark, files: &SegmentFiles) -> Result<String, CheckpointError> {
    // The first epoch comes after CURRENT, so with either of these there was a CURRENT.
    let lost = match mark.epoch() {
        Some(epoch) => Some(format!("the file is missing, but epoch {epoch} was written here")),
        None if files.list()?.is_empty() => None,
        None => Some("the file is missing, but there are segment files".to_owned()),
    };
    if let Some(detail) = lost {
        let what = dir.join(CURRENT).display().to_string();
        return Err(CheckpointError::Corrupt { what, epoch: mark.epoch(), detail });
    }
    let name = ledger_name(1);
    remove_other_ledgers(dir, "")?;
    Ledger::open(&dir.join(&name))?.sync_all()?;
    sync_dir(dir)?;
    set_current(dir, &name)?;
    Ok(name)
}

/// Removes ledgers that a crash left half written or no longer needed.
pub(super) fn remove_other_ledgers(dir: &Path, keep: &str) -> Result<(), CheckpointError> {
    let error = |source| CheckpointError::io("list", dir)(source);
    for entry in fs::read_dir(dir).map_err(error)? {
        let entry = entry.map_err(error)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name != keep && serial(&name).is_some() {
            let path = entry.path();
            fs::remove_dir_all(&path).map_err(CheckpointError::io("remove", &path))?;
        }
    }
    Ok(())
}

/// See [`CheckpointStore::set_aside`](super::CheckpointStore::set_aside).
pub(super) fn set_aside(dir: &Path) -> Result<Option<PathBuf>, CheckpointError> {
    if !dir.exists() {
        return Ok(None);
    }
    let _lock = DirectoryLock::acquire(dir)?;
    let error = |source| CheckpointError::io("list", dir)(source);
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(error)? {
        let name = entry.map_err(error)?.file_name();
        let text = name.to_string_lossy();
        if serial(&text).is_some() || [CURRENT, HEAD, SEGMENTS].contains(&&*text) {
            found.push(name);
        }
    }
    if found.is_empty() {
        return Ok(None);
    }
    // CURRENT last: without it, what is left would look like damage, not like a fresh directory.
    found.sort_by_key(|name| name == CURRENT);
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let target = dir.join(format!("set-aside-{}", since.unwrap_or_default().as_millis()));
    fs::create_dir(&target).map_err(CheckpointError::io("create", &target))?;
    for name in found {
        let from = dir.join(&name);
        fs::rename(&from, target.join(&name)).map_err(CheckpointError::io("move", &from))?;
    }
    sync_dir(&target)?;
    sync_dir(dir)?;
    Ok(Some(target))
}
