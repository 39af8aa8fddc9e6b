//! Puts events into a topic and keeps a copy of them on disk, to compare the tables with.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};

use super::events::{START, Shape, Value, event_at};
use super::secs;

/// Notes the first record that did not arrive, or not at its offset.
#[derive(Clone, Default)]
struct Deliveries(Arc<Mutex<Option<String>>>);

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, expected: usize) {
        let fault = match result {
            Ok(message) if message.offset() == expected as i64 => return,
            Ok(message) => format!(
                "record {expected} of partition {} went to offset {}",
                message.partition(),
                message.offset()
            ),
            Err((error, message)) => {
                format!("record {expected} of partition {}: {error}", message.partition())
            }
        };
        self.0.lock().expect("no holder panics").get_or_insert(fault);
    }
}

/// Writes events to the partitions of a topic, in order.
pub struct Producer {
    client: BaseProducer<Deliveries>,
    deliveries: Deliveries,
    shape: Shape,
    partitions: Vec<Partition>,
    letters: BufWriter<File>,
    broken: u64,
    tombstones: u64,
    dir: PathBuf,
}

struct Partition {
    topic: String,
    number: i32,
    next: i64,
    truth: BufWriter<File>,
}

impl Producer {
    /// For a new topic. The copies go to `dir`.
    pub fn new(brokers: &str, topic: &str, partitions: i32, dir: &Path, shape: Shape) -> Self {
        Self::with_options(brokers, topic, partitions, dir, shape, &[])
    }

    /// As [`Producer::new`], with options of librdkafka.
    pub fn with_options(
        brokers: &str,
        topic: &str,
        partitions: i32,
        dir: &Path,
        shape: Shape,
        options: &[(&str, &str)],
    ) -> Self {
        std::fs::create_dir_all(dir).expect("a directory for the events");
        let deliveries = Deliveries::default();
        let letters = dir.join("letters.csv");
        let mut producer = Self {
            client: client(brokers, deliveries.clone(), options),
            deliveries,
            shape,
            partitions: Vec::new(),
            letters: BufWriter::new(File::create(letters).expect("a file of dead letters")),
            broken: 0,
            tombstones: 0,
            dir: dir.to_owned(),
        };
        producer.add_topic(topic, partitions);
        producer
    }

    /// Goes on with other options of librdkafka, such as another codec.
    pub fn reconnect(&mut self, brokers: &str, options: &[(&str, &str)]) {
        self.flush();
        self.client = client(brokers, self.deliveries.clone(), options);
    }

    /// Goes on with the partitions of one more topic, numbered after those there are.
    pub fn add_topic(&mut self, topic: &str, partitions: i32) {
        for number in 0..partitions {
            let path = self.dir.join(format!("part-{}.ndjson", self.partitions.len()));
            let truth = BufWriter::new(File::create(path).expect("a file of events"));
            let topic = topic.to_owned();
            self.partitions.push(Partition { topic, number, next: 0, truth });
        }
    }

    /// The next `each` records of every partition, in turn.
    pub fn produce(&mut self, each: u64) {
        for _ in 0..each {
            for partition in 0..self.partitions.len() {
                self.next_record(partition as i32);
            }
        }
    }

    /// The next record of a partition.
    pub fn next_record(&mut self, partition: i32) {
        let seq = self.partitions[partition as usize].next;
        match self.shape.record(partition, seq) {
            Value::Event(event) => self.event(partition, &event),
            Value::Broken(bytes) => self.broken(partition, &bytes),
        }
    }

    /// An event that must arrive.
    pub fn event(&mut self, partition: i32, event: &[u8]) {
        self.send(partition, Some(event));
        let truth = &mut self.partitions[partition as usize].truth;
        truth.write_all(event).and_then(|()| truth.write_all(b"\n")).expect("a copy of the event");
    }

    /// A record that must become a dead letter.
    pub fn broken(&mut self, partition: i32, bytes: &[u8]) {
        let offset = self.send(partition, Some(bytes));
        let Partition { topic, number, .. } = &self.partitions[partition as usize];
        writeln!(self.letters, "{topic}-{number},{offset}").expect("a copy of its place");
        self.broken += 1;
    }

    /// A record without a value: neither a row nor a dead letter.
    pub fn tombstone(&mut self, partition: i32) {
        self.send(partition, None);
        self.tombstones += 1;
    }

