//! Batches whose columns come from two places: the record's value, and what stands around it.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{FieldRef, Schema, SchemaRef};

use super::CodecError;

/// For each column of the output: the how-manieth of which half it is.
#[derive(Debug)]
pub(super) struct Weave(Vec<Origin>);

#[derive(Debug, Clone, Copy)]
enum Origin {
    Value(usize),
    Around(usize),
}

impl Weave {
    /// Divides a projection: `around` says of the index of a declared column what it is filled from,
    /// if that is not the value. `output` is the projected schema. Returns the projection of the
    /// value's columns, and the others with their fields.
    pub fn new<T>(
        projection: &[usize],
        output: &Schema,
        around: impl Fn(usize) -> Option<T>,
    ) -> (Self, Vec<usize>, Vec<(T, FieldRef)>) {
        let (mut order, mut of_value, mut of_around) = (Vec::new(), Vec::new(), Vec::new());
        for (index, field) in projection.iter().zip(output.fields()) {
            match around(*index) {
                Some(what) => {
                    order.push(Origin::Around(of_around.len()));
                    of_around.push((what, Arc::clone(field)));
                }
                None => {
                    order.push(Origin::Value(of_value.len()));
                    of_value.push(*index);
                }
            }
        }
        (Self(order), of_value, of_around)
    }

    /// Puts the two halves, which have the same number of rows, together to a batch of `schema`.
    pub fn batch(
        &self,
        schema: &SchemaRef,
        value: &RecordBatch,
        around: &RecordBatch,
    ) -> Result<RecordBatch, CodecError> {
        let columns: Vec<ArrayRef> = (self.0.iter())
            .map(|origin| match origin {
                Origin::Value(index) => Arc::clone(value.column(*index)),
                Origin::Around(index) => Arc::clone(around.column(*index)),
            })
            .collect();
        let options = RecordBatchOptions::new().with_row_count(Some(value.num_rows()));
        Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
    }
}
