//! Rows and values as JSON, as Spark's `to_json` writes them.
//!
//! Fields that are NULL are left out of objects and are `null` in lists and maps; timestamps are
//! `2023-10-27T12:00:00.000Z`, with six digits where three do not do; binaries are Base64; decimals
//! are numbers; doubles that are none are `"NaN"`, `"Infinity"` and `"-Infinity"`.

use std::fmt::Write as _;
use std::io::Write;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, TimeUnit, TimestampMicrosecondType,
};
use chrono::{DateTime, Datelike, NaiveDate, TimeDelta, Timelike};

use super::console::java;
use super::error::SinkError;

/// Writes the values of one column of a type that [`super::schema::storage_schema`] gives.
pub(crate) struct JsonColumn {
    kind: Kind,
    array: ArrayRef,
}

enum Kind {
    Boolean,
    Int8,
    Int16,
    Int32,
    Int64,
    Float32,
    Float64,
    Decimal,
    Text,
    Binary,
    Date,
    Time { utc: bool },
    List(Box<JsonColumn>),
    Struct(Vec<(Vec<u8>, JsonColumn)>),
    Map(Box<JsonColumn>, Box<JsonColumn>),
}

/// Writes the rows of one batch as objects.
pub(crate) struct JsonRows {
    columns: Vec<(Vec<u8>, JsonColumn)>,
}

impl JsonRows {
    /// For these columns of `batch`.
    pub fn new(
        batch: &RecordBatch,
        columns: impl IntoIterator<Item = usize>,
    ) -> Result<Self, SinkError> {
        let columns = columns.into_iter().map(|index| {
            let name = name_of(batch.schema_ref().field(index).name());
            JsonColumn::new(batch.column(index)).map(|column| (name, column))
        });
        Ok(Self { columns: columns.collect::<Result<_, _>>()? })
    }

    /// Appends the row as an object.
    pub fn write(&self, row: usize, out: &mut Vec<u8>) {
        object(&self.columns, row, out);
    }
}

/// `"name":`, ready to be written.
fn name_of(name: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len() + 3);
    string(name, &mut out);
    out.push(b':');
    out
}

fn object(columns: &[(Vec<u8>, JsonColumn)], row: usize, out: &mut Vec<u8>) {
    out.push(b'{');
    let start = out.len();
    for (name, column) in columns {
        if column.array.is_null(row) {
            continue;
        }
        if out.len() > start {
            out.push(b',');
        }
        out.extend_from_slice(name);
        column.write(row, out);
    }
    out.push(b'}');
}

impl JsonColumn {
    pub fn new(array: &ArrayRef) -> Result<Self, SinkError> {
        use DataType as D;
        let kind = match array.data_type() {
            D::Boolean => Kind::Boolean,
            D::Int8 => Kind::Int8,
            D::Int16 => Kind::Int16,
            D::Int32 => Kind::Int32,
            D::Int64 => Kind::Int64,
            D::Float32 => Kind::Float32,
            D::Float64 => Kind::Float64,
            D::Decimal128(_, _) => Kind::Decimal,
            D::Utf8 => Kind::Text,
            D::Binary => Kind::Binary,
            D::Date32 => Kind::Date,
            D::Timestamp(TimeUnit::Microsecond, zone) => Kind::Time { utc: zone.is_some() },
            D::List(_) => Kind::List(Box::new(Self::new(array.as_list::<i32>().values())?)),
            D::Struct(fields) => {
                let columns = fields.iter().zip(array.as_struct().columns());
                let columns =
                    columns.map(|(f, c)| Self::new(c).map(|column| (name_of(f.name()), column)));
                Kind::Struct(columns.collect::<Result<_, _>>()?)
            }
            D::Map(_, _) => {
                let map = array.as_map();
                let keys = Self::new(map.keys())?;
                Kind::Map(Box::new(keys), Box::new(Self::new(map.values())?))
            }
            other => return Err(SinkError::internal(format_args!("no JSON for {other}"))),
        };
        Ok(Self { kind, array: array.clone() })
    }

