//! Quality rules in the whole daemon: what is dropped, put aside and counted, and what stops it.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::daemon::{Daemon, millpond};
use crate::support::tables::ask;
use crate::support::{Dir, secs};

const CONFIG: &str = r#"
name = "shop"
data_dir = "DATA"

[sources.sales]
type = "files"
path = "INPUT/*.json"
settle = "0s"
format = { type = "json" }
schema = "id STRING, price DOUBLE, country STRING, at TIMESTAMP"
watermark = { column = "at", delay = "0s" }

[queries.bronze]
sql = "SELECT * FROM sales"
sink = { type = "delta", path = "DATA/bronze" }

[queries.silver]
sql = "SELECT id, upper(country) AS country, price, at FROM bronze WHERE id <> 'filtered'"
sink = { type = "delta", path = "DATA/silver" }

[queries.silver.expect]
has_country = "country IS NOT NULL"
known_country = "country IN ('FR', 'DE') ON VIOLATION DROP ROW"
valid_price = { that = "price > 0", on_violation = "dead_letter" }

[queries.revenue]
sql = """
SELECT window.start AS day, country, sum(price) AS revenue
FROM silver GROUP BY window(at, '1 day'), country
"""
sink = { type = "delta", path = "DATA/revenue" }

[queries.revenue.expect]
small = { that = "revenue < 100", on_violation = "ON_REVENUE" }
"#;

const SALES: &[&str] = &[
    r#"{"id": "a", "price": 10, "country": "fr", "at": "2026-01-01T10:00:00Z"}"#,
    r#"{"id": "b", "price": -1, "country": "fr", "at": "2026-01-01T11:00:00Z"}"#,
    r#"{"id": "filtered", "price": -1, "country": "fr", "at": "2026-01-01T11:00:00Z"}"#,
    r#"not json"#,
    r#"{"id": "c", "price": null, "country": "xx", "at": "2026-01-01T12:00:00Z"}"#,
    r#"{"id": "d", "price": 4, "country": "xx", "at": "2026-01-01T12:00:00Z"}"#,
    r#"{"id": "e", "price": 2.5, "country": null, "at": "2026-01-01T12:00:00Z"}"#,
    r#"{"id": "f", "price": 200, "country": "de", "at": "2026-01-01T13:00:00Z"}"#,
    r#"{"id": "g", "price": 5, "country": "fr", "at": "2026-01-02T13:00:00Z"}"#,
];

/// The pipeline with its input below `dir`; rows of `revenue` above 100 get `on_revenue`.
fn prepare(dir: &Path, on_revenue: &str) -> std::path::PathBuf {
    let (data, input) = (dir.join("data"), dir.join("input"));
    fs::create_dir_all(&input).expect("a directory");
    fs::write(input.join("sales.json"), SALES.join("\n") + "\n").expect("a file");
    let config = dir.join("shop.toml");
    let text = CONFIG
        .replace("DATA", &data.display().to_string())
        .replace("INPUT", &input.display().to_string())
        .replace("ON_REVENUE", on_revenue);
    fs::write(&config, text).expect("a file");
    config
}

fn run(config: &Path, dir: &Path, failpoints: &str) -> Daemon {
    let mut command = millpond();
    command.arg("run").arg(config).args(["--available-now", "--set", "server.enabled=false"]);
    if !failpoints.is_empty() {
        command.env("MILLPOND_FAILPOINTS", failpoints);
    }
    Daemon::spawn(command, dir)
}

const LETTERS: &str = "SELECT source, split, \"offset\", query, reason, decode(payload) \
                       FROM dead_letters WHERE reason NOT LIKE 'json%' AND query IS NOT NULL \
                       ORDER BY query, \"offset\", payload";

