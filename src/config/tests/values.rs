//! Values that are read as they should be, and the defaults of those that are left out.

use std::path::PathBuf;
use std::time::Duration;

use super::super::{
    Compression, Environment, LogFormat, OptionValue, OutputMode, Settings, StartPosition,
    TimestampSetting, Trigger, UnknownFields, parse_str,
};
use super::{BASE, delta, json, kafka, no_variables, over_base};

fn read(case: &str) -> Settings {
    over_base(case, &no_variables()).unwrap_or_else(|errors| panic!("{errors}"))
}

#[test]
fn defaults() {
    let settings = parse_str("base.toml", BASE, &no_variables()).expect("the base is valid");
    assert_eq!(settings.name, "weblogs");
    assert_eq!(settings.data_dir, PathBuf::from("./data"));
    assert_eq!(settings.shards, 2);
    assert_eq!(settings.memory.in_flight, 64 << 20);
    assert_eq!(settings.checkpoint.directory, PathBuf::from("./data/checkpoints/weblogs"));
    assert_eq!(settings.trigger, Trigger::Interval(Duration::from_secs(10)));
    assert_eq!(settings.checkpoint.interval, Duration::from_secs(10));
    assert_eq!(settings.checkpoint.timeout, Duration::from_secs(600));
    assert_eq!(settings.checkpoint.drain_timeout, Duration::from_secs(30));
    assert_eq!(settings.restart.initial_backoff, Duration::from_millis(500));
    assert_eq!(settings.restart.max_backoff, Duration::from_secs(30));
    assert_eq!(settings.restart.reset_after, Duration::from_secs(60));
    assert_eq!(settings.restart.max_restarts, None);
    assert_eq!(settings.stop_timeout, Duration::from_secs(8));
    assert!(settings.server.enabled);
    assert_eq!(settings.server.listen.to_string(), "127.0.0.1:9898");
    assert!(!settings.server.allow_remote);
    assert_eq!(settings.logging.level, "info");
    assert_eq!(settings.logging.format, LogFormat::Text);
    assert!(settings.dead_letters.enabled);
    assert_eq!(settings.dead_letters.path, "./data/dead_letters");
    assert_eq!(settings.dead_letters.max_payload, 64 << 10);
    assert_eq!(settings.files, vec![PathBuf::from("base.toml")]);

    let source = &settings.sources[0];
    let kafka = kafka(source);
    assert_eq!(kafka.brokers, "localhost:9092");
    assert_eq!(kafka.group_id, "millpond-weblogs");
    assert_eq!(kafka.start, StartPosition::Earliest);
    assert_eq!(json(source).times.timestamps, TimestampSetting::Auto);
    assert_eq!(json(source).times.timezone, chrono_tz::Tz::UTC);
    assert_eq!(json(source).unknown_fields, UnknownFields::Ignore);
    assert_eq!(source.max_record_bytes, 16 << 20);
    assert_eq!(source.batch.max_rows, 8192);
    assert_eq!(source.batch.max_bytes, 4 << 20);
    assert_eq!(source.batch.linger, Duration::from_millis(20));
    let watermark = source.watermark.as_ref().expect("the base declares one");
    assert_eq!(watermark.delay, Duration::from_secs(120));
    assert_eq!(watermark.idle_timeout, Some(Duration::from_secs(30)));
    assert!(!watermark.wall_clock);

    assert_eq!(settings.queries[0].mode, OutputMode::Append);
    let sink = delta(&settings, 0);
    assert_eq!(sink.compression, Compression::Snappy);
    assert_eq!(sink.target_file_size, 64 << 20);
    assert_eq!(sink.checkpoint_interval, 10);
    assert!(!sink.evolve && sink.partition_by.is_empty() && sink.properties.is_empty());
}

