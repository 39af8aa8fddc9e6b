//! One Parquet file, from its first row to its last.

use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder,
};
use parquet::basic::Type as PhysicalType;
use parquet::errors::ParquetError;
use parquet::schema::types::SchemaDescriptor;

use super::input::is_system;
use super::log::Entry;
use super::records::shown;
use crate::source::columns::Conform;

/// Rows that are decoded at once.
const BATCH: usize = 8192;

/// Why a file cannot be read.
#[derive(Debug)]
pub(super) enum Unreadable {
    /// The operating system says so, which may pass.
    System(io::Error),
    /// What is in it is at fault.
    Content(String),
}

/// A Parquet file that is being read.
pub(super) struct ParquetFile {
    pub name: Arc<str>,
    pub modified_us: i64,
    reader: ParquetRecordBatchReader,
    conform: Conform,
    /// Decoded and not handed out yet.
    rest: Option<RecordBatch>,
    /// The number of the next row.
    row: u64,
}

impl ParquetFile {
    /// Opens a file to read it from row `skip_to` on, as the columns of `output`.
    pub fn open(entry: &Entry, skip_to: u64, output: &SchemaRef) -> Result<Self, Unreadable> {
        let file = File::open(&*entry.path).map_err(Unreadable::System)?;
        // The crate is written not to panic on damaged files, and has done so nevertheless.
        let opened = catch_unwind(AssertUnwindSafe(|| open(file, skip_to, output)));
        let (reader, conform, row) = opened.unwrap_or_else(|_| Err(panicked()))?;
        Ok(Self {
            name: shown(&entry.path),
            modified_us: entry.mtime_ns.div_euclid(1000),
            reader,
            conform,
            rest: None,
            row,
        })
    }

    /// The number of the next row.
    pub fn row(&self) -> u64 {
        self.row
    }

    /// The next rows, at most `limit`; `None` after the last.
    pub fn next(&mut self, limit: usize) -> Option<Result<RecordBatch, String>> {
        let batch = match self.rest.take() {
            Some(batch) => batch,
            None => loop {
                let reader = &mut self.reader;
                let next = catch_unwind(AssertUnwindSafe(|| reader.next()));
                match next {
                    Ok(None) => return None,
                    Ok(Some(Ok(batch))) if batch.num_rows() == 0 => {}
                    Ok(Some(Ok(batch))) => match self.conform.apply(&batch) {
                        Ok(batch) => break batch,
                        Err(error) => return Some(Err(error)),
                    },
                    Ok(Some(Err(error))) => return Some(Err(error.to_string())),
                    Err(_) => return Some(Err(PANICKED.to_owned())),
                }
            },
        };
        let now = batch.num_rows().min(limit.max(1));
        if now < batch.num_rows() {
            self.rest = Some(batch.slice(now, batch.num_rows() - now));
        }
        self.row += now as u64;
        Some(Ok(batch.slice(0, now)))
    }
}

/// The columns of a file, as Arrow has them.
pub(super) fn columns(path: &Path) -> Result<SchemaRef, Unreadable> {
    let file = File::open(path).map_err(Unreadable::System)?;
    let loaded = catch_unwind(AssertUnwindSafe(|| {
        let metadata = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new());
        metadata.map_err(broken).map(|metadata| {
            let micros = micros_for_int96(metadata.schema(), metadata.parquet_schema());
            micros.unwrap_or_else(|| metadata.schema().clone())
        })
    }));
    loaded.unwrap_or_else(|_| Err(panicked()))
}

type Opened = (ParquetRecordBatchReader, Conform, u64);

fn open(file: File, skip_to: u64, output: &SchemaRef) -> Result<Opened, Unreadable> {
    let metadata = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new()).map_err(broken)?;
    let metadata = match micros_for_int96(metadata.schema(), metadata.parquet_schema()) {
        None => metadata,
        Some(schema) => {
            let options = ArrowReaderOptions::new().with_schema(schema);
            ArrowReaderMetadata::try_new(metadata.metadata().clone(), options).map_err(broken)?
        }
    };
    let conform = Conform::new(output, metadata.schema(), &[])
        .map_err(|problems| Unreadable::Content(problems.join("; ")))?;
    let rows = u64::try_from(metadata.metadata().file_metadata().num_rows()).unwrap_or(0);
    let row = skip_to.min(rows);
    let mask = ProjectionMask::roots(metadata.parquet_schema(), conform.roots().iter().copied());
    let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata)
        .with_projection(mask)
        .with_batch_size(BATCH)
        .with_offset(usize::try_from(row).unwrap_or(usize::MAX))
        .build()
        .map_err(broken)?;
    Ok((reader, conform, row))
}

/// Spark writes timestamps as INT96 by default. As nanoseconds, which is what the reader makes of
/// them unless told, they would end in the year 2262.
pub(in crate::source) fn micros_for_int96(
    schema: &Schema,
    parquet: &SchemaDescriptor,
) -> Option<SchemaRef> {
    let is_int96 = |root: usize| {
        parquet.columns().iter().enumerate().any(|(leaf, column)| {
            parquet.get_column_root_idx(leaf) == root
                && column.physical_type() == PhysicalType::INT96
        })
    };
    let mut any = false;
    let fields: Vec<Arc<Field>> = schema
        .fields()
        .iter()
        .enumerate()
        .map(|(root, field)| match field.data_type() {
            DataType::Timestamp(TimeUnit::Nanosecond, zone) if is_int96(root) => {
                any = true;
                let micros = DataType::Timestamp(TimeUnit::Microsecond, zone.clone());
                Arc::new(field.as_ref().clone().with_data_type(micros))
            }
            _ => field.clone(),
        })
        .collect();
    any.then(|| Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone())))
}

const PANICKED: &str = "it is damaged in a way that the Parquet reader cannot name";

fn panicked() -> Unreadable {
    Unreadable::Content(PANICKED.to_owned())
}

fn broken(error: ParquetError) -> Unreadable {
    match error {
        ParquetError::External(cause) => match cause.downcast::<io::Error>() {
            Ok(error) if is_system(&error) => Unreadable::System(*error),
            Ok(error) => Unreadable::Content(error.to_string()),
            Err(cause) => Unreadable::Content(cause.to_string()),
        },
        other => Unreadable::Content(other.to_string()),
    }
}
