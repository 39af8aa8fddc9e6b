//! Expressions as SQL that a reader of the query recognises.

use std::fmt::Write as _;

use arrow::datatypes::DataType;
use datafusion::common::{Column, ScalarValue};
use datafusion::logical_expr::expr::{
    AggregateFunction, Between, Case, Cast, InList, Like, NullTreatment, ScalarFunction, TryCast,
};
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};

use super::chain::unalias;
use super::marks::WindowExpr;
use crate::event_time::Windows;

/// Prints expressions; `name` says what a column is called.
pub(super) struct Show<'a> {
    pub(super) name: &'a dyn Fn(&Column) -> String,
}

impl Show<'_> {
    pub(super) fn text(&self, expr: &Expr) -> String {
        let mut out = String::new();
        self.write(unalias(expr), &mut out);
        out
    }

    fn list<'e>(&self, exprs: impl IntoIterator<Item = &'e Expr>) -> String {
        exprs.into_iter().map(|expr| self.text(expr)).collect::<Vec<_>>().join(", ")
    }

    /// An operand, in parentheses if it is made of operands itself.
    fn operand(&self, expr: &Expr, above: Operator, out: &mut String) {
        let expr = unalias(expr);
        let wrap = match expr {
            Expr::BinaryExpr(inner) => {
                inner.op != above || !matches!(above, Operator::And | Operator::Or)
            }
            Expr::Between(_) | Expr::Case(_) => true,
            _ => false,
        };
        if wrap {
            out.push('(');
        }
        self.write(expr, out);
        if wrap {
            out.push(')');
        }
    }

    // Writing to a String cannot fail.
    fn write(&self, expr: &Expr, out: &mut String) {
        let _ = match unalias(expr) {
            Expr::Column(column) => write!(out, "{}", (self.name)(column)),
            Expr::Literal(value, _) => write!(out, "{}", literal(value)),
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
                self.operand(left, *op, out);
                let _ = write!(out, " {} ", operator(*op));
                self.operand(right, *op, out);
                Ok(())
            }
            Expr::Not(inner) => write!(out, "NOT ({})", self.text(inner)),
            Expr::Negative(inner) => write!(out, "-({})", self.text(inner)),
            Expr::IsNull(inner) => write!(out, "{} IS NULL", self.text(inner)),
            Expr::IsNotNull(inner) => write!(out, "{} IS NOT NULL", self.text(inner)),
            Expr::IsTrue(inner) => write!(out, "{} IS TRUE", self.text(inner)),
            Expr::IsNotTrue(inner) => write!(out, "{} IS NOT TRUE", self.text(inner)),
            Expr::IsFalse(inner) => write!(out, "{} IS FALSE", self.text(inner)),
            Expr::IsNotFalse(inner) => write!(out, "{} IS NOT FALSE", self.text(inner)),
            Expr::IsUnknown(inner) => write!(out, "{} IS NULL", self.text(inner)),
            Expr::IsNotUnknown(inner) => write!(out, "{} IS NOT NULL", self.text(inner)),
            Expr::Cast(Cast { expr, field }) | Expr::TryCast(TryCast { expr, field }) => {
                write!(out, "CAST({} AS {})", self.text(expr), type_name(field.data_type()))
            }
            Expr::Like(Like { negated, expr, pattern, case_insensitive, .. }) => {
                let not = if *negated { "NOT " } else { "" };
                let like = if *case_insensitive { "ILIKE" } else { "LIKE" };
                write!(out, "{} {not}{like} {}", self.text(expr), self.text(pattern))
            }
            Expr::Between(Between { expr, negated, low, high }) => {
                let not = if *negated { "NOT " } else { "" };
                let (expr, low, high) = (self.text(expr), self.text(low), self.text(high));
                write!(out, "{expr} {not}BETWEEN {low} AND {high}")
            }
            Expr::InList(InList { expr, list, negated }) => {
                let not = if *negated { "NOT " } else { "" };
                write!(out, "{} {not}IN ({})", self.text(expr), self.list(list))
            }
            Expr::Case(case) => write!(out, "{}", self.case(case)),
            Expr::ScalarFunction(function) => write!(out, "{}", self.function(function)),
            Expr::AggregateFunction(function) => write!(out, "{}", self.aggregate(function)),
            other => write!(out, "{}", other.human_display()),
        };
    }

    fn case(&self, case: &Case) -> String {
        let mut out = String::from("CASE");
        if let Some(expr) = &case.expr {
            let _ = write!(out, " {}", self.text(expr));
        }
        for (when, then) in &case.when_then_expr {
            let _ = write!(out, " WHEN {} THEN {}", self.text(when), self.text(then));
        }
        if let Some(otherwise) = &case.else_expr {
            let _ = write!(out, " ELSE {}", self.text(otherwise));
        }
        out.push_str(" END");
        out
    }

    fn function(&self, function: &ScalarFunction) -> String {
        if let Some(call) = WindowExpr::of(function) {
            return window_call(&self.text(call.time), &call.windows);
        }
        match (function.func.name(), function.args.as_slice()) {
            ("get_field", [root, path @ ..]) => {
                let mut out = self.text(root);
                for step in path {
                    match unalias(step) {
                        Expr::Literal(value, _) => match value.try_as_str() {
                            Some(Some(name)) => {
                                let _ = write!(out, ".{name}");
                            }
                            _ => {
                                let _ = write!(out, "[{}]", literal(value));
                            }
                        },
                        other => {
                            let _ = write!(out, "[{}]", self.text(other));
                        }
                    }
                }
                out
            }
            // Put in by the planner: what is divided by zero is NULL.
            ("nullif", [value, Expr::Literal(zero, _)])
                if matches!(
                    zero.cast_to(&DataType::Float64),
                    Ok(ScalarValue::Float64(Some(zero))) if zero == 0.0
                ) =>
            {
                self.text(value)
            }
            ("timestamp_to_string", [time]) => format!("CAST({} AS STRING)", self.text(time)),
            ("regexp_like", [text, pattern]) => {
                format!("{} RLIKE {}", self.text(text), self.text(pattern))
            }
            (name, args) => format!("{name}({})", self.list(args)),
        }
    }

    fn aggregate(&self, function: &AggregateFunction) -> String {
        let params = &function.params;
        let name = match function.func.name() {
            "approx_percentile_cont" => "approx_percentile",
            "approx_distinct" => "approx_count_distinct",
            "percentile_cont" => "percentile",
            "first_value" => "first",
            "last_value" => "last",
            name => name,
        };
        let star = name == "count"
            && !params.distinct
            && matches!(params.args.as_slice(), [Expr::Literal(value, _)] if !value.is_null());
        let args = if star { "*".to_owned() } else { self.list(&params.args) };
        let distinct = if params.distinct { "DISTINCT " } else { "" };
        let mut out = format!("{name}({distinct}{args}");
        if !params.order_by.is_empty() {
            let by = params.order_by.iter().map(|sort| {
                format!("{}{}", self.text(&sort.expr), if sort.asc { "" } else { " DESC" })
            });
            let _ = write!(out, " ORDER BY {}", by.collect::<Vec<_>>().join(", "));
        }
        out.push(')');
        if params.null_treatment == Some(NullTreatment::IgnoreNulls) {
            out.push_str(" IGNORE NULLS");
        }
        if let Some(filter) = &params.filter {
            let _ = write!(out, " FILTER (WHERE {})", self.text(filter));
        }
        out
    }
}

