//! SQL text to plan.

use std::sync::Arc;

use arrow::array::{ArrayRef, PrimitiveArray, RecordBatch, new_null_array};
use arrow::datatypes::{Field, SchemaRef, TimestampMicrosecondType};
use datafusion::common::{DFSchemaRef, DataFusionError};
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
use super::{
    FeedPlan, OperatorKind, OperatorPlan, Origin, OutputMode, QueryPlan, SourceTable, Target, hash,
};
use crate::operator::OperatorError;

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
        let from = Origin::Source(source.name.clone());
        let mut plan = QueryPlan {
            name: name.to_owned(),
            mode: OutputMode::Append,
            output_schema: output_schema.clone(),
            operators: vec![],
            feeds: vec![],
        };
        match (self.aggregate, self.after) {
            (Some(aggregate), Some(after)) => {
                let aggregation = window_plan(name, source, &before, &aggregate, &landmarks)?;
                let text = state_text(&aggregation, &before, source, &input)
                    .map_err(|error| planning_error(&error, &landmarks))?;
                plan.operators.push(OperatorPlan {
                    id: name.to_owned(),
                    kind: OperatorKind::Aggregate(Box::new(aggregation)),
                    fingerprint: hash::hex(&text),
                    inputs: 1,
                });
                plan.feeds.push(FeedPlan {
                    from,
                    to: Target::Operator { index: 0, input: 0 },
                    reads,
                    output: nullable_schema(&before.output),
                    input,
                    chain: before,
                });
                plan.feeds.push(FeedPlan {
                    from: Origin::Operator(0),
                    to: Target::Output,
                    reads: (0..aggregate.schema.fields().len()).collect(),
                    input: aggregate.schema,
                    chain: after,
                    output: output_schema,
                });
            }
            _ => plan.feeds.push(FeedPlan {
                from,
                to: Target::Output,
                reads,
                input,
                chain: before,
                output: output_schema,
            }),
        }
        for feed in &mut plan.feeds {
            debug_assert!(feed.reads.is_sorted(), "DataFusion projects scans in the table's order");
            feed.reads.sort_unstable();
        }
        rehearse(&plan, source).map_err(|error| {
            let location =
                error.location.or_else(|| mentioned_function(&error.message, &landmarks));
            error.at_location(location)
        })?;
        Ok(plan)
    }
}

/// Runs the plan on one row in which everything but the event time is NULL: what cannot be compiled
/// or gives another type than was planned is found now, not by the first batch.
fn rehearse(plan: &QueryPlan, source: &SourceTable) -> Result<(), SqlError> {
    let failed = |error: String| SqlError::new(readable(&error));
    let unsupported = |error: OperatorError| failed(error.to_string());
    let mut operators = vec![];
    for operator in &plan.operators {
        operators.push(operator.operator().map_err(unsupported)?);
    }
    for feed in plan.feeds.iter().filter(|feed| matches!(feed.from, Origin::Source(_))) {
        let row = one_row(&nullable_schema(&feed.input), source)
            .map_err(|error| failed(error.to_string()))?;
        let rows = feed.bind(&plan.name, &row.schema())?.apply(&row)?;
        let Target::Operator { index, input } = feed.to else { continue };
        let mut router = plan.operators[index].router(input).map_err(unsupported)?;
        for part in router.route(&rows, 1).map_err(unsupported)?.parts.into_iter().flatten() {
            operators[index].rows(input, &part, &mut vec![]).map_err(unsupported)?;
        }
    }
    for (index, operator) in operators.iter_mut().enumerate() {
        operator.snapshot().map_err(unsupported)?;
        let mut rows = vec![];
        operator.trigger(&mut rows).map_err(unsupported)?;
        operator.advance(i64::MAX, &mut rows).map_err(unsupported)?;
        for feed in plan.feeds.iter().filter(|feed| feed.from == Origin::Operator(index)) {
            for batch in &rows {
                let out = feed.bind(&plan.name, &batch.schema())?.apply(batch)?;
                if feed.to == Target::Output && out.schema() != plan.output_schema {
                    return Err(SqlError::new(format!(
                        "the query gives {} where {} was planned",
                        out.schema(),
                        plan.output_schema
                    )));
                }
            }
        }
    }
    Ok(())
}

/// One row: the epoch in the event time's column, NULL in all others.
fn one_row(schema: &SchemaRef, source: &SourceTable) -> Result<RecordBatch, DataFusionError> {
    let is_event_time = |field: &Field| {
        source.event_time.as_ref().is_some_and(|name| name.eq_ignore_ascii_case(field.name()))
    };
    let columns = schema
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
    new_batch(schema, columns, 1)
}
