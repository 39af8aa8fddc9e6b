//! What can only be seen with the whole configuration at hand.

use std::path::{Component, Path, PathBuf};

use super::diagnostics::ConfigError;
use super::document::Table;
use super::model::{DeltaSinkSettings, Settings, SinkSettings, SourceKind};
use super::suggest::{self, alternatives};

/// `root`: the tree that `settings` was read from; it also names what was left out of
/// `settings` because it has errors.
pub(crate) fn check(settings: &Settings, root: &Table) -> Vec<ConfigError> {
    let mut errors = Vec::new();
    names(settings, root, &mut errors);
    detectors(settings, root, &mut errors);
    consumer_groups(settings, &mut errors);
    credits(settings, &mut errors);
    tables(settings, &mut errors);
    errors
}

fn names_in<'a>(root: &'a Table, key: &str) -> Vec<&'a str> {
    let table = root.get(key).and_then(|entry| entry.node.as_table());
    table.map_or(vec![], |table| table.entries.iter().map(|entry| entry.key.as_str()).collect())
}

/// SQL does not tell `Logs` from `logs`, and sources and queries are both named in it.
fn names(settings: &Settings, root: &Table, errors: &mut Vec<ConfigError>) {
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for group in ["sources", "queries", "detectors"] {
        if group == "detectors" {
            seen.clear();
        }
        for name in names_in(root, group) {
            let earlier = seen.iter().find(|(_, other)| other.eq_ignore_ascii_case(name));
            if let Some((other_group, other)) = earlier {
                let message = format!("`{name}` is the same name as [{other_group}.{other}]");
                let error = settings.error_at(&[group, name], message, None);
                errors.push(error.expected("names that differ in more than case"));
            } else {
                seen.push((group, name));
            }
        }
    }
}

fn detectors(settings: &Settings, root: &Table, errors: &mut Vec<ConfigError>) {
    let queries = names_in(root, "queries");
    for detector in &settings.detectors {
        // An unresolved `${…}` may be any of them.
        if queries.contains(&detector.query.as_str()) || detector.query.contains("${") {
            continue;
        }
        let path = ["detectors", detector.name.as_str(), "query"];
        let help = suggest::did_you_mean(&detector.query, queries.iter().copied());
        let error =
            settings.error_at(&path, format!("there is no query `{}`", detector.query), help);
        errors.push(error.expected(if queries.is_empty() {
            "a query, which [queries.NAME] would define".to_owned()
        } else {
            alternatives(queries.iter().copied())
        }));
    }
}

/// Two consumers of one group share the partitions of a topic, so that each source would see
/// a part of it only.
fn consumer_groups(settings: &Settings, errors: &mut Vec<ConfigError>) {
    for (n, source) in settings.sources.iter().enumerate() {
        let SourceKind::Kafka(kafka) = &source.kind;
        for other in &settings.sources[..n] {
            let SourceKind::Kafka(earlier) = &other.kind;
            let shared = kafka.topics.iter().find(|topic| earlier.topics.contains(topic));
            if kafka.group_id != earlier.group_id || kafka.brokers != earlier.brokers {
                continue;
            }
            if let Some(topic) = shared {
                let message = format!(
                    "source `{}` reads topic `{topic}` in the same consumer group",
                    other.name
                );
                let help = "each would get some of the partitions only: let one source read the \
                            topic for all queries, or set another `group_id`";
                let path = ["sources", source.name.as_str(), "topics"];
                errors.push(
                    settings
                        .error_at(&path, message, Some(help.to_owned()))
                        .expected("each topic once in a consumer group"),
                );
            }
        }
    }
}

fn credits(settings: &Settings, errors: &mut Vec<ConfigError>) {
    for source in &settings.sources {
        if source.batch.max_bytes > settings.memory.in_flight {
            let message = "a batch of this size would never be let through";
            let help = "lower it, or raise `in_flight` in [memory]".to_owned();
            let path = ["sources", source.name.as_str(), "batch", "max_bytes"];
            errors.push(
                settings
                    .error_at(&path, message, Some(help))
                    .expected("at most `in_flight` of [memory]"),
            );
        }
    }
}

