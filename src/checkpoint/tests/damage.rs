//! Damage is told, with what and where; it is never a panic and never a silent step back.

use std::fs;
use std::path::PathBuf;

use super::super::record::{Key, encode};
use super::*;

/// Two epochs: the second adds a segment in a file and one in the ledger to what the first has.
fn two_epochs(dir: &Path) {
    let store = open(dir);
    let mut first = grow(1, noise(1, 200_000));
    first.segments.push(segment(60, false, b"first".to_vec()));
    store.write(&first).expect("write");
    let mut second = grow(2, noise(2, 300_000));
    second.segments.push(segment(60, false, b"second".to_vec()));
    store.write(&second).expect("write");
}

fn segment_file(dir: &Path, epoch: u64) -> PathBuf {
    let prefix = format!("{epoch:010}-");
    fs::read_dir(dir.join("segments"))
        .expect("list")
        .map(|entry| entry.expect("entry").path())
        .find(|path| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(&prefix)))
        .expect("a file of that epoch")
}

fn edit(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).expect("read");
    change(&mut bytes);
    fs::write(path, bytes).expect("write");
}

/// What `latest` falls back to, with the reason; the caller then has to discard.
fn falls_back(dir: &Path, named: &str) {
    let store = open(dir);
    let latest = store.latest().expect("the first epoch is whole").expect("an epoch");
    assert_eq!(latest.epoch, epoch(1));
    let fallback = latest.fallback.expect("told");
    assert_eq!(fallback.newest, 2);
    assert!(fallback.reason.contains(named), "{}", fallback.reason);

    let refused = store.write(&grow(3, b"x".to_vec())).expect_err("nothing on top of damage");
    assert!(matches!(refused, CheckpointError::Order(_)), "{refused}");
    assert!(refused.to_string().contains(named), "{refused}");

    store.discard_after(1).expect("discard");
    assert_eq!(super::latest(&store), epoch(1));
    store.write(&grow(2, b"again".to_vec())).expect("write");
    drop(store);
    let store = open(dir);
    let segments = store.segments(&super::latest(&store), "by_endpoint").expect("segments");
    assert_eq!(
        segments.iter().map(|s| (s.epoch, s.pane)).collect::<Vec<_>>(),
        [(1, 0), (1, 60), (2, 0)]
    );
}

/// Neither epoch can be restored.
fn refuses(dir: &Path, named: &str) -> CheckpointError {
    let error = open(dir).latest().expect_err("no epoch is whole");
    let text = error.to_string();
    assert!(matches!(error, CheckpointError::Corrupt { .. }), "{text}");
    assert!(text.contains(named), "{text}");
    assert!(text.contains("epoch 2") && text.contains("--resume-from-table"), "{text}");
    assert!(!error.is_transient());
    error
}

#[test]
fn a_damaged_file_of_the_newest_epoch_falls_back_and_says_so() {
    type Change = fn(&Path);
    let changes: [Change; 6] = [
        |path| edit(path, |bytes| bytes[1000] ^= 1),
        |path| edit(path, |bytes| bytes.truncate(1000)),
        |path| edit(path, |bytes| bytes.truncate(7)),
        |path| edit(path, |bytes| bytes[3] ^= 1),
        |path| edit(path, |bytes| bytes[13] ^= 1),
        |path| fs::remove_file(path).expect("remove"),
    ];
    for change in changes {
        let dir = tempfile::tempdir().expect("directory");
        two_epochs(dir.path());
        let path = segment_file(dir.path(), 2);
        change(&path);
        falls_back(dir.path(), &path.display().to_string());
    }
}

#[test]
fn a_damaged_file_that_both_epochs_need_is_refused() {
    let dir = tempfile::tempdir().expect("directory");
    two_epochs(dir.path());
    let path = segment_file(dir.path(), 1);
    edit(&path, |bytes| bytes[1000] ^= 1);
    refuses(dir.path(), &path.display().to_string());
    // Asking for the segments themselves tells the same.
    let store = open(dir.path());
    let error = store.segments(&epoch(2), "by_endpoint").expect_err("damaged");
    assert!(matches!(error, CheckpointError::Corrupt { epoch: Some(2), .. }), "{error}");
}

#[test]
fn a_file_under_anothers_name_is_noticed() {
    let dir = tempfile::tempdir().expect("directory");
    two_epochs(dir.path());
    let (first, second) = (segment_file(dir.path(), 1), segment_file(dir.path(), 2));
    fs::copy(&first, &second).expect("copy");
    falls_back(dir.path(), "another segment file under this name");
}

/// Opens sled behind the store's back.
fn raw(dir: &Path, change: impl FnOnce(&sled::Db)) {
    let store = open(dir);
    let inner = store.inner();
    let db = inner.ledger().expect("open").raw();
    change(db);
    db.flush().expect("flush");
}

