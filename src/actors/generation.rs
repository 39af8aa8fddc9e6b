//! One life of a pipeline: all its actors, from the tables up to the readers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use actix::prelude::*;
use actix::{Addr, ArbiterHandle};

use super::alignment::Aligner;
use super::anomaly_detector::{AnomalyDetector, operator_name, split_state};
use super::barrier_relay::BarrierRelay;
use super::blueprint::{Blueprint, SourceBlueprint, TableBlueprint};
use super::checkpoint_writer::{
    CheckpointWriter, CommitterEnd, Expected, FinishWithEpoch, TakeBarrier, Wire,
    epoch_application, least_watermark, partition_application,
};
use super::child::{ActorName, Health, Supervision, Threads, spawn};
use super::credit::CreditPool;
use super::delta_committer::{DeltaCommitter, Retrying, Work};
use super::flow::{InputId, Outlet};
use super::partition_reader::{DeadLetterRoute, PartitionReader, Pending, Route, RouteStage};
use super::recovery::{
    RecoveryError, StartingPoint, finish_pre_commit, positions_in_table, starting_point,
};
use super::watermark_tracker::{CatchUp, SharedWatermark, WatermarkTracker};
use super::window_aggregator::WindowAggregator;
use crate::aggregate::WindowState;
use crate::anomaly::{self, SeriesReader, WindowBuffer};
use crate::checkpoint::{CheckpointError, CheckpointStore, Epoch, PreCommit};
use crate::codec::JsonDecoder;
use crate::codec::dead_letter::DeadLetterBuilder;
use crate::event_time::{WatermarkOptions, WatermarkTracker as Tracker};
use crate::lake::LakeTable;
use crate::sink::delta::DeltaWriter;
use crate::source::PartitionId;
use crate::source::kafka::{KafkaError, PartitionQueue};
use crate::sql::{BoundQuery, Stage};
use crate::telemetry::events::{ActorStarted, QueryMetrics, ReaderMetrics};
use crate::telemetry::progress::PipelineProgress;

/// The operator that holds this ledger's name.
pub(super) const INSTANCE: &str = "instance";
/// Values that a detector's buffer may hold: windows wait there for the slowest shard only.
const BUFFERED_VALUES: usize = 2_000_000;
/// How far ahead of the watermark a partition may be read, beyond the watermark's delay.
const AHEAD: Duration = Duration::from_secs(120);

/// Actors, with what can be seen of them, by the index of their query.
type ByQuery<A> = BTreeMap<usize, Vec<(Addr<A>, Arc<Health>)>>;

/// Why a generation could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Recovery failed or refused.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    /// The ledger.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The brokers.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// A windowed query is not the one whose state the checkpoint holds.
    #[error(
        "the query '{0}' is not the one that the checkpoint holds windows of: its windows, keys or \
         aggregates changed; give the changed query a new name and table, or put the old text back"
    )]
    QueryChanged(String),
    /// Something else that a restart will not mend.
    #[error("{0}")]
    Other(String),
    /// The assignment changed while the generation was being started.
    #[error("the partitions changed hands during the start")]
    AssignmentChanged,
}

impl StartError {
    /// Whether trying again can help.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Recovery(error) => error.is_transient(),
            Self::Checkpoint(error) => error.is_transient(),
            Self::Kafka(_) | Self::AssignmentChanged => true,
            Self::QueryChanged(_) | Self::Other(_) => false,
        }
    }

    /// Whether another daemon owns what this one wanted.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Recovery(error) => error.is_refusal(),
            Self::Checkpoint(error) => matches!(error, CheckpointError::Locked { .. }),
            _ => false,
        }
    }
}

/// What lives as long as the pipeline, and longer than a generation.
pub struct Parts {
    /// What to build.
    pub blueprint: Arc<Blueprint>,
    /// The ledger.
    pub store: Arc<CheckpointStore>,
    /// What the API shows.
    pub progress: Arc<PipelineProgress>,
    /// Take positions from the tables where they are ahead.
    pub resume_from_table: bool,
}

/// The partitions of a source, and where they end if the run is bounded.
pub struct Assigned {
    /// Index of the source.
    pub source: usize,
    /// Topic, partition, and the offset to stop at.
    pub partitions: Vec<(PartitionId, Option<i64>)>,
}

/// The tables, open, with everything promised to them committed; and where to read on.
pub struct Recovered {
    tables: Vec<LakeTable>,
    epoch: Option<Epoch>,
    instance: String,
    points: BTreeMap<PartitionId, StartingPoint>,
}

