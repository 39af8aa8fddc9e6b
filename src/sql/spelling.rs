//! Spark's spellings of what DataFusion calls something else, replaced in the parsed query.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CaseWhen, CastKind, CeilFloorKind, DataType, DateTimeField, DuplicateTreatment,
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause, FunctionArguments, Ident,
    NullTreatment, ObjectName, OrderByExpr, OrderByOptions, Query, Spanned, TimezoneInfo,
    UnaryOperator, Value, ValueWithSpan, VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::tokenizer::Span;

use super::error::SqlError;
use super::window_clause::{arguments, call, number_literal};

/// Replaces Spark's spellings in `query`.
///
/// # Errors
/// Forms of a function that are known in Spark and not supported here.
pub(super) fn respell(query: &mut Query) -> Result<(), SqlError> {
    match query.visit(&mut Speller) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

/// Names that are handled here and need not exist as functions of the planner.
pub(super) const SPELLINGS: &[&str] = &[
    "approx_count_distinct",
    "approx_percentile",
    "array_join",
    "array_sort",
    "arrays_overlap",
    "bigint",
    "binary",
    "boolean",
    "ceiling",
    "char_length",
    "character_length",
    "charindex",
    "count_if",
    "endswith",
    "equal_null",
    "filter",
    "len",
    "locate",
    "map_contains_key",
    "startswith",
    "date",
    "double",
    "every",
    "first",
    "float",
    "if",
    "iff",
    "int",
    "isnotnull",
    "isnull",
    "last",
    "lcase",
    "max_by",
    "min_by",
    "percentile",
    "percentile_approx",
    "regexp",
    "rlike",
    "sha",
    "sign",
    "smallint",
    "some",
    "sort_array",
    "std",
    "string",
    "timestamp",
    "tinyint",
    "to_unix_timestamp",
    "transform",
    "ucase",
    "any",
    "var",
    "variance",
];

struct Speller;

impl VisitorMut for Speller {
    type Break = SqlError;

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<SqlError> {
        match respelled(expr) {
            Ok(None) => {}
            Ok(Some(replacement)) => *expr = replacement,
            Err(error) => return ControlFlow::Break(error.at(expr.span())),
        }
        ControlFlow::Continue(())
    }
}

fn respelled(expr: &mut Expr) -> Result<Option<Expr>, SqlError> {
    let span = expr.span();
    let replacement = match expr {
        Expr::Value(ValueWithSpan { value, .. }) => {
            if let Value::DoubleQuotedString(text) = value {
                *value = Value::SingleQuotedString(std::mem::take(text));
            }
            None
        }
        // A failing cast is NULL, as in Spark outside ANSI mode; see `analyze.rs`.
        Expr::Cast { kind, format: None, .. } => {
            *kind = CastKind::TryCast;
            None
        }
        Expr::BinaryOp { left, op: BinaryOperator::MyIntegerDivide, right } => {
            Some(call("div", vec![left.as_ref().clone(), right.as_ref().clone()], span))
        }
        Expr::UnaryOp { op: op @ UnaryOperator::BangNot, .. } => {
            *op = UnaryOperator::Not;
            None
        }
        Expr::RLike { negated, expr, pattern, .. } => {
            let matches =
                call("regexp_like", vec![expr.as_ref().clone(), pattern.as_ref().clone()], span);
            Some(if *negated { not(matches) } else { matches })
        }
        Expr::Extract { field, expr, .. } => {
            let name = date_part(field).ok_or_else(|| {
                SqlError::new(format!("EXTRACT({field} ...) is not supported")).hint(
                    "the parts are YEAR, QUARTER, MONTH, WEEK, DAY, DAYOFWEEK, DOY, HOUR, MINUTE \
                     and SECOND",
                )
            })?;
            Some(call(name, vec![expr.as_ref().clone()], span))
        }
        Expr::Substring { expr, substring_from, substring_for, .. } => {
            let from = match substring_from {
                Some(from) => from.as_ref().clone(),
                None => number_literal(1, span),
            };
            let mut args = vec![expr.as_ref().clone(), from];
            args.extend(substring_for.as_deref().cloned());
            Some(call("substring", args, span))
        }
        Expr::Ceil { expr, field } | Expr::Floor { expr, field }
            if matches!(field, CeilFloorKind::Scale(_)) =>
        {
            return Err(SqlError::new(format!("{expr} to a scale is not supported"))
                .hint("use round(x, d)"));
        }
        Expr::Struct { values, fields } if fields.is_empty() => Some(named_struct(values, span)),
        Expr::Function(function) => respelled_function(function, span)?,
        _ => None,
    };
    Ok(replacement)
}

/// `struct(a, b.c, 1)`: its fields are called as the columns are, and else by their places.
fn named_struct(values: &[Expr], span: Span) -> Expr {
    let mut args = Vec::with_capacity(values.len() * 2);
    for (index, value) in values.iter().enumerate() {
        let (value, name) = match value {
            Expr::Named { expr, name } => (expr.as_ref(), Some(name.value.clone())),
            value => (value, field_name(value)),
        };
        let name = name.unwrap_or_else(|| format!("col{}", index + 1));
        args.push(super::window_clause::string_literal(&name, span));
        args.push(value.clone());
    }
    call("named_struct", args, span)
}

/// The name of a column or of the field that a path leads to.
fn field_name(value: &Expr) -> Option<String> {
    match value {
        Expr::Identifier(ident) => Some(ident.value.clone()),
        Expr::CompoundIdentifier(idents) => idents.last().map(|ident| ident.value.clone()),
        Expr::Function(function) if super::window_clause::is_named(function, "get_field") => {
            match arguments(function)?.last()? {
                Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(name), .. }) => {
                    Some(name.clone())
                }
                _ => None,
            }
        }
        _ => None,
    }
}

