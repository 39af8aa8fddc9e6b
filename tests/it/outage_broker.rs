//! The broker goes away and comes back.

use crate::support::broker::{Broker, free_port};
use crate::support::config::Pipeline;
use crate::support::daemon::Daemon;
use crate::support::events::Shape;
use crate::support::producer::Producer;
use crate::support::proxy::Proxy;
use crate::support::random::Random;
use crate::support::tables::assert_exactly_once;
use crate::support::{Dir, millis, secs};

#[test]
fn heavy_connections_cut_in_the_middle_of_responses() {
    let dir = Dir::new();
    let mut random = Random::seeded();
    let port = free_port();
    let proxy = Proxy::start(([127, 0, 0, 1], port).into());
    let broker = Broker::start_behind(dir.path(), port, &proxy.address().to_string());
    broker.create_topic("events", 4);
    let input = dir.path().join("input");
    let shape = Shape { malformed_every: 1000, ..Shape::default() };
    let mut producer = Producer::new(broker.address(), "events", 4, &input, shape);
    producer.produce(40_000);
    producer.finish();

    // 45 MB at 4 MB/s: the daemon reads for eleven seconds, unless it is disturbed.
    proxy.limit(4_000_000);
    let pipeline = Pipeline::new(dir.path(), broker.address(), "events");
    let config = pipeline.write();
    let mut daemon = Daemon::run(&config);
    daemon.wait("the first records", secs(60), |daemon| daemon.read() > 1000);
    let mut in_the_middle = 0;
    for _ in 0..6 {
        std::thread::sleep(random.between(millis(200), millis(1500)));
        let read = daemon.read();
        in_the_middle += u32::from(read < producer.produced());
        println!("cut {} connections after {read} records", proxy.cut());
        std::thread::sleep(random.between(millis(200), millis(1500)));
        proxy.restore();
    }
    assert!(in_the_middle >= 3, "only {in_the_middle} cuts while records were being read");
    proxy.limit(0);
    daemon.wait_caught_up(&producer, secs(90));
    daemon.wait_ready();
    let restarts = daemon.metric("millpond_pipeline_restarts_total", &[]).unwrap_or(0.0);
    println!("{restarts} restarts");
    let (code, _) = daemon.terminate();
    assert_eq!(code, 0);
    Daemon::available_now(&config).finish(secs(60));
    assert_exactly_once(&pipeline, &producer);
}

#[test]
fn heavy_a_broker_that_hangs_for_a_while() {
    let dir = Dir::new();
    let mut broker = Broker::start(dir.path());
    broker.create_topic("events", 4);
    let input = dir.path().join("input");
    let mut producer = Producer::new(broker.address(), "events", 4, &input, Shape::default());
    producer.produce(10_000);
    producer.flush();
    let mut pipeline = Pipeline::new(dir.path(), broker.address(), "events");
    // Seen as gone within the test's patience.
    pipeline.source_options = "\"socket.timeout.ms\" = 4000".to_owned();
    let config = pipeline.write();
    let mut daemon = Daemon::run(&config);
    daemon.wait_ready();
    daemon.wait("records to be read", secs(60), |daemon| daemon.read() >= 40_000);

    let stream = producer.stream(10_000, 120_000);
    std::thread::sleep(secs(1));
    broker.freeze();
    daemon.wait("it to say that it is not ready", secs(60), |daemon| {
        daemon.get("/readyz").is_ok_and(|(status, _)| status == 503)
    });
    let (_, why) = daemon.get("/readyz").expect("it answers while the broker is away");
    println!("not ready: {why}");
    assert!(daemon.get("/healthz").is_ok_and(|(status, _)| status == 200), "it is alive");
    broker.thaw();

    let mut producer = stream.join();
    producer.finish();
    daemon.wait_caught_up(&producer, secs(90));
    daemon.wait_ready();
    let (code, _) = daemon.terminate();
    assert_eq!(code, 0);
    Daemon::available_now(&config).finish(secs(60));
    assert_exactly_once(&pipeline, &producer);
}

#[test]
fn a_broker_that_is_not_there_yet_is_waited_for() {
    let dir = Dir::new();
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let pipeline = Pipeline::new(dir.path(), &address, "events");
    let config = pipeline.write();
    let mut daemon = Daemon::run(&config);
    daemon.wait("it to say that it is not ready", secs(30), |daemon| {
        daemon.get("/readyz").is_ok_and(|(status, _)| status == 503)
    });
    std::thread::sleep(secs(2));
    let broker = Broker::start_behind(dir.path(), port, &address);
    broker.create_topic("events", 2);
    let input = dir.path().join("input");
    let mut producer = Producer::new(broker.address(), "events", 2, &input, Shape::default());
    producer.produce(5_000);
    producer.finish();
    daemon.wait_caught_up(&producer, secs(60));
    let (code, _) = daemon.terminate();
    assert_eq!(code, 0);
    Daemon::available_now(&config).finish(secs(60));
    assert_exactly_once(&pipeline, &producer);
}
