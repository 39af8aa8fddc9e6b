//! One Kafka partition: bytes in, decoded batches out, in order.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use arrow::array::{Array, AsArray};
use arrow::compute;
use arrow::datatypes::TimestampMicrosecondType;
use arrow::record_batch::RecordBatch;

use super::checkpoint_writer::{CheckpointWriter, Part, PartOfEpoch, TakeBarrier};
use super::child::{ActorName, Health, Remedy, Supervision};
use super::credit::{Credit, CreditPool, Reserved};
use super::fanout::Fanout;
use super::flow::{Item, Outlet};
use super::supervisor::SupervisorEvent;
use super::watermark_tracker::{Seen, SharedWatermark, WatermarkTracker, now_ms};
use crate::checkpoint::Position;
use crate::codec::dead_letter::{DeadLetter, DeadLetterBuilder};
use crate::codec::{JsonDecoder, Reason};
use crate::source::PartitionId;
use crate::source::kafka::{PartitionQueue, parse_split};
use crate::telemetry::events::{
    BatchDecoded, BatchRead, ConsumerLag, CreditWaited, ReaderMetrics, RecordRejected,
    TombstoneSkipped,
};
use crate::telemetry::progress::{PartitionProgress, SourceProgress};

/// How long a reader looks away when its queue is empty, should the wake-up call be lost.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// How long a reader that is ahead of the others waits before it compares again.
const AHEAD: Duration = Duration::from_millis(10);
/// How many records are decoded before the batch's bytes are looked at.
const CHUNK: usize = 1024;

/// Where the records go that could not be decoded.
pub struct DeadLetterRoute {
    pub(super) builder: DeadLetterBuilder,
    pub(super) table: Outlet,
    /// As for a query's route.
    pub(super) resume_at: i64,
}

/// How much a reader takes at once.
#[derive(Debug, Clone, Copy)]
pub struct BatchLimits {
    /// Records in a batch.
    pub rows: usize,
    /// Bytes of a decoded batch.
    pub bytes: usize,
    /// How long an unfull batch may wait for more.
    pub linger: Duration,
    /// A larger record goes to the dead letters.
    pub record_bytes: usize,
}

/// See the module's documentation.
pub struct PartitionReader {
    pub(super) pipeline: Arc<str>,
    pub(super) id: PartitionId,
    pub(super) name: ActorName,
    pub(super) health: Arc<Health>,
    pub(super) supervision: Supervision,
    pub(super) queue: PartitionQueue,
    pub(super) decoder: JsonDecoder,
    /// Where the event time stands in the decoded batch.
    pub(super) event_time: Option<usize>,
    pub(super) limits: BatchLimits,
    pub(super) fanout: Fanout,
    pub(super) dead_letters: Option<DeadLetterRoute>,
    pub(super) tracker: Option<(Addr<WatermarkTracker>, Arc<Health>)>,
    pub(super) watermark: SharedWatermark,
    /// How far ahead of the watermark this reader may be, in microseconds.
    pub(super) max_ahead: i64,
    pub(super) credits: CreditPool,
    pub(super) checkpoint: Addr<CheckpointWriter>,
    pub(super) metrics: ReaderMetrics,
    pub(super) source_progress: Arc<SourceProgress>,
    pub(super) progress: Arc<PartitionProgress>,
    /// The next offset to read.
    pub(super) next: i64,
    pub(super) max_event_time: Option<i64>,
    /// With a bounded run: stop before this offset.
    pub(super) end: Option<i64>,
    pub(super) pending: Pending,
}

/// What the reader is in the middle of.
#[derive(Default)]
pub struct Pending {
    reserved: Option<Reserved>,
    waiting_for_credit: Option<Instant>,
    /// When the first record of the batch that is being filled was taken.
    filling_since: Option<Instant>,
    batch: Counts,
    /// A pull is on its way, so no second one is needed.
    scheduled: bool,
    /// The pull that a timer will make; there is never a second timer.
    timer: Option<SpawnHandle>,
    stopped: bool,
    failed: bool,
    ended: bool,
}

#[derive(Default, Clone, Copy)]
struct Counts {
    records: u64,
    bytes: u64,
    tombstones: u64,
    decode: Duration,
}

/// To a reader, from librdkafka's thread: the queue is no longer empty.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Wake;

