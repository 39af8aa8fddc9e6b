//! A pipeline run by hand: batch by batch, in one thread, without actors, clocks or disks.
//!
//! The same graph, feeds, routers, operators, decoders and watermarks as in the daemon; what the
//! daemon's readers, trackers and barriers do happens here step by step. Tests of configurations
//! (`millpond test`) run on this, the conformance tests, and tests of rooms that need a whole query
//! around them.
//!
//! | | |
//! |---|---|
//! | [`Trial`] | the graph alone: rows and watermarks in, rows out |
//! | [`Pipeline`] | with sources: lines are decoded, watermarks follow from event times, the clock is moved |
//! | [`rows_of`] | rows as a test writes them, to Arrow |
//! | [`Comparison`] | what was expected beside what came |

mod compare;
mod pipeline;
mod rows;
mod run;
mod state;
#[cfg(test)]
mod tests;

pub use compare::{ComparedRow, Comparison, Side};
pub use pipeline::{Arrival, Outcome, Pipeline, TrialError, TrialSource, TrialWatermark};
pub use rows::{Row, RowError, rows_of};
pub use run::{Dropped, Output, Trial};
