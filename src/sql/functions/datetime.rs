//! Times and dates to and from text and numbers.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray, StringBuilder};
use arrow::datatypes::{DataType, Date32Type, Float64Type, Int64Type, TimestampMicrosecondType};
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs};

use super::calendar::{DAY_US, civil, days, split, weekday};
use super::pattern::{Pattern, print_timestamp};
use super::reading::{parse_date, parse_timestamp};
use super::{
    PlainFunction, array_argument, constant_text, is_micros, micros, scalar_text, text_argument,
    time_argument, wrap, wrong_count,
};
use crate::sql::registry::timestamp_type;

pub(super) fn functions() -> Vec<PlainFunction> {
    vec![
        PlainFunction::new("date_format", time_and_pattern, |_| Ok(DataType::Utf8), date_format)
            .check(|args| check_pattern("date_format", args.get(1))),
        PlainFunction::new(
            "from_unixtime",
            seconds_and_pattern,
            |_| Ok(DataType::Utf8),
            from_unixtime,
        )
        .check(|args| check_pattern("from_unixtime", args.get(1))),
        PlainFunction::new("to_date", text_and_pattern, |_| Ok(DataType::Date32), to_date)
            .check(|args| check_pattern("to_date", args.get(1))),
        PlainFunction::new(
            "to_timestamp",
            text_and_pattern,
            |_| Ok(timestamp_type()),
            to_timestamp,
        )
        .aliases(&["try_to_timestamp"])
        .check(|args| check_pattern("to_timestamp", args.get(1))),
        PlainFunction::new(
            "unix_timestamp",
            text_and_pattern,
            |_| Ok(DataType::Int64),
            unix_timestamp,
        )
        .aliases(&["to_unix_timestamp"])
        .check(|args| check_pattern("unix_timestamp", args.get(1))),
        // The planner's: CAST of a TIMESTAMP to a number, which rounds towards the past.
        PlainFunction::new(
            "whole_seconds",
            |types| match types {
                [time] => Ok(vec![time_argument("a cast", time)?]),
                other => wrong_count("a cast", "one TIMESTAMP", other.len()),
            },
            |_| Ok(DataType::Int64),
            |args| {
                let seconds: PrimitiveArray<Int64Type> =
                    times(args)?.unary(|micros| micros.div_euclid(1_000_000));
                wrap(args, Arc::new(seconds))
            },
        ),
        PlainFunction::new("date_trunc", unit_and_time, |_| Ok(timestamp_type()), date_trunc)
            .check(check_unit),
        PlainFunction::new(
            "timestamp_seconds",
            number,
            |_| Ok(timestamp_type()),
            |args| from_number(args, 1_000_000),
        ),
        PlainFunction::new(
            "timestamp_millis",
            number,
            |_| Ok(timestamp_type()),
            |args| from_number(args, 1_000),
        ),
        PlainFunction::new(
            "timestamp_micros",
            number,
            |_| Ok(timestamp_type()),
            |args| from_number(args, 1),
        ),
        PlainFunction::new(
            "timestamp_to_string",
            |types| match types {
                [time] => Ok(vec![time_argument("timestamp_to_string", time)?]),
                other => wrong_count("timestamp_to_string", "one TIMESTAMP", other.len()),
            },
            |_| Ok(DataType::Utf8),
            timestamp_to_string,
        ),
    ]
}

fn time_and_pattern(types: &[DataType]) -> Result<Vec<DataType>> {
    match types {
        [time, pattern] => {
            Ok(vec![time_argument("date_format", time)?, text_argument("date_format", pattern)?])
        }
        other => wrong_count("date_format", "a TIMESTAMP and a pattern", other.len()),
    }
}

fn seconds_and_pattern(types: &[DataType]) -> Result<Vec<DataType>> {
    match types {
        [_] => Ok(vec![DataType::Int64]),
        [_, _] => Ok(vec![DataType::Int64, DataType::Utf8]),
        other => wrong_count("from_unixtime", "seconds and a pattern", other.len()),
    }
}

/// A time, a date or text, and perhaps the pattern of the text.
fn text_and_pattern(types: &[DataType]) -> Result<Vec<DataType>> {
    let first = |data_type: &DataType| match data_type {
        DataType::Timestamp(_, _) => Ok(timestamp_type()),
        DataType::Date32 | DataType::Date64 => Ok(DataType::Date32),
        DataType::Null | DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            Ok(DataType::Utf8)
        }
        number if number.is_integer() => Ok(DataType::Int64),
        number if number.is_numeric() => Ok(DataType::Float64),
        other => plan_err!("a time is read from text, DATE or TIMESTAMP, not {other}"),
    };
    match types {
        [value] => Ok(vec![first(value)?]),
        [value, pattern] => Ok(vec![first(value)?, text_argument("the pattern", pattern)?]),
        other => wrong_count("the function", "a value and perhaps a pattern", other.len()),
    }
}

