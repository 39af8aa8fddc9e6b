//! Text: the whole record is one STRING.

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use super::columns::Rows;
use super::decoder::RowDecoder;
use super::{AppendError, CodecError, metadata};
use crate::source::Record;

/// The schema of the text format: one column, `value STRING`, as Spark's.
pub fn text_schema() -> SchemaRef {
    Schema::new(vec![Field::new("value", DataType::Utf8, true)]).into()
}

/// Turns each record into a row with one STRING, which has to be UTF-8.
#[derive(Debug)]
pub(super) struct TextDecoder {
    rows: Rows,
}

impl TextDecoder {
    /// `schema` is the declared one, of one STRING column by any name.
    pub fn new(schema: &SchemaRef, projection: &[usize]) -> Result<Self, CodecError> {
        let declared = schema.fields();
        if declared.len() != 1 || *declared[0].data_type() != DataType::Utf8 {
            let problem = "a text source has one STRING column, \"value\"".to_owned();
            return Err(CodecError::Schema { format: "text", problem });
        }
        Ok(Self { rows: Rows::new(schema.project(projection)?.into())? })
    }
}

impl RowDecoder for TextDecoder {
    fn append(&mut self, record: &Record<'_>) -> Result<(), AppendError> {
        let Some(payload) = record.payload else { return Err(AppendError::NoRow) };
        self.rows.append(|columns, _| match columns {
            [column] => metadata::bytes(column, Some(payload)),
            _ => Ok(0),
        })
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
