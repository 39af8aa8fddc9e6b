//! `[storage]`, and `storage = { … }` of a single table: what object stores have to be told.

use std::collections::BTreeMap;

use super::diagnostics::ConfigError;
use super::document::Value;
use super::model::{DeltaSinkSettings, Settings, SinkSettings, SourceKind};
use super::section::Section;
use super::suggest;
use crate::lake::store::{OptionProblem, check_option};

/// Names and values of options, none of them a secret.
pub(crate) type Options = BTreeMap<String, String>;

/// The options of `storage` in a section that describes a table.
pub(crate) fn of_table(section: &Section<'_>) -> Options {
    read(&section.section("storage"))
}

/// The options in a section.
pub(crate) fn read(section: &Section<'_>) -> Options {
    const EXPECTED: &str = "a string, a number, true or false";
    let mut options = Options::new();
    for (name, entry) in section.dotted() {
        let value = match &entry.node.value {
            Value::String(_) => {
                let Some(found) = section.as_string(&name, &entry.node, EXPECTED) else { continue };
                if found.unresolved {
                    continue;
                }
                found.text.to_owned()
            }
            Value::Integer(number) => number.to_string(),
            Value::Boolean(value) => value.to_string(),
            _ => {
                section.reject(&name, &entry.node, EXPECTED, None);
                continue;
            }
        };
        match check_option(&name, &value) {
            Ok(()) => {
                options.insert(name.to_ascii_lowercase(), value);
            }
            Err(OptionProblem::Value { expected }) => {
                section.reject(&name, &entry.node, expected, None);
            }
            Err(OptionProblem::Unknown { names }) => {
                let error = ConfigError::new(format!("unknown storage option `{name}`"))
                    .expected(suggest::alternatives(names.iter().copied()))
                    .help(suggest::did_you_mean(&name.to_ascii_lowercase(), names));
                section.report(&name, &entry.key_at, error);
            }
            Err(OptionProblem::Secret { help }) => {
                let message = format!("`{name}`: credentials do not belong into a configuration");
                let error = ConfigError::new(message)
                    .expected("options that may be shown: an endpoint, a region, an account's name")
                    .help(help);
                section.report(&name, &entry.key_at, error);
            }
        }
    }
    options
}

/// Lays each table's options over those of `[storage]`.
pub(crate) fn inherit(settings: &mut Settings) {
    let general = settings.storage.clone();
    let fill = |options: &mut Options| {
        for (name, value) in &general {
            options.entry(name.clone()).or_insert_with(|| value.clone());
        }
    };
    let delta = |sink: &mut DeltaSinkSettings| {
        if is_remote(&sink.path) {
            fill(&mut sink.storage);
        }
    };
    for query in &mut settings.queries {
        for sink in &mut query.sinks {
            if let SinkSettings::Delta(sink) = &mut sink.settings {
                delta(sink);
            }
        }
    }
    for detector in &mut settings.detectors {
        delta(&mut detector.sink);
    }
    for sink in &mut settings.alerts.sinks {
        if let SinkSettings::Delta(sink) = &mut sink.settings {
            delta(sink);
        }
    }
    if is_remote(&settings.dead_letters.path) {
        fill(&mut settings.dead_letters.storage);
    }
    for job in &mut settings.batch {
        delta(&mut job.sink);
    }
    if is_remote(&settings.batch_runs.path) {
        fill(&mut settings.batch_runs.storage);
    }
    for source in &mut settings.sources {
        if let SourceKind::Delta(source) = &mut source.kind
            && is_remote(&source.path)
        {
            fill(&mut source.storage);
        }
    }
    for table in &mut settings.tables {
        if is_remote(&table.path) {
            fill(&mut table.storage);
        }
    }
}

fn is_remote(path: &str) -> bool {
    path.split_once("://").is_some_and(|(scheme, _)| !scheme.eq_ignore_ascii_case("file"))
}
