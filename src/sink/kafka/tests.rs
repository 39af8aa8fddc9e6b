//! The form of records, against librdkafka's mock cluster. Its transactions are a facade: what is
//! said about them is tested against a broker in `tests/it/sink_kafka.rs`.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Int32Array, Int64Array, ListArray, MapBuilder,
    RecordBatch, StringArray, StringBuilder, StructArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::{Offset, TopicPartitionList};

use super::*;
use crate::sink::staged::testing::Area;
use crate::sink::{StagedSink, TargetSpec};

use crate::codec::testing::server as registry;

/// A record as a consumer sees it.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    partition: i32,
    key: Option<String>,
    value: Option<String>,
    headers: Vec<(String, Option<String>)>,
}

fn text(bytes: Option<&[u8]>) -> Option<String> {
    bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned())
}

/// The first `count` records of a topic, by partition.
fn read(brokers: &str, topic: &str, partitions: i32, count: usize) -> Vec<Seen> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "test")
        .set("isolation.level", "read_committed")
        .create()
        .unwrap();
    let mut list = TopicPartitionList::new();
    for partition in 0..partitions {
        list.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&list).unwrap();
    let began = Instant::now();
    let mut seen = Vec::new();
    while seen.len() < count {
        assert!(began.elapsed() < Duration::from_secs(30), "only {seen:?}");
        let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) else { continue };
        let headers = message
            .headers()
            .map(|headers| headers.iter().map(|h| (h.key.to_owned(), text(h.value))).collect());
        seen.push(Seen {
            partition: message.partition(),
            key: text(message.key()),
            value: text(message.payload()),
            headers: headers.unwrap_or_default(),
        });
    }
    seen.sort_by_key(|seen| seen.partition);
    seen
}

fn cluster(topics: &[&str]) -> MockCluster<'static, DefaultProducerContext> {
    let cluster = MockCluster::new(1).unwrap();
    for topic in topics {
        cluster.create_topic(topic, 2, 1).unwrap();
    }
    cluster
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, a)| (n, a, true)))
        .unwrap()
}

async fn write(
    options: KafkaOptions,
    mode: OutputMode,
    keys: &[&str],
    rows: &RecordBatch,
) -> Result<Option<CommitInfo>, SinkError> {
    let area = Area::new();
    let mut context = area.context.clone();
    context.schema = rows.schema();
    context.mode = mode;
    context.keys = keys.iter().map(|key| (*key).to_owned()).collect();
    let mut sink = StagedSink::open(area.dir.path(), TargetSpec::Kafka(options), context).await?;
    sink.write(rows).await?;
    sink.prepare(1).await?;
    sink.commit(1).await
}

