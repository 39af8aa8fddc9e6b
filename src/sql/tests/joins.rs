//! Joins of streams with tables and with each other.

use super::world::{Extra, World};
use crate::operator::JoinPlan;
use crate::sql::OperatorKind;

const SECOND: i64 = 1_000_000;

#[test]
fn a_stream_looks_up_a_table() {
    for (sql, expected) in [
        (
            "SELECT c.user, country FROM clicks c JOIN users u ON c.user = u.user",
            vec!["ann|at", "bob|be"],
        ),
        (
            "SELECT c.user AS who, u.* FROM clicks c LEFT JOIN users u ON c.user = u.user AND age > 30",
            vec!["-|-|-|-", "ann|-|-|-", "bob|bob|be|40", "cy|-|-|-"],
        ),
        ("SELECT * FROM users JOIN clicks USING (user)", vec!["ann|at|30|0|1", "bob|be|40|1|2"]),
        ("SELECT user, ad FROM clicks LEFT SEMI JOIN users USING (user)", vec!["ann|1", "bob|2"]),
        ("SELECT user, ad FROM clicks LEFT ANTI JOIN users USING (user)", vec!["-|4", "cy|3"]),
        (
            "SELECT ad, country FROM users u RIGHT JOIN clicks c ON u.user = c.user",
            vec!["1|at", "2|be", "3|-", "4|-"],
        ),
        (
            "SELECT ad, country FROM clicks, users WHERE clicks.user = users.user AND ad > 1",
            vec!["2|be"],
        ),
        (
            "SELECT ad, age FROM clicks c JOIN users u ON c.ad * 10 > u.age - 20",
            vec!["1|1", "2|1", "2|30", "3|1", "3|30", "3|40", "4|1", "4|30", "4|40"],
        ),
        (
            "SELECT ad, n FROM clicks c JOIN (SELECT upper(user) AS U, age + 1 AS n FROM users \
             WHERE age > 35) t ON upper(c.user) = t.u",
            vec!["2|41"],
        ),
        ("SELECT user, age FROM clicks NATURAL JOIN users", vec!["ann|30", "bob|40"]),
        ("SELECT ad, age FROM clicks CROSS JOIN users WHERE ad = 1", vec!["1|1", "1|30", "1|40"]),
    ] {
        let mut world = World::usual().query("q", sql);
        world.rows("clicks", "0|ann|1\n1|bob|2\n2|cy|3\n3|-|4");
        let mut out = world.out("q");
        out.sort();
        assert_eq!(out, expected, "{sql}");
        assert!(world.plan("q").operators.is_empty());
        assert_eq!(world.plan("q").tables().into_iter().collect::<Vec<_>>(), ["users"]);
    }
}

#[test]
fn a_reloaded_table_is_seen_by_the_next_batch() {
    let sql = "SELECT ad, country FROM clicks c JOIN users u ON c.user = u.user";
    let mut world = World::usual().query("q", sql);
    assert_eq!(world.rows("clicks", "0|ann|1").out("q"), ["1|at"]);
    world.replace("users", "ann|new|1\nann|newer|2");
    assert_eq!(world.rows("clicks", "1|ann|1").out("q"), ["1|new", "1|newer"]);
    world.replace("users", "");
    assert!(world.rows("clicks", "2|ann|1").out("q").is_empty());
}

#[test]
fn a_joined_stream_is_aggregated_by_its_event_time() {
    let mut world = World::usual().query(
        "q",
        "SELECT country, count(*) AS n FROM clicks JOIN users USING (user) \
         GROUP BY window(ts, '10 seconds'), country",
    );
    world.rows("clicks", "0|ann|1\n1|bob|2\n2|ann|3");
    assert_eq!(world.watermark(10).out("q"), ["at|2", "be|1"]);
}

#[test]
fn joins_with_tables_that_are_not_possible() {
    let world = World::usual();
    for (sql, part) in [
        ("SELECT ad FROM clicks RIGHT JOIN users USING (user)", "not supported"),
        ("SELECT ad FROM clicks FULL JOIN users USING (user)", "not supported"),
        ("SELECT u.age FROM users u JOIN users v ON u.age = v.age", "two tables"),
        ("SELECT age FROM users LEFT SEMI JOIN clicks USING (user)", "stream on the left"),
        (
            "SELECT user FROM clicks UNION ALL SELECT user FROM users",
            "UNION ALL of a stream and a table",
        ),
        ("SELECT max(age) AS m FROM users", "does not stream"),
    ] {
        let error = world.refused(sql, &Extra::default());
        assert!(error.to_string().contains(part), "{sql}\n{error}");
        assert!(error.hint.is_some(), "{error}");
    }
}

