//! Trials of whole pipelines.

mod conformance;
mod units;
