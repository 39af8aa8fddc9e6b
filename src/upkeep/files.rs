//! The data files of a table.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::filter::PartitionFilter;
use super::plan::candidates;
use super::{UpkeepError, open};
use crate::lake::{TableLocation, rows_of};

/// A data file of the newest version.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FileEntry {
    /// Relative to the table.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// Rows by its statistics, less those that its deletion vector hides.
    pub rows: u64,
    /// The values of the partition columns.
    pub partition: BTreeMap<String, Option<String>>,
    /// When it was written.
    pub modified: Option<DateTime<Utc>>,
    /// Rows that its deletion vector hides.
    pub deleted_rows: u64,
}

/// The files of the newest version, oldest first, of the partitions that `filter` means.
///
/// # Errors
/// [`UpkeepError::Filter`] for a condition on other columns than those of the partitions.
pub async fn files(
    location: &TableLocation,
    filter: Option<&str>,
) -> Result<Vec<FileEntry>, UpkeepError> {
    let table = open(location).await?;
    let snapshot = table.snapshot(None).await?;
    let filter = filter.map(|text| PartitionFilter::new(&table.table, &snapshot, text));
    let files = candidates(&table, &snapshot, filter.transpose()?.as_ref()).await?;
    Ok(files
        .into_iter()
        .map(|file| {
            let deleted = file.add.deletion_vector.as_ref().map_or(0, |vector| vector.cardinality);
            let deleted_rows = u64::try_from(deleted).unwrap_or(0);
            FileEntry {
                size: file.bytes(),
                rows: rows_of(&file.add).saturating_sub(deleted_rows),
                modified: DateTime::from_timestamp_millis(file.add.modification_time),
                path: file.add.path,
                partition: file.add.partition_values.into_iter().collect(),
                deleted_rows,
            }
        })
        .collect())
}
