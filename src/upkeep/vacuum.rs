//! VACUUM: files that no version within the retention needs are removed.
//!
//! Which files those are is deltalake's plan. What is added here is what a table with live writers
//! needs:
//!
//! - **Files that are not committed yet.** A writer stores its Parquet files first and names them in
//!   the log later: at the end of the epoch, or after the next start if it was killed in between. To
//!   a vacuum they look like orphans. So a file that the log has never named is removed only once it
//!   is older than [`UNTRACKED_GRACE`] *and* than the retention, even if the retention was forced
//!   lower; and callers that know of pre-commits older than that (a daemon that was stopped for a
//!   week knows them from its ledger) name them in [`VacuumOptions::keep`].
//! - **Files that come back.** Between plan and removal somebody may restore an older version, or
//!   commit a file that was long in coming. The log is read once more before files go, and what was
//!   named since the plan stays.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use deltalake::operations::vacuum::VacuumMode;
use deltalake::protocol::DeltaOperation;
use deltalake::table::config::TablePropertiesExt as _;
use futures::{StreamExt, TryStreamExt};
use serde::Serialize;

use super::{Progress, UpkeepError, open_to_write};
use crate::lake::rewrite::{Rewrites, note};
use crate::lake::{ExistingTable, LakeError, TableLocation};

/// A file that no version names may belong to a commit that is still to come. After a day it does
/// not: epochs take minutes, and what a stopped daemon still holds it names itself.
pub const UNTRACKED_GRACE: Duration = Duration::from_secs(24 * 3600);

/// Files between two reports of progress.
const STEP: usize = 256;

/// What VACUUM is to do.
#[derive(Clone, Debug, Default)]
pub struct VacuumOptions {
    /// How long files are kept after they were taken out of the table. Default: what the table says
    /// (`delta.deletedFileRetentionDuration`), or else a week.
    pub retain: Option<Duration>,
    /// Only say which files would be removed.
    pub dry_run: bool,
    /// Allow a `retain` below the table's own.
    pub force: bool,
    /// Only look at files that the log says were removed, not at the directory: quick, but files
    /// of writers that were killed stay.
    pub lite: bool,
    /// Files, relative to the table, that stay whatever their age.
    pub keep: BTreeSet<String>,
}

/// What VACUUM came to.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VacuumReport {
    /// Nothing was removed: the figures are of what would be.
    pub dry_run: bool,
    /// Files removed, relative to the table.
    pub files: Vec<String>,
    /// Their bytes.
    pub bytes: u64,
    /// How long files are kept, in hours.
    pub retain_hours: f64,
    /// Files that stay although the log does not name them, because they may be about to be
    /// committed.
    pub kept: u64,
    /// From the call to its return.
    pub seconds: f64,
}

/// Removes files that no version within the retention needs.
///
/// # Errors
/// [`UpkeepError::Retention`] for a retention below the table's own that is not forced; see
/// [`UpkeepError`].
pub async fn vacuum(
    location: &TableLocation,
    options: VacuumOptions,
    progress: &dyn Progress,
) -> Result<VacuumReport, UpkeepError> {
    let started = Instant::now();
    let table = open_to_write(location).await?;
    let snapshot = table.snapshot(None).await?;
    let minimum = snapshot.table_properties().deleted_file_retention_duration();
    let retain = options.retain.unwrap_or(minimum);
    if retain < minimum && !options.force {
        return Err(UpkeepError::Retention { table: table.table.clone(), asked: retain, minimum });
    }
    let mut report = VacuumReport {
        dry_run: options.dry_run,
        retain_hours: retain.as_secs_f64() / 3600.0,
        ..Default::default()
    };
    // From here on the log is followed: what is named after the plan was made stays.
    let mut since = Rewrites::begin(&table, snapshot.version()).await?;
    let mut doomed: BTreeSet<String> =
        plan(&table, VacuumMode::Lite, retain).await?.into_iter().collect();
    if !options.lite {
        let grace = retain.max(UNTRACKED_GRACE);
        doomed.extend(plan(&table, VacuumMode::Full, grace).await?);
    }
    let before = doomed.len();
    doomed.retain(|file| !options.keep.contains(file));
    report.kept = (before - doomed.len()) as u64;
    if doomed.is_empty() {
        report.seconds = started.elapsed().as_secs_f64();
        return Ok(report);
    }
    let sizes = sizes(&table, &doomed).await?;
    // What the log names and nobody has is gone already.
    doomed.retain(|file| sizes.contains_key(file));
    if options.dry_run || doomed.is_empty() {
        report.bytes = sizes.values().sum();
        report.files = doomed.into_iter().collect();
        report.seconds = started.elapsed().as_secs_f64();
        return Ok(report);
    }
    let millis = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    let bytes: u64 = sizes.values().sum();
    let operation = DeltaOperation::VacuumStart {
        retention_check_enabled: !options.force,
        specified_retention_millis: options.retain.map(millis),
        default_retention_millis: millis(minimum),
    };
    let metrics = serde_json::json!({
        "numFilesToDelete": doomed.len().to_string(),
        "sizeOfDataToDelete": bytes.to_string(),
    });
    note(&table, operation, metrics).await?;
    since.advance().await?;
    for file in since.conflicts(doomed.clone().iter().map(String::as_str)) {
        doomed.remove(&file);
        report.kept += 1;
    }
    progress.begin("removing", doomed.len() as u64, bytes);
    let stopped = remove(&table, &doomed, &sizes, &mut report, progress).await;
    let status = if stopped.is_ok() { "COMPLETED" } else { "FAILED" };
    let metrics = serde_json::json!({
        "numDeletedFiles": report.files.len().to_string(),
        "numVacuumedDirectories": "0",
    });
    // Said even if it failed half-way: the files are gone.
    let noted =
        note(&table, DeltaOperation::VacuumEnd { status: status.to_owned() }, metrics).await;
    stopped?;
    noted?;
    report.seconds = started.elapsed().as_secs_f64();
    Ok(report)
}

