//! Which files come when.

use super::*;

#[test]
fn the_oldest_come_first_and_then_by_name() {
    let place = Place::new();
    for (name, age) in [("c", 30), ("a", 10), ("d", 20)] {
        place.write_aged(name, name, age);
    }
    let when = fs::metadata(place.input().join("d")).unwrap().modified().unwrap();
    place.write("b", "b");
    let file = fs::File::options().write(true).open(place.input().join("b")).unwrap();
    file.set_modified(when).unwrap();
    let mut options = place.options();
    assert_eq!(place.read(&options).texts(), ["c", "b", "d", "a"]);
    fs::remove_dir_all(place.sources()).unwrap();
    // A bounded run, too, has the newest first if that is the order.
    options.order = Order::NewestFirst;
    assert_eq!(place.read(&options).texts(), ["a", "d", "b", "c"]);
}

#[test]
fn a_trigger_reads_no_more_than_its_files() {
    let place = Place::new();
    for number in 0..5u64 {
        place.write_aged(&format!("{number}"), format!("{number}a\n{number}b\n"), 50 - number);
    }
    let mut options = place.options();
    options.max_files_per_trigger = Some(2);
    let mut source = place.open(&options);
    source.bound().unwrap();
    assert_eq!(source.backlog(), Some(5));
    let first = read_on(&mut source);
    assert_eq!(first.texts(), ["0a", "0b", "1a", "1b"]);
    assert!(first.limited && !first.finished);
    assert_eq!(first.next, position(2, 0));
    let again = read_on(&mut source);
    assert!(again.limited && again.records.is_empty());
    source.barrier(1);
    assert_eq!(read_on(&mut source).texts(), ["2a", "2b", "3a", "3b"]);
    source.barrier(2);
    let last = read_on(&mut source);
    assert!(last.finished && !last.limited);
    assert_eq!(source.backlog(), Some(0));
    // A file in the middle of which a restart begins is one of the trigger's.
    let mut source = place.open(&options);
    source.seek(position(0, 1)).unwrap();
    source.bound().unwrap();
    assert_eq!(read_on(&mut source).texts(), ["0b", "1a", "1b"]);
}

#[test]
fn what_is_too_old_beside_the_newest_is_not_read_and_not_remembered() {
    let place = Place::new();
    let mut options = place.options();
    options.max_file_age = Some(Duration::from_secs(100));
    place.write_aged("old", "old\n", 1000);
    place.write_aged("new", "new\n", 10);
    let first = place.read(&options);
    assert_eq!(first.texts(), ["old", "new"], "the first listing takes everything");
    place.write_aged("late", "late\n", 500);
    place.write_aged("fresh", "fresh\n", 50);
    let mut source = place.open(&options);
    source.seek(first.next).unwrap();
    source.bound().unwrap();
    let second = read_on(&mut source);
    assert_eq!(second.texts(), ["fresh"]);
    source.forget_above = 0;
    source.durable(second.next);
    let left: Vec<i64> = source.log.entries().keys().copied().collect();
    assert_eq!(left, [1, 2], "'old' is forgotten");
    source.seek(second.next).unwrap();
    assert!(read_on(&mut source).records.is_empty());
}