impl PartitionReader {
    /// Reads one batch's worth, and arranges for the next.
    fn pull(&mut self, ctx: &mut Context<Self>) {
        self.pending.scheduled = false;
        if self.pending.stopped || self.pending.ended {
            return;
        }
        let _busy = self.health.busy();
        fail::fail_point!("partition_reader");
        if self.is_ahead() {
            // Say that the partition is alive: it is we who do not read it.
            self.tell_tracker(None);
            return self.schedule(AHEAD, ctx);
        }
        if self.pending.reserved.is_none() {
            match self.credits.try_reserve(self.limits.bytes) {
                Some(reserved) => self.pending.reserved = Some(reserved),
                None => return self.wait_for_credit(ctx),
            }
        }
        let mut any = false;
        while !self.is_full() && self.take() {
            any = true;
        }
        let lingered =
            self.pending.filling_since.is_some_and(|since| since.elapsed() >= self.limits.linger);
        let ended = self.end.is_some_and(|end| self.next >= end);
        if self.is_full() || lingered || ended || self.at_boundary() {
            self.flush(ctx);
        }
        if ended {
            self.end_of_input();
        } else if any {
            self.yield_then_pull(ctx);
        } else if self.pending.filling_since.is_some() {
            self.schedule(self.limits.linger, ctx);
        } else {
            self.show_lag();
            // An empty queue needs no credit; others may use it.
            self.pending.reserved = None;
            self.schedule(LOOK_AGAIN, ctx);
        }
    }

    /// Whether the batch that is being filled should go on its way.
    fn is_full(&self) -> bool {
        self.pending.stopped
            || self.decoder.len() >= self.limits.rows
            || self.decoder.memory_bytes() >= self.limits.bytes
            || self.dead_letters.as_ref().is_some_and(|d| d.builder.bytes() >= self.limits.bytes)
            || self.at_boundary()
    }

    /// Takes some of what is there and decodes it. Returns whether there may be more.
    fn take(&mut self) -> bool {
        let began = Instant::now();
        let mut room = self.limits.rows.saturating_sub(self.decoder.len()).clamp(1, CHUNK);
        if let Some(boundary) = self.next_boundary() {
            room = room.min(usize::try_from(boundary - self.next).unwrap_or(room).max(1));
        }
        let Self {
            queue, decoder, dead_letters, limits, metrics, source_progress, pending, ..
        } = self;
        let mut next = self.next;
        let (end, id) = (self.end, &self.id);
        let counts = &mut pending.batch;
        let mut overflow = false;
        let taken = queue.take(room, |message| {
            // Left over from before the last seek, or beyond a bounded run.
            if overflow || message.offset < next || end.is_some_and(|end| message.offset >= end) {
                return;
            }
            let (offset, read) = (next, *counts);
            next = message.offset + 1;
            counts.records += 1;
            counts.bytes += message.key.map_or(0, |key| key.len() as u64);
            let Some(payload) = message.payload else {
                counts.tombstones += 1;
                return;
            };
            counts.bytes += payload.len() as u64;
            let verdict = if payload.len() > limits.record_bytes {
                Err(DeadLetter::oversized(payload.len(), limits.record_bytes))
            } else {
                match decoder.append(payload) {
                    Ok(()) => Ok(()),
                    // Not the record's fault. Nothing from here on counts as read.
                    Err(error) if error.reason == Reason::BatchFull => {
                        (next, *counts, overflow) = (offset, read, true);
                        return;
                    }
                    Err(error) => Err(DeadLetter::from(&error)),
                }
            };
            if let Err(letter) = verdict {
                RecordRejected {
                    reader: metrics,
                    offset: message.offset,
                    reason: letter.reason,
                    error: &letter.error,
                }
                .emit();
                source_progress.rejected(letter.reason);
                if let Some(route) = dead_letters {
                    let record = (id, message.offset, message.key, payload);
                    route.builder.append(record, &letter, now_ms());
                }
            }
        });
        self.next = match taken.end.filter(|_| !overflow) {
            // Past the last record there may be control records, which nobody is shown.
            Some(offset) => next.max(offset),
            None => next,
        };
        if taken.messages > 0 {
            self.pending.filling_since.get_or_insert(began);
            self.pending.batch.decode += began.elapsed();
        }
        if overflow {
            let limits =
                "a batch grew past what Arrow can hold; lower the source's batch.max_bytes";
            self.supervision.fail(&self.name, limits, Remedy::Restart);
            self.pending.stopped = true;
        }
        if let Some(error) = taken.error {
            // librdkafka retries what can be retried by itself; what reaches us can't be.
            self.supervision.fail(
                &self.name,
                format_args!("{}: {} ({:?})", self.id, error.reason, error.code),
                Remedy::Restart,
            );
            self.pending.stopped = true;
        }
        taken.messages > 0 && !self.pending.stopped
    }

