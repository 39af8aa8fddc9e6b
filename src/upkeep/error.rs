//! What can go wrong with upkeep, told apart by who can do something about it.

use std::time::Duration;

use crate::lake::LakeError;
use crate::source::SourceError;

/// An error of an upkeep operation.
#[derive(Debug, thiserror::Error)]
pub enum UpkeepError {
    /// There is no table at that address.
    #[error("there is no Delta table at {location}: it has no _delta_log with a version in it")]
    NoTable {
        /// The address as it was given.
        location: String,
    },

    /// A column that the table does not have, or that cannot serve the purpose.
    #[error("column `{column}` of {table}: {reason}{}", nearest(suggestion))]
    Column {
        /// The table's address.
        table: String,
        /// The column as it was given.
        column: String,
        /// What is wrong with it.
        reason: String,
        /// The table's column whose name is nearest.
        suggestion: Option<String>,
    },

    /// A condition that cannot be evaluated on partitions.
    #[error("the condition `{filter}` on {table}: {reason}")]
    Filter {
        /// The table's address.
        table: String,
        /// The condition as it was given.
        filter: String,
        /// What is wrong with it.
        reason: String,
    },

    /// Files would be removed that the table promises to keep.
    #[error(
        "refused: {table} keeps removed files for {} (delta.deletedFileRetentionDuration), and {} \
         is less. Readers and time travel of that time would lose their files, and writers that \
         are slow to commit as well; force it if there are none",
        hours(minimum),
        hours(asked)
    )]
    Retention {
        /// The table's address.
        table: String,
        /// What was asked for.
        asked: Duration,
        /// The least that is safe.
        minimum: Duration,
    },

    /// A version or a time that the table's log does not reach.
    #[error("{table} cannot be taken back to {asked}: {reason}")]
    Version {
        /// The table's address.
        table: String,
        /// What was asked for.
        asked: String,
        /// Which versions there are.
        reason: String,
    },

    /// An option with a value that makes no sense.
    #[error("{option}: {reason}")]
    Option {
        /// Its name.
        option: &'static str,
        /// Why not.
        reason: String,
    },

    /// The table asks something of writers that is not done here.
    #[error("{table} cannot be rewritten by Millpond:{}", reasons.iter().map(|r| format!("\n  - {r}")).collect::<String>())]
    Unsupported {
        /// The table's address.
        table: String,
        /// Each feature or property in the way.
        reasons: Vec<String>,
    },

    /// Others changed the files again and again while they were rewritten. What was finished
    /// before stands.
    #[error(
        "{table}: others changed {files} of the files while they were being rewritten, {rounds} \
         times in a row; nothing is lost, and what could be committed was"
    )]
    Conflict {
        /// The table's address.
        table: String,
        /// Files that could not be replaced in the last round.
        files: usize,
        /// Rounds.
        rounds: u32,
    },

    /// A data file of the table is not there.
    #[error(
        "the data file {file} of {table} is missing: it was removed without a commit. \
         RESTORE to a version that does not have it, or put it back"
    )]
    MissingFile {
        /// The table's address.
        table: String,
        /// The file, relative to the table.
        file: String,
    },

    /// A data file cannot be read.
    #[error(transparent)]
    File(SourceError),

    /// The table, its log or its storage.
    #[error(transparent)]
    Lake(#[from] LakeError),

    /// Temporary files.
    #[error("could not {action} {path}: {source}")]
    Spill {
        /// What was attempted.
        action: &'static str,
        /// The file or directory.
        path: String,
        /// The operating system's words.
        source: std::io::Error,
    },

    /// Rows cannot be put in order, or a thread is gone.
    #[error("rewriting {table} failed: {reason}")]
    Internal {
        /// The table's address.
        table: String,
        /// Why.
        reason: String,
    },

    /// It was asked to stop. What was finished before stands.
    #[error("stopped as asked; what was committed before stands")]
    Cancelled,
}

impl UpkeepError {
    /// Whether what was asked for is at fault, rather than the table or its storage.
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::NoTable { .. }
                | Self::Column { .. }
                | Self::Filter { .. }
                | Self::Retention { .. }
                | Self::Version { .. }
                | Self::Option { .. }
                | Self::Lake(LakeError::Location { .. })
        )
    }

    /// Whether the same call may succeed later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Conflict { .. } | Self::Spill { .. } => true,
            Self::Lake(error) => error.is_transient(),
            Self::File(error) => error.is_transient(),
            _ => false,
        }
    }

    /// An error of deltalake's operations on `table`.
    pub(super) fn delta(
        action: &'static str,
        table: &str,
        error: deltalake::DeltaTableError,
    ) -> Self {
        Self::Lake(LakeError::from_delta(action, table, error))
    }

    pub(super) fn internal(table: &str, reason: impl ToString) -> Self {
        Self::Internal { table: table.to_owned(), reason: reason.to_string() }
    }
}

fn nearest(suggestion: &Option<String>) -> String {
    suggestion.as_ref().map_or_else(String::new, |name| format!("; did you mean `{name}`?"))
}

/// A duration in words: hours where it is whole hours.
pub(super) fn hours(duration: &Duration) -> String {
    let seconds = duration.as_secs();
    if seconds.is_multiple_of(3600) {
        format!("{} h", seconds / 3600)
    } else {
        format!("{seconds} s")
    }
}
