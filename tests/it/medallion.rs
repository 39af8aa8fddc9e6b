//! The layers and the cleaner of `config/` on real input, backfills and batch jobs.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use parquet::arrow::ArrowWriter;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use serde_json::{Value, json};

use crate::support::broker::Broker;
use crate::support::daemon::{Daemon, millpond};
use crate::support::tables::ask;
use crate::support::{Dir, secs};

fn config(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name)
}

fn cleaner(lake: &Path, format: &str, dir: &Path) -> Daemon {
    let mut command = millpond();
    command
        .arg("run")
        .arg(config("cleaner.toml"))
        .args(["--available-now", "--set", "server.enabled=false"])
        .args(["--set", "sources.logs.settle=0s"])
        .env("DATA_LAKE", lake)
        .env("LOG_FORMAT", format);
    Daemon::spawn(command, dir)
}

/// Streaming and batch tables, side by side: nothing but their common rows.
fn assert_metrics_agree(lake: &Path) {
    let metrics = lake.join("metrics");
    for kind in ["agent", "ip", "daily"] {
        let (stream, batch) = (format!("streaming/{kind}"), format!("batch/{kind}"));
        let both = format!(
            "SELECT (SELECT count(*) FROM ((FROM \"{stream}\") EXCEPT ALL (FROM \"{batch}\"))), \
                    (SELECT count(*) FROM ((FROM \"{batch}\") EXCEPT ALL (FROM \"{stream}\"))), \
                    (SELECT count(*) FROM \"{batch}\")"
        );
        let answers = ask(&metrics, &[&stream, &batch], &[("both", &both)]);
        let row = answers["both"][0].as_array().expect("a row");
        assert_eq!((&row[0], &row[1]), (&json!(0), &json!(0)), "{kind}: {row:?}");
        assert!(row[2].as_i64() > Some(0), "{kind} has rows");
    }
}

