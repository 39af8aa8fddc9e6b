//! One client's share of a window's requests against its own usual share and against the other
//! clients': the abusive address among thousands.
//!
//! The keys of the window are the clients, the values their counts. A client is out of line when
//! its count is above all of these, the highest of which is the edge of the band:
//!
//! - what its usual share can explain, as two binomial samples (see
//!   [`binomial`](super::binomial)). Clients come in bursts (a page is some dozen requests), so
//!   `burst` requests count as one;
//! - `min_ratio` times its usual share. A client never seen among the large ones is taken to have
//!   had the smallest share that is watched, which is `min_share / 5`;
//! - `distance` robust deviations above the other clients: the logarithm of its count against the
//!   median and MAD of all (B. Iglewicz and D. Hoaglin, "How to detect and handle outliers",
//!   1993). This alone would always find the largest client of honest traffic, which is
//!   Zipf-like; the usual share alone would find every crawler that starts in a quiet night;
//! - `min_share` of all requests, and `min_count`.
//!
//! Only clients that have had `min_share / 5` in some window are remembered, so that memory is
//! bounded by `5 / min_share` clients a window whatever the number of addresses.

use std::sync::Arc;

use super::band::Side;
use super::band::{Band, Grading};
use super::binomial::{Tally, band, deviance};
use super::run::{Run, Step};
use super::series::{SeriesMap, SeriesState};
use super::spec::ClientShare as Parameters;
use super::state::{Reader, Writer};
use super::track::median;
use super::words::{in_window, number, of, per_cent};
use super::{
    Anomaly, Detector, DetectorError, DetectorStats, Judgement, MAX_VALUE, SeriesValue, WindowSlice,
};

/// Clients with at least this part of `min_share` are remembered.
const WATCHED: f64 = 0.2;
/// MAD of a normal variable to its standard deviation.
const MAD_FACTOR: f64 = 1.4826;
/// Clients that all ask alike still differ by this much (a factor of 1.6): the floor of the
/// deviation between clients, on the logarithmic scale.
const LEAST_SPREAD: f64 = 0.5;

/// State of a client that is or was among the large ones.
#[derive(Debug, Clone, PartialEq)]
struct Client {
    /// Its requests, older ones fading as the detector's total does; as of `at`.
    usual: f64,
    /// The window (counted) up to which `usual` has faded.
    at: u64,
    run: Run,
    /// Requests of the run outside the band: the client's and all.
    outside: Tally,
}

impl SeriesState for Client {
    fn write(&self, out: &mut Writer) {
        out.f64(self.usual);
        out.varint(self.at);
        self.run.write(out);
        out.f64(self.outside.events);
        out.f64(self.outside.trials);
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, DetectorError> {
        Ok(Client {
            usual: input.f64()?,
            at: input.varint()?,
            run: Run::read(input)?,
            outside: Tally::new(input.f64()?, input.f64()?),
        })
    }
}

/// See the module.
pub struct ClientShare {
    name: Arc<str>,
    parameters: Parameters,
    grading: Grading,
    clients: SeriesMap<Client>,
    last: Option<i64>,
    ignored: u64,
    /// Windows learnt.
    windows: u64,
    /// Requests of all clients, older ones fading.
    total: f64,
}

/// The other clients of a window.
#[derive(Debug, Clone, Copy)]
struct Others {
    total: f64,
    /// Median count.
    median: f64,
    /// Count at `distance` deviations above the median.
    far: f64,
}

impl ClientShare {
    pub fn new(name: &str, parameters: &Parameters) -> Self {
        ClientShare {
            name: Arc::from(name),
            grading: parameters.grading(),
            clients: SeriesMap::new(parameters.max_series),
            parameters: parameters.clone(),
            last: None,
            ignored: 0,
            windows: 0,
            total: 0.0,
        }
    }

    fn others(&self, clients: &[&SeriesValue]) -> Others {
        let logs: Vec<f64> = clients.iter().map(|client| client.value.ln()).collect();
        let middle = median(logs.clone());
        let spread = MAD_FACTOR * median(logs.iter().map(|log| (log - middle).abs()).collect());
        let reach = self.parameters.distance * spread.max(LEAST_SPREAD);
        Others {
            total: clients.iter().map(|client| client.value).sum(),
            median: middle.exp(),
            far: (middle + reach).exp().min(f64::MAX),
        }
    }

    /// Judges and learns one large client.
    fn take(
        &mut self,
        place: u32,
        window: &WindowSlice<'_>,
        count: f64,
        others: &Others,
        judge: bool,
    ) -> Judgement {
        let p = &self.parameters;
        let (windows, all) = (self.windows, self.total);
        let keep = 1.0 - p.smoothing;
        let client = self.clients.state_mut(place);
        // i32 is ample: beyond some thousand windows nothing is left to fade.
        let gap = i32::try_from(windows.saturating_sub(client.at)).unwrap_or(i32::MAX);
        client.usual = (client.usual * keep.powi(gap)).min(all);
        let usual = Tally::new(client.usual, all);
        let now = Tally::new(count, others.total);
        let above = judge && now.is_above(usual, others, p);
        let share = usual.rate();
        // What is out of line is not learnt: the client is taken to have asked as usual.
        let learnt = if above { share * others.total } else { count };
        client.usual = client.usual * keep + learnt;
        client.at = windows.saturating_add(1);
        match client.run.step(if above { Side::Above } else { Side::Inside }) {
            Step::Quiet => client.outside = Tally::default(),
            Step::Easing => {}
            Step::Began => client.outside = now,
            Step::Grew => client.outside = client.outside.plus(now),
        }
        if client.run.length() >= p.relearn_after {
            client.usual = client.outside.rate() * (all * keep + others.total);
            client.run = Run::default();
            client.outside = Tally::default();
        }
        let key = self.clients.key(place).clone();
        if !judge {
            return Judgement::warming_up(key, count);
        }
        let band = now.band(usual, others, p);
        let score = band.score(count);
        let anomaly = above.then(|| self.anomaly(&key, window, (now, usual), others, band));
        Judgement { key, value: count, band: Some(band), score, outside: above, anomaly }
    }

