//! The rows of one file, as the columns that the source declares.

use std::error::Error as StdError;
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch, RecordBatchOptions, StringArray};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{cast_with_options, filter_record_batch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::ScalarValue;
use deltalake::kernel::{DeletionVectorDescriptor, StorageType};
use deltalake::logstore::object_store::{self, ObjectStoreExt, path::Path};
use futures::StreamExt;
use futures::stream::BoxStream;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::arrow::async_reader::ParquetRecordBatchStreamBuilder;
use parquet::errors::ParquetError;

use super::commit::{Change, Piece, Rows};
use super::object::ObjectFile;
use super::table::{CHANGE_TYPE, COMMIT_TIMESTAMP, COMMIT_VERSION, Column, Table};
use super::vector;
use crate::source::SourceError;
use crate::source::columns::Conform;
use crate::source::files::parquet_file::micros_for_int96;

/// Rows that are decoded at once.
const BATCH: usize = 8192;

/// What is read of every file.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    /// The declared columns that are read.
    pub output: SchemaRef,
    /// Whether three of them may be the change feed's.
    pub change_feed: bool,
    /// The table's columns.
    pub columns: Vec<Column>,
    /// Those of them that are in the path and not in the file, by their logical names.
    pub partition_by: Vec<String>,
}

/// When and by which version the rows came.
#[derive(Debug, Clone, Copy)]
pub(super) struct Committed {
    pub version: i64,
    /// Microseconds since the Unix epoch.
    pub timestamp_us: i64,
}

/// A file that is being read.
pub(super) struct FileRows {
    stream: BoxStream<'static, Result<RecordBatch, ParquetError>>,
    conform: Conform,
    output: SchemaRef,
    /// The rows of the file that are wanted; all, if there is none.
    keep: Option<BooleanBuffer>,
    /// Rows of the file that were decoded.
    decoded: usize,
    /// Rows that are wanted and were handed out before.
    skip: usize,
}

/// Opens the rows of a file from the `skip`th on. `Err` of a count when it has no more than that.
pub(super) async fn open(
    table: &Table,
    shape: &Shape,
    piece: &Piece,
    committed: Committed,
    skip: u64,
) -> Result<Result<FileRows, u64>, SourceError> {
    let path = store_path(table, &piece.path)?;
    let opened = ObjectFile::open(table.store.object_store(None), path, piece.size).await;
    let mut reader = match opened {
        Ok(reader) => reader,
        Err(error) => return Err(file_trouble(table, piece, committed.version, &error).await),
    };
    let load = ArrowReaderMetadata::load_async(&mut reader, ArrowReaderOptions::new());
    let mut metadata = match load.await {
        Ok(metadata) => metadata,
        Err(error) => return Err(file_trouble(table, piece, committed.version, &error).await),
    };
    let wrong = |error: ParquetError| content(table, piece, committed.version, &error.to_string());
    if let Some(schema) = micros_for_int96(metadata.schema(), metadata.parquet_schema()) {
        let options = ArrowReaderOptions::new().with_schema(schema);
        metadata =
            ArrowReaderMetadata::try_new(metadata.metadata().clone(), options).map_err(wrong)?;
    }
    let rows = metadata.metadata().file_metadata().num_rows();
    let rows = usize::try_from(rows).unwrap_or(0);
    let keep = wanted(table, piece, committed.version, rows).await?;
    let count = keep.as_ref().map_or(rows, BooleanBuffer::count_set_bits);
    let skip = match usize::try_from(skip) {
        Ok(skip) if skip < count => skip,
        _ => return Ok(Err(count as u64)),
    };
    let conform = conform(table, shape, piece, committed, metadata.schema())?;
    let mask = ProjectionMask::roots(metadata.parquet_schema(), conform.roots().iter().copied());
    let mut builder = ParquetRecordBatchStreamBuilder::new_with_metadata(reader, metadata)
        .with_projection(mask)
        .with_batch_size(BATCH);
    // Rows that are left out cannot be told by counting, so those are dropped after decoding.
    let in_file = if keep.is_none() { skip } else { 0 };
    if in_file > 0 {
        builder = builder.with_offset(in_file);
    }
    let stream = builder.build().map_err(wrong)?.boxed();
    let output = shape.output.clone();
    Ok(Ok(FileRows { stream, conform, output, keep, decoded: in_file, skip: skip - in_file }))
}

