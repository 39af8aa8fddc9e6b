//! Writers on a real disk, read back through deltalake and DataFusion.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Date32Array, Decimal128Array, DictionaryArray,
    Float32Array, Float64Array, Int32Array, Int64Array, LargeStringArray, ListArray, MapBuilder,
    RecordBatch, StringArray, StringBuilder, StringViewArray, StructArray,
    TimestampMicrosecondArray, TimestampMillisecondArray, UInt64Array,
};
use arrow::datatypes::{DataType, Field, Int32Type, Schema, SchemaRef, TimeUnit};
use serde_json::Value;
use serde_json::value::RawValue;

use super::DeltaWriter;
use crate::lake::testing::{
    app, batch, count, expect, open, plain, query, schema, shown, spec, utc,
};
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

/// Partition columns that stand anywhere, with values that are awkward in paths and in JSON.
#[tokio::test]
async fn odd_partition_values_read_back_as_they_were() {
    let dir = tempfile::tempdir().unwrap();
    let columns = schema(&[
        ("key", DataType::Utf8, true),
        ("id", DataType::Int64, false),
        ("day", DataType::Date32, true),
        ("at", utc(), true),
    ]);
    let spec = TableSpec {
        partition_by: vec!["day".into(), "key".into(), "at".into()],
        ..spec(dir.path(), &columns)
    };
    let (mut table, mut writer) = start(&spec).await;
    let long = "long ".repeat(100);
    let keys = [
        Some("a/b c%=?#&+:"),
        Some(""),
        None,
        Some("größe 東京 🦆"),
        Some(".."),
        Some("%2F"),
        Some("null"),
        Some("\"quoted\\\" \u{1}\n"),
        Some("__HIVE_DEFAULT_PARTITION__"),
        Some(long.as_str()),
        Some(" "),
        Some("A"),
        Some("a"),
    ];
    let rows = keys.len();
    let days: Vec<Option<i32>> =
        (0..rows).map(|i| [Some(20_000), None, Some(-800), Some(0)][i % 4]).collect();
    let times: Vec<Option<i64>> =
        (0..rows).map(|i| [Some(1_700_000_000_000_001), None, Some(-1)][i % 3]).collect();
    let rows_in = batch(
        &columns,
        vec![
            Arc::new(StringArray::from(keys.to_vec())),
            Arc::new(Int64Array::from_iter_values(0..rows as i64)),
            Arc::new(Date32Array::from(days.clone())),
            Arc::new(TimestampMicrosecondArray::from(times.clone()).with_timezone("UTC")),
        ],
    );
    let adds = write_all(&mut table, &mut writer, &[rows_in]).await;
    assert_eq!(adds.len(), rows);
    let back = query(&table, "SELECT id, key, day, at FROM t ORDER BY id").await;
    assert_eq!(back.num_rows(), rows);
    let back_keys = arrow::compute::cast(back.column(1), &DataType::Utf8).unwrap();
    let back_days = arrow::compute::cast(back.column(2), &DataType::Date32).unwrap();
    let back_times = arrow::compute::cast(back.column(3), &utc()).unwrap();
    let (back_keys, back_days) =
        (back_keys.as_string::<i32>(), back_days.as_primitive::<arrow::datatypes::Date32Type>());
    let back_times = back_times.as_primitive::<arrow::datatypes::TimestampMicrosecondType>();
    for row in 0..rows {
        // The empty string is NULL in a Delta partition column.
        let key = keys[row].filter(|key| !key.is_empty());
        assert_eq!(back_keys.is_valid(row).then(|| back_keys.value(row)), key, "row {row}");
        assert_eq!(back_days.is_valid(row).then(|| back_days.value(row)), days[row], "row {row}");
        assert_eq!(
            back_times.is_valid(row).then(|| back_times.value(row)),
            times[row],
            "row {row}"
        );
    }
    // And the order of columns is the table's.
    let all = query(&table, "SELECT * FROM t LIMIT 1").await;
    let names: Vec<_> = all.schema().fields().iter().map(|f| f.name().clone()).collect();
    assert_eq!(names, ["key", "id", "day", "at"]);
    for path in files_below(Path::new(table.uri())) {
        assert!(path.is_ascii(), "{path}");
    }
}

