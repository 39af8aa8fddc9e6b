use std::fs;
use std::path::Path;

use super::*;
use crate::codec::{CsvOptions, FormatSpec, parse_schema};
use crate::source::files::{CsvFraming, Framing};
use crate::source::table::{TableFormat, TableOptions};

fn devices(path: &Path, refresh: Option<Duration>) -> TableBlueprint {
    let schema = parse_schema("id BIGINT, name STRING").unwrap();
    let format = TableFormat::Records {
        framing: Framing::Csv(CsvFraming::default()),
        spec: FormatSpec::Csv(CsvOptions::default()),
    };
    let options = TableOptions::new(path.to_str().unwrap(), format);
    TableBlueprint {
        name: "devices".into(),
        kind: "csv",
        reader: Arc::new(TableReader::open(options, Some(schema.clone())).unwrap()),
        table: Arc::new(StaticTable::new("devices", schema)),
        refresh,
    }
}

fn rows(table: &StaticTable) -> usize {
    table.current().1.iter().map(|batch| batch.num_rows()).sum()
}

async fn until(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..3000 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("waited in vain for {what}");
}

#[actix::test]
async fn a_table_is_read_anew_when_it_changes_and_kept_when_it_breaks() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("devices.csv");
    let planned = devices(&path, Some(Duration::from_millis(10)));
    let progress = PipelineProgress::new("tables");
    let mut tables = StaticTables::new(std::slice::from_ref(&planned), &progress);
    let report = || progress.snapshot().tables.remove(0);

    // There is nothing to join with: the pipeline must not start.
    let (name, error) = tables.load().await.unwrap_err();
    assert_eq!((name.as_str(), error.code()), ("devices", "io"));
    assert!(report().error.is_some_and(|error| error.contains("devices.csv")));
    fs::write(&path, "1,a\n2,b\n").unwrap();
    tables.load().await.unwrap();
    assert_eq!(rows(&planned.table), 2);
    let shown = report();
    assert_eq!((shown.num_rows, shown.error), (2, None));
    assert!(shown.memory_used_bytes > 0 && shown.loaded_at.is_some());
    // A second load, of another generation, has nothing to do.
    tables.load().await.unwrap();

    fs::write(&path, "1,a\n2,b\n3,c\n").unwrap();
    until("three rows", || rows(&planned.table) == 3).await;
    fs::write(&path, "1,a\ntwo,b\n").unwrap();
    until("the complaint", || report().error.is_some_and(|e| e.contains("line 2"))).await;
    assert_eq!(rows(&planned.table), 3);
    fs::write(&path, "1,a\n").unwrap();
    until("one row", || rows(&planned.table) == 1).await;
    assert_eq!(report().error, None);
    // A look fails, and then there is what was there before.
    let (aside, back) = (dir.path().join("aside"), path.clone());
    until("a settled table", || report().num_loads >= 4).await;
    fs::rename(&path, &aside).unwrap();
    until("the complaint", || report().error.is_some()).await;
    fs::rename(&aside, &back).unwrap();
    until("no complaint", || report().error.is_none()).await;
    assert_eq!(rows(&planned.table), 1);
}

#[actix::test]
async fn a_table_that_is_never_refreshed_stays() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("devices.csv");
    fs::write(&path, "1,a\n").unwrap();
    let planned = devices(&path, None);
    let progress = PipelineProgress::new("never");
    let mut tables = StaticTables::new(std::slice::from_ref(&planned), &progress);
    tables.load().await.unwrap();
    assert!(tables.tasks.is_empty());
    assert_eq!(rows(&planned.table), 1);
}
