//! Files that are read as a whole and not as a stream: those of a static table.

use std::cell::OnceCell;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::log::Entry;
use super::options::{Compression, FileFormat, FilesOptions, Framing};
use super::parquet_file::{self, ParquetFile, Unreadable};
use super::records::{Outcome, Reading, RecordFile, RecordOptions};
use super::scan::{Target, mtime_ns};
use crate::source::{Record, SourceError};

/// Records that are shown before it is looked whether one of them was refused.
const AT_ONCE: usize = 4096;

/// A file, and what tells whether it has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::source) struct Listed {
    pub path: PathBuf,
    pub size: u64,
    /// Nanoseconds since the Unix epoch.
    pub mtime_ns: i64,
    /// When content, name or rights last changed, which nobody can set: nanoseconds since the Unix
    /// epoch.
    pub ctime_ns: i64,
    /// Device and number: a file renamed to this name is another one, whatever its times are.
    pub inode: (u64, u64),
}

/// The files of a directory (not those of directories in it) or of a glob, or the file itself, by
/// their paths. Which names are passed over is said at
/// [`FilesOptions::path`](super::FilesOptions::path).
pub(in crate::source) fn list(path: &str) -> Result<Vec<Listed>, SourceError> {
    let any = FileFormat::Records(Framing::Whole);
    let target = Target::new(&FilesOptions::new(path, any))?;
    let mut found = Vec::new();
    let failed = |action, path: &Path, error| SourceError::io(action, path, error);
    target
        .walk(&mut |path| found.push(path))
        .map_err(|error| failed("read", target.root(), error))?;
    found.sort_unstable();
    found
        .into_iter()
        .map(|path| {
            let metadata = fs::metadata(&path).map_err(|error| failed("read", &path, error))?;
            let ctime = metadata.ctime().saturating_mul(1_000_000_000);
            Ok(Listed {
                size: metadata.size(),
                mtime_ns: mtime_ns(&metadata),
                ctime_ns: ctime.saturating_add(metadata.ctime_nsec()),
                inode: (metadata.dev(), metadata.ino()),
                path,
            })
        })
        .collect()
}

/// Why a file cannot be read as a whole.
#[derive(Debug)]
pub(in crate::source) enum Spoilt {
    /// The operating system says so, which may pass.
    System(io::Error),
    /// What is in it is at fault.
    Content {
        /// Where, counted from 1; files of columns have no lines.
        line: Option<u64>,
        /// What.
        reason: String,
    },
}

impl From<Unreadable> for Spoilt {
    fn from(unreadable: Unreadable) -> Self {
        match unreadable {
            Unreadable::System(error) => Self::System(error),
            Unreadable::Content(reason) => Self::Content { line: None, reason },
        }
    }
}

/// Shows every record of a file, which may be compressed. The first that `visit` refuses is the
/// last.
pub(in crate::source) fn read_records(
    file: &Listed,
    framing: &Framing,
    max_record_bytes: usize,
    mut visit: impl FnMut(Record<'_>) -> Result<(), String>,
) -> Result<(), Spoilt> {
    let options = RecordOptions {
        framing: framing.clone(),
        compression: Compression::Auto,
        max_record_bytes,
    };
    let opened = RecordFile::open(&entry(file), 0, &options, Vec::new());
    let mut records = opened.map_err(|error| Spoilt::from(Unreadable::from(error)))?;
    let refused = OnceCell::new();
    let mut show = |record: Record<'_>| {
        if refused.get().is_none()
            && let Err(reason) = visit(record)
        {
            refused.get_or_init(|| (record.meta.line, reason));
        }
    };
    let mut reading = Reading {
        limit: AT_ONCE,
        shown: 0,
        budget: usize::MAX,
        damaged: Vec::new(),
        visit: &mut show,
    };
    let spoilt = loop {
        (reading.shown, reading.budget) = (0, usize::MAX);
        let outcome = records.read(&mut reading);
        if refused.get().is_some() {
            break None;
        }
        if let Some(damaged) = reading.damaged.drain(..).next() {
            break Some(Spoilt::Content { line: damaged.line, reason: damaged.error });
        }
        match outcome {
            Outcome::Limit | Outcome::Budget | Outcome::Damage => {}
            Outcome::End => break None,
            Outcome::Trouble(error) => break Some(Spoilt::System(error)),
        }
    };
    match (refused.into_inner(), spoilt) {
        (Some((line, reason)), _) => Err(Spoilt::Content { line, reason }),
        (None, Some(spoilt)) => Err(spoilt),
        (None, None) => Ok(()),
    }
}

/// Reads a Parquet file as the columns of `schema`, by their names.
pub(in crate::source) fn read_columns(
    file: &Listed,
    schema: &SchemaRef,
    batches: &mut Vec<RecordBatch>,
) -> Result<(), Spoilt> {
    let mut rows = ParquetFile::open(&entry(file), 0, schema)?;
    while let Some(batch) = rows.next(usize::MAX) {
        batches.push(batch.map_err(|reason| Spoilt::Content { line: None, reason })?);
    }
    Ok(())
}

/// The columns of a Parquet file, as Arrow has them.
pub(in crate::source) fn columns_of(file: &Listed) -> Result<SchemaRef, Spoilt> {
    Ok(parquet_file::columns(&file.path)?)
}

fn entry(file: &Listed) -> Entry {
    Entry { seq: 0, path: Arc::new(file.path.clone()), size: file.size, mtime_ns: file.mtime_ns }
}
