//! Every aggregate function, computed in parts and merged, against one pass over all rows.

use super::*;

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

fn result(call: &str) -> String {
    let query = planned(&format!(
        "SELECT k, {call} AS r FROM t GROUP BY window(ts, '1 hour'), k HAVING k = 'a'"
    ));
    let plan = window_plan(&query);
    let mut reader = reader(&query);
    let mut state = TumblingState::new(plan).unwrap();
    for (round, rows) in rows().iter().enumerate() {
        state.merge(&reader.partial(&batch(rows)).unwrap().rows).unwrap();
        if round % 3 == 2 {
            let delta = state.snapshot().unwrap();
            if round == 8 {
                // Everything through bytes and back.
                let mut all = TumblingState::new(plan).unwrap();
                all.merge(&reader.partial(&batch(&[])).unwrap().rows).unwrap();
                let whole = rewritten(&mut state, &delta);
                let bytes: Vec<&[u8]> = whole.iter().map(Vec::as_slice).collect();
                all.restore(&bytes, delta.watermark, (0, 1)).unwrap();
                state = all;
            }
        }
    }
    let closed = selected(&query, &state.advance(i64::MAX).unwrap());
    assert_eq!(closed.len(), 1, "{call}");
    assert_eq!(closed[0].num_rows(), 1, "{call}");
    arrow::util::display::array_value_to_string(closed[0].column(1), 0).unwrap()
}

/// All state as segments: restoring makes the next snapshot whole.
fn rewritten(state: &mut TumblingState, last: &StateDelta) -> Vec<Vec<u8>> {
    let mut segments = vec![];
    for _ in 0..20 {
        state.rewrite_all();
        let delta = state.snapshot().unwrap();
        assert_eq!(delta.watermark, last.watermark);
        segments = delta.segments.into_iter().map(|segment| segment.bytes).collect();
    }
    segments
}

#[test]
fn every_function_can_be_computed_in_parts() {
    let mut wrong = vec![];
    for (call, expected) in FUNCTIONS {
        let found = result(call);
        if found != *expected {
            wrong.push(format!("{call}: {found}, not {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
