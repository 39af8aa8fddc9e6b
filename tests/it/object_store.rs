//! Tables in an object store: everything that holds on a local disk holds there.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use crate::support::broker::Broker;
use crate::support::config::Pipeline;
use crate::support::daemon::{Daemon, millpond};
use crate::support::events::Shape;
use crate::support::faults::Faults;
use crate::support::object_store::{AZURE_KEY, BUCKET, SECRET, Store, pairs};
use crate::support::producer::Producer;
use crate::support::random::Random;
use crate::support::readers::Agreement;
use crate::support::tables::{assert_exactly_once, query_in};
use crate::support::{Dir, millis, secs};

const PARTITIONS: i32 = 2;

/// The usual pipeline, with all its tables in S3.
fn on_s3(dir: &Path, brokers: &str, store: &Store) -> Pipeline {
    let mut pipeline = Pipeline::new(dir, brokers, "events");
    pipeline.tables = Some(format!("s3://{BUCKET}/tables"));
    pipeline.storage = Store::s3_environment(store.address());
    pipeline
}

#[test]
fn heavy_every_event_counts_once_on_s3_through_kills_and_bad_answers() {
    let dir = Dir::new();
    let mut random = Random::seeded();
    let store = Store::s3(dir.path());
    let faults = Faults::before(store.address());
    let environment = Store::s3_environment(faults.address());
    let broker = Broker::start(dir.path());
    broker.create_topic("events", PARTITIONS);
    let input = dir.path().join("input");
    let shape = Shape { malformed_every: 60, ..Shape::default() };
    let mut producer = Producer::new(broker.address(), "events", PARTITIONS, &input, shape);
    producer.produce(2_000);
    producer.flush();
    let stream = producer.stream(2_000, 16_000);

    let pipeline = on_s3(dir.path(), broker.address(), &store);
    faults.refuse_every(11);
    faults.lose_every(13);
    let config = pipeline.write();
    let mut committed = Vec::new();
    while committed.len() < 3 {
        let mut daemon = Daemon::with(&config, &[], &pairs(&environment));
        daemon.wait("it to be ready", secs(60), |daemon| daemon.is_ready());
        std::thread::sleep(random.between(millis(300), millis(2000)));
        committed.push(daemon.committed_epoch());
        std::thread::sleep(random.between(Duration::ZERO, millis(200)));
        assert_eq!(daemon.poll_exit(), None, "the daemon ended by itself");
        daemon.kill();
    }
    let mut producer = stream.join();
    producer.finish();
    Daemon::with(&config, &["--available-now"], &pairs(&environment)).finish(secs(60));
    let (requests, refused, lost) = faults.counts();
    println!("{requests} requests, {refused} refused, {lost} not answered; epochs {committed:?}");
    assert!(refused > 20 && lost > 20, "the store was too good");
    assert!(committed.iter().flatten().count() >= 2, "no daemon got to work: {committed:?}");
    assert_exactly_once(&pipeline, &producer);
    let letters = ["dead_letters"];
    Agreement::below(&pipeline.tables_at(), &letters).in_store(&pipeline.storage).check();
}

#[test]
fn heavy_an_outage_of_the_store_is_waited_for_and_shown() {
    let dir = Dir::new();
    let store = Store::s3(dir.path());
    let faults = Faults::before(store.address());
    let environment = Store::s3_environment(faults.address());
    let broker = Broker::start(dir.path());
    broker.create_topic("events", PARTITIONS);
    let input = dir.path().join("input");
    let mut producer =
        Producer::new(broker.address(), "events", PARTITIONS, &input, Shape::default());
    producer.produce(500);
    producer.flush();
    let pipeline = on_s3(dir.path(), broker.address(), &store);
    let mut daemon = Daemon::with(&pipeline.write(), &[], &pairs(&environment));
    daemon.wait_ready();
    daemon.wait_caught_up(&producer, secs(30));
    faults.refuse_every(1);
    producer.produce(500);
    producer.flush();
    let retries = |daemon: &Daemon| daemon.metric("millpond_sink_retries_total", &[]);
    daemon.wait("the outage to be counted", secs(30), |daemon| {
        retries(daemon).is_some_and(|count| count >= 2.0)
    });
    let (_, body) = daemon.get("/api/v1/pipelines").expect("the API answers meanwhile");
    assert!(body.contains("SlowDown") || body.contains("InternalError"), "{body}");
    faults.refuse_every(0);
    producer.finish();
    daemon.wait_caught_up(&producer, secs(40));
    let restarts = daemon.metric("millpond_pipeline_restarts_total", &[]).unwrap_or(0.0);
    assert_eq!(restarts, 0.0, "an outage of the store is no fault of the pipeline");
    assert_eq!(daemon.terminate().0, 0);
    assert!(!daemon.log().contains(SECRET), "the secret is in the log");
    Daemon::with(&pipeline.write(), &["--available-now"], &pairs(&environment)).finish(secs(60));
    assert_exactly_once(&pipeline, &producer);
}

