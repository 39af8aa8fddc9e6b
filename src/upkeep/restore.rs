//! RESTORE: the table's rows as they were once, as a new version.

use std::fmt;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use deltalake::DeltaTableError;
use deltalake::kernel::transaction::TransactionError;
use serde::Serialize;

use super::{Progress, UpkeepError, open_to_write};
use crate::lake::{ExistingTable, LakeError, TableLocation};

/// How often it is tried against writers that commit meanwhile.
const ATTEMPTS: u32 = 10;

/// Where a table is taken back to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestoreTo {
    /// This version.
    Version(u64),
    /// The newest version that was committed at this time or before.
    Timestamp(DateTime<Utc>),
}

impl fmt::Display for RestoreTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => write!(f, "version {version}"),
            Self::Timestamp(time) => write!(f, "{}", time.format("%Y-%m-%d %H:%M:%S%.f UTC")),
        }
    }
}

/// What RESTORE came to.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RestoreReport {
    /// The table's version afterwards.
    pub version: u64,
    /// The version whose rows it has.
    pub restored_version: u64,
    /// Files taken out.
    pub files_removed: u64,
    /// Files that came back.
    pub files_restored: u64,
    /// The table was there already: no version was made.
    pub unchanged: bool,
    /// From the call to its return.
    pub seconds: f64,
}

/// Makes a new version with the rows, columns and properties of an older one.
///
/// Transaction versions stay as they are: a stream that writes to the table goes on after what it
/// has committed, and does not write again what the restore took out.
///
/// # Errors
/// [`UpkeepError::Version`] where the log does not reach so far; [`UpkeepError::MissingFile`] where a
/// vacuum has removed a file of that version; [`UpkeepError::Conflict`] where others commit all the
/// time.
pub async fn restore(
    location: &TableLocation,
    to: RestoreTo,
    progress: &dyn Progress,
) -> Result<RestoreReport, UpkeepError> {
    let started = Instant::now();
    let table = open_to_write(location).await?;
    for attempt in 1..=ATTEMPTS {
        if progress.cancelled() {
            return Err(UpkeepError::Cancelled);
        }
        match once(&table, to, progress).await {
            Ok(Some(mut report)) => {
                report.seconds = started.elapsed().as_secs_f64();
                return Ok(report);
            }
            Ok(None) => tokio::time::sleep(Duration::from_millis(50 << attempt.min(6))).await,
            Err(error) => return Err(error),
        }
    }
    Err(UpkeepError::Conflict { table: table.table, files: 0, rounds: ATTEMPTS })
}

/// `None`: somebody else committed meanwhile.
async fn once(
    table: &ExistingTable,
    to: RestoreTo,
    progress: &dyn Progress,
) -> Result<Option<RestoreReport>, UpkeepError> {
    let beyond = |reason: String| UpkeepError::Version {
        table: table.table.clone(),
        asked: to.to_string(),
        reason,
    };
    let newest = table.delta().await?;
    let latest = newest.version().unwrap_or(0);
    let mut target = newest.clone();
    let loaded = match to {
        RestoreTo::Version(version) if version > latest => {
            return Err(beyond(format!("its newest version is {latest}")));
        }
        RestoreTo::Version(version) => target.load_version(version).await,
        RestoreTo::Timestamp(time) => {
            let first = super::history::earliest(table).await?;
            if let Some((version, at)) = first
                && time < at
            {
                return Err(beyond(format!(
                    "the oldest version in its log is {version}, of {}",
                    at.format("%Y-%m-%d %H:%M:%S%.f UTC")
                )));
            }
            target.load_with_datetime(time).await
        }
    };
    if let Err(error) = loaded {
        let explained = table.explained("read the log of", error).await;
        return Err(match explained {
            LakeError::Damaged { .. } | LakeError::Io { .. } => explained.into(),
            other => beyond(format!("the log does not have all of it any more ({other})")),
        });
    }
    let restored_version = target.version().unwrap_or(latest);
    if restored_version == latest {
        return Ok(Some(RestoreReport {
            version: latest,
            restored_version,
            unchanged: true,
            ..Default::default()
        }));
    }
    progress.begin("restoring", 0, 0);
    fail::fail_point!("upkeep::restore");
    let restored = newest.restore().with_version_to_restore(restored_version).await;
    match restored {
        Ok((after, metrics)) => {
            let files = metrics.num_restored_file + metrics.num_removed_file;
            progress.advance(files as u64, 0);
            Ok(Some(RestoreReport {
                version: after.version().unwrap_or(latest + 1),
                restored_version,
                files_removed: metrics.num_removed_file as u64,
                files_restored: metrics.num_restored_file as u64,
                ..Default::default()
            }))
        }
        Err(error) if conflict(&error) => Ok(None),
        Err(error) => {
            let text = error.to_string();
            // The error's type is private; its words are "Find missing file NAME when restore."
            let missing = text
                .split_once("Find missing file ")
                .and_then(|(_, rest)| rest.split_once(" when restore"));
            Err(match missing {
                Some((file, _)) => {
                    beyond(format!("its file {file} is not there any more: a vacuum removed it"))
                }
                None => table.explained("restore", error).await.into(),
            })
        }
    }
}

/// Whether somebody else committed between reading the table and writing to it.
fn conflict(error: &DeltaTableError) -> bool {
    matches!(
        error,
        DeltaTableError::VersionAlreadyExists(_)
            | DeltaTableError::Transaction {
                source: TransactionError::CommitConflict(_)
                    | TransactionError::MaxCommitAttempts(_)
                    | TransactionError::VersionAlreadyExists(_)
            }
    )
}
