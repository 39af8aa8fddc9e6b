//! Single cases of sliding windows, sessions and running results: bounds, sharing, memory.

use arrow::array::AsArray;
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};

use super::*;
use crate::event_time::{Session, Sliding};

const COUNT: &str =
    "SELECT window.start AS s, k, count(*) AS c FROM t GROUP BY window(ts, '1 minute'), k";

/// One shard with its reader.
struct Shard {
    query: QueryPlan,
    plan: AggregatePlan,
    reader: Reader,
    state: Box<dyn Operator>,
}

impl Shard {
    fn new(sql: &str, windows: Windows, mode: OutputMode) -> Self {
        let query = planned(sql);
        let plan = over(&query, windows, mode);
        let reader = reader_of(&query, &plan);
        let state = operator(&plan).unwrap();
        Self { query, plan, reader, state }
    }

    fn rows(&mut self, rows: &[Row]) -> Merged {
        let partial = self.reader.partial(&batch(rows)).unwrap().rows;
        let mut out = vec![];
        let merged = self.state.rows(0, &partial, &mut out).unwrap();
        assert!(out.is_empty());
        merged
    }

    /// Start, key and count of what comes out.
    fn advance(&mut self, seconds: i64) -> Vec<(i64, String, i64)> {
        let mut out = vec![];
        self.state.advance(seconds * SECOND, &mut out).unwrap();
        self.counts(&out)
    }

    fn trigger(&mut self) -> Vec<(i64, String, i64)> {
        let mut out = vec![];
        self.state.trigger(&mut out).unwrap();
        self.counts(&out)
    }

    fn counts(&self, out: &[RecordBatch]) -> Vec<(i64, String, i64)> {
        let mut counts = vec![];
        for batch in selected(&self.query, out) {
            let starts = batch.column(0).as_primitive::<TimestampMicrosecondType>();
            let (keys, values) = (batch.column(1).as_string::<i32>(), batch.column(2));
            let values = values.as_primitive::<Int64Type>();
            for row in 0..batch.num_rows() {
                let key = keys.value(row).to_owned();
                counts.push((starts.value(row) / SECOND, key, values.value(row)));
            }
        }
        counts
    }
}

fn sliding(size: i64, slide: i64) -> Windows {
    Windows::Sliding(Sliding::new(size * SECOND, slide * SECOND, 0).unwrap())
}

fn at(seconds: i64, k: &str) -> Row {
    row(seconds, k, 1, 1.0)
}

fn found(start: i64, k: &str, count: i64) -> (i64, String, i64) {
    (start, k.to_owned(), count)
}

#[test]
fn a_row_counts_in_those_of_its_windows_that_are_open() {
    let mut shard = Shard::new(COUNT, sliding(30, 10), OutputMode::Append);
    assert_eq!(shard.rows(&[at(25, "a")]).rows, 1);
    assert_eq!(shard.advance(29), []);
    assert_eq!(shard.advance(30), [found(0, "a", 1)]);
    // Two of the three windows of second 25 are open, one of those of second 15, none of 5.
    assert_eq!(shard.rows(&[at(25, "a"), at(15, "a"), at(5, "a")]).late_rows, 1);
    assert_eq!(shard.advance(40), [found(10, "a", 3)]);
    assert_eq!(shard.rows(&[at(19, "a"), at(20, "b")]).late_rows, 1);
    assert_eq!(shard.advance(50), [found(20, "a", 2), found(20, "b", 1)]);
    assert_eq!(shard.state.stats().groups, 0);
    assert_eq!(shard.advance(i64::MAX / SECOND), []);
}

#[test]
fn a_slide_that_does_not_divide_the_size() {
    let mut shard = Shard::new(COUNT, sliding(10, 3), OutputMode::Append);
    shard.rows(&[at(0, "a"), at(1, "a"), at(2, "a"), at(3, "a")]);
    let closed = shard.advance(100);
    assert_eq!(
        closed,
        [
            found(-9, "a", 1),
            found(-6, "a", 4),
            found(-3, "a", 4),
            found(0, "a", 4),
            found(3, "a", 1)
        ]
    );
}