fn not(expr: Expr) -> Expr {
    Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(expr) }
}

/// The function that gives a part of a time.
fn date_part(field: &DateTimeField) -> Option<&'static str> {
    Some(match field {
        DateTimeField::Year | DateTimeField::Years => "year",
        DateTimeField::Quarter => "quarter",
        DateTimeField::Month | DateTimeField::Months => "month",
        DateTimeField::Week(None) | DateTimeField::Weeks | DateTimeField::IsoWeek => "weekofyear",
        DateTimeField::Day | DateTimeField::Days => "dayofmonth",
        DateTimeField::DayOfWeek | DateTimeField::Dow => "dayofweek",
        DateTimeField::DayOfYear | DateTimeField::Doy => "dayofyear",
        DateTimeField::Hour | DateTimeField::Hours => "hour",
        DateTimeField::Minute | DateTimeField::Minutes => "minute",
        DateTimeField::Second | DateTimeField::Seconds => "second",
        _ => return None,
    })
}

fn rename(function: &mut Function, name: &str) {
    let mut ident = Ident::new(name);
    ident.span = function.name.span();
    function.name = ObjectName::from(vec![ident]);
}

fn try_cast(expr: Expr, data_type: DataType) -> Expr {
    Expr::Cast {
        kind: CastKind::TryCast,
        expr: Box::new(expr),
        data_type,
        array: false,
        format: None,
    }
}

/// `int(x)` and its like: a cast written as a function.
fn cast_function(name: &str) -> Option<DataType> {
    Some(match name {
        "bigint" => DataType::BigInt(None),
        "binary" => DataType::Binary(None),
        "boolean" => DataType::Boolean,
        "date" => DataType::Date,
        "double" => DataType::Double(datafusion::sql::sqlparser::ast::ExactNumberInfo::None),
        "float" => DataType::Float(datafusion::sql::sqlparser::ast::ExactNumberInfo::None),
        "int" => DataType::Int(None),
        "smallint" => DataType::SmallInt(None),
        "string" => DataType::String(None),
        "timestamp" => DataType::Timestamp(None, TimezoneInfo::None),
        "tinyint" => DataType::TinyInt(None),
        _ => return None,
    })
}

