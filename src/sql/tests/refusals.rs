//! What is refused, where it stands, and what is said about it.

use super::*;

#[track_caller]
fn check(sql: &str, location: (usize, usize), parts: &[&str]) {
    let error = refused(sql);
    let text = error.to_string();
    for part in parts {
        assert!(text.contains(part), "{sql}\n{text}\nlacks '{part}'");
    }
    assert_eq!(error.location, Some(location), "{sql}\n{text}");
    assert!(error.hint.is_some(), "no way out is shown: {text}");
}

#[test]
fn what_a_stream_cannot_do() {
    let w = "window(timestamp, '1 minute')";
    check("SELECT ip FROM logs ORDER BY ip", (1, 30), &["ORDER BY", "no end"]);
    check("SELECT ip FROM logs LIMIT 3", (1, 27), &["LIMIT"]);
    check("SELECT DISTINCT ip FROM logs", (1, 1), &["duplicates", "state_ttl"]);
    check(
        "SELECT a.ip FROM logs a JOIN logs b ON a.ip = b.ip",
        (1, 30),
        &["bound on event time", "BETWEEN"],
    );
    check("SELECT 1 AS x FROM logs a, logs b", (1, 28), &["columns that are equal"]);
    check("SELECT ip FROM logs UNION SELECT ip FROM logs", (1, 27), &["UNION without ALL"]);
    check("SELECT ip FROM logs WHERE ip IN (SELECT ip FROM logs)", (1, 27), &["subquery"]);
    check("SELECT (SELECT max(ip) FROM logs) AS x FROM logs", (1, 9), &["subquery"]);
    check("SELECT row_number() OVER (ORDER BY ip) AS n FROM logs", (1, 8), &["OVER"]);
    check("SELECT ip", (1, 1), &["without FROM"]);
    check("INSERT INTO x SELECT ip FROM logs", (1, 1), &["a query is a SELECT"]);
    check(
        &format!("SELECT count(*) AS n FROM logs GROUP BY {w}, ip WITH ROLLUP"),
        (1, 41),
        &["ROLLUP"],
    );
    check(
        &format!("SELECT count(*) AS n FROM logs GROUP BY GROUPING SETS (({w}), (ip))"),
        (1, 57),
        &["GROUPING SETS"],
    );
    check("SELECT ip FROM logs; SELECT ip FROM logs", (1, 22), &["one statement"]);
}

#[test]
fn windows_that_cannot_be() {
    check(
        "SELECT count(*) AS n\nFROM logs\nGROUP BY window(timestamp, '10 seconds', '10 minutes')",
        (3, 42),
        &["slide", "not longer than the window"],
    );
    check("SELECT count(*) AS n FROM logs", (1, 8), &["without a window", "GROUP BY"]);
    check("SELECT ip, count(*) AS n FROM logs GROUP BY ip", (1, 45), &["without a window"]);
    check(
        "SELECT count(*) AS n FROM logs GROUP BY window(timestamp, '1 minute'), \
         window(timestamp, '1 hour')",
        (1, 72),
        &["one window"],
    );
    check(
        "SELECT count(*) AS n FROM logs GROUP BY window(to_timestamp(ip), '1 minute')",
        (1, 41),
        &["expression", "'timestamp'"],
    );
    check(
        "SELECT count(*) AS n FROM logs GROUP BY window(timestamp, '1 month')",
        (1, 59),
        &["fixed length"],
    );
    let error = refused("SELECT count(*) AS n FROM logs GROUP BY window(timestamp, 5)");
    assert!(error.to_string().contains("not a duration"), "{error}");
    check("SELECT window.start AS s, ip FROM logs", (1, 8), &["window(...)"]);
    check(
        "SELECT n, count(*) AS m FROM (SELECT window, ip, count(*) AS n FROM logs \
         GROUP BY window(timestamp, '1 minute'), ip) GROUP BY n",
        (1, 83),
        &["append output mode", "without a window"],
    );
}

