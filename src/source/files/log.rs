//! The discovery log: which file has which number, for ever.
//!
//! A position names a file by its number in this log, so a file is entered, and the entry
//! flushed, before its first byte is read; what a file's number means is then the same after any
//! crash. Each line is the CRC-32 of its JSON in eight hexadecimal digits, a space, and the JSON.
//! The first line is the log's own. A crash can tear the end off; that was never read from, so it
//! is dropped. Damage before an intact line is no crash's work, and an error.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::scan::Found;
use crate::source::{MAX_SEQUENCE, SourceError};

const KIND: &str = "millpond files";
const VERSION: u32 = 1;

/// A file with its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub seq: i64,
    pub path: Arc<PathBuf>,
    /// Its size when it was entered: more is never read of it.
    pub size: u64,
    /// Its time of modification, nanoseconds since the Unix epoch.
    pub mtime_ns: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    log: String,
    version: u32,
    /// No entry from here on was ever removed: the number that comes next, if there are none.
    next: i64,
    /// The newest time of modification among the entries that were removed.
    newest_ns: Option<i64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    seq: i64,
    /// The path, when it is UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    /// Its bytes, when it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    path_bytes: Option<Vec<u8>>,
    size: u64,
    mtime_ns: i64,
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct DiscoveryLog {
    path: PathBuf,
    file: File,
    /// Where the intact part ends, in bytes.
    len: u64,
    /// A write failed: what is after `len` has to be cut off before the next.
    torn: bool,
    entries: BTreeMap<i64, Entry>,
    next: i64,
    newest_ns: Option<i64>,
}

impl DiscoveryLog {
    /// Opens the log at `path`, or makes it.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        let io = |action| move |error| SourceError::io(action, path, error);
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(io("read")(error)),
        };
        let (head, entries, len) = parse(&text)
            .map_err(|reason| SourceError::Log { path: path.display().to_string(), reason })?;
        let Some(head) = head else {
            // Nothing was ever read from a log without its first line.
            return Self::create(path, BTreeMap::new(), 0, None);
        };
        let next = entries.last_key_value().map_or(head.next, |(seq, _)| head.next.max(seq + 1));
        let newest_ns = entries.values().map(|entry| entry.mtime_ns).max().max(head.newest_ns);
        let file = OpenOptions::new().write(true).open(path).map_err(io("open"))?;
        let torn = len < text.len() as u64;
        let mut log = Self { path: path.to_owned(), file, len, torn, entries, next, newest_ns };
        log.mend()?;
        Ok(log)
    }

    /// Writes a whole new log under another name, and puts it in place.
    fn create(
        path: &Path,
        entries: BTreeMap<i64, Entry>,
        next: i64,
        newest_ns: Option<i64>,
    ) -> Result<Self, SourceError> {
        let io = |action| move |error| SourceError::io(action, path, error);
        let mut text = Vec::new();
        let head = Head { log: KIND.to_owned(), version: VERSION, next, newest_ns };
        line(&mut text, &head).map_err(io("write"))?;
        for entry in entries.values() {
            line(&mut text, &Line::from(entry)).map_err(io("write"))?;
        }
        let directory = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(directory).map_err(io("make the directory of"))?;
        let new = path.with_extension("log.new");
        let write = || -> io::Result<File> {
            let mut file = File::create(&new)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&new, path)?;
            File::open(directory)?.sync_all()?;
            Ok(file)
        };
        let file = write().map_err(io("write"))?;
        let len = text.len() as u64;
        Ok(Self { path: path.to_owned(), file, len, torn: false, entries, next, newest_ns })
    }

    /// The number that the next file will have.
    pub fn next(&self) -> i64 {
        self.next
    }

    /// The newest time of modification ever entered, nanoseconds since the Unix epoch.
    pub fn newest_ns(&self) -> Option<i64> {
        self.newest_ns
    }

    /// All entries that have not been removed, by number.
    pub fn entries(&self) -> &BTreeMap<i64, Entry> {
        &self.entries
    }

    /// Gives numbers to files, in this order. They are flushed when this returns.
    pub fn append(&mut self, found: Vec<Found>) -> Result<Vec<Entry>, SourceError> {
        let path = self.path.clone();
        let io = |error| SourceError::io("write", &path, error);
        let mut entries = Vec::with_capacity(found.len());
        let mut text = Vec::new();
        for (found, seq) in found.into_iter().zip(self.next..) {
            if seq >= MAX_SEQUENCE {
                let reason = "it holds as many files as positions can number";
                return Err(SourceError::Log {
                    path: path.display().to_string(),
                    reason: reason.to_owned(),
                });
            }
            let Found { path, size, mtime_ns } = found;
            let entry = Entry { seq, path: Arc::new(path), size, mtime_ns };
            line(&mut text, &Line::from(&entry)).map_err(io)?;
            entries.push(entry);
        }
        self.mend()?;
        self.torn = true;
        self.file.write_all(&text).and_then(|()| self.file.sync_data()).map_err(io)?;
        self.torn = false;
        self.len += text.len() as u64;
        for entry in &entries {
            self.next = entry.seq + 1;
            self.newest_ns = self.newest_ns.max(Some(entry.mtime_ns));
            self.entries.insert(entry.seq, entry.clone());
        }
        Ok(entries)
    }

    /// Forgets entries. What is left is written anew once it is worth it: the log then shrinks
    /// with them, and until then a restart knows them again.
    pub fn remove(&mut self, seqs: &[i64]) -> Result<(), SourceError> {
        let bytes = |entry: &Entry| entry.path.as_os_str().len() as u64 + 64;
        for seq in seqs {
            self.entries.remove(seq);
        }
        // Reading the log at a start is cheap, so half of it may be waste.
        let live: u64 = self.entries.values().map(bytes).sum();
        if self.len > (2 * live).max(64 << 10) {
            let entries = std::mem::take(&mut self.entries);
            *self = Self::create(&self.path, entries.clone(), self.next, self.newest_ns)
                .inspect_err(|_| {
                    self.entries = entries;
                })?;
        }
        Ok(())
    }

    /// Cuts off what a crash or a failed write left, and goes to the end.
    fn mend(&mut self) -> Result<(), SourceError> {
        let io = |error| SourceError::io("mend", &self.path, error);
        if self.torn {
            self.file.set_len(self.len).and_then(|()| self.file.sync_data()).map_err(io)?;
            self.torn = false;
        }
        self.file.seek(SeekFrom::Start(self.len)).map_err(io)?;
        Ok(())
    }
}

