//! Checkpoints: the durable points that a pipeline restarts from.
//!
//! An [`Epoch`] holds every source position, watermark, pre-commit and piece of operator state of
//! one aligned barrier. [`CheckpointStore::write`] makes it durable as a whole or not at all;
//! only then may its pre-commits be committed to their tables.
//!
//! # What is on disk
//!
//! ```text
//! LOCK                     held while a store is open; carries the holder's process id
//! CURRENT                  format version, and the name of the ledger that counts
//! ledger-000007/           sled: epochs, positions, pre-commits, the index of all state, small state
//! segments/0000000041-00000093.seg    larger state, named by the ledger
//! HEAD                     the newest acknowledged epoch, to notice a ledger that lost its end
//! ```
//!
//! An epoch is written in this order: files (written, fsynced, renamed, directory fsynced), one
//! sled batch that names them, fsync of the ledger, `HEAD`, removal of what no kept epoch needs.
//! A crash before the fsync leaves files that nothing names; they are removed at the next open.
//!
//! State is kept per *(query, shard, pane)* as a row of segments, each with the groups that
//! changed in one epoch. A segment is part of the epochs from the one that wrote it to the one
//! before the one that killed it, so an epoch records only what it adds and kills, and the two
//! newest epochs stay restorable at the price of a single one.
//!
//! Every entry and every piece of state carries a checksum and a format version. An epoch also
//! carries the count and a digest of all it consists of, so that state that vanished is noticed
//! like state that changed.

mod describe;
mod error;
mod files;
mod index;
mod ledger;
mod lock;
mod mark;
mod model;
mod read;
mod record;
mod rotate;
mod store;
mod table;
#[cfg(test)]
mod tests;
mod write;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

pub use describe::{Description, EpochDescription, StateDescription};
pub use error::CheckpointError;
pub use model::{
    Epoch, EpochWrite, Fallback, Latest, PaneClosed, Position, PreCommit, SegmentWrite,
    StoreOptions, StoredSegment, WriteStats,
};

use store::Inner;

/// One pipeline's checkpoints, in one directory.
///
/// Shared between threads as it is; calls take turns. All calls block on the disk, so they belong
/// on a thread that may.
#[derive(Debug)]
pub struct CheckpointStore {
    dir: PathBuf,
    inner: Mutex<Inner>,
}

impl CheckpointStore {
    /// Opens the checkpoints in `dir` with the default sizes, creating the directory if needed.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Locked`] if another process has it open, `NewerFormat` if a newer
    /// Millpond wrote it, `Corrupt` if it cannot be read at all. Damage to single epochs is only
    /// told by [`latest`](Self::latest).
    pub fn open(dir: &Path) -> Result<Self, CheckpointError> {
        Self::open_with(dir, StoreOptions::default())
    }

    /// Like [`open`](Self::open), with sizes of the caller's choice.
    pub fn open_with(dir: &Path, options: StoreOptions) -> Result<Self, CheckpointError> {
        let inner = Inner::open(dir, options)?;
        Ok(Self { dir: dir.to_path_buf(), inner: Mutex::new(inner) })
    }

    /// The directory given to [`open`](Self::open).
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The newest epoch that is whole, after reading and verifying all of its state; `None` in a
    /// directory that has never held one.
    ///
    /// When the newest acknowledged epoch is damaged and the one before is whole, that one is
    /// returned *with* [`Latest::fallback`]. Going on from it is only right if the tables do not
    /// yet hold what came after, which their `txn` versions tell; after that comparison
    /// [`discard_after`](Self::discard_after) has to be called before anything is written.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Corrupt`] when no kept epoch is whole.
    pub fn latest(&self) -> Result<Option<Latest>, CheckpointError> {
        self.inner().latest()
    }

    /// Makes an epoch durable: all of it, or after an error nothing of it.
    ///
    /// After an error the store stays usable. The same epoch can be written again, and has to be
    /// if its segments are not to be lost, since later epochs build on it.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Io`] if the disk refuses, `Order` if the number does not rise or if
    /// damage found by [`latest`](Self::latest) has not been discarded.
    pub fn write(&self, epoch: &EpochWrite) -> Result<WriteStats, CheckpointError> {
        self.inner().write(epoch)
    }

    /// The segments of `query` that `epoch` consists of, in the order in which they were written,
    /// of all shards.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Corrupt`] naming the file or entry that does not verify, `Order` if the
    /// epoch is not kept any more.
    pub fn segments(
        &self,
        epoch: &Epoch,
        query: &str,
    ) -> Result<Vec<StoredSegment>, CheckpointError> {
        self.inner().segments(epoch.number, query)
    }

    /// Notes that the pre-commits of `epoch` reached their tables. Advisory, and not durable
    /// before the next epoch is; an epoch that is not kept any more is ignored.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Io`] as for [`write`](Self::write).
    pub fn mark_committed(&self, epoch: u64) -> Result<(), CheckpointError> {
        self.inner().mark_committed(epoch)
    }

    /// Forgets every epoch after `epoch`, and that there were any. This is how a caller accepts a
    /// [`Fallback`], after it has made sure that no table holds what is forgotten.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Order`] if `epoch` is not kept, `Corrupt` if it is itself damaged.
    pub fn discard_after(&self, epoch: u64) -> Result<(), CheckpointError> {
        self.inner().discard_after(epoch)
    }

    /// What is kept, for people and for `/api`.
    ///
    /// # Errors
    ///
    /// As for opening, if the ledger has to be opened again after a failed write.
    pub fn describe(&self) -> Result<Description, CheckpointError> {
        self.inner().describe()
    }

    /// Moves everything that is in a checkpoint directory into `set-aside-<milliseconds>` below
    /// it, so that a fresh store can be opened there, and returns that directory; `None` if there
    /// was nothing. For a start without a checkpoint that cannot be read; nothing is deleted.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Locked`] if a process has the directory open, `Io` if a move fails.
    pub fn set_aside(dir: &Path) -> Result<Option<PathBuf>, CheckpointError> {
        store::set_aside(dir)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // A panic while the lock was held leaves `suspect` set if the ledger was being changed,
        // and then the next call starts from what is on disk.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
