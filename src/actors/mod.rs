//! The actors: thin shells around the rooms, one file each.
//!
//! ```text
//!                     watermarks
//!  PartitionReader ──► WatermarkTracker ──┐
//!   │  │  │                               ▼
//!   │  │  └── partial aggregates ──► WindowAggregator ──► AnomalyDetector
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
pub mod child;
pub mod credit;
pub mod flow;
