//! Killed, locked out and starved of disk.
//!
//! The parts that need a process of their own run this test binary again, with one test that
//! acts as that process when an environment variable is set.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::*;

const ROLE: &str = "MILLPOND_CHECKPOINT_TEST_ROLE";
const DIR: &str = "MILLPOND_CHECKPOINT_TEST_DIR";

fn child(role: &str, dir: &Path) -> Child {
    Command::new(std::env::current_exe().expect("own path"))
        .args(["--exact", "checkpoint::tests::crash::child_process", "--nocapture"])
        .args(["--test-threads", "1"])
        .env(ROLE, role)
        .env(DIR, dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("spawn")
}

/// Not a test of its own: what the children of the other tests do.
#[test]
fn child_process() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let dir = std::env::var(DIR).expect("set along with the role");
    match role.as_str() {
        "write" => write_until_killed(Path::new(&dir)),
        "hold" => hold(Path::new(&dir)),
        "starve" => starve(Path::new(&dir)),
        "panic" => panic_everywhere(Path::new(&dir)),
        other => panic!("no role {other}"),
    }
}

/// A line that the test harness's own output cannot be taken for.
fn say(word: &str, number: u64) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n@{word} {number}").and_then(|()| out.flush()).expect("the parent reads");
}

fn heard(line: &str) -> Option<(&str, u64)> {
    let (word, number) = line.strip_prefix('@')?.split_once(' ')?;
    Some((word, number.parse().ok()?))
}

/// Sizes that make rotations, compactions and files frequent.
fn busy() -> StoreOptions {
    StoreOptions {
        inline_bytes: 2000,
        own_file_bytes: 20_000,
        ledger_bytes: 600 * 1024,
        dead_bytes: 50_000,
        ..Default::default()
    }
}

/// A fixed history: epoch n's writes follow from n alone.
fn nth(number: u64) -> EpochWrite {
    let mut write = EpochWrite::new(epoch(number));
    write.epoch.operators.insert("detector/large".into(), noise(number / 5, 9000));
    for pane in 0..6i64 {
        let seed = number * 10 + pane as u64;
        let size = [100, 1500, 3000, 30_000][(seed % 4) as usize];
        let whole = (number + pane as u64).is_multiple_of(7);
        write.segments.push(segment(pane, whole, noise(seed, size)));
    }
    write.closed.push(PaneClosed {
        query: "by_endpoint".into(),
        shard: 0,
        pane: number as i64 % 6,
    });
    write
}

/// What epoch `number` of that history consists of, as (pane, epoch).
fn nth_state(number: u64) -> Vec<(i64, u64)> {
    let mut state: Vec<(i64, u64)> = Vec::new();
    for n in 1..=number {
        let write = nth(n);
        state.retain(|(pane, _)| write.closed.iter().all(|closed| closed.pane != *pane));
        for segment in &write.segments {
            if segment.whole {
                state.retain(|(pane, _)| *pane != segment.pane);
            }
            state.push((segment.pane, n));
        }
    }
    state
}

fn write_until_killed(dir: &Path) {
    let store = CheckpointStore::open_with(dir, busy()).expect("open");
    let mut number = store.latest().expect("latest").map_or(0, |latest| latest.epoch.number);
    loop {
        number += 1;
        store.write(&nth(number)).expect("write");
        say("acknowledged", number);
        store.mark_committed(number).expect("mark");
    }
}

