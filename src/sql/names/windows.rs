//! `window(ts, '1 minute')` in one SELECT, and `window`, `window.start`, `window.end`.
//!
//! Spark names the struct that grouping by `window(...)` makes `window`. DataFusion has no such
//! name, so every mention of it is replaced by the call itself. While the other names are being
//! resolved a mark stands in its place.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    AccessExpr, Expr, GroupByExpr, Ident, Select, SelectItem, Spanned, Subscript, VisitMut,
    VisitorMut,
};
use datafusion::sql::sqlparser::tokenizer::Span;

use crate::sql::error::SqlError;
use crate::sql::window_clause::{Shape, WindowCall, call, string_literal};

/// What stands for the window's call while names are resolved. No text can hold it.
pub(super) const MARK: &str = "\u{1}window";

/// The window that one SELECT makes.
pub(super) struct Window {
    pub(super) call: WindowCall,
    pub(super) span: Span,
}

/// Replaces the calls that make windows, and every mention of what they make, by marks. A mention
/// may be of a column instead, if there is one of the window's name: `hides_columns` decides.
///
/// # Errors
/// Durations that cannot be read; two different windows.
pub(super) fn take_window(
    select: &mut Select,
    hides_columns: impl Fn(&str) -> bool,
) -> Result<Option<Window>, SqlError> {
    let mut calls = Calls { found: None };
    if let ControlFlow::Break(error) = visit_exprs(select, &mut calls) {
        return Err(error);
    }
    let Some(window) = calls.found else { return Ok(None) };
    name_items(select, window.call.name());
    if hides_columns(window.call.name()) {
        let _ = visit_exprs(select, &mut Mentions { name: window.call.name() });
    }
    Ok(Some(window))
}

/// Puts `replacement` where marks stand.
pub(super) fn put_window(select: &mut Select, replacement: &Expr) {
    let _ = visit_exprs(select, &mut Marks { replacement });
}

/// Puts `replacement` where marks stand in one expression.
pub(super) fn put_window_in(expr: &mut Expr, replacement: &Expr) {
    let _ = expr.visit(&mut Marks { replacement });
}

