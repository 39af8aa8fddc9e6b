use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::mocking::MockCluster;
use rdkafka::types::RDKafkaRespErr;

use super::*;
use crate::weblog::{Generator, GeneratorOptions, client_of};

static GO: AtomicBool = AtomicBool::new(false);

/// The first `n` records of a log in `chunk`s into `output`; the whole log.
fn write(output: &mut dyn Output, n: usize, chunk: usize) -> Vec<u8> {
    let mut generator =
        Generator::new(GeneratorOptions::default()).expect("the options make sense");
    let (mut whole, mut left) = (Vec::new(), n);
    while left > 0 {
        let (mut buffer, mut ends) = (Vec::new(), Vec::new());
        left -= generator.fill(&mut buffer, &mut ends, chunk.min(left));
        output.write(&buffer, &ends).expect("the output takes the records");
        whole.extend(buffer);
    }
    whole
}

#[test]
fn a_directory_gets_whole_files_of_equal_length() {
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let directory = temporary.path().join("made/as/needed");
    let names = || {
        let mut names: Vec<String> = std::fs::read_dir(&directory)
            .expect("the directory is there")
            .map(|entry| entry.expect("it can be listed").file_name().to_string_lossy().into())
            .collect();
        names.sort();
        names
    };
    let mut output = DirectoryOutput::new(&directory, 100).expect("the directory can be made");
    let whole = write(&mut output, 250, 30);
    assert_eq!(names(), [".part-00002.tmp", "part-00000.ndjson", "part-00001.ndjson"]);
    output.finish().expect("the last file is put in place");
    assert_eq!(names(), ["part-00000.ndjson", "part-00001.ndjson", "part-00002.ndjson"]);
    let parts: Vec<Vec<u8>> = names()
        .iter()
        .map(|name| std::fs::read(directory.join(name)).expect("the file can be read"))
        .collect();
    let lines = |part: &Vec<u8>| part.iter().filter(|byte| **byte == b'\n').count();
    assert_eq!(parts.iter().map(lines).collect::<Vec<_>>(), [100, 100, 50]);
    assert!(parts.concat() == whole);

    // A second run leaves the first one's files alone.
    let mut output = DirectoryOutput::new(&directory, 1000).expect("the directory is there");
    write(&mut output, 5, 5);
    output.finish().expect("the last file is put in place");
    assert_eq!(names().last().map(String::as_str), Some("part-00003.ndjson"));
}

#[test]
fn files_that_cannot_be_written_are_named() {
    let missing = Path::new("/nonexistent/log.ndjson");
    let error = StreamOutput::create(missing).expect_err("there is no such directory");
    assert!(error.to_string().contains("/nonexistent/log.ndjson"), "{error}");

    struct Gone;
    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let error = StreamOutput::new(Gone, "pipe").write(b"x\n", &[1]).expect_err("nobody reads");
    assert!(error.is_broken_pipe());
}

/// Keys and payloads by partition.
type Messages = HashMap<i32, Vec<(Vec<u8>, Vec<u8>)>>;

/// Everything in the topic.
fn consume(brokers: &str, topic: &str, wanted: usize) -> Messages {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "test")
        .set("auto.offset.reset", "earliest")
        .create()
        .expect("the properties are valid");
    consumer.subscribe(&[topic]).expect("a consumer can subscribe");
    let mut partitions = Messages::new();
    let (mut got, deadline) = (0, Instant::now() + Duration::from_secs(60));
    while Instant::now() < deadline {
        // Once all is there, wait a moment for what should not be.
        let patience = Duration::from_millis(if got < wanted { 1000 } else { 300 });
        match consumer.poll(patience) {
            Some(message) => {
                let message = message.expect("the mock cluster does not fail");
                let bytes = |part: Option<&[u8]>| part.unwrap_or_default().to_vec();
                let pair = (bytes(message.key()), bytes(message.payload()));
                partitions.entry(message.partition()).or_default().push(pair);
                got += 1;
            }
            None if got >= wanted => break,
            None => {}
        }
    }
    partitions
}

fn options(brokers: String) -> KafkaOptions {
    KafkaOptions { brokers, topic: "web-logs".to_owned(), ..KafkaOptions::default() }
}

