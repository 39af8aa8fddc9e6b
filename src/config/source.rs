//! `[sources.NAME]`: reading it.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono_tz::Tz;
use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;

use super::diagnostics::ConfigError;
use super::document::{Node, Origin, Value};
use super::kafka_options::{FILES, NAMES, OTHER_CLIENTS, OWNED, is_secret_option};
use super::model::{
    BatchSettings, FormatKind, FormatSettings, KafkaSettings, SourceKind, SourceSettings,
    StartPosition, TimestampSetting, UnknownFields, WatermarkSettings,
};
use super::names::check_name;
use super::secret::{OptionValue, Secret};
use super::section::Section;
use super::suggest;
use super::text::TextLocation;

const TIMESTAMPS: &[(&str, TimestampSetting)] = &[
    ("auto", TimestampSetting::Auto),
    ("epoch_seconds", TimestampSetting::EpochSeconds),
    ("epoch_millis", TimestampSetting::EpochMillis),
    ("epoch_micros", TimestampSetting::EpochMicros),
];

const SCHEMA: &str = "columns as Spark SQL declares them";
const SCHEMA_EXAMPLE: &str = "\"timestamp TIMESTAMP NOT NULL, ip STRING\"";

/// Only what has errors comes back as nothing.
pub(crate) fn read(name: &str, section: &Section<'_>, pipeline: &str) -> Option<SourceSettings> {
    check_name(section, name, "source");
    section.choice(
        "type",
        &[("kafka", ())],
        &[
            ("files", "only Kafka topics can be read so far"),
            ("socket", "only Kafka topics can be read so far"),
            ("rate", "only Kafka topics can be read so far"),
            ("delta", "only Kafka topics can be read so far"),
        ],
        (),
    );
    if !section.has("type") {
        section.missing("type", "\"kafka\"");
    }
    let kafka = kafka(section, pipeline);
    let schema = schema(section);
    let settings = SourceSettings {
        name: name.to_owned(),
        format: format(&section.section("format")),
        watermark: watermark(section),
        batch: batch(&section.section("batch")),
        max_record_bytes: section.size("max_record", 16 << 20, 1, 1 << 30),
        location: section.header.clone(),
        kind: SourceKind::Kafka(kafka?),
        schema_text: String::new(),
        schema_location: TextLocation::new(section.header.source(), vec![]),
    };
    section.finish();
    let (schema_text, schema_location) = schema?;
    Some(SourceSettings { schema_text, schema_location, ..settings })
}

/// The columns: one string, or lines of one, which commas are put between where they lack them.
fn schema(section: &Section<'_>) -> Option<(String, TextLocation)> {
    if !section.has("schema") {
        section.missing("schema", SCHEMA_EXAMPLE);
    }
    let lines = section.strings("schema", SCHEMA);
    let file = lines.first()?.node.at.source().clone();
    let mut text = String::new();
    let mut offsets = Vec::new();
    let mut end = 0;
    for line in &lines {
        if !text.is_empty() {
            let comma = if text.trim_end().ends_with(',') { "\n" } else { ",\n" };
            text.push_str(comma);
            offsets.extend(std::iter::repeat_n(end, comma.len()));
        }
        let in_file = line.offsets();
        text.push_str(line.text);
        offsets.extend(in_file.iter().take(line.text.len()));
        end = in_file.last().copied().unwrap_or(0);
    }
    offsets.push(end);
    Some((text, TextLocation::new(&file, offsets)))
}

fn format(section: &Section<'_>) -> FormatSettings {
    let refused = [
        ("csv", "only JSON can be decoded so far"),
        ("avro", "only JSON can be decoded so far"),
        ("text", "only JSON can be decoded so far"),
        ("protobuf", "only JSON can be decoded so far"),
    ];
    let kind = section.choice("type", &[("json", FormatKind::Json)], &refused, FormatKind::Json);
    let timestamps = section.choice("timestamps", TIMESTAMPS, &[], TimestampSetting::Auto);
    let unknown_fields = section.choice(
        "unknown_fields",
        &[("ignore", UnknownFields::Ignore), ("reject", UnknownFields::Reject)],
        &[],
        UnknownFields::Ignore,
    );
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
    let columns = by_column
        .entries()
        .iter()
        .filter_map(|entry| {
            let chosen = by_column.choose(&entry.key, &entry.node, TIMESTAMPS, &[])?;
            Some((entry.key.clone(), chosen))
        })
        .collect();
    section.finish();
    FormatSettings { kind, timestamps, timezone, unknown_fields, columns }
}

