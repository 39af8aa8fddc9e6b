//! What a table should be like: where, which columns, how its files are written.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use arrow::datatypes::SchemaRef;

use super::TableLocation;

/// The Delta tables of one sink: where the table is, what its rows are, how its files are written.
#[derive(Clone, Debug)]
pub struct TableSpec {
    /// As of a [`TableLocation`].
    pub uri: String,
    /// The columns of the rows to be written, partition columns among them, in any order.
    pub schema: SchemaRef,
    /// The partition columns, outermost first. Empty: not partitioned.
    pub partition_by: Vec<String>,
    /// How column chunks are compressed.
    pub compression: Compression,
    /// Files are closed when they reach about this many (encoded) bytes.
    pub target_file_bytes: usize,
    /// Whether new nullable columns may be added to a table that lacks them, and whether a
    /// table's nullable columns may be missing from the rows (they are then NULL).
    pub evolve: bool,
    /// Table properties for a table that is created here (`delta.logRetentionDuration`, ...). A
    /// table that exists keeps its own.
    pub properties: BTreeMap<String, String>,
    /// A checkpoint of the Delta log is written at every so many versions; 0: never.
    pub checkpoint_interval: u64,
    /// The table's name in its metadata, if it is created here.
    pub name: Option<String>,
    /// The table's description in its metadata, if it is created here.
    pub description: Option<String>,
    /// Options of the object store, as [`store`](super::store) has them; never credentials.
    pub storage_options: BTreeMap<String, String>,
}

impl TableSpec {
    /// The default for [`TableSpec::target_file_bytes`]: 64 MiB of encoded Parquet. Epochs end
    /// most files long before.
    pub const TARGET_FILE_BYTES: usize = 64 * 1024 * 1024;
    /// The default for [`TableSpec::checkpoint_interval`].
    pub const CHECKPOINT_INTERVAL: u64 = 10;

    /// An unpartitioned table at `uri` with these columns and the defaults for the rest.
    pub fn new(uri: impl Into<String>, schema: SchemaRef) -> Self {
        Self {
            uri: uri.into(),
            schema,
            partition_by: Vec::new(),
            compression: Compression::default(),
            target_file_bytes: Self::TARGET_FILE_BYTES,
            evolve: false,
            properties: BTreeMap::new(),
            checkpoint_interval: Self::CHECKPOINT_INTERVAL,
            name: None,
            description: None,
            storage_options: BTreeMap::new(),
        }
    }

    /// Where the table is.
    pub fn location(&self) -> TableLocation {
        TableLocation::new(self.uri.as_str()).with_storage_options(self.storage_options.clone())
    }
}

/// How the column chunks of data files are compressed.
///
/// Written and parsed as `none`, `snappy`, `lz4`, `zstd` or `zstd(LEVEL)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// Snappy, what every Parquet reader knows.
    #[default]
    Snappy,
    /// LZ4 blocks (`LZ4_RAW` in Parquet's terms; the older framing is not portable).
    Lz4,
    /// Zstandard, level 1 to 22: smaller files for more CPU.
    Zstd(i32),
}

impl Compression {
    /// The level that `zstd` alone stands for: most of the gain for little of the cost.
    pub const ZSTD_LEVEL: i32 = 1;

    /// The codec's name as it appears in file names.
    pub(crate) fn file_tag(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Snappy => ".snappy",
            Self::Lz4 => ".lz4raw",
            Self::Zstd(_) => ".zstd",
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Snappy => f.write_str("snappy"),
            Self::Lz4 => f.write_str("lz4"),
            Self::Zstd(level) => write!(f, "zstd({level})"),
        }
    }
}

/// The text is no [`Compression`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("'{0}' is no compression; use none, snappy, lz4, zstd or zstd(1) to zstd(22)")]
pub struct UnknownCompression(String);

impl FromStr for Compression {
    type Err = UnknownCompression;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = || UnknownCompression(text.to_owned());
        let word = text.trim().to_ascii_lowercase();
        match word.as_str() {
            "none" | "uncompressed" => return Ok(Self::None),
            "snappy" => return Ok(Self::Snappy),
            "lz4" | "lz4_raw" => return Ok(Self::Lz4),
            "zstd" => return Ok(Self::Zstd(Self::ZSTD_LEVEL)),
            _ => {}
        }
        let level = word
            .strip_prefix("zstd(")
            .and_then(|rest| rest.strip_suffix(')'))
            .and_then(|level| level.trim().parse::<i32>().ok())
            .filter(|level| (1..=22).contains(level))
            .ok_or_else(unknown)?;
        Ok(Self::Zstd(level))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compressions_read_back_as_written() {
        for compression in
            [Compression::None, Compression::Snappy, Compression::Lz4, Compression::Zstd(7)]
        {
            assert_eq!(compression.to_string().parse(), Ok(compression));
        }
        assert_eq!("ZSTD".parse(), Ok(Compression::Zstd(1)));
        for wrong in ["", "gzip", "zstd(0)", "zstd(23)", "zstd(", "zstd(x)"] {
            assert!(wrong.parse::<Compression>().is_err(), "{wrong}");
        }
    }
}
