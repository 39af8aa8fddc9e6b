//! Looking for files: which are there, which are new, which are still being written.

use std::collections::{HashMap, HashSet};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use globset::{GlobBuilder, GlobMatcher};

use super::options::{After, FilesOptions};
use crate::source::SourceError;

/// Ends of names that tools give to files they have not finished: wget and browsers, rsync's
/// `--partial-dir`, Hadoop's `-copyFromLocal`.
const UNFINISHED: [&str; 4] = [".tmp", ".partial", ".part", "._COPYING_"];
/// No tree of data is deeper; links that run in circles are.
const MAX_DEPTH: usize = 64;

/// A file that may be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub path: PathBuf,
    pub size: u64,
    /// Nanoseconds since the Unix epoch.
    pub mtime_ns: i64,
}

/// Which files belong to a source.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// Where listing begins; a directory, or the file itself.
    root: PathBuf,
    matcher: Option<GlobMatcher>,
    recursive: bool,
    /// Never looked into: files go there when they have been read.
    archive: Option<PathBuf>,
}

impl Target {
    pub fn new(options: &FilesOptions) -> Result<Self, SourceError> {
        let refuse = |problem: String| SourceError::Option { option: "path", problem };
        let path = options.path.strip_prefix("file://").unwrap_or(&options.path);
        let absolute = std::path::absolute(path)
            .map_err(|error| SourceError::io("resolve", Path::new(path), error))?;
        let text = absolute
            .to_str()
            .ok_or_else(|| refuse(format!("'{path}' is not UTF-8")))?
            .trim_end_matches('/');
        let is_glob = |part: &str| part.contains(['*', '?', '[', '{']);
        // A directory may be called like a glob; then it is what is meant.
        let (root, matcher) = if is_glob(text) && !absolute.exists() {
            let plain: Vec<&str> = text.split('/').take_while(|part| !is_glob(part)).collect();
            let glob = GlobBuilder::new(text)
                .literal_separator(true)
                .build()
                .map_err(|error| refuse(format!("'{path}' is no glob: {}", error.kind())))?;
            let root = plain.join("/");
            let root = if root.is_empty() { "/".to_owned() } else { root };
            (PathBuf::from(root), Some(glob.compile_matcher()))
        } else {
            (PathBuf::from(if text.is_empty() { "/" } else { text }), None)
        };
        let archive = match &options.after {
            After::Archive(directory) => Some(
                std::path::absolute(directory)
                    .map_err(|error| SourceError::io("resolve", directory, error))?,
            ),
            After::Keep | After::Delete => None,
        };
        if archive.as_deref() == Some(root.as_path()) {
            return Err(SourceError::Option {
                option: "after",
                problem: "files cannot be archived into the directory that they are read from"
                    .to_owned(),
            });
        }
        Ok(Self { root, matcher, recursive: options.recursive, archive })
    }

    /// The directory (or file) that has to be there.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Shows every file that belongs to the source.
    pub fn walk(&self, visit: &mut dyn FnMut(PathBuf)) -> io::Result<()> {
        let metadata = fs::metadata(&self.root)?;
        if !metadata.is_dir() {
            if self.matcher.is_none() {
                visit(self.root.clone());
            }
            return Ok(());
        }
        let mut been = HashSet::from([(metadata.dev(), metadata.ino())]);
        self.directory(&self.root, 0, &mut been, visit)
    }

