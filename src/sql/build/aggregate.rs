//! GROUP BY: which of its expressions is the window, and what to do if none is.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, IntervalMonthDayNano};
use datafusion::common::{Column, DFSchema, DFSchemaRef, ScalarValue};
use datafusion::functions::expr_fn::get_field;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{Aggregate, BinaryExpr, Expr, Operator};

use super::{Builder, Flow};
use crate::aggregate::AggregatePlan;
use crate::event_time::{Tumbling, Windows};
use crate::sql::chain::{StepKind, unalias};
use crate::sql::error::SqlError;
use crate::sql::functions::window_fields;
use crate::sql::marks::{Mark, MarkKind, WindowExpr, is_time};
use crate::sql::messages::planning_error;
use crate::sql::registry::{Functions, timestamp_type};
use crate::sql::{OperatorKind, OutputMode, WindowPart};

/// How the groups are cut up in event time.
struct Panes {
    windows: Windows,
    /// Over the input.
    time: Expr,
    behind: i64,
    delay: i64,
    /// The GROUP BY expressions that show the window.
    columns: Vec<(usize, WindowPart)>,
    /// Else the key that the panes end with.
    key: Option<Expr>,
}

/// A GROUP BY expression that has to do with event time.
enum Timed {
    /// A call of `window`, `sliding_window` or `session_window`, or its start or end.
    Call { time: Expr, windows: Windows, part: WindowPart, text: String },
    /// A window that a subquery or another query has made, or its start or end.
    Made { window: Expr, mark: Mark, part: WindowPart },
    /// A time.
    Time { mark: Mark },
}

