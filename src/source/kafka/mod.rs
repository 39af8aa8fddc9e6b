//! Kafka: a consumer group whose partitions are read one by one, each through its own queue.
//!
//! [`KafkaGroup`] is the membership. It outlives restarts of the pipeline, so that a fault costs a
//! replay and not a rebalance. Its thread polls the group's main queue all the time, whatever the
//! pipeline does: a slow sink therefore never costs the membership (`max.poll.interval.ms`).
//! Back-pressure needs no pause: an unread partition's queue fills up to
//! `queued.max.messages.kbytes` and librdkafka then stops fetching it.
//!
//! [`PartitionQueue`] hands out one partition's messages in batches.

pub mod embedded;
mod group;
mod queue;

pub use group::{GroupEvent, KafkaGroup, KafkaOptions, Start};
pub use queue::{FetchError, Message, PartitionQueue, Taken};

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_split_name_reads_back_even_when_the_topic_has_dashes() {
        assert_eq!(parse_split(&split_name("web-logs", 3)), Some(("web-logs", 3)));
        assert_eq!(parse_split("nothing"), None);
        assert_eq!(parse_split("web-logs-x"), None);
    }
}
