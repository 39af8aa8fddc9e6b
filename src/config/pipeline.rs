//! The whole tree, and the tables that a pipeline has once: reading them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tracing_subscriber::EnvFilter;

use super::DEFAULT_DATA_DIR;
use super::diagnostics::ConfigError;
use super::document::{Node, Value};
use super::locator::Locator;
use super::model::{
    CheckpointSettings, DeadLetterSettings, LogFormat, LoggingSettings, MemorySettings,
    RestartSettings, Settings, Trigger,
};
use super::section::Section;
use super::suggest;
use super::{
    alerts, batch, detector, query, server, sink, source, storage, table, unit_test, upkeep,
};

const DAY: Duration = Duration::from_secs(86_400);

/// Reads everything, so that everything is reported; what has errors is left out of the result.
pub(crate) fn read(root: &Section<'_>, files: Vec<PathBuf>, locator: Locator) -> Settings {
    let name = name(root);
    let help = "checkpoints are below it, and they are on a local disk; give each table a `path` of \
                its own";
    let data_dir =
        local_directory(root, "data_dir", help).unwrap_or_else(|| PathBuf::from(DEFAULT_DATA_DIR));
    let shards = root.integer("shards", 1, 64).and_then(|n| usize::try_from(n).ok());
    let memory = memory(&root.section("memory"));
    let (trigger, checkpoint) = epochs(root, &data_dir, &name);
    let restart = restart(&root.section("restart"));
    let stop_timeout = root.duration(
        "stop_timeout",
        Duration::from_secs(8),
        Duration::from_millis(100),
        Duration::from_secs(3600),
    );
    let server = server::read(&root.section("server"));
    let logging = logging(&root.section("logging"));
    let storage = storage::read(&root.section("storage"));
    let mut sources = Vec::new();
    for (source_name, section) in root.named("sources") {
        sources.extend(source::read(source_name, &section, &name));
    }
    let mut tables = Vec::new();
    for (table_name, section) in root.named("tables") {
        tables.extend(table::read(table_name, &section));
    }
    let dead_letters = dead_letters(&root.section("dead_letters"), &data_dir);
    let upkeep = upkeep::read(root, false);
    let mut queries = Vec::new();
    for (query_name, section) in root.named("queries") {
        queries.extend(query::read(query_name, &section, checkpoint.interval));
    }
    let anomalies = under(&data_dir, "anomalies");
    let mut detectors = Vec::new();
    for (detector_name, section) in root.named("detectors") {
        detectors.extend(detector::read(detector_name, &section, &anomalies));
    }
    let alerts = alerts::read(&root.section("alerts"));
    let mut jobs = Vec::new();
    for (job_name, section) in root.named("batch") {
        jobs.extend(batch::read(job_name, &section));
    }
    let batch_runs = batch::runs(&root.section("batch_runs"), &data_dir);
    let tests = unit_test::read(root);
    for (key, example) in
        [("sources", "[sources.NAME], one or more"), ("queries", "[queries.NAME], one or more")]
    {
        let is_empty = |node: &Node| node.as_table().is_some_and(|table| table.entries.is_empty());
        if root.entry(key).is_none_or(|entry| is_empty(&entry.node)) {
            let error = ConfigError::new(format!("there are no {key}")).expected(example);
            root.report(key, &root.location(key), error);
        }
    }
    root.finish();
    let mut settings = Settings {
        name,
        data_dir,
        shards: shards.unwrap_or_else(cores),
        trigger,
        memory,
        checkpoint,
        restart,
        stop_timeout,
        server,
        logging,
        storage,
        sources,
        tables,
        dead_letters,
        upkeep,
        queries,
        detectors,
        alerts,
        batch: jobs,
        batch_runs,
        tests,
        files,
        locator,
    };
    storage::inherit(&mut settings);
    settings
}

/// A directory that cannot be in an object store; `help` says why.
fn local_directory(section: &Section<'_>, key: &'static str, help: &str) -> Option<PathBuf> {
    const EXPECTED: &str = "a directory";
    let found = section.string(key, EXPECTED)?;
    let remote = found.text.split_once("://").is_some_and(|(scheme, _)| scheme != "file");
    if remote && !found.unresolved {
        section.reject(key, found.node, EXPECTED, Some(help.to_owned()));
        return None;
    }
    Some(PathBuf::from(found.text))
}

fn cores() -> usize {
    // Not knowing how many there are is no reason not to start.
    std::thread::available_parallelism().map_or(1, usize::from).clamp(1, 64)
}

/// A path below `data_dir`, as a string.
fn under(data_dir: &Path, name: &str) -> String {
    data_dir.join(name).to_string_lossy().into_owned()
}

fn name(root: &Section<'_>) -> String {
    const EXPECTED: &str = "lower-case letters, digits, `_` and `-`, at most 64";
    let Some(found) = root.required("name", EXPECTED, "\"weblogs\"") else {
        return String::new();
    };
    let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
    if !found.unresolved && (found.text.len() > 64 || !found.text.chars().all(valid)) {
        let repaired: String = found
            .text
            .to_lowercase()
            .chars()
            .take(64)
            .map(|c| if valid(c) { c } else { '-' })
            .collect();
        let interpolated = found.node.shown().contains("${");
        let help = (!interpolated && repaired.contains(|c: char| c.is_ascii_alphanumeric()))
            .then(|| format!("`{repaired}` would do"));
        root.reject("name", found.node, EXPECTED, help);
    }
    found.text.to_owned()
}