    /// Sends what has been decoded to every query, and the dead letters to their table.
    fn flush(&mut self, ctx: &mut Context<Self>) {
        self.pending.filling_since = None;
        if let Err(error) = self.send_batch() {
            self.supervision.fail(&self.name, error, Remedy::Restart);
            self.pending.stopped = true;
            self.pending.failed = true;
            ctx.stop();
        }
    }

    fn send_batch(&mut self) -> Result<(), ReaderError> {
        let counts = std::mem::take(&mut self.pending.batch);
        let letters = match &mut self.dead_letters {
            Some(route) if !route.builder.is_empty() => {
                let letters = route.builder.finish()?;
                (self.next > route.resume_at).then_some(letters)
            }
            _ => None,
        };
        let began = Instant::now();
        let batch = if !self.decoder.is_empty() { Some(self.decoder.finish()?) } else { None };
        let took = counts.decode + began.elapsed();
        let bytes = batch.as_ref().map_or(0, RecordBatch::get_array_memory_size)
            + letters.as_ref().map_or(0, RecordBatch::get_array_memory_size);
        let credit = self.pending.reserved.take().map(|reserved| reserved.spend(bytes));
        if let (Some(letters), Some(route)) = (letters, &self.dead_letters) {
            route.table.send(0, Item::Rows(letters, credit.clone()));
        }
        let newest = match &batch {
            Some(batch) => self.send_rows(batch, credit)?,
            None => None,
        };
        if newest > self.max_event_time {
            self.max_event_time = newest;
        }
        if counts.tombstones > 0 {
            TombstoneSkipped { reader: &self.metrics, records: counts.tombstones }.emit();
            self.source_progress.tombstones(counts.tombstones);
        }
        let rows = batch.as_ref().map_or(0, |batch| batch.num_rows() as u64);
        BatchDecoded { reader: &self.metrics, rows, took }.emit();
        BatchRead {
            reader: &self.metrics,
            records: counts.records,
            bytes: counts.bytes,
            newest_event_time: newest,
            lag: self.lag(),
        }
        .emit();
        self.source_progress.processed(rows);
        self.progress.read(counts.records, counts.bytes);
        self.progress.advanced(self.next, newest);
        if counts.records > 0 {
            self.tell_tracker(newest);
        }
        Ok(())
    }

    fn send_rows(
        &mut self,
        batch: &RecordBatch,
        credit: Option<Credit>,
    ) -> Result<Option<i64>, ReaderError> {
        let next = self.next;
        self.fanout.send(batch, next, credit.as_ref())?;
        let newest = self.event_time.and_then(|column| {
            let times = batch.column(column);
            times
                .as_primitive_opt::<TimestampMicrosecondType>()
                .filter(|times| times.null_count() < times.len())
                .and_then(compute::max)
        });
        if let Some(newest) = newest {
            for query in self.fanout.queries() {
                query.progress.seen(newest);
            }
        }
        Ok(newest)
    }

    fn tell_tracker(&self, max_event_time: Option<i64>) {
        if let Some((tracker, health)) = &self.tracker {
            health.enqueued();
            tracker.do_send(Seen { partition: self.id.clone(), max_event_time });
        }
    }

    /// Whether this partition's event time is so far ahead of the others that it should wait, for
    /// the state between them not to grow.
    fn is_ahead(&self) -> bool {
        match (self.max_event_time, self.watermark.get()) {
            (Some(own), Some(watermark)) => own.saturating_sub(watermark) > self.max_ahead,
            _ => false,
        }
    }

    /// The next offset from which on some table wants rows: a batch may not straddle it. There
    /// are such offsets only after a lost checkpoint.
    fn next_boundary(&self) -> Option<i64> {
        let letters = self.dead_letters.iter().map(|route| route.resume_at);
        let routes = self.fanout.destinations().map(|destination| destination.resume_at);
        routes.chain(letters).filter(|offset| *offset > self.next).min()
    }