impl Builder<'_> {
    pub(super) fn aggregate(
        &mut self,
        aggregate: &Aggregate,
        flow: Flow,
    ) -> Result<Flow, SqlError> {
        let at = self.landmarks.group_by.or(self.landmarks.aggregate);
        if flow.is_table() {
            return Err(SqlError::new("aggregating a table that does not stream is not supported")
                .hint("aggregate where the table is written")
                .at_location(at));
        }
        let groups = &aggregate.group_expr;
        if groups.iter().any(|expr| matches!(expr, Expr::GroupingSet(_))) {
            return Err(SqlError::new("grouping sets are not supported")
                .hint("write one query for each grouping")
                .at_location(at));
        }
        let (mut flow, mut groups) = (flow, groups.clone());
        let panes = self.panes(&groups, &flow)?;
        if panes.is_none() {
            self.without_panes(&groups, &flow)?;
            (flow, groups) = self.windows_as_keys(groups, flow)?;
        }
        let shown = panes.as_ref().map_or(&[][..], |panes| panes.columns.as_slice());
        let mut keys: Vec<(Expr, FieldRef)> = vec![];
        for (index, expr) in groups.iter().enumerate() {
            if shown.iter().any(|(column, _)| *column == index) {
                continue;
            }
            let field = Arc::clone(aggregate.schema.field(index));
            if matches!(field.data_type(), DataType::Map(_, _)) {
                return Err(SqlError::new(format!(
                    "'{}' is a MAP, and maps cannot be grouped by",
                    field.name()
                ))
                .hint("group by an entry of it, as m['key']")
                .at_location(self.landmarks.group_by));
            }
            keys.push((unalias(expr).clone(), field));
        }
        let marks = self.marks_of_groups(&groups, &flow, panes.as_ref(), &aggregate.schema);
        let behind = panes.as_ref().map_or(0, |panes| panes.behind);
        let plan = AggregatePlan {
            query: Arc::from(self.request.name),
            mode: self.request.mode,
            windows: panes.as_ref().map_or(Windows::None, |panes| panes.windows),
            input: Arc::clone(&flow.schema),
            time: panes.as_ref().map(|panes| panes.time.clone()),
            keys,
            aggregates: aggregate.aggr_expr.clone(),
            aggregated: Arc::clone(&aggregate.schema),
            window_columns: panes.map_or(vec![], |panes| panes.columns),
        };
        let kind = OperatorKind::Aggregate(Box::new(plan));
        let index = self.add_operator(kind, &[&flow], behind)?;
        self.feed_operator(flow, index, 0)?;
        Ok(self.flow_of(index, &aggregate.schema, marks))
    }

    /// The event time that groups are cut up in, if there is one with a watermark.
    fn panes(&self, groups: &[Expr], flow: &Flow) -> Result<Option<Panes>, SqlError> {
        let mode = self.request.mode;
        let timed: Vec<(usize, Timed)> = groups
            .iter()
            .enumerate()
            .filter_map(|(index, expr)| Some((index, timed(expr, flow)?)))
            .collect();
        self.one_window(&timed)?;
        let is_session =
            |timed: &Timed| matches!(timed, Timed::Call { windows: Windows::Session(_), .. });
        let session = timed.iter().any(|(_, timed)| is_session(timed));
        if session && mode == OutputMode::Update {
            return Err(SqlError::new(
                "session windows are not supported in update output mode: a session that grows takes \
                 the place of the one that came out before",
            )
            .hint("set mode = \"append\"")
            .at_location(self.landmarks.window));
        }
        if session && timed.iter().filter(|(_, timed)| is_session(timed)).count() == groups.len() {
            return Err(SqlError::new(
                "sessions without a key are not supported: all rows would be in one session, on one \
                 shard",
            )
            .hint("add the column whose sessions they are to GROUP BY")
            .at_location(self.landmarks.window));
        }
        if let Some((_, Timed::Call { time, windows, text, .. })) =
            timed.iter().find(|(_, timed)| matches!(timed, Timed::Call { .. }))
        {
            let marks = flow.mark(time).and_then(|mark| mark.as_time().map(|time| (mark, time)));
            // Complete mode keeps every window for ever, so it needs no watermark.
            let never = Mark::source(0);
            let mark = match marks {
                Some(marks) => marks,
                None if mode == OutputMode::Complete && is_time_over(time, flow) => (never, never),
                None => return Ok(None),
            };
            let reach = match (mark.0.kind, windows) {
                // Windows within windows are done when those are.
                (MarkKind::StartOf(inner), Windows::Tumbling(outer)) if nests(&inner, outer) => {
                    inner.size()
                }
                _ => 1,
            };
            let columns = timed
                .iter()
                .filter_map(|(index, timed)| match timed {
                    Timed::Call { part, text: found, .. } if found == text => Some((*index, *part)),
                    _ => None,
                })
                .collect();
            return Ok(Some(Panes {
                windows: *windows,
                time: match mark.0.kind {
                    MarkKind::Window(_) => window_time(time.clone())?,
                    _ => time.clone(),
                },
                behind: mark.1.behind(reach),
                delay: mark.0.delay,
                columns,
                key: None,
            }));
        }
        if mode == OutputMode::Complete {
            return Ok(None);
        }
        if let Some((_, Timed::Made { window, mark, .. })) =
            timed.iter().find(|(_, timed)| matches!(timed, Timed::Made { .. }))
        {
            return self.made_panes(window, mark, &timed).map(Some);
        }
        let Some((index, Timed::Time { mark })) = timed.first() else { return Ok(None) };
        let time = unalias(&groups[*index]).clone();
        if let MarkKind::StartOf(windows) = mark.kind {
            return Ok(Some(Panes {
                windows: Windows::Tumbling(windows),
                time,
                behind: mark.behind(windows.size()),
                delay: mark.delay,
                columns: vec![(*index, WindowPart::Start)],
                key: None,
            }));
        }
        // A pane for each time, which ends at it: Spark, too, is done with a time when the watermark
        // reaches it.
        Ok(Some(Panes {
            windows: Windows::Tumbling(microsecond()?),
            time: a_microsecond_before(time.clone()),
            behind: mark.behind(0),
            delay: mark.delay,
            columns: vec![],
            key: Some(time),
        }))
    }

    /// Panes for windows that were made further up.
    fn made_panes(
        &self,
        window: &Expr,
        mark: &Mark,
        timed: &[(usize, Timed)],
    ) -> Result<Panes, SqlError> {
        let MarkKind::Window(windows) = mark.kind else {
            return Err(SqlError::new("a list of windows cannot be grouped by"));
        };
        let behind = mark.behind(0);
        let panes = |windows, time, columns| Panes {
            windows: Windows::Tumbling(windows),
            time,
            behind,
            delay: mark.delay,
            columns,
            key: Some(window.clone()),
        };
        Ok(match windows {
            Windows::Tumbling(tumbling) => {
                // The start lies in the window: as event time it gives the same window again.
                let columns = timed
                    .iter()
                    .filter_map(|(index, timed)| match timed {
                        Timed::Made { window: found, part, .. } if found == window => {
                            Some((*index, *part))
                        }
                        _ => None,
                    })
                    .collect();
                panes(tumbling, get_field(window.clone(), "start"), columns)
            }
            // Windows that overlap have ends of their own: the slide before an end is a pane, and
            // the window itself stays a key.
            Windows::Sliding(sliding) => {
                let offset = (sliding.offset() + sliding.size()) % sliding.slide();
                let slides = Tumbling::new(sliding.slide(), offset)
                    .map_err(|error| SqlError::new(error.to_string()))?;
                panes(slides, window_time(window.clone())?, vec![])
            }
            Windows::Session(_) | Windows::None => {
                panes(microsecond()?, window_time(window.clone())?, vec![])
            }
        })
    }

    /// Two different windows would make a row for each pair of them.
    fn one_window(&self, timed: &[(usize, Timed)]) -> Result<(), SqlError> {
        let mut first: Option<&str> = None;
        for (_, timed) in timed {
            let Timed::Call { text, .. } = timed else { continue };
            if first.is_some_and(|first| first != text) {
                return Err(SqlError::new("a query has one window; this one has two")
                    .hint("write a query for each window; they share the source's reading")
                    .at_location(self.landmarks.window));
            }
            first = Some(text);
        }
        Ok(())
    }

    /// In append mode, an aggregation that never ends is refused, with what is missing.
    fn without_panes(&self, groups: &[Expr], flow: &Flow) -> Result<(), SqlError> {
        let session = groups.iter().find_map(|expr| match timed(expr, flow) {
            Some(Timed::Call { windows: Windows::Session(_), time, .. }) => Some(time),
            _ => None,
        });
        if self.request.mode != OutputMode::Append {
            return match session {
                Some(time) => Err(self.no_event_time(&time, flow)),
                None => Ok(()),
            };
        }
        let over = groups.iter().find_map(|expr| match timed(expr, flow) {
            Some(Timed::Call { time, .. }) => Some(time),
            _ => made_over(expr, flow),
        });
        if let Some(time) = over {
            return Err(self.no_event_time(&time, flow));
        }
        Err(SqlError::new(
            "append output mode is not supported for an aggregation without a window of event time: \
             no group would ever be finished, because the stream goes on",
        )
        .hint(
            "add window(<event time column>, '1 minute') to GROUP BY, or set mode = \
             \"update\" or \"complete\"",
        )
        .at_location(self.landmarks.group_by.or(self.landmarks.aggregate)))
    }

    /// Why a window's time is no event time.
    fn no_event_time(&self, time: &Expr, flow: &Flow) -> SqlError {
        let at =
            |error: SqlError| error.at_location(self.landmarks.window.or(self.landmarks.group_by));
        for branch in &flow.branches {
            let level = branch.chain.steps.len();
            let column = match branch.chain.origin(time, level) {
                Some((Expr::Column(column), 0)) => Some(column.name),
                _ => None,
            };
            let super::From::Stream(crate::sql::Origin::Source(name)) = &branch.from else {
                continue;
            };
            let Some(source) = self.catalog.sources.iter().find(|source| source.name == *name)
            else {
                continue;
            };
            let Some(declared) = &source.event_time else {
                return at(SqlError::new(format!(
                    "source '{name}' declares no event time, so there is nothing to cut into windows"
                ))
                .hint("name a TIMESTAMP column in [sources.NAME.watermark]: column = ..."));
            };
            match column {
                Some(column) if !column.eq_ignore_ascii_case(declared) => {
                    return at(SqlError::new(format!(
                        "the window is over '{column}', but the event time of source '{name}' is \
                         '{declared}', and only it has a watermark"
                    ))
                    .hint(format!(
                        "write window({declared}, ...), or make '{column}' the column of the \
                         source's watermark"
                    )));
                }
                None => {
                    return at(SqlError::new(format!(
                        "the window is over an expression, but only the event time of source \
                         '{name}', '{declared}', has a watermark"
                    ))
                    .hint(format!("write window({declared}, ...)")));
                }
                Some(_) => {}
            }
            let is_declared = |field: &&FieldRef| field.name().eq_ignore_ascii_case(declared);
            if let Some(field) = source.schema.fields().iter().find(is_declared)
                && *field.data_type() != timestamp_type()
            {
                return at(SqlError::new(format!(
                    "event time '{declared}' is of type {}, not TIMESTAMP",
                    field.data_type()
                ))
                .hint("declare the column as TIMESTAMP"));
            }
            if source.watermark_delay_us.is_none() {
                return at(SqlError::new(format!(
                    "source '{name}' has no watermark, so no window of it would ever close"
                ))
                .hint("set a watermark on the source, such as '2 minutes'"));
            }
        }
        at(SqlError::new(
            "the window is over a column that has no watermark: of what another query or a subquery \
             gives, only a window, its start or end, and event time itself have one",
        )
        .hint("write window(window_time(window), '1 hour'), or window(<event time column>, ...)"))
    }

    /// Windows over times without a watermark: keys like any other. A row that is in several
    /// windows comes once for each.
    fn windows_as_keys(
        &self,
        mut groups: Vec<Expr>,
        mut flow: Flow,
    ) -> Result<(Flow, Vec<Expr>), SqlError> {
        let found = groups.iter().find_map(|expr| match timed(expr, &flow) {
            Some(Timed::Call { time, windows, text, .. }) => Some((time, windows, text)),
            _ => None,
        });
        let Some((time, windows, text)) = found else { return Ok((flow, groups)) };
        let Windows::Sliding(windows) = windows else {
            // A row without a time is in no window.
            let schema = Arc::clone(&flow.schema);
            return Ok((flow.push(&StepKind::Filter(time.is_not_null()), &schema), groups));
        };
        let failed = |error| planning_error(&error, self.landmarks);
        let number = |number: i64| Expr::Literal(ScalarValue::Int64(Some(number)), None);
        let function = Functions::get().scalar("sliding_windows").map_err(failed)?;
        let sizes = [windows.size(), windows.slide(), windows.offset()].map(number);
        let args = std::iter::once(time).chain(sizes).collect();
        let list = Expr::ScalarFunction(ScalarFunction::new_udf(function, args));

        let window = DataType::Struct(window_fields());
        let list_type = DataType::List(Arc::new(Field::new_list_field(window.clone(), true)));
        let mut exprs: Vec<Expr> = flow.schema.columns().into_iter().map(Expr::Column).collect();
        let column = exprs.len();
        exprs.push(list.alias(WINDOWS));
        let with = |data_type: DataType| -> Result<DFSchemaRef, SqlError> {
            let mut fields: Vec<_> = flow
                .schema
                .iter()
                .map(|(qualifier, field)| (qualifier.cloned(), Arc::clone(field)))
                .collect();
            fields.push((None, Arc::new(Field::new(WINDOWS, data_type, true))));
            let metadata = flow.schema.metadata().clone();
            DFSchema::new_with_metadata(fields, metadata).map(Arc::new).map_err(failed)
        };
        let (listed, unnested) = (with(list_type)?, with(window)?);
        flow = flow.push(&StepKind::Project(exprs), &listed);
        flow = flow.push(&StepKind::Unnest { column, outer: false }, &unnested);
        let element = Expr::Column(Column::new_unqualified(WINDOWS));
        for expr in &mut groups {
            if let Some(Timed::Call { part, text: found, .. }) = timed(expr, &flow)
                && found == text
            {
                *expr = match part {
                    WindowPart::Both => element.clone(),
                    WindowPart::Start => get_field(element.clone(), "start"),
                    WindowPart::End => get_field(element.clone(), "end"),
                };
            }
        }
        Ok((flow, groups))
    }

    /// What is known of the aggregation's columns as event time.
    fn marks_of_groups(
        &self,
        groups: &[Expr],
        flow: &Flow,
        panes: Option<&Panes>,
        schema: &DFSchemaRef,
    ) -> Vec<Option<Mark>> {
        let mut marks = vec![None; schema.fields().len()];
        let Some(panes) = panes.filter(|_| self.request.mode == OutputMode::Append) else {
            return marks;
        };
        let window =
            Mark { kind: MarkKind::Window(panes.windows), lag: panes.behind, delay: panes.delay };
        for (index, part) in &panes.columns {
            marks[*index] = match part {
                WindowPart::Both => Some(window),
                WindowPart::Start => window.start(),
                WindowPart::End => window.end(),
            };
        }
        if let (true, Some(key)) = (panes.columns.is_empty(), &panes.key) {
            // The panes end with this key, so it is as late as it was. Other times are not known to
            // be: a group comes out long after its rows came in.
            for (expr, mark) in groups.iter().zip(&mut marks) {
                let same = match timed(expr, flow) {
                    Some(Timed::Made { window, .. }) => window == *key,
                    Some(Timed::Time { .. }) => unalias(expr) == key,
                    _ => false,
                };
                *mark = flow.mark(expr).filter(|_| same);
            }
        }
        marks
    }
}

