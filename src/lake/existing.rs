//! Tables that are there: opening them for everything but appending.

use std::collections::BTreeMap;
use std::fmt;

use arrow::datatypes::Schema;
use deltalake::DeltaTable;
use deltalake::kernel::{Snapshot, Version};
use deltalake::logstore::LogStoreRef;

use super::{LakeError, TableSpec, damage, location};

/// Where a table is: an address, and what its object store has to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableLocation {
    /// A local path, a `file://` URL, or the URL of an object store.
    pub uri: String,
    /// Options of the object store (`AWS_ENDPOINT_URL`, ...); none for local tables.
    pub storage_options: BTreeMap<String, String>,
}

impl TableLocation {
    /// The table at `uri`, without options.
    pub fn new(uri: impl Into<String>) -> Self {
        Self { uri: uri.into(), storage_options: BTreeMap::new() }
    }

    /// Opens the storage of a table that exists; `None` where there is no table. Nothing is
    /// created.
    ///
    /// # Errors
    /// [`LakeError::Location`], [`LakeError::Io`].
    pub(crate) async fn open(&self) -> Result<Option<ExistingTable>, LakeError> {
        if let Some(path) = location::local_path(&self.uri)
            && !path.is_dir()
        {
            // Opening the storage would make the directory.
            return Ok(None);
        }
        let mut spec = TableSpec::new(self.uri.as_str(), Schema::empty().into());
        spec.storage_options = self.storage_options.clone();
        let store = location::log_store(&spec)?;
        let table = super::table::shown_uri(&store);
        let found = store.is_delta_table_location().await;
        let found = found.map_err(|e| LakeError::from_delta("read the log of", &table, e))?;
        Ok(found.then_some(ExistingTable { store, table }))
    }
}

impl fmt::Display for TableLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.uri)
    }
}

/// A table that exists.
#[derive(Clone)]
pub(crate) struct ExistingTable {
    pub store: LogStoreRef,
    /// How messages call it.
    pub table: String,
}

impl ExistingTable {
    /// One version of the table, the newest without `version`. What it is made of is looked at
    /// first, so that a version which is empty or missing is not taken for one without changes.
    ///
    /// # Errors
    /// [`LakeError::Damaged`] names the file; [`LakeError::Io`], [`LakeError::Log`].
    pub async fn snapshot(&self, version: Option<Version>) -> Result<Snapshot, LakeError> {
        let snapshot = match Snapshot::try_new(self.store.as_ref(), version).await {
            Ok(snapshot) => snapshot,
            Err(error) => return Err(self.explained("read the log of", error).await),
        };
        damage::check_commits(&self.store, &self.table, snapshot.version()).await?;
        Ok(snapshot)
    }

    /// The table as deltalake's operations know it, at its newest version.
    pub async fn delta(&self) -> Result<DeltaTable, LakeError> {
        let mut table = DeltaTable::new(self.store.clone());
        if let Err(error) = table.load().await {
            return Err(self.explained("read the log of", error).await);
        }
        if let Some(version) = table.version() {
            damage::check_commits(&self.store, &self.table, version).await?;
        }
        Ok(table)
    }

    /// An error of deltalake, or the damaged file that is behind it.
    pub async fn explained(
        &self,
        action: &'static str,
        error: deltalake::DeltaTableError,
    ) -> LakeError {
        match damage::find(&self.store, &self.table).await {
            Some(damaged) => damaged,
            None => LakeError::from_delta(action, &self.table, error),
        }
    }
}
