//! Raw: the columns of Spark's Kafka source, nothing decoded.

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};

use super::columns::Rows;
use super::decoder::RowDecoder;
use super::metadata::{MetadataColumn, check_type};
use super::{AppendError, CodecError, metadata};
use crate::source::Record;

/// What a column of the raw format is filled from.
#[derive(Debug, Clone, Copy)]
enum Part {
    Value,
    Metadata(MetadataColumn),
}

/// Turns each record into a row of those of Spark's Kafka columns that are declared. A record
/// without a value is a row too, with NULL.
#[derive(Debug)]
pub(super) struct RawDecoder {
    rows: Rows,
    parts: Vec<Part>,
}

impl RawDecoder {
    /// `schema` holds columns of [`raw_schema`](super::raw_schema), found by their names without
    /// regard to case; `key` and `value` may be STRING too.
    pub fn new(schema: &SchemaRef, projection: &[usize]) -> Result<Self, CodecError> {
        let mut parts = Vec::with_capacity(schema.fields().len());
        for field in schema.fields() {
            let part = match field.name().to_ascii_lowercase().as_str() {
                "value" => Part::Value,
                "timestamptype" => Part::Metadata(MetadataColumn::TimestampType),
                name => match name.parse() {
                    Ok(
                        column @ (MetadataColumn::Topic
                        | MetadataColumn::Partition
                        | MetadataColumn::Offset
                        | MetadataColumn::Timestamp
                        | MetadataColumn::Key
                        | MetadataColumn::Headers),
                    ) => Part::Metadata(column),
                    _ => {
                        let problem = format!(
                            "\"{}\" is not a column of the raw format (there are: key, value, \
                             topic, partition, offset, timestamp, timestampType, headers)",
                            field.name()
                        );
                        return Err(CodecError::Schema { format: "raw", problem });
                    }
                },
            };
            match part {
                Part::Metadata(column) => check_type(column, field)?,
                Part::Value if !matches!(field.data_type(), DataType::Binary | DataType::Utf8) => {
                    return Err(CodecError::UnsupportedType {
                        column: field.name().clone(),
                        data_type: field.data_type().to_string(),
                        format: "raw bytes (BINARY or STRING can)",
                    });
                }
                Part::Value => {}
            }
            parts.push(part);
        }
        let rows = Rows::new(schema.project(projection)?.into())?;
        // `project` has checked the indexes.
        let parts = projection.iter().filter_map(|index| parts.get(*index).copied()).collect();
        Ok(Self { rows, parts })
    }
}

impl RowDecoder for RawDecoder {
    fn append(&mut self, record: &Record<'_>) -> Result<(), AppendError> {
        let parts = &self.parts;
        self.rows.append(|columns, _| {
            let mut volume = 0;
            for (part, column) in parts.iter().zip(columns) {
                volume += match part {
                    Part::Value => metadata::bytes(column, record.payload)?,
                    Part::Metadata(what) => metadata::push(*what, column, record)?,
                };
            }
            Ok(volume)
        })
    }

    fn takes_tombstones(&self) -> bool {
        true
    }

    fn len(&self) -> usize {
        self.rows.len()
    }

    fn memory_bytes(&self) -> usize {
        self.rows.bytes()
    }

    fn finish(&mut self) -> Result<RecordBatch, CodecError> {
        self.rows.finish()
    }
}
