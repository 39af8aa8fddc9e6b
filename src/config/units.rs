//! Durations and sizes as people write them.

use std::time::Duration;

use serde::Serializer;

use super::suggest;

/// The longest duration taken, ten years: far below every overflow in later arithmetic.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 86_400);

const DURATION_UNITS: &[(&[&str], u64)] = &[
    (&["us", "microsecond", "microseconds"], 1),
    (&["ms", "millisecond", "milliseconds"], 1_000),
    (&["s", "sec", "secs", "second", "seconds"], 1_000_000),
    (&["m", "min", "mins", "minute", "minutes"], 60_000_000),
    (&["h", "hour", "hours"], 3_600_000_000),
    (&["d", "day", "days"], 86_400_000_000),
    (&["w", "week", "weeks"], 604_800_000_000),
];

const SIZE_UNITS: &[(&[&str], u64)] = &[
    (&["b", "byte", "bytes"], 1),
    (&["kb"], 1_000),
    (&["mb"], 1_000_000),
    (&["gb"], 1_000_000_000),
    (&["tb"], 1_000_000_000_000),
    (&["kib", "k"], 1 << 10),
    (&["mib", "m"], 1 << 20),
    (&["gib", "g"], 1 << 30),
    (&["tib", "t"], 1 << 40),
];

/// Why a text is not a duration or a size; says what to write instead.
pub(crate) type Help = Option<String>;

/// Parses `500ms`, `10s`, `2 minutes`, `1h30m`, `1 hour 30 minutes`.
///
/// Units go from microseconds to weeks; each part is a whole number and a unit.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, Help> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(None);
    }
    let mut micros: u64 = 0;
    while !rest.is_empty() {
        let (number, unit, after) = part(rest)?;
        if unit.is_empty() {
            return Err(Some(format!("add a unit: \"{number}s\" or \"{number}ms\"")));
        }
        let scale = scale_of(unit, DURATION_UNITS)?;
        let value: u64 = number.parse().map_err(|_| too_long())?;
        micros = value
            .checked_mul(scale)
            .and_then(|value| micros.checked_add(value))
            .ok_or_else(too_long)?;
        rest = after;
    }
    let duration = Duration::from_micros(micros);
    if duration > LONGEST {
        return Err(too_long());
    }
    Ok(duration)
}

/// Parses `64MiB`, `1 GB`, `4096` (bytes). `k`, `m`, `g` are powers of 1024.
pub(crate) fn parse_size(text: &str) -> Result<usize, Help> {
    let (number, unit, after) = part(text.trim())?;
    if !after.is_empty() {
        return Err(None);
    }
    let scale = if unit.is_empty() { 1 } else { scale_of(unit, SIZE_UNITS)? };
    number
        .parse::<u64>()
        .ok()
        .and_then(|value| value.checked_mul(scale))
        .and_then(|bytes| usize::try_from(bytes).ok())
        .ok_or_else(|| Some("that is more than can be addressed".to_owned()))
}

fn too_long() -> Help {
    Some("at most ten years".to_owned())
}

/// One number, its unit, and what follows.
fn part(text: &str) -> Result<(&str, &str, &str), Help> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, rest) = text.split_at(digits);
    if number.is_empty() {
        return Err(None);
    }
    if rest.starts_with(['.', ',']) {
        return Err(Some("write whole numbers in a smaller unit".to_owned()));
    }
    let rest = rest.trim_start();
    let letters = rest.find(|c: char| !c.is_alphabetic()).unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(letters);
    Ok((number, unit, rest.trim_start()))
}

fn scale_of(unit: &str, units: &[(&[&str], u64)]) -> Result<u64, Help> {
    let lower = unit.to_lowercase();
    units
        .iter()
        .find(|(names, _)| names.contains(&lower.as_str()))
        .map(|(_, scale)| *scale)
        .ok_or_else(|| {
            let names = units.iter().flat_map(|(names, _)| names.iter().copied());
            // Short units are a letter from everything; only whole words are worth a guess.
            suggest::did_you_mean(unit, names.filter(|name| name.len() > 2))
                .or_else(|| Some(format!("`{}` is not a unit", excerpt(unit))))
        })
}