    fn directory(
        &self,
        directory: &Path,
        depth: usize,
        been: &mut HashSet<(u64, u64)>,
        visit: &mut dyn FnMut(PathBuf),
    ) -> io::Result<()> {
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let name = entry.file_name();
            if is_hidden(&name.to_string_lossy()) {
                continue;
            }
            let path = entry.path();
            // What vanishes between the listing and the look at it was not finished.
            let Ok(mut kind) = entry.file_type() else { continue };
            if kind.is_symlink() {
                match fs::metadata(&path) {
                    Ok(target) => kind = target.file_type(),
                    Err(_) => continue,
                }
            }
            if kind.is_dir() {
                let descend = self.recursive || self.matcher.is_some();
                if !descend || depth >= MAX_DEPTH || self.archive.as_deref() == Some(&*path) {
                    continue;
                }
                let Ok(metadata) = fs::metadata(&path) else { continue };
                if been.insert((metadata.dev(), metadata.ino())) {
                    match self.directory(&path, depth + 1, been, visit) {
                        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                        other => other?,
                    }
                }
            } else if kind.is_file()
                && self.matcher.as_ref().is_none_or(|matcher| matcher.is_match(&path))
            {
                visit(path);
            }
        }
        Ok(())
    }
}

fn is_hidden(name: &str) -> bool {
    name.starts_with('.')
        || (name.starts_with('_') && !name.contains('='))
        || UNFINISHED.iter().any(|end| name.ends_with(end))
}

pub(super) fn mtime_ns(metadata: &Metadata) -> i64 {
    metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec())
}

/// Finds files that were not there before.
#[derive(Debug)]
pub(super) struct Scanner {
    target: Target,
    settle: Duration,
    /// Files that are numbered, or on their way to be.
    seen: HashSet<PathBuf>,
    /// Files that may still be being written: size, time of modification, and since when both
    /// are the same.
    unsettled: HashMap<PathBuf, (u64, i64, Instant)>,
    /// Files modified before this are too old, nanoseconds since the Unix epoch.
    floor_ns: Option<i64>,
}

impl Scanner {
    pub fn new(target: Target, settle: Duration) -> Self {
        Self { target, settle, seen: HashSet::new(), unsettled: HashMap::new(), floor_ns: None }
    }

    pub fn target(&self) -> &Target {
        &self.target
    }

    /// These need not be found again.
    pub fn known(&mut self, path: PathBuf) {
        self.seen.insert(path);
    }

    /// The file is gone; another of its name would be a new one.
    pub fn forget(&mut self, path: &Path) {
        self.seen.remove(path);
    }

    /// Files modified before `floor_ns` are not found any more.
    pub fn ignore_before(&mut self, floor_ns: i64) {
        self.floor_ns = self.floor_ns.max(Some(floor_ns));
    }

    /// Lists the directory and returns what is new, in no order. Each file is returned once.
    /// With `settled`, only what has not changed for the settling time; `now` is the clock.
    pub fn scan(&mut self, now: Instant, settled: bool) -> Result<Vec<Found>, SourceError> {
        let Self { target, settle, seen, unsettled, floor_ns } = self;
        let waiting = std::mem::take(unsettled);
        let mut found = Vec::new();
        let walked = target.walk(&mut |path| {
            if seen.contains(&path) {
                return;
            }
            let Ok(metadata) = fs::metadata(&path) else { return };
            let (size, mtime_ns) = (metadata.size(), mtime_ns(&metadata));
            if floor_ns.is_some_and(|floor| mtime_ns < floor) {
                return;
            }
            // Nothing to read in it, and it may be that its writer has only just made it.
            if size == 0 {
                return;
            }
            let since = match waiting.get(&path) {
                Some((s, m, since)) if (*s, *m) == (size, mtime_ns) => *since,
                _ => now,
            };
            if settled && !settle.is_zero() && now.duration_since(since) < *settle {
                unsettled.insert(path, (size, mtime_ns, since));
            } else {
                found.push(Found { path, size, mtime_ns });
            }
        });
        if let Err(error) = walked {
            // Half a listing tells nothing of what is missing in it, so what it did find waits.
            *unsettled = waiting;
            return Err(SourceError::io("list", target.root(), error));
        }
        seen.extend(found.iter().map(|found| found.path.clone()));
        Ok(found)
    }

    /// Files seen that may still be being written.
    pub fn unsettled(&self) -> usize {
        self.unsettled.len()
    }
}

#[cfg(test)]
#[path = "tests/scan.rs"]
mod tests;