#[test]
fn killed_at_any_moment_it_comes_back_with_what_it_acknowledged() {
    let dir = tempfile::tempdir().expect("directory");
    let mut acknowledged = 0;
    for round in 0..25u64 {
        let mut writer = child("write", dir.path());
        let lines = BufReader::new(writer.stdout.take().expect("piped")).lines();
        // From the first instants of opening to hundreds of milliseconds into writing.
        let random = u64::from(noise(round + 1, 1)[0]);
        let delay = Duration::from_millis(if round % 3 == 0 { random / 8 } else { random });
        let killer = std::thread::spawn(move || {
            std::thread::sleep(delay);
            writer.kill().expect("kill");
            writer.wait().expect("wait");
        });
        for line in lines {
            if let Some(("acknowledged", number)) = line.ok().as_deref().and_then(heard) {
                acknowledged = number;
            }
        }
        killer.join().expect("killer");

        let store = CheckpointStore::open_with(dir.path(), busy()).expect("open after a kill");
        let found = store.latest().expect("latest");
        let number = found.as_ref().map_or(0, |latest| latest.epoch.number);
        assert!(number == acknowledged || number == acknowledged + 1, "{number} {acknowledged}");
        let Some(Latest { epoch, fallback }) = found else { continue };
        assert_eq!(fallback, None);
        let expected = Epoch { committed: epoch.committed, ..nth(number).epoch };
        assert_eq!(epoch, expected);
        let segments = store.segments(&epoch, "by_endpoint").expect("segments");
        let state: Vec<_> = segments.iter().map(|s| (s.pane, s.epoch)).collect();
        assert_eq!(state, nth_state(number));
        for segment in segments {
            let seed = segment.epoch * 10 + segment.pane as u64;
            assert_eq!(segment.bytes, noise(seed, segment.bytes.len()));
        }
        let known: Vec<_> = store.inner().index.files().keys().map(|n| n.to_string()).collect();
        let files = store.inner().files.list().expect("list");
        assert_eq!(files.len(), known.len(), "a file was left behind");
        acknowledged = number;
    }
    println!("25 kills, {acknowledged} epochs");
    assert!(acknowledged > 25, "the writer hardly ever wrote: {acknowledged}");
}

fn hold(dir: &Path) {
    let _store = open(dir);
    say("open", u64::from(std::process::id()));
    // Until the parent closes its end.
    let _ = std::io::stdin().lines().next();
}

#[test]
fn a_second_process_is_refused_by_name() {
    let dir = tempfile::tempdir().expect("directory");
    let mut holder = child("hold", dir.path());
    let mut lines = BufReader::new(holder.stdout.take().expect("piped")).lines();
    let pid = lines
        .by_ref()
        .map_while(Result::ok)
        .find_map(|line| heard(&line).map(|(_, pid)| pid as u32))
        .expect("the child opens it");
    for refused in [
        CheckpointStore::open(dir.path()).map(|_| ()),
        CheckpointStore::set_aside(dir.path()).map(|_| ()),
    ] {
        let error = refused.expect_err("locked");
        assert!(
            matches!(&error, CheckpointError::Locked { dir: locked, holder } if locked == dir.path() && *holder == Some(pid)),
            "{error}"
        );
        let text = error.to_string();
        assert!(text.contains(&dir.path().display().to_string()), "{text}");
        assert!(text.contains(&format!("by process {pid}")), "{text}");
    }
    drop(holder.stdin.take());
    assert!(lines.all(|line| line.is_ok()));
    assert!(holder.wait().expect("wait").success());
    open(dir.path());

    let _first = open(dir.path());
    let second = CheckpointStore::open(dir.path()).expect_err("locked within one process too");
    assert!(matches!(second, CheckpointError::Locked { holder: Some(_), .. }), "{second}");
}

/// Makes every write to a file fail, or lets them succeed again.
fn limit_file_size(bytes: libc::rlim_t) {
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: both calls only read the struct and set attributes of this process, which is a
    // child made for this. The signal would end it where the error is wanted.
    let failed = unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
        libc::setrlimit(libc::RLIMIT_FSIZE, &limit)
    };
    assert_eq!(failed, 0);
}

