//! Rows to the Parquet files of a Delta table, invisible until a commit names them.

mod file;
pub(crate) mod rewrite;
mod split;
mod stats;
#[cfg(test)]
mod tests;
mod value;

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use deltalake::kernel::Add;
use deltalake::logstore::object_store::{ObjectStore, ObjectStoreExt};
use futures::StreamExt;
use parquet::errors::ParquetError;

use self::file::{FileFormat, OpenFile, SealedFile};
use self::split::{Layout, Partition};
use self::stats::StatsPlan;
use crate::lake::store::upload;
use crate::lake::{LakeError, LakeTable, TableSpec};

/// Files stored at the same time: enough to have the disk flush one while others are written.
const PARALLEL_PUTS: usize = 4;

/// Encodes rows into one Parquet file per partition and stores the files without committing them.
///
/// Rows wait in memory, encoded and compressed, until their file reaches
/// [`TableSpec::target_file_bytes`], until memory runs short, or until [`DeltaWriter::prepare`].
/// Encoding happens inside [`DeltaWriter::write`] on the calling thread (a few milliseconds for
/// 8,192 rows); only storing files is asynchronous.
///
/// # Failures
/// - A [`write`](Self::write) that returns an error, or whose future is dropped, has taken **no**
///   row of its batch: call it again with the same batch once the cause may have passed.
/// - A [`prepare`](Self::prepare) that fails keeps everything; files that were stored stay
///   stored, and the next call stores the rest.
/// - After [`LakeError::Encode`] the writer is unusable until [`discard`](Self::discard), and
///   the rows since the last `prepare` have to be written again.
pub struct DeltaWriter {
    table: String,
    store: Arc<dyn ObjectStore>,
    layout: Layout,
    format: FileFormat,
    target_file_bytes: usize,
    max_buffered_bytes: usize,
    max_open_files: usize,
    open: HashMap<Arc<Partition>, OpenFile>,
    sealed: Vec<SealedFile>,
    stored: Vec<Add>,
    /// Rows in files of `stored`.
    stored_rows: u64,
    writes: u64,
    /// Why the writer may not be used any more.
    broken: Option<String>,
}

impl DeltaWriter {
    /// The default bound of [`buffered_bytes`](Self::buffered_bytes): 64 MiB.
    pub const MAX_BUFFERED_BYTES: usize = 64 * 1024 * 1024;
    /// The default bound of files open at a time. An open file holds some 100 kB of buffers and
    /// dictionaries however little is in it.
    pub const MAX_OPEN_FILES: usize = 64;

    /// A writer for `table`, which was opened with `spec`.
    ///
    /// # Errors
    /// [`LakeError::Definition`] for a compression level that the codec lacks.
    pub fn new(table: &LakeTable, spec: &TableSpec) -> Result<Self, LakeError> {
        let layout = Layout::new(table)?;
        let stats = StatsPlan::new(&layout.file_schema, &table.properties());
        let names = layout.partition_names().map(str::to_owned).collect();
        let format = FileFormat::new(layout.file_schema.clone(), stats, names, spec.compression)
            .map_err(|e| LakeError::Definition {
                table: table.uri().to_owned(),
                problems: vec![format!("compression {}: {e}", spec.compression)],
            })?;
        Ok(Self {
            table: table.uri().to_owned(),
            store: table.object_store(),
            layout,
            format,
            target_file_bytes: spec.target_file_bytes,
            max_buffered_bytes: Self::MAX_BUFFERED_BYTES,
            max_open_files: Self::MAX_OPEN_FILES,
            open: HashMap::new(),
            sealed: Vec::new(),
            stored: Vec::new(),
            stored_rows: 0,
            writes: 0,
            broken: None,
        })
    }

    /// Bounds the memory that rows wait in. It is checked before a batch is taken, so one batch
    /// can go over it; after that `write` stores files first, and fails while that fails.
    #[must_use]
    pub fn with_max_buffered_bytes(mut self, bytes: usize) -> Self {
        self.max_buffered_bytes = bytes;
        self
    }

    /// Bounds the number of files that are open at a time; at least one. The least recently
    /// written is closed for a new one.
    #[must_use]
    pub fn with_max_open_files(mut self, files: usize) -> Self {
        self.max_open_files = files.max(1);
        self
    }

    /// The columns of the files, partition columns not among them.
    pub fn file_schema(&self) -> SchemaRef {
        self.layout.file_schema.clone()
    }

    /// Takes the rows of `batch`, whose columns may stand in any order.
    ///
    /// # Errors
    /// None of the rows has been taken then. [`LakeError::Io`]: files could not be stored that
    /// have to be before more rows fit; call again with the same batch. [`LakeError::Data`]: the
    /// batch does not fit the table. [`LakeError::Encode`]: see the type.
    pub async fn write(&mut self, batch: &RecordBatch) -> Result<(), LakeError> {
        self.usable()?;
        self.roll()?;
        self.store_sealed().await?;
        let parts = self.layout.split(batch)?;
        // No await below this line: the batch is taken whole, or the error is final.
        for (partition, rows) in parts {
            self.encode(partition, &rows)?;
        }
        Ok(())
    }

