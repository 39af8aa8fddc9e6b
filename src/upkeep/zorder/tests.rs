use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{Field, Schema};
use proptest::prelude::*;

use super::keys::{Curve, Sample};

fn curve(columns: &[ArrayRef]) -> Curve {
    let fields: Vec<Field> = columns
        .iter()
        .enumerate()
        .map(|(i, column)| Field::new(format!("c{i}"), column.data_type().clone(), true))
        .collect();
    let schema = Arc::new(Schema::new(fields));
    let mut sample = Sample::new(schema.clone());
    sample.add(vec![RecordBatch::try_new(schema, columns.to_vec()).unwrap()]);
    sample.curve().unwrap()
}

#[test]
fn bits_take_turns() {
    let column: ArrayRef = Arc::new(Int64Array::from((0..4096).collect::<Vec<_>>()));
    let constant: ArrayRef = Arc::new(Int64Array::from(vec![5; 4096]));
    let curve = curve(&[column.clone(), constant.clone()]);
    let places = curve.places(&[column, constant]).unwrap();
    // 4,096 values are 12 bits; the first column's are the odd ones.
    for (value, place) in places.iter().enumerate() {
        let expected: u64 = (0..12).map(|bit| ((value as u64 >> bit) & 1) << (2 * bit + 1)).sum();
        assert_eq!(*place, expected, "{value}");
    }
}

#[test]
fn one_column_is_sorted_nulls_first() {
    let values = [Some(2.5), None, Some(f64::NEG_INFINITY), Some(-0.5), Some(f64::NAN), Some(0.0)];
    let column: ArrayRef = Arc::new(Float64Array::from(values.to_vec()));
    let columns = [column];
    let places = curve(&columns).places(&columns).unwrap();
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by_key(|row| places[*row]);
    assert_eq!(order[..5], [1, 2, 3, 5, 0]);
    assert_eq!(order[5], 4, "NaN is the greatest, as in SQL");
}

proptest! {
    /// Of two rows, one that is no less in every column is no less on the curve.
    #[test]
    fn the_curve_is_monotone(
        rows in prop::collection::vec((any::<Option<i16>>(), "[a-d]{0,3}", any::<i64>()), 1..200),
    ) {
        let a: ArrayRef = Arc::new(Int64Array::from(
            rows.iter().map(|r| r.0.map(i64::from)).collect::<Vec<_>>()));
        let b: ArrayRef = Arc::new(StringArray::from(
            rows.iter().map(|r| r.1.clone()).collect::<Vec<_>>()));
        let c: ArrayRef = Arc::new(Int64Array::from(rows.iter().map(|r| r.2).collect::<Vec<_>>()));
        let columns = [a, b, c];
        let curve = curve(&columns);
        let places = curve.places(&columns).unwrap();
        for (i, x) in rows.iter().enumerate() {
            for (j, y) in rows.iter().enumerate() {
                if x.0 <= y.0 && x.1 <= y.1 && x.2 <= y.2 {
                    prop_assert!(places[i] <= places[j], "{x:?} {y:?}");
                }
            }
        }
        let cuts = curve.cuts(7);
        prop_assert!(cuts.is_sorted() && cuts.len() < 7);
    }
}
