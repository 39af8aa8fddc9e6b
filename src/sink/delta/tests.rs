//! Writers on a real disk, read back through deltalake and DataFusion.

mod failures;
mod partitions;
mod statistics;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, Date32Array, DictionaryArray, Int32Array, Int64Array, LargeStringArray,
    ListArray, MapBuilder, RecordBatch, StringArray, StringBuilder, StringViewArray, StructArray,
    TimestampMillisecondArray, UInt64Array,
};
use arrow::datatypes::{DataType, Field, Int32Type, SchemaRef, TimeUnit};
use serde_json::Value;

use super::DeltaWriter;
use crate::lake::testing::{app, batch, count, expect, plain, schema, shown, spec};
use crate::lake::{Add, Compression, LakeError, LakeTable, TableSpec};

async fn start(spec: &TableSpec) -> (LakeTable, DeltaWriter) {
    let table = LakeTable::open_or_create(spec).await.unwrap();
    let writer = DeltaWriter::new(&table, spec).unwrap();
    (table, writer)
}

async fn commit(table: &mut LakeTable, adds: Vec<Add>) {
    // Through JSON and back, as a checkpoint carries them.
    let adds = adds
        .iter()
        .map(|add| serde_json::from_value(serde_json::to_value(add).unwrap()).unwrap())
        .collect();
    table.commit(adds, &[], &[]).await.unwrap();
}

async fn write_all(
    table: &mut LakeTable,
    writer: &mut DeltaWriter,
    batches: &[RecordBatch],
) -> Vec<Add> {
    for batch in batches {
        writer.write(batch).await.unwrap();
    }
    let adds = writer.prepare().await.unwrap();
    commit(table, adds.clone()).await;
    adds
}

fn ids(range: std::ops::Range<i64>) -> RecordBatch {
    let names: StringArray = range.clone().map(|id| Some(format!("n{id}"))).collect();
    batch(&plain(), vec![Arc::new(Int64Array::from_iter_values(range)), Arc::new(names)])
}

fn stats(add: &Add) -> Value {
    serde_json::from_str(add.stats.as_ref().unwrap()).unwrap()
}

fn files_below(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if path.file_name().unwrap() != "_delta_log" {
                found.extend(files_below(&path));
            }
        } else {
            found.push(path.display().to_string());
        }
    }
    found.sort();
    found
}

fn hourly(rows: usize, hour: impl Fn(usize) -> i32) -> (SchemaRef, RecordBatch) {
    let columns = schema(&[
        ("date", DataType::Date32, true),
        ("id", DataType::Int64, false),
        ("hour", DataType::Int32, true),
        ("name", DataType::Utf8, true),
    ]);
    let names: StringArray = (0..rows).map(|i| (i % 7 != 0).then(|| format!("name {i}"))).collect();
    let rows = batch(
        &columns,
        vec![
            Arc::new(Date32Array::from_iter_values((0..rows).map(|i| 20_000 + hour(i) / 24))),
            Arc::new(Int64Array::from_iter_values((0..rows as i64).collect::<Vec<_>>())),
            Arc::new(Int32Array::from_iter_values((0..rows).map(|i| hour(i) % 24))),
            Arc::new(names),
        ],
    );
    (columns, rows)
}

#[tokio::test]
async fn rows_are_invisible_until_the_commit_and_exact_after() {
    let dir = tempfile::tempdir().unwrap();
    let spec = spec(dir.path(), &plain());
    let (mut table, mut writer) = start(&spec).await;
    writer.write(&ids(0..1000)).await.unwrap();
    writer.write(&ids(1000..1500)).await.unwrap();
    assert_eq!(writer.pending_rows(), 1500);
    assert!(writer.buffered_bytes() > 0);
    let adds = writer.prepare().await.unwrap();
    assert_eq!((adds.len(), writer.pending_rows(), writer.buffered_bytes()), (1, 0, 0));
    assert_eq!(files_below(Path::new(table.uri())).len(), 1, "the file is there");
    assert_eq!(count(&table).await, 0, "and the table does not know it");
    let info = table.commit(adds, &app("a", 1), &expect("a", None)).await.unwrap();
    assert_eq!((info.rows, info.files), (1500, 1));
    let text = shown(
        &table,
        "SELECT count(*) n, count(DISTINCT id) d, min(id) a, max(id) b, max(name) m FROM t",
    )
    .await;
    assert!(text.contains("| 1500 | 1500 | 0 | 1499 | n999 |"), "{text}");
    assert!(writer.prepare().await.unwrap().is_empty(), "no rows, no files");
}

