//! Kafka: a consumer group whose partitions are read one by one, each through its own queue.
//!
//! [`KafkaGroup`] is the membership. It outlives restarts of the pipeline, so that a fault costs a
//! replay and not a rebalance. Its thread polls the group's main queue all the time, whatever the
//! pipeline does: a slow sink therefore never costs the membership (`max.poll.interval.ms`).
//! Back-pressure needs no pause: an unread partition's queue fills up to
//! `queued.max.messages.kbytes` and librdkafka then stops fetching it.
//!
//! [`PartitionQueue`] hands out one partition's messages in batches, as a
//! [`SplitReader`](crate::source::SplitReader).

pub mod embedded;
mod envelope;
mod group;
mod pattern;
mod queue;
mod split;
mod start;
#[cfg(test)]
mod tests;

pub use envelope::MessageEnvelope;
pub use group::{GroupEvent, KafkaGroup, KafkaOptions};
pub use pattern::TopicPattern;
pub use queue::{FetchError, PartitionQueue};
pub use start::{Start, StartAt};

use thiserror::Error;

/// What can go wrong between us and the brokers.
#[derive(Debug, Error)]
pub enum KafkaError {
    /// A librdkafka option is unknown or has a value it does not take.
    #[error("librdkafka refused the options: {0}")]
    Options(String),
    /// The brokers could not be asked, or did not answer in time.
    #[error("{action} failed at {brokers}: {reason}")]
    Broker {
        /// What was being done.
        action: &'static str,
        /// The bootstrap servers.
        brokers: String,
        /// librdkafka's words.
        reason: String,
    },
    /// A topic that the configuration names does not exist.
    #[error("topic '{0}' does not exist and the broker does not create it")]
    NoTopic(String),
    /// A topic pattern that is no regular expression.
    #[error("'{pattern}' is no topic pattern: {reason}")]
    Pattern {
        /// As it was given.
        pattern: String,
        /// The C library's words.
        reason: String,
    },
    /// No topic matches the patterns, where a bounded run needs to know what to read.
    #[error("no topic at {brokers} matches {patterns}")]
    NoMatch {
        /// The patterns, parted by commas.
        patterns: String,
        /// The bootstrap servers.
        brokers: String,
    },
    /// The offset to begin at is not in the partition.
    #[error(
        "cannot begin at offset {offset} of {topic}-{partition}: it holds the offsets from \
         {oldest} to {end}"
    )]
    StartOffset {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// As it was given.
        offset: i64,
        /// The oldest offset that is there.
        oldest: i64,
        /// The offset that the next record will have.
        end: i64,
    },
}

/// Splits `topic-partition` as [`split_name`] writes it.
pub fn parse_split(split: &str) -> Option<(&str, i32)> {
    let (topic, partition) = split.rsplit_once('-')?;
    Some((topic, partition.parse().ok()?))
}

/// The name of a Kafka partition inside a source: `topic-partition`.
pub fn split_name(topic: &str, partition: i32) -> String {
    format!("{topic}-{partition}")
}
