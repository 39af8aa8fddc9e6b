//! One shard of a stateful operator: windows, a deduplication, a join.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix::prelude::*;
use arrow::array::RecordBatch;

use super::alignment::{Aligner, Step};
use super::checkpoint_writer::{CheckpointWriter, Part, PartOfEpoch};
use super::child::{ActorName, Health, Remedy, Supervision};
use super::credit::CreditPool;
use super::fanout::{Fanout, FanoutError};
use super::flow::{Flow, InputId, Item};
use super::watermark_tracker::CatchUp;
use crate::operator::{Operator, OperatorError};
use crate::telemetry::events::{
    DuplicatesDropped, LateRows, QueryMetrics, StateSize, WindowsClosed,
};
use crate::telemetry::progress::QueryProgress;

/// Owns one shard of an operator's state. Takes what routers made of rows, and watermarks from the
/// trackers and from the operators before it; sends what comes out down its own feeds.
pub struct OperatorShard {
    pub(super) pipeline: Arc<str>,
    /// The operator's name in the checkpoint.
    pub(super) operator_id: Arc<str>,
    pub(super) shard: usize,
    pub(super) name: ActorName,
    pub(super) health: Arc<Health>,
    pub(super) supervision: Supervision,
    pub(super) aligner: Aligner,
    pub(super) operator: Box<dyn Operator>,
    /// The watermark of everyone who sends one: trackers, and the shards of operators before it.
    pub(super) watermarks: BTreeMap<InputId, Option<i64>>,
    /// The newest watermark that any shard had seen at the last barrier. Shards stop at barriers
    /// and not at watermarks, so this one may have seen an older one; see `started`.
    pub(super) restored: Option<i64>,
    pub(super) fanout: Fanout,
    pub(super) credits: CreditPool,
    pub(super) checkpoint: Addr<CheckpointWriter>,
    pub(super) metrics: QueryMetrics,
    pub(super) progress: Arc<QueryProgress>,
}

/// What stops a shard.
#[derive(Debug, thiserror::Error)]
enum ShardError {
    #[error(transparent)]
    Operator(#[from] OperatorError),
    #[error(transparent)]
    Fanout(#[from] FanoutError),
}

impl ShardError {
    fn remedy(&self) -> Remedy {
        match self {
            Self::Fanout(error) if error.is_final() => Remedy::Mend,
            _ => Remedy::Restart,
        }
    }
}

impl OperatorShard {
    fn take(&mut self, flow: Flow) -> Result<(), ShardError> {
        let step = match self.aligner.offer(flow) {
            Ok(step) => step,
            Err(error) => {
                self.supervision.fail(&self.name, error, Remedy::Restart);
                return Ok(());
            }
        };
        match step {
            Step::Held => Ok(()),
            Step::Process(flow) => self.process(flow),
            Step::Aligned(epoch) => {
                self.snapshot(epoch)?;
                for held in self.aligner.release() {
                    self.take(held)?;
                }
                Ok(())
            }
        }
    }

    fn process(&mut self, flow: Flow) -> Result<(), ShardError> {
        match flow.item {
            Item::Rows(rows, credit) => {
                let mut out = Vec::new();
                let merged = self.operator.rows(flow.port, &rows, &mut out)?;
                LateRows { query: &self.metrics, rows: merged.late_rows }.emit();
                self.progress.late(merged.late_rows);
                DuplicatesDropped { query: &self.metrics, rows: merged.duplicates }.emit();
                drop(credit);
                Ok(self.send(&out)?)
            }
            Item::Watermark(time) => {
                if let Some(slot) = self.watermarks.get_mut(&flow.from) {
                    *slot = (*slot).max(Some(time));
                }
                // A sender that has not spoken yet holds the rest back (`None` is the least).
                match self.watermarks.values().copied().min().flatten() {
                    Some(reached) => self.advance(reached),
                    None => Ok(()),
                }
            }
            // The aligner keeps barriers to itself.
            Item::Barrier(_) => Ok(()),
        }
    }

    fn send(&mut self, rows: &[RecordBatch]) -> Result<(), FanoutError> {
        rows.iter().try_for_each(|batch| {
            let debt = self.credits.owe(batch.get_array_memory_size());
            self.fanout.send(batch, i64::MAX, Some(&debt), None)
        })
    }

    fn advance(&mut self, watermark: i64) -> Result<(), ShardError> {
        let mut out = Vec::new();
        let closed = self.operator.advance(watermark, &mut out)?;
        let reached = self.operator.watermark().unwrap_or(watermark);
        self.progress.watermark(reached);
        if closed.windows > 0 {
            WindowsClosed { query: &self.metrics, windows: closed.windows }.emit();
            self.progress.windows_closed(closed.windows);
        }
        self.send(&out)?;
        // What follows goes by another: rows of a join may have waited here.
        self.fanout.watermark(self.operator.output_watermark().unwrap_or(reached));
        Ok(())
    }

    fn snapshot(&mut self, epoch: u64) -> Result<(), ShardError> {
        fail::fail_point!("operator_shard_snapshot");
        let mut out = Vec::new();
        self.operator.trigger(&mut out)?;
        self.send(&out)?;
        let delta = self.operator.snapshot()?;
        self.checkpoint.do_send(PartOfEpoch {
            epoch,
            part: Part::State { operator: self.operator_id.clone(), shard: self.shard, delta },
        });
        self.fanout.barrier(epoch);
        self.show_state();
        Ok(())
    }

    fn show_state(&self) {
        let stats = self.operator.stats();
        StateSize {
            pipeline: &self.pipeline,
            query: &self.operator_id,
            shard: self.shard,
            windows: stats.open_windows,
            groups: stats.groups,
            bytes: stats.bytes,
        }
        .emit();
        self.progress.state(self.shard, stats.open_windows, stats.groups, stats.bytes);
    }
}

impl Actor for OperatorShard {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(usize::MAX);
        // The state was restored at the oldest watermark of all shards, so that no open window was
        // lost. Windows that some shard had closed must not open again, so all go on from the
        // newest: what this closes here, no table has yet.
        if let Some(watermark) = self.restored.take()
            && let Err(error) = self.advance(watermark)
        {
            let remedy = error.remedy();
            self.supervision.fail(&self.name, error, remedy);
            return ctx.stop();
        }
        self.show_state();
    }
}

impl Handler<CatchUp> for OperatorShard {
    type Result = ();

    fn handle(&mut self, _: CatchUp, _: &mut Self::Context) {}
}

impl Handler<Flow> for OperatorShard {
    type Result = ();

    fn handle(&mut self, flow: Flow, ctx: &mut Self::Context) {
        self.health.dequeued();
        let _busy = self.health.busy();
        fail::fail_point!("operator_shard");
        if let Err(error) = self.take(flow) {
            let remedy = error.remedy();
            self.supervision.fail(&self.name, error, remedy);
            ctx.stop();
        }
    }
}
