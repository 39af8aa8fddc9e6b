//! Where a sender's rows go: down the feeds below it, to operators, sinks and detectors.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;

use super::credit::Credit;
use super::flow::{Item, Outlet};
use crate::graph::{Branches, Delivery, GraphError};
use crate::telemetry::events::{NullEventTime, QueryMetrics, RowsProduced};
use crate::telemetry::progress::QueryProgress;

/// The branches below one sender, and the actors at their ends.
pub struct Fanout {
    pub(super) branches: Branches,
    pub(super) shards: usize,
    /// By query: its sinks and detectors.
    pub(super) outputs: BTreeMap<usize, Vec<Destination>>,
    /// By operator: its shards, in order.
    pub(super) operators: BTreeMap<usize, Vec<Destination>>,
    /// By operator, the query it belongs to.
    pub(super) queries_of: BTreeMap<usize, usize>,
    /// By query.
    pub(super) shown: BTreeMap<usize, Shown>,
}

/// One receiver.
pub struct Destination {
    /// It.
    pub outlet: Outlet,
    /// All sinks behind it have everything below this offset already (after a lost checkpoint).
    pub resume_at: i64,
}

/// Where a query's figures go.
pub struct Shown {
    /// Metrics.
    pub metrics: QueryMetrics,
    /// What the API shows.
    pub progress: Arc<QueryProgress>,
}

impl Fanout {
    /// Sends one batch down every branch. `next` is the offset behind it: receivers that have it
    /// already are left out. Every part carries `credit`.
    ///
    /// # Errors
    /// A feed or router fails.
    pub fn send(
        &mut self,
        batch: &RecordBatch,
        next: i64,
        credit: Option<&Credit>,
    ) -> Result<(), GraphError> {
        let Self { branches, shards, outputs, operators, queries_of, shown } = self;
        branches.apply(batch, *shards, &mut |delivery| match delivery {
            Delivery::Output { query, rows } => {
                let count = rows.num_rows() as u64;
                let mut any = false;
                for destination in outputs.get(&query).into_iter().flatten() {
                    if next > destination.resume_at {
                        destination.outlet.send(0, Item::Rows(rows.clone(), credit.cloned()));
                        any = true;
                    }
                }
                if any && let Some(shown) = shown.get(&query) {
                    RowsProduced { query: &shown.metrics, rows: count }.emit();
                    shown.progress.output(count);
                    shown.progress.observe(&rows);
                }
            }
            Delivery::Operator { operator, input, parts, null_time } => {
                let query = queries_of.get(&operator).and_then(|query| shown.get(query));
                let mut wanted = false;
                let shards = operators.get(&operator).into_iter().flatten();
                for (part, shard) in parts.into_iter().zip(shards) {
                    if next <= shard.resume_at {
                        continue;
                    }
                    wanted = true;
                    if let Some(part) = part {
                        shard.outlet.send(input, Item::Rows(part, credit.cloned()));
                    }
                }
                if wanted && let Some(shown) = query {
                    NullEventTime { query: &shown.metrics, rows: null_time }.emit();
                    shown.progress.null_time(null_time);
                }
            }
        })
    }

    /// Sends a watermark to every receiver.
    pub fn watermark(&self, time: i64) {
        for destination in self.destinations() {
            destination.outlet.send(0, Item::Watermark(time));
        }
    }

    /// Sends a barrier to every receiver.
    pub fn barrier(&self, epoch: u64) {
        for destination in self.destinations() {
            destination.outlet.send(0, Item::Barrier(epoch));
        }
    }

    /// Every receiver once.
    pub fn destinations(&self) -> impl Iterator<Item = &Destination> {
        self.outputs.values().chain(self.operators.values()).flatten()
    }

    /// Every query that rows pass through here.
    pub fn queries(&self) -> impl Iterator<Item = &Shown> {
        self.shown.values()
    }
}
