//! Each kind finds what it is for, and nothing where nothing is.

use super::super::{Anomaly, Detector, SeriesValue, WindowSlice, build};
use super::random::Random;
use super::{observe, spec, value};

const HOUR: i64 = 3_600_000_000;

/// The windows (by number) in which anomalies of one series are raised.
fn places(kind: &str, parameters: &str, values: impl IntoIterator<Item = f64>) -> Vec<i64> {
    anomalies(kind, parameters, values).into_iter().map(|(at, _)| at).collect()
}

fn anomalies(
    kind: &str,
    parameters: &str,
    values: impl IntoIterator<Item = f64>,
) -> Vec<(i64, Anomaly)> {
    let mut detector = build("d", &spec(kind, parameters));
    let mut found = Vec::new();
    for (at, of) in (0..).zip(values) {
        let raised = observe(&mut *detector, at, &[value("/a", of, 1.0)]);
        found.extend(raised.into_iter().map(|anomaly| (at, anomaly)));
    }
    found
}

/// Noise around 100 with a deviation of 5, and what is put in its place.
fn noise(seed: u64, length: usize, put: &[(usize, f64)]) -> Vec<f64> {
    let mut random = Random::new(seed);
    let mut values: Vec<f64> = (0..length).map(|_| 100.0 + 5.0 * random.normal()).collect();
    for (at, of) in put {
        values[*at] = *of;
    }
    values
}

#[test]
fn static_thresholds_are_kept_to() {
    let values = [5.0, 9.0, 11.0, 9.0, 12.0, 13.0, 14.0, -3.0];
    assert_eq!(places("static_threshold", "upper = 10", values), [2, 4, 5, 6]);
    assert_eq!(places("static_threshold", "upper = 10\nwindows = 2", values), [5, 6]);
    assert_eq!(places("static_threshold", "lower = 0", values), [7]);
    assert_eq!(places("static_threshold", "lower = 0\nupper = 13.5", values), [6, 7]);
    let found =
        anomalies("static_threshold", "upper = 10\nmeasure = \"disk\"\nunit = \"%\"", values);
    assert_eq!(found[0].1.reason, "disk of /a 11 % in 10 seconds, expected 4 to 10 %",);
    // On the limit is within it.
    assert!(places("static_threshold", "upper = 10\nlower = 10", [10.0]).is_empty());
}

#[test]
fn a_heartbeat_that_stops_is_below_its_limit() {
    let mut detector = build("d", &spec("static_threshold", "lower = 1\nmissing = \"zero\""));
    assert!(observe(&mut *detector, 0, &[value("/a", 3.0, 1.0), value("/b", 3.0, 1.0)]).is_empty());
    let found = observe(&mut *detector, 1, &[value("/b", 3.0, 1.0)]);
    assert_eq!(found.iter().map(|a| &*a.key).collect::<Vec<_>>(), ["/a"]);
    assert_eq!(found[0].value, 0.0);
}

#[test]
fn ewma_and_median_find_spikes_and_drops_in_noise() {
    for kind in ["ewma", "median_mad"] {
        let values = noise(1, 2_000, &[(500, 160.0), (501, 165.0), (900, 30.0)]);
        assert_eq!(places(kind, "", values.clone()), [500, 501, 900], "{kind}");
        assert_eq!(places(kind, "direction = \"down\"", values.clone()), [900], "{kind}");
        assert!(places(kind, "min_change = 80", values).is_empty(), "{kind}");
        assert!(places(kind, "", [7.0; 200]).is_empty(), "{kind}");
        let mut flat = [7.0; 200];
        flat[150] = 7.5;
        assert_eq!(places(kind, "", flat), [150], "{kind}");
    }
}

#[test]
fn a_new_level_is_learnt() {
    for kind in ["ewma", "median_mad"] {
        let mut values = noise(2, 1_000, &[]);
        values[500..].iter_mut().for_each(|v| *v += 100.0);
        let found = places(kind, "", values);
        assert_eq!(found.first(), Some(&500), "{kind}");
        assert!(found.last() < Some(&600), "{kind}: {found:?}");
    }
}

#[test]
fn a_gap_is_found_in_between() {
    let mut random = Random::new(3);
    // Two levels, and once something in between, where a band has nothing to find.
    let mut level = |at: usize| {
        let low = (at / 50).is_multiple_of(2);
        random.normal() + if low { 10.0 } else { 90.0 }
    };
    let mut values: Vec<f64> = (0..1_000).map(&mut level).collect();
    values[700] = 50.0;
    let found = anomalies("novelty_gap", "threshold = 0.1", values);
    assert_eq!(found.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [700]);
    let anomaly = &found[0].1;
    assert!(anomaly.reason.contains("the nearest of the 700 windows before was"), "{anomaly:?}");
}