#[tokio::test]
async fn every_part_of_a_record_comes_from_its_column() {
    let cluster = cluster(&["out", "other"]);
    let brokers = cluster.bootstrap_servers();
    let mut maps = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    maps.keys().append_value("trace");
    maps.values().append_value("t1");
    maps.keys().append_value("empty");
    maps.values().append_null();
    maps.append(true).unwrap();
    maps.append(false).unwrap();
    maps.append(true).unwrap();
    let times = TimestampMicrosecondArray::from(vec![Some(0), None, Some(1)]);
    let rows = batch(vec![
        ("id", Arc::new(Int64Array::from(vec![Some(7), None, Some(9)]))),
        ("name", Arc::new(StringArray::from(vec!["a", "b", "c"]))),
        ("at", Arc::new(times.with_timezone("UTC"))),
        ("to", Arc::new(StringArray::from(vec![None, Some("other"), None]))),
        ("part", Arc::new(Int32Array::from(vec![1, 0, 0]))),
        ("meta", Arc::new(maps.finish())),
        ("gone", Arc::new(BooleanArray::from(vec![Some(false), None, Some(true)]))),
    ]);
    let options = KafkaOptions {
        key: Some("id".into()),
        topic_column: Some("to".into()),
        partition_column: Some("part".into()),
        headers: KafkaHeaders::Map("meta".into()),
        tombstone_column: Some("gone".into()),
        ..KafkaOptions::new(&brokers, "out")
    };
    write(options, OutputMode::Append, &[], &rows).await.unwrap().unwrap();
    let seen = |partition: i32, key: Option<&str>, value: Option<&str>| Seen {
        partition,
        key: key.map(str::to_owned),
        value: value.map(str::to_owned),
        headers: Vec::new(),
    };
    let first = Seen {
        headers: vec![("trace".into(), Some("t1".into())), ("empty".into(), None)],
        ..seen(1, Some("7"), Some(r#"{"id":7,"name":"a","at":"1970-01-01T00:00:00.000Z"}"#))
    };
    assert_eq!(read(&brokers, "out", 2, 2), [seen(0, Some("9"), None), first]);
    assert_eq!(read(&brokers, "other", 2, 1), [seen(0, None, Some(r#"{"name":"b"}"#))]);
}

#[tokio::test]
async fn a_column_is_the_value_as_it_is() {
    let cluster = cluster(&["out"]);
    let brokers = cluster.bootstrap_servers();
    let bytes: Vec<Option<&[u8]>> = vec![Some(b"\x01\x02"), None];
    let rows = batch(vec![
        ("value", Arc::new(BinaryArray::from(bytes))),
        ("k", Arc::new(StringArray::from(vec![Some("a"), Some("a")]))),
        ("h", Arc::new(Int32Array::from(vec![Some(5), None]))),
    ]);
    let options = KafkaOptions {
        key: Some("k".into()),
        value: KafkaValue::Column("value".into()),
        headers: KafkaHeaders::Columns(vec!["h".into(), "k".into()]),
        ..KafkaOptions::new(&brokers, "out")
    };
    write(options, OutputMode::Append, &[], &rows).await.unwrap();
    let seen = read(&brokers, "out", 2, 2);
    assert_eq!(seen[0].partition, seen[1].partition, "the same key, the same partition");
    assert_eq!((seen[0].value.as_deref(), seen[1].value.as_deref()), (Some("\u{1}\u{2}"), None));
    let header = |key: &str, value: &str| (key.to_owned(), Some(value.to_owned()));
    assert_eq!(seen[0].headers, [header("h", "5"), header("k", "a")]);
    assert_eq!(seen[1].headers, [header("k", "a")], "a NULL is no header");
}

#[tokio::test]
async fn a_record_may_have_the_time_of_its_row() {
    let cluster = cluster(&["out"]);
    let brokers = cluster.bootstrap_servers();
    let at = |times: Vec<Option<i64>>| -> RecordBatch {
        let times = TimestampMicrosecondArray::from(times).with_timezone("UTC");
        batch(vec![("at", Arc::new(times))])
    };
    let options =
        KafkaOptions { timestamp_column: Some("at".into()), ..KafkaOptions::new(&brokers, "out") };
    let rows = at(vec![Some(1_700_000_000_123_456), None]);
    write(options.clone(), OutputMode::Append, &[], &rows).await.unwrap().unwrap();
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &brokers)
        .set("group.id", "test")
        .create()
        .unwrap();
    let mut list = TopicPartitionList::new();
    for partition in 0..2 {
        list.add_partition_offset("out", partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&list).unwrap();
    let began = Instant::now();
    let mut times = Vec::new();
    while times.len() < 2 {
        assert!(began.elapsed() < Duration::from_secs(30), "only {times:?}");
        let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) else { continue };
        times.push((message.payload().map(<[u8]>::len), message.timestamp().to_millis()));
    }
    times.sort();
    // The time stays in the value, too.
    assert_eq!(times[1], (Some(36), Some(1_700_000_000_123)));
    assert!(times[0].1.is_some_and(|now| now > 1_700_000_000_123), "{times:?}");
    let early = write(options, OutputMode::Append, &[], &at(vec![Some(-1)])).await;
    assert!(early.unwrap_err().to_string().contains("before 1970"));
}

#[tokio::test]
async fn update_mode_writes_the_last_row_of_each_key_only() {
    let cluster = cluster(&["out"]);
    let brokers = cluster.bootstrap_servers();
    let rows = batch(vec![
        ("k", Arc::new(StringArray::from(vec!["a", "b", "a"]))),
        ("n", Arc::new(Int64Array::from(vec![1, 2, 3]))),
    ]);
    let options = KafkaOptions { key: Some("k".into()), ..KafkaOptions::new(&brokers, "out") };
    let info = write(options, OutputMode::Update, &["k"], &rows).await.unwrap().unwrap();
    assert_eq!((info.rows, info.written), (3, 2));
    let mut values: Vec<_> =
        read(&brokers, "out", 2, 2).into_iter().filter_map(|seen| seen.value).collect();
    values.sort();
    assert_eq!(values, [r#"{"k":"a","n":3}"#, r#"{"k":"b","n":2}"#]);
}

#[tokio::test]
async fn a_row_that_makes_no_record_is_named() {
    let cluster = cluster(&["out"]);
    let brokers = cluster.bootstrap_servers();
    let rows = batch(vec![
        ("t", Arc::new(StringArray::from(vec![Some("out"), Some("not a topic")]))),
        ("p", Arc::new(Int32Array::from(vec![0, -4]))),
        ("v", Arc::new(StringArray::from(vec!["x".to_owned(), "y".repeat(5_000)]))),
    ]);
    let base = KafkaOptions::new(&brokers, "out");
    for (options, words) in [
        (
            KafkaOptions { topic_column: Some("t".into()), ..base.clone() },
            "row 2 of the epoch: its topic \"not a topic\" has characters",
        ),
        (
            KafkaOptions { partition_column: Some("p".into()), ..base.clone() },
            "row 2 of the epoch: its partition is -4",
        ),
        (
            KafkaOptions {
                properties: vec![("message.max.bytes".into(), "2000".into())],
                ..base.clone()
            },
            "row 2 of the epoch",
        ),
    ] {
        let error = write(options, OutputMode::Append, &[], &rows).await.unwrap_err();
        assert!(matches!(error, SinkError::Data { .. }), "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
    let rows = batch(vec![("t", Arc::new(StringArray::from(vec![None::<&str>])))]);
    let options = KafkaOptions {
        topic: None,
        topic_column: Some("t".into()),
        marker_topic: Some("out".into()),
        ..base
    };
    let error = write(options, OutputMode::Append, &[], &rows).await.unwrap_err();
    assert!(error.to_string().contains("its topic is NULL"), "{error}");
}

#[tokio::test]
async fn what_is_not_there_or_of_the_wrong_type_is_listed() {
    let rows = batch(vec![
        ("k", Arc::new(StringArray::from(vec!["a"]))),
        ("n", Arc::new(Int64Array::from(vec![1]))),
    ]);
    let options = KafkaOptions {
        topic: Some("a b".into()),
        topic_column: Some("n".into()),
        key: Some("kk".into()),
        partition_column: Some("k".into()),
        tombstone_column: Some("n".into()),
        headers: KafkaHeaders::Map("k".into()),
        value: KafkaValue::Column("n".into()),
        ..KafkaOptions::new("127.0.0.1:1", "x")
    };
    let error = write(options, OutputMode::Append, &[], &rows).await.unwrap_err();
    let text = error.to_string();
    for words in [
        "topic \"a b\" has characters",
        "topic_column `n` is Int64; it has to be STRING",
        "key `kk` is no column",
        "partition_column `k` is Utf8; it has to be INT",
        "tombstone_column `n` is Int64; it has to be BOOLEAN",
        "header column `k` is Utf8; it has to be MAP",
        "value `n` is Int64; it has to be STRING or BINARY",
    ] {
        assert!(text.contains(words), "{words} in {text}");
    }
    let options = KafkaOptions {
        topic: None,
        topic_column: Some("k".into()),
        ..KafkaOptions::new("127.0.0.1:1", "x")
    };
    let error = write(options, OutputMode::Append, &[], &rows).await.unwrap_err();
    assert!(error.to_string().contains("`marker_topic`"), "{error}");
    let options = KafkaOptions {
        properties: vec![("linger.ms".into(), "secret".into())],
        ..KafkaOptions::new("127.0.0.1:1", "x")
    };
    assert!(!format!("{options:?}").contains("secret"));
}

/// What a producer's transaction would leave of an epoch; the mock cluster forgets that.
fn note(brokers: &str, epoch: i64, metadata: &str) {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "millpond-shop-out-epochs")
        .create()
        .unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset("out", 0, Offset::Offset(epoch)).unwrap();
    for mut element in list.elements() {
        element.set_metadata(metadata);
    }
    consumer.commit(&list, rdkafka::consumer::CommitMode::Sync).unwrap();
}

#[tokio::test]
async fn ledger_epoch_and_token_are_read_from_the_group() {
    let cluster = cluster(&["out"]);
    let brokers = cluster.bootstrap_servers();
    let spec = TargetSpec::Kafka(KafkaOptions::new(&brokers, "out"));
    let staged = |token: &str| crate::sink::Staged {
        file: format!("{token}.rows"),
        token: token.into(),
        rows: 1,
        ..crate::sink::Staged::default()
    };
    note(&brokers, 4, "one 00ff");
    let marker = Marker { instance: "one".into(), epoch: 4, token: "00ff".into() };
    let area = Area::new();
    let mut sink = area.open(spec.clone(), OutputMode::Append, Some(4)).await.unwrap();
    assert_eq!(sink.target().marker().await.unwrap(), Some(marker.clone()));
    assert_eq!(sink.recover(4, &staged("00ff"), false).await.unwrap(), None);
    // A copy of the ledger, with other rows.
    assert!(sink.recover(4, &staged("00fe"), false).await.unwrap_err().is_fenced());
    drop(sink);
    let other = Area::with("two");
    match other.open(spec.clone(), OutputMode::Append, Some(9)).await.err().unwrap() {
        SinkError::Ahead { found, known: None, .. } => assert_eq!(found, marker),
        other => panic!("{other}"),
    }
    // Without metadata the number alone decides.
    note(&brokers, 4, "");
    let mut sink = area.open(spec.clone(), OutputMode::Append, Some(4)).await.unwrap();
    assert_eq!(sink.recover(4, &staged("00ff"), false).await.unwrap(), None);
    drop(sink);
    let error = area.open(spec, OutputMode::Append, Some(3)).await.err().unwrap();
    assert!(matches!(error, SinkError::Ahead { known: Some(3), .. }), "{error}");
}

#[tokio::test]
async fn values_are_avro_where_that_is_asked_for() {
    use crate::codec::RegistryOptions;

    let cluster = cluster(&["out"]);
    let brokers = cluster.bootstrap_servers();
    let server = registry::SchemaRegistry::start();
    let options = RegistryOptions { urls: vec![server.url()], ..RegistryOptions::default() };
    let registry = Arc::new(Registry::new(options).unwrap());
    let rows = batch(vec![
        ("k", Arc::new(StringArray::from(vec!["a"]))),
        ("n", Arc::new(Int64Array::from(vec![Some(-2)]))),
    ]);
    let options = KafkaOptions {
        key: Some("k".into()),
        value: KafkaValue::avro(registry, "out-value"),
        ..KafkaOptions::new(&brokers, "out")
    };
    write(options, OutputMode::Append, &[], &rows).await.unwrap();
    let seen = read_bytes(&brokers, "out", 2);
    // Magic byte and id, then each column as a union whose second branch is taken.
    assert_eq!(seen[0], 0);
    assert_eq!(seen[5..], [2, 2, b'a', 2, 3]);
}

/// The first value of a topic.
fn read_bytes(brokers: &str, topic: &str, partitions: i32) -> Vec<u8> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "test")
        .create()
        .unwrap();
    let mut list = TopicPartitionList::new();
    for partition in 0..partitions {
        list.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&list).unwrap();
    let began = Instant::now();
    loop {
        assert!(began.elapsed() < Duration::from_secs(30), "there is nothing");
        if let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) {
            return message.payload().unwrap().to_vec();
        }
    }
}

#[tokio::test]
async fn headers_come_back_as_spark_reads_them() {
    let cluster = cluster(&["out"]);
    let brokers = cluster.bootstrap_servers();
    let field = |name: &str, kind: DataType| Arc::new(Field::new(name, kind, true));
    let keys = Arc::new(StringArray::from(vec![Some("a"), None, Some("b")])) as ArrayRef;
    let values: Vec<Option<&[u8]>> = vec![Some(b"1"), Some(b"2"), None];
    let values = Arc::new(BinaryArray::from(values)) as ArrayRef;
    let entries = StructArray::from(vec![
        (field("key", DataType::Utf8), keys),
        (field("value", DataType::Binary), values),
    ]);
    let item = field("element", entries.data_type().clone());
    let lists = ListArray::new(
        item,
        arrow::buffer::OffsetBuffer::from_lengths([3]),
        Arc::new(entries),
        None,
    );
    let rows = batch(vec![
        ("value", Arc::new(StringArray::from(vec!["v"]))),
        ("headers", Arc::new(lists)),
    ]);
    let options = KafkaOptions {
        value: KafkaValue::Column("value".into()),
        headers: KafkaHeaders::Map("headers".into()),
        ..KafkaOptions::new(&brokers, "out")
    };
    write(options, OutputMode::Append, &[], &rows).await.unwrap();
    let seen = read(&brokers, "out", 2, 1);
    assert_eq!(seen[0].headers, [("a".to_owned(), Some("1".to_owned())), ("b".to_owned(), None)]);
}
