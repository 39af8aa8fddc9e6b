//! SELECT: its tables opened, its plan made, its rows read.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
use datafusion::execution::TaskContext;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlanBuilder;
use datafusion::physical_plan::{ExecutionPlan, SendableRecordBatchStream, execute_stream};
use datafusion::sql::sqlparser::ast::{Expr, Query, SetExpr};
use futures::StreamExt as _;

use super::LakeSqlError;
use super::session::World;
use super::statement::TravelQuery;
use super::tables::{self, At};
use super::travel::{AsOf, Mentioned};
use super::views;
use crate::event_time::wall_now_us;
use crate::sql::{BatchPlan, BatchTable, SqlError, parse_query, plan_batch};

/// A query and the tables that it reads, all by their keys.
#[derive(Debug, Clone)]
pub(super) struct Bound {
    pub(super) query: Box<Query>,
    pub(super) tables: Vec<Mentioned>,
}

/// A query that can be run.
pub(super) struct Runnable {
    pub(super) physical: Arc<dyn ExecutionPlan>,
    pub(super) logical: String,
    pub(super) schema: SchemaRef,
    pub(super) notices: Vec<String>,
}

/// Puts views into a query, and times that it travels to in the place of expressions.
pub(super) async fn bind(
    query: TravelQuery,
    world: &World,
    state: &SessionState,
) -> Result<Bound, LakeSqlError> {
    let TravelQuery { mut query, travel } = query;
    let mut tables = travel.mentions(&mut query);
    for table in &mut tables {
        if let Some(AsOf::Timestamp(expr)) = &table.as_of {
            let time = time_of(expr, state, table).await?;
            table.as_of = Some(AsOf::Time(time));
        }
    }
    views::expand(&mut query, &world.views(), &mut tables);
    Ok(Bound { query, tables })
}

/// Opens the tables and plans the query.
pub(super) async fn plan(
    bound: Bound,
    world: &World,
    state: &SessionState,
) -> Result<BatchPlan, LakeSqlError> {
    let ctes = views::ctes(&bound.query);
    let mut tables = Vec::with_capacity(bound.tables.len());
    for table in &bound.tables {
        let parts: Vec<&str> = table.parts.iter().map(String::as_str).collect();
        let entry = match world.catalog.resolve_parts(&parts) {
            Ok(entry) => entry,
            // The name of a subquery of WITH, and of no table.
            Err(_) if views::is_one(&ctes, &table.key) => continue,
            Err(error) => return Err(LakeSqlError::catalog(error, at(table))),
        };
        let version = match table.as_of {
            Some(AsOf::Version(version)) => At::Version(version),
            Some(AsOf::Time(us)) => At::Time(us),
            Some(AsOf::Timestamp(_)) | None => At::Newest,
        };
        match tables::provider(&entry, version, state).await {
            Ok(provider) => tables.push(BatchTable { name: table.key.clone(), provider }),
            // A table that is not there yet, by the name of a subquery that is meant.
            Err(_) if views::is_one(&ctes, &table.key) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(plan_batch(*bound.query, &tables, wall_now_us())?)
}

/// Makes the query ready to run. `max_rows`: how many rows are of interest.
pub(super) async fn prepare(
    plan: BatchPlan,
    state: &SessionState,
    max_rows: Option<usize>,
) -> Result<Runnable, LakeSqlError> {
    let BatchPlan { plan, schema, notices } = plan;
    let plan = match max_rows {
        // One more, to know whether there are more.
        Some(rows) => {
            LogicalPlanBuilder::from(plan).limit(0, Some(rows.saturating_add(1)))?.build()?
        }
        None => plan,
    };
    let plan = state.optimize(&plan)?;
    let logical = plan.display_indent().to_string();
    let physical = state.query_planner().create_physical_plan(&plan, state).await?;
    Ok(Runnable { physical, logical, schema, notices })
}

/// Rows of a query, with the types and names that its author sees.
pub(super) struct QueryRows {
    stream: SendableRecordBatchStream,
    schema: SchemaRef,
}

impl Runnable {
    pub(super) fn run(&self, state: &SessionState) -> Result<QueryRows, LakeSqlError> {
        let context = Arc::new(TaskContext::from(state));
        let stream = execute_stream(Arc::clone(&self.physical), context)?;
        Ok(QueryRows { stream, schema: Arc::clone(&self.schema) })
    }
}

impl QueryRows {
    pub(super) async fn next(&mut self) -> Result<Option<RecordBatch>, LakeSqlError> {
        let Some(batch) = self.stream.next().await else { return Ok(None) };
        let batch = batch?;
        let columns = batch.columns().iter().zip(self.schema.fields()).map(|(column, field)| {
            if column.data_type() == field.data_type() {
                Ok(Arc::clone(column))
            } else {
                cast(column, field.data_type())
            }
        });
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        let options =
            arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let schema = Arc::clone(&self.schema);
        Ok(Some(RecordBatch::try_new_with_options(schema, columns, &options)?))
    }
}

/// The point in time, in microseconds, that an expression without columns gives.
pub(super) async fn time_of(
    expr: &Expr,
    state: &SessionState,
    table: &Mentioned,
) -> Result<i64, LakeSqlError> {
    let wrong = |message: String| {
        LakeSqlError::Sql(
            SqlError::new(message)
                .hint("write TIMESTAMP AS OF '2026-11-21 10:00:00' (UTC), or an expression")
                .at_location(at(table)),
        )
    };
    let mut query = parse_query("SELECT CAST(NULL AS TIMESTAMP) AS time")?;
    if let SetExpr::Select(select) = query.body.as_mut()
        && let Some(item) = select.projection.first_mut()
        && let datafusion::sql::sqlparser::ast::SelectItem::ExprWithAlias {
            expr: Expr::Cast { expr: inner, .. },
            ..
        } = item
    {
        **inner = expr.clone();
    }
    let plan = plan_batch(query, &[], wall_now_us())?;
    let mut rows = prepare(plan, state, None).await?.run(state)?;
    let first = rows.next().await?;
    let time = first.as_ref().and_then(|batch| {
        let times = batch.column(0).as_primitive_opt::<TimestampMicrosecondType>()?;
        (times.len() == 1 && times.is_valid(0)).then(|| times.value(0))
    });
    time.ok_or_else(|| wrong(format!("{expr} is not a time")))
}

fn at(table: &Mentioned) -> Option<(usize, usize)> {
    let start = table.span.start;
    let line = usize::try_from(start.line).ok()?;
    let column = usize::try_from(start.column).ok()?;
    (line > 0).then_some((line, column))
}
