//! `millpond sql`: SQL over the Delta tables, once or in a shell.

mod complete;
mod output;
mod plot;
mod run;
mod shell;
mod text;

use std::io::{IsTerminal as _, Read as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use super::USAGE;
use super::catalog::CatalogArgs;
use crate::config;
use crate::lakesql::{EngineOptions, Session};
use output::Format;
use plot::PlotArgs;
use run::{Runner, Settings};

const EXAMPLES: &str = "\
The dialect is Spark SQL with Delta Lake's statements: SELECT (joins, WITH, window functions,
subqueries), t VERSION AS OF n, t TIMESTAMP AS OF '...', t@v3, SHOW TABLES, DESCRIBE t,
DESCRIBE HISTORY t, DESCRIBE DETAIL t, EXPLAIN, OPTIMIZE t [WHERE ...] [ZORDER BY (...)],
VACUUM t [RETAIN n HOURS] [DRY RUN], RESTORE t TO VERSION AS OF n, CREATE TEMP VIEW v AS ...
Tables are named as the configuration names them, or by path: delta.`/data/bronze`.

Examples:
  millpond sql --config config/weblogs.toml \"SHOW TABLES\"
  millpond sql -c config/weblogs.toml \"SELECT endpoint, count(*) AS errors FROM bronze
      WHERE status_code >= 400 AND date >= current_date() - 1 GROUP BY endpoint ORDER BY errors DESC\"
  millpond sql \"SELECT count(*) FROM delta.`./data/bronze` VERSION AS OF 3\"
  millpond sql -c config/weblogs.toml --plot \"SELECT window_start, requests FROM traffic_minutes\"
  millpond sql -c config/weblogs.toml --format parquet --output errors.parquet -f errors.sql
  millpond sql -c config/weblogs.toml          (a shell; \\? lists its commands)

Exit status: 0 done, 1 failed, 2 wrong usage, configuration or SQL. Rows go to standard output;
counts, times and notices to standard error.";

/// Query the tables with SQL, as they are or as they were
///
/// Without a statement, and with a terminal to type at, opens a shell.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct SqlArgs {
    /// One or several statements, with `;` between them; `-`: from standard input
    #[arg(value_name = "SQL", conflicts_with = "file")]
    statement: Option<String>,
    /// Read the statements from a file
    #[arg(long, short, value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    catalog: CatalogArgs,
    /// How rows are written
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Write the rows to a file, which is replaced; of several statements, those of the last
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Rows of a table on the terminal; 0: all. Other formats and files have all rows
    #[arg(long, value_name = "N", default_value_t = 1000)]
    max_rows: usize,
    #[command(flatten)]
    plot: PlotArgs,
    /// Stop a statement that takes longer, such as 30s
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    timeout: Option<Duration>,
    /// Memory for groups, sorting and joins; beyond it the disk is used. Default: half of the
    /// machine's
    #[arg(long, value_name = "SIZE", value_parser = size)]
    memory: Option<usize>,
    /// Threads that read and compute; 0: one for each core
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: usize,
    /// Refuse OPTIMIZE, VACUUM and RESTORE
    #[arg(long)]
    read_only: bool,
    /// Say nothing of row counts and times
    #[arg(long, short)]
    quiet: bool,
}

fn duration(text: &str) -> Result<Duration, String> {
    config::parse_duration(text)
        .map_err(|help| help.unwrap_or_else(|| "write a duration, such as 30s".to_owned()))
}

fn size(text: &str) -> Result<usize, String> {
    config::parse_size(text)
        .map_err(|help| help.unwrap_or_else(|| "write a size, such as 2GiB".to_owned()))
}

/// Runs the subcommand.
pub fn execute(mut args: SqlArgs) -> anyhow::Result<ExitCode> {
    // `--plot "SELECT ..."`: a chart in the terminal, and the statement.
    if let Some(plot) = &mut args.plot.plot
        && !plot.is_empty()
        && !PlotArgs::is_file(plot)
        && args.statement.is_none()
        && args.file.is_none()
    {
        args.statement = Some(std::mem::take(plot));
    }
    let catalog = match args.catalog.catalog() {
        Ok(catalog) => catalog,
        Err(status) => return Ok(status),
    };
    let text = match (&args.statement, &args.file) {
        (Some(statement), _) if statement == "-" => Some(from_standard_input()?),
        (Some(statement), _) => Some(statement.clone()),
        (None, Some(file)) => match std::fs::read_to_string(file) {
            Ok(text) => Some(text),
            Err(error) => {
                eprintln!("error: cannot read {}: {error}", file.display());
                return Ok(ExitCode::from(USAGE));
            }
        },
        (None, None) if std::io::stdin().is_terminal() => None,
        (None, None) => Some(from_standard_input()?),
    };
    if args.format.is_binary() && args.output.is_none() && std::io::stdout().is_terminal() {
        eprintln!("error: a terminal cannot show Parquet\n  = expected: --output FILE");
        return Ok(ExitCode::from(USAGE));
    }
    let defaults = EngineOptions::default();
    let options = EngineOptions {
        threads: args.threads,
        memory: args.memory.unwrap_or(defaults.memory),
        ..defaults
    };
    let session = Session::with_options(catalog, &options)?;
    let settings = Settings {
        format: args.format,
        output: args.output,
        max_rows: args.max_rows,
        plot: args.plot,
        timeout: args.timeout,
        read_only: args.read_only,
        quiet: args.quiet,
    };
    let mut runner = Runner::new(session, settings);
    match text {
        Some(text) => Ok(ExitCode::from(runner.run_all(&text))),
        None => shell::run(runner),
    }
}

fn from_standard_input() -> anyhow::Result<String> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    Ok(text)
}
