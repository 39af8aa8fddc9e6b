//! Small facts that a source keeps beside the checkpoint, because positions mean nothing without
//! them: when a rate source began, which version a Delta source began at.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::SourceError;

/// Reads what [`store`] wrote, or `None` if nothing was.
pub(super) fn load<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, SourceError> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(SourceError::io("read", path, error)),
    };
    serde_json::from_slice(&text).map(Some).map_err(|error| SourceError::Log {
        path: path.display().to_string(),
        reason: error.to_string(),
    })
}

/// Writes `fact` to `path` so that a crash leaves either all of it or what was there before.
pub(super) fn store(path: &Path, fact: &impl Serialize) -> Result<(), SourceError> {
    let io = |error| SourceError::io("write", path, error);
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let write = || -> io::Result<()> {
        fs::create_dir_all(directory)?;
        let mut text = serde_json::to_vec(fact)?;
        text.push(b'\n');
        let mut file = File::create(&new)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        File::open(directory)?.sync_all()
    };
    write().map_err(io)
}
