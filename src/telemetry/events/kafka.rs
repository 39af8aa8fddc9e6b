//! What librdkafka reports about itself.

use std::borrow::Cow;
use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{error, trace, warn};

use super::ConsumerLag;
use crate::telemetry::names;
use crate::telemetry::rate_limit::{self, LimitKey};

/// librdkafka reported an error. Most heal by themselves (a broker that is away, say).
pub struct KafkaError<'a> {
    /// The pipeline.
    pub pipeline: &'a str,
    /// The source.
    pub source: &'a str,
    /// The name of librdkafka's error code.
    pub code: &'a str,
    /// The error in words.
    pub error: &'a dyn Display,
    /// The client cannot go on after it.
    pub fatal: bool,
}

impl KafkaError<'_> {
    const MESSAGE: &'static str = "kafka error";

    /// Counts it; logs it if it is fatal, or unless one of the same source and code was logged a
    /// moment ago (a client without brokers reports several a second).
    pub fn emit(self) {
        let Self { pipeline, source, code, error, fatal } = self;
        names::KAFKA_ERRORS.with([pipeline, source, code]).increment(1);
        if fatal {
            error!(pipeline, source, code, error = %error, fatal, "{}", Self::MESSAGE);
            return;
        }
        let limit = rate_limit::shared(LimitKey {
            message: Self::MESSAGE,
            pipeline: Arc::from(pipeline),
            subject: Arc::from(source),
            reason: Cow::Owned(code.to_owned()),
        });
        if let Some(suppressed) = limit.admit(Instant::now(), 1) {
            warn!(pipeline, source, code, error = %error, fatal, suppressed, "{}", Self::MESSAGE);
        }
    }
}

/// One broker's part of the statistics.
#[derive(Clone, Copy, Debug)]
pub struct BrokerStatistics {
    /// The broker's id in the cluster; negative for a bootstrap address, which is left out.
    pub id: i32,
    /// Mean round trip.
    pub round_trip: Duration,
}

/// librdkafka's statistics, as it gives them every `statistics.interval.ms`.
#[derive(Debug)]
pub struct KafkaStatistics<'a> {
    /// The pipeline.
    pub pipeline: &'a str,
    /// The source.
    pub source: &'a str,
    /// The brokers it knows.
    pub brokers: &'a [BrokerStatistics],
    /// Lag of each assigned partition, in records; those that librdkafka does not know yet (it
    /// says -1) are left out.
    pub lag: &'a [(Arc<str>, i64)],
    /// Records fetched and not read yet.
    pub queued_records: u64,
    /// Bytes of them.
    pub queued_bytes: u64,
}

impl KafkaStatistics<'_> {
    /// Logs and counts it; each lag as a [`ConsumerLag`].
    pub fn emit(self) {
        let Self { pipeline, source, brokers, lag, queued_records, queued_bytes } = self;
        trace!(
            pipeline,
            source,
            brokers = brokers.len(),
            queued_records,
            queued_bytes,
            "kafka statistics"
        );
        names::KAFKA_QUEUE_RECORDS.with([pipeline, source]).set(queued_records as f64);
        names::KAFKA_QUEUE_BYTES.with([pipeline, source]).set(queued_bytes as f64);
        for broker in brokers.iter().filter(|broker| broker.id >= 0) {
            let id = broker.id.to_string();
            names::KAFKA_RTT.with([pipeline, source, &id]).set(broker.round_trip.as_secs_f64());
        }
        for (partition, records) in lag {
            if let Ok(records) = u64::try_from(*records) {
                ConsumerLag { pipeline, source, partition, records }.emit();
            }
        }
    }
}
