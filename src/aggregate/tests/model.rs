//! Random streams: any batches, any watermarks, snapshots, crashes and changes of the number of
//! shards must give what a naive recomputation gives.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use proptest::prelude::*;

use super::*;

const SQL: &str = "SELECT window.start AS start, window.end AS end, k, n, count(*) AS rows, \
    count(x) AS xs, sum(i) AS total, avg(i) AS mean, min(x) AS low, max(x) AS high, \
    count(DISTINCT i) AS kinds, sum(i) FILTER (WHERE x > 0) AS positive, \
    count(DISTINCT k) AS keys FROM t WHERE i IS NULL OR i <> 13 \
    GROUP BY n, window(ts, '10 seconds'), k HAVING count(*) <> 2";

/// The same rows, as the query gives them.
#[derive(Debug, Clone, PartialEq, PartialOrd)]
struct Output {
    start: i64,
    k: Option<String>,
    n: Option<i32>,
    rows: i64,
    xs: i64,
    total: Option<i64>,
    mean: Option<f64>,
    low: Option<f64>,
    high: Option<f64>,
    kinds: i64,
    positive: Option<i64>,
}

fn outputs(batch: &RecordBatch) -> Vec<Output> {
    let column = |name: &str| batch.column_by_name(name).unwrap().clone();
    let ints = |name: &str, row: usize| {
        let array = column(name);
        let array = array.as_primitive::<Int64Type>();
        array.is_valid(row).then(|| array.value(row))
    };
    let floats = |name: &str, row: usize| {
        let array = column(name);
        let array = array.as_primitive::<Float64Type>();
        array.is_valid(row).then(|| array.value(row))
    };
    (0..batch.num_rows())
        .map(|row| {
            let (start, end) = (column("start"), column("end"));
            let start = start.as_primitive::<TimestampMicrosecondType>().value(row);
            let end = end.as_primitive::<TimestampMicrosecondType>().value(row);
            assert_eq!(end - start, 10 * SECOND);
            let (k, n) = (column("k"), column("n"));
            let (k, n) = (k.as_string::<i32>(), n.as_primitive::<Int32Type>());
            Output {
                start,
                k: k.is_valid(row).then(|| k.value(row).to_owned()),
                n: n.is_valid(row).then(|| n.value(row)),
                rows: ints("rows", row).unwrap(),
                xs: ints("xs", row).unwrap(),
                total: ints("total", row),
                mean: floats("mean", row),
                low: floats("low", row),
                high: floats("high", row),
                kinds: ints("kinds", row).unwrap(),
                positive: ints("positive", row),
            }
        })
        .collect()
}

fn recompute(rows: &[Row]) -> Vec<Output> {
    type Key = (i64, Option<i32>, Option<String>);
    let mut groups: BTreeMap<Key, Vec<&Row>> = BTreeMap::new();
    for row in rows {
        let start = row.ts.unwrap().div_euclid(10 * SECOND) * 10 * SECOND;
        groups.entry((start, row.n, row.k.clone())).or_default().push(row);
    }
    let mut result = vec![];
    for ((start, n, k), rows) in groups {
        if rows.len() == 2 {
            continue;
        }
        let xs: Vec<f64> = rows.iter().filter_map(|row| row.x).collect();
        let is: Vec<i64> = rows.iter().filter_map(|row| row.i).collect();
        let sum = |values: &[i64]| (!values.is_empty()).then(|| values.iter().sum::<i64>());
        let positive: Vec<i64> = rows
            .iter()
            .filter(|row| row.x.is_some_and(|x| x > 0.0))
            .filter_map(|row| row.i)
            .collect();
        result.push(Output {
            start,
            k,
            n,
            rows: rows.len() as i64,
            xs: xs.len() as i64,
            total: sum(&is),
            mean: sum(&is).map(|sum| sum as f64 / is.len() as f64),
            low: xs.iter().copied().reduce(f64::min),
            high: xs.iter().copied().reduce(f64::max),
            kinds: is.iter().collect::<BTreeSet<_>>().len() as i64,
            positive: sum(&positive),
        });
    }
    result
}

#[derive(Debug, Clone)]
enum Step {
    Batch(Vec<Row>),
    Watermark(i64),
    Snapshot,
    /// Back to the last snapshot, with this many shards; what came after it comes again.
    Crash(usize),
}

fn rows() -> impl Strategy<Value = Row> {
    (
        proptest::option::weighted(0.95, -60_000_000i64..60_000_000),
        proptest::option::weighted(0.9, 0..4u8),
        proptest::option::weighted(0.9, 0..3i32),
        proptest::option::of(-3..3i32),
        proptest::option::of(10..16i64),
    )
        .prop_map(|(ts, k, n, x, i)| Row {
            ts,
            k: k.map(|k| format!("key-{k}")),
            n,
            x: x.map(f64::from),
            i,
        })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => proptest::collection::vec(rows(), 0..40).prop_map(Step::Batch),
        3 => (-70i64..70).prop_map(|at| Step::Watermark(at * SECOND)),
        3 => Just(Step::Snapshot),
        2 => (1..5usize).prop_map(Step::Crash),
    ];
    proptest::collection::vec(step, 1..40)
}

