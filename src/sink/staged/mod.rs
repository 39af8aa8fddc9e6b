//! Rows of an epoch on this machine's disk, until the epoch is durable and they may go out.
//!
//! Targets other than a Delta table that is only appended to cannot hold rows that nobody sees.
//! For them an epoch's rows wait here:
//!
//! 1. [`StagedSink::write`] appends batches to a file beside the ledger (Arrow IPC, LZ4).
//! 2. [`StagedSink::prepare`], at the barrier, completes the file, flushes it and its name to the
//!    disk and describes it as [`Staged`], which goes into the ledger as the pre-commit. From here
//!    on the rows may not be lost, whatever is killed.
//! 3. [`StagedSink::commit`], once the epoch is durable, hands the rows to the target, which takes
//!    them together with a [`Marker`](super::Marker) of the epoch. The file goes when the epoch
//!    after it is prepared.
//! 4. After a crash [`StagedSink::recover`] commits what the ledger's last epoch staged, unless the
//!    target's marker says that it is there.
//!
//! What can happen between the steps:
//!
//! - **Killed before the epoch is in the ledger**: the file is named by nobody, the sources are read
//!   again from the epoch before. [`StagedSink::discard_except`] removes it.
//! - **Killed after, before or during the target's commit**: `recover` commits the same rows under
//!   the same epoch and token.
//! - **Killed after the target's commit, before anyone here knew**: `recover` finds the marker with
//!   the token of these rows and does nothing.
//! - **The checkpoint is lost or an older one**: the target's marker is of an unknown ledger, or
//!   ahead of the ledger: [`SinkError::Ahead`] when the target is opened.
//! - **A second daemon**: on the same checkpoint it is kept out by the ledger's lock; on another one
//!   it finds the first one's marker and is refused; where two start at once, the marker is compared
//!   in the same transaction that writes the rows, and the loser is [`SinkError::Fenced`].

mod rows;
mod spill;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use self::rows::{KeptRows, StagedRows};
use self::spill::Spill;
use super::disk;
use super::error::SinkError;
use super::schema::{fit, storage_schema};
use super::target::{CommitInfo, Target, TargetContext, TargetSpec};
use crate::sql::OutputMode;

/// An epoch's rows on disk, as the ledger remembers them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Staged {
    /// The name of the file in the sink's directory; empty if the epoch has no rows.
    pub file: String,
    /// Names these rows among all in the world.
    pub token: String,
    /// Rows in the file.
    pub rows: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// CRC-32 of the file.
    pub crc: u32,
}

/// The staging area of one sink, and its target.
///
/// # Failures
/// - A [`write`](Self::write) that fails has taken no row of its batch; a transient failure may be
///   answered by calling it again.
/// - A [`prepare`](Self::prepare) that fails keeps everything and can be called again.
/// - A [`commit`](Self::commit) that fails can be called again, with the same epoch.
pub struct StagedSink {
    dir: PathBuf,
    context: TargetContext,
    target: Target,
    open: Option<Spill>,
    /// The epoch that waits for its commit.
    prepared: Option<(u64, Staged, Arc<StagedRows>)>,
    /// The file of the epoch before, which the ledger may still name.
    previous: Option<String>,
}

impl StagedSink {
    /// Opens the target, and a staging area for it in a directory of the sink's own below `dir`
    /// (`<checkpoint>/staged`), which is created.
    ///
    /// # Errors
    /// As [`Target::open`].
    pub async fn open(
        dir: &Path,
        spec: TargetSpec,
        context: TargetContext,
    ) -> Result<Self, SinkError> {
        let dir = directory(dir, &context.sink);
        disk::create_dirs(&dir)?;
        let schema = storage_schema(&context.sink, &context.schema)?;
        let context = TargetContext { schema, state_dir: dir.clone(), ..context };
        let target = Target::open(spec, context.clone()).await?;
        Ok(Self { dir, context, target, open: None, prepared: None, previous: None })
    }

