//! The text of a field to a value of its column's type.

use arrow::datatypes::{DataType, FieldRef};

use super::CsvOptions;
use crate::codec::columns::{Column, Values};
use crate::codec::json::number::{Rounding, scaled};
use crate::codec::json::time::{TimestampReader, parse_whole_date};
use crate::codec::{CodecError, Reason};

/// Reads the fields of one column.
#[derive(Debug)]
pub(super) struct ValueReader {
    times: Option<TimestampReader>,
}

impl ValueReader {
    /// # Errors
    /// [`CodecError::UnsupportedType`] for ARRAY, MAP and STRUCT, for which CSV has no notation.
    pub fn new(field: &FieldRef, options: &CsvOptions) -> Result<Self, CodecError> {
        let times = match field.data_type() {
            DataType::Timestamp(..) => {
                let format = options.timestamps_by_column.get(field.name());
                Some(TimestampReader::new(*format.unwrap_or(&options.timestamps), options.zone))
            }
            DataType::List(_) | DataType::Map(..) | DataType::Struct(_) => {
                return Err(CodecError::UnsupportedType {
                    column: field.name().clone(),
                    data_type: field.data_type().to_string(),
                    format: "CSV",
                });
            }
            _ => None,
        };
        Ok(Self { times })
    }

    /// Appends the value that `text` stands for.
    pub fn push(&mut self, column: &mut Column, text: &[u8]) -> Result<(), Reason> {
        match &mut column.values {
            Values::Utf8(_) => {
                std::str::from_utf8(text).map_err(|_| Reason::InvalidUtf8)?;
                column.push_bytes(text);
            }
            Values::Binary(_) => {
                column.push_bytes(text);
            }
            Values::Boolean(_) => {
                let value = match text {
                    _ if text.eq_ignore_ascii_case(b"true") => true,
                    _ if text.eq_ignore_ascii_case(b"false") => false,
                    _ => return Err(mismatch("BOOLEAN (true or false)")),
                };
                column.push_bool(value);
            }
            Values::Int8(_) => integer(column, text, "TINYINT")?,
            Values::Int16(_) => integer(column, text, "SMALLINT")?,
            Values::Int32(_) => integer(column, text, "INT")?,
            Values::Int64(_) => integer(column, text, "BIGINT")?,
            Values::Float32(_) => {
                let value: f32 = float(text, "FLOAT")?;
                if value.is_infinite() && !names_infinity(text) {
                    return Err(Reason::OutOfRange("FLOAT"));
                }
                column.push_f32(value);
            }
            Values::Float64(_) => {
                let value: f64 = float(text, "DOUBLE")?;
                if value.is_infinite() && !names_infinity(text) {
                    return Err(Reason::OutOfRange("DOUBLE"));
                }
                column.push_f64(value);
            }
            Values::Decimal(_, _, scale) => {
                let scale = i32::from(*scale);
                let text = text.strip_prefix(b"+").unwrap_or(text);
                if !is_decimal(text) {
                    return Err(Reason::InvalidNumber);
                }
                let value = scaled(text, scale, Rounding::HalfUp);
                if !value.is_some_and(|value| column.push_decimal(value)) {
                    return Err(Reason::OutOfRange("DECIMAL"));
                }
            }
            Values::Date(_) => {
                let days = parse_whole_date(text).map_err(Reason::InvalidTime)?;
                column.push_i32(days);
            }
            Values::Timestamp(_) => match &mut self.times {
                Some(times) => {
                    let micros = times.parse(text)?;
                    column.push_i64(micros);
                }
                None => return Err(mismatch("TIMESTAMP")),
            },
            // Refused by `new`.
            Values::Struct(_) | Values::List(..) | Values::Map(_) => {
                return Err(mismatch("a simple value"));
            }
        }
        Ok(())
    }
}

fn mismatch(expected: &'static str) -> Reason {
    Reason::TypeMismatch { expected, found: "other text" }
}

/// As Java reads one: an optional sign and digits.
fn integer(column: &mut Column, text: &[u8], name: &'static str) -> Result<(), Reason> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        _ => (false, text),
    };
    if digits.is_empty() {
        return Err(mismatch(name));
    }
    let mut value: Option<i64> = Some(0);
    for digit in digits {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return Err(mismatch(name));
        }
        // Counted downwards, as there is one more negative number.
        value = value.and_then(|value| value.checked_mul(10)?.checked_sub(i64::from(digit)));
    }
    let value = if negative { value } else { value.and_then(i64::checked_neg) };
    match value {
        Some(value) if column.push_integer(value) => Ok(()),
        _ => Err(Reason::OutOfRange(name)),
    }
}

/// As the standard library reads one, which takes what Java takes but for hexadecimal digits and
/// type suffixes: also `NaN`, `Inf` and `Infinity`.
fn float<T: std::str::FromStr>(text: &[u8], name: &'static str) -> Result<T, Reason> {
    let text = std::str::from_utf8(text).map_err(|_| mismatch(name))?;
    text.parse().map_err(|_| mismatch(name))
}

fn names_infinity(text: &[u8]) -> bool {
    text.iter().any(|byte| matches!(byte, b'i' | b'I'))
}

/// Whether the text is a decimal number, perhaps with an exponent: `-12.50`, `.5`, `007`, `1e3`.
fn is_decimal(text: &[u8]) -> bool {
    let text = text.strip_prefix(b"-").unwrap_or(text);
    let count = |text: &[u8]| text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let whole = count(text);
    let mut rest = &text[whole..];
    let mut digits = whole;
    if let Some(after) = rest.strip_prefix(b".") {
        let fraction = count(after);
        digits += fraction;
        rest = &after[fraction..];
    }
    if let [b'e' | b'E', after @ ..] = rest {
        let after = after.strip_prefix(b"-").or(after.strip_prefix(b"+")).unwrap_or(after);
        let exponent = count(after);
        return digits > 0 && exponent > 0 && exponent == after.len();
    }
    digits > 0 && rest.is_empty()
}
