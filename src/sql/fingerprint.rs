//! A plan's fingerprint: whether the state that a checkpoint holds fits the query of today.
//!
//! It is the hash of a text that is written here, expression by expression, so that it depends
//! neither on DataFusion's own printing, nor on spelling, aliases or HAVING. What it must change
//! with: the source, the window, the keys, the aggregates, the filters before them, the types of
//! the columns they read and of the state they keep.

use std::fmt::Write as _;

use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::{
    AggregateFunction, Between, Case, Cast, InList, Like, NullTreatment, ScalarFunction, TryCast,
};
use datafusion::logical_expr::{BinaryExpr, Expr};

use super::chain::unalias;

/// Writes an expression in a form of its own.
pub(super) fn render(expr: &Expr, out: &mut String) {
    // Writing to a String cannot fail.
    match unalias(expr) {
        Expr::Column(column) => {
            let _ = write!(out, "[{}]", column.name);
        }
        Expr::Literal(value, _) => literal(value, out),
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            out.push('(');
            render(left, out);
            let _ = write!(out, " {op} ");
            render(right, out);
            out.push(')');
        }
        Expr::Not(inner) => wrapped("not", [inner.as_ref()], out),
        Expr::Negative(inner) => wrapped("negative", [inner.as_ref()], out),
        Expr::IsNull(inner) => wrapped("is_null", [inner.as_ref()], out),
        Expr::IsNotNull(inner) => wrapped("is_not_null", [inner.as_ref()], out),
        Expr::IsTrue(inner) => wrapped("is_true", [inner.as_ref()], out),
        Expr::IsNotTrue(inner) => wrapped("is_not_true", [inner.as_ref()], out),
        Expr::IsFalse(inner) => wrapped("is_false", [inner.as_ref()], out),
        Expr::IsNotFalse(inner) => wrapped("is_not_false", [inner.as_ref()], out),
        Expr::IsUnknown(inner) => wrapped("is_unknown", [inner.as_ref()], out),
        Expr::IsNotUnknown(inner) => wrapped("is_not_unknown", [inner.as_ref()], out),
        Expr::Cast(Cast { expr, field }) | Expr::TryCast(TryCast { expr, field }) => {
            wrapped("cast", [expr.as_ref()], out);
            let _ = write!(out, ":{}", field.data_type());
        }
        Expr::Like(Like { negated, expr, pattern, escape_char, case_insensitive }) => {
            let name = format!("like/{negated}/{case_insensitive}/{escape_char:?}");
            wrapped(&name, [expr.as_ref(), pattern.as_ref()], out);
        }
        Expr::Between(Between { expr, negated, low, high }) => {
            let name = format!("between/{negated}");
            wrapped(&name, [expr.as_ref(), low.as_ref(), high.as_ref()], out);
        }
        Expr::InList(InList { expr, list, negated }) => {
            let name = format!("in/{negated}");
            wrapped(&name, std::iter::once(expr.as_ref()).chain(list), out);
        }
        Expr::Case(Case { expr, when_then_expr, else_expr }) => {
            out.push_str("case(");
            if let Some(expr) = expr {
                render(expr, out);
            }
            for (when, then) in when_then_expr {
                out.push('|');
                render(when, out);
                out.push('>');
                render(then, out);
            }
            if let Some(otherwise) = else_expr {
                out.push_str("|else>");
                render(otherwise, out);
            }
            out.push(')');
        }
        Expr::ScalarFunction(ScalarFunction { func, args }) => wrapped(func.name(), args, out),
        Expr::AggregateFunction(AggregateFunction { func, params }) => {
            let name = if params.distinct {
                format!("{}/distinct", func.name())
            } else {
                func.name().to_owned()
            };
            wrapped(&name, &params.args, out);
            if let Some(filter) = &params.filter {
                wrapped("filter", [filter.as_ref()], out);
            }
            for sort in &params.order_by {
                let name = format!("order/{}/{}", sort.asc, sort.nulls_first);
                wrapped(&name, [&sort.expr], out);
            }
            if params.null_treatment == Some(NullTreatment::IgnoreNulls) {
                out.push_str("/ignore_nulls");
            }
        }
        // Everything else that can be planned (lambdas and the like): the planner's own text.
        other => {
            let _ = write!(out, "{{{}}}", other.schema_name());
        }
    }
}

fn wrapped<'a>(name: &str, args: impl IntoIterator<Item = &'a Expr>, out: &mut String) {
    out.push_str(name);
    out.push('(');
    for (index, arg) in args.into_iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        render(arg, out);
    }
    out.push(')');
}

/// A value with its type; text is quoted, so that no value can look like another expression.
fn literal(value: &ScalarValue, out: &mut String) {
    let _ = match value.try_as_str() {
        Some(Some(text)) => write!(out, "{text:?}"),
        _ => write!(out, "{value}:{}", value.data_type()),
    };
}
