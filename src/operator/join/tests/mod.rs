//! Joins against a model that keeps every row.

mod model;
mod unit;

use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use datafusion::common::DFSchema;
use datafusion::logical_expr::{Expr, col};

use super::*;
use crate::sql::timestamp_type;

const SECOND: i64 = 1_000_000;

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("ts", timestamp_type(), true),
        Field::new("k", DataType::Utf8, true),
        Field::new("n", DataType::Int32, true),
    ]))
}

fn qualified(name: &str) -> DFSchema {
    DFSchema::try_from_qualified_schema(name, &schema()).unwrap()
}

/// A join of `l` and `r` on `keys`, columns that both have.
fn join_plan(
    kind: JoinKind,
    keys: &[&str],
    keep_us: [Option<i64>; 2],
    filter: Option<Expr>,
) -> JoinPlan {
    let side = |name: &str, keep_us| JoinSide {
        input: Arc::new(qualified(name)),
        keys: keys.iter().map(|key| col(format!("{name}.{key}"))).collect(),
        time: Some(col(format!("{name}.ts"))),
        keep_us,
    };
    let output = match kind {
        JoinKind::LeftSemi => qualified("l"),
        _ => qualified("l").join(&qualified("r")).unwrap(),
    };
    JoinPlan {
        query: Arc::from("q"),
        kind,
        left: side("l", keep_us[0]),
        right: side("r", keep_us[1]),
        filter,
        ttl_us: None,
        output: Arc::new(output),
    }
}

/// One input row; `id` tells it from all others.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    id: i64,
    ts: Option<i64>,
    k: Option<String>,
    n: Option<i32>,
}

fn batch(rows: &[Row]) -> RecordBatch {
    let times: TimestampMicrosecondArray = rows.iter().map(|row| row.ts).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|row| Some(row.id)).collect::<Int64Array>()),
        Arc::new(times.with_timezone("UTC")),
        Arc::new(rows.iter().map(|row| row.k.as_deref()).collect::<StringArray>()),
        Arc::new(rows.iter().map(|row| row.n).collect::<Int32Array>()),
    ];
    RecordBatch::try_new(schema(), columns).unwrap()
}

/// The ids of left and right in each row; checks that the other columns go with them.
fn ids(batch: &RecordBatch) -> Vec<(Option<i64>, Option<i64>)> {
    let side = |first: usize| -> Vec<Option<i64>> {
        if first >= batch.num_columns() {
            return vec![None; batch.num_rows()];
        }
        let ids = batch.column(first).as_primitive::<Int64Type>();
        let times = batch.column(first + 1);
        assert!(ids.iter().enumerate().all(|(row, id)| times.is_valid(row) == id.is_some()));
        ids.iter().collect()
    };
    side(0).into_iter().zip(side(4)).collect()
}

fn row(id: i64, seconds: i64, k: &str) -> Row {
    Row { id, ts: Some(seconds * SECOND), k: Some(k.to_owned()), n: None }
}
