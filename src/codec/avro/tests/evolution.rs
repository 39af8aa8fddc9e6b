//! Writers' schemas by id, and what becomes of them.

use super::*;
use crate::codec::testing::{SchemaRegistry, registry_for};

const ONE: &str = r#"{"type":"record","name":"User","fields":[
    {"name":"id","type":"int"},{"name":"mail","type":"string"}]}"#;
const TWO: &str = r#"{"type":"record","name":"User","fields":[
    {"name":"email","type":["null","string"],"default":null},
    {"name":"id","type":"long"},
    {"name":"age","type":"int","default":0}]}"#;
const READER: &str = r#"{"type":"record","name":"User","fields":[
    {"name":"ID","type":"long"},
    {"name":"email","type":["null","string"],"default":null,"aliases":["mail"]},
    {"name":"age","type":"int","default":-1},
    {"name":"tags","type":{"type":"array","items":"string"},"default":["new"]},
    {"name":"joined","type":{"type":"int","logicalType":"date"},"default":1},
    {"name":"balance","type":{"type":"bytes","logicalType":"decimal","precision":5,"scale":2},"default":"\u0001\u0000"},
    {"name":"home","type":{"type":"record","name":"Home","fields":[
        {"name":"city","type":"string","default":"?"},{"name":"zip","type":["null","int"],"default":null}]},
        "default":{"city":"Bonn"}},
    {"name":"counts","type":{"type":"map","values":"long"},"default":{"a":1}}]}"#;
const DECLARED: &str = "id BIGINT NOT NULL, email STRING, age INT, tags ARRAY<STRING>, joined DATE, \
    balance DECIMAL(7,3), home STRUCT<city: STRING, zip: INT>, counts MAP<STRING, BIGINT>";

fn frame(id: u32, datum: &[u8]) -> Vec<u8> {
    [&[0][..], &id.to_be_bytes(), datum].concat()
}

fn with_registry(server: &SchemaRegistry, declared: &str, defaults: Option<&str>) -> Decoder {
    let defaults = defaults.map(|text| Arc::new(AvroSchema::parse(text).unwrap()));
    let writer = AvroWriter::Registry(registry_for(server));
    let spec = FormatSpec::Avro(AvroOptions { writer, defaults });
    let declared = parse_schema(declared).unwrap();
    let all = (0..declared.fields().len()).collect();
    Decoder::new(declared, all, &spec, &[]).unwrap()
}

#[test]
fn writers_of_several_schemas_share_a_batch() {
    let server = SchemaRegistry::start();
    let (one, two) = (server.add("u", "AVRO", ONE, &[]), server.add("u", "AVRO", TWO, &[]));
    let old = frame(one, &[long(1), bytes(b"old@x")].concat());
    let new = frame(two, &[long(1), bytes(b"new@x"), long(2), long(30)].concat());
    let mut plain = with_registry(&server, DECLARED, None);
    let mut with_defaults = with_registry(&server, DECLARED, Some(READER));
    for decoder in [&mut plain, &mut with_defaults] {
        for payload in [&old, &new, &old] {
            append(decoder, payload).unwrap();
        }
    }
    let none = ["-", "-", "-", "-", "-"];
    let rows = shown(&plain.finish().unwrap());
    assert_eq!(rows[0], [&["1", "-", "-"][..], &none].concat());
    assert_eq!(rows[1], [&["2", "new@x", "30"][..], &none].concat());
    let defaults = ["[new]", "1970-01-02", "2.560", "{city: Bonn, zip: }", "{a: 1}"];
    let rows = shown(&with_defaults.finish().unwrap());
    assert_eq!(rows[0], [&["1", "old@x", "-1"][..], &defaults].concat());
    assert_eq!(rows[1], [&["2", "new@x", "30"][..], &defaults].concat());
    assert_eq!(rows[2], rows[0]);
}

