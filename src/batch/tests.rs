//! A job on real tables, in one process.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::Int64Type;

use super::*;
use crate::catalog::{Catalog, TableEntry, TableKind, TableName};
use crate::lake::TableLocation;

fn rows(names: &[&str], counts: &[i64]) -> RecordBatch {
    let names: ArrayRef = Arc::new(StringArray::from(names.to_vec()));
    let counts: ArrayRef = Arc::new(Int64Array::from(counts.to_vec()));
    RecordBatch::try_from_iter_with_nullable([("ip", names, true), ("n", counts, true)]).unwrap()
}

async fn append(uri: &str, rows: &RecordBatch) {
    let spec = TableSpec::new(uri, rows.schema());
    let mut table = LakeTable::open_or_create(&spec).await.unwrap();
    let mut writer = DeltaWriter::new(&table, &spec).unwrap();
    writer.write(rows).await.unwrap();
    let adds = writer.prepare().await.unwrap();
    table.commit(adds, &[], &[]).await.unwrap();
}

fn catalog(uri: &str) -> Catalog {
    let mut catalog = Catalog::new();
    let entry = TableEntry {
        name: TableName::of("lake", "clean"),
        location: TableLocation::new(uri),
        kind: TableKind::Sink,
        written_by: None,
    };
    catalog.add(entry).unwrap();
    catalog
}

fn job(uri: &str, sql: &str) -> Job {
    let table = TableSpec::new(uri, runs_schema());
    Job { name: "ips".into(), sql: sql.into(), table, timeout: None }
}

async fn total(session: &Session, uri: &str) -> (usize, i64) {
    let sql = format!("SELECT CAST(sum(total) AS BIGINT) AS s FROM delta.`{uri}`");
    let answer = session.execute(&sql, &Limits::default()).await.unwrap();
    let sum = answer.batches[0].column(0).as_primitive::<Int64Type>().value(0);
    let count = format!("SELECT * FROM delta.`{uri}`");
    (session.execute(&count, &Limits::default()).await.unwrap().rows, sum)
}

#[tokio::test]
async fn a_run_replaces_all_rows_and_a_failed_one_none() {
    let dir = tempfile::tempdir().unwrap();
    let uri = |name: &str| dir.path().join(name).display().to_string();
    append(&uri("clean"), &rows(&["a", "b", "a"], &[1, 2, 3])).await;
    let session = Session::new(catalog(&uri("clean"))).unwrap();
    let sums = job(&uri("ips"), "SELECT ip, sum(n) AS total FROM clean GROUP BY ip");
    let done = sums.run(&session).await.unwrap();
    assert_eq!((done.rows_read, done.rows_written), (Some(3), 2));
    assert_eq!(total(&session, &uri("ips")).await, (2, 6));

    append(&uri("clean"), &rows(&["c"], &[10])).await;
    let again = sums.run(&session).await.unwrap();
    assert_eq!((again.rows_read, again.rows_written), (Some(4), 3));
    assert_eq!(total(&session, &uri("ips")).await, (3, 16), "replaced, not added to");
    assert!(again.version > done.version);

    for wrong in [
        "SELECT ip, sum(n) AS total FROM nowhere GROUP BY ip",
        "SELECT ip, sum(m) AS total FROM clean GROUP BY ip",
        "VACUUM clean",
        "SELECT ip, CAST(sum(n) AS STRING) AS total FROM clean GROUP BY ip",
    ] {
        let error = job(&uri("ips"), wrong).run(&session).await.unwrap_err();
        assert!(!error.to_string().is_empty());
        assert_eq!(total(&session, &uri("ips")).await, (3, 16), "{wrong}: {error}");
    }
}

#[tokio::test]
async fn the_log_has_a_row_for_each_run() {
    let dir = tempfile::tempdir().unwrap();
    let uri = dir.path().join("runs").display().to_string();
    let log = RunLog::new(TableSpec::new(&uri, runs_schema()));
    let run = Run {
        id: "1".into(),
        job: "ips".into(),
        due_us: None,
        started_us: 1_000_000,
        ended_us: 2_000_000,
        outcome: Outcome::Succeeded,
        attempts: 1,
        rows_read: Some(4),
        rows_written: Some(3),
        version: Some(2),
        error: None,
    };
    log.append(&run).await.unwrap();
    let failed = Run {
        outcome: Outcome::Failed,
        rows_read: None,
        rows_written: None,
        version: None,
        error: Some("no".into()),
        ..run
    };
    log.append(&failed).await.unwrap();
    let session = Session::new(Catalog::new()).unwrap();
    let sql = format!(
        "SELECT outcome, rows_read, error FROM delta.`{uri}` WHERE started_at IS NOT NULL \
         ORDER BY outcome DESC"
    );
    let answer = session.execute(&sql, &Limits::default()).await.unwrap();
    let shown = arrow::util::pretty::pretty_format_batches(&answer.batches).unwrap().to_string();
    assert_eq!(answer.rows, 2, "{shown}");
    assert!(shown.contains("succeeded") && shown.contains("failed"), "{shown}");
}
