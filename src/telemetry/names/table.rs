//! The table itself: one entry a metric.

use metrics::{Counter, Gauge, Histogram};

use super::{Entry, Kind, Name, Unit};

/// What the values of each label are, and so what bounds their number.
pub const LABELS: &[(&str, &str)] = &[
    ("actor", "kind of actor: `partition_reader`, `operator_shard`, `delta_committer` and so on"),
    ("batch", "name of a batch job in the configuration"),
    ("broker", "id of a Kafka broker of the cluster"),
    ("cause", "why an actor ended: `panic`, `error`, `stopped`, `stalled`"),
    ("check", "what readiness looks at: `running`, `assigned`, `checkpointing`, `sinks_reachable`"),
    ("code", "name of one of librdkafka's error codes"),
    ("detector", "name of a detector in the configuration"),
    ("change", "direction of a rebalance: `assigned`, `revoked`"),
    ("member", "which actor of its kind: a partition, a shard, a sink; empty if there is one"),
    (
        "outcome",
        "what became of it. Rows at an expectation: `passed`, `warned`, `dropped`, `dead_lettered`, `failed`; \
         a run of a batch job: `succeeded`, `failed`; \
         a notification: `delivered`, `refused` (by the receiver), `dropped` (the queue was full), `expired`; \
         a run of upkeep: `done`, `nothing` (to do), `conflict`, `failed`, `cancelled`",
    ),
    ("partition", "partition of a source; for Kafka `topic-number`"),
    ("phase", "part of an epoch: `align`, `snapshot`, `write`, `commit`"),
    ("pipeline", "name of a pipeline in the configuration"),
    ("query", "name of a query in the configuration"),
    ("reason", "why, as one of a fixed list of short codes"),
    ("revision", "revision of the source code that was built, or `unknown`"),
    ("route", "pattern of a path of the HTTP server, or `other`"),
    ("rule", "name of an expectation of a query in the configuration"),
    (
        "series",
        "key of a series that a detector watches; at most `metric_series` of each detector, and no \
         IP addresses",
    ),
    ("severity", "of an anomaly: `info`, `warning`, `critical`"),
    ("shard", "number of a shard of the key space of a query"),
    ("sink", "name of a sink in the configuration"),
    ("source", "name of a source in the configuration"),
    ("stage", "how far an epoch came: `started`, `aligned`, `durable`, `committed`, `failed`"),
    (
        "state",
        "state of a pipeline: `starting`, `running`, `restarting`, `stopping`, `stopped`, `failed`",
    ),
    ("status", "HTTP status code"),
    ("table", "name of a table in the configuration"),
    ("task", "upkeep of a table: `compact`, `zorder`, `vacuum`, `checkpoint`, `clean_log`"),
    ("version", "version of Millpond"),
    ("webhook", "name of a webhook in the configuration"),
];

/// Of work that is done once a batch: 0.1 ms to 10 s.
const SHORT: &[f64] =
    &[0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 10.0];
/// Of work that is done once an epoch: 1 ms to 2 min.
const LONG: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0,
];
/// Of upkeep, which takes minutes on large tables: 10 ms to 4 h.
const RUNS: &[f64] =
    &[0.01, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0, 14_400.0];
/// Records of a batch.
const BATCH: &[f64] = &[1.0, 10.0, 100.0, 500.0, 1e3, 2e3, 4e3, 8e3, 16e3, 32e3, 64e3];
/// Rows of a commit: one to 100 million.
const ROWS: &[f64] = &[1.0, 10.0, 100.0, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8];
/// Files of a commit.
const FILES: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];
/// Bytes of a data file: 4 KiB to 1 GiB.
const SIZES: &[f64] = &[
    4096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
    268_435_456.0,
    1_073_741_824.0,
];

macro_rules! buckets {
    () => {
        &[]
    };
    ($buckets:expr) => {
        $buckets
    };
}