fn respelled_function(function: &mut Function, span: Span) -> Result<Option<Expr>, SqlError> {
    let [part] = function.name.0.as_slice() else { return Ok(None) };
    let Some(name) = part.as_ident().map(|ident| ident.value.to_lowercase()) else {
        return Ok(None);
    };
    let args: Option<Vec<Expr>> =
        arguments(function).map(|args| args.into_iter().cloned().collect());
    let args = args.as_deref();
    if let (Some(data_type), Some([arg])) = (cast_function(&name), args) {
        return Ok(Some(try_cast(arg.clone(), data_type)));
    }
    match (name.as_str(), args) {
        ("if" | "iff", Some([condition, then, otherwise])) => {
            return Ok(Some(Expr::Case {
                case_token: AttachedToken::empty(),
                end_token: AttachedToken::empty(),
                operand: None,
                conditions: vec![CaseWhen { condition: condition.clone(), result: then.clone() }],
                else_result: Some(Box::new(otherwise.clone())),
            }));
        }
        ("struct", Some(args)) => return Ok(Some(named_struct(args, span))),
        ("isnull", Some([arg])) => return Ok(Some(Expr::IsNull(Box::new(arg.clone())))),
        ("isnotnull", Some([arg])) => return Ok(Some(Expr::IsNotNull(Box::new(arg.clone())))),
        ("locate" | "charindex", Some([part, text])) => {
            return Ok(Some(call("instr", vec![text.clone(), part.clone()], span)));
        }
        ("locate" | "charindex", _) => {
            return Err(SqlError::new(format!(
                "{name} with a position to start at is not supported"
            ))
            .hint("use instr on a substring"));
        }
        // Their libraries take INT and nothing wider, and the planner reads literals as BIGINT.
        (
            "date_add" | "date_sub" | "dateadd" | "add_months" | "shiftleft" | "shiftright",
            Some(args),
        ) => {
            let dates = !name.starts_with("shift");
            let args = args.iter().enumerate().map(|(index, arg)| {
                let arg = if index == 0 && dates { date(arg) } else { int(arg) };
                FunctionArg::Unnamed(FunctionArgExpr::Expr(arg))
            });
            set_args(function, args.collect());
        }
        // A TIMESTAMP or text stands for its day.
        ("last_day" | "next_day" | "trunc", Some([day, rest @ ..])) => {
            let args = std::iter::once(date(day)).chain(rest.iter().cloned());
            let args = args.map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg)));
            set_args(function, args.collect());
        }
        ("datediff" | "date_diff", Some([end, start])) => {
            let args = [date(end), date(start)];
            let args = args.map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg)));
            set_args(function, args.to_vec());
        }
        ("array_remove", Some(_)) => rename(function, "array_remove_all"),
        ("sort_array", Some([list])) => {
            return Ok(Some(sorted(list, "ASC", "NULLS FIRST", span)));
        }
        ("sort_array", Some([list, ascending])) => {
            let ascending = match ascending {
                Expr::Value(ValueWithSpan { value: Value::Boolean(ascending), .. }) => *ascending,
                _ => {
                    return Err(SqlError::new(
                        "sort_array takes true or false as its second argument",
                    )
                    .hint("write sort_array(x, false) for descending order"));
                }
            };
            let (order, nulls) =
                if ascending { ("ASC", "NULLS FIRST") } else { ("DESC", "NULLS LAST") };
            return Ok(Some(sorted(list, order, nulls, span)));
        }
        ("array_sort", Some([list])) => {
            return Ok(Some(sorted(list, "ASC", "NULLS LAST", span)));
        }
        ("transform", Some([_, Expr::Lambda(_)])) => rename(function, "array_transform"),
        ("filter", Some([_, Expr::Lambda(_)])) => rename(function, "array_filter"),
        ("array_join", Some(_)) => rename(function, "array_to_string"),
        ("arrays_overlap", Some(_)) => rename(function, "array_has_any"),
        ("map_contains_key", Some([map, key])) => {
            let keys = call("map_keys", vec![map.clone()], span);
            return Ok(Some(call("array_contains", vec![keys, key.clone()], span)));
        }
        ("sign", _) => rename(function, "signum"),
        ("sha", _) => rename(function, "sha1"),
        ("char_length" | "character_length" | "len", _) => rename(function, "length"),
        ("to_unix_timestamp", _) => rename(function, "unix_timestamp"),
        ("equal_null", Some([left, right])) => {
            return Ok(Some(Expr::BinaryOp {
                left: Box::new(left.clone()),
                op: BinaryOperator::Spaceship,
                right: Box::new(right.clone()),
            }));
        }
        ("startswith", _) => rename(function, "starts_with"),
        ("endswith", _) => rename(function, "ends_with"),
        ("regexp" | "rlike", _) => rename(function, "regexp_like"),
        ("lcase", _) => rename(function, "lower"),
        ("ucase", _) => rename(function, "upper"),
        ("ceiling", _) => rename(function, "ceil"),
        ("std", _) => rename(function, "stddev"),
        ("var" | "variance", _) => rename(function, "var_samp"),
        ("every", _) => rename(function, "bool_and"),
        ("some" | "any", _) => rename(function, "bool_or"),
        ("percentile", _) => {
            scalar_percentage(args)?;
            rename(function, "percentile_cont");
        }
        ("approx_percentile" | "percentile_approx", _) => {
            scalar_percentage(args)?;
            rename(function, "approx_percentile_cont");
            // Spark's accuracy (1/relative error) is not t-digest's number of centroids.
            truncate(function, 2);
        }
        ("approx_count_distinct", _) => {
            rename(function, "approx_distinct");
            truncate(function, 1);
        }
        ("count_if", Some([condition])) => {
            let condition = condition.clone();
            set_args(function, vec![FunctionArg::Unnamed(FunctionArgExpr::Wildcard)]);
            rename(function, "count");
            add_filter(function, condition);
        }
        ("first" | "last" | "first_value" | "last_value" | "any_value", Some(args)) => {
            if let [_, ignore] = args {
                let ignores = matches!(
                    ignore,
                    Expr::Value(ValueWithSpan { value: Value::Boolean(true), .. })
                );
                function.null_treatment =
                    ignores.then_some(NullTreatment::IgnoreNulls).or(function.null_treatment);
                truncate(function, 1);
            }
            match name.as_str() {
                "first" => rename(function, "first_value"),
                "last" => rename(function, "last_value"),
                _ => {}
            }
        }
        ("max_by" | "min_by", Some([value, by])) => {
            let (value, by) = (value.clone(), by.clone());
            let order = OrderByExpr {
                expr: by.clone(),
                options: OrderByOptions { asc: Some(name == "min_by"), nulls_first: Some(false) },
                with_fill: None,
            };
            set_args(function, vec![FunctionArg::Unnamed(FunctionArgExpr::Expr(value))]);
            if let FunctionArguments::List(list) = &mut function.args {
                list.clauses.push(FunctionArgumentClause::OrderBy(vec![order]));
            }
            rename(function, "first_value");
            // Rows whose order is NULL do not take part, in Spark.
            add_filter(function, Expr::IsNotNull(Box::new(by)));
        }
        ("count", Some(args)) if args.len() > 1 && is_distinct(function) => {
            // Spark counts the distinct tuples in which nothing is NULL.
            let args = args.to_vec();
            let mut fields = Vec::with_capacity(args.len() * 2);
            for (index, arg) in args.iter().enumerate() {
                fields.push(super::window_clause::string_literal(&format!("c{index}"), span));
                fields.push(arg.clone());
            }
            let tuple = call("named_struct", fields, span);
            set_args(function, vec![FunctionArg::Unnamed(FunctionArgExpr::Expr(tuple))]);
            for arg in args {
                add_filter(function, Expr::IsNotNull(Box::new(arg)));
            }
        }
        _ => {}
    }
    Ok(None)
}

