//! `millpond table`: what there is to know about Delta tables, and their upkeep by hand.

mod detail;
mod files;
mod history;
mod list;
mod optimize;
mod restore;
mod show;
mod target;
mod vacuum;

use std::process::ExitCode;

use clap::Subcommand;

pub(in crate::cli) use list::grouped;

use super::{FAILED, USAGE};
use crate::upkeep::UpkeepError;

const EXAMPLES: &str = "\
A table is named by its path or URL, or by its name in a configuration:
  millpond table list --config config/weblogs.toml
  millpond table history ./data/bronze
  millpond table detail bronze.logs --config config/weblogs.toml
  MILLPOND_CONFIG=config/weblogs.toml millpond table optimize bronze.logs --zorder ip,ts

All of these can be run while daemons write to the table. With --json the result goes to standard
output as one JSON document; progress is shown on standard error if that is a terminal.";

/// Look at Delta tables and keep them in good order
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct TableArgs {
    #[command(subcommand)]
    command: TableCommand,
}

#[derive(Debug, Subcommand)]
enum TableCommand {
    List(list::ListArgs),
    History(history::HistoryArgs),
    Detail(detail::DetailArgs),
    Files(files::FilesArgs),
    Optimize(optimize::OptimizeArgs),
    Vacuum(vacuum::VacuumArgs),
    Restore(restore::RestoreArgs),
}

/// Runs the subcommand.
pub fn execute(args: TableArgs) -> anyhow::Result<ExitCode> {
    super::daemon::arm_fail_points()?;
    let result = match args.command {
        TableCommand::List(args) => return list::execute(args),
        TableCommand::History(args) => history::execute(args),
        TableCommand::Detail(args) => detail::execute(args),
        TableCommand::Files(args) => files::execute(args),
        TableCommand::Optimize(args) => optimize::execute(args),
        TableCommand::Vacuum(args) => vacuum::execute(args),
        TableCommand::Restore(args) => restore::execute(args),
    };
    Ok(result.unwrap_or_else(|error| {
        if let TableError::Said(status) = error {
            return status;
        }
        eprintln!("error: {error}");
        ExitCode::from(match &error {
            TableError::Usage(_) => USAGE,
            TableError::Upkeep(error) if error.is_usage() => USAGE,
            TableError::Upkeep(_) | TableError::Process(_) | TableError::Said(_) => FAILED,
        })
    }))
}

/// Why a subcommand did nothing, or not all.
#[derive(Debug, thiserror::Error)]
enum TableError {
    /// The configuration; all that is wrong with it has been said.
    #[error("the configuration has errors")]
    Said(ExitCode),
    /// The command line.
    #[error("{0}")]
    Usage(String),
    /// The operation.
    #[error(transparent)]
    Upkeep(#[from] UpkeepError),
    /// The process.
    #[error("{0}")]
    Process(String),
}
