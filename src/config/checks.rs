//! What can only be seen with the whole configuration at hand.

use std::path::{Component, Path, PathBuf};

use super::diagnostics::ConfigError;
use super::document::Table;
use super::model::{
    AfterFile, DeltaSinkSettings, FilesSettings, Settings, SinkSettings, SourceKind,
};
use super::suggest::{self, alternatives};

/// `root`: the tree that `settings` was read from; it also names what was left out of
/// `settings` because it has errors.
pub(crate) fn check(settings: &Settings, root: &Table) -> Vec<ConfigError> {
    let mut errors = Vec::new();
    names(settings, root, &mut errors);
    detectors(settings, root, &mut errors);
    tests(settings, root, &mut errors);
    readers(settings, root, &mut errors);
    consumer_groups(settings, &mut errors);
    credits(settings, &mut errors);
    directories(settings, &mut errors);
    super::catalog::check(settings, &mut errors);
    files_that_go(settings, &mut errors);
    errors
}

fn names_in<'a>(root: &'a Table, key: &str) -> Vec<&'a str> {
    let table = root.get(key).and_then(|entry| entry.node.as_table());
    table.map_or(vec![], |table| table.entries.iter().map(|entry| entry.key.as_str()).collect())
}

/// SQL does not tell `Logs` from `logs`, and sources, tables and queries are all named in it.
fn names(settings: &Settings, root: &Table, errors: &mut Vec<ConfigError>) {
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for group in ["sources", "tables", "queries", "detectors"] {
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

/// Reports the name at a path if there is no such thing in a group (`queries`) of the tree.
fn known(
    settings: &Settings,
    root: &Table,
    group: &str,
    name: &str,
    path: &[&str],
    errors: &mut Vec<ConfigError>,
) {
    let names = names_in(root, group);
    // An unresolved `${…}` may be any of them.
    if names.contains(&name) || name.contains("${") {
        return;
    }
    let what = match group {
        "queries" => "query",
        "sources" => "source",
        _ => "table",
    };
    let elsewhere = ["sources", "tables", "queries"]
        .into_iter()
        .find(|other| *other != group && names_in(root, other).contains(&name));
    let help = match elsewhere {
        Some(other) => Some(format!("[{other}.{name}] is none")),
        None => suggest::did_you_mean(name, names.iter().copied()),
    };
    let error = settings.error_at(path, format!("there is no {what} `{name}`"), help);
    errors.push(error.expected(if names.is_empty() {
        format!("a {what}, which [{group}.NAME] would define")
    } else {
        alternatives(names.iter().copied())
    }));
}

fn detectors(settings: &Settings, root: &Table, errors: &mut Vec<ConfigError>) {
    for detector in &settings.detectors {
        let path = ["detectors", detector.name.as_str(), "query"];
        known(settings, root, "queries", &detector.query, &path, errors);
    }
}

fn tests(settings: &Settings, root: &Table, errors: &mut Vec<ConfigError>) {
    for test in &settings.tests {
        let index = test.index.to_string();
        let path = ["tests", &index, "query"];
        known(settings, root, "queries", &test.query, &path, errors);
        for (n, table) in test.tables.iter().enumerate() {
            let path = ["tests", &index, "tables", &n.to_string(), "table"];
            known(settings, root, "tables", &table.table, &path, errors);
        }
        for (n, batch) in test.batches.iter().enumerate() {
            for (m, input) in batch.input.iter().enumerate() {
                let (n, m) = (n.to_string(), m.to_string());
                let path = ["tests", &index, "batches", &n, "input", &m, "source"];
                known(settings, root, "sources", &input.source, &path, errors);
            }
        }
    }
}

/// A query without a sink is there for others to read. Which do is for their plans to say; here
/// it is enough that some SQL has its name as a word.
fn readers(settings: &Settings, root: &Table, errors: &mut Vec<ConfigError>) {
    let all_are_read = names_in(root, "queries").len() == settings.queries.len();
    for query in settings.queries.iter().filter(|query| query.sinks.is_empty()) {
        let read = settings.detectors.iter().any(|detector| detector.query == query.name)
            || settings
                .queries
                .iter()
                .any(|other| other.name != query.name && has_word(&other.sql, &query.name));
        // The one that reads it may be one that has errors.
        if !read && all_are_read {
            let path = ["queries", query.name.as_str(), "sink"];
            let message = format!("missing key `sink` in [queries.{}]", query.name);
            let help = "a query without a sink is one that another query reads, by its name";
            errors.push(
                settings
                    .error_at(&path, message, Some(help.to_owned()))
                    .expected("sink = { type = \"delta\", path = \"…\" }"),
            );
        }
    }
}

fn has_word(text: &str, word: &str) -> bool {
    text.split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .any(|part| part.eq_ignore_ascii_case(word))
}

/// Two consumers of one group share the partitions of a topic, so that each source would see
/// a part of it only.
fn consumer_groups(settings: &Settings, errors: &mut Vec<ConfigError>) {
    let kafka = || {
        settings.sources.iter().filter_map(|source| match &source.kind {
            SourceKind::Kafka(kafka) => Some((source, kafka)),
            _ => None,
        })
    };
    for (n, (source, kafka_of)) in kafka().enumerate() {
        for (other, earlier) in kafka().take(n) {
            if kafka_of.group_id != earlier.group_id || kafka_of.brokers != earlier.brokers {
                continue;
            }
            let shared = kafka_of.topics.iter().find(|topic| earlier.topics.contains(topic));
            let (key, what) = match (shared, &kafka_of.topic_pattern, &earlier.topic_pattern) {
                (Some(topic), ..) => ("topics", format!("topic `{topic}`")),
                // Which topics match is not known, and may change.
                (None, Some(_), _) => ("topic_pattern", "other topics".to_owned()),
                (None, None, Some(_)) => ("topics", "topics by a pattern".to_owned()),
                (None, None, None) => continue,
            };
            let message =
                format!("source `{}` reads {what} in the same consumer group", other.name);
            let help = "each would get some of the partitions only: let one source read the \
                        topic for all queries, or set another `group_id`";
            let path = ["sources", source.name.as_str(), key];
            errors.push(
                settings
                    .error_at(&path, message, Some(help.to_owned()))
                    .expected("each topic once in a consumer group"),
            );
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
    key: Vec<String>,
    /// Detectors share a table if they want the same one.
    detector: Option<&'a DeltaSinkSettings>,
    kind: Kind,
}

#[derive(Clone, Copy)]
enum Kind {
    Checkpoint,
    Table,
    Files,
}

fn path_of(path: &[&str]) -> Vec<String> {
    path.iter().map(|part| (*part).to_owned()).collect()
}

fn directories(settings: &Settings, errors: &mut Vec<ConfigError>) {
    let mut writers = vec![Writer {
        what: "the checkpoint".to_owned(),
        path: normal(&settings.checkpoint.directory.to_string_lossy()),
        key: path_of(&["checkpoint", "directory"]),
        detector: None,
        kind: Kind::Checkpoint,
    }];
    for query in &settings.queries {
        for (n, sink) in query.sinks.iter().enumerate() {
            let (path, kind) = match &sink.settings {
                SinkSettings::Delta(delta) => (&delta.path, Kind::Table),
                SinkSettings::Files(files) => (&files.path, Kind::Files),
                _ => continue,
            };
            writers.push(Writer {
                what: format!("query `{}`", query.name),
                path: normal(path),
                key: settings.sink_key(&query.name, n, "path"),
                detector: None,
                kind,
            });
        }
    }
    for job in &settings.batch {
        writers.push(Writer {
            what: format!("batch job `{}`", job.name),
            path: normal(&job.sink.path),
            key: path_of(&["batch", &job.name, "sink", "path"]),
            detector: None,
            kind: Kind::Table,
        });
    }
    if settings.batch_runs.enabled && !settings.batch.is_empty() {
        writers.push(Writer {
            what: "the log of batch runs".to_owned(),
            path: normal(&settings.batch_runs.path),
            key: path_of(&["batch_runs", "path"]),
            detector: None,
            kind: Kind::Table,
        });
    }
    for detector in &settings.detectors {
        writers.push(Writer {
            what: format!("detector `{}`", detector.name),
            path: normal(&detector.sink.path),
            key: path_of(&["detectors", &detector.name, "sink", "path"]),
            detector: Some(&detector.sink),
            kind: Kind::Table,
        });
    }
    for sink in &settings.alerts.sinks {
        let (path, kind) = match &sink.settings {
            SinkSettings::Delta(delta) => (&delta.path, Kind::Table),
            SinkSettings::Files(files) => (&files.path, Kind::Files),
            _ => continue,
        };
        writers.push(Writer {
            what: format!("the alerts `{}`", sink.name),
            path: normal(path),
            key: path_of(&["alerts", "sinks", &sink.name, "path"]),
            detector: None,
            kind,
        });
    }
    if settings.dead_letters.enabled {
        writers.push(Writer {
            what: "the dead letters".to_owned(),
            path: normal(&settings.dead_letters.path),
            key: path_of(&["dead_letters", "path"]),
            detector: None,
            kind: Kind::Table,
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
    let key: Vec<&str> = later.key.iter().map(String::as_str).collect();
    if earlier.path == later.path {
        if let (Some(mine), Some(other)) = (later.detector, earlier.detector) {
            let same = DeltaSinkSettings { path: other.path.clone(), ..mine.clone() } == *other;
            return (!same).then(|| {
                let message = format!("{} writes the same table otherwise", earlier.what);
                settings
                    .error_at(&key, message, None)
                    .expected("the same keys in `sink` for each detector of one table")
            });
        }
        let message = format!("{} writes here too", earlier.what);
        return Some(
            settings
                .error_at(&key, message, None)
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
    let reason = match outer.kind {
        Kind::Checkpoint => {
            "checkpoints that are no longer needed are removed with all that is in them"
        }
        Kind::Table => "a vacuum of the outer table would delete the files of the inner one",
        Kind::Files => "whoever reads the outer directory would find the files of the inner one",
    };
    let message = format!("{} would be inside the directory of {}", inner.what, outer.what);
    // The later one is reported: it was written with the other in view.
    Some(
        settings
            .error_at(&key, message, Some(reason.to_owned()))
            .expected("directories that are not inside of each other"),
    )
}

/// Sources whose files go away once they are read.
fn files_that_go(settings: &Settings, errors: &mut Vec<ConfigError>) {
    let files = || {
        settings.sources.iter().filter_map(|source| match &source.kind {
            SourceKind::Files(files) => Some((source, files)),
            _ => None,
        })
    };
    for (n, (source, mine)) in files().enumerate() {
        if let AfterFile::Archive(archive) = &mine.after {
            let archive = normal(&archive.to_string_lossy());
            let read = before_pattern(mine);
            let again = archive == read
                || (archive.starts_with(&read) && (mine.recursive || mine.path.contains('*')));
            if again {
                let path = ["sources", source.name.as_str(), "after", "archive"];
                let message = "files that are moved here would be read again";
                errors.push(
                    settings
                        .error_at(&path, message, None)
                        .expected("a directory outside of the source's"),
                );
            }
        }
        for (other, theirs) in files().take(n) {
            let go = mine.after != AfterFile::Keep || theirs.after != AfterFile::Keep;
            if go && normal(&mine.path) == normal(&theirs.path) {
                let path = ["sources", source.name.as_str(), "path"];
                let message = format!("source `{}` reads these files too", other.name);
                let help = "one would take them away from the other: let one source read them for \
                            all queries, or write `after = \"keep\"`";
                errors.push(
                    settings
                        .error_at(&path, message, Some(help.to_owned()))
                        .expected("files that one source reads"),
                );
            }
        }
    }
}

/// The directory that a source looks into: of a pattern, the part before what varies.
fn before_pattern(files: &FilesSettings) -> PathBuf {
    let fixed: PathBuf = Path::new(&files.path)
        .components()
        .take_while(|part| !part.as_os_str().to_string_lossy().contains(['*', '?', '[', '{']))
        .collect();
    // A pattern that varies from its beginning looks into the working directory.
    normal(&Path::new(".").join(fixed).to_string_lossy())
}

/// One way to write a path, so that two can be compared. Links are not followed: what does not
/// exist yet has none.
pub(super) fn normal(path: &str) -> PathBuf {
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
