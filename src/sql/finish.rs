//! ORDER BY and LIMIT of a query in complete mode: what is done to all rows of a trigger together.

use std::sync::Arc;

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::{SortOptions, concat_batches, take_record_batch};
use arrow::datatypes::SchemaRef;
use arrow::row::{RowConverter, SortField};
use datafusion::common::{DFSchemaRef, Result};
use datafusion::logical_expr::SortExpr;
use datafusion::physical_expr::PhysicalExpr;

use super::SqlError;
use super::chain::{BoundChain, Chain, new_batch, nullable_schema, physical_expr};
use super::functions::BatchClock;

/// What is done to all rows of a trigger, before they go to sinks.
#[derive(Debug, Clone)]
pub struct FinishPlan {
    /// The rows that the query's feeds give.
    pub(crate) input: DFSchemaRef,
    pub(crate) steps: Vec<FinishStep>,
}

#[derive(Debug, Clone)]
pub(crate) enum FinishStep {
    Sort { input: DFSchemaRef, by: Vec<SortExpr> },
    Limit { skip: usize, fetch: Option<usize> },
    Map(Chain),
}

/// A [`FinishPlan`] ready to run.
pub struct Finish {
    query: String,
    input: SchemaRef,
    output: SchemaRef,
    clock: BatchClock,
    steps: Vec<BoundStep>,
}

enum BoundStep {
    Sort { by: Vec<(Arc<dyn PhysicalExpr>, SortOptions)>, converter: RowConverter },
    Limit { skip: usize, fetch: Option<usize> },
    Map(BoundChain),
}

impl FinishPlan {
    /// Prepares it for the query `query`, whose sinks want rows of `output`.
    ///
    /// # Errors
    /// An expression cannot be compiled, or cannot be sorted by.
    pub fn bind(&self, query: &str, output: &SchemaRef) -> Result<Finish, SqlError> {
        let clock = BatchClock::default();
        let steps =
            self.steps.iter().map(|step| step.bind(&clock)).collect::<Result<_>>().map_err(
                |error| SqlError::new(format!("query '{query}': {}", error.strip_backtrace())),
            )?;
        Ok(Finish {
            query: query.to_owned(),
            input: nullable_schema(&self.input),
            output: Arc::clone(output),
            clock,
            steps,
        })
    }
}

impl FinishStep {
    fn bind(&self, clock: &BatchClock) -> Result<BoundStep> {
        Ok(match self {
            Self::Sort { input, by } => {
                let mut bound = vec![];
                let mut fields = vec![];
                for sort in by {
                    let expr = physical_expr(&sort.expr, input, clock)?;
                    let options =
                        SortOptions { descending: !sort.asc, nulls_first: sort.nulls_first };
                    let data_type = expr.data_type(input.as_arrow())?;
                    fields.push(SortField::new_with_options(data_type, options));
                    bound.push((expr, options));
                }
                BoundStep::Sort { by: bound, converter: RowConverter::new(fields)? }
            }
            Self::Limit { skip, fetch } => BoundStep::Limit { skip: *skip, fetch: *fetch },
            Self::Map(chain) => BoundStep::Map(chain.bind(clock)?),
        })
    }
}

impl Finish {
    /// Sorts, limits and projects all rows of one trigger: `batches` in any order, as the query's
    /// feeds gave them. What comes out has the query's output schema and is in order.
    ///
    /// # Errors
    /// An expression cannot be evaluated; the error names the query.
    pub fn apply(&self, batches: &[RecordBatch]) -> Result<Vec<RecordBatch>, SqlError> {
        self.clock.tick();
        self.evaluate(batches).map_err(|error| {
            SqlError::new(format!("query '{}': {}", self.query, error.strip_backtrace()))
        })
    }

    fn evaluate(&self, batches: &[RecordBatch]) -> Result<Vec<RecordBatch>> {
        let mut rows = concat_batches(&self.input, batches)?;
        for step in &self.steps {
            rows = match step {
                BoundStep::Sort { by, converter } => sort(&rows, by, converter)?,
                BoundStep::Limit { skip, fetch } => {
                    let skip = (*skip).min(rows.num_rows());
                    let left = rows.num_rows() - skip;
                    rows.slice(skip, fetch.map_or(left, |fetch| fetch.min(left)))
                }
                BoundStep::Map(chain) => chain.apply(rows, None)?.0,
            };
        }
        if rows.num_rows() == 0 {
            return Ok(vec![]);
        }
        Ok(vec![new_batch(&self.output, rows.columns().to_vec(), rows.num_rows())?])
    }
}

/// Rows in order; equal ones stay as they were.
fn sort(
    rows: &RecordBatch,
    by: &[(Arc<dyn PhysicalExpr>, SortOptions)],
    converter: &RowConverter,
) -> Result<RecordBatch> {
    let columns = by
        .iter()
        .map(|(expr, _)| expr.evaluate(rows)?.into_array(rows.num_rows()))
        .collect::<Result<Vec<_>>>()?;
    let encoded = converter.convert_columns(&columns)?;
    let mut order: Vec<u32> = (0..rows.num_rows() as u32).collect();
    order.sort_by(|a, b| encoded.row(*a as usize).cmp(&encoded.row(*b as usize)));
    Ok(take_record_batch(rows, &UInt32Array::from(order))?)
}