impl Recovered {
    /// Where reading begins.
    pub fn next(&self, partition: &PartitionId) -> Option<i64> {
        self.points.get(partition).map(|point| point.next)
    }
}

/// A running generation.
pub struct Generation {
    number: u64,
    threads: Threads,
    checkpoint: Addr<CheckpointWriter>,
    trackers: Vec<Addr<WatermarkTracker>>,
    healths: Vec<Arc<Health>>,
    /// When it was up.
    pub started: Instant,
}

/// Opens the tables, finishes what the last epoch promised them, and chooses where to read on.
///
/// `start_offset` asks where a partition begins of which nothing is known; it may block.
pub async fn recover(
    parts: &Parts,
    assigned: &[Assigned],
    mut start_offset: impl FnMut(&PartitionId) -> Result<i64, KafkaError>,
) -> Result<Recovered, StartError> {
    let blueprint = &parts.blueprint;
    let mut fell_back = false;
    let epoch = match parts.store.latest()? {
        Some(latest) => {
            if let Some(fallback) = &latest.fallback {
                fell_back = true;
                tracing::error!(
                    newest = fallback.newest,
                    using = latest.epoch.number,
                    reason = fallback.reason,
                    "the newest epoch is unreadable"
                );
            }
            Some(latest.epoch)
        }
        None => None,
    };
    if let Some(epoch) = &epoch {
        check_fingerprints(blueprint, epoch)?;
        parts.progress.epoch_restored(epoch.number, epoch.created_at_ms);
    }
    let instance = epoch
        .as_ref()
        .and_then(|epoch| epoch.operators.get(INSTANCE))
        .and_then(|bytes| String::from_utf8(bytes.clone()).ok())
        .unwrap_or_else(|| uuid::Uuid::new_v4().simple().to_string());
    if let Some(epoch) = epoch.as_ref().filter(|epoch| !epoch.committed) {
        let gone = |p: &&PreCommit| blueprint.tables.iter().all(|table| *table.sink != *p.sink);
        if let Some(lost) = epoch.precommits.iter().filter(|p| !p.adds.is_empty()).find(gone) {
            return Err(StartError::Other(format!(
                "the checkpoint holds {} rows for the table {} of '{}', which the configuration no \
                 longer has: start once with it, to commit them",
                lost.rows, lost.table, lost.sink
            )));
        }
    }
    let mut tables = Vec::with_capacity(blueprint.tables.len());
    for table in &blueprint.tables {
        let progress = parts.progress.sink(&table.sink);
        progress.describe("delta", &table.spec.uri);
        let mut open = LakeTable::open_or_create(&table.spec).await.map_err(RecoveryError::from)?;
        if let Some(epoch) = &epoch {
            let promised =
                epoch.precommits.iter().filter(|p| *p.sink == *table.sink && !epoch.committed);
            for pre_commit in promised {
                let retry = retrying(parts, table, Health::new(committer_name(table)));
                let done = finish_pre_commit(
                    &mut open,
                    &table.application,
                    &instance,
                    epoch,
                    pre_commit,
                    &retry,
                )
                .await;
                if let Err(RecoveryError::Lake(error)) = &done {
                    retry.report(error);
                }
                done?;
            }
        }
        progress.opened(Some(open.version()));
        tables.push(open);
    }
    if let Some(epoch) = &epoch
        && !epoch.committed
    {
        parts.store.mark_committed(epoch.number)?;
    }
    let mut points = BTreeMap::new();
    for source in assigned {
        let name = &blueprint.sources[source.source].name;
        let ids: Vec<PartitionId> = source.partitions.iter().map(|(id, _)| id.clone()).collect();
        let mut found = Vec::new();
        for (index, table) in blueprint.tables.iter().enumerate() {
            if table.sources.contains(name) {
                let positions = positions_in_table(&tables[index], &table.application, &ids)
                    .await
                    .map_err(RecoveryError::from)?;
                found.push((index, table, positions));
            }
        }
        for (row, id) in ids.iter().enumerate() {
            let known = epoch.as_ref().and_then(|epoch| epoch.positions.get(id)).copied();
            let in_tables: Vec<_> =
                found.iter().map(|(index, table, rows)| (*index, *table, rows[row])).collect();
            let start = match known {
                Some(position) => position.next,
                None => start_offset(id)?,
            };
            let point = starting_point(id, known, &in_tables, start, parts.resume_from_table)?;
            if !point.resume_at.is_empty() {
                tracing::warn!(partition = %id, next = point.next, "position taken from the tables");
            }
            points.insert(id.clone(), point);
        }
    }
    if let (Some(epoch), true) = (&epoch, fell_back) {
        // No table is ahead of the older epoch, so nothing of the unreadable one was committed.
        parts.store.discard_after(epoch.number)?;
    }
    Ok(Recovered { tables, epoch, instance, points })
}

