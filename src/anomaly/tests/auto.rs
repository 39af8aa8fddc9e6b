//! The default ensemble on series made up for it, of the sorts that it is for: windows of five
//! minutes for two weeks, one thing wrong on the eleventh day.

use super::super::{Anomaly, SeriesValue, WindowSlice, build};
use super::random::Random;
use super::{spec, value};

const FIVE_MINUTES: i64 = 300_000_000;
const DAY: usize = 288;
const WINDOWS: usize = 14 * DAY;
/// Where the thing is wrong.
const WHEN: usize = 10 * DAY + 100;

/// A day's curve, between 0 and 1.
fn hour(window: usize) -> f64 {
    0.5 - 0.5 * (window as f64 / DAY as f64 * std::f64::consts::TAU).cos()
}

fn run(kind: &str, parameters: &str, values: &[f64]) -> Vec<(usize, Anomaly)> {
    let mut detector = build("d", &spec(kind, parameters));
    let mut found = Vec::new();
    for (at, of) in values.iter().enumerate() {
        let start = at as i64 * FIVE_MINUTES;
        let series: [SeriesValue; 1] = [value("/a", *of, 1.0)];
        let window = WindowSlice { start, end: start + FIVE_MINUTES, series: &series };
        found.extend(detector.observe(&window).into_iter().map(|anomaly| (at, anomaly)));
    }
    found
}

fn series(seed: u64, of: impl Fn(usize, &mut Random) -> f64) -> Vec<f64> {
    let mut random = Random::new(seed);
    (0..WINDOWS).map(|window| of(window, &mut random)).collect()
}

/// Finds the thing within an hour, and alerts otherwise no more than on two days in seven: the
/// largest of so much plain noise is new a few times, most of them on the first days.
fn finds(name: &str, values: &[f64]) {
    let found = run("auto", "", values);
    let hits = found.iter().filter(|(at, _)| (WHEN..WHEN + 12).contains(at)).count();
    let wrong = found.iter().filter(|(at, _)| !(WHEN..WHEN + DAY).contains(at)).count();
    let places: Vec<usize> = found.iter().map(|(at, _)| *at).collect();
    assert_eq!(hits, 1, "{name}: alerts at {places:?}, expected one from {WHEN} on");
    assert!(wrong <= WINDOWS / DAY * 2 / 7, "{name}: alerts at {places:?}");
}

#[test]
fn it_finds_what_is_wrong_in_all_sorts_of_series() {
    let within = |window: usize, length: usize| (WHEN..WHEN + length).contains(&window);
    for seed in 1..=3 {
        finds(
            "a spike on a daily curve",
            &series(seed, |w, r| {
                200.0 + 800.0 * hour(w) + 20.0 * r.normal() + if within(w, 2) { 700.0 } else { 0.0 }
            }),
        );
        finds(
            "an outage",
            &series(seed, |w, r| {
                if within(w, 20) { 0.0 } else { 300.0 + 500.0 * hour(w) + 15.0 * r.normal() }
            }),
        );
        finds(
            "a level that lasts",
            &series(seed, |w, r| 50.0 + 2.0 * r.normal() + if w >= WHEN { 15.0 } else { 0.0 }),
        );
        finds(
            "a first move of a flat line",
            &series(seed, |w, _| if within(w, 3) { 1.0 } else { 0.0 }),
        );
        finds(
            "a peak at noon that is missing at midnight's height",
            &series(seed, |w, r| {
                let jump = if within(w, 4) { 450.0 } else { 0.0 };
                100.0 + 1_000.0 * hour(w) + 10.0 * r.normal() - jump
            }),
        );
    }
}

#[test]
fn a_flat_line_and_rounding_are_no_news() {
    assert!(run("auto", "", &[5.0; 2_000]).is_empty());
    let rounded: Vec<f64> = (0..2_000).map(|i| if i % 7 == 3 { 0.1 + 0.2 } else { 0.3 }).collect();
    assert!(run("auto", "", &rounded).is_empty());
}

#[test]
fn a_lasting_incident_is_one_alert_and_says_when_it_is_over() {
    let values = series(4, |w, r| {
        let up = if (WHEN..WHEN + 30).contains(&w) { 80.0 } else { 0.0 };
        50.0 + 2.0 * r.normal() + up
    });
    let mut detector = build("d", &spec("auto", "unit = \"ms\"\nmeasure = \"latency\""));
    let (mut raised, mut outside) = (Vec::new(), Vec::new());
    for (at, of) in values.iter().enumerate() {
        let start = at as i64 * FIVE_MINUTES;
        let series = [value("/a", *of, 1.0)];
        let window = WindowSlice { start, end: start + FIVE_MINUTES, series: &series };
        let judged = detector.judge(&window);
        if (WHEN..WHEN + DAY / 4).contains(&at) {
            raised.extend(judged[0].anomaly.clone().map(|anomaly| (at, anomaly)));
            if judged[0].outside {
                outside.push(at);
            }
        }
    }
    let [(at, anomaly)] = &raised[..] else { panic!("{raised:?}") };
    assert_eq!(*at, WHEN);
    assert!(anomaly.score > 0.5 && anomaly.value > anomaly.upper, "{anomaly:?}");
    assert!(anomaly.reason.starts_with("latency of /a 1"), "{}", anomaly.reason);
    assert!(anomaly.reason.contains(" ms in 5 minutes, unlike the "), "{}", anomaly.reason);
    assert!(outside.len() >= 3 && outside.iter().all(|at| *at < WHEN + 40), "{outside:?}");
}

#[test]
fn a_threshold_of_half_finds_more() {
    let values = series(6, |w, r| 100.0 + 10.0 * r.gamma(2.0) + 30.0 * hour(w));
    let alerts = |threshold: &str| run("auto", threshold, &values).len();
    let (few, many) = (alerts("threshold = 0.01"), alerts("threshold = 0.0005"));
    assert!(few < many, "{few} and {many}");
    // Not more than one in 12 hours, whatever the threshold, but for those three times as far.
    assert!(many <= 40, "{many}");
}
