//! The ledger: one sled database, used so that it keeps its promises.
//!
//! What sled 0.34.7 does and does not do, and what is done about it here:
//!
//! * `flush` writes with `sync_file_range`, which flushes neither the file's length nor the
//!   drive's cache, and nothing else in sled fsyncs when its own flusher is off. So every
//!   [`apply`](Ledger::apply) ends with an `fdatasync` of sled's file through a handle of our own.
//! * Pages over 128 KiB go to files in `blobs/` that are never fsynced. Values are split into
//!   chunks so small that no page grows to that size.
//! * Every key written leaves kilobytes of garbage, which later calls free a little at a time:
//!   epochs of thousands of keys were measured to leave 17 MB each, for good. So an epoch is a
//!   handful of keys however much state it has, and the number of their chunks is bounded.
//! * Only its flusher thread frees space for certain. The ledger is rewritten into a fresh one
//!   (see `rotate`) when its log has grown.
//! * A kill during recovery leaves `snap.*.generating`, which the next recovery takes for the
//!   newest snapshot and calls corruption. They are removed before sled looks.
//! * After one I/O error a database refuses everything for good, so it is opened again.
//! * Damage that its checksums do not catch ends in assertions. Panics are caught and reported
//!   as damage.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::error::CheckpointError;
use super::files::sync_dir;
use super::record::Key;

/// The most that is kept as one sled value. sled splits a page once it holds more than 16 values,
/// and merges up to 3 into a neighbour, so 19 of these have to stay below 128 KiB.
const CHUNK_BYTES: usize = 5632;

/// sled's page cache. The ledger is a few megabytes at most.
const CACHE_BYTES: u64 = 16 * 1024 * 1024;

/// How long another owner of sled's own lock is waited for: after a close, a thread of sled's
/// may hold the file for a moment longer.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);

/// One sled database in a directory of its own.
pub(super) struct Ledger {
    /// `None` only while being dropped.
    db: Option<sled::Db>,
    path: PathBuf,
    /// sled's file, opened once more for fsync.
    log: File,
    /// How many chunks each value has.
    chunks: HashMap<Key, u16>,
}

/// Changes that are applied together: a value to set, or `None` to remove.
pub(super) type Changes = Vec<(Key, Option<Vec<u8>>)>;

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // sled's own Debug walks all its pages.
        f.debug_struct("Ledger").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Ledger {
    /// Opens the database in `path`, or makes one.
    pub(super) fn open(path: &Path) -> Result<Self, CheckpointError> {
        prepare(path)?;
        let started = Instant::now();
        let db = loop {
            let config =
                sled::Config::new().path(path).cache_capacity(CACHE_BYTES).flush_every_ms(None);
            match guarded(path, || config.open()) {
                Ok(db) => break db,
                Err(CheckpointError::Io { source, .. }) if is_lock_error(&source) => {
                    if started.elapsed() > LOCK_PATIENCE {
                        let dir = path.parent().unwrap_or(path).to_path_buf();
                        return Err(CheckpointError::Locked { dir, holder: None });
                    }
                    std::thread::sleep(Duration::from_millis(10));
                }
                Err(error) => return Err(error),
            }
        };
        let log_path = path.join("db");
        let log = File::open(&log_path).map_err(CheckpointError::io("open", &log_path))?;
        let mut ledger =
            Self { db: Some(db), path: path.to_path_buf(), log, chunks: HashMap::new() };
        ledger.chunks = ledger.count_chunks()?;
        Ok(ledger)
    }

    /// Bytes of the log on disk.
    pub(super) fn bytes(&self) -> u64 {
        self.log.metadata().map_or(0, |metadata| metadata.len())
    }

    /// The value of `key`, its chunks put together.
    pub(super) fn get(&self, key: Key) -> Result<Option<Vec<u8>>, CheckpointError> {
        let Some(chunks) = self.chunks.get(&key) else { return Ok(None) };
        let mut value = Vec::new();
        for chunk in 0..*chunks {
            // A missing chunk leaves a value that does not match its checksum.
            if let Some(bytes) = self.with(|db| db.get(chunk_key(key, chunk)))? {
                value.extend_from_slice(&bytes);
            }
        }
        Ok(Some(value))
    }

    /// All keys, in no particular order.
    pub(super) fn keys(&self) -> impl Iterator<Item = Key> {
        self.chunks.keys().copied()
    }

    fn count_chunks(&self) -> Result<HashMap<Key, u16>, CheckpointError> {
        let mut chunks = HashMap::new();
        let keys = self.with(|db| db.iter().keys().collect::<Result<Vec<_>, _>>())?;
        for bytes in keys {
            let parsed = Key::parse(&bytes)
                .and_then(|(key, chunk)| Some((key, u16::from_be_bytes(chunk.try_into().ok()?))));
            let Some((key, chunk)) = parsed else {
                return Err(CheckpointError::Corrupt {
                    what: self.path.display().to_string(),
                    epoch: None,
                    detail: format!("it holds a key of no known kind, {bytes:02x?}"),
                });
            };
            let count = chunks.entry(key).or_insert(0);
            *count = chunk.saturating_add(1).max(*count);
        }
        Ok(chunks)
    }

    /// Applies the changes, all or none, without waiting for the disk.
    pub(super) fn stage(&mut self, changes: &Changes) -> Result<(), CheckpointError> {
        let mut batch = sled::Batch::default();
        let mut counts = Vec::with_capacity(changes.len());
        for (key, value) in changes {
            let mut count: u16 = 0;
            for chunk in value.iter().flat_map(|value| value.chunks(CHUNK_BYTES)) {
                batch.insert(chunk_key(*key, count), chunk);
                count = count.checked_add(1).ok_or_else(|| CheckpointError::Ledger {
                    dir: self.path.clone(),
                    detail: format!("{key} is too large"),
                })?;
            }
            for surplus in count..self.chunks.get(key).copied().unwrap_or(0) {
                batch.remove(chunk_key(*key, surplus));
            }
            counts.push((*key, count));
        }
        self.with(|db| db.apply_batch(batch))?;
        for (key, count) in counts {
            if count == 0 {
                self.chunks.remove(&key);
            } else {
                self.chunks.insert(key, count);
            }
        }
        Ok(())
    }

    /// Makes everything staged durable.
    pub(super) fn sync(&self) -> Result<(), CheckpointError> {
        self.with(|db| db.flush())?;
        self.log.sync_data().map_err(CheckpointError::io("fsync", &self.path.join("db")))
    }

    /// Applies the changes, all or none, and returns when they are durable.
    pub(super) fn apply(&mut self, changes: &Changes) -> Result<(), CheckpointError> {
        self.stage(changes)?;
        fail::fail_point!("checkpoint_ledger_staged");
        self.sync()
    }

    /// Makes a new database durable as a whole: contents, names and directory.
    pub(super) fn sync_all(&self) -> Result<(), CheckpointError> {
        self.sync()?;
        for name in ["db", "conf"] {
            let path = self.path.join(name);
            File::open(&path)
                .and_then(|file| file.sync_all())
                .map_err(CheckpointError::io("fsync", &path))?;
        }
        sync_dir(&self.path)
    }

    fn with<T>(
        &self,
        work: impl FnOnce(&sled::Db) -> Result<T, sled::Error>,
    ) -> Result<T, CheckpointError> {
        match &self.db {
            Some(db) => guarded(&self.path, || work(db)),
            None => Err(CheckpointError::Ledger {
                dir: self.path.clone(),
                detail: "it is being closed".into(),
            }),
        }
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        // Closing flushes, and on a damaged database flushing can hit an assertion.
        if let Some(db) = self.db.take()
            && let Err(error) = guarded(&self.path, || {
                drop(db);
                Ok(())
            })
        {
            tracing::warn!(%error, "checkpoint ledger did not close cleanly");
        }
    }
}

