//! Times and dates from text, by a pattern or as Spark's CAST reads them.

use super::calendar::{DAY_US, days, days_in_month, is_leap};
use super::pattern::{MONTHS, WEEKDAYS};

/// What has been read of a time; at first 1970-01-01 00:00:00 UTC.
#[derive(Debug)]
pub(super) struct Parsed {
    year: i64,
    month: u32,
    day: u32,
    day_of_year: Option<u32>,
    hour: i64,
    half_day_hour: Option<i64>,
    afternoon: bool,
    minute: i64,
    second: i64,
    micros: i64,
    offset_seconds: i64,
}

impl Default for Parsed {
    fn default() -> Self {
        Self {
            year: 1970,
            month: 1,
            day: 1,
            day_of_year: None,
            hour: 0,
            half_day_hour: None,
            afternoon: false,
            minute: 0,
            second: 0,
            micros: 0,
            offset_seconds: 0,
        }
    }
}

impl Parsed {
    /// Reads one field of a pattern from the front of the input.
    pub(super) fn field(
        &mut self,
        letter: char,
        width: usize,
        adjacent: bool,
        input: &mut &str,
    ) -> Option<()> {
        let most = if adjacent || width >= 2 { width } else { 19 };
        match letter {
            'y' | 'u' if width == 2 => self.year = 2_000 + digits(input, 2, 2)?,
            'y' | 'u' => {
                let most = if adjacent { width } else { 6.max(width) };
                self.year = digits(input, width.min(4), most)?;
            }
            'M' | 'L' if width >= 3 => {
                self.month = name(input, &MONTHS, width == 3)? as u32 + 1;
            }
            'M' | 'L' => self.month = u32::try_from(digits(input, width, most.min(2))?).ok()?,
            'd' => self.day = u32::try_from(digits(input, width, most.min(2))?).ok()?,
            'D' => {
                self.day_of_year =
                    Some(u32::try_from(digits(input, width, most.clamp(width, 3))?).ok()?);
            }
            'E' => {
                name(input, &WEEKDAYS, width < 4)?;
            }
            'a' => self.afternoon = name(input, &["AM", "PM"], false)? == 1,
            'H' => self.hour = below(digits(input, width, most.min(2))?, 24)?,
            'k' => self.hour = below(digits(input, width, most.min(2))?, 25)? % 24,
            'h' => self.half_day_hour = Some(below(digits(input, width, most.min(2))?, 13)? % 12),
            'K' => self.half_day_hour = Some(below(digits(input, width, most.min(2))?, 12)?),
            'm' => self.minute = below(digits(input, width, most.min(2))?, 60)?,
            's' => self.second = below(digits(input, width, most.min(2))?, 60)?,
            'S' => self.micros = read_fraction(input, width)?,
            'X' | 'x' | 'Z' | 'O' | 'z' | 'V' => self.offset_seconds = zone(input)?,
            // Quarter and era say nothing that year and month do not.
            _ => return None,
        }
        Some(())
    }

    /// The time, in microseconds; `None` if there is no such date.
    pub(super) fn micros(&self) -> Option<i64> {
        let day = match self.day_of_year {
            Some(number) => {
                let length = if is_leap(self.year) { 366 } else { 365 };
                if !(1..=length).contains(&number) {
                    return None;
                }
                days(self.year, 1, 1) + i64::from(number) - 1
            }
            None => checked_days(self.year, self.month, self.day)?,
        };
        let hour = match self.half_day_hour {
            Some(hour) => hour + if self.afternoon { 12 } else { 0 },
            None => self.hour,
        };
        let seconds = hour * 3_600 + self.minute * 60 + self.second - self.offset_seconds;
        day.checked_mul(DAY_US)?.checked_add(seconds * 1_000_000)?.checked_add(self.micros)
    }
}

fn below(number: i64, limit: i64) -> Option<i64> {
    (number < limit).then_some(number)
}

fn checked_days(year: i64, month: u32, day: u32) -> Option<i64> {
    let valid = (-290_000..=290_000).contains(&year)
        && (1..=12).contains(&month)
        && (1..=days_in_month(year, month)).contains(&day);
    valid.then(|| days(year, month, day))
}

/// Between `least` and `most` digits from the front of the input.
fn digits(input: &mut &str, least: usize, most: usize) -> Option<i64> {
    let count = input.bytes().take(most).take_while(u8::is_ascii_digit).count();
    if count < least.max(1) {
        return None;
    }
    let (number, rest) = input.split_at(count);
    *input = rest;
    number.parse().ok()
}

