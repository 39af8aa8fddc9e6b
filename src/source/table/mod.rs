//! Static tables: what does not stream, read as a whole, and again when it has changed.
//!
//! A table is a Delta table, or files of rows: Parquet, CSV or JSON, one or a directory or a glob of
//! them. Its columns are found by name. Rows that are bad, and files that cannot be read, are errors:
//! a table half read would lose matches, and nobody would see it.
//!
//! [`TableReader::refresh`] reads only what has changed: a new version of a Delta table; else a file
//! that is new, gone, or has another size, another time of change or another inode.

mod error;
mod schema;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

pub use error::TableError;

use super::delta::whole::{self as delta, TableVersion};
use super::delta::{DeltaOptions, DeltaSource};
use super::files::Framing;
use super::files::whole::{self as files, Listed, Spoilt};
use super::{Record, SourceError};
use crate::codec::{AppendError, Decoder, FormatSpec};
use crate::lake::TableLocation;

/// A file that changed less than this ago may still be being written. Also more than any file
/// system's clock ticks, so that two changes in one tick are not taken for one.
const SETTLE: Duration = Duration::from_secs(1);
/// Rows of a batch, where the format does not say.
const BATCH: usize = 32 << 10;
/// A record of more bytes is refused.
const MAX_RECORD: usize = 16 << 20;

/// Which table, and how it is written.
#[derive(Debug, Clone)]
pub struct TableOptions {
    /// A Delta table's directory or address; else a file, a directory (its files, not those of
    /// directories in it), or a glob as of a [files source](super::files::FilesOptions::path).
    pub path: String,
    /// How it is written.
    pub format: TableFormat,
    /// Options of a Delta table's object store, as [`store`](crate::lake::store) has them.
    pub storage_options: BTreeMap<String, String>,
}

impl TableOptions {
    /// The table at `path`, written as `format` says.
    pub fn new(path: impl Into<String>, format: TableFormat) -> Self {
        Self { path: path.into(), format, storage_options: BTreeMap::new() }
    }

    fn location(&self) -> TableLocation {
        TableLocation::new(self.path.as_str()).with_storage_options(self.storage_options.clone())
    }
}

/// How a table is written.
#[derive(Debug, Clone)]
pub enum TableFormat {
    /// A Delta table.
    Delta,
    /// Parquet files.
    Parquet,
    /// Files of records, compressed or not.
    Records {
        /// Where records end.
        framing: Framing,
        /// How they become rows.
        spec: FormatSpec,
    },
}

/// What there was when a table was read; equal as long as nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableStamp(Seen);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    Version(TableVersion),
    Files {
        files: Vec<Listed>,
        /// No file had changed a moment before.
        settled: bool,
    },
}

/// All rows of a table.
#[derive(Debug, Clone)]
pub struct TableRows {
    /// With the columns of [`TableReader::schema`].
    pub batches: Vec<RecordBatch>,
    /// What they were read from.
    pub stamp: TableStamp,
}

impl TableRows {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The memory that they take, in bytes.
    pub fn memory_bytes(&self) -> usize {
        self.batches.iter().map(RecordBatch::get_array_memory_size).sum()
    }
}

/// What a look at a table came to.
#[derive(Debug)]
pub enum Refreshed {
    /// It is as it was.
    Unchanged,
    /// It changed a moment ago and may still be being written: look again soon.
    Unsettled,
    /// It has changed, and these are its rows.
    Changed(TableRows),
}

/// Reads a table. Everything here blocks for as long as reading takes.
#[derive(Debug, Clone)]
pub struct TableReader {
    options: TableOptions,
    schema: SchemaRef,
}

impl TableReader {
    /// For the columns that are declared; or else for the table's own, with Spark's types, each of
    /// which may be NULL. A table's own are looked up: in the log of a Delta table, in the first
    /// file of a Parquet table.
    ///
    /// # Errors
    /// The table's own columns cannot be found out; CSV and JSON have none. A declared type is none
    /// of the format's.
    pub fn open(options: TableOptions, declared: Option<SchemaRef>) -> Result<Self, TableError> {
        let schema = match (declared, &options.format) {
            (Some(declared), _) => declared,
            (None, TableFormat::Delta) => {
                DeltaSource::schema(&DeltaOptions::new(options.path.as_str()))?
            }
            (None, TableFormat::Parquet) => {
                let found = list(&options.path)?;
                // There is one: none would have been an error.
                let first = found.first().ok_or_else(|| empty(&options.path))?;
                let columns = files::columns_of(first).map_err(|error| spoilt(first, error))?;
                schema::of_spark(&columns).map_err(|reason| TableError::Content {
                    file: first.path.display().to_string(),
                    line: None,
                    reason,
                })?
            }
            (None, TableFormat::Records { spec, .. }) => {
                return Err(TableError::Source(SourceError::Option {
                    option: "schema",
                    problem: format!("the columns of {} have to be declared", spec.name()),
                }));
            }
        };
        let reader = Self { options, schema };
        if let TableFormat::Records { spec, .. } = &reader.options.format {
            // What it says of the columns, it says before there is a file.
            reader.decoder(spec)?;
        }
        Ok(reader)
    }

    /// The columns.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// Where the table is.
    pub fn path(&self) -> &str {
        &self.options.path
    }