fn date(arg: &Expr) -> Expr {
    try_cast(arg.clone(), DataType::Date)
}

fn sorted(list: &Expr, order: &str, nulls: &str, span: Span) -> Expr {
    let text = |text| super::window_clause::string_literal(text, span);
    call("array_sort", vec![list.clone(), text(order), text(nulls)], span)
}

/// An integer literal as INT; anything else as it is.
fn int(arg: &Expr) -> Expr {
    match arg {
        Expr::Value(ValueWithSpan { value: Value::Number(_, _), .. }) => {
            try_cast(arg.clone(), DataType::Int(None))
        }
        other => other.clone(),
    }
}

fn is_distinct(function: &Function) -> bool {
    matches!(&function.args, FunctionArguments::List(list)
        if list.duplicate_treatment == Some(DuplicateTreatment::Distinct))
}

fn scalar_percentage(args: Option<&[Expr]>) -> Result<(), SqlError> {
    let array = args.and_then(|args| args.get(1)).is_some_and(|percentage| {
        matches!(percentage, Expr::Array(_))
            || matches!(percentage, Expr::Function(f)
                if super::window_clause::is_named(f, "array"))
    });
    if array {
        return Err(SqlError::new("an array of percentages is not supported")
            .hint("write one call for each percentage"));
    }
    Ok(())
}

fn set_args(function: &mut Function, args: Vec<FunctionArg>) {
    if let FunctionArguments::List(list) = &mut function.args {
        list.args = args;
    }
}

fn truncate(function: &mut Function, len: usize) {
    if let FunctionArguments::List(list) = &mut function.args {
        list.args.truncate(len);
    }
}

fn add_filter(function: &mut Function, condition: Expr) {
    let condition = match function.filter.take() {
        None => condition,
        Some(filter) => Expr::BinaryOp {
            left: Box::new(Expr::Nested(filter)),
            op: BinaryOperator::And,
            right: Box::new(Expr::Nested(Box::new(condition))),
        },
    };
    function.filter = Some(Box::new(condition));
}
