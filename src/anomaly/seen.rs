//! What values a series has had, thinned to a bounded number of points, and how far a new one is
//! from all of them.
//!
//! The novelty of a value is the distance to the nearest of those before it, over their range: the
//! simplest conformity measure of a nearest-neighbour detector (V. Hautamäki, I. Kärkkäinen and
//! P. Fränti, "Outlier detection using k-nearest neighbour graph", ICPR 2004; E. Burnaev and
//! V. Ishimtsev, "Conformalized density- and distance-based anomaly detection in time-series data",
//! 2016). Kept exactly it takes all of the last N values; here one that is within a 256th of the
//! range of a point only refreshes that point, so that 256 points stand for any number of values.

use super::DetectorError;
use super::state::{Reader, Writer};

/// Points kept at most, on a line and in a plane.
pub const POINTS: usize = 256;
/// A value this near to a point, as part of the range, is the same: then so many points fill it.
const SAME: f64 = 1.0 / POINTS as f64;
/// In a plane, to each side; 256 points fill a quarter of it, which is more than series do.
const SAME_IN_PLANE: f64 = 1.0 / 32.0;
/// Values that differ by less than this part of themselves differ by rounding.
const ROUNDING: f64 = 1e-12;
/// Old points are looked for once in so many values.
const SWEEP: u32 = 32;

/// The scale on which distances are taken besides the plain one: `asinh((x - level) / deviation)`,
/// linear near the level and logarithmic far from it, so that one great outlier does not hide
/// all that is smaller.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Squash {
    pub level: f64,
    /// 0 if there is none; then the plain scale is taken.
    pub deviation: f64,
}

impl Squash {
    /// The plain scale alone.
    pub const NONE: Squash = Squash { level: 0.0, deviation: 0.0 };

    fn of(&self, value: f64) -> f64 {
        // Bounded, as a deviation may be next to nothing and infinities have no difference.
        ((value - self.level) / self.deviation).clamp(-1e300, 1e300).asinh()
    }
}

/// How far a value is from those before, over their range. At most [`FARTHEST`].
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Gap {
    pub plain: f64,
    /// On the scale of a [`Squash`].
    pub squashed: f64,
}

/// A gap of more than twice the range says no more than one of twice.
pub const FARTHEST: f64 = 2.0;

/// The values of a series, as points on a line in ascending order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SeenValues {
    /// The point, and the number of the value that was last here.
    points: Vec<(f64, u32)>,
}

impl SeenValues {
    /// The gap of the next value, which is number `at` of the series; then it is one of those
    /// seen. Points where nothing was for `memory` values are forgotten.
    pub fn take(&mut self, value: f64, at: u32, memory: u32, squash: Squash) -> Gap {
        if at.is_multiple_of(SWEEP) {
            self.points.retain(|(_, seen)| at.saturating_sub(*seen) <= memory);
        }
        let next = self.points.partition_point(|(point, _)| *point < value);
        let (Some((low, _)), Some((high, _))) = (self.points.first(), self.points.last()) else {
            self.points.push((value, at));
            return Gap::default();
        };
        let (low, high) = (*low, *high);
        let above = self.points.get(next).map(|(point, _)| *point);
        let below = next.checked_sub(1).and_then(|i| self.points.get(i)).map(|(point, _)| *point);
        let distance = least(above.map(|p| p - value), below.map(|p| value - p));
        let range = high - low;
        let gap = if distance <= ROUNDING * value.abs() {
            Gap::default()
        } else {
            let plain = over(distance, range);
            let squashed = if squash.deviation > 0.0 {
                let here = squash.of(value);
                let distance =
                    least(above.map(|p| squash.of(p) - here), below.map(|p| here - squash.of(p)));
                over(distance, squash.of(high) - squash.of(low))
            } else {
                plain
            };
            Gap { plain, squashed }
        };
        if distance <= (range * SAME).max(ROUNDING * value.abs()) {
            let nearest = match (above, below) {
                (Some(above), Some(below)) if above - value > value - below => next - 1,
                (None, Some(_)) => next - 1,
                _ => next,
            };
            self.points[nearest].1 = at;
        } else {
            self.points.insert(next, (value, at));
            if self.points.len() > POINTS
                && let Some(oldest) = oldest(self.points.iter().map(|(_, seen)| *seen))
            {
                self.points.remove(oldest);
            }
        }
        gap
    }

