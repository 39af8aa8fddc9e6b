//! Protobuf: messages that `prost-reflect` writes, and those that nobody would.

use proptest::prelude::*;
use prost_reflect::prost::Message as _;
use prost_reflect::{DynamicMessage, MapKey, Value};

use super::*;
use crate::codec::testing::{SchemaRegistry, code, registry_for, shown};
use crate::codec::{Decoder, FormatSpec, parse_schema};

const PROTO: &str = r#"
syntax = "proto3";
package shop.v1;
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";

enum Status { UNKNOWN = 0; PAID = 1; SENT = 2; }

message Order {
  int64 id = 1;
  optional int32 priority = 2;
  string customer = 3;
  Status status = 4;
  google.protobuf.Timestamp at = 5;
  repeated Item items = 6;
  map<string, double> prices = 7;
  map<int32, string> names = 8;
  oneof payment { string card = 9; uint64 cash = 10; }
  bytes raw = 11;
  google.protobuf.Int64Value limit = 12;
  Address address = 13;
  uint32 small = 14;
  sint64 signed = 15;
  fixed32 fixed = 16;
  float ratio = 17;
  repeated Status history = 18;
  repeated sint32 numbers = 19;

  message Item { string name = 1; int32 count = 2; }
  message Address { string city = 1; optional string zip_code = 2; Address next = 3; }
}

message Other { string id = 1; }
"#;

const DECLARED: &str = "id BIGINT NOT NULL, priority INT, customer STRING, status STRING, \
     at TIMESTAMP, items ARRAY<STRUCT<name: STRING, count: SMALLINT>>, prices MAP<STRING, DOUBLE>, \
     names MAP<STRING, STRING>, card STRING, cash DECIMAL(20,0), raw BINARY, `limit` BIGINT, \
     address STRUCT<city: STRING, zipCode: STRING>, small INT, signed BIGINT, fixed BIGINT, \
     ratio DOUBLE, history ARRAY<STRING>, numbers ARRAY<INT>, missing STRING";

fn schema() -> ProtobufSchema {
    ProtobufSchema::compile(PROTO, &[]).unwrap()
}

fn decoder(declared: &str, message: &str) -> Result<Decoder, CodecError> {
    let schema = ProtobufSource::Schema { schema: Arc::new(schema()), framed: false };
    let options = ProtobufOptions { schema, message: Some(message.to_owned()) };
    let declared = parse_schema(declared).unwrap();
    let all = (0..declared.fields().len()).collect();
    Decoder::new(declared, all, &FormatSpec::Protobuf(options), &[])
}

fn append(decoder: &mut Decoder, payload: &[u8]) -> Result<(), AppendError> {
    decoder.append(&Record::plain(0, payload))
}

fn message(name: &str, fields: &[(&str, Value)]) -> DynamicMessage {
    let mut message = DynamicMessage::new(schema().message(name).unwrap());
    for (name, value) in fields {
        message.set_field_by_name(name, value.clone());
    }
    message
}

fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

fn full_order() -> Vec<u8> {
    let time = schema().message("google.protobuf.Timestamp").unwrap();
    let mut at = DynamicMessage::new(time);
    at.set_field_by_name("seconds", Value::I64(-1));
    at.set_field_by_name("nanos", Value::I32(999_999_999));
    let limit = schema().message("google.protobuf.Int64Value").unwrap();
    let mut limit = DynamicMessage::new(limit);
    limit.set_field_by_name("value", Value::I64(500));
    let item = |name: &str, count| {
        Value::Message(message("Item", &[("name", text(name)), ("count", Value::I32(count))]))
    };
    message(
        "shop.v1.Order",
        &[
            ("id", Value::I64(i64::MIN)),
            ("priority", Value::I32(0)),
            ("customer", text("é")),
            ("status", Value::EnumNumber(2)),
            ("at", Value::Message(at)),
            ("items", Value::List(vec![item("a", 1), item("", 0)])),
            ("prices", Value::Map([(MapKey::String("x".into()), Value::F64(0.5))].into())),
            (
                "names",
                Value::Map([(MapKey::I32(7), text("seven")), (MapKey::I32(-1), text("m"))].into()),
            ),
            ("cash", Value::U64(u64::MAX)),
            ("raw", Value::Bytes(vec![0xff, 0].into())),
            ("limit", Value::Message(limit)),
            ("address", Value::Message(message("Address", &[("city", text("Bonn"))]))),
            ("small", Value::U32(7)),
            ("signed", Value::I64(-3)),
            ("fixed", Value::U32(u32::MAX)),
            ("ratio", Value::F32(0.5)),
            ("history", Value::List(vec![Value::EnumNumber(1), Value::EnumNumber(0)])),
            ("numbers", Value::List(vec![Value::I32(-1), Value::I32(1)])),
        ],
    )
    .encode_to_vec()
}

