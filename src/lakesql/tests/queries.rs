//! Queries and commands on real tables.

use std::time::Duration;

use super::super::{EngineOptions, LakeSqlError, Limits, Session, overview};
use super::{DAY, HOUR, World, lines, web_logs, write};
use crate::catalog::Catalog;

#[tokio::test]
async fn columns_have_sparks_names_and_values_sparks_meaning() {
    let world = World::new().await;
    world
        .gives(
            "SELECT count(*), COUNT(DISTINCT t.ip), Sum(status_code) / 2, 7 DIV 2, 1 / 0, \
             max(t.response_time) FROM web.logs t",
            &[
                "count(1) | count(DISTINCT ip) | (sum(status_code) / 2) | (7 DIV 2) | (1 / 0) | \
                 max(response_time)",
                "5 | 3 | 902.0 | 3 | NULL | 50.0",
            ],
        )
        .await;
    world
        .gives(
            "SELECT CAST('x' AS INT) AS a, '5' + 1 AS b, 'a' || 'b'",
            &["a | b | (a || b)", "NULL | 6.0 | ab"],
        )
        .await;
    // NULLs come first, as in Spark.
    world
        .gives("SELECT * FROM VALUES (2), (NULL), (1) AS t(x) ORDER BY x", &["x", "NULL", "1", "2"])
        .await;
}

#[tokio::test]
async fn joins_subqueries_and_window_functions() {
    let world = World::new().await;
    world
        .gives(
            "SELECT a.endpoint, b.endpoint, a.status_code FROM logs a JOIN logs b \
             ON a.timestamp = b.timestamp AND a.endpoint < b.endpoint",
            &["endpoint | endpoint | status_code", "/a | /c | 500"],
        )
        .await;
    world
        .gives(
            "SELECT endpoint, (SELECT max(status_code) FROM logs i WHERE i.endpoint = o.endpoint) m \
             FROM (SELECT DISTINCT endpoint FROM logs) o \
             WHERE EXISTS (SELECT 1 FROM logs_windowed w WHERE w.endpoint = o.endpoint) \
             AND endpoint NOT IN (SELECT '/b') ORDER BY 1",
            &["endpoint | m", "/a | 500"],
        )
        .await;
    world
        .gives(
            "SELECT endpoint, hour, row_number() OVER w AS n, lag(hour) OVER w AS earlier \
             FROM logs WINDOW w AS (PARTITION BY endpoint ORDER BY timestamp) \
             QUALIFY n > 1 ORDER BY endpoint, n",
            &["endpoint | hour | n | earlier", "/a | 0 | 2 | 23", "/a | 1 | 3 | 0"],
        )
        .await;
    // The table of the name, not the subquery itself.
    world
        .gives(
            "WITH logs AS (SELECT * FROM logs WHERE hour = 1) SELECT count(*) c FROM logs",
            &["c", "2"],
        )
        .await;
    world
        .gives(
            "SELECT endpoint FROM logs UNION SELECT 'x' EXCEPT SELECT '/a' ORDER BY endpoint",
            &["endpoint", "/b", "/c", "x"],
        )
        .await;
    world
        .gives(
            "SELECT hour, count(*) c FROM logs GROUP BY ROLLUP (hour) ORDER BY c DESC, hour",
            &["hour | c", "NULL | 5", "0 | 2", "1 | 2", "23 | 1"],
        )
        .await;
    world
        .gives("SELECT web.logs.hour FROM web.logs WHERE web.logs.hour = 23", &["hour", "23"])
        .await;
}

#[tokio::test]
async fn windows_are_those_of_streams() {
    let world = World::new().await;
    world
        .gives(
            "SELECT window.start, count(*) AS c FROM logs GROUP BY window(timestamp, '1 hour') \
             ORDER BY 1",
            &[
                "start | c",
                "2026-11-20 23:00:00 | 1",
                "2026-11-21 00:00:00 | 2",
                "2026-11-21 01:00:00 | 2",
            ],
        )
        .await;
    world
        .gives(
            "SELECT window.start, ip, count(*) AS c FROM logs WHERE hour = 1 \
             GROUP BY ip, window(timestamp, '2 hours', '1 hour') ORDER BY start",
            &[
                "start | ip | c",
                "2026-11-21 00:00:00 | 1.1.1.3 | 2",
                "2026-11-21 01:00:00 | 1.1.1.3 | 2",
            ],
        )
        .await;
    let error =
        world.fails("SELECT count(*) FROM logs GROUP BY session_window(timestamp, '1 minute')");
    let error = error.await.to_string();
    assert!(error.contains("streaming queries only"), "{error}");
}