    /// The points between which a value that was not seen lies, at least one of them if any value
    /// was seen: the nearest below and above.
    pub fn around(&self, value: f64) -> (Option<f64>, Option<f64>) {
        let next = self.points.partition_point(|(point, _)| *point < value);
        let point = |i: usize| self.points.get(i).map(|(point, _)| *point);
        (next.checked_sub(1).and_then(point), point(next))
    }

    /// Least and greatest.
    pub fn ends(&self) -> Option<(f64, f64)> {
        Some((self.points.first()?.0, self.points.last()?.0))
    }

    pub(super) fn write(&self, out: &mut Writer) {
        out.varint(self.points.len() as u64);
        for (point, seen) in &self.points {
            out.f64(*point);
            out.varint(u64::from(*seen));
        }
    }

    pub(super) fn read(input: &mut Reader<'_>) -> Result<Self, DetectorError> {
        let count = input.count(9)?;
        if count > POINTS {
            return Err(input.corrupt("more points than are kept"));
        }
        let mut points: Vec<(f64, u32)> = Vec::with_capacity(count);
        for _ in 0..count {
            let point = (input.f64()?, input.u32()?);
            if points.last().is_some_and(|last| last.0 >= point.0) {
                return Err(input.corrupt("points are not in order"));
            }
            points.push(point);
        }
        Ok(SeenValues { points })
    }
}

/// A value together with what came before it, as points of a plane.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SeenPairs {
    points: Vec<(f64, f64, u32)>,
}

impl SeenPairs {
    /// As [`SeenValues::take`], with the greater of the distances of both parts, each over its
    /// range; squared, as an area is what compares with a length where there are points all over.
    /// At most 1.
    pub fn take(&mut self, value: f64, context: f64, at: u32, memory: u32) -> f64 {
        if at.is_multiple_of(SWEEP) {
            self.points.retain(|(_, _, seen)| at.saturating_sub(*seen) <= memory);
        }
        let Some((x, y, _)) = self.points.first() else {
            self.points.push((value, context, at));
            return 0.0;
        };
        let (mut x, mut y) = ((*x, *x), (*y, *y));
        for (a, b, _) in &self.points {
            x = (x.0.min(*a), x.1.max(*a));
            y = (y.0.min(*b), y.1.max(*b));
        }
        let (mut nearest, mut gap) = (0, f64::INFINITY);
        for (i, (a, b, _)) in self.points.iter().enumerate() {
            let distance = part(value, *a, x.1 - x.0).max(part(context, *b, y.1 - y.0));
            if distance < gap {
                (nearest, gap) = (i, distance);
            }
        }
        if gap <= SAME_IN_PLANE {
            self.points[nearest].2 = at;
        } else {
            self.points.push((value, context, at));
            if self.points.len() > POINTS
                && let Some(oldest) = oldest(self.points.iter().map(|(_, _, seen)| *seen))
            {
                self.points.swap_remove(oldest);
            }
        }
        let gap = gap.min(1.0);
        gap * gap
    }

    pub(super) fn write(&self, out: &mut Writer) {
        out.varint(self.points.len() as u64);
        for (value, context, seen) in &self.points {
            out.f64(*value);
            out.f64(*context);
            out.varint(u64::from(*seen));
        }
    }

    pub(super) fn read(input: &mut Reader<'_>) -> Result<Self, DetectorError> {
        let count = input.count(17)?;
        if count > POINTS {
            return Err(input.corrupt("more points than are kept"));
        }
        let points = (0..count)
            .map(|_| Ok((input.f64()?, input.f64()?, input.u32()?)))
            .collect::<Result<_, DetectorError>>()?;
        Ok(SeenPairs { points })
    }
}

