//! Where a log goes: nowhere, a stream, one file, a directory of files, Kafka.

mod directory;
mod kafka;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use directory::DirectoryOutput;
pub use kafka::{KafkaOptions, KafkaOutput, Key};

use super::WeblogError;

/// Takes what [`Generator::fill`](super::Generator::fill) writes.
pub trait Output {
    /// Takes the records of one `fill` into an empty `buffer`. Blocks while it can take no more.
    ///
    /// # Errors
    /// What keeps it from ever taking more.
    fn write(&mut self, buffer: &[u8], ends: &[usize]) -> Result<(), WeblogError>;

    /// Lets this much time pass, doing what has to be done in the background.
    fn pause(&mut self, time: Duration) {
        std::thread::sleep(time);
    }

    /// Brings everything to its place.
    ///
    /// # Errors
    /// What did not arrive.
    fn finish(&mut self) -> Result<(), WeblogError>;

    /// How many of the records written so far are known not to have arrived.
    fn failed(&self) -> u64 {
        0
    }

    /// Something that a person should know, once.
    fn notice(&mut self) -> Option<String> {
        None
    }
}

/// Throws everything away.
#[derive(Debug, Default)]
pub struct NullOutput;

impl Output for NullOutput {
    fn write(&mut self, buffer: &[u8], _ends: &[usize]) -> Result<(), WeblogError> {
        std::hint::black_box(buffer);
        Ok(())
    }

    fn finish(&mut self) -> Result<(), WeblogError> {
        Ok(())
    }
}

/// One line a record, into anything that takes bytes.
#[derive(Debug)]
pub struct StreamOutput<W> {
    writer: W,
    name: PathBuf,
}

impl<W: Write> StreamOutput<W> {
    /// `name` is what errors call it.
    pub fn new(writer: W, name: impl Into<PathBuf>) -> Self {
        Self { writer, name: name.into() }
    }
}

impl StreamOutput<File> {
    /// The file at `path`; what it held is replaced.
    ///
    /// # Errors
    /// [`WeblogError::Io`] if it cannot be created.
    pub fn create(path: &Path) -> Result<Self, WeblogError> {
        let file = File::create(path).map_err(io_error(path, "create"))?;
        Ok(Self::new(file, path))
    }
}

impl<W: Write> Output for StreamOutput<W> {
    fn write(&mut self, buffer: &[u8], _ends: &[usize]) -> Result<(), WeblogError> {
        // Callers write chunks that are worth a system call, or are paced and want them seen.
        let result = self.writer.write_all(buffer).and_then(|()| self.writer.flush());
        result.map_err(io_error(&self.name, "write to"))
    }

    fn finish(&mut self) -> Result<(), WeblogError> {
        self.writer.flush().map_err(io_error(&self.name, "write to"))
    }
}

fn io_error<'a>(
    path: &'a Path,
    action: &'static str,
) -> impl FnOnce(std::io::Error) -> WeblogError + 'a {
    move |reason| WeblogError::Io { path: path.to_owned(), action, reason }
}
