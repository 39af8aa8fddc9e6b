//! Binding: a feed and the schema of real batches become something that runs.

use arrow::array::{RecordBatch, UInt32Array};
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::DataFusionError;

use super::chain::{BoundChain, conform, new_batch, nullable_schema};
use super::error::suggestion;
use super::functions::BatchClock;
use super::{FeedPlan, Origin, SqlError};

impl FeedPlan {
    /// Prepares the feed for its origin's batches. One bound feed serves one thread.
    ///
    /// `input` is the schema of those batches. A source's may have more columns than the feed
    /// reads, in any order: they are found by name. Those of a query and of an operator are its
    /// output, column by column.
    ///
    /// # Errors
    /// A column that the feed reads is missing or of another type.
    pub fn bind(&self, query: &str, input: &SchemaRef) -> Result<BoundMap, SqlError> {
        let columns = match &self.from {
            Origin::Source(_) => self.columns(query, input)?,
            Origin::Query(_) | Origin::Operator(_) => self.reads.clone(),
        };
        let clock = BatchClock::default();
        let chain = self.chain.bind(&clock).map_err(|error| {
            SqlError::new(format!("query '{query}': {}", error.strip_backtrace()))
        })?;
        Ok(BoundMap {
            query: query.to_owned(),
            columns,
            input: nullable_schema(&self.input),
            chain,
            clock,
            output: self.output.clone(),
        })
    }

    fn columns(&self, query: &str, input: &SchemaRef) -> Result<Vec<usize>, SqlError> {
        let wanted = self.input.as_arrow().fields();
        wanted
            .iter()
            .map(|field| {
                let Some((index, found)) = input.column_with_name(field.name()) else {
                    let names = input.fields().iter().map(|field| field.name().as_str());
                    return Err(SqlError::new(format!(
                        "query '{query}' reads column '{}', which its batches do not have",
                        field.name()
                    ))
                    .hint(suggestion(field.name(), names, "columns")));
                };
                if !same_type(found.data_type(), field.data_type()) {
                    return Err(SqlError::new(format!(
                        "query '{query}' reads column '{}' as {}, but its batches have {}",
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

/// A feed, bound to the batches of its origin.
pub struct BoundMap {
    query: String,
    columns: Vec<usize>,
    input: SchemaRef,
    chain: BoundChain,
    clock: BatchClock,
    output: SchemaRef,
}

impl BoundMap {
    /// Filters and projects one batch. The result has the columns that the feed's end
    /// expects.
    ///
    /// # Errors
    /// An expression cannot be evaluated; the error names the query.
    pub fn apply(&mut self, batch: &RecordBatch) -> Result<RecordBatch, SqlError> {
        self.apply_traced(batch, None).map(|(rows, _)| rows)
    }

    /// The same for rows of which it is known where they stood in some batch that this one came
    /// of: what is known of those that are left comes with them. Behind a join with a table
    /// nothing is.
    ///
    /// # Errors
    /// As for [`apply`](Self::apply).
    pub fn apply_traced(
        &mut self,
        batch: &RecordBatch,
        places: Option<UInt32Array>,
    ) -> Result<(RecordBatch, Option<UInt32Array>), SqlError> {
        self.clock.tick();
        self.evaluate(batch, places).map_err(|error| {
            SqlError::new(format!("query '{}': {}", self.query, error.strip_backtrace()))
        })
    }

    fn evaluate(
        &self,
        batch: &RecordBatch,
        places: Option<UInt32Array>,
    ) -> Result<(RecordBatch, Option<UInt32Array>), DataFusionError> {
        let columns = self
            .columns
            .iter()
            .zip(self.input.fields())
            .map(|(index, field)| conform(batch.column(*index).clone(), field.data_type()))
            .collect::<Result<_, _>>()?;
        let input = new_batch(&self.input, columns, batch.num_rows())?;
        let (output, places) = self.chain.apply(input, places)?;
        let columns = output
            .columns()
            .iter()
            .zip(self.output.fields())
            .map(|(column, field)| conform(column.clone(), field.data_type()))
            .collect::<Result<_, _>>()?;
        Ok((new_batch(&self.output, columns, output.num_rows())?, places))
    }

    /// The schema of what [`apply`](Self::apply) returns.
    pub fn output_schema(&self) -> SchemaRef {
        self.output.clone()
    }
}