fn check_fingerprints(blueprint: &Blueprint, epoch: &Epoch) -> Result<(), StartError> {
    for query in &blueprint.queries {
        let known = epoch.fingerprints.get(&*query.name);
        let stateful = matches!(query.plan.stage, Stage::Windowed(_));
        if stateful && known.is_some_and(|known| *known != query.plan.fingerprint) {
            return Err(StartError::QueryChanged(query.name.to_string()));
        }
    }
    Ok(())
}

fn committer_name(table: &TableBlueprint) -> ActorName {
    ActorName::new("delta_committer", table.sink.clone())
}

fn retrying(parts: &Parts, table: &TableBlueprint, health: Arc<Health>) -> Retrying {
    Retrying {
        pipeline: parts.progress.name().clone(),
        sink: table.sink.clone(),
        health,
        progress: parts.progress.sink(&table.sink),
    }
}

/// Spawns the actors. `queues` has one queue for each partition of `assigned`, in order.
pub struct Builder<'a> {
    parts: &'a Parts,
    supervision: Supervision,
    threads: Threads,
    healths: Vec<Arc<Health>>,
    trackers: Vec<Addr<WatermarkTracker>>,
    cores: usize,
}

impl<'a> Builder<'a> {
    /// For the generation that `supervision` stands for.
    pub fn new(parts: &'a Parts, supervision: Supervision) -> Self {
        Self {
            parts,
            supervision,
            threads: Threads::new(),
            healths: Vec::new(),
            trackers: Vec::new(),
            cores: thread::available_parallelism().map_or(1, usize::from),
        }
    }

    /// Builds the generation. On an error nothing of it is left running.
    pub async fn build(
        mut self,
        recovered: Recovered,
        assigned: Vec<Assigned>,
        queues: Vec<PartitionQueue>,
    ) -> Result<Generation, StartError> {
        match self.spawn_all(recovered, assigned, queues).await {
            Ok(checkpoint) => Ok(Generation {
                number: self.supervision.generation(),
                threads: self.threads,
                checkpoint,
                trackers: self.trackers,
                healths: self.healths,
                started: Instant::now(),
            }),
            Err(error) => {
                self.threads.end(Duration::from_secs(5)).await;
                Err(error)
            }
        }
    }

