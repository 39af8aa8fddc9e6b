//! A restart at any position gives the same records.

use std::io::Write;

use flate2::Compression as Level;
use flate2::write::GzEncoder;
use proptest::prelude::*;

use super::*;

pub fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Level::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn content(file: usize, records: usize) -> String {
    (0..records).map(|record| format!("{{\"file\":{file},\"record\":{record}}}\n")).collect()
}

/// Three files, each compressed in another way.
fn three(place: &Place) -> Vec<String> {
    let plain: Vec<String> = (0..3).map(|file| content(file, 40 + file)).collect();
    place.write_aged("a.json", &plain[0], 30);
    place.write_aged("b.json.gz", gzip(plain[1].as_bytes()), 20);
    place.write_aged("c.json.zst", zstd::encode_all(plain[2].as_bytes(), 1).unwrap(), 10);
    plain.concat().lines().map(str::to_owned).collect()
}

#[test]
fn every_position_leads_to_the_rest() {
    let place = Place::new();
    let expected = three(&place);
    let all = place.read(&place.options());
    assert_eq!(all.texts(), expected);
    let ends: Vec<i64> = all.records.iter().map(|(offset, _)| offset + 1).collect();
    for (read, next) in std::iter::once(0).chain(ends).enumerate() {
        let mut source = place.open(&place.options());
        source.bound().unwrap();
        source.seek(next).unwrap();
        let seen = read_on(&mut source);
        assert_eq!(seen.records, all.records[read..], "from {next}");
        assert_eq!(seen.lines, all.lines[read..]);
        assert!(seen.finished);
    }
}

#[test]
fn files_that_come_later_come_after_those_that_were_there() {
    let place = Place::new();
    place.write_aged("b.json", "b\n", 10);
    let mut source = place.open(&place.options());
    source.bound().unwrap();
    let first = read_on(&mut source);
    // Older than what was read, and all the same after it: its number is the higher one.
    place.write_aged("a.json", "a\n", 20);
    let mut source = place.open(&place.options());
    source.seek(first.next).unwrap();
    source.bound().unwrap();
    let second = read_on(&mut source);
    assert_eq!(second.texts(), ["a"]);
    assert_eq!(place.read(&place.options()).texts(), ["b", "a"], "and stays so");
}

#[test]
fn a_position_of_another_log_is_refused() {
    let place = Place::new();
    place.write("a.json", "a\n");
    let read = place.read(&place.options());
    fs::remove_dir_all(place.sources()).unwrap();
    let mut source = place.open(&place.options());
    let error = source.seek(read.next).unwrap_err();
    assert_eq!(error.code(), "position");
    assert!(error.to_string().contains("checkpoint"), "{error}");
    assert!(!error.is_transient());
}

#[test]
fn a_quoted_record_is_found_again_by_its_number() {
    let place = Place::new();
    let rows: String = (0..20).map(|i| format!("{i},\"two\nlines, \"\"{i}\"\"\"\n")).collect();
    place.write("a.csv", format!("id,text\n\"broken,1\n{rows}"));
    let mut options = place.options();
    options.format = FileFormat::Records(Framing::Csv(CsvFraming {
        quote: Some(b'"'),
        header: true,
        ..CsvFraming::default()
    }));
    let all = place.read(&options);
    for read in 0..all.records.len() {
        let mut source = place.open(&options);
        source.bound().unwrap();
        source.seek(all.records[read].0).unwrap();
        let seen = read_on(&mut source);
        assert_eq!(seen.records, all.records[read..]);
        assert_eq!(seen.lines, all.lines[read..]);
        assert!(seen.headers.iter().all(|header| header.as_deref() == Some("id,text")));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn stops_anywhere_change_nothing(stops in prop::collection::vec(1usize..50, 1..12)) {
        let place = Place::new();
        let expected = three(&place);
        let mut next = 0;
        let mut records = Vec::new();
        for stop in stops.into_iter().chain([usize::MAX]) {
            let mut source = place.open(&place.options());
            source.seek(next).unwrap();
            source.bound().unwrap();
            let mut seen = Seen { next, ..Seen::default() };
            while seen.records.len() < stop {
                let room = (stop - seen.records.len()).min(16);
                if take(&mut source, room, &mut seen).finished {
                    break;
                }
            }
            next = seen.next;
            records.extend(seen.records.into_iter().map(|(_, text)| text));
        }
        prop_assert_eq!(records, expected);
    }
}
