//! Timestamps and dates: text or numbers to microseconds and days since the Unix epoch.

use chrono_tz::Tz;

use super::TimestampFormat;
use super::cursor::{Cursor, Fail};
use super::number::{Rounding, is_number, scaled};
use super::zone::Zone;
use crate::codec::Reason;

pub(in crate::codec) const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;

/// 0001-01-01T00:00:00Z and 9999-12-31T23:59:59.999999Z, the range of Spark's TIMESTAMP.
pub(in crate::codec) const FIRST: i64 = -62_135_596_800 * SECOND;
pub(in crate::codec) const LAST: i64 = 253_402_300_800 * SECOND - 1;

pub(in crate::codec) const OUT_OF_YEARS: &str = "the time is outside the years 0001 to 9999";

pub(in crate::codec) type Parsed<T> = Result<T, &'static str>;

/// Reads the values of one TIMESTAMP column.
#[derive(Debug)]
pub(in crate::codec) struct TimestampReader {
    format: TimestampFormat,
    zone: Zone,
    /// The first 11 bytes of the last timestamp (`yyyy-MM-ddT`) and its midnight in UTC. Event
    /// times come nearly in order, so that the date is nearly always the one before. (Before the
    /// first one: what no text can be, as the upper bytes of the second word are masked off.)
    day: ([u64; 2], i64),
}

impl TimestampReader {
    pub fn new(format: TimestampFormat, zone: Tz) -> Self {
        Self { format, zone: Zone::new(zone), day: ([u64::MAX; 2], 0) }
    }

    /// The timestamp that stands here, in microseconds since the epoch.
    #[inline(always)]
    pub(super) fn read(&mut self, cursor: &mut Cursor<'_>) -> Result<i64, Fail> {
        if let TimestampFormat::Auto = self.format
            && let Some(b'"') = cursor.peek()
            && let Some((micros, length)) = self.usual(&cursor.bytes[cursor.at + 1..])
        {
            cursor.at += 1 + length;
            return Ok(micros);
        }
        self.read_any(cursor)
    }

    /// `yyyy-MM-ddTHH:mm:ss[.f+]Z"` (also without the Z where the zone is UTC): its value, and how
    /// many bytes it takes. None for anything else, valid or not.
    #[inline(always)]
    fn usual(&mut self, text: &[u8]) -> Option<(i64, usize)> {
        let head = text.first_chunk::<20>()?;
        let word = |at: usize| -> Option<u64> {
            head[at..].first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
        };
        let (low, high) = (word(0)?, word(8)?);
        let day = [low, high & 0xff_ffff];
        if self.day.0 != day {
            self.new_day(head, day)?;
        }
        // Bytes 3 to 7 of `high` are `HH:mm`. Adding 6 to a digit's low half carries if it is not one.
        if high & 0xf0f0_fff0_f000_0000 != 0x3030_3a30_3000_0000
            || ((high & 0x0f0f_000f_0f00_0000) + 0x0606_0006_0600_0000) & 0xf0f0_00f0_f000_0000 != 0
        {
            return None;
        }
        let pair = |tens: u64, ones: u64| ((tens & 0xf) * 10 + (ones & 0xf)) as i64;
        let hour = pair(high >> 24, high >> 32);
        let minute = pair(high >> 48, high >> 56);
        let (tens, ones) = (head[17].wrapping_sub(b'0'), head[18].wrapping_sub(b'0'));
        // A leap second (`:60`) is left to the slow path.
        if hour > 23 || minute > 59 || head[16] != b':' || tens > 5 || ones > 9 {
            return None;
        }
        let second = i64::from(tens) * 10 + i64::from(ones);
        let mut at = 19;
        let mut fraction = 0;
        if head[19] == b'.' {
            at = 20;
            let mut unit = SECOND / 10;
            while let Some(digit) = text.get(at).map(|b| b.wrapping_sub(b'0')).filter(|d| *d < 10) {
                fraction += i64::from(digit) * unit;
                unit /= 10; // digits beyond microseconds count for nothing
                at += 1;
            }
            if at == 20 {
                return None;
            }
        }
        match text.get(at)? {
            b'Z' | b'z' if text.get(at + 1) == Some(&b'"') => at += 2,
            b'"' if self.zone.is_utc => at += 1,
            _ => return None,
        }
        Some((self.day.1 + ((hour * 60 + minute) * 60 + second) * SECOND + fraction, at))
    }

