//! A graph with all its operators, run step by step.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use crate::graph::{Branches, Delivery, Graph, GraphError, Root};
use crate::operator::{Merged, Operator};
use crate::sql::{RejectedRows, Tally};

use super::state::Kept;

/// A graph with all its operators.
pub struct Trial {
    graph: Arc<Graph>,
    decoded: Vec<SchemaRef>,
    shards: usize,
    branches: BTreeMap<Root, Branches>,
    /// The shards of each operator.
    operators: Vec<Vec<Box<dyn Operator>>>,
    /// What a checkpoint would hold of each operator.
    kept: Vec<Kept>,
    /// The watermark of everyone who sends one to an operator.
    watermarks: Vec<BTreeMap<Root, Option<i64>>>,
    output: Vec<Output>,
    dropped: Vec<Dropped>,
    /// By query and rule, since the last look.
    checked: Vec<Vec<Tally>>,
    /// Rows for the dead letters, with their query.
    rejected: Vec<(usize, RejectedRows)>,
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

impl std::ops::Sub for Dropped {
    type Output = Self;

    /// What has been dropped since `before`.
    fn sub(self, before: Self) -> Self {
        Self {
            late: self.late.saturating_sub(before.late),
            null_time: self.null_time.saturating_sub(before.null_time),
            duplicates: self.duplicates.saturating_sub(before.duplicates),
        }
    }
}

impl std::iter::Sum for Dropped {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            late: sum.late + one.late,
            null_time: sum.null_time + one.null_time,
            duplicates: sum.duplicates + one.duplicates,
        })
    }
}

/// What is on its way from one operator to the next.
enum Step {
    Rows { operator: usize, shard: usize, input: usize, rows: RecordBatch },
    Watermark { operator: usize, from: Root, time: i64 },
}

impl Trial {
    /// `decoded` has the schema of each source's batches: at least the columns that are read.
    /// `timed` says which sources have a watermark. Each operator has one shard.
    ///
    /// # Errors
    /// A feed or operator cannot be put together.
    pub fn new(
        graph: Arc<Graph>,
        decoded: &[SchemaRef],
        timed: &[bool],
    ) -> Result<Self, GraphError> {
        Self::sharded(graph, decoded, timed, 1)
    }

