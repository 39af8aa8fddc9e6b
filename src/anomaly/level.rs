//! A series against its own recent level: the frame of `traffic_spike` and `response_time`,
//! which differ in the scale on which they look at a value.

use std::sync::Arc;

use super::band::{Band, Grading, Side};
use super::series::{SeriesMap, SeriesState};
use super::spec::Direction;
use super::state::{Reader, Writer};
use super::track::{Noise, Track, Tuning};
use super::words::{in_window, of, quantity};
use super::{Anomaly, Detector, DetectorError, DetectorStats, Judgement, SeriesValue, WindowSlice};

/// The scale on which a kind's values vary evenly.
pub trait Scale: Send {
    /// The value on the scale; `None` if the kind has no such values.
    fn forward(&self, value: f64) -> Option<f64>;
    /// The value at a place of the scale; the inverse of [`forward`](Scale::forward).
    fn backward(&self, place: f64) -> f64;
    /// Standard deviation on the scale below which no value's can be.
    fn noise_floor(&self) -> f64;
    /// Whether a value's deviation falls with the square root of its weight.
    fn weighted(&self) -> bool;
}

/// How a [`LevelDetector`] works; see the parameters of the kinds in `spec`.
#[derive(Debug, Clone, PartialEq)]
pub struct LevelOptions {
    pub kind: &'static str,
    pub measure: String,
    pub unit: String,
    pub tuning: Tuning,
    /// A value above `expected * min_ratio` or below `expected / min_ratio` matters.
    pub min_ratio: f64,
    /// A value up to this one is never too high.
    pub min_value: f64,
    /// A value of less weight is neither judged nor learnt.
    pub min_weight: f64,
    pub direction: Direction,
    /// A series that is known and not in the window had the value 0 there.
    pub missing_is_zero: bool,
    pub max_series: usize,
    pub grading: Grading,
}

/// State of a series.
#[derive(Debug, Clone, Default, PartialEq)]
struct Level {
    track: Track,
    /// Smoothed weight of its values; 0 before the first.
    weight: f64,
    /// Windows in a row that it was missing from.
    missing: u32,
}

impl SeriesState for Level {
    fn write(&self, out: &mut Writer) {
        self.track.write(out);
        out.f64(self.weight);
        out.varint(u64::from(self.missing));
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, DetectorError> {
        Ok(Level { track: Track::read(input)?, weight: input.f64()?, missing: input.u32()? })
    }
}

/// A value from a sample this many times smaller than usual is as uncertain as any smaller one:
/// without a limit, a window of one request would make the band reach everywhere.
const MAX_WIDEN: f64 = 5.0;

/// See the module.
pub struct LevelDetector<S> {
    name: Arc<str>,
    options: LevelOptions,
    scale: S,
    series: SeriesMap<Level>,
    /// Start of the last window.
    last: Option<i64>,
    ignored: u64,
}

impl<S: Scale> LevelDetector<S> {
    pub fn new(name: &str, scale: S, options: LevelOptions) -> Self {
        LevelDetector {
            name: Arc::from(name),
            series: SeriesMap::new(options.max_series),
            options,
            scale,
            last: None,
            ignored: 0,
        }
    }

    /// A value that can be judged: on the scale, and of enough weight.
    fn usable(&self, item: &SeriesValue) -> bool {
        item.weight >= self.options.min_weight
            && item.weight.is_finite()
            && self.scale.forward(item.value).is_some()
    }

    /// Judges and learns one value of the series at `place`.
    fn take(
        &mut self,
        place: u32,
        window: &WindowSlice<'_>,
        value: f64,
        weight: f64,
    ) -> Option<Judgement> {
        let at = self.scale.forward(value)?;
        let options = &self.options;
        let scale = &self.scale;
        let state = self.series.state_mut(place);
        let noise = Noise { floor: scale.noise_floor(), widen: widen(scale, state.weight, weight) };
        let practical = |band: Band| {
            let expected = scale.backward(band.expected);
            let high = (expected * options.min_ratio).max(options.min_value);
            let low = expected / options.min_ratio;
            Band {
                expected: band.expected,
                lower: scale.forward(low).map_or(band.lower, |low| band.lower.min(low)),
                upper: scale.forward(high).map_or(band.upper, |high| band.upper.max(high)),
            }
        };
        let band = state.track.band(&options.tuning, noise, practical);
        let side = state.track.learn(at, band, &options.tuning, noise, practical);
        if side == Side::Inside && weight > 0.0 {
            let gain = if state.weight > 0.0 { options.tuning.smoothing } else { 1.0 };
            state.weight += gain * (weight - state.weight);
        }
        let outside = options.direction.reports(side);
        let key = self.series.key(place).clone();
        let Some(on_scale) = band else { return Some(Judgement::warming_up(key, value)) };
        let score = on_scale.score(at);
        let [expected, lower, upper] =
            [on_scale.expected, on_scale.lower, on_scale.upper].map(|edge| scale.backward(edge));
        let band = Band { expected, lower, upper };
        let anomaly = outside.then(|| self.anomaly(&key, window, value, band, score));
        Some(Judgement { key, value, band: Some(band), score, outside, anomaly })
    }

