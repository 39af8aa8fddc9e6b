//! The keys of a source of `type = "kafka"`.

use std::collections::BTreeMap;

use super::super::diagnostics::ConfigError;
use super::super::document::{Node, Value};
use super::super::model::{KafkaSettings, StartOffset, StartPosition};
use super::super::section::Section;
use super::super::suggest::{self, alternatives};
use super::options::{Client, options};

pub(super) fn read(section: &Section<'_>, pipeline: &str) -> Option<KafkaSettings> {
    let brokers = brokers(section);
    if section.has("topics") && section.has("topic_pattern") {
        section.forbid(&["topic_pattern"], "is given beside `topics`", "one of them");
    } else if !section.has("topics") && !section.has("topic_pattern") {
        section.missing("topics", "[\"web-logs\"]");
    }
    let topics = topics(section);
    let topic_pattern = topic_pattern(section);
    let group = section.string("group_id", "the name of a consumer group");
    let group_id = group.map_or_else(|| format!("millpond-{pipeline}"), |g| g.text.to_owned());
    let start = start(section, &topics);
    let options = options(&section.section("options"), Client::Consumer);
    Some(KafkaSettings { brokers: brokers?, topics, topic_pattern, group_id, start, options })
}

pub(crate) fn brokers(section: &Section<'_>) -> Option<String> {
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

/// Whether Kafka takes it for the name of a topic.
pub(crate) fn is_topic(name: &str) -> bool {
    let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    (1..=249).contains(&name.len()) && name.chars().all(valid) && !matches!(name, "." | "..")
}

fn topics(section: &Section<'_>) -> Vec<String> {
    const EXPECTED: &str = "names of topics: letters, digits, `.`, `_` and `-`";
    let found = section.strings("topics", EXPECTED);
    if let Some(entry) = section.entry("topics")
        && matches!(&entry.node.value, Value::Array(items) if items.is_empty())
    {
        let error = ConfigError::new("this array is empty").expected(EXPECTED);
        section.report("topics", &entry.node.at, error);
    }
    let mut topics: Vec<String> = Vec::new();
    for topic in found {
        if topic.unresolved {
            topics.push(topic.text.to_owned());
            continue;
        }
        if topic.text.starts_with('^') {
            let help = "write a pattern as `topic_pattern`".to_owned();
            section.reject("topics", topic.node, EXPECTED, Some(help));
        } else if topic.text.contains(',') {
            let help = "write an array: [\"a\", \"b\"]".to_owned();
            section.reject("topics", topic.node, EXPECTED, Some(help));
        } else if !is_topic(topic.text) {
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

/// The pattern, without the anchors that it has anyway.
fn topic_pattern(section: &Section<'_>) -> Option<String> {
    const EXPECTED: &str = "a regular expression, such as \"web-[a-z]+\"";
    let found = section.string("topic_pattern", EXPECTED)?;
    if found.unresolved {
        return Some(found.text.to_owned());
    }
    let text = found.text.trim();
    let text = text.strip_prefix('^').unwrap_or(text);
    let text = match text.strip_suffix('$') {
        Some(inner) if !inner.ends_with('\\') => inner,
        _ => text,
    };
    let help = if text.is_empty() || !is_balanced(text) {
        None
    } else if text.contains("\\d") {
        Some("write `[0-9]`: patterns are POSIX's extended regular expressions".to_owned())
    } else if text.contains("(?") {
        Some("patterns are POSIX's extended regular expressions, without `(?`".to_owned())
    } else if text == "*" {
        Some("write \".*\" for all topics".to_owned())
    } else {
        return Some(text.to_owned());
    };
    section.reject("topic_pattern", found.node, EXPECTED, help);
    None
}

/// Whether every `(` and `[` of a pattern is closed. librdkafka says the rest when it subscribes.
fn is_balanced(pattern: &str) -> bool {
    let mut open = 0usize;
    let mut characters = pattern.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '\\' if characters.next().is_none() => return false,
            '(' => open += 1,
            ')' => match open.checked_sub(1) {
                Some(left) => open = left,
                None => return false,
            },
            '[' => {
                // What comes first, after `^`, is never the end.
                characters.next_if_eq(&'^');
                characters.next();
                if !characters.any(|c| c == ']') {
                    return false;
                }
            }
            _ => {}
        }
    }
    open == 0
}

fn start(section: &Section<'_>, topics: &[String]) -> StartPosition {
    const EXPECTED: &str = "`earliest`, `latest`, { timestamp = \"2026-11-21T10:00:00Z\" } or \
                            { offsets = { \"web-logs-0\" = 12 } }";
    let default = StartPosition::Earliest;
    let Some(entry) = section.entry("start") else { return default };
    if entry.node.as_table().is_none() {
        let choices = [("earliest", false), ("latest", true)];
        let latest = section.choose_of("start", &entry.node, &choices, &[], EXPECTED);
        return if latest == Some(true) { StartPosition::Latest } else { default };
    }
    let table = section.section("start");
    let keys = [("timestamp", "\"2026-11-21T10:00:00Z\""), ("offsets", "{ \"web-logs-0\" = 12 }")];
    let start = match table.one_of(&keys) {
        Some("timestamp") => table.time("timestamp").map(StartPosition::Timestamp),
        Some(_) => {
            let section = table.section("offsets");
            let entry = table.entry("offsets").map(|entry| &entry.node);
            if section.entries().is_empty() && entry.is_some_and(|node| node.as_table().is_some()) {
                let error = ConfigError::new("no offset is given")
                    .expected("every partition of every topic, as in { \"web-logs-0\" = 12 }");
                table.report("offsets", &section.header, error);
            }
            Some(StartPosition::Offsets(offsets(&section, topics)))
        }
        None => None,
    };
    table.finish();
    start.unwrap_or(default)
}

fn offsets(section: &Section<'_>, topics: &[String]) -> BTreeMap<(String, i32), StartOffset> {
    const PARTITION: &str = "a topic and a partition, such as \"web-logs-0\"";
    let mut offsets = BTreeMap::new();
    for entry in section.entries() {
        let parsed = entry.key.rsplit_once('-').and_then(|(topic, partition)| {
            let partition: i32 = partition.parse().ok().filter(|number| *number >= 0)?;
            is_topic(topic).then(|| (topic.to_owned(), partition))
        });
        let Some((topic, partition)) = parsed else {
            let message =
                format!("`{}` is not a partition", super::super::document::write_key(&entry.key));
            let error = ConfigError::new(message).expected(PARTITION);
            section.report(&entry.key, &entry.key_at, error);
            continue;
        };
        let known = topics.iter().any(|known| *known == topic || known.contains("${"));
        if !topics.is_empty() && !known {
            let names = topics.iter().map(String::as_str);
            let error = ConfigError::new(format!("topic `{topic}` is not among the `topics`"))
                .expected(alternatives(names.clone()))
                .help(suggest::did_you_mean(&topic, names));
            section.report(&entry.key, &entry.key_at, error);
            continue;
        }
        if let Some(offset) = offset(section, &entry.key, &entry.node) {
            offsets.insert((topic, partition), offset);
        }
    }
    offsets
}

fn offset(section: &Section<'_>, key: &str, node: &Node) -> Option<StartOffset> {
    const EXPECTED: &str = "an offset of 0 or more, `earliest` or `latest`";
    match &node.value {
        Value::Integer(-2) => Some(StartOffset::Earliest),
        Value::Integer(-1) => Some(StartOffset::Latest),
        Value::Integer(offset) if *offset >= 0 => Some(StartOffset::At(*offset)),
        Value::String(text) if !text.is_interpolated() => {
            let choices = [("earliest", StartOffset::Earliest), ("latest", StartOffset::Latest)];
            // Not `choose`, whose nodes live as long as the tree.
            let chosen = choices.iter().find(|(name, _)| *name == text.value);
            if chosen.is_none() {
                let help = suggest::did_you_mean(&text.value, ["earliest", "latest"]);
                section.reject(key, node, EXPECTED, help);
            }
            chosen.map(|(_, offset)| *offset)
        }
        Value::String(text) => match text.value.trim().parse() {
            Ok(offset) if offset >= 0 => Some(StartOffset::At(offset)),
            _ if text.value.contains("${") => None,
            _ => {
                section.reject(key, node, EXPECTED, None);
                None
            }
        },
        _ => {
            section.reject(key, node, EXPECTED, None);
            None
        }
    }
}
