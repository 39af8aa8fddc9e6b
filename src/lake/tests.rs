//! Tables on a real disk: creation and schemas.

mod commits;

use std::fs;
use std::sync::Arc;

use arrow::datatypes::DataType;
use futures::TryStreamExt;

use super::testing::{app, expect, fake_add, open, plain, schema, spec};
use super::{LakeError, LakeTable};

fn log_files(table: &LakeTable) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(format!("{}/_delta_log", table.uri()))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_table_is_created_once_and_opened_after() {
    let dir = tempfile::tempdir().unwrap();
    let mut spec = spec(dir.path(), &plain());
    spec.name = Some("bronze".to_owned());
    spec.description = Some("raw events".to_owned());
    spec.properties.insert("delta.logRetentionDuration".into(), "interval 1 days".into());
    spec.properties.insert("team".into(), "logs".into());
    let table = LakeTable::open_or_create(&spec).await.unwrap();
    assert_eq!(table.version(), 0);
    let again = LakeTable::open_or_create(&spec).await.unwrap();
    assert_eq!(again.version(), 0);
    assert_eq!(log_files(&table), ["00000000000000000000.json"]);

    let seen = open(&table).await;
    let metadata = seen.snapshot().unwrap().metadata().clone();
    assert_eq!(metadata.name(), Some("bronze"));
    assert_eq!(metadata.description(), Some("raw events"));
    let properties = metadata.configuration();
    assert_eq!(properties["delta.logRetentionDuration"], "interval 1 days");
    assert_eq!(properties["delta.checkpointInterval"], "10");
    assert_eq!(properties["team"], "logs");
    let history: Vec<_> = seen.history(None).try_collect().await.unwrap();
    assert_eq!(history[0].operation.as_deref(), Some("CREATE TABLE"));
    assert!(history[0].engine_info.as_ref().unwrap().starts_with("millpond/"));
}

#[tokio::test]
async fn relative_paths_and_urls_are_the_same_table() {
    let dir = tempfile::tempdir_in(".").unwrap();
    let absolute = dir.path().canonicalize().unwrap().join("table");
    let relative = spec(dir.path(), &plain());
    assert!(!relative.uri.starts_with('/') || dir.path().is_absolute());
    let mut url = relative.clone();
    url.uri = url::Url::from_directory_path(&absolute).unwrap().to_string();
    let one = LakeTable::open_or_create(&relative).await.unwrap();
    let other = LakeTable::open_or_create(&url).await.unwrap();
    assert_eq!(one.uri(), other.uri());
    assert_eq!(one.uri(), absolute.to_str().unwrap());
}

