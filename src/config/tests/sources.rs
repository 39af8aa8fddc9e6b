//! Sources, formats and static tables as they are read, and their defaults.

use std::path::PathBuf;
use std::time::Duration;

use super::super::{
    AfterFile, CsvHeader, CsvMode, DebeziumPayload, DecimalSetting, DeltaStart, Environment,
    FileCompression, FileOrder, FilesSettings, FormatSettings, Framing, MetadataField,
    ProtobufOrigin, RegistryAuth, SchemaOrigin, Settings, SourceKind, StartOffset, StartPosition,
    TableKind, TimestampSetting, UnknownFields,
};
use super::{json, kafka, no_variables, over_base, variables};

fn read(case: &str) -> Settings {
    over_base(case, &no_variables()).unwrap_or_else(|errors| panic!("{errors}"))
}

#[track_caller]
fn files(settings: &Settings, source: usize) -> &FilesSettings {
    match &settings.sources[source].kind {
        SourceKind::Files(files) => files,
        other => panic!("the source is of type {}", other.name()),
    }
}

#[test]
fn where_a_topic_starts() {
    for (start, position) in [
        ("\"latest\"", StartPosition::Latest),
        (
            "{ timestamp = \"2026-11-21T10:00:00Z\" }",
            StartPosition::Timestamp(1_795_255_200_000_000),
        ),
        (
            "{ timestamp = \"2026-11-21 11:00:00.5+01:00\" }",
            StartPosition::Timestamp(1_795_255_200_500_000),
        ),
        ("{ timestamp = 2026-11-21T10:00:00Z }", StartPosition::Timestamp(1_795_255_200_000_000)),
        ("{ timestamp = 2026-11-21 }", StartPosition::Timestamp(1_795_219_200_000_000)),
        ("{ timestamp = \"2026-11-21 10:00\" }", StartPosition::Timestamp(1_795_255_200_000_000)),
        (
            "{ offsets = { web-logs-0 = 12, \"web-logs-1\" = \"latest\", web-logs-2 = -2 } }",
            StartPosition::Offsets(
                [
                    (("web-logs".to_owned(), 0), StartOffset::At(12)),
                    (("web-logs".to_owned(), 1), StartOffset::Latest),
                    (("web-logs".to_owned(), 2), StartOffset::Earliest),
                ]
                .into(),
            ),
        ),
    ] {
        let settings = read(&format!("[sources.logs]\nstart = {start}"));
        assert_eq!(kafka(&settings.sources[0]).start, position, "{start}");
    }
}

#[test]
fn a_pattern_of_topics_has_no_anchors() {
    for (written, pattern) in [
        ("^web-.*$", "web-.*"),
        ("web-.*", "web-.*"),
        ("a(b|[)])c", "a(b|[)])c"),
        ("a\\\\$", "a\\$"),
    ] {
        let case = format!(
            "[sources.more]\ntype = \"kafka\"\nbrokers = \"other:9092\"\nschema = \"a INT\"\n\
             topic_pattern = \"{written}\""
        );
        let settings = read(&case);
        let more = kafka(&settings.sources[1]);
        assert_eq!(more.topic_pattern.as_deref(), Some(pattern), "{written}");
        assert!(more.topics.is_empty());
    }
}

#[test]
fn files_by_default() {
    let settings = read("[sources.a]\ntype = \"files\"\npath = \"in\"\nschema = \"a INT\"");
    let files = files(&settings, 1);
    assert_eq!(files.path, "in");
    assert!(!files.recursive);
    assert_eq!(files.compression, FileCompression::Auto);
    assert_eq!(files.max_files_per_trigger, None);
    assert_eq!(files.order, FileOrder::Oldest);
    assert_eq!(files.settle, Duration::from_secs(1));
    assert_eq!(files.poll_interval, Duration::from_secs(1));
    assert_eq!(files.max_file_age, None);
    assert_eq!(files.after, AfterFile::Keep);
    let source = &settings.sources[1];
    assert_eq!(json(source).unknown_fields, UnknownFields::Ignore);
    assert_eq!(source.max_record_bytes, 16 << 20);
    assert!(source.metadata.is_empty() && source.watermark.is_none());
}

