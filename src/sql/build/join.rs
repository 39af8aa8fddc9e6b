//! JOIN: of two streams, which makes an operator, or of a stream and a table, which is a step.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::common::{Column, DFSchema, DFSchemaRef, JoinType, NullEquality};
use datafusion::functions::expr_fn::get_field;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Join, Operator};

use super::bounds::{Bounds, conjunction, conjuncts};
use super::{Builder, Flow, From};
use crate::operator::{JoinKind, JoinPlan, JoinSide};
use crate::sql::chain::{StepKind, unalias};
use crate::sql::error::SqlError;
use crate::sql::marks::{Mark, MarkKind};
use crate::sql::messages::planning_error;
use crate::sql::static_join::{StaticJoin, StaticKind, TablePart, TableSide};
use crate::sql::{OperatorKind, Origin, OutputMode};

/// A join's condition, sorted by what each part of it is about.
#[derive(Default)]
struct Condition {
    /// Equal expressions: of the left, of the right.
    keys: Vec<(Expr, Expr)>,
    /// About one side only.
    left: Vec<Expr>,
    right: Vec<Expr>,
    /// The rest.
    both: Vec<Expr>,
    /// All of it.
    all: Vec<Expr>,
}

impl Builder<'_> {
    /// `filter` is what WHERE says of an inner join's rows.
    pub(super) fn join(&mut self, join: &Join, filter: Option<&Expr>) -> Result<Flow, SqlError> {
        let mut condition = self.condition(join, filter)?;
        let left = self.side(&join.left, std::mem::take(&mut condition.left), join, true)?;
        let right = self.side(&join.right, std::mem::take(&mut condition.right), join, false)?;
        let at = self.landmarks.joins.get(self.joins).or(self.landmarks.joins.last()).copied();
        self.joins += 1;
        // What could not go below the join.
        let (left, kept_left) = left;
        let (right, kept_right) = right;
        condition.both.extend(kept_left);
        condition.both.extend(kept_right);
        let joined = match (left.is_table(), right.is_table()) {
            (false, false) => self.stream_stream(join, left, right, condition),
            (false, true) => self.stream_static(join, left, right, condition, true),
            (true, false) => self.stream_static(join, right, left, condition, false),
            (true, true) => {
                Err(SqlError::new("a join of two tables that do not stream is not supported")
                    .hint("join each of them with the stream"))
            }
        };
        joined.map_err(|error| error.at_location(at))
    }

    /// One side, with the conditions on it alone as filters below the join, where that means the
    /// same. Gives back those that have to stay.
    fn side(
        &mut self,
        plan: &datafusion::logical_expr::LogicalPlan,
        conditions: Vec<Expr>,
        join: &Join,
        is_left: bool,
    ) -> Result<(Flow, Vec<Expr>), SqlError> {
        // A row that comes out whether it matches or not must not be left out below.
        let preserved = match join.join_type {
            JoinType::Left | JoinType::LeftAnti => is_left,
            JoinType::Right => !is_left,
            JoinType::Full => true,
            _ => false,
        };
        if let (datafusion::logical_expr::LogicalPlan::Join(inner), false) = (plan, preserved)
            && inner.join_type == JoinType::Inner
        {
            let filter = conjunction(conditions);
            return Ok((self.join(inner, filter.as_ref())?, vec![]));
        }
        let flow = self.walk(plan)?;
        if preserved {
            return Ok((flow, conditions));
        }
        let Some(filter) = conjunction(conditions) else { return Ok((flow, vec![])) };
        let schema = Arc::clone(&flow.schema);
        Ok((flow.push(&StepKind::Filter(filter), &schema), vec![]))
    }

    fn condition(&self, join: &Join, filter: Option<&Expr>) -> Result<Condition, SqlError> {
        let (left, right) = (join.left.schema(), join.right.schema());
        let mut condition = Condition::default();
        let mut conditions: Vec<Expr> = join
            .on
            .iter()
            .map(|(a, b)| match join.null_equality {
                NullEquality::NullEqualsNothing => a.clone().eq(b.clone()),
                NullEquality::NullEqualsNull => Expr::BinaryExpr(BinaryExpr::new(
                    Box::new(a.clone()),
                    Operator::IsNotDistinctFrom,
                    Box::new(b.clone()),
                )),
            })
            .collect();
        conditions.extend(join.filter.iter().chain(filter).flat_map(conjuncts));
        for expr in conditions {
            condition.all.push(expr.clone());
            let (on_left, on_right) = (is_over(&expr, left), is_over(&expr, right));
            match (on_left, on_right) {
                (true, false) => condition.left.push(expr),
                (false, true) => condition.right.push(expr),
                _ => match equal_keys(&expr, left, right) {
                    Some(pair) => condition.keys.push(pair),
                    None => condition.both.push(expr),
                },
            }
        }
        for (a, b) in &mut condition.keys {
            let types = a.get_type(left).and_then(|a| Ok((a, b.get_type(right)?)));
            let (a_type, b_type) = types.map_err(|error| planning_error(&error, self.landmarks))?;
            if a_type != b_type {
                *b = b
                    .clone()
                    .cast_to(&a_type, right.as_ref())
                    .map_err(|error| planning_error(&error, self.landmarks))?;
            }
        }
        Ok(condition)
    }

    fn stream_stream(
        &mut self,
        join: &Join,
        left: Flow,
        right: Flow,
        condition: Condition,
    ) -> Result<Flow, SqlError> {
        let (kind, name) = match join.join_type {
            JoinType::Inner => (JoinKind::Inner, "an inner join"),
            JoinType::Left => (JoinKind::Left, "a left outer join"),
            JoinType::Right => (JoinKind::Right, "a right outer join"),
            JoinType::Full => (JoinKind::Full, "a full outer join"),
            JoinType::LeftSemi => (JoinKind::LeftSemi, "a left semi join"),
            JoinType::LeftAnti => {
                return Err(SqlError::new(
                    "a left anti join of two streams is not supported: that nothing matches a row is \
                     known only when nothing can come any more",
                )
                .hint("use LEFT JOIN ... and keep the rows whose right side IS NULL"));
            }
            other => {
                return Err(SqlError::new(format!("{other} join of two streams is not supported"))
                    .hint("INNER, LEFT, RIGHT, FULL and LEFT SEMI are"));
            }
        };
        let mode = self.request.mode;
        if mode == OutputMode::Complete || (mode == OutputMode::Update && kind != JoinKind::Inner) {
            return Err(SqlError::new(format!(
                "{name} of two streams is not supported in {mode} output mode, only in append mode"
            ))
            .hint("set mode = \"append\""));
        }
        if condition.keys.is_empty() {
            return Err(SqlError::new(
                "a join of two streams needs columns that are equal: without them every row would \
                 have to meet every other",
            )
            .hint("add an equality of the two sides to ON, as in ON a.id = b.id"));
        }
        let bounds = Bounds::of(&condition.all, &left, &right);
        let times =
            (side_time(&left, bounds.left.as_ref()), side_time(&right, bounds.right.as_ref()));
        // left - right is at most `at_most`: a right row is done that long after it, and so on.
        let keep_right = bounds.at_most;
        let keep_left = bounds.at_least.map(i64::saturating_neg);
        self.bounded(kind, name, (&left, &right), (keep_left, keep_right))?;
        let behind = times.0.iter().chain(&times.1).map(|time| time.mark.behind(0)).max();
        let behind = behind.unwrap_or_default();

        let output = if kind == JoinKind::LeftSemi {
            Arc::clone(&left.schema)
        } else {
            Arc::clone(&join.schema)
        };
        let mut marks = marks_behind(&left, behind, keep_left, times.0.as_ref());
        if kind != JoinKind::LeftSemi {
            marks.extend(marks_behind(&right, behind, keep_right, times.1.as_ref()));
        }
        let (left_keys, right_keys) = condition.keys.into_iter().unzip();
        let plan = JoinPlan {
            query: Arc::from(self.request.name),
            kind,
            left: JoinSide {
                input: Arc::clone(&left.schema),
                keys: left_keys,
                time: times.0.map(|time| time.expr),
                keep_us: keep_left,
            },
            right: JoinSide {
                input: Arc::clone(&right.schema),
                keys: right_keys,
                time: times.1.map(|time| time.expr),
                keep_us: keep_right,
            },
            filter: conjunction(condition.both),
            ttl_us: self.request.state_ttl_us,
            output: Arc::clone(&output),
        };
        let kind = OperatorKind::Join(Box::new(plan));
        let index = self.add_operator(kind, &[&left, &right], behind)?;
        self.feed_operator(left, index, 0)?;
        self.feed_operator(right, index, 1)?;
        Ok(self.flow_of(index, &output, marks))
    }

    /// State that nothing would ever clear is refused.
    fn bounded(
        &self,
        kind: JoinKind,
        name: &str,
        (left, right): (&Flow, &Flow),
        (keep_left, keep_right): (Option<i64>, Option<i64>),
    ) -> Result<(), SqlError> {
        let timed = |flow: &Flow| self.has_watermark(flow);
        let needs = |left: bool| match kind {
            JoinKind::Left => left,
            JoinKind::Right => !left,
            JoinKind::Full => true,
            JoinKind::Inner | JoinKind::LeftSemi => false,
        };
        for (is_left, keep, side) in [(true, keep_left, "left"), (false, keep_right, "right")] {
            if keep.is_some() {
                continue;
            }
            let other = if is_left { "right" } else { "left" };
            if !timed(left) || !timed(right) {
                let without = if timed(left) { right } else { left };
                if needs(is_left) || self.request.state_ttl_us.is_none() {
                    return Err(SqlError::new(format!(
                        "{name} of two streams needs a watermark on both sides, and {} has none",
                        origin_of(without)
                    ))
                    .hint(
                        "give the source a watermark and keep its event time column in the \
                         subquery, and bound the times in ON",
                    ));
                }
                continue;
            }
            let bound = "as in b.ts BETWEEN a.ts AND a.ts + INTERVAL 1 HOUR";
            if needs(is_left) {
                return Err(SqlError::new(format!(
                    "{name} of two streams needs a bound on event time in ON: without one, no {side} \
                     row would ever be known to match nothing"
                ))
                .hint(format!("say how much later the {other} side's time can be, {bound}")));
            }
            if self.request.state_ttl_us.is_none() {
                return Err(SqlError::new(format!(
                    "{name} of two streams without a bound on event time would have to keep every \
                     {side} row for ever"
                ))
                .hint(format!(
                    "say in ON how much later the {other} side's time can be, {bound}; or set \
                     state_ttl to how long rows are kept"
                )));
            }
        }
        Ok(())
    }

    /// Whether the rows come with event time that has a watermark, read or not.
    fn has_watermark(&self, flow: &Flow) -> bool {
        flow.branches.iter().all(|branch| {
            let From::Stream(from) = &branch.from else { return false };
            let known =
                match from {
                    Origin::Source(name) => self.catalog.sources.iter().any(|source| {
                        source.name == *name
                            && source.event_time.is_some()
                            && source.watermark_delay_us.is_some()
                    }),
                    Origin::Query(name) => self.catalog.queries.iter().any(|query| {
                        query.name == *name && query.marks.iter().any(Option::is_some)
                    }),
                    Origin::Operator(_) => false,
                };
            known || branch.marks.iter().any(Option::is_some)
        })
    }

    fn stream_static(
        &mut self,
        join: &Join,
        stream: Flow,
        table: Flow,
        condition: Condition,
        stream_is_left: bool,
    ) -> Result<Flow, SqlError> {
        let kind = match (join.join_type, stream_is_left) {
            (JoinType::Inner, _) => StaticKind::Inner,
            (JoinType::Left, true) | (JoinType::Right, false) => StaticKind::Left,
            (JoinType::LeftSemi, true) => StaticKind::Semi,
            (JoinType::LeftAnti, true) => StaticKind::Anti,
            (JoinType::Left | JoinType::Right | JoinType::Full, _) => {
                return Err(SqlError::new(format!(
                    "{} OUTER JOIN with a table that does not stream is not supported: the table's \
                     rows that match nothing are known only at the stream's end",
                    join.join_type.to_string().to_uppercase()
                ))
                .hint("keep the stream's side: stream LEFT JOIN table"));
            }
            _ => {
                return Err(SqlError::new(
                    "this join keeps rows of a table that does not stream, which is not supported",
                )
                .hint("put the stream on the left: stream LEFT SEMI JOIN table"));
            }
        };
        let (left, right) = if stream_is_left { (&stream, &table) } else { (&table, &stream) };
        let pairs = both_schemas(left, right, self)?;
        let width = stream.schema.fields().len();
        let at = if stream_is_left { 0 } else { table.schema.fields().len() };
        let (mut stream_keys, mut table_keys) = (vec![], vec![]);
        for (left, right) in condition.keys {
            let (stream, table) = if stream_is_left { (left, right) } else { (right, left) };
            stream_keys.push(stream);
            table_keys.push(table);
        }
        let mut parts = vec![];
        for branch in table.branches {
            let From::Table(found) = branch.from else { continue };
            parts.push(TablePart {
                table: found,
                reads: branch.reads,
                input: branch.input,
                chain: branch.chain,
            });
        }
        let step = StaticJoin {
            kind,
            keys: stream_keys,
            table: Arc::new(TableSide::new(parts, table.schema, table_keys)),
            filter: conjunction(condition.both),
            pairs,
            stream: at..at + width,
        };
        let output = match kind {
            StaticKind::Semi | StaticKind::Anti => Arc::clone(&stream.schema),
            StaticKind::Inner | StaticKind::Left => Arc::clone(&join.schema),
        };
        Ok(stream.push(&StepKind::Join(Box::new(step)), &output))
    }
}

