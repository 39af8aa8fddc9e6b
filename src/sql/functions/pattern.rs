//! Date and time patterns as Java's `DateTimeFormatter` and Spark write them (`yyyy-MM-dd HH:mm`),
//! for printing and for reading; and Spark's reading of a time without a pattern.
//!
//! Letters: `G y u Q q M L d D E a H h K k m s S X x Z z V O`, and text in single quotes. The zone
//! of what is printed is UTC.

use std::fmt::Write as _;

use super::calendar::{Civil, civil, day_of_year, split, weekday};
use super::reading::Parsed;

pub(super) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
pub(super) const WEEKDAYS: [&str; 7] =
    ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// One piece of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// A letter and how often it stands there.
    Field(char, usize),
}

/// A compiled pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    pieces: Vec<Piece>,
}

impl Pattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// A letter that is none of the module's, an open quote, or a field wider than it can be.
    pub(super) fn compile(text: &str) -> Result<Self, String> {
        let mut pieces: Vec<Piece> = vec![];
        let mut chars = text.chars().peekable();
        let literal = |pieces: &mut Vec<Piece>, ch: char| match pieces.last_mut() {
            Some(Piece::Text(text)) => text.push(ch),
            _ => pieces.push(Piece::Text(ch.to_string())),
        };
        while let Some(ch) = chars.next() {
            match ch {
                '\'' if chars.peek() == Some(&'\'') => {
                    chars.next();
                    literal(&mut pieces, '\'');
                }
                '\'' => loop {
                    match chars.next() {
                        Some('\'') if chars.peek() == Some(&'\'') => {
                            chars.next();
                            literal(&mut pieces, '\'');
                        }
                        Some('\'') => break,
                        Some(ch) => literal(&mut pieces, ch),
                        None => return Err(format!("the quote in '{text}' is not closed")),
                    }
                },
                'a'..='z' | 'A'..='Z' => {
                    let mut count = 1;
                    while chars.peek() == Some(&ch) {
                        chars.next();
                        count += 1;
                    }
                    let longest = match ch {
                        'y' | 'u' => 6,
                        'G' | 'Q' | 'q' | 'M' | 'L' | 'E' | 'z' | 'O' => 4,
                        'd' | 'H' | 'h' | 'K' | 'k' | 'm' | 's' => 2,
                        'V' if count == 2 => 2,
                        'D' | 'X' | 'x' | 'Z' => 3,
                        'a' => 1,
                        'S' => 9,
                        _ => {
                            return Err(format!(
                                "'{ch}' in '{text}' is not a letter of date patterns here"
                            ));
                        }
                    };
                    if count > longest {
                        let field = ch.to_string().repeat(count);
                        return Err(format!("'{field}' in '{text}' is too wide"));
                    }
                    pieces.push(Piece::Field(ch, count));
                }
                '[' | ']' | '{' | '}' | '#' => {
                    return Err(format!("'{ch}' in '{text}' is not supported; quote it as '{ch}'"));
                }
                ch => literal(&mut pieces, ch),
            }
        }
        Ok(Self { pieces })
    }

    /// Prints a time.
    pub(super) fn format(&self, micros: i64, out: &mut String) {
        let (day, rest) = split(micros);
        let date = civil(day);
        let second_of_day = rest / 1_000_000;
        let (hour, minute, second) =
            (second_of_day / 3_600, second_of_day / 60 % 60, second_of_day % 60);
        for piece in &self.pieces {
            let (letter, width) = match piece {
                Piece::Text(text) => {
                    out.push_str(text);
                    continue;
                }
                Piece::Field(letter, width) => (*letter, *width),
            };
            match letter {
                'y' | 'u' if width == 2 => padded(out, date.year.rem_euclid(100), 2),
                'y' | 'u' => year(out, date.year, width),
                'G' => out.push_str(if date.year > 0 { "AD" } else { "BC" }),
                'Q' | 'q' => quarter(out, i64::from(date.month + 2) / 3, width),
                'M' | 'L' => month(out, date.month, width),
                'd' => padded(out, i64::from(date.day), width),
                'D' => padded(out, i64::from(day_of_year(day, date)), width),
                'E' => {
                    let name = WEEKDAYS[weekday(day) as usize];
                    out.push_str(if width == 4 { name } else { &name[..3] });
                }
                'a' => out.push_str(if hour < 12 { "AM" } else { "PM" }),
                'H' => padded(out, hour, width),
                'h' => padded(out, (hour + 11) % 12 + 1, width),
                'K' => padded(out, hour % 12, width),
                'k' => padded(out, (hour + 23) % 24 + 1, width),
                'm' => padded(out, minute, width),
                's' => padded(out, second, width),
                'S' => fraction(out, rest % 1_000_000, width),
                'X' => out.push('Z'),
                'x' if width == 1 => out.push_str("+00"),
                'x' if width == 3 => out.push_str("+00:00"),
                'x' | 'Z' => out.push_str("+0000"),
                'O' => out.push_str("GMT"),
                // z, VV
                _ => out.push_str("UTC"),
            }
        }
    }

    /// Reads a time; `None` if the text does not have the pattern's form or is no date. What the
    /// pattern leaves out is 1970-01-01 00:00:00 UTC.
    pub(super) fn parse(&self, text: &str) -> Option<i64> {
        let mut input = text;
        let mut parsed = Parsed::default();
        for (index, piece) in self.pieces.iter().enumerate() {
            match piece {
                Piece::Text(text) => input = input.strip_prefix(text.as_str())?,
                Piece::Field(letter, width) => {
                    // Digits that touch the next number must not be eaten with this one.
                    let adjacent = matches!(self.pieces.get(index + 1),
                        Some(Piece::Field(next, _)) if is_number(*next));
                    parsed.field(*letter, *width, adjacent, &mut input)?;
                }
            }
        }
        if !input.is_empty() {
            return None;
        }
        parsed.micros()
    }
}