macro_rules! table {
    ($($constant:ident = $kind:ident($unit:expr) $name:literal [$($label:literal),*]
        $(in $buckets:expr)?, $help:literal;)*) => {
        $(
            #[doc = $help]
            pub static $constant: Name<$kind, { const LABELS: &[&str] = &[$($label),*]; LABELS.len() }> =
                Name::new($name, [$($label),*]);
        )*

        /// All of them, in the order of the documentation.
        pub const ALL: &[Entry] = &[
            $(Entry {
                name: $name,
                kind: Kind::$kind,
                unit: $unit,
                labels: &[$($label),*],
                help: $help,
                buckets: buckets!($($buckets)?),
            }),*
        ];
    };
}

table! {
    // The daemon.
    BUILD = Gauge(Unit::Info) "millpond_build_info" ["version", "revision"],
        "The build that is running.";
    CONFIG_LOADED = Gauge(Unit::UnixSeconds) "millpond_config_loaded_timestamp_seconds" [],
        "When the configuration was last loaded.";
    HTTP_REQUESTS = Counter(Unit::Count("requests"))
        "millpond_http_requests_total" ["route", "status"],
        "Requests that the HTTP server answered.";
    HTTP_SECONDS = Histogram(Unit::Seconds)
        "millpond_http_request_duration_seconds" ["route"] in SHORT,
        "Time to answer a request of the HTTP server.";

    // Sources.
    PARTITIONS = Gauge(Unit::Count("partitions"))
        "millpond_source_assigned_partitions" ["pipeline", "source"],
        "Partitions that this daemon reads.";
    REBALANCES = Counter(Unit::Count("rebalances"))
        "millpond_source_rebalances_total" ["pipeline", "source", "change"],
        "Times that partitions were assigned or revoked.";
    RECORDS = Counter(Unit::Count("records"))
        "millpond_source_records_total" ["pipeline", "source", "partition"],
        "Records read, those read again after a restart included.";
    RECORD_BYTES = Counter(Unit::Bytes)
        "millpond_source_bytes_total" ["pipeline", "source", "partition"],
        "Bytes of the keys and payloads of the records read.";
    BATCH_RECORDS = Histogram(Unit::Count("records"))
        "millpond_source_batch_records" ["pipeline", "source"] in BATCH,
        "Records of a batch.";
    CONSUMER_LAG = Gauge(Unit::Count("records"))
        "millpond_source_consumer_lag_records" ["pipeline", "source", "partition"],
        "Records in the partition that have not been read yet.";
    NEWEST_EVENT = Gauge(Unit::UnixSeconds)
        "millpond_source_newest_event_timestamp_seconds" ["pipeline", "source", "partition"],
        "Newest event time read from the partition.";
    IDLE = Gauge(Unit::Flag("idle"))
        "millpond_source_partition_idle" ["pipeline", "source", "partition"],
        "Whether the partition is left out of the watermark because nothing arrives.";
    CREDIT_WAIT = Histogram(Unit::Seconds)
        "millpond_source_credit_wait_seconds" ["pipeline", "source"] in SHORT,
        "Time that readers waited for credit because what is downstream was full.";
    DECODED_ROWS = Counter(Unit::Count("rows"))
        "millpond_codec_decoded_rows_total" ["pipeline", "source"],
        "Rows decoded from records.";
    DECODE_SECONDS = Histogram(Unit::Seconds)
        "millpond_codec_decode_duration_seconds" ["pipeline", "source"] in SHORT,
        "Time to decode a batch.";
    DEAD_LETTERS = Counter(Unit::Count("records"))
        "millpond_codec_dead_letter_records_total" ["pipeline", "source", "reason"],
        "Records that could not be decoded and went to the dead letters.";
    TOMBSTONES = Counter(Unit::Count("tombstones"))
        "millpond_codec_skipped_tombstones_total" ["pipeline", "source"],
        "Records without a payload, which hold no row.";

    // Kafka.
    KAFKA_ERRORS = Counter(Unit::Count("errors"))
        "millpond_kafka_errors_total" ["pipeline", "source", "code"],
        "Errors that librdkafka reported.";
    KAFKA_RTT = Gauge(Unit::Seconds)
        "millpond_kafka_broker_round_trip_seconds" ["pipeline", "source", "broker"],
        "Mean round trip to the broker over librdkafka's last statistics interval.";
    KAFKA_QUEUE_RECORDS = Gauge(Unit::Count("records"))
        "millpond_kafka_fetch_queue_records" ["pipeline", "source"],
        "Records that librdkafka has fetched and nobody has read.";
    KAFKA_QUEUE_BYTES = Gauge(Unit::Bytes)
        "millpond_kafka_fetch_queue_bytes" ["pipeline", "source"],
        "Bytes of the records that librdkafka has fetched and nobody has read.";

    // Event time and queries.
    WATERMARK = Gauge(Unit::UnixSeconds)
        "millpond_pipeline_watermark_timestamp_seconds" ["pipeline"],
        "Watermark of the pipeline.";
    WATERMARK_LAG = Gauge(Unit::Seconds)
        "millpond_pipeline_watermark_lag_seconds" ["pipeline"],
        "How far the watermark lies behind the wall clock.";
    CREDIT_LIMIT = Gauge(Unit::Bytes)
        "millpond_pipeline_credit_limit_bytes" ["pipeline"],
        "Bytes of batches that may be under way between readers and operators.";
    CREDIT_FREE = Gauge(Unit::Bytes)
        "millpond_pipeline_credit_free_bytes" ["pipeline"],
        "Bytes of that limit that are not taken; readers wait when there are none.";
    CREDIT_OWED = Gauge(Unit::Bytes)
        "millpond_pipeline_credit_owed_bytes" ["pipeline"],
        "Bytes of operators' results that sinks have not taken; readers wait above the limit.";
    OUTPUT_ROWS = Counter(Unit::Count("rows"))
        "millpond_query_output_rows_total" ["pipeline", "query"],
        "Rows that the query handed to its sinks.";
    CLOSED_WINDOWS = Counter(Unit::Count("windows"))
        "millpond_query_closed_windows_total" ["pipeline", "query"],
        "Windows that the watermark closed.";
    LATE_ROWS = Counter(Unit::Count("rows"))
        "millpond_query_late_rows_total" ["pipeline", "query"],
        "Rows that came after all of their windows had closed.";
    NULL_TIME_ROWS = Counter(Unit::Count("rows"))
        "millpond_query_null_event_time_rows_total" ["pipeline", "query"],
        "Rows without an event time, which belong to no window.";
    DUPLICATE_ROWS = Counter(Unit::Count("rows"))
        "millpond_query_duplicate_rows_total" ["pipeline", "query"],
        "Rows that a deduplication left out, because one like them had come before.";
    EXPECTATION_ROWS = Counter(Unit::Count("rows"))
        "millpond_expectation_rows_total" ["pipeline", "query", "rule", "outcome"],
        "Rows of the query's output that were held against one of its expectations.";
    STATE_WINDOWS = Gauge(Unit::Count("windows"))
        "millpond_state_open_windows" ["pipeline", "query", "shard"],
        "Windows open in the state of the shard.";
    STATE_GROUPS = Gauge(Unit::Count("groups"))
        "millpond_state_groups" ["pipeline", "query", "shard"],
        "Groups in the state of the shard, over all open windows.";
    STATE_BYTES = Gauge(Unit::Bytes)
        "millpond_state_bytes" ["pipeline", "query", "shard"],
        "Memory of the state of the shard.";

    // Batch jobs.
    BATCH_RUNS = Counter(Unit::Count("runs"))
        "millpond_batch_runs_total" ["pipeline", "batch", "outcome"],
        "Runs of the batch job, each with all its attempts.";
    BATCH_SECONDS = Histogram(Unit::Seconds)
        "millpond_batch_run_duration_seconds" ["pipeline", "batch"] in LONG,
        "Time of a run of the batch job, with all its attempts.";
    BATCH_ROWS = Counter(Unit::Count("rows"))
        "millpond_batch_written_rows_total" ["pipeline", "batch"],
        "Rows that runs of the batch job have written.";
    BATCH_SUCCEEDED = Gauge(Unit::UnixSeconds)
        "millpond_batch_succeeded_timestamp_seconds" ["pipeline", "batch"],
        "When the batch job last succeeded.";
    BATCH_LOG_ERRORS = Counter(Unit::Count("errors"))
        "millpond_batch_log_errors_total" ["pipeline"],
        "Runs of batch jobs that could not be written to the log of runs.";

    // Checkpoints.
    EPOCHS = Counter(Unit::Count("epochs"))
        "millpond_checkpoint_epochs_total" ["pipeline", "stage"],
        "Epochs that reached a stage.";
    EPOCH_NUMBER = Gauge(Unit::Number("epoch"))
        "millpond_checkpoint_durable_epoch" ["pipeline"],
        "Number of the last durable epoch.";
    CHECKPOINT_SECONDS = Histogram(Unit::Seconds)
        "millpond_checkpoint_duration_seconds" ["pipeline", "phase"] in LONG,
        "Time that the phases of an epoch took.";
    CHECKPOINT_BYTES = Gauge(Unit::Bytes)
        "millpond_checkpoint_last_size_bytes" ["pipeline"],
        "Bytes that the last durable epoch wrote.";
    CHECKPOINT_BYTES_TOTAL = Counter(Unit::Bytes)
        "millpond_checkpoint_written_bytes_total" ["pipeline"],
        "Bytes that durable epochs wrote.";
    CHECKPOINT_SEGMENTS = Counter(Unit::Count("segments"))
        "millpond_checkpoint_written_segments_total" ["pipeline"],
        "State segments that durable epochs wrote.";
    CHECKPOINT_DURABLE = Gauge(Unit::UnixSeconds)
        "millpond_checkpoint_durable_timestamp_seconds" ["pipeline"],
        "When the last epoch became durable.";
    CHECKPOINT_AGE = Gauge(Unit::Seconds)
        "millpond_checkpoint_age_seconds" ["pipeline"],
        "Time since the last epoch became durable.";

    // Static tables.
    TABLE_LOADS = Counter(Unit::Count("loads"))
        "millpond_table_loads_total" ["pipeline", "table"],
        "Times that the table was read, at the start and because it had changed.";
    TABLE_FAILURES = Counter(Unit::Count("failures"))
        "millpond_table_failures_total" ["pipeline", "table", "reason"],
        "Times that the table could not be read; queries keep the rows they have.";
    TABLE_LOAD_SECONDS = Histogram(Unit::Seconds)
        "millpond_table_load_duration_seconds" ["pipeline", "table"] in LONG,
        "Time to read the table.";
    TABLE_LOADED = Gauge(Unit::UnixSeconds)
        "millpond_table_loaded_timestamp_seconds" ["pipeline", "table"],
        "When the table was last read.";
    TABLE_ROWS = Gauge(Unit::Count("rows"))
        "millpond_table_rows" ["pipeline", "table"],
        "Rows of the table that are held in memory.";
    TABLE_BYTES = Gauge(Unit::Bytes)
        "millpond_table_memory_bytes" ["pipeline", "table"],
        "Memory of the table's rows, without the indexes of the queries that join with it.";
    TABLE_FAILING = Gauge(Unit::Flag("failing"))
        "millpond_table_failing" ["pipeline", "table"],
        "Whether the last look at the table failed, so that its rows may be out of date.";

    // Sinks.
    SINK_COMMITS = Counter(Unit::Count("commits"))
        "millpond_sink_commits_total" ["pipeline", "sink"],
        "Commits that the sink made.";
    SINK_COMMIT_SECONDS = Histogram(Unit::Seconds)
        "millpond_sink_commit_duration_seconds" ["pipeline", "sink"] in LONG,
        "Time that a commit took.";
    SINK_COMMITTED = Gauge(Unit::UnixSeconds)
        "millpond_sink_committed_timestamp_seconds" ["pipeline", "sink"],
        "When the sink last committed rows.";
    SINK_COMMIT_ROWS = Histogram(Unit::Count("rows"))
        "millpond_sink_commit_rows" ["pipeline", "sink"] in ROWS,
        "Rows of a commit.";
    SINK_COMMIT_FILES = Histogram(Unit::Count("files"))
        "millpond_sink_commit_files" ["pipeline", "sink"] in FILES,
        "Files of a commit.";
    SINK_ROWS = Counter(Unit::Count("rows"))
        "millpond_sink_committed_rows_total" ["pipeline", "sink"],
        "Rows committed.";
    SINK_BYTES = Counter(Unit::Bytes)
        "millpond_sink_committed_bytes_total" ["pipeline", "sink"],
        "Bytes of the files committed.";
    SINK_TYPE_CHANGE_ROWS = Counter(Unit::Count("rows"))
        "millpond_sink_type_change_rows_total" ["pipeline", "sink"],
        "Rows that went to the dead letters because the table's types do not hold their values.";
    SINK_FILE_BYTES = Histogram(Unit::Bytes)
        "millpond_sink_file_size_bytes" ["pipeline", "sink"] in SIZES,
        "Size of the data files written.";
    SINK_VERSION = Gauge(Unit::Number("version"))
        "millpond_sink_table_version" ["pipeline", "sink"],
        "Version of the Delta table that the last commit made.";
    SINK_RETRIES = Counter(Unit::Count("retries"))
        "millpond_sink_retries_total" ["pipeline", "sink", "reason"],
        "Attempts of the sink that failed and are tried again.";
    SINK_RETRYING = Gauge(Unit::Flag("retrying"))
        "millpond_sink_retrying" ["pipeline", "sink"],
        "Whether the sink's last attempt failed and it waits for the next one.";
    SINK_FENCED = Counter(Unit::Count("fencings"))
        "millpond_sink_fencings_total" ["pipeline", "sink"],
        "Commits refused because another daemon had committed the same input.";

    // Upkeep of tables.
    UPKEEP_RUNS = Counter(Unit::Count("runs"))
        "millpond_upkeep_runs_total" ["pipeline", "table", "task", "outcome"],
        "Runs of the table's upkeep.";
    UPKEEP_SECONDS = Histogram(Unit::Seconds)
        "millpond_upkeep_duration_seconds" ["pipeline", "table", "task"] in RUNS,
        "Time that a run of the table's upkeep took.";
    UPKEEP_FINISHED = Gauge(Unit::UnixSeconds)
        "millpond_upkeep_finished_timestamp_seconds" ["pipeline", "table", "task"],
        "When the task was last done, or found that there was nothing to do.";
    UPKEEP_RUNNING = Gauge(Unit::Flag("running"))
        "millpond_upkeep_running" ["pipeline", "table", "task"],
        "Whether the task is being done.";
    UPKEEP_FAILING = Gauge(Unit::Flag("failing"))
        "millpond_upkeep_failing" ["pipeline", "table", "task"],
        "Whether the task's last run failed.";
    UPKEEP_REMOVED_FILES = Counter(Unit::Count("files"))
        "millpond_upkeep_removed_files_total" ["pipeline", "table", "task"],
        "Files taken out of the table (compact, zorder), or removed (vacuum, clean_log).";
    UPKEEP_REMOVED_BYTES = Counter(Unit::Bytes)
        "millpond_upkeep_removed_bytes_total" ["pipeline", "table", "task"],
        "Bytes of the files taken out of the table or removed.";
    UPKEEP_ADDED_FILES = Counter(Unit::Count("files"))
        "millpond_upkeep_added_files_total" ["pipeline", "table", "task"],
        "Files that took the place of others.";
    UPKEEP_ADDED_BYTES = Counter(Unit::Bytes)
        "millpond_upkeep_added_bytes_total" ["pipeline", "table", "task"],
        "Bytes of the files that took the place of others.";
    UPKEEP_CONFLICTS = Counter(Unit::Count("conflicts"))
        "millpond_upkeep_conflicts_total" ["pipeline", "table", "task"],
        "Files that were rewritten in vain, because others had changed them meanwhile.";

    // Actors and pipelines.
    ACTOR_STARTS = Counter(Unit::Count("starts"))
        "millpond_actor_starts_total" ["pipeline", "actor"],
        "Actors started.";
    ACTOR_EXITS = Counter(Unit::Count("exits"))
        "millpond_actor_exits_total" ["pipeline", "actor", "cause"],
        "Actors that ended.";
    MAILBOX = Gauge(Unit::Count("messages"))
        "millpond_actor_mailbox_messages" ["pipeline", "actor", "member"],
        "Messages waiting in the actor's mailbox.";
    RESTARTS = Counter(Unit::Count("restarts"))
        "millpond_pipeline_restarts_total" ["pipeline", "actor", "cause"],
        "Restarts of the pipeline, by the actor that failed first and why.";
    STATE = Gauge(Unit::Flag("state"))
        "millpond_pipeline_state" ["pipeline", "state"],
        "Whether the pipeline is in the state.";
    READY = Gauge(Unit::Flag("ready"))
        "millpond_pipeline_ready" ["pipeline", "check"],
        "Whether the check of the readiness endpoint passes.";

    // Anomalies.
    ANOMALIES = Counter(Unit::Count("anomalies"))
        "millpond_detector_anomalies_total" ["pipeline", "detector", "severity"],
        "Windows in which a series was out of line.";
    ANOMALIES_OPEN = Gauge(Unit::Count("open"))
        "millpond_anomalies_open" ["pipeline", "detector", "severity"],
        "Anomalies that are open, by the highest severity that they have reached.";
    ANOMALIES_OPENED = Counter(Unit::Count("opened"))
        "millpond_anomalies_opened_total" ["pipeline", "detector", "severity"],
        "Anomalies that began, by the severity with which they did.";
    ANOMALIES_CLOSED = Counter(Unit::Count("closed"))
        "millpond_anomalies_closed_total" ["pipeline", "detector", "severity"],
        "Anomalies that are over, by the highest severity that they reached.";
    RESCORED = Counter(Unit::Count("windows"))
        "millpond_detector_rescored_windows_total" ["pipeline", "detector"],
        "Windows that were judged again because late data had changed them.";
    SERIES_VALUE = Gauge(Unit::Number("value"))
        "millpond_detector_series_value" ["pipeline", "detector", "series"],
        "Value of the series in the last window that was judged.";
    SERIES_EXPECTED = Gauge(Unit::Number("value"))
        "millpond_detector_series_expected_value" ["pipeline", "detector", "series"],
        "Value that was expected of the series.";
    SERIES_LOWER = Gauge(Unit::Number("value"))
        "millpond_detector_series_lower_value" ["pipeline", "detector", "series"],
        "Lower edge of what is in line for the series.";
    SERIES_UPPER = Gauge(Unit::Number("value"))
        "millpond_detector_series_upper_value" ["pipeline", "detector", "series"],
        "Upper edge of what is in line for the series.";
    SERIES_SCORE = Gauge(Unit::Number("score"))
        "millpond_detector_series_score" ["pipeline", "detector", "series"],
        "How far the series is from what was expected: 0 as expected, 0.5 on the edge, at most 1.";
    WEBHOOK_DELIVERIES = Counter(Unit::Count("deliveries"))
        "millpond_webhook_deliveries_total" ["pipeline", "webhook", "outcome"],
        "Notifications that the webhook is done with, by what became of them.";
    WEBHOOK_RETRIES = Counter(Unit::Count("retries"))
        "millpond_webhook_retries_total" ["pipeline", "webhook"],
        "Attempts to deliver a notification that failed and are made again.";
    WEBHOOK_WAITING = Gauge(Unit::Count("notifications"))
        "millpond_webhook_waiting_notifications" ["pipeline", "webhook"],
        "Notifications that wait to be delivered.";
    SERIES = Gauge(Unit::Count("series"))
        "millpond_detector_series" ["pipeline", "detector"],
        "Series that the detector keeps a baseline of.";
}
