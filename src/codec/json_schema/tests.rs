//! JSON with a schema: framing, validation, references.

use proptest::prelude::*;

use super::*;
use crate::codec::testing::{SchemaRegistry, code, registry_for, shown};
use crate::codec::{Decoder, FormatSpec, parse_schema};

const SCHEMA: &str = r#"{"$schema":"http://json-schema.org/draft-07/schema#","type":"object",
    "properties":{"id":{"type":"integer","minimum":1},"kind":{"$ref":"kind.json"},
    "tags":{"type":"array","items":{"type":"string","maxLength":3}}},
    "required":["id"],"additionalProperties":false}"#;
const KIND: &str = r##"{"$id":"kind.json","enum":["A","B"]}"##;

fn decoder(schema: JsonSchemaSource, validate: bool) -> Result<Decoder, CodecError> {
    let options = JsonSchemaOptions { schema, validate, json: JsonOptions::default() };
    let declared = parse_schema("id BIGINT NOT NULL, kind STRING, tags ARRAY<STRING>").unwrap();
    Decoder::new(declared, vec![0, 1, 2], &FormatSpec::JsonSchema(options), &[])
}

fn append(decoder: &mut Decoder, payload: &[u8]) -> Result<(), AppendError> {
    decoder.append(&Record::plain(0, payload))
}

fn frame(id: u32, document: &str) -> Vec<u8> {
    [&[0][..], &id.to_be_bytes(), document.as_bytes()].concat()
}

#[test]
fn records_keep_to_the_schema_that_they_name() {
    let server = SchemaRegistry::start();
    server.add("kind", "JSON", KIND, &[]);
    let strict = server.add("a", "JSON", SCHEMA, &[("kind.json", "kind", 1)]);
    let any = server.add("b", "JSON", "true", &[]);
    let avro = server.add("c", "AVRO", "\"int\"", &[]);
    let broken = server.add("d", "JSON", r#"{"type": 7}"#, &[]);
    let dangling = server.add("e", "JSON", r#"{"$ref": "elsewhere.json"}"#, &[]);
    let mut decoder = decoder(JsonSchemaSource::Registry(registry_for(&server)), true).unwrap();
    let good = frame(strict, r#"{"id": 1, "kind": "A", "tags": ["x"]}"#);
    append(&mut decoder, &good).unwrap();
    append(&mut decoder, &frame(any, r#" {"id": 0, "more": true} "#)).unwrap();
    for (payload, wanted, column) in [
        (frame(strict, r#"{"id": 0}"#), "schema_violation", Some("id")),
        (frame(strict, r#"{"id": 1, "kind": "C"}"#), "schema_violation", Some("kind")),
        (frame(strict, r#"{"id": 1, "tags": ["long one"]}"#), "schema_violation", Some("tags.0")),
        (frame(strict, r#"{"id": 1, "more": 2}"#), "schema_violation", None),
        (frame(strict, r#"{}"#), "schema_violation", None),
        (frame(strict, r#"{"id": 1"#), "truncated", None),
        (frame(strict, ""), "empty", None),
        (frame(strict, r#"{"id": 1} {}"#), "syntax", None),
        (frame(any, r#"{"id": "one"}"#), "type_mismatch", Some("id")),
        (frame(any, "7"), "not_an_object", None),
        (frame(avro, "{}"), "incompatible_schema", None),
        (frame(broken, "{}"), "incompatible_schema", None),
        (frame(dangling, "{}"), "incompatible_schema", None),
        (frame(4711, "{}"), "unknown_schema", None),
        (b"{\"id\": 1}".to_vec(), "framing", None),
    ] {
        let error = append(&mut decoder, &payload).unwrap_err();
        let payload = String::from_utf8_lossy(&payload).into_owned();
        assert_eq!(code(error), (wanted, column.map(str::to_owned)), "{payload}");
        append(&mut decoder, &good).unwrap();
    }
    let rows = shown(&decoder.finish().unwrap());
    assert_eq!(rows[1], ["0", "-", "-"]);
    assert_eq!(rows.iter().filter(|row| **row == ["1", "A", "[x]"]).count(), 16);
    // What is said of a violation does not show the value.
    let error =
        append(&mut decoder, &frame(strict, r#"{"id": 1, "tags": ["s3cret"]}"#)).unwrap_err();
    assert!(
        !error.to_string().contains("s3cret") && error.to_string().contains("/tags/0"),
        "{error}"
    );
    // A registry that is down is no verdict.
    let fresh = server.add("f", "JSON", "{}", &[]);
    server.fail_next(2);
    let error = append(&mut decoder, &frame(fresh, r#"{"id": 2}"#)).unwrap_err();
    assert!(matches!(error, AppendError::Registry(error) if error.is_transient()));
    append(&mut decoder, &frame(fresh, r#"{"id": 2}"#)).unwrap();
}

#[test]
fn without_validation_nobody_is_asked() {
    let server = SchemaRegistry::start();
    let mut decoder = decoder(JsonSchemaSource::Registry(registry_for(&server)), false).unwrap();
    append(&mut decoder, &frame(1, r#"{"id": 0, "x": 1}"#)).unwrap();
    let error = append(&mut decoder, &frame(1, r#"{"id": x}"#)).unwrap_err();
    match error {
        // Counted from the start of the payload.
        AppendError::Bad(error) => assert_eq!((error.code(), error.offset), ("syntax", 12)),
        other => panic!("{other}"),
    }
    assert_eq!(shown(&decoder.finish().unwrap()), [["0", "-", "-"]]);
    assert!(server.requests().is_empty());
}

#[test]
fn a_schema_file_serves_as_well() {
    let source = |text: &str, framed| JsonSchemaSource::Schema { text: text.into(), framed };
    let mut plain = decoder(source(r#"{"required": ["id"]}"#, false), true).unwrap();
    append(&mut plain, br#"{"id": 1}"#).unwrap();
    assert_eq!(code(append(&mut plain, b"{}").unwrap_err()).0, "schema_violation");
    let mut framed = decoder(source(r#"{"required": ["id"]}"#, true), true).unwrap();
    append(&mut framed, &frame(7, r#"{"id": 1}"#)).unwrap();
    assert_eq!(code(append(&mut framed, br#"{"id": 1}"#).unwrap_err()).0, "framing");
    for text in ["{", r#"{"type": 7}"#, r#"{"$ref": "http://127.0.0.1:9/schema.json"}"#] {
        let error = decoder(source(text, false), true).unwrap_err();
        assert!(matches!(error, CodecError::Schema { format: "JSON", .. }), "{error}");
    }
}

proptest! {
    #[test]
    fn random_bytes_break_nothing(noise in prop::collection::vec(any::<u8>(), 0..60), text in "[\\[\\]{}\":,0-9a-z ]{0,40}") {
        let schema = JsonSchemaSource::Schema { text: r#"{"type": "object"}"#.into(), framed: false };
        for validate in [true, false] {
            let mut decoder = decoder(schema.clone(), validate).unwrap();
            let mut rows = 0;
            for payload in [&noise[..], text.as_bytes(), br#"{"id": 5}"#] {
                rows += usize::from(append(&mut decoder, payload).is_ok());
                prop_assert_eq!(decoder.len(), rows);
            }
            let rows = shown(&decoder.finish().unwrap());
            prop_assert_eq!(rows.last().unwrap(), &["5", "-", "-"]);
        }
    }
}