fn unit_and_time(types: &[DataType]) -> Result<Vec<DataType>> {
    match types {
        [unit, time] => {
            Ok(vec![text_argument("date_trunc", unit)?, time_argument("date_trunc", time)?])
        }
        other => wrong_count("date_trunc", "a unit and a TIMESTAMP", other.len()),
    }
}

fn number(types: &[DataType]) -> Result<Vec<DataType>> {
    match types {
        [number] if number.is_integer() || *number == DataType::Null => Ok(vec![DataType::Int64]),
        [number] if number.is_numeric() => Ok(vec![DataType::Float64]),
        _ => plan_err!("the function takes one number"),
    }
}

fn check_pattern(name: &str, pattern: Option<&Option<&ScalarValue>>) -> Result<()> {
    match pattern {
        None => Ok(()),
        Some(None) => plan_err!("{name}: the pattern must be a constant"),
        Some(Some(value)) => match scalar_text(value).map(Pattern::compile) {
            Some(Err(error)) => plan_err!("{name}: {error}"),
            _ => Ok(()),
        },
    }
}

/// The compiled pattern of argument `index`; `None` if it is NULL.
fn pattern(args: &ScalarFunctionArgs, index: usize) -> Result<Option<Pattern>> {
    match constant_text(args, index, "the pattern")?.map(Pattern::compile) {
        None => Ok(None),
        Some(Ok(pattern)) => Ok(Some(pattern)),
        Some(Err(error)) => exec_err!("{error}"),
    }
}

fn null_of(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    Ok(ColumnarValue::Scalar(ScalarValue::try_from(args.return_type())?))
}

/// Prints every time that is not NULL.
fn print(
    times: &PrimitiveArray<TimestampMicrosecondType>,
    mut show: impl FnMut(i64, &mut String),
) -> ArrayRef {
    let mut builder = StringBuilder::with_capacity(times.len(), times.len() * 20);
    let mut text = String::new();
    for time in times {
        match time {
            Some(time) => {
                text.clear();
                show(time, &mut text);
                builder.append_value(&text);
            }
            None => builder.append_null(),
        }
    }
    Arc::new(builder.finish())
}

fn date_format(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let Some(pattern) = pattern(args, 1)? else { return null_of(args) };
    let times = array_argument(args, 0)?;
    wrap(args, print(micros(&times)?, |time, out| pattern.format(time, out)))
}

fn timestamp_to_string(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let times = array_argument(args, 0)?;
    wrap(args, print(micros(&times)?, print_timestamp))
}

fn from_unixtime(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let pattern = match args.args.len() {
        1 => Pattern::compile("yyyy-MM-dd HH:mm:ss").ok(),
        _ => pattern(args, 1)?,
    };
    let Some(pattern) = pattern else { return null_of(args) };
    let seconds = array_argument(args, 0)?;
    let Some(seconds) = seconds.as_primitive_opt::<Int64Type>() else {
        return exec_err!("from_unixtime takes seconds");
    };
    let times: PrimitiveArray<TimestampMicrosecondType> =
        seconds.unary_opt(|seconds| seconds.checked_mul(1_000_000));
    wrap(args, print(&times, |time, out| pattern.format(time, out)))
}

fn to_date(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let value = array_argument(args, 0)?;
    let dates: ArrayRef = match value.data_type() {
        DataType::Date32 => value,
        data_type if is_micros(data_type) => {
            let days: PrimitiveArray<Date32Type> =
                micros(&value)?.unary_opt(|time| i32::try_from(split(time).0).ok());
            Arc::new(days)
        }
        DataType::Utf8 => {
            let texts = value.as_string::<i32>();
            let days: PrimitiveArray<Date32Type> = match args.args.len() {
                1 => texts.iter().map(|t| i32::try_from(parse_date(t?)?).ok()).collect(),
                _ => {
                    let Some(pattern) = pattern(args, 1)? else { return null_of(args) };
                    let day = |text: &str| i32::try_from(split(pattern.parse(text)?).0).ok();
                    texts.iter().map(|text| day(text?)).collect()
                }
            };
            Arc::new(days)
        }
        other => return exec_err!("to_date takes text or a time, not {other}"),
    };
    wrap(args, dates)
}

