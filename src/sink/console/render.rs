//! Values as Spark 4 shows them in a table.
//!
//! The rules are those of Spark's `ToPrettyString`: NULL is `NULL` at every depth, structs stand in
//! braces without field names, maps as `{k -> v}`, binaries as `[61 62]`, timestamps in UTC with
//! the fraction cut after its last digit.

use std::fmt::{self, Write};

use arrow::array::{Array, ArrayRef, AsArray, MapArray};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Decimal256Type, Float32Type, Float64Type, Int8Type,
    Int16Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType, TimestampNanosecondType,
    UInt64Type,
};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, TimeDelta, Timelike};

use super::java;

/// What stands for NULL.
pub const NULL: &str = "NULL";

/// Writes the values of one column.
pub struct Renderer {
    column: Column,
    array: ArrayRef,
}

enum Column {
    Null,
    Boolean,
    Int8,
    Int16,
    Int32,
    Int64,
    UInt64,
    Float32,
    Float64,
    Decimal128,
    Decimal256,
    Text,
    Binary,
    Date,
    Micros,
    Nanos,
    List(Box<Renderer>),
    Struct(Vec<Renderer>),
    Map(Box<Renderer>, Box<Renderer>),
    /// Types that Spark has no counterpart for, as Arrow writes them.
    Other,
}

impl Renderer {
    /// For the values of `array`, of whatever type.
    ///
    /// # Errors
    /// If Arrow cannot bring the values into a plain form.
    pub fn new(array: &ArrayRef) -> Result<Self, ArrowError> {
        use DataType as D;
        let to = |kind: D| cast(array, &kind);
        let (column, array) = match array.data_type() {
            D::Null => (Column::Null, array.clone()),
            D::Boolean => (Column::Boolean, array.clone()),
            D::Int8 => (Column::Int8, array.clone()),
            D::Int16 => (Column::Int16, array.clone()),
            D::Int32 => (Column::Int32, array.clone()),
            D::Int64 => (Column::Int64, array.clone()),
            D::UInt8 | D::UInt16 | D::UInt32 | D::UInt64 => (Column::UInt64, to(D::UInt64)?),
            D::Float16 | D::Float32 => (Column::Float32, to(D::Float32)?),
            D::Float64 => (Column::Float64, array.clone()),
            D::Decimal32(p, s) | D::Decimal64(p, s) | D::Decimal128(p, s) => {
                (Column::Decimal128, to(D::Decimal128(*p, *s))?)
            }
            D::Decimal256(_, _) => (Column::Decimal256, array.clone()),
            D::Utf8 | D::LargeUtf8 | D::Utf8View => (Column::Text, to(D::LargeUtf8)?),
            D::Binary | D::LargeBinary | D::BinaryView | D::FixedSizeBinary(_) => {
                (Column::Binary, to(D::LargeBinary)?)
            }
            D::Date32 | D::Date64 => (Column::Date, to(D::Date32)?),
            D::Timestamp(TimeUnit::Nanosecond, _) => {
                (Column::Nanos, to(D::Timestamp(TimeUnit::Nanosecond, None))?)
            }
            D::Timestamp(_, zone) => {
                // Dropping a zone other than UTC would move the time; through UTC it does not.
                let utc = match zone {
                    Some(_) => to(D::Timestamp(TimeUnit::Microsecond, Some("UTC".into())))?,
                    None => array.clone(),
                };
                (Column::Micros, cast(&utc, &D::Timestamp(TimeUnit::Microsecond, None))?)
            }
            D::Dictionary(_, value) => return Self::new(&to(value.as_ref().clone())?),
            D::List(_) => {
                let items = Self::new(array.as_list::<i32>().values())?;
                (Column::List(Box::new(items)), array.clone())
            }
            D::LargeList(item)
            | D::ListView(item)
            | D::LargeListView(item)
            | D::FixedSizeList(item, _) => return Self::new(&to(D::List(item.clone()))?),
            D::Struct(_) => {
                let fields = array.as_struct().columns().iter().map(Self::new);
                (Column::Struct(fields.collect::<Result<_, _>>()?), array.clone())
            }
            D::Map(_, _) => {
                let map = array.as_map();
                let (keys, values) = (Self::new(map.keys())?, Self::new(map.values())?);
                (Column::Map(Box::new(keys), Box::new(values)), array.clone())
            }
            _ => (Column::Other, array.clone()),
        };
        Ok(Self { column, array })
    }

