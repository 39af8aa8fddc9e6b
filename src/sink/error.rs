//! What can go wrong with a sink, told apart by what the caller should do about it.

use std::error::Error as StdError;
use std::fmt;
use std::path::{Path, PathBuf};

use super::target::Marker;
use crate::lake::LakeError;

/// An error of a staged sink or of its target.
///
/// [`SinkError::is_transient`] says whether the same call can succeed later without anyone changing
/// the configuration or the target.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// What was asked for cannot be, whatever the target holds: a column that the query does not
    /// have, an output mode that the target cannot take.
    #[error("the sink '{sink}' cannot be like this:{}", list(problems))]
    Definition {
        /// The sink's name.
        sink: String,
        /// Each problem, in words.
        problems: Vec<String>,
    },

    /// The target exists and does not fit the rows.
    #[error("{target} does not fit the rows that are to be written to it:{}", list(differences))]
    Schema {
        /// The target, in words: `the table public.readings`.
        target: String,
        /// Each difference, with what can be done about it.
        differences: Vec<String>,
    },

    /// A disk refused: full, read-only, not permitted, not there.
    #[error("could not {action} {}: {source}", path.display())]
    Io {
        /// What was attempted, as a verb: `write`, `read`, `create`.
        action: &'static str,
        /// The file or directory concerned.
        path: PathBuf,
        /// The operating system's error.
        source: std::io::Error,
    },

    /// The target does not answer, is starting or shutting down, is out of room, or gave way to
    /// another transaction.
    #[error("{target} cannot be written to at the moment: {reason}")]
    Unavailable {
        /// The target, in words.
        target: String,
        /// What it said, or what was waited for.
        reason: String,
    },

    /// The target said no, and will say no again: a constraint, a missing right, a bad address.
    #[error("{target} refuses: {reason}")]
    Rejected {
        /// The target, in words.
        target: String,
        /// What it said.
        reason: String,
    },

    /// A row cannot go into the target.
    #[error("a row does not fit {target}: {reason}")]
    Data {
        /// The target, in words.
        target: String,
        /// Which row and why.
        reason: String,
    },

    /// Somebody else writes to the target in this sink's name.
    #[error(
        "fenced: {target} has {} as the last epoch of this sink where {} was expected: another \
         daemon is writing in its name, and this one has to stop",
        shown(found.as_deref()),
        shown(expected.as_deref())
    )]
    Fenced {
        /// The target, in words.
        target: String,
        /// What this daemon left or found there.
        expected: Option<Box<Marker>>,
        /// What is there now; `None`: it is not known who.
        found: Option<Box<Marker>>,
    },

    /// The target holds more of this sink than the checkpoint knows of.
    #[error(
        "{target} holds {} of this sink, and the checkpoint {}: it was lost or is an older one, or \
         another daemon has the same name. Going on would write rows twice. Bring the checkpoint \
         back, or start once with --resume-from-table: the target is then taken as it is, and what \
         is read again is written again",
        shown(Some(found)), match known {
            Some(epoch) => format!("ends at epoch {epoch}"),
            None => "knows nothing of it".to_owned(),
        }
    )]
    Ahead {
        /// The target, in words.
        target: String,
        /// What the target holds.
        found: Marker,
        /// The checkpoint's newest epoch, if it is the ledger that wrote the target.
        known: Option<u64>,
    },

    /// Rows that the checkpoint counts on are gone or damaged.
    #[error("the staged rows in {} cannot be used: {reason}", path.display())]
    Staged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },

    /// A Delta table's own error.
    #[error(transparent)]
    Lake(#[from] LakeError),

    /// Something that cannot happen as far as this code knows; the call may be repeated from the
    /// last checkpoint.
    #[error("{what}")]
    Internal {
        /// What happened.
        what: String,
    },
}

impl SinkError {
    /// Whether the same call may succeed later: `true` for storage, network and server trouble and
    /// for lost races, `false` for anything a retry cannot change.
    pub fn is_transient(&self) -> bool {
        match self {
            // Nobody comes back to read a closed standard output.
            Self::Io { source, .. } => source.kind() != std::io::ErrorKind::BrokenPipe,
            Self::Unavailable { .. } => true,
            Self::Lake(error) => error.is_transient(),
            _ => false,
        }
    }

    /// A fixed name for metric labels.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Definition { .. } => "definition",
            Self::Schema { .. } => "schema",
            Self::Io { .. } => "io",
            Self::Unavailable { .. } => "unavailable",
            Self::Rejected { .. } => "rejected",
            Self::Data { .. } => "data",
            Self::Fenced { .. } => "fenced",
            Self::Ahead { .. } => "ahead",
            Self::Staged { .. } => "staged",
            Self::Lake(error) => error.code(),
            Self::Internal { .. } => "internal",
        }
    }

    /// Whether another daemon owns what this one wanted to write; the caller must stop.
    pub fn is_fenced(&self) -> bool {
        match self {
            Self::Fenced { .. } => true,
            Self::Lake(error) => error.is_fenced(),
            _ => false,
        }
    }

    /// Whether going on would write rows twice or leave rows out, so that a person has to decide.
    pub fn is_refusal(&self) -> bool {
        self.is_fenced() || matches!(self, Self::Ahead { .. } | Self::Staged { .. })
    }

    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }

    pub(crate) fn definition(sink: &str, problem: impl Into<String>) -> Self {
        Self::Definition { sink: sink.to_owned(), problems: vec![problem.into()] }
    }

    pub(crate) fn data(target: &str, reason: impl fmt::Display) -> Self {
        Self::Data { target: target.to_owned(), reason: reason.to_string() }
    }

    pub(crate) fn internal(what: impl fmt::Display) -> Self {
        Self::Internal { what: what.to_string() }
    }
}

fn list(items: &[String]) -> String {
    items.iter().map(|item| format!("\n  - {item}")).collect()
}

fn shown(marker: Option<&Marker>) -> String {
    match marker {
        None => "nothing that is known".to_owned(),
        Some(marker) => format!("epoch {} of ledger {}", marker.epoch, marker.instance),
    }
}

/// The chain of causes in one line, without repeating what a layer already quotes of the next.
pub(crate) fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let words = cause.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_heal_is_transient_and_what_may_not_is_not() {
        let full = SinkError::Io {
            action: "write",
            path: "/data/x".into(),
            source: std::io::ErrorKind::StorageFull.into(),
        };
        assert!(full.is_transient() && full.to_string().contains("/data/x"), "{full}");
        let closed = SinkError::Io {
            action: "write to",
            path: "standard output".into(),
            source: std::io::ErrorKind::BrokenPipe.into(),
        };
        assert!(!closed.is_transient());
        let down = SinkError::Unavailable { target: "the server".into(), reason: "off".into() };
        assert!(down.is_transient() && !down.is_refusal());
    }

    #[test]
    fn refusals_say_what_was_found_and_name_the_flag() {
        let found = Marker { instance: "b".into(), epoch: 9, token: "t".into() };
        let ahead =
            SinkError::Ahead { target: "the topic out".into(), found: found.clone(), known: None };
        assert!(ahead.is_refusal() && !ahead.is_fenced());
        let text = ahead.to_string();
        assert!(text.contains("epoch 9 of ledger b") && text.contains("--resume-from-table"));
        let fenced = SinkError::Fenced {
            target: "the topic out".into(),
            expected: None,
            found: Some(Box::new(found)),
        };
        assert!(fenced.is_fenced() && fenced.is_refusal() && !fenced.is_transient());
    }
}
