//! Spawning a generation, in the order sinks, operators, sources.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use actix::prelude::*;
use actix::{Addr, ArbiterHandle};

use crate::actors::blueprint::{Feeds, SinkTarget};
use crate::actors::checkpoint_writer::{CheckpointWriter, Expected, ReaderEnd, Wire};
use crate::actors::child::{ActorName, Health, Supervision, Threads, spawn};
use crate::actors::credit::CreditPool;
use crate::actors::flow::InputId;
use crate::actors::operator_shard::OperatorShard;
use crate::actors::watermark_tracker::SharedWatermark;
use crate::graph::Root;
use crate::source::{PartitionId, SplitReader};
use crate::telemetry::events::ActorStarted;

use super::readers::ReaderParts;
use super::wiring::{Inputs, Wiring};
use super::*;

/// Spawns the actors. `splits` has one for each partition of `assigned`, in order.
pub struct Builder<'a> {
    pub(super) parts: &'a Parts,
    pub(super) supervision: Supervision,
    pub(super) threads: Threads,
    pub(super) healths: Vec<Arc<Health>>,
    pub(super) trackers: Vec<Addr<WatermarkTracker>>,
    /// Downstream first.
    pub(super) shards: Vec<Addr<OperatorShard>>,
    pub(super) wiring: Wiring,
    pub(super) credits: CreditPool,
    pub(super) cores: usize,
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
            shards: Vec::new(),
            wiring: Wiring::default(),
            credits: CreditPool::new(parts.blueprint.settings.memory.in_flight),
            cores: thread::available_parallelism().map_or(1, usize::from),
        }
    }

    /// Builds the generation. On an error nothing of it is left running.
    pub async fn build(
        mut self,
        recovered: Recovered,
        assigned: Vec<Assigned>,
        splits: Vec<Box<dyn SplitReader>>,
    ) -> Result<Generation, StartError> {
        match self.spawn_all(recovered, assigned, splits).await {
            Ok(checkpoint) => Ok(Generation {
                number: self.supervision.generation(),
                threads: self.threads,
                checkpoint,
                trackers: self.trackers,
                shards: self.shards,
                healths: self.healths,
                credits: self.credits,
                started: Instant::now(),
            }),
            Err(error) => {
                self.threads.end(Duration::from_secs(5)).await;
                Err(error)
            }
        }
    }

    pub(super) async fn spawn_all(
        &mut self,
        recovered: Recovered,
        assigned: Vec<Assigned>,
        splits: Vec<Box<dyn SplitReader>>,
    ) -> Result<Addr<CheckpointWriter>, StartError> {
        let blueprint = self.parts.blueprint.clone();
        let shards = blueprint.settings.shards;
        let partitions: Vec<(usize, PartitionId, Option<i64>)> = assigned
            .iter()
            .flat_map(|a| a.partitions.iter().map(|(id, end)| (a.source, id.clone(), *end)))
            .collect();
        let senders = |root: Root| match root {
            // A source without partitions has one sender all the same, the relay of its barriers.
            Root::Source(source) => {
                partitions.iter().filter(|(of, ..)| *of == source).count().max(1)
            }
            Root::Operator(_) => shards,
        };
        let graph = &blueprint.graph;

        let checkpoint = self.spawn_checkpoint_writer(&recovered, shards).await?;
        let Recovered { sinks, fits, epoch, instance, points } = recovered;
        self.wiring.fits = fits;

        // The sinks, with as many inputs as there will be senders.
        let sink_threads = self.start_threads(blueprint.sinks.len().min(self.cores))?;
        let mut ends = Vec::new();
        for (index, open) in sinks.into_iter().enumerate() {
            let described = &blueprint.sinks[index];
            let inputs = match described.feeds_from {
                // The readers number themselves; behind them come the shards whose rows rules reject.
                Feeds::DeadLetters => {
                    Inputs::of(partitions.len()).followed_by(&blueprint.rejecting(), senders)
                }
                Feeds::Query(query) => Inputs::new(&graph.roots_of_output(query), senders),
                Feeds::Detectors => {
                    let feeding =
                        |sinks: &[(usize, _)]| sinks.iter().any(|(sink, _)| *sink == index);
                    Inputs::of(blueprint.detectors.iter().filter(|d| feeding(&d.sinks)).count())
                }
            };
            let arbiter = &sink_threads[index % sink_threads.len()];
            let (receiver, end) = match (open, &described.target) {
                (OpenSink::Table(table), SinkTarget::Table(spec)) => {
                    self.spawn_committer(
                        arbiter,
                        described,
                        spec,
                        *table,
                        inputs,
                        &instance,
                        &partitions,
                        &checkpoint,
                    )
                    .await?
                }
                (OpenSink::Staged(staged), _) => {
                    self.spawn_writer(arbiter, described, *staged, inputs, &checkpoint).await?
                }
                (OpenSink::Table(_), SinkTarget::Staged(_)) => {
                    return Err(StartError::Other(format!("{} is no table", described.sink)));
                }
            };
            self.wiring.sinks.push(receiver);
            ends.push(end);
        }

        // Detectors and trackers are light, and share a thread.
        let light = self.start_threads(1)?;
        let mut senders_of_table: BTreeMap<usize, usize> = BTreeMap::new();
        for (index, described) in blueprint.detectors.iter().enumerate() {
            let mut outlets = Vec::new();
            for (sink, min_severity) in &described.sinks {
                let member = senders_of_table.entry(*sink).or_default();
                let outlet = self.wiring.sinks[*sink].outlet(*member as InputId);
                outlets.push((outlet, *min_severity));
                *member += 1;
            }
            let inputs = Inputs::new(&graph.roots_of_output(described.query), senders);
            let receiver =
                self.spawn_detector(&light[0], index, inputs, &epoch, outlets, &checkpoint).await?;
            self.wiring.detectors.entry(described.query).or_default().push(receiver);
        }

        // The shards of every operator, downstream first, so that every sender finds its receiver.
        let operators = graph.operators().len();
        let operator_threads = self.start_threads((operators * shards).min(self.cores))?;
        let mut place = 0;
        for operator in (0..operators).rev() {
            let inputs = Inputs::new(&graph.roots_of_operator(operator), senders);
            let id = &graph.operators()[operator].plan.id;
            let stored = match &epoch {
                Some(epoch) => self.parts.store.segments(epoch, id)?,
                None => Vec::new(),
            };
            let segments: Vec<&[u8]> = stored.iter().map(|s| s.bytes.as_slice()).collect();
            for shard in 0..shards {
                let arbiter = &operator_threads[place % operator_threads.len()];
                place += 1;
                let receiver = self
                    .spawn_shard(
                        arbiter,
                        (operator, shard),
                        inputs.clone(),
                        &segments,
                        &epoch,
                        &checkpoint,
                    )
                    .await?;
                self.wiring.operators.entry(operator).or_default().push(receiver);
            }
        }

        // A tracker for each source, then its readers.
        let reader_threads = self.start_threads(partitions.len().min(self.cores))?;
        let mut splits = splits.into_iter();
        let mut readers = Vec::new();
        let mut letter_input: InputId = 0;
        for source_assigned in &assigned {
            let source = &blueprint.sources[source_assigned.source];
            if source_assigned.partitions.is_empty() {
                let relay = self.spawn_relay(&light[0], source_assigned.source).await?;
                readers.push(ReaderEnd { barrier: relay.recipient(), finished: None });
                continue;
            }
            let shared = SharedWatermark::new();
            let tracker = self
                .spawn_tracker(&light[0], source_assigned, source, &points, &epoch, &shared)
                .await?;
            self.trackers.extend(tracker.iter().map(|(address, _)| address.clone()));
            for (member, (id, end)) in source_assigned.partitions.iter().enumerate() {
                let split =
                    splits.next().ok_or_else(|| StartError::Other(format!("{id} has no split")))?;
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
                            member,
                            letter_input,
                            split,
                            point: point.clone(),
                            tracker: tracker.clone(),
                            watermark: shared.clone(),
                            credits: self.credits.clone(),
                            checkpoint: checkpoint.clone(),
                        },
                    )
                    .await?;
                letter_input += 1;
                readers.push(ReaderEnd {
                    barrier: reader.clone().recipient(),
                    finished: Some(reader.recipient()),
                });
            }
        }
        let expected = Expected {
            positions: partitions.len(),
            states: operators * shards,
            operators: blueprint.detectors.len(),
            pre_commits: ends.len(),
        };
        checkpoint.do_send(Wire { readers, committers: ends, expected });
        Ok(checkpoint)
    }

    pub(super) fn start_threads(&mut self, count: usize) -> Result<Vec<ArbiterHandle>, StartError> {
        self.threads
            .start(count)
            .map_err(|error| StartError::Other(format!("no thread to run on: {error}")))
    }

    pub(super) fn enter(&mut self, name: ActorName) -> Arc<Health> {
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

    pub(super) async fn spawn<A>(
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

    pub(super) async fn spawn_checkpoint_writer(
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
            interval: if self.parts.once { Duration::MAX } else { settings.checkpoint.interval },
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
            settled: false,
            settling: None,
            wanted: false,
            in_flight: None,
        };
        self.spawn(&arbiter[0], name, move || writer).await
    }
}