fn is_number(letter: char) -> bool {
    matches!(letter, 'y' | 'u' | 'M' | 'L' | 'd' | 'D' | 'H' | 'h' | 'K' | 'k' | 'm' | 's' | 'S')
}

fn padded(out: &mut String, number: i64, width: usize) {
    if width == 2 && (0..100).contains(&number) {
        // The common case, without the formatting machinery.
        out.push(char::from(b'0' + (number / 10) as u8));
        out.push(char::from(b'0' + (number % 10) as u8));
    } else {
        let _ = write!(out, "{number:0width$}");
    }
}

fn year(out: &mut String, year: i64, width: usize) {
    if (1_000..10_000).contains(&year) && width == 4 {
        padded(out, year / 100, 2);
        padded(out, year % 100, 2);
    } else if year < 0 {
        let _ = write!(out, "-{:0width$}", -year);
    } else if year > 9_999 && width >= 4 {
        let _ = write!(out, "+{year:0width$}");
    } else {
        let _ = write!(out, "{year:0width$}");
    }
}

fn quarter(out: &mut String, quarter: i64, width: usize) {
    let _ = match width {
        1 => write!(out, "{quarter}"),
        2 => write!(out, "{quarter:02}"),
        3 => write!(out, "Q{quarter}"),
        _ => write!(
            out,
            "{}",
            ["1st quarter", "2nd quarter", "3rd quarter", "4th quarter"]
                [(quarter - 1).clamp(0, 3) as usize]
        ),
    };
}

fn month(out: &mut String, month: u32, width: usize) {
    let name = MONTHS[(month as usize - 1).min(11)];
    match width {
        1 | 2 => padded(out, i64::from(month), width),
        3 => out.push_str(&name[..3]),
        _ => out.push_str(name),
    }
}

/// The first `width` digits of a fraction of a second.
fn fraction(out: &mut String, micros: i64, width: usize) {
    let digits = format!("{micros:06}000");
    out.push_str(&digits[..width.min(9)]);
}

