//! A plan tried on one row: what cannot be compiled or gives another type than was planned is found
//! now, not by the first batch.

use std::sync::Arc;

use arrow::array::{ArrayRef, PrimitiveArray, RecordBatch, new_null_array};
use arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
use datafusion::common::DataFusionError;

use super::chain::{new_batch, nullable_schema};
use super::marks::is_time;
use super::messages::readable;
use super::{Origin, QueryPlan, SqlError, Target};
use crate::operator::{Operator, OperatorError};

/// Runs the plan on one row for each feed, in which every time is the epoch and all else NULL.
///
/// # Errors
/// Whatever fails, in words for the query's author.
pub(super) fn rehearse(plan: &QueryPlan) -> Result<(), SqlError> {
    let mut operators: Vec<Box<dyn Operator>> = vec![];
    for operator in &plan.operators {
        operators.push(operator.operator().map_err(unsupported)?);
    }
    let mut output = vec![];
    for feed in plan.feeds.iter().filter(|feed| !matches!(feed.from, Origin::Operator(_))) {
        let row =
            one_row(&nullable_schema(&feed.input)).map_err(|error| failed(&error.to_string()))?;
        // The feed's own columns, one after the other, in place of its origin's.
        let own = super::FeedPlan {
            from: Origin::Operator(0),
            reads: (0..row.num_columns()).collect(),
            ..feed.clone()
        };
        let rows = own.bind(&plan.name, &row.schema())?.apply(&row)?;
        deliver(plan, &mut operators, feed.to, rows, &mut output)?;
    }
    for index in 0..operators.len() {
        let mut rows = vec![];
        let operator = &mut operators[index];
        operator.snapshot().map_err(unsupported)?;
        operator.trigger(&mut rows).map_err(unsupported)?;
        operator.advance(i64::MAX, &mut rows).map_err(unsupported)?;
        for feed in plan.feeds.iter().filter(|feed| feed.from == Origin::Operator(index)) {
            let mut bound = feed.bind(&plan.name, &plan.operators[index].output_schema())?;
            for batch in &rows {
                let rows = bound.apply(batch)?;
                deliver(plan, &mut operators, feed.to, rows, &mut output)?;
            }
        }
    }
    if let Some(finish) = &plan.finish {
        output = finish.bind(&plan.name, &plan.output_schema)?.apply(&output)?;
    }
    for rows in output {
        if rows.schema() != plan.output_schema {
            return Err(SqlError::new(format!(
                "the query gives {} where {} was planned",
                rows.schema(),
                plan.output_schema
            )));
        }
    }
    Ok(())
}

fn deliver(
    plan: &QueryPlan,
    operators: &mut [Box<dyn Operator>],
    to: Target,
    rows: RecordBatch,
    output: &mut Vec<RecordBatch>,
) -> Result<(), SqlError> {
    let (index, input) = match to {
        Target::Output => {
            output.push(rows);
            return Ok(());
        }
        Target::Operator { index, input } => (index, input),
    };
    let mut router = plan.operators[index].router(input).map_err(unsupported)?;
    let mut out = vec![];
    for part in router.route(&rows, 1).map_err(unsupported)?.parts.into_iter().flatten() {
        operators[index].rows(input, &part, &mut out).map_err(unsupported)?;
    }
    // What comes out at once.
    for feed in plan.feeds.iter().filter(|feed| feed.from == Origin::Operator(index)) {
        for batch in &out {
            let rows = feed.bind(&plan.name, &batch.schema())?.apply(batch)?;
            deliver(plan, operators, feed.to, rows, output)?;
        }
    }
    Ok(())
}

fn failed(error: &str) -> SqlError {
    SqlError::new(readable(error))
}

fn unsupported(error: OperatorError) -> SqlError {
    failed(&error.to_string())
}

/// One row: the epoch in every time, NULL in all else.
fn one_row(schema: &SchemaRef) -> Result<RecordBatch, DataFusionError> {
    let columns = schema
        .fields()
        .iter()
        .map(|field| {
            if is_time(field.data_type()) {
                let epoch = PrimitiveArray::<TimestampMicrosecondType>::from_value(0, 1);
                return Arc::new(epoch.with_timezone("UTC")) as ArrayRef;
            }
            new_null_array(field.data_type(), 1)
        })
        .collect();
    new_batch(schema, columns, 1)
}
