//! `explode` on real batches: a row for each element of a list.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, Field, SchemaRef};
use datafusion::common::{Result, exec_err};

use super::chain::{conform, new_batch};

/// A row for each element of the list in `column`, the other columns repeated; `column` holds the
/// element then. A row whose list is NULL or empty comes out once with NULL if `outer`, else not.
pub(super) fn unnest(
    batch: &RecordBatch,
    column: usize,
    outer: bool,
    schema: &SchemaRef,
) -> Result<RecordBatch> {
    let list = list_of(batch.column(column))?;
    let list = list.as_list::<i32>();
    let offsets = list.value_offsets();
    let elements = offsets.last().zip(offsets.first()).map_or(0, |(last, first)| last - first);
    let mut rows: Vec<u32> = Vec::with_capacity(usize::try_from(elements).unwrap_or_default());
    let mut picks: Vec<Option<u32>> = Vec::with_capacity(rows.capacity());
    for row in 0..list.len() {
        let range = offsets[row]..offsets[row + 1];
        if list.is_null(row) || range.is_empty() {
            if outer {
                rows.push(row as u32);
                picks.push(None);
            }
            continue;
        }
        for element in range {
            rows.push(row as u32);
            // Offsets of a list are not negative.
            picks.push(Some(element as u32));
        }
    }
    let count = rows.len();
    let rows = UInt32Array::from(rows);
    let picks = UInt32Array::from(picks);
    let mut columns = Vec::with_capacity(batch.num_columns());
    for (index, array) in batch.columns().iter().enumerate() {
        let taken = if index == column {
            take(list.values(), &picks, None)?
        } else {
            take(array, &rows, None)?
        };
        columns.push(conform(taken, schema.field(index).data_type())?);
    }
    new_batch(schema, columns, count)
}

/// The column as a list with 32-bit offsets.
fn list_of(array: &ArrayRef) -> Result<ArrayRef> {
    match array.data_type() {
        DataType::List(_) => Ok(Arc::clone(array)),
        DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            let field: &Field = item.as_ref();
            Ok(cast(array, &DataType::List(Arc::new(field.clone())))?)
        }
        other => exec_err!("explode takes an ARRAY, not {other}"),
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, ListArray};
    use arrow::datatypes::{Int64Type, Schema};

    use super::*;

    #[test]
    fn empty_lists_come_out_only_if_asked_for() {
        let lists = ListArray::from_iter_primitive::<Int64Type, _, _>([
            Some(vec![Some(1), None]),
            None,
            Some(vec![]),
            Some(vec![Some(3)]),
        ]);
        let ids: ArrayRef = Arc::new(Int64Array::from(vec![10, 20, 30, 40]));
        let batch = RecordBatch::try_from_iter([("id", ids), ("x", Arc::new(lists) as ArrayRef)]);
        let batch = batch.unwrap();
        let schema: SchemaRef = Arc::new(Schema::new(vec![
            Field::new("id", DataType::Int64, true),
            Field::new("x", DataType::Int64, true),
        ]));
        let text = |batch: RecordBatch| {
            let column = |index: usize| -> Vec<Option<i64>> {
                batch.column(index).as_primitive::<Int64Type>().iter().collect()
            };
            (column(0), column(1))
        };
        assert_eq!(
            text(unnest(&batch, 1, false, &schema).unwrap()),
            (vec![Some(10), Some(10), Some(40)], vec![Some(1), None, Some(3)])
        );
        assert_eq!(
            text(unnest(&batch.slice(1, 3), 1, true, &schema).unwrap()),
            (vec![Some(20), Some(30), Some(40)], vec![None, None, Some(3)])
        );
    }
}