#[test]
fn all_that_can_be_said_of_files() {
    let settings = read(
        r##"
[sources.a]
type = "files"
path = "file:///var/in/*.csv.gz"
recursive = true
compression = "gzip"
max_files_per_trigger = 1
order = "newest"
settle = "0s"
poll_interval = "100ms"
max_file_age = "7d"
after = { archive = "/var/done" }
schema = "a INT"
max_record = "1MiB"
[sources.a.format]
type = "csv"
delimiter = ";"
quote = "'"
escape = "'"
header = true
null_value = "NULL"
comment = "#"
multiline = true
trim = true
mode = "permissive"
timestamps = "epoch_seconds"
timezone = "Europe/Rome"
columns = { b = "epoch_millis" }
[sources.a.metadata]
modified = "changed"
file = "path"
line = "line"
[sources.b]
type = "files"
path = "b/**/part-*.parquet"
after = "delete"
schema = "a INT"
format = { type = "parquet" }
"##,
    );
    let a = files(&settings, 1);
    assert_eq!(a.path, "/var/in/*.csv.gz");
    assert!(a.recursive);
    assert_eq!(a.compression, FileCompression::Gzip);
    assert_eq!(a.max_files_per_trigger, Some(1));
    assert_eq!(a.order, FileOrder::Newest);
    assert_eq!(a.settle, Duration::ZERO);
    assert_eq!(a.max_file_age, Some(Duration::from_secs(7 * 86_400)));
    assert_eq!(a.after, AfterFile::Archive(PathBuf::from("/var/done")));
    let Some(FormatSettings::Csv(csv)) = &settings.sources[1].format else { panic!("CSV") };
    assert_eq!((csv.delimiter, csv.quote, csv.escape), (b';', Some(b'\''), Some(b'\'')));
    assert_eq!((csv.header, csv.comment), (CsvHeader::Names, Some(b'#')));
    assert_eq!((csv.multiline, csv.trim, csv.mode), (true, true, CsvMode::Permissive));
    assert_eq!(csv.null_value, "NULL");
    assert_eq!(csv.times.timestamps, TimestampSetting::EpochSeconds);
    assert_eq!(csv.times.columns["b"], TimestampSetting::EpochMillis);
    let metadata: Vec<(MetadataField, &str)> = settings.sources[1]
        .metadata
        .iter()
        .map(|column| (column.field, column.column.as_str()))
        .collect();
    assert_eq!(
        metadata,
        [
            (MetadataField::Modified, "changed"),
            (MetadataField::File, "path"),
            (MetadataField::Line, "line")
        ]
    );
    assert_eq!(files(&settings, 2).after, AfterFile::Delete);
    assert!(matches!(settings.sources[2].format, Some(FormatSettings::Parquet)));
}

#[test]
fn csv_without_quotes() {
    let settings = read(
        "[sources.logs.format]\ntype = \"csv\"\ndelimiter = \"\\t\"\nquote = \"\"\nescape = \"\"",
    );
    let Some(FormatSettings::Csv(csv)) = &settings.sources[0].format else { panic!("CSV") };
    assert_eq!((csv.delimiter, csv.quote, csv.escape, csv.comment), (b'\t', None, None, None));
    assert_eq!(csv.header, CsvHeader::None);
}