fn chunk_key(key: Key, chunk: u16) -> Vec<u8> {
    let mut bytes = key.to_bytes().to_vec();
    bytes.extend(chunk.to_be_bytes());
    bytes
}

/// Puts the directory in the state that sled's recovery expects.
fn prepare(path: &Path) -> Result<(), CheckpointError> {
    fs::create_dir_all(path).map_err(CheckpointError::io("create", path))?;
    let error = |source| CheckpointError::io("list", path)(source);
    for entry in fs::read_dir(path).map_err(error)? {
        let entry = entry.map_err(error)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            let unfinished = entry.path();
            fs::remove_file(&unfinished).map_err(CheckpointError::io("remove", &unfinished))?;
        }
    }
    // Recovery writes a snapshot, durably, of a log that a killed process may have left in the
    // kernel's cache only: the log first.
    let log = path.join("db");
    match File::open(&log).and_then(|file| file.sync_all()) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(CheckpointError::io("fsync", &log)(source))
        }
        _ => Ok(()),
    }
}

/// sled reports a held lock as an I/O error of no particular kind; only the text tells.
fn is_lock_error(error: &io::Error) -> bool {
    error.to_string().contains("could not acquire lock")
}

/// Runs sled code: its errors in our terms, its panics as damage.
fn guarded<T>(
    path: &Path,
    work: impl FnOnce() -> Result<T, sled::Error>,
) -> Result<T, CheckpointError> {
    // A database that panicked is dropped and opened again from disk, so no state of it that the
    // panic left half changed is looked at.
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(translate(path, error)),
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("no message");
            Err(CheckpointError::Corrupt {
                what: path.display().to_string(),
                epoch: None,
                detail: format!("the database stopped at an inconsistency: {text}"),
            })
        }
    }
}

fn translate(path: &Path, error: sled::Error) -> CheckpointError {
    match error {
        // A log that is cut short, not a file system that refuses.
        sled::Error::Io(source)
            if matches!(
                source.kind(),
                io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData
            ) =>
        {
            CheckpointError::Corrupt {
                what: path.display().to_string(),
                epoch: None,
                detail: source.to_string(),
            }
        }
        sled::Error::Io(source) => CheckpointError::io("use the ledger in", path)(source),
        sled::Error::Corruption { at, .. } => CheckpointError::Corrupt {
            what: path.display().to_string(),
            epoch: None,
            detail: match at {
                Some(at) => format!("the database's checksum does not match at {at}"),
                None => "the database cannot be recovered".into(),
            },
        },
        other => CheckpointError::Ledger { dir: path.to_path_buf(), detail: other.to_string() },
    }
}

#[cfg(test)]
impl Ledger {
    /// The database itself, for tests that damage it.
    pub(super) fn raw(&self) -> &sled::Db {
        // Tests only, and never while it is being dropped.
        self.db.as_ref().expect("open")
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}
