//! Durations, shares and counts as people write them.

use super::WeblogError;

/// A duration in microseconds: `300` (seconds), `1.5`, `250ms`, `5s`, `10m`, `1h30m`, `2d`.
///
/// # Errors
/// [`WeblogError::Invalid`] for anything else, negative durations, and more than 10,000 days.
pub fn parse_duration(text: &str) -> Result<i64, WeblogError> {
    const LIMIT_US: f64 = 10_000.0 * 86_400e6;
    let refuse = || {
        WeblogError::invalid(format!(
            "'{text}' is not a duration; write seconds (300) or units (250ms, 5s, 10m, 1h30m, 2d)"
        ))
    };
    let mut rest = text.trim();
    let mut total = 0.0;
    if rest.is_empty() {
        return Err(refuse());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..digits].parse().map_err(|_| refuse())?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let unit = match &rest[..letters] {
            // Only a number alone may go without a unit: '1h30' could be meant in several ways.
            "" if digits == text.trim().len() => 1e6,
            "us" => 1.0,
            "ms" => 1e3,
            "s" | "sec" | "secs" => 1e6,
            "m" | "min" | "mins" => 60e6,
            "h" => 3600e6,
            "d" => 86_400e6,
            _ => return Err(refuse()),
        };
        total += number * unit;
        rest = &rest[letters..];
    }
    if total > LIMIT_US {
        return Err(WeblogError::invalid(format!("'{text}' is longer than 10,000 days")));
    }
    Ok((total + 0.5) as i64)
}

/// A positive number with an optional suffix: `10`, `2.5k`, `1M`, `3G`.
///
/// # Errors
/// [`WeblogError::Invalid`] for anything else, zero, and negative or infinite numbers.
pub fn parse_quantity(text: &str) -> Result<f64, WeblogError> {
    let trimmed = text.trim();
    let (digits, factor) = match trimmed.char_indices().next_back() {
        Some((at, 'k' | 'K')) => (&trimmed[..at], 1e3),
        Some((at, 'm' | 'M')) => (&trimmed[..at], 1e6),
        Some((at, 'g' | 'G')) => (&trimmed[..at], 1e9),
        _ => (trimmed, 1.0),
    };
    match digits.replace('_', "").parse::<f64>() {
        Ok(number) if number > 0.0 && number.is_finite() => Ok(number * factor),
        _ => Err(WeblogError::invalid(format!(
            "'{text}' is not a positive number; write 1000, 2.5k or 1M"
        ))),
    }
}

/// Microseconds since the Unix epoch as RFC 3339 with milliseconds, UTC.
pub fn instant_text(micros: i64) -> String {
    let mut text = [0; 24];
    super::format::Timestamps::new().write(micros.div_euclid(1000), &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_in_every_unit() {
        for (text, wanted) in [
            ("300", 300_000_000),
            ("1.5", 1_500_000),
            ("250ms", 250_000),
            ("5s", 5_000_000),
            ("10m", 600_000_000),
            ("1h30m", 5_400_000_000),
            (" 2d ", 172_800_000_000),
            ("0", 0),
        ] {
            assert_eq!(parse_duration(text).ok(), Some(wanted), "{text}");
        }
        for text in ["", "s", "-5s", "5 s", "1h30", "5x", "..", "1e3", "20000d", "٣s", "5sé"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn quantities_with_suffixes() {
        for (text, wanted) in [("10", 10.0), ("2.5k", 2500.0), ("1M", 1e6), ("1_000", 1000.0)] {
            assert_eq!(parse_quantity(text).ok(), Some(wanted), "{text}");
        }
        for text in ["", "k", "0", "-1", "inf", "nan", "1kk", "1é"] {
            assert!(parse_quantity(text).is_err(), "{text}");
        }
    }
}
