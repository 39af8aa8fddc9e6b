//! Small stories, each about one rule of a detector.

use super::super::{Anomaly, SeriesValue, Severity, build};
use super::{observe, spec, value};

/// Runs windows of one series "/a" and gives which of them were anomalous.
fn anomalous(kind: &str, parameters: &str, values: &[(f64, f64)]) -> Vec<(usize, Anomaly)> {
    let mut detector = build("d", &spec(kind, parameters));
    let mut found = Vec::new();
    for (window, (of, weight)) in values.iter().enumerate() {
        let anomalies = observe(&mut *detector, window as i64, &[value("/a", *of, *weight)]);
        found.extend(anomalies.into_iter().map(|a| (window, a)));
    }
    found
}

fn windows(found: &[(usize, Anomaly)]) -> Vec<usize> {
    found.iter().map(|(window, _)| *window).collect()
}

/// Levels one after the other, each for so many windows, with a ripple of a twentieth.
fn levels(levels: &[(usize, f64)], weight: f64) -> Vec<(f64, f64)> {
    let mut values = Vec::new();
    for (count, level) in levels {
        for i in 0..*count {
            let ripple = [0.0, 0.05, -0.05, 0.02, -0.02][i % 5];
            values.push(((level * (1.0 + ripple)), weight));
        }
    }
    values
}

#[test]
fn reasons_read_as_sentences() {
    let found = anomalous("traffic_spike", "", &levels(&[(30, 400.0), (1, 2400.0)], 1.0));
    let (window, a) = &found[0];
    assert_eq!((*window, found.len(), a.severity), (30, 1, Severity::Critical));
    assert_eq!(a.reason, "requests of /a 2,400 in 10 seconds, expected 266 to 599");
    assert_eq!((&*a.detector, a.kind, &*a.key), ("d", "traffic_spike", "/a"));
    assert_eq!((a.window_start, a.window_end), (300_000_000, 310_000_000));

    let parameters = "measure = \"p95\"\nunit = \"ms\"";
    let found = anomalous("response_time", parameters, &levels(&[(30, 400.0), (1, 2400.0)], 50.0));
    assert_eq!(found[0].1.reason, "p95 of /a 2,400 ms in 10 seconds, expected 266 to 599 ms");

    let found = anomalous("error_rate", "", &levels(&[(30, 0.01), (1, 0.4)], 1000.0));
    assert_eq!(
        found[0].1.reason,
        "error rate of /a 40 % of 1,000 requests in 10 seconds, expected 0 to 3 %"
    );

    let found = anomalous("ratio_to_mean", "", &levels(&[(30, 500.0), (1, 2400.0)], 1.0));
    assert_eq!(
        found[0].1.reason,
        "requests of /a 2,400 in 10 seconds, 4.8 times the mean 500 of the windows before, \
         expected up to 1,500"
    );
}

#[test]
fn an_incident_does_not_become_the_baseline_and_its_end_is_no_second_one() {
    let story = [(30, 400.0), (20, 3000.0), (30, 400.0), (3, 3000.0)];
    for kind in ["traffic_spike", "response_time", "ratio_to_mean"] {
        let found = anomalous(kind, "", &levels(&story, 100.0));
        let expected: Vec<usize> = (30..50).chain(80..83).collect();
        assert_eq!(windows(&found), expected, "{kind}");
        // As far out in its last window as in its first.
        assert!((found[0].1.expected - found[19].1.expected).abs() < 150.0, "{kind}");
    }
    let story = [(30, 0.01), (20, 0.4), (30, 0.01), (3, 0.4)];
    let found = anomalous("error_rate", "", &levels(&story, 1000.0));
    assert_eq!(windows(&found), (30..50).chain(80..83).collect::<Vec<_>>());
}

#[test]
fn a_lasting_change_is_learnt_and_its_end_too() {
    let parameters = "relearn_after = 20";
    let both = "relearn_after = 20\ndirection = \"both\"";
    let story = [(30, 400.0), (50, 3000.0), (30, 400.0), (3, 3000.0)];
    for (kind, parameters) in
        [("traffic_spike", both), ("response_time", both), ("traffic_spike", parameters)]
    {
        let found = anomalous(kind, parameters, &levels(&story, 100.0));
        let expected: Vec<usize> = (30..50).chain(110..113).collect();
        assert_eq!(windows(&found), expected, "{kind}");
    }
    let story = [(30, 0.01), (50, 0.4), (30, 0.01), (3, 0.4)];
    let found = anomalous("error_rate", parameters, &levels(&story, 1000.0));
    assert_eq!(windows(&found), (30..50).chain(110..113).collect::<Vec<_>>());
    let found = anomalous("ratio_to_mean", parameters, &levels(&story[..2], 1.0));
    assert_eq!(windows(&found), (30..50).collect::<Vec<_>>());
}

