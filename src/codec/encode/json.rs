//! Rows as JSON objects.
//!
//! The text is that of Spark's `to_json`, except that a time is not cut to milliseconds.

use std::io::Write;

use arrow::array::RecordBatch;
use chrono::{DateTime, Datelike, Timelike};

use super::EncodedRows;
use super::view::{Values, View, range};
use crate::codec::registry::base64;

/// How JSON is written.
///
/// | type | JSON |
/// |---|---|
/// | numbers, DECIMAL too | numbers; `"NaN"`, `"Infinity"`, `"-Infinity"` |
/// | STRING | a string |
/// | BINARY | a string of base64 |
/// | DATE | `"yyyy-MM-dd"` |
/// | TIMESTAMP | `"yyyy-MM-ddTHH:mm:ss.SSSZ"`, six decimals if it has microseconds |
/// | STRUCT, MAP, ARRAY | objects and arrays |
#[derive(Debug, Clone, Default)]
pub struct JsonEncoding {
    /// Whether fields that are NULL are written as `null`. Default: they are left out, as in Spark.
    pub nulls: bool,
}

#[derive(Debug)]
pub(super) struct JsonEncoder {
    options: JsonEncoding,
}

impl JsonEncoder {
    pub fn new(options: JsonEncoding) -> Self {
        Self { options }
    }

    pub fn encode(&self, batch: &RecordBatch) -> EncodedRows {
        let schema = batch.schema_ref();
        let columns: Vec<(&str, View<'_>)> = (schema.fields().iter().zip(batch.columns()))
            .map(|(field, column)| (field.name().as_str(), View::new(column)))
            .collect();
        // Keys are the same in each row: written once.
        let keys: Vec<Vec<u8>> = columns.iter().map(|(name, _)| key(name)).collect();
        let mut rows = EncodedRows::default();
        rows.bytes.reserve(batch.num_rows() * 32 * columns.len());
        for row in 0..batch.num_rows() {
            let out = &mut rows.bytes;
            out.push(b'{');
            let mut first = true;
            for ((_, column), key) in columns.iter().zip(&keys) {
                if column.is_null(row) && !self.options.nulls {
                    continue;
                }
                if !std::mem::take(&mut first) {
                    out.push(b',');
                }
                out.extend_from_slice(key);
                self.value(column, row, out);
            }
            out.push(b'}');
            rows.end_row();
        }
        rows
    }

    fn value(&self, column: &View<'_>, row: usize, out: &mut Vec<u8>) {
        if column.is_null(row) {
            return out.extend_from_slice(b"null");
        }
        match &column.values {
            Values::Utf8(array) => string(array.value(row), out),
            Values::Binary(array) => {
                out.push(b'"');
                out.extend_from_slice(base64(array.value(row)).as_bytes());
                out.push(b'"');
            }
            Values::Date(_) | Values::Timestamp(_) => {
                out.push(b'"');
                plain(column, row, out);
                out.push(b'"');
            }
            Values::Float32(array) if !array.value(row).is_finite() => {
                not_finite(array.value(row).into(), out);
            }
            Values::Float64(array) if !array.value(row).is_finite() => {
                not_finite(array.value(row), out);
            }
            Values::Struct(fields) => {
                out.push(b'{');
                let mut first = true;
                for (name, field) in fields {
                    if field.is_null(row) && !self.options.nulls {
                        continue;
                    }
                    if !std::mem::take(&mut first) {
                        out.push(b',');
                    }
                    string(name, out);
                    out.push(b':');
                    self.value(field, row, out);
                }
                out.push(b'}');
            }
            Values::List(offsets, element) => {
                out.push(b'[');
                for (index, row) in range(offsets, row).enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    self.value(element, row, out);
                }
                out.push(b']');
            }
            Values::Map(offsets, keys, values) => {
                out.push(b'{');
                for (index, row) in range(offsets, row).enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    string(keys.value(row), out);
                    out.push(b':');
                    self.value(values, row, out);
                }
                out.push(b'}');
            }
            _ => plain(column, row, out),
        }
    }
}

