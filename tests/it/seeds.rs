//! The smaller examples of `config/` on real input, with all that they write compared.

use std::fs;
use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, SystemTime};

use rdkafka::ClientConfig;
use rdkafka::Message as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use serde_json::{Value, json};

use crate::support::broker::Broker;
use crate::support::daemon::{Daemon, millpond};
use crate::support::postgres::Postgres;
use crate::support::tables::query;
use crate::support::{Dir, secs, wait_for};

fn config(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name)
}

/// An example with its data below `dir`.
fn example(name: &str, dir: &Path, more: &[&str]) -> Command {
    let mut command = millpond();
    command
        .arg("run")
        .arg(config(name))
        .args(["--set", &format!("data_dir={}", dir.join("data").display())])
        .args(["--set", "logging.level=error"])
        .args(more);
    command
}

/// Runs it to the end of what is there, and returns what it printed.
fn printed(mut command: Command) -> String {
    let output = command.output().expect("it starts");
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    out.into_owned()
}

/// Files with one line each, each a second older than the next.
fn files(dir: &Path, lines: &[&str]) {
    fs::create_dir_all(dir).expect("a directory");
    let there = fs::read_dir(dir).expect("a directory").count();
    for (index, line) in lines.iter().enumerate() {
        let number = there + index;
        let path = dir.join(format!("event{number:02}.json"));
        fs::write(&path, format!("{line}\n")).expect("a file");
        let when = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + number as u64);
        let file = fs::File::options().write(true).open(&path).expect("the file");
        file.set_modified(when).expect("its time");
    }
}

/// What one batch looks like on the console: its number, and the lines of its table.
fn batch(number: usize, table: &[&str]) -> String {
    let line = "-------------------------------------------";
    format!("{line}\nBatch: {number}\n{line}\n{}\n\n", table.join("\n"))
}

/// Says the lines to whoever connects, then hangs up.
fn speaker(lines: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || {
        let (mut peer, _) = listener.accept().expect("somebody connects");
        peer.write_all(lines.as_bytes()).expect("it listens");
    });
    port
}

#[test]
fn word_count() {
    let dir = Dir::new();
    let port = speaker("hello spark world\nhello big data\nspark is cool\n");
    let mut command = example("word_count.toml", dir.path(), &["--once"]);
    command.args(["--set", "server.enabled=false"]);
    command.env("SOCKET_HOST", "127.0.0.1").env("SOCKET_PORT", port.to_string());
    let table = [
        "+-----+-----+",
        "| word|count|",
        "+-----+-----+",
        "|hello|    2|",
        "|spark|    2|",
        "|  big|    1|",
        "| cool|    1|",
        "| data|    1|",
        "|   is|    1|",
        "|world|    1|",
        "+-----+-----+",
    ];
    assert_eq!(printed(command), batch(0, &table));
}

/// Each line is in three windows of thirty seconds, which the clock closes.
#[test]
fn heavy_word_windows() {
    let dir = Dir::new();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let mut command = example("word_windows.toml", dir.path(), &[]);
    command
        .args(["--set", "server.listen=127.0.0.1:0", "--set", "trigger=1s"])
        .args(["--set", "sources.lines.watermark.idle_timeout=1s"])
        .env("SOCKET_HOST", "127.0.0.1")
        .env("SOCKET_PORT", port.to_string());
    let mut daemon = Daemon::spawn(command, dir.path());
    let (mut peer, _): (TcpStream, _) = listener.accept().expect("the daemon connects");
    peer.write_all(b"to be or not to be\n").expect("it listens");
    // The last window that holds now ends in thirty seconds at the latest.
    daemon.wait("three windows of each word", secs(60), |daemon| {
        daemon.log().matches("|be  |2    |").count() >= 3
    });
    thread::sleep(secs(2));
    let log = daemon.log();
    for (word, count) in [("be", 2), ("not", 1), ("or", 1), ("to", 2)] {
        let row = format!("|{word:<4}|{count:<5}|");
        assert_eq!(log.matches(&row).count(), 3, "{row} in\n{log}");
    }
}

