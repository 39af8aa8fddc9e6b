//! Windows of event time, and durations as Spark SQL writes them.

use thiserror::Error;

use super::{Session, Sliding};

/// Microseconds in a second.
const SECOND: i64 = 1_000_000;

/// Why a piece of text is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{reason}")]
pub struct DurationError {
    reason: String,
}

impl DurationError {
    fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into() }
    }
}

/// Reads a duration as Spark SQL writes one and returns it in microseconds.
///
/// One or more `NUMBER UNIT` pairs, added up, after an optional `interval`: `1 minute`,
/// `500 milliseconds`, `interval 1 hour 30 minutes`, `1.5 seconds`. Units are microsecond,
/// millisecond, second, minute, hour, day and week, singular or plural, in any case. Numbers may
/// have a sign; only seconds may have a fraction (six digits), as in Spark. Months and years are
/// refused: they have no fixed length.
///
/// # Errors
/// [`DurationError`] says which part of the text was not understood.
pub fn parse_duration(text: &str) -> Result<i64, DurationError> {
    let mut words = text.split_whitespace().peekable();
    if words.peek().is_some_and(|word| word.eq_ignore_ascii_case("interval")) {
        words.next();
    }
    let mut total: i64 = 0;
    let mut pairs = 0;
    while let Some(number) = words.next() {
        let Some(unit) = words.next() else {
            return Err(DurationError::new(format!(
                "'{text}' is not a duration: '{number}' has no unit; write it like '1 minute'"
            )));
        };
        let us = unit_length(text, unit)?;
        let part = if unit_is_second(unit) && number.contains('.') {
            fractional_seconds(text, number)?
        } else {
            let count: i64 = number.parse().map_err(|_| {
                DurationError::new(format!(
                    "'{text}' is not a duration: '{number}' is not a whole number"
                ))
            })?;
            count.checked_mul(us).ok_or_else(|| too_long(text))?
        };
        total = total.checked_add(part).ok_or_else(|| too_long(text))?;
        pairs += 1;
    }
    if pairs == 0 {
        return Err(DurationError::new("a duration is empty; write it like '1 minute'"));
    }
    Ok(total)
}

fn too_long(text: &str) -> DurationError {
    DurationError::new(format!("'{text}' is longer than event time itself"))
}

fn unit_is_second(unit: &str) -> bool {
    unit.eq_ignore_ascii_case("second") || unit.eq_ignore_ascii_case("seconds")
}

fn unit_length(text: &str, unit: &str) -> Result<i64, DurationError> {
    let lower = unit.to_ascii_lowercase();
    match lower.strip_suffix('s').unwrap_or(&lower) {
        "microsecond" => Ok(1),
        "millisecond" => Ok(1_000),
        "second" => Ok(SECOND),
        "minute" => Ok(60 * SECOND),
        "hour" => Ok(3_600 * SECOND),
        "day" => Ok(86_400 * SECOND),
        "week" => Ok(7 * 86_400 * SECOND),
        "month" | "year" => Err(DurationError::new(format!(
            "'{text}': a {lower} has no fixed length; write it in days or weeks"
        ))),
        _ => Err(DurationError::new(format!(
            "'{text}' is not a duration: '{unit}' is not a unit (microseconds, milliseconds, \
             seconds, minutes, hours, days or weeks)"
        ))),
    }
}

/// `-1.5` seconds in microseconds; digits beyond the sixth are refused, not rounded.
fn fractional_seconds(text: &str, number: &str) -> Result<i64, DurationError> {
    let bad =
        || DurationError::new(format!("'{text}' is not a duration: '{number}' is not a number"));
    let (negative, digits) = match number.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, number.strip_prefix('+').unwrap_or(number)),
    };
    let (whole, fraction) = digits.split_once('.').ok_or_else(bad)?;
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if !all_digits(whole) || !all_digits(fraction) || (whole.is_empty() && fraction.is_empty()) {
        return Err(bad());
    }
    if fraction.len() > 6 {
        return Err(DurationError::new(format!("'{text}' is finer than a microsecond")));
    }
    let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| bad())? };
    let micros: i64 = if fraction.is_empty() {
        0
    } else {
        format!("{fraction:0<6}").parse().map_err(|_| bad())?
    };
    let total = whole
        .checked_mul(SECOND)
        .and_then(|us| us.checked_add(micros))
        .ok_or_else(|| too_long(text))?;
    Ok(if negative { -total } else { total })
}