#[track_caller]
fn keeps(condition: &str) -> (Option<i64>, Option<i64>) {
    let extra = Extra { ttl: Some(1), ..Extra::default() };
    let sql =
        format!("SELECT a.ad FROM clicks a JOIN impressions b ON a.ad = b.ad AND {condition}");
    let world = World::usual();
    let plan = world.try_plan("q", &sql, &extra).unwrap_or_else(|e| panic!("{sql}\n{e}"));
    let OperatorKind::Join(join) = &plan.operators[0].kind else { panic!("no join") };
    let JoinPlan { left, right, .. } = join.as_ref();
    (left.keep_us.map(|us| us / SECOND), right.keep_us.map(|us| us / SECOND))
}

#[test]
fn bounds_are_found_in_the_condition() {
    for (condition, expected) in [
        ("b.ts BETWEEN a.ts AND a.ts + INTERVAL 60 SECONDS", (Some(60), Some(0))),
        ("a.ts <= b.ts AND b.ts <= a.ts + INTERVAL 1 MINUTE", (Some(60), Some(0))),
        ("a.ts >= b.ts - INTERVAL 1 MINUTE AND a.ts <= b.ts", (Some(60), Some(0))),
        (
            "b.ts - INTERVAL '1 minute' BETWEEN a.ts AND a.ts + INTERVAL 1 HOUR",
            (Some(3660), Some(-60)),
        ),
        ("a.ts = b.ts", (Some(0), Some(0))),
        ("window(a.ts, '10 seconds') = window(b.ts, '10 seconds')", (Some(0), Some(0))),
        ("b.ts >= a.ts", (None, Some(0))),
        ("b.ts <= a.ts + INTERVAL 1 DAY", (Some(86_400), None)),
        ("(b.ts > a.ts OR b.ad > 3)", (None, None)),
        (
            "b.ts + INTERVAL 10 SECONDS >= a.ts AND a.ts + INTERVAL 10 SECONDS >= b.ts",
            (Some(10), Some(10)),
        ),
    ] {
        assert_eq!(keeps(condition), expected, "{condition}");
    }
}

const BOUND: &str = "a.ad = b.ad AND b.ts BETWEEN a.ts AND a.ts + INTERVAL 10 SECONDS";

#[test]
fn two_streams_meet_within_their_bound() {
    let mut world = World::usual()
        .query(
            "inner",
            &format!("SELECT a.user, b.site FROM clicks a JOIN impressions b ON {BOUND}"),
        )
        .query(
            "left",
            &format!("SELECT a.user, b.site FROM clicks a LEFT JOIN impressions b ON {BOUND}"),
        )
        .query(
            "right",
            &format!("SELECT a.user, b.site FROM clicks a RIGHT JOIN impressions b ON {BOUND}"),
        )
        .query(
            "full",
            &format!(
                "SELECT a.user, b.site FROM clicks a FULL OUTER JOIN impressions b ON {BOUND}"
            ),
        )
        .query(
            "semi",
            &format!("SELECT a.user FROM clicks a LEFT SEMI JOIN impressions b ON {BOUND}"),
        )
        .query(
            "comma",
            "SELECT a.user, b.site FROM clicks a, impressions b WHERE a.ad = b.ad AND a.ts <= b.ts \
             AND b.ts <= a.ts + INTERVAL 10 SECONDS AND a.ad < 3",
        );
    world.rows("clicks", "0|ann|1\n1|bob|2\n2|cy|3");
    world.rows("impressions", "5|x|1\n6|y|1\n12|z|2\n7|w|9");
    assert_eq!(world.out("inner"), ["ann|x", "ann|y"]);
    assert_eq!(world.out("comma"), ["ann|x", "ann|y"]);
    assert_eq!(world.out("semi"), ["ann"]);
    world.watermark(40);
    assert_eq!(world.out("left"), ["ann|x", "ann|y", "bob|-", "cy|-"]);
    assert_eq!(world.out("right"), ["-|w", "-|z", "ann|x", "ann|y"]);
    assert_eq!(world.out("full"), ["-|w", "-|z", "ann|x", "ann|y", "bob|-", "cy|-"]);
}

