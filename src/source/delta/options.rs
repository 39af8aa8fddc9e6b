//! What a Delta source is made of.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::lake::TableLocation;

/// What a [`super::DeltaSource`] is made of. [`DeltaOptions::new`] has the defaults.
#[derive(Debug, Clone)]
pub struct DeltaOptions {
    /// Where the table is, as of a [`TableLocation`].
    pub path: String,
    /// Options of its object store, as [`store`](crate::lake::store) has them; never credentials.
    pub storage_options: BTreeMap<String, String>,
    /// Where to begin without a checkpoint.
    pub start: DeltaStart,
    /// Read changes (inserted, updated and deleted rows) rather than appended rows: the rows then
    /// have the columns `_change_type STRING`, `_commit_version BIGINT` and `_commit_timestamp
    /// TIMESTAMP` as well.
    pub change_feed: bool,
    /// What to do with versions that do not only append; of no meaning with `change_feed`.
    pub rewrites: Rewrites,
    /// At most so many files are begun between two barriers.
    pub max_files_per_trigger: Option<usize>,
    /// How often a new version is looked for.
    pub poll_interval: Duration,
}

/// Where to begin without a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeltaStart {
    /// With all rows of the newest version there is then, and after that with what follows.
    Snapshot,
    /// With what this version changed. It must still be in the log.
    Version(i64),
    /// With the first version that was committed at this time or later, in microseconds since the
    /// Unix epoch; with what follows if there is none yet.
    Timestamp(i64),
    /// With what follows.
    Latest,
}

/// What to do with a version that deletes or rewrites rows, where appended rows are read. The
/// names are those of Spark's options.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rewrites {
    /// Versions that only delete are left out.
    pub ignore_deletes: bool,
    /// Versions that rewrite files give all rows of the new files: those that were not changed
    /// come again. Versions that only delete are left out.
    pub ignore_changes: bool,
    /// Versions that delete or rewrite anything are left out altogether.
    pub skip_change_commits: bool,
}

impl DeltaOptions {
    /// The defaults, for the table at `location`.
    pub fn at(location: &TableLocation) -> Self {
        let storage_options = location.storage_options().clone();
        Self { storage_options, ..Self::new(location.uri()) }
    }

    /// Where the table is.
    pub fn location(&self) -> TableLocation {
        TableLocation::new(self.path.as_str()).with_storage_options(self.storage_options.clone())
    }

    /// The defaults, for the table at `path`.
    pub fn new(path: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            storage_options: BTreeMap::new(),
            start: DeltaStart::Snapshot,
            change_feed: false,
            rewrites: Rewrites::default(),
            max_files_per_trigger: None,
            poll_interval: Duration::from_secs(1),
        }
    }
}
