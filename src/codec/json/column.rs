//! One column: decodes values of its type and appends them to Arrow buffers.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, BooleanBufferBuilder, Decimal128Array, ListArray,
    MapArray, StructArray, TimestampMicrosecondArray,
};
use arrow::buffer::{Buffer, ScalarBuffer};
use arrow::datatypes::{
    DataType, Date32Type, FieldRef, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, TimeUnit,
};
use arrow::error::ArrowError;

use super::cursor::{Cursor, Fail};
use super::fields::Fields;
use super::time::TimestampReader;
use super::{Formats, JsonOptions};
use crate::codec::CodecError;
use crate::codec::Reason;
use crate::codec::columns::buffers::{Bytes, Offsets, Validity, take};
use crate::codec::columns::{not_of_its_type, primitive, strings, superseded};

/// A column of the output, or of a STRUCT in it, or the elements of an ARRAY or MAP.
#[derive(Debug)]
pub(super) struct Column {
    path: Arc<str>,
    field: FieldRef,
    validity: Validity,
    values: Values,
}

#[derive(Debug)]
enum Values {
    Boolean(BooleanBufferBuilder),
    Int8(Vec<i8>),
    Int16(Vec<i16>),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Float32(Vec<f32>),
    Float64(Vec<f64>),
    /// With precision and scale; if it is written in base64, with the scale of that.
    Decimal(Vec<i128>, u8, i8, Option<i32>),
    Utf8(Bytes),
    Binary(Bytes),
    /// Whether numbers (of days since the epoch) are taken too.
    Date(Vec<i32>, bool),
    Timestamp(Vec<i64>, TimestampReader),
    Struct(Box<Fields>),
    List(Offsets, Box<Column>),
    Map(Box<Map>),
}

#[derive(Debug)]
struct Map {
    offsets: Offsets,
    keys: Bytes,
    values: Column,
}

impl Column {
    /// `path` names the column in errors: `user.id`, `tags.element`, `labels.value`.
    pub fn new(field: &FieldRef, path: &str, options: &JsonOptions) -> Result<Self, CodecError> {
        let unsupported = |data_type: &DataType| CodecError::UnsupportedType {
            column: path.to_owned(),
            data_type: data_type.to_string(),
            format: "JSON",
        };
        let child = |field: &FieldRef, name: &str| {
            Self::new(field, &format!("{path}.{name}"), options).map(Box::new)
        };
        let values = match field.data_type() {
            DataType::Boolean => Values::Boolean(BooleanBufferBuilder::new(0)),
            DataType::Int8 => Values::Int8(Vec::new()),
            DataType::Int16 => Values::Int16(Vec::new()),
            DataType::Int32 => Values::Int32(Vec::new()),
            DataType::Int64 => Values::Int64(Vec::new()),
            DataType::Float32 => Values::Float32(Vec::new()),
            DataType::Float64 => Values::Float64(Vec::new()),
            DataType::Decimal128(precision, scale) => {
                Values::Decimal(Vec::new(), *precision, *scale, None)
            }
            DataType::Utf8 => Values::Utf8(Bytes::default()),
            DataType::Binary => Values::Binary(Bytes::default()),
            DataType::Date32 => Values::Date(Vec::new(), false),
            DataType::Timestamp(TimeUnit::Microsecond, Some(zone)) if zone.as_ref() == "UTC" => {
                let format = options.timestamps_by_column.get(path).unwrap_or(&options.timestamps);
                Values::Timestamp(Vec::new(), TimestampReader::new(*format, options.zone))
            }
            DataType::Struct(fields) => {
                let columns = fields
                    .iter()
                    .map(|field| child(field, field.name()).map(|column| *column))
                    .collect::<Result<Vec<_>, _>>()?;
                Values::Struct(Box::new(Fields::new(columns, [], options.unknown_fields)))
            }
            DataType::List(element) => Values::List(Offsets::default(), child(element, "element")?),
            DataType::Map(entries, _) => match entries.data_type() {
                DataType::Struct(entry)
                    if entry.len() == 2 && *entry[0].data_type() == DataType::Utf8 =>
                {
                    Values::Map(Box::new(Map {
                        offsets: Offsets::default(),
                        keys: Bytes::default(),
                        values: *child(&entry[1], "value")?,
                    }))
                }
                _ => return Err(unsupported(field.data_type())),
            },
            other => return Err(unsupported(other)),
        };
        Ok(Self {
            path: path.into(),
            field: Arc::clone(field),
            validity: Validity::default(),
            values,
        })
    }

