//! SQL text to plan.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::{
    Column, DFSchema, DFSchemaRef, DataFusionError, ScalarValue, SchemaError,
};
use datafusion::functions::expr_fn::get_field;
use datafusion::logical_expr::expr::{ScalarFunction, TryCast};
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::sql::planner::SqlToRel;
use datafusion::sql::sqlparser::ast::{
    Expr as SqlExpr, Query, Select, SelectItem, SetExpr, Spanned, Statement,
};
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::Tokenizer;

use super::analyze::{analyze, storable_type};
use super::chain::{Chain, StepKind, unalias};
use super::dialect::SparkDialect;
use super::error::{SqlError, suggestion};
use super::fingerprint::render;
use super::names::{resolve, source_of};
use super::refuse::refuse_unsupported;
use super::registry::{Context, Functions, timestamp_type};
use super::spelling::respell;
use super::window_clause::{Landmarks, rewrite_windows};
use super::{MapStage, QueryPlan, SourceTable, Stage, WindowPlan, hash};
use crate::aggregate::AggregateSet;
use crate::event_time::Tumbling;

/// Plans the query `name`.
///
/// # Errors
/// [`SqlError`]: a syntax error, an unknown name (with the nearest known one), or something that a
/// streaming query cannot do, with the reason and the position.
pub fn plan(name: &str, sql: &str, sources: &[SourceTable]) -> Result<QueryPlan, SqlError> {
    let mut query = parse(sql)?;
    refuse_unsupported(&query)?;
    let source = source_of(&query, sources)?;
    let mut landmarks = rewrite_windows(&mut query)?;
    landmarks.aggregate = resolve(&mut query, source, Functions::get())?;
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

/// The one SELECT that `sql` is.
fn parse(sql: &str) -> Result<Query, SqlError> {
    let dialect = SparkDialect;
    let tokens = Tokenizer::new(&dialect, sql)
        .tokenize_with_location()
        .map_err(|error| syntax_error(&ParserError::from(error)))?;
    let statements = Parser::new(&dialect)
        .with_tokens_with_locations(tokens)
        .parse_statements()
        .map_err(|error| syntax_error(&error))?;
    let mut statements = statements.into_iter();
    match (statements.next(), statements.next()) {
        (Some(Statement::Query(query)), None) => Ok(*query),
        (Some(_), Some(second)) => Err(SqlError::new("a query is one statement; here is a second")
            .hint("make it a query of its own")
            .at(second.span())),
        (Some(other), None) => Err(SqlError::new("a query is a SELECT")
            .hint("sources, sinks and tables are declared in the configuration")
            .at(other.span())),
        (None, _) => Err(SqlError::new("the query is empty").hint("write a SELECT")),
    }
}

/// The parser puts the position at the end of its message: ` at Line: 1, Column: 8`.
fn syntax_error(error: &ParserError) -> SqlError {
    let text = match error {
        ParserError::TokenizerError(text) | ParserError::ParserError(text) => text.clone(),
        ParserError::RecursionLimitExceeded => {
            return SqlError::new("the query is nested too deeply");
        }
    };
    if let Some((message, position)) = text.rsplit_once(" at Line: ")
        && let Some((line, column)) = position.split_once(", Column: ")
        && let (Ok(line), Ok(column)) = (line.trim().parse(), column.trim().parse())
    {
        let location = (line > 0).then_some((line, column));
        return SqlError::new(format!("syntax error: {message}")).at_location(location);
    }
    SqlError::new(format!("syntax error: {text}"))
}

/// DataFusion's error without its prefixes, with a position if it knows one.
fn planning_error(error: &DataFusionError, landmarks: &Landmarks) -> SqlError {
    let location = error.diagnostic().and_then(|diagnostic| diagnostic.span).and_then(|span| {
        let line = usize::try_from(span.start.line).ok()?;
        let column = usize::try_from(span.start.column).ok()?;
        (line > 0).then_some((line, column))
    });
    let root = error.find_root();
    if let DataFusionError::SchemaError(schema_error, _) = root
        && let SchemaError::FieldNotFound { field, valid_fields } = schema_error.as_ref()
    {
        let names: Vec<&str> = valid_fields.iter().map(Column::name).collect();
        return SqlError::new(format!("unknown column '{}'", field.name()))
            .hint(suggestion(field.name(), names, "columns"))
            .at_location(location);
    }
    let text = root.strip_backtrace();
    let mut message = text.as_str();
    for prefix in [
        "Error during planning: ",
        "Execution error: ",
        "This feature is not implemented: ",
        "Schema error: ",
        "Arrow error: ",
    ] {
        message = message.strip_prefix(prefix).unwrap_or(message);
    }
    if message.contains("must appear in the GROUP BY clause") {
        return SqlError::new(message.to_owned())
            .hint("add the column to GROUP BY, or aggregate it")
            .at_location(location.or(landmarks.group_by));
    }
    SqlError::new(message.to_owned()).at_location(location)
}

/// Every output column must have a name that a table can have.
fn named_output(query: &Query) -> Result<(), SqlError> {
    let SetExpr::Select(select) = query.body.as_ref() else {
        if let SetExpr::Query(inner) = query.body.as_ref() {
            return named_output(inner);
        }
        return Ok(());
    };
    named_items(select)
}

fn named_items(select: &Select) -> Result<(), SqlError> {
    for item in &select.projection {
        match item {
            SelectItem::UnnamedExpr(SqlExpr::Identifier(_)) => {}
            SelectItem::UnnamedExpr(expr) => {
                return Err(SqlError::new(format!(
                    "'{expr}' has no name, and it becomes a column"
                ))
                .hint("add AS and a name")
                .at(expr.span()));
            }
            SelectItem::ExprWithAlias { expr, alias } => {
                if alias.value.is_empty() || alias.value.contains(INVALID_IN_NAMES) {
                    return Err(SqlError::new(format!(
                        "'{}' cannot be a column's name: Delta tables allow none of ' ,;{{}}()=' \
                         nor line breaks and tabs in it",
                        alias.value
                    ))
                    .at(expr.span()));
                }
            }
            SelectItem::ExprWithAliases { expr, .. } => {
                return Err(SqlError::new("an expression has one name here, not several")
                    .hint("write each column with its own AS")
                    .at(expr.span()));
            }
            SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(_, _) => {}
        }
    }
    Ok(())
}

/// Delta's protocol without column mapping.
const INVALID_IN_NAMES: [char; 10] = [' ', ',', ';', '{', '}', '(', ')', '\n', '\t', '='];

/// Delta's names ignore case.
fn unique_names(schema: &DFSchema) -> Result<(), SqlError> {
    let mut seen = HashSet::new();
    for field in schema.fields() {
        if !seen.insert(field.name().to_lowercase()) {
            return Err(SqlError::new(format!("two columns are named '{}'", field.name()))
                .hint("give one of them another name with AS; case makes no difference"));
        }
    }
    Ok(())
}

/// Casts each output column to a type that a Delta table can hold.
fn storable_output(plan: LogicalPlan) -> Result<LogicalPlan, DataFusionError> {
    let schema = Arc::clone(plan.schema());
    let mut exprs = Vec::with_capacity(schema.fields().len());
    let mut changed = false;
    for (qualifier, field) in schema.iter() {
        let column = Expr::Column(Column::from((qualifier, field)));
        let Some(data_type) = storable_type(field.data_type()) else {
            return Err(DataFusionError::Plan(not_storable(field.name(), field.data_type())));
        };
        exprs.push(if data_type == *field.data_type() {
            column
        } else {
            changed = true;
            Expr::TryCast(TryCast::new(Box::new(column), data_type)).alias(field.name())
        });
    }
    if !changed {
        return Ok(plan);
    }
    LogicalPlanBuilder::from(plan).project(exprs)?.build()
}

fn not_storable(name: &str, data_type: &DataType) -> String {
    match data_type {
        DataType::Null => {
            format!("column '{name}' is only ever NULL: cast it to a type, as CAST(NULL AS STRING)")
        }
        DataType::Interval(_) | DataType::Duration(_) => format!(
            "column '{name}' is an interval, which tables cannot hold: make it a number, as with \
             unix_timestamp"
        ),
        other => format!("column '{name}' is of type {other}, which tables cannot hold: cast it"),
    }
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
        let landmarks = self.landmarks;
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
        // Whatever cannot be compiled is found now, not by the first batch.
        plan.bind(Arc::clone(&source.schema))?;
        if let Stage::Windowed(window) = &plan.stage {
            crate::aggregate::WindowState::new(window)
                .map_err(|error| SqlError::new(error.to_string()))?;
        }
        let mut plan = plan;
        sort_reads(&mut plan);
        Ok(plan)
    }
}

