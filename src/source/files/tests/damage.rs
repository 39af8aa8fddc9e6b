//! What cannot be read is a dead letter, and the rest arrives.

use std::os::unix::fs::PermissionsExt;

use super::restart::gzip;
use super::*;

fn numbers(count: usize) -> String {
    (0..count).map(|number| format!("{number}\n")).collect()
}

#[test]
fn a_truncated_archive_gives_its_good_prefix_and_one_dead_letter() {
    for (name, whole) in [
        ("1.json.gz", gzip(numbers(300_000).as_bytes())),
        ("1.json.zst", zstd::encode_all(numbers(300_000).as_bytes(), 1).unwrap()),
    ] {
        let place = Place::new();
        place.write_aged(name, &whole[..whole.len() / 2], 2);
        place.write_aged("2.json", "after\n", 1);
        let seen = place.read(&place.options());
        let texts = seen.texts();
        assert_eq!(*texts.last().unwrap(), "after");
        let good = texts.len() - 1;
        assert!(good > 10_000, "{good} records of {name}");
        let expected = numbers(good);
        assert_eq!(texts[..good], expected.lines().collect::<Vec<_>>());
        assert_eq!(seen.damaged.len(), 1);
        let damaged = &seen.damaged[0];
        assert_eq!(damaged.reason, "unreadable_file");
        assert_eq!(damaged.offset, position(0, good as u64));
        assert_eq!(damaged.line, Some(good as u64 + 1));
        assert!(damaged.file.as_ref().unwrap().ends_with(name));
        assert!(damaged.error.contains(&format!("{good} records")), "{}", damaged.error);
        // Once it is reported it is behind us.
        let mut source = place.open(&place.options());
        source.bound().unwrap();
        source.seek(damaged.offset + 1).unwrap();
        let again = read_on(&mut source);
        assert_eq!((again.texts(), again.damaged.len()), (vec!["after"], 0));
    }
}

#[test]
fn garbage_called_gzip_is_one_dead_letter() {
    let place = Place::new();
    place.write_aged("1.json.gz", b"\x1f\x8b\x08garbage, not deflate at all", 2);
    place.write_aged("2.json", "after\n", 1);
    let seen = place.read(&place.options());
    assert_eq!((seen.texts(), seen.damaged.len()), (vec!["after"], 1));
    // The content decides, not the name: many tools name plain files so.
    let place = Place::new();
    place.write("1.json.gz", "plain\n");
    assert_eq!(place.read(&place.options()).texts(), ["plain"]);
}

#[test]
fn archives_of_several_members_are_read_to_the_end() {
    let place = Place::new();
    place.write("1.gz", [gzip(b"a\nb"), gzip(b"b\nc\n")].concat());
    assert_eq!(place.read(&place.options()).texts(), ["a", "bb", "c"]);
}

#[test]
fn a_line_that_is_too_long_is_one_dead_letter() {
    let place = Place::new();
    let long = "x".repeat(2 << 20);
    place.write("1.json", format!("a\n{long}\nb\n{long}{long}\nc\n{long}"));
    let mut options = place.options();
    options.max_record_bytes = 1 << 20;
    let seen = place.read(&options);
    assert_eq!((seen.texts(), &seen.lines[..]), (vec!["a", "b", "c"], &[1, 3, 5][..]));
    assert_eq!(seen.damaged.len(), 3);
    for damaged in &seen.damaged {
        assert_eq!(damaged.reason, "oversized");
        assert!(damaged.payload.starts_with(b"xxxx") && damaged.payload.len() == 1024);
    }
    // And the numbering is the same however it is reached.
    for (offset, text) in &seen.records {
        let mut source = place.open(&options);
        source.bound().unwrap();
        source.seek(*offset).unwrap();
        assert_eq!(read_on(&mut source).texts()[0], text);
    }
}

#[test]
fn a_quote_left_open_in_a_large_file_costs_its_line() {
    let place = Place::new();
    let rest: String = (0..40_000).map(|i| format!("row {i},{i}\n")).collect();
    place.write("1.csv", format!("\"open,1\n{rest}"));
    let mut options = place.options();
    options.max_record_bytes = 100_000;
    let csv = CsvFraming { quote: Some(b'"'), ..CsvFraming::default() };
    options.format = FileFormat::Records(Framing::Csv(csv));
    let seen = place.read(&options);
    assert_eq!((seen.records.len(), seen.damaged.len()), (40_001, 0));
    assert_eq!(seen.texts()[0], "\"open,1");
}

#[test]
fn utf_16_is_named() {
    let place = Place::new();
    place.write("1.json", b"\xff\xfea\0\n\0");
    let seen = place.read(&place.options());
    assert_eq!((seen.records.len(), seen.damaged.len()), (0, 1));
    assert!(seen.damaged[0].error.contains("UTF-16"), "{}", seen.damaged[0].error);
}

#[test]
fn a_file_that_is_gone_again_is_a_dead_letter() {
    let place = Place::new();
    place.write_aged("1.json", "one\n", 3);
    let gone = place.write_aged("2.json", "two\n", 2);
    place.write_aged("3.json", "three\n", 1);
    let mut source = place.open(&place.options());
    source.bound().unwrap();
    fs::remove_file(gone).unwrap();
    let seen = read_on(&mut source);
    assert_eq!(seen.texts(), ["one", "three"]);
    assert_eq!(seen.damaged.len(), 1);
    assert_eq!(seen.damaged[0].offset, position(1, 0));
    assert!(seen.damaged[0].error.contains("gone again"), "{}", seen.damaged[0].error);
}

#[test]
fn a_directory_that_is_away_costs_no_file() {
    let place = Place::new();
    place.write("1.json", "one\n");
    let mut source = place.open(&place.options());
    source.bound().unwrap();
    let away = place.dir.path().join("away");
    fs::rename(place.input(), &away).unwrap();
    let mut seen = Seen::default();
    let taken = take(&mut source, 10, &mut seen);
    assert_eq!((taken.messages, taken.damaged.len(), taken.finished), (0, 0, false));
    assert!(source.trouble().unwrap().contains("1.json"), "{:?}", source.trouble());
    assert_eq!(source.backlog(), Some(1));
    fs::rename(&away, place.input()).unwrap();
    while !seen.finished {
        seen.finished = take(&mut source, 10, &mut seen).finished;
        std::thread::yield_now();
    }
    assert_eq!(seen.texts(), ["one"]);
}

#[test]
fn a_file_that_may_not_be_read_is_a_dead_letter() {
    let place = Place::new();
    let path = place.write_aged("1.json", "one\n", 2);
    place.write_aged("2.json", "two\n", 1);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    if fs::File::open(&path).is_ok() {
        return; // root may read anything
    }
    let seen = place.read(&place.options());
    assert_eq!((seen.texts(), seen.damaged.len()), (vec!["two"], 1));
}

#[test]
fn what_is_cut_off_or_added_after_a_file_was_found_is_noticed() {
    let place = Place::new();
    let path = place.write("1.json", "one\ntwo\nthree\n");
    let mut source = place.open(&place.options());
    source.bound().unwrap();
    fs::write(&path, "one\ntw").unwrap();
    let seen = read_on(&mut source);
    assert_eq!(seen.texts(), ["one", "tw"]);
    assert!(seen.damaged[0].error.contains("14 bytes"), "{}", seen.damaged[0].error);

    let place = Place::new();
    let path = place.write("1.json", "one\n");
    let mut source = place.open(&place.options());
    source.bound().unwrap();
    fs::write(&path, "one\ntwo\n").unwrap();
    assert_eq!(read_on(&mut source).texts(), ["one"], "what was added is another run's");
}
