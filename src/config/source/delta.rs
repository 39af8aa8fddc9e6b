//! The keys of a source of `type = "delta"`.

use super::super::document::Value;
use super::super::model::{DeltaSourceSettings, DeltaStart};
use super::super::section::Section;
use super::super::sink::delta_path;
use super::super::storage;
use super::files::poll_interval;

pub(super) fn read(section: &Section<'_>) -> Option<DeltaSourceSettings> {
    if !section.has("path") {
        section.missing("path", "\"./data/bronze\"");
    }
    let path = delta_path(section);
    let storage = storage::of_table(section);
    let start = start(section);
    let change_feed = section.boolean("change_feed", false);
    let ignore_deletes = section.boolean("ignore_deletes", false);
    let ignore_changes = section.boolean("ignore_changes", false);
    let skip_change_commits = section.boolean("skip_change_commits", false);
    if change_feed {
        let keys = ["ignore_deletes", "ignore_changes", "skip_change_commits"];
        let message = "has no effect: the change feed has a row for each change";
        section.forbid(&keys, message, "no such key beside `change_feed = true`");
    } else if ignore_changes && skip_change_commits {
        let message = "contradicts `ignore_changes`, which reads those commits";
        section.forbid(&["skip_change_commits"], message, "one of them");
    }
    let max_files = section.count("max_files_per_trigger", 1, u64::from(u32::MAX));
    let poll_interval = poll_interval(section);
    Some(DeltaSourceSettings {
        path: path?,
        storage,
        start,
        change_feed,
        ignore_deletes,
        ignore_changes,
        skip_change_commits,
        max_files_per_trigger: max_files.unwrap_or(1000),
        poll_interval,
    })
}

fn start(section: &Section<'_>) -> DeltaStart {
    const EXPECTED: &str = "`snapshot`, `latest`, { version = 12 } or \
                            { timestamp = \"2026-11-21T10:00:00Z\" }";
    let default = DeltaStart::Snapshot;
    let Some(entry) = section.entry("start") else { return default };
    if !matches!(entry.node.value, Value::Table(_)) {
        let choices = [("snapshot", default), ("latest", DeltaStart::Latest)];
        let refused = [("earliest", "write { version = 0 }, or \"snapshot\"")];
        let chosen = section.choose_of("start", &entry.node, &choices, &refused, EXPECTED);
        return chosen.unwrap_or(default);
    }
    let table = section.section("start");
    let keys = [("version", "12"), ("timestamp", "\"2026-11-21T10:00:00Z\"")];
    let start = match table.one_of(&keys) {
        Some("version") => {
            let version = table.integer("version", 0, i64::MAX as u64);
            version.and_then(|version| i64::try_from(version).ok()).map(DeltaStart::Version)
        }
        Some(_) => table.time("timestamp").map(DeltaStart::Timestamp),
        None => None,
    };
    table.finish();
    start.unwrap_or(default)
}
