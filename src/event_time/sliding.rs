//! Windows that overlap, and the panes that they are made of.

use std::ops::{Range, RangeInclusive};

use super::window::{LONGEST, WindowError};

/// Windows that a time can belong to, at most: a change has to be shown in all of them.
const MOST_WINDOWS: i64 = 1_000_000;

/// Sliding windows: of fixed length, a new one every slide, aligned to the epoch plus an offset.
///
/// Windows have ordinals, ascending with their starts. Time is cut at every start and every end of
/// a window; what lies between two cuts is a *pane*, all of whose rows belong to the same windows.
/// A slide has one pane if it divides the size and two if it does not, whatever the two are
/// (the paired windows of Krishnamurthy, Wu and Franklin, "On-the-fly sharing for streamed
/// aggregation", SIGMOD 2006). Panes have ordinals too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sliding {
    size: i64,
    slide: i64,
    offset: i64,
}

impl Sliding {
    /// Windows of `size_us` microseconds that start at multiples of `slide_us` plus `offset_us`.
    ///
    /// # Errors
    /// [`WindowError`] if a length is not positive or too long, the slide is longer than the size
    /// or shorter than a millionth of it, or the offset is not shorter than the slide (Spark's rules).
    pub fn new(size_us: i64, slide_us: i64, offset_us: i64) -> Result<Self, WindowError> {
        if size_us <= 0 {
            return Err(WindowError::NotPositive);
        }
        if slide_us <= 0 {
            return Err(WindowError::SlideNotPositive);
        }
        if size_us > LONGEST {
            return Err(WindowError::TooLong);
        }
        if slide_us > size_us {
            return Err(WindowError::SlideTooLong);
        }
        if size_us / slide_us >= MOST_WINDOWS {
            return Err(WindowError::TooManyWindows);
        }
        if offset_us.checked_abs().is_none_or(|offset| offset >= slide_us) {
            return Err(WindowError::OffsetTooLong);
        }
        Ok(Self { size: size_us, slide: slide_us, offset: offset_us.rem_euclid(slide_us) })
    }

    /// Length of a window in microseconds.
    pub fn size(&self) -> i64 {
        self.size
    }

    /// Microseconds from the start of a window to the start of the next.
    pub fn slide(&self) -> i64 {
        self.slide
    }

    /// Offset of window starts from multiples of the slide, in `0..slide`.
    pub fn offset(&self) -> i64 {
        self.offset
    }

    /// How far into a slide windows end: 0 where others start, if the slide divides the size.
    fn cut(&self) -> i64 {
        self.size % self.slide
    }

    /// The pane that holds the event time `at`.
    ///
    /// Times so far out (over 90,000 years from either end of 64 bits) that their windows would
    /// overflow belong to the outermost whole one.
    #[inline]
    pub fn pane(&self, at: i64) -> i64 {
        let at = at.clamp(i64::MIN + 2 * self.size, i64::MAX - 2 * self.size) - self.offset;
        let slide = at.div_euclid(self.slide);
        match self.cut() {
            0 => slide,
            cut => 2 * slide + i64::from(at.rem_euclid(self.slide) >= cut),
        }
    }

    /// Start and end (exclusive) of a pane, in microseconds.
    #[inline]
    pub fn pane_bounds(&self, pane: i64) -> (i64, i64) {
        let start = |slide: i64| slide.saturating_mul(self.slide).saturating_add(self.offset);
        match self.cut() {
            0 => (start(pane), start(pane.saturating_add(1))),
            cut => {
                let first = start(pane.div_euclid(2));
                match pane.rem_euclid(2) {
                    0 => (first, first.saturating_add(cut)),
                    _ => (first.saturating_add(cut), first.saturating_add(self.slide)),
                }
            }
        }
    }

    /// The windows that a pane belongs to.
    pub fn windows_of(&self, pane: i64) -> RangeInclusive<i64> {
        let overlap = self.size / self.slide;
        match self.cut() {
            0 => pane - overlap + 1..=pane,
            _ => {
                let last = pane.div_euclid(2);
                last - overlap + pane.rem_euclid(2)..=last
            }
        }
    }

    /// The panes that make up a window.
    pub fn panes_of(&self, window: i64) -> Range<i64> {
        let overlap = self.size / self.slide;
        match self.cut() {
            0 => window..window + overlap,
            _ => 2 * window..2 * (window + overlap) + 1,
        }
    }

    /// Start and end (exclusive) of a window, in microseconds.
    pub fn bounds(&self, window: i64) -> (i64, i64) {
        let start = window.saturating_mul(self.slide).saturating_add(self.offset);
        (start, start.saturating_add(self.size))
    }

    /// The first window that is still open at this watermark: its end is after it.
    pub fn first_open(&self, watermark: i64) -> i64 {
        watermark.saturating_sub(self.size).saturating_sub(self.offset).div_euclid(self.slide) + 1
    }

