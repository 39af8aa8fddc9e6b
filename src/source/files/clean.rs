//! What happens to files that have been read: nothing, deletion, or a place in the archive.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::log::Entry;
use super::options::After;
use super::scan::mtime_ns;

/// How many names are tried for a file whose own name the archive has already.
const NAMES: usize = 10_000;

/// What became of a file that was to be cleaned up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cleaned {
    /// It is not there any more.
    Gone,
    /// Another file has its name by now, or it was written to after it was read.
    Changed,
}

/// Whether the file is still what it was when it was entered.
pub(super) fn is_unchanged(entry: &Entry) -> io::Result<Option<bool>> {
    match fs::metadata(&*entry.path) {
        Ok(now) => Ok(Some(now.size() == entry.size && mtime_ns(&now) == entry.mtime_ns)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Deletes or archives one file. A file that is not what was read stays where it is.
pub(super) fn clean(entry: &Entry, root: &Path, after: &After) -> io::Result<Cleaned> {
    match is_unchanged(entry)? {
        None => return Ok(Cleaned::Gone),
        Some(false) => return Ok(Cleaned::Changed),
        Some(true) => {}
    }
    match after {
        After::Keep => {}
        After::Delete => fs::remove_file(&*entry.path)?,
        After::Archive(directory) => archive(&entry.path, root, directory)?,
    }
    Ok(Cleaned::Gone)
}

fn archive(path: &Path, root: &Path, directory: &Path) -> io::Result<()> {
    let beneath = path.strip_prefix(root).ok().filter(|beneath| !beneath.as_os_str().is_empty());
    let name = beneath.or_else(|| path.file_name().map(Path::new)).unwrap_or(path);
    let target = directory.join(name);
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent)?;
    }
    let target = free_name(&target)?;
    match fs::rename(path, &target) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            // Complete and flushed under its name before the original goes.
            let mut part = target.clone().into_os_string();
            part.push(".partial");
            fs::copy(path, &part)?;
            File::open(&part)?.sync_all()?;
            fs::rename(&part, &target)?;
            if let Some(parent) = target.parent() {
                File::open(parent)?.sync_all()?;
            }
            fs::remove_file(path)
        }
        other => other,
    }
}

/// `target`, or with a number before its first dot where that is taken: an archive overwrites
/// nothing.
fn free_name(target: &Path) -> io::Result<PathBuf> {
    let name = target.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let dot = name.char_indices().skip(1).find(|(_, c)| *c == '.').map_or(name.len(), |(i, _)| i);
    for number in 0..NAMES {
        let candidate = match number {
            0 => target.to_owned(),
            _ => target.with_file_name(format!("{}-{number}{}", &name[..dot], &name[dot..])),
        };
        match fs::symlink_metadata(&candidate) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(candidate),
            Err(error) => return Err(error),
            Ok(_) => {}
        }
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, "the archive has too many files of this name"))
}

#[cfg(test)]
#[path = "tests/clean.rs"]
mod tests;
