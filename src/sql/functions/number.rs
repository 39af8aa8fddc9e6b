//! Numbers as Spark divides, rounds and reads them.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Decimal128Array, Float64Array, Int64Array, StringArray,
};
use arrow::datatypes::{DataType, Decimal128Type, Float32Type, Float64Type, Int64Type, i256};
use datafusion::common::{Result, exec_err, plan_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs};

use super::{PlainFunction, array_argument, wrap, wrong_count};

pub(super) fn functions() -> Vec<PlainFunction> {
    vec![
        // The planner's: `/` of two DECIMALs.
        PlainFunction::new(
            "decimal_divide",
            |types| Ok(types.to_vec()),
            |types| match types {
                [DataType::Decimal128(p1, s1), DataType::Decimal128(p2, s2)] => {
                    Ok(quotient_type((*p1, *s1), (*p2, *s2)))
                }
                _ => plan_err!("decimal_divide takes two DECIMALs"),
            },
            decimal_divide,
        ),
        // The planner's: `round` of a DOUBLE.
        PlainFunction::new(
            "round_double",
            |types| match types {
                [_, _] => Ok(vec![DataType::Float64, DataType::Int64]),
                other => wrong_count("round", "a number and a number of digits", other.len()),
            },
            |_| Ok(DataType::Float64),
            round_double,
        ),
        // The planner's: CAST of text to whole numbers.
        PlainFunction::new(
            "text_to_integer",
            one_text,
            |_| Ok(DataType::Int64),
            |args| {
                let texts = array_argument(args, 0)?;
                let numbers: Int64Array =
                    texts.as_string::<i32>().iter().map(|text| text.and_then(integer)).collect();
                wrap(args, Arc::new(numbers))
            },
        ),
        // The planner's: CAST of a FLOAT or DOUBLE to text.
        PlainFunction::new(
            "double_to_text",
            |types| match types {
                [float @ (DataType::Float32 | DataType::Float64)] => Ok(vec![float.clone()]),
                _ => plan_err!("double_to_text takes a FLOAT or DOUBLE"),
            },
            |_| Ok(DataType::Utf8),
            double_to_text,
        ),
        // The planner's: CAST of text to DECIMAL, which takes exponents.
        PlainFunction::new(
            "text_without_exponent",
            one_text,
            |_| Ok(DataType::Utf8),
            |args| {
                let texts = array_argument(args, 0)?;
                let plain: StringArray = texts
                    .as_string::<i32>()
                    .iter()
                    .map(|text| text.and_then(without_exponent))
                    .collect();
                wrap(args, Arc::new(plain))
            },
        ),
    ]
}

fn one_text(types: &[DataType]) -> Result<Vec<DataType>> {
    match types {
        [_] => Ok(vec![DataType::Utf8]),
        other => wrong_count("a cast", "one text", other.len()),
    }
}

/// Spark's type of a quotient (`DecimalPrecision`): at least six digits after the point, and no
/// more than 38 in all.
fn quotient_type((p1, s1): (u8, i8), (p2, s2): (u8, i8)) -> DataType {
    let (p1, s1, p2, s2) = (i32::from(p1), i32::from(s1), i32::from(p2), i32::from(s2));
    let scale = 6.max(s1 + p2 + 1);
    let whole = p1 - s1 + s2;
    let (precision, scale) = match whole + scale {
        fits @ ..=38 => (fits, scale),
        _ => (38, (38 - whole).max(scale.min(6))),
    };
    // Both are between 1 and 38 by now.
    DataType::Decimal128(precision.clamp(1, 38) as u8, scale.clamp(0, 38) as i8)
}

/// The quotient, rounded half up; NULL for what is divided by zero or has too many digits.
fn decimal_divide(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let (left, right) = (array_argument(args, 0)?, array_argument(args, 1)?);
    let (DataType::Decimal128(_, s1), DataType::Decimal128(_, s2)) =
        (left.data_type().clone(), right.data_type().clone())
    else {
        return exec_err!("decimal_divide takes two DECIMALs");
    };
    let DataType::Decimal128(precision, scale) = *args.return_type() else {
        return exec_err!("decimal_divide gives a DECIMAL");
    };
    // A quotient of unscaled numbers has s1 - s2 digits after the point.
    let shift = u32::try_from(i32::from(scale) + i32::from(s2) - i32::from(s1)).unwrap_or(0);
    let factor = i256::from_i128(10).wrapping_pow(shift);
    let most = i256::from_i128(10).wrapping_pow(u32::from(precision));
    let (left, right) =
        (left.as_primitive::<Decimal128Type>(), right.as_primitive::<Decimal128Type>());
    let quotient: Decimal128Array = left
        .iter()
        .zip(right)
        .map(|(left, right)| {
            let (left, right) = (i256::from_i128(left?), i256::from_i128(right?));
            let scaled = left.checked_mul(factor)?;
            let (whole, rest) = (scaled.checked_div(right)?, scaled.checked_rem(right)?);
            let twice = rest.wrapping_abs().checked_mul(i256::from_i128(2))?;
            let away = if twice >= right.wrapping_abs() { i256::ONE } else { i256::ZERO };
            let negative = scaled.is_negative() != right.is_negative();
            let rounded =
                if negative { whole.checked_sub(away)? } else { whole.checked_add(away)? };
            (rounded.wrapping_abs() < most).then(|| rounded.to_i128()).flatten()
        })
        .collect();
    let quotient = quotient.with_precision_and_scale(precision, scale)?;
    wrap(args, Arc::new(quotient))
}

