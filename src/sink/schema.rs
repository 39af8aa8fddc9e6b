//! The types that targets see: one way of holding each kind of value.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{Field, Schema, SchemaRef};

use super::error::SinkError;
use crate::lake::storage_type;

/// `schema` without views, dictionaries, large offsets and unsigned integers, and without metadata.
/// Every column may be NULL.
pub(crate) fn storage_schema(sink: &str, schema: &Schema) -> Result<SchemaRef, SinkError> {
    let mut problems = Vec::new();
    let mut fields = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        match storage_type(field.data_type()) {
            Ok(stored) => fields.push(Field::new(field.name(), stored, true)),
            Err(reason) => problems.push(format!("column `{}`: {reason}", field.name())),
        }
    }
    if problems.is_empty() {
        Ok(Arc::new(Schema::new(fields)))
    } else {
        Err(SinkError::Definition { sink: sink.to_owned(), problems })
    }
}

/// `batch` in the shape of `schema`, which [`storage_schema`] made of the batch's own. Columns are
/// found by name.
pub(crate) fn fit(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, SinkError> {
    if Arc::ptr_eq(schema, batch.schema_ref()) {
        return Ok(batch.clone());
    }
    let misfit = |reason: String| SinkError::data("the staged rows", reason);
    // Values that do not fit (an unsigned count beyond BIGINT) are errors, not NULL.
    let strict = CastOptions { safe: false, ..Default::default() };
    let mut columns = Vec::with_capacity(schema.fields().len());
    for (index, field) in schema.fields().iter().enumerate() {
        let same_place =
            batch.schema_ref().fields().get(index).is_some_and(|f| f.name() == field.name());
        let column =
            if same_place { Some(batch.column(index)) } else { batch.column_by_name(field.name()) };
        let column =
            column.ok_or_else(|| misfit(format!("column `{}` is missing", field.name())))?;
        columns.push(if column.data_type() == field.data_type() {
            column.clone()
        } else {
            cast_with_options(column, field.data_type(), &strict)
                .map_err(|e| misfit(format!("column `{}`: {e}", field.name())))?
        });
    }
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options)
        .map_err(|e| misfit(e.to_string()))
}