#[test]
fn quiet_after_an_alert_is_in_hours_of_event_time() {
    let mut detector = build("d", &spec("novelty_gap", "warm_up = 10\nquiet_hours = 2"));
    let mut see = |at: i64, of: f64| {
        let series = [value("/a", of, 1.0)];
        let start = at * HOUR / 4;
        let window = WindowSlice { start, end: start + HOUR / 4, series: &series };
        detector.observe(&window).len()
    };
    for at in 0..20 {
        assert_eq!(see(at, (at % 5) as f64), 0);
    }
    assert_eq!(see(20, 6.0), 1);
    assert_eq!(see(21, 9.0), 0);
    assert_eq!(see(27, 12.0), 0);
    assert_eq!(see(28, 16.0), 1);
}

#[test]
fn a_small_change_of_level_is_found_once_and_a_spike_is_none() {
    let mut values = noise(4, 1_500, &[(300, 300.0), (301, 280.0)]);
    values[1_000..].iter_mut().for_each(|v| *v += 15.0);
    let found = anomalies("level_change", "", values.clone());
    let [(at, anomaly)] = &found[..] else { panic!("{found:?}") };
    assert!((1_003..1_015).contains(at), "{at}");
    assert!(anomaly.reason.contains("windows around 11"), "{}", anomaly.reason);
    assert!(anomaly.reason.contains("after "), "{}", anomaly.reason);
    assert!(places("level_change", "min_change = 30", values.clone()).is_empty());
    assert!(places("level_change", "direction = \"down\"", values).is_empty());
}

/// Windows of ten minutes of a working day's traffic.
fn day_of_work(at: i64, random: &mut Random) -> f64 {
    let hour = (at / 6) % 24;
    let base = if (8..18).contains(&hour) { 1_000.0 } else { 100.0 };
    base * (1.0 + 0.05 * random.normal())
}

fn by_ten_minutes(
    detector: &mut dyn Detector,
    days: i64,
    put: impl Fn(i64) -> Option<f64>,
) -> Vec<i64> {
    let mut random = Random::new(5);
    let mut found = Vec::new();
    for at in 0..days * 144 {
        let normal = day_of_work(at, &mut random);
        let series = [value("/a", put(at).unwrap_or(normal), 1.0)];
        let start = at * HOUR / 6;
        let window = WindowSlice { start, end: start + HOUR / 6, series: &series };
        found.extend(detector.observe(&window).iter().map(|_| at));
    }
    found
}

#[test]
fn what_is_usual_by_day_is_found_at_night() {
    // Three in the morning and noon of the eleventh day.
    let (night, noon) = (10 * 144 + 18, 10 * 144 + 72);
    let put = |at: i64| match at {
        _ if at == night => Some(600.0),
        _ if at == noon => Some(300.0),
        _ => None,
    };
    let mut detector = build("d", &spec("seasonal", ""));
    let found = by_ten_minutes(&mut *detector, 14, put);
    // Where the level jumps between two hours, a straight line between them is no good guess, and
    // the deviation there is wide; elsewhere nothing else is found.
    assert_eq!(found, [night, noon]);
    // The level alone finds neither of them.
    let mut level = build("d", &spec("ewma", ""));
    assert!(!by_ten_minutes(&mut *level, 14, put).contains(&night));
}

#[test]
fn a_week_has_its_own_days_and_a_zone_its_own_hours() {
    // Nothing on Saturdays and Sundays; the epoch was a Thursday.
    let weekend = |at: i64| matches!((at / 144) % 7, 2 | 3).then_some(50.0);
    let mut weekly = build("d", &spec("seasonal", "season = \"week\""));
    assert_eq!(by_ten_minutes(&mut *weekly, 42, weekend), [0i64; 0]);
    // A Monday that is like a Sunday.
    let holiday = |at: i64| if at / 144 == 39 { Some(50.0) } else { weekend(at) };
    let mut weekly = build("d", &spec("seasonal", "season = \"week\""));
    let found = by_ten_minutes(&mut *weekly, 42, holiday);
    assert!(!found.is_empty() && found.iter().all(|at| at / 144 == 39), "{found:?}");
    let mut there = build("d", &spec("seasonal", "time_zone = \"Asia/Kolkata\""));
    let found = by_ten_minutes(&mut *there, 12, |at| (at == 1_500).then_some(5_000.0));
    assert!(found.contains(&1_500), "{found:?}");
}

