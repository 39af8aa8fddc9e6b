//! Where a sender's rows go: down the feeds below it, to operators, sinks and detectors.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch};

use super::credit::Credit;
use super::flow::{Item, Outlet};
use super::watermark_tracker::now_ms;
use crate::codec::CodecError;
use crate::codec::dead_letter::{RejectedFrom, rejected_rows};
use crate::graph::{Branches, Delivery, GraphError};
use crate::sink::SinkError;
use crate::sink::type_change::TypeFit;
use crate::sql::RejectedRows;
use crate::telemetry::events::{
    ExpectationChecked, ExpectationMetrics, NullEventTime, QueryMetrics, RowsProduced,
};
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
    /// Where rows go that rules reject.
    pub(super) letters: Option<Letters>,
}

/// Where rows go that rules reject, and where they come from.
pub struct Letters {
    /// The table of dead letters.
    pub outlet: Outlet,
    /// It has everything below this offset already.
    pub resume_at: i64,
    /// The source, or the sources, that the rows are of.
    pub source: Arc<str>,
    /// The split; empty behind an operator.
    pub split: Arc<str>,
    /// Payloads are cut to so many bytes.
    pub max_payload: usize,
    /// Whether nobody else tells the table of this sender's barriers.
    pub barriers: bool,
}

/// What stops a sender.
#[derive(Debug, thiserror::Error)]
pub enum FanoutError {
    /// A feed or a router failed, or rows violate a rule that the pipeline stops at.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A rejected row cannot be written as JSON.
    #[error("a row for the dead letters cannot be written as JSON: {0}")]
    Codec(#[from] CodecError),
    /// A column cannot be brought into the table's type.
    #[error(transparent)]
    Types(#[from] SinkError),
}

impl FanoutError {
    /// Whether a restart would end in the same place.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Graph(error) if error.is_violation())
    }
}

/// One receiver.
pub struct Destination {
    /// It.
    pub outlet: Outlet,
    /// All sinks behind it have everything below this offset already (after a lost checkpoint).
    pub resume_at: i64,
    /// Brings rows into the types of the table behind it.
    pub fit: Option<Arc<TypeFit>>,
}

/// Where a query's figures go.
pub struct Shown {
    /// Metrics.
    pub metrics: QueryMetrics,
    /// What the API shows.
    pub progress: Arc<QueryProgress>,
    /// Of each of its rules, in order.
    pub rules: Vec<ExpectationMetrics>,
}

impl Fanout {
    /// Sends one batch down every branch. `next` is the offset behind it: receivers that have it
    /// already are left out. Every part carries `credit`. `offsets` has the position of each row of
    /// the batch, where it has one.
    ///
    /// # Errors
    /// A feed or router fails, or rows violate a rule that the pipeline stops at.
    pub fn send(
        &mut self,
        batch: &RecordBatch,
        next: i64,
        credit: Option<&Credit>,
        offsets: Option<&Int64Array>,
    ) -> Result<(), FanoutError> {
        let Self { branches, shards, outputs, operators, queries_of, shown, letters } = self;
        let mut failed: Option<FanoutError> = None;
        branches.apply(batch, *shards, &mut |delivery| match delivery {
            Delivery::Checked { query, tallies } => {
                let Some(shown) = shown.get(&query) else { return };
                for (rule, (metrics, tally)) in shown.rules.iter().zip(tallies).enumerate() {
                    let (passed, violated) = (tally.passed, tally.violated);
                    ExpectationChecked { rule: metrics, passed, violated }.emit();
                    shown.progress.checked(rule, passed, violated);
                }
            }
            Delivery::Rejected { query, rejected } => {
                let (Some(letters), Some(shown)) = (&letters, shown.get(&query)) else { return };
                let sent = letters.send(shown, &rejected, offsets, (next, credit));
                failed = failed.take().or(sent.err());
            }
            Delivery::Output { query, rows, places } => {
                let count = rows.num_rows() as u64;
                let mut any = false;
                for destination in outputs.get(&query).into_iter().flatten() {
                    if next <= destination.resume_at {
                        continue;
                    }
                    any = true;
                    let Some(fit) = &destination.fit else {
                        destination.outlet.send(0, Item::Rows(rows.clone(), credit.cloned()));
                        continue;
                    };
                    let fitted = match fit.apply(&rows, places.as_ref()) {
                        Ok(fitted) => fitted,
                        Err(error) => {
                            failed = Some(error.into());
                            continue;
                        }
                    };
                    if fitted.rows.num_rows() > 0 {
                        destination.outlet.send(0, Item::Rows(fitted.rows, credit.cloned()));
                    }
                    if let (Some(rejected), Some(letters), Some(shown)) =
                        (fitted.rejected, &letters, shown.get(&query))
                    {
                        shown.metrics.types_rejected(fit.sink(), rejected.rules.len() as u64);
                        let sent = letters.send(shown, &rejected, offsets, (next, credit));
                        failed = failed.take().or(sent.err());
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
        })?;
        failed.map_or(Ok(()), Err)
    }

    /// Whether rows that come with their offsets can be told by them.
    pub fn wants_offsets(&self) -> bool {
        self.letters.is_some() && self.branches.is_traced()
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
        if let Some(letters) = self.letters.as_ref().filter(|letters| letters.barriers) {
            letters.outlet.send(0, Item::Barrier(epoch));
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

impl Letters {
    /// Sends rejected rows on, unless the table has them. They carry the credit of their batch.
    fn send(
        &self,
        shown: &Shown,
        rejected: &RejectedRows,
        offsets: Option<&Int64Array>,
        (next, credit): (i64, Option<&Credit>),
    ) -> Result<(), FanoutError> {
        if next > self.resume_at {
            let rows = self.rows(shown.progress.name(), rejected, offsets)?;
            self.outlet.send(0, Item::Rows(rows, credit.cloned()));
        }
        Ok(())
    }

    fn rows(
        &self,
        query: &str,
        rejected: &RejectedRows,
        offsets: Option<&Int64Array>,
    ) -> Result<RecordBatch, CodecError> {
        let from = RejectedFrom { source: &self.source, split: &self.split, query };
        let known = rejected.places.as_ref().zip(offsets);
        let from = RejectedFrom { split: if known.is_some() { from.split } else { "" }, ..from };
        let offset = |row: usize| {
            let (places, offsets) = known?;
            let place = places.value(row) as usize;
            (place < offsets.len()).then(|| offsets.value(place))
        };
        let reasons = (&*rejected.rules, &*rejected.errors);
        rejected_rows(&from, &rejected.rows, reasons, offset, self.max_payload, now_ms())
    }
}
