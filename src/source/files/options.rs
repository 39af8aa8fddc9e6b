//! What a files source is made of.

use std::path::PathBuf;
use std::time::Duration;

use arrow::datatypes::SchemaRef;

use crate::source::SourceError;

/// What a [`super::FilesSource`] is made of. [`FilesOptions::new`] has the defaults.
#[derive(Debug, Clone)]
pub struct FilesOptions {
    /// A directory, a file, or a glob (`*`, `?`, `[..]`, `{a,b}`, and `**` for directories
    /// beneath each other). Names that begin with `.` or `_`, and those that end in `.tmp`,
    /// `.partial` or `._COPYING_`, are never read, nor what is in directories so named
    /// (`_year=2024` is: `_` with a `=` is a partition).
    pub path: String,
    /// Whether a directory is read with all that is beneath it. A glob says so by itself.
    pub recursive: bool,
    /// How a file is cut into records, or that it is columns already.
    pub format: FileFormat,
    /// How files are compressed; Parquet files know by themselves.
    pub compression: Compression,
    /// At most so many files are begun between two barriers.
    pub max_files_per_trigger: Option<usize>,
    /// Which files come first.
    pub order: Order,
    /// A file is read once its size and its time of modification have not changed for so long.
    /// Zero: at once. A bounded run does not wait.
    pub settle: Duration,
    /// How often the directory is listed.
    pub poll_interval: Duration,
    /// What happens to a file once the epoch that holds its last record is durable and committed.
    pub after: After,
    /// Files older than the newest file read by more than this are not read, and forgotten, so
    /// that what is remembered stays bounded; as Spark's `maxFileAge`, it is measured between
    /// files and not against the clock, and the first listing ignores it. `None`: files of any
    /// age, remembered for ever.
    pub max_file_age: Option<Duration>,
    /// A record with more bytes is not read: one dead letter.
    pub max_record_bytes: usize,
}

/// How a file is cut into records.
#[derive(Debug, Clone)]
pub enum FileFormat {
    /// Records of bytes, for a decoder.
    Records(Framing),
    /// Parquet: the columns are taken by name.
    Parquet {
        /// The declared columns, all of them.
        schema: SchemaRef,
        /// Which of them are read, as indices into `schema`, in the order of the output.
        projection: Vec<usize>,
    },
}

/// Where one record ends and the next begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Framing {
    /// A line each, without its `\n` or `\r\n`.
    Lines {
        /// Whether lines of nothing but spaces are no records: for JSON, not for text.
        skip_blank: bool,
    },
    /// CSV.
    Csv(CsvFraming),
    /// The whole file is one record, as Spark's `wholetext`.
    Whole,
}

/// What of CSV's rules decides where a record ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CsvFraming {
    /// Between fields.
    pub delimiter: u8,
    /// With a quote character, a quoted field may hold line ends (Spark's `multiLine`); with
    /// `None` every line is a record.
    pub quote: Option<u8>,
    /// Inside a quoted field, the byte after this one is taken as it is. A doubled quote is a
    /// quote in any case.
    pub escape: Option<u8>,
    /// Lines that begin with this are no records.
    pub comment: Option<u8>,
    /// Whether each file's first record is its header: it is not shown as a record, but as
    /// [`crate::source::RecordMeta::header`] of all others.
    pub header: bool,
}

impl Default for CsvFraming {
    fn default() -> Self {
        Self { delimiter: b',', quote: None, escape: None, comment: None, header: false }
    }
}

/// How files are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// By a file's first bytes: gzip, Zstandard, or none.
    #[default]
    Auto,
    /// Not.
    None,
    /// Every file is gzip.
    Gzip,
    /// Every file is Zstandard.
    Zstd,
}

/// Which of the files that wait comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// The one modified first; of those modified at once, by name.
    #[default]
    OldestFirst,
    /// The one modified last.
    NewestFirst,
}

/// What happens to a file that has been read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum After {
    /// It stays.
    #[default]
    Keep,
    /// It is deleted.
    Delete,
    /// It is moved into this directory, with its path beneath the source's directory. On another
    /// file system it is copied, flushed and deleted.
    Archive(PathBuf),
}

impl FilesOptions {
    /// The defaults, for files of records in `path`.
    pub fn new(path: impl Into<String>, format: FileFormat) -> Self {
        Self {
            path: path.into(),
            recursive: false,
            format,
            compression: Compression::Auto,
            max_files_per_trigger: None,
            order: Order::OldestFirst,
            settle: Duration::from_secs(1),
            poll_interval: Duration::from_secs(1),
            after: After::Keep,
            max_file_age: None,
            max_record_bytes: 8 << 20,
        }
    }

    pub(super) fn check(&self) -> Result<(), SourceError> {
        let refuse = |option, problem: &str| {
            Err(SourceError::Option { option, problem: problem.to_owned() })
        };
        if self.path.trim().is_empty() {
            return refuse("path", "it is empty");
        }
        if self.max_files_per_trigger == Some(0) {
            return refuse("max_files_per_trigger", "0 would never read anything");
        }
        if self.max_record_bytes == 0 {
            return refuse("max_record_bytes", "0 would read no record");
        }
        match &self.format {
            FileFormat::Parquet { schema, projection } => {
                if projection.iter().any(|index| *index >= schema.fields().len()) {
                    return refuse("projection", "it names a column that is not declared");
                }
            }
            FileFormat::Records(Framing::Csv(csv)) => {
                let special = [Some(csv.delimiter), csv.quote, csv.comment];
                let special: Vec<u8> = special.into_iter().flatten().collect();
                let twice = (1..special.len()).any(|i| special[..i].contains(&special[i]));
                if twice || special.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
                    return refuse(
                        "csv",
                        "delimiter, quote and comment must differ from each other and from line ends",
                    );
                }
            }
            FileFormat::Records(Framing::Lines { .. } | Framing::Whole) => {}
        }
        Ok(())
    }
}
