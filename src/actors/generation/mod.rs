//! One life of a pipeline: all its actors, from the tables up to the readers.
//!
//! [`recover`] opens the tables and finishes what the last epoch promised them; [`Builder`] spawns
//! the actors, sinks first, so that every sender finds its receiver; [`Generation`] is what runs.

mod builder;
mod operators;
mod readers;
mod recover;
mod wiring;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::Addr;
use tokio::sync::oneshot;

use super::blueprint::{Blueprint, SinkBlueprint, SinkTarget};
use super::checkpoint_writer::{CheckpointWriter, FinishWithEpoch, Settle};
use super::child::{ActorName, Health, Threads};
use super::credit::CreditPool;
use super::operator_shard::OperatorShard;
use super::recovery::RecoveryError;
use super::retry::Retrying;
use super::static_tables::LoadError;
use super::watermark_tracker::{CatchUp, WatermarkTracker};
use crate::checkpoint::{CheckpointError, CheckpointStore};
use crate::sink::SinkError;
use crate::source::kafka::KafkaError;
use crate::source::{PartitionId, SourceError};
use crate::telemetry::progress::PipelineProgress;

pub use builder::Builder;
pub use recover::{OpenSink, Recovered, recover};

/// The operator that holds this ledger's name.
pub(super) const INSTANCE: &str = "instance";
/// Values that a detector's buffer may hold: windows wait there for the slowest shard only.
const BUFFERED_VALUES: usize = 2_000_000;
/// How far ahead of the watermark a partition may be read, beyond the watermark's delay.
const AHEAD: Duration = Duration::from_secs(120);

/// Why a generation could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Recovery failed or refused.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    /// The ledger.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The brokers.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// A sink that is no append-only table.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// A source that is not brokers.
    #[error("source '{source_name}': {error}")]
    Source {
        /// Which.
        source_name: String,
        /// What it says.
        error: SourceError,
    },
    /// A static table.
    #[error("table '{table}': {error}")]
    Table {
        /// Which.
        table: String,
        /// Why it cannot be read.
        error: LoadError,
    },
    /// A windowed query is not the one whose state the checkpoint holds.
    #[error(
        "the query '{0}' is not the one that the checkpoint holds windows of: its windows, keys or \
         aggregates changed; give the changed query a new name and table, or put the old text back"
    )]
    QueryChanged(String),
    /// Something else that a restart will not mend.
    #[error("{0}")]
    Other(String),
    /// The assignment changed while the generation was being started.
    #[error("the partitions changed hands during the start")]
    AssignmentChanged,
    /// It is not to start any more.
    #[error("the pipeline was told to stop during the start")]
    Stopping,
}

impl StartError {
    /// Whether trying again can help.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Recovery(error) => error.is_transient(),
            Self::Checkpoint(error) => error.is_transient(),
            // Whoever writes the table may put it there, or right.
            Self::Kafka(_) | Self::Table { .. } | Self::AssignmentChanged | Self::Stopping => true,
            Self::Source { error, .. } => error.is_transient(),
            Self::Sink(error) => error.is_transient(),
            Self::QueryChanged(_) | Self::Other(_) => false,
        }
    }

    /// Whether another daemon owns what this one wanted.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Recovery(error) => error.is_refusal(),
            Self::Checkpoint(error) => matches!(error, CheckpointError::Locked { .. }),
            Self::Sink(error) => error.is_refusal(),
            _ => false,
        }
    }
}

/// What lives as long as the pipeline, and longer than a generation.
pub struct Parts {
    /// What to build.
    pub blueprint: Arc<Blueprint>,
    /// The ledger.
    pub store: Arc<CheckpointStore>,
    /// What the API shows.
    pub progress: Arc<PipelineProgress>,
    /// Take positions from the tables where they are ahead.
    pub resume_from_table: bool,
    /// All in one epoch: it begins when all has been read.
    pub once: bool,
}

/// The partitions of a source, and where they end if the run is bounded.
pub struct Assigned {
    /// Index of the source.
    pub source: usize,
    /// Topic, partition, and the offset to stop at.
    pub partitions: Vec<(PartitionId, Option<i64>)>,
}

/// A running generation.
pub struct Generation {
    number: u64,
    threads: Threads,
    checkpoint: Addr<CheckpointWriter>,
    trackers: Vec<Addr<WatermarkTracker>>,
    /// Downstream first.
    shards: Vec<Addr<OperatorShard>>,
    healths: Vec<Arc<Health>>,
    credits: CreditPool,
    /// When it was up.
    pub started: Instant,
}

fn sink_name(sink: &SinkBlueprint) -> ActorName {
    let kind = match &sink.target {
        SinkTarget::Table(_) => "delta_committer",
        SinkTarget::Staged(_) => "sink_writer",
    };
    ActorName::new(kind, sink.sink.clone())
}

fn retrying(parts: &Parts, sink: &SinkBlueprint, health: Arc<Health>) -> Retrying {
    Retrying {
        pipeline: parts.progress.name().clone(),
        sink: sink.sink.clone(),
        health,
        progress: parts.progress.sink(&sink.sink),
    }
}

impl Generation {
    /// Which one it is.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// What bounds the bytes between its readers and its operators.
    pub fn credits(&self) -> &CreditPool {
        &self.credits
    }

    /// Makes the next epoch the last.
    ///
    /// Operators and detectors hold watermarks back behind a barrier. So the epoch under way ends
    /// first, and then everyone catches up, from the trackers downstream: what readers have told
    /// by now closes windows, and their windows' windows, and reaches the detectors before the last
    /// barrier sets out. Otherwise it would depend on the threads whether a bounded run writes all
    /// that its last rows have closed.
    pub fn finish(&self) {
        let (trackers, shards) = (self.trackers.clone(), self.shards.clone());
        let checkpoint = self.checkpoint.clone();
        actix::spawn(async move {
            let (settled, heard) = oneshot::channel();
            checkpoint.do_send(Settle(settled));
            // Whoever is gone, here and below, has ended the generation.
            let _ = heard.await;
            for tracker in trackers {
                let _ = tracker.send(CatchUp).await;
            }
            for shard in shards.into_iter().rev() {
                let _ = shard.send(CatchUp).await;
            }
            checkpoint.do_send(FinishWithEpoch);
        });
    }

    /// What can be seen of its actors.
    pub fn healths(&self) -> &[Arc<Health>] {
        &self.healths
    }

    /// Ends all actors and waits for their threads, at most `patience`.
    pub async fn end(self, patience: Duration) {
        let left = self.threads.end(patience).await;
        if left > 0 {
            tracing::warn!(threads = left, generation = self.number, "threads did not end in time");
        }
    }
}
