//! What an operator's state depends on, as text; see `fingerprint.rs`.

use std::fmt::Write as _;

use datafusion::common::DataFusionError;
use datafusion::logical_expr::Expr;

use super::{Branch, Flow, From};
use crate::aggregate::AggregateSet;
use crate::event_time::Windows;
use crate::operator::{JoinPlan, JoinSide};
use crate::sql::chain::StepKind;
use crate::sql::error::SqlError;
use crate::sql::fingerprint::render;
use crate::sql::{OperatorKind, OperatorPlan, Origin, OutputMode};

/// The text whose hash is the operator's fingerprint. `upstream` are the operators before it.
pub(super) fn state_text(
    kind: &OperatorKind,
    inputs: &[&Flow],
    behind_us: i64,
    upstream: &[OperatorPlan],
) -> Result<String, SqlError> {
    let mut text = Text { text: String::new(), upstream };
    let failed = |error: DataFusionError| SqlError::new(error.strip_backtrace());
    match kind {
        OperatorKind::Aggregate(plan) => {
            let simple = matches!(plan.windows, Windows::Tumbling(_))
                && plan.mode == OutputMode::Append
                && behind_us == 0
                && is_one_source(inputs);
            // Checkpoints of the first release had windows of one source and nothing else.
            text.line(if simple { "millpond window state 1" } else { "millpond aggregate 1" });
            if !simple {
                text.line(&format!("mode {} behind {behind_us}", plan.mode));
            }
            let mut exprs: Vec<(&str, &Expr)> = plan.time.iter().map(|e| ("time", e)).collect();
            exprs.extend(plan.keys.iter().map(|(key, _)| ("key", key)));
            exprs.extend(plan.aggregates.iter().map(|aggregate| ("aggregate", aggregate)));
            for branch in inputs.iter().flat_map(|flow| &flow.branches) {
                text.branch(branch, Some(&plan.windows), &exprs).map_err(failed)?;
            }
            let set = AggregateSet::new(plan).map_err(|error| SqlError::new(error.to_string()))?;
            for field in set.partial_schema().fields() {
                text.line(&format!("state {}", field.data_type()));
            }
        }
        OperatorKind::Dedup(plan) => {
            text.line("millpond dedup 1");
            text.line(&format!("keep {:?} behind {behind_us}", plan.keep));
            let mut exprs: Vec<(&str, &Expr)> = plan.time.iter().map(|e| ("time", e)).collect();
            exprs.extend(plan.keys.iter().map(|key| ("key", key)));
            for branch in inputs.iter().flat_map(|flow| &flow.branches) {
                text.branch(branch, None, &exprs).map_err(failed)?;
            }
        }
        OperatorKind::Join(plan) => {
            join_text(&mut text, plan, inputs, behind_us).map_err(failed)?
        }
    }
    Ok(text.text)
}

fn is_one_source(inputs: &[&Flow]) -> bool {
    let [flow] = inputs else { return false };
    let [branch] = flow.branches.as_slice() else { return false };
    let plain = |step: &StepKind| matches!(step, StepKind::Filter(_) | StepKind::Project(_));
    matches!(branch.from, From::Stream(Origin::Source(_)))
        && branch.chain.steps.iter().all(|step| plain(&step.kind))
}

