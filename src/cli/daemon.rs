//! What `run` and `demo` share: a pipeline with its metrics, its server and its signals.

use std::sync::Arc;
use std::time::Duration;

use actix::System;
use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

use super::{FAILED, REFUSED, USAGE};
use crate::actors::{
    BatchJobs, Blueprint, Outcome, PipelineError, PipelineSupervisor, RunOptions, Stopper,
};
use crate::catalog::Catalog;
use crate::server::{self, LakeStatements, ServerHandle, ServerOptions, ServerState};
use crate::telemetry::events::ConfigLoaded;
use crate::telemetry::exporter::{self, Upkeep};
use crate::telemetry::progress::PipelineProgress;

/// Names the variable that arms fail points, for the crash tests.
const FAIL_POINTS: &str = "MILLPOND_FAILPOINTS";

/// Why a daemon did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The pipeline.
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    /// The HTTP server's address can't be had.
    #[error(transparent)]
    Server(#[from] server::ServerError),
    /// Something of the process.
    #[error("{0:#}")]
    Process(#[from] anyhow::Error),
}

impl DaemonError {
    /// The process's exit code for it.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Pipeline(PipelineError::Refused(_)) => REFUSED,
            Self::Pipeline(PipelineError::Failed(_)) | Self::Process(_) => FAILED,
            Self::Server(_) => USAGE,
        }
    }
}

/// A pipeline that is ready to run.
pub struct Daemon {
    supervisor: PipelineSupervisor,
    progress: Arc<PipelineProgress>,
    server: Option<ServerHandle>,
    jobs: Option<BatchJobs>,
    /// Whether the run ends by itself; batch jobs are run then.
    bounded: bool,
    // Dropped after the pipeline has ended: it flushes what was counted last.
    upkeep: Upkeep,
}

impl Daemon {
    /// Opens the ledger, the metrics and the server.
    pub fn start(blueprint: Blueprint, options: RunOptions) -> Result<Self, DaemonError> {
        let handle = exporter::install().context("the metrics can't be set up")?;
        let blueprint = Arc::new(blueprint);
        let files: Vec<String> =
            blueprint.settings.files.iter().map(|file| file.display().to_string()).collect();
        ConfigLoaded {
            path: &files.join(", "),
            pipelines: 1,
            sources: blueprint.sources.len(),
            queries: blueprint.queries.len(),
            sinks: blueprint.sinks.len(),
        }
        .emit();
        let progress = PipelineProgress::new(blueprint.settings.name.as_str());
        let jobs =
            BatchJobs::of(&blueprint, &progress).context("the batch jobs can't be set up")?;
        let bounded = options.available_now;
        let supervisor = PipelineSupervisor::new(blueprint.clone(), progress.clone(), options)?;
        let upkeep = Upkeep::start(handle.clone(), vec![progress.clone()])
            .context("the metrics' upkeep can't be started")?;
        let server = if blueprint.settings.server.enabled {
            let state = ServerState::new(handle, vec![progress.clone()])
                .with_tables(blueprint.memory_tables());
            let state = state.with_topologies(vec![blueprint.topology()]);
            let state = if blueprint.settings.server.sql.enabled {
                let catalog = Catalog::of(&blueprint.settings);
                let statements = LakeStatements::start(catalog, &blueprint.settings.server.sql)
                    .context("the threads for SQL statements can't be started")?;
                state.with_statements(Arc::new(statements))
            } else {
                state
            };
            let server = server::start(ServerOptions::from(&blueprint.settings.server), state)?;
            let scheme = if server.is_secure() { "https" } else { "http" };
            tracing::info!(address = %server.addr(), scheme, "serving the page, metrics and health");
            Some(server)
        } else {
            None
        };
        Ok(Self { supervisor, progress, server, jobs, bounded, upkeep })
    }

    /// Where the pipeline stands.
    pub fn progress(&self) -> Arc<PipelineProgress> {
        self.progress.clone()
    }

    /// What stops it.
    pub fn stopper(&self) -> Stopper {
        self.supervisor.stopper()
    }

    /// Where it serves, if it does.
    pub fn address(&self) -> Option<std::net::SocketAddr> {
        self.server.as_ref().map(ServerHandle::addr)
    }

    /// Runs until it is told to stop: by a [`Stopper`], by SIGTERM or by SIGINT.
    pub fn run(self) -> Result<Outcome, DaemonError> {
        let stopper = self.stopper();
        self.run_and_tell(move || {
            tracing::info!("stopping: finishing the epoch");
            stopper.stop();
        })
    }

    /// Runs until a [`Stopper`] tells it to stop. The first SIGTERM or SIGINT is told to `asked`,
    /// which sees to it that this comes about; the second ends the process.
    pub fn run_and_tell(self, asked: impl Fn() + 'static) -> Result<Outcome, DaemonError> {
        let Self { supervisor, server, upkeep, mut jobs, bounded, .. } = self;
        let outcome = System::new().block_on(async move {
            actix::spawn(async move {
                if let Err(error) = watch_signals(asked).await {
                    tracing::warn!(%error, "signals are not handled");
                }
            });
            if let Some(jobs) = jobs.as_mut().filter(|_| !bounded) {
                jobs.start();
            }
            let outcome = supervisor.run().await;
            if let (Some(jobs), true, Ok(Outcome::EndOfInput)) = (&jobs, bounded, &outcome) {
                jobs.run_all().await;
            }
            outcome
        });
        if let Some(server) = server {
            server.stop();
        }
        drop(upkeep);
        Ok(outcome?)
    }
}

async fn watch_signals(tell: impl Fn()) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut asked = false;
    loop {
        let code = tokio::select! {
            _ = terminate.recv() => 128 + libc::SIGTERM,
            _ = interrupt.recv() => 128 + libc::SIGINT,
        };
        if asked {
            tracing::warn!("second signal: exiting at once; the next start repeats the epoch");
            std::process::exit(code);
        }
        asked = true;
        tell();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Arms the fail points that the environment names, as `name=actions;name=actions`.
pub fn arm_fail_points() -> anyhow::Result<()> {
    let Ok(points) = std::env::var(FAIL_POINTS) else { return Ok(()) };
    for point in points.split(';').map(str::trim).filter(|point| !point.is_empty()) {
        let (name, actions) =
            point.split_once('=').with_context(|| format!("{FAIL_POINTS}: '{point}' has no ="))?;
        fail::cfg(name, actions).map_err(|error| anyhow::anyhow!("{FAIL_POINTS}: {error}"))?;
        tracing::warn!(point = name, actions, "fail point armed");
    }
    Ok(())
}
