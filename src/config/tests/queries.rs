//! Queries, sinks and tests as they are read, and their defaults.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

use super::super::{
    After, Compression, ConsoleSinkSettings, DropDuplicates, DropWithin, FilesFormat, KafkaHeaders,
    KafkaValue, OptionValue, OutputMode, PostgresConnection, PostgresMode, PostgresTls, Settings,
    SinkSettings, TestRecords, TextCompression, Trigger,
};
use super::{delta, no_variables, over_base, variables};

fn read(case: &str) -> Settings {
    over_base(case, &no_variables()).unwrap_or_else(|errors| panic!("{errors}"))
}

#[test]
fn triggers() {
    for (case, trigger, interval) in [
        ("", Trigger::Interval(Duration::from_secs(10)), 10),
        ("trigger = \"5s\"", Trigger::Interval(Duration::from_secs(5)), 5),
        ("checkpoint.interval = \"5s\"", Trigger::Interval(Duration::from_secs(5)), 5),
        (
            "trigger = \"1m\"\ncheckpoint.interval = \"60s\"",
            Trigger::Interval(Duration::from_secs(60)),
            60,
        ),
        ("trigger = \"available_now\"", Trigger::AvailableNow, 10),
        ("trigger = \"once\"\ncheckpoint.interval = \"2s\"", Trigger::Once, 2),
    ] {
        let settings = read(case);
        assert_eq!(settings.trigger, trigger, "{case}");
        assert_eq!(settings.checkpoint.interval, Duration::from_secs(interval), "{case}");
    }
    let json = serde_json::to_value(read("trigger = \"once\"")).expect("plain data");
    assert_eq!(json["trigger"], "once");
}

#[test]
fn what_a_query_may_say() {
    let settings = read(
        r#"
[queries.bronze]
mode = "update"
trigger = "1 minute"
state_ttl = "1 day"
drop_duplicates = { columns = ["ip", "timestamp"], within = "1 hour" }
[queries.bronze.sink]
key = ["ip"]
[queries.wall]
sql = "SELECT 1"
mode = "complete"
drop_duplicates = { within = "1 hour", clock = "wall" }
sink = { type = "memory" }
[queries.plain]
sql = "SELECT * FROM inner_one"
drop_duplicates = {}
sink = { type = "console" }
[queries.inner_one]
sql = "SELECT 1"
"#,
    );
    let bronze = &settings.queries[0];
    assert_eq!(bronze.mode, OutputMode::Update);
    assert_eq!(bronze.trigger, Some(Duration::from_secs(60)));
    assert_eq!(bronze.state_ttl, Some(Duration::from_secs(86_400)));
    let hour = Duration::from_secs(3600);
    let columns = vec!["ip".to_owned(), "timestamp".to_owned()];
    assert_eq!(
        bronze.drop_duplicates,
        Some(DropDuplicates { columns, within: DropWithin::EventTime(hour) })
    );
    assert_eq!(delta(&settings, 0).key, ["ip"]);
    let wall = &settings.queries[1];
    assert_eq!(wall.mode, OutputMode::Complete);
    assert_eq!(
        wall.drop_duplicates,
        Some(DropDuplicates { columns: vec![], within: DropWithin::WallClock(hour) })
    );
    let plain = settings.queries[2].drop_duplicates.as_ref().expect("it is given");
    assert_eq!((plain.within, settings.queries[2].trigger), (DropWithin::Watermark, None));
    assert!(settings.queries[3].sinks.is_empty());
    let json = serde_json::to_value(&settings).expect("plain data");
    assert_eq!(
        json["queries"][0]["drop_duplicates"],
        json!({ "columns": ["ip", "timestamp"], "within": "1h", "clock": "event" })
    );
    assert_eq!(json["queries"][0]["mode"], "update");
    assert_eq!(json["queries"][0]["trigger"], "1m");
}

