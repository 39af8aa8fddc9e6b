//! JSON numbers: integers, correctly rounded floats, and exact decimals.

use super::cursor::{Cursor, Fail};
use crate::codec::Reason;
use crate::codec::decimal::{big_endian, rescale};

/// A number as it stands in the payload. Where `exact`, its magnitude is
/// `mantissa * 10^exponent`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Number {
    pub start: usize,
    pub end: usize,
    pub negative: bool,
    pub mantissa: u64,
    pub exponent: i32,
    /// At most 19 digits, which always fit a `u64`.
    pub exact: bool,
    /// Neither a fraction nor an exponent is written.
    pub integer: bool,
}

/// How digits beyond the scale that is wanted are treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::codec) enum Rounding {
    /// To the nearest, halves away from zero (Spark's `HALF_UP`).
    HalfUp,
    /// Towards minus infinity.
    Floor,
}

/// Exponents beyond this are cut to it: they are far out of every type's range either way.
const EXPONENT_LIMIT: i32 = 1_000_000;

/// The powers of ten that an `f64` holds exactly.
const POWERS_F64: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];

/// The powers of ten that an `f32` holds exactly.
const POWERS_F32: [f32; 11] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10];

impl<'a> Cursor<'a> {
    #[inline(always)]
    fn digit(&self) -> Option<u64> {
        // Bytes below '0' wrap to large values, so that one comparison tells a digit.
        self.peek().map(|byte| byte.wrapping_sub(b'0')).filter(|&d| d < 10).map(u64::from)
    }

    /// Digits standing here, appended to `mantissa` (which wraps after 19 of them).
    #[inline(always)]
    fn digits(&mut self, mantissa: &mut u64) {
        while let Some(digit) = self.digit() {
            *mantissa = mantissa.wrapping_mul(10).wrapping_add(digit);
            self.at += 1;
        }
    }

    /// Reads the number that starts here, by the grammar of RFC 8259.
    #[inline(always)]
    pub fn number(&mut self) -> Result<Number, Fail> {
        let start = self.at;
        let negative = self.take(b'-');
        let whole = self.at;
        let mut mantissa = 0;
        self.digits(&mut mantissa);
        let whole_digits = self.at - whole;
        if whole_digits == 0 || (whole_digits > 1 && self.bytes[whole] == b'0') {
            return self.broken_number(whole, whole_digits);
        }
        let mut number = Number {
            start,
            end: self.at,
            negative,
            mantissa,
            exponent: 0,
            exact: whole_digits <= 19,
            integer: true,
        };
        if let Some(b'.') = self.peek() {
            self.at += 1;
            let fraction = self.at;
            self.digits(&mut number.mantissa);
            let fraction_digits = self.at - fraction;
            if fraction_digits == 0 {
                return self.expected("a digit after the decimal point");
            }
            number.integer = false;
            number.exact = whole_digits + fraction_digits <= 19;
            // A payload has at most 2^30 bytes.
            number.exponent = -(fraction_digits as i32);
            number.end = self.at;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.exponent(&mut number)?;
        }
        Ok(number)
    }

    #[cold]
    #[inline(never)]
    fn broken_number(&mut self, whole: usize, digits: usize) -> Result<Number, Fail> {
        if digits == 0 {
            return self.expected("a digit");
        }
        self.fail_at(whole, Reason::Syntax("a number without leading zeros"))
    }

    #[inline(never)]
    fn exponent(&mut self, number: &mut Number) -> Result<(), Fail> {
        self.at += 1;
        let negative = self.take(b'-');
        if !negative {
            self.take(b'+');
        }
        let first = self.at;
        let mut exponent: i32 = 0;
        while let Some(digit) = self.digit() {
            exponent = (exponent * 10 + digit as i32).min(EXPONENT_LIMIT);
            self.at += 1;
        }
        if self.at == first {
            return self.expected("a digit in the exponent");
        }
        number.exponent += if negative { -exponent } else { exponent };
        number.integer = false;
        number.end = self.at;
        Ok(())
    }