#[test]
fn bad_records_leave_nothing_behind() {
    let server = SchemaRegistry::start();
    let id = server.add("u", "AVRO", TWO, &[]);
    let strange = server.add(
        "s",
        "AVRO",
        r#"{"type":"record","name":"S","fields":[{"name":"id","type":"string"}]}"#,
        &[],
    );
    let json = server.add("j", "JSON", "{}", &[]);
    let broken = server.add("b", "AVRO", r#"{"type":"recor","name":"S"}"#, &[]);
    let mut decoder = with_registry(&server, "id BIGINT NOT NULL, email STRING, age INT", None);
    let datum = [long(1), bytes(b"mail"), long(2), long(30)].concat();
    let good = frame(id, &datum);
    let mut bad = vec![
        (frame(strange, &bytes(b"7")), "incompatible_schema"),
        (frame(json, b"{}"), "incompatible_schema"),
        (frame(broken, &datum), "incompatible_schema"),
        (frame(4711, &datum), "unknown_schema"),
        (b"{\"id\":7}".to_vec(), "framing"),
        (vec![], "empty"),
    ];
    bad.extend((1..5).map(|end| (good[..end].to_vec(), "truncated")));
    bad.extend((5..good.len()).map(|end| (good[..end].to_vec(), "truncated")));
    append(&mut decoder, &good).unwrap();
    for (payload, wanted) in &bad {
        assert_eq!(code(append(&mut decoder, payload).unwrap_err()).0, *wanted, "{payload:?}");
        append(&mut decoder, &good).unwrap();
    }
    let rows = shown(&decoder.finish().unwrap());
    assert_eq!(rows.len(), bad.len() + 1);
    assert!(rows.iter().all(|row| *row == ["2", "mail", "30"]));
    assert!(matches!(
        decoder.append(&Record { payload: None, ..Record::plain(0, b"") }),
        Err(AppendError::NoRow)
    ));
    let detail = append(&mut decoder, &frame(strange, b"")).unwrap_err().to_string();
    assert!(
        detail.contains("column \"id\"") && detail.contains("string cannot be read as BIGINT"),
        "{detail}"
    );
}

#[test]
fn a_registry_that_is_down_is_no_verdict() {
    let server = SchemaRegistry::start();
    let id = server.add("u", "AVRO", ONE, &[]);
    let mut decoder = with_registry(&server, "id BIGINT", None);
    let payload = frame(id, &[long(1), bytes(b"m")].concat());
    server.fail_next(2);
    match append(&mut decoder, &payload).unwrap_err() {
        AppendError::Registry(error) => assert!(error.is_transient()),
        other => panic!("{other}"),
    }
    assert_eq!(decoder.len(), 0);
    append(&mut decoder, &payload).unwrap();
    assert_eq!(shown(&decoder.finish().unwrap()), [["1"]]);
}

#[test]
fn schemas_may_refer_to_others() {
    let server = SchemaRegistry::start();
    server.add("kind", "AVRO", r#"{"type":"enum","name":"shared.Kind","symbols":["A","B"]}"#, &[]);
    let order =
        r#"{"type":"record","name":"shared.Order","fields":[{"name":"kind","type":"Kind"}]}"#;
    server.add("order", "AVRO", order, &[("shared.Kind", "kind", 1)]);
    let event = r#"{"type":"record","name":"Event","fields":[
        {"name":"order","type":"shared.Order"},{"name":"kind","type":"shared.Kind"}]}"#;
    let references = [("shared.Order", "order", 1), ("shared.Kind", "kind", 1)];
    let id = server.add("event", "AVRO", event, &references);
    let mut decoder = with_registry(&server, "order STRUCT<kind: STRING>, kind STRING", None);
    append(&mut decoder, &frame(id, &[long(1), long(0)].concat())).unwrap();
    assert_eq!(shown(&decoder.finish().unwrap()), [["{kind: B}", "A"]]);
}

#[test]
fn a_schema_file_may_stand_for_framed_records() {
    let schema = Arc::new(AvroSchema::parse(ONE).unwrap());
    let writer = AvroWriter::Schema { schema, framed: true };
    let spec = FormatSpec::Avro(AvroOptions { writer, defaults: None });
    let declared = parse_schema("id INT").unwrap();
    let mut decoder = Decoder::new(declared, vec![0], &spec, &[]).unwrap();
    append(&mut decoder, &frame(99, &[long(5), bytes(b"m")].concat())).unwrap();
    assert!(append(&mut decoder, &[long(5), bytes(b"m")].concat()).is_err());
    assert_eq!(shown(&decoder.finish().unwrap()), [["5"]]);
}
