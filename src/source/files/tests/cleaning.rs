//! Files go only after what was in them is durable.

use super::*;

fn names(path: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(path)
        .map(|entries| {
            entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect()
        })
        .unwrap_or_default();
    names.sort();
    names
}

#[test]
fn files_are_archived_once_they_are_durable_and_not_before() {
    let place = Place::new();
    for number in 0..3u64 {
        place.write_aged(&format!("{number}"), format!("{number}a\n{number}b\n"), 50 - number);
    }
    let archive = place.dir.path().join("old");
    let mut options = place.options();
    options.after = After::Archive(archive.clone());
    let mut source = place.open(&options);
    source.bound().unwrap();
    let seen = read_on(&mut source);
    assert_eq!(names(&place.input()), ["0", "1", "2"], "read, and not durable");
    source.durable(position(1, 1));
    assert_eq!(names(&place.input()), ["1", "2"], "the second is not all durable");
    // Killed here: what was durable is cleaned up by the next run.
    let mut source = place.open(&options);
    source.seek(position(2, 0)).unwrap();
    source.bound().unwrap();
    source.durable(position(2, 0));
    assert_eq!(names(&place.input()), ["2"]);
    assert_eq!(read_on(&mut source).texts(), ["2a", "2b"]);
    source.durable(seen.next);
    assert_eq!(names(&place.input()), [""; 0]);
    assert_eq!(names(&archive), ["0", "1", "2"]);
    source.durable(seen.next);
    assert!(source.log.entries().is_empty(), "nothing to remember");
    // A file of the same name is a new one.
    place.write("0", "again\n");
    let mut source = place.open(&options);
    source.seek(seen.next).unwrap();
    source.bound().unwrap();
    assert_eq!(read_on(&mut source).texts(), ["again"]);
}

#[test]
fn a_file_that_came_back_under_its_name_is_not_deleted_unread() {
    let place = Place::new();
    place.write_aged("a", "one\n", 10);
    let mut options = place.options();
    options.after = After::Delete;
    let seen = place.read(&options);
    // Deleted by hand, and written again, while nobody was looking.
    place.write_aged("a", "another\n", 5);
    let mut source = place.open(&options);
    source.seek(seen.next).unwrap();
    source.durable(seen.next);
    assert_eq!(names(&place.input()), ["a"]);
    source.bound().unwrap();
    assert_eq!(read_on(&mut source).texts(), ["another"]);
}

#[test]
fn damaged_files_are_cleaned_up_as_well() {
    let place = Place::new();
    place.write("a.gz", b"\x1f\x8bnot gzip");
    let mut options = place.options();
    options.after = After::Delete;
    let mut source = place.open(&options);
    source.bound().unwrap();
    let seen = read_on(&mut source);
    assert_eq!(seen.damaged.len(), 1);
    source.durable(seen.next);
    assert_eq!(names(&place.input()), [""; 0]);
}

#[test]
fn what_cannot_be_archived_stays_and_is_tried_again() {
    let place = Place::new();
    place.write("a", "one\n");
    let archive = place.dir.path().join("old");
    fs::write(&archive, "in the way").unwrap();
    let mut options = place.options();
    options.after = After::Archive(archive.clone());
    let mut source = place.open(&options);
    source.bound().unwrap();
    let seen = read_on(&mut source);
    source.durable(seen.next);
    assert_eq!(names(&place.input()), ["a"]);
    fs::remove_file(&archive).unwrap();
    source.durable(seen.next);
    assert_eq!(names(&archive), ["a"]);
}
