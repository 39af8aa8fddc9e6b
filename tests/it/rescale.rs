//! A checkpoint is read by another number of shards.

use crate::support::broker::Broker;
use crate::support::config::Pipeline;
use crate::support::daemon::Daemon;
use crate::support::events::Shape;
use crate::support::producer::Producer;
use crate::support::tables::assert_exactly_once;
use crate::support::{Dir, secs};

#[test]
fn state_moves_between_one_three_and_two_shards() {
    let dir = Dir::new();
    let broker = Broker::start(dir.path());
    broker.create_topic("events", 4);
    let input = dir.path().join("input");
    // Slow event time: windows stay open over several daemons.
    let shape = Shape { step: 1_000, ..Shape::default() };
    let stream =
        Producer::new(broker.address(), "events", 4, &input, shape).stream(20_000, u64::MAX);
    let mut pipeline = Pipeline::new(dir.path(), broker.address(), "events");
    for (shards, kill) in [(1, true), (3, true), (1, false), (3, false), (5, true)] {
        pipeline.shards = shards;
        let mut daemon = Daemon::run(&pipeline.write());
        daemon.wait_ready();
        daemon.wait_epochs(3, secs(30));
        let groups = daemon.metric("millpond_state_groups", &[("query", "endpoint_minutes")]);
        println!("{shards} shards: {groups:?} groups");
        assert!(groups > Some(0.0), "there is state to move");
        if kill {
            daemon.kill();
        } else {
            assert_eq!(daemon.terminate().0, 0);
        }
    }
    let mut producer = stream.stop();
    producer.finish();
    pipeline.shards = 2;
    Daemon::available_now(&pipeline.write()).finish(secs(60));
    assert_exactly_once(&pipeline, &producer);
}
