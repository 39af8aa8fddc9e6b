//! A Kafka topic.

use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};

use super::Output;
use crate::weblog::{WeblogError, client_of, records};

/// How long to wait for the cluster to answer questions about itself.
const METADATA_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an interrupted run waits for records that are on their way.
const LAST_WAIT: Duration = Duration::from_secs(5);

/// How many different things are told while a log is written.
const MAX_NOTICES: usize = 16;

/// What a record's key is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Key {
    /// None: records go to the partitions in turn.
    #[default]
    None,
    /// The client's address; the partition follows from it, as with Java's producer.
    Ip,
}

impl FromStr for Key {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self::None),
            "ip" => Ok(Self::Ip),
            _ => Err("the key is 'ip' or 'none'".to_owned()),
        }
    }
}

/// Where and how to write.
#[derive(Clone, Debug, Default)]
pub struct KafkaOptions {
    /// `host:port`, more than one separated by commas.
    pub brokers: String,
    /// The topic; made if it is missing.
    pub topic: String,
    /// Partitions of the topic if it has to be made; the broker's default if none.
    pub partitions: Option<i32>,
    /// What a record's key is.
    pub key: Key,
    /// Any of librdkafka's properties; they go before ours.
    pub properties: Vec<(String, String)>,
}

/// What the producer's callbacks learn.
#[derive(Default)]
struct Deliveries {
    failed: AtomicU64,
    /// The last thing that librdkafka complained about.
    complaint: Mutex<Option<String>>,
    /// What the person at the terminal has been told, so that it is told once.
    told: Mutex<Vec<String>>,
    /// What is to be told next.
    notice: Mutex<Option<String>>,
}

impl Deliveries {
    fn complain(&self, text: &str) {
        // How long a connection was tried, and how often, differs each time and says nothing.
        let text = text.split(" (after ").next().unwrap_or(text);
        // Nothing is done under these locks that can panic: what they hold is whole.
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() < MAX_NOTICES && !told.iter().any(|known| known == text) {
            told.push(text.to_owned());
            *self.notice.lock().unwrap_or_else(PoisonError::into_inner) = Some(text.to_owned());
        }
        *self.complaint.lock().unwrap_or_else(PoisonError::into_inner) = Some(text.to_owned());
    }

