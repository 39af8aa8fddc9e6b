//! Small files that have to survive a power cut.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use super::error::SinkError;

/// Creates `dir` and what is missing above it, and flushes every new name to the disk.
pub(crate) fn create_dirs(dir: &Path) -> Result<(), SinkError> {
    fn create(dir: &Path) -> io::Result<()> {
        if dir.as_os_str().is_empty() || dir.is_dir() {
            return Ok(());
        }
        if let Some(parent) = dir.parent() {
            create(parent)?;
        }
        match fs::create_dir(dir) {
            Ok(()) => match dir.parent() {
                Some(parent) => sync(parent),
                None => Ok(()),
            },
            // Somebody else was quicker.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
            Err(e) => Err(e),
        }
    }
    create(dir).map_err(SinkError::io("create", dir))
}

/// Flushes the names in a directory to the disk.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), SinkError> {
    sync(dir).map_err(SinkError::io("flush", dir))
}

fn sync(dir: &Path) -> io::Result<()> {
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    File::open(dir)?.sync_all()
}

/// Puts `bytes` under `path`, whole or not at all: a reader, or this process after a crash, finds
/// what was there before or what is there now.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), SinkError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    let staging = Path::new(&name);
    let write = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(staging)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(staging, path)?;
        path.parent().map_or(Ok(()), sync)
    };
    write().map_err(SinkError::io("write", path))
}

/// The content of `path`, `None` if it is not there.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>, SinkError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(SinkError::io("read", path)(e)),
    }
}

/// Runs file I/O off the runtime's own thread, where there is one.
pub(crate) async fn blocking<T, F>(work: F) -> Result<T, SinkError>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, SinkError> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(e) if e.is_panic() => std::panic::resume_unwind(e.into_panic()),
        Err(e) => Err(SinkError::internal(format_args!("the runtime is shutting down: {e}"))),
    }
}