/// The name of the column that holds windows made for the aggregation alone.
const WINDOWS: &str = "__windows";

/// What a GROUP BY expression has to do with event time.
fn timed(expr: &Expr, flow: &Flow) -> Option<Timed> {
    let expr = unalias(expr);
    let (inner, part) = match expr {
        Expr::ScalarFunction(function) if function.func.name() == "get_field" => {
            match function.args.as_slice() {
                [inner, Expr::Literal(field, _)] => match field.try_as_str().flatten() {
                    Some("start") => (unalias(inner), WindowPart::Start),
                    Some("end") => (unalias(inner), WindowPart::End),
                    _ => (expr, WindowPart::Both),
                },
                _ => (expr, WindowPart::Both),
            }
        }
        _ => (expr, WindowPart::Both),
    };
    if let Expr::ScalarFunction(function) = inner
        && let Some(call) = WindowExpr::of(function)
    {
        let text = format!("{inner}");
        return Some(Timed::Call { time: call.time.clone(), windows: call.windows, part, text });
    }
    if let Some(mark) = flow.mark(inner)
        && matches!(mark.kind, MarkKind::Window(_))
    {
        return Some(Timed::Made { window: inner.clone(), mark, part });
    }
    let mark = flow.mark(expr)?;
    matches!(mark.kind, MarkKind::Time | MarkKind::StartOf(_)).then_some(Timed::Time { mark })
}