    /// Reads values from now on as `formats` says.
    pub fn set_formats(&mut self, formats: &Formats) {
        match &mut self.values {
            Values::Timestamp(_, reader) => {
                let format = formats.timestamps.get(&*self.path).unwrap_or(&formats.timestamp);
                *reader = TimestampReader::new(*format, formats.zone);
            }
            Values::Date(_, numbers) => *numbers = true,
            Values::Decimal(_, _, scale, base64) => {
                let own = formats.base64_decimals.then_some(i32::from(*scale));
                *base64 = formats.decimals.get(&*self.path).copied().or(own);
            }
            Values::Struct(fields) => fields.set_formats(formats),
            Values::List(_, element) => element.set_formats(formats),
            Values::Map(map) => map.values.set_formats(formats),
            _ => {}
        }
    }

    pub fn name(&self) -> &str {
        self.field.name()
    }

    /// How many rows it has.
    #[inline(always)]
    pub fn len(&self) -> usize {
        self.validity.len()
    }

    /// Appends the value that stands here, which lies in containers `depth` deep. After a failure
    /// the column must be truncated: it may hold a part of the value.
    #[inline(always)]
    pub fn append(&mut self, cursor: &mut Cursor<'_>, depth: usize) -> Result<(), Fail> {
        let appended = self.append_value(cursor, depth);
        if appended.is_err() {
            cursor.blame(&self.path);
        }
        appended
    }

    #[inline(always)]
    fn append_value(&mut self, cursor: &mut Cursor<'_>, depth: usize) -> Result<(), Fail> {
        if cursor.peek() == Some(b'n') {
            return self.append_literal_null(cursor);
        }
        match &mut self.values {
            Values::Utf8(text) => {
                if cursor.peek() == Some(b'"') {
                    cursor.string_into(&mut text.values)?;
                } else {
                    cursor.raw_into(&mut text.values, depth)?;
                }
                text.end_row();
            }
            Values::Timestamp(values, reader) => values.push(reader.read(cursor)?),
            Values::Int32(values) => values.push(cursor.narrow("INT")?),
            Values::Int64(values) => values.push(cursor.integer("BIGINT")?),
            Values::Float64(values) => values.push(cursor.double()?),
            Values::Float32(values) => values.push(cursor.float()?),
            Values::Boolean(values) => values.append(cursor.boolean()?),
            Values::Int8(values) => values.push(cursor.narrow("TINYINT")?),
            Values::Int16(values) => values.push(cursor.narrow("SMALLINT")?),
            Values::Decimal(values, precision, scale, base64) => values.push(match base64 {
                None => cursor.decimal(*precision, *scale)?,
                Some(from) => cursor.base64_decimal(*from, *precision, *scale)?,
            }),
            Values::Date(values, numbers) => values.push(match numbers {
                false => cursor.date()?,
                true => cursor.days_or_date()?,
            }),
            Values::Binary(bytes) => {
                cursor.base64_into(&mut bytes.values)?;
                bytes.end_row();
            }
            Values::Struct(fields) => {
                if cursor.peek() != Some(b'{') {
                    return cursor.mismatch("STRUCT (an object)");
                }
                fields.append(cursor, depth + 1)?;
            }
            Values::List(offsets, element) => {
                append_list(element, cursor, depth + 1)?;
                offsets.push(element.len());
            }
            Values::Map(map) => map.append(cursor, depth + 1)?,
        }
        self.validity.push_valid();
        Ok(())
    }

