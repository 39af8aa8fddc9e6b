//! Single cases: the boundary of lateness, segments, shards, plans that differ.

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;

use super::*;

const COUNT: &str =
    "SELECT window.start AS s, k, count(*) AS c FROM t GROUP BY window(ts, '1 minute'), k";

fn partial(plan: &QueryPlan, rows: &[Row]) -> RecordBatch {
    reader(plan).partial(&batch(rows)).unwrap().rows
}

fn total(batches: &[RecordBatch]) -> i64 {
    let counts = batches.iter().map(|batch| {
        let counts = batch.column_by_name("c").unwrap().clone();
        counts.as_primitive::<Int64Type>().iter().flatten().sum::<i64>()
    });
    counts.sum()
}

#[test]
fn a_row_is_late_from_the_very_moment_its_window_closes() {
    let query = planned(COUNT);
    let mut state = TumblingState::new(window_plan(&query)).unwrap();
    let rows = [row(59, "a", 1, 1.0), row(59, "a", 1, 1.0), row(60, "a", 1, 1.0)];
    let partial = partial(&query, &rows);
    assert!(state.advance(60 * SECOND - 1).unwrap().is_empty());
    assert_eq!(state.merge(&partial).unwrap(), Merged { rows: 3, ..Merged::default() });
    let closed = selected(&query, &state.advance(60 * SECOND).unwrap());
    assert_eq!(total(&closed), 2);
    assert_eq!(state.merge(&partial).unwrap(), Merged { late_rows: 2, rows: 1, duplicates: 0 });
    assert!(state.advance(0).unwrap().is_empty(), "the watermark never goes back");
    assert_eq!(state.watermark(), Some(60 * SECOND));
    assert_eq!(total(&selected(&query, &state.advance(i64::MAX).unwrap())), 2);
    assert_eq!(state.stats(), StateStats::default());
}

#[test]
fn windows_come_out_oldest_first() {
    let query = planned(COUNT);
    let mut state = TumblingState::new(window_plan(&query)).unwrap();
    let rows: Vec<Row> = [200, 10, 130, -70, 70].map(|at| row(at, "a", 1, 1.0)).into();
    state.merge(&partial(&query, &rows)).unwrap();
    assert_eq!(state.stats().open_windows, 5);
    let closed = state.advance(130 * SECOND).unwrap();
    assert_eq!(closed.len(), 3);
    assert_eq!(state.stats().open_windows, 2);
}

#[test]
fn snapshots_hold_only_what_changed() {
    let query = planned(COUNT);
    let mut state = TumblingState::new(window_plan(&query)).unwrap();
    let many: Vec<Row> = (0..100).map(|n| row(1, &format!("k{n}"), 1, 1.0)).collect();
    state.merge(&partial(&query, &many)).unwrap();
    let first = state.snapshot().unwrap();
    assert_eq!(first.segments.len(), 1);
    assert_eq!((first.segments[0].groups, first.segments[0].whole), (100, true));
    assert_eq!(state.snapshot().unwrap().segments, [], "nothing changed");
    state.merge(&partial(&query, &many[..3])).unwrap();
    let second = state.snapshot().unwrap();
    assert_eq!((second.segments[0].groups, second.segments[0].whole), (3, false));
    assert!(second.segments[0].bytes.len() < first.segments[0].bytes.len());
    // Enough of them, and the pane is written whole.
    let wholes = (0..20)
        .map(|_| {
            state.merge(&partial(&query, &many[..3])).unwrap();
            state.snapshot().unwrap().segments[0].clone()
        })
        .filter(|segment| segment.whole)
        .collect::<Vec<_>>();
    assert!((2..4).contains(&wholes.len()));
    assert!(wholes.iter().all(|segment| segment.groups == 100));
    // A closed pane's segments can go; one that was never written has none.
    state.merge(&partial(&query, &[row(61, "a", 1, 1.0)])).unwrap();
    assert_eq!(total(&selected(&query, &state.advance(120 * SECOND).unwrap())), 100 + 3 * 21 + 1);
    assert_eq!(state.snapshot().unwrap().closed, [0]);
    assert!(state.snapshot().unwrap().closed.is_empty());
}

