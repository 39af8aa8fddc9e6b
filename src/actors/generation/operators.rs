//! The actors between the readers and the tables, and the tables.

use std::sync::Arc;

use actix::{Addr, ArbiterHandle};

use crate::actors::alignment::Aligner;
use crate::actors::anomaly_detector::{AnomalyDetector, operator_name, split_state};
use crate::actors::blueprint::TableBlueprint;
use crate::actors::checkpoint_writer::{
    CheckpointWriter, CommitterEnd, epoch_application, least_watermark, partition_application,
};
use crate::actors::child::{ActorName, Health};
use crate::actors::delta_committer::{DeltaCommitter, Work};
use crate::actors::flow::Outlet;
use crate::actors::recovery::RecoveryError;
use crate::actors::window_aggregator::WindowAggregator;
use crate::aggregate::WindowState;
use crate::anomaly::{self, SeriesReader, WindowBuffer};
use crate::checkpoint::Epoch;
use crate::lake::LakeTable;
use crate::sink::delta::DeltaWriter;
use crate::source::PartitionId;
use crate::sql::Stage;
use crate::telemetry::events::QueryMetrics;

use super::*;

impl Builder<'_> {
    #[allow(clippy::too_many_arguments, reason = "what a committer is made of, named one by one")]
    pub(super) async fn spawn_committer(
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

    pub(super) async fn spawn_detector(
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
    pub(super) async fn spawn_aggregator(
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
}
