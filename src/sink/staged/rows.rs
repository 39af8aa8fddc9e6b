//! Staged rows, read back.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    BooleanArray, BooleanBufferBuilder, RecordBatch, RecordBatchOptions, new_null_array,
};
use arrow::compute::{CastOptions, cast_with_options, filter_record_batch};
use arrow::datatypes::SchemaRef;
use arrow::ipc::reader::StreamReader;
use arrow::row::{RowConverter, SortField};

use super::{Staged, new_token};
use crate::sink::error::SinkError;

/// The rows of one epoch. Cheap to clone; can be read any number of times.
#[derive(Clone, Debug)]
pub struct StagedRows {
    schema: SchemaRef,
    staged: Staged,
    path: PathBuf,
    /// The rows, if they are few enough to have stayed in memory.
    memory: Option<Arc<[RecordBatch]>>,
}

/// Which rows of an epoch are the last of their key.
#[derive(Clone, Debug)]
pub struct KeptRows {
    /// By batch; `None`: all of its rows.
    masks: Vec<Option<BooleanArray>>,
    rows: u64,
}

impl KeptRows {
    /// How many there are.
    pub fn num_rows(&self) -> u64 {
        self.rows
    }
}

impl StagedRows {
    pub(super) fn new(
        schema: SchemaRef,
        staged: Staged,
        dir: &Path,
        memory: Option<Vec<RecordBatch>>,
    ) -> Self {
        let memory = if staged.file.is_empty() { Some(Vec::new()) } else { memory };
        Self { schema, path: dir.join(&staged.file), staged, memory: memory.map(Arc::from) }
    }

    /// Rows of an epoch that never was on disk; for targets that are used without staging.
    pub fn in_memory(schema: SchemaRef, batches: Vec<RecordBatch>) -> Self {
        let rows = batches.iter().map(|batch| batch.num_rows() as u64).sum();
        let staged = Staged { token: new_token(), rows, ..Staged::default() };
        Self { schema, staged, path: PathBuf::new(), memory: Some(batches.into()) }
    }

    /// The columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// How many rows there are.
    pub fn num_rows(&self) -> u64 {
        self.staged.rows
    }

    /// Bytes on disk.
    pub fn bytes(&self) -> u64 {
        self.staged.bytes
    }

    /// Names these rows among all in the world.
    pub fn token(&self) -> &str {
        &self.staged.token
    }

