//! A pane's groups as bytes: one Arrow IPC stream, LZ4-compressed.
//!
//! It has the columns of a partial batch without its row counts, and says in the schema's metadata
//! which layout and which pane it is of.

use std::collections::HashMap;
use std::io::Cursor;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::CompressionType;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};

use super::groups::Emitted;

const LAYOUT: &str = "millpond.layout";
const PANE: &str = "millpond.pane";
/// Raised when the columns of a segment change their meaning.
const LAYOUT_VERSION: &str = "1";

/// Rows of one IPC message: a segment is read and merged in pieces of this size.
const ROWS: usize = 65_536;

/// The schema of segments: keys, then states.
pub(super) fn segment_schema(partial: &Schema, keys: usize) -> SchemaRef {
    let fields = partial.fields();
    let columns = fields[1..1 + keys].iter().chain(&fields[2 + keys..]).cloned();
    Arc::new(Schema::new(columns.collect::<Vec<_>>()))
}

/// Encodes a pane's groups.
pub(super) fn encode(
    schema: &SchemaRef,
    pane: i64,
    emitted: &Emitted,
) -> Result<Vec<u8>, ArrowError> {
    let metadata = HashMap::from([
        (LAYOUT.to_owned(), LAYOUT_VERSION.to_owned()),
        (PANE.to_owned(), pane.to_string()),
    ]);
    let schema = Arc::new(schema.as_ref().clone().with_metadata(metadata));
    let options =
        IpcWriteOptions::default().try_with_compression(Some(CompressionType::LZ4_FRAME))?;
    let mut bytes = vec![];
    let mut writer = StreamWriter::try_new_with_options(&mut bytes, &schema, options)?;
    let columns: Vec<ArrayRef> = emitted.keys.iter().chain(&emitted.values).cloned().collect();
    let rows = arrow::array::RecordBatchOptions::new().with_row_count(Some(emitted.groups));
    let batch = RecordBatch::try_new_with_options(schema, columns, &rows)?;
    for start in (0..emitted.groups).step_by(ROWS) {
        writer.write(&batch.slice(start, ROWS.min(emitted.groups - start)))?;
    }
    writer.finish()?;
    drop(writer);
    Ok(bytes)
}

/// Decodes a segment: the pane and its batches, whose schema has been checked.
///
/// # Errors
/// What is wrong, in words.
pub(super) fn decode(schema: &SchemaRef, bytes: &[u8]) -> Result<(i64, Vec<RecordBatch>), String> {
    let reader =
        StreamReader::try_new(Cursor::new(bytes), None).map_err(|error| error.to_string())?;
    let found = reader.schema();
    let metadata = found.metadata();
    match metadata.get(LAYOUT).map(String::as_str) {
        Some(LAYOUT_VERSION) => {}
        Some(other) => {
            return Err(format!("it has layout {other}, and this release reads layout 1"));
        }
        None => return Err("it is not a segment of window state".to_owned()),
    }
    let pane = metadata
        .get(PANE)
        .and_then(|pane| pane.parse().ok())
        .ok_or_else(|| "it does not say which pane it is of".to_owned())?;
    let same = found.fields().len() == schema.fields().len()
        && found
            .fields()
            .iter()
            .zip(schema.fields())
            .all(|(found, expected)| found.data_type().equals_datatype(expected.data_type()));
    if !same {
        let types = |schema: &Schema| {
            let types: Vec<String> =
                schema.fields().iter().map(|field| field.data_type().to_string()).collect();
            types.join(", ")
        };
        return Err(format!(
            "it has columns ({}), and the query keeps ({})",
            types(&found),
            types(schema)
        ));
    }
    let batches = reader.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
    Ok((pane, batches))
}
