//! The report of a pipeline, in the spirit of Spark's `StreamingQueryProgress`: the same names
//! where the same thing is meant, RFC 3339 times in UTC, durations in milliseconds. Where Spark
//! reports a batch, these are totals since the daemon started, and `epoch` stands for `batchId`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::PipelineState;
use super::anomaly::AnomalySummary;
use super::readiness::Readiness;
use super::upkeep::UpkeepReport;
use crate::telemetry::time::EventTime;

/// Where a pipeline stands.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PipelineReport {
    /// The pipeline's name.
    pub name: Arc<str>,
    /// Its state.
    pub state: PipelineState,
    /// When this report was made.
    pub timestamp: EventTime,
    /// When the pipeline was first started.
    pub started_at: EventTime,
    /// How long ago that was.
    pub uptime_ms: u64,
    /// How often it was restarted since.
    pub restarts: u64,
    /// The first fault of the generation that failed last; kept after it recovered.
    pub root_cause: Option<FaultReport>,
    /// The last durable epoch.
    pub epoch: Option<u64>,
    /// Records read.
    pub num_input_rows: u64,
    /// Records read per second, over the last ten.
    pub input_rows_per_second: f64,
    /// Rows processed per second, over the last ten.
    pub processed_rows_per_second: f64,
    /// Bytes read per second, over the last ten.
    pub input_bytes_per_second: f64,
    /// Records not read yet, over the partitions where that is known.
    pub lag: Option<u64>,
    /// How long the phases of the last epoch took.
    pub duration_ms: DurationReport,
    /// How far event time has come.
    pub event_time: EventTimeReport,
    /// How far the watermark lies behind the wall clock.
    pub watermark_lag_ms: Option<u64>,
    /// Whether it is fit to work, and what is missing.
    pub readiness: Readiness,
    /// Its checkpoints.
    pub checkpoint: CheckpointReport,
    /// Its sources.
    pub sources: Vec<SourceReport>,
    /// Its static tables.
    pub tables: Vec<TableReport>,
    /// Its queries.
    pub queries: Vec<QueryReport>,
    /// Its sinks.
    pub sinks: Vec<SinkReport>,
    /// Its detectors.
    pub detectors: Vec<DetectorReport>,
    /// The upkeep of its tables: one entry for each scheduled task.
    pub upkeep: Vec<UpkeepReport>,
    /// Its batch jobs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub batch: Vec<BatchReport>,
    /// The anomalies that are open, the newest first; at most a hundred.
    pub open_anomalies: Vec<AnomalySummary>,
    /// The last hundred anomalies, open or over, each as it stands; the newest first.
    pub recent_anomalies: Vec<AnomalySummary>,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FaultReport {
    /// The actor that failed first.
    pub actor: String,
    /// What it said.
    pub error: String,
    /// When.
    pub at: EventTime,
}

/// How far event time has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct EventTimeReport {
    /// The newest event time seen.
    pub max: Option<EventTime>,
    /// The watermark.
    pub watermark: Option<EventTime>,
}

/// How long the phases of an epoch took, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct DurationReport {
    /// Until all barriers had met.
    pub align: Option<u64>,
    /// Until all snapshots were taken and files closed.
    pub snapshot: Option<u64>,
    /// To write the checkpoint and flush it.
    pub write: Option<u64>,
    /// To commit to all sinks.
    pub commit: Option<u64>,
}

/// Where a pipeline's checkpoints stand.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckpointReport {
    /// The last durable epoch.
    pub epoch: Option<u64>,
    /// The last epoch that every sink has committed.
    pub committed_epoch: Option<u64>,
    /// When the last durable epoch became so.
    pub durable_at: Option<EventTime>,
    /// How long ago that was.
    pub age_ms: Option<u64>,
    /// How long its phases took.
    pub duration_ms: DurationReport,
    /// Bytes written for it.
    pub bytes: u64,
    /// State segments written for it.
    pub segments: u64,
    /// Epochs that failed.
    pub failed: u64,
    /// What the last failed epoch failed of, until one is durable again.
    pub error: Option<String>,
}

/// Where a source stands.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceReport {
    /// The source's name.
    pub name: Arc<str>,
    /// The kind of source.
    #[serde(rename = "type")]
    pub kind: Arc<str>,
    /// What it reads.
    pub description: Arc<str>,
    /// Whether it has been given its partitions.
    pub assigned: bool,
    /// Records read.
    pub num_input_rows: u64,
    /// Rows processed.
    pub num_processed_rows: u64,
    /// Bytes read.
    pub num_input_bytes: u64,
    /// Records read per second, over the last ten.
    pub input_rows_per_second: f64,
    /// Rows processed per second, over the last ten.
    pub processed_rows_per_second: f64,
    /// Bytes read per second, over the last ten.
    pub input_bytes_per_second: f64,
    /// Records not read yet, over the partitions where that is known.
    pub lag: Option<u64>,
    /// How far event time has come: the newest of all partitions, the oldest watermark of those
    /// that are not idle.
    pub event_time: EventTimeReport,
    /// Records that went to the dead letters.
    pub num_dead_letters: u64,
    /// The same, by reason.
    pub dead_letters: BTreeMap<&'static str, u64>,
    /// Records without a payload.
    pub num_tombstones: u64,
    /// Its partitions, in the order of their names.
    pub partitions: Vec<PartitionReport>,
}

