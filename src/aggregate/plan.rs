//! What an aggregation is to compute.

use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::FieldRef;
use datafusion::common::DFSchemaRef;
use datafusion::logical_expr::Expr;

use crate::event_time::Windows;
use crate::sql::{OutputMode, WindowPart};

/// An aggregation by keys, mostly over windows of event time.
#[derive(Debug, Clone)]
pub struct AggregatePlan {
    /// The query's name, for errors.
    pub(crate) query: Arc<str>,
    /// When which groups come out.
    pub(crate) mode: OutputMode,
    /// The windows.
    pub(crate) windows: Windows,
    /// The rows that come in, which the expressions below are over.
    pub(crate) input: DFSchemaRef,
    /// The event time; there is none without windows.
    pub(crate) time: Option<Expr>,
    /// The keys beside the window, with the fields they become.
    pub(crate) keys: Vec<(Expr, FieldRef)>,
    /// The aggregate functions.
    pub(crate) aggregates: Vec<Expr>,
    /// The output: keys and window in the order of GROUP BY, then the aggregates.
    pub(crate) aggregated: DFSchemaRef,
    /// The columns of `aggregated` that show the window, in ascending order.
    pub(crate) window_columns: Vec<(usize, WindowPart)>,
}

impl AggregatePlan {
    /// The windows that rows are grouped by.
    pub fn windows(&self) -> &Windows {
        &self.windows
    }

    /// The columns of partial batches that hold the keys, for
    /// [`split_by_shard`](super::split_by_shard).
    pub fn key_columns(&self) -> Range<usize> {
        1..1 + self.keys.len()
    }
}