#[test]
fn sensors() {
    let dir = Dir::new();
    let input = dir.path().join("input");
    files(
        &input,
        &[
            r#"{"deviceId": "d1", "temperature": 25.5, "event_time": "2023-11-10T12:00:05Z"}"#,
            r#"{"deviceId": "d2", "temperature": 26.5, "event_time": "2023-11-10T12:00:08Z"}"#,
            r#"{"deviceId": "d1", "temperature": 30.0, "event_time": "2023-11-10T12:00:31Z"}"#,
            // 20 seconds late: the watermark stands at 12:00:11.
            r#"{"deviceId": "d3", "temperature": 28.0, "event_time": "2023-11-10T12:00:12Z"}"#,
            r#"{"deviceId": "d3", "temperature": 99.0, "event_time": "2023-11-10T12:00:09Z"}"#,
            "{\"deviceId\": \"d3\", \"temperature\": \"hot\"}",
        ],
    );
    let mut command = example("sensors.toml", dir.path(), &["--available-now"]);
    command.args(["--set", "server.enabled=false"]).env("INPUT_DIR", &input);
    let border = "+------------------------------------------+--------+";
    let head = "|window                                    |avg_temp|";
    let window = |number, row: &str| batch(number, &[border, head, border, row, border]);
    let expected = [
        window(0, "|{2023-11-10 12:00:00, 2023-11-10 12:00:10}|25.5    |"),
        window(1, "|{2023-11-10 12:00:00, 2023-11-10 12:00:10}|26.0    |"),
        window(2, "|{2023-11-10 12:00:30, 2023-11-10 12:00:40}|30.0    |"),
        window(3, "|{2023-11-10 12:00:10, 2023-11-10 12:00:20}|28.0    |"),
    ];
    assert_eq!(printed(command), expected.concat());
    let answers = query(
        &dir.path().join("data"),
        &["dead_letters"],
        &[],
        None,
        &[("letters", "SELECT reason, \"column\", file, line, decode(payload) FROM dead_letters")],
    );
    let file = input.join("event05.json");
    assert_eq!(
        answers["letters"],
        json!([[
            "type_mismatch",
            "temperature",
            file.to_string_lossy(),
            1,
            "{\"deviceId\": \"d3\", \"temperature\": \"hot\"}"
        ]])
    );
}

/// Stopped between two files, and started again: no file twice, and an open window goes on.
#[test]
fn taxi() {
    let dir = Dir::new();
    let input = dir.path().join("input");
    let run = || {
        let mut command = example("taxi.toml", dir.path(), &["--available-now"]);
        command.args(["--set", "server.enabled=false"]).env("INPUT_DIR", &input);
        printed(command)
    };
    let border =
        "+------------------------------------------+-------------+-----------+----------+";
    let head = "|window                                    |started_rides|ended_rides|total_fare|";
    files(
        &input,
        &[concat!(
            r#"{"event_id": "1", "event_type": "start_ride", "event_time": "2023-11-10T12:00:05Z"}"#,
            "\n",
            r#"{"event_id": "2", "event_type": "start_ride", "event_time": "2023-11-10T12:00:30Z"}"#,
            "\n",
            r#"{"event_id": "3", "event_type": "end_ride", "fare": 12.5, "event_time": "2023-11-10T12:00:50Z"}"#,
        )],
    );
    let first = "|{2023-11-10 12:00:00, 2023-11-10 12:01:00}|2            |1          |12.5      |";
    assert_eq!(run(), batch(0, &[border, head, border, first, border]));
    files(
        &input,
        &[concat!(
            r#"{"event_id": "4", "event_type": "end_ride", "fare": 7.25, "event_time": "2023-11-10T12:00:59Z"}"#,
            "\n",
            r#"{"event_id": "5", "event_type": "start_ride", "event_time": "2023-11-10T12:01:00Z"}"#,
        )],
    );
    let second = [
        border,
        head,
        border,
        "|{2023-11-10 12:00:00, 2023-11-10 12:01:00}|2            |2          |19.75     |",
        "|{2023-11-10 12:01:00, 2023-11-10 12:02:00}|1            |0          |0.0       |",
        border,
    ];
    assert_eq!(run(), batch(1, &second));
    assert_eq!(run(), "", "nothing new");
}

