//! Tests of the store as a whole.

mod bounds;
mod crash;
mod damage;
mod history;

use std::collections::BTreeMap;
use std::path::Path;

use super::*;
use crate::source::PartitionId;

/// An epoch with something in every field that depends on its number.
fn epoch(number: u64) -> Epoch {
    let at = number as i64;
    Epoch {
        number,
        pipeline: "weblogs".into(),
        shards: 2,
        positions: BTreeMap::from([
            (
                PartitionId::new("logs", "web-logs-0"),
                Position { next: at * 100, max_event_time: Some(at * 1_000_000) },
            ),
            (PartitionId::new("logs", "web-logs-1"), Position { next: -2, max_event_time: None }),
        ]),
        fingerprints: BTreeMap::from([("by_endpoint".into(), "c0ffee".into())]),
        watermarks: BTreeMap::from([("by_endpoint".into(), i64::MAX - at)]),
        precommits: vec![PreCommit {
            sink: "bronze".into(),
            table: "/data/bronze".into(),
            adds: vec![serde_json::json!({"path": "a.parquet", "size": 7, "stats": "{\"n\":1.5}"})],
            rows: 3,
            bytes: 7,
            transactions: vec![("millpond/weblogs/bronze/logs-0".into(), at * 100)],
            expected: vec![("millpond/weblogs/bronze/logs-0".into(), None)],
            staged: Some(serde_json::json!({ "file": "a.rows", "rows": 3 })),
        }],
        operators: BTreeMap::from([("detector/spike".into(), vec![number as u8; 9])]),
        created_at_ms: 1_700_000_000_000 + at,
        committed: false,
    }
}

/// An epoch that writes one incremental segment of `bytes` into pane 0.
fn grow(number: u64, bytes: Vec<u8>) -> EpochWrite {
    EpochWrite { segments: vec![segment(0, false, bytes)], ..EpochWrite::new(epoch(number)) }
}

fn segment(pane: i64, whole: bool, bytes: Vec<u8>) -> SegmentWrite {
    SegmentWrite { query: "by_endpoint".into(), shard: 0, pane, whole, bytes, groups: 1 }
}

/// Bytes that no compressor or lucky checksum makes equal to others.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        // Xorshift64 (Marsaglia 2003).
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

fn open(dir: &Path) -> CheckpointStore {
    CheckpointStore::open(dir).expect("open")
}

fn latest(store: &CheckpointStore) -> Epoch {
    let latest = store.latest().expect("latest").expect("an epoch");
    assert_eq!(latest.fallback, None);
    latest.epoch
}

/// Bytes of all files below `dir`.
fn disk_bytes(dir: &Path) -> u64 {
    std::fs::read_dir(dir)
        .expect("list")
        .map(|entry| {
            let path = entry.expect("entry").path();
            if path.is_dir() { disk_bytes(&path) } else { path.metadata().map_or(0, |m| m.len()) }
        })
        .sum()
}

/// Resident memory of this process, from /proc.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("status");
    let line = status.lines().find(|line| line.starts_with("VmRSS")).expect("VmRSS");
    let kib: u64 = line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("number");
    kib * 1024
}
