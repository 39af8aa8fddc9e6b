//! What can go wrong with a source, told apart by what the caller should do about it.

use std::io;

use super::kafka::{FetchError, KafkaError};

/// An error of a source.
///
/// [`SourceError::is_transient`] says whether the same call can succeed later without anyone
/// changing the configuration or the input.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// An option has a value that cannot work.
    #[error("{option}: {problem}")]
    Option {
        /// The option's name.
        option: &'static str,
        /// What is wrong with it, and what would be right.
        problem: String,
    },

    /// The file system refused: not there, not permitted, full.
    #[error("could not {action} {path}: {source}")]
    Io {
        /// What was attempted, as a verb: `read`, `list`.
        action: &'static str,
        /// The file or directory.
        path: String,
        /// The operating system's own error.
        source: io::Error,
    },

    /// The discovery log, or another file that the source keeps beside the checkpoint, is damaged
    /// where no crash can have damaged it.
    #[error(
        "{path} cannot be understood: {reason}. Positions mean nothing without it: restore it \
         with the checkpoint that it belongs to, or start over with an empty checkpoint directory"
    )]
    Log {
        /// The file.
        path: String,
        /// Where and why.
        reason: String,
    },

    /// The position is none of this source's: the checkpoint belongs to something else, or what
    /// it points to is gone.
    #[error("cannot read on from position {position}: {reason}")]
    Position {
        /// The position.
        position: i64,
        /// Why not.
        reason: String,
    },

    /// The other side cannot be reached, or has gone. The source keeps trying by itself.
    #[error("{address}: {reason}")]
    Connection {
        /// Host and port.
        address: String,
        /// What the operating system says.
        reason: String,
    },

    /// A Kafka partition cannot be read.
    #[error("{} ({:?})", .0.reason, .0.code)]
    Fetch(FetchError),

    /// The Kafka brokers could not be asked.
    #[error(transparent)]
    Kafka(#[from] KafkaError),

    /// The storage or the log of a Delta table cannot be read.
    #[error("could not {action} the Delta table at {table}: {reason}")]
    Table {
        /// What was attempted, as a verb.
        action: &'static str,
        /// The table's address.
        table: String,
        /// The whole chain of causes.
        reason: String,
        /// Whether it may work later.
        transient: bool,
    },

    /// Files or versions of a Delta table that are still to be read no longer exist.
    #[error("the Delta table at {table} cannot be read on from version {version}: {reason}")]
    Gone {
        /// The table's address.
        table: String,
        /// The version that is to be read.
        version: i64,
        /// What is missing, why that can be, and what can be done.
        reason: String,
    },

    /// The Delta table is not what the source declares, or no longer.
    #[error("the Delta table at {table} does not fit the source, as of version {version}:{}", list(.changes))]
    Schema {
        /// The table's address.
        table: String,
        /// The version that is to be read.
        version: i64,
        /// Each difference, in words, with what can be done about it.
        changes: Vec<String>,
    },

    /// Rows of a Delta table were updated, overwritten or deleted, which a stream of appended rows
    /// cannot say.
    #[error(
        "version {version} of the Delta table at {table} {what}, which a stream of appended rows \
         cannot express: {advice}"
    )]
    Rewritten {
        /// The table's address.
        table: String,
        /// The version that did it.
        version: i64,
        /// What it did, with the operation's name.
        what: String,
        /// The options that would accept it.
        advice: String,
    },

    /// A bounded run over something that has no end.
    #[error("a {0} source has no end, so it cannot be read in a bounded run (available_now, once)")]
    Unbounded(&'static str),

    /// A thread of the source could not be started, or is gone.
    #[error("{0}")]
    Thread(String),
}

impl SourceError {
    /// Whether the same call may succeed later: `true` for storage, network and broker trouble.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Io { .. } | Self::Connection { .. } | Self::Fetch(_) | Self::Thread(_) => true,
            Self::Kafka(error) => matches!(error, KafkaError::Broker { .. }),
            Self::Table { transient, .. } => *transient,
            Self::Option { .. }
            | Self::Log { .. }
            | Self::Position { .. }
            | Self::Gone { .. }
            | Self::Schema { .. }
            | Self::Rewritten { .. }
            | Self::Unbounded(_) => false,
        }
    }

    /// A fixed name for metric labels.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Option { .. } => "option",
            Self::Io { .. } => "io",
            Self::Log { .. } => "discovery_log",
            Self::Position { .. } => "position",
            Self::Connection { .. } => "connection",
            Self::Fetch(_) => "fetch",
            Self::Kafka(_) => "kafka",
            Self::Table { .. } => "table",
            Self::Gone { .. } => "gone",
            Self::Schema { .. } => "schema",
            Self::Rewritten { .. } => "rewritten",
            Self::Unbounded(_) => "unbounded",
            Self::Thread(_) => "thread",
        }
    }

    /// A file-system error on `path`.
    pub(crate) fn io(action: &'static str, path: &std::path::Path, source: io::Error) -> Self {
        Self::Io { action, path: path.display().to_string(), source }
    }
}

fn list(items: &[String]) -> String {
    items.iter().map(|item| format!("\n  - {item}")).collect()
}
