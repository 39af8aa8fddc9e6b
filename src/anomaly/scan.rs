//! One client that touches many more endpoints than the others: a crawler, or someone who tries
//! doors.
//!
//! The keys of the window are the clients, the values the number of distinct endpoints of each
//! (`count(DISTINCT endpoint)` by client). A fan-out far above the others' is the mark of a scan
//! (J. Jung, V. Paxson, A. Berger and H. Balakrishnan, "Fast portscan detection using sequential
//! hypothesis testing", 2004, has the history); here it is out of line when above all of these,
//! the highest of which is the edge of the band: `distance` robust deviations above the other
//! clients, on the logarithm (B. Iglewicz and D. Hoaglin, 1993); `min_ratio` times what is usual
//! for this client, so that a known crawler or monitor is one alert and not one an hour; and
//! `min_value`. Only clients with half of `min_value` are remembered.

use std::sync::Arc;

use super::band::{Band, Grading};
use super::series::{SeriesMap, SeriesState};
use super::spec::Scan as Parameters;
use super::state::{Reader, Writer};
use super::track::median;
use super::words::{in_window, number, of};
use super::{
    Anomaly, Detector, DetectorError, DetectorStats, Judgement, MAX_VALUE, SeriesValue, WindowSlice,
};

/// Clients with at least this part of `min_value` are remembered.
const WATCHED: f64 = 0.5;
/// MAD of a normal variable to its standard deviation.
const MAD_FACTOR: f64 = 1.4826;
/// Clients that all do alike still differ by this much, on the logarithm.
const LEAST_SPREAD: f64 = 0.25;

/// What is usual for a client.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Client {
    usual: f64,
}

impl SeriesState for Client {
    fn write(&self, out: &mut Writer) {
        out.f64(self.usual);
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, DetectorError> {
        Ok(Client { usual: input.f64()? })
    }
}

/// See the module.
pub struct Scan {
    name: Arc<str>,
    parameters: Parameters,
    grading: Grading,
    clients: SeriesMap<Client>,
    last: Option<i64>,
    ignored: u64,
}

/// The clients of a window.
#[derive(Debug, Clone, Copy)]
struct Others {
    clients: usize,
    median: f64,
    /// Number of endpoints at `distance` deviations above the median.
    far: f64,
}

impl Scan {
    pub fn new(name: &str, parameters: &Parameters) -> Self {
        Scan {
            name: Arc::from(name),
            grading: parameters.grading(),
            clients: SeriesMap::new(parameters.max_series),
            parameters: parameters.clone(),
            last: None,
            ignored: 0,
        }
    }

    fn others(&self, clients: &[&SeriesValue]) -> Others {
        let logs: Vec<f64> = clients.iter().map(|client| client.value.ln()).collect();
        let middle = median(logs.clone());
        let spread = MAD_FACTOR * median(logs.iter().map(|log| (log - middle).abs()).collect());
        let reach = self.parameters.distance * spread.max(LEAST_SPREAD);
        Others {
            clients: clients.len(),
            median: middle.exp(),
            far: (middle + reach).exp().min(f64::MAX),
        }
    }

    fn take(
        &mut self,
        place: u32,
        window: &WindowSlice<'_>,
        count: f64,
        others: &Others,
    ) -> Judgement {
        let p = &self.parameters;
        let client = self.clients.state_mut(place);
        let expected = client.usual;
        let upper = others.far.max(p.min_value).max(expected * p.min_ratio);
        client.usual += p.smoothing * (count - expected);
        let band = Band { expected: expected.min(upper), lower: 0.0, upper };
        let key = self.clients.key(place).clone();
        if others.clients < p.min_clients {
            return Judgement::warming_up(key, count);
        }
        let score = band.score(count);
        let outside = count > upper;
        let anomaly = outside.then(|| self.anomaly(&key, window, count, others, band));
        Judgement { key, value: count, band: Some(band), score, outside, anomaly }
    }

    fn anomaly(
        &self,
        key: &Arc<str>,
        window: &WindowSlice<'_>,
        count: f64,
        others: &Others,
        band: Band,
    ) -> Anomaly {
        let score = band.score(count);
        let reason = format!(
            "{}{} {} {}, expected at most {} (usual for it {}, median of {} clients {})",
            self.parameters.measure,
            of(key),
            number(count),
            in_window(window.start, window.end),
            number(band.upper),
            number(band.expected),
            number(others.clients as f64),
            number(others.median),
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
        let clients: Vec<&SeriesValue> =
            window.series.iter().filter(|i| usable(i.value) && i.value > 0.0).collect();
        if clients.is_empty() {
            return Vec::new();
        }
        let others = self.others(&clients);
        // A client not yet known is taken to have done what the others do.
        let unknown = Client { usual: others.median.min(MAX_VALUE) };
        let watched = WATCHED * self.parameters.min_value;
        let mut places: Vec<Option<u32>> =
            clients.iter().map(|client| self.clients.touch(&client.key, window.start)).collect();
        for (place, client) in places.iter_mut().zip(&clients) {
            if place.is_none() && client.value >= watched {
                *place = self.clients.touch_or_insert(&client.key, window.start, || unknown);
            }
        }
        clients
            .iter()
            .zip(places)
            .filter_map(|(client, place)| Some(self.take(place?, window, client.value, &others)))
            .collect()
    }

    fn snapshot(&self) -> Result<Vec<u8>, DetectorError> {
        let mut out = Writer::new(Parameters::KIND);
        out.time(self.last);
        self.clients.write(&mut out);
        Ok(out.finish())
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), DetectorError> {
        let mut input = Reader::new(Parameters::KIND, bytes)?;
        let last = input.time()?;
        let clients = SeriesMap::read(self.parameters.max_series, &mut input)?;
        input.finish()?;
        (self.last, self.clients) = (last, clients);
        Ok(())
    }

    fn stats(&self) -> DetectorStats {
        DetectorStats {
            series: self.clients.len(),
            evicted: self.clients.evicted(),
            refused: self.clients.refused(),
            ignored: self.ignored,
        }
    }
}