    #[cold]
    #[inline(never)]
    fn new_day(&mut self, head: &[u8; 20], key: [u64; 2]) -> Option<()> {
        let days = parse_date(head.first_chunk()?).ok()?;
        matches!(head[10], b'T' | b't' | b' ').then_some(())?;
        self.day = (key, i64::from(days) * DAY);
        Some(())
    }

    /// The timestamp that `text` is, all of it: in the column's format, without quotes or escapes.
    pub fn parse(&mut self, text: &[u8]) -> Result<i64, Reason> {
        let scale = match self.format.scale() {
            None => return parse_timestamp(text, &mut self.zone).map_err(Reason::InvalidTime),
            Some(scale) => scale,
        };
        if !is_number(text) {
            return Err(Reason::InvalidTime(NO_EPOCH));
        }
        in_years(scaled(text, scale, Rounding::Floor)).ok_or(Reason::InvalidTime(OUT_OF_YEARS))
    }

    #[inline(never)]
    fn read_any(&mut self, cursor: &mut Cursor<'_>) -> Result<i64, Fail> {
        let start = cursor.at;
        let scale = match self.format.scale() {
            None => {
                if cursor.peek() != Some(b'"') {
                    return cursor.mismatch("TIMESTAMP (an RFC 3339 string)");
                }
                let mut scratch = Vec::new();
                let text = cursor.text(&mut scratch)?;
                return match parse_timestamp(text, &mut self.zone) {
                    Ok(micros) => Ok(micros),
                    Err(problem) => cursor.fail_at(start, Reason::InvalidTime(problem)),
                };
            }
            Some(scale) => scale,
        };
        let micros = match cursor.peek() {
            Some(b'-' | b'0'..=b'9') => {
                let number = cursor.number()?;
                scaled(&cursor.bytes[number.start..number.end], scale, Rounding::Floor)
            }
            Some(b'"') => {
                let mut scratch = Vec::new();
                let text = cursor.text(&mut scratch)?;
                if !is_number(text) {
                    return cursor.fail_at(start, Reason::InvalidTime(NO_EPOCH));
                }
                scaled(text, scale, Rounding::Floor)
            }
            _ => return cursor.mismatch("TIMESTAMP (a number since the epoch)"),
        };
        match in_years(micros) {
            Some(micros) => Ok(micros),
            None => cursor.fail_at(start, Reason::InvalidTime(OUT_OF_YEARS)),
        }
    }
}

const NO_EPOCH: &str = "the text is not a number of seconds or parts of one";

impl TimestampFormat {
    /// By which power of ten a number is multiplied to have microseconds; None for text.
    fn scale(self) -> Option<i32> {
        match self {
            Self::Auto => None,
            Self::EpochSeconds => Some(6),
            Self::EpochMillis => Some(3),
            Self::EpochMicros => Some(0),
            Self::EpochNanos => Some(-3),
        }
    }
}

fn in_years(micros: Option<i128>) -> Option<i64> {
    i64::try_from(micros?).ok().filter(|micros| (FIRST..=LAST).contains(micros))
}

/// 0001-01-01 and 9999-12-31 in days since the epoch.
pub(in crate::codec) const DAYS: std::ops::RangeInclusive<i32> = -719_162..=2_932_896;