fn first_chunk(key: Key) -> Vec<u8> {
    [&key.to_bytes()[..], &[0, 0]].concat()
}

#[test]
fn garbage_in_the_ledger_is_noticed() {
    let garbage: [Option<&[u8]>; 4] = [None, Some(b""), Some(b"garbage"), Some(&[0; 500])];
    for value in garbage {
        for key in [Key::Epoch(2), Key::Table(2)] {
            let dir = tempfile::tempdir().expect("directory");
            two_epochs(dir.path());
            raw(dir.path(), |db| {
                match value {
                    Some(value) => db.insert(first_chunk(key), value).expect("insert"),
                    None => db.remove(first_chunk(key)).expect("remove"),
                };
            });
            // An epoch that is missing with its mark still there is told as that.
            let named = match (key, value) {
                (Key::Epoch(_), None) => "epoch/2 is missing".to_owned(),
                (_, None) => "pieces of its state".to_owned(),
                _ => key.to_string(),
            };
            falls_back(dir.path(), &named);
        }
        let dir = tempfile::tempdir().expect("directory");
        two_epochs(dir.path());
        raw(dir.path(), |db| {
            match value {
                Some(value) => db.insert(first_chunk(Key::Table(1)), value).expect("insert"),
                None => db.remove(first_chunk(Key::Table(1))).expect("remove"),
            };
        });
        let named = if value.is_some() { "state/1" } else { "pieces of its state" };
        refuses(dir.path(), named);
    }
}

#[test]
fn every_flipped_byte_of_the_newest_entries_is_noticed() {
    let dir = tempfile::tempdir().expect("directory");
    let store = open(dir.path());
    store.write(&grow(1, b"first".to_vec())).expect("write");
    store.write(&grow(2, b"second".to_vec())).expect("write");
    let mut inner = store.inner();
    for key in [Key::Epoch(2), Key::Table(2)] {
        let sound = inner.ledger().expect("open").get(key).expect("get").expect("there");
        for at in 0..sound.len() {
            let mut bad = sound.clone();
            bad[at] ^= 0x20;
            inner.ledger_mut().expect("open").stage(&vec![(key, Some(bad))]).expect("stage");
            let ledger = inner.ledger.take().expect("open");
            inner.index = super::super::read::load(&ledger, &inner.files).expect("load");
            inner.ledger = Some(ledger);
            let latest = inner.latest().expect("the first epoch is whole").expect("an epoch");
            assert_eq!(latest.epoch, epoch(1), "byte {at} of {key}");
            assert_eq!(latest.fallback.expect("told").newest, 2);
        }
        inner.ledger_mut().expect("open").stage(&vec![(key, Some(sound))]).expect("stage");
    }
}

#[test]
fn a_ledger_that_lost_its_end_is_noticed() {
    let dir = tempfile::tempdir().expect("directory");
    two_epochs(dir.path());
    raw(dir.path(), |db| {
        for key in [Key::Epoch(2), Key::Table(2)] {
            db.remove(first_chunk(key)).expect("remove");
        }
    });
    falls_back(dir.path(), "epoch 2 was acknowledged, but the ledger ends with epoch 1");
}

#[test]
fn a_ledger_that_is_gone_is_noticed() {
    let dir = tempfile::tempdir().expect("directory");
    two_epochs(dir.path());
    let lost = |named: &str| {
        let error = CheckpointStore::open(dir.path()).expect_err("lost");
        assert!(matches!(error, CheckpointError::Corrupt { epoch: Some(2), .. }), "{error}");
        assert!(error.to_string().contains(named), "{error}");
    };
    let ledger = dir.path().join("ledger-000001");
    fs::rename(&ledger, dir.path().join("elsewhere")).expect("rename");
    lost("ledger-000001");
    fs::remove_file(dir.path().join("CURRENT")).expect("remove");
    lost("CURRENT");
    // Nothing was swept in the meantime.
    assert!(segment_file(dir.path(), 1).exists() && segment_file(dir.path(), 2).exists());

    let aside = CheckpointStore::set_aside(dir.path()).expect("set aside").expect("something");
    assert!(aside.join("segments").is_dir() && aside.join("HEAD").is_file());
    let store = open(dir.path());
    assert!(store.latest().expect("latest").is_none());
    store.write(&grow(1, b"afresh".to_vec())).expect("write");
}

const ROUNDS: u64 = 60;