    /// Closes all files and stores them; on a local disk they are flushed, names included, when
    /// this returns. The table does not show them before the returned actions are committed.
    /// Returns nothing for no rows. The writer is then empty and ready for the next epoch.
    ///
    /// # Errors
    /// [`LakeError::Io`]: what could not be stored is kept; call again. [`LakeError::Encode`].
    pub async fn prepare(&mut self) -> Result<Vec<Add>, LakeError> {
        self.usable()?;
        fail::fail_point!("sink::prepare");
        // Sorted, so that the same input makes the same commit.
        let mut open: Vec<Arc<Partition>> = self.open.keys().cloned().collect();
        open.sort_by(|a, b| a.directory.cmp(&b.directory));
        for partition in open {
            self.seal(&partition)?;
        }
        self.store_sealed().await?;
        fail::fail_point!("sink::prepared");
        self.stored_rows = 0;
        Ok(std::mem::take(&mut self.stored))
    }

    /// Forgets all rows since the last `prepare`. Files of theirs that were stored already are
    /// removed as far as that succeeds; what stays is unreferenced and goes with a vacuum.
    pub async fn discard(&mut self) {
        self.open.clear();
        self.sealed.clear();
        self.broken = None;
        self.stored_rows = 0;
        for add in std::mem::take(&mut self.stored) {
            if let Ok(path) = deltalake::Path::parse(&add.path) {
                let _ = self.store.delete(&path).await;
            }
        }
    }

    /// Bytes of memory that rows wait in, encoded or about to be.
    pub fn buffered_bytes(&self) -> usize {
        let open: usize = self.open.values().map(OpenFile::memory).sum();
        let sealed: usize = self.sealed.iter().map(|file| file.bytes.len()).sum();
        open + sealed
    }

    /// Rows taken since the last `prepare`, in memory or stored.
    pub fn pending_rows(&self) -> u64 {
        let open: u64 = self.open.values().map(OpenFile::rows).sum();
        let sealed: u64 = self.sealed.iter().map(|file| file.rows).sum();
        open + sealed + self.stored_rows
    }

    /// Files that rows are being encoded into.
    pub fn open_files(&self) -> usize {
        self.open.len()
    }

    fn encode(&mut self, partition: Arc<Partition>, rows: &RecordBatch) -> Result<(), LakeError> {
        self.writes += 1;
        if !self.open.contains_key(&partition) {
            while self.open.len() >= self.max_open_files {
                let oldest = self.open.iter().min_by_key(|(_, file)| file.last_write);
                let Some(oldest) = oldest.map(|(partition, _)| partition.clone()) else { break };
                self.seal(&oldest)?;
            }
            let file = OpenFile::new(partition.clone(), &self.format);
            let file = file.map_err(|e| self.broken(&e))?;
            self.open.insert(partition.clone(), file);
        }
        let Some(file) = self.open.get_mut(&partition) else { return Ok(()) };
        file.last_write = self.writes;
        let written = file.write(rows, &self.format);
        written.map_err(|e| self.broken(&e))
    }

    /// Closes files that have reached their size, and the largest ones while memory is short.
    fn roll(&mut self) -> Result<(), LakeError> {
        let full: Vec<Arc<Partition>> = self
            .open
            .iter()
            .filter(|(_, file)| file.encoded_bytes() >= self.target_file_bytes)
            .map(|(partition, _)| partition.clone())
            .collect();
        for partition in full {
            self.seal(&partition)?;
        }
        // What is sealed will be stored before the next batch is taken; only what stays open counts.
        let mut held: usize = self.open.values().map(OpenFile::memory).sum();
        while held > self.max_buffered_bytes {
            let largest = self.open.iter().max_by_key(|(_, file)| file.memory());
            let Some((partition, file)) = largest else { break };
            held -= file.memory();
            let partition = partition.clone();
            self.seal(&partition)?;
        }
        Ok(())
    }

    fn seal(&mut self, partition: &Arc<Partition>) -> Result<(), LakeError> {
        if let Some(file) = self.open.remove(partition) {
            let sealed = file.seal(&self.format).map_err(|e| self.broken(&e))?;
            self.sealed.push(sealed);
        }
        Ok(())
    }

    /// Stores all sealed files. If the future is dropped, or one of them fails, those not known
    /// to be stored are stored again by the next call, under the same name.
    async fn store_sealed(&mut self) -> Result<(), LakeError> {
        if self.sealed.is_empty() {
            return Ok(());
        }
        let puts: Vec<_> = self
            .sealed
            .iter()
            .map(|file| (file.path.clone(), file.bytes.clone()))
            .enumerate()
            .map(|(i, (path, bytes))| {
                let store = self.store.clone();
                async move { (i, upload(&store, &path, bytes).await) }
            })
            .collect();
        let mut results: Vec<_> =
            futures::stream::iter(puts).buffer_unordered(PARALLEL_PUTS).collect().await;
        results.sort_by_key(|(i, _)| *i);
        let mut failure = None;
        for (file, (_, result)) in std::mem::take(&mut self.sealed).into_iter().zip(results) {
            match result {
                Ok(()) => {
                    self.stored_rows += file.rows;
                    self.stored.push(file.add);
                }
                Err(error) => {
                    let path = format!("{}/{}", self.table.trim_end_matches('/'), file.path);
                    failure.get_or_insert_with(|| LakeError::io("write", path, error));
                    self.sealed.push(file);
                }
            }
        }
        failure.map_or(Ok(()), Err)
    }

    fn usable(&self) -> Result<(), LakeError> {
        match &self.broken {
            None => Ok(()),
            Some(reason) => {
                Err(LakeError::Encode { table: self.table.clone(), reason: reason.clone() })
            }
        }
    }

    /// Part of a batch is in the encoder and part is not: nothing after this can be right.
    fn broken(&mut self, error: &ParquetError) -> LakeError {
        let reason = error.to_string();
        self.broken = Some(reason.clone());
        LakeError::Encode { table: self.table.clone(), reason }
    }
}
