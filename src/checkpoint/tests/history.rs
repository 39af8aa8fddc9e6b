//! What was written comes back, whatever came before and after it.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

#[test]
fn an_epoch_comes_back_as_it_was_written() {
    let dir = tempfile::tempdir().expect("directory");
    let store = open(dir.path());
    assert!(store.latest().expect("latest").is_none());

    let mut write = EpochWrite::new(epoch(1));
    write.segments = vec![
        segment(0, false, b"small".to_vec()),
        segment(0, false, noise(1, 100_000)),
        segment(60, false, noise(2, 2_000_000)),
        segment(60, false, Vec::new()),
    ];
    write.epoch.operators.insert("detector/large".into(), noise(3, 1_500_000));
    // A pre-commit with many files: its record is far too large for the ledger.
    write.epoch.precommits[0].adds = (0..2_000)
        .map(|n| serde_json::json!({"path": format!("date=2026-11-21/part-{n}.parquet")}))
        .collect();
    let stats = store.write(&write).expect("write");
    assert_eq!((stats.epoch, stats.segments, stats.files), (1, 6, 3));
    assert!(stats.bytes > 3_600_000);

    assert_eq!(latest(&store), write.epoch);
    drop(store);
    assert_eq!(latest(&open(dir.path())), write.epoch);
}

#[test]
fn segments_come_back_in_order_and_by_query() {
    let dir = tempfile::tempdir().expect("directory");
    let store = open(dir.path());
    for number in 1..=5 {
        store.write(&grow(number, noise(number, number as usize * 3000))).expect("write");
    }
    let mut other = EpochWrite::new(epoch(6));
    other.segments =
        vec![SegmentWrite { query: "by_ip".into(), ..segment(7, true, b"x".to_vec()) }];
    store.write(&other).expect("write");
    drop(store);

    let store = open(dir.path());
    let epoch = latest(&store);
    let segments = store.segments(&epoch, "by_endpoint").expect("segments");
    let written: Vec<_> = segments.iter().map(|s| (s.epoch, s.bytes.len())).collect();
    assert_eq!(written, [(1, 3000), (2, 6000), (3, 9000), (4, 12000), (5, 15000)]);
    assert!(segments.iter().all(|s| s.bytes == noise(s.epoch, s.bytes.len())));
    assert_eq!(store.segments(&epoch, "by_ip").expect("segments").len(), 1);
    assert_eq!(store.segments(&epoch, "unknown").expect("segments").len(), 0);
}

#[test]
fn a_pane_closed_and_written_in_one_epoch_holds_what_was_written() {
    let dir = tempfile::tempdir().expect("directory");
    let store = open(dir.path());
    store.write(&grow(1, b"old".to_vec())).expect("write");
    let mut write = grow(2, b"new".to_vec());
    write.closed = vec![PaneClosed { query: "by_endpoint".into(), shard: 0, pane: 0 }];
    // Written twice and then whole within the epoch: only the last stays.
    write.segments.push(segment(0, false, b"newer".to_vec()));
    write.segments.push(segment(0, true, b"whole".to_vec()));
    write.segments.push(segment(0, false, b"and more".to_vec()));
    assert_eq!(store.write(&write).expect("write").segments, 3, "two segments, one operator");
    let segments = store.segments(&latest(&store), "by_endpoint").expect("segments");
    let bytes: Vec<_> = segments.iter().map(|s| s.bytes.as_slice()).collect();
    assert_eq!(bytes, [&b"whole"[..], b"and more"]);
}

#[test]
fn unchanged_operators_are_not_written_again() {
    let dir = tempfile::tempdir().expect("directory");
    let store = open(dir.path());
    let mut write = EpochWrite::new(epoch(1));
    write.epoch.operators = BTreeMap::from([("large".into(), noise(1, 3_000_000))]);
    assert_eq!(store.write(&write).expect("write").files, 1);
    write.epoch.number = 2;
    let stats = store.write(&write).expect("write");
    assert_eq!((stats.segments, stats.files), (0, 0));
    write.epoch.number = 3;
    write.epoch.operators.insert("large".into(), noise(2, 3_000_000));
    assert_eq!(store.write(&write).expect("write").files, 1);
    assert_eq!(latest(&store).operators, write.epoch.operators);
    write.epoch.number = 4;
    write.epoch.operators.clear();
    store.write(&write).expect("write");
    assert!(latest(&store).operators.is_empty());
}

