use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use crate::telemetry::exporter::{recorder, render};
use crate::telemetry::exposition::Format;
use crate::telemetry::logging::capture;
use crate::telemetry::names::{self, ALL, Kind};
use crate::telemetry::progress::{
    AnomalyState, AnomalySummary, PipelineProgress, PipelineState, Severity,
};
use crate::telemetry::rate_limit::PERIOD;
use crate::telemetry::time::{EventTime, Now};

/// Runs `work` against a recorder of its own and returns the page it makes.
fn page(work: impl FnOnce()) -> String {
    let recorder = recorder().expect("the table is sound");
    metrics::with_local_recorder(&recorder, || {
        work();
        render(&recorder.handle(), &[], Now::read(), Format::Text)
    })
}

/// The value of the one series `series`, written as Prometheus writes it.
fn value(page: &str, series: &str) -> Option<f64> {
    let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
    line.parse().ok()
}

#[track_caller]
fn assert_value(page: &str, series: &str, expected: f64) {
    assert_eq!(value(page, series), Some(expected), "{series} in\n{page}");
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn spike() -> AnomalySummary {
    AnomalySummary {
        id: "spikes:0".into(),
        state: AnomalyState::Open,
        started_at: EventTime(0),
        ended_at: None,
        windows: 1,
        peak_value: 9.0,
        peak_score: 4.0,
        detector: "spikes".into(),
        kind: "traffic_spike".into(),
        key: "203.0.113.9".into(),
        window_start: EventTime(0),
        window_end: EventTime(60_000_000),
        value: 9.0,
        expected: 3.0,
        lower: 1.0,
        upper: 5.0,
        score: 4.0,
        severity: Severity::Critical,
        reason: "9 requests, expected 1 to 5".into(),
    }
}

/// Each event once, in a plausible order.
fn everything() {
    let (pipeline, source, query, sink) = ("weblogs", "logs", "traffic", "gold");
    let partitions: [Arc<str>; 2] = ["web-logs-0".into(), "web-logs-1".into()];
    ConfigLoaded { path: "weblogs.toml", pipelines: 1, sources: 1, queries: 1, sinks: 1 }.emit();
    TableFailed { pipeline, table: "devices", reason: "content", error: &"line 3" }.emit();
    TableRecovered { pipeline, table: "devices" }.emit();
    TableLoaded { pipeline, table: "devices", rows: 3, bytes: 100, took: ms(2) }.emit();
    let (table, task) = ("bronze.logs", "compact");
    UpkeepStarted { pipeline, table, task }.emit();
    let (outcome, error) = (UpkeepOutcome::Failed, &"disk full");
    UpkeepFailed { pipeline, table, task, outcome, error, again_in: Some(ms(30_000)), took: ms(9) }
        .emit();
    UpkeepFinished {
        pipeline,
        table,
        task,
        outcome: UpkeepOutcome::Done,
        version: Some(7),
        files_removed: 360,
        bytes_removed: 3_600_000,
        files_added: 1,
        bytes_added: 3_000_000,
        conflicts: 2,
        took: ms(400),
    }
    .emit();
    PipelineStateChanged { pipeline, from: None, to: PipelineState::Starting }.emit();
    let from = Some(PipelineState::Starting);
    PipelineStateChanged { pipeline, from, to: PipelineState::Running }.emit();
    PipelineDeclared { pipeline, actors: &["committer"], sinks: &[sink, "silver"] }.emit();
    CreditLevel { pipeline, limit: 1000, free: 400, owed: 20 }.emit();
    ActorStarted { pipeline, actor: "reader", member: "web-logs-0" }.emit();
    MailboxDepth { pipeline, actor: "reader", member: "web-logs-0", messages: 3 }.emit();
    SourceAssigned { pipeline, source, partitions: &partitions, assigned: 2 }.emit();

    let reader = ReaderMetrics::new(pipeline, source, "web-logs-0");
    let newest_event_time = Some(1_700_000_000_500_000);
    BatchRead { reader: &reader, records: 1000, bytes: 250_000, newest_event_time, lag: Some(40) }
        .emit();
    BatchRead { reader: &reader, records: 10, bytes: 2500, newest_event_time: None, lag: None }
        .emit();
    BatchDecoded { reader: &reader, rows: 990, took: ms(2) }.emit();
    RecordRejected { reader: &reader, offset: 7, reason: "syntax", error: &"at byte 3" }.emit();
    TombstoneSkipped { reader: &reader, records: 2 }.emit();
    CreditWaited { reader: &reader, waited: ms(30) }.emit();
    ConsumerLag { pipeline, source, partition: "web-logs-0", records: 55 }.emit();
    PartitionIdle { pipeline, source, partition: "web-logs-0", quiet: ms(5000) }.emit();
    PartitionIdle { pipeline, source, partition: "web-logs-1", quiet: ms(5000) }.emit();
    PartitionActive { pipeline, source, partition: "web-logs-0" }.emit();
    KafkaError { pipeline, source, code: "BrokerTransportFailure", error: &"down", fatal: false }
        .emit();
    KafkaStatistics {
        pipeline,
        source,
        brokers: &[
            BrokerStatistics { id: 1, round_trip: ms(4) },
            BrokerStatistics { id: -1, round_trip: ms(9) },
        ],
        lag: &[("web-logs-1".into(), 12), ("web-logs-0".into(), -1)],
        queued_records: 100,
        queued_bytes: 25_000,
    }
    .emit();

    let metrics = QueryMetrics::new(pipeline, query);
    WatermarkAdvanced { pipeline, watermark: 1_700_000_000_000_000 }.emit();
    WatermarkAdvanced { pipeline, watermark: i64::MAX }.emit();
    LateRows { query: &metrics, rows: 4 }.emit();
    LateRows { query: &metrics, rows: 0 }.emit();
    NullEventTime { query: &metrics, rows: 1 }.emit();
    DuplicatesDropped { query: &metrics, rows: 6 }.emit();
    WindowsClosed { query: &metrics, windows: 2 }.emit();
    RowsProduced { query: &metrics, rows: 42 }.emit();
    StateSize { pipeline, query, shard: 1, windows: 2, groups: 30, bytes: 4096 }.emit();

    let rule = ExpectationMetrics::new(pipeline, query, "valid_price", "dropped");
    ExpectationChecked { rule: &rule, passed: 5, violated: 2 }.emit();
    TypesRejected { pipeline, sink, rows: 1 }.emit();
    let ended = |outcome, error| BatchRunEnded {
        pipeline,
        job: "totals",
        outcome,
        rows_read: Some(9),
        rows_written: Some(3),
        version: Some(2),
        attempts: 1,
        took: ms(40),
        error,
    };
    ended("succeeded", None).emit();
    ended("failed", Some("there is no table")).emit();
    BatchRunRetried { pipeline, job: "totals", attempt: 1, pause: ms(1000), error: &"busy" }.emit();
    BatchLogFailed { pipeline, job: "totals", error: &"disk full" }.emit();

    EpochStarted { pipeline, number: 12 }.emit();
    EpochAligned { pipeline, number: 12, align: ms(3) }.emit();
    FileWritten { pipeline, sink, path: "date=2023-11-14/part-0.parquet", rows: 40, bytes: 5000 }
        .emit();
    EpochDurable { pipeline, number: 12, bytes: 900, segments: 2, snapshot: ms(5), write: ms(8) }
        .emit();
    let error: &dyn std::fmt::Display = &"conflict";
    SinkRetrying { pipeline, sink, reason: "conflict", error, attempt: 1, backoff: ms(100) }.emit();
    SinkRecovered { pipeline, sink, attempts: 1 }.emit();
    SinkCommitted {
        pipeline,
        sink,
        version: Some(7),
        files: 1,
        rows: 40,
        bytes: 5000,
        took: ms(20),
    }
    .emit();
    EpochCommitted { pipeline, number: 12, commit: ms(20), total: ms(36) }.emit();
    EpochStarted { pipeline, number: 13 }.emit();
    EpochFailed { pipeline, number: 13, error: &"disk full" }.emit();
    Fenced { pipeline, sink, app_id: "millpond/x", expected: Some(5), found: None }.emit();

    for change in [AnomalyChange::Opened, AnomalyChange::Updated, AnomalyChange::Closed] {
        AnomalyChanged { pipeline, change, corrected: false, anomaly: &spike() }.emit();
    }
    let detector = "spikes";
    let (anomalous, open) = ([0, 1, 2], [0, 0, 1]);
    WindowsJudged { pipeline, detector, windows: 3, anomalous, rescored: 1, open }.emit();
    let band = Some((3.0, 1.0, 5.0));
    for series in ["/a", "/b"] {
        SeriesJudged { pipeline, detector, series, value: 9.0, band, score: 0.8 }.emit();
    }
    SeriesHidden { pipeline, detector, series: "/b" }.emit();
    DetectorSeries { pipeline, detector: "spikes", series: 8 }.emit();
    let webhook = "pager";
    WebhookWaiting { pipeline, webhook, notifications: 2 }.emit();
    let error = &"no answer";
    WebhookRetrying { pipeline, webhook, error, attempt: 1, backoff: ms(500) }.emit();
    for outcome in [DeliveryOutcome::Delivered, DeliveryOutcome::Refused] {
        WebhookDone { pipeline, webhook, outcome, notifications: 1, reason: "400" }.emit();
    }

    let exit =
        |cause, error| ActorExited { pipeline, actor: "committer", member: sink, cause, error };
    exit(ExitCause::Error, Some(&"disk full")).emit();
    exit(ExitCause::Stopped, None).emit();
    PipelineRestarting {
        pipeline,
        actor: "committer",
        cause: ExitCause::Error,
        error: &"disk full",
        attempt: 1,
        backoff: ms(500),
    }
    .emit();
}

#[test]
fn events_count_what_they_say() {
    let page = page(everything);
    let reader = "{pipeline=\"weblogs\",source=\"logs\",partition=\"web-logs-0\"}";
    let of_source = "{pipeline=\"weblogs\",source=\"logs\"}";
    let of_query = "{pipeline=\"weblogs\",query=\"traffic\"}";
    let of_sink = "{pipeline=\"weblogs\",sink=\"gold\"}";
    for (name, labels, expected) in [
        ("millpond_source_assigned_partitions", of_source, 2.0),
        ("millpond_source_records_total", reader, 1010.0),
        ("millpond_source_bytes_total", reader, 252_500.0),
        ("millpond_source_batch_records_count", of_source, 2.0),
        ("millpond_source_batch_records_sum", of_source, 1010.0),
        ("millpond_source_consumer_lag_records", reader, 55.0),
        ("millpond_source_newest_event_timestamp_seconds", reader, 1_700_000_000.5),
        ("millpond_source_partition_idle", reader, 0.0),
        ("millpond_source_credit_wait_seconds_sum", of_source, 0.03),
        ("millpond_codec_decoded_rows_total", of_source, 990.0),
        ("millpond_codec_skipped_tombstones_total", of_source, 2.0),
        ("millpond_kafka_fetch_queue_bytes", of_source, 25_000.0),
        ("millpond_query_late_rows_total", of_query, 4.0),
        ("millpond_query_null_event_time_rows_total", of_query, 1.0),
        ("millpond_query_duplicate_rows_total", of_query, 6.0),
        ("millpond_query_closed_windows_total", of_query, 2.0),
        ("millpond_query_output_rows_total", of_query, 42.0),
        ("millpond_sink_commits_total", of_sink, 1.0),
        ("millpond_sink_committed_rows_total", of_sink, 40.0),
        ("millpond_sink_table_version", of_sink, 7.0),
        ("millpond_sink_retrying", of_sink, 0.0),
        ("millpond_sink_fencings_total", of_sink, 1.0),
        ("millpond_sink_commit_duration_seconds_sum", of_sink, 0.02),
        ("millpond_sink_file_size_bytes_sum", of_sink, 5000.0),
        ("millpond_pipeline_watermark_timestamp_seconds", "{pipeline=\"weblogs\"}", 1.7e9),
        ("millpond_pipeline_watermark_lag_seconds", "{pipeline=\"weblogs\"}", 0.0),
        ("millpond_checkpoint_durable_epoch", "{pipeline=\"weblogs\"}", 12.0),
        ("millpond_checkpoint_written_bytes_total", "{pipeline=\"weblogs\"}", 900.0),
        ("millpond_checkpoint_age_seconds", "{pipeline=\"weblogs\"}", 0.0),
    ] {
        assert_value(&page, &format!("{name}{labels}"), expected);
    }
    for (series, expected) in [
        (
            "source_partition_idle{pipeline=\"weblogs\",source=\"logs\",partition=\"web-logs-1\"}",
            1.0,
        ),
        (
            "kafka_broker_round_trip_seconds{pipeline=\"weblogs\",source=\"logs\",broker=\"1\"}",
            0.004,
        ),
        (
            "codec_dead_letter_records_total{pipeline=\"weblogs\",source=\"logs\",reason=\"syntax\"}",
            1.0,
        ),
        ("checkpoint_epochs_total{pipeline=\"weblogs\",stage=\"started\"}", 2.0),
        ("checkpoint_epochs_total{pipeline=\"weblogs\",stage=\"failed\"}", 1.0),
        ("checkpoint_duration_seconds_sum{pipeline=\"weblogs\",phase=\"snapshot\"}", 0.005),
        ("state_groups{pipeline=\"weblogs\",query=\"traffic\",shard=\"1\"}", 30.0),
        ("sink_retries_total{pipeline=\"weblogs\",sink=\"silver\",reason=\"conflict\"}", 0.0),
        ("sink_fencings_total{pipeline=\"weblogs\",sink=\"silver\"}", 0.0),
        ("checkpoint_epochs_total{pipeline=\"weblogs\",stage=\"committed\"}", 1.0),
        ("pipeline_restarts_total{pipeline=\"weblogs\",actor=\"committer\",cause=\"panic\"}", 0.0),
        ("pipeline_credit_limit_bytes{pipeline=\"weblogs\"}", 1000.0),
        ("pipeline_credit_free_bytes{pipeline=\"weblogs\"}", 400.0),
        ("pipeline_credit_owed_bytes{pipeline=\"weblogs\"}", 20.0),
        ("sink_retries_total{pipeline=\"weblogs\",sink=\"gold\",reason=\"conflict\"}", 1.0),
        ("actor_exits_total{pipeline=\"weblogs\",actor=\"committer\",cause=\"error\"}", 1.0),
        ("pipeline_restarts_total{pipeline=\"weblogs\",actor=\"committer\",cause=\"error\"}", 1.0),
        ("pipeline_state{pipeline=\"weblogs\",state=\"running\"}", 1.0),
        ("pipeline_state{pipeline=\"weblogs\",state=\"starting\"}", 0.0),
        (
            "detector_anomalies_total{pipeline=\"weblogs\",detector=\"spikes\",severity=\"critical\"}",
            2.0,
        ),
        (
            "detector_anomalies_total{pipeline=\"weblogs\",detector=\"spikes\",severity=\"info\"}",
            0.0,
        ),
        ("anomalies_open{pipeline=\"weblogs\",detector=\"spikes\",severity=\"critical\"}", 1.0),
        (
            "anomalies_opened_total{pipeline=\"weblogs\",detector=\"spikes\",severity=\"critical\"}",
            1.0,
        ),
        (
            "detector_series_upper_value{pipeline=\"weblogs\",detector=\"spikes\",series=\"/a\"}",
            5.0,
        ),
        (
            "webhook_deliveries_total{pipeline=\"weblogs\",webhook=\"pager\",outcome=\"refused\"}",
            1.0,
        ),
        (
            "actor_mailbox_messages{pipeline=\"weblogs\",actor=\"reader\",member=\"web-logs-0\"}",
            3.0,
        ),
    ] {
        assert_value(&page, &format!("millpond_{series}"), expected);
    }
    assert!(!page.contains("broker=\"-1\""), "a bootstrap address is no broker");
    assert!(!page.contains("203.0.113.9"), "the key of an anomaly is no label");
    assert!(!page.contains("series=\"/b\""), "a series that is not shown any more");
    let durable = "millpond_checkpoint_durable_timestamp_seconds{pipeline=\"weblogs\"}";
    assert!(value(&page, durable).is_some_and(|at| at > 1.7e9));
    let committed = "millpond_sink_committed_timestamp_seconds{pipeline=\"weblogs\",sink=\"gold\"}";
    assert!(value(&page, committed).is_some_and(|at| at > 1.7e9));
}

/// Name of each family on the page with its type, help and the label names of its series.
fn families(page: &str) -> BTreeMap<String, (String, String, BTreeSet<Vec<String>>)> {
    let mut families = BTreeMap::new();
    let (mut name, mut help) = (String::new(), String::new());
    for line in page.lines().filter(|line| !line.is_empty()) {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (of, text) = rest.split_once(' ').expect("a name and a text");
            (name, help) = (of.to_owned(), text.to_owned());
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (of, kind) = rest.split_once(' ').expect("a name and a type");
            assert_eq!(of, name, "TYPE follows its HELP");
            families.insert(name.clone(), (kind.to_owned(), help.clone(), BTreeSet::new()));
        } else {
            assert!(line.starts_with(&name), "{line} is not under its family");
            let labels = match line.split_once('{') {
                Some((_, rest)) => rest
                    .split_once('}')
                    .expect("a closing brace")
                    .0
                    .split(',')
                    .map(|pair| pair.split_once('=').expect("a pair").0.to_owned())
                    .filter(|label| label != "le")
                    .collect(),
                None => Vec::new(),
            };
            families.get_mut(&name).expect("TYPE came first").2.insert(labels);
        }
    }
    families
}

