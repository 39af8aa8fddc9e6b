//! The decoder against a model that is slow and plain: `serde_json` takes the record apart, the
//! standard library and chrono read the values.

use std::fmt;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, TimestampMicrosecondType,
};
use chrono::NaiveDate;
use proptest::prelude::*;
use proptest::sample::Index;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::super::number::{Rounding, is_number, scaled};
use super::super::time::TimestampReader;
use super::*;

const SCHEMA: &str = "b BOOLEAN, i8 TINYINT, i16 SMALLINT, i32 INT NOT NULL, i64 BIGINT, \
     f32 FLOAT, f64 DOUBLE, d DECIMAL(12,3), s STRING, bin BINARY, day DATE, ts TIMESTAMP, \
     user STRUCT<id: BIGINT NOT NULL, name: STRING, tags: ARRAY<STRING>>, xs ARRAY<DOUBLE>, \
     m MAP<STRING, STRUCT<x: INT>>";

/// A value, whichever side it comes from.
#[derive(Debug, Clone, PartialEq)]
enum Cell {
    Null,
    Bool(bool),
    Int(i128),
    /// Bits, so that the comparison is exact.
    Float(u64),
    Bytes(Vec<u8>),
    List(Vec<Cell>),
    Map(Vec<(String, Cell)>),
}

/// An object's fields in their order, with those that come twice.
struct Pairs(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PairsVisitor;
        impl<'de> Visitor<'de> for PairsVisitor {
            type Value = Pairs;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(PairsVisitor)
    }
}

/// The row that a record must become, or None if it must be refused.
fn expected_row(record: &str, schema: &SchemaRef) -> Option<Vec<Cell>> {
    match serde_json::from_str::<serde_json::Value>(record) {
        Ok(_) => {}
        // Where it is not read, the size of a number does not matter to us.
        Err(error) if error.to_string().contains("number out of range") => {}
        Err(_) => return None,
    }
    expected_fields(record, schema.fields())
}

fn expected_fields(text: &str, fields: &[Arc<Field>]) -> Option<Vec<Cell>> {
    let Pairs(pairs) = serde_json::from_str(text).ok()?;
    let mut cells = vec![None; fields.len()];
    for (name, value) in pairs {
        if let Some(index) = fields.iter().position(|field| *field.name() == name) {
            cells[index] = Some(expected(value.get(), &fields[index])?);
        }
    }
    let finish = |(cell, field): (Option<Cell>, &Arc<Field>)| match cell {
        Some(cell) => Some(cell),
        None => field.is_nullable().then_some(Cell::Null),
    };
    cells.into_iter().zip(fields).map(finish).collect()
}

