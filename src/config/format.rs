//! `[sources.NAME.format]`: reading it.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono_tz::Tz;
use url::Url;

use super::diagnostics::ConfigError;
use super::document::Value;
use super::model::{
    AvroFormat, CsvFormat, CsvHeader, CsvMode, DebeziumFormat, DebeziumPayload, DecimalSetting,
    FormatSettings, Framing, JsonFormat, JsonSchemaFormat, ProtobufFormat, ProtobufOrigin,
    RegistryAuth, RegistrySettings, SchemaOrigin, TimeSettings, TimestampSetting, UnknownFields,
};
use super::section::Section;
use super::suggest;

pub(crate) const TIMESTAMPS: &[(&str, TimestampSetting)] = &[
    ("auto", TimestampSetting::Auto),
    ("epoch_seconds", TimestampSetting::EpochSeconds),
    ("epoch_millis", TimestampSetting::EpochMillis),
    ("epoch_micros", TimestampSetting::EpochMicros),
];

const REGISTRY: &str = "{ url = \"http://localhost:8081\" }";

/// What carries the records.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carrier {
    /// Messages: any bytes.
    Kafka,
    /// Lines, or whole files.
    Files,
    /// Lines.
    Socket,
}

#[derive(Clone, Copy)]
enum Kind {
    Json,
    Csv,
    Text,
    Raw,
    Avro,
    Protobuf,
    JsonSchema,
    Debezium,
    Parquet,
}

/// The format of a source, from its `[sources.NAME.format]`.
pub(crate) fn read(section: &Section<'_>, carrier: Carrier) -> Option<FormatSettings> {
    const BINARY: &str = "its records are not lines of text: of `kafka` sources only";
    const KAFKA: &str = "it has the columns of Kafka: of `kafka` sources only";
    const FILES: &str = "it is a format of whole files: of `files` sources only";
    const OTHERS: [(&str, &str); 4] = [
        ("ndjson", "write \"json\": a line is a record"),
        ("binary", "write \"raw\""),
        ("json-schema", "write \"json_schema\""),
        ("orc", "Parquet, JSON, CSV and text files can be read"),
    ];
    let mut choices = vec![("json", Kind::Json), ("csv", Kind::Csv), ("text", Kind::Text)];
    let mut refused = OTHERS.to_vec();
    let lines = [("json_schema", Kind::JsonSchema), ("debezium", Kind::Debezium)];
    let binary = [("raw", Kind::Raw), ("avro", Kind::Avro), ("protobuf", Kind::Protobuf)];
    if carrier == Carrier::Kafka {
        choices.extend(binary);
    } else {
        refused.extend([("raw", KAFKA), ("avro", BINARY), ("protobuf", BINARY)]);
    }
    choices.extend(lines);
    if carrier == Carrier::Files {
        choices.push(("parquet", Kind::Parquet));
    } else {
        refused.push(("parquet", FILES));
    }
    let default = if carrier == Carrier::Socket { Kind::Text } else { Kind::Json };
    let kind = match section.entry("type") {
        // What belongs to a format that is not known cannot be judged.
        Some(entry) => section.choose("type", &entry.node, &choices, &refused)?,
        None => default,
    };
    let format = match kind {
        Kind::Json => Some(FormatSettings::Json(json(section))),
        Kind::Csv => Some(FormatSettings::Csv(csv(section, carrier == Carrier::Files))),
        Kind::Text => Some(FormatSettings::Text),
        Kind::Raw => Some(FormatSettings::Raw),
        Kind::Avro => avro(section).map(FormatSettings::Avro),
        Kind::Protobuf => protobuf(section).map(FormatSettings::Protobuf),
        Kind::JsonSchema => json_schema(section, carrier).map(FormatSettings::JsonSchema),
        Kind::Debezium => debezium(section, carrier).map(FormatSettings::Debezium),
        Kind::Parquet => Some(FormatSettings::Parquet),
    };
    section.finish();
    format
}

