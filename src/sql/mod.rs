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
//! | `catalog`, `static_table`, `registry`, `functions` | what names mean: sources, queries, tables; functions and types |
//! | `planner`, `analyze`, `marks`, `build`, `output` | the plan: types, simplification, event time, operators and feeds |
//! | `chain`, `unnest`, `static_join`, `bind`, `finish` | the feeds on real batches, and ORDER BY |
//! | `expect` | quality rules on a query's output |
//! | `rehearse` | the plan tried on one row |
//! | `explain` | the plan as text and JSON |
//! | `batch` | the same dialect over tables that do not stream, for the lakehouse's SQL |
//! | `fingerprint`, `hash` | whether a checkpoint's state fits the plan |

mod analyze;
mod batch;
mod bind;
mod build;
mod catalog;
mod chain;
mod dialect;
mod error;
mod expect;
mod explain;
mod fingerprint;
mod finish;
pub(crate) mod functions;
mod hash;
mod keys;
mod marks;
mod messages;
mod names;
mod operator;
mod output;
mod parse;
mod planner;
mod refuse;
mod registry;
mod rehearse;
mod show;
mod spelling;
mod static_join;
mod static_table;
#[cfg(test)]
mod tests;
mod unnest;
mod window_clause;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::DFSchemaRef;

pub(crate) use batch::{BatchPlan, BatchTable, function_names, plan_batch, spark_dialect};
pub use bind::BoundMap;
pub use catalog::{Catalog, DropDuplicates, QueryRequest, Within};
pub(crate) use chain::{Chain, new_batch, nullable_schema, on_clock, physical_expr, unalias};
pub use error::SqlError;
pub(crate) use error::{nearest, suggestion};
pub use expect::{
    BoundExpectations, Checked, Expectation, OnViolation, RejectedRows, Tally, Violation,
};
pub use explain::{
    ExplainedColumn, ExplainedExpectation, ExplainedFeed, ExplainedNode, Explanation, Line, explain,
};
pub use finish::{Finish, FinishPlan};
pub(crate) use functions::BatchClock;
pub(crate) use hash::{hash_bytes, hash_u64};
pub(crate) use messages::readable;
pub use names::relations;
pub use operator::{OperatorKind, OperatorPlan};
pub(crate) use parse::{bounded, parse as parse_query, syntax_error, tokenize};
pub use planner::plan;
#[cfg(test)]
pub(crate) use planner::plan_append;
pub(crate) use registry::timestamp_type;
pub(crate) use show::{duration, type_name};
pub use static_table::StaticTable;

use crate::event_time::Windows;

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

impl fmt::Display for OutputMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Append => "append",
            Self::Update => "update",
            Self::Complete => "complete",
        })
    }
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
    /// ORDER BY and LIMIT, over all rows of a trigger: what feeds bring to the output goes through
    /// [`FinishPlan::bind`] and [`Finish::apply`] and only then has `output_schema`.
    pub finish: Option<FinishPlan>,
    /// Quality rules that rows of the output are held against, in order.
    pub expectations: Vec<Expectation>,
    /// What is known of the output's columns as event time; empty if nothing is.
    pub(crate) marks: Vec<Option<marks::Mark>>,
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
            OperatorKind::Dedup(_) | OperatorKind::Join(_) => None,
        })
    }

    /// The column of the output that is known to hold event time, if one is.
    pub fn event_time_column(&self) -> Option<&str> {
        let is_time = |mark: &Option<marks::Mark>| {
            mark.is_some_and(|mark| {
                matches!(mark.kind, marks::MarkKind::Time | marks::MarkKind::StartOf(_))
            })
        };
        let place = self.marks.iter().position(is_time)?;
        self.output_schema.fields().get(place).map(|field| field.name().as_str())
    }

    /// The tables that do not stream, by name, which the query joins.
    pub fn tables(&self) -> BTreeSet<String> {
        self.static_tables().map(|table| table.name().to_owned()).collect()
    }

    /// The same, as the query looks them up; one may come more than once.
    pub fn static_tables(&self) -> impl Iterator<Item = &Arc<StaticTable>> {
        let steps = self.feeds.iter().flat_map(|feed| &feed.chain.steps);
        steps
            .filter_map(|step| match &step.kind {
                chain::StepKind::Join(join) => Some(&join.table.parts),
                _ => None,
            })
            .flatten()
            .map(|part| &part.table)
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

/// What a GROUP BY expression takes of the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WindowPart {
    /// The struct of both.
    Both,
    Start,
    End,
}