fn starve(dir: &Path) {
    let store = CheckpointStore::open_with(dir, busy()).expect("open");
    let mut number = 0;
    for round in 0..12 {
        for _ in 0..3 {
            number += 1;
            store.write(&nth(number)).expect("write");
        }
        // A small epoch fails in the ledger, a large one at its file.
        let next = if round % 2 == 0 { nth(number + 1) } else { grow(number + 1, b"x".to_vec()) };
        limit_file_size(if round % 3 == 0 { 0 } else { 4096 });
        for _ in 0..3 {
            let error = store.write(&next).expect_err("no room");
            assert!(error.is_transient(), "{error}");
        }
        if round % 4 == 0 {
            let error = store.latest().err();
            assert!(error.as_ref().is_none_or(CheckpointError::is_transient), "{error:?}");
        }
        limit_file_size(libc::RLIM_INFINITY);
        // What was not acknowledged is not there.
        if round % 2 == 1 {
            let latest = store.latest().expect("latest").expect("an epoch");
            assert_eq!((latest.epoch.number, latest.fallback), (number, None));
        }
        // The same epoch, again.
        store.write(&next).expect("room again");
        number += 1;
        assert_eq!(latest(&store).number, number);
        let known = store.inner().index.files().len();
        assert_eq!(store.inner().files.list().expect("list").len(), known);
    }
    say("survived", number);
}

#[test]
fn a_full_disk_fails_the_epoch_and_not_the_store() {
    let dir = tempfile::tempdir().expect("directory");
    let mut starved = child("starve", dir.path());
    let lines = BufReader::new(starved.stdout.take().expect("piped")).lines();
    // To the end: the child would not like its pipe closed.
    let survived = lines
        .map_while(Result::ok)
        .filter_map(|line| heard(&line).map(|(_, number)| number))
        .last();
    assert!(starved.wait().expect("wait").success());
    let number = survived.expect("the child says so");
    assert_eq!(latest(&open(dir.path())).number, number);
}

#[test]
fn a_directory_that_cannot_be_made_is_told() {
    let dir = tempfile::tempdir().expect("directory");
    let file = dir.path().join("file");
    std::fs::write(&file, b"in the way").expect("write");
    let error = CheckpointStore::open(&file.join("checkpoint")).expect_err("not a directory");
    assert!(error.is_transient(), "{error}");
    assert!(error.to_string().contains("file/checkpoint"), "{error}");
}

/// Fail points are global to a process, so this one has its own.
fn panic_everywhere(dir: &Path) {
    std::panic::set_hook(Box::new(|_| {}));
    let store = CheckpointStore::open_with(dir, busy()).expect("open");
    let mut number = 0;
    for point in [
        "checkpoint_files_begin",
        "checkpoint_files_written",
        "checkpoint_ledger_staged",
        "checkpoint_ledger_durable",
    ] {
        for first in ["write", "latest", "describe"] {
            number += 1;
            store.write(&nth(number)).expect("write");
            let next = nth(number + 1);
            fail::cfg(point, "panic").expect("a fail point");
            let write = std::panic::AssertUnwindSafe(|| store.write(&next));
            assert!(std::panic::catch_unwind(write).is_err(), "{point} is not passed");
            fail::remove(point);
            // Whatever is called first finds the store as it was.
            match first {
                "latest" => assert_eq!(latest(&store), nth(number).epoch),
                "describe" => {
                    let description = store.describe().expect("describe");
                    assert_eq!(description.epochs[0].number, number, "{description}");
                }
                _ => {}
            }
            store.write(&next).expect("the same epoch again");
            number += 1;
            assert_eq!(latest(&store), next.epoch);
        }
    }
    say("survived", number);
}

#[test]
fn a_panic_in_the_middle_of_an_epoch_takes_back_that_epoch_only() {
    let dir = tempfile::tempdir().expect("directory");
    let mut panicking = child("panic", dir.path());
    let lines = BufReader::new(panicking.stdout.take().expect("piped")).lines();
    let survived = lines
        .map_while(Result::ok)
        .filter_map(|line| heard(&line).map(|(_, number)| number))
        .last();
    assert!(panicking.wait().expect("wait").success());
    let store = open(dir.path());
    let epoch = latest(&store);
    assert_eq!(Some(epoch.number), survived);
    let segments = store.segments(&epoch, "by_endpoint").expect("segments");
    let state: Vec<_> = segments.iter().map(|s| (s.pane, s.epoch)).collect();
    assert_eq!(state, nth_state(epoch.number));
}