    /// Appends the value in `row`, which must be less than the array's length.
    pub fn write(&self, row: usize, out: &mut String) {
        let array = self.array.as_ref();
        if array.is_null(row) {
            out.push_str(NULL);
            return;
        }
        match &self.column {
            Column::Null => out.push_str(NULL),
            Column::Boolean => {
                out.push_str(if array.as_boolean().value(row) { "true" } else { "false" });
            }
            Column::Int8 => {
                put(out, format_args!("{}", array.as_primitive::<Int8Type>().value(row)))
            }
            Column::Int16 => {
                put(out, format_args!("{}", array.as_primitive::<Int16Type>().value(row)))
            }
            Column::Int32 => {
                put(out, format_args!("{}", array.as_primitive::<Int32Type>().value(row)))
            }
            Column::Int64 => {
                put(out, format_args!("{}", array.as_primitive::<Int64Type>().value(row)))
            }
            Column::UInt64 => {
                put(out, format_args!("{}", array.as_primitive::<UInt64Type>().value(row)));
            }
            Column::Float32 => java::float(array.as_primitive::<Float32Type>().value(row), out),
            Column::Float64 => java::double(array.as_primitive::<Float64Type>().value(row), out),
            Column::Decimal128 => {
                out.push_str(&array.as_primitive::<Decimal128Type>().value_as_string(row));
            }
            Column::Decimal256 => {
                out.push_str(&array.as_primitive::<Decimal256Type>().value_as_string(row));
            }
            Column::Text => out.push_str(array.as_string::<i64>().value(row)),
            Column::Binary => binary(array.as_binary::<i64>().value(row), out),
            Column::Date => date(array.as_primitive::<Date32Type>().value(row), out),
            Column::Micros => {
                let micros = array.as_primitive::<TimestampMicrosecondType>().value(row);
                let time = DateTime::from_timestamp_micros(micros).map(|t| t.naive_utc());
                timestamp(time, micros, out);
            }
            Column::Nanos => {
                let nanos = array.as_primitive::<TimestampNanosecondType>().value(row);
                timestamp(Some(DateTime::from_timestamp_nanos(nanos).naive_utc()), nanos, out);
            }
            Column::List(items) => {
                let offsets = array.as_list::<i32>().value_offsets();
                let (start, end) = (offsets[row] as usize, offsets[row + 1] as usize);
                out.push('[');
                for (place, item) in (start..end).enumerate() {
                    if place > 0 {
                        out.push_str(", ");
                    }
                    items.write(item, out);
                }
                out.push(']');
            }
            Column::Struct(fields) => {
                out.push('{');
                for (place, field) in fields.iter().enumerate() {
                    if place > 0 {
                        out.push_str(", ");
                    }
                    field.write(row, out);
                }
                out.push('}');
            }
            Column::Map(keys, values) => map(array.as_map(), row, keys, values, out),
            Column::Other => {
                let format = FormatOptions::default().with_null(NULL);
                match ArrayFormatter::try_new(array, &format) {
                    Ok(formatter) => put(out, format_args!("{}", formatter.value(row))),
                    Err(_) => put(out, format_args!("<{}>", array.data_type())),
                }
            }
        }
    }
}

/// Writing to a string cannot fail.
fn put(out: &mut String, what: fmt::Arguments<'_>) {
    let _ = out.write_fmt(what);
}

fn map(map: &MapArray, row: usize, keys: &Renderer, values: &Renderer, out: &mut String) {
    let offsets = map.value_offsets();
    let (start, end) = (offsets[row] as usize, offsets[row + 1] as usize);
    out.push('{');
    for (place, entry) in (start..end).enumerate() {
        if place > 0 {
            out.push_str(", ");
        }
        keys.write(entry, out);
        out.push_str(" -> ");
        values.write(entry, out);
    }
    out.push('}');
}

fn binary(bytes: &[u8], out: &mut String) {
    out.push('[');
    for (place, byte) in bytes.iter().enumerate() {
        put(out, format_args!("{}{byte:02X}", if place > 0 { " " } else { "" }));
    }
    out.push(']');
}

fn date(days: i32, out: &mut String) {
    let epoch = NaiveDate::from_ymd_opt(1970, 1, 1);
    match epoch.and_then(|epoch| epoch.checked_add_signed(TimeDelta::days(days.into()))) {
        Some(date) => calendar_date(date, out),
        // Beyond the year 262142; Spark's own dates end later, but nobody's data get there.
        None => put(out, format_args!("{days} days")),
    }
}

/// `yyyy-MM-dd`; years of more than four digits carry their sign, as in Java's ISO dates.
fn calendar_date(date: NaiveDate, out: &mut String) {
    let year = date.year();
    let _ = match year {
        0..=9999 => write!(out, "{year:04}"),
        10_000.. => write!(out, "+{year}"),
        _ => write!(out, "-{:04}", year.unsigned_abs()),
    };
    put(out, format_args!("-{:02}-{:02}", date.month(), date.day()));
}

fn timestamp(time: Option<NaiveDateTime>, raw: i64, out: &mut String) {
    let Some(time) = time else {
        put(out, format_args!("{raw} microseconds"));
        return;
    };
    calendar_date(time.date(), out);
    put(out, format_args!(" {:02}:{:02}:{:02}", time.hour(), time.minute(), time.second()));
    let nanos = time.nanosecond();
    if nanos > 0 {
        let fraction = format!("{nanos:09}");
        out.push('.');
        out.push_str(fraction.trim_end_matches('0'));
    }
}
