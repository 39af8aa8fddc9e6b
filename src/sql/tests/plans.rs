//! What plans say about themselves: columns read, fingerprints, binding.

use super::*;

#[test]
fn only_what_is_needed_is_read() {
    for (sql, reads) in [
        ("SELECT endpoint FROM logs", vec![3]),
        ("SELECT endpoint FROM logs WHERE status_code >= 500", vec![3, 4]),
        ("SELECT count(*) AS n FROM logs GROUP BY window(timestamp, '1 minute')", vec![0]),
        ("SELECT x FROM (SELECT ip AS x, method AS y, * FROM logs)", vec![1]),
        ("SELECT 1 AS one FROM logs", vec![]),
        ("SELECT user.id AS id FROM logs", vec![9]),
    ] {
        assert_eq!(planned(sql).reads("logs"), reads.into_iter().collect(), "{sql}");
    }
}

#[test]
fn columns_are_found_by_name_among_others() {
    let plan = planned("SELECT endpoint, bytes FROM logs WHERE status_code >= 500");
    // The union of several queries' columns.
    let union = few_rows().project(&[1, 3, 4, 6]).unwrap();
    let mut map = plan.feeds[0].bind("q", &union.schema()).unwrap();
    let output = map.apply(&union).unwrap();
    assert_eq!((output.num_rows(), output.num_columns()), (2, 2));
    let without = few_rows().project(&[1, 3]).unwrap();
    let error = plan.feeds[0].bind("q", &without.schema()).err().unwrap().to_string();
    assert!(error.contains("'status_code'") && error.contains("'q'"), "{error}");
}

#[test]
fn rows_without_columns_are_counted() {
    let plan = planned("SELECT 1 AS one FROM logs");
    let output = run(&plan, &[few_rows()]);
    assert_eq!(output[0].num_rows(), 4);
}

fn fingerprint(sql: &str) -> String {
    planned(sql).operators.pop().map_or_else(String::new, |operator| operator.fingerprint)
}

const BASE: &str = "SELECT window.start AS s, endpoint, count(*) AS n, avg(bytes) AS b FROM logs \
    WHERE status_code >= 500 GROUP BY window(timestamp, '1 minute'), endpoint";

#[test]
fn fingerprints_follow_the_state_and_nothing_else() {
    let base = fingerprint(BASE);
    assert_eq!(base, fingerprint(BASE), "the same in every run");
    for same in [
        // spelling, layout, aliases, the SELECT list, HAVING
        "select WINDOW.START s, Endpoint, count(1) N, mean(bytes) as bb\nfrom LOGS\n\
         where Status_Code >= 500 group by window(Timestamp, \"60 seconds\"), endpoint",
        "SELECT endpoint, avg(bytes) * 2 AS b2, count(*) AS n FROM logs l \
         WHERE l.status_code >= 500 GROUP BY window(timestamp, 'interval 1 minute'), endpoint \
         HAVING count(*) > 3",
    ] {
        let differs = fingerprint(same) != base;
        // The order of aggregates is part of the state.
        assert_eq!(differs, same.contains("b2"), "{same}");
    }
    let mut seen = std::collections::HashSet::from([base]);
    for other in [
        BASE.replace("'1 minute'", "'2 minutes'"),
        BASE.replace("'1 minute'", "'1 minute', '1 minute', '10 seconds'"),
        BASE.replace("500", "400"),
        BASE.replace("endpoint", "ip"),
        BASE.replace("avg(bytes)", "avg(response_time_ms)"),
        BASE.replace("count(*)", "count(DISTINCT ip)"),
        BASE.replace("count(*)", "count(*) FILTER (WHERE bytes > 0)"),
        BASE.replace("GROUP BY", "AND bytes > 1 GROUP BY"),
    ] {
        assert!(seen.insert(fingerprint(&other)), "{other}");
    }
    assert_eq!(
        fingerprint("SELECT ip FROM logs"),
        fingerprint("SELECT endpoint FROM logs WHERE bytes > 3"),
        "without state everything fits"
    );
}

/// A release that changes this makes every checkpoint of a query like it useless: say so in the
/// change log, or keep it.
#[test]
fn fingerprints_are_kept_between_releases() {
    assert_eq!(fingerprint(BASE), "1c0332bdb3e89cc90c03ecfdc6b8c793");
}

#[test]
fn errors_while_running_name_the_query() {
    let plan = planned("SELECT url_decode(concat('%zz', endpoint)) AS x FROM logs");
    let mut map = plan.feeds[0].bind("q", &logs_schema()).unwrap();
    let error = map.apply(&few_rows()).unwrap_err().to_string();
    assert!(error.contains("query 'q'"), "{error}");
}

#[test]
fn what_runs_on_another_thread_can_be_sent_there() {
    fn sendable<T: Send>() {}
    sendable::<QueryPlan>();
    sendable::<crate::sql::BoundMap>();
    sendable::<crate::aggregate::PartialBatch>();
    sendable::<crate::aggregate::TumblingState>();
}

#[test]
fn long_and_deep_queries_are_planned_or_refused() {
    for terms in [10, 500, 2_000, 20_000] {
        let sum = vec!["bytes"; terms].join(" + ");
        let _ = plan("q", &format!("SELECT {sum} AS x FROM logs"), &[logs()]);
        let all = vec!["bytes > 1"; terms].join(" AND ");
        let _ = plan("q", &format!("SELECT ip FROM logs WHERE {all}"), &[logs()]);
        let nested = format!("{}bytes{}", "(".repeat(terms), ")".repeat(terms));
        let _ = plan("q", &format!("SELECT {nested} AS x FROM logs"), &[logs()]);
        let case =
            format!("{}1{}", "CASE WHEN bytes > 1 THEN ".repeat(terms), " END".repeat(terms));
        let _ = plan("q", &format!("SELECT {case} AS x FROM logs"), &[logs()]);
    }
    // The deepest there can be, compiled and run on a thread with an ordinary stack.
    let plan = planned(&format!("SELECT {} AS x FROM logs", vec!["bytes"; 999].join(" + ")));
    assert_eq!(run(&plan, &[few_rows()])[0].num_rows(), 4);
    let plan = planned(&format!(
        "SELECT sum({}) AS x FROM logs GROUP BY window(timestamp, '1 minute')",
        vec!["bytes"; 990].join(" - ")
    ));
    assert_eq!(run(&plan, &[few_rows()]).len(), 2);
}
