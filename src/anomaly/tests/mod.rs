//! The detectors on simulated traffic, and their promises about state.

mod auto;
mod behaviour;
mod buffer;
mod kinds;
mod late;
mod random;
mod simulated;
mod state;
mod weblogs;

use super::{Anomaly, Detector, DetectorSpec, Judgement, SeriesValue, WindowSlice};

/// Length of the windows of all tests here, microseconds.
const WINDOW: i64 = 10_000_000;

fn spec(kind: &str, parameters: &str) -> DetectorSpec {
    // The parameters are written in the tests: one that does not read fails its test.
    DetectorSpec::from_parameters(kind, &parameters.parse().unwrap()).unwrap()
}

fn value(key: &str, value: f64, weight: f64) -> SeriesValue {
    SeriesValue { key: key.into(), value, weight }
}

fn observe(detector: &mut dyn Detector, window: i64, series: &[SeriesValue]) -> Vec<Anomaly> {
    let start = window * WINDOW;
    detector.observe(&WindowSlice { start, end: start + WINDOW, series })
}

fn judge(detector: &mut dyn Detector, window: i64, series: &[SeriesValue]) -> Vec<Judgement> {
    let start = window * WINDOW;
    detector.judge(&WindowSlice { start, end: start + WINDOW, series })
}
