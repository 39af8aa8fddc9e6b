//! Membership in a consumer group.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::base_consumer::BaseConsumer;
use rdkafka::consumer::{CommitMode, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::KafkaError as ClientError;
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};

use super::pattern::TopicPattern;
use super::{KafkaError, PartitionQueue, Start, StartAt};

/// How often the main queue is polled when nothing arrives on it.
const POLL: Duration = Duration::from_millis(100);
/// How long a broker may take to answer a question about offsets.
const ASK: Duration = Duration::from_secs(20);

/// What a [`KafkaGroup`] is made of.
#[derive(Debug, Clone)]
pub struct KafkaOptions {
    /// Bootstrap servers, `host:port` parted by commas.
    pub brokers: String,
    /// Topics; a name that begins with `^` is a pattern, as librdkafka has it.
    pub topics: Vec<String>,
    /// The consumer group.
    pub group_id: String,
    /// Where to begin without a checkpoint.
    pub start: Start,
    /// Passed to librdkafka as they are, after our own defaults.
    pub options: BTreeMap<String, String>,
    /// How many messages one take of a partition may show.
    pub batch: usize,
    /// How long a revoked partition may be held to finish its epoch.
    pub drain_timeout: Duration,
}

/// What happens to the membership. Sent from the group's own thread.
#[derive(Debug)]
pub enum GroupEvent {
    /// These partitions are ours now, all of them. Nothing is fetched until
    /// [`KafkaGroup::assign`] says from where.
    Assigned {
        /// Names this assignment; [`KafkaGroup::assign`] refuses an older one.
        version: u64,
        /// Topic and partition.
        partitions: Vec<(String, i32)>,
    },
    /// The partitions will be taken away when `done` is dropped or after the drain timeout.
    Revoked {
        /// Held while the last epoch of these partitions is being finished.
        done: mpsc::Sender<()>,
    },
    /// librdkafka's statistics, every `statistics.interval.ms`.
    Statistics {
        /// Mean round trip by broker id; ids below 0 are bootstrap addresses.
        round_trips: Vec<(i32, Duration)>,
        /// Records fetched and not read yet.
        queued_records: u64,
        /// Bytes of them.
        queued_bytes: u64,
    },
    /// The client reports an error. librdkafka retries by itself unless it is fatal.
    Error {
        /// librdkafka's name for it.
        code: RDKafkaErrorCode,
        /// librdkafka's words.
        reason: String,
        /// The client is of no more use.
        fatal: bool,
    },
}

