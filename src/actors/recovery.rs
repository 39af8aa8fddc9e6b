//! What a generation starts from: the last durable epoch, held against the tables.
//!
//! The ledger says what was promised, the tables' transactions say what was done. Where both agree
//! or the ledger is ahead, recovery finishes what was promised. Where a table is ahead, somebody
//! else wrote it or the checkpoint was lost, and going on would write rows twice: recovery refuses,
//! unless it has been told to take the positions from the tables.

use std::collections::BTreeMap;

use super::blueprint::SinkBlueprint;
use super::checkpoint_writer::{epoch_application, partition_application};
use super::retry::Retrying;
use crate::checkpoint::{Epoch, Position, PreCommit};
use crate::lake::{Add, LakeError, LakeTable};
use crate::source::PartitionId;

/// Why a generation can't start.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// A table has input that the checkpoint does not know of.
    #[error(
        "the table {table} already holds {partition} up to offset {found}, and the checkpoint knows \
         {}: the checkpoint was lost or is old, or another daemon writes this table; \
         stop the other daemon, or restore the checkpoint, or start once with --resume-from-table \
         to go on from the tables (windows that were open are then incomplete)",
        known.map_or_else(|| "nothing of it".to_owned(), |known| format!("it up to {known}"))
    )]
    TableAhead {
        /// The table's address.
        table: String,
        /// The partition.
        partition: PartitionId,
        /// The position in the checkpoint.
        known: Option<i64>,
        /// The position in the table.
        found: i64,
    },
    /// Files that an epoch made durable are gone before they could be committed.
    #[error(
        "the table {table} lacks {} of the files that epoch {epoch} promised it, for instance {}: \
         they were removed (a full vacuum does that) before they were committed; restore them, or \
         start once with --resume-from-table to read their rows again",
        files.len(), files.first().map_or("", String::as_str)
    )]
    FilesGone {
        /// The table's address.
        table: String,
        /// The epoch.
        epoch: u64,
        /// Their paths.
        files: Vec<String>,
    },
    /// The ledger holds a pre-commit that is not one.
    #[error("the checkpoint's pre-commit for {table} can't be read: {error}")]
    PreCommit {
        /// The table's address.
        table: String,
        /// Why.
        error: serde_json::Error,
    },
    /// The table itself.
    #[error(transparent)]
    Lake(#[from] LakeError),
}

impl RecoveryError {
    /// Whether trying again can help.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Lake(error) if error.is_transient())
    }

    /// Whether somebody else owns what this daemon wanted to write.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::TableAhead { .. } | Self::FilesGone { .. } => true,
            Self::Lake(error) => error.is_fenced(),
            Self::PreCommit { .. } => false,
        }
    }
}

/// Commits what `epoch` promised `table`, unless the table has it.
pub async fn finish_pre_commit(
    table: &mut LakeTable,
    application: &str,
    instance: &str,
    epoch: &Epoch,
    pre_commit: &PreCommit,
    retry: &Retrying,
) -> Result<(), RecoveryError> {
    if pre_commit.adds.is_empty() {
        return Ok(());
    }
    let own = epoch_application(application, instance);
    if table.transaction_version(&own).await? >= Some(epoch.number as i64) {
        return Ok(());
    }
    let adds: Vec<Add> = pre_commit
        .adds
        .iter()
        .map(|add| serde_json::from_value(add.clone()))
        .collect::<Result<_, _>>()
        .map_err(|error| RecoveryError::PreCommit { table: table.uri().to_owned(), error })?;
    let files = table.missing_files(&adds).await?;
    if !files.is_empty() {
        let table = table.uri().to_owned();
        return Err(RecoveryError::FilesGone { table, epoch: epoch.number, files });
    }
    // The table must be as it was when the files were made: whoever moved a partition's position
    // since then has written its rows.
    retry.commit(table, &adds, &pre_commit.transactions, &pre_commit.expected).await?;
    Ok(())
}

/// Where to read a partition from, and from where on each table wants its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartingPoint {
    /// The first offset to read.
    pub next: i64,
    /// The newest event time that was read before it.
    pub max_event_time: Option<i64>,
    /// By table: rows below this offset are there already.
    pub resume_at: BTreeMap<usize, i64>,
}