impl From<&Entry> for Line {
    fn from(entry: &Entry) -> Self {
        let text = entry.path.to_str().map(str::to_owned);
        let bytes = text.is_none().then(|| entry.path.as_os_str().as_bytes().to_vec());
        Self {
            seq: entry.seq,
            path: text,
            path_bytes: bytes,
            size: entry.size,
            mtime_ns: entry.mtime_ns,
        }
    }
}

fn line(text: &mut Vec<u8>, content: &impl Serialize) -> io::Result<()> {
    let json = serde_json::to_vec(content)?;
    writeln!(text, "{:08x} {}", crc32fast::hash(&json), String::from_utf8_lossy(&json))
}

/// The JSON of a line, if its checksum says that it is whole.
fn intact(line: &[u8]) -> Option<&[u8]> {
    let (sum, json) = line.split_at_checked(9)?;
    let sum = sum.strip_suffix(b" ")?;
    let sum = u32::from_str_radix(std::str::from_utf8(sum).ok()?, 16).ok()?;
    (sum == crc32fast::hash(json)).then_some(json)
}

type Parsed = (Option<Head>, BTreeMap<i64, Entry>, u64);

/// The log's first line, its entries, and where the intact part ends.
fn parse(text: &[u8]) -> Result<Parsed, String> {
    let mut head = None;
    let mut entries = BTreeMap::new();
    let mut at = 0;
    let mut number = 0;
    while let Some(end) = memchr::memchr(b'\n', &text[at..]).map(|end| at + end) {
        number += 1;
        let Some(json) = intact(&text[at..end]) else { break };
        let wrong = |error: serde_json::Error| format!("line {number}: {error}");
        if head.is_none() {
            let found: Head = serde_json::from_slice(json).map_err(wrong)?;
            if found.log != KIND || found.version != VERSION {
                return Err(format!(
                    "it is a '{}' of version {}, this is version {VERSION} of '{KIND}'",
                    found.log, found.version
                ));
            }
            head = Some(found);
        } else {
            let Line { seq, path, path_bytes, size, mtime_ns } =
                serde_json::from_slice(json).map_err(wrong)?;
            let path = match (path, path_bytes) {
                (Some(text), None) => PathBuf::from(text),
                (None, Some(bytes)) => PathBuf::from(std::ffi::OsString::from_vec(bytes)),
                _ => return Err(format!("line {number}: it must have one path")),
            };
            if entries.last_key_value().is_some_and(|(last, _)| seq <= *last) || seq < 0 {
                return Err(format!("line {number}: file {seq} is out of order"));
            }
            entries.insert(seq, Entry { seq, path: Arc::new(path), size, mtime_ns });
        }
        at = end + 1;
    }
    let rest = text[at..].split(|byte| *byte == b'\n').skip(1);
    for (behind, line) in rest.enumerate() {
        if intact(line).is_some() {
            return Err(format!(
                "line {} is damaged, and line {} after it is not",
                number.max(1),
                number.max(1) + behind + 1
            ));
        }
    }
    Ok((head, entries, at as u64))
}

#[cfg(test)]
#[path = "tests/log.rs"]
mod tests;
