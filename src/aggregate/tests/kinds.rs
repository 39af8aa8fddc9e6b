//! Every kind of window in every output mode: random streams, snapshots, crashes and changes of the
//! number of shards must give what a naive recomputation from all rows gives.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use proptest::prelude::*;

use super::*;
use crate::event_time::{Session, Sliding, Tumbling};

const SQL: &str = "SELECT window.start AS start, window.end AS end, k, n, count(*) AS rows, \
    count(x) AS xs, sum(i) AS total, avg(i) AS mean, min(x) AS low, max(x) AS high, \
    count(DISTINCT i) AS kinds, sum(i) FILTER (WHERE x > 0) AS positive \
    FROM t WHERE i IS NULL OR i <> 13 GROUP BY n, window(ts, '10 seconds'), k";

/// The same rows, as the query gives them.
#[derive(Debug, Clone, PartialEq, PartialOrd)]
struct Output {
    window: Window,
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
    let column = |name: &str| batch.column_by_name(name).unwrap();
    let times = |name: &str| column(name).as_primitive::<TimestampMicrosecondType>();
    let ints = |name: &str| column(name).as_primitive::<Int64Type>();
    let floats = |name: &str| column(name).as_primitive::<Float64Type>();
    fn get<T: Copy>(array: &dyn Array, row: usize, value: T) -> Option<T> {
        array.is_valid(row).then_some(value)
    }
    let (k, n) = (column("k").as_string::<i32>(), column("n").as_primitive::<Int32Type>());
    (0..batch.num_rows())
        .map(|row| {
            let int = |name| get(ints(name), row, ints(name).value(row));
            let float = |name| get(floats(name), row, floats(name).value(row));
            let time = |name| get(times(name), row, times(name).value(row));
            Output {
                window: time("start").zip(time("end")),
                k: k.is_valid(row).then(|| k.value(row).to_owned()),
                n: get(n, row, n.value(row)),
                rows: int("rows").unwrap(),
                xs: int("xs").unwrap(),
                total: int("total"),
                mean: float("mean"),
                low: float("low"),
                high: float("high"),
                kinds: int("kinds").unwrap(),
                positive: int("positive"),
            }
        })
        .collect()
}

type Key = (Option<i32>, Option<String>);
/// Start and end; `None` without windows.
type Window = Option<(i64, i64)>;
type Group = (Window, Key);

fn recompute(window: Window, (n, k): &Key, rows: &[Row]) -> Output {
    let xs: Vec<f64> = rows.iter().filter_map(|row| row.x).collect();
    let is: Vec<i64> = rows.iter().filter_map(|row| row.i).collect();
    let sum = |values: &[i64]| (!values.is_empty()).then(|| values.iter().sum::<i64>());
    let positive = rows.iter().filter(|row| row.x.is_some_and(|x| x > 0.0));
    Output {
        window,
        k: k.clone(),
        n: *n,
        rows: rows.len() as i64,
        xs: xs.len() as i64,
        total: sum(&is),
        mean: sum(&is).map(|sum| sum as f64 / is.len() as f64),
        low: xs.iter().copied().reduce(f64::min),
        high: xs.iter().copied().reduce(f64::max),
        kinds: is.iter().collect::<BTreeSet<_>>().len() as i64,
        positive: sum(&positive.filter_map(|row| row.i).collect::<Vec<_>>()),
    }
}

#[derive(Debug, Clone)]
enum Step {
    Batch(Vec<Row>),
    Watermark(i64),
    /// Trigger and snapshot.
    Epoch,
    /// The same, but only the first shard has heard of this watermark; the others do afterwards.
    Uneven(i64),
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
        any::<bool>(),
    )
        .prop_map(|(ts, k, n, x, i, round)| Row {
            // Whole seconds meet the bounds of windows.
            ts: ts.map(|ts| if round { ts / SECOND * SECOND } else { ts }),
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
        3 => Just(Step::Epoch),
        1 => (-70i64..70).prop_map(|at| Step::Uneven(at * SECOND)),
        2 => (1..5usize).prop_map(Step::Crash),
    ];
    proptest::collection::vec(step, 1..40)
}

/// Live segments as a checkpoint store keeps them: by shard and pane, in the order written.
#[derive(Default, Clone)]
struct Checkpoint {
    segments: Vec<(usize, i64, Vec<u8>)>,
    least: Option<i64>,
    newest: Option<i64>,
}

impl Checkpoint {
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
        self.least = if shard == 0 { delta.watermark } else { self.least.min(delta.watermark) };
        self.newest = if shard == 0 { delta.watermark } else { self.newest.max(delta.watermark) };
    }
}

struct Engine<'a> {
    query: &'a QueryPlan,
    plan: &'a AggregatePlan,
    reader: Reader,
    shards: Vec<Box<dyn Operator>>,
    output: Vec<Output>,
    late: u64,
    /// The checkpoint, and where the stream and the output stood when it was taken.
    checkpoint: Checkpoint,
    position: (usize, usize, u64),
    restored: bool,
}

