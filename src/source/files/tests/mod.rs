//! The source as a reader sees it.

mod cleaning;
mod columns;
mod damage;
mod order;
mod restart;
mod watching;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::*;
use crate::source::Damaged;

/// A directory to read, and one for the discovery log.
struct Place {
    dir: tempfile::TempDir,
}

/// What reading came to.
#[derive(Debug, Default)]
struct Seen {
    records: Vec<(i64, String)>,
    lines: Vec<u64>,
    headers: Vec<Option<String>>,
    files: Vec<String>,
    damaged: Vec<Damaged>,
    next: i64,
    finished: bool,
    limited: bool,
}

impl Seen {
    fn texts(&self) -> Vec<&str> {
        self.records.iter().map(|(_, text)| text.as_str()).collect()
    }
}

fn lines() -> FileFormat {
    FileFormat::Records(Framing::Lines { skip_blank: true })
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("in")).unwrap();
        Self { dir }
    }

    fn input(&self) -> PathBuf {
        self.dir.path().join("in")
    }

    fn sources(&self) -> PathBuf {
        self.dir.path().join("checkpoint/sources")
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.input().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// Writes a file that was modified `age` seconds ago.
    fn write_aged(&self, name: &str, content: impl AsRef<[u8]>, age: u64) -> PathBuf {
        let path = self.write(name, content);
        let then = SystemTime::now() - Duration::from_secs(age);
        fs::File::options().write(true).open(&path).unwrap().set_modified(then).unwrap();
        path
    }

    fn options(&self) -> FilesOptions {
        let mut options = FilesOptions::new(self.input().to_str().unwrap(), lines());
        options.settle = Duration::ZERO;
        options.poll_interval = Duration::from_millis(5);
        options
    }

    fn open(&self, options: &FilesOptions) -> FilesSource {
        FilesSource::open(options.clone(), &self.sources(), "in").unwrap()
    }

    /// Reads all that is there in a bounded run.
    fn read(&self, options: &FilesOptions) -> Seen {
        let mut source = self.open(options);
        source.bound().unwrap();
        read_on(&mut source)
    }
}

/// Takes until there is nothing more, in takes of several sizes.
fn read_on(source: &mut FilesSource) -> Seen {
    read_by(source, &[1, 7, 1000])
}

fn read_by(source: &mut FilesSource, limits: &[usize]) -> Seen {
    let mut seen = Seen { next: source.next, ..Seen::default() };
    for limit in limits.iter().cycle() {
        let taken = take(source, *limit, &mut seen);
        if let Some(error) = taken.error {
            panic!("{error}");
        }
        let nothing = taken.messages == 0 && taken.damaged.is_empty() && source.current.is_none();
        if taken.finished || taken.limited || nothing {
            (seen.finished, seen.limited) = (taken.finished, taken.limited);
            return seen;
        }
    }
    seen
}

fn take(source: &mut FilesSource, limit: usize, seen: &mut Seen) -> Taken {
    let mut last = seen.next - 1;
    let taken = source.take(limit, &mut |record| {
        assert!(record.offset > last, "positions rise");
        last = record.offset;
        let text = String::from_utf8_lossy(record.payload.unwrap()).into_owned();
        seen.records.push((record.offset, text));
        seen.lines.push(record.meta.line.unwrap());
        let header = record.meta.header.map(|h| String::from_utf8_lossy(h).into_owned());
        seen.headers.push(header);
        let file = Path::new(record.meta.file.unwrap()).file_name().unwrap();
        seen.files.push(file.to_string_lossy().into_owned());
    });
    assert!(taken.messages <= limit);
    seen.next = last + 1;
    for damaged in &taken.damaged {
        assert!(damaged.offset >= seen.next, "behind the records");
        seen.next = damaged.offset + 1;
    }
    seen.next = taken.end.map_or(seen.next, |end| seen.next.max(end));
    seen.damaged.extend(taken.damaged.iter().cloned());
    taken
}

#[test]
fn lines_of_all_sorts_arrive() {
    let place = Place::new();
    place.write_aged("1.json", "a\r\nb\n\n  \nc", 9);
    place.write_aged("2.json", b"\xef\xbb\xbfd\ne\n", 8);
    place.write_aged("3.json", "\n\n", 7);
    place.write_aged("4.json", "", 6);
    let long = "x".repeat(3 << 20);
    place.write_aged("5.json", format!("f\n{long}\ng"), 5);
    let seen = place.read(&place.options());
    assert_eq!(seen.texts(), ["a", "b", "c", "d", "e", "f", &long, "g"]);
    assert_eq!(seen.lines, [1, 2, 5, 1, 2, 1, 2, 3]);
    assert_eq!(seen.files[3], "2.json");
    assert!(seen.finished && seen.damaged.is_empty());
}

#[test]
fn text_keeps_its_blank_lines() {
    let place = Place::new();
    place.write("a", "one\n\n two \n");
    let mut options = place.options();
    options.format = FileFormat::Records(Framing::Lines { skip_blank: false });
    assert_eq!(place.read(&options).texts(), ["one", "", " two "]);
}

#[test]
fn a_whole_file_can_be_one_record() {
    let place = Place::new();
    place.write_aged("1.txt", "one\ntwo\n", 2);
    place.write_aged("2.txt", "three", 1);
    let mut options = place.options();
    options.format = FileFormat::Records(Framing::Whole);
    assert_eq!(place.read(&options).texts(), ["one\ntwo\n", "three"]);
}

#[test]
fn each_file_has_its_own_header() {
    let place = Place::new();
    place.write_aged("1.csv", "# made by hand\nid,name\n1,\"a\nb\"\n2,c\n", 3);
    place.write_aged("2.csv", "name,id\r\nd,3\r\n", 2);
    place.write_aged("3.csv", "id,name\n", 1);
    let mut options = place.options();
    options.format = FileFormat::Records(Framing::Csv(CsvFraming {
        quote: Some(b'"'),
        comment: Some(b'#'),
        header: true,
        ..CsvFraming::default()
    }));
    let seen = place.read(&options);
    assert_eq!(seen.texts(), ["1,\"a\nb\"", "2,c", "d,3"]);
    assert_eq!(seen.lines, [3, 5, 2]);
    let headers: Vec<&str> = seen.headers.iter().map(|h| h.as_deref().unwrap()).collect();
    assert_eq!(headers, ["id,name", "id,name", "name,id"]);
}

#[test]
fn options_that_cannot_work_are_refused() {
    let place = Place::new();
    let refused = |change: &dyn Fn(&mut FilesOptions)| {
        let mut options = place.options();
        change(&mut options);
        let error = FilesSource::open(options, &place.sources(), "in").err().unwrap();
        (error.code(), error.to_string())
    };
    assert_eq!(refused(&|o| o.path = " ".into()).0, "option");
    assert_eq!(refused(&|o| o.max_files_per_trigger = Some(0)).0, "option");
    assert_eq!(refused(&|o| o.max_record_bytes = 0).0, "option");
    let csv = CsvFraming { delimiter: b'"', quote: Some(b'"'), ..CsvFraming::default() };
    let format = FileFormat::Records(Framing::Csv(csv));
    assert_eq!(refused(&|o| o.format = format.clone()).0, "option");
    let (code, text) = refused(&|o| o.path = "/nowhere/at/all".into());
    assert!(code == "io" && text.contains("/nowhere/at/all"), "{text}");
}
