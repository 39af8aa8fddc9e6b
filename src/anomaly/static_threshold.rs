//! A value above or below a fixed limit, for what is known beforehand: a disk at 90 %, an agreed
//! response time, a heartbeat that must not stop (`lower` with `missing = "zero"`).
//!
//! With `windows` of more than 1, a series must be out of line that many windows in a row, as
//! `for` asks of a Prometheus rule.

use super::band::{Band, Side};
use super::moments::Moments;
use super::per_series::{Model, PerSeries, SeriesOptions, Verdict};
use super::series::SeriesState;
use super::spec::StaticThreshold as Parameters;
use super::state::{Reader, Writer};
use super::{DetectorError, WindowSlice};

/// Weight of the newest window in what is expected.
const SMOOTHING: f64 = 0.1;

/// State of one series.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Limits {
    /// Of the values in line: what is expected.
    usual: Moments,
    /// Windows in a row that it was out of line.
    outside: u32,
}

impl SeriesState for Limits {
    fn write(&self, out: &mut Writer) {
        self.usual.write(out);
        out.varint(u64::from(self.outside));
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, DetectorError> {
        Ok(Limits { usual: Moments::read(input)?, outside: input.u32()? })
    }
}

/// The algorithm; see the module.
#[derive(Debug, Clone)]
pub struct LimitModel {
    upper: f64,
    lower: f64,
    windows: u32,
}

impl Model for LimitModel {
    type State = Limits;

    fn take(&self, state: &mut Limits, _: &WindowSlice<'_>, value: f64) -> Option<Verdict> {
        // Before any value in line, the limits themselves are all that is known.
        let known = if state.usual.values > 0 { state.usual.level } else { value };
        let expected = known.min(self.upper).max(self.lower);
        // Where there is no limit the band has to end somewhere: at the value, or as far off as
        // the limit that there is.
        let upper = if self.upper.is_finite() {
            self.upper
        } else {
            value.max(expected + (expected - self.lower))
        };
        let lower = if self.lower.is_finite() {
            self.lower
        } else {
            value.min(expected - (self.upper - expected))
        };
        let band = Band { expected, lower, upper };
        if band.side(value) == Side::Inside {
            state.outside = 0;
            state.usual.add(value, SMOOTHING);
        } else {
            state.outside = state.outside.saturating_add(1);
        }
        let mut verdict = Verdict::by(band, value);
        verdict.raise &= state.outside >= self.windows;
        verdict.outside = verdict.raise;
        Some(verdict)
    }
}

/// Makes the detector.
pub fn detector(name: &str, p: &Parameters) -> PerSeries<LimitModel> {
    let model = LimitModel { upper: p.upper, lower: p.lower, windows: p.windows };
    PerSeries::new(name, model, SeriesOptions::from(p))
}
