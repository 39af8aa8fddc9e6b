//! Epochs: asks for barriers, gathers the parts, makes them durable, lets the tables commit.
//!
//! One epoch is under way at a time. Its steps are those of the design: barriers, snapshots and
//! pre-commits; one durable write of the ledger; only then the tables' commits.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use tokio::sync::oneshot;

use super::child::{ActorName, Health, Remedy, Supervision};
use super::delta_committer::EpochDurable;
use super::retry::Backoff;
use super::supervisor::SupervisorEvent;
use super::watermark_tracker::now_ms;
use crate::checkpoint::{
    CheckpointError, CheckpointStore, Epoch, EpochWrite, PaneClosed, Position, PreCommit,
    SegmentWrite,
};
use crate::operator::StateDelta;
use crate::source::PartitionId;
use crate::telemetry::events::{
    CheckpointAge, EpochAligned, EpochCommitted, EpochDurable as Durable, EpochFailed, EpochStarted,
};
use crate::telemetry::progress::PipelineProgress;

/// How often age and overdue epochs are looked at.
const TICK: Duration = Duration::from_millis(250);

/// To a reader: note your position and send barrier `epoch` down the graph.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct TakeBarrier {
    /// Which.
    pub epoch: u64,
    /// Nothing is to be read after it.
    pub last: bool,
}

/// To the checkpoint writer: begin no epoch any more but the last, and answer when none is under
/// way. Between the answer and [`FinishWithEpoch`] no barrier holds anything back in the graph.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Settle(pub oneshot::Sender<()>);

/// To the checkpoint writer: make the next epoch the last one, and begin it as soon as possible.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct FinishWithEpoch;

/// To the checkpoint writer, in a bounded run: a reader has all that one trigger may take. The next
/// epoch need not wait for the clock.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct EpochWanted;

/// To a reader: this epoch is durable, and in every table.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct EpochInTables {
    /// Which.
    pub epoch: u64,
}

/// A part of an epoch, from whoever it belongs to.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct PartOfEpoch {
    /// Which.
    pub epoch: u64,
    /// What.
    pub part: Part,
}

/// The parts an epoch is made of.
#[derive(Debug)]
pub enum Part {
    /// A reader's place.
    Position {
        /// Whose.
        partition: PartitionId,
        /// Where.
        position: Position,
    },
    /// What changed in a shard of an operator.
    State {
        /// The operator's name.
        operator: Arc<str>,
        /// The shard.
        shard: usize,
        /// What changed since the last epoch.
        delta: StateDelta,
    },
    /// A small operator's whole state.
    Operator {
        /// Its name in the checkpoint.
        name: String,
        /// Its state.
        bytes: Vec<u8>,
    },
    /// Files of a table that wait for the commit.
    PreCommit {
        /// The sink.
        sink: Arc<str>,
        /// What.
        pre_commit: PreCommit,
    },
}

/// A table has committed its part of the epoch, or had none.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Committed {
    /// Which.
    pub epoch: u64,
    /// The sink.
    pub sink: Arc<str>,
}

/// How many parts an epoch has.
#[derive(Debug, Clone, Copy, Default)]
pub struct Expected {
    /// Readers.
    pub positions: usize,
    /// Shards, over all operators.
    pub states: usize,
    /// Detectors.
    pub operators: usize,
    /// Tables.
    pub pre_commits: usize,
}

/// A table's end of the protocol.
pub struct CommitterEnd {
    /// Its name.
    pub sink: Arc<str>,
    /// Where to say that an epoch is durable.
    pub durable: Recipient<EpochDurable>,
    /// The sources whose positions its commits carry, with the application identifier of each
    /// transaction made from a partition.
    pub sources: Vec<Arc<str>>,
    /// Begins every application identifier: `millpond/<pipeline>/<query>`.
    pub application: String,
}

/// A reader's end of the protocol.
pub struct ReaderEnd {
    /// Where to ask for barriers.
    pub barrier: Recipient<TakeBarrier>,
    /// Where to say that an epoch is finished; a relay has no use for it.
    pub finished: Option<Recipient<EpochInTables>>,
}

