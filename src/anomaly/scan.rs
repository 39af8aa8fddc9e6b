//! One client that touches many more endpoints than any other does: a crawler, or someone who
//! tries doors.
//!
//! The keys of the window are the clients, the values the number of distinct endpoints of each
//! (`count(DISTINCT endpoint)` by client). A fan-out far above the others' is the mark of a scan
//! (J. Jung, V. Paxson, A. Berger and H. Balakrishnan, "Fast portscan detection using sequential
//! hypothesis testing", 2004, has the history). Honest clients are Zipf-like: most touch one
//! endpoint and the largest of thousands a dozen or two, so that the median says nothing of the
//! largest. What is learnt is therefore the largest number itself, from window to window, on the
//! logarithm (see [`track`](super::track)). A client is out of line above its band, above
//! `min_ratio` times its level, and above `min_value`. A known crawler becomes the level after
//! `relearn_after` windows; smaller scans are not found beside it.

use std::sync::Arc;

use super::band::{Band, Grading, Side};
use super::spec::Scan as Parameters;
use super::state::{Reader, Writer};
use super::track::{Noise, Track};
use super::words::{in_window, number, of};
use super::{Anomaly, Detector, DetectorError, DetectorStats, Judgement, MAX_VALUE, WindowSlice};

/// By how much the largest number varies at least, on the logarithm.
const LEAST_NOISE: f64 = 0.05;
/// Clients with at least this part of what is expected of the largest are judged by themselves;
/// of the others, thousands of them, nothing need be said.
const WATCHED: f64 = 0.5;

/// See the module.
pub struct Scan {
    name: Arc<str>,
    parameters: Parameters,
    grading: Grading,
    /// Of the logarithm of the largest number of a window.
    largest: Track,
    windows: u64,
    last: Option<i64>,
    ignored: u64,
}

impl Scan {
    pub fn new(name: &str, parameters: &Parameters) -> Self {
        Scan {
            name: Arc::from(name),
            grading: parameters.grading(),
            parameters: parameters.clone(),
            largest: Track::default(),
            windows: 0,
            last: None,
            ignored: 0,
        }
    }

    /// The band of the largest number of a window that has `largest`; then that is learnt.
    fn band(&mut self, largest: f64) -> Option<Band> {
        let p = &self.parameters;
        let tuning = p.tuning();
        let noise = Noise { floor: LEAST_NOISE, widen: 1.0 };
        let practical = |band: Band| Band {
            upper: band.upper.max(band.expected + p.min_ratio.ln()).max(p.min_value.ln()),
            ..band
        };
        let band = self.largest.band(&tuning, noise, practical);
        // Numbers are of at least 1: 0.5 is no client with an endpoint at all.
        self.largest.learn(largest.max(0.5).ln(), band, &tuning, noise, practical);
        band.map(|band| Band {
            expected: band.expected.exp(),
            // Few endpoints are nothing out of line.
            lower: 0.0,
            upper: band.upper.exp().min(MAX_VALUE),
        })
    }

    fn anomaly(
        &self,
        key: &Arc<str>,
        window: &WindowSlice<'_>,
        count: f64,
        clients: usize,
        band: Band,
    ) -> Anomaly {
        let score = band.score(count);
        let reason = format!(
            "{}{} {} {}, expected at most {} (of {} clients, the most is mostly {})",
            self.parameters.measure,
            of(key),
            number(count),
            in_window(window.start, window.end),
            number(band.upper),
            number(clients as f64),
            number(band.expected),
        );
        Anomaly {
            detector: self.name.clone(),
            kind: Parameters::KIND,
            key: key.clone(),
            window_start: window.start,
            window_end: window.end,
            value: count,
            expected: band.expected,
            lower: band.lower,
            upper: band.upper,
            score,
            severity: self.grading.severity(score),
            reason,
        }
    }
}

impl Detector for Scan {
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
        let clients = || window.series.iter().filter(|i| usable(i.value) && i.value > 0.0);
        let count = clients().count();
        if count < self.parameters.min_clients {
            return Vec::new();
        }
        self.windows = self.windows.saturating_add(1);
        let largest = clients().map(|client| client.value).fold(0.0, f64::max);
        let Some(band) = self.band(largest) else {
            let largest = clients().filter(|client| client.value == largest).take(1);
            return largest.map(|c| Judgement::warming_up(c.key.clone(), c.value)).collect();
        };
        let watched = WATCHED * band.expected.min(largest);
        clients()
            .filter(|client| client.value >= watched)
            .map(|client| {
                let (key, value) = (client.key.clone(), client.value);
                let outside = band.side(value) == Side::Above;
                let anomaly = outside.then(|| self.anomaly(&key, window, value, count, band));
                // Fewer than the largest has is in line, however many fewer.
                let score = if value > band.expected { band.score(value) } else { 0.0 };
                Judgement { key, value, band: Some(band), score, outside, anomaly }
            })
            .collect()
    }

    fn snapshot(&self) -> Result<Vec<u8>, DetectorError> {
        let mut out = Writer::new(Parameters::KIND);
        out.time(self.last);
        out.varint(self.windows);
        self.largest.write(&mut out);
        Ok(out.finish())
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), DetectorError> {
        let mut input = Reader::new(Parameters::KIND, bytes)?;
        let last = input.time()?;
        let windows = input.varint()?;
        let largest = Track::read(&mut input)?;
        input.finish()?;
        (self.last, self.windows, self.largest) = (last, windows, largest);
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