    fn anomaly(
        &self,
        key: &Arc<str>,
        window: &WindowSlice<'_>,
        value: f64,
        band: Band,
        score: f64,
    ) -> Anomaly {
        let LevelOptions { measure, unit, .. } = &self.options;
        let Band { expected, lower, upper } = band;
        let reason = format!(
            "{measure}{} {} {}, expected {} to {}",
            of(key),
            quantity(value, unit),
            in_window(window.start, window.end),
            quantity(lower, ""),
            quantity(upper, unit),
        );
        Anomaly {
            detector: self.name.clone(),
            kind: self.options.kind,
            key: key.clone(),
            window_start: window.start,
            window_end: window.end,
            value,
            expected,
            lower,
            upper,
            score,
            severity: self.options.grading.severity(score),
            reason,
        }
    }

    /// Zeros for the series that are missing from the window.
    fn fill(&mut self, window: &WindowSlice<'_>, found: &mut Vec<Judgement>) {
        for place in self.series.unseen(window.start) {
            let state = self.series.state_mut(place);
            state.missing = state.missing.saturating_add(1);
            let weight = state.weight;
            found.extend(self.take(place, window, 0.0, weight));
        }
        // By then 0 is its learnt level: it says nothing more, and would be work for ever.
        let gone = self
            .options
            .tuning
            .relearn_after
            .saturating_add(u32::try_from(self.options.tuning.warm_up).unwrap_or(u32::MAX));
        self.series.forget_oldest_while(|_, state| state.missing > gone);
    }
}

/// Factor on the deviation of a value of this weight in a series of that usual weight. Larger
/// samples than usual do not narrow it: part of the variation is not the sample's.
fn widen(scale: &impl Scale, usual: f64, weight: f64) -> f64 {
    if !scale.weighted() || usual <= 0.0 || weight <= 0.0 {
        return 1.0;
    }
    (usual / weight).sqrt().clamp(1.0, MAX_WIDEN)
}

impl<S: Scale> Detector for LevelDetector<S> {
    fn kind(&self) -> &'static str {
        self.options.kind
    }

    fn judge(&mut self, window: &WindowSlice<'_>) -> Vec<Judgement> {
        if self.last.is_some_and(|last| window.start <= last) {
            self.ignored += window.series.len() as u64;
            return Vec::new();
        }
        self.last = Some(window.start);
        // Values that cannot be used make no series either.
        let usable: Vec<&SeriesValue> =
            window.series.iter().filter(|item| self.usable(item)).collect();
        self.ignored += (window.series.len() - usable.len()) as u64;
        let places = self.series.admit(window.start, &usable, Level::default);
        let mut found = Vec::new();
        for (item, place) in usable.into_iter().zip(places) {
            if let Some(place) = place {
                self.series.state_mut(place).missing = 0;
                found.extend(self.take(place, window, item.value, item.weight));
            }
        }
        if self.options.missing_is_zero {
            self.fill(window, &mut found);
            found.sort_by(|a, b| a.key.cmp(&b.key));
        }
        found
    }

    fn snapshot(&self) -> Result<Vec<u8>, DetectorError> {
        let mut out = Writer::new(self.options.kind);
        out.time(self.last);
        self.series.write(&mut out);
        Ok(out.finish())
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), DetectorError> {
        let mut input = Reader::new(self.options.kind, bytes)?;
        let last = input.time()?;
        let series = SeriesMap::read(self.options.max_series, &mut input)?;
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
