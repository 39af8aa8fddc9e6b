//! A sink that is no append-only Delta table: rows in, staged at barriers, handed to the target
//! once the epoch is durable.

use std::sync::Arc;

use actix::prelude::*;
use arrow::record_batch::RecordBatch;

use super::alignment::{Aligner, Step};
use super::checkpoint_writer::{CheckpointWriter, Committed, Part, PartOfEpoch};
use super::child::{ActorName, Health, Remedy, Supervision};
use super::credit::Credit;
use super::delta_committer::EpochDurable;
use super::flow::{Flow, Item};
use super::retry::{Backoff, Retrying};
use crate::checkpoint::PreCommit;
use crate::sink::{CommitInfo, SinkError, Staged, StagedSink};
use crate::sql::Finish;
use crate::telemetry::events::SinkCommitted;

/// Owns a staging area and its target. As with a table's committer, nothing else runs in this
/// actor while it works on them (`ctx.wait`), so a target that can't be written holds its input
/// back, and with it the readers.
pub struct SinkWriter {
    pub(super) sink: Arc<str>,
    pub(super) name: ActorName,
    pub(super) health: Arc<Health>,
    pub(super) supervision: Supervision,
    pub(super) aligner: Aligner,
    /// Taken out while a future works on it; always back when a handler runs.
    pub(super) work: Option<Box<StagedWork>>,
    pub(super) checkpoint: Addr<CheckpointWriter>,
}

/// What a sink's writer works on.
pub struct StagedWork {
    pub(super) staged: StagedSink,
    pub(super) retry: Retrying,
    /// ORDER BY and LIMIT over all rows of a trigger, which wait here until it is complete.
    pub(super) finish: Option<(Finish, Vec<RecordBatch>)>,
}

impl StagedWork {
    async fn take(&mut self, rows: RecordBatch) -> Result<(), SinkError> {
        match &mut self.finish {
            Some((_, waiting)) => {
                waiting.push(rows);
                Ok(())
            }
            None => self.write(&rows).await,
        }
    }

    async fn write(&mut self, rows: &RecordBatch) -> Result<(), SinkError> {
        let mut backoff = Backoff::of_sinks();
        loop {
            match self.staged.write(rows).await {
                Ok(()) => break,
                Err(error) => self.retry.pause(error, &mut backoff).await?,
            }
        }
        self.retry.succeeded(&backoff);
        Ok(())
    }

    async fn prepare(&mut self, epoch: u64) -> Result<PreCommit, SinkError> {
        if let Some((finish, waiting)) = &mut self.finish {
            let rows = finish
                .apply(&std::mem::take(waiting))
                .map_err(|error| SinkError::Internal { what: error.to_string() })?;
            for batch in rows {
                self.write(&batch).await?;
            }
        }
        let mut backoff = Backoff::of_sinks();
        let staged = loop {
            match self.staged.prepare(epoch).await {
                Ok(staged) => break staged,
                Err(error) => self.retry.pause(error, &mut backoff).await?,
            }
        };
        self.retry.succeeded(&backoff);
        pre_commit(&self.retry.sink, &self.staged.target().address(), &staged)
    }

    async fn commit(&mut self, epoch: u64) -> Result<(), SinkError> {
        let mut backoff = Backoff::of_sinks();
        let info = loop {
            match self.staged.commit(epoch).await {
                Ok(info) => break info,
                Err(error) => self.retry.pause(error, &mut backoff).await?,
            }
        };
        self.retry.succeeded(&backoff);
        self.retry.staged_committed(info);
        Ok(())
    }
}

impl Retrying {
    /// Tells of a commit, if there was one.
    pub(super) fn staged_committed(&self, info: Option<CommitInfo>) {
        let Some(info) = info else { return };
        if let Some(error) = &info.upkeep_error {
            tracing::warn!(sink = %self.sink, error, "upkeep after a commit failed");
        }
        SinkCommitted {
            pipeline: &self.pipeline,
            sink: &self.sink,
            version: info.version,
            files: info.files as u64,
            rows: info.written,
            bytes: info.bytes,
            took: info.took,
        }
        .emit();
        self.progress.committed(
            info.version,
            info.written,
            info.files as u64,
            info.bytes,
            info.took,
        );
    }
}