#[tokio::test]
async fn partitions_of_every_primitive_type() {
    let columns: Vec<(&str, DataType, ArrayRef, &str)> = vec![
        ("b", DataType::Boolean, Arc::new(BooleanArray::from(vec![true])), "b"),
        ("i", DataType::Int32, Arc::new(Int32Array::from(vec![-5])), "i = -5"),
        ("f", DataType::Float32, Arc::new(Float32Array::from(vec![1.5])), "f = 1.5"),
        ("d", DataType::Float64, Arc::new(Float64Array::from(vec![-0.1])), "d = -0.1"),
        (
            "n",
            DataType::Decimal128(10, 2),
            Arc::new(Decimal128Array::from(vec![-1]).with_precision_and_scale(10, 2).unwrap()),
            "n = -0.01",
        ),
        (
            "t",
            DataType::Timestamp(TimeUnit::Microsecond, None),
            Arc::new(TimestampMicrosecondArray::from(vec![1_000_001])),
            "t = TIMESTAMP '1970-01-01 00:00:01.000001'",
        ),
    ];
    for (name, kind, array, predicate) in columns {
        let dir = tempfile::tempdir().unwrap();
        let columns = schema(&[(name, kind, true), ("id", DataType::Int64, false)]);
        let spec = TableSpec { partition_by: vec![name.into()], ..spec(dir.path(), &columns) };
        let (mut table, mut writer) = start(&spec).await;
        let ids: ArrayRef = Arc::new(Int64Array::from(vec![1]));
        write_all(&mut table, &mut writer, &[batch(&columns, vec![array, ids])]).await;
        let found = query(&table, &format!("SELECT id FROM t WHERE {predicate}")).await;
        assert_eq!(found.num_rows(), 1, "{name}: {predicate}");
    }
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

/// One run, a few runs (slices) and many runs (gathered rows) have to come to the same table.
#[tokio::test]
async fn rows_land_in_their_partition_however_they_are_mixed() {
    let patterns: [(&str, fn(usize) -> i32); 4] = [
        ("one hour", |_| 5),
        ("three hours in turn", |i| (i / 400) as i32),
        ("now and then a late row", |i| if i % 97 == 0 { 22 } else { 23 }),
        ("shuffled", |i| ((i.wrapping_mul(2_654_435_761) >> 7) % 48) as i32),
    ];
    for (what, hour) in patterns {
        let dir = tempfile::tempdir().unwrap();
        let (columns, rows) = hourly(1200, hour);
        let spec = TableSpec {
            partition_by: vec!["date".into(), "hour".into()],
            ..spec(dir.path(), &columns)
        };
        let (mut table, mut writer) = start(&spec).await;
        // Twice, so that files are also appended to.
        let adds = write_all(&mut table, &mut writer, &[rows.clone(), rows.clone()]).await;
        let mut expected: HashMap<i32, u64> = HashMap::new();
        for i in 0..1200 {
            *expected.entry(hour(i)).or_default() += 2;
        }
        assert_eq!(adds.len(), expected.len(), "{what}");
        for add in &adds {
            let values = &add.partition_values;
            let date: chrono::NaiveDate = values["date"].as_ref().unwrap().parse().unwrap();
            let days =
                (date - chrono::NaiveDate::from_ymd_opt(1970, 1, 1).unwrap()).num_days() - 20_000;
            let hour: i64 = values["hour"].as_ref().unwrap().parse().unwrap();
            let key = i32::try_from(days * 24 + hour).unwrap();
            assert_eq!(stats(add)["numRecords"], expected[&key], "{what}");
            let directory = format!("date={date}/hour={hour}/part-00000-");
            assert!(add.path.starts_with(&directory), "{}", add.path);
        }
        // Every id twice, in the right hour, its name beside it.
        let hours: Vec<String> = (0..1200).map(|i| format!("({i}, {})", hour(i))).collect();
        let wrong = query(
            &table,
            &format!(
                "WITH e(id, h) AS (VALUES {}), s AS (SELECT id, count(*) n, min(hour) a, \
                 max(hour) b, min(name) nm FROM t GROUP BY id) \
                 SELECT * FROM e LEFT JOIN s ON e.id = s.id \
                 WHERE n IS NULL OR n <> 2 OR a <> h % 24 OR b <> a \
                 OR ((e.id % 7 = 0) <> (nm IS NULL)) OR nm <> concat('name ', e.id)",
                hours.join(",")
            ),
        )
        .await;
        assert_eq!(wrong.num_rows(), 0, "{what}");
    }
}

#[tokio::test]
async fn readers_prune_by_partition_and_by_statistics() {
    let dir = tempfile::tempdir().unwrap();
    let (columns, rows) = hourly(960, |i| (i / 40) as i32);
    let spec = TableSpec {
        partition_by: vec!["date".into(), "hour".into()],
        ..spec(dir.path(), &columns)
    };
    let (mut table, mut writer) = start(&spec).await;
    let adds = write_all(&mut table, &mut writer, &[rows]).await;
    assert_eq!(adds.len(), 24);
    // Take every file away but one: only a reader that prunes can still answer.
    for add in &adds {
        if add.partition_values["hour"].as_deref() != Some("7") {
            fs::remove_file(format!("{}/{}", table.uri(), add.path)).unwrap();
        }
    }
    assert_eq!(
        query(&table, "SELECT id FROM t WHERE hour = 7 AND date = DATE '2024-10-04'")
            .await
            .num_rows(),
        40
    );
    assert_eq!(
        query(&table, "SELECT name FROM t WHERE id BETWEEN 290 AND 299").await.num_rows(),
        10
    );
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
        (schema(&[("id", DataType::Int32, false), ("key", DataType::Utf8, true)]), "`id` is Int32"),
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

/// Storage that fails in the middle and is healed: no row is lost, none comes twice.
#[tokio::test]
async fn prepare_and_write_can_be_repeated_after_storage_failed() {
    let dir = tempfile::tempdir().unwrap();
    let (columns, rows) = hourly(240, |i| (i / 20) as i32);
    let spec = TableSpec {
        partition_by: vec!["date".into(), "hour".into()],
        ..spec(dir.path(), &columns)
    };
    let (mut table, mut writer) = start(&spec).await;
    let root = Path::new(table.uri()).to_owned();
    let rows_in = |from: usize, to: usize| rows.slice(from, to - from);

    // A file in the place of one partition's directory stops root too.
    let blocked = root.join("date=2024-10-04/hour=3");
    fs::create_dir_all(blocked.parent().unwrap()).unwrap();
    fs::write(&blocked, "").unwrap();
    writer.write(&rows_in(0, 120)).await.unwrap();
    for _ in 0..3 {
        let error = writer.prepare().await.unwrap_err();
        assert!(error.is_transient(), "{error}");
        assert!(error.to_string().contains("hour=3"), "names the path: {error}");
        assert_eq!(writer.pending_rows(), 120, "all rows are still here");
    }
    // More rows cannot be taken as long as earlier files wait in memory.
    let refused = writer.write(&rows_in(120, 240)).await.unwrap_err();
    assert!(refused.is_transient(), "{refused}");
    assert_eq!(writer.pending_rows(), 120);
    fs::remove_file(&blocked).unwrap();
    writer.write(&rows_in(120, 240)).await.unwrap();
    assert_eq!(writer.pending_rows(), 240);
    let adds = writer.prepare().await.unwrap();
    assert_eq!(adds.len(), 12);
    commit(&mut table, adds).await;
    let text = shown(&table, "SELECT count(*) n, count(DISTINCT id) d FROM t").await;
    assert!(text.contains("| 240 | 240 |"), "{text}");
    assert_eq!(files_below(&root).len(), 12, "nothing staged, nothing twice");

    // Every directory gone at once: the table's own is a file now.
    let aside = dir.path().join("aside");
    fs::rename(&root, &aside).unwrap();
    fs::write(&root, "").unwrap();
    writer.write(&rows_in(0, 60)).await.unwrap();
    assert!(writer.prepare().await.unwrap_err().is_transient());
    fs::remove_file(&root).unwrap();
    fs::rename(&aside, &root).unwrap();
    let adds = writer.prepare().await.unwrap();
    commit(&mut table, adds).await;
    assert_eq!(count(&table).await, 300);
}

#[tokio::test]
async fn memory_is_bounded_by_files_written_early() {
    let dir = tempfile::tempdir().unwrap();
    let spec = spec(dir.path(), &plain());
    let (mut table, writer) = start(&spec).await;
    let mut writer = writer.with_max_buffered_bytes(2 << 20);
    let mut most = 0;
    for i in 0..60 {
        writer.write(&ids(i * 8192..(i + 1) * 8192)).await.unwrap();
        most = most.max(writer.buffered_bytes());
    }
    assert!(most < 4 << 20, "{most}");
    assert!(files_below(Path::new(table.uri())).len() > 1);
    let adds = writer.prepare().await.unwrap();
    assert!(adds.len() > 2);
    commit(&mut table, adds).await;
    assert_eq!(count(&table).await, 60 * 8192);

    // The disk is gone: the writer takes what fits and then refuses, each batch whole.
    let (root, aside) = (Path::new(table.uri()).to_owned(), dir.path().join("aside"));
    fs::rename(&root, &aside).unwrap();
    fs::write(&root, "").unwrap();
    let mut taken = 0;
    for i in 0..60 {
        match writer.write(&ids(i * 8192..(i + 1) * 8192)).await {
            Ok(()) => taken += 1,
            Err(error) => assert!(error.is_transient(), "{error}"),
        }
        assert!(writer.buffered_bytes() < 4 << 20);
    }
    assert!(taken > 0 && taken < 60, "{taken}");
    assert_eq!(writer.pending_rows(), taken * 8192);
    fs::remove_file(&root).unwrap();
    fs::rename(&aside, &root).unwrap();
    let adds = writer.prepare().await.unwrap();
    commit(&mut table, adds).await;
    assert_eq!(count(&table).await, (60 + taken as i64) * 8192);
}

#[tokio::test]
async fn files_roll_at_their_target_size() {
    let dir = tempfile::tempdir().unwrap();
    let spec = TableSpec {
        target_file_bytes: 200_000,
        compression: Compression::None,
        ..spec(dir.path(), &plain())
    };
    let (mut table, mut writer) = start(&spec).await;
    let batches: Vec<RecordBatch> = (0..40).map(|i| ids(i * 2000..(i + 1) * 2000)).collect();
    let adds = write_all(&mut table, &mut writer, &batches).await;
    assert!(adds.len() > 3, "{}", adds.len());
    for add in &adds[..adds.len() - 1] {
        assert!((150_000..400_000).contains(&add.size), "{}", add.size);
    }
    assert_eq!(count(&table).await, 80_000);
}

#[tokio::test]
async fn open_files_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let (columns, rows) = hourly(960, |i| (i % 96) as i32);
    let spec = TableSpec {
        partition_by: vec!["date".into(), "hour".into()],
        ..spec(dir.path(), &columns)
    };
    let (mut table, writer) = start(&spec).await;
    let mut writer = writer.with_max_open_files(10);
    writer.write(&rows).await.unwrap();
    assert_eq!(writer.open_files(), 10);
    write_all(&mut table, &mut writer, &[rows]).await;
    assert_eq!(count(&table).await, 1920);
}

#[tokio::test]
async fn discarded_rows_leave_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let spec = spec(dir.path(), &plain());
    let (mut table, writer) = start(&spec).await;
    let mut writer = writer.with_max_buffered_bytes(1 << 20);
    for i in 0..20 {
        writer.write(&ids(i * 8192..(i + 1) * 8192)).await.unwrap();
    }
    let root = Path::new(table.uri()).to_owned();
    assert!(!files_below(&root).is_empty(), "some files were stored early");
    writer.discard().await;
    assert_eq!((writer.pending_rows(), writer.buffered_bytes()), (0, 0));
    assert!(files_below(&root).is_empty());
    write_all(&mut table, &mut writer, &[ids(0..10)]).await;
    assert_eq!(count(&table).await, 10);
}

