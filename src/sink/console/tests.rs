use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array,
    Int64Array, ListArray, MapBuilder, RecordBatch, StringArray, StringBuilder, StructArray,
    TimestampMicrosecondArray, TimestampSecondArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Fields, Int32Type, Schema};

use super::*;
use crate::sink::staged::testing::{Area, batch_of};
use crate::sql::OutputMode;

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, a)| (n, a, true)))
        .unwrap()
}

fn strings(values: &[Option<&str>]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

fn shown(rows: &RecordBatch, how: &Show) -> String {
    show(rows.schema_ref(), std::slice::from_ref(rows), how).unwrap()
}

/// 2023-10-27 12:00:00 in microseconds.
const NOON: i64 = 1_698_408_000_000_000;

fn window(start: i64) -> StructArray {
    let time = |us: i64| {
        Arc::new(TimestampMicrosecondArray::from(vec![us]).with_timezone("UTC")) as ArrayRef
    };
    let field =
        |name: &str, array: &ArrayRef| Arc::new(Field::new(name, array.data_type().clone(), true));
    let (start, end) = (time(start), time(start + 10_000_000));
    StructArray::from(vec![(field("start", &start), start.clone()), (field("end", &end), end)])
}

// The expected tables below are what PySpark 4.3 prints for the same rows.

#[test]
fn truncated_cells_stand_at_the_right() {
    let rows = batch(vec![
        ("word", strings(&[Some("cat"), Some("a word that is longer than that"), None])),
        ("count", Arc::new(Int64Array::from(vec![1, 200, 3000]))),
    ]);
    assert_eq!(
        shown(&rows, &Show::default()),
        "\
+--------------------+-----+
|                word|count|
+--------------------+-----+
|                 cat|    1|
|a word that is lo...|  200|
|                NULL| 3000|
+--------------------+-----+
"
    );
}

#[test]
fn whole_cells_stand_at_the_left() {
    let window = window(NOON);
    let rows = batch(vec![
        ("window", Arc::new(window)),
        ("sensor", strings(&[Some("s1")])),
        ("avg", Arc::new(Float64Array::from(vec![25.5]))),
    ]);
    assert_eq!(
        shown(&rows, &Show { truncate: 0, ..Show::default() }),
        "\
+------------------------------------------+------+----+
|window                                    |sensor|avg |
+------------------------------------------+------+----+
|{2023-10-27 12:00:00, 2023-10-27 12:00:10}|s1    |25.5|
+------------------------------------------+------+----+
"
    );
}

#[test]
fn rows_beyond_the_bound_are_announced() {
    let rows = batch(vec![("n", Arc::new(Int32Array::from_iter_values(0..25)))]);
    let text = shown(&rows, &Show::default());
    assert!(text.ends_with("| 19|\n+---+\nonly showing top 20 rows"), "{text}");
    let one = shown(&rows, &Show { num_rows: 1, ..Show::default() });
    assert!(one.ends_with("only showing top 1 row"), "{one}");
    let none = shown(&rows, &Show { num_rows: 0, ..Show::default() });
    assert_eq!(none, "+---+\n|  n|\n+---+\n+---+\nonly showing top 0 rows");
    // Also when the rest is in later batches, and not when there is no rest.
    let cut = [rows.slice(0, 10), rows.slice(10, 10), rows.slice(20, 5)];
    assert_eq!(show(rows.schema_ref(), &cut, &Show::default()).unwrap(), text);
    let exact = show(rows.schema_ref(), &cut[..2], &Show::default()).unwrap();
    assert!(!exact.contains("only showing"), "{exact}");
}

#[test]
fn vertical_rows_have_one_line_for_each_value() {
    let rows = batch(vec![
        ("name", strings(&[Some("Alice"), None])),
        ("n", Arc::new(Int32Array::from(vec![1, 22]))),
    ]);
    let how = Show { vertical: true, ..Show::default() };
    assert_eq!(
        shown(&rows, &how),
        "\
-RECORD 0-----
 name | Alice 
 n    | 1     
-RECORD 1-----
 name | NULL  
 n    | 22    
"
    );
    assert_eq!(shown(&rows.slice(0, 0), &how), "(0 rows)\n");
}

#[test]
fn every_type_is_written_as_spark_writes_it() {
    let times = TimestampMicrosecondArray::from(vec![
        Some(NOON),
        Some(NOON + 120_000),
        Some(-1),
        Some(253_402_300_800_000_000),
        None,
    ]);
    let lists = ListArray::from_iter_primitive::<Int32Type, _, _>(vec![
        Some(vec![Some(1), None, Some(3)]),
        Some(vec![]),
        None,
        Some(vec![Some(7)]),
        Some(vec![None]),
    ]);
    let mut maps = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    maps.keys().append_value("a");
    maps.values().append_value("1");
    maps.keys().append_value("b");
    maps.values().append_null();
    maps.append(true).unwrap();
    for _ in 0..4 {
        maps.append(true).unwrap();
    }
    let bytes: Vec<Option<&[u8]>> = vec![Some(b"ab"), Some(b""), Some(&[0xff, 0]), None, None];
    let rows = batch(vec![
        ("ts", Arc::new(times.with_timezone("UTC"))),
        ("xs", Arc::new(lists)),
        ("m", Arc::new(maps.finish())),
        ("b", Arc::new(BinaryArray::from(bytes))),
        ("d", Arc::new(Date32Array::from(vec![0, -719_529, 2_932_897, 19_657, 19_658]))),
        (
            "p",
            Arc::new(
                Decimal128Array::from(vec![-105, 0, 5, 100_000, 1])
                    .with_precision_and_scale(9, 2)
                    .unwrap(),
            ),
        ),
        ("t", Arc::new(BooleanArray::from(vec![Some(true), Some(false), None, None, None]))),
        ("x", Arc::new(Float64Array::from(vec![1e7, 0.1, -0.0, f64::NAN, 1.0 / 3.0]))),
    ]);
    let cells = |column: usize| -> Vec<String> {
        let renderer = Renderer::new(rows.column(column)).unwrap();
        (0..rows.num_rows())
            .map(|row| {
                let mut out = String::new();
                renderer.write(row, &mut out);
                out
            })
            .collect()
    };
    assert_eq!(
        cells(0),
        [
            "2023-10-27 12:00:00",
            "2023-10-27 12:00:00.12",
            "1969-12-31 23:59:59.999999",
            "+10000-01-01 00:00:00",
            "NULL"
        ]
    );
    assert_eq!(cells(1), ["[1, NULL, 3]", "[]", "NULL", "[7]", "[NULL]"]);
    assert_eq!(cells(2), ["{a -> 1, b -> NULL}", "{}", "{}", "{}", "{}"]);
    assert_eq!(cells(3), ["[61 62]", "[]", "[FF 00]", "NULL", "NULL"]);
    assert_eq!(cells(4), ["1970-01-01", "-0001-12-31", "+10000-01-01", "2023-10-27", "2023-10-28"]);
    assert_eq!(cells(5), ["-1.05", "0.00", "0.05", "1000.00", "0.01"]);
    assert_eq!(cells(6), ["true", "false", "NULL", "NULL", "NULL"]);
    assert_eq!(cells(7), ["1.0E7", "0.1", "-0.0", "NaN", "0.3333333333333333"]);
}

#[test]
fn other_ways_to_hold_a_value_look_the_same() {
    let words: arrow::array::DictionaryArray<Int32Type> =
        vec![Some("x"), None].into_iter().collect();
    let zoned = TimestampSecondArray::from(vec![NOON / 1_000_000, 0]).with_timezone("+02:00");
    let inner = Fields::from(vec![Field::new("w", DataType::Utf8, true)]);
    let nested = StructArray::new(inner, vec![strings(&[None, Some("y")])], None);
    let item = Arc::new(Field::new("item", DataType::Utf8, true));
    let large = arrow::array::LargeListArray::new(
        item,
        OffsetBuffer::from_lengths([1, 1]),
        strings(&[Some("p"), Some("q")]),
        None,
    );
    let rows = batch(vec![
        ("w", Arc::new(words)),
        ("z", Arc::new(zoned)),
        ("s", Arc::new(nested)),
        ("l", Arc::new(large)),
    ]);
    assert_eq!(
        shown(&rows, &Show { truncate: 0, ..Show::default() }),
        "\
+----+-------------------+------+---+
|w   |z                  |s     |l  |
+----+-------------------+------+---+
|x   |2023-10-27 12:00:00|{NULL}|[p]|
|NULL|1970-01-01 00:00:00|{y}   |[q]|
+----+-------------------+------+---+
"
    );
}

#[test]
fn wide_characters_take_two_columns_and_control_characters_none() {
    let rows = batch(vec![
        ("word", strings(&[Some("日本語"), Some("a\tb\nc"), Some("ｶﾅ"), Some("ü")])),
        ("値", Arc::new(Int32Array::from(vec![1, 2, 3, 4]))),
    ]);
    assert_eq!(
        shown(&rows, &Show::default()),
        "\
+-------+---+
|   word| 値|
+-------+---+
| 日本語|  1|
|a\\tb\\nc|  2|
|     ｶﾅ|  3|
|      ü|  4|
+-------+---+
"
    );
    let short = batch(vec![("w", strings(&[Some("abcdef"), Some("🦀🦀🦀")]))]);
    let text = shown(&short, &Show { truncate: 3, ..Show::default() });
    assert_eq!(text, "+---+\n|  w|\n+---+\n|abc|\n|🦀?|\n+---+\n");
    let text = shown(&short, &Show { truncate: 5, ..Show::default() });
    assert_eq!(text, "+-----+\n|    w|\n+-----+\n|ab...|\n|🦀...|\n+-----+\n");
}

#[tokio::test]
async fn batches_are_numbered_over_restarts_and_epochs_without_rows_are_silent() {
    let area = Area::new();
    let text = Arc::new(Mutex::new(Vec::new()));
    let spec = || {
        let output = ConsoleOutput::Other(text.clone());
        crate::sink::TargetSpec::Console(ConsoleOptions { show: Show::default(), output })
    };
    let printed = || String::from_utf8(std::mem::take(&mut *text.lock().unwrap())).unwrap();
    let mut sink = area.open(spec(), OutputMode::Update, None).await.unwrap();
    sink.write(&batch_of(&[(1, "a")])).await.unwrap();
    sink.prepare(1).await.unwrap();
    let info = sink.commit(1).await.unwrap().unwrap();
    assert_eq!((info.rows, info.already_there), (1, false));
    let rule = "-------------------------------------------";
    let table = "+---+----+\n| id|name|\n+---+----+\n|  1|   a|\n+---+----+\n\n";
    assert_eq!(printed(), format!("{rule}\nBatch: 0\n{rule}\n{table}"));
    sink.prepare(2).await.unwrap();
    assert_eq!(sink.commit(2).await.unwrap(), None);
    assert_eq!(printed(), "");
    sink.write(&batch_of(&[(1, "a")])).await.unwrap();
    let staged = sink.prepare(3).await.unwrap();
    drop(sink);

    let mut sink = area.open(spec(), OutputMode::Update, Some(3)).await.unwrap();
    sink.recover(3, &staged, false).await.unwrap().unwrap();
    assert_eq!(printed(), format!("{rule}\nBatch: 1\n{rule}\n{table}"));
    drop(sink);
    let mut sink = area.open(spec(), OutputMode::Update, Some(3)).await.unwrap();
    assert_eq!(sink.recover(3, &staged, false).await.unwrap(), None);
    assert_eq!(printed(), "", "what was printed is not printed again");
}

#[tokio::test]
async fn complete_mode_prints_an_empty_table() {
    let area = Area::new();
    let text = Arc::new(Mutex::new(Vec::new()));
    let output = ConsoleOutput::Other(text.clone());
    let spec = crate::sink::TargetSpec::Console(ConsoleOptions { show: Show::default(), output });
    let mut sink = area.open(spec, OutputMode::Complete, None).await.unwrap();
    sink.prepare(1).await.unwrap();
    sink.commit(1).await.unwrap().unwrap();
    let text = String::from_utf8(text.lock().unwrap().clone()).unwrap();
    assert!(text.ends_with("\n+---+----+\n| id|name|\n+---+----+\n+---+----+\n\n"), "{text}");
}

#[tokio::test]
async fn a_closed_output_is_not_retried() {
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let area = Area::new();
    let output = ConsoleOutput::Other(Arc::new(Mutex::new(Closed)));
    let spec = crate::sink::TargetSpec::Console(ConsoleOptions { show: Show::default(), output });
    let mut sink = area.open(spec, OutputMode::Append, None).await.unwrap();
    sink.write(&batch_of(&[(1, "a")])).await.unwrap();
    sink.prepare(1).await.unwrap();
    let error = sink.commit(1).await.unwrap_err();
    assert!(!error.is_transient(), "{error}");
}

#[test]
fn no_column_is_no_reason_to_fail() {
    let empty = Schema::empty();
    assert_eq!(show(&empty, &[], &Show::default()).unwrap(), "++\n||\n++\n++\n");
}

#[tokio::test]
async fn a_table_that_is_cut_is_followed_by_no_empty_line() {
    let area = Area::new();
    let text = Arc::new(Mutex::new(Vec::new()));
    let output = ConsoleOutput::Other(text.clone());
    let show = Show { num_rows: 1, ..Show::default() };
    let spec = crate::sink::TargetSpec::Console(ConsoleOptions { show, output });
    let mut sink = area.open(spec, OutputMode::Append, None).await.unwrap();
    sink.write(&batch_of(&[(1, "a"), (2, "b")])).await.unwrap();
    sink.prepare(1).await.unwrap();
    sink.commit(1).await.unwrap().unwrap();
    let text = String::from_utf8(text.lock().unwrap().clone()).unwrap();
    assert!(text.ends_with("|  1|   a|\n+---+----+\nonly showing top 1 row\n"), "{text}");
}
