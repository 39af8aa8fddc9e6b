//! The log itself: checkpoints, so that readers need not read every commit, and clean-up of what a
//! checkpoint has made superfluous.

use std::time::{Duration, Instant};

use deltalake::checkpoints::cleanup_expired_logs_for;
use deltalake::table::config::TablePropertiesExt as _;
use serde::Serialize;

use super::{UpkeepError, open};
use crate::lake::{LakeError, TableLocation, now_ms};

/// What a checkpoint of the log came to.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckpointReport {
    /// The version that the newest checkpoint holds now.
    pub version: u64,
    /// Whether it was written by this call; there is nothing to do if the newest version has one.
    pub written: bool,
    /// From the call to its return.
    pub seconds: f64,
}

/// What cleaning the log up came to.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LogCleanReport {
    /// Commits and checkpoints removed.
    pub files: u64,
    /// How long the log is kept, in hours.
    pub retain_hours: f64,
    /// From the call to its return.
    pub seconds: f64,
}

/// Writes a checkpoint of the newest version, unless it has one or there were fewer than `after`
/// commits since the last.
///
/// Transaction versions are in it, so that streams go on where they were.
///
/// # Errors
/// See [`UpkeepError`].
pub async fn checkpoint(
    location: &TableLocation,
    after: u64,
) -> Result<CheckpointReport, UpkeepError> {
    let started = Instant::now();
    let table = open(location).await?;
    let snapshot = table.snapshot(None).await?;
    let version = snapshot.version();
    let newest = table.checkpoint_version().await?;
    if let Some(newest) = newest
        && version < newest.saturating_add(after.max(1))
    {
        let seconds = started.elapsed().as_secs_f64();
        return Ok(CheckpointReport { version: newest, written: false, seconds });
    }
    let trouble = |e| UpkeepError::delta("write a checkpoint of", &table.table, e);
    let scan = snapshot.scan_builder().build().map_err(trouble)?;
    let (kernel, engine) = (scan.snapshot().clone(), table.store.engine(None));
    tokio::task::spawn_blocking(move || kernel.checkpoint(engine.as_ref(), None).map(|_| ()))
        .await
        .map_err(|e| UpkeepError::internal(&table.table, e))?
        .map_err(|e| trouble(e.into()))?;
    let seconds = started.elapsed().as_secs_f64();
    Ok(CheckpointReport { version, written: true, seconds })
}

/// Removes commits and checkpoints that are older than the table keeps them
/// (`delta.logRetentionDuration`, 30 days unless the table says otherwise) and that no version within
/// that time needs. A log without a checkpoint is left as it is, and so is one whose table has
/// `delta.enableExpiredLogCleanup = false`.
///
/// # Errors
/// See [`UpkeepError`].
pub async fn clean_log(location: &TableLocation) -> Result<LogCleanReport, UpkeepError> {
    let started = Instant::now();
    let table = open(location).await?;
    let snapshot = table.snapshot(None).await?;
    let properties = snapshot.table_properties();
    let retain: Duration = properties.log_retention_duration();
    let mut report =
        LogCleanReport { retain_hours: retain.as_secs_f64() / 3600.0, ..Default::default() };
    if properties.enable_expired_log_cleanup()
        && let Some(version) = table.checkpoint_version().await?
    {
        let keep = i64::try_from(retain.as_millis()).unwrap_or(i64::MAX);
        let cutoff = now_ms().saturating_sub(keep);
        let removed = cleanup_expired_logs_for(version, table.store.as_ref(), cutoff, None)
            .await
            .map_err(|e| LakeError::from_delta("clean up the log of", &table.table, e))?;
        report.files = removed as u64;
    }
    report.seconds = started.elapsed().as_secs_f64();
    Ok(report)
}
