//! State as bytes for the checkpoint: a header with a checksum, and behind it whatever the operator
//! writes, for the most part an Arrow IPC stream.
//!
//! The header has 24 bytes, little-endian: 8 of name, the version of the layout (u32), CRC-32 of
//! what follows (u32), the pane (i64). The checksum is looked at first: Arrow's reader trusts what
//! it reads and panics at some damaged schemas.

use std::io::Cursor;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::CompressionType;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};

use super::keyed::same_types;

/// Where the checksummed part starts: the pane, then the body.
const CHECKED: usize = 16;
const HEADER: usize = 24;

/// Rows of one IPC message: a segment is read in pieces of this size.
const ROWS: usize = 65_536;

/// More segments of a pane than this, and it is written whole if it has grown by half since.
const MAX_SEGMENTS: usize = 8;
/// More segments than this, and it is written whole.
const MANY_SEGMENTS: usize = 64;

/// What kind of state a segment holds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kind {
    pub(super) name: &'static [u8; 8],
    /// Raised when the meaning of the body changes.
    pub(super) layout: u32,
    /// For errors: "a segment of ...".
    pub(super) title: &'static str,
}

/// Makes a segment; `body` writes what it holds.
pub(super) fn seal(
    kind: Kind,
    pane: i64,
    body: impl FnOnce(&mut Vec<u8>) -> Result<(), ArrowError>,
) -> Result<Vec<u8>, ArrowError> {
    let mut bytes = vec![];
    bytes.extend_from_slice(kind.name);
    bytes.extend_from_slice(&kind.layout.to_le_bytes());
    // The checksum, once there is something to sum.
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&pane.to_le_bytes());
    body(&mut bytes)?;
    let checksum = crc32fast::hash(&bytes[CHECKED..]);
    bytes[CHECKED - 4..CHECKED].copy_from_slice(&checksum.to_le_bytes());
    Ok(bytes)
}

/// Checks the header; the pane and the body.
///
/// # Errors
/// What is wrong, in words.
pub(super) fn open(kind: Kind, bytes: &[u8]) -> Result<(i64, &[u8]), String> {
    let word = |at: usize| -> [u8; 4] {
        let mut word = [0; 4];
        word.copy_from_slice(&bytes[at..at + 4]);
        word
    };
    if bytes.len() < HEADER || &bytes[..8] != kind.name {
        return Err(format!("it is not a segment of {}", kind.title));
    }
    let layout = u32::from_le_bytes(word(8));
    if layout != kind.layout {
        let own = kind.layout;
        return Err(format!("it has layout {layout}, and this release reads layout {own}"));
    }
    if u32::from_le_bytes(word(12)) != crc32fast::hash(&bytes[CHECKED..]) {
        return Err("it is damaged: its checksum is wrong".to_owned());
    }
    let mut pane = [0; 8];
    pane.copy_from_slice(&bytes[CHECKED..HEADER]);
    Ok((i64::from_le_bytes(pane), &bytes[HEADER..]))
}

/// Writes batches as an IPC stream, LZ4-compressed.
pub(super) fn write_stream<'a>(
    out: &mut Vec<u8>,
    schema: &SchemaRef,
    batches: impl IntoIterator<Item = &'a RecordBatch>,
) -> Result<(), ArrowError> {
    let options =
        IpcWriteOptions::default().try_with_compression(Some(CompressionType::LZ4_FRAME))?;
    let mut writer = StreamWriter::try_new_with_options(out, schema, options)?;
    for batch in batches {
        for start in (0..batch.num_rows()).step_by(ROWS) {
            writer.write(&batch.slice(start, ROWS.min(batch.num_rows() - start)))?;
        }
    }
    writer.finish()
}

/// Reads an IPC stream whose columns have the types of `schema`.
///
/// # Errors
/// What is wrong, in words.
pub(super) fn read_stream(schema: &SchemaRef, stream: &[u8]) -> Result<Vec<RecordBatch>, String> {
    let reader =
        StreamReader::try_new(Cursor::new(stream), None).map_err(|error| error.to_string())?;
    let found = reader.schema();
    if !same_types(&found, schema) {
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
    reader.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())
}

/// What the checkpoint holds of a pane whose rows are only ever added to.
#[derive(Debug, Default)]
pub(super) struct Saved {
    /// Rows of the pane that are in the checkpoint.
    pub(super) rows: usize,
    /// Segments that it has.
    pub(super) segments: usize,
    /// Rows of the last segment that was written whole.
    whole: usize,
    /// The next snapshot has to write the pane whole.
    pub(super) rewrite: bool,
}

impl Saved {
    /// A pane that came from a checkpoint: it is known there, and is written whole next.
    pub(super) fn restored() -> Self {
        Self { rows: 0, segments: 1, whole: 0, rewrite: true }
    }

    /// Whether the next segment of a pane of `rows` rows should hold all of them. A pane gets a
    /// segment an epoch; writing it whole each time it has grown by half bounds both the number of
    /// segments and what is written twice.
    pub(super) fn is_whole_due(&self, rows: usize) -> bool {
        let grown = (rows - self.whole) * 2 >= self.whole;
        self.rows == 0
            || self.rewrite
            || self.segments >= MANY_SEGMENTS
            || (self.segments >= MAX_SEGMENTS && grown)
    }

    /// Notes that a segment was written, after which all `rows` rows are in the checkpoint.
    pub(super) fn wrote(&mut self, whole: bool, rows: usize) {
        if whole {
            (self.segments, self.whole, self.rewrite) = (0, rows, false);
        }
        self.segments += 1;
        self.rows = rows;
    }
}
