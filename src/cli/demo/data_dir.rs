//! The demo's own directory: made, marked, cleared of an earlier demo's tables, and nothing else.
//!
//! An embedded broker starts with empty topics, so the tables of an earlier demo would be ahead of
//! it: they have to go. What may be removed is decided twice over: the directory has to carry the
//! marker that a demo left in it, and the entry has to be one of [`ENTRIES`].

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Says that a demo made the directory. Locked while one runs in it.
const MARKER: &str = ".millpond-demo";
/// What the marker says to people who find it.
const MARKER_TEXT: &str = "\
This directory belongs to `millpond demo`. The next demo that is given it removes what the last
one left: bronze, endpoint_windows, traffic_windows, client_windows, anomalies, dead_letters,
checkpoints, demo.toml and demo.log. It touches nothing else. To keep these tables, give the next
demo another --data-dir, or move them out of here.
";
/// The log while the live view has the terminal.
pub const LOG: &str = "demo.log";
/// The pipeline's configuration.
pub const CONFIG: &str = "demo.toml";
/// Everything that a demo makes in its directory, besides the marker.
const ENTRIES: [&str; 9] = [
    "bronze",
    "endpoint_windows",
    "traffic_windows",
    "client_windows",
    "anomalies",
    "dead_letters",
    "checkpoints",
    CONFIG,
    LOG,
];

/// Why the directory can't be had.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// It holds what no demo made.
    #[error(
        "{} holds {found}, which no demo made: nothing was touched. The demo wants a directory \
         of its own, a new or an empty one: give it another --data-dir",
        path.display()
    )]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// Some of what is in it, in words.
        found: String,
    },
    /// It is a file, or something else that is no directory.
    #[error("{} is not a directory: give the demo another --data-dir", path.display())]
    NotADirectory {
        /// What was asked for.
        path: PathBuf,
    },
    /// Another demo is at work in it.
    #[error(
        "another demo is running in {}: give this one a --data-dir of its own, or end the other",
        path.display()
    )]
    Busy {
        /// The directory.
        path: PathBuf,
    },
    /// The operating system refused something.
    #[error("cannot {action} {}: {reason}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was to be done with it.
        action: &'static str,
        /// Why not.
        reason: io::Error,
    },
}

fn io_error<'a>(
    path: &'a Path,
    action: &'static str,
) -> impl FnOnce(io::Error) -> DataDirError + 'a {
    move |reason| DataDirError::Io { path: path.to_owned(), action, reason }
}

/// A directory that this process's demo has to itself until this is dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// What an earlier demo had left, and was removed.
    replaced: bool,
    /// Holds the lock.
    _marker: File,
}

impl DataDir {
    /// Takes `path` for a demo: makes it if it is missing, and removes what an earlier demo left.
    ///
    /// # Errors
    /// If the directory is in use or holds anything that no demo made; then nothing in it has been
    /// changed.
    pub fn claim(path: &Path) -> Result<Self, DataDirError> {
        match fs::metadata(path) {
            Ok(found) if !found.is_dir() => {
                return Err(DataDirError::NotADirectory { path: path.to_owned() });
            }
            Ok(_) => refuse_foreign(path)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(path).map_err(io_error(path, "make"))?;
            }
            Err(error) => return Err(io_error(path, "look at")(error)),
        }
        let marker = lock(path)?;
        let mut replaced = false;
        for entry in ENTRIES {
            replaced |= remove(&path.join(entry))?;
        }
        Ok(Self { path: path.to_owned(), replaced, _marker: marker })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether an earlier demo's tables were removed.
    pub fn replaced(&self) -> bool {
        self.replaced
    }

    /// Where something in it is.
    pub fn join(&self, entry: &str) -> PathBuf {
        self.path.join(entry)
    }
}

/// Whether a directory without a marker may be used: only an empty one.
fn refuse_foreign(path: &Path) -> Result<(), DataDirError> {
    let marker = path.join(MARKER);
    match fs::symlink_metadata(&marker) {
        Ok(found) if found.is_file() => return Ok(()),
        Ok(_) => {
            let found = format!("a {MARKER} that is not a file");
            return Err(DataDirError::Foreign { path: path.to_owned(), found });
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(io_error(&marker, "look at")(error)),
    }
    let mut names = Vec::new();
    for entry in fs::read_dir(path).map_err(io_error(path, "list"))? {
        let entry = entry.map_err(io_error(path, "list"))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    if names.is_empty() {
        return Ok(());
    }
    names.sort();
    let mut found = names.iter().take(3).map(|n| format!("'{n}'")).collect::<Vec<_>>().join(", ");
    if names.len() > 3 {
        found += &format!(" and {} more", names.len() - 3);
    }
    Err(DataDirError::Foreign { path: path.to_owned(), found })
}

/// Marks the directory, and locks the marker: the kernel gives the lock up when the process ends,
/// however it ends.
fn lock(directory: &Path) -> Result<File, DataDirError> {
    let path = directory.join(MARKER);
    let mut marker = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(&path)
        .map_err(io_error(&path, "write"))?;
    match marker.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(DataDirError::Busy { path: directory.to_owned() });
        }
        Err(TryLockError::Error(error)) => return Err(io_error(&path, "lock")(error)),
    }
    let mut write = || -> io::Result<()> {
        marker.set_len(0)?;
        marker.write_all(MARKER_TEXT.as_bytes())?;
        // Before anything else is made in here: what a demo that was killed left is still its own.
        marker.sync_all()
    };
    write().map_err(io_error(&path, "write"))?;
    Ok(marker)
}