#[test]
fn heavy_cleaner() {
    let dir = Dir::new();
    let lake = dir.path().join("data_lake");
    let waiting = lake.join("logs_to_merge");
    fs::create_dir_all(&waiting).expect("a directory");
    let line = |second: u32, ip: &str, status: u32, agent: &str| {
        format!(
            r#"{{"timestamp":"2026-05-01T10:00:{second:02}Z","ip":"{ip}","method":"GET","endpoint":"/a","status":{status},"bytes":{},"agent":"{agent}"}}"#,
            100 + second
        )
    };
    let first = [
        line(1, "10.0.0.1", 200, "curl"),
        line(1, "10.0.0.1", 200, "curl"),
        line(2, "10.0.0.2", 503, "firefox"),
        line(3, "10.0.0.1", 200, "firefox").replace(r#""firefox""#, "null"),
        line(4, "10.0.0.3", 200, "curl").replace(r#""method":"GET","#, ""),
        line(5, "10.0.0.3", 200, "curl").replace(r#""ip":"10.0.0.3","#, "").replace("105", "null"),
        "no JSON at all".to_owned(),
    ];
    fs::write(waiting.join("a.json"), first.join("\n")).expect("a file");
    cleaner(&lake, "json", dir.path()).finish(secs(90));

    let clean = "SELECT ip, agent, status, bytes, day::VARCHAR FROM merged ORDER BY ALL";
    let letters = "SELECT query, reason, error FROM dead_letters ORDER BY ALL";
    let runs = "SELECT job, outcome, attempts, rows_read, rows_written, error FROM \"log/runs\" \
                ORDER BY job";
    let tables = ["merged", "dead_letters", "log/runs"];
    let queries = [("clean", clean), ("letters", letters), ("runs", runs)];
    let answers = ask(&lake, &tables, &queries);
    assert_eq!(
        answers["clean"],
        json!([
            ["10.0.0.1", "curl", 200, 101, "2026-05-01"],
            ["10.0.0.2", "firefox", 503, 102, "2026-05-01"],
        ])
    );
    let letters: Vec<(&Value, &Value)> = answers["letters"]
        .as_array()
        .expect("rows")
        .iter()
        .map(|row| (&row[0], &row[1]))
        .filter(|(query, _)| !query.is_null())
        .collect();
    let complete = json!("complete");
    assert_eq!(
        letters,
        [
            (&complete, &json!("has_agent")),
            (&complete, &json!("has_ip")),
            (&complete, &json!("has_method")),
        ]
    );
    let all = answers["letters"].to_string();
    assert!(all.contains("has_ip: ip IS NOT NULL; has_bytes: bytes IS NOT NULL"), "{all}");
    assert_eq!(answers["letters"].as_array().map(Vec::len), Some(4), "and what is no JSON");
    assert_eq!(
        answers["runs"],
        json!([
            ["agent_batch", "succeeded", 1, 2, 2, null],
            ["daily_batch", "succeeded", 1, 2, 1, null],
            ["ip_batch", "succeeded", 1, 2, 2, null],
        ])
    );
    assert_metrics_agree(&lake);
    assert!(!waiting.join("a.json").exists(), "it has been moved");
    assert!(lake.join("logs_merged/a.json").exists(), "to the archive");

    // More, with a duplicate of what is in the table already; the batch tables follow.
    let second = [
        line(1, "10.0.0.1", 200, "curl"),
        line(9, "10.0.0.1", 500, "curl"),
        line(8, "10.0.0.4", 200, "x"),
    ];
    fs::write(waiting.join("b.json"), second.join("\n")).expect("a file");
    cleaner(&lake, "json", dir.path()).finish(secs(90));
    let answers = ask(&lake, &tables, &queries);
    assert_eq!(answers["clean"].as_array().map(Vec::len), Some(4), "{}", answers["clean"]);
    assert_eq!(answers["runs"].as_array().map(Vec::len), Some(6));
    assert_metrics_agree(&lake);
}

#[test]
fn heavy_cleaner_of_parquet() {
    let dir = Dir::new();
    let lake = dir.path().join("data_lake");
    let waiting = lake.join("logs_to_merge");
    fs::create_dir_all(&waiting).expect("a directory");
    let text =
        |values: &[Option<&str>]| -> ArrayRef { Arc::new(StringArray::from(values.to_vec())) };
    let times = TimestampMicrosecondArray::from(vec![1_777_629_600_000_000_i64; 3]);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("timestamp", Arc::new(times.with_timezone("UTC"))),
        ("ip", text(&[Some("10.0.0.1"), Some("10.0.0.1"), None])),
        ("method", text(&[Some("GET"); 3])),
        ("endpoint", text(&[Some("/"); 3])),
        ("status", Arc::new(Int32Array::from(vec![200; 3]))),
        ("bytes", Arc::new(Int64Array::from(vec![7; 3]))),
        ("agent", text(&[Some("curl"); 3])),
    ];
    let rows = RecordBatch::try_from_iter(columns).expect("rows");
    let file = File::create(waiting.join("logs.parquet")).expect("a file");
    let mut writer = ArrowWriter::try_new(file, rows.schema(), None).expect("a writer");
    writer.write(&rows).expect("rows");
    writer.close().expect("a file");
    cleaner(&lake, "parquet", dir.path()).finish(secs(90));
    let answers = ask(
        &lake,
        &["merged", "dead_letters"],
        &[
            ("clean", "SELECT ip, bytes FROM merged"),
            ("letters", "SELECT reason FROM dead_letters"),
        ],
    );
    assert_eq!(answers["clean"], json!([["10.0.0.1", 7]]));
    assert_eq!(answers["letters"], json!([["has_ip"]]));
    assert_metrics_agree(&lake);
}

fn put(broker: &Broker, partition: i32, values: &[&str]) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", broker.address())
        .set("enable.idempotence", "true")
        .create()
        .expect("a producer");
    for value in values {
        let record =
            BaseRecord::to("transactions").partition(partition).key("shop").payload(*value);
        producer.send(record).map_err(|(error, _)| error).expect("there is room");
        producer.flush(secs(30)).expect("the broker takes it");
    }
}

fn medallion(data: &Path, broker: &Broker) -> Command {
    let mut command = millpond();
    command
        .arg("run")
        .arg(config("medallion.toml"))
        .args(["--set", "server.enabled=false"])
        .args(["--set", "sources.transactions.options.session.timeout.ms=1000"])
        .args(["--set", "sources.transactions.options.heartbeat.interval.ms=250"])
        .env("KAFKA_BROKERS", broker.address())
        .env("DATA_DIR", data);
    command
}

#[test]
fn heavy_medallion() {
    let dir = Dir::new();
    let broker = Broker::start(dir.path());
    broker.create_topic("transactions", 2);
    let row = |number: &str,
               product: &str,
               price: &str,
               quantity: i32,
               customer: &str,
               country: &str| {
        format!(
            r#"{{"TransactionNo":"{number}","Date":"12/9/2019","ProductNo":"{product}","ProductName":"P{product}","Price":{price},"Quantity":{quantity},"CustomerNo":{customer},"Country":"{country}"}}"#
        )
    };
    let sold = [
        row("581482", "22485", "21.5", 12, "17490.0", "United Kingdom"),
        row("C581475", "22596", "10.5", -1, "null", "France"),
        row("581477", "22596", "null", 1, "1", "France"),
        row("581478", "22596", "10.5", 0, "1", "France"),
    ];
    let more = [
        row("581479", "22596", "10.5", 4, "2", "France"),
        row("581480", "22485", "20", 1, "3", "United Kingdom").replace("12/9/2019", "9.12.2019"),
    ];
    put(&broker, 0, &[&sold[0], &sold[1], &sold[2], &sold[3]]);
    put(&broker, 1, &["TransactionNo;Date", &more[0], &more[1]]);
    let data = dir.path().join("data");
    let mut command = medallion(&data, &broker);
    command.arg("--available-now");
    Daemon::spawn(command, dir.path()).finish(secs(120));

    let silver = "SELECT transaction_no, date::VARCHAR, price, quantity, customer_no, country, \
                  cancelled, kafka_partition, kafka_offset FROM silver ORDER BY ALL";
    let tables = [
        "bronze",
        "silver",
        "gold/country_days",
        "gold/products",
        "gold/cancellations",
        "dead_letters",
    ];
    let answers = ask(
        &data,
        &tables,
        &[
            (
                "bronze",
                "SELECT topic, \"partition\", \"offset\", key, value FROM bronze ORDER BY ALL",
            ),
            (
                "stamped",
                "SELECT count(*) FROM bronze WHERE timestamp IS NULL OR received_on IS NULL",
            ),
            ("silver", silver),
            (
                "days",
                "SELECT country, date::VARCHAR, sales, cancellations, gross_revenue, revenue \
                 FROM \"gold/country_days\" ORDER BY ALL",
            ),
            (
                "products",
                "SELECT product_no, quantity, revenue FROM \"gold/products\" ORDER BY ALL",
            ),
            ("cancelled", "SELECT transaction_no, refunded FROM \"gold/cancellations\""),
            (
                "letters",
                "SELECT source, split, \"offset\", query, reason FROM dead_letters ORDER BY ALL",
            ),
        ],
    );
    let received = |partition: i32, offset: usize, value: &str| {
        json!(["transactions", partition, offset, "shop", value])
    };
    let mut bronze: Vec<Value> =
        sold.iter().enumerate().map(|(offset, value)| received(0, offset, value)).collect();
    bronze.push(received(1, 0, "TransactionNo;Date"));
    bronze.push(received(1, 1, &more[0]));
    bronze.push(received(1, 2, &more[1]));
    assert_eq!(answers["bronze"], Value::Array(bronze), "as received");
    assert_eq!(answers["stamped"], json!([[0]]));
    let rows = json!([
        ["581479", "2019-12-09", 10.5, 4, 2, "France", false, 1, 1],
        ["581482", "2019-12-09", 21.5, 12, 17490, "United Kingdom", false, 0, 0],
        ["C581475", "2019-12-09", 10.5, -1, null, "France", true, 0, 1],
    ]);
    assert_eq!(answers["silver"], rows);
    assert_eq!(
        answers["days"],
        json!([
            ["France", "2019-12-09", 1, 1, 42.0, 31.5],
            ["United Kingdom", "2019-12-09", 1, 0, 258.0, 258.0],
        ])
    );
    assert_eq!(answers["products"], json!([["22485", 12, 258.0], ["22596", 3, 31.5]]));
    assert_eq!(answers["cancelled"], json!([["C581475", 10.5]]));
    assert_eq!(
        answers["letters"],
        json!([
            ["transactions", "transactions-0", 2, "silver", "valid_price"],
            ["transactions", "transactions-1", 0, "parsed", "readable"],
            ["transactions", "transactions-1", 2, "silver", "valid_date"],
        ])
    );

    // The same from bronze: silver by its name in the catalogue, gold in update mode.
    let again = |args: &[&str]| {
        let mut command = medallion(&data, &broker);
        command.args(["--once", "--from-table", "bronze.transactions"]).args(args);
        command.output().expect("it starts")
    };
    let into = data.join("silver_again").display().to_string();
    let output = again(&["--query", "silver", "--into", &into]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("7 rows") && said.contains("3 rows were rejected"), "{said}");
    let output = again(&["--query", "silver", "--into", &into]);
    assert_eq!(output.status.code(), Some(3), "it holds rows");
    assert!(String::from_utf8_lossy(&output.stderr).contains("--overwrite"));
    let into_days = data.join("days_again").display().to_string();
    let output = again(&["--query", "gold_country_days", "--into", &into_days]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let output = again(&["--query", "gold_products", "--overwrite"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answers = ask(
        &data,
        &["silver_again", "gold/country_days", "days_again", "gold/products"],
        &[
            ("silver", &silver.replace("FROM silver", "FROM silver_again")),
            (
                "days",
                "SELECT count(*) FROM ((FROM \"gold/country_days\") EXCEPT ALL (FROM days_again))",
            ),
            ("number", "SELECT count(*) FROM days_again"),
            (
                "products",
                "SELECT product_no, quantity, revenue FROM \"gold/products\" ORDER BY ALL",
            ),
        ],
    );
    assert_eq!(answers["silver"], rows);
    assert_eq!((&answers["days"], &answers["number"]), (&json!([[0]]), &json!([[2]])));
    assert_eq!(answers["products"], json!([["22485", 12, 258.0], ["22596", 3, 31.5]]));

    // The daemon goes on where it was.
    put(&broker, 0, &[&row("581490", "22485", "1", 1, "9", "France")]);
    let mut command = medallion(&data, &broker);
    command.arg("--available-now");
    Daemon::spawn(command, dir.path()).finish(secs(120));
    let products = "SELECT product_no, quantity, revenue FROM \"gold/products\" ORDER BY ALL";
    let answers = ask(&data, &["gold/products"], &[("products", products)]);
    assert_eq!(answers["products"], json!([["22485", 13, 259.0], ["22596", 3, 31.5]]));
}

#[test]
fn a_batch_job_that_fails_leaves_the_pipeline_alone() {
    let dir = Dir::new();
    let data = dir.path().join("data").display().to_string();
    let config = dir.path().join("jobs.toml");
    fs::write(
        &config,
        format!(
            r#"
name = "jobs"
data_dir = "{data}"
trigger = "200ms"

[server]
listen = "127.0.0.1:0"

[sources.numbers]
type = "rate"
rows_per_second = 50

[queries.all_numbers]
sql = "SELECT * FROM numbers"
sink = {{ type = "delta", path = "{data}/numbers" }}

[batch.total]
sql = "SELECT count(*) AS n, max(value) AS most FROM all_numbers"
schedule = "* * * * * *"
sink = {{ type = "delta", path = "{data}/total" }}

[batch.broken]
sql = "SELECT * FROM nowhere"
schedule = "* * * * * *"
retries = 0
sink = {{ type = "delta", path = "{data}/broken" }}
"#
        ),
    )
    .expect("a file");
    let mut daemon = Daemon::run(&config);
    let runs = |daemon: &Daemon, job: &str, outcome: &str| {
        let labels = [("batch", job), ("outcome", outcome)];
        daemon.metric("millpond_batch_runs_total", &labels).unwrap_or(0.0)
    };
    daemon.wait("runs of both jobs", secs(40), |daemon| {
        runs(daemon, "total", "succeeded") >= 2.0 && runs(daemon, "broken", "failed") >= 2.0
    });
    daemon.wait_epochs(2, secs(20));
    let report = daemon.report().expect("a report");
    let broken = report["batch"]
        .as_array()
        .and_then(|jobs| jobs.iter().find(|job| job["name"] == "broken"))
        .expect("the job");
    assert!(broken["error"].as_str().is_some_and(|e| e.contains("nowhere")), "{broken}");
    assert_eq!(report["restarts"], 0);
    daemon.terminate();
    let answers = ask(
        &dir.path().join("data"),
        &["total", "batch_runs"],
        &[
            ("total", "SELECT count(*), min(n) > 0 FROM total"),
            (
                "failed",
                "SELECT count(*) > 1 FROM batch_runs WHERE outcome = 'failed' AND error LIKE '%nowhere%'",
            ),
            (
                "good",
                "SELECT count(*) > 1 FROM batch_runs WHERE outcome = 'succeeded' AND due_at <= started_at",
            ),
        ],
    );
    assert_eq!(answers["total"], json!([[1, true]]), "one row, replaced each time");
    assert_eq!((&answers["failed"], &answers["good"]), (&json!([[true]]), &json!([[true]])));
}