    async fn spawn_all(
        &mut self,
        recovered: Recovered,
        assigned: Vec<Assigned>,
        queues: Vec<PartitionQueue>,
    ) -> Result<Addr<CheckpointWriter>, StartError> {
        let blueprint = self.parts.blueprint.clone();
        let shards = blueprint.settings.shards;
        let partitions: Vec<(usize, PartitionId, Option<i64>)> = assigned
            .iter()
            .flat_map(|a| a.partitions.iter().map(|(id, end)| (a.source, id.clone(), *end)))
            .collect();
        // A source without partitions has one sender all the same, the relay of its barriers.
        let readers_of =
            |source: usize| partitions.iter().filter(|(of, ..)| *of == source).count().max(1);

        let checkpoint = self.spawn_checkpoint_writer(&recovered, shards).await?;
        let Recovered { tables, epoch, instance, points } = recovered;

        // The tables, with as many inputs as there will be senders.
        let sink_threads = self.start_threads(blueprint.tables.len().min(self.cores))?;
        let mut committers = Vec::new();
        let mut ends = Vec::new();
        for (index, table) in tables.into_iter().enumerate() {
            let described = &blueprint.tables[index];
            let inputs = if blueprint.dead_letters() == Some(index) {
                partitions.len()
            } else if let Some(query) = blueprint.queries.iter().find(|q| q.table == index) {
                match query.plan.stage {
                    Stage::Stateless(_) => readers_of(query.source),
                    Stage::Windowed(_) => shards,
                }
            } else {
                blueprint.detectors.iter().filter(|d| d.table == index).count()
            };
            let arbiter = &sink_threads[index % sink_threads.len()];
            let (committer, end) = self
                .spawn_committer(
                    arbiter,
                    described,
                    table,
                    inputs,
                    &instance,
                    &partitions,
                    &checkpoint,
                )
                .await?;
            committers.push(committer);
            ends.push(end);
        }

        // Detectors and trackers are light, and share a thread.
        let light = self.start_threads(1)?;
        let mut detectors: ByQuery<AnomalyDetector> = BTreeMap::new();
        let mut senders: BTreeMap<usize, InputId> = BTreeMap::new();
        for index in 0..blueprint.detectors.len() {
            let table = blueprint.detectors[index].table;
            let input = senders.entry(table).or_default();
            let outlet = Outlet::new(&committers[table].0, &committers[table].1, *input);
            *input += 1;
            let detector =
                self.spawn_detector(&light[0], index, shards, &epoch, outlet, &checkpoint).await?;
            detectors.entry(blueprint.detectors[index].query).or_default().push(detector);
        }

        // The shards of every windowed query.
        let windowed =
            blueprint.queries.iter().filter(|q| matches!(q.plan.stage, Stage::Windowed(_))).count();
        let operator_threads = self.start_threads((windowed * shards).min(self.cores))?;
        let mut aggregators: ByQuery<WindowAggregator> = BTreeMap::new();
        let mut place = 0;
        for (index, query) in blueprint.queries.iter().enumerate() {
            let Stage::Windowed(_) = &query.plan.stage else { continue };
            let stored = match &epoch {
                Some(epoch) => self.parts.store.segments(epoch, &query.name)?,
                None => Vec::new(),
            };
            let segments: Vec<&[u8]> = stored.iter().map(|s| s.bytes.as_slice()).collect();
            for shard in 0..shards {
                let (committer, health) = &committers[query.table];
                let mut outlets = vec![Outlet::new(committer, health, shard as InputId)];
                for (detector, health) in detectors.get(&index).into_iter().flatten() {
                    outlets.push(Outlet::new(detector, health, shard as InputId));
                }
                let arbiter = &operator_threads[place % operator_threads.len()];
                place += 1;
                let aggregator = self
                    .spawn_aggregator(
                        arbiter,
                        index,
                        shard,
                        readers_of(query.source),
                        &segments,
                        &epoch,
                        outlets,
                        &checkpoint,
                    )
                    .await?;
                aggregators.entry(index).or_default().push(aggregator);
            }
        }

        // A tracker for each source, then its readers.
        let credits = CreditPool::new(blueprint.settings.memory.in_flight);
        let reader_threads = self.start_threads(partitions.len().min(self.cores))?;
        let mut queues = queues.into_iter();
        let mut readers = Vec::new();
        let mut letter_input: InputId = 0;
        for source_assigned in &assigned {
            let source = &blueprint.sources[source_assigned.source];
            if source_assigned.partitions.is_empty() {
                let relay = self
                    .spawn_relay(&light[0], source_assigned.source, &committers, &aggregators)
                    .await?;
                readers.push(relay.recipient::<TakeBarrier>());
                continue;
            }
            let shared = SharedWatermark::new();
            let tracker = self
                .spawn_tracker(
                    &light[0],
                    source_assigned,
                    source,
                    &points,
                    &epoch,
                    &aggregators,
                    &shared,
                )
                .await?;
            self.trackers.extend(tracker.iter().map(|(address, _)| address.clone()));
            for (input, (id, end)) in source_assigned.partitions.iter().enumerate() {
                let queue =
                    queues.next().ok_or_else(|| StartError::Other(format!("{id} has no queue")))?;
                let point = points
                    .get(id)
                    .ok_or_else(|| StartError::Other(format!("{id} has no starting point")))?;
                let arbiter = &reader_threads[readers.len() % reader_threads.len()];
                let reader = self
                    .spawn_reader(
                        arbiter,
                        ReaderParts {
                            source_index: source_assigned.source,
                            id: id.clone(),
                            end: *end,
                            input: input as InputId,
                            letter_input,
                            queue,
                            point: point.clone(),
                            tracker: tracker.clone(),
                            watermark: shared.clone(),
                            credits: credits.clone(),
                            checkpoint: checkpoint.clone(),
                        },
                        &committers,
                        &aggregators,
                    )
                    .await?;
                letter_input += 1;
                readers.push(reader.recipient::<TakeBarrier>());
            }
        }
        let expected = Expected {
            positions: partitions.len(),
            states: windowed * shards,
            operators: blueprint.detectors.len(),
            pre_commits: ends.len(),
        };
        checkpoint.do_send(Wire { readers, committers: ends, expected });
        Ok(checkpoint)
    }

