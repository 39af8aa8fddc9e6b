//! Rows to the bytes of one file.

use std::fs::File;
use std::io::{self, BufWriter, Write};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use flate2::write::GzEncoder;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression as Codec, ZstdLevel};
use parquet::file::properties::WriterProperties;

use super::{FileCompression, FileFormat};
use crate::codec::csv::Dialect;
use crate::codec::{CsvEncoding, Encoder, EncodingSpec, JsonEncoding};
use crate::lake::Compression;
use crate::sink::error::SinkError;

/// Rows are handed to the compressor in pieces of about this size.
const PIECE_BYTES: usize = 64 * 1024;

/// A file that rows are being written to.
pub(super) enum FileEncoder {
    Text(Box<TextEncoder>),
    Parquet(Box<ArrowWriter<File>>),
}

pub(super) struct TextEncoder {
    out: Stream,
    encoder: Encoder,
    piece: Vec<u8>,
}

enum Stream {
    Plain(BufWriter<File>),
    Gzip(GzEncoder<BufWriter<File>>),
    Zstd(zstd::Encoder<'static, BufWriter<File>>),
}

impl Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(out) => out.write_all(bytes),
            Self::Gzip(out) => out.write_all(bytes),
            Self::Zstd(out) => out.write_all(bytes),
        }
    }

    fn finish(self) -> io::Result<File> {
        let out = match self {
            Self::Plain(out) => out,
            Self::Gzip(out) => out.finish()?,
            Self::Zstd(out) => out.finish()?,
        };
        out.into_inner().map_err(io::IntoInnerError::into_error)
    }
}

/// What files of this kind end with.
pub(super) fn suffix(format: FileFormat, compression: FileCompression) -> String {
    let whole = match compression {
        FileCompression::None => "",
        FileCompression::Gzip => ".gz",
        FileCompression::Zstd(_) => ".zst",
    };
    match format {
        FileFormat::Json => format!(".json{whole}"),
        FileFormat::Csv { .. } => format!(".csv{whole}"),
        FileFormat::Parquet(Compression::None) => ".parquet".to_owned(),
        FileFormat::Parquet(Compression::Snappy) => ".snappy.parquet".to_owned(),
        FileFormat::Parquet(Compression::Lz4) => ".lz4raw.parquet".to_owned(),
        FileFormat::Parquet(Compression::Zstd(_)) => ".zstd.parquet".to_owned(),
    }
}

/// How rows become lines; none for files that have no lines.
pub(super) fn encoding(format: FileFormat) -> Option<EncodingSpec> {
    match format {
        FileFormat::Json => Some(EncodingSpec::Json(JsonEncoding::default())),
        FileFormat::Csv { delimiter, header } => {
            let defaults = CsvEncoding::default();
            let dialect = Dialect { delimiter, ..defaults.dialect };
            Some(EncodingSpec::Csv(CsvEncoding { dialect, header, ..defaults }))
        }
        FileFormat::Parquet(_) => None,
    }
}

/// The properties of Parquet files; an error in words for a level that zstd lacks.
pub(super) fn parquet_properties(compression: Compression) -> Result<WriterProperties, String> {
    let codec = match compression {
        Compression::None => Codec::UNCOMPRESSED,
        Compression::Snappy => Codec::SNAPPY,
        Compression::Lz4 => Codec::LZ4_RAW,
        Compression::Zstd(level) => {
            Codec::ZSTD(ZstdLevel::try_new(level).map_err(|e| e.to_string())?)
        }
    };
    Ok(WriterProperties::builder()
        .set_compression(codec)
        .set_created_by(format!("millpond version {}", env!("CARGO_PKG_VERSION")))
        .build())
}

impl FileEncoder {
    pub fn new(
        file: File,
        schema: &SchemaRef,
        format: FileFormat,
        compression: FileCompression,
    ) -> Result<Self, SinkError> {
        let Some(spec) = encoding(format) else {
            let FileFormat::Parquet(compression) = format else {
                return Err(SinkError::internal("a format without an encoding"));
            };
            let properties = parquet_properties(compression).map_err(SinkError::internal)?;
            let writer = ArrowWriter::try_new(file, schema.clone(), Some(properties));
            return Ok(Self::Parquet(Box::new(writer.map_err(SinkError::internal)?)));
        };
        // Nothing is registered for these, and the schema was found good when the sink was opened.
        let encoder = Encoder::new(schema, &spec).map_err(SinkError::internal)?;
        let file = BufWriter::new(file);
        let out = match compression {
            FileCompression::None => Stream::Plain(file),
            FileCompression::Gzip => {
                Stream::Gzip(GzEncoder::new(file, flate2::Compression::default()))
            }
            FileCompression::Zstd(level) => {
                Stream::Zstd(zstd::Encoder::new(file, level).map_err(SinkError::internal)?)
            }
        };
        let mut piece = encoder.header().unwrap_or_default();
        if !piece.is_empty() {
            piece.push(b'\n');
        }
        Ok(Self::Text(Box::new(TextEncoder { out, encoder, piece })))
    }

    pub fn write(&mut self, rows: &RecordBatch) -> Result<(), io::Error> {
        match self {
            Self::Text(text) => text.write(rows),
            Self::Parquet(writer) => writer.write(rows).map_err(io::Error::other),
        }
    }

    /// Completes the file and flushes it to the disk; returns its size.
    pub fn finish(self) -> Result<u64, io::Error> {
        let file = match self {
            Self::Text(text) => text.finish()?,
            Self::Parquet(writer) => writer.into_inner().map_err(io::Error::other)?,
        };
        file.sync_all()?;
        Ok(file.metadata()?.len())
    }
}

impl TextEncoder {
    fn write(&mut self, rows: &RecordBatch) -> io::Result<()> {
        for line in self.encoder.encode(rows).map_err(io::Error::other)?.iter() {
            self.piece.extend_from_slice(line);
            self.piece.push(b'\n');
            if self.piece.len() >= PIECE_BYTES {
                self.out.write(&self.piece)?;
                self.piece.clear();
            }
        }
        Ok(())
    }

    fn finish(mut self) -> io::Result<File> {
        self.out.write(&self.piece)?;
        self.out.finish()
    }
}
