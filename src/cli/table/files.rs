//! `millpond table files`.

use std::process::ExitCode;

use super::target::{Bar, Target, run};
use super::{TableError, show};
use crate::cli::OK;
use crate::upkeep;

const EXAMPLES: &str = "\
Examples:
  millpond table files ./data/bronze --limit 20
  millpond table files ./data/bronze --where \"date >= '2026-11-01'\" --json";

/// The data files of a table, oldest first
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct FilesArgs {
    #[command(flatten)]
    target: Target,
    /// Only files of partitions for which this is true: SQL over the partition columns
    #[arg(long = "where", value_name = "CONDITION")]
    filter: Option<String>,
    /// Only the first so many
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Print JSON: a list of files
    #[arg(long)]
    json: bool,
}

pub fn execute(args: FilesArgs) -> Result<ExitCode, TableError> {
    let location = args.target.location()?;
    let files = run(upkeep::files(&location, args.filter.as_deref()), &Bar::new())?;
    let shown = &files[..args.limit.unwrap_or(usize::MAX).min(files.len())];
    if args.json {
        show::json(&shown)?;
        return Ok(ExitCode::from(OK));
    }
    let rows = shown
        .iter()
        .map(|file| {
            vec![
                show::bytes(file.size),
                file.rows.to_string(),
                show::time(file.modified),
                file.path.clone(),
            ]
        })
        .collect();
    print!("{}", show::table(&["size", "rows", "modified (UTC)", "path"], rows));
    let bytes: u64 = files.iter().map(|file| file.size).sum();
    let rows: u64 = files.iter().map(|file| file.rows).sum();
    println!("\n{} files, {rows} rows, {}", files.len(), show::bytes(bytes));
    Ok(ExitCode::from(OK))
}