#[test]
fn fields_of_each_type() {
    let mut decoder = decoder(DECLARED, "Order").unwrap();
    append(&mut decoder, &full_order()).unwrap();
    // Nothing is set: fields without presence have their defaults, the others are NULL.
    append(&mut decoder, &[]).unwrap();
    let rows = shown(&decoder.finish().unwrap());
    assert_eq!(
        rows[0],
        [
            "-9223372036854775808",
            "0",
            "é",
            "SENT",
            "1969-12-31T23:59:59.999999Z",
            "[{name: a, count: 1}, {name: , count: 0}]",
            "{x: 0.5}",
            "{-1: m, 7: seven}",
            "-",
            "18446744073709551615",
            "ff00",
            "500",
            "{city: Bonn, zipCode: }",
            "7",
            "-3",
            "4294967295",
            "0.5",
            "[PAID, UNKNOWN]",
            "[-1, 1]",
            "-"
        ]
    );
    assert_eq!(
        rows[1],
        [
            "0", "-", "", "UNKNOWN", "-", "[]", "{}", "{}", "-", "-", "", "-", "-", "0", "0", "0",
            "0.0", "[]", "[]", "-"
        ]
    );
}

#[test]
fn records_that_are_refused_and_leave_nothing_behind() {
    let declared =
        "id INT NOT NULL, priority INT NOT NULL, status STRING, fixed INT, customer STRING";
    let mut decoder = decoder(declared, "Order").unwrap();
    let order = |fields: &[(&str, Value)]| {
        let mut all = vec![("priority", Value::I32(1))];
        all.extend_from_slice(fields);
        message("shop.v1.Order", &all).encode_to_vec()
    };
    let good = order(&[("id", Value::I64(5))]);
    for (payload, wanted, column) in [
        (order(&[("id", Value::I64(1 << 40))]), "out_of_range", Some("id")),
        (order(&[("fixed", Value::U32(u32::MAX))]), "out_of_range", Some("fixed")),
        (order(&[("status", Value::EnumNumber(77))]), "unknown_symbol", Some("status")),
        (message("shop.v1.Order", &[]).encode_to_vec(), "null_not_allowed", Some("priority")),
        (vec![0x08], "malformed", None),
        (vec![0x1a, 0x01, 0xff], "malformed", None),
        (vec![0x1a, 0x7f], "malformed", None),
        (b"{\"id\": 1}".to_vec(), "malformed", None),
    ] {
        append(&mut decoder, &good).unwrap();
        let error = append(&mut decoder, &payload).unwrap_err();
        assert_eq!(code(error), (wanted, column.map(str::to_owned)), "{payload:?}");
        append(&mut decoder, &good).unwrap();
        let rows = shown(&decoder.finish().unwrap());
        assert_eq!(rows, [["5", "1", "UNKNOWN", "0", ""], ["5", "1", "UNKNOWN", "0", ""]]);
    }
}

