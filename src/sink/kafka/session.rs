//! A transactional producer and its transactions. Everything here blocks.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, ConsumerGroupMetadata};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::{Offset, TopicPartitionList};

use super::KafkaOptions;
use super::names::Names;
use super::record::{Layout, Scratch};
use crate::codec::Encoder;
use crate::sink::encode::encoder;
use crate::sink::error::SinkError;
use crate::sink::staged::{KeptRows, StagedRows};
use crate::sink::target::{Marker, TargetContext};

/// How long the cluster may take to answer before the attempt is given up; the next one asks anew.
const ANSWER: Duration = Duration::from_secs(10);

/// Delivery reports are looked at after this many records.
const RECORDS_PER_POLL: usize = 1000;

/// What librdkafka tells on its own account.
#[derive(Default)]
pub(super) struct Told {
    /// The last complaint.
    complaint: Mutex<Option<String>>,
    /// The first record that was not delivered: its number in the epoch, and why.
    undelivered: Mutex<Option<(usize, Code)>>,
}

impl Told {
    fn complaint(&self) -> Option<String> {
        // Nothing is done under these locks that can panic.
        self.complaint.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn undelivered(&self) -> Option<(usize, Code)> {
        *self.undelivered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget(&self) {
        *self.undelivered.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl ClientContext for Told {
    /// librdkafka's log repeats what comes as errors.
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(?level, facility, message, "librdkafka");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let text = if reason.is_empty() { error.to_string() } else { reason.to_owned() };
        *self.complaint.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
    }
}

impl ConsumerContext for Told {}

impl ProducerContext for Told {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, row: usize) {
        if let Err((error, _)) = result {
            let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
            let mut first = self.undelivered.lock().unwrap_or_else(PoisonError::into_inner);
            // Those that an abort takes along are a consequence, not a cause.
            if first.is_none() && !matches!(code, Code::PurgeQueue | Code::PurgeInflight) {
                *first = Some((row, code));
            }
        }
    }
}

/// A producer that owns the sink's `transactional.id`.
pub(super) struct Session {
    producer: BaseProducer<Told>,
    /// Holds the group's identity; is not a member of it.
    group: ConsumerGroupMetadata,
    /// The last epoch in the cluster. Nobody else can change it without fencing this producer.
    pub found: Option<Marker>,
    target: String,
    /// Makes values of several columns; its schema is registered where it has to be.
    encoder: Option<Encoder>,
    /// How long a transaction may take; after that the cluster gives it up by itself.
    timeout: Duration,
}

/// The last epoch in the cluster, without disturbing a producer that is at work.
pub(super) fn look(
    options: &KafkaOptions,
    names: &Names,
    target: &str,
) -> Result<Option<Marker>, SinkError> {
    let consumer = consumer(options, names, target, "read_uncommitted")?;
    require_topic(&consumer, &names.marker_topic, target)?;
    marker(&consumer, names, target)
}

impl Session {
    /// Takes the `transactional.id`, which ends the transaction of whoever had it, and reads the
    /// last epoch.
    pub fn begin(
        options: &KafkaOptions,
        names: &Names,
        target: &str,
        layout: &Layout,
        context: &TargetContext,
    ) -> Result<Self, SinkError> {
        // First: a registry that does not answer is no reason to fence anyone.
        let encoder = match layout.encoded() {
            Some(columns) => {
                let schema = context.schema.project(columns).map_err(SinkError::internal)?;
                let spec = options.value.encoding();
                Some(encoder(&context.sink, target, &Arc::new(schema), &spec)?)
            }
            None => None,
        };
        let mut config = base(options);
        let timeout = options.transaction_timeout.as_millis().to_string();
        for (name, value) in [
            ("transactional.id", names.transactional_id.as_str()),
            ("enable.idempotence", "true"),
            ("transaction.timeout.ms", &timeout),
            // A record that cannot be brought away fails its transaction, not later than that.
            ("message.timeout.ms", &timeout),
        ] {
            config.set(name, value);
        }
        for (name, value) in [
            ("linger.ms", "5"),
            ("compression.type", "lz4"),
            // The partitioner of Java's producer.
            ("partitioner", "murmur2_random"),
            // The rows are on disk; there is no use in having them in memory twice.
            ("queue.buffering.max.kbytes", "32768"),
        ] {
            if !options.properties.iter().any(|(own, _)| own == name) {
                config.set(name, value);
            }
        }
        let producer: BaseProducer<Told> =
            config.create_with_context(Told::default()).map_err(|e| unusable(target, &e))?;
        let failed = |error: &KafkaError| {
            classify("take its transactional.id", target, error, producer.context())
        };
        producer.init_transactions(ANSWER).map_err(|e| failed(&e))?;
        let consumer = consumer(options, names, target, "read_committed")?;
        let found = marker(&consumer, names, target)?;
        let group = consumer
            .group_metadata()
            .ok_or_else(|| SinkError::internal("a consumer without a group"))?;
        let timeout = options.transaction_timeout;
        Ok(Self { producer, group, found, target: target.to_owned(), encoder, timeout })
    }

    /// Writes rows and epoch in one transaction; returns the bytes of keys and values.
    pub fn transact(
        &mut self,
        layout: &Layout,
        names: &Names,
        rows: &StagedRows,
        kept: &KeptRows,
        marker: &Marker,
    ) -> Result<u64, SinkError> {
        self.producer.context().forget();
        self.producer.begin_transaction().map_err(|e| self.error("begin", &e))?;
        fail::fail_point!("kafka::begun");
        let done = self.fill(layout, names, rows, kept, marker);
        if done.is_err() {
            // Best effort: the producer goes with this session, and the next one's identifier ends
            // what is left of the transaction.
            let _ = self.producer.abort_transaction(Duration::from_secs(5));
        }
        let bytes = done?;
        self.found = Some(marker.clone());
        fail::fail_point!("kafka::committed");
        Ok(bytes)
    }

    fn fill(
        &mut self,
        layout: &Layout,
        names: &Names,
        rows: &StagedRows,
        kept: &KeptRows,
        marker: &Marker,
    ) -> Result<u64, SinkError> {
        let bytes = self.send(layout, rows, kept)?;
        fail::fail_point!("kafka::sent");
        let mut offsets = TopicPartitionList::new();
        let epoch = i64::try_from(marker.epoch).map_err(SinkError::internal)?;
        offsets
            .add_partition_offset(&names.marker_topic, 0, Offset::Offset(epoch))
            .map_err(|e| self.error("note the epoch", &e))?;
        for mut element in offsets.elements() {
            element.set_metadata(format!("{} {}", marker.instance, marker.token));
        }
        self.retried("note the epoch", || {
            self.producer.send_offsets_to_transaction(&offsets, &self.group, self.answer())
        })?;
        fail::fail_point!("kafka::noted");
        self.retried("commit", || self.producer.commit_transaction(self.answer()))?;
        Ok(bytes)
    }

    fn send(
        &mut self,
        layout: &Layout,
        rows: &StagedRows,
        kept: &KeptRows,
    ) -> Result<u64, SinkError> {
        let mut scratch = Scratch::default();
        let (mut number, mut bytes) = (0, 0);
        for batch in rows.kept_batches(kept)? {
            let batch = batch?;
            let records = layout.records(&batch, self.encoder.as_mut())?;
            for row in 0..batch.num_rows() {
                let bad = |reason: String| {
                    SinkError::data(
                        &self.target,
                        format_args!("row {} of the epoch: {reason}", number + 1),
                    )
                };
                let record = records.record(row, &mut scratch).map_err(bad)?;
                bytes += (record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len))
                    as u64;
                let mut message: BaseRecord<'_, [u8], [u8], usize> =
                    BaseRecord::with_opaque_to(record.topic, number);
                message.partition = record.partition;
                message.timestamp = record.timestamp;
                message.key = record.key;
                message.payload = record.value;
                message.headers = record.headers;
                loop {
                    match self.producer.send(message) {
                        Ok(()) => break,
                        Err((KafkaError::MessageProduction(Code::QueueFull), back)) => {
                            self.producer.poll(Duration::from_millis(100));
                            self.check()?;
                            message = back;
                        }
                        Err((error, _)) => {
                            return Err(match error.rdkafka_error_code() {
                                Some(code) if of_the_record(code) => bad(code.to_string()),
                                _ => self.error("write", &error),
                            });
                        }
                    }
                }
                number += 1;
                if number % RECORDS_PER_POLL == 0 {
                    self.producer.poll(Duration::ZERO);
                    self.check()?;
                }
            }
        }
        Ok(bytes)
    }

    /// An error if a record could not be delivered.
    fn check(&self) -> Result<(), SinkError> {
        self.undelivered().map_or(Ok(()), Err)
    }

    fn undelivered(&self) -> Option<SinkError> {
        let (number, code) = self.producer.context().undelivered()?;
        let reason = format!("row {} of the epoch was not delivered: {code}", number + 1);
        Some(if of_the_record(code) {
            SinkError::data(&self.target, reason)
        } else {
            sort(code, &self.target, reason)
        })
    }

    /// Repeats a step for as long as librdkafka says that it can be and the transaction lives.
    fn retried(
        &self,
        action: &str,
        mut step: impl FnMut() -> Result<(), KafkaError>,
    ) -> Result<(), SinkError> {
        let began = Instant::now();
        loop {
            match step() {
                Ok(()) => return Ok(()),
                Err(KafkaError::Transaction(error))
                    if error.is_retriable() && began.elapsed() < self.timeout => {}
                // What a record met with says more than that its transaction failed.
                Err(error) => {
                    return Err(self.undelivered().unwrap_or_else(|| self.error(action, &error)));
                }
            }
        }
    }

    fn answer(&self) -> Duration {
        ANSWER.min(self.timeout)
    }

    fn error(&self, action: &str, error: &KafkaError) -> SinkError {
        if let Some((code, reason)) = self.producer.client().fatal_error() {
            return sort(code, &self.target, format!("could not {action}: {reason}"));
        }
        classify(action, &self.target, error, self.producer.context())
    }
}

/// What both clients have.
fn base(options: &KafkaOptions) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("client.id", "millpond");
    for (name, value) in &options.properties {
        config.set(name, value);
    }
    config.set("bootstrap.servers", &options.brokers);
    config
}

