//! Single cases: the boundary of lateness, what snapshots hold, plans and bytes that do not fit.

use super::*;
use crate::operator::testing::MovedClock;

fn feed(operator: &mut Dedup, plan: &DedupPlan, rows: &[Row]) -> (Vec<i64>, Merged) {
    let mut out = vec![];
    let routed = plan.router().unwrap().route(&batch(rows), 1).unwrap();
    let mut merged = Merged::default();
    for part in routed.parts.iter().flatten() {
        merged = operator.rows(0, part, &mut out).unwrap();
    }
    (out.iter().flat_map(ids).collect(), merged)
}

fn advance(operator: &mut Dedup, seconds: i64) {
    let mut out = vec![];
    operator.advance(seconds * SECOND, &mut out).unwrap();
    assert!(out.is_empty());
}

#[test]
fn the_first_row_of_a_key_goes_out_at_once() {
    let plan = dedup_plan(vec![col("t.k")], Keep::EventTime { us: 10 * SECOND });
    let mut state = plan.operator().unwrap();
    let rows = [row(1, 20, "a"), row(2, 5, "a"), row(3, 20, "b"), row(4, 20, "a")];
    let (out, merged) = feed(&mut state, &plan, &rows);
    assert_eq!(out, [1, 3]);
    assert_eq!(merged, Merged { late_rows: 0, rows: 2, duplicates: 2 });
    // 20 s + 10 s: the key is known until the watermark is there.
    advance(&mut state, 29);
    assert_eq!(feed(&mut state, &plan, &[row(5, 35, "a")]).0, [0i64; 0]);
    advance(&mut state, 30);
    assert_eq!(feed(&mut state, &plan, &[row(6, 35, "a")]).0, [6]);
    assert_eq!(feed(&mut state, &plan, &[row(7, 36, "a")]).0, [0i64; 0]);
}

#[test]
fn a_row_is_late_from_the_moment_the_watermark_reaches_it() {
    let plan = dedup_plan(vec![col("t.k"), col("t.ts")], Keep::UntilWatermark);
    let mut state = plan.operator().unwrap();
    advance(&mut state, 10);
    let (out, merged) = feed(&mut state, &plan, &[row(1, 10, "a"), row(2, 11, "a")]);
    assert_eq!(out, [2]);
    assert_eq!(merged, Merged { late_rows: 1, rows: 1, duplicates: 0 });
    advance(&mut state, 0);
    assert_eq!(state.watermark(), Some(10 * SECOND), "the watermark never goes back");
}

#[test]
fn nulls_and_floats_that_are_equal_in_spark_are_one_key() {
    let plan = dedup_plan(vec![col("t.k"), col("t.x")], Keep::EventTime { us: 10 * SECOND });
    let mut state = plan.operator().unwrap();
    let other_nan = f64::from_bits(f64::NAN.to_bits() ^ 1);
    let xs = [None, None, Some(0.0), Some(-0.0), Some(f64::NAN), Some(-f64::NAN), Some(other_nan)];
    let rows: Vec<Row> = xs
        .iter()
        .enumerate()
        .map(|(id, x)| Row { id: id as i64, ts: Some(SECOND), k: None, x: *x })
        .collect();
    assert_eq!(feed(&mut state, &plan, &rows).0, [0, 2, 4]);
}

#[test]
fn an_expression_can_be_a_key() {
    use datafusion::prelude::lit;
    let plan = dedup_plan(vec![col("t.id") % lit(3_i64)], Keep::EventTime { us: SECOND });
    let mut state = plan.operator().unwrap();
    let rows: Vec<Row> = (0..9).map(|id| row(id, 1, "a")).collect();
    assert_eq!(feed(&mut state, &plan, &rows).0, [0, 1, 2]);
}

#[test]
fn keys_leave_memory_and_checkpoint_with_their_pane() {
    let plan = dedup_plan(vec![col("t.id")], Keep::EventTime { us: 60 * SECOND });
    let mut state = plan.operator().unwrap();
    let rows: Vec<Row> = (0..10_000).map(|id| row(id, 100 + id / 100, "a")).collect();
    feed(&mut state, &plan, &rows);
    let full = state.stats();
    assert_eq!(full.groups, 10_000);
    assert!(full.open_windows > 10);
    let panes = state.snapshot().unwrap().segments.len();
    assert_eq!(panes, full.open_windows);
    advance(&mut state, 230);
    let half = state.stats().groups;
    assert!((3_000..4_000).contains(&half), "{half}");
    let closed = state.snapshot().unwrap().closed;
    assert!(closed.len() > panes / 2 && closed.len() < panes);
    advance(&mut state, i64::MAX / SECOND);
    assert_eq!(state.stats().groups, 0);
    assert!(state.stats().bytes < 10_000);
}

