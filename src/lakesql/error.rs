//! What can go wrong with a statement, told apart by who can do something about it.

use std::time::Duration;

use datafusion::common::DataFusionError;

use crate::catalog::CatalogError;
use crate::lake::LakeError;
use crate::sql::SqlError;
use crate::upkeep::UpkeepError;

/// An error of a statement.
#[derive(Debug, thiserror::Error)]
pub enum LakeSqlError {
    /// The text: syntax, names, types, what is not supported.
    #[error("{0}")]
    Sql(SqlError),
    /// A table's log or its storage.
    #[error(transparent)]
    Lake(#[from] LakeError),
    /// OPTIMIZE, VACUUM, RESTORE, HISTORY or DETAIL.
    #[error(transparent)]
    Upkeep(#[from] UpkeepError),
    /// A version or time that a table does not have.
    #[error("the table {table} has no {asked}: {reason}")]
    Version {
        /// As the statement names it.
        table: String,
        /// `version 7`, `version as of 2020-01-01 ...`.
        asked: String,
        /// Which there are.
        reason: String,
    },
    /// The statement would change a table where nothing may be changed.
    #[error("{statement} changes the table, and only reading is allowed here")]
    ReadOnly {
        /// Its first word.
        statement: &'static str,
    },
    /// It took too long.
    #[error("the query took longer than {}, and was stopped", shown(.0))]
    Timeout(Duration),
    /// It needed more memory than it may have, and could not use the disk instead.
    #[error("the query needs more memory than it may have: {0}")]
    Memory(String),
    /// Reading or computing failed.
    #[error("{0}")]
    Execution(String),
}

impl LakeSqlError {
    /// Line and column, both from 1, in the text that was given.
    pub fn location(&self) -> Option<(usize, usize)> {
        match self {
            Self::Sql(error) => error.location,
            _ => None,
        }
    }

    /// What is wrong, without its place.
    pub fn message(&self) -> String {
        match self {
            Self::Sql(error) => error.message.clone(),
            other => other.to_string(),
        }
    }

    /// What to write instead, if that is known.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Sql(error) => error.hint.as_deref(),
            _ => None,
        }
    }

    /// Whether what was asked for is at fault, rather than the tables or the machine.
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Sql(_)
            | Self::Version { .. }
            | Self::ReadOnly { .. }
            | Self::Lake(LakeError::Location { .. }) => true,
            Self::Upkeep(error) => error.is_usage(),
            _ => false,
        }
    }

    /// An unknown or ambiguous table, at its place.
    pub(super) fn catalog(error: CatalogError, at: Option<(usize, usize)>) -> Self {
        let (message, hint) = match error {
            CatalogError::Unknown { name, hint } => (format!("unknown table '{name}'"), Some(hint)),
            other => (other.to_string(), None),
        };
        Self::Sql(SqlError { message, hint, location: at })
    }
}

impl From<SqlError> for LakeSqlError {
    fn from(error: SqlError) -> Self {
        Self::Sql(error)
    }
}

impl From<DataFusionError> for LakeSqlError {
    fn from(error: DataFusionError) -> Self {
        let root = error.find_root();
        match root {
            DataFusionError::ResourcesExhausted(reason) => Self::Memory(reason.clone()),
            other => Self::Execution(crate::sql::readable(&other.strip_backtrace())),
        }
    }
}

impl From<arrow::error::ArrowError> for LakeSqlError {
    fn from(error: arrow::error::ArrowError) -> Self {
        Self::Execution(error.to_string())
    }
}

fn shown(duration: &Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds < 1.0 { format!("{} ms", duration.as_millis()) } else { format!("{seconds} s") }
}
