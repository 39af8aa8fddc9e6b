//! The decoder of all formats: metadata columns, text and raw.

use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::util::display::array_value_to_string;

use super::*;
use crate::source::{Envelope, Record, RecordMeta, TimestampType};

const ALL: [(&str, MetadataColumn); 10] = [
    ("topic", MetadataColumn::Topic),
    ("partition", MetadataColumn::Partition),
    ("offset", MetadataColumn::Offset),
    ("at", MetadataColumn::Timestamp),
    ("at_type", MetadataColumn::TimestampType),
    ("key", MetadataColumn::Key),
    ("headers", MetadataColumn::Headers),
    ("file", MetadataColumn::File),
    ("line", MetadataColumn::Line),
    ("modified", MetadataColumn::Modified),
];

fn with_metadata(declared: &str) -> (arrow::datatypes::SchemaRef, Vec<MetadataColumn>) {
    let schema = parse_schema(declared).unwrap();
    let mut fields = schema.fields().to_vec();
    fields.extend(ALL.iter().map(|(name, what)| Arc::new(what.field(name))));
    let metadata = ALL.iter().map(|(_, what)| *what).collect();
    (Arc::new(arrow::datatypes::Schema::new(fields)), metadata)
}

fn record<'a>(payload: Option<&'a [u8]>, key: Option<&'a [u8]>) -> Record<'a> {
    let envelope = Envelope::Known {
        timestamp_us: Some(1_500_000),
        timestamp_type: TimestampType::CreateTime,
        headers: &[("trace", Some(b"x")), ("none", None)],
    };
    let meta =
        RecordMeta { topic: Some("logs"), partition: Some(3), envelope, ..Default::default() };
    Record { offset: 42, payload, key, meta }
}

fn cell(batch: &arrow::array::RecordBatch, name: &str, row: usize) -> Option<String> {
    let column = batch.column_by_name(name).unwrap();
    (!column.is_null(row)).then(|| array_value_to_string(column, row).unwrap())
}

#[test]
fn metadata_columns_come_from_the_record() {
    let (schema, metadata) = with_metadata("a INT NOT NULL, b STRING");
    let spec = FormatSpec::Json(JsonOptions::default());
    let all = (0..schema.fields().len()).rev().collect();
    let mut decoder = Decoder::new(schema, all, &spec, &metadata).unwrap();
    decoder.append(&record(Some(b"{\"a\":1,\"b\":\"x\"}"), Some(b"k"))).unwrap();
    let bad = decoder.append(&record(Some(b"{\"a\":null}"), Some(b"bad"))).unwrap_err();
    assert!(matches!(bad, AppendError::Bad(error) if error.code() == "null_not_allowed"));
    assert!(matches!(decoder.append(&record(None, None)), Err(AppendError::NoRow)));
    let meta = RecordMeta {
        file: Some("in.json"),
        line: Some(7),
        modified_us: Some(0),
        ..RecordMeta::default()
    };
    decoder.append(&Record { meta, ..Record::plain(1, b"{\"a\":2}") }).unwrap();
    assert_eq!(decoder.len(), 2);
    assert!(decoder.memory_bytes() > 0);
    let batch = decoder.finish().unwrap();
    assert_eq!(batch.schema(), decoder.output_schema());
    for (name, first, second) in [
        ("a", Some("1"), Some("2")),
        ("b", Some("x"), None),
        ("topic", Some("logs"), None),
        ("partition", Some("3"), None),
        ("offset", Some("42"), Some("1")),
        ("at", Some("1970-01-01T00:00:01.500Z"), None),
        ("at_type", Some("0"), Some("-1")),
        ("key", Some("6b"), None),
        ("headers", Some("[{key: trace, value: 78}, {key: none, value: }]"), Some("[]")),
        ("file", None, Some("in.json")),
        ("line", None, Some("7")),
        ("modified", None, Some("1970-01-01T00:00:00Z")),
    ] {
        assert_eq!(cell(&batch, name, 0).as_deref(), first, "{name}");
        assert_eq!(cell(&batch, name, 1).as_deref(), second, "{name}");
    }
    assert_eq!(decoder.finish().unwrap().num_rows(), 0);
}

