//! Stateful operators: what every one of them can do, whatever it computes.
//!
//! A query's plan is a graph of operators joined by feeds (filters and projections). An operator is
//! split into shards by key. Beside each sender stands a [`Router`], which turns a batch into what
//! the shards want to see of it; each shard is an [`Operator`] with state of its own.
//!
//! ```text
//! rows --Router--> a part for each shard --Operator--> rows of the operator's output
//! ```
//!
//! Operators are plain data structures: no I/O, one thread at a time, and no clock but where state
//! is kept by processing time. What is due and when is their caller's business: rows and watermarks
//! in any order; at a barrier first [`Operator::trigger`], then [`Operator::snapshot`].

pub mod dedup;
mod error;
mod index;
pub mod join;
mod keyed;
mod segment;
#[cfg(test)]
mod testing;
mod wall;

use arrow::array::RecordBatch;

pub use dedup::{DedupPlan, Keep};
pub use error::OperatorError;
pub use join::{JoinKind, JoinPlan, JoinSide};

/// One shard of a stateful operator.
pub trait Operator: Send {
    /// Takes rows of input `input`, as that input's [`Router`] made them for this shard. Results
    /// that are final at once are pushed to `out`.
    ///
    /// # Errors
    /// [`OperatorError::Rows`] for a batch of another plan, [`OperatorError::Evaluate`] if an
    /// expression fails. The operator must then not be used on.
    fn rows(
        &mut self,
        input: usize,
        rows: &RecordBatch,
        out: &mut Vec<RecordBatch>,
    ) -> Result<Merged, OperatorError>;

    /// Moves event time on to `watermark` (microseconds; never back): state that can change no
    /// more is dropped, and what it comes to is pushed to `out`, oldest first.
    ///
    /// # Errors
    /// As for [`rows`](Self::rows).
    fn advance(
        &mut self,
        watermark: i64,
        out: &mut Vec<RecordBatch>,
    ) -> Result<Closed, OperatorError>;

    /// A trigger: in update mode pushes the groups that changed since the last one, in complete
    /// mode all groups. In append mode there is nothing to do.
    ///
    /// # Errors
    /// As for [`rows`](Self::rows).
    fn trigger(&mut self, out: &mut Vec<RecordBatch>) -> Result<(), OperatorError>;

    /// What changed since the last snapshot, for the checkpoint. The first one after a
    /// [`restore`](Self::restore) holds all state.
    ///
    /// # Errors
    /// [`OperatorError::Evaluate`] if a segment cannot be made.
    fn snapshot(&mut self) -> Result<StateDelta, OperatorError>;

    /// Replaces the state by what a checkpoint holds: all live segments, of any number of shards,
    /// in the order they were written; of them the keys of shard `keep.0` of `keep.1` are kept.
    /// Since old segments of other shards may stand for keys that are here now, the caller drops
    /// all segments of the operator when the next snapshot is durable.
    ///
    /// # Errors
    /// [`OperatorError::Segment`] for bytes that are no segment, or of another plan.
    fn restore(
        &mut self,
        segments: &[&[u8]],
        watermark: Option<i64>,
        keep: (usize, usize),
    ) -> Result<(), OperatorError>;

    /// Size of the state. May look at all of it: once a second is fine, once a batch is not.
    fn stats(&self) -> StateStats;

    /// The watermark of the last [`advance`](Self::advance) or restore.
    fn watermark(&self) -> Option<i64>;

    /// The watermark of what comes out from now on: older than its own if rows can come out that
    /// were kept for a while. To what follows, rows are late by this one.
    fn output_watermark(&self) -> Option<i64> {
        self.watermark()
    }
}

/// What stands beside each sender of an operator's input.
pub trait Router: Send {
    /// Turns one batch of the input's rows into a part for each of `shards` shards.
    ///
    /// # Errors
    /// An expression fails. The batch then counts nowhere, and the router must not be used on.
    fn route(&mut self, rows: &RecordBatch, shards: usize) -> Result<Routed, OperatorError>;
}

/// A batch, split.
#[derive(Debug, Clone, Default)]
pub struct Routed {
    /// One entry for each shard; `None` where no row belongs to it.
    pub parts: Vec<Option<RecordBatch>>,
    /// Rows that were dropped because their event time is NULL: they belong to no window.
    pub null_time: u64,
}

/// What an operator did with rows, counted in rows of its input.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Merged {
    /// Rows that came after the watermark had passed all they could have belonged to: dropped.
    pub late_rows: u64,
    /// Rows that were used.
    pub rows: u64,
    /// Rows that a deduplication dropped because their key had been seen.
    pub duplicates: u64,
}

/// What a watermark did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Closed {
    /// Windows that were closed; 0 for operators without windows.
    pub windows: u64,
}

/// Size of the state at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StateStats {
    /// Windows that are open and have rows; for other operators, panes.
    pub open_windows: usize,
    /// Groups, keys or rows in them. One that was touched since the last snapshot may count twice.
    pub groups: usize,
    /// Bytes of memory that they hold.
    pub bytes: usize,
}

/// What a snapshot adds to the checkpoint.
///
/// Each delta builds on the one before: a caller that cannot make one durable must go back to the
/// last checkpoint and [`restore`](Operator::restore).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StateDelta {
    /// New segments, oldest pane first.
    pub segments: Vec<Segment>,
    /// Panes that were closed since the last snapshot: their segments can go.
    pub closed: Vec<i64>,
    /// The watermark that the snapshot stands at.
    pub watermark: Option<i64>,
}

/// Some or all state of one pane, encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Names the pane: for windows their start, in microseconds.
    pub pane: i64,
    /// It replaces all earlier segments of the pane; otherwise it adds to them.
    pub whole: bool,
    /// An Arrow IPC stream, LZ4-compressed, behind a header with its checksum.
    pub bytes: Vec<u8>,
    /// Groups, keys or rows in it.
    pub groups: usize,
}
