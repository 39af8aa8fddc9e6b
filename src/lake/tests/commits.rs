//! Commits: fencing, races, recovery, upkeep of the log.

use std::fs;
use std::sync::Arc;
use std::time::Instant;

use deltalake::kernel::transaction::CommitBuilder;
use deltalake::kernel::{Action, StructField, Transaction};
use deltalake::protocol::{DeltaOperation, SaveMode};
use futures::TryStreamExt;

use super::super::testing::{app, expect, fake_add, open, plain, spec};
use super::super::{LakeError, LakeTable};

use super::log_files;

#[tokio::test]
async fn a_commit_holds_files_and_transactions() {
    let dir = tempfile::tempdir().unwrap();
    let mut table = LakeTable::open_or_create(&spec(dir.path(), &plain())).await.unwrap();
    assert_eq!(table.transaction_version("a/0").await.unwrap(), None);
    let transactions = [("a/0".to_owned(), 7), ("a/1".to_owned(), 0)];
    let expected = [("a/0".to_owned(), None), ("a/1".to_owned(), None)];
    let adds = vec![fake_add("x", 3), fake_add("y", 4)];
    let info = table.commit(adds, &transactions, &expected).await.unwrap();
    assert_eq!((info.version, info.files, info.rows, info.bytes), (1, 2, 7, 20));
    assert_eq!((info.attempts, info.already_there), (1, false));
    assert_eq!(info.upkeep_error, None);
    assert_eq!(table.transaction_version("a/0").await.unwrap(), Some(7));

    // Without files too: an epoch in which nothing came through still moves positions.
    let info = table.commit(vec![], &app("a/0", 8), &expect("a/0", Some(7))).await.unwrap();
    assert_eq!((info.version, info.files), (2, 0));

    let fresh = LakeTable::open_or_create(&spec(dir.path(), &plain())).await.unwrap();
    assert_eq!(fresh.transaction_version("a/0").await.unwrap(), Some(8));
    assert_eq!(fresh.transaction_version("a/1").await.unwrap(), Some(0));
    assert_eq!(fresh.transaction_version("a/2").await.unwrap(), None);

    let seen = open(&table).await;
    assert_eq!(seen.get_file_uris().unwrap().count(), 2);
    let newest: Vec<_> = seen.history(Some(2)).try_collect().await.unwrap();
    let first = &newest[1];
    assert_eq!(first.operation.as_deref(), Some("WRITE"));
    assert_eq!(first.is_blind_append, Some(true));
    assert_eq!(first.info["operationMetrics"]["numOutputRows"], "7");
}

#[tokio::test]
async fn an_unexpected_transaction_version_fences() {
    let dir = tempfile::tempdir().unwrap();
    let mut table = LakeTable::open_or_create(&spec(dir.path(), &plain())).await.unwrap();
    table.commit(vec![fake_add("x", 1)], &app("a", 5), &expect("a", None)).await.unwrap();
    for expected in [None, Some(4), Some(6)] {
        let error = table
            .commit(vec![fake_add("y", 1)], &app("a", 9), &expect("a", expected))
            .await
            .unwrap_err();
        let LakeError::Fenced { app_id, expected: said, found, .. } = &error else {
            panic!("{error}")
        };
        assert_eq!((app_id.as_str(), *said, *found), ("a", expected, Some(5)));
        assert!(error.is_fenced() && !error.is_transient());
    }
    assert_eq!(table.version(), 1, "nothing was written");
    assert_eq!(log_files(&table).len(), 2);
}

