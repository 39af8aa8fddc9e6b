//! What happens at a source and in its decoder.

use std::borrow::Cow;
use std::fmt::Display;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use metrics::{Counter, Gauge, Histogram};
use tracing::{debug, info, trace, warn};

use crate::telemetry::rate_limit::{self, LimitKey, RateLimit};
use crate::telemetry::time::EventTime;
use crate::telemetry::{lock, names};

/// The metrics of one partition's reader, looked up once. Made when the partition is assigned.
#[derive(Debug)]
pub struct ReaderMetrics {
    pipeline: Arc<str>,
    source: Arc<str>,
    partition: Arc<str>,
    records: Counter,
    bytes: Counter,
    batch_records: Histogram,
    lag: Gauge,
    newest_event: Gauge,
    decoded_rows: Counter,
    decode_seconds: Histogram,
    tombstones: Counter,
    credit_wait: Histogram,
    /// By reason; a short list that grows as reasons turn up.
    rejected: Mutex<Vec<Rejected>>,
}

#[derive(Debug)]
struct Rejected {
    reason: &'static str,
    records: Counter,
    limit: Arc<RateLimit>,
}

impl ReaderMetrics {
    /// Looks the metrics up. `partition` is the source's own name for it: `topic-3` for Kafka.
    pub fn new(
        pipeline: impl Into<Arc<str>>,
        source: impl Into<Arc<str>>,
        partition: impl Into<Arc<str>>,
    ) -> Self {
        let (pipeline, source, partition) = (pipeline.into(), source.into(), partition.into());
        let of_partition = [&*pipeline, &*source, &*partition];
        let of_source = [&*pipeline, &*source];
        Self {
            records: names::RECORDS.with(of_partition),
            bytes: names::RECORD_BYTES.with(of_partition),
            batch_records: names::BATCH_RECORDS.with(of_source),
            lag: names::CONSUMER_LAG.with(of_partition),
            newest_event: names::NEWEST_EVENT.with(of_partition),
            decoded_rows: names::DECODED_ROWS.with(of_source),
            decode_seconds: names::DECODE_SECONDS.with(of_source),
            tombstones: names::TOMBSTONES.with(of_source),
            credit_wait: names::CREDIT_WAIT.with(of_source),
            rejected: Mutex::new(Vec::new()),
            pipeline,
            source,
            partition,
        }
    }

    /// Counts a rejected record; `Some(suppressed)` if it may be logged.
    fn reject(&self, reason: &'static str, now: Instant) -> Option<u64> {
        let mut rejected = lock(&self.rejected);
        let index = rejected.iter().position(|known| known.reason == reason);
        let index = index.unwrap_or_else(|| {
            rejected.push(Rejected {
                reason,
                records: names::DEAD_LETTERS.with([&self.pipeline, &self.source, reason]),
                limit: rate_limit::shared(LimitKey {
                    message: RecordRejected::MESSAGE,
                    pipeline: Arc::clone(&self.pipeline),
                    subject: Arc::clone(&self.source),
                    reason: Cow::Borrowed(reason),
                }),
            });
            rejected.len() - 1
        });
        let known = &rejected[index];
        known.records.increment(1);
        known.limit.admit(now, 1)
    }
}

/// The broker gave this daemon partitions.
#[derive(Debug)]
pub struct SourceAssigned<'a> {
    /// The pipeline.
    pub pipeline: &'a str,
    /// The source.
    pub source: &'a str,
    /// The partitions that came.
    pub partitions: &'a [Arc<str>],
    /// How many there are now in all.
    pub assigned: usize,
}

impl SourceAssigned<'_> {
    /// Logs and counts it.
    pub fn emit(self) {
        let Self { pipeline, source, partitions, assigned } = self;
        info!(pipeline, source, partitions = partitions.join(","), assigned, "partitions assigned");
        names::REBALANCES.with([pipeline, source, "assigned"]).increment(1);
        names::PARTITIONS.with([pipeline, source]).set(assigned as f64);
    }
}

/// The broker took partitions away, or they were given up.
#[derive(Debug)]
pub struct SourceRevoked<'a> {
    /// The pipeline.
    pub pipeline: &'a str,
    /// The source.
    pub source: &'a str,
    /// The partitions that went.
    pub partitions: &'a [Arc<str>],
    /// How many are left.
    pub assigned: usize,
    /// They were lost to another member before they could be drained, so what was read of them
    /// since the last epoch will be read again there.
    pub lost: bool,
}

impl SourceRevoked<'_> {
    /// Logs and counts it, and takes the partitions' gauges off the page.
    pub fn emit(self) {
        let Self { pipeline, source, partitions, assigned, lost } = self;
        let list = partitions.join(",");
        if lost {
            warn!(pipeline, source, partitions = list, assigned, "partitions lost");
        } else {
            info!(pipeline, source, partitions = list, assigned, "partitions revoked");
        }
        names::REBALANCES.with([pipeline, source, "revoked"]).increment(1);
        names::PARTITIONS.with([pipeline, source]).set(assigned as f64);
        for partition in partitions {
            let of_partition = [pipeline, source, partition];
            names::CONSUMER_LAG.retire(of_partition);
            names::NEWEST_EVENT.retire(of_partition);
            names::IDLE.retire(of_partition);
        }
    }
}

/// A reader took a batch of records from its source.
#[derive(Debug)]
pub struct BatchRead<'a> {
    /// The reader.
    pub reader: &'a ReaderMetrics,
    /// Records.
    pub records: u64,
    /// Bytes of their keys and payloads.
    pub bytes: u64,
    /// Newest event time in the batch, in microseconds; none if no row has one.
    pub newest_event_time: Option<i64>,
    /// Records left in the partition, if the source knows.
    pub lag: Option<u64>,
}

