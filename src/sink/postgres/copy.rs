//! Rows as PostgreSQL's binary `COPY` takes them.
//! <https://www.postgresql.org/docs/15/sql-copy.html#id-1.9.3.55.9.4>

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Decimal128Array, ListArray, RecordBatch,
    StringArray,
};
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, TimestampMicrosecondType,
};
use bytes::{BufMut, BytesMut};

use super::numeric;
use super::types::natural;
use crate::sink::encode::JsonValues;
use crate::sink::error::SinkError;

/// 2000-01-01, PostgreSQL's epoch, after Unix's: in microseconds and in days.
const EPOCH_US: i64 = 946_684_800_000_000;
const EPOCH_DAYS: i32 = 10_957;

/// What every copy begins with.
pub(super) fn header(out: &mut BytesMut) {
    out.put_slice(b"PGCOPY\n\xff\r\n\0");
    // Neither flags nor an extension.
    out.put_i32(0);
    out.put_i32(0);
}

/// And ends with.
pub(super) fn trailer(out: &mut BytesMut) {
    out.put_i16(-1);
}

/// Encodes the rows of one batch.
pub(super) struct Encoder {
    columns: Vec<Column>,
}

struct Column {
    name: String,
    array: ArrayRef,
    values: Values,
}

enum Values {
    Boolean(BooleanArray),
    Int8(ScalarBuffer<i8>),
    Int16(ScalarBuffer<i16>),
    Int32(ScalarBuffer<i32>),
    Int64(ScalarBuffer<i64>),
    Float32(ScalarBuffer<f32>),
    Float64(ScalarBuffer<f64>),
    Decimal(Decimal128Array, u32),
    Text(StringArray),
    Binary(BinaryArray),
    Date(ScalarBuffer<i32>),
    Time(ScalarBuffer<i64>),
    Array(ListArray, Box<Column>, u32),
    Json(JsonValues),
}

impl Encoder {
    pub fn new(batch: &RecordBatch) -> Result<Self, SinkError> {
        let columns = batch.columns().iter().zip(batch.schema_ref().fields());
        let columns = columns.map(|(array, field)| Column::new(field.name(), array));
        Ok(Self { columns: columns.collect::<Result<_, _>>()? })
    }

    /// Appends a row. An error says which column and why, and leaves part of the row behind.
    pub fn row(&self, row: usize, out: &mut BytesMut) -> Result<(), String> {
        // Checked when the table was: it has at most 1,600 columns.
        out.put_i16(self.columns.len() as i16);
        for column in &self.columns {
            column.write(row, out).map_err(|e| format!("column `{}`: {e}", column.name))?;
        }
        Ok(())
    }
}

impl Column {
    fn new(name: &str, array: &ArrayRef) -> Result<Self, SinkError> {
        use DataType as D;
        let values = match array.data_type() {
            D::Boolean => Values::Boolean(array.as_boolean().clone()),
            D::Int8 => Values::Int8(array.as_primitive::<Int8Type>().values().clone()),
            D::Int16 => Values::Int16(array.as_primitive::<Int16Type>().values().clone()),
            D::Int32 => Values::Int32(array.as_primitive::<Int32Type>().values().clone()),
            D::Int64 => Values::Int64(array.as_primitive::<Int64Type>().values().clone()),
            D::Float32 => Values::Float32(array.as_primitive::<Float32Type>().values().clone()),
            D::Float64 => Values::Float64(array.as_primitive::<Float64Type>().values().clone()),
            D::Decimal128(_, scale) => {
                // The sink's schema has no negative scales.
                let scale = u32::try_from(*scale).map_err(SinkError::internal)?;
                Values::Decimal(array.as_primitive::<Decimal128Type>().clone(), scale)
            }
            D::Utf8 => Values::Text(array.as_string::<i32>().clone()),
            D::Binary => Values::Binary(array.as_binary::<i32>().clone()),
            D::Date32 => Values::Date(array.as_primitive::<Date32Type>().values().clone()),
            D::Timestamp(_, _) => {
                Values::Time(array.as_primitive::<TimestampMicrosecondType>().values().clone())
            }
            D::List(item) => match natural(item.data_type()).element {
                Some(_) => {
                    let list = array.as_list::<i32>().clone();
                    let items = Self::new(name, list.values())?;
                    Values::Array(list, Box::new(items), natural(item.data_type()).oid)
                }
                None => Values::Json(JsonValues::new(array)?),
            },
            _ => Values::Json(JsonValues::new(array)?),
        };
        Ok(Self { name: name.to_owned(), array: array.clone(), values })
    }

