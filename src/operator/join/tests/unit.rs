//! Single cases: boundaries, what snapshots hold, memory, plans and bytes that do not fit.

use super::*;
use crate::operator::testing::Store;

type AllIds = Vec<(Option<i64>, Option<i64>)>;

fn feed(operator: &mut Join, plan: &JoinPlan, input: usize, rows: &[Row]) -> (AllIds, Merged) {
    let mut out = vec![];
    let routed = plan.router(input).unwrap().route(&batch(rows), 1).unwrap();
    let mut merged = Merged::default();
    for part in routed.parts.iter().flatten() {
        merged = operator.rows(input, part, &mut out).unwrap();
    }
    (out.iter().flat_map(ids).collect(), merged)
}

fn advance(operator: &mut Join, watermark: i64) -> AllIds {
    let mut out = vec![];
    operator.advance(watermark, &mut out).unwrap();
    out.iter().flat_map(ids).collect()
}

fn hour(kind: JoinKind) -> JoinPlan {
    join_plan(kind, &["k"], [Some(3_600 * SECOND); 2], None)
}

#[test]
fn pairs_come_out_as_soon_as_both_are_there() {
    let plan = hour(JoinKind::Inner);
    let mut state = plan.operator().unwrap();
    assert!(feed(&mut state, &plan, 0, &[row(1, 1, "a"), row(2, 1, "b")]).0.is_empty());
    let (out, _) = feed(&mut state, &plan, 1, &[row(3, 5, "a"), row(4, 5, "c"), row(5, 5, "a")]);
    assert_eq!(out, [(Some(1), Some(3)), (Some(1), Some(5))]);
    assert_eq!(feed(&mut state, &plan, 0, &[row(6, 9, "c")]).0, [(Some(6), Some(4))]);
}

#[test]
fn rows_without_a_match_come_out_when_they_are_due_and_not_before() {
    let plan = join_plan(JoinKind::Full, &["k"], [Some(10 * SECOND), Some(-5 * SECOND)], None);
    let mut state = plan.operator().unwrap();
    feed(&mut state, &plan, 0, &[row(1, 20, "a"), row(2, 21, "b"), row(3, 20, "c")]);
    feed(&mut state, &plan, 1, &[row(4, 25, "c"), row(5, 25, "d")]);
    assert_eq!(advance(&mut state, 20 * SECOND), []);
    assert_eq!(advance(&mut state, 20 * SECOND + 1), [(None, Some(5))]);
    assert_eq!(advance(&mut state, 30 * SECOND), []);
    assert_eq!(advance(&mut state, 30 * SECOND + 1), [(Some(1), None)]);
    // It can match nothing from the start.
    assert_eq!(feed(&mut state, &plan, 1, &[row(6, 31, "x")]).0, [(None, Some(6))]);
    assert_eq!(advance(&mut state, i64::MAX), [(Some(2), None)]);
    assert_eq!(state.stats().groups, 0);
    assert!(state.stats().bytes < 20_000);
}

#[test]
fn late_rows_are_dropped_and_counted_whatever_the_kind() {
    for kind in [JoinKind::Inner, JoinKind::Left, JoinKind::Full, JoinKind::LeftSemi] {
        let plan = hour(kind);
        let mut state = plan.operator().unwrap();
        advance(&mut state, 10 * SECOND);
        let (out, merged) = feed(&mut state, &plan, 0, &[row(1, 10, "a"), row(2, 11, "a")]);
        assert!(out.is_empty());
        assert_eq!(merged, Merged { late_rows: 1, rows: 1, duplicates: 0 });
        assert_eq!(feed(&mut state, &plan, 1, &[row(3, 11, "a")]).0.len(), 1);
    }
}

#[test]
fn what_follows_is_told_how_old_rows_can_be() {
    let plan = |kind| join_plan(kind, &["k"], [Some(10 * SECOND), Some(-5 * SECOND)], None);
    for kind in [JoinKind::Left, JoinKind::Inner, JoinKind::Full] {
        let plan = plan(kind);
        let mut state = plan.operator().unwrap();
        assert_eq!(state.output_watermark(), None);
        feed(&mut state, &plan, 0, &[row(1, 90, "a")]);
        let alone = advance(&mut state, 100 * SECOND);
        assert!(alone.is_empty());
        let reached = state.output_watermark().unwrap();
        assert_eq!(reached, 90 * SECOND - 1);
        // The oldest row that can still come out is not late there.
        assert_eq!(feed(&mut state, &plan, 1, &[row(2, 106, "a")]).0[0].0, Some(1));
        advance(&mut state, i64::MAX);
        assert_eq!(state.output_watermark(), Some(i64::MAX));
    }
    let narrow = join_plan(JoinKind::LeftSemi, &["k"], [Some(0), Some(3_600 * SECOND)], None);
    let mut state = narrow.operator().unwrap();
    advance(&mut state, 100 * SECOND);
    assert_eq!(state.output_watermark(), Some(100 * SECOND - 1));
}

#[test]
fn a_semi_join_gives_each_left_row_once() {
    let plan = hour(JoinKind::LeftSemi);
    let mut state = plan.operator().unwrap();
    feed(&mut state, &plan, 0, &[row(1, 1, "a"), row(2, 1, "a"), row(3, 1, "b")]);
    let (out, _) = feed(&mut state, &plan, 1, &[row(4, 1, "a"), row(5, 1, "a")]);
    assert_eq!(out, [(Some(1), None), (Some(2), None)]);
    assert!(feed(&mut state, &plan, 1, &[row(6, 1, "a")]).0.is_empty());
    assert_eq!(feed(&mut state, &plan, 0, &[row(7, 1, "a")]).0, [(Some(7), None)]);
}

