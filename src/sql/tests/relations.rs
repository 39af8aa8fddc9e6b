//! FROM: names, subqueries, WITH, UNION ALL, other queries, explode.

use super::world::{Extra, World};
use crate::sql::{OutputMode, relations};

#[test]
fn a_union_of_sources_comes_together_by_position() {
    let mut world = World::usual().query(
        "q",
        "SELECT user AS name, ad FROM clicks WHERE ad > 1 \
         UNION ALL SELECT site, ad * 1.5 FROM impressions",
    );
    world.rows("clicks", "0|ann|1\n1|bob|2").rows("impressions", "0|x|4");
    assert_eq!(world.out("q"), ["bob|2.0", "x|6.0"]);
}

#[test]
fn a_union_is_aggregated_as_one_stream() {
    let mut world = World::usual().query(
        "q",
        "SELECT window.end AS e, what, count(*) AS n FROM ( \
           SELECT ts AS at, 'click' AS what FROM clicks \
           UNION ALL SELECT ts, 'view' FROM impressions) \
         GROUP BY window(at, '10 seconds'), what",
    );
    world.rows("clicks", "1|ann|1\n2|bob|2").rows("impressions", "3|x|4\n12|x|4");
    assert!(world.watermark(9).out("q").is_empty());
    assert_eq!(world.watermark(10).out("q"), ["10|click|2", "10|view|1"]);
}

#[test]
fn a_query_reads_another() {
    let mut world = World::usual()
        .query("big", "SELECT ts, user, ad * 10 AS ten FROM clicks WHERE ad > 1")
        .query("named", "SELECT USER AS who, ten + 1 AS x FROM Big WHERE TEN < 100");
    world.rows("clicks", "0|ann|1\n1|bob|2\n2|cy|50");
    assert_eq!(world.out("named"), ["bob|21"]);
    // Only what is needed of it is decoded.
    assert_eq!(world.plan("named").reads("clicks").len(), 0);
    assert_eq!(world.plan("big").reads("clicks").len(), 3);
}

#[test]
fn with_is_written_out_as_often_as_it_is_named() {
    let mut world = World::usual().query(
        "q",
        "WITH a AS (SELECT ad AS x FROM clicks), b (y) AS (SELECT x + 1 FROM a) \
         SELECT y AS z FROM b UNION ALL SELECT x FROM a UNION ALL SELECT t.y * 10 FROM b AS t",
    );
    world.rows("clicks", "0|ann|1");
    assert_eq!(world.out("q"), ["1", "2", "20"]);
    let mut sql = "WITH t0 AS (SELECT ad FROM clicks)".to_owned();
    for level in 1..40 {
        let below = level - 1;
        sql +=
            &format!(", t{level} AS (SELECT ad FROM t{below} UNION ALL SELECT ad FROM t{below})");
    }
    let error = world.refused(&format!("{sql} SELECT ad FROM t39"), &Extra::default());
    assert!(error.to_string().contains("more than 64 tables"), "{error}");
}

#[test]
fn words_are_counted() {
    let mut world = World::usual().query_with(
        "q",
        "SELECT word, count(*) AS count FROM (SELECT explode(split(value, ' ')) AS word FROM words) \
         GROUP BY word ORDER BY count DESC, word LIMIT 2",
        Extra { mode: OutputMode::Complete, ..Extra::default() },
    );
    world.rows("words", "0|hello big world|-|-|-\n0|hello data|-|-|-");
    assert_eq!(world.out("q"), ["hello|2", "big|1"]);
    world.rows("words", "0|data data|-|-|-");
    assert_eq!(world.out("q"), ["data|3", "hello|2"]);
}

