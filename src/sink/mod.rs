//! Sinks: where rows wait and how they become visible. I/O only.
//!
//! A sink takes part in a checkpoint in two steps, so that rows show up exactly once:
//!
//! 1. **Pre-commit.** Between two barriers a sink takes batches. At a barrier it puts everything
//!    it has taken onto storage *durably but invisibly* and hands over a description of it, which
//!    goes into the checkpoint. From here on the rows may not be lost, whatever is killed.
//! 2. **Commit.** Once the checkpoint that holds the description is durable, the described rows
//!    are made visible together with the positions they account for, in one atomic step. The
//!    step may be repeated after a crash; a repetition must find that it has been done.
//!
//! A step that fails for a reason that can pass (a full disk, an unreachable store) keeps what it
//! has and can be called again; rows are neither lost nor taken twice. A sink bounds the memory
//! it holds between barriers, by putting rows onto storage early or by refusing more.
//!
//! There are two kinds. [`delta::DeltaWriter`] is the pre-commit side of Delta tables: it writes Parquet files that no
//! table names yet. The commit side is [`crate::lake::LakeTable::commit`]. Every other target is
//! behind a [`StagedSink`]: its rows wait in a file beside the ledger and go out as one unit, with
//! a [`Marker`] by which the target tells whether it has them. [`staged`] says what happens when
//! something is killed in between, and each target's module what that comes to there.

pub mod console;
pub mod delta;
pub mod delta_table;
mod disk;
mod encode;
mod error;
pub mod files;
pub mod kafka;
pub mod memory;
pub mod postgres;
mod schema;
pub mod staged;
mod target;
pub mod type_change;
pub mod webhook;

pub use error::SinkError;
pub(crate) use schema::storage_schema;
pub use staged::{Staged, StagedRows, StagedSink};
pub use target::{CommitInfo, Guarantee, Marker, Target, TargetContext, TargetSpec};
