//! More than so many times the mean: the rule of the batch script that Millpond replaces,
//!
//! ```sql
//! WHERE request_count > (SELECT AVG(request_count) * 3 FROM logs_windowed)
//! ```
//!
//! as a stream has to say it: the mean is that of the windows *before*. `scope = "all"` takes one
//! mean over all series, as the SQL does; `scope = "series"` (the default) one for each, because
//! over all of them a popular endpoint is above 3 times the mean for good. A value above the limit
//! is left out of its series' mean (unless it stays there for `relearn_after` windows), and goes
//! into a mean over all series as the limit, so that a burst does not hide the next one; with
//! `robust = false` it goes in whole, as in the SQL. The rule knows nothing of noise: a
//! series of some ten requests a window breaks it by chance, which is what `min_value` is for.

use std::sync::Arc;

use super::band::{Band, Grading, Side};
use super::run::{Run, Step};
use super::series::{SeriesMap, SeriesState};
use super::spec::{RatioToMean as Parameters, Scope};
use super::state::{Reader, Writer};
use super::words::{in_window, number, of};
use super::{
    Anomaly, Detector, DetectorError, DetectorStats, Judgement, MAX_VALUE, SeriesValue, WindowSlice,
};

/// A running mean and the run of values above the limit.
#[derive(Debug, Clone, Default, PartialEq)]
struct Mean {
    mean: f64,
    values: u64,
    run: Run,
    /// Sum and number of the values of the run.
    outside: (f64, u64),
}

impl Mean {
    fn band(&self, p: &Parameters) -> Band {
        let upper = (self.mean * p.ratio).max(p.min_value);
        Band { expected: self.mean, lower: 0.0, upper }
    }

    fn add(&mut self, value: f64, memory: u64) {
        self.values = self.values.saturating_add(1);
        let n = if memory == 0 { self.values } else { self.values.min(memory) };
        self.mean += (value - self.mean) / n as f64;
    }

    /// Learns a value of one series, judged on `band` if the warm-up is over.
    fn learn(&mut self, value: f64, band: Option<Band>, p: &Parameters) {
        let Some(band) = band else {
            self.add(value, p.memory);
            return;
        };
        let above = value > band.upper;
        if !above || !p.robust {
            self.add(value, p.memory);
        }
        match self.run.step(if above { Side::Above } else { Side::Inside }) {
            Step::Quiet => self.outside = (0.0, 0),
            Step::Easing => {}
            Step::Began => self.outside = (value, 1),
            Step::Grew => self.outside = (self.outside.0 + value, self.outside.1 + 1),
        }
        if p.robust && self.run.length() >= p.relearn_after {
            let (sum, values) = self.outside;
            *self = Mean { mean: sum / values.max(1) as f64, values, ..Mean::default() };
        }
    }
}

impl SeriesState for Mean {
    fn write(&self, out: &mut Writer) {
        out.f64(self.mean);
        out.varint(self.values);
        self.run.write(out);
        out.f64(self.outside.0);
        out.varint(self.outside.1);
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, DetectorError> {
        Ok(Mean {
            mean: input.f64()?,
            values: input.varint()?,
            run: Run::read(input)?,
            outside: (input.f64()?, input.u32().map(u64::from)?),
        })
    }
}

/// See the module.
pub struct RatioToMean {
    name: Arc<str>,
    parameters: Parameters,
    grading: Grading,
    series: SeriesMap<Mean>,
    /// Over all series, for `scope = "all"`.
    all: Mean,
    /// Windows that `all` has seen.
    windows: u64,
    last: Option<i64>,
    ignored: u64,
}

impl RatioToMean {
    pub fn new(name: &str, parameters: &Parameters) -> Self {
        RatioToMean {
            name: Arc::from(name),
            grading: parameters.grading(),
            series: SeriesMap::new(parameters.max_series),
            parameters: parameters.clone(),
            all: Mean::default(),
            windows: 0,
            last: None,
            ignored: 0,
        }
    }

