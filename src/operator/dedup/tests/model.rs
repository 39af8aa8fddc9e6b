//! Random streams: any batches, watermarks, snapshots, crashes and changes of the number of shards
//! must give what a list of everything that was seen gives.

use proptest::prelude::*;

use super::*;
use crate::operator::testing::{MovedClock, Step, run};

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let row = (
        proptest::option::weighted(0.95, -60..60i64),
        proptest::option::weighted(0.9, 0..5u8),
        proptest::option::weighted(0.8, prop_oneof![Just(0.0), Just(-0.0), Just(f64::NAN)]),
    );
    let row = row.prop_map(|(ts, k, x)| Row {
        id: 0,
        ts: ts.map(|ts| ts * SECOND),
        k: k.map(|k| format!("key-{k}")),
        x,
    });
    proptest::collection::vec(row, 0..30)
}

fn steps() -> impl Strategy<Value = Vec<Step<Vec<Row>>>> {
    let watermark = || (-70i64..70).prop_map(|at| at * SECOND);
    let step = prop_oneof![
        6 => rows().prop_map(|rows| Step::Batch(0, rows)),
        3 => watermark().prop_map(Step::Watermark),
        2 => (0..40i64).prop_map(|at| Step::Wait(at * SECOND)),
        2 => Just(Step::Snapshot),
        1 => (watermark(), any::<u8>()).prop_map(|(to, early)| Step::Skewed(to, early)),
        2 => (1..5usize).prop_map(Step::Crash),
    ];
    proptest::collection::vec(step, 1..40).prop_map(|mut steps| {
        let mut id = 0;
        for step in &mut steps {
            if let Step::Batch(_, rows) = step {
                rows.iter_mut().for_each(|row| (row.id, id) = (id, id + 1));
            }
        }
        steps
    })
}

fn keeps() -> impl Strategy<Value = Keep> {
    prop_oneof![
        Just(Keep::UntilWatermark),
        (0..60i64).prop_map(|at| Keep::EventTime { us: at * SECOND }),
        (0..60i64).prop_map(|at| Keep::Wall { us: at * SECOND }),
    ]
}

/// Equal for keys that are equal: one zero, one NaN.
fn key(row: &Row, keep: Keep) -> String {
    let x = row.x.map(|x| if x.is_nan() { "NaN".to_owned() } else { (x + 0.0).to_string() });
    let ts = (keep == Keep::UntilWatermark).then_some(row.ts);
    format!("{:?} {x:?} {ts:?}", row.k)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn equals_a_list_of_what_was_seen(steps in steps(), keep in keeps()) {
        let mut keys = vec![col("t.k"), col("t.x")];
        if keep == Keep::UntilWatermark {
            keys.insert(1, col("t.ts"));
        }
        let plan = dedup_plan(keys, keep);
        let clock = MovedClock::default();
        let outcome = run(
            &steps,
            &clock,
            &|| Box::new(plan.operator_on(clock.clock()).unwrap()),
            &mut [Box::new(plan.router().unwrap())],
            &|_, rows| batch(rows),
        );
        let mut found: Vec<(usize, i64)> = outcome
            .out
            .iter()
            .flat_map(|(step, batch)| ids(batch).into_iter().map(|id| (*step, id)))
            .collect();
        found.sort_unstable();

        let (mut mark, mut now) = (i64::MIN, 0);
        let mut seen: Vec<(String, i64)> = vec![];
        let (mut expected, mut merged, mut null_time) = (vec![], Merged::default(), 0);
        for (number, step) in steps.iter().enumerate() {
            match step {
                Step::Batch(_, rows) => for row in rows {
                    let due = match keep {
                        Keep::Wall { us } => now + us,
                        Keep::UntilWatermark | Keep::EventTime { .. } => {
                            let us = if let Keep::EventTime { us } = keep { us } else { 0 };
                            let Some(ts) = row.ts else { null_time += 1; continue };
                            if ts <= mark { merged.late_rows += 1; continue }
                            ts + us
                        }
                    };
                    let reached = if matches!(keep, Keep::Wall { .. }) { now } else { mark };
                    let key = key(row, keep);
                    if seen.iter().any(|(known, due)| *known == key && *due > reached) {
                        merged.duplicates += 1;
                    } else {
                        merged.rows += 1;
                        seen.push((key, due));
                        expected.push((number, row.id));
                    }
                },
                Step::Watermark(to) | Step::Skewed(to, _) => mark = mark.max(*to),
                Step::Wait(us) => now += us,
                _ => {}
            }
        }
        prop_assert_eq!(found, expected);
        prop_assert_eq!(outcome.merged, merged);
        prop_assert_eq!(outcome.null_time, null_time);
    }
}
