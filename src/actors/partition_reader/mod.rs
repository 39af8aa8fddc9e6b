//! One partition of a source: records in, decoded batches out, in order.

mod taking;

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use arrow::array::{Array, AsArray, Int64Array};
use arrow::compute;
use arrow::datatypes::TimestampMicrosecondType;
use arrow::record_batch::RecordBatch;

use super::checkpoint_writer::{
    CheckpointWriter, EpochInTables, EpochWanted, Part, PartOfEpoch, TakeBarrier,
};
use super::child::{ActorName, Health, Remedy, Supervision};
use super::credit::{Credit, CreditPool, Reserved};
use super::fanout::{Fanout, FanoutError};
use super::flow::{Item, Outlet};
use super::supervisor::SupervisorEvent;
use super::watermark_tracker::{Seen, SharedWatermark, WatermarkTracker};
use crate::checkpoint::Position;
use crate::codec::dead_letter::DeadLetterBuilder;
use crate::source::{BacklogUnit, PartitionId, SplitReader};
use crate::telemetry::events::{
    BatchDecoded, BatchRead, ConsumerLag, CreditWaited, ReaderMetrics, TombstoneSkipped,
};
use crate::telemetry::progress::{PartitionProgress, SourceProgress};

pub use taking::{ColumnsOf, Decoding};

/// How long a reader looks away when its split is empty, should the wake-up call be lost.
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
    pub(super) split: Box<dyn SplitReader>,
    pub(super) decoding: Decoding,
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
    /// Rows of a source that has columns of its own.
    columns: Option<RecordBatch>,
    /// The offset of each row of the batch that is being filled, where somebody wants them.
    offsets: Vec<i64>,
    /// The source gives no more before the next barrier.
    limited: bool,
    /// The source's input has ended.
    finished: bool,
    /// The position at the last barrier, with its epoch.
    at_barrier: Option<(u64, i64)>,
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

/// To a reader, from any thread: the split may have something.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Wake;

impl PartitionReader {
    /// Reads one batch's worth, and arranges for the next.
    fn pull(&mut self, ctx: &mut Context<Self>) {
        self.pending.scheduled = false;
        if self.pending.stopped || self.pending.ended || self.pending.limited {
            return;
        }
        let _busy = self.health.busy();
        fail::fail_point!("partition_reader");
        if self.is_ahead() || self.credits.is_overdrawn() {
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
        let ended = self.pending.finished || self.end.is_some_and(|end| self.next >= end);
        if self.is_full() || lingered || ended || self.pending.limited || self.at_boundary() {
            self.flush(ctx);
        }
        if ended {
            self.end_of_input();
        } else if self.pending.limited {
            // A bounded run need not wait for the clock; the next barrier wakes this reader.
            self.pending.reserved = None;
            if self.end.is_some() {
                self.checkpoint.do_send(EpochWanted);
            }
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
            || self.pending.limited
            || self.pending.finished
            || self.pending.columns.is_some()
            || self.decoding.len() >= self.limits.rows
            || self.decoding.memory_bytes() >= self.limits.bytes
            || self.dead_letters.as_ref().is_some_and(|d| d.builder.bytes() >= self.limits.bytes)
            || self.at_boundary()
    }

    /// Sends what has been decoded to every query, and the dead letters to their table.
    fn flush(&mut self, ctx: &mut Context<Self>) {
        self.pending.filling_since = None;
        if let Err(error) = self.send_batch() {
            let remedy = match &error {
                ReaderError::Fanout(error) if error.is_final() => Remedy::Mend,
                _ => Remedy::Restart,
            };
            self.supervision.fail(&self.name, error, remedy);
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
        let batch = match &mut self.decoding {
            Decoding::Records(decoder) if !decoder.is_empty() => Some(decoder.finish()?),
            Decoding::Records(_) => None,
            Decoding::Columns(_) => self.pending.columns.take(),
        };
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
        let offsets = match std::mem::take(&mut self.pending.offsets) {
            offsets if offsets.len() == batch.num_rows() => Some(Int64Array::from(offsets)),
            _ => None,
        };
        self.fanout.send(batch, next, credit.as_ref(), offsets.as_ref())?;
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
        let left = self.split.backlog()?;
        if self.split.backlog_unit() == BacklogUnit::Records {
            self.progress.ends_at(self.next.saturating_add_unsigned(left));
        }
        Some(left)
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
    #[error(transparent)]
    Fanout(#[from] FanoutError),
}

impl Actor for PartitionReader {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(usize::MAX);
        let address = ctx.address();
        self.split.on_ready(Box::new(move || address.do_send(Wake)));
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
        self.split.barrier(barrier.epoch);
        self.pending.at_barrier = Some((barrier.epoch, self.next));
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
        if std::mem::take(&mut self.pending.limited) && !self.pending.scheduled {
            self.schedule(Duration::ZERO, ctx);
        }
    }
}

impl Handler<EpochInTables> for PartitionReader {
    type Result = ();

    fn handle(&mut self, done: EpochInTables, _: &mut Self::Context) {
        let _busy = self.health.busy();
        if let Some((epoch, next)) = self.pending.at_barrier
            && epoch == done.epoch
        {
            self.split.durable(next);
        }
    }
}
