//! Killed at random moments in the middle of everything a query can hold: sliding and session
//! windows, a deduplication, joins, running groups; and of every kind of sink that is exactly once.
//!
//! Two directories are filled with files while daemons are killed one after the other. What is in
//! the tables, in PostgreSQL and in files at the end is compared with what DuckDB makes of copies
//! of the same files.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::daemon::Daemon;
use crate::support::postgres::Postgres;
use crate::support::random::{Random, hash};
use crate::support::tables::query;
use crate::support::{Dir, millis, secs};

const KILLS: usize = 24;
/// Files, each of which holds one second of event time.
const FILES: u64 = 420;
const ROWS: u64 = 150;
const KEYS: u64 = 40;
/// 2026-01-01T00:00:00Z, in seconds.
const START: u64 = 1_767_225_600;

/// What a row is, as a function of its number: its key, its time in milliseconds, its value.
fn reading(id: u64) -> (u64, u64, u64) {
    let noise = hash(id);
    let (file, row) = (id / ROWS, id % ROWS);
    // Up to two seconds out of order; some keys are silent for a while, so that sessions end.
    let key = if (file / 13) % 3 == 0 { noise % (KEYS / 4) } else { noise % KEYS };
    let time = (START + file) * 1000 + row * 1000 / ROWS;
    (key, time - (noise >> 32) % 2000, (noise >> 16) % 1000)
}

fn reading_line(id: u64) -> String {
    let (key, time, value) = reading(id);
    format!("{{\"id\":{id},\"key\":\"k{key}\",\"ts\":{time},\"v\":{value}}}\n")
}

/// Every second reading is paid for, up to 12 seconds after it. Told in the file of that time.
fn payment(id: u64) -> Option<(u64, String)> {
    let noise = hash(id ^ 0xabcd);
    if !id.is_multiple_of(2) {
        return None;
    }
    let (_, time, _) = reading(id);
    let paid = time + noise % 12_000;
    let line = format!("{{\"id\":{id},\"paid_at\":{paid},\"amount\":{}}}\n", noise >> 40);
    Some(((paid / 1000).saturating_sub(START), line))
}

/// Puts a file where it is read, and a copy where it stays. It appears under its name when it is
/// complete.
fn put(dir: &Path, kind: &str, name: &str, text: &str) {
    let copies = dir.join("truth").join(kind);
    fs::create_dir_all(&copies).expect("a directory");
    fs::write(copies.join(name), text).expect("a copy");
    let waiting = dir.join(format!("{kind}-{name}.tmp"));
    fs::write(&waiting, text).expect("a file");
    fs::rename(&waiting, dir.join("input").join(kind).join(name)).expect("its name");
}

/// Writes all files, some a second; `over` is set when the last is there.
fn feed(dir: PathBuf, over: Arc<AtomicBool>) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let mut payments: Vec<String> = vec![String::new(); FILES as usize + 20];
        for file in 0..FILES {
            let mut text = String::new();
            for id in file * ROWS..(file + 1) * ROWS {
                text.push_str(&reading_line(id));
                // One in ten comes twice, some in the next file.
                if hash(id ^ 0x77).is_multiple_of(10) {
                    text.push_str(&reading_line(id.saturating_sub(hash(id) % ROWS)));
                }
                if let Some((second, line)) = payment(id) {
                    payments[second.max(file) as usize].push_str(&line);
                }
            }
            let name = format!("part-{file:05}.json");
            put(&dir, "readings", &name, &text);
            let paid = std::mem::take(&mut payments[file as usize]);
            put(&dir, "payments", &name, &paid);
            thread::sleep(millis(60));
        }
        let rest: String = payments.concat();
        put(&dir, "payments", "part-90000.json", &rest);
        over.store(true, Ordering::Relaxed);
    })
}

