//! When requests arrive, and which anomalies they are part of.
//!
//! Arrivals are a Poisson process whose rate is constant within a slot of at most a minute: the
//! hour of the day sets it, and scripted spikes add to it. Everything here is microseconds since
//! the start of the log.

use super::catalogue::{ENDPOINTS, HOURS};
use super::script::{AnomalyKind, Script};

const SLOT_US: i64 = 60_000_000;
const HOUR_US: i64 = 3_600_000_000;
const DAY_US: i64 = 24 * HOUR_US;

/// Requests that an anomaly adds to the usual traffic while it lasts.
#[derive(Clone, Debug)]
pub(super) struct Surplus {
    /// How many, as a multiple of the usual traffic of all endpoints.
    pub factor: f64,
    /// When the anomaly began: no request of it may carry an earlier time.
    pub start: i64,
    /// The endpoint they all ask for.
    pub endpoint: Option<usize>,
    /// The client that makes them all.
    pub client: Option<String>,
}

/// A change to the requests of one endpoint (or of all) whose event time is in `start..end`.
#[derive(Clone, Debug)]
pub(super) struct Effect {
    pub start: i64,
    pub end: i64,
    pub endpoint: Option<usize>,
    pub change: Change,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Change {
    /// Requests with a 32-bit draw below this fail.
    Fail(u64),
    /// Response times are multiplied by this.
    Slow(f64),
}

impl Effect {
    #[inline]
    pub fn applies(&self, at: i64, endpoint: usize) -> bool {
        self.start <= at && at < self.end && self.endpoint.is_none_or(|only| only == endpoint)
    }
}

/// The clock of the arrivals.
pub(super) struct Traffic {
    script: Script,
    /// Microseconds of the day at which the log starts.
    day_offset: i64,
    /// Usual requests per microsecond.
    base_rate: f64,
    /// How much of the hours' difference shows, 0 to 1.
    diurnal: f64,
    /// How far event time can lag arrival: effects stay that much longer.
    max_lag: i64,

    clock: f64,
    slot_end: f64,
    rate: f64,
    pub surpluses: Vec<Surplus>,
    /// Sum of the surpluses' factors.
    pub surplus: f64,
    pub effects: Vec<Effect>,
}

impl Traffic {
    /// `start` is the log's first instant in microseconds since the Unix epoch, `rate` the usual
    /// requests per second.
    pub fn new(script: Script, start: i64, rate: f64, diurnal: f64, max_lag: i64) -> Self {
        let mut traffic = Self {
            script,
            day_offset: start.rem_euclid(DAY_US),
            base_rate: rate / 1e6,
            diurnal,
            max_lag,
            clock: 0.0,
            slot_end: 0.0,
            rate: 0.0,
            surpluses: Vec::new(),
            surplus: 0.0,
            effects: Vec::new(),
        };
        traffic.enter_slot(0);
        traffic
    }

    /// Moves on to the next arrival; `wait` is a draw of the exponential distribution of mean 1.
    ///
    /// Such a wait, spent at the current rate, carries over into the next slot in units of the
    /// next slot's rate: the time change of an inhomogeneous Poisson process.
    #[inline]
    pub fn advance(&mut self, wait: f64) -> f64 {
        let next = self.clock + wait / self.rate;
        if next < self.slot_end {
            self.clock = next;
            return next;
        }
        self.advance_across(wait)
    }

    #[cold]
    fn advance_across(&mut self, wait: f64) -> f64 {
        let mut wait = wait;
        loop {
            let next = self.clock + wait / self.rate;
            if next < self.slot_end {
                self.clock = next;
                return next;
            }
            wait -= (self.slot_end - self.clock) * self.rate;
            wait = wait.max(0.0);
            self.clock = self.slot_end;
            self.enter_slot(self.slot_end as i64);
        }
    }

    /// Leaves out what would have arrived before `to`.
    pub fn skip_to(&mut self, to: f64) {
        if to > self.clock {
            self.clock = to;
            self.enter_slot(to as i64);
        }
    }

