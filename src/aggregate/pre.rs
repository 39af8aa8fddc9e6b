//! The half of an aggregation that runs beside the reader.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, PrimitiveArray, RecordBatch,
};
use arrow::compute::{filter_record_batch, is_not_null};
use arrow::datatypes::{
    DataType, Float32Type, Float64Type, SchemaRef, TimeUnit, TimestampMicrosecondType,
};
use datafusion::common::{DataFusionError, Result, exec_err};
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use datafusion::physical_expr::PhysicalExpr;

use super::functions::Function;
use super::interner::Interner;
use super::shard::{canonical_f32, canonical_f64};
use super::{AggregatePlan, AggregateSet, split_by_shard};
use crate::event_time::Windows;
use crate::operator::{OperatorError, Routed, Router};
use crate::sql::{BatchClock, new_batch, physical_expr};

/// Batches smaller than this say nothing about how keys repeat.
const PROBE_ROWS: usize = 1_024;
/// More groups than this many of ten rows, and grouping is not worth its while.
const FEW_REPEATS: usize = 8;
/// After so many batches in a row with few repeats, rows are passed through ...
const PROBES: u32 = 4;
/// ... for so many batches, before it is tried again.
const PASS_BATCHES: u32 = 64;

/// What a batch came to.
#[derive(Debug, Clone)]
pub struct PartialBatch {
    /// `window_start` (TIMESTAMP), the keys, `row_count` (BIGINT, input rows behind the row), and
    /// the aggregates' states. Mostly one row for each window and key, but the same may come twice.
    pub rows: RecordBatch,
    /// Rows whose event time is NULL: they belong to no window and are dropped.
    pub null_time: u64,
}

/// Aggregates each batch of a sender by window and key.
pub struct PreAggregator {
    set: AggregateSet,
    /// There is none without windows.
    time: Option<Arc<dyn PhysicalExpr>>,
    /// What becomes of a row is for the state to say: none are grouped here.
    sessions: bool,
    /// There is one group, whether rows come or not.
    global: bool,
    keys: Vec<Arc<dyn PhysicalExpr>>,
    clock: BatchClock,
    interner: Interner,
    accumulators: Vec<Box<dyn GroupsAccumulator>>,
    indices: Vec<usize>,
    /// Batches in a row whose keys hardly repeated.
    probes: u32,
    /// Batches yet to pass through without grouping.
    passing: u32,
}

impl PreAggregator {
    /// For batches with the columns of the plan's input.
    ///
    /// # Errors
    /// The plan has an aggregate or expression that cannot be compiled; `sql::plan` has tried.
    pub fn new(plan: &AggregatePlan) -> Result<Self, OperatorError> {
        let clock = BatchClock::default();
        let set = AggregateSet::on_clock(plan, &clock)?;
        let failed = OperatorError::evaluate(&plan.query);
        let input = &plan.input;
        let keys = plan
            .keys
            .iter()
            .map(|(expr, _)| physical_expr(expr, input, &clock))
            .collect::<Result<Vec<_>>>()
            .map_err(&failed)?;
        if plan.time.is_none() != matches!(plan.windows, Windows::None) {
            return Err(failed(DataFusionError::Plan("windows need an event time".into())));
        }
        let time = plan.time.as_ref().map(|time| physical_expr(time, input, &clock));
        Ok(Self {
            time: time.transpose().map_err(&failed)?,
            sessions: matches!(plan.windows, Windows::Session(_)),
            global: plan.keys.is_empty() && plan.time.is_none(),
            keys,
            interner: Interner::new(plan.windows, set.group_schema()).map_err(&failed)?,
            accumulators: set.accumulators().map_err(&failed)?,
            clock,
            indices: vec![],
            probes: 0,
            passing: 0,
            set,
        })
    }

    /// The columns of [`PartialBatch::rows`].
    pub fn partial_schema(&self) -> SchemaRef {
        Arc::clone(self.set.partial_schema())
    }

    /// The keys' columns in [`PartialBatch::rows`], for [`split_by_shard`](super::split_by_shard).
    pub fn key_columns(&self) -> Range<usize> {
        self.set.key_columns()
    }

    /// Whether keys hardly repeat, so that rows are passed through as groups of their own.
    pub fn is_passing(&self) -> bool {
        self.passing > 0
    }

    /// Aggregates one batch.
    ///
    /// # Errors
    /// [`OperatorError::Evaluate`] if an expression or accumulator fails. The batch then counts
    /// nowhere, and the aggregator must not be used on.
    pub fn partial(&mut self, batch: &RecordBatch) -> Result<PartialBatch, OperatorError> {
        self.clock.tick();
        let query = Arc::clone(&self.set.query);
        self.evaluate(batch).map_err(OperatorError::evaluate(&query))
    }

    fn evaluate(&mut self, batch: &RecordBatch) -> Result<PartialBatch> {
        let mut rows = batch.clone();
        let mut null_time = 0;
        let mut times = None;
        if let Some(time) = &self.time {
            let mut array = time.evaluate(&rows)?.into_array(rows.num_rows())?;
            null_time = array.logical_null_count();
            if null_time > 0 {
                rows = filter_record_batch(&rows, &is_not_null(&array)?)?;
                array = time.evaluate(&rows)?.into_array(rows.num_rows())?;
            }
            if !matches!(array.data_type(), DataType::Timestamp(TimeUnit::Microsecond, _)) {
                return exec_err!("event time is {} instead of TIMESTAMP", array.data_type());
            }
            times = Some(array.as_primitive::<TimestampMicrosecondType>().clone());
        }
        let times = times.as_ref().map(|times| times.values().as_ref());
        let rows = if rows.num_rows() == 0 && !self.global {
            RecordBatch::new_empty(Arc::clone(self.set.partial_schema()))
        } else if rows.num_rows() == 0 {
            self.nothing()?
        } else if self.sessions {
            self.pass(&rows, times)?
        } else if self.passing > 0 {
            self.passing -= 1;
            self.pass(&rows, times)?
        } else {
            self.group(&rows, times)?
        };
        Ok(PartialBatch { rows, null_time: null_time as u64 })
    }

