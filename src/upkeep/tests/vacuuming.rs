use std::collections::BTreeSet;
use std::fs::{self, File};
use std::time::{Duration, SystemTime};

use super::Written;
use crate::upkeep::{
    NoProgress, OptimizeOptions, UpkeepError, VacuumOptions, history, optimize, vacuum,
};

const HOUR: Duration = Duration::from_secs(3600);

fn age(dir: &std::path::Path, file: &str, age: Duration) {
    let file = File::options().write(true).open(dir.join("table").join(file)).unwrap();
    file.set_modified(SystemTime::now() - age).unwrap();
}

fn at_once() -> VacuumOptions {
    VacuumOptions { retain: Some(Duration::ZERO), force: true, ..Default::default() }
}

#[tokio::test]
async fn files_that_are_not_committed_yet_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let mut written = Written::new(dir.path(), |spec| spec.partition_by = vec!["day".into()]).await;
    for _ in 0..3 {
        written.append(50, &["a", "b"]).await;
    }
    optimize(&written.location, OptimizeOptions::default(), &NoProgress).await.unwrap();
    // An epoch's files, pre-committed: in the directory, and in no version.
    let adds = written.prepare(50, &["a", "b"]).await;
    let done = vacuum(&written.location, at_once(), &NoProgress).await.unwrap();
    assert_eq!(done.files.len(), 6, "what OPTIMIZE took out goes, forced: {done:?}");
    assert_eq!(written.table.missing_files(&adds).await.unwrap(), [] as [String; 0]);
    // A daemon that was stopped for long: older than any grace, but its ledger names the files.
    for add in &adds {
        let path = deltalake::Path::parse(&add.path).unwrap();
        age(dir.path(), path.as_ref(), 30 * 24 * HOUR);
    }
    let keep: BTreeSet<String> = adds.iter().map(|add| add.path.clone()).collect();
    let options = VacuumOptions { keep, ..at_once() };
    let done = vacuum(&written.location, options, &NoProgress).await.unwrap();
    assert_eq!((done.files.len(), done.kept), (0, 2));
    assert_eq!(written.table.missing_files(&adds).await.unwrap(), [] as [String; 0]);
    written.commit(adds).await;
    assert!(written.rows().await.contains(" 200 "));
}

#[tokio::test]
async fn orphans_of_the_killed_go_after_the_retention() {
    let dir = tempfile::tempdir().unwrap();
    let mut written = Written::new(dir.path(), |_| {}).await;
    written.append(50, &["a"]).await;
    let orphans = written.prepare(50, &["a"]).await;
    let young = written.prepare(50, &["a"]).await;
    age(dir.path(), &orphans[0].path, 8 * 24 * HOUR);
    age(dir.path(), &young[0].path, 6 * 24 * HOUR);
    let lite = VacuumOptions { lite: true, ..Default::default() };
    assert_eq!(vacuum(&written.location, lite, &NoProgress).await.unwrap().files.len(), 0);
    let dry = VacuumOptions { dry_run: true, ..Default::default() };
    let plan = vacuum(&written.location, dry, &NoProgress).await.unwrap();
    assert_eq!((plan.files.len(), plan.dry_run), (1, true));
    assert!(plan.bytes > 0);
    let done = vacuum(&written.location, VacuumOptions::default(), &NoProgress).await.unwrap();
    assert_eq!(done.files, [orphans[0].path.clone()]);
    assert!(!dir.path().join("table").join(&orphans[0].path).exists());
    assert!(dir.path().join("table").join(&young[0].path).exists());
    let operations: Vec<_> = history(&written.location, Some(2))
        .await
        .unwrap()
        .into_iter()
        .filter_map(|entry| entry.operation)
        .collect();
    assert_eq!(operations, ["VACUUM END", "VACUUM START"]);
    // The writer's own commits go on after those of the vacuum.
    written.append(5, &["a"]).await;
    assert!(written.rows().await.contains(" 55 "));
}

#[tokio::test]
async fn a_retention_under_the_safe_one_is_refused_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let mut written = Written::new(dir.path(), |_| {}).await;
    written.append(5, &["a"]).await;
    let short = VacuumOptions { retain: Some(HOUR), ..Default::default() };
    let error = vacuum(&written.location, short.clone(), &NoProgress).await.unwrap_err();
    assert!(matches!(error, UpkeepError::Retention { .. }) && error.is_usage());
    for part in ["168 h", "1 h is less", "deletedFileRetentionDuration", "force"] {
        assert!(error.to_string().contains(part), "{part}: {error}");
    }
    let forced = VacuumOptions { force: true, ..short };
    vacuum(&written.location, forced, &NoProgress).await.unwrap();

    let dir = tempfile::tempdir().unwrap();
    let mut own = Written::new(dir.path(), |spec| {
        let retention = "delta.deletedFileRetentionDuration".to_owned();
        spec.properties.insert(retention, "interval 30 minutes".into());
    })
    .await;
    own.append(5, &["a"]).await;
    let hour = VacuumOptions { retain: Some(HOUR), ..Default::default() };
    vacuum(&own.location, hour, &NoProgress).await.unwrap();
    let _ = fs::metadata(dir.path()).unwrap();
}
