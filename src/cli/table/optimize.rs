//! `millpond table optimize`.

use std::process::ExitCode;

use super::target::{Bar, Target, run, size};
use super::{TableError, show};
use crate::cli::OK;
use crate::lake::Compression;
use crate::upkeep::{self, OptimizeOptions};

const EXAMPLES: &str = "\
Examples:
  Merge small files:
    millpond table optimize ./data/bronze
  Only those of old days, and say first what would be done:
    millpond table optimize ./data/bronze --where \"date < '2026-11-01'\" --dry-run
  Put rows that are alike in ip and time into the same files, so that queries on either read less:
    millpond table optimize ./data/bronze --zorder ip,ts

The rows stay the same, and so does what streams read from the table. Files that were replaced stay
for time travel until a vacuum. Writers need not stop: files that they change meanwhile are chosen
again. Killed or interrupted, the table is as after the last commit.";

/// Merge small files of a table, or put its rows in z-order
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct OptimizeArgs {
    #[command(flatten)]
    target: Target,
    /// Only partitions for which this is true: SQL over the partition columns
    #[arg(long = "where", value_name = "CONDITION")]
    filter: Option<String>,
    /// Put rows in z-order of these columns
    #[arg(long, value_name = "COLUMN,...", value_delimiter = ',')]
    zorder: Vec<String>,
    /// The size that files should have [default: the table's delta.targetFileSize, or 128MiB]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    target_size: Option<u64>,
    /// How pages are compressed: none, snappy, lz4, zstd or zstd(LEVEL)
    #[arg(long, value_name = "CODEC", default_value = "zstd")]
    compression: Compression,
    /// Threads that rewrite files [default: one for each core]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Memory for the rows of a z-order; the rest waits in temporary files
    #[arg(long, value_name = "SIZE", value_parser = size, default_value = "512MiB")]
    memory: u64,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn execute(args: OptimizeArgs) -> Result<ExitCode, TableError> {
    let location = args.target.location()?;
    let options = OptimizeOptions {
        filter: args.filter,
        zorder: args.zorder.iter().map(|column| column.trim().to_owned()).collect(),
        target_size: args.target_size,
        dry_run: args.dry_run,
        compression: args.compression,
        threads: args.threads.unwrap_or(0),
        memory: args.memory,
        ..OptimizeOptions::default()
    };
    let bar = Bar::new();
    let report = run(upkeep::optimize(&location, options, &bar), &bar)?;
    if args.json {
        show::json(&report)?;
        return Ok(ExitCode::from(OK));
    }
    if report.files_removed == 0 {
        println!("nothing to do: {} files are as they should be", report.files_considered);
    } else if report.dry_run {
        println!(
            "would rewrite {} of {} files ({}) in {} partitions",
            report.files_removed,
            report.files_considered,
            show::bytes(report.bytes_removed),
            report.partitions
        );
    } else {
        println!(
            "version {}: {} files ({}) became {} ({}), {} rows, in {:.1} s",
            report.version,
            report.files_removed,
            show::bytes(report.bytes_removed),
            report.files_added,
            show::bytes(report.bytes_added),
            report.rows,
            report.seconds
        );
    }
    Ok(ExitCode::from(OK))
}
