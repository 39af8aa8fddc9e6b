//! Log lines that would come once a record are let through once a period.
//!
//! Metrics count every occurrence; only the log is thinned. What was held back is added to the
//! next line, and [`flush`] reports the remainder of a burst that has ended.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use super::lock;

/// At most one line of a kind in this time.
pub const PERIOD: Duration = Duration::from_secs(10);

/// Lets one occurrence through per [`PERIOD`] and counts the rest.
#[derive(Debug, Default)]
pub struct RateLimit {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// No line before this; none yet when absent.
    next: Option<Instant>,
    /// Occurrences since the last line that were not logged.
    held: u64,
}

impl RateLimit {
    /// `n` more occurrences at `now`. `Some(held)` says: log this, and `held` earlier ones went
    /// unlogged.
    pub fn admit(&self, now: Instant, n: u64) -> Option<u64> {
        let mut state = lock(&self.state);
        if state.next.is_some_and(|next| now < next) {
            state.held = state.held.saturating_add(n);
            return None;
        }
        state.next = Some(now + PERIOD);
        Some(std::mem::take(&mut state.held))
    }

    /// The occurrences held back, once the period is over; takes them. The period starts anew, so
    /// that the line about them counts as a line.
    fn overdue(&self, now: Instant) -> Option<u64> {
        let mut state = lock(&self.state);
        if state.held == 0 || state.next.is_some_and(|next| now < next) {
            return None;
        }
        state.next = Some(now + PERIOD);
        Some(std::mem::take(&mut state.held))
    }
}

/// What a limit is for: the same line of the same pipeline shares one, whichever thread emits it
/// and however often the pipeline was restarted meanwhile.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LimitKey {
    /// The event's log message.
    pub message: &'static str,
    /// The pipeline.
    pub pipeline: Arc<str>,
    /// The source or query within it.
    pub subject: Arc<str>,
    /// The reason, or empty.
    pub reason: Cow<'static, str>,
}

/// Grows with the configuration (pipelines x sources and queries x reasons), not with the input.
static LIMITS: LazyLock<Mutex<HashMap<LimitKey, Arc<RateLimit>>>> = LazyLock::new(Mutex::default);

/// The limit shared by all that log `key`.
pub fn shared(key: LimitKey) -> Arc<RateLimit> {
    Arc::clone(lock(&LIMITS).entry(key).or_default())
}

/// Logs how many occurrences were held back of every kind that has been quiet since its period
/// ended. Called by the upkeep thread.
pub fn flush(now: Instant) {
    let overdue: Vec<(LimitKey, u64)> = lock(&LIMITS)
        .iter()
        .filter_map(|(key, limit)| limit.overdue(now).map(|held| (key.clone(), held)))
        .collect();
    for (key, suppressed) in overdue {
        tracing::warn!(
            pipeline = %key.pipeline,
            of = %key.subject,
            reason = %key.reason,
            event = key.message,
            suppressed,
            "log lines of one kind were left out"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_period_and_the_rest_is_counted() {
        let limit = RateLimit::default();
        let start = Instant::now();
        assert_eq!(limit.admit(start, 1), Some(0), "the first is logged");
        assert_eq!(limit.admit(start + Duration::from_secs(1), 2), None);
        assert_eq!(limit.admit(start + Duration::from_millis(9_999), 1), None);
        assert_eq!(limit.admit(start + PERIOD, 1), Some(3), "the next says what was held");
        assert_eq!(limit.admit(start + PERIOD * 3, 1), Some(0));
    }

    #[test]
    fn the_end_of_a_burst_is_reported_once() {
        let limit = RateLimit::default();
        let start = Instant::now();
        limit.admit(start, 1);
        limit.admit(start, 5);
        assert_eq!(limit.overdue(start + Duration::from_secs(5)), None, "period not over");
        assert_eq!(limit.overdue(start + PERIOD), Some(5));
        assert_eq!(limit.overdue(start + PERIOD * 2), None);
        assert_eq!(limit.admit(start + PERIOD + Duration::from_secs(1), 1), None);
    }
}
