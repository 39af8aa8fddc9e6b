//! What a table is at a glance.

use chrono::{DateTime, Utc};
use deltalake::table::state::DeltaTableState;

use super::LakeSqlError;
use super::tables::{self, At, committed_us};
use crate::catalog::TableEntry;
use crate::lake::LakeError;

/// A table's newest version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overview {
    /// Its number.
    pub version: u64,
    /// Rows, less those that are deleted; `None` if its writers kept no statistics.
    pub rows: Option<u64>,
    /// Data files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When it was committed.
    pub last_commit: Option<DateTime<Utc>>,
}

/// Looks at a table. `None`: there is none yet.
///
/// # Errors
/// Its storage or its log cannot be read.
pub async fn overview(entry: &TableEntry) -> Result<Option<Overview>, LakeSqlError> {
    let table = match tables::open(entry, At::Newest).await {
        Ok(table) => table,
        Err(LakeSqlError::Lake(LakeError::Location { .. })) => return Ok(None),
        Err(error) => return Err(error),
    };
    let state: &DeltaTableState = table
        .snapshot()
        .map_err(|e| LakeError::from_delta("read the log of", entry.location.uri(), e))?;
    let mut overview =
        Overview { version: state.version(), rows: Some(0), files: 0, bytes: 0, last_commit: None };
    for file in state.log_data().iter() {
        overview.files += 1;
        overview.bytes += u64::try_from(file.size()).unwrap_or(0);
        let deleted = file
            .deletion_vector_descriptor()
            .map_or(0, |vector| u64::try_from(vector.cardinality).unwrap_or(0));
        overview.rows = match (overview.rows, file.num_records()) {
            (Some(rows), Some(more)) => Some(rows + (more as u64).saturating_sub(deleted)),
            _ => None,
        };
    }
    let committed = committed_us(&table.log_store(), entry, state.version()).await?;
    overview.last_commit = committed.and_then(DateTime::from_timestamp_micros);
    Ok(Some(overview))
}
