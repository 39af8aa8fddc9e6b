//! `millpond table`: the Delta tables, one file a subcommand.

mod list;

use std::process::ExitCode;

use clap::Subcommand;

pub(in crate::cli) use list::grouped;

const EXAMPLES: &str = "\
Tables are named as the configuration names them (bronze.logs), or by path or URL.

Examples:
  millpond table list --config config/weblogs.toml
  MILLPOND_CONFIG=config/weblogs.toml millpond table list --json";

/// Look at the Delta tables and keep them in shape
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct TableArgs {
    #[command(subcommand)]
    command: TableCommand,
}

#[derive(Debug, Subcommand)]
enum TableCommand {
    List(list::ListArgs),
}

/// Runs the subcommand.
pub fn execute(args: TableArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        TableCommand::List(args) => list::execute(args),
    }
}
