//! A table with its upkeep.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::promised;
use crate::actors::blueprint::{Blueprint, SinkTarget};
use crate::catalog::Catalog;
use crate::checkpoint::CheckpointStore;
use crate::config::{self, SinkSettings, UpkeepKeys, UpkeepSettings};
use crate::lake::{Compression, TableLocation, TableSpec};
use crate::sink::TargetSpec;
use crate::upkeep::{
    self, OptimizeOptions, Progress, Schedule, Selection, Task, UpkeepError, VacuumOptions,
};

/// A table that is kept in order.
pub(super) struct UpkeptTable {
    /// As users know it: `bronze.logs`.
    pub name: Arc<str>,
    pub location: TableLocation,
    pub settings: UpkeepSettings,
}

/// What a run came to, whatever the task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ran {
    pub version: Option<u64>,
    pub files_removed: u64,
    pub bytes_removed: u64,
    pub files_added: u64,
    pub bytes_added: u64,
    pub conflicts: u64,
}

impl Ran {
    pub fn is_nothing(&self) -> bool {
        self.files_removed == 0 && self.files_added == 0
    }
}

/// The Delta tables that the pipeline writes and that have upkeep, each once.
pub(super) fn upkept(blueprint: &Blueprint) -> Vec<UpkeptTable> {
    let settings = &blueprint.settings;
    let mut own: Vec<(&str, Option<&UpkeepKeys>)> = Vec::new();
    for sink in settings.queries.iter().flat_map(|query| &query.sinks) {
        if let SinkSettings::Delta(delta) = &sink.settings {
            own.push((&delta.path, delta.upkeep.as_deref()));
        }
    }
    for detector in &settings.detectors {
        own.push((&detector.sink.path, detector.sink.upkeep.as_deref()));
    }
    for sink in &settings.alerts.sinks {
        if let SinkSettings::Delta(delta) = &sink.settings {
            own.push((&delta.path, delta.upkeep.as_deref()));
        }
    }
    let catalog = Catalog::of(settings);
    let mut tables: Vec<UpkeptTable> = Vec::new();
    for sink in &blueprint.sinks {
        let spec: &TableSpec = match &sink.target {
            SinkTarget::Table(spec) => spec,
            SinkTarget::Staged(staged) => match &staged.spec {
                TargetSpec::DeltaTable(options) => &options.table,
                _ => continue,
            },
        };
        if tables.iter().any(|table| table.location.uri() == spec.uri) {
            continue;
        }
        // Of several sinks of one table, the first that says something is heard.
        let keys = own.iter().filter(|(path, _)| *path == spec.uri).find_map(|(_, keys)| *keys);
        let Some(mut upkeep) = settings.upkeep_of(keys) else { continue };
        // Daemons may share a data directory; what is cleared at the start is one pipeline's.
        upkeep.spill_dir.push(&settings.name);
        let known = catalog.tables().iter().find(|entry| entry.location.uri() == spec.uri);
        let name = known.map_or_else(|| sink.sink.to_string(), |entry| entry.name.to_string());
        tables.push(UpkeptTable {
            name: name.into(),
            location: TableLocation::new(spec.uri.clone())
                .with_storage_options(spec.storage_options.clone()),
            settings: upkeep,
        });
    }
    tables
}

impl UpkeptTable {
    /// What is to be done, and when.
    pub fn tasks(&self) -> impl Iterator<Item = (Task, &Schedule)> {
        let settings = &self.settings;
        // Without columns there is no order: `zorder` in `[upkeep]` is for tables that name some.
        let zorder = Some(&settings.zorder).filter(|_| !settings.zorder_by.is_empty());
        [
            (Task::Compact, Some(&settings.compact)),
            (Task::Zorder, zorder),
            (Task::Vacuum, Some(&settings.vacuum)),
            (Task::Checkpoint, Some(&settings.checkpoint)),
            (Task::CleanLog, Some(&settings.clean_log)),
        ]
        .into_iter()
        .filter_map(|(task, when)| Some((task, when?.schedule()?)))
    }

    /// Does it.
    pub async fn run(
        &self,
        task: Task,
        store: &CheckpointStore,
        progress: &dyn Progress,
    ) -> Result<Ran, UpkeepError> {
        match task {
            Task::Compact => self.optimize(Vec::new(), progress).await,
            Task::Zorder => self.optimize(self.settings.zorder_by.clone(), progress).await,
            Task::Vacuum => self.vacuum(store, progress).await,
            Task::Checkpoint => {
                let report = upkeep::checkpoint(&self.location, 1).await?;
                let files_added = u64::from(report.written);
                Ok(Ran { version: Some(report.version), files_added, ..Ran::default() })
            }
            Task::CleanLog => {
                let report = upkeep::clean_log(&self.location).await?;
                Ok(Ran { files_removed: report.files, ..Ran::default() })
            }
        }
    }

    async fn optimize(
        &self,
        zorder: Vec<String>,
        progress: &dyn Progress,
    ) -> Result<Ran, UpkeepError> {
        let settings = &self.settings;
        let options = OptimizeOptions {
            zorder,
            target_size: settings.target_file_size.map(|size| size as u64),
            selection: Selection::Worthwhile {
                min_files: settings.min_files,
                settle: settings.settle,
            },
            compression: match settings.compression {
                config::Compression::None => Compression::None,
                config::Compression::Snappy => Compression::Snappy,
                config::Compression::Lz4 => Compression::Lz4,
                config::Compression::Zstd(level) => Compression::Zstd(level),
            },
            threads: settings.threads,
            memory: settings.memory as u64,
            spill_dir: Some(settings.spill_dir.clone()),
            // What is lost when the daemon is stopped or killed meanwhile.
            commit_bytes: 256 << 20,
            ..OptimizeOptions::default()
        };
        let report = upkeep::optimize(&self.location, options, progress).await?;
        Ok(Ran {
            version: Some(report.version),
            files_removed: report.files_removed,
            bytes_removed: report.bytes_removed,
            files_added: report.files_added,
            bytes_added: report.bytes_added,
            conflicts: report.conflicts,
        })
    }

    async fn vacuum(
        &self,
        store: &CheckpointStore,
        progress: &dyn Progress,
    ) -> Result<Ran, UpkeepError> {
        let Some(existing) = self.location.existing().await? else { return Ok(Ran::default()) };
        // Without knowing what is promised nothing may go.
        let keep: BTreeSet<String> = promised::of_store(store, &existing.table).map_err(|e| {
            UpkeepError::Internal { table: existing.table.clone(), reason: e.to_string() }
        })?;
        let options = VacuumOptions {
            retain: self.settings.retain,
            force: self.settings.force,
            keep,
            ..VacuumOptions::default()
        };
        let report = upkeep::vacuum(&self.location, options, progress).await?;
        let files_removed = report.files.len() as u64;
        Ok(Ran { files_removed, bytes_removed: report.bytes, ..Ran::default() })
    }
}
