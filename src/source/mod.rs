//! Sources: where bytes arrive, with their partition and position. I/O only.
//!
//! Whatever the source, a reader sees a *split*: an ordered sequence of records, each with a
//! position that strictly rises. [`SplitReader`] is what a split can do. Sources whose format is
//! columns already (Parquet files, Delta tables) hand out Arrow batches instead of records.
//!
//! | source | its position is | after a restart |
//! |---|---|---|
//! | [`kafka`] | the offset | reads on from any offset |
//! | [`files`] | file number << 40 \| record in the file | reads on from any record |
//! | [`delta`] | table version << 40 \| row in the version | reads on from any row |
//! | [`rate`] | the value | makes the same rows from any value |
//! | [`socket`] | lines so far | what was lost is lost: at most once |
//!
//! [`table`] reads what does not stream: the static tables that queries join with.

mod columns;
pub mod delta;
mod error;
pub mod files;
pub mod kafka;
mod keep;
mod meta;
pub mod rate;
pub mod socket;
pub mod table;
mod wake;

use std::fmt;
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use serde::{Deserialize, Serialize};

pub use error::SourceError;
pub use meta::{Envelope, Header, Headers, RecordMeta, TimestampType};

/// How many bits of a position count the records inside a file or a table version: 2^40 records
/// a file, 2^23 files or versions a source.
pub const RECORD_BITS: u32 = 40;
/// The most files or versions a position can number.
pub const MAX_SEQUENCE: i64 = i64::MAX >> RECORD_BITS;

/// The position of record `record` of file or version `sequence`.
///
/// Saturates, so that no input makes a position that is smaller than an earlier one.
pub fn position(sequence: i64, record: u64) -> i64 {
    let record = record.min((1 << RECORD_BITS) - 1).cast_signed();
    (sequence.clamp(0, MAX_SEQUENCE) << RECORD_BITS) | record
}

/// The file or version number and the record number of a position.
pub fn parse_position(position: i64) -> (i64, u64) {
    let position = position.max(0);
    (position >> RECORD_BITS, (position & ((1 << RECORD_BITS) - 1)).cast_unsigned())
}

/// One record as a reader sees it, borrowed from the source's buffer for the time of a callback.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// Where it stands in its split; strictly rising.
    pub offset: i64,
    /// The value; `None` is a tombstone.
    pub payload: Option<&'a [u8]>,
    /// The key, if the source has keys.
    pub key: Option<&'a [u8]>,
    /// What else is known of it: metadata columns and dead letters need it.
    pub meta: RecordMeta<'a>,
}

impl<'a> Record<'a> {
    /// A record of nothing but bytes.
    pub fn plain(offset: i64, payload: &'a [u8]) -> Self {
        Self { offset, payload: Some(payload), key: None, meta: RecordMeta::default() }
    }
}

/// What a [`SplitReader::take`] came to.
#[derive(Debug, Default)]
pub struct Taken {
    /// Records shown.
    pub messages: usize,
    /// The position that the next record will have at the least; a reader's position moves up to
    /// it. For instance past the end of a file, or past records that nobody is shown.
    pub end: Option<i64>,
    /// Parts of the input that are no records and never will be: one dead letter each. They stand
    /// behind all records of the same take, and a reader's position moves past their offsets as it
    /// does past a record's.
    pub damaged: Vec<Damaged>,
    /// Something went wrong. What was shown before stays shown.
    pub error: Option<SourceError>,
    /// The limit of a trigger has been reached: nothing more before the next
    /// [`SplitReader::barrier`].
    pub limited: bool,
    /// A bounded run's input has ended: nothing will ever follow.
    pub finished: bool,
}

/// What a [`SplitReader::take_columns`] came to.
#[derive(Debug, Default)]
pub struct ColumnsTaken {
    /// Rows, in the source's declared schema (projected). Never empty.
    pub batch: Option<RecordBatch>,
    /// The position of the batch's first row; its rows are numbered from there.
    pub first: i64,
    /// The position after the batch and the gaps behind it, which a reader's position moves up to;
    /// not past what is damaged. Without a batch, `None` is "as before".
    pub next: Option<i64>,
    /// The file that the rows are from, for metadata columns.
    pub file: Option<Arc<str>>,
    /// When that file was last modified, microseconds since the Unix epoch.
    pub modified_us: Option<i64>,
    /// See [`Taken::damaged`]; never together with a batch.
    pub damaged: Vec<Damaged>,
    /// Something went wrong.
    pub error: Option<SourceError>,
    /// See [`Taken::limited`].
    pub limited: bool,
    /// See [`Taken::finished`].
    pub finished: bool,
}

