//! Windows of every kind, aggregations over aggregations, output modes, duplicates.

use super::world::{Extra, World, mode};
use crate::sql::{OutputMode, Within};

const CLICKS: &str = "1|ann|1\n4|ann|2\n6|bob|3\n12|ann|4";

#[track_caller]
fn closed(sql: &str, rows: &str) -> Vec<String> {
    let mut world = World::usual().query("q", sql);
    world.rows("clicks", rows).end().out("q")
}

#[test]
fn sliding_windows_in_append_mode() {
    let sql = "SELECT window.start AS s, window.end AS e, count(*) AS n, sum(ad) AS ads FROM clicks \
               GROUP BY window(ts, '10 seconds', '5 seconds', '1 second')";
    assert_eq!(closed(sql, CLICKS), ["-4|6|2|3", "11|21|1|4", "1|11|3|6", "6|16|2|7"]);
    // Outside GROUP BY a row comes once for each window.
    let sql = "SELECT window(ts, '10 seconds', '5 seconds') AS w, user FROM clicks WHERE ad = 1";
    assert_eq!(closed(sql, CLICKS), ["-5..5|ann", "0..10|ann"]);
    let sql = "SELECT w.end AS e, count(*) AS n FROM \
               (SELECT window(ts, '10 seconds', '5 seconds') AS w FROM clicks) GROUP BY w";
    assert_eq!(closed(sql, CLICKS), ["10|3", "15|2", "20|1", "5|2"]);
}

#[test]
fn sessions() {
    let sql = "SELECT session_window.start AS s, session_window.end AS e, user, count(*) AS n \
               FROM clicks GROUP BY session_window(ts, '5 seconds'), user";
    assert_eq!(closed(sql, CLICKS), ["12|17|ann|1", "1|9|ann|2", "6|11|bob|1"]);
    let world = World::usual();
    let error = world.refused(sql, &mode(OutputMode::Update)).to_string();
    assert!(error.contains("session windows are not supported in update"), "{error}");
    let error =
        world.refused("SELECT session_window(ts, '1 second') AS s FROM clicks", &Extra::default());
    assert!(error.to_string().contains("GROUP BY session_window"), "{error}");
    let error = world.refused(
        "SELECT count(*) AS n FROM clicks GROUP BY session_window(ts, CASE WHEN ad > 1 THEN '1 second' END)",
        &Extra::default(),
    );
    assert!(error.to_string().contains("the same for every row"), "{error}");
}

#[test]
fn windows_over_windows_of_a_subquery_or_another_query() {
    let inner = "SELECT window, window.start AS s, window.end AS e, user, count(*) AS n FROM clicks \
                 GROUP BY window(ts, '5 seconds'), user";
    for over in ["window_time(window)", "window", "s"] {
        let sql = format!(
            "SELECT window.start AS s, sum(n) AS n, count(*) AS rows FROM per5 \
             GROUP BY window({over}, '10 seconds')"
        );
        let mut world = World::usual().query("per5", inner).query("per10", &sql);
        world.rows("clicks", CLICKS).watermark(9);
        assert_eq!(world.out("per5"), ["0..5|0|5|ann|2"], "{sql}");
        // The outer window closes with the watermark that closes its last inner one.
        assert_eq!(world.out("per10"), Vec::<String>::new());
        assert_eq!(world.watermark(10).out("per10"), ["0|3|2"], "{sql}");
        assert_eq!(world.end().out("per10"), ["10|1|1"]);
        // In one query.
        let nested = sql.replace("per5", &format!("({inner})"));
        let mut world = World::usual().query("q", &nested);
        world.rows("clicks", CLICKS);
        assert_eq!(world.watermark(10).out("q"), ["0|3|2"], "{nested}");
        assert_eq!(world.plan("q").operators[1].id, "q#2");
        assert_eq!(world.end().out("q"), ["10|1|1"], "{nested}");
    }
    // Where the outer windows do not hold the inner ones whole, the end decides.
    let sql = "SELECT window.start AS s, sum(n) AS n FROM per5 GROUP BY window(e, '7 seconds')";
    let mut world = World::usual().query("per5", inner).query("per7", sql);
    world.rows("clicks", CLICKS);
    assert_eq!(world.end().out("per7"), ["0|2", "14|1", "7|1"]);
    // By its start, an inner window comes after the outer one's end: the operator waits for it.
    let sql = "SELECT window.start AS s, sum(n) AS n FROM per5 GROUP BY window(s, '7 seconds')";
    let mut world = World::usual().query("per5", inner).query("per7", sql);
    world.rows("clicks", CLICKS);
    assert!(world.watermark(7).out("per7").is_empty());
    assert_eq!(world.watermark(12).out("per7"), ["0|3"]);
    assert_eq!(world.end().out("per7"), ["7|1"]);
    let error = World::usual().query("per5", inner).refused(
        "SELECT count(*) AS c FROM per5 GROUP BY window(to_timestamp(user), '10 seconds')",
        &Extra::default(),
    );
    assert!(error.to_string().contains("no watermark"), "{error}");
}

