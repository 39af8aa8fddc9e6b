//! By which columns a row of a query's output replaces an earlier one.

use datafusion::logical_expr::Expr;

use super::chain::unalias;
use super::{OperatorKind, Origin, QueryPlan, Target};

impl QueryPlan {
    /// The output columns that hold the groups of the query's aggregation: two rows that are equal
    /// in them are the same group at two times. A window is held by itself, its start or its end.
    ///
    /// `None` if the query does not end in an aggregation, or if its SELECT list leaves a group's
    /// column out: then nothing tells which row replaces which.
    pub fn key_columns(&self) -> Option<Vec<String>> {
        let mut outputs = self.feeds.iter().filter(|feed| feed.to == Target::Output);
        let (feed, None) = (outputs.next()?, outputs.next()) else { return None };
        let Origin::Operator(index) = feed.from else { return None };
        let OperatorKind::Aggregate(plan) = &self.operators.get(index)?.kind else { return None };
        let groups = plan.keys.len() + plan.window_columns.len();
        let level = feed.chain.steps.len();
        let columns = feed.chain.schema_at(level).columns();
        // Of each output column: the group that it holds.
        let held: Vec<Option<usize>> = columns
            .iter()
            .map(|column| {
                let column = Expr::Column(column.clone());
                let (origin, 0) = feed.chain.origin(&column, level)? else { return None };
                let of = match unalias(&origin) {
                    Expr::Column(column) => column.clone(),
                    Expr::ScalarFunction(function) if function.func.name() == "get_field" => {
                        let Some(Expr::Column(window)) = function.args.first() else { return None };
                        window.clone()
                    }
                    _ => return None,
                };
                feed.input.index_of_column(&of).ok().filter(|index| *index < groups)
            })
            .collect();
        (0..groups)
            .map(|group| {
                let place = held.iter().position(|held| *held == Some(group))?;
                Some(self.output_schema.fields().get(place)?.name().clone())
            })
            .collect()
    }

    /// Whether rows that have come out can come out again, changed.
    pub fn is_aggregated(&self) -> bool {
        self.operators.iter().any(|o| matches!(o.kind, OperatorKind::Aggregate(_)))
    }
}