/// Half up, by the decimal digits that a DOUBLE is printed with: 1.005 is rounded to 1.01.
fn round_double(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let (numbers, digits) = (array_argument(args, 0)?, array_argument(args, 1)?);
    let digits: ArrayRef = digits;
    let (numbers, digits) =
        (numbers.as_primitive::<Float64Type>(), digits.as_primitive::<Int64Type>());
    let digit_of = |row: usize| {
        let row = if digits.len() == 1 { 0 } else { row };
        digits.is_valid(row).then(|| digits.value(row))
    };
    let rounded: Float64Array = numbers
        .iter()
        .enumerate()
        .map(|(row, number)| Some(round_half_up(number?, digit_of(row)?)))
        .collect();
    wrap(args, Arc::new(rounded))
}

fn round_half_up(number: f64, digits: i64) -> f64 {
    // Beyond these a DOUBLE has no digits to round.
    if !number.is_finite() || digits > 400 || number == 0.0 {
        return number;
    }
    // Far from the middle between two results binary digits decide as decimal ones do, and a whole
    // number of up to 15 digits divided by a power of ten is the DOUBLE nearest to the result.
    if (0..=15).contains(&digits) {
        let power = 10_f64.powi(digits as i32);
        let scaled = number * power;
        let to_middle = (scaled.fract().abs() - 0.5).abs();
        if scaled.abs() < 1e15 && to_middle > 1e-3 {
            let rounded = scaled.round() / power;
            return if rounded == 0.0 { 0.0 } else { rounded };
        }
    }
    // `d.ddde±x`: the shortest digits that read back as the number.
    let text = format!("{:e}", number.abs());
    let Some((mantissa, exponent)) = text.split_once('e') else { return number };
    let Ok(exponent) = exponent.parse::<i64>() else { return number };
    let mut kept: Vec<u8> = mantissa.bytes().filter(u8::is_ascii_digit).map(|d| d - b'0').collect();
    // How many of the digits stand before the place to round at.
    let keep = exponent.saturating_add(1).saturating_add(digits);
    if keep >= kept.len() as i64 {
        return number;
    }
    if keep < 0 {
        return 0.0;
    }
    let keep = keep as usize;
    let up = kept[keep] >= 5;
    kept.truncate(keep);
    let mut exponent = exponent;
    if up {
        let mut at = keep;
        loop {
            if at == 0 {
                kept.insert(0, 1);
                exponent += 1;
                break;
            }
            at -= 1;
            if kept[at] < 9 {
                kept[at] += 1;
                break;
            }
            kept[at] = 0;
        }
    }
    if kept.is_empty() {
        return 0.0;
    }
    let text: String = kept.iter().map(|digit| char::from(digit + b'0')).collect();
    let places = exponent + 1 - text.len() as i64;
    let rounded: f64 = format!("{text}e{places}").parse().unwrap_or(number.abs());
    if number < 0.0 && rounded != 0.0 { -rounded } else { rounded }
}

fn double_to_text(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let numbers = array_argument(args, 0)?;
    let texts: StringArray = match numbers.data_type() {
        DataType::Float32 => numbers
            .as_primitive::<Float32Type>()
            .iter()
            .map(|number| number.map(|n| java_text(n.into(), &format!("{:e}", n.abs()))))
            .collect(),
        DataType::Float64 => numbers
            .as_primitive::<Float64Type>()
            .iter()
            .map(|number| number.map(|n| java_text(n, &format!("{:e}", n.abs()))))
            .collect(),
        other => return exec_err!("double_to_text takes a FLOAT or DOUBLE, not {other}"),
    };
    wrap(args, Arc::new(texts))
}

