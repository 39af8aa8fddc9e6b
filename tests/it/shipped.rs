//! Every file in `config/` on small real input, its tables compared whole.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use serde_json::{Value, json};

use crate::support::broker::Broker;
use crate::support::daemon::{Daemon, millpond};
use crate::support::tables::{Input, number, query};
use crate::support::{Dir, secs};

fn config(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name)
}

/// The tests below run these; a new file wants one of its own.
#[test]
fn every_shipped_configuration_is_tested() {
    let entries = fs::read_dir(config("")).expect("the configurations");
    let mut names: Vec<_> = entries
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
        .collect();
    names.sort();
    // Here: demo, transactions and weblogs. In `medallion`: cleaner and medallion. In `seeds`: all
    // others.
    assert_eq!(
        names,
        [
            "cleaner.toml",
            "clicks.toml",
            "demo.toml",
            "hot_devices.toml",
            "hourly.toml",
            "kafka_to_kafka.toml",
            "log_alerts.toml",
            "medallion.toml",
            "sensor_stats.toml",
            "sensors.toml",
            "taxi.toml",
            "transactions.toml",
            "weblogs.toml",
            "word_count.toml",
            "word_windows.toml",
        ]
    );
}

fn run(name: &str, source: &str, broker: &Broker, data: &Path, dir: &Path) {
    let mut command: Command = millpond();
    command
        .arg("run")
        .arg(config(name))
        .arg("--available-now")
        .args(["--set", &format!("data_dir={}", data.display())])
        .args(["--set", "server.listen=127.0.0.1:0"])
        // The broker lets a new group wait for half of this.
        .args(["--set", &format!("sources.{source}.options.session.timeout.ms=1000")])
        .args(["--set", &format!("sources.{source}.options.heartbeat.interval.ms=250")])
        .env("KAFKA_BROKERS", broker.address());
    Daemon::spawn(command, dir).finish(secs(120));
}

/// Puts values into a partition, the last of them alone in its batch (see `Producer::finish`).
fn put(broker: &Broker, topic: &str, partition: i32, values: &[&[u8]]) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", broker.address())
        .set("enable.idempotence", "true")
        .create()
        .expect("a producer");
    for value in values {
        let record = BaseRecord::<(), [u8]>::to(topic).partition(partition).payload(value);
        producer.send(record).map_err(|(error, _)| error).expect("there is room");
        producer.flush(secs(30)).expect("the broker takes it");
    }
}

/// Says how many rows of each of two queries the other does not have, and shows some.
fn differences(what: &str, found: &str, truth: &str) -> Vec<(String, String)> {
    [("missing", truth, found), ("wrong", found, truth)]
        .iter()
        .flat_map(|(name, one, other)| {
            let all = format!("({one}) EXCEPT ALL ({other})");
            [
                (format!("{what}: {name}"), format!("SELECT count(*) FROM ({all})")),
                (format!("{what}: {name} (some)"), format!("{all} ORDER BY ALL LIMIT 4")),
            ]
        })
        .collect()
}

fn assert_same(what: &str, answers: &serde_json::Map<String, Value>) {
    let count = |name: &str| number(answers, &format!("{what}: {name}"));
    let some = |name: &str| &answers[&format!("{what}: {name} (some)")];
    assert!(
        count("missing") == 0 && count("wrong") == 0,
        "{what}: {} rows are missing ({}), {} should not be there ({})",
        count("missing"),
        some("missing"),
        count("wrong"),
        some("wrong"),
    );
}

const WEBLOG_COLUMNS: &[(&str, &str)] = &[
    ("timestamp", "TIMESTAMPTZ"),
    ("ip", "VARCHAR"),
    ("method", "VARCHAR"),
    ("endpoint", "VARCHAR"),
    ("status_code", "INTEGER"),
    ("response_time", "DOUBLE"),
    ("bytes", "BIGINT"),
    ("user_agent", "VARCHAR"),
    ("referer", "VARCHAR"),
    ("request_id", "VARCHAR"),
];

