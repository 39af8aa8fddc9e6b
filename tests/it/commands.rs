//! The other subcommands, as users run them.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::support::broker::Broker;
use crate::support::config::Pipeline;
use crate::support::daemon::{Daemon, millpond};
use crate::support::tables::{ask, number};
use crate::support::{Dir, secs};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn output(command: &mut Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.output().expect("millpond runs");
    (status.code().expect("it ends by itself"), text(&stdout), text(&stderr))
}

#[test]
fn help_is_there_for_everything() {
    for arguments in [
        &["--help"][..],
        &["run", "--help"],
        &["validate", "--help"],
        &["test", "--help"],
        &["explain", "--help"],
        &["generate", "--help"],
        &["demo", "--help"],
        &["sql", "--help"],
        &["table", "list", "--help"],
    ] {
        let (code, out, _) = output(millpond().args(arguments));
        assert_eq!(code, 0, "{arguments:?}");
        assert!(out.contains("Usage:"), "{arguments:?}: {out}");
    }
    let (code, out, _) = output(millpond().arg("--version"));
    assert_eq!(code, 0);
    assert!(out.contains(env!("CARGO_PKG_VERSION")), "{out}");
    assert_eq!(output(millpond().arg("rnu")).0, 2, "wrong usage");
    assert_eq!(output(&mut millpond()).0, 2, "no subcommand");
    assert_eq!(output(millpond().args(["run", "no-such-file.toml"])).0, 2);
}

#[test]
fn validate_accepts_what_is_shipped() {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    for name in ["demo.toml", "weblogs.toml", "transactions.toml"] {
        for arguments in [&[][..], &["--no-environment"], &["--json"]] {
            let (code, out, err) =
                output(millpond().arg("validate").arg(config.join(name)).args(arguments));
            assert_eq!(code, 0, "{name} {arguments:?}: {err}");
            assert!(!out.is_empty(), "it says what it understood");
            if arguments.contains(&"--json") {
                serde_json::from_str::<serde_json::Value>(&out).expect("JSON");
            }
        }
    }
}

/// Validates the tests' pipeline with one text replaced by another.
fn validate(from: &str, to: &str) -> (i32, String) {
    let dir = Dir::new();
    let pipeline = Pipeline::new(dir.path(), "127.0.0.1:9092", "events");
    let path = pipeline.write();
    let text = fs::read_to_string(&path).expect("the configuration");
    assert!(text.contains(from), "{from:?} is not in the configuration");
    fs::write(&path, text.replacen(from, to, 1)).expect("the configuration is written");
    let (code, out, err) = output(millpond().arg("validate").arg(&path));
    (code, out + &err)
}

#[test]
fn validate_shows_every_mistake_at_its_place() {
    assert_eq!(validate("name = \"it\"", "name = \"it\"").0, 0);
    // What is replaced, by what, and what the message has to contain.
    let mistakes: &[(&str, &str, &[&str])] = &[
        ("[checkpoint]", "[checkpoints]", &["checkpoints", "checkpoint"]),
        ("in_flight = \"32MiB\"", "in_flight = \"32MiBB\"", &["in_flight"]),
        ("shards = 2", "shards = two", &["shards = two"]),
        ("type = \"kafka\"", "type = \"pulsar\"", &["pulsar", "kafka"]),
        ("ip STRING NOT NULL", "ip STRNG NOT NULL", &["STRNG", "STRING"]),
        ("hour(timestamp) AS hour", "hour(timestmp) AS hour", &["timestmp", "timestamp"]),
        ("FROM events\n'''", "FORM events\n'''", &["FORM"]),
        (
            "GROUP BY window(timestamp, '1 minute'), endpoint",
            "GROUP BY window(timestamp, '1 minute', '2 minutes'), endpoint",
            &["2 minutes"],
        ),
        ("GROUP BY window(timestamp, '10 seconds')", "", &["window"]),
        ("HAVING count(*) > 1", "HAVING count(*) > 1 ORDER BY ip", &["ORDER BY"]),
        ("partition_by = [\"date\", \"hour\"]", "partition_by = [\"day\"]", &["day"]),
        ("kind = \"ratio_to_mean\"", "kind = \"ratio_to_median\"", &["ratio_to_median"]),
        ("value = \"requests\"", "value = \"reqests\"", &["reqests"]),
        ("ratio = 3.0", "ration = 3.0", &["ration"]),
        ("\"session.timeout.ms\"", "\"sesion.timeout.ms\"", &["sesion.timeout.ms"]),
        ("column = \"timestamp\"", "column = \"ip\"", &["ip"]),
    ];
    for (from, to, wanted) in mistakes {
        let (code, message) = validate(from, to);
        println!("--- {to}\n{message}");
        assert_eq!(code, 2, "{to}: {message}");
        for word in *wanted {
            assert!(message.contains(word), "{to}: no {word:?} in {message}");
        }
        let place = message.lines().any(|line| line.contains("millpond.toml:"));
        assert!(place, "{to}: no file and line in {message}");
        let caret =
            message.lines().any(|line| line.trim_start_matches([' ', '|']).starts_with('^'));
        assert!(caret, "{to}: no caret in {message}");
    }
}