    fn last_complaint(&self) -> Option<String> {
        self.complaint.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ClientContext for Deliveries {
    /// librdkafka's log repeats what comes as errors and deliveries.
    fn log(&self, _level: RDKafkaLogLevel, _facility: &str, _message: &str) {}

    fn error(&self, error: KafkaError, reason: &str) {
        let text = match error.rdkafka_error_code() {
            // Each broker's own failure comes as well, and says more.
            Some(RDKafkaErrorCode::AllBrokersDown) => return,
            _ if reason.is_empty() => error.to_string(),
            _ => reason.to_owned(),
        };
        self.complain(&text);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            self.failed.fetch_add(1, Ordering::Relaxed);
            let reason = error.rdkafka_error_code();
            let reason = reason.map_or_else(|| error.to_string(), |code| code.to_string());
            self.complain(&format!("a record was not delivered: {reason}"));
        }
    }
}

/// Writes a log to a Kafka topic, in batches; librdkafka repeats what fails for a time
/// (`message.timeout.ms`, a minute unless set otherwise).
pub struct KafkaOutput {
    producer: BaseProducer<Deliveries>,
    options: KafkaOptions,
    partitions: i32,
    /// Of the next record, if records go to the partitions in turn.
    turn: i32,
    /// Records given up because the run was interrupted and they could not be brought away.
    abandoned: u64,
    interrupted: &'static AtomicBool,
    /// When to stop waiting, once interrupted.
    give_up_at: Option<Instant>,
}

impl KafkaOutput {
    /// Connects, and makes the topic if it is missing. Once `interrupted` is set, nothing waits
    /// for the cluster any more.
    ///
    /// # Errors
    /// [`WeblogError::Invalid`] for a property that librdkafka refuses, [`WeblogError::Kafka`] if
    /// the cluster does not answer or will not have the topic.
    pub fn connect(
        options: KafkaOptions,
        interrupted: &'static AtomicBool,
    ) -> Result<Self, WeblogError> {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &options.brokers)
            .set("client.id", "millpond-generate")
            .set("linger.ms", "50")
            .set("batch.size", "1000000")
            .set("batch.num.messages", "10000")
            .set("compression.type", "lz4")
            .set("queue.buffering.max.messages", "200000")
            .set("queue.buffering.max.kbytes", "131072")
            .set("message.timeout.ms", "60000")
            // The partitioner of Java's producer, which other writers to the topic may use.
            .set("partitioner", "murmur2_random")
            // Only failures are of interest: a report of each success would cost as much again.
            .set("delivery.report.only.error", "true");
        for (name, value) in &options.properties {
            config.set(name, value);
        }
        let producer: BaseProducer<Deliveries> =
            config.create_with_context(Deliveries::default()).map_err(|error| match error {
                KafkaError::ClientConfig(_, reason, name, _) => {
                    // Not the value: it may be a secret.
                    WeblogError::invalid(format!("kafka property '{name}': {reason}"))
                }
                KafkaError::ClientCreation(reason) => {
                    WeblogError::invalid(format!("kafka properties: {reason}"))
                }
                other => kafka_error(&options, other.to_string()),
            })?;
        let partitions = match partition_count(&producer, &options, interrupted)? {
            Some(partitions) => partitions,
            None => {
                create_topic(&config, &options)?;
                await_topic(&producer, &options, interrupted)?
            }
        };
        Ok(Self {
            producer,
            options,
            partitions,
            turn: 0,
            abandoned: 0,
            interrupted,
            give_up_at: None,
        })
    }

    /// The topic's partitions.
    pub fn partitions(&self) -> i32 {
        self.partitions
    }

    /// Whether the run was interrupted long enough ago.
    fn hurried(&mut self) -> bool {
        if self.give_up_at.is_none() && self.interrupted.load(Ordering::Relaxed) {
            self.give_up_at = Some(Instant::now() + LAST_WAIT);
        }
        self.give_up_at.is_some_and(|at| Instant::now() >= at)
    }

    fn send(&mut self, record: &[u8]) -> Result<(), WeblogError> {
        loop {
            let message = BaseRecord::to(&self.options.topic).payload(record);
            let message = match self.options.key {
                Key::None => message.partition(self.turn),
                // A record whose client cannot be told has no key, and goes anywhere.
                Key::Ip => BaseRecord { key: client_of(record), ..message },
            };
            let Err((error, _)) = self.producer.send::<[u8], [u8]>(message) else {
                self.turn = if self.turn + 1 >= self.partitions { 0 } else { self.turn + 1 };
                return Ok(());
            };
            if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                return Err(kafka_error(&self.options, error.to_string()));
            }
            if self.hurried() {
                self.abandoned += 1;
                return Ok(());
            }
            self.producer.poll(Duration::from_millis(10));
        }
    }
}

impl Output for KafkaOutput {
    fn write(&mut self, buffer: &[u8], ends: &[usize]) -> Result<(), WeblogError> {
        for record in records(buffer, ends) {
            self.send(record)?;
        }
        self.producer.poll(Duration::ZERO);
        Ok(())
    }

    fn pause(&mut self, time: Duration) {
        self.producer.poll(time);
    }

    fn finish(&mut self) -> Result<(), WeblogError> {
        while self.producer.in_flight_count() > 0 && !self.hurried() {
            // A time-out is what it ends with while records are on their way.
            let _ = self.producer.flush(Duration::from_millis(200));
        }
        self.abandoned += u64::try_from(self.producer.in_flight_count()).unwrap_or(0);
        let failed = self.failed();
        if failed == 0 {
            return Ok(());
        }
        let reason = self.producer.context().last_complaint();
        let reason = reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
        Err(kafka_error(
            &self.options,
            format!("{failed} records were not delivered to '{}'{reason}", self.options.topic),
        ))
    }

