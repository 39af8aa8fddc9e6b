//! Runs an operator's shards through random histories: batches, watermarks, snapshots, crashes.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use arrow::array::RecordBatch;

use super::wall::WallClock;
use super::{Merged, Operator, Router, StateDelta};

/// What happens to the operator. `B` is a batch, as the test describes it.
#[derive(Debug, Clone)]
pub(super) enum Step<B> {
    /// Rows of an input.
    Batch(usize, B),
    /// Event time moves on (or back, which changes nothing).
    Watermark(i64),
    /// Processing time moves on by so much, and a trigger comes.
    Wait(i64),
    /// A barrier.
    Snapshot,
    /// A watermark that some shards (by bit) see before a barrier and the others after it.
    Skewed(i64, u8),
    /// Back to the last snapshot, with this many shards; what came after it comes again.
    Crash(usize),
}

/// Live segments as a checkpoint store keeps them: by shard and pane, in the order written.
#[derive(Default, Clone)]
pub(super) struct Store {
    pub(super) segments: Vec<(usize, i64, Vec<u8>)>,
    watermarks: Vec<Option<i64>>,
}

impl Store {
    pub(super) fn apply(&mut self, shard: usize, delta: StateDelta) {
        let of = |s: &usize, pane: &i64, other: i64| (*s, *pane) == (shard, other);
        for closed in delta.closed {
            self.segments.retain(|(s, pane, _)| !of(s, pane, closed));
        }
        for segment in delta.segments {
            if segment.whole {
                self.segments.retain(|(s, pane, _)| !of(s, pane, segment.pane));
            }
            self.segments.push((shard, segment.pane, segment.bytes));
        }
        self.watermarks.resize(self.watermarks.len().max(shard + 1), None);
        self.watermarks[shard] = delta.watermark;
    }

    pub(super) fn bytes(&self) -> Vec<&[u8]> {
        self.segments.iter().map(|(_, _, bytes)| bytes.as_slice()).collect()
    }
}

/// A clock that tests move.
#[derive(Clone, Default)]
pub(super) struct MovedClock(Arc<AtomicI64>);

impl MovedClock {
    pub(super) fn clock(&self) -> WallClock {
        let time = Arc::clone(&self.0);
        WallClock::from_fn(move || time.load(Ordering::Relaxed))
    }

    pub(super) fn now(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn set(&self, to: i64) {
        self.0.store(to, Ordering::Relaxed);
    }
}

/// What came of a history: batches with the step that gave them, and counts.
pub(super) struct Outcome {
    pub(super) out: Vec<(usize, RecordBatch)>,
    pub(super) merged: Merged,
    pub(super) null_time: u64,
}

struct Position {
    step: usize,
    out: usize,
    merged: Merged,
    null_time: u64,
    now: i64,
}

/// Runs a history.
pub(super) fn run<B>(
    steps: &[Step<B>],
    clock: &MovedClock,
    operator: &dyn Fn() -> Box<dyn Operator>,
    routers: &mut [Box<dyn Router>],
    batch: &dyn Fn(usize, &B) -> RecordBatch,
) -> Outcome {
    let mut shards = vec![operator()];
    let mut outcome = Outcome { out: vec![], merged: Merged::default(), null_time: 0 };
    let mut store = Store::default();
    let mut position =
        Position { step: 0, out: 0, merged: Merged::default(), null_time: 0, now: clock.now() };
    let mut restored = false;
    let mut crashed = vec![false; steps.len()];
    let mut at = 0;
    while let Some(step) = steps.get(at) {
        let now = at;
        at += 1;
        let mut out = vec![];
        let snapshot = |shard: usize, state: &mut dyn Operator, store: &mut Store| {
            let before = state.stats();
            let delta = state.snapshot().unwrap();
            let again = state.snapshot().unwrap();
            assert!(again.segments.is_empty() && again.closed.is_empty(), "nothing changed");
            assert_eq!(before.groups, state.stats().groups);
            store.apply(shard, delta);
        };
        match step {
            Step::Batch(input, rows) => {
                let routed = routers[*input].route(&batch(*input, rows), shards.len()).unwrap();
                outcome.null_time += routed.null_time;
                assert_eq!(routed.parts.len(), shards.len());
                for (shard, part) in shards.iter_mut().zip(routed.parts) {
                    let Some(part) = part else { continue };
                    let merged = shard.rows(*input, &part, &mut out).unwrap();
                    outcome.merged.late_rows += merged.late_rows;
                    outcome.merged.rows += merged.rows;
                    outcome.merged.duplicates += merged.duplicates;
                }
            }
            Step::Watermark(to) => {
                for shard in &mut shards {
                    shard.advance(*to, &mut out).unwrap();
                }
            }
            Step::Wait(us) => {
                clock.set(clock.now() + us);
                for shard in &mut shards {
                    shard.trigger(&mut out).unwrap();
                }
            }
            Step::Snapshot | Step::Skewed(..) => {
                if std::mem::take(&mut restored) {
                    // The shards may be others now, and every pane is written whole.
                    store = Store::default();
                }
                let (to, early) = match step {
                    Step::Skewed(to, early) => (Some(*to), *early),
                    _ => (None, 0),
                };
                let is_early = |shard: usize| early >> (shard % 8) & 1 == 1;
                let mut seen = vec![];
                for (number, shard) in shards.iter_mut().enumerate() {
                    if let Some(to) = to.filter(|_| is_early(number)) {
                        shard.advance(to, &mut seen).unwrap();
                    }
                    snapshot(number, shard.as_mut(), &mut store);
                }
                outcome.out.extend(seen.into_iter().map(|batch| (now, batch)));
                position = Position {
                    step: at,
                    out: outcome.out.len(),
                    merged: outcome.merged,
                    null_time: outcome.null_time,
                    now: clock.now(),
                };
                for shard in &mut shards {
                    if let Some(to) = to {
                        shard.advance(to, &mut out).unwrap();
                    }
                }
            }
            Step::Crash(count) if !crashed[now] => {
                crashed[now] = true;
                at = position.step;
                outcome.out.truncate(position.out);
                (outcome.merged, outcome.null_time) = (position.merged, position.null_time);
                clock.set(position.now);
                restored = true;
                let oldest = store.watermarks.iter().min().copied().flatten();
                let newest = match at.checked_sub(1).map(|step| &steps[step]) {
                    Some(Step::Skewed(to, _)) => {
                        store.watermarks.iter().max().copied().flatten().max(Some(*to))
                    }
                    _ => store.watermarks.iter().max().copied().flatten(),
                };
                shards = (0..*count)
                    .map(|number| {
                        let mut shard = operator();
                        shard.restore(&store.bytes(), oldest, (number, *count)).unwrap();
                        assert_eq!(shard.watermark(), oldest);
                        if let Some(newest) = newest {
                            shard.advance(newest, &mut out).unwrap();
                        }
                        shard
                    })
                    .collect();
                outcome.out.extend(out.drain(..).map(|batch| (at - 1, batch)));
            }
            Step::Crash(_) => {}
        }
        outcome.out.extend(out.into_iter().map(|batch| (now, batch)));
    }
    outcome
}