/// The time that one side's rows are kept by.
struct SideTime {
    expr: Expr,
    mark: Mark,
}

/// The time that the bounds are about, or else the first that there is.
fn side_time(flow: &Flow, bounded: Option<&Expr>) -> Option<SideTime> {
    let first = || {
        let marks = flow.marks();
        let index = marks.iter().position(Option::is_some)?;
        Some(Expr::Column(flow.schema.columns()[index].clone()))
    };
    let expr = bounded.cloned().or_else(first)?;
    let mark = flow.mark(&expr)?;
    let expr = match mark.kind {
        MarkKind::Time | MarkKind::StartOf(_) => expr,
        // A window is compared by its end.
        MarkKind::Window(_) => get_field(expr, "end"),
        MarkKind::Windows(_) => return None,
    };
    Some(SideTime { expr, mark })
}

/// What is known of one side's columns as event time after the join. That a row may have waited
/// there is in the watermark that the join passes on.
fn marks_behind(
    flow: &Flow,
    behind: i64,
    keep: Option<i64>,
    time: Option<&SideTime>,
) -> Vec<Option<Mark>> {
    let (Some(_), Some(time)) = (keep, time) else {
        return vec![None; flow.schema.fields().len()];
    };
    flow.marks()
        .into_iter()
        .zip(flow.schema.columns())
        .map(|(mark, column)| {
            let mark = mark?;
            let column = Expr::Column(column);
            let same = column == time.expr
                || matches!(&time.expr, Expr::ScalarFunction(f) if f.args.first() == Some(&column));
            same.then_some(Mark { lag: mark.lag.max(behind), ..mark })
        })
        .collect()
}