/// Puts the planner's form of the windows into a join's condition, where a window is a value of a
/// row.
///
/// # Errors
/// Windows of which a row is in several, or which only grouping makes.
pub(super) fn spell_windows(condition: &mut Expr) -> Result<(), SqlError> {
    struct Spell;
    impl VisitorMut for Spell {
        type Break = SqlError;

        fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<SqlError> {
            let Expr::Function(function) = &*expr else { return ControlFlow::Continue(()) };
            let span = function.name.span();
            match WindowCall::read(function) {
                Ok(None) => {}
                Ok(Some(call)) if matches!(call.shape, Shape::Tumbling { .. }) => {
                    *expr = call.canonical(span);
                }
                Ok(Some(_)) => {
                    return ControlFlow::Break(
                        SqlError::new("only tumbling windows can stand in a join's condition")
                            .hint("make the windows in a subquery, and join on its columns")
                            .at(span),
                    );
                }
                Err(error) => return ControlFlow::Break(error.or_at(span)),
            }
            ControlFlow::Continue(())
        }
    }
    match condition.visit(&mut Spell) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

/// Replaces mentions of the window in an expression outside the SELECT (ORDER BY).
pub(super) fn mark_mentions(expr: &mut Expr, window: &Window) {
    let _ = expr.visit(&mut Mentions { name: window.call.name() });
}

/// Whether the SELECT groups its rows.
pub(super) fn is_grouped(select: &Select) -> bool {
    match &select.group_by {
        GroupByExpr::All(_) => true,
        GroupByExpr::Expressions(exprs, _) => !exprs.is_empty(),
    }
}

/// Visits the expressions of one SELECT without going into its FROM, where other queries stand.
fn visit_exprs<V: VisitorMut>(select: &mut Select, visitor: &mut V) -> ControlFlow<V::Break> {
    select.group_by.visit(visitor)?;
    select.projection.visit(visitor)?;
    select.selection.visit(visitor)?;
    select.having.visit(visitor)
}

struct Calls {
    found: Option<Window>,
}

impl VisitorMut for Calls {
    type Break = SqlError;

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<SqlError> {
        let Expr::Function(function) = &*expr else { return ControlFlow::Continue(()) };
        let span = function.name.span();
        let call = match WindowCall::read(function) {
            Ok(None) => return ControlFlow::Continue(()),
            Ok(Some(call)) => call,
            Err(error) => return ControlFlow::Break(error.or_at(span)),
        };
        if is_mark(&call.time) {
            return ControlFlow::Break(
                SqlError::new("a window over a window that the same SELECT makes")
                    .hint("make the inner windows in a subquery or in a query of their own")
                    .at(span),
            );
        }
        match &self.found {
            Some(found) if found.call != call => {
                return ControlFlow::Break(
                    SqlError::new("a query has one window; this one has two different ones")
                        .hint("write a query for each window; they share the source's reading")
                        .at(span),
                );
            }
            Some(_) => {}
            None => self.found = Some(Window { call, span }),
        }
        *expr = mark(span);
        ControlFlow::Continue(())
    }
}

fn mark(span: Span) -> Expr {
    Expr::Identifier(Ident { value: MARK.to_owned(), quote_style: None, span })
}

fn is_mark(expr: &Expr) -> bool {
    matches!(expr, Expr::Identifier(ident) if ident.value == MARK)
}

/// Replaces `window`, `window.start` and `window.end` by the mark and its fields.
struct Mentions {
    name: &'static str,
}

impl VisitorMut for Mentions {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let replacement = match expr {
            Expr::Identifier(ident) if is_window(ident, self.name) => Some(mark(ident.span)),
            Expr::CompoundIdentifier(idents) => match idents.as_slice() {
                [first, field] if is_window(first, self.name) => {
                    let span = first.span.union(&field.span);
                    bound(&field.value).map(|name| field_of(mark(span), name, span))
                }
                _ => None,
            },
            Expr::CompoundFieldAccess { root, access_chain } if is_mark(root) => {
                match access_chain.as_slice() {
                    [AccessExpr::Dot(Expr::Identifier(field))] => {
                        bound(&field.value).map(|name| field_of(mark(field.span), name, field.span))
                    }
                    [AccessExpr::Subscript(Subscript::Index { index })] => match text(index) {
                        Some(field) => bound(&field)
                            .map(|name| field_of(mark(index.span()), name, index.span())),
                        None => None,
                    },
                    _ => None,
                }
            }
            _ => None,
        };
        if let Some(replacement) = replacement {
            *expr = replacement;
        }
        ControlFlow::Continue(())
    }
}

fn text(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Value(value) => value.value.clone().into_string(),
        _ => None,
    }
}

struct Marks<'a> {
    replacement: &'a Expr,
}

impl VisitorMut for Marks<'_> {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if is_mark(expr) {
            *expr = self.replacement.clone();
        }
        ControlFlow::Continue(())
    }
}

fn is_window(ident: &Ident, name: &str) -> bool {
    ident.quote_style.is_none() && ident.value.eq_ignore_ascii_case(name)
}

fn bound(field: &str) -> Option<&'static str> {
    ["start", "end"].into_iter().find(|name| field.eq_ignore_ascii_case(name))
}

fn field_of(expr: Expr, field: &str, span: Span) -> Expr {
    call("get_field", vec![expr, string_literal(field, span)], span)
}

/// Gives unnamed items that are about to be replaced the names that Spark gives them.
fn name_items(select: &mut Select, window: &'static str) {
    for item in &mut select.projection {
        let SelectItem::UnnamedExpr(expr) = item else { continue };
        let name = match expr {
            Expr::Identifier(ident) if ident.value == MARK => Some(window),
            Expr::Identifier(ident) if is_window(ident, window) => Some(window),
            Expr::CompoundIdentifier(idents) => match idents.as_slice() {
                [first, field] if is_window(first, window) => bound(&field.value),
                _ => None,
            },
            Expr::CompoundFieldAccess { root, access_chain } if is_mark(root) => {
                match access_chain.as_slice() {
                    [AccessExpr::Dot(Expr::Identifier(field))] => bound(&field.value),
                    _ => None,
                }
            }
            _ => None,
        };
        if let Some(name) = name {
            let expr = expr.clone();
            *item = SelectItem::ExprWithAlias { expr, alias: Ident::new(name) };
        }
    }
}
