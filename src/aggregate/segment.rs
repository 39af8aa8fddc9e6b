//! A pane's groups as bytes.
//!
//! A header of 24 bytes, then an Arrow IPC stream, LZ4-compressed, with the columns of a partial
//! batch but window and row count. The header, little-endian: 8 bytes of name, the version of the
//! layout (u32), CRC-32 of what follows (u32), the pane (i64). The checksum is looked at first:
//! Arrow's reader trusts what it reads and panics at some damaged schemas. Numbers that an operator
//! wants to find again beside the rows are notes in the stream's schema.

use std::collections::HashMap;
use std::io::Cursor;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::CompressionType;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};

const NAME: &[u8; 8] = b"MPWINDOW";
/// Raised when the columns of a segment change their meaning.
const LAYOUT: u32 = 1;
/// Where the checksummed part starts: the pane, then the stream.
const CHECKED: usize = 16;
const HEADER: usize = 24;

/// Rows of one IPC message: a segment is read and merged in pieces of this size.
const ROWS: usize = 65_536;

/// The schema of segments: keys, then states.
pub(super) fn segment_schema(partial: &Schema, keys: usize) -> SchemaRef {
    let fields = partial.fields();
    let columns = fields[1..1 + keys].iter().chain(&fields[2 + keys..]).cloned();
    Arc::new(Schema::new(columns.collect::<Vec<_>>()))
}

/// Encodes a pane's groups: `rows` rows of the schema's columns.
pub(super) fn encode(
    schema: &SchemaRef,
    pane: i64,
    columns: Vec<ArrayRef>,
    rows: usize,
    notes: &[(&str, i64)],
) -> Result<Vec<u8>, ArrowError> {
    let notes = notes.iter().map(|(name, value)| ((*name).to_owned(), value.to_string()));
    let schema = Arc::new(schema.as_ref().clone().with_metadata(notes.collect()));
    let options =
        IpcWriteOptions::default().try_with_compression(Some(CompressionType::LZ4_FRAME))?;
    let mut bytes = vec![];
    bytes.extend_from_slice(NAME);
    bytes.extend_from_slice(&LAYOUT.to_le_bytes());
    // The checksum, once there is something to sum.
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&pane.to_le_bytes());
    let mut writer = StreamWriter::try_new_with_options(&mut bytes, &schema, options)?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    let batch = RecordBatch::try_new_with_options(schema, columns, &options)?;
    for start in (0..rows).step_by(ROWS) {
        writer.write(&batch.slice(start, ROWS.min(rows - start)))?;
    }
    writer.finish()?;
    drop(writer);
    let checksum = crc32fast::hash(&bytes[CHECKED..]);
    bytes[CHECKED - 4..CHECKED].copy_from_slice(&checksum.to_le_bytes());
    Ok(bytes)
}

/// A segment, decoded.
pub(super) struct Decoded {
    pub(super) pane: i64,
    pub(super) batches: Vec<RecordBatch>,
    notes: HashMap<String, String>,
}

impl Decoded {
    /// A number that was noted beside the rows.
    pub(super) fn note(&self, name: &str) -> Option<i64> {
        self.notes.get(name)?.parse().ok()
    }
}

/// Decodes a segment and checks its columns.
///
/// # Errors
/// What is wrong, in words.
pub(super) fn decode(schema: &SchemaRef, bytes: &[u8]) -> Result<Decoded, String> {
    let (pane, stream) = open(bytes)?;
    let reader =
        StreamReader::try_new(Cursor::new(stream), None).map_err(|error| error.to_string())?;
    let found = reader.schema();
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
    Ok(Decoded { pane, batches, notes: found.metadata().clone() })
}

/// Checks the header; the pane and the stream.
fn open(bytes: &[u8]) -> Result<(i64, &[u8]), String> {
    let word = |at: usize| -> [u8; 4] {
        let mut word = [0; 4];
        word.copy_from_slice(&bytes[at..at + 4]);
        word
    };
    if bytes.len() < HEADER || &bytes[..8] != NAME {
        return Err("it is not a segment of window state".to_owned());
    }
    let layout = u32::from_le_bytes(word(8));
    if layout != LAYOUT {
        return Err(format!("it has layout {layout}, and this release reads layout {LAYOUT}"));
    }
    if u32::from_le_bytes(word(12)) != crc32fast::hash(&bytes[CHECKED..]) {
        return Err("it is damaged: its checksum is wrong".to_owned());
    }
    let mut pane = [0; 8];
    pane.copy_from_slice(&bytes[CHECKED..HEADER]);
    Ok((i64::from_le_bytes(pane), &bytes[HEADER..]))
}
