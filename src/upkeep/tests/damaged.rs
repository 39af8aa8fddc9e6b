//! Whatever is damaged, the error names the file.

use std::fs;
use std::path::Path;

use super::{Written, log};
use crate::lake::{LakeError, LakeTable};
use crate::source::SplitReader;
use crate::source::delta::{DeltaOptions, DeltaSource};
use crate::upkeep::{
    NoProgress, OptimizeOptions, RestoreTo, VacuumOptions, checkpoint, clean_log, detail, files,
    history, optimize, restore, vacuum,
};

/// What every operation says about the table.
async fn all(written: &mut Written) -> Vec<(&'static str, String)> {
    let at = &written.location;
    let said = |name, result: Result<String, crate::upkeep::UpkeepError>| {
        (name, result.map_or_else(|error| error.to_string(), |ok| format!("fine: {ok}")))
    };
    let options = OptimizeOptions::default();
    let mut errors = vec![
        said("files", files(at, None).await.map(|ok| format!("{ok:?}"))),
        said("detail", detail(at).await.map(|ok| format!("{ok:?}"))),
        said("optimize", optimize(at, options, &NoProgress).await.map(|ok| format!("{ok:?}"))),
        said(
            "vacuum",
            vacuum(at, VacuumOptions::default(), &NoProgress).await.map(|ok| format!("{ok:?}")),
        ),
        said(
            "restore",
            restore(at, RestoreTo::Version(1), &NoProgress).await.map(|ok| format!("{ok:?}")),
        ),
        said("checkpoint", checkpoint(at, 1).await.map(|ok| format!("{ok:?}"))),
        said("clean_log", clean_log(at).await.map(|ok| format!("{ok:?}"))),
        said("history", history(at, None).await.map(|ok| format!("{ok:?}"))),
    ];
    let spec = crate::lake::testing::spec(Path::new(at.uri()).parent().unwrap(), &super::columns());
    let opened = LakeTable::open_or_create(&spec).await;
    errors.push(("sink", opened.err().map_or("fine".into(), |error| error.to_string())));
    errors.push(("source", source(at.uri())));
    errors
}

/// Reads the table from its first version on, as a stream.
fn source(path: &str) -> String {
    let mut options = DeltaOptions::new(path);
    options.start = crate::source::delta::DeltaStart::Version(0);
    let schema = match DeltaSource::schema(&options) {
        Ok(schema) => schema,
        Err(error) => return error.to_string(),
    };
    let dir = tempfile::tempdir().unwrap();
    let projection: Vec<usize> = (0..schema.fields().len()).collect();
    let mut source = match DeltaSource::open(options, &schema, &projection, dir.path(), "s") {
        Ok(source) => source,
        Err(error) => return error.to_string(),
    };
    if let Err(error) = source.bound() {
        return error.to_string();
    }
    loop {
        let Some(taken) = source.take_columns(1000) else { return "no columns".into() };
        if let Some(error) = taken.error {
            return error.to_string();
        }
        if taken.finished {
            return "fine".into();
        }
        // What may heal is tried again and again, and shown meanwhile.
        if let Some(trouble) = source.trouble() {
            return trouble;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

async fn commits(dir: &Path, checkpoint_interval: u64) -> Written {
    let mut written =
        Written::new(dir, |spec| spec.checkpoint_interval = checkpoint_interval).await;
    for _ in 0..5 {
        written.append(10, &["a"]).await;
    }
    written
}

fn assert_named(errors: &[(&str, String)], except: &[&str], name: &str) {
    for (operation, error) in errors {
        if !except.contains(operation) {
            assert!(error.contains(name), "{operation} does not name {name}: {error}");
        }
    }
}

#[tokio::test]
async fn an_empty_commit_is_named() {
    for version in [2, 5] {
        let dir = tempfile::tempdir().unwrap();
        let mut written = commits(dir.path(), 0).await;
        let name = format!("_delta_log/{version:020}.json");
        fs::write(dir.path().join("table").join(&name), "").unwrap();
        let errors = all(&mut written).await;
        assert_named(&errors, &[], &name);
        for (operation, error) in &errors {
            assert!(error.contains("empty"), "{operation}: {error}");
        }
    }
}

#[tokio::test]
async fn an_open_table_notices_too() {
    let dir = tempfile::tempdir().unwrap();
    let mut written = commits(dir.path(), 0).await;
    let name = format!("_delta_log/{:020}.json", 6);
    fs::write(dir.path().join("table").join(&name), "\n").unwrap();
    let adds = written.prepare(5, &["a"]).await;
    let error = written.table.commit(adds, &[], &[]).await.unwrap_err();
    assert!(matches!(error, LakeError::Damaged { .. }), "{error}");
    assert!(error.to_string().contains(&name), "{error}");
}

#[tokio::test]
async fn a_garbled_commit_is_named() {
    for garbage in ["{\"add\":", "\u{0}\u{0}\u{0}", "[1]\n"] {
        let dir = tempfile::tempdir().unwrap();
        let mut written = commits(dir.path(), 0).await;
        let name = format!("_delta_log/{:020}.json", 3);
        fs::write(dir.path().join("table").join(&name), garbage).unwrap();
        assert_named(&all(&mut written).await, &[], &name);
    }
}

#[tokio::test]
async fn a_missing_commit_is_named() {
    for version in [0, 3] {
        let dir = tempfile::tempdir().unwrap();
        let mut written = commits(dir.path(), 0).await;
        let name = format!("_delta_log/{version:020}.json");
        fs::remove_file(dir.path().join("table").join(&name)).unwrap();
        assert_named(&all(&mut written).await, &[], &name);
    }
}

#[tokio::test]
async fn a_damaged_checkpoint_is_named() {
    for cut in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let mut written = commits(dir.path(), 4).await;
        let names = log(dir.path());
        let name = names.iter().find(|name| name.contains(".checkpoint.")).unwrap();
        let path = dir.path().join("table/_delta_log").join(name);
        if cut {
            let bytes = fs::read(&path).unwrap();
            fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        } else {
            fs::remove_file(&path).unwrap();
        }
        // A missing checkpoint whose commits are all there is no loss: they are read instead. What
        // cannot be done without one says so.
        let errors = all(&mut written).await;
        for (operation, error) in &errors {
            if cut && *operation != "history" && *operation != "source" {
                assert!(error.contains(name.as_str()), "{operation}: {error}");
            } else if !error.starts_with("fine") {
                assert!(error.contains("_delta_log/"), "{operation}: {error}");
            }
        }
    }
}

#[tokio::test]
async fn a_missing_or_cut_data_file_is_named() {
    for cut in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let mut written = commits(dir.path(), 4).await;
        let name = files(&written.location, None).await.unwrap()[2].path.clone();
        let path = dir.path().join("table").join(&name);
        if cut {
            let bytes = fs::read(&path).unwrap();
            fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        } else {
            fs::remove_file(&path).unwrap();
        }
        let errors = all(&mut written).await;
        for (operation, error) in &errors {
            if ["optimize", "source"].contains(operation) {
                assert!(error.contains(&name), "{operation}: {error}");
            }
        }
        assert_eq!(written.location.existing().await.unwrap().map(|_| ()), Some(()));
    }
}