/// Chooses where to begin in a partition.
///
/// `in_tables` has, for every table that the partition feeds, the position that the table's last
/// commit carries. `start` is where a partition begins of which nothing is known.
pub fn starting_point(
    partition: &PartitionId,
    known: Option<Position>,
    in_tables: &[(usize, &SinkBlueprint, Option<i64>)],
    start: i64,
    resume_from_table: bool,
) -> Result<StartingPoint, RecoveryError> {
    let from_checkpoint = known.map_or(start, |position| position.next);
    let max_event_time = known.and_then(|position| position.max_event_time);
    let ahead = in_tables
        .iter()
        .find(|(_, _, found)| found.is_some_and(|found| known.is_none_or(|k| found > k.next)));
    let Some((_, table, found)) = ahead else {
        return Ok(StartingPoint {
            next: from_checkpoint,
            max_event_time,
            resume_at: BTreeMap::new(),
        });
    };
    if !resume_from_table {
        return Err(RecoveryError::TableAhead {
            table: table.address(),
            partition: partition.clone(),
            known: known.map(|position| position.next),
            found: found.unwrap_or_default(),
        });
    }
    // A table commits whenever an epoch has rows for it, so what it holds of a partition ends at
    // its own last commit, and everything from there on is read for it again.
    let resume_at: BTreeMap<usize, i64> = in_tables
        .iter()
        .map(|(index, _, found)| (*index, found.unwrap_or(from_checkpoint).max(from_checkpoint)))
        .collect();
    let next = resume_at.values().copied().min().unwrap_or(from_checkpoint);
    Ok(StartingPoint { next, max_event_time, resume_at })
}

/// What a table remembers of each of these partitions.
pub async fn positions_in_table(
    table: &LakeTable,
    application: &str,
    partitions: &[PartitionId],
) -> Result<Vec<Option<i64>>, LakeError> {
    let mut positions = Vec::with_capacity(partitions.len());
    for partition in partitions {
        let app = partition_application(application, partition);
        positions.push(table.transaction_version(&app).await?);
    }
    Ok(positions)
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::Schema;

    use super::*;
    use crate::actors::blueprint::{Feeds, SinkTarget};
    use crate::lake::TableSpec;

    fn table(name: &str) -> SinkBlueprint {
        SinkBlueprint {
            sink: name.into(),
            target: SinkTarget::Table(TableSpec::new(name, Schema::empty().into())),
            application: format!("millpond/test/{name}"),
            feeds_from: Feeds::Query(0),
            sources: vec!["logs".into()],
            stateful: false,
            misfits_to_dead_letters: false,
        }
    }

    fn at(next: i64) -> Option<Position> {
        Some(Position { next, max_event_time: Some(5) })
    }

    #[test]
    fn without_a_past_it_begins_at_the_start() {
        let (p, t) = (PartitionId::new("logs", "web-0"), table("bronze"));
        let point = starting_point(&p, None, &[(0, &t, None)], 17, false).unwrap();
        assert_eq!((point.next, point.max_event_time), (17, None));
    }

    #[test]
    fn a_table_at_or_behind_the_checkpoint_is_what_a_crash_leaves() {
        let (p, t) = (PartitionId::new("logs", "web-0"), table("bronze"));
        for found in [None, Some(90), Some(100)] {
            let point = starting_point(&p, at(100), &[(0, &t, found)], 17, false).unwrap();
            assert_eq!((point.next, point.max_event_time), (100, Some(5)));
            assert!(point.resume_at.is_empty());
        }
    }

    #[test]
    fn a_table_ahead_is_refused_and_the_flag_named() {
        let (p, t) = (PartitionId::new("logs", "web-0"), table("bronze"));
        for known in [None, at(100)] {
            let error = starting_point(&p, known, &[(0, &t, Some(101))], 17, false).unwrap_err();
            assert!(error.is_refusal());
            assert!(error.to_string().contains("--resume-from-table"), "{error}");
        }
    }

    #[test]
    fn resuming_from_tables_reads_for_each_what_it_lacks() {
        let p = PartitionId::new("logs", "web-0");
        let (a, b, c) = (table("a"), table("b"), table("c"));
        let tables = [(0, &a, Some(200)), (1, &b, Some(150)), (2, &c, None)];
        let point = starting_point(&p, None, &tables, 10, true).unwrap();
        assert_eq!(point.next, 10);
        assert_eq!(point.resume_at, BTreeMap::from([(0, 200), (1, 150), (2, 10)]));
    }
}
