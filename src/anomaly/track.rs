//! The recent level of a series and how much it varies around it, on a scale where the variation
//! does not depend on the level (square root of counts, logarithm of times).
//!
//! Robust exponential smoothing after Gelper, Fried and Croux, "Robust forecasting with
//! exponential and Holt-Winters smoothing", Journal of Forecasting 29 (2010): the level follows
//! values whose error is clipped (their Huber psi), the scale follows a bounded function of the
//! errors (their biweight rho). It starts from the median and a trimmed deviation of the first
//! windows. Added here: a value outside the band is not learnt at all; a series that stays
//! outside for `relearn_after` windows starts anew from its values there; and if it then goes
//! back to where it was (the end of an incident), the level from before is taken up again rather
//! than taken for a second change.

use super::DetectorError;
use super::band::{Band, Side, student};
use super::run::{Run, Step};
use super::state::{Reader, Writer};

/// How a [`Track`] learns and judges. Checked by `spec`: `warm_up >= 2`, `0 < smoothing <= 1`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tuning {
    /// Windows before the first judgement.
    pub warm_up: usize,
    /// Weight of the newest value in the level.
    pub smoothing: f64,
    /// Width of the band to one side, in standard deviations.
    pub threshold: f64,
    /// Windows outside the band after which the new level is learnt.
    pub relearn_after: u32,
}

/// Errors beyond this many deviations are clipped: k of the paper.
const CLIP: f64 = 2.0;
/// Makes the biweight rho's mean 1 for normal errors with k = 2: c_k of the paper.
const RHO: f64 = 2.52;
/// The scale is steadier than the level, because the band is a large multiple of it: its gain is
/// this part of the level's.
const SCALE_GAIN: f64 = 0.3;
/// The bounded rho costs some of the information in the errors.
const EFFICIENCY: f64 = 0.7;
/// Share of the first values, furthest from their median, that does not go into the first scale.
const TRIMMED: f64 = 0.2;
/// Deviation of a normal variable over that of its inner 80 %:
/// 1 / sqrt(1 - 2 q phi(q) / 0.8) with q = 1.2816.
const TRIMMED_FACTOR: f64 = 1.5115;
/// How long the level before a learnt change is remembered, in multiples of `relearn_after`.
const REMEMBERED: u32 = 10;

/// Level and deviation, and from how many windows they come.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Estimate {
    level: f64,
    scale: f64,
    windows: u32,
}

/// State of one series.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Track {
    now: Option<Estimate>,
    /// What held before the last learnt change, and for how many more windows that counts.
    before: Option<(Estimate, u32)>,
    run: Run,
    /// During the warm-up its values; during a run outside the band its last values; at most
    /// `warm_up`.
    recent: Vec<f64>,
}

/// What the noise of the next value is known to be, beside what was learnt.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Noise {
    /// Standard deviation below which the value's cannot be, such as 1 for a Poisson count on
    /// the square-root scale.
    pub floor: f64,
    /// Factor on the learnt deviation for this value, such as for one from a small sample.
    pub widen: f64,
}

impl Track {
    /// The band of the next value, on the track's scale; `None` during the warm-up. `practical`
    /// may move its edges out (never in): a deviation must matter, not only be improbable.
    pub fn band(
        &self,
        tuning: &Tuning,
        noise: Noise,
        practical: impl Fn(Band) -> Band,
    ) -> Option<Band> {
        self.now.map(|estimate| band_of(&estimate, tuning, noise, &practical))
    }

    /// Takes in the next value, judged on `band`, which is what [`band`](Self::band) gave.
    /// Returns on which side of the band the value is to be reported.
    pub fn learn(
        &mut self,
        value: f64,
        band: Option<Band>,
        tuning: &Tuning,
        noise: Noise,
        practical: impl Fn(Band) -> Band,
    ) -> Side {
        let (Some(band), Some(now)) = (band, self.now) else {
            self.recent.push(value);
            if self.recent.len() >= tuning.warm_up {
                self.now = Some(first_estimate(&self.recent));
                self.recent = Vec::new();
            }
            return Side::Inside;
        };
        let side = band.side(value);
        if side == Side::Inside {
            self.now = Some(smoothed(now, value, band, tuning, noise));
            self.age_memory();
        } else if let Some((before, _)) = self.before {
            let earlier = band_of(&before, tuning, noise, &practical);
            if earlier.side(value) == Side::Inside {
                self.now = Some(smoothed(before, value, earlier, tuning, noise));
                self.before = None;
                self.run = Run::default();
                self.recent = Vec::new();
                return Side::Inside;
            }
        }
        match self.run.step(side) {
            Step::Quiet => self.recent = Vec::new(),
            Step::Easing => {}
            step @ (Step::Began | Step::Grew) => {
                if step == Step::Began {
                    self.recent.clear();
                }
                if self.recent.len() >= tuning.warm_up {
                    self.recent.remove(0);
                }
                self.recent.push(value);
                if self.run.length() >= tuning.relearn_after {
                    self.before = Some((now, tuning.relearn_after.saturating_mul(REMEMBERED)));
                    self.now = Some(first_estimate(&self.recent));
                    self.run = Run::default();
                    self.recent = Vec::new();
                }
            }
        }
        side
    }