/// A membership, polled by a thread of its own until dropped.
pub struct KafkaGroup {
    consumer: Arc<BaseConsumer<GroupContext>>,
    options: KafkaOptions,
    closing: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl KafkaGroup {
    /// Joins the group. `events` is called from the group's thread, and should not block it.
    ///
    /// Only bad options fail here; brokers that can't be reached are retried for ever and reported
    /// as [`GroupEvent::Error`].
    pub fn join(
        options: KafkaOptions,
        events: impl Fn(GroupEvent) + Send + Sync + 'static,
    ) -> Result<Self, KafkaError> {
        let closing = Arc::new(AtomicBool::new(false));
        let context = GroupContext {
            events: Box::new(events),
            assigned: Mutex::new(Assignment { version: 0, partitions: Vec::new() }),
            closing: closing.clone(),
            drain_timeout: options.drain_timeout,
        };
        let consumer: BaseConsumer<GroupContext> = client_config(&options)
            .create_with_context(context)
            .map_err(|error| KafkaError::Options(error.to_string()))?;
        let topics: Vec<&str> = options.topics.iter().map(String::as_str).collect();
        consumer.subscribe(&topics).map_err(|error| KafkaError::Broker {
            action: "subscribing",
            brokers: options.brokers.clone(),
            reason: error.to_string(),
        })?;
        let consumer = Arc::new(consumer);
        let thread = {
            let (consumer, closing) = (consumer.clone(), closing.clone());
            thread::Builder::new()
                .name("kafka-group".into())
                .spawn(move || poll(&consumer, &closing))
                .map_err(|error| KafkaError::Options(format!("no thread to poll on: {error}")))?
        };
        Ok(Self { consumer, options, closing, thread: Some(thread) })
    }

    /// Begins to fetch the partitions of assignment `version` at these offsets, and returns their
    /// queues in the same order.
    ///
    /// Called again for the same assignment, it starts over at the new offsets: this is how a
    /// pipeline replays after a fault, without leaving the group. Returns `None` when the
    /// assignment has changed meanwhile; its event is then on the way.
    pub fn assign(
        &self,
        version: u64,
        partitions: &[(String, i32, i64)],
    ) -> Result<Option<Vec<PartitionQueue>>, KafkaError> {
        let assigned = self.consumer.context().assigned();
        if assigned.version != version {
            return Ok(None);
        }
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        let mut queues = Vec::with_capacity(partitions.len());
        for (topic, partition, offset) in partitions {
            list.add_partition_offset(topic, *partition, Offset::Offset(*offset))
                .map_err(|error| self.broker_error("choosing offsets", error))?;
            let batch = self.options.batch;
            let queue = PartitionQueue::split(&self.consumer, topic, *partition, *offset, batch)
                .ok_or_else(|| KafkaError::NoTopic(topic.clone()))?;
            queues.push(queue);
        }
        self.consumer
            .context()
            .start_over(&self.consumer, &list)
            .map_err(|error| self.broker_error("assigning partitions", error))?;
        drop(assigned);
        Ok(Some(queues))
    }

    /// The offsets of the oldest record and after the last one, asked from the brokers.
    pub fn offsets(&self, topic: &str, partition: i32) -> Result<(i64, i64), KafkaError> {
        self.consumer
            .fetch_watermarks(topic, partition, ASK)
            .map_err(|error| self.broker_error("asking for the offsets", error))
    }

    /// Every partition of the group's topics, whoever reads it, asked from the brokers. Patterns
    /// are matched against the topics that are there now.
    pub fn partitions(&self) -> Result<Vec<(String, i32)>, KafkaError> {
        let asking = |error| self.broker_error("asking for the partitions", error);
        let (patterns, named): (Vec<&String>, Vec<&String>) =
            self.options.topics.iter().partition(|topic| topic.starts_with('^'));
        let mut partitions = BTreeSet::new();
        for topic in named {
            let metadata = self.consumer.fetch_metadata(Some(topic), ASK).map_err(asking)?;
            for found in metadata.topics().iter().filter(|found| found.name() == topic) {
                partitions.extend(found.partitions().iter().map(|p| (topic.clone(), p.id())));
            }
        }
        if !patterns.is_empty() {
            let matchers: Vec<TopicPattern> = patterns
                .iter()
                .map(|pattern| TopicPattern::new(pattern))
                .collect::<Result<_, _>>()?;
            let metadata = self.consumer.fetch_metadata(None, ASK).map_err(asking)?;
            for found in metadata.topics() {
                if matchers.iter().any(|pattern| pattern.matches(found.name())) {
                    let name = found.name().to_owned();
                    partitions.extend(found.partitions().iter().map(|p| (name.clone(), p.id())));
                }
            }
            if partitions.is_empty() {
                let patterns: Vec<&str> = patterns.iter().map(|p| p.as_str()).collect();
                return Err(KafkaError::NoMatch {
                    patterns: patterns.join(", "),
                    brokers: self.options.brokers.clone(),
                });
            }
        }
        Ok(partitions.into_iter().collect())
    }

    /// Where to begin in a partition that no checkpoint knows: a number, so that the place is the
    /// same after a crash before the first record.
    pub fn start_offset(&self, topic: &str, partition: i32) -> Result<i64, KafkaError> {
        let (oldest, end) = self.offsets(topic, partition)?;
        let at = match &self.options.start {
            Start::Earliest => StartAt::Earliest,
            Start::Latest => StartAt::Latest,
            Start::Timestamp { ms } => {
                return self.offset_at(topic, partition, *ms).map(|found| found.unwrap_or(end));
            }
            Start::Offsets { listed, others } => {
                listed.get(&(topic.to_owned(), partition)).copied().unwrap_or(*others)
            }
        };
        match at {
            StartAt::Earliest => Ok(oldest),
            StartAt::Latest => Ok(end),
            StartAt::Offset(offset) if (oldest..=end).contains(&offset) => Ok(offset),
            StartAt::Offset(offset) => Err(KafkaError::StartOffset {
                topic: topic.to_owned(),
                partition,
                offset,
                oldest,
                end,
            }),
        }
    }

    /// The offset of the first record with a timestamp of `ms` (milliseconds since the Unix
    /// epoch) or later, `None` if there is none yet.
    fn offset_at(&self, topic: &str, partition: i32, ms: i64) -> Result<Option<i64>, KafkaError> {
        let asking = |error| self.broker_error("asking for the offset at a timestamp", error);
        let mut list = TopicPartitionList::with_capacity(1);
        // Negative numbers are names of librdkafka's for other things.
        list.add_partition_offset(topic, partition, Offset::Offset(ms.max(0))).map_err(asking)?;
        let found = self.consumer.offsets_for_times(list, ASK).map_err(asking)?;
        let Some(found) = found.find_partition(topic, partition) else { return Ok(None) };
        found.error().map_err(asking)?;
        Ok(match found.offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        })
    }