#[test]
fn the_same_windows_again() {
    let inner =
        "SELECT window, user, count(*) AS n FROM clicks GROUP BY window(ts, '5 seconds'), user";
    let sliding = inner.replace("'5 seconds'", "'10 seconds', '5 seconds'");
    let session = inner.replace("window", "session_window").replace("session_session", "session");
    for (inner, expected) in [
        (inner.to_owned(), vec!["0..5|2", "10..15|1", "5..10|1"]),
        (sliding, vec!["-5..5|2", "0..10|2", "10..20|1", "5..15|1"]),
        (session, vec!["1..9|2", "12..17|1", "6..11|1"]),
    ] {
        let name = if inner.contains("session") { "session_window" } else { "window" };
        let sql = format!("SELECT {name} AS w, max(n) AS most FROM ({inner}) GROUP BY {name}");
        let mut world = World::usual().query("q", &sql);
        assert_eq!(world.rows("clicks", CLICKS).end().out("q"), expected, "{sql}");
    }
    // Each window comes out with the watermark that closes it.
    let sql = format!("SELECT window AS w, max(n) AS most FROM ({inner}) GROUP BY window");
    let mut world = World::usual().query("q", &sql);
    assert_eq!(world.rows("clicks", CLICKS).watermark(5).out("q"), ["0..5|2"]);
    // By event time itself.
    let mut world = World::usual().query("q", "SELECT ts, count(*) AS n FROM clicks GROUP BY ts");
    world.rows("clicks", "1|a|1\n1|b|1\n2|a|1");
    assert_eq!(world.watermark(1).out("q"), ["1|2"]);
}

#[test]
fn running_aggregates_need_another_mode() {
    let sql = "SELECT user, count(*) AS n FROM clicks GROUP BY user";
    let error = World::usual().refused(sql, &Extra::default());
    assert!(error.to_string().contains("append output mode is not supported for an aggregation"));
    assert_eq!(error.location, Some((1, 49)));
    let mut world = World::usual().query_with("q", sql, mode(OutputMode::Update));
    assert_eq!(world.rows("clicks", CLICKS).out("q"), ["ann|3", "bob|1"]);
    assert_eq!(world.rows("clicks", "13|bob|1").out("q"), ["bob|2"]);
    assert!(world.out("q").is_empty());
    let mut world = World::usual().query_with("q", sql, mode(OutputMode::Complete));
    world.rows("clicks", CLICKS).out("q");
    assert_eq!(world.rows("clicks", "13|bob|1").out("q"), ["ann|3", "bob|2"]);
}