    fn start_threads(&mut self, count: usize) -> Result<Vec<ArbiterHandle>, StartError> {
        self.threads
            .start(count)
            .map_err(|error| StartError::Other(format!("no thread to run on: {error}")))
    }

    fn enter(&mut self, name: ActorName) -> Arc<Health> {
        ActorStarted {
            pipeline: self.parts.progress.name(),
            actor: name.kind,
            member: &name.member,
        }
        .emit();
        let health = Health::new(name);
        self.healths.push(health.clone());
        health
    }

    async fn spawn<A>(
        &self,
        arbiter: &ArbiterHandle,
        name: ActorName,
        make: impl FnOnce() -> A + Send + 'static,
    ) -> Result<Addr<A>, StartError>
    where
        A: Actor<Context = Context<A>>,
    {
        let shown = name.to_string();
        spawn(arbiter, name, self.supervision.clone(), make)
            .await
            .ok_or_else(|| StartError::Other(format!("{shown} did not start")))
    }

    async fn spawn_checkpoint_writer(
        &mut self,
        recovered: &Recovered,
        shards: usize,
    ) -> Result<Addr<CheckpointWriter>, StartError> {
        let arbiter = self.start_threads(1)?;
        let blueprint = &self.parts.blueprint;
        let settings = &blueprint.settings;
        let name = ActorName::new("checkpoint_writer", settings.name.as_str());
        let mut replace_all = BTreeSet::new();
        if let Some(epoch) = &recovered.epoch {
            // Restored state is written whole with the first epoch, for the number of shards that
            // there is now. All older segments go then, and those of queries that are gone.
            replace_all.extend(epoch.fingerprints.keys().cloned());
        }
        let mut base = recovered.epoch.clone().unwrap_or_default();
        base.pipeline = settings.name.clone();
        base.shards = shards as u32;
        base.fingerprints = blueprint.fingerprints();
        base.watermarks.clear();
        base.precommits.clear();
        base.operators.clear();
        let health = self.enter(name.clone());
        let writer = CheckpointWriter {
            pipeline: self.parts.progress.name().clone(),
            name: name.clone(),
            health,
            supervision: self.supervision.clone(),
            store: self.parts.store.clone(),
            progress: self.parts.progress.clone(),
            interval: settings.checkpoint.interval,
            timeout: settings.checkpoint.timeout,
            readers: Vec::new(),
            committers: Vec::new(),
            expected: Expected::default(),
            base,
            replace_all,
            instance: recovered.instance.clone(),
            last_begun: None,
            last_durable: Instant::now(),
            finishing: false,
            in_flight: None,
        };
        self.spawn(&arbiter[0], name, move || writer).await
    }

    #[allow(clippy::too_many_arguments, reason = "what a committer is made of, named one by one")]
    async fn spawn_committer(
        &mut self,
        arbiter: &ArbiterHandle,
        described: &TableBlueprint,
        table: LakeTable,
        inputs: usize,
        instance: &str,
        partitions: &[(usize, PartitionId, Option<i64>)],
        checkpoint: &Addr<CheckpointWriter>,
    ) -> Result<((Addr<DeltaCommitter>, Arc<Health>), CommitterEnd), StartError> {
        let name = committer_name(described);
        let health = self.enter(name.clone());
        let mut applications = vec![epoch_application(&described.application, instance)];
        applications.extend(
            partitions
                .iter()
                .filter(|(_, id, _)| described.sources.contains(&id.source))
                .map(|(_, id, _)| partition_application(&described.application, id)),
        );
        let mut known = Vec::with_capacity(applications.len());
        for app in applications {
            let version = table.transaction_version(&app).await.map_err(RecoveryError::from)?;
            known.push((app, version));
        }
        let writer = DeltaWriter::new(&table, &described.spec).map_err(RecoveryError::from)?;
        let retry = retrying(self.parts, described, health.clone());
        let committer = DeltaCommitter {
            sink: described.sink.clone(),
            name: name.clone(),
            health: health.clone(),
            supervision: self.supervision.clone(),
            aligner: Aligner::new(inputs),
            work: Some(Box::new(Work { table, writer, known, prepared: None, retry })),
            checkpoint: checkpoint.clone(),
        };
        let address = self.spawn(arbiter, name, move || committer).await?;
        let end = CommitterEnd {
            sink: described.sink.clone(),
            durable: address.clone().recipient(),
            sources: described.sources.clone(),
            application: described.application.clone(),
        };
        Ok(((address, health), end))
    }