#[test]
fn update_shows_every_window_of_a_change_once() {
    let mut shard = Shard::new(COUNT, sliding(30, 10), OutputMode::Update);
    shard.rows(&[at(25, "a"), at(25, "b"), at(35, "b")]);
    assert_eq!(shard.trigger().len(), 7);
    assert_eq!(shard.trigger(), [], "nothing changed");
    shard.rows(&[at(15, "a")]);
    // The watermark closes the first window of this change before a trigger has shown it.
    assert_eq!(shard.advance(20), [found(-10, "a", 1)]);
    assert_eq!(shard.trigger(), [found(0, "a", 2), found(10, "a", 2)]);
    assert_eq!(shard.advance(100), [], "all of it was shown");
    assert_eq!(shard.state.stats().groups, 0);
}

#[test]
fn keys_that_come_and_go_are_forgotten() {
    for windows in [sliding(20, 10), Windows::Session(Session::new(10 * SECOND).unwrap())] {
        let mut shard = Shard::new(COUNT, windows, OutputMode::Append);
        let (mut total, mut largest) = (0, 0);
        for round in 0..40 {
            let rows: Vec<Row> = (0..10_000)
                .map(|n| at(round * 10, &format!("key number {}", round * 10_000 + n)))
                .chain([at(round * 10, "always")])
                .collect();
            shard.rows(&rows);
            let out = shard.advance(round * 10 - 10);
            total += out.iter().map(|(_, _, count)| count).sum::<i64>();
            assert!(out.iter().all(|(start, key, count)| {
                *count >= 1 && (key == "always" || *start / 10 <= round)
            }));
            shard.state.snapshot().unwrap();
            largest = largest.max(shard.state.stats().bytes);
        }
        total += shard.advance(1_000_000).iter().map(|(_, _, count)| count).sum::<i64>();
        let overlap = if matches!(windows, Windows::Sliding(_)) { 2 } else { 1 };
        assert_eq!(total, overlap * 40 * 10_001);
        assert!(largest < 40 << 20, "{largest} bytes for at most 40,000 keys");
    }
}

#[test]
fn sessions_that_touch_are_one() {
    let session = Windows::Session(Session::new(10 * SECOND).unwrap());
    let mut shard = Shard::new(COUNT, session, OutputMode::Append);
    shard.rows(&[at(0, "a"), at(10, "a"), at(21, "a")]);
    shard.rows(&[at(100, "b"), at(120, "b")]);
    assert_eq!(shard.state.stats().open_windows, 4);
    // What lies between two sessions makes them one.
    shard.rows(&[at(110, "b")]);
    assert_eq!(shard.state.stats().open_windows, 3);
    assert_eq!(shard.advance(19), []);
    assert_eq!(shard.advance(20), [found(0, "a", 2)]);
    // By itself this row's session would have ended at second 19: late, although one is open that
    // it would have been part of.
    assert_eq!(shard.rows(&[at(9, "a"), at(10, "a")]).late_rows, 2);
    assert_eq!(shard.rows(&[at(11, "a")]).late_rows, 0);
    assert_eq!(shard.advance(1_000), [found(11, "a", 2), found(100, "b", 3)]);
}

#[test]
fn a_session_that_closed_stays_closed_beside_a_later_one() {
    let session = Windows::Session(Session::new(10 * SECOND).unwrap());
    let mut shard = Shard::new(COUNT, session, OutputMode::Append);
    shard.rows(&[at(0, "a")]);
    let first = shard.state.snapshot().unwrap();
    assert_eq!(shard.advance(10), [found(0, "a", 1)]);
    shard.rows(&[at(5, "a")]);
    let second = shard.state.snapshot().unwrap();
    let segments = first.segments.iter().chain(&second.segments).map(|s| s.bytes.as_slice());
    let segments: Vec<&[u8]> = segments.collect();
    let mut restored = operator(&shard.plan).unwrap();
    restored.restore(&segments, second.watermark, (0, 1)).unwrap();
    shard.state = restored;
    assert_eq!(shard.advance(100), [found(5, "a", 1)]);
}

#[test]
fn snapshots_of_running_results_hold_only_what_changed() {
    let mut shard = Shard::new(COUNT, Windows::None, OutputMode::Update);
    let many: Vec<Row> = (0..30_000).map(|n| at(n, &format!("key number {n}"))).collect();
    for rows in many.chunks(5_000) {
        shard.rows(rows);
    }
    assert_eq!(shard.trigger().len(), 30_000);
    let whole = shard.state.snapshot().unwrap();
    assert_eq!(whole.segments.iter().map(|s| s.groups).sum::<usize>(), 30_000);
    let mut written = 0;
    for round in 0..50 {
        shard.rows(&many[round * 10..round * 10 + 10]);
        let shown = shard.trigger();
        assert_eq!(shown.len(), 10);
        assert!(shown.iter().all(|(_, _, count)| *count == 2));
        written += shard.state.snapshot().unwrap().segments.iter().map(|s| s.groups).sum::<usize>();
    }
    assert!(written <= 50 * 10 * 3, "{written} groups written for 500 changes");
    assert_eq!(shard.state.snapshot().unwrap().segments, [], "nothing changed");
    assert_eq!(shard.state.stats().groups, 30_000);
}

