//! What independent readers find in the tables.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::config::Pipeline;
use super::events::COLUMNS;
use super::producer::Producer;
use super::python;
use super::readers::Agreement;

/// What the tables are compared with: becomes the tables `events` and `letters`.
pub struct Input<'a> {
    /// NDJSON files, as a glob.
    pub events: String,
    /// Column and DuckDB type.
    pub columns: &'a [(&'a str, &'a str)],
    /// A CSV file: split and offset of what must be dead letters.
    pub letters: Option<PathBuf>,
}

impl Input<'_> {
    /// What a producer has put into its topic.
    fn of(producer: &Producer) -> Self {
        let dir = producer.dir();
        Self {
            events: dir.join("part-*.ndjson").to_string_lossy().into_owned(),
            columns: COLUMNS,
            letters: Some(dir.join("letters.csv")),
        }
    }
}

/// Asks DuckDB about tables below `data`. Rows come as JSON arrays.
pub fn ask(data: &Path, tables: &[&str], queries: &[(&str, &str)]) -> Map<String, Value> {
    query(data, tables, &[], None, queries)
}

/// As [`ask`], with input to compare with, and tables that may not exist.
pub fn query(
    data: &Path,
    tables: &[&str],
    optional: &[&str],
    input: Option<&Input<'_>>,
    queries: &[(&str, &str)],
) -> Map<String, Value> {
    query_in(&[], data, tables, optional, input, queries)
}

/// As [`query`], of tables in an object store with these options.
pub fn query_in(
    storage: &[(String, String)],
    data: &Path,
    tables: &[&str],
    optional: &[&str],
    input: Option<&Input<'_>>,
    queries: &[(&str, &str)],
) -> Map<String, Value> {
    let paths = |names: &[&str]| -> Map<String, Value> {
        names.iter().map(|name| ((*name).to_owned(), json!(data.join(name)))).collect()
    };
    let mut job = json!({
        "tables": paths(tables),
        "optional": paths(optional),
        "queries": queries.iter().map(|(n, sql)| ((*n).to_owned(), json!(sql))).collect::<Map<_, _>>(),
    });
    if !storage.is_empty() {
        job["storage"] = storage.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    }
    if let Some(input) = input {
        job["events"] = json!(input.events);
        let columns = input.columns.iter();
        job["columns"] = columns.map(|(name, kind)| ((*name).to_owned(), json!(kind))).collect();
        job["letters"] = json!(input.letters);
    }
    match python::script("query.py", &job) {
        Value::Object(answers) => answers,
        other => panic!("query.py printed {other}"),
    }
}

/// The one number of a one-row answer.
pub fn number(answers: &Map<String, Value>, name: &str) -> i64 {
    answers[name][0][0].as_i64().unwrap_or_else(|| panic!("{name}: {}", answers[name]))
}

const EVENTS: &str = "epoch_us(timestamp), ip, endpoint, status_code, response_time, bytes, \
                      user_agent, request_id, part, seq";

/// Where the watermark stands when all input has been read: 20 s behind the partition that is
/// furthest back.
const WATERMARK: &str = "(SELECT min(newest) - 20000000 AS time FROM \
     (SELECT max(epoch_us(timestamp)) AS newest FROM events GROUP BY part)))";

/// Each windowed query of the tests' pipeline: the table, its columns, and the same computed from
/// the events by DuckDB.
const WINDOWS: &[(&str, &str, &str)] = &[
    (
        "endpoint_minutes",
        "epoch_us(window_start), epoch_us(window_end), endpoint, requests, errors, avg_rt, \
         min_rt, max_rt, bytes, visitors",
        "SELECT w, w + 60000000, endpoint, count(*), count(*) FILTER (WHERE status_code >= 500), \
         sum(response_time) / count(response_time), min(response_time), max(response_time), \
         sum(bytes)::BIGINT, count(DISTINCT ip) \
         FROM (SELECT *, epoch_us(timestamp) // 60000000 * 60000000 AS w FROM events) \
         GROUP BY w, endpoint HAVING w + 60000000 <= (SELECT time FROM watermark)",
    ),
    (
        "traffic_seconds",
        "epoch_us(window_start), epoch_us(window_end), requests, bytes, avg_rt",
        "SELECT w, w + 10000000, count(*), sum(bytes)::BIGINT, \
         sum(response_time) / count(response_time) \
         FROM (SELECT *, epoch_us(timestamp) // 10000000 * 10000000 AS w FROM events) \
         GROUP BY w HAVING w + 10000000 <= (SELECT time FROM watermark)",
    ),
    (
        "client_minutes",
        "epoch_us(window_start), ip, requests, endpoints, max_bytes",
        "SELECT w, ip, count(*), count(DISTINCT endpoint), max(bytes) \
         FROM (SELECT *, epoch_us(timestamp) // 60000000 * 60000000 AS w FROM events \
               WHERE status_code < 500) \
         GROUP BY w, ip \
         HAVING count(*) > 1 AND w + 60000000 <= (SELECT time FROM watermark)",
    ),
];

