//! Rows to the bytes of one file.

use std::fs::File;
use std::io::{self, BufWriter, Write};

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use flate2::write::GzEncoder;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression as Codec, ZstdLevel};
use parquet::file::properties::WriterProperties;

use super::{FileCompression, FileFormat};
use crate::lake::Compression;
use crate::sink::error::SinkError;
use crate::sink::json::{JsonColumn, JsonRows};

/// Rows are handed to the compressor in pieces of about this size.
const PIECE_BYTES: usize = 64 * 1024;

/// A file that rows are being written to.
pub(super) enum Encoder {
    Text(TextEncoder),
    Parquet(Box<ArrowWriter<File>>),
}

pub(super) struct TextEncoder {
    out: Stream,
    csv: Option<Csv>,
    piece: Vec<u8>,
}

#[derive(Clone, Copy)]
struct Csv {
    delimiter: u8,
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

impl Encoder {
    pub fn new(
        file: File,
        schema: &SchemaRef,
        format: FileFormat,
        compression: FileCompression,
    ) -> Result<Self, SinkError> {
        let csv = match format {
            FileFormat::Parquet(compression) => {
                let properties = parquet_properties(compression).map_err(SinkError::internal)?;
                let writer = ArrowWriter::try_new(file, schema.clone(), Some(properties));
                return Ok(Self::Parquet(Box::new(writer.map_err(SinkError::internal)?)));
            }
            FileFormat::Json => None,
            FileFormat::Csv { delimiter, header } => Some((Csv { delimiter }, header)),
        };
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
        let mut piece = Vec::new();
        if let Some((csv, true)) = csv {
            csv.header(schema, &mut piece);
        }
        Ok(Self::Text(TextEncoder { out, csv: csv.map(|(csv, _)| csv), piece }))
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
        match self.csv {
            None => {
                let columns =
                    JsonRows::new(rows, 0..rows.num_columns()).map_err(io::Error::other)?;
                for row in 0..rows.num_rows() {
                    columns.write(row, &mut self.piece);
                    self.piece.push(b'\n');
                    self.drain_if_full()?;
                }
            }
            Some(csv) => {
                let columns = rows.columns().iter().map(JsonColumn::new);
                let columns = columns.collect::<Result<Vec<_>, _>>().map_err(io::Error::other)?;
                let mut cell = Vec::new();
                for row in 0..rows.num_rows() {
                    csv.row(&columns, row, &mut cell, &mut self.piece);
                    self.drain_if_full()?;
                }
            }
        }
        Ok(())
    }

    fn drain_if_full(&mut self) -> io::Result<()> {
        if self.piece.len() >= PIECE_BYTES {
            self.out.write(&self.piece)?;
            self.piece.clear();
        }
        Ok(())
    }

    fn finish(mut self) -> io::Result<File> {
        self.out.write(&self.piece)?;
        self.out.finish()
    }
}

/// <https://www.rfc-editor.org/rfc/rfc4180>, with Unix line ends, as Spark writes it: NULL is
/// nothing, the empty string is `""`. Lists, structs and maps are JSON in a field.
impl Csv {
    fn header(self, schema: &Schema, out: &mut Vec<u8>) {
        for (place, field) in schema.fields().iter().enumerate() {
            if place > 0 {
                out.push(self.delimiter);
            }
            self.cell(field.name().as_bytes(), out);
        }
        out.push(b'\n');
    }

    fn row(self, columns: &[JsonColumn], row: usize, cell: &mut Vec<u8>, out: &mut Vec<u8>) {
        for (place, column) in columns.iter().enumerate() {
            if place > 0 {
                out.push(self.delimiter);
            }
            // An empty line would be no row at all: the only column is written as empty.
            if !column.is_null(row) || columns.len() == 1 {
                cell.clear();
                column.write_text(row, cell);
                self.cell(cell, out);
            }
        }
        out.push(b'\n');
    }

    fn cell(self, text: &[u8], out: &mut Vec<u8>) {
        let special = |b: &u8| *b == self.delimiter || matches!(b, b'"' | b'\n' | b'\r');
        let blank = |b: Option<&u8>| b.is_some_and(u8::is_ascii_whitespace);
        let quoted = text.is_empty()
            || text.iter().any(special)
            || blank(text.first())
            || blank(text.last());
        if !quoted {
            out.extend_from_slice(text);
            return;
        }
        out.push(b'"');
        for byte in text {
            if *byte == b'"' {
                out.push(b'"');
            }
            out.push(*byte);
        }
        out.push(b'"');
    }
}