    async fn spawn_detector(
        &mut self,
        arbiter: &ArbiterHandle,
        index: usize,
        shards: usize,
        epoch: &Option<Epoch>,
        outlet: Outlet,
        checkpoint: &Addr<CheckpointWriter>,
    ) -> Result<(Addr<AnomalyDetector>, Arc<Health>), StartError> {
        let blueprint = self.parts.blueprint.clone();
        let described = &blueprint.detectors[index];
        let name = ActorName::new("anomaly_detector", described.name.clone());
        let other = |what: &dyn std::fmt::Display| {
            StartError::Other(format!("detector '{}': {what}", described.name))
        };
        let schema = blueprint.queries[described.query].plan.output_schema.clone();
        let reader =
            SeriesReader::new(schema, &described.columns).map_err(|error| other(&error))?;
        let mut buffer =
            WindowBuffer::new(described.window_us, described.spec.combine(), BUFFERED_VALUES)
                .map_err(|error| other(&error))?;
        let mut detector = anomaly::build(&described.name, &described.spec);
        let operator = operator_name(&described.name);
        if let Some(bytes) = epoch.as_ref().and_then(|epoch| epoch.operators.get(&operator)) {
            let (state, windows) =
                split_state(bytes).ok_or_else(|| other(&"its state in the checkpoint is cut"))?;
            match detector.restore(state) {
                Ok(()) => buffer.restore(windows).map_err(|error| other(&error))?,
                // Another kind of rule under an old name has nothing to go on from.
                Err(error @ anomaly::DetectorError::Kind { .. }) => {
                    tracing::warn!(detector = %described.name, %error, "detector starts anew");
                }
                Err(error) => return Err(other(&error)),
            }
        }
        let health = self.enter(name.clone());
        let actor = AnomalyDetector {
            pipeline: self.parts.progress.name().clone(),
            name: name.clone(),
            health: health.clone(),
            supervision: self.supervision.clone(),
            aligner: Aligner::new(shards),
            watermarks: vec![None; shards],
            reader,
            buffer,
            detector,
            outlet,
            checkpoint: checkpoint.clone(),
            progress: self.parts.progress.clone(),
            own_progress: self.parts.progress.detector(&described.name),
        };
        Ok((self.spawn(arbiter, name, move || actor).await?, health))
    }

    #[allow(clippy::too_many_arguments, reason = "what a shard is made of, named one by one")]
    async fn spawn_aggregator(
        &mut self,
        arbiter: &ArbiterHandle,
        index: usize,
        shard: usize,
        inputs: usize,
        segments: &[&[u8]],
        epoch: &Option<Epoch>,
        outlets: Vec<Outlet>,
        checkpoint: &Addr<CheckpointWriter>,
    ) -> Result<(Addr<WindowAggregator>, Arc<Health>), StartError> {
        let blueprint = self.parts.blueprint.clone();
        let query = &blueprint.queries[index];
        let shards = blueprint.settings.shards;
        let Stage::Windowed(plan) = &query.plan.stage else {
            return Err(StartError::Other(format!("query '{}' has no windows", query.name)));
        };
        let name = ActorName::new("window_aggregator", format!("{}/{shard}", query.name));
        let other = |error: crate::aggregate::AggregateError| StartError::Other(error.to_string());
        let mut state = WindowState::new(plan).map_err(other)?;
        if let Some(epoch) = epoch {
            let least = epoch.watermarks.get(&least_watermark(&query.name)).copied();
            state.restore(segments, least, (shard, shards)).map_err(other)?;
        }
        let health = self.enter(name.clone());
        let actor = WindowAggregator {
            pipeline: self.parts.progress.name().clone(),
            query: query.name.clone(),
            shard,
            name: name.clone(),
            health: health.clone(),
            supervision: self.supervision.clone(),
            aligner: Aligner::new(inputs),
            state,
            restored: epoch.as_ref().and_then(|e| e.watermarks.get(&*query.name).copied()),
            outlets,
            checkpoint: checkpoint.clone(),
            metrics: QueryMetrics::new(self.parts.progress.name().clone(), query.name.clone()),
            progress: self.parts.progress.query(&query.name),
        };
        Ok((self.spawn(arbiter, name, move || actor).await?, health))
    }