/// Why a window cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WindowError {
    /// The size is zero or negative.
    #[error("a window must be longer than zero")]
    NotPositive,
    /// The slide is zero or negative.
    #[error("the slide of a window must be longer than zero")]
    SlideNotPositive,
    /// The slide is longer than the window: some times would belong to no window.
    #[error("the slide of a window must not be longer than the window itself")]
    SlideTooLong,
    /// The slide is so short that a time belongs to more windows than anyone can want.
    #[error("a time can belong to a million windows at most: make the slide longer")]
    TooManyWindows,
    /// The start offset is not shorter than the slide, or than a window that does not slide.
    #[error("the start offset of a window must be shorter than the window, and than its slide")]
    OffsetTooLong,
    /// The gap of a session is zero or negative.
    #[error("the gap of a session must be longer than zero")]
    GapNotPositive,
    /// The size cannot be handled without overflow.
    #[error("a window cannot be longer than 100,000 years")]
    TooLong,
}

/// Longest window: 100,000 years, far inside what 64 bits of microseconds hold, so that starts and
/// ends can be computed without overflow checks on every row.
pub(super) const LONGEST: i64 = 100_000 * 366 * 86_400 * SECOND;

/// How rows are grouped by their event time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Windows {
    /// Not at all.
    None,
    /// Each row belongs to one window of fixed length.
    Tumbling(Tumbling),
    /// Each row belongs to all windows of fixed length that hold it.
    Sliding(Sliding),
    /// Each row belongs to the session that its key is in.
    Session(Session),
}

/// Tumbling windows: fixed, back to back, aligned to the epoch plus an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tumbling {
    size: i64,
    offset: i64,
}

impl Tumbling {
    /// Windows of `size_us` microseconds whose starts are multiples of the size plus `offset_us`.
    ///
    /// # Errors
    /// [`WindowError`] if the size is not positive or too long, or the offset is not shorter than
    /// the size (Spark's rule).
    pub fn new(size_us: i64, offset_us: i64) -> Result<Self, WindowError> {
        if size_us <= 0 {
            return Err(WindowError::NotPositive);
        }
        if size_us > LONGEST {
            return Err(WindowError::TooLong);
        }
        if offset_us.checked_abs().is_none_or(|offset| offset >= size_us) {
            return Err(WindowError::OffsetTooLong);
        }
        Ok(Self { size: size_us, offset: offset_us.rem_euclid(size_us) })
    }

    /// Length of a window in microseconds.
    pub fn size(&self) -> i64 {
        self.size
    }

    /// Offset of window starts from multiples of the size, in `0..size`.
    pub fn offset(&self) -> i64 {
        self.offset
    }

    /// Start of the window that holds the event time `at`.
    ///
    /// Rounds towards the past, before the epoch too. Times so far out (over 90,000 years from
    /// either end of 64 bits) that the window would overflow belong to the outermost whole window.
    #[inline]
    pub fn start(&self, at: i64) -> i64 {
        let at = at.clamp(i64::MIN + 2 * self.size, i64::MAX - 2 * self.size);
        at - (at - self.offset).rem_euclid(self.size)
    }

    /// End (exclusive) of the window that starts at `start`.
    #[inline]
    pub fn end(&self, start: i64) -> i64 {
        start.saturating_add(self.size)
    }