/// `reads` is promised in ascending order. Expressions find columns by name, but the input's order
/// is that of its schema: both are sorted together.
fn sort_reads(plan: &mut QueryPlan) {
    debug_assert!(plan.reads.is_sorted(), "DataFusion projects scans in the table's order");
    plan.reads.sort_unstable();
}

fn output_schema(schema: &DFSchema) -> SchemaRef {
    let fields: Vec<Field> = schema
        .as_arrow()
        .fields()
        .iter()
        .map(|field| Field::new(field.name(), field.data_type().clone(), true))
        .collect();
    Arc::new(Schema::new(fields))
}

fn window_plan(
    name: &str,
    source: &SourceTable,
    before: Chain,
    aggregate: &Aggregate,
    after: Chain,
    landmarks: &Landmarks,
) -> Result<WindowPlan, SqlError> {
    let mut window = None;
    let mut keys = vec![];
    for (index, expr) in aggregate.group_expr.iter().enumerate() {
        if let Expr::GroupingSet(_) = expr {
            return Err(SqlError::new("grouping sets are not supported")
                .hint("write one query for each grouping")
                .at_location(landmarks.group_by));
        }
        match window_call(&before, expr) {
            Some(call) if window.is_none() => window = Some((index, call)),
            Some(_) => {
                return Err(SqlError::new("a query has one window; this one has two")
                    .hint("write a query for each window; they share the source's reading")
                    .at_location(landmarks.window));
            }
            None => {
                let field = Arc::clone(aggregate.schema.field(index));
                if matches!(field.data_type(), DataType::Map(_, _)) {
                    return Err(SqlError::new(format!(
                        "'{}' is a MAP, and maps cannot be grouped by",
                        field.name()
                    ))
                    .hint("group by an entry of it, as m['key']")
                    .at_location(landmarks.group_by));
                }
                keys.push((unalias(expr).clone(), field));
            }
        }
    }
    let Some((window_column, call)) = window else {
        return Err(SqlError::new(
            "an aggregation without a window is not supported yet: it would never be finished, \
             because the stream goes on",
        )
        .hint("add window(<event time column>, '1 minute') to GROUP BY")
        .at_location(landmarks.group_by.or(landmarks.aggregate)));
    };
    let time = event_time(source, &before, call, landmarks)?;
    let windows = time.windows;
    let query: Arc<str> = Arc::from(name);
    Ok(WindowPlan {
        query,
        windows,
        time: time.expr,
        keys,
        aggregates: aggregate.aggr_expr.clone(),
        aggregated: Arc::clone(&aggregate.schema),
        window_column,
        before,
        after,
    })
}

