//! A rate of errors against the series' own rate before, with the number of requests as weight.
//!
//! Both are held against each other as two binomial samples (see [`binomial`](super::binomial)),
//! so that 1 error in 2 requests is no alarm and 400 in 1,000 is. Requests fail in bunches, though:
//! by how much the rate varies beyond the binomial is learnt from windows in line (a robust mean
//! of the statistic), and counts as that many fewer requests.

use std::sync::Arc;

use super::band::{Band, Grading, Side, student};
use super::binomial::{Tally, band, deviance};
use super::run::{Run, Step};
use super::series::{SeriesMap, SeriesState};
use super::spec::ErrorRate as Parameters;
use super::state::{Reader, Writer};
use super::words::{in_window, number, of, per_cent};
use super::{
    Anomaly, Detector, DetectorError, DetectorStats, Judgement, MAX_VALUE, SeriesValue, WindowSlice,
};

/// One window's contribution to the dispersion is clipped at 3 deviations squared; the mean of a
/// squared standard normal variable so clipped is 0.9950.
const DISPERSION_CLIP: f64 = 9.0;
const DISPERSION_MEAN: f64 = 0.995;
/// Bounds of the dispersion: it must be able to come back from one side, and on the other the
/// series is no rate of requests at all.
const MIN_DISPERSION: f64 = 0.1;
const MAX_DISPERSION: f64 = 1e4;
/// Part of a window's information on the dispersion that the clipping leaves.
const EFFICIENCY: f64 = 0.7;
/// How long the rate before a learnt change is remembered, in multiples of `relearn_after`.
const REMEMBERED: u32 = 10;

/// A rate and how it varies.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Estimate {
    /// Errors and requests of the windows before, older ones fading.
    tally: Tally,
    /// Variance over that of a binomial rate, as seen.
    dispersion: f64,
    windows: u32,
}

/// State of a series.
#[derive(Debug, Clone, Default, PartialEq)]
struct State {
    now: Option<Estimate>,
    before: Option<(Estimate, u32)>,
    run: Run,
    /// Errors and requests: of the warm-up's windows, or of the last of a run outside the band.
    /// At most `warm_up`; single precision, as state is bounded and this is most of it.
    recent: Vec<(f32, f32)>,
}

impl SeriesState for State {
    fn write(&self, out: &mut Writer) {
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
        for (events, trials) in &self.recent {
            out.f32(*events);
            out.f32(*trials);
        }
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, DetectorError> {
        let flags = input.u8()?;
        let now = if flags & 1 != 0 { Some(read_estimate(input)?) } else { None };
        let before = match flags & 2 != 0 {
            true => Some((read_estimate(input)?, input.u32()?)),
            false => None,
        };
        let run = Run::read(input)?;
        let count = input.count(8)?;
        let mut recent = Vec::with_capacity(count);
        for _ in 0..count {
            recent.push((input.f32()?, input.f32()?));
        }
        Ok(State { now, before, run, recent })
    }
}

fn write_estimate(estimate: &Estimate, out: &mut Writer) {
    out.f64(estimate.tally.events);
    out.f64(estimate.tally.trials);
    out.f64(estimate.dispersion);
    out.varint(u64::from(estimate.windows));
}

fn read_estimate(input: &mut Reader<'_>) -> Result<Estimate, DetectorError> {
    let tally = Tally::new(input.f64()?, input.f64()?);
    Ok(Estimate { tally, dispersion: input.f64()?, windows: input.u32()? })
}

/// See the module.
pub struct ErrorRate {
    name: Arc<str>,
    parameters: Parameters,
    grading: Grading,
    series: SeriesMap<State>,
    last: Option<i64>,
    ignored: u64,
}

impl ErrorRate {
    pub fn new(name: &str, parameters: &Parameters) -> Self {
        ErrorRate {
            name: Arc::from(name),
            grading: parameters.grading(),
            series: SeriesMap::new(parameters.max_series),
            parameters: parameters.clone(),
            last: None,
            ignored: 0,
        }
    }

