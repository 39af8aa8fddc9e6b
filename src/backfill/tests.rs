//! A backfill beside the stream that it stands for.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use super::*;
use crate::lake::TableLocation;
use crate::sql::{
    Catalog, DropDuplicates, OutputMode, QueryRequest, SourceTable, Within, plan, timestamp_type,
};

const MINUTE: i64 = 60_000_000;

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("at", timestamp_type(), true),
        Field::new("ip", DataType::Utf8, true),
        Field::new("bytes", DataType::Int64, true),
    ]))
}

/// Rows of minute, address and bytes.
fn rows(rows: &[(i64, &str, i64)]) -> RecordBatch {
    let times: ArrayRef = Arc::new(
        TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| row.0 * MINUTE))
            .with_timezone("UTC"),
    );
    let ips: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.1)));
    let bytes: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.2)));
    RecordBatch::try_new(schema(), vec![times, ips, bytes]).unwrap()
}

/// Files of which the first holds the newest rows: what came last is read first.
fn files() -> Vec<RecordBatch> {
    vec![
        rows(&[(61, "a", 1), (75, "b", 2), (62, "a", 3)]),
        rows(&[(1, "a", 10), (59, "c", 20), (1, "a", 10)]),
        rows(&[(30, "b", 5), (62, "a", 3), (121, "c", 7)]),
    ]
}

fn planned(sql: &str, mode: OutputMode, distinct: bool) -> QueryPlan {
    let sources = [SourceTable {
        name: "logs".to_owned(),
        schema: schema(),
        event_time: Some("at".to_owned()),
        watermark_delay_us: Some(0),
    }];
    let drop_duplicates =
        distinct.then(|| DropDuplicates { columns: Vec::new(), within: Within::Watermark });
    let request = QueryRequest { name: "q", sql, mode, drop_duplicates, ..QueryRequest::default() };
    plan(&request, &Catalog { sources: &sources, ..Catalog::default() })
        .unwrap_or_else(|error| panic!("{sql}\n{error}"))
}

/// What the stream gives that reads the rows in the order of their times, to its end.
fn streamed(plan: &QueryPlan) -> Vec<String> {
    let mut all: Vec<(i64, String, i64)> = Vec::new();
    for file in files() {
        let times = file.column(0).as_primitive::<arrow::datatypes::TimestampMicrosecondType>();
        let ips = file.column(1).as_string::<i32>();
        let bytes = file.column(2).as_primitive::<arrow::datatypes::Int64Type>();
        for row in 0..file.num_rows() {
            all.push((times.value(row) / MINUTE, ips.value(row).to_owned(), bytes.value(row)));
        }
    }
    all.sort();
    let graph = Graph::new(vec!["logs".into()], vec![Arc::new(plan.clone())]).unwrap();
    let reads: Vec<usize> = graph.reads(0).into_iter().collect();
    let columns = Arc::new(schema().project(&reads).unwrap());
    let mut trial = Trial::new(Arc::new(graph), &[columns], &[true]).unwrap();
    for (minute, ip, bytes) in &all {
        let row = rows(&[(*minute, ip, *bytes)]).project(&reads).unwrap();
        trial.rows(0, &row).unwrap();
        trial.watermark(0, minute * MINUTE).unwrap();
    }
    trial.watermark(0, i64::MAX).unwrap();
    trial.trigger().unwrap();
    let found: Vec<RecordBatch> = trial.take_output().into_iter().map(|out| out.rows).collect();
    shown(&found)
}

fn shown(batches: &[RecordBatch]) -> Vec<String> {
    let text = arrow::util::pretty::pretty_format_batches(batches).unwrap().to_string();
    let mut lines: Vec<String> = text.lines().skip(3).map(str::to_owned).collect();
    lines.pop();
    lines.sort();
    lines
}

struct Place {
    dir: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
}

impl Place {
    /// A table with the files.
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let place = Self { dir: tempfile::tempdir().unwrap(), runtime };
        for file in files() {
            place.append("logs", &file);
        }
        place
    }

    fn uri(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn append(&self, name: &str, rows: &RecordBatch) {
        let spec = TableSpec::new(self.uri(name), rows.schema());
        self.runtime.block_on(async {
            let mut table = LakeTable::open_or_create(&spec).await.unwrap();
            let mut writer = DeltaWriter::new(&table, &spec).unwrap();
            writer.write(rows).await.unwrap();
            let adds = writer.prepare().await.unwrap();
            table.commit(adds, &[], &[]).await.unwrap();
        });
    }

    fn relation(&self, version: Option<i64>) -> Relation {
        let table =
            WholeTable::open(&TableLocation::new(self.uri("logs")), version, Some("at")).unwrap();
        Relation { name: "logs".into(), schema: schema(), timed: true, table }
    }

    fn run(
        &self,
        plan: &QueryPlan,
        into: &str,
        overwrite: bool,
        version: Option<i64>,
    ) -> Result<Report, BackfillError> {
        let spec = TableSpec::new(self.uri(into), plan.output_schema.clone());
        run(&[Arc::new(plan.clone())], vec![self.relation(version)], &spec, overwrite, |_| {})
    }

    fn read(&self, name: &str) -> Vec<String> {
        let table = WholeTable::open(&TableLocation::new(self.uri(name)), None, None).unwrap();
        let columns = table.schema();
        let batches: Vec<RecordBatch> = table
            .read(&columns)
            .unwrap()
            .into_iter()
            .filter_map(|item| match item {
                WholeItem::Rows(rows) => Some(rows),
                WholeItem::Failed(error) => panic!("{error}"),
                WholeItem::File(_) | WholeItem::End => None,
            })
            .collect();
        shown(&batches)
    }
}