    fn enter_slot(&mut self, at: i64) {
        let next_minute = (at.div_euclid(SLOT_US) + 1).saturating_mul(SLOT_US);
        let end = next_minute.min(self.script.next_boundary(at));
        self.slot_end = end as f64;
        self.surpluses.clear();
        self.effects.clear();
        for anomaly in self.script.anomalies() {
            let endpoint = anomaly
                .endpoint
                .as_deref()
                .and_then(|path| ENDPOINTS.iter().position(|known| known.path == path));
            let surplus = |start, factor, client| Surplus { factor, start, endpoint, client };
            let effect = |start, end, change| Effect { start, end, endpoint, change };
            for (start, stop) in self.script.occurrences(anomaly, at - self.max_lag, end) {
                let now = start <= at && at < stop;
                match anomaly.kind {
                    AnomalyKind::TrafficSpike if now => {
                        let share =
                            endpoint.map_or(1.0, |e| f64::from(ENDPOINTS[e].weight) / 1000.0);
                        let factor = share * (anomaly.magnitude - 1.0);
                        self.surpluses.push(surplus(start, factor, None));
                    }
                    AnomalyKind::AbusiveIp if now => {
                        let factor = anomaly.magnitude / (1.0 - anomaly.magnitude);
                        self.surpluses.push(surplus(start, factor, Some(anomaly.key())));
                    }
                    AnomalyKind::TrafficSpike | AnomalyKind::AbusiveIp => {}
                    AnomalyKind::ErrorBurst => {
                        let threshold = (anomaly.magnitude * 4_294_967_296.0) as u64;
                        self.effects.push(effect(start, stop, Change::Fail(threshold)));
                    }
                    AnomalyKind::SlowDown => {
                        self.effects.push(effect(start, stop, Change::Slow(anomaly.magnitude)));
                    }
                }
            }
        }
        self.surplus = self.surpluses.iter().map(|s| s.factor).sum();
        self.rate = self.base_rate * self.hour_factor(at) * (1.0 + self.surplus);
    }

    /// The traffic at `at` relative to the day's mean: the hours' values hold at half past, and
    /// in between there is a straight line.
    fn hour_factor(&self, at: i64) -> f64 {
        let of_day = (self.day_offset + at + SLOT_US / 2 + DAY_US - HOUR_US / 2).rem_euclid(DAY_US);
        let hour = (of_day / HOUR_US) as usize;
        let within = (of_day % HOUR_US) as f64 / HOUR_US as f64;
        let (from, to) = (HOURS[hour % 24], HOURS[(hour + 1) % 24]);
        1.0 + self.diurnal * (from + (to - from) * within - 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::rng::Rng;
    use super::super::tables::Tables;
    use super::*;

    fn arrivals(traffic: &mut Traffic, until: f64) -> Vec<f64> {
        let tables = Tables::get();
        let mut rng = Rng::new(5, 0);
        std::iter::from_fn(|| Some(traffic.advance(tables.wait(rng.next()))))
            .take_while(|at| *at < until)
            .collect()
    }

    #[test]
    fn the_rate_is_the_rate() {
        let mut traffic = Traffic::new(Script::none(), 0, 100.0, 0.0, 0);
        let count = arrivals(&mut traffic, 1e9).len() as f64;
        assert!((count / 100_000.0 - 1.0).abs() < 0.015, "{count}");
    }

    #[test]
    fn the_day_has_its_hours_and_keeps_its_mean() {
        let mut traffic = Traffic::new(Script::none(), 0, 10.0, 1.0, 0);
        let all = arrivals(&mut traffic, DAY_US as f64);
        assert!((all.len() as f64 / 864_000.0 - 1.0).abs() < 0.01, "{}", all.len());
        let of_hour =
            |hour: i64| all.iter().filter(|at| **at as i64 / HOUR_US == hour).count() as f64;
        assert!((of_hour(3) / 36_000.0 - HOURS[3]).abs() < 0.05);
        assert!((of_hour(20) / 36_000.0 - HOURS[20]).abs() < 0.05);
    }

    #[test]
    fn a_spike_is_exact_at_its_edges_even_at_a_low_rate() {
        let script = Script::parse(
            "[[anomaly]]\nkind='traffic_spike'\nat='100s'\nduration='50s'\nmagnitude=40\n",
        )
        .expect("a valid script");
        let mut traffic = Traffic::new(script, 0, 1.0, 0.0, 0);
        let all = arrivals(&mut traffic, 300e6);
        let within = |from: f64, to: f64| {
            all.iter().filter(|at| (from * 1e6..to * 1e6).contains(at)).count()
        };
        assert!((1800..2200).contains(&within(100.0, 150.0)), "{}", within(100.0, 150.0));
        assert!(within(0.0, 100.0) < 150 && within(150.0, 300.0) < 200);
    }

    #[test]
    fn skipping_leaves_a_gap() {
        let mut traffic = Traffic::new(Script::hourly(), 0, 1000.0, 0.0, 0);
        traffic.advance(1.0);
        traffic.skip_to(11.5 * 60e6);
        assert_eq!(traffic.surpluses.len(), 1, "in the spike now");
        assert!(traffic.advance(1.0) >= 11.5 * 60e6);
    }
}