    /// A question for another thread: does a broker answer now? Blocks for up to a few seconds.
    pub fn probe(&self) -> impl Fn() -> bool + Send + 'static {
        let (consumer, closing) = (self.consumer.clone(), self.closing.clone());
        move || {
            closing.load(Ordering::Acquire)
                || consumer.fetch_metadata(None, Duration::from_secs(2)).is_ok()
        }
    }

    /// Tells the group how far we are. Advisory, for lag tools: positions come from checkpoints.
    pub fn commit(&self, offsets: &[(String, i32, i64)]) -> Result<(), KafkaError> {
        let mut list = TopicPartitionList::with_capacity(offsets.len());
        for (topic, partition, next) in offsets {
            list.add_partition_offset(topic, *partition, Offset::Offset(*next))
                .map_err(|error| self.broker_error("choosing offsets", error))?;
        }
        if list.count() == 0 {
            return Ok(());
        }
        self.consumer
            .commit(&list, CommitMode::Async)
            .map_err(|error| self.broker_error("committing the group's offsets", error))
    }

    fn broker_error(&self, action: &'static str, error: ClientError) -> KafkaError {
        KafkaError::Broker {
            action,
            brokers: self.options.brokers.clone(),
            reason: error.to_string(),
        }
    }
}

impl Drop for KafkaGroup {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // A panic of the polling thread has been reported where it happened.
            let _ = thread.join();
        }
    }
}

fn client_config(options: &KafkaOptions) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set_log_level(RDKafkaLogLevel::Warning);
    // Defaults that a user may change. Prefetch is bounded in bytes per partition, because the
    // process's memory is: 4 MiB is a good second of a partition with 10,000 records a second.
    config
        .set("queued.max.messages.kbytes", "4096")
        .set("queued.min.messages", "1000000")
        .set("fetch.message.max.bytes", "1048576")
        // One fetch can fill that, and librdkafka then waits before it looks again whether there is
        // room: a second by default, in which a reader that drains the queue in 30 ms stands idle
        // (74 s for 5 million events instead of 6).
        .set("fetch.queue.backoff.ms", "10")
        .set("topic.metadata.refresh.interval.ms", "30000")
        .set("statistics.interval.ms", "10000")
        .set("client.id", "millpond");
    for (key, value) in &options.options {
        config.set(key, value);
    }
    // What exactly-once needs; the configuration refuses other values for these.
    config
        .set("bootstrap.servers", &options.brokers)
        .set("group.id", &options.group_id)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("enable.partition.eof", "true")
        // A checkpointed offset that is gone is a fault to show, not a place to skip from.
        .set("auto.offset.reset", "error");
    config
}

fn poll(consumer: &Arc<BaseConsumer<GroupContext>>, closing: &AtomicBool) {
    while !closing.load(Ordering::Acquire) {
        match consumer.poll(POLL) {
            None => {}
            Some(Err(error)) => consumer.context().report(error),
            // Cannot be, since every partition's queue is taken out before it is assigned. If it
            // is after all, saying so as a fatal error makes the pipeline replay the record.
            Some(Ok(_)) => (consumer.context().events)(GroupEvent::Error {
                code: RDKafkaErrorCode::Fail,
                reason: "a record came out of the group's main queue".into(),
                fatal: true,
            }),
        }
    }
}

#[derive(Debug)]
struct Assignment {
    version: u64,
    partitions: Vec<(String, i32)>,
}

/// Receives librdkafka's callbacks for a [`KafkaGroup`].
pub(super) struct GroupContext {
    events: Box<dyn Fn(GroupEvent) + Send + Sync>,
    assigned: Mutex<Assignment>,
    closing: Arc<AtomicBool>,
    drain_timeout: Duration,
}

impl GroupContext {
    fn assigned(&self) -> MutexGuard<'_, Assignment> {
        // Nothing panics while it holds the lock, and the list would be whole if something did.
        self.assigned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn report(&self, error: ClientError) {
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
        let fatal = code == RDKafkaErrorCode::Fatal;
        (self.events)(GroupEvent::Error { code, reason: error.to_string(), fatal });
    }