    /// Looks at whether the table is there, without reading its rows.
    ///
    /// # Errors
    /// It is not, or it cannot be seen.
    pub fn look(&self) -> Result<(), TableError> {
        match &self.options.format {
            TableFormat::Delta => delta::newest(&self.options.location()).map(drop)?,
            TableFormat::Parquet | TableFormat::Records { .. } => {
                list(&self.options.path).map(drop)?
            }
        }
        Ok(())
    }

    /// Reads all rows.
    ///
    /// # Errors
    /// Some cannot be read; then none are.
    pub fn read(&self) -> Result<TableRows, TableError> {
        match &self.options.format {
            TableFormat::Delta => {
                match delta::read(&self.options.location(), &self.schema, None)? {
                    Some((version, batches)) => {
                        Ok(TableRows { batches, stamp: TableStamp(Seen::Version(version)) })
                    }
                    // Only what is known already is not read.
                    None => Err(TableError::Changing { path: self.options.path.clone() }),
                }
            }
            TableFormat::Parquet | TableFormat::Records { .. } => {
                self.read_files(list(&self.options.path)?)
            }
        }
    }

    /// Reads all rows if the table is not as it was when `known` was made. With `settled`, files
    /// that may still be being written are left alone.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn refresh(&self, known: &TableStamp, settled: bool) -> Result<Refreshed, TableError> {
        if let TableFormat::Delta = &self.options.format {
            let known = match &known.0 {
                Seen::Version(version) => Some(version),
                Seen::Files { .. } => None,
            };
            return Ok(match delta::read(&self.options.location(), &self.schema, known)? {
                None => Refreshed::Unchanged,
                Some((version, batches)) => {
                    let stamp = TableStamp(Seen::Version(version));
                    Refreshed::Changed(TableRows { batches, stamp })
                }
            });
        }
        let now = list(&self.options.path)?;
        match &known.0 {
            Seen::Files { files, settled: true } if *files == now => Ok(Refreshed::Unchanged),
            _ if settled && !is_settled(&now) => Ok(Refreshed::Unsettled),
            _ => Ok(Refreshed::Changed(self.read_files(now)?)),
        }
    }

    fn read_files(&self, found: Vec<Listed>) -> Result<TableRows, TableError> {
        let settled = is_settled(&found);
        let mut batches = Vec::new();
        match &self.options.format {
            TableFormat::Records { framing, spec } => {
                let mut decoder = self.decoder(spec)?;
                for file in &found {
                    let result = files::read_records(file, framing, MAX_RECORD, |record| {
                        decode(&mut decoder, &record, &mut batches)
                    });
                    result.map_err(|error| spoilt(file, error))?;
                }
                batches.extend(finish(&mut decoder)?);
            }
            TableFormat::Parquet | TableFormat::Delta => {
                for file in &found {
                    files::read_columns(file, &self.schema, &mut batches)
                        .map_err(|error| spoilt(file, error))?;
                }
            }
        }
        if list(&self.options.path)? != found {
            return Err(TableError::Changing { path: self.options.path.clone() });
        }
        Ok(TableRows { batches, stamp: TableStamp(Seen::Files { files: found, settled }) })
    }

    fn decoder(&self, spec: &FormatSpec) -> Result<Decoder, TableError> {
        let all = (0..self.schema.fields().len()).collect();
        Ok(Decoder::new(self.schema(), all, spec, &[])?)
    }
}

/// Appends a record to a batch.
fn decode(
    decoder: &mut Decoder,
    record: &Record<'_>,
    batches: &mut Vec<RecordBatch>,
) -> Result<(), String> {
    let full = match decoder.append(record) {
        Ok(()) | Err(AppendError::NoRow) if decoder.len() < BATCH => return Ok(()),
        Ok(()) | Err(AppendError::NoRow) => false,
        Err(AppendError::BatchFull) => true,
        Err(error) => return Err(error.to_string()),
    };
    batches.extend(finish(decoder).map_err(|error| error.to_string())?);
    if full {
        match decoder.append(record) {
            Ok(()) | Err(AppendError::NoRow) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok(())
}

fn finish(decoder: &mut Decoder) -> Result<Option<RecordBatch>, TableError> {
    if decoder.is_empty() {
        return Ok(None);
    }
    Ok(Some(decoder.finish()?))
}

/// The files at a path. None would be an empty table, which is far more likely a mistake.
fn list(path: &str) -> Result<Vec<Listed>, TableError> {
    let found = files::list(path)?;
    if found.is_empty() { Err(empty(path)) } else { Ok(found) }
}

fn empty(path: &str) -> TableError {
    let local = path.strip_prefix("file://").unwrap_or(path);
    let directories = fs::read_dir(local).is_ok_and(|mut entries| {
        entries.any(|entry| entry.is_ok_and(|entry| entry.path().is_dir()))
    });
    TableError::Empty { path: path.to_owned(), directories }
}

fn spoilt(file: &Listed, spoilt: Spoilt) -> TableError {
    match spoilt {
        Spoilt::System(error) => SourceError::io("read", &file.path, error).into(),
        Spoilt::Content { line, reason } => {
            TableError::Content { file: file.path.display().to_string(), line, reason }
        }
    }
}

/// Whether no file has changed for a moment. The time of change is the file system's, whose clock
/// may be another's: a file from the future is as settled as one from the past.
fn is_settled(files: &[Listed]) -> bool {
    // A clock before 1970 is wrong in a way that does not matter here.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(now.as_nanos()).unwrap_or(i64::MAX);
    files.iter().all(|file| u128::from(now.abs_diff(file.ctime_ns)) >= SETTLE.as_nanos())
}
