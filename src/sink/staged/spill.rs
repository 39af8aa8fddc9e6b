//! The file that an epoch's rows are appended to.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use super::{Staged, new_token};
use crate::sink::disk::{blocking, sync_dir};
use crate::sink::error::SinkError;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::ipc::CompressionType;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};

/// Encoded rows go to the file in pieces of about this size: few system calls, little memory.
const PIECE_BYTES: usize = 1024 * 1024;

/// Up to this many bytes of rows stay in memory beside the file, so that a small epoch is not read
/// back; epochs of a second or two are seldom larger.
const MEMORY_BYTES: usize = 4 * 1024 * 1024;

/// What the encoder writes into.
#[derive(Default)]
struct Piece {
    bytes: Vec<u8>,
    crc: crc32fast::Hasher,
    total: u64,
}

impl Write for Piece {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        self.crc.update(bytes);
        self.total += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Rows of one epoch on their way to the disk.
pub(super) struct Spill {
    dir: PathBuf,
    name: String,
    token: String,
    writer: StreamWriter<Piece>,
    file: Option<Arc<File>>,
    /// Bytes that are in the file.
    written: u64,
    rows: u64,
    /// The rows themselves, as long as they are few.
    memory: Option<Vec<RecordBatch>>,
    memory_bytes: usize,
    finished: bool,
}

impl Spill {
    pub fn new(dir: PathBuf, schema: &SchemaRef) -> Result<Self, SinkError> {
        let options = IpcWriteOptions::default()
            .try_with_compression(Some(CompressionType::LZ4_FRAME))
            .map_err(SinkError::internal)?;
        let writer = StreamWriter::try_new_with_options(Piece::default(), schema, options)
            .map_err(SinkError::internal)?;
        let token = new_token();
        Ok(Self {
            name: format!("{token}.rows"),
            token,
            dir,
            writer,
            file: None,
            written: 0,
            rows: 0,
            memory: Some(Vec::new()),
            memory_bytes: 0,
            finished: false,
        })
    }

    /// Puts what is encoded into the file, once there is enough of it. Until that succeeds, no
    /// further batch is to be taken: this is what bounds the memory.
    pub async fn drain_if_full(&mut self) -> Result<(), SinkError> {
        if self.writer.get_ref().bytes.len() >= PIECE_BYTES { self.drain().await } else { Ok(()) }
    }

    /// Encodes a batch. An error is the encoder's and final.
    pub fn append(&mut self, batch: &RecordBatch) -> Result<(), SinkError> {
        self.writer.write(batch).map_err(SinkError::internal)?;
        self.rows += batch.num_rows() as u64;
        self.memory_bytes += batch.get_array_memory_size();
        if self.memory_bytes > MEMORY_BYTES {
            self.memory = None;
        } else if let Some(memory) = &mut self.memory {
            memory.push(batch.clone());
        }
        Ok(())
    }

    /// Completes the file; it and its name are on the disk when this returns. A call that failed
    /// can be repeated.
    pub async fn finish(&mut self) -> Result<(Staged, Option<Vec<RecordBatch>>), SinkError> {
        if !self.finished {
            self.writer.finish().map_err(SinkError::internal)?;
            self.finished = true;
        }
        self.drain().await?;
        let (file, dir) = (self.open()?, self.dir.clone());
        let path = self.dir.join(&self.name);
        blocking(move || {
            file.sync_all().map_err(SinkError::io("flush", &path))?;
            sync_dir(&dir)
        })
        .await?;
        let piece = self.writer.get_ref();
        let staged = Staged {
            file: self.name.clone(),
            token: self.token.clone(),
            rows: self.rows,
            bytes: piece.total,
            crc: piece.crc.clone().finalize(),
        };
        Ok((staged, self.memory.clone()))
    }

    fn open(&mut self) -> Result<Arc<File>, SinkError> {
        if let Some(file) = &self.file {
            return Ok(file.clone());
        }
        let path = self.dir.join(&self.name);
        // The name is new in the world; a file of this name is this spill's own first attempt.
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(&path);
        let file = Arc::new(file.map_err(SinkError::io("create", &path))?);
        self.file = Some(file.clone());
        Ok(file)
    }

    async fn drain(&mut self) -> Result<(), SinkError> {
        let file = self.open()?;
        let path = self.dir.join(&self.name);
        let at = self.written;
        let piece = std::mem::take(&mut self.writer.get_mut().bytes);
        // Given back if it could not be written; the same bytes then go to the same place.
        let (piece, result) = blocking(move || {
            let result = file.write_all_at(&piece, at).map_err(SinkError::io("write", &path));
            Ok((piece, result))
        })
        .await?;
        match result {
            Ok(()) => {
                self.written += piece.len() as u64;
                let mut spare = piece;
                spare.clear();
                if spare.capacity() <= 2 * PIECE_BYTES {
                    self.writer.get_mut().bytes = spare;
                }
                Ok(())
            }
            Err(error) => {
                self.writer.get_mut().bytes = piece;
                Err(error)
            }
        }
    }

    /// Removes what is in the file system.
    pub fn discard(self) {
        if self.file.is_some() {
            // Best effort: what stays is removed at the next start.
            let _ = std::fs::remove_file(self.dir.join(&self.name));
        }
    }

    pub fn rows(&self) -> u64 {
        self.rows
    }
}