#[test]
fn names_of_sinks() {
    let settings = read(
        r#"
[queries.a]
sql = "SELECT 1"
[[queries.a.sinks]]
type = "console"
[[queries.a.sinks]]
type = "memory"
[[queries.a.sinks]]
name = "archive"
type = "delta"
path = "a"
[[queries.a.sinks]]
type = "delta"
path = "b"
[queries.b]
sql = "SELECT 1"
sink = { type = "memory", name = "last" }
"#,
    );
    let names = |query: usize| -> Vec<&str> {
        settings.queries[query].sinks.iter().map(|sink| sink.name.as_str()).collect()
    };
    assert_eq!(names(0), ["bronze"]);
    assert_eq!(names(1), ["a", "a.memory", "a.archive", "a.delta"]);
    assert_eq!(names(2), ["b.last"]);
    let error = settings.error_at_sink(&settings.queries[1], 3, "path", "here", None);
    assert_eq!(error.location.map_or(String::new(), |at| at.to_string()), "case.toml:14:8");
    let error = settings.error_at_sink(&settings.queries[2], 0, "max_rows", "here", None);
    assert_eq!(error.location.map_or(String::new(), |at| at.to_string()), "case.toml:17:1");
}

#[test]
fn kafka_sinks() {
    let settings = read(
        r#"
[queries.a]
sql = "SELECT 1"
[queries.a.sink]
type = "kafka"
brokers = ["a:9092", "b:9092"]
topic = "alerts"
key = "sensor"
headers = "level"
partition_column = "p"
timestamp_column = "at"
tombstone_column = "gone"
transaction_timeout = "2m"
[queries.a.sink.options]
"linger.ms" = 5
"sasl.password" = "hunter2"
[queries.b]
sql = "SELECT 1"
[queries.b.sink]
type = "kafka"
brokers = "a"
topic = "b"
topic_column = "t"
key_column = "k"
headers_column = "h"
value = { column = "v" }
[queries.c]
sql = "SELECT 1"
[queries.c.sink]
type = "kafka"
brokers = "a"
topic = "c"
value = "avro"
registry = { url = "http://localhost:8081" }
"#,
    );
    let kafka = |query: usize| match &settings.queries[query].sinks[0].settings {
        SinkSettings::Kafka(kafka) => kafka,
        other => panic!("the sink is of type {}", other.name()),
    };
    let a = kafka(1);
    assert_eq!(a.brokers, "a:9092,b:9092");
    assert_eq!((a.topic.as_str(), &a.topic_column), ("alerts", &None));
    assert_eq!(a.key.as_deref(), Some("sensor"));
    assert_eq!(a.headers, KafkaHeaders::Columns(vec!["level".to_owned()]));
    assert_eq!(a.value, KafkaValue::Json);
    assert_eq!(a.partition_column.as_deref(), Some("p"));
    assert_eq!(a.timestamp_column.as_deref(), Some("at"));
    assert_eq!(a.tombstone_column.as_deref(), Some("gone"));
    assert_eq!(a.transaction_timeout, Duration::from_secs(120));
    assert_eq!(a.options["linger.ms"], OptionValue::Plain("5".to_owned()));
    assert!(a.options["sasl.password"].is_secret());
    let b = kafka(2);
    assert_eq!((b.topic.as_str(), b.topic_column.as_deref()), ("b", Some("t")));
    assert_eq!(b.key.as_deref(), Some("k"));
    assert_eq!(b.headers, KafkaHeaders::Column("h".to_owned()));
    assert_eq!(b.value, KafkaValue::Column("v".to_owned()));
    let c = kafka(3);
    assert_eq!((&c.key, &c.headers), (&None, &KafkaHeaders::Columns(vec![])));
    let KafkaValue::Avro { registry, subject } = &c.value else { panic!("Avro") };
    assert_eq!((registry.urls[0].as_str(), subject), ("http://localhost:8081", &None));
    let json = serde_json::to_value(&settings).expect("plain data");
    assert_eq!(
        json["queries"][1]["sinks"][0],
        json!({
            "name": "a", "type": "kafka", "brokers": "a:9092,b:9092", "topic": "alerts",
            "key": "sensor", "headers": ["level"], "value": "json", "partition_column": "p",
            "timestamp_column": "at", "tombstone_column": "gone", "transaction_timeout": "2m",
            "options": { "linger.ms": "5", "sasl.password": "***" },
        })
    );
    assert_eq!(json["queries"][2]["sinks"][0]["value"], json!({ "column": "v" }));
    assert_eq!(json["queries"][3]["sinks"][0].get("key"), None);
}

