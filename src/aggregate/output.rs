//! The rows that an aggregation gives.

use std::sync::Arc;

use arrow::array::{ArrayRef, PrimitiveArray, RecordBatch, StructArray};
use arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
use datafusion::common::Result;

use super::AggregatePlan;
use crate::sql::functions::window_fields;
use crate::sql::{WindowPart, new_batch, nullable_schema};

/// Rows of one batch of output, at most: what is in memory at once stays bounded.
pub(super) const OUTPUT_ROWS: usize = 65_536;

/// Puts keys, windows and results in the order of the plan.
pub(super) struct OutputRows {
    schema: SchemaRef,
    window_columns: Vec<(usize, WindowPart)>,
}

/// The windows of rows, start and end in microseconds.
#[derive(Clone, Copy)]
pub(super) enum Bounds<'a> {
    /// There are none.
    None,
    /// All rows are of the same.
    Same(i64, i64),
    /// Each row's own.
    Each(&'a [i64], &'a [i64]),
}

impl OutputRows {
    pub(super) fn new(plan: &AggregatePlan) -> Self {
        let schema = nullable_schema(&plan.aggregated);
        Self { schema, window_columns: plan.window_columns.clone() }
    }

    pub(super) fn batch(
        &self,
        bounds: Bounds<'_>,
        keys: Vec<ArrayRef>,
        values: Vec<ArrayRef>,
        rows: usize,
    ) -> Result<RecordBatch> {
        let mut columns = keys;
        // Ascending positions: each is right once those before it are in.
        for (position, part) in &self.window_columns {
            let window: ArrayRef = match part {
                WindowPart::Start => times(bounds, false, rows),
                WindowPart::End => times(bounds, true, rows),
                WindowPart::Both => {
                    let both = vec![times(bounds, false, rows), times(bounds, true, rows)];
                    Arc::new(StructArray::try_new(window_fields(), both, None)?)
                }
            };
            columns.insert((*position).min(columns.len()), window);
        }
        columns.extend(values);
        new_batch(&self.schema, columns, rows)
    }
}

fn times(bounds: Bounds<'_>, end: bool, rows: usize) -> ArrayRef {
    type Times = PrimitiveArray<TimestampMicrosecondType>;
    let array = match bounds {
        Bounds::None => Times::new_null(rows),
        Bounds::Same(start, _) if !end => Times::from_value(start, rows),
        Bounds::Same(_, end) => Times::from_value(end, rows),
        Bounds::Each(starts, _) if !end => Times::from_iter_values(starts.iter().copied()),
        Bounds::Each(_, ends) => Times::from_iter_values(ends.iter().copied()),
    };
    Arc::new(array.with_timezone("UTC"))
}
