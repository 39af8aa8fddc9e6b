//! `millpond sql` and `millpond table list` on tables that a pipeline has written.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::{Value, json};

use crate::support::daemon::millpond;
use crate::support::tables::ask;
use crate::support::{Dir, python};

/// Web logs in files, kept as they are and counted by minute: what seed 000's SQL is about.
const CONFIG: &str = r#"
name = "weblogs"
data_dir = "DIR/data"
[server]
enabled = false
[logging]
level = "error"
[sources.raw]
type = "files"
path = "DIR/input"
schema = "timestamp TIMESTAMP, ip STRING, endpoint STRING, status_code INT, response_time DOUBLE"
[sources.raw.format]
type = "json"
[sources.raw.watermark]
column = "timestamp"
delay = "1 minute"
[queries.logs]
sql = "SELECT *, CAST(timestamp AS DATE) AS date, hour(timestamp) AS hour FROM raw"
[queries.logs.sink]
type = "delta"
path = "DIR/data/logs"
table = "bronze.logs"
partition_by = ["date", "hour"]
[queries.logs_windowed]
mode = "complete"
sql = "SELECT window, endpoint, count(*) AS request_count, avg(response_time) AS response_time FROM raw GROUP BY window(timestamp, '1 minute'), endpoint"
[queries.logs_windowed.sink]
type = "delta"
path = "DIR/data/logs_windowed"
"#;

const DAY: i64 = 86_400;

struct World {
    dir: Dir,
    config: PathBuf,
}

impl World {
    /// Two runs of the pipeline, so that there are two versions with rows.
    fn new() -> Self {
        let dir = Dir::new();
        let config = dir.path().join("weblogs.toml");
        let text = CONFIG.replace("DIR", &dir.path().display().to_string());
        fs::write(&config, text).expect("a configuration");
        let world = Self { dir, config };
        for part in 0..2 {
            world.events(part);
            let run = millpond()
                .args(["run", "--available-now"])
                .arg(&world.config)
                .output()
                .expect("it starts");
            assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        }
        world
    }

    /// A thousand events of three days around now; every minute of the last has a spike.
    fn events(&self, part: i64) {
        let input = self.dir.path().join("input");
        fs::create_dir_all(&input).expect("a directory");
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .expect("a clock")
            .as_secs() as i64;
        let midnight = now - now.rem_euclid(DAY);
        let mut text = String::new();
        for n in 0..1_000_i64 {
            let spread = (n * 7919 + part * 31) % (3 * DAY);
            let at = if n % 4 == 0 { midnight + 36_000 + n % 7 } else { midnight - DAY + spread };
            let endpoint = ["/home", "/login", "/api/orders", "/search"][(n % 4) as usize];
            let status = [200, 200, 201, 404, 500][(n % 5) as usize];
            let line = json!({
                "timestamp": chrono::DateTime::from_timestamp(at, 0).expect("a time").to_rfc3339(),
                "ip": format!("10.0.{}.{}", n % 3, (n * n) % 50),
                "endpoint": endpoint,
                "status_code": status,
                "response_time": (n % 97) as f64 / 4.0,
            });
            writeln!(text, "{line}").expect("it fits");
        }
        fs::write(input.join(format!("part{part}.json")), text).expect("a file");
    }

    fn command(&self, arguments: &[&str]) -> Output {
        let mut command = millpond();
        command.args(arguments).env("MILLPOND_CONFIG", &self.config);
        command.output().expect("millpond runs")
    }

    fn sql(&self, arguments: &[&str]) -> (i32, String, String) {
        let output = self.command(&[&["sql"], arguments].concat());
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().expect("it ends"), text(&output.stdout), text(&output.stderr))
    }

    /// What it prints, which has to be all right.
    #[track_caller]
    fn prints(&self, arguments: &[&str]) -> String {
        let (code, out, err) = self.sql(arguments);
        assert_eq!(code, 0, "{arguments:?}: {err}");
        out
    }

    /// The rows as arrays, as DuckDB's come.
    #[track_caller]
    fn rows(&self, sql: &str) -> Vec<Vec<Value>> {
        let out = self.prints(&["--format", "json", sql]);
        let rows: Vec<serde_json::Map<String, Value>> =
            serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"));
        rows.into_iter().map(|row| row.into_iter().map(|(_, value)| value).collect()).collect()
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }
}