#[test]
fn every_metric_of_the_table_is_emitted_as_the_table_says() {
    let progress = PipelineProgress::new("weblogs");
    let recorder = recorder().expect("the table is sound");
    let page = metrics::with_local_recorder(&recorder, || {
        everything();
        // These three are set where they happen: at start and by the server.
        names::BUILD.with(["0.1.0", "unknown"]).set(1.0);
        names::HTTP_REQUESTS.with(["/metrics", "200"]).increment(1);
        names::HTTP_SECONDS.with(["/metrics"]).record(0.001);
        render(&recorder.handle(), &[progress], Now::read(), Format::Text)
    });
    let families = families(&page);
    for entry in ALL {
        let Some((kind, help, label_sets)) = families.get(entry.name) else {
            panic!("nothing emits {}", entry.name);
        };
        assert_eq!(kind, entry.kind.as_str(), "{}", entry.name);
        assert_eq!(help, entry.help, "{}", entry.name);
        let expected: Vec<String> = entry.labels.iter().map(|&label| label.to_owned()).collect();
        assert_eq!(label_sets, &BTreeSet::from([expected]), "{}", entry.name);
        if entry.kind == Kind::Histogram {
            assert!(page.contains(&format!("{}_bucket{{", entry.name)), "not a summary");
        }
    }
    let ours = families.keys().filter(|name| name.starts_with("millpond_")).count();
    assert_eq!(ours, ALL.len(), "nothing is emitted that the table does not have");
}

