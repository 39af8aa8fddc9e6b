//! The end of a query: ORDER BY and LIMIT over all its rows, and what its output mode allows.

use std::sync::Arc;

use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr, Limit, LogicalPlan};

use super::Builder;
use crate::sql::chain::{Chain, StepKind, unalias};
use crate::sql::error::SqlError;
use crate::sql::finish::{FinishPlan, FinishStep};
use crate::sql::{OperatorKind, OutputMode};

impl Builder<'_> {
    /// Cuts off what is done to all rows of a trigger together. Gives the rest.
    pub(super) fn finish<'p>(
        &self,
        planned: &'p LogicalPlan,
    ) -> Result<(Option<FinishPlan>, &'p LogicalPlan), SqlError> {
        // The nodes from the top down to the last sort or limit of the chain.
        let mut nodes = vec![];
        let mut last = 0;
        let mut node = planned;
        loop {
            nodes.push(node);
            if matches!(node, LogicalPlan::Sort(_) | LogicalPlan::Limit(_)) {
                last = nodes.len();
            }
            node = match node {
                LogicalPlan::Projection(projection) => &projection.input,
                LogicalPlan::Filter(filter) => &filter.input,
                LogicalPlan::SubqueryAlias(alias) => &alias.input,
                LogicalPlan::Sort(sort) => &sort.input,
                LogicalPlan::Limit(limit) => &limit.input,
                _ => break,
            };
        }
        let Some(lowest) = last.checked_sub(1).and_then(|index| nodes.get(index)) else {
            return Ok((None, planned));
        };
        self.check_finish(&nodes[..last])?;
        let body: &LogicalPlan = match lowest {
            LogicalPlan::Sort(sort) => &sort.input,
            LogicalPlan::Limit(limit) => &limit.input,
            other => other,
        };
        let mut steps = vec![];
        for node in nodes[..last].iter().rev() {
            match node {
                LogicalPlan::Sort(sort) => {
                    steps.push(FinishStep::Sort {
                        input: Arc::clone(sort.input.schema()),
                        by: sort.expr.clone(),
                    });
                    if sort.fetch.is_some() {
                        steps.push(FinishStep::Limit { skip: 0, fetch: sort.fetch });
                    }
                }
                LogicalPlan::Limit(limit) => steps.push(self.limit(limit)?),
                LogicalPlan::Projection(projection) => {
                    let mut chain = Chain::new(Arc::clone(projection.input.schema()));
                    let input = Arc::clone(projection.input.schema());
                    let kind = StepKind::Project(projection.expr.clone());
                    chain.push(input, kind, Arc::clone(node.schema()));
                    steps.push(FinishStep::Map(chain));
                }
                LogicalPlan::Filter(filter) => {
                    let mut chain = Chain::new(Arc::clone(filter.input.schema()));
                    let input = Arc::clone(filter.input.schema());
                    let kind = StepKind::Filter(filter.predicate.clone());
                    chain.push(input, kind, Arc::clone(node.schema()));
                    steps.push(FinishStep::Map(chain));
                }
                // The same columns by other names.
                _ => {}
            }
        }
        Ok((Some(FinishPlan { input: Arc::clone(body.schema()), steps }), body))
    }

    fn limit(&self, limit: &Limit) -> Result<FinishStep, SqlError> {
        let number = |expr: Option<&Expr>| match expr.map(unalias) {
            None => Ok(None),
            Some(Expr::Literal(value, _)) => match value {
                ScalarValue::Int32(Some(number)) => Ok(usize::try_from(*number).ok()),
                ScalarValue::Int64(Some(number)) => Ok(usize::try_from(*number).ok()),
                ScalarValue::Int32(None) | ScalarValue::Int64(None) | ScalarValue::Null => Ok(None),
                _ => Err(()),
            },
            Some(_) => Err(()),
        };
        let (skip, fetch) = (number(limit.skip.as_deref()), number(limit.fetch.as_deref()));
        match (skip, fetch) {
            (Ok(skip), Ok(fetch)) => {
                Ok(FinishStep::Limit { skip: skip.unwrap_or_default(), fetch })
            }
            _ => Err(SqlError::new("LIMIT and OFFSET take whole numbers")
                .hint("write LIMIT 10")
                .at_location(self.landmarks.limit)),
        }
    }

    /// Sorting and limiting need all rows at once.
    fn check_finish(&self, nodes: &[&LogicalPlan]) -> Result<(), SqlError> {
        let mode = self.request.mode;
        if mode == OutputMode::Complete {
            return Ok(());
        }
        let sorts = nodes.iter().any(|node| matches!(node, LogicalPlan::Sort(_)));
        if sorts {
            return Err(SqlError::new(format!(
                "ORDER BY is not supported in {mode} output mode: a stream has no end, so there is \
                 never a last row to sort before; only an aggregation in complete mode has all its \
                 rows at once"
            ))
            .hint("set mode = \"complete\" on an aggregation, or sort where the table is read")
            .at_location(self.landmarks.order_by));
        }
        Err(SqlError::new(format!(
            "LIMIT is not supported in {mode} output mode: it would end the stream after some rows"
        ))
        .hint("set mode = \"complete\" on an aggregation, or limit where the table is read")
        .at_location(self.landmarks.limit))
    }

    /// Spark's rules on which query can run in which output mode, for the operators together.
    pub(super) fn check_mode(&self) -> Result<(), SqlError> {
        let mode = self.request.mode;
        let is_aggregate =
            |index: usize| matches!(self.operators[index].kind, OperatorKind::Aggregate(_));
        let aggregates = (0..self.operators.len()).filter(|index| is_aggregate(*index)).count();
        let at = self.landmarks.group_by.or(self.landmarks.aggregate);
        match mode {
            OutputMode::Append => Ok(()),
            OutputMode::Complete if aggregates == 0 => Err(SqlError::new(
                "complete output mode is not supported without an aggregation: it would write every \
                 row that ever came again at each trigger",
            )
            .hint("set mode = \"append\", or aggregate")),
            OutputMode::Update | OutputMode::Complete if aggregates > 1 => {
                Err(SqlError::new(format!(
                    "several aggregations in one query are not supported in {mode} output mode, only \
                     in append mode: a second one would count the first one's rows again each time \
                     they change"
                ))
                .hint("set mode = \"append\"")
                .at_location(at))
            }
            OutputMode::Update | OutputMode::Complete
                if aggregates == 1
                    && self.operators.iter().any(|o| matches!(o.kind, OperatorKind::Join(_))) =>
            {
                Err(SqlError::new(format!(
                    "aggregating what two streams were joined to is not supported in {mode} output \
                     mode, only in append mode"
                ))
                .hint("set mode = \"append\"")
                .at_location(at))
            }
            OutputMode::Update | OutputMode::Complete => {
                let last = self.operators.len().wrapping_sub(1);
                if aggregates == 1 && !is_aggregate(last) {
                    return Err(SqlError::new(format!(
                        "removing duplicates after an aggregation is not supported in {mode} output \
                         mode: rows that change are no duplicates"
                    ))
                    .hint("set mode = \"append\", or remove duplicates before aggregating")
                    .at_location(self.landmarks.distinct.or(at)));
                }
                Ok(())
            }
        }
    }
}
