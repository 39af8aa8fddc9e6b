//! An aggregation's window: where it is in the plan, and whether it can ever close.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{DFSchema, DataFusionError, ScalarValue};
use datafusion::functions::expr_fn::get_field;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{Aggregate, Expr};

use super::chain::{Chain, StepKind, unalias};
use super::error::SqlError;
use super::fingerprint::render;
use super::registry::timestamp_type;
use super::window_clause::Landmarks;
use super::{OutputMode, SourceTable, WindowPart};
use crate::aggregate::{AggregatePlan, AggregateSet};
use crate::event_time::{Tumbling, Windows};

/// Makes the plan of an aggregation: finds its window and checks that the window is over the
/// source's event time.
pub(super) fn window_plan(
    name: &str,
    source: &SourceTable,
    before: &Chain,
    aggregate: &Aggregate,
    landmarks: &Landmarks,
) -> Result<AggregatePlan, SqlError> {
    let top = before.steps.len();
    let mut call: Option<WindowCall> = None;
    let mut window_columns = vec![];
    let mut keys = vec![];
    for (index, expr) in aggregate.group_expr.iter().enumerate() {
        if let Expr::GroupingSet(_) = expr {
            return Err(SqlError::new("grouping sets are not supported")
                .hint("write one query for each grouping")
                .at_location(landmarks.group_by));
        }
        if let Some((found, part)) = window_call(before, expr, top) {
            if call.as_ref().is_some_and(|call| call.text != found.text) {
                return Err(SqlError::new("a query has one window; this one has two")
                    .hint("write a query for each window; they share the source's reading")
                    .at_location(landmarks.window));
            }
            window_columns.push((index, part));
            call.get_or_insert(found);
            continue;
        }
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
    let Some(call) = call else {
        return Err(SqlError::new(
            "an aggregation without a window is not supported yet: it would never be finished, \
             because the stream goes on",
        )
        .hint("add window(<event time column>, '1 minute') to GROUP BY")
        .at_location(landmarks.group_by.or(landmarks.aggregate)));
    };
    let time = event_time(source, before, call, landmarks)?;
    Ok(AggregatePlan {
        query: Arc::from(name),
        mode: OutputMode::Append,
        windows: Windows::Tumbling(time.windows),
        input: Arc::clone(&before.output),
        time: Some(time.expr),
        keys,
        aggregates: aggregate.aggr_expr.clone(),
        aggregated: Arc::clone(&aggregate.schema),
        window_columns,
    })
}

/// A call of `window` that a GROUP BY expression is, or that made the column it names.
struct WindowCall {
    function: ScalarFunction,
    /// The level of the chain whose columns the call's argument is over.
    level: usize,
    /// The expression that holds windows already made, if they are made further down.
    made: Option<Expr>,
    /// The call over the source's columns, to compare it with others.
    text: String,
}

/// The window that an expression over the columns of `level` is, or is the start or end of.
fn window_call(chain: &Chain, expr: &Expr, level: usize) -> Option<(WindowCall, WindowPart)> {
    let (origin, below) = chain.origin(expr, level)?;
    let Expr::ScalarFunction(function) = &origin else { return None };
    match (function.func.name(), function.args.as_slice()) {
        ("window", _) => {
            let mut text = String::new();
            render(&chain.inlined(&origin, below).ok()?, &mut text);
            let made = (below < chain.steps.len()).then(|| unalias(expr).clone());
            let function = function.clone();
            Some((WindowCall { function, level: below, made, text }, WindowPart::Both))
        }
        ("get_field", [window, Expr::Literal(field, _)]) => {
            let (call, WindowPart::Both) = window_call(chain, window, below)? else {
                return None;
            };
            // A column that was taken from a window further down holds no window any more.
            let made = call.made.filter(|_| below == chain.steps.len());
            if made.is_none() && call.level < chain.steps.len() {
                return None;
            }
            let part = match field.try_as_str().flatten() {
                Some("start") => WindowPart::Start,
                Some("end") => WindowPart::End,
                _ => return None,
            };
            Some((WindowCall { made, ..call }, part))
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
        .hint("name a TIMESTAMP column in [sources.NAME.watermark]: column = ...")));
    };
    let [time, size, offset] = call.function.args.as_slice() else {
        return Err(at(SqlError::new("window takes a column and a duration")));
    };
    let column = match chain.origin(time, call.level) {
        Some((Expr::Column(column), 0)) => Some(column.name),
        _ => None,
    };
    match column {
        Some(column) if column.eq_ignore_ascii_case(declared) => {}
        Some(column) => {
            return Err(at(SqlError::new(format!(
                "the window is over '{column}', but the event time of source '{}' is '{declared}', \
                 and only it has a watermark",
                source.name
            ))
            .hint(format!("write window({declared}, ...), or make '{column}' the column of the source's watermark"))));
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
    let is_declared = |field: &&FieldRef| field.name().eq_ignore_ascii_case(declared);
    if let Some(field) = source.schema.fields().iter().find(is_declared)
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
    let expr = match call.made {
        // A window's start lies in the window: as event time it gives the same window again.
        Some(made) => get_field(made, "start"),
        None => unalias(time).clone(),
    };
    Ok(EventTime { windows, expr })
}

/// What the state depends on, as text; see `fingerprint.rs`.
pub(super) fn state_text(
    plan: &AggregatePlan,
    before: &Chain,
    source: &SourceTable,
    input: &DFSchema,
) -> Result<String, DataFusionError> {
    let mut text = String::from("millpond window state 1\n");
    let top = before.steps.len();
    // Writing to a String cannot fail.
    let _ = writeln!(text, "source {:?}", source.name);
    if let Windows::Tumbling(windows) = &plan.windows {
        let _ = writeln!(text, "window {} {}", windows.size(), windows.offset());
    }
    let mut line = |kind: &str, expr: &Expr, level: usize| -> Result<(), DataFusionError> {
        text.push_str(kind);
        text.push(' ');
        render(&before.inlined(expr, level)?, &mut text);
        text.push('\n');
        Ok(())
    };
    if let Some(time) = &plan.time {
        line("time", time, top)?;
    }
    for (level, step) in before.steps.iter().enumerate() {
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
