//! Long normal traffic, and anomalies in it: what the defaults find, and what they leave alone.
//!
//! Every test runs 10,000 windows for each seed and setting, so that its bound on false alerts is
//! about rates that a user would meet, not about one lucky run. Anomalies are injected every 200
//! windows, for 6 windows, and must be found in the first or the second.

use std::sync::Arc;

use super::super::{DetectorSpec, SeriesValue, build};
use super::random::{Random, Zipf};
use super::{observe, spec, value};

const WINDOWS: i64 = 10_000;
const EVERY: i64 = 200;
const LENGTH: i64 = 6;

#[derive(Default)]
struct Outcome {
    /// Alerts of a series in a window where nothing was wrong with it.
    false_alerts: u64,
    /// Values of series.
    judged: u64,
    /// Anomalies, one a series.
    injected: u64,
    /// Anomalies not found in their first two windows.
    missed: u64,
    /// One of the false alerts, in words.
    example: String,
}

impl Outcome {
    fn add(&mut self, other: Outcome) {
        self.false_alerts += other.false_alerts;
        self.judged += other.judged;
        self.injected += other.injected;
        self.missed += other.missed;
        if !other.example.is_empty() {
            self.example = other.example;
        }
    }

    /// At most so many false alerts in a million values, and so many of the anomalies missed.
    fn assert(&self, name: &str, false_per_million: f64, missed: f64) {
        println!(
            "{name}: {} false alerts in {} values, {} of {} anomalies missed; {}",
            self.false_alerts, self.judged, self.missed, self.injected, self.example
        );
        let rate = self.false_alerts as f64 / self.judged as f64 * 1e6;
        assert!(rate <= false_per_million, "{name}: {rate} false alerts a million");
        assert!(self.missed as f64 <= missed * self.injected as f64, "{name}: {}", self.missed);
    }
}

/// Runs a detector. `draw(random, window, anomalous)` gives the window's series, and the keys
/// that are out of line, if it is to be anomalous.
fn simulate(
    spec: &DetectorSpec,
    seed: u64,
    mut draw: impl FnMut(&mut Random, i64, bool) -> (Vec<SeriesValue>, Vec<Arc<str>>),
) -> Outcome {
    let mut random = Random::new(seed);
    let mut detector = build("test", spec);
    let mut outcome = Outcome::default();
    let mut open: Vec<Arc<str>> = Vec::new();
    for window in 0..WINDOWS {
        let into = window % EVERY - (EVERY - LENGTH);
        let (series, bad) = draw(&mut random, window, into >= 0);
        outcome.judged += series.len() as u64;
        let found = observe(&mut *detector, window, &series);
        if into == 0 {
            outcome.injected += bad.len() as u64;
            open.clone_from(&bad);
        }
        open.retain(|key| !found.iter().any(|a| a.key == *key));
        if into == 1 {
            outcome.missed += open.drain(..).count() as u64;
        }
        for anomaly in found.iter().filter(|a| !bad.contains(&a.key)) {
            outcome.false_alerts += 1;
            outcome.example = format!("window {window}: {}", anomaly.reason);
        }
    }
    outcome
}

/// ±30 % over a day of `day` windows.
fn daily(window: i64, day: i64) -> f64 {
    1.0 + 0.3 * (std::f64::consts::TAU * window as f64 / day as f64).sin()
}

/// One series, "/a".
fn one(of: f64, weight: f64, anomalous: bool) -> (Vec<SeriesValue>, Vec<Arc<str>>) {
    (vec![value("/a", of, weight)], if anomalous { vec!["/a".into()] } else { vec![] })
}

/// Poisson counts whose mean varies besides by `spread` (gamma, relative).
fn traffic(day: i64, spread: f64, mean: f64, factor: f64, parameters: &str) -> Outcome {
    let spec = spec("traffic_spike", parameters);
    let mut all = Outcome::default();
    for seed in 0..3 {
        all.add(simulate(&spec, seed, |random, window, anomalous| {
            let mut mean = mean * daily(window, day);
            if spread > 0.0 {
                let shape = 1.0 / (spread * spread);
                mean *= random.gamma(shape) / shape;
            }
            let factor = if anomalous { factor } else { 1.0 };
            one(random.poisson(mean * factor), 1.0, anomalous)
        }));
    }
    all
}

#[test]
fn traffic_spikes_are_found_and_normal_traffic_is_left_alone() {
    // A day of 60 windows is what a demo that compresses time makes of it.
    for day in [60, 1440, 8640] {
        let mut all = Outcome::default();
        for spread in [0.0, 0.1, 0.2] {
            for mean in [30.0, 100.0, 1e3, 1e4, 1e5] {
                all.add(traffic(day, spread, mean, 5.0, ""));
            }
        }
        all.assert(&format!("spikes of 5 times, day of {day}"), 5.0, 0.01);
    }
    // Five times five requests is within what chance does in 10,000 windows; eight times is not.
    let mut all = Outcome::default();
    for mean in [5.0, 10.0] {
        all.add(traffic(1440, 0.1, mean, 8.0, ""));
    }
    all.assert("spikes of 8 times on small counts", 5.0, 0.02);
}

#[test]
fn drops_are_found_where_they_are_asked_for() {
    let mut all = Outcome::default();
    for spread in [0.0, 0.1] {
        for mean in [100.0, 1e4] {
            all.add(traffic(1440, spread, mean, 0.1, "direction = \"both\""));
        }
    }
    all.assert("drops to a tenth", 5.0, 0.01);
}

