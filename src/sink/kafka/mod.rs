//! A Kafka topic, or several.
//!
//! Each row is a record. Its value is a JSON object of the columns that have no other place in the
//! record, an Avro datum of them, or one column as it is; key, headers, topic and partition come
//! from columns if they are set. A partition that is not set follows from the key as with Java's
//! producer (murmur2).
//!
//! - **Append**: the rows of the epoch.
//! - **Update**: the last row of each of the query's keys in the epoch, so that a compacted topic, or
//!   a reader that keeps the newest value of a key, has the query's result.
//! - **Complete**: all rows of the result, at each trigger.
//!
//! # Exactly once
//! An epoch is one transaction of a producer whose `transactional.id` is `millpond-PIPELINE-SINK`.
//! The epoch's number is committed in the same transaction, as an offset of the group
//! `millpond-PIPELINE-SINK-epochs` for partition 0 of the sink's topic (or `marker_topic`), with the
//! ledger and the token of the staged rows as its metadata. Consumers have to read with
//! `isolation.level=read_committed`; others see records of transactions that were aborted as well.
//!
//! - **Killed in the middle of a transaction**: the next producer of the same name makes the cluster
//!   abort it (`init_transactions`) before the group's offset is read, so what is read is final.
//! - **Killed, or cut off, between the commit and our knowing it**: the same, and the offset's
//!   metadata has the token: nothing is written.
//! - **A second daemon**: taking the `transactional.id` fences the producer that had it before;
//!   whatever that one tries next fails, and its daemon stops. A daemon with another ledger reads the
//!   group's offset *before* it takes the identifier, and is refused without disturbing the one at
//!   work.
//! - **A lost or older checkpoint**: the group's offset is of another ledger or ahead of this one's,
//!   and opening is refused.
//! - **The group's offsets expire** (`offsets.retention.minutes`, a week by default) when no epoch
//!   has rows for that long: a ledger that is lost after that cannot be told from a new one.
//! - **A cluster that does not keep the metadata of offsets** (Tansu does not): the epoch's number
//!   alone decides. A copy of a checkpoint, or another ledger with a higher epoch, is then only kept
//!   out by fencing.
//!
//! What was verified where: transactions, fencing and offsets in transactions against Tansu 0.6 in
//! `tests/it/sink_kafka.rs`, which crashes at every step; Tansu does not hide the records of aborted
//! transactions, so there the test goes by the records of committed ones. Records' form against
//! librdkafka's mock cluster.

mod names;
mod record;
mod session;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::names::Names;
use self::record::Layout;
use self::session::Session;
use super::disk::blocking;
use super::error::SinkError;
use super::staged::StagedRows;
use super::target::{CommitInfo, Decision, Guarantee, Marker, TargetContext};
use crate::codec::{AvroEncoding, EncodingSpec, JsonEncoding, Registry};
use crate::sql::OutputMode;

/// Which topic of which cluster, and what a record is made of.
#[derive(Clone)]
pub struct KafkaOptions {
    /// `host:port`, more than one separated by commas.
    pub brokers: String,
    /// The topic of rows whose `topic_column` is NULL or that have none.
    pub topic: Option<String>,
    /// A STRING column with the topic's name.
    pub topic_column: Option<String>,
    /// The column that is the record's key; none: no key. STRING and BINARY as they are, other types
    /// as text.
    pub key: Option<String>,
    /// What a record's headers are.
    pub headers: KafkaHeaders,
    /// An INT column with the partition's number; NULL or none: by the key.
    pub partition_column: Option<String>,
    /// A TIMESTAMP column: the record's own time, in milliseconds. NULL or none: when it is written.
    pub timestamp_column: Option<String>,
    /// What a record's value is.
    pub value: KafkaValue,
    /// A BOOLEAN column: where it is true, the value is left out (a tombstone).
    pub tombstone_column: Option<String>,
    /// The topic under whose name the epochs are remembered; `topic` unless set.
    pub marker_topic: Option<String>,
    /// How long a transaction may take before the cluster gives it up.
    pub transaction_timeout: Duration,
    /// Any of librdkafka's properties; they go before ours. Secret values among them: never shown.
    pub properties: Vec<(String, String)>,
}

