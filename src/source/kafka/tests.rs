//! Against librdkafka's mock cluster.

use std::collections::BTreeMap;
use std::sync::mpsc;
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::embedded::EmbeddedBroker;
use super::*;
use crate::source::{SplitReader, TimestampType};

const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_split_name_reads_back_even_when_the_topic_has_dashes() {
    assert_eq!(parse_split(&split_name("web-logs", 3)), Some(("web-logs", 3)));
    assert_eq!(parse_split("nothing"), None);
    assert_eq!(parse_split("web-logs-x"), None);
}

#[test]
fn numbers_for_places_are_those_of_spark() {
    assert_eq!(StartAt::from_number(-2), Some(StartAt::Earliest));
    assert_eq!(StartAt::from_number(-1), Some(StartAt::Latest));
    assert_eq!(StartAt::from_number(7), Some(StartAt::Offset(7)));
    assert_eq!(StartAt::from_number(-3), None);
}

fn options(broker: &EmbeddedBroker, topics: &[&str], start: Start) -> KafkaOptions {
    KafkaOptions {
        brokers: broker.brokers(),
        topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
        group_id: "tests".into(),
        start,
        options: BTreeMap::new(),
        batch: 1000,
        drain_timeout: Duration::from_secs(1),
    }
}

/// Ten records in partition 0 of `topic`: number `i` has the timestamp `1000 + i` milliseconds.
fn produce(broker: &EmbeddedBroker, topic: &str) {
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", broker.brokers()).create().unwrap();
    for number in 0..10 {
        let value = format!("v{number}");
        let headers = OwnedHeaders::new()
            .insert(Header { key: "trace", value: Some("t1") })
            .insert(Header { key: "empty", value: None::<&str> })
            .insert(Header { key: "trace", value: Some("t2") });
        let mut record =
            BaseRecord::to(topic).partition(0).key("k").payload(&value).timestamp(1000 + number);
        if number == 0 {
            record = record.headers(headers);
        }
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
}

fn group(options: KafkaOptions) -> KafkaGroup {
    KafkaGroup::join(options, |_| {}).unwrap()
}

#[test]
fn patterns_name_the_partitions_of_a_bounded_run() {
    let broker = EmbeddedBroker::start().unwrap();
    for (topic, partitions) in [("web-a", 2), ("web-b", 1), ("app", 3), ("my-web", 1)] {
        broker.create_topic(topic, partitions).unwrap();
    }
    let found = |topics: &[&str]| group(options(&broker, topics, Start::Earliest)).partitions();
    let named = |pairs: &[(&str, i32)]| -> Vec<(String, i32)> {
        pairs.iter().map(|(topic, partition)| ((*topic).to_owned(), *partition)).collect()
    };
    assert_eq!(found(&["^web-.*"]).unwrap(), named(&[("web-a", 0), ("web-a", 1), ("web-b", 0)]));
    let both = found(&["^web-b$", "app", "web-b"]).unwrap();
    assert_eq!(both, named(&[("app", 0), ("app", 1), ("app", 2), ("web-b", 0)]));
    let error = found(&["^nothing"]).unwrap_err().to_string();
    assert!(error.contains("^nothing"), "{error}");
}

#[test]
fn a_start_may_be_given_partition_by_partition() {
    let broker = EmbeddedBroker::start().unwrap();
    broker.create_topic("t", 2).unwrap();
    produce(&broker, "t");
    let at = |start, partition| group(options(&broker, &["t"], start)).start_offset("t", partition);
    assert_eq!(at(Start::Earliest, 0).unwrap(), 0);
    assert_eq!(at(Start::Latest, 0).unwrap(), 10);
    let listed = |place| Start::Offsets {
        listed: BTreeMap::from([(("t".to_owned(), 0), place)]),
        others: StartAt::Latest,
    };
    assert_eq!(at(listed(StartAt::Offset(4)), 0).unwrap(), 4);
    assert_eq!(at(listed(StartAt::Offset(10)), 0).unwrap(), 10);
    assert_eq!(at(listed(StartAt::Earliest), 0).unwrap(), 0);
    assert_eq!(at(listed(StartAt::Earliest), 1).unwrap(), 0, "the end of an empty one");
    let error = at(listed(StartAt::Offset(11)), 0).unwrap_err().to_string();
    assert!(error.contains("offset 11 of t-0") && error.contains("from 0 to 10"), "{error}");
}

#[test]
fn records_carry_what_the_broker_knows_of_them() {
    let broker = EmbeddedBroker::start().unwrap();
    broker.create_topic("t", 1).unwrap();
    produce(&broker, "t");
    let (send, events) = mpsc::channel();
    let group = KafkaGroup::join(options(&broker, &["t"], Start::Earliest), move |event| {
        let _ = send.send(event);
    })
    .unwrap();
    let version = loop {
        if let GroupEvent::Assigned { version, partitions } = events.recv_timeout(PATIENCE).unwrap()
            && !partitions.is_empty()
        {
            break version;
        }
    };
    let mut queues = group.assign(version, &[("t".to_owned(), 0, 0)]).unwrap().unwrap();
    let split: &mut dyn SplitReader = &mut queues[0];
    let (wake, woken) = mpsc::channel();
    split.on_ready(Box::new(move || {
        let _ = wake.send(());
    }));
    assert_eq!(split.bound().unwrap(), 10);
    split.seek(0).unwrap();
    let mut seen = Vec::new();
    let mut end = None;
    while end.is_none() {
        let taken = split.take(3, &mut |record| {
            assert_eq!((record.meta.topic, record.meta.partition), (Some("t"), Some(0)));
            assert_eq!(record.meta.timestamp_type(), TimestampType::CreateTime);
            assert_eq!(record.key, Some(&b"k"[..]));
            let headers: Vec<(String, Option<Vec<u8>>)> = record
                .meta
                .headers()
                .map(|header| (header.key.into_owned(), header.value.map(<[u8]>::to_vec)))
                .collect();
            seen.push((record.offset, record.meta.timestamp_us(), headers));
        });
        assert!(taken.error.is_none(), "{:?}", taken.error);
        end = taken.end;
        if taken.messages == 0 && end.is_none() {
            woken.recv_timeout(PATIENCE).unwrap();
        }
    }
    assert_eq!(end, Some(10));
    assert_eq!(split.backlog(), Some(0));
    assert!(split.take_columns(10).is_none() && split.is_replayable());
    let times: Vec<(i64, Option<i64>)> = seen.iter().map(|(at, time, _)| (*at, *time)).collect();
    assert_eq!(times, (0..10).map(|i| (i, Some((1000 + i) * 1000))).collect::<Vec<_>>());
    let header = |key: &str, value: Option<&[u8]>| (key.to_owned(), value.map(<[u8]>::to_vec));
    let expected =
        [header("trace", Some(b"t1")), header("empty", None), header("trace", Some(b"t2"))];
    assert_eq!(seen[0].2, expected);
    assert!(seen[1..].iter().all(|(_, _, headers)| headers.is_empty()));
}
