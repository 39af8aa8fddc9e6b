//! A Kafka topic.

use super::error::SinkError;
use super::staged::StagedRows;
use super::target::{CommitInfo, Guarantee, Marker, TargetContext};
use std::time::Duration;

/// Which topic of which cluster, and what a record is made of.
#[derive(Clone)]
pub struct KafkaOptions {
    /// `host:port`, more than one separated by commas.
    pub brokers: String,
    /// The topic of rows whose `topic_column` is NULL or that have none.
    pub topic: Option<String>,
    /// A STRING column with the topic's name.
    pub topic_column: Option<String>,
    /// The column that is the record's key; none: no key.
    pub key: Option<String>,
    /// What a record's headers are.
    pub headers: KafkaHeaders,
    /// An INT column with the partition's number; NULL or none: by the key.
    pub partition_column: Option<String>,
    /// What a record's value is.
    pub value: KafkaValue,
    /// A BOOLEAN column: where it is true, the value is left out (a tombstone).
    pub tombstone_column: Option<String>,
    /// The topic under whose name the epochs are remembered; `topic` if there is one.
    pub marker_topic: Option<String>,
    /// How long a transaction may take before the cluster gives it up.
    pub transaction_timeout: Duration,
    /// Any of librdkafka's properties. Secret values among them: never shown.
    pub properties: Vec<(String, String)>,
}

/// What the headers of a record are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum KafkaHeaders {
    /// None.
    #[default]
    None,
    /// The entries of a column of type MAP<STRING, STRING or BINARY>.
    Map(String),
    /// One header for each of these columns, under its name; none where it is NULL.
    Columns(Vec<String>),
}

/// What the value of a record is.
#[derive(Clone, Debug, Default)]
pub enum KafkaValue {
    /// A JSON object of the columns that have no other place in the record.
    #[default]
    Json,
    /// The column of type STRING or BINARY, as it is; NULL is a tombstone.
    Column(String),
}

impl std::fmt::Debug for KafkaOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaOptions")
            .field("brokers", &self.brokers)
            .field("topic", &self.topic)
            .field("topic_column", &self.topic_column)
            .field("key", &self.key)
            .field("headers", &self.headers)
            .field("value", &self.value)
            .finish_non_exhaustive()
    }
}

impl KafkaOptions {
    /// The topic, in words.
    pub fn address(&self) -> String {
        self.topic.clone().or_else(|| self.topic_column.clone()).unwrap_or_default()
    }
}

/// Under construction.
pub struct KafkaTarget {
    options: KafkaOptions,
    context: TargetContext,
}

impl KafkaTarget {
    pub(super) const GUARANTEE: Guarantee = Guarantee::ExactlyOnce("");

    pub(super) async fn open(
        options: KafkaOptions,
        context: TargetContext,
    ) -> Result<Self, SinkError> {
        Ok(Self { options, context })
    }

    pub(super) fn address(&self) -> String {
        String::new()
    }

    pub(super) async fn marker(&mut self) -> Result<Option<Marker>, SinkError> {
        Err(SinkError::internal("under construction"))
    }

    pub(super) async fn commit(&mut self, _: u64, _: &StagedRows) -> Result<CommitInfo, SinkError> {
        Err(SinkError::internal("under construction"))
    }
}
