//! Windows that last as long as events keep coming.

use super::window::{LONGEST, WindowError};

/// Session windows: the events of a key, none further than the gap from the next.
///
/// As in Spark, a session starts at its first event and ends (exclusive) one gap after its last.
/// An event that comes exactly one gap after another still belongs to its session: Spark joins
/// sessions that touch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session {
    gap: i64,
}

impl Session {
    /// Sessions that end when `gap_us` microseconds pass without an event.
    ///
    /// # Errors
    /// [`WindowError`] if the gap is not positive or too long.
    pub fn new(gap_us: i64) -> Result<Self, WindowError> {
        match gap_us {
            ..=0 => Err(WindowError::GapNotPositive),
            1..=LONGEST => Ok(Self { gap: gap_us }),
            _ => Err(WindowError::TooLong),
        }
    }

    /// The gap in microseconds.
    pub fn gap(&self) -> i64 {
        self.gap
    }

    /// End (exclusive) of a session whose last event is at `at`.
    #[inline]
    pub fn end(&self, at: i64) -> i64 {
        at.saturating_add(self.gap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps() {
        assert_eq!(Session::new(0), Err(WindowError::GapNotPositive));
        assert_eq!(Session::new(i64::MIN), Err(WindowError::GapNotPositive));
        assert_eq!(Session::new(i64::MAX), Err(WindowError::TooLong));
        assert_eq!(Session::new(5).map(|session| session.end(i64::MAX - 1)), Ok(i64::MAX));
        assert_eq!(Session::new(5).map(|session| session.end(-7)), Ok(-2));
    }
}
