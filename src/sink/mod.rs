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
//! [`delta::DeltaWriter`] is the pre-commit side of Delta tables: it writes Parquet files that no
//! table names yet. The commit side is [`crate::lake::LakeTable::commit`].

pub mod delta;
