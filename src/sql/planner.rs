//! SQL text to plan.

use datafusion::sql::planner::SqlToRel;
use datafusion::sql::sqlparser::ast::Statement;

use super::QueryPlan;
use super::analyze::analyze;
use super::build::build;
use super::catalog::{Catalog, QueryRequest};
use super::error::SqlError;
use super::messages::{mentioned_function, planning_error};
use super::names::{Over, resolve};
use super::output::{named_output, storable_output, unique_names};
use super::parse::parse;
use super::refuse::refuse_unsupported;
use super::registry::{Context, Functions};
use super::rehearse::rehearse;
use super::spelling::respell;

/// Plans a query over what `catalog` knows. Other queries that it reads must be planned before it:
/// [`relations`](super::relations) says which they are.
///
/// # Errors
/// [`SqlError`]: a syntax error, an unknown name (with the nearest known one), or something that a
/// streaming query cannot do, or not in this output mode, with the reason and the position.
pub fn plan(request: &QueryRequest<'_>, catalog: &Catalog<'_>) -> Result<QueryPlan, SqlError> {
    // A sum of a thousand terms is a tree a thousand levels deep, and the parser's visitors and
    // drops recurse through it: more than the stack of an ordinary worker thread holds.
    std::thread::scope(|scope| {
        let planning = std::thread::Builder::new()
            .name(format!("plan-{}", request.name))
            .stack_size(PLANNING_STACK)
            .spawn_scoped(scope, || plan_here(request, catalog));
        match planning.map(|thread| thread.join()) {
            Ok(Ok(planned)) => planned,
            // A panic in a library is an error in the query as far as its author is concerned.
            Ok(Err(_)) => Err(SqlError::new(
                "the planner failed at this query, which is a fault of the planner",
            )
            .hint("please report it with the query; writing it in a simpler way may help")),
            Err(error) => Err(SqlError::new(format!("no thread to plan the query in: {error}"))),
        }
    })
}

/// Stack for planning, in bytes; only what is used becomes memory.
const PLANNING_STACK: usize = 64 << 20;

fn plan_here(request: &QueryRequest<'_>, catalog: &Catalog<'_>) -> Result<QueryPlan, SqlError> {
    let mut query = parse(request.sql)?;
    refuse_unsupported(&query)?;
    let resolved = resolve(&mut query, catalog, Functions::get(), Over::Streams)?;
    let landmarks = resolved.landmarks;
    respell(&mut query)?;
    named_output(&query)?;

    let context = Context::new(&resolved.tables);
    let statement = Statement::Query(Box::new(query));
    let planned = SqlToRel::new(&context)
        .sql_statement_to_plan(statement)
        .and_then(storable_output)
        .and_then(|planned| analyze(planned, &context.shared_options()))
        // Coercion may have given functions other types.
        .and_then(storable_output)
        .map_err(|error| planning_error(&error, &landmarks))?;
    unique_names(planned.schema())?;

    let located = |error: SqlError| {
        let location = error.location.or_else(|| mentioned_function(&error.message, &landmarks));
        error.at_location(location)
    };
    let plan = build(request, catalog, &landmarks, &planned).map_err(located)?;
    rehearse(&plan).map_err(located)?;
    Ok(plan)
}

/// Plans over sources alone, in append mode.
#[cfg(test)]
pub(crate) fn plan_append(
    name: &str,
    sql: &str,
    sources: &[super::SourceTable],
) -> Result<QueryPlan, SqlError> {
    let request = QueryRequest { name, sql, ..QueryRequest::default() };
    plan(&request, &Catalog { sources, ..Catalog::default() })
}
