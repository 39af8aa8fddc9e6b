//! What a generation starts from: the tables, open, and a place in every partition.

use std::collections::BTreeMap;

use crate::actors::blueprint::Blueprint;
use crate::actors::child::Health;
use crate::actors::recovery::{
    RecoveryError, StartingPoint, finish_pre_commit, positions_in_table, starting_point,
};
use crate::checkpoint::{Epoch, PreCommit};
use crate::lake::LakeTable;
use crate::source::PartitionId;
use crate::source::kafka::KafkaError;

use super::*;

/// The tables, open, with everything promised to them committed; and where to read on.
pub struct Recovered {
    pub(super) tables: Vec<LakeTable>,
    pub(super) epoch: Option<Epoch>,
    pub(super) instance: String,
    pub(super) points: BTreeMap<PartitionId, StartingPoint>,
}

impl Recovered {
    /// Where reading begins.
    pub fn next(&self, partition: &PartitionId) -> Option<i64> {
        self.points.get(partition).map(|point| point.next)
    }
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
    for operator in blueprint.graph.operators() {
        let known = epoch.fingerprints.get(&operator.plan.id);
        if known.is_some_and(|known| *known != operator.plan.fingerprint) {
            let query = &blueprint.queries[operator.query];
            return Err(StartError::QueryChanged(query.name.to_string()));
        }
    }
    Ok(())
}