fn pipeline(dir: &Path, postgres: &str) -> String {
    let base = dir.display();
    let mut text = format!(
        r#"
name = "crash_sql"
data_dir = "{base}/data"
trigger = "250ms"
shards = 2

[server]
listen = "127.0.0.1:0"

[sources.readings]
type = "files"
path = "{base}/input/readings"
settle = "0s"
poll_interval = "100ms"
after = {{ archive = "{base}/archive/readings" }}
schema = "id BIGINT, key STRING, ts TIMESTAMP, v BIGINT"
format = {{ type = "json", timestamps = "epoch_millis" }}
watermark = {{ column = "ts", delay = "5 seconds", idle_timeout = "never" }}

[sources.payments]
type = "files"
path = "{base}/input/payments"
settle = "0s"
poll_interval = "100ms"
after = "delete"
schema = "id BIGINT, paid_at TIMESTAMP, amount BIGINT"
format = {{ type = "json", timestamps = "epoch_millis" }}
watermark = {{ column = "paid_at", delay = "5 seconds", idle_timeout = "never" }}
"#
    );
    let delta =
        |name: &str| format!("sink = {{ type = \"delta\", path = \"{base}/data/{name}\" }}");
    let queries = [
        (
            "sliding",
            "append",
            "SELECT window.start AS s, window.end AS e, key, count(*) AS n, sum(v) AS total, \
             count(DISTINCT id) AS ids FROM readings \
             GROUP BY window(ts, '60 seconds', '10 seconds'), key",
        ),
        (
            "sessions",
            "append",
            "SELECT session_window.start AS s, session_window.end AS e, key, count(*) AS n, \
             sum(v) AS total FROM readings GROUP BY session_window(ts, '4 seconds'), key",
        ),
        ("distinct_readings", "append", "SELECT DISTINCT id, key, ts, v FROM readings"),
        (
            "paid",
            "append",
            "SELECT r.id, r.key, r.ts, p.amount FROM distinct_readings r JOIN payments p \
             ON r.id = p.id AND p.paid_at >= r.ts AND p.paid_at <= r.ts + INTERVAL 15 SECONDS",
        ),
        (
            "unpaid",
            "append",
            "SELECT r.id, r.key, p.amount FROM distinct_readings r LEFT JOIN payments p \
             ON r.id = p.id AND p.paid_at >= r.ts AND p.paid_at <= r.ts + INTERVAL 15 SECONDS",
        ),
    ];
    for (name, mode, sql) in queries {
        let sink = delta(name);
        let _ = write!(text, "\n[queries.{name}]\nmode = \"{mode}\"\nsql = \"{sql}\"\n{sink}\n");
    }
    let _ = write!(
        text,
        r#"
[queries.totals]
mode = "update"
sql = "SELECT key, count(*) AS n, sum(v) AS total, max(ts) AS last FROM readings GROUP BY key"

[[queries.totals.sinks]]
type = "postgres"
url = "{postgres}"
table = "totals"
mode = "upsert"

[[queries.totals.sinks]]
type = "delta"
path = "{base}/data/totals"

[queries.events]
sql = "SELECT id, key, ts, v FROM readings WHERE v >= 500"

[[queries.events.sinks]]
type = "files"
path = "{base}/data/events"
format = "ndjson"

[[queries.events.sinks]]
type = "postgres"
url = "{postgres}"
table = "events"
mode = "append"
"#
    );
    text
}

