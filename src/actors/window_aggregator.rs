//! One shard of a windowed query's state.

use std::sync::Arc;

use actix::prelude::*;

use super::alignment::{Aligner, Step};
use super::checkpoint_writer::{CheckpointWriter, Part, PartOfEpoch};
use super::child::{ActorName, Health, Remedy, Supervision};
use super::flow::{Flow, Item, Outlet};
use crate::aggregate::{AggregateError, WindowState};
use crate::telemetry::events::{LateRows, QueryMetrics, RowsProduced, StateSize, WindowsClosed};
use crate::telemetry::progress::QueryProgress;

/// Owns the open windows of its share of the keys. Takes partial aggregates from the readers and
/// watermarks from the tracker; sends closed windows to the committer and to the detectors.
pub struct WindowAggregator {
    pub(super) pipeline: Arc<str>,
    pub(super) query: Arc<str>,
    pub(super) shard: usize,
    pub(super) name: ActorName,
    pub(super) health: Arc<Health>,
    pub(super) supervision: Supervision,
    pub(super) aligner: Aligner,
    pub(super) state: WindowState,
    /// The newest watermark that any shard had seen at the last barrier. Shards stop at barriers
    /// and not at watermarks, so this one may have seen an older one; see `started`.
    pub(super) restored: Option<i64>,
    pub(super) outlets: Vec<Outlet>,
    pub(super) checkpoint: Addr<CheckpointWriter>,
    pub(super) metrics: QueryMetrics,
    pub(super) progress: Arc<QueryProgress>,
}

impl WindowAggregator {
    fn take(&mut self, flow: Flow) -> Result<(), AggregateError> {
        let step = match self.aligner.offer(flow) {
            Ok(step) => step,
            Err(error) => {
                self.supervision.fail(&self.name, error, Remedy::Restart);
                return Ok(());
            }
        };
        match step {
            Step::Held => Ok(()),
            Step::Process(item, _) => self.process(item),
            Step::Aligned(epoch) => {
                self.snapshot(epoch)?;
                for held in self.aligner.release() {
                    self.take(held)?;
                }
                Ok(())
            }
        }
    }

    fn process(&mut self, item: Item) -> Result<(), AggregateError> {
        match item {
            Item::Rows(partial, credit) => {
                let merged = self.state.merge(&partial)?;
                drop(credit);
                LateRows { query: &self.metrics, rows: merged.late_rows }.emit();
                self.progress.late(merged.late_rows);
                Ok(())
            }
            Item::Watermark(time) => self.advance(time),
            // The aligner keeps barriers to itself.
            Item::Barrier(_) => Ok(()),
        }
    }

    fn advance(&mut self, watermark: i64) -> Result<(), AggregateError> {
        let open = self.state.open_windows();
        let closed = self.state.advance(watermark)?;
        self.progress.watermark(watermark);
        let windows = open.saturating_sub(self.state.open_windows()) as u64;
        let rows: u64 = closed.iter().map(|batch| batch.num_rows() as u64).sum();
        if windows > 0 {
            WindowsClosed { query: &self.metrics, windows, rows }.emit();
            self.progress.windows_closed(windows);
            self.progress.output(rows);
        } else if rows > 0 {
            RowsProduced { query: &self.metrics, rows }.emit();
        }
        for outlet in &self.outlets {
            for batch in &closed {
                outlet.send(Item::Rows(batch.clone(), None));
            }
            outlet.send(Item::Watermark(watermark));
        }
        Ok(())
    }

    fn snapshot(&mut self, epoch: u64) -> Result<(), AggregateError> {
        fail::fail_point!("window_aggregator_snapshot");
        let delta = self.state.snapshot()?;
        self.checkpoint.do_send(PartOfEpoch {
            epoch,
            part: Part::State { query: self.query.clone(), shard: self.shard, delta },
        });
        for outlet in &self.outlets {
            outlet.send(Item::Barrier(epoch));
        }
        self.show_state();
        Ok(())
    }

    fn show_state(&self) {
        let stats = self.state.stats();
        StateSize {
            pipeline: &self.pipeline,
            query: &self.query,
            shard: self.shard,
            windows: stats.open_windows,
            groups: stats.groups,
            bytes: stats.bytes,
        }
        .emit();
        self.progress.state(self.shard, stats.open_windows, stats.groups, stats.bytes);
    }
}

impl Actor for WindowAggregator {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(usize::MAX);
        // The state was restored at the oldest watermark of all shards, so that no open window was
        // lost. Windows that some shard had closed must not open again, so all go on from the
        // newest: what this closes here, no table has yet.
        if let Some(watermark) = self.restored.take()
            && let Err(error) = self.advance(watermark)
        {
            self.supervision.fail(&self.name, error, Remedy::Restart);
            return ctx.stop();
        }
        self.show_state();
    }
}

impl Handler<Flow> for WindowAggregator {
    type Result = ();

    fn handle(&mut self, flow: Flow, ctx: &mut Self::Context) {
        self.health.dequeued();
        let _busy = self.health.busy();
        fail::fail_point!("window_aggregator");
        if let Err(error) = self.take(flow) {
            self.supervision.fail(&self.name, error, Remedy::Restart);
            ctx.stop();
        }
    }
}