    /// The rows in the order in which they came, from memory or from the file.
    ///
    /// # Errors
    /// [`SinkError::Staged`] if the file is gone or damaged, [`SinkError::Io`] if it cannot be
    /// read.
    pub fn batches(&self) -> Result<Batches, SinkError> {
        if let Some(memory) = &self.memory {
            return Ok(Batches {
                path: self.path.clone(),
                source: Source::Memory(memory.clone(), 0),
                schema: self.schema.clone(),
            });
        }
        let file = File::open(&self.path).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => self.damaged("the file is gone"),
            _ => SinkError::io("read", &self.path)(e),
        })?;
        let reader = StreamReader::try_new(BufReader::new(file), None)
            .map_err(|e| self.damaged(e.to_string()))?;
        let (path, schema) = (self.path.clone(), self.schema.clone());
        Ok(Batches { path, source: Source::File(Box::new(reader)), schema })
    }

    /// The same, without the rows that are not in `kept`.
    ///
    /// # Errors
    /// As [`StagedRows::batches`].
    pub fn kept_batches(
        &self,
        kept: &KeptRows,
    ) -> Result<impl Iterator<Item = Result<RecordBatch, SinkError>> + Send + 'static, SinkError>
    {
        let masks = kept.masks.clone().into_iter();
        Ok(self.batches()?.zip(masks).map(|(batch, mask)| match mask {
            None => batch,
            Some(mask) => filter_record_batch(&batch?, &mask).map_err(SinkError::internal),
        }))
    }

    /// Finds the last row of every key. NULL is a key like any other. No keys: every row is kept.
    ///
    /// Holds one entry a key in memory while it runs.
    ///
    /// # Errors
    /// As [`StagedRows::batches`]; [`SinkError::Internal`] for a column that cannot be compared.
    pub fn last_of_each(&self, keys: &[usize]) -> Result<KeptRows, SinkError> {
        if keys.is_empty() {
            let masks =
                self.batches()?.map(|batch| batch.map(|_| None)).collect::<Result<_, _>>()?;
            return Ok(KeptRows { masks, rows: self.num_rows() });
        }
        let fields = keys.iter().map(|key| self.schema.field(*key).data_type().clone());
        let converter =
            RowConverter::new(fields.map(SortField::new).collect()).map_err(SinkError::internal)?;
        let mut last: HashMap<Box<[u8]>, (usize, usize)> = HashMap::new();
        let mut masks: Vec<Option<BooleanBufferBuilder>> = Vec::new();
        let mut sizes: Vec<usize> = Vec::new();
        let mut kept = self.num_rows();
        for (index, batch) in self.batches()?.enumerate() {
            let batch = batch?;
            let columns: Vec<_> = keys.iter().map(|key| batch.column(*key).clone()).collect();
            let rows = converter.convert_columns(&columns).map_err(SinkError::internal)?;
            masks.push(None);
            sizes.push(batch.num_rows());
            for row in 0..batch.num_rows() {
                let place = (index, row);
                let key = rows.row(row);
                let earlier = match last.get_mut(key.as_ref()) {
                    Some(known) => std::mem::replace(known, place),
                    None => {
                        last.insert(key.as_ref().into(), place);
                        continue;
                    }
                };
                kept -= 1;
                let size = sizes[earlier.0];
                masks[earlier.0]
                    .get_or_insert_with(|| {
                        let mut all = BooleanBufferBuilder::new(size);
                        all.append_n(size, true);
                        all
                    })
                    .set_bit(earlier.1, false);
            }
        }
        let masks = masks
            .into_iter()
            .map(|mask| mask.map(|mut mask| BooleanArray::new(mask.finish(), None)))
            .collect();
        Ok(KeptRows { masks, rows: kept })
    }

    /// Reads the file once and compares it with what the ledger says of it.
    pub(super) fn verify(&self) -> Result<(), SinkError> {
        if self.memory.is_some() {
            return Ok(());
        }
        let mut file = File::open(&self.path).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => self.damaged("the file is gone"),
            _ => SinkError::io("read", &self.path)(e),
        })?;
        let mut crc = crc32fast::Hasher::new();
        let mut bytes = vec![0; 256 * 1024];
        let mut total = 0;
        loop {
            match file.read(&mut bytes).map_err(SinkError::io("read", &self.path))? {
                0 => break,
                n => {
                    crc.update(&bytes[..n]);
                    total += n as u64;
                }
            }
        }
        let crc = crc.finalize();
        if (total, crc) == (self.staged.bytes, self.staged.crc) {
            return Ok(());
        }
        Err(self.damaged(format!(
            "it has {total} bytes with the checksum {crc:08x} where the checkpoint says {} bytes \
             and {:08x}",
            self.staged.bytes, self.staged.crc
        )))
    }

    fn damaged(&self, reason: impl Into<String>) -> SinkError {
        SinkError::Staged { path: self.path.clone(), reason: reason.into() }
    }
}

/// Batches of staged rows, one after the other.
pub struct Batches {
    path: PathBuf,
    source: Source,
    /// The columns of the sink now; the file may have been written before some were added.
    schema: SchemaRef,
}

enum Source {
    Memory(Arc<[RecordBatch]>, usize),
    File(Box<StreamReader<BufReader<File>>>),
}

impl Iterator for Batches {
    type Item = Result<RecordBatch, SinkError>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.source {
            Source::Memory(batches, next) => {
                let batch = batches.get(*next)?.clone();
                *next += 1;
                Some(Ok(batch))
            }
            Source::File(reader) => {
                let damaged = |reason| SinkError::Staged { path: self.path.clone(), reason };
                let batch = reader.next()?.map_err(|e| damaged(e.to_string()));
                Some(batch.and_then(|batch| as_of_now(batch, &self.schema).map_err(damaged)))
            }
        }
    }
}

/// Rows that were staged before the configuration changed, in the columns that the sink has now:
/// added columns are NULL.
fn as_of_now(batch: RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, String> {
    if batch.schema_ref().fields() == schema.fields() {
        return Ok(batch);
    }
    let written = batch.schema();
    let known = |name: &str| schema.column_with_name(name).is_some();
    if let Some(gone) = written.fields().iter().find(|field| !known(field.name())) {
        return Err(format!(
            "its rows have the column `{}`, which the query no longer has; start once with the \
             query as it was, to commit them",
            gone.name()
        ));
    }
    let strict = CastOptions { safe: false, ..Default::default() };
    let columns = schema.fields().iter().map(|field| match batch.column_by_name(field.name()) {
        Some(column) => cast_with_options(column, field.data_type(), &strict)
            .map_err(|e| format!("column `{}`: {e}", field.name())),
        None => Ok(new_null_array(field.data_type(), batch.num_rows())),
    });
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options).map_err(|e| e.to_string())
}
