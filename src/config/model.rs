//! What a validated configuration says. Plain data: durations and sizes are parsed, defaults
//! filled in, names checked. The keys of the TOML file have the names of these fields.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use chrono_tz::Tz;
use serde::Serialize;

use super::diagnostics::Location;
use super::locator::Locator;
use super::secret::OptionValue;
use super::text::TextLocation;
use super::units::{serialize_duration, serialize_optional_duration};

/// One pipeline: the sources it reads, the queries that run over them, and where rows go.
///
/// Made by [`load`](super::load) and [`parse_str`](super::parse_str) only, so that what is in it
/// has been checked.
#[derive(Clone, Debug, Serialize)]
pub struct Settings {
    /// `name`: names the pipeline in metrics, checkpoints and Delta `txn` actions.
    pub name: String,
    /// `data_dir`: what other default paths are under. Default `./data`.
    pub data_dir: PathBuf,
    /// `shards`: into how many parts the key space of windowed queries is split, each with an
    /// actor of its own. Default: the number of cores, at most 64.
    pub shards: usize,
    pub memory: MemorySettings,
    pub checkpoint: CheckpointSettings,
    pub restart: RestartSettings,
    /// `stop_timeout`: how long a stop may take before it is forced. Default 8 s.
    #[serde(serialize_with = "serialize_duration")]
    pub stop_timeout: Duration,
    pub server: ServerSettings,
    pub logging: LoggingSettings,
    /// `[sources.NAME]`, in the order of the file.
    pub sources: Vec<SourceSettings>,
    pub dead_letters: DeadLetterSettings,
    /// `[queries.NAME]`, in the order of the file.
    pub queries: Vec<QuerySettings>,
    /// `[detectors.NAME]`, in the order of the file.
    pub detectors: Vec<DetectorSettings>,
    /// The files this was read from, in the order in which they were merged.
    pub files: Vec<PathBuf>,
    #[serde(skip)]
    pub(crate) locator: Locator,
}

/// `[memory]`
#[derive(Clone, Debug, Serialize)]
pub struct MemorySettings {
    /// Bytes of decoded batches that may be on their way between readers and operators.
    /// Readers wait while it is used up. Default 64 MiB.
    pub in_flight: usize,
}

/// `[checkpoint]`
#[derive(Clone, Debug, Serialize)]
pub struct CheckpointSettings {
    /// Default `<data_dir>/checkpoints/<name>`. One daemon at a time.
    pub directory: PathBuf,
    /// Time from the start of one epoch to the start of the next; rows become visible in Delta
    /// once an epoch. Default 10 s.
    #[serde(serialize_with = "serialize_duration")]
    pub interval: Duration,
    /// An epoch that takes longer is a fault. Default 10 min.
    #[serde(serialize_with = "serialize_duration")]
    pub timeout: Duration,
    /// How long a rebalance waits for the rows of a lost partition to drain. Default 30 s.
    #[serde(serialize_with = "serialize_duration")]
    pub drain_timeout: Duration,
}

/// `[restart]`: what happens after a fault.
#[derive(Clone, Debug, Serialize)]
pub struct RestartSettings {
    /// Wait before the first restart; doubled for each that follows. Default 500 ms.
    #[serde(serialize_with = "serialize_duration")]
    pub initial_backoff: Duration,
    /// Default 30 s.
    #[serde(serialize_with = "serialize_duration")]
    pub max_backoff: Duration,
    /// A generation that ran this long has recovered: the backoff starts over. Default 60 s.
    #[serde(serialize_with = "serialize_duration")]
    pub reset_after: Duration,
    /// Restarts in a row before the daemon gives up; absent: it never does.
    pub max_restarts: Option<u32>,
}

/// `[server]`: metrics, health and API over HTTP.
#[derive(Clone, Debug, Serialize)]
pub struct ServerSettings {
    pub enabled: bool,
    /// Default 127.0.0.1:9898.
    pub listen: SocketAddr,
    /// Must be set before `listen` may be anything but a loopback address: there is no
    /// authentication.
    pub allow_remote: bool,
}

/// `[logging]`
#[derive(Clone, Debug, Serialize)]
pub struct LoggingSettings {
    /// `off`, `error`, `warn`, `info` (the default), `debug`, `trace`, or directives as for
    /// `tracing_subscriber::EnvFilter` (`info,millpond=debug`).
    pub level: String,
    pub format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    Text,
    Json,
}

/// `[sources.NAME]`: a table of events that queries can name.
#[derive(Clone, Debug, Serialize)]
pub struct SourceSettings {
    pub name: String,
    #[serde(flatten)]
    pub kind: SourceKind,
    pub format: FormatSettings,
    /// `schema`: the columns as Spark SQL declares them (`ts TIMESTAMP NOT NULL, ip STRING`).
    pub schema_text: String,
    /// Where `schema_text` stands: for [`Settings::error_at_schema`].
    #[serde(skip)]
    pub schema_location: TextLocation,
    pub watermark: Option<WatermarkSettings>,
    pub batch: BatchSettings,
    /// `max_record`: records of more bytes are dead letters. Default 16 MiB.
    pub max_record_bytes: usize,
    #[serde(skip)]
    pub location: Location,
}