#[test]
fn kafka_gets_every_record_in_turn() {
    let cluster = MockCluster::new(1).expect("a mock cluster");
    cluster.create_topic("web-logs", 4, 1).expect("a topic");
    let brokers = cluster.bootstrap_servers();
    // A small queue, so that it is full at times.
    let options = KafkaOptions {
        properties: vec![("queue.buffering.max.messages".to_owned(), "500".to_owned())],
        ..options(brokers.clone())
    };
    let mut output = KafkaOutput::connect(options, &GO).expect("the mock cluster answers");
    assert_eq!(output.partitions(), 4);
    let whole = write(&mut output, 10_000, 256);
    output.finish().expect("everything is delivered");
    assert_eq!(output.failed(), 0);

    let partitions = consume(&brokers, "web-logs", 10_000);
    let written: Vec<&[u8]> = whole.split(|byte| *byte == b'\n').take(10_000).collect();
    for partition in 0..4usize {
        let wanted: Vec<&[u8]> = written.iter().skip(partition).step_by(4).copied().collect();
        let got = &partitions[&(partition as i32)];
        assert!(got.iter().map(|(_, payload)| payload.as_slice()).eq(wanted), "{partition}");
        assert!(got.iter().all(|(key, _)| key.is_empty()));
    }
}

#[test]
fn kafka_records_of_one_client_stay_together() {
    let cluster = MockCluster::new(1).expect("a mock cluster");
    cluster.create_topic("web-logs", 3, 1).expect("a topic");
    let brokers = cluster.bootstrap_servers();
    let options = KafkaOptions { key: Key::Ip, ..options(brokers.clone()) };
    let mut output = KafkaOutput::connect(options, &GO).expect("the mock cluster answers");
    write(&mut output, 5_000, 256);
    output.finish().expect("everything is delivered");

    let partitions = consume(&brokers, "web-logs", 5_000);
    assert_eq!(partitions.values().map(Vec::len).sum::<usize>(), 5_000);
    let mut homes: HashMap<&[u8], i32> = HashMap::new();
    for (partition, messages) in &partitions {
        assert!(messages.len() > 1_000, "partition {partition}: {}", messages.len());
        for (key, payload) in messages.iter().filter(|(key, _)| !key.is_empty()) {
            assert_eq!(client_of(payload), Some(key.as_slice()));
            assert_eq!(homes.entry(key).or_insert(*partition), partition);
        }
    }
}

#[test]
fn kafka_failures_are_counted_and_explained() {
    let cluster = MockCluster::new(1).expect("a mock cluster");
    cluster.create_topic("web-logs", 1, 1).expect("a topic");
    let mut output =
        KafkaOutput::connect(options(cluster.bootstrap_servers()), &GO).expect("it answers");
    // Nothing that repeating could help.
    let refusal = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    cluster.request_errors(rdkafka::types::RDKafkaApiKey::Produce, &[refusal; 100]);
    write(&mut output, 20, 20);
    let error = output.finish().expect_err("nothing is delivered").to_string();
    assert_eq!(output.failed(), 20);
    assert!(error.contains("20 records") && error.contains("'web-logs'"), "{error}");
    assert!(error.contains(&cluster.bootstrap_servers()), "{error}");
    assert!(output.notice().is_some_and(|notice| notice.contains("not delivered")));
    assert!(output.notice().is_none(), "said once");
}

#[test]
fn an_unreachable_kafka_is_named() {
    static STOP: AtomicBool = AtomicBool::new(true);
    // Bound and dropped: nobody listens there. Interrupted, so that it is not waited for.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .expect("a free port");
    let brokers = format!("127.0.0.1:{port}");
    let error = KafkaOutput::connect(options(brokers.clone()), &STOP).err();
    let error = error.expect("there is no broker").to_string();
    assert!(error.contains(&brokers) && error.contains("no answer"), "{error}");
}

#[test]
fn properties_that_librdkafka_refuses_are_named_without_their_values() {
    for (name, value) in [("no.such.property", "secret"), ("linger.ms", "secret")] {
        let options = KafkaOptions {
            properties: vec![(name.to_owned(), value.to_owned())],
            ..options("localhost:1".to_owned())
        };
        let error = KafkaOutput::connect(options, &GO).err().map(|error| error.to_string());
        let error = error.expect("the property is refused");
        assert!(error.contains(name) && !error.contains("localhost:1"), "{error}");
        assert!(!error.contains(value), "{error}");
    }
}
