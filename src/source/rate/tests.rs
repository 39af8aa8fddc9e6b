use std::sync::atomic::{AtomicI64, Ordering};

use arrow::array::AsArray;
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};

use super::*;

const START: i64 = 1_700_000_000_000_000;

fn options(rows_per_second: u64) -> RateOptions {
    RateOptions { rows_per_second, ..RateOptions::default() }
}

fn open(options: &RateOptions, dir: &Path, clock: &Arc<AtomicI64>) -> RateSource {
    let clock = clock.clone();
    let read = move || clock.load(Ordering::Relaxed);
    RateSource::open_at(options, dir, "clock", Box::new(read)).unwrap()
}

fn rows(source: &mut RateSource, limit: usize) -> Vec<(i64, i64)> {
    let mut rows = Vec::new();
    while let Some(batch) = source.take_columns(limit).unwrap().batch {
        let times = batch.column(0).as_primitive::<TimestampMicrosecondType>();
        let values = batch.column(1).as_primitive::<Int64Type>();
        assert!(batch.num_rows() <= limit);
        rows.extend(times.values().iter().copied().zip(values.values().iter().copied()));
    }
    rows
}

#[test]
fn rows_come_with_the_clock_and_are_the_same_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(AtomicI64::new(START));
    let mut source = open(&options(100), dir.path(), &clock);
    assert_eq!(rows(&mut source, 7), [(START, 0)]);
    clock.fetch_add(2_500_000, Ordering::Relaxed);
    assert_eq!(source.backlog(), Some(250));
    let first = rows(&mut source, 7);
    assert_eq!(first.len(), 250);
    assert_eq!(first.last(), Some(&(START + 2_500_000, 250)));
    // A day later, from the middle.
    clock.fetch_add(86_400_000_000, Ordering::Relaxed);
    let mut source = open(&options(100), dir.path(), &clock);
    source.seek(100).unwrap();
    let again = rows(&mut source, 10_000);
    assert_eq!(again[..151], first[99..]);
    assert_eq!(again.len(), 8_640_151);
}

#[test]
fn only_the_columns_that_are_read_are_made() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(AtomicI64::new(START));
    for (projection, names) in [(vec![1], vec!["value"]), (vec![1, 0], vec!["value", "timestamp"])]
    {
        let options = RateOptions { projection, ..options(5) };
        let taken = open(&options, dir.path(), &clock).take_columns(10).unwrap();
        let batch = taken.batch.unwrap();
        let schema = batch.schema();
        let found: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        assert_eq!((found, taken.first, taken.next), (names, 0, Some(1)));
    }
    let options = RateOptions { projection: vec![], ..options(5) };
    let batch = open(&options, dir.path(), &clock).take_columns(10).unwrap().batch.unwrap();
    assert_eq!((batch.num_rows(), batch.num_columns()), (1, 0));
}

#[test]
fn what_cannot_be_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |options: RateOptions| RateSource::open(&options, dir.path(), "r").err().unwrap();
    assert_eq!(refused(options(0)).code(), "option");
    assert_eq!(refused(RateOptions { projection: vec![2], ..options(1) }).code(), "option");
    let mut source = RateSource::open(&options(1), dir.path(), "r").unwrap();
    let error = source.bound().unwrap_err();
    assert!(!error.is_transient() && error.to_string().contains("no end"), "{error}");
    std::fs::write(dir.path().join("r.rate"), "{\"start_us\":").unwrap();
    assert_eq!(refused(options(1)).code(), "discovery_log");
}
