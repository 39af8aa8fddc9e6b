//! The store: opening, reading back and verifying.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::error::CheckpointError;
use super::files::{SegmentFiles, replace_file, sync_dir};
use super::index::Index;
use super::ledger::Ledger;
use super::lock::DirectoryLock;
use super::mark::{HEAD, HeadMark};
use super::model::{Epoch, Fallback, Latest, StoreOptions, StoredSegment};
use super::read::{StateReader, damage, load, newer, payload};
use super::record::FORMAT_VERSION;
use super::table::Owner;

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
        self.index = load(&ledger, &self.files)?;
        self.ledger = Some(ledger);
        Ok(())
    }

    pub(super) fn ledger_mut(&mut self) -> Result<&mut Ledger, CheckpointError> {
        let closed =
            CheckpointError::Ledger { dir: self.dir.clone(), detail: "it is not open".into() };
        self.ledger.as_mut().ok_or(closed)
    }

    pub(super) fn ledger(&self) -> Result<&Ledger, CheckpointError> {
        self.ledger.as_ref().ok_or_else(|| CheckpointError::Ledger {
            dir: self.dir.clone(),
            detail: "it is not open".into(),
        })
    }

    pub(super) fn reader(&self) -> Result<StateReader<'_>, CheckpointError> {
        Ok(StateReader::new(self.ledger()?, &self.files))
    }

    /// Removes files that no entry names: what a crash left between writing a file and writing
    /// the ledger. Nothing is removed while anything is damaged, since then it is not known
    /// what the damaged entries name.
    pub(super) fn sweep(&self) -> Result<(), CheckpointError> {
        let damaged = self.index.epochs.values().any(|state| state.damage.is_some())
            || self.index.tables.values().any(|table| table.blob.is_err())
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
            match damage(self.verified(number))? {
                Ok(epoch) => return Ok(Some(Latest { epoch, fallback })),
                Err(damage) => {
                    let known = self.index.epochs.get(&number).and_then(|s| s.damage.clone());
                    let reason = known.unwrap_or(damage);
                    tracing::warn!(epoch = number, reason, "checkpoint epoch is damaged");
                    if let Some(state) = self.index.epochs.get_mut(&number) {
                        state.damage = Some(reason.clone());
                    }
                    fallback.get_or_insert(Fallback { newest: number, reason });
                }
            }
        }
        match fallback {
            None => Ok(None),
            Some(Fallback { newest, reason }) => {
                Err(self.damaged(newest, format!("{reason}; no older epoch is whole")))
            }
        }
    }

    /// The epoch, after reading every byte that restoring it will need.
    fn verified(&self, number: u64) -> Result<Epoch, CheckpointError> {
        self.undamaged(number)?;
        let state = self.index.epochs.get(&number);
        let Some((head, committed)) =
            state.and_then(|state| Some((state.head.as_ref()?, state.committed)))
        else {
            return Err(self.damaged(number, "it is missing".into()));
        };
        let mut reader = self.reader()?;
        let payload = payload(&mut reader, number, head)?;
        let mut operators = BTreeMap::new();
        for (id, entry) in self.index.live(number) {
            let bytes = reader.entry(id, &entry.blob, number)?;
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
        self.undamaged(epoch)?;
        let mut reader = self.reader()?;
        let mut segments = Vec::new();
        for (id, entry) in self.index.live(epoch) {
            if let Owner::Pane { query: of, shard, pane } = &entry.owner
                && &**of == query
            {
                segments.push(StoredSegment {
                    query: query.to_owned(),
                    shard: *shard,
                    pane: *pane,
                    epoch: id.born,
                    bytes: reader.entry(id, &entry.blob, epoch)?,
                });
            }
        }
        Ok(segments)
    }

    /// An error if the epoch is known to be damaged.
    pub(super) fn undamaged(&self, epoch: u64) -> Result<(), CheckpointError> {
        match self.index.epochs.get(&epoch).and_then(|state| state.damage.clone()) {
            Some(damage) => Err(self.damaged(epoch, damage)),
            None => Ok(()),
        }
    }

    fn damaged(&self, epoch: u64, detail: String) -> CheckpointError {
        CheckpointError::Corrupt {
            what: self.dir.display().to_string(),
            epoch: Some(epoch),
            detail,
        }
    }

    pub(super) fn kept(&self, epoch: u64) -> Result<(), CheckpointError> {
        if self.index.epochs.contains_key(&epoch) {
            return Ok(());
        }
        let kept: Vec<u64> = self.index.epochs.keys().copied().collect();
        Err(CheckpointError::Order(format!("epoch {epoch} is not kept; kept are {kept:?}")))
    }
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
