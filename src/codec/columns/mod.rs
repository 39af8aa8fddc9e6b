//! Columns that grow by values and can be cut back: what formats other than JSON decode into.
//!
//! A decoder pushes the values of one record column by column. When it finds the record bad, half
//! way, [`Rows::append`] cuts every column back to where it was: the rows before are untouched.
//! (JSON has columns of its own, which read their text themselves.)

pub(in crate::codec) mod buffers;
mod push;

use std::sync::Arc;

use arrow::array::{
    ArrayRef, ArrowPrimitiveType, BinaryArray, BooleanArray, BooleanBufferBuilder, Decimal128Array,
    ListArray, MapArray, PrimitiveArray, RecordBatch, RecordBatchOptions, StringArray, StructArray,
    TimestampMicrosecondArray,
};
use arrow::buffer::{Buffer, NullBuffer, ScalarBuffer};
use arrow::datatypes::{
    DataType, Date32Type, Field, FieldRef, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, SchemaRef, TimeUnit,
};
use arrow::error::ArrowError;

use self::buffers::{Bytes, Offsets, Validity, take};
use super::{AppendError, CodecError, RecordError};

/// How much the strings and elements of one record may come to, in bytes and in number. Decoders
/// refuse records above it.
pub(super) const MAX_RECORD_VOLUME: usize = 1 << 30;
/// A batch that has more takes no further record. The two together stay below 2^31, so that no
/// column outgrows Arrow's 32-bit offsets.
const MAX_BATCH_VOLUME: usize = (1 << 30) - 1;

/// A column of the output, or of a STRUCT in it, or the elements of an ARRAY or MAP.
#[derive(Debug)]
pub(super) struct Column {
    /// Names it in errors: `user.id`, `tags.element`, `labels.value`.
    pub path: Arc<str>,
    pub field: FieldRef,
    pub validity: Validity,
    pub values: Values,
}

/// The values, null ones included.
#[derive(Debug)]
pub(super) enum Values {
    Boolean(BooleanBufferBuilder),
    Int8(Vec<i8>),
    Int16(Vec<i16>),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Float32(Vec<f32>),
    Float64(Vec<f64>),
    /// With precision and scale.
    Decimal(Vec<i128>, u8, i8),
    Utf8(Bytes),
    Binary(Bytes),
    /// Days since the epoch.
    Date(Vec<i32>),
    /// Microseconds since the epoch.
    Timestamp(Vec<i64>),
    Struct(Vec<Column>),
    List(Offsets, Box<Column>),
    Map(Box<MapColumn>),
}

/// The entries of a MAP.
#[derive(Debug)]
pub(super) struct MapColumn {
    pub offsets: Offsets,
    pub keys: Bytes,
    pub values: Column,
}

impl Column {
    /// An empty column.
    ///
    /// # Errors
    /// [`CodecError::UnsupportedType`] for a type that no declared schema has.
    pub fn new(field: &FieldRef, path: &str) -> Result<Self, CodecError> {
        let unsupported = |data_type: &DataType| CodecError::UnsupportedType {
            column: path.to_owned(),
            data_type: data_type.to_string(),
            format: "a record",
        };
        let child = |field: &FieldRef, name: &str| Self::new(field, &format!("{path}.{name}"));
        let values = match field.data_type() {
            DataType::Boolean => Values::Boolean(BooleanBufferBuilder::new(0)),
            DataType::Int8 => Values::Int8(Vec::new()),
            DataType::Int16 => Values::Int16(Vec::new()),
            DataType::Int32 => Values::Int32(Vec::new()),
            DataType::Int64 => Values::Int64(Vec::new()),
            DataType::Float32 => Values::Float32(Vec::new()),
            DataType::Float64 => Values::Float64(Vec::new()),
            DataType::Decimal128(precision, scale) => {
                Values::Decimal(Vec::new(), *precision, *scale)
            }
            DataType::Utf8 => Values::Utf8(Bytes::default()),
            DataType::Binary => Values::Binary(Bytes::default()),
            DataType::Date32 => Values::Date(Vec::new()),
            DataType::Timestamp(TimeUnit::Microsecond, Some(zone)) if zone.as_ref() == "UTC" => {
                Values::Timestamp(Vec::new())
            }
            DataType::Struct(fields) => Values::Struct(
                fields.iter().map(|field| child(field, field.name())).collect::<Result<_, _>>()?,
            ),
            DataType::List(element) => {
                Values::List(Offsets::default(), Box::new(child(element, "element")?))
            }
            DataType::Map(entries, _) => match entries.data_type() {
                DataType::Struct(entry)
                    if entry.len() == 2 && *entry[0].data_type() == DataType::Utf8 =>
                {
                    Values::Map(Box::new(MapColumn {
                        offsets: Offsets::default(),
                        keys: Bytes::default(),
                        values: child(&entry[1], "value")?,
                    }))
                }
                _ => return Err(unsupported(field.data_type())),
            },
            other => return Err(unsupported(other)),
        };
        let path = path.into();
        Ok(Self { path, field: Arc::clone(field), validity: Validity::default(), values })
    }

