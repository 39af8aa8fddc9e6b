//! The detectors on the traffic of the web log generator, as the demo has it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Deserialize;

use super::super::{EventKind, OwnedWindow, Policy, SeriesValue, Watch};
use super::spec;
use crate::weblog::{
    AnomalyKind, DEFAULT_START, Generator, GeneratorOptions, Rate, Script, TrueAnomaly, records,
};

const MINUTE: i64 = 60_000_000;

#[derive(Deserialize)]
struct Record<'a> {
    timestamp: chrono::DateTime<chrono::Utc>,
    ip: &'a str,
    endpoint: &'a str,
    status_code: u16,
    response_time: f64,
}

/// One endpoint in one window.
#[derive(Default)]
struct Endpoint {
    times: Vec<f64>,
    errors: f64,
    failures: f64,
}

#[derive(Default)]
struct Window {
    endpoints: BTreeMap<String, Endpoint>,
    clients: HashMap<String, f64>,
    /// Endpoints of each client.
    touched: HashMap<String, BTreeSet<String>>,
}

/// The log's windows by their starts, and what was wrong when.
fn windows(
    options: GeneratorOptions,
    span: i64,
    length: i64,
) -> (BTreeMap<i64, Window>, Vec<TrueAnomaly>) {
    let until = options.start + span;
    let from = options.start;
    let mut generator = Generator::new(options).unwrap();
    let mut windows = BTreeMap::<i64, Window>::new();
    let (mut buffer, mut ends) = (Vec::new(), Vec::new());
    while generator.fill_until(&mut buffer, &mut ends, until, 10_000) > 0 {
        for record in records(&buffer, &ends) {
            // Broken ones are the decoder's to refuse.
            let Ok(record) = serde_json::from_slice::<Record>(record) else { continue };
            let at = record.timestamp.timestamp_micros();
            if at < from {
                continue;
            }
            let window = windows.entry(at - at.rem_euclid(length)).or_default();
            if !window.endpoints.contains_key(record.endpoint) {
                window.endpoints.insert(record.endpoint.to_owned(), Endpoint::default());
            }
            if let Some(endpoint) = window.endpoints.get_mut(record.endpoint) {
                endpoint.times.push(record.response_time);
                endpoint.errors += f64::from(u8::from(record.status_code >= 400));
                endpoint.failures += f64::from(u8::from(record.status_code >= 500));
            }
            let touched = window.touched.entry(record.ip.to_owned()).or_default();
            touched.insert(record.endpoint.to_owned());
            match window.clients.get_mut(record.ip) {
                Some(count) => *count += 1.0,
                None => {
                    window.clients.insert(record.ip.to_owned(), 1.0);
                }
            }
        }
        buffer.clear();
        ends.clear();
    }
    (windows, generator.ground_truth())
}

/// A detector and what it looks at in a window.
type View = (&'static str, &'static str, fn(&mut Window) -> Vec<SeriesValue>);

fn by_endpoint(window: &mut Window, of: fn(&mut Endpoint) -> f64) -> Vec<SeriesValue> {
    window
        .endpoints
        .iter_mut()
        .map(|(key, endpoint)| SeriesValue {
            key: key.as_str().into(),
            value: of(endpoint),
            weight: endpoint.times.len() as f64,
        })
        .collect()
}

fn percentile(endpoint: &mut Endpoint) -> f64 {
    endpoint.times.sort_by(f64::total_cmp);
    endpoint.times[(endpoint.times.len() * 95 / 100).min(endpoint.times.len() - 1)]
}

fn by_client(window: &mut Window) -> Vec<SeriesValue> {
    let clients: BTreeMap<&String, &f64> = window.clients.iter().collect();
    clients
        .into_iter()
        .map(|(ip, count)| SeriesValue { key: ip.as_str().into(), value: *count, weight: 1.0 })
        .collect()
}

fn total(window: &mut Window) -> Vec<SeriesValue> {
    let total: usize = window.endpoints.values().map(|e| e.times.len()).sum();
    vec![SeriesValue { key: "".into(), value: total as f64, weight: 1.0 }]
}

