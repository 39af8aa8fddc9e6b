use super::*;

fn anomaly(number: usize, severity: Severity) -> AnomalySummary {
    AnomalySummary {
        id: format!("spikes:{number}").into(),
        state: AnomalyState::Open,
        detector: "spikes".into(),
        kind: "traffic_spike".into(),
        key: format!("/api/{number}").into(),
        started_at: EventTime(1_700_000_000_000_000),
        ended_at: None,
        windows: 1,
        peak_value: 900.0,
        peak_score: 6.0,
        window_start: EventTime(1_700_000_000_000_000),
        window_end: EventTime(1_700_000_060_000_000),
        value: 900.0,
        expected: 300.0,
        lower: 200.0,
        upper: f64::INFINITY,
        score: 6.0,
        severity,
        reason: "900 requests, expected 300".into(),
    }
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A pipeline with one source, query and sink, created at the time returned.
fn pipeline() -> (Arc<PipelineProgress>, Now) {
    let now = Now::read();
    let pipeline = PipelineProgress::new_at("weblogs".into(), now);
    pipeline.source("logs").describe("kafka", "topic web-logs at broker:9092");
    pipeline.query("traffic").describe("abc", "append", "SELECT ...", true);
    pipeline.sink("gold").describe("delta", "./data/gold");
    (pipeline, now)
}

#[test]
fn the_report_adds_partitions_up_and_takes_rates_from_a_moved_clock() {
    let (pipeline, start) = pipeline();
    let logs = pipeline.source("logs");
    let (a, b) = (logs.partition("web-logs-0"), logs.partition("web-logs-1"));
    a.starts_at(100);
    b.starts_at(0);
    for second in 1..=20 {
        a.read(100, 25_000);
        logs.processed(99);
        pipeline.sample(start.after(seconds(second)));
    }
    a.advanced(2100, Some(1_700_000_100_000_000));
    a.advanced(2101, Some(1_700_000_000_000_000));
    a.ends_at(2500);
    b.advanced(7, None);
    b.ends_at(5);
    a.watermark(1_700_000_090_000_000);
    pipeline.watermark(start.unix_us - 90_000_000);
    logs.rejected("type");
    logs.rejected("type");
    logs.rejected("syntax");
    logs.tombstones(3);

    let report = pipeline.snapshot_at(start.after(seconds(20)));
    assert_eq!(report.num_input_rows, 2000);
    assert_eq!(report.input_rows_per_second, 100.0);
    assert_eq!(report.processed_rows_per_second, 99.0);
    assert_eq!(report.input_bytes_per_second, 25_000.0);
    assert_eq!(report.uptime_ms, 20_000);
    assert_eq!(report.watermark_lag_ms, Some(110_000));
    assert_eq!(report.lag, Some(399));
    let source = &report.sources[0];
    assert_eq!(source.num_dead_letters, 3);
    assert_eq!(source.dead_letters["type"], 2);
    assert_eq!(source.num_tombstones, 3);
    let [first, second] = &source.partitions[..] else { panic!("two partitions") };
    assert_eq!((first.start_offset, first.next_offset), (Some(100), Some(2101)));
    assert_eq!(first.event_time.max, Some(EventTime(1_700_000_100_000_000)), "never goes back");
    assert_eq!((second.lag, second.event_time.max), (Some(0), None));
    assert_eq!(source.event_time.watermark, Some(EventTime(1_700_000_090_000_000)));
}

#[test]
fn the_json_has_sparks_names() {
    let (pipeline, start) = pipeline();
    pipeline.source("logs").partition("web-logs-0").advanced(10, Some(1_700_000_000_000_000));
    let traffic = pipeline.query("traffic");
    traffic.output(40);
    traffic.windows_closed(2);
    traffic.late(3);
    traffic.null_time(1);
    traffic.state(0, 2, 100, 4096);
    traffic.state(1, 2, 50, 2048);
    traffic.watermark(i64::MAX);
    pipeline.sink("gold").committed(Some(7), 40, 2, 1234, Duration::from_millis(12));
    pipeline.epoch_aligned(Duration::from_millis(3));
    pipeline.epoch_durable_at(
        12,
        999,
        4,
        Duration::from_millis(5),
        Duration::from_millis(8),
        start,
    );
    pipeline.epoch_committed(12, Duration::from_millis(20));
    pipeline.anomaly(anomaly(1, Severity::Critical));
    pipeline.detector("spikes").found(Severity::Critical);
    pipeline.detector("spikes").series(8);
    pipeline.detector("spikes").open(1);

    let json = serde_json::to_value(pipeline.snapshot_at(start.after(seconds(4)))).expect("JSON");
    assert_eq!(json["name"], "weblogs");
    assert_eq!(json["state"], "starting");
    assert_eq!(json["epoch"], 12);
    assert_eq!(
        json["durationMs"],
        serde_json::json!({"align": 3, "snapshot": 5, "write": 8, "commit": 20})
    );
    assert_eq!(json["checkpoint"]["ageMs"], 4000);
    assert_eq!(json["checkpoint"]["committedEpoch"], 12);
    assert_eq!(json["eventTime"]["max"], "2023-11-14T22:13:20.000Z");
    assert_eq!(json["eventTime"]["watermark"], serde_json::Value::Null);
    let query = &json["queries"][0];
    assert_eq!(query["eventTime"]["watermark"], "infinity");
    assert_eq!(query["numOutputRows"], 40);
    assert_eq!(query["stateOperators"][0]["numRowsTotal"], 150);
    assert_eq!(query["stateOperators"][0]["memoryUsedBytes"], 6144);
    assert_eq!(query["stateOperators"][0]["numOpenWindows"], 2);
    assert_eq!(query["stateOperators"][0]["numRowsDroppedByWatermark"], 3);
    let sink = &json["sinks"][0];
    assert_eq!((&sink["type"], &sink["version"]), (&"delta".into(), &7.into()));
    assert_eq!((&sink["lastCommitMs"], &sink["retrying"]), (&12.into(), &().into()));
    assert_eq!(json["sources"][0]["type"], "kafka");
    assert_eq!(json["detectors"][0]["anomalies"]["critical"], 1);
    let found = &json["recentAnomalies"][0];
    assert_eq!(found["windowEnd"], "2023-11-14T22:14:20.000Z");
    assert_eq!(found["upper"], serde_json::Value::Null, "infinity is not JSON");
    assert_eq!(found["severity"], "critical");
    assert_eq!((&found["state"], &found["endedAt"]), (&"open".into(), &().into()));
    assert_eq!(json["openAnomalies"][0], *found);
    assert_eq!(json["detectors"][0]["open"], 1);
}

#[test]
fn an_anomaly_is_one_entry_as_it_stands() {
    let (pipeline, _) = pipeline();
    let keys = |of: &[AnomalySummary]| of.iter().map(|a| a.key.to_string()).collect::<Vec<_>>();
    for number in 0..120 {
        pipeline.anomaly(anomaly(number, Severity::Info));
    }
    let report = pipeline.snapshot();
    assert_eq!((report.recent_anomalies.len(), report.open_anomalies.len()), (100, 100));
    assert_eq!(keys(&report.open_anomalies)[0], "/api/119");
    for number in 0..119 {
        let closed = AnomalySummary {
            state: AnomalyState::Closed,
            ended_at: Some(EventTime(1_700_000_060_000_000)),
            ..anomaly(number, Severity::Warning)
        };
        pipeline.anomaly(closed);
    }
    let report = pipeline.snapshot();
    assert_eq!(report.recent_anomalies.len(), 100);
    assert_eq!(keys(&report.open_anomalies), ["/api/119"]);
    // A generation that starts from a checkpoint knows better which are open.
    pipeline.anomalies_restored("spikes", vec![anomaly(7, Severity::Info)]);
    assert_eq!(keys(&pipeline.snapshot().open_anomalies), ["/api/7"]);
}

#[test]
fn readiness_says_what_is_missing_and_follows_what_happens() {
    let (pipeline, start) = pipeline();
    pipeline.set_checkpoint_limit(seconds(30));
    let at = |n| pipeline.readiness_at(start.after(seconds(n)));
    let failing = |readiness: Readiness| -> Vec<&'static str> {
        assert_eq!(readiness.ready, readiness.checks().iter().all(|(_, check)| check.ok));
        readiness.checks().iter().filter(|(_, c)| !c.ok).map(|(name, _)| *name).collect()
    };
    assert_eq!(failing(at(0)), ["running", "assigned", "checkpointing", "sinks_reachable"]);
    assert_eq!(at(0).running.reason.as_deref(), Some("the pipeline is starting"));
    assert_eq!(at(0).sinks_reachable.reason.as_deref(), Some("sink 'gold' is not open yet"));

    assert_eq!(pipeline.set_state(PipelineState::Running), PipelineState::Starting);
    pipeline.source("logs").assigned();
    pipeline.sink("gold").opened(Some(3));
    assert_eq!(failing(at(1)), ["checkpointing"]);
    // An epoch of an earlier process is not a sign of this one's health.
    pipeline.epoch_restored(4, start.unix_us / 1000 - 60_000);
    assert_eq!(failing(at(1)), ["checkpointing"]);
    assert_eq!(pipeline.snapshot_at(start).checkpoint.age_ms.map(|ms| ms / 1000), Some(60));

    pipeline.epoch_durable_at(5, 0, 0, seconds(0), seconds(0), start.after(seconds(2)));
    assert!(at(2).ready);
    assert!(at(32).ready);
    let late = at(33).checkpointing.reason.expect("31 s are more than 30");
    assert!(late.contains("31 s old"), "{late}");
    // A failure shows at once, and until an epoch is durable again.
    pipeline.epoch_failed("No space left on device");
    let failed = at(3).checkpointing.reason.expect("the last epoch failed");
    assert!(failed.contains("No space left"), "{failed}");
    pipeline.epoch_durable_at(6, 0, 0, seconds(0), seconds(0), start.after(seconds(3)));
    assert!(at(3).ready);

    pipeline.sink("gold").retrying("permission denied", 2, seconds(4));
    let reason = at(3).sinks_reachable.reason.expect("it is retrying");
    assert_eq!(reason, "sink 'gold' is retrying after 2 failed attempts: permission denied");
    pipeline.sink("gold").recovered();
    assert!(at(3).ready);
    pipeline.source("logs").unassigned();
    assert_eq!(failing(at(3)), ["assigned"]);
}

