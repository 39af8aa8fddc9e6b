//! `millpond table history`.

use std::process::ExitCode;

use super::target::{Bar, Target, run};
use super::{TableError, show};
use crate::cli::OK;
use crate::upkeep;

const EXAMPLES: &str = "\
Examples:
  millpond table history ./data/bronze --limit 5
  millpond table history bronze.logs --config config/weblogs.toml --json | jq '.[0]'";

/// What was done to a table, newest first (as DESCRIBE HISTORY)
///
/// Goes back as far as the log does (delta.logRetentionDuration, 30 days unless the table says
/// otherwise).
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct HistoryArgs {
    #[command(flatten)]
    target: Target,
    /// Only the newest so many versions
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Print JSON: a list of versions
    #[arg(long)]
    json: bool,
}

pub fn execute(args: HistoryArgs) -> Result<ExitCode, TableError> {
    let location = args.target.location()?;
    let entries = run(upkeep::history(&location, args.limit), &Bar::new())?;
    if args.json {
        show::json(&entries)?;
    } else {
        let rows = entries
            .iter()
            .map(|entry| {
                vec![
                    entry.version.to_string(),
                    show::time(entry.timestamp),
                    entry.operation.clone().unwrap_or_default(),
                    show::members(&entry.operation_parameters),
                    show::members(&entry.operation_metrics),
                    entry.engine_info.clone().unwrap_or_default(),
                ]
            })
            .collect();
        let columns =
            ["version", "timestamp (UTC)", "operation", "parameters", "metrics", "engine"];
        print!("{}", show::table(&columns, rows));
    }
    Ok(ExitCode::from(OK))
}