#[test]
fn sockets_rates_and_delta_tables() {
    let settings = read(
        r#"
[sources.lines]
type = "socket"
host = "::1"
port = 9999
[sources.ticks]
type = "rate"
rows_per_second = 1000
ramp_up = "1m"
watermark = { column = "timestamp", delay = "0s" }
[sources.silver]
type = "delta"
path = "./data/silver"
start = { version = 0 }
ignore_deletes = true
max_files_per_trigger = 10
[sources.gold]
type = "delta"
path = "file:///data/gold"
schema = "a INT"
start = { timestamp = "1970-01-01" }
change_feed = true
"#,
    );
    let SourceKind::Socket(socket) = &settings.sources[1].kind else { panic!("a socket") };
    assert_eq!((socket.host.as_str(), socket.port), ("::1", 9999));
    assert_eq!(socket.initial_backoff, Duration::from_millis(500));
    assert_eq!(socket.max_backoff, Duration::from_secs(30));
    assert!(matches!(settings.sources[1].format, Some(FormatSettings::Text)));
    assert_eq!(settings.sources[1].schema_text, None);
    let SourceKind::Rate(rate) = &settings.sources[2].kind else { panic!("a rate") };
    assert_eq!((rate.rows_per_second, rate.ramp_up), (1000, Duration::from_secs(60)));
    assert!(settings.sources[2].format.is_none());
    let SourceKind::Delta(silver) = &settings.sources[3].kind else { panic!("a table") };
    assert_eq!(silver.start, DeltaStart::Version(0));
    assert!(silver.ignore_deletes && !silver.ignore_changes && !silver.change_feed);
    assert_eq!(silver.max_files_per_trigger, 10);
    let SourceKind::Delta(gold) = &settings.sources[4].kind else { panic!("a table") };
    assert_eq!(gold.start, DeltaStart::Timestamp(0));
    assert!(gold.change_feed);
    assert_eq!(gold.max_files_per_trigger, 1000);
    assert_eq!(settings.sources[4].schema_text.as_deref(), Some("a INT"));
    // What another room says of a schema that is not declared stands at the source.
    let error = settings.error_at_schema(&settings.sources[3], 7, "no such column", None);
    assert_eq!(error.location.map_or(String::new(), |at| at.to_string()), "case.toml:11:10");
}