const VIEWS: &[View] = &[
    ("traffic_spike", "count", |w| by_endpoint(w, |e| e.times.len() as f64)),
    ("error_rate", ">= 400", |w| by_endpoint(w, |e| e.errors / e.times.len() as f64)),
    ("error_rate", ">= 500", |w| by_endpoint(w, |e| e.failures / e.times.len() as f64)),
    ("response_time", "mean", |w| {
        by_endpoint(w, |e| e.times.iter().sum::<f64>() / e.times.len() as f64)
    }),
    ("response_time", "p95", |w| by_endpoint(w, percentile)),
    ("client_share", "count", by_client),
    ("client_entropy", "count", by_client),
    ("new_keys", "count", by_client),
    ("scan", "endpoints", |w| {
        let touched: BTreeMap<&String, usize> =
            w.touched.iter().map(|(ip, endpoints)| (ip, endpoints.len())).collect();
        let value = |(ip, n): (&String, usize)| SeriesValue {
            key: ip.as_str().into(),
            value: n as f64,
            weight: 1.0,
        };
        touched.into_iter().map(value).collect()
    }),
    ("ratio_to_mean", "total", total),
    ("ewma", "total", total),
    ("median_mad", "total", total),
];

/// The end of an anomaly is a change of level too.
const STEADY: &[View] = &[("level_change", "total", total)];

/// Whether a kind of detector has to find an anomaly.
fn finds(kind: &str, anomaly: AnomalyKind) -> bool {
    match anomaly {
        AnomalyKind::TrafficSpike => kind == "traffic_spike",
        AnomalyKind::ErrorBurst => kind == "error_rate",
        AnomalyKind::SlowDown => kind == "response_time",
        AnomalyKind::AbusiveIp => kind == "client_share",
    }
}

/// Runs these views and gives (alerts outside every anomaly, anomalies not found in two windows).
fn run(
    views: &[View],
    options: GeneratorOptions,
    span: i64,
    length: i64,
) -> (Vec<String>, Vec<String>) {
    let (mut windows, truth) = windows(options, span, length);
    // Some of its events would have come later.
    windows.pop_last();
    let (mut wrong, mut missed) = (Vec::new(), Vec::new());
    for (kind, what, view) in views {
        let policy = Policy::default();
        let mut watch = Watch::new(kind, &spec(kind, ""), policy, length, usize::MAX).unwrap();
        let mut found = BTreeSet::new();
        for (start, window) in &mut windows {
            let series = view(window);
            let end = start + length;
            for a in watch.take(&OwnedWindow { start: *start, end, series }).events {
                // An anomaly is told once, not in each of its windows.
                if a.event != EventKind::Opened {
                    continue;
                }
                found.insert((*start, a.key.to_string()));
                // What goes wrong in one place is seen in others, so only the time counts.
                if !truth.iter().any(|t| t.start < end && *start < t.end) {
                    wrong.push(format!(
                        "{kind} of {what} at {}: {}",
                        (*start - DEFAULT_START) / length,
                        a.reason
                    ));
                }
            }
        }
        for t in truth.iter().filter(|t| finds(kind, t.kind)) {
            let first = t.start - t.start.rem_euclid(length);
            let seen = found.iter().any(|(start, key)| {
                (first..=first + length).contains(start) && (t.key == "all" || *key == t.key)
            });
            if !seen {
                missed.push(format!("{kind} of {what}: {:?} of {}", t.kind, t.key));
            }
        }
    }
    (wrong, missed)
}

fn options(seed: u64, rate: f64, script: Script) -> GeneratorOptions {
    let rate = Rate::PerEventSecond(rate);
    GeneratorOptions {
        seed,
        start: DEFAULT_START,
        rate,
        diurnal: 1.0,
        script,
        ..Default::default()
    }
}

#[test]
fn an_hour_of_normal_traffic_has_no_false_alert() {
    let views = [VIEWS, STEADY].concat();
    let seeds = [(1, 300.0, MINUTE), (2, 100.0, MINUTE), (3, 200.0, MINUTE / 6)];
    for (seed, rate, length) in
        seeds.into_iter().chain([(17, 60.0, MINUTE), (29, 60.0, MINUTE / 2)])
    {
        let (wrong, _) = run(&views, options(seed, rate, Script::none()), 60 * MINUTE, length);
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}

#[test]
fn what_is_on_the_script_is_found_within_two_windows() {
    for (seed, script, span, length) in [
        (4, Script::demo(), 30 * MINUTE, MINUTE / 6),
        (4, Script::demo(), 30 * MINUTE, MINUTE / 2),
        (4, Script::hourly(), 60 * MINUTE, MINUTE),
        (11, Script::demo(), 30 * MINUTE, MINUTE / 2),
        (23, Script::demo(), 30 * MINUTE, MINUTE / 2),
    ] {
        let (wrong, missed) = run(VIEWS, options(seed, 300.0, script), span, length);
        assert!(missed.is_empty(), "seed {seed}, windows of {length}: {missed:#?}");
        assert!(wrong.is_empty(), "seed {seed}, windows of {length}: {wrong:#?}");
    }
}
