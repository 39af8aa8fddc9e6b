//! The actors between the readers and the tables, and the tables.

use std::sync::Arc;

use actix::{Addr, ArbiterHandle};
use arrow::datatypes::SchemaRef;

use crate::actors::alignment::Aligner;
use crate::actors::anomaly_detector::{AnomalyDetector, operator_name};
use crate::actors::blueprint::{SinkBlueprint, SinkTarget};
use crate::actors::checkpoint_writer::{
    CheckpointWriter, CommitterEnd, epoch_application, least_watermark, partition_application,
};
use crate::actors::child::ActorName;
use crate::actors::delta_committer::{DeltaCommitter, Work};
use crate::actors::fanout::{Fanout, Letters, Shown};
use crate::actors::flow::{InputId, Outlet};
use crate::actors::operator_shard::OperatorShard;
use crate::actors::recovery::RecoveryError;
use crate::actors::sink_writer::{SinkWriter, StagedWork};
use crate::anomaly::{DetectorError, Exposed, SeriesReader, Severity, Watch};
use crate::checkpoint::Epoch;
use crate::graph::{Branches, Root};
use crate::lake::{LakeTable, TableSpec};
use crate::sink::StagedSink;
use crate::sink::delta::DeltaWriter;
use crate::source::PartitionId;
use crate::sql::OutputMode;
use crate::telemetry::events::{ExpectationMetrics, QueryMetrics};

use super::wiring::{Ends, Inputs, Receiver, tracker_id};
use super::*;

