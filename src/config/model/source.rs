//! `[sources.NAME]`: where events come from.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::super::diagnostics::Location;
use super::super::secret::OptionValue;
use super::super::text::TextLocation;
use super::super::units::{serialize_duration, serialize_micros, serialize_optional_duration};
use super::format::FormatSettings;

/// `[sources.NAME]`: a table of events that queries can name.
#[derive(Clone, Debug, Serialize)]
pub struct SourceSettings {
    pub name: String,
    #[serde(flatten)]
    pub kind: SourceKind,
    /// `[sources.NAME.format]`: absent where the source has columns of its own (`rate`, `delta`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<FormatSettings>,
    /// `schema`: the columns as Spark SQL declares them (`ts TIMESTAMP NOT NULL, ip STRING`).
    /// Always there unless the source or its format brings columns of its own: `rate` never has
    /// it, `delta`, text and raw may leave it out.
    #[serde(rename = "schema", skip_serializing_if = "Option::is_none")]
    pub schema_text: Option<String>,
    /// Where `schema_text` stands: for [`Settings::error_at_schema`](super::Settings); the
    /// source's header if there is none.
    #[serde(skip)]
    pub schema_location: TextLocation,
    /// `[sources.NAME.metadata]`: columns that are filled from what surrounds a record, appended
    /// to the declared ones in this order. Names differ from each other.
    #[serde(serialize_with = "serialize_metadata", skip_serializing_if = "Vec::is_empty")]
    pub metadata: Vec<MetadataColumn>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watermark: Option<WatermarkSettings>,
    pub batch: BatchSettings,
    /// `max_record`: records (messages, lines) of more bytes are dead letters. Default 16 MiB.
    #[serde(rename = "max_record")]
    pub max_record_bytes: usize,
    #[serde(skip)]
    pub location: Location,
}

/// Where a source's events come from: `type` and the keys that belong to it.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum SourceKind {
    Kafka(KafkaSettings),
    Files(FilesSettings),
    Socket(SocketSettings),
    Rate(RateSettings),
    Delta(DeltaSourceSettings),
}

impl SourceKind {
    /// As `type` has it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Kafka(_) => "kafka",
            Self::Files(_) => "files",
            Self::Socket(_) => "socket",
            Self::Rate(_) => "rate",
            Self::Delta(_) => "delta",
        }
    }
}

/// The keys of a source of `type = "kafka"`.
#[derive(Clone, Debug, Serialize)]
pub struct KafkaSettings {
    /// `host:port`, separated by commas.
    pub brokers: String,
    /// Without repeats; empty if `topic_pattern` is set, else at least one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub topics: Vec<String>,
    /// A regular expression that a topic's whole name must match; topics that are created later
    /// are read too. Without the leading `^` and trailing `$` that stand for that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic_pattern: Option<String>,
    /// Default `millpond-<name of the pipeline>`.
    pub group_id: String,
    /// Where to start in a partition of which no checkpoint knows. Default earliest.
    pub start: StartPosition,
    /// `[sources.NAME.options]`: passed to librdkafka as they are, by their dotted names. Holds
    /// none that Millpond sets itself.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, OptionValue>,
}

/// `start` of a Kafka source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StartPosition {
    Earliest,
    Latest,
    /// In each partition at the first record whose timestamp is at or after this one, in
    /// microseconds UTC; at its end if there is none.
    #[serde(serialize_with = "serialize_micros")]
    Timestamp(i64),
    /// By topic and partition. Partitions that are not among them are read from their beginning.
    #[serde(serialize_with = "serialize_offsets")]
    Offsets(BTreeMap<(String, i32), StartOffset>),
}

/// Where to start in one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StartOffset {
    /// Spark's -2.
    Earliest,
    /// Spark's -1.
    Latest,
    #[serde(untagged)]
    At(i64),
}

fn serialize_offsets<S: Serializer>(
    offsets: &BTreeMap<(String, i32), StartOffset>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(offsets.len()))?;
    for ((topic, partition), offset) in offsets {
        map.serialize_entry(&format!("{topic}-{partition}"), offset)?;
    }
    map.end()
}

/// The keys of a source of `type = "files"`.
#[derive(Clone, Debug, Serialize)]
pub struct FilesSettings {
    /// A directory, a file, or a glob pattern (`logs/*/part-*.json.gz`).
    pub path: String,
    /// Whether directories inside of it are looked into. Default false.
    pub recursive: bool,
    /// Default auto.
    pub compression: FileCompression,
    /// At most so many files an epoch. Default: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_files_per_trigger: Option<usize>,
    /// Which of the files that are there is read first. Default oldest.
    pub order: FileOrder,
    /// A file is read once its size and time of change have been the same for this long; zero:
    /// at once. Default 1 s.
    #[serde(serialize_with = "serialize_duration")]
    pub settle: Duration,
    /// Time between two looks at the directory. Default 1 s.
    #[serde(serialize_with = "serialize_duration")]
    pub poll_interval: Duration,
    /// Files that were changed longer than this before the newest one are passed over, but for
    /// those that are there at the first start. Default never.
    #[serde(serialize_with = "serialize_optional_duration")]
    pub max_file_age: Option<Duration>,
    /// What becomes of a file once the epoch that holds its last row is committed. Default keep.
    pub after: AfterFile,
}

