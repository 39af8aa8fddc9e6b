//! Random streams: any batches, watermarks, snapshots, crashes and changes of the number of shards
//! must give what a list of all rows gives.

use proptest::prelude::*;

use super::*;
use crate::operator::testing::{MovedClock, Step, run};

type History = Vec<Step<Vec<Row>>>;
/// Left and right.
type Ids = (Option<i64>, Option<i64>);

fn rows(most: usize) -> impl Strategy<Value = Vec<Row>> {
    let row = (
        proptest::option::weighted(0.97, -60..60i64),
        proptest::option::weighted(0.9, 0..3u8),
        proptest::option::weighted(0.9, 0..3i32),
    );
    let row = row.prop_map(|(ts, k, n)| Row {
        id: 0,
        ts: ts.map(|ts| ts * SECOND),
        k: k.map(|k| format!("key-{k}")),
        n,
    });
    proptest::collection::vec(row, 0..most)
}

fn steps(
    most_rows: usize,
    batches: u32,
    length: std::ops::Range<usize>,
) -> impl Strategy<Value = History> {
    let watermark = || (-70i64..70).prop_map(|at| at * SECOND);
    let step = prop_oneof![
        batches => (0..2usize, rows(most_rows)).prop_map(|(input, rows)| Step::Batch(input, rows)),
        3 => watermark().prop_map(Step::Watermark),
        2 => (0..40i64).prop_map(|at| Step::Wait(at * SECOND)),
        3 => Just(Step::Snapshot),
        1 => (watermark(), any::<u8>()).prop_map(|(to, early)| Step::Skewed(to, early)),
        2 => (1..5usize).prop_map(Step::Crash),
    ];
    proptest::collection::vec(step, length).prop_map(|mut steps| {
        let mut id = 0;
        for step in &mut steps {
            if let Step::Batch(_, rows) = step {
                rows.iter_mut().for_each(|row| (row.id, id) = (id, id + 1));
            }
        }
        steps
    })
}

fn kinds() -> impl Strategy<Value = JoinKind> {
    prop_oneof![
        Just(JoinKind::Inner),
        Just(JoinKind::Left),
        Just(JoinKind::Right),
        Just(JoinKind::Full),
        Just(JoinKind::LeftSemi),
    ]
}

fn keeps() -> impl Strategy<Value = Option<i64>> {
    proptest::option::weighted(0.85, (-20..60i64).prop_map(|at| at * SECOND))
}

/// A kept row, as the model has it.
struct Kept {
    row: Row,
    came: i64,
    matched: bool,
    gone: bool,
}

struct Model<'a> {
    plan: &'a JoinPlan,
    sides: [Vec<Kept>; 2],
    mark: i64,
    now: i64,
    late: u64,
    null_time: u64,
    out: Vec<(usize, Ids)>,
}