/// See the module's documentation.
pub struct CheckpointWriter {
    pub(super) pipeline: Arc<str>,
    pub(super) name: ActorName,
    pub(super) health: Arc<Health>,
    pub(super) supervision: Supervision,
    pub(super) store: Arc<CheckpointStore>,
    pub(super) progress: Arc<PipelineProgress>,
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
    pub(super) readers: Vec<ReaderEnd>,
    pub(super) committers: Vec<CommitterEnd>,
    pub(super) expected: Expected,
    /// What every epoch of this generation starts from: the name, the fingerprints, and the
    /// positions of partitions that are not ours at the moment.
    pub(super) base: Epoch,
    /// Queries whose state is written whole with the first epoch.
    pub(super) replace_all: BTreeSet<String>,
    /// Names this ledger among the writers of a table.
    pub(super) instance: String,
    pub(super) last_begun: Option<Instant>,
    pub(super) last_durable: Instant,
    pub(super) finishing: bool,
    /// No epoch begins any more but the last; see [`Settle`].
    pub(super) settled: bool,
    /// Who waits for the epoch under way to end.
    pub(super) settling: Option<oneshot::Sender<()>>,
    /// A reader waits for the next epoch.
    pub(super) wanted: bool,
    pub(super) in_flight: Option<InFlight>,
}

/// The epoch under way.
pub struct InFlight {
    number: u64,
    last: bool,
    begun: Instant,
    aligned: Option<Instant>,
    parts: Parts,
    /// Set once it is durable: when, and which tables have not committed yet.
    committing: Option<(Instant, HashSet<Arc<str>>)>,
    /// Set once all parts are in: the write, which is tried again until it succeeds.
    write: Option<(Box<EpochWrite>, Backoff)>,
}

#[derive(Default)]
struct Parts {
    positions: BTreeMap<PartitionId, Position>,
    states: Vec<(Arc<str>, usize, StateDelta)>,
    operators: BTreeMap<String, Vec<u8>>,
    pre_commits: Vec<(Arc<str>, PreCommit)>,
}

impl Parts {
    fn complete(&self, expected: &Expected) -> bool {
        self.positions.len() == expected.positions
            && self.states.len() == expected.states
            && self.operators.len() == expected.operators
            && self.pre_commits.len() == expected.pre_commits
    }
}

impl CheckpointWriter {
    fn begin(&mut self) {
        let number = self.base.number + 1;
        let last = self.finishing;
        self.wanted = false;
        EpochStarted { pipeline: &self.pipeline, number }.emit();
        self.last_begun = Some(Instant::now());
        self.in_flight = Some(InFlight {
            number,
            last,
            begun: Instant::now(),
            aligned: None,
            parts: Parts::default(),
            committing: None,
            write: None,
        });
        for reader in &self.readers {
            reader.barrier.do_send(TakeBarrier { epoch: number, last });
        }
    }

    fn tick(&mut self, ctx: &mut Context<Self>) {
        let age = self.last_durable.elapsed();
        CheckpointAge { pipeline: &self.pipeline, age }.emit();
        match &self.in_flight {
            None => {
                // The first epoch begins when the actors are wired up.
                let due = self.last_begun.is_some_and(|begun| begun.elapsed() >= self.interval);
                if due && !self.settled {
                    self.begin();
                }
            }
            // An epoch whose ledger or table is being retried is late for a known reason, which
            // shows in the metrics; it is not stuck.
            Some(epoch)
                if epoch.begun.elapsed() > self.timeout
                    && epoch.write.is_none()
                    && !self.progress.is_retrying() =>
            {
                let missing = missing_parts(epoch, &self.expected);
                let error = format!(
                    "epoch {} is not finished after {:.0} s: {missing}",
                    epoch.number,
                    self.timeout.as_secs_f64()
                );
                self.fail(&error, Remedy::Restart, ctx);
            }
            Some(_) => {}
        }
    }

    fn fail(&mut self, error: &dyn std::fmt::Display, remedy: Remedy, ctx: &mut Context<Self>) {
        if let Some(epoch) = &self.in_flight {
            EpochFailed { pipeline: &self.pipeline, number: epoch.number, error }.emit();
            self.progress.epoch_failed(&error.to_string());
        }
        self.supervision.fail(&self.name, error, remedy);
        ctx.stop();
    }