/// Sums of floating point differ in their last digits with the order of their terms.
fn close(ours: &Value, theirs: &Value) -> bool {
    match (ours.as_f64(), theirs.as_f64()) {
        (Some(ours), Some(theirs)) => (ours - theirs).abs() <= 1e-9 * theirs.abs().max(1.0),
        _ => ours == theirs,
    }
}

#[track_caller]
fn assert_close(ours: &[Vec<Value>], theirs: &Value, what: &str) {
    let theirs = theirs.as_array().expect("rows");
    assert!(!theirs.is_empty(), "{what}: no rows to compare");
    assert_eq!(ours.len(), theirs.len(), "{what}: {ours:?} and not {theirs:?}");
    for (ours, theirs) in ours.iter().zip(theirs) {
        let theirs = theirs.as_array().expect("a row");
        let same = ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(a, b)| close(a, b));
        assert!(same, "{what}: {ours:?} and not {theirs:?}");
    }
}

/// Each query of the seed as it stands there, and what DuckDB's reader of Delta tables gives.
#[test]
fn heavy_the_seeds_queries_give_what_duckdb_gives() {
    let world = World::new();
    let errors = "SELECT endpoint, COUNT(*) as error_count
FROM logs 
WHERE status_code >= 400 
  AND date >= current_date() - 1
GROUP BY endpoint
ORDER BY error_count DESC";
    let pattern = "SELECT hour, 
       COUNT(*) as requests,
       AVG(response_time) as avg_response_time,
       COUNT(DISTINCT ip) as unique_visitors
FROM logs 
WHERE date = current_date()
GROUP BY hour
ORDER BY hour";
    let anomalies = "SELECT window.start, endpoint,
       COUNT(*) as request_count,
       AVG(response_time) as avg_response_time
FROM logs_windowed
WHERE request_count > (
    SELECT AVG(request_count) * 3 
    FROM logs_windowed
)";
    let sliding = "SELECT window.start, ip, count(*) AS n FROM logs
GROUP BY window(timestamp, '10 minutes', '5 minutes'), ip HAVING count(*) > 1
ORDER BY start, ip";
    let joined = "SELECT a.endpoint, b.status_code, count(*) AS n, \
                  rank() OVER (PARTITION BY a.endpoint ORDER BY count(*) DESC) AS r \
                  FROM logs a JOIN logs VERSION AS OF 1 b ON a.ip = b.ip AND a.hour = b.hour \
                  GROUP BY a.endpoint, b.status_code ORDER BY 1, 2";
    // DuckDB's names for days and windows; its delta_scan has no time travel, so the version is
    // asked for by what it holds.
    let stamp = "strftime(timezone('UTC', w), '%Y-%m-%dT%H:%M:%S.000Z')";
    let theirs = ask(
        &world.data(),
        &["logs", "logs_windowed"],
        &[
            (
                "errors",
                "SELECT endpoint, count(*) AS n FROM logs WHERE status_code >= 400 AND date >= \
                 (now() AT TIME ZONE 'UTC')::DATE - 1 GROUP BY endpoint ORDER BY n DESC, endpoint",
            ),
            (
                "pattern",
                "SELECT hour, count(*), avg(response_time), count(DISTINCT ip) FROM logs WHERE \
                 date = (now() AT TIME ZONE 'UTC')::DATE GROUP BY hour ORDER BY hour",
            ),
            (
                "anomalies",
                &format!(
                    "SELECT {stamp}, endpoint, count(*), avg(response_time) FROM (SELECT \
                     \"window\".start AS w, * FROM logs_windowed WHERE request_count > (SELECT \
                     avg(request_count) * 3 FROM logs_windowed)) GROUP BY w, endpoint ORDER BY w, \
                     endpoint"
                ),
            ),
            (
                "sliding",
                &format!(
                    "SELECT {stamp}, ip, count(*) AS n FROM (SELECT ip, to_timestamp(unnest([\
                     epoch(timestamp)::BIGINT // 300 * 300, epoch(timestamp)::BIGINT // 300 * 300 \
                     - 300])) AS w FROM logs) GROUP BY w, ip HAVING count(*) > 1 ORDER BY w, ip"
                ),
            ),
        ],
    );
    let mut ours = world.rows(errors);
    // The order among equals is nobody's.
    ours.sort_by_key(|row| (-row[1].as_i64().unwrap_or(0), row[0].to_string()));
    assert_close(&ours, &theirs["errors"], "errors");
    assert_close(&world.rows(pattern), &theirs["pattern"], "pattern");
    let mut ours = world.rows(anomalies);
    ours.sort_by_key(|row| (row[0].to_string(), row[1].to_string()));
    assert_close(&ours, &theirs["anomalies"], "anomalies");
    assert_close(&world.rows(sliding), &theirs["sliding"], "sliding");
    // Against ourselves: the version's rows written out.
    let other = "SELECT a.endpoint, b.status_code, count(*) AS n, \
                 rank() OVER (PARTITION BY a.endpoint ORDER BY count(*) DESC) AS r \
                 FROM logs a JOIN delta.`PATH`@v1 b ON a.ip = b.ip AND a.hour = b.hour \
                 GROUP BY a.endpoint, b.status_code ORDER BY 1, 2"
        .replace("PATH", &world.data().join("logs").display().to_string());
    assert_eq!(world.rows(joined), world.rows(&other));
}