/// `window(ts, '10 minutes', '5 minutes')`.
pub(super) fn window_call(time: &str, windows: &Windows) -> String {
    match windows {
        Windows::Tumbling(w) if w.offset() == 0 => {
            format!("window({time}, '{}')", duration(w.size()))
        }
        Windows::Tumbling(w) => {
            let size = duration(w.size());
            format!("window({time}, '{size}', '{size}', '{}')", duration(w.offset()))
        }
        Windows::Sliding(w) if w.offset() == 0 => {
            format!("window({time}, '{}', '{}')", duration(w.size()), duration(w.slide()))
        }
        Windows::Sliding(w) => format!(
            "window({time}, '{}', '{}', '{}')",
            duration(w.size()),
            duration(w.slide()),
            duration(w.offset())
        ),
        Windows::Session(w) => format!("session_window({time}, '{}')", duration(w.gap())),
        Windows::None => time.to_owned(),
    }
}

/// Microseconds as SQL writes a duration: `1 hour 30 minutes`.
pub(crate) fn duration(us: i64) -> String {
    const UNITS: [(&str, i64); 6] = [
        ("day", 86_400_000_000),
        ("hour", 3_600_000_000),
        ("minute", 60_000_000),
        ("second", 1_000_000),
        ("millisecond", 1_000),
        ("microsecond", 1),
    ];
    if us == 0 {
        return "0 seconds".to_owned();
    }
    let sign = if us < 0 { "-" } else { "" };
    let mut rest = us.unsigned_abs();
    let mut parts = vec![];
    for (unit, length) in UNITS {
        let count = rest / length.unsigned_abs();
        rest %= length.unsigned_abs();
        if count > 0 {
            let plural = if count == 1 { "" } else { "s" };
            parts.push(format!("{sign}{count} {unit}{plural}"));
        }
    }
    parts.join(" ")
}

