//! One Delta table: rows in, pre-commits at barriers, commits once the epoch is durable.

use std::sync::Arc;

use actix::prelude::*;
use arrow::record_batch::RecordBatch;

use super::alignment::{Aligner, Step};
use super::checkpoint_writer::{CheckpointWriter, Committed, Part, PartOfEpoch};
use super::child::{ActorName, Health, Remedy, Supervision};
use super::credit::Credit;
use super::flow::{Flow, Item};
use super::retry::{Backoff, Retrying};
use crate::checkpoint::PreCommit;
use crate::lake::{Add, CommitInfo, LakeError, LakeTable, rows_of};
use crate::sink::delta::DeltaWriter;
use crate::telemetry::events::{Fenced, FileWritten, SinkCommitted};

/// The epoch is in the ledger: what it pre-committed may become visible. Carries the transactions
/// of the commit, which hold the positions that the epoch was taken at.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct EpochDurable {
    /// Which.
    pub epoch: u64,
    /// Delta `txn` actions: application identifier and version.
    pub transactions: Arc<Vec<(String, i64)>>,
}

/// Owns a table and its open files. Nothing else runs in this actor while it works on them
/// (`ctx.wait`), so a table that can't be written holds its input back, and with it the readers.
pub struct DeltaCommitter {
    pub(super) sink: Arc<str>,
    pub(super) name: ActorName,
    pub(super) health: Arc<Health>,
    pub(super) supervision: Supervision,
    pub(super) aligner: Aligner,
    /// Taken out while a future works on it; always back when a handler runs.
    pub(super) work: Option<Box<Work>>,
    pub(super) checkpoint: Addr<CheckpointWriter>,
}

/// What a committer works on.
pub struct Work {
    pub(super) table: LakeTable,
    pub(super) writer: DeltaWriter,
    /// The version of each transaction identifier as this daemon left it.
    pub(super) known: Vec<(String, Option<i64>)>,
    /// Files of the epoch that is being made durable.
    pub(super) prepared: Option<(u64, Vec<Add>)>,
    pub(super) retry: Retrying,
}

impl Work {
    async fn write(&mut self, rows: &RecordBatch) -> Result<(), LakeError> {
        let mut backoff = Backoff::of_sinks();
        loop {
            match self.writer.write(rows).await {
                Ok(()) => break,
                Err(error) => self.retry.pause(error, &mut backoff).await?,
            }
        }
        self.retry.succeeded(&backoff);
        Ok(())
    }

    async fn prepare(&mut self, epoch: u64) -> Result<PreCommit, LakeError> {
        let mut backoff = Backoff::of_sinks();
        let adds = loop {
            match self.writer.prepare().await {
                Ok(adds) => break adds,
                Err(error) => self.retry.pause(error, &mut backoff).await?,
            }
        };
        self.retry.succeeded(&backoff);
        for add in &adds {
            FileWritten {
                pipeline: &self.retry.pipeline,
                sink: &self.retry.sink,
                path: &add.path,
                rows: rows_of(add),
                bytes: u64::try_from(add.size).unwrap_or(0),
            }
            .emit();
        }
        let mut pre_commit = pre_commit(&self.retry.sink, self.table.uri(), &adds)?;
        pre_commit.expected = self.known.clone();
        self.prepared = Some((epoch, adds));
        Ok(pre_commit)
    }

    /// Commits the prepared files, unless there are none: an epoch without rows for this table
    /// leaves no trace in its log.
    async fn commit(&mut self, durable: &EpochDurable) -> Result<Option<CommitInfo>, LakeError> {
        let Some((_, adds)) = self.prepared.take().filter(|(epoch, _)| *epoch == durable.epoch)
        else {
            return Ok(None);
        };
        if adds.is_empty() {
            return Ok(None);
        }
        let info =
            self.retry.commit(&mut self.table, &adds, &durable.transactions, &self.known).await?;
        for (app, version) in durable.transactions.iter() {
            match self.known.iter_mut().find(|(known, _)| known == app) {
                Some((_, slot)) => *slot = Some(*version),
                None => self.known.push((app.clone(), Some(*version))),
            }
        }
        Ok(Some(info))
    }
}

