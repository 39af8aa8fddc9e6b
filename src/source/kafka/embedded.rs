//! A broker inside the process, for a first look and for fast tests.
//!
//! librdkafka's mock cluster speaks the protocol over loopback, groups included. It keeps at most
//! 5 MiB or 100,000 messages a partition and drops the oldest without a word, so whoever produces
//! into it has to pace itself by the readers' lag.

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

use super::KafkaError;

/// How many messages a partition may hold unread before the mock cluster drops the oldest, with a
/// wide margin: its limits are 100,000 messages or 5 MiB.
pub const SAFE_BACKLOG: i64 = 8_000;

/// A mock cluster of one broker. Gone when dropped.
pub struct EmbeddedBroker {
    cluster: MockCluster<'static, DefaultProducerContext>,
}

impl EmbeddedBroker {
    /// Starts a broker on a free port of the loopback interface.
    pub fn start() -> Result<Self, KafkaError> {
        MockCluster::new(1).map(|cluster| Self { cluster }).map_err(|error| KafkaError::Broker {
            action: "starting the embedded broker",
            brokers: "127.0.0.1".into(),
            reason: error.to_string(),
        })
    }

    /// Makes a topic.
    pub fn create_topic(&self, topic: &str, partitions: i32) -> Result<(), KafkaError> {
        self.cluster.create_topic(topic, partitions, 1).map_err(|error| KafkaError::Broker {
            action: "creating a topic",
            brokers: self.brokers(),
            reason: error.to_string(),
        })
    }

    /// Bootstrap servers for clients.
    pub fn brokers(&self) -> String {
        self.cluster.bootstrap_servers()
    }
}
