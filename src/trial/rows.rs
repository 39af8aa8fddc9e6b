//! Rows as a test writes them (columns to JSON values), to Arrow.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Int64Array, ListArray,
    MapArray, PrimitiveArray, RecordBatch, RecordBatchOptions, StringArray, StructArray,
    TimestampMicrosecondArray, new_null_array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::kernels::cast_utils::{Parser, parse_decimal, string_to_datetime};
use arrow::datatypes::{
    ArrowNativeType, ArrowPrimitiveType, DataType, Date32Type, Decimal128Type, FieldRef,
    Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, SchemaRef, TimeUnit,
};
use chrono::Utc;
use serde_json::Value;

use crate::sql::suggestion;

/// One row: column to value, in any order. A column that is left out is NULL. Dates and times are
/// texts; so are decimals, if their digits matter, and `NaN`, `Infinity` and `-Infinity`; binaries
/// are base64.
pub type Row = serde_json::Map<String, Value>;

/// Why rows are none of the schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("row {number}: {message}", number = row + 1)]
pub struct RowError {
    /// Which, from 0.
    pub row: usize,
    /// What is wrong with it, with the column.
    pub message: String,
    /// What may have been meant.
    pub help: Option<String>,
}

/// A value is not of its type.
struct Mismatch {
    /// The row, or the element of a list.
    at: usize,
    path: String,
    expected: String,
    found: String,
}

/// The rows as a batch of `schema`, whose columns are taken as nullable.
///
/// # Errors
/// [`RowError`] for a column that the schema does not have and for a value that does not fit.
pub fn rows_of(rows: &[Row], schema: &SchemaRef) -> Result<RecordBatch, RowError> {
    for (row, values) in rows.iter().enumerate() {
        for name in values.keys() {
            if schema.column_with_name(name).is_none() {
                let names = schema.fields().iter().map(|field| field.name().as_str());
                return Err(RowError {
                    row,
                    message: format!("there is no column '{name}'"),
                    help: Some(suggestion(name, names, "columns")),
                });
            }
        }
    }
    let column = |field: &FieldRef| {
        let values: Vec<_> = rows.iter().map(|row| present(row.get(field.name()))).collect();
        array(&values, field.data_type()).map_err(|found| {
            let Mismatch { at, path, expected, found } = found;
            let message = format!("{}{path}: expected {expected}, got {found}", field.name());
            RowError { row: at, message, help: None }
        })
    };
    let columns = schema.fields().iter().map(column).collect::<Result<Vec<_>, _>>()?;
    let fields: Vec<_> =
        schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    let schema = Arc::new(arrow::datatypes::Schema::new(fields));
    RecordBatch::try_new_with_options(schema, columns, &options).map_err(|error| RowError {
        row: 0,
        message: error.to_string(),
        help: None,
    })
}

fn present(value: Option<&Value>) -> Option<&Value> {
    value.filter(|value| !value.is_null())
}

