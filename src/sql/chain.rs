//! Steps without state, one after the other: filters, projections, `explode`, joins with tables.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::{cast, filter_record_batch, prep_null_mask_filter};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt32Type};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, DFSchemaRef, Result, exec_err};
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{ColumnarValue, Expr, ScalarUDF};
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};

use super::functions::{BatchClock, CurrentTime};
use super::static_join::{BoundJoin, StaticJoin};
use super::unnest::unnest;

/// One step of a [`Chain`], on the schema it reads.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) input: DFSchemaRef,
    pub(crate) kind: StepKind,
}

#[derive(Debug, Clone)]
pub(crate) enum StepKind {
    /// Keeps the rows for which the expression is true.
    Filter(Expr),
    /// Replaces the columns.
    Project(Vec<Expr>),
    /// A row for each element of the list in a column; see `unnest.rs`.
    Unnest {
        /// The column, by its place.
        column: usize,
        /// A row without elements comes out once, with NULL.
        outer: bool,
    },
    /// Looks the rows up in a table; see `static_join.rs`.
    Join(Box<StaticJoin>),
}

/// Steps in the order they run.
#[derive(Debug, Clone)]
pub(crate) struct Chain {
    pub(crate) steps: Vec<Step>,
    /// What comes out.
    pub(crate) output: DFSchemaRef,
}

impl Chain {
    pub(crate) fn new(input: DFSchemaRef) -> Self {
        Self { steps: vec![], output: input }
    }

    pub(crate) fn push(&mut self, input: DFSchemaRef, kind: StepKind, output: DFSchemaRef) {
        self.steps.push(Step { input, kind });
        self.output = output;
    }

    /// Follows a column of `level` (what step `level` reads; the chain's output if it is the number
    /// of steps) down to the expression that made it: an expression over the columns of the level
    /// returned with it. At level 0 it is a column of the input. Elements of a list and columns of a
    /// table are made where they are, and followed no further.
    pub(crate) fn origin(&self, expr: &Expr, level: usize) -> Option<(Expr, usize)> {
        let mut expr = unalias(expr).clone();
        let mut level = level;
        while let Expr::Column(column) = &expr {
            let index = self.schema_at(level).index_of_column(column).ok()?;
            let Some(below) = level.checked_sub(1) else { break };
            let step = &self.steps[below];
            expr = match &step.kind {
                StepKind::Filter(_) => column_at(&step.input, index),
                StepKind::Project(exprs) => unalias(exprs.get(index)?).clone(),
                StepKind::Unnest { column, .. } if *column == index => break,
                StepKind::Unnest { .. } => column_at(&step.input, index),
                StepKind::Join(join) => match join.below(index) {
                    Some(index) => column_at(&step.input, index),
                    None => break,
                },
            };
            level = below;
        }
        Some((expr, level))
    }

    /// The expression over the chain's input columns only: every column replaced by what made it.
    pub(crate) fn inlined(&self, expr: &Expr, level: usize) -> Result<Expr> {
        let rewritten = expr.clone().transform_up(|expr| {
            let Expr::Column(_) = &expr else { return Ok(Transformed::no(expr)) };
            match self.origin(&expr, level) {
                Some((origin, below)) if below < level => {
                    Ok(Transformed::yes(self.inlined(&origin, below)?))
                }
                _ => Ok(Transformed::no(expr)),
            }
        })?;
        Ok(rewritten.data)
    }

    pub(crate) fn schema_at(&self, level: usize) -> &DFSchemaRef {
        self.steps.get(level).map_or(&self.output, |step| &step.input)
    }

    pub(crate) fn bind(&self, clock: &BatchClock) -> Result<BoundChain> {
        let mut steps = Vec::with_capacity(self.steps.len());
        for (level, step) in self.steps.iter().enumerate() {
            steps.push(match &step.kind {
                StepKind::Filter(expr) => {
                    BoundStep::Filter(physical_expr(expr, &step.input, clock)?)
                }
                StepKind::Project(exprs) => {
                    let exprs = exprs
                        .iter()
                        .map(|expr| physical_expr(expr, &step.input, clock))
                        .collect::<Result<Vec<_>>>()?;
                    BoundStep::Project(exprs, nullable_schema(self.schema_at(level + 1)))
                }
                StepKind::Unnest { column, outer } => BoundStep::Unnest {
                    column: *column,
                    outer: *outer,
                    schema: nullable_schema(self.schema_at(level + 1)),
                },
                StepKind::Join(join) => {
                    let output = nullable_schema(self.schema_at(level + 1));
                    BoundStep::Join(Box::new(join.bind(&step.input, output, clock)?))
                }
            });
        }
        Ok(BoundChain { steps })
    }
}

/// The schema with every column nullable: expressions are less strict than the planner's word.
pub(crate) fn nullable_schema(schema: &DFSchema) -> SchemaRef {
    let fields: Vec<_> = schema
        .as_arrow()
        .fields()
        .iter()
        .map(|field| arrow::datatypes::Field::new(field.name(), field.data_type().clone(), true))
        .collect();
    Arc::new(Schema::new(fields))
}

pub(crate) fn unalias(expr: &Expr) -> &Expr {
    let mut expr = expr;
    while let Expr::Alias(alias) = expr {
        expr = &alias.expr;
    }
    expr
}

fn column_at(schema: &DFSchema, index: usize) -> Expr {
    Expr::Column(schema.columns()[index].clone())
}