    /// Whether every window of a pane has to be closed: the ends of all of them are not after the
    /// watermark. A row of it that comes now is late.
    pub fn is_closed(&self, pane: i64, watermark: i64) -> bool {
        self.bounds(*self.windows_of(pane).end()).1 <= watermark
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: i64 = 60_000_000;

    fn starts(windows: &Sliding, at: i64) -> Vec<i64> {
        windows.windows_of(windows.pane(at)).map(|window| windows.bounds(window).0).collect()
    }

    #[test]
    fn ten_minutes_every_three() {
        // The slide does not divide the size, so some times belong to three windows, some to four.
        let windows = Sliding::new(10 * MINUTE, 3 * MINUTE, 0).unwrap();
        let minutes = |list: &[i64]| list.iter().map(|at| at * MINUTE).collect::<Vec<_>>();
        assert_eq!(starts(&windows, 0), minutes(&[-9, -6, -3, 0]));
        assert_eq!(starts(&windows, MINUTE - 1), minutes(&[-9, -6, -3, 0]));
        assert_eq!(starts(&windows, MINUTE), minutes(&[-6, -3, 0]));
        assert_eq!(starts(&windows, 3 * MINUTE - 1), minutes(&[-6, -3, 0]));
        assert_eq!(starts(&windows, -1), minutes(&[-9, -6, -3]));
        assert_eq!(windows.panes_of(0).count(), 7);
    }

    #[test]
    fn every_ten_seconds_from_five_past() {
        let windows = Sliding::new(30, 10, 5).unwrap();
        assert_eq!(starts(&windows, 5), [-15, -5, 5]);
        assert_eq!(starts(&windows, 4), [-25, -15, -5]);
        assert_eq!(Sliding::new(30, 10, -5), Ok(windows));
        assert_eq!(windows.first_open(25), 0, "the window from -5 to 25 is closed");
        assert_eq!(windows.first_open(24), -1);
    }

    #[test]
    fn windows_that_make_no_sense_are_refused() {
        assert_eq!(Sliding::new(0, 1, 0), Err(WindowError::NotPositive));
        assert_eq!(Sliding::new(10, 0, 0), Err(WindowError::SlideNotPositive));
        assert_eq!(Sliding::new(10, 11, 0), Err(WindowError::SlideTooLong));
        assert_eq!(Sliding::new(10, 5, 5), Err(WindowError::OffsetTooLong));
        assert_eq!(Sliding::new(10, 5, i64::MIN), Err(WindowError::OffsetTooLong));
        assert_eq!(Sliding::new(i64::MAX, 5, 0), Err(WindowError::TooLong));
        assert_eq!(Sliding::new(LONGEST, 1, 0), Err(WindowError::TooManyWindows));
        assert_eq!(Sliding::new(1_000_000, 1, 0), Err(WindowError::TooManyWindows));
        assert!(Sliding::new(LONGEST, LONGEST / 999_999, 0).is_ok());
    }

    proptest! {
        /// What Spark's planner does: all starts from the last one back, those that hold the time.
        #[test]
        fn a_time_belongs_to_the_windows_that_hold_it(
            at in -10_000i64..10_000, size in 1i64..500, slide in 1i64..500, offset in -500i64..500,
        ) {
            let slide = slide.min(size);
            let windows = Sliding::new(size, slide, offset % slide).unwrap();
            let last = at - (at - offset % slide).rem_euclid(slide);
            let mut expected: Vec<i64> = (0..(size + slide - 1) / slide)
                .map(|back| last - back * slide)
                .filter(|start| *start <= at && at < start + size)
                .collect();
            expected.reverse();
            prop_assert_eq!(starts(&windows, at), expected);
            let pane = windows.pane(at);
            let (start, end) = windows.pane_bounds(pane);
            prop_assert!(start <= at && at < end);
            prop_assert_eq!(windows.pane_bounds(pane + 1).0, end);
            for window in windows.windows_of(pane) {
                prop_assert!(windows.panes_of(window).contains(&pane));
            }
            let window = *windows.windows_of(pane).end();
            let panes = windows.panes_of(window);
            let (first, behind) = (windows.pane_bounds(panes.start).0, windows.pane_bounds(panes.end).0);
            prop_assert_eq!((first, behind), windows.bounds(window));
        }

        #[test]
        fn the_first_open_window(mark in any::<i64>(), size in 1i64..500, slide in 1i64..500) {
            let windows = Sliding::new(size, slide.min(size), 0).unwrap();
            let first = windows.first_open(mark);
            if mark.checked_add(2 * size).is_some() && mark.checked_sub(2 * size).is_some() {
                prop_assert!(windows.bounds(first).1 > mark);
                prop_assert!(windows.bounds(first - 1).1 <= mark);
            }
        }

        #[test]
        fn nothing_overflows(
            at in any::<i64>(), size in 1..=LONGEST, slide in 1..=LONGEST, offset in any::<i64>(),
            mark in any::<i64>(),
        ) {
            let slide = slide.clamp(size / 1_000_000 + 1, size);
            let windows = Sliding::new(size, slide, offset % slide).unwrap();
            let pane = windows.pane(at);
            let _ = (windows.pane_bounds(pane), windows.is_closed(pane, mark));
            let of = windows.windows_of(pane);
            let _ = (windows.panes_of(*of.start()), windows.panes_of(*of.end()));
            let _ = windows.first_open(mark);
        }
    }
}
