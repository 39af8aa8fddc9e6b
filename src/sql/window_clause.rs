//! `window(ts, '1 minute')` in the text of a query, and `window`, `window.start`, `window.end`.
//!
//! Spark names the struct that grouping by `window(...)` makes `window`. DataFusion has no such
//! name, so every mention of it is replaced by the call itself, with durations as numbers of
//! microseconds: `window(ts, 60000000, 0)`. The planner then sees one and the same expression in
//! GROUP BY, SELECT and HAVING.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    AccessExpr, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList,
    FunctionArguments, GroupByExpr, Ident, Interval, ObjectName, Query, Select, SelectItem,
    Spanned, Value, ValueWithSpan, VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::tokenizer::Span;

use super::error::{SqlError, location};
use crate::event_time::{Tumbling, parse_duration};

/// Positions that later errors point at.
#[derive(Debug, Default, Clone)]
pub(super) struct Landmarks {
    /// The first `window(...)` call.
    pub window: Option<(usize, usize)>,
    /// The first GROUP BY.
    pub group_by: Option<(usize, usize)>,
    /// The first aggregate function.
    pub aggregate: Option<(usize, usize)>,
    /// Every function called (lower case), in reading order.
    pub functions: Vec<(String, (usize, usize))>,
}

/// Rewrites every mention of a window in `query`; see the module's text.
///
/// # Errors
/// Durations that cannot be read; sliding and session windows; two different windows.
pub(super) fn rewrite_windows(query: &mut Query) -> Result<Landmarks, SqlError> {
    let mut rewriter = Rewriter { landmarks: Landmarks::default() };
    match query.visit(&mut rewriter) {
        ControlFlow::Continue(()) => Ok(rewriter.landmarks),
        ControlFlow::Break(error) => Err(error),
    }
}

struct Rewriter {
    landmarks: Landmarks,
}

impl VisitorMut for Rewriter {
    type Break = SqlError;

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<SqlError> {
        let group_by = match &select.group_by {
            GroupByExpr::Expressions(exprs, _) => exprs.first().map(Spanned::span),
            GroupByExpr::All(_) => Some(select.group_by.span()),
        };
        if let Some(span) = group_by {
            self.landmarks.group_by = self.landmarks.group_by.or_else(|| location(span.start));
        }
        let mut calls = Calls { found: None, span: Span::empty() };
        if let ControlFlow::Break(error) = calls.select(select) {
            return ControlFlow::Break(error);
        }
        self.landmarks.window = self.landmarks.window.or_else(|| location(calls.span.start));
        let Some(call) = calls.found else { return ControlFlow::Continue(()) };
        name_items(select);
        let _ = visit_select_exprs(select, &mut Mentions { call: &call });
        ControlFlow::Continue(())
    }
}

/// Visits the expressions of one SELECT without going into its FROM, where another query may
/// stand with windows of its own.
fn visit_select_exprs<V: VisitorMut>(
    select: &mut Select,
    visitor: &mut V,
) -> ControlFlow<V::Break> {
    let from = std::mem::take(&mut select.from);
    let result = select.group_by.visit(visitor).and_then_continue(|| {
        select
            .projection
            .visit(visitor)
            .and_then_continue(|| select.selection.visit(visitor))
            .and_then_continue(|| select.having.visit(visitor))
    });
    select.from = from;
    result
}

/// `ControlFlow::and_then`, which std does not have yet.
trait AndThenContinue<B> {
    fn and_then_continue(self, next: impl FnOnce() -> ControlFlow<B>) -> ControlFlow<B>;
}

impl<B> AndThenContinue<B> for ControlFlow<B> {
    fn and_then_continue(self, next: impl FnOnce() -> ControlFlow<B>) -> ControlFlow<B> {
        match self {
            ControlFlow::Continue(()) => next(),
            ControlFlow::Break(found) => ControlFlow::Break(found),
        }
    }
}

/// Finds the `window(...)` calls of one SELECT, makes their durations numbers, and checks that they
/// are all the same.
struct Calls {
    found: Option<Expr>,
    span: Span,
}

impl Calls {
    fn select(&mut self, select: &mut Select) -> ControlFlow<SqlError> {
        visit_select_exprs(select, self)
    }
}

impl VisitorMut for Calls {
    type Break = SqlError;

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<SqlError> {
        let Expr::Function(function) = expr else { return ControlFlow::Continue(()) };
        if is_named(function, "session_window") {
            return ControlFlow::Break(
                SqlError::new("session_window is not supported yet: only tumbling windows are")
                    .hint("group by window(ts, '5 minutes')")
                    .at(expr.span()),
            );
        }
        if !is_named(function, "window") || function.args == FunctionArguments::None {
            return ControlFlow::Continue(());
        }
        let span = function.name.span();
        match canonical_call(function) {
            Ok(call) => {
                if self.found.as_ref().is_some_and(|found| *found != call) {
                    return ControlFlow::Break(
                        SqlError::new("a query has one window; this one has two different ones")
                            .hint("write a query for each window; they share the source's reading")
                            .at(span),
                    );
                }
                self.span = if self.found.is_none() { span } else { self.span };
                self.found = Some(call.clone());
                *expr = call;
                ControlFlow::Continue(())
            }
            Err(error) => ControlFlow::Break(error.or_at(span)),
        }
    }
}

/// Replaces `window`, `window.start` and `window.end` by the call and its fields.
struct Mentions<'a> {
    call: &'a Expr,
}