    /// How many rows it has.
    pub fn len(&self) -> usize {
        self.validity.len()
    }

    /// Drops the rows from `rows` on, and what an unfinished value left.
    pub fn truncate(&mut self, rows: usize) {
        match &mut self.values {
            Values::Boolean(values) => values.truncate(rows),
            Values::Int8(values) => values.truncate(rows),
            Values::Int16(values) => values.truncate(rows),
            Values::Int32(values) | Values::Date(values) => values.truncate(rows),
            Values::Int64(values) | Values::Timestamp(values) => values.truncate(rows),
            Values::Float32(values) => values.truncate(rows),
            Values::Float64(values) => values.truncate(rows),
            Values::Decimal(values, ..) => values.truncate(rows),
            Values::Utf8(bytes) | Values::Binary(bytes) => bytes.truncate(rows),
            Values::Struct(columns) => columns.iter_mut().for_each(|column| column.truncate(rows)),
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
            Values::Int32(values) | Values::Date(values) => size_of_val(values.as_slice()),
            Values::Int64(values) | Values::Timestamp(values) => size_of_val(values.as_slice()),
            Values::Float32(values) => size_of_val(values.as_slice()),
            Values::Float64(values) => size_of_val(values.as_slice()),
            Values::Decimal(values, ..) => size_of_val(values.as_slice()),
            Values::Utf8(bytes) | Values::Binary(bytes) => bytes.bytes(),
            Values::Struct(columns) => columns.iter().map(Column::bytes).sum(),
            Values::List(offsets, element) => offsets.bytes() + element.bytes(),
            Values::Map(map) => map.offsets.bytes() + map.keys.bytes() + map.values.bytes(),
        };
        values + self.validity.bytes()
    }

