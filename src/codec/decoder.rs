//! One type for all formats: what a reader decodes its records with.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};

use super::avro::{AvroDecoder, AvroOptions};
use super::columns::Rows;
use super::csv::{CsvDecoder, CsvOptions};
use super::debezium::{DebeziumDecoder, DebeziumOptions};
use super::json_schema::{JsonSchemaDecoder, JsonSchemaOptions};
use super::metadata::{MetadataColumn, check_type, push};
use super::protobuf::{ProtobufDecoder, ProtobufOptions};
use super::raw::RawDecoder;
use super::text::TextDecoder;
use super::weave::Weave;
use super::{AppendError, CodecError, JsonDecoder, JsonOptions, Reason, RecordError};
use crate::source::Record;

/// The format of a source's records. Cheap to clone: what is large in it is shared.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum FormatSpec {
    /// One JSON object a record.
    Json(JsonOptions),
    /// One line of CSV a record (or several, within quotes).
    Csv(CsvOptions),
    /// One Avro datum a record.
    Avro(AvroOptions),
    /// One Protobuf message a record.
    Protobuf(ProtobufOptions),
    /// One JSON object a record, with a JSON Schema.
    JsonSchema(JsonSchemaOptions),
    /// One of Debezium's change events a record.
    Debezium(DebeziumOptions),
    /// The record is one STRING, which has to be UTF-8. See [`text_schema`](super::text_schema).
    Text,
    /// The columns of Spark's Kafka source. See [`raw_schema`](super::raw_schema).
    Raw,
}

impl FormatSpec {
    /// The format's name in the configuration.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Json(_) => "json",
            Self::Csv(_) => "csv",
            Self::Avro(_) => "avro",
            Self::Protobuf(_) => "protobuf",
            Self::JsonSchema(_) => "json_schema",
            Self::Debezium(_) => "debezium",
            Self::Text => "text",
            Self::Raw => "raw",
        }
    }
}

/// A decoder of a format other than JSON.
pub(super) trait RowDecoder: fmt::Debug + Send {
    /// See [`Decoder::append`].
    fn append(&mut self, record: &Record<'_>) -> Result<(), AppendError>;

    /// See [`Decoder::takes_tombstones`].
    fn takes_tombstones(&self) -> bool {
        false
    }

    /// See [`Decoder::len`].
    fn len(&self) -> usize;

    /// See [`Decoder::memory_bytes`].
    fn memory_bytes(&self) -> usize;

    /// Takes them as a batch.
    fn finish(&mut self) -> Result<RecordBatch, CodecError>;
}

#[derive(Debug)]
enum Format {
    /// By far the most frequent, so that it is worth a call that is known when it is compiled.
    Json(JsonDecoder),
    Other(Box<dyn RowDecoder>),
}

/// Turns the records of one partition into Arrow batches.
///
/// A record either adds one row or leaves the batch as it was; see [`AppendError`] for the ways in
/// which it can not. Records have no influence on each other's verdicts.
#[derive(Debug)]
pub struct Decoder {
    format: Format,
    schema: SchemaRef,
    metadata: Option<Metadata>,
}

/// The metadata columns that are read.
#[derive(Debug)]
struct Metadata {
    rows: Rows,
    columns: Vec<MetadataColumn>,
    weave: Weave,
}

impl Decoder {
    /// `schema` is the declared schema with its metadata columns last; `metadata` says what each of
    /// those is, in their order; `projection` has the indexes of the columns to decode, in the
    /// order in which the batches shall have them.
    ///
    /// # Errors
    /// [`CodecError`] if a projected column has a type that the format cannot give, the projection
    /// is not one of the schema, or an option is out of its range. The registry is not asked here.
    pub fn new(
        schema: SchemaRef,
        projection: Vec<usize>,
        spec: &FormatSpec,
        metadata: &[MetadataColumn],
    ) -> Result<Self, CodecError> {
        check_projection(&schema, &projection)?;
        let Some(declared) = schema.fields().len().checked_sub(metadata.len()) else {
            let problem = "there are more metadata columns than columns".to_owned();
            return Err(CodecError::Option { option: "metadata", problem });
        };
        for (field, what) in schema.fields()[declared..].iter().zip(metadata) {
            check_type(*what, field)?;
        }
        let output: SchemaRef = schema.project(&projection)?.into();
        let own = match metadata {
            [] => schema,
            _ => {
                let fields = schema.fields()[..declared].to_vec();
                Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
            }
        };
        let what = |index: usize| metadata.get(index.checked_sub(declared)?).copied();
        let (weave, of_format, of_metadata) = Weave::new(&projection, &output, what);
        let format = format(own, of_format, spec)?;
        let metadata = match of_metadata.is_empty() {
            true => None,
            false => {
                let (columns, fields): (Vec<_>, Vec<_>) = of_metadata.into_iter().unzip();
                Some(Metadata { rows: Rows::new(Arc::new(Schema::new(fields)))?, columns, weave })
            }
        };
        Ok(Self { format, schema: output, metadata })
    }

