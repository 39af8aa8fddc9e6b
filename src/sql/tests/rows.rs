//! Whole queries on a few rows.

use super::*;

const Q1: &str = "SELECT window.start AS window_start, endpoint, count(*) AS cnt, \
    avg(response_time_ms) AS avg_rt, max(response_time_ms) AS max_rt, \
    sum(CASE WHEN status_code >= 500 THEN 1 ELSE 0 END) AS errors \
    FROM logs GROUP BY window(timestamp, '1 minute'), endpoint";

#[test]
fn q1_of_the_benchmark() {
    let plan = planned(Q1);
    assert_eq!(plan.reads("logs"), [0, 3, 4, 5].into());
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
    assert_eq!(plan.reads("logs"), (0..12).collect());
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

#[test]
fn parts_of_the_window_and_names_of_keys_can_be_grouped_by() {
    let rows = ["2026-01-01T22:40:00Z|a|2", "2026-01-01T22:40:00Z|b|1", "2026-01-01T22:41:00Z|a|1"];
    for group in [
        "window(timestamp, '1 minute'), e",
        "window(timestamp, '1 minute'), substring(endpoint, 2)",
        "substring(endpoint, 2), window(timestamp, '1 minute').start",
        "e, s",
        "1, 2",
        "ALL",
        "window.start, window.end, e",
    ] {
        let window = if group.contains("window.start, window.end") {
            "min(window(timestamp, '1 minute').start)"
        } else {
            "window(timestamp, '1 minute').start"
        };
        let sql = format!(
            "SELECT {window} AS s, substring(endpoint, 2) AS e, count(*) AS n FROM logs \
             GROUP BY {group} HAVING n > 0"
        );
        assert_eq!(table(&sql), rows, "{sql}");
    }
    assert_eq!(
        table(
            "SELECT w.end AS e, count(*) AS n FROM (SELECT window(timestamp, '1 hour') AS w, * \
               FROM logs) GROUP BY w"
        ),
        ["2026-01-01T23:00:00Z|4"]
    );
    assert_eq!(
        table(
            "SELECT window_time(window) AS t, endpoint FROM logs \
               GROUP BY window(timestamp, '1 hour'), endpoint"
        ),
        ["2026-01-01T22:59:59.999999Z|/a", "2026-01-01T22:59:59.999999Z|/b"]
    );
}

#[test]
fn keys_and_results_of_every_type() {
    assert_eq!(
        table(
            "SELECT user, tags, price, to_date(timestamp) AS d, status_code > 400 AS bad, \
             sum(price) AS total, avg(price) AS mean, collect_set(endpoint) AS es, \
             max(struct(bytes, ip)) AS top, current_date() > DATE '2026-01-01' AS now \
             FROM logs GROUP BY window(timestamp, '1 hour'), user, tags, price, d, bad"
        )
        .len(),
        2
    );
    let plan = planned(
        "SELECT split(ip, '[.]') AS parts, named_struct('a', bytes) AS s, map('k', bytes) AS m, \
         array(1, 2) AS list, CAST(bytes AS DECIMAL(20, 2)) AS d, approx_distinct(price) AS n \
         FROM logs GROUP BY window(timestamp, '1 minute'), ip, bytes",
    );
    assert_eq!(run(&plan, &[few_rows()]).len(), 2);
}