fn times(section: &Section<'_>) -> TimeSettings {
    let timestamps = section.choice("timestamps", TIMESTAMPS, &[], TimestampSetting::Auto);
    let expected = "a time zone of the IANA database, such as \"UTC\" or \"Europe/Rome\"";
    let zone = section.string("timezone", expected).filter(|found| !found.unresolved);
    let timezone = zone.map_or(Tz::UTC, |found| {
        found.text.parse().unwrap_or_else(|_| {
            let names = chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name());
            let help = suggest::did_you_mean(found.text, names);
            section.reject("timezone", found.node, expected, help);
            Tz::UTC
        })
    });
    let by_column = section.section("columns");
    let columns: BTreeMap<String, TimestampSetting> = by_column
        .entries()
        .iter()
        .filter_map(|entry| {
            let chosen = by_column.choose(&entry.key, &entry.node, TIMESTAMPS, &[])?;
            Some((entry.key.clone(), chosen))
        })
        .collect();
    TimeSettings { timestamps, timezone, columns }
}

/// The keys of `type = "json"`; `finish` is the caller's.
pub(crate) fn json(section: &Section<'_>) -> JsonFormat {
    JsonFormat {
        times: times(section),
        unknown_fields: section.choice(
            "unknown_fields",
            &[("ignore", UnknownFields::Ignore), ("reject", UnknownFields::Reject)],
            &[],
            UnknownFields::Ignore,
        ),
    }
}

/// The keys of `type = "csv"`; `finish` is the caller's.
pub(crate) fn csv(section: &Section<'_>, files: bool) -> CsvFormat {
    let default = CsvFormat::default();
    let format = CsvFormat {
        delimiter: section.character("delimiter", false).flatten().unwrap_or(default.delimiter),
        quote: section.character("quote", true).unwrap_or(default.quote),
        escape: section.character("escape", true).unwrap_or(default.escape),
        header: header(section, files),
        null_value: null_value(section).unwrap_or(default.null_value),
        comment: section.character("comment", true).unwrap_or(default.comment),
        multiline: section.boolean("multiline", default.multiline),
        trim: section.boolean("trim", default.trim),
        mode: section.choice(
            "mode",
            &[("strict", CsvMode::Strict), ("permissive", CsvMode::Permissive)],
            &[
                ("FAILFAST", "write \"strict\": what does not fit is a dead letter"),
                ("DROPMALFORMED", "write \"strict\": what does not fit is a dead letter"),
            ],
            default.mode,
        ),
        times: times(section),
    };
    if format.multiline && !files {
        let error = ConfigError::new("records are not cut at the ends of lines here")
            .expected("`multiline` in a source of files, or none");
        section.report("multiline", &section.location("multiline"), error);
    }
    let same = |a: Option<u8>, b: Option<u8>| a.is_some() && a == b;
    for (key, value, others) in [
        ("quote", format.quote, vec![("delimiter", Some(format.delimiter))]),
        ("escape", format.escape, vec![("delimiter", Some(format.delimiter))]),
        (
            "comment",
            format.comment,
            vec![("delimiter", Some(format.delimiter)), ("quote", format.quote)],
        ),
    ] {
        let Some((other, _)) = others.iter().find(|(_, other)| same(value, *other)) else {
            continue;
        };
        let error = ConfigError::new(format!("`{key}` and `{other}` are the same character"))
            .expected("characters that can be told apart");
        let key = if section.has(key) { key } else { other };
        section.report(key, &section.location(key), error);
    }
    format
}

fn header(section: &Section<'_>, files: bool) -> CsvHeader {
    const EXPECTED: &str = "true (it names the columns), false (it is a row) or \"skip\"";
    let Some(entry) = section.entry("header") else { return CsvHeader::None };
    let header = match &entry.node.value {
        Value::Boolean(true) => CsvHeader::Names,
        Value::Boolean(false) => CsvHeader::None,
        _ => {
            let skip = [("skip", CsvHeader::Skip)];
            let header = section.choose_of("header", &entry.node, &skip, &[], EXPECTED);
            header.unwrap_or(CsvHeader::None)
        }
    };
    if header != CsvHeader::None && !files {
        let error = ConfigError::new("each record is a row: there is no first line")
            .expected("`header` in a source of files, or none");
        section.report("header", &entry.node.at, error);
    }
    header
}