    /// The schema of the batches: the projected columns.
    pub fn output_schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// Whether a record without a value is a row (of the raw format), and not to be passed over.
    pub fn takes_tombstones(&self) -> bool {
        match &self.format {
            Format::Json(_) => false,
            Format::Other(decoder) => decoder.takes_tombstones(),
        }
    }

    /// Appends one record as a row. It may ask a schema registry, and wait for its answer within
    /// the time that the registry's options allow.
    ///
    /// # Errors
    /// [`AppendError`] if there is no row; the batch is then as it was.
    #[inline]
    pub fn append(&mut self, record: &Record<'_>) -> Result<(), AppendError> {
        match &mut self.metadata {
            None => self.format.append(record),
            Some(metadata) => {
                // The format's verdict comes last, as its row cannot be taken back.
                let rows = metadata.rows.len();
                metadata.append(record)?;
                let verdict = self.format.append(record);
                if verdict.is_err() {
                    metadata.rows.truncate(rows);
                }
                verdict
            }
        }
    }

    /// How many rows the batch has.
    pub fn len(&self) -> usize {
        match &self.format {
            Format::Json(decoder) => decoder.len(),
            Format::Other(decoder) => decoder.len(),
        }
    }

    /// Whether the batch has no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the rows of the batch take in memory, in bytes (room that is reserved not counted).
    pub fn memory_bytes(&self) -> usize {
        let format = match &self.format {
            Format::Json(decoder) => decoder.memory_bytes(),
            Format::Other(decoder) => decoder.memory_bytes(),
        };
        format + self.metadata.as_ref().map_or(0, |metadata| metadata.rows.bytes())
    }

    /// Takes the rows as a batch of [`Self::output_schema`]; the next record begins a new one.
    ///
    /// # Errors
    /// [`CodecError::Arrow`] if Arrow refuses the columns, which would be a fault of this decoder.
    pub fn finish(&mut self) -> Result<RecordBatch, CodecError> {
        let batch = match &mut self.format {
            Format::Json(decoder) => decoder.finish(),
            Format::Other(decoder) => decoder.finish(),
        };
        let Some(metadata) = &mut self.metadata else { return batch };
        // Both, so that after an error neither is ahead of the other.
        let (own, batch) = (metadata.rows.finish()?, batch?);
        metadata.weave.batch(&self.schema, &batch, &own)
    }
}

impl Format {
    #[inline]
    fn append(&mut self, record: &Record<'_>) -> Result<(), AppendError> {
        match self {
            Format::Json(decoder) => {
                let Some(payload) = record.payload else { return Err(AppendError::NoRow) };
                decoder.append(payload).map_err(json_error)
            }
            Format::Other(decoder) => decoder.append(record),
        }
    }
}

/// What [`JsonDecoder::append`] says, in the words of all formats.
#[cold]
pub(super) fn json_error(error: RecordError) -> AppendError {
    match error.reason {
        Reason::BatchFull => AppendError::BatchFull,
        _ => AppendError::Bad(error),
    }
}

impl Metadata {
    fn append(&mut self, record: &Record<'_>) -> Result<(), AppendError> {
        let Self { rows, columns, .. } = self;
        rows.append(|to, _| {
            let mut volume = 0;
            for (what, column) in columns.iter().zip(to) {
                volume += push(*what, column, record)?;
            }
            Ok(volume)
        })
    }
}

fn format(
    schema: SchemaRef,
    projection: Vec<usize>,
    spec: &FormatSpec,
) -> Result<Format, CodecError> {
    let decoder: Box<dyn RowDecoder> = match spec {
        FormatSpec::Json(options) => {
            return Ok(Format::Json(JsonDecoder::new(schema, projection, options.clone())?));
        }
        FormatSpec::Csv(options) => Box::new(CsvDecoder::new(&schema, &projection, options)?),
        FormatSpec::Avro(options) => Box::new(AvroDecoder::new(&schema, &projection, options)?),
        FormatSpec::Protobuf(options) => {
            Box::new(ProtobufDecoder::new(&schema, &projection, options)?)
        }
        FormatSpec::JsonSchema(options) => {
            Box::new(JsonSchemaDecoder::new(schema, projection, options)?)
        }
        FormatSpec::Debezium(options) => {
            Box::new(DebeziumDecoder::new(&schema, &projection, options)?)
        }
        FormatSpec::Text => Box::new(TextDecoder::new(&schema, &projection)?),
        FormatSpec::Raw => Box::new(RawDecoder::new(&schema, &projection)?),
    };
    Ok(Format::Other(decoder))
}

/// Checks that each index is a column, and comes once.
pub(super) fn check_projection(schema: &Schema, projection: &[usize]) -> Result<(), CodecError> {
    let columns = schema.fields().len();
    let mut read = HashSet::new();
    for &index in projection {
        let problem = match read.insert(index) {
            _ if index >= columns => "is not a column",
            false => "comes twice",
            true => continue,
        };
        return Err(CodecError::Projection { index, columns, problem });
    }
    Ok(())
}