impl Model<'_> {
    fn is_due(&self, input: usize, ts: i64, came: i64) -> bool {
        let side = if input == 0 { &self.plan.left } else { &self.plan.right };
        match (side.keep_us, self.plan.ttl_us) {
            (Some(keep), _) => self.mark > ts + keep,
            (None, Some(ttl)) => self.now >= came + ttl,
            (None, None) => false,
        }
    }

    fn matches(&self, left: &Row, right: &Row) -> bool {
        let condition = match (left.n, right.n) {
            _ if self.plan.filter.is_none() => true,
            (Some(left), Some(right)) => left < right,
            _ => false,
        };
        let two_keys = self.plan.left.keys.len() == 2;
        condition
            && left.k.is_some()
            && left.k == right.k
            && (!two_keys || left.ts.is_some() && left.ts == right.ts)
    }

    fn push(&mut self, step: usize, left: Option<i64>, right: Option<i64>) {
        self.out.push((step, (left, right)));
    }

    fn preserves(&self, input: usize) -> bool {
        match self.plan.kind {
            JoinKind::Inner | JoinKind::LeftSemi => false,
            JoinKind::Left => input == 0,
            JoinKind::Right => input == 1,
            JoinKind::Full => true,
        }
    }

    fn arrive(&mut self, step: usize, input: usize, row: &Row) {
        let Some(ts) = row.ts else { return self.null_time += 1 };
        if ts <= self.mark {
            // A row that the router drops for its NULL key is not counted.
            return self.late += u64::from(row.k.is_some() || self.preserves(input));
        }
        let is_semi = self.plan.kind == JoinKind::LeftSemi;
        let mut matched = false;
        for at in 0..self.sides[1 - input].len() {
            let other = &self.sides[1 - input][at];
            let (left, right) = if input == 0 { (row, &other.row) } else { (&other.row, row) };
            let due = self.is_due(1 - input, other.row.ts.unwrap(), other.came);
            if other.gone || due || !self.matches(left, right) {
                continue;
            }
            let (left, right) = (left.id, right.id);
            if !is_semi {
                self.push(step, Some(left), Some(right));
            } else if input == 1 {
                self.push(step, Some(left), None);
                self.sides[0][at].gone = true;
            }
            self.sides[1 - input][at].matched = true;
            matched = true;
        }
        if is_semi && input == 0 && matched {
            return self.push(step, Some(row.id), None);
        }
        self.sides[input].push(Kept { row: row.clone(), came: self.now, matched, gone: false });
        self.evict(step);
    }

    fn evict(&mut self, step: usize) {
        for input in 0..2 {
            for at in 0..self.sides[input].len() {
                let kept = &self.sides[input][at];
                if kept.gone || !self.is_due(input, kept.row.ts.unwrap(), kept.came) {
                    continue;
                }
                let (id, matched) = (Some(kept.row.id), kept.matched);
                self.sides[input][at].gone = true;
                if !matched && self.preserves(input) {
                    let (left, right) = if input == 0 { (id, None) } else { (None, id) };
                    self.push(step, left, right);
                }
            }
        }
    }
}

fn check(steps: &History, plan: &JoinPlan) -> Result<(), TestCaseError> {
    let clock = MovedClock::default();
    let outcome = run(
        steps,
        &clock,
        &|| Box::new(plan.operator_on(clock.clock()).unwrap()),
        &mut [Box::new(plan.router(0).unwrap()), Box::new(plan.router(1).unwrap())],
        &|_, rows| batch(rows),
    );
    let mut found: Vec<_> = outcome
        .out
        .iter()
        .flat_map(|(step, batch)| ids(batch).into_iter().map(|ids| (*step, ids)))
        .collect();
    found.sort_unstable();

    let mut model = Model {
        plan,
        sides: [vec![], vec![]],
        mark: i64::MIN,
        now: 0,
        late: 0,
        null_time: 0,
        out: vec![],
    };
    for (number, step) in steps.iter().enumerate() {
        match step {
            Step::Batch(input, rows) => {
                rows.iter().for_each(|row| model.arrive(number, *input, row));
            }
            Step::Watermark(to) | Step::Skewed(to, _) => {
                model.mark = model.mark.max(*to);
                model.evict(number);
            }
            Step::Wait(us) => {
                model.now += us;
                model.evict(number);
            }
            _ => {}
        }
    }
    model.out.sort_unstable();
    prop_assert_eq!(found, model.out);
    prop_assert_eq!(outcome.merged.late_rows, model.late);
    prop_assert_eq!(outcome.null_time, model.null_time);
    Ok(())
}

fn plan(
    kind: JoinKind,
    keep: [Option<i64>; 2],
    filter: bool,
    by_time: bool,
    ttl: bool,
) -> JoinPlan {
    let keys: &[&str] = if by_time { &["k", "ts"] } else { &["k"] };
    let filter = filter.then(|| col("l.n").lt(col("r.n")));
    JoinPlan { ttl_us: ttl.then_some(50 * SECOND), ..join_plan(kind, keys, keep, filter) }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn equals_a_list_of_all_rows(
        steps in steps(30, 8, 1..40),
        kind in kinds(),
        keep in [keeps(), keeps()],
        (filter, by_time, ttl) in any::<(bool, bool, bool)>(),
    ) {
        check(&steps, &plan(kind, keep, filter, by_time, ttl))?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// So many small batches that they are merged.
    #[test]
    fn small_batches_are_no_different(
        steps in steps(3, 60, 100..400),
        kind in kinds(),
        keep in [60..3_000i64, 60..3_000i64],
    ) {
        let keep = keep.map(|at| Some(at * SECOND));
        check(&steps, &plan(kind, keep, true, false, false))?;
    }
}
