//! Tables in an object store: everything that holds on a local disk holds there.

use std::path::Path;
use std::time::Duration;

use crate::support::broker::Broker;
use crate::support::config::Pipeline;
use crate::support::daemon::Daemon;
use crate::support::events::Shape;
use crate::support::faults::Faults;
use crate::support::object_store::{BUCKET, SECRET, Store, pairs};
use crate::support::producer::Producer;
use crate::support::random::Random;
use crate::support::tables::assert_exactly_once;
use crate::support::{Dir, millis, secs};

const PARTITIONS: i32 = 2;

/// The usual pipeline, with all its tables in S3.
fn on_s3(dir: &Path, brokers: &str, store: &Store) -> Pipeline {
    let mut pipeline = Pipeline::new(dir, brokers, "events");
    pipeline.tables = Some(format!("s3://{BUCKET}/tables"));
    pipeline.storage = Store::s3_environment(store.address());
    pipeline
}

#[test]
fn heavy_every_event_counts_once_on_s3_through_kills_and_bad_answers() {
    let dir = Dir::new();
    let mut random = Random::seeded();
    let store = Store::s3(dir.path());
    let faults = Faults::before(store.address());
    let environment = Store::s3_environment(faults.address());
    let broker = Broker::start(dir.path());
    broker.create_topic("events", PARTITIONS);
    let input = dir.path().join("input");
    let shape = Shape { malformed_every: 60, ..Shape::default() };
    let mut producer = Producer::new(broker.address(), "events", PARTITIONS, &input, shape);
    producer.produce(2_000);
    producer.flush();
    let stream = producer.stream(2_000, 30_000);

    let pipeline = on_s3(dir.path(), broker.address(), &store);
    faults.refuse_every(11);
    faults.lose_every(13);
    let config = pipeline.write();
    let mut committed = Vec::new();
    while committed.len() < 5 {
        let mut daemon = Daemon::with(&config, &[], &pairs(&environment));
        daemon.wait("it to be ready", secs(60), |daemon| daemon.is_ready());
        std::thread::sleep(random.between(millis(300), millis(2000)));
        committed.push(daemon.committed_epoch());
        std::thread::sleep(random.between(Duration::ZERO, millis(200)));
        assert_eq!(daemon.poll_exit(), None, "the daemon ended by itself");
        daemon.kill();
    }
    let mut producer = stream.join();
    producer.finish();
    Daemon::with(&config, &["--available-now"], &pairs(&environment)).finish(secs(60));
    let (requests, refused, lost) = faults.counts();
    println!("{requests} requests, {refused} refused, {lost} not answered; epochs {committed:?}");
    assert!(refused > 20 && lost > 20, "the store was too good");
    assert!(committed.iter().flatten().count() >= 2, "no daemon got to work: {committed:?}");
    assert_exactly_once(&pipeline, &producer);
}

#[test]
fn heavy_an_outage_of_the_store_is_waited_for_and_shown() {
    let dir = Dir::new();
    let store = Store::s3(dir.path());
    let faults = Faults::before(store.address());
    let environment = Store::s3_environment(faults.address());
    let broker = Broker::start(dir.path());
    broker.create_topic("events", PARTITIONS);
    let input = dir.path().join("input");
    let mut producer =
        Producer::new(broker.address(), "events", PARTITIONS, &input, Shape::default());
    producer.produce(500);
    producer.flush();
    let pipeline = on_s3(dir.path(), broker.address(), &store);
    let mut daemon = Daemon::with(&pipeline.write(), &[], &pairs(&environment));
    daemon.wait_ready();
    daemon.wait_caught_up(&producer, secs(30));
    faults.refuse_every(1);
    producer.produce(500);
    producer.flush();
    let retries = |daemon: &Daemon| daemon.metric("millpond_sink_retries_total", &[]);
    daemon.wait("the outage to be counted", secs(30), |daemon| {
        retries(daemon).is_some_and(|count| count >= 2.0)
    });
    let (_, body) = daemon.get("/api/v1/pipelines").expect("the API answers meanwhile");
    assert!(body.contains("SlowDown") || body.contains("InternalError"), "{body}");
    faults.refuse_every(0);
    producer.finish();
    daemon.wait_caught_up(&producer, secs(40));
    let restarts = daemon.metric("millpond_pipeline_restarts_total", &[]).unwrap_or(0.0);
    assert_eq!(restarts, 0.0, "an outage of the store is no fault of the pipeline");
    assert_eq!(daemon.terminate().0, 0);
    assert!(!daemon.log().contains(SECRET), "the secret is in the log");
    Daemon::with(&pipeline.write(), &["--available-now"], &pairs(&environment)).finish(secs(60));
    assert_exactly_once(&pipeline, &producer);
}

#[test]
fn heavy_a_store_without_conditional_put_is_refused_unless_it_is_meant() {
    let dir = Dir::new();
    let store = Store::s3(dir.path());
    let faults = Faults::before(store.address());
    faults.ignore_conditions();
    let environment = Store::s3_environment(faults.address());
    let broker = Broker::start(dir.path());
    broker.create_topic("events", PARTITIONS);
    let input = dir.path().join("input");
    let mut producer =
        Producer::new(broker.address(), "events", PARTITIONS, &input, Shape::default());
    producer.produce(500);
    producer.finish();
    let mut pipeline = on_s3(dir.path(), broker.address(), &store);
    let config = pipeline.write();
    let mut daemon = Daemon::with(&config, &["--available-now"], &pairs(&environment));
    assert_eq!(daemon.wait_exit(secs(30)), 1, "{}", daemon.log());
    let log = daemon.log();
    assert!(log.contains("allow_unsafe_rename") && log.contains("conditional put"), "{log}");

    pipeline.more = "[storage]\nallow_unsafe_rename = true\n".to_owned();
    let config = pipeline.write();
    let log = Daemon::with(&config, &["--available-now"], &pairs(&environment)).finish(secs(60));
    assert!(log.contains("not guarded against other writers"), "{log}");
    assert_exactly_once(&pipeline, &producer);
}

#[test]
fn heavy_what_lacks_to_reach_a_store_is_said() {
    let dir = Dir::new();
    let store = Store::s3(dir.path());
    let mut pipeline = Pipeline::new(dir.path(), "127.0.0.1:1", "events");
    pipeline.tables = Some(format!("s3://{BUCKET}/tables"));
    let config = pipeline.write();
    let fails = |environment: &[(&str, &str)], words: &[&str]| {
        let mut daemon = Daemon::with(&config, &["--available-now"], environment);
        let code = daemon.wait_exit(secs(20));
        let log = daemon.log();
        assert_eq!(code, 1, "{log}");
        for word in words {
            assert!(log.contains(word), "{word} is not mentioned in {log}");
        }
        assert!(!log.contains(SECRET), "the secret is in {log}");
    };
    // Nobody is at this address, as on a machine that is not Amazon's.
    let machine = [("AWS_METADATA_ENDPOINT", "http://127.0.0.1:1")];
    fails(&machine, &["AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "s3://lake/tables"]);
    let environment = Store::s3_environment(store.address());
    let without =
        |name: &str| environment.iter().filter(|(n, _)| n != name).cloned().collect::<Vec<_>>();
    fails(&pairs(&without("AWS_ALLOW_HTTP")), &["allow_http"]);
    fails(&pairs(&without("AWS_SECRET_ACCESS_KEY")), &["SecretAccessKey"]);
    pipeline.tables = Some("s3://no-such-bucket/tables".to_owned());
    pipeline.write();
    fails(&pairs(&environment), &["bucket 'no-such-bucket' does not exist"]);
}