#[test]
fn error_bursts_are_found_and_small_samples_are_left_alone() {
    for (requests, missed) in
        // With 5 or 10 requests a window, no rule can tell a burst in two: only no false alarm.
        [(5.0, 1.0), (10.0, 1.0), (50.0, 0.02), (200.0, 0.0), (1000.0, 0.0), (1e5, 0.0)]
    {
        for rate in [0.0, 0.001, 0.01] {
            let spec = spec("error_rate", "");
            let mut all = Outcome::default();
            for seed in 0..5 {
                all.add(simulate(&spec, seed, |random, window, anomalous| {
                    let n = random.poisson(requests * daily(window, 1440)).max(1.0);
                    let errors = random.binomial(n, if anomalous { 0.3 } else { rate });
                    one(errors / n, n, anomalous)
                }));
            }
            all.assert(&format!("errors {rate} of {requests} requests"), 25.0, missed);
        }
    }
}

#[test]
fn a_rate_that_varies_by_itself_is_learnt() {
    let spec = spec("error_rate", "min_change = 0.0");
    let mut all = Outcome::default();
    for seed in 0..5 {
        all.add(simulate(&spec, seed, |random, _, anomalous| {
            // 1 % give or take a third of it, of so many requests that the binomial part is small.
            let rate = 0.01 * random.gamma(10.0) / 10.0;
            let errors = random.binomial(20_000.0, if anomalous { 0.3 } else { rate });
            one(errors / 20_000.0, 20_000.0, anomalous)
        }));
    }
    all.assert("errors that come in bunches", 100.0, 0.0);
}

/// The percentile `rank` of so many lognormal response times of spread `sigma`.
fn times(sigma: f64, requests: f64, rank: f64) -> Outcome {
    let spec = spec("response_time", "");
    let mut all = Outcome::default();
    for seed in 0..3 {
        all.add(simulate(&spec, seed, |random, window, anomalous| {
            let n = random.poisson(requests * daily(window, 1440)).max(1.0);
            let factor = if anomalous { 5.0 } else { daily(window, 1440).sqrt() };
            let mut times: Vec<f64> =
                (0..n as usize).map(|_| random.lognormal(80.0 * factor, sigma)).collect();
            times.sort_by(f64::total_cmp);
            let at = ((times.len() as f64 * rank) as usize).min(times.len() - 1);
            one(times[at], n, anomalous)
        }));
    }
    all
}

#[test]
fn slow_downs_are_found_and_normal_times_are_left_alone() {
    for (sigma, requests, rank) in [
        (0.3, 20.0, 0.95),
        (0.3, 100.0, 0.95),
        (0.6, 20.0, 0.5),
        (0.6, 100.0, 0.5),
        (0.6, 100.0, 0.95),
        (1.0, 150.0, 0.5),
        (1.0, 150.0, 0.95),
    ] {
        let name = format!("times of spread {sigma}, {requests} requests, rank {rank}");
        times(sigma, requests, rank).assert(&name, 70.0, 0.02);
    }
    // One request in 20 decides the percentile of 5: no false alarm is all there is to ask for.
    times(0.6, 5.0, 0.95).assert("times of few requests", 70.0, 1.0);
}

/// 20,000 addresses by Zipf's law: the first has 14 % of all requests, the second 7 %.
fn clients(requests: f64, share: f64, seed: u64, zipf: &Zipf, keys: &[Arc<str>]) -> Outcome {
    let spec = spec("client_share", "");
    let mut counts = vec![0.0; keys.len()];
    simulate(&spec, seed, |random, window, anomalous| {
        let n = random.poisson(requests * daily(window, 1440));
        let mut seen = Vec::new();
        for _ in 0..n as usize {
            let rank = zipf.rank(random);
            if counts[rank] == 0.0 {
                seen.push(rank);
            }
            counts[rank] += 1.0;
        }
        let mut bad = Vec::new();
        if anomalous {
            // Half of the abusers are new, half have been ordinary clients before.
            let abuser = if (window / EVERY) % 2 == 0 {
                keys.len() - 1 - (window / EVERY) as usize
            } else {
                40 + (window / EVERY) as usize
            };
            if counts[abuser] == 0.0 {
                seen.push(abuser);
            }
            counts[abuser] += (n * share / (1.0 - share)).round();
            bad.push(keys[abuser].clone());
        }
        seen.sort_unstable();
        let take = |rank: &usize| {
            let count = std::mem::take(&mut counts[*rank]);
            SeriesValue { key: keys[*rank].clone(), value: count, weight: 1.0 }
        };
        (seen.iter().map(take).collect(), bad)
    })
}

#[test]
fn an_abusive_client_is_found_and_large_ones_are_left_alone() {
    let zipf = Zipf::new(20_000, 1.1);
    let keys: Vec<Arc<str>> =
        (0..20_000).map(|i| Arc::from(format!("10.0.{:03}.{:03}", i / 250, i % 250))).collect();
    let mut all = Outcome::default();
    for (seed, requests, share) in [(1, 300.0, 0.25), (2, 500.0, 0.2), (3, 1500.0, 0.2)] {
        all.add(clients(requests, share, seed, &zipf, &keys));
    }
    all.assert("one client in 20,000", 0.2, 0.0);
}

#[test]
fn three_times_the_mean_is_left_alone_by_counts_above_chance() {
    let mut all = Outcome::default();
    for scope in ["series", "all"] {
        let spec = spec("ratio_to_mean", &format!("scope = \"{scope}\""));
        for (seed, mean) in [(1, 50.0), (2, 1e3), (3, 1e5)] {
            all.add(simulate(&spec, seed, |random, window, anomalous| {
                let spread = random.gamma(25.0) / 25.0;
                let factor = if anomalous { 6.0 } else { 1.0 };
                one(random.poisson(mean * daily(window, 1440) * spread * factor), 1.0, anomalous)
            }));
        }
    }
    all.assert("ratio to the mean", 5.0, 0.02);
}
