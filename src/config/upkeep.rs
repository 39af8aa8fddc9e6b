//! `[upkeep]` and `[queries.NAME.sink.upkeep]`: reading them.

use std::time::Duration;

use super::diagnostics::ConfigError;
use super::model::{UpkeepKeys, When};
use super::section::Section;
use super::sink;
use crate::upkeep::Schedule;

const SCHEDULE: &str = "a cron schedule in UTC (minute, hour, day, month, day of the week: \
                        \"30 3 * * *\"), \"@hourly\", \"@daily\", \"@weekly\", \"@monthly\" or \"off\"";
const COLUMNS: &str = "names of columns";
const DAY: Duration = Duration::from_secs(86_400);

/// The keys of `[upkeep]`; `None` if there is no such table. `of_table`: it is a table's own.
pub(crate) fn read(parent: &Section<'_>, of_table: bool) -> Option<UpkeepKeys> {
    if !parent.has("upkeep") {
        return None;
    }
    let section = parent.section("upkeep");
    let zorder = when(&section, "zorder");
    let zorder_by = section.has("zorder_by").then(|| section.some_columns("zorder_by", COLUMNS));
    let keys = UpkeepKeys {
        enabled: section.has("enabled").then(|| section.boolean("enabled", true)),
        compact: when(&section, "compact"),
        zorder,
        zorder_by,
        vacuum: when(&section, "vacuum"),
        checkpoint: when(&section, "checkpoint"),
        clean_log: when(&section, "clean_log"),
        retain: section.duration_or("retain", &[], Duration::ZERO, 3650 * DAY).flatten(),
        force: section.has("force").then(|| section.boolean("force", false)),
        target_file_size: section
            .has("target_file_size")
            .then(|| section.size("target_file_size", 128 << 20, 64 << 10, 4 << 30)),
        min_files: section.count("min_files", 2, 1_000_000),
        settle: section.duration_or("settle", &[], Duration::ZERO, 30 * DAY).flatten(),
        compression: section.has("compression").then(|| sink::parquet_compression(&section)),
        threads: section.count("threads", 1, 64),
        memory: section.has("memory").then(|| section.size("memory", 256 << 20, 1 << 20, 1 << 40)),
    };
    if of_table
        && matches!(keys.zorder, Some(When::At(_)))
        && keys.zorder_by.as_ref().is_some_and(Vec::is_empty)
    {
        let error = ConfigError::new("`zorder` has no columns")
            .expected("`zorder_by`, the columns that queries look for rows by");
        section.report("zorder_by", &section.location("zorder_by"), error);
    }
    section.finish();
    Some(keys)
}

fn when(section: &Section<'_>, key: &'static str) -> Option<When> {
    let found = section.string(key, SCHEDULE)?;
    if found.unresolved {
        return None;
    }
    let text = found.text.trim();
    if matches!(text, "off" | "never") {
        return Some(When::Off);
    }
    match Schedule::parse(text) {
        Ok(schedule) => Some(When::At(schedule)),
        Err(reason) => {
            let help = match text {
                "hourly" | "daily" | "weekly" | "monthly" | "yearly" => {
                    format!("did you mean `@{text}`?")
                }
                _ => reason,
            };
            section.reject(key, found.node, SCHEDULE, Some(help));
            None
        }
    }
}