/// The README's SQL in seed 000, word for word; the tables are called as there.
#[tokio::test]
async fn the_seeds_sql_runs_as_written() {
    let world = World::new().await;
    let now = crate::event_time::wall_now_us().div_euclid(24 * HOUR) * 24 * HOUR;
    let fresh = web_logs(&[
        (now, "1.1.1.1", "/a", 404, 10.0),
        (now, "1.1.1.2", "/a", 500, 30.0),
        (now - HOUR, "1.1.1.2", "/b", 500, 20.0),
        (now - 48 * HOUR, "1.1.1.2", "/b", 500, 20.0),
    ]);
    write(&world.dir.path().join("later"), &[fresh], &["date", "hour"]).await;
    let seed = |sql: &str| sql.replace("logs \n", "later\n");
    let errors = "SELECT endpoint, COUNT(*) as error_count
FROM logs 
WHERE status_code >= 400 
  AND date >= current_date() - 1
GROUP BY endpoint
ORDER BY error_count DESC";
    world.gives(&seed(errors), &["endpoint | error_count", "/a | 2", "/b | 1"]).await;
    let pattern = "SELECT hour, 
       COUNT(*) as requests,
       AVG(response_time) as avg_response_time,
       COUNT(DISTINCT ip) as unique_visitors
FROM logs 
WHERE date = current_date()
GROUP BY hour
ORDER BY hour";
    world
        .gives(
            &seed(pattern),
            &["hour | requests | avg_response_time | unique_visitors", "0 | 2 | 20.0 | 2"],
        )
        .await;
    // It has no GROUP BY: the plain columns are taken for one, and a notice says so.
    let anomalies = "SELECT window.start, endpoint,
       COUNT(*) as request_count,
       AVG(response_time) as avg_response_time
FROM logs_windowed
WHERE request_count > (
    SELECT AVG(request_count) * 3 
    FROM logs_windowed
)";
    let answer = world.ask(anomalies).await.unwrap();
    assert_eq!(answer.notices, ["no GROUP BY: grouped by window.start, endpoint"]);
    assert_eq!(
        lines(&answer),
        [
            "start | endpoint | request_count | avg_response_time",
            "2026-11-21 00:04:00 | /a | 1 | 50.0",
        ]
    );
    let history = world.ask("DESCRIBE HISTORY logs").await.unwrap();
    assert_eq!(history.rows, 3);
    let detail = world.ask("DESCRIBE DETAIL logs").await.unwrap();
    assert_eq!(detail.rows, 1);
    let optimized = world.ask("OPTIMIZE logs ZORDER BY (endpoint, status_code)").await.unwrap();
    assert_eq!(optimized.rows, 1);
    assert_eq!(world.ask("VACUUM logs RETAIN 168 HOURS").await.unwrap().rows, 1);
    world.gives("SELECT count(*) c FROM logs", &["c", "5"]).await;
}

#[tokio::test]
async fn tables_as_they_were() {
    let world = World::new().await;
    let path = world.dir.path().join("logs");
    let path = path.to_str().unwrap();
    for (from, count) in [
        ("logs", "5"),
        ("logs VERSION AS OF 1", "3"),
        ("logs FOR VERSION AS OF '1'", "3"),
        ("web.logs VERSION AS OF 0", "0"),
        ("logs@v1", "3"),
        ("`logs@v1`", "3"),
        ("logs TIMESTAMP AS OF current_timestamp()", "5"),
        ("logs@99991231235959999 AS l", "5"),
    ] {
        let sql = format!("SELECT count(*) AS c FROM {from}");
        world.gives(&sql, &["c", count]).await;
    }
    world.gives(&format!("SELECT count(*) AS c FROM delta.`{path}`@v1"), &["c", "3"]).await;
    // Two versions side by side.
    world
        .gives(
            "SELECT count(*) c FROM logs n LEFT ANTI JOIN logs VERSION AS OF 1 o \
             ON n.timestamp = o.timestamp AND n.endpoint = o.endpoint",
            &["c", "2"],
        )
        .await;
    let error = world.fails("SELECT 1 FROM logs VERSION AS OF 7").await.to_string();
    assert_eq!(
        error,
        "the table web.logs has no version 7: its newest is 2; DESCRIBE HISTORY lists them"
    );
    let error = world.fails("SELECT 1 FROM logs TIMESTAMP AS OF '2020-01-01'").await.to_string();
    assert!(error.contains("version as of 2020-01-01 00:00:00.000 UTC"), "{error}");
    let error = world.fails("SELECT 1 FROM logs TIMESTAMP AS OF 'yesterday'").await.to_string();
    assert!(error.contains("'yesterday' is not a time"), "{error}");
}