/// What the headers of a record are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum KafkaHeaders {
    /// None.
    #[default]
    None,
    /// The entries of a column of type `MAP<STRING, STRING or BINARY>`, or, as Spark's headers are,
    /// `ARRAY<STRUCT<key STRING, value BINARY>>`.
    Map(String),
    /// One header for each of these columns, under its name; none where it is NULL.
    Columns(Vec<String>),
}

/// What the value of a record is.
#[derive(Clone, Debug, Default)]
pub enum KafkaValue {
    /// A JSON object of the columns that have no other place in the record (the key stays in it).
    #[default]
    Json,
    /// An Avro datum of the same columns.
    Avro(AvroEncoding),
    /// The column of type STRING or BINARY, as it is; NULL is a tombstone.
    Column(String),
}

impl KafkaValue {
    /// Avro, framed with the id that `registry` gives the schema under `subject` (`<topic>-value` by
    /// custom). The record's name is the subject with `_` for what a name cannot have.
    pub fn avro(registry: Arc<Registry>, subject: &str) -> Self {
        let mut name: String =
            subject.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
            name.insert(0, '_');
        }
        Self::Avro(AvroEncoding { registry: Some((registry, subject.to_owned())), name })
    }

    fn encoding(&self) -> EncodingSpec {
        match self {
            Self::Json | Self::Column(_) => EncodingSpec::Json(JsonEncoding::default()),
            Self::Avro(options) => EncodingSpec::Avro(options.clone()),
        }
    }
}

impl KafkaOptions {
    /// The default of [`KafkaOptions::transaction_timeout`]; the cluster's own bound
    /// (`transaction.max.timeout.ms`) is 15 minutes by default.
    pub const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(60);

    /// JSON records without a key to `topic`.
    pub fn new(brokers: impl Into<String>, topic: impl Into<String>) -> Self {
        Self {
            brokers: brokers.into(),
            topic: Some(topic.into()),
            topic_column: None,
            key: None,
            headers: KafkaHeaders::None,
            partition_column: None,
            timestamp_column: None,
            value: KafkaValue::Json,
            tombstone_column: None,
            marker_topic: None,
            transaction_timeout: Self::TRANSACTION_TIMEOUT,
            properties: Vec::new(),
        }
    }

    /// The topic, or the column that names it, and the brokers.
    pub fn address(&self) -> String {
        let topic = match (&self.topic, &self.topic_column) {
            (Some(topic), None) => topic.clone(),
            (Some(topic), Some(column)) => format!("{topic} (or as `{column}` says)"),
            (None, Some(column)) => format!("as `{column}` says"),
            (None, None) => "nowhere".to_owned(),
        };
        format!("{topic} at {}", self.brokers)
    }
}

impl fmt::Debug for KafkaOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.properties.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("KafkaOptions")
            .field("brokers", &self.brokers)
            .field("topic", &self.topic)
            .field("topic_column", &self.topic_column)
            .field("key", &self.key)
            .field("headers", &self.headers)
            .field("partition_column", &self.partition_column)
            .field("timestamp_column", &self.timestamp_column)
            .field("value", &self.value)
            .field("tombstone_column", &self.tombstone_column)
            .field("marker_topic", &self.marker_topic)
            .field("transaction_timeout", &self.transaction_timeout)
            .field("properties", &names)
            .finish()
    }
}

/// Writes to Kafka.
pub struct KafkaTarget {
    options: KafkaOptions,
    context: TargetContext,
    names: Names,
    layout: Layout,
    /// What makes a row the newer version of another, in update mode.
    keys: Vec<usize>,
    session: Option<Session>,
    /// What the cluster has to hold before a commit.
    expected: Option<Marker>,
}

