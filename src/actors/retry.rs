//! Trying again: capped exponential backoff with jitter, where anyone can see it.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use super::child::Health;
use crate::lake::LakeError;
use crate::sink::SinkError;
use crate::telemetry::events::{SinkRecovered, SinkRetrying};
use crate::telemetry::progress::SinkProgress;

/// An error of a sink, as far as trying again goes.
pub trait Fault: Display {
    /// Whether the same call may succeed later.
    fn is_transient(&self) -> bool;
    /// A fixed name for metric labels.
    fn code(&self) -> &'static str;
}

impl Fault for LakeError {
    fn is_transient(&self) -> bool {
        self.is_transient()
    }

    fn code(&self) -> &'static str {
        self.code()
    }
}

impl Fault for SinkError {
    fn is_transient(&self) -> bool {
        self.is_transient()
    }

    fn code(&self) -> &'static str {
        self.code()
    }
}

/// How a sink retries: with capped backoff, for as long as the fault may heal, and where anyone
/// can see it.
pub struct Retrying {
    pub(super) pipeline: Arc<str>,
    pub(super) sink: Arc<str>,
    pub(super) health: Arc<Health>,
    pub(super) progress: Arc<SinkProgress>,
}

impl Retrying {
    /// Waits before the next attempt, or gives the error back if trying again can't help.
    pub(super) async fn pause<E: Fault>(&self, error: E, backoff: &mut Backoff) -> Result<(), E> {
        if !error.is_transient() {
            return Err(error);
        }
        let pause = backoff.pause();
        self.health.set_waiting(true);
        self.progress.retrying(&error.to_string(), backoff.attempts(), pause);
        SinkRetrying {
            pipeline: &self.pipeline,
            sink: &self.sink,
            reason: error.code(),
            error: &error,
            attempt: backoff.attempts(),
            backoff: pause,
        }
        .emit();
        tokio::time::sleep(pause).await;
        Ok(())
    }

    pub(super) fn succeeded(&self, backoff: &Backoff) {
        self.health.set_waiting(false);
        if backoff.attempts() > 0 {
            self.progress.recovered();
            SinkRecovered {
                pipeline: &self.pipeline,
                sink: &self.sink,
                attempts: backoff.attempts(),
            }
            .emit();
        }
    }
}

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

    /// How long a sink waits between attempts: from 200 ms, doubling, to 10 s. Quick enough for a
    /// blip, slow enough for a full disk.
    pub fn of_sinks() -> Self {
        Self::new(Duration::from_millis(200), Duration::from_secs(10))
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