/// A call of `window` that a GROUP BY expression is, or that made the column it names.
struct WindowCall {
    function: ScalarFunction,
    /// The level of the chain whose columns the call's argument is over.
    level: usize,
    /// The expression itself is a column that holds windows already made.
    made_by: Option<Expr>,
}

fn window_call(chain: &Chain, expr: &Expr) -> Option<WindowCall> {
    let top = chain.steps.len();
    let (origin, level) = chain.origin(expr, top)?;
    match origin {
        Expr::ScalarFunction(function) if function.func.name() == "window" => {
            let made_by = (level < top).then(|| unalias(expr).clone());
            Some(WindowCall { function, level, made_by })
        }
        _ => None,
    }
}

struct EventTime {
    windows: Tumbling,
    expr: Expr,
}

/// The time that the window is over must be the source's event time: nothing else has a watermark.
fn event_time(
    source: &SourceTable,
    chain: &Chain,
    call: WindowCall,
    landmarks: &Landmarks,
) -> Result<EventTime, SqlError> {
    let at = |error: SqlError| error.at_location(landmarks.window.or(landmarks.group_by));
    let Some(declared) = &source.event_time else {
        return Err(at(SqlError::new(format!(
            "source '{}' declares no event time, so there is nothing to cut into windows",
            source.name
        ))
        .hint("set event_time to a TIMESTAMP column of the source")));
    };
    let [time, size, offset] = call.function.args.as_slice() else {
        return Err(at(SqlError::new("window takes a column and a duration")));
    };
    let column = match chain.origin(time, call.level) {
        Some((Expr::Column(column), 0)) => Some(column.name),
        _ => None,
    };
    match column {
        Some(column) if column == *declared => {}
        Some(column) => {
            return Err(at(SqlError::new(format!(
                "the window is over '{column}', but the event time of source '{}' is '{declared}', \
                 and only it has a watermark",
                source.name
            ))
            .hint(format!("write window({declared}, ...), or set event_time to '{column}'"))));
        }
        None => {
            return Err(at(SqlError::new(format!(
                "the window is over an expression, but only the event time of source '{}', \
                 '{declared}', has a watermark",
                source.name
            ))
            .hint(format!("write window({declared}, ...)"))));
        }
    }
    if let Some(field) = source.schema.fields().iter().find(|field| field.name() == declared)
        && *field.data_type() != timestamp_type()
    {
        return Err(at(SqlError::new(format!(
            "event time '{declared}' is of type {}, not TIMESTAMP",
            field.data_type()
        ))
        .hint("declare the column as TIMESTAMP")));
    }
    if source.watermark_delay_us.is_none() {
        return Err(at(SqlError::new(format!(
            "source '{}' has no watermark, so no window of it would ever close",
            source.name
        ))
        .hint("set a watermark on the source, such as '2 minutes'")));
    }
    let number = |expr: &Expr| match unalias(expr) {
        Expr::Literal(ScalarValue::Int64(Some(number)), _) => Some(*number),
        _ => None,
    };
    let windows = number(size)
        .zip(number(offset))
        .ok_or_else(|| SqlError::new("a window's size must be a constant"))
        .and_then(|(size, offset)| {
            Tumbling::new(size, offset).map_err(|error| SqlError::new(error.to_string()))
        })
        .map_err(at)?;
    let expr = match call.made_by {
        // A window's start lies in the window: as event time it gives the same window again.
        Some(made) => get_field(made, "start"),
        None => unalias(time).clone(),
    };
    Ok(EventTime { windows, expr })
}