    #[allow(clippy::too_many_arguments, reason = "what a tracker is made of, named one by one")]
    async fn spawn_tracker(
        &mut self,
        arbiter: &ArbiterHandle,
        assigned: &Assigned,
        source: &SourceBlueprint,
        points: &BTreeMap<PartitionId, StartingPoint>,
        epoch: &Option<Epoch>,
        aggregators: &ByQuery<WindowAggregator>,
        shared: &SharedWatermark,
    ) -> Result<Option<(Addr<WatermarkTracker>, Arc<Health>)>, StartError> {
        let Some(watermark) = &source.watermark else { return Ok(None) };
        let blueprint = &self.parts.blueprint;
        let on_source =
            || blueprint.queries.iter().enumerate().filter(|(_, q)| q.source == assigned.source);
        let restored = epoch.as_ref().and_then(|epoch| {
            on_source().filter_map(|(_, q)| epoch.watermarks.get(&*q.name)).max().copied()
        });
        let outlets = on_source()
            .filter_map(|(index, _)| aggregators.get(&index))
            .flatten()
            // The tracker is no input that barriers come from, so its number does not matter.
            .map(|(aggregator, health)| Outlet::new(aggregator, health, InputId::MAX))
            .collect();
        let options = WatermarkOptions {
            delay_us: watermark.delay_us,
            idle_timeout_ms: watermark.idle_timeout_ms,
            advance_when_idle: watermark.wall_clock,
        };
        // Partitions that the checkpoint knows and the group has not given us: while a member that
        // died keeps its share until its session times out, or in the middle of a rebalance. Their
        // rows are still to come, and windows that closed without them would drop those rows as
        // late. They hold the watermark back like any other partition, until they are idle.
        let elsewhere = epoch
            .iter()
            .flat_map(|epoch| &epoch.positions)
            .filter(|(id, _)| *id.source == *source.name)
            .filter(|(id, _)| assigned.partitions.iter().all(|(own, _)| own != *id))
            .map(|(id, position)| (id.clone(), position.max_event_time));
        let mut tracker = Tracker::new(options);
        tracker.restore_watermark(restored);
        let name = ActorName::new("watermark_tracker", source.name.clone());
        let health = self.enter(name.clone());
        let actor = WatermarkTracker {
            pipeline: self.parts.progress.name().clone(),
            health: health.clone(),
            progress: self.parts.progress.clone(),
            options,
            tracker,
            partitions: assigned
                .partitions
                .iter()
                .map(|(id, _)| (id.clone(), points.get(id).and_then(|point| point.max_event_time)))
                .chain(elsewhere)
                .collect(),
            shared: shared.clone(),
            outlets,
            idle: Vec::new(),
        };
        Ok(Some((self.spawn(arbiter, name, move || actor).await?, health)))
    }

    async fn spawn_relay(
        &mut self,
        arbiter: &ArbiterHandle,
        source: usize,
        committers: &[(Addr<DeltaCommitter>, Arc<Health>)],
        aggregators: &ByQuery<WindowAggregator>,
    ) -> Result<Addr<BarrierRelay>, StartError> {
        let blueprint = self.parts.blueprint.clone();
        let mut outlets = Vec::new();
        for (index, query) in blueprint.queries.iter().enumerate() {
            if query.source != source {
                continue;
            }
            match &query.plan.stage {
                Stage::Stateless(_) => {
                    let (committer, health) = &committers[query.table];
                    outlets.push(Outlet::new(committer, health, 0));
                }
                Stage::Windowed(_) => outlets.extend(
                    aggregators
                        .get(&index)
                        .into_iter()
                        .flatten()
                        .map(|(actor, health)| Outlet::new(actor, health, 0)),
                ),
            }
        }
        let name = ActorName::new("barrier_relay", blueprint.sources[source].name.clone());
        self.enter(name.clone());
        self.spawn(arbiter, name, move || BarrierRelay { outlets }).await
    }

