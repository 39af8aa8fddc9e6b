//! Binding: a plan and the schema of real batches become operators.

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::DataFusionError;

use super::chain::{BoundChain, new_batch, nullable_schema};
use super::error::suggestion;
use super::functions::BatchClock;
use super::{QueryPlan, SqlError, Stage};
use crate::aggregate::PreAggregator;

/// The part of a query that runs beside a reader.
pub enum BoundQuery {
    /// All of a query without state.
    Stateless(BoundMap),
    /// The first half of an aggregation; `aggregate::WindowState` is the second.
    Windowed(Box<PreAggregator>),
}

impl QueryPlan {
    /// Prepares the query for batches of schema `input`, which may have more columns than it reads,
    /// in any order; they are found by name. One bound query serves one thread.
    ///
    /// # Errors
    /// A column that the query reads is missing or of another type.
    pub fn bind(&self, input: SchemaRef) -> Result<BoundQuery, SqlError> {
        let columns = self.columns(&input)?;
        let clock = BatchClock::default();
        match &self.stage {
            Stage::Stateless(map) => {
                let chain = map.chain.bind(&clock).map_err(|error| self.failed(&error))?;
                Ok(BoundQuery::Stateless(BoundMap {
                    query: self.name.clone(),
                    columns,
                    input: nullable_schema(&self.input),
                    chain,
                    clock,
                    output: self.output_schema.clone(),
                }))
            }
            Stage::Windowed(window) => PreAggregator::new(window, columns, &self.input, clock)
                .map(|bound| BoundQuery::Windowed(Box::new(bound)))
                .map_err(|error| SqlError::new(format!("query '{}': {error}", self.name))),
        }
    }

    fn failed(&self, error: &DataFusionError) -> SqlError {
        SqlError::new(format!("query '{}': {}", self.name, error.strip_backtrace()))
    }

    fn columns(&self, input: &SchemaRef) -> Result<Vec<usize>, SqlError> {
        let wanted = self.input.as_arrow().fields();
        wanted
            .iter()
            .map(|field| {
                let Some((index, found)) = input.column_with_name(field.name()) else {
                    let names = input.fields().iter().map(|field| field.name().as_str());
                    return Err(SqlError::new(format!(
                        "query '{}' reads column '{}', which its batches do not have",
                        self.name,
                        field.name()
                    ))
                    .hint(suggestion(field.name(), names, "columns")));
                };
                if !same_type(found.data_type(), field.data_type()) {
                    return Err(SqlError::new(format!(
                        "query '{}' reads column '{}' as {}, but its batches have {}",
                        self.name,
                        field.name(),
                        field.data_type(),
                        found.data_type()
                    )));
                }
                Ok(index)
            })
            .collect()
    }
}

fn same_type(left: &DataType, right: &DataType) -> bool {
    left.equals_datatype(right)
}

/// A query without state, bound to its input.
pub struct BoundMap {
    query: String,
    columns: Vec<usize>,
    input: SchemaRef,
    chain: BoundChain,
    clock: BatchClock,
    output: SchemaRef,
}

impl BoundMap {
    /// Filters and projects one batch. The result has the plan's `output_schema`.
    ///
    /// # Errors
    /// An expression cannot be evaluated; the error names the query.
    pub fn apply(&mut self, batch: &RecordBatch) -> Result<RecordBatch, SqlError> {
        self.clock.tick();
        self.evaluate(batch).map_err(|error| {
            SqlError::new(format!("query '{}': {}", self.query, error.strip_backtrace()))
        })
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<RecordBatch, DataFusionError> {
        let columns = self.columns.iter().map(|index| batch.column(*index).clone()).collect();
        let input = new_batch(&self.input, columns, batch.num_rows())?;
        let output = self.chain.apply(input)?;
        let rows = output.num_rows();
        new_batch(&self.output, output.columns().to_vec(), rows)
    }

    /// The schema of what [`apply`](Self::apply) returns.
    pub fn output_schema(&self) -> SchemaRef {
        self.output.clone()
    }
}