#[test]
fn the_rows_are_those_of_the_stream() {
    let hours = "SELECT window.start AS hour, ip, count(*) AS n, sum(bytes) AS bytes FROM logs \
                 GROUP BY window(at, '1 hour'), ip";
    let sliding = "SELECT window.end AS until, sum(bytes) AS bytes FROM logs \
                   GROUP BY window(at, '1 hour', '20 minutes')";
    let sessions = "SELECT session_window.start AS began, ip, count(*) AS n FROM logs \
                    GROUP BY session_window(at, '10 minutes'), ip";
    let totals = "SELECT ip, count(*) AS n, max(bytes) AS most FROM logs GROUP BY ip";
    let plain = "SELECT ip, bytes * 2 AS twice FROM logs WHERE bytes > 2";
    for (sql, mode, distinct) in [
        (hours, OutputMode::Append, false),
        (sliding, OutputMode::Append, false),
        (sessions, OutputMode::Append, false),
        (totals, OutputMode::Update, false),
        (totals, OutputMode::Complete, false),
        (plain, OutputMode::Append, false),
        ("SELECT at, ip, bytes FROM logs", OutputMode::Append, true),
    ] {
        let place = Place::new();
        let plan = planned(sql, mode, distinct);
        let report = place.run(&plan, "out", false, None).unwrap();
        assert_eq!((report.late, report.null_time, report.progress.read), (0, 0, 9), "{sql}");
        let mut expected = streamed(&plan);
        if mode == OutputMode::Update {
            // The stream shows a group each time it changes; here each comes once.
            expected = place.read("out");
            assert_eq!(expected.len(), 3);
        }
        assert_eq!(place.read("out"), expected, "{sql}");
    }
}

#[test]
fn an_older_version_can_be_read_and_rows_are_replaced_only_when_asked() {
    let place = Place::new();
    let plan = planned("SELECT ip FROM logs", OutputMode::Append, false);
    // Version 0 made the table, each file is one more.
    let report = place.run(&plan, "out", false, Some(1)).unwrap();
    assert_eq!(report.progress.written, 3);
    let error = place.run(&plan, "out", false, None).unwrap_err();
    assert!(matches!(error, BackfillError::NotEmpty { files: 1, .. }), "{error}");
    assert!(error.to_string().contains("--overwrite"), "{error}");
    place.run(&plan, "out", true, None).unwrap();
    assert_eq!(place.read("out").len(), 9);
    let error =
        WholeTable::open(&TableLocation::new(place.uri("logs")), Some(9), None).err().unwrap();
    assert!(error.to_string().contains("versions 0 to 3"), "{error}");
}

#[test]
fn a_table_that_somebody_else_writes_meanwhile_is_left_alone() {
    let place = Place::new();
    let plan = planned("SELECT ip FROM logs", OutputMode::Append, false);
    place.run(&plan, "out", false, None).unwrap();
    let spec = TableSpec::new(place.uri("out"), plan.output_schema.clone());
    let ip: ArrayRef = Arc::new(StringArray::from(vec!["x"]));
    let other = RecordBatch::try_new(plan.output_schema.clone(), vec![ip]).unwrap();
    let mut written = false;
    let error = std::thread::scope(|scope| {
        let relations = vec![place.relation(None)];
        run(&[Arc::new(plan.clone())], relations, &spec, true, |_| {
            if !std::mem::replace(&mut written, true) {
                // A runtime of its own, since this thread is in one.
                let append = || {
                    let runtime =
                        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                    runtime.block_on(async {
                        let mut table = LakeTable::open_or_create(&spec).await.unwrap();
                        let mut writer = DeltaWriter::new(&table, &spec).unwrap();
                        writer.write(&other).await.unwrap();
                        let adds = writer.prepare().await.unwrap();
                        table.commit(adds, &[], &[]).await.unwrap();
                    });
                };
                scope.spawn(append).join().unwrap();
            }
        })
    })
    .unwrap_err();
    assert!(matches!(error, BackfillError::Changed { .. }), "{error}");
    assert_eq!(place.read("out").len(), 10, "nothing is lost");
}
