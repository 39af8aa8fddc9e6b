//! What batch queries call the columns that their text gives no names: as Spark does, `count(1)`,
//! `avg(response_time)`, `(a + b)`.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName, Select,
    SelectItem, Value, Visit, VisitMut, Visitor, VisitorMut,
};

use super::FRESH;
use super::generators::is_generator;
use crate::sql::registry::Functions;
use crate::sql::window_clause::WindowCall;

/// Begins the names of columns that would have the name of another.
const TWIN: &str = "twin";

/// Gives every expression of the SELECT list that is no column a name.
pub(super) fn give_titles(select: &mut Select) {
    for item in &mut select.projection {
        let SelectItem::UnnamedExpr(expr) = item else { continue };
        if let Expr::Function(function) = &*expr
            && (is_generator(function)
                || function.args == FunctionArguments::None
                || !matches!(WindowCall::read(function), Ok(None)))
        {
            continue;
        }
        if matches!(
            expr,
            Expr::Identifier(_) | Expr::CompoundIdentifier(_) | Expr::CompoundFieldAccess { .. }
        ) {
            continue;
        }
        let alias = Ident::new(title(expr));
        *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
    }
}

/// Gives columns that have the name of an earlier one another, which [`shown_title`] takes back:
/// the planner wants each name once, and `SELECT a.id, b.id` is fine.
pub(super) fn make_unique(select: &mut Select) {
    let mut seen: Vec<String> = vec![];
    for item in &mut select.projection {
        let SelectItem::ExprWithAlias { alias, .. } = item else { continue };
        if seen.contains(&alias.value) {
            alias.value = format!("{FRESH}{TWIN}{}:{}", seen.len(), alias.value);
        }
        seen.push(alias.value.clone());
    }
}

/// The name of an output column as its reader is to see it.
pub(in crate::sql) fn shown_title(name: &str) -> &str {
    let twin = name.strip_prefix(FRESH).and_then(|name| name.strip_prefix(TWIN));
    match twin.and_then(|name| name.split_once(':')) {
        // A twin of a twin, where a subquery has both.
        Some((_, name)) => shown_title(name),
        None => name,
    }
}

/// Whether the expression holds an aggregate function that is not a window's. Subqueries have been
/// taken out of it.
pub(super) fn has_aggregate(expr: &Expr, functions: &Functions) -> bool {
    struct Find<'a>(&'a Functions);
    impl Visitor for Find<'_> {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            if let Expr::Function(function) = expr
                && function.over.is_none()
            {
                let name = function.name.0.first().and_then(|part| part.as_ident());
                let lower = name.map(|name| name.value.to_lowercase());
                if lower.is_some_and(|name| self.0.is_aggregate(&name) || is_alias(&name)) {
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        }
    }
    expr.visit(&mut Find(functions)).is_break()
}

/// Aggregates that have another name for the planner.
fn is_alias(name: &str) -> bool {
    matches!(
        name,
        "approx_count_distinct"
            | "approx_percentile"
            | "percentile_approx"
            | "percentile"
            | "count_if"
            | "max_by"
            | "min_by"
            | "every"
            | "some"
            | "any"
            | "std"
            | "variance"
            | "first"
            | "last"
    )
}

/// Whether a column is named in the expression.
pub(super) fn names_column(expr: &Expr) -> bool {
    struct Find;
    impl Visitor for Find {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            match expr {
                Expr::Identifier(_) | Expr::CompoundIdentifier(_) => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        }
    }
    expr.visit(&mut Find).is_break()
}

fn title(expr: &Expr) -> String {
    let mut expr = expr.clone();
    let _ = VisitMut::visit(&mut expr, &mut Spell);
    expr.to_string()
}

/// Puts an expression as Spark spells it.
struct Spell;

impl VisitorMut for Spell {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            // A column without its table.
            Expr::CompoundIdentifier(idents) => {
                if let Some(last) = idents.last() {
                    *expr = Expr::Identifier(plain(last));
                }
            }
            Expr::Identifier(ident) => *ident = plain(ident),
            Expr::Subquery(_) => *expr = Expr::Identifier(Ident::new("scalarsubquery()")),
            Expr::Function(function) => spell_function(function),
            Expr::BinaryOp { .. } => {
                let inner = std::mem::replace(expr, Expr::Identifier(Ident::new("")));
                *expr = Expr::Nested(Box::new(inner));
            }
            Expr::Nested(inner) => {
                let inner = std::mem::replace(inner.as_mut(), Expr::Identifier(Ident::new("")));
                *expr = inner;
            }
            // Without their quotes.
            Expr::Value(value) => match &value.value {
                Value::SingleQuotedString(text) | Value::DoubleQuotedString(text) => {
                    *expr = Expr::Identifier(Ident::new(text));
                }
                _ => {}
            },
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

fn plain(ident: &Ident) -> Ident {
    Ident { quote_style: None, ..ident.clone() }
}

fn spell_function(function: &mut Function) {
    if let [part] = function.name.0.as_slice()
        && let Some(name) = part.as_ident()
    {
        function.name = ObjectName::from(vec![Ident::new(name.value.to_lowercase())]);
    }
    if let FunctionArguments::List(list) = &mut function.args {
        for arg in &mut list.args {
            if let FunctionArg::Unnamed(wildcard @ FunctionArgExpr::Wildcard) = arg {
                // `count(*)`.
                *wildcard = FunctionArgExpr::Expr(Expr::Identifier(Ident::new("1")));
            }
        }
    }
}
