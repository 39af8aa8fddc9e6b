//! The form of records, against librdkafka's mock cluster. Its transactions are a facade: what is
//! said about them is tested against a broker in `tests/it/sink_kafka.rs`.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Int32Array, Int64Array, ListArray,
    MapBuilder, RecordBatch, StringArray, StringBuilder, StructArray, TimestampMicrosecondArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Int64Type};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::{Offset, TopicPartitionList};

use super::*;
use crate::codec::testing::{SchemaRegistry, options_for};
use crate::codec::{AvroOptions, AvroWriter, Decoder, FormatSpec, parse_schema};
use crate::sink::staged::testing::Area;
use crate::sink::{StagedSink, TargetSpec};
use crate::source::Record;

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
        headers: KafkaHeaders::Column("meta".into()),
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
        headers: KafkaHeaders::Column("k".into()),
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

#[tokio::test]
async fn the_cluster_remembers_ledger_epoch_and_token() {
    let cluster = cluster(&["out"]);
    let options = KafkaOptions::new(cluster.bootstrap_servers(), "out");
    let spec = TargetSpec::Kafka(options);
    let area = Area::new();
    let rows = crate::sink::staged::testing::batch_of(&[(1, "a")]);
    let mut sink = area.open(spec.clone(), OutputMode::Append, None).await.unwrap();
    sink.write(&rows).await.unwrap();
    let staged = sink.prepare(4).await.unwrap();
    sink.commit(4).await.unwrap();
    let marker = Marker { instance: "one".into(), epoch: 4, token: staged.token.clone() };
    assert_eq!(sink.target().marker().await.unwrap(), Some(marker.clone()));
    drop(sink);
    // The same ledger, which does not know that the epoch is there.
    let mut sink = area.open(spec.clone(), OutputMode::Append, Some(4)).await.unwrap();
    assert_eq!(sink.target().marker().await.unwrap(), Some(marker.clone()));
    assert_eq!(sink.recover(4, &staged, false).await.unwrap(), None);
    // A copy of it, with other rows.
    let copy = crate::sink::Staged { token: "00".into(), ..staged };
    assert!(sink.recover(4, &copy, false).await.unwrap_err().is_fenced());
    drop(sink);
    let other = Area::with("two");
    let error = other.open(spec, OutputMode::Append, None).await.err().unwrap();
    match error {
        SinkError::Ahead { found, known: None, .. } => assert_eq!(found, marker),
        other => panic!("{other}"),
    }
    assert_eq!(read(&cluster.bootstrap_servers(), "out", 2, 1).len(), 1);
}

#[tokio::test]
async fn headers_may_be_a_list_of_pairs_as_in_spark() {
    let cluster = cluster(&["out"]);
    let brokers = cluster.bootstrap_servers();
    let keys = StringArray::from(vec![Some("a"), None, Some("b"), Some("hidden")]);
    let values: Vec<Option<&[u8]>> = vec![Some(b"1"), Some(b"2"), None, Some(b"4")];
    let pair = |name, kind| Arc::new(Field::new(name, kind, true));
    let pairs = StructArray::new(
        vec![pair("value", DataType::Binary), pair("key", DataType::Utf8)].into(),
        vec![Arc::new(BinaryArray::from(values)), Arc::new(keys)],
        Some(vec![true, true, true, false].into()),
    );
    let headers = ListArray::new(
        Arc::new(Field::new("element", pairs.data_type().clone(), true)),
        OffsetBuffer::from_lengths([1, 0, 3]),
        Arc::new(pairs),
        Some(vec![true, false, true].into()),
    );
    let rows = batch(vec![
        ("id", Arc::new(Int64Array::from(vec![1, 2, 3]))),
        ("part", Arc::new(Int32Array::from(vec![0, 0, 0]))),
        ("h", Arc::new(headers)),
    ]);
    let options = KafkaOptions {
        headers: KafkaHeaders::Column("h".into()),
        partition_column: Some("part".into()),
        ..KafkaOptions::new(&brokers, "out")
    };
    write(options, OutputMode::Append, &[], &rows).await.unwrap().unwrap();
    let seen = read(&brokers, "out", 1, 3);
    let shown: Vec<_> = seen.into_iter().map(|seen| (seen.value.unwrap(), seen.headers)).collect();
    let header = |key: &str, value: Option<&str>| (key.to_owned(), value.map(str::to_owned));
    assert_eq!(
        shown,
        [
            (r#"{"id":1}"#.to_owned(), vec![header("a", Some("1"))]),
            (r#"{"id":2}"#.to_owned(), vec![]),
            (r#"{"id":3}"#.to_owned(), vec![header("b", None)]),
        ]
    );
}

/// The records' values, as bytes.
fn values(brokers: &str, topic: &str, count: usize) -> Vec<Vec<u8>> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "test")
        .create()
        .unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::Beginning).unwrap();
    consumer.assign(&list).unwrap();
    let began = Instant::now();
    let mut values = Vec::new();
    while values.len() < count {
        assert!(began.elapsed() < Duration::from_secs(30), "only {values:?}");
        let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) else { continue };
        values.push(message.payload().unwrap_or_default().to_vec());
    }
    values
}

