//! A panic in each actor in turn: the pipeline starts again by itself and the tables are right.

use crate::support::broker::Broker;
use crate::support::config::Pipeline;
use crate::support::daemon::Daemon;
use crate::support::events::Shape;
use crate::support::producer::Producer;
use crate::support::tables::assert_exactly_once;
use crate::support::{Dir, secs};

/// Fail points with the actor that they are in and how often they are passed before the panic.
pub const POINTS: &[(&str, &str, u32)] = &[
    ("partition_reader", "partition_reader", 200),
    ("partition_reader_barrier", "partition_reader", 9),
    ("watermark_tracker", "watermark_tracker", 60),
    ("operator_shard", "operator_shard", 300),
    ("operator_shard_snapshot", "operator_shard", 13),
    ("anomaly_detector", "anomaly_detector", 20),
    ("anomaly_detector_snapshot", "anomaly_detector", 2),
    ("delta_committer", "delta_committer", 100),
    ("delta_committer_prepare", "delta_committer", 9),
    ("delta_committer_commit", "delta_committer", 9),
    ("checkpoint_writer", "checkpoint_writer", 40),
    ("checkpoint_writer_before_write", "checkpoint_writer", 2),
    ("checkpoint_writer_after_write", "checkpoint_writer", 2),
];

#[test]
fn heavy_a_panic_in_any_actor_restarts_the_pipeline() {
    let dir = Dir::new();
    let broker = Broker::start(dir.path());
    broker.create_topic("events", 4);
    let input = dir.path().join("input");
    // Quick event time: windows close all the time, so that every actor has work.
    let shape = Shape { step: 20_000, malformed_every: 500, ..Shape::default() };
    let stream =
        Producer::new(broker.address(), "events", 4, &input, shape).stream(8_000, u64::MAX);
    let pipeline = Pipeline::new(dir.path(), broker.address(), "events");
    let config = pipeline.write();

    for (point, actor, passes) in POINTS {
        println!("{point}: a panic after {passes} passes");
        let action = format!("{point}={passes}*off->1*panic({point} panics for the test)->off");
        let mut daemon = Daemon::failing(&config, &action);
        let of_actor = [("cause", "panic"), ("actor", *actor)];
        daemon.wait("a restart after the panic", secs(60), |daemon| {
            daemon.metric("millpond_pipeline_restarts_total", &of_actor) >= Some(1.0)
        });
        let cause = daemon.reported("/rootCause").expect("the API shows the root cause");
        let (who, why) = (cause["actor"].to_string(), cause["error"].to_string());
        assert!(who.contains(actor) && why.contains(point), "root cause: {cause}");
        daemon.wait_ready();
        daemon.wait_epochs(2, secs(60));
        let restarts = daemon.metric("millpond_pipeline_restarts_total", &[]);
        assert_eq!(restarts, Some(1.0), "one panic, one restart");
        let (code, _) = daemon.terminate();
        assert_eq!(code, 0, "a daemon that recovered stops in order\n{}", daemon.log_tail(30));
    }

    let mut producer = stream.stop();
    producer.finish();
    Daemon::available_now(&config).finish(secs(60));
    assert_exactly_once(&pipeline, &producer);
}
