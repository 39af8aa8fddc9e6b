//! The unbounded run: a thread lists, and wakes the reader.

use std::sync::mpsc;

use super::*;

const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn a_file_that_appears_wakes_the_reader() {
    let place = Place::new();
    let mut source = place.open(&place.options());
    let (wake, woken) = mpsc::channel();
    source.on_ready(Box::new(move || {
        let _ = wake.send(());
    }));
    let mut seen = Seen::default();
    assert_eq!(take(&mut source, 10, &mut seen).messages, 0);
    for round in 0..3 {
        // Under another name first, as writers should.
        let path = place.write("part.tmp", format!("{round}\n"));
        fs::rename(path, place.input().join(format!("{round}"))).unwrap();
        while seen.records.len() <= round {
            woken.recv_timeout(PATIENCE).unwrap();
            take(&mut source, 10, &mut seen);
        }
    }
    assert_eq!(seen.texts(), ["0", "1", "2"]);
    assert!(!seen.finished);
}

#[test]
fn a_directory_that_goes_and_comes_back_is_told() {
    let place = Place::new();
    let mut source = place.open(&place.options());
    let (wake, woken) = mpsc::channel();
    source.on_ready(Box::new(move || {
        let _ = wake.send(());
    }));
    let away = place.dir.path().join("away");
    fs::rename(place.input(), &away).unwrap();
    let mut seen = Seen::default();
    let began = Instant::now();
    while source.trouble().is_none() {
        take(&mut source, 10, &mut seen);
        assert!(began.elapsed() < PATIENCE);
        std::thread::yield_now();
    }
    assert!(source.trouble().unwrap().contains("could not list"));
    fs::rename(&away, place.input()).unwrap();
    place.write("a", "one\n");
    woken.recv_timeout(PATIENCE).unwrap();
    take(&mut source, 10, &mut seen);
    assert_eq!(seen.texts(), ["one"]);
    assert_eq!(source.trouble(), None);
}

#[test]
fn a_long_line_is_read_over_several_takes_without_blocking() {
    let place = Place::new();
    place.write("a", [vec![b'x'; 80 << 20], b"\nafter\n".to_vec()].concat());
    let mut source = place.open(&place.options());
    source.bound().unwrap();
    let (wake, woken) = mpsc::channel();
    source.on_ready(Box::new(move || {
        let _ = wake.send(());
    }));
    let mut seen = Seen::default();
    let mut takes = 0;
    while !seen.finished {
        takes += 1;
        let taken = take(&mut source, 10, &mut seen);
        seen.finished = taken.finished;
        // A reader goes on by itself as long as it gets something.
        let something = taken.messages > 0 || !taken.damaged.is_empty();
        assert!(taken.finished || something || woken.try_recv().is_ok(), "asleep");
    }
    assert!(takes >= 3);
    assert_eq!((seen.texts(), seen.damaged.len()), (vec!["after"], 1));
}