    async fn spawn_reader(
        &mut self,
        arbiter: &ArbiterHandle,
        reader: ReaderParts,
        committers: &[(Addr<DeltaCommitter>, Arc<Health>)],
        aggregators: &ByQuery<WindowAggregator>,
    ) -> Result<Addr<PartitionReader>, StartError> {
        let blueprint = self.parts.blueprint.clone();
        let source = &blueprint.sources[reader.source_index];
        let pipeline = self.parts.progress.name().clone();
        let other = |what: &dyn std::fmt::Display| StartError::Other(what.to_string());
        let decoder =
            JsonDecoder::new(source.schema.clone(), source.projection.clone(), source.json.clone())
                .map_err(|error| other(&error))?;
        let decoded = decoder.output_schema();
        let event_time = source
            .watermark
            .as_ref()
            .and_then(|watermark| decoded.index_of(&watermark.column).ok());
        let resume_at = |table: usize| reader.point.resume_at.get(&table).copied().unwrap_or(0);
        let mut routes = Vec::new();
        for (index, query) in blueprint.queries.iter().enumerate() {
            if query.source != reader.source_index {
                continue;
            }
            let bound = query.plan.bind(decoded.clone()).map_err(|error| other(&error))?;
            let stage = match bound {
                BoundQuery::Stateless(map) => {
                    let (committer, health) = &committers[query.table];
                    RouteStage::Rows { map, table: Outlet::new(committer, health, reader.input) }
                }
                BoundQuery::Windowed(pre) => RouteStage::Windows {
                    pre,
                    shards: aggregators
                        .get(&index)
                        .into_iter()
                        .flatten()
                        .map(|(actor, health)| Outlet::new(actor, health, reader.input))
                        .collect(),
                },
            };
            routes.push(Route {
                query: QueryMetrics::new(pipeline.clone(), query.name.clone()),
                progress: self.parts.progress.query(&query.name),
                stage,
                resume_at: resume_at(query.table),
            });
        }
        let dead_letters = blueprint.dead_letters().map(|table| {
            let (committer, health) = &committers[table];
            DeadLetterRoute {
                builder: DeadLetterBuilder::new(blueprint.settings.dead_letters.max_payload),
                table: Outlet::new(committer, health, reader.letter_input),
                resume_at: resume_at(table),
            }
        });
        let name = ActorName::new("partition_reader", reader.id.to_string());
        let health = self.enter(name.clone());
        let source_progress = self.parts.progress.source(&source.name);
        let progress = source_progress.partition(&reader.id.split);
        progress.starts_at(reader.point.next);
        let delay = source.watermark.as_ref().map_or(0, |watermark| watermark.delay_us);
        let actor = PartitionReader {
            metrics: ReaderMetrics::new(
                pipeline.clone(),
                source.name.clone(),
                reader.id.split.clone(),
            ),
            pipeline,
            id: reader.id,
            name: name.clone(),
            health,
            supervision: self.supervision.clone(),
            queue: reader.queue,
            decoder,
            event_time,
            limits: source.limits,
            routes,
            dead_letters,
            tracker: reader.tracker,
            watermark: reader.watermark,
            max_ahead: delay.saturating_add(AHEAD.as_micros() as i64),
            credits: reader.credits,
            checkpoint: reader.checkpoint,
            source_progress,
            progress,
            next: reader.point.next,
            max_event_time: reader.point.max_event_time,
            end: reader.end,
            pending: Pending::default(),
        };
        self.spawn(arbiter, name, move || actor).await
    }
}

struct ReaderParts {
    source_index: usize,
    id: PartitionId,
    end: Option<i64>,
    input: InputId,
    letter_input: InputId,
    queue: PartitionQueue,
    point: StartingPoint,
    tracker: Option<(Addr<WatermarkTracker>, Arc<Health>)>,
    watermark: SharedWatermark,
    credits: CreditPool,
    checkpoint: Addr<CheckpointWriter>,
}

impl Generation {
    /// Which one it is.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Makes the next epoch the last.
    ///
    /// Operators hold watermarks back behind a barrier, so the trackers come first: what readers
    /// have told them by now closes windows in this epoch. Otherwise it would depend on the threads
    /// whether a bounded run writes the windows that its last rows have closed.
    pub fn finish(&self) {
        let (trackers, checkpoint) = (self.trackers.clone(), self.checkpoint.clone());
        actix::spawn(async move {
            for tracker in trackers {
                // A tracker that is gone has ended the generation.
                let _ = tracker.send(CatchUp).await;
            }
            checkpoint.do_send(FinishWithEpoch);
        });
    }

    /// What can be seen of its actors.
    pub fn healths(&self) -> &[Arc<Health>] {
        &self.healths
    }

    /// Ends all actors and waits for their threads, at most `patience`.
    pub async fn end(self, patience: Duration) {
        let left = self.threads.end(patience).await;
        if left > 0 {
            tracing::warn!(threads = left, generation = self.number, "threads did not end in time");
        }
    }
}