    /// Judges and learns one window of the series at `place`.
    fn take(&mut self, place: u32, window: &WindowSlice<'_>, item: &SeriesValue) -> Judgement {
        let tally = Tally::new(item.value * item.weight, item.weight);
        let judged = self.series.state_mut(place).learn(tally, &self.parameters);
        let key = self.series.key(place).clone();
        let Some((band, side)) = judged else { return Judgement::warming_up(key, item.value) };
        let score = band.score(item.value);
        let outside = side == Side::Above;
        let anomaly = outside.then(|| self.anomaly(&key, window, item, band, score));
        Judgement { key, value: item.value, band: Some(band), score, outside, anomaly }
    }

    fn anomaly(
        &self,
        key: &Arc<str>,
        window: &WindowSlice<'_>,
        item: &SeriesValue,
        judged: Band,
        score: f64,
    ) -> Anomaly {
        let reason = format!(
            "{}{} {} of {} requests {}, expected {} to {}",
            self.parameters.measure,
            of(key),
            per_cent(item.value),
            number(item.weight),
            in_window(window.start, window.end),
            number(judged.lower * 100.0),
            per_cent(judged.upper),
        );
        Anomaly {
            detector: self.name.clone(),
            kind: Parameters::KIND,
            key: key.clone(),
            window_start: window.start,
            window_end: window.end,
            value: item.value,
            expected: judged.expected,
            lower: judged.lower,
            upper: judged.upper,
            score,
            severity: self.grading.severity(score),
            reason,
        }
    }
}

impl State {
    /// Takes in the next window. The band that it was held against, unless it is one of the
    /// warm-up, and on which side of it the window is.
    fn learn(&mut self, tally: Tally, p: &Parameters) -> Option<(Band, Side)> {
        let Some(now) = self.now else {
            self.recent.push((tally.events as f32, tally.trials as f32));
            if self.recent.len() >= p.warm_up {
                self.now = Some(first_estimate(&self.recent, p));
                self.recent = Vec::new();
            }
            return None;
        };
        let side = now.side(tally, p);
        if side == Side::Inside {
            self.now = Some(now.followed_by(tally, p));
            self.before = match self.before {
                Some((estimate, left)) if left > 1 => Some((estimate, left - 1)),
                _ => None,
            };
        } else if let Some((before, _)) = self.before
            && before.side(tally, p) == Side::Inside
        {
            // Back to where it was before a change that lasted: the end of an incident.
            *self = State { now: Some(before.followed_by(tally, p)), ..State::default() };
            return Some((before.band(tally.trials, p), Side::Inside));
        }
        match self.run.step(side) {
            Step::Quiet => self.recent = Vec::new(),
            Step::Easing => {}
            step @ (Step::Began | Step::Grew) => {
                if step == Step::Began {
                    self.recent.clear();
                }
                if self.recent.len() >= p.warm_up {
                    self.recent.remove(0);
                }
                self.recent.push((tally.events as f32, tally.trials as f32));
                if self.run.length() >= p.relearn_after {
                    let learnt = first_estimate(&self.recent, p);
                    let before = Some((now, p.relearn_after.saturating_mul(REMEMBERED)));
                    *self = State { now: Some(learnt), before, ..State::default() };
                }
            }
        }
        Some((now.band(tally.trials, p), side))
    }
}

impl Estimate {
    /// By how much fewer requests to count: never less than binomial, and what is beyond that
    /// for more than was seen while it was seen in few windows.
    fn excess(&self, p: &Parameters) -> f64 {
        let memory = 2.0 / p.smoothing;
        let freedom = EFFICIENCY * f64::from(self.windows).min(memory);
        let widen = student(p.threshold, freedom) / p.threshold;
        1.0 + ((self.dispersion - 1.0) * widen * widen).max(0.0)
    }

    /// What a window of so many requests may have.
    fn band(&self, trials: f64, p: &Parameters) -> Band {
        let thinner = 1.0 / self.excess(p);
        let (lower, upper) = band(self.tally.scaled(thinner), trials * thinner, p.threshold);
        Band { expected: self.tally.rate(), lower, upper: upper.max(self.practical(trials, p)) }
    }

    /// The rate above which it matters.
    fn practical(&self, trials: f64, p: &Parameters) -> f64 {
        (self.tally.rate() + p.min_change).max(p.min_errors / trials).min(1.0)
    }