#[test]
fn formats_with_schemas() {
    let environment = variables(&[("REGISTRY", "hunter2"), ("file:/run/token", "hunter3\n")]);
    let source = |name: &str, format: &str| {
        format!(
            "[sources.{name}]\ntype = \"kafka\"\nbrokers = \"{name}\"\ntopics = \"t\"\n\
             schema = \"a INT\"\nformat = {format}\n"
        )
    };
    let case = [
        source(
            "a",
            "{ type = \"avro\", registry = { url = [\"https://r:8081/\", \"http://s\"], username = \"me\", \
             password = \"${REGISTRY}\", ca_file = \"ca.pem\", timeout = \"1s\" } }",
        ),
        source("b", "{ type = \"avro\", schema_file = \"b.avsc\", framing = \"confluent\" }"),
        source(
            "c",
            "{ type = \"protobuf\", registry = { url = \"http://r\", token = \"${file:/run/token}\" } }",
        ),
        source("d", "{ type = \"protobuf\", proto_file = \"d.proto\", message = \"shop.v1.Order\" }"),
        source(
            "e",
            "{ type = \"json_schema\", schema_file = \"e.json\", validate = false, \
             unknown_fields = \"reject\" }",
        ),
        source("f", "{ type = \"debezium\", decimals = \"base64\", op_column = \"change\", timestamps = \"epoch_micros\" }"),
        source("g", "{ type = \"debezium\", payload = \"avro\", registry = { url = \"http://r\" } }"),
        source("h", "{ type = \"raw\" }"),
    ]
    .concat();
    let settings = over_base(&case, &environment).unwrap_or_else(|errors| panic!("{errors}"));
    let format = |source: usize| settings.sources[source].format.as_ref().expect("one is given");
    let FormatSettings::Avro(a) = format(1) else { panic!("Avro") };
    assert_eq!(a.framing, Framing::Confluent);
    let SchemaOrigin::Registry(registry) = &a.origin else { panic!("a registry") };
    assert_eq!(registry.urls, ["https://r:8081", "http://s"]);
    assert_eq!(registry.timeout, Duration::from_secs(1));
    assert_eq!(registry.ca_file, Some(PathBuf::from("ca.pem")));
    let RegistryAuth::Basic { username, password } = &registry.auth else { panic!("a user") };
    assert_eq!((username.as_str(), password.expose()), ("me", "hunter2"));
    let FormatSettings::Avro(b) = format(2) else { panic!("Avro") };
    assert_eq!(b.origin, SchemaOrigin::File(PathBuf::from("b.avsc")));
    assert_eq!(b.framing, Framing::Confluent);
    let FormatSettings::Protobuf(c) = format(3) else { panic!("Protobuf") };
    let ProtobufOrigin::Registry(registry) = &c.origin else { panic!("a registry") };
    let RegistryAuth::Bearer { token } = &registry.auth else { panic!("a token") };
    assert_eq!((token.expose(), &c.message), ("hunter3", &None));
    let FormatSettings::Protobuf(d) = format(4) else { panic!("Protobuf") };
    assert_eq!(d.origin, ProtobufOrigin::ProtoFile(PathBuf::from("d.proto")));
    assert_eq!((d.framing, d.message.as_deref()), (Framing::None, Some("shop.v1.Order")));
    let FormatSettings::JsonSchema(e) = format(5) else { panic!("JSON Schema") };
    assert!(!e.validate);
    assert_eq!(e.json.unknown_fields, UnknownFields::Reject);
    let FormatSettings::Debezium(f) = format(6) else { panic!("Debezium") };
    let DebeziumPayload::Json { json, decimals } = &f.payload else { panic!("JSON") };
    assert_eq!(*decimals, DecimalSetting::Base64);
    assert_eq!((f.op_column.as_deref(), &f.ts_column), (Some("change"), &None));
    assert_eq!(json.times.timestamps, TimestampSetting::EpochMicros);
    let FormatSettings::Debezium(g) = format(7) else { panic!("Debezium") };
    assert!(matches!(g.payload, DebeziumPayload::Avro(_)));
    assert!(matches!(format(8), FormatSettings::Raw));

    let shown = serde_json::to_string(&settings).expect("plain data") + &format!("{settings:?}");
    assert!(!shown.contains("hunter"), "{shown}");
    let json = serde_json::to_value(&settings).expect("plain data");
    assert_eq!(
        json["sources"][1]["format"],
        serde_json::json!({
            "type": "avro",
            "registry": {
                "url": ["https://r:8081", "http://s"], "username": "me", "password": "***",
                "ca_file": "ca.pem", "timeout": "1s",
            },
            "framing": "confluent",
        })
    );
    assert_eq!(
        json["sources"][5]["format"],
        serde_json::json!({
            "type": "json_schema", "schema_file": "e.json", "framing": "none", "validate": false,
            "timestamps": "auto", "timezone": "UTC", "unknown_fields": "reject",
        })
    );
    assert_eq!(
        json["sources"][6]["format"],
        serde_json::json!({
            "type": "debezium", "payload": "json", "timestamps": "epoch_micros",
            "timezone": "UTC", "unknown_fields": "ignore", "decimals": "base64", "op_column": "change",
        })
    );
}