    /// Takes the rows of `batch`, which has the columns of the sink's schema.
    ///
    /// # Errors
    /// None of the rows has been taken then. [`SinkError::Io`]: rows could not be put onto the disk
    /// that have to be before more fit into memory. [`SinkError::Data`]: the batch does not fit.
    pub async fn write(&mut self, batch: &RecordBatch) -> Result<(), SinkError> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let batch = fit(batch, &self.context.schema)?;
        let spill = match &mut self.open {
            Some(spill) => spill,
            None => self.open.insert(Spill::new(self.dir.clone(), &self.context.schema)?),
        };
        spill.drain_if_full().await?;
        spill.append(&batch)
    }

    /// Puts everything since the last call onto the disk, names included. Nothing is visible yet.
    ///
    /// # Errors
    /// [`SinkError::Io`]: what is there is kept; call again.
    pub async fn prepare(&mut self, epoch: u64) -> Result<Staged, SinkError> {
        fail::fail_point!("staged::prepare");
        let (staged, memory) = match &mut self.open {
            Some(spill) => spill.finish().await?,
            None => (Staged { token: new_token(), ..Staged::default() }, None),
        };
        self.open = None;
        let rows = StagedRows::new(self.context.schema.clone(), staged.clone(), &self.dir, memory);
        self.prepared = Some((epoch, staged.clone(), Arc::new(rows)));
        fail::fail_point!("staged::prepared");
        Ok(staged)
    }

    /// Makes the rows that [`prepare`](Self::prepare) staged for `epoch` visible. `None`: there was
    /// nothing to do. An epoch without rows leaves no trace in the target, except in complete mode,
    /// where it empties it.
    ///
    /// # Errors
    /// As [`Target::commit`]; after a transient one call again.
    pub async fn commit(&mut self, epoch: u64) -> Result<Option<CommitInfo>, SinkError> {
        let Some((prepared, staged, rows)) = self.prepared.clone() else { return Ok(None) };
        if prepared != epoch {
            return Ok(None);
        }
        let info = if staged.rows == 0 && self.context.mode != OutputMode::Complete {
            None
        } else {
            fail::fail_point!("staged::commit");
            let info = self.target.commit(epoch, &rows).await?;
            fail::fail_point!("staged::committed");
            Some(info)
        };
        // The ledger's newest epoch is this one, so nobody asks for the one before any more.
        let previous = self.previous.replace(staged.file);
        self.prepared = None;
        self.remove(previous.as_deref());
        Ok(info)
    }

    /// Commits what the ledger's last epoch staged, unless the target has it. `committed`: the
    /// ledger knows that it was committed; only a target that forgets is then filled again.
    /// Removes every other file of the sink.
    ///
    /// # Errors
    /// As [`commit`](Self::commit); [`SinkError::Staged`] if the rows are gone or damaged.
    pub async fn recover(
        &mut self,
        epoch: u64,
        staged: &Staged,
        committed: bool,
    ) -> Result<Option<CommitInfo>, SinkError> {
        self.discard_except(std::slice::from_ref(staged))?;
        if staged.rows == 0 && self.context.mode != OutputMode::Complete {
            return Ok(None);
        }
        let there = match self.target.marker().await? {
            Some(marker)
                if marker.is_of(&self.context.instance, epoch, &staged.token)
                    || marker.is_of(&self.context.instance, epoch, "") =>
            {
                true
            }
            // A ledger that is a copy of this one has committed an epoch of the same number.
            Some(marker)
                if marker.instance == self.context.instance
                    && marker.epoch == epoch
                    && !self.context.adopt =>
            {
                return Err(SinkError::Fenced {
                    target: self.target.address(),
                    expected: Some(Box::new(self.context.marker(epoch, &staged.token))),
                    found: Some(Box::new(marker)),
                });
            }
            Some(marker) => marker.instance == self.context.instance && marker.epoch > epoch,
            None => false,
        };
        let forgets = matches!(self.target, Target::Memory(_));
        if there || (committed && !forgets) {
            self.previous = Some(staged.file.clone());
            return Ok(None);
        }
        let schema = self.context.schema.clone();
        let rows = StagedRows::new(schema, staged.clone(), &self.dir, None);
        let verified = rows.clone();
        match disk::blocking(move || verified.verify()).await {
            // What is known to be committed has done its duty; that it is not shown is no loss.
            Err(SinkError::Staged { .. }) if committed => return Ok(None),
            other => other?,
        }
        self.prepared = Some((epoch, staged.clone(), Arc::new(rows)));
        self.commit(epoch).await
    }

    /// Forgets the rows since the last `prepare`, and an epoch that was prepared and did not become
    /// durable.
    pub fn discard(&mut self) {
        if let Some(spill) = self.open.take() {
            spill.discard();
        }
        if let Some((_, staged, _)) = self.prepared.take() {
            self.remove(Some(&staged.file));
        }
    }

    /// Removes every file of this sink but those of `live`, which the ledger names.
    ///
    /// # Errors
    /// [`SinkError::Io`] if the directory cannot be read. A file that cannot be removed is left to
    /// the next start.
    pub fn discard_except(&mut self, live: &[Staged]) -> Result<(), SinkError> {
        let live: BTreeSet<&str> = live.iter().map(|staged| staged.file.as_str()).collect();
        let entries = std::fs::read_dir(&self.dir).map_err(SinkError::io("read", &self.dir))?;
        for entry in entries {
            let entry = entry.map_err(SinkError::io("read", &self.dir))?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.ends_with(".rows") && !live.contains(&*name) {
                self.remove(Some(&name));
            }
        }
        Ok(())
    }

    /// Rows taken since the last `prepare`.
    pub fn pending_rows(&self) -> u64 {
        self.open.as_ref().map_or(0, Spill::rows)
    }

    /// The sink's name.
    pub fn name(&self) -> &str {
        &self.context.sink
    }

    /// The columns as the target gets them.
    pub fn schema(&self) -> &SchemaRef {
        &self.context.schema
    }

    /// The target.
    pub fn target(&mut self) -> &mut Target {
        &mut self.target
    }

    fn remove(&self, file: Option<&str>) {
        if let Some(file) = file.filter(|file| !file.is_empty()) {
            // Best effort: what stays is removed at the next start.
            let _ = std::fs::remove_file(self.dir.join(file));
        }
    }
}

/// Names rows among all in the world: 63 random bits in hexadecimal, because a Delta table keeps
/// them as the version of a transaction.
fn new_token() -> String {
    // Six of the lower half's bits are the version's and variant's; two identifiers make up for it.
    let (one, other) = (Uuid::new_v4().as_u64_pair(), Uuid::new_v4().as_u64_pair());
    format!("{:016x}", (one.0 ^ other.1) >> 1)
}

/// The directory of one sink below the staging directory.
pub fn directory(dir: &Path, name: &str) -> PathBuf {
    dir.join(escape(name))
}

/// A name fit for a file: a sink's may hold characters that a file's may not.
pub(crate) fn escape(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for character in name.chars() {
        if character.is_ascii_alphanumeric() || matches!(character, '_' | '-') {
            escaped.push(character);
        } else {
            for byte in character.encode_utf8(&mut [0; 4]).bytes() {
                escaped.push_str(&format!("%{byte:02X}"));
            }
        }
    }
    escaped
}
