//! What a validated configuration says. Plain data: durations and sizes are parsed, defaults
//! filled in, names checked. The keys of the TOML file have the names of these fields.

mod alerts;
mod batch;
mod format;
mod query;
mod server;
mod sink;
mod source;
mod table;
mod test;
mod upkeep;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Serialize, Serializer};

pub use alerts::{
    AlertFilter, AlertSeverity, AlertSinkSettings, AlertsSettings, WebhookFormat, WebhookSettings,
};
pub use batch::{BatchJobSettings, BatchRunsSettings};
pub use format::{
    AvroFormat, CsvFormat, CsvHeader, CsvMode, DebeziumFormat, DebeziumPayload, DecimalSetting,
    FormatSettings, Framing, JsonFormat, JsonSchemaFormat, ProtobufFormat, ProtobufOrigin,
    RegistryAuth, RegistrySettings, SchemaOrigin, TimeSettings, TimestampSetting, UnknownFields,
};
pub use query::{
    DropDuplicates, DropWithin, ExpectationSettings, OutputMode, QuerySettings, QuerySink,
    ViolationAction,
};
pub use server::{ServerSettings, SqlBoxSettings, TlsSettings};
pub use sink::{
    Compression, ConsoleSinkSettings, DeltaSinkSettings, FilesFormat, FilesSinkSettings,
    KafkaHeaders, KafkaSinkSettings, KafkaValue, MemorySinkSettings, PostgresConnection,
    PostgresMode, PostgresSinkSettings, PostgresTls, SinkSettings, TextCompression, TypeChange,
};
pub use source::{
    AfterFile, BatchSettings, DeltaSourceSettings, DeltaStart, FileCompression, FileOrder,
    FilesSettings, KafkaSettings, MetadataColumn, MetadataField, RateSettings, SocketSettings,
    SourceKind, SourceSettings, StartOffset, StartPosition, WatermarkSettings,
};
pub use table::{TableKind, TableSettings};
pub use test::{
    After, TestBatch, TestExpectation, TestInput, TestRecords, TestRow, TestSettings, TestTable,
};

pub use upkeep::{UpkeepKeys, UpkeepSettings, When};

use super::diagnostics::Location;
use super::locator::Locator;
use super::units::{format_duration, serialize_duration};

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
    /// `trigger`: when epochs begin, and whether the run ends by itself.
    pub trigger: Trigger,
    pub memory: MemorySettings,
    pub checkpoint: CheckpointSettings,
    pub restart: RestartSettings,
    /// `stop_timeout`: how long a stop may take before it is forced. Default 8 s.
    #[serde(serialize_with = "serialize_duration")]
    pub stop_timeout: Duration,
    pub server: ServerSettings,
    pub logging: LoggingSettings,
    /// `[storage]`: options of the object stores that tables are in, never credentials.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub storage: BTreeMap<String, String>,
    /// `[sources.NAME]`, in the order of the file.
    pub sources: Vec<SourceSettings>,
    /// `[tables.NAME]`, in the order of the file.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tables: Vec<TableSettings>,
    pub dead_letters: DeadLetterSettings,
    /// `[upkeep]`: of every Delta table that is written. Absent: only of those that have their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upkeep: Option<UpkeepKeys>,
    /// `[queries.NAME]`, in the order of the file.
    pub queries: Vec<QuerySettings>,
    /// `[detectors.NAME]`, in the order of the file.
    pub detectors: Vec<DetectorSettings>,
    /// `[alerts]`: where events of anomalies go beside their table.
    #[serde(skip_serializing_if = "AlertsSettings::is_empty")]
    pub alerts: AlertsSettings,
    /// `[batch.NAME]`, in the order of the file.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub batch: Vec<BatchJobSettings>,
    pub batch_runs: BatchRunsSettings,
    /// `[[tests]]`, in the order of the file.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tests: Vec<TestSettings>,
    /// The files this was read from, in the order in which they were merged.
    pub files: Vec<PathBuf>,
    #[serde(skip)]
    pub(crate) locator: Locator,
}

/// `trigger`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// An epoch begins this long after the one before did; the same as
    /// [`CheckpointSettings::interval`]. The default.
    Interval(Duration),
    /// All that is there at the start, in epochs as the sources' limits and `checkpoint.interval`
    /// cut them; then the run ends.
    AvailableNow,
    /// All that is there at the start, in one epoch whatever the sources' limits say; then the
    /// run ends.
    Once,
}

impl Serialize for Trigger {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Interval(interval) => serializer.serialize_str(&format_duration(*interval)),
            Self::AvailableNow => serializer.serialize_str("available_now"),
            Self::Once => serializer.serialize_str("once"),
        }
    }
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
    /// Time from the start of one epoch to the start of the next; rows go out once an epoch.
    /// Default `trigger` if that is a duration, else 10 s.
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

/// `[dead_letters]`: the Delta table of records that could not be read.
#[derive(Clone, Debug, Serialize)]
pub struct DeadLetterSettings {
    pub enabled: bool,
    /// Default `<data_dir>/dead_letters`.
    pub path: String,
    /// `storage`, over `[storage]`: options of its object store, never credentials.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub storage: BTreeMap<String, String>,
    /// What the catalogue calls the table. None: `<name>.dead_letters`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// Longer payloads are cut to this many bytes, and the row says so. Default 64 KiB.
    pub max_payload: usize,
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
    /// Windows in a row out of line before an anomaly opens. Default 1.
    pub open_after: u32,
    /// Clean windows before an anomaly closes. Default 3.
    pub clear_after: u32,
    /// Windows out of line between two updates of an anomaly; 0: none. Default 10.
    pub update_every: u32,
    /// Series that are shown as metrics, at most; 0: none. Default 20.
    pub metric_series: usize,
    /// Every key of the table that is not a field here: the rule's own parameters, unchecked.
    pub parameters: toml::Table,
    pub sink: DeltaSinkSettings,
    #[serde(skip)]
    pub location: Location,
}

impl Settings {
    /// The upkeep of a table with these keys of its own; `None`: it has none.
    pub fn upkeep_of(&self, own: Option<&UpkeepKeys>) -> Option<UpkeepSettings> {
        UpkeepKeys::over(own, self.upkeep.as_ref(), self.data_dir.join("upkeep"))
    }
}
