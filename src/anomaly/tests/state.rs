//! Snapshots, bounds and bytes or values that nobody should send.

use proptest::prelude::*;

use super::super::{Anomaly, Detector, DetectorError, DetectorSpec, SeriesValue, build};
use super::random::Random;
use super::{judge, observe, spec, value};

/// All kinds, with parameters that bring every part of the state into play in a few windows.
fn specs() -> Vec<DetectorSpec> {
    vec![
        spec("traffic_spike", "warm_up = 4\nrelearn_after = 4\ndirection = \"both\""),
        spec("traffic_spike", "warm_up = 4\nrelearn_after = 4\nmax_series = 3"),
        spec("error_rate", "warm_up = 4\nrelearn_after = 4"),
        spec("response_time", "warm_up = 4\nrelearn_after = 4\ndirection = \"both\""),
        spec("client_share", "warm_up = 4\nrelearn_after = 4\nmin_clients = 2\nburst = 1"),
        spec("ratio_to_mean", "warm_up = 4\nrelearn_after = 4"),
        spec("ratio_to_mean", "warm_up = 4\nscope = \"all\"\nmemory = 20"),
        spec("auto", "warm_up = 10\nmemory = 100\nquiet_hours = 0\nthreshold = 0.002"),
        spec("auto", "warm_up = 10\nmissing = \"zero\"\nmax_series = 5"),
        spec("novelty_gap", "warm_up = 10\nmemory = 100\nquiet_hours = 0.05"),
        spec("static_threshold", "upper = 500\nlower = 50\nwindows = 2"),
        spec("static_threshold", "upper = 0.1"),
        spec("static_threshold", "lower = 100"),
        spec("ewma", "warm_up = 4\nthreshold = 3"),
        spec("median_mad", "warm_up = 4\nwindows = 20\nthreshold = 3"),
        spec("seasonal", "warm_up = 1\nparts = 288\nseason = \"week\"\nthreshold = 3"),
        spec("level_change", "warm_up = 4\nthreshold = 3\nslack = 0.1"),
        spec("client_entropy", "warm_up = 4\nrelearn_after = 4\nmin_change = 0.1"),
        spec("new_keys", "warm_up = 4\nrelearn_after = 4\nmin_value = 0\nmax_keys = 1000"),
        spec("scan", "warm_up = 4\nrelearn_after = 4\nmin_clients = 2\nthreshold = 2"),
    ]
}

/// Windows of up to 8 series that come and go, with runs of anomalies of all lengths.
fn windows(seed: u64, count: usize, rate: bool) -> Vec<Vec<SeriesValue>> {
    let mut random = Random::new(seed);
    let mut factor = 1.0;
    (0..count)
        .map(|_| {
            if random.uniform() < 0.15 {
                factor = [1.0, 1.0, 6.0, 0.05][(random.uniform() * 4.0) as usize];
            }
            let mut series = Vec::new();
            for i in 0..8 {
                if random.uniform() < 0.2 {
                    continue;
                }
                let factor = if i % 3 == 0 { factor } else { 1.0 };
                let count = random.poisson(100.0 * factor * f64::from(i + 1));
                series.push(match rate {
                    true => value(&format!("/{i}"), (0.05 * factor).min(1.0), count + 1.0),
                    false => value(&format!("/{i}"), count, 1.0),
                });
            }
            series
        })
        .collect()
}

