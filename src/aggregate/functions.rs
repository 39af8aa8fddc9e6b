//! The aggregate functions of a plan and the layout of their intermediate state.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::{DFSchema, DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, GroupsAccumulator};
use datafusion::physical_expr::aggregate::{AggregateFunctionExpr, LoweredAggregateBuilder};
use datafusion::physical_expr::expressions::Literal;
use datafusion::physical_expr::{GroupsAccumulatorAdapter, PhysicalExpr};

use crate::operator::OperatorError;
use crate::sql::{BatchClock, on_clock, timestamp_type};

use super::{AggregatePlan, decimal_sum, extremes};

/// Aggregates whose state can be merged: the tests of this room recompute each of them.
const MERGEABLE: &[&str] = &[
    "any_value",
    "approx_distinct",
    "approx_median",
    "approx_percentile_cont",
    "approx_percentile_cont_with_weight",
    "array_agg",
    "avg",
    "bit_and",
    "bit_or",
    "bit_xor",
    "bool_and",
    "bool_or",
    "collect_list",
    "collect_set",
    "corr",
    "count",
    "covar_pop",
    "covar_samp",
    "first_value",
    "last_value",
    "max",
    "median",
    "min",
    "percentile_cont",
    "regr_avgx",
    "regr_avgy",
    "regr_count",
    "regr_intercept",
    "regr_r2",
    "regr_slope",
    "regr_sxx",
    "regr_sxy",
    "regr_syy",
    "stddev",
    "stddev_pop",
    "string_agg",
    "sum",
    "var",
    "var_pop",
    "var_samp",
];

/// One aggregate function of a plan.
pub(crate) struct Function {
    expr: Arc<AggregateFunctionExpr>,
    /// Its arguments, then what it orders by.
    pub(super) args: Vec<Arc<dyn PhysicalExpr>>,
    /// `FILTER (WHERE ...)`.
    pub(super) filter: Option<Arc<dyn PhysicalExpr>>,
    /// Its state's columns in a partial batch.
    pub(super) state: Range<usize>,
    /// It has accumulators over all groups at once; otherwise one object for each group.
    native: bool,
    /// `count(*)`: its state is the number of rows, which is counted anyway.
    pub(super) counts_rows: bool,
}

impl Function {
    /// The state of a group without rows.
    pub(super) fn state_of_nothing(&self) -> Result<Vec<ArrayRef>> {
        let state = self.expr.create_accumulator()?.state()?;
        state.iter().map(ScalarValue::to_array).collect()
    }

    pub(super) fn accumulator(&self) -> Result<Box<dyn GroupsAccumulator>> {
        if self.native {
            let (name, of) = (self.expr.fun().name(), self.expr.field().data_type().clone());
            // Where Spark's results are others than DataFusion's. DISTINCT changes no extreme, but
            // it does a sum.
            let sum = || decimal_sum::accumulator(name, &of).filter(|_| !self.expr.is_distinct());
            return match extremes::accumulator(name, &of).or_else(sum) {
                Some(accumulator) => Ok(accumulator),
                None => self.expr.create_groups_accumulator(),
            };
        }
        // Fails here, not at the first row, if there is no accumulator for these types at all.
        self.expr.create_accumulator()?;
        let expr = Arc::clone(&self.expr);
        Ok(Box::new(GroupsAccumulatorAdapter::new(move || expr.create_accumulator())))
    }
}

/// The aggregates of a plan, compiled, and the columns of its partial batches:
/// `window_start, key_0.., row_count, state_0..`.
pub(crate) struct AggregateSet {
    pub(super) query: Arc<str>,
    pub(super) functions: Vec<Function>,
    /// Number of keys beside the window.
    pub(super) keys: usize,
    partial: SchemaRef,
    /// Every state is a few plain values, so that a row can cheaply be a group of its own.
    pub(super) plain_state: bool,
}

impl AggregateSet {
    pub(crate) fn new(plan: &AggregatePlan) -> Result<Self, OperatorError> {
        Self::on_clock(plan, &BatchClock::default())
    }

    pub(super) fn on_clock(
        plan: &AggregatePlan,
        clock: &BatchClock,
    ) -> Result<Self, OperatorError> {
        let keys = plan.keys.len();
        let mut fields = vec![Field::new("window_start", timestamp_type(), false)];
        for (index, (_, field)) in plan.keys.iter().enumerate() {
            fields.push(Field::new(format!("key_{index}"), field.data_type().clone(), true));
        }
        fields.push(Field::new("row_count", DataType::Int64, false));
        let mut functions = Vec::with_capacity(plan.aggregates.len());
        let mut plain_state = true;
        for expr in &plan.aggregates {
            let function = lower(expr, &plan.input, clock, fields.len())?;
            let states = function
                .expr
                .state_fields()
                .map_err(|error| unsupported(&function.expr, &error))?;
            for state in &states {
                // Neither names nor nullability of DataFusion's state fields can be relied on.
                let name = format!("state_{}", fields.len() - keys - 2);
                plain_state &= is_plain(state.data_type());
                fields.push(Field::new(name, state.data_type().clone(), true));
            }
            plain_state &= function.native;
            functions.push(Function { state: function.state.start..fields.len(), ..function });
        }
        let partial = Arc::new(Schema::new(fields));
        Ok(Self { query: Arc::clone(&plan.query), functions, keys, partial, plain_state })
    }