    /// As [`band`](Self::band) would judge, without searching for its edges.
    fn side(&self, tally: Tally, p: &Parameters) -> Side {
        let (rate, expected) = (tally.rate(), self.tally.rate());
        if rate > expected && rate <= self.practical(tally.trials, p) {
            return Side::Inside;
        }
        let limit = p.threshold * p.threshold * self.excess(p);
        match deviance(tally, self.tally) > limit {
            false => Side::Inside,
            true if rate > expected => Side::Above,
            true => Side::Below,
        }
    }

    /// One step on, for a window inside the band.
    fn followed_by(&self, tally: Tally, p: &Parameters) -> Estimate {
        let windows = self.windows.saturating_add(1);
        let gain = p.smoothing.max(1.0 / f64::from(windows));
        let excess = (deviance(tally, self.tally) / self.dispersion).min(DISPERSION_CLIP);
        let dispersion = self.dispersion * (1.0 + gain * (excess / DISPERSION_MEAN - 1.0));
        Estimate {
            tally: self.tally.scaled(1.0 - p.smoothing).plus(tally),
            dispersion: dispersion.clamp(MIN_DISPERSION, MAX_DISPERSION),
            windows,
        }
    }
}

/// The pooled rate of the first windows, without those (at most a third) that have more errors
/// than the rest can explain: an error burst during the warm-up must not become the rate.
fn first_estimate(recent: &[(f32, f32)], p: &Parameters) -> Estimate {
    let mut tallies: Vec<Tally> =
        recent.iter().map(|(k, n)| Tally::new(f64::from(*k), f64::from(*n))).collect();
    tallies.sort_by(|a, b| a.rate().total_cmp(&b.rate()));
    let least = tallies.len() - tallies.len() / 3;
    let pool = |tallies: &[Tally]| tallies.iter().fold(Tally::default(), |sum, t| sum.plus(*t));
    while tallies.len() > least {
        let (worst, rest) = match tallies.split_last() {
            Some((worst, rest)) if !rest.is_empty() => (*worst, pool(rest)),
            _ => break,
        };
        if worst.rate() <= rest.rate() || deviance(worst, rest) <= p.threshold * p.threshold {
            break;
        }
        tallies.pop();
    }
    let tally = pool(&tallies);
    // How much the rate varies, from the same windows: the mean statistic, each against the rest.
    let mean = tallies
        .iter()
        .map(|t| deviance(*t, tally.minus(*t)).min(DISPERSION_CLIP * 4.0))
        .sum::<f64>()
        / tallies.len().max(1) as f64;
    Estimate {
        tally,
        dispersion: mean.clamp(MIN_DISPERSION, MAX_DISPERSION),
        windows: u32::try_from(tallies.len()).unwrap_or(u32::MAX),
    }
}

impl Detector for ErrorRate {
    fn kind(&self) -> &'static str {
        Parameters::KIND
    }

    fn judge(&mut self, window: &WindowSlice<'_>) -> Vec<Judgement> {
        if self.last.is_some_and(|last| window.start <= last) {
            self.ignored += window.series.len() as u64;
            return Vec::new();
        }
        self.last = Some(window.start);
        let usable: Vec<&SeriesValue> = window
            .series
            .iter()
            // Bounded, so that sums stay finite in single precision.
            .filter(|i| (0.0..=1.0).contains(&i.value) && i.weight > 0.0 && i.weight < MAX_VALUE)
            .collect();
        self.ignored += (window.series.len() - usable.len()) as u64;
        let places = self.series.admit(window.start, &usable, State::default);
        usable
            .into_iter()
            .zip(places)
            .filter_map(|(item, place)| Some(self.take(place?, window, item)))
            .collect()
    }

    fn snapshot(&self) -> Result<Vec<u8>, DetectorError> {
        let mut out = Writer::new(Parameters::KIND);
        out.time(self.last);
        self.series.write(&mut out);
        Ok(out.finish())
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), DetectorError> {
        let mut input = Reader::new(Parameters::KIND, bytes)?;
        let last = input.time()?;
        let series = SeriesMap::read(self.parameters.max_series, &mut input)?;
        input.finish()?;
        (self.last, self.series) = (last, series);
        Ok(())
    }

    fn stats(&self) -> DetectorStats {
        DetectorStats {
            series: self.series.len(),
            evicted: self.series.evicted(),
            refused: self.series.refused(),
            ignored: self.ignored,
        }
    }
}