fn expected(text: &str, field: &Field) -> Option<Cell> {
    if text == "null" {
        return field.is_nullable().then_some(Cell::Null);
    }
    let string = || serde_json::from_str::<String>(text).ok();
    let integer = |least: i64, most: i64| {
        let value: i64 = text.parse().ok().filter(|v| (least..=most).contains(v))?;
        Some(Cell::Int(value.into()))
    };
    let number = |text: &str| text.starts_with(|c: char| c == '-' || c.is_ascii_digit());
    Some(match field.data_type() {
        DataType::Boolean => Cell::Bool(text.parse().ok()?),
        DataType::Int8 => integer(i8::MIN.into(), i8::MAX.into())?,
        DataType::Int16 => integer(i16::MIN.into(), i16::MAX.into())?,
        DataType::Int32 => integer(i32::MIN.into(), i32::MAX.into())?,
        DataType::Int64 => integer(i64::MIN, i64::MAX)?,
        DataType::Float32 if number(text) => {
            let value = text.parse::<f32>().ok().filter(|v| v.is_finite())?;
            Cell::Float(value.to_bits().into())
        }
        DataType::Float64 if number(text) => {
            Cell::Float(text.parse::<f64>().ok().filter(|v| v.is_finite())?.to_bits())
        }
        DataType::Decimal128(precision, scale) => {
            let text = if number(text) { text.to_owned() } else { string()? };
            is_number(text.as_bytes()).then_some(())?;
            let value = scaled(text.as_bytes(), (*scale).into(), Rounding::HalfUp)?;
            (value.abs() < 10i128.pow((*precision).into())).then_some(Cell::Int(value))?
        }
        DataType::Utf8 if text.starts_with('"') => Cell::Bytes(string()?.into_bytes()),
        DataType::Utf8 => Cell::Bytes(text.as_bytes().to_vec()),
        DataType::Binary => {
            let mut bytes = Vec::new();
            let quoted = serde_json::to_string(&string()?).ok()?;
            Cursor::new(quoted.as_bytes(), 1).base64_into(&mut bytes).ok()?;
            Cell::Bytes(bytes)
        }
        DataType::Date32 => {
            let text = string().filter(|text| text.len() == 10 && !text.starts_with("0000"))?;
            // chrono would take a sign before the year.
            text.bytes().all(|b| b.is_ascii_digit() || b == b'-').then_some(())?;
            let date = NaiveDate::parse_from_str(&text, "%Y-%m-%d").ok()?;
            (date.to_string() == text).then_some(())?;
            Cell::Int(date.signed_duration_since(NaiveDate::default()).num_days().into())
        }
        DataType::Timestamp(..) => {
            // With an escape in it, no fast path takes it.
            let text = string().filter(|text| !text.is_empty() && text.is_ascii())?;
            let escaped: String = text.bytes().map(|b| format!("\\u{b:04x}")).collect();
            let quoted = format!("\"{escaped}\"");
            let mut reader = TimestampReader::new(TimestampFormat::Auto, Tz::UTC);
            let micros = reader.read(&mut Cursor::new(quoted.as_bytes(), 1)).ok()?;
            Cell::Int(micros.into())
        }
        DataType::Struct(fields) => Cell::List(expected_fields(text, fields)?),
        DataType::List(element) => {
            let values: Vec<Box<RawValue>> = serde_json::from_str(text).ok()?;
            let cells = values.iter().map(|value| expected(value.get(), element));
            Cell::List(cells.collect::<Option<_>>()?)
        }
        DataType::Map(entries, _) => {
            let DataType::Struct(entry) = entries.data_type() else { return None };
            let Pairs(pairs) = serde_json::from_str(text).ok()?;
            let mut cells: Vec<(String, Cell)> = Vec::new();
            for (key, value) in pairs {
                let value = expected(value.get(), &entry[1])?;
                cells.retain(|(known, _)| *known != key);
                cells.push((key, value));
            }
            Cell::Map(cells)
        }
        _ => return None,
    })
}

/// The value in a row of an array.
fn cell(array: &dyn Array, row: usize) -> Cell {
    if array.is_null(row) {
        return Cell::Null;
    }
    let all = |array: &dyn Array| (0..array.len()).map(|row| cell(array, row)).collect();
    match array.data_type() {
        DataType::Boolean => Cell::Bool(array.as_boolean().value(row)),
        DataType::Int8 => Cell::Int(array.as_primitive::<Int8Type>().value(row).into()),
        DataType::Int16 => Cell::Int(array.as_primitive::<Int16Type>().value(row).into()),
        DataType::Int32 => Cell::Int(array.as_primitive::<Int32Type>().value(row).into()),
        DataType::Int64 => Cell::Int(array.as_primitive::<Int64Type>().value(row).into()),
        DataType::Float32 => {
            Cell::Float(array.as_primitive::<Float32Type>().value(row).to_bits().into())
        }
        DataType::Float64 => Cell::Float(array.as_primitive::<Float64Type>().value(row).to_bits()),
        DataType::Decimal128(..) => Cell::Int(array.as_primitive::<Decimal128Type>().value(row)),
        DataType::Utf8 => Cell::Bytes(array.as_string::<i32>().value(row).as_bytes().to_vec()),
        DataType::Binary => Cell::Bytes(array.as_binary::<i32>().value(row).to_vec()),
        DataType::Date32 => Cell::Int(array.as_primitive::<Date32Type>().value(row).into()),
        DataType::Timestamp(..) => {
            Cell::Int(array.as_primitive::<TimestampMicrosecondType>().value(row).into())
        }
        DataType::Struct(_) => {
            Cell::List(array.as_struct().columns().iter().map(|c| cell(c, row)).collect())
        }
        DataType::List(_) => Cell::List(all(&array.as_list::<i32>().value(row))),
        DataType::Map(..) => {
            let entries = array.as_map().value(row);
            let keys = entries.column(0).as_string::<i32>().iter().flatten().map(str::to_owned);
            let values: Vec<Cell> = all(entries.column(1));
            Cell::Map(keys.zip(values).collect())
        }
        other => panic!("the schema has no {other}"),
    }
}

