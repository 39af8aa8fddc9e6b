//! What can go wrong with a table, told apart by what the caller should do about it.

use std::error::Error as StdError;
use std::io;

use deltalake::DeltaTableError;
use deltalake::logstore::object_store;

use super::store::redact;

/// A boxed cause.
pub type Cause = Box<dyn StdError + Send + Sync + 'static>;

/// An error of a Delta table or of a writer to it.
///
/// [`LakeError::is_transient`] says whether the same call can succeed later without anyone
/// changing the configuration or the table.
#[derive(Debug, thiserror::Error)]
pub enum LakeError {
    /// The table's address cannot be used at all.
    #[error("'{uri}' is not a table location: {reason}")]
    Location {
        /// The address as it was given.
        uri: String,
        /// Why not.
        reason: String,
    },

    /// The object store cannot be used as it is configured, or not at all: no credentials, an
    /// option that means nothing to it, no conditional put.
    #[error("the object store of {uri} cannot be used: {reason}")]
    Store {
        /// The table's address.
        uri: String,
        /// Why not, and what helps.
        reason: String,
    },

    /// Storage refused: full, read-only, not permitted, not reachable, not there.
    #[error("could not {action} {path}: {}", innermost(source.as_ref()))]
    Io {
        /// What was attempted, as a verb: `write`, `read`, `create`.
        action: &'static str,
        /// The file, directory or object concerned.
        path: String,
        /// The storage's own error.
        source: Cause,
    },

    /// The table that was asked for cannot exist: a type Delta lacks, a partition column that
    /// is no column, and the like.
    #[error("the table {table} cannot be defined like this:{}", list(problems))]
    Definition {
        /// The table's address.
        table: String,
        /// Each problem, in words.
        problems: Vec<String>,
    },

    /// The table exists and does not fit what is to be written to it.
    #[error(
        "the Delta table at {table} does not fit what is to be written to it:{}",
        list(differences)
    )]
    Schema {
        /// The table's address.
        table: String,
        /// Each difference, in words, with what can be done about it.
        differences: Vec<String>,
    },

    /// The table needs something of its writers that Millpond does not do.
    #[error("the Delta table at {table} cannot be written to by Millpond:{}", list(reasons))]
    Unsupported {
        /// The table's address.
        table: String,
        /// Each table feature or property in the way.
        reasons: Vec<String>,
    },

    /// Another writer has moved this application's transaction version: someone else owns it.
    #[error(
        "fenced: the table {table} has transaction version {} for '{app_id}' where {} was expected: \
         {}, and this process has to stop writing",
        version(found),
        version(expected),
        if found.is_some() { "another process is writing as this application" }
        else { "the table was replaced or restored to an earlier state" }
    )]
    Fenced {
        /// The table's address.
        table: String,
        /// The application id whose version moved.
        app_id: String,
        /// What the caller believed; `None`: no such transaction yet.
        expected: Option<i64>,
        /// What the table says; `None`: no such transaction.
        found: Option<i64>,
    },

    /// Somebody changed the table's schema, partitioning or protocol while it was open. Open it
    /// again to find out whether it still fits.
    #[error(
        "the Delta table at {table} was changed by another writer while it was open:{}",
        list(changes)
    )]
    Changed {
        /// The table's address.
        table: String,
        /// What changed, in words.
        changes: Vec<String>,
    },

    /// Other writers took every version this commit tried for.
    #[error("the commit to {table} lost against other writers {attempts} times in a row")]
    Conflict {
        /// The table's address.
        table: String,
        /// How often it was tried.
        attempts: u32,
    },

    /// The rows themselves cannot go into the table: a NULL where there may be none, a column
    /// the table does not have.
    #[error("rows do not fit the table {table}: {reason}")]
    Data {
        /// The table's address.
        table: String,
        /// What is wrong, with the column's name.
        reason: String,
    },

    /// Parquet encoding failed halfway through a batch. The writer holds part of it and refuses
    /// everything until it is discarded.
    #[error("encoding Parquet for {table} failed: {reason}")]
    Encode {
        /// The table's address.
        table: String,
        /// The encoder's own words.
        reason: String,
    },

    /// A file of the table is missing, empty or cut off. Nothing heals that but putting it back,
    /// or restoring the table to what is left.
    #[error("the file {file} is damaged: {reason}")]
    Damaged {
        /// The file, with its directory.
        file: String,
        /// What is wrong with it.
        reason: String,
    },

    /// The table's log cannot be understood.
    #[error("the log of the Delta table at {table} cannot be used: {}", chain(source.as_ref()))]
    Log {
        /// The table's address.
        table: String,
        /// The reason.
        source: Cause,
    },
}