fn assert_tables(dir: &Path, with_letters_of_revenue: bool) {
    let data = dir.join("data");
    let answers = ask(
        &data,
        &["bronze", "silver", "revenue", "dead_letters"],
        &[
            ("bronze", "SELECT count(*) FROM bronze"),
            ("silver", "SELECT id FROM silver ORDER BY id"),
            ("revenue", "SELECT country, revenue FROM revenue ORDER BY ALL"),
            ("letters", LETTERS),
            ("undecoded", "SELECT count(*) FROM dead_letters WHERE query IS NULL"),
        ],
    );
    assert_eq!(answers["bronze"], json!([[8]]));
    assert_eq!(answers["silver"], json!([["a"], ["f"], ["g"]]));
    // The window of the last row is still open.
    let mut revenue = vec![json!(["FR", 10.0])];
    if !with_letters_of_revenue {
        revenue.insert(0, json!(["DE", 200.0]));
    }
    assert_eq!(answers["revenue"], Value::Array(revenue));
    assert_eq!(answers["undecoded"], json!([[1]]));
    let letters = answers["letters"].as_array().expect("rows");
    let (of_revenue, of_silver): (Vec<_>, Vec<_>) =
        letters.iter().partition(|letter| letter[3] == "revenue");
    assert_eq!(of_revenue.len(), usize::from(with_letters_of_revenue), "{letters:?}");
    for letter in of_revenue {
        assert_eq!((&letter[0], &letter[1], &letter[2]), (&json!("sales"), &json!(""), &json!(-1)));
        assert_eq!(letter[4], "small");
    }
    // The second line of the first file, and the fifth: beside them stand the lines that were
    // filtered or no JSON at all.
    let short: Vec<_> = of_silver
        .iter()
        .map(|letter| (letter[2].as_i64().expect("an offset") & 0xff_ffff, &letter[4]))
        .collect();
    assert_eq!(short, [(1, &json!("valid_price")), (4, &json!("valid_price"))]);
    assert!(of_silver[0][1].as_str().is_some_and(|split| !split.is_empty()));
    let row: Value = serde_json::from_str(of_silver[0][5].as_str().expect("text")).expect("JSON");
    assert_eq!((&row["id"], &row["price"]), (&json!("b"), &json!(-1.0)));
}

#[test]
fn rows_are_dropped_put_aside_and_counted() {
    let dir = Dir::new();
    let config = prepare(dir.path(), "dead_letter");
    run(&config, dir.path(), "").finish(secs(60));
    assert_tables(dir.path(), true);
}

/// Killed at each step between barrier and mark: what is put aside is put aside once.
#[test]
fn rejected_rows_are_put_aside_once() {
    for point in [
        "delta_committer_prepare=2*off->abort",
        "checkpoint_ledger_durable=abort",
        "delta_committer_commit=1*off->abort",
        "checkpoint_writer_after_write=abort",
    ] {
        let dir = Dir::new();
        let config = prepare(dir.path(), "dead_letter");
        let point = point.replace("abort", "panic(stop)");
        let mut first = run(&config, dir.path(), &point);
        first.wait("it to fail once", secs(40), |daemon| daemon.log().contains("panic"));
        first.kill();
        run(&config, dir.path(), "").finish(secs(60));
        assert_tables(dir.path(), true);
    }
}

#[test]
fn a_violated_rule_stops_the_pipeline_before_anything_is_committed() {
    let dir = Dir::new();
    let config = prepare(dir.path(), "fail");
    let mut daemon = run(&config, dir.path(), "");
    let code = daemon.wait_exit(secs(60));
    let log = daemon.log();
    assert_eq!(code, 1, "{log}");
    for words in ["query 'revenue'", "'small' (revenue < 100)", "\"country\":\"DE\"", "200"] {
        assert!(log.contains(words) || log.contains(&words.replace('"', "\\\"")), "{words}\n{log}");
    }
    // Nothing of that epoch is in any table; the rule is changed, and the same rows are read.
    let config = prepare(dir.path(), "warn");
    run(&config, dir.path(), "").finish(secs(60));
    assert_tables(dir.path(), false);
}
