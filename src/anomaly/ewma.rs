//! A value so many deviations from the exponentially weighted mean of those before.
//!
//! The control chart of S. W. Roberts ("Control chart tests based on geometric moving averages",
//! Technometrics 1, 1959) turned to single values, with the deviation weighted in the same way
//! (T. Finch, "Incremental calculation of weighted mean and variance", 2009). A value outside the
//! band is learnt as the edge of the band: an outlier moves the mean a little and widens the
//! band a little, so that a lasting change is followed and a spike does not hide the next one.
//! With few windows behind it the band is as much wider as Student's t says.

use super::band::{Band, student};
use super::moments::Moments;
use super::per_series::{Model, PerSeries, SeriesOptions, Verdict};
use super::series::SeriesState;
use super::spec::Ewma as Parameters;
use super::state::{Reader, Writer};
use super::{DetectorError, WindowSlice};

impl SeriesState for Moments {
    fn write(&self, out: &mut Writer) {
        Moments::write(self, out);
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, DetectorError> {
        Moments::read(input)
    }
}

/// The algorithm; see the module.
#[derive(Debug, Clone)]
pub struct EwmaModel {
    threshold: f64,
    smoothing: f64,
    min_change: f64,
    warm_up: u32,
}

impl Model for EwmaModel {
    type State = Moments;

    fn take(&self, state: &mut Moments, _: &WindowSlice<'_>, value: f64) -> Option<Verdict> {
        if state.values < self.warm_up {
            state.add(value, self.smoothing);
            return None;
        }
        // Independent values that a weighted mean is worth.
        let memory = 2.0 / self.smoothing - 1.0;
        let sigmas = student(self.threshold, f64::from(state.values).min(memory));
        let expected = state.level;
        let wide = sigmas * state.deviation();
        let reach = wide.max(self.min_change);
        let band = Band { expected, lower: expected - reach, upper: expected + reach };
        // From no deviation at all the first values that differ must be able to start one.
        let learnt =
            if wide > 0.0 { value.clamp(expected - reach, expected + reach) } else { value };
        state.add(learnt, self.smoothing);
        Some(Verdict::by(band, value))
    }
}

/// Makes the detector.
pub fn detector(name: &str, p: &Parameters) -> PerSeries<EwmaModel> {
    let model = EwmaModel {
        threshold: p.threshold,
        smoothing: p.smoothing,
        min_change: p.min_change,
        warm_up: p.warm_up,
    };
    PerSeries::new(name, model, SeriesOptions::from(p))
}