#[test]
fn heavy_windows_joins_and_sinks_count_once_through_24_kills() {
    let dir = Dir::new();
    let mut random = Random::seeded();
    let server = Postgres::start(dir.path(), &[]);
    for kind in ["readings", "payments"] {
        fs::create_dir_all(dir.path().join("input").join(kind)).expect("a directory");
    }
    let config = dir.path().join("pipeline.toml");
    fs::write(&config, pipeline(dir.path(), &server.url())).expect("the configuration");
    let over = Arc::new(AtomicBool::new(false));
    let feeder = feed(dir.path().to_owned(), over.clone());

    let mut kills = 0;
    let mut epochs: Vec<Option<u64>> = Vec::new();
    while kills < KILLS || !over.load(Ordering::Relaxed) {
        let mut daemon = Daemon::run(&config);
        if kills % 4 == 3 {
            thread::sleep(random.between(millis(20), millis(1500)));
        } else {
            daemon.wait("it to be ready", secs(60), |daemon| daemon.is_ready());
            thread::sleep(random.between(Duration::ZERO, millis(1300)));
        }
        epochs.push(daemon.reported("/checkpoint/epoch").and_then(|epoch| epoch.as_u64()));
        thread::sleep(random.between(Duration::ZERO, millis(250)));
        if let Some(status) = daemon.poll_exit() {
            panic!("the daemon ended by itself: {status}");
        }
        daemon.kill();
        kills += 1;
    }
    feeder.join().expect("all files are written");
    println!("epochs at the kills: {epochs:?}");
    let progressed = epochs.windows(2).filter(|pair| pair[0] < pair[1]).count();
    assert!(progressed * 3 >= KILLS, "only {progressed} daemons got further than the one before");

    // An hour later: closes every window and every wait of before.
    let later = (START + 3600) * 1000;
    let end = |key: &str, rest: &str| format!("{{\"id\":-1,\"{key}\":{later},{rest}}}\n");
    put(dir.path(), "readings", "part-99999.json", &end("ts", "\"key\":\"end\",\"v\":0"));
    put(dir.path(), "payments", "part-99999.json", &end("paid_at", "\"amount\":0"));
    Daemon::available_now(&config).finish(secs(120));
    compare(dir.path(), &server);
}

/// Rows of `found` and of `truth` that the other does not have, or has in another number.
fn differences(name: &str, found: &str, truth: &str) -> [(String, String); 2] {
    [("missing", truth, found), ("wrong", found, truth)].map(|(what, one, other)| {
        let sql = format!(
            "WITH d AS (({one}) EXCEPT ALL ({other})) \
             SELECT (SELECT count(*) FROM d), (SELECT list(d) FROM (SELECT * FROM d LIMIT 3) d)::VARCHAR"
        );
        (format!("{name}: {what}"), sql)
    })
}

