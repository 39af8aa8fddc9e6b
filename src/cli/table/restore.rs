//! `millpond table restore`.

use std::process::ExitCode;

use chrono::{DateTime, Utc};

use super::target::{Bar, Target, run};
use super::{TableError, show};
use crate::cli::OK;
use crate::upkeep::{self, RestoreTo};

const EXAMPLES: &str = "\
Examples:
  millpond table restore ./data/bronze --version 41
  millpond table restore ./data/bronze --timestamp '2026-11-21 10:00:00'

The older rows become a new version, so that the restore can itself be undone. A daemon that writes
to the table goes on after what it has committed: rows that the restore takes out are not written
again.";

/// Take a table back to an earlier version
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
#[group(id = "to", required = true, multiple = false, args = ["version", "timestamp"])]
pub struct RestoreArgs {
    #[command(flatten)]
    target: Target,
    /// To this version
    #[arg(long, value_name = "N")]
    version: Option<u64>,
    /// To the version that was newest at this time (UTC unless it has a zone)
    #[arg(long, value_name = "TIME", value_parser = upkeep::parse_timestamp)]
    timestamp: Option<DateTime<Utc>>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn execute(args: RestoreArgs) -> Result<ExitCode, TableError> {
    let location = args.target.location()?;
    let to = match (args.version, args.timestamp) {
        (Some(version), _) => RestoreTo::Version(version),
        (None, Some(time)) => RestoreTo::Timestamp(time),
        (None, None) => {
            return Err(TableError::Usage("give --version or --timestamp".to_owned()));
        }
    };
    let bar = Bar::new();
    let report = run(upkeep::restore(&location, to, &bar), &bar)?;
    if args.json {
        show::json(&report)?;
    } else if report.unchanged {
        println!("nothing to do: version {} is the newest", report.restored_version);
    } else {
        println!(
            "version {} has the rows of version {}: {} files came back, {} were taken out",
            report.version, report.restored_version, report.files_restored, report.files_removed
        );
    }
    Ok(ExitCode::from(OK))
}