    /// Columns of a partial batch.
    pub(crate) fn partial_schema(&self) -> &SchemaRef {
        &self.partial
    }

    /// Whether a batch has the columns of a partial batch.
    ///
    /// # Errors
    /// [`OperatorError::Rows`] if not.
    pub(super) fn check(&self, partial: &RecordBatch) -> Result<(), OperatorError> {
        let expected = &self.partial;
        let same = partial.num_columns() == expected.fields().len()
            && partial
                .columns()
                .iter()
                .zip(expected.fields())
                .all(|(column, field)| column.data_type().equals_datatype(field.data_type()));
        if same {
            return Ok(());
        }
        Err(OperatorError::Rows {
            query: Arc::clone(&self.query),
            detail: format!("expected {expected}, got {}", partial.schema()),
        })
    }

    /// The keys' columns in a partial batch; [`AggregatePlan::key_columns`] says the same.
    pub(super) fn key_columns(&self) -> Range<usize> {
        1..1 + self.keys
    }

    /// The column of row counts in a partial batch.
    pub(super) fn count_column(&self) -> usize {
        1 + self.keys
    }

    /// The keys' columns in a partial batch.
    pub(super) fn keys_of<'a>(&self, partial: &'a RecordBatch) -> &'a [ArrayRef] {
        &partial.columns()[self.key_columns()]
    }

    /// The columns of intermediate state in a partial batch.
    pub(super) fn states_of<'a>(&self, partial: &'a RecordBatch) -> &'a [ArrayRef] {
        &partial.columns()[self.count_column() + 1..]
    }

    /// The types of the keys.
    pub(super) fn key_types(&self) -> Vec<DataType> {
        let fields = &self.partial.fields()[self.key_columns()];
        fields.iter().map(|field| field.data_type().clone()).collect()
    }

    /// The keys alone.
    pub(super) fn key_schema(&self) -> SchemaRef {
        Arc::new(Schema::new(self.partial.fields()[self.key_columns()].to_vec()))
    }

    /// The window and the keys.
    pub(super) fn group_schema(&self) -> SchemaRef {
        Arc::new(Schema::new(self.partial.fields()[..=self.keys].to_vec()))
    }

    pub(super) fn accumulators(&self) -> Result<Vec<Box<dyn GroupsAccumulator>>> {
        self.functions.iter().map(Function::accumulator).collect()
    }
}

fn is_plain(data_type: &DataType) -> bool {
    data_type.is_primitive()
        || matches!(data_type, DataType::Boolean | DataType::Utf8 | DataType::Utf8View)
}

fn lower(
    expr: &Expr,
    input: &DFSchema,
    clock: &BatchClock,
    first_state: usize,
) -> Result<Function, OperatorError> {
    let invalid = |error: DataFusionError| OperatorError::Unsupported {
        function: expr.schema_name().to_string(),
        reason: error.strip_backtrace(),
    };
    let expr = on_clock(expr, clock).map_err(invalid)?;
    let props = ExecutionProps::new();
    let context = PhysicalPlanningContext::default();
    let lowered = LoweredAggregateBuilder::new(&expr, input, input.as_arrow(), &props, &context)
        .build()
        .map_err(invalid)?;
    let function = lowered.aggregate;
    let name = function.fun().name().to_owned();
    if !MERGEABLE.contains(&name.as_str()) {
        return Err(OperatorError::Unsupported {
            function: name,
            reason: "it cannot be put together from the parts that readers compute".to_owned(),
        });
    }
    let all = function.all_expressions();
    let args: Vec<_> = all.args.into_iter().chain(all.order_by_exprs).collect();
    let native = function.groups_accumulator_supported();
    let counts_rows = name == "count"
        && !function.is_distinct()
        && lowered.filter.is_none()
        && matches!(args.as_slice(), [arg] if is_constant(arg));
    let function = Function {
        expr: function,
        args,
        filter: lowered.filter,
        state: first_state..first_state,
        native,
        counts_rows,
    };
    function.accumulator().map_err(|error| unsupported(&function.expr, &error))?;
    Ok(function)
}

fn is_constant(arg: &Arc<dyn PhysicalExpr>) -> bool {
    let arg: &dyn std::any::Any = arg.as_ref();
    arg.downcast_ref::<Literal>().is_some_and(|literal| !literal.value().is_null())
}

fn unsupported(function: &AggregateFunctionExpr, error: &DataFusionError) -> OperatorError {
    OperatorError::Unsupported {
        function: function.name().to_owned(),
        reason: error.strip_backtrace(),
    }
}
