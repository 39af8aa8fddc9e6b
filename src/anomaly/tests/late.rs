//! Windows that late data changes: what is told in the end is what there is in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;

use super::super::{AnomalyEvent, EventKind, Outcome, Policy, Read, SeriesValue, Watch};
use super::spec;

const LENGTH: i64 = 10;

fn watch(settle: i64) -> Watch {
    let spec = spec("traffic_spike", "warm_up = 3\nrelearn_after = 5\nmin_value = 0");
    let policy = Policy { open_after: 1, clear_after: 2, update_every: 3 };
    Watch::new("d", &spec, policy, LENGTH, 100_000).unwrap().settling(settle)
}

/// The rows (window, row, series, value) as a reader of a query in update mode gives them.
fn read(rows: &[(i64, &str, &str, f64)]) -> Read {
    let mut read = Read::default();
    for (window, row, series, value) in rows {
        let value = SeriesValue { key: (*series).into(), value: *value, weight: 1.0 };
        read.items.push((window * LENGTH, value));
        read.rows.push(Arc::from(*row));
    }
    read
}

fn told(outcome: &Outcome) -> Vec<(&'static str, bool, i64, u32)> {
    let of = |e: &AnomalyEvent| (e.event.as_str(), e.corrected, e.started_at / LENGTH, e.sequence);
    outcome.events.iter().map(of).collect()
}

/// A detector that has seen ten calm windows, and judges three windows early.
fn calm() -> Watch {
    let mut watch = watch(30);
    for window in 0..10 {
        watch.take_in(read(&[(window, "/a", "/a", 100.0)]));
    }
    assert!(watch.advance(70).unwrap().events.is_empty());
    watch
}

#[test]
fn late_rows_open_an_anomaly_in_a_window_that_had_been_calm() {
    let mut watch = calm();
    watch.take_in(read(&[(9, "/a", "/a", 900.0)]));
    let outcome = watch.advance(70).unwrap();
    assert_eq!((told(&outcome), outcome.rescored), (vec![("opened", true, 9, 0)], 1));
    assert!(outcome.windows.is_empty(), "no window is new");
    // Nothing has changed since.
    assert_eq!(watch.advance(70).unwrap(), Outcome::default());
    watch.take_in(read(&[(10, "/a", "/a", 100.0), (11, "/a", "/a", 100.0)]));
    assert_eq!(told(&watch.advance(90).unwrap()), [("closed", false, 9, 1)]);
}

#[test]
fn an_anomaly_of_a_half_seen_window_is_withdrawn_and_may_come_back() {
    let mut watch = calm();
    watch.take_in(read(&[(10, "/a", "/a", 900.0)]));
    assert_eq!(told(&watch.advance(80).unwrap()), [("opened", false, 10, 0)]);
    // A sum of two rows, of which the second takes away most: a changed query result.
    watch.take_in(read(&[(10, "/a", "/a", 90.0), (10, "/b", "/a", 10.0)]));
    let outcome = watch.advance(80).unwrap();
    assert_eq!(told(&outcome), [("closed", true, 10, 1)]);
    assert!(outcome.events[0].reason.ends_with("withdrawn, late data has changed it"));
    assert!(watch.open().is_empty());
    watch.take_in(read(&[(10, "/b", "/a", 890.0)]));
    assert_eq!(told(&watch.advance(80).unwrap()), [("opened", true, 10, 2)], "not a second first");
    watch.take_in(read(&[(10, "/b", "/a", 900.0)]));
    let outcome = watch.advance(80).unwrap();
    assert_eq!(told(&outcome), [("updated", true, 10, 3)]);
    assert_eq!(outcome.events[0].value, 990.0);
}

#[test]
fn a_window_that_is_final_does_not_change() {
    let mut watch = calm();
    let pushed = watch.take_in(read(&[(6, "/a", "/a", 900.0)]));
    assert_eq!((pushed.late, pushed.taken), (1, 0));
    assert_eq!(watch.advance(70).unwrap(), Outcome::default());
}

/// One anomaly as it stands, without what depends on when it was told.
type Standing = (bool, i64, Option<i64>, String, u64);

fn standing(event: &AnomalyEvent) -> Standing {
    let windows = if event.is_open() { 0 } else { event.windows };
    (event.is_open(), event.started_at, event.ended_at, event.severity.to_string(), windows)
}

/// What all events come to, without anomalies that were withdrawn; checks that the numbers of an
/// anomaly's events rise by one.
fn come_to(events: &[AnomalyEvent]) -> BTreeMap<Arc<str>, Standing> {
    let mut last = BTreeMap::new();
    let mut next: BTreeMap<Arc<str>, u32> = BTreeMap::new();
    for event in events {
        let number = next.entry(event.id.clone()).or_default();
        assert_eq!(event.sequence, *number, "{event:?}");
        *number += 1;
        last.insert(event.id.clone(), event.clone());
    }
    last.retain(|_, event| !event.reason.contains("withdrawn"));
    last.iter().map(|(id, event)| (id.clone(), standing(event))).collect()
}

