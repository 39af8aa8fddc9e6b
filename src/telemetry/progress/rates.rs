//! Rates over the last seconds, computed from counters by whoever asks.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::telemetry::lock;

/// Rates look back this far, or to the first sample before it.
const WINDOW: Duration = Duration::from_secs(10);
/// Samples closer together than this are one.
const SPACING: Duration = Duration::from_millis(500);

/// A short history of `N` counters. What counts pays nothing for it: the history is extended when
/// somebody asks and by the upkeep thread. Holds at most [`WINDOW`] / [`SPACING`] + 2 samples.
#[derive(Debug)]
pub(super) struct Rates<const N: usize> {
    samples: Mutex<VecDeque<(Instant, [u64; N])>>,
}

impl<const N: usize> Rates<N> {
    /// A history that begins with counters at zero.
    pub fn new(now: Instant) -> Self {
        Self { samples: Mutex::new(VecDeque::from([(now, [0; N])])) }
    }

    /// Notes where the counters are.
    pub fn sample(&self, now: Instant, counters: [u64; N]) {
        let mut samples = lock(&self.samples);
        let fresh =
            samples.back().is_none_or(|(last, _)| now.saturating_duration_since(*last) >= SPACING);
        if fresh {
            samples.push_back((now, counters));
        }
        // The oldest kept is the newest that spans the window.
        while samples
            .get(1)
            .is_some_and(|(second, _)| now.saturating_duration_since(*second) >= WINDOW)
        {
            samples.pop_front();
        }
    }

    /// How fast each counter has grown, per second; zero while there is too little history.
    pub fn per_second(&self, now: Instant, counters: [u64; N]) -> [f64; N] {
        self.sample(now, counters);
        let samples = lock(&self.samples);
        let Some((then, base)) = samples.front() else { return [0.0; N] };
        let span = now.saturating_duration_since(*then);
        if span < SPACING {
            return [0.0; N];
        }
        std::array::from_fn(|i| {
            let rate = counters[i].saturating_sub(base[i]) as f64 / span.as_secs_f64();
            // A tenth of a row a second is more than anybody reads.
            (rate * 10.0).round() / 10.0
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_over_the_last_ten_seconds() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let rates = Rates::new(start);
        assert_eq!(rates.per_second(at(100), [50]), [0.0], "too early to tell");
        assert_eq!(rates.per_second(at(1000), [1000]), [1000.0]);
        for second in 1..=60_u64 {
            // 100 a second for 40 s, then 500 a second.
            let counter = if second <= 40 { second * 100 } else { 4000 + (second - 40) * 500 };
            rates.sample(at(second * 1000), [counter]);
        }
        assert_eq!(rates.per_second(at(60_000), [14_000]), [500.0]);
        // Nothing more comes.
        for second in 61..=80 {
            rates.sample(at(second * 1000), [14_000]);
        }
        assert_eq!(rates.per_second(at(80_000), [14_000]), [0.0]);
    }

    #[test]
    fn a_rare_reader_gets_the_rate_since_it_last_asked() {
        let start = Instant::now();
        let rates = Rates::new(start);
        let at = |s| start + Duration::from_secs(s);
        assert_eq!(rates.per_second(at(60), [600]), [10.0]);
        assert_eq!(rates.per_second(at(120), [1800]), [20.0]);
    }

    #[test]
    fn the_history_is_bounded_however_often_it_is_asked() {
        let start = Instant::now();
        let rates = Rates::new(start);
        for ms in 0..100_000 {
            rates.sample(start + Duration::from_millis(ms), [ms]);
        }
        assert!(lock(&rates.samples).len() <= 23);
        // A clock that is read in two threads may seem to step back.
        assert!(rates.per_second(start, [100_000])[0] >= 0.0);
    }
}