#[test]
fn snapshots_hold_only_what_is_new() {
    let plan = dedup_plan(vec![col("t.k")], Keep::EventTime { us: 3_600 * SECOND });
    let mut state = plan.operator().unwrap();
    let rows = |from: i64, to: i64| -> Vec<Row> {
        (from..to).map(|id| row(id, 1, &format!("key {id}"))).collect()
    };
    feed(&mut state, &plan, &rows(0, 5_000));
    assert_eq!(state.snapshot().unwrap().segments[0].groups, 5_000);
    assert!(state.snapshot().unwrap().segments.is_empty());
    let mut written = 5_000;
    for epoch in 0..200 {
        feed(&mut state, &plan, &rows(5_000 + epoch * 10, 5_010 + epoch * 10));
        let delta = state.snapshot().unwrap();
        assert_eq!(delta.segments.len(), 1);
        assert!(delta.segments[0].whole || delta.segments[0].groups == 10);
        written += delta.segments[0].groups;
    }
    assert!(written < 7_000 + 3 * 7_000 + 200 * 10, "{written}");
}

#[test]
fn keys_are_kept_by_processing_time() {
    let plan = dedup_plan(vec![col("t.k")], Keep::Wall { us: 60 * SECOND });
    let clock = MovedClock::default();
    let mut state = plan.operator_on(clock.clock()).unwrap();
    assert_eq!(feed(&mut state, &plan, &[row(1, 1, "a"), row(2, 1, "b")]).0, [1, 2]);
    clock.set(59 * SECOND);
    assert_eq!(feed(&mut state, &plan, &[row(3, 9_999, "a")]).0, [0i64; 0]);
    clock.set(60 * SECOND);
    assert_eq!(feed(&mut state, &plan, &[row(4, 1, "a")]).0, [4]);
    clock.set(200 * SECOND);
    state.trigger(&mut vec![]).unwrap();
    assert_eq!(state.stats().groups, 0);
    // A clock that jumps back does not bring keys back to life.
    clock.set(0);
    assert_eq!(feed(&mut state, &plan, &[row(5, 1, "a")]).0, [5]);
}

/// Shards stop at a barrier with different watermarks, and are restored at the oldest.
#[test]
fn a_key_that_was_seen_again_is_restored_with_its_later_time() {
    let plan = dedup_plan(vec![col("t.k")], Keep::EventTime { us: 10 * SECOND });
    let mut state = plan.operator().unwrap();
    feed(&mut state, &plan, &[row(1, 20, "a")]);
    let mut segments = state.snapshot().unwrap().segments;
    advance(&mut state, 30);
    assert_eq!(feed(&mut state, &plan, &[row(2, 35, "a")]).0, [2]);
    let delta = state.snapshot().unwrap();
    assert!(delta.closed.is_empty(), "both are in the checkpoint");
    segments.extend(delta.segments);
    for _ in 0..2 {
        segments.reverse();
        let bytes: Vec<&[u8]> = segments.iter().map(|segment| segment.bytes.as_slice()).collect();
        let mut other = plan.operator().unwrap();
        other.restore(&bytes, Some(25 * SECOND), (0, 1)).unwrap();
        advance(&mut other, 31);
        assert_eq!(feed(&mut other, &plan, &[row(3, 40, "a")]).0, [0i64; 0]);
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let keep = Keep::EventTime { us: SECOND };
    let plan = dedup_plan(vec![col("t.k")], keep);
    let mut state = plan.operator().unwrap();
    feed(&mut state, &plan, &[row(1, 1, "a")]);
    let segment = state.snapshot().unwrap().segments.remove(0);
    let other = dedup_plan(vec![col("t.id")], keep);
    let error = other.operator().unwrap().restore(&[&segment.bytes], None, (0, 1)).unwrap_err();
    let error = error.to_string();
    assert!(error.contains("'q'") && error.contains("columns"), "{error}");
    for broken in [&segment.bytes[..segment.bytes.len() / 2], b"", b"nonsense"] {
        assert!(state.restore(&[broken], None, (0, 1)).is_err());
    }
    let mut flipped = segment.bytes.clone();
    for at in 0..flipped.len() {
        flipped[at] ^= 0x40;
        assert!(state.restore(&[&flipped], None, (0, 1)).is_err(), "byte {at}");
        flipped[at] ^= 0x40;
    }
    let projected = batch(&[row(1, 1, "a")]).project(&[0]).unwrap();
    assert!(state.rows(0, &projected, &mut vec![]).is_err());
    assert!(state.rows(1, &batch(&[row(1, 1, "a")]), &mut vec![]).is_err());
    assert!(plan.router().unwrap().route(&projected, 1).is_err());
    assert!(dedup_plan(vec![], keep).operator().is_err());
    let timeless = DedupPlan { time: None, ..plan };
    assert!(timeless.operator().is_err());
}

#[test]
fn times_at_the_rim_of_64_bits() {
    for keep in [Keep::EventTime { us: i64::MAX }, Keep::EventTime { us: -1 }, Keep::UntilWatermark]
    {
        let plan = dedup_plan(vec![col("t.k")], keep);
        let mut state = plan.operator().unwrap();
        let rows = [i64::MIN, i64::MIN + 1, i64::MAX, i64::MAX - 1]
            .map(|ts| Row { ts: Some(ts), ..row(1, 0, &ts.to_string()) });
        assert_eq!(feed(&mut state, &plan, &rows).0.len(), 4);
        assert_eq!(state.snapshot().unwrap().segments.iter().map(|s| s.groups).sum::<usize>(), 4);
        state.advance(i64::MAX, &mut vec![]).unwrap();
        assert_eq!(state.stats().groups, 0);
    }
}