/// Removes a file, a directory with all that is in it, or a link (and not what it leads to).
/// Returns whether there was one.
fn remove(path: &Path) -> Result<bool, DataDirError> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(io_error(path, "look at")(error)),
    };
    let removed = if found.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    removed.map_err(io_error(path, "remove"))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(path: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(path)
            .expect("it can be listed")
            .map(|entry| entry.expect("it can be listed").file_name().to_string_lossy().into())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_missing_and_an_empty_directory_are_taken() {
        let dir = tempfile::tempdir().expect("a directory");
        DataDir::claim(dir.path()).expect("an empty one");
        let nested = dir.path().join("a/b");
        let claimed = DataDir::claim(&nested).expect("a missing one");
        assert!(!claimed.replaced());
        assert_eq!(listing(&nested), [MARKER]);
    }

    #[test]
    fn the_next_demo_removes_what_the_last_made_and_nothing_else() {
        let dir = tempfile::tempdir().expect("a directory");
        let claimed = DataDir::claim(dir.path()).expect("an empty one");
        fs::create_dir_all(claimed.join("bronze/_delta_log")).expect("a table");
        fs::write(claimed.join("bronze/part-0.parquet"), b"rows").expect("a file");
        fs::write(claimed.join(LOG), b"lines").expect("a file");
        fs::create_dir(claimed.join("mine")).expect("something else");
        fs::write(claimed.join("mine/notes.txt"), b"precious").expect("a file");
        fs::write(claimed.join("notes.txt"), b"precious").expect("a file");
        drop(claimed);

        let claimed = DataDir::claim(dir.path()).expect("the demo's own");
        assert!(claimed.replaced());
        assert_eq!(listing(dir.path()), [MARKER, "mine", "notes.txt"]);
        assert_eq!(fs::read(claimed.join("mine/notes.txt")).expect("kept"), b"precious");
    }

    #[test]
    fn a_directory_of_somebody_elses_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        for name in ["bronze", "checkpoints", "x", "y"] {
            fs::create_dir(dir.path().join(name)).expect("a directory");
        }
        fs::write(dir.path().join("bronze/part-0.parquet"), b"rows").expect("a file");
        let error = DataDir::claim(dir.path()).expect_err("it is not a demo's");
        let text = error.to_string();
        assert!(text.contains("'bronze', 'checkpoints', 'x' and 1 more"), "{text}");
        assert!(text.contains("--data-dir"), "{text}");
        assert_eq!(listing(dir.path()), ["bronze", "checkpoints", "x", "y"], "no marker either");
        assert_eq!(listing(&dir.path().join("bronze")), ["part-0.parquet"]);
    }

    #[test]
    fn a_link_is_removed_and_what_it_leads_to_is_not() {
        let elsewhere = tempfile::tempdir().expect("a directory");
        fs::write(elsewhere.path().join("precious"), b"!").expect("a file");
        let dir = tempfile::tempdir().expect("a directory");
        drop(DataDir::claim(dir.path()).expect("an empty one"));
        std::os::unix::fs::symlink(elsewhere.path(), dir.path().join("bronze")).expect("a link");
        let claimed = DataDir::claim(dir.path()).expect("the demo's own");
        assert!(claimed.replaced());
        assert_eq!(listing(dir.path()), [MARKER]);
        assert_eq!(listing(elsewhere.path()), ["precious"]);
    }

    #[test]
    fn two_demos_do_not_share_a_directory() {
        let dir = tempfile::tempdir().expect("a directory");
        let first = DataDir::claim(dir.path()).expect("an empty one");
        fs::create_dir(first.join("bronze")).expect("a table");
        let error = DataDir::claim(dir.path()).expect_err("it is in use").to_string();
        assert!(error.contains("another demo is running"), "{error}");
        assert!(first.join("bronze").exists(), "nothing was removed");
        drop(first);
        DataDir::claim(dir.path()).expect("it is free again");
    }

    #[test]
    fn what_is_no_directory_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("file");
        fs::write(&file, b"").expect("a file");
        let error = DataDir::claim(&file).expect_err("a file").to_string();
        assert!(error.contains("is not a directory"), "{error}");

        fs::create_dir(dir.path().join("odd")).expect("a directory");
        fs::create_dir(dir.path().join("odd").join(MARKER)).expect("a directory");
        DataDir::claim(&dir.path().join("odd")).expect_err("a marker that is none");
    }

    #[test]
    fn the_marker_names_everything_that_goes() {
        for entry in ENTRIES {
            assert!(MARKER_TEXT.contains(entry), "{entry}");
        }
    }
}