impl Builder<'_> {
    #[allow(clippy::too_many_arguments, reason = "what a committer is made of, named one by one")]
    pub(super) async fn spawn_committer(
        &mut self,
        arbiter: &ArbiterHandle,
        described: &SinkBlueprint,
        spec: &TableSpec,
        table: LakeTable,
        inputs: Inputs,
        instance: &str,
        partitions: &[(usize, PartitionId, Option<i64>)],
        checkpoint: &Addr<CheckpointWriter>,
    ) -> Result<(Receiver, CommitterEnd), StartError> {
        let name = sink_name(described);
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
        let writer = DeltaWriter::new(&table, spec).map_err(RecoveryError::from)?;
        let retry = retrying(self.parts, described, health.clone());
        let committer = DeltaCommitter {
            sink: described.sink.clone(),
            name: name.clone(),
            health: health.clone(),
            supervision: self.supervision.clone(),
            aligner: Aligner::new(inputs.total()),
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
        Ok((Receiver::new(&address, &health, inputs), end))
    }

    pub(super) async fn spawn_writer(
        &mut self,
        arbiter: &ArbiterHandle,
        described: &SinkBlueprint,
        staged: StagedSink,
        inputs: Inputs,
        checkpoint: &Addr<CheckpointWriter>,
    ) -> Result<(Receiver, CommitterEnd), StartError> {
        let name = sink_name(described);
        let health = self.enter(name.clone());
        let retry = retrying(self.parts, described, health.clone());
        let finish = match &described.target {
            SinkTarget::Staged(target) => match &target.finish {
                Some(plan) => {
                    let finish = plan
                        .bind(&described.sink, &target.schema)
                        .map_err(|error| StartError::Other(error.to_string()))?;
                    Some((finish, Vec::new()))
                }
                None => None,
            },
            SinkTarget::Table(_) => None,
        };
        let writer = SinkWriter {
            sink: described.sink.clone(),
            name: name.clone(),
            health: health.clone(),
            supervision: self.supervision.clone(),
            aligner: Aligner::new(inputs.total()),
            work: Some(Box::new(StagedWork { staged, retry, finish })),
            checkpoint: checkpoint.clone(),
        };
        let address = self.spawn(arbiter, name, move || writer).await?;
        let end = CommitterEnd {
            sink: described.sink.clone(),
            durable: address.clone().recipient(),
            // The target remembers epochs, not positions.
            sources: Vec::new(),
            application: described.application.clone(),
        };
        Ok((Receiver::new(&address, &health, inputs), end))
    }

    pub(super) async fn spawn_detector(
        &mut self,
        arbiter: &ArbiterHandle,
        index: usize,
        inputs: Inputs,
        epoch: &Option<Epoch>,
        outlets: Vec<(Outlet, Severity)>,
        checkpoint: &Addr<CheckpointWriter>,
    ) -> Result<Receiver, StartError> {
        let blueprint = self.parts.blueprint.clone();
        let described = &blueprint.detectors[index];
        let name = ActorName::new("anomaly_detector", described.name.clone());
        let other = |what: &dyn std::fmt::Display| {
            StartError::Other(format!("detector '{}': {what}", described.name))
        };
        let schema = blueprint.queries[described.query].plan.output_schema.clone();
        let reader = SeriesReader::new(schema, &described.columns)
            .and_then(|reader| reader.telling_rows(&described.rows))
            .map_err(|error| other(&error))?;
        let mut watch = Watch::new(
            &described.name,
            &described.spec,
            described.policy,
            described.window_us,
            BUFFERED_VALUES,
        )
        .map_err(|error| other(&error))?
        .settling(described.settle_us);
        let operator = operator_name(&described.name);
        if let Some(bytes) = epoch.as_ref().and_then(|epoch| epoch.operators.get(&operator)) {
            match watch.restore(bytes) {
                Ok(()) => {}
                // Another kind of rule under an old name has nothing to go on from.
                Err(error @ DetectorError::Kind { .. }) => {
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
            aligner: Aligner::new(inputs.total()),
            watermarks: vec![None; inputs.total()],
            reader,
            watch,
            at_barriers: !described.rows.is_empty(),
            repeats: blueprint.queries[described.query].plan.mode == OutputMode::Complete,
            exposed: Exposed::new(&described.spec, described.metric_series),
            outlets,
            checkpoint: checkpoint.clone(),
            progress: self.parts.progress.clone(),
            own_progress: self.parts.progress.detector(&described.name),
        };
        let address = self.spawn(arbiter, name, move || actor).await?;
        Ok(Receiver::new(&address, &health, inputs))
    }

    pub(super) async fn spawn_shard(
        &mut self,
        arbiter: &ArbiterHandle,
        (operator, shard): (usize, usize),
        inputs: Inputs,
        segments: &[&[u8]],
        epoch: &Option<Epoch>,
        checkpoint: &Addr<CheckpointWriter>,
    ) -> Result<Receiver, StartError> {
        let blueprint = self.parts.blueprint.clone();
        let shards = blueprint.settings.shards;
        let described = &blueprint.graph.operators()[operator];
        let query = blueprint.queries[described.query].name.clone();
        let id: Arc<str> = described.plan.id.as_str().into();
        let name = ActorName::new("operator_shard", format!("{id}/{shard}"));
        let other = |error: crate::operator::OperatorError| StartError::Other(error.to_string());
        let mut state = described.plan.operator().map_err(other)?;
        if let Some(epoch) = epoch {
            let least = epoch.watermarks.get(&least_watermark(&id)).copied();
            state.restore(segments, least, (shard, shards)).map_err(other)?;
        }
        let root = Root::Operator(operator);
        let letters = self.operator_letters(operator, shard);
        let fanout = self.fanout(root, shard, &described.plan.output_schema(), |_| 0, letters)?;
        let watermarks = self.watermark_senders(operator, &inputs);
        let health = self.enter(name.clone());
        let actor = OperatorShard {
            pipeline: self.parts.progress.name().clone(),
            operator_id: id.clone(),
            shard,
            name: name.clone(),
            health: health.clone(),
            supervision: self.supervision.clone(),
            aligner: Aligner::new(inputs.total()),
            operator: state,
            watermarks,
            restored: epoch.as_ref().and_then(|e| e.watermarks.get(&*id).copied()),
            fanout,
            credits: self.credits.clone(),
            checkpoint: checkpoint.clone(),
            metrics: QueryMetrics::new(self.parts.progress.name().clone(), query.clone()),
            progress: self.parts.progress.query(&query),
        };
        let address = self.spawn(arbiter, name, move || actor).await?;
        self.shards.push(address.clone());
        Ok(Receiver::new(&address, &health, inputs))
    }

    /// The branches below a root, with the actors at their ends, for its `member`th sender.
    pub(super) fn fanout(
        &self,
        root: Root,
        member: usize,
        rows: &SchemaRef,
        resume_at: impl Fn(usize) -> i64,
        letters: Option<Letters>,
    ) -> Result<Fanout, StartError> {
        let blueprint = &self.parts.blueprint;
        let mut branches = Branches::new(&blueprint.graph, root, rows)
            .map_err(|error| StartError::Other(error.to_string()))?;
        let ends = self.wiring.destinations(blueprint, root, member, resume_at);
        if ends.outputs.values().flatten().any(|destination| destination.fit.is_some()) {
            branches.trace();
        }
        let queries_of: BTreeMap<usize, usize> = ends
            .operators
            .keys()
            .map(|operator| (*operator, blueprint.graph.operators()[*operator].query))
            .collect();
        let shown = ends
            .outputs
            .keys()
            .chain(queries_of.values())
            .map(|query| {
                let name = &blueprint.queries[*query].name;
                let pipeline = self.parts.progress.name();
                let metrics = QueryMetrics::new(pipeline.clone(), name.clone());
                let rules = blueprint.queries[*query].plan.expectations.iter().map(|rule| {
                    let outcome = rule.on_violation.outcome();
                    let (pipeline, name) = (pipeline.clone(), name.clone());
                    ExpectationMetrics::new(pipeline, name, rule.name.clone(), outcome)
                });
                let rules = rules.collect();
                (*query, Shown { metrics, progress: self.parts.progress.query(name), rules })
            })
            .collect();
        let shards = blueprint.settings.shards;
        let Ends { outputs, operators } = ends;
        Ok(Fanout { branches, shards, outputs, operators, queries_of, shown, letters })
    }

    /// Where a shard sends rows that rules reject, if there are such rules behind it.
    fn operator_letters(&self, operator: usize, shard: usize) -> Option<Letters> {
        let blueprint = &self.parts.blueprint;
        let table = self.wiring.sinks.get(blueprint.dead_letters()?)?;
        let outlet = table.outlet_of(Root::Operator(operator), shard)?;
        let graph = &blueprint.graph;
        let sources = graph.sources_of_operator(operator);
        let names: Vec<&str> = sources.iter().map(|source| &*graph.sources()[*source]).collect();
        Some(Letters {
            outlet,
            resume_at: 0,
            source: names.join(",").into(),
            split: "".into(),
            max_payload: blueprint.settings.dead_letters.max_payload,
            barriers: true,
        })
    }

    /// Whose watermarks an operator waits for: the trackers of sources that have a watermark, and
    /// the shards of operators that have one.
    fn watermark_senders(
        &self,
        operator: usize,
        inputs: &Inputs,
    ) -> BTreeMap<InputId, Option<i64>> {
        let blueprint = &self.parts.blueprint;
        let mut senders = BTreeMap::new();
        for root in blueprint.graph.roots_of_operator(operator) {
            match root {
                Root::Source(source) if blueprint.sources[source].watermark.is_some() => {
                    senders.insert(tracker_id(source), None);
                }
                Root::Source(_) => {}
                Root::Operator(upstream) if self.has_watermark(upstream) => {
                    for shard in 0..blueprint.settings.shards {
                        senders.extend(inputs.id(root, shard).map(|id| (id, None)));
                    }
                }
                Root::Operator(_) => {}
            }
        }
        senders
    }

    fn has_watermark(&self, operator: usize) -> bool {
        let blueprint = &self.parts.blueprint;
        let sources = blueprint.graph.sources_of_operator(operator);
        sources.iter().any(|source| blueprint.sources[*source].watermark.is_some())
    }
}
