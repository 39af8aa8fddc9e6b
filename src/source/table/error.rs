//! What can go wrong with a static table.

use std::fmt;

use crate::codec::CodecError;
use crate::source::SourceError;

/// An error of a static table. Every one of them may pass: somebody mends the file, or puts it
/// there.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// The file system, the storage or the log of a Delta table.
    #[error(transparent)]
    Source(#[from] SourceError),

    /// There is a directory or a glob pattern, and no file.
    #[error("there is no file at {path}{}", hint(*.directories))]
    Empty {
        /// The path as configured.
        path: String,
        /// Whether there are directories, which are not looked into.
        directories: bool,
    },

    /// A row, or the file as a whole, is not what it should be. The table would be half of what it
    /// is without it, so it is not read at all.
    #[error("{file}{}: {reason}", Line(*.line))]
    Content {
        /// The file.
        file: String,
        /// The line where the row begins, counted from 1; files of columns have none.
        line: Option<u64>,
        /// What is wrong.
        reason: String,
    },

    /// Somebody wrote to it.
    #[error("{path} changed while it was being read")]
    Changing {
        /// The path as configured.
        path: String,
    },

    /// The declared columns cannot be read from the format.
    #[error(transparent)]
    Codec(#[from] CodecError),
}

impl TableError {
    /// A fixed name for metric labels.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Source(error) => error.code(),
            Self::Empty { .. } => "no_file",
            Self::Content { .. } => "content",
            Self::Changing { .. } => "changing",
            Self::Codec(_) => "codec",
        }
    }
}

struct Line(Option<u64>);

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(line) => write!(f, ", line {line}"),
            None => Ok(()),
        }
    }
}

fn hint(directories: bool) -> &'static str {
    if directories { "; for those of the directories in it, end the path with /**/*" } else { "" }
}
