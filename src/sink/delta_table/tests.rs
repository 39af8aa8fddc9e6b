use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringArray, StructArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};

use super::*;
use crate::lake::testing::{query, shown};
use crate::sink::staged::testing::{Area, STAGED_POINTS, batch_of, killed_at, schema};
use crate::sink::{SinkError, StagedSink, Target, TargetSpec};

fn spec_of(area: &Area, schema: &SchemaRef, partition_by: &[&str]) -> TargetSpec {
    let path = area.dir.path().join("table");
    let mut table = TableSpec::new(path.to_str().unwrap(), schema.clone());
    table.partition_by = partition_by.iter().map(|name| (*name).to_owned()).collect();
    TargetSpec::DeltaTable(DeltaTableOptions { table })
}

fn spec(area: &Area) -> TargetSpec {
    spec_of(area, &schema(), &[])
}

fn table(sink: &mut StagedSink) -> &LakeTable {
    match sink.target() {
        Target::DeltaTable(target) => &target.table,
        _ => panic!("a Delta table was opened"),
    }
}

/// The rows of the table, by id.
async fn rows(area: &Area) -> Vec<(i64, String)> {
    let path = area.dir.path().join("table");
    let spec = TableSpec::new(path.to_str().unwrap(), schema());
    let table = LakeTable::open_or_create(&spec).await.unwrap();
    let batch = query(&table, "SELECT id, name FROM t ORDER BY id, name").await;
    let names = arrow::compute::cast(batch.column(1), &DataType::Utf8).unwrap();
    batch
        .column(0)
        .as_primitive::<Int64Type>()
        .values()
        .iter()
        .zip(names.as_string::<i32>())
        .map(|(id, name)| (*id, name.unwrap_or("NULL").to_owned()))
        .collect()
}

async fn epoch(sink: &mut StagedSink, number: u64, batches: &[RecordBatch]) -> CommitInfo {
    for batch in batches {
        sink.write(batch).await.unwrap();
    }
    sink.prepare(number).await.unwrap();
    sink.commit(number).await.unwrap().unwrap()
}

#[tokio::test]
async fn the_last_row_of_each_key_takes_the_place_of_the_one_before() {
    let area = Area::new();
    let mut sink = area.open(spec(&area), OutputMode::Update, None).await.unwrap();
    let info = epoch(&mut sink, 1, &[batch_of(&[(1, "a"), (2, "b"), (1, "c")])]).await;
    assert_eq!((info.rows, info.written, info.version), (3, 2, Some(1)));
    let info = epoch(&mut sink, 2, &[batch_of(&[(2, "d")]), batch_of(&[(3, "e")])]).await;
    assert_eq!((info.written, info.version), (2, Some(2)));
    let owned = |rows: &[(i64, &str)]| -> Vec<(i64, String)> {
        rows.iter().map(|(id, name)| (*id, (*name).to_owned())).collect()
    };
    assert_eq!(rows(&area).await, owned(&[(1, "c"), (2, "d"), (3, "e")]));
}

#[tokio::test]
async fn null_is_a_key_like_any_other() {
    let area = Area::new();
    let columns = Arc::new(Schema::new(vec![
        Field::new("key", DataType::Utf8, true),
        Field::new("part", DataType::Utf8, true),
        Field::new("n", DataType::Int64, true),
    ]));
    let mut context = area.context.clone();
    context.schema = columns.clone();
    context.mode = OutputMode::Update;
    context.keys = vec!["key".into(), "part".into()];
    let spec = spec_of(&area, &columns, &["part"]);
    let mut sink = StagedSink::open(area.dir.path(), spec, context).await.unwrap();
    let batch = |rows: &[(Option<&str>, Option<&str>, i64)]| {
        let keys: StringArray = rows.iter().map(|row| row.0).collect();
        let parts: StringArray = rows.iter().map(|row| row.1).collect();
        let ns: Int64Array = rows.iter().map(|row| Some(row.2)).collect();
        let all: Vec<ArrayRef> = vec![Arc::new(keys), Arc::new(parts), Arc::new(ns)];
        RecordBatch::try_new(columns.clone(), all).unwrap()
    };
    let first = [
        (None, None, 1),
        (Some(""), Some("p"), 2),
        (Some("x"), None, 3),
        (None, Some("p"), 4),
        (Some("y"), Some("q"), 5),
    ];
    epoch(&mut sink, 1, &[batch(&first)]).await;
    let second = [(None, None, 10), (Some("x"), None, 30), (None, Some("p"), 40)];
    epoch(&mut sink, 2, &[batch(&second)]).await;
    epoch(&mut sink, 3, &[batch(&[(Some("y"), Some("q"), 50), (Some("z"), Some("q"), 60)])]).await;
    let text = shown(
        table(&mut sink),
        "SELECT coalesce(key, 'NULL') key, coalesce(part, 'NULL') part, n FROM t ORDER BY n",
    )
    .await;
    for row in [
        "     | p    | 2 ",
        " NULL | NULL | 10 ",
        " x    | NULL | 30 ",
        " NULL | p    | 40 ",
        " y    | q    | 50 ",
        " z    | q    | 60 ",
    ] {
        assert!(text.contains(row), "{row} in\n{text}");
    }
    assert_eq!(text.lines().count(), 6 + 4, "{text}");
}