fn pre_commit(sink: &str, target: &str, staged: &Staged) -> Result<PreCommit, SinkError> {
    let described = serde_json::to_value(staged).map_err(|error| SinkError::Internal {
        what: format!("staged rows can't be described: {error}"),
    })?;
    Ok(PreCommit {
        sink: sink.to_owned(),
        table: target.to_owned(),
        adds: Vec::new(),
        rows: staged.rows,
        bytes: staged.bytes,
        transactions: Vec::new(),
        expected: Vec::new(),
        staged: Some(described),
    })
}

impl SinkWriter {
    fn take(&mut self, flow: Flow, ctx: &mut Context<Self>) {
        let step = match self.aligner.offer(flow) {
            Ok(step) => step,
            Err(error) => return self.supervision.fail(&self.name, error, Remedy::Restart),
        };
        match step {
            Step::Held => {}
            Step::Process(Flow { item: Item::Rows(rows, credit), .. }) => {
                self.write(vec![(rows, credit)], ctx);
            }
            Step::Process(_) => {}
            Step::Aligned(epoch) => self.prepare(epoch, ctx),
        }
    }

    /// Writes batches, in order, in one future: see the table's committer.
    fn write(&mut self, batches: Vec<(RecordBatch, Option<Credit>)>, ctx: &mut Context<Self>) {
        let Some(mut work) = self.work.take() else { return };
        let busy = self.health.busy();
        ctx.wait(
            async move {
                let mut result = Ok(());
                for (rows, credit) in batches {
                    result = work.take(rows).await;
                    drop(credit);
                    if result.is_err() {
                        break;
                    }
                }
                drop(busy);
                (work, result)
            }
            .into_actor(self)
            .map(|(work, result), actor, ctx| {
                actor.work = Some(work);
                if let Err(error) = result {
                    actor.give_up(error, ctx);
                }
            }),
        );
    }

    fn prepare(&mut self, epoch: u64, ctx: &mut Context<Self>) {
        fail::fail_point!("sink_writer_prepare");
        let Some(mut work) = self.work.take() else { return };
        let busy = self.health.busy();
        ctx.wait(
            async move {
                let result = work.prepare(epoch).await;
                drop(busy);
                (work, result)
            }
            .into_actor(self)
            .map(move |(work, result), actor, ctx| {
                actor.work = Some(work);
                match result {
                    Ok(pre_commit) => {
                        actor.checkpoint.do_send(PartOfEpoch {
                            epoch,
                            part: Part::PreCommit { sink: actor.sink.clone(), pre_commit },
                        });
                        // As with a table: what was held back is rows of the next epoch.
                        let held: Vec<_> = actor
                            .aligner
                            .release()
                            .into_iter()
                            .filter_map(|flow| match flow.item {
                                Item::Rows(rows, credit) => Some((rows, credit)),
                                Item::Watermark(_) | Item::Barrier(_) => None,
                            })
                            .collect();
                        if !held.is_empty() {
                            actor.write(held, ctx);
                        }
                    }
                    Err(error) => actor.give_up(error, ctx),
                }
            }),
        );
    }

    fn give_up(&mut self, error: SinkError, ctx: &mut Context<Self>) {
        let remedy = match &error {
            error if error.is_refusal() => Remedy::Yield,
            error if error.is_transient() => Remedy::Restart,
            SinkError::Internal { .. } => Remedy::Restart,
            _ => Remedy::Mend,
        };
        self.supervision.fail(&self.name, error, remedy);
        ctx.stop();
    }
}

impl Actor for SinkWriter {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(usize::MAX);
    }
}

impl Handler<Flow> for SinkWriter {
    type Result = ();

    fn handle(&mut self, flow: Flow, ctx: &mut Self::Context) {
        self.health.dequeued();
        fail::fail_point!("sink_writer");
        self.take(flow, ctx);
    }
}

impl Handler<EpochDurable> for SinkWriter {
    type Result = ();

    fn handle(&mut self, durable: EpochDurable, ctx: &mut Self::Context) {
        fail::fail_point!("sink_writer_commit");
        let Some(mut work) = self.work.take() else { return };
        let busy = self.health.busy();
        let epoch = durable.epoch;
        ctx.wait(
            async move {
                let result = work.commit(epoch).await;
                drop(busy);
                (work, result)
            }
            .into_actor(self)
            .map(move |(work, result), actor, ctx| {
                actor.work = Some(work);
                match result {
                    Ok(()) => {
                        actor.checkpoint.do_send(Committed { epoch, sink: actor.sink.clone() });
                    }
                    Err(error) => actor.give_up(error, ctx),
                }
            }),
        );
    }
}
