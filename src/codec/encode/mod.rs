//! Rows to bytes, for sinks: each row of a batch as one JSON object, CSV line or Avro datum.

mod avro;
mod csv;
mod json;
mod view;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

use self::avro::AvroEncoder;
pub use self::avro::{AvroEncoding, avro_schema};
use self::csv::CsvEncoder;
pub use self::csv::CsvEncoding;
use self::json::JsonEncoder;
pub use self::json::JsonEncoding;
use super::CodecError;

/// How rows are written.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum EncodingSpec {
    /// One JSON object a row, as Spark's `to_json`.
    Json(JsonEncoding),
    /// One line of CSV a row, without its line end.
    Csv(CsvEncoding),
    /// One Avro datum a row.
    Avro(AvroEncoding),
}

/// Turns rows into bytes.
#[derive(Debug)]
pub struct Encoder {
    format: Format,
    /// What batches are cast to first.
    schema: SchemaRef,
}

#[derive(Debug)]
enum Format {
    Json(JsonEncoder),
    Csv(CsvEncoder),
    Avro(AvroEncoder),
}

/// Rows one after the other.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct EncodedRows {
    bytes: Vec<u8>,
    /// Where each row ends.
    ends: Vec<usize>,
}

impl EncodedRows {
    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// All rows, nothing between them.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes of row `row`; empty if there is no such row.
    pub fn row(&self, row: usize) -> &[u8] {
        let start = row.checked_sub(1).and_then(|before| self.ends.get(before)).copied();
        let end = self.ends.get(row).copied().unwrap_or_default();
        self.bytes.get(start.unwrap_or_default()..end).unwrap_or_default()
    }

    /// The rows in their order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        (0..self.len()).map(|row| self.row(row))
    }

    fn end_row(&mut self) {
        self.ends.push(self.bytes.len());
    }
}

impl Encoder {
    /// An encoder of rows of `schema`. For Avro with a registry the schema is registered here, which
    /// blocks as long as the registry's options allow.
    ///
    /// # Errors
    /// [`CodecError`] if a column has a type that the format does not have, or the registry does not
    /// answer or refuses the schema ([`CodecError::is_transient`] tells).
    pub fn new(schema: &SchemaRef, spec: &EncodingSpec) -> Result<Self, CodecError> {
        let fields = schema.fields().iter().map(|field| usual_field(field, field.name()));
        let fields = fields.collect::<Result<Vec<_>, _>>()?;
        let schema: SchemaRef = Arc::new(Schema::new(fields));
        let format = match spec {
            EncodingSpec::Json(options) => Format::Json(JsonEncoder::new(options.clone())),
            EncodingSpec::Csv(options) => Format::Csv(CsvEncoder::new(&schema, options.clone())?),
            EncodingSpec::Avro(options) => Format::Avro(AvroEncoder::new(&schema, options)?),
        };
        Ok(Self { format, schema })
    }

    /// What a file begins with: the names of the columns, where CSV shall have them.
    pub fn header(&self) -> Option<Vec<u8>> {
        match &self.format {
            Format::Csv(encoder) => encoder.header(&self.schema),
            Format::Json(_) | Format::Avro(_) => None,
        }
    }

    /// The rows of `batch`, which has the schema that the encoder was made for.
    ///
    /// # Errors
    /// [`CodecError::Arrow`] if the batch is not of the encoder's schema.
    pub fn encode(&mut self, batch: &RecordBatch) -> Result<EncodedRows, CodecError> {
        let batch = self.usual(batch)?;
        match &mut self.format {
            Format::Json(encoder) => Ok(encoder.encode(&batch)),
            Format::Csv(encoder) => Ok(encoder.encode(&batch)),
            Format::Avro(encoder) => encoder.encode(&batch),
        }
    }

    /// The batch with the types that encoders know.
    fn usual(&self, batch: &RecordBatch) -> Result<RecordBatch, CodecError> {
        if batch.num_columns() != self.schema.fields().len() {
            let problem = format!(
                "the batch has {} columns, the encoder {}",
                batch.num_columns(),
                self.schema.fields().len()
            );
            return Err(arrow::error::ArrowError::SchemaError(problem).into());
        }
        let columns = batch.columns().iter().zip(self.schema.fields()).map(|(column, field)| {
            match column.data_type() == field.data_type() {
                true => Ok(Arc::clone(column)),
                false => cast(column, field.data_type()),
            }
        });
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        let options =
            arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let schema = Arc::clone(&self.schema);
        Ok(RecordBatch::try_new_with_options(schema, columns, &options)?)
    }
}

/// A field with one of the types that a declaration can have, into which its own is cast: what
/// queries yield beyond them (unsigned integers, views, dictionaries, other units of time) has all a
/// type there that holds its values.
fn usual_field(field: &Field, path: &str) -> Result<Field, CodecError> {
    let data_type = usual_type(field.data_type(), path)?;
    Ok(Field::new(field.name(), data_type, field.is_nullable()))
}

fn usual_type(data_type: &DataType, path: &str) -> Result<DataType, CodecError> {
    let child = |field: &Arc<Field>, name: &str| {
        usual_field(field, &format!("{path}.{name}")).map(Arc::new)
    };
    Ok(match data_type {
        DataType::Boolean
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::Float32
        | DataType::Float64
        | DataType::Decimal128(..)
        | DataType::Utf8
        | DataType::Binary
        | DataType::Date32 => data_type.clone(),
        DataType::Null | DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            DataType::Binary
        }
        DataType::UInt8 => DataType::Int16,
        DataType::UInt16 => DataType::Int32,
        DataType::UInt32 => DataType::Int64,
        DataType::UInt64 => DataType::Decimal128(20, 0),
        DataType::Float16 => DataType::Float32,
        DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale) => {
            DataType::Decimal128(*precision, *scale)
        }
        DataType::Date64 => DataType::Date32,
        DataType::Timestamp(..) => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        DataType::Dictionary(_, values) => usual_type(values, path)?,
        DataType::Struct(fields) => DataType::Struct(
            fields.iter().map(|field| child(field, field.name())).collect::<Result<_, _>>()?,
        ),
        DataType::List(element)
        | DataType::LargeList(element)
        | DataType::FixedSizeList(element, _) => DataType::List(child(element, "element")?),
        DataType::Map(entries, sorted) => match entries.data_type() {
            DataType::Struct(entry) if entry.len() == 2 => {
                let key = child(&entry[0], "key")?;
                if *key.data_type() != DataType::Utf8 {
                    return Err(unsupported(path, data_type));
                }
                let entry = DataType::Struct(vec![key, child(&entry[1], "value")?].into());
                let entries = Field::new(entries.name(), entry, false);
                DataType::Map(Arc::new(entries), *sorted)
            }
            _ => return Err(unsupported(path, data_type)),
        },
        _ => return Err(unsupported(path, data_type)),
    })
}

fn unsupported(path: &str, data_type: &DataType) -> CodecError {
    CodecError::UnwritableType { column: path.to_owned(), data_type: data_type.to_string() }
}