    fn age_memory(&mut self) {
        self.before = match self.before {
            Some((estimate, left)) if left > 1 => Some((estimate, left - 1)),
            _ => None,
        };
    }

    pub(super) fn write(&self, out: &mut Writer) {
        out.u8(u8::from(self.now.is_some()) | u8::from(self.before.is_some()) << 1);
        if let Some(now) = &self.now {
            write_estimate(now, out);
        }
        if let Some((before, left)) = &self.before {
            write_estimate(before, out);
            out.varint(u64::from(*left));
        }
        self.run.write(out);
        out.varint(self.recent.len() as u64);
        for value in &self.recent {
            out.f64(*value);
        }
    }

    pub(super) fn read(input: &mut Reader<'_>) -> Result<Self, DetectorError> {
        let flags = input.u8()?;
        let now = if flags & 1 != 0 { Some(read_estimate(input)?) } else { None };
        let before = match flags & 2 != 0 {
            true => Some((read_estimate(input)?, input.u32()?)),
            false => None,
        };
        let run = Run::read(input)?;
        let count = input.count(8)?;
        let recent = (0..count).map(|_| input.f64()).collect::<Result<_, _>>()?;
        Ok(Track { now, before, run, recent })
    }
}

fn write_estimate(estimate: &Estimate, out: &mut Writer) {
    out.f64(estimate.level);
    out.f64(estimate.scale);
    out.varint(u64::from(estimate.windows));
}

fn read_estimate(input: &mut Reader<'_>) -> Result<Estimate, DetectorError> {
    Ok(Estimate { level: input.f64()?, scale: input.f64()?, windows: input.u32()? })
}

fn band_of(
    estimate: &Estimate,
    tuning: &Tuning,
    noise: Noise,
    practical: impl Fn(Band) -> Band,
) -> Band {
    let memory = 2.0 / (tuning.smoothing * SCALE_GAIN);
    let freedom = EFFICIENCY * f64::from(estimate.windows).min(memory);
    let learnt = student(tuning.threshold, freedom) * estimate.scale * noise.widen;
    let reach = learnt.max(tuning.threshold * noise.floor);
    let Estimate { level, .. } = *estimate;
    practical(Band { expected: level, lower: level - reach, upper: level + reach })
}

/// One step of the smoothing, for a value inside its band.
fn smoothed(now: Estimate, value: f64, band: Band, tuning: &Tuning, noise: Noise) -> Estimate {
    let windows = now.windows.saturating_add(1);
    let seen = f64::from(windows);
    // A value from a smaller sample tells less: it counts with its error scaled to the usual one.
    let error = (value - now.level) / noise.widen;
    let scale = now.scale.max(noise.floor);
    // Where the band is wider than the noise (for a change to matter), values in it are in
    // line, and following them at two deviations a window would leave the level behind.
    let edge = if error >= 0.0 { band.upper } else { band.lower };
    let clip = (CLIP * scale).max((edge - band.expected).abs() / (2.0 * noise.widen));
    let level = now.level + tuning.smoothing.max(1.0 / seen) * error.clamp(-clip, clip);
    let gain = (tuning.smoothing * SCALE_GAIN).max(1.0 / seen);
    let rho = if scale > 0.0 { rho(error / scale) } else { 0.0 };
    // From no deviation at all (the first windows were all the same), the first error starts it.
    let variance =
        if scale > 0.0 { scale * scale * (1.0 + gain * (rho - 1.0)) } else { gain * error * error };
    Estimate { level, scale: variance.max(0.0).sqrt(), windows }
}

