//! Upkeep of Delta tables: OPTIMIZE (compaction and z-order), VACUUM, RESTORE, checkpoints and
//! clean-up of the log, and what there is to be read about a table: its history, details and files.
//!
//! Everything here runs beside live writers. What is rewritten is committed only if nobody has
//! changed the very files meanwhile (see [`crate::lake`]), and is chosen again if somebody has;
//! nothing that a version within the retention names is removed, nor what a writer may be about to
//! commit ([`vacuum`]).
//!
//! The work is done by threads of its own, so that the caller's runtime stays free; dropping the
//! future of an operation, or [`Progress::cancelled`], ends them at the next batch of rows. What
//! they have written by then is not part of the table, and a later [`vacuum`] removes it.

mod detail;
mod error;
mod files;
mod filter;
mod history;
mod log;
mod optimize;
mod plan;
mod pool;
mod progress;
mod restore;
mod schedule;
mod time;
mod vacuum;
mod zorder;

#[cfg(test)]
pub(crate) mod tests;

pub use detail::{TableDetail, detail};
pub use error::UpkeepError;
pub use files::{FileEntry, files};
pub use history::{HistoryEntry, history};
pub use log::{CheckpointReport, LogCleanReport, checkpoint, clean_log};
pub use optimize::{OptimizeOptions, OptimizeReport, optimize};
pub use plan::Selection;
pub use progress::{NoProgress, Progress};
pub use restore::{RestoreReport, RestoreTo, restore};
pub use schedule::{Agenda, Schedule, Task};
pub use time::parse_timestamp;
pub use vacuum::{UNTRACKED_GRACE, VacuumOptions, VacuumReport, vacuum};

use crate::lake::{ExistingTable, TableLocation};

/// As [`open`], to be written to: its store has to keep writers apart.
async fn open_to_write(location: &TableLocation) -> Result<ExistingTable, UpkeepError> {
    let table = open(location).await?;
    location.check_writable().await?;
    Ok(table)
}

/// Opens a table that has to be there.
async fn open(location: &TableLocation) -> Result<ExistingTable, UpkeepError> {
    location
        .existing()
        .await?
        .ok_or_else(|| UpkeepError::NoTable { location: location.uri().to_owned() })
}