#[test]
fn everything_that_can_be_said() {
    let settings = read(
        r#"
data_dir = "/var/lib/millpond"
shards = 64
stop_timeout = "1m"
[memory]
in_flight = 100000000
[checkpoint]
directory = "/var/lib/checkpoint"
interval = "500ms"
timeout = "1 hour"
drain_timeout = "1 minute 30 seconds"
[restart]
initial_backoff = "1s"
max_backoff = "2s"
reset_after = "1d"
max_restarts = 0
[server]
listen = "[::]:80"
allow_remote = true
[logging]
level = "info,millpond=debug"
format = "json"
[dead_letters]
enabled = false
max_payload = "1KiB"
[sources.logs]
brokers = ["a:9092", "b"]
topics = "one"
group_id = "g"
start = "latest"
schema = ["a INT", "b STRING,", "c DOUBLE"]
max_record = "1MB"
[sources.logs.options]
security.protocol = "ssl"
"fetch.min.bytes" = 10
socket.keepalive.enable = true
"ssl.key.pem" = "pem"
[sources.logs.format]
timestamps = "epoch_millis"
timezone = "Europe/Rome"
unknown_fields = "reject"
columns = { "odd name" = "epoch_seconds" }
[sources.logs.watermark]
idle_timeout = "never"
[queries.bronze.sink]
partition_by = "date"
compression = "zstd(19)"
evolve = "add"
checkpoint_interval = 100
properties = { "delta.appendOnly" = true }
[queries.second]
sql = "SELECT 1"
[[queries.second.sinks]]
type = "delta"
path = "file:///tmp/second"
[detectors.spike]
kind = "traffic_spike"
query = "second"
value = "requests"
key = ["endpoint", "method"]
weight = "n"
window = "w"
threshold = 3.5
season = { days = 7 }
"#,
    );
    assert_eq!(settings.checkpoint.drain_timeout, Duration::from_secs(90));
    assert_eq!(settings.restart.max_restarts, Some(0));
    assert_eq!(settings.server.listen.to_string(), "[::]:80");
    let source = &settings.sources[0];
    let kafka = kafka(source);
    assert_eq!(kafka.brokers, "a:9092,b");
    assert_eq!(source.schema_text.as_deref(), Some("a INT,\nb STRING,\nc DOUBLE"));
    assert_eq!(json(source).times.columns["odd name"], TimestampSetting::EpochSeconds);
    assert_eq!(source.watermark.as_ref().and_then(|watermark| watermark.idle_timeout), None);
    let options: Vec<(&str, &str, bool)> = kafka
        .options
        .iter()
        .map(|(name, value)| (name.as_str(), value.expose(), value.is_secret()))
        .collect();
    assert_eq!(
        options,
        [
            ("fetch.min.bytes", "10", false),
            ("security.protocol", "ssl", false),
            ("socket.keepalive.enable", "true", false),
            ("ssl.key.pem", "pem", true),
        ]
    );
    assert_eq!(kafka.options["security.protocol"], OptionValue::Plain("ssl".to_owned()));
    let sink = delta(&settings, 0);
    assert_eq!(sink.compression, Compression::Zstd(19));
    assert_eq!(sink.properties["delta.appendOnly"], "true");
    assert_eq!(delta(&settings, 1).path, "file:///tmp/second");
    let detector = &settings.detectors[0];
    assert_eq!(detector.key, ["endpoint", "method"]);
    assert_eq!(detector.sink.path, "/var/lib/millpond/anomalies");
    assert_eq!(detector.parameters.keys().collect::<Vec<_>>(), ["season", "threshold"]);
    assert_eq!(detector.parameters["season"]["days"].as_integer(), Some(7));
}

#[test]
fn the_order_of_the_file_is_kept() {
    let settings = read(
        r#"
[queries.z]
sql = "SELECT 1"
sink = { type = "delta", path = "z" }
[queries.a]
sql = "SELECT 1"
sink = { type = "delta", path = "a" }
"#,
    );
    let names: Vec<&str> = settings.queries.iter().map(|query| query.name.as_str()).collect();
    assert_eq!(names, ["bronze", "z", "a"]);
}

#[test]
fn detectors_may_share_a_table() {
    let settings = read(
        r#"
[detectors.a]
kind = "x"
query = "bronze"
value = "n"
sink = { path = "./data/found" }
[detectors.b]
kind = "x"
query = "bronze"
value = "n"
sink = { path = "data/found/" }
"#,
    );
    assert_eq!(settings.detectors.len(), 2);
}

#[test]
fn without_an_environment_placeholders_stay_and_their_values_are_not_checked() {
    let settings = over_base(
        r#"
shards = "${SHARDS}"
[checkpoint]
interval = "${INTERVAL:-20s}"
[server]
listen = "${LISTEN}"
[sources.logs]
brokers = "${BROKERS}"
topics = ["${TOPIC}"]
[sources.logs.options]
"sasl.password" = "${file:/run/secrets/kafka}"
"ssl.ca.location" = "/no/such/file"
[queries.bronze.sink]
path = "${BUCKET}/bronze"
compression = "${CODEC}"
"#,
        &Environment::None,
    )
    .unwrap_or_else(|errors| panic!("{errors}"));
    let kafka = kafka(&settings.sources[0]);
    assert_eq!(kafka.brokers, "${BROKERS}");
    assert_eq!(kafka.topics, ["${TOPIC}"]);
    assert_eq!(kafka.options["sasl.password"].expose(), "${file:/run/secrets/kafka}");
    assert_eq!(delta(&settings, 0).path, "${BUCKET}/bronze");
    assert_eq!(settings.checkpoint.interval, Duration::from_secs(20));
}

#[test]
fn settings_can_be_serialised() {
    let settings = read("[sources.logs.options]\n\"sasl.password\" = \"hunter2\"");
    let json = serde_json::to_value(&settings).expect("plain data");
    assert_eq!(json["checkpoint"]["interval"], "10s");
    assert_eq!(json["sources"][0]["type"], "kafka");
    assert_eq!(json["sources"][0]["options"]["sasl.password"], "***");
    assert_eq!(json["queries"][0]["sinks"][0]["compression"], "snappy");
}