impl Retrying {
    /// Commits, and tries again for as long as the fault may heal.
    pub(super) async fn commit(
        &self,
        table: &mut LakeTable,
        adds: &[Add],
        transactions: &[(String, i64)],
        known: &[(String, Option<i64>)],
    ) -> Result<CommitInfo, LakeError> {
        let expected: Vec<_> = transactions
            .iter()
            .map(|(app, _)| {
                let version = known.iter().find(|(name, _)| name == app).and_then(|(_, v)| *v);
                (app.clone(), version)
            })
            .collect();
        let mut backoff = Backoff::of_sinks();
        let info = loop {
            match table.commit(adds.to_vec(), transactions, &expected).await {
                Ok(info) => break info,
                Err(error) => self.pause(error, &mut backoff).await?,
            }
        };
        self.succeeded(&backoff);
        if let Some(error) = &info.upkeep_error {
            // The commit stands; the next one tries the log's checkpoint or clean-up again.
            tracing::warn!(sink = %self.sink, error, "upkeep of the table's log failed");
        }
        SinkCommitted {
            pipeline: &self.pipeline,
            sink: &self.sink,
            version: Some(info.version),
            files: info.files as u64,
            rows: info.rows,
            bytes: info.bytes,
            took: info.took,
        }
        .emit();
        self.progress.committed(
            Some(info.version),
            info.rows,
            info.files as u64,
            info.bytes,
            info.took,
        );
        Ok(info)
    }

    /// Says so where operators look, if another daemon has taken over.
    pub(super) fn report(&self, error: &LakeError) {
        if let LakeError::Fenced { app_id, expected, found, .. } = error {
            Fenced {
                pipeline: &self.pipeline,
                sink: &self.sink,
                app_id,
                expected: *expected,
                found: *found,
            }
            .emit();
        }
    }
}

fn pre_commit(sink: &str, table: &str, adds: &[Add]) -> Result<PreCommit, LakeError> {
    let mut values = Vec::with_capacity(adds.len());
    let (mut rows, mut bytes) = (0, 0);
    for add in adds {
        bytes += u64::try_from(add.size).unwrap_or(0);
        rows += rows_of(add);
        values.push(serde_json::to_value(add).map_err(|error| LakeError::Data {
            table: table.to_owned(),
            reason: format!("an Add action can't be written down: {error}"),
        })?);
    }
    Ok(PreCommit {
        sink: sink.to_owned(),
        table: table.to_owned(),
        adds: values,
        rows,
        bytes,
        // Filled in by the checkpoint writer, which knows the positions.
        transactions: Vec::new(),
        expected: Vec::new(),
        staged: None,
    })
}

impl DeltaCommitter {
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

    /// Writes batches, in order, in one future: futures that an actor waits for run last in, first
    /// out, so there must not be two of them.
    fn write(&mut self, batches: Vec<(RecordBatch, Option<Credit>)>, ctx: &mut Context<Self>) {
        let Some(mut work) = self.work.take() else { return };
        let busy = self.health.busy();
        ctx.wait(
            async move {
                let mut result = Ok(());
                for (rows, credit) in batches {
                    result = work.write(&rows).await;
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
        fail::fail_point!("delta_committer_prepare");
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
                        // Watermarks mean nothing to a table, and the next barrier can't be here
                        // before this epoch is committed: what was held back is rows.
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

    fn give_up(&mut self, error: LakeError, ctx: &mut Context<Self>) {
        if let Some(work) = &self.work {
            work.retry.report(&error);
        }
        let remedy = match &error {
            error if error.is_fenced() => Remedy::Yield,
            error if error.is_transient() => Remedy::Restart,
            // Opening the table again shows whether it still fits; an encoder that failed half-way
            // through a batch begins anew.
            LakeError::Changed { .. } | LakeError::Encode { .. } => Remedy::Restart,
            _ => Remedy::Mend,
        };
        self.supervision.fail(&self.name, error, remedy);
        ctx.stop();
    }
}

impl Actor for DeltaCommitter {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(usize::MAX);
    }
}

impl Handler<Flow> for DeltaCommitter {
    type Result = ();

    fn handle(&mut self, flow: Flow, ctx: &mut Self::Context) {
        self.health.dequeued();
        fail::fail_point!("delta_committer");
        self.take(flow, ctx);
    }
}

impl Handler<EpochDurable> for DeltaCommitter {
    type Result = ();

    fn handle(&mut self, durable: EpochDurable, ctx: &mut Self::Context) {
        fail::fail_point!("delta_committer_commit");
        let Some(mut work) = self.work.take() else { return };
        let busy = self.health.busy();
        ctx.wait(
            async move {
                let result = work.commit(&durable).await;
                drop(busy);
                (work, result, durable.epoch)
            }
            .into_actor(self)
            .map(|(work, result, epoch), actor, ctx| {
                actor.work = Some(work);
                match result {
                    Ok(_) => {
                        actor.checkpoint.do_send(Committed { epoch, sink: actor.sink.clone() });
                    }
                    Err(error) => actor.give_up(error, ctx),
                }
            }),
        );
    }
}