    /// An integer in the range of `i64`. Numbers with a fraction or an exponent are not integers,
    /// whatever their value (as in Spark).
    #[inline(always)]
    pub fn integer(&mut self, type_name: &'static str) -> Result<i64, Fail> {
        if !matches!(self.peek(), Some(b'-' | b'0'..=b'9')) {
            return self.mismatch(type_name);
        }
        let number = self.number()?;
        if !number.integer {
            let found = "a number with a fraction or an exponent";
            return self.fail_at(number.start, Reason::TypeMismatch { expected: type_name, found });
        }
        let limit = i64::MAX as u64 + u64::from(number.negative);
        if !number.exact || number.mantissa > limit {
            return self.fail_at(number.start, Reason::OutOfRange(type_name));
        }
        // -2^63 wraps to itself.
        let magnitude = number.mantissa as i64;
        Ok(if number.negative { magnitude.wrapping_neg() } else { magnitude })
    }

    /// An integer of a narrower type.
    #[inline(always)]
    pub fn narrow<T: TryFrom<i64>>(&mut self, type_name: &'static str) -> Result<T, Fail> {
        let start = self.at;
        match T::try_from(self.integer(type_name)?) {
            Ok(value) => Ok(value),
            Err(_) => self.fail_at(start, Reason::OutOfRange(type_name)),
        }
    }

    #[inline(always)]
    pub fn double(&mut self) -> Result<f64, Fail> {
        if !matches!(self.peek(), Some(b'-' | b'0'..=b'9')) {
            return self.mismatch("DOUBLE");
        }
        let number = self.number()?;
        // Clinger's fast path ("How to Read Floating Point Numbers Accurately", 1990): both
        // operands are exact, so that the one operation on them rounds correctly.
        if number.exact && number.mantissa <= 1 << 53 && number.exponent.unsigned_abs() <= 22 {
            let power = POWERS_F64[number.exponent.unsigned_abs() as usize];
            let mantissa = number.mantissa as f64;
            let value = if number.exponent < 0 { mantissa / power } else { mantissa * power };
            return Ok(if number.negative { -value } else { value });
        }
        self.parse(number, "DOUBLE", f64::is_finite)
    }

    #[inline(always)]
    pub fn float(&mut self) -> Result<f32, Fail> {
        if !matches!(self.peek(), Some(b'-' | b'0'..=b'9')) {
            return self.mismatch("FLOAT");
        }
        let number = self.number()?;
        // As for doubles. Rounding a double to a float would round twice.
        if number.exact && number.mantissa <= 1 << 24 && number.exponent.unsigned_abs() <= 10 {
            let power = POWERS_F32[number.exponent.unsigned_abs() as usize];
            let mantissa = number.mantissa as f32;
            let value = if number.exponent < 0 { mantissa / power } else { mantissa * power };
            return Ok(if number.negative { -value } else { value });
        }
        self.parse(number, "FLOAT", f32::is_finite)
    }

    /// The standard library's parser, which rounds correctly whatever the length.
    #[inline(never)]
    fn parse<T: std::str::FromStr + Copy>(
        &mut self,
        number: Number,
        type_name: &'static str,
        finite: fn(T) -> bool,
    ) -> Result<T, Fail> {
        let text = std::str::from_utf8(&self.bytes[number.start..number.end]).ok();
        match text.and_then(|text| text.parse::<T>().ok()) {
            Some(value) if finite(value) => Ok(value),
            _ => self.fail_at(number.start, Reason::OutOfRange(type_name)),
        }
    }

