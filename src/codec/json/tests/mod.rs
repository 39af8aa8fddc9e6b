//! The decoder as a whole: its rules one by one here, against `serde_json` in `model.rs`.

mod model;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Float64Type, Int32Type, Int64Type};

use super::*;
use crate::codec::parse_schema;

fn decoder_with(schema: &str, options: JsonOptions) -> JsonDecoder {
    let schema = parse_schema(schema).unwrap();
    let all = (0..schema.fields().len()).collect();
    JsonDecoder::new(schema, all, options).unwrap()
}

fn decoder(schema: &str) -> JsonDecoder {
    decoder_with(schema, JsonOptions::default())
}

/// The code of the error that a record of one column `c` gives.
fn code(data_type: &str, value: &str) -> Option<&'static str> {
    let mut decoder = decoder(&format!("c {data_type}"));
    decoder.append(format!("{{\"c\":{value}}}").as_bytes()).err().map(|error| error.code())
}

/// The text that Arrow shows for a value.
fn shown(data_type: &str, value: &str) -> String {
    let mut decoder = decoder(&format!("c {data_type}"));
    decoder.append(format!("{{\"c\":{value}}}").as_bytes()).unwrap();
    let batch = decoder.finish().unwrap();
    let column = batch.column(0);
    if column.is_null(0) {
        return "null".to_owned();
    }
    arrow::util::display::array_value_to_string(column, 0).unwrap()
}

const WEB_LOG: &str = "timestamp TIMESTAMP NOT NULL, ip STRING, method STRING, endpoint STRING, \
     status_code INT, response_time_ms DOUBLE, bytes BIGINT, user_agent STRING";

fn web_log(i: usize) -> String {
    format!(
        r#"{{"timestamp":"2026-01-01T22:40:{:02}.{:03}Z","ip":"10.0.0.{}","method":"GET","endpoint":"/api/v1/orders","status_code":{},"response_time_ms":{}.5,"bytes":{},"user_agent":"Mozilla/5.0 (X11; Linux x86_64)"}}"#,
        i % 60,
        i % 1000,
        i % 256,
        200 + i % 300,
        i,
        i * 7
    )
}

#[test]
fn decodes_web_logs() {
    let mut decoder = decoder(WEB_LOG);
    for i in 0..1000 {
        decoder.append(web_log(i).as_bytes()).unwrap();
    }
    assert_eq!(decoder.len(), 1000);
    assert!(decoder.memory_bytes() > 1000 * 60);
    let batch = decoder.finish().unwrap();
    assert_eq!((batch.num_rows(), decoder.len(), decoder.is_empty()), (1000, 0, true));
    assert_eq!(batch.schema(), decoder.output_schema());
    assert_eq!(
        shown_row(&batch, 7),
        [
            "2026-01-01T22:40:07.007Z",
            "10.0.0.7",
            "GET",
            "/api/v1/orders",
            "207",
            "7.5",
            "49",
            "Mozilla/5.0 (X11; Linux x86_64)",
        ]
    );
    // And again, into fresh buffers.
    decoder.append(web_log(3).as_bytes()).unwrap();
    assert_eq!(decoder.finish().unwrap(), batch.slice(3, 1));
}

fn shown_row(batch: &RecordBatch, row: usize) -> Vec<String> {
    let show = |column| arrow::util::display::array_value_to_string(column, row).unwrap();
    batch.columns().iter().map(|column| show(column)).collect()
}

