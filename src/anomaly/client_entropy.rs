//! How evenly a window's requests are spread over its clients, against how they usually are.
//!
//! The entropy of the clients' counts in bits (A. Lakhina, M. Crovella and C. Diot, "Mining
//! anomalies using traffic feature distributions", SIGCOMM 2005): it falls when few clients make
//! many of the requests, one by itself or a few together that each stay below what a rule for one
//! client would find, and it rises when requests come from many addresses with a few each, as from
//! a botnet. The keys of the window are the clients, the values their counts; the series is one,
//! without a key. Level and deviation are learnt as for `traffic_spike` (see
//! [`track`](super::track)).

use std::sync::Arc;

use super::band::{Band, Grading};
use super::spec::ClientEntropy as Parameters;
use super::state::{Reader, Writer};
use super::track::{Noise, Track};
use super::words::{in_window, number};
use super::{Anomaly, Detector, DetectorError, DetectorStats, Judgement, MAX_VALUE, WindowSlice};

/// Bits by which the entropy of honest traffic varies at least.
const LEAST_NOISE: f64 = 0.02;

/// See the module.
pub struct ClientEntropy {
    name: Arc<str>,
    parameters: Parameters,
    grading: Grading,
    track: Track,
    last: Option<i64>,
    windows: u64,
    ignored: u64,
}

impl ClientEntropy {
    pub fn new(name: &str, parameters: &Parameters) -> Self {
        ClientEntropy {
            name: Arc::from(name),
            grading: parameters.grading(),
            parameters: parameters.clone(),
            track: Track::default(),
            last: None,
            windows: 0,
            ignored: 0,
        }
    }

    fn anomaly(&self, window: &WindowSlice<'_>, bits: f64, band: Band, clients: usize) -> Anomaly {
        let Band { expected, lower, upper } = band;
        let score = band.score(bits);
        let how = if bits < expected { "on few clients" } else { "on many clients" };
        let reason = format!(
            "{} {} bits {}, requests {how} ({clients} of them), expected {} to {} bits",
            self.parameters.measure,
            number(bits),
            in_window(window.start, window.end),
            number(lower),
            number(upper),
        );
        Anomaly {
            detector: self.name.clone(),
            kind: Parameters::KIND,
            key: Arc::from(""),
            window_start: window.start,
            window_end: window.end,
            value: bits,
            expected,
            lower,
            upper,
            score,
            severity: self.grading.severity(score),
            reason,
        }
    }
}

/// Entropy of counts, all above 0, in bits.
fn entropy(counts: &[f64], total: f64) -> f64 {
    let parts = counts.iter().map(|count| count / total);
    parts.filter(|part| *part > 0.0).map(|part| -part * part.log2()).sum::<f64>().max(0.0)
}

impl Detector for ClientEntropy {
    fn kind(&self) -> &'static str {
        Parameters::KIND
    }

    fn judge(&mut self, window: &WindowSlice<'_>) -> Vec<Judgement> {
        if self.last.is_some_and(|last| window.start <= last) {
            self.ignored += window.series.len() as u64;
            return Vec::new();
        }
        self.last = Some(window.start);
        let usable = |value: f64| (0.0..MAX_VALUE).contains(&value);
        self.ignored += window.series.iter().filter(|i| !usable(i.value)).count() as u64;
        let counts: Vec<f64> =
            window.series.iter().map(|i| i.value).filter(|v| usable(*v) && *v > 0.0).collect();
        let total: f64 = counts.iter().sum();
        let p = &self.parameters;
        if total < p.min_count {
            return Vec::new();
        }
        let bits = entropy(&counts, total);
        let tuning = p.tuning();
        let noise = Noise { floor: LEAST_NOISE, widen: 1.0 };
        let practical = |band: Band| Band {
            expected: band.expected,
            lower: band.lower.min(band.expected - p.min_change).max(0.0).min(band.expected),
            upper: band.upper.max(band.expected + p.min_change),
        };
        let band = self.track.band(&tuning, noise, practical);
        let side = self.track.learn(bits, band, &tuning, noise, practical);
        self.windows = self.windows.saturating_add(1);
        let key = Arc::from("");
        let Some(band) = band else { return vec![Judgement::warming_up(key, bits)] };
        let outside = p.direction.reports(side);
        let anomaly = outside.then(|| self.anomaly(window, bits, band, counts.len()));
        let score = band.score(bits);
        vec![Judgement { key, value: bits, band: Some(band), score, outside, anomaly }]
    }

    fn snapshot(&self) -> Result<Vec<u8>, DetectorError> {
        let mut out = Writer::new(Parameters::KIND);
        out.time(self.last);
        out.varint(self.windows);
        self.track.write(&mut out);
        Ok(out.finish())
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), DetectorError> {
        let mut input = Reader::new(Parameters::KIND, bytes)?;
        let last = input.time()?;
        let windows = input.varint()?;
        let track = Track::read(&mut input)?;
        input.finish()?;
        (self.last, self.windows, self.track) = (last, windows, track);
        Ok(())
    }

    fn stats(&self) -> DetectorStats {
        DetectorStats {
            series: usize::from(self.windows > 0),
            ignored: self.ignored,
            ..DetectorStats::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entropy_is_in_bits() {
        assert_eq!(entropy(&[5.0; 8], 40.0), 3.0);
        assert_eq!(entropy(&[7.0], 7.0), 0.0);
        assert!((entropy(&[1.0, 3.0], 4.0) - 0.811_278).abs() < 1e-6);
    }
}
