//! What an epoch holds: the plain data that a pipeline hands over and gets back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::source::PartitionId;

/// A durable point of the whole pipeline: every source position, and everything that has to be
/// known to go on from there as if nothing had happened.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Epoch {
    /// Rises with every epoch, not necessarily by one.
    pub number: u64,
    /// The pipeline's name.
    pub pipeline: String,
    /// How many shards the window state was split into. Segments carry the shard that wrote
    /// them; restoring on another number of shards means rewriting
    /// (see [`EpochWrite::replace_all`]).
    pub shards: u32,
    /// Where each partition is read from next.
    pub positions: BTreeMap<PartitionId, Position>,
    /// Query name to its plan's fingerprint.
    pub fingerprints: BTreeMap<String, String>,
    /// Query name to its watermark, microseconds since the Unix epoch.
    pub watermarks: BTreeMap<String, i64>,
    /// Files that are in place but that no table's log names yet.
    pub precommits: Vec<PreCommit>,
    /// State of operators that is not windowed, by a name such as `detector/traffic_spike`.
    pub operators: BTreeMap<String, Vec<u8>>,
    /// Wall clock when the epoch was taken, milliseconds since the Unix epoch.
    pub created_at_ms: i64,
    /// Whether the pre-commits are known to have reached their tables. Advisory: `false` may
    /// only mean that the process ended before it could say so. Ignored by
    /// [`CheckpointStore::write`](super::CheckpointStore::write).
    pub committed: bool,
}

/// How far one partition has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The next offset to read.
    pub next: i64,
    /// The largest event time seen, microseconds since the Unix epoch.
    pub max_event_time: Option<i64>,
}

/// One table's part of an epoch: data files that exist, and the commit that will name them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PreCommit {
    /// The sink's name.
    pub sink: String,
    /// The table's path or URI.
    pub table: String,
    /// Delta `add` actions, as the log will hold them.
    pub adds: Vec<serde_json::Value>,
    /// Rows in those files.
    pub rows: u64,
    /// Bytes of those files.
    pub bytes: u64,
    /// Delta `txn` actions of the same commit: application id and version.
    pub transactions: Vec<(String, i64)>,
    /// The versions that the table had of them when the files were made: what a late commit must
    /// still find, or somebody else has written meanwhile.
    pub expected: Vec<(String, Option<i64>)>,
    /// Of sinks that are no append-only Delta tables: rows that wait in a file beside the ledger,
    /// as the sink describes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staged: Option<serde_json::Value>,
}

/// Everything that becomes durable together.
#[derive(Clone, Debug, PartialEq)]
pub struct EpochWrite {
    /// The epoch itself, with *all* its operators; those that did not change are not written
    /// again, those that are missing are forgotten.
    pub epoch: Epoch,
    /// Queries whose earlier segments all go, on every shard and pane. Applied first; used by
    /// the first epoch after a restart on another number of shards, and for queries that are gone.
    pub replace_all: BTreeSet<String>,
    /// Panes whose earlier segments go. Applied second, so a pane that is closed here and also
    /// written here holds what is written here only.
    pub closed: Vec<PaneClosed>,
    /// What changed since the epoch before, applied last and in this order.
    pub segments: Vec<SegmentWrite>,
}

impl EpochWrite {
    /// An epoch that leaves all window state as it was.
    pub fn new(epoch: Epoch) -> Self {
        Self { epoch, replace_all: BTreeSet::new(), closed: Vec::new(), segments: Vec::new() }
    }
}

/// One piece of window state: the groups of a pane that changed since the last epoch, or all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentWrite {
    /// The query's name.
    pub query: String,
    /// The shard that wrote it.
    pub shard: u32,
    /// The pane: its start, microseconds since the Unix epoch.
    pub pane: i64,
    /// Whether this replaces all earlier segments of the same query, shard and pane.
    pub whole: bool,
    /// The state itself; this room does not look inside.
    pub bytes: Vec<u8>,
    /// How many groups the bytes hold; only reported.
    pub groups: u64,
}

/// A pane that was emitted and whose state can go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaneClosed {
    /// The query's name.
    pub query: String,
    /// The shard that held it.
    pub shard: u32,
    /// The pane: its start, microseconds since the Unix epoch.
    pub pane: i64,
}

/// A segment read back, its checksum verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSegment {
    /// The query's name.
    pub query: String,
    /// The shard that wrote it.
    pub shard: u32,
    /// The pane: its start, microseconds since the Unix epoch.
    pub pane: i64,
    /// The epoch that wrote it.
    pub epoch: u64,
    /// What was written.
    pub bytes: Vec<u8>,
}

/// The epoch to go on from.
#[derive(Clone, Debug, PartialEq)]
pub struct Latest {
    /// The newest epoch that verifies.
    pub epoch: Epoch,
    /// Set when that is *not* the newest epoch that was acknowledged. The tables may then already
    /// hold what came after: go on only after comparing their `txn` versions with this epoch's
    /// positions, and after [`CheckpointStore::discard_after`](super::CheckpointStore::discard_after).
    pub fallback: Option<Fallback>,
}

/// Why an older epoch was returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fallback {
    /// The newest epoch that was acknowledged as durable.
    pub newest: u64,
    /// What is wrong with it.
    pub reason: String,
}

/// What one write cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteStats {
    /// The epoch's number.
    pub epoch: u64,
    /// Bytes of state and of the epoch's own record that were written, without framing.
    pub bytes: u64,
    /// Segments written (window state and changed operators).
    pub segments: u64,
    /// Files written beside the ledger.
    pub files: u64,
    /// From the call to the return, durable.
    pub took: Duration,
}

/// Sizes that shape the store. The defaults suit state from kilobytes to gigabytes.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// A piece of state up to this many bytes is kept in the ledger, unless the pieces of that
    /// size in one epoch add up to more than 256 KiB; all other state is in files beside it.
    pub inline_bytes: usize,
    /// State from this many bytes on gets a file of its own, so that its space comes back the
    /// moment it is dead; what is smaller shares one file per epoch, which costs one fsync.
    pub own_file_bytes: usize,
    /// The ledger is rewritten into a fresh one when its log has grown to this size and to four
    /// times what it was after the last rewrite.
    pub ledger_bytes: u64,
    /// Shared files are compacted when this many of their bytes are dead, and at least as many
    /// as are live.
    pub dead_bytes: u64,
    /// How many epochs stay restorable, at least two.
    pub keep_epochs: usize,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            inline_bytes: 64 * 1024,
            own_file_bytes: 1024 * 1024,
            ledger_bytes: 16 * 1024 * 1024,
            dead_bytes: 64 * 1024 * 1024,
            keep_epochs: 2,
        }
    }
}
