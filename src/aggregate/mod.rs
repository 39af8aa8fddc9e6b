//! Aggregation over windows of event time, in two halves.
//!
//! Beside each reader a [`PreAggregator`] turns a batch into a [`PartialBatch`]: one row for each
//! window and key in it, with the aggregates' intermediate state. Partial batches travel to the
//! shards ([`split_by_shard`]), where a [`WindowState`] merges them into panes, one for each open
//! window, until the watermark closes them.
//!
//! A pane keeps two tables of groups, *main* and *delta*. Partials are merged into the delta; at a
//! barrier the delta's state is written as one segment, which holds just the groups that this epoch
//! touched, and is then merged into main. Restoring merges all segments of a pane; keys are hashed
//! anew, so the number of shards may change.
//!
//! Group tables and accumulators are DataFusion's (`GroupValues`, `GroupsAccumulator`); those of
//! the first half are keyed by dictionaries of our own that outlive the batch, because the same few
//! keys come again and again.

mod dictionary;
mod functions;
mod groups;
mod interner;
mod plan;
mod pre;
mod segment;
mod shard;
mod state;
#[cfg(test)]
mod tests;

pub(crate) use functions::AggregateSet;
pub use plan::AggregatePlan;
pub(crate) use pre::canonical;
pub use pre::{PartialBatch, PreAggregator};
pub use shard::split_by_shard;
pub(crate) use shard::{hash_keys, shard_of};
pub use state::WindowState;