    #[inline(never)]
    fn append_literal_null(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Fail> {
        let start = cursor.at;
        cursor.null()?;
        if !self.append_null() {
            return cursor.fail_at(start, Reason::NullNotAllowed);
        }
        Ok(())
    }

    /// For a field that the record, which ends here, does not have.
    pub fn append_missing(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Fail> {
        if self.append_null() {
            return Ok(());
        }
        let missing = cursor.fail(Reason::MissingField);
        cursor.blame(&self.path);
        missing
    }

    /// Appends a null, if the column may have one.
    fn append_null(&mut self) -> bool {
        if self.field.is_nullable() {
            self.push_null();
        }
        self.field.is_nullable()
    }

    /// Appends a null, also to a NOT NULL column: within a STRUCT that is null itself.
    pub fn push_null(&mut self) {
        match &mut self.values {
            Values::Boolean(values) => values.append(false),
            Values::Int8(values) => values.push(0),
            Values::Int16(values) => values.push(0),
            Values::Int32(values) | Values::Date(values, _) => values.push(0),
            Values::Int64(values) | Values::Timestamp(values, _) => values.push(0),
            Values::Float32(values) => values.push(0.0),
            Values::Float64(values) => values.push(0.0),
            Values::Decimal(values, ..) => values.push(0),
            Values::Utf8(bytes) | Values::Binary(bytes) => bytes.end_row(),
            Values::Struct(fields) => fields.push_null(),
            Values::List(offsets, _) => offsets.push(offsets.last()),
            Values::Map(map) => map.offsets.push(map.offsets.last()),
        }
        self.validity.push_null();
    }

    /// Drops the rows from `rows` on, and what a failed `append` left.
    pub fn truncate(&mut self, rows: usize) {
        match &mut self.values {
            Values::Boolean(values) => values.truncate(rows),
            Values::Int8(values) => values.truncate(rows),
            Values::Int16(values) => values.truncate(rows),
            Values::Int32(values) | Values::Date(values, _) => values.truncate(rows),
            Values::Int64(values) | Values::Timestamp(values, _) => values.truncate(rows),
            Values::Float32(values) => values.truncate(rows),
            Values::Float64(values) => values.truncate(rows),
            Values::Decimal(values, ..) => values.truncate(rows),
            Values::Utf8(bytes) | Values::Binary(bytes) => bytes.truncate(rows),
            Values::Struct(fields) => fields.truncate(rows),
            Values::List(offsets, element) => {
                offsets.truncate(rows);
                element.truncate(offsets.last());
            }
            Values::Map(map) => {
                map.offsets.truncate(rows);
                map.truncate_entries(map.offsets.last());
            }
        }
        self.validity.truncate(rows);
    }

    /// What the rows take, in bytes. Room that is reserved does not count.
    pub fn bytes(&self) -> usize {
        let values = match &self.values {
            Values::Boolean(values) => values.len() / 8,
            Values::Int8(values) => values.len(),
            Values::Int16(values) => size_of_val(values.as_slice()),
            Values::Int32(values) | Values::Date(values, _) => size_of_val(values.as_slice()),
            Values::Int64(values) | Values::Timestamp(values, _) => size_of_val(values.as_slice()),
            Values::Float32(values) => size_of_val(values.as_slice()),
            Values::Float64(values) => size_of_val(values.as_slice()),
            Values::Decimal(values, ..) => size_of_val(values.as_slice()),
            Values::Utf8(bytes) | Values::Binary(bytes) => bytes.bytes(),
            Values::Struct(fields) => fields.bytes(),
            Values::List(offsets, element) => offsets.bytes() + element.bytes(),
            Values::Map(map) => map.offsets.bytes() + map.keys.bytes() + map.values.bytes(),
        };
        values + self.validity.bytes()
    }

    /// Takes the rows as an array.
    pub fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        let nulls = self.validity.finish();
        Ok(match &mut self.values {
            Values::Boolean(values) => Arc::new(BooleanArray::new(values.finish(), nulls)),
            Values::Int8(values) => primitive::<Int8Type>(values, nulls)?,
            Values::Int16(values) => primitive::<Int16Type>(values, nulls)?,
            Values::Int32(values) => primitive::<Int32Type>(values, nulls)?,
            Values::Int64(values) => primitive::<Int64Type>(values, nulls)?,
            Values::Float32(values) => primitive::<Float32Type>(values, nulls)?,
            Values::Float64(values) => primitive::<Float64Type>(values, nulls)?,
            Values::Date(values, _) => primitive::<Date32Type>(values, nulls)?,
            Values::Decimal(values, precision, scale, _) => Arc::new(
                Decimal128Array::try_new(ScalarBuffer::from(take(values)), nulls)?
                    .with_precision_and_scale(*precision, *scale)?,
            ),
            Values::Timestamp(values, _) => Arc::new(
                TimestampMicrosecondArray::try_new(ScalarBuffer::from(take(values)), nulls)?
                    .with_timezone("UTC"),
            ),
            Values::Utf8(bytes) => Arc::new(strings(bytes, nulls)?),
            Values::Binary(bytes) => {
                let values = Buffer::from_vec(take(&mut bytes.values));
                Arc::new(BinaryArray::try_new(bytes.offsets.finish(), values, nulls)?)
            }
            Values::Struct(fields) => {
                let rows = fields.len();
                let DataType::Struct(types) = self.field.data_type() else {
                    return Err(not_of_its_type(&self.field));
                };
                let arrays = fields.finish()?;
                Arc::new(StructArray::try_new_with_length(types.clone(), arrays, nulls, rows)?)
            }
            Values::List(offsets, element) => {
                let field = Arc::clone(&element.field);
                Arc::new(ListArray::try_new(field, offsets.finish(), element.finish()?, nulls)?)
            }
            Values::Map(map) => {
                let DataType::Map(entries, ordered) = self.field.data_type() else {
                    return Err(not_of_its_type(&self.field));
                };
                let DataType::Struct(entry) = entries.data_type() else {
                    return Err(not_of_its_type(&self.field));
                };
                let keys = Arc::new(strings(&mut map.keys, None)?) as ArrayRef;
                let arrays = vec![keys, map.values.finish()?];
                Arc::new(MapArray::try_new(
                    Arc::clone(entries),
                    map.offsets.finish(),
                    StructArray::try_new(entry.clone(), arrays, None)?,
                    nulls,
                    *ordered,
                )?)
            }
        })
    }
}

fn append_list(element: &mut Column, cursor: &mut Cursor<'_>, depth: usize) -> Result<(), Fail> {
    if cursor.peek() != Some(b'[') {
        return cursor.mismatch("ARRAY");
    }
    cursor.enter(depth)?;
    cursor.at += 1;
    cursor.space();
    if cursor.take(b']') {
        return Ok(());
    }
    loop {
        element.append(cursor, depth)?;
        if !cursor.comma_or(b']', "',' or ']'")? {
            return Ok(());
        }
    }
}

impl Map {
    fn truncate_entries(&mut self, entries: usize) {
        self.keys.truncate(entries);
        self.values.truncate(entries);
    }