#[test]
fn keys_of_one_window_spread_over_shards_and_stay_there() {
    let query = planned(COUNT);
    let many: Vec<Row> = (0..4_000).map(|n| row(n % 120, &format!("k{n}"), 1, 1.0)).collect();
    let partial = partial(&query, &many);
    let parts = split_by_shard(&partial, 1..2, 3).unwrap();
    let sizes: Vec<usize> = parts.iter().flatten().map(RecordBatch::num_rows).collect();
    assert_eq!(sizes.iter().sum::<usize>(), 4_000);
    assert!(sizes.iter().all(|size| (1_200..1_500).contains(size)), "{sizes:?}");
    let again = split_by_shard(parts[1].as_ref().unwrap(), 1..2, 3).unwrap();
    assert!(again[0].is_none() && again[2].is_none());
    assert_eq!(again[1].as_ref(), parts[1].as_ref());
    let one = split_by_shard(&partial, 1..2, 1).unwrap();
    assert!(Arc::ptr_eq(one[0].as_ref().unwrap().column(1), partial.column(1)), "no copy");
}

#[test]
fn without_keys_there_is_one_group_a_window() {
    let query = planned(
        "SELECT window.end AS e, count(*) AS c, max(x) AS high FROM t GROUP BY window(ts, '1 minute')",
    );
    let plan = window_plan(&query);
    let mut reader = reader(&query);
    let rows = [row(1, "a", 1, 1.0), row(2, "b", 1, 5.0), row(61, "a", 1, 2.0)];
    let partial = reader.partial(&batch(&rows)).unwrap().rows;
    assert_eq!(partial.num_rows(), 2);
    let parts = split_by_shard(&partial, reader.pre.key_columns(), 4).unwrap();
    assert!(parts[1..].iter().all(Option::is_none));
    let mut state = TumblingState::new(plan).unwrap();
    state.merge(&partial).unwrap();
    state.merge(&partial).unwrap();
    let delta = state.snapshot().unwrap();
    let segments: Vec<&[u8]> = delta.segments.iter().map(|s| s.bytes.as_slice()).collect();
    for shard in 0..4 {
        let mut other = TumblingState::new(plan).unwrap();
        other.restore(&segments, delta.watermark, (shard, 4)).unwrap();
        let closed = selected(&query, &other.advance(i64::MAX).unwrap());
        assert_eq!(total(&closed), if shard == 0 { 6 } else { 0 });
    }
}

#[test]
fn segments_that_do_not_fit_are_refused() {
    let query = planned(COUNT);
    let mut state = TumblingState::new(window_plan(&query)).unwrap();
    state.merge(&partial(&query, &[row(1, "a", 1, 1.0)])).unwrap();
    let segment = state.snapshot().unwrap().segments.remove(0);
    let other = planned(
        "SELECT window.start AS s, k, avg(x) AS c FROM t GROUP BY window(ts, '1 minute'), k",
    );
    let mut other = TumblingState::new(window_plan(&other)).unwrap();
    let error = other.restore(&[&segment.bytes], None, (0, 1)).unwrap_err().to_string();
    assert!(error.contains("'q'") && error.contains("columns"), "{error}");
    for broken in [&segment.bytes[..segment.bytes.len() / 2], b"", b"nonsense"] {
        assert!(other.restore(&[broken], None, (0, 1)).is_err());
    }
    let mut flipped = segment.bytes.clone();
    for at in 0..flipped.len() {
        flipped[at] ^= 0x40;
        assert!(state.restore(&[&flipped], None, (0, 1)).is_err(), "byte {at}");
        flipped[at] ^= 0x40;
    }
}

