//! Avro: types and resolution one by one here, evolution with a registry in `evolution.rs`, against
//! `arrow-avro` and random bytes in `model.rs`.

mod evolution;
mod model;

use super::*;
use crate::codec::testing::{code, shown};
use crate::codec::{Decoder, FormatSpec, parse_schema};

pub fn decoder(schema: &str, declared: &str) -> Result<Decoder, CodecError> {
    let writer = AvroWriter::Schema { schema: Arc::new(AvroSchema::parse(schema)?), framed: false };
    let spec = FormatSpec::Avro(AvroOptions { writer, defaults: None });
    let declared = parse_schema(declared).unwrap();
    let all = (0..declared.fields().len()).collect();
    Decoder::new(declared, all, &spec, &[])
}

pub fn append(decoder: &mut Decoder, datum: &[u8]) -> Result<(), AppendError> {
    decoder.append(&Record::plain(0, datum))
}

/// A record schema with one field `c`.
pub fn field(data_type: &str) -> String {
    format!(r#"{{"type":"record","name":"R","fields":[{{"name":"c","type":{data_type}}}]}}"#)
}

pub fn long(value: i64) -> Vec<u8> {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    let mut bytes = Vec::new();
    while rest >= 0x80 {
        bytes.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
    bytes
}

pub fn bytes(value: &[u8]) -> Vec<u8> {
    [long(value.len() as i64), value.to_vec()].concat()
}

/// What column `c` shows for a datum.
fn read(data_type: &str, declared: &str, datum: &[u8]) -> Result<String, String> {
    let mut decoder =
        decoder(&field(data_type), &format!("c {declared}")).map_err(|error| error.to_string())?;
    append(&mut decoder, datum).map_err(|error| match code(error) {
        (code, Some(column)) => format!("{code} {column}"),
        (code, None) => code.to_owned(),
    })?;
    Ok(shown(&decoder.finish().unwrap()).remove(0).remove(0))
}

const DECIMAL: &str = r#"{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}"#;
const UUID: &str = r#"{"type":"fixed","name":"U","size":16,"logicalType":"uuid"}"#;
const ENUM: &str = r#"{"type":"enum","name":"E","symbols":["RED","GREEN"]}"#;

fn timestamp(unit: &str) -> String {
    format!(r#"{{"type":"long","logicalType":"timestamp-{unit}"}}"#)
}

#[test]
fn values_of_each_type() {
    let (millis, micros, nanos) = (timestamp("millis"), timestamp("micros"), timestamp("nanos"));
    let point = r#"{"type":"record","name":"P","fields":[{"name":"x","type":"int"},
        {"name":"skipped","type":{"type":"array","items":"string"}},{"name":"y","type":"string"}]}"#;
    let skipped = [long(1), bytes(b"abc"), long(0)].concat();
    for (data_type, declared, datum, wanted) in [
        ("\"boolean\"", "BOOLEAN", vec![1], "true"),
        ("\"int\"", "INT", long(-7), "-7"),
        ("\"int\"", "TINYINT", long(127), "127"),
        ("\"long\"", "BIGINT", long(i64::MIN), "-9223372036854775808"),
        ("\"long\"", "SMALLINT", long(-32768), "-32768"),
        ("\"int\"", "FLOAT", long(3), "3.0"),
        ("\"long\"", "DOUBLE", long(1 << 40), "1099511627776.0"),
        ("\"long\"", "DECIMAL(10,2)", long(-5), "-5.00"),
        ("\"float\"", "FLOAT", 1.5f32.to_le_bytes().to_vec(), "1.5"),
        ("\"float\"", "DOUBLE", 1.5f32.to_le_bytes().to_vec(), "1.5"),
        ("\"double\"", "DOUBLE", f64::NAN.to_le_bytes().to_vec(), "NaN"),
        ("\"string\"", "STRING", bytes("é".as_bytes()), "é"),
        ("\"string\"", "BINARY", bytes(b"a"), "61"),
        ("\"bytes\"", "STRING", bytes(b"a"), "a"),
        ("\"bytes\"", "BINARY", bytes(&[0xff, 0]), "ff00"),
        (DECIMAL, "DECIMAL(9,2)", bytes(&[0xff, 0x85]), "-1.23"),
        (DECIMAL, "DECIMAL(9,1)", bytes(&[0, 0x7d]), "1.3"),
        (DECIMAL, "DECIMAL(38,4)", bytes(&[]), "0.0000"),
        (DECIMAL, "BINARY", bytes(&[5]), "05"),
        (r#"{"type":"fixed","name":"F","size":3}"#, "BINARY", vec![1, 2, 3], "010203"),
        (
            r#"{"type":"fixed","name":"D","size":2,"logicalType":"decimal","precision":4,"scale":3}"#,
            "DECIMAL(4,3)",
            vec![0x04, 0xd2],
            "1.234",
        ),
        (UUID, "STRING", (0..16).collect::<Vec<u8>>(), "00010203-0405-0607-0809-0a0b0c0d0e0f"),
        (r#"{"type":"string","logicalType":"uuid"}"#, "STRING", bytes(b"u"), "u"),
        (ENUM, "STRING", long(1), "GREEN"),
        (r#"{"type":"int","logicalType":"date"}"#, "DATE", long(-1), "1969-12-31"),
        (r#"{"type":"int","logicalType":"date"}"#, "INT", long(-1), "-1"),
        ("\"string\"", "DATE", bytes(b"2024-02-29"), "2024-02-29"),
        (&millis, "TIMESTAMP", long(1500), "1970-01-01T00:00:01.500Z"),
        (&micros, "TIMESTAMP", long(-1), "1969-12-31T23:59:59.999999Z"),
        (&nanos, "TIMESTAMP", long(-1), "1969-12-31T23:59:59.999999Z"),
        (&millis, "BIGINT", long(1500), "1500"),
        (
            r#"{"type":"long","connect.name":"io.debezium.time.MicroTimestamp"}"#,
            "TIMESTAMP",
            long(1),
            "1970-01-01T00:00:00.000001Z",
        ),
        (r#"{"type":"int","connect.name":"io.debezium.time.Date"}"#, "DATE", long(1), "1970-01-02"),
        ("\"string\"", "TIMESTAMP", bytes(b"2024-02-29T01:00:00+01:00"), "2024-02-29T00:00:00Z"),
        // A logical type that does not go with its type counts for nothing.
        (r#"{"type":"string","logicalType":"date"}"#, "STRING", bytes(b"x"), "x"),
        (
            r#"{"type":"array","items":["null","int"]}"#,
            "ARRAY<INT>",
            // A block with its size, and one without.
            [long(-2), long(3), long(0), long(1), long(5), long(1), long(1), long(6), long(0)]
                .concat(),
            "[, 5, 6]",
        ),
        (r#"{"type":"array","items":"int"}"#, "ARRAY<INT>", long(0), "[]"),
        (
            r#"{"type":"map","values":"long"}"#,
            "MAP<STRING, BIGINT>",
            [long(3), bytes(b"a"), long(1), bytes(b"b"), long(2), bytes(b"a"), long(3), long(0)]
                .concat(),
            "{b: 2, a: 3}",
        ),
        (
            point,
            "STRUCT<y: STRING, x: BIGINT, z: INT>",
            [long(4), skipped.clone(), bytes(b"why")].concat(),
            "{y: why, x: 4, z: }",
        ),
        (r#"["null","int"]"#, "INT", long(0), "-"),
        (r#"["null","int"]"#, "INT", [long(1), long(9)].concat(), "9"),
        (r#"["int","null"]"#, "INT", [long(0), long(9)].concat(), "9"),
        (r#"["int","long","float"]"#, "DOUBLE", [long(1), long(9)].concat(), "9.0"),
        (r#"["null","int","string"]"#, "INT", [long(1), long(9)].concat(), "9"),
        (
            r#"["null","int","string"]"#,
            "STRUCT<member0: INT, member1: STRING>",
            [long(2), bytes(b"s")].concat(),
            "{member0: , member1: s}",
        ),
        (r#"["null","int","string"]"#, "STRUCT<member0: INT, member1: STRING>", long(0), "-"),
        ("\"null\"", "INT", vec![], "-"),
    ] {
        let got = read(data_type, declared, &datum);
        assert_eq!(got.as_deref(), Ok(wanted), "{data_type} as {declared}");
    }
}

#[test]
fn data_that_are_refused() {
    for (data_type, declared, datum, wanted) in [
        ("\"boolean\"", "BOOLEAN", vec![2], "malformed c"),
        ("\"int\"", "INT", vec![], "truncated c"),
        ("\"int\"", "INT", vec![0x80], "truncated c"),
        ("\"long\"", "TINYINT", long(128), "out_of_range c"),
        ("\"long\"", "BIGINT", vec![0xff; 10], "malformed c"),
        ("\"double\"", "DOUBLE", vec![0; 7], "truncated c"),
        ("\"string\"", "STRING", bytes(&[0xff]), "invalid_utf8 c"),
        ("\"string\"", "STRING", long(-1), "malformed c"),
        ("\"string\"", "STRING", long(i64::MAX), "truncated c"),
        ("\"string\"", "DATE", bytes(b"yesterday"), "invalid_time c"),
        ("\"string\"", "TIMESTAMP", bytes(b"1"), "invalid_time c"),
        (DECIMAL, "DECIMAL(4,2)", bytes(&[0x7f, 0xff]), "out_of_range c"),
        (DECIMAL, "DECIMAL(38,2)", bytes(&[0x7f; 17]), "out_of_range c"),
        (ENUM, "STRING", long(2), "malformed c"),
        (ENUM, "STRING", long(-1), "malformed c"),
        (r#"["null","int"]"#, "INT", long(2), "malformed c"),
        (r#"["null","int"]"#, "INT NOT NULL", long(0), "null_not_allowed c"),
        (
            r#"["null","int","string"]"#,
            "INT",
            [long(2), bytes(b"s")].concat(),
            "incompatible_schema c",
        ),
        ("\"int\"", "INT", [long(1), vec![0]].concat(), "trailing_data"),
        (&timestamp("millis"), "TIMESTAMP", long(i64::MAX), "invalid_time c"),
        (
            r#"{"type":"int","logicalType":"date"}"#,
            "DATE",
            long(i64::from(i32::MAX)),
            "invalid_time c",
        ),
        (r#"{"type":"array","items":"int"}"#, "ARRAY<INT>", long(1), "truncated c.element"),
        // Nothing is read for each of these items.
        (r#"{"type":"array","items":"null"}"#, "ARRAY<INT>", long(1 << 40), "malformed c"),
        (
            r#"{"type":"map","values":"int"}"#,
            "MAP<STRING, INT>",
            [long(1), bytes(&[0xff]), long(1), long(0)].concat(),
            "invalid_utf8 c",
        ),
        (
            r#"{"type":"record","name":"P","fields":[]}"#,
            "STRUCT<x: INT NOT NULL>",
            vec![],
            "missing_field c.x",
        ),
    ] {
        let got = read(data_type, declared, &datum);
        assert_eq!(got, Err(wanted.to_owned()), "{data_type} as {declared}");
    }
}

#[test]
fn types_that_do_not_go_together_are_told_at_once() {
    for (data_type, declared, words) in [
        ("\"string\"", "INT", "string cannot be read as INT"),
        ("\"double\"", "FLOAT", "double cannot be read as FLOAT"),
        ("\"long\"", "TIMESTAMP", "long cannot be read as TIMESTAMP"),
        ("\"int\"", "DATE", "int cannot be read as DATE"),
        ("\"bytes\"", "DECIMAL(5,2)", "bytes cannot be read as DECIMAL(5,2)"),
        (ENUM, "INT", "enum E cannot be read as INT"),
        (r#"{"type":"array","items":"string"}"#, "ARRAY<INT>", "string cannot be read as INT"),
        (r#"["null","string"]"#, "BOOLEAN", "string cannot be read as BOOLEAN"),
        (r#"["boolean","string"]"#, "INT", "a union of boolean, string cannot be read as INT"),
        (r#"{"type":"map","values":"int"}"#, "STRUCT<a: INT>", "a map cannot be read as STRUCT"),
    ] {
        let error = decoder(&field(data_type), &format!("c {declared}")).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
        assert!(error.contains("column \"c"), "{error}");
    }
}

#[test]
fn texts_that_are_no_schema() {
    for (text, words) in [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("7", "expected a type"),
        ("{}", "without \"type\""),
        ("\"nothing\"", "unknown type \"nothing\""),
        (r#"{"type":"array"}"#, "without \"items\""),
        (r#"{"type":"record","name":"R"}"#, "no fields"),
        (r#"{"type":"record","fields":[]}"#, "without a name"),
        (r#"{"type":"fixed","name":"F","size":-1}"#, "no valid size"),
        (r#"{"type":"enum","name":"E","symbols":[]}"#, "no symbols"),
        (r#"["int",["string"]]"#, "a union directly within a union"),
        (
            r#"[{"type":"fixed","name":"F","size":1},{"type":"fixed","name":"F","size":1}]"#,
            "defined twice",
        ),
    ] {
        let error = AvroSchema::parse(text).unwrap_err().to_string();
        assert!(error.contains(words), "{text}: {error}");
    }
    let deep =
        format!("{}\"int\"{}", "{\"type\":\"array\",\"items\":".repeat(100), "}".repeat(100));
    assert!(AvroSchema::parse(&deep).unwrap_err().to_string().contains("nested"));
}

#[test]
fn names_and_namespaces() {
    let schema = r#"{"type":"record","name":"Outer","namespace":"a.b","fields":[
        {"name":"one","type":{"type":"enum","name":"Kind","symbols":["X"]}},
        {"name":"two","type":"Kind"},
        {"name":"three","type":"a.b.Kind"},
        {"name":"four","type":{"type":"record","name":"c.Inner","fields":[
            {"name":"kind","type":"a.b.Kind"},
            {"name":"own","type":{"type":"fixed","name":"Two","size":2}}]}},
        {"name":"five","type":"c.Two"},
        {"name":"next","type":["null","Outer"]}]}"#;
    let declared = "one STRING, two STRING, three STRING, \
        four STRUCT<kind: STRING, own: BINARY>, five BINARY";
    let mut decoder = decoder(schema, declared).unwrap();
    let fields = [long(0), long(0), long(0), long(0), vec![1, 2], vec![3, 4]].concat();
    // A list of three through the field that is not read.
    let datum = [&fields[..], &long(1), &fields, &long(1), &fields, &long(0)].concat();
    append(&mut decoder, &datum).unwrap();
    let rows = shown(&decoder.finish().unwrap());
    assert_eq!(rows, [["X", "X", "X", "{kind: X, own: 0102}", "0304"]]);
    // One that does not end is not followed for ever.
    let endless: Vec<u8> = [&fields[..], &long(1)].concat().repeat(5000);
    let error = append(&mut decoder, &endless).unwrap_err();
    assert_eq!(code(error).0, "too_deep");
}

#[test]
fn a_schema_that_is_no_record_fills_the_only_column() {
    let mut decoder = decoder("\"string\"", "value STRING").unwrap();
    append(&mut decoder, &bytes(b"plain")).unwrap();
    assert_eq!(shown(&decoder.finish().unwrap()), [["plain"]]);
    let error = super::tests::decoder("\"string\"", "a STRING, b STRING").unwrap_err();
    assert!(error.to_string().contains("it is no record"), "{error}");
}