/// A part of the input that cannot be read: the rest of a truncated archive, a Parquet file
/// without a footer, a line longer than the source accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damaged {
    /// Its position; it has one of its own.
    pub offset: i64,
    /// A fixed name, for dead letters and metric labels: `unreadable_file`, `oversized` ...
    pub reason: &'static str,
    /// In words.
    pub error: String,
    /// The file.
    pub file: Option<Arc<str>>,
    /// The line, counted from 1, where the damage begins.
    pub line: Option<u64>,
    /// The first bytes of it, if there are any that help.
    pub payload: Vec<u8>,
}

/// One split of a source, as its reader uses it.
pub trait SplitReader: Send {
    /// Shows up to `limit` records that are here now, without blocking for long. Every record
    /// shown is consumed, in rising order of their offsets.
    fn take(&mut self, limit: usize, visit: &mut dyn FnMut(Record<'_>)) -> Taken;

    /// For formats that are columns already: a batch of about `limit` rows at most, without
    /// blocking for long. `None` for splits of records, which are to be read by
    /// [`SplitReader::take`]; `Some` always, or never.
    fn take_columns(&mut self, _limit: usize) -> Option<ColumnsTaken> {
        None
    }

    /// `wake` is called, from any thread, when there may be something after there was nothing. It
    /// is quick and does not call back. Sources that are polled (files) may never call it: a
    /// reader looks again by itself every now and then.
    fn on_ready(&mut self, wake: Box<dyn Fn() + Send + Sync>);

    /// Reads on from `next`, a position this split had before, or 0 for its beginning.
    fn seek(&mut self, next: i64) -> Result<(), SourceError>;

    /// How much is known to be left to read, in [`SplitReader::backlog_unit`]s.
    fn backlog(&self) -> Option<u64>;

    /// What [`SplitReader::backlog`] counts.
    fn backlog_unit(&self) -> BacklogUnit {
        BacklogUnit::Records
    }

    /// An epoch was cut here: limits per trigger start over.
    fn barrier(&mut self, epoch: u64);

    /// Everything before `next` is durable *and* committed: what is kept for a replay (source
    /// files to be archived or deleted, a discovery log's old entries) may go.
    fn durable(&mut self, next: i64);

    /// Fixes, once, what a bounded run reads: what is here now. Returns the position where it
    /// ends (exclusive). Refused by sources that have no end.
    fn bound(&mut self) -> Result<i64, SourceError>;

    /// What keeps the source from reading now, in words, while it tries again by itself.
    fn trouble(&self) -> Option<String> {
        None
    }

    /// Whether a restart can read again what was read before. `false`: at most once.
    fn is_replayable(&self) -> bool {
        true
    }
}

/// What a backlog is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BacklogUnit {
    /// Records or rows.
    Records,
    /// Files.
    Files,
    /// Versions of a table.
    Versions,
}

impl BacklogUnit {
    /// As a metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Records => "records",
            Self::Files => "files",
            Self::Versions => "versions",
        }
    }
}

/// One partition of a source: the unit of order, of position and of watermark.
///
/// Shown as `source/split`, for instance `logs/web-logs-3`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PartitionId {
    /// The source's name in the configuration.
    pub source: Arc<str>,
    /// What the source itself calls the partition; for Kafka `topic-partition`.
    pub split: Arc<str>,
}

impl PartitionId {
    /// A partition named `split` of the source named `source`.
    pub fn new(source: impl Into<Arc<str>>, split: impl Into<Arc<str>>) -> Self {
        Self { source: source.into(), split: split.into() }
    }
}

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.source, self.split)
    }
}

/// A partition is a map key in checkpoints, so it is written as its shown form. A source's name
/// holds no slash (the configuration refuses one), so the first slash parts the two.
impl Serialize for PartitionId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PartitionId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.split_once('/') {
            Some((source, split)) => Ok(Self::new(source, split)),
            None => Err(serde::de::Error::custom(format!("'{text}' is not source/split"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_rise_with_file_and_record_and_read_back() {
        let known = [(0, 0), (0, 1), (0, (1 << 40) - 1), (1, 0), (7, 12), (MAX_SEQUENCE, 3)];
        let mut last = -1;
        for (sequence, record) in known {
            let at = position(sequence, record);
            assert!(at > last);
            assert_eq!(parse_position(at), (sequence, record));
            last = at;
        }
    }

    #[test]
    fn what_does_not_fit_a_position_saturates() {
        assert_eq!(position(1, u64::MAX), position(2, 0) - 1);
        assert_eq!(parse_position(position(i64::MAX, u64::MAX)).0, MAX_SEQUENCE);
        assert_eq!(parse_position(-5), (0, 0));
    }
}