/// A number as Java prints it (`Double.toString`): with an exponent from 10^7 on and below 10^-3,
/// and always with a digit after the point. `digits` is its absolute value as `d.ddde±x`.
fn java_text(number: f64, digits: &str) -> String {
    if number.is_nan() {
        return "NaN".to_owned();
    }
    let sign = if number.is_sign_negative() { "-" } else { "" };
    if number.is_infinite() {
        return format!("{sign}Infinity");
    }
    let (mantissa, exponent) = digits.split_once('e').unwrap_or((digits, "0"));
    if number != 0.0 && !(1e-3..1e7).contains(&number.abs()) {
        let point = if mantissa.contains('.') { "" } else { ".0" };
        return format!("{sign}{mantissa}{point}E{exponent}");
    }
    let all: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    let exponent: i32 = exponent.parse().unwrap_or_default();
    match usize::try_from(exponent) {
        Ok(exponent) if all.len() <= exponent + 1 => {
            format!("{sign}{all}{}.0", "0".repeat(exponent + 1 - all.len()))
        }
        Ok(exponent) => format!("{sign}{}.{}", &all[..=exponent], &all[exponent + 1..]),
        Err(_) => format!("{sign}0.{}{all}", "0".repeat(exponent.unsigned_abs() as usize - 1)),
    }
}

/// A whole number as Spark reads it from text: spaces around it, a sign, and digits after a point,
/// which are cut off. No exponent.
fn integer(text: &str) -> Option<i64> {
    let text = text.trim();
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits = whole.strip_prefix(['+', '-']).unwrap_or(whole);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    whole.parse().ok()
}

/// `-1e2` as `-100`; what has no exponent stays as it is.
fn without_exponent(text: &str) -> Option<String> {
    let text = text.trim();
    let Some(at) = text.find(['e', 'E']) else { return Some(text.to_owned()) };
    let exponent: i32 = text[at + 1..].parse().ok()?;
    let mantissa = &text[..at];
    let (sign, digits) = match mantissa.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", mantissa.strip_prefix('+').unwrap_or(mantissa)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all = format!("{whole}{fraction}");
    // More digits than a DECIMAL can have, either way.
    if all.is_empty() || !all.bytes().all(|b| b.is_ascii_digit()) || exponent.abs() > 100 {
        return None;
    }
    let point = i32::try_from(whole.len()).ok()? + exponent;
    Some(match usize::try_from(point) {
        Ok(point) if point >= all.len() => format!("{sign}{all}{}", "0".repeat(point - all.len())),
        Ok(point) => format!("{sign}{}.{}", &all[..point], &all[point..]),
        Err(_) => format!("{sign}0.{}{all}", "0".repeat(point.unsigned_abs() as usize)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_are_rounded_by_their_digits() {
        for (number, digits, expected) in [
            (1.005, 2, 1.01),
            (2.675, 2, 2.68),
            (-2.5, 0, -3.0),
            (2.5, 0, 3.0),
            (0.4, 0, 0.0),
            (0.5, 0, 1.0),
            (-0.4, 0, 0.0),
            (-2.5, -1, 0.0),
            (12_345.678, -1, 12_350.0),
            (9.99, 1, 10.0),
            (99.5, 0, 100.0),
            (1e300, 2, 1e300),
            (1e-300, 2, 0.0),
            (0.1, 1, 0.1),
            (0.123_456_7, 3, 0.123),
            (-17.8, 0, -18.0),
        ] {
            let rounded = round_half_up(number, digits);
            assert!(rounded == expected, "{number} to {digits}: {rounded}");
            assert!(rounded.is_sign_positive() || rounded != 0.0, "{number}");
        }
        assert!(round_half_up(f64::NAN, 1).is_nan());
    }

    #[test]
    fn texts_are_read_as_spark_reads_them() {
        for (text, expected) in [
            (" 12 ", Some(12)),
            ("12.7", Some(12)),
            ("-3.", Some(-3)),
            ("+4", Some(4)),
            ("1e2", None),
            ("", None),
            (".5", None),
            ("9223372036854775808", None),
        ] {
            assert_eq!(integer(text), expected, "{text}");
        }
        for (text, expected) in [
            ("-1e2", Some("-100")),
            ("1.25E-3", Some("0.00125")),
            ("1.25e1", Some("12.5")),
            ("7", Some("7")),
            ("1e", None),
            ("xe2", None),
            ("1e999", None),
        ] {
            assert_eq!(without_exponent(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn doubles_are_printed_as_java_prints_them() {
        for (number, text) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (0.1, "0.1"),
            (0.001, "0.001"),
            (0.000_999, "9.99E-4"),
            (1e-7, "1.0E-7"),
            (1_234.5, "1234.5"),
            (1_234_567.0, "1234567.0"),
            (10_000_000.0, "1.0E7"),
            (123_456_789.125, "1.23456789125E8"),
            (-1e20, "-1.0E20"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(java_text(number, &format!("{:e}", number.abs())), text);
        }
    }

    #[test]
    fn quotients_have_sparks_types() {
        assert_eq!(quotient_type((10, 2), (1, 0)), DataType::Decimal128(14, 6));
        assert_eq!(quotient_type((8, 2), (6, 1)), DataType::Decimal128(16, 9));
        assert_eq!(quotient_type((38, 10), (38, 10)), DataType::Decimal128(38, 6));
    }
}
