//! What a generation starts from: the sinks, open, and a place in every partition.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::actors::blueprint::{Blueprint, SinkBlueprint, SinkTarget, StagedTarget};
use crate::actors::child::Health;
use crate::actors::recovery::{
    RecoveryError, StartingPoint, finish_pre_commit, positions_in_table, starting_point,
};
use crate::checkpoint::{Epoch, PreCommit};
use crate::lake::{LakeTable, TableSpec};
use crate::sink::type_change::TypeFit;
use crate::sink::{Staged, StagedSink, TargetContext};
use crate::source::PartitionId;
use crate::source::kafka::KafkaError;

use super::*;

/// The sinks, open, with everything promised to them committed; and where to read on.
pub struct Recovered {
    pub(super) sinks: Vec<OpenSink>,
    /// By sink: what brings rows into the types of a table that has others.
    pub(super) fits: BTreeMap<usize, Arc<TypeFit>>,
    pub(super) epoch: Option<Epoch>,
    pub(super) instance: String,
    pub(super) points: BTreeMap<PartitionId, StartingPoint>,
}

/// Something that is written to, open.
pub enum OpenSink {
    /// An append-only table.
    Table(Box<LakeTable>),
    /// A staging area, with its target.
    Staged(Box<StagedSink>),
}

impl Recovered {
    /// Where reading begins.
    pub fn next(&self, partition: &PartitionId) -> Option<i64> {
        self.points.get(partition).map(|point| point.next)
    }
}

/// Opens the sinks, finishes what the last epoch promised them, and chooses where to read on.
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
        let gone = |p: &&PreCommit| blueprint.sinks.iter().all(|sink| *sink.sink != *p.sink);
        if let Some(lost) = epoch.precommits.iter().filter(|p| p.rows > 0).find(gone) {
            return Err(StartError::Other(format!(
                "the checkpoint holds {} rows for {} of '{}', which the configuration no \
                 longer has: start once with it, to commit them",
                lost.rows, lost.table, lost.sink
            )));
        }
    }
    let mut sinks = Vec::with_capacity(blueprint.sinks.len());
    let mut fits = BTreeMap::new();
    for (index, described) in blueprint.sinks.iter().enumerate() {
        parts.progress.sink(&described.sink).describe(described.kind(), &described.address());
        let fit = type_fit(described).await?;
        // What is opened gets rows that have been fitted.
        let fitted = fit.as_ref().map(|fit| described.with_schema(fit.schema()));
        let sink = fitted.as_ref().unwrap_or(described);
        sinks.push(match &sink.target {
            SinkTarget::Table(spec) => {
                OpenSink::Table(Box::new(open_table(parts, sink, spec, &epoch, &instance).await?))
            }
            SinkTarget::Staged(target) => OpenSink::Staged(Box::new(
                open_staged(parts, sink, target, &epoch, &instance).await?,
            )),
        });
        fits.extend(fit.map(|fit| (index, Arc::new(fit))));
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
        for (index, (sink, open)) in blueprint.sinks.iter().zip(&sinks).enumerate() {
            if let OpenSink::Table(table) = open
                && sink.sources.contains(name)
            {
                let positions = positions_in_table(table, &sink.application, &ids)
                    .await
                    .map_err(RecoveryError::from)?;
                found.push((index, sink, positions));
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
    Ok(Recovered { sinks, fits, epoch, instance, points })
}

/// What has to be done to a sink's rows for them to fit a table that has other types, where the
/// configuration wants that done.
async fn type_fit(sink: &SinkBlueprint) -> Result<Option<TypeFit>, StartError> {
    let Some(spec) = sink.fitted_table() else { return Ok(None) };
    let there = LakeTable::existing_schema(spec).await.map_err(RecoveryError::from)?;
    let fit = there.and_then(|there| TypeFit::new(&sink.sink, &spec.schema, &there));
    if let Some(fit) = &fit {
        tracing::warn!(
            sink = %sink.sink,
            changes = fit.describe(&spec.schema),
            "the table has other types: rows that do not fit go to the dead letters"
        );
    }
    Ok(fit)
}

async fn open_table(
    parts: &Parts,
    sink: &SinkBlueprint,
    spec: &TableSpec,
    epoch: &Option<Epoch>,
    instance: &str,
) -> Result<LakeTable, StartError> {
    let mut open = LakeTable::open_or_create(spec).await.map_err(RecoveryError::from)?;
    if let Some(epoch) = epoch {
        let promised =
            epoch.precommits.iter().filter(|p| *p.sink == *sink.sink && !epoch.committed);
        for pre_commit in promised {
            let retry = retrying(parts, sink, Health::new(sink_name(sink)));
            let done = finish_pre_commit(
                &mut open,
                &sink.application,
                instance,
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
    parts.progress.sink(&sink.sink).opened(Some(open.version()));
    Ok(open)
}

async fn open_staged(
    parts: &Parts,
    sink: &SinkBlueprint,
    target: &StagedTarget,
    epoch: &Option<Epoch>,
    instance: &str,
) -> Result<StagedSink, StartError> {
    let settings = &parts.blueprint.settings;
    let context = TargetContext {
        pipeline: settings.name.clone(),
        sink: sink.sink.to_string(),
        schema: target.schema.clone(),
        mode: target.mode,
        keys: target.keys.clone(),
        instance: instance.to_owned(),
        last_epoch: epoch.as_ref().map(|epoch| epoch.number),
        adopt: parts.resume_from_table,
        state_dir: PathBuf::new(),
    };
    let dir = settings.checkpoint.directory.join("staged");
    let mut staged = StagedSink::open(&dir, target.spec.clone(), context).await?;
    let promised = epoch.as_ref().and_then(|epoch| {
        let pre_commit = epoch.precommits.iter().find(|p| *p.sink == *sink.sink)?;
        Some((epoch, pre_commit.staged.as_ref()?))
    });
    match promised {
        Some((epoch, described)) => {
            let rows: Staged = serde_json::from_value(described.clone()).map_err(|error| {
                let table = sink.address();
                RecoveryError::PreCommit { table, error }
            })?;
            let info = staged.recover(epoch.number, &rows, epoch.committed).await?;
            retrying(parts, sink, Health::new(sink_name(sink))).staged_committed(info);
        }
        None => staged.discard_except(&[])?,
    }
    parts.progress.sink(&sink.sink).opened(staged.target().version());
    Ok(staged)
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
