//! Times as telemetry shows them.

use std::fmt;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, SecondsFormat};
use serde::{Serialize, Serializer};

/// A time on the event-time axis: microseconds since the Unix epoch. `i64::MAX` is the watermark
/// of an input that has ended.
///
/// Shown and serialised as RFC 3339 with milliseconds in UTC, or `infinity`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventTime(pub i64);

impl EventTime {
    /// The watermark of an input that has ended.
    pub const INFINITY: Self = Self(i64::MAX);

    /// Seconds since the Unix epoch, as Prometheus wants a timestamp.
    pub fn unix_seconds(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// How far this time lies behind `now_us`, in microseconds; zero if it is ahead or infinite.
    pub fn lag_us(self, now_us: i64) -> i64 {
        now_us.saturating_sub(self.0).max(0)
    }
}

impl fmt::Display for EventTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::INFINITY {
            return f.write_str("infinity");
        }
        match DateTime::from_timestamp_micros(self.0) {
            Some(time) => f.write_str(&time.to_rfc3339_opts(SecondsFormat::Millis, true)),
            // Years that the calendar does not reach: an event can claim any 64-bit number.
            None => write!(f, "{} us", self.0),
        }
    }
}

impl Serialize for EventTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One reading of both clocks: the monotonic one for ages and rates, the wall clock for what is
/// shown. Passed in wherever time matters, so that tests move it.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// The monotonic clock.
    pub instant: Instant,
    /// The wall clock, in microseconds since the Unix epoch.
    pub unix_us: i64,
}

impl Now {
    /// Reads both clocks.
    pub fn read() -> Self {
        let unix_us = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| i64::try_from(since.as_micros()).unwrap_or(i64::MAX));
        Self { instant: Instant::now(), unix_us }
    }

    /// Both clocks moved on by `step`.
    pub fn after(self, step: Duration) -> Self {
        let step_us = i64::try_from(step.as_micros()).unwrap_or(i64::MAX);
        Self { instant: self.instant + step, unix_us: self.unix_us.saturating_add(step_us) }
    }

    /// The time since `earlier` by the monotonic clock; zero if `earlier` is later.
    pub fn since(self, earlier: Now) -> Duration {
        self.instant.saturating_duration_since(earlier.instant)
    }

    /// The wall clock as a time to show.
    pub fn wall(self) -> EventTime {
        EventTime(self.unix_us)
    }
}

/// Milliseconds of `duration`, for JSON.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_shown_in_rfc_3339_and_any_number_is_shown() {
        assert_eq!(EventTime(1_700_000_000_123_456).to_string(), "2023-11-14T22:13:20.123Z");
        assert_eq!(EventTime(-1).to_string(), "1969-12-31T23:59:59.999Z");
        assert_eq!(EventTime(i64::MAX).to_string(), "infinity");
        assert_eq!(EventTime(i64::MIN).to_string(), "-9223372036854775808 us");
        assert_eq!(serde_json::json!(EventTime(0)), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn lag_is_never_negative_and_never_overflows() {
        assert_eq!(EventTime(10).lag_us(15), 5);
        assert_eq!(EventTime(15).lag_us(10), 0);
        assert_eq!(EventTime::INFINITY.lag_us(10), 0);
        assert_eq!(EventTime(i64::MIN).lag_us(10), i64::MAX);
    }
}
