//! DESCRIBE HISTORY: what was done to a table, newest first.

use chrono::{DateTime, Utc};
use deltalake::kernel::{CommitInfo, Version};
use deltalake::logstore::object_store::ObjectStoreExt;
use deltalake::logstore::{commit_uri_from_version, object_store};
use futures::{StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};

use super::{UpkeepError, open};
use crate::lake::damage::{commit_reads, damaged};
use crate::lake::{ExistingTable, LakeError, TableLocation};

/// Commits that are read at a time.
const PARALLEL: usize = 16;

/// One version of a table, as its commit describes it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HistoryEntry {
    /// Which.
    pub version: u64,
    /// When it was committed, by the writer's clock.
    #[serde(serialize_with = "rfc3339")]
    pub timestamp: Option<DateTime<Utc>>,
    /// `WRITE`, `MERGE`, `OPTIMIZE`, ...
    pub operation: Option<String>,
    /// The operation's parameters.
    pub operation_parameters: Map<String, Value>,
    /// What the operation came to: `numFiles`, `numOutputRows`, ...
    pub operation_metrics: Map<String, Value>,
    /// Who.
    pub user_name: Option<String>,
    /// By what program.
    pub engine_info: Option<String>,
    /// The version that the writer had read.
    pub read_version: Option<u64>,
    /// `Serializable`, `WriteSerializable`, ...
    pub isolation_level: Option<String>,
    /// Whether the writer only added rows, without reading any.
    pub is_blind_append: Option<bool>,
    /// The writer's own words.
    pub user_metadata: Option<String>,
}

fn rfc3339<S: Serializer>(time: &Option<DateTime<Utc>>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => {
            serializer.serialize_str(&time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true))
        }
        None => serializer.serialize_none(),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    commit_info: Option<CommitInfo>,
}

/// The newest `limit` versions that are in the log, newest first; all without `limit`.
///
/// # Errors
/// [`LakeError::Damaged`] names a commit that cannot be read; see [`UpkeepError`].
pub async fn history(
    location: &TableLocation,
    limit: Option<usize>,
) -> Result<Vec<HistoryEntry>, UpkeepError> {
    let table = open(location).await?;
    let newest = table.snapshot(None).await?.version();
    let limit = limit.unwrap_or(usize::MAX);
    let entries = futures::stream::iter((0..=newest).rev().take(limit))
        .map(|version| read(&table, version))
        .buffered(PARALLEL);
    let mut entries = std::pin::pin!(entries);
    let mut history = Vec::new();
    // Older commits than the last one found were cleaned up.
    while let Some(Some(entry)) = entries.try_next().await? {
        history.push(entry);
    }
    Ok(history)
}

/// The oldest version whose commit is in the log, and its time.
pub(super) async fn earliest(
    table: &ExistingTable,
) -> Result<Option<(Version, DateTime<Utc>)>, UpkeepError> {
    let newest = table.snapshot(None).await?.version();
    // Commits that are there are the newest ones, without a gap.
    let (mut low, mut high) = (0, newest);
    while low < high {
        let middle = low + (high - low) / 2;
        if exists(table, middle).await? { high = middle } else { low = middle + 1 }
    }
    let entry = read(table, low).await?;
    Ok(entry.and_then(|entry| Some((entry.version, entry.timestamp?))))
}

async fn exists(table: &ExistingTable, version: Version) -> Result<bool, UpkeepError> {
    let path = commit_uri_from_version(Some(version));
    match table.store.object_store(None).head(&path).await {
        Ok(_) => Ok(true),
        Err(object_store::Error::NotFound { .. }) => Ok(false),
        Err(e) => Err(LakeError::io("read", path.to_string(), e).into()),
    }
}

async fn read(
    table: &ExistingTable,
    version: Version,
) -> Result<Option<HistoryEntry>, UpkeepError> {
    let path = commit_uri_from_version(Some(version));
    let objects = table.store.object_store(None);
    let found = match objects.get(&path).await {
        Ok(found) => found,
        Err(object_store::Error::NotFound { .. }) => return Ok(None),
        Err(e) => return Err(LakeError::io("read", path.to_string(), e).into()),
    };
    let written = found.meta.last_modified;
    let bytes = found.bytes().await.map_err(|e| LakeError::io("read", path.to_string(), e))?;
    commit_reads(&bytes).map_err(|reason| damaged(&table.table, &path, &reason))?;
    let mut info = bytes
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.iter().all(u8::is_ascii_whitespace))
        .filter_map(|line| serde_json::from_slice::<Line>(line).ok()?.commit_info)
        .next()
        .unwrap_or_default();
    let object = |value: Option<Value>| match value {
        Some(Value::Object(map)) => map,
        _ => Map::new(),
    };
    let millis = info.in_commit_timestamp.or(info.timestamp);
    Ok(Some(HistoryEntry {
        version,
        timestamp: millis.map_or(Some(written), DateTime::from_timestamp_millis),
        operation: info.operation,
        operation_parameters: info
            .operation_parameters
            .unwrap_or_default()
            .into_iter()
            .collect::<std::collections::BTreeMap<_, _>>()
            .into_iter()
            .collect(),
        operation_metrics: object(info.info.remove("operationMetrics")),
        user_name: info.user_name,
        engine_info: info.engine_info,
        read_version: info.read_version,
        isolation_level: info
            .isolation_level
            .and_then(|level| serde_json::to_value(level).ok()?.as_str().map(str::to_owned)),
        is_blind_append: info.is_blind_append,
        user_metadata: info.user_metadata,
    }))
}
