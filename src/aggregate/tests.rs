//! Window state against a recomputation from all rows.

mod cases;
mod functions;
mod kinds;
mod model;
mod unit;

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use super::*;
use crate::event_time::Windows;
use crate::operator::{Merged, Operator, OperatorError, Router, StateDelta, StateStats};
use crate::sql::{
    BoundMap, OperatorKind, OutputMode, QueryPlan, SourceTable, Target, plan_append as plan,
    timestamp_type,
};

const SECOND: i64 = 1_000_000;

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("ts", timestamp_type(), true),
        Field::new("k", DataType::Utf8, true),
        Field::new("n", DataType::Int32, true),
        Field::new("x", DataType::Float64, true),
        Field::new("i", DataType::Int64, true),
    ]))
}

fn planned(sql: &str) -> QueryPlan {
    let source = SourceTable {
        name: "t".to_owned(),
        schema: schema(),
        event_time: Some("ts".to_owned()),
        watermark_delay_us: Some(0),
    };
    plan("q", sql, &[source]).unwrap_or_else(|error| panic!("{sql}\n{error}"))
}

fn window_plan(plan: &QueryPlan) -> &AggregatePlan {
    let OperatorKind::Aggregate(aggregate) = &plan.operators[0].kind else {
        panic!("no aggregation")
    };
    aggregate
}

/// The feed to the aggregation and what stands at its end.
struct Reader {
    feed: BoundMap,
    pre: PreAggregator,
}

impl Reader {
    fn partial(&mut self, batch: &RecordBatch) -> Result<PartialBatch, OperatorError> {
        self.pre.partial(&self.feed.apply(batch).unwrap())
    }
}

fn reader(plan: &QueryPlan) -> Reader {
    reader_of(plan, window_plan(plan))
}

/// A planned query's aggregation, over other windows and in another mode. Without windows, the
/// window's columns are NULL.
fn over(query: &QueryPlan, windows: Windows, mode: OutputMode) -> AggregatePlan {
    let mut plan = window_plan(query).clone();
    (plan.windows, plan.mode) = (windows, mode);
    if matches!(windows, Windows::None) {
        plan.time = None;
    }
    plan
}

fn reader_of(plan: &QueryPlan, aggregate: &AggregatePlan) -> Reader {
    let feed = plan.feeds.iter().find(|feed| feed.to != Target::Output).unwrap();
    Reader { feed: feed.bind("q", &schema()).unwrap(), pre: PreAggregator::new(aggregate).unwrap() }
}

/// The feed behind the aggregation: HAVING and the SELECT list.
fn selected(plan: &QueryPlan, closed: &[RecordBatch]) -> Vec<RecordBatch> {
    let feed = plan.feeds.iter().find(|feed| feed.to == Target::Output).unwrap();
    let mut feed = feed.bind("q", &plan.operators[0].output_schema()).unwrap();
    let rows = closed.iter().map(|batch| feed.apply(batch).unwrap());
    rows.filter(|batch| batch.num_rows() > 0).collect()
}

/// One input row.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    ts: Option<i64>,
    k: Option<String>,
    n: Option<i32>,
    x: Option<f64>,
    i: Option<i64>,
}

fn batch(rows: &[Row]) -> RecordBatch {
    let times: TimestampMicrosecondArray = rows.iter().map(|row| row.ts).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(times.with_timezone("UTC")),
        Arc::new(rows.iter().map(|row| row.k.as_deref()).collect::<StringArray>()),
        Arc::new(rows.iter().map(|row| row.n).collect::<Int32Array>()),
        Arc::new(rows.iter().map(|row| row.x).collect::<Float64Array>()),
        Arc::new(rows.iter().map(|row| row.i).collect::<Int64Array>()),
    ];
    RecordBatch::try_new(schema(), columns).unwrap()
}

fn row(seconds: i64, k: &str, n: i32, x: f64) -> Row {
    Row {
        ts: Some(seconds * SECOND),
        k: Some(k.to_owned()),
        n: Some(n),
        x: Some(x),
        i: Some(i64::from(n) * 10),
    }
}