#[test]
fn hot_devices() {
    let dir = Dir::new();
    let input = dir.path().join("input");
    files(
        &input,
        &[
            r#"{"deviceId": "d-101", "temperature": 85.5, "timestamp": "2023-10-27T12:00:00Z"}"#,
            r#"{"deviceId": "d-102", "temperature": 95.1, "timestamp": "2023-10-27T12:00:10Z"}"#,
            r#"{"deviceId": "d-103", "temperature": 99.9, "timestamp": "2023-10-27T12:00:20Z"}"#,
        ],
    );
    let mut command = example("hot_devices.toml", dir.path(), &["--once"]);
    command.args(["--set", "server.enabled=false"]).env("INPUT_DIR", &input);
    let table = [
        "+--------+-----------+-------------------+",
        "|deviceId|temperature|timestamp          |",
        "+--------+-----------+-------------------+",
        "|d-102   |95.1       |2023-10-27 12:00:10|",
        "|d-103   |99.9       |2023-10-27 12:00:20|",
        "+--------+-----------+-------------------+",
    ];
    assert_eq!(printed(command), batch(0, &table));
}

/// One file a trigger, as they come in the exercise; then one that is late beyond the watermark.
#[test]
fn clicks() {
    let dir = Dir::new();
    let input = dir.path().join("input");
    files(
        &input,
        &[
            r#"{"event_time": "2023-10-27T12:00:02Z", "action": "click"}"#,
            r#"{"event_time": "2023-10-27T12:00:04Z", "action": "view"}"#,
            r#"{"event_time": "2023-10-27T12:00:11Z", "action": "click"}"#,
            r#"{"event_time": "2023-10-27T12:00:08Z", "action": "click"}"#,
            r#"{"event_time": "2023-10-27T12:00:20Z", "action": "click"}"#,
            r#"{"event_time": "2023-10-27T12:00:01Z", "action": "purchase"}"#,
        ],
    );
    let mut command = example("clicks.toml", dir.path(), &["--available-now"]);
    command
        .args(["--set", "server.enabled=false"])
        .args(["--set", "sources.events.max_files_per_trigger=1"])
        .env("INPUT_DIR", &input);
    let border = "+------------------------------------------+------+-----+";
    let head = "|window                                    |action|count|";
    let one = |number, row: &str| batch(number, &[border, head, border, row, border]);
    let expected = [
        one(0, "|{2023-10-27 12:00:00, 2023-10-27 12:00:10}|click |1    |"),
        one(1, "|{2023-10-27 12:00:00, 2023-10-27 12:00:10}|view  |1    |"),
        one(2, "|{2023-10-27 12:00:10, 2023-10-27 12:00:20}|click |1    |"),
        one(3, "|{2023-10-27 12:00:00, 2023-10-27 12:00:10}|click |2    |"),
        one(4, "|{2023-10-27 12:00:20, 2023-10-27 12:00:30}|click |1    |"),
    ];
    // The purchase changes nothing: its window closed at 12:00:15.
    assert_eq!(printed(command), expected.concat());
}

#[test]
fn log_alerts() {
    let dir = Dir::new();
    let logs = dir.path().join("logs");
    files(
        &logs,
        &[
            r#"{"timestamp": "2026-01-01T00:00:10Z", "level": "ERROR", "message": "a"}"#,
            r#"{"timestamp": "2026-01-01T00:00:20Z", "level": "INFO", "message": "b"}"#,
            r#"{"timestamp": "2026-01-01T00:00:59.999999Z", "level": "ERROR", "message": "c"}"#,
            r#"{"timestamp": "2026-01-01T00:01:00Z", "level": "ERROR", "message": "d"}"#,
            // Closes what ended by 00:04.
            r#"{"timestamp": "2026-01-01T00:09:00Z", "level": "INFO", "message": "e"}"#,
        ],
    );
    let mut command = example("log_alerts.toml", dir.path(), &["--available-now"]);
    command.args(["--set", "server.enabled=false"]).env("LOGS", &logs);
    assert_eq!(printed(command), "");
    let mut rows: Vec<Value> = Vec::new();
    for entry in fs::read_dir(dir.path().join("data/alerts")).expect("the alerts") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if name.starts_with(['.', '_']) {
            continue;
        }
        let text = fs::read_to_string(&path).expect("a file");
        rows.extend(text.lines().map(|line| serde_json::from_str(line).expect("JSON")));
    }
    rows.sort_by_key(Value::to_string);
    let minute = |start: &str, end: &str, count: i64| json!({ "window_start": start, "window_end": end, "level": "ERROR", "count": count });
    assert_eq!(
        rows,
        [
            minute("2026-01-01T00:00:00.000Z", "2026-01-01T00:01:00.000Z", 2),
            minute("2026-01-01T00:01:00.000Z", "2026-01-01T00:02:00.000Z", 1),
        ]
    );
}