    fn failed(&self) -> u64 {
        self.producer.context().failed.load(Ordering::Relaxed) + self.abandoned
    }

    fn notice(&mut self) -> Option<String> {
        let context = self.producer.context();
        let notice = context.notice.lock().unwrap_or_else(PoisonError::into_inner).take();
        notice.map(|text| format!("kafka at {}: {text}", self.options.brokers))
    }
}

fn kafka_error(options: &KafkaOptions, reason: impl Into<String>) -> WeblogError {
    WeblogError::Kafka { brokers: options.brokers.clone(), reason: reason.into() }
}

/// How many partitions the topic has, `None` if it does not exist. Waits for the cluster, which
/// may be starting.
fn partition_count(
    producer: &BaseProducer<Deliveries>,
    options: &KafkaOptions,
    interrupted: &AtomicBool,
) -> Result<Option<i32>, WeblogError> {
    let deadline = Instant::now() + METADATA_TIMEOUT;
    let metadata = loop {
        // All topics: to ask for one by its name may create it, with the wrong partitions.
        match producer.client().fetch_metadata(None, Duration::from_secs(1)) {
            Ok(metadata) => break metadata,
            Err(error) => {
                // Collects what the single brokers' connections failed of.
                producer.poll(Duration::from_millis(50));
                if Instant::now() >= deadline || interrupted.load(Ordering::Relaxed) {
                    let complaint = producer.context().last_complaint();
                    let reason = complaint.unwrap_or_else(|| error.to_string());
                    return Err(kafka_error(options, format!("no answer: {reason}")));
                }
            }
        }
    };
    let Some(topic) = metadata.topics().iter().find(|topic| topic.name() == options.topic) else {
        return Ok(None);
    };
    if let Some(error) = topic.error() {
        let error = RDKafkaErrorCode::from(error);
        return Err(kafka_error(options, format!("topic '{}': {error}", options.topic)));
    }
    Ok(i32::try_from(topic.partitions().len()).ok().filter(|count| *count > 0))
}

fn create_topic(config: &ClientConfig, options: &KafkaOptions) -> Result<(), WeblogError> {
    let refused = |reason: String| {
        kafka_error(
            options,
            format!("topic '{}' does not exist and cannot be created: {reason}", options.topic),
        )
    };
    let admin: AdminClient<DefaultClientContext> =
        config.create().map_err(|error| refused(error.to_string()))?;
    // -1 is the broker's own default (KIP-464), for partitions as for replicas.
    let topic = NewTopic::new(
        &options.topic,
        options.partitions.unwrap_or(-1),
        TopicReplication::Fixed(-1),
    );
    let timeouts = AdminOptions::new()
        .request_timeout(Some(METADATA_TIMEOUT))
        .operation_timeout(Some(METADATA_TIMEOUT));
    let results = tokio::runtime::Builder::new_current_thread()
        .build()
        .map_err(|error| refused(error.to_string()))?
        .block_on(admin.create_topics([&topic], &timeouts))
        .map_err(|error| refused(error.to_string()))?;
    for result in results {
        match result {
            // Somebody else was quicker.
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((_, code)) => return Err(refused(code.to_string())),
        }
    }
    Ok(())
}

/// A topic just made takes a moment to be known to every broker.
fn await_topic(
    producer: &BaseProducer<Deliveries>,
    options: &KafkaOptions,
    interrupted: &AtomicBool,
) -> Result<i32, WeblogError> {
    let deadline = Instant::now() + METADATA_TIMEOUT;
    loop {
        if let Some(partitions) = partition_count(producer, options, interrupted)? {
            return Ok(partitions);
        }
        if Instant::now() >= deadline || interrupted.load(Ordering::Relaxed) {
            let text = format!("topic '{}' was created, but does not show", options.topic);
            return Err(kafka_error(options, text));
        }
        producer.poll(Duration::from_millis(100));
    }
}