/// Clients of a window: `count` of them with some 10 requests each, and these.
fn clients(
    random: &mut Random,
    from: usize,
    count: usize,
    put: &[(&str, f64)],
) -> Vec<SeriesValue> {
    let mut clients: Vec<SeriesValue> = (from..from + count)
        .map(|i| value(&format!("10.0.{}.{}", i / 256, i % 256), 1.0 + random.poisson(9.0), 1.0))
        .chain(put.iter().map(|(key, of)| value(key, *of, 1.0)))
        .collect();
    clients.sort_by(|a, b| a.key.cmp(&b.key));
    clients
}

#[test]
fn entropy_falls_with_few_clients_and_rises_with_many() {
    let mut random = Random::new(6);
    let mut detector = build("d", &spec("client_entropy", ""));
    for window in 0..60 {
        let found = observe(&mut *detector, window, &clients(&mut random, 0, 200, &[]));
        assert!(found.is_empty(), "{found:?}");
    }
    // Four clients, none of which has half of the requests.
    let few = ["198.51.100.1", "198.51.100.2", "198.51.100.3", "198.51.100.4"].map(|k| (k, 900.0));
    let found = observe(&mut *detector, 60, &clients(&mut random, 0, 200, &few));
    assert_eq!(found.len(), 1);
    assert!(found[0].reason.contains("on few clients (204 of them)"), "{}", found[0].reason);
    let found = observe(&mut *detector, 61, &clients(&mut random, 0, 2_000, &[]));
    assert!(found[0].reason.contains("on many clients"), "{found:?}");
    // Too few requests to say anything of.
    assert!(observe(&mut *detector, 62, &clients(&mut random, 0, 2, &[])).is_empty());
}

#[test]
fn many_clients_for_the_first_time_are_found_and_known_ones_are_not() {
    let mut random = Random::new(7);
    let mut detector = build("d", &spec("new_keys", ""));
    for window in 0..100usize {
        // 300 that keep coming and some five new ones a window.
        let mut now = clients(&mut random, 0, 300, &[]);
        now.extend(clients(&mut random, 1_000 + 5 * window, 5, &[]));
        now.sort_by(|a, b| a.key.cmp(&b.key));
        let found = observe(&mut *detector, window as i64, &now);
        assert!(found.is_empty(), "window {window}: {found:?}");
    }
    let found = observe(&mut *detector, 100, &clients(&mut random, 20_000, 400, &[]));
    assert_eq!(found.len(), 1);
    assert!(found[0].value >= 380.0, "{found:?}");
    assert!(
        found[0].reason.contains("clients never seen before in 10 seconds, of 400 in all"),
        "{}",
        found[0].reason
    );
    assert!(observe(&mut *detector, 101, &clients(&mut random, 20_000, 400, &[])).is_empty());
}

#[test]
fn a_client_that_tries_all_doors_is_found() {
    let mut random = Random::new(8);
    let mut detector = build("d", &spec("scan", ""));
    let mut window = |detector: &mut dyn Detector, at: i64, put: &[(&str, f64)]| {
        let mut series: Vec<SeriesValue> = (0..150)
            .map(|i| value(&format!("10.0.0.{i:03}"), 1.0 + random.poisson(2.0), 1.0))
            .chain(put.iter().map(|(key, of)| value(key, *of, 1.0)))
            .collect();
        series.sort_by(|a, b| a.key.cmp(&b.key));
        observe(detector, at, &series)
    };
    for at in 0..50 {
        assert!(window(&mut *detector, at, &[]).is_empty());
    }
    let found = window(&mut *detector, 50, &[("203.0.113.9", 120.0)]);
    assert_eq!(found.iter().map(|a| &*a.key).collect::<Vec<_>>(), ["203.0.113.9"]);
    assert!(found[0].reason.starts_with("endpoints of 203.0.113.9 120 in 10 seconds"), "{found:?}");
    // One that goes on for long is a crawler that is known.
    let crawling: usize =
        (51..200).map(|at| window(&mut *detector, at, &[("203.0.113.9", 120.0)]).len()).sum();
    assert!((40..62).contains(&crawling), "{crawling}");
}
