//! The detector that needs no tuning: how new a value is, seen in several ways.
//!
//! A value of a series is looked at in eleven views, each of which gives a novelty, the distance to
//! the nearest of the values so far over their range (see [`seen`](super::seen)):
//!
//! - the means of the last 1, 3, 9 and 27 values: a spike is new in the first, a change of level
//!   too small for that in the last. Each on the plain scale and on one that is logarithmic far
//!   out, so that one great outlier does not hide the smaller ones after it;
//! - the value less the mean of the 3 before: a jump within the range of the series;
//! - the value together with the one before, and with the mean of the 9 before, as points of a
//!   plane: a value that is common, but not after what came before. (The embedding in delayed
//!   values is that of ARTime: M. Hampton, 2021; distance-based detection in it goes back to
//!   E. Keogh et al., "HOT SAX", 2005.)
//!
//! The views are averaged by their square roots, so that many that find a value somewhat new count
//! more than one that finds it very new: what is anomalous shows in several views, noise in one.
//! Of n values spread evenly the gaps are as 1/n; the score is multiplied by the square root of n
//! (up to `memory`) to meet that half way, because real series are not spread evenly. Against
//! `threshold` it is what [`news`](super::news) makes alerts of. Constants were chosen on 37 series
//! of the Numenta benchmark by family (see docs/DETECTORS.md), as round numbers on a plateau.
//!
//! Novelty has no band. The one given is where the series has mostly been of late (three
//! deviations around the smoothed level), for charts and words; a value in it can be new, and
//! one outside need not be.

use super::band::{Band, Side};
use super::moments::Moments;
use super::news::{News, Patience};
use super::per_series::{Model, PerSeries, SeriesOptions, Verdict};
use super::seen::{SeenPairs, SeenValues, Squash};
use super::series::SeriesState;
use super::spec::Auto as Parameters;
use super::state::{Reader, Writer};
use super::words::{number, quantity};
use super::{DetectorError, WindowSlice};

/// Lengths of the means, in values.
const LADDER: [usize; 4] = [1, 3, 9, 27];
/// Length of the mean from which a jump is measured.
const JUMP: usize = 3;
/// Lengths of the means that are a value's context.
const CONTEXTS: [usize; 2] = [1, 9];
const VIEWS: f64 = (2 * LADDER.len() + 1 + CONTEXTS.len()) as f64;
/// Weight of the newest value in the level and deviation of the logarithmic scale.
const SLOW: f64 = 0.0005;
/// Weight of the newest value in the band for charts, about 27 windows.
const RECENT: f64 = 0.07;
/// Width of that band to each side, in deviations; and what is further out is taken as this far.
const USUAL: f64 = 3.0;

/// One mean of the ladder.
#[derive(Debug, Clone, Default, PartialEq)]
struct Rung {
    seen: SeenValues,
    moments: Moments,
}

/// State of one series.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Views {
    /// Values so far.
    values: u32,
    /// The last 27 values, newest last.
    recent: Vec<f64>,
    ladder: [Rung; LADDER.len()],
    jumps: SeenValues,
    contexts: [SeenPairs; CONTEXTS.len()],
    /// Around the level of late.
    usual: Moments,
    news: News,
    /// An anomaly was raised, and the value has not been back in the band since.
    open: bool,
}

impl Views {
    /// Mean of the last `length` values, or of those there are.
    fn mean(&self, length: usize) -> Option<f64> {
        let from = self.recent.len().saturating_sub(length);
        let last = self.recent.get(from..).filter(|last| !last.is_empty())?;
        Some(last.iter().sum::<f64>() / last.len() as f64)
    }

    /// How new the next value is, 0 to 2, by all views; then it is one of those seen.
    fn novelty(&mut self, value: f64, memory: u32) -> f64 {
        let at = self.values;
        // The mean of fewer values than the last view takes in; the first has none before it.
        let before = |length| self.mean(length).unwrap_or(value);
        let jump = value - before(JUMP);
        let contexts = CONTEXTS.map(before);
        let mut sum = self.jumps.take(jump, at, memory, Squash::NONE).plain.sqrt();
        for (seen, context) in self.contexts.iter_mut().zip(contexts) {
            sum += seen.take(value, context, at, memory).sqrt();
        }
        if self.recent.len() >= LADDER[LADDER.len() - 1] {
            self.recent.remove(0);
        }
        self.recent.push(value);
        let means = LADDER.map(|length| self.mean(length).unwrap_or(value));
        for (rung, mean) in self.ladder.iter_mut().zip(means) {
            let Moments { level, .. } = rung.moments;
            let squash = Squash { level, deviation: rung.moments.deviation() };
            let gap = rung.seen.take(mean, at, memory, squash);
            sum += gap.plain.sqrt() + gap.squashed.sqrt();
            rung.moments.add(mean, SLOW);
        }
        self.values = self.values.saturating_add(1);
        let root = sum / VIEWS;
        root * root * (f64::from(at) / f64::from(memory)).min(1.0).sqrt()
    }

