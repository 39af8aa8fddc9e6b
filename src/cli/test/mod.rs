//! `millpond test`: the tests that a configuration holds.

mod check;
mod report;

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use super::run::{key_value, refuse};
use super::{FAILED, OK, USAGE};
use crate::actors::Blueprint;
use crate::config::{self, Environment};

use check::check;
use report::{Style, as_json, as_text, summary};

const EXAMPLES: &str = "\
A test gives events, batch by batch, and says which rows a query makes of them. It stands in the
configuration, beside the query:

  [[tests]]
  name = \"an error is counted in its minute\"
  query = \"errors_per_minute\"

  [[tests.batches]]
  input = [{ source = \"logs\", rows = [{ ts = \"2026-01-01T10:00:05Z\", level = \"ERROR\" }] }]

  [[tests.batches]]                       # as it comes in, through the source's format
  input = [{ source = \"logs\", lines = ['{\"ts\": \"2026-01-01T10:05:00Z\", \"level\": \"INFO\"}'] }]

  [[tests.expect]]                        # after the last batch; or: after = 1, after = \"end\"
  columns = [\"errors\"]
  rows = [{ errors = 1 }]

Each batch is one epoch: its records arrive, then the watermark moves, then the trigger comes.
`at` moves the wall clock (current_timestamp, state_ttl), nothing is waited for. `late` and
`dead_letters` count what was dropped.

  millpond test config/clicks.toml
  millpond test config/clicks.toml --filter late
  for f in config/*.toml; do millpond test --no-environment $f; done   # in CI

Nothing is connected to and nothing is written. Exit status: 0 all passed, 1 some failed, 2 the
configuration, or a test in it, is wrong.";

/// Run the tests that a configuration holds, on a moved clock
///
/// Sources, sinks and time are replaced by what the tests say; decoders, watermarks, SQL and state
/// are those of the daemon.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct TestArgs {
    /// TOML files, or directories of them; later ones override earlier ones
    #[arg(required = true, value_name = "CONFIG")]
    pub configs: Vec<PathBuf>,
    /// Only tests with this in their name
    #[arg(long, value_name = "NAME")]
    pub filter: Option<String>,
    /// Leave ${VAR} and ${file:...} as they are, and skip what depends on them
    #[arg(long)]
    pub no_environment: bool,
    /// Override a key, as for `millpond run`
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_value)]
    pub overrides: Vec<(String, String)>,
    /// Print what came out as JSON
    #[arg(long)]
    pub json: bool,
}

/// Runs the subcommand.
pub fn execute(args: TestArgs) -> anyhow::Result<ExitCode> {
    let environment = if args.no_environment { Environment::None } else { Environment::Real };
    let settings = match config::load_with_overrides(&args.configs, &args.overrides, &environment) {
        Ok(settings) => settings,
        Err(errors) => return Ok(refuse(&errors)),
    };
    let blueprint = match Blueprint::new(settings) {
        Ok(blueprint) => blueprint,
        Err(errors) => return Ok(refuse(&errors)),
    };
    let tests = &blueprint.settings.tests;
    let wanted = |name: &str| args.filter.as_ref().is_none_or(|filter| name.contains(&**filter));
    let chosen: Vec<_> = tests.iter().filter(|test| wanted(&test.name)).collect();
    if let (Some(filter), []) = (&args.filter, chosen.as_slice()) {
        let names: Vec<_> = tests.iter().map(|test| format!("  {}", test.name)).collect();
        eprintln!("error: no test has '{filter}' in its name; there are\n{}", names.join("\n"));
        return Ok(ExitCode::from(USAGE));
    }
    let style = Style::of(io::stdout().is_terminal());
    let began = Instant::now();
    let mut results = Vec::new();
    let mut errors = Vec::new();
    for test in chosen {
        match check(&blueprint, test) {
            Ok(result) => {
                if !args.json {
                    print!("{}", as_text(&result, style));
                }
                results.push(result);
            }
            Err(error) => errors.push(error),
        }
    }
    let took = began.elapsed();
    if !errors.is_empty() {
        return Ok(refuse(&config::ConfigErrors::from(errors)));
    }
    if args.json {
        println!("{:#}", as_json(&blueprint.settings.name, &results, took));
    } else {
        println!("{}", summary(&blueprint.settings.name, &results, took));
    }
    let passed = results.iter().all(|result| result.failures.is_empty());
    Ok(ExitCode::from(if passed { OK } else { FAILED }))
}