    fn add(&mut self, epoch: u64, part: Part, ctx: &mut Context<Self>) {
        let expected = self.expected;
        let Some(in_flight) = self.in_flight.as_mut().filter(|current| current.number == epoch)
        else {
            return;
        };
        match part {
            Part::Position { partition, position } => {
                in_flight.parts.positions.insert(partition, position);
            }
            Part::State { operator, shard, delta } => {
                in_flight.parts.states.push((operator, shard, delta));
            }
            Part::Operator { name, bytes } => {
                in_flight.parts.operators.insert(name, bytes);
            }
            Part::PreCommit { sink, pre_commit } => {
                in_flight.parts.pre_commits.push((sink, pre_commit));
            }
        }
        let parts = &in_flight.parts;
        if in_flight.aligned.is_none()
            && parts.positions.len() == expected.positions
            && parts.states.len() == expected.states
        {
            in_flight.aligned = Some(Instant::now());
            let align = in_flight.begun.elapsed();
            self.progress.epoch_aligned(align);
            EpochAligned { pipeline: &self.pipeline, number: epoch, align }.emit();
        }
        if in_flight.write.is_none() && in_flight.parts.complete(&expected) {
            let parts = std::mem::take(&mut in_flight.parts);
            let write = self.assemble(epoch, parts);
            if let Some(in_flight) = &mut self.in_flight {
                in_flight.write = Some((Box::new(write), Backoff::of_sinks()));
            }
            self.make_durable(ctx);
        }
    }

    /// Puts the parts together, and gives every pre-commit the transactions of its commit.
    fn assemble(&mut self, number: u64, parts: Parts) -> EpochWrite {
        let mut epoch = self.base.clone();
        epoch.number = number;
        epoch.created_at_ms = now_ms();
        epoch.committed = false;
        epoch.positions.extend(parts.positions.clone());
        epoch.operators = parts.operators;
        epoch.operators.insert(super::generation::INSTANCE.into(), self.instance.clone().into());
        let mut write_segments = Vec::new();
        let mut closed = Vec::new();
        let mut marks: BTreeMap<String, Vec<Option<i64>>> = BTreeMap::new();
        for (query, shard, delta) in parts.states {
            let shard = shard as u32;
            marks.entry(query.to_string()).or_default().push(delta.watermark);
            closed.extend(delta.closed.into_iter().map(|pane| PaneClosed {
                query: query.to_string(),
                shard,
                pane,
            }));
            write_segments.extend(delta.segments.into_iter().map(|segment| SegmentWrite {
                query: query.to_string(),
                shard,
                pane: segment.pane,
                whole: segment.whole,
                bytes: segment.bytes,
                groups: segment.groups as u64,
            }));
        }
        // Shards stop at barriers, not at watermarks, so they may have seen different ones.
        epoch.watermarks.clear();
        for (query, marks) in marks {
            if let Some(Some(least)) = marks.iter().min() {
                epoch.watermarks.insert(least_watermark(&query), *least);
            }
            if let Some(Some(newest)) = marks.iter().max() {
                epoch.watermarks.insert(query, *newest);
            }
        }
        epoch.precommits = parts
            .pre_commits
            .into_iter()
            .map(|(sink, mut pre_commit)| {
                if let Some(end) = self.committers.iter().find(|end| end.sink == sink) {
                    pre_commit.transactions =
                        transactions(end, number, &parts.positions, &self.instance);
                }
                pre_commit
            })
            .collect();
        let mut write = EpochWrite::new(epoch);
        write.segments = write_segments;
        write.closed = closed;
        write.replace_all = std::mem::take(&mut self.replace_all);
        write
    }

