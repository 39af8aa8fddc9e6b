//! Spark's meaning of expressions, put into the logical plan.
//!
//! Two passes around DataFusion's type coercion. Before it: integer literals are INT (not BIGINT)
//! when they fit, `/` divides as DOUBLE (or DECIMAL), `DIV` divides as BIGINT, and dividing by zero
//! is NULL. After it: a cast that fails is NULL, those that coercion has put in included, and
//! casts between numbers or text and TIMESTAMP count seconds and print as Spark does.
//!
//! That is Spark outside ANSI mode (`spark.sql.ansi.enabled=false`): a pipeline must not stop for
//! good at one odd value. Sums and products of integers wrap, as there.

use std::sync::Arc;

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::functions::expr_fn::nullif;
use datafusion::logical_expr::expr::{AggregateFunction, Cast, ScalarFunction, TryCast};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator, lit};
use datafusion::optimizer::analyzer::type_coercion::TypeCoercion;
use datafusion::optimizer::common_subexpr_eliminate::CommonSubexprEliminate;
use datafusion::optimizer::optimize_projections::OptimizeProjections;
use datafusion::optimizer::simplify_expressions::SimplifyExpressions;
use datafusion::optimizer::{AnalyzerRule, Optimizer, OptimizerContext};

use super::functions;
use super::registry::{Functions, timestamp_type};

/// Coerces types with Spark's meaning and simplifies.
///
/// Only rules that work on expressions and columns run. Those that turn one aggregation into
/// several (`count(distinct)` into nested GROUP BYs) must not: state has one aggregation's shape.
///
/// # Errors
/// DataFusion's, about types that do not go together.
pub(super) fn analyze(plan: LogicalPlan, options: &Arc<ConfigOptions>) -> Result<LogicalPlan> {
    let plan = rewrite_expressions(plan, before_coercion)?;
    let plan = TypeCoercion::new().analyze(plan, options)?;
    let plan = rewrite_expressions(plan, after_coercion)?;
    let optimizer = Optimizer::with_rules(vec![
        Arc::new(SimplifyExpressions::new()),
        Arc::new(CommonSubexprEliminate::new()),
        Arc::new(OptimizeProjections::new()),
    ]);
    let config = OptimizerContext::new_with_config_options(Arc::clone(options))
        .without_query_execution_start_time();
    optimizer.optimize(plan, &config, |_, _| {})
}

/// Coerces types with Spark's meaning, in the plan and in the subqueries of its expressions, and
/// leaves the rest to the optimizer of whoever runs it. `now_us`: what the clock says.
///
/// # Errors
/// DataFusion's, about types that do not go together.
pub(super) fn coerce(
    plan: LogicalPlan,
    options: &Arc<ConfigOptions>,
    now_us: i64,
) -> Result<LogicalPlan> {
    let stop_clock = |expr: Expr, schema: &DFSchema| match expr {
        Expr::ScalarFunction(function) => {
            Ok(match functions::current_time(&function.func, now_us) {
                Some(value) => Transformed::yes(Expr::Literal(value, None)),
                None => before_coercion(Expr::ScalarFunction(function), schema)?,
            })
        }
        other => before_coercion(other, schema),
    };
    let plan = rewrite_with_subqueries(plan, &stop_clock)?;
    let plan = TypeCoercion::new().analyze(plan, options)?;
    rewrite_with_subqueries(plan, &after_coercion)
}

/// As [`rewrite_expressions`], and in subqueries too.
fn rewrite_with_subqueries(
    plan: LogicalPlan,
    rewrite: &impl Fn(Expr, &DFSchema) -> Result<Transformed<Expr>>,
) -> Result<LogicalPlan> {
    let rewritten = plan.transform_up_with_subqueries(|plan| match plan {
        // Their numbers have the types that the planner has settled on.
        LogicalPlan::Limit(_) | LogicalPlan::Values(_) => Ok(Transformed::no(plan)),
        plan => rewrite_node(plan, rewrite),
    })?;
    Ok(rewritten.data)
}

