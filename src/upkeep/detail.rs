//! DESCRIBE DETAIL: what a table is and how large.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use serde::Serialize;

use super::plan::candidates;
use super::{UpkeepError, history, open};
use crate::lake::{TableLocation, rows_of};

/// What a table is. The names are those of Spark's `DESCRIBE DETAIL`; those after `tableFeatures`
/// are our own.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TableDetail {
    /// `delta`.
    pub format: &'static str,
    /// The table's own identifier.
    pub id: String,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// Its description, if it has one.
    pub description: Option<String>,
    /// Where it is.
    pub location: String,
    /// When it was made.
    pub created_at: Option<DateTime<Utc>>,
    /// When its newest version was committed.
    pub last_modified: Option<DateTime<Utc>>,
    /// Outermost directory first.
    pub partition_columns: Vec<String>,
    /// Data files of the newest version.
    pub num_files: u64,
    /// Their bytes.
    pub size_in_bytes: u64,
    /// `delta.appendOnly` and the like.
    pub properties: BTreeMap<String, String>,
    /// The protocol's version that readers need.
    pub min_reader_version: i32,
    /// The protocol's version that writers need.
    pub min_writer_version: i32,
    /// Table features of the protocol.
    pub table_features: Vec<String>,
    /// The newest version.
    pub version: u64,
    /// Rows by the files' statistics, less those that deletion vectors hide.
    pub num_rows: u64,
    /// Files under three quarters of 128 MiB, or of the table's `delta.targetFileSize`: what
    /// OPTIMIZE would merge.
    pub num_small_files: u64,
    /// Files with deletion vectors.
    pub num_files_with_deletion_vectors: u64,
    /// The version of the log's newest checkpoint. Reading the table means reading it and every
    /// commit since.
    pub checkpoint_version: Option<u64>,
    /// Commits that are in the log.
    pub num_commits_in_log: u64,
    /// Bytes of the log.
    pub log_size_in_bytes: u64,
}

/// Reads what there is to know about a table.
///
/// # Errors
/// See [`UpkeepError`].
pub async fn detail(location: &TableLocation) -> Result<TableDetail, UpkeepError> {
    use deltalake::table::config::TablePropertiesExt as _;
    let table = open(location).await?;
    let snapshot = table.snapshot(None).await?;
    let files = candidates(&table, &snapshot, None).await?;
    let metadata = snapshot.metadata();
    let protocol = snapshot.protocol();
    let target = if metadata.configuration().contains_key("delta.targetFileSize") {
        snapshot.table_properties().target_file_size().get()
    } else {
        super::OptimizeOptions::TARGET_SIZE
    };
    let mut features: Vec<String> = protocol
        .reader_features()
        .unwrap_or_default()
        .iter()
        .chain(protocol.writer_features().unwrap_or_default())
        .map(ToString::to_string)
        .collect();
    features.sort();
    features.dedup();
    let hidden: u64 = files
        .iter()
        .filter_map(|file| u64::try_from(file.add.deletion_vector.as_ref()?.cardinality).ok())
        .sum();
    let rows: u64 = files.iter().map(|file| rows_of(&file.add)).sum();
    let log: Vec<_> = table
        .store
        .object_store(None)
        .list(Some(table.store.log_path()))
        .try_collect()
        .await
        .map_err(|e| crate::lake::LakeError::io("list the log of", table.table.as_str(), e))?;
    let commits = log.iter().filter(|meta| {
        meta.location.filename().is_some_and(|name| name.len() == 25 && name.ends_with(".json"))
    });
    let newest = history(location, Some(1)).await?;
    Ok(TableDetail {
        format: "delta",
        id: metadata.id().to_owned(),
        name: metadata.name().map(str::to_owned),
        description: metadata.description().map(str::to_owned),
        location: table.table.clone(),
        created_at: metadata.created_time().and_then(DateTime::from_timestamp_millis),
        last_modified: newest.first().and_then(|entry| entry.timestamp),
        partition_columns: metadata.partition_columns().to_vec(),
        num_files: files.len() as u64,
        size_in_bytes: files.iter().map(super::plan::Candidate::bytes).sum(),
        properties: metadata.configuration().iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
        min_reader_version: protocol.min_reader_version(),
        min_writer_version: protocol.min_writer_version(),
        table_features: features,
        version: snapshot.version(),
        num_rows: rows.saturating_sub(hidden),
        num_small_files: files.iter().filter(|file| file.bytes() < target / 4 * 3).count() as u64,
        num_files_with_deletion_vectors: files
            .iter()
            .filter(|file| file.add.deletion_vector.is_some())
            .count() as u64,
        checkpoint_version: table.checkpoint_version().await?,
        num_commits_in_log: commits.count() as u64,
        log_size_in_bytes: log.iter().map(|meta| meta.size).sum(),
    })
}