    /// Appends the entries of the object that starts here. Of a key that comes twice the last
    /// entry counts, so that keys are unique, as Parquet and Spark have it.
    fn append(&mut self, cursor: &mut Cursor<'_>, depth: usize) -> Result<(), Fail> {
        if cursor.peek() != Some(b'{') {
            return cursor.mismatch("MAP (an object)");
        }
        cursor.enter(depth)?;
        let (start, first) = (cursor.at, self.values.len());
        self.append_entries(cursor, depth, &[])?;
        let superseded = superseded(&self.keys, first, self.values.len());
        if !superseded.is_empty() {
            // Rare: read the object again without them.
            self.truncate_entries(first);
            cursor.at = start;
            self.append_entries(cursor, depth, &superseded)?;
        }
        self.offsets.push(self.values.len());
        Ok(())
    }

    fn append_entries(
        &mut self,
        cursor: &mut Cursor<'_>,
        depth: usize,
        skip: &[usize],
    ) -> Result<(), Fail> {
        cursor.at += 1;
        cursor.space();
        if cursor.take(b'}') {
            return Ok(());
        }
        for entry in 0.. {
            if cursor.peek() != Some(b'"') {
                return cursor.expected("a key");
            }
            if skip.binary_search(&entry).is_ok() {
                cursor.skip_string()?;
                cursor.colon()?;
                cursor.skip_value(depth)?;
            } else {
                cursor.string_into(&mut self.keys.values)?;
                self.keys.end_row();
                cursor.colon()?;
                self.values.append(cursor, depth)?;
            }
            if !cursor.comma_or(b'}', "',' or '}'")? {
                break;
            }
        }
        Ok(())
    }
}
