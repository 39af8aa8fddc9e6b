//! One batch query: SQL over tables as they are now, with the dialect and the functions of the
//! streaming queries and without what a stream cannot do: window functions, subqueries in
//! expressions, every kind of join and set operation.
//!
//! Who calls says what the tables are; DataFusion's own optimizer and executor run the plan.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::common::DFSchema;
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::planner::SqlToRel;
use datafusion::sql::sqlparser::ast::{
    GroupByExpr, LimitClause, Query, Select, SetExpr, Spanned, Statement, TableFactor, Visit,
    Visitor,
};
use datafusion::sql::sqlparser::dialect::Dialect;
use datafusion::sql::sqlparser::tokenizer::Span;

use super::analyze::{coerce, storable_type};
use super::catalog::Catalog;
use super::error::SqlError;
use super::messages::planning_error;
use super::names::{Over, resolve, shown_title};
use super::registry::{Context, Functions};
use super::spelling::respell;
use super::{SourceTable, dialect};

/// A table that a batch query can read, by the name that the query has for it.
#[derive(Debug, Clone)]
pub(crate) struct BatchTable {
    pub name: String,
    pub provider: Arc<dyn TableProvider>,
}

/// A batch query that is ready to be optimized and run.
#[derive(Debug, Clone)]
pub(crate) struct BatchPlan {
    pub plan: LogicalPlan,
    /// The columns as the query's author sees them: with Spark's names, of which two may be equal,
    /// and of types that a table can hold where there are such.
    pub schema: SchemaRef,
    /// What the planner read into the query that its text does not say.
    pub notices: Vec<String>,
}

/// The dialect of the project's SQL, for parsers of statements around queries.
pub(crate) fn spark_dialect() -> &'static dyn Dialect {
    &dialect::SparkDialect
}

/// The names of all functions that a batch query can call, sorted.
pub(crate) fn function_names() -> Vec<String> {
    let functions = Functions::get();
    let mut names: Vec<String> =
        functions.names().chain(functions.window_names()).map(str::to_owned).collect();
    names.sort();
    names.dedup();
    names
}

/// Plans a query. `now_us`: what `current_timestamp()` is to give, in microseconds.
///
/// # Errors
/// An unknown name (with the nearest known one), types that do not go together, something that
/// is not supported; with the position.
pub(crate) fn plan_batch(
    mut query: Query,
    tables: &[BatchTable],
    now_us: i64,
) -> Result<BatchPlan, SqlError> {
    refuse(&query)?;
    let sources: Vec<SourceTable> = tables
        .iter()
        .map(|table| SourceTable {
            name: table.name.clone(),
            schema: table.provider.schema(),
            event_time: None,
            watermark_delay_us: None,
        })
        .collect();
    let catalog = Catalog { sources: &sources, ..Catalog::default() };
    let resolved = resolve(&mut query, &catalog, Functions::get(), Over::Tables)?;
    let landmarks = resolved.landmarks;
    respell(&mut query)?;
    let sources = tables
        .iter()
        .map(|table| (table.name.clone(), provider_as_source(Arc::clone(&table.provider))));
    let context = Context::over(sources.collect::<HashMap<_, _>>());
    let plan = SqlToRel::new(&context)
        .sql_statement_to_plan(Statement::Query(Box::new(query)))
        .and_then(|plan| coerce(plan, &context.shared_options(), now_us))
        .map_err(|error| planning_error(&error, &landmarks))?;
    let schema = shown_schema(plan.schema());
    Ok(BatchPlan { plan, schema, notices: resolved.notices })
}

fn shown_schema(schema: &DFSchema) -> SchemaRef {
    let fields: Vec<Field> = schema
        .fields()
        .iter()
        .map(|field| {
            let data_type = field.data_type();
            let data_type = storable_type(data_type).unwrap_or_else(|| data_type.clone());
            Field::new(shown_title(field.name()), data_type, true)
        })
        .collect();
    Arc::new(Schema::new(fields))
}

/// Refuses what no part of the planner knows, in words.
fn refuse(query: &Query) -> Result<(), SqlError> {
    match query.visit(&mut Refuse) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

struct Refuse;

fn refused(what: &str, instead: &str, span: Span) -> ControlFlow<SqlError> {
    ControlFlow::Break(SqlError::new(format!("{what} is not supported")).hint(instead).at(span))
}

impl Visitor for Refuse {
    type Break = SqlError;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<SqlError> {
        if let Some(with) = query.with.as_ref().filter(|with| with.recursive) {
            return refused("WITH RECURSIVE", "write the query without recursion", with.span());
        }
        match query.body.as_ref() {
            SetExpr::Select(_)
            | SetExpr::Query(_)
            | SetExpr::Values(_)
            | SetExpr::SetOperation { .. } => {}
            other => {
                return refused("this kind of query", "write a SELECT", other.span());
            }
        }
        if let Some(LimitClause::LimitOffset { limit_by, .. }) = &query.limit_clause
            && let Some(by) = limit_by.first()
        {
            return refused("LIMIT ... BY", "number the rows with row_number()", by.span());
        }
        if !query.locks.is_empty()
            || query.for_clause.is_some()
            || query.settings.is_some()
            || query.format_clause.is_some()
            || !query.pipe_operators.is_empty()
        {
            return refused(
                "a clause after the SELECT",
                "leave out FOR, SETTINGS, FORMAT and |>",
                query.span(),
            );
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<SqlError> {
        let order = select
            .sort_by
            .first()
            .map(|sort| ("SORT BY", sort.span()))
            .or_else(|| select.cluster_by.first().map(|e| ("CLUSTER BY", e.span())))
            .or_else(|| select.distribute_by.first().map(|e| ("DISTRIBUTE BY", e.span())));
        if let Some((what, span)) = order {
            return refused(what, "use ORDER BY; how rows are distributed is the engine's", span);
        }
        let modifiers = match &select.group_by {
            GroupByExpr::All(modifiers) | GroupByExpr::Expressions(_, modifiers) => modifiers,
        };
        if !modifiers.is_empty() {
            return refused(
                "GROUP BY ... WITH ROLLUP or CUBE",
                "write GROUP BY ROLLUP (a, b) or CUBE (a, b)",
                select.group_by.span(),
            );
        }
        let odd = select.top.is_some()
            || select.into.is_some()
            || select.prewhere.is_some()
            || !select.connect_by.is_empty()
            || select.value_table_mode.is_some()
            || select.exclude.is_some();
        if odd {
            return refused(
                "a clause of another SQL dialect",
                "leave out TOP, INTO, PREWHERE, CONNECT BY, AS VALUE and EXCLUDE",
                select.select_token.0.span,
            );
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, table: &TableFactor) -> ControlFlow<SqlError> {
        match table {
            TableFactor::Table { args: Some(_), .. } => refused(
                "a table function",
                "explode goes into the SELECT list or LATERAL VIEW",
                table.span(),
            ),
            TableFactor::Table { sample: Some(_), .. } => {
                refused("TABLESAMPLE", "write WHERE rand() < 0.01", table.span())
            }
            TableFactor::Table { .. }
            | TableFactor::Derived { lateral: false, sample: None, .. }
            | TableFactor::NestedJoin { alias: None, .. } => ControlFlow::Continue(()),
            _ => refused(
                "this kind of table in FROM",
                "name a table, or write a subquery",
                table.span(),
            ),
        }
    }
}
