//! Tables that are there: opening them for everything but appending.

use deltalake::DeltaTable;
use deltalake::kernel::{Snapshot, Version};
use deltalake::logstore::LogStoreRef;

use super::{LakeError, TableLocation, damage};

impl TableLocation {
    /// Opens the storage of a table that exists; `None` where there is no table. Nothing is
    /// created.
    ///
    /// # Errors
    /// [`LakeError::Location`], [`LakeError::Io`].
    pub(crate) async fn existing(&self) -> Result<Option<ExistingTable>, LakeError> {
        if self.local_path().is_some_and(|path| !path.is_dir()) {
            return Ok(None);
        }
        self.check_credentials().await?;
        let store = self.log_store()?;
        let table = super::table::shown_uri(&store);
        let found = store.is_delta_table_location().await;
        let found = found.map_err(|e| LakeError::from_delta("read the log of", &table, e))?;
        Ok(found.then_some(ExistingTable { store, table }))
    }

    /// The error for an address without a table.
    pub(crate) fn absent(&self) -> LakeError {
        let reason = match self.local_path() {
            Some(path) if !path.exists() => "there is no such directory",
            _ => "there is no Delta table: it has no _delta_log with a version in it",
        };
        LakeError::Location { uri: self.uri().to_owned(), reason: reason.to_owned() }
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
        damage::check_log(&snapshot, &self.table)?;
        Ok(snapshot)
    }

    /// The table as deltalake's operations know it, at its newest version.
    pub async fn delta(&self) -> Result<DeltaTable, LakeError> {
        let mut table = DeltaTable::new(self.store.clone());
        if let Err(error) = table.load().await {
            return Err(self.explained("read the log of", error).await);
        }
        // deltalake's own does not tell what it is made of.
        self.snapshot(table.version()).await?;
        Ok(table)
    }

    /// The version of the newest checkpoint that `_last_checkpoint` names.
    pub async fn checkpoint_version(&self) -> Result<Option<Version>, LakeError> {
        super::table::last_checkpoint(&self.store, &self.table).await
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