impl KafkaTarget {
    pub(super) const GUARANTEE: Guarantee = Guarantee::ExactlyOnce(
        "rows and epoch are one transaction, for consumers with isolation.level=read_committed",
    );

    pub(super) async fn open(
        options: KafkaOptions,
        context: TargetContext,
    ) -> Result<Self, SinkError> {
        let layout = Layout::new(&options, &context)?;
        let names = Names::new(&options, &context)?;
        let keys = match context.mode {
            OutputMode::Update => context.key_columns()?,
            OutputMode::Append | OutputMode::Complete => Vec::new(),
        };
        let mut target =
            Self { options, context, names, layout, keys, session: None, expected: None };
        let (address, o, n) = (target.address(), target.options.clone(), target.names.clone());
        let found = blocking(move || session::look(&o, &n, &address)).await?;
        // Before the identifier is taken: whoever has it may be in the right.
        let found = target.named(found);
        target.expected = target.context.check(&target.address(), found)?;
        let found = target.marker().await?;
        // A transaction that was under way has ended since.
        target.expected = target.context.check(&target.address(), found)?;
        Ok(target)
    }

    pub(super) fn address(&self) -> String {
        format!("the topic {}", self.options.address())
    }

    pub(super) async fn marker(&mut self) -> Result<Option<Marker>, SinkError> {
        let session = self.session().await?;
        let found = self.named(session.found.clone());
        self.session = Some(session);
        Ok(found)
    }

    /// A marker whose metadata the cluster has not kept: it is taken for this ledger's, and for what
    /// this daemon left if the epoch is the same.
    fn named(&self, found: Option<Marker>) -> Option<Marker> {
        let found = found?;
        if !found.instance.is_empty() {
            return Some(found);
        }
        match &self.expected {
            Some(expected) if expected.epoch == found.epoch => Some(expected.clone()),
            _ => Some(Marker { instance: self.context.instance.clone(), ..found }),
        }
    }

    pub(super) async fn commit(
        &mut self,
        epoch: u64,
        rows: &StagedRows,
    ) -> Result<CommitInfo, SinkError> {
        let started = Instant::now();
        let session = self.session().await?;
        let mut info = CommitInfo { rows: rows.num_rows(), ..CommitInfo::default() };
        let token = rows.token();
        let marker = self.context.marker(epoch, token);
        let found = self.named(session.found.clone());
        let decision =
            self.context.decide(&self.address(), epoch, token, &self.expected, &found)?;
        if decision == Decision::AlreadyThere {
            info.already_there = true;
            self.session = Some(session);
            self.expected = Some(marker);
            return Ok(info);
        }
        let (layout, keys, rows) = (self.layout.clone(), self.keys.clone(), rows.clone());
        let (names, noted) = (self.names.clone(), marker.clone());
        // The session is kept only if all went well: whatever has gone wrong, a new producer makes
        // the cluster end the old one's transaction and reads what became of it.
        let (session, written, bytes) = blocking(move || {
            let mut session = session;
            let kept = rows.last_of_each(&keys)?;
            let bytes = session.transact(&layout, &names, &rows, &kept, &noted)?;
            Ok((session, kept.num_rows(), bytes))
        })
        .await?;
        self.session = Some(session);
        self.expected = Some(marker);
        info.written = written;
        info.bytes = bytes;
        info.took = started.elapsed();
        Ok(info)
    }

    async fn session(&mut self) -> Result<Session, SinkError> {
        if let Some(session) = self.session.take() {
            return Ok(session);
        }
        let (address, options, names) = (self.address(), self.options.clone(), self.names.clone());
        let (layout, context) = (self.layout.clone(), self.context.clone());
        blocking(move || Session::begin(&options, &names, &address, &layout, &context)).await
    }
}