/// A type as Spark SQL writes it.
pub(crate) fn type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Boolean => "BOOLEAN".to_owned(),
        DataType::Int8 => "TINYINT".to_owned(),
        DataType::Int16 => "SMALLINT".to_owned(),
        DataType::Int32 => "INT".to_owned(),
        DataType::Int64 => "BIGINT".to_owned(),
        DataType::Float32 => "FLOAT".to_owned(),
        DataType::Float64 => "DOUBLE".to_owned(),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "STRING".to_owned(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "BINARY".to_owned(),
        DataType::Date32 => "DATE".to_owned(),
        DataType::Timestamp(_, _) => "TIMESTAMP".to_owned(),
        DataType::Decimal128(precision, scale) => format!("DECIMAL({precision},{scale})"),
        DataType::List(item) => format!("ARRAY<{}>", type_name(item.data_type())),
        DataType::Struct(fields) => {
            let fields =
                fields.iter().map(|f| format!("{}: {}", f.name(), type_name(f.data_type())));
            format!("STRUCT<{}>", fields.collect::<Vec<_>>().join(", "))
        }
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) if fields.len() == 2 => format!(
                "MAP<{}, {}>",
                type_name(fields[0].data_type()),
                type_name(fields[1].data_type())
            ),
            other => other.to_string(),
        },
        other => other.to_string(),
    }
}

fn operator(op: Operator) -> String {
    match op {
        Operator::NotEq => "<>".to_owned(),
        Operator::IsNotDistinctFrom => "<=>".to_owned(),
        other => other.to_string(),
    }
}

fn literal(value: &ScalarValue) -> String {
    if value.is_null() {
        return "NULL".to_owned();
    }
    if let Some(us) = super::marks::interval_us(&Expr::Literal(value.clone(), None)) {
        return format!("INTERVAL '{}'", duration(us));
    }
    match value {
        value if value.data_type().is_string() => {
            format!("'{}'", value.to_string().replace('\'', "''"))
        }
        ScalarValue::Date32(_) => format!("DATE '{value}'"),
        ScalarValue::TimestampMicrosecond(Some(us), _) => {
            match chrono::DateTime::from_timestamp_micros(*us) {
                Some(time) => format!("TIMESTAMP '{}'", time.format("%Y-%m-%d %H:%M:%S%.f")),
                None => us.to_string(),
            }
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_like_those_of_a_query() {
        for (us, text) in [
            (0, "0 seconds"),
            (60_000_000, "1 minute"),
            (5_400_000_000, "1 hour 30 minutes"),
            (1_500, "1 millisecond 500 microseconds"),
            (-7_200_000_000, "-2 hours"),
        ] {
            assert_eq!(duration(us), text);
            if us != 0 {
                assert_eq!(crate::event_time::parse_duration(text), Ok(us));
            }
        }
    }
}
