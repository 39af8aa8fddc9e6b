//! Files in a directory: NDJSON, CSV or Parquet, in Hive's directories if they are partitioned.
//!
//! A file gets its name when it is complete and flushed: it is written below `_millpond/` in the
//! same directory, which readers pass over like everything that begins with `_`, and moved into
//! place by a rename. Nobody sees half a file.
//!
//! # Exactly once
//! A directory has no transactions, so an epoch is made repeatable instead. The names of its files
//! follow from the sink, the epoch, the token of the staged rows and a number: writing the same
//! staged rows again gives the same files under the same names. After the last rename the epoch is
//! noted in `_millpond/PIPELINE.SINK.json`, which is replaced as a whole.
//!
//! - **Killed before or between the renames**: the epoch is not noted, the next start writes all of
//!   its files again, those that were there over themselves. Until then a reader may see some of
//!   the epoch's files and not the others; each of them is whole and right.
//! - **Killed between the last rename and the note**: the same; the files are replaced by equal ones.
//! - **Killed after the note**: the next start finds it and writes nothing.
//! - **A second daemon**: a lock on a file in `_millpond/` keeps it out for as long as the first one
//!   lives, on one machine and on file systems that lock across machines. Where they do not, the
//!   note is compared before each epoch; two daemons that commit in the same instant are not told
//!   apart there.
//! - **A lost checkpoint**: the note is of another ledger, and opening is refused.
//!
//! # Complete mode
//! Each trigger's rows replace those of the one before. The new files are moved over the old ones
//! of the same name, which replaces each at once, and files that the new set lacks are removed.
//! With one file, which is what an unpartitioned result up to `max_file_rows` makes, readers see the
//! old table or the new one; with several they may see some of each for a moment.
//!
//! Update mode is refused: a file cannot be changed, and rows that take each other's place are not
//! what a reader of files expects.

mod encode;
mod partition;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use serde::{Deserialize, Serialize};

use self::encode::{FileEncoder, encoding, parquet_properties, suffix};
use self::partition::Partitioner;
use super::disk;
use super::encode::encoder;
use super::error::SinkError;
use super::staged::{StagedRows, escape};
use super::target::{CommitInfo, Decision, Guarantee, Marker, TargetContext};
use crate::lake::Compression;
use crate::sql::OutputMode;

/// Beside the data, and passed over by whoever reads the directory.
const OWN_DIRECTORY: &str = "_millpond";

/// Files that rows are being written to at a time. When rows go to more directories than this, the
/// file that has waited longest is closed, and its directory gets another one later.
const MOST_OPEN_FILES: usize = 64;

/// Where and how to write files.
#[derive(Clone, Debug)]
pub struct FilesOptions {
    /// The directory; made if it is missing.
    pub path: PathBuf,
    /// What is in the files.
    pub format: FileFormat,
    /// How whole files of NDJSON and CSV are compressed; Parquet compresses its columns.
    pub compression: FileCompression,
    /// The columns whose values name directories, outermost first. They are left out of the files.
    pub partition_by: Vec<String>,
    /// A file is closed after about this many rows; at least one.
    pub max_file_rows: u64,
}

impl FilesOptions {
    /// The default for [`FilesOptions::max_file_rows`].
    pub const MAX_FILE_ROWS: u64 = 10_000_000;
}

/// What is in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileFormat {
    /// One JSON object a line.
    Json,
    /// Comma-separated values.
    Csv {
        /// Between fields; `,`.
        delimiter: u8,
        /// Whether the first line names the columns.
        header: bool,
    },
    /// Parquet, its column chunks compressed like this.
    Parquet(Compression),
}

/// How a whole file is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FileCompression {
    /// Not at all.
    #[default]
    None,
    /// gzip; `.gz`.
    Gzip,
    /// Zstandard of this level, 1 to 22; `.zst`.
    Zstd(i32),
}

/// What is noted in the directory.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Note {
    last: Option<Marker>,
    /// In complete mode: the files of the table as it is, relative to the directory.
    #[serde(default)]
    files: BTreeSet<String>,
}

/// Writes files.
pub struct FilesTarget {
    shared: Arc<Shared>,
    /// What the note has to say before a commit.
    expected: Option<Marker>,
}

