//! One process per checkpoint directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use super::error::CheckpointError;

/// An advisory lock on `LOCK` in the checkpoint directory, held until dropped; the kernel lets go
/// of it whichever way the process ends. sled locks its own file too, but that file is replaced
/// whenever the ledger is rewritten, so the directory has a lock of its own.
#[derive(Debug)]
pub(super) struct DirectoryLock {
    _file: File,
}

impl DirectoryLock {
    pub(super) fn acquire(dir: &Path) -> Result<Self, CheckpointError> {
        let path = dir.join("LOCK");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(CheckpointError::io("open", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let holder =
                    file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
                return Err(CheckpointError::Locked { dir: dir.to_path_buf(), holder });
            }
            Err(TryLockError::Error(source)) => {
                return Err(CheckpointError::Io { action: "lock", path, source });
            }
        }
        // The number only serves the other process's error message, so a full disk that refuses
        // it is no reason to refuse the lock.
        let note = file
            .set_len(0)
            .and_then(|()| file.seek(SeekFrom::Start(0)))
            .and_then(|_| writeln!(file, "{}", std::process::id()));
        if let Err(error) = note {
            tracing::debug!(path = %path.display(), %error, "lock file carries no process id");
        }
        Ok(Self { _file: file })
    }
}
