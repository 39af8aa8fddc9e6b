//! Counts in a window against the series' own recent level: spikes, and drops if asked for.
//!
//! Looked at on the scale `2 sqrt(x + 3/8)` (F. J. Anscombe, "The transformation of Poisson,
//! binomial and negative-binomial data", Biometrika 35, 1948), where a Poisson count varies with a
//! standard deviation of 1 whatever its mean: that is the least noise a count can have, and the
//! floor of the band, so that a quiet minute does not make the next one an alarm. Real traffic
//! varies more; how much is learnt.

use super::MAX_VALUE;
use super::level::{LevelDetector, LevelOptions, Scale};
use super::spec::{Direction, Missing, TrafficSpike};

/// The square-root scale of counts.
#[derive(Debug, Clone, Copy)]
pub struct Counts;

impl Scale for Counts {
    fn forward(&self, value: f64) -> Option<f64> {
        (0.0..MAX_VALUE).contains(&value).then(|| 2.0 * (value + 0.375).sqrt())
    }

    fn backward(&self, place: f64) -> f64 {
        let half = place.max(0.0) / 2.0;
        (half * half - 0.375).max(0.0)
    }

    fn noise_floor(&self) -> f64 {
        1.0
    }

    fn weighted(&self) -> bool {
        false
    }
}

/// Makes the detector.
pub fn detector(name: &str, parameters: &TrafficSpike) -> LevelDetector<Counts> {
    let p = parameters.clone();
    let missing_is_zero = match p.missing {
        Missing::Zero => true,
        Missing::Skip => false,
        // The query gives no row for an endpoint that nobody asked for: who wants to hear of
        // drops wants to hear of that most of all. For spikes it would only be work.
        Missing::Auto => p.direction != Direction::Up,
    };
    LevelDetector::new(
        name,
        Counts,
        LevelOptions {
            kind: TrafficSpike::KIND,
            tuning: p.tuning(),
            grading: p.grading(),
            measure: p.measure,
            unit: p.unit,
            min_ratio: p.min_ratio,
            min_value: p.min_value,
            min_weight: f64::NEG_INFINITY,
            direction: p.direction,
            missing_is_zero,
            max_series: p.max_series,
        },
    )
}
