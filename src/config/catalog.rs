//! Which tables a configuration knows, by name: fills the [`Catalog`].

use crate::catalog::{Catalog, TableEntry, TableKind, TableName};
use crate::lake::TableLocation;

use super::checks::normal;
use super::diagnostics::ConfigError;
use super::model::{self, DeltaSinkSettings, Settings, SinkSettings, SourceKind};
use super::storage::Options;

impl Catalog {
    /// The Delta tables that a configuration writes or names.
    ///
    /// A sink's table is called what its key `table` says, or else `<pipeline>.<query>`
    /// (`<pipeline>.<query>_<sink>` for further sinks of a query); a table of anomalies by the last
    /// part of its path; the dead letters `<pipeline>.dead_letters`; static tables and sources
    /// `<pipeline>.<name>`.
    pub fn of(settings: &Settings) -> Self {
        let mut catalog = Self::new();
        for (entry, _) in named(settings) {
            // Two tables of one name are an error of the configuration: see `check`.
            let _ = catalog.add(entry);
        }
        catalog
    }
}

/// Reports tables that have the name of another.
pub(super) fn check(settings: &Settings, errors: &mut Vec<ConfigError>) {
    let mut catalog = Catalog::new();
    for (entry, key) in named(settings) {
        let name = entry.name.to_string();
        if catalog.add(entry).is_err() {
            let key: Vec<&str> = key.iter().map(String::as_str).collect();
            let message = format!("another table is called `{name}`");
            let error = settings.error_at(&key, message, None);
            errors.push(error.expected("a `table` of its own: SQL finds tables by their names"));
        }
    }
}

/// Every table with the key that says what it is called. What depends on variables that are not
/// known is left out.
fn named(settings: &Settings) -> Vec<(TableEntry, Vec<String>)> {
    let pipeline = settings.name.as_str();
    let mut tables: Vec<(TableEntry, Vec<String>)> = Vec::new();
    let mut add = |name: TableName, (path, storage), kind, by: Option<String>, key: Vec<String>| {
        let (path, storage): (&String, &Options) = (path, storage);
        if path.contains("${") {
            return;
        }
        let location = TableLocation::new(path).with_storage_options(storage.clone());
        tables.push((TableEntry { name, location, kind, written_by: by }, key));
    };
    for query in &settings.queries {
        for (n, sink) in query.sinks.iter().enumerate() {
            let SinkSettings::Delta(delta) = &sink.settings else { continue };
            let name = given(delta, pipeline)
                .unwrap_or_else(|| TableName::of(pipeline, &sink.name.replace('.', "_")));
            let by = Some(format!("query {}", query.name));
            let key = settings.sink_key(&query.name, n, "table");
            add(name, (&delta.path, &delta.storage), TableKind::Sink, by, key);
        }
    }
    let mut shared: Vec<(&DeltaSinkSettings, Vec<&str>)> = Vec::new();
    for detector in &settings.detectors {
        match shared.iter_mut().find(|(sink, _)| normal(&sink.path) == normal(&detector.sink.path))
        {
            Some((_, names)) => names.push(&detector.name),
            None => shared.push((&detector.sink, vec![&detector.name])),
        }
    }
    for (delta, detectors) in shared {
        let last = delta.path.trim_end_matches('/').rsplit('/').next().unwrap_or(&delta.path);
        let name = given(delta, pipeline).unwrap_or_else(|| TableName::of(pipeline, last));
        let what = if detectors.len() == 1 { "detector" } else { "detectors" };
        let by = Some(format!("{what} {}", detectors.join(", ")));
        let key = ["detectors", detectors[0], "sink", "table"].map(str::to_owned).to_vec();
        add(name, (&delta.path, &delta.storage), TableKind::Anomalies, by, key);
    }
    for sink in &settings.alerts.sinks {
        let SinkSettings::Delta(delta) = &sink.settings else { continue };
        let name = given(delta, pipeline)
            .unwrap_or_else(|| TableName::of(pipeline, &format!("alerts_{}", sink.name)));
        let by = Some(format!("alerts {}", sink.name));
        let key = ["alerts", "sinks", &sink.name, "table"].map(str::to_owned).to_vec();
        add(name, (&delta.path, &delta.storage), TableKind::Anomalies, by, key);
    }
    let letters = &settings.dead_letters;
    if letters.enabled {
        let name = letters.table.as_deref().and_then(|name| TableName::parse(name, pipeline).ok());
        let name = name.unwrap_or_else(|| TableName::of(pipeline, "dead_letters"));
        let by = Some("unreadable records".to_owned());
        let key = ["dead_letters", "table"].map(str::to_owned).to_vec();
        add(name, (&letters.path, &letters.storage), TableKind::DeadLetters, by, key);
    }
    for job in &settings.batch {
        let name = given(&job.sink, pipeline).unwrap_or_else(|| TableName::of(pipeline, &job.name));
        let by = Some(format!("batch {}", job.name));
        let key = ["batch", &job.name, "sink", "table"].map(str::to_owned).to_vec();
        add(name, (&job.sink.path, &job.sink.storage), TableKind::Sink, by, key);
    }
    let runs = &settings.batch_runs;
    if runs.enabled && !settings.batch.is_empty() {
        let name = runs.table.as_deref().and_then(|name| TableName::parse(name, pipeline).ok());
        let name = name.unwrap_or_else(|| TableName::of(pipeline, "batch_runs"));
        let key = ["batch_runs", "table"].map(str::to_owned).to_vec();
        add(
            name,
            (&runs.path, &runs.storage),
            TableKind::Sink,
            Some("runs of batch jobs".to_owned()),
            key,
        );
    }
    for table in settings.tables.iter().filter(|t| t.kind == model::TableKind::Delta) {
        let name = TableName::of(pipeline, &table.name);
        let key = vec!["tables".to_owned(), table.name.clone()];
        add(name, (&table.path, &table.storage), TableKind::Static, None, key);
    }
    for source in &settings.sources {
        let SourceKind::Delta(delta) = &source.kind else { continue };
        let name = TableName::of(pipeline, &source.name);
        let key = vec!["sources".to_owned(), source.name.clone()];
        add(name, (&delta.path, &delta.storage), TableKind::Source, None, key);
    }
    tables
}

/// What the sink's own `table` says.
fn given(delta: &DeltaSinkSettings, pipeline: &str) -> Option<TableName> {
    TableName::parse(delta.table.as_deref()?, pipeline).ok()
}