fn consumer(
    options: &KafkaOptions,
    names: &Names,
    target: &str,
    isolation: &str,
) -> Result<BaseConsumer<Told>, SinkError> {
    let mut config = ClientConfig::new();
    config.set("client.id", "millpond");
    // What producers alone have would be complained about.
    let shared = |name: &str| {
        [
            "sasl.",
            "ssl.",
            "security.",
            "socket.",
            "broker.",
            "reconnect.",
            "metadata.",
            "enable.ssl",
        ]
        .iter()
        .any(|prefix| name.starts_with(prefix))
            || name == "client.id"
    };
    for (name, value) in options.properties.iter().filter(|(name, _)| shared(name)) {
        config.set(name, value);
    }
    config
        .set("bootstrap.servers", &options.brokers)
        .set("group.id", &names.group)
        .set("enable.auto.commit", "false")
        .set("isolation.level", isolation);
    config.create_with_context(Told::default()).map_err(|e| unusable(target, &e))
}

/// Waits for the topic; asking for it makes the cluster create it, where that is switched on.
fn require_topic(
    consumer: &BaseConsumer<Told>,
    topic: &str,
    target: &str,
) -> Result<(), SinkError> {
    let began = Instant::now();
    loop {
        let found = consumer
            .fetch_metadata(Some(topic), ANSWER)
            .map_err(|e| classify("ask for the topic", target, &e, consumer.context()))?;
        let here = found.topics().iter().any(|found| {
            found.name() == topic && found.error().is_none() && !found.partitions().is_empty()
        });
        if here {
            return Ok(());
        }
        if began.elapsed() > Duration::from_secs(5) {
            return Err(SinkError::Unavailable {
                target: target.to_owned(),
                reason: format!("there is no topic '{topic}'; create it"),
            });
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// The group's offset and its metadata.
fn marker(
    consumer: &BaseConsumer<Told>,
    names: &Names,
    target: &str,
) -> Result<Option<Marker>, SinkError> {
    let mut asked = TopicPartitionList::new();
    asked.add_partition(&names.marker_topic, 0);
    let found = consumer
        .committed_offsets(asked, ANSWER)
        .map_err(|e| classify("read its epoch", target, &e, consumer.context()))?;
    let found = found.elements().into_iter().find_map(|element| {
        let Offset::Offset(epoch) = element.offset() else { return None };
        let (instance, token) = element.metadata().split_once(' ').unwrap_or_default();
        let epoch = u64::try_from(epoch).unwrap_or(0);
        Some(Marker { instance: instance.to_owned(), epoch, token: token.to_owned() })
    });
    Ok(found)
}

/// A property that librdkafka refuses. Not its value: it may be a secret.
fn unusable(target: &str, error: &KafkaError) -> SinkError {
    let reason = match error {
        KafkaError::ClientConfig(_, reason, name, _) => {
            format!("kafka property '{name}': {reason}")
        }
        KafkaError::ClientCreation(reason) => format!("kafka properties: {reason}"),
        other => other.to_string(),
    };
    SinkError::Rejected { target: target.to_owned(), reason }
}

fn classify(action: &str, target: &str, error: &KafkaError, told: &Told) -> SinkError {
    let (code, words) = match error {
        KafkaError::Transaction(error) => (Some(error.code()), error.string()),
        other => (other.rdkafka_error_code(), other.to_string()),
    };
    let mut reason = format!("could not {action}: {words}");
    // The reason behind a time that ran out is what the client complained of meanwhile.
    if let Some(complaint) = told.complaint() {
        reason.push_str(&format!(" ({complaint})"));
    }
    match code {
        Some(code) => sort(code, target, reason),
        None => SinkError::Unavailable { target: target.to_owned(), reason },
    }
}

/// Whether a record itself is what is wrong.
fn of_the_record(code: Code) -> bool {
    matches!(
        code,
        Code::MessageSizeTooLarge
            | Code::InvalidMessage
            | Code::InvalidMessageSize
            | Code::InvalidRecord
            | Code::InvalidTimestamp
            | Code::InvalidTopic
            | Code::UnknownPartition
    )
}

fn sort(code: Code, target: &str, reason: String) -> SinkError {
    let target = target.to_owned();
    match code {
        Code::ProducerFenced | Code::InvalidProducerEpoch | Code::Fenced => {
            SinkError::Fenced { target, expected: None, found: None }
        }
        Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::TransactionalIdAuthorizationFailed
        | Code::SaslAuthenticationFailed
        | Code::UnsupportedSASLMechanism
        | Code::UnsupportedVersion
        | Code::InvalidTransactionTimeout
        | Code::InvalidConfig
        | Code::SecurityDisabled
        | Code::PolicyViolation
        | Code::UnsupportedForMessageFormat
        | Code::UnsupportedFeature
        | Code::InvalidArgument => SinkError::Rejected { target, reason },
        code if of_the_record(code) => SinkError::Data { target, reason },
        _ => SinkError::Unavailable { target, reason },
    }
}
