//! Storage that fails and heals, bounds of memory and of files, crashes.

use std::fs;
use std::path::Path;

use arrow::array::RecordBatch;

use super::*;
use crate::lake::testing::{count, plain, shown, spec};
use crate::lake::{Compression, TableSpec};

/// Storage that fails in the middle and is healed: no row is lost, none comes twice.
#[tokio::test]
async fn prepare_and_write_can_be_repeated_after_storage_failed() {
    let dir = tempfile::tempdir().unwrap();
    let (columns, rows) = hourly(240, |i| (i / 20) as i32);
    let spec = TableSpec {
        partition_by: vec!["date".into(), "hour".into()],
        ..spec(dir.path(), &columns)
    };
    let (mut table, mut writer) = start(&spec).await;
    let root = Path::new(table.uri()).to_owned();
    let rows_in = |from: usize, to: usize| rows.slice(from, to - from);

    // A file in the place of one partition's directory stops root too.
    let blocked = root.join("date=2024-10-04/hour=3");
    fs::create_dir_all(blocked.parent().unwrap()).unwrap();
    fs::write(&blocked, "").unwrap();
    writer.write(&rows_in(0, 120)).await.unwrap();
    for _ in 0..3 {
        let error = writer.prepare().await.unwrap_err();
        assert!(error.is_transient(), "{error}");
        assert!(error.to_string().contains("hour=3"), "names the path: {error}");
        assert_eq!(writer.pending_rows(), 120, "all rows are still here");
    }
    // More rows cannot be taken as long as earlier files wait in memory.
    let refused = writer.write(&rows_in(120, 240)).await.unwrap_err();
    assert!(refused.is_transient(), "{refused}");
    assert_eq!(writer.pending_rows(), 120);
    fs::remove_file(&blocked).unwrap();
    writer.write(&rows_in(120, 240)).await.unwrap();
    assert_eq!(writer.pending_rows(), 240);
    let adds = writer.prepare().await.unwrap();
    assert_eq!(adds.len(), 12);
    commit(&mut table, adds).await;
    let text = shown(&table, "SELECT count(*) n, count(DISTINCT id) d FROM t").await;
    assert!(text.contains("| 240 | 240 |"), "{text}");
    assert_eq!(files_below(&root).len(), 12, "nothing staged, nothing twice");

    // Every directory gone at once: the table's own is a file now.
    let aside = dir.path().join("aside");
    fs::rename(&root, &aside).unwrap();
    fs::write(&root, "").unwrap();
    writer.write(&rows_in(0, 60)).await.unwrap();
    assert!(writer.prepare().await.unwrap_err().is_transient());
    fs::remove_file(&root).unwrap();
    fs::rename(&aside, &root).unwrap();
    let adds = writer.prepare().await.unwrap();
    commit(&mut table, adds).await;
    assert_eq!(count(&table).await, 300);
}

#[tokio::test]
async fn memory_is_bounded_by_files_written_early() {
    let dir = tempfile::tempdir().unwrap();
    let spec = spec(dir.path(), &plain());
    let (mut table, writer) = start(&spec).await;
    let mut writer = writer.with_max_buffered_bytes(2 << 20);
    let mut most = 0;
    for i in 0..60 {
        writer.write(&ids(i * 8192..(i + 1) * 8192)).await.unwrap();
        most = most.max(writer.buffered_bytes());
    }
    assert!(most < 4 << 20, "{most}");
    assert!(files_below(Path::new(table.uri())).len() > 1);
    let adds = writer.prepare().await.unwrap();
    assert!(adds.len() > 2);
    commit(&mut table, adds).await;
    assert_eq!(count(&table).await, 60 * 8192);

    // The disk is gone: the writer takes what fits and then refuses, each batch whole.
    let (root, aside) = (Path::new(table.uri()).to_owned(), dir.path().join("aside"));
    fs::rename(&root, &aside).unwrap();
    fs::write(&root, "").unwrap();
    let mut taken = 0;
    for i in 0..60 {
        match writer.write(&ids(i * 8192..(i + 1) * 8192)).await {
            Ok(()) => taken += 1,
            Err(error) => assert!(error.is_transient(), "{error}"),
        }
        assert!(writer.buffered_bytes() < 4 << 20);
    }
    assert!(taken > 0 && taken < 60, "{taken}");
    assert_eq!(writer.pending_rows(), taken * 8192);
    fs::remove_file(&root).unwrap();
    fs::rename(&aside, &root).unwrap();
    let adds = writer.prepare().await.unwrap();
    commit(&mut table, adds).await;
    assert_eq!(count(&table).await, (60 + taken as i64) * 8192);
}

#[tokio::test]
async fn files_roll_at_their_target_size() {
    let dir = tempfile::tempdir().unwrap();
    let spec = TableSpec {
        target_file_bytes: 200_000,
        compression: Compression::None,
        ..spec(dir.path(), &plain())
    };
    let (mut table, mut writer) = start(&spec).await;
    let batches: Vec<RecordBatch> = (0..40).map(|i| ids(i * 2000..(i + 1) * 2000)).collect();
    let adds = write_all(&mut table, &mut writer, &batches).await;
    assert!(adds.len() > 3, "{}", adds.len());
    for add in &adds[..adds.len() - 1] {
        assert!((150_000..400_000).contains(&add.size), "{}", add.size);
    }
    assert_eq!(count(&table).await, 80_000);
}

