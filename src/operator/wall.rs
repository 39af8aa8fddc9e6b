//! The wall clock, for state that is kept by processing time.

use std::fmt;
use std::sync::Arc;

use crate::event_time::wall_now_us;

/// Gives the time in microseconds since the Unix epoch; tests put in one that they move.
#[derive(Clone)]
pub(crate) struct WallClock {
    now: Arc<dyn Fn() -> i64 + Send + Sync>,
}

impl WallClock {
    /// The system's clock.
    pub(crate) fn system() -> Self {
        Self::from_fn(wall_now_us)
    }

    /// A clock of the caller's.
    pub(crate) fn from_fn(now: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        Self { now: Arc::new(now) }
    }

    pub(crate) fn now(&self) -> i64 {
        (self.now)()
    }
}

impl fmt::Debug for WallClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WallClock")
    }
}
