//! From the plan of an operator to the operator.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::nullable_schema;
use crate::aggregate::{self, AggregatePlan, PreAggregator};
use crate::event_time::Windows;
use crate::operator::{
    Closed, DedupPlan, JoinPlan, Merged, Operator, OperatorError, Router, StateDelta, StateStats,
};

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
    /// How far, in microseconds, the operator stays behind the watermark of its inputs, because
    /// the times that it goes by do: `ts - INTERVAL 1 HOUR`, or a window's start.
    pub(crate) behind_us: i64,
}

/// What a stateful operator does.
#[derive(Debug, Clone)]
pub enum OperatorKind {
    /// Groups rows and aggregates each group.
    Aggregate(Box<AggregatePlan>),
    /// Lets the first row of each key through.
    Dedup(Box<DedupPlan>),
    /// Joins two streams.
    Join(Box<JoinPlan>),
}

impl OperatorPlan {
    /// Whether it groups rows by windows of time.
    pub fn has_windows(&self) -> bool {
        match &self.kind {
            OperatorKind::Aggregate(plan) => !matches!(plan.windows(), Windows::None),
            OperatorKind::Dedup(_) | OperatorKind::Join(_) => false,
        }
    }

    /// One shard of the operator, without state.
    ///
    /// # Errors
    /// An expression or aggregate cannot be compiled; [`plan`](super::plan) has tried.
    pub fn operator(&self) -> Result<Box<dyn Operator>, OperatorError> {
        let operator: Box<dyn Operator> = match &self.kind {
            OperatorKind::Aggregate(plan) => aggregate::operator(plan)?,
            OperatorKind::Dedup(plan) => Box::new(plan.operator()?),
            OperatorKind::Join(plan) => Box::new(plan.operator()?),
        };
        if self.behind_us == 0 {
            return Ok(operator);
        }
        Ok(Box::new(Behind { operator, us: self.behind_us }))
    }

    /// The columns of its rows, all nullable.
    pub fn output_schema(&self) -> SchemaRef {
        match &self.kind {
            OperatorKind::Aggregate(plan) => nullable_schema(&plan.aggregated),
            OperatorKind::Dedup(plan) => nullable_schema(&plan.input),
            OperatorKind::Join(plan) => nullable_schema(&plan.output),
        }
    }

    /// What stands beside each sender of an input.
    ///
    /// # Errors
    /// As for [`operator`](Self::operator).
    pub fn router(&self, input: usize) -> Result<Box<dyn Router>, OperatorError> {
        Ok(match &self.kind {
            OperatorKind::Aggregate(plan) => Box::new(PreAggregator::new(plan)?),
            OperatorKind::Dedup(plan) => Box::new(plan.router()?),
            OperatorKind::Join(plan) => Box::new(plan.router(input)?),
        })
    }
}

/// An operator that stays behind the watermark of its inputs.
struct Behind {
    operator: Box<dyn Operator>,
    us: i64,
}

impl Operator for Behind {
    fn rows(
        &mut self,
        input: usize,
        rows: &RecordBatch,
        out: &mut Vec<RecordBatch>,
    ) -> Result<Merged, OperatorError> {
        self.operator.rows(input, rows, out)
    }

    fn advance(
        &mut self,
        watermark: i64,
        out: &mut Vec<RecordBatch>,
    ) -> Result<Closed, OperatorError> {
        // The end of a bounded input is the end for everyone.
        let own = match watermark {
            i64::MAX => i64::MAX,
            watermark => watermark.saturating_sub(self.us),
        };
        self.operator.advance(own, out)
    }

    fn trigger(&mut self, out: &mut Vec<RecordBatch>) -> Result<(), OperatorError> {
        self.operator.trigger(out)
    }

    fn snapshot(&mut self) -> Result<StateDelta, OperatorError> {
        let delta = self.operator.snapshot()?;
        Ok(StateDelta { watermark: delta.watermark.map(|own| self.ahead(own)), ..delta })
    }

    fn restore(
        &mut self,
        segments: &[&[u8]],
        watermark: Option<i64>,
        keep: (usize, usize),
    ) -> Result<(), OperatorError> {
        let own = watermark.map(|watermark| match watermark {
            i64::MAX => i64::MAX,
            watermark => watermark.saturating_sub(self.us),
        });
        self.operator.restore(segments, own, keep)
    }

    fn stats(&self) -> StateStats {
        self.operator.stats()
    }

    fn watermark(&self) -> Option<i64> {
        self.operator.watermark().map(|own| self.ahead(own))
    }

    fn output_watermark(&self) -> Option<i64> {
        self.operator.output_watermark().map(|own| self.ahead(own))
    }
}

impl Behind {
    fn ahead(&self, own: i64) -> i64 {
        own.saturating_add(self.us)
    }
}