/// `window STRUCT<start, end>, sensor STRING, avg DOUBLE`, as Spark's windowed queries give them.
fn windowed(rows: &[(i64, &str, f64)]) -> RecordBatch {
    let time = |seconds: Vec<i64>| {
        let micros = seconds.into_iter().map(|s| s * 1_000_000);
        Arc::new(TimestampMicrosecondArray::from_iter_values(micros).with_timezone("UTC"))
            as ArrayRef
    };
    let starts = time(rows.iter().map(|row| row.0).collect());
    let ends = time(rows.iter().map(|row| row.0 + 10).collect());
    let field = |name: &str| Arc::new(Field::new(name, starts.data_type().clone(), true));
    let windows = StructArray::from(vec![(field("start"), starts.clone()), (field("end"), ends)]);
    let sensors: StringArray = rows.iter().map(|row| Some(row.1)).collect();
    let averages: Float64Array = rows.iter().map(|row| Some(row.2)).collect();
    RecordBatch::try_from_iter_with_nullable(vec![
        ("Window", Arc::new(windows) as ArrayRef, true),
        ("sensor", Arc::new(sensors), true),
        ("avg", Arc::new(averages), true),
    ])
    .unwrap()
}

#[tokio::test]
async fn a_window_is_a_key() {
    let area = Area::new();
    let first = windowed(&[(0, "a", 1.0), (10, "a", 2.0), (0, "b", 3.0)]);
    let mut context = area.context.clone();
    context.schema = first.schema();
    context.mode = OutputMode::Update;
    context.keys = vec!["Window".into(), "sensor".into()];
    let spec = spec_of(&area, &first.schema(), &[]);
    let mut sink = StagedSink::open(area.dir.path(), spec, context).await.unwrap();
    epoch(&mut sink, 1, &[first]).await;
    epoch(&mut sink, 2, &[windowed(&[(10, "a", 20.0), (10, "b", 40.0)])]).await;
    let text = shown(
        table(&mut sink),
        "SELECT CAST(\"Window\"['start'] AS STRING) s, sensor, avg FROM t ORDER BY 1, 2",
    )
    .await;
    let values: Vec<&str> =
        text.lines().skip(3).filter_map(|line| line.split('|').nth(3).map(str::trim)).collect();
    assert_eq!(values, ["1.0", "3.0", "20.0", "40.0"], "{text}");
}

#[tokio::test]
async fn partitions_that_no_row_names_are_not_read() {
    let area = Area::new();
    let mut context = area.context.clone();
    context.mode = OutputMode::Update;
    context.keys = vec!["name".into()];
    let spec = spec_of(&area, &schema(), &["name"]);
    let mut sink = StagedSink::open(area.dir.path(), spec, context).await.unwrap();
    epoch(&mut sink, 1, &[batch_of(&[(1, "a"), (1, "b"), (1, "c")])]).await;
    // A merge that touched the others would fail on their missing files.
    let root = area.dir.path().join("table");
    for name in ["a", "c"] {
        std::fs::remove_dir_all(root.join(format!("name={name}"))).unwrap();
    }
    let info = epoch(&mut sink, 2, &[batch_of(&[(2, "b"), (3, "b")])]).await;
    assert_eq!(info.written, 1);
    let text = shown(table(&mut sink), "SELECT id FROM t WHERE name = 'b'").await;
    assert!(text.contains("| 3  |"), "{text}");
}

#[tokio::test]
async fn complete_mode_has_the_rows_of_the_last_trigger() {
    let area = Area::new();
    let mut sink = area.open(spec(&area), OutputMode::Complete, None).await.unwrap();
    epoch(&mut sink, 1, &[batch_of(&[(1, "a"), (2, "b")])]).await;
    let info = epoch(&mut sink, 2, &[batch_of(&[(3, "c")])]).await;
    assert_eq!((info.written, info.files, info.version), (1, 1, Some(2)));
    assert_eq!(rows(&area).await, [(3, "c".to_owned())]);
    epoch(&mut sink, 3, &[]).await;
    assert_eq!(rows(&area).await, []);
    for number in 4..25 {
        epoch(&mut sink, number, &[batch_of(&[(number as i64, "x")])]).await;
    }
    assert_eq!(rows(&area).await, [(24, "x".to_owned())], "over checkpoints of the log");
}

