//! Files that take the place of others: the rows of one partition, encoded again.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use deltalake::kernel::Add;
use deltalake::logstore::object_store::{ObjectStore, ObjectStoreExt};

use super::file::{FileFormat, OpenFile};
use super::split::Partition;
use super::stats::StatsPlan;
use super::value::directory;
use crate::lake::{Compression, LakeError};

/// What the files of a rewrite have in common.
pub(crate) struct RewriteFormat {
    table: String,
    format: FileFormat,
    partition_names: Vec<String>,
    target_file_bytes: usize,
}

impl RewriteFormat {
    /// For the files of the table called `table`: `file_schema` has its columns without those
    /// that it is partitioned by, whose names are `partition_names`, outermost first.
    ///
    /// # Errors
    /// [`LakeError::Definition`] for a compression level that the codec lacks.
    pub fn new(
        table: &str,
        file_schema: SchemaRef,
        partition_names: Vec<String>,
        properties: &BTreeMap<String, String>,
        compression: Compression,
        target_file_bytes: usize,
    ) -> Result<Self, LakeError> {
        let stats = StatsPlan::new(&file_schema, properties);
        let format = FileFormat::new(file_schema, stats, partition_names.clone(), compression)
            .map_err(|e| LakeError::Definition {
                table: table.to_owned(),
                problems: vec![format!("compression {compression}: {e}")],
            })?;
        Ok(Self { table: table.to_owned(), format, partition_names, target_file_bytes })
    }
}

/// Encodes the rows of one partition into files, one after the other.
pub(crate) struct RewriteWriter {
    format: Arc<RewriteFormat>,
    store: Arc<dyn ObjectStore>,
    partition: Arc<Partition>,
    open: Option<OpenFile>,
    /// Files that are stored.
    stored: Vec<Add>,
}

impl RewriteWriter {
    /// For rows of the partition with these values.
    pub fn new(
        format: Arc<RewriteFormat>,
        store: Arc<dyn ObjectStore>,
        values: &HashMap<String, Option<String>>,
    ) -> Self {
        let values: Vec<Option<String>> =
            format.partition_names.iter().map(|name| values.get(name).cloned().flatten()).collect();
        let names = format.partition_names.iter().map(String::as_str);
        let directory = directory(names.zip(values.iter().map(Option::as_deref)));
        let partition = Arc::new(Partition { values, directory });
        Self { format, store, partition, open: None, stored: Vec::new() }
    }

    /// Takes rows, whose columns are those of the files.
    ///
    /// # Errors
    /// [`LakeError::Io`], [`LakeError::Encode`]; the rewrite has to be given up then.
    pub async fn write(&mut self, rows: &RecordBatch) -> Result<(), LakeError> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        if self.open.as_ref().is_some_and(|f| f.encoded_bytes() >= self.format.target_file_bytes) {
            self.close().await?;
        }
        let wrong = |e: parquet::errors::ParquetError| LakeError::Encode {
            table: self.format.table.clone(),
            reason: e.to_string(),
        };
        if self.open.is_none() {
            let file = OpenFile::new(self.partition.clone(), &self.format.format);
            self.open = Some(file.map_err(wrong)?);
        }
        let Some(file) = &mut self.open else { return Ok(()) };
        file.write(rows, &self.format.format).map_err(wrong)
    }

    /// Closes the file that is open, so that the next rows go into another.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub async fn close(&mut self) -> Result<(), LakeError> {
        let Some(file) = self.open.take() else { return Ok(()) };
        let sealed = file.seal(&self.format.format).map_err(|e| LakeError::Encode {
            table: self.format.table.clone(),
            reason: e.to_string(),
        })?;
        let mut add = sealed.add;
        // The rows were in the table before: readers that follow changes have nothing to do.
        add.data_change = false;
        self.store.put(&sealed.path, sealed.bytes.into()).await.map_err(|e| {
            let path = format!("{}/{}", self.format.table.trim_end_matches('/'), sealed.path);
            LakeError::io("write", path, e)
        })?;
        self.stored.push(add);
        Ok(())
    }

    /// Closes the last file. The files are not part of the table before somebody commits them.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub async fn finish(mut self) -> Result<Vec<Add>, LakeError> {
        self.close().await?;
        Ok(std::mem::take(&mut self.stored))
    }

    /// Forgets the rows; removes what of them was stored, as far as that succeeds.
    pub async fn discard(mut self) {
        self.open = None;
        remove(&self.store, &std::mem::take(&mut self.stored)).await;
    }
}

/// Removes files that were never committed; what stays goes with a vacuum.
pub(crate) async fn remove(store: &Arc<dyn ObjectStore>, adds: &[Add]) {
    for add in adds {
        if let Ok(path) = deltalake::Path::parse(&add.path) {
            let _ = store.delete(&path).await;
        }
    }
}
