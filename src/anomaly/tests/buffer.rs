//! Windows put together from rows in any order.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use proptest::prelude::*;

use super::super::spec::Combine;
use super::super::{
    EventKind, Policy, Pushed, SeriesColumns, SeriesReader, SeriesValue, Watch, WindowBuffer,
    to_batch,
};
use super::value;

const LENGTH: i64 = 10;

fn buffer(max: usize) -> WindowBuffer {
    WindowBuffer::new(LENGTH, Combine::Sum, max).unwrap()
}

fn item(start: i64, key: &str, of: f64) -> (i64, SeriesValue) {
    (start, value(key, of, 1.0))
}

/// (start, keys and values) of the windows that are ready.
fn ready(buffer: &mut WindowBuffer, up_to: i64) -> Vec<(i64, Vec<(String, f64)>)> {
    buffer
        .ready(up_to)
        .into_iter()
        .map(|window| {
            assert_eq!(window.end, window.start.saturating_add(LENGTH));
            let series = window.series.iter().map(|s| (s.key.to_string(), s.value)).collect();
            (window.start, series)
        })
        .collect()
}

#[test]
fn windows_come_whole_sorted_and_in_order() {
    let mut buffer = buffer(100);
    buffer.push([item(10, "b", 1.0), item(0, "b", 2.0), item(10, "a", 3.0)]);
    buffer.push([item(0, "a", 4.0), item(10, "b", 5.0)]);
    assert_eq!(ready(&mut buffer, 9), []);
    assert_eq!(ready(&mut buffer, 10), [(0, vec![("a".into(), 4.0), ("b".into(), 2.0)])]);
    assert_eq!(buffer.push([item(0, "c", 1.0)]), Pushed { late: 1, ..Pushed::default() });
    assert_eq!(ready(&mut buffer, i64::MAX), [(10, vec![("a".into(), 3.0), ("b".into(), 6.0)])]);
    assert!(buffer.is_empty());
}

#[test]
fn rates_of_one_key_are_averaged_by_weight() {
    let mut buffer = WindowBuffer::new(LENGTH, Combine::WeightedMean, 100).unwrap();
    buffer.push([
        (0, value("a", 0.5, 10.0)),
        (0, value("a", 0.0, 30.0)),
        (0, value("b", 0.2, 0.0)),
    ]);
    buffer.push([(0, value("b", 0.4, 0.0))]);
    let series = buffer.ready(10).remove(0).series;
    assert_eq!((series[0].value, series[0].weight), (0.125, 40.0));
    assert!((series[1].value - 0.3).abs() < 1e-12 && series[1].weight == 0.0);
}

#[test]
fn windows_without_rows_are_given_out_too() {
    let mut buffer = buffer(100);
    assert_eq!(ready(&mut buffer, 1000), []);
    buffer.push([item(1000, "a", 1.0), item(1030, "a", 1.0), item(1060, "a", 1.0)]);
    let starts = |ready: Vec<(i64, Vec<(String, f64)>)>| {
        ready.into_iter().map(|(start, series)| (start, series.len())).collect::<Vec<_>>()
    };
    assert_eq!(
        starts(ready(&mut buffer, 1055)),
        [(1000, 1), (1010, 0), (1020, 0), (1030, 1), (1040, 0)]
    );
    assert_eq!(starts(ready(&mut buffer, 1060)), [(1050, 0)]);
    assert_eq!(starts(ready(&mut buffer, 1070)), [(1060, 1)]);
    // A stream that stands still is silent after a while, and goes on when rows come.
    assert_eq!(starts(ready(&mut buffer, 1_000_000)).len(), 60);
    assert_eq!(ready(&mut buffer, 2_000_000), []);
    buffer.push([item(5_000_000, "a", 1.0)]);
    assert_eq!(starts(ready(&mut buffer, i64::MAX)), [(5_000_000, 1)]);
}

#[test]
fn a_full_buffer_refuses_new_keys_only() {
    let mut buffer = buffer(2);
    let pushed =
        buffer.push([item(0, "a", 1.0), item(0, "b", 1.0), item(0, "c", 1.0), item(0, "a", 1.0)]);
    assert_eq!(pushed, Pushed { taken: 3, late: 0, refused: 1 });
    assert_eq!(buffer.len(), 2);
    assert_eq!(ready(&mut buffer, 10), [(0, vec![("a".into(), 2.0), ("b".into(), 1.0)])]);
    assert_eq!(buffer.push([item(10, "c", 1.0)]).taken, 1);
}

#[test]
fn a_window_needs_a_length() {
    assert!(WindowBuffer::new(0, Combine::Sum, 1).is_err());
    assert!(WindowBuffer::new(-5, Combine::Sum, 1).is_err());
}