#[test]
fn the_first_fault_of_a_generation_is_the_root_cause() {
    let (pipeline, start) = pipeline();
    pipeline.source("logs").partition("web-logs-0").read(5, 50);
    pipeline.source("logs").assigned();
    pipeline.query("traffic").state(0, 1, 2, 3);
    assert!(pipeline.fault("committer gold", "disk full"));
    assert!(!pipeline.fault("reader web-logs-0", "mailbox closed"));
    pipeline.restarted();
    pipeline.generation_started();
    let report = pipeline.snapshot_at(start);
    let fault = report.root_cause.expect("kept while it recovers");
    assert_eq!((&*fault.actor, &*fault.error), ("committer gold", "disk full"));
    assert_eq!(report.restarts, 1);
    assert_eq!(report.num_input_rows, 5, "counters go on");
    assert!(report.sources[0].partitions.is_empty(), "partitions are assigned anew");
    assert!(!report.sources[0].assigned);
    assert_eq!(report.queries[0].state_operators[0].num_rows_total, 0);
    assert!(pipeline.fault("reader web-logs-0", "broker gone"), "a new generation's own");
}

#[test]
fn the_list_of_anomalies_is_bounded_and_the_counts_are_not() {
    let (pipeline, start) = pipeline();
    for number in 0..250 {
        pipeline.anomaly(anomaly(number, Severity::Warning));
        pipeline.detector("spikes").found(Severity::Warning);
    }
    let report = pipeline.snapshot_at(start);
    assert_eq!(report.recent_anomalies.len(), 100);
    assert_eq!(&*report.recent_anomalies[0].key, "/api/249");
    assert_eq!(report.detectors[0].anomalies["warning"], 250);
    assert_eq!(report.detectors[0].anomalies["info"], 0);
}

#[test]
fn many_threads_update_while_one_looks() {
    let (pipeline, _) = pipeline();
    std::thread::scope(|scope| {
        for number in 0..4 {
            let pipeline = &pipeline;
            scope.spawn(move || {
                let source = pipeline.source("logs");
                let partition = source.partition(&format!("web-logs-{number}"));
                for offset in 0..10_000 {
                    partition.read(10, 100);
                    partition.advanced(offset * 10, Some(offset));
                    source.processed(10);
                }
            });
        }
        for _ in 0..50 {
            let report = pipeline.snapshot();
            assert!(report.num_input_rows <= 400_000);
        }
    });
    let report = pipeline.snapshot();
    assert_eq!(report.num_input_rows, 400_000);
    assert_eq!(report.sources[0].num_processed_rows, 400_000);
    assert_eq!(report.sources[0].partitions.len(), 4);
}