#[test]
fn an_error_burst_during_the_warm_up_is_not_learnt() {
    let story = [(4, 0.01), (3, 0.4), (3, 0.01), (1, 0.2)];
    assert_eq!(windows(&anomalous("error_rate", "", &levels(&story, 500.0))), [10]);
}

#[test]
fn improvement_is_no_alarm_unless_it_is_asked_for() {
    let story = levels(&[(30, 400.0), (5, 20.0)], 100.0);
    for kind in ["traffic_spike", "response_time"] {
        assert!(anomalous(kind, "", &story).is_empty());
        let found = anomalous(kind, "direction = \"down\"", &story);
        assert_eq!(windows(&found), [30, 31, 32, 33, 34]);
        assert!(found[0].1.value < found[0].1.lower);
    }
    assert!(anomalous("error_rate", "", &levels(&[(30, 0.4), (5, 0.0)], 1000.0)).is_empty());
}

#[test]
fn an_outage_is_seen_by_what_is_missing() {
    for (parameters, seen) in [
        ("direction = \"both\"", true),
        ("missing = \"zero\"\ndirection = \"down\"", true),
        ("missing = \"zero\"", false),
        ("missing = \"skip\"\ndirection = \"both\"", false),
    ] {
        let mut detector = build("d", &spec("traffic_spike", parameters));
        let mut found = Vec::new();
        for window in 0..60 {
            let series: &[SeriesValue] = match window {
                // First one endpoint is gone, then both.
                30..35 => &[value("/b", 300.0, 1.0)],
                35..40 => &[],
                _ => &[value("/a", 200.0, 1.0), value("/b", 300.0, 1.0)],
            };
            for a in observe(&mut *detector, window, series) {
                assert_eq!(a.value, 0.0);
                found.push((window, a.key.to_string()));
            }
        }
        let a = (30..40).map(|window| (window, "/a".to_owned()));
        let b = (35..40).map(|window| (window, "/b".to_owned()));
        let mut expected: Vec<_> = a.chain(b).filter(|_| seen).collect();
        expected.sort();
        assert_eq!(found, expected, "{parameters}");
    }
}

#[test]
fn a_series_that_is_gone_for_good_is_forgotten() {
    let mut detector =
        build("d", &spec("traffic_spike", "direction = \"both\"\nrelearn_after = 20"));
    for window in 0..12 {
        observe(&mut *detector, window, &[value("/a", 100.0, 1.0)]);
    }
    let found: usize = (12..100).map(|window| observe(&mut *detector, window, &[]).len()).sum();
    assert_eq!((found, detector.series()), (20, 0));
}

#[test]
fn few_requests_do_not_alarm_and_their_times_get_a_wider_band() {
    assert!(anomalous("error_rate", "", &levels(&[(30, 0.0), (5, 1.0)], 2.0)).is_empty());
    // The same deviation from 100 requests and from 4.
    let mut story = levels(&[(30, 400.0)], 100.0);
    story.push((700.0, 4.0));
    assert!(anomalous("response_time", "", &story).is_empty());
    story[30].1 = 100.0;
    assert_eq!(windows(&anomalous("response_time", "", &story)), [30]);
    story[30].1 = 4.0;
    assert!(anomalous("response_time", "min_weight = 10", &story).is_empty());
}

#[test]
fn a_change_too_small_to_matter_is_no_alarm() {
    // As steady as these are, 40 % is many deviations.
    let story: Vec<(f64, f64)> =
        (0..40).map(|i| (if i < 30 { 1e6 } else { 1.4e6 }, 100.0)).collect();
    for kind in ["traffic_spike", "response_time"] {
        assert!(anomalous(kind, "", &story).is_empty());
        assert!(!anomalous(kind, "min_ratio = 1.2", &story).is_empty());
    }
}

