//! The Kafka sink's transactions against a broker: a crash at every step, a second daemon, a lost
//! checkpoint.
//!
//! The broker keeps the records of aborted transactions visible under `read_committed` (a bug of
//! Tansu 0.6). So the records of a transaction that was killed may be there beside those of the one
//! that was committed in its place; that it was aborted is seen by the epoch, which is part of the same transaction and is not there.
//!
//! It does not keep the metadata of offsets either, which is where the sink notes its ledger: what
//! follows from that is tested against librdkafka's mock cluster, beside the sink.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arrow::array::{Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use futures::FutureExt;
use millpond::sink::kafka::KafkaOptions;
use millpond::sink::{SinkError, Staged, StagedSink, TargetContext, TargetSpec};
use millpond::sql::OutputMode;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::Value;

use crate::support::Dir;
use crate::support::broker::Broker;

const TOPIC: &str = "out";

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("name", DataType::Utf8, true),
    ]))
}

fn batch(rows: &[(i64, &str)]) -> RecordBatch {
    let ids: Int64Array = rows.iter().map(|(id, _)| Some(*id)).collect();
    let names: StringArray = rows.iter().map(|(_, name)| Some(*name)).collect();
    RecordBatch::try_new(schema(), vec![Arc::new(ids), Arc::new(names)]).expect("two columns")
}

fn context(sink: &str, instance: &str, last_epoch: Option<u64>) -> TargetContext {
    TargetContext {
        pipeline: "shop".into(),
        sink: sink.into(),
        schema: schema(),
        mode: OutputMode::Update,
        keys: vec!["id".into()],
        instance: instance.into(),
        last_epoch,
        adopt: false,
        state_dir: Default::default(),
    }
}

async fn open(
    broker: &Broker,
    dir: &Path,
    context: TargetContext,
) -> Result<StagedSink, SinkError> {
    let options =
        KafkaOptions { key: Some("id".into()), ..KafkaOptions::new(broker.address(), TOPIC) };
    StagedSink::open(&dir.join("staged"), TargetSpec::Kafka(options), context).await
}

/// The last epoch that the cluster holds of a sink.
fn epoch_of(broker: &Broker, sink: &str) -> Option<i64> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", broker.address())
        .set("group.id", format!("millpond-shop-{sink}-epochs"))
        .create()
        .expect("a consumer");
    let mut list = TopicPartitionList::new();
    list.add_partition(TOPIC, 0);
    let found = consumer.committed_offsets(list, Duration::from_secs(10)).expect("offsets");
    let element = &found.elements()[0];
    match element.offset() {
        Offset::Offset(epoch) => Some(epoch),
        _ => None,
    }
}

/// How often each value is in the topic.
fn values(broker: &Broker) -> BTreeMap<String, usize> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", broker.address())
        .set("group.id", "reader")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .create()
        .expect("a consumer");
    let mut list = TopicPartitionList::new();
    for partition in 0..2 {
        list.add_partition_offset(TOPIC, partition, Offset::Beginning).expect("a partition");
    }
    consumer.assign(&list).expect("an assignment");
    let (mut ends, mut found) = (0, BTreeMap::new());
    let began = Instant::now();
    while ends < 2 {
        assert!(began.elapsed() < Duration::from_secs(30), "the topic has no end");
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                let value = message.payload().expect("a value");
                *found.entry(String::from_utf8_lossy(value).into_owned()).or_default() += 1;
            }
            Some(Err(rdkafka::error::KafkaError::PartitionEOF(_))) => ends += 1,
            _ => {}
        }
    }
    found
}

/// The broker's own set-up blocks, so tests begin outside of a runtime.
fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(test);
}

static SINKS: AtomicU64 = AtomicU64::new(0);

/// Runs three epochs and kills the daemon in the second, `times` times in a row at `point`.
async fn killed_at(broker: &Broker, point: &str, times: usize) {
    let sink_name = format!("sink{}", SINKS.fetch_add(1, Ordering::Relaxed));
    let names: Vec<String> = (1..=3).map(|epoch| format!("{sink_name} epoch {epoch}")).collect();
    let dir = Dir::new();
    let scenario = fail::FailScenario::setup();
    let mut ledger: Option<(u64, Staged)> = None;
    let (mut armed, mut deaths) = (false, 0);
    'daemon: loop {
        let last = ledger.as_ref().map(|(epoch, _)| *epoch);
        let context = context(&sink_name, "one", last);
        let mut sink = open(broker, dir.path(), context).await.expect("the sink opens");
        let recovered = AssertUnwindSafe(async {
            if let Some((epoch, staged)) = &ledger {
                sink.recover(*epoch, staged, false).await.expect("the sink recovers");
            }
        });
        if recovered.catch_unwind().await.is_err() {
            deaths += 1;
            continue 'daemon;
        }
        for epoch in last.unwrap_or(0) + 1..=3 {
            let name = names[epoch as usize - 1].as_str();
            sink.write(&batch(&[(1, "old"), (2, name), (1, name)])).await.expect("rows are taken");
            if epoch == 2 && !armed {
                armed = true;
                fail::cfg(point, &format!("{times}*panic(killed)->off")).expect("a fail point");
            }
            let done = AssertUnwindSafe(async {
                let staged = sink.prepare(epoch).await.expect("the rows are staged");
                ledger = Some((epoch, staged));
                sink.commit(epoch).await.expect("the epoch is committed");
            });
            if done.catch_unwind().await.is_err() {
                deaths += 1;
                let epoch = epoch_of(broker, &sink_name).expect("the first epoch is there");
                // Records and epoch are one: neither of an aborted transaction is there.
                let landed = point == "kafka::committed" || point == "staged::committed";
                assert_eq!(epoch, if landed { 2 } else { 1 }, "{point}");
                continue 'daemon;
            }
        }
        break;
    }
    scenario.teardown();
    assert_eq!(deaths, times, "the daemon was to be killed at {point}");
    assert_eq!(epoch_of(broker, &sink_name), Some(3));
    let found = values(broker);
    for name in &names {
        for id in [1, 2] {
            let value = format!("{{\"id\":{id},\"name\":\"{name}\"}}");
            let count = found.get(&value).copied().unwrap_or(0);
            // What was sent before the kill and aborted: hidden by Kafka, not by this broker.
            let aborted = if *name == names[1] && matches!(point, "kafka::sent" | "kafka::noted") {
                times
            } else {
                0
            };
            assert!((1..=1 + aborted).contains(&count), "{point}: {value} {count} times");
        }
    }
    assert!(found.keys().all(|value| {
        let value: Value = serde_json::from_str(value).expect("JSON");
        value["name"] != "old"
    }));
}