#[test]
fn times_at_the_ends_of_time_are_survived() {
    let mut buffer = buffer(100);
    buffer.push([item(i64::MIN, "a", 1.0), item(i64::MAX, "a", 1.0), item(0, "a", f64::NAN)]);
    assert!(!buffer.ready(i64::MIN).iter().any(|w| !w.series.is_empty()));
    let bytes = buffer.snapshot().unwrap();
    buffer.restore(&bytes).unwrap();
    let windows = buffer.ready(i64::MAX);
    assert_eq!(windows.iter().filter(|w| !w.series.is_empty()).count(), 3);
}

#[test]
fn a_buffer_of_other_windows_is_refused() {
    let bytes = WindowBuffer::new(60, Combine::Sum, 10).unwrap().snapshot().unwrap();
    assert!(buffer(10).restore(&bytes).is_err());
}

fn batch(window: i64, rows: &[(&str, i64)]) -> RecordBatch {
    let starts = TimestampMicrosecondArray::from(vec![window * 60_000_000; rows.len()]);
    let keys: StringArray = rows.iter().map(|(key, _)| Some(*key)).collect();
    let counts: Int64Array = rows.iter().map(|(_, count)| Some(*count)).collect();
    let columns: [(&str, ArrayRef); 3] = [
        ("minute", Arc::new(starts.with_timezone("UTC"))),
        ("endpoint", Arc::new(keys)),
        ("requests", Arc::new(counts)),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

#[test]
fn batches_become_anomalies_across_a_restart() {
    let columns = SeriesColumns {
        keys: vec!["endpoint".into()],
        value: "requests".into(),
        weight: None,
        window_start: "minute".into(),
    };
    let spec = super::spec("traffic_spike", "");
    let reader = SeriesReader::new(batch(0, &[]).schema(), &columns).unwrap();
    let start = || Watch::new("spikes", &spec, Policy::default(), 60_000_000, 1000).unwrap();
    let mut watch = start();
    let mut found = Vec::new();
    for window in 0..25 {
        // Two shards, whose rows of a window come before it is complete.
        watch.push(reader.read(&batch(window, &[("/cart", 300)])).unwrap().items);
        if window >= 17 {
            let bytes = watch.snapshot().unwrap();
            for cut in 0..bytes.len() {
                assert!(start().restore(&bytes[..cut]).is_err());
            }
            watch = start();
            watch.restore(&bytes).unwrap();
            assert_eq!(watch.snapshot().unwrap(), bytes);
        }
        let count = if window == 18 { 2400 } else { 400 };
        watch.push(reader.read(&batch(window, &[("/checkout", count)])).unwrap().items);
        found.extend(watch.advance((window + 1) * 60_000_000).unwrap().events);
        assert_eq!(watch.open().len(), usize::from((18..21).contains(&window)), "{window}");
    }
    let told: Vec<_> = found.iter().map(|e| (e.event, e.sequence)).collect();
    assert_eq!(told, [(EventKind::Opened, 0), (EventKind::Closed, 1)]);
    assert_eq!(found[0].reason, "requests of /checkout 2,400 in the minute, expected 267 to 600");
    assert_eq!(watch.stats().series, 2);
    assert_eq!(to_batch(&found).unwrap().num_rows(), 2);
}

proptest! {
    /// In whatever order and pieces rows come, and wherever a restart cuts, every row is in its
    /// window once.
    #[test]
    fn nothing_is_lost_or_doubled(
        rows in prop::collection::vec((0i64..20, 0u8..5), 0..200),
        cut in any::<prop::sample::Index>(),
        piece in 1usize..20,
        mark in 0i64..20,
    ) {
        let mut expected = BTreeMap::<(i64, String), f64>::new();
        let mut held = buffer(10_000);
        let mut found = BTreeMap::<(i64, String), f64>::new();
        let mut collect = |windows: Vec<super::super::OwnedWindow>| {
            for window in windows {
                for s in window.series {
                    found.insert((window.start, s.key.to_string()), s.value);
                }
            }
        };
        let cut = if rows.is_empty() { 0 } else { cut.index(rows.len()) };
        for (at, chunk) in rows.chunks(piece).enumerate() {
            if at * piece >= cut {
                collect(held.ready(mark * LENGTH));
                let mut other = buffer(10_000);
                other.restore(&held.snapshot().unwrap()).unwrap();
                prop_assert_eq!(&other, &held);
                held = other;
            }
            for (window, key) in chunk {
                let pushed = held.push([item(window * LENGTH, &key.to_string(), 1.0)]);
                if pushed.taken == 1 {
                    *expected.entry((window * LENGTH, key.to_string())).or_default() += 1.0;
                } else {
                    prop_assert_eq!(pushed.late, 1);
                    prop_assert!(*window < mark);
                }
            }
        }
        collect(held.ready(i64::MAX));
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn damaged_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..60), cut in any::<prop::sample::Index>()) {
        let mut held = buffer(100);
        held.push([item(0, "a", 1.0), item(10, "b", 2.0)]);
        let good = held.snapshot().unwrap();
        let mut bad = good[..cut.index(good.len())].to_vec();
        prop_assert!(held.restore(&bad).is_err());
        bad.extend(bytes);
        let _ = held.restore(&bad);
        let _ = held.ready(i64::MAX);
    }
}
