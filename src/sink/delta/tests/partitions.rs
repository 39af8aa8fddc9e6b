//! Which rows go where, and how partition values survive paths and JSON.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Date32Array, Decimal128Array, Float32Array,
    Float64Array, Int32Array, Int64Array, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, TimeUnit};

use super::*;
use crate::lake::TableSpec;
use crate::lake::testing::{batch, query, schema, spec, utc};

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

/// One run, a few runs (slices) and many runs (gathered rows) have to come to the same table.
#[tokio::test]
async fn rows_land_in_their_partition_however_they_are_mixed() {
    type HourOfRow = fn(usize) -> i32;
    let patterns: [(&str, HourOfRow); 4] = [
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
