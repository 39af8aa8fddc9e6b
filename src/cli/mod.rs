//! The command line, one file a subcommand.

pub mod demo;
pub mod detect;
pub mod explain;
pub mod generate;
pub mod healthcheck;
pub mod run;
pub mod sql;
pub mod table;
pub mod test;
pub mod validate;

mod backfill;
mod catalog;
mod daemon;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// It did what was asked.
pub const OK: u8 = 0;
/// It failed.
pub const FAILED: u8 = 1;
/// The command line or the configuration is wrong.
pub const USAGE: u8 = 2;
/// Another daemon owns the checkpoint or the tables, or they disagree with each other.
pub const REFUSED: u8 = 3;

const EXIT_STATUS: &str = "\
Exit status: 0 done or stopped as asked, 1 failed, 2 wrong usage or configuration,
3 refused, because another daemon owns the checkpoint or the tables are ahead of it.

First look:  millpond demo
Then:        millpond validate config/weblogs.toml
             millpond explain config/weblogs.toml
             millpond test config/clicks.toml
             millpond run config/weblogs.toml";

/// A streaming lakehouse in one daemon
///
/// Millpond reads events from Kafka, runs Spark SQL over event time (windows, watermarks, late
/// data), finds anomalies in the windowed metrics, and commits everything to Delta Lake exactly
/// once.
#[derive(Debug, Parser)]
#[command(name = "millpond", version, after_help = EXIT_STATUS, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::DemoArgs),
    Run(run::RunArgs),
    Validate(validate::ValidateArgs),
    Test(test::TestArgs),
    Explain(explain::ExplainArgs),
    Detect(Box<detect::DetectArgs>),
    Generate(Box<generate::GenerateArgs>),
    Sql(Box<sql::SqlArgs>),
    Table(table::TableArgs),
    Healthcheck(healthcheck::HealthcheckArgs),
}

/// Runs the program with the process's arguments.
pub fn main() -> ExitCode {
    bound_malloc_arenas();
    let result = match Cli::parse().command {
        Command::Demo(args) => demo::execute(args),
        Command::Run(args) => run::execute(args),
        Command::Validate(args) => validate::execute(args),
        Command::Test(args) => test::execute(args),
        Command::Explain(args) => explain::execute(args),
        Command::Detect(args) => detect::execute(*args),
        Command::Generate(args) => generate::execute(*args),
        Command::Sql(args) => sql::execute(*args),
        Command::Table(args) => table::execute(args),
        Command::Healthcheck(args) => healthcheck::execute(args),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::from(FAILED)
    })
}

/// glibc gives every thread a heap of its own and hardly ever returns one to the system. Batches
/// are allocated by one thread and freed by another, so those heaps only grow: with two of them the
/// benchmark's peak is a fifth lower at the same speed (docs/PERFORMANCE.md).
fn bound_malloc_arenas() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: `mallopt` only sets a number in the allocator, before any other thread exists. A
    // refusal (0) leaves the default, which works.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 2);
    }
}