impl Engine<'_> {
    fn take(&mut self, out: &[RecordBatch]) {
        self.output.extend(selected(self.query, out).iter().flat_map(outputs));
    }

    fn batch(&mut self, rows: &[Row]) {
        let rows = self.reader.feed.apply(&batch(rows)).unwrap();
        let routed = self.reader.pre.route(&rows, self.shards.len()).unwrap();
        let mut out = vec![];
        for (shard, part) in self.shards.iter_mut().zip(routed.parts) {
            if let Some(part) = part {
                self.late += shard.rows(0, &part, &mut out).unwrap().late_rows;
            }
        }
        self.take(&out);
    }

    fn advance(&mut self, watermark: i64, shards: std::ops::Range<usize>) {
        let mut out = vec![];
        for shard in &mut self.shards[shards] {
            shard.advance(watermark, &mut out).unwrap();
        }
        self.take(&out);
    }

    fn epoch(&mut self, at: usize) {
        if std::mem::take(&mut self.restored) {
            // The shards may be others now, and all state is written.
            self.checkpoint.segments.clear();
        }
        let mut out = vec![];
        for (number, shard) in self.shards.iter_mut().enumerate() {
            shard.trigger(&mut out).unwrap();
            self.checkpoint.apply(number, shard.snapshot().unwrap());
            assert!(shard.stats().bytes < 10_000_000);
        }
        self.take(&out);
        self.position = (at, self.output.len(), self.late);
    }

    fn crash(&mut self, shards: usize) {
        self.output.truncate(self.position.1);
        self.late = self.position.2;
        let Checkpoint { segments, least, newest } = &self.checkpoint;
        let segments: Vec<&[u8]> = segments.iter().map(|(_, _, b)| b.as_slice()).collect();
        self.shards = (0..shards)
            .map(|shard| {
                let mut state = operator(self.plan).unwrap();
                state.restore(&segments, *least, (shard, shards)).unwrap();
                assert_eq!(state.watermark(), *least);
                state
            })
            .collect();
        self.restored = true;
        if let Some(newest) = *newest {
            self.advance(newest, 0..shards);
        }
    }
}

/// Groups, each with all its rows.
struct Model {
    windows: Windows,
    mode: OutputMode,
    groups: BTreeMap<Group, Vec<Row>>,
    changed: BTreeSet<Group>,
    watermark: i64,
    output: Vec<Output>,
    late: u64,
}

impl Model {
    fn is_closed(&self, window: &Window) -> bool {
        self.mode != OutputMode::Complete && window.is_some_and(|(_, end)| end <= self.watermark)
    }

    fn row(&mut self, row: &Row) {
        let key = (row.n, row.k.clone());
        let windows: Vec<Window> = match (&self.windows, row.ts) {
            (Windows::None, _) => vec![None],
            (_, None) => return,
            (Windows::Tumbling(windows), Some(ts)) => {
                let start = windows.start(ts);
                vec![Some((start, windows.end(start)))]
            }
            (Windows::Sliding(windows), Some(ts)) => (-200..200)
                .map(|slide| windows.offset() + slide * windows.slide())
                .map(|start| (start, start + windows.size()))
                .filter(|(start, end)| *start <= ts && ts < *end)
                .map(Some)
                .collect(),
            (Windows::Session(windows), Some(ts)) => vec![Some((ts, windows.end(ts)))],
        };
        if windows.iter().all(|window| self.is_closed(window)) {
            self.late += 1;
            return;
        }
        for window in windows {
            if self.is_closed(&window) {
                continue;
            }
            let mut rows = vec![row.clone()];
            let mut at = window;
            if let (Windows::Session(_), Some((mut start, mut end))) = (&self.windows, window) {
                let joined: Vec<_> = self
                    .groups
                    .keys()
                    .filter(|(other, of)| {
                        *of == key && other.is_some_and(|(s, e)| s <= end && start <= e)
                    })
                    .cloned()
                    .collect();
                for joined in joined {
                    rows.extend(self.groups.remove(&joined).unwrap());
                    let (s, e) = joined.0.unwrap();
                    (start, end) = (start.min(s), end.max(e));
                }
                at = Some((start, end));
            }
            self.groups.entry((at, key.clone())).or_default().extend(rows);
            self.changed.insert((at, key.clone()));
        }
    }

    fn show(&mut self, group: &Group) {
        self.output.push(recompute(group.0, &group.1, &self.groups[group]));
    }

    fn watermark(&mut self, watermark: i64) {
        self.watermark = self.watermark.max(watermark);
        let closed: Vec<_> =
            self.groups.keys().filter(|(window, _)| self.is_closed(window)).cloned().collect();
        for group in closed {
            let changed = self.changed.remove(&group);
            if self.mode == OutputMode::Append || changed {
                self.show(&group);
            }
            self.groups.remove(&group);
        }
    }

