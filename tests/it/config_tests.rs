//! `millpond test` and `millpond explain`, as users run them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;

use crate::support::Dir;
use crate::support::daemon::millpond;

fn config() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config")
}

fn run(arguments: &[&str]) -> (i32, String, String) {
    let mut command = millpond();
    // What examples take from the environment must not be another here.
    for name in ["INPUT_DIR", "LOGS", "POSTGRES_URL", "SOCKET_HOST", "SOCKET_PORT"] {
        command.env_remove(name);
    }
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    let Output { status, stdout, stderr } = command.args(arguments).output().expect("it runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (status.code().expect("it ends by itself"), text(stdout), text(stderr))
}

#[test]
fn the_tests_of_every_shipped_configuration_pass() {
    let mut tests = 0;
    for entry in fs::read_dir(config()).expect("config/") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let (code, out, err) = run(&["test", "--json", &format!("config/{name}")]);
        assert_eq!(code, 0, "{name}: {err}\n{out}");
        let out: Value = serde_json::from_str(&out).expect("JSON");
        assert_eq!(out["failed"], 0, "{name}");
        tests += out["tests"].as_array().expect("tests").len();
        for test in out["tests"].as_array().expect("tests") {
            // Far more than they take; a test that waits for a clock takes seconds.
            let took = test["milliseconds"].as_f64().expect("a number");
            assert!(took < 2_000.0, "{name}: {test}");
        }
    }
    assert!(tests >= 13, "{tests} tests");
}

/// A pipeline with two tests, of which one fails in several ways.
const FAILING: &str = r#"
name = "failing"

[sources.events]
type = "files"
path = "input"
schema = "ts TIMESTAMP, k STRING, v DOUBLE"

[sources.events.format]
type = "json"

[sources.events.watermark]
column = "ts"
delay = "5 seconds"

[queries.sums]
mode = "update"
sql = '''
SELECT window.start AS start, k, count(*) AS n, sum(v) AS total
FROM events GROUP BY window(ts, '10 seconds'), k
'''

[queries.sums.sink]
type = "console"

[[tests]]
name = "what is right"
query = "sums"
batches = [{ input = [{ source = "events", rows = [{ ts = 2026-01-01T00:00:01Z, k = "a", v = 0.1 }, { ts = 2026-01-01T00:00:01Z, k = "a", v = 0.2 }] }] }]
expect = [{ columns = ["k", "total"], rows = [{ k = "a", total = 0.3 }] }]

[[tests]]
name = "what is wrong"
query = "sums"

[[tests.batches]]
[[tests.batches.input]]
source = "events"
lines = [
    '{"ts": "2026-01-01T00:00:01Z", "k": "a", "v": 1}',
    '{"ts": "2026-01-01T00:00:02Z", "k": "b", "v": 2}',
    '{"ts": "2026-01-01T00:00:03Z", "k": "c", "v": "many"}',
    '{"ts": "2026-01-01T00:00:30Z", "k": "d", "v": 4}',
]

[[tests.batches]]
input = [{ source = "events", rows = [{ ts = "2026-01-01T00:00:02Z", k = "b", v = 2 }] }]

[[tests.expect]]
after = 1
columns = ["k", "n", "total"]
rows = [{ k = "a", n = 1, total = 1 }, { k = "b", n = 1, total = 3.5 }, { k = "c", n = 1, total = 3 }]

[[tests.expect]]
after = 2
columns = ["k"]
rows = [{ k = "b" }]
late = 0
"#;

const DIFFERENCE: &str = "\
  sums after batch 1, FILE:55
    - expected, + got
      k | n | total
      a | 1 | 1.0
    - b | 1 | 3.5
    + b | 1 | 2.0
    - c | 1 | 3.0
    + d | 1 | 4.0
    (dead letter of events, REASON)
  sums after batch 2, FILE:60
    - expected, + got
      k
    - b
    late rows: expected 0, got 1
failing: 2 tests, 1 FAILED, 1 passed";