    fn make_durable(&mut self, ctx: &mut Context<Self>) {
        let Some(in_flight) = &mut self.in_flight else { return };
        let Some((write, backoff)) = &mut in_flight.write else { return };
        fail::fail_point!("checkpoint_writer_before_write");
        let began = Instant::now();
        let stats = match self.store.write(write) {
            Ok(stats) => stats,
            Err(error) if error.is_transient() => {
                let pause = backoff.pause();
                EpochFailed { pipeline: &self.pipeline, number: in_flight.number, error: &error }
                    .emit();
                self.progress.epoch_failed(&error.to_string());
                ctx.run_later(pause, |actor, ctx| actor.make_durable(ctx));
                return;
            }
            // An older generation, which hung, has written this number after all.
            Err(error @ CheckpointError::Order(_)) => {
                return self.fail(&error, Remedy::Restart, ctx);
            }
            Err(error) => return self.fail(&error, Remedy::Mend, ctx),
        };
        fail::fail_point!("checkpoint_writer_after_write");
        let (number, took) = (in_flight.number, began.elapsed());
        let aligned = in_flight.aligned.unwrap_or(in_flight.begun);
        let snapshot = began.saturating_duration_since(aligned);
        self.last_durable = Instant::now();
        self.progress.epoch_durable(number, stats.bytes, stats.segments, snapshot, took);
        Durable {
            pipeline: &self.pipeline,
            number,
            bytes: stats.bytes,
            segments: stats.segments,
            snapshot,
            write: took,
        }
        .emit();
        let Some((write, _)) = in_flight.write.take() else { return };
        let pre_commits: BTreeMap<&str, &PreCommit> =
            write.epoch.precommits.iter().map(|p| (p.sink.as_str(), p)).collect();
        for end in &self.committers {
            let transactions = pre_commits
                .get(&*end.sink)
                .map(|pre_commit| pre_commit.transactions.clone())
                .unwrap_or_default();
            end.durable
                .do_send(EpochDurable { epoch: number, transactions: Arc::new(transactions) });
        }
        // Nothing of this epoch but its positions is needed for the next.
        let mut base = write.epoch;
        base.precommits.clear();
        base.operators.clear();
        self.base = base;
        let waiting = self.committers.iter().map(|end| end.sink.clone()).collect();
        in_flight.committing = Some((Instant::now(), waiting));
        self.finish_if_committed(ctx);
    }

    fn finish_if_committed(&mut self, ctx: &mut Context<Self>) {
        let Some(in_flight) = &self.in_flight else { return };
        let Some((since, waiting)) = &in_flight.committing else { return };
        if !waiting.is_empty() {
            return;
        }
        let (number, last) = (in_flight.number, in_flight.last);
        let (commit, total) = (since.elapsed(), in_flight.begun.elapsed());
        // Advisory: it saves looking into the tables at the next start.
        if let Err(error) = self.store.mark_committed(number) {
            if !error.is_transient() {
                return self.fail(&error, Remedy::Mend, ctx);
            }
            tracing::warn!(epoch = number, %error, "epoch is committed, but could not be marked so");
        }
        self.progress.epoch_committed(number, commit);
        EpochCommitted { pipeline: &self.pipeline, number, commit, total }.emit();
        self.in_flight = None;
        for reader in self.readers.iter().filter_map(|reader| reader.finished.as_ref()) {
            reader.do_send(EpochInTables { epoch: number });
        }
        self.supervision.tell(SupervisorEvent::EpochCommitted {
            generation: self.supervision.generation(),
            epoch: number,
            positions: self.base.positions.clone(),
            last,
        });
        if let Some(waiting) = self.settling.take() {
            // Whoever waited may have given up with its generation.
            let _ = waiting.send(());
        }
        if !last && (self.finishing || (self.wanted && !self.settled)) {
            self.begin();
        }
    }
}

/// The transactions of a commit: this ledger's epoch, and the position of each partition that the
/// table is fed from. Two daemons that believe they own a partition meet in the second kind.
pub fn transactions(
    end: &CommitterEnd,
    epoch: u64,
    positions: &BTreeMap<PartitionId, Position>,
    instance: &str,
) -> Vec<(String, i64)> {
    let own = (epoch_application(&end.application, instance), epoch as i64);
    let of_partitions = positions
        .iter()
        .filter(|(partition, _)| end.sources.contains(&partition.source))
        .map(|(partition, position)| {
            (partition_application(&end.application, partition), position.next)
        });
    std::iter::once(own).chain(of_partitions).collect()
}

