//! SIGTERM under load: an orderly end, and nothing is read twice.

use crate::support::broker::Broker;
use crate::support::config::Pipeline;
use crate::support::daemon::Daemon;
use crate::support::events::Shape;
use crate::support::producer::Producer;
use crate::support::tables::{ask, assert_exactly_once, number};
use crate::support::{Dir, secs, signal};

#[test]
fn heavy_a_stop_under_load_is_quick_and_repeats_nothing() {
    let dir = Dir::new();
    let broker = Broker::start(dir.path());
    broker.create_topic("events", 4);
    let mut producer =
        Producer::new(broker.address(), "events", 4, &dir.path().join("input"), Shape::default());
    producer.produce(50_000);
    producer.flush();
    let stream = producer.stream(20_000, 400_000);
    let mut pipeline = Pipeline::new(dir.path(), broker.address(), "events");
    // No epoch but the one that stopping makes: it has to take all that was read.
    pipeline.interval = secs(600);
    let config = pipeline.write();
    let mut read_before = 0;
    for round in 0..3 {
        let mut daemon = Daemon::run(&config);
        daemon.wait("records to be read", secs(40), |daemon| daemon.read() > read_before + 20_000);
        let (code, took) = daemon.terminate();
        assert_eq!(code, 0, "{}", daemon.log_tail(30));
        println!("round {round}: stopped after {took:.2?}");
        assert!(took < secs(10), "stopping took {took:.1?}");
        let rows = ask(&pipeline.data, &["bronze"], &[("rows", "SELECT count(*) FROM bronze")]);
        let rows = number(&rows, "rows") as u64;
        assert!(rows >= read_before + 20_000, "{rows} rows after {read_before}");
        read_before = rows;
    }
    let mut producer = stream.join();
    producer.finish();

    // What the last daemon reads is what the others have not.
    let mut daemon = Daemon::run(&config);
    let left = producer.produced() - read_before;
    daemon.wait("the rest to be read", secs(60), |daemon| daemon.read() >= producer.produced());
    let records = daemon.metric("millpond_source_records_total", &[]).unwrap_or(0.0);
    assert_eq!(records as u64, left, "records that were read although they had been before");
    assert_eq!(daemon.terminate().0, 0);

    Daemon::available_now(&config).finish(secs(60));
    assert_exactly_once(&pipeline, &producer);
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let dir = Dir::new();
    let broker = Broker::start(dir.path());
    broker.create_topic("events", 1);
    let mut producer =
        Producer::new(broker.address(), "events", 1, &dir.path().join("input"), Shape::default());
    producer.produce(5_000);
    producer.finish();
    let pipeline = Pipeline::new(dir.path(), broker.address(), "events");
    let config = pipeline.write();
    // The committer hangs, so that the orderly end cannot come.
    let mut daemon = Daemon::failing(&config, "delta_committer_commit=sleep(60000)");
    daemon.wait("records to be read", secs(40), |daemon| daemon.read() >= 5_000);
    signal(daemon.pid(), libc::SIGTERM);
    std::thread::sleep(secs(1));
    assert!(daemon.poll_exit().is_none(), "it waits for its tables");
    let began = std::time::Instant::now();
    signal(daemon.pid(), libc::SIGTERM);
    let status = crate::support::wait_for("it to end", secs(5), || daemon.poll_exit());
    println!("ended: {status}, after {:.2?}", began.elapsed());
    assert!(!status.success(), "that was no orderly end");
    // And nothing is lost by it.
    Daemon::available_now(&config).finish(secs(60));
    assert_exactly_once(&pipeline, &producer);
}