#[test]
fn lists_and_maps_are_taken_apart() {
    for (sql, expected) in [
        ("SELECT value, explode(tags) AS tag FROM words", vec!["a|x", "a|y"]),
        ("SELECT value, explode(tags) FROM words", vec!["a|x", "a|y"]),
        ("SELECT value, explode_outer(tags) AS tag FROM words", vec!["a|x", "a|y", "b|-", "c|-"]),
        ("SELECT posexplode(tags) FROM words WHERE value = 'a'", vec!["0|x", "1|y"]),
        ("SELECT posexplode(tags) AS (p, t) FROM words", vec!["0|x", "1|y"]),
        ("SELECT explode(extra) FROM words", vec!["k|1", "l|2"]),
        ("SELECT explode(extra) AS (name, it), value FROM words", vec!["k|1|a", "l|2|a"]),
        ("SELECT value, t.tag FROM words LATERAL VIEW explode(tags) t AS tag", vec!["a|x", "a|y"]),
        (
            "SELECT w.value, tag, pos FROM words w LATERAL VIEW OUTER posexplode(w.tags) t AS pos, tag \
             WHERE tag IS NULL OR pos = 1",
            vec!["a|y|1", "b|-|-", "c|-|-"],
        ),
        (
            "SELECT tag, key FROM words LATERAL VIEW explode(tags) AS tag \
             LATERAL VIEW explode(extra) m AS key, it WHERE it = '1'",
            vec!["x|k", "y|k"],
        ),
        (
            "SELECT concat(tag, '!') AS t FROM (SELECT explode(tags) AS tag FROM words)",
            vec!["x!", "y!"],
        ),
        (
            "SELECT inline(array(named_struct('p', value, 'q', 1))) FROM words WHERE value = 'b'",
            vec!["b|1"],
        ),
    ] {
        let sql = sql.replace("explode(tags) AS tag LATERAL", "explode(tags) t AS tag LATERAL");
        let mut world = World::usual().query("q", &sql);
        world.rows("words", "0|a|x;y|k=1;l=2|7;n\n1|b|-|-|-\n2|c||-|-");
        assert_eq!(world.out("q"), expected, "{sql}");
    }
    let world = World::usual();
    let refused = |sql: &str| world.refused(sql, &Extra::default()).to_string();
    assert!(refused("SELECT explode(value) AS v FROM words").contains("ARRAY or a MAP"));
    assert!(refused("SELECT upper(explode(tags)) AS v FROM words").contains("stands alone"));
    assert!(refused("SELECT explode(tags), explode(tags) AS b FROM words").contains("has one"));
    assert!(refused("SELECT explode(extra) AS k FROM words").contains("2 columns (key, value)"));
    assert!(refused("SELECT value FROM words WHERE explode(tags) = 'x'").contains("stands alone"));
}

#[test]
fn structs_are_taken_apart_by_a_star() {
    let mut world = World::usual()
        .query("all", "SELECT User.*, value FROM words")
        .query("one", "SELECT data.name FROM (SELECT user AS Data FROM words)")
        .query("path", "SELECT w.USER.id, user.NAME AS n FROM words w");
    world.rows("words", "0|a|-|-|7;seven");
    assert_eq!(world.out("all"), ["7|seven|a"]);
    assert_eq!(world.out("one"), ["seven"]);
    assert_eq!(world.out("path"), ["7|seven"]);
    let names: Vec<&str> =
        world.plan("all").output_schema.fields().iter().map(|f| f.name().as_str()).collect();
    assert_eq!(names, ["Id", "Name", "value"]);
}

#[test]
fn an_item_may_use_those_before_it() {
    let mut world = World::usual()
        .query("q", "SELECT ad * 2 AS twice, twice + 1 AS more, more * more AS square FROM clicks");
    world.rows("clicks", "0|ann|3");
    assert_eq!(world.out("q"), ["6|7|49"]);
}

#[test]
fn the_tables_a_query_names_are_known_before_it_is_planned() {
    let sql = "WITH t AS (SELECT * FROM a) SELECT * FROM t JOIN B ON 1 = 1 UNION ALL \
               SELECT * FROM (SELECT * FROM c.d) x";
    assert_eq!(relations(sql).unwrap(), ["a", "B", "c.d"]);
    assert!(relations("DROP TABLE x").is_err());
}

#[test]
fn names_that_are_wrong_or_unclear() {
    let world = World::usual().query("counted", "SELECT ts, ad FROM clicks");
    for (sql, at, parts) in [
        ("SELECT ad FROM clcks", (1, 16), vec!["unknown source, query or table", "'clicks'"]),
        ("SELECT ad FROM countd", (1, 16), vec!["'counted'"]),
        (
            "SELECT a.usr FROM clicks a JOIN users b ON a.user = b.user",
            (1, 10),
            vec!["unknown column 'usr' in 'a'", "'user'"],
        ),
        (
            "SELECT user FROM clicks a JOIN users b ON a.user = b.user",
            (1, 8),
            vec!["in both 'a' and 'b'", "a.user"],
        ),
        ("SELECT c.ad FROM clicks a", (1, 8), vec!["neither a table of FROM nor a column"]),
        ("SELECT ad FROM clicks a JOIN users a ON a.user = a.user", (1, 30), vec!["called 'a'"]),
        ("SELECT ad.* FROM clicks", (1, 8), vec!["neither a table nor a STRUCT"]),
        ("SELECT country FROM users", (0, 0), vec!["reads no source"]),
        ("SELECT ad FROM clicks UNION SELECT ad FROM clicks", (1, 29), vec!["without ALL"]),
        ("SELECT ad FROM clicks INTERSECT SELECT ad FROM clicks", (1, 33), vec!["INTERSECT"]),
        (
            "SELECT ad FROM clicks UNION ALL SELECT user, ad FROM clicks",
            (1, 1),
            vec!["number of columns"],
        ),
    ] {
        let error = world.refused(sql, &Extra::default());
        for part in parts {
            assert!(error.to_string().contains(part), "{sql}\n{error}\nlacks {part}");
        }
        assert_eq!(error.location.unwrap_or((0, 0)), at, "{sql}\n{error}");
    }
}
