//! Which types can take the values of which others without losing any of them.

use arrow::datatypes::{DataType, TimeUnit};

/// Whether every value of `from` is a value of `to`: the changes that Delta's type widening knows.
/// A column of the rows that is narrower than the table's is written in the table's type.
///
/// Integers widen to wider integers, to DOUBLE (from INT on down, whose values a DOUBLE holds) and
/// to a DECIMAL with room for all of their digits; FLOAT to DOUBLE; a DECIMAL to one with as many
/// places on both sides of the point; DATE to TIMESTAMP_NTZ.
pub(crate) fn widens(from: &DataType, to: &DataType) -> bool {
    use DataType as T;
    match (from, to) {
        (T::Int8, T::Int16 | T::Int32 | T::Int64)
        | (T::Int16, T::Int32 | T::Int64)
        | (T::Int32, T::Int64)
        | (T::Int8 | T::Int16 | T::Int32 | T::Float32, T::Float64)
        | (T::Date32, T::Timestamp(TimeUnit::Microsecond, None)) => true,
        (T::Decimal128(digits, places), T::Decimal128(to_digits, to_places)) => {
            to_places >= places && whole(*to_digits, *to_places) >= whole(*digits, *places)
        }
        (_, T::Decimal128(digits, places)) => {
            let needed = match from {
                T::Int8 => 3,
                T::Int16 => 5,
                T::Int32 => 10,
                T::Int64 => 19,
                _ => return false,
            };
            whole(*digits, *places) >= needed
        }
        _ => false,
    }
}

/// Digits before the point.
fn whole(digits: u8, places: i8) -> i16 {
    i16::from(digits) - i16::from(places)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_is_lost() {
        use DataType::*;
        for (from, to) in [
            (Int8, Int16),
            (Int32, Int64),
            (Int32, Float64),
            (Float32, Float64),
            (Int64, Decimal128(19, 0)),
            (Int32, Decimal128(12, 2)),
            (Decimal128(10, 2), Decimal128(12, 3)),
            (Date32, Timestamp(TimeUnit::Microsecond, None)),
        ] {
            assert!(widens(&from, &to), "{from} to {to}");
            assert!(!widens(&to, &from), "{to} to {from}");
        }
        for (from, to) in [
            (Int64, Float64),
            (Int32, Float32),
            (Int32, Decimal128(11, 2)),
            (Decimal128(10, 2), Decimal128(12, 5)),
            (Utf8, Int64),
            (Int64, Utf8),
        ] {
            assert!(!widens(&from, &to), "{from} to {to}");
        }
    }
}