    /// Sends a value and returns the offset it gets.
    pub fn send(&mut self, partition: i32, value: Option<&[u8]>) -> i64 {
        let slot = &mut self.partitions[partition as usize];
        let offset = slot.next;
        slot.next += 1;
        let key = offset.to_be_bytes();
        let mut record =
            BaseRecord::<[u8], [u8], usize>::with_opaque_to(&slot.topic, offset as usize)
                .partition(slot.number)
                .key(&key[..]);
        if let Some(value) = value {
            record = record.payload(value);
        }
        let began = Instant::now();
        loop {
            match self.client.send(record) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    assert!(began.elapsed() < secs(60), "the broker takes nothing for a minute");
                    self.client.poll(Duration::from_millis(20));
                    record = back;
                }
                Err((error, _)) => panic!("producing: {error}"),
            }
        }
        if offset % 512 == 0 {
            self.client.poll(Duration::ZERO);
        }
        offset
    }

    /// Waits until all is in the topic, each record at its offset, and in the copies.
    pub fn flush(&mut self) {
        self.client.flush(secs(60)).expect("the broker takes all records");
        let fault = self.deliveries.0.lock().expect("no holder panics").take();
        assert_eq!(fault, None, "the topic is not what the test has written");
        for partition in &mut self.partitions {
            partition.truth.flush().expect("copies on disk");
        }
        self.letters.flush().expect("copies on disk");
    }

    /// Ends the input: one more event in each partition, an hour ahead of all others, which closes
    /// their windows, and alone in its batch. The broker tells the end of a partition wrongly (it
    /// gives the base offset of the last batch plus one), and a bounded run ends where the broker
    /// says that the end is.
    pub fn finish(&mut self) {
        self.flush();
        let newest = self.partitions.iter().map(|partition| partition.next).max().unwrap_or(0);
        let time = START + newest * self.shape.step + 3_600_000_000;
        for partition in 0..self.partitions.len() as i32 {
            let seq = self.partitions[partition as usize].next;
            self.event(partition, &event_at(time, "/end", partition, seq));
        }
        self.flush();
    }

    /// Produces at a steady rate until `seconds` are over or `total` records are in the topic.
    pub fn produce_at(&mut self, per_second: u64, total: u64) {
        let began = Instant::now();
        let before = self.produced();
        while self.produced() < total {
            let due = (began.elapsed().as_secs_f64() * per_second as f64) as u64 + before;
            while self.produced() < due.min(total) {
                self.produce(1);
            }
            self.client.poll(Duration::from_millis(5));
        }
    }

    /// Records in the topic, of every kind.
    pub fn produced(&self) -> u64 {
        self.partitions.iter().map(|partition| partition.next as u64).sum()
    }

    /// Records that must become rows.
    pub fn events(&self) -> u64 {
        self.produced() - self.broken - self.tombstones
    }

    /// Records that must become dead letters.
    pub fn letters(&self) -> u64 {
        self.broken
    }

    /// The next offset of each partition.
    pub fn ends(&self) -> Vec<i64> {
        self.partitions.iter().map(|partition| partition.next).collect()
    }

    /// Where the copies are.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

fn client(
    brokers: &str,
    deliveries: Deliveries,
    options: &[(&str, &str)],
) -> BaseProducer<Deliveries> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", brokers)
        // In order and without repeats, whatever the connection does.
        .set("enable.idempotence", "true")
        .set("linger.ms", "20")
        .set("message.timeout.ms", "60000")
        .set("queue.buffering.max.messages", "200000");
    for (name, value) in options {
        config.set(*name, *value);
    }
    config.create_with_context(deliveries).expect("a producer")
}

/// A producer at work in the background.
pub struct Stream {
    stop: Arc<AtomicBool>,
    produced: Arc<AtomicU64>,
    thread: JoinHandle<Producer>,
}

impl Producer {
    /// Goes on in the background, at a steady rate, until `total` records are in the topic or it
    /// is stopped.
    pub fn stream(mut self, per_second: u64, total: u64) -> Stream {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let produced = Arc::new(AtomicU64::new(self.produced()));
        let count = produced.clone();
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) && self.produced() < total {
                let slice = self.produced() + per_second / 20;
                self.produce_at(per_second, slice.min(total));
                count.store(self.produced(), Ordering::Relaxed);
            }
            self.flush();
            self
        });
        Stream { stop, produced, thread }
    }
}

impl Stream {
    /// Records so far.
    pub fn produced(&self) -> u64 {
        self.produced.load(Ordering::Relaxed)
    }

    /// Whether it has produced all it should, or failed.
    pub fn is_over(&self) -> bool {
        self.thread.is_finished()
    }

    /// Ends it, with all that was produced in the topic.
    pub fn stop(self) -> Producer {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the producer does not fail")
    }

    /// Waits until it has produced all it should.
    pub fn join(self) -> Producer {
        self.thread.join().expect("the producer does not fail")
    }
}
