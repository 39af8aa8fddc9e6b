//! The actors: thin shells around the rooms, one file each.
//!
//! ```text
//!                     watermarks
//!  PartitionReader ──► WatermarkTracker ──┐
//!   │  │  │                               ▼
//!   │  │  └── partial aggregates ──► OperatorShard ─────► AnomalyDetector
//!   │  │                             (a shard each)   │      │
//!   │  └── rows ─────────────────────► DeltaCommitter ◄──────┘
//!   └── dead letters ────────────────►   (a table each)
//!
//!  CheckpointWriter: barriers to the readers; positions, state and pre-commits come back to it
//!  PipelineSupervisor: starts all of them, hears of every exit, starts them again
//! ```
//!
//! Messages are batches. What one operator sends another goes through an [`Outlet`](flow::Outlet);
//! what the graph may hold at once is bounded by [`credit`]. Every actor is spawned by [`child`],
//! which turns a panic, an error or an end into an event for the supervisor.

pub mod alignment;
pub mod anomaly_detector;
pub mod barrier_relay;
pub mod batch_jobs;
pub mod blueprint;
pub mod checkpoint_writer;
pub mod child;
pub mod credit;
pub mod delta_committer;
pub mod fanout;
pub mod flow;
pub mod generation;
pub mod operator_shard;
pub mod partition_reader;
pub mod recovery;
pub mod retry;
pub mod sink_writer;
pub mod static_tables;
pub mod supervisor;
pub mod upkeep;
pub mod watermark_tracker;

pub use batch_jobs::BatchJobs;
pub use blueprint::{Blueprint, SinkTarget};
pub use supervisor::{Outcome, PipelineError, PipelineSupervisor, RunOptions, Stopper};
pub use upkeep::promised_files;
