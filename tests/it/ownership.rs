//! Two daemons that want the same data.

use std::path::Path;

use crate::support::broker::Broker;
use crate::support::config::Pipeline;
use crate::support::daemon::Daemon;
use crate::support::events::Shape;
use crate::support::producer::{Producer, Stream};
use crate::support::tables::{assert_exactly_once, assert_rows};
use crate::support::{Dir, secs};

/// Refused: another daemon owns the checkpoint or the table.
const OWNED: i32 = 3;

fn first(dir: &Path, pipeline: &mut Pipeline) -> (Broker, Stream, Daemon) {
    let broker = Broker::start(dir);
    broker.create_topic("events", 4);
    pipeline.brokers = broker.address().to_owned();
    let producer =
        Producer::new(broker.address(), "events", 4, &dir.join("input"), Shape::default());
    let stream = producer.stream(5_000, u64::MAX);
    let mut daemon = Daemon::run(&pipeline.write());
    daemon.wait_ready();
    daemon.wait_epochs(2, secs(30));
    (broker, stream, daemon)
}

#[test]
fn a_second_daemon_on_the_same_directory_is_refused() {
    let dir = Dir::new();
    let mut pipeline = Pipeline::new(dir.path(), "", "events");
    let (_broker, stream, mut daemon) = first(dir.path(), &mut pipeline);

    let mut second = Daemon::run(&pipeline.write_as("second.toml"));
    let code = second.wait_exit(secs(30));
    let log = second.log();
    assert_eq!(code, OWNED, "{log}");
    let directory = pipeline.table("checkpoints/it");
    assert!(log.contains(&*directory.to_string_lossy()), "it names the directory: {log}");

    // The first one does not notice.
    assert!(daemon.poll_exit().is_none());
    daemon.wait_epochs(3, secs(30));
    assert_eq!(daemon.metric("millpond_pipeline_restarts_total", &[]).unwrap_or(0.0), 0.0);
    let mut producer = stream.stop();
    producer.finish();
    assert_eq!(daemon.terminate().0, 0);
    Daemon::available_now(&pipeline.write()).finish(secs(60));
    assert_exactly_once(&pipeline, &producer);
}

#[test]
fn a_second_daemon_on_the_same_tables_is_refused() {
    let dir = Dir::new();
    let mut pipeline = Pipeline::new(dir.path(), "", "events");
    let (_broker, stream, mut daemon) = first(dir.path(), &mut pipeline);

    // Its own checkpoint and its own group: it gets all partitions, and knows of nothing.
    let mut other = pipeline.clone();
    other.checkpoint = Some(dir.path().join("another-checkpoint"));
    let config = other.write_as("second.toml");
    let mut second = Daemon::with(&config, &["--set", "sources.events.group_id=another"], &[]);
    let code = second.wait_exit(secs(60));
    let log = second.log();
    assert_eq!(code, OWNED, "{log}");
    assert!(log.contains("--resume-from-table"), "it names the way out: {log}");

    assert!(daemon.poll_exit().is_none());
    daemon.wait_epochs(3, secs(30));
    let mut producer = stream.stop();
    producer.finish();
    assert_eq!(daemon.terminate().0, 0);
    Daemon::available_now(&pipeline.write()).finish(secs(60));
    assert_exactly_once(&pipeline, &producer);
}

#[test]
fn of_two_daemons_that_both_believe_to_own_a_table_one_is_fenced() {
    let dir = Dir::new();
    let mut pipeline = Pipeline::new(dir.path(), "", "events");
    pipeline.stateless = true;
    let (_broker, stream, mut daemon) = first(dir.path(), &mut pipeline);

    let mut other = pipeline.clone();
    other.checkpoint = Some(dir.path().join("another-checkpoint"));
    let config = other.write_as("second.toml");
    let arguments = ["--resume-from-table", "--set", "sources.events.group_id=another"];
    let mut second = Daemon::with(&config, &arguments, &[]);
    let (mut first_ended, mut second_ended) = (None, None);
    crate::support::wait_until("one of the two to be fenced", secs(60), || {
        first_ended = daemon.poll_exit();
        second_ended = second.poll_exit();
        first_ended.is_some() || second_ended.is_some()
    });
    println!("first: {first_ended:?}, second: {second_ended:?}");
    let (mut fenced, mut survivor, config) = match first_ended {
        Some(_) => (daemon, second, config),
        None => (second, daemon, pipeline.write()),
    };
    assert_eq!(fenced.wait_exit(secs(1)), OWNED, "{}", fenced.log_tail(20));
    survivor.wait_epochs(3, secs(30));
    let mut producer = stream.stop();
    producer.finish();
    assert_eq!(survivor.terminate().0, 0, "{}", survivor.log_tail(20));
    Daemon::available_now(&config).finish(secs(60));
    assert_rows(&pipeline, &producer);
}
