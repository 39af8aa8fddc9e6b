//! Response times (or any positive, skewed value) against the series' own recent level, as a
//! factor: looked at on the logarithmic scale, where the times of a healthy service vary evenly
//! and twice as slow is the same distance at 5 ms and at 5 s. With the number of requests as
//! weight, a window of few requests gets a wider band: the deviation of a mean or a percentile falls
//! with the square root of the sample. A series that is missing from a window has no time there,
//! so it is left as it was.

use super::MAX_VALUE;
use super::level::{LevelDetector, LevelOptions, Scale};
use super::spec::ResponseTime;

/// The logarithmic scale of positive values.
#[derive(Debug, Clone, Copy)]
pub struct Times;

impl Scale for Times {
    fn forward(&self, value: f64) -> Option<f64> {
        (value > 0.0 && value < MAX_VALUE).then(|| value.ln())
    }

    fn backward(&self, place: f64) -> f64 {
        // The band of a wild series could reach beyond the largest float.
        place.exp().min(f64::MAX)
    }

    fn noise_floor(&self) -> f64 {
        0.0
    }

    fn weighted(&self) -> bool {
        true
    }
}

/// Makes the detector.
pub fn detector(name: &str, parameters: &ResponseTime) -> LevelDetector<Times> {
    let p = parameters.clone();
    LevelDetector::new(
        name,
        Times,
        LevelOptions {
            kind: ResponseTime::KIND,
            tuning: p.tuning(),
            grading: p.grading(),
            measure: p.measure,
            unit: p.unit,
            min_ratio: p.min_ratio,
            min_value: p.min_value,
            min_weight: p.min_weight,
            direction: p.direction,
            missing_is_zero: false,
            max_series: p.max_series,
        },
    )
}