/// What the state depends on, as text; see `fingerprint.rs`.
fn state_text(
    plan: &WindowPlan,
    source: &SourceTable,
    input: &DFSchema,
) -> Result<String, DataFusionError> {
    let mut text = String::from("millpond window state 1\n");
    let top = plan.before.steps.len();
    // Writing to a String cannot fail.
    let _ = writeln!(text, "source {:?}", source.name);
    let _ = writeln!(text, "window {} {}", plan.windows.size(), plan.windows.offset());
    let mut line = |kind: &str, expr: &Expr, level: usize| -> Result<(), DataFusionError> {
        text.push_str(kind);
        text.push(' ');
        render(&plan.before.inlined(expr, level)?, &mut text);
        text.push('\n');
        Ok(())
    };
    line("time", &plan.time, top)?;
    for (level, step) in plan.before.steps.iter().enumerate() {
        if let StepKind::Filter(predicate) = &step.kind {
            line("where", predicate, level)?;
        }
    }
    for (key, _) in &plan.keys {
        line("key", key, top)?;
    }
    for aggregate in &plan.aggregates {
        line("aggregate", aggregate, top)?;
    }
    for field in input.as_arrow().fields() {
        let _ = writeln!(text, "reads {:?} {}", field.name(), field.data_type());
    }
    let set = AggregateSet::new(plan).map_err(|error| DataFusionError::Plan(error.to_string()))?;
    for field in set.partial_schema().fields() {
        let _ = writeln!(text, "state {}", field.data_type());
    }
    Ok(text)
}
