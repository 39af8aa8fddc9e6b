//! How far an operation has come, and whether it should go on.

/// Hears how far an operation has come. All of it is called from one thread.
pub trait Progress: Send + Sync {
    /// `what` begins, and has so many files and bytes to go through. An operation may have several
    /// of these after another; 0 bytes: only files are counted.
    fn begin(&self, what: &str, files: u64, bytes: u64);

    /// So many more files and bytes are done.
    fn advance(&self, files: u64, bytes: u64);

    /// Whether the operation should give up; asked several times a second.
    fn cancelled(&self) -> bool {
        false
    }
}

/// Nobody wants to know.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn begin(&self, _what: &str, _files: u64, _bytes: u64) {}

    fn advance(&self, _files: u64, _bytes: u64) {}
}