fn join_text(
    text: &mut Text<'_>,
    plan: &JoinPlan,
    inputs: &[&Flow],
    behind_us: i64,
) -> Result<(), DataFusionError> {
    text.line("millpond join 1");
    text.line(&format!("kind {:?} behind {behind_us} ttl {:?}", plan.kind, plan.ttl_us));
    for (side, flow) in [&plan.left, &plan.right].into_iter().zip(inputs) {
        let JoinSide { keys, time, keep_us, input } = side;
        text.line(&format!("side keep {keep_us:?}"));
        let mut exprs: Vec<(&str, &Expr)> = time.iter().map(|time| ("time", time)).collect();
        exprs.extend(keys.iter().map(|key| ("key", key)));
        // Whole rows are kept.
        let columns: Vec<Expr> = input.columns().into_iter().map(Expr::Column).collect();
        exprs.extend(columns.iter().map(|column| ("column", column)));
        for branch in &flow.branches {
            text.branch(branch, None, &exprs)?;
        }
        for field in input.as_arrow().fields() {
            text.line(&format!("state {:?} {}", field.name(), field.data_type()));
        }
    }
    if let Some(filter) = &plan.filter {
        let mut rendered = String::from("filter ");
        render(filter, &mut rendered);
        text.line(&rendered);
    }
    Ok(())
}

struct Text<'a> {
    text: String,
    upstream: &'a [OperatorPlan],
}

impl Text<'_> {
    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// Where rows come from, what is done to them, and the expressions over what they are then.
    fn branch(
        &mut self,
        branch: &Branch,
        windows: Option<&Windows>,
        exprs: &[(&str, &Expr)],
    ) -> Result<(), DataFusionError> {
        match &branch.from {
            From::Stream(Origin::Source(name)) => self.line(&format!("source {name:?}")),
            From::Stream(Origin::Query(name)) => self.line(&format!("query {name:?}")),
            From::Stream(Origin::Operator(index)) => {
                let upstream = self.upstream.get(*index).map_or("", |op| op.fingerprint.as_str());
                self.line(&format!("operator {upstream}"));
            }
            From::Table(table) => self.line(&format!("table {:?}", table.name())),
        }
        match windows {
            Some(Windows::Tumbling(w)) => {
                self.line(&format!("window {} {}", w.size(), w.offset()));
            }
            Some(Windows::Sliding(w)) => {
                self.line(&format!("sliding {} {} {}", w.size(), w.slide(), w.offset()));
            }
            Some(Windows::Session(w)) => self.line(&format!("session {}", w.gap())),
            Some(Windows::None) | None => {}
        }
        let top = branch.chain.steps.len();
        let (times, rest): (Vec<_>, Vec<_>) = exprs.iter().partition(|(kind, _)| *kind == "time");
        for (kind, expr) in times {
            self.expr(branch, kind, expr, top)?;
        }
        for (level, step) in branch.chain.steps.iter().enumerate() {
            match &step.kind {
                StepKind::Filter(predicate) => self.expr(branch, "where", predicate, level)?,
                StepKind::Project(_) => {}
                StepKind::Unnest { column, outer } => {
                    let list = Expr::Column(step.input.columns()[*column].clone());
                    self.expr(
                        branch,
                        if *outer { "unnest outer" } else { "unnest" },
                        &list,
                        level,
                    )?;
                }
                StepKind::Join(join) => {
                    let tables: Vec<&str> =
                        join.table.parts.iter().map(|part| part.table.name()).collect();
                    self.line(&format!("table {tables:?} {:?}", join.kind));
                    for key in &join.keys {
                        self.expr(branch, "on", key, level)?;
                    }
                    for key in join.table.keys.iter().chain(&join.filter) {
                        let mut rendered = String::from("on ");
                        render(key, &mut rendered);
                        self.line(&rendered);
                    }
                }
            }
        }
        for (kind, expr) in rest {
            self.expr(branch, kind, expr, top)?;
        }
        for field in branch.input.as_arrow().fields() {
            self.line(&format!("reads {:?} {}", field.name(), field.data_type()));
        }
        Ok(())
    }

    fn expr(
        &mut self,
        branch: &Branch,
        kind: &str,
        expr: &Expr,
        level: usize,
    ) -> Result<(), DataFusionError> {
        // Writing to a String cannot fail.
        let _ = write!(self.text, "{kind} ");
        render(&branch.chain.inlined(expr, level)?, &mut self.text);
        self.text.push('\n');
        Ok(())
    }
}
