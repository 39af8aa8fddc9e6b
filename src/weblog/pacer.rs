//! Event time against the wall clock.

use std::time::Duration;

/// How far a generator that fell behind may catch up, in seconds of wall time. What is beyond is
/// given up, so that a sink that was stuck for a minute does not get that minute in one burst.
const CATCH_UP: f64 = 1.0;

/// Says up to which event time records are due. It has no clock of its own: callers pass the time
/// that has passed on theirs.
#[derive(Clone, Debug)]
pub struct Pacer {
    start: i64,
    /// Seconds of event time per second of wall time.
    scale: f64,
    /// Wall time given up, in seconds.
    given_up: f64,
    realtime: bool,
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// Event time, microseconds since the Unix epoch, up to which records are due.
    pub until: i64,
    /// Event time to go on from, leaving a gap, because too much was missed.
    pub skip_to: Option<i64>,
}

impl Pacer {
    /// Event time `start` (microseconds since the Unix epoch) is now, and goes `time_scale` times
    /// as fast as the wall clock. After a stall, the log goes on where it was, later than planned.
    pub fn new(start: i64, time_scale: f64) -> Self {
        Self { start, scale: time_scale, given_up: 0.0, realtime: false }
    }

    /// Event time is the wall clock's and `start` is now. After a stall, the log has a gap.
    pub fn realtime(start: i64) -> Self {
        Self { start, scale: 1.0, given_up: 0.0, realtime: true }
    }

    /// What is due after `elapsed` on the wall clock, if the records up to event time `reached`
    /// are out.
    pub fn due(&mut self, elapsed: Duration, reached: i64) -> Due {
        let passed = elapsed.as_secs_f64() - self.given_up;
        let until = self.event_time(passed);
        let latest = reached.saturating_add((CATCH_UP * self.scale * 1e6) as i64);
        if until <= latest {
            return Due { until, skip_to: None };
        }
        if self.realtime {
            let skip_to = until.saturating_sub((CATCH_UP * 1e6) as i64);
            return Due { until, skip_to: Some(skip_to) };
        }
        self.given_up += (until - latest) as f64 / 1e6 / self.scale;
        Due { until: latest, skip_to: None }
    }

    /// How long after `elapsed` event time `at` is due.
    pub fn wait(&self, elapsed: Duration, at: i64) -> Duration {
        let due = at.saturating_sub(self.start) as f64 / 1e6 / self.scale + self.given_up;
        // Also refuses what is not finite or too long.
        Duration::try_from_secs_f64(due - elapsed.as_secs_f64()).unwrap_or(Duration::ZERO)
    }

    /// Wall time by which the log is behind its plan.
    pub fn behind(&self) -> Duration {
        Duration::try_from_secs_f64(self.given_up).unwrap_or(Duration::ZERO)
    }

    fn event_time(&self, passed: f64) -> i64 {
        // A float becomes the nearest integer there is: no overflow.
        self.start.saturating_add((passed * self.scale * 1e6) as i64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    #[test]
    fn event_time_keeps_its_scale() {
        let mut pacer = Pacer::new(5 * SECOND, 10.0);
        let due = pacer.due(Duration::from_millis(500), 5 * SECOND);
        assert_eq!(due, Due { until: 10 * SECOND, skip_to: None });
        assert_eq!(pacer.wait(Duration::from_millis(500), 11 * SECOND), Duration::from_millis(100));
        assert_eq!(pacer.wait(Duration::from_secs(5), 11 * SECOND), Duration::ZERO);
    }

    #[test]
    fn after_a_stall_it_catches_up_one_second_and_goes_on() {
        let mut pacer = Pacer::new(0, 1.0);
        assert_eq!(pacer.due(Duration::from_secs(1), 0).until, SECOND);
        let due = pacer.due(Duration::from_secs(61), SECOND);
        assert_eq!(due, Due { until: 2 * SECOND, skip_to: None });
        assert_eq!(pacer.behind(), Duration::from_secs(59));
        assert_eq!(pacer.due(Duration::from_secs(62), 2 * SECOND).until, 3 * SECOND);
    }

    #[test]
    fn in_realtime_a_stall_leaves_a_gap() {
        let mut pacer = Pacer::realtime(0);
        let due = pacer.due(Duration::from_secs(60), SECOND);
        assert_eq!(due, Due { until: 60 * SECOND, skip_to: Some(59 * SECOND) });
        assert_eq!(pacer.behind(), Duration::ZERO);
    }
}
