//! A lasting change of level, too small to show in one window.
//!
//! Two cumulative sums (E. S. Page, "Continuous inspection schemes", Biometrika 41, 1954; the
//! two-sided tabular form is that of D. C. Montgomery, "Introduction to statistical quality
//! control"): of what each value is above, and below, the level in standard deviations, less a
//! slack. A sum over the threshold is a change. A single value counts at most as `CLIP`
//! deviations, so that a spike is none: at the default threshold it takes at least six windows.
//! The change is raised once; the mean since it began is the level from then on.

use super::band::{Band, score};
use super::moments::Moments;
use super::per_series::{Model, PerSeries, SeriesOptions, Verdict};
use super::series::SeriesState;
use super::spec::LevelChange as Parameters;
use super::state::{Reader, Writer};
use super::words::number;
use super::{DetectorError, WindowSlice};

/// Deviations that one value counts at most.
const CLIP: f64 = 3.0;

/// A sum to one side.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Sum {
    deviations: f64,
    /// Values since the sum left 0, and their own sum.
    values: u32,
    total: f64,
}

impl Sum {
    fn add(&mut self, deviations: f64, value: f64) {
        self.deviations += deviations;
        if self.deviations <= 0.0 {
            *self = Sum::default();
        } else {
            self.values = self.values.saturating_add(1);
            self.total += value;
        }
    }

    fn mean(&self) -> f64 {
        self.total / f64::from(self.values.max(1))
    }

    fn write(&self, out: &mut Writer) {
        out.f64(self.deviations);
        out.varint(u64::from(self.values));
        out.f64(self.total);
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, DetectorError> {
        Ok(Sum { deviations: input.f64()?, values: input.u32()?, total: input.f64()? })
    }
}

/// State of one series.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sums {
    level: Moments,
    above: Sum,
    below: Sum,
}

impl SeriesState for Sums {
    fn write(&self, out: &mut Writer) {
        self.level.write(out);
        self.above.write(out);
        self.below.write(out);
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, DetectorError> {
        Ok(Sums {
            level: Moments::read(input)?,
            above: Sum::read(input)?,
            below: Sum::read(input)?,
        })
    }
}

/// The algorithm; see the module.
#[derive(Debug, Clone)]
pub struct ChangeModel {
    threshold: f64,
    slack: f64,
    smoothing: f64,
    min_part: f64,
    min_change: f64,
    warm_up: u32,
}

impl Model for ChangeModel {
    type State = Sums;

    fn take(&self, state: &mut Sums, _: &WindowSlice<'_>, value: f64) -> Option<Verdict> {
        let Moments { level, values, .. } = state.level;
        let deviation = state.level.deviation();
        if values < self.warm_up {
            state.level.add(value, self.smoothing);
            return None;
        }
        let off = value - level;
        let deviations = if deviation > 0.0 {
            (off / deviation).clamp(-CLIP, CLIP)
        } else if off == 0.0 {
            0.0
        } else {
            CLIP.copysign(off)
        };
        // Where a value would have to be for the sums to reach the threshold with it.
        let edge = |sum: &Sum| deviation * (self.threshold + self.slack - sum.deviations).max(0.0);
        let band = Band {
            expected: level,
            lower: level - edge(&state.below),
            upper: level + edge(&state.above),
        };
        state.above.add(deviations - self.slack, value);
        state.below.add(-deviations - self.slack, value);
        let sum =
            if state.above.deviations > state.below.deviations { state.above } else { state.below };
        let changed = sum.deviations > self.threshold;
        let least = self.min_change.max(self.min_part * level.abs());
        let raise = changed && (sum.mean() - level).abs() >= least;
        let why = raise.then(|| {
            format!(
                "for {} windows around {} after {}",
                sum.values,
                number(sum.mean()),
                number(level),
            )
        });
        if changed {
            *state = Sums { level: state.level.at_level(sum.mean(), values), ..Sums::default() };
        } else {
            let learnt = if deviation > 0.0 { level + deviations * deviation } else { value };
            state.level.add(learnt, self.smoothing);
        }
        let score = if changed && !raise { 0.5 } else { score(sum.deviations, self.threshold) };
        Some(Verdict { band, score, outside: raise, raise, why })
    }
}

/// Makes the detector.
pub fn detector(name: &str, p: &Parameters) -> PerSeries<ChangeModel> {
    let model = ChangeModel {
        threshold: p.threshold,
        slack: p.slack,
        smoothing: p.smoothing,
        min_part: p.min_part,
        min_change: p.min_change,
        warm_up: p.warm_up,
    };
    PerSeries::new(name, model, SeriesOptions::from(p))
}