fn array(values: &[Option<&Value>], data_type: &DataType) -> Result<ArrayRef, Mismatch> {
    use DataType as D;
    Ok(match data_type {
        D::Null => new_null_array(data_type, values.len()),
        D::Boolean => {
            Arc::new(BooleanArray::from(each(values, "true or false", |value| value.as_bool())?))
        }
        D::Int8 => integers::<Int8Type>(values, "a TINYINT")?,
        D::Int16 => integers::<Int16Type>(values, "a SMALLINT")?,
        D::Int32 => integers::<Int32Type>(values, "an INT")?,
        D::Int64 => Arc::new(Int64Array::from(each(values, "a BIGINT", Value::as_i64)?)),
        D::Float32 => {
            let floats = each(values, "a FLOAT", |value| double(value).map(|v| v as f32))?;
            Arc::new(PrimitiveArray::<Float32Type>::from(floats))
        }
        D::Float64 => {
            Arc::new(PrimitiveArray::<Float64Type>::from(each(values, "a DOUBLE", double)?))
        }
        D::Decimal128(precision, scale) => {
            let expected = format!("a DECIMAL({precision},{scale})");
            let parsed = each(values, &expected, |value| {
                parse_decimal::<Decimal128Type>(&digits(value)?, *precision, *scale).ok()
            })?;
            let decimals = Decimal128Array::from(parsed);
            Arc::new(decimals.with_data_type(data_type.clone()))
        }
        D::Utf8 => Arc::new(StringArray::from(each(values, "a text", Value::as_str)?)),
        D::Binary => {
            let decoded = each(values, "base64 of a BINARY", |value| base64(value.as_str()?))?;
            Arc::new(BinaryArray::from_iter(decoded))
        }
        D::Date32 => Arc::new(Date32Array::from(each(values, "a date, as 2026-01-31", |value| {
            Date32Type::parse(value.as_str()?)
        })?)),
        D::Timestamp(TimeUnit::Microsecond, zone) => {
            let expected = "a time, as 2026-01-31T12:00:00Z";
            let times = each(values, expected, |value| {
                let time = string_to_datetime(&Utc, value.as_str()?).ok()?;
                Some(time.timestamp_micros())
            })?;
            Arc::new(TimestampMicrosecondArray::from(times).with_timezone_opt(zone.clone()))
        }
        D::Struct(fields) => {
            let objects = each(values, "a table of columns and values", Value::as_object)?;
            for (at, object) in objects.iter().enumerate() {
                let mut names = object.iter().flat_map(|object| object.keys());
                let known = |name: &&String| !fields.iter().any(|field| field.name() == *name);
                if let Some(unknown) = names.find(known) {
                    let names: Vec<_> = fields.iter().map(|field| field.name().as_str()).collect();
                    let expected = format!("only {}", names.join(", "));
                    let (path, found) = (String::new(), format!("'{unknown}'"));
                    return Err(Mismatch { at, path, expected, found });
                }
            }
            let columns = fields.iter().map(|field| {
                let values: Vec<_> = objects
                    .iter()
                    .map(|object| present(object.and_then(|object| object.get(field.name()))))
                    .collect();
                array(&values, field.data_type()).map_err(|found| found.in_field(field.name()))
            });
            let columns = columns.collect::<Result<Vec<_>, _>>()?;
            let nulls: NullBuffer = objects.iter().map(Option::is_some).collect();
            let loose = fields.iter().map(|field| field.as_ref().clone().with_nullable(true));
            let built = StructArray::try_new_with_length(
                loose.collect(),
                columns,
                Some(nulls),
                values.len(),
            );
            Arc::new(built.map_err(internal)?)
        }
        D::List(element) => {
            let lists = each(values, "an array", Value::as_array)?;
            let items: Vec<_> =
                lists.iter().flat_map(|list| list.map_or(&[][..], |list| list)).collect();
            let owners = owners(lists.iter().map(|list| list.map_or(0, Vec::len)));
            let items: Vec<_> = items.into_iter().map(|item| present(Some(item))).collect();
            let items = array(&items, element.data_type()).map_err(|found| found.of(&owners))?;
            let lengths = lists.iter().map(|list| list.map_or(0, Vec::len));
            let offsets = OffsetBuffer::from_lengths(lengths);
            let nulls: NullBuffer = lists.iter().map(Option::is_some).collect();
            let built = ListArray::try_new(element.clone(), offsets, items, Some(nulls));
            Arc::new(built.map_err(internal)?)
        }
        D::Map(entries, sorted) => map(values, entries, *sorted)?,
        other => {
            let (path, found) = (String::new(), "a value".to_owned());
            let expected = format!("nothing: tests cannot write {other}");
            match values.iter().position(Option::is_some) {
                Some(at) => return Err(Mismatch { at, path, expected, found }),
                None => new_null_array(other, values.len()),
            }
        }
    })
}

