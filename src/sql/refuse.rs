//! What a streaming query cannot do (yet), refused with the reason, the position and a way out.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Distinct, Expr, GroupByExpr, Query, Select, SetExpr, Spanned, TableFactor, Visit, Visitor,
};
use datafusion::sql::sqlparser::tokenizer::Span;

use super::error::SqlError;

/// Refuses what is outside the supported part of SQL.
///
/// # Errors
/// The first construct, in reading order, that is not supported.
pub(super) fn refuse_unsupported(query: &Query) -> Result<(), SqlError> {
    match query.visit(&mut Refuse) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

struct Refuse;

fn refuse(what: &str, why: &str, instead: &str, span: Span) -> ControlFlow<SqlError> {
    ControlFlow::Break(
        SqlError::new(format!("{what} is not supported: {why}")).hint(instead).at(span),
    )
}

impl Visitor for Refuse {
    type Break = SqlError;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<SqlError> {
        if let Some(with) = query.with.as_ref().filter(|with| with.recursive) {
            return refuse(
                "WITH RECURSIVE",
                "a stream cannot be read again",
                "write the query without recursion",
                with.span(),
            );
        }
        match query.body.as_ref() {
            SetExpr::SetOperation { op, .. } => {
                return refuse(
                    &op.to_string(),
                    "a query reads one source",
                    "make each side a query of its own, with a table of its own",
                    query.body.span(),
                );
            }
            SetExpr::Values(_) => {
                return refuse(
                    "VALUES",
                    "a streaming query reads a source",
                    "write SELECT ... FROM a source",
                    query.body.span(),
                );
            }
            SetExpr::Select(_) | SetExpr::Query(_) => {}
            _ => {
                return refuse(
                    "a statement that is not a SELECT",
                    "a streaming query computes rows; where they go is said in its sinks",
                    "write a SELECT",
                    query.body.span(),
                );
            }
        }
        if let Some(order_by) = &query.order_by {
            return refuse(
                "ORDER BY",
                "a stream has no end, so there is never a last row to sort before",
                "sort where the table is read",
                order_by.span(),
            );
        }
        if let Some(limit) = &query.limit_clause {
            return refuse(
                "LIMIT",
                "it would end the stream after some rows",
                "limit where the table is read",
                limit.span(),
            );
        }
        if let Some(fetch) = &query.fetch {
            let span = fetch.quantity.as_ref().map_or_else(|| query.span(), Spanned::span);
            return refuse(
                "FETCH",
                "it would end the stream after some rows",
                "limit where the table is read",
                span,
            );
        }
        if !query.locks.is_empty()
            || query.for_clause.is_some()
            || query.settings.is_some()
            || query.format_clause.is_some()
            || !query.pipe_operators.is_empty()
        {
            return refuse(
                "a clause after the SELECT",
                "it has no meaning for a stream",
                "leave out FOR, SETTINGS, FORMAT and |>",
                query.span(),
            );
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<SqlError> {
        if let Some(distinct) = select.distinct.as_ref().filter(|d| !matches!(d, Distinct::All)) {
            let what = match distinct {
                Distinct::On(_) => "DISTINCT ON",
                _ => "SELECT DISTINCT",
            };
            return refuse(
                what,
                "it would have to remember every row for ever",
                "group by window(...) and the columns, which keeps one row of each a window",
                select.select_token.0.span,
            );
        }
        one_table(select)?;
        if let Some(view) = select.lateral_views.first() {
            return refuse(
                "LATERAL VIEW",
                "one row must stay one row for now",
                "explode arrays where the table is read",
                view.lateral_view.span(),
            );
        }
        let spark_order = select
            .sort_by
            .first()
            .map(|sort| ("SORT BY", sort.span()))
            .or_else(|| select.cluster_by.first().map(|e| ("CLUSTER BY", e.span())))
            .or_else(|| select.distribute_by.first().map(|e| ("DISTRIBUTE BY", e.span())));
        if let Some((what, span)) = spark_order {
            return refuse(
                what,
                "rows of a stream have no order to keep, and their distribution is the engine's",
                "leave it out; a sink's partitioning is set in its configuration",
                span,
            );
        }
        if let Some(qualify) = &select.qualify {
            return refuse(
                "QUALIFY",
                "it filters window functions (OVER), which are not supported",
                "use HAVING",
                qualify.span(),
            );
        }
        if let Some(name) = select.named_window.first() {
            return refuse(
                "WINDOW",
                "window functions (OVER) need rows before and after that a stream has not got yet",
                "group by window(...)",
                name.0.span,
            );
        }
        let modifiers = match &select.group_by {
            GroupByExpr::All(modifiers) | GroupByExpr::Expressions(_, modifiers) => modifiers,
        };
        if !modifiers.is_empty() {
            return refuse(
                "GROUP BY ... WITH ROLLUP/CUBE",
                "it is several groupings in one query",
                "write one query for each grouping",
                select.group_by.span(),
            );
        }
        let odd = select.top.is_some()
            || select.into.is_some()
            || select.prewhere.is_some()
            || !select.connect_by.is_empty()
            || select.value_table_mode.is_some()
            || select.exclude.is_some();
        if odd {
            return refuse(
                "a clause of another SQL dialect",
                "queries are written in Spark SQL",
                "leave out TOP, INTO, PREWHERE, CONNECT BY, AS VALUE and EXCLUDE",
                select.select_token.0.span,
            );
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, table: &TableFactor) -> ControlFlow<SqlError> {
        match table {
            TableFactor::Table { args, version, sample, .. } => {
                if args.is_some() {
                    return refuse(
                        "a table function",
                        "a query reads a source that is declared in the configuration",
                        "name a source; window(...) goes into GROUP BY",
                        table.span(),
                    );
                }
                if version.is_some() || sample.is_some() {
                    return refuse(
                        "time travel or TABLESAMPLE",
                        "a stream is read once, as it comes",
                        "leave it out",
                        table.span(),
                    );
                }
                ControlFlow::Continue(())
            }
            TableFactor::Derived { lateral: false, sample: None, .. } => ControlFlow::Continue(()),
            _ => refuse(
                "this kind of table in FROM",
                "a query reads one source",
                "name a source, or a subquery over one",
                table.span(),
            ),
        }
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<SqlError> {
        match expr {
            Expr::Subquery(_) | Expr::InSubquery { .. } | Expr::Exists { .. } => refuse(
                "a subquery inside an expression",
                "its result would change while the stream runs",
                "write the values into the query",
                expr.span(),
            ),
            Expr::GroupingSets(_) | Expr::Cube(_) | Expr::Rollup(_) => refuse(
                "GROUPING SETS, CUBE or ROLLUP",
                "it is several groupings in one query",
                "write one query for each grouping",
                expr.span(),
            ),
            Expr::Function(function) if function.over.is_some() => refuse(
                "a window function (OVER)",
                "it needs rows before and after that a stream has not got yet",
                "group by window(...)",
                expr.span(),
            ),
            _ => ControlFlow::Continue(()),
        }
    }
}

/// FROM names exactly one table.
fn one_table(select: &Select) -> ControlFlow<SqlError> {
    let Some(first) = select.from.first() else {
        return refuse(
            "SELECT without FROM",
            "a streaming query reads a source",
            "add FROM and the name of a source",
            select.select_token.0.span,
        );
    };
    if let Some(join) = first.joins.first() {
        return refuse(
            "JOIN",
            "a query reads one source",
            "join where the tables are read",
            join.relation.span(),
        );
    }
    if let Some(second) = select.from.get(1) {
        return refuse(
            "a second table in FROM",
            "that is a join, and a query reads one source",
            "join where the tables are read",
            second.relation.span(),
        );
    }
    ControlFlow::Continue(())
}
