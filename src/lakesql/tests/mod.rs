//! Statements over small tables, answers compared as a whole.

mod queries;
mod statements;

use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Date32Array, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    StructArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};

use super::{Answer, EngineOptions, LakeSqlError, Limits, Session};
use crate::catalog::{Catalog, TableEntry, TableKind};
use crate::lake::testing::utc;
use crate::lake::{LakeTable, TableLocation, TableSpec};
use crate::sink::console::Renderer;
use crate::sink::delta::DeltaWriter;

/// 2026-11-21T00:00:00Z
const DAY: i64 = 1_795_219_200_000_000;
const HOUR: i64 = 3_600_000_000;
const MINUTE: i64 = 60_000_000;

/// Writes each batch as a version of its own, after the one that makes the table.
pub(super) async fn write(path: &Path, batches: &[RecordBatch], partition_by: &[&str]) {
    let spec = TableSpec {
        partition_by: partition_by.iter().map(|name| (*name).to_owned()).collect(),
        ..TableSpec::new(path.to_str().unwrap(), batches[0].schema())
    };
    let mut table = LakeTable::open_or_create(&spec).await.unwrap();
    let mut writer = DeltaWriter::new(&table, &spec).unwrap();
    for batch in batches {
        writer.write(batch).await.unwrap();
        let adds = writer.prepare().await.unwrap();
        table.commit(adds, &[], &[]).await.unwrap();
    }
}

fn field(name: &str, data_type: DataType) -> Field {
    Field::new(name, data_type, true)
}

fn web_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        field("timestamp", utc()),
        field("ip", DataType::Utf8),
        field("endpoint", DataType::Utf8),
        field("status_code", DataType::Int32),
        field("response_time", DataType::Float64),
        field("date", DataType::Date32),
        field("hour", DataType::Int32),
    ]))
}

type Log = (i64, &'static str, &'static str, i32, f64);

pub(super) fn web_logs(rows: &[Log]) -> RecordBatch {
    let times = || rows.iter().map(|row| row.0);
    let dates = times().map(|t| i32::try_from(t.div_euclid(24 * HOUR)).unwrap());
    let hours = times().map(|t| i32::try_from(t.div_euclid(HOUR) % 24).unwrap());
    let columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampMicrosecondArray::from_iter_values(times()).with_timezone("UTC")),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.1))),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.2))),
        Arc::new(Int32Array::from_iter_values(rows.iter().map(|row| row.3))),
        Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.4))),
        Arc::new(Date32Array::from_iter_values(dates)),
        Arc::new(Int32Array::from_iter_values(hours)),
    ];
    RecordBatch::try_new(web_schema(), columns).unwrap()
}

fn windows() -> RecordBatch {
    let starts: Vec<i64> = (0..5).map(|n| DAY + n * MINUTE).collect();
    let ends: Vec<i64> = starts.iter().map(|start| start + MINUTE).collect();
    let bounds: Fields = vec![field("start", utc()), field("end", utc())].into();
    let time = |times: Vec<i64>| -> ArrayRef {
        Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC"))
    };
    let window = StructArray::new(bounds.clone(), vec![time(starts), time(ends)], None);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(window),
        Arc::new(StringArray::from(vec!["/a", "/b", "/a", "/b", "/a"])),
        Arc::new(Int64Array::from(vec![1, 1, 1, 1, 100])),
        Arc::new(Float64Array::from(vec![1.0, 2.0, 3.0, 4.0, 50.0])),
    ];
    let schema = Schema::new(vec![
        field("window", DataType::Struct(bounds)),
        field("endpoint", DataType::Utf8),
        field("request_count", DataType::Int64),
        field("response_time", DataType::Float64),
    ]);
    RecordBatch::try_new(Arc::new(schema), columns).unwrap()
}

/// `web.logs`, of two versions with rows, `web.logs_windowed`, and `web.later`, which is not there.
pub(super) struct World {
    pub(super) dir: tempfile::TempDir,
    pub(super) session: Session,
}

impl World {
    pub(super) async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let first = web_logs(&[
            (DAY - HOUR, "1.1.1.1", "/a", 200, 10.0),
            (DAY, "1.1.1.1", "/a", 404, 20.0),
            (DAY + 1, "1.1.1.2", "/b", 500, 30.0),
        ]);
        let second = web_logs(&[
            (DAY + HOUR, "1.1.1.3", "/a", 500, 40.0),
            (DAY + HOUR, "1.1.1.3", "/c", 200, 50.0),
        ]);
        write(&path("logs"), &[first, second], &["date", "hour"]).await;
        write(&path("windowed"), &[windows()], &[]).await;
        let mut catalog = Catalog::new();
        for (name, place) in
            [("web.logs", "logs"), ("web.logs_windowed", "windowed"), ("web.later", "later")]
        {
            let entry = TableEntry {
                name: name.parse().unwrap(),
                location: TableLocation::new(path(place).to_str().unwrap()),
                kind: TableKind::Sink,
                written_by: Some("query q".to_owned()),
            };
            catalog.add(entry).unwrap();
        }
        let options = EngineOptions { threads: 2, memory: 64 << 20, spill: true };
        let session = Session::with_options(catalog, &options).unwrap();
        Self { dir, session }
    }

    pub(super) async fn ask(&self, sql: &str) -> Result<Answer, LakeSqlError> {
        self.session.execute(sql, &Limits::default()).await
    }

    /// The answer as text: the columns' names, and a line for each row.
    #[track_caller]
    pub(super) fn gives<'a>(
        &'a self,
        sql: &'a str,
        expected: &'a [&'a str],
    ) -> impl Future<Output = ()> + 'a {
        let caller = std::panic::Location::caller();
        async move {
            match self.ask(sql).await {
                Ok(answer) => assert_eq!(lines(&answer), expected, "{sql}, at {caller}"),
                Err(error) => panic!("{sql}: {error}, at {caller}"),
            }
        }
    }

    pub(super) async fn fails(&self, sql: &str) -> LakeSqlError {
        match self.ask(sql).await {
            Ok(answer) => panic!("{sql} gives {:?}", lines(&answer)),
            Err(error) => error,
        }
    }
}

pub(super) fn lines(answer: &Answer) -> Vec<String> {
    let names: Vec<&str> = answer.schema.fields().iter().map(|f| f.name().as_str()).collect();
    let mut lines = vec![names.join(" | ")];
    for batch in &answer.batches {
        let columns: Vec<Renderer> =
            batch.columns().iter().map(|column| Renderer::new(column).unwrap()).collect();
        for row in 0..batch.num_rows() {
            let cells = columns.iter().map(|column| {
                let mut cell = String::new();
                column.write(row, &mut cell);
                cell
            });
            lines.push(cells.collect::<Vec<_>>().join(" | "));
        }
    }
    lines
}
