//! Queries from text to rows.

mod expect;
mod explained;
mod joins;
mod plans;
mod refusals;
mod relations;
mod rows;
mod spark;
mod windows;
mod world;

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::util::pretty::pretty_format_batches;
use chrono::DateTime;

use super::{QueryPlan, SourceTable, SqlError, plan_append as plan, timestamp_type};
use crate::graph::Graph;
use crate::trial::Trial;

/// The web logs of the benchmark.
pub(super) fn logs_schema() -> SchemaRef {
    let user = DataType::Struct(
        vec![Field::new("id", DataType::Int64, true), Field::new("deviceId", DataType::Utf8, true)]
            .into(),
    );
    Arc::new(Schema::new(vec![
        Field::new("timestamp", timestamp_type(), false),
        Field::new("ip", DataType::Utf8, true),
        Field::new("method", DataType::Utf8, true),
        Field::new("endpoint", DataType::Utf8, true),
        Field::new("status_code", DataType::Int32, true),
        Field::new("response_time_ms", DataType::Float64, true),
        Field::new("bytes", DataType::Int64, true),
        Field::new("user_agent", DataType::Utf8, true),
        Field::new("deviceId", DataType::Utf8, true),
        Field::new("user", user, true),
        Field::new(
            "tags",
            DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true))),
            true,
        ),
        Field::new("price", DataType::Decimal128(10, 2), true),
    ]))
}

pub(super) fn logs() -> SourceTable {
    SourceTable {
        name: "logs".to_owned(),
        schema: logs_schema(),
        event_time: Some("timestamp".to_owned()),
        watermark_delay_us: Some(120_000_000),
    }
}

pub(super) fn planned(sql: &str) -> QueryPlan {
    plan("q", sql, &[logs()]).unwrap_or_else(|error| panic!("{sql}\n{error}"))
}

pub(super) fn refused(sql: &str) -> SqlError {
    match plan("q", sql, &[logs()]) {
        Ok(_) => panic!("planned: {sql}"),
        Err(error) => error,
    }
}

pub(super) fn at(text: &str) -> i64 {
    DateTime::parse_from_rfc3339(text).unwrap().timestamp_micros()
}

/// Rows of (time, ip, endpoint, status, response time, bytes); the other columns are NULL but for
/// `method` GET.
type Row = (&'static str, &'static str, &'static str, i32, f64, i64);

pub(super) fn batch(rows: &[Row]) -> RecordBatch {
    let schema = logs_schema();
    let count = rows.len();
    let strings = |pick: fn(&Row) -> &'static str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(rows.iter().map(pick)))
    };
    let columns = schema
        .fields()
        .iter()
        .map(|field| -> ArrayRef {
            match field.name().as_str() {
                "timestamp" => Arc::new(
                    TimestampMicrosecondArray::from_iter_values(rows.iter().map(|r| at(r.0)))
                        .with_timezone("UTC"),
                ),
                "ip" => strings(|r| r.1),
                "endpoint" => strings(|r| r.2),
                "method" => Arc::new(StringArray::from(vec!["GET"; count])),
                "status_code" => Arc::new(Int32Array::from_iter_values(rows.iter().map(|r| r.3))),
                "response_time_ms" => {
                    Arc::new(Float64Array::from_iter_values(rows.iter().map(|r| r.4)))
                }
                "bytes" => Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.5))),
                _ => arrow::array::new_null_array(field.data_type(), count),
            }
        })
        .collect();
    RecordBatch::try_new(schema, columns).unwrap()
}

pub(super) fn few_rows() -> RecordBatch {
    batch(&[
        ("2026-01-01T22:40:10Z", "10.0.0.1", "/a", 200, 10.0, 100),
        ("2026-01-01T22:40:20Z", "10.0.0.2", "/a", 500, 30.0, 200),
        ("2026-01-01T22:40:59.999999Z", "10.0.0.1", "/b", 404, 5.0, 300),
        ("2026-01-01T22:41:00Z", "10.0.0.1", "/a", 503, 7.0, 400),
    ])
}

/// Runs a query over batches and closes all windows at the end.
pub(super) fn run(plan: &QueryPlan, batches: &[RecordBatch]) -> Vec<RecordBatch> {
    let graph = Graph::new(vec!["logs".into()], vec![Arc::new(plan.clone())]).unwrap();
    // Only the columns that the plan reads, as a reader would decode them.
    let reads: Vec<usize> = graph.reads(0).into_iter().collect();
    let decoded = Arc::new(logs_schema().project(&reads).unwrap());
    let mut trial = Trial::new(Arc::new(graph), &[decoded], &[true]).unwrap();
    for batch in batches {
        trial.rows(0, &batch.project(&reads).unwrap()).unwrap();
    }
    trial.watermark(0, i64::MAX).unwrap();
    trial.take_output().into_iter().map(|output| output.rows).collect()
}

/// What a query makes of [`few_rows`], as a table sorted by line.
pub(super) fn table(sql: &str) -> Vec<String> {
    let plan = planned(sql);
    let output = run(&plan, &[few_rows()]);
    for batch in &output {
        assert_eq!(batch.schema(), plan.output_schema, "{sql}");
    }
    let text = pretty_format_batches(&output).unwrap().to_string();
    let mut lines: Vec<String> = text
        .lines()
        .skip(3)
        .filter(|line| line.starts_with('|'))
        .map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            cells.join("|")
        })
        .collect();
    lines.sort();
    lines
}
