//! Rows by piece, in memory as long as there is room, else in temporary files.

use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::{ArrayRef, RecordBatch, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::ipc::CompressionType;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
use uuid::Uuid;

use super::split_keys;
use crate::upkeep::UpkeepError;

/// Places on the curve, rising, and the rows that have them.
pub(super) type Part = (UInt64Array, RecordBatch);

/// What of a piece is in a temporary file.
struct Spilled {
    file: usize,
    offset: u64,
    length: u64,
}

#[derive(Default)]
struct Piece {
    held: Vec<Part>,
    spilled: Vec<Spilled>,
}

struct State {
    pieces: Vec<Piece>,
    /// Bytes of all that is held.
    bytes: u64,
    files: Vec<PathBuf>,
}

/// Rows dealt out to pieces.
pub(super) struct Pieces {
    /// The place on the curve, then the columns of the rows.
    schema: SchemaRef,
    memory: u64,
    parent: PathBuf,
    dir: PathBuf,
    state: Mutex<State>,
    len: usize,
}

impl Pieces {
    /// So many pieces, of which about `memory` bytes are held; the rest goes to files in a new
    /// directory below `spill_dir`.
    pub fn new(
        rows: &SchemaRef,
        len: usize,
        memory: u64,
        spill_dir: Option<&Path>,
    ) -> Result<Self, UpkeepError> {
        let mut fields = vec![Arc::new(Field::new("place on the curve", DataType::UInt64, false))];
        fields.extend(rows.fields().iter().cloned());
        let parent = spill_dir.map_or_else(std::env::temp_dir, Path::to_owned);
        let dir = parent.join(format!("millpond-zorder-{}", Uuid::new_v4()));
        let pieces = (0..len).map(|_| Piece::default()).collect();
        Ok(Self {
            schema: Arc::new(Schema::new(fields)),
            memory,
            parent,
            dir,
            state: Mutex::new(State { pieces, bytes: 0, files: Vec::new() }),
            len,
        })
    }

    pub fn len(&self) -> usize {
        self.len
    }

    /// Takes rows; those of one call share their memory.
    pub fn add(&self, parts: Vec<(usize, UInt64Array, RecordBatch)>) -> Result<(), UpkeepError> {
        let mut state = self.lock();
        // Slices count as what they are slices of; their parts of it are in proportion.
        let rows: usize = parts.iter().map(|(_, _, batch)| batch.num_rows()).sum();
        let whole = parts
            .first()
            .map_or(0, |(_, keys, batch)| batch.get_array_memory_size() + 8 * keys.len().max(rows));
        state.bytes += whole as u64;
        for (piece, keys, batch) in parts {
            if let Some(piece) = state.pieces.get_mut(piece) {
                piece.held.push((keys, batch));
            }
        }
        if state.bytes > self.memory { self.spill(&mut state) } else { Ok(()) }
    }

    /// All rows of a piece, which has none then.
    pub fn take(&self, piece: usize) -> Result<Vec<Part>, UpkeepError> {
        let (piece, files) = {
            let mut state = self.lock();
            let files = state.files.clone();
            (state.pieces.get_mut(piece).map(std::mem::take).unwrap_or_default(), files)
        };
        let mut parts = Vec::new();
        for spilled in &piece.spilled {
            let Some(path) = files.get(spilled.file) else { continue };
            let failed = |action| {
                move |source| UpkeepError::Spill {
                    action,
                    path: path.display().to_string(),
                    source,
                }
            };
            let mut file = File::open(path).map_err(failed("open"))?;
            file.seek(SeekFrom::Start(spilled.offset)).map_err(failed("read"))?;
            let bytes = BufReader::new(file.take(spilled.length));
            let wrong = |e| UpkeepError::internal(&path.display().to_string(), e);
            for batch in StreamReader::try_new(bytes, None).map_err(wrong)? {
                parts.push(batch.and_then(|batch| split_keys(&batch)).map_err(wrong)?);
            }
        }
        parts.extend(piece.held);
        Ok(parts)
    }

    /// Writes all that is held to a new file.
    fn spill(&self, state: &mut State) -> Result<(), UpkeepError> {
        let index = state.files.len();
        let path = self.dir.join(format!("{index:05}.arrow"));
        let failed = |action| {
            let path = path.display().to_string();
            move |source| UpkeepError::Spill { action, path, source }
        };
        fs::create_dir_all(&self.dir).map_err(failed("create"))?;
        let mut file =
            BufWriter::with_capacity(1 << 20, File::create(&path).map_err(failed("create"))?);
        state.files.push(path.clone());
        let wrong = |e| UpkeepError::internal(&path.display().to_string(), e);
        let mut offset = 0;
        for piece in &mut state.pieces {
            let held = std::mem::take(&mut piece.held);
            if held.is_empty() {
                continue;
            }
            let options = IpcWriteOptions::default()
                .try_with_compression(Some(CompressionType::LZ4_FRAME))
                .map_err(wrong)?;
            let mut writer = StreamWriter::try_new_with_options(&mut file, &self.schema, options)
                .map_err(wrong)?;
            for (keys, batch) in held {
                let mut columns: Vec<ArrayRef> = vec![Arc::new(keys)];
                columns.extend(batch.columns().iter().cloned());
                let batch = RecordBatch::try_new(self.schema.clone(), columns).map_err(wrong)?;
                writer.write(&batch).map_err(wrong)?;
            }
            writer.finish().map_err(wrong)?;
            drop(writer);
            file.flush().map_err(failed("write"))?;
            let end = file.stream_position().map_err(failed("write"))?;
            piece.spilled.push(Spilled { file: index, offset, length: end - offset });
            offset = end;
        }
        state.bytes = 0;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        // Best effort: what is left behind is in a directory for temporary files.
        if self.dir.starts_with(&self.parent) {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}