#[test]
fn static_tables() {
    let settings = read(
        r#"
[tables.products]
type = "delta"
path = "./data/products"
[tables.stores]
type = "csv"
path = "stores.csv"
schema = ["id INT", "city STRIN"]
refresh = "never"
[tables.stores.format]
header = "skip"
[tables.codes]
type = "json"
path = "codes/*.json"
schema = "code INT"
refresh = "5m"
[tables.prices]
type = "parquet"
path = "prices"
"#,
    );
    let tables = &settings.tables;
    assert_eq!(tables[0].kind, TableKind::Delta);
    assert_eq!(tables[0].refresh, Some(Duration::from_secs(30)));
    assert_eq!(tables[0].schema_text, None);
    let TableKind::Csv(csv) = &tables[1].kind else { panic!("CSV") };
    assert_eq!(csv.header, CsvHeader::Skip);
    assert_eq!(tables[1].refresh, None);
    assert_eq!(tables[2].refresh, Some(Duration::from_secs(300)));
    assert_eq!(tables[3].kind, TableKind::Parquet);
    let error = settings.error_at_table_schema(&tables[1], 13, "unknown type", None);
    assert_eq!(error.location.map_or(String::new(), |at| at.to_string()), "case.toml:8:27");
    let json = serde_json::to_value(&settings).expect("plain data");
    assert_eq!(json["tables"][0]["type"], "delta");
    assert_eq!(json["tables"][1]["format"]["header"], "skip");
    assert_eq!(json["tables"][1]["refresh"], "never");
}

#[test]
fn sources_as_json() {
    let settings = read(
        r#"
[sources.logs]
start = { offsets = { web-logs-0 = 12, web-logs-1 = "earliest" } }
[sources.logs.metadata]
key = "key"
[sources.a]
type = "files"
path = "a"
after = { archive = "b" }
schema = "a INT"
format = { type = "csv", quote = "" }
[sources.b]
type = "rate"
[sources.c]
type = "delta"
path = "c"
start = { timestamp = "2026-01-01 00:00:00.25" }
"#,
    );
    let json = serde_json::to_value(&settings).expect("plain data");
    let sources = &json["sources"];
    assert_eq!(
        sources[0]["start"],
        serde_json::json!({ "offsets": { "web-logs-0": 12, "web-logs-1": "earliest" } })
    );
    assert_eq!(sources[0]["metadata"], serde_json::json!({ "key": "key" }));
    assert_eq!(sources[0]["schema"], "timestamp TIMESTAMP NOT NULL, ip STRING");
    assert_eq!(sources[0]["watermark"]["delay"], "2m");
    assert_eq!(sources[1]["after"], serde_json::json!({ "archive": "b" }));
    assert_eq!(sources[1]["max_file_age"], "never");
    assert_eq!(
        sources[1]["format"],
        serde_json::json!({
            "type": "csv", "delimiter": ",", "quote": "", "escape": "\\", "header": "none",
            "null_value": "", "comment": "", "multiline": false, "trim": false, "mode": "strict",
            "timestamps": "auto", "timezone": "UTC",
        })
    );
    assert_eq!(sources[2]["type"], "rate");
    assert!(sources[2].get("format").is_none() && sources[2].get("schema").is_none());
    assert_eq!(sources[3]["start"], serde_json::json!({ "timestamp": "2026-01-01T00:00:00.250Z" }));
}

#[test]
fn what_is_not_known_is_not_judged() {
    let settings = over_base(
        r#"
trigger = "${TRIGGER}"
[sources.a]
type = "files"
path = "${IN}/[x"
order = "${ORDER}"
schema = "a INT"
after = { archive = "${IN}/done" }
format = { type = "csv", delimiter = "${D}" }
[sources.b]
type = "kafka"
brokers = "${B}"
topic_pattern = "${P}("
start = { timestamp = "${T}" }
schema = "a INT"
[sources.b.format]
type = "avro"
registry = { url = "${R}", username = "${U}", password = "${file:/no/such}" }
[queries.x]
sql = "SELECT 1"
trigger = "${TRIGGER}"
[queries.x.sink]
type = "postgres"
url = "${DATABASE_URL}"
table = "${T}.a.b"
[queries.y]
sql = "SELECT 1"
sink = { type = "console", truncate = "${N}" }
[[tests]]
name = "x"
query = "${Q}"
batches = [{ input = [{ source = "${S}", rows = [{ a = "${A}" }] }] }]
expect = [{ rows = [] }]
"#,
        &Environment::None,
    )
    .unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(files(&settings, 1).path, "${IN}/[x");
}