#[test]
fn heavy_a_store_without_conditional_put_is_refused_unless_it_is_meant() {
    let dir = Dir::new();
    let store = Store::s3(dir.path());
    let faults = Faults::before(store.address());
    faults.ignore_conditions();
    let environment = Store::s3_environment(faults.address());
    let broker = Broker::start(dir.path());
    broker.create_topic("events", PARTITIONS);
    let input = dir.path().join("input");
    let mut producer =
        Producer::new(broker.address(), "events", PARTITIONS, &input, Shape::default());
    producer.produce(500);
    producer.finish();
    let mut pipeline = on_s3(dir.path(), broker.address(), &store);
    let config = pipeline.write();
    let mut daemon = Daemon::with(&config, &["--available-now"], &pairs(&environment));
    assert_eq!(daemon.wait_exit(secs(30)), 1, "{}", daemon.log());
    let log = daemon.log();
    assert!(log.contains("allow_unsafe_rename") && log.contains("conditional put"), "{log}");

    pipeline.more = "[storage]\nallow_unsafe_rename = true\n".to_owned();
    let config = pipeline.write();
    let log = Daemon::with(&config, &["--available-now"], &pairs(&environment)).finish(secs(60));
    assert!(log.contains("not guarded against other writers"), "{log}");
    assert_exactly_once(&pipeline, &producer);
}

