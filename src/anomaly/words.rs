//! Numbers and windows in the words of an anomaly's reason.

/// A number for reading: thousands separated, three significant digits below 1,000.
pub fn number(value: f64) -> String {
    let size = value.abs();
    if !value.is_finite() {
        return value.to_string();
    }
    if size >= 1e15 {
        return format!("{value:.3e}");
    }
    let decimals = match size {
        s if s == 0.0 || s >= 99.95 => 0,
        s if s >= 9.995 => 1,
        s if s >= 0.9995 => 2,
        s if s >= 0.001 => 3,
        _ => return format!("{value:.2e}"),
    };
    let plain = format!("{size:.decimals$}");
    let (whole, part) = plain.split_once('.').unwrap_or((&plain, ""));
    let mut text = String::with_capacity(plain.len() + 6);
    if value < 0.0 {
        text.push('-');
    }
    for (i, digit) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    let part = part.trim_end_matches('0');
    if !part.is_empty() {
        text.push('.');
        text.push_str(part);
    }
    text
}

/// A number with its unit, if it has one.
pub fn quantity(value: f64, unit: &str) -> String {
    if unit.is_empty() { number(value) } else { format!("{} {unit}", number(value)) }
}

/// A share of one, in per cent with three digits.
pub fn per_cent(share: f64) -> String {
    format!("{} %", number(share * 100.0))
}

/// " of KEY", or nothing for a query without key.
pub fn of(key: &str) -> String {
    if key.is_empty() { String::new() } else { format!(" of {key}") }
}

/// "in the minute", "in 10 seconds": the window, times in microseconds.
pub fn in_window(start: i64, end: i64) -> String {
    const UNITS: [(i64, &str); 5] = [
        (86_400_000_000, "day"),
        (3_600_000_000, "hour"),
        (60_000_000, "minute"),
        (1_000_000, "second"),
        (1_000, "millisecond"),
    ];
    let length = end.saturating_sub(start);
    for (size, name) in UNITS {
        if length == size {
            return format!("in the {name}");
        }
        if length > size && length % size == 0 {
            return format!("in {} {name}s", length / size);
        }
    }
    format!("in {length} microseconds")
}

/// "90 seconds", "3 minutes", "1 hour 5 minutes": how long something has lasted, in microseconds,
/// to the two largest units.
pub fn lasting(duration: i64) -> String {
    const UNITS: [(i64, &str); 5] = [
        (86_400_000_000, "day"),
        (3_600_000_000, "hour"),
        (60_000_000, "minute"),
        (1_000_000, "second"),
        (1_000, "millisecond"),
    ];
    let said = |count: i64, name: &str| {
        format!("{} {name}{}", number(count as f64), if count == 1 { "" } else { "s" })
    };
    let Some(at) = UNITS.iter().position(|(size, _)| duration >= *size) else {
        return said(duration.max(0), "microsecond");
    };
    let (size, name) = UNITS[at];
    let mut text = said(duration / size, name);
    if let Some((lesser, name)) = UNITS.get(at + 1) {
        let rest = duration % size / lesser;
        if rest > 0 && *lesser >= 1_000_000 {
            text.push(' ');
            text.push_str(&said(rest, name));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        for (duration, text) in [
            (180_000_000, "3 minutes"),
            (60_000_000, "1 minute"),
            (90_000_000, "1 minute 30 seconds"),
            (3_900_000_000, "1 hour 5 minutes"),
            (86_400_000_000, "1 day"),
            (1_500_000, "1 second"),
            (7, "7 microseconds"),
            (-1, "0 microseconds"),
        ] {
            assert_eq!(lasting(duration), text, "{duration}");
        }
    }

    #[test]
    fn numbers_read_well() {
        for (value, text) in [
            (0.0, "0"),
            (2400.0, "2,400"),
            (1_234_567.8, "1,234,568"),
            (312.4, "312"),
            (99.99, "100"),
            (24.06, "24.1"),
            (2.4, "2.4"),
            (0.999_9, "1"),
            (0.5, "0.5"),
            (0.012_34, "0.012"),
            (0.000_012, "1.20e-5"),
            (-1500.0, "-1,500"),
            (3e18, "3.000e18"),
        ] {
            assert_eq!(number(value), text, "{value}");
        }
        assert_eq!(quantity(300.0, "ms"), "300 ms");
        assert_eq!(per_cent(0.253), "25.3 %");
    }

    #[test]
    fn windows_read_well() {
        assert_eq!(in_window(0, 60_000_000), "in the minute");
        assert_eq!(in_window(0, 10_000_000), "in 10 seconds");
        assert_eq!(in_window(0, 600_000_000), "in 10 minutes");
        assert_eq!(in_window(0, 90_000_000), "in 90 seconds");
        assert_eq!(in_window(0, 86_400_000_000), "in the day");
        assert_eq!(in_window(0, 7), "in 7 microseconds");
        assert_eq!(in_window(i64::MIN, i64::MAX), "in 9223372036854775807 microseconds");
    }
}
