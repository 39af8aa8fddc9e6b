//! Numbers as Java writes them.

use std::fmt::Write;

/// Appends `value` as `Double.toString` gives it since JDK 19: the shortest decimal that reads back
/// as the same double, with at least one digit on either side of the point, and with an exponent
/// below 10^-3 and from 10^7 on.
/// <https://docs.oracle.com/en/java/javase/19/docs/api/java.base/java/lang/Double.html#toString(double)>
///
/// Older JDKs give a digit too many for some values (2.0E-3 as well, but 2.2E-322 as 2.17E-322).
pub fn double(value: f64, out: &mut String) {
    if special(value, out) {
        return;
    }
    let mut text = format!("{value:e}");
    if !text.contains('.') {
        // Of all two-digit decimals that read back as this double Java takes the closest.
        text = format!("{value:.1e}");
    }
    scientific(&text, out);
}

/// The same for `Float.toString`.
pub fn float(value: f32, out: &mut String) {
    if special(f64::from(value), out) {
        return;
    }
    let mut text = format!("{value:e}");
    if !text.contains('.') {
        text = format!("{value:.1e}");
    }
    scientific(&text, out);
}

fn special(value: f64, out: &mut String) -> bool {
    out.push_str(if value.is_nan() {
        "NaN"
    } else if value == f64::INFINITY {
        "Infinity"
    } else if value == f64::NEG_INFINITY {
        "-Infinity"
    } else if value == 0.0 {
        if value.is_sign_negative() { "-0.0" } else { "0.0" }
    } else {
        return false;
    });
    true
}

/// `text` is Rust's scientific notation with a point: `-1.25e-7`.
fn scientific(text: &str, out: &mut String) {
    let (sign, text) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text),
    };
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    out.push_str(sign);
    if !(-3..7).contains(&exponent) {
        let (first, rest) = digits.split_at(1);
        let rest = rest.trim_end_matches('0');
        let rest = if rest.is_empty() { "0" } else { rest };
        // Writing to a string cannot fail.
        let _ = write!(out, "{first}.{rest}E{exponent}");
        return;
    }
    let digits = digits.trim_end_matches('0');
    if exponent < 0 {
        out.push_str("0.");
        out.extend(std::iter::repeat_n('0', exponent.unsigned_abs() as usize - 1));
        out.push_str(digits);
        return;
    }
    let whole = exponent as usize + 1;
    for place in 0..whole {
        out.push(digits.as_bytes().get(place).map_or('0', |digit| char::from(*digit)));
    }
    out.push('.');
    match digits.get(whole..).filter(|rest| !rest.is_empty()) {
        Some(rest) => out.push_str(rest),
        None => out.push('0'),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(value: f64) -> String {
        let mut out = String::new();
        double(value, &mut out);
        out
    }

    #[test]
    fn doubles_are_written_as_java_does() {
        // What JDK 21 prints.
        for (value, text) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (-1.5, "-1.5"),
            (100.0, "100.0"),
            (0.1, "0.1"),
            (0.001, "0.001"),
            (0.000_999, "9.99E-4"),
            (1e-5, "1.0E-5"),
            (9_999_999.0, "9999999.0"),
            (1e7, "1.0E7"),
            (12_345_678.9, "1.23456789E7"),
            (1_234_567.891, "1234567.891"),
            (1e23, "1.0E23"),
            (f64::MAX, "1.7976931348623157E308"),
            (f64::MIN_POSITIVE, "2.2250738585072014E-308"),
            (4.9e-324, "4.9E-324"),
            (2e-323, "2.0E-323"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "Infinity"),
            (f64::NEG_INFINITY, "-Infinity"),
            (25.333_333_333_333_332, "25.333333333333332"),
        ] {
            assert_eq!(shown(value), text, "{value:e}");
        }
        let mut out = String::new();
        float(16_777_216.0, &mut out);
        out.push(' ');
        float(0.1, &mut out);
        out.push(' ');
        float(f32::MAX, &mut out);
        assert_eq!(out, "1.6777216E7 0.1 3.4028235E38");
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(bits: u64) {
            let value = f64::from_bits(bits);
            let text = shown(value);
            let back: f64 = text.replace("Infinity", "inf").parse().unwrap();
            prop_assert!(back == value || value.is_nan(), "{value:e} was written as {text}");
        }
    }
}
