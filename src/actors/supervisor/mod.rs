//! The pipeline's supervisor: starts generations, hears of every fault, starts again.
//!
//! It is a task rather than an actor: its work is a sequence of awaits (open the tables, spawn,
//! drain, back off) that reads as one function, and a mailbox would cut it into states.

mod sources;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::sync::Notify;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

use crate::actors::blueprint::Blueprint;
use crate::actors::child::{ChildExited, Remedy, Supervision};
use crate::actors::generation::{Assigned, Builder, Generation, Parts, StartError, recover};
use crate::actors::retry::Backoff;
use crate::actors::static_tables::StaticTables;
use crate::actors::upkeep::Upkeep;
use crate::checkpoint::{CheckpointError, CheckpointStore, Position};
use crate::source::kafka::{GroupEvent, KafkaError, parse_split};
use crate::source::{PartitionId, SplitReader};
use crate::telemetry::events::{
    ActorExited, CreditLevel, ExitCause, MailboxDepth, PipelineDeclared, PipelineRestarting,
    PipelineStateChanged,
};
use crate::telemetry::progress::{PipelineProgress, PipelineState, WindowColumns};

use sources::{SourceState, ask_ends, partitions_with_ends};

/// How often mailboxes and stuck handlers are looked at.
const TICK: Duration = Duration::from_secs(1);
/// A handler that runs this long without waiting for anything outside is taken for stuck.
const STUCK: Duration = Duration::from_secs(120);
/// How long the threads of a generation may take to end.
const END: Duration = Duration::from_secs(5);

/// The same when the process ends, which ends what hangs.
const LAST_END: Duration = Duration::from_secs(1);
/// How long leaving a group may take: it talks to the brokers, which may be gone.
const LEAVE: Duration = Duration::from_secs(2);

/// Who a restart can be put down to, as metric labels have it: the kinds of actors, a start that
/// failed, and the client of the brokers.
const FAULTY: [&str; 10] = [
    "partition_reader",
    "watermark_tracker",
    "operator_shard",
    "anomaly_detector",
    "delta_committer",
    "sink_writer",
    "checkpoint_writer",
    "barrier_relay",
    "supervisor",
    "kafka_group",
];

/// What the supervisor hears.
#[derive(Debug)]
pub enum SupervisorEvent {
    /// An actor ended, or says that it can't go on.
    ChildExited(ChildExited),
    /// An epoch is durable and in every table.
    EpochCommitted {
        /// Of which generation.
        generation: u64,
        /// Which.
        epoch: u64,
        /// Where the readers were.
        positions: BTreeMap<PartitionId, Position>,
        /// Nothing comes after it.
        last: bool,
    },
    /// A bounded partition has been read to its end.
    EndOfInput {
        /// Of which generation.
        generation: u64,
        /// Which.
        partition: PartitionId,
    },
    /// Something happened to a source's group.
    Group {
        /// Index of the source.
        source: usize,
        /// What.
        event: GroupEvent,
    },
    /// The brokers of a source answer again.
    BrokersBack {
        /// Index of the source.
        source: usize,
    },
    /// Finish the epoch and end.
    Stop,
}

/// How a pipeline ended, when it ended as it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was told to stop.
    Stopped,
    /// All of a bounded input is in the tables.
    EndOfInput,
}

/// How a pipeline ended otherwise.
#[derive(Debug, Error)]
pub enum PipelineError {
    /// Another daemon owns the checkpoint or the tables, or they disagree.
    #[error("{0}")]
    Refused(String),
    /// It failed in a way that a restart does not mend, or too often.
    #[error("{0}")]
    Failed(String),
}

/// How to run.
#[derive(Debug, Clone, Copy, Default)]
pub struct RunOptions {
    /// Read what is there when the run begins, then stop.
    pub available_now: bool,
    /// Of such a run: in one epoch.
    pub once: bool,
    /// Take positions from the tables where they are ahead of the checkpoint.
    pub resume_from_table: bool,
}

/// Tells a running pipeline to stop.
#[derive(Clone)]
pub struct Stopper {
    tell: UnboundedSender<SupervisorEvent>,
    asked: Arc<Notify>,
}

impl Stopper {
    /// Asks for a last epoch and an end. May be called more than once.
    pub fn stop(&self) {
        // A supervisor that is gone has stopped.
        let _ = self.tell.send(SupervisorEvent::Stop);
        self.asked.notify_one();
    }
}