/// Where a source's events come from: `type` and the keys that belong to it.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum SourceKind {
    Kafka(KafkaSettings),
}

/// The keys of a source of `type = "kafka"`.
#[derive(Clone, Debug, Serialize)]
pub struct KafkaSettings {
    /// `host:port`, separated by commas.
    pub brokers: String,
    /// At least one, without repeats.
    pub topics: Vec<String>,
    /// Default `millpond-<name of the pipeline>`.
    pub group_id: String,
    /// Where to start in a partition of which no checkpoint knows. Default earliest.
    pub start: StartPosition,
    /// `[sources.NAME.options]`: passed to librdkafka as they are, by their dotted names. Holds
    /// none that Millpond sets itself.
    pub options: BTreeMap<String, OptionValue>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StartPosition {
    Earliest,
    Latest,
}

/// `[sources.NAME.format]`: how the bytes of an event become columns.
#[derive(Clone, Debug, Serialize)]
pub struct FormatSettings {
    #[serde(rename = "type")]
    pub kind: FormatKind,
    /// How TIMESTAMP columns are written, unless `columns` says otherwise. Default auto.
    pub timestamps: TimestampSetting,
    /// The zone of timestamps that name none. Default UTC.
    #[serde(serialize_with = "serialize_zone")]
    pub timezone: Tz,
    /// Fields that the schema does not declare. Default ignore.
    pub unknown_fields: UnknownFields,
    /// `[sources.NAME.format.columns]`: column to how its timestamps are written.
    pub columns: BTreeMap<String, TimestampSetting>,
}

fn serialize_zone<S: serde::Serializer>(zone: &Tz, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(zone.name())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FormatKind {
    Json,
}

/// How a timestamp is written in the source's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TimestampSetting {
    /// RFC 3339, or `yyyy-MM-dd HH:mm:ss[.f]` in the format's time zone.
    Auto,
    EpochSeconds,
    EpochMillis,
    EpochMicros,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum UnknownFields {
    Ignore,
    Reject,
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

/// `[dead_letters]`: the Delta table of records that could not be read.
#[derive(Clone, Debug, Serialize)]
pub struct DeadLetterSettings {
    pub enabled: bool,
    /// Default `<data_dir>/dead_letters`.
    pub path: String,
    /// Longer payloads are cut to this many bytes, and the row says so. Default 64 KiB.
    pub max_payload: usize,
}

/// `[queries.NAME]`: one streaming query and where its rows go.
#[derive(Clone, Debug, Serialize)]
pub struct QuerySettings {
    pub name: String,
    pub sql: String,
    /// Where `sql` stands: for [`Settings::error_at_sql`].
    #[serde(skip)]
    pub sql_location: TextLocation,
    pub mode: OutputMode,
    /// Exactly one for now.
    pub sinks: Vec<SinkSettings>,
    #[serde(skip)]
    pub location: Location,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputMode {
    /// A row is written once, when it can no longer change.
    Append,
}

/// `[queries.NAME.sink]`: `type` and the keys that belong to it.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum SinkSettings {
    Delta(DeltaSinkSettings),
}

/// The keys of a sink of `type = "delta"`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeltaSinkSettings {
    /// The table's directory, relative to the working directory, or its `file://` address.
    pub path: String,
    /// Columns, outermost directory first.
    pub partition_by: Vec<String>,
    pub compression: Compression,
    /// Bytes at which a Parquet file is closed and the next begun. Default 64 MiB.
    pub target_file_size: usize,
    /// `evolve = "add"`: columns that the table lacks are added to it, nullable.
    pub evolve: bool,
    /// A checkpoint of the Delta log is written every so many commits. Default 10.
    pub checkpoint_interval: u64,
    /// Delta table properties, set when the table is created.
    pub properties: BTreeMap<String, String>,
}

/// Of Parquet pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    None,
    Snappy,
    Lz4,
    /// With its level, 1 to 22.
    Zstd(i32),
}

impl Serialize for Compression {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::None => serializer.serialize_str("none"),
            Self::Snappy => serializer.serialize_str("snappy"),
            Self::Lz4 => serializer.serialize_str("lz4"),
            Self::Zstd(level) => serializer.collect_str(&format_args!("zstd({level})")),
        }
    }
}

/// `[detectors.NAME]`: a watch over one column of a windowed query.
#[derive(Clone, Debug, Serialize)]
pub struct DetectorSettings {
    pub name: String,
    /// The query whose rows are watched; it exists.
    pub query: String,
    /// The column that is watched.
    pub value: String,
    /// The columns that tell series apart; none: all rows are one series.
    pub key: Vec<String>,
    /// The column that says how many events are behind a value.
    pub weight: Option<String>,
    /// The column that holds the window's start. Default `window_start`.
    pub window: String,
    /// Which rule; the anomaly room knows which there are.
    pub kind: String,
    /// Every key of the table that is not a field here: the rule's own parameters, unchecked.
    pub parameters: toml::Table,
    pub sink: DeltaSinkSettings,
    #[serde(skip)]
    pub location: Location,
}
