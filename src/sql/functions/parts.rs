//! Parts of a time: `hour(ts)`, `dayofweek(ts)` and the like, as INT.

use std::cell::Cell;
use std::sync::Arc;

use arrow::array::PrimitiveArray;
use arrow::datatypes::{DataType, Int32Type};
use datafusion::common::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs};

use super::calendar::{civil, day_of_year, iso_week, split, weekday};
use super::{PlainFunction, array_argument, micros, time_argument, wrap, wrong_count};

pub(super) fn functions() -> Vec<PlainFunction> {
    let part = |name, invoke| PlainFunction::new(name, one_time, |_| Ok(DataType::Int32), invoke);
    vec![
        part("year", |args| of_day(args, |day| civil(day).year as i32)),
        part("quarter", |args| of_day(args, |day| (civil(day).month as i32 + 2) / 3)),
        part("month", |args| of_day(args, |day| civil(day).month as i32)),
        part("weekofyear", |args| of_day(args, |day| iso_week(day) as i32)),
        part("dayofmonth", |args| of_day(args, |day| civil(day).day as i32)).aliases(&["day"]),
        // 1 = Sunday .. 7 = Saturday
        part("dayofweek", |args| of_day(args, |day| (weekday(day) as i32 + 1) % 7 + 1)),
        // 0 = Monday .. 6 = Sunday
        part("weekday", |args| of_day(args, |day| weekday(day) as i32)),
        part("dayofyear", |args| of_day(args, |day| day_of_year(day, civil(day)) as i32)),
        part("hour", |args| of_time(args, |micros| (micros / 3_600_000_000) as i32)),
        part("minute", |args| of_time(args, |micros| (micros / 60_000_000 % 60) as i32)),
        part("second", |args| of_time(args, |micros| (micros / 1_000_000 % 60) as i32)),
    ]
}

fn one_time(types: &[DataType]) -> Result<Vec<DataType>> {
    match types {
        [one] => Ok(vec![time_argument("a part of a time", one)?]),
        other => wrong_count("a part of a time", "one TIMESTAMP or DATE", other.len()),
    }
}

/// A part of the date. Neighbouring rows are mostly of the same day: the last one is remembered.
fn of_day(args: &ScalarFunctionArgs, part: impl Fn(i64) -> i32) -> Result<ColumnarValue> {
    let array = array_argument(args, 0)?;
    let last = Cell::new((0, part(0)));
    let parts: PrimitiveArray<Int32Type> = micros(&array)?.unary(|micros| {
        let (day, _) = split(micros);
        let (last_day, last_part) = last.get();
        if day == last_day {
            return last_part;
        }
        last.set((day, part(day)));
        last.get().1
    });
    wrap(args, Arc::new(parts))
}

/// A part of the time of day, from its microseconds.
fn of_time(args: &ScalarFunctionArgs, part: impl Fn(i64) -> i32) -> Result<ColumnarValue> {
    let array = array_argument(args, 0)?;
    let parts: PrimitiveArray<Int32Type> = micros(&array)?.unary(|micros| part(split(micros).1));
    wrap(args, Arc::new(parts))
}
