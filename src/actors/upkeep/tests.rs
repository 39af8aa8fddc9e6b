use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Upkeep;
use crate::actors::Blueprint;
use crate::checkpoint::{CheckpointStore, Epoch, EpochWrite, PreCommit};
use crate::config::{self, Environment};
use crate::lake::TableLocation;
use crate::telemetry::progress::PipelineProgress;
use crate::upkeep::files;

fn blueprint(dir: &std::path::Path, upkeep: &str) -> Blueprint {
    let text = format!(
        r#"
name = "p"
data_dir = "{dir}"
[sources.s]
type = "rate"
[queries.q]
sql = "SELECT value FROM s"
sink = {{ type = "delta", path = "{dir}/table", table = "bronze.q" }}
[dead_letters]
enabled = false
[upkeep]
{upkeep}
"#,
        dir = dir.display()
    );
    Blueprint::new(config::parse_str("p.toml", &text, &Environment::None).unwrap()).unwrap()
}

#[tokio::test]
async fn tables_are_kept_in_order_and_failures_are_shown() {
    let dir = tempfile::tempdir().unwrap();
    let mut written = crate::upkeep::tests::Written::new(dir.path(), |_| {}).await;
    for _ in 0..6 {
        written.append(10, &["a"]).await;
    }
    let blueprint =
        blueprint(dir.path(), "compact = \"* * * * * *\"\nmin_files = 2\nsettle = \"0s\"");
    let progress = PipelineProgress::new("p");
    let store = Arc::new(CheckpointStore::open(&dir.path().join("ledger")).unwrap());
    let upkeep = Upkeep::start(&blueprint, &progress, &store).unwrap();
    let report = |task: &str| {
        let all = progress.snapshot().upkeep;
        all.into_iter().find(|entry| &*entry.table == "bronze.q" && entry.task == task).unwrap()
    };
    let began = Instant::now();
    while files(&written.location, None).await.unwrap().len() > 1 {
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", report("compact"));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(written.rows().await.contains(" 60 "));
    assert_eq!(&*report("vacuum").schedule, "@daily");
    assert!(report("vacuum").next_run.is_some());
    // What is damaged is said, and tried again; nothing else is the matter with it.
    let name = format!("table/_delta_log/{:020}.json", 3);
    std::fs::write(dir.path().join(&name), "").unwrap();
    let began = Instant::now();
    let error = loop {
        let last = report("compact").last_run;
        if let Some(error) = last.filter(|last| last.outcome == "failed").and_then(|l| l.error) {
            break error;
        }
        assert!(began.elapsed() < Duration::from_secs(30));
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(error.contains(&name), "{error}");
    let began = Instant::now();
    upkeep.end().await;
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn what_a_ledger_has_promised_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let mut written = crate::upkeep::tests::Written::new(dir.path(), |_| {}).await;
    let adds = written.prepare(10, &["a"]).await;
    let blueprint = blueprint(dir.path(), "");
    let promised = |settings| super::promised_files(settings, &written.location).unwrap();
    assert!(promised(&blueprint.settings).is_empty(), "there is no ledger");
    assert!(!blueprint.settings.checkpoint.directory.exists(), "and none was made");
    let store = CheckpointStore::open(&blueprint.settings.checkpoint.directory).unwrap();
    let precommit = PreCommit {
        sink: "q".into(),
        table: written.table.uri().into(),
        adds: adds.iter().map(|add| serde_json::to_value(add).unwrap()).collect(),
        rows: 10,
        bytes: 1,
        transactions: vec![],
        expected: vec![],
        staged: None,
    };
    let epoch = Epoch {
        number: 1,
        pipeline: "p".into(),
        shards: 1,
        precommits: vec![precommit],
        ..Epoch::default()
    };
    store.write(&EpochWrite::new(epoch)).unwrap();
    assert!(promised(&blueprint.settings).is_empty(), "a daemon has it open");
    drop(store);
    let found = promised(&blueprint.settings);
    assert_eq!(found.iter().collect::<Vec<_>>(), [&adds[0].path]);
    let other = TableLocation::new(dir.path().join("other").to_str().unwrap());
    assert!(super::promised_files(&blueprint.settings, &other).unwrap().is_empty());
}