impl VisitorMut for Mentions<'_> {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let replacement = match expr {
            Expr::Identifier(ident) if is_window(ident) => Some(self.call.clone()),
            Expr::CompoundIdentifier(idents) => match idents.as_slice() {
                [first, field] if is_window(first) => bound(field)
                    .map(|name| field_of(self.call.clone(), name, first.span.union(&field.span))),
                _ => None,
            },
            Expr::CompoundFieldAccess { root, access_chain } if **root == *self.call => {
                match access_chain.as_slice() {
                    [AccessExpr::Dot(Expr::Identifier(field))] => {
                        bound(field).map(|name| field_of(self.call.clone(), name, field.span))
                    }
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

fn is_window(ident: &Ident) -> bool {
    ident.quote_style.is_none() && ident.value.eq_ignore_ascii_case("window")
}

fn bound(field: &Ident) -> Option<&'static str> {
    ["start", "end"].into_iter().find(|name| field.value.eq_ignore_ascii_case(name))
}

/// Gives unnamed items that are about to be replaced the names that Spark gives them.
fn name_items(select: &mut Select) {
    for item in &mut select.projection {
        let SelectItem::UnnamedExpr(expr) = item else { continue };
        let name = match expr {
            Expr::Identifier(ident) if is_window(ident) => Some("window"),
            Expr::Function(function) if is_named(function, "window") => Some("window"),
            Expr::CompoundIdentifier(idents) => match idents.as_slice() {
                [first, field] if is_window(first) => bound(field),
                _ => None,
            },
            Expr::CompoundFieldAccess { root, access_chain } => {
                let on_window = matches!(root.as_ref(), Expr::Function(f) if is_named(f, "window"));
                match access_chain.as_slice() {
                    [AccessExpr::Dot(Expr::Identifier(field))] if on_window => bound(field),
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

pub(super) fn is_named(function: &Function, name: &str) -> bool {
    matches!(function.name.0.as_slice(), [part]
        if part.as_ident().is_some_and(|ident| ident.value.eq_ignore_ascii_case(name)))
}

/// A call of `name` with positional arguments.
pub(super) fn call(name: &str, args: Vec<Expr>, span: Span) -> Expr {
    let mut ident = Ident::new(name);
    ident.span = span;
    Expr::Function(Function {
        name: ObjectName::from(vec![ident]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: args
                .into_iter()
                .map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg)))
                .collect(),
            clauses: vec![],
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: vec![],
    })
}

pub(super) fn string_literal(text: &str, span: Span) -> Expr {
    Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(text.to_owned()), span })
}

pub(super) fn number_literal(number: i64, span: Span) -> Expr {
    Expr::Value(ValueWithSpan { value: Value::Number(number.to_string(), false), span })
}

fn field_of(expr: Expr, field: &str, span: Span) -> Expr {
    call("get_field", vec![expr, string_literal(field, span)], span)
}

/// The positional arguments of a call, if they are plain expressions.
pub(super) fn arguments(function: &Function) -> Option<Vec<&Expr>> {
    let FunctionArguments::List(list) = &function.args else { return None };
    list.args
        .iter()
        .map(|arg| match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
            _ => None,
        })
        .collect()
}

fn canonical_call(function: &Function) -> Result<Expr, SqlError> {
    let usage = "write window(<event time column>, '1 minute')";
    let args = arguments(function)
        .filter(|args| (2..=4).contains(&args.len()))
        .ok_or_else(|| SqlError::new("window takes a column and a duration").hint(usage))?;
    // Already rewritten: a SELECT is visited once for each query around it.
    if let [_, size, offset] = args.as_slice()
        && number(size).is_some()
        && number(offset).is_some()
    {
        return Ok(Expr::Function(function.clone()));
    }
    let size = duration(args[1])?;
    let slide = args.get(2).map_or(Ok(size), |slide| duration(slide))?;
    let offset = args.get(3).map_or(Ok(0), |offset| duration(offset))?;
    if slide != size {
        return Err(SqlError::new(
            "sliding windows are not supported yet: only tumbling windows are",
        )
        .hint("leave out the slide duration, or make it equal to the window's"));
    }
    let window = Tumbling::new(size, offset)
        .map_err(|error| SqlError::new(error.to_string()).hint(usage))?;
    let span = function.name.span();
    Ok(call(
        "window",
        vec![
            args[0].clone(),
            number_literal(window.size(), span),
            number_literal(window.offset(), span),
        ],
        span,
    ))
}

fn number(expr: &Expr) -> Option<i64> {
    match expr {
        Expr::Value(ValueWithSpan { value: Value::Number(text, _), .. }) => text.parse().ok(),
        _ => None,
    }
}

/// A duration in microseconds: `'1 minute'`, `"1 minute"` or `INTERVAL 1 MINUTE`.
fn duration(expr: &Expr) -> Result<i64, SqlError> {
    let text = match expr {
        Expr::Value(ValueWithSpan {
            value: Value::SingleQuotedString(text) | Value::DoubleQuotedString(text),
            ..
        }) => text.clone(),
        Expr::Interval(Interval { value, leading_field, last_field: None, .. }) => {
            let count = match value.as_ref() {
                Expr::Value(ValueWithSpan { value, .. }) => match value {
                    Value::SingleQuotedString(text) | Value::DoubleQuotedString(text) => {
                        text.clone()
                    }
                    other => other.to_string(),
                },
                other => other.to_string(),
            };
            match leading_field {
                Some(unit) => format!("{count} {unit}"),
                None => count,
            }
        }
        other => {
            return Err(SqlError::new(format!(
                "'{other}' is not a duration that is known before the query runs"
            ))
            .hint("write it as text, like '1 minute'")
            .at(other.span()));
        }
    };
    parse_duration(&text).map_err(|error| {
        SqlError::new(error.to_string())
            .hint("durations are written like '10 minutes'")
            .at(expr.span())
    })
}