#[test]
fn a_failing_test_shows_what_differs() {
    let dir = Dir::new();
    let path = dir.path().join("failing.toml");
    fs::write(&path, FAILING).expect("the configuration is written");
    let file = path.to_str().expect("UTF-8");
    let (code, out, err) = run(&["test", file]);
    assert_eq!(code, 1, "{err}\n{out}");
    assert!(!out.contains('\x1b'), "no colours where there is no terminal");
    // What takes time, and what the decoder says, is looked at by others.
    let lines: Vec<String> = out
        .replace(file, "FILE")
        .lines()
        .map(|line| match line.split_once("(dead letter of events, ") {
            Some((before, rest)) => {
                assert!(rest.contains('v'), "{rest}");
                format!("{before}(dead letter of events, REASON)")
            }
            None => line.rsplit_once(" (").map_or(line, |(before, _)| before).to_owned(),
        })
        .collect();
    assert_eq!(lines[0], "ok      what is right");
    assert_eq!(lines[1], "FAILED  what is wrong");
    assert_eq!(lines[2..].join("\n"), DIFFERENCE);

    let (code, out, _) = run(&["test", "--json", file]);
    assert_eq!(code, 1);
    let out: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((&out["passed"], &out["failed"]), (&1.into(), &1.into()));
    let failures = out["tests"][1]["failures"].as_array().expect("failures");
    assert_eq!(failures[0]["after"], 1);
    assert_eq!(failures[0]["rows"]["rows"][1]["in"], "expected");
    assert_eq!(failures[1]["counts"][0]["got"], 1);

    let (code, out, _) = run(&["test", file, "--filter", "right"]);
    assert_eq!(code, 0, "{out}");
    assert!(out.contains("1 test, all passed"), "{out}");
    let (code, _, err) = run(&["test", file, "--filter", "rihgt"]);
    assert_eq!(code, 2);
    assert!(err.contains("what is right"), "{err}");
}

#[test]
fn a_test_that_makes_no_sense_is_refused_at_its_place() {
    let dir = Dir::new();
    let path = dir.path().join("failing.toml");
    for (from, to, wanted) in [
        (r#"k = "a", v = 0.1"#, r#"k = "a", w = 0.1"#, "no column 'w'"),
        (r#"k = "a", v = 0.1"#, r#"k = 5, v = 0.1"#, "k: expected a text, got 5"),
        (r#"columns = ["k", "total"], rows"#, r#"columns = ["kk"], rows"#, "kk"),
        (r#"total = 0.3"#, r#"total = "much""#, "total: expected a DOUBLE"),
    ] {
        let text = match to.contains("kk") {
            true => FAILING.replacen(from, to, 1).replacen("k = \"a\", total = 0.3", "kk = 1", 1),
            false => FAILING.replacen(from, to, 1),
        };
        assert_ne!(text, FAILING, "{from}");
        fs::write(&path, text).expect("the configuration is written");
        let (code, out, err) = run(&["test", path.to_str().expect("UTF-8")]);
        assert_eq!(code, 2, "{to}: {out}{err}");
        assert!(err.contains(wanted), "{to}: {err}");
        assert!(err.contains("failing.toml:"), "{to}: {err}");
    }
}

#[test]
fn explain_tells_what_a_configuration_will_do() {
    for (name, expected) in [
        ("clicks", include_str!("explained/clicks.txt")),
        ("sensor_stats", include_str!("explained/sensor_stats.txt")),
    ] {
        let (code, out, err) = run(&["explain", &format!("config/{name}.toml")]);
        assert_eq!(code, 0, "{err}");
        assert_eq!(out, expected, "{name}");
    }
}

#[test]
fn explain_shows_one_query_and_speaks_json() {
    let (code, out, _) = run(&["explain", "config/transactions.toml", "silver"]);
    assert_eq!(code, 0);
    assert!(out.contains("query bronze") && out.contains("query silver"), "what it reads: {out}");
    assert!(!out.contains("query gold"), "{out}");
    assert!(out.contains("exactly once"), "{out}");
    let (code, _, err) = run(&["explain", "config/transactions.toml", "slver"]);
    assert_eq!(code, 2);
    assert!(err.contains("'silver'"), "{err}");
    for entry in fs::read_dir(config()).expect("config/") {
        let path = entry.expect("an entry").path();
        let (code, out, err) = run(&["explain", "--json", path.to_str().expect("UTF-8")]);
        assert_eq!(code, 0, "{}: {err}", path.display());
        let out: Value = serde_json::from_str(&out).expect("JSON");
        for query in out["queries"].as_array().expect("queries") {
            assert!(query["inputs"].is_array(), "{query}");
            for sink in query["sinks"].as_array().expect("sinks") {
                assert!(sink["guarantee"].as_str().is_some_and(|g| g.ends_with("once")), "{sink}");
            }
        }
    }
}