    /// A DECIMAL: a number, or a string that holds one, times 10^`scale`, rounded half up.
    pub fn decimal(&mut self, precision: u8, scale: i8) -> Result<i128, Fail> {
        let start = self.at;
        let scaled = match self.peek() {
            Some(b'-' | b'0'..=b'9') => {
                let number = self.number()?;
                scaled(&self.bytes[number.start..number.end], scale.into(), Rounding::HalfUp)
            }
            Some(b'"') => {
                let mut scratch = Vec::new();
                let text = self.text(&mut scratch)?;
                if !is_number(text) {
                    return self.fail_at(start, Reason::InvalidNumber);
                }
                scaled(text, scale.into(), Rounding::HalfUp)
            }
            _ => return self.mismatch("DECIMAL"),
        };
        // 10^38 is below 2^127.
        match scaled {
            Some(value) if value.unsigned_abs() < 10u128.pow(precision.min(38).into()) => Ok(value),
            _ => self.fail_at(start, Reason::OutOfRange("DECIMAL")),
        }
    }
}

impl Cursor<'_> {
    /// A DECIMAL as Kafka Connect writes it: the base64 of its unscaled value, big-endian, which has
    /// the scale `from`.
    pub fn base64_decimal(&mut self, from: i32, precision: u8, scale: i8) -> Result<i128, Fail> {
        let start = self.at;
        let mut bytes = Vec::new();
        self.base64_into(&mut bytes)?;
        let value = big_endian(&bytes).and_then(|value| rescale(value, from, scale.into()));
        match value {
            Some(value) if value.unsigned_abs() < 10u128.pow(precision.min(38).into()) => Ok(value),
            _ => self.fail_at(start, Reason::OutOfRange("DECIMAL")),
        }
    }
}

/// Whether the text is one JSON number and nothing else.
pub(in crate::codec) fn is_number(text: &[u8]) -> bool {
    let mut cursor = Cursor::new(text, 0);
    cursor.number().is_ok() && cursor.at == text.len()
}

/// `number * 10^scale` as an integer, or None beyond the range of `i128`. `text` is a valid JSON
/// number; it may have any number of digits, and the result is exact before it is rounded once.
pub(in crate::codec) fn scaled(text: &[u8], scale: i32, rounding: Rounding) -> Option<i128> {
    let (negative, text) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    let mantissa_end = text.iter().position(|b| matches!(b, b'e' | b'E')).unwrap_or(text.len());
    let (mantissa, exponent) = text.split_at(mantissa_end);
    let exponent = exponent_value(exponent.get(1..).unwrap_or_default());
    let whole = mantissa.iter().position(|b| *b == b'.').unwrap_or(mantissa.len());
    // How many of the digits come before the point once it is moved.
    let keep = whole as i64 + exponent + i64::from(scale);

    let (mut value, mut dropped, mut rest) = (0i128, 0u8, false);
    let mut index = 0i64;
    for digit in mantissa.iter().filter(|b| **b != b'.').map(|b| b - b'0') {
        if index < keep {
            value = value.checked_mul(10)?.checked_add(digit.into())?;
        } else if index == keep {
            dropped = digit;
        } else {
            rest |= digit != 0;
        }
        index += 1;
    }
    if keep < 0 {
        rest |= dropped != 0;
        dropped = 0;
    }
    if value != 0 && index < keep {
        value = value.checked_mul(10i128.checked_pow(u32::try_from(keep - index).ok()?)?)?;
    }
    let up = match rounding {
        Rounding::HalfUp => dropped >= 5,
        Rounding::Floor => negative && (dropped != 0 || rest),
    };
    value = value.checked_add(up.into())?;
    Some(if negative { -value } else { value })
}