/// The files that deltalake would remove.
async fn plan(
    table: &ExistingTable,
    mode: VacuumMode,
    retain: Duration,
) -> Result<Vec<String>, UpkeepError> {
    let retain = chrono::Duration::from_std(retain)
        .map_err(|e| UpkeepError::Option { option: "retain", reason: e.to_string() })?;
    let planned = table
        .delta()
        .await?
        .vacuum()
        .with_mode(mode)
        .with_retention_period(retain)
        .with_enforce_retention_duration(false)
        .with_dry_run(true)
        .await;
    match planned {
        Ok((_, metrics)) => Ok(metrics.files_deleted),
        Err(error) => Err(table.explained("list the files of", error).await.into()),
    }
}

/// The sizes of those files that are there.
async fn sizes(
    table: &ExistingTable,
    files: &BTreeSet<String>,
) -> Result<HashMap<String, u64>, UpkeepError> {
    let listed = table
        .store
        .object_store(None)
        .list(None)
        .map_ok(|meta| (meta.location.to_string(), meta.size))
        .try_filter(|(path, _)| std::future::ready(files.contains(path)));
    let sizes: Result<HashMap<String, u64>, _> = listed.try_collect().await;
    sizes.map_err(|e| LakeError::io("list the files of", table.table.as_str(), e).into())
}

async fn remove(
    table: &ExistingTable,
    doomed: &BTreeSet<String>,
    sizes: &HashMap<String, u64>,
    report: &mut VacuumReport,
    progress: &dyn Progress,
) -> Result<(), UpkeepError> {
    let objects = table.store.object_store(None);
    let doomed: Vec<&String> = doomed.iter().collect();
    for step in doomed.chunks(STEP) {
        if progress.cancelled() {
            return Err(UpkeepError::Cancelled);
        }
        fail::fail_point!("upkeep::vacuum");
        let paths: Vec<_> = step
            .iter()
            .map(|file| {
                deltalake::Path::parse(file.as_str())
                    .map_err(|e| LakeError::io("remove", file.as_str(), e))
            })
            .collect::<Result<_, _>>()?;
        let paths = futures::stream::iter(paths.into_iter().map(Ok)).boxed();
        let mut results = objects.delete_stream(paths);
        let mut done = 0;
        while let Some(result) = results.next().await {
            match result {
                // Another vacuum was quicker.
                Ok(_) | Err(deltalake::ObjectStoreError::NotFound { .. }) => done += 1,
                Err(e) => {
                    return Err(LakeError::io("remove files of", table.table.as_str(), e).into());
                }
            }
        }
        let bytes = step.iter().filter_map(|file| sizes.get(*file)).sum::<u64>();
        report.files.extend(step.iter().map(|file| (*file).clone()));
        report.bytes += bytes;
        progress.advance(done, bytes);
    }
    Ok(())
}