#[tokio::test]
async fn any_object_store_will_do() {
    let mut spec = super::TableSpec::new("memory:///t", plain());
    spec.checkpoint_interval = 2;
    let mut table = LakeTable::open_or_create(&spec).await.unwrap();
    for i in 1..=4_i64 {
        let before = (i > 1).then(|| i - 1);
        let add = fake_add(&i.to_string(), 1);
        let info = table.commit(vec![add], &app("a", i), &expect("a", before)).await.unwrap();
        assert_eq!((info.version, info.upkeep_error), (i, None));
        assert_eq!(info.checkpointed, i % 2 == 0);
    }
    assert_eq!(table.transaction_version("a").await.unwrap(), Some(4));
    assert_eq!(table.uri(), "memory:///t/");
    let unknown = super::TableSpec::new("s4://bucket/t", plain());
    let Err(LakeError::Location { uri, .. }) = LakeTable::open_or_create(&unknown).await else {
        panic!("there is no s4");
    };
    assert_eq!(uri, "s4://bucket/t");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_creators_make_one_table() {
    let dir = tempfile::tempdir().unwrap();
    let spec = Arc::new(spec(dir.path(), &plain()));
    let tasks = (0..12).map(|_| {
        let spec = spec.clone();
        tokio::spawn(async move { LakeTable::open_or_create(&spec).await })
    });
    let mut ids = Vec::new();
    for task in futures::future::join_all(tasks).await {
        let table = task.unwrap().unwrap();
        assert_eq!(table.version(), 0);
        ids.push(open(&table).await.snapshot().unwrap().metadata().id().to_owned());
    }
    ids.dedup();
    assert_eq!(ids.len(), 1, "everyone has the same table");
}

#[tokio::test]
async fn impossible_tables_are_refused_with_every_reason() {
    let dir = tempfile::tempdir().unwrap();
    let columns = schema(&[
        ("day", DataType::Date32, true),
        ("x y", DataType::Int32, true),
        ("n", DataType::Null, true),
    ]);
    let Err(LakeError::Definition { problems, .. }) =
        LakeTable::open_or_create(&spec(dir.path(), &columns)).await
    else {
        panic!("not a table");
    };
    assert_eq!(problems.len(), 2, "{problems:#?}");

    let mut wrong = spec(dir.path(), &plain());
    wrong.partition_by = vec!["id".into(), "day".into(), "id".into()];
    let error = LakeTable::open_or_create(&wrong).await.err().unwrap().to_string();
    assert!(
        error.contains("`day` is not a column") && error.contains("`id` is listed twice"),
        "{error}"
    );

    let mut typo = spec(dir.path(), &plain());
    typo.properties.insert("delta.logRetentionDuraton".into(), "interval 1 days".into());
    let error = LakeTable::open_or_create(&typo).await.err().unwrap();
    assert!(matches!(error, LakeError::Definition { .. }), "{error}");
    assert!(error.to_string().contains("logRetentionDuraton"), "{error}");

    let mut mapped = spec(dir.path(), &plain());
    mapped.properties.insert("delta.columnMapping.mode".into(), "name".into());
    let error = LakeTable::open_or_create(&mapped).await.err().unwrap();
    assert!(matches!(error, LakeError::Unsupported { .. }), "{error}");
    assert!(!dir.path().join("table/_delta_log").exists(), "nothing was created");
}

#[tokio::test]
async fn a_table_that_does_not_fit_is_refused_with_every_difference() {
    let dir = tempfile::tempdir().unwrap();
    LakeTable::open_or_create(&spec(dir.path(), &plain())).await.unwrap();
    let mut other = spec(
        dir.path(),
        &schema(&[("id", DataType::Utf8, false), ("extra", DataType::Int32, true)]),
    );
    other.partition_by = vec!["extra".into()];
    let error = LakeTable::open_or_create(&other).await.err().unwrap();
    assert!(!error.is_transient());
    let LakeError::Schema { differences, .. } = &error else { panic!("{error}") };
    assert_eq!(differences.len(), 4, "{differences:#?}");
    let text = error.to_string();
    for part in ["`id`", "CAST(id AS BIGINT)", "`extra`", "`name`", "not partitioned"] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[tokio::test]
async fn evolution_adds_columns_once_whoever_is_first() {
    let dir = tempfile::tempdir().unwrap();
    LakeTable::open_or_create(&spec(dir.path(), &plain())).await.unwrap();
    let wider = schema(&[
        ("id", DataType::Int64, false),
        ("agent", DataType::Utf8, true),
        ("at", super::testing::utc(), true),
    ]);
    let mut spec = spec(dir.path(), &wider);
    spec.evolve = true;
    let spec = Arc::new(spec);
    let tasks = (0..8).map(|_| {
        let spec = spec.clone();
        tokio::spawn(async move { LakeTable::open_or_create(&spec).await })
    });
    for task in futures::future::join_all(tasks).await {
        let table = task.unwrap().unwrap();
        let names: Vec<String> = table.schema().fields().iter().map(|f| f.name().clone()).collect();
        assert_eq!(names, ["id", "name", "agent", "at"]);
        assert_eq!(table.version(), 1, "one metadata commit");
    }
    let mut not_null = (*spec).clone();
    not_null.schema = schema(&[("id", DataType::Int64, false), ("size", DataType::Int64, false)]);
    let error = LakeTable::open_or_create(&not_null).await.err().unwrap();
    assert!(error.to_string().contains("`size`"), "{error}");
}

#[tokio::test]
async fn evolution_keeps_what_else_the_metadata_holds() {
    let dir = tempfile::tempdir().unwrap();
    let mut spec = spec(dir.path(), &plain());
    spec.name = Some("kept".into());
    spec.partition_by = vec!["name".into()];
    spec.properties.insert("owner".into(), "me".into());
    let before = LakeTable::open_or_create(&spec).await.unwrap();
    let id = open(&before).await.snapshot().unwrap().metadata().id().to_owned();
    spec.schema = schema(&[
        ("id", DataType::Int64, false),
        ("name", DataType::Utf8, true),
        ("new", DataType::Boolean, true),
    ]);
    spec.evolve = true;
    let table = LakeTable::open_or_create(&spec).await.unwrap();
    let seen = open(&table).await;
    let metadata = seen.snapshot().unwrap().metadata();
    assert_eq!(metadata.id(), id);
    assert_eq!(metadata.name(), Some("kept"));
    assert_eq!(metadata.partition_columns(), ["name"]);
    assert_eq!(metadata.configuration()["owner"], "me");
}

#[tokio::test]
async fn tables_with_demands_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let table = LakeTable::open_or_create(&spec(dir.path(), &plain())).await.unwrap();
    open(&table).await.add_constraint().with_constraint("positive", "id > 0").await.unwrap();
    let error = LakeTable::open_or_create(&spec(dir.path(), &plain())).await.err().unwrap();
    let LakeError::Unsupported { reasons, .. } = &error else { panic!("{error}") };
    assert!(reasons[0].contains("positive") && reasons[0].contains("id > 0"), "{reasons:?}");
}