/// Compiles an expression on the columns of `input`.
pub(crate) fn physical_expr(
    expr: &Expr,
    input: &DFSchema,
    clock: &BatchClock,
) -> Result<Arc<dyn PhysicalExpr>> {
    create_physical_expr(
        &on_clock(expr, clock)?,
        input,
        &ExecutionProps::new(),
        &PhysicalPlanningContext::default(),
    )
}

/// Gives `current_timestamp()` in an expression the clock of the query it is bound for.
pub(crate) fn on_clock(expr: &Expr, clock: &BatchClock) -> Result<Expr> {
    let rewritten = expr.clone().transform_up(|expr| {
        let Expr::ScalarFunction(function) = &expr else { return Ok(Transformed::no(expr)) };
        let inner: &dyn std::any::Any = function.func.inner().as_ref();
        let Some(current) = inner.downcast_ref::<CurrentTime>() else {
            return Ok(Transformed::no(expr));
        };
        let function = ScalarUDF::new_from_impl(current.with_clock(clock));
        Ok(Transformed::yes(Expr::ScalarFunction(ScalarFunction::new_udf(
            Arc::new(function),
            vec![],
        ))))
    })?;
    Ok(rewritten.data)
}

enum BoundStep {
    Filter(Arc<dyn PhysicalExpr>),
    Project(Vec<Arc<dyn PhysicalExpr>>, SchemaRef),
    Unnest { column: usize, outer: bool, schema: SchemaRef },
    Join(Box<BoundJoin>),
}

/// A [`Chain`] ready to run. It sees batches with exactly the columns of the chain's input.
pub(crate) struct BoundChain {
    steps: Vec<BoundStep>,
}

impl BoundChain {
    /// `places` says where each row stood in some batch that this one came of; what is left of it
    /// comes back beside the rows that are left. Behind a join with a table nothing is known.
    pub(crate) fn apply(
        &self,
        batch: RecordBatch,
        places: Option<UInt32Array>,
    ) -> Result<(RecordBatch, Option<UInt32Array>)> {
        let (mut batch, mut places) = (batch, places);
        for step in &self.steps {
            batch = match step {
                BoundStep::Filter(expr) => {
                    let traced = with_places(batch, places.as_ref())?;
                    let (left, found) = without_places(filter(&traced, expr)?, places.is_some());
                    places = found;
                    left
                }
                BoundStep::Project(exprs, schema) => {
                    let columns = exprs
                        .iter()
                        .zip(schema.fields())
                        .map(|(expr, field)| {
                            let column = expr.evaluate(&batch)?.into_array(batch.num_rows())?;
                            conform(column, field.data_type())
                        })
                        .collect::<Result<Vec<_>>>()?;
                    new_batch(schema, columns, batch.num_rows())?
                }
                BoundStep::Unnest { column, outer, schema } => {
                    let traced = with_places(batch, places.as_ref())?;
                    let schema = match &places {
                        Some(_) => placed(schema),
                        None => Arc::clone(schema),
                    };
                    let rows = unnest(&traced, *column, *outer, &schema)?;
                    let (left, found) = without_places(rows, places.is_some());
                    places = found;
                    left
                }
                BoundStep::Join(join) => {
                    places = None;
                    join.apply(&batch)?
                }
            };
        }
        Ok((batch, places))
    }
}

/// The schema with one more column, which no expression knows of: the places of rows.
fn placed(schema: &SchemaRef) -> SchemaRef {
    let place = Arc::new(Field::new("millpond_place", DataType::UInt32, true));
    let fields = schema.fields().iter().cloned().chain([place]);
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn with_places(batch: RecordBatch, places: Option<&UInt32Array>) -> Result<RecordBatch> {
    let Some(places) = places else { return Ok(batch) };
    let mut columns = batch.columns().to_vec();
    columns.push(Arc::new(places.clone()));
    new_batch(&placed(batch.schema_ref()), columns, batch.num_rows())
}

/// Takes the last column off again, if it is one of places.
fn without_places(mut batch: RecordBatch, is_traced: bool) -> (RecordBatch, Option<UInt32Array>) {
    if !is_traced {
        return (batch, None);
    }
    let last = batch.num_columns().saturating_sub(1);
    let places = batch.remove_column(last);
    let places = places.as_primitive_opt::<UInt32Type>().cloned();
    (batch, places)
}

/// A column as the type that was planned. Only names and nullability within nested types differ, as
/// when a list of one function goes into another's place.
pub(super) fn conform(column: ArrayRef, data_type: &DataType) -> Result<ArrayRef> {
    if column.data_type() == data_type {
        return Ok(column);
    }
    Ok(cast(&column, data_type)?)
}

/// A batch that may have rows and no columns.
pub(crate) fn new_batch(
    schema: &SchemaRef,
    columns: Vec<ArrayRef>,
    rows: usize,
) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}

fn filter(batch: &RecordBatch, expr: &Arc<dyn PhysicalExpr>) -> Result<RecordBatch> {
    let mask = match expr.evaluate(batch)? {
        ColumnarValue::Scalar(value) => value.to_array_of_size(batch.num_rows())?,
        ColumnarValue::Array(array) => array,
    };
    let Some(mask) = mask.as_boolean_opt() else {
        return exec_err!("a filter gave {} instead of true or false", mask.data_type());
    };
    // NULL is not true.
    let mask = if mask.null_count() > 0 { prep_null_mask_filter(mask) } else { mask.clone() };
    if mask.true_count() == batch.num_rows() {
        return Ok(batch.clone());
    }
    Ok(filter_record_batch(batch, &mask)?)
}