fn rows(batch: &RecordBatch) -> Vec<Vec<Cell>> {
    let row = |row| batch.columns().iter().map(|column| cell(column, row)).collect();
    (0..batch.num_rows()).map(row).collect()
}

fn space() -> impl Strategy<Value = &'static str> {
    prop_oneof![12 => Just(""), 2 => Just(" "), 1 => Just("\n\t"), 1 => Just("  \r\n ")]
}

/// A JSON string for the text, some of its characters escaped.
fn quoted() -> impl Strategy<Value = String> {
    let character = prop_oneof![
        8 => "[a-zA-Z0-9 /._:-]".prop_map(|s| s),
        1 => Just("\\n".to_owned()),
        1 => Just("\\\"".to_owned()),
        1 => Just("\\\\".to_owned()),
        1 => Just("\\/".to_owned()),
        1 => Just("é€😀".to_owned()),
        1 => any::<char>().prop_map(|c| {
            c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04X}")).collect()
        }),
    ];
    prop::collection::vec(character, 0..24).prop_map(|text| format!("\"{}\"", text.concat()))
}

fn any_number() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<i8>().prop_map(|v| v.to_string()),
        any::<i64>().prop_map(|v| v.to_string()),
        "-?(0|[1-9][0-9]{0,25})(\\.[0-9]{1,25})?([eE][+-]?[0-9]{1,3})?",
        (0u32..1_000_000, 0usize..4).prop_map(|(v, n)| format!("{:.n$}", f64::from(v) / 100.0)),
    ]
}

fn any_time() -> impl Strategy<Value = String> {
    prop_oneof![
        "2026-0[1-9]-[0-3][0-9][T ][0-2][0-9]:[0-6][0-9]:[0-6][0-9](\\.[0-9]{1,9})?(Z|[+-]0[0-9]:00)?",
        "[0-9]{4}-[01][0-9]-[0-3][0-9]",
    ]
    .prop_map(|text| format!("\"{text}\""))
}

fn any_value() -> impl Strategy<Value = String> {
    let scalar = prop_oneof![
        quoted(),
        any_number(),
        any_time(),
        "(true|false|null)",
        "\"([A-Za-z0-9+/]{4}){0,4}([A-Za-z0-9+/][AQgw]==)?\"",
    ];
    scalar.prop_recursive(3, 24, 5, |inner| {
        let key = prop_oneof![quoted(), "\"(id|name|tags|x)\""];
        prop_oneof![
            (prop::collection::vec(inner.clone(), 0..5), space()).prop_map(
                |(values, space)| format!("[{space}{}]", values.join(&format!("{space},")))
            ),
            (prop::collection::vec((key, inner), 0..5), space()).prop_map(|(fields, space)| {
                let fields: Vec<_> =
                    fields.iter().map(|(k, v)| format!("{space}{k}{space}:{space}{v}")).collect();
                format!("{{{}{space}}}", fields.join(","))
            }),
        ]
    })
}

