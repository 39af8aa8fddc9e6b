//! Rows, comparisons and the clock.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use serde_json::json;

use crate::codec::parse_schema;
use crate::event_time::WatermarkOptions;
use crate::graph::Graph;
use crate::sql::{Catalog, DropDuplicates, QueryRequest, SourceTable, Within, plan};
use crate::trial::{
    Arrival, Comparison, Pipeline, Row, Side, TrialSource, TrialWatermark, rows_of,
};

fn rows(value: serde_json::Value) -> Vec<Row> {
    serde_json::from_value(value).unwrap()
}

#[test]
fn rows_are_read_by_their_types() {
    let schema = parse_schema(
        "b BOOLEAN, t TINYINT, l BIGINT, f FLOAT, d DOUBLE, m DECIMAL(10,2), s STRING, x BINARY, \
         day DATE, at TIMESTAMP, a ARRAY<INT>, mp MAP<STRING, DOUBLE>, st STRUCT<x: INT, y: STRING>",
    )
    .unwrap();
    let given = rows(json!([
        {"b": true, "t": -5, "l": 9007199254740993i64, "f": 1.5, "d": "NaN", "m": "1.50", "s": "NULL",
         "x": "3q2+7w==", "day": "2026-01-31", "at": "2026-01-31T12:00:00.25Z", "a": [1, null],
         "mp": {"k": 2}, "st": {"y": "z"}},
        {},
    ]));
    let batch = rows_of(&given, &schema).unwrap();
    assert_eq!(batch.num_rows(), 2);
    assert!(batch.columns().iter().all(|column| column.is_valid(0) && column.is_null(1)));
    let same = rows_of(
        &rows(json!([{"b": true, "t": -5, "l": 9007199254740993i64, "f": 1.5, "d": "NaN", "m": 1.5,
            "s": "NULL", "x": "3q2+7w==", "day": "2026-01-31", "at": "2026-01-31 13:00:00.250+01:00",
            "a": [1, null], "mp": {"k": 2.0}, "st": {"y": "z", "x": null}}, {}])),
        &schema,
    )
    .unwrap();
    let compared = Comparison::new(&batch, &[same], true).unwrap();
    assert!(compared.is_equal(), "{compared:?}");
}

#[test]
fn what_is_no_row_is_told_with_its_place() {
    let schema = parse_schema("n INT, at TIMESTAMP, st STRUCT<x: ARRAY<INT>>").unwrap();
    let refused = |value| rows_of(&rows(value), &schema).unwrap_err();
    let error = refused(json!([{}, {"m": 1}]));
    assert_eq!(error.to_string(), "row 2: there is no column 'm'");
    assert!(error.help.is_some());
    let error = refused(json!([{"n": "3"}]));
    assert_eq!(error.to_string(), r#"row 1: n: expected an INT, got "3""#);
    let error = refused(json!([{"n": 3_000_000_000i64}]));
    assert_eq!(error.to_string(), "row 1: n: expected an INT, got 3000000000");
    let error = refused(json!([{"at": "soon"}]));
    assert!(error.to_string().contains("a time, as"), "{error}");
    let error = refused(json!([{}, {"st": {"x": [1, "2"]}}]));
    assert_eq!(error.to_string(), r#"row 2: st.x[]: expected an INT, got "2""#);
    let error = refused(json!([{"st": {"y": 1}}]));
    assert_eq!(error.to_string(), "row 1: st: expected only x, got 'y'");
}

fn numbers() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("k", DataType::Utf8, true),
        Field::new("v", DataType::Float64, true),
    ]))
}

fn sides(expected: serde_json::Value, got: serde_json::Value, ordered: bool) -> String {
    let expected = rows_of(&rows(expected), &numbers()).unwrap();
    let got = rows_of(&rows(got), &numbers()).unwrap();
    let compared = Comparison::new(&expected, &[got], ordered).unwrap();
    let line = |row: &crate::trial::ComparedRow| {
        let mark = match row.side {
            Side::Both => "=",
            Side::Expected => "-",
            Side::Got => "+",
        };
        format!("{mark}{}{:?}", row.cells.join(","), row.differs)
    };
    compared.rows.iter().map(line).collect::<Vec<_>>().join(" ")
}