/// The time that a column of windows was made over, further down.
fn made_over(expr: &Expr, flow: &Flow) -> Option<Expr> {
    let branch = flow.branches.first()?;
    let mut expr = unalias(expr).clone();
    let mut level = branch.chain.steps.len();
    loop {
        let (origin, below) = branch.chain.origin(&expr, level)?;
        let Expr::ScalarFunction(function) = &origin else { return None };
        match (function.func.name(), function.args.as_slice()) {
            ("get_field", [inner, _]) => {
                expr = unalias(inner).clone();
                level = below;
            }
            ("window" | "sliding_windows", [time, ..]) => {
                return branch.chain.inlined(time, below).ok();
            }
            _ => return None,
        }
    }
}

/// Whether an expression gives a point in time.
fn is_time_over(expr: &Expr, flow: &Flow) -> bool {
    use datafusion::logical_expr::ExprSchemable;
    expr.get_type(flow.schema.as_ref()).is_ok_and(|data_type| is_time(&data_type))
}

/// Whether each of the inner windows lies in one of the outer ones.
fn nests(inner: &Tumbling, outer: &Tumbling) -> bool {
    outer.size() % inner.size() == 0 && (outer.offset() - inner.offset()) % inner.size() == 0
}

fn microsecond() -> Result<Tumbling, SqlError> {
    Tumbling::new(1, 0).map_err(|error| SqlError::new(error.to_string()))
}

/// The last microsecond of a window.
fn window_time(window: Expr) -> Result<Expr, SqlError> {
    let function = Functions::get()
        .scalar("window_time")
        .map_err(|error| SqlError::new(error.strip_backtrace()))?;
    Ok(Expr::ScalarFunction(ScalarFunction::new_udf(function, vec![window])))
}

fn a_microsecond_before(time: Expr) -> Expr {
    let microsecond = IntervalMonthDayNano::new(0, 0, 1_000);
    let microsecond = Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(microsecond)), None);
    Expr::BinaryExpr(BinaryExpr::new(Box::new(time), Operator::Minus, Box::new(microsecond)))
}