/// See the module's documentation.
pub struct PipelineSupervisor {
    parts: Parts,
    available_now: bool,
    tell: UnboundedSender<SupervisorEvent>,
    /// Ends what a start waits for.
    stop_asked: Arc<Notify>,
    events: UnboundedReceiver<SupervisorEvent>,
    sources: Vec<SourceState>,
    tables: StaticTables,
    upkeep: Option<Upkeep>,
    current: Option<Generation>,
    generations: u64,
    /// Why the generation that runs is being finished.
    finishing: Option<Finishing>,
    backoff: Backoff,
    restarts: u32,
    not_before: Option<Instant>,
    state: Option<PipelineState>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Finishing {
    Rebalance,
    Stop,
    EndOfInput,
}

impl PipelineSupervisor {
    /// For a planned pipeline. Opens the ledger, which only one process can have.
    pub fn new(
        blueprint: Arc<Blueprint>,
        progress: Arc<PipelineProgress>,
        options: RunOptions,
    ) -> Result<Self, PipelineError> {
        let settings = &blueprint.settings;
        let store = open_store(&settings.checkpoint.directory, options.resume_from_table)?;
        declare(&blueprint, &progress);
        let (tell, events) = mpsc::unbounded_channel();
        let sources = blueprint
            .sources
            .iter()
            .map(|_| SourceState {
                group: None,
                assignment: None,
                releasing: Vec::new(),
                ends: BTreeMap::new(),
                ended: BTreeSet::new(),
                unreachable: false,
                asking: false,
            })
            .collect();
        let tables = StaticTables::new(&blueprint.tables, &progress);
        let backoff = Backoff::new(settings.restart.initial_backoff, settings.restart.max_backoff);
        Ok(Self {
            parts: Parts {
                blueprint,
                store: Arc::new(store),
                progress,
                resume_from_table: options.resume_from_table,
                once: options.once,
            },
            available_now: options.available_now,
            tell,
            stop_asked: Arc::default(),
            events,
            sources,
            tables,
            upkeep: None,
            current: None,
            generations: 0,
            finishing: None,
            backoff,
            restarts: 0,
            not_before: None,
            state: None,
        })
    }

    /// What stops it.
    pub fn stopper(&self) -> Stopper {
        Stopper { tell: self.tell.clone(), asked: self.stop_asked.clone() }
    }

    /// Runs until told to stop, until the end of a bounded input, or until it can't go on.
    ///
    /// Must be called on a thread with an actix system, which the actors' threads belong to.
    pub async fn run(mut self) -> Result<Outcome, PipelineError> {
        self.enter(PipelineState::Starting);
        let Parts { blueprint, store, progress, .. } = &self.parts;
        self.upkeep = Upkeep::start(blueprint, progress, store);
        let outcome = self.supervise().await;
        if let Some(upkeep) = self.upkeep.take() {
            upkeep.end().await;
        }
        if let Some(generation) = self.current.take() {
            generation.end(LAST_END).await;
        }
        self.leave_groups().await;
        self.enter(match &outcome {
            Ok(_) => PipelineState::Stopped,
            Err(_) => PipelineState::Failed,
        });
        outcome
    }

    async fn supervise(&mut self) -> Result<Outcome, PipelineError> {
        self.join_groups()?;
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut stop_by: Option<Instant> = None;
        loop {
            if self.finishing.is_none() && self.current.is_none() && self.can_start() {
                self.start().await?;
            }
            let wake = [self.not_before.filter(|_| self.current.is_none()), stop_by]
                .into_iter()
                .flatten()
                .min();
            let event = tokio::select! {
                event = self.events.recv() => event,
                _ = tick.tick() => {
                    self.look_at_actors();
                    None
                }
                () = sleep_until(wake), if wake.is_some() => None,
            };
            if stop_by.is_some_and(|deadline| Instant::now() >= deadline) {
                tracing::warn!(
                    "the last epoch was not finished in time; the next start repeats it"
                );
                return Ok(Outcome::Stopped);
            }
            match event {
                None => {}
                Some(SupervisorEvent::Stop) => {
                    let deadline = Instant::now() + self.parts.blueprint.settings.stop_timeout;
                    stop_by.get_or_insert(deadline);
                    if let Some(upkeep) = &self.upkeep {
                        upkeep.stop();
                    }
                    self.enter(PipelineState::Stopping);
                    match &self.current {
                        Some(generation) => {
                            self.finishing = Some(Finishing::Stop);
                            generation.finish();
                        }
                        None => return Ok(Outcome::Stopped),
                    }
                }
                Some(SupervisorEvent::ChildExited(exit)) => {
                    self.fault(exit).await?;
                    if self.finishing == Some(Finishing::Stop) && self.current.is_none() {
                        return Ok(Outcome::Stopped);
                    }
                }
                Some(SupervisorEvent::EpochCommitted { generation, positions, last, .. }) => {
                    if self.current.as_ref().is_none_or(|g| g.number() != generation) {
                        continue;
                    }
                    self.epoch_committed(&positions);
                    if last && let Some(outcome) = self.finished().await {
                        return Ok(outcome);
                    }
                }
                Some(SupervisorEvent::EndOfInput { generation, partition }) => {
                    self.end_of_input(generation, partition);
                }
                Some(SupervisorEvent::Group { source, event }) => {
                    self.group_event(source, event).await?;
                }
                Some(SupervisorEvent::BrokersBack { source }) => {
                    self.sources[source].asking = false;
                    self.sources[source].unreachable = false;
                    if self.sources[source].assignment.is_some() {
                        self.progress_of(source).assigned();
                    }
                }
            }
        }
    }

