//! `HEAD`: the newest acknowledged epoch, kept outside the ledger.
//!
//! A database that finds its last records damaged takes them for an unfinished write and drops
//! them, so a ledger that lost its newest epoch looks like one that never had it. The mark is
//! what tells the two apart. It is written after the ledger and not fsynced: should a power
//! failure leave an older mark behind, only this cross-check gets weaker.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::error::CheckpointError;

pub(super) const HEAD: &str = "HEAD";
const MAGIC: [u8; 8] = *b"MILLHEAD";
const BYTES: usize = 20;

#[derive(Debug)]
pub(super) struct HeadMark {
    path: PathBuf,
    file: File,
    epoch: Option<u64>,
}

impl HeadMark {
    pub(super) fn open(dir: &Path) -> Result<Self, CheckpointError> {
        let path = dir.join(HEAD);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(CheckpointError::io("open", &path))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(CheckpointError::io("read", &path))?;
        let epoch = parse(&bytes);
        if epoch.is_none() && !bytes.is_empty() {
            // Torn by a power failure in the middle of the write, or damaged: no mark.
            tracing::warn!(path = %path.display(), "mark of the newest epoch is unreadable");
        }
        Ok(Self { path, file, epoch })
    }

    /// The newest epoch that was acknowledged, as far as known.
    pub(super) fn epoch(&self) -> Option<u64> {
        self.epoch
    }

    /// Notes `epoch`. The ledger already holds it (or, going back, still does).
    pub(super) fn set(&mut self, epoch: u64) -> io::Result<()> {
        let mut bytes = [0; BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..16].copy_from_slice(&epoch.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..16]);
        bytes[16..].copy_from_slice(&crc.to_le_bytes());
        // One small write at the start of the file: a killed process leaves the old or the new.
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&bytes)?;
        self.epoch = Some(epoch);
        Ok(())
    }

    /// Notes an older epoch, durably: the ledger is about to lose what came after it.
    pub(super) fn set_back(&mut self, epoch: u64) -> Result<(), CheckpointError> {
        self.set(epoch)
            .and_then(|()| self.file.sync_data())
            .map_err(CheckpointError::io("write", &self.path))
    }
}

fn parse(bytes: &[u8]) -> Option<u64> {
    let bytes: &[u8; BYTES] = bytes.try_into().ok()?;
    let (body, crc) = bytes.split_at(16);
    if body[..8] != MAGIC || crc32fast::hash(body).to_le_bytes() != crc {
        return None;
    }
    Some(u64::from_le_bytes(body[8..].try_into().ok()?))
}