    fn trigger(&mut self) {
        let shown: Vec<_> = match self.mode {
            OutputMode::Append => vec![],
            OutputMode::Update => self.changed.iter().cloned().collect(),
            OutputMode::Complete => self.groups.keys().cloned().collect(),
        };
        shown.iter().for_each(|group| self.show(group));
        self.changed.clear();
    }
}

fn run(windows: Windows, mode: OutputMode, steps: &[Step]) -> Result<(), TestCaseError> {
    let query = planned(SQL);
    let plan = over(&query, windows, mode);
    let mut engine = Engine {
        query: &query,
        plan: &plan,
        reader: reader_of(&query, &plan),
        shards: vec![operator(&plan).unwrap()],
        output: vec![],
        late: 0,
        checkpoint: Checkpoint::default(),
        position: (0, 0, 0),
        restored: false,
    };
    let mut crashed = vec![false; steps.len()];
    let mut at = 0;
    while let Some(step) = steps.get(at) {
        at += 1;
        let shards = engine.shards.len();
        match step {
            Step::Batch(rows) => engine.batch(rows),
            Step::Watermark(watermark) => engine.advance(*watermark, 0..shards),
            Step::Epoch => engine.epoch(at),
            Step::Uneven(watermark) => {
                engine.advance(*watermark, 0..1);
                engine.epoch(at);
                engine.advance(*watermark, 1..shards);
            }
            Step::Crash(shards) if !crashed[at - 1] => {
                crashed[at - 1] = true;
                engine.crash(*shards);
                at = engine.position.0;
            }
            Step::Crash(_) => {}
        }
    }
    let shards = engine.shards.len();
    engine.advance(i64::MAX, 0..shards);
    engine.epoch(at);

    // The same stream, row by row, without any of it.
    let mut model = Model {
        windows,
        mode,
        groups: BTreeMap::new(),
        changed: BTreeSet::new(),
        watermark: i64::MIN,
        output: vec![],
        late: 0,
    };
    for step in steps {
        match step {
            Step::Batch(rows) => {
                rows.iter().filter(|row| row.i != Some(13)).for_each(|row| model.row(row));
            }
            Step::Watermark(to) => model.watermark(*to),
            Step::Epoch => model.trigger(),
            Step::Uneven(to) => {
                model.watermark(*to);
                model.trigger();
            }
            Step::Crash(_) => {}
        }
    }
    model.watermark(i64::MAX);
    model.trigger();
    let sort = |mut rows: Vec<Output>| {
        rows.sort_by(|a, b| a.partial_cmp(b).unwrap());
        rows
    };
    prop_assert_eq!(sort(engine.output), sort(model.output));
    prop_assert_eq!(engine.late, model.late);
    if mode == OutputMode::Append {
        let left: usize = engine.shards.iter().map(|shard| shard.stats().groups).sum();
        prop_assert_eq!(left, 0);
        prop_assert!(engine.checkpoint.segments.iter().all(|(_, pane, _)| *pane == i64::MIN));
    }
    Ok(())
}

fn sliding() -> impl Strategy<Value = Windows> {
    (1..40i64, 1..40i64, -40..40i64).prop_map(|(size, slide, offset)| {
        let slide = slide.min(size);
        let offset = offset % slide * SECOND;
        Windows::Sliding(Sliding::new(size * SECOND, slide * SECOND, offset).unwrap())
    })
}

fn session() -> impl Strategy<Value = Windows> {
    (1..20i64).prop_map(|gap| Windows::Session(Session::new(gap * SECOND).unwrap()))
}

fn tumbling() -> Windows {
    Windows::Tumbling(Tumbling::new(10 * SECOND, 3 * SECOND).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn sliding_append(windows in sliding(), steps in steps()) {
        run(windows, OutputMode::Append, &steps)?;
    }

    #[test]
    fn sliding_update(windows in sliding(), steps in steps()) {
        run(windows, OutputMode::Update, &steps)?;
    }

    #[test]
    fn sliding_complete(windows in sliding(), steps in steps()) {
        run(windows, OutputMode::Complete, &steps)?;
    }

    #[test]
    fn session_append(windows in session(), steps in steps()) {
        run(windows, OutputMode::Append, &steps)?;
    }

    #[test]
    fn session_complete(windows in session(), steps in steps()) {
        run(windows, OutputMode::Complete, &steps)?;
    }

    #[test]
    fn tumbling_append(steps in steps()) {
        run(tumbling(), OutputMode::Append, &steps)?;
    }

    #[test]
    fn tumbling_update(steps in steps()) {
        run(tumbling(), OutputMode::Update, &steps)?;
    }

    #[test]
    fn tumbling_complete(steps in steps()) {
        run(tumbling(), OutputMode::Complete, &steps)?;
    }

    #[test]
    fn running_update(steps in steps()) {
        run(Windows::None, OutputMode::Update, &steps)?;
    }

    #[test]
    fn running_complete(steps in steps()) {
        run(Windows::None, OutputMode::Complete, &steps)?;
    }
}
