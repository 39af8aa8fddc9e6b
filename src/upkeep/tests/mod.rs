//! Upkeep against tables of real files, read back by deltalake and DataFusion.

mod damaged;
mod optimizing;
mod planning;
mod vacuuming;

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, SchemaRef};

use crate::lake::testing::{schema, shown, spec};
use crate::lake::{Add, LakeTable, TableLocation, TableSpec};
use crate::sink::delta::DeltaWriter;

pub(crate) fn columns() -> SchemaRef {
    schema(&[
        ("id", DataType::Int64, false),
        ("name", DataType::Utf8, true),
        ("day", DataType::Utf8, true),
    ])
}

/// A table with its writer; commits go the way of the sink.
pub(crate) struct Written {
    pub table: LakeTable,
    pub writer: DeltaWriter,
    pub location: TableLocation,
    next: i64,
}

impl Written {
    pub async fn new(dir: &Path, change: impl FnOnce(&mut TableSpec)) -> Self {
        let mut spec = spec(dir, &columns());
        change(&mut spec);
        let table = LakeTable::open_or_create(&spec).await.unwrap();
        let writer = DeltaWriter::new(&table, &spec).unwrap();
        let location = TableLocation::new(table.uri());
        Self { table, writer, location, next: 0 }
    }

    pub async fn prepare(&mut self, rows: i64, days: &[&str]) -> Vec<Add> {
        let ids: Vec<i64> = (self.next..self.next + rows).collect();
        self.next += rows;
        // Neither sorted nor constant, so that an order is one that somebody made.
        let ids: Vec<i64> = ids.iter().map(|id| id * 7919 % 100_003).collect();
        let names = ids.iter().map(|id| (id % 11 != 0).then(|| format!("name {}", id % 97)));
        let days = ids.iter().map(|id| Some(days[*id as usize % days.len()]));
        let batch = RecordBatch::try_new(
            columns(),
            vec![
                Arc::new(Int64Array::from(ids.clone())) as ArrayRef,
                Arc::new(names.collect::<StringArray>()),
                Arc::new(days.collect::<StringArray>()),
            ],
        );
        self.writer.write(&batch.unwrap()).await.unwrap();
        self.writer.prepare().await.unwrap()
    }

    pub async fn commit(&mut self, adds: Vec<Add>) -> i64 {
        self.table.commit(adds, &[], &[]).await.unwrap().version
    }

    /// A commit with so many rows, in one file for each day.
    pub async fn append(&mut self, rows: i64, days: &[&str]) -> i64 {
        let adds = self.prepare(rows, days).await;
        self.commit(adds).await
    }

    /// What must never change: the number of rows, and sums over them.
    pub async fn rows(&self) -> String {
        let sql = "SELECT count(*), sum(id), count(name), sum(length(name)), min(day), max(day), \
                   count(DISTINCT id) FROM t";
        shown(&self.table, sql).await
    }
}

/// The names of the log's files.
pub(crate) fn log(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(dir.join("table/_delta_log"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
