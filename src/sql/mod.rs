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

use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::{FieldRef, SchemaRef};
use datafusion::common::DFSchemaRef;
use datafusion::logical_expr::Expr;

pub use bind::{BoundMap, BoundQuery};
pub(crate) use chain::{
    BoundChain, Chain, new_batch, nullable_schema, on_clock, physical_expr, unalias,
};
pub use error::SqlError;
pub(crate) use functions::BatchClock;
pub(crate) use hash::{hash_bytes, hash_u64};
pub use planner::plan;
pub(crate) use registry::timestamp_type;

use crate::event_time::Tumbling;

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

/// A planned query.
#[derive(Debug, Clone)]
pub struct QueryPlan {
    /// The query's name in the configuration.
    pub name: String,
    /// The source that it reads.
    pub source: String,
    /// Indexes into the source's schema, ascending: the only columns that have to be decoded.
    pub reads: Vec<usize>,
    /// The rows that come out. Every column can be stored in a Delta table and is nullable.
    pub output_schema: SchemaRef,
    /// What has to be done.
    pub stage: Stage,
    /// Hex of a hash that changes when a checkpoint's state would not fit the query any more, and
    /// not otherwise: see `fingerprint.rs`.
    pub fingerprint: String,
    /// The columns of `reads`, with the qualifier that expressions know them by.
    pub(crate) input: DFSchemaRef,
}

/// What a query does with rows.
#[derive(Debug, Clone)]
pub enum Stage {
    /// One row in, at most one row out; no state.
    Stateless(MapStage),
    /// Rows are aggregated in windows of event time.
    Windowed(Box<WindowPlan>),
}

/// Filters and projections.
#[derive(Debug, Clone)]
pub struct MapStage {
    pub(crate) chain: Chain,
}

/// An aggregation over tumbling windows of event time.
#[derive(Debug, Clone)]
pub struct WindowPlan {
    /// The query's name, for errors.
    pub(crate) query: Arc<str>,
    /// The windows.
    pub(crate) windows: Tumbling,
    /// From the input to the columns that are aggregated.
    pub(crate) before: Chain,
    /// The event time, over the output of `before`.
    pub(crate) time: Expr,
    /// The keys beside the window, over the output of `before`, with the fields they become.
    pub(crate) keys: Vec<(Expr, FieldRef)>,
    /// The aggregate functions, over the output of `before`.
    pub(crate) aggregates: Vec<Expr>,
    /// The aggregation's output: keys and window in the order of GROUP BY, then the aggregates.
    pub(crate) aggregated: DFSchemaRef,
    /// The columns of `aggregated` that show the window, in ascending order.
    pub(crate) window_columns: Vec<(usize, WindowPart)>,
    /// From the aggregation's output to the query's (HAVING and the SELECT list).
    pub(crate) after: Chain,
}

/// What a GROUP BY expression takes of the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WindowPart {
    /// The struct of both.
    Both,
    Start,
    End,
}

impl WindowPlan {
    /// The windows that rows are grouped by.
    pub fn windows(&self) -> Tumbling {
        self.windows
    }

    /// The columns of partial batches that hold the keys, for
    /// [`split_by_shard`](crate::aggregate::split_by_shard).
    pub fn key_columns(&self) -> Range<usize> {
        1..1 + self.keys.len()
    }
}
