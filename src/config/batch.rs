//! `[batch.NAME]` and `[batch_runs]`: reading them.

use std::path::Path;
use std::time::Duration;

use super::diagnostics::ConfigError;
use super::model::{BatchJobSettings, BatchRunsSettings, OutputMode, SinkSettings};
use super::names::check_name;
use super::section::Section;
use super::sink;
use super::source::DAY;
use super::storage;
use super::text::TextLocation;

/// Only what has errors comes back as nothing.
pub(crate) fn read(name: &str, section: &Section<'_>) -> Option<BatchJobSettings> {
    check_name(section, name, "batch job");
    let sql = section.required("sql", "a SELECT over tables", "'''SELECT … FROM …'''");
    let schedule = schedule(section);
    let retries = section.integer("retries", 0, 100).unwrap_or(3);
    let timeout = section
        .has("timeout")
        .then(|| section.duration_or("timeout", &[], Duration::from_secs(1), 7 * DAY).flatten())
        .flatten();
    if !section.has("sink") {
        section.missing("sink", "{ type = \"delta\", path = \"${data_dir}/totals\" }");
    }
    let table = section.section("sink");
    let settings = section
        .has("sink")
        .then(|| sink::read(&table, OutputMode::Complete))
        .flatten()
        .and_then(|(_, settings)| match settings {
            SinkSettings::Delta(delta) => Some(delta),
            other => {
                let error = ConfigError::new(format!("a batch job cannot fill `{}`", other.name()))
                    .expected("type = \"delta\": all rows are replaced in one commit");
                table.report("type", &table.location("type"), error);
                None
            }
        });
    section.finish();
    let sql = sql?;
    Some(BatchJobSettings {
        name: name.to_owned(),
        sql: sql.text.to_owned(),
        sql_location: TextLocation::new(sql.node.at.source(), sql.offsets()),
        schedule,
        retries: u32::try_from(retries).unwrap_or(u32::MAX),
        timeout,
        sink: settings?,
        location: section.header.clone(),
    })
}

fn schedule(section: &Section<'_>) -> Option<String> {
    const EXPECTED: &str = "a cron schedule in UTC, such as \"*/5 * * * *\" or \"@hourly\"";
    let found = section.string("schedule", EXPECTED)?;
    if !found.unresolved
        && let Err(reason) = crate::batch::Schedule::parse(found.text)
    {
        section.reject("schedule", found.node, EXPECTED, Some(reason));
    }
    Some(found.text.trim().to_owned())
}

/// The table of runs.
pub(crate) fn runs(section: &Section<'_>, data_dir: &Path) -> BatchRunsSettings {
    let default = data_dir.join("batch_runs").to_string_lossy().into_owned();
    let path =
        if section.has("path") { sink::delta_path(section).unwrap_or(default) } else { default };
    let settings = BatchRunsSettings {
        enabled: section.boolean("enabled", true),
        path,
        storage: storage::of_table(section),
        table: sink::table_name(section),
    };
    section.finish();
    settings
}