fn map(values: &[Option<&Value>], entries: &FieldRef, sorted: bool) -> Result<ArrayRef, Mismatch> {
    let objects = each(values, "a table of keys and values", Value::as_object)?;
    let lengths = || objects.iter().map(|object| object.map_or(0, serde_json::Map::len));
    let owners = owners(lengths());
    let DataType::Struct(fields) = entries.data_type() else {
        return Err(internal("a map without entries"));
    };
    let pairs = || objects.iter().flatten().flat_map(|object| object.iter());
    // Keys that are not texts are written as JSON in one.
    let is_text = *fields[0].data_type() == DataType::Utf8;
    let keys: Vec<Value> = pairs()
        .map(|(key, _)| match is_text {
            true => Value::from(key.as_str()),
            false => serde_json::from_str(key).unwrap_or_else(|_| Value::from(key.as_str())),
        })
        .collect();
    let keys: Vec<_> = keys.iter().map(Some).collect();
    let keys = array(&keys, fields[0].data_type()).map_err(|found| found.of(&owners))?;
    let held: Vec<_> = pairs().map(|(_, value)| present(Some(value))).collect();
    let held = array(&held, fields[1].data_type()).map_err(|found| found.of(&owners))?;
    let offsets = OffsetBuffer::from_lengths(lengths());
    let nulls: NullBuffer = objects.iter().map(Option::is_some).collect();
    let pairs = StructArray::try_new(fields.clone(), vec![keys, held], None).map_err(internal)?;
    let built = MapArray::try_new(entries.clone(), offsets, pairs, Some(nulls), sorted);
    Ok(Arc::new(built.map_err(internal)?))
}

/// The row of each element, by the lengths of the rows' lists.
fn owners(lengths: impl Iterator<Item = usize>) -> Vec<usize> {
    lengths.enumerate().flat_map(|(row, length)| std::iter::repeat_n(row, length)).collect()
}

fn each<'a, T>(
    values: &[Option<&'a Value>],
    expected: &str,
    read: impl Fn(&'a Value) -> Option<T>,
) -> Result<Vec<Option<T>>, Mismatch> {
    let read = |(at, value): (usize, &Option<&'a Value>)| {
        let Some(value) = value else { return Ok(None) };
        read(value).map(Some).ok_or_else(|| Mismatch {
            at,
            path: String::new(),
            expected: expected.to_owned(),
            found: value.to_string(),
        })
    };
    values.iter().enumerate().map(read).collect()
}

fn integers<T>(values: &[Option<&Value>], expected: &str) -> Result<ArrayRef, Mismatch>
where
    T: ArrowPrimitiveType,
    T::Native: TryFrom<i64> + ArrowNativeType,
{
    let numbers =
        each(values, expected, |value| value.as_i64().and_then(|v| T::Native::try_from(v).ok()))?;
    Ok(Arc::new(PrimitiveArray::<T>::from_iter(numbers)))
}

fn double(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => match text.as_str() {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            _ => None,
        },
        _ => None,
    }
}

/// A number as it is written.
fn digits(value: &Value) -> Option<String> {
    match value {
        Value::Number(number) => Some(number.to_string()),
        Value::String(text) => Some(text.clone()),
        _ => None,
    }
}

/// The bytes of padded base64 (RFC 4648, section 4).
fn base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=');
    if !text.len().is_multiple_of(4) || text.len() - digits.len() > 2 {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut held, mut bits) = (0u32, 0);
    for digit in digits.bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        held = (held << 6) | u32::from(value);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits) as u8);
            held &= (1 << bits) - 1;
        }
    }
    (held == 0).then_some(bytes)
}

impl Mismatch {
    fn in_field(self, name: &str) -> Self {
        Self { path: format!(".{name}{}", self.path), ..self }
    }

    /// Of an element, in the row that it belongs to.
    fn of(self, owners: &[usize]) -> Self {
        let at = owners.get(self.at).copied().unwrap_or_default();
        Self { at, path: format!("[]{}", self.path), ..self }
    }
}

fn internal(error: impl std::fmt::Display) -> Mismatch {
    let (path, expected) = (String::new(), "a value of its type".to_owned());
    Mismatch { at: 0, path, expected, found: error.to_string() }
}