impl Cursor<'_> {
    /// The DATE that stands here: `"yyyy-MM-dd"`, or a number of days since the epoch.
    pub fn days_or_date(&mut self) -> Result<i32, Fail> {
        if !matches!(self.peek(), Some(b'-' | b'0'..=b'9')) {
            return self.date();
        }
        let start = self.at;
        match i32::try_from(self.integer("DATE")?) {
            Ok(days) if DAYS.contains(&days) => Ok(days),
            _ => self.fail_at(start, Reason::InvalidTime(OUT_OF_YEARS)),
        }
    }

    /// The DATE that stands here (`"yyyy-MM-dd"`), in days since the epoch.
    pub fn date(&mut self) -> Result<i32, Fail> {
        if self.peek() != Some(b'"') {
            return self.mismatch("DATE (a string)");
        }
        let start = self.at;
        let mut scratch = Vec::new();
        let text = self.text(&mut scratch)?;
        match parse_whole_date(text) {
            Ok(days) => Ok(days),
            Err(problem) => self.fail_at(start, Reason::InvalidTime(problem)),
        }
    }
}

/// Any of the forms that [`TimestampFormat::Auto`] lists, in UTC where there is no offset.
pub(in crate::codec) fn parse_any_timestamp(text: &[u8]) -> Parsed<i64> {
    parse_timestamp(text, &mut Zone::new(Tz::UTC))
}

/// As [`parse_date`], of a text that must be nothing else.
pub(in crate::codec) fn parse_whole_date(text: &[u8]) -> Parsed<i32> {
    match text.first_chunk::<10>() {
        Some(date) if text.len() == 10 => parse_date(date),
        _ => Err("the text is not a date: expected yyyy-MM-dd"),
    }
}

fn two_digits(bytes: &[u8]) -> Option<i64> {
    match bytes {
        [tens @ b'0'..=b'9', ones @ b'0'..=b'9', ..] => {
            Some(i64::from(tens - b'0') * 10 + i64::from(ones - b'0'))
        }
        _ => None,
    }
}

/// `yyyy-MM-dd` to days since the epoch.
fn parse_date(text: &[u8; 10]) -> Parsed<i32> {
    let fields = || {
        let year = two_digits(text)? * 100 + two_digits(&text[2..])?;
        (text[4] == b'-' && text[7] == b'-').then_some(())?;
        Some((year, two_digits(&text[5..])?, two_digits(&text[8..])?))
    };
    let (year, month, day) = fields().ok_or("the text is not a date: expected yyyy-MM-dd")?;
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 => 28 + i64::from(leap),
        _ => return Err("the month is not from 01 to 12"),
    };
    if !(1..=days).contains(&day) {
        return Err("the month does not have this day");
    }
    if year == 0 {
        return Err(OUT_OF_YEARS);
    }
    // Howard Hinnant's days_from_civil: years that begin in March, eras of 400 years.
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year - era * 400;
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    // At most 3.7 million.
    Ok((era * 146_097 + day_of_era - 719_468) as i32)
}

/// Any of the forms that [`TimestampFormat::Auto`] lists, to microseconds since the epoch.
fn parse_timestamp(text: &[u8], zone: &mut Zone) -> Parsed<i64> {
    const FORM: &str =
        "the text is not a timestamp: expected yyyy-MM-dd['T'HH:mm:ss[.f][Z|+HH:mm]]";
    let Some((date, rest)) = text.split_first_chunk::<10>() else { return Err(FORM) };
    let midnight = i64::from(parse_date(date)?) * DAY;
    if rest.is_empty() {
        return zone.instant(midnight);
    }
    let Some((time, mut rest)) = rest.split_first_chunk::<9>() else { return Err(FORM) };
    let (Some(hour), Some(minute), Some(second)) =
        (two_digits(&time[1..]), two_digits(&time[4..]), two_digits(&time[7..]))
    else {
        return Err(FORM);
    };
    if !matches!(time[0], b'T' | b't' | b' ') || time[3] != b':' || time[6] != b':' {
        return Err(FORM);
    }
    if hour > 23 || minute > 59 || second > 60 {
        return Err("the time is not from 00:00:00 to 23:59:59");
    }
    let mut local = midnight + ((hour * 60 + minute) * 60 + second) * SECOND;
    if let [b'.', digits @ ..] = rest {
        let count = digits.iter().take_while(|b| b.is_ascii_digit()).count();
        if count == 0 {
            return Err(FORM);
        }
        let six = digits[..count].iter().map(|b| i64::from(b - b'0')).chain([0; 6]).take(6);
        local += six.fold(0, |fraction, digit| fraction * 10 + digit);
        rest = &digits[count..];
    }
    let micros = match rest {
        [] => zone.instant(local)?,
        [b'Z' | b'z'] => local,
        [sign @ (b'+' | b'-'), offset @ ..] => {
            let minutes = parse_offset(offset).ok_or("the offset is not from -23:59 to +23:59")?;
            local - if *sign == b'-' { -minutes } else { minutes } * 60 * SECOND
        }
        _ => return Err(FORM),
    };
    if !(FIRST..=LAST).contains(&micros) {
        return Err(OUT_OF_YEARS);
    }
    // Leap seconds end a day of UTC. POSIX time does not have them: the next second stands for it.
    if second == 60 && micros.rem_euclid(DAY) >= SECOND {
        return Err("a second of 60 can only follow 23:59:59 UTC");
    }
    Ok(micros)
}

