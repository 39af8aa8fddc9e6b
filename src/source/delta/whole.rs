//! A Delta table that is read as a whole and not as a stream: a static table.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use deltalake::kernel::Snapshot;

use super::differences;
use super::options::DeltaOptions;
use super::rows::{self, Committed, Shape};
use super::table::{self, Table, ask};
use crate::lake::TableLocation;
use crate::source::SourceError;

/// Which table it is, and how often it was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::source) struct TableVersion {
    pub table_id: String,
    pub version: i64,
}

impl TableVersion {
    fn of(snapshot: &Snapshot) -> Self {
        let table_id = snapshot.metadata().id().to_owned();
        Self { table_id, version: snapshot.version().cast_signed() }
    }
}

/// The newest version of the table at `location`. Reads its log; blocks for as long as that takes.
pub(in crate::source) fn newest(location: &TableLocation) -> Result<TableVersion, SourceError> {
    let options = Arc::new(DeltaOptions::at(location));
    ask(async { Ok(TableVersion::of(&Table::open(options)?.snapshot(None).await?)) })
}

/// All rows of the newest version of the table at `location`, as the columns of `schema`; `None` if
/// that is the version `known`. Blocks for as long as that takes.
pub(in crate::source) fn read(
    location: &TableLocation,
    schema: &SchemaRef,
    known: Option<&TableVersion>,
) -> Result<Option<(TableVersion, Vec<RecordBatch>)>, SourceError> {
    let options = Arc::new(DeltaOptions::at(location));
    ask(async {
        let table = Table::open(options)?;
        let newest = TableVersion::of(&table.snapshot(None).await?);
        if known == Some(&newest) {
            return Ok(None);
        }
        // The files and the columns of one version, whatever is committed meanwhile.
        let version = newest.version;
        let (snapshot, pieces) = table.files(version).await?;
        let trouble = |error| table.trouble("read the schema of", &error);
        let shape = Shape {
            output: schema.clone(),
            change_feed: false,
            columns: table::columns(snapshot.metadata()).map_err(trouble)?,
            partition_by: snapshot.metadata().partition_columns().to_vec(),
        };
        table.schema_error(version, differences(&shape))?;
        // Only a change feed has columns of this.
        let committed = Committed { version, timestamp_us: 0 };
        let mut batches = Vec::new();
        for piece in &pieces {
            // Otherwise no row is left in the file.
            if let Ok(mut rows) = rows::open(&table, &shape, piece, committed, 0).await? {
                while let Some(batch) = rows.next(&table, piece, version).await? {
                    batches.push(batch);
                }
            }
        }
        Ok(Some((newest, batches)))
    })
}