#[tokio::test]
async fn every_compression_reads_back() {
    for (compression, tag) in [
        (Compression::None, "-c000.parquet"),
        (Compression::Snappy, ".snappy.parquet"),
        (Compression::Lz4, ".lz4raw.parquet"),
        (Compression::Zstd(3), ".zstd.parquet"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let spec = TableSpec { compression, ..spec(dir.path(), &plain()) };
        let (mut table, mut writer) = start(&spec).await;
        let adds = write_all(&mut table, &mut writer, &[ids(0..5000)]).await;
        assert!(adds[0].path.ends_with(tag), "{}", adds[0].path);
        assert_eq!(count(&table).await, 5000, "{compression}");
    }
    let dir = tempfile::tempdir().unwrap();
    let spec = TableSpec { compression: Compression::Zstd(40), ..spec(dir.path(), &plain()) };
    let table = LakeTable::open_or_create(&spec).await.unwrap();
    assert!(matches!(DeltaWriter::new(&table, &spec), Err(LakeError::Definition { .. })));
}

#[tokio::test]
async fn nested_columns_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let item = Arc::new(Field::new("item", DataType::Utf8, true));
    let inner = vec![
        Arc::new(Field::new("id", DataType::Int64, false)),
        Arc::new(Field::new("tags", DataType::List(item.clone()), true)),
    ];
    let tags = ListArray::from_iter_primitive::<Int32Type, _, _>([
        Some(vec![Some(1), None]),
        None,
        Some(vec![]),
    ]);
    let tags = arrow::compute::cast(&tags, &DataType::List(item)).unwrap();
    let user = StructArray::try_new(
        inner.into(),
        vec![Arc::new(Int64Array::from(vec![1, 2, 3])), tags],
        Some(vec![true, true, false].into()),
    )
    .unwrap();
    let mut headers = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    headers.keys().append_value("host");
    headers.values().append_value("h1");
    headers.append(true).unwrap();
    headers.append(false).unwrap();
    headers.append(true).unwrap();
    let headers = headers.finish();
    let columns = schema(&[
        ("user", user.data_type().clone(), true),
        ("n", DataType::Int32, false),
        ("headers", headers.data_type().clone(), true),
    ]);
    let spec = spec(dir.path(), &columns);
    let (mut table, mut writer) = start(&spec).await;
    let numbers = Arc::new(Int32Array::from(vec![10, 20, 30]));
    let rows = batch(&columns, vec![Arc::new(user), numbers, Arc::new(headers)]);
    let adds = write_all(&mut table, &mut writer, &[rows]).await;
    let text = shown(
        &table,
        "SELECT n, user IS NULL gone, user['id'] id, user['tags'] tags, headers FROM t ORDER BY n",
    )
    .await;
    // DataFusion itself shows 0 for a NOT NULL field of a struct that is NULL.
    for line in [
        "| 10 | false | 1  | [1, ] | {host: h1} |",
        "| 20 | false | 2  |       |            |",
        "| 30 | true  | 0  |       | {}         |",
    ] {
        assert!(text.contains(line), "{line} in\n{text}");
    }
    let stats = stats(&adds[0]);
    assert_eq!(stats["minValues"]["n"], 10);
    assert_eq!(stats["maxValues"]["user"]["id"], 2);
    assert_eq!(stats["nullCount"]["user"]["id"], 1);
    assert!(stats["nullCount"].get("headers").is_none());
}

#[tokio::test]
async fn ways_of_holding_values_are_brought_to_the_table_s() {
    let dir = tempfile::tempdir().unwrap();
    let dictionary = DataType::Dictionary(DataType::Int32.into(), DataType::Utf8.into());
    let given = schema(&[
        ("view", DataType::Utf8View, true),
        ("large", DataType::LargeUtf8, true),
        ("word", dictionary, true),
        ("count", DataType::UInt64, true),
        ("at", DataType::Timestamp(TimeUnit::Millisecond, Some("+00:00".into())), true),
    ]);
    let spec = TableSpec { partition_by: vec!["word".into()], ..spec(dir.path(), &given) };
    let (mut table, mut writer) = start(&spec).await;
    let words: DictionaryArray<Int32Type> = vec![Some("x"), None, Some("y")].into_iter().collect();
    let columns = |counts: Vec<u64>| -> Vec<ArrayRef> {
        vec![
            Arc::new(StringViewArray::from(vec![
                Some("a view longer than twelve"),
                None,
                Some("b"),
            ])),
            Arc::new(LargeStringArray::from(vec!["p", "q", "r"])),
            Arc::new(words.clone()),
            Arc::new(UInt64Array::from(counts)),
            Arc::new(TimestampMillisecondArray::from(vec![1, 2, 3]).with_timezone("+00:00")),
        ]
    };
    // The same columns in another order, by name.
    let rows = batch(&given, columns(vec![1, 2, 3]));
    let turned = rows.project(&[4, 3, 2, 1, 0]).unwrap();
    write_all(&mut table, &mut writer, &[rows, turned]).await;
    let text = shown(
        &table,
        "SELECT view, word, sum(count) s, min(at) a, count(*) n FROM t GROUP BY 1, 2 ORDER BY s",
    )
    .await;
    assert!(
        text.contains("| a view longer than twelve | x    | 2 | 1970-01-01T00:00:00.001Z | 2 |"),
        "{text}"
    );
    assert!(text.contains("|                           |      | 4 |"), "{text}");

    let error = writer.write(&batch(&given, columns(vec![1, u64::MAX, 3]))).await.unwrap_err();
    assert!(
        matches!(error, LakeError::Data { .. }) && error.to_string().contains("`count`"),
        "{error}"
    );
}