#[test]
fn reads_only_the_projected_columns_in_their_order() {
    let schema = parse_schema(WEB_LOG).unwrap();
    let options = JsonOptions { unknown_fields: UnknownFields::Reject, ..Default::default() };
    let mut decoder = JsonDecoder::new(schema.clone(), vec![5, 3], options).unwrap();
    decoder.append(web_log(1).as_bytes()).unwrap();
    // What is not read may have any type, and be absent though NOT NULL.
    decoder.append(br#"{"response_time_ms":1,"ip":[{"a":null}],"endpoint":"/"}"#).unwrap();
    let batch = decoder.finish().unwrap();
    assert_eq!(batch.schema().field(0).name(), "response_time_ms");
    assert_eq!(shown_row(&batch, 0), ["1.5", "/api/v1/orders"]);
    assert_eq!(shown_row(&batch, 1), ["1.0", "/"]);

    let mut none = JsonDecoder::new(schema.clone(), vec![], JsonOptions::default()).unwrap();
    none.append(b"{}").unwrap();
    none.append(web_log(2).as_bytes()).unwrap();
    assert!(none.append(b"{]").is_err());
    assert_eq!(none.finish().unwrap().num_rows(), 2);

    for projection in [vec![8], vec![1, 1]] {
        assert!(matches!(
            JsonDecoder::new(schema.clone(), projection, JsonOptions::default()),
            Err(CodecError::Projection { .. })
        ));
    }
}

#[test]
fn each_type_takes_what_its_row_in_the_table_says() {
    for (data_type, value, wanted) in [
        ("BOOLEAN", "true", "true"),
        ("TINYINT", "-128", "-128"),
        ("SMALLINT", "32767", "32767"),
        ("INT", "-2147483648", "-2147483648"),
        ("BIGINT", "-9223372036854775808", "-9223372036854775808"),
        ("BIGINT", "9223372036854775807", "9223372036854775807"),
        ("BIGINT", "-0", "0"),
        ("FLOAT", "0.1", "0.1"),
        ("DOUBLE", "-1.5e-3", "-0.0015"),
        ("DOUBLE", "12345678901234567890123", "1.2345678901234568e22"),
        ("DECIMAL(5,2)", "123.455", "123.46"),
        ("DECIMAL(5,2)", "\"-1e2\"", "-100.00"),
        (
            "DECIMAL(38,0)",
            "99999999999999999999999999999999999999",
            "99999999999999999999999999999999999999",
        ),
        ("STRING", r#""a\u00e9""#, "aé"),
        ("STRING", "1.50", "1.50"),
        ("STRING", "true", "true"),
        ("STRING", r#"{"a": [1, "x\n"]}"#, r#"{"a": [1, "x\n"]}"#),
        ("STRING", "null", "null"),
        ("BINARY", r#""Zm9v""#, "666f6f"),
        ("DATE", r#""2024-02-29""#, "2024-02-29"),
        ("TIMESTAMP", r#""2024-02-29T01:02:03+01:00""#, "2024-02-29T00:02:03Z"),
        ("ARRAY<INT>", "[1, null , 3]", "[1, , 3]"),
        ("ARRAY<INT>", "[]", "[]"),
        ("ARRAY<ARRAY<STRING>>", r#"[["a"],[],null]"#, "[[a], [], ]"),
        ("STRUCT<a: INT, b: STRING>", r#"{"b":"x"}"#, "{a: , b: x}"),
        ("STRUCT<a: INT NOT NULL>", "null", "null"),
        ("MAP<STRING, INT>", r#"{"a":1,"b":2,"a":3}"#, "{b: 2, a: 3}"),
        ("MAP<STRING, INT>", r#"{"\u0061":1,"a":3}"#, "{a: 3}"),
        ("MAP<STRING, INT>", "{}", "{}"),
    ] {
        assert_eq!(shown(data_type, value), wanted, "{data_type} {value}");
    }
    for (data_type, value, wanted) in [
        ("BOOLEAN", "1", "type_mismatch"),
        ("BOOLEAN", "\"true\"", "type_mismatch"),
        ("BOOLEAN", "tru", "syntax"),
        ("TINYINT", "128", "out_of_range"),
        ("SMALLINT", "-32769", "out_of_range"),
        ("INT", "2147483648", "out_of_range"),
        ("INT", "3.0", "type_mismatch"),
        ("INT", "1e3", "type_mismatch"),
        ("INT", "\"3\"", "type_mismatch"),
        ("INT", "01", "syntax"),
        ("INT", "0x1", "syntax"),
        ("INT", "+1", "syntax"),
        ("BIGINT", "9223372036854775808", "out_of_range"),
        ("BIGINT", "-9223372036854775809", "out_of_range"),
        ("BIGINT", "18446744073709551617", "out_of_range"),
        ("FLOAT", "1e39", "out_of_range"),
        ("DOUBLE", "1e309", "out_of_range"),
        ("DOUBLE", "NaN", "syntax"),
        ("DOUBLE", "nan", "syntax"),
        ("DOUBLE", "\"NaN\"", "type_mismatch"),
        ("DOUBLE", "-Infinity", "syntax"),
        ("DOUBLE", "1.", "syntax"),
        ("DOUBLE", "\"1\"", "type_mismatch"),
        ("DECIMAL(5,2)", "999.995", "out_of_range"),
        ("DECIMAL(5,2)", "\"x\"", "invalid_number"),
        ("DECIMAL(5,2)", "true", "type_mismatch"),
        ("STRING", "\"a\nb\"", "control_character"),
        ("STRING", r#""\x""#, "invalid_escape"),
        ("STRING", "[1,]", "syntax"),
        ("BINARY", "\"Zg\"", "invalid_base64"),
        ("BINARY", "1", "type_mismatch"),
        ("DATE", "\"2023-02-29\"", "invalid_time"),
        ("DATE", "19000", "type_mismatch"),
        ("TIMESTAMP", "1767307200", "type_mismatch"),
        ("TIMESTAMP", "\"yesterday\"", "invalid_time"),
        ("ARRAY<INT>", "1", "type_mismatch"),
        ("ARRAY<INT>", "[1 2]", "syntax"),
        ("ARRAY<INT>", "[1,]", "syntax"),
        ("STRUCT<a: INT>", "[]", "type_mismatch"),
        ("STRUCT<a: INT NOT NULL>", "{}", "missing_field"),
        ("STRUCT<a: INT NOT NULL>", "{\"a\":null}", "null_not_allowed"),
        ("MAP<STRING, INT>", "[]", "type_mismatch"),
        ("MAP<STRING, INT>", "{\"a\":1,\"a\":\"x\"}", "type_mismatch"),
        ("MAP<STRING, INT>", "{a:1}", "syntax"),
        ("INT NOT NULL", "null", "null_not_allowed"),
        ("INT", "nul", "syntax"),
    ] {
        assert_eq!(code(data_type, value), Some(wanted), "{data_type} {value}");
    }
}

#[test]
fn errors_name_the_column_the_place_and_the_reason() {
    let mut decoder = decoder("id INT NOT NULL, user STRUCT<tags: ARRAY<STRUCT<n: TINYINT>>>");
    for (record, wanted) in [
        (r#"{"id":"x"}"#, r#"column "id": expected INT, found a string (at byte 6)"#),
        (r#"{}"#, r#"column "id": a NOT NULL column is missing (at byte 2)"#),
        (
            r#"{"id":1,"user":{"tags":[{"n":1},{"n":300}]}}"#,
            r#"column "user.tags.element.n": the number is out of range for TINYINT (at byte 37)"#,
        ),
        ("", "the record is empty (at byte 0)"),
        (" \n", "the record is empty (at byte 2)"),
        ("[1]", "the record is not a JSON object (at byte 0)"),
        ("null", "the record is not a JSON object (at byte 0)"),
        ("hello", "invalid JSON: expected an object (at byte 0)"),
        ("\u{feff}{}", "invalid JSON: expected an object (at byte 0)"),
        (r#"{"id":1"#, "the record ends too early (at byte 7)"),
        (r#"{"id":1} {"id":2}"#, "the record goes on after its end (at byte 9)"),
        (r#"{"id":1}x"#, "the record goes on after its end (at byte 8)"),
        (r#"{"id":1,}"#, "invalid JSON: expected a key (at byte 8)"),
        (r#"{,"id":1}"#, "invalid JSON: expected a key (at byte 1)"),
        (r#"{"id" 1}"#, "invalid JSON: expected ':' after a key (at byte 6)"),
        (r#"{"id":1;"a":2}"#, "invalid JSON: expected ',' or '}' (at byte 7)"),
        (r#"{"id":1,"x":truu}"#, "invalid JSON: expected true (at byte 15)"),
        (r#"{"id":1,"x":}"#, "invalid JSON: expected a value (at byte 12)"),
    ] {
        let error = decoder.append(record.as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), wanted, "{record}");
        assert_eq!(decoder.len(), 0);
    }
    decoder.append(b" \t{ \"id\" : 1 , \"x\" : [ ] } \r\n").unwrap();
    assert_eq!(decoder.finish().unwrap().num_rows(), 1);
}

#[test]
fn missing_repeated_and_unknown_fields() {
    let mut decoder = decoder("a INT, s STRING NOT NULL, xs ARRAY<INT>");
    for record in [
        r#"{"s":"x"}"#,
        r#"{"a":1,"s":"first","a":2,"xs":[1,2,3],"s":"last","xs":[4]}"#,
        r#"{"s":"y","other":{"a":9},"a":null}"#,
        r#"{"\u0061":5,"s":"escaped key"}"#,
        r#"{"A":5,"s":"case counts"}"#,
    ] {
        decoder.append(record.as_bytes()).unwrap();
    }
    assert_eq!(decoder.append(br#"{"a":1}"#).unwrap_err().code(), "missing_field");
    let batch = decoder.finish().unwrap();
    let a: Vec<_> = batch.column(0).as_primitive::<Int32Type>().iter().collect();
    assert_eq!(a, [None, Some(2), None, Some(5), None]);
    let s: Vec<_> = batch.column(1).as_string::<i32>().iter().flatten().collect();
    assert_eq!(s, ["x", "last", "y", "escaped key", "case counts"]);
    assert_eq!(batch.column(2).as_list::<i32>().value_offsets(), [0, 0, 1, 1, 1, 1]);

    let options = JsonOptions { unknown_fields: UnknownFields::Reject, ..Default::default() };
    let mut strict = decoder_with("a INT, user STRUCT<id: INT>", options);
    strict.append(br#"{"a":1,"user":{"id":2}}"#).unwrap();
    for (record, name) in [
        (&br#"{"a":1,"b":2}"#[..], "b"),
        (&br#"{"user":{"name":2}}"#[..], "name"),
        (&b"{\"\xff\":2}"[..], "invalid"),
    ] {
        let error = strict.append(record).unwrap_err();
        match name {
            "invalid" => assert_eq!(error.code(), "invalid_utf8"),
            _ => assert_eq!((error.code(), &*error.column.unwrap()), ("unknown_field", name)),
        }
    }
    assert_eq!(strict.len(), 1);
}

#[test]
fn what_is_skipped_must_have_structure() {
    let mut decoder = decoder("a INT");
    for good in [
        r#"{"x":{"y":[1,-2.5e3,"\"}",true,false,null,[],{}]},"a":1}"#.as_bytes(),
        b"{\"x\":\"\xff\xfe\",\"a\":1}", // not UTF-8, but nobody reads it
        r#"{"x" : [ 1 , { "y" : "" } ] , "a" : 1 }"#.as_bytes(),
    ] {
        decoder.append(good).unwrap();
    }
    for (bad, wanted) in [
        (r#"{"x":"open}"#, "truncated"),
        (r#"{"x":"\q"}"#, "invalid_escape"),
        ("{\"x\":\"\u{1}\"}", "control_character"),
        (r#"{"x":[1}"#, "syntax"),
        (r#"{"x":[1,2"#, "truncated"),
        (r#"{"x":{"y"}}"#, "syntax"),
        (r#"{"x":{"y":1,}}"#, "syntax"),
        (r#"{"x":{1:1}}"#, "syntax"),
        (r#"{"x":[1]]}"#, "syntax"),
        (r#"{"x":01}"#, "syntax"),
        (r#"{"x":-}"#, "syntax"),
        (r#"{"x":1.e1}"#, "syntax"),
        (r#"{"x":1e}"#, "syntax"),
        (r#"{"x":nope}"#, "syntax"),
        (r#"{"x":'a'}"#, "syntax"),
        (r#"{"x":1 2}"#, "syntax"),
        (r#"{"x":1 "y":2}"#, "syntax"),
        (r#"{x:1}"#, "syntax"),
    ] {
        assert_eq!(decoder.append(bad.as_bytes()).unwrap_err().code(), wanted, "{bad}");
    }
    assert_eq!(decoder.finish().unwrap().num_rows(), 3);
}

#[test]
fn depth_and_length_are_limited() {
    let nested = |open: &str, close: &str, depth: usize| {
        format!("{{\"x\":{}{}}}", open.repeat(depth), close.repeat(depth))
    };
    for schema in ["a INT", "x STRING", "x ARRAY<ARRAY<STRING>>"] {
        let options = JsonOptions { max_depth: 10, ..Default::default() };
        let mut decoder = decoder_with(schema, options);
        decoder.append(nested("[", "]", 9).as_bytes()).unwrap();
        let error = decoder.append(nested("[", "]", 10).as_bytes()).unwrap_err();
        assert_eq!((error.code(), error.offset), ("too_deep", 14));
        let deep = nested("[", "]", 1_000_000);
        assert_eq!(decoder.append(deep.as_bytes()).unwrap_err().code(), "too_deep");
        assert_eq!(decoder.len(), 1);
    }
    let options = JsonOptions { max_depth: DEEPEST, ..Default::default() };
    let mut deepest = decoder_with("a INT", options);
    deepest.append(nested("{\"y\":", "}", DEEPEST - 1).replace(":}", ":0}").as_bytes()).unwrap();

    let options = JsonOptions { max_record_bytes: 10, ..Default::default() };
    let mut short = decoder_with("a INT", options);
    short.append(br#"{"a":1   }"#).unwrap();
    assert_eq!(short.append(br#"{"a":1    }"#).unwrap_err().code(), "oversized");
    assert_eq!(short.len(), 1);
}

#[test]
fn a_full_batch_says_so_and_takes_the_record_after_finish() {
    let mut decoder = decoder("a INT");
    decoder.append(br#"{"a":1}"#).unwrap();
    decoder.input_bytes = MAX_BATCH_INPUT - 6; // rather than 2 GiB of records
    assert_eq!(decoder.append(br#"{"a":2}"#).unwrap_err().reason, Reason::BatchFull);
    assert_eq!(decoder.finish().unwrap().num_rows(), 1);
    decoder.append(br#"{"a":2}"#).unwrap();
    assert_eq!(decoder.finish().unwrap().num_rows(), 1);
}

#[test]
fn options_are_checked() {
    let schema = parse_schema("a INT, t TIMESTAMP, v ARRAY<STRUCT<at: TIMESTAMP>>").unwrap();
    let refused = |options: JsonOptions| {
        JsonDecoder::new(schema.clone(), vec![0], options).unwrap_err().to_string()
    };
    let of = |path: &str| HashMap::from([(path.to_owned(), TimestampFormat::EpochMillis)]);
    let default = JsonOptions::default;
    assert!(refused(JsonOptions { max_depth: 0, ..default() }).contains("max_depth"));
    assert!(refused(JsonOptions { max_depth: 513, ..default() }).contains("from 1 to 512"));
    assert!(refused(JsonOptions { max_record_bytes: 0, ..default() }).contains("max_record_bytes"));
    for path in ["a", "b", "v.at"] {
        let error = refused(JsonOptions { timestamps_by_column: of(path), ..default() });
        assert!(error.contains("t, v.element.at"), "{error}");
    }
    let options = JsonOptions { timestamps_by_column: of("v.element.at"), ..default() };
    let mut decoder = JsonDecoder::new(schema, vec![1, 2], options).unwrap();
    decoder.append(br#"{"t":"1970-01-01","v":[{"at":1000},{"at":"2000"}]}"#).unwrap();
    let shown = shown_row(&decoder.finish().unwrap(), 0);
    assert_eq!(shown[1], "[{at: 1970-01-01T00:00:01Z}, {at: 1970-01-01T00:00:02Z}]");

    let unsupported =
        Arc::new(arrow::datatypes::Schema::new(vec![Field::new("x", DataType::LargeUtf8, true)]));
    assert!(matches!(
        JsonDecoder::new(unsupported, vec![0], default()),
        Err(CodecError::UnsupportedType { .. })
    ));
}

#[test]
fn keys_that_never_repeat_do_not_fill_the_memory() {
    let mut decoder = decoder("a INT, b BIGINT");
    for i in 0..5_000i64 {
        let record = format!(r#"{{"key{i}":1,"a":{i},"{}":0,"b":{i}}}"#, "k".repeat(200));
        decoder.append(record.as_bytes()).unwrap();
    }
    let batch = decoder.finish().unwrap();
    let a = batch.column(0).as_primitive::<Int32Type>();
    let b = batch.column(1).as_primitive::<Int64Type>();
    assert!((0..5_000).all(|i| a.value(i) == i as i32 && b.value(i) == i as i64));
}

#[test]
fn optional_fields_and_changing_orders_are_followed() {
    let mut decoder = decoder("a INT, b INT, c DOUBLE, d INT");
    let mut wanted = Vec::new();
    for i in 0..500 {
        let fields = [
            format!("\"a\":{i}"),
            format!("\"b\":{i}"),
            format!("\"c\":{i}.5"),
            format!("\"d\": {i}"),
        ];
        let mut chosen: Vec<_> = (0..4).filter(|f| (i * 7 + f * 3) % 5 != 0).collect();
        let turn = i % 3 % chosen.len().max(1);
        chosen.rotate_left(turn);
        let text: Vec<_> = chosen.iter().map(|f| fields[*f].clone()).collect();
        decoder.append(format!("{{{}}}", text.join(",")).as_bytes()).unwrap();
        wanted.push([0, 1, 2, 3].map(|f| chosen.contains(&f)));
    }
    let batch = decoder.finish().unwrap();
    for (i, wanted) in wanted.iter().enumerate() {
        for (column, there) in wanted.iter().enumerate() {
            assert_eq!(batch.column(column).is_valid(i), *there, "row {i} column {column}");
        }
        if wanted[2] {
            let c = batch.column(2).as_primitive::<Float64Type>();
            assert_eq!(c.value(i), i as f64 + 0.5);
        }
    }
}

#[test]
fn white_space_may_change_after_it_was_learnt() {
    let mut decoder = decoder("a INT, b INT");
    for record in [
        r#"{"a":1,"b":2}"#,
        r#"{"a": 1,"b":  2}"#,
        "{\"a\":\r\n1,\"b\":2 }",
        r#"{"a":1 ,"b":2}"#,
        r#"{ "a" :1, "b":2}"#,
        r#"{"a":1,"b":2}"#,
    ] {
        decoder.append(record.as_bytes()).unwrap();
    }
    let batch = decoder.finish().unwrap();
    assert!((0..6).all(|row| shown_row(&batch, row) == ["1", "2"]));
}

#[test]
fn a_tenth_of_bad_records_leaves_the_batch_of_the_good_ones() {
    let bad = [
        r#"{"timestamp":"2026-01-01T22:40:00Z","ip":"10.0.0.1","method":"GET","status_code":"#,
        r#"{"timestamp":null,"ip":"a"}"#,
        r#"{"ip":"only this"}"#,
        r#"{"timestamp":"2026-01-01T22:40:00Z","ip":null,"endpoint":null,"status_code":99999999999}"#,
        r#"{"timestamp":"2026-01-01T22:40:00Z","user_agent":"half a st\u00"}"#,
        "not json",
        r#"{"timestamp":"2026-01-01T22:40:00Z","bytes":1} {"timestamp":"2026-01-01T22:40:00Z"}"#,
    ];
    let (mut mixed, mut clean) = (decoder(WEB_LOG), decoder(WEB_LOG));
    for batch in 0..3 {
        for i in 0..2_000 {
            if i % 10 == 3 {
                assert!(mixed.append(bad[(i / 10 + batch) % bad.len()].as_bytes()).is_err());
            } else {
                mixed.append(web_log(i).as_bytes()).unwrap();
                clean.append(web_log(i).as_bytes()).unwrap();
            }
        }
        assert_eq!(mixed.finish().unwrap(), clean.finish().unwrap());
    }
}