#[tokio::test]
async fn views_last_as_long_as_the_session() {
    let world = World::new().await;
    assert_eq!(
        world
            .ask("CREATE TEMP VIEW errors AS SELECT * FROM logs WHERE status_code >= 400")
            .await
            .unwrap()
            .rows,
        0
    );
    world.gives("SELECT count(*) c FROM errors", &["c", "3"]).await;
    world
        .gives(
            "SELECT e.endpoint, count(*) c FROM Errors e GROUP BY 1 ORDER BY 1",
            &["endpoint | c", "/a | 2", "/b | 1"],
        )
        .await;
    // A view of a view, at a version; and a name of WITH that is one of the view's tables.
    world
        .ask("CREATE OR REPLACE TEMP VIEW old AS SELECT * FROM logs VERSION AS OF 1")
        .await
        .unwrap();
    world
        .ask("CREATE TEMP VIEW both AS SELECT o.ip FROM old o JOIN errors USING (ip)")
        .await
        .unwrap();
    world
        .gives("WITH logs AS (SELECT 1 AS x) SELECT count(*) c FROM both, logs", &["c", "3"])
        .await;
    world
        .gives(
            "SHOW TABLES LIKE '*o*'",
            &[
                "namespace | tableName | isTemporary",
                "web | logs | false",
                "web | logs_windowed | false",
                " | errors | true",
                " | old | true",
                " | both | true",
            ],
        )
        .await;
    let error = world.fails("CREATE TEMP VIEW errors AS SELECT 1 AS x").await.to_string();
    assert!(error.contains("there is a view 'errors' already"), "{error}");
    world.ask("DROP VIEW errors").await.unwrap();
    let error = world.fails("SELECT * FROM errors").await.to_string();
    assert!(error.contains("unknown table 'errors'"), "{error}");
    world.ask("DROP VIEW IF EXISTS errors").await.unwrap();
    let error = world.fails("DROP VIEW bth").await.to_string();
    assert!(error.contains("did you mean 'both'?"), "{error}");
}

#[tokio::test]
async fn commands_say_what_there_is() {
    let world = World::new().await;
    world
        .gives(
            "DESCRIBE logs",
            &[
                "col_name | data_type | comment",
                "timestamp | TIMESTAMP | ",
                "ip | STRING | ",
                "endpoint | STRING | ",
                "status_code | INT | ",
                "response_time | DOUBLE | ",
                "date | DATE | ",
                "hour | INT | ",
                "# Partition Information |  | ",
                "# col_name | data_type | comment",
                "date | DATE | ",
                "hour | INT | ",
            ],
        )
        .await;
    world.gives("SHOW SCHEMAS", &["namespace", "web"]).await;
    world.gives("SHOW FUNCTIONS 'row_n*'", &["function", "row_number"]).await;
    world
        .gives(
            "SHOW COLUMNS IN web.logs_windowed",
            &["col_name", "window", "endpoint", "request_count", "response_time"],
        )
        .await;
    let error = world.fails("SHOW TABLES IN wab").await.to_string();
    assert!(error.contains("did you mean 'web'?"), "{error}");
    // Only the files of one partition are read.
    let plan = world.ask("EXPLAIN ANALYZE SELECT ip FROM logs WHERE hour = 1").await.unwrap();
    let plan = lines(&plan).join("\n");
    assert!(plan.contains("full_filters=[logs.hour = Int32(1)]"), "{plan}");
    assert!(plan.contains("projection=[ip]"), "{plan}");
}

#[tokio::test]
async fn errors_have_places_and_near_names() {
    let world = World::new().await;
    for (sql, at, message) in [
        ("SELECT endpiont FROM logs", (1, 8), "did you mean 'endpoint'?"),
        ("SELECT 1\nFROM log", (2, 6), "did you mean 'web.logs'?"),
        ("SELECT cuont(1) FROM logs", (1, 8), "did you mean 'count'?"),
        ("SELECT ip + 1 FROM logs WHERE", (0, 0), "Expected"),
        ("SELECT 1 FROM web.later", (0, 0), "there is no Delta table"),
        ("SELECT * FROM a.b.c.d", (1, 15), "cannot be the name of a table"),
        ("WITH RECURSIVE x AS (SELECT 1) SELECT * FROM x", (1, 1), "WITH RECURSIVE"),
    ] {
        let error = world.fails(sql).await;
        assert!(error.to_string().contains(message), "{sql}: {error}");
        assert_eq!(error.location().unwrap_or((0, 0)), at, "{sql}: {error}");
        assert!(error.is_usage(), "{sql}: {error}");
    }
    let error = world.fails("SELECT 1; SELECT 2").await.to_string();
    assert!(error.contains("line 1, column 11: there is a second statement"), "{error}");
}

