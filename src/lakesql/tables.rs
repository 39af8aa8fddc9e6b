//! The tables of a query: found in the catalogue, opened at their versions.

use std::sync::Arc;

use chrono::DateTime;
use datafusion::catalog::TableProvider;
use datafusion::execution::session_state::SessionState;
use deltalake::DeltaTable;
use deltalake::logstore::LogStoreRef;
use deltalake::logstore::object_store::ObjectStoreExt;
use serde::Deserialize;

use super::LakeSqlError;
use crate::catalog::TableEntry;
use crate::lake::LakeError;

/// A version of a table that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum At {
    Newest,
    Version(i64),
    /// The newest that was committed by then, in microseconds since the Unix epoch.
    Time(i64),
}

/// Opens a table at a version.
///
/// # Errors
/// There is no such table or version; its log cannot be read, and then which file is at fault.
pub(super) async fn open(entry: &TableEntry, at: At) -> Result<DeltaTable, LakeSqlError> {
    let Some(existing) = entry.location.existing().await? else {
        return Err(entry.location.absent().into());
    };
    let mut table = existing.delta().await?;
    let newest = table.version().unwrap_or_default();
    let version = match at {
        At::Newest => return Ok(table),
        At::Version(version) => version,
        At::Time(us) => version_at(&table.log_store(), entry, us, newest).await?,
    };
    let wrong = |reason: String| LakeSqlError::Version {
        table: entry.shown(),
        asked: format!("version {version}"),
        reason,
    };
    let Some(wanted) = u64::try_from(version).ok().filter(|wanted| *wanted <= newest) else {
        return Err(wrong(format!("its newest is {newest}; DESCRIBE HISTORY lists them")));
    };
    if wanted == newest {
        return Ok(table);
    }
    match table.load_version(wanted).await {
        Ok(()) => {
            existing.snapshot(table.version()).await?;
            Ok(table)
        }
        // A commit that is gone is a fault of the log only if it should be there.
        Err(_) if earliest(&table.log_store(), newest).await? > wanted => Err(wrong(
            "its log was cleaned up (delta.logRetentionDuration); DESCRIBE HISTORY lists what is \
             left"
                .to_owned(),
        )),
        Err(error) => Err(existing.explained("read the log of", error).await.into()),
    }
}

/// The table as DataFusion reads it: files and row groups that cannot match are left out, columns
/// that are not named are not read, deleted rows are not seen.
///
/// # Errors
/// The table asks something of readers that is not done here.
pub(super) async fn provider(
    entry: &TableEntry,
    at: At,
    state: &SessionState,
) -> Result<Arc<dyn TableProvider>, LakeSqlError> {
    let table = open(entry, at).await?;
    let provider = table.table_provider().with_session(Arc::new(state.clone())).build().await?;
    Ok(Arc::new(provider))
}

/// The newest version that was committed at a time or before it.
async fn version_at(
    store: &LogStoreRef,
    entry: &TableEntry,
    us: i64,
    newest: u64,
) -> Result<i64, LakeSqlError> {
    // Commits that are there are the newest ones, without a gap: the search is binary.
    let (mut low, mut high) = (0, newest + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        let after = committed_us(store, entry, middle).await?.is_some_and(|at| at > us);
        if after { high = middle } else { low = middle + 1 }
    }
    let found = low.checked_sub(1);
    let known = match found {
        Some(found) => committed_us(store, entry, found).await?.is_some(),
        None => false,
    };
    match found {
        Some(found) if known => Ok(i64::try_from(found).unwrap_or(i64::MAX)),
        _ => {
            let first = committed_us(store, entry, low.min(newest)).await?;
            Err(LakeSqlError::Version {
                table: entry.shown(),
                asked: format!("version as of {}", shown_time(us)),
                reason: match first {
                    Some(first) => {
                        format!("the oldest in its log is {low}, of {}", shown_time(first))
                    }
                    None => "its log does not reach so far back".to_owned(),
                },
            })
        }
    }
}

/// The oldest version whose commit is in the log.
async fn earliest(store: &LogStoreRef, newest: u64) -> Result<u64, LakeSqlError> {
    let (mut low, mut high) = (0, newest);
    while low < high {
        let middle = low + (high - low) / 2;
        let there = store.read_commit_entry(middle).await;
        let there = there.map_err(|e| LakeError::from_delta("read the log of", "", e))?;
        if there.is_some() { high = middle } else { low = middle + 1 }
    }
    Ok(low)
}

/// When a version was committed, in microseconds: what its commit says. `None`: it is not there.
pub(super) async fn committed_us(
    store: &LogStoreRef,
    entry: &TableEntry,
    version: u64,
) -> Result<Option<i64>, LakeSqlError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Line {
        commit_info: Option<Info>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Info {
        timestamp: Option<i64>,
        in_commit_timestamp: Option<i64>,
    }
    let uri = entry.location.uri();
    let bytes = store
        .read_commit_entry(version)
        .await
        .map_err(|error| LakeError::from_delta("read the log of", uri, error))?;
    let Some(bytes) = bytes else { return Ok(None) };
    for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let line: Line = serde_json::from_slice(line)
            .map_err(|error| LakeError::log(uri, format!("version {version}: {error}")))?;
        if let Some(info) = line.commit_info
            && let Some(ms) = info.in_commit_timestamp.or(info.timestamp)
        {
            return Ok(Some(ms.saturating_mul(1_000)));
        }
    }
    // Other writers may leave it out: then it is the file's own time.
    let path = deltalake::logstore::commit_uri_from_version(Some(version));
    let objects = store.object_store(None);
    let object = ObjectStoreExt::head(&objects, &path);
    let meta = object.await.map_err(|error| LakeError::io("read", path.to_string(), error))?;
    Ok(Some(meta.last_modified.timestamp_micros()))
}

/// A time as messages show it.
pub(super) fn shown_time(us: i64) -> String {
    DateTime::from_timestamp_micros(us)
        .map_or_else(|| us.to_string(), |time| time.format("%Y-%m-%d %H:%M:%S%.3f UTC").to_string())
}
