//! Files in a directory.

use super::error::SinkError;
use super::staged::StagedRows;
use super::target::{CommitInfo, Guarantee, Marker, TargetContext};
use std::path::PathBuf;

/// Where and how to write files.
#[derive(Clone, Debug)]
pub struct FilesOptions {
    /// The directory; made if it is missing.
    pub path: PathBuf,
    /// What is in the files.
    pub format: FileFormat,
    /// How whole files of NDJSON and CSV are compressed; Parquet compresses its columns.
    pub compression: FileCompression,
    /// The columns whose values name directories, outermost first. They are left out of the files.
    pub partition_by: Vec<String>,
    /// A file is closed after this many rows; at least one.
    pub max_file_rows: u64,
}

/// What is in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileFormat {
    /// One JSON object a line.
    Json,
    /// Comma-separated values.
    Csv {
        /// Between fields; `,`.
        delimiter: u8,
        /// Whether the first line names the columns.
        header: bool,
    },
    /// Parquet, its column chunks compressed like this.
    Parquet(crate::lake::Compression),
}

/// How a whole file is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FileCompression {
    /// Not at all.
    #[default]
    None,
    /// gzip; `.gz`.
    Gzip,
    /// Zstandard of this level, 1 to 22; `.zst`.
    Zstd(i32),
}

/// Under construction.
pub struct FilesTarget {
    options: FilesOptions,
    context: TargetContext,
}

impl FilesTarget {
    pub(super) const GUARANTEE: Guarantee = Guarantee::ExactlyOnce("");

    pub(super) async fn open(
        options: FilesOptions,
        context: TargetContext,
    ) -> Result<Self, SinkError> {
        Ok(Self { options, context })
    }

    pub(super) fn address(&self) -> String {
        String::new()
    }

    pub(super) async fn marker(&mut self) -> Result<Option<Marker>, SinkError> {
        Err(SinkError::internal("under construction"))
    }

    pub(super) async fn commit(&mut self, _: u64, _: &StagedRows) -> Result<CommitInfo, SinkError> {
        Err(SinkError::internal("under construction"))
    }
}