#[test]
fn heavy_weblogs() {
    let tables = ["endpoint_minutes", "traffic_minutes", "client_minutes"];
    weblogs("weblogs.toml", 60, tables, true);
}

#[test]
fn heavy_demo() {
    let tables = ["endpoint_windows", "traffic_windows", "client_windows"];
    weblogs("demo.toml", 30, tables, false);
}

/// Runs a configuration over web logs, with windows of so many seconds in three tables: by
/// endpoint, of all traffic, by client. `more`: the columns that only config/weblogs.toml has.
fn weblogs(name: &str, seconds: i64, [endpoints, traffic, clients]: [&str; 3], more: bool) {
    let dir = Dir::new();
    let broker = Broker::start(dir.path());
    broker.create_topic("web-logs", 4);
    // Twenty minutes of event time; in the fifteenth, one endpoint has eight times its traffic.
    let script = dir.path().join("script.toml");
    let spike =
        "[[anomaly]]\nkind = \"traffic_spike\"\nat = \"15m\"\nduration = \"1m\"\nmagnitude = 8.0\n";
    fs::write(&script, spike).expect("a script");
    let files = dir.path().join("input");
    // The same bytes to the topic and to files.
    let generate = |to: &[&str]| {
        let output = millpond()
            .args(["generate", "--seed", "7", "--event-rate", "30", "--duration", "20m"])
            .args(["--late", "0", "--malformed", "0", "--quiet", "--anomalies"])
            .arg(&script)
            .args(to)
            .output()
            .expect("the generator runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    generate(&["--brokers", broker.address(), "--topic", "web-logs"]);
    generate(&["--to", &format!("dir:{}", files.display())]);
    // One event later in each partition closes every window but its own; broken ones among them.
    let mut last = String::new();
    for partition in 0..4 {
        let event = json!({
            "timestamp": "2026-01-01 01:30:00.5", "ip": "192.0.2.1", "method": "GET",
            "endpoint": "/last", "status_code": 301, "response_time": 1.5, "bytes": 10,
            "user_agent": null, "referer": null, "request_id": format!("last-{partition}"),
        })
        .to_string();
        let broken = event.replace("301", "\"none\"");
        put(&broker, "web-logs", partition, &[broken.as_bytes(), event.as_bytes()]);
        last.push_str(&event);
        last.push('\n');
    }
    fs::write(files.join("last.ndjson"), last).expect("the last events");

    let data = dir.path().join("data");
    run(name, "logs", &broker, &data, dir.path());

    let size = seconds * 1_000_000;
    let minute = &format!("epoch_us(timestamp) // {size} * {size}");
    // A column, or the same text on both sides where the table does not have it.
    let only = |column: &'static str| if more { column } else { "'-'" };
    let mut queries = differences(
        "bronze",
        "SELECT epoch_us(timestamp), ip, method, endpoint, status_code, response_time, bytes, \
         user_agent, referer, request_id, date::VARCHAR, hour, status_class FROM bronze",
        "SELECT epoch_us(timestamp), ip, method, endpoint, status_code, response_time, bytes, \
         user_agent, referer, request_id, strftime(timestamp AT TIME ZONE 'UTC', '%Y-%m-%d'), \
         hour(timestamp AT TIME ZONE 'UTC'), (status_code // 100)::VARCHAR || 'xx' FROM events",
    );
    // Response times are tenths of a millisecond: what an average stands for is a whole number of
    // them, which does not depend on the order of the sum as the average's last digits do.
    queries.extend(differences(
        endpoints,
        &format!(
            "SELECT epoch_us(window_start), epoch_us(window_end) - {size}, endpoint, requests, \
             errors, error_rate, round(avg_response_time * requests * 10)::BIGINT, {}, unique_visitors FROM {endpoints}",
            only("max_response_time")
        ),
        &format!(
            "SELECT {minute}, {minute}, endpoint, count(*), \
             count(*) FILTER (WHERE status_code >= 400), \
             count(*) FILTER (WHERE status_code >= 400) / count(*)::DOUBLE, \
             sum(round(response_time * 10)::BIGINT)::BIGINT, {}, count(DISTINCT ip) \
             FROM events WHERE endpoint <> '/last' GROUP BY 1, 3",
            only("max(response_time)")
        ),
    ));
    queries.extend(differences(
        traffic,
        &format!(
            "SELECT epoch_us(window_start), epoch_us(window_end) - {size}, requests, errors, {}, \
             round(avg_response_time * requests * 10)::BIGINT, bytes, unique_visitors FROM {traffic}",
            only("error_rate")
        ),
        &format!(
            "SELECT {minute}, {minute}, count(*), count(*) FILTER (WHERE status_code >= 400), {}, \
             sum(round(response_time * 10)::BIGINT)::BIGINT, sum(bytes)::BIGINT, count(DISTINCT ip) \
             FROM events WHERE endpoint <> '/last' GROUP BY 1",
            only("count(*) FILTER (WHERE status_code >= 400) / count(*)::DOUBLE")
        ),
    ));
    queries.extend(differences(
        clients,
        &format!(
            "SELECT epoch_us(window_start), epoch_us(window_end) - {size}, ip, requests, errors, \
             endpoints FROM {clients}"
        ),
        &format!(
            "SELECT {minute}, {minute}, ip, count(*), \
             count(*) FILTER (WHERE status_code >= 400), count(DISTINCT endpoint) \
             FROM events WHERE endpoint <> '/last' GROUP BY 1, 3"
        ),
    ));
    let mut ask = |name: &str, sql: String| queries.push((name.to_owned(), sql));
    // Approximate by its nature: between its neighbours' quantiles.
    ask(
        "p95",
        format!(
            "SELECT count(*) FROM {endpoints} t JOIN (SELECT {minute} AS w, endpoint AS e, \
         quantile_disc(response_time, 0.85) AS low, max(response_time) AS high FROM events \
         GROUP BY ALL) r ON epoch_us(t.window_start) = r.w AND t.endpoint = r.e \
         WHERE t.p95_response_time IS NULL OR t.p95_response_time < r.low OR t.p95_response_time > r.high"
        ),
    );
    ask("events", "SELECT count(*) FROM events".into());
    ask("letters", "SELECT reason, \"column\", count(*), min(split), max(split) FROM dead_letters GROUP BY ALL".into());
    ask("payloads", "SELECT count(*) FROM dead_letters WHERE contains(decode(payload), '\"status_code\":\"none\"') AND error <> ''".into());
    ask(
        "spike",
        "SELECT DISTINCT detector FROM anomalies \
         WHERE epoch_us(window_start) // 60000000 % 60 = 15 ORDER BY detector"
            .into(),
    );
    ask(
        "silent",
        format!(
            "SELECT count(*) FROM anomalies WHERE reason = '' OR NOT (score > 0.5) \
             OR epoch_us(window_end) - epoch_us(window_start) <> {size}"
        ),
    );
    // An anomaly is opened once, its events are numbered without a gap, and what is over has an
    // end.
    ask(
        "lives",
        "SELECT anomaly_id FROM anomalies GROUP BY anomaly_id HAVING \
         count(*) FILTER (WHERE event = 'opened') <> 1 OR min(sequence) <> 0 \
         OR max(sequence) <> count(*) - 1 OR count(DISTINCT sequence) <> count(*) \
         OR count(*) FILTER (WHERE (event = 'closed') <> (ended_at IS NOT NULL)) > 0 \
         OR count(*) FILTER (WHERE event = 'closed') > 1 OR count(*) FILTER (WHERE corrected) > 0"
            .into(),
    );
    // What the detectors of counts have seen is what was there, and the simple rule is simple.
    ask(
        "miscounted",
        format!(
            "SELECT a.detector, a.key, epoch_us(a.window_start), a.value, a.expected, r.n FROM anomalies a LEFT JOIN ( \
               SELECT {minute} AS w, endpoint AS k, count(*) AS n FROM events GROUP BY 1, 2 \
               UNION ALL SELECT {minute}, '', count(*) FROM events GROUP BY 1 \
             ) r ON epoch_us(a.window_start) = r.w AND a.key = r.k \
             WHERE a.detector IN ('ratio_to_mean', 'traffic_spike') \
             AND (a.value IS DISTINCT FROM r.n \
                  OR (a.detector = 'ratio_to_mean' AND a.value <= 3 * a.expected))"
        ),
    );

    let input = Input {
        events: format!("{}/*.ndjson", files.display()),
        columns: WEBLOG_COLUMNS,
        letters: None,
    };
    let tables = ["bronze", endpoints, traffic, clients, "dead_letters", "anomalies"];
    let queries: Vec<(&str, &str)> = queries.iter().map(|(n, q)| (&**n, &**q)).collect();
    let answers = query(&data, &tables, &[], Some(&input), &queries);
    for table in &tables[..4] {
        assert_same(table, &answers);
    }
    assert!(number(&answers, "events") > 30_000, "{}", answers["events"]);
    assert_eq!(number(&answers, "p95"), 0, "percentiles out of range");
    assert_eq!(
        answers["letters"],
        json!([["type_mismatch", "status_code", 4, "web-logs-0", "web-logs-3"]])
    );
    assert_eq!(number(&answers, "payloads"), 4);
    let spike = answers["spike"].to_string();
    assert!(spike.contains("traffic_spike") && spike.contains("ratio_to_mean"), "found: {spike}");
    assert_eq!(number(&answers, "silent"), 0, "anomalies that say nothing");
    assert_eq!(answers["lives"], json!([]), "anomalies whose events do not make a life");
    assert_eq!(answers["miscounted"], json!([]), "anomalies that were none");
}

#[test]
fn transactions() {
    let dir = Dir::new();
    let broker = Broker::start(dir.path());
    broker.create_topic("transactions", 2);
    let rows: &[&str] = &[
        r#"{"TransactionNo":"581482","Date":"12/9/2019","ProductNo":"22485","ProductName":"Set Of 2 Wooden Market Crates","Price":21.5,"Quantity":12,"CustomerNo":17490.0,"Country":"United Kingdom"}"#,
        r#"{"TransactionNo":"C581484","Date":"12/9/2019","ProductNo":"23843","ProductName":"Paper Craft, Little Birdie","Price":6.25,"Quantity":-80995,"CustomerNo":16446.0,"Country":"United Kingdom"}"#,
        r#"{"TransactionNo":"581475","Date":"12/9/2019","ProductNo":"22596","ProductName":"Weihnachtsglöckchen \"Größe L\" 🎄","Price":10.75,"Quantity":36,"CustomerNo":null,"Country":"Deutschland"}"#,
        r#"{"Quantity":1,"Country":"EIRE","Extra":{"not":"declared"}}"#,
        r#"{"TransactionNo":"581476","Date":"","ProductNo":"16008","ProductName":"","Price":0,"Quantity":0,"CustomerNo":1,"Country":"Österreich"}"#,
        // Twice the same: both are rows.
        r#"{"TransactionNo":"581476","Date":"","ProductNo":"16008","ProductName":"","Price":0,"Quantity":0,"CustomerNo":1,"Country":"Österreich"}"#,
    ];
    let values: Vec<&[u8]> = rows.iter().map(|row| row.as_bytes()).collect();
    put(&broker, "transactions", 0, &values[..3]);
    put(
        &broker,
        "transactions",
        1,
        &[b"TransactionNo;Date;ProductNo", values[3], values[4], values[5]],
    );
    let data = dir.path().join("data");
    run("transactions.toml", "transactions", &broker, &data, dir.path());

    let answers = query(
        &data,
        &["bronze", "silver", "gold_countries", "gold_products", "dead_letters"],
        &[],
        None,
        &[
            (
                "rows",
                "SELECT * EXCLUDE (kafka_partition, kafka_offset) FROM bronze \
                 ORDER BY TransactionNo, Country",
            ),
            ("places", "SELECT kafka_partition, kafka_offset FROM bronze ORDER BY 1, 2"),
            (
                "silver",
                "SELECT transaction_no, date::VARCHAR, product_no, product_name, price, quantity, \
                 customer_no, country, cancelled FROM silver ORDER BY ALL",
            ),
            (
                "countries",
                "SELECT country, sales, cancellations, revenue FROM gold_countries ORDER BY 1",
            ),
            (
                "products",
                "SELECT product_no, product_name, quantity, revenue FROM gold_products ORDER BY 1",
            ),
            ("columns", "SELECT column_name, column_type FROM (DESCRIBE bronze)"),
            (
                "letters",
                "SELECT source, split, \"offset\", decode(payload), payload_bytes FROM dead_letters",
            ),
        ],
    );
    assert_eq!(
        answers["rows"],
        json!([
            [
                "581475",
                "12/9/2019",
                "22596",
                "Weihnachtsglöckchen \"Größe L\" 🎄",
                10.75,
                36,
                null,
                "Deutschland"
            ],
            ["581476", "", "16008", "", 0.0, 0, 1.0, "Österreich"],
            ["581476", "", "16008", "", 0.0, 0, 1.0, "Österreich"],
            [
                "581482",
                "12/9/2019",
                "22485",
                "Set Of 2 Wooden Market Crates",
                21.5,
                12,
                17490.0,
                "United Kingdom"
            ],
            [
                "C581484",
                "12/9/2019",
                "23843",
                "Paper Craft, Little Birdie",
                6.25,
                -80995,
                16446.0,
                "United Kingdom"
            ],
            [null, null, null, null, null, 1, null, "EIRE"],
        ])
    );
    assert_eq!(
        answers["columns"],
        json!([
            ["TransactionNo", "VARCHAR"],
            ["Date", "VARCHAR"],
            ["ProductNo", "VARCHAR"],
            ["ProductName", "VARCHAR"],
            ["Price", "FLOAT"],
            ["Quantity", "INTEGER"],
            ["CustomerNo", "FLOAT"],
            ["Country", "VARCHAR"],
            ["kafka_partition", "INTEGER"],
            ["kafka_offset", "BIGINT"],
        ])
    );
    // The second partition's first record is no JSON.
    assert_eq!(answers["places"], json!([[0, 0], [0, 1], [0, 2], [1, 1], [1, 2], [1, 3]]));
    let glass = "Weihnachtsglöckchen \"Größe L\" 🎄";
    let crates = "Set Of 2 Wooden Market Crates";
    let birdie = "Paper Craft, Little Birdie";
    let kingdom = "United Kingdom";
    let empty = json!(["581476", null, "16008", "", 0.0, 0, 1, "Österreich", false]);
    assert_eq!(
        answers["silver"],
        json!([
            ["581475", "2019-12-09", "22596", glass, 10.75, 36, null, "Deutschland", false],
            empty,
            empty,
            ["581482", "2019-12-09", "22485", crates, 21.5, 12, 17490, kingdom, false],
            ["C581484", "2019-12-09", "23843", birdie, 6.25, -80995, 16446, kingdom, true],
        ])
    );
    assert_eq!(
        answers["countries"],
        json!([
            ["Deutschland", 1, 0, 387.0],
            [kingdom, 1, 1, -505_960.75],
            ["Österreich", 2, 0, 0.0],
        ])
    );
    assert_eq!(
        answers["products"],
        json!([
            ["16008", "", 0, 0.0],
            ["22485", crates, 12, 258.0],
            ["22596", glass, 36, 387.0],
            ["23843", birdie, -80995, -506_218.75],
        ])
    );
    assert_eq!(
        answers["letters"],
        json!([["transactions", "transactions-1", 0, "TransactionNo;Date;ProductNo", 28]])
    );
}
