//! One streaming query: SQL text becomes a [`QueryPlan`], and a plan becomes operators.
//!
//! The dialect is Spark SQL, with Spark's meaning outside ANSI mode: what cannot be computed (a
//! division by zero, a cast of text that is no number) is NULL, integers wrap, `/` gives DOUBLE.
//! The session's time zone is UTC. DataFusion parses, plans and evaluates the expressions; this
//! room puts Spark's names and meaning around it and cuts the plan into what runs beside each
//! partition's reader and what runs on the window's state.
//!
//! | file | |
//! |---|---|
//! | `dialect`, `parse`, `refuse`, `names`, `window_clause`, `spelling` | the text: parse, refuse what a stream cannot do, resolve names, respell |
//! | `registry`, `functions` | what names mean: functions, types, the source's table |
//! | `planner`, `analyze`, `window_plan`, `output` | the plan: types, simplification, its parts |
//! | `chain`, `bind` | the parts: filters and projections, on real batches |
//! | `fingerprint`, `hash` | whether a checkpoint's state fits the plan |

mod analyze;
mod bind;
mod chain;
mod dialect;
mod error;
mod fingerprint;
pub(crate) mod functions;
mod hash;
mod messages;
mod names;
mod output;
mod parse;
mod planner;
mod refuse;
mod registry;
mod spelling;
#[cfg(test)]
mod tests;
mod window_clause;
mod window_plan;

use std::collections::BTreeSet;

use arrow::datatypes::SchemaRef;
use datafusion::common::DFSchemaRef;

pub use bind::BoundMap;
pub(crate) use chain::{Chain, new_batch, nullable_schema, on_clock, physical_expr, unalias};
pub use error::SqlError;
pub(crate) use functions::BatchClock;
pub(crate) use hash::{hash_bytes, hash_u64};
pub use planner::plan;
pub(crate) use registry::timestamp_type;

use crate::aggregate::{self, AggregatePlan, PreAggregator};
use crate::event_time::Windows;
use crate::operator::{Operator, OperatorError, Router};

/// A source as queries see it: a table.
#[derive(Debug, Clone)]
pub struct SourceTable {
    /// The name that queries use in FROM.
    pub name: String,
    /// The declared columns.
    pub schema: SchemaRef,
    /// The column that holds the event time, a TIMESTAMP. `None`: no windows over this source.
    pub event_time: Option<String>,
    /// How long late rows are waited for, in microseconds. `None`: no watermark, so no window would
    /// ever close.
    pub watermark_delay_us: Option<i64>,
}

/// When which rows of a query come out. The words and the meaning are Spark's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum OutputMode {
    /// A row comes out once, when it can change no more.
    #[default]
    Append,
    /// At each trigger, the rows that changed since the last one.
    Update,
    /// At each trigger, all rows.
    Complete,
}

/// A planned query: stateful operators, and the feeds that join them with what the query reads
/// and with its output.
#[derive(Debug, Clone)]
pub struct QueryPlan {
    /// The query's name in the configuration.
    pub name: String,
    /// When which rows come out.
    pub mode: OutputMode,
    /// The rows that come out. Every column can be stored in a Delta table and is nullable.
    pub output_schema: SchemaRef,
    /// The stateful operators, upstream first.
    pub operators: Vec<OperatorPlan>,
    /// Every edge of the graph, in no particular order.
    pub feeds: Vec<FeedPlan>,
}

impl QueryPlan {
    /// Whether the query keeps anything between batches.
    pub fn is_stateful(&self) -> bool {
        !self.operators.is_empty()
    }

    /// The window of the last aggregation, if there is one with windows of fixed length: what
    /// detectors watch.
    pub fn window_us(&self) -> Option<i64> {
        self.operators.iter().rev().find_map(|operator| match &operator.kind {
            OperatorKind::Aggregate(plan) => match plan.windows() {
                Windows::Tumbling(windows) => Some(windows.size()),
                Windows::Sliding(windows) => Some(windows.size()),
                Windows::Session(_) | Windows::None => None,
            },
        })
    }

    /// The columns of `source` that have to be decoded for this query, as indexes into its schema.
    pub fn reads(&self, source: &str) -> BTreeSet<usize> {
        self.feeds
            .iter()
            .filter(|feed| matches!(&feed.from, Origin::Source(name) if name == source))
            .flat_map(|feed| feed.reads.iter().copied())
            .collect()
    }
}

/// Where a feed begins.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Origin {
    /// At a source, by name.
    Source(String),
    /// At the output of another query, by name.
    Query(String),
    /// At an operator of this query, by its place in [`QueryPlan::operators`].
    Operator(usize),
}

/// Where a feed ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Target {
    /// At an input of an operator of this query.
    Operator {
        /// Its place in [`QueryPlan::operators`].
        index: usize,
        /// Which input.
        input: usize,
    },
    /// At the query's output.
    Output,
}

/// One edge of a query's graph: filters and projections, without state.
#[derive(Debug, Clone)]
pub struct FeedPlan {
    /// Where rows come from.
    pub from: Origin,
    /// Where they go.
    pub to: Target,
    /// From a source or a query: indexes into its schema, ascending; the only columns that are
    /// read. From an operator: all of its output.
    pub reads: Vec<usize>,
    /// The columns of `reads`, with the qualifier that expressions know them by.
    pub(crate) input: DFSchemaRef,
    pub(crate) chain: Chain,
    /// What [`BoundMap::apply`] gives.
    pub(crate) output: SchemaRef,
}

/// A stateful operator of a query.
#[derive(Debug, Clone)]
pub struct OperatorPlan {
    /// Names its state in checkpoints and metrics: the query's name, for further operators with
    /// `#2`, `#3` behind it.
    pub id: String,
    /// What it does.
    pub kind: OperatorKind,
    /// Hex of a hash that changes when a checkpoint's state would not fit the operator any more,
    /// and not otherwise: see `fingerprint.rs`.
    pub fingerprint: String,
    /// How many inputs it has.
    pub inputs: usize,
}

/// What a stateful operator does.
#[derive(Debug, Clone)]
pub enum OperatorKind {
    /// Groups rows and aggregates each group.
    Aggregate(Box<AggregatePlan>),
}

impl OperatorPlan {
    /// One shard of the operator, without state.
    ///
    /// # Errors
    /// An expression or aggregate cannot be compiled; [`plan`] has tried.
    pub fn operator(&self) -> Result<Box<dyn Operator>, OperatorError> {
        match &self.kind {
            OperatorKind::Aggregate(plan) => aggregate::operator(plan),
        }
    }

    /// The columns of its rows, all nullable.
    pub fn output_schema(&self) -> SchemaRef {
        match &self.kind {
            OperatorKind::Aggregate(plan) => nullable_schema(&plan.aggregated),
        }
    }

    /// What stands beside each sender of an input.
    ///
    /// # Errors
    /// As for [`operator`](Self::operator).
    pub fn router(&self, _input: usize) -> Result<Box<dyn Router>, OperatorError> {
        match &self.kind {
            OperatorKind::Aggregate(plan) => Ok(Box::new(PreAggregator::new(plan)?)),
        }
    }
}

/// What a GROUP BY expression takes of the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WindowPart {
    /// The struct of both.
    Both,
    Start,
    End,
}