#[tokio::test]
async fn a_crash_anywhere_applies_each_epoch_once() {
    let epochs = vec![
        vec![(1, "a"), (2, "b")],
        vec![(2, "c"), (3, "d"), (2, "e")],
        vec![],
        vec![(1, "f"), (4, "g")],
    ];
    /// A mode, the fail points on its way, and what is in the table in the end.
    type Way<'a> = (OutputMode, &'a [&'a str], &'a [(i64, &'a str)]);
    let all: &[Way<'_>] = &[
        (
            OutputMode::Update,
            &["delta_table::merge", "delta_table::merged"],
            &[(1, "f"), (2, "e"), (3, "d"), (4, "g")],
        ),
        (
            OutputMode::Complete,
            &["lake::commit", "lake::committed", "sink::prepared"],
            &[(1, "f"), (4, "g")],
        ),
        (
            OutputMode::Append,
            &["lake::commit", "lake::committed"],
            &[(1, "a"), (1, "f"), (2, "b"), (2, "c"), (2, "e"), (3, "d"), (4, "g")],
        ),
    ];
    for (mode, points, expected) in all {
        let expected: Vec<(i64, String)> =
            expected.iter().map(|(id, name)| (*id, (*name).to_owned())).collect();
        for point in STAGED_POINTS.iter().chain(*points) {
            let after = point.ends_with("committed") || point.ends_with("merged");
            for times in if after { 1..=1 } else { 1..=2 } {
                let area = Area::new();
                killed_at(&area, || spec(&area), *mode, &epochs, (point, 2, times)).await;
                assert_eq!(rows(&area).await, expected, "{point} {times} {mode:?}");
            }
        }
    }
}

#[tokio::test]
async fn another_daemon_and_a_lost_checkpoint_are_refused() {
    for mode in [OutputMode::Update, OutputMode::Complete] {
        let area = Area::new();
        let mut first = area.open(spec(&area), mode, None).await.unwrap();
        // Two that start at once see an empty table both.
        let other = Area::with("two");
        let mut second = other.open(spec(&area), mode, None).await.unwrap();
        epoch(&mut first, 1, &[batch_of(&[(1, "a")])]).await;
        second.write(&batch_of(&[(2, "b")])).await.unwrap();
        second.prepare(1).await.unwrap();
        let error = second.commit(1).await.unwrap_err();
        assert!(error.is_fenced(), "{error}");
        assert_eq!(rows(&area).await, [(1, "a".to_owned())]);
        epoch(&mut first, 2, &[batch_of(&[(1, "c")])]).await;
        drop((first, second));
        let error = other.open(spec(&area), mode, None).await.err().unwrap();
        assert!(matches!(error, SinkError::Ahead { known: None, .. }), "{error}");
        let error = area.open(spec(&area), mode, Some(1)).await.err().unwrap();
        assert!(matches!(error, SinkError::Ahead { known: Some(1), .. }), "{error}");
        let mut adopting = Area::with("two");
        adopting.context.adopt = true;
        let mut sink = adopting.open(spec(&area), mode, None).await.unwrap();
        epoch(&mut sink, 1, &[batch_of(&[(1, "z")])]).await;
        assert_eq!(rows(&area).await, [(1, "z".to_owned())]);
    }
}

#[tokio::test]
async fn two_merges_at_once_are_not_both_made() {
    let area = Area::new();
    let mut first = area.open(spec(&area), OutputMode::Update, None).await.unwrap();
    epoch(&mut first, 1, &[batch_of(&[(1, "a")])]).await;
    // A copy of the checkpoint, started with it.
    let mut second = area.open(spec(&area), OutputMode::Update, Some(1)).await.unwrap();
    first.write(&batch_of(&[(2, "b")])).await.unwrap();
    second.write(&batch_of(&[(2, "c")])).await.unwrap();
    first.prepare(2).await.unwrap();
    second.prepare(2).await.unwrap();
    let (one, other) = tokio::join!(first.commit(2), second.commit(2));
    // The loser is fenced, at once or when it tries again.
    let mut results = Vec::new();
    for (result, sink) in [(one, &mut first), (other, &mut second)] {
        results.push(match result {
            Err(error) if error.is_transient() => sink.commit(2).await,
            result => result,
        });
    }
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "{results:?}");
    assert!(results.iter().flat_map(|r| r.as_ref().err()).all(SinkError::is_fenced));
    assert_eq!(rows(&area).await.len(), 2);
}

#[tokio::test]
async fn merging_needs_keys_that_can_be_compared_and_a_table_that_may_change() {
    let area = Area::new();
    let mut context = area.context.clone();
    context.mode = OutputMode::Update;
    context.keys.clear();
    let error =
        StagedSink::open(area.dir.path(), spec(&area), context.clone()).await.err().unwrap();
    assert!(error.to_string().contains("set `key`"), "{error}");
    context.keys = vec!["nme".into()];
    let error =
        StagedSink::open(area.dir.path(), spec(&area), context.clone()).await.err().unwrap();
    assert!(error.to_string().contains("no column `nme`; it has id, name"), "{error}");
    let TargetSpec::DeltaTable(mut options) = spec(&area) else { return };
    options.table.properties.insert("delta.appendOnly".into(), "true".into());
    let spec = TargetSpec::DeltaTable(options);
    let error = area.open(spec, OutputMode::Update, None).await.err().unwrap();
    assert!(error.to_string().contains("appendOnly"), "{error}");
}
