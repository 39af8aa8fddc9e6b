//! The wall clock, which a pipeline that is tried by hand moves itself.

use std::cell::Cell;
use std::marker::PhantomData;
use std::time::{SystemTime, UNIX_EPOCH};

thread_local! {
    static MOVED: Cell<Option<i64>> = const { Cell::new(None) };
}

/// Microseconds since the Unix epoch: by the system's clock, unless a [`MovedClock`] is in force on
/// this thread.
pub(crate) fn wall_now_us() -> i64 {
    MOVED.get().unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(now.as_micros()).unwrap_or(i64::MAX)
    })
}

/// For as long as it lives, the wall clock of this thread stands still where it was put.
///
/// By thread rather than by argument, since the clock is read at the far end of every expression
/// and operator, and a trial runs all of them in one thread.
pub(crate) struct MovedClock {
    before: Option<i64>,
    /// It belongs to this thread.
    _thread: PhantomData<*const ()>,
}

impl MovedClock {
    /// Microseconds since the Unix epoch.
    pub(crate) fn at(us: i64) -> Self {
        Self { before: MOVED.replace(Some(us)), _thread: PhantomData }
    }
}

impl Drop for MovedClock {
    fn drop(&mut self) {
        MOVED.set(self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moved_clock_stands_still_and_goes_away() {
        let system = wall_now_us();
        {
            let _outer = MovedClock::at(5);
            assert_eq!(wall_now_us(), 5);
            {
                let _inner = MovedClock::at(7);
                assert_eq!(wall_now_us(), 7);
            }
            assert_eq!(wall_now_us(), 5);
            let other = std::thread::spawn(wall_now_us).join().unwrap();
            assert!(other >= system, "other threads have the system's clock");
        }
        assert!(wall_now_us() >= system);
    }
}