fn compare(dir: &Path, server: &Postgres) {
    let truth = |kind: &str, columns: &str| {
        format!("read_ndjson('{}/truth/{kind}/*.json', columns={{{columns}}})", dir.display())
    };
    let r = truth("readings", "id: 'BIGINT', key: 'VARCHAR', ts: 'BIGINT', v: 'BIGINT'");
    let r = format!("(SELECT id, key, ts * 1000 AS ts, v FROM {r} WHERE id >= 0)");
    let p = truth("payments", "id: 'BIGINT', paid_at: 'BIGINT', amount: 'BIGINT'");
    let p = format!("(SELECT id, paid_at * 1000 AS paid_at, amount FROM {p} WHERE id >= 0)");
    let distinct = format!("(SELECT DISTINCT id, key, ts, v FROM {r})");
    let matched = "p.paid_at >= r.ts AND p.paid_at <= r.ts + 15000000";
    let mut queries: Vec<(String, String)> = Vec::new();
    queries.extend(differences(
        "sliding",
        "SELECT epoch_us(s), epoch_us(e), key, n, total, ids FROM sliding",
        &format!(
            "SELECT s, s + 60000000, key, count(*), sum(v)::BIGINT, count(DISTINCT id) FROM \
             (SELECT id, key, v, (ts // 10000000 - k) * 10000000 AS s FROM {r}, range(6) t(k)) \
             GROUP BY ALL"
        ),
    ));
    queries.extend(differences(
        "sessions",
        "SELECT epoch_us(s), epoch_us(e), key, n, total FROM sessions",
        &format!(
            "SELECT min(ts), max(ts) + 4000000, key, count(*), sum(v)::BIGINT FROM ( \
               SELECT *, sum(fresh) OVER (PARTITION BY key ORDER BY ts ROWS UNBOUNDED PRECEDING) AS session FROM ( \
                 SELECT *, (ts - lag(ts, 1, -100000000) OVER (PARTITION BY key ORDER BY ts) > 4000000)::INT AS fresh \
                 FROM {r})) \
             GROUP BY key, session"
        ),
    ));
    queries.extend(differences(
        "distinct",
        "SELECT id, key, epoch_us(ts), v FROM distinct_readings WHERE id >= 0",
        &distinct,
    ));
    queries.extend(differences(
        "paid",
        "SELECT id, key, epoch_us(ts), amount FROM paid WHERE id >= 0",
        &format!("SELECT r.id, r.key, r.ts, p.amount FROM {distinct} r JOIN {p} p ON r.id = p.id AND {matched}"),
    ));
    queries.extend(differences(
        "unpaid",
        "SELECT id, key, amount FROM unpaid WHERE id >= 0",
        &format!("SELECT r.id, r.key, p.amount FROM {distinct} r LEFT JOIN {p} p ON r.id = p.id AND {matched}"),
    ));
    let totals = format!("SELECT key, count(*), sum(v)::BIGINT, max(ts) FROM {r} GROUP BY key");
    queries.extend(differences(
        "totals",
        "SELECT key, n, total, epoch_us(last) FROM totals WHERE key <> 'end'",
        &totals,
    ));
    let events = format!("SELECT id, key, v FROM {r} WHERE v >= 500");
    queries.extend(differences(
        "events in files",
        &format!(
            "SELECT id, key, v FROM read_ndjson('{}/data/events/*.json', \
             columns={{id: 'BIGINT', key: 'VARCHAR', v: 'BIGINT'}})",
            dir.display()
        ),
        &events,
    ));
    queries.push(("rows".into(), format!("SELECT count(*) FROM {r}")));
    queries.push(("totals".into(), format!("{totals} ORDER BY key")));
    queries.push((
        "events".into(),
        format!("SELECT count(*), sum(id)::BIGINT, sum(v)::BIGINT FROM ({events})"),
    ));
    let queries: Vec<(&str, &str)> = queries.iter().map(|(n, q)| (&**n, &**q)).collect();
    let tables = ["sliding", "sessions", "distinct_readings", "paid", "unpaid", "totals"];
    let answers = query(&dir.join("data"), &tables, &[], None, &queries);
    for (name, rows) in &answers {
        if name.contains(": ") {
            assert_eq!(rows[0][0], json!(0), "{name}: {}", rows[0][1]);
        }
    }
    assert!(answers["rows"][0][0].as_u64() > Some(FILES * ROWS), "{}", answers["rows"]);
    // PostgreSQL has what DuckDB has counted.
    let text = |rows: &Value| -> Vec<String> {
        let rows = rows.as_array().expect("rows").iter();
        rows.map(|row| {
            let cells = row.as_array().expect("a row").iter();
            cells
                .map(|cell| cell.as_str().map_or_else(|| cell.to_string(), str::to_owned))
                .collect::<Vec<_>>()
                .join("|")
        })
        .collect()
    };
    let found = server.query(
        "SELECT key, n, total, (extract(epoch FROM last) * 1000000)::BIGINT FROM totals \
         WHERE key <> 'end' ORDER BY key COLLATE \"C\"",
    );
    assert_eq!(found.lines().collect::<Vec<_>>(), text(&answers["totals"]));
    let found = server.query("SELECT count(*), sum(id)::BIGINT, sum(v)::BIGINT FROM events");
    assert_eq!(found.lines().collect::<Vec<_>>(), text(&answers["events"]));
    assert!(fs::read_dir(dir.join("input/readings")).expect("the input").next().is_none());
}
