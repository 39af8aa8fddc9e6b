//! What is to happen when: event time against the wall clock, and what goes wrong in between.

use std::time::Duration;

use crate::weblog::{AnomalyKind, GeneratorOptions, Rate, Script, TrueAnomaly};

const SECOND_US: i64 = 1_000_000;
const MINUTE_US: i64 = 60 * SECOND_US;
/// Event time of a demo, unless it takes longer than this by the wall clock. With windows of 30
/// seconds, detectors have 24 windows of calm to learn from before the first anomaly, twice their
/// warm-up.
const SPAN_US: i64 = 30 * MINUTE_US;

/// A demo's course. Times are event time, microseconds since the Unix epoch.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The first instant.
    pub start: i64,
    /// The instant after the last.
    pub until: i64,
    /// How long that takes by the wall clock, if the pipeline keeps up.
    pub wall: Duration,
    /// What the generator is to write.
    pub options: GeneratorOptions,
    /// Everything that goes wrong on the way.
    pub truth: Vec<TrueAnomaly>,
}

impl Plan {
    /// A demo that lasts `wall`, with `rate` records a second of the wall clock, and ends about
    /// `now` in event time.
    pub fn new(now: i64, wall: Duration, rate: f64, seed: u64) -> Self {
        let wall_us = i64::try_from(wall.as_micros()).unwrap_or(i64::MAX).max(SECOND_US);
        let span = wall_us.max(SPAN_US);
        // Whole minutes, so that windows and anomalies lie the same way to each other every time.
        let start = (now.saturating_sub(span)).div_euclid(MINUTE_US).max(0) * MINUTE_US;
        let script = Script::demo_over(span);
        let until = start + span;
        let options = GeneratorOptions {
            seed,
            start,
            rate: Rate::PerWallSecond(rate),
            time_scale: span as f64 / wall_us as f64,
            script: script.clone(),
            // Enough to be seen.
            malformed: 0.001,
            ..GeneratorOptions::default()
        };
        Self { start, until, wall, options, truth: script.ground_truth(start, until) }
    }

    /// The part of the course that is over at event time `now`, 0 to 1.
    pub fn part(&self, now: i64) -> f64 {
        let done = now.saturating_sub(self.start) as f64 / (self.until - self.start).max(1) as f64;
        done.clamp(0.0, 1.0)
    }

    /// The wall time that `event_us` of event time takes.
    pub fn wall_time(&self, event_us: i64) -> Duration {
        let seconds = event_us.max(0) as f64 / 1e6 / self.options.time_scale;
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }

    /// What goes wrong at event time `now`.
    pub fn current(&self, now: i64) -> Option<&TrueAnomaly> {
        self.truth.iter().find(|anomaly| anomaly.start <= now && now < anomaly.end)
    }

    /// What goes wrong next after event time `now`.
    pub fn next(&self, now: i64) -> Option<&TrueAnomaly> {
        self.truth.iter().find(|anomaly| anomaly.start > now)
    }
}

/// An anomaly in few words: "error burst on /api/v1/cart".
pub fn title(anomaly: &TrueAnomaly) -> String {
    let everywhere = anomaly.key == "all";
    let place = if everywhere { "all endpoints" } else { &anomaly.key };
    match anomaly.kind {
        AnomalyKind::TrafficSpike => format!("traffic spike on {place}"),
        AnomalyKind::ErrorBurst => format!("error burst on {place}"),
        AnomalyKind::SlowDown => format!("slow-down of {place}"),
        AnomalyKind::AbusiveIp => format!("abusive client {}", anomaly.key),
    }
}

/// How badly: "40 % of its requests fail".
pub fn extent(anomaly: &TrueAnomaly) -> String {
    let magnitude = anomaly.magnitude;
    match anomaly.kind {
        AnomalyKind::TrafficSpike => format!("{magnitude:.0} times the usual requests"),
        AnomalyKind::ErrorBurst => format!("{:.0} % of the requests fail", magnitude * 100.0),
        AnomalyKind::SlowDown => format!("{magnitude:.0} times the usual response time"),
        AnomalyKind::AbusiveIp => format!("{:.0} % of all requests are its", magnitude * 100.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weblog::{DEFAULT_START, Generator};

    #[test]
    fn half_an_hour_is_compressed_into_the_duration() {
        let now = DEFAULT_START + 12_345_678;
        let plan = Plan::new(now, Duration::from_secs(120), 5000.0, 1);
        assert_eq!(plan.until - plan.start, SPAN_US);
        assert_eq!(plan.start % MINUTE_US, 0);
        assert!(plan.until <= now && now - plan.until < MINUTE_US);
        assert_eq!(plan.options.time_scale, 15.0);
        assert!((plan.options.rate_per_event_second() - 5000.0 / 15.0).abs() < 1e-9);
        assert_eq!(plan.truth.len(), 4);
        assert!(plan.truth.iter().all(|a| plan.start < a.start && a.end < plan.until));
        assert_eq!(plan.wall_time(15 * SECOND_US), Duration::from_secs(1));
        Generator::new(plan.options).expect("the options make sense");
    }

    #[test]
    fn a_long_demo_is_stretched_and_a_short_one_is_possible() {
        let long = Plan::new(DEFAULT_START, Duration::from_secs(7200), 100.0, 1);
        assert_eq!(long.options.time_scale, 1.0);
        assert_eq!(long.until - long.start, 7200 * SECOND_US);
        let short = Plan::new(DEFAULT_START, Duration::from_secs(5), 100.0, 1);
        Generator::new(short.options).expect("the options make sense");
        // A clock that is wrong is no reason to fail.
        let early = Plan::new(0, Duration::from_secs(60), 100.0, 1);
        assert_eq!(early.start, 0);
        Generator::new(early.options).expect("the options make sense");
    }

    #[test]
    fn it_is_known_what_goes_wrong_now_and_next() {
        let plan = Plan::new(DEFAULT_START, Duration::from_secs(120), 5000.0, 1);
        let first = &plan.truth[0];
        assert!(plan.current(plan.start).is_none());
        assert_eq!(plan.next(plan.start), Some(first));
        assert_eq!(plan.current(first.start), Some(first));
        assert_eq!(plan.next(first.start), Some(&plan.truth[1]));
        assert!(plan.current(first.end).is_none());
        assert!(plan.next(plan.until).is_none());
        assert_eq!(title(first), "traffic spike on /products");
        assert_eq!(extent(&plan.truth[1]), "40 % of the requests fail");
        assert_eq!((plan.part(plan.start), plan.part(plan.until)), (0.0, 1.0));
    }
}
