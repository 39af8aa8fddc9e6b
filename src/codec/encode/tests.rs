//! What is written, and that it reads back.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, Date32Array, Decimal128Array, Float64Array, Int64Array, StringArray,
    StringViewArray, TimestampMicrosecondArray, TimestampNanosecondArray, UInt64Array,
};
use proptest::prelude::*;

use super::*;
use crate::codec::csv::Dialect;
use crate::codec::registry::RegistryError;
use crate::codec::testing::{SchemaRegistry, batches, declared, registry_for};
use crate::codec::{
    AvroOptions, AvroSchema, AvroWriter, CsvOptions, Decoder, FormatSpec, JsonOptions, parse_schema,
};
use crate::source::Record;

fn encode(batch: &RecordBatch, spec: &EncodingSpec) -> Vec<String> {
    let rows = Encoder::new(batch.schema_ref(), spec).unwrap().encode(batch).unwrap();
    rows.iter().map(|row| String::from_utf8(row.to_vec()).unwrap()).collect()
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, array)| (name, array, true)),
    )
    .unwrap()
}

fn decode(spec: &FormatSpec, batch: &RecordBatch, rows: &EncodedRows) -> RecordBatch {
    let all = (0..batch.num_columns()).collect();
    let mut decoder = Decoder::new(batch.schema(), all, spec, &[]).unwrap();
    for row in rows.iter() {
        decoder.append(&Record::plain(0, row)).unwrap();
    }
    decoder.finish().unwrap()
}

fn simple() -> RecordBatch {
    batch(vec![
        ("s", Arc::new(StringArray::from(vec![Some("a \"q\" \\ \n\u{1}é"), Some(""), None]))),
        ("n", Arc::new(Int64Array::from(vec![Some(-1), None, Some(7)]))),
        ("d", Arc::new(Float64Array::from(vec![Some(1.0), Some(1e300), Some(f64::NAN)]))),
        (
            "m",
            Arc::new(
                Decimal128Array::from(vec![Some(-5), Some(12345), None])
                    .with_precision_and_scale(9, 2)
                    .unwrap(),
            ),
        ),
        (
            "t",
            Arc::new(
                TimestampMicrosecondArray::from(vec![Some(1_500_000), Some(-1), Some(0)])
                    .with_timezone("UTC"),
            ),
        ),
        ("day", Arc::new(Date32Array::from(vec![Some(0), None, Some(19_782)]))),
    ])
}

