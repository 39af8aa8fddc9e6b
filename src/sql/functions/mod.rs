//! Functions with Spark's names and behaviour that DataFusion's libraries lack, or do slower.
//!
//! Times are UTC: the session time zone of Spark is fixed to it.

mod calendar;
mod clock;
mod collection;
mod datetime;
pub(super) mod extremes;
mod json;
mod number;
mod parts;
mod pattern;
mod reading;
mod text;
mod window;

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray};
use arrow::datatypes::{DataType, Int64Type, TimeUnit, TimestampMicrosecondType};
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

pub(crate) use clock::{BatchClock, CurrentTime};
pub(crate) use window::window_fields;

/// All of them.
pub(super) fn all() -> Vec<Arc<ScalarUDF>> {
    let plain = parts::functions()
        .into_iter()
        .chain(datetime::functions())
        .chain(text::functions())
        .chain(window::functions())
        .chain(collection::functions())
        .chain(json::functions())
        .chain(number::functions())
        .chain([div()]);
    plain
        .map(|function| Arc::new(ScalarUDF::new_from_impl(function)))
        .chain(clock::functions().into_iter().map(|f| Arc::new(ScalarUDF::new_from_impl(f))))
        .chain([Arc::new(ScalarUDF::new_from_impl(json::FromJson::new()))])
        .collect()
}

/// What `current_timestamp()` and its like give at a time, in microseconds; `None` for every other
/// function.
pub(super) fn current_time(function: &ScalarUDF, now_us: i64) -> Option<ScalarValue> {
    function.inner().downcast_ref::<CurrentTime>().map(|function| function.at(now_us))
}

/// A function without state of its own, put together from plain `fn`s.
pub(super) struct PlainFunction {
    name: &'static str,
    aliases: Vec<String>,
    signature: Signature,
    coerce: fn(&[DataType]) -> Result<Vec<DataType>>,
    returns: fn(&[DataType]) -> Result<DataType>,
    /// Looks at literal arguments when the query is planned, so that a wrong one is not found by
    /// the first row.
    check: fn(&[Option<&ScalarValue>]) -> Result<()>,
    invoke: fn(&ScalarFunctionArgs) -> Result<ColumnarValue>,
}

impl PlainFunction {
    fn new(
        name: &'static str,
        coerce: fn(&[DataType]) -> Result<Vec<DataType>>,
        returns: fn(&[DataType]) -> Result<DataType>,
        invoke: fn(&ScalarFunctionArgs) -> Result<ColumnarValue>,
    ) -> Self {
        Self {
            name,
            aliases: vec![],
            signature: Signature::user_defined(Volatility::Immutable),
            coerce,
            returns,
            check: |_| Ok(()),
            invoke,
        }
    }

    fn aliases(mut self, aliases: &[&str]) -> Self {
        self.aliases = aliases.iter().map(|alias| (*alias).to_owned()).collect();
        self
    }

    /// It is not to be moved, shared or computed ahead.
    fn volatile(mut self) -> Self {
        self.signature = Signature::user_defined(Volatility::Volatile);
        self
    }

    fn check(mut self, check: fn(&[Option<&ScalarValue>]) -> Result<()>) -> Self {
        self.check = check;
        self
    }
}

impl fmt::Debug for PlainFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for PlainFunction {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for PlainFunction {}

impl Hash for PlainFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for PlainFunction {
    fn name(&self) -> &str {
        self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        (self.coerce)(arg_types)
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        (self.returns)(arg_types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<arrow::datatypes::FieldRef> {
        (self.check)(args.scalar_arguments)?;
        let types: Vec<DataType> =
            args.arg_fields.iter().map(|field| field.data_type().clone()).collect();
        let data_type = (self.returns)(&types)?;
        Ok(Arc::new(arrow::datatypes::Field::new(self.name, data_type, true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        (self.invoke)(&args)
    }
}

fn wrong_count<T>(name: &str, expected: &str, got: usize) -> Result<T> {
    plan_err!("{name} takes {expected}, not {got}")
}

/// A point in time, given as TIMESTAMP, DATE or text.
fn time_argument(name: &str, data_type: &DataType) -> Result<DataType> {
    match data_type {
        DataType::Timestamp(_, _)
        | DataType::Date32
        | DataType::Date64
        | DataType::Utf8
        | DataType::LargeUtf8
        | DataType::Utf8View
        | DataType::Null => Ok(super::registry::timestamp_type()),
        other => plan_err!("{name} takes a TIMESTAMP or DATE, not {other}"),
    }
}

/// Anything as text.
fn text_argument(name: &str, data_type: &DataType) -> Result<DataType> {
    match data_type {
        DataType::List(_) | DataType::Struct(_) | DataType::Map(_, _) => {
            plan_err!("{name} takes text, not {data_type}")
        }
        _ => Ok(DataType::Utf8),
    }
}

/// The argument as an array of `rows` rows, or of one if all arguments are constants.
fn array_argument(args: &ScalarFunctionArgs, index: usize) -> Result<ArrayRef> {
    let rows = if all_scalar(args) { 1 } else { args.number_rows };
    match args.args.get(index) {
        Some(value) => value.to_array(rows),
        None => exec_err!("argument {index} is missing"),
    }
}

fn all_scalar(args: &ScalarFunctionArgs) -> bool {
    args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)))
}

/// Constants in, constant out.
fn wrap(args: &ScalarFunctionArgs, array: ArrayRef) -> Result<ColumnarValue> {
    if all_scalar(args) && array.len() == 1 {
        return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?));
    }
    Ok(ColumnarValue::Array(array))
}

fn micros(array: &ArrayRef) -> Result<&PrimitiveArray<TimestampMicrosecondType>> {
    match array.as_primitive_opt::<TimestampMicrosecondType>() {
        Some(times) => Ok(times),
        None => exec_err!("expected TIMESTAMP, got {}", array.data_type()),
    }
}

fn scalar_text(value: &ScalarValue) -> Option<&str> {
    value.try_as_str().flatten()
}

/// The text of a constant argument, `None` if it is NULL.
fn constant_text<'a>(
    args: &'a ScalarFunctionArgs,
    index: usize,
    what: &str,
) -> Result<Option<&'a str>> {
    match args.args.get(index) {
        Some(ColumnarValue::Scalar(value)) => Ok(scalar_text(value)),
        _ => exec_err!("{what} must be a constant"),
    }
}

/// Whether the type is a timestamp in microseconds.
fn is_micros(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Timestamp(TimeUnit::Microsecond, _))
}

/// `a DIV b`: whole quotient as BIGINT, NULL when `b` is 0; the one quotient that overflows wraps.
fn div() -> PlainFunction {
    PlainFunction::new(
        "div",
        |types| match types {
            [_, _] => Ok(vec![DataType::Int64; 2]),
            other => wrong_count("div", "two numbers", other.len()),
        },
        |_| Ok(DataType::Int64),
        |args| {
            let (left, right) = (array_argument(args, 0)?, array_argument(args, 1)?);
            let (left, right) =
                (left.as_primitive::<Int64Type>(), right.as_primitive::<Int64Type>());
            let quotient: PrimitiveArray<Int64Type> = left
                .iter()
                .zip(right)
                .map(|(left, right)| match (left?, right?) {
                    (_, 0) => None,
                    (left, right) => Some(left.wrapping_div(right)),
                })
                .collect();
            wrap(args, Arc::new(quotient))
        },
    )
}