#[test]
fn heavy_every_format() {
    let world = World::new();
    let sql = "SELECT 1 AS n, 'a,\"b\"' AS text, NULL AS nothing, CAST(2 AS DOUBLE) AS d, \
               TIMESTAMP '2026-11-21 10:00:00' AS at, named_struct('x', 1) AS s UNION ALL \
               SELECT 2, 'c|d', 'x', 0.5, TIMESTAMP '2026-11-21 10:00:00.5', named_struct('x', 2) \
               ORDER BY n";
    assert_eq!(
        world.prints(&[sql]),
        "\
+---+-------+---------+-----+-----------------------+-----+
| n | text  | nothing |   d | at                    | s   |
+---+-------+---------+-----+-----------------------+-----+
| 1 | a,\"b\" | NULL    | 2.0 | 2026-11-21 10:00:00   | {1} |
| 2 | c|d   | x       | 0.5 | 2026-11-21 10:00:00.5 | {2} |
+---+-------+---------+-----+-----------------------+-----+
"
    );
    assert_eq!(
        world.prints(&["--format", "csv", sql]),
        "n,text,nothing,d,at,s\n\
         1,\"a,\"\"b\"\"\",,2.0,2026-11-21T10:00:00.000Z,\"{\"\"x\"\":1}\"\n\
         2,c|d,x,0.5,2026-11-21T10:00:00.500Z,\"{\"\"x\"\":2}\"\n"
    );
    let lines = world.prints(&["--format", "ndjson", sql]);
    assert_eq!(
        lines,
        "{\"n\":1,\"text\":\"a,\\\"b\\\"\",\"nothing\":null,\"d\":2.0,\
         \"at\":\"2026-11-21T10:00:00.000Z\",\"s\":{\"x\":1}}\n\
         {\"n\":2,\"text\":\"c|d\",\"nothing\":\"x\",\"d\":0.5,\
         \"at\":\"2026-11-21T10:00:00.500Z\",\"s\":{\"x\":2}}\n"
    );
    let array: Value =
        serde_json::from_str(&world.prints(&["--format", "json", sql])).expect("JSON");
    let each: Vec<Value> =
        lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(array, Value::from(each));
    assert_eq!(world.prints(&["--format", "json", "SELECT 1 AS a WHERE false"]), "[]\n");
    let markdown = world.prints(&["--format", "markdown", sql]);
    assert!(markdown.contains("| c\\|d"), "{markdown}");
    assert!(markdown.lines().nth(1).is_some_and(|line| line.starts_with("|---")), "{markdown}");

    // A file has all rows, whatever a terminal would show, and replaces what was there.
    let file = world.dir.path().join("out.parquet");
    fs::write(&file, "something else").expect("a file");
    let path = file.to_str().expect("UTF-8");
    let (code, out, err) = world.sql(&[
        "--format",
        "parquet",
        "--output",
        path,
        "--max-rows",
        "1",
        "SELECT * FROM logs",
    ]);
    assert_eq!((code, out.as_str()), (0, ""), "{err}");
    assert!(err.starts_with("2,000 rows ("), "{err}");
    let found = ask(
        &world.data(),
        &["logs"],
        &[
            (
                "file",
                &format!(
                    "SELECT * FROM (SELECT * FROM read_parquet('{path}') EXCEPT SELECT * FROM logs) LIMIT 1"
                ),
            ),
            ("count", &format!("SELECT count(*) FROM read_parquet('{path}')")),
        ],
    );
    assert_eq!(found["file"], json!([]));
    assert_eq!(found["count"], json!([[2000]]));
    let (code, _, err) = world.sql(&["--format", "parquet", "-o", path, "SELECT 1 AS a, 2 AS a"]);
    assert_eq!(code, 1);
    assert!(err.contains("two columns are called 'a'"), "{err}");
    assert!(fs::read_dir(world.dir.path()).expect("a directory").all(|entry| {
        !entry.expect("an entry").file_name().to_string_lossy().ends_with(".partial")
    }));
    let (_, out, err) = world.sql(&["--max-rows", "2", "SELECT ip FROM logs"]);
    assert_eq!(out.lines().count(), 6, "{out}");
    assert!(err.starts_with("the first 2 rows ("), "{err}");

    // Charts.
    let svg = world.dir.path().join("chart.svg");
    let by_hour = "SELECT hour, count(*) AS requests FROM logs GROUP BY hour ORDER BY hour";
    world.prints(&["--plot", svg.to_str().expect("UTF-8"), "-q", by_hour]);
    assert!(fs::read_to_string(&svg).expect("a chart").contains("<svg"));
    let chart = world.prints(&["--plot", by_hour]);
    assert!(chart.lines().count() > 5 && chart.contains("requests"), "{chart}");
    let (code, _, err) = world.sql(&["--plot=x.gif", by_hour]);
    assert_eq!(code, 2);
    assert!(err.contains(".svg or .png"), "{err}");
    let (code, _, err) = world.sql(&["--plot", by_hour, "--y", "request"]);
    assert_eq!(code, 2);
    assert!(err.contains("did you mean 'requests'?"), "{err}");
}