    /// Whether every source knows its partitions, and there is one to read.
    fn can_start(&self) -> bool {
        self.not_before.is_none_or(|time| Instant::now() >= time)
            && self.sources.iter().all(|source| source.assignment.is_some())
            && self
                .sources
                .iter()
                .filter_map(|source| source.assignment.as_ref())
                .any(|(_, partitions)| !partitions.is_empty())
    }

    /// Starts a generation, or arranges for another attempt.
    async fn start(&mut self) -> Result<(), PipelineError> {
        self.not_before = None;
        self.generations += 1;
        self.parts.progress.generation_started();
        match self.try_start().await {
            Ok(generation) => {
                self.current = Some(generation);
                for index in 0..self.sources.len() {
                    if !self.sources[index].unreachable {
                        self.progress_of(index).assigned();
                    }
                }
                self.enter(PipelineState::Running);
                Ok(())
            }
            Err(StartError::AssignmentChanged) => Ok(()),
            Err(StartError::Stopping) => {
                // Another event may come first, and with it another start.
                self.stop_asked.notify_one();
                Ok(())
            }
            Err(error) if error.is_transient() => {
                self.restart_later("supervisor", "start", ExitCause::Error, &error.to_string())
            }
            Err(error) => {
                let text = error.to_string();
                self.parts.progress.fault("supervisor", &text);
                Err(if error.is_refusal() {
                    PipelineError::Refused(text)
                } else {
                    PipelineError::Failed(text)
                })
            }
        }
    }

    async fn try_start(&mut self) -> Result<Generation, StartError> {
        // Rows that came before a table would find nothing in it.
        let loaded = tokio::select! {
            loaded = self.tables.load() => loaded,
            // The event that says so is heard next.
            () = self.stop_asked.notified() => return Err(StartError::Stopping),
        };
        loaded.map_err(|(table, error)| StartError::Table { table, error })?;
        let mut assigned = Vec::new();
        let mut opened = BTreeMap::new();
        for (index, source) in self.sources.iter_mut().enumerate() {
            let Some((_, partitions)) = &source.assignment else { continue };
            let described = &self.parts.blueprint.sources[index];
            if let Some(id) = described.only_partition() {
                let failed =
                    |error| StartError::Source { source_name: described.name.to_string(), error };
                let mut split = described
                    .open(&self.parts.blueprint.settings, self.parts.once)
                    .map_err(failed)?;
                if self.available_now {
                    // A split that was opened again has to be told too; the first end counts.
                    let end = split.bound().map_err(failed)?;
                    source.ends.entry(id).or_insert(end);
                }
                opened.insert(index, split);
            } else if self.available_now && !partitions.is_empty() {
                ask_ends(source, &described.name)?;
            }
            assigned.push(Assigned {
                source: index,
                partitions: partitions_with_ends(&source.assignment, &source.ends),
            });
        }
        let sources = &self.sources;
        let names = &self.parts.blueprint.sources;
        let recovered = recover(&self.parts, &assigned, |id| {
            let source = names.iter().position(|source| source.name == id.source);
            let Some(group) = source.and_then(|index| sources[index].group.as_ref()) else {
                // The split knows by itself where it begins.
                return Ok(0);
            };
            match parse_split(&id.split) {
                Some((topic, partition)) => group.start_offset(topic, partition),
                None => Err(KafkaError::NoTopic(id.to_string())),
            }
        })
        .await?;
        // Readers begin where recovery says: the fetchers are told now, and the queues handed on.
        let mut splits: Vec<Box<dyn SplitReader>> = Vec::new();
        for source in &assigned {
            let places = source
                .partitions
                .iter()
                .filter_map(|(id, _)| recovered.next(id).map(|next| (id, next)));
            if let Some(mut split) = opened.remove(&source.source) {
                for (id, next) in places {
                    split.seek(next).map_err(|error| StartError::Source {
                        source_name: id.source.to_string(),
                        error,
                    })?;
                    // Recovery has finished what was promised to the tables.
                    split.durable(next);
                }
                splits.push(split);
                continue;
            }
            let state = &self.sources[source.source];
            let (Some(group), Some((version, _))) = (&state.group, &state.assignment) else {
                return Err(StartError::AssignmentChanged);
            };
            let places: Vec<(String, i32, i64)> = places
                .filter_map(|(id, next)| {
                    let (topic, partition) = parse_split(&id.split)?;
                    Some((topic.to_owned(), partition, next))
                })
                .collect();
            match group.assign(*version, &places)? {
                Some(queues) => {
                    splits.extend(
                        queues.into_iter().map(|queue| -> Box<dyn SplitReader> { Box::new(queue) }),
                    );
                }
                None => return Err(StartError::AssignmentChanged),
            }
        }
        let supervision = Supervision::new(self.generations, self.tell.clone());
        Builder::new(&self.parts, supervision).build(recovered, assigned, splits).await
    }