fn memory(section: &Section<'_>) -> MemorySettings {
    let settings =
        MemorySettings { in_flight: section.size("in_flight", 64 << 20, 64 << 10, 1 << 40) };
    section.finish();
    settings
}

/// `trigger` and `[checkpoint]`, which may both say how long an epoch is.
fn epochs(root: &Section<'_>, data_dir: &Path, name: &str) -> (Trigger, CheckpointSettings) {
    const LEAST: Duration = Duration::from_millis(100);
    let section = root.section("checkpoint");
    let written = root.duration_or("trigger", &["available_now", "once"], LEAST, DAY);
    let interval = match written {
        Some(Some(interval)) => {
            let same = section.duration("interval", interval, LEAST, DAY);
            if same != interval {
                let error = ConfigError::new("`trigger` and `interval` in [checkpoint] differ")
                    .expected("one of them: both are the time between two epochs");
                root.report("trigger", &root.location("trigger"), error);
            }
            interval
        }
        _ => section.duration("interval", Duration::from_secs(10), LEAST, DAY),
    };
    let trigger = match (written, root.entry("trigger").map(|entry| &entry.node.value)) {
        (Some(None), Some(Value::String(text))) if text.value.trim() == "once" => Trigger::Once,
        (Some(None), _) => Trigger::AvailableNow,
        _ => Trigger::Interval(interval),
    };
    (trigger, checkpoint(&section, interval, data_dir, name))
}

fn checkpoint(
    section: &Section<'_>,
    interval: Duration,
    data_dir: &Path,
    name: &str,
) -> CheckpointSettings {
    let help = "checkpoints are on a local disk: what they promise is flushed there";
    let directory = local_directory(section, "directory", help);
    let timeout =
        section.duration("timeout", Duration::from_secs(600), Duration::from_secs(1), 7 * DAY);
    if timeout < interval {
        let key = if section.has("timeout") { "timeout" } else { "interval" };
        let error = ConfigError::new("`timeout` is shorter than `interval`")
            .expected("a `timeout` that leaves an epoch at least one interval");
        section.report(key, &section.location(key), error);
    }
    let drain_timeout =
        section.duration("drain_timeout", Duration::from_secs(30), Duration::from_millis(100), DAY);
    section.finish();
    CheckpointSettings {
        directory: directory.unwrap_or_else(|| data_dir.join("checkpoints").join(name)),
        interval,
        timeout,
        drain_timeout,
    }
}

fn restart(section: &Section<'_>) -> RestartSettings {
    let shortest = Duration::from_millis(1);
    let settings = RestartSettings {
        initial_backoff: section.duration(
            "initial_backoff",
            Duration::from_millis(500),
            shortest,
            DAY,
        ),
        max_backoff: section.duration("max_backoff", Duration::from_secs(30), shortest, DAY),
        reset_after: section.duration("reset_after", Duration::from_secs(60), shortest, DAY),
        max_restarts: section
            .integer("max_restarts", 0, u64::from(u32::MAX))
            .and_then(|restarts| u32::try_from(restarts).ok()),
    };
    if settings.max_backoff < settings.initial_backoff {
        let key = if section.has("max_backoff") { "max_backoff" } else { "initial_backoff" };
        let error = ConfigError::new("`max_backoff` is shorter than `initial_backoff`")
            .expected("an `initial_backoff` of at most `max_backoff`");
        section.report(key, &section.location(key), error);
    }
    section.finish();
    settings
}

fn logging(section: &Section<'_>) -> LoggingSettings {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    const EXPECTED: &str = "`off`, `error`, `warn`, `info`, `debug`, `trace`, \
                            or directives such as \"info,millpond=debug\"";
    let mut level = "info".to_owned();
    if let Some(found) = section.string("level", EXPECTED)
        && !found.unresolved
    {
        let text = found.text.trim();
        // A word alone would pass for the name of a module.
        let valid = LEVELS.contains(&text)
            || (text.contains(['=', ',']) && EnvFilter::try_new(text).is_ok());
        if valid {
            level = text.to_owned();
        } else {
            section.reject("level", found.node, EXPECTED, suggest::did_you_mean(text, LEVELS));
        }
    }
    let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
    let format = section.choice("format", &formats, &[], LogFormat::Text);
    section.finish();
    LoggingSettings { level, format }
}

fn dead_letters(section: &Section<'_>, data_dir: &Path) -> DeadLetterSettings {
    let default = under(data_dir, "dead_letters");
    let path =
        if section.has("path") { sink::delta_path(section).unwrap_or(default) } else { default };
    let settings = DeadLetterSettings {
        enabled: section.boolean("enabled", true),
        path,
        storage: storage::of_table(section),
        table: sink::table_name(section),
        max_payload: section.size("max_payload", 64 << 10, 0, 64 << 20),
    };
    section.finish();
    settings
}