    /// Whether the batch that is being filled ends at such an offset.
    fn at_boundary(&self) -> bool {
        self.pending.batch.records > 0
            && (self.fanout.destinations().any(|d| d.resume_at == self.next)
                || self.dead_letters.as_ref().is_some_and(|d| d.resume_at == self.next))
    }

    fn end_of_input(&mut self) {
        if !self.pending.ended {
            self.pending.ended = true;
            self.supervision.tell(SupervisorEvent::EndOfInput {
                generation: self.supervision.generation(),
                partition: self.id.clone(),
            });
        }
    }

    fn lag(&self) -> Option<u64> {
        let (topic, partition) = parse_split(&self.id.split)?;
        let end = self.queue.known_end(topic, partition)?;
        self.progress.ends_at(end);
        u64::try_from(end.saturating_sub(self.next)).ok()
    }

    fn show_lag(&self) {
        if let Some(lag) = self.lag() {
            ConsumerLag {
                pipeline: &self.pipeline,
                source: &self.id.source,
                partition: &self.id.split,
                records: lag,
            }
            .emit();
        }
    }

    fn wait_for_credit(&mut self, ctx: &mut Context<Self>) {
        let since = *self.pending.waiting_for_credit.get_or_insert_with(Instant::now);
        self.pending.scheduled = true;
        let (credits, bytes) = (self.credits.clone(), self.limits.bytes);
        ctx.spawn(async move { credits.reserve(bytes).await }.into_actor(self).map(
            move |reserved, actor, ctx| {
                actor.pending.reserved = reserved;
                actor.pending.waiting_for_credit = None;
                CreditWaited { reader: &actor.metrics, waited: since.elapsed() }.emit();
                actor.pull(ctx);
            },
        ));
    }

    /// Lets the other actors of this thread have their turn, then pulls.
    fn yield_then_pull(&mut self, ctx: &mut Context<Self>) {
        self.pending.scheduled = true;
        ctx.spawn(
            async { tokio::task::yield_now().await }
                .into_actor(self)
                .map(|(), actor, ctx| actor.pull(ctx)),
        );
    }

    fn schedule(&mut self, pause: Duration, ctx: &mut Context<Self>) {
        if let Some(timer) = self.pending.timer.take() {
            ctx.cancel_future(timer);
        }
        self.pending.timer = Some(ctx.run_later(pause, |actor, ctx| {
            actor.pending.timer = None;
            if !actor.pending.scheduled {
                actor.pull(ctx);
            }
        }));
    }
}

/// What stops a reader.
#[derive(Debug, thiserror::Error)]
enum ReaderError {
    #[error("decoding failed: {0}")]
    Codec(#[from] crate::codec::CodecError),
    #[error("{0}")]
    Graph(#[from] crate::graph::GraphError),
}

impl Actor for PartitionReader {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(usize::MAX);
        let address = ctx.address();
        self.queue.on_nonempty(move || address.do_send(Wake));
        self.pull(ctx);
    }
}

impl Handler<Wake> for PartitionReader {
    type Result = ();

    fn handle(&mut self, _: Wake, ctx: &mut Self::Context) {
        if !self.pending.scheduled && self.pending.filling_since.is_none() {
            self.pull(ctx);
        }
    }
}

impl Handler<TakeBarrier> for PartitionReader {
    type Result = ();

    fn handle(&mut self, barrier: TakeBarrier, ctx: &mut Self::Context) {
        let _busy = self.health.busy();
        fail::fail_point!("partition_reader_barrier");
        // What has been taken from the queue counts as read, so it has to be sent on first.
        if self.pending.batch.records > 0 {
            self.flush(ctx);
        }
        if self.pending.failed {
            // Rows that were taken could not be sent: the epoch must not say that they were.
            return;
        }
        if barrier.last {
            self.pending.stopped = true;
            self.pending.reserved = None;
        }
        self.fanout.barrier(barrier.epoch);
        if let Some(route) = &self.dead_letters {
            route.table.send(0, Item::Barrier(barrier.epoch));
        }
        self.checkpoint.do_send(PartOfEpoch {
            epoch: barrier.epoch,
            part: Part::Position {
                partition: self.id.clone(),
                position: Position { next: self.next, max_event_time: self.max_event_time },
            },
        });
    }
}