/// Puts records with a time of their own into partition 0.
fn put(broker: &Broker, topic: &str, records: &[(Option<&str>, &str, i64)]) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", broker.address())
        .set("enable.idempotence", "true")
        .create()
        .expect("a producer");
    for (key, value, time_ms) in records {
        let mut record =
            BaseRecord::<str, str>::to(topic).partition(0).payload(value).timestamp(*time_ms);
        if let Some(key) = key {
            record = record.key(key);
        }
        producer.send(record).map_err(|(error, _)| error).expect("there is room");
        producer.flush(secs(30)).expect("the broker takes it");
    }
}

/// The broker lets a new group wait for half of its session's timeout.
fn impatient(command: &mut Command, source: &str, broker: &Broker) {
    command
        .args(["--set", &format!("sources.{source}.options.session.timeout.ms=1000")])
        .args(["--set", &format!("sources.{source}.options.heartbeat.interval.ms=250")])
        .env("KAFKA_BROKERS", broker.address());
}

/// Hours that begin every half hour, in all three modes at once.
#[test]
fn hourly() {
    let dir = Dir::new();
    let broker = Broker::start(dir.path());
    broker.create_topic("meu-topico", 1);
    let minute = 60_000;
    let noon = 1_767_268_800_000; // 2026-01-01T12:00:00Z
    put(
        &broker,
        "meu-topico",
        &[
            (None, "a", noon + 10 * minute),
            (None, "a", noon + 40 * minute),
            (None, "b", noon + 45 * minute),
            // The watermark passes 12:30 and 13:00, and not 13:30.
            (None, "a", noon + 75 * minute),
        ],
    );
    let mut command = example("hourly.toml", dir.path(), &["--set", "server.listen=127.0.0.1:0"]);
    impatient(&mut command, "events", &broker);
    command.args(["--set", "trigger=500ms", "--set", "sources.events.start=earliest"]);
    command.args(["--set", "logging.level=info"]);
    let mut daemon = Daemon::spawn(command, dir.path());
    let window = |start: &str, end: &str, value: &str, count: i64| {
        json!({
            "window": {
                "start": format!("2026-01-01T{start}:00.000Z"),
                "end": format!("2026-01-01T{end}:00.000Z"),
            },
            "value": value,
            "count": count,
        })
    };
    let mut all = vec![
        window("11:30", "12:30", "a", 1),
        window("12:00", "13:00", "a", 2),
        window("12:00", "13:00", "b", 1),
        window("12:30", "13:30", "a", 2),
        window("12:30", "13:30", "b", 1),
        window("13:00", "14:00", "a", 1),
    ];
    all.sort_by_key(Value::to_string);
    daemon.wait("all windows in memory", secs(60), |daemon| {
        let Ok((200, body)) = daemon.get("/api/v1/queries/results/rows") else { return false };
        let answer: Value = serde_json::from_str(&body).expect("JSON");
        let mut rows = answer["rows"].as_array().expect("rows").clone();
        rows.sort_by_key(Value::to_string);
        rows == all
    });
    // What has closed comes once, however long it runs.
    let closed = [
        "|{2026-01-01 11:30:00, 2026-01-01 12:30:00}|a    |1    |",
        "|{2026-01-01 12:00:00, 2026-01-01 13:00:00}|a    |2    |",
        "|{2026-01-01 12:00:00, 2026-01-01 13:00:00}|b    |1    |",
    ];
    daemon.wait("the closed windows", secs(30), |daemon| {
        let log = daemon.log();
        // Once as changed, once as closed.
        closed.iter().all(|row| log.matches(row).count() == 2)
    });
    let (status, body) = daemon.get("/api/v1/queries/nothing/rows").expect("an answer");
    assert_eq!(status, 404);
    assert!(body.contains("results"), "{body}");
}

