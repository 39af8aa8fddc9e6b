//! A sink that stalls under full input: memory stays within the credits.

use std::time::Instant;

use crate::support::broker::Broker;
use crate::support::config::Pipeline;
use crate::support::daemon::Daemon;
use crate::support::events::Shape;
use crate::support::memory::{Curve, draw, mib};
use crate::support::producer::Producer;
use crate::support::tables::assert_rows;
use crate::support::{Dir, secs, wait_for};

/// How long the sink stalls, under full input.
const STALL: std::time::Duration = secs(60);
/// `memory.in_flight`, in MiB.
const CREDITS: u64 = 16;
/// What librdkafka may hold: 4 partitions with `queued.max.messages.kbytes` = 2048, and a fetch
/// response of 1 MiB each on top.
const FETCHED: u64 = 4 * 3;
/// The allocator's and the encoder's share: pages that are not given back, open Parquet files.
const SLACK: u64 = 40;

#[test]
fn heavy_a_stalled_sink_grows_the_process_by_no_more_than_the_credits() {
    let dir = Dir::new();
    let broker = Broker::start(dir.path());
    broker.create_topic("events", 4);
    let mut producer =
        Producer::new(broker.address(), "events", 4, &dir.path().join("input"), Shape::default());
    producer.produce(1_000);
    producer.flush();
    let mut pipeline = Pipeline::new(dir.path(), broker.address(), "events");
    pipeline.in_flight = format!("{CREDITS}MiB");
    // One table, the one that all rows go to: what stalls is what the input piles up before.
    pipeline.stateless = true;
    pipeline.more = "[dead_letters]\nenabled = false\n".to_owned();
    pipeline.source_options = "\"queued.max.messages.kbytes\" = 2048".to_owned();
    let config = pipeline.write();

    // 12 MB a second: 240 MB arrive while the sink stands still.
    let stream = producer.stream(40_000, 1_200_000);
    let stall = format!("delta_committer=150*off->1*sleep({})->off", STALL.as_millis());
    let mut daemon = Daemon::failing(&config, &stall);
    let curve = Curve::of(daemon.pid());
    let began = Instant::now();
    daemon.wait_ready();
    // Ready: some epochs are done. Then it stalls, and is seen to by standing still.
    let (mut last, mut since) = (None, Instant::now());
    daemon.wait("the sink to stall", secs(60), |daemon| {
        let now = daemon.committed_epoch();
        if now != last {
            (last, since) = (now, Instant::now());
        }
        last.is_some() && since.elapsed() > secs(3)
    });
    let stalled = began.elapsed() - since.elapsed();
    // Readers stop soon after; what they have not read by then, they don't hold.
    std::thread::sleep(secs(5));
    let read = daemon.read();
    std::thread::sleep(secs(5));
    assert_eq!(daemon.read(), read, "the readers go on although the sink stands still");
    let ahead = stream.produced().saturating_sub(read);
    println!("{ahead} records wait in the topic");
    assert!(ahead > 200_000, "without input that waits, a stall shows nothing: {ahead} records");
    let waited = daemon.metric("millpond_source_credit_wait_seconds_count", &[]);
    daemon.wait("the sink to go on", STALL + secs(20), |daemon| daemon.committed_epoch() > last);
    let over = began.elapsed();
    let samples = curve.finish();
    println!("stalled from {:.1} s to {:.1} s", stalled.as_secs_f64(), over.as_secs_f64());
    println!("{read} records read until the readers stopped; waits for credit so far: {waited:?}");
    draw(&samples);

    let within = |from: f64, to: f64| {
        let inside = samples
            .iter()
            .filter(move |(time, _)| time.as_secs_f64() >= from && time.as_secs_f64() <= to);
        inside.map(|(_, bytes)| *bytes).max()
    };
    let before = wait_for("a sample before the stall", secs(1), || {
        within((stalled.as_secs_f64() - 3.0).max(0.0), stalled.as_secs_f64())
    });
    let during = within(stalled.as_secs_f64(), over.as_secs_f64() - 0.5).expect("samples in it");
    let growth = during.saturating_sub(before);
    let allowed = CREDITS + FETCHED + SLACK;
    println!("grew by {:.1} MiB of {allowed} MiB allowed", mib(growth));
    assert!(mib(growth) <= allowed as f64, "grew by {:.1} MiB", mib(growth));

    let mut producer = stream.join();
    producer.finish();
    let (code, _) = daemon.terminate();
    assert_eq!(code, 0);
    Daemon::available_now(&config).finish(secs(60));
    assert_rows(&pipeline, &producer);
}
