//! The supervisor's dealings with the sources: who has which partition, and what the brokers say.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::Sender;

use rdkafka::types::RDKafkaErrorCode;

use crate::actors::blueprint::SourceInput;
use crate::checkpoint::Position;
use crate::source::PartitionId;
use crate::source::kafka::{GroupEvent, KafkaError, KafkaGroup, parse_split, split_name};
use crate::telemetry::events::{
    BrokerStatistics, ExitCause, KafkaError as KafkaErrorEvent, KafkaStatistics, SourceAssigned,
    SourceRevoked,
};

use super::{END, Finishing, LEAVE, PipelineError, PipelineSupervisor, SupervisorEvent, TICK};

pub(super) struct SourceState {
    pub(super) group: Option<KafkaGroup>,
    pub(super) assignment: Option<(u64, Vec<PartitionId>)>,
    /// Dropped when the partitions that are being taken away have been drained.
    pub(super) releasing: Vec<Sender<()>>,
    /// Where the input ends, in a bounded run; asked once.
    pub(super) ends: BTreeMap<PartitionId, i64>,
    pub(super) ended: BTreeSet<PartitionId>,
    pub(super) unreachable: bool,
    pub(super) asking: bool,
}

impl PipelineSupervisor {
    pub(super) fn join_groups(&mut self) -> Result<(), PipelineError> {
        for source in 0..self.sources.len() {
            self.join_group(source)?;
        }
        Ok(())
    }

    pub(super) fn join_group(&mut self, source: usize) -> Result<(), PipelineError> {
        let described = &self.parts.blueprint.sources[source];
        let SourceInput::Kafka(options) = &described.input else {
            // Nobody hands its partition out.
            self.sources[source].assignment =
                Some((0, described.only_partition().into_iter().collect()));
            return Ok(());
        };
        let options = options.clone();
        let tell = self.tell.clone();
        let group = KafkaGroup::join(options, move |event| {
            // A supervisor that is gone needs no news; a `Revoked` is then released by its drop.
            let _ = tell.send(SupervisorEvent::Group { source, event });
        })
        .map_err(|error| PipelineError::Failed(error.to_string()))?;
        self.sources[source].group = Some(group);
        Ok(())
    }

    pub(super) async fn leave_groups(&mut self) {
        for source in &mut self.sources {
            source.releasing.clear();
            if let Some(group) = source.group.take() {
                leave(group).await;
            }
        }
    }

    pub(super) fn release(&mut self) {
        for source in &mut self.sources {
            source.releasing.clear();
        }
    }

    pub(super) fn epoch_committed(&mut self, positions: &BTreeMap<PartitionId, Position>) {
        for source in &self.sources {
            let (Some(group), Some((_, partitions))) = (&source.group, &source.assignment) else {
                continue;
            };
            let offsets: Vec<(String, i32, i64)> = partitions
                .iter()
                .filter_map(|id| {
                    let (topic, partition) = parse_split(&id.split)?;
                    Some((topic.to_owned(), partition, positions.get(id)?.next))
                })
                .collect();
            if let Err(error) = group.commit(&offsets) {
                tracing::warn!(%error, "the group's offsets, which only lag tools read, were not committed");
            }
        }
        let reset_after = self.parts.blueprint.settings.restart.reset_after;
        if self.current.as_ref().is_some_and(|g| g.started.elapsed() >= reset_after) {
            self.backoff.reset();
            self.restarts = 0;
        }
    }

    pub(super) async fn group_event(
        &mut self,
        index: usize,
        event: GroupEvent,
    ) -> Result<(), PipelineError> {
        match event {
            GroupEvent::Assigned { version, partitions } => {
                let name = self.parts.blueprint.sources[index].name.clone();
                let ids: Vec<PartitionId> = partitions
                    .iter()
                    .map(|(topic, partition)| {
                        PartitionId::new(name.clone(), split_name(topic, *partition))
                    })
                    .collect();
                self.show_assignment(index, &ids);
                self.sources[index].assignment = Some((version, ids));
                self.sources[index].ended.clear();
                if let Some(generation) = self.current.take() {
                    // Drained before, unless the drain took too long; then it repeats.
                    generation.end(END).await;
                    self.release();
                    if self.finishing == Some(Finishing::Rebalance) {
                        self.finishing = None;
                    }
                }
            }
            GroupEvent::Revoked { done } => match &self.current {
                Some(generation) => {
                    self.sources[index].releasing.push(done);
                    if self.finishing.is_none() {
                        self.finishing = Some(Finishing::Rebalance);
                        generation.finish();
                    }
                }
                None => drop(done),
            },
            GroupEvent::Statistics { round_trips, queued_records, queued_bytes } => {
                let brokers: Vec<BrokerStatistics> = round_trips
                    .into_iter()
                    .map(|(id, round_trip)| BrokerStatistics { id, round_trip })
                    .collect();
                KafkaStatistics {
                    pipeline: self.parts.progress.name(),
                    source: &self.parts.blueprint.sources[index].name,
                    brokers: &brokers,
                    lag: &[],
                    queued_records,
                    queued_bytes,
                }
                .emit();
            }
            GroupEvent::Error { code, reason, fatal } => {
                self.kafka_error(index, code, &reason, fatal).await?;
            }
        }
        Ok(())
    }