    /// Appends the value in `row`; `null` for NULL.
    pub fn write(&self, row: usize, out: &mut Vec<u8>) {
        let array = self.array.as_ref();
        if array.is_null(row) {
            out.extend_from_slice(b"null");
            return;
        }
        // Writing to a vector cannot fail: the results of `write!` are dropped.
        let _ = match &self.kind {
            Kind::Boolean => write!(out, "{}", array.as_boolean().value(row)),
            Kind::Int8 => write!(out, "{}", array.as_primitive::<Int8Type>().value(row)),
            Kind::Int16 => write!(out, "{}", array.as_primitive::<Int16Type>().value(row)),
            Kind::Int32 => write!(out, "{}", array.as_primitive::<Int32Type>().value(row)),
            Kind::Int64 => write!(out, "{}", array.as_primitive::<Int64Type>().value(row)),
            Kind::Float32 => {
                let value = array.as_primitive::<Float32Type>().value(row);
                number(value.is_finite(), |text| java::float(value, text), out)
            }
            Kind::Float64 => {
                let value = array.as_primitive::<Float64Type>().value(row);
                number(value.is_finite(), |text| java::double(value, text), out)
            }
            Kind::Decimal => out
                .write_all(array.as_primitive::<Decimal128Type>().value_as_string(row).as_bytes()),
            Kind::Text => {
                string(array.as_string::<i32>().value(row), out);
                Ok(())
            }
            Kind::Binary => {
                out.push(b'"');
                base64(array.as_binary::<i32>().value(row), out);
                out.push(b'"');
                Ok(())
            }
            Kind::Date => {
                let mut text = String::new();
                date(array.as_primitive::<Date32Type>().value(row), &mut text);
                write!(out, "\"{text}\"")
            }
            Kind::Time { utc } => {
                let mut text = String::new();
                let micros = array.as_primitive::<TimestampMicrosecondType>().value(row);
                timestamp(micros, *utc, &mut text);
                write!(out, "\"{text}\"")
            }
            Kind::List(items) => {
                let offsets = array.as_list::<i32>().value_offsets();
                out.push(b'[');
                for item in offsets[row]..offsets[row + 1] {
                    if item > offsets[row] {
                        out.push(b',');
                    }
                    items.write(item as usize, out);
                }
                out.push(b']');
                Ok(())
            }
            Kind::Struct(fields) => {
                object(fields, row, out);
                Ok(())
            }
            Kind::Map(keys, values) => {
                let offsets = array.as_map().value_offsets();
                out.push(b'{');
                for entry in offsets[row]..offsets[row + 1] {
                    if entry > offsets[row] {
                        out.push(b',');
                    }
                    keys.write_key(entry as usize, out);
                    out.push(b':');
                    values.write(entry as usize, out);
                }
                out.push(b'}');
                Ok(())
            }
        };
    }

    /// A key of an object has to be a string, whatever the map's keys are.
    fn write_key(&self, row: usize, out: &mut Vec<u8>) {
        let start = out.len();
        self.write(row, out);
        if out.get(start) != Some(&b'"') {
            let text = String::from_utf8_lossy(&out[start..]).into_owned();
            out.truncate(start);
            string(&text, out);
        }
    }

    /// Appends the value as text that stands for itself: strings without quotes, everything else as
    /// JSON has it. Nothing for NULL.
    pub fn write_text(&self, row: usize, out: &mut Vec<u8>) {
        if self.array.is_null(row) {
            return;
        }
        match &self.kind {
            Kind::Text => {
                out.extend_from_slice(self.array.as_string::<i32>().value(row).as_bytes())
            }
            Kind::List(_) | Kind::Struct(_) | Kind::Map(_, _) => self.write(row, out),
            _ => {
                let start = out.len();
                self.write(row, out);
                if out.get(start) == Some(&b'"') {
                    // None of the types that are left has anything to escape.
                    out.pop();
                    out.remove(start);
                }
            }
        }
    }

    pub fn is_null(&self, row: usize) -> bool {
        self.array.is_null(row)
    }
}

fn number(finite: bool, text: impl FnOnce(&mut String), out: &mut Vec<u8>) -> std::io::Result<()> {
    let mut digits = String::new();
    text(&mut digits);
    if finite { out.write_all(digits.as_bytes()) } else { write!(out, "\"{digits}\"") }
}

/// A JSON string. <https://www.rfc-editor.org/rfc/rfc8259#section-7>
fn string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut start = 0;
    for (at, byte) in text.bytes().enumerate() {
        let escape: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            0x08 => b"\\b",
            0x0c => b"\\f",
            0..0x20 => b"",
            _ => continue,
        };
        out.extend_from_slice(&text.as_bytes()[start..at]);
        start = at + 1;
        if escape.is_empty() {
            let _ = write!(out, "\\u{byte:04x}");
        } else {
            out.extend_from_slice(escape);
        }
    }
    out.extend_from_slice(&text.as_bytes()[start..]);
    out.push(b'"');
}

