//! Rows as lines of CSV.

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema, SchemaRef};

use super::EncodedRows;
use super::json::plain;
use super::view::View;
use crate::codec::CodecError;
use crate::codec::csv::Dialect;

/// How CSV is written. What is written with one dialect reads back with the same.
#[derive(Debug, Clone)]
pub struct CsvEncoding {
    /// Delimiter, quote and escape. Default: a comma, a double quote and a backslash, as Spark's;
    /// without an escape quotes are doubled (RFC 4180).
    pub dialect: Dialect,
    /// Whether a file begins with the names of the columns. Default: true.
    pub header: bool,
    /// What NULL is written as. Default: nothing; an empty STRING is written as `""`.
    pub null_value: String,
}

impl Default for CsvEncoding {
    fn default() -> Self {
        Self {
            dialect: Dialect { delimiter: b',', quote: Some(b'"'), escape: Some(b'\\') },
            header: true,
            null_value: String::new(),
        }
    }
}

#[derive(Debug)]
pub(super) struct CsvEncoder {
    options: CsvEncoding,
}

impl CsvEncoder {
    pub fn new(schema: &SchemaRef, options: CsvEncoding) -> Result<Self, CodecError> {
        for field in schema.fields() {
            if field.data_type().is_nested() || *field.data_type() == DataType::Binary {
                return Err(super::unsupported(field.name(), field.data_type()));
            }
        }
        if options.dialect.quote.is_none() {
            let problem = "CSV cannot be written without one".to_owned();
            return Err(CodecError::Option { option: "quote", problem });
        }
        Ok(Self { options })
    }

    pub fn header(&self, schema: &Schema) -> Option<Vec<u8>> {
        self.options.header.then(|| {
            let mut line = Vec::new();
            for (index, field) in schema.fields().iter().enumerate() {
                if index > 0 {
                    line.push(self.options.dialect.delimiter);
                }
                self.field(field.name().as_bytes(), &mut line);
            }
            line
        })
    }

    pub fn encode(&self, batch: &RecordBatch) -> EncodedRows {
        let columns: Vec<View<'_>> =
            batch.columns().iter().map(|column| View::new(column)).collect();
        let mut rows = EncodedRows::default();
        let mut scratch = Vec::new();
        for row in 0..batch.num_rows() {
            let start = rows.bytes.len();
            for (index, column) in columns.iter().enumerate() {
                if index > 0 {
                    rows.bytes.push(self.options.dialect.delimiter);
                }
                if column.is_null(row) {
                    rows.bytes.extend_from_slice(self.options.null_value.as_bytes());
                    continue;
                }
                scratch.clear();
                plain(column, row, &mut scratch);
                self.field(&scratch, &mut rows.bytes);
            }
            if rows.bytes.len() == start {
                // An empty line would be no row at all.
                self.field(b"", &mut rows.bytes);
            }
            rows.end_row();
        }
        rows
    }

    /// A field, quoted if it would not read back as it is: also what looks like NULL.
    fn field(&self, text: &[u8], out: &mut Vec<u8>) {
        let Dialect { delimiter, quote, escape } = self.options.dialect;
        let Some(quote) = quote else { return out.extend_from_slice(text) };
        let special =
            |byte: &u8| *byte == delimiter || *byte == quote || matches!(byte, b'\n' | b'\r');
        let like_null = text.is_empty() || text == self.options.null_value.as_bytes();
        if !like_null && !text.iter().any(special) {
            return out.extend_from_slice(text);
        }
        out.push(quote);
        for &byte in text {
            if byte == quote || Some(byte) == escape {
                out.push(escape.unwrap_or(quote));
            }
            out.push(byte);
        }
        out.push(quote);
    }
}