/// Prints a time as Spark's CAST to STRING does: `yyyy-MM-dd HH:mm:ss` and as much of a fraction as
/// there is.
pub(super) fn print_timestamp(micros: i64, out: &mut String) {
    let (day, rest) = split(micros);
    let Civil { year: number, month, day } = civil(day);
    year(out, number, 4);
    let seconds = rest / 1_000_000;
    for (separator, part) in [
        ('-', i64::from(month)),
        ('-', i64::from(day)),
        (' ', seconds / 3_600),
        (':', seconds / 60 % 60),
        (':', seconds % 60),
    ] {
        out.push(separator);
        padded(out, part, 2);
    }
    let micros = rest % 1_000_000;
    if micros > 0 {
        let digits = format!("{micros:06}");
        out.push('.');
        out.push_str(digits.trim_end_matches('0'));
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use proptest::prelude::*;

    use super::*;
    use crate::sql::functions::reading::{parse_date, parse_timestamp};

    fn at(text: &str) -> i64 {
        DateTime::parse_from_rfc3339(text).unwrap().timestamp_micros()
    }

    fn show(pattern: &str, micros: i64) -> String {
        let mut out = String::new();
        Pattern::compile(pattern).unwrap().format(micros, &mut out);
        out
    }

    #[test]
    fn prints_what_java_prints() {
        let time = at("2026-03-07T15:04:05.123456Z");
        for (pattern, expected) in [
            ("yyyy-MM-dd HH", "2026-03-07 15"),
            ("yyyy-MM-dd'T'HH:mm:ss.SSS", "2026-03-07T15:04:05.123"),
            ("yy/M/d h:m:s a", "26/3/7 3:4:5 PM"),
            ("EEE, d MMM yyyy", "Sat, 7 Mar 2026"),
            ("EEEE d MMMM", "Saturday 7 March"),
            ("D Q QQQ", "66 1 Q1"),
            ("HH''mm", "15'04"),
            ("kk KK SSSSSSSSS", "15 03 123456000"),
            ("XXX xxx Z z", "Z +00:00 +0000 UTC"),
        ] {
            assert_eq!(show(pattern, time), expected, "{pattern}");
        }
        assert_eq!(show("hh a kk", at("2026-03-07T00:30:00Z")), "12 AM 24");
        assert_eq!(show("yyyy", at("1969-12-31T23:59:59Z")), "1969");
    }

    #[test]
    fn bad_patterns_are_refused() {
        for pattern in ["yyyy-BB", "'open", "MMMMM", "ddd", "[yyyy]", "YYYY"] {
            assert!(Pattern::compile(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn reads_by_pattern() {
        for (pattern, text, expected) in [
            ("yyyy-MM-dd HH:mm", "2026-03-07 15:04", Some("2026-03-07T15:04:00Z")),
            ("dd/MMM/yyyy:HH:mm:ss Z", "07/Mar/2026:15:04:05 +0100", Some("2026-03-07T14:04:05Z")),
            ("yyyyMMddHHmmss", "20260307150405", Some("2026-03-07T15:04:05Z")),
            ("M/d/yy h:mm a", "3/7/26 3:04 PM", Some("2026-03-07T15:04:00Z")),
            (
                "yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
                "2026-03-07T15:04:05.5Z",
                Some("2026-03-07T15:04:05.5Z"),
            ),
            ("yyyy-MM-dd", "2026-02-30", None),
            ("yyyy-MM-dd", "2026-03-07x", None),
            ("yyyy-MM-dd", "", None),
            ("HH:mm", "25:00", None),
        ] {
            let parsed = Pattern::compile(pattern).unwrap().parse(text);
            assert_eq!(parsed, expected.map(at), "{pattern} {text}");
        }
    }

    #[test]
    fn reads_as_a_cast_does() {
        for (text, expected) in [
            ("2026", Some("2026-01-01T00:00:00Z")),
            ("2026-3-7", Some("2026-03-07T00:00:00Z")),
            ("2026-03-07T15:04:05.123456789Z", Some("2026-03-07T15:04:05.123456Z")),
            (" 2026-03-07 15:04:05+02:00 ", Some("2026-03-07T13:04:05Z")),
            ("2026-03-07 15:04", Some("2026-03-07T15:04:00Z")),
            ("2026-03-07 15:04:05 UTC", Some("2026-03-07T15:04:05Z")),
            ("07.03.2026", None),
            ("2026-13-01", None),
            ("2026-03-07 15:04:05 nowhere", None),
            ("", None),
        ] {
            assert_eq!(parse_timestamp(text), expected.map(at), "{text}");
        }
        assert_eq!(parse_date("2026-03-07 whatever"), Some(20_519));
        assert_eq!(parse_date("2026-03-07x"), None);
    }

    proptest! {
        #[test]
        fn prints_and_reads_back(micros in -60_000_000_000_000_000i64..250_000_000_000_000_000) {
            let mut text = String::new();
            print_timestamp(micros, &mut text);
            let first = text.chars().next().unwrap();
            // Years before 1000 or after 9999 print with a sign or zeros that CAST reads too,
            // but chrono does not.
            if first.is_ascii_digit() {
                prop_assert_eq!(parse_timestamp(&text), Some(micros), "{}", text);
            }
            let pattern = Pattern::compile("yyyy-MM-dd HH:mm:ss.SSSSSS").unwrap();
            let mut text = String::new();
            pattern.format(micros, &mut text);
            if first.is_ascii_digit() {
                prop_assert_eq!(pattern.parse(&text), Some(micros), "{}", text);
            }
        }

        #[test]
        fn no_text_breaks_it(text in ".{0,30}", pattern in "[yMdHhmsSaEXZ' :/-]{0,12}") {
            let _ = parse_timestamp(&text);
            let _ = parse_date(&text);
            if let Ok(pattern) = Pattern::compile(&pattern) {
                let _ = pattern.parse(&text);
                let mut out = String::new();
                pattern.format(i64::MIN, &mut out);
                pattern.format(i64::MAX, &mut out);
            }
        }
    }
}
