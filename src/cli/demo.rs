//! `millpond demo`: everything in one process, for a first look.

use std::process::ExitCode;

/// See Millpond at work: an embedded broker, made-up web logs with anomalies, the whole pipeline
#[derive(Debug, clap::Args)]
pub struct DemoArgs {}

/// Runs the subcommand.
pub fn execute(_: DemoArgs) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not wired up yet")
}
