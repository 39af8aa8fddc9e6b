//! What happens to actors and to the pipeline as a whole.

use std::fmt::{self, Display};
use std::time::Duration;

use tracing::{debug, error, info, trace, warn};

use crate::telemetry::names;
use crate::telemetry::progress::PipelineState;
use crate::telemetry::time::{Now, millis};

/// Why an actor ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitCause {
    /// It panicked.
    Panic,
    /// It ended with an error.
    Error,
    /// It was told to stop, or its work was done.
    Stopped,
    /// It made no progress and was given up.
    Stalled,
}

impl ExitCause {
    /// As a label value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Panic => "panic",
            Self::Error => "error",
            Self::Stopped => "stopped",
            Self::Stalled => "stalled",
        }
    }
}

impl Display for ExitCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An actor was started.
#[derive(Debug)]
pub struct ActorStarted<'a> {
    /// The pipeline.
    pub pipeline: &'a str,
    /// The kind of actor.
    pub actor: &'static str,
    /// Which of its kind, for the log: a partition, a shard, a table.
    pub member: &'a str,
}

impl ActorStarted<'_> {
    /// Logs and counts it.
    pub fn emit(self) {
        let Self { pipeline, actor, member } = self;
        debug!(pipeline, actor, member, "actor started");
        names::ACTOR_STARTS.with([pipeline, actor]).increment(1);
    }
}

/// An actor ended.
pub struct ActorExited<'a> {
    /// The pipeline.
    pub pipeline: &'a str,
    /// The kind of actor.
    pub actor: &'static str,
    /// Which of its kind.
    pub member: &'a str,
    /// Why.
    pub cause: ExitCause,
    /// Why, in words, unless it was told to.
    pub error: Option<&'a dyn Display>,
}

impl ActorExited<'_> {
    /// Logs and counts it, and takes its mailbox off the page.
    pub fn emit(self) {
        let Self { pipeline, actor, member, cause, error } = self;
        let error = error.map(tracing::field::display);
        match cause {
            ExitCause::Stopped => {
                debug!(pipeline, actor, member, cause = %cause, error, "actor exited")
            }
            ExitCause::Panic | ExitCause::Error | ExitCause::Stalled => {
                error!(pipeline, actor, member, cause = %cause, error, "actor exited");
            }
        }
        names::ACTOR_EXITS.with([pipeline, actor, cause.as_str()]).increment(1);
        names::MAILBOX.retire([pipeline, actor, member]);
    }
}

/// How many messages wait in an actor's mailbox.
#[derive(Debug)]
pub struct MailboxDepth<'a> {
    /// The pipeline.
    pub pipeline: &'a str,
    /// The kind of actor.
    pub actor: &'static str,
    /// Which of its kind; a label here, so it must be bounded by configuration and partitions.
    pub member: &'a str,
    /// Messages.
    pub messages: usize,
}

impl MailboxDepth<'_> {
    /// Logs and counts it.
    pub fn emit(self) {
        let Self { pipeline, actor, member, messages } = self;
        trace!(pipeline, actor, member, messages, "mailbox depth");
        names::MAILBOX.with([pipeline, actor, member]).set(messages as f64);
    }
}

/// How much of the budget between readers and operators is taken: what bounds a pipeline's memory,
/// and what makes readers wait.
#[derive(Debug)]
pub struct CreditLevel<'a> {
    /// The pipeline.
    pub pipeline: &'a str,
    /// The whole budget, in bytes.
    pub limit: usize,
    /// Bytes of it that are free.
    pub free: usize,
    /// Bytes of operators' results that are under way to sinks.
    pub owed: usize,
}

impl CreditLevel<'_> {
    /// Logs and counts it.
    pub fn emit(self) {
        let Self { pipeline, limit, free, owed } = self;
        trace!(pipeline, limit, free, owed, "credit level");
        names::CREDIT_LIMIT.with([pipeline]).set(limit as f64);
        names::CREDIT_FREE.with([pipeline]).set(free as f64);
        names::CREDIT_OWED.with([pipeline]).set(owed as f64);
    }
}