/// Two daemons that believe they own the same partition: they hold the same position and commit
/// at the same moment, round after round.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_owners_exactly_one_wins() {
    let dir = tempfile::tempdir().unwrap();
    let spec = Arc::new(spec(dir.path(), &plain()));
    LakeTable::open_or_create(&spec).await.unwrap();
    for round in 0..20_i64 {
        let position = (round > 0).then_some(round);
        let barrier = Arc::new(tokio::sync::Barrier::new(4));
        let owners = (0..4).map(|owner| {
            let (spec, barrier) = (spec.clone(), barrier.clone());
            tokio::spawn(async move {
                let mut table = LakeTable::open_or_create(&spec).await.unwrap();
                barrier.wait().await;
                let add = fake_add(&format!("{round}-{owner}"), 1);
                // Every other round without files, when there is nothing else to tell commits by.
                let adds = if round % 2 == 0 { vec![add] } else { vec![] };
                table.commit(adds, &app("own", round + 1), &expect("own", position)).await
            })
        });
        let mut won = 0;
        for outcome in futures::future::join_all(owners).await {
            match outcome.unwrap() {
                Ok(info) => {
                    won += 1;
                    assert_eq!(info.version, round + 1);
                }
                Err(LakeError::Fenced { found, .. }) => assert_eq!(found, Some(round + 1)),
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!(won, 1, "round {round}");
    }
    let table = LakeTable::open_or_create(&spec).await.unwrap();
    assert_eq!(open(&table).await.get_file_uris().unwrap().count(), 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writers_of_different_applications_all_get_through() {
    let dir = tempfile::tempdir().unwrap();
    let spec = Arc::new(spec(dir.path(), &plain()));
    LakeTable::open_or_create(&spec).await.unwrap();
    let writers = (0..6).map(|writer| {
        let spec = spec.clone();
        tokio::spawn(async move {
            let mut table = LakeTable::open_or_create(&spec).await.unwrap();
            let id = format!("w{writer}");
            let mut tries = 0;
            for i in 0..15_i64 {
                let add = fake_add(&format!("{writer}-{i}"), 1);
                let info = table
                    .commit(vec![add], &app(&id, i), &expect(&id, (i > 0).then(|| i - 1)))
                    .await
                    .unwrap();
                assert_eq!(info.upkeep_error, None);
                tries += info.attempts;
            }
            tries
        })
    });
    let mut tries = 0;
    for writer in futures::future::join_all(writers).await {
        tries += writer.unwrap();
    }
    assert!(tries >= 90);
    let table = LakeTable::open_or_create(&spec).await.unwrap();
    assert_eq!(table.version(), 90);
    assert_eq!(open(&table).await.get_file_uris().unwrap().count(), 90);
}

#[tokio::test]
async fn a_commit_of_deltalake_in_between_is_no_obstacle() {
    let dir = tempfile::tempdir().unwrap();
    let mut table = LakeTable::open_or_create(&spec(dir.path(), &plain())).await.unwrap();
    let seen = open(&table).await;
    let operation =
        DeltaOperation::Write { mode: SaveMode::Append, partition_by: None, predicate: None };
    CommitBuilder::default()
        .with_actions(vec![
            Action::Add(fake_add("foreign", 1)),
            Action::Txn(Transaction::new("foreign", 3)),
        ])
        .build(Some(seen.snapshot().unwrap()), seen.log_store(), operation)
        .await
        .unwrap();
    let info =
        table.commit(vec![fake_add("own", 1)], &app("a", 1), &expect("a", None)).await.unwrap();
    assert_eq!((info.version, info.attempts), (2, 2));
    assert_eq!(table.transaction_version("foreign").await.unwrap(), Some(3));
}

#[tokio::test]
async fn a_changed_schema_stops_a_writer_and_a_property_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let mut table = LakeTable::open_or_create(&spec(dir.path(), &plain())).await.unwrap();
    open(&table)
        .await
        .set_tbl_properties()
        .with_properties([("delta.logRetentionDuration".into(), "interval 9 days".into())].into())
        .await
        .unwrap();
    table.commit(vec![fake_add("x", 1)], &app("a", 1), &expect("a", None)).await.unwrap();

    let column = StructField::new("late", deltalake::kernel::DataType::STRING, true);
    open(&table).await.add_columns().with_fields([column]).await.unwrap();
    let error = table
        .commit(vec![fake_add("y", 1)], &app("a", 2), &expect("a", Some(1)))
        .await
        .unwrap_err();
    let LakeError::Changed { changes, .. } = &error else { panic!("{error}") };
    assert!(changes[0].contains("`late` STRING is new"), "{changes:?}");
    assert!(!error.is_transient());

    let mut evolving = spec(dir.path(), &plain());
    assert!(LakeTable::open_or_create(&evolving).await.is_err());
    evolving.evolve = true;
    let mut again = LakeTable::open_or_create(&evolving).await.unwrap();
    again.commit(vec![fake_add("y", 1)], &app("a", 2), &expect("a", Some(1))).await.unwrap();
}

/// A write whose outcome was never learnt: the commit is in the table, its writer got an error
/// or died, and commits the same thing again.
#[tokio::test]
async fn a_commit_that_landed_unnoticed_is_recognised() {
    let dir = tempfile::tempdir().unwrap();
    let spec = spec(dir.path(), &plain());
    let mut first = LakeTable::open_or_create(&spec).await.unwrap();
    let mut twin = LakeTable::open_or_create(&spec).await.unwrap();
    let adds = || vec![fake_add("x", 2), fake_add("z", 1)];
    first.commit(adds(), &app("a", 1), &expect("a", None)).await.unwrap();
    // The same process would still hold the view from before the commit, as this twin does.
    let info = twin.commit(adds(), &app("a", 1), &expect("a", None)).await.unwrap();
    assert_eq!((info.version, info.already_there, info.rows), (1, true, 3));
    // A later process starts from a view that has the commit in it, with others on top.
    first.commit(vec![fake_add("u", 1)], &app("b", 1), &expect("b", None)).await.unwrap();
    let mut later = LakeTable::open_or_create(&spec).await.unwrap();
    let info = later.commit(adds(), &app("a", 1), &expect("a", None)).await.unwrap();
    assert_eq!((info.version, info.already_there), (1, true));
    // The same transaction over other files is somebody else's.
    let error =
        later.commit(vec![fake_add("v", 1)], &app("a", 1), &expect("a", None)).await.unwrap_err();
    assert!(error.is_fenced(), "{error}");
    assert_eq!(open(&later).await.get_file_uris().unwrap().count(), 3);
}

#[tokio::test]
async fn storage_that_is_gone_is_transient_and_heals() {
    let dir = tempfile::tempdir().unwrap();
    let spec = spec(dir.path(), &plain());
    let mut table = LakeTable::open_or_create(&spec).await.unwrap();
    table.commit(vec![fake_add("x", 1)], &app("a", 1), &expect("a", None)).await.unwrap();
    // A file where the directory was: root is stopped by that too.
    let (log, aside) = (dir.path().join("table/_delta_log"), dir.path().join("aside"));
    fs::rename(&log, &aside).unwrap();
    fs::write(&log, "").unwrap();
    for _ in 0..3 {
        let error = table
            .commit(vec![fake_add("y", 1)], &app("a", 2), &expect("a", Some(1)))
            .await
            .unwrap_err();
        assert!(error.is_transient(), "{error}");
        assert!(error.to_string().contains("_delta_log"), "{error}");
        let opened = LakeTable::open_or_create(&spec).await.err().unwrap();
        assert!(opened.is_transient(), "{opened}");
    }
    fs::remove_file(&log).unwrap();
    fs::rename(&aside, &log).unwrap();
    let info =
        table.commit(vec![fake_add("y", 1)], &app("a", 2), &expect("a", Some(1))).await.unwrap();
    assert_eq!((info.version, info.already_there), (2, false));
}

#[tokio::test]
async fn a_table_that_vanished_is_not_silently_begun_anew() {
    let dir = tempfile::tempdir().unwrap();
    let spec = spec(dir.path(), &plain());
    let mut table = LakeTable::open_or_create(&spec).await.unwrap();
    table.commit(vec![fake_add("x", 1)], &app("a", 1), &expect("a", None)).await.unwrap();
    fs::remove_dir_all(dir.path().join("table")).unwrap();
    let error = table
        .commit(vec![fake_add("y", 1)], &app("a", 2), &expect("a", Some(1)))
        .await
        .unwrap_err();
    assert!(error.is_transient(), "a disk may come back: {error}");
    let mut new = LakeTable::open_or_create(&spec).await.unwrap();
    let error =
        new.commit(vec![fake_add("y", 1)], &app("a", 2), &expect("a", Some(1))).await.unwrap_err();
    assert!(matches!(error, LakeError::Fenced { found: None, .. }), "{error}");
    assert!(error.to_string().contains("replaced"), "{error}");
}

#[tokio::test]
async fn a_garbled_log_is_an_error_and_no_panic() {
    let dir = tempfile::tempdir().unwrap();
    let spec = spec(dir.path(), &plain());
    let mut table = LakeTable::open_or_create(&spec).await.unwrap();
    fs::write(dir.path().join("table/_delta_log/00000000000000000001.json"), "{\"add\":").unwrap();
    let error =
        table.commit(vec![fake_add("x", 1)], &app("a", 1), &expect("a", None)).await.unwrap_err();
    assert!(matches!(error, LakeError::Damaged { .. }) && !error.is_transient(), "{error}");
    assert!(error.to_string().contains("_delta_log/00000000000000000001.json"), "{error}");
}

#[tokio::test]
async fn a_view_that_slept_through_a_cleanup_catches_up() {
    let dir = tempfile::tempdir().unwrap();
    let spec = spec(dir.path(), &plain());
    let mut sleeper = LakeTable::open_or_create(&spec).await.unwrap();
    let mut busy = LakeTable::open_or_create(&spec).await.unwrap();
    for i in 1..=12_i64 {
        let before = (i > 1).then(|| i - 1);
        busy.commit(vec![fake_add(&i.to_string(), 1)], &app("b", i), &expect("b", before))
            .await
            .unwrap();
    }
    // What a cleanup leaves: the checkpoint and what follows it.
    let log = dir.path().join("table/_delta_log");
    for version in 0..10 {
        fs::remove_file(log.join(format!("{version:020}.json"))).unwrap();
    }
    let info =
        sleeper.commit(vec![fake_add("s", 1)], &app("s", 1), &expect("s", None)).await.unwrap();
    assert_eq!(info.version, 13, "not version 1, which is free again");
    assert_eq!(sleeper.transaction_version("b").await.unwrap(), Some(12));
    assert_eq!(open(&busy).await.get_file_uris().unwrap().count(), 13);
}

#[tokio::test]
async fn missing_files_are_found_before_they_are_committed() {
    let dir = tempfile::tempdir().unwrap();
    let table = LakeTable::open_or_create(&spec(dir.path(), &plain())).await.unwrap();
    fs::write(dir.path().join("table/part-here.parquet"), "x").unwrap();
    let missing = table.missing_files(&[fake_add("here", 1), fake_add("gone", 1)]).await.unwrap();
    assert_eq!(missing, ["part-gone.parquet"]);
}

#[tokio::test]
async fn the_log_is_checkpointed_and_cleaned() {
    let dir = tempfile::tempdir().unwrap();
    let mut spec = spec(dir.path(), &plain());
    spec.checkpoint_interval = 5;
    spec.properties.insert("delta.logRetentionDuration".into(), "interval 0 days".into());
    let mut table = LakeTable::open_or_create(&spec).await.unwrap();
    let mut checkpoints = 0;
    let mut removed = 0;
    for i in 1..=20_i64 {
        let before = (i > 1).then(|| i - 1);
        let info = table
            .commit(vec![fake_add(&i.to_string(), 1)], &app("a", i), &expect("a", before))
            .await
            .unwrap();
        assert_eq!(info.upkeep_error, None);
        checkpoints += usize::from(info.checkpointed);
        removed += info.log_files_removed;
        if i == 7 {
            // A version 5 that another process wrote: nobody has to do it twice.
            let other = LakeTable::open_or_create(&spec).await.unwrap();
            assert_eq!(other.version(), 7);
        }
    }
    assert_eq!(checkpoints, 4);
    assert!(removed > 0, "expired commits are removed");
    let names = log_files(&table);
    assert!(names.contains(&"00000000000000000020.checkpoint.parquet".to_owned()), "{names:?}");
    assert!(names.contains(&"_last_checkpoint".to_owned()));
    assert!(!names.contains(&"00000000000000000001.json".to_owned()), "{names:?}");
    assert_eq!(open(&table).await.get_file_uris().unwrap().count(), 20);
    // Transactions outlive the commits that set them.
    let fresh = LakeTable::open_or_create(&spec).await.unwrap();
    assert_eq!(fresh.transaction_version("a").await.unwrap(), Some(20));
}

#[tokio::test]
async fn the_three_hundredth_commit_costs_what_the_third_did() {
    let dir = tempfile::tempdir().unwrap();
    let spec = spec(dir.path(), &plain());
    let mut table = LakeTable::open_or_create(&spec).await.unwrap();
    let mut took = Vec::new();
    for i in 1..=300_i64 {
        let before = (i > 1).then(|| i - 1);
        let adds = (0..4).map(|part| fake_add(&format!("{i}-{part}"), 1)).collect();
        let started = Instant::now();
        let info = table.commit(adds, &app("a", i), &expect("a", before)).await.unwrap();
        assert_eq!(info.upkeep_error, None);
        took.push(started.elapsed());
    }
    // Medians, so that a busy machine does not decide; the checkpoints are not in them.
    let median = |part: &[std::time::Duration]| {
        let mut part = part.to_vec();
        part.sort();
        part[part.len() / 2]
    };
    let (early, late) = (median(&took[..50]), median(&took[250..]));
    println!(
        "commits: {early:?} early, {late:?} late; all {:?}",
        took.iter().sum::<std::time::Duration>()
    );
    assert!(late < early * 3 + std::time::Duration::from_millis(2), "{early:?} -> {late:?}");
}