#[test]
fn a_revoked_partition_leaves_no_gauge_behind() {
    let page = page(|| {
        everything();
        let partitions: [Arc<str>; 1] = ["web-logs-0".into()];
        SourceRevoked {
            pipeline: "weblogs",
            source: "logs",
            partitions: &partitions,
            assigned: 1,
            lost: false,
        }
        .emit();
    });
    for gauge in ["consumer_lag_records", "newest_event_timestamp_seconds", "partition_idle"] {
        let series = format!(
            "millpond_source_{gauge}{{pipeline=\"weblogs\",source=\"logs\",partition=\"web-logs-0\"}}"
        );
        assert_eq!(value(&page, &series), None, "{page}");
    }
    let records = "millpond_source_records_total{pipeline=\"weblogs\",source=\"logs\",\
        partition=\"web-logs-0\"}";
    assert_value(&page, records, 1010.0);
}

#[test]
fn rejected_records_are_all_counted_and_rarely_logged() {
    let start = Instant::now();
    let mut text = String::new();
    let lines = capture("info", || {
        text = page(|| {
            // Two readers of one source share the limit.
            let readers = [
                ReaderMetrics::new("rejecting", "logs", "web-logs-0"),
                ReaderMetrics::new("rejecting", "logs", "web-logs-1"),
            ];
            for n in 0..1000_u32 {
                let reader = &readers[n as usize % 2];
                let now = start + PERIOD * n / 500;
                let reason = if n % 10 == 0 { "type" } else { "syntax" };
                RecordRejected { reader, offset: i64::from(n), reason, error: &"bad" }.emit_at(now);
            }
        });
    });
    assert_eq!(lines.len(), 4, "two reasons in two periods: {lines:#?}");
    assert_eq!(lines[0]["message"], "record rejected");
    assert_eq!((&lines[0]["reason"], &lines[0]["suppressed"]), (&"type".into(), &0.into()));
    assert_eq!((&lines[0]["offset"], &lines[0]["partition"]), (&0.into(), &"web-logs-0".into()));
    assert_eq!(lines[2]["suppressed"], 49, "{lines:#?}");
    let series = |reason| {
        format!(
            "millpond_codec_dead_letter_records_total\
             {{pipeline=\"rejecting\",source=\"logs\",reason=\"{reason}\"}}"
        )
    };
    assert_value(&text, &series("type"), 100.0);
    assert_value(&text, &series("syntax"), 900.0);
}

#[test]
fn lines_are_lowercase_with_the_facts_as_fields() {
    let mut lines = Vec::new();
    page(|| lines = capture("trace", everything));
    let messages: BTreeSet<&str> =
        lines.iter().filter_map(|line| line["message"].as_str()).collect();
    assert!(messages.len() >= 30, "{messages:?}");
    for message in messages {
        assert!(!message.contains(|c: char| c.is_uppercase() || c.is_ascii_digit()), "{message}");
    }
    let find = |message: &str| {
        lines.iter().find(|line| line["message"] == message).unwrap_or_else(|| {
            panic!("no line '{message}'");
        })
    };
    let found = find("anomaly opened");
    assert_eq!((&found["key"], &found["level"]), (&"203.0.113.9".into(), &"WARN".into()));
    let read = find("batch read");
    assert_eq!(read["newest_event_time"], "2023-11-14T22:13:20.500Z");
    let exited = find("actor exited");
    assert_eq!((&exited["cause"], &exited["error"]), (&"error".into(), &"disk full".into()));
    assert_eq!(find("pipeline state changed")["to"], "starting");
}

#[test]
fn emitting_without_a_recorder_does_no_harm() {
    everything();
}
