//! `window(ts, size, offset)` as an expression, and `window_time`.
//!
//! In a windowed aggregation the planner recognises the call and never evaluates it; in a plain
//! SELECT it is a function like any other.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray, StructArray};
use arrow::datatypes::{DataType, Field, Fields, Int64Type, TimestampMicrosecondType};
use datafusion::common::{Result, exec_err, plan_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs};

use super::{PlainFunction, array_argument, micros, time_argument, wrap, wrong_count};
use crate::event_time::Tumbling;
use crate::sql::registry::timestamp_type;

/// Fields of the struct that `window(...)` gives.
pub(crate) fn window_fields() -> Fields {
    Fields::from(vec![
        Field::new("start", timestamp_type(), true),
        Field::new("end", timestamp_type(), true),
    ])
}

pub(super) fn functions() -> Vec<PlainFunction> {
    vec![
        PlainFunction::new(
            "window",
            |types| match types {
                [time, _, _] => {
                    Ok(vec![time_argument("window", time)?, DataType::Int64, DataType::Int64])
                }
                other => wrong_count("window", "a column and a duration", other.len()),
            },
            |_| Ok(DataType::Struct(window_fields())),
            window,
        ),
        PlainFunction::new(
            "window_time",
            |types| match types {
                [window] if *window == DataType::Struct(window_fields()) => {
                    Ok(vec![window.clone()])
                }
                _ => plan_err!("window_time takes the window that rows are grouped by"),
            },
            |_| Ok(timestamp_type()),
            window_time,
        ),
    ]
}

fn constant(args: &ScalarFunctionArgs, index: usize) -> Result<i64> {
    let array = array_argument(args, index)?;
    match array.as_primitive_opt::<Int64Type>() {
        Some(values) if !values.is_empty() && values.is_valid(0) => Ok(values.value(0)),
        _ => exec_err!("a window's size must be a constant"),
    }
}

fn window(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let windows = match Tumbling::new(constant(args, 1)?, constant(args, 2)?) {
        Ok(windows) => windows,
        Err(error) => return exec_err!("{error}"),
    };
    let times = array_argument(args, 0)?;
    let times = micros(&times)?;
    let starts: PrimitiveArray<TimestampMicrosecondType> = times.unary(|time| windows.start(time));
    let starts = starts.with_timezone("UTC");
    let ends: PrimitiveArray<TimestampMicrosecondType> = starts.unary(|start| windows.end(start));
    let ends = ends.with_timezone("UTC");
    let nulls = starts.nulls().cloned();
    let columns: Vec<ArrayRef> = vec![Arc::new(starts), Arc::new(ends)];
    wrap(args, Arc::new(StructArray::try_new(window_fields(), columns, nulls)?))
}

/// The last microsecond of a window: the event time of an aggregate over it.
fn window_time(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let windows = array_argument(args, 0)?;
    let Some(windows) = windows.as_struct_opt() else {
        return exec_err!("window_time takes a window");
    };
    let ends = micros(windows.column(1))?;
    let times: PrimitiveArray<TimestampMicrosecondType> = ends.unary(|end| end.saturating_sub(1));
    wrap(args, Arc::new(times.with_timezone("UTC")))
}