/// A field and a value that most often fits it.
fn any_field() -> impl Strategy<Value = (String, String)> {
    let of = |name: &'static str, value: BoxedStrategy<String>| {
        let value = prop_oneof![
            16 => value,
            1 => Just("null".to_owned()),
            1 => any_value(),
        ];
        let name = Just(format!("\"{name}\""));
        (name, value).boxed()
    };
    let number = |bits: u32| {
        let limit = 1i64 << (bits - 1);
        (-limit..limit).prop_map(|v| v.to_string()).boxed()
    };
    let user = (any::<i64>(), quoted(), prop::collection::vec(quoted(), 0..4)).prop_map(
        |(id, name, tags)| {
            format!("{{\"id\":{id}, \"name\":{name},\"tags\":[{}]}}", tags.join(", "))
        },
    );
    let map = prop::collection::vec(("\"[a-c]\"", any::<i32>()), 0..4).prop_map(|entries| {
        let entries: Vec<_> =
            entries.iter().map(|(key, x)| format!("{key}:{{\"x\":{x}}}")).collect();
        format!("{{{}}}", entries.join(","))
    });
    let xs = prop::collection::vec(any_number(), 0..5).prop_map(|xs| format!("[{}]", xs.join(",")));
    prop_oneof![
        of("b", "(true|false)".boxed()),
        of("i8", number(8)),
        of("i16", number(16)),
        of("i32", number(32)),
        of("i64", any::<i64>().prop_map(|v| v.to_string()).boxed()),
        of("f32", any_number().boxed()),
        of("f64", any_number().boxed()),
        of("d", "-?(0|[1-9][0-9]{0,8})(\\.[0-9]{1,6})?".boxed()),
        of("s", prop_oneof![4 => quoted(), 1 => any_value()].boxed()),
        of("bin", "\"([A-Za-z0-9+/]{4}){0,4}([A-Za-z0-9+/][AQgw]==)?\"".boxed()),
        of("day", "\"20[0-9]{2}-0[1-9]-[012][1-8]\"".boxed()),
        of("ts", any_time().boxed()),
        of("user", user.boxed()),
        of("xs", xs.boxed()),
        of("m", map.boxed()),
        (quoted(), any_value()), // unknown
    ]
}

fn record() -> impl Strategy<Value = String> {
    (prop::collection::vec(any_field(), 0..12), prop::option::weighted(0.9, any::<i32>()), space())
        .prop_map(|(mut fields, required, space)| {
            fields.extend(required.map(|v| ("\"i32\"".to_owned(), v.to_string())));
            let fields: Vec<_> =
                fields.iter().map(|(k, v)| format!("{space}{k}{space}:{space}{v}")).collect();
            format!("{space}{{{}{space}}}{space}", fields.join(&format!("{space},")))
        })
}

/// Something that happens to a record on its way.
fn mutate(record: &str, kind: u8, at: Index, byte: u8) -> Vec<u8> {
    let mut bytes = record.as_bytes().to_vec();
    let at = at.index(bytes.len());
    match kind {
        0 => bytes.truncate(at),
        1 => bytes[at] = byte,
        2 => bytes[at] ^= 1 << (byte % 8),
        3 => bytes.insert(at, byte),
        4 => drop(bytes.remove(at)),
        5 => bytes.extend_from_within(at..),
        _ => {}
    }
    bytes
}

fn whole(projection: Vec<usize>) -> JsonDecoder {
    JsonDecoder::new(parse_schema(SCHEMA).unwrap(), projection, JsonOptions::default()).unwrap()
}

