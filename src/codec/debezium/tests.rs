//! Change events, as Debezium writes them.

use proptest::prelude::*;

use super::*;
use crate::codec::avro::{AvroSchema, AvroWriter};
use crate::codec::testing::{SchemaRegistry, code, registry_for, shown};
use crate::codec::{Decoder, FormatSpec, TimestampFormat, parse_schema};

const DECLARED: &str = "_op STRING, id INT NOT NULL, name STRING, _ts TIMESTAMP, paid DECIMAL(9,2), \
     day DATE, at TIMESTAMP, _source_ts TIMESTAMP";

fn decoder(format: DebeziumFormat, declared: &str) -> Result<Decoder, CodecError> {
    let declared = parse_schema(declared).unwrap();
    let all = (0..declared.fields().len()).collect();
    let spec = FormatSpec::Debezium(DebeziumOptions::new(format));
    Decoder::new(declared, all, &spec, &[])
}

fn json(decimals: DecimalFormat, timestamps: TimestampFormat) -> DebeziumFormat {
    DebeziumFormat::Json { json: JsonOptions { timestamps, ..JsonOptions::default() }, decimals }
}

fn append(decoder: &mut Decoder, payload: &[u8]) -> Result<(), AppendError> {
    decoder.append(&Record::plain(0, payload))
}

fn event(op: &str, before: &str, after: &str) -> String {
    format!(
        r#"{{"before":{before},"after":{after},"source":{{"version":"2.7","ts_ms":500,"lsn":7}},"op":"{op}","ts_ms":1500,"transaction":null}}"#
    )
}

const ROW: &str = r#"{"id":1,"name":"n","paid":1.5,"day":19782,"at":1000000,"unread":[1]}"#;