/// The biweight rho of the paper.
fn rho(x: f64) -> f64 {
    let u = x / CLIP;
    if u.abs() >= 1.0 { RHO } else { RHO * (1.0 - (1.0 - u * u).powi(3)) }
}

/// Median, and deviation from it after trimming. More efficient than the MAD, which matters with
/// a dozen values; it stands one outlier in five, and more only make the band wide, not narrow.
fn first_estimate(values: &[f64]) -> Estimate {
    let level = median(values.to_vec());
    let mut squares: Vec<f64> = values.iter().map(|v| (v - level) * (v - level)).collect();
    squares.sort_by(f64::total_cmp);
    let kept = squares.len() - (squares.len() as f64 * TRIMMED) as usize;
    let mean = squares[..kept].iter().sum::<f64>() / kept.max(1) as f64;
    Estimate { level, scale: TRIMMED_FACTOR * mean.sqrt(), windows: values.len() as u32 }
}

/// Median of finite values; 0 of none. Linear time.
pub fn median(mut values: Vec<f64>) -> f64 {
    let n = values.len();
    if n == 0 {
        return 0.0;
    }
    let (below, upper, _) = values.select_nth_unstable_by(n / 2, f64::total_cmp);
    let upper = *upper;
    if n % 2 == 1 {
        return upper;
    }
    let lower = below.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    lower + (upper - lower) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const TUNING: Tuning =
        Tuning { warm_up: 12, smoothing: 0.1, threshold: 5.0, relearn_after: 20 };
    const NOISE: Noise = Noise { floor: 0.5, widen: 1.0 };

    fn step(track: &mut Track, value: f64) -> Side {
        let band = track.band(&TUNING, NOISE, |b| b);
        track.learn(value, band, &TUNING, NOISE, |b| b)
    }

    #[test]
    fn medians() {
        assert_eq!(median(vec![]), 0.0);
        assert_eq!(median(vec![3.0]), 3.0);
        assert_eq!(median(vec![4.0, 1.0]), 2.5);
        assert_eq!(median(vec![5.0, 1.0, 3.0]), 3.0);
        assert_eq!(median(vec![5.0, 1.0, 3.0, 9.0]), 4.0);
    }

    #[test]
    fn outliers_in_the_warm_up_do_not_set_the_level() {
        let mut track = Track::default();
        for i in 0..12 {
            assert!(track.band(&TUNING, NOISE, |b| b).is_none());
            step(&mut track, if i % 6 == 0 { 100.0 } else { 10.0 + f64::from(i % 3) * 0.1 });
        }
        let band = track.band(&TUNING, NOISE, |b| b).unwrap();
        assert!((band.expected - 10.1).abs() < 0.2, "{band:?}");
        assert!(band.upper < 20.0, "{band:?}");
    }

    #[test]
    fn a_value_outside_is_not_learnt_and_a_lasting_one_is() {
        let mut track = Track::default();
        for _ in 0..50 {
            step(&mut track, 10.0);
        }
        let calm = track.clone();
        assert_eq!(step(&mut track, 50.0), Side::Above);
        assert_eq!(track.now, calm.now);
        for _ in 1..TUNING.relearn_after {
            assert_eq!(step(&mut track, 50.0), Side::Above);
        }
        assert_eq!(step(&mut track, 50.0), Side::Inside);
        assert!((track.now.unwrap().level - 50.0).abs() < 1e-9);
        // The end of the incident is no second change, and forgets the first.
        assert_eq!(step(&mut track, 10.0), Side::Inside);
        assert!((track.now.unwrap().level - 10.0).abs() < 1e-9);
        assert_eq!(step(&mut track, 50.0), Side::Above);
    }

    #[test]
    fn the_level_before_a_change_is_forgotten_in_time() {
        let mut track = Track::default();
        for _ in 0..12 {
            step(&mut track, 10.0);
        }
        for _ in 0..TUNING.relearn_after + REMEMBERED * TUNING.relearn_after + 1 {
            step(&mut track, 50.0);
        }
        assert!(track.before.is_none());
        assert_eq!(step(&mut track, 10.0), Side::Below);
    }

    #[test]
    fn a_drift_is_followed() {
        let mut track = Track::default();
        let mut level: f64 = 100.0;
        for i in 0..500 {
            let noise = f64::from(i % 5) - 2.0;
            assert_eq!(step(&mut track, level + noise), Side::Inside, "window {i}");
            level += 0.3;
        }
    }
}