/// One of the names (or their first three letters), in any case; its index.
fn name(input: &mut &str, names: &[&str], short: bool) -> Option<usize> {
    names.iter().enumerate().find_map(|(index, name)| {
        let name = if short { &name[..3] } else { name };
        let head = input.get(..name.len())?;
        if !head.eq_ignore_ascii_case(name) {
            return None;
        }
        *input = &input[name.len()..];
        Some(index)
    })
}

/// Up to `width` digits of a fraction of a second, in microseconds; finer digits are dropped.
fn read_fraction(input: &mut &str, width: usize) -> Option<i64> {
    let count = input.bytes().take(width).take_while(u8::is_ascii_digit).count();
    if count == 0 {
        return None;
    }
    let (number, rest) = input.split_at(count);
    *input = rest;
    format!("{number:0<6}").get(..6)?.parse().ok()
}

/// `Z`, `UTC`, `GMT`, `+hh`, `+hhmm`, `+hh:mm` (also after UTC or GMT): seconds east of UTC.
fn zone(input: &mut &str) -> Option<i64> {
    let mut named = false;
    for name in ["UTC", "GMT", "UT", "Z", "z"] {
        if let Some(rest) = input.strip_prefix(name) {
            *input = rest;
            named = true;
            break;
        }
    }
    let sign = match input.as_bytes().first() {
        Some(b'+') => 1,
        Some(b'-') => -1,
        _ => return named.then_some(0),
    };
    *input = &input[1..];
    let hours = below(digits(input, 1, 2)?, 19)?;
    let with_colon = input.strip_prefix(':');
    let minutes = match with_colon {
        Some(rest) => {
            *input = rest;
            digits(input, 2, 2)?
        }
        None if input.bytes().next().is_some_and(|byte| byte.is_ascii_digit()) => {
            digits(input, 2, 2)?
        }
        None => 0,
    };
    Some(sign * (hours * 3_600 + below(minutes, 60)? * 60))
}

/// Reads a time as Spark's CAST does: `yyyy`, `yyyy-M`, `yyyy-M-d`, and then, after `T` or a blank,
/// `H:m:s` with up to nine digits of fraction and a zone. `None` for anything else.
pub(super) fn parse_timestamp(text: &str) -> Option<i64> {
    let mut input = text.trim();
    let (year, month, day) = parse_date_part(&mut input)?;
    let day = checked_days(year, month, day)?;
    let midnight = day.checked_mul(DAY_US)?;
    if input.is_empty() {
        return Some(midnight);
    }
    input = input.strip_prefix(['T', 't', ' '])?.trim_start();
    let hour = below(digits(&mut input, 1, 2)?, 24)?;
    let (mut minute, mut second, mut micros) = (0, 0, 0);
    if let Some(rest) = input.strip_prefix(':') {
        input = rest;
        minute = below(digits(&mut input, 1, 2)?, 60)?;
        if let Some(rest) = input.strip_prefix(':') {
            input = rest;
            second = below(digits(&mut input, 1, 2)?, 60)?;
            if let Some(rest) = input.strip_prefix('.') {
                input = rest;
                micros = read_fraction(&mut input, 9)?;
            }
        }
    }
    let mut offset = 0;
    input = input.trim_start();
    if !input.is_empty() {
        offset = zone(&mut input)?;
    }
    if !input.is_empty() {
        return None;
    }
    let seconds = hour * 3_600 + minute * 60 + second - offset;
    midnight.checked_add(seconds * 1_000_000)?.checked_add(micros)
}

/// Reads the date at the front of a text as Spark's CAST does; what follows `T` or a blank does not
/// matter.
pub(super) fn parse_date(text: &str) -> Option<i64> {
    let mut input = text.trim();
    let (year, month, day) = parse_date_part(&mut input)?;
    if !input.is_empty() && !input.starts_with(['T', 't', ' ']) {
        return None;
    }
    checked_days(year, month, day)
}

fn parse_date_part(input: &mut &str) -> Option<(i64, u32, u32)> {
    let year = digits(input, 4, 6)?;
    let (mut month, mut day) = (1, 1);
    if let Some(rest) = input.strip_prefix('-') {
        *input = rest;
        month = u32::try_from(digits(input, 1, 2)?).ok()?;
        if let Some(rest) = input.strip_prefix('-') {
            *input = rest;
            day = u32::try_from(digits(input, 1, 2)?).ok()?;
        }
    }
    Some((year, month, day))
}