fn watermark(source: &Section<'_>) -> Option<WatermarkSettings> {
    let section = source.section("watermark");
    let column = if source.has("watermark") {
        let column = section.required("column", "the name of a TIMESTAMP column", "\"timestamp\"");
        if !section.has("delay") {
            section.missing("delay", "\"2 minutes\"");
        }
        column
    } else {
        section.string("column", "the name of a TIMESTAMP column")
    };
    let day = Duration::from_secs(86_400);
    let delay = section.duration("delay", Duration::ZERO, Duration::ZERO, 365 * day);
    let idle_timeout = section
        .duration_or("idle_timeout", &["never"], Duration::from_millis(100), 365 * day)
        .unwrap_or(Some(Duration::from_secs(30)));
    let wall_clock = section.boolean("wall_clock", false);
    if wall_clock && idle_timeout.is_none() {
        let error = ConfigError::new("`wall_clock` has no effect: no partition is ever idle")
            .expected("an `idle_timeout` that is a duration, or no `wall_clock`");
        section.report("wall_clock", &section.location("wall_clock"), error);
    }
    section.finish();
    Some(WatermarkSettings { column: column?.text.to_owned(), delay, idle_timeout, wall_clock })
}

fn batch(section: &Section<'_>) -> BatchSettings {
    let max_rows = section.integer("max_rows", 1, 1 << 20).unwrap_or(8192);
    let settings = BatchSettings {
        // At most a million, which any usize holds.
        max_rows: usize::try_from(max_rows).unwrap_or(8192),
        max_bytes: section.size("max_bytes", 4 << 20, 1 << 10, 1 << 30),
        linger: section.duration(
            "linger",
            Duration::from_millis(20),
            Duration::ZERO,
            Duration::from_secs(10),
        ),
    };
    section.finish();
    settings
}

fn kafka(section: &Section<'_>, pipeline: &str) -> Option<KafkaSettings> {
    let brokers = brokers(section);
    let topics = topics(section);
    let group = section.string("group_id", "the name of a consumer group");
    let group_id = group.map_or_else(|| format!("millpond-{pipeline}"), |g| g.text.to_owned());
    let start = section.choice(
        "start",
        &[("earliest", StartPosition::Earliest), ("latest", StartPosition::Latest)],
        &[],
        StartPosition::Earliest,
    );
    let options = options(&section.section("options"));
    Some(KafkaSettings { brokers: brokers?, topics, group_id, start, options })
}

fn brokers(section: &Section<'_>) -> Option<String> {
    const EXPECTED: &str = "addresses of brokers, such as \"kafka-1:9092,kafka-2:9092\"";
    if !section.has("brokers") {
        section.missing("brokers", "\"localhost:9092\"");
    }
    let found = section.strings("brokers", EXPECTED);
    for brokers in found.iter().filter(|brokers| !brokers.unresolved) {
        for broker in brokers.text.split(',').map(str::trim) {
            let address = broker.rsplit("//").next().unwrap_or(broker);
            // The port follows the last colon, unless that is inside of an IPv6 address.
            let port = match address.rsplit_once(':') {
                Some((_, port)) if !port.contains(']') => Some(port),
                _ => None,
            };
            let port_is_valid =
                port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port != 0));
            if address.is_empty() || address.starts_with(':') || !port_is_valid {
                section.reject("brokers", brokers.node, EXPECTED, None);
                break;
            }
        }
    }
    let joined: Vec<&str> = found.iter().map(|brokers| brokers.text.trim()).collect();
    (!joined.is_empty()).then(|| joined.join(","))
}

fn topics(section: &Section<'_>) -> Vec<String> {
    const EXPECTED: &str = "names of topics: letters, digits, `.`, `_` and `-`";
    let found = section.strings("topics", EXPECTED);
    match section.entry("topics").map(|entry| &entry.node) {
        None => section.missing("topics", "[\"web-logs\"]"),
        Some(node) if matches!(&node.value, Value::Array(items) if items.is_empty()) => {
            let error = ConfigError::new("this array is empty").expected(EXPECTED);
            section.report("topics", &node.at, error);
        }
        Some(_) => {}
    }
    let mut topics: Vec<String> = Vec::new();
    for topic in found {
        if topic.unresolved {
            topics.push(topic.text.to_owned());
            continue;
        }
        let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if topic.text.starts_with('^') {
            let help = "topic patterns are not supported yet: list the topics".to_owned();
            section.reject("topics", topic.node, EXPECTED, Some(help));
        } else if topic.text.contains(',') {
            let help = "write an array: [\"a\", \"b\"]".to_owned();
            section.reject("topics", topic.node, EXPECTED, Some(help));
        } else if topic.text.len() > 249 || !topic.text.chars().all(valid) {
            section.reject("topics", topic.node, EXPECTED, None);
        } else if topics.iter().any(|other| other == topic.text) {
            let error = ConfigError::new(format!("topic {} is listed twice", topic.node.shown()))
                .expected("each topic once");
            section.report("topics", &topic.node.at, error);
        } else {
            topics.push(topic.text.to_owned());
        }
    }
    topics
}