impl FileRows {
    /// The next rows, `None` after the last.
    pub async fn next(
        &mut self,
        table: &Table,
        piece: &Piece,
        version: i64,
    ) -> Result<Option<RecordBatch>, SourceError> {
        while let Some(batch) = self.stream.next().await {
            let batch = match batch {
                Ok(batch) => batch,
                Err(error) => return Err(file_trouble(table, piece, version, &error).await),
            };
            let rows = batch.num_rows();
            let wrong = |reason: String| content(table, piece, version, &reason);
            let mut batch = self.conform.apply(&batch).map_err(wrong)?;
            if let Some(keep) = &self.keep {
                let keep = BooleanArray::new(keep.slice(self.decoded, rows), None);
                batch = filter_record_batch(&batch, &keep).map_err(|e| wrong(e.to_string()))?;
            }
            self.decoded += rows;
            let skip = self.skip.min(batch.num_rows());
            self.skip -= skip;
            if skip < batch.num_rows() {
                let batch = batch.slice(skip, batch.num_rows() - skip);
                let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
                let columns = batch.columns().to_vec();
                // The same columns under the names that users know.
                return RecordBatch::try_new_with_options(self.output.clone(), columns, &options)
                    .map(Some)
                    .map_err(|error| wrong(error.to_string()));
            }
        }
        Ok(None)
    }
}

/// How the file's columns become the declared ones: by the names that files have for them.
fn conform(
    table: &Table,
    shape: &Shape,
    piece: &Piece,
    committed: Committed,
    file: &Schema,
) -> Result<Conform, SourceError> {
    let mut constants = Vec::new();
    let mut fields = Vec::new();
    for field in shape.output.fields() {
        let name = field.name();
        let own = shape.columns.iter().find(|column| column.logical == *name);
        let constant = match name.as_str() {
            CHANGE_TYPE if shape.change_feed => match piece.change {
                Change::Insert => Some(ScalarValue::from("insert")),
                Change::Delete => Some(ScalarValue::from("delete")),
                Change::InFile => None,
            },
            COMMIT_VERSION if shape.change_feed => Some(ScalarValue::from(committed.version)),
            COMMIT_TIMESTAMP if shape.change_feed => Some(ScalarValue::TimestampMicrosecond(
                Some(committed.timestamp_us),
                Some("UTC".into()),
            )),
            _ if shape.partition_by.contains(name) => {
                let physical = own.map_or(name.as_str(), |column| column.physical.as_str());
                let text = piece.partition_values.get(physical).cloned().flatten();
                let value = partition_value(text, field.data_type())
                    .map_err(|reason| content(table, piece, committed.version, &reason))?;
                Some(value)
            }
            _ => None,
        };
        let physical = own.map_or(name.clone(), |column| column.physical.clone());
        constants.extend(constant.map(|value| (physical.clone(), value)));
        fields.push(Field::new(physical, field.data_type().clone(), field.is_nullable()));
    }
    Conform::new(&Arc::new(Schema::new(fields)), file, &constants).map_err(|problems| {
        SourceError::Schema {
            table: table.name().to_owned(),
            version: committed.version,
            changes: problems.into_iter().map(|p| format!("{}: {p}", piece.path)).collect(),
        }
    })
}

/// Partition values are text; the empty text is NULL (the protocol's "Partition Value
/// Serialization").
fn partition_value(text: Option<String>, data_type: &DataType) -> Result<ScalarValue, String> {
    let words = |reason: String| format!("its partition cannot be read as {data_type}: {reason}");
    let text = StringArray::from(vec![text.filter(|text| !text.is_empty())]);
    let options = arrow::compute::CastOptions { safe: false, ..Default::default() };
    let value =
        cast_with_options(&text, data_type, &options).map_err(|error| words(error.to_string()))?;
    ScalarValue::try_from_array(&value, 0).map_err(|error| words(error.to_string()))
}