#[test]
fn validate_leaves_the_environment_alone_if_told_to() {
    let dir = Dir::new();
    let pipeline = Pipeline::new(dir.path(), "${MILLPOND_NO_SUCH_VARIABLE}", "events");
    let path = pipeline.write();
    let (code, _, err) = output(millpond().arg("validate").arg(&path));
    assert_eq!(code, 2);
    assert!(err.contains("MILLPOND_NO_SUCH_VARIABLE"), "{err}");
    let (code, _, err) = output(millpond().args(["validate", "--no-environment"]).arg(&path));
    assert_eq!(code, 0, "{err}");
}

#[test]
fn a_secret_is_never_shown() {
    let dir = Dir::new();
    let mut pipeline = Pipeline::new(dir.path(), "127.0.0.1:1", "events");
    let secret = dir.path().join("password");
    fs::write(&secret, "hunter2-in-a-file\n").expect("a secret");
    pipeline.source_options = format!(
        "\"security.protocol\" = \"sasl_plaintext\"\n\"sasl.mechanism\" = \"PLAIN\"\n\
         \"sasl.username\" = \"${{MILLPOND_TEST_USER}}\"\n\
         \"sasl.password\" = \"${{file:{}}}\"\n",
        secret.display()
    );
    let path = pipeline.write();
    let with_user = |command: &mut Command| {
        command.env("MILLPOND_TEST_USER", "somebody-in-the-environment");
        output(command)
    };
    let mut shown = String::new();
    for arguments in [&[][..], &["--json"], &["--set", "shards=none"]] {
        let (_, out, err) = with_user(millpond().arg("validate").arg(&path).args(arguments));
        shown.push_str(&(out + &err));
    }
    let user = [("MILLPOND_TEST_USER", "somebody-in-the-environment")];
    let log = ["--set", "logging.level=debug"];
    let mut daemon = Daemon::with(&path, &log, &user);
    daemon.wait("an answer of the API", secs(30), |daemon| daemon.report().is_some());
    std::thread::sleep(secs(1));
    for page in ["/api/v1/pipelines", "/metrics", "/readyz", "/"] {
        shown.push_str(&daemon.get(page).expect("the server answers").1);
    }
    daemon.kill();
    shown.push_str(&daemon.log());
    for secret in ["hunter2-in-a-file", "somebody-in-the-environment"] {
        assert!(!shown.contains(secret), "{secret} is shown");
    }
}