fn run(detector: &mut dyn Detector, from: usize, windows: &[Vec<SeriesValue>]) -> Vec<Anomaly> {
    (from..).zip(windows).flat_map(|(at, series)| observe(detector, at as i64, series)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Wherever a detector is cut in two by a restart, it says what it would have said.
    #[test]
    fn a_restored_detector_goes_on_as_if_nothing_had_happened(seed in any::<u64>(), cut in 0usize..80) {
        for spec in specs() {
            let windows = windows(seed, 80, spec.needs_weight());
            let mut whole = build("d", &spec);
            let mut expected = run(&mut *whole, 0, &windows);
            let mut first = build("d", &spec);
            let mut found = run(&mut *first, 0, &windows[..cut]);
            let mut second = build("d", &spec);
            second.restore(&first.snapshot().unwrap()).unwrap();
            prop_assert_eq!(second.series(), first.series());
            found.extend(run(&mut *second, cut, &windows[cut..]));
            prop_assert_eq!(&found, &expected, "{}", spec.kind());
            prop_assert_eq!(second.snapshot().unwrap(), whole.snapshot().unwrap());
            expected.clear();
        }
    }

    /// No bytes do harm, and refused ones change nothing.
    #[test]
    fn damaged_snapshots_are_refused(seed in any::<u64>(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        for spec in specs() {
            let mut detector = build("d", &spec);
            run(&mut *detector, 0, &windows(seed, 30, spec.needs_weight()));
            let good = detector.snapshot().unwrap();
            prop_assert!(detector.restore(&good[..at.index(good.len())]).is_err());
            prop_assert_eq!(&detector.snapshot().unwrap(), &good);
            let mut bad = good.clone();
            let at = at.index(bad.len());
            bad[at] = byte;
            // Some changed bytes are another valid state; it must be usable.
            if detector.restore(&bad).is_ok() {
                for anomaly in run(&mut *detector, 1_000, &windows(seed, 10, false)) {
                    prop_assert!((0.0..=1.0).contains(&anomaly.score));
                }
            } else {
                prop_assert_eq!(&detector.snapshot().unwrap(), &good);
            }
        }
    }

    /// Whatever values come, nothing panics, and what is found is finite and in its order.
    #[test]
    fn any_values_are_survived(
        values in prop::collection::vec((0u8..6, any::<f64>(), any::<f64>()), 1..300),
        plain in prop::collection::vec((0u8..6, 0.0f64..1.0), 1..200),
    ) {
        for spec in specs() {
            let mut detector = build("d", &spec);
            let wild = values.chunks(4).map(|chunk| {
                chunk.iter().map(|(key, v, w)| value(&key.to_string(), *v, *w)).collect::<Vec<_>>()
            });
            let tame = plain.chunks(4).map(|chunk| {
                chunk.iter().map(|(key, v)| value(&key.to_string(), *v, 50.0)).collect::<Vec<_>>()
            });
            for (at, series) in tame.clone().chain(wild).chain(tame).enumerate() {
                for a in observe(&mut *detector, at as i64, &series) {
                    for number in [a.value, a.expected, a.lower, a.upper, a.score] {
                        prop_assert!(number.is_finite(), "{a:?}");
                    }
                    prop_assert!(a.lower <= a.expected && a.expected <= a.upper, "{a:?}");
                    prop_assert!(a.score > 0.499_999 && a.score <= 1.0, "{a:?}");
                    // Back from the detector's scale, an edge may be off by the last digits.
                    let slack = 1e-9 * a.value.abs();
                    let outside = a.value + slack > a.upper || a.value - slack < a.lower;
                    // What is new may be in the midst of what is known: the band is for the eye.
                    prop_assert!(outside || a.kind == "auto", "{a:?}");
                }
            }
            // And the state is one that can be stored.
            let bytes = detector.snapshot().unwrap();
            build("d", &spec).restore(&bytes).unwrap();
        }
    }
}

#[test]
fn ten_thousand_series_take_less_than_two_megabytes() {
    for kind in DetectorSpec::KINDS {
        // Those that keep the values themselves take more, and remember fewer series.
        if ["auto", "novelty_gap", "median_mad", "seasonal"].contains(kind) {
            continue;
        }
        let least = if *kind == "static_threshold" { "upper = 500" } else { "" };
        let mut detector = build("d", &spec(kind, least));
        let mut largest = 0;
        for window in 0..60 {
            // The last windows are far off, so that runs outside the band are in the state too.
            let far = if window >= 50 { 8.0 } else { 1.0 };
            let mut series: Vec<SeriesValue> = (0..10_000i64)
                .map(|i| match *kind {
                    "error_rate" => value(&format!("GET /api/items/{i:05}"), 0.1 * far, 50.0),
                    // 60 large ones among them, others in every window.
                    "client_share" if i / 60 == window => value(&format!("c{i:05}"), 1e5, 1.0),
                    _ => value(&format!("GET /api/items/{i:05}"), 100.0 * far, 1.0),
                })
                .collect();
            series.sort_by(|a, b| a.key.cmp(&b.key));
            observe(&mut *detector, window, &series);
            largest = largest.max(detector.snapshot().unwrap().len());
        }
        println!("{kind}: {largest} bytes of {} series", detector.series());
        assert!(largest < 2_000_000, "{kind}: {largest} bytes");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]

    /// What a detector says of a window is the same whatever comes after it.
    #[test]
    fn no_judgement_looks_ahead(seed in any::<u64>(), cut in 1usize..80) {
        let judge = |spec: &DetectorSpec, windows: &[Vec<SeriesValue>]| {
            let mut detector = build("d", spec);
            (0..).zip(windows).map(|(at, series)| judge(&mut *detector, at, series)).collect::<Vec<_>>()
        };
        for spec in specs() {
            let windows = windows(seed, 80, spec.needs_weight());
            let whole = judge(&spec, &windows);
            prop_assert_eq!(&judge(&spec, &windows[..cut]), &whole[..cut], "{}", spec.kind());
            for judgement in whole.iter().flatten() {
                prop_assert!((0.0..=1.0).contains(&judgement.score));
                prop_assert!(judgement.band.is_some() || judgement.anomaly.is_none());
            }
        }
    }

    /// In milliseconds or seconds, bytes or megabytes: the scores are the same.
    #[test]
    fn scores_do_not_depend_on_the_unit(seed in any::<u64>(), power in -40i32..40) {
        let unit = 2f64.powi(power);
        for kind in ["auto", "novelty_gap", "ewma", "median_mad", "seasonal", "level_change"] {
            let least = match kind {
                "seasonal" => "warm_up = 1\nparts = 288",
                "auto" | "novelty_gap" => "warm_up = 10\nmemory = 100\nquiet_hours = 0",
                _ => "warm_up = 4",
            };
            let mut one = build("d", &spec(kind, least));
            let mut other = build("d", &spec(kind, least));
            for (at, series) in (0..).zip(windows(seed, 120, false)) {
                let scaled: Vec<SeriesValue> =
                    series.iter().map(|i| value(&i.key, i.value * unit, 1.0)).collect();
                let scores = |judged: Vec<super::super::Judgement>| {
                    judged.into_iter().map(|j| (j.score, j.outside)).collect::<Vec<_>>()
                };
                let a = scores(judge(&mut *one, at, &series));
                prop_assert_eq!(a, scores(judge(&mut *other, at, &scaled)), "{}", kind);
            }
        }
    }
}

#[test]
fn state_of_a_series_is_bounded_however_long_it_runs() {
    for (kind, most) in
        [("auto", 45_000), ("novelty_gap", 3_500), ("median_mad", 1_100), ("seasonal", 1_000)]
    {
        let mut detector = build("d", &spec(kind, ""));
        let mut random = Random::new(5);
        for window in 0..30_000 {
            let one = [value("/a", random.lognormal(100.0, 1.5), 1.0)];
            observe(&mut *detector, window * 30, &one);
        }
        let bytes = detector.snapshot().unwrap().len();
        println!("{kind}: {bytes} bytes");
        assert!(bytes < most, "{kind}: {bytes} bytes");
    }
}

#[test]
fn the_longest_unseen_series_makes_room() {
    let mut detector = build("d", &spec("traffic_spike", "max_series = 2"));
    let see = |detector: &mut dyn Detector, window, keys: &[&str]| {
        let series: Vec<SeriesValue> = keys.iter().map(|key| value(key, 5.0, 1.0)).collect();
        observe(detector, window, &series);
        let stats = detector.stats();
        (stats.series, stats.evicted, stats.refused)
    };
    assert_eq!(see(&mut *detector, 0, &["a", "b"]), (2, 0, 0));
    // Both places are taken in this very window: the newcomer is refused, not the known ones.
    assert_eq!(see(&mut *detector, 1, &["A", "a", "b"]), (2, 0, 1));
    assert_eq!(see(&mut *detector, 2, &["b"]), (2, 0, 1));
    assert_eq!(see(&mut *detector, 3, &["c"]), (2, 1, 1));
    assert_eq!(see(&mut *detector, 4, &["b", "c"]), (2, 1, 1));
}

#[test]
fn a_smaller_bound_keeps_the_last_seen() {
    let mut large = build("d", &spec("error_rate", ""));
    for window in 0..5 {
        observe(&mut *large, window, &[value(&format!("/{window}"), 0.1, 10.0)]);
    }
    let mut small = build("d", &spec("error_rate", "max_series = 2"));
    small.restore(&large.snapshot().unwrap()).unwrap();
    assert_eq!(small.series(), 2);
    observe(&mut *small, 5, &[value("/3", 0.1, 10.0), value("/4", 0.1, 10.0)]);
    assert_eq!(small.stats().evicted, 0);
}

#[test]
fn the_state_of_another_kind_is_refused() {
    let bytes = build("d", &spec("error_rate", "")).snapshot().unwrap();
    let error = build("d", &spec("traffic_spike", "")).restore(&bytes).unwrap_err();
    assert_eq!(
        error,
        DetectorError::Kind { expected: "traffic_spike", found: "error_rate".to_owned() }
    );
}

#[test]
fn a_window_that_is_not_after_the_last_is_ignored() {
    for spec in specs() {
        let mut detector = build("d", &spec);
        observe(&mut *detector, 5, &[value("a", 0.5, 1.0)]);
        let before = detector.snapshot().unwrap();
        assert!(observe(&mut *detector, 5, &[value("a", 0.5, 1.0)]).is_empty());
        assert!(observe(&mut *detector, 4, &[value("a", 0.5, 1.0)]).is_empty());
        assert_eq!(detector.snapshot().unwrap(), before);
        assert_eq!(detector.stats().ignored, 2);
    }
}
