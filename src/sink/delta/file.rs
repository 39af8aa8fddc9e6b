//! One data file, from its first row until its bytes are ready to be stored.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use deltalake::kernel::Add;
use deltalake::logstore::object_store::path::Path;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression as Codec, ZstdLevel};
use parquet::errors::{ParquetError, Result};
use parquet::file::properties::WriterProperties;
use uuid::Uuid;

use super::split::Partition;
use super::stats::{NanFlags, StatsPlan};
use crate::lake::{Compression, now_ms};

/// Row groups are closed at about this many encoded bytes: what a reader has to hold of one file
/// at a time, and large enough that its footer does not count.
const ROW_GROUP_BYTES: usize = 32 * 1024 * 1024;

/// What all files of a table have in common.
pub(super) struct FileFormat {
    pub schema: SchemaRef,
    pub stats: StatsPlan,
    partition_names: Vec<String>,
    compression: Compression,
    properties: WriterProperties,
}

impl FileFormat {
    pub fn new(
        schema: SchemaRef,
        stats: StatsPlan,
        partition_names: Vec<String>,
        compression: Compression,
    ) -> Result<Self> {
        let codec = match compression {
            Compression::None => Codec::UNCOMPRESSED,
            Compression::Snappy => Codec::SNAPPY,
            Compression::Lz4 => Codec::LZ4_RAW,
            Compression::Zstd(level) => Codec::ZSTD(ZstdLevel::try_new(level)?),
        };
        let properties = WriterProperties::builder()
            .set_compression(codec)
            .set_max_row_group_bytes(Some(ROW_GROUP_BYTES))
            .set_created_by(format!("millpond version {}", env!("CARGO_PKG_VERSION")))
            .build();
        Ok(Self { schema, stats, partition_names, compression, properties })
    }
}

/// A file that rows are being encoded into, in memory.
pub(super) struct OpenFile {
    partition: Arc<Partition>,
    writer: ArrowWriter<Vec<u8>>,
    nans: NanFlags,
    rows: u64,
    /// Bytes held, measured after the last write.
    memory: usize,
    /// Counts up with every write to any file: the smallest is the least recently written.
    pub last_write: u64,
}

/// A complete file that waits to be stored.
pub(super) struct SealedFile {
    /// Below the table's directory.
    pub path: Path,
    pub bytes: Bytes,
    pub rows: u64,
    /// The action that makes it part of the table.
    pub add: Add,
}

impl OpenFile {
    pub fn new(partition: Arc<Partition>, format: &FileFormat) -> Result<Self> {
        // The Arrow schema in the footer would only repeat what Parquet's own says of these types.
        let options = ArrowWriterOptions::new()
            .with_properties(format.properties.clone())
            .with_skip_arrow_metadata(true);
        let writer = ArrowWriter::try_new_with_options(Vec::new(), format.schema.clone(), options)?;
        Ok(Self { partition, writer, nans: NanFlags::default(), rows: 0, memory: 0, last_write: 0 })
    }

    pub fn write(&mut self, rows: &RecordBatch, format: &FileFormat) -> Result<()> {
        format.stats.note_nans(rows, &mut self.nans);
        self.writer.write(rows)?;
        self.rows += rows.num_rows() as u64;
        self.memory = self.writer.memory_size() + self.writer.inner().capacity();
        Ok(())
    }

    pub fn rows(&self) -> u64 {
        self.rows
    }

    pub fn memory(&self) -> usize {
        self.memory
    }

    /// About how large the file would be if it were closed now.
    pub fn encoded_bytes(&self) -> usize {
        self.writer.bytes_written() + self.writer.in_progress_size()
    }

    /// Completes the file.
    pub fn seal(mut self, format: &FileFormat) -> Result<SealedFile> {
        let footer = self.writer.finish()?;
        let bytes = Bytes::from(std::mem::take(self.writer.inner_mut()));
        // Spark's pattern. The identifier is new for every file and never used again.
        let name =
            format!("part-00000-{}-c000{}.parquet", Uuid::new_v4(), format.compression.file_tag());
        let directory = &self.partition.directory;
        let path = if directory.is_empty() { name } else { format!("{directory}/{name}") };
        let path = Path::parse(&path).map_err(|e| ParquetError::External(Box::new(e)))?;
        let values = &self.partition.values;
        let add = Add {
            path: path.to_string(),
            partition_values: format
                .partition_names
                .iter()
                .cloned()
                .zip(values.iter().cloned())
                .collect(),
            size: i64::try_from(bytes.len()).unwrap_or(i64::MAX),
            modification_time: now_ms(),
            data_change: true,
            stats: Some(format.stats.json(&footer, &self.nans)),
            ..Default::default()
        };
        Ok(SealedFile { path, bytes, rows: self.rows, add })
    }
}
