//! What the tests of tables and of writers share: small specs, batches and an independent look
//! at a table through deltalake and DataFusion.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::prelude::SessionContext;
use deltalake::DeltaTable;
use deltalake::kernel::Add;

use super::{LakeTable, TableSpec};

pub(crate) fn schema(columns: &[(&str, DataType, bool)]) -> SchemaRef {
    let fields: Vec<Field> = columns
        .iter()
        .map(|(name, kind, nullable)| Field::new(*name, kind.clone(), *nullable))
        .collect();
    Arc::new(Schema::new(fields))
}

pub(crate) fn utc() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

pub(crate) fn batch(schema: &SchemaRef, columns: Vec<ArrayRef>) -> RecordBatch {
    RecordBatch::try_new(schema.clone(), columns).unwrap()
}

/// `id BIGINT NOT NULL, name STRING`
pub(crate) fn plain() -> SchemaRef {
    schema(&[("id", DataType::Int64, false), ("name", DataType::Utf8, true)])
}

pub(crate) fn spec(dir: &Path, schema: &SchemaRef) -> TableSpec {
    TableSpec::new(dir.join("table").to_str().unwrap(), schema.clone())
}

/// The table as deltalake itself sees it.
pub(crate) async fn open(table: &LakeTable) -> DeltaTable {
    let url = url::Url::from_directory_path(table.uri()).unwrap();
    deltalake::open_table(url).await.unwrap()
}

/// Runs `sql` over the table, which is called `t` in it; one batch with all rows.
pub(crate) async fn query(table: &LakeTable, sql: &str) -> RecordBatch {
    let context = SessionContext::new();
    let provider = open(table).await.table_provider().await.unwrap();
    context.register_table("t", provider).unwrap();
    let frame = context.sql(sql).await.unwrap();
    let schema = Arc::new(frame.schema().as_arrow().clone());
    concat_batches(&schema, &frame.collect().await.unwrap()).unwrap()
}

/// The result of [`query`] as a table of text.
pub(crate) async fn shown(table: &LakeTable, sql: &str) -> String {
    let rows = query(table, sql).await;
    arrow::util::pretty::pretty_format_batches(&[rows]).unwrap().to_string()
}

pub(crate) async fn count(table: &LakeTable) -> i64 {
    let rows = query(table, "SELECT count(*) FROM t").await;
    let counts: &arrow::array::Int64Array = arrow::array::AsArray::as_primitive(rows.column(0));
    counts.value(0)
}

/// An `add` action for a file that nobody will read.
pub(crate) fn fake_add(name: &str, rows: usize) -> Add {
    Add {
        path: format!("part-{name}.parquet"),
        size: 10,
        modification_time: 1,
        data_change: true,
        stats: Some(format!("{{\"numRecords\":{rows}}}")),
        ..Default::default()
    }
}

pub(crate) fn app(id: &str, version: i64) -> Vec<(String, i64)> {
    vec![(id.to_owned(), version)]
}

pub(crate) fn expect(id: &str, version: Option<i64>) -> Vec<(String, Option<i64>)> {
    vec![(id.to_owned(), version)]
}