#[test]
fn using_takes_the_value_of_the_side_that_has_one() {
    let using = "USING (ad, ts)";
    let mut world = World::usual()
        .query("full", &format!("SELECT ad, user, site FROM clicks FULL JOIN impressions {using}"))
        .query("star", &format!("SELECT * FROM clicks JOIN impressions {using}"));
    world.rows("clicks", "0|ann|1\n1|bob|2").rows("impressions", "0|x|1\n1|y|3");
    assert_eq!(world.out("star"), ["1|0|ann|x"]);
    assert_eq!(world.end().out("full"), ["1|ann|x", "2|bob|-", "3|-|y"]);
}

#[test]
fn a_stream_meets_itself_and_what_was_aggregated() {
    let mut world = World::usual().query(
        "again",
        "SELECT a.user, a.ts AS first, b.ts AS second FROM clicks a JOIN clicks b \
         ON a.user = b.user AND b.ts > a.ts AND b.ts <= a.ts + INTERVAL 10 SECONDS",
    );
    world.rows("clicks", "0|ann|1\n5|ann|1\n30|ann|1");
    assert_eq!(world.out("again"), ["ann|0|5"]);

    let per5 = |source: &str| {
        format!(
            "SELECT window, ad, count(*) AS n FROM {source} GROUP BY window(ts, '5 seconds'), ad"
        )
    };
    let sql = format!(
        "SELECT a.window.start AS s, a.ad, a.n AS clicks, b.n AS views FROM ({}) a JOIN ({}) b \
         ON a.window = b.window AND a.ad = b.ad",
        per5("clicks"),
        per5("impressions")
    );
    let mut world = World::usual().query("q", &sql);
    world.rows("clicks", "0|ann|1\n1|bob|1\n6|bob|2").rows("impressions", "3|x|1\n4|x|2");
    assert_eq!(world.watermark(5).out("q"), ["0|1|2|1"]);
    assert!(world.end().out("q").is_empty());
    assert_eq!(world.plan("q").operators.len(), 3);
}

#[test]
fn what_was_joined_is_aggregated_behind_the_watermark() {
    let sql = format!(
        "SELECT window.start AS s, count(*) AS n FROM (SELECT a.ts FROM clicks a JOIN impressions b \
         ON {BOUND}) GROUP BY window(ts, '10 seconds')"
    );
    let mut world = World::usual().query("q", &sql);
    world.rows("clicks", "1|ann|1\n2|bob|2").rows("impressions", "1|x|1");
    // A click of second 2 can still be matched by an impression of second 12.
    assert!(world.watermark(11).out("q").is_empty());
    world.rows("impressions", "12|x|2");
    assert_eq!(world.watermark(21).out("q"), ["0|2"]);
}

#[test]
fn joins_that_would_keep_everything_are_refused() {
    let world = World::usual();
    let base = "SELECT a.ad FROM clicks a";
    for (join, part) in [
        ("JOIN impressions b ON a.ad = b.ad", "keep every left row for ever"),
        ("LEFT JOIN impressions b ON a.ad = b.ad", "needs a bound on event time in ON"),
        ("LEFT JOIN impressions b ON a.ad = b.ad WHERE b.ts < a.ts + INTERVAL 1 HOUR", "in ON"),
        ("JOIN impressions b ON b.ts > a.ts", "needs columns that are equal"),
        ("LEFT ANTI JOIN impressions b ON a.ad = b.ad", "anti join"),
        ("CROSS JOIN impressions b", "needs columns that are equal"),
        ("JOIN plain b ON a.ad = b.n", "source 'plain' has none"),
    ] {
        let error = world.refused(&format!("{base} {join}"), &Extra::default());
        assert!(error.to_string().contains(part), "{join}\n{error}");
        assert_eq!(error.location.map(|(line, _)| line), Some(1), "{join}\n{error}");
        assert!(error.hint.is_some(), "{error}");
    }
    let extra = Extra { ttl: Some(60), ..Extra::default() };
    let sql = format!("{base} JOIN impressions b ON a.ad = b.ad");
    let plan = world.try_plan("q", &sql, &extra).unwrap();
    let OperatorKind::Join(join) = &plan.operators[0].kind else { panic!("no join") };
    assert_eq!(join.ttl_us, Some(60 * SECOND));
}