/// An update: (window, row, value). Rows of one series are a and b.
type Update = (i64, usize, f64);

const ROWS: [&str; 3] = ["a1", "a2", "b1"];

/// Runs updates in triggers: each of so many, the watermark behind the newest window by `settle`.
fn run(
    updates: &[Update],
    sizes: &[usize],
    settle: i64,
    cuts: &BTreeSet<usize>,
) -> Vec<AnomalyEvent> {
    let mut watch = watch(settle);
    let (mut events, mut newest) = (Vec::new(), i64::MIN);
    let mut rest = updates;
    for (trigger, size) in sizes.iter().cycle().enumerate() {
        let (now, later) = rest.split_at((*size).min(rest.len()));
        rest = later;
        // Rows of windows that are final are dropped by the query's own watermark.
        let final_to = newest.saturating_sub(settle);
        let rows: Vec<_> = now
            .iter()
            .filter(|(window, _, _)| (window + 1) * LENGTH > final_to)
            .map(|(window, row, value)| (*window, ROWS[*row], &ROWS[*row][..1], *value))
            .collect();
        watch.take_in(read(&rows));
        newest = now.iter().map(|(window, _, _)| (window + 1) * LENGTH).fold(newest, i64::max);
        if rest.is_empty() {
            events.extend(watch.advance(i64::MAX).unwrap().events);
            return events;
        }
        events.extend(watch.advance(newest.saturating_sub(settle)).unwrap().events);
        if cuts.contains(&trigger) {
            let bytes = watch.snapshot().unwrap();
            watch = self::watch(settle);
            watch.restore(&bytes).unwrap();
            assert_eq!(watch.snapshot().unwrap(), bytes);
        }
    }
    events
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// A stream of updates, most in order and some late: however it is cut into triggers, and
    /// wherever it restarts, the same trigger gives the same events; and what they come to is
    /// what a replay over the final values gives, which is told once and in order.
    #[test]
    fn what_is_told_comes_to_what_a_replay_finds(
        values in prop::collection::vec(
            (0i64..4, 0usize..3, prop_oneof![4 => 80.0..120.0f64, 1 => 500.0..900.0f64]), 20..120),
        sizes in prop::collection::vec(1usize..6, 1..4),
        cuts in prop::collection::btree_set(0usize..60, 0..4),
    ) {
        let settle = 4 * LENGTH;
        let updates: Vec<Update> = values
            .iter()
            .enumerate()
            .map(|(i, (back, row, value))| ((i as i64 / 3 - back).max(0), *row, value.round()))
            .collect();
        let events = run(&updates, &sizes, settle, &BTreeSet::new());
        let restarted = run(&updates, &sizes, settle, &cuts);
        prop_assert_eq!(&events, &restarted);

        // The final value of each row, which its query would have given once in append mode; a row
        // that comes after its window was final was dropped, whatever the triggers.
        let mut last: BTreeMap<(i64, usize), f64> = BTreeMap::new();
        let (mut newest, mut at, mut size) = (i64::MIN, 0, sizes.iter().cycle());
        while at < updates.len() {
            let end = (at + size.next().unwrap()).min(updates.len());
            let final_to = newest.saturating_sub(settle);
            for (window, row, value) in &updates[at..end] {
                if (window + 1) * LENGTH > final_to {
                    last.insert((*window, *row), *value);
                }
                newest = newest.max((window + 1) * LENGTH);
            }
            at = end;
        }
        let mut replay = watch(0);
        for ((window, row), value) in &last {
            replay.take_in(read(&[(*window, ROWS[*row], &ROWS[*row][..1], *value)]));
        }
        let replayed = replay.advance(i64::MAX).unwrap().events;
        prop_assert!(replayed.iter().all(|event| !event.corrected));
        let (live, replayed) = (come_to(&events), come_to(&replayed));
        prop_assert_eq!(live, replayed);
    }
}

#[test]
fn damaged_state_is_refused_and_changes_nothing() {
    let mut watch = calm();
    watch.take_in(read(&[(10, "/a", "/a", 900.0)]));
    watch.advance(80).unwrap();
    let bytes = watch.snapshot().unwrap();
    let mut other = self::watch(30);
    for cut in 0..bytes.len() {
        assert!(other.restore(&bytes[..cut]).is_err(), "{cut}");
    }
    assert_eq!(other.snapshot().unwrap(), self::watch(30).snapshot().unwrap());
    other.restore(&bytes).unwrap();
    assert_eq!(other.open().len(), 1);
    assert_eq!(other.open()[0].event, EventKind::Updated);
}
