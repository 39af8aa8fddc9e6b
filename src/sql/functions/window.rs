//! `window(ts, size, offset)` as an expression, and `window_time`.
//!
//! In a windowed aggregation the planner recognises the call and never evaluates it; in a plain
//! SELECT it is a function like any other.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, ListArray, PrimitiveArray, StructArray, TimestampMicrosecondBuilder,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Fields, Int64Type, TimestampMicrosecondType};
use datafusion::common::{Result, exec_err, plan_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs};

use super::{PlainFunction, array_argument, micros, time_argument, wrap, wrong_count};
use crate::event_time::{Sliding, Tumbling};
use crate::sql::registry::timestamp_type;

/// Fields of the struct that `window(...)` gives.
pub(crate) fn window_fields() -> Fields {
    Fields::from(vec![
        Field::new("start", timestamp_type(), true),
        Field::new("end", timestamp_type(), true),
    ])
}

fn window_type() -> DataType {
    DataType::Struct(window_fields())
}

/// A time, or a window: its last microsecond is meant then.
fn time_or_window(name: &str, data_type: &DataType) -> Result<DataType> {
    if *data_type == window_type() {
        return Ok(data_type.clone());
    }
    time_argument(name, data_type)
}

pub(super) fn functions() -> Vec<PlainFunction> {
    vec![
        PlainFunction::new(
            "window",
            |types| match types {
                [time, _, _] => {
                    Ok(vec![time_or_window("window", time)?, DataType::Int64, DataType::Int64])
                }
                other => wrong_count("window", "a column and a duration", other.len()),
            },
            |_| Ok(window_type()),
            window,
        ),
        // Grouping by these makes several windows of a row, or one of several rows: they are no
        // values of a row, and must stay where they are for the planner to see them.
        PlainFunction::new(
            "sliding_window",
            |types| sliding_types("window", types),
            |_| Ok(window_type()),
            |_| exec_err!("sliding windows are made by grouping"),
        )
        .volatile(),
        PlainFunction::new(
            "session_window",
            |types| match types {
                [time, _] => Ok(vec![time_or_window("session_window", time)?, DataType::Int64]),
                other => wrong_count("session_window", "a column and a gap", other.len()),
            },
            |_| Ok(window_type()),
            |_| exec_err!("sessions are made by grouping"),
        )
        .volatile(),
        PlainFunction::new(
            "sliding_windows",
            |types| sliding_types("window", types),
            |_| Ok(DataType::List(Arc::new(Field::new_list_field(window_type(), true)))),
            sliding_windows,
        ),
        PlainFunction::new(
            "window_time",
            |types| match types {
                [window] if *window == window_type() => Ok(vec![window.clone()]),
                _ => plan_err!("window_time takes the window that rows are grouped by"),
            },
            |_| Ok(timestamp_type()),
            window_time,
        ),
    ]
}

fn sliding_types(name: &str, types: &[DataType]) -> Result<Vec<DataType>> {
    match types {
        [time, _, _, _] => {
            Ok(vec![time_or_window(name, time)?, DataType::Int64, DataType::Int64, DataType::Int64])
        }
        other => wrong_count(name, "a column, a duration and a slide", other.len()),
    }
}

fn constant(args: &ScalarFunctionArgs, index: usize) -> Result<i64> {
    let array = array_argument(args, index)?;
    match array.as_primitive_opt::<Int64Type>() {
        Some(values) if !values.is_empty() && values.is_valid(0) => Ok(values.value(0)),
        _ => exec_err!("a window's size must be a constant"),
    }
}

/// The first argument as times.
fn times(args: &ScalarFunctionArgs) -> Result<ArrayRef> {
    let times = array_argument(args, 0)?;
    if times.as_struct_opt().is_some() {
        return last_micros(&times);
    }
    Ok(times)
}

fn window(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let windows = match Tumbling::new(constant(args, 1)?, constant(args, 2)?) {
        Ok(windows) => windows,
        Err(error) => return exec_err!("{error}"),
    };
    let times = times(args)?;
    let times = micros(&times)?;
    let starts: PrimitiveArray<TimestampMicrosecondType> = times.unary(|time| windows.start(time));
    let starts = starts.with_timezone("UTC");
    let ends: PrimitiveArray<TimestampMicrosecondType> = starts.unary(|start| windows.end(start));
    let ends = ends.with_timezone("UTC");
    let nulls = starts.nulls().cloned();
    let columns: Vec<ArrayRef> = vec![Arc::new(starts), Arc::new(ends)];
    wrap(args, Arc::new(StructArray::try_new(window_fields(), columns, nulls)?))
}

/// All windows that hold a time, oldest first; none for NULL.
fn sliding_windows(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let windows = match Sliding::new(constant(args, 1)?, constant(args, 2)?, constant(args, 3)?) {
        Ok(windows) => windows,
        Err(error) => return exec_err!("{error}"),
    };
    let times = times(args)?;
    let times = micros(&times)?;
    let mut starts = TimestampMicrosecondBuilder::new();
    let mut lengths = Vec::with_capacity(times.len());
    for time in times {
        let Some(time) = time else {
            lengths.push(0);
            continue;
        };
        let last = (time - windows.offset()).div_euclid(windows.slide());
        let last = last.saturating_mul(windows.slide()).saturating_add(windows.offset());
        // The oldest window that has not ended at `time`.
        let older = (windows.size() - 1 - (time - last)).div_euclid(windows.slide());
        for back in (0..=older).rev() {
            starts.append_value(last.saturating_sub(back * windows.slide()));
        }
        lengths.push(usize::try_from(older + 1).unwrap_or_default());
    }
    let starts = starts.finish().with_timezone("UTC");
    let ends: PrimitiveArray<TimestampMicrosecondType> =
        starts.unary(|start: i64| start.saturating_add(windows.size()));
    let columns: Vec<ArrayRef> = vec![Arc::new(starts), Arc::new(ends.with_timezone("UTC"))];
    let values = StructArray::try_new(window_fields(), columns, None)?;
    let item = Arc::new(Field::new_list_field(window_type(), true));
    let offsets = OffsetBuffer::from_lengths(lengths);
    wrap(args, Arc::new(ListArray::try_new(item, offsets, Arc::new(values), None)?))
}

/// The last microsecond of a window: the event time of an aggregate over it.
fn window_time(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    wrap(args, last_micros(&array_argument(args, 0)?)?)
}

fn last_micros(windows: &ArrayRef) -> Result<ArrayRef> {
    let Some(windows) = windows.as_struct_opt() else {
        return exec_err!("window_time takes a window");
    };
    let ends = micros(windows.column(1))?;
    let times: PrimitiveArray<TimestampMicrosecondType> = ends.unary(|end| end.saturating_sub(1));
    Ok(Arc::new(times.with_timezone("UTC")))
}