/// Asserts that the tables hold every event once, every window as computed from the events, and
/// every broken record once among the dead letters. All input has to be read: run to the end with
/// `--available-now` before. Windows that the watermark has not passed are still open, and must
/// not be there.
pub fn assert_exactly_once(pipeline: &Pipeline, producer: &Producer) {
    assert_rows(pipeline, producer);
    let mut queries = Vec::new();
    for (table, columns, truth) in WINDOWS {
        let found = format!("SELECT {columns} FROM {table}");
        let truth = truth.replace("watermark)", WATERMARK);
        let truth = &*truth;
        for (name, one, other) in [("missing", truth, &*found), ("wrong", &*found, truth)] {
            let all = format!("({one}) EXCEPT ALL ({other})");
            queries.push((format!("{table}: {name}"), format!("SELECT count(*) FROM ({all})")));
            queries
                .push((format!("{table}: {name} (some)"), format!("{all} ORDER BY ALL LIMIT 5")));
        }
        queries.push((format!("{table}: rows"), format!("SELECT count(*) FROM {table}")));
    }
    let queries: Vec<(&str, &str)> = queries.iter().map(|(n, q)| (&**n, &**q)).collect();
    let tables: Vec<&str> = WINDOWS.iter().map(|(table, ..)| *table).collect();
    let (at, input) = (pipeline.tables_at(), Input::of(producer));
    let answers = query_in(&pipeline.storage, &at, &tables, &[], Some(&input), &queries);
    for (table, ..) in WINDOWS {
        let count = |what: &str| number(&answers, &format!("{table}: {what}"));
        println!("{table}: {} windows compared", count("rows"));
        assert!(
            count("missing") == 0 && count("wrong") == 0,
            "{table}: {} rows are missing ({}), {} should not be there ({})",
            count("missing"),
            answers[&format!("{table}: missing (some)")],
            count("wrong"),
            answers[&format!("{table}: wrong (some)")],
        );
        assert!(count("rows") > 0, "{table} is empty");
    }
    // A version of millions of rows takes four readers a while.
    let versions = if producer.produced() > 100_000 { 1 } else { 3 };
    let mut names = vec!["bronze"];
    names.extend(tables);
    Agreement::below(&at, &names).in_store(&pipeline.storage).versions(versions).check();
}

/// Asserts that the bronze table holds every event once, and the dead letters every broken record.
pub fn assert_rows(pipeline: &Pipeline, producer: &Producer) {
    let missing = format!("(SELECT {EVENTS} FROM events) EXCEPT ALL (SELECT {EVENTS} FROM bronze)");
    let extra = format!("(SELECT {EVENTS} FROM bronze) EXCEPT ALL (SELECT {EVENTS} FROM events)");
    const PLACES: &str = "SELECT part, min(seq), max(seq), count(*), count(DISTINCT seq) FROM ";
    let queries = [
        ("rows", "SELECT count(*), count(DISTINCT request_id) FROM bronze".to_owned()),
        ("input", "SELECT count(*) FROM events".to_owned()),
        ("missing", format!("SELECT count(*) FROM ({missing})")),
        ("missing places", "SELECT part, min(seq), max(seq), count(*) FROM (SELECT part, seq FROM events ANTI JOIN bronze USING (part, seq)) GROUP BY part ORDER BY part".to_owned()),
        ("extra", format!("SELECT count(*) FROM ({extra})")),
        ("repeated places", "SELECT part, min(seq), max(seq), count(*) FROM (SELECT part, seq FROM bronze GROUP BY part, seq HAVING count(*) > 1) GROUP BY part ORDER BY part".to_owned()),
        ("partitions", format!("{PLACES} bronze GROUP BY part ORDER BY part")),
        ("truth", format!("{PLACES} events GROUP BY part ORDER BY part")),
        ("wrong directory", "SELECT count(*) FROM bronze WHERE epoch_us(timestamp) // 86400000000 <> epoch_us(date::TIMESTAMP) // 86400000000 OR epoch_us(timestamp) // 3600000000 % 24 <> hour".to_owned()),
        ("letters", "SELECT count(*) FROM dead_letters".to_owned()),
        ("letters missing", "SELECT count(*) FROM (SELECT split, \"offset\" FROM letters EXCEPT ALL SELECT split, \"offset\" FROM dead_letters)".to_owned()),
        ("letters extra", "SELECT count(*) FROM (SELECT split, \"offset\" FROM dead_letters EXCEPT ALL SELECT split, \"offset\" FROM letters)".to_owned()),
        ("letters by reason", "SELECT reason, count(*) FROM dead_letters GROUP BY reason ORDER BY reason".to_owned()),
    ];
    let queries: Vec<(&str, &str)> = queries.iter().map(|(name, sql)| (*name, &**sql)).collect();
    let (at, input) = (pipeline.tables_at(), Input::of(producer));
    let optional = ["dead_letters"];
    let answers = query_in(&pipeline.storage, &at, &["bronze"], &optional, Some(&input), &queries);
    let (found, wanted) = (number(&answers, "rows"), number(&answers, "input"));
    println!("bronze: {found} rows for {wanted} events; {}", answers["partitions"]);
    assert_eq!(wanted as u64, producer.events(), "the test's own books");
    assert!(
        number(&answers, "missing") == 0 && number(&answers, "extra") == 0,
        "{} events are missing ({}: partition, first, last, count); {} rows should not be there ({})",
        number(&answers, "missing"),
        answers["missing places"],
        number(&answers, "extra"),
        answers["repeated places"],
    );
    assert_eq!(answers["rows"][0][1], answers["rows"][0][0], "request ids are unique");
    assert_eq!(answers["partitions"], answers["truth"], "offsets of each partition");
    assert_eq!(number(&answers, "wrong directory"), 0, "rows in the wrong partition of the table");
    if producer.letters() > 0 {
        println!("dead letters: {}", answers["letters by reason"]);
        assert_eq!(number(&answers, "letters") as u64, producer.letters(), "dead letters");
        assert_eq!(number(&answers, "letters missing"), 0, "dead letters at other places");
        assert_eq!(number(&answers, "letters extra"), 0, "dead letters that should not be there");
    } else if !answers["letters"].is_null() {
        assert_eq!(number(&answers, "letters"), 0, "dead letters out of good records");
    }
}