/// A process killed between pre-commit and commit leaves orphans and an untouched table.
#[tokio::test]
async fn a_crash_before_the_commit_leaves_only_orphans() {
    let dir = tempfile::tempdir().unwrap();
    let spec = spec(dir.path(), &plain());
    let (mut table, mut writer) = start(&spec).await;
    write_all(&mut table, &mut writer, &[ids(0..10)]).await;
    writer.write(&ids(10..20)).await.unwrap();
    let lost = writer.prepare().await.unwrap();
    drop((table, writer));
    let (mut table, mut writer) = start(&spec).await;
    assert_eq!(count(&table).await, 10);
    // Recovery either commits what the checkpoint names ...
    assert!(table.missing_files(&lost).await.unwrap().is_empty());
    commit(&mut table, lost).await;
    assert_eq!(count(&table).await, 20);
    // ... or writes the rows again from where the checkpoint stands.
    write_all(&mut table, &mut writer, &[ids(20..30)]).await;
    assert_eq!(count(&table).await, 30);
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Exact {
    min_values: BTreeMap<String, Box<RawValue>>,
    max_values: BTreeMap<String, Box<RawValue>>,
}

#[tokio::test]
async fn statistics_hold_every_value() {
    let dir = tempfile::tempdir().unwrap();
    let kinds: Vec<(&str, DataType)> = vec![
        ("i8", DataType::Int8),
        ("i64", DataType::Int64),
        ("f32", DataType::Float32),
        ("f64", DataType::Float64),
        ("nan", DataType::Float64),
        ("inf", DataType::Float64),
        ("d9", DataType::Decimal128(9, 2)),
        ("d38", DataType::Decimal128(38, 4)),
        ("day", DataType::Date32),
        ("at", utc()),
        ("local", DataType::Timestamp(TimeUnit::Microsecond, None)),
        ("text", DataType::Utf8),
        ("none", DataType::Utf8),
        ("flag", DataType::Boolean),
        ("raw", DataType::Binary),
    ];
    let fields: Vec<Field> = kinds.iter().map(|(n, k)| Field::new(*n, k.clone(), true)).collect();
    let columns: SchemaRef = Arc::new(Schema::new(fields));
    let spec = TableSpec { target_file_bytes: 1, ..spec(dir.path(), &columns) };
    let (mut table, mut writer) = start(&spec).await;
    let texts = [
        "",
        "a",
        "zzz",
        "é",
        "\u{10ffff}\u{10ffff}",
        "x".repeat(200).leak(),
        "\u{10ffff}".repeat(60).leak(),
    ];
    let n = 70;
    let mut batches = Vec::new();
    for part in 0..4_i64 {
        let numbers: Vec<i64> = (0..n).map(|i| (i * 7919 + part * 131) % 101 - 50).collect();
        let opt = |i: usize| i % 9 != 4;
        let floats = |odd: f64| -> Vec<Option<f64>> {
            numbers
                .iter()
                .enumerate()
                .map(|(i, v)| opt(i).then(|| if i == 11 { odd } else { *v as f64 / 3.0 }))
                .collect()
        };
        let decimals = |by: i128, p: u8, s: i8| -> ArrayRef {
            let values: Decimal128Array = numbers
                .iter()
                .enumerate()
                .map(|(i, v)| opt(i).then(|| i128::from(*v) * by + 1))
                .collect();
            Arc::new(values.with_precision_and_scale(p, s).unwrap())
        };
        let micros: Vec<Option<i64>> = numbers
            .iter()
            .enumerate()
            .map(|(i, v)| opt(i).then(|| v * 1_234_567_891_011))
            .collect();
        let strings: Vec<Option<&str>> = (0..n as usize)
            .map(|i| opt(i).then(|| texts[(i + part as usize) % texts.len()]))
            .collect();
        let columns_in: Vec<ArrayRef> = vec![
            arrow::compute::cast(&Int64Array::from(numbers.clone()), &DataType::Int8).unwrap(),
            Arc::new(Int64Array::from_iter(numbers.iter().map(|v| Some(v * (i64::MAX / 60))))),
            Arc::new(Float32Array::from_iter(
                floats(-0.0).into_iter().map(|v| v.map(|v| v as f32)),
            )),
            Arc::new(Float64Array::from(floats(1e300))),
            Arc::new(Float64Array::from(floats(f64::NAN))),
            Arc::new(Float64Array::from(floats(f64::INFINITY))),
            decimals(1000, 9, 2),
            decimals(10_i128.pow(34), 38, 4),
            Arc::new(Date32Array::from_iter(numbers.iter().map(|v| Some(*v as i32 * 1000)))),
            Arc::new(TimestampMicrosecondArray::from(micros.clone()).with_timezone("UTC")),
            Arc::new(TimestampMicrosecondArray::from(micros)),
            Arc::new(StringArray::from(strings)),
            Arc::new(StringArray::from(vec![None::<&str>; n as usize])),
            Arc::new(BooleanArray::from(vec![true; n as usize])),
            Arc::new(arrow::array::BinaryArray::from_vec(vec![b"x"; n as usize])),
        ];
        batches.push(batch(&columns, columns_in));
    }
    let adds = write_all(&mut table, &mut writer, &batches).await;
    assert_eq!(adds.len(), 4, "one file a batch");
    for (rows, add) in batches.iter().zip(&adds) {
        let stats = stats(add);
        assert_eq!(stats["numRecords"], n);
        // `Value` would round long numbers.
        let exact: Exact = serde_json::from_str(add.stats.as_ref().unwrap()).unwrap();
        for (i, (name, kind)) in kinds.iter().enumerate() {
            assert_eq!(stats["nullCount"][name], rows.column(i).null_count(), "{name}");
            let (min, max) = (&stats["minValues"].get(name), &stats["maxValues"].get(name));
            if matches!(*name, "nan" | "none" | "flag" | "raw") {
                assert!(min.is_none() && max.is_none(), "{name}: {min:?} {max:?}");
                continue;
            }
            assert!(min.is_some(), "{name} has a minimum");
            if *name == "inf" {
                assert!(max.is_none(), "JSON has no infinity");
                continue;
            }
            if *name == "text" {
                let (min, max) = (min.unwrap().as_str().unwrap(), max.map(|m| m.as_str().unwrap()));
                assert!(min.chars().count() <= 32 && max.is_none_or(|m| m.chars().count() <= 32));
                for text in rows.column(i).as_string::<i32>().iter().flatten() {
                    assert!(min <= text && max.is_none_or(|max| text <= max), "{text}");
                }
                continue;
            }
            // Read as their own type and compared by Arrow.
            let bound = |which: &BTreeMap<String, Box<RawValue>>| -> ArrayRef {
                let text = which[*name].get().trim_matches('"').to_owned();
                arrow::compute::cast(&StringArray::from(vec![text]), kind).unwrap()
            };
            let (min, max) = (bound(&exact.min_values), bound(&exact.max_values));
            for row in (0..rows.num_rows()).filter(|row| rows.column(i).is_valid(*row)) {
                let value = rows.column(i).slice(row, 1);
                let compare =
                    arrow::array::make_comparator(&min, &value, Default::default()).unwrap();
                assert!(compare(0, 0).is_le() || *name == "f32", "{name} row {row}");
                let compare =
                    arrow::array::make_comparator(&value, &max, Default::default()).unwrap();
                assert!(compare(0, 0).is_le(), "{name} row {row}");
            }
        }
    }
    // A reader that trusts the bounds finds everything it finds without them. (Not asked: `nan >
    // 1000`, which DataFusion answers from the footer's bounds, where Parquet leaves NaN out.)
    for predicate in [
        "text = 'zzz'",
        "text > 'é'",
        "i8 = -50",
        "f64 > 100",
        "isnan(nan)",
        "inf > 1e300",
        "d9 <= -49",
        "d38 <= CAST('-50000000000000000000000000000000.0' AS DECIMAL(38, 4))",
        "d38 > CAST('49999999999999999999999999999999.9999' AS DECIMAL(38, 4))",
        "at > TIMESTAMP '1970-01-01T00:00:00Z'",
        "day < DATE '1970-01-01'",
        "local <= TIMESTAMP '1969-01-01'",
        "none IS NOT NULL",
    ] {
        let pruned = query(&table, &format!("SELECT i8 FROM t WHERE {predicate}")).await.num_rows();
        let all =
            query(&table, &format!("SELECT CASE WHEN {predicate} THEN 1 END AS hit FROM t")).await;
        assert_eq!(pruned, all.num_rows() - all.column(0).null_count(), "{predicate}");
    }
}

#[tokio::test]
async fn statistics_follow_the_table_s_properties() {
    let columns = schema(&[
        ("a", DataType::Int64, true),
        ("b", DataType::Int64, true),
        ("c", DataType::Int64, true),
    ]);
    let ones: Vec<ArrayRef> =
        (0..3).map(|_| Arc::new(Int64Array::from(vec![1])) as ArrayRef).collect();
    for (property, value, kept) in [
        ("delta.dataSkippingNumIndexedCols", "1", vec!["a"]),
        ("delta.dataSkippingNumIndexedCols", "0", vec![]),
        ("delta.dataSkippingNumIndexedCols", "-1", vec!["a", "b", "c"]),
        ("delta.dataSkippingStatsColumns", "c, `b`", vec!["b", "c"]),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let properties = BTreeMap::from([(property.to_owned(), value.to_owned())]);
        let spec = TableSpec { properties, ..spec(dir.path(), &columns) };
        let (mut table, mut writer) = start(&spec).await;
        let adds = write_all(&mut table, &mut writer, &[batch(&columns, ones.clone())]).await;
        let stats = stats(&adds[0]);
        let names: Vec<&String> = stats["minValues"].as_object().unwrap().keys().collect();
        assert_eq!(names, kept, "{property} = {value}");
        assert_eq!(count(&table).await, 1);
    }
}

#[tokio::test]
async fn deltalake_s_own_statistics_view_agrees() {
    let dir = tempfile::tempdir().unwrap();
    let spec = spec(dir.path(), &plain());
    let (mut table, mut writer) = start(&spec).await;
    write_all(&mut table, &mut writer, &[ids(5..50)]).await;
    let seen = open(&table).await;
    let actions = seen.snapshot().unwrap().add_actions_table(true).unwrap();
    let int = |name: &str| {
        actions.column_by_name(name).unwrap().as_primitive::<arrow::datatypes::Int64Type>().value(0)
    };
    assert_eq!(
        (int("num_records"), int("min.id"), int("max.id"), int("null_count.id")),
        (45, 5, 49, 0)
    );
}