#[test]
fn windows_without_a_watermark_in_update_and_complete_mode() {
    for shape in ["'5 seconds'", "'5 seconds', '5 seconds'"] {
        let sql = format!(
            "SELECT window.start AS s, count(*) AS n FROM plain GROUP BY window(ts, {shape})"
        );
        for output_mode in [OutputMode::Update, OutputMode::Complete] {
            let mut world = World::usual().query_with("q", &sql, mode(output_mode));
            world.rows("plain", "1|a|1\n2|b|2\n7|c|3\n-|d|4");
            assert_eq!(world.out("q"), ["0|2", "5|1"]);
        }
        let error = World::usual().refused(&sql, &Extra::default());
        assert!(error.to_string().contains("no watermark"), "{error}");
    }
    let sql = "SELECT window.end AS e, count(*) AS n FROM plain \
               GROUP BY window(ts, '10 seconds', '5 seconds')";
    for output_mode in [OutputMode::Update, OutputMode::Complete] {
        let mut world = World::usual().query_with("q", sql, mode(output_mode));
        world.rows("plain", "1|a|1\n7|c|3\n-|d|4");
        assert_eq!(world.out("q"), ["10|2", "15|1", "5|1"], "{output_mode}");
    }
}

#[test]
fn update_mode_shows_what_changed_and_forgets_what_is_over() {
    let sql =
        "SELECT window.start AS s, count(*) AS n FROM clicks GROUP BY window(ts, '5 seconds')";
    let mut world = World::usual().query_with("q", sql, mode(OutputMode::Update));
    assert_eq!(world.rows("clicks", CLICKS).out("q"), ["0|2", "10|1", "5|1"]);
    world.watermark(5).rows("clicks", "3|late|1\n7|in time|1");
    assert_eq!(world.out("q"), ["5|2"]);
    let mut world = World::usual().query_with("q", sql, mode(OutputMode::Complete));
    world.rows("clicks", CLICKS).watermark(100).rows("clicks", "3|never late|1");
    assert_eq!(world.out("q"), ["0|3", "10|1", "5|1"]);
}

#[test]
fn what_modes_do_not_allow() {
    let world = World::usual();
    let windowed =
        "SELECT window.start AS s, count(*) AS n FROM clicks GROUP BY window(ts, '5 seconds')";
    let nested = format!("SELECT s, count(*) AS n FROM ({windowed}) GROUP BY s");
    let join = "SELECT a.ad FROM clicks a JOIN impressions b ON a.ad = b.ad AND a.ts = b.ts";
    let left = join.replace("JOIN", "LEFT JOIN");
    for (sql, output_mode, at, part) in [
        ("SELECT ad FROM clicks", OutputMode::Complete, None, "without an aggregation"),
        (nested.as_str(), OutputMode::Update, Some((1, 92)), "several aggregations"),
        (nested.as_str(), OutputMode::Complete, Some((1, 92)), "several aggregations"),
        (join, OutputMode::Complete, Some((1, 32)), "only in append mode"),
        (left.as_str(), OutputMode::Update, Some((1, 37)), "only in append mode"),
        (
            "SELECT count(*) AS n FROM clicks GROUP BY session_window(ts, '1 second')",
            OutputMode::Append,
            Some((1, 43)),
            "sessions without a key",
        ),
        ("SELECT ad FROM clicks ORDER BY ad", OutputMode::Append, Some((1, 32)), "ORDER BY"),
        ("SELECT ad FROM clicks LIMIT 3", OutputMode::Update, Some((1, 29)), "LIMIT"),
        (
            "SELECT count(*) AS n FROM (SELECT ad FROM clicks ORDER BY ad LIMIT 3)",
            OutputMode::Complete,
            Some((1, 68)),
            "inside a query",
        ),
        (
            "SELECT DISTINCT n FROM (SELECT user, count(*) AS n FROM clicks GROUP BY user)",
            OutputMode::Update,
            Some((1, 1)),
            "every key for ever",
        ),
    ] {
        let error = world.refused(sql, &mode(output_mode));
        assert!(error.to_string().contains(part), "{sql}\n{error}");
        assert_eq!(error.location, at, "{sql}\n{error}");
        assert!(error.hint.is_some(), "{error}");
    }
    let updating = World::usual().query_with("up", windowed, mode(OutputMode::Update));
    let error = updating.refused("SELECT n FROM up", &Extra::default());
    assert!(error.to_string().contains("query 'up' is in update mode"), "{error}");
}