/// `HH`, `HHmm` or `HH:mm` in minutes.
fn parse_offset(text: &[u8]) -> Option<i64> {
    let minutes = match text {
        [_, _] => 0,
        [_, _, b':', minutes @ ..] | [_, _, minutes @ ..] if minutes.len() == 2 => {
            two_digits(minutes)?
        }
        _ => return None,
    };
    let hours = two_digits(text)?;
    (hours <= 23 && minutes <= 59).then_some(hours * 60 + minutes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{DateTime, Utc};
    use proptest::prelude::*;

    fn read_in(zone: Tz, format: TimestampFormat, json: &str) -> Result<i64, Reason> {
        let mut cursor = Cursor::new(json.as_bytes(), 1);
        let mut reader = TimestampReader::new(format, zone);
        match reader.read(&mut cursor) {
            Ok(micros) => {
                assert_eq!(cursor.at, json.len(), "{json}");
                // The day is known the second time.
                assert_eq!(reader.read(&mut Cursor::new(json.as_bytes(), 1)).ok(), Some(micros));
                Ok(micros)
            }
            Err(Fail) => Err(cursor.into_fault().reason),
        }
    }

    fn auto(text: &str) -> Result<i64, Reason> {
        read_in(Tz::UTC, TimestampFormat::Auto, &format!("\"{text}\""))
    }

    fn utc(text: &str) -> i64 {
        text.parse::<DateTime<Utc>>().unwrap().timestamp_micros()
    }

    #[test]
    fn reads_rfc_3339_and_sql_forms() {
        let wanted = utc("2026-03-04T05:06:07.120Z");
        for text in [
            "2026-03-04T05:06:07.120Z",
            "2026-03-04t05:06:07.12z",
            "2026-03-04 05:06:07.12",
            "2026-03-04T05:06:07.120000",
            "2026-03-04T05:06:07.1200009Z",
            "2026-03-04T05:06:07.120000999999999Z",
            "2026-03-04T07:06:07.12+02:00",
            "2026-03-04T07:06:07.12+0200",
            "2026-03-04T07:06:07.12+02",
            "2026-03-03T23:36:07.12-05:30",
            "2026-03-04T05:06:07.12-00:00",
        ] {
            assert_eq!(auto(text), Ok(wanted), "{text}");
        }
        assert_eq!(auto("2024-02-29"), Ok(utc("2024-02-29T00:00:00Z")));
        assert_eq!(auto("0001-01-01T00:00:00Z"), Ok(FIRST));
        assert_eq!(auto("9999-12-31T23:59:59.9999999Z"), Ok(LAST));
        assert_eq!(auto("1969-12-31T23:59:59.5Z"), Ok(-500_000));
        assert_eq!(auto("2016-12-31T23:59:60Z"), Ok(utc("2017-01-01T00:00:00Z")));
        assert_eq!(auto("2016-12-31T23:59:60.25Z"), Ok(utc("2017-01-01T00:00:00.25Z")));
        assert_eq!(auto("2017-01-01T00:59:60+01:00"), Ok(utc("2017-01-01T00:00:00Z")));
        // Escapes are unusual but valid.
        assert_eq!(auto("2024-02-29T10:00:00\\u005a"), Ok(utc("2024-02-29T10:00:00Z")));
    }

    #[test]
    fn refuses_what_is_no_timestamp() {
        for text in [
            "",
            "now",
            "2026",
            "2026-3-4",
            "2026-13-01",
            "2026-00-01",
            "2026-01-00",
            "2026-02-29",
            "2100-02-29",
            "2026-04-31",
            "0000-01-01",
            "2026-01-01T",
            "2026-01-01T10",
            "2026-01-01T10:00",
            "2026-01-01T24:00:00Z",
            "2026-01-01T10:60:00Z",
            "2026-01-01T10:00:61Z",
            "2016-12-31T23:58:60Z",
            "2026-01-01T10:00:60+01:00",
            "2026-01-01T10:00:00.Z",
            "2026-01-01T10:00:00ZZ",
            "2026-01-01T10:00:00 Z",
            "2026-01-01T10:00:00+1",
            "2026-01-01T10:00:00+24:00",
            "2026-01-01T10:00:00+01:60",
            "2026-01-01T10:00:00+01:0",
            "2026-01-01T10:00:00+01:000",
            "2026-01-01T10:00:00+",
            "2026-01-01_10:00:00Z",
            "2026/01/01T10:00:00Z",
            "2026-01-01T10.00.00Z",
            "+2026-01-01T10:00:00Z",
            "12026-01-01T10:00:00Z",
            "0001-01-01T00:00:00+00:01",
            "9999-12-31T23:59:59-00:01",
            "9999-12-31T23:59:60Z",
            "2026-01-01T1a:00:00Z",
            "2026-01-01T10:0:000Z",
            "2026-01-01T10:00:0:Z",
            " 2026-01-01T10:00:00Z",
            "1767307200",
            "2026-01-01T10:00:00\u{661}Z",
            "２026-01-01T10:00:00Z",
        ] {
            assert!(matches!(auto(text), Err(Reason::InvalidTime(_))), "{text}: {:?}", auto(text));
        }
        assert!(matches!(
            read_in(Tz::UTC, TimestampFormat::Auto, "1767307200"),
            Err(Reason::TypeMismatch { .. })
        ));
    }

    #[test]
    fn reads_numbers_since_the_epoch() {
        use TimestampFormat::{EpochMicros, EpochMillis, EpochSeconds};
        for (format, json, wanted) in [
            (EpochSeconds, "1767307200", Some(1_767_307_200_000_000)),
            (EpochSeconds, "1767307200.123456789", Some(1_767_307_200_123_456)),
            (EpochSeconds, "1.7673072E9", Some(1_767_307_200_000_000)),
            (EpochSeconds, "\"1767307200.5\"", Some(1_767_307_200_500_000)),
            (EpochSeconds, "-0.0000015", Some(-2)),
            (EpochSeconds, "1767307200123", None), // milliseconds: the year 57973
            (EpochSeconds, "1e999999999", None),
            (EpochSeconds, "\"\"", None),
            (EpochSeconds, "\"12x\"", None),
            (EpochSeconds, "\"2026-01-01\"", None),
            (EpochSeconds, "true", None),
            (EpochMillis, "1767307200123", Some(1_767_307_200_123_000)),
            (EpochMillis, "1767307200123.4567", Some(1_767_307_200_123_456)),
            (EpochMillis, "-1", Some(-1000)),
            (EpochMicros, "1767307200123456", Some(1_767_307_200_123_456)),
            (EpochMicros, "-1.5", Some(-2)),
            (EpochMicros, "99999999999999999999999999999999999999999999", None),
        ] {
            assert_eq!(read_in(Tz::UTC, format, json).ok(), wanted, "{format:?} {json}");
        }
    }

    #[test]
    fn local_times_follow_their_zone() {
        let read = |zone, text: &str| read_in(zone, TimestampFormat::Auto, &format!("\"{text}\""));
        let berlin = Tz::Europe__Berlin;
        for (zone, text, wanted) in [
            (berlin, "2026-01-15 12:00:00", "2026-01-15T11:00:00Z"),
            (berlin, "2026-07-15T12:00:00.5", "2026-07-15T10:00:00.5Z"),
            (berlin, "2026-07-15", "2026-07-14T22:00:00Z"),
            (berlin, "2026-07-15T12:00:00Z", "2026-07-15T12:00:00Z"),
            (berlin, "2026-07-15T12:00:00-01:00", "2026-07-15T13:00:00Z"),
            // There is no 02:30 on the day clocks go forward: an hour later it is 03:30.
            (berlin, "2026-03-29 01:59:59", "2026-03-29T00:59:59Z"),
            (berlin, "2026-03-29 02:30:00", "2026-03-29T01:30:00Z"),
            (berlin, "2026-03-29 03:00:00", "2026-03-29T01:00:00Z"),
            // There are two 02:30 on the day clocks go back: the first is meant.
            (berlin, "2026-10-25 02:30:00", "2026-10-25T00:30:00Z"),
            (berlin, "2026-10-25 03:00:00", "2026-10-25T02:00:00Z"),
            (Tz::Asia__Kathmandu, "2026-01-01 00:00:00", "2025-12-31T18:15:00Z"),
            (Tz::Australia__Lord_Howe, "2026-10-04 02:15:00", "2026-10-03T15:45:00Z"),
            // Samoa had no 2011-12-30.
            (Tz::Pacific__Apia, "2011-12-30 12:00:00", "2011-12-30T22:00:00Z"),
        ] {
            assert_eq!(read(zone, text), Ok(utc(wanted)), "{zone} {text}");
        }
        assert!(read(Tz::Asia__Tokyo, "0001-01-01 00:00:00").is_err());
        assert!(read(Tz::America__New_York, "9999-12-31 23:00:00").is_err());
    }

    #[test]
    fn the_cache_of_offsets_changes_nothing() {
        for zone in [Tz::Europe__Berlin, Tz::Australia__Lord_Howe, Tz::America__New_York] {
            let mut cached = Zone::new(zone);
            // Every 7 minutes of 2026.
            for step in 0..75_000 {
                let local = 1_767_225_600 * SECOND + step * 420 * SECOND;
                assert_eq!(cached.instant(local), Zone::new(zone).instant(local), "{zone} {local}");
            }
        }
    }

    proptest! {
        #[test]
        fn every_instant_survives(micros in FIRST..=LAST, minutes in -1439i64..1440, digits in 0usize..9) {
            let time = DateTime::from_timestamp_micros(micros).unwrap().naive_utc();
            let nine = format!("{}000", time.format("%.6f"));
            let fraction = if digits == 0 { "" } else { &nine[..=digits] };
            let cut = micros - micros.rem_euclid(10i64.pow(6u32.saturating_sub(digits as u32)));
            let text = format!("{}{fraction}", time.format("%Y-%m-%dT%H:%M:%S"));
            prop_assert_eq!(auto(&format!("{text}Z")), Ok(cut));
            prop_assert_eq!(auto(&text.replace('T', " ")), Ok(cut));
            let sign = if minutes < 0 { '-' } else { '+' };
            let shifted = format!("{text}{sign}{:02}:{:02}", minutes.abs() / 60, minutes.abs() % 60);
            let shifted_cut = cut - minutes * 60 * SECOND;
            let wanted = Some(shifted_cut).filter(|m| (FIRST..=LAST).contains(m));
            prop_assert_eq!(auto(&shifted).ok(), wanted);
        }

        #[test]
        fn mangled_times_agree_with_the_slow_path(at in 0usize..24, byte in 0x20u8..0x7f) {
            let mut text = *b"2026-03-04T05:06:07.120Z";
            text[at] = byte;
            prop_assume!(byte != b'"' && byte != b'\\');
            let slow = parse_timestamp(&text, &mut Zone::new(Tz::UTC));
            prop_assert_eq!(auto(std::str::from_utf8(&text).unwrap()).ok(), slow.ok());
        }
    }
}
