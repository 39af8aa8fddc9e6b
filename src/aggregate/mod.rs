//! Aggregation by keys, mostly over windows of event time, in two halves.
//!
//! Beside each sender a [`PreAggregator`] turns a batch into a [`PartialBatch`]: one row for each
//! window and key in it, with the aggregates' intermediate state. Partial batches travel to the
//! shards ([`split_by_shard`]), where the state of the plan's kind ([`operator`]) merges them:
//!
//! | windows | mode | state |
//! |---|---|---|
//! | tumbling | append | [`TumblingState`]: a pane a window, which comes out when it closes |
//! | sliding | all | [`SlidingState`]: panes that windows share, and tiers of merged panes |
//! | session | append, complete | [`SessionState`]: open sessions, by key and by end |
//! | none, tumbling | update, complete | [`RunningState`]: groups that can be looked at at any time |
//!
//! Accumulators are DataFusion's (`GroupsAccumulator`). Keys are numbers of dictionaries of our own
//! that outlive the batch, because the same few keys come again and again; only the panes of
//! [`TumblingState`] have DataFusion's group tables (`GroupValues`).
//!
//! Sums of doubles are added up in an order that depends on how rows came in batches and how panes
//! were merged, so their last bits may differ from run to run, as Spark's do. Nothing is ever
//! subtracted, so no error adds up, however long a window slides.

mod decimal_sum;
mod dictionary;
mod extremes;
mod functions;
mod groups;
mod interner;
mod log;
mod open_sessions;
mod origin;
mod output;
mod pieces;
mod plan;
mod pre;
mod rows;
mod running;
mod segment;
mod session;
mod shard;
mod sliding;
mod store;
#[cfg(test)]
mod tests;
mod tiers;
mod tumbling;

pub(crate) use functions::AggregateSet;
pub use plan::AggregatePlan;
pub(crate) use pre::canonical;
pub use pre::{PartialBatch, PreAggregator};
pub use running::RunningState;
pub use session::SessionState;
pub use shard::split_by_shard;
pub(crate) use shard::{hash_keys, shard_of};
pub use sliding::SlidingState;
pub use tumbling::TumblingState;

use crate::event_time::Windows;
use crate::operator::{Operator, OperatorError};
use crate::sql::OutputMode;

/// One shard of an aggregation, without state.
///
/// # Errors
/// An aggregate cannot be compiled or merged, or the plan's windows do not come in its output mode;
/// `sql::plan` has tried.
pub fn operator(plan: &AggregatePlan) -> Result<Box<dyn Operator>, OperatorError> {
    Ok(match (&plan.windows, plan.mode) {
        (Windows::Tumbling(_), OutputMode::Append) => Box::new(TumblingState::new(plan)?),
        (Windows::Sliding(_), _) => Box::new(SlidingState::new(plan)?),
        (Windows::Session(_), _) => Box::new(SessionState::new(plan)?),
        (Windows::Tumbling(_) | Windows::None, _) => Box::new(RunningState::new(plan)?),
    })
}