    fn restart_later(
        &mut self,
        actor: &'static str,
        member: &str,
        cause: ExitCause,
        error: &str,
    ) -> Result<(), PipelineError> {
        self.restarts += 1;
        let limit = self.parts.blueprint.settings.restart.max_restarts;
        if limit.is_some_and(|limit| self.restarts > limit) {
            return Err(PipelineError::Failed(format!(
                "{} restarts in a row did not help; the first fault of the last: {actor}[{member}]: \
                 {error}",
                self.restarts - 1
            )));
        }
        let pause = self.backoff.pause();
        self.not_before = Some(Instant::now() + pause);
        self.parts.progress.fault(&format!("{actor}[{member}]"), error);
        self.parts.progress.restarted();
        PipelineRestarting {
            pipeline: self.parts.progress.name(),
            actor,
            cause,
            error: &error,
            attempt: self.backoff.attempts(),
            backoff: pause,
        }
        .emit();
        if self.finishing.is_none() {
            self.enter(PipelineState::Restarting);
        }
        Ok(())
    }

    /// The unit of failure is the pipeline: the first fault ends the generation.
    async fn fault(&mut self, exit: ChildExited) -> Result<(), PipelineError> {
        if self.current.as_ref().is_none_or(|current| current.number() != exit.generation) {
            return Ok(());
        }
        let Some(generation) = self.current.take() else { return Ok(()) };
        let lived = generation.started.elapsed();
        ActorExited {
            pipeline: self.parts.progress.name(),
            actor: exit.actor.kind,
            member: &exit.actor.member,
            cause: exit.cause,
            error: Some(&exit.error),
        }
        .emit();
        generation.end(END).await;
        self.release();
        let text = format!("{}: {}", exit.actor, exit.error);
        match exit.remedy {
            Remedy::Restart => {}
            Remedy::Mend => {
                self.parts.progress.fault(&exit.actor.to_string(), &exit.error);
                return Err(PipelineError::Failed(text));
            }
            Remedy::Yield => {
                self.parts.progress.fault(&exit.actor.to_string(), &exit.error);
                return Err(PipelineError::Refused(text));
            }
        }
        if lived >= self.parts.blueprint.settings.restart.reset_after {
            self.backoff.reset();
            self.restarts = 0;
        }
        if self.finishing == Some(Finishing::Rebalance)
            || self.finishing == Some(Finishing::EndOfInput)
        {
            self.finishing = None;
        }
        for source in &mut self.sources {
            source.ended.clear();
        }
        self.restart_later(exit.actor.kind, &exit.actor.member, exit.cause, &exit.error)
    }

    /// The last epoch of a generation is in the tables.
    async fn finished(&mut self) -> Option<Outcome> {
        if let Some(generation) = self.current.take() {
            generation.end(END).await;
        }
        self.release();
        match self.finishing.take() {
            Some(Finishing::Stop) => Some(Outcome::Stopped),
            Some(Finishing::EndOfInput) => Some(Outcome::EndOfInput),
            Some(Finishing::Rebalance) | None => None,
        }
    }