fn null_value(section: &Section<'_>) -> Option<String> {
    let node = &section.entry("null_value")?.node;
    Some(section.as_string("null_value", node, "the text that stands for NULL")?.text.to_owned())
}

/// `registry` or a file, and how records are framed.
fn origin(section: &Section<'_>, example: &str) -> Option<SchemaOrigin> {
    let keys = [("registry", REGISTRY), ("schema_file", example)];
    if section.one_of(&keys)? == "registry" {
        return registry(section).map(SchemaOrigin::Registry);
    }
    section.file("schema_file", "the path of a schema").map(SchemaOrigin::File)
}

fn framing(section: &Section<'_>, by_registry: bool) -> Framing {
    let default = if by_registry { Framing::Confluent } else { Framing::None };
    let choices = [("confluent", Framing::Confluent), ("none", Framing::None)];
    let framing = section.choice("framing", &choices, &[], default);
    if by_registry && framing == Framing::None {
        let error = ConfigError::new("records without framing do not say which schema they have")
            .expected("\"confluent\", or a file in place of `registry`");
        section.report("framing", &section.location("framing"), error);
    }
    framing
}

fn avro(section: &Section<'_>) -> Option<AvroFormat> {
    let origin = origin(section, "\"order.avsc\"");
    let framing = framing(section, section.has("registry"));
    Some(AvroFormat { origin: origin?, framing })
}

fn protobuf(section: &Section<'_>) -> Option<ProtobufFormat> {
    const FILE: &str = "the path of a file";
    const MESSAGE: &str = "the full name of a message, such as \"shop.v1.Order\"";
    let keys = [
        ("registry", REGISTRY),
        ("descriptor_file", "\"order.desc\""),
        ("proto_file", "\"order.proto\""),
    ];
    let origin = match section.one_of(&keys) {
        Some("registry") => registry(section).map(ProtobufOrigin::Registry),
        Some("descriptor_file") => {
            section.file("descriptor_file", FILE).map(ProtobufOrigin::DescriptorFile)
        }
        Some(_) => section.file("proto_file", FILE).map(ProtobufOrigin::ProtoFile),
        None => None,
    };
    let message = section.string("message", MESSAGE);
    let by_registry = section.has("registry");
    if !by_registry && !section.has("message") {
        section.missing("message", "\"shop.v1.Order\"");
    }
    if let Some(found) = message.filter(|found| !found.unresolved) {
        let part = |part: &str| {
            part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        };
        if !found.text.split('.').all(part) {
            section.reject("message", found.node, MESSAGE, None);
        }
    }
    let framing = framing(section, by_registry);
    let message = message.map(|found| found.text.to_owned());
    Some(ProtobufFormat { origin: origin?, message, framing })
}

fn json_schema(section: &Section<'_>, carrier: Carrier) -> Option<JsonSchemaFormat> {
    let origin = origin(section, "\"order.schema.json\"");
    let by_registry = section.has("registry");
    let framing = framing(section, by_registry);
    if framing == Framing::Confluent && carrier != Carrier::Kafka {
        let key = if by_registry { "registry" } else { "framing" };
        let error = ConfigError::new("lines of text do not begin with the id of their schema")
            .expected("`schema_file`, without framing");
        section.report(key, &section.location(key), error);
    }
    let validate = section.boolean("validate", true);
    let json = json(section);
    Some(JsonSchemaFormat { origin: origin?, framing, validate, json })
}

