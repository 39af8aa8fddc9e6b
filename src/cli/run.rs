//! `millpond run`: the daemon.

use std::path::PathBuf;
use std::process::ExitCode;

use super::backfill::{self, BackfillArgs};
use super::daemon::{self, Daemon};
use super::{OK, USAGE};
use crate::actors::{Blueprint, RunOptions};
use crate::config::{self, Environment, Trigger};
use crate::telemetry::logging::{self, LogFormat, LogOptions};

const EXAMPLES: &str = "\
Examples:
  The web-log pipeline, against the broker that the file names:
    millpond run config/weblogs.toml

  The same, with another broker and a shorter epoch:
    millpond run config/weblogs.toml --set sources.logs.brokers=kafka:9092 \\
        --set checkpoint.interval=2s

  Work off what is in the topic, then stop (as Spark's availableNow):
    millpond run config/weblogs.toml --available-now

  Compute one query again over the table of another, into a table of its own:
    millpond run config/weblogs.toml --once --from-table bronze --query traffic_minutes \\
        --into /data/traffic_again

Metrics, health and progress are served at http://127.0.0.1:9898 ([server] in the file).
SIGTERM or Ctrl-C finishes the epoch and exits; a second one exits at once.";

/// Run the pipeline of a configuration until it is stopped
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct RunArgs {
    /// TOML files, or directories of them; later ones override earlier ones
    #[arg(required = true, value_name = "CONFIG")]
    pub configs: Vec<PathBuf>,
    /// Override a key, for instance --set checkpoint.interval=2s
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_value)]
    pub overrides: Vec<(String, String)>,
    /// Read what the sources hold when the run begins, in as many epochs as it takes, and stop
    ///
    /// The same as trigger = "available_now" in the configuration.
    #[arg(long, conflicts_with = "once")]
    pub available_now: bool,
    /// Read what the sources hold when the run begins in one epoch, and stop
    ///
    /// Limits such as max_files_per_trigger do not count. The same as trigger = "once" in the
    /// configuration.
    #[arg(long)]
    pub once: bool,
    /// Where a table is ahead of the checkpoint (it was lost), go on from the table
    ///
    /// Rows that a table has are not written to it again. Windows that were open when the
    /// checkpoint was lost come out incomplete.
    #[arg(long)]
    pub resume_from_table: bool,
    #[command(flatten)]
    pub backfill: BackfillArgs,
}

pub(super) fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => {
            Ok((key.trim().to_owned(), value.to_owned()))
        }
        _ => Err("expected KEY=VALUE".to_owned()),
    }
}

/// Runs the subcommand.
pub fn execute(args: RunArgs) -> anyhow::Result<ExitCode> {
    let settings =
        match config::load_with_overrides(&args.configs, &args.overrides, &Environment::Real) {
            Ok(settings) => settings,
            Err(errors) => return Ok(refuse(&errors)),
        };
    let blueprint = match Blueprint::new(settings) {
        Ok(blueprint) => blueprint,
        Err(errors) => return Ok(refuse(&errors)),
    };
    let settings = &blueprint.settings;
    let mut log = LogOptions::stderr(&settings.logging.level);
    log.format = match settings.logging.format {
        config::LogFormat::Text => LogFormat::Text,
        config::LogFormat::Json => LogFormat::Json,
    };
    logging::init(log)?;
    daemon::arm_fail_points()?;
    if !args.backfill.from_table.is_empty() {
        return Ok(backfill::execute(&blueprint, &args.backfill));
    }
    let once = args.once || settings.trigger == Trigger::Once;
    let options = RunOptions {
        available_now: once || args.available_now || settings.trigger == Trigger::AvailableNow,
        once: once && !args.available_now,
        resume_from_table: args.resume_from_table,
    };
    let daemon = Daemon::start(blueprint, options);
    Ok(match daemon.and_then(Daemon::run) {
        Ok(outcome) => {
            tracing::info!(?outcome, "stopped");
            ExitCode::from(OK)
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(error.exit_code())
        }
    })
}

pub(super) fn refuse(errors: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("{errors}");
    ExitCode::from(USAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_override_is_a_key_and_a_value() {
        let (key, value) = key_value("sources.logs.options.\"a.b\"=c=d").unwrap();
        assert_eq!((key.as_str(), value.as_str()), ("sources.logs.options.\"a.b\"", "c=d"));
        assert!(key_value("nothing").is_err());
        assert!(key_value("=x").is_err());
    }
}