#[test]
fn numbers_only_rise_and_commits_are_noted() {
    let dir = tempfile::tempdir().expect("directory");
    let store = open(dir.path());
    store.write(&grow(5, b"x".to_vec())).expect("write");
    for number in [4, 5] {
        let refused = store.write(&grow(number, b"y".to_vec()));
        assert!(matches!(refused, Err(CheckpointError::Order(_))), "{refused:?}");
    }
    store.mark_committed(5).expect("mark");
    store.mark_committed(3).expect("an epoch long gone is no error");
    assert!(latest(&store).committed);
    store.write(&grow(9, b"y".to_vec())).expect("write");
    assert!(!latest(&store).committed);
    let text = store.describe().expect("describe").to_string();
    assert!(text.contains("epoch 9 of pipeline weblogs"), "{text}");
    assert!(text.contains("query/by_endpoint: 2 B, 1 panes, 2 segments, 2 groups"), "{text}");
    drop(store);
    let description = open(dir.path()).describe().expect("describe");
    let committed: Vec<_> = description.epochs.iter().map(|e| (e.number, e.committed)).collect();
    assert_eq!(committed, [(9, false), (5, true)]);
}

/// One step of a random history.
#[derive(Clone, Debug)]
enum Step {
    Epoch {
        gap: u64,
        replace_all: Option<u8>,
        closed: Vec<(u8, u8, u8)>,
        segments: Vec<(u8, u8, u8, bool, usize)>,
        operators: Vec<(u8, usize)>,
    },
    Reopen,
    Rotate,
    Discard,
    /// As after a failure in the middle of changing the ledger.
    Suspect,
}

fn step() -> impl Strategy<Value = Step> {
    let size = prop_oneof![0..40usize, 40..300usize, 300..900usize];
    let epoch = (
        1..4u64,
        prop::option::weighted(0.1, 0..2u8),
        prop::collection::vec((0..2u8, 0..2u8, 0..3u8), 0..4),
        prop::collection::vec((0..2u8, 0..2u8, 0..3u8, any::<bool>(), size.clone()), 0..6),
        prop::collection::vec((0..3u8, size), 0..3),
    )
        .prop_map(|(gap, replace_all, closed, segments, operators)| Step::Epoch {
            gap,
            replace_all,
            closed,
            segments,
            operators,
        });
    prop_oneof![
        12 => epoch,
        2 => Just(Step::Reopen),
        1 => Just(Step::Rotate),
        1 => Just(Step::Discard),
        1 => Just(Step::Suspect),
    ]
}

type Panes = BTreeMap<(u8, u8, u8), Vec<(u64, Vec<u8>)>>;

/// Keeps every epoch's state whole.
#[derive(Default)]
struct Model {
    epochs: Vec<(Epoch, Panes)>,
}

impl Model {
    fn check(&self, store: &CheckpointStore, keep: usize) {
        let inner = store.inner();
        let kept: Vec<u64> = inner.index.epochs.keys().copied().collect();
        let expected: Vec<u64> = self.epochs.iter().map(|(epoch, _)| epoch.number).collect();
        let from = expected.len().saturating_sub(keep);
        assert_eq!(kept, expected[from..]);
        // No leak: the files on disk are the ones that a kept epoch needs.
        let mut needed = BTreeSet::new();
        for number in &kept {
            let head = inner.index.epochs[number].head.as_ref().expect("whole");
            needed.extend(head.payload.file.iter().map(|name| name.to_string()));
            for (id, entry) in inner.index.live(*number) {
                needed.extend(entry.blob.file.iter().map(|name| name.to_string()));
                let table = inner.index.tables[&id.born].blob.as_ref().expect("whole");
                needed.extend(table.file.iter().map(|name| name.to_string()));
            }
        }
        let found: BTreeSet<String> =
            inner.files.list().expect("list").into_iter().map(|found| found.name).collect();
        assert_eq!(found, needed);
        drop(inner);

        for (epoch, panes) in &self.epochs[from..] {
            for query in 0..2u8 {
                let segments = store.segments(epoch, &format!("q{query}")).expect("segments");
                let mut found = Panes::new();
                for segment in segments {
                    found
                        .entry((query, segment.shard as u8, segment.pane as u8))
                        .or_default()
                        .push((segment.epoch, segment.bytes));
                }
                let expected: Panes = panes
                    .iter()
                    .filter(|((q, _, _), _)| *q == query)
                    .map(|(key, segments)| (*key, segments.clone()))
                    .collect();
                assert_eq!(found, expected, "epoch {} query {query}", epoch.number);
            }
        }
        match self.epochs.last() {
            Some((epoch, _)) => assert_eq!(&latest(store), epoch),
            None => assert!(store.latest().expect("latest").is_none()),
        }
    }
}