fn least(a: Option<f64>, b: Option<f64>) -> f64 {
    a.unwrap_or(f64::INFINITY).min(b.unwrap_or(f64::INFINITY))
}

/// A distance over a range that may be none: anything else than the one value so far is as far
/// as the range.
fn over(distance: f64, range: f64) -> f64 {
    if range > 0.0 {
        (distance / range).clamp(0.0, FARTHEST)
    } else if distance > 0.0 {
        1.0
    } else {
        0.0
    }
}

fn part(value: f64, point: f64, range: f64) -> f64 {
    let distance = (value - point).abs();
    if distance <= ROUNDING * value.abs() { 0.0 } else { over(distance, range) }
}

/// The first of the least.
fn oldest(seen: impl Iterator<Item = u32>) -> Option<usize> {
    seen.enumerate().min_by_key(|(_, seen)| *seen).map(|(i, _)| i)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PLAIN: Squash = Squash::NONE;

    #[test]
    fn a_gap_is_the_distance_to_the_nearest_over_the_range() {
        let mut seen = SeenValues::default();
        for (at, value) in [0.0, 10.0, 4.0].into_iter().enumerate() {
            seen.take(value, at as u32, 100, PLAIN);
        }
        assert_eq!(seen.take(6.0, 3, 100, PLAIN).plain, 0.2);
        assert_eq!(seen.take(6.0, 4, 100, PLAIN).plain, 0.0);
        assert_eq!(seen.take(12.5, 5, 100, PLAIN).plain, 0.25);
        assert_eq!(seen.around(5.0), (Some(4.0), Some(6.0)));
        assert_eq!(seen.around(50.0), (Some(12.5), None));
        assert_eq!(seen.ends(), Some((0.0, 12.5)));
    }

    #[test]
    fn what_was_long_ago_is_new_again() {
        let mut seen = SeenValues::default();
        seen.take(50.0, 0, 64, PLAIN);
        for at in 1..200 {
            seen.take(f64::from(at % 3), at, 64, PLAIN);
        }
        assert_eq!(seen.ends(), Some((0.0, 2.0)));
        assert_eq!(seen.take(50.0, 200, 64, PLAIN).plain, FARTHEST);
    }

    #[test]
    fn rounding_is_not_new() {
        let mut seen = SeenValues::default();
        seen.take(0.3, 0, 100, PLAIN);
        assert_eq!(seen.take(0.1 + 0.2, 1, 100, PLAIN), Gap::default());
        assert_eq!(seen.points.len(), 1);
    }

    #[test]
    fn a_pair_can_be_new_where_neither_part_is() {
        let mut seen = SeenPairs::default();
        for at in 0..100 {
            let value = f64::from(at % 10);
            seen.take(value, value, at, 1_000);
        }
        assert_eq!(seen.take(3.0, 3.0, 100, 1_000), 0.0);
        assert!(seen.take(9.0, 0.0, 101, 1_000) > 0.2);
    }

    proptest! {
        /// Thinned points are never farther off than what they stand for, by more than they are
        /// thinned.
        #[test]
        fn the_gap_is_that_of_all_values_but_for_the_thinning(
            values in prop::collection::vec(-1000.0f64..1000.0, 2..600),
        ) {
            let mut seen = SeenValues::default();
            for (at, value) in values.iter().enumerate() {
                let gap = seen.take(*value, at as u32, u32::MAX, PLAIN).plain;
                let before = &values[..at];
                if before.len() < 2 { continue }
                let nearest = before.iter().map(|b| (b - value).abs()).fold(f64::INFINITY, f64::min);
                let (low, high) = before.iter().fold((f64::INFINITY, f64::NEG_INFINITY),
                    |(low, high), b| (low.min(*b), high.max(*b)));
                let exact = (nearest / (high - low)).min(FARTHEST);
                // Early points were thinned by a smaller range, never by a larger one.
                prop_assert!((gap - exact).abs() <= 3.0 * SAME + 1e-9, "{gap} and {exact}");
                prop_assert!(seen.points.len() <= POINTS);
            }
        }
    }
}
