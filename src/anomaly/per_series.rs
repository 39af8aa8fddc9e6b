//! The frame of the kinds that judge every series by itself: which series there are, in what order
//! windows come, what a missing one means, and the anomalies' words.

use std::sync::Arc;

use super::band::{Band, Grading, Side};
use super::series::{SeriesMap, SeriesState};
use super::spec::{Direction, Missing};
use super::state::{Reader, Writer};
use super::words::{in_window, of, quantity};
use super::{
    Anomaly, Detector, DetectorError, DetectorStats, Judgement, MAX_VALUE, SeriesValue, WindowSlice,
};

/// What a kind makes of a value after the warm-up.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// In the unit of the value; `lower <= expected <= upper`, all finite.
    pub band: Band,
    /// 0 to 1, more than 0.5 for what is raised.
    pub score: f64,
    /// Out of line, or within an incident that goes on.
    pub outside: bool,
    /// An anomaly, if it is in a direction that is reported.
    pub raise: bool,
    /// Why, to follow "requests of /a 2,400 in the minute, "; without it, "expected LOWER to
    /// UPPER".
    pub why: Option<String>,
}

impl Verdict {
    /// By a band alone: out of line is what is outside of it.
    pub fn by(band: Band, value: f64) -> Self {
        let outside = band.side(value) != Side::Inside;
        Verdict { band, score: band.score(value), outside, raise: outside, why: None }
    }
}

/// The algorithm of a kind.
pub trait Model: Send {
    /// What it keeps for a series.
    type State: SeriesState + Default + Send;

    /// Judges a finite value, less than [`MAX_VALUE`] in size, by those before it, then learns it.
    /// `None` during the warm-up.
    fn take(
        &self,
        state: &mut Self::State,
        window: &WindowSlice<'_>,
        value: f64,
    ) -> Option<Verdict>;
}

/// Parameters that all these kinds have.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesOptions {
    pub kind: &'static str,
    pub measure: String,
    pub unit: String,
    pub direction: Direction,
    pub missing: Missing,
    pub max_series: usize,
    pub grading: Grading,
}

/// A series that was missing from so many windows in a row is not filled with zeros for ever.
const FILLED: u32 = 1_000;

#[derive(Debug, Clone, Default)]
struct Filled<S> {
    state: S,
    /// Windows in a row that it was missing from.
    missing: u32,
}

impl<S: SeriesState> SeriesState for Filled<S> {
    fn write(&self, out: &mut Writer) {
        self.state.write(out);
        out.varint(u64::from(self.missing));
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, DetectorError> {
        Ok(Filled { state: S::read(input)?, missing: input.u32()? })
    }
}

/// See the module.
pub struct PerSeries<M: Model> {
    name: Arc<str>,
    options: SeriesOptions,
    model: M,
    series: SeriesMap<Filled<M::State>>,
    /// Start of the last window.
    last: Option<i64>,
    ignored: u64,
}

impl<M: Model> PerSeries<M> {
    pub fn new(name: &str, model: M, options: SeriesOptions) -> Self {
        PerSeries {
            name: Arc::from(name),
            series: SeriesMap::new(options.max_series),
            options,
            model,
            last: None,
            ignored: 0,
        }
    }

    fn take(&mut self, place: u32, window: &WindowSlice<'_>, value: f64) -> Judgement {
        let state = &mut self.series.state_mut(place).state;
        let verdict = self.model.take(state, window, value);
        let key = self.series.key(place).clone();
        let Some(verdict) = verdict else { return Judgement::warming_up(key, value) };
        let Verdict { band, score, outside, raise, why } = verdict;
        let side = if value >= band.expected { Side::Above } else { Side::Below };
        let reported = self.options.direction.reports(side);
        let anomaly =
            (raise && reported).then(|| self.anomaly(&key, window, value, band, score, why));
        Judgement { key, value, band: Some(band), score, outside: outside && reported, anomaly }
    }

    fn anomaly(
        &self,
        key: &Arc<str>,
        window: &WindowSlice<'_>,
        value: f64,
        band: Band,
        score: f64,
        why: Option<String>,
    ) -> Anomaly {
        let SeriesOptions { kind, measure, unit, .. } = &self.options;
        let Band { expected, lower, upper } = band;
        let why = why.unwrap_or_else(|| {
            format!("expected {} to {}", quantity(lower, ""), quantity(upper, unit))
        });
        let reason = format!(
            "{measure}{} {} {}, {why}",
            of(key),
            quantity(value, unit),
            in_window(window.start, window.end),
        );
        Anomaly {
            detector: self.name.clone(),
            kind,
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
            let missing = &mut self.series.state_mut(place).missing;
            *missing = missing.saturating_add(1);
            found.push(self.take(place, window, 0.0));
        }
        self.series.forget_oldest_while(|_, state| state.missing > FILLED);
        found.sort_by(|a, b| a.key.cmp(&b.key));
    }
}

impl<M: Model> Detector for PerSeries<M> {
    fn kind(&self) -> &'static str {
        self.options.kind
    }

    fn judge(&mut self, window: &WindowSlice<'_>) -> Vec<Judgement> {
        if self.last.is_some_and(|last| window.start <= last) {
            self.ignored += window.series.len() as u64;
            return Vec::new();
        }
        self.last = Some(window.start);
        let usable: Vec<&SeriesValue> =
            window.series.iter().filter(|item| item.value.abs() < MAX_VALUE).collect();
        self.ignored += (window.series.len() - usable.len()) as u64;
        let places = self.series.admit(window.start, &usable, Filled::default);
        let mut found = Vec::with_capacity(usable.len());
        for (item, place) in usable.into_iter().zip(places) {
            if let Some(place) = place {
                self.series.state_mut(place).missing = 0;
                found.push(self.take(place, window, item.value));
            }
        }
        let zero = match self.options.missing {
            Missing::Zero => true,
            Missing::Skip => false,
            Missing::Auto => self.options.direction == Direction::Down,
        };
        if zero {
            self.fill(window, &mut found);
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
