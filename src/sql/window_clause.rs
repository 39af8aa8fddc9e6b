//! The calls `window(ts, '1 minute')` and `session_window(ts, '5 minutes')` as text: their durations
//! are read here, and the planner sees them as numbers of microseconds, `window(ts, 60000000, 0)`.

use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident,
    Interval, ObjectName, Spanned, Value, ValueWithSpan,
};
use datafusion::sql::sqlparser::tokenizer::Span;

use super::error::SqlError;
use crate::event_time::{Tumbling, parse_duration};

/// A call that makes windows.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct WindowCall {
    /// The time it is over.
    pub(super) time: Expr,
    pub(super) shape: Shape,
}

/// The windows, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Tumbling { size: i64, offset: i64 },
    Sliding { size: i64, slide: i64, offset: i64 },
    Session { gap: i64 },
}

impl WindowCall {
    /// Reads a function call. `None`: it makes no windows.
    ///
    /// # Errors
    /// Durations that cannot be read or do not go together.
    pub(super) fn read(function: &Function) -> Result<Option<Self>, SqlError> {
        if function.args == FunctionArguments::None {
            return Ok(None);
        }
        if is_named(function, "session_window") {
            return Self::session(function).map(Some);
        }
        if is_named(function, "window") {
            return Self::window(function).map(Some);
        }
        Ok(None)
    }

    fn window(function: &Function) -> Result<Self, SqlError> {
        let usage = "write window(<event time column>, '1 minute')";
        let args = arguments(function)
            .filter(|args| (2..=4).contains(&args.len()))
            .ok_or_else(|| SqlError::new("window takes a column and a duration").hint(usage))?;
        let size = duration(args[1])?;
        let slide = args.get(2).map_or(Ok(size), |slide| duration(slide))?;
        let offset = args.get(3).map_or(Ok(0), |offset| duration(offset))?;
        if slide <= 0 || slide > size {
            let at = args.get(2).map_or_else(|| args[1].span(), |slide| slide.span());
            return Err(SqlError::new(
                "the slide duration of a window must be longer than zero and not longer than the \
                 window",
            )
            .hint("write window(ts, '10 minutes', '5 minutes'): the window's length comes first")
            .at(at));
        }
        // The same limits hold for each of the panes that a window is made of.
        let windows = Tumbling::new(size, 0)
            .and_then(|_| Tumbling::new(slide, offset))
            .map_err(|error| SqlError::new(error.to_string()).hint(usage))?;
        let offset = windows.offset();
        let shape = if slide == size {
            Shape::Tumbling { size, offset }
        } else {
            Shape::Sliding { size, slide, offset }
        };
        Ok(Self { time: args[0].clone(), shape })
    }

    fn session(function: &Function) -> Result<Self, SqlError> {
        let usage = "write session_window(<event time column>, '5 minutes')";
        let Some([time, gap]) = arguments(function).and_then(|a| <[&Expr; 2]>::try_from(a).ok())
        else {
            return Err(SqlError::new("session_window takes a column and a gap").hint(usage));
        };
        let gap_us = duration(gap).map_err(|error| {
            if matches!(gap, Expr::Case { .. } | Expr::Function(_)) {
                return SqlError::new("a session's gap must be the same for every row")
                    .hint(usage)
                    .at(gap.span());
            }
            error
        })?;
        // The same limits hold as for a window of that length.
        Tumbling::new(gap_us, 0).map_err(|error| SqlError::new(error.to_string()).hint(usage))?;
        Ok(Self { time: time.clone(), shape: Shape::Session { gap: gap_us } })
    }

    /// The column that grouping by it makes.
    pub(super) fn name(&self) -> &'static str {
        match self.shape {
            Shape::Session { .. } => "session_window",
            Shape::Tumbling { .. } | Shape::Sliding { .. } => "window",
        }
    }

    /// The call as the planner sees it.
    pub(super) fn canonical(&self, span: Span) -> Expr {
        let numbers: Vec<i64> = match self.shape {
            Shape::Tumbling { size, offset } => vec![size, offset],
            Shape::Sliding { size, slide, offset } => vec![size, slide, offset],
            Shape::Session { gap } => vec![gap],
        };
        let numbers = numbers.into_iter().map(|number| number_literal(number, span));
        let name = match self.shape {
            Shape::Tumbling { .. } => "window",
            Shape::Sliding { .. } => "sliding_window",
            Shape::Session { .. } => "session_window",
        };
        call(name, std::iter::once(self.time.clone()).chain(numbers).collect(), span)
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