/// What the threads that write files share.
struct Shared {
    options: FilesOptions,
    context: TargetContext,
    file_schema: SchemaRef,
    partitioner: Partitioner,
    /// `PIPELINE.SINK`, fit for a file's name.
    name: String,
    /// Held for as long as the target is open.
    _lock: File,
}

impl FilesTarget {
    pub(super) const GUARANTEE: Guarantee = Guarantee::ExactlyOnce(
        "each epoch makes the same files under the same names, however often it is written; a file \
         gets its name when it is complete",
    );

    pub(super) async fn open(
        options: FilesOptions,
        context: TargetContext,
    ) -> Result<Self, SinkError> {
        let partitioner = check(&options, &context)?;
        let file_schema = context.schema.project(partitioner.rest());
        let file_schema = Arc::new(file_schema.map_err(SinkError::internal)?);
        if let Some(spec) = encoding(options.format) {
            // Nothing but the columns' types can be wrong here.
            let target = options.path.display().to_string();
            encoder(&context.sink, &target, &file_schema, &spec)?;
        }
        disk::blocking(move || {
            let own = options.path.join(OWN_DIRECTORY);
            disk::create_dirs(&own)?;
            let name = format!("{}.{}", escape(&context.pipeline), escape(&context.sink));
            let lock = lock(&own.join(format!("{name}.lock")), &options)?;
            let shared =
                Arc::new(Shared { options, context, file_schema, partitioner, name, _lock: lock });
            // What a killed daemon left half-written.
            shared.clear_scratch()?;
            let found = shared.note()?.last;
            let expected = shared.context.check(&shared.described(), found)?;
            Ok(Self { shared, expected })
        })
        .await
    }

    pub(super) fn address(&self) -> String {
        self.shared.described()
    }

    pub(super) async fn marker(&mut self) -> Result<Option<Marker>, SinkError> {
        let shared = self.shared.clone();
        disk::blocking(move || Ok(shared.note()?.last)).await
    }

    pub(super) async fn commit(
        &mut self,
        epoch: u64,
        rows: &StagedRows,
    ) -> Result<CommitInfo, SinkError> {
        let (shared, expected, rows) = (self.shared.clone(), self.expected.clone(), rows.clone());
        let marker = shared.context.marker(epoch, rows.token());
        let info = disk::blocking(move || shared.commit(epoch, &rows, &expected)).await?;
        self.expected = Some(marker);
        Ok(info)
    }
}

/// What can be said without looking at the directory.
fn check(options: &FilesOptions, context: &TargetContext) -> Result<Partitioner, SinkError> {
    let mut problems = Vec::new();
    if context.mode == OutputMode::Update {
        problems.push(
            "files cannot take a query in update mode, because a file that is written is not \
             changed; use append or complete"
                .to_owned(),
        );
    }
    let mut columns = Vec::new();
    for name in &options.partition_by {
        match context.schema.index_of(name) {
            Err(_) => problems.push(format!("partition column `{name}` is no column of the query")),
            Ok(index) if columns.contains(&index) => {
                problems.push(format!("partition column `{name}` is listed twice"));
            }
            Ok(index) if !Partitioner::can(context.schema.field(index).data_type()) => {
                problems.push(format!(
                    "partition column `{name}` is {}, which cannot name a directory",
                    context.schema.field(index).data_type()
                ));
            }
            Ok(index) => columns.push(index),
        }
    }
    if !columns.is_empty() && columns.len() == context.schema.fields().len() {
        problems.push("every column is a partition column; files need one of their own".to_owned());
    }
    match (options.format, options.compression) {
        (FileFormat::Parquet(compression), FileCompression::None) => {
            if let Err(reason) = parquet_properties(compression) {
                problems.push(format!("compression {compression}: {reason}"));
            }
        }
        (FileFormat::Parquet(_), _) => {
            problems
                .push("Parquet compresses its columns; its files are not compressed again".into());
        }
        (_, FileCompression::Zstd(level)) if !(1..=22).contains(&level) => {
            problems.push(format!("zstd has levels from 1 to 22, not {level}"));
        }
        (FileFormat::Csv { delimiter: b'"' | b'\n' | b'\r', .. }, _) => {
            problems.push("quotes and line breaks cannot stand between fields".to_owned());
        }
        _ => {}
    }
    if !problems.is_empty() {
        return Err(SinkError::Definition { sink: context.sink.clone(), problems });
    }
    Partitioner::new(&context.schema, columns, &options.path.display().to_string())
}

