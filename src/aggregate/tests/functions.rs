//! Every aggregate function, computed in parts and merged, against one pass over all rows.

use super::*;
use crate::event_time::{Session, Sliding, Tumbling};

/// Each with the text of its result over the rows of [`rows`], group `a`.
const FUNCTIONS: &[(&str, &str)] = &[
    ("count(*)", "60"),
    ("count(x)", "60"),
    ("count(DISTINCT n)", "20"),
    ("count(DISTINCT k)", "1"),
    ("count(DISTINCT x)", "60"),
    ("count(DISTINCT n, k)", "20"),
    ("count_if(n >= 10)", "30"),
    ("sum(n)", "570"),
    ("sum(x)", "1770.0"),
    ("sum(DISTINCT n)", "190"),
    ("avg(n)", "9.5"),
    ("mean(x)", "29.5"),
    ("min(n)", "0"),
    ("max(x)", "59.0"),
    ("min(ts)", "1970-01-01T00:00:00Z"),
    ("max(k)", "a"),
    ("first(k)", "a"),
    ("last(k)", "a"),
    ("any_value(k)", "a"),
    ("first_value(n ORDER BY x DESC)", "19"),
    ("last_value(n ORDER BY x)", "19"),
    ("max_by(n, x)", "19"),
    ("min_by(i, x)", "0"),
    ("bool_and(n >= 0)", "true"),
    ("every(n > 0)", "false"),
    ("some(n > 18)", "true"),
    ("bit_and(n)", "0"),
    ("bit_or(n)", "31"),
    ("bit_xor(n)", "0"),
    ("var_pop(n)", "33.25"),
    ("stddev_pop(n)", "5.766281297335398"),
    ("var_samp(n)", "33.813559322033896"),
    ("variance(n)", "33.813559322033896"),
    ("stddev(n)", "5.814942761716051"),
    ("stddev_samp(n)", "5.814942761716051"),
    ("corr(x, x)", "1.0"),
    ("covar_samp(x, x)", "305.0"),
    ("regr_avgx(x, x)", "29.5"),
    ("regr_avgy(x, n)", "29.5"),
    ("regr_count(x, x)", "60"),
    ("regr_intercept(x, x)", "0.0"),
    ("regr_r2(x, x)", "1.0"),
    ("regr_sxx(x, n)", "1995.0"),
    ("regr_sxy(x, x)", "17995.0"),
    ("regr_syy(x, x)", "17995.0"),
    ("approx_median(x)", "29.5"),
    ("approx_percentile_cont_with_weight(x, 1, 0.5)", "29.5"),
    ("avg(DISTINCT x)", "29.5"),
    ("count(*) FILTER (WHERE n > 10)", "27"),
    ("covar_pop(x, x)", "299.9166666666667"),
    ("regr_slope(x, x)", "1.0"),
    ("median(x)", "29.5"),
    ("percentile(x, 0.5)", "29.5"),
    ("approx_count_distinct(n)", "20"),
    ("approx_count_distinct(k)", "1"),
    ("approx_distinct(x)", "60"),
    ("approx_percentile(x, 0.5)", "29.5"),
    ("percentile_approx(x, 0.5, 100)", "29.5"),
    ("approx_percentile_cont(x, 0.5)", "29.5"),
    ("size(collect_list(n))", "60"),
    ("size(collect_set(n))", "20"),
    ("size(array_agg(n))", "60"),
    ("length(string_agg(k, ','))", "119"),
];

/// Sixty rows of group `a` and as many of others, in twelve batches.
fn rows() -> Vec<Vec<Row>> {
    (0..12)
        .map(|part| {
            (0..10)
                .map(|n| {
                    let at = part * 5 + n / 2;
                    let key = if n % 2 == 0 { "a" } else { "b" };
                    row(at, key, at as i32 % 20, at as f64)
                })
                .collect()
        })
        .collect()
}

/// What a function gives for group `a`, after all rows have gone through partial batches, triggers,
/// snapshots and a restore.
fn result(call: &str, windows: Windows, mode: OutputMode) -> String {
    let query = planned(&format!(
        "SELECT k, {call} AS r FROM t GROUP BY window(ts, '1 hour'), k HAVING k = 'a'"
    ));
    let plan = over(&query, windows, mode);
    let mut reader = reader_of(&query, &plan);
    let mut state = operator(&plan).unwrap();
    let mut segments: Vec<(i64, Vec<u8>)> = vec![];
    let mut out = vec![];
    for (round, rows) in rows().iter().enumerate() {
        state.rows(0, &reader.partial(&batch(rows)).unwrap().rows, &mut out).unwrap();
        if round % 3 != 2 || round == 11 {
            continue;
        }
        state.trigger(&mut out).unwrap();
        let delta = state.snapshot().unwrap();
        for segment in delta.segments {
            segments.retain(|(pane, _)| !segment.whole || *pane != segment.pane);
            segments.push((segment.pane, segment.bytes));
        }
        segments.retain(|(pane, _)| !delta.closed.contains(pane));
        if round == 8 {
            // Everything through bytes and back.
            let bytes: Vec<&[u8]> = segments.iter().map(|(_, bytes)| bytes.as_slice()).collect();
            state = operator(&plan).unwrap();
            state.restore(&bytes, delta.watermark, (0, 1)).unwrap();
            segments.clear();
        }
    }
    out.clear();
    state.trigger(&mut out).unwrap();
    state.advance(i64::MAX, &mut out).unwrap();
    let rows = selected(&query, &out);
    // Of windows that slide, one in the middle has all rows.
    let window = &rows[rows.len() / 2];
    assert_eq!(window.num_rows(), 1, "{call}");
    arrow::util::display::array_value_to_string(window.column(1), 0).unwrap()
}

fn all_functions(windows: Windows, mode: OutputMode) {
    let mut wrong = vec![];
    for (call, expected) in FUNCTIONS {
        let found = result(call, windows, mode);
        // The last bits of a double depend on the order in which parts were merged.
        let same = match (found.parse::<f64>(), expected.parse::<f64>()) {
            (Ok(found), Ok(expected)) => (found - expected).abs() <= 1e-12 * expected.abs(),
            _ => found == *expected,
        };
        if !same {
            wrong.push(format!("{call}: {found}, not {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

const HOUR: i64 = 3_600 * SECOND;

#[test]
fn every_function_over_tumbling_windows() {
    let windows = Windows::Tumbling(Tumbling::new(HOUR, 0).unwrap());
    all_functions(windows, OutputMode::Append);
    all_functions(windows, OutputMode::Update);
}

#[test]
fn every_function_over_sliding_windows() {
    let windows = Windows::Sliding(Sliding::new(HOUR, 7 * SECOND, 0).unwrap());
    all_functions(windows, OutputMode::Append);
    let windows = Windows::Sliding(Sliding::new(HOUR, HOUR / 8, 0).unwrap());
    all_functions(windows, OutputMode::Complete);
    all_functions(windows, OutputMode::Update);
}

#[test]
fn every_function_over_sessions() {
    all_functions(Windows::Session(Session::new(3 * SECOND).unwrap()), OutputMode::Append);
}

#[test]
fn every_function_without_windows() {
    all_functions(Windows::None, OutputMode::Complete);
    all_functions(Windows::None, OutputMode::Update);
}