/// Damages the records and holds the verdict on each, and the batch, against the model.
fn judged_alone(schema: &str, records: Vec<(String, u8, Index, u8)>) -> Result<(), TestCaseError> {
    let schema = parse_schema(schema).unwrap();
    let every = (0..schema.fields().len()).collect();
    let mut decoder = JsonDecoder::new(schema.clone(), every, JsonOptions::default()).unwrap();
    let mut wanted = Vec::new();
    for (record, kind, at, byte) in &records {
        let damaged = mutate(record, *kind, *at, *byte);
        match (std::str::from_utf8(&damaged), decoder.append(&damaged)) {
            (Ok(text), appended) => {
                let expected = expected_row(text, &schema);
                prop_assert_eq!(appended.is_ok(), expected.is_some(), "{}: {:?}", text, appended);
                wanted.extend(expected);
            }
            // The damage to UTF-8 may lie in what is not read: the rest must be valid.
            (Err(_), Ok(())) => {
                let text = String::from_utf8_lossy(&damaged);
                let expected = expected_row(&text, &schema);
                prop_assert!(expected.is_some(), "{}", text);
                wanted.extend(expected);
            }
            (Err(_), Err(error)) => prop_assert!(error.offset <= damaged.len()),
        }
        prop_assert_eq!(decoder.len(), wanted.len());
    }
    prop_assert_eq!(rows(&decoder.finish().unwrap()), wanted);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn records_become_the_rows_of_the_model(
        records in prop::collection::vec(record(), 1..12),
    ) {
        let schema = parse_schema(SCHEMA).unwrap();
        let mut decoder = whole((0..schema.fields().len()).collect());
        let mut wanted = Vec::new();
        for record in &records {
            let expected = expected_row(record, &schema);
            let appended = decoder.append(record.as_bytes());
            prop_assert_eq!(appended.is_ok(), expected.is_some(), "{}: {:?}", record, appended);
            wanted.extend(expected);
        }
        prop_assert_eq!(rows(&decoder.finish().unwrap()), wanted);
    }

    #[test]
    fn damaged_records_are_judged_alone(
        records in prop::collection::vec(
            (record(), 0u8..9, any::<Index>(), prop_oneof![any::<u8>(), 0x20u8..0x7f]), 1..12),
    ) {
        judged_alone(SCHEMA, records)?;
    }

    /// Here the guesses come true, up to the damage.
    #[test]
    fn damaged_web_logs_are_judged_alone(
        damages in prop::collection::vec(
            (0u8..9, any::<Index>(), prop_oneof![any::<u8>(), Just(b' '), 0x20u8..0x7f]), 1..40),
    ) {
        let damaged = |(i, (kind, at, byte))| (web_log(i), kind, at, byte);
        judged_alone(WEB_LOG, damages.into_iter().enumerate().map(damaged).collect())?;
    }

    #[test]
    fn a_projection_is_what_it_says(
        records in prop::collection::vec(record(), 1..8),
        projection in prop::sample::subsequence((0..15).collect::<Vec<usize>>(), 0..15),
    ) {
        let (mut every, mut some) = (whole((0..15).collect()), whole(projection.clone()));
        let mut good = 0;
        for record in &records {
            if every.append(record.as_bytes()).is_ok() {
                prop_assert_eq!(some.append(record.as_bytes()), Ok(()));
                good += 1;
            }
        }
        prop_assert_eq!(some.len(), good);
        let projected = every.finish().unwrap().project(&projection).unwrap();
        prop_assert_eq!(rows(&some.finish().unwrap()), rows(&projected));
    }

    #[test]
    fn bytes_never_panic(records in prop::collection::vec(
        prop_oneof![
            prop::collection::vec(any::<u8>(), 0..40),
            "[\\[\\]{}\",:\\\\0-9a-z. \\-]{0,40}".prop_map(String::into_bytes),
        ], 1..8))
    {
        let mut decoder = whole((0..15).collect());
        for record in &records {
            let _ = decoder.append(record);
        }
        let rows = decoder.len();
        prop_assert_eq!(decoder.finish().unwrap().num_rows(), rows);
    }
}