fn lock(path: &Path, options: &FilesOptions) -> Result<File, SinkError> {
    let file = File::options().write(true).create(true).truncate(false).open(path);
    let file = file.map_err(SinkError::io("create", path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        // An earlier generation of this daemon may still be on its way out.
        Err(TryLockError::WouldBlock) => Err(SinkError::Unavailable {
            target: format!("the directory {}", options.path.display()),
            reason: format!("another writer of the same name holds {}", path.display()),
        }),
        // A file system without locks: the note is what is left.
        Err(TryLockError::Error(e)) if e.kind() == std::io::ErrorKind::Unsupported => Ok(file),
        Err(TryLockError::Error(e)) => Err(SinkError::io("lock", path)(e)),
    }
}

impl Shared {
    fn described(&self) -> String {
        format!("the directory {}", self.options.path.display())
    }

    fn own(&self) -> PathBuf {
        self.options.path.join(OWN_DIRECTORY)
    }

    fn note_path(&self) -> PathBuf {
        self.own().join(format!("{}.json", self.name))
    }

    fn scratch(&self) -> PathBuf {
        self.own().join(format!("{}.tmp", self.name))
    }

    fn note(&self) -> Result<Note, SinkError> {
        let path = self.note_path();
        let Some(bytes) = disk::read(&path)? else { return Ok(Note::default()) };
        // Not taken for "nothing is there": that would write every epoch again.
        serde_json::from_slice(&bytes).map_err(|e| SinkError::Rejected {
            target: self.described(),
            reason: format!("{} cannot be understood: {e}", path.display()),
        })
    }

    fn clear_scratch(&self) -> Result<(), SinkError> {
        let scratch = self.scratch();
        match fs::remove_dir_all(&scratch) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(SinkError::io("remove", &scratch)(e))
            }
            _ => disk::create_dirs(&scratch),
        }
    }

    fn commit(
        &self,
        epoch: u64,
        rows: &StagedRows,
        expected: &Option<Marker>,
    ) -> Result<CommitInfo, SinkError> {
        let started = Instant::now();
        let mut info = CommitInfo { rows: rows.num_rows(), ..CommitInfo::default() };
        let before = self.note()?;
        let token = rows.token();
        match self.context.decide(&self.described(), epoch, token, expected, &before.last)? {
            Decision::AlreadyThere => {
                info.already_there = true;
                return Ok(info);
            }
            Decision::Write => {}
        }
        self.clear_scratch()?;
        let files = self.write(epoch, rows, &mut info)?;
        fail::fail_point!("files::written");
        let directories: BTreeSet<PathBuf> =
            files.values().filter_map(|to| to.parent().map(Path::to_owned)).collect();
        for directory in &directories {
            disk::create_dirs(directory)?;
        }
        for (from, to) in &files {
            fs::rename(from, to).map_err(SinkError::io("name", to))?;
            fail::fail_point!("files::renamed");
        }
        let mut note = Note { last: Some(self.context.marker(epoch, token)), ..Note::default() };
        if self.context.mode == OutputMode::Complete {
            note.files = files.values().filter_map(|to| self.relative(to)).collect();
            self.remove(before.files.difference(&note.files))?;
        }
        for directory in &directories {
            disk::sync_dir(directory)?;
        }
        fail::fail_point!("files::named");
        let bytes = serde_json::to_vec(&note).map_err(SinkError::internal)?;
        disk::replace(&self.note_path(), &bytes)?;
        fail::fail_point!("files::noted");
        info.took = started.elapsed();
        Ok(info)
    }

    /// Writes the epoch's files, complete and flushed, and tells under which name each belongs.
    fn write(
        &self,
        epoch: u64,
        rows: &StagedRows,
        info: &mut CommitInfo,
    ) -> Result<BTreeMap<PathBuf, PathBuf>, SinkError> {
        let mut open: HashMap<String, OpenFile> = HashMap::new();
        let mut files = BTreeMap::new();
        // How many files each directory has got: their numbers must not depend on anything but the
        // rows.
        let mut numbers: HashMap<String, usize> = HashMap::new();
        let mut writes = 0;
        for batch in rows.batches()? {
            for (directory, part) in self.partitioner.split(&batch?)? {
                writes += 1;
                let mut file = match open.remove(&directory) {
                    Some(file) => file,
                    None => {
                        if open.len() >= MOST_OPEN_FILES {
                            let oldest = open.iter().min_by_key(|(_, file)| file.last_write);
                            let oldest = oldest.map(|(directory, _)| directory.clone());
                            if let Some(file) = oldest.and_then(|oldest| open.remove(&oldest)) {
                                file.finish(info)?;
                            }
                        }
                        let number = numbers.entry(directory.clone()).or_default();
                        let to = self.place(epoch, rows.token(), &directory, *number);
                        *number += 1;
                        let from = self.scratch().join(files.len().to_string());
                        files.insert(from.clone(), to);
                        OpenFile::create(from, self)?
                    }
                };
                file.last_write = writes;
                file.write(&part)?;
                if file.rows >= self.options.max_file_rows {
                    file.finish(info)?;
                } else {
                    open.insert(directory, file);
                }
            }
        }
        for file in open.into_values() {
            file.finish(info)?;
        }
        if files.is_empty() && self.context.mode == OutputMode::Complete {
            // An empty table is a file without rows: whoever waits for the table finds it.
            let from = self.scratch().join("0");
            let to = self.place(epoch, rows.token(), "", 0);
            OpenFile::create(from.clone(), self)?.finish(info)?;
            files.insert(from, to);
        }
        info.files = files.len();
        Ok(files)
    }

    /// The path of an epoch's file. In complete mode the names stay the same, so that each trigger's
    /// files take the place of the last one's.
    fn place(&self, epoch: u64, token: &str, directory: &str, number: usize) -> PathBuf {
        let suffix = suffix(self.options.format, self.options.compression);
        let name = match self.context.mode {
            OutputMode::Complete => format!("{}-{number:05}{suffix}", self.name),
            OutputMode::Append | OutputMode::Update => {
                let token = &token[..token.len().min(12)];
                format!("{}-{epoch:012}-{token}-{number:05}{suffix}", self.name)
            }
        };
        self.options.path.join(directory).join(name)
    }

    fn relative(&self, path: &Path) -> Option<String> {
        path.strip_prefix(&self.options.path).ok()?.to_str().map(str::to_owned)
    }

    fn remove<'a>(&self, files: impl Iterator<Item = &'a String>) -> Result<(), SinkError> {
        for file in files {
            let path = self.options.path.join(file);
            match fs::remove_file(&path) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(SinkError::io("remove", &path)(e));
                }
                _ => {}
            }
            // A directory that has become empty goes as well; others do not let themselves be
            // removed.
            if let Some(parent) = path.parent().filter(|parent| *parent != self.options.path) {
                let _ = fs::remove_dir(parent);
            }
        }
        Ok(())
    }
}

/// A file that rows are being written to.
struct OpenFile {
    path: PathBuf,
    encoder: FileEncoder,
    rows: u64,
    last_write: u64,
}

impl OpenFile {
    fn create(path: PathBuf, shared: &Shared) -> Result<Self, SinkError> {
        let file = File::create(&path).map_err(SinkError::io("create", &path))?;
        let Shared { options, file_schema, .. } = shared;
        let encoder = FileEncoder::new(file, file_schema, options.format, options.compression)?;
        Ok(Self { path, encoder, rows: 0, last_write: 0 })
    }

    fn write(&mut self, rows: &RecordBatch) -> Result<(), SinkError> {
        self.encoder.write(rows).map_err(SinkError::io("write", &self.path))?;
        self.rows += rows.num_rows() as u64;
        Ok(())
    }

    fn finish(self, info: &mut CommitInfo) -> Result<(), SinkError> {
        let bytes = self.encoder.finish().map_err(SinkError::io("write", &self.path))?;
        info.bytes += bytes;
        info.written += self.rows;
        Ok(())
    }
}