/// Live segments as a checkpoint store keeps them: by shard and pane, in the order written.
#[derive(Default, Clone)]
struct Store {
    segments: Vec<(usize, i64, Vec<u8>)>,
    watermark: Option<i64>,
}

impl Store {
    fn apply(&mut self, shard: usize, delta: StateDelta) {
        for segment in delta.segments {
            if segment.whole {
                self.segments.retain(|(s, pane, _)| (*s, *pane) != (shard, segment.pane));
            }
            self.segments.push((shard, segment.pane, segment.bytes));
        }
        for closed in delta.closed {
            self.segments.retain(|(s, pane, _)| (*s, *pane) != (shard, closed));
        }
        self.watermark = delta.watermark;
    }
}

struct Engine<'a> {
    query: &'a QueryPlan,
    reader: Reader,
    shards: Vec<TumblingState>,
    output: Vec<Output>,
    late: u64,
}

impl Engine<'_> {
    fn batch(&mut self, rows: &[Row]) {
        let partial = self.reader.partial(&super::batch(rows)).unwrap();
        let without = rows.iter().filter(|row| row.ts.is_none() && row.i != Some(13)).count();
        assert_eq!(partial.null_time, without as u64);
        let keys = self.reader.pre.key_columns();
        let parts = split_by_shard(&partial.rows, keys, self.shards.len()).unwrap();
        for (shard, part) in self.shards.iter_mut().zip(parts) {
            if let Some(part) = part {
                self.late += shard.merge(&part).unwrap().late_rows;
            }
        }
    }

    fn advance(&mut self, watermark: i64) {
        for shard in &mut self.shards {
            let batches = selected(self.query, &shard.advance(watermark).unwrap());
            let mut last = i64::MIN;
            for batch in &batches {
                let rows = outputs(batch);
                assert!(rows[0].start >= last, "oldest window first");
                last = rows[0].start;
                self.output.extend(rows);
            }
        }
    }

    fn restore(&mut self, store: &Store, shards: usize) {
        let segments: Vec<&[u8]> = store.segments.iter().map(|(_, _, b)| b.as_slice()).collect();
        self.shards = (0..shards)
            .map(|shard| {
                let mut state = TumblingState::new(window_plan(self.query)).unwrap();
                state.restore(&segments, store.watermark, (shard, shards)).unwrap();
                assert_eq!(state.watermark(), store.watermark);
                state
            })
            .collect();
    }
}

fn run(steps: &[Step]) -> Result<(), TestCaseError> {
    let query = planned(SQL);
    let plan = window_plan(&query);
    let mut engine = Engine {
        query: &query,
        reader: reader(&query),
        shards: vec![TumblingState::new(plan).unwrap()],
        output: vec![],
        late: 0,
    };
    // The checkpoint, and where the stream and the output stood when it was taken.
    let (mut store, mut position) = (Store::default(), (0, 0, 0));
    let mut restored = false;
    let mut crashed = vec![false; steps.len()];
    let mut at = 0;
    while let Some(step) = steps.get(at) {
        at += 1;
        match step {
            Step::Batch(rows) => engine.batch(rows),
            Step::Watermark(watermark) => engine.advance(*watermark),
            Step::Snapshot => {
                if std::mem::take(&mut restored) {
                    // The shards may be others now, and every pane is written whole.
                    store.segments.clear();
                }
                for (shard, state) in engine.shards.iter_mut().enumerate() {
                    store.apply(shard, state.snapshot().unwrap());
                }
                position = (at, engine.output.len(), engine.late);
            }
            Step::Crash(shards) if !crashed[at - 1] => {
                crashed[at - 1] = true;
                engine.restore(&store, *shards);
                restored = true;
                at = position.0;
                engine.output.truncate(position.1);
                engine.late = position.2;
            }
            Step::Crash(_) => {}
        }
    }
    engine.advance(i64::MAX);

    // The same stream, row by row, without any of it.
    let (mut watermark, mut kept, mut late) = (i64::MIN, vec![], 0);
    for step in steps {
        match step {
            Step::Batch(rows) => {
                for row in rows.iter().filter(|row| row.i != Some(13)) {
                    let Some(ts) = row.ts else { continue };
                    let end = (ts.div_euclid(10 * SECOND) + 1) * 10 * SECOND;
                    if end <= watermark {
                        late += 1;
                    } else {
                        kept.push(row.clone());
                    }
                }
            }
            Step::Watermark(to) => watermark = watermark.max(*to),
            _ => {}
        }
    }
    let sort = |mut rows: Vec<Output>| {
        rows.sort_by(|a, b| a.partial_cmp(b).unwrap());
        rows
    };
    prop_assert_eq!(sort(engine.output), sort(recompute(&kept)));
    prop_assert_eq!(engine.late, late);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn equals_a_recomputation(steps in steps()) {
        run(&steps)?;
    }
}