/// <https://www.rfc-editor.org/rfc/rfc4648#section-4>
fn base64(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for chunk in bytes.chunks(3) {
        let word =
            chunk.iter().enumerate().fold(0u32, |w, (i, b)| w | u32::from(*b) << (16 - 8 * i));
        for place in 0..4 {
            out.push(if place <= chunk.len() {
                DIGITS[(word >> (18 - 6 * place)) as usize & 63]
            } else {
                b'='
            });
        }
    }
}

/// `yyyy-MM-dd`.
fn date(days: i32, out: &mut String) {
    let epoch = NaiveDate::from_ymd_opt(1970, 1, 1);
    match epoch.and_then(|epoch| epoch.checked_add_signed(TimeDelta::days(days.into()))) {
        Some(date) => calendar_date(date, out),
        // Outside any calendar: the number is all there is.
        None => drop(write!(out, "{days}")),
    }
}

fn calendar_date(date: NaiveDate, out: &mut String) {
    let year = date.year();
    let _ = match year {
        0..=9999 => write!(out, "{year:04}"),
        10_000.. => write!(out, "+{year}"),
        _ => write!(out, "-{:04}", year.unsigned_abs()),
    };
    let _ = write!(out, "-{:02}-{:02}", date.month(), date.day());
}

/// ISO 8601 with at least three digits of a second.
fn timestamp(micros: i64, utc: bool, out: &mut String) {
    let Some(time) = DateTime::from_timestamp_micros(micros) else {
        let _ = write!(out, "{micros}");
        return;
    };
    calendar_date(time.date_naive(), out);
    let _ = write!(out, "T{:02}:{:02}:{:02}", time.hour(), time.minute(), time.second());
    let micros = time.timestamp_subsec_micros();
    let _ = match micros % 1000 {
        0 => write!(out, ".{:03}", micros / 1000),
        _ => write!(out, ".{micros:06}"),
    };
    if utc {
        out.push('Z');
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        BinaryArray, Decimal128Array, Float64Array, Int32Array, Int32Builder, MapBuilder,
        StringArray, StringBuilder, StructArray, TimestampMicrosecondArray,
    };
    use arrow::datatypes::{Field, Fields};
    use proptest::prelude::*;

    use super::*;

    fn row(columns: Vec<(&str, ArrayRef)>, row: usize) -> String {
        let columns = columns.into_iter().map(|(n, a)| (n, a, true));
        let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
        let mut out = Vec::new();
        JsonRows::new(&batch, 0..batch.num_columns()).unwrap().write(row, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn values_are_written_as_spark_writes_them() {
        let times = TimestampMicrosecondArray::from(vec![1_698_408_000_000_000, 1]);
        let mut maps = MapBuilder::new(None, Int32Builder::new(), StringBuilder::new());
        maps.keys().append_value(7);
        maps.values().append_null();
        maps.append(true).unwrap();
        maps.append(false).unwrap();
        let fields = Fields::from(vec![Field::new("x", DataType::Int32, true)]);
        let inner = Arc::new(Int32Array::from(vec![Some(1), None])) as ArrayRef;
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("t", Arc::new(times.clone().with_timezone("UTC"))),
            ("n", Arc::new(times)),
            ("f", Arc::new(Float64Array::from(vec![25.0, f64::NAN]))),
            (
                "p",
                Arc::new(
                    Decimal128Array::from(vec![-105, 0]).with_precision_and_scale(9, 2).unwrap(),
                ),
            ),
            ("b", Arc::new(BinaryArray::from(vec![&b"ab"[..], &b"abc"[..]]))),
            ("m", Arc::new(maps.finish())),
            ("s", Arc::new(StructArray::new(fields, vec![inner], None))),
            ("w", Arc::new(StringArray::from(vec![None, Some("a\"b\\\n\u{1}ü")]))),
        ];
        assert_eq!(
            row(columns.clone(), 0),
            r#"{"t":"2023-10-27T12:00:00.000Z","n":"2023-10-27T12:00:00.000","f":25.0,"p":-1.05,"b":"YWI=","m":{"7":null},"s":{"x":1}}"#
        );
        assert_eq!(
            row(columns, 1),
            r#"{"t":"1970-01-01T00:00:00.000001Z","n":"1970-01-01T00:00:00.000001","f":"NaN","p":0.00,"b":"YWJj","s":{},"w":"a\"b\\\n\u0001ü"}"#
        );
    }

    proptest! {
        #[test]
        fn any_text_comes_back(text: String, name: String) {
            let column: ArrayRef = Arc::new(StringArray::from(vec![text.clone()]));
            let json: serde_json::Value =
                serde_json::from_str(&row(vec![(name.as_str(), column)], 0)).unwrap();
            prop_assert_eq!(json, serde_json::json!({ name: text }));
        }
    }
}
