//! Killed exactly there: each fail point holds the daemon up, and then it is killed. What random
//! moments seldom meet, such as the one between the ledger and a table's commit, is met for sure.

use std::time::Instant;

use crate::support::broker::Broker;
use crate::support::config::Pipeline;
use crate::support::daemon::Daemon;
use crate::support::events::Shape;
use crate::support::producer::Producer;
use crate::support::tables::assert_exactly_once;
use crate::support::{Dir, millis, secs};

/// Fail points, and how often they are passed before one holds: with several tables and shards,
/// some numbers fall between the first and the last of an epoch.
const POINTS: &[(&str, u32)] = &[
    ("partition_reader_barrier", 6),
    ("operator_shard_snapshot", 9),
    ("anomaly_detector_snapshot", 1),
    ("delta_committer_prepare", 6),
    ("delta_committer_prepare", 9),
    ("checkpoint_writer_before_write", 2),
    ("checkpoint_writer_after_write", 2),
    // None of the tables, some of them, all but one: five tables and the dead letters.
    ("delta_committer_commit", 6),
    ("delta_committer_commit", 8),
    ("delta_committer_commit", 11),
    // The first epoch of a new start.
    ("checkpoint_writer_before_write", 0),
    ("checkpoint_writer_after_write", 0),
    ("delta_committer_commit", 0),
    ("delta_committer_commit", 3),
];

#[test]
fn heavy_a_kill_at_any_point_of_an_epoch_repeats_and_loses_nothing() {
    let dir = Dir::new();
    let broker = Broker::start(dir.path());
    broker.create_topic("events", 4);
    let input = dir.path().join("input");
    let shape = Shape { step: 20_000, malformed_every: 300, ..Shape::default() };
    let stream =
        Producer::new(broker.address(), "events", 4, &input, shape).stream(6_000, u64::MAX);
    let mut pipeline = Pipeline::new(dir.path(), broker.address(), "events");
    pipeline.interval = millis(300);
    let config = pipeline.write();

    for (point, passes) in POINTS {
        // Longer than the test waits; the process is killed meanwhile.
        let mut daemon = Daemon::failing(&config, &format!("{point}={passes}*off->sleep(60000)"));
        let (durable, committed) = wait_held(&mut daemon);
        println!(
            "{point} after {passes}: held with epoch {durable:?} durable, {committed:?} committed"
        );
        if *point == "delta_committer_commit" {
            assert!(durable > committed, "held between the ledger and the table");
        }
        daemon.kill();
    }

    let mut producer = stream.stop();
    producer.finish();
    Daemon::available_now(&config).finish(secs(60));
    assert_exactly_once(&pipeline, &producer);
}

/// Waits until the daemon's epochs stand still, four intervals long, and says where.
fn wait_held(daemon: &mut Daemon) -> (Option<u64>, Option<u64>) {
    let mut last = (None, None);
    let mut since = Instant::now();
    daemon.wait("the fail point to hold it up", secs(60), |daemon| {
        let Some(report) = daemon.report() else { return false };
        let at = |pointer: &str| report.pointer(pointer).and_then(serde_json::Value::as_u64);
        let now = (at("/checkpoint/epoch"), at("/checkpoint/committedEpoch"));
        let working = report["sources"][0]["assigned"] == true && report["numInputRows"] != 0;
        if now != last || !working {
            (last, since) = (now, Instant::now());
        }
        since.elapsed() > millis(1200)
    });
    last
}
