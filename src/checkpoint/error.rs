//! What can go wrong with a checkpoint, told so that the reader knows what to do next.

use std::io;
use std::path::{Path, PathBuf};

/// Why a checkpoint could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// Another process (or another store in this one) holds the directory.
    #[error(
        "the checkpoint directory {} is in use{}; one pipeline's state belongs to one process: \
         stop the other one, or give this one a directory of its own",
        dir.display(),
        holder.map(|pid| format!(" by process {pid}")).unwrap_or_default()
    )]
    Locked {
        /// The checkpoint directory.
        dir: PathBuf,
        /// The process id that the holder left in the lock file, if it could be read.
        holder: Option<u32>,
    },

    /// Something that was written is gone or is not what was written.
    #[error(
        "the checkpoint {}is damaged: {what}: {detail}; restore the checkpoint directory from a \
         backup, or start once with `millpond run --resume-from-table`, which takes the positions \
         from the tables and gives up the state of open windows",
        epoch.map(|epoch| format!("of epoch {epoch} ")).unwrap_or_default()
    )]
    Corrupt {
        /// The file or ledger key that is damaged.
        what: String,
        /// The epoch that needs it, if known.
        epoch: Option<u64>,
        /// What was found in place of what was written.
        detail: String,
    },

    /// A newer Millpond wrote this.
    #[error(
        "{what} has format version {found}, and this build reads up to version {supported}; \
         run the version of millpond that wrote it, or a newer one"
    )]
    NewerFormat {
        /// The file or ledger key.
        what: String,
        /// The version found there.
        found: u32,
        /// The newest version that this build understands.
        supported: u32,
    },

    /// The file system refused: disk full, no permission, I/O error.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's own error.
        source: io::Error,
    },

    /// The ledger's library failed in a way that is neither damage nor I/O.
    #[error("the checkpoint ledger in {} failed: {detail}", dir.display())]
    Ledger {
        /// The ledger's directory.
        dir: PathBuf,
        /// The library's own words.
        detail: String,
    },

    /// The caller asked for something that would break the order of epochs.
    #[error("{0}")]
    Order(String),
}

impl CheckpointError {
    /// Whether the same call may succeed later without anybody's help to the store itself: the
    /// disk has room again, the directory is writable again. The store stays usable after such
    /// an error.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Io { .. })
    }

    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_path_buf(), source }
    }
}