/// The batch rule on windows before the one judged, as the SQL would say it.
#[test]
fn the_ratio_is_that_of_the_sql_when_nothing_is_left_out() {
    let values: Vec<f64> = (0..200).map(|i| f64::from((i * 7919) % 101)).collect();
    let parameters = "robust = false\nratio = 1.9\nwarm_up = 5";
    let weighted: Vec<(f64, f64)> = values.iter().map(|v| (*v, 1.0)).collect();
    for scope in ["series", "all"] {
        let parameters = format!("{parameters}\nscope = \"{scope}\"");
        let found = windows(&anomalous("ratio_to_mean", &parameters, &weighted));
        let expected: Vec<usize> = (5..values.len())
            .filter(|at| values[*at] > values[..*at].iter().sum::<f64>() / *at as f64 * 1.9)
            .collect();
        assert!(!expected.is_empty());
        assert_eq!(found, expected, "{scope}");
    }
}

#[test]
fn over_all_series_the_mean_is_one() {
    let mut detector = build("d", &spec("ratio_to_mean", "scope = \"all\""));
    let mut found = Vec::new();
    for window in 0..20 {
        let series: Vec<SeriesValue> = [("/a", 10.0), ("/b", 10.0), ("/c", 10.0), ("/home", 100.0)]
            .iter()
            .map(|(key, of)| value(key, *of, 1.0))
            .collect();
        found.extend(observe(&mut *detector, window, &series));
    }
    // 100 is above 3 times (10 + 10 + 10 + 100) / 4, always, as the seed's SQL has it.
    assert_eq!(found.len(), 10);
    assert!(found.iter().all(|a| &*a.key == "/home"));
}

/// `count` ordinary clients of 10 requests each, and others by name.
fn clients(count: usize, others: &[(&str, f64)]) -> Vec<SeriesValue> {
    let ordinary = (0..count).map(|i| value(&format!("10.0.0.{i:03}"), 10.0, 1.0));
    ordinary.chain(others.iter().map(|(key, of)| value(key, *of, 1.0))).collect()
}

#[test]
fn a_client_is_held_against_its_usual_share_and_the_others() {
    let mut detector = build("d", &spec("client_share", ""));
    // A proxy with a fifth of all requests has always been there.
    let proxy = ("192.0.2.1", 250.0);
    for window in 0..50 {
        assert!(observe(&mut *detector, window, &clients(100, &[proxy])).is_empty());
    }
    let abuser = ("203.0.113.9", 400.0);
    let found = observe(&mut *detector, 50, &clients(100, &[proxy, abuser]));
    assert_eq!(found.len(), 1);
    assert_eq!(
        found[0].reason,
        "requests of 203.0.113.9 400 in 10 seconds, 24.2 % of all, expected at most 106 \
         (usual share 1 %, median of 102 clients 10)"
    );
    // Its share is not learnt while it lasts...
    for window in 51..70 {
        assert_eq!(observe(&mut *detector, window, &clients(100, &[proxy, abuser])).len(), 1);
    }
    // ... and with few clients nobody is out of line.
    assert!(observe(&mut *detector, 70, &clients(5, &[abuser])).is_empty());
}

#[test]
fn a_client_that_stays_large_is_learnt() {
    let mut detector = build("d", &spec("client_share", "relearn_after = 20"));
    let crawler = ("192.0.2.1", 400.0);
    let mut found = Vec::new();
    for window in 0..100 {
        let others: &[(&str, f64)] = if window < 30 { &[] } else { &[crawler] };
        let anomalies = observe(&mut *detector, window, &clients(100, others));
        found.extend(anomalies.iter().map(|_| window));
    }
    assert_eq!(found, (30..50).collect::<Vec<_>>());
}

#[test]
fn only_large_clients_are_remembered() {
    let mut detector = build("d", &spec("client_share", ""));
    for window in 0..20 {
        observe(&mut *detector, window, &clients(900, &[("192.0.2.1", 2000.0)]));
    }
    assert_eq!(detector.series(), 1);
}

#[test]
fn what_cannot_be_judged_is_counted() {
    for (kind, of, weight) in [
        ("traffic_spike", -1.0, 1.0),
        ("traffic_spike", f64::NAN, 1.0),
        ("error_rate", 1.5, 10.0),
        ("error_rate", 0.5, 0.0),
        ("response_time", 0.0, 10.0),
        ("response_time", 5.0, 0.5),
        ("client_share", f64::INFINITY, 1.0),
        ("ratio_to_mean", f64::NEG_INFINITY, 1.0),
    ] {
        let mut detector = build("d", &spec(kind, ""));
        assert!(observe(&mut *detector, 0, &[value("/a", of, weight)]).is_empty());
        assert_eq!((detector.stats().ignored, detector.series()), (1, 0), "{kind} {of}");
    }
}
