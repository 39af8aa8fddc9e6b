//! SQL text to plan.

use std::sync::Arc;

use arrow::array::{ArrayRef, PrimitiveArray, new_null_array};
use arrow::datatypes::{Field, TimestampMicrosecondType};
use datafusion::common::DFSchemaRef;
use datafusion::logical_expr::{Aggregate, LogicalPlan};
use datafusion::sql::planner::SqlToRel;
use datafusion::sql::sqlparser::ast::Statement;

use super::analyze::analyze;
use super::chain::{Chain, StepKind, new_batch, nullable_schema};
use super::error::SqlError;
use super::messages::{mentioned_function, planning_error, readable};
use super::names::{resolve, source_of};
use super::output::{named_output, output_schema, storable_output, unique_names};
use super::parse::parse;
use super::refuse::refuse_unsupported;
use super::registry::{Context, Functions, timestamp_type};
use super::spelling::respell;
use super::window_clause::{Landmarks, rewrite_windows};
use super::window_plan::{state_text, window_plan};
use super::{BoundQuery, MapStage, QueryPlan, SourceTable, Stage, hash};
use crate::aggregate::{AggregateError, WindowState};

/// Plans the query `name`.
///
/// # Errors
/// [`SqlError`]: a syntax error, an unknown name (with the nearest known one), or something that a
/// streaming query cannot do, with the reason and the position.
pub fn plan(name: &str, sql: &str, sources: &[SourceTable]) -> Result<QueryPlan, SqlError> {
    // A sum of a thousand terms is a tree a thousand levels deep, and the parser's visitors and
    // drops recurse through it: more than the stack of an ordinary worker thread holds.
    std::thread::scope(|scope| {
        let planning = std::thread::Builder::new()
            .name(format!("plan-{name}"))
            .stack_size(PLANNING_STACK)
            .spawn_scoped(scope, || plan_here(name, sql, sources));
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

fn plan_here(name: &str, sql: &str, sources: &[SourceTable]) -> Result<QueryPlan, SqlError> {
    let mut query = parse(sql)?;
    refuse_unsupported(&query)?;
    let source = source_of(&query, sources)?;
    let mut landmarks = rewrite_windows(&mut query)?;
    resolve(&mut query, source, Functions::get(), &mut landmarks)?;
    respell(&mut query)?;
    named_output(&query)?;

    let context = Context::new(&source.name, Arc::clone(&source.schema));
    let statement = Statement::Query(Box::new(query));
    let planned = SqlToRel::new(&context)
        .sql_statement_to_plan(statement)
        .and_then(storable_output)
        .and_then(|planned| analyze(planned, &context.shared_options()))
        .map_err(|error| planning_error(&error, &landmarks))?;
    unique_names(planned.schema())?;

    let mut parts = Parts { landmarks, ..Parts::default() };
    parts.walk(&planned)?;
    parts.into_plan(name, source, &planned)
}

/// The plan taken apart.
#[derive(Default)]
struct Parts {
    landmarks: Landmarks,
    scan: Option<(Vec<usize>, DFSchemaRef)>,
    before: Option<Chain>,
    aggregate: Option<Aggregate>,
    after: Option<Chain>,
}

impl Parts {
    fn walk(&mut self, plan: &LogicalPlan) -> Result<(), SqlError> {
        match plan {
            LogicalPlan::Projection(projection) => {
                self.walk(&projection.input)?;
                self.push(&projection.input, StepKind::Project(projection.expr.clone()), plan)
            }
            LogicalPlan::Filter(filter) => {
                self.walk(&filter.input)?;
                self.push(&filter.input, StepKind::Filter(filter.predicate.clone()), plan)
            }
            LogicalPlan::SubqueryAlias(alias) => {
                self.walk(&alias.input)?;
                // The same columns by other names.
                if let Some(chain) = self.after.as_mut().or(self.before.as_mut()) {
                    chain.output = Arc::clone(plan.schema());
                }
                Ok(())
            }
            LogicalPlan::Aggregate(aggregate) => {
                self.walk(&aggregate.input)?;
                if self.aggregate.is_some() {
                    return Err(SqlError::new(
                        "aggregating what is aggregated already is not supported yet",
                    )
                    .hint("write the first aggregation to a table and aggregate where it is read")
                    .at_location(self.landmarks.group_by));
                }
                self.aggregate = Some(aggregate.clone());
                self.after = Some(Chain::new(Arc::clone(&aggregate.schema)));
                Ok(())
            }
            LogicalPlan::TableScan(scan) => {
                let all = || (0..scan.source.schema().fields().len()).collect();
                let reads = scan.projection.clone().unwrap_or_else(all);
                self.scan = Some((reads, Arc::clone(&scan.projected_schema)));
                self.before = Some(Chain::new(Arc::clone(&scan.projected_schema)));
                Ok(())
            }
            other => {
                let what = other.display().to_string();
                let what = what.split([':', ' ']).next().unwrap_or_default().to_owned();
                Err(SqlError::new(format!("{what} is not supported in a streaming query")))
            }
        }
    }

    fn push(
        &mut self,
        input: &LogicalPlan,
        kind: StepKind,
        plan: &LogicalPlan,
    ) -> Result<(), SqlError> {
        let chain = self.after.as_mut().or(self.before.as_mut());
        let Some(chain) = chain else {
            return Err(SqlError::new("the query reads no source").hint("add FROM a source"));
        };
        chain.push(Arc::clone(input.schema()), kind, Arc::clone(plan.schema()));
        Ok(())
    }

    fn into_plan(
        self,
        name: &str,
        source: &SourceTable,
        planned: &LogicalPlan,
    ) -> Result<QueryPlan, SqlError> {
        let landmarks = self.landmarks.clone();
        let (Some((reads, input)), Some(before)) = (self.scan, self.before) else {
            return Err(SqlError::new("the query reads no source").hint("add FROM a source"));
        };
        let output_schema = output_schema(planned.schema());
        let (stage, fingerprint) = match (self.aggregate, self.after) {
            (Some(aggregate), Some(after)) => {
                let window = window_plan(name, source, before, &aggregate, after, &landmarks)?;
                let text = state_text(&window, source, &input)
                    .map_err(|error| planning_error(&error, &landmarks))?;
                (Stage::Windowed(Box::new(window)), hash::hex(&text))
            }
            // There is no state that could not fit.
            _ => (Stage::Stateless(MapStage { chain: before }), hash::hex("stateless")),
        };
        let plan = QueryPlan {
            name: name.to_owned(),
            source: source.name.clone(),
            reads,
            output_schema,
            stage,
            fingerprint,
            input,
        };
        rehearse(&plan, source).map_err(|error| {
            let location =
                error.location.or_else(|| mentioned_function(&error.message, &landmarks));
            error.at_location(location)
        })?;
        let mut plan = plan;
        sort_reads(&mut plan);
        Ok(plan)
    }
}

/// Runs the plan on one row in which everything but the event time is NULL: what cannot be compiled
/// or gives another type than was planned is found now, not by the first batch.
fn rehearse(plan: &QueryPlan, source: &SourceTable) -> Result<(), SqlError> {
    let input = nullable_schema(&plan.input);
    let is_event_time = |field: &Field| {
        source.event_time.as_ref().is_some_and(|name| name.eq_ignore_ascii_case(field.name()))
    };
    let columns = input
        .fields()
        .iter()
        .map(|field| {
            if is_event_time(field) && *field.data_type() == timestamp_type() {
                let epoch = PrimitiveArray::<TimestampMicrosecondType>::from_value(0, 1);
                return Arc::new(epoch.with_timezone("UTC")) as ArrayRef;
            }
            new_null_array(field.data_type(), 1)
        })
        .collect();
    let failed = |error: String| SqlError::new(readable(&error));
    let row = new_batch(&input, columns, 1).map_err(|error| failed(error.to_string()))?;
    match (plan.bind(input)?, &plan.stage) {
        (BoundQuery::Stateless(mut map), _) => {
            map.apply(&row)?;
        }
        (BoundQuery::Windowed(mut reader), Stage::Windowed(window)) => {
            let unsupported = |error: AggregateError| failed(error.to_string());
            let partial = reader.partial(&row).map_err(unsupported)?;
            let mut state = WindowState::new(window).map_err(unsupported)?;
            state.merge(&partial.rows).map_err(unsupported)?;
            state.snapshot().map_err(unsupported)?;
            for batch in state.advance(i64::MAX).map_err(unsupported)? {
                if batch.schema() != plan.output_schema {
                    return Err(SqlError::new(format!(
                        "the query gives {} where {} was planned",
                        batch.schema(),
                        plan.output_schema
                    )));
                }
            }
        }
        (BoundQuery::Windowed(_), Stage::Stateless(_)) => {}
    }
    Ok(())
}

/// `reads` is promised in ascending order. Expressions find columns by name, but the input's order
/// is that of its schema: both are sorted together.
fn sort_reads(plan: &mut QueryPlan) {
    debug_assert!(plan.reads.is_sorted(), "DataFusion projects scans in the table's order");
    plan.reads.sort_unstable();
}