#[tokio::test]
async fn limits_hold() {
    let world = World::new().await;
    let limits = Limits { max_rows: Some(2), ..Limits::default() };
    let some = world.session.execute("SELECT * FROM logs", &limits).await.unwrap();
    assert_eq!((some.rows, some.truncated), (2, true));
    let limits = Limits { max_rows: Some(5), ..Limits::default() };
    let all = world.session.execute("SELECT * FROM logs", &limits).await.unwrap();
    assert_eq!((all.rows, all.truncated), (5, false));
    let limits = Limits { read_only: true, ..Limits::default() };
    for (sql, refused) in [
        ("OPTIMIZE logs", true),
        ("VACUUM logs", true),
        ("VACUUM logs DRY RUN", false),
        ("RESTORE logs TO VERSION AS OF 1", true),
        ("DESCRIBE HISTORY logs", false),
    ] {
        let result = world.session.execute(sql, &limits).await;
        let read_only = matches!(result, Err(LakeSqlError::ReadOnly { .. }));
        assert_eq!(read_only, refused, "{sql}: {result:?}");
    }
    // 5^12 rows: 244 millions.
    let many = "SELECT count(DISTINCT a.ip || l.ip) FROM logs a, logs b, logs c, logs d, logs e, \
                logs f, logs g, logs h, logs i, logs j, logs k, logs l";
    let limits = Limits { timeout: Some(Duration::from_millis(300)), ..Limits::default() };
    match world.session.execute(many, &limits).await {
        Err(LakeSqlError::Timeout(_)) => {}
        other => panic!("{other:?}"),
    }
    // What is dropped does not go on.
    let endless = Limits::default();
    let running = world.session.execute(many, &endless);
    assert!(tokio::time::timeout(Duration::from_millis(50), running).await.is_err());
}

#[tokio::test]
async fn what_does_not_fit_into_memory_is_an_error() {
    let world = World::new().await;
    let options = EngineOptions { threads: 1, memory: 1 << 20, spill: false };
    let session = Session::with_options(world.session.catalog().clone(), &options).unwrap();
    // 5^8 groups.
    let sql = "SELECT a.ip || b.ip || c.ip || d.ip || e.ip || f.ip || g.ip || h.ip AS k, \
               a.endpoint, b.endpoint, c.endpoint, uuid() AS u, count(*) FROM logs a, logs b, \
               logs c, logs d, logs e, logs f, logs g, logs h GROUP BY ALL";
    match session.execute(sql, &Limits::default()).await {
        Err(LakeSqlError::Memory(_)) => {}
        other => panic!("{:?}", other.map(|answer| answer.rows)),
    }
}

#[tokio::test]
async fn a_restored_table_is_as_it_was() {
    let world = World::new().await;
    world
        .gives(
            "RESTORE TABLE logs TO VERSION AS OF 1",
            &[
                "version | restored_version | num_removed_files | num_restored_files",
                "3 | 1 | 1 | 0",
            ],
        )
        .await;
    world.gives("SELECT count(*) c FROM logs", &["c", "3"]).await;
    world.gives("SELECT count(*) c FROM logs@v2", &["c", "5"]).await;
}

#[tokio::test]
async fn a_table_at_a_glance() {
    let world = World::new().await;
    let [logs, _, later] = world.session.catalog().tables() else { panic!("three tables") };
    let seen = overview(logs).await.unwrap().unwrap();
    assert_eq!((seen.version, seen.rows, seen.files), (2, Some(5), 3));
    assert!(seen.bytes > 0 && seen.last_commit.is_some());
    assert_eq!(overview(later).await.unwrap(), None);
}

#[test]
fn a_session_works_where_there_is_no_runtime() {
    let session = Session::new(Catalog::new()).unwrap();
    let answer = session.block_on(session.execute("SELECT 1 AS one", &Limits::default())).unwrap();
    assert_eq!(lines(&answer), ["one", "1"]);
    // A plan as deep as is allowed does not overflow a stack.
    let deep = format!("SELECT {}1 AS x", "1 + ".repeat(900));
    let answer = session.block_on(session.execute(&deep, &Limits::default())).unwrap();
    assert_eq!(lines(&answer), ["x", "901"]);
    let deeper = format!("SELECT {}1 AS x", "1 + ".repeat(2_000));
    assert!(session.block_on(session.execute(&deeper, &Limits::default())).is_err());
    assert_eq!(DAY % (24 * HOUR), 0);
}