impl LakeError {
    /// Whether the same call may succeed later: `true` for storage trouble and for lost races,
    /// `false` for fencing, schemas, definitions and anything a retry cannot change.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Io { .. } | Self::Conflict { .. })
    }

    /// A fixed name for metric labels.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Location { .. } => "location",
            Self::Store { .. } => "store",
            Self::Io { .. } => "io",
            Self::Definition { .. } => "definition",
            Self::Schema { .. } => "schema",
            Self::Unsupported { .. } => "unsupported",
            Self::Fenced { .. } => "fenced",
            Self::Changed { .. } => "changed",
            Self::Conflict { .. } => "conflict",
            Self::Data { .. } => "data",
            Self::Encode { .. } => "encode",
            Self::Damaged { .. } => "damaged",
            Self::Log { .. } => "log",
        }
    }

    /// Whether another process owns what this one wanted to write; the caller must stop.
    pub fn is_fenced(&self) -> bool {
        matches!(self, Self::Fenced { .. })
    }

    /// A storage error on `path`.
    pub(crate) fn io(
        action: &'static str,
        path: impl Into<String>,
        source: impl Into<Cause>,
    ) -> Self {
        Self::Io { action, path: path.into(), source: source.into() }
    }

    /// The log of `table` is not what a log should be.
    pub(crate) fn log(table: &str, source: impl Into<Cause>) -> Self {
        Self::Log { table: table.to_owned(), source: source.into() }
    }

    /// Sorts an error of deltalake: storage trouble is transient, the rest is the log's.
    pub(crate) fn from_delta(action: &'static str, table: &str, error: DeltaTableError) -> Self {
        if storage_trouble(&error) {
            let path = offending_path(&error).unwrap_or_else(|| table.to_owned());
            Self::io(action, path, error)
        } else {
            Self::log(table, error)
        }
    }
}

/// Whether an I/O or object-store error is anywhere in the chain. A missing file counts: on a
/// table that was there a moment ago it means that the storage has gone (an unmounted disk, a
/// directory moved away), which heals.
fn storage_trouble(error: &(dyn StdError + 'static)) -> bool {
    causes(error).any(|cause| cause.is::<io::Error>() || cause.is::<object_store::Error>())
}

fn offending_path(error: &(dyn StdError + 'static)) -> Option<String> {
    causes(error).find_map(|cause| match cause.downcast_ref::<object_store::Error>()? {
        object_store::Error::NotFound { path, .. }
        | object_store::Error::PermissionDenied { path, .. }
        | object_store::Error::Unauthenticated { path, .. } => Some(path.clone()),
        _ => None,
    })
}

fn causes<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |cause| StdError::source(*cause))
}

/// The last cause: what the operating system or the remote end said, without the layers above.
pub(super) fn innermost(error: &(dyn StdError + 'static)) -> String {
    tidy(&causes(error).last().map(ToString::to_string).unwrap_or_default())
}

/// What a store has said, without secrets, and in a line: their answers are XML.
fn tidy(text: &str) -> String {
    let element = |name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        Some(rest.split_once(&format!("</{name}>"))?.0.trim())
    };
    let said = match (element("Code"), element("Message")) {
        (Some(code), Some(message)) => {
            // What comes before the document is the status.
            let status = text.split('<').next().unwrap_or_default();
            let status = status.trim_end_matches(|c: char| c == ':' || c.is_whitespace());
            let message = message.lines().next().unwrap_or_default();
            format!("{status}: {code}: {message}")
        }
        _ => text.to_owned(),
    };
    redact(&said)
}

/// The whole chain in one line, without repeating what a layer already quotes of the next.
fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    for cause in causes(error).skip(1) {
        let words = cause.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
    }
    redact(&text)
}

fn list(items: &[String]) -> String {
    items.iter().map(|item| format!("\n  - {item}")).collect()
}

fn version(version: &Option<i64>) -> String {
    version.map_or_else(|| "none".to_owned(), |v| v.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn storage_errors_are_transient_and_name_the_path() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let error = LakeError::io("write", "/data/t/part-0.parquet", full);
        assert!(error.is_transient());
        let text = error.to_string();
        assert!(
            text.contains("/data/t/part-0.parquet") && text.contains("no storage space"),
            "{text}"
        );
    }

    #[test]
    fn an_io_error_deep_inside_is_found() {
        let inner = io::Error::from(io::ErrorKind::PermissionDenied);
        let store = object_store::Error::Generic { store: "LocalFileSystem", source: inner.into() };
        let error = LakeError::from_delta(
            "read",
            "/data/t",
            DeltaTableError::ObjectStore { source: store },
        );
        assert!(error.is_transient(), "{error}");
        assert!(error.to_string().contains("permission denied"), "{error}");
    }

    #[test]
    fn what_a_retry_cannot_change_is_not_transient() {
        let fenced = LakeError::Fenced {
            table: "t".into(),
            app_id: "millpond/p/q/logs-0".into(),
            expected: Some(4),
            found: Some(9),
        };
        assert!(!fenced.is_transient() && fenced.is_fenced());
        assert!(fenced.to_string().contains("9 for 'millpond/p/q/logs-0' where 4"), "{fenced}");
        assert!(!LakeError::log("t", "garbage").is_transient());
    }
}