    fn start_over(
        &self,
        consumer: &BaseConsumer<Self>,
        list: &TopicPartitionList,
    ) -> Result<(), ClientError> {
        match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => {
                let current = consumer.assignment()?;
                if current.count() > 0 {
                    consumer.incremental_unassign(&current)?;
                }
                consumer.incremental_assign(list)
            }
            // Replaces what is assigned; the fetchers stop and start at the new offsets.
            RebalanceProtocol::Eager | RebalanceProtocol::None => consumer.assign(list),
        }
    }
}

impl ClientContext for GroupContext {
    fn error(&self, error: ClientError, reason: &str) {
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
        let fatal = code == RDKafkaErrorCode::Fatal;
        (self.events)(GroupEvent::Error { code, reason: reason.to_owned(), fatal });
    }

    fn stats(&self, statistics: Statistics) {
        let round_trips = statistics
            .brokers
            .values()
            .filter_map(|broker| {
                let average = u64::try_from(broker.rtt.as_ref()?.avg).ok()?;
                Some((broker.nodeid, Duration::from_micros(average)))
            })
            .collect();
        let partitions = || statistics.topics.values().flat_map(|topic| topic.partitions.values());
        (self.events)(GroupEvent::Statistics {
            round_trips,
            queued_records: partitions()
                .map(|partition| u64::try_from(partition.fetchq_cnt).unwrap_or(0))
                .sum(),
            queued_bytes: partitions().map(|partition| partition.fetchq_size).sum(),
        });
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error => tracing::error!(facility, message, "kafka client"),
            RDKafkaLogLevel::Warning => tracing::warn!(facility, message, "kafka client"),
            _ => tracing::debug!(facility, message, "kafka client"),
        }
    }
}

impl ConsumerContext for GroupContext {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        code: RDKafkaRespErr,
        list: &mut TopicPartitionList,
    ) {
        let named: Vec<(String, i32)> =
            list.elements().iter().map(|p| (p.topic().to_owned(), p.partition())).collect();
        let cooperative = matches!(consumer.rebalance_protocol(), RebalanceProtocol::Cooperative);
        match code {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => {
                if cooperative {
                    self.drain();
                }
                let event = {
                    let mut assigned = self.assigned();
                    if !cooperative {
                        assigned.partitions.clear();
                    }
                    assigned.partitions.extend(named);
                    assigned.partitions.sort();
                    assigned.partitions.dedup();
                    assigned.version += 1;
                    GroupEvent::Assigned {
                        version: assigned.version,
                        partitions: assigned.partitions.clone(),
                    }
                };
                // The assignment is taken up by `KafkaGroup::assign`, once the pipeline knows
                // from which offsets.
                (self.events)(event);
            }
            _ => {
                self.drain();
                let (rest, result) = {
                    let mut assigned = self.assigned();
                    if cooperative {
                        assigned.partitions.retain(|p| !named.contains(p));
                    } else {
                        assigned.partitions.clear();
                    }
                    assigned.version += 1;
                    let result = if cooperative {
                        match consumer.assignment() {
                            Ok(current) if current.count() > 0 => {
                                consumer.incremental_unassign(list)
                            }
                            Ok(_) => Ok(()),
                            Err(error) => Err(error),
                        }
                    } else {
                        consumer.unassign()
                    };
                    (
                        GroupEvent::Assigned {
                            version: assigned.version,
                            partitions: assigned.partitions.clone(),
                        },
                        result,
                    )
                };
                if let Err(error) = result {
                    self.report(error);
                }
                (self.events)(rest);
            }
        }
    }
}

impl GroupContext {
    /// Fence, drain, release: waits until the pipeline has finished its epoch, or for the drain
    /// timeout. The group's coordinator waits meanwhile, well within `max.poll.interval.ms`.
    fn drain(&self) {
        if self.closing.load(Ordering::Acquire) {
            return;
        }
        let (done, finished) = mpsc::channel();
        (self.events)(GroupEvent::Revoked { done });
        match finished.recv_timeout(self.drain_timeout) {
            Ok(()) | Err(RecvTimeoutError::Disconnected) => {}
            Err(RecvTimeoutError::Timeout) => tracing::warn!(
                timeout_seconds = self.drain_timeout.as_secs_f64(),
                "partitions released before their epoch was finished; the next owner fences it"
            ),
        }
    }
}