#[test]
fn sources_without_watermark_or_event_time() {
    let sql = "SELECT count(*) AS n FROM logs GROUP BY window(timestamp, '1 minute')";
    let error = plan("q", sql, &[SourceTable { watermark_delay_us: None, ..logs() }]).unwrap_err();
    assert!(error.to_string().contains("no watermark"), "{error}");
    assert_eq!(error.location, Some((1, 41)));
    let error = plan("q", sql, &[SourceTable { event_time: None, ..logs() }]).unwrap_err();
    assert!(error.to_string().contains("no event time"), "{error}");
    let other = SourceTable { event_time: Some("ingested_at".to_owned()), ..logs() };
    let error = plan("q", sql, &[other]).unwrap_err();
    assert!(error.to_string().contains("the event time of source 'logs' is 'ingested_at'"));
}

#[test]
fn unknown_names_get_the_nearest() {
    check("SELECT endpiont FROM logs", (1, 8), &["'endpiont'", "did you mean 'endpoint'?"]);
    check("SELECT logs.endpiont FROM logs", (1, 13), &["did you mean 'endpoint'?"]);
    check("SELECT ip FROM longs", (1, 16), &["unknown source 'longs'", "'logs'"]);
    check("SELECT ip FROM elsewhere", (1, 16), &["the sources are logs"]);
    check("SELECT cuont(ip) AS n FROM logs", (1, 8), &["'cuont'", "did you mean 'count'?"]);
    check("SELECT user.di FROM logs", (1, 13), &["'di'", "id"]);
    check("SELECT * EXCEPT (ipp) FROM logs", (1, 18), &["did you mean 'ip'?"]);
    check(
        "SELECT endpoint, count(*) AS n FROM logs GROUP BY window(timestamp, '1 minute')",
        (1, 8),
        &["GROUP BY"],
    );
}

#[test]
fn columns_need_names_that_tables_can_have() {
    check("SELECT count(*) FROM logs", (1, 8), &["no name", "AS"]);
    check("SELECT ip AS `a b` FROM logs", (1, 8), &["cannot be a column's name"]);
    let error = refused("SELECT ip, method AS IP FROM logs");
    assert!(error.to_string().contains("two columns are named"), "{error}");
    let error = refused("SELECT NULL AS x FROM logs");
    assert!(error.to_string().contains("only ever NULL"), "{error}");
    let error = refused("SELECT INTERVAL 1 DAY AS x FROM logs");
    assert!(error.to_string().contains("interval"), "{error}");
}

#[test]
fn syntax_errors_say_where() {
    let error = refused("SELECT ip\nFROM logs WHERE");
    assert!(error.to_string().contains("syntax error"), "{error}");
    let error = refused("SELECT ip FRM logs x");
    assert_eq!(error.location, Some((1, 15)), "{error}");
    assert!(refused("").to_string().contains("empty"));
    assert!(refused("SELECT 'open FROM logs").to_string().contains("syntax error"));
}

#[test]
fn types_that_do_not_go_together() {
    for (sql, part) in [
        ("SELECT hour(status_code) AS x FROM logs", "TIMESTAMP"),
        ("SELECT date_format(timestamp, 'yyyy-QQQQQ') AS x FROM logs", "too wide"),
        ("SELECT date_trunc('minuet', timestamp) AS x FROM logs", "'minuet' is not a unit"),
        ("SELECT regexp_extract(ip, '(', 1) AS x FROM logs", "regular expression"),
        ("SELECT sum(endpoint, ip) AS x FROM logs GROUP BY window(timestamp, '1 minute')", "sum"),
        (
            "SELECT nth_value(ip, 2) AS x FROM logs GROUP BY window(timestamp, '1 minute')",
            "nth_value",
        ),
        (
            "SELECT approx_percentile(bytes, array(0.5, 0.9)) AS x FROM logs GROUP BY \
          window(timestamp, '1 minute')",
            "one call for each",
        ),
        ("SELECT upper() AS x FROM logs", "upper"),
        ("SELECT regexp_extract(ip, '(.)', 2) AS x FROM logs", "has no group 2"),
        ("SELECT regexp_extract(ip, method) AS x FROM logs", "constant"),
    ] {
        let error = refused(sql).to_string();
        assert!(error.contains(part), "{sql}\n{error}");
        assert!(!error.contains("DataFusion") && !error.contains("Internal"), "{error}");
    }
}

proptest::proptest! {
    /// Whatever the text, there is a plan or an error.
    #[test]
    fn any_text_is_planned_or_refused(text in "[ -~]{0,60}") {
        let _ = plan("q", &text, &[logs()]);
        let _ = plan("q", &format!("SELECT {text} AS x FROM logs"), &[logs()]);
    }
}
