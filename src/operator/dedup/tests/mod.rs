//! Deduplication against a model that remembers every row.

mod model;
mod unit;

use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
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
        Field::new("x", DataType::Float64, true),
    ]))
}

fn dedup_plan(keys: Vec<Expr>, keep: Keep) -> DedupPlan {
    DedupPlan {
        query: Arc::from("q"),
        input: Arc::new(DFSchema::try_from_qualified_schema("t", &schema()).unwrap()),
        keys,
        time: match keep {
            Keep::Wall { .. } => None,
            _ => Some(col("t.ts")),
        },
        keep,
    }
}

/// One input row; `id` tells it from all others.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    id: i64,
    ts: Option<i64>,
    k: Option<String>,
    x: Option<f64>,
}

fn batch(rows: &[Row]) -> RecordBatch {
    let times: TimestampMicrosecondArray = rows.iter().map(|row| row.ts).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|row| Some(row.id)).collect::<Int64Array>()),
        Arc::new(times.with_timezone("UTC")),
        Arc::new(rows.iter().map(|row| row.k.as_deref()).collect::<StringArray>()),
        Arc::new(rows.iter().map(|row| row.x).collect::<Float64Array>()),
    ];
    RecordBatch::try_new(schema(), columns).unwrap()
}

fn ids(batch: &RecordBatch) -> Vec<i64> {
    assert_eq!(batch.schema(), schema());
    batch.column(0).as_primitive::<Int64Type>().values().to_vec()
}

fn row(id: i64, seconds: i64, k: &str) -> Row {
    Row { id, ts: Some(seconds * SECOND), k: Some(k.to_owned()), x: None }
}