    fn end_of_input(&mut self, generation: u64, partition: PartitionId) {
        let Some(current) = self.current.as_ref().filter(|g| g.number() == generation) else {
            return;
        };
        if let Some(index) =
            self.parts.blueprint.sources.iter().position(|s| s.name == partition.source)
        {
            self.sources[index].ended.insert(partition);
        }
        let all = self.sources.iter().all(|source| {
            let ids = source.assignment.as_ref().map(|(_, ids)| ids);
            ids.is_some_and(|ids| {
                ids.len() == source.ended.len() && source.ends.keys().all(|id| ids.contains(id))
            })
        });
        if all && self.finishing.is_none() {
            self.finishing = Some(Finishing::EndOfInput);
            current.finish();
        }
    }

    fn look_at_actors(&mut self) {
        if let Some(generation) = &self.current {
            let credits = generation.credits();
            CreditLevel {
                pipeline: self.parts.progress.name(),
                limit: credits.limit_bytes(),
                free: credits.free_bytes(),
                owed: credits.owed_bytes(),
            }
            .emit();
            for health in generation.healths() {
                MailboxDepth {
                    pipeline: self.parts.progress.name(),
                    actor: health.actor.kind,
                    member: &health.actor.member,
                    messages: health.mailbox(),
                }
                .emit();
                if let Some(stuck) = health.stuck_for().filter(|stuck| *stuck > STUCK) {
                    let _ = self.tell.send(SupervisorEvent::ChildExited(ChildExited {
                        generation: generation.number(),
                        actor: health.actor.clone(),
                        cause: ExitCause::Stalled,
                        error: format!("no progress for {:.0} s", stuck.as_secs_f64()),
                        remedy: Remedy::Restart,
                    }));
                }
            }
        }
        for index in 0..self.sources.len() {
            if self.sources[index].unreachable && !self.sources[index].asking {
                self.ask_whether_back(index);
            }
        }
    }

    fn enter(&mut self, state: PipelineState) {
        if self.state == Some(state) {
            return;
        }
        self.parts.progress.set_state(state);
        PipelineStateChanged { pipeline: self.parts.progress.name(), from: self.state, to: state }
            .emit();
        self.state = Some(state);
    }
}

/// Opens the ledger. A damaged one is refused, or moved aside if positions may come from tables.
fn open_store(dir: &Path, resume_from_table: bool) -> Result<CheckpointStore, PipelineError> {
    let open = || CheckpointStore::open(dir).and_then(|store| store.latest().map(|_| store));
    let result = match open() {
        Err(error @ CheckpointError::Corrupt { .. }) if resume_from_table => {
            let moved = CheckpointStore::set_aside(dir);
            tracing::warn!(%error, to = ?moved.as_ref().ok(), "damaged checkpoint set aside");
            moved.and_then(|_| open())
        }
        result => result,
    };
    result.map_err(|error| match error {
        CheckpointError::Locked { .. } | CheckpointError::Corrupt { .. } => {
            PipelineError::Refused(error.to_string())
        }
        _ => PipelineError::Failed(error.to_string()),
    })
}

/// Declares everything that readiness waits for, before anything runs.
fn declare(blueprint: &Blueprint, progress: &PipelineProgress) {
    progress.set_checkpoint_limit(blueprint.settings.checkpoint.timeout);
    for source in &blueprint.sources {
        progress.source(&source.name).describe(source.input.kind(), &source.input.describe());
    }
    for query in &blueprint.queries {
        let settings = &blueprint.settings.queries[query.settings];
        let operators = &query.plan.operators;
        let fingerprint = operators.last().map_or("", |operator| operator.fingerprint.as_str());
        let windowed = query.plan.window_us().is_some();
        progress.query(&query.name).describe(
            fingerprint,
            settings.mode.name(),
            &settings.sql,
            windowed,
        );
        progress.query(&query.name).expects(
            query
                .plan
                .expectations
                .iter()
                .map(|rule| (&*rule.name, &*rule.that, rule.on_violation.name())),
        );
        // What has no windows has nothing to draw over time.
        let has_windows = query.plan.operators.iter().any(|operator| operator.has_windows());
        let groups = query.plan.key_columns();
        let columns = WindowColumns::of(&query.plan.output_schema, groups.as_deref());
        if let Some(columns) = columns.filter(|_| has_windows) {
            progress.query(&query.name).describe_windows(columns);
        }
    }
    for sink in &blueprint.sinks {
        progress.sink(&sink.sink).describe(sink.kind(), &sink.address());
    }
    for detector in &blueprint.detectors {
        progress.detector(&detector.name).series(0);
    }
    let sinks: Vec<&str> = blueprint.sinks.iter().map(|sink| &*sink.sink).collect();
    PipelineDeclared { pipeline: progress.name(), actors: &FAULTY, sinks: &sinks }.emit();
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