    /// Takes the rows as an array.
    pub fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        let rows = self.validity.len();
        let nulls = self.validity.finish();
        Ok(match &mut self.values {
            Values::Boolean(values) => Arc::new(BooleanArray::new(values.finish(), nulls)),
            Values::Int8(values) => primitive::<Int8Type>(values, nulls)?,
            Values::Int16(values) => primitive::<Int16Type>(values, nulls)?,
            Values::Int32(values) => primitive::<Int32Type>(values, nulls)?,
            Values::Int64(values) => primitive::<Int64Type>(values, nulls)?,
            Values::Float32(values) => primitive::<Float32Type>(values, nulls)?,
            Values::Float64(values) => primitive::<Float64Type>(values, nulls)?,
            Values::Date(values) => primitive::<Date32Type>(values, nulls)?,
            Values::Decimal(values, precision, scale) => Arc::new(
                Decimal128Array::try_new(ScalarBuffer::from(take(values)), nulls)?
                    .with_precision_and_scale(*precision, *scale)?,
            ),
            Values::Timestamp(values) => Arc::new(
                TimestampMicrosecondArray::try_new(ScalarBuffer::from(take(values)), nulls)?
                    .with_timezone("UTC"),
            ),
            Values::Utf8(bytes) => Arc::new(strings(bytes, nulls)?),
            Values::Binary(bytes) => {
                let values = Buffer::from_vec(take(&mut bytes.values));
                Arc::new(BinaryArray::try_new(bytes.offsets.finish(), values, nulls)?)
            }
            Values::Struct(columns) => {
                let DataType::Struct(types) = self.field.data_type() else {
                    return Err(not_of_its_type(&self.field));
                };
                let arrays = finish_all(columns)?;
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

impl MapColumn {
    pub fn truncate_entries(&mut self, entries: usize) {
        self.keys.truncate(entries);
        self.values.truncate(entries);
    }

    /// The positions of entries from `first` on (counted from it, ascending) whose key comes
    /// again later. Of a key that comes twice the last entry counts, as in JSON.
    pub fn superseded(&self, first: usize) -> Vec<usize> {
        superseded(&self.keys, first, self.values.len())
    }
}

/// Among the rows `first..end` of `keys`: those whose value comes again later, counted from
/// `first`, ascending.
pub(super) fn superseded(keys: &Bytes, first: usize, end: usize) -> Vec<usize> {
    let count = end - first;
    if count < 2 {
        return Vec::new();
    }
    let mut order: Vec<usize> = (0..count).collect();
    // Stable: entries with the same key stay in their order.
    order.sort_by_key(|entry| keys.row(first + entry));
    let mut superseded: Vec<usize> = order
        .windows(2)
        .filter(|pair| keys.row(first + pair[0]) == keys.row(first + pair[1]))
        .map(|pair| pair[0])
        .collect();
    superseded.sort_unstable();
    superseded
}

fn finish_all(columns: &mut [Column]) -> Result<Vec<ArrayRef>, ArrowError> {
    // All of them, so that after an error none is ahead of the others.
    let arrays: Vec<_> = columns.iter_mut().map(Column::finish).collect();
    arrays.into_iter().collect()
}

pub(super) fn primitive<T: ArrowPrimitiveType>(
    values: &mut Vec<T::Native>,
    nulls: Option<NullBuffer>,
) -> Result<ArrayRef, ArrowError> {
    Ok(Arc::new(PrimitiveArray::<T>::try_new(ScalarBuffer::from(take(values)), nulls)?))
}

pub(super) fn strings(
    bytes: &mut Bytes,
    nulls: Option<NullBuffer>,
) -> Result<StringArray, ArrowError> {
    let values = Buffer::from_vec(take(&mut bytes.values));
    StringArray::try_new(bytes.offsets.finish(), values, nulls)
}

pub(super) fn not_of_its_type(field: &Field) -> ArrowError {
    ArrowError::SchemaError(format!("column {} is not of its type", field.name()))
}

/// The columns of a batch that is being filled.
#[derive(Debug)]
pub(super) struct Rows {
    schema: SchemaRef,
    columns: Vec<Column>,
    rows: usize,
    volume: usize,
}

impl Rows {
    /// `schema` is that of the batches.
    pub fn new(schema: SchemaRef) -> Result<Self, CodecError> {
        let columns = schema
            .fields()
            .iter()
            .map(|field| Column::new(field, field.name()))
            .collect::<Result<_, _>>()?;
        Ok(Self { schema, columns, rows: 0, volume: 0 })
    }

    /// Appends one row: `push` gets the columns and how many rows they have, and returns how many
    /// bytes and elements it added (at most [`MAX_RECORD_VOLUME`]). If it fails, the columns are
    /// what they were.
    #[inline]
    pub fn append(
        &mut self,
        push: impl FnOnce(&mut [Column], usize) -> Result<usize, RecordError>,
    ) -> Result<(), AppendError> {
        if self.volume > MAX_BATCH_VOLUME {
            return Err(AppendError::BatchFull);
        }
        match push(&mut self.columns, self.rows) {
            Ok(volume) => {
                self.rows += 1;
                self.volume += volume;
                Ok(())
            }
            Err(error) => {
                let rows = self.rows;
                self.columns.iter_mut().for_each(|column| column.truncate(rows));
                Err(error.into())
            }
        }
    }

    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    pub fn len(&self) -> usize {
        self.rows
    }

    pub fn truncate(&mut self, rows: usize) {
        if rows < self.rows {
            self.columns.iter_mut().for_each(|column| column.truncate(rows));
            self.rows = rows;
        }
    }

    pub fn bytes(&self) -> usize {
        self.columns.iter().map(Column::bytes).sum()
    }

    pub fn finish(&mut self) -> Result<RecordBatch, CodecError> {
        // A batch without columns still has its number of rows.
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        (self.rows, self.volume) = (0, 0);
        let columns = finish_all(&mut self.columns)?;
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?)
    }
}