#[test]
fn heavy_what_lacks_to_reach_a_store_is_said() {
    let dir = Dir::new();
    let store = Store::s3(dir.path());
    let broker = Broker::start(dir.path());
    broker.create_topic("events", PARTITIONS);
    let mut pipeline = Pipeline::new(dir.path(), broker.address(), "events");
    pipeline.tables = Some(format!("s3://{BUCKET}/tables"));
    let config = pipeline.write();
    let fails = |environment: &[(&str, &str)], words: &[&str]| {
        let mut daemon = Daemon::with(&config, &["--available-now"], environment);
        let code = daemon.wait_exit(secs(20));
        let log = daemon.log();
        assert_eq!(code, 1, "{log}");
        for word in words {
            assert!(log.contains(word), "{word} is not mentioned in {log}");
        }
        assert!(!log.contains(SECRET), "the secret is in {log}");
    };
    // Nobody is at this address, as on a machine that is not Amazon's.
    let machine = [("AWS_METADATA_ENDPOINT", "http://127.0.0.1:1")];
    fails(&machine, &["AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "s3://lake/tables"]);
    let environment = Store::s3_environment(store.address());
    let without =
        |name: &str| environment.iter().filter(|(n, _)| n != name).cloned().collect::<Vec<_>>();
    fails(&pairs(&without("AWS_ALLOW_HTTP")), &["allow_http"]);
    fails(&pairs(&without("AWS_SECRET_ACCESS_KEY")), &["SecretAccessKey"]);
    pipeline.tables = Some("s3://no-such-bucket/tables".to_owned());
    pipeline.write();
    fails(&pairs(&environment), &["bucket 'no-such-bucket' does not exist"]);
}

/// A daemon on a configuration of its own, with `body` after the usual beginning.
fn written(dir: &Path, name: &str, body: &str) -> PathBuf {
    let path = dir.join(format!("{name}.toml"));
    let text = format!(
        "name = \"{name}\"\ndata_dir = \"{}\"\n\n[server]\nlisten = \"127.0.0.1:0\"\n{body}",
        dir.join(name).display()
    );
    std::fs::write(&path, text).expect("the configuration is written");
    path
}

/// The numbers from 0, in files that are read one an epoch, into a table.
fn numbers(dir: &Path, rows: u64, sink: &str) -> String {
    let input = dir.join("input");
    if !input.exists() {
        std::fs::create_dir_all(&input).expect("a directory of input");
        for file in 0..FILES {
            let values = (rows * file / FILES)..(rows * (file + 1) / FILES);
            let lines: String = values.map(|value| format!("{{\"value\": {value}}}\n")).collect();
            let path = input.join(format!("{file:03}.json"));
            std::fs::write(path, lines).expect("a file of input");
        }
    }
    format!(
        r#"
[checkpoint]
interval = "100ms"

[sources.input]
type = "files"
path = "{}"
schema = "value BIGINT"
max_files_per_trigger = 1
settle = "0s"

[sources.input.format]
type = "json"

[queries.numbers]
sql = "SELECT value, value % 7 AS seventh FROM input"
sink = {{ type = "delta", path = "{sink}", partition_by = ["seventh"] }}
"#,
        input.display()
    )
}

/// How many files the input of [`numbers`] is in.
const FILES: u64 = 25;

#[test]
fn heavy_two_daemons_commit_to_one_table_and_lose_no_version() {
    let dir = Dir::new();
    let store = Store::s3(dir.path());
    let environment = Store::s3_environment(store.address());
    let sink = format!("s3://{BUCKET}/shared");
    let daemons: Vec<Daemon> = ["one", "two", "three"]
        .iter()
        .map(|name| {
            let config = written(dir.path(), name, &numbers(dir.path(), 5_000, &sink));
            Daemon::with(&config, &["--available-now"], &pairs(&environment))
        })
        .collect();
    for daemon in daemons {
        daemon.finish(secs(60));
    }
    let found = query_in(
        &environment,
        Path::new(&format!("s3://{BUCKET}")),
        &["shared"],
        &[],
        None,
        &[("rows", "SELECT count(*), count(DISTINCT value), min(value), max(value) FROM shared")],
    );
    assert_eq!(found["rows"][0], json!([15_000, 5_000, 0, 4_999]));
    let rows = Agreement::below(Path::new(&format!("s3://{BUCKET}")), &["shared"])
        .in_store(&environment)
        .check();
    assert_eq!(rows, [15_000]);
}

#[test]
fn heavy_tables_on_s3_are_read_joined_merged_and_replaced() {
    let dir = Dir::new();
    let store = Store::s3(dir.path());
    let environment = Store::s3_environment(store.address());
    let base = format!("s3://{BUCKET}/chain");
    let sink = format!("{base}/numbers");
    let config = written(dir.path(), "numbers", &numbers(dir.path(), 3_000, &sink));
    Daemon::with(&config, &["--available-now"], &pairs(&environment)).finish(secs(40));
    // What was written is read as a stream, and as a table to join with.
    let config = written(
        dir.path(),
        "sums",
        &format!(
            r#"
[checkpoint]
interval = "200ms"

[storage]
connect_timeout = "2s"

[sources.numbers]
type = "delta"
path = "{base}/numbers"
max_files_per_trigger = 20

[tables.known]
type = "delta"
path = "{base}/numbers"
storage = {{ path_style = true }}

[queries.joined]
sql = "SELECT n.value, a.seventh FROM numbers n JOIN known a ON n.value = a.value"
sink = {{ type = "delta", path = "{base}/joined" }}

[queries.sums]
sql = "SELECT seventh, count(*) AS numbers, sum(value) AS total FROM numbers GROUP BY seventh"
mode = "update"
sink = {{ type = "delta", path = "{base}/sums" }}

[queries.whole]
sql = "SELECT seventh, max(value) AS most FROM numbers GROUP BY seventh"
mode = "complete"
sink = {{ type = "delta", path = "{base}/whole" }}
"#
        ),
    );
    // Killed once in the middle of it.
    let mut daemon = Daemon::with(&config, &[], &pairs(&environment));
    daemon.wait("an epoch", secs(40), |daemon| daemon.committed_epoch().is_some_and(|e| e >= 2));
    daemon.kill();
    let log = Daemon::with(&config, &["--available-now"], &pairs(&environment)).finish(secs(60));
    assert!(!log.contains(SECRET), "the secret is in the log");
    let found = query_in(
        &environment,
        Path::new(&base),
        &["joined", "sums", "whole"],
        &[],
        None,
        &[
            (
                "joined",
                "SELECT count(*), count(DISTINCT value), sum(value % 7 - seventh) FROM joined",
            ),
            ("sums", "SELECT count(*), sum(numbers)::BIGINT, sum(total)::BIGINT FROM sums"),
            ("whole", "SELECT count(*), max(most), min(most) FROM whole"),
        ],
    );
    assert_eq!(found["joined"][0], json!([3_000, 3_000, 0]));
    assert_eq!(found["sums"][0], json!([7, 3_000, 4_498_500]));
    assert_eq!(found["whole"][0], json!([7, 2_999, 2_993]));
    Agreement::below(Path::new(&base), &["numbers", "joined", "sums", "whole"])
        .in_store(&environment)
        .check();
    // Upkeep on S3, and what the tables are after it.
    let upkeep = |statement: &str| {
        let mut command = millpond();
        command.args(["sql", statement]).envs(pairs(&environment));
        let done = command.output().expect("millpond runs");
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "{statement}: {said}");
        assert!(!said.contains(SECRET), "the secret is in {said}");
    };
    upkeep(&format!("OPTIMIZE delta.`{base}/numbers`"));
    upkeep(&format!("VACUUM delta.`{base}/numbers`"));
    let rows = Agreement::below(Path::new(&base), &["numbers"]).in_store(&environment).check();
    assert_eq!(rows, [3_000]);
}

#[test]
fn heavy_where_tables_are_is_shown_and_secrets_are_not() {
    let dir = Dir::new();
    let store = Store::s3(dir.path());
    let environment = Store::s3_environment(store.address());
    let sink = format!("s3://{BUCKET}/shown");
    let config = written(dir.path(), "shown", &numbers(dir.path(), 1_000, &sink));
    for subcommand in ["validate", "explain"] {
        let done = millpond()
            .arg(subcommand)
            .arg(&config)
            .envs(pairs(&environment))
            .output()
            .expect("millpond runs");
        let said = String::from_utf8_lossy(&done.stdout).into_owned()
            + &String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{said}");
        assert!(said.contains(&sink), "{subcommand} does not say where the table is: {said}");
        assert!(!said.contains(SECRET), "{said}");
    }
    let mut daemon = Daemon::with(&config, &[], &pairs(&environment));
    daemon.wait_ready();
    daemon.wait_epochs(1, secs(20));
    for path in ["/api/v1/pipelines", "/metrics"] {
        let (status, body) = daemon.get(path).expect("it answers");
        assert_eq!(status, 200);
        assert!(!body.contains(SECRET), "{path}: {body}");
    }
    assert_eq!(daemon.terminate().0, 0);
    assert!(!daemon.log().contains(SECRET));
}

#[test]
fn heavy_every_number_counts_once_on_azure() {
    let dir = Dir::new();
    let store = Store::azure(dir.path());
    let environment = Store::azure_environment(store.address());
    let rows = once(dir.path(), &format!("az://{BUCKET}/tables"), &environment, AZURE_KEY);
    let found = query_in(
        &environment,
        Path::new(&format!("az://{BUCKET}/tables")),
        &["numbers"],
        &[],
        None,
        &[("rows", "SELECT count(*), count(DISTINCT value), max(value) FROM numbers")],
    );
    assert_eq!(found["rows"][0], json!([rows, rows, rows - 1]));
}

/// Google's own client, against a server of S3's protocol behind a proxy that renames the header
/// of the condition: what is in the table is read through S3.
#[test]
fn heavy_every_number_counts_once_with_googles_client() {
    let dir = Dir::new();
    let store = Store::s3(dir.path());
    let renaming = Faults::before(store.address());
    let environment = Store::google_environment(dir.path(), renaming.address());
    let rows = once(dir.path(), &format!("gs://{BUCKET}/tables"), &environment, SECRET);
    let found = query_in(
        &Store::s3_environment(store.address()),
        Path::new(&format!("s3://{BUCKET}/tables")),
        &["numbers"],
        &[],
        None,
        &[("rows", "SELECT count(*), count(DISTINCT value), max(value) FROM numbers")],
    );
    assert_eq!(found["rows"][0], json!([rows, rows, rows - 1]));
}

/// Writes numbers to `base/numbers` with daemons of which all but the last are killed.
fn once(dir: &Path, base: &str, environment: &[(String, String)], secret: &str) -> u64 {
    const ROWS: u64 = 4_000;
    let mut text = numbers(dir, ROWS, &format!("{base}/numbers"));
    // Its address is in the credentials' file; that it is not encrypted has to be allowed.
    if base.starts_with("gs://") {
        text.insert_str(0, "[storage]\nallow_http = true\n");
    }
    let config = written(dir, "numbers", &text);
    let mut random = Random::seeded();
    for _ in 0..2 {
        let mut daemon = Daemon::with(&config, &[], &pairs(environment));
        daemon.wait("an epoch", secs(40), |daemon| daemon.committed_epoch().is_some());
        std::thread::sleep(random.between(Duration::ZERO, millis(300)));
        assert!(!daemon.log().contains(secret), "the secret is in the log");
        daemon.kill();
    }
    let log = Daemon::with(&config, &["--available-now"], &pairs(environment)).finish(secs(60));
    assert!(!log.contains(secret), "the secret is in the log");
    ROWS
}