#[test]
fn heavy_tables_are_listed_and_travelled_in() {
    let world = World::new();
    let output = world.command(&["table", "list"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("TABLE "), "{text}");
    assert!(lines[1].starts_with("bronze.logs ") && lines[1].contains("2,000"), "{text}");
    assert!(lines[2].starts_with("weblogs.logs_windowed "), "{text}");
    assert!(lines[3].starts_with("weblogs.dead_letters "), "{text}");
    let output = world.command(&["table", "list", "--json"]);
    let listed: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(listed[0]["name"], "bronze.logs");
    assert_eq!(listed[0]["numRows"], 2_000);
    assert_eq!(listed[0]["writtenBy"], "query logs");
    assert_eq!(listed[0]["exists"], true);
    let without = millpond().args(["table", "list"]).env_remove("MILLPOND_CONFIG").output();
    assert_eq!(without.expect("it runs").status.code(), Some(2));

    // Versions: what each added, and a statement from a file and from standard input.
    let versions = world.rows(
        "SELECT (SELECT count(*) FROM logs) AS now, (SELECT count(*) FROM logs VERSION AS OF 1) AS \
         first, (SELECT count(*) FROM logs@v0) AS none",
    );
    assert_eq!(versions, [[json!(2000), json!(1000), json!(0)]]);
    let file = world.dir.path().join("q.sql");
    fs::write(
        &file,
        "CREATE TEMP VIEW v AS SELECT 1 AS a;\n-- the rows\nSELECT a + 1 AS b FROM v;\n",
    )
    .expect("a file");
    let path = file.to_str().expect("UTF-8");
    assert_eq!(world.prints(&["--format", "csv", "-f", path]), "b\n2\n");
    let mut command = millpond();
    command.args(["sql", "--format", "csv", "-"]).env("MILLPOND_CONFIG", &world.config);
    command.stdin(fs::File::open(&file).expect("the file"));
    let output = command.output().expect("it runs");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "b\n2\n");

    // Errors: the place, what is near, and the status.
    let (code, out, err) = world.sql(&["SELECT 1;\nSELECT endpiont FROM logs"]);
    assert_eq!(code, 2);
    assert!(out.contains("| 1 |"), "what came before has run: {out}");
    assert!(
        err.ends_with(
            "\
error: unknown column 'endpiont' in 'logs'
 --> line 2, column 8
  |
2 | SELECT endpiont FROM logs
  |        ^
  = help: did you mean 'endpoint'?
"
        ),
        "{err}"
    );
    let (code, _, err) = world.sql(&["DELETE FROM logs"]);
    assert_eq!(code, 2);
    assert!(err.contains("DELETE is not done here"), "{err}");
    let (code, _, err) = world.sql(&["--read-only", "OPTIMIZE logs"]);
    assert_eq!(code, 2);
    assert!(err.contains("only reading is allowed"), "{err}");
    let (code, _, err) =
        world.sql(&["--timeout", "1ms", "SELECT count(*) FROM logs a, logs b, logs c"]);
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("took longer than 1 ms"), "{err}");
    // A log that is damaged is said to be, by the name of the file.
    let commit = world.data().join("logs/_delta_log/00000000000000000001.json");
    fs::write(&commit, "{").expect("the commit");
    let (code, _, err) = world.sql(&["SELECT count(*) FROM logs"]);
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("00000000000000000001.json"), "{err}");
}

