//! The actors at the sources: readers, watermarks, relays.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix::{Addr, ArbiterHandle};

use crate::actors::barrier_relay::BarrierRelay;
use crate::actors::blueprint::SourceBlueprint;
use crate::actors::checkpoint_writer::CheckpointWriter;
use crate::actors::child::{ActorName, Health};
use crate::actors::credit::CreditPool;
use crate::actors::fanout::Letters;
use crate::actors::flow::InputId;
use crate::actors::partition_reader::{DeadLetterRoute, PartitionReader, Pending};
use crate::actors::recovery::StartingPoint;
use crate::actors::watermark_tracker::{SharedWatermark, WatermarkTracker};
use crate::checkpoint::Epoch;
use crate::codec::dead_letter::DeadLetterBuilder;
use crate::event_time::{WatermarkOptions, WatermarkTracker as Tracker};
use crate::graph::Root;
use crate::source::{PartitionId, SplitReader};
use crate::telemetry::events::ReaderMetrics;

use super::wiring::tracker_id;
use super::*;

impl Builder<'_> {
    #[allow(clippy::too_many_arguments, reason = "what a tracker is made of, named one by one")]
    pub(super) async fn spawn_tracker(
        &mut self,
        arbiter: &ArbiterHandle,
        assigned: &Assigned,
        source: &SourceBlueprint,
        points: &BTreeMap<PartitionId, StartingPoint>,
        epoch: &Option<Epoch>,
        shared: &SharedWatermark,
    ) -> Result<Option<(Addr<WatermarkTracker>, Arc<Health>)>, StartError> {
        let Some(watermark) = &source.watermark else { return Ok(None) };
        let graph = &self.parts.blueprint.graph;
        let root = Root::Source(assigned.source);
        let below = graph.operators_below(root);
        // Only where the source's watermark is the operator's, and not one of several.
        let restored = epoch.as_ref().and_then(|epoch| {
            below
                .iter()
                .filter(|operator| graph.roots_of_operator(**operator).len() == 1)
                .filter_map(|operator| epoch.watermarks.get(&graph.operators()[*operator].plan.id))
                .max()
                .copied()
        });
        let outlets = below
            .iter()
            .filter_map(|operator| self.wiring.operators.get(operator))
            .flatten()
            .map(|shard| shard.outlet(tracker_id(assigned.source)))
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

    pub(super) async fn spawn_relay(
        &mut self,
        arbiter: &ArbiterHandle,
        source: usize,
    ) -> Result<Addr<BarrierRelay>, StartError> {
        let blueprint = self.parts.blueprint.clone();
        let ends = self.wiring.destinations(&blueprint, Root::Source(source), 0, |_| 0);
        let outlets = ends
            .outputs
            .into_values()
            .chain(ends.operators.into_values())
            .flatten()
            .map(|destination| destination.outlet)
            .collect();
        let name = ActorName::new("barrier_relay", blueprint.sources[source].name.clone());
        self.enter(name.clone());
        self.spawn(arbiter, name, move || BarrierRelay { outlets }).await
    }

    pub(super) async fn spawn_reader(
        &mut self,
        arbiter: &ArbiterHandle,
        reader: ReaderParts,
    ) -> Result<Addr<PartitionReader>, StartError> {
        let blueprint = self.parts.blueprint.clone();
        let source = &blueprint.sources[reader.source_index];
        let pipeline = self.parts.progress.name().clone();
        let other = |what: &dyn std::fmt::Display| StartError::Other(what.to_string());
        let decoding = source.decoding().map_err(|error| other(&error))?;
        let decoded = decoding.output_schema();
        let event_time = source
            .watermark
            .as_ref()
            .and_then(|watermark| decoded.index_of(&watermark.column).ok());
        let resume_at = |table: usize| reader.point.resume_at.get(&table).copied().unwrap_or(0);
        let root = Root::Source(reader.source_index);
        let dead_letters = blueprint.dead_letters().map(|table| DeadLetterRoute {
            builder: DeadLetterBuilder::new(blueprint.settings.dead_letters.max_payload),
            table: self.wiring.sinks[table].outlet(reader.letter_input),
            resume_at: resume_at(table),
        });
        let letters = dead_letters.as_ref().map(|route| Letters {
            outlet: route.table.clone(),
            resume_at: route.resume_at,
            source: source.name.clone(),
            split: reader.id.split.clone(),
            max_payload: blueprint.settings.dead_letters.max_payload,
            // The reader tells the table of its barriers anyway, for records that are rejected.
            barriers: false,
        });
        let fanout = self.fanout(root, reader.member, &decoded, resume_at, letters)?;
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
            split: reader.split,
            decoding,
            event_time,
            limits: source.limits,
            fanout,
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

pub(super) struct ReaderParts {
    pub(super) source_index: usize,
    pub(super) id: PartitionId,
    pub(super) end: Option<i64>,
    /// Its number among the readers of its source.
    pub(super) member: usize,
    pub(super) letter_input: InputId,
    pub(super) split: Box<dyn SplitReader>,
    pub(super) point: StartingPoint,
    pub(super) tracker: Option<(Addr<WatermarkTracker>, Arc<Health>)>,
    pub(super) watermark: SharedWatermark,
    pub(super) credits: CreditPool,
    pub(super) checkpoint: Addr<CheckpointWriter>,
}