/// A pipeline is about to start for the first time, with these sinks.
#[derive(Debug)]
pub struct PipelineDeclared<'a> {
    /// The pipeline.
    pub pipeline: &'a str,
    /// Its kinds of actors, those included whose faults the supervisor names.
    pub actors: &'a [&'static str],
    /// Its sinks, by name.
    pub sinks: &'a [&'a str],
}

impl PipelineDeclared<'_> {
    /// Starts the counters of what should never happen at zero, so that a rate over them sees the
    /// first time that it does: a counter that appears with a 1 has not grown.
    pub fn emit(self) {
        let Self { pipeline, actors, sinks } = self;
        debug!(pipeline, sinks = sinks.len(), "pipeline declared");
        for actor in actors {
            for cause in [ExitCause::Panic, ExitCause::Error, ExitCause::Stalled] {
                names::RESTARTS.with([pipeline, actor, cause.as_str()]).increment(0);
            }
        }
        for stage in ["started", "aligned", "durable", "committed", "failed"] {
            names::EPOCHS.with([pipeline, stage]).increment(0);
        }
        for sink in sinks {
            let labels = [pipeline, *sink];
            names::SINK_COMMITS.with(labels).increment(0);
            names::SINK_ROWS.with(labels).increment(0);
            names::SINK_FENCED.with(labels).increment(0);
            names::SINK_RETRYING.with(labels).set(0.0);
            // What heals by itself, and so is tried again.
            for reason in ["conflict", "io", "unavailable"] {
                names::SINK_RETRIES.with([pipeline, sink, reason]).increment(0);
            }
        }
    }
}

/// A pipeline failed and starts again from its last durable epoch after `backoff`.
pub struct PipelineRestarting<'a> {
    /// The pipeline.
    pub pipeline: &'a str,
    /// The kind of actor that failed first.
    pub actor: &'static str,
    /// Why it did.
    pub cause: ExitCause,
    /// Why, in words.
    pub error: &'a dyn Display,
    /// Restarts in a row, this one included.
    pub attempt: u32,
    /// Time until it starts.
    pub backoff: Duration,
}

impl PipelineRestarting<'_> {
    /// Logs and counts it.
    pub fn emit(self) {
        let Self { pipeline, actor, cause, error, attempt, backoff } = self;
        warn!(
            pipeline,
            actor,
            cause = %cause,
            error = %error,
            attempt,
            backoff_ms = millis(backoff),
            "pipeline restarting"
        );
        names::RESTARTS.with([pipeline, actor, cause.as_str()]).increment(1);
    }
}

/// A pipeline went from one state to another.
#[derive(Debug)]
pub struct PipelineStateChanged<'a> {
    /// The pipeline.
    pub pipeline: &'a str,
    /// The state it was in; none at first.
    pub from: Option<PipelineState>,
    /// The state it is in.
    pub to: PipelineState,
}

impl PipelineStateChanged<'_> {
    /// Logs and counts it.
    pub fn emit(self) {
        let Self { pipeline, from, to } = self;
        let from = from.map(PipelineState::as_str);
        match to {
            PipelineState::Failed => {
                error!(pipeline, from, to = to.as_str(), "pipeline state changed");
            }
            _ => info!(pipeline, from, to = to.as_str(), "pipeline state changed"),
        }
        for state in PipelineState::ALL {
            let is = if state == to { 1.0 } else { 0.0 };
            names::STATE.with([pipeline, state.as_str()]).set(is);
        }
    }
}

/// The configuration was read and is in force.
#[derive(Debug)]
pub struct ConfigLoaded<'a> {
    /// The file or files it came from.
    pub path: &'a str,
    /// Pipelines in it.
    pub pipelines: usize,
    /// Sources in it.
    pub sources: usize,
    /// Queries in it.
    pub queries: usize,
    /// Sinks in it.
    pub sinks: usize,
}

impl ConfigLoaded<'_> {
    /// Logs and counts it.
    pub fn emit(self) {
        let Self { path, pipelines, sources, queries, sinks } = self;
        info!(path, pipelines, sources, queries, sinks, "configuration loaded");
        names::CONFIG_LOADED.with([]).set(Now::read().wall().unix_seconds());
    }
}
