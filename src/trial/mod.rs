//! A pipeline run by hand: batch by batch, in one thread, without actors, clocks or disks.
//!
//! The same graph, feeds, routers and operators as in the daemon; what the daemon's readers,
//! trackers and barriers do is for the caller to do, step by step. Tests of configurations run on
//! this, and tests of rooms that need a whole query around them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use crate::graph::{Branches, Delivery, Graph, GraphError, Root};
use crate::operator::{Merged, Operator};

/// A graph with all its operators, one shard each.
pub struct Trial {
    graph: Arc<Graph>,
    branches: BTreeMap<Root, Branches>,
    operators: Vec<Box<dyn Operator>>,
    /// The watermark of everyone who sends one to an operator.
    watermarks: Vec<BTreeMap<Root, Option<i64>>>,
    output: Vec<Output>,
    dropped: Vec<Dropped>,
}

/// Rows of a query's output.
#[derive(Debug, Clone)]
pub struct Output {
    /// The query's place in the graph.
    pub query: usize,
    /// At least one.
    pub rows: RecordBatch,
}

/// Rows that a query did not use, since the beginning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dropped {
    /// They came too late.
    pub late: u64,
    /// Their event time is NULL.
    pub null_time: u64,
    /// Their key had been seen.
    pub duplicates: u64,
}

/// What is on its way from one operator to the next.
enum Step {
    Rows { operator: usize, input: usize, rows: RecordBatch },
    Watermark { operator: usize, from: Root, time: i64 },
}

impl Trial {
    /// `decoded` has the schema of each source's batches: at least the columns that are read.
    /// `timed` says which sources have a watermark.
    ///
    /// # Errors
    /// A feed or operator cannot be put together.
    pub fn new(
        graph: Arc<Graph>,
        decoded: &[SchemaRef],
        timed: &[bool],
    ) -> Result<Self, GraphError> {
        let mut branches = BTreeMap::new();
        for (source, schema) in decoded.iter().enumerate() {
            let root = Root::Source(source);
            branches.insert(root, Branches::new(&graph, root, schema)?);
        }
        let mut operators = Vec::new();
        let mut watermarks: Vec<BTreeMap<Root, Option<i64>>> = Vec::new();
        for (index, operator) in graph.operators().iter().enumerate() {
            let root = Root::Operator(index);
            branches.insert(root, Branches::new(&graph, root, &operator.plan.output_schema())?);
            operators.push(operator.plan.operator()?);
            let senders = graph.roots_of_operator(index).into_iter().filter(|root| match root {
                Root::Source(source) => timed.get(*source).copied().unwrap_or(false),
                Root::Operator(upstream) => {
                    watermarks.get(*upstream).is_some_and(|senders| !senders.is_empty())
                }
            });
            let senders = senders.map(|root| (root, None)).collect();
            watermarks.push(senders);
        }
        let dropped = vec![Dropped::default(); graph.queries().len()];
        Ok(Self { graph, branches, operators, watermarks, output: Vec::new(), dropped })
    }

    /// Rows arrive at a source.
    ///
    /// # Errors
    /// An expression fails.
    pub fn rows(&mut self, source: usize, rows: &RecordBatch) -> Result<(), GraphError> {
        let steps = self.deliver(Root::Source(source), std::slice::from_ref(rows))?;
        self.settle(steps)
    }

    /// Event time at a source has come as far as `time`, in microseconds.
    ///
    /// # Errors
    /// As for [`rows`](Self::rows).
    pub fn watermark(&mut self, source: usize, time: i64) -> Result<(), GraphError> {
        let steps = self.pass_on(Root::Source(source), time);
        self.settle(steps)
    }

    /// A trigger, as at every barrier: update and complete mode give their rows.
    ///
    /// # Errors
    /// As for [`rows`](Self::rows).
    pub fn trigger(&mut self) -> Result<(), GraphError> {
        // Upstream first, as barriers go.
        for operator in 0..self.operators.len() {
            let mut rows = Vec::new();
            self.operators[operator].trigger(&mut rows)?;
            let steps = self.deliver(Root::Operator(operator), &rows)?;
            self.settle(steps)?;
        }
        Ok(())
    }

    /// The rows that have come out since the last call, in order.
    pub fn take_output(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.output)
    }

    /// What a query has not used so far.
    pub fn dropped(&self, query: usize) -> Dropped {
        self.dropped.get(query).copied().unwrap_or_default()
    }

    /// The graph that runs.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Every operator, in the graph's order.
    pub fn operators(&mut self) -> &mut [Box<dyn Operator>] {
        &mut self.operators
    }

    fn settle(&mut self, mut steps: VecDeque<Step>) -> Result<(), GraphError> {
        while let Some(step) = steps.pop_front() {
            let mut rows = Vec::new();
            match step {
                Step::Rows { operator, input, rows: taken } => {
                    let merged = self.operators[operator].rows(input, &taken, &mut rows)?;
                    self.count(operator, merged);
                    steps.extend(self.deliver(Root::Operator(operator), &rows)?);
                }
                Step::Watermark { operator, from, time } => {
                    if let Some(slot) = self.watermarks[operator].get_mut(&from) {
                        *slot = (*slot).max(Some(time));
                    }
                    let least = self.watermarks[operator].values().copied().min().flatten();
                    let Some(reached) = least else { continue };
                    self.operators[operator].advance(reached, &mut rows)?;
                    steps.extend(self.deliver(Root::Operator(operator), &rows)?);
                    steps.extend(self.pass_on(Root::Operator(operator), reached));
                }
            }
        }
        Ok(())
    }

    fn deliver(
        &mut self,
        root: Root,
        batches: &[RecordBatch],
    ) -> Result<VecDeque<Step>, GraphError> {
        let Self { graph, branches, output, dropped, .. } = self;
        let mut steps = VecDeque::new();
        let Some(branches) = branches.get_mut(&root) else { return Ok(steps) };
        for batch in batches {
            branches.apply(batch, 1, &mut |delivery| match delivery {
                Delivery::Output { query, rows } => output.push(Output { query, rows }),
                Delivery::Operator { operator, input, parts, null_time } => {
                    dropped[graph.operators()[operator].query].null_time += null_time;
                    let parts = parts.into_iter().flatten();
                    steps.extend(parts.map(|rows| Step::Rows { operator, input, rows }));
                }
            })?;
        }
        Ok(steps)
    }

    fn pass_on(&self, from: Root, time: i64) -> VecDeque<Step> {
        let below = self.graph.operators_below(from);
        below.into_iter().map(|operator| Step::Watermark { operator, from, time }).collect()
    }

    fn count(&mut self, operator: usize, merged: Merged) {
        let dropped = &mut self.dropped[self.graph.operators()[operator].query];
        dropped.late += merged.late_rows;
        dropped.duplicates += merged.duplicates;
    }
}
