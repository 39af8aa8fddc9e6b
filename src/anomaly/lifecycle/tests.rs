use proptest::prelude::*;

use super::*;
use crate::anomaly::Anomaly;

const MINUTE: i64 = 60_000_000;
const BAND: Band = Band { expected: 100.0, lower: 50.0, upper: 200.0 };

/// A judgement against a band of 50 to 200 around 100.
fn judged(key: &str, window: (i64, i64), value: f64) -> Judgement {
    let score = BAND.score(value);
    let outside = !(50.0..=200.0).contains(&value);
    let anomaly = outside.then(|| Anomaly {
        detector: "d".into(),
        kind: "traffic_spike",
        key: key.into(),
        window_start: window.0,
        window_end: window.1,
        value,
        expected: 100.0,
        lower: 50.0,
        upper: 200.0,
        score,
        severity: match score {
            s if s >= 0.75 => Severity::Critical,
            s if s >= 0.6 => Severity::Warning,
            _ => Severity::Info,
        },
        reason: format!("requests of {key} {value}"),
    });
    Judgement { key: key.into(), value, band: Some(BAND), score, outside, anomaly }
}

fn window(minute: i64) -> (i64, i64) {
    (minute * MINUTE, (minute + 1) * MINUTE)
}

/// Runs one series, a value a minute; `None`: it is not in the window.
fn run(policy: Policy, values: &[Option<f64>]) -> Vec<(i64, AnomalyEvent)> {
    let mut life = Lifecycle::new("d", "traffic_spike", policy);
    let mut all = Vec::new();
    for (minute, value) in (0_i64..).zip(values) {
        let judgements: Vec<_> = value.iter().map(|v| judged("/a", window(minute), *v)).collect();
        all.extend(life.step(window(minute), &judgements).into_iter().map(|e| (minute, e)));
    }
    all
}

fn told(events: &[(i64, AnomalyEvent)]) -> Vec<(i64, &'static str)> {
    events.iter().map(|(minute, e)| (*minute, e.event.as_str())).collect()
}

#[test]
fn one_anomaly_opens_once_and_closes_once() {
    let values = [100.0, 250.0, 260.0, 900.0, 250.0, 100.0, 110.0, 90.0, 100.0].map(Some);
    let events = run(Policy::default(), &values);
    assert_eq!(told(&events), [(1, "opened"), (3, "updated"), (7, "closed")]);
    let closed = &events[2].1;
    assert_eq!((closed.started_at, closed.ended_at), (MINUTE, Some(5 * MINUTE)));
    assert_eq!((closed.windows, closed.peak_value, closed.value), (4, 900.0, 250.0));
    assert_eq!(closed.severity, Severity::Critical, "it does not fall");
    assert_eq!(closed.reason, "requests of /a 900, for 4 minutes; over");
    assert_eq!(&*closed.id, "d:19700101T000100Z:07d66707b49cd92d", "a name for ever");
    assert!(events.iter().all(|(_, e)| e.id == closed.id));
    assert_eq!(events[0].1.reason, "requests of /a 250");
    assert_eq!(events[0].1.ended_at, None);
}

#[test]
fn a_value_around_the_edge_is_one_anomaly() {
    let values = [210.0, 190.0, 205.0, 195.0, 190.0, 195.0, 203.0, 100.0, 100.0, 100.0].map(Some);
    assert_eq!(told(&run(Policy::default(), &values)), [(0, "opened"), (9, "closed")]);
    // Near the other edge is in line.
    let values = [210.0, 51.0, 51.0, 51.0].map(Some);
    assert_eq!(told(&run(Policy::default(), &values)), [(0, "opened"), (3, "closed")]);
    // What stays near the edge is the new usual.
    let mut values = vec![Some(210.0)];
    values.extend(vec![Some(195.0); 20]);
    assert_eq!(told(&run(Policy::default(), &values)), [(0, "opened"), (15, "closed")]);
}

#[test]
fn a_series_that_is_gone_is_clean() {
    let values = [Some(300.0), None, None, None];
    assert_eq!(told(&run(Policy::default(), &values)), [(0, "opened"), (3, "closed")]);
}

#[test]
fn updates_are_bounded() {
    let events = run(Policy::default(), &vec![Some(10_000.0); 100]);
    let updates = events.iter().filter(|(_, e)| e.event == EventKind::Updated).count();
    assert_eq!((updates, events.len()), (9, 10), "one in ten windows");
    let quiet = Policy { update_every: 0, ..Policy::default() };
    assert_eq!(run(quiet, &vec![Some(10_000.0); 100]).len(), 1);
}

#[test]
fn opening_can_take_several_windows() {
    let policy = Policy { open_after: 3, clear_after: 1, update_every: 0 };
    let values = [300.0, 300.0, 100.0, 300.0, 300.0, 300.0, 100.0].map(Some);
    let events = run(policy, &values);
    assert_eq!(told(&events), [(5, "opened"), (6, "closed")]);
    assert_eq!(events[0].1.started_at, 3 * MINUTE);
    assert_eq!(events[0].1.reason, "requests of /a 300, for 3 minutes");
}

#[test]
fn damaged_state_is_refused() {
    let mut life = Lifecycle::new("d", "traffic_spike", Policy::default());
    life.step(window(0), &[judged("/a", window(0), 300.0), judged("/b", window(0), 900.0)]);
    let bytes = life.snapshot();
    let mut other = Lifecycle::new("d", "traffic_spike", Policy::default());
    for cut in 0..bytes.len() {
        assert!(other.restore(&bytes[..cut]).is_err(), "{cut}");
    }
    assert_eq!(other.open().count(), 0);
    other.restore(&bytes).unwrap();
    assert_eq!(other, life);
}

proptest! {
    /// Whatever comes: events of an anomaly are opened, updated ..., closed; open ones are those
    /// that `open` names; a snapshot in between changes nothing.
    #[test]
    fn events_make_sense(
        rounds in prop::collection::vec(
            prop::collection::btree_map("[ab]", 40.0..300.0f64, 0..3), 1..60),
        open_after in 1u32..4,
        clear_after in 1u32..4,
        update_every in 0u32..4,
        cut in 0usize..60,
    ) {
        let policy = Policy { open_after, clear_after, update_every };
        let mut life = Lifecycle::new("d", "traffic_spike", policy);
        let mut open = BTreeMap::<Arc<str>, AnomalyEvent>::new();
        for (i, round) in rounds.iter().enumerate() {
            if i == cut {
                let bytes = life.snapshot();
                life = Lifecycle::new("d", "traffic_spike", policy);
                life.restore(&bytes).unwrap();
            }
            let window = window(i as i64);
            let judgements: Vec<_> = round.iter().map(|(k, v)| judged(k, window, *v)).collect();
            for event in life.step(window, &judgements) {
                match event.event {
                    EventKind::Opened => {
                        prop_assert!(open.insert(event.key.clone(), event).is_none());
                    }
                    EventKind::Updated => {
                        let before = open.insert(event.key.clone(), event.clone()).unwrap();
                        prop_assert_eq!(&before.id, &event.id);
                        prop_assert!(before.severity <= event.severity);
                        prop_assert!(before.windows < event.windows);
                    }
                    EventKind::Closed => {
                        let before = open.remove(&event.key).unwrap();
                        prop_assert_eq!(before.id, event.id);
                        prop_assert!(event.ended_at.unwrap() <= window.0);
                    }
                }
            }
            let named: Vec<_> = life.open().map(|e| e.id).collect();
            prop_assert_eq!(named, open.values().map(|e| e.id.clone()).collect::<Vec<_>>());
        }
    }
}
