//! What is told of anomalies, through kills: the table, a topic and a webhook tell the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use serde_json::Value;

use crate::support::broker::Broker;
use crate::support::daemon::Daemon;
use crate::support::prometheus::Receiver;
use crate::support::tables::ask;
use crate::support::{Dir, secs};

const CONFIG: &str = r#"
name = "shop"
data_dir = "DATA"

[server]
listen = "127.0.0.1:0"

[checkpoint]
interval = "200ms"

[sources.logs]
type = "files"
path = "INPUT/*.json"
max_files_per_trigger = 1
settle = "0s"
format = { type = "json" }
schema = "at TIMESTAMP NOT NULL, endpoint STRING NOT NULL"
watermark = { column = "at", delay = "0s" }

[queries.minutes]
sql = """
SELECT window.start AS window_start, endpoint, count(*) AS requests
FROM logs GROUP BY window(at, '1 minute'), endpoint
"""
sink = { type = "delta", path = "DATA/minutes" }

[detectors.busy]
kind = "ratio_to_mean"
query = "minutes"
value = "requests"
key = "endpoint"
ratio = 3.0
warm_up = 5
clear_after = 2

[alerts.sinks.topic]
type = "kafka"
brokers = "BROKER"
topic = "anomalies"
key = "anomaly_id"

[alerts.webhooks.pager]
url = "http://RECEIVER/pager"
"#;

const KILLS: usize = 4;

/// Ten requests a minute, eighty in the spikes: a file for each quarter of an hour.
fn put(input: &Path, quarter: u32) {
    let mut lines = String::new();
    for minute in quarter * 15..(quarter + 1) * 15 {
        let requests = if minute % 10 == 8 { 80 } else { 10 };
        for n in 0..requests {
            let (hour, minute, second) = (minute / 60, minute % 60, n % 60);
            let at = format!("2026-01-01T{hour:02}:{minute:02}:{second:02}Z");
            writeln!(lines, r#"{{"at": "{at}", "endpoint": "/a"}}"#).expect("writing to memory");
        }
    }
    // Whole at once, as a source of files wants them.
    let (name, whole) =
        (input.join(format!(".{quarter:03}")), input.join(format!("{quarter:03}.json")));
    fs::write(&name, lines).expect("a file");
    fs::rename(name, whole).expect("a file");
}

/// The identifiers of the events in the topic, and how often each is there.
fn told_to_kafka(broker: &Broker) -> BTreeMap<String, usize> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", broker.address())
        .set("group.id", "reader")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .create()
        .expect("a consumer");
    let mut list = TopicPartitionList::new();
    list.add_partition_offset("anomalies", 0, Offset::Beginning).expect("a partition");
    consumer.assign(&list).expect("an assignment");
    let began = Instant::now();
    let mut found = BTreeMap::new();
    loop {
        assert!(began.elapsed() < secs(30), "the topic has no end");
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                let value: Value =
                    serde_json::from_slice(message.payload().expect("a value")).expect("JSON");
                let id = value["anomaly_id"].as_str().expect("an id");
                assert_eq!(message.key(), Some(id.as_bytes()));
                *found.entry(format!("{id}/{}", value["sequence"])).or_default() += 1;
            }
            Some(Err(rdkafka::error::KafkaError::PartitionEOF(_))) => return found,
            _ => {}
        }
    }
}

/// The rows that a daemon's log says were committed to the topic.
fn committed_to_topic(dir: &Dir, life: usize) -> u64 {
    let path = dir.path().join(format!("daemon-{life}.log"));
    let log = fs::read_to_string(path).expect("the daemon's log");
    log.lines()
        .filter(|line| line.contains("sink committed") && line.contains("sink=\"alerts-topic\""))
        .filter_map(|line| line.split(" rows=").nth(1)?.split(' ').next()?.parse::<u64>().ok())
        .sum()
}

#[test]
fn heavy_a_table_a_topic_and_a_webhook_tell_the_same_through_kills() {
    let dir = Dir::new();
    let broker = Broker::start(dir.path());
    broker.create_topic("anomalies", 1);
    let receiver = Receiver::start();
    let (input, data) = (dir.path().join("input"), dir.path().join("data"));
    fs::create_dir_all(&input).expect("a directory of input");
    let config = dir.path().join("shop.toml");
    let text = CONFIG
        .replace("DATA", &data.display().to_string())
        .replace("INPUT", &input.display().to_string())
        .replace("BROKER", broker.address())
        .replace("RECEIVER", &receiver.address.to_string());
    fs::write(&config, text).expect("a configuration");

    let mut heard: Vec<Value> = Vec::new();
    for life in 0..KILLS as u32 {
        let mut daemon = Daemon::run(&config);
        for quarter in 0..3 {
            put(&input, life * 3 + quarter);
        }
        let before = heard.len();
        daemon.wait("the webhook to be told", secs(60), |_| {
            heard.extend(receiver.taken());
            heard.len() > before + 2
        });
        daemon.kill();
    }
    let log = Daemon::available_now(&config).finish(secs(60));
    heard.extend(receiver.taken());

    let answers = ask(
        &data,
        &["anomalies", "minutes"],
        &[
            ("events", "SELECT anomaly_id || '/' || sequence, event FROM anomalies ORDER BY 1"),
            ("spikes", "SELECT count(*) FROM minutes WHERE requests > 50"),
            ("reasons", "SELECT count(*) FROM anomalies WHERE reason NOT LIKE '%requests of /a%'"),
        ],
    );
    let rows = answers["events"].as_array().expect("rows");
    let events: BTreeSet<&str> = rows.iter().filter_map(|row| row[0].as_str()).collect();
    assert_eq!(events.len(), rows.len(), "an event is in the table twice");
    let opened = rows.iter().filter(|row| row[1] == "opened").count();
    assert_eq!(answers["spikes"][0][0].as_u64(), Some(opened as u64), "{rows:?}");
    assert_eq!(answers["reasons"][0][0], 0);

    let topic = told_to_kafka(&broker);
    // A kill in the middle of a transaction aborts it. This broker shows what was in it all the same;
    // that nothing is committed twice is `sink_kafka`'s to show, which looks behind that.
    assert!(topic.values().all(|times| *times <= 1 + KILLS), "told again and again: {topic:?}");
    // What daemons say they have committed is each event at most once; one that was killed before it
    // could say so leaves some out.
    let said: u64 = (0..=KILLS).map(|life| committed_to_topic(&dir, life)).sum();
    assert!(said > 0 && said <= events.len() as u64, "{said} rows committed, {}", events.len());
    assert!(topic.keys().map(String::as_str).eq(events.iter().copied()), "{topic:?}\n{events:?}");

    let ids: BTreeSet<&str> = heard.iter().filter_map(|body| body["id"].as_str()).collect();
    let expected: BTreeSet<String> = events.iter().map(|event| format!("shop/{event}")).collect();
    let expected: BTreeSet<&str> = expected.iter().map(String::as_str).collect();
    assert_eq!(ids, expected, "{} notifications\n{log}", heard.len());
}
