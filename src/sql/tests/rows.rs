//! Whole queries on a few rows.

use super::*;

const Q1: &str = "SELECT window.start AS window_start, endpoint, count(*) AS cnt, \
    avg(response_time_ms) AS avg_rt, max(response_time_ms) AS max_rt, \
    sum(CASE WHEN status_code >= 500 THEN 1 ELSE 0 END) AS errors \
    FROM logs GROUP BY window(timestamp, '1 minute'), endpoint";

#[test]
fn q1_of_the_benchmark() {
    let plan = planned(Q1);
    assert_eq!(plan.source, "logs");
    assert_eq!(plan.reads, [0, 3, 4, 5]);
    let types: Vec<_> =
        plan.output_schema.fields().iter().map(|field| field.data_type().clone()).collect();
    assert_eq!(
        types,
        [
            timestamp_type(),
            DataType::Utf8,
            DataType::Int64,
            DataType::Float64,
            DataType::Float64,
            DataType::Int64
        ]
    );
    assert_eq!(
        table(Q1),
        [
            "2026-01-01T22:40:00Z|/a|2|20.0|30.0|1",
            "2026-01-01T22:40:00Z|/b|1|5.0|5.0|0",
            "2026-01-01T22:41:00Z|/a|1|7.0|7.0|1",
        ]
    );
}

#[test]
fn q3_of_the_benchmark() {
    let sql = "SELECT *, to_date(timestamp) AS date, hour(timestamp) AS hour FROM logs";
    let plan = planned(sql);
    assert_eq!(plan.reads, (0..12).collect::<Vec<_>>());
    let output = run(&plan, &[few_rows()]);
    assert_eq!(output[0].num_columns(), 14);
    assert_eq!(output[0].schema(), plan.output_schema);
    assert_eq!(plan.output_schema.field(12).data_type(), &DataType::Date32);
    assert_eq!(plan.output_schema.field(13).data_type(), &DataType::Int32);
    let sql = "SELECT date_format(timestamp, 'yyyy-MM-dd HH') AS h, to_date(timestamp) AS d, \
        hour(timestamp) AS n, endpoint FROM logs WHERE status_code >= 500";
    assert_eq!(table(sql), ["2026-01-01 22|2026-01-01|22|/a", "2026-01-01 22|2026-01-01|22|/a"]);
}

#[test]
fn seed_queries() {
    // Patterns over time
    assert_eq!(
        table(
            "SELECT date_format(window.start, 'HH:mm') AS minute, COUNT(*) AS requests, \
             AVG(response_time_ms) AS avg_response_time, COUNT(DISTINCT ip) AS unique_visitors \
             FROM logs GROUP BY window(timestamp, '1 minute')"
        ),
        ["22:40|3|15.0|2", "22:41|1|7.0|1"]
    );
    // Top endpoints by errors
    assert_eq!(
        table(
            "SELECT window.start, window.end, endpoint, COUNT(*) as error_count FROM logs \
             WHERE status_code >= 400 GROUP BY window(timestamp, '1 minute'), endpoint"
        ),
        [
            "2026-01-01T22:40:00Z|2026-01-01T22:41:00Z|/a|1",
            "2026-01-01T22:40:00Z|2026-01-01T22:41:00Z|/b|1",
            "2026-01-01T22:41:00Z|2026-01-01T22:42:00Z|/a|1",
        ]
    );
    // Traffic against a threshold
    assert_eq!(
        table(
            "SELECT window, endpoint, count(*) AS n FROM logs \
             GROUP BY window(timestamp, '1 minute'), endpoint HAVING count(*) > 1"
        ),
        ["{start: 2026-01-01T22:40:00Z, end: 2026-01-01T22:41:00Z}|/a|2"]
    );
}