#[test]
fn rows_stand_beside_what_they_are_most_like() {
    let expected = json!([{"k": "a", "v": 1}, {"k": "b", "v": 2}, {"k": "c", "v": 3}]);
    let got = json!([{"k": "c", "v": 3}, {"k": "b", "v": 5}, {"k": "x", "v": 9}]);
    assert_eq!(sides(expected, got, false), "-a,1.0[] -b,2.0[1] +b,5.0[1] =c,3.0[] +x,9.0[]");
    // The same rows in another order.
    let (one, other) = (json!([{"k": "a"}, {"k": "b"}]), json!([{"k": "b"}, {"k": "a"}]));
    assert_eq!(sides(one.clone(), other.clone(), false), "=a,NULL[] =b,NULL[]");
    assert!(sides(one, other, true).contains('+'));
    // Each row counts as often as it is there.
    let twice = json!([{"k": "a"}, {"k": "a"}]);
    assert_eq!(sides(json!([{"k": "a"}]), twice, false), "=a,NULL[] +a,NULL[]");
    // The text NULL is not NULL, and a last digit is no difference.
    assert!(sides(json!([{"k": "NULL"}]), json!([{}]), false).contains('-'));
    assert_eq!(
        sides(json!([{"v": 0.3}]), json!([{"v": 0.1 + 0.2}]), false),
        format!("=NULL,{}[]", 0.1 + 0.2)
    );
}

fn trial(sql: &str, within: Option<Within>) -> Pipeline {
    let source = SourceTable {
        name: "events".to_owned(),
        schema: parse_schema("ts TIMESTAMP, k STRING").unwrap(),
        event_time: Some("ts".to_owned()),
        watermark_delay_us: Some(10_000_000),
    };
    let sources = [source];
    let request = QueryRequest {
        name: "q",
        sql,
        drop_duplicates: within
            .map(|within| DropDuplicates { columns: vec!["k".to_owned()], within }),
        ..QueryRequest::default()
    };
    let planned = plan(&request, &Catalog { sources: &sources, ..Catalog::default() }).unwrap();
    let graph = Graph::new(vec!["events".into()], vec![Arc::new(planned)]).unwrap();
    let options =
        WatermarkOptions { delay_us: 10_000_000, idle_timeout_ms: None, advance_when_idle: false };
    let [source] = sources;
    let source = TrialSource {
        schema: source.schema,
        projection: vec![0, 1],
        decoder: None,
        record_bytes: usize::MAX,
        header: false,
        watermark: Some(TrialWatermark { column: "ts".to_owned(), options }),
    };
    Pipeline::new(Arc::new(graph), vec![source], 2).unwrap()
}

fn row(second: i64, key: &str) -> Vec<Row> {
    rows(json!([{"ts": format!("2026-01-01T00:00:{second:02}Z"), "k": key}]))
}

const DAY: i64 = 86_400_000_000;

#[test]
fn the_clock_is_where_it_is_put() {
    let mut pipeline = trial("SELECT k, current_date() AS d FROM events", None);
    for day in [0, 5] {
        let rows = row(1, "a");
        let outcome = pipeline.batch(day * DAY, &[(0, Arrival::Rows(&rows))]).unwrap();
        let date = rows_of(
            &self::rows(json!([{"k": "a", "d": format!("1970-01-{:02}", day + 1)}])),
            &outcome.output[0][0].schema(),
        )
        .unwrap();
        let compared = Comparison::new(&date, &outcome.output[0], true).unwrap();
        assert!(compared.is_equal(), "{compared:?}");
    }
}

#[test]
fn keys_are_forgotten_by_the_moved_clock() {
    let mut pipeline = trial("SELECT k FROM events", Some(Within::Wall(DAY)));
    let mut counts = vec![];
    for at in [0, DAY / 2, DAY, 2 * DAY + 1] {
        let rows = row(1, "a");
        let outcome = pipeline.batch(at, &[(0, Arrival::Rows(&rows))]).unwrap();
        counts.push(outcome.output[0].iter().map(|batch| batch.num_rows()).sum::<usize>());
        pipeline.snapshot().unwrap();
        pipeline.restart(1).unwrap();
    }
    assert_eq!(counts[..2], [1, 0]);
    assert_eq!(counts[3], 1, "{counts:?}");
}

#[test]
fn the_end_closes_what_is_open() {
    let sql = "SELECT k, count(*) AS n FROM events GROUP BY window(ts, '1 minute'), k";
    let mut pipeline = trial(sql, None);
    let rows = row(1, "a");
    let outcome = pipeline.batch(0, &[(0, Arrival::Rows(&rows))]).unwrap();
    assert!(outcome.output[0].is_empty());
    let outcome = pipeline.end(0).unwrap();
    assert_eq!(outcome.output[0].len(), 1);
    assert_eq!(outcome.watermarks, [Some(i64::MAX)]);
}