#[test]
fn a_partial_batch_of_another_plan_is_refused() {
    let query = planned(COUNT);
    let mut state = TumblingState::new(window_plan(&query)).unwrap();
    let error = state.merge(&batch(&[row(1, "a", 1, 1.0)])).unwrap_err().to_string();
    assert!(error.contains("'q'"), "{error}");
}

#[test]
fn keys_that_hardly_repeat_are_passed_through_and_come_to_the_same() {
    let query = planned(
        "SELECT k, count(*) AS c, sum(i) AS total, avg(x) AS mean, count(x) FILTER (WHERE n > 5) \
         AS some FROM t GROUP BY window(ts, '1 minute'), k",
    );
    let mut reader = reader(&query);
    let mut state = TumblingState::new(window_plan(&query)).unwrap();
    let mut passed = 0;
    for round in 0..20 {
        let rows: Vec<Row> =
            (0..2_000).map(|n| row(n % 60, &format!("{}", (n + round) % 2_000), 7, 1.5)).collect();
        let partial = reader.partial(&batch(&rows)).unwrap().rows;
        passed += usize::from(reader.pre.is_passing());
        state.merge(&partial).unwrap();
    }
    assert!(passed > 10, "{passed}");
    let closed = selected(&query, &state.advance(i64::MAX).unwrap());
    assert_eq!(total(&closed), 40_000);
    let batch = &closed[0];
    assert_eq!(batch.num_rows(), 2_000);
    let line = |row: usize| {
        let cells: Vec<String> = batch.columns()[1..]
            .iter()
            .map(|column| arrow::util::display::array_value_to_string(column, row).unwrap())
            .collect();
        cells.join(" ")
    };
    assert!((0..2_000).all(|row| line(row) == "20 1400 1.5 20"), "{}", line(0));
}

#[test]
fn floats_that_are_equal_in_spark_are_one_key() {
    let query = planned("SELECT x, count(*) AS c FROM t GROUP BY window(ts, '1 minute'), x");
    let mut state = TumblingState::new(window_plan(&query)).unwrap();
    let other_nan = f64::from_bits(f64::NAN.to_bits() ^ 1);
    let rows = [0.0, -0.0, f64::NAN, -f64::NAN, other_nan].map(|x| row(1, "a", 1, x));
    for part in split_by_shard(&partial(&query, &rows), 1..2, 1).unwrap().iter().flatten() {
        state.merge(part).unwrap();
    }
    let closed = selected(&query, &state.advance(i64::MAX).unwrap());
    assert_eq!(closed[0].num_rows(), 2);
    assert_eq!(total(&closed), 5);
}

#[test]
fn very_many_windows_in_one_batch() {
    let query = planned("SELECT k, count(*) AS c FROM t GROUP BY window(ts, '1 second'), k");
    let mut state = TumblingState::new(window_plan(&query)).unwrap();
    let rows: Vec<Row> = (0..3_000).map(|n| row(n, &format!("{n}"), 1, 1.0)).collect();
    let mut reader = reader(&query);
    for _ in 0..2 {
        state.merge(&reader.partial(&batch(&rows)).unwrap().rows).unwrap();
    }
    assert_eq!(state.stats().open_windows, 3_000);
    assert_eq!(total(&selected(&query, &state.advance(i64::MAX).unwrap())), 6_000);
}

#[test]
fn times_at_the_rim_of_64_bits_have_a_window() {
    let query = planned(COUNT);
    let mut state = TumblingState::new(window_plan(&query)).unwrap();
    let rows = [i64::MIN, i64::MIN + 1, i64::MAX, i64::MAX - 1]
        .map(|ts| Row { ts: Some(ts), ..row(0, "a", 1, 1.0) });
    assert_eq!(state.merge(&partial(&query, &rows)).unwrap().rows, 4);
    assert_eq!(total(&selected(&query, &state.advance(i64::MAX).unwrap())), 4);
}