#[test]
fn kafka_to_kafka() {
    let dir = Dir::new();
    let broker = Broker::start(dir.path());
    broker.create_topic("input-topic", 1);
    broker.create_topic("output-topic", 1);
    put(
        &broker,
        "input-topic",
        &[
            (Some("k1"), r#"{"user": "ana", "amount": 10.0, "country": "BR"}"#, 1_000),
            (Some("k2"), r#"{"user": "rui", "amount": -1.0, "country": "PT"}"#, 2_000),
            (None, r#"{"user": "zoé", "amount": 2.5}"#, 3_000),
            // No JSON: NULL, as in Spark, and so no amount above zero.
            (Some("k4"), "not json", 4_000),
        ],
    );
    let mut command = example("kafka_to_kafka.toml", dir.path(), &["--available-now"]);
    impatient(&mut command, "input", &broker);
    command.args(["--set", "server.enabled=false"]);
    assert_eq!(printed(command), "");
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", broker.address())
        .set("group.id", "reader")
        .set("auto.offset.reset", "earliest")
        .set("isolation.level", "read_committed")
        .create()
        .expect("a consumer");
    let mut partitions = rdkafka::TopicPartitionList::new();
    partitions
        .add_partition_offset("output-topic", 0, rdkafka::Offset::Beginning)
        .expect("a partition");
    consumer.assign(&partitions).expect("assigned");
    let mut records = Vec::new();
    wait_for("two records", secs(30), || {
        if let Some(Ok(message)) = consumer.poll(Duration::from_millis(200)) {
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
            let value: Value =
                serde_json::from_str(&text(message.payload().expect("a value"))).expect("JSON");
            records.push((message.key().map(text), value));
        }
        (records.len() >= 2).then_some(())
    });
    assert!(consumer.poll(secs(1)).is_none_or(|more| more.is_err()), "there is a third");
    assert_eq!(
        records,
        [
            (
                Some("k1".to_owned()),
                json!({ "key": "k1", "user": "ANA", "amount": 11.0, "country": "BR" })
            ),
            (None, json!({ "user": "ZOÉ", "amount": 2.75, "country": "unknown" })),
        ]
    );
}

#[test]
fn sensor_stats() {
    let dir = Dir::new();
    let broker = Broker::start(dir.path());
    broker.create_topic("sensors", 1);
    let server = Postgres::start(dir.path(), &[]);
    let reading = |id: &str, temperature: f64, time: &str| {
        json!({ "sensor_id": id, "temperature": temperature, "event_time": time }).to_string()
    };
    let readings = [
        reading("s1", 20.0, "2026-01-01T00:00:01Z"),
        reading("s1", 22.0, "2026-01-01T00:00:59Z"),
        reading("s2", -5.5, "2026-01-01T00:00:30Z"),
        reading("s1", 30.0, "2026-01-01T00:01:00Z"),
        // Closes the first two minutes.
        reading("s3", 1.0, "2026-01-01T00:03:00Z"),
    ];
    let records: Vec<(Option<&str>, &str, i64)> =
        readings.iter().map(|reading| (None, reading.as_str(), 1_000)).collect();
    put(&broker, "sensors", &records);
    let run = || {
        let mut command = example("sensor_stats.toml", dir.path(), &["--available-now"]);
        impatient(&mut command, "sensors", &broker);
        command.args(["--set", "server.enabled=false"]).env("POSTGRES_URL", server.url());
        assert_eq!(printed(command), "");
    };
    run();
    // Nothing is written twice by a second run.
    run();
    let stats = server.query(
        "SELECT to_char(minute AT TIME ZONE 'UTC', 'HH24:MI'), sensor_id, avg_temp, max_temp, \
         min_temp FROM sensor_stats ORDER BY 1, 2",
    );
    let stats: Vec<&str> = stats.lines().collect();
    assert_eq!(stats, ["00:00|s1|21|22|20", "00:00|s2|-5.5|-5.5|-5.5", "00:01|s1|30|30|30"]);
    let now = server.query(
        "SELECT sensor_id, readings, to_char(last_seen AT TIME ZONE 'UTC', 'HH24:MI:SS'), \
         max_temp, min_temp FROM sensor_now ORDER BY 1",
    );
    let now: Vec<&str> = now.lines().collect();
    assert_eq!(now, ["s1|3|00:01:00|30|20", "s2|1|00:00:30|-5.5|-5.5", "s3|1|00:03:00|1|1"]);
    // The second sink has the same rows.
    let answers = query(
        &dir.path().join("data"),
        &["sensor_stats"],
        &[],
        None,
        &[(
            "rows",
            "SELECT sensor_id, avg_temp, max_temp, min_temp FROM sensor_stats ORDER BY minute, sensor_id",
        )],
    );
    assert_eq!(
        answers["rows"],
        json!([["s1", 21.0, 22.0, 20.0], ["s2", -5.5, -5.5, -5.5], ["s1", 30.0, 30.0, 30.0]])
    );
}