fn options(section: &Section<'_>) -> BTreeMap<String, OptionValue> {
    let mut options = BTreeMap::new();
    for (name, entry) in section.dotted() {
        let spark_name = name.strip_prefix("kafka.");
        let bare = spark_name.unwrap_or(&name);
        if let Some((_, reason, instead)) = OWNED.iter().find(|(owned, ..)| *owned == bare) {
            let error = ConfigError::new(format!("`{name}` is not an option: {reason}"))
                .expected("options that Millpond does not set itself")
                .help((*instead).to_owned());
            section.report(&name, &entry.key_at, error);
            continue;
        }
        if let Some(bare) = spark_name {
            let error = ConfigError::new(format!("unknown option `{name}`"))
                .expected("a name that librdkafka knows")
                .help(format!("without Spark's prefix: `{bare}`"));
            section.report(&name, &entry.key_at, error);
            continue;
        }
        let Some((value, origin)) = option_text(section, &name, &entry.node) else { continue };
        if origin != Origin::Unresolved {
            check_option(section, &name, entry, &value);
        }
        let secret = origin != Origin::Configuration || is_secret_option(&name);
        let value = if secret {
            OptionValue::Secret(Secret::new(value))
        } else {
            OptionValue::Plain(value)
        };
        options.insert(name, value);
    }
    options
}

fn option_text(section: &Section<'_>, name: &str, node: &Node) -> Option<(String, Origin)> {
    match &node.value {
        Value::String(text) => Some((text.value.clone(), text.origin)),
        Value::Integer(number) => Some((number.to_string(), Origin::Configuration)),
        Value::Float(number) => Some((number.to_string(), Origin::Configuration)),
        Value::Boolean(value) => Some((value.to_string(), Origin::Configuration)),
        Value::Array(_) | Value::Datetime(_) | Value::Table(_) => {
            let error = ConfigError::new(format!("{} is not the value of an option", node.kind()))
                .expected("a string, a number, true or false")
                .help("librdkafka's lists are strings with commas: \"a,b\"".to_owned());
            section.report(name, &node.at, error);
            None
        }
    }
}

/// Asks librdkafka whether it takes the option, and the machine whether it has the file.
fn check_option(section: &Section<'_>, name: &str, entry: &super::document::Entry, value: &str) {
    // Setting this one loads the libraries it names.
    if name == "plugin.library.paths" {
        return;
    }
    let answer = ClientConfig::new().set(name, value).create_native_config();
    if let Err(error) = answer {
        let reason = match error {
            KafkaError::ClientConfig(_, reason, _, _) => reason,
            other => other.to_string(),
        };
        let other = OTHER_CLIENTS.iter().find(|(other, _)| *other == name);
        let help = other.map(|(_, help)| (*help).to_owned());
        if reason.starts_with("No such configuration property") {
            let nearest = || suggest::did_you_mean(name, NAMES.iter().copied());
            let error = ConfigError::new(format!("unknown option `{name}`"))
                .expected("a name that librdkafka knows")
                .help(help.or_else(nearest));
            return section.report(name, &entry.key_at, error);
        }
        let interpolated =
            matches!(&entry.node.value, Value::String(text) if text.is_interpolated());
        // librdkafka's reasons quote the value, but for this one.
        let error = if reason.contains("not supported in this build") {
            ConfigError::new(reason.trim())
        } else if interpolated || is_secret_option(name) {
            ConfigError::new(format!("librdkafka refuses the value of `{name}`"))
        } else {
            ConfigError::new(format!("librdkafka refuses `{name}`: {}", reason.trim()))
        };
        let error = error.expected("a value as librdkafka's CONFIGURATION.md has it").help(help);
        return section.report(name, &entry.node.at, error);
    }
    if FILES.contains(&name)
        && section.context.environment.is_real()
        && let Err(error) = std::fs::metadata(value)
    {
        let error = ConfigError::new(format!("the file that `{name}` names: {error}"))
            .expected("the path of a file that this process can read");
        section.report(name, &entry.node.at, error);
    }
}