fn rewrite_node(
    plan: LogicalPlan,
    rewrite: &impl Fn(Expr, &DFSchema) -> Result<Transformed<Expr>>,
) -> Result<Transformed<LogicalPlan>> {
    let schema = merge_schema(&plan.inputs());
    let names = NamePreserver::new(&plan);
    let mapped = plan.map_expressions(|expr| {
        let name = names.save(&expr);
        let expr = expr.transform_up(|expr| rewrite(expr, &schema))?;
        Ok(Transformed::new_transformed(name.restore(expr.data), expr.transformed))
    })?;
    // Types may have changed beneath the node or in it.
    mapped.map_data(LogicalPlan::recompute_schema)
}

/// Applies `rewrite` to every expression of the plan, bottom up, and keeps every column's name.
fn rewrite_expressions(
    plan: LogicalPlan,
    rewrite: fn(Expr, &DFSchema) -> Result<Transformed<Expr>>,
) -> Result<LogicalPlan> {
    let rewritten = plan.transform_up(|plan| rewrite_node(plan, &rewrite))?;
    Ok(rewritten.data)
}

fn before_coercion(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    match expr {
        Expr::AggregateFunction(function) if function.func.name() == "approx_distinct" => {
            hashable(function, schema)
        }
        Expr::ScalarFunction(mut function)
            if matches!(
                function.func.name(),
                "window" | "sliding_window" | "sliding_windows" | "session_window"
            ) =>
        {
            // Its sizes are ours, in microseconds: put them back to BIGINT.
            for arg in &mut function.args {
                if let Expr::Literal(ScalarValue::Int32(Some(number)), _) = arg {
                    *arg = lit(i64::from(*number));
                }
            }
            Ok(Transformed::yes(Expr::ScalarFunction(function)))
        }
        Expr::ScalarFunction(function) if function.func.name() == "round" => {
            rounded(function, schema)
        }
        Expr::Literal(ScalarValue::Int64(Some(number)), metadata) => {
            Ok(match i32::try_from(number) {
                Ok(number) => {
                    Transformed::yes(Expr::Literal(ScalarValue::Int32(Some(number)), metadata))
                }
                Err(_) => {
                    Transformed::no(Expr::Literal(ScalarValue::Int64(Some(number)), metadata))
                }
            })
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Divide, right }) => {
            let (left_type, right_type) = (left.get_type(schema)?, right.get_type(schema)?);
            if !divides_numbers(&left_type, &right_type) {
                return Ok(Transformed::no(binary(*left, Operator::Divide, *right)));
            }
            let decimal = is_decimal(&left_type)
                && (is_decimal(&right_type) || right_type.is_integer())
                || is_decimal(&right_type) && left_type.is_integer();
            let divided = if decimal {
                let sides = vec![as_decimal(*left, &left_type), as_decimal(*right, &right_type)];
                let function = Functions::get().scalar("decimal_divide")?;
                Expr::ScalarFunction(ScalarFunction::new_udf(function, sides))
            } else {
                let double = |expr, data_type: &DataType| match data_type {
                    DataType::Float64 => expr,
                    _ => try_cast(expr, DataType::Float64),
                };
                let right = double(*right, &right_type);
                binary(
                    double(*left, &left_type),
                    Operator::Divide,
                    null_if_zero(right, &DataType::Float64),
                )
            };
            Ok(Transformed::yes(divided))
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Modulo, right }) => {
            let right_type = right.get_type(schema)?;
            if !right_type.is_numeric() {
                return Ok(Transformed::no(binary(*left, Operator::Modulo, *right)));
            }
            let right = null_if_zero(*right, &right_type);
            Ok(Transformed::yes(binary(*left, Operator::Modulo, right)))
        }
        other => Ok(Transformed::no(other)),
    }
}

