//! A value so many robust deviations from the median of the last windows.
//!
//! The modified z-score of B. Iglewicz and D. Hoaglin ("How to detect and handle outliers", 1993)
//! over a sliding window, which in signal processing is Hampel's filter (F. Hampel, "The influence
//! curve and its role in robust estimation", 1974). Up to half of the windows may be out of line
//! without moving the band: it stays blind to nothing for longer than half its length. Where more
//! than half of the values are the same the MAD is 0 and, as the authors say, the mean absolute
//! deviation takes its place.

use super::band::Band;
use super::per_series::{Model, PerSeries, SeriesOptions, Verdict};
use super::series::SeriesState;
use super::spec::MedianMad as Parameters;
use super::state::{Reader, Writer};
use super::track::median;
use super::{DetectorError, WindowSlice};

/// Median absolute deviation of a normal variable to its standard deviation.
const MAD_FACTOR: f64 = 1.4826;
/// Mean absolute deviation of a normal variable to its standard deviation.
const MEAN_FACTOR: f64 = 1.2533;

/// The last values of one series, oldest first.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Last {
    values: Vec<f64>,
}

impl SeriesState for Last {
    fn write(&self, out: &mut Writer) {
        out.varint(self.values.len() as u64);
        for value in &self.values {
            out.f64(*value);
        }
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, DetectorError> {
        let count = input.count(8)?;
        Ok(Last { values: (0..count).map(|_| input.f64()).collect::<Result<_, _>>()? })
    }
}

/// The algorithm; see the module.
#[derive(Debug, Clone)]
pub struct MedianModel {
    threshold: f64,
    windows: usize,
    min_change: f64,
    warm_up: usize,
}

impl Model for MedianModel {
    type State = Last;

    fn take(&self, state: &mut Last, _: &WindowSlice<'_>, value: f64) -> Option<Verdict> {
        let known = &state.values;
        let verdict = (known.len() >= self.warm_up).then(|| {
            let expected = median(known.clone());
            let off: Vec<f64> = known.iter().map(|v| (v - expected).abs()).collect();
            let mean = off.iter().sum::<f64>() / off.len() as f64;
            let mad = median(off);
            let deviation = if mad > 0.0 { MAD_FACTOR * mad } else { MEAN_FACTOR * mean };
            let reach = (self.threshold * deviation).max(self.min_change);
            Verdict::by(Band { expected, lower: expected - reach, upper: expected + reach }, value)
        });
        // More than one too many if the parameter has become less since the snapshot.
        let over = (state.values.len() + 1).saturating_sub(self.windows);
        state.values.drain(..over.min(state.values.len()));
        state.values.push(value);
        verdict
    }
}

/// Makes the detector.
pub fn detector(name: &str, p: &Parameters) -> PerSeries<MedianModel> {
    let model = MedianModel {
        threshold: p.threshold,
        windows: p.windows,
        min_change: p.min_change,
        warm_up: p.warm_up.min(p.windows),
    };
    PerSeries::new(name, model, SeriesOptions::from(p))
}
