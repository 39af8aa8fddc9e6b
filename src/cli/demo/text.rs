//! Numbers and times as the view and the summary write them.

use std::time::Duration;

use crate::telemetry::time::EventTime;

/// 1234567 as `1,234,567`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A rate that is not negative, as a whole number.
pub fn rate(per_second: f64) -> String {
    // A float becomes the nearest integer there is.
    grouped(per_second.round() as u64)
}

/// Bytes in decimal units.
pub fn size(bytes: u64) -> String {
    let bytes = bytes as f64;
    match bytes {
        b if b >= 1e9 => format!("{:.2} GB", b / 1e9),
        b if b >= 1e6 => format!("{:.1} MB", b / 1e6),
        b if b >= 1e3 => format!("{:.1} kB", b / 1e3),
        b => format!("{b:.0} B"),
    }
}

/// Minutes and seconds, `2:05`; with hours, `1:02:05`.
pub fn clock(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes}:{seconds:02}")
    }
}

/// The time of the day of an event time (UTC), `14:05:30`.
pub fn time_of_day(time: EventTime) -> String {
    match chrono::DateTime::from_timestamp_micros(time.0) {
        Some(at) if time != EventTime::INFINITY => at.format("%H:%M:%S").to_string(),
        _ => time.to_string(),
    }
}

/// "1 window", "2 windows".
pub fn plural(count: u64, one: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{} {one}s", grouped(count)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!((rate(4999.6), rate(f64::NAN)), ("5,000".to_owned(), "0".to_owned()));
        assert_eq!(
            (size(12), size(3_456), size(7_800_000)),
            ("12 B".into(), "3.5 kB".into(), "7.8 MB".into())
        );
        assert_eq!(clock(Duration::from_secs(125)), "2:05");
        assert_eq!(clock(Duration::from_secs(3_725)), "1:02:05");
        assert_eq!(time_of_day(EventTime(1_767_225_630_000_000)), "00:00:30");
        assert_eq!(time_of_day(EventTime::INFINITY), "infinity");
        assert_eq!(
            (plural(1, "window"), plural(2000, "row")),
            ("1 window".into(), "2,000 rows".into())
        );
    }
}
