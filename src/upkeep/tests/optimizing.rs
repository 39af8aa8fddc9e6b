use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use deltalake::DeltaTable;

use super::Written;
use crate::lake::testing::shown;
use crate::upkeep::{
    NoProgress, OptimizeOptions, Progress, RestoreTo, UpkeepError, detail, files, history,
    optimize, restore,
};

fn zorder(columns: &[&str]) -> OptimizeOptions {
    OptimizeOptions {
        zorder: columns.iter().map(|column| (*column).to_owned()).collect(),
        threads: 2,
        ..Default::default()
    }
}

#[derive(Default)]
struct Counting {
    begun: AtomicU64,
    files: AtomicU64,
    bytes: AtomicU64,
    stop: AtomicBool,
}

impl Progress for Counting {
    fn begin(&self, _what: &str, _files: u64, bytes: u64) {
        self.begun.fetch_add(bytes, Ordering::Relaxed);
    }

    fn advance(&self, files: u64, bytes: u64) {
        self.files.fetch_add(files, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn cancelled(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

#[tokio::test]
async fn small_files_become_one_and_rows_stay() {
    let dir = tempfile::tempdir().unwrap();
    let mut written = Written::new(dir.path(), |_| {}).await;
    for _ in 0..7 {
        written.append(100, &["a"]).await;
    }
    let before = written.rows().await;
    let dry = OptimizeOptions { dry_run: true, ..Default::default() };
    let plan = optimize(&written.location, dry, &NoProgress).await.unwrap();
    assert_eq!((plan.files_removed, plan.files_added, plan.commits), (7, 0, 0));
    assert_eq!(files(&written.location, None).await.unwrap().len(), 7, "nothing was done");

    let counting = Counting::default();
    let done = optimize(&written.location, OptimizeOptions::default(), &counting).await.unwrap();
    assert_eq!((done.files_removed, done.files_added, done.rows), (7, 1, 700));
    assert_eq!((done.commits, done.conflicts, done.partitions), (1, 0, 1));
    assert_eq!(counting.files.load(Ordering::Relaxed), 7);
    assert_eq!(counting.bytes.load(Ordering::Relaxed), counting.begun.load(Ordering::Relaxed));
    assert_eq!(written.rows().await, before);

    let newest = &history(&written.location, Some(1)).await.unwrap()[0];
    assert_eq!(newest.operation.as_deref(), Some("OPTIMIZE"));
    assert_eq!(newest.operation_metrics["numRemovedFiles"], "7");
    assert_eq!(newest.version, done.version);
    let again = optimize(&written.location, OptimizeOptions::default(), &NoProgress).await.unwrap();
    assert_eq!((again.commits, again.version), (0, done.version), "there is nothing more to do");

    let detail = detail(&written.location).await.unwrap();
    assert_eq!((detail.num_files, detail.num_rows, detail.version), (1, 700, done.version));
}

#[tokio::test]
async fn partitions_are_merged_by_themselves_and_chosen_by_conditions() {
    let dir = tempfile::tempdir().unwrap();
    let mut written = Written::new(dir.path(), |spec| spec.partition_by = vec!["day".into()]).await;
    for _ in 0..4 {
        written.append(60, &["a", "b/c", "d"]).await;
    }
    let before = written.rows().await;
    let only = OptimizeOptions { filter: Some("day = 'b/c'".into()), ..Default::default() };
    let done = optimize(&written.location, only, &NoProgress).await.unwrap();
    assert_eq!((done.partitions, done.files_removed, done.files_added), (1, 4, 1));
    assert_eq!(files(&written.location, Some("day <> 'b/c'")).await.unwrap().len(), 8);
    let done = optimize(&written.location, OptimizeOptions::default(), &NoProgress).await.unwrap();
    assert_eq!((done.partitions, done.files_added), (2, 2));
    assert_eq!(written.rows().await, before);
    let mut days: Vec<_> = files(&written.location, None)
        .await
        .unwrap()
        .into_iter()
        .map(|file| file.partition["day"].clone().unwrap())
        .collect();
    days.sort();
    assert_eq!(days, ["a", "b/c", "d"]);

    for (filter, said) in [
        ("name = 'x'", "`name` is no partition column"),
        ("dy = 'a'", "dy"),
        ("day", "no condition"),
        ("day = ", "day ="),
    ] {
        let options = OptimizeOptions { filter: Some(filter.into()), ..Default::default() };
        let error = optimize(&written.location, options, &NoProgress).await.unwrap_err();
        assert!(error.is_usage() && error.to_string().contains(said), "{filter}: {error}");
    }
}

#[tokio::test]
async fn wrong_columns_are_refused_with_the_nearest_name() {
    let dir = tempfile::tempdir().unwrap();
    let mut written = Written::new(dir.path(), |spec| spec.partition_by = vec!["day".into()]).await;
    written.append(10, &["a"]).await;
    for (columns, said) in [
        (vec!["nmae"], "did you mean `name`?"),
        (vec!["day"], "partitioned by it"),
        (vec!["id", "id"], "listed twice"),
    ] {
        let error = optimize(&written.location, zorder(&columns), &NoProgress).await.unwrap_err();
        assert!(error.is_usage() && error.to_string().contains(said), "{columns:?}: {error}");
    }
    let tiny = OptimizeOptions { target_size: Some(10), ..Default::default() };
    assert!(optimize(&written.location, tiny, &NoProgress).await.unwrap_err().is_usage());
    let nowhere = crate::lake::TableLocation::new(dir.path().join("no").to_str().unwrap());
    let error = optimize(&nowhere, OptimizeOptions::default(), &NoProgress).await.unwrap_err();
    assert!(matches!(error, UpkeepError::NoTable { .. }), "{error}");
    assert!(!dir.path().join("no").exists(), "looking makes nothing");
}

/// Each file's range of a column, from its statistics.
async fn bounds(written: &Written, column: &str) -> Vec<(i64, i64)> {
    let table: DeltaTable = crate::lake::testing::open(&written.table).await;
    let actions = table.snapshot().unwrap().add_actions_table(true).unwrap();
    let get = |prefix: &str| -> Vec<i64> {
        let array = actions.column_by_name(&format!("{prefix}.{column}")).unwrap();
        let array: &arrow::array::Int64Array = arrow::array::AsArray::as_primitive(array);
        array.values().to_vec()
    };
    get("min").into_iter().zip(get("max")).collect()
}

#[tokio::test]
async fn z_order_narrows_every_column_s_range_and_keeps_the_rows() {
    for memory in [1 << 30, 1 << 20] {
        let dir = tempfile::tempdir().unwrap();
        let mut written = Written::new(dir.path(), |_| {}).await;
        for _ in 0..6 {
            written.append(30_000, &["a", "b", "c", "d", "e", "f"]).await;
        }
        let before = written.rows().await;
        // Memory for a fraction of the rows, so that most wait in temporary files.
        let spill = dir.path().join("spill");
        let options = OptimizeOptions {
            target_size: Some(64 << 10),
            memory,
            spill_dir: Some(spill.clone()),
            ..zorder(&["id", "name"])
        };
        let done = optimize(&written.location, options.clone(), &NoProgress).await.unwrap();
        assert_eq!((done.rows, done.files_removed, done.commits), (180_000, 6, 1));
        assert!(done.files_added > 4, "{done:?}");
        assert_eq!(written.rows().await, before);
        assert_eq!(memory == 1 << 20, spill.exists(), "small memory spills");
        assert!(!spill.exists() || std::fs::read_dir(&spill).unwrap().next().is_none());
        let bounds = bounds(&written, "id").await;
        let narrow = bounds.iter().filter(|(min, max)| max - min < 60_000).count();
        assert!(narrow * 2 > bounds.len(), "files hold parts of the range: {bounds:?}");
        let again = optimize(&written.location, options, &NoProgress).await.unwrap();
        assert_eq!(again.commits, 0, "it is in this order already");
        written.append(10, &["a"]).await;
        let compacted =
            optimize(&written.location, OptimizeOptions::default(), &NoProgress).await.unwrap();
        assert_eq!(compacted.commits, 0, "compaction leaves ordered files alone");
    }
}

#[tokio::test]
async fn appends_and_changes_meanwhile_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut written = Written::new(dir.path(), |spec| spec.partition_by = vec!["day".into()]).await;
    for _ in 0..12 {
        written.append(500, &["a", "b", "c"]).await;
    }
    let location = written.location.clone();
    let done = std::sync::Arc::new(AtomicBool::new(false));
    let finished = done.clone();
    // Two that optimise at once, while one appends and one deletes.
    let optimising = tokio::spawn(async move {
        for _ in 0..6 {
            let options = OptimizeOptions { rounds: 50, commit_bytes: 1, ..Default::default() };
            let (a, b) = tokio::join!(
                optimize(&location, options.clone(), &NoProgress),
                optimize(&location, options, &NoProgress)
            );
            a.unwrap();
            b.unwrap();
        }
        finished.store(true, Ordering::Relaxed);
    });
    let mut appended = 12 * 500;
    let mut deleted = false;
    while !done.load(Ordering::Relaxed) {
        written.append(300, &["a", "b", "c"]).await;
        appended += 300;
        if !deleted {
            deleted = loop {
                let table = crate::lake::testing::open(&written.table).await;
                match table.delete().with_predicate("day = 'b'").await {
                    Ok(_) => break true,
                    Err(error) => eprintln!("{error}"),
                }
            };
        }
    }
    optimising.await.unwrap();
    let rows = shown(&written.table, "SELECT count(*) AS n FROM t WHERE day <> 'b'").await;
    let all = shown(&written.table, "SELECT count(*) AS n FROM t").await;
    // ids go round by a prime, so a third of them is each day's within one row of a commit.
    let expected: i64 = {
        let mut counts: BTreeMap<i64, i64> = BTreeMap::new();
        for id in 0..appended {
            *counts.entry(id * 7919 % 100_003 % 3).or_default() += 1;
        }
        counts[&0] + counts[&2]
    };
    assert!(rows.contains(&format!(" {expected} ")), "{expected}: {rows}\n{all}");
}

#[tokio::test]
async fn stopping_leaves_the_table_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let mut written = Written::new(dir.path(), |_| {}).await;
    for _ in 0..4 {
        written.append(20_000, &["a"]).await;
    }
    let before = written.rows().await;
    for options in [OptimizeOptions::default(), zorder(&["id"])] {
        let stop = Counting { stop: AtomicBool::new(true), ..Default::default() };
        let result = optimize(&written.location, options, &stop).await;
        // A run so quick that it was over before it was asked is fine too.
        if let Err(error) = result {
            assert!(matches!(error, UpkeepError::Cancelled), "{error}");
        }
        assert_eq!(written.rows().await, before);
    }
}

#[tokio::test]
async fn restore_goes_back_and_says_how_far_it_can() {
    let dir = tempfile::tempdir().unwrap();
    let mut written = Written::new(dir.path(), |_| {}).await;
    written.append(10, &["a"]).await;
    let before = written.rows().await;
    written.append(10, &["a"]).await;
    let done = restore(&written.location, RestoreTo::Version(1), &NoProgress).await.unwrap();
    assert_eq!((done.version, done.restored_version, done.files_removed), (3, 1, 1));
    assert_eq!(written.rows().await, before);
    let same = restore(&written.location, RestoreTo::Version(3), &NoProgress).await.unwrap();
    assert!(same.unchanged);
    // The stream goes on beside it.
    written.append(10, &["a"]).await;
    let error = restore(&written.location, RestoreTo::Version(9), &NoProgress).await.unwrap_err();
    assert!(error.is_usage() && error.to_string().contains("newest version is 4"), "{error}");
    let long_ago = RestoreTo::Timestamp(chrono::DateTime::UNIX_EPOCH);
    let error = restore(&written.location, long_ago, &NoProgress).await.unwrap_err();
    assert!(error.is_usage() && error.to_string().contains("oldest version"), "{error}");
}

#[tokio::test]
async fn a_table_that_runs_for_long_has_few_files_and_a_short_log() {
    let dir = tempfile::tempdir().unwrap();
    let mut written = Written::new(dir.path(), |_| {}).await;
    let hourly = OptimizeOptions {
        selection: crate::upkeep::Selection::Worthwhile {
            min_files: 8,
            settle: std::time::Duration::ZERO,
        },
        threads: 1,
        ..Default::default()
    };
    let (mut appended, mut rewritten) = (0u64, 0u64);
    for hour in 0..12 {
        for _ in 0..40 {
            written.append(20, &["a"]).await;
            appended += 20;
        }
        let done = optimize(&written.location, hourly.clone(), &NoProgress).await.unwrap();
        assert_eq!(done.conflicts, 0, "hour {hour}");
        rewritten += done.rows;
        let detail = detail(&written.location).await.unwrap();
        assert_eq!(detail.num_rows, appended);
        assert!(detail.num_files <= 12, "{} files after hour {hour}", detail.num_files);
        let since = detail.version - detail.checkpoint_version.unwrap_or(0);
        assert!(since <= 11, "a reader has {since} commits to read");
    }
    // Files of 20 rows are mostly footer, so that merged ones look small beside them.
    assert!(rewritten < appended * 8, "rows were written again {} times", rewritten / appended);
    assert!(written.rows().await.contains(&format!(" {appended} ")));
}
