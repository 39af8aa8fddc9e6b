use std::ffi::OsString;
use std::io::Read;

use super::*;

fn found(name: &str, mtime_ns: i64) -> Found {
    Found { path: PathBuf::from(name), size: 10, mtime_ns }
}

fn filled(path: &Path, files: i64) -> DiscoveryLog {
    let mut log = DiscoveryLog::open(path).unwrap();
    for number in 0..files {
        log.append(vec![found(&format!("/in/{number}.json"), number)]).unwrap();
    }
    log
}

fn paths(log: &DiscoveryLog) -> Vec<(i64, PathBuf)> {
    log.entries().iter().map(|(seq, entry)| (*seq, entry.path.to_path_buf())).collect()
}

#[test]
fn numbers_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sources/in.log");
    let log = filled(&path, 3);
    let again = DiscoveryLog::open(&path).unwrap();
    assert_eq!(paths(&again), paths(&log));
    assert_eq!((again.next(), again.newest_ns()), (3, Some(2)));
}

#[test]
fn a_log_torn_at_any_byte_keeps_its_whole_lines_and_can_be_written_on() {
    let dir = tempfile::tempdir().unwrap();
    let whole = dir.path().join("whole.log");
    let log = filled(&whole, 4);
    let bytes = fs::read(&whole).unwrap();
    let path = dir.path().join("torn.log");
    for cut in 0..=bytes.len() {
        // What a file system may leave after the torn place.
        for rest in [&b""[..], b"\0\0\0\0\0\0", b"garbage\n\0"] {
            fs::write(&path, [&bytes[..cut], rest].concat()).unwrap();
            let mut torn = DiscoveryLog::open(&path).unwrap();
            let lines = bytes[..cut].iter().filter(|b| **b == b'\n').count().saturating_sub(1);
            assert_eq!(paths(&torn), paths(&log)[..lines], "cut at {cut}");
            let entries = torn.append(vec![found("/in/new", 9)]).unwrap();
            assert_eq!(entries[0].seq, lines as i64);
            let again = DiscoveryLog::open(&path).unwrap();
            assert_eq!(paths(&again), paths(&torn));
        }
    }
}

#[test]
fn damage_before_an_intact_line_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("in.log");
    filled(&path, 4);
    let bytes = fs::read(&path).unwrap();
    let last_line = bytes[..bytes.len() - 1].iter().rposition(|b| *b == b'\n').unwrap();
    // Not the last line's own end: that looks like a torn line, and the position then tells.
    for at in 0..last_line {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x41;
        fs::write(&path, &damaged).unwrap();
        let error = DiscoveryLog::open(&path).unwrap_err();
        assert_eq!(error.code(), "discovery_log", "byte {at}: {error}");
        assert!(!error.is_transient());
        assert_eq!(fs::read(&path).unwrap(), damaged, "nothing is overwritten");
    }
}

#[test]
fn another_file_is_not_taken_for_a_log() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("in.log");
    let json = br#"{"log":"millpond rate","version":1,"next":0,"newest_ns":null}"#;
    let text = format!("{:08x} {}\n", crc32fast::hash(json), String::from_utf8_lossy(json));
    fs::write(&path, text).unwrap();
    let error = DiscoveryLog::open(&path).unwrap_err().to_string();
    assert!(error.contains("millpond rate"), "{error}");
}

#[test]
fn what_is_removed_leaves_the_file_and_its_number_is_not_given_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("in.log");
    let mut log = filled(&path, 2_000);
    let before = fs::metadata(&path).unwrap().len();
    let gone: Vec<i64> = (0..1_998).collect();
    log.remove(&gone).unwrap();
    assert!(fs::metadata(&path).unwrap().len() < before / 100);
    log.remove(&[1_998, 1_999]).unwrap();
    log.append(vec![found("/in/last", 1)]).unwrap();
    let again = DiscoveryLog::open(&path).unwrap();
    assert_eq!(again.next(), 2_001);
    assert_eq!(again.newest_ns(), Some(1_999), "remembered without the entry");
}

#[test]
fn a_name_that_is_no_text_survives() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("in.log");
    let name = PathBuf::from(OsString::from_vec(b"/in/\xff\xfe.json".to_vec()));
    let mut log = DiscoveryLog::open(&path).unwrap();
    log.append(vec![Found { path: name.clone(), size: 1, mtime_ns: -5 }]).unwrap();
    let again = DiscoveryLog::open(&path).unwrap();
    assert_eq!(paths(&again), [(0, name)]);
    let mut text = String::new();
    File::open(&path).unwrap().read_to_string(&mut text).unwrap();
}