#[test]
fn what_does_not_go_together_is_told_at_once() {
    for (declared, message, words) in [
        ("id STRING", "Order", "column \"id\": int64 cannot be read as STRING"),
        ("at STRING", "Order", "message google.protobuf.Timestamp cannot be read as STRING"),
        ("items ARRAY<STRING>", "Order", "message shop.v1.Order.Item cannot be read as STRING"),
        ("prices ARRAY<STRING>", "Order", "a map cannot be read as ARRAY"),
        ("items STRING", "Order", "a repeated field cannot be read as STRING"),
        ("ratio FLOAT, `limit` STRING", "Order", "cannot be read as STRING"),
        ("id BIGINT", "Orders", "no message \"Orders\" (there are: shop.v1.Order,"),
    ] {
        let error = decoder(declared, message).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    for (text, words) in
        [("nonsense", "found 'nonsense'"), ("syntax = \"proto3\"; import \"x.proto\";", "x.proto")]
    {
        let error = ProtobufSchema::compile(text, &[]).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    assert!(ProtobufSchema::from_descriptor_set(b"nonsense").is_err());
}

#[test]
fn a_descriptor_set_serves_as_well() {
    let set = {
        let mut compiler = protox::Compiler::with_file_resolver({
            let mut files = protox::file::ChainFileResolver::new();
            files.add(Fixed);
            files.add(protox::file::GoogleFileResolver::new());
            files
        });
        compiler.include_imports(true).open_file("order.proto").unwrap();
        compiler.encode_file_descriptor_set()
    };
    let schema = Arc::new(ProtobufSchema::from_descriptor_set(&set).unwrap());
    let schema = ProtobufSource::Schema { schema, framed: true };
    let options = ProtobufOptions { schema, message: Some("Other".to_owned()) };
    let spec = FormatSpec::Protobuf(options.clone());
    let declared = parse_schema("id STRING").unwrap();
    let mut decoder = Decoder::new(declared.clone(), vec![0], &spec, &[]).unwrap();
    let other = message("shop.v1.Other", &[("id", text("x"))]).encode_to_vec();
    append(&mut decoder, &[&[0, 0, 0, 0, 9, 2, 2][..], &other].concat()).unwrap();
    append(&mut decoder, &[&[0, 0, 0, 0, 9, 0][..], &other].concat()).unwrap();
    assert_eq!(shown(&decoder.finish().unwrap()), [["x"], ["x"]]);
    let spec = FormatSpec::Protobuf(ProtobufOptions { message: None, ..options });
    assert!(matches!(
        Decoder::new(declared, vec![0], &spec, &[]),
        Err(CodecError::Option { option: "message", .. })
    ));
}

struct Fixed;

impl protox::file::FileResolver for Fixed {
    fn open_file(&self, name: &str) -> Result<protox::file::File, protox::Error> {
        match name {
            "order.proto" => protox::file::File::from_source(name, PROTO),
            _ => Err(protox::Error::file_not_found(name)),
        }
    }
}

#[test]
fn messages_are_named_by_their_place_in_a_registered_file() {
    let server = SchemaRegistry::start();
    server.add(
        "common",
        "PROTOBUF",
        "syntax = \"proto3\"; package c; message Money { int64 cents = 1; }",
        &[],
    );
    let top = "syntax = \"proto3\"; import \"c/money.proto\"; \
        message A { string a = 1; } \
        message B { message C { string a = 1; c.Money price = 2; } message D { message E { string a = 1; } } }";
    let id = server.add("top", "PROTOBUF", top, &[("c/money.proto", "common", 1)]);
    let avro = server.add("avro", "AVRO", "\"int\"", &[]);
    let broken = server.add("broken", "PROTOBUF", "message", &[]);
    let declared = parse_schema("a STRING, price STRUCT<cents: BIGINT>").unwrap();
    let make = |message: Option<&str>| {
        let schema = ProtobufSource::Registry(registry_for(&server));
        let options = ProtobufOptions { schema, message: message.map(str::to_owned) };
        Decoder::new(declared.clone(), vec![0, 1], &FormatSpec::Protobuf(options), &[]).unwrap()
    };
    let frame = |id: u32, indexes: &[u8], body: &[u8]| {
        [&[0][..], &id.to_be_bytes(), indexes, body].concat()
    };
    let named_x = [0x0a, 1, b'x'];
    let with_price = [0x0a, 1, b'x', 0x12, 2, 0x08, 99];
    let mut decoder = make(None);
    for indexes in [&[0][..], &[2, 0], &[4, 2, 0], &[6, 2, 2, 0]] {
        append(&mut decoder, &frame(id, indexes, &named_x)).unwrap();
    }
    append(&mut decoder, &frame(id, &[4, 2, 0], &with_price)).unwrap();
    for (payload, wanted) in [
        (frame(id, &[2, 8], &named_x), "framing"),
        (frame(id, &[1], &named_x), "framing"),
        (frame(id, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff], &named_x), "framing"),
        (frame(id, &[0x7e], &[]), "truncated"),
        (frame(id, &[], &[]), "truncated"),
        (frame(id, &[0], &[0x0a, 9]), "malformed"),
        (frame(avro, &[0], &named_x), "incompatible_schema"),
        (frame(broken, &[0], &named_x), "incompatible_schema"),
        (frame(4711, &[0], &named_x), "unknown_schema"),
        (vec![1, 2, 3], "framing"),
    ] {
        let payload = if payload.len() == 5 { [&payload[..], &[0x80]].concat() } else { payload };
        assert_eq!(code(append(&mut decoder, &payload).unwrap_err()).0, wanted, "{payload:?}");
    }
    let rows = shown(&decoder.finish().unwrap());
    assert_eq!(rows[..4], [["x", "-"], ["x", "-"], ["x", "-"], ["x", "-"]]);
    assert_eq!(rows[4..], [["x", "{cents: 99}"]]);
    let mut only_c = make(Some("C"));
    append(&mut only_c, &frame(id, &[4, 2, 0], &named_x)).unwrap();
    let error = append(&mut only_c, &frame(id, &[0], &named_x)).unwrap_err();
    assert!(error.to_string().contains("it is message A, expected C"), "{error}");
    // The registry does not answer.
    let mut fresh = make(None);
    server.fail_next(2);
    let error = append(&mut fresh, &frame(id, &[0], &named_x)).unwrap_err();
    assert!(matches!(error, AppendError::Registry(error) if error.is_transient()));
    append(&mut fresh, &frame(id, &[0], &named_x)).unwrap();
}

proptest! {
    #[test]
    fn damage_to_one_record_is_its_own(
        noise in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..10),
        place in any::<prop::sample::Index>(),
        byte: u8,
    ) {
        let good = full_order();
        let mut decoder = decoder(DECLARED, "Order").unwrap();
        append(&mut decoder, &good).unwrap();
        let wanted = shown(&decoder.finish().unwrap()).remove(0);
        let mut broken = good.clone();
        broken[place.index(good.len())] = byte;
        let mut places = Vec::new();
        for payload in noise.iter().chain([&broken]) {
            places.push(decoder.len());
            append(&mut decoder, &good).unwrap();
            let before = decoder.len();
            let appended = append(&mut decoder, payload).is_ok();
            prop_assert_eq!(decoder.len(), before + usize::from(appended));
        }
        let rows = shown(&decoder.finish().unwrap());
        for place in places {
            prop_assert_eq!(&rows[place], &wanted);
        }
    }
}