fn excerpt(text: &str) -> String {
    text.chars().take(20).collect()
}

/// The shortest way to write a duration: `10s`, `1h30m`, `500ms`.
pub(crate) fn format_duration(duration: Duration) -> String {
    let mut micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    if micros == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (unit, scale) in [
        ("d", 86_400_000_000),
        ("h", 3_600_000_000),
        ("m", 60_000_000),
        ("s", 1_000_000),
        ("ms", 1_000),
        ("us", 1),
    ] {
        if micros >= scale {
            text.push_str(&format!("{}{unit}", micros / scale));
            micros %= scale;
        }
    }
    text
}

/// The shortest exact way to write a number of bytes: `64MiB`, `1000B`.
pub(crate) fn format_size(bytes: usize) -> String {
    let units = [("TiB", 1usize << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match units.into_iter().find(|(_, scale)| bytes >= *scale && bytes.is_multiple_of(*scale)) {
        Some((unit, scale)) => format!("{}{unit}", bytes / scale),
        None => format!("{bytes}B"),
    }
}

pub(crate) fn serialize_duration<S: Serializer>(
    duration: &Duration,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format_duration(*duration))
}

pub(crate) fn serialize_optional_duration<S: Serializer>(
    duration: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match duration {
        Some(duration) => serialize_duration(duration, serializer),
        None => serializer.serialize_str("never"),
    }
}

/// A time as RFC 3339, from microseconds UTC.
pub(crate) fn format_micros(micros: i64) -> String {
    match chrono::DateTime::from_timestamp_micros(micros) {
        Some(time) => time.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true),
        // Beyond chrono's years: the number says it as well.
        None => micros.to_string(),
    }
}

pub(crate) fn serialize_micros<S: Serializer>(
    micros: &i64,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format_micros(*micros))
}

pub(crate) fn serialize_some_micros<S: Serializer>(
    micros: &Option<i64>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match micros {
        Some(micros) => serialize_micros(micros, serializer),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations() {
        for (text, millis) in [
            ("500ms", 500),
            ("10s", 10_000),
            ("10 s", 10_000),
            ("2 minutes", 120_000),
            ("1h30m", 5_400_000),
            ("1 hour 30 minutes", 5_400_000),
            ("1 Day", 86_400_000),
            ("0s", 0),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_duration_says_why() {
        assert_eq!(parse_duration("10"), Err(Some("add a unit: \"10s\" or \"10ms\"".to_owned())));
        assert_eq!(parse_duration("10 secnods"), Err(Some("did you mean `seconds`?".to_owned())));
        assert_eq!(
            parse_duration("1.5h"),
            Err(Some("write whole numbers in a smaller unit".to_owned()))
        );
        assert_eq!(parse_duration("soon"), Err(None));
        assert_eq!(parse_duration(""), Err(None));
        assert_eq!(parse_duration("11 years"), Err(Some("`years` is not a unit".to_owned())));
        assert_eq!(parse_duration("99999999999999999999w"), Err(too_long()));
        assert_eq!(parse_duration("999999999w"), Err(too_long()));
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("64MiB", 64 << 20),
            ("64 mib", 64 << 20),
            ("1GB", 1_000_000_000),
            ("8k", 8192),
            ("17 bytes", 17),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        assert!(parse_size("64 MiBB").is_err());
        assert!(parse_size("1TB2").is_err());
        assert!(parse_size("99999999999 TiB").is_err());
        assert!(parse_size("-1").is_err());
    }

    proptest! {
        #[test]
        fn a_formatted_duration_reads_back(micros in 0u64..LONGEST.as_micros() as u64) {
            let duration = Duration::from_micros(micros);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }

        #[test]
        fn a_formatted_size_reads_back(bytes in any::<usize>()) {
            prop_assert_eq!(parse_size(&format_size(bytes)), Ok(bytes));
        }

        #[test]
        fn any_text_is_answered(text in "\\PC*") {
            let _ = parse_duration(&text);
            let _ = parse_size(&text);
        }
    }
}
