//! What a streaming query cannot do (yet), refused with the reason, the position and a way out.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Distinct, Expr, GroupByExpr, LimitClause, OrderByKind, Query, Select, SetExpr, SetOperator,
    SetQuantifier, Spanned, TableFactor, Visit, Visitor,
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
            SetExpr::SetOperation { .. } => set_operation(&query.body)?,
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
        if let Some(order_by) = &query.order_by
            && matches!(order_by.kind, OrderByKind::All(_))
        {
            return refuse(
                "ORDER BY ALL",
                "what rows are sorted by is to be seen in the query",
                "name the columns",
                order_by.span(),
            );
        }
        if let Some(LimitClause::LimitOffset { limit_by, .. }) = &query.limit_clause
            && let Some(by) = limit_by.first()
        {
            return refuse("LIMIT ... BY", "Spark SQL has none", "leave out BY", by.span());
        }
        if let Some(fetch) = &query.fetch {
            let span = fetch.quantity.as_ref().map_or_else(|| query.span(), Spanned::span);
            return refuse("FETCH", "Spark SQL has none", "write LIMIT", span);
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
        if let Some(Distinct::On(_)) = &select.distinct {
            return refuse(
                "DISTINCT ON",
                "Spark SQL has none",
                "use drop_duplicates = [columns] on the query",
                select.select_token.0.span,
            );
        }
        if select.from.is_empty() {
            return refuse(
                "SELECT without FROM",
                "a streaming query reads a source",
                "add FROM and the name of a source",
                select.select_token.0.span,
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
                        "a query reads what the configuration declares",
                        "name a source; explode goes into the SELECT list or LATERAL VIEW",
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
            TableFactor::Derived { lateral: false, sample: None, .. }
            | TableFactor::NestedJoin { alias: None, .. } => ControlFlow::Continue(()),
            _ => refuse(
                "this kind of table in FROM",
                "a query reads sources, other queries and tables",
                "name one of them, or a subquery over them",
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

/// Of the set operations a stream has UNION ALL.
fn set_operation(body: &SetExpr) -> ControlFlow<SqlError> {
    let SetExpr::SetOperation { op, set_quantifier, left, right } = body else {
        return ControlFlow::Continue(());
    };
    let span = right.span();
    match (op, set_quantifier) {
        (SetOperator::Union, SetQuantifier::All) => {}
        (SetOperator::Union, SetQuantifier::None | SetQuantifier::Distinct) => {
            return refuse(
                "UNION without ALL",
                "it would have to remember every row for ever",
                "write UNION ALL, and SELECT DISTINCT around it if rows are to come once",
                span,
            );
        }
        (SetOperator::Union, _) => {
            return refuse(
                "UNION BY NAME",
                "columns go together by position",
                "name the columns in the same order on both sides",
                span,
            );
        }
        (other, _) => {
            return refuse(
                &other.to_string(),
                "it would have to wait for the end of the stream",
                "use LEFT SEMI JOIN, or compare where the tables are read",
                span,
            );
        }
    }
    set_operation(left)?;
    set_operation(right)
}
