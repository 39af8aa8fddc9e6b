//! The group and the topic change while the daemon runs.

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

use crate::support::broker::Broker;
use crate::support::config::Pipeline;
use crate::support::daemon::Daemon;
use crate::support::events::Shape;
use crate::support::producer::Producer;
use crate::support::tables::{assert_exactly_once, assert_rows};
use crate::support::{Dir, millis, secs};

#[test]
fn new_partitions_are_read_without_a_restart() {
    let dir = Dir::new();
    let broker = Broker::start(dir.path());
    broker.create_topic("events", 2);
    let input = dir.path().join("input");
    let mut producer = Producer::new(broker.address(), "events", 2, &input, Shape::default());
    producer.produce(5_000);
    producer.flush();
    let mut pipeline = Pipeline::new(dir.path(), broker.address(), "events");
    // The broker cannot give a topic more partitions, so they come with a topic that is made
    // later: to the group it is the same.
    pipeline.topics.push("more".to_owned());
    let config = pipeline.write();
    let mut daemon = Daemon::run(&config);
    daemon.wait_caught_up(&producer, secs(60));

    broker.create_topic("more", 3);
    producer.add_topic("more", 3);
    producer.produce(5_000);
    producer.flush();
    daemon.wait_caught_up(&producer, secs(60));
    let partitions = daemon.reported("/sources/0/partitions").expect("partitions");
    assert_eq!(partitions.as_array().map(Vec::len), Some(5));
    daemon.wait_ready();
    for cause in [("cause", "panic"), ("cause", "error")] {
        let restarts = daemon.metric("millpond_pipeline_restarts_total", &[cause]).unwrap_or(0.0);
        assert_eq!(restarts, 0.0, "restarts because of {cause:?}");
    }
    assert_eq!(daemon.terminate().0, 0);
    producer.finish();
    Daemon::available_now(&config).finish(secs(60));
    // The new partitions begin where the others began: their windows are closed by then.
    assert_rows(&pipeline, &producer);
}

#[test]
fn heavy_partitions_that_are_taken_away_and_given_back() {
    let dir = Dir::new();
    let broker = Broker::start(dir.path());
    broker.create_topic("events", 4);
    let input = dir.path().join("input");
    let stream = Producer::new(broker.address(), "events", 4, &input, Shape::default())
        .stream(10_000, 400_000);
    let pipeline = Pipeline::new(dir.path(), broker.address(), "events");
    let config = pipeline.write();
    let mut daemon = Daemon::run(&config);
    daemon.wait_ready();
    for round in 0..3 {
        // A stranger joins the group and gets some of the partitions. It reads nothing.
        let stranger: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", broker.address())
            .set("group.id", "millpond-it")
            .set("session.timeout.ms", "1000")
            .set("heartbeat.interval.ms", "250")
            .set("enable.auto.commit", "false")
            .create()
            .expect("a consumer");
        stranger.subscribe(&["events"]).expect("it subscribes");
        let mut taken = 0;
        let began = std::time::Instant::now();
        while taken == 0 && began.elapsed() < secs(30) {
            let _ = stranger.poll(millis(50));
            taken = stranger.assignment().map_or(0, |list| list.count());
        }
        println!("round {round}: a stranger has {taken} partitions after {:.1?}", began.elapsed());
        assert!(taken > 0, "the stranger is given nothing");
        for _ in 0..20 {
            let _ = stranger.poll(millis(100));
        }
        drop(stranger);
        daemon.wait("all partitions to be back", secs(60), |daemon| {
            daemon.metric("millpond_source_assigned_partitions", &[]) == Some(4.0)
        });
        daemon.wait_epochs(2, secs(60));
    }
    let rebalances = daemon.metric("millpond_source_rebalances_total", &[]).unwrap_or(0.0);
    println!("{rebalances} rebalances");
    assert!(rebalances >= 6.0, "only {rebalances} rebalances were counted");
    let mut producer = stream.stop();
    producer.finish();
    daemon.wait_caught_up(&producer, secs(60));
    assert_eq!(daemon.terminate().0, 0);
    Daemon::available_now(&config).finish(secs(60));
    assert_exactly_once(&pipeline, &producer);
}