#[test]
fn postgres_sinks() {
    let environment = variables(&[
        ("DATABASE_URL", "postgres://me:hunter2@db:5433/shop?connect_timeout=3"),
        ("file:/run/password", "hunter2"),
    ]);
    let settings = over_base(
        r#"
[queries.a]
sql = "SELECT 1"
sink = { type = "postgres", url = "${DATABASE_URL}", table = "iot.stats" }
[queries.b]
sql = "SELECT 1"
mode = "update"
[queries.b.sink]
type = "postgres"
host = "/run/postgresql"
user = "me"
password = "${file:/run/password}"
database = "shop"
table = "Stats"
mode = "upsert"
key = "sensor's"
create_table = false
tls = "verify"
ca_file = "ca.pem"
connect_timeout = "1m"
"#,
        &environment,
    )
    .unwrap_or_else(|errors| panic!("{errors}"));
    let postgres = |query: usize| match &settings.queries[query].sinks[0].settings {
        SinkSettings::Postgres(postgres) => postgres,
        other => panic!("the sink is of type {}", other.name()),
    };
    let a = postgres(1);
    let PostgresConnection::Url { url } = &a.connection else { panic!("an address") };
    assert!(url.expose().starts_with("postgres://me:hunter2@db:5433/shop"));
    assert_eq!((a.table.as_str(), a.mode), ("iot.stats", PostgresMode::Append));
    assert_eq!((a.tls, a.create_table), (None, true));
    let b = postgres(2);
    let PostgresConnection::Parts { host, port, user, password, database } = &b.connection else {
        panic!("parts")
    };
    assert_eq!((host.as_str(), *port, user.as_str()), ("/run/postgresql", 5432, "me"));
    assert_eq!(password.as_ref().map(|password| password.expose()), Some("hunter2"));
    assert_eq!(database, "shop");
    assert_eq!((b.mode, b.tls), (PostgresMode::Upsert, Some(PostgresTls::Verify)));
    assert_eq!(
        (b.key.as_slice(), &b.ca_file),
        (&["sensor's".to_owned()][..], &Some(PathBuf::from("ca.pem")))
    );
    assert_eq!(a.connection_string().expose(), url.expose());
    assert_eq!(
        b.connection_string().expose(),
        "host='/run/postgresql' port='5432' user='me' dbname='shop' password='hunter2' \
         sslmode='verify-full' sslrootcert='ca.pem'"
    );
    let shown = serde_json::to_string(&settings).expect("plain data") + &format!("{settings:?}");
    assert!(!shown.contains("hunter2"), "{shown}");
    let json = serde_json::to_value(&settings).expect("plain data");
    assert_eq!(json["queries"][1]["sinks"][0]["url"], "***");
    assert_eq!(json["queries"][2]["sinks"][0]["password"], "***");
}

