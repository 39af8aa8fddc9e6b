//! `millpond table vacuum`.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;

use super::target::{Bar, Target, duration, run};
use super::{TableError, show};
use crate::cli::OK;
use crate::upkeep::{self, VacuumOptions};

const EXAMPLES: &str = "\
Examples:
  millpond table vacuum ./data/bronze --dry-run
  millpond table vacuum bronze.logs --config config/weblogs.toml
  millpond table vacuum ./data/bronze --retain 1h --force

Kept are the files of the newest version, those that were taken out of the table within the
retention, and files that no version names yet for a day at least, whatever the retention: a writer
may be about to commit them. With --config, what a stopped daemon has promised to commit is kept for
as long as it is stopped.

A retention under the table's own (delta.deletedFileRetentionDuration, a week unless the table says
otherwise) needs --force: time travel to versions since then ends, and queries and streams that are
reading such a version fail.";

/// Remove files that no version within the retention needs
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct VacuumArgs {
    #[command(flatten)]
    target: Target,
    /// How long files stay after they were taken out of the table, for instance 168h or 7d
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    retain: Option<Duration>,
    /// Allow a retention under the safe one
    #[arg(long)]
    force: bool,
    /// Only look at what the log says, not for files of writers that were killed
    #[arg(long)]
    lite: bool,
    /// Only say which files would be removed
    #[arg(long)]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn execute(args: VacuumArgs) -> Result<ExitCode, TableError> {
    let location = args.target.location()?;
    let keep = match args.target.settings()? {
        Some(settings) => crate::actors::promised_files(&settings, &location)
            .map_err(|error| TableError::Process(error.to_string()))?,
        None => BTreeSet::new(),
    };
    let options = VacuumOptions {
        retain: args.retain,
        dry_run: args.dry_run,
        force: args.force,
        lite: args.lite,
        keep,
    };
    let bar = Bar::new();
    let report = run(upkeep::vacuum(&location, options, &bar), &bar)?;
    if args.json {
        show::json(&report)?;
        return Ok(ExitCode::from(OK));
    }
    if report.dry_run {
        for file in &report.files {
            println!("{file}");
        }
    }
    println!(
        "{} {} files ({}) older than {} h{}",
        if report.dry_run { "would remove" } else { "removed" },
        report.files.len(),
        show::bytes(report.bytes),
        report.retain_hours,
        if report.kept > 0 {
            format!(", kept {} that may still be committed", report.kept)
        } else {
            String::new()
        }
    );
    Ok(ExitCode::from(OK))
}
