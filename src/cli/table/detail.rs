//! `millpond table detail`.

use std::process::ExitCode;

use super::target::{Bar, Target, run};
use super::{TableError, show};
use crate::cli::OK;
use crate::upkeep;

const EXAMPLES: &str = "\
Examples:
  millpond table detail ./data/bronze
  millpond table detail bronze.logs --config config/weblogs.toml --json";

/// What a table is and how large (as DESCRIBE DETAIL)
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct DetailArgs {
    #[command(flatten)]
    target: Target,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn execute(args: DetailArgs) -> Result<ExitCode, TableError> {
    let location = args.target.location()?;
    let detail = run(upkeep::detail(&location), &Bar::new())?;
    if args.json {
        show::json(&detail)?;
        return Ok(ExitCode::from(OK));
    }
    let properties: Vec<String> =
        detail.properties.iter().map(|(key, value)| format!("{key} = {value}")).collect();
    let mut pairs = vec![
        ("location", detail.location),
        ("name", detail.name.unwrap_or_default()),
        ("description", detail.description.unwrap_or_default()),
        ("id", detail.id),
        ("version", detail.version.to_string()),
        ("created (UTC)", show::time(detail.created_at)),
        ("last modified (UTC)", show::time(detail.last_modified)),
        ("partitioned by", detail.partition_columns.join(", ")),
        ("rows", detail.num_rows.to_string()),
        ("files", format!("{} ({} of them small)", detail.num_files, detail.num_small_files)),
        ("size", show::bytes(detail.size_in_bytes)),
        ("files with deletion vectors", detail.num_files_with_deletion_vectors.to_string()),
        (
            "log",
            format!(
                "{} commits, {}, checkpoint {}",
                detail.num_commits_in_log,
                show::bytes(detail.log_size_in_bytes),
                detail.checkpoint_version.map_or("none".to_owned(), |v| format!("of version {v}"))
            ),
        ),
        (
            "protocol",
            format!("reader {}, writer {}", detail.min_reader_version, detail.min_writer_version),
        ),
        ("table features", detail.table_features.join(", ")),
        ("properties", properties.join("\n")),
    ];
    pairs.retain(|(_, value)| !value.is_empty());
    print!("{}", show::pairs(&pairs));
    Ok(ExitCode::from(OK))
}