fn both_schemas(left: &Flow, right: &Flow, builder: &Builder<'_>) -> Result<DFSchemaRef, SqlError> {
    left.schema
        .join(&right.schema)
        .map(Arc::new)
        .map_err(|error| planning_error(&error, builder.landmarks))
}

/// Whether all columns of an expression are among those of `schema`. A constant is over either.
fn is_over(expr: &Expr, schema: &DFSchema) -> bool {
    let columns: HashSet<&Column> = expr.column_refs();
    columns.iter().all(|column| schema.has_column(column))
}

/// The two sides of an equality between them: the left's expression first.
fn equal_keys(expr: &Expr, left: &DFSchema, right: &DFSchema) -> Option<(Expr, Expr)> {
    let Expr::BinaryExpr(BinaryExpr { left: a, op: Operator::Eq, right: b }) = unalias(expr) else {
        return None;
    };
    if is_over(a, left) && is_over(b, right) {
        return Some((a.as_ref().clone(), b.as_ref().clone()));
    }
    (is_over(b, left) && is_over(a, right)).then(|| (b.as_ref().clone(), a.as_ref().clone()))
}

/// Where a flow's rows come from, in words.
fn origin_of(flow: &Flow) -> String {
    let named = flow.branches.iter().find_map(|branch| match &branch.from {
        From::Stream(Origin::Source(name)) => Some(format!("source '{name}'")),
        From::Stream(Origin::Query(name)) => Some(format!("query '{name}'")),
        From::Stream(Origin::Operator(_)) | From::Table(_) => None,
    });
    named.unwrap_or_else(|| "one of them".to_owned())
}
