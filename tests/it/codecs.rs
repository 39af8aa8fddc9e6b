//! Every compression codec, tombstones, empty values, large records.

use crate::support::broker::Broker;
use crate::support::config::Pipeline;
use crate::support::daemon::Daemon;
use crate::support::events::Shape;
use crate::support::producer::Producer;
use crate::support::tables::{ask, assert_exactly_once, number};
use crate::support::{Dir, secs};

#[test]
fn every_codec_and_every_kind_of_value_is_read_and_counted() {
    let dir = Dir::new();
    let broker = Broker::start(dir.path());
    broker.create_topic("events", 2);
    let input = dir.path().join("input");
    let shape = Shape { malformed_every: 100, ..Shape::default() };
    let mut producer = Producer::new(broker.address(), "events", 2, &input, shape);
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        producer.reconnect(broker.address(), &[("compression.type", codec)]);
        producer.produce(2_000);
    }
    producer.reconnect(broker.address(), &[]);
    producer.flush();
    for _ in 0..7 {
        producer.tombstone(0);
    }
    producer.next_record(0);
    producer.tombstone(1);
    producer.broken(1, b"");
    // The source accepts 64 KiB.
    producer.broken(0, &[b'x'; 100_000]);
    // The payload of a dead letter is cut, and says how long it was.
    producer.broken(1, &[b'{'; 9_000]);
    producer.produce(500);
    producer.flush();
    producer.produce(1);
    producer.flush();

    let mut pipeline = Pipeline::new(dir.path(), broker.address(), "events");
    pipeline.more = "[dead_letters]\nmax_payload = \"4KiB\"\n".to_owned();
    let config = pipeline.write();
    let limit = ["--set", "sources.events.max_record=64KiB"];
    let mut daemon = Daemon::with(&config, &limit, &[]);
    daemon.wait("all records to be read", secs(60), |daemon| daemon.read() >= producer.produced());
    daemon.wait_epochs(2, secs(30));
    assert_eq!(daemon.metric("millpond_codec_skipped_tombstones_total", &[]), Some(8.0));
    assert_eq!(daemon.reported("/sources/0/numTombstones").and_then(|n| n.as_u64()), Some(8));
    let letters = daemon.metric("millpond_codec_dead_letter_records_total", &[]);
    assert_eq!(letters, Some(producer.letters() as f64));
    let oversized = [("reason", "oversized")];
    assert_eq!(
        daemon.metric("millpond_codec_dead_letter_records_total", &oversized),
        Some(1.0),
        "of one reason"
    );
    assert_eq!(daemon.terminate().0, 0);
    producer.finish();
    let mut daemon = Daemon::with(&config, &[limit[0], limit[1], "--available-now"], &[]);
    assert_eq!(daemon.wait_exit(secs(60)), 0);

    let answers = ask(
        &pipeline.data,
        &["dead_letters"],
        &[
            (
                "cut",
                "SELECT count(*) FROM dead_letters WHERE octet_length(payload) = 4096 AND payload_bytes IN (9000, 100000)",
            ),
            ("long", "SELECT count(*) FROM dead_letters WHERE octet_length(payload) > 4096"),
            ("empty", "SELECT count(*) FROM dead_letters WHERE payload_bytes = 0"),
            ("keys", "SELECT count(*) FROM dead_letters WHERE octet_length(key) = 8"),
            (
                "all",
                "SELECT count(*) FROM dead_letters WHERE error <> '' AND reason <> '' AND source = 'events'",
            ),
        ],
    );
    assert_eq!(number(&answers, "cut"), 2);
    assert_eq!(number(&answers, "long"), 0);
    assert!(number(&answers, "empty") >= 1);
    assert_eq!(number(&answers, "keys") as u64, producer.letters());
    assert_eq!(number(&answers, "all") as u64, producer.letters());
    assert_exactly_once(&pipeline, &producer);
}