#[test]
fn a_crash_anywhere_commits_each_epoch_once() {
    let dir = Dir::new();
    let broker = Broker::start(dir.path());
    broker.create_topic(TOPIC, 2);
    run(async {
        for point in [
            "staged::prepare",
            "staged::prepared",
            "staged::commit",
            "kafka::begun",
            "kafka::sent",
            "kafka::noted",
        ] {
            for times in [1, 2] {
                killed_at(&broker, point, times).await;
            }
        }
        // What has landed is not committed again, so these are passed once.
        for point in ["kafka::committed", "staged::committed"] {
            killed_at(&broker, point, 1).await;
        }
    });
}

#[test]
fn a_second_daemon_fences_the_first_or_is_refused() {
    let dir = Dir::new();
    let broker = Broker::start(dir.path());
    broker.create_topic(TOPIC, 2);
    run(async {
        let first_dir = dir.path().join("first");
        let second_dir = dir.path().join("second");
        let mut first =
            open(&broker, &first_dir, context("out", "one", None)).await.expect("the sink opens");
        first.write(&batch(&[(1, "a")])).await.expect("rows are taken");
        first.prepare(1).await.expect("the rows are staged");
        first.commit(1).await.expect("the epoch is committed");

        // Another ledger is refused, and the first goes on undisturbed.
        let refused = open(&broker, &second_dir, context("out", "two", None)).await.err();
        assert!(matches!(refused, Some(SinkError::Ahead { known: None, .. })), "{refused:?}");
        first.write(&batch(&[(2, "b")])).await.expect("rows are taken");
        first.prepare(2).await.expect("the rows are staged");
        first.commit(2).await.expect("the first is undisturbed");

        // A ledger that is older than the topic.
        let older = open(&broker, &second_dir, context("out", "one", Some(1))).await.err();
        assert!(matches!(older, Some(SinkError::Ahead { known: Some(1), .. })), "{older:?}");

        // A copy of the ledger takes over, and the first has to stop.
        let mut copy = open(&broker, &second_dir, context("out", "one", Some(2)))
            .await
            .expect("the copy opens");
        first.write(&batch(&[(3, "first")])).await.expect("rows are taken");
        first.prepare(3).await.expect("the rows are staged");
        copy.write(&batch(&[(3, "copy")])).await.expect("rows are taken");
        copy.prepare(3).await.expect("the rows are staged");
        let fenced = first.commit(3).await.expect_err("the first is fenced");
        assert!(fenced.is_fenced(), "{fenced}");
        copy.commit(3).await.expect("the copy has taken over");
        // Told to take the topic as it is.
        drop((first, copy));
        let adopting = TargetContext { adopt: true, ..context("out", "two", None) };
        let mut sink = open(&broker, &second_dir, adopting).await.expect("the sink opens");
        sink.write(&batch(&[(9, "z")])).await.expect("rows are taken");
        sink.prepare(1).await.expect("the rows are staged");
        sink.commit(1).await.expect("the epoch is committed");
        assert_eq!(epoch_of(&broker, "out"), Some(1));
    });
}

#[test]
fn a_broker_that_does_not_answer_is_waited_for() {
    let dir = Dir::new();
    let mut broker = Broker::start(dir.path());
    broker.create_topic(TOPIC, 2);
    run(async {
        let options = KafkaOptions {
            key: Some("id".into()),
            transaction_timeout: Duration::from_secs(15),
            ..KafkaOptions::new(broker.address(), TOPIC)
        };
        let staged = dir.path().join("staged");
        let context = context("out", "one", None);
        let opened = StagedSink::open(&staged, TargetSpec::Kafka(options), context).await;
        let mut sink = opened.expect("the sink opens");
        sink.write(&batch(&[(1, "a")])).await.expect("rows are taken");
        sink.prepare(1).await.expect("the rows are staged");
        broker.freeze();
        // `transaction_timeout` passes while the broker stands still.
        let failed = tokio::time::timeout(Duration::from_secs(150), sink.commit(1)).await;
        let error = failed.expect("the attempt ends").expect_err("nothing answers");
        assert!(error.is_transient(), "{error}");
        broker.thaw();
        let began = Instant::now();
        loop {
            match sink.commit(1).await {
                Ok(_) => break,
                Err(error) if error.is_transient() && began.elapsed() < Duration::from_secs(60) => {
                }
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(epoch_of(&broker, "out"), Some(1));
        assert!(values(&broker).contains_key("{\"id\":1,\"name\":\"a\"}"));
    });
}