/// `round` of a DOUBLE goes by its decimal digits, and that of a DECIMAL has as many as asked for.
fn rounded(mut function: ScalarFunction, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let digits = match function.args.get(1) {
        None => Some(0),
        Some(Expr::Literal(ScalarValue::Int32(Some(digits)), _)) => Some(i64::from(*digits)),
        Some(Expr::Literal(ScalarValue::Int64(Some(digits)), _)) => Some(*digits),
        Some(_) => None,
    };
    let Some(number) = function.args.first() else {
        return Ok(Transformed::no(Expr::ScalarFunction(function)));
    };
    let data_type = number.get_type(schema)?;
    match (&data_type, digits) {
        (DataType::Float64, _) => {
            if function.args.len() == 1 {
                function.args.push(lit(0_i64));
            }
            function.func = Functions::get().scalar("round_double")?;
            Ok(Transformed::yes(Expr::ScalarFunction(function)))
        }
        (DataType::Decimal128(precision, scale), Some(digits))
            if digits >= 0 && digits < i64::from(*scale) =>
        {
            // One digit more before the point: 9.99 is rounded to 10.0.
            let whole = i64::from(*precision) - i64::from(*scale) + 1;
            let precision = u8::try_from((whole + digits).min(38)).unwrap_or(38);
            // It is smaller than a scale.
            let rounded = DataType::Decimal128(precision, digits as i8);
            Ok(Transformed::yes(try_cast(number.clone(), rounded)))
        }
        _ => Ok(Transformed::no(Expr::ScalarFunction(function))),
    }
}

/// A whole number as the DECIMAL that Spark takes it for; literals have as many digits as they show.
fn as_decimal(expr: Expr, data_type: &DataType) -> Expr {
    let digits = match (&expr, data_type) {
        (_, DataType::Decimal128(_, _)) => return expr,
        (Expr::Literal(value, _), _) => {
            u8::try_from(value.to_string().trim_start_matches('-').len()).unwrap_or(20)
        }
        (_, DataType::Int8) => 3,
        (_, DataType::Int16) => 5,
        (_, DataType::Int32) => 10,
        _ => 20,
    };
    try_cast(expr, DataType::Decimal128(digits.clamp(1, 38), 0))
}

/// `approx_distinct` of a type that it cannot hash: of its text instead, which differs when the
/// value does.
fn hashable(mut function: AggregateFunction, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let mut changed = false;
    for arg in &mut function.params.args {
        let data_type = arg.get_type(schema)?;
        if data_type.is_floating() || is_decimal(&data_type) || data_type == DataType::Boolean {
            let text = TryCast::new(Box::new(std::mem::take(arg)), DataType::Utf8);
            *arg = Expr::TryCast(text);
            changed = true;
        }
    }
    let expr = Expr::AggregateFunction(function);
    Ok(Transformed::new_transformed(expr, changed))
}

fn after_coercion(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let (expr, field) = match expr {
        Expr::Cast(Cast { expr, field }) | Expr::TryCast(TryCast { expr, field }) => (expr, field),
        other => return Ok(Transformed::no(other)),
    };
    let (from, to) = (expr.get_type(schema)?, field.data_type().clone());
    let function = |name: &str, args: Vec<Expr>| -> Result<Expr> {
        let function = Functions::get().scalar(name)?;
        Ok(Expr::ScalarFunction(ScalarFunction::new_udf(function, args)))
    };
    let is_micros = matches!(from, DataType::Timestamp(TimeUnit::Microsecond, Some(_)));
    let rewritten = match &to {
        DataType::Utf8 if matches!(from, DataType::Float32 | DataType::Float64) => {
            function("double_to_text", vec![*expr])?
        }
        DataType::Utf8 if is_micros => function("timestamp_to_string", vec![*expr])?,
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64
            if from.is_string() =>
        {
            let number = function("text_to_integer", vec![try_cast(*expr, DataType::Utf8)])?;
            if to == DataType::Int64 { number } else { try_cast(number, to) }
        }
        DataType::Decimal128(_, _) if from.is_string() => {
            let text = function("text_without_exponent", vec![try_cast(*expr, DataType::Utf8)])?;
            try_cast(text, to)
        }
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) if from.is_string() => {
            function("to_timestamp", vec![try_cast(*expr, DataType::Utf8)])?
        }
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 if is_micros => {
            let seconds = function("whole_seconds", vec![*expr])?;
            if to == DataType::Int64 { seconds } else { try_cast(seconds, to) }
        }
        DataType::Float32 | DataType::Float64 if is_micros => {
            let micros = Expr::Cast(Cast::new(expr, DataType::Int64));
            let seconds =
                binary(try_cast(micros, DataType::Float64), Operator::Divide, lit(1_000_000_f64));
            if to == DataType::Float64 { seconds } else { try_cast(seconds, to) }
        }
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) if from.is_numeric() => {
            let number = match from {
                _ if from.is_integer() => try_cast(*expr, DataType::Int64),
                _ => try_cast(*expr, DataType::Float64),
            };
            function("timestamp_seconds", vec![number])?
        }
        _ if from == to => return Ok(Transformed::yes(*expr)),
        _ => Expr::TryCast(TryCast::new_from_field(expr, field)),
    };
    Ok(Transformed::yes(rewritten))
}