    /// Whether a window has to be closed: its end is not after the watermark. A row of it that
    /// comes now is late.
    #[inline]
    pub fn is_closed(&self, start: i64, watermark: i64) -> bool {
        self.end(start) <= watermark
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: i64 = 60 * SECOND;

    #[test]
    fn durations_as_spark_writes_them() {
        assert_eq!(parse_duration("1 minute"), Ok(MINUTE));
        assert_eq!(parse_duration("  INTERVAL 10   Seconds "), Ok(10 * SECOND));
        assert_eq!(parse_duration("500 milliseconds"), Ok(500_000));
        assert_eq!(parse_duration("1 day 2 hours"), Ok(26 * 60 * MINUTE));
        assert_eq!(parse_duration("1.5 seconds"), Ok(1_500_000));
        assert_eq!(parse_duration("-1.000001 seconds"), Ok(-1_000_001));
        assert_eq!(parse_duration("-5 minutes"), Ok(-5 * MINUTE));
        assert_eq!(parse_duration("2 weeks"), Ok(14 * 1440 * MINUTE));
    }

    #[test]
    fn what_is_no_duration_is_refused_with_a_reason() {
        for (text, part) in [
            ("", "empty"),
            ("interval", "empty"),
            ("10", "no unit"),
            ("ten minutes", "whole number"),
            ("1.5 minutes", "whole number"),
            ("1 fortnight", "not a unit"),
            ("1 month", "no fixed length"),
            ("99999999999999 days", "longer"),
            ("0.0000001 seconds", "finer"),
            (". seconds", "not a number"),
        ] {
            let error = parse_duration(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn windows_before_the_epoch_round_towards_the_past() {
        let windows = Tumbling::new(MINUTE, 0).unwrap();
        assert_eq!(windows.start(0), 0);
        assert_eq!(windows.start(MINUTE - 1), 0);
        assert_eq!(windows.start(MINUTE), MINUTE);
        assert_eq!(windows.start(-1), -MINUTE);
        assert_eq!(windows.start(-MINUTE), -MINUTE);
        assert!(windows.is_closed(0, MINUTE));
        assert!(!windows.is_closed(0, MINUTE - 1));
    }

    #[test]
    fn windows_that_make_no_sense_are_refused() {
        assert_eq!(Tumbling::new(0, 0), Err(WindowError::NotPositive));
        assert_eq!(Tumbling::new(-1, 0), Err(WindowError::NotPositive));
        assert_eq!(Tumbling::new(10, 10), Err(WindowError::OffsetTooLong));
        assert_eq!(Tumbling::new(10, -10), Err(WindowError::OffsetTooLong));
        assert_eq!(Tumbling::new(10, i64::MIN), Err(WindowError::OffsetTooLong));
        assert_eq!(Tumbling::new(i64::MAX, 0), Err(WindowError::TooLong));
        assert!(Tumbling::new(LONGEST, LONGEST - 1).is_ok());
    }

    proptest! {
        #[test]
        fn a_time_lies_in_its_window(at in any::<i64>(), size in 1..=LONGEST, offset in any::<i64>()) {
            let windows = Tumbling::new(size, offset % size).unwrap();
            let start = windows.start(at);
            let (wide_start, wide_size) = (i128::from(start), i128::from(size));
            // aligned
            prop_assert_eq!((wide_start - i128::from(offset % size)).rem_euclid(wide_size), 0);
            // and around the time, unless the time is at the rim of what 64 bits hold
            if at > i64::MIN + 2 * size && at < i64::MAX - 2 * size {
                prop_assert!(start <= at && i128::from(at) < wide_start + wide_size);
                prop_assert_eq!(i128::from(windows.end(start)), wide_start + wide_size);
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,40}") {
            let _ = parse_duration(&text);
        }

        #[test]
        fn whole_units_are_read_back(count in -1_000_000i64..1_000_000) {
            prop_assert_eq!(parse_duration(&format!("{count} seconds")), Ok(count * SECOND));
        }
    }
}
