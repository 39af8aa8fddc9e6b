//! GROUP BY: which of its expressions is the window, and what to do if none is.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Column, DFSchema, DFSchemaRef, ScalarValue};
use datafusion::functions::expr_fn::get_field;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{Aggregate, Expr};

use super::panes::{Panes, Timed, timed};
use super::{Builder, Flow};
use crate::aggregate::AggregatePlan;
use crate::event_time::Windows;
use crate::sql::chain::{StepKind, unalias};
use crate::sql::error::SqlError;
use crate::sql::functions::window_fields;
use crate::sql::marks::{Mark, MarkKind};
use crate::sql::messages::planning_error;
use crate::sql::registry::{Functions, timestamp_type};
use crate::sql::{OperatorKind, OutputMode, WindowPart};

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