#[test]
fn strings_of_connections() {
    for (connection, string) in [
        (
            "url = \"postgres://db/shop\"",
            "postgres://db/shop?sslmode=verify-full&sslrootcert=a%20%2B.pem",
        ),
        (
            "url = \"postgresql://db/shop?connect_timeout=3\"",
            "postgresql://db/shop?connect_timeout=3&sslmode=verify-full&sslrootcert=a%20%2B.pem",
        ),
        (
            "url = \"host=db dbname=x\"",
            "host=db dbname=x sslmode='verify-full' sslrootcert='a +.pem'",
        ),
        (
            "host = \"db\"\nuser = \"o'hara\"\npassword = '\\'\ndatabase = \"x\"",
            "host='db' port='5432' user='o\\'hara' dbname='x' password='\\\\' \
             sslmode='verify-full' sslrootcert='a +.pem'",
        ),
    ] {
        let settings = read(&format!(
            "[queries.a]\nsql = \"SELECT 1\"\n[queries.a.sink]\ntype = \"postgres\"\n{connection}\n\
             table = 't.\"T.x\"'\ntls = \"verify\"\nca_file = \"a +.pem\""
        ));
        let SinkSettings::Postgres(postgres) = &settings.queries[1].sinks[0].settings else {
            panic!("PostgreSQL")
        };
        assert_eq!(postgres.connection_string().expose(), string);
    }
    read(
        "[queries.a]\nsql = \"SELECT 1\"\nsink = { type = \"postgres\", table = \"t\", \
         url = \"postgres://db/x?sslmode=verify-ca&sslrootcert=system\" }\n\
         [queries.b]\nsql = \"SELECT 1\"\nsink = { type = \"postgres\", table = \"t\", \
         url = \"host=db dbname=x sslmode=verify-full\" }",
    );
}

#[test]
fn sinks_of_files_consoles_and_memory() {
    let settings = read(
        r#"
[queries.a]
sql = "SELECT 1"
sink = { type = "files", path = "a", format = "ndjson", compression = "zstd(19)" }
[queries.b]
sql = "SELECT 1"
sink = { type = "files", path = "b", format = "csv", delimiter = "\t", header = false, partition_by = "day" }
[queries.c]
sql = "SELECT 1"
sink = { type = "files", path = "c", format = "parquet", max_file_rows = 5 }
[queries.d]
sql = "SELECT 1"
[[queries.d.sinks]]
type = "console"
[[queries.d.sinks]]
name = "wide"
type = "console"
truncate = false
rows = 5
vertical = true
[[queries.d.sinks]]
name = "narrow"
type = "console"
truncate = 8
[[queries.d.sinks]]
type = "memory"
max_rows = 3
"#,
    );
    let files = |query: usize| match &settings.queries[query].sinks[0].settings {
        SinkSettings::Files(files) => files,
        other => panic!("the sink is of type {}", other.name()),
    };
    assert_eq!(files(1).format, FilesFormat::Ndjson { compression: TextCompression::Zstd(19) });
    assert_eq!(
        files(2).format,
        FilesFormat::Csv { compression: TextCompression::None, header: false, delimiter: b'\t' }
    );
    assert_eq!(files(2).partition_by, ["day"]);
    assert_eq!(files(3).format, FilesFormat::Parquet { compression: Compression::Snappy });
    assert_eq!((files(2).max_file_rows, files(3).max_file_rows), (10_000_000, 5));
    let consoles: Vec<&ConsoleSinkSettings> = settings.queries[4]
        .sinks
        .iter()
        .filter_map(|sink| match &sink.settings {
            SinkSettings::Console(console) => Some(console),
            _ => None,
        })
        .collect();
    assert_eq!(*consoles[0], ConsoleSinkSettings { truncate: Some(20), rows: 20, vertical: false });
    assert_eq!(*consoles[1], ConsoleSinkSettings { truncate: None, rows: 5, vertical: true });
    assert_eq!(consoles[2].truncate, Some(8));
    let json = serde_json::to_value(&settings).expect("plain data");
    assert_eq!(
        json["queries"][2]["sinks"][0],
        json!({
            "name": "b", "type": "files", "path": "b", "format": "csv", "compression": "none",
            "header": false, "delimiter": "\t", "partition_by": ["day"],
            "max_file_rows": 10_000_000,
        })
    );
    assert_eq!(
        json["queries"][4]["sinks"][3],
        json!({ "name": "d.memory", "type": "memory", "max_rows": 3 })
    );
}