#[test]
fn the_group_of_all_rows_is_there_before_any_row() {
    let sql = "SELECT window.start AS s, 'all' AS k, count(*) AS c, sum(i) AS total, max(x) AS high \
               FROM t WHERE n > 5 GROUP BY window(ts, '1 minute')";
    let mut shard = Shard::new(sql, Windows::None, OutputMode::Complete);
    assert_eq!(shard.trigger(), []);
    shard.rows(&[at(1, "a")]);
    assert_eq!(shard.trigger(), [found(0, "all", 0)]);
    let mut out = vec![];
    shard.state.trigger(&mut out).unwrap();
    let out = selected(&shard.query, &out);
    assert!(out[0].column(3).is_null(0) && out[0].column(4).is_null(0), "no sum of nothing");
    shard.rows(&[row(1, "a", 7, 1.0), row(2, "a", 8, 1.0)]);
    assert_eq!(shard.trigger(), [found(0, "all", 2)]);
    shard.rows(&[at(3, "a")]);
    assert_eq!(shard.trigger(), [found(0, "all", 2)]);
}

#[test]
fn windows_and_modes_that_do_not_go_together_are_refused() {
    let query = planned(COUNT);
    let session = Windows::Session(Session::new(SECOND).unwrap());
    for (windows, mode) in [(Windows::None, OutputMode::Append), (session, OutputMode::Update)] {
        let error = operator(&over(&query, windows, mode)).err().unwrap().to_string();
        assert!(error.contains("mode"), "{error}");
    }
}

#[test]
fn times_at_the_rim_of_64_bits() {
    let rim = [i64::MIN, i64::MIN + 1, i64::MAX, i64::MAX - 1];
    let rows = rim.map(|ts| Row { ts: Some(ts), ..at(0, "a") });
    let session = Windows::Session(Session::new(SECOND).unwrap());
    for windows in [sliding(30, 10), session] {
        for mode in [OutputMode::Append, OutputMode::Complete] {
            let mut shard = Shard::new(COUNT, windows, mode);
            assert_eq!(shard.rows(&rows).rows, 4);
            let delta = shard.state.snapshot().unwrap();
            let segments: Vec<&[u8]> = delta.segments.iter().map(|s| s.bytes.as_slice()).collect();
            shard.state.restore(&segments, delta.watermark, (0, 1)).unwrap();
            let mut out = vec![];
            shard.state.advance(i64::MIN, &mut out).unwrap();
            shard.state.advance(i64::MAX, &mut out).unwrap();
            shard.state.trigger(&mut out).unwrap();
            let total: i64 = shard.counts(&out).iter().map(|(_, _, count)| count).sum();
            assert_eq!(total, if matches!(windows, Windows::Sliding(_)) { 12 } else { 4 });
        }
    }
}

#[test]
fn damaged_and_foreign_segments_are_refused() {
    let session = Windows::Session(Session::new(SECOND).unwrap());
    let kinds = [
        (sliding(30, 10), OutputMode::Append),
        (session, OutputMode::Append),
        (Windows::None, OutputMode::Update),
    ];
    for (windows, mode) in kinds {
        let mut shard = Shard::new(COUNT, windows, mode);
        shard.rows(&[at(1, "a")]);
        let mut bytes = shard.state.snapshot().unwrap().segments.remove(0).bytes;
        for at in 0..bytes.len() {
            bytes[at] ^= 0x40;
            assert!(shard.state.restore(&[&bytes], None, (0, 1)).is_err(), "byte {at}");
            bytes[at] ^= 0x40;
        }
        assert!(shard.state.restore(&[&bytes[..40]], None, (0, 1)).is_err());
        let other = "SELECT window.start AS s, k, avg(x) AS c FROM t \
                     GROUP BY window(ts, '1 minute'), k";
        let mut other = Shard::new(other, windows, mode);
        let error = other.state.restore(&[&bytes], None, (0, 1)).unwrap_err().to_string();
        assert!(error.contains("columns"), "{error}");
    }
}