#[test]
fn each_kind_of_event_is_a_row() {
    let format = json(DecimalFormat::Text, TimestampFormat::EpochMicros);
    let mut decoder = decoder(format, DECLARED).unwrap();
    for (op, before, after) in [
        ("c", "null", ROW),
        ("r", "null", ROW),
        // What is wrong with the row that does not count does no harm.
        ("u", r#"{"id":null}"#, ROW),
        ("d", r#"{"id":2}"#, "null"),
    ] {
        append(&mut decoder, event(op, before, after).as_bytes()).unwrap();
    }
    // The order of the members is no matter, nor is what is missing or not known.
    append(&mut decoder, br#"{"op":"c","later":{},"after":{"id":3,"day":"2024-02-29"}}"#).unwrap();
    let batch = decoder.finish().unwrap();
    assert_eq!(batch.schema(), decoder.output_schema());
    let (ts, source) = ("1970-01-01T00:00:01.500Z", "1970-01-01T00:00:00.500Z");
    let row = |op| [op, "1", "n", ts, "1.50", "2024-02-29", "1970-01-01T00:00:01Z", source];
    assert_eq!(
        shown(&batch),
        [
            row("c"),
            row("r"),
            row("u"),
            ["d", "2", "-", ts, "-", "-", "-", source],
            ["c", "3", "-", "-", "-", "2024-02-29", "-", "-"],
        ]
    );
}

/// With `schemas.enable`: the types are in the envelope.
fn with_schema(row: &str) -> String {
    let field = |field: &str, data_type: &str, more: &str| {
        format!(r#"{{"type":"{data_type}","optional":true,"field":"{field}"{more}}}"#)
    };
    let fields = [
        field("id", "int32", ""),
        field(
            "paid",
            "bytes",
            r#","name":"org.apache.kafka.connect.data.Decimal","version":1,"parameters":{"scale":"3","connect.decimal.precision":"9"}"#,
        ),
        field("day", "int32", r#","name":"io.debezium.time.Date""#),
        field("at", "int64", r#","name":"io.debezium.time.NanoTimestamp""#),
    ];
    let row_schema = |name: &str| {
        format!(
            r#"{{"type":"struct","optional":true,"field":"{name}","fields":[{}]}}"#,
            fields.join(",")
        )
    };
    format!(
        r#"{{"schema":{{"type":"struct","fields":[{},{}],"optional":false}},"payload":{}}}"#,
        row_schema("before"),
        row_schema("after"),
        event("c", "null", row)
    )
}

#[test]
fn a_schema_in_the_envelope_says_how_values_are_written() {
    let format = json(DecimalFormat::Text, TimestampFormat::EpochMillis);
    let mut decoder = decoder(format, DECLARED).unwrap();
    // 12345 of scale 3, rounded to the two digits that are declared.
    let row = r#"{"id":1,"paid":"MDk=","day":-1,"at":1500000000}"#;
    append(&mut decoder, with_schema(row).as_bytes()).unwrap();
    // Without it the options count again.
    append(&mut decoder, event("c", "null", r#"{"id":2,"paid":"12.345","at":1500}"#).as_bytes())
        .unwrap();
    append(&mut decoder, with_schema(row).as_bytes()).unwrap();
    let bad = with_schema(r#"{"id":1,"paid":"12.345"}"#);
    let error = append(&mut decoder, bad.as_bytes()).unwrap_err();
    assert_eq!(code(error), ("invalid_base64", Some("paid".to_owned())));
    let rows = shown(&decoder.finish().unwrap());
    let columns = |row: &[String]| [1, 4, 5, 6].map(|column: usize| row[column].clone());
    let first = ["1", "12.35", "1969-12-31", "1970-01-01T00:00:01.500Z"];
    assert_eq!(columns(&rows[0]), first);
    assert_eq!(columns(&rows[1]), ["2", "12.35", "-", "1970-01-01T00:00:01.500Z"]);
    assert_eq!(columns(&rows[2]), first);
    // Base64 that only the options know of has the column's scale.
    let format = json(DecimalFormat::Base64, TimestampFormat::Auto);
    let mut decoder = self::decoder(format, "id INT, paid DECIMAL(9,2)").unwrap();
    append(&mut decoder, event("c", "null", r#"{"id":2,"paid":"MDk="}"#).as_bytes()).unwrap();
    assert_eq!(shown(&decoder.finish().unwrap()), [["2", "123.45"]]);
}

#[test]
fn what_is_no_row() {
    let format = json(DecimalFormat::Text, TimestampFormat::Auto);
    let mut decoder = decoder(format, "id INT NOT NULL, _op STRING").unwrap();
    for payload in [&br#"{"schema":null,"payload":null}"#[..], br#"{"payload": null}"#] {
        assert!(matches!(append(&mut decoder, payload), Err(AppendError::NoRow)));
    }
    let tombstone = Record { payload: None, ..Record::plain(0, b"") };
    assert!(matches!(decoder.append(&tombstone), Err(AppendError::NoRow)));
    let good = event("c", "null", r#"{"id":1}"#);
    for (payload, wanted, column) in [
        (event("t", "null", "null"), "unsupported_operation", None),
        (event("m", "null", "null"), "unsupported_operation", None),
        (event("x", "null", ROW), "malformed", None),
        (event("c", ROW, "null"), "malformed", None),
        (event("d", "null", ROW), "malformed", None),
        (event("c", "null", "7"), "not_an_object", None),
        (event("c", "null", r#"{"id":"one"}"#), "type_mismatch", Some("id")),
        (event("c", "null", "{}"), "missing_field", Some("id")),
        (r#"{"id":1}"#.to_owned(), "malformed", None),
        ("[]".to_owned(), "not_an_object", None),
        (String::new(), "empty", None),
        (good[..good.len() - 1].to_owned(), "truncated", None),
        (format!("{good}{good}"), "trailing_data", None),
        (format!(r#"{{"payload":{good}"#), "truncated", None),
    ] {
        append(&mut decoder, good.as_bytes()).unwrap();
        let error = append(&mut decoder, payload.as_bytes()).unwrap_err();
        assert_eq!(code(error), (wanted, column.map(str::to_owned)), "{payload}");
        append(&mut decoder, good.as_bytes()).unwrap();
        assert_eq!(shown(&decoder.finish().unwrap()), [["1", "c"], ["1", "c"]], "{payload}");
    }
    // Where it is wrong is counted from the start of the payload.
    let payload = event("c", "null", r#"{"id":x}"#);
    match append(&mut decoder, payload.as_bytes()).unwrap_err() {
        AppendError::Bad(error) => assert_eq!(Some(error.offset), payload.find('x')),
        other => panic!("{other}"),
    }
    for declared in ["_op INT", "id INT, _ts BIGINT"] {
        let made = self::decoder(json(DecimalFormat::Text, TimestampFormat::Auto), declared);
        assert!(matches!(made, Err(CodecError::UnsupportedType { .. })));
    }
}

#[test]
fn only_what_is_projected_is_read() {
    let declared = parse_schema(DECLARED).unwrap();
    let format = json(DecimalFormat::Text, TimestampFormat::Auto);
    let spec = FormatSpec::Debezium(DebeziumOptions::new(format));
    let mut decoder = Decoder::new(declared, vec![2, 0, 1], &spec, &[]).unwrap();
    append(&mut decoder, event("u", "null", ROW).as_bytes()).unwrap();
    assert_eq!(shown(&decoder.finish().unwrap()), [["n", "u", "1"]]);
}

const ENVELOPE: &str = r#"{"type":"record","name":"Envelope","namespace":"db.orders","fields":[
    {"name":"before","type":["null",{"type":"record","name":"Value","fields":[
        {"name":"id","type":"int"},
        {"name":"name","type":["null","string"],"default":null},
        {"name":"paid","type":["null",{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}],"default":null},
        {"name":"day","type":["null",{"type":"int","connect.name":"io.debezium.time.Date"}],"default":null},
        {"name":"at","type":["null",{"type":"long","connect.name":"io.debezium.time.MicroTimestamp"}],"default":null}
    ]}],"default":null},
    {"name":"after","type":["null","Value"],"default":null},
    {"name":"source","type":{"type":"record","name":"Source","fields":[
        {"name":"version","type":"string"},{"name":"ts_ms","type":"long"},{"name":"snapshot","type":["null","string"]}]}},
    {"name":"op","type":"string"},
    {"name":"ts_ms","type":["null","long"],"default":null},
    {"name":"transaction","type":["null","string"],"default":null}]}"#;

fn long(value: i64) -> Vec<u8> {
    assert!((-64..64).contains(&value), "one byte is enough here");
    vec![((value << 1) ^ (value >> 63)) as u8]
}

fn text(text: &str) -> Vec<u8> {
    [long(text.len() as i64), text.as_bytes().to_vec()].concat()
}

fn avro_row(id: i64) -> Vec<u8> {
    let paid = [long(1), long(2), vec![0, 125]].concat();
    [long(1), long(id), long(1), text("n"), paid, long(1), long(3), long(1), long(5)].concat()
}

fn avro_event(op: &str, before: &[u8], after: &[u8]) -> Vec<u8> {
    let source = [text("2.7"), long(10), long(0)].concat();
    [before, after, &source, &text(op), &long(1), &long(20), &long(0)].concat()
}

#[test]
fn envelopes_in_avro() {
    let server = SchemaRegistry::start();
    let id = server.add("orders-value", "AVRO", ENVELOPE, &[]);
    let other = server.add("other", "AVRO", r#"{"type":"record","name":"R","fields":[]}"#, &[]);
    let frame = |id: u32, datum: &[u8]| [&[0][..], &id.to_be_bytes(), datum].concat();
    let writer = AvroWriter::Registry(registry_for(&server));
    let avro = AvroOptions { writer, defaults: None };
    let mut decoder = decoder(DebeziumFormat::Avro(avro), DECLARED).unwrap();
    let null = long(0);
    let good = frame(id, &avro_event("c", &null, &avro_row(1)));
    append(&mut decoder, &good).unwrap();
    append(&mut decoder, &frame(id, &avro_event("u", &avro_row(1), &avro_row(2)))).unwrap();
    append(&mut decoder, &frame(id, &avro_event("d", &avro_row(3), &null))).unwrap();
    let mut bad = vec![
        (frame(id, &avro_event("t", &null, &null)), "unsupported_operation"),
        (frame(id, &avro_event("c", &null, &null)), "malformed"),
        (frame(id, &avro_event("?", &null, &avro_row(1))), "malformed"),
        (frame(id, &[&good[5..], &[0]].concat()), "trailing_data"),
        (frame(other, &good[5..]), "incompatible_schema"),
        (frame(99, &good[5..]), "unknown_schema"),
    ];
    bad.extend((0..good.len()).map(|end| (good[..end].to_vec(), "")));
    for (payload, wanted) in bad {
        let code = code(append(&mut decoder, &payload).unwrap_err()).0;
        assert!(wanted.is_empty() || code == wanted, "{code}, expected {wanted}");
    }
    append(&mut decoder, &good).unwrap();
    let (ts, source) = ("1970-01-01T00:00:00.020Z", "1970-01-01T00:00:00.010Z");
    let row =
        |op, id| [op, id, "n", ts, "1.25", "1970-01-04", "1970-01-01T00:00:00.000005Z", source];
    assert_eq!(
        shown(&decoder.finish().unwrap()),
        [row("c", "1"), row("u", "2"), row("d", "3"), row("c", "1")]
    );
    let schema = Arc::new(AvroSchema::parse(r#""string""#).unwrap());
    let avro = AvroOptions { writer: AvroWriter::Schema { schema, framed: false }, defaults: None };
    let error = self::decoder(DebeziumFormat::Avro(avro), DECLARED).unwrap_err();
    assert!(error.to_string().contains("not a Debezium envelope"), "{error}");
}

proptest! {
    #[test]
    fn random_bytes_break_nothing(
        noise in prop::collection::vec(any::<u8>(), 0..60),
        text in "[\\[\\]{}\":,0-9a-z ]{0,40}",
        place in any::<prop::sample::Index>(),
        byte: u8,
    ) {
        let good = with_schema(ROW.replace("1.5", "\"MDk=\"").as_str());
        let mut broken = good.clone().into_bytes();
        broken[place.index(good.len())] = byte;
        let mut decoder = decoder(json(DecimalFormat::Text, TimestampFormat::Auto), DECLARED).unwrap();
        append(&mut decoder, good.as_bytes()).unwrap();
        let mut rows = 1;
        for payload in [&noise[..], text.as_bytes(), &broken, good.as_bytes()] {
            rows += usize::from(append(&mut decoder, payload).is_ok());
            prop_assert_eq!(decoder.len(), rows);
        }
        let shown = shown(&decoder.finish().unwrap());
        prop_assert_eq!(&shown[0], &shown[rows - 1]);
        let schema = Arc::new(AvroSchema::parse(ENVELOPE).unwrap());
        let avro = AvroOptions { writer: AvroWriter::Schema { schema, framed: false }, defaults: None };
        let mut decoder = self::decoder(DebeziumFormat::Avro(avro), DECLARED).unwrap();
        let appended = append(&mut decoder, &noise).is_ok();
        prop_assert_eq!(decoder.finish().unwrap().num_rows(), usize::from(appended));
    }
}