    fn key_arrays(&self, rows: &RecordBatch) -> Result<Vec<ArrayRef>> {
        self.keys
            .iter()
            .map(|key| Ok(canonical(key.evaluate(rows)?.into_array(rows.num_rows())?)))
            .collect()
    }

    /// One row for each window and key.
    fn group(&mut self, rows: &RecordBatch, times: Option<&[i64]>) -> Result<RecordBatch> {
        let keys = self.key_arrays(rows)?;
        let groups = self.interner.intern(times, rows.num_rows(), &keys, &mut self.indices)?;
        let mut counts = vec![0_i64; groups];
        for group in &self.indices {
            counts[*group] += 1;
        }
        let counts: ArrayRef = Arc::new(Int64Array::from(counts));
        let mut columns = self.interner.emit(rows.num_rows())?;
        columns.push(Arc::clone(&counts));
        for (function, accumulator) in self.set.functions.iter().zip(&mut self.accumulators) {
            if function.counts_rows {
                columns.push(Arc::clone(&counts));
                continue;
            }
            let (args, filter) = arguments(function, rows)?;
            accumulator.update_batch(&args, &self.indices, filter.as_ref(), groups)?;
            columns.extend(accumulator.state(EmitTo::All)?);
        }
        self.probe(rows.num_rows(), groups);
        self.partial_batch(columns, groups)
    }

    /// The group of all rows before there are any: as in Spark it is there from the first batch on.
    fn nothing(&mut self) -> Result<RecordBatch> {
        let mut columns = vec![self.interner.window_starts(None, 1)];
        columns.push(Arc::new(Int64Array::from_value(0, 1)));
        for function in &self.set.functions {
            columns.extend(function.state_of_nothing()?);
        }
        self.partial_batch(columns, 1)
    }

    /// Each row a group of its own.
    fn pass(&mut self, rows: &RecordBatch, times: Option<&[i64]>) -> Result<RecordBatch> {
        let count = rows.num_rows();
        let mut columns = vec![self.interner.window_starts(times, count)];
        columns.extend(self.key_arrays(rows)?);
        let counts: ArrayRef = Arc::new(Int64Array::from_value(1, count));
        columns.push(Arc::clone(&counts));
        self.indices.clear();
        self.indices.extend(0..count);
        for (function, accumulator) in self.set.functions.iter().zip(&mut self.accumulators) {
            if function.counts_rows {
                columns.push(Arc::clone(&counts));
                continue;
            }
            let (args, filter) = arguments(function, rows)?;
            if self.set.plain_state {
                columns.extend(accumulator.convert_to_state(&args, filter.as_ref())?);
            } else {
                // Not every accumulator can convert.
                accumulator.update_batch(&args, &self.indices, filter.as_ref(), count)?;
                columns.extend(accumulator.state(EmitTo::All)?);
            }
        }
        self.partial_batch(columns, count)
    }

    /// Watches how keys repeat; see the constants.
    fn probe(&mut self, rows: usize, groups: usize) {
        if !self.set.plain_state || rows < PROBE_ROWS {
            return;
        }
        if groups * 10 <= rows * FEW_REPEATS {
            self.probes = 0;
            return;
        }
        self.probes += 1;
        if self.probes >= PROBES {
            self.passing = PASS_BATCHES;
        }
    }

    fn partial_batch(&self, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
        new_batch(self.set.partial_schema(), columns, rows)
    }
}

impl Router for PreAggregator {
    fn route(&mut self, rows: &RecordBatch, shards: usize) -> Result<Routed, OperatorError> {
        let partial = self.partial(rows)?;
        let parts = split_by_shard(&partial.rows, self.key_columns(), shards)?;
        Ok(Routed { parts, null_time: partial.null_time })
    }
}

/// A function's arguments and filter, evaluated.
fn arguments(
    function: &Function,
    rows: &RecordBatch,
) -> Result<(Vec<ArrayRef>, Option<BooleanArray>)> {
    let args = function
        .args
        .iter()
        .map(|arg| arg.evaluate(rows)?.into_array(rows.num_rows()))
        .collect::<Result<Vec<_>>>()?;
    let filter = match &function.filter {
        None => None,
        Some(filter) => {
            let mask = filter.evaluate(rows)?.into_array(rows.num_rows())?;
            match mask.as_boolean_opt() {
                Some(mask) => Some(mask.clone()),
                None => return exec_err!("a filter gave {}", mask.data_type()),
            }
        }
    };
    Ok((args, filter))
}

/// Keys that are equal in Spark made equal in bits: one zero, one NaN.
pub(crate) fn canonical(key: ArrayRef) -> ArrayRef {
    match key.data_type() {
        DataType::Float32 => {
            let key: PrimitiveArray<Float32Type> =
                key.as_primitive::<Float32Type>().unary(canonical_f32);
            Arc::new(key)
        }
        DataType::Float64 => {
            let key: PrimitiveArray<Float64Type> =
                key.as_primitive::<Float64Type>().unary(canonical_f64);
            Arc::new(key)
        }
        _ => key,
    }
}