#[test]
fn tests_of_a_pipeline() {
    let settings = read(
        r#"
[tables.sites]
type = "parquet"
path = "sites"
[[tests]]
name = "a late event is dropped"
query = "bronze"
[[tests.tables]]
table = "sites"
rows = [{ id = 1 }]
[[tests.batches]]
at = "2026-11-21T10:00:00Z"
[[tests.batches.input]]
source = "logs"
rows = [
    { timestamp = 2026-11-21T09:59:00Z, ip = "a" },
    { timestamp = "2026-11-21 09:59:30", n = 3, x = 1.5, nan = nan, b = true, l = [1], s = { a = 1 } },
]
[[tests.batches.input]]
source = "logs"
lines = ["{\"ip\": 1}", ""]
[[tests.batches]]
[[tests.batches]]
[[tests.batches.input]]
source = "logs"
lines = '''
{"ip": 1}
{"ip": 2}
'''
[[tests.expect]]
rows = [{ ip = "a" }, {}]
ordered = true
[[tests.expect]]
after = 1
columns = ["ip"]
rows = []
late = 1
dead_letters = 2
[[tests.expect]]
after = "end"
rows = [{ n = -1 }]
[[tests]]
name = "in one line"
query = "bronze"
batches = [{ input = [{ source = "logs", rows = [{ ip = "a" }] }] }]
expect = [{ late = 0 }]
"#,
    );
    let test = &settings.tests[0];
    assert_eq!((test.name.as_str(), test.query.as_str()), ("a late event is dropped", "bronze"));
    assert_eq!(test.tables[0].table, "sites");
    assert_eq!(test.batches[0].at, Some(1_795_255_200_000_000));
    assert_eq!(test.batches[1].at, None);
    assert!(test.batches[1].input.is_empty());
    let TestRecords::Rows(rows) = &test.batches[0].input[0].records else { panic!("rows") };
    assert_eq!(
        serde_json::to_value(rows).expect("plain data"),
        json!([
            { "timestamp": "2026-11-21T09:59:00Z", "ip": "a" },
            {
                "timestamp": "2026-11-21 09:59:30", "n": 3, "x": 1.5, "nan": "NaN", "b": true,
                "l": [1], "s": { "a": 1 },
            },
        ])
    );
    // The order of the file is the order of the columns.
    assert_eq!(rows[1].keys().take(3).collect::<Vec<_>>(), ["timestamp", "n", "x"]);
    let TestRecords::Lines(lines) = &test.batches[0].input[1].records else { panic!("lines") };
    assert_eq!(lines, &["{\"ip\": 1}", ""]);
    let TestRecords::Lines(lines) = &test.batches[2].input[0].records else { panic!("lines") };
    assert_eq!(lines, &["{\"ip\": 1}", "{\"ip\": 2}"]);
    let [last, first, end] = test.expect.as_slice() else { panic!("three") };
    assert_eq!((last.after, last.ordered), (After::Batch(3), true));
    assert_eq!(last.rows.as_ref().map(Vec::len), Some(2));
    assert_eq!((first.after, first.late, first.dead_letters), (After::Batch(1), Some(1), Some(2)));
    assert_eq!(first.columns, ["ip"]);
    assert_eq!(first.rows.as_ref().map(Vec::len), Some(0));
    assert_eq!(end.after, After::End);
    assert_eq!(settings.tests[1].expect[0].after, After::Batch(1));
    assert!(settings.tests[1].expect[0].rows.is_none());
    assert_eq!(end.location.to_string(), "case.toml:39:1");
    let error = settings.error_at_test(test, &["expect", "2", "rows", "0"], "no such row", None);
    assert_eq!(error.location.map_or(String::new(), |at| at.to_string()), "case.toml:41:9");
    let json = serde_json::to_value(&settings).expect("plain data");
    assert_eq!(
        json["tests"][0]["expect"][2],
        json!({ "after": "end", "rows": [{ "n": -1 }], "ordered": false })
    );
    assert_eq!(
        json["tests"][1]["batches"],
        json!([{ "input": [{ "source": "logs", "rows": [{ "ip": "a" }] }] }])
    );
}