    fn by_series(&mut self, window: &WindowSlice<'_>, usable: &[&SeriesValue]) -> Vec<Judgement> {
        let places = self.series.admit(window.start, usable, Mean::default);
        let mut found = Vec::new();
        for (item, place) in usable.iter().zip(places) {
            let Some(place) = place else { continue };
            let p = &self.parameters;
            let mean = self.series.state_mut(place);
            let warm = mean.values >= p.warm_up as u64;
            let band = warm.then(|| mean.band(p));
            mean.learn(item.value, band, p);
            found.push(self.judgement(window, item, band));
        }
        found
    }

    fn over_all(&mut self, window: &WindowSlice<'_>, usable: &[&SeriesValue]) -> Vec<Judgement> {
        let p = &self.parameters;
        let warm = self.windows >= p.warm_up as u64;
        let band = self.all.band(p);
        for item in usable {
            let limit = if warm && p.robust { band.upper } else { f64::INFINITY };
            self.all.add(item.value.min(limit), p.memory);
        }
        if !usable.is_empty() {
            self.windows = self.windows.saturating_add(1);
        }
        let band = warm.then_some(band);
        usable.iter().map(|item| self.judgement(window, item, band)).collect()
    }

    fn judgement(
        &self,
        window: &WindowSlice<'_>,
        item: &SeriesValue,
        band: Option<Band>,
    ) -> Judgement {
        let key = item.key.clone();
        let Some(band) = band else { return Judgement::warming_up(key, item.value) };
        let score = band.score(item.value);
        let outside = band.side(item.value) == Side::Above;
        let anomaly = outside.then(|| self.anomaly(window, item, band, score));
        Judgement { key, value: item.value, band: Some(band), score, outside, anomaly }
    }

    fn anomaly(
        &self,
        window: &WindowSlice<'_>,
        item: &SeriesValue,
        band: Band,
        score: f64,
    ) -> Anomaly {
        let times = match band.expected > 0.0 {
            true => format!("{} times the mean", number(item.value / band.expected)),
            false => "the mean".to_owned(),
        };
        let reason = format!(
            "{}{} {} {}, {times} {} of the windows before, expected up to {}",
            self.parameters.measure,
            of(&item.key),
            number(item.value),
            in_window(window.start, window.end),
            number(band.expected),
            number(band.upper),
        );
        Anomaly {
            detector: self.name.clone(),
            kind: Parameters::KIND,
            key: item.key.clone(),
            window_start: window.start,
            window_end: window.end,
            value: item.value,
            expected: band.expected,
            lower: band.lower,
            upper: band.upper,
            score,
            severity: self.grading.severity(score),
            reason,
        }
    }
}

impl Detector for RatioToMean {
    fn kind(&self) -> &'static str {
        Parameters::KIND
    }

    fn judge(&mut self, window: &WindowSlice<'_>) -> Vec<Judgement> {
        if self.last.is_some_and(|last| window.start <= last) {
            self.ignored += window.series.len() as u64;
            return Vec::new();
        }
        self.last = Some(window.start);
        let usable: Vec<&SeriesValue> =
            window.series.iter().filter(|item| (0.0..MAX_VALUE).contains(&item.value)).collect();
        self.ignored += (window.series.len() - usable.len()) as u64;
        match self.parameters.scope {
            Scope::Series => self.by_series(window, &usable),
            Scope::All => self.over_all(window, &usable),
        }
    }

    fn snapshot(&self) -> Result<Vec<u8>, DetectorError> {
        let mut out = Writer::new(Parameters::KIND);
        out.time(self.last);
        out.varint(self.windows);
        self.all.write(&mut out);
        self.series.write(&mut out);
        Ok(out.finish())
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), DetectorError> {
        let mut input = Reader::new(Parameters::KIND, bytes)?;
        let last = input.time()?;
        let windows = input.varint()?;
        let all = Mean::read(&mut input)?;
        let series = SeriesMap::read(self.parameters.max_series, &mut input)?;
        input.finish()?;
        (self.last, self.windows, self.all, self.series) = (last, windows, all, series);
        Ok(())
    }

    fn stats(&self) -> DetectorStats {
        DetectorStats {
            series: match self.parameters.scope {
                Scope::Series => self.series.len(),
                Scope::All => usize::from(self.windows > 0),
            },
            evicted: self.series.evicted(),
            refused: self.series.refused(),
            ignored: self.ignored,
        }
    }
}