#[test]
fn json_is_what_spark_writes() {
    assert_eq!(
        encode(&simple(), &EncodingSpec::Json(JsonEncoding::default())),
        [
            r#"{"s":"a \"q\" \\ \n\u0001é","n":-1,"d":1.0,"m":-0.05,"t":"1970-01-01T00:00:01.500Z","day":"1970-01-01"}"#,
            r#"{"s":"","d":1e300,"m":123.45,"t":"1969-12-31T23:59:59.999999Z"}"#,
            r#"{"n":7,"d":"NaN","t":"1970-01-01T00:00:00.000Z","day":"2024-02-29"}"#,
        ]
    );
    let nulls = encode(&simple(), &EncodingSpec::Json(JsonEncoding { nulls: true }));
    assert_eq!(
        nulls[2],
        r#"{"s":null,"n":7,"d":"NaN","m":null,"t":"1970-01-01T00:00:00.000Z","day":"2024-02-29"}"#
    );
    let bytes = batch(vec![("b\"", Arc::new(BinaryArray::from(vec![&b"foob"[..]])))]);
    let rows = encode(&bytes, &EncodingSpec::Json(JsonEncoding::default()));
    assert_eq!(rows, [r#"{"b\"":"Zm9vYg=="}"#]);
}

#[test]
fn csv_quotes_what_has_to_be() {
    let spec = EncodingSpec::Csv(CsvEncoding::default());
    assert_eq!(
        encode(&simple(), &spec),
        [
            "\"a \\\"q\\\" \\\\ \n\u{1}é\",-1,1.0,-0.05,1970-01-01T00:00:01.500Z,1970-01-01",
            "\"\",,1e300,123.45,1969-12-31T23:59:59.999999Z,",
            ",7,NaN,,1970-01-01T00:00:00.000Z,2024-02-29",
        ]
    );
    let encoder = Encoder::new(simple().schema_ref(), &spec).unwrap();
    assert_eq!(encoder.header().as_deref(), Some(&b"s,n,d,m,t,day"[..]));
    let one = batch(vec![("a,b", Arc::new(Int64Array::from(vec![None, Some(1)])))]);
    let dialect = Dialect { delimiter: b',', quote: Some(b'"'), escape: None };
    let spec = EncodingSpec::Csv(CsvEncoding { dialect, ..CsvEncoding::default() });
    assert_eq!(encode(&one, &spec), ["\"\"", "1"]);
    let encoder = Encoder::new(one.schema_ref(), &spec).unwrap();
    assert_eq!(encoder.header().as_deref(), Some(&b"\"a,b\""[..]));
    let lists = parse_schema("a ARRAY<INT>").unwrap();
    assert!(Encoder::new(&lists, &spec).is_err());
}

#[test]
fn types_of_queries_are_cast() {
    let batch = batch(vec![
        ("u", Arc::new(UInt64Array::from(vec![u64::MAX]))),
        ("v", Arc::new(StringViewArray::from(vec!["a string longer than a view holds"]))),
        ("t", Arc::new(TimestampNanosecondArray::from(vec![1_000_000_000]))),
    ]);
    assert_eq!(
        encode(&batch, &EncodingSpec::Json(JsonEncoding::default())),
        [
            r#"{"u":18446744073709551615,"v":"a string longer than a view holds","t":"1970-01-01T00:00:01.000Z"}"#
        ]
    );
    let interval = arrow::datatypes::IntervalUnit::MonthDayNano;
    let schema = Schema::new(vec![Field::new("i", DataType::Interval(interval), true)]);
    let made = Encoder::new(&Arc::new(schema), &EncodingSpec::Json(JsonEncoding::default()));
    assert!(matches!(made, Err(CodecError::UnwritableType { column, .. }) if column == "i"));
}

#[test]
fn avro_is_registered_once() {
    let server = SchemaRegistry::start();
    let registry = registry_for(&server);
    let spec = EncodingSpec::Avro(AvroEncoding {
        registry: Some((Arc::clone(&registry), "totals-value".to_owned())),
        name: "com.example.Totals".to_owned(),
    });
    let batch = simple();
    let mut encoder = Encoder::new(batch.schema_ref(), &spec).unwrap();
    let rows = encoder.encode(&batch).unwrap();
    assert_eq!(rows.len(), 3);
    let id = registry.latest("totals-value").unwrap().id.unwrap();
    assert!(rows.iter().all(|row| row[..5] == [&[0][..], &id.to_be_bytes()].concat()));
    assert_eq!(Encoder::new(batch.schema_ref(), &spec).unwrap().encode(&batch).unwrap(), rows);
    let posts = server.requests().iter().filter(|line| line.starts_with("POST")).count();
    assert_eq!(posts, 1);
    let writer = AvroWriter::Registry(registry);
    let spec = FormatSpec::Avro(AvroOptions { writer, defaults: None });
    // NaN is not equal to itself.
    let got = decode(&spec, &batch, &rows);
    assert_eq!(got.slice(0, 2), batch.slice(0, 2));
    assert_eq!(got.num_rows(), 3);
}

#[test]
fn a_registry_may_refuse_or_be_down() {
    let server = SchemaRegistry::start();
    let registry = registry_for(&server);
    let spec = |name: &str| {
        EncodingSpec::Avro(AvroEncoding {
            registry: Some((Arc::clone(&registry), "s".to_owned())),
            name: name.to_owned(),
        })
    };
    let schema = parse_schema("a INT NOT NULL").unwrap();
    Encoder::new(&schema, &spec("R")).unwrap();
    let other = parse_schema("b INT NOT NULL").unwrap();
    match Encoder::new(&other, &spec("R")) {
        Err(error @ CodecError::Registry(RegistryError::Refused { status: 409, .. })) => {
            assert!(!error.is_transient());
        }
        other => panic!("{other:?}"),
    }
    server.fail_next(2);
    assert!(Encoder::new(&other, &spec("R2")).unwrap_err().is_transient());
    for (schema, name) in [("a INT", "not a name"), ("`count(1)` BIGINT", "R")] {
        let schema = parse_schema(schema).unwrap();
        let error = Encoder::new(&schema, &spec(name)).unwrap_err().to_string();
        assert!(error.contains("Avro") && error.contains("allow"), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn json_reads_back(batch in batches(), nulls: bool) {
        let spec = EncodingSpec::Json(JsonEncoding { nulls });
        let rows = Encoder::new(&declared(), &spec).unwrap().encode(&batch).unwrap();
        for row in rows.iter() {
            prop_assert!(serde_json::from_slice::<serde_json::Value>(row).is_ok());
        }
        let got = decode(&FormatSpec::Json(JsonOptions::default()), &batch, &rows);
        prop_assert_eq!(got, batch);
    }

    #[test]
    fn csv_reads_back(batch in batches(), rfc: bool) {
        let flat: Vec<usize> = (0..12).filter(|column| *column != 9).collect();
        let batch = batch.project(&flat).unwrap();
        let escape = if rfc { None } else { Some(b'\\') };
        let dialect = Dialect { delimiter: b',', quote: Some(b'"'), escape };
        let spec = EncodingSpec::Csv(CsvEncoding { dialect, ..CsvEncoding::default() });
        let rows = Encoder::new(batch.schema_ref(), &spec).unwrap().encode(&batch).unwrap();
        let got = decode(&FormatSpec::Csv(CsvOptions { escape, ..CsvOptions::default() }), &batch, &rows);
        prop_assert_eq!(got, batch);
    }

    #[test]
    fn avro_reads_back(batch in batches()) {
        let spec = EncodingSpec::Avro(AvroEncoding { registry: None, name: "R".to_owned() });
        let rows = Encoder::new(&declared(), &spec).unwrap().encode(&batch).unwrap();
        let schema = AvroSchema::parse(&avro_schema(&declared(), "R").unwrap()).unwrap();
        let writer = AvroWriter::Schema { schema: Arc::new(schema), framed: false };
        let got = decode(&FormatSpec::Avro(AvroOptions { writer, defaults: None }), &batch, &rows);
        prop_assert_eq!(got, batch);
    }
}