fn divides_numbers(left: &DataType, right: &DataType) -> bool {
    let numeric = |data_type: &DataType| {
        data_type.is_numeric() || data_type.is_string() || *data_type == DataType::Null
    };
    numeric(left) && numeric(right)
}

fn is_decimal(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Decimal128(_, _) | DataType::Decimal256(_, _))
}

fn binary(left: Expr, op: Operator, right: Expr) -> Expr {
    Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right)))
}

fn try_cast(expr: Expr, data_type: DataType) -> Expr {
    Expr::TryCast(TryCast::new(Box::new(expr), data_type))
}

/// The divisor, NULL where it is zero. A literal that is not zero stays as it is.
fn null_if_zero(divisor: Expr, data_type: &DataType) -> Expr {
    let literal = match &divisor {
        Expr::TryCast(TryCast { expr, .. }) => expr.as_ref(),
        other => other,
    };
    if let Expr::Literal(value, _) = literal
        && let Ok(value) = value.cast_to(&DataType::Float64)
        && let ScalarValue::Float64(Some(value)) = value
        && value != 0.0
    {
        return divisor;
    }
    match ScalarValue::new_zero(data_type) {
        Ok(zero) => nullif(divisor, Expr::Literal(zero, None)),
        // Not a number: there is no zero to meet.
        Err(_) => divisor,
    }
}

/// The type that a column gets in a table, for each type an expression can have. `None`: no Delta
/// table can hold it.
pub(super) fn storable_type(data_type: &DataType) -> Option<DataType> {
    use arrow::datatypes::Field;
    let field = |field: &Arc<Field>| -> Option<Arc<Field>> {
        let data_type = storable_type(field.data_type())?;
        Some(Arc::new(field.as_ref().clone().with_data_type(data_type)))
    };
    Some(match data_type {
        DataType::Boolean
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::Float32
        | DataType::Float64
        | DataType::Date32
        | DataType::Utf8
        | DataType::Binary => data_type.clone(),
        DataType::UInt8 => DataType::Int16,
        DataType::UInt16 => DataType::Int32,
        DataType::UInt32 | DataType::UInt64 => DataType::Int64,
        DataType::Float16 => DataType::Float32,
        DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            DataType::Binary
        }
        DataType::Date64 => DataType::Date32,
        DataType::Timestamp(_, _) => timestamp_type(),
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale) => {
            DataType::Decimal128(*precision, (*scale).max(0))
        }
        DataType::Decimal256(_, scale) => DataType::Decimal128(38, (*scale).clamp(0, 38)),
        DataType::Dictionary(_, value) => storable_type(value)?,
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            DataType::List(field(item)?)
        }
        DataType::Struct(fields) => {
            DataType::Struct(fields.iter().map(field).collect::<Option<Vec<_>>>()?.into())
        }
        DataType::Map(entries, sorted) => DataType::Map(field(entries)?, *sorted),
        _ => return None,
    })
}
