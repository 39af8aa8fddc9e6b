//! What is gathered while a configuration is read: the errors, and which keys there are.

use std::cell::RefCell;

use super::diagnostics::{ConfigError, Location};
use super::document::{write_key, write_path};
use super::environment::Environment;
use super::suggest::{self, alternatives};
use super::typed_keys::other_type;

/// What all sections of one configuration share while it is read.
pub(crate) struct Context<'a> {
    pub(crate) environment: &'a Environment,
    errors: RefCell<Vec<ConfigError>>,
    unknown: RefCell<Vec<Unknown>>,
    /// Every key that a section was asked for, with `*` for names that the user chose.
    known: RefCell<Vec<(Vec<String>, &'static str)>>,
}

/// A key that no section asked for.
pub(crate) struct Unknown {
    pub(crate) path: Vec<String>,
    /// As `path`, without the key itself and with `*` for names that the user chose.
    pub(crate) pattern: Vec<String>,
    pub(crate) at: Location,
    /// The keys that its table can have.
    pub(crate) siblings: Vec<&'static str>,
}

impl<'a> Context<'a> {
    pub(crate) fn new(environment: &'a Environment) -> Self {
        Self {
            environment,
            errors: RefCell::default(),
            unknown: RefCell::default(),
            known: RefCell::default(),
        }
    }

    pub(crate) fn report(&self, error: ConfigError) {
        self.errors.borrow_mut().push(error);
    }

    /// Takes note of a key that exists.
    pub(crate) fn note_key(&self, pattern: &[String], key: &'static str) {
        self.known.borrow_mut().push((pattern.to_vec(), key));
    }

    pub(crate) fn note_unknown(&self, unknown: Unknown) {
        self.unknown.borrow_mut().push(unknown);
    }

    /// All that was reported; unknown keys are explained last, when all valid keys are known.
    pub(crate) fn into_errors(self) -> Vec<ConfigError> {
        let mut errors = self.errors.into_inner();
        let known = self.known.into_inner();
        errors.extend(self.unknown.into_inner().iter().map(|unknown| unknown.explain(&known)));
        errors
    }
}

/// What people who come from Spark or from Kafka's own tools would write.
const OTHER_NAMES: &[(&str, &str)] = &[
    ("subscribe", "write `topics = [\"…\"]`"),
    ("subscribePattern", "write `topic_pattern = \"…\"`"),
    ("startingOffsets", "write `start`: \"earliest\", \"latest\" or { offsets = { … } }"),
    ("startingOffsetsByTimestamp", "write `start = { timestamp = \"…\" }`"),
    ("startingTimestamp", "write `start = { timestamp = \"…\" }`"),
    ("startingVersion", "write `start = { version = … }`"),
    ("includeHeaders", "write `headers = \"headers\"` in [sources.NAME.metadata]"),
    ("includeTimestamp", "write `timestamp = \"timestamp\"` in [sources.NAME.metadata]"),
    ("bootstrap_servers", "write `brokers = \"host:9092\"`"),
    ("bootstrap.servers", "write `brokers = \"host:9092\"`"),
    ("kafka.bootstrap.servers", "write `brokers = \"host:9092\"`"),
    ("checkpointLocation", "write `directory` in [checkpoint]: one for the whole pipeline"),
    ("processingTime", "write `trigger = \"10s\"`"),
    ("availableNow", "write `trigger = \"available_now\"`"),
    ("available_now", "write `trigger = \"available_now\"`"),
    ("outputMode", "write `mode = \"append\"`"),
    ("partitionBy", "write `partition_by = [\"…\"]` in the query's sink"),
    ("withWatermark", "write a table [sources.NAME.watermark] with `column` and `delay`"),
    ("dropDuplicatesWithinWatermark", "write `drop_duplicates = { columns = [\"…\"] }`"),
    ("foreachBatch", "write several [[queries.NAME.sinks]]"),
    ("latestFirst", "write `order = \"newest\"`"),
    ("cleanSource", "write `after = \"delete\"`, or { archive = \"…\" }"),
    ("sourceArchiveDir", "write `after = { archive = \"…\" }`"),
    ("recursiveFileLookup", "write `recursive = true`"),
    ("readChangeFeed", "write `change_feed = true`"),
    ("readChangeData", "write `change_feed = true`"),
    ("rampUpTime", "write `ramp_up = \"…\"`"),
    ("numRows", "write `rows = …`"),
    ("dbtable", "write `table = \"…\"`"),
    ("multiLine", "write `multiline = true`"),
    ("sep", "write `delimiter = \"…\"`"),
    ("max_line", "write `max_record = \"…\"`"),
];

impl Unknown {
    fn explain(&self, known: &[(Vec<String>, &'static str)]) -> ConfigError {
        let key = self.path.last().map_or("", String::as_str);
        let elsewhere = || {
            // The place that shares most of the path is the likeliest.
            let shared = |pattern: &[String]| {
                pattern.iter().zip(&self.pattern).take_while(|(a, b)| a == b).count()
            };
            let (pattern, _) = known
                .iter()
                .filter(|(pattern, name)| *name == key && *pattern != self.pattern)
                .max_by_key(|(pattern, _)| (shared(pattern), usize::MAX - pattern.len()))?;
            let names = &self.path;
            let path: Vec<String> = pattern
                .iter()
                .enumerate()
                .map(|(n, part)| match (part.as_str(), names.get(n)) {
                    ("*", Some(name)) if n < shared(pattern) && n + 1 < names.len() => {
                        write_key(name)
                    }
                    ("*", _) => "NAME".to_owned(),
                    _ => part.clone(),
                })
                .collect();
            Some(if path.is_empty() {
                format!("`{key}` belongs at the top of the file, before any [table]")
            } else {
                format!("`{key}` belongs in [{}]", path.join("."))
            })
        };
        let other_name = || {
            let (_, help) = OTHER_NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(key))?;
            Some((*help).to_owned())
        };
        let help = other_name()
            .or_else(|| other_type(&self.pattern, key))
            .or_else(|| suggest::did_you_mean(key, self.siblings.iter().copied()))
            .or_else(elsewhere);
        let expected = if self.siblings.is_empty() {
            "no key at all".to_owned()
        } else {
            alternatives(self.siblings.iter().copied())
        };
        ConfigError::new(format!("unknown key `{}`", write_key(key)))
            .at(&self.at)
            .key(write_path(&self.path))
            .expected(expected)
            .help(help)
    }
}
