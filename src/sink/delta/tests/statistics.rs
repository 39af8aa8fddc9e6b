//! Bounds that hold every value.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Date32Array, Decimal128Array, Float32Array,
    Float64Array, Int64Array, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use serde_json::value::RawValue;

use super::*;
use crate::lake::TableSpec;
use crate::lake::testing::{batch, count, open, plain, query, schema, spec, utc};

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
