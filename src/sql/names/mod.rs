//! Names: Spark resolves them without regard to case; DataFusion, once asked not to fold them, by
//! exact text. So every name in the parsed query is replaced here by what it means, scope by scope,
//! and a name that nothing declares is an error, where its position is known.
//!
//! On the way the query is put into the form that the planner takes: WITH is written out, `*` is
//! expanded, USING becomes ON, `explode` and LATERAL VIEW become subqueries with `unnest`, and every
//! mention of a window becomes the call that makes it.

mod expressions;
mod from;
mod generators;
mod scope;
mod select;
mod subqueries;
mod titles;
mod windows;

use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::sql::planner::SqlToRel;
use datafusion::sql::sqlparser::ast::{
    Ident, ObjectName, OrderBy, OrderByKind, Query, SetExpr, Spanned, Statement, Visit, Visitor,
};
use datafusion::sql::sqlparser::tokenizer::Span;

pub(super) use generators::GENERATORS;
use scope::Scope;
pub(super) use titles::shown_title;

use super::catalog::{Catalog, Found};
use super::error::{SqlError, location};
use super::messages::planning_error;
use super::parse::parse;
use super::registry::{Context, Functions};
use super::spelling::respell;

/// What names that the planner makes up begin with; no declared name does.
const FRESH: &str = "__";

/// Tables in FROM, WITH written out. More than this is a mistake, or a WITH that doubles itself.
const MAX_RELATIONS: usize = 64;

/// A position: line and column, from 1.
type At = (usize, usize);

/// Positions that later errors point at.
#[derive(Debug, Default, Clone)]
pub(super) struct Landmarks {
    /// The first `window(...)` or `session_window(...)` call.
    pub window: Option<At>,
    /// The first GROUP BY.
    pub group_by: Option<At>,
    /// The first aggregate function.
    pub aggregate: Option<At>,
    /// The first SELECT DISTINCT.
    pub distinct: Option<At>,
    /// The first ORDER BY.
    pub order_by: Option<At>,
    /// The first LIMIT or OFFSET.
    pub limit: Option<At>,
    /// Every join, in the order in which a walk over the plan finishes them.
    pub joins: Vec<At>,
    /// Every function called (lower case), in reading order.
    pub functions: Vec<(String, At)>,
}

/// The tables that `sql` reads, by the names it uses for them, without those it defines itself.
///
/// # Errors
/// A syntax error, or something other than a SELECT.
pub fn relations(sql: &str) -> Result<Vec<String>, SqlError> {
    let query = parse(sql)?;
    let mut tables = Tables::default();
    let _ = query.visit(&mut tables);
    let mut names: Vec<String> = vec![];
    for name in tables.relations {
        let defined = tables.ctes.iter().any(|cte| cte.eq_ignore_ascii_case(&name));
        if !defined && !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

#[derive(Default)]
struct Tables {
    ctes: Vec<String>,
    relations: Vec<String>,
}

impl Visitor for Tables {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let ctes = query.with.iter().flat_map(|with| &with.cte_tables);
        self.ctes.extend(ctes.map(|cte| cte.alias.name.value.clone()));
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        self.relations.push(flat_name(relation));
        ControlFlow::Continue(())
    }
}

/// A table's name as configuration writes it: `a.b` for a qualified one.
fn flat_name(name: &ObjectName) -> String {
    let parts: Vec<&str> =
        name.0.iter().filter_map(|part| part.as_ident().map(|id| id.value.as_str())).collect();
    parts.join(".")
}

/// What resolving a query found beside its names.
pub(super) struct Resolved {
    pub(super) landmarks: Landmarks,
    /// Everything in FROM that the catalog knows, with the name the planner knows it by.
    pub(super) tables: Vec<(String, SchemaRef)>,
    /// What was read into the query that it does not say, for its author to know.
    pub(super) notices: Vec<String>,
}

/// What the query will run over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    /// Streams, which are read once and have no end.
    Streams,
    /// Tables as they are now: there are window functions and subqueries in expressions, columns
    /// need no names of their own, and those of the output get Spark's.
    Tables,
}

/// Puts `query` into the planner's form; see the module's text.
///
/// # Errors
/// A table, column or function that does not exist, with the nearest that does; an ambiguous name;
/// a window or generator where none can be.
pub(super) fn resolve(
    query: &mut Query,
    catalog: &Catalog<'_>,
    functions: &Functions,
    over: Over,
) -> Result<Resolved, SqlError> {
    let mut resolver = Resolver {
        catalog,
        functions,
        over,
        outer: vec![],
        notices: vec![],
        landmarks: Landmarks::default(),
        tables: vec![],
        ctes: vec![],
        relations: 0,
        fresh: 0,
    };
    resolver.query(query)?;
    let Resolver { landmarks, tables, notices, .. } = resolver;
    Ok(Resolved { landmarks, tables, notices })
}