#[test]
fn a_key_with_very_many_rows_gives_them_in_pieces() {
    let plan = hour(JoinKind::Inner);
    let mut state = plan.operator().unwrap();
    let many: Vec<Row> = (0..30_000).map(|id| row(id, 1 + id / 10, "a")).collect();
    feed(&mut state, &plan, 0, &many);
    let mut out = vec![];
    let routed = plan.router(1).unwrap().route(&batch(&[row(-1, 1, "a")]), 1).unwrap();
    state.rows(1, routed.parts[0].as_ref().unwrap(), &mut out).unwrap();
    assert_eq!(out.iter().map(RecordBatch::num_rows).sum::<usize>(), 30_000);
    assert!(out.iter().all(|batch| batch.num_rows() <= 8_192));
    advance(&mut state, i64::MAX);
    assert_eq!(state.stats().groups, 0);
}

#[test]
fn snapshots_hold_only_what_is_new() {
    let plan = hour(JoinKind::Left);
    let mut state = plan.operator().unwrap();
    let rows = |from: i64, to: i64| -> Vec<Row> {
        (from..to).map(|id| row(id, 1, &format!("key {id}"))).collect()
    };
    feed(&mut state, &plan, 0, &rows(0, 5_000));
    let first = state.snapshot().unwrap();
    assert_eq!((first.segments.len(), first.segments[0].groups), (1, 5_000));
    assert!(state.snapshot().unwrap().segments.is_empty());
    // Matches of rows that are there: a segment without rows on the left, two rows on the right.
    feed(&mut state, &plan, 1, &rows(3_000, 3_002));
    let delta = state.snapshot().unwrap();
    let groups: Vec<usize> = delta.segments.iter().map(|segment| segment.groups).collect();
    assert_eq!(groups, [0, 2]);
    assert!(delta.segments[0].bytes.len() < 1_500, "{}", delta.segments[0].bytes.len());
    let mut store = Store::default();
    store.apply(0, first);
    store.apply(0, delta);
    let mut other = plan.operator().unwrap();
    other.restore(&store.bytes(), None, (0, 1)).unwrap();
    let alone = advance(&mut other, i64::MAX);
    assert_eq!(alone.len(), 4_998);
}

#[test]
fn small_batches_are_merged() {
    let plan = hour(JoinKind::Inner);
    let mut state = plan.operator().unwrap();
    let mut router = plan.router(0).unwrap();
    for id in 0..5_000 {
        let routed = router.route(&batch(&[row(id, 1, &format!("key {id}"))]), 1).unwrap();
        state.rows(0, routed.parts[0].as_ref().unwrap(), &mut vec![]).unwrap();
    }
    let stats = state.stats();
    assert_eq!(stats.groups, 5_000);
    assert!(stats.bytes < 5_000 * 250, "{}", stats.bytes);
    let wanted: Vec<Row> = (0..5_000).map(|id| row(id, 1, &format!("key {id}"))).collect();
    let (out, _) = feed(&mut state, &plan, 1, &wanted);
    assert!(out.iter().all(|(left, right)| left == right) && out.len() == 5_000);
}

#[test]
fn what_does_not_fit_is_refused() {
    let plan = hour(JoinKind::Left);
    let mut state = plan.operator().unwrap();
    feed(&mut state, &plan, 0, &[row(1, 1, "a")]);
    feed(&mut state, &plan, 1, &[row(2, 1, "a")]);
    let segments = state.snapshot().unwrap().segments;
    assert_eq!(segments.len(), 2);
    for segment in segments {
        for broken in [&segment.bytes[..segment.bytes.len() / 2], b"", b"nonsense"] {
            assert!(state.restore(&[broken], None, (0, 1)).is_err());
        }
        let mut flipped = segment.bytes.clone();
        for at in 0..flipped.len() {
            flipped[at] ^= 0x40;
            assert!(state.restore(&[&flipped], None, (0, 1)).is_err(), "byte {at}");
            flipped[at] ^= 0x40;
        }
    }
    let projected = batch(&[row(1, 1, "a")]).project(&[0]).unwrap();
    assert!(state.rows(0, &projected, &mut vec![]).is_err());
    assert!(state.rows(2, &batch(&[row(1, 1, "a")]), &mut vec![]).is_err());

    let mut other = hour(JoinKind::Inner);
    other.right.keys = vec![col("r.id")];
    assert!(other.operator().err().is_some_and(|error| error.to_string().contains("Utf8")));
    let mut timeless = hour(JoinKind::Inner);
    timeless.left.time = None;
    assert!(timeless.operator().is_err());
    let mut keyless = hour(JoinKind::Inner);
    (keyless.left.keys, keyless.right.keys) = (vec![], vec![]);
    assert!(keyless.operator().is_err());
    let mut narrow = hour(JoinKind::Inner);
    narrow.output = Arc::clone(&narrow.left.input);
    assert!(narrow.operator().is_err());
}

#[test]
fn times_at_the_rim_of_64_bits() {
    for keep in [i64::MIN, -1, 0, i64::MAX] {
        let plan = join_plan(JoinKind::Left, &["k"], [Some(keep); 2], None);
        let mut state = plan.operator().unwrap();
        let rows = [i64::MIN, i64::MIN + 1, i64::MAX, i64::MAX - 1]
            .map(|ts| Row { ts: Some(ts), ..row(1, 0, &ts.to_string()) });
        assert!(feed(&mut state, &plan, 0, &rows).0.is_empty());
        state.snapshot().unwrap();
        assert_eq!(advance(&mut state, i64::MAX).len(), 4);
        assert_eq!(state.stats().groups, 0);
    }
}
