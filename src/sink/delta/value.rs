//! Partition values: how Delta writes them, and the directories that files lie in.

use arrow::array::{Array, AsArray};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, TimeUnit, TimestampMicrosecondType,
};
use chrono::{DateTime, NaiveDate, TimeDelta};

/// What Hive, Spark and everybody after them call the directory of NULL.
const NULL_DIRECTORY: &str = "__HIVE_DEFAULT_PARTITION__";

/// A directory's name may have 255 bytes on most file systems; a value gets at most this many.
const LONGEST_VALUE: usize = 160;
/// And a column's name at most this many.
const LONGEST_NAME: usize = 80;

/// The value in `row` as the Delta protocol serialises partition values; `None` is NULL.
///
/// The empty string is NULL: the protocol gives it no form of its own, and Spark writes NULL
/// for it too.
/// <https://github.com/delta-io/delta/blob/master/PROTOCOL.md#partition-value-serialization>
///
/// # Errors
/// In words, for a date or time outside the calendar and for a type that no partition column
/// can have.
pub(super) fn partition_value(column: &dyn Array, row: usize) -> Result<Option<String>, String> {
    if column.is_null(row) {
        return Ok(None);
    }
    let text = match column.data_type() {
        DataType::Boolean => column.as_boolean().value(row).to_string(),
        DataType::Int8 => column.as_primitive::<Int8Type>().value(row).to_string(),
        DataType::Int16 => column.as_primitive::<Int16Type>().value(row).to_string(),
        DataType::Int32 => column.as_primitive::<Int32Type>().value(row).to_string(),
        DataType::Int64 => column.as_primitive::<Int64Type>().value(row).to_string(),
        DataType::Float32 => {
            float(f64::from(column.as_primitive::<Float32Type>().value(row)), |_| {
                column.as_primitive::<Float32Type>().value(row).to_string()
            })
        }
        DataType::Float64 => {
            float(column.as_primitive::<Float64Type>().value(row), |value| value.to_string())
        }
        DataType::Decimal128(_, _) => column.as_primitive::<Decimal128Type>().value_as_string(row),
        DataType::Utf8 => column.as_string::<i32>().value(row).to_owned(),
        DataType::Date32 => {
            let days = column.as_primitive::<Date32Type>().value(row);
            NaiveDate::from_ymd_opt(1970, 1, 1)
                .and_then(|epoch| epoch.checked_add_signed(TimeDelta::days(days.into())))
                .ok_or_else(|| format!("day {days} of the Unix era is outside the calendar"))?
                .format("%Y-%m-%d")
                .to_string()
        }
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            let micros = column.as_primitive::<TimestampMicrosecondType>().value(row);
            let time = DateTime::from_timestamp_micros(micros).ok_or_else(|| {
                format!("microsecond {micros} of the Unix era is outside the calendar")
            })?;
            // With a zone in the ISO form, which says that it is UTC; a reader would take the
            // other form for its own local time.
            match zone {
                Some(_) => time.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string(),
                None => time.format("%Y-%m-%d %H:%M:%S%.6f").to_string(),
            }
        }
        other => return Err(format!("{other} is no type for a partition column")),
    };
    Ok(Some(text).filter(|text| !text.is_empty()))
}

/// Spark's spelling of the values that are no numbers; `plain` for the rest.
fn float(value: f64, plain: impl FnOnce(f64) -> String) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned()
    } else {
        plain(value)
    }
}

/// The directory of a partition relative to the table: `date=2026-11-21/hour=5`, or nothing for
/// a table that is not partitioned.
///
/// Only people and tools that do not read the log look at these names; the log has the values.
/// So everything but plain ASCII is escaped as Hive does, and what is too long for a directory's
/// name is cut: two values may then share a directory, which a Delta table does not mind.
pub(super) fn directory<'a>(values: impl Iterator<Item = (&'a str, Option<&'a str>)>) -> String {
    let mut path = String::new();
    for (column, value) in values {
        if !path.is_empty() {
            path.push('/');
        }
        escape_into(&mut path, column, LONGEST_NAME);
        path.push('=');
        escape_into(&mut path, value.unwrap_or(NULL_DIRECTORY), LONGEST_VALUE);
    }
    path
}

fn escape_into(path: &mut String, text: &str, longest: usize) {
    let start = path.len();
    for character in text.chars() {
        let before = path.len();
        if character.is_ascii_alphanumeric() || matches!(character, '_' | '-' | '.') {
            path.push(character);
        } else {
            for byte in character.encode_utf8(&mut [0; 4]).bytes() {
                path.push_str(&format!("%{byte:02X}"));
            }
        }
        if path.len() - start > longest {
            path.truncate(before);
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{
        ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array,
        Int64Array, StringArray, TimestampMicrosecondArray,
    };
    use std::sync::Arc;

    fn value(array: impl Array + 'static, row: usize) -> Option<String> {
        let array: ArrayRef = Arc::new(array);
        partition_value(array.as_ref(), row).unwrap()
    }

    #[test]
    fn values_are_written_as_the_protocol_wants_them() {
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(value(Int64Array::from(vec![-7]), 0), text("-7"));
        assert_eq!(value(BooleanArray::from(vec![true]), 0), text("true"));
        assert_eq!(value(Date32Array::from(vec![0, -1]), 1), text("1969-12-31"));
        assert_eq!(value(Float32Array::from(vec![0.1]), 0), text("0.1"));
        assert_eq!(value(Float64Array::from(vec![f64::NEG_INFINITY]), 0), text("-Infinity"));
        let decimals = Decimal128Array::from(vec![-105]).with_precision_and_scale(5, 2).unwrap();
        assert_eq!(value(decimals, 0), text("-1.05"));
        let times = TimestampMicrosecondArray::from(vec![1_700_000_000_000_001]);
        assert_eq!(value(times.clone(), 0), text("2023-11-14 22:13:20.000001"));
        assert_eq!(value(times.with_timezone("UTC"), 0), text("2023-11-14T22:13:20.000001Z"));
    }

    #[test]
    fn null_and_the_empty_string_are_null() {
        let strings = StringArray::from(vec![None, Some(""), Some(" ")]);
        assert_eq!(value(strings.clone(), 0), None);
        assert_eq!(value(strings.clone(), 1), None);
        assert_eq!(value(strings, 2), Some(" ".to_owned()));
    }

    #[test]
    fn what_no_calendar_has_is_an_error() {
        let dates: ArrayRef = Arc::new(Date32Array::from(vec![i32::MAX]));
        assert!(partition_value(dates.as_ref(), 0).is_err());
        let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![i64::MIN]));
        assert!(partition_value(times.as_ref(), 0).is_err());
    }

    #[test]
    fn directories_are_plain_ascii() {
        assert_eq!(directory(std::iter::empty()), "");
        let values = [("date", Some("2026-11-21")), ("k", None), ("v w", Some("a/b c%=ü"))];
        assert_eq!(
            directory(values.into_iter()),
            "date=2026-11-21/k=__HIVE_DEFAULT_PARTITION__/v%20w=a%2Fb%20c%25%3D%C3%BC"
        );
    }

    #[test]
    fn no_value_is_too_long_for_a_directory() {
        let long = "ü".repeat(300);
        let path = directory([(long.as_str(), Some(long.as_str()))].into_iter());
        assert!(path.len() <= 255, "{}", path.len());
        assert!(path.ends_with("%BC"), "no character is cut in two: {path}");
    }
}