#[tokio::test]
async fn columns_added_by_evolution_are_null_before_and_padded_after() {
    let dir = tempfile::tempdir().unwrap();
    let narrow = spec(dir.path(), &plain());
    let (mut table, mut writer) = start(&narrow).await;
    write_all(&mut table, &mut writer, &[ids(0..3)]).await;

    let wide = schema(&[
        ("agent", DataType::Utf8, true),
        ("id", DataType::Int64, false),
        ("name", DataType::Utf8, true),
    ]);
    let evolving = TableSpec { evolve: true, ..spec(dir.path(), &wide) };
    let (mut table, mut writer) = start(&evolving).await;
    let rows = batch(
        &wide,
        vec![
            Arc::new(StringArray::from(vec!["curl"])),
            Arc::new(Int64Array::from(vec![3])),
            Arc::new(StringArray::from(vec!["n3"])),
        ],
    );
    write_all(&mut table, &mut writer, &[rows]).await;

    // The query without the column again, over the wider table.
    let padding = TableSpec { evolve: true, ..spec(dir.path(), &plain()) };
    let (mut table, mut writer) = start(&padding).await;
    write_all(&mut table, &mut writer, &[ids(4..6)]).await;
    let text =
        shown(&table, "SELECT count(*) n, count(agent) a, sum(id) s, count(name) m FROM t").await;
    assert!(text.contains("| 6 | 1 | 15 | 6 |"), "{text}");
}

#[tokio::test]
async fn rows_that_do_not_fit_are_refused_whole() {
    let dir = tempfile::tempdir().unwrap();
    let columns = schema(&[("id", DataType::Int64, false), ("key", DataType::Utf8, false)]);
    let spec = TableSpec { partition_by: vec!["key".into()], ..spec(dir.path(), &columns) };
    let (mut table, mut writer) = start(&spec).await;
    let loose = schema(&[("id", DataType::Int64, true), ("key", DataType::Utf8, true)]);
    let rows = |ids: Vec<Option<i64>>, keys: Vec<Option<&str>>| {
        batch(&loose, vec![Arc::new(Int64Array::from(ids)), Arc::new(StringArray::from(keys))])
    };
    let bad = [
        (rows(vec![Some(1), None], vec![Some("a"), Some("b")]), "`id` is NOT NULL and 1 of 2"),
        (rows(vec![Some(1), Some(2)], vec![Some("a"), None]), "`key` is NOT NULL"),
        (rows(vec![Some(1), Some(2)], vec![Some("a"), Some("")]), "empty string"),
    ];
    for (rows, words) in bad {
        let error = writer.write(&rows).await.unwrap_err();
        assert!(matches!(error, LakeError::Data { .. }) && !error.is_transient(), "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
    let others = [
        (schema(&[("id", DataType::Int64, false)]), "`key` is missing"),
        (
            schema(&[
                ("id", DataType::Int64, false),
                ("key", DataType::Utf8, true),
                ("x", DataType::Int8, true),
            ]),
            "no column `x`",
        ),
        (
            schema(&[("id", DataType::Float64, false), ("key", DataType::Utf8, true)]),
            "`id` is Float64",
        ),
    ];
    for (columns, words) in others {
        let empty = RecordBatch::new_empty(columns.clone());
        let one = columns.fields().iter().map(|f| match f.data_type() {
            DataType::Utf8 => Arc::new(StringArray::from(vec!["k"])) as ArrayRef,
            other => arrow::compute::cast(&Int64Array::from(vec![1]), other).unwrap(),
        });
        let rows = batch(&columns, one.collect());
        let error = writer.write(&rows).await.unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        writer.write(&empty).await.unwrap();
    }
    assert_eq!(writer.pending_rows(), 0, "not one row of a bad batch was taken");
    write_all(&mut table, &mut writer, &[rows(vec![Some(1)], vec![Some("a")])]).await;
    assert_eq!(count(&table).await, 1);
}