    /// Where the series has mostly been of late; then the value is part of that.
    fn band(&mut self, value: f64) -> Band {
        let (expected, deviation) = (self.usual.level, self.usual.deviation());
        let reach = USUAL * deviation;
        let band = Band { expected, lower: expected - reach, upper: expected + reach };
        // An outlier must not make the band of those after it wide.
        let clipped =
            if self.usual.values < 3 { value } else { value.clamp(band.lower, band.upper) };
        let learnt = if deviation > 0.0 { clipped } else { value };
        self.usual.add(learnt, RECENT);
        band
    }
}

impl SeriesState for Views {
    fn write(&self, out: &mut Writer) {
        out.varint(u64::from(self.values));
        out.varint(self.recent.len() as u64);
        for value in &self.recent {
            out.f64(*value);
        }
        for rung in &self.ladder {
            rung.seen.write(out);
            rung.moments.write(out);
        }
        self.jumps.write(out);
        for seen in &self.contexts {
            seen.write(out);
        }
        self.usual.write(out);
        self.news.write(out);
        out.u8(u8::from(self.open));
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, DetectorError> {
        let mut views = Views { values: input.u32()?, ..Views::default() };
        let count = input.count(8)?;
        if count > LADDER[LADDER.len() - 1] {
            return Err(input.corrupt("more recent values than are kept"));
        }
        views.recent = (0..count).map(|_| input.f64()).collect::<Result<_, _>>()?;
        for rung in &mut views.ladder {
            *rung = Rung { seen: SeenValues::read(input)?, moments: Moments::read(input)? };
        }
        views.jumps = SeenValues::read(input)?;
        for seen in &mut views.contexts {
            *seen = SeenPairs::read(input)?;
        }
        views.usual = Moments::read(input)?;
        views.news = News::read(input)?;
        views.open = input.u8()? != 0;
        Ok(views)
    }
}

/// The algorithm; see the module.
#[derive(Debug, Clone)]
pub struct AutoModel {
    threshold: f64,
    memory: u32,
    warm_up: u32,
    patience: Patience,
    unit: String,
}

impl Model for AutoModel {
    type State = Views;

    fn take(&self, state: &mut Views, window: &WindowSlice<'_>, value: f64) -> Option<Verdict> {
        let seen = state.values;
        let novelty = state.novelty(value, self.memory);
        let band = state.band(value);
        if seen < self.warm_up {
            return None;
        }
        let far = novelty / self.threshold;
        let bar = state.news.step(window.start, far, &self.patience);
        let raise = far > bar;
        let inside = band.side(value) == Side::Inside;
        state.open = raise || (state.open && !inside);
        let why = raise.then(|| {
            let windows = number(f64::from(seen.min(self.memory)));
            let (lower, upper) = (quantity(band.lower, ""), quantity(band.upper, &self.unit));
            format!("unlike the {windows} windows before (of late mostly {lower} to {upper})")
        });
        Some(Verdict { band, score: far / (far + bar), outside: state.open, raise, why })
    }
}

const HOUR: f64 = 3_600_000_000.0;
/// See [`Patience::louder`], [`Patience::weariness`] and [`Patience::fading`].
const LOUDER: f64 = 3.0;
const WEARINESS: f64 = 0.5;
const FADING_HOURS: f64 = 96.0;

/// How often a series may alert, by the hours of quiet after an alert.
pub(super) fn patience(quiet_hours: f64) -> Patience {
    Patience {
        // At most some years, see the parameter's range.
        quiet: (quiet_hours * HOUR) as i64,
        louder: LOUDER,
        weariness: WEARINESS,
        fading: FADING_HOURS * HOUR,
    }
}

/// Makes the detector.
pub fn detector(name: &str, p: &Parameters) -> PerSeries<AutoModel> {
    let model = AutoModel {
        threshold: p.threshold,
        memory: p.memory,
        warm_up: p.warm_up,
        patience: patience(p.quiet_hours),
        unit: p.unit.clone(),
    };
    PerSeries::new(name, model, SeriesOptions::from(p))
}