fn run(steps: &[Step], options: &StoreOptions) {
    let dir = tempfile::tempdir().expect("directory");
    let reopen = || CheckpointStore::open_with(dir.path(), options.clone()).expect("open");
    let mut store = Some(reopen());
    let mut model = Model::default();
    let mut seed = 0;
    for step in steps {
        let current = store.as_ref().expect("open between steps");
        match step {
            Step::Epoch { gap, replace_all, closed, segments, operators } => {
                let (number, mut panes) = match model.epochs.last() {
                    Some((epoch, panes)) => (epoch.number + gap, panes.clone()),
                    None => (*gap, Panes::new()),
                };
                let mut write = EpochWrite::new(epoch(number));
                write.epoch.operators.clear();
                for (name, size) in operators {
                    write.epoch.operators.insert(format!("op{name}"), noise(*size as u64, *size));
                }
                if let Some(query) = replace_all {
                    write.replace_all.insert(format!("q{query}"));
                    panes.retain(|(q, _, _), _| q != query);
                }
                for (query, shard, pane) in closed {
                    write.closed.push(PaneClosed {
                        query: format!("q{query}"),
                        shard: u32::from(*shard),
                        pane: i64::from(*pane),
                    });
                    panes.remove(&(*query, *shard, *pane));
                }
                for (query, shard, pane, whole, size) in segments {
                    seed += 1;
                    let bytes = noise(seed, *size);
                    write.segments.push(SegmentWrite {
                        query: format!("q{query}"),
                        shard: u32::from(*shard),
                        pane: i64::from(*pane),
                        whole: *whole,
                        bytes: bytes.clone(),
                        groups: 1,
                    });
                    let held = panes.entry((*query, *shard, *pane)).or_default();
                    if *whole {
                        held.clear();
                    }
                    held.push((number, bytes));
                }
                current.write(&write).expect("write");
                model.epochs.push((write.epoch, panes));
            }
            Step::Reopen => {
                drop(store.take());
                store = Some(reopen());
            }
            Step::Rotate => {
                let mut inner = current.inner();
                let large = std::mem::take(&mut inner.options.ledger_bytes);
                inner.fresh_bytes = 0;
                inner.rotate_if_large();
                inner.options.ledger_bytes = large;
            }
            Step::Discard => {
                if let [.., (before, _), _] = &model.epochs[..] {
                    current.discard_after(before.number).expect("discard");
                    model.epochs.pop();
                    // The one before that is not kept any more: only one is left.
                    let last = model.epochs.pop().expect("at least one");
                    model.epochs = vec![last];
                }
            }
            Step::Suspect => current.inner().suspect = true,
        }
        model.check(store.as_ref().expect("open"), options.keep_epochs);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 200, ..Default::default() })]

    #[test]
    fn any_history_restores_as_the_model_says(steps in prop::collection::vec(step(), 1..24)) {
        // Sizes so small that every step crosses all thresholds.
        let options = StoreOptions {
            inline_bytes: 40,
            own_file_bytes: 300,
            dead_bytes: 500,
            ..Default::default()
        };
        run(&steps, &options);
    }
}