fn exponent_value(text: &[u8]) -> i64 {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    let limit = i64::from(EXPONENT_LIMIT) * 4096; // beyond any number of digits in a payload
    let value = digits.iter().fold(0i64, |v, d| (v * 10 + i64::from(d - b'0')).min(limit));
    if negative { -value } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn double(text: &str) -> Option<f64> {
        Cursor::new(text.as_bytes(), 0).double().ok()
    }

    #[test]
    fn scales_exactly_and_rounds_once() {
        use Rounding::{Floor, HalfUp};
        for (text, scale, rounding, wanted) in [
            ("0", 2, HalfUp, Some(0)),
            ("-0", 2, Floor, Some(0)),
            ("1.005", 2, HalfUp, Some(101)),
            ("-1.005", 2, HalfUp, Some(-101)),
            ("1.00499999999999999999999999999999999999999", 2, HalfUp, Some(100)),
            ("0.05", 0, HalfUp, Some(0)),
            ("0.5", 0, HalfUp, Some(1)),
            ("9.995", 2, HalfUp, Some(1000)),
            ("5e-3", 2, HalfUp, Some(1)),
            ("5e-4", 2, HalfUp, Some(0)),
            ("9e-1000000000", 2, HalfUp, Some(0)),
            ("0e1000000000", 2, HalfUp, Some(0)),
            ("1e1000000000", 2, HalfUp, None),
            ("1.25E+2", 1, HalfUp, Some(1250)),
            ("170141183460469231731687303715884105727", 0, HalfUp, Some(i128::MAX)),
            ("170141183460469231731687303715884105728", 0, HalfUp, None),
            ("1.9999999", 6, Floor, Some(1_999_999)),
            ("-1.9999999", 6, Floor, Some(-2_000_000)),
            ("-0.0000000001", 6, Floor, Some(-1)),
            ("-1.5", 6, Floor, Some(-1_500_000)),
        ] {
            assert_eq!(scaled(text.as_bytes(), scale, rounding), wanted, "{text} {scale}");
        }
    }

    #[test]
    fn numbers_follow_the_grammar() {
        for good in ["0", "-0", "10", "0.5", "-0.0", "1e5", "1E-5", "1.5e+10", "0e0"] {
            assert!(is_number(good.as_bytes()), "{good}");
        }
        for bad in ["", "-", "+1", "01", "-01", "00", ".5", "1.", "1.e5", "1e", "1e+", "0x1", "1_0"]
        {
            assert!(!is_number(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn hard_floats_round_correctly() {
        for text in [
            "9007199254740993",
            "9007199254740992.5",
            "1.7976931348623157e308",
            "4.9e-324",
            "2.2250738585072011e-308",
            "2.4703282292062327208e-324",
            "0.1",
            "1e22",
            "1e23",
            "123456789012345678901234567890",
            "-0.0",
            "8.5e-1000",
            "0.000000000000000000000000000000000000000000000000000000000001",
        ] {
            let wanted: f64 = text.parse().unwrap();
            assert_eq!(double(text).unwrap().to_bits(), wanted.to_bits(), "{text}");
        }
        assert_eq!(double("1e309"), None);
        assert_eq!(double("-1e999999999999"), None);
        assert!(Cursor::new(b"3.5e38", 0).float().is_err());
        assert_eq!(Cursor::new(b"16777217", 0).float().unwrap(), 16777216.0);
    }

    proptest! {
        #[test]
        fn doubles_are_those_of_the_standard_library(value in any::<f64>()) {
            prop_assume!(value.is_finite());
            for text in [format!("{value}"), format!("{value:e}"), format!("{value:.3}")] {
                let wanted: f64 = text.parse().unwrap();
                prop_assert_eq!(double(&text).unwrap().to_bits(), wanted.to_bits());
                let wanted: f32 = text.parse().unwrap();
                let got = Cursor::new(text.as_bytes(), 0).float().ok();
                prop_assert_eq!(got.map(f32::to_bits),
                    Some(wanted).filter(|v| v.is_finite()).map(f32::to_bits));
            }
        }

        #[test]
        fn short_decimals_are_those_of_the_standard_library(
            text in "-?(0|[1-9][0-9]{0,17})(\\.[0-9]{1,6})?([eE][+-]?[0-9]{1,2})?",
        ) {
            let wanted: f64 = text.parse().unwrap();
            prop_assert_eq!(double(&text).unwrap().to_bits(), wanted.to_bits());
            prop_assert!(is_number(text.as_bytes()));
        }

        #[test]
        fn integers_survive(value in any::<i64>()) {
            let text = value.to_string();
            prop_assert_eq!(Cursor::new(text.as_bytes(), 0).integer("BIGINT").unwrap(), value);
            prop_assert_eq!(scaled(text.as_bytes(), 3, Rounding::Floor), Some(i128::from(value) * 1000));
        }
    }
}