#[test]
fn generate_writes_the_same_bytes_for_a_seed() {
    let dir = Dir::new();
    let generate = |name: &str, seed: &str| {
        let path = dir.path().join(name);
        let (code, _, err) = output(
            millpond()
                .args(["generate", "--count", "20k", "--seed", seed, "--anomalies", "demo"])
                .args(["--to", &format!("file:{}", path.display())]),
        );
        assert_eq!(code, 0, "{err}");
        fs::read(path).expect("the log")
    };
    let log = generate("a", "5");
    assert_eq!(log.iter().filter(|byte| **byte == b'\n').count(), 20_000);
    assert!(log == generate("b", "5"), "another log for the same seed");
    assert!(log != generate("c", "6"), "the same log for another seed");
    let good = log
        .split(|byte| *byte == b'\n')
        .filter(|line| serde_json::from_slice::<serde_json::Value>(line).is_ok())
        .count();
    assert!((19_900..20_000).contains(&good), "{good} of 20,000 lines are JSON");
}

#[test]
fn generate_is_never_the_bottleneck() {
    let began = std::time::Instant::now();
    let (code, _, err) =
        output(millpond().args(["generate", "--count", "2M", "--to", "null", "--seed", "1"]));
    assert_eq!(code, 0, "{err}");
    let rate = 2e6 / began.elapsed().as_secs_f64();
    println!("{rate:.0} events a second");
    // A million a second on a free core; tests share theirs.
    assert!(rate > 300_000.0, "{rate:.0} events a second");
}

#[test]
fn generate_to_kafka_and_out_again() {
    let dir = Dir::new();
    let broker = Broker::start(dir.path());
    let (code, _, err) = output(
        millpond()
            .args(["generate", "--count", "5000", "--seed", "3", "--topic", "logs", "--clean"])
            .args(["--partitions", "3", "--brokers", broker.address()]),
    );
    assert_eq!(code, 0, "{err}");
    let consumer: rdkafka::consumer::BaseConsumer = rdkafka::ClientConfig::new()
        .set("bootstrap.servers", broker.address())
        .set("group.id", "reader")
        .create()
        .expect("a consumer");
    use rdkafka::consumer::Consumer;
    let metadata = consumer.fetch_metadata(Some("logs"), secs(10)).expect("metadata");
    assert_eq!(metadata.topics()[0].partitions().len(), 3);
}

#[test]
fn heavy_the_demo_leaves_readable_tables() {
    let dir = Dir::new();
    let data = dir.path().join("data");
    let mut command = millpond();
    command
        .args(["demo", "--duration", "30s", "--rate", "3000", "--data-dir"])
        .arg(&data)
        .current_dir(dir.path());
    let log = Daemon::spawn(command, dir.path()).finish(secs(120));
    println!("{log}");
    let tables = ["bronze", "endpoint_windows", "traffic_windows", "client_windows", "anomalies"];
    let answers = ask(
        &data,
        &tables,
        &[
            ("rows", "SELECT count(*) FROM bronze"),
            ("unique", "SELECT count(DISTINCT request_id) FROM bronze"),
            ("windows", "SELECT count(*) FROM traffic_windows"),
            ("counted", "SELECT sum(requests)::BIGINT FROM traffic_windows"),
            (
                "windows twice",
                "SELECT count(*) - count(DISTINCT (window_start, endpoint)) FROM endpoint_windows",
            ),
        ],
    );
    println!("{answers:?}");
    let rows = number(&answers, "rows");
    assert!(rows > 40_000, "{rows} rows at 3,000 a second");
    assert_eq!(number(&answers, "unique"), rows, "each event once");
    assert!(number(&answers, "windows") > 0);
    assert!(number(&answers, "counted") <= rows);
    assert_eq!(number(&answers, "windows twice"), 0);
    // Each scripted anomaly has a verdict, and what was not scripted is counted.
    for word in ["4 scripted anomalies found", "false alarms"] {
        assert!(log.contains(word), "the summary does not say {word:?}");
    }
    let verdicts = log
        .lines()
        .map(str::trim_start)
        .filter(|line| line.starts_with("found ") || line.starts_with("missed "));
    assert_eq!(verdicts.count(), 4, "a verdict for each scripted anomaly");
}
