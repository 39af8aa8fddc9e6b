//! Files that a ledger has promised to a table: a vacuum must leave them where they are.
//!
//! Between the moment an epoch becomes durable and the commit that follows it, the ledger alone knows
//! of the epoch's files. Usually that is a moment; after a kill it lasts until the next start.

use std::collections::BTreeSet;

use crate::checkpoint::{CheckpointError, CheckpointStore};
use crate::config::Settings;
use crate::lake::{Add, TableLocation};
use crate::upkeep::UpkeepError;

/// Why it cannot be said which files are promised.
#[derive(Debug, thiserror::Error)]
pub enum PromisedError {
    /// The ledger.
    #[error("the checkpoint, which knows of files that are still to be committed: {0}")]
    Ledger(#[from] CheckpointError),
    /// The table.
    #[error(transparent)]
    Table(#[from] UpkeepError),
}

/// The files that the newest epoch of a ledger has for the table at this address, relative to it.
pub(super) fn of_store(
    store: &CheckpointStore,
    table: &str,
) -> Result<BTreeSet<String>, CheckpointError> {
    let Some(latest) = store.latest()? else { return Ok(BTreeSet::new()) };
    let table = table.trim_end_matches('/');
    Ok(latest
        .epoch
        .precommits
        .iter()
        .filter(|precommit| precommit.table.trim_end_matches('/') == table)
        .flat_map(|precommit| &precommit.adds)
        .filter_map(|add| serde_json::from_value::<Add>(add.clone()).ok())
        .map(|add| add.path)
        .collect())
}

/// The files that a stopped daemon with this configuration is still to commit to a table. None while
/// the daemon runs: what it holds then is younger than any vacuum takes.
///
/// # Errors
/// [`PromisedError`] if there is a ledger and it cannot be read.
pub fn promised_files(
    settings: &Settings,
    location: &TableLocation,
) -> Result<BTreeSet<String>, PromisedError> {
    let directory = &settings.checkpoint.directory;
    // Opening a ledger makes one.
    if !directory.is_dir() {
        return Ok(BTreeSet::new());
    }
    let store = match CheckpointStore::open(directory) {
        Ok(store) => store,
        Err(CheckpointError::Locked { .. }) => return Ok(BTreeSet::new()),
        Err(error) => return Err(error.into()),
    };
    // As the committer calls it: made absolute, links resolved.
    let table = match location.local_path() {
        Some(path) => path.canonicalize().unwrap_or(path).display().to_string(),
        None => location.uri().to_owned(),
    };
    Ok(of_store(&store, &table)?)
}