/// Something that writes to a directory.
struct Writer<'a> {
    what: String,
    path: PathBuf,
    key: Vec<&'a str>,
    /// Detectors share a table if they want the same one.
    detector: Option<&'a DeltaSinkSettings>,
    is_checkpoint: bool,
}

fn tables(settings: &Settings, errors: &mut Vec<ConfigError>) {
    let mut writers = vec![Writer {
        what: "the checkpoint".to_owned(),
        path: normal(&settings.checkpoint.directory.to_string_lossy()),
        key: vec!["checkpoint", "directory"],
        detector: None,
        is_checkpoint: true,
    }];
    for query in &settings.queries {
        for SinkSettings::Delta(sink) in &query.sinks {
            writers.push(Writer {
                what: format!("query `{}`", query.name),
                path: normal(&sink.path),
                key: settings.sink_key(&query.name, "path"),
                detector: None,
                is_checkpoint: false,
            });
        }
    }
    for detector in &settings.detectors {
        writers.push(Writer {
            what: format!("detector `{}`", detector.name),
            path: normal(&detector.sink.path),
            key: vec!["detectors", &detector.name, "sink", "path"],
            detector: Some(&detector.sink),
            is_checkpoint: false,
        });
    }
    if settings.dead_letters.enabled {
        writers.push(Writer {
            what: "the dead letters".to_owned(),
            path: normal(&settings.dead_letters.path),
            key: vec!["dead_letters", "path"],
            detector: None,
            is_checkpoint: false,
        });
    }
    for (n, writer) in writers.iter().enumerate() {
        // One error a writer: what follows from the first is not worth reading.
        if let Some(error) =
            writers[..n].iter().find_map(|earlier| conflict(settings, earlier, writer))
        {
            errors.push(error);
        }
    }
}

fn conflict(settings: &Settings, earlier: &Writer<'_>, later: &Writer<'_>) -> Option<ConfigError> {
    if earlier.path == later.path {
        if let (Some(mine), Some(other)) = (later.detector, earlier.detector) {
            let same = DeltaSinkSettings { path: other.path.clone(), ..mine.clone() } == *other;
            return (!same).then(|| {
                let message = format!("{} writes the same table otherwise", earlier.what);
                settings
                    .error_at(&later.key, message, None)
                    .expected("the same keys in `sink` for each detector of one table")
            });
        }
        let message = format!("{} writes here too", earlier.what);
        return Some(
            settings
                .error_at(&later.key, message, None)
                .expected("a directory of its own: exactly once holds for one writer a table"),
        );
    }
    let (inner, outer) = if later.path.starts_with(&earlier.path) {
        (later, earlier)
    } else if earlier.path.starts_with(&later.path) {
        (earlier, later)
    } else {
        return None;
    };
    let reason = if outer.is_checkpoint {
        "checkpoints that are no longer needed are removed with all that is in them"
    } else {
        "a vacuum of the outer table would delete the files of the inner one"
    };
    let message = format!("{} would be inside the directory of {}", inner.what, outer.what);
    // The later one is reported: it was written with the other in view.
    Some(
        settings
            .error_at(&later.key, message, Some(reason.to_owned()))
            .expected("directories that are not inside of each other"),
    )
}

/// One way to write a path, so that two can be compared. Links are not followed: what does not
/// exist yet has none.
fn normal(path: &str) -> PathBuf {
    let local = match path.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("file") => rest,
        _ => path,
    };
    let absolute = std::path::absolute(local).unwrap_or_else(|_| Path::new(local).to_path_buf());
    let mut normal = PathBuf::new();
    for component in absolute.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                normal.pop();
            }
            other => normal.push(other),
        }
    }
    normal
}
