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