    pub(super) async fn kafka_error(
        &mut self,
        index: usize,
        code: RDKafkaErrorCode,
        reason: &str,
        fatal: bool,
    ) -> Result<(), PipelineError> {
        KafkaErrorEvent {
            pipeline: self.parts.progress.name(),
            source: &self.parts.blueprint.sources[index].name,
            code: &format!("{code:?}"),
            error: &reason,
            fatal,
        }
        .emit();
        if code == RDKafkaErrorCode::AllBrokersDown {
            self.sources[index].unreachable = true;
            self.progress_of(index).unassigned();
        }
        if !fatal {
            return Ok(());
        }
        // The client is of no more use: a new one joins the group again.
        if let Some(generation) = self.current.take() {
            generation.end(END).await;
        }
        self.release();
        let state = &mut self.sources[index];
        state.assignment = None;
        if let Some(group) = state.group.take() {
            leave(group).await;
        }
        self.join_group(index)?;
        self.restart_later("kafka_group", "client", ExitCause::Error, reason)
    }

    pub(super) fn show_assignment(&self, index: usize, ids: &[PartitionId]) {
        let source = &self.parts.blueprint.sources[index];
        let progress = self.progress_of(index);
        let before: Vec<PartitionId> =
            self.sources[index].assignment.iter().flat_map(|(_, ids)| ids.clone()).collect();
        let names = |ids: Vec<&PartitionId>| -> Vec<Arc<str>> {
            ids.into_iter().map(|id| id.split.clone()).collect()
        };
        let gone = names(before.iter().filter(|id| !ids.contains(id)).collect());
        let come = names(ids.iter().filter(|id| !before.contains(id)).collect());
        let pipeline = self.parts.progress.name();
        if !gone.is_empty() {
            for split in &gone {
                progress.drop_partition(split);
            }
            let lost = self.current.is_some();
            SourceRevoked {
                pipeline,
                source: &source.name,
                partitions: &gone,
                assigned: ids.len(),
                lost,
            }
            .emit();
        }
        if !come.is_empty() || before.is_empty() {
            SourceAssigned {
                pipeline,
                source: &source.name,
                partitions: &come,
                assigned: ids.len(),
            }
            .emit();
        }
        progress.assigned();
    }

    /// librdkafka says when the last broker goes, and not when one comes back: ask.
    pub(super) fn ask_whether_back(&mut self, index: usize) {
        let Some(group) = &self.sources[index].group else { return };
        let probe = group.probe();
        self.sources[index].asking = true;
        let tell = self.tell.clone();
        // A thread of its own, which the end of the process does not wait for.
        std::thread::spawn(move || {
            while !probe() {
                std::thread::sleep(TICK);
            }
            // The supervisor may be gone by now, which is fine.
            let _ = tell.send(SupervisorEvent::BrokersBack { source: index });
        });
    }

    pub(super) fn progress_of(
        &self,
        index: usize,
    ) -> Arc<crate::telemetry::progress::SourceProgress> {
        self.parts.progress.source(&self.parts.blueprint.sources[index].name)
    }
}

/// Asks where the input of a bounded run ends, once, for every partition of the topics: one that
/// is not ours yet (a member that died keeps its share until its session times out) is part of
/// what the run has to read.
pub(super) fn ask_ends(source: &mut SourceState, name: &str) -> Result<(), KafkaError> {
    let Some(group) = &source.group else { return Ok(()) };
    if source.ends.is_empty() {
        for (topic, partition) in group.partitions()? {
            let (_, end) = group.offsets(&topic, partition)?;
            source.ends.insert(PartitionId::new(name, split_name(&topic, partition)), end);
        }
    }
    Ok(())
}

pub(super) fn partitions_with_ends(
    assignment: &Option<(u64, Vec<PartitionId>)>,
    ends: &BTreeMap<PartitionId, i64>,
) -> Vec<(PartitionId, Option<i64>)> {
    assignment
        .iter()
        .flat_map(|(_, ids)| ids.iter().map(|id| (id.clone(), ends.get(id).copied())))
        .collect()
}

/// Leaves a group, on a thread that the end of the process does not wait for.
pub(super) async fn leave(group: KafkaGroup) {
    let (left, heard) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        drop(group);
        // Nobody may be waiting any more.
        let _ = left.send(());
    });
    let _ = tokio::time::timeout(LEAVE, heard).await;
}