/// How the bytes of a file are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FileCompression {
    /// By each file's first bytes: gzip, Zstandard, or neither.
    Auto,
    None,
    Gzip,
    Zstd,
}

/// By time of change, then by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FileOrder {
    Oldest,
    Newest,
}

/// What becomes of a file that has been read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AfterFile {
    Keep,
    Delete,
    /// Moved into this directory, under its path relative to the source's.
    Archive(PathBuf),
}

/// The keys of a source of `type = "socket"`.
#[derive(Clone, Debug, Serialize)]
pub struct SocketSettings {
    /// A name or an address; an IPv6 address without brackets.
    pub host: String,
    pub port: u16,
    /// Wait before the first attempt to connect again; doubled for each that follows. Default
    /// 500 ms.
    #[serde(serialize_with = "serialize_duration")]
    pub initial_backoff: Duration,
    /// Default 30 s.
    #[serde(serialize_with = "serialize_duration")]
    pub max_backoff: Duration,
}

/// The keys of a source of `type = "rate"`, whose columns are `timestamp TIMESTAMP, value BIGINT`.
#[derive(Clone, Debug, Serialize)]
pub struct RateSettings {
    /// Default 1.
    pub rows_per_second: u64,
    /// How long the rate goes up from nothing until it is reached, in whole seconds. Default 0.
    #[serde(serialize_with = "serialize_duration")]
    pub ramp_up: Duration,
}

/// The keys of a source of `type = "delta"`.
#[derive(Clone, Debug, Serialize)]
pub struct DeltaSourceSettings {
    /// `storage`, over `[storage]`: options of its object store, never credentials.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub storage: BTreeMap<String, String>,
    /// The table's directory, relative to the working directory, or its `file://` address.
    pub path: String,
    /// Default snapshot.
    pub start: DeltaStart,
    /// Rows of the change feed, with `_change_type`, `_commit_version`, `_commit_timestamp`.
    pub change_feed: bool,
    /// Passes over commits that delete whole files and add none.
    pub ignore_deletes: bool,
    /// Passes over no commit: files that an update rewrote are read again, whole.
    pub ignore_changes: bool,
    /// Passes over commits that delete or update rows.
    pub skip_change_commits: bool,
    /// At most so many data files an epoch. Default 1000, as Delta's own source.
    pub max_files_per_trigger: usize,
    /// Time between two looks at the table's log. Default 1 s.
    #[serde(serialize_with = "serialize_duration")]
    pub poll_interval: Duration,
}

/// `start` of a Delta source that no checkpoint knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DeltaStart {
    /// The rows of the table as it is, then what is committed to it.
    Snapshot,
    /// What is committed after the start.
    Latest,
    /// The changes of this version and of those after it.
    Version(i64),
    /// The changes of the first version committed at or after this time, microseconds UTC, and
    /// of those after it.
    #[serde(serialize_with = "serialize_micros")]
    Timestamp(i64),
}

/// One column that is filled from what surrounds a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataColumn {
    pub field: MetadataField,
    /// The column's name in the source's table.
    pub column: String,
}

/// What a record knows of itself. Which of them there are depends on the source's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MetadataField {
    /// Kafka: STRING.
    Topic,
    /// Kafka: INT.
    Partition,
    /// Kafka: BIGINT.
    Offset,
    /// Kafka: the record's TIMESTAMP. Socket: when the line arrived.
    Timestamp,
    /// Kafka: who set the timestamp, INT: -1 nobody, 0 the producer, 1 the broker.
    TimestampType,
    /// Kafka: BINARY.
    Key,
    /// Kafka: `ARRAY<STRUCT<key: STRING, value: BINARY>>`.
    Headers,
    /// Files: the path of the record's file, STRING.
    File,
    /// Files: the record's line in it, from 1, BIGINT; not of Parquet.
    Line,
    /// Files: when the file was changed, TIMESTAMP.
    Modified,
}

fn serialize_metadata<S: Serializer>(
    columns: &[MetadataColumn],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(columns.len()))?;
    for column in columns {
        map.serialize_entry(&column.field, &column.column)?;
    }
    map.end()
}

/// `[sources.NAME.watermark]`: which column is the event time, and how late events may be.
#[derive(Clone, Debug, Serialize)]
pub struct WatermarkSettings {
    pub column: String,
    /// A window closes when an event this much later than its end has been seen.
    #[serde(serialize_with = "serialize_duration")]
    pub delay: Duration,
    /// A partition that brings nothing for this long is left out. Default 30 s; `None`: never.
    #[serde(serialize_with = "serialize_optional_duration")]
    pub idle_timeout: Option<Duration>,
    /// Whether the watermark goes on with the wall clock while every partition is idle.
    pub wall_clock: bool,
}

/// `[sources.NAME.batch]`: when a reader hands on what it has.
#[derive(Clone, Debug, Serialize)]
pub struct BatchSettings {
    /// Default 8192.
    pub max_rows: usize,
    /// Of decoded columns. Default 4 MiB.
    pub max_bytes: usize,
    /// How long a batch may wait to fill up. Default 20 ms.
    #[serde(serialize_with = "serialize_duration")]
    pub linger: Duration,
}