/// A bit for each row of the file, set if it is wanted; `None` if all are.
async fn wanted(
    table: &Table,
    piece: &Piece,
    version: i64,
    rows: usize,
) -> Result<Option<BooleanBuffer>, SourceError> {
    let deleted = |descriptor| deleted(table, piece, version, descriptor, rows);
    Ok(match &piece.rows {
        Rows::Left(None) => None,
        Rows::Left(Some(vector)) => Some(!&deleted(vector).await?),
        Rows::Between(before, after) => Some(match (before, after) {
            (_, None) => BooleanBuffer::new_unset(rows),
            (None, Some(after)) => deleted(after).await?,
            (Some(before), Some(after)) => &deleted(after).await? & &!&deleted(before).await?,
        }),
    })
}

async fn deleted(
    table: &Table,
    piece: &Piece,
    version: i64,
    descriptor: &DeletionVectorDescriptor,
    rows: usize,
) -> Result<BooleanBuffer, SourceError> {
    let wrong = |reason: String| {
        content(table, piece, version, &format!("its deletion vector cannot be read: {reason}"))
    };
    let size = usize::try_from(descriptor.size_in_bytes).unwrap_or(0);
    let encoded = &descriptor.path_or_inline_dv;
    let path = match descriptor.storage_type {
        StorageType::Inline => {
            let bytes = vector::inline(encoded, size).map_err(wrong)?;
            return vector::deleted(&bytes, rows).map_err(wrong);
        }
        StorageType::UuidRelativePath => vector::relative_path(encoded).map_err(wrong)?,
        StorageType::AbsolutePath => encoded.clone(),
    };
    let store = table.store.object_store(None);
    let file =
        async { store.get(&store_path(table, &path)?).await?.bytes().await.map_err(Into::into) };
    let file: Result<_, VectorError> = file.await;
    let file = match file {
        Ok(file) => file,
        Err(VectorError::Source(error)) => return Err(error),
        Err(VectorError::Store(error)) => {
            return Err(file_trouble(table, piece, version, &error).await);
        }
    };
    let offset = usize::try_from(descriptor.offset.unwrap_or(1)).unwrap_or(usize::MAX);
    let bytes = vector::in_file(&file, offset, size).map_err(wrong)?;
    vector::deleted(bytes, rows).map_err(wrong)
}

enum VectorError {
    Source(SourceError),
    Store(object_store::Error),
}

impl From<SourceError> for VectorError {
    fn from(error: SourceError) -> Self {
        Self::Source(error)
    }
}

impl From<object_store::Error> for VectorError {
    fn from(error: object_store::Error) -> Self {
        Self::Store(error)
    }
}

fn store_path(table: &Table, path: &str) -> Result<Path, SourceError> {
    if path.contains("://") || path.starts_with('/') {
        return Err(SourceError::Table {
            action: "read",
            table: table.name().to_owned(),
            reason: format!(
                "it has the file {path} of another directory (a shallow clone?), which is not supported"
            ),
            transient: false,
        });
    }
    Ok(Path::parse(path).unwrap_or_else(|_| Path::from(path)))
}

/// Tells files that are gone from storage that is.
async fn file_trouble(
    table: &Table,
    piece: &Piece,
    version: i64,
    error: &(dyn StdError + Send + Sync + 'static),
) -> SourceError {
    let missing = std::iter::successors(Some(error as &(dyn StdError + 'static)), |cause| {
        StdError::source(*cause)
    })
    .any(|cause| {
        matches!(
            cause.downcast_ref::<object_store::Error>(),
            Some(object_store::Error::NotFound { .. })
        )
    });
    // As long as the whole table is away, so are its files, and they come back with it.
    if missing && matches!(table.store.is_delta_table_location().await, Ok(true)) {
        return SourceError::Gone {
            table: table.name().to_owned(),
            version,
            reason: format!(
                "the file {} is not there any more: it was vacuumed before it was read. Keep \
                 files longer than this source may lag (delta.deletedFileRetentionDuration), or \
                 begin anew with an empty checkpoint directory",
                piece.path
            ),
        };
    }
    match table.trouble("read", error) {
        SourceError::Table { action, table, reason, transient } => SourceError::Table {
            action,
            table,
            reason: format!("{}: {reason}", piece.path),
            transient,
        },
        other => other,
    }
}

/// What is in a file is at fault, which stays.
fn content(table: &Table, piece: &Piece, version: i64, reason: &str) -> SourceError {
    SourceError::Table {
        action: "read",
        table: table.name().to_owned(),
        reason: format!("version {version}, {}: {reason}", piece.path),
        transient: false,
    }
}