    /// Appends a value behind its length.
    fn write(&self, row: usize, out: &mut BytesMut) -> Result<(), String> {
        if self.array.is_null(row) {
            out.put_i32(-1);
            return Ok(());
        }
        match &self.values {
            Values::Boolean(values) => {
                out.put_i32(1);
                out.put_u8(u8::from(values.value(row)));
            }
            Values::Int8(values) => {
                out.put_i32(2);
                out.put_i16(i16::from(values[row]));
            }
            Values::Int16(values) => {
                out.put_i32(2);
                out.put_i16(values[row]);
            }
            Values::Int32(values) => {
                out.put_i32(4);
                out.put_i32(values[row]);
            }
            Values::Int64(values) => {
                out.put_i32(8);
                out.put_i64(values[row]);
            }
            Values::Float32(values) => {
                out.put_i32(4);
                out.put_f32(values[row]);
            }
            Values::Float64(values) => {
                out.put_i32(8);
                out.put_f64(values[row]);
            }
            Values::Decimal(values, scale) => numeric::put(values.value(row), *scale, out),
            Values::Text(values) => {
                let text = values.value(row);
                if text.as_bytes().contains(&0) {
                    return Err(
                        "PostgreSQL cannot hold the character U+0000 in text; take it out \
                                with replace(...), or write the column as BINARY"
                            .to_owned(),
                    );
                }
                bytes(text.as_bytes(), out)?;
            }
            Values::Binary(values) => bytes(values.value(row), out)?,
            Values::Date(values) => {
                let days = values[row]
                    .checked_sub(EPOCH_DAYS)
                    .ok_or("the date is before PostgreSQL's first")?;
                out.put_i32(4);
                out.put_i32(days);
            }
            Values::Time(values) => {
                let micros = values[row]
                    .checked_sub(EPOCH_US)
                    .ok_or("the timestamp is before PostgreSQL's first")?;
                out.put_i32(8);
                out.put_i64(micros);
            }
            Values::Array(list, items, oid) => {
                let offsets = list.value_offsets();
                let (start, end) = (offsets[row] as usize, offsets[row + 1] as usize);
                let at = out.len();
                out.put_i32(0);
                out.put_i32(if start == end { 0 } else { 1 });
                out.put_i32(i32::from((start..end).any(|item| items.array.is_null(item))));
                out.put_u32(*oid);
                if start < end {
                    out.put_i32(offsets[row + 1] - offsets[row]);
                    out.put_i32(1);
                    for item in start..end {
                        items.write(item, out)?;
                    }
                }
                set_length(at, out)?;
            }
            Values::Json(column) => {
                let at = out.len();
                out.put_i32(0);
                // The version of jsonb's binary form.
                out.put_u8(1);
                let json = column.value(row);
                if has_zero(json) {
                    return Err("PostgreSQL cannot hold the character U+0000 in jsonb".to_owned());
                }
                out.put_slice(json);
                set_length(at, out)?;
            }
        }
        Ok(())
    }
}

/// Whether JSON holds the escape of U+0000, which a backslash before it would make plain text.
fn has_zero(json: &[u8]) -> bool {
    memchr::memmem::find_iter(json, b"\\u0000").any(|at| {
        let before = json[..at].iter().rev().take_while(|byte| **byte == b'\\').count();
        before % 2 == 0
    })
}

/// Sets the length at `at` to that of what comes behind it.
fn set_length(at: usize, out: &mut BytesMut) -> Result<(), String> {
    let length =
        i32::try_from(out.len() - at - 4).map_err(|_| "the value is too long".to_owned())?;
    out[at..at + 4].copy_from_slice(&length.to_be_bytes());
    Ok(())
}

fn bytes(value: &[u8], out: &mut BytesMut) -> Result<(), String> {
    let length = i32::try_from(value.len()).map_err(|_| "the value is too long".to_owned())?;
    out.put_i32(length);
    out.put_slice(value);
    Ok(())
}