/// Times in microseconds from text (with the pattern of argument 1, if there is one), DATE,
/// TIMESTAMP or seconds.
fn times(args: &ScalarFunctionArgs) -> Result<PrimitiveArray<TimestampMicrosecondType>> {
    let value = array_argument(args, 0)?;
    let times = match value.data_type() {
        data_type if is_micros(data_type) => micros(&value)?.clone(),
        DataType::Date32 => {
            value.as_primitive::<Date32Type>().unary_opt(|day| i64::from(day).checked_mul(DAY_US))
        }
        DataType::Utf8 => {
            let texts = value.as_string::<i32>();
            if args.args.len() == 1 {
                texts.iter().map(|text| parse_timestamp(text?)).collect()
            } else {
                match pattern(args, 1)? {
                    Some(pattern) => texts.iter().map(|text| pattern.parse(text?)).collect(),
                    None => PrimitiveArray::new_null(texts.len()),
                }
            }
        }
        DataType::Int64 => {
            value.as_primitive::<Int64Type>().unary_opt(|seconds| seconds.checked_mul(1_000_000))
        }
        DataType::Float64 => from_seconds(value.as_primitive(), 1_000_000),
        other => return exec_err!("a time is read from text or a number, not {other}"),
    };
    Ok(times)
}

fn from_seconds(
    numbers: &PrimitiveArray<Float64Type>,
    scale: i64,
) -> PrimitiveArray<TimestampMicrosecondType> {
    numbers.unary_opt(|number| {
        let micros = number * scale as f64;
        // 2^63 is the first double that no longer fits.
        (micros.is_finite() && micros.abs() < 9_223_372_036_854_775_808.0)
            .then_some(micros.floor() as i64)
    })
}

fn to_timestamp(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let times = times(args)?.with_timezone("UTC");
    wrap(args, Arc::new(times))
}

fn unix_timestamp(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    // As Spark's, it cuts off towards 1970; a CAST rounds towards the past.
    let seconds: PrimitiveArray<Int64Type> = times(args)?.unary(|micros| micros / 1_000_000);
    wrap(args, Arc::new(seconds))
}

fn from_number(args: &ScalarFunctionArgs, scale: i64) -> Result<ColumnarValue> {
    let value = array_argument(args, 0)?;
    let times: PrimitiveArray<TimestampMicrosecondType> = match value.data_type() {
        DataType::Int64 => {
            value.as_primitive::<Int64Type>().unary_opt(|number| number.checked_mul(scale))
        }
        DataType::Float64 => from_seconds(value.as_primitive(), scale),
        other => return exec_err!("a number is needed, not {other}"),
    };
    wrap(args, Arc::new(times.with_timezone("UTC")))
}

/// The start of the unit that holds a time.
fn truncate(unit: &str) -> Option<fn(i64) -> i64> {
    fn to_multiple<const US: i64>(micros: i64) -> i64 {
        micros - micros.rem_euclid(US)
    }
    fn of_day(micros: i64, first: impl Fn(i64) -> i64) -> i64 {
        first(split(micros).0).saturating_mul(DAY_US)
    }
    Some(match unit.to_ascii_lowercase().as_str() {
        "microsecond" => |micros| micros,
        "millisecond" => to_multiple::<1_000>,
        "second" => to_multiple::<1_000_000>,
        "minute" => to_multiple::<60_000_000>,
        "hour" => to_multiple::<3_600_000_000>,
        "day" | "dd" => to_multiple::<DAY_US>,
        "week" => |micros| of_day(micros, |day| day - i64::from(weekday(day))),
        "month" | "mon" | "mm" => |micros| {
            of_day(micros, |day| {
                let date = civil(day);
                days(date.year, date.month, 1)
            })
        },
        "quarter" => |micros| {
            of_day(micros, |day| {
                let date = civil(day);
                days(date.year, (date.month - 1) / 3 * 3 + 1, 1)
            })
        },
        "year" | "yyyy" | "yy" => |micros| of_day(micros, |day| days(civil(day).year, 1, 1)),
        _ => return None,
    })
}

fn check_unit(args: &[Option<&ScalarValue>]) -> Result<()> {
    let Some(Some(unit)) = args.first() else {
        return plan_err!("date_trunc: the unit must be a constant");
    };
    match scalar_text(unit) {
        Some(unit) if truncate(unit).is_none() => plan_err!(
            "date_trunc: '{unit}' is not a unit (year, quarter, month, week, day, hour, minute, \
             second, millisecond or microsecond)"
        ),
        _ => Ok(()),
    }
}

fn date_trunc(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let Some(truncate) = constant_text(args, 0, "date_trunc's unit")?.and_then(truncate) else {
        return null_of(args);
    };
    let times = array_argument(args, 1)?;
    let truncated: PrimitiveArray<TimestampMicrosecondType> = micros(&times)?.unary(truncate);
    wrap(args, Arc::new(truncated.with_timezone("UTC")))
}