impl BatchRead<'_> {
    /// Logs and counts it.
    pub fn emit(self) {
        let Self { reader, records, bytes, newest_event_time, lag } = self;
        trace!(
            pipeline = %reader.pipeline,
            source = %reader.source,
            partition = %reader.partition,
            records,
            bytes,
            newest_event_time = newest_event_time.map(|us| tracing::field::display(EventTime(us))),
            lag,
            "batch read"
        );
        reader.records.increment(records);
        reader.bytes.increment(bytes);
        reader.batch_records.record(records as f64);
        if let Some(us) = newest_event_time {
            reader.newest_event.set(EventTime(us).unix_seconds());
        }
        if let Some(lag) = lag {
            reader.lag.set(lag as f64);
        }
    }
}

/// A batch was decoded.
#[derive(Debug)]
pub struct BatchDecoded<'a> {
    /// The reader whose batch it was.
    pub reader: &'a ReaderMetrics,
    /// Rows that came out; rejected records and tombstones are not among them.
    pub rows: u64,
    /// Time spent decoding.
    pub took: Duration,
}

impl BatchDecoded<'_> {
    /// Logs and counts it.
    pub fn emit(self) {
        let Self { reader, rows, took } = self;
        trace!(
            pipeline = %reader.pipeline,
            source = %reader.source,
            partition = %reader.partition,
            rows,
            took_us = took.as_micros() as u64,
            "batch decoded"
        );
        reader.decoded_rows.increment(rows);
        reader.decode_seconds.record(took.as_secs_f64());
    }
}

/// A record could not be decoded and goes to the dead letters.
pub struct RecordRejected<'a> {
    /// The reader that read it.
    pub reader: &'a ReaderMetrics,
    /// The record's offset in the partition.
    pub offset: i64,
    /// Why, as one of the codec's fixed codes.
    pub reason: &'static str,
    /// Why, in words. Must not hold the payload.
    pub error: &'a dyn Display,
}

impl RecordRejected<'_> {
    const MESSAGE: &'static str = "record rejected";

    /// Counts it, and logs it unless one of the same source and reason was logged a moment ago.
    pub fn emit(self) {
        self.emit_at(Instant::now());
    }

    pub(super) fn emit_at(self, now: Instant) {
        let Self { reader, offset, reason, error } = self;
        if let Some(suppressed) = reader.reject(reason, now) {
            warn!(
                pipeline = %reader.pipeline,
                source = %reader.source,
                partition = %reader.partition,
                offset,
                reason,
                error = %error,
                suppressed,
                "{}",
                Self::MESSAGE
            );
        }
    }
}

/// Records without a payload were passed over; they hold no row.
#[derive(Debug)]
pub struct TombstoneSkipped<'a> {
    /// The reader that read them.
    pub reader: &'a ReaderMetrics,
    /// How many.
    pub records: u64,
}

impl TombstoneSkipped<'_> {
    /// Logs and counts it.
    pub fn emit(self) {
        let Self { reader, records } = self;
        trace!(
            pipeline = %reader.pipeline,
            source = %reader.source,
            partition = %reader.partition,
            records,
            "tombstones skipped"
        );
        reader.tombstones.increment(records);
    }
}

/// A reader had to wait for credit: what is downstream was full.
#[derive(Debug)]
pub struct CreditWaited<'a> {
    /// The reader.
    pub reader: &'a ReaderMetrics,
    /// How long.
    pub waited: Duration,
}

impl CreditWaited<'_> {
    /// Logs and counts it.
    pub fn emit(self) {
        let Self { reader, waited } = self;
        trace!(
            pipeline = %reader.pipeline,
            source = %reader.source,
            partition = %reader.partition,
            waited_us = waited.as_micros() as u64,
            "waited for credit"
        );
        reader.credit_wait.record(waited.as_secs_f64());
    }
}

/// Nothing has come from a partition for the idle timeout: the watermark goes on without it.
#[derive(Debug)]
pub struct PartitionIdle<'a> {
    /// The pipeline.
    pub pipeline: &'a str,
    /// The source.
    pub source: &'a str,
    /// The partition.
    pub partition: &'a str,
    /// How long nothing has come.
    pub quiet: Duration,
}

impl PartitionIdle<'_> {
    /// Logs and counts it.
    pub fn emit(self) {
        let Self { pipeline, source, partition, quiet } = self;
        info!(pipeline, source, partition, quiet_ms = quiet.as_millis() as u64, "partition idle");
        names::IDLE.with([pipeline, source, partition]).set(1.0);
    }
}

/// A record came from a partition that was idle; it holds the watermark again.
#[derive(Debug)]
pub struct PartitionActive<'a> {
    /// The pipeline.
    pub pipeline: &'a str,
    /// The source.
    pub source: &'a str,
    /// The partition.
    pub partition: &'a str,
}

impl PartitionActive<'_> {
    /// Logs and counts it.
    pub fn emit(self) {
        let Self { pipeline, source, partition } = self;
        info!(pipeline, source, partition, "partition active");
        names::IDLE.with([pipeline, source, partition]).set(0.0);
    }
}

/// How many records of a partition have not been read, told by the source from time to time
/// (also when nothing is read).
#[derive(Debug)]
pub struct ConsumerLag<'a> {
    /// The pipeline.
    pub pipeline: &'a str,
    /// The source.
    pub source: &'a str,
    /// The partition.
    pub partition: &'a str,
    /// Records.
    pub records: u64,
}

impl ConsumerLag<'_> {
    /// Logs and counts it.
    pub fn emit(self) {
        let Self { pipeline, source, partition, records } = self;
        debug!(pipeline, source, partition, records, "consumer lag");
        names::CONSUMER_LAG.with([pipeline, source, partition]).set(records as f64);
    }
}