/// Under which name an epoch keeps the oldest watermark of a query's shards; the newest stands
/// under the query's own. Query names hold no slash.
pub fn least_watermark(query: &str) -> String {
    format!("{query}/least")
}

/// The application identifier under which a table remembers the epochs of one ledger.
pub fn epoch_application(application: &str, instance: &str) -> String {
    format!("{application}/epoch@{instance}")
}

/// The application identifier under which a table remembers a partition's position.
pub fn partition_application(application: &str, partition: &PartitionId) -> String {
    format!("{application}/{}-{}", partition.source, partition.split)
}

fn missing_parts(epoch: &InFlight, expected: &Expected) -> String {
    if let Some((_, waiting)) = &epoch.committing {
        let mut names: Vec<&str> = waiting.iter().map(|sink| &**sink).collect();
        names.sort_unstable();
        return format!("tables that have not committed: {}", names.join(", "));
    }
    let parts = &epoch.parts;
    format!(
        "{} of {} positions, {} of {} shards, {} of {} detectors, {} of {} pre-commits are in",
        parts.positions.len(),
        expected.positions,
        parts.states.len(),
        expected.states,
        parts.operators.len(),
        expected.operators,
        parts.pre_commits.len(),
        expected.pre_commits
    )
}

impl Actor for CheckpointWriter {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(usize::MAX);
        ctx.run_interval(TICK, |actor, ctx| actor.tick(ctx));
    }
}

impl Handler<PartOfEpoch> for CheckpointWriter {
    type Result = ();

    fn handle(&mut self, message: PartOfEpoch, ctx: &mut Self::Context) {
        let _busy = self.health.busy();
        fail::fail_point!("checkpoint_writer");
        self.add(message.epoch, message.part, ctx);
    }
}

impl Handler<Committed> for CheckpointWriter {
    type Result = ();

    fn handle(&mut self, committed: Committed, ctx: &mut Self::Context) {
        let _busy = self.health.busy();
        if let Some(in_flight) = self.in_flight.as_mut().filter(|e| e.number == committed.epoch)
            && let Some((_, waiting)) = &mut in_flight.committing
        {
            waiting.remove(&committed.sink);
        }
        self.finish_if_committed(ctx);
    }
}

impl Handler<Settle> for CheckpointWriter {
    type Result = ();

    fn handle(&mut self, Settle(waiting): Settle, _: &mut Self::Context) {
        self.settled = true;
        match self.in_flight {
            Some(_) => self.settling = Some(waiting),
            // Whoever waited may have given up with its generation.
            None => drop(waiting.send(())),
        }
    }
}

impl Handler<FinishWithEpoch> for CheckpointWriter {
    type Result = ();

    fn handle(&mut self, _: FinishWithEpoch, _: &mut Self::Context) {
        // Said twice, it is still one last epoch.
        if std::mem::replace(&mut self.finishing, true) {
            return;
        }
        if self.in_flight.is_none() {
            self.begin();
        }
    }
}

impl Handler<EpochWanted> for CheckpointWriter {
    type Result = ();

    fn handle(&mut self, _: EpochWanted, _: &mut Self::Context) {
        match self.in_flight {
            // Begun before the reader asked, perhaps: then one more follows it.
            Some(_) => self.wanted = true,
            None if self.settled => {}
            None => self.begin(),
        }
    }
}

/// Wires the readers and the tables up, which are spawned after the writer that they report to.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Wire {
    /// The readers.
    pub readers: Vec<ReaderEnd>,
    /// The tables.
    pub committers: Vec<CommitterEnd>,
    /// How many parts an epoch has from now on.
    pub expected: Expected,
}

impl Handler<Wire> for CheckpointWriter {
    type Result = ();

    fn handle(&mut self, wire: Wire, _: &mut Self::Context) {
        self.readers = wire.readers;
        self.committers = wire.committers;
        self.expected = wire.expected;
        if self.interval == Duration::MAX {
            // The only epoch is the last one, which is asked for when all has been read.
            self.last_begun = Some(Instant::now());
        } else {
            self.begin();
        }
    }
}
