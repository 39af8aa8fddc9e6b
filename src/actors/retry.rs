//! Capped exponential backoff with jitter.

use std::time::Duration;

/// The pauses between attempts.
#[derive(Debug, Clone)]
pub struct Backoff {
    initial: Duration,
    max: Duration,
    attempts: u32,
}

impl Backoff {
    /// Pauses that double from `initial` up to `max`.
    pub fn new(initial: Duration, max: Duration) -> Self {
        Self { initial, max, attempts: 0 }
    }

    /// Failed attempts so far.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Counts a failed attempt and returns the pause before the next: between three quarters of
    /// the nominal pause and all of it, so that several daemons do not come back in step.
    pub fn pause(&mut self) -> Duration {
        let doublings = self.attempts.min(20);
        self.attempts = self.attempts.saturating_add(1);
        let nominal = self.initial.saturating_mul(1 << doublings).min(self.max);
        let jitter = f64::from(uuid::Uuid::new_v4().as_fields().0) / f64::from(u32::MAX);
        nominal.mul_f64(0.75 + 0.25 * jitter)
    }

    /// Begins again.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_cap() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        let pauses: Vec<_> = (0..40).map(|_| backoff.pause()).collect();
        assert!(pauses[0] >= Duration::from_millis(75) && pauses[0] <= Duration::from_millis(100));
        assert!(pauses[2] >= Duration::from_millis(300) && pauses[2] <= Duration::from_millis(400));
        assert!(pauses.iter().all(|pause| *pause <= Duration::from_secs(1)));
        assert_eq!(backoff.attempts(), 40);
        backoff.reset();
        assert!(backoff.pause() <= Duration::from_millis(100));
    }
}