#[tokio::test]
async fn open_files_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let (columns, rows) = hourly(960, |i| (i % 96) as i32);
    let spec = TableSpec {
        partition_by: vec!["date".into(), "hour".into()],
        ..spec(dir.path(), &columns)
    };
    let (mut table, writer) = start(&spec).await;
    let mut writer = writer.with_max_open_files(10);
    writer.write(&rows).await.unwrap();
    assert_eq!(writer.open_files(), 10);
    write_all(&mut table, &mut writer, &[rows]).await;
    assert_eq!(count(&table).await, 1920);
}

#[tokio::test]
async fn discarded_rows_leave_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let spec = spec(dir.path(), &plain());
    let (mut table, writer) = start(&spec).await;
    let mut writer = writer.with_max_buffered_bytes(1 << 20);
    for i in 0..20 {
        writer.write(&ids(i * 8192..(i + 1) * 8192)).await.unwrap();
    }
    let root = Path::new(table.uri()).to_owned();
    assert!(!files_below(&root).is_empty(), "some files were stored early");
    writer.discard().await;
    assert_eq!((writer.pending_rows(), writer.buffered_bytes()), (0, 0));
    assert!(files_below(&root).is_empty());
    write_all(&mut table, &mut writer, &[ids(0..10)]).await;
    assert_eq!(count(&table).await, 10);
}

/// A process killed between pre-commit and commit leaves orphans and an untouched table.
#[tokio::test]
async fn a_crash_before_the_commit_leaves_only_orphans() {
    let dir = tempfile::tempdir().unwrap();
    let spec = spec(dir.path(), &plain());
    let (mut table, mut writer) = start(&spec).await;
    write_all(&mut table, &mut writer, &[ids(0..10)]).await;
    writer.write(&ids(10..20)).await.unwrap();
    let lost = writer.prepare().await.unwrap();
    drop((table, writer));
    let (mut table, mut writer) = start(&spec).await;
    assert_eq!(count(&table).await, 10);
    // Recovery either commits what the checkpoint names ...
    assert!(table.missing_files(&lost).await.unwrap().is_empty());
    commit(&mut table, lost).await;
    assert_eq!(count(&table).await, 20);
    // ... or writes the rows again from where the checkpoint stands.
    write_all(&mut table, &mut writer, &[ids(20..30)]).await;
    assert_eq!(count(&table).await, 30);
}

/// A real full disk, in a process of its own: files may not grow beyond a limit, so a write
/// fails halfway through a file, until the limit is lifted.
#[test]
fn a_disk_that_fills_up_and_is_cleared_loses_nothing() {
    const CHILD: &str = "MILLPOND_TEST_FULL_DISK";
    if std::env::var_os(CHILD).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(on_a_full_disk());
        return;
    }
    // The limit is the whole process's; other tests must not run into it.
    let this = std::env::current_exe().unwrap();
    let name = "sink::delta::tests::failures::a_disk_that_fills_up_and_is_cleared_loses_nothing";
    let child = std::process::Command::new(this)
        .args(["--exact", name, "--nocapture"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    let complained = String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success() && said.contains("1 passed"), "{said}\n{complained}");
}

async fn on_a_full_disk() {
    let limit = |bytes: libc::rlim_t| {
        // SAFETY: plain calls; the signal is ignored so that the write fails instead.
        unsafe {
            libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
            let limit = libc::rlimit { rlim_cur: bytes, rlim_max: libc::RLIM_INFINITY };
            assert_eq!(libc::setrlimit(libc::RLIMIT_FSIZE, &limit), 0);
        }
    };
    let dir = tempfile::tempdir().unwrap();
    let spec = TableSpec { compression: Compression::None, ..spec(dir.path(), &plain()) };
    let (mut table, mut writer) = start(&spec).await;
    writer.write(&ids(0..50_000)).await.unwrap();
    limit(64 * 1024);
    for _ in 0..2 {
        let error = writer.prepare().await.unwrap_err();
        assert!(error.is_transient() && error.to_string().contains(".parquet"), "{error}");
        assert!(files_below(Path::new(table.uri())).is_empty(), "no half files stay");
    }
    limit(libc::RLIM_INFINITY);
    let adds = writer.prepare().await.unwrap();
    // The log can fill the disk as well.
    limit(64);
    let error = table.commit(adds.clone(), &app("a", 1), &expect("a", None)).await.unwrap_err();
    assert!(error.is_transient() && error.to_string().contains("_delta_log"), "{error}");
    limit(libc::RLIM_INFINITY);
    table.commit(adds, &app("a", 1), &expect("a", None)).await.unwrap();
    assert_eq!(count(&table).await, 50_000);
}

/// Actors move these between threads.
#[test]
fn writers_and_what_they_await_can_change_threads() {
    fn is_send<T: Send>(_: T) {}
    fn checked(writer: &mut DeltaWriter, batch: &RecordBatch) {
        is_send(writer.write(batch));
        is_send(writer.prepare());
        is_send(writer.discard());
    }
    fn table(table: &mut LakeTable) {
        is_send(table.commit(vec![], &[], &[]));
        is_send(table.transaction_version("a"));
    }
    let _ = (checked, table);
    fn both<T: Send + 'static>() {}
    both::<DeltaWriter>();
    both::<LakeTable>();
}
