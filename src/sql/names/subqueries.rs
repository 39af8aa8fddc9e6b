//! Queries inside of expressions: `(SELECT ...)`, `IN (SELECT ...)`, `EXISTS (SELECT ...)`.
//!
//! Their names are resolved on their own, with the names of the query around them in view behind
//! their own. While the expressions around them are resolved, a placeholder stands for each.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Parens, Query, Select, SetExpr, Value, Values, VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::tokenizer::Span;

use super::Resolver;
use super::scope::Scope;
use super::select::query_of;
use crate::sql::error::SqlError;

/// Begins the names of placeholders. No text can hold it.
const MARK: &str = "\u{1}subquery";

/// The queries that were taken out of the expressions of one SELECT.
#[derive(Default)]
pub(super) struct Subqueries(Vec<Query>);

impl Subqueries {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn take_from<T: VisitMut>(&mut self, node: &mut T) {
        let _ = node.visit(&mut Take(&mut self.0));
    }

    /// From all but FROM, whose queries are no expressions.
    pub(super) fn take_from_select(&mut self, select: &mut Select) {
        let _ = visit_expressions(select, &mut Take(&mut self.0));
    }

    pub(super) fn put_back<T: VisitMut>(&self, node: &mut T) {
        let _ = node.visit(&mut PutBack(&self.0));
    }

    pub(super) fn put_back_into_select(&self, select: &mut Select) {
        let _ = visit_expressions(select, &mut PutBack(&self.0));
    }
}

impl Resolver<'_> {
    /// Resolves the queries, which may name what `scope` has.
    pub(super) fn subqueries(
        &mut self,
        subqueries: &mut Subqueries,
        scope: &Scope,
    ) -> Result<(), SqlError> {
        self.outer.push(scope.clone());
        let resolved = subqueries.0.iter_mut().try_for_each(|query| self.query(query));
        self.outer.pop();
        resolved
    }
}

fn visit_expressions<V: VisitorMut>(select: &mut Select, visitor: &mut V) -> ControlFlow<V::Break> {
    select.projection.visit(visitor)?;
    select.selection.visit(visitor)?;
    select.group_by.visit(visitor)?;
    select.having.visit(visitor)?;
    select.qualify.visit(visitor)?;
    select.named_window.visit(visitor)
}

struct Take<'a>(&'a mut Vec<Query>);

impl VisitorMut for Take<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        let placeholder = placeholder(self.0.len());
        self.0.push(std::mem::replace(query, placeholder));
        ControlFlow::Continue(())
    }
}

struct PutBack<'a>(&'a [Query]);

impl VisitorMut for PutBack<'_> {
    type Break = ();

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        if let Some(original) = index_of(query).and_then(|index| self.0.get(index)) {
            query.clone_from(original);
        }
        ControlFlow::Continue(())
    }
}

fn placeholder(index: usize) -> Query {
    let name = Value::Placeholder(format!("{MARK}{index}")).with_span(Span::empty());
    query_of(SetExpr::Values(Values {
        explicit_row: false,
        value_keyword: false,
        rows: vec![Parens::with_empty_span(vec![Expr::Value(name)])],
    }))
}

fn index_of(query: &Query) -> Option<usize> {
    let SetExpr::Values(values) = query.body.as_ref() else { return None };
    let Expr::Value(value) = values.rows.first()?.content.first()? else { return None };
    let Value::Placeholder(name) = &value.value else { return None };
    name.strip_prefix(MARK)?.parse().ok()
}
