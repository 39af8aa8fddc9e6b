//! What is in a store, for people and for programs.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use super::error::CheckpointError;
use super::model::Fallback;
use super::record::{Key, encode};
use super::store::Inner;
use super::table::Owner;

/// What a store holds. Serialises for `/api`; displays as a few lines of text.
#[derive(Clone, Debug, Serialize)]
pub struct Description {
    /// The checkpoint directory.
    pub dir: PathBuf,
    /// Bytes of the ledger on disk.
    pub ledger_bytes: u64,
    /// Files of larger state beside it.
    pub segment_files: u64,
    /// Their bytes.
    pub segment_file_bytes: u64,
    /// The kept epochs, newest first.
    pub epochs: Vec<EpochDescription>,
    /// The state of the newest epoch by query, and by operator.
    pub state: Vec<StateDescription>,
    /// Why the newest acknowledged epoch cannot be restored, as far as is known without reading
    /// all state.
    pub damage: Option<String>,
}

/// One kept epoch.
#[derive(Clone, Debug, Serialize)]
pub struct EpochDescription {
    /// Its number.
    pub number: u64,
    /// The pipeline's name.
    pub pipeline: String,
    /// When it was taken, milliseconds since the Unix epoch.
    pub created_at_ms: i64,
    /// How long ago that was, by the wall clock.
    pub age_ms: i64,
    /// Number of shards.
    pub shards: u32,
    /// Whether its pre-commits are known to have reached their tables.
    pub committed: bool,
    /// Pieces of state it consists of.
    pub segments: u64,
    /// Their bytes.
    pub state_bytes: u64,
    /// Bytes of positions, watermarks and pre-commits.
    pub record_bytes: u64,
    /// Why it cannot be restored.
    pub damage: Option<String>,
}

/// The state of one query or operator.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StateDescription {
    /// `query/<name>` or `operator/<name>`.
    pub owner: String,
    /// Panes that have state, over all shards.
    pub panes: u64,
    /// Segments of those panes.
    pub segments: u64,
    /// Groups in those segments; a group that changed in two epochs counts twice.
    pub groups: u64,
    /// Bytes of those segments.
    pub bytes: u64,
}

impl Inner {
    pub(super) fn mark_committed(&mut self, epoch: u64) -> Result<(), CheckpointError> {
        self.usable()?;
        if !self.index.epochs.contains_key(&epoch) {
            return Ok(());
        }
        let key = Key::Committed(epoch);
        let value = encode(key, &(), &[]).map_err(|error| self.encoding(error))?;
        self.suspect = true;
        self.ledger_mut()?.stage(&vec![(key, Some(value))])?;
        self.suspect = false;
        if let Some(state) = self.index.epochs.get_mut(&epoch) {
            state.committed = true;
        }
        Ok(())
    }

    pub(super) fn describe(&mut self) -> Result<Description, CheckpointError> {
        self.usable()?;
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| since.as_millis() as i64);
        let mut epochs = Vec::new();
        for (number, state) in self.index.epochs.iter().rev() {
            let head = state.head.as_ref();
            let live = || self.index.live(*number);
            let created_at_ms = head.map_or(0, |head| head.created_at_ms);
            epochs.push(EpochDescription {
                number: *number,
                pipeline: head.map(|head| head.pipeline.clone()).unwrap_or_default(),
                created_at_ms,
                age_ms: now.saturating_sub(created_at_ms),
                shards: head.map_or(0, |head| head.shards),
                committed: state.committed,
                segments: live().count() as u64,
                state_bytes: live().map(|(_, entry)| entry.blob.bytes).sum(),
                record_bytes: head.map_or(0, |head| head.payload.bytes),
                damage: state.damage.clone(),
            });
        }
        let mut state: BTreeMap<String, StateDescription> = BTreeMap::new();
        for (owner, ids) in self.index.owners() {
            let name = match owner {
                Owner::Pane { query, .. } => format!("query/{query}"),
                Owner::Operator { name } => format!("operator/{name}"),
            };
            let line = state
                .entry(name.clone())
                .or_insert_with(|| StateDescription { owner: name, ..Default::default() });
            line.panes += 1;
            line.segments += ids.len() as u64;
            for entry in ids.iter().filter_map(|id| self.index.entry(*id)) {
                line.groups += entry.groups;
                line.bytes += entry.blob.bytes;
            }
        }
        let files = self.files.list()?;
        Ok(Description {
            dir: self.dir.clone(),
            ledger_bytes: self.ledger()?.bytes(),
            segment_files: files.len() as u64,
            segment_file_bytes: files.iter().map(|file| file.bytes).sum(),
            epochs,
            state: state.into_values().collect(),
            damage: self
                .unresolved()
                .map(|Fallback { newest, reason }| format!("epoch {newest}: {reason}")),
        })
    }
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "checkpoints in {}: ledger {}, {} segment files with {}",
            self.dir.display(),
            Bytes(self.ledger_bytes),
            self.segment_files,
            Bytes(self.segment_file_bytes)
        )?;
        if self.epochs.is_empty() {
            writeln!(f, "no epoch yet")?;
        }
        for epoch in &self.epochs {
            write!(f, "epoch {}", epoch.number)?;
            if let Some(damage) = &epoch.damage {
                writeln!(f, " is damaged: {damage}")?;
                continue;
            }
            writeln!(
                f,
                " of pipeline {}, {:.1} s old, {}: {} in {} segments, {} of positions and \
                 pre-commits, {} shards",
                epoch.pipeline,
                epoch.age_ms as f64 / 1000.0,
                if epoch.committed { "committed" } else { "not known to be committed" },
                Bytes(epoch.state_bytes),
                epoch.segments,
                Bytes(epoch.record_bytes),
                epoch.shards
            )?;
        }
        for line in &self.state {
            write!(f, "{}: {}", line.owner, Bytes(line.bytes))?;
            if line.owner.starts_with("query/") {
                write!(
                    f,
                    ", {} panes, {} segments, {} groups",
                    line.panes, line.segments, line.groups
                )?;
            }
            writeln!(f)?;
        }
        match &self.damage {
            Some(damage) => writeln!(f, "damaged: {damage}"),
            None => Ok(()),
        }
    }
}

/// A size as people read it.
struct Bytes(u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
        let mut value = self.0 as f64;
        let mut unit = "B";
        for larger in UNITS {
            if value < 1024.0 {
                break;
            }
            value /= 1024.0;
            unit = larger;
        }
        if unit == "B" { write!(f, "{value} B") } else { write!(f, "{value:.1} {unit}") }
    }
}
