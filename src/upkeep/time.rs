//! Points in time as people write them.

use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};

/// Reads `2026-11-21T10:00:00Z`, `2026-11-21 10:00:00.5`, `2026-11-21 10:00` or `2026-11-21`; times
/// without a zone are UTC, as in the rest of the program.
///
/// # Errors
/// What was expected, in words.
pub fn parse_timestamp(text: &str) -> Result<DateTime<Utc>, String> {
    let text = text.trim();
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Ok(time.to_utc());
    }
    for format in ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M"] {
        if let Ok(time) = NaiveDateTime::parse_from_str(text, format) {
            return Ok(time.and_utc());
        }
    }
    for format in ["%Y-%m-%d %H:%M:%S%.f%:z", "%Y-%m-%d %H:%M:%S%.f%z"] {
        if let Ok(time) = DateTime::parse_from_str(text, format) {
            return Ok(time.to_utc());
        }
    }
    NaiveDate::parse_from_str(text, "%Y-%m-%d")
        .ok()
        .and_then(|day| day.and_hms_opt(0, 0, 0))
        .map(|time| time.and_utc())
        .ok_or_else(|| {
            format!(
                "'{text}' is no time; write 2026-11-21, 2026-11-21 10:00:00 or \
                     2026-11-21T10:00:00Z (UTC where no zone is given)"
            )
        })
}