    /// The anomaly of a client that had `now` where `usual` was usual.
    fn anomaly(
        &self,
        key: &Arc<str>,
        window: &WindowSlice<'_>,
        (now, usual): (Tally, Tally),
        others: &Others,
        edges: Band,
    ) -> Anomaly {
        let count = now.events;
        let score = edges.score(count);
        let reason = format!(
            "{}{} {} {}, {} of all, expected at most {} (usual share {}, median of {} clients {})",
            self.parameters.measure,
            of(key),
            number(count),
            in_window(window.start, window.end),
            per_cent(now.rate()),
            number(edges.upper),
            per_cent(usual.rate()),
            window.series.len(),
            number(others.median),
        );
        Anomaly {
            detector: self.name.clone(),
            kind: Parameters::KIND,
            key: key.clone(),
            window_start: window.start,
            window_end: window.end,
            value: count,
            expected: edges.expected,
            lower: edges.lower,
            upper: edges.upper,
            score,
            severity: self.grading.severity(score),
            reason,
        }
    }
}

/// The judgement of a client's share of a window.
trait Share {
    fn practical(&self, usual: Tally, others: &Others, p: &Parameters) -> f64;
    fn is_above(&self, usual: Tally, others: &Others, p: &Parameters) -> bool;
    fn band(&self, usual: Tally, others: &Others, p: &Parameters) -> Band;
}

impl Share for Tally {
    /// The count above which it matters.
    fn practical(&self, usual: Tally, others: &Others, p: &Parameters) -> f64 {
        let all = self.trials;
        (usual.rate() * p.min_ratio * all).max(p.min_share * all).max(p.min_count).max(others.far)
    }

    fn is_above(&self, usual: Tally, others: &Others, p: &Parameters) -> bool {
        if self.events <= self.practical(usual, others, p) {
            return false;
        }
        let thinner = 1.0 / p.burst;
        deviance(self.scaled(thinner), usual.scaled(thinner)) > p.threshold * p.threshold
    }

    /// In requests of the client.
    fn band(&self, usual: Tally, others: &Others, p: &Parameters) -> Band {
        let thinner = 1.0 / p.burst;
        let (lower, upper) = band(usual.scaled(thinner), self.trials * thinner, p.threshold);
        Band {
            expected: usual.rate() * self.trials,
            lower: lower * self.trials,
            upper: (upper * self.trials).max(self.practical(usual, others, p)),
        }
    }
}

impl Detector for ClientShare {
    fn kind(&self) -> &'static str {
        Parameters::KIND
    }

    fn judge(&mut self, window: &WindowSlice<'_>) -> Vec<Judgement> {
        if self.last.is_some_and(|last| window.start <= last) {
            self.ignored += window.series.len() as u64;
            return Vec::new();
        }
        self.last = Some(window.start);
        // A client with 0 requests is no client of this window, but nothing is wrong with it.
        let usable = |value: f64| (0.0..MAX_VALUE).contains(&value);
        let clients: Vec<&SeriesValue> =
            window.series.iter().filter(|i| usable(i.value) && i.value > 0.0).collect();
        self.ignored += window.series.iter().filter(|i| !usable(i.value)).count() as u64;
        if clients.is_empty() {
            return Vec::new();
        }
        let others = self.others(&clients);
        let watched = self.parameters.min_share * WATCHED;
        let judge = self.windows >= self.parameters.warm_up as u64
            && clients.len() >= self.parameters.min_clients;
        // A new client is taken to have had just too small a share to be watched until now.
        let unknown = Client {
            usual: watched * self.total,
            at: self.windows,
            run: Run::default(),
            outside: Tally::default(),
        };
        let large: Vec<(&SeriesValue, bool)> = clients
            .iter()
            .map(|client| (*client, client.value >= watched * others.total))
            .collect();
        let mut places: Vec<Option<u32>> =
            large.iter().map(|(client, _)| self.clients.touch(&client.key, window.start)).collect();
        for (place, (client, large)) in places.iter_mut().zip(&large) {
            if place.is_none() && *large {
                *place =
                    self.clients.touch_or_insert(&client.key, window.start, || unknown.clone());
            }
        }
        let found = clients
            .iter()
            .zip(places)
            .filter_map(|(client, place)| {
                Some(self.take(place?, window, client.value, &others, judge))
            })
            .collect();
        self.total = self.total * (1.0 - self.parameters.smoothing) + others.total;
        self.windows = self.windows.saturating_add(1);
        found
    }

    fn snapshot(&self) -> Result<Vec<u8>, DetectorError> {
        let mut out = Writer::new(Parameters::KIND);
        out.time(self.last);
        out.varint(self.windows);
        out.f64(self.total);
        self.clients.write(&mut out);
        Ok(out.finish())
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), DetectorError> {
        let mut input = Reader::new(Parameters::KIND, bytes)?;
        let last = input.time()?;
        let windows = input.varint()?;
        let total = input.f64()?;
        let clients = SeriesMap::read(self.parameters.max_series, &mut input)?;
        input.finish()?;
        (self.last, self.windows, self.total, self.clients) = (last, windows, total, clients);
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