fn key(name: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(name.len() + 3);
    string(name, &mut key);
    key.push(b':');
    key
}

fn not_finite(value: f64, out: &mut Vec<u8>) {
    out.extend_from_slice(match value {
        _ if value.is_nan() => b"\"NaN\"",
        _ if value > 0.0 => b"\"Infinity\"",
        _ => b"\"-Infinity\"",
    });
}

/// A JSON string (RFC 8259, section 7): nothing is escaped that need not be.
fn string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut start = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        let escape = match byte {
            b'"' => b'"',
            b'\\' => b'\\',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0x08 => b'b',
            0x0c => b'f',
            0..0x20 => b'u',
            _ => continue,
        };
        out.extend_from_slice(&bytes[start..at]);
        out.extend_from_slice(&[b'\\', escape]);
        if escape == b'u' {
            // Writing to a vector does not fail.
            let _ = write!(out, "{byte:04x}");
        }
        start = at + 1;
    }
    out.extend_from_slice(&bytes[start..]);
    out.push(b'"');
}

/// A value that is no container, as JSON and CSV both have it, without quotes.
pub(super) fn plain(column: &View<'_>, row: usize, out: &mut Vec<u8>) {
    // Writing to a vector does not fail.
    let _ = match &column.values {
        Values::Boolean(array) => write!(out, "{}", array.value(row)),
        Values::Int8(array) => write!(out, "{}", array.value(row)),
        Values::Int16(array) => write!(out, "{}", array.value(row)),
        Values::Int32(array) => write!(out, "{}", array.value(row)),
        Values::Int64(array) => write!(out, "{}", array.value(row)),
        // The shortest digits that read back as the same number.
        Values::Float32(array) => write!(out, "{:?}", array.value(row)),
        Values::Float64(array) => write!(out, "{:?}", array.value(row)),
        Values::Decimal(array, scale) => decimal(array.value(row), *scale, out),
        Values::Date(array) => date(array.value(row), out),
        Values::Timestamp(array) => timestamp(array.value(row), out),
        Values::Utf8(array) => out.write_all(array.value(row).as_bytes()),
        _ => Ok(()),
    };
}

fn decimal(value: i128, scale: i8, out: &mut Vec<u8>) -> std::io::Result<()> {
    let Ok(places) = usize::try_from(scale) else {
        // A negative scale counts zeros.
        return write!(out, "{value}e{}", -i16::from(scale));
    };
    if places == 0 {
        return write!(out, "{value}");
    }
    let digits = format!("{:0width$}", value.unsigned_abs(), width = places + 1);
    let (whole, fraction) = digits.split_at(digits.len() - places);
    let sign = if value < 0 { "-" } else { "" };
    write!(out, "{sign}{whole}.{fraction}")
}

fn date(days: i32, out: &mut Vec<u8>) -> std::io::Result<()> {
    match DateTime::from_timestamp(i64::from(days) * 86_400, 0) {
        Some(date) => write!(out, "{:04}-{:02}-{:02}", date.year(), date.month(), date.day()),
        // No date that a declaration can hold.
        None => write!(out, "{days}"),
    }
}

fn timestamp(micros: i64, out: &mut Vec<u8>) -> std::io::Result<()> {
    let Some(time) = DateTime::from_timestamp_micros(micros) else {
        return write!(out, "{micros}");
    };
    let (date, micros) = (time.date_naive(), time.nanosecond() / 1000);
    write!(
        out,
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}",
        date.year(),
        date.month(),
        date.day(),
        time.hour(),
        time.minute(),
        time.second(),
    )?;
    match micros % 1000 {
        0 => write!(out, ".{:03}Z", micros / 1000),
        _ => write!(out, ".{micros:06}Z"),
    }
}