/// Flips bytes all over sled's own files. Whatever sled makes of that, the store must come back
/// with the newest epoch, or fall back, or refuse.
#[test]
fn damage_below_the_ledger_never_panics_and_never_lies() {
    let sound = tempfile::tempdir().expect("directory");
    two_epochs(sound.path());
    let ledger = sound.path().join("ledger-000001");
    let log = fs::read(ledger.join("db")).expect("read");
    // The log is mostly empty: damage where something is.
    let used: Vec<usize> = (0..log.len()).filter(|at| log[*at] != 0).collect();
    let (mut whole, mut older, mut refused) = (0, 0, 0);
    for round in 0..ROUNDS {
        let dir = tempfile::tempdir().expect("directory");
        copy(sound.path(), dir.path());
        edit(&dir.path().join("ledger-000001/db"), |bytes| {
            let random = noise(round, 8);
            let at = used[usize::from_le_bytes(random.try_into().expect("8 bytes")) % used.len()];
            match round % 3 {
                0 => bytes[at] ^= 1 << (round % 8),
                1 => bytes[at..].iter_mut().take(64).for_each(|byte| *byte = 0xa5),
                _ => bytes.truncate(at),
            }
        });
        let opened = CheckpointStore::open(dir.path());
        let latest = opened.as_ref().map_err(|_| ()).and_then(|s| s.latest().map_err(|_| ()));
        match (&opened, latest) {
            (Ok(_), Ok(Some(Latest { epoch: found, fallback: None }))) => {
                assert_eq!(found, epoch(2));
                whole += 1;
            }
            (Ok(store), Ok(Some(Latest { epoch: found, fallback: Some(_) }))) => {
                assert_eq!(found, epoch(1));
                store.discard_after(1).expect("discard");
                store.write(&grow(2, noise(9, 200_000))).expect("write");
                assert_eq!(super::latest(store), epoch(2));
                older += 1;
            }
            (Ok(store), Err(())) => {
                let error = store.latest().expect_err("still damaged");
                assert!(matches!(error, CheckpointError::Corrupt { .. }), "{error}");
                refused += 1;
            }
            (Err(CheckpointError::Corrupt { .. }), _) => refused += 1,
            (opened, latest) => panic!("round {round}: {opened:?} {latest:?}"),
        }
    }
    println!("{whole} whole, {older} fell back, {refused} refused");
    assert!(refused > 0);
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("list") {
        let entry = entry.expect("entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            fs::create_dir_all(&target).expect("create");
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("copy");
        }
    }
}

#[test]
fn a_newer_format_is_refused_by_name() {
    let dir = tempfile::tempdir().expect("directory");
    two_epochs(dir.path());
    let path = segment_file(dir.path(), 2);
    edit(&path, |bytes| {
        bytes[8] = 2;
        let crc = crc32fast::hash(&bytes[..28]);
        bytes[28..32].copy_from_slice(&crc.to_le_bytes());
    });
    let newer = open(dir.path()).latest().expect_err("newer");
    assert!(matches!(newer, CheckpointError::NewerFormat { found: 2, supported: 1, .. }));

    let current = dir.path().join("CURRENT");
    fs::write(&current, "millpond checkpoint 7\nledger-000001\n").expect("write");
    let newer = CheckpointStore::open(dir.path()).expect_err("newer");
    assert!(newer.to_string().contains("CURRENT has format version 7"), "{newer}");
    for bad in ["", "garbage", "millpond checkpoint 1\n../../etc\n"] {
        fs::write(&current, bad).expect("write");
        let corrupt = CheckpointStore::open(dir.path()).expect_err("not a pointer");
        assert!(matches!(corrupt, CheckpointError::Corrupt { .. }), "{corrupt}");
    }
}

#[test]
fn what_a_crash_leaves_behind_is_swept() {
    let dir = tempfile::tempdir().expect("directory");
    two_epochs(dir.path());
    let orphan = |name: &str| {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().expect("below the directory")).expect("create");
        fs::write(&path, b"left behind").expect("write");
        path
    };
    let orphans = [
        orphan("segments/0000000003-00000009.seg"),
        orphan("segments/0000000003-00000010.seg.tmp"),
        orphan("ledger-000002/db"),
        // sled's own recovery takes this for its newest snapshot, and gives up.
        orphan("ledger-000001/snap.7FFFFFFFFFFFFFFF.generating"),
    ];
    let store = open(dir.path());
    assert_eq!(super::latest(&store), epoch(2));
    for orphan in orphans {
        assert!(!orphan.exists(), "{}", orphan.display());
    }
    // And its name is not used again.
    store.write(&grow(3, noise(3, 200_000))).expect("write");
    assert!(dir.path().join("segments/0000000003-00000011.seg").exists());
}

#[test]
fn a_committed_mark_without_its_epoch_is_noticed() {
    let dir = tempfile::tempdir().expect("directory");
    two_epochs(dir.path());
    let key = Key::Committed(5);
    let value = encode(key, &(), &[]).expect("plain data");
    raw(dir.path(), |db| {
        db.insert(first_chunk(key), value).expect("insert");
    });
    let latest = open(dir.path()).latest().expect("latest").expect("an epoch");
    assert_eq!((latest.epoch.number, latest.fallback.expect("told").newest), (2, 5));
}
