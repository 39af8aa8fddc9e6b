//! What the store costs, over time and with much state.

use std::time::Instant;

use super::*;

const MIB: u64 = 1024 * 1024;

#[test]
fn two_thousand_epochs_stay_small() {
    let dir = tempfile::tempdir().expect("directory");
    let store = open(dir.path());
    // Three queries, two shards, windows that live for twelve epochs: some 70 live segments.
    let write = |number: u64| {
        let mut write = EpochWrite::new(epoch(number));
        for query in ["by_endpoint", "by_status", "by_ip"] {
            for shard in 0..2 {
                let pane = (number / 12) as i64;
                write.segments.push(SegmentWrite {
                    query: query.into(),
                    shard,
                    pane,
                    whole: number.is_multiple_of(8),
                    bytes: noise(number, 1500),
                    groups: 20,
                });
                write.closed.push(PaneClosed { query: query.into(), shard, pane: pane - 1 });
            }
        }
        write
    };
    let mut most_disk = 0;
    let mut memory = 0;
    let started = Instant::now();
    for number in 1..=2000 {
        store.write(&write(number)).expect("write");
        store.mark_committed(number).expect("mark");
        if number == 200 {
            memory = resident_bytes();
        }
        if number.is_multiple_of(10) {
            most_disk = most_disk.max(disk_bytes(dir.path()));
        }
    }
    let grown = resident_bytes().saturating_sub(memory);
    println!(
        "2000 epochs: {:?}, at most {} KiB on disk, {} KiB more memory than after 200",
        started.elapsed(),
        most_disk / 1024,
        grown / 1024
    );
    assert!(most_disk < 40 * MIB, "{most_disk} bytes on disk");
    assert!(grown < 64 * MIB, "{grown} bytes of memory");
    assert_eq!(latest(&store).number, 2000);
}

#[test]
fn thousands_of_panes_cost_what_changes() {
    let dir = tempfile::tempdir().expect("directory");
    let store = open(dir.path());
    let mut all = EpochWrite::new(epoch(1));
    all.segments = (0..5000).map(|pane| segment(pane, true, noise(pane as u64, 600))).collect();
    let stats = store.write(&all).expect("write");
    // Far more than the ledger takes from one epoch: one file, not thousands.
    assert_eq!(stats.files, 1);
    let before = store.describe().expect("describe").ledger_bytes;
    for number in 2..12 {
        let stats = store.write(&grow(number, noise(number, 600))).expect("write");
        assert!(stats.bytes < 2000, "{stats:?}");
    }
    let after = store.describe().expect("describe").ledger_bytes;
    assert!(after < before + MIB, "{before} to {after}");
    drop(store);
    let store = open(dir.path());
    assert_eq!(store.segments(&latest(&store), "by_endpoint").expect("segments").len(), 5010);
}

#[test]
fn a_live_piece_does_not_hold_its_dead_neighbours_forever() {
    let dir = tempfile::tempdir().expect("directory");
    let options = StoreOptions { dead_bytes: MIB, ..Default::default() };
    let store = CheckpointStore::open_with(dir.path(), options).expect("open");
    // One pane a round is never touched again; the others are replaced whole each time, so that
    // each round's file would be kept for a fiftieth of it.
    for number in 1..=40u64 {
        let mut write = EpochWrite::new(epoch(number));
        write.segments = (0..50)
            .map(|pane| segment(pane, true, noise(number * 100 + pane as u64, 10_000)))
            .collect();
        write.segments.push(segment(1000 + number as i64, true, noise(number, 10_000)));
        store.write(&write).expect("write");
    }
    let description = store.describe().expect("describe");
    // Live are two epochs of 50 panes and 40 idle panes: 1.4 MB.
    assert!(description.segment_file_bytes < 4 * MIB, "{description}");
    let segments = store.segments(&latest(&store), "by_endpoint").expect("segments");
    assert_eq!(segments.len(), 90);
    for segment in segments.iter().filter(|segment| segment.pane > 1000) {
        assert_eq!(segment.bytes, noise(segment.pane as u64 - 1000, 10_000));
    }
}

#[test]
fn sled_keeps_nothing_in_files_that_it_does_not_sync() {
    let dir = tempfile::tempdir().expect("directory");
    let options = StoreOptions { ledger_bytes: u64::MAX, ..Default::default() };
    let store = CheckpointStore::open_with(dir.path(), options).expect("open");
    for number in 1..=60 {
        // All that the ledger takes from one epoch, in the largest pieces that it takes.
        let mut write = EpochWrite::new(epoch(number));
        write.segments = (0..4)
            .map(|pane| segment(pane, number.is_multiple_of(5), noise(number, 63 * 1024)))
            .collect();
        assert_eq!(store.write(&write).expect("write").files, 0);
    }
    let blobs = store.inner().ledger().expect("open").path().join("blobs");
    assert_eq!(std::fs::read_dir(blobs).expect("list").count(), 0);
}