/// A subquery that WITH has given a name.
struct Cte {
    name: String,
    query: Query,
    /// Column names after the name: `WITH t (a, b) AS`.
    columns: Vec<Ident>,
    /// What its text holds, for each mention of it.
    joins: Vec<At>,
    relations: usize,
}

struct Resolver<'a> {
    catalog: &'a Catalog<'a>,
    functions: &'a Functions,
    over: Over,
    /// What the queries around a subquery have in FROM, innermost last.
    outer: Vec<Scope>,
    notices: Vec<String>,
    landmarks: Landmarks,
    tables: Vec<(String, SchemaRef)>,
    ctes: Vec<Cte>,
    relations: usize,
    fresh: usize,
}

impl<'a> Resolver<'a> {
    fn query(&mut self, query: &mut Query) -> Result<(), SqlError> {
        let outer = self.ctes.len();
        if let Some(with) = query.with.take() {
            for mut cte in with.cte_tables {
                let (joins, relations) = (self.landmarks.joins.len(), self.relations);
                self.query(&mut cte.query)?;
                self.ctes.push(Cte {
                    name: cte.alias.name.value,
                    query: *cte.query,
                    columns: cte.alias.columns.into_iter().map(|column| column.name).collect(),
                    joins: self.landmarks.joins.split_off(joins),
                    relations: self.relations - relations,
                });
                // It counts where it is mentioned.
                self.relations = relations;
            }
        }
        if let Some(limit) = &query.limit_clause {
            self.landmarks.limit = self.landmarks.limit.or(location(limit.span().start));
        }
        let mut order_by = query.order_by.take();
        let scope = self.set_expr(&mut query.body, order_by.as_mut())?;
        if let (None, Some(order_by)) = (scope, &mut order_by) {
            // After a UNION: only its columns can be named.
            let columns = self.fields(query)?;
            let scope = Scope::of_columns(&columns);
            if let OrderByKind::Expressions(exprs) = &mut order_by.kind {
                for order in exprs {
                    self.expr(&mut order.expr, &scope, &[])?;
                }
            }
        }
        query.order_by = order_by;
        self.ctes.truncate(outer);
        Ok(())
    }

    /// Whether it was a SELECT, whose names ORDER BY has taken part in.
    fn set_expr(
        &mut self,
        body: &mut SetExpr,
        order_by: Option<&mut OrderBy>,
    ) -> Result<Option<()>, SqlError> {
        match body {
            SetExpr::Select(select) => {
                self.select(select, order_by)?;
                Ok(Some(()))
            }
            SetExpr::Query(query) => {
                self.query(query)?;
                Ok(None)
            }
            SetExpr::SetOperation { left, right, .. } => {
                self.set_expr(left, None)?;
                self.set_expr(right, None)?;
                Ok(None)
            }
            SetExpr::Values(values) if self.over == Over::Tables => {
                let scope = Scope::default();
                let rows = values.rows.iter_mut().flat_map(|row| row.content.iter_mut());
                for value in rows {
                    self.expr(value, &scope, &[])?;
                }
                Ok(None)
            }
            _ => Err(SqlError::new("a query is a SELECT").hint("write SELECT ... FROM a source")),
        }
    }

    /// The columns that a resolved query gives.
    fn fields(&self, query: &Query) -> Result<SchemaRef, SqlError> {
        let mut query = query.clone();
        respell(&mut query)?;
        let context = Context::new(&self.tables);
        let statement = Statement::Query(Box::new(query));
        let plan = SqlToRel::new(&context)
            .sql_statement_to_plan(statement)
            .map_err(|error| planning_error(&error, &self.landmarks))?;
        Ok(Arc::new(plan.schema().as_arrow().clone()))
    }

    /// A name that the query cannot hold.
    fn fresh(&mut self, kind: &str) -> String {
        self.fresh += 1;
        format!("{FRESH}{kind}{}", self.fresh)
    }

    /// What the catalog knows by that name.
    fn found(&self, name: &str, span: Span) -> Result<Found<'a>, SqlError> {
        self.catalog.find(name).map_err(|error| error.at(span))
    }

    fn count_relation(&mut self, count: usize, span: Span) -> Result<(), SqlError> {
        self.relations += count;
        if self.relations > MAX_RELATIONS {
            return Err(SqlError::new(format!(
                "the query names more than {MAX_RELATIONS} tables, WITH written out"
            ))
            .hint("make a part of it a query of its own, and read that one")
            .at(span));
        }
        Ok(())
    }
}
