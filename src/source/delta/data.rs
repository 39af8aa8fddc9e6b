//! The rows of a table's data files for who rewrites them: deletion vectors applied, columns as the
//! table has them now, partition columns left out.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use deltalake::kernel::{Add, Metadata};
use deltalake::logstore::LogStoreRef;

use super::commit::{Change, Piece, Rows};
use super::options::DeltaOptions;
use super::rows::{self, Committed, FileRows, Shape};
use super::table::{self, Table};
use crate::source::SourceError;

/// Opens data files of one version of a table.
pub(crate) struct DataFiles {
    table: Table,
    shape: Shape,
    version: i64,
}

/// The rows of one file.
pub(crate) struct DataFile<'a> {
    files: &'a DataFiles,
    piece: Piece,
    rows: Option<FileRows>,
}

impl DataFiles {
    /// Reads the columns of `output` (which are columns of the files) from files of `version`,
    /// whose metadata is `metadata`. `name` is how errors call the table.
    ///
    /// # Errors
    /// [`SourceError::Table`] if the schema cannot be read.
    pub fn new(
        store: LogStoreRef,
        name: &str,
        metadata: &Metadata,
        version: i64,
        output: SchemaRef,
    ) -> Result<Self, SourceError> {
        let table = Table { options: Arc::new(DeltaOptions::new(name)), store };
        let trouble = |error| table.trouble("read the schema of", &error);
        let shape = Shape {
            output,
            change_feed: false,
            columns: table::columns(metadata).map_err(trouble)?,
            partition_by: metadata.partition_columns().to_vec(),
        };
        Ok(Self { table, shape, version })
    }

    /// Opens one file.
    ///
    /// # Errors
    /// [`SourceError::Gone`] if the file is not there; [`SourceError::Table`] names the file that
    /// cannot be read.
    pub async fn open(&self, add: &Add) -> Result<DataFile<'_>, SourceError> {
        let piece = Piece {
            path: add.path.clone(),
            size: u64::try_from(add.size).ok(),
            partition_values: add.partition_values.clone(),
            rows: Rows::Left(add.deletion_vector.clone()),
            change: Change::Insert,
            modified_ms: Some(add.modification_time),
        };
        let committed = Committed { version: self.version, timestamp_us: 0 };
        let rows = rows::open(&self.table, &self.shape, &piece, committed, 0).await?.ok();
        Ok(DataFile { files: self, piece, rows })
    }
}

impl DataFile<'_> {
    /// The next rows, a few thousand; `None` after the last.
    ///
    /// # Errors
    /// As [`DataFiles::open`].
    pub async fn next(&mut self) -> Result<Option<RecordBatch>, SourceError> {
        match &mut self.rows {
            Some(rows) => rows.next(&self.files.table, &self.piece, self.files.version).await,
            None => Ok(None),
        }
    }
}