    /// As [`new`](Self::new), with `shards` shards of each operator, at least one.
    ///
    /// # Errors
    /// As for [`new`](Self::new).
    pub fn sharded(
        graph: Arc<Graph>,
        decoded: &[SchemaRef],
        timed: &[bool],
        shards: usize,
    ) -> Result<Self, GraphError> {
        let shards = shards.max(1);
        let mut operators = Vec::new();
        let mut watermarks: Vec<BTreeMap<Root, Option<i64>>> = Vec::new();
        for (index, operator) in graph.operators().iter().enumerate() {
            let all = (0..shards).map(|_| operator.plan.operator());
            operators.push(all.collect::<Result<_, _>>()?);
            let senders = graph.roots_of_operator(index).into_iter().filter(|root| match root {
                Root::Source(source) => timed.get(*source).copied().unwrap_or(false),
                Root::Operator(upstream) => {
                    watermarks.get(*upstream).is_some_and(|senders| !senders.is_empty())
                }
            });
            let senders = senders.map(|root| (root, None)).collect();
            watermarks.push(senders);
        }
        Ok(Self {
            branches: branches(&graph, decoded)?,
            decoded: decoded.to_vec(),
            shards,
            kept: operators.iter().map(|_| Kept::default()).collect(),
            operators,
            watermarks,
            output: Vec::new(),
            checked: vec![Vec::new(); graph.queries().len()],
            rejected: Vec::new(),
            dropped: vec![Dropped::default(); graph.queries().len()],
            graph,
        })
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
            for shard in 0..self.shards {
                let mut rows = Vec::new();
                self.operators[operator][shard].trigger(&mut rows)?;
                let steps = self.deliver(Root::Operator(operator), &rows)?;
                self.settle(steps)?;
            }
        }
        Ok(())
    }

    /// Takes a snapshot of every operator, as at a barrier after the trigger.
    ///
    /// # Errors
    /// A segment cannot be made.
    pub fn snapshot(&mut self) -> Result<(), GraphError> {
        for (shards, kept) in self.operators.iter_mut().zip(&mut self.kept) {
            let deltas = shards.iter_mut().map(|shard| shard.snapshot());
            kept.add(deltas.collect::<Result<_, _>>()?);
        }
        Ok(())
    }

    /// Throws every operator away and makes new ones, `shards` of each, out of what the last
    /// [`snapshot`](Self::snapshot) left. What came after it must be repeated.
    ///
    /// # Errors
    /// An operator does not take back its own segments.
    pub fn restart(&mut self, shards: usize) -> Result<(), GraphError> {
        let shards = shards.max(1);
        for (index, planned) in self.graph.operators().iter().enumerate() {
            let kept = &mut self.kept[index];
            let (oldest, newest) = kept.watermarks();
            let mut restored = Vec::new();
            for shard in 0..shards {
                let mut operator = planned.plan.operator()?;
                operator.restore(&kept.segments(), oldest, (shard, shards))?;
                if let Some(newest) = newest {
                    // Nothing can be due that was not before.
                    operator.advance(newest, &mut Vec::new())?;
                }
                restored.push(operator);
            }
            kept.restored();
            self.operators[index] = restored;
        }
        self.branches = branches(&self.graph, &self.decoded)?;
        self.shards = shards;
        Ok(())
    }

    /// The rows that have come out since the last call, in order.
    pub fn take_output(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.output)
    }

    /// What the rules of each query came to since the last call, by query and rule.
    pub fn take_checked(&mut self) -> Vec<Vec<Tally>> {
        let empty = vec![Vec::new(); self.checked.len()];
        std::mem::replace(&mut self.checked, empty)
    }

    /// The rows for the dead letters since the last call, each with its query.
    pub fn take_rejected(&mut self) -> Vec<(usize, RejectedRows)> {
        std::mem::take(&mut self.rejected)
    }

    /// What a query has not used so far.
    pub fn dropped(&self, query: usize) -> Dropped {
        self.dropped.get(query).copied().unwrap_or_default()
    }

    /// The graph that runs.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// How many shards each operator has.
    pub fn shards(&self) -> usize {
        self.shards
    }

    fn settle(&mut self, mut steps: VecDeque<Step>) -> Result<(), GraphError> {
        while let Some(step) = steps.pop_front() {
            let mut rows = Vec::new();
            match step {
                Step::Rows { operator, shard, input, rows: taken } => {
                    let merged = self.operators[operator][shard].rows(input, &taken, &mut rows)?;
                    self.count(operator, merged);
                    steps.extend(self.deliver(Root::Operator(operator), &rows)?);
                }
                Step::Watermark { operator, from, time } => {
                    if let Some(slot) = self.watermarks[operator].get_mut(&from) {
                        *slot = (*slot).max(Some(time));
                    }
                    let least = self.watermarks[operator].values().copied().min().flatten();
                    let Some(reached) = least else { continue };
                    let mut passed_on = reached;
                    for shard in &mut self.operators[operator] {
                        shard.advance(reached, &mut rows)?;
                        passed_on = shard.output_watermark().unwrap_or(reached).min(passed_on);
                    }
                    steps.extend(self.deliver(Root::Operator(operator), &rows)?);
                    steps.extend(self.pass_on(Root::Operator(operator), passed_on));
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
        let Self { graph, branches, output, dropped, shards, checked, rejected, .. } = self;
        let mut steps = VecDeque::new();
        let Some(branches) = branches.get_mut(&root) else { return Ok(steps) };
        for batch in batches {
            branches.apply(batch, *shards, &mut |delivery| match delivery {
                Delivery::Output { query, rows, .. } => output.push(Output { query, rows }),
                Delivery::Checked { query, tallies } => {
                    let known = &mut checked[query];
                    known.resize(tallies.len(), Tally::default());
                    for (sum, new) in known.iter_mut().zip(tallies) {
                        sum.passed += new.passed;
                        sum.violated += new.violated;
                    }
                }
                Delivery::Rejected { query, rejected: rows } => rejected.push((query, rows)),
                Delivery::Operator { operator, input, parts, null_time } => {
                    dropped[graph.operators()[operator].query].null_time += null_time;
                    let parts = parts.into_iter().enumerate();
                    let parts = parts.filter_map(|(shard, rows)| {
                        Some(Step::Rows { operator, shard, input, rows: rows? })
                    });
                    steps.extend(parts);
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

fn branches(graph: &Graph, decoded: &[SchemaRef]) -> Result<BTreeMap<Root, Branches>, GraphError> {
    let sources = decoded.iter().cloned().enumerate();
    let sources = sources.map(|(source, schema)| (Root::Source(source), schema));
    let operators = graph.operators().iter().enumerate();
    let operators =
        operators.map(|(index, found)| (Root::Operator(index), found.plan.output_schema()));
    sources
        .chain(operators)
        .map(|(root, schema)| Ok((root, Branches::new(graph, root, &schema)?)))
        .collect()
}