fn shell(config: &Path, history: &Path, steps: &[Value]) -> (i64, String) {
    let command = millpond();
    let program = command.get_program().to_string_lossy().into_owned();
    let job = json!({
        "command": [program, "sql"],
        "environment": {
            "MILLPOND_CONFIG": config, "MILLPOND_HISTORY": history, "TERM": "xterm",
            "NO_COLOR": "1",
        },
        "steps": steps,
    });
    let result = python::script("shell.py", &job);
    (
        result["status"].as_i64().expect("a status"),
        result["screen"].as_str().expect("a screen").to_owned(),
    )
}

#[test]
fn heavy_the_shell() {
    let world = World::new();
    let history = world.dir.path().join("state/history");
    let kind = |text: &str| json!({ "type": text });
    let wait = |text: &str| json!({ "wait": text });
    let (status, screen) = shell(
        &world.config,
        &history,
        &[
            wait("3 tables known by name"),
            wait("millpond>"),
            // Over two lines, with a table completed.
            kind("SELECT count(*) AS n\rFROM bronze.lo\t;\r"),
            wait("2000"),
            wait("1 row"),
            wait("millpond>"),
            kind("SELECT nonsense FROM logs;\r"),
            wait("unknown column 'nonsense'"),
            wait("millpond>"),
            kind("\\d logs_windowed\r"),
            wait("request_count"),
            wait("millpond>"),
            kind("\\formt csv\r"),
            wait("did you mean \\format?"),
            wait("millpond>"),
            kind("\\timing off\r"),
            wait("timing is off"),
            wait("millpond>"),
            // Ctrl-C stops the query and not the shell.
            kind("SELECT count(*) FROM logs a, logs b, logs c WHERE a.ip || b.ip <> c.ip;\r"),
            json!({ "sleep": 1.0 }),
            kind("\u{3}"),
            wait("cancelled"),
            wait("millpond>"),
            kind("SELECT 'still ' || 'here' AS x;\r"),
            wait("still here"),
            wait("millpond>"),
            kind("\\q\r"),
        ],
    );
    assert_eq!(status, 0, "{screen}");
    let remembered = fs::read_to_string(&history).expect("a history");
    assert!(remembered.contains("still "), "{remembered}");
}