#[test]
fn order_and_limit_of_all_rows() {
    let mut world = World::usual().query_with(
        "q",
        "SELECT upper(user) AS u FROM clicks GROUP BY user ORDER BY count(*) DESC, user NULLS LAST \
         LIMIT 2 OFFSET 1",
        mode(OutputMode::Complete),
    );
    world.rows("clicks", "1|c|1\n2|c|1\n3|b|1\n4|-|1\n5|a|1");
    assert_eq!(world.out("q"), ["A", "B"]);
}

#[test]
fn distinct_rows() {
    let mut world = World::usual().query("q", "SELECT DISTINCT ts, user FROM clicks");
    world.rows("clicks", "1|a|1\n1|a|2\n2|a|1").rows("clicks", "2|a|9\n2|-|1\n2|-|1");
    assert_eq!(world.out("q"), ["1|a", "2|-", "2|a"]);
    let error = World::usual().refused("SELECT DISTINCT user FROM clicks", &Extra::default());
    assert!(error.to_string().contains("every key for ever"), "{error}");
    assert_eq!(error.location, Some((1, 1)));
    // With a time to live it is allowed.
    let extra = Extra { ttl: Some(3_600), ..Extra::default() };
    let mut world = World::usual().query_with("q", "SELECT DISTINCT user FROM clicks", extra);
    assert_eq!(world.rows("clicks", CLICKS).out("q"), ["ann", "bob"]);
}

#[test]
fn dropped_duplicates() {
    let within = |columns, within| Extra { drop: Some((columns, within)), ..Extra::default() };
    let sql = "SELECT user, ad, ts FROM clicks";
    let mut world = World::usual().query_with("q", sql, within("USER, ts", Within::Full));
    world.rows("clicks", "1|a|1\n1|a|2\n2|a|3");
    assert_eq!(world.out("q"), ["a|1|1", "a|3|2"]);
    // Remembered until the watermark has passed by its delay of 10 seconds.
    let mut world = World::usual().query_with("q", sql, within("user", Within::Watermark));
    world.rows("clicks", "1|a|1\n2|a|2");
    assert_eq!(world.out("q"), ["a|1|1"]);
    assert!(world.watermark(10).rows("clicks", "11|a|3").out("q").is_empty());
    assert_eq!(world.watermark(12).rows("clicks", "13|a|4").out("q"), ["a|4|13"]);
    let world = World::usual();
    let error = world.refused(sql, &within("usr", Within::Full)).to_string();
    assert!(error.contains("'usr'") && error.contains("'user'"), "{error}");
    let error = world.refused(sql, &within("user", Within::Full)).to_string();
    assert!(error.contains("state_ttl"), "{error}");
    let error =
        world.refused("SELECT user FROM clicks", &within("", Within::Watermark)).to_string();
    assert!(error.contains("needs event time"), "{error}");
    // And then aggregated, by the query that reads it.
    let mut world = World::usual()
        .query_with("once", sql, within("user", Within::Watermark))
        .query("n", "SELECT count(*) AS n FROM once GROUP BY window(ts, '10 seconds')");
    world.rows("clicks", "1|a|1\n2|a|2\n3|b|3");
    assert_eq!(world.end().out("n"), ["2"]);
}

#[test]
fn every_query_gets_its_own_windows_of_one_source() {
    let mut world = World::usual()
        .query("five", "SELECT count(*) AS n FROM clicks GROUP BY window(ts, '5 seconds')")
        .query("ten", "SELECT count(*) AS n FROM clicks GROUP BY window(ts, '10 seconds')")
        .query("all", "SELECT user FROM clicks");
    world.rows("clicks", CLICKS).watermark(10);
    assert_eq!(world.out("five"), ["1", "2"]);
    assert_eq!(world.out("ten"), ["3"]);
    assert_eq!(world.out("all").len(), 4);
}