fn debezium(section: &Section<'_>, carrier: Carrier) -> Option<DebeziumFormat> {
    let (choices, refused): (&[_], &[_]) = if carrier == Carrier::Kafka {
        (&[("json", false), ("avro", true)], &[])
    } else {
        (&[("json", false)], &[("avro", "its records are not lines of text")])
    };
    let payload = if section.choice("payload", choices, refused, false) {
        let message = "has no effect: Avro's decimals say what they are";
        section.forbid(&["decimals"], message, "`payload = \"json\"`, or no `decimals`");
        avro(section).map(DebeziumPayload::Avro)
    } else {
        let decimals = section.choice(
            "decimals",
            &[("text", DecimalSetting::Text), ("base64", DecimalSetting::Base64)],
            &[
                ("precise", "write \"base64\""),
                ("double", "write \"text\""),
                ("string", "write \"text\""),
            ],
            DecimalSetting::Text,
        );
        Some(DebeziumPayload::Json { json: json(section), decimals })
    };
    const COLUMN: &str = "the name of a column to be";
    let op_column = section.text("op_column", COLUMN);
    let ts_column = section.text("ts_column", COLUMN);
    if op_column.is_some() && op_column == ts_column {
        let error = ConfigError::new("`op_column` has this name").expected("names that differ");
        section.report("ts_column", &section.location("ts_column"), error);
    }
    Some(DebeziumFormat { payload: payload?, op_column, ts_column })
}

/// The table `registry`; nothing if there is none, or it has errors.
pub(crate) fn registry(section: &Section<'_>) -> Option<RegistrySettings> {
    if !section.has("registry") {
        return None;
    }
    let section = section.section("registry");
    let urls = registry_urls(&section);
    let username = section.string("username", "the name of a user");
    let password = section.secret("password", "a password");
    let token = section.secret("token", "a token");
    if section.has("token") {
        section.forbid(&["username", "password"], "is given beside `token`", "one of them");
    } else if section.has("username") != section.has("password") {
        let (given, lacks) = if section.has("username") {
            ("username", "password")
        } else {
            ("password", "username")
        };
        let error = ConfigError::new(format!("`{given}` is given without `{lacks}`"))
            .expected("both of them, or none");
        section.report(given, &section.location(given), error);
    }
    let auth = match (token, username, password) {
        (Some((token, _)), ..) => RegistryAuth::Bearer { token },
        (None, Some(username), Some((password, _))) => {
            RegistryAuth::Basic { username: username.text.to_owned(), password }
        }
        _ => RegistryAuth::None {},
    };
    let ca_file = section.file("ca_file", "the path of a file of certificates, PEM");
    let second = Duration::from_secs(1);
    let timeout = section.duration("timeout", 5 * second, Duration::from_millis(100), 600 * second);
    section.finish();
    Some(RegistrySettings { urls: urls?, auth, ca_file, timeout })
}

/// One address, or several of registries that stand for each other.
fn registry_urls(section: &Section<'_>) -> Option<Vec<String>> {
    const EXPECTED: &str = "an address, such as \"http://localhost:8081\"";
    if !section.has("url") {
        section.missing("url", "\"http://localhost:8081\"");
    }
    let found = section.strings("url", EXPECTED);
    let mut urls = Vec::new();
    for found in found {
        let text = found.text.trim();
        if found.unresolved {
            urls.push(text.to_owned());
            continue;
        }
        let help = match Url::parse(text) {
            Ok(url) if !url.username().is_empty() || url.password().is_some() => {
                let help = "write `username` and `password` beside it: those are not shown";
                let error = ConfigError::new("this address has a user in it").expected(EXPECTED);
                section.report("url", &found.node.at, error.help(help.to_owned()));
                continue;
            }
            Ok(url) if url.query().is_some() || url.fragment().is_some() => None,
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => {
                urls.push(text.trim_end_matches('/').to_owned());
                continue;
            }
            _ if text.starts_with("http") => None,
            _ => Some("begin with `http://` or `https://`".to_owned()),
        };
        section.reject("url", found.node, EXPECTED, help);
    }
    if let Some(entry) = section.entry("url")
        && matches!(&entry.node.value, Value::Array(items) if items.is_empty())
    {
        let error = ConfigError::new("this array is empty").expected(EXPECTED);
        section.report("url", &entry.node.at, error);
    }
    (!urls.is_empty()).then_some(urls)
}
