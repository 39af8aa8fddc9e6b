use arrow::array::{
    BinaryArray, DictionaryArray, Int32Array, Int64Array, LargeListBuilder, LargeStringArray,
    MapBuilder, StringArray, StringBuilder, TimestampMillisecondArray, UInt64Array,
};
use arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};

use super::*;

fn schema(fields: Vec<Field>) -> SchemaRef {
    Arc::new(Schema::new(fields))
}

fn apply(wanted: &SchemaRef, columns: Vec<(&str, ArrayRef)>) -> Result<RecordBatch, String> {
    let batch = RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, array)| (name, array, true)),
    )
    .unwrap();
    let conform =
        Conform::new(wanted, &batch.schema(), &[]).map_err(|problems| problems.join("; "))?;
    let read = batch.project(conform.roots()).unwrap();
    conform.apply(&read)
}

fn one(name: &str, wanted: DataType, array: ArrayRef) -> Result<ArrayRef, String> {
    let wanted = schema(vec![Field::new(name, wanted, true)]);
    apply(&wanted, vec![(name, array)]).map(|batch| batch.column(0).clone())
}

fn utc() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

#[test]
fn values_go_into_wider_types() {
    let ints: ArrayRef = Arc::new(Int32Array::from(vec![1, -2]));
    for to in [DataType::Int64, DataType::Float64, DataType::Decimal128(12, 2), DataType::Int16] {
        assert_eq!(one("a", to.clone(), ints.clone()).unwrap().data_type(), &to);
    }
    let millis: ArrayRef = Arc::new(TimestampMillisecondArray::from(vec![1_500]));
    let micros = one("a", utc(), millis).unwrap();
    assert_eq!(micros.as_primitive::<TimestampMicrosecondType>().value(0), 1_500_000);
    let dictionary: DictionaryArray<Int32Type> = vec!["x", "y", "x"].into_iter().collect();
    let text = one("a", DataType::Utf8, Arc::new(dictionary)).unwrap();
    assert_eq!(text.as_string::<i32>().value(2), "x");
    let bytes: ArrayRef = Arc::new(BinaryArray::from(vec![&b"text"[..]]));
    assert_eq!(one("a", DataType::Utf8, bytes).unwrap().as_string::<i32>().value(0), "text");
}

#[test]
fn values_that_could_be_lost_are_refused_by_their_type() {
    let refused: Vec<(ArrayRef, DataType)> = vec![
        (Arc::new(Int64Array::from(vec![1])), DataType::Int32),
        (Arc::new(Int64Array::from(vec![1])), DataType::Float64),
        (Arc::new(StringArray::from(vec!["1"])), DataType::Int64),
        (Arc::new(Int32Array::from(vec![1])), DataType::Utf8),
        (Arc::new(Int32Array::from(vec![1])), DataType::Decimal128(11, 2)),
        (Arc::new(Int64Array::from(vec![1])), utc()),
    ];
    for (array, to) in refused {
        let error = one("amount", to, array).unwrap_err();
        assert!(error.contains("`amount`") && error.contains("not read as"), "{error}");
    }
}

#[test]
fn values_that_do_not_fit_are_errors_when_they_are_met() {
    let large: ArrayRef = Arc::new(Int32Array::from(vec![1, 40_000]));
    assert!(one("a", DataType::Int16, large).unwrap_err().contains("`a`"));
    let larger: ArrayRef = Arc::new(UInt64Array::from(vec![u64::MAX]));
    assert!(one("a", DataType::Int64, larger).is_err());
    let no_text: ArrayRef = Arc::new(BinaryArray::from(vec![&b"\xff\xfe"[..]]));
    assert!(one("a", DataType::Utf8, no_text).is_err());
}

#[test]
fn names_differ_in_case_unless_two_do() {
    let wanted = schema(vec![Field::new("Id", DataType::Int64, true)]);
    let column = || Arc::new(Int64Array::from(vec![1])) as ArrayRef;
    let batch = apply(&wanted, vec![("ID", column())]).unwrap();
    assert_eq!(batch.schema().field(0).name(), "Id");
    let error = apply(&wanted, vec![("ID", column()), ("id", column())]).unwrap_err();
    assert!(error.contains("`ID`") && error.contains("`id`"), "{error}");
    assert!(apply(&wanted, vec![("ID", column()), ("Id", column())]).is_ok());
}

#[test]
fn not_null_is_kept() {
    let wanted = schema(vec![Field::new("a", DataType::Int64, false)]);
    let with_null: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None]));
    assert!(apply(&wanted, vec![("a", with_null)]).unwrap_err().contains("NULL"));
    let other: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    assert!(apply(&wanted, vec![("b", other)]).unwrap_err().contains("NOT NULL"));
}

#[test]
fn structs_lists_and_maps_are_converted_inside() {
    let inner = Fields::from(vec![
        Field::new("b", DataType::Int64, true),
        Field::new("missing", DataType::Utf8, true),
    ]);
    let there: ArrayRef = Arc::new(StructArray::from(vec![
        (
            Arc::new(Field::new("extra", DataType::Int32, true)),
            Arc::new(Int32Array::from(vec![9])) as ArrayRef,
        ),
        (Arc::new(Field::new("B", DataType::Int32, true)), Arc::new(Int32Array::from(vec![5]))),
    ]));
    let read = one("s", DataType::Struct(inner), there).unwrap();
    assert_eq!(read.as_struct().column(0).as_primitive::<Int64Type>().value(0), 5);
    assert!(read.as_struct().column(1).is_null(0));

    let mut list = LargeListBuilder::new(StringBuilder::new());
    list.append_value([Some("x"), None]);
    list.append_null();
    let item = Arc::new(Field::new("element", DataType::Utf8, true));
    let read = one("l", DataType::List(item), Arc::new(list.finish())).unwrap();
    assert_eq!((read.len(), read.null_count()), (2, 1));
    assert_eq!(read.as_list::<i32>().value(0).as_string::<i32>().value(0), "x");

    let mut map = MapBuilder::new(None, StringBuilder::new(), arrow::array::Int32Builder::new());
    map.keys().append_value("k");
    map.values().append_value(3);
    map.append(true).unwrap();
    let entries = Field::new(
        "entries",
        DataType::Struct(Fields::from(vec![
            Field::new("key", DataType::Utf8, false),
            Field::new("value", DataType::Int64, true),
        ])),
        false,
    );
    let read = one("m", DataType::Map(Arc::new(entries), false), Arc::new(map.finish())).unwrap();
    assert_eq!(read.as_map().values().as_primitive::<Int64Type>().value(0), 3);
}

#[test]
fn constants_fill_their_columns() {
    let wanted = schema(vec![
        Field::new("day", DataType::Utf8, true),
        Field::new("a", DataType::Utf8, true),
    ]);
    let batch = RecordBatch::try_from_iter([(
        "a",
        Arc::new(LargeStringArray::from(vec!["x", "y"])) as ArrayRef,
    )])
    .unwrap();
    let constants = [("day".to_owned(), ScalarValue::Utf8(Some("mon".into())))];
    let conform = Conform::new(&wanted, &batch.schema(), &constants).unwrap();
    let read = conform.apply(&batch).unwrap();
    assert_eq!(read.column(0).as_string::<i32>().value(1), "mon");
    assert_eq!(read.column(1).as_string::<i32>().value(1), "y");
}