#[test]
fn a_key_declared_as_string_has_to_be_utf_8() {
    let schema = parse_schema("a INT, key STRING").unwrap();
    let spec = FormatSpec::Json(JsonOptions::default());
    let mut decoder = Decoder::new(schema, vec![0, 1], &spec, &[MetadataColumn::Key]).unwrap();
    decoder.append(&record(Some(b"{}"), Some("é".as_bytes()))).unwrap();
    match decoder.append(&record(Some(b"{}"), Some(b"\xff"))).unwrap_err() {
        AppendError::Bad(error) => {
            assert_eq!((error.code(), error.column.as_deref()), ("invalid_utf8", Some("key")));
        }
        other => panic!("{other}"),
    }
    let batch = decoder.finish().unwrap();
    assert_eq!((batch.num_rows(), batch.column(1).as_string::<i32>().value(0)), (1, "é"));
}

#[test]
fn raw_is_what_sparks_kafka_source_gives() {
    let schema = raw_schema();
    let all = (0..schema.fields().len()).collect();
    let mut decoder = Decoder::new(schema, all, &FormatSpec::Raw, &[]).unwrap();
    assert!(decoder.takes_tombstones());
    decoder.append(&record(Some(b"\xff\x00"), Some(b"k"))).unwrap();
    decoder.append(&record(None, None)).unwrap();
    let batch = decoder.finish().unwrap();
    for (name, first, second) in [
        ("key", Some("6b"), None),
        ("value", Some("ff00"), None),
        ("topic", Some("logs"), Some("logs")),
        ("partition", Some("3"), Some("3")),
        ("offset", Some("42"), Some("42")),
        ("timestampType", Some("0"), Some("0")),
    ] {
        assert_eq!(cell(&batch, name, 0).as_deref(), first, "{name}");
        assert_eq!(cell(&batch, name, 1).as_deref(), second, "{name}");
    }
    let text = parse_schema("VALUE STRING, key STRING").unwrap();
    let mut decoder = Decoder::new(text, vec![0], &FormatSpec::Raw, &[]).unwrap();
    decoder.append(&record(Some(b"abc"), Some(b"\xff"))).unwrap();
    assert!(decoder.append(&record(Some(b"\xff"), None)).is_err());
    assert_eq!(cell(&decoder.finish().unwrap(), "VALUE", 0).as_deref(), Some("abc"));
    for declared in ["value INT", "nonsense STRING", "offset INT", "headers STRING", "line BIGINT"]
    {
        let schema = parse_schema(declared).unwrap();
        assert!(Decoder::new(schema, vec![0], &FormatSpec::Raw, &[]).is_err(), "{declared}");
    }
}

#[test]
fn text_is_one_string() {
    let mut decoder = Decoder::new(text_schema(), vec![0], &FormatSpec::Text, &[]).unwrap();
    assert!(!decoder.takes_tombstones());
    for text in ["", "a line", "日本\n"] {
        decoder.append(&Record::plain(0, text.as_bytes())).unwrap();
    }
    let bad = decoder.append(&Record::plain(0, b"abc\xff")).unwrap_err();
    assert!(matches!(&bad, AppendError::Bad(e) if e.code() == "invalid_utf8" && e.offset == 3));
    let batch = decoder.finish().unwrap();
    let values: Vec<_> = batch.column(0).as_string::<i32>().iter().flatten().collect();
    assert_eq!(values, ["", "a line", "日本\n"]);
    let mut none = Decoder::new(text_schema(), vec![], &FormatSpec::Text, &[]).unwrap();
    none.append(&Record::plain(0, b"x")).unwrap();
    assert_eq!(none.finish().unwrap().num_rows(), 1);
    let two = parse_schema("a STRING, b STRING").unwrap();
    assert!(Decoder::new(two, vec![0], &FormatSpec::Text, &[]).is_err());
}

#[test]
fn projections_are_checked() {
    let (schema, metadata) = with_metadata("a INT");
    let spec = FormatSpec::Json(JsonOptions::default());
    for projection in [vec![99], vec![2, 2]] {
        let made = Decoder::new(schema.clone(), projection, &spec, &metadata);
        assert!(matches!(made, Err(CodecError::Projection { .. })));
    }
    let wrong = parse_schema("a INT, topic INT").unwrap();
    let made = Decoder::new(wrong, vec![0], &spec, &[MetadataColumn::Topic]);
    assert!(matches!(made, Err(CodecError::Option { option: "metadata", .. })));
}