/// Where a partition stands.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PartitionReport {
    /// The partition's name at its source.
    pub partition: Arc<str>,
    /// Where reading began in this generation.
    pub start_offset: Option<i64>,
    /// The next offset to read.
    pub next_offset: Option<i64>,
    /// The offset that the next record to arrive will get.
    pub latest_offset: Option<i64>,
    /// Records not read yet.
    pub lag: Option<u64>,
    /// How far event time has come.
    pub event_time: EventTimeReport,
    /// Whether the watermark goes on without it.
    pub idle: bool,
}

/// Where a static table stands.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TableReport {
    /// The table's name.
    pub name: Arc<str>,
    /// The kind of table.
    #[serde(rename = "type")]
    pub kind: Arc<str>,
    /// Where it is.
    pub description: Arc<str>,
    /// Its rows.
    pub num_rows: u64,
    /// The memory that they take, without the indexes of the queries that join with them.
    pub memory_used_bytes: u64,
    /// How often it was read.
    pub num_loads: u64,
    /// When it was last read.
    pub loaded_at: Option<EventTime>,
    /// How long that took.
    pub load_ms: Option<u64>,
    /// Why the last look at it failed, if it did; the rows are those from before.
    pub error: Option<String>,
}

/// Where a query stands.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct QueryReport {
    /// The query's name.
    pub name: Arc<str>,
    /// Fingerprint of its plan: a checkpoint fits it or not.
    pub fingerprint: Arc<str>,
    /// Output mode: `append`.
    pub output_mode: Arc<str>,
    /// Its SQL.
    pub sql: Arc<str>,
    /// The columns of its windows that can be had as time series; empty if it has none.
    pub window_columns: Vec<Arc<str>>,
    /// Rows handed to its sinks.
    pub num_output_rows: u64,
    /// The same per second, over the last ten.
    pub output_rows_per_second: f64,
    /// How far event time has come.
    pub event_time: EventTimeReport,
    /// Windows closed.
    pub num_windows_closed: u64,
    /// Rows that came too late.
    pub num_late_rows: u64,
    /// Rows without an event time.
    pub num_null_event_time_rows: u64,
    /// The rules that its rows are held against.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub expectations: Vec<ExpectationReport>,
    /// Its state; empty if it keeps none.
    pub state_operators: Vec<StateReport>,
}

/// Where a rule of a query stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExpectationReport {
    /// The rule's name.
    pub name: Arc<str>,
    /// Its condition.
    pub that: Arc<str>,
    /// What becomes of rows that violate it: `warn`, `drop`, `dead_letter`, `fail`.
    pub on_violation: &'static str,
    /// Rows that met it.
    pub num_passed_rows: u64,
    /// Rows that violated it.
    pub num_violating_rows: u64,
}

/// The state of one operator of a query, over all shards.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StateReport {
    /// The operator.
    pub operator_name: &'static str,
    /// Groups over all open windows.
    pub num_rows_total: u64,
    /// Memory.
    pub memory_used_bytes: u64,
    /// Open windows.
    pub num_open_windows: u64,
    /// Rows that came too late.
    pub num_rows_dropped_by_watermark: u64,
    /// Shards of the key space.
    pub num_shards: usize,
}

/// Where a sink stands.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SinkReport {
    /// The sink's name.
    pub name: Arc<str>,
    /// The kind of sink.
    #[serde(rename = "type")]
    pub kind: Arc<str>,
    /// Where it writes.
    pub description: Arc<str>,
    /// Version of its table.
    pub version: Option<i64>,
    /// Commits made.
    pub num_commits: u64,
    /// Rows committed.
    pub num_output_rows: u64,
    /// Files committed.
    pub num_files: u64,
    /// Bytes of those files.
    pub num_bytes: u64,
    /// When it last committed.
    pub last_commit_at: Option<EventTime>,
    /// How long that took.
    pub last_commit_ms: Option<u64>,
    /// What it is retrying, if it is.
    pub retrying: Option<RetryReport>,
}

/// Why a sink is retrying.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RetryReport {
    /// The last error.
    pub error: String,
    /// Attempts that have failed.
    pub attempt: u32,
    /// Time from that attempt to the next.
    pub backoff_ms: u64,
    /// When the first of them failed.
    pub since: EventTime,
}

/// Where a batch job stands.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchReport {
    /// The job's name.
    pub name: Arc<str>,
    /// When it runs, as cron; none: at the end of a bounded run.
    pub schedule: Option<Arc<str>>,
    /// The table it fills.
    pub description: Arc<str>,
    /// Whether it runs.
    pub running: bool,
    /// When it is due next.
    pub next_run_at: Option<EventTime>,
    /// Runs since the daemon started.
    pub num_runs: u64,
    /// Those that failed.
    pub num_failed_runs: u64,
    /// When the last one ended.
    pub last_run_at: Option<EventTime>,
    /// How long it took.
    pub last_run_ms: Option<u64>,
    /// What it failed of, if it did.
    pub error: Option<String>,
}

/// Where a detector stands.
#[derive(Clone, Debug, Serialize)]
pub struct DetectorReport {
    /// The detector's name.
    pub name: Arc<str>,
    /// Series it keeps a baseline of.
    pub series: u64,
    /// Anomalies that are open.
    pub open: u64,
    /// Windows in which a series was out of line, by severity.
    pub anomalies: BTreeMap<&'static str, u64>,
}