#[tokio::test]
async fn values_may_be_avro_with_their_schema_in_a_registry() {
    let cluster = cluster(&["room-totals.v1"]);
    let brokers = cluster.bootstrap_servers();
    let server = SchemaRegistry::start();
    let rows = batch(vec![
        ("room", Arc::new(StringArray::from(vec![Some("hall"), None, Some("attic")]))),
        ("total", Arc::new(Int64Array::from(vec![7, 8, 9]))),
        ("part", Arc::new(Int32Array::from(vec![0, 0, 0]))),
        ("gone", Arc::new(BooleanArray::from(vec![false, false, true]))),
    ]);
    let registry = Arc::new(Registry::new(options_for(&server)).unwrap());
    let options = |registry: &Arc<Registry>, subject: Option<&str>| KafkaOptions {
        key: Some("room".into()),
        partition_column: Some("part".into()),
        tombstone_column: Some("gone".into()),
        value: KafkaValue::Avro { registry: registry.clone(), subject: subject.map(str::to_owned) },
        ..KafkaOptions::new(&brokers, "room-totals.v1")
    };
    write(options(&registry, None), OutputMode::Append, &[], &rows).await.unwrap().unwrap();
    let schema = registry.latest("room-totals.v1-value").unwrap();
    assert!(schema.text.contains(r#""name":"room_totals_v1""#), "{}", schema.text);
    let seen = values(&brokers, "room-totals.v1", 3);
    assert_eq!(seen[2], b"", "a tombstone");
    // The columns that have another place are not among them, and the key is.
    let columns = parse_schema("room STRING, total BIGINT, part INT").unwrap();
    let spec = FormatSpec::Avro(AvroOptions {
        writer: AvroWriter::Registry(Arc::new(Registry::new(options_for(&server)).unwrap())),
        defaults: None,
    });
    let mut decoder = Decoder::new(columns, vec![0, 1, 2], &spec, &[]).unwrap();
    for value in &seen[..2] {
        decoder.append(&Record::plain(0, value)).unwrap();
    }
    let back = decoder.finish().unwrap();
    assert_eq!(back.column(0).as_string::<i32>().iter().collect::<Vec<_>>(), [Some("hall"), None]);
    assert_eq!(back.column(1).as_primitive::<Int64Type>().values(), &[7, 8]);
    assert_eq!(back.column(2).null_count(), 2);

    // Another subject; one whose schema does not go with ours; and a registry that is away.
    // The schema is registered before anything else; that the epoch is there already is another
    // matter.
    let _ = write(options(&registry, Some("mine")), OutputMode::Append, &[], &rows).await;
    assert!(registry.latest("mine").is_ok());
    let text = r#"{"type":"record","name":"room_totals_v1","fields":[
        {"name":"total","type":"string"}]}"#;
    server.add("taken", "AVRO", text, &[]);
    let refused = write(options(&registry, Some("taken")), OutputMode::Append, &[], &rows).await;
    match refused.unwrap_err() {
        error @ SinkError::Rejected { .. } => {
            assert!(error.to_string().contains("taken") && !error.is_transient(), "{error}");
        }
        other => panic!("{other}"),
    }
    let away = Registry::new(options_for(&server)).unwrap();
    drop(server);
    let away = options(&Arc::new(away), None);
    let error = write(away, OutputMode::Append, &[], &rows).await.unwrap_err();
    assert!(error.is_transient() && error.to_string().contains("registry"), "{error}");
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
    assert_eq!(times[1], (Some(35), Some(1_700_000_000_123)));
    assert!(times[0].1.is_some_and(|now| now > 1_700_000_000_123), "{times:?}");
    let early = write(options, OutputMode::Append, &[], &at(vec![Some(-1)])).await;
    assert!(early.unwrap_err().to_string().contains("before 1970"));
}
