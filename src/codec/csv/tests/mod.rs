//! CSV: the rules one by one, and against the `csv` crate.

mod model;

use super::*;
use crate::codec::testing::{self, code};
use crate::codec::{Decoder, FormatSpec, MetadataColumn, parse_schema};
use crate::source::RecordMeta;

fn decoder_with(schema: &str, options: CsvOptions) -> Decoder {
    let schema = parse_schema(schema).unwrap();
    let all = (0..schema.fields().len()).collect();
    Decoder::new(schema, all, &FormatSpec::Csv(options), &[]).unwrap()
}

fn append(decoder: &mut Decoder, text: &str) -> Result<(), AppendError> {
    decoder.append(&Record::plain(0, text.as_bytes()))
}

fn shown(decoder: &mut Decoder) -> Vec<Vec<String>> {
    testing::shown(&decoder.finish().unwrap())
}

fn read(schema: &str, record: &str) -> Result<Vec<String>, (&'static str, Option<String>)> {
    let mut decoder = decoder_with(schema, CsvOptions::default());
    append(&mut decoder, record).map_err(code)?;
    Ok(shown(&mut decoder).remove(0))
}

#[test]
fn quotes_escapes_and_line_breaks() {
    for (record, wanted) in [
        ("a,b", ["a", "b"]),
        ("a,b\r\n", ["a", "b"]),
        (r#""a","b,c""#, ["a", "b,c"]),
        (r#""a ""quoted"" b",c"#, [r#"a "quoted" b"#, "c"]),
        (r#""a \"quoted\" b",c"#, [r#"a "quoted" b"#, "c"]),
        (r#""C:\\dir\file",c"#, [r"C:\dir\file", "c"]),
        (r"C:\dir,c", [r"C:\dir", "c"]),
        ("\"two\nlines\",c", ["two\nlines", "c"]),
        ("\"two\r\nlines\",\"and\n\nmore\"\n", ["two\r\nlines", "and\n\nmore"]),
        (r#"5" disk,it's"#, [r#"5" disk"#, "it's"]),
        ("é,日本", ["é", "日本"]),
        (" a , b ", [" a ", " b "]),
        // What is empty is NULL, unless it is quoted.
        (",", ["-", "-"]),
        (r#""","#, ["", "-"]),
        (r#"a,"""#, ["a", ""]),
        (r#""""","""""#, ["\"", "\"\""]),
    ] {
        // The last but one of the records ends in an unbalanced quote.
        let record = if record == r#""""","""""# { r#""""","""""""# } else { record };
        let wanted: Vec<String> = wanted.iter().map(|s| s.to_string()).collect();
        assert_eq!(read("a STRING, b STRING", record), Ok(wanted), "{record}");
    }
}

#[test]
fn records_that_are_refused_and_leave_nothing_behind() {
    let mut decoder = decoder_with("a STRING, n INT NOT NULL, t DATE", CsvOptions::default());
    for (record, wanted, column) in [
        ("a,1", "field_count", None),
        ("a,1,2026-01-01,x", "field_count", None),
        ("a", "field_count", None),
        (r#""a,1,2026-01-01"#, "truncated", None),
        (r#""a"b,1,2026-01-01"#, "malformed", None),
        ("a,1,2026-01-01\nb,2,2026-01-01", "trailing_data", None),
        ("a,x,2026-01-01", "type_mismatch", Some("n")),
        ("a,1.0,2026-01-01", "type_mismatch", Some("n")),
        ("a, 1,2026-01-01", "type_mismatch", Some("n")),
        ("a,2147483648,2026-01-01", "out_of_range", Some("n")),
        ("a,,2026-01-01", "null_not_allowed", Some("n")),
        ("a,1,01/02/2026", "invalid_time", Some("t")),
        ("a,1,2026-02-30", "invalid_time", Some("t")),
    ] {
        append(&mut decoder, "good,7,2026-01-01").unwrap();
        let error = append(&mut decoder, record).unwrap_err();
        assert_eq!(code(error), (wanted, column.map(str::to_owned)), "{record}");
        append(&mut decoder, "too,8,").unwrap();
        assert_eq!(decoder.len(), 2);
        let rows = shown(&mut decoder);
        assert_eq!(rows, [["good", "7", "2026-01-01"], ["too", "8", "-"]], "{record}");
    }
    let error = decoder.append(&Record::plain(0, b"\xff,1,2026-01-01")).unwrap_err();
    assert_eq!(code(error), ("invalid_utf8", Some("a".to_owned())));
}

#[test]
fn values_of_each_type() {
    for (data_type, text, wanted) in [
        ("BOOLEAN", "TRUE", "true"),
        ("BOOLEAN", "false", "false"),
        ("TINYINT", "-128", "-128"),
        ("SMALLINT", "+12", "12"),
        ("BIGINT", "-9223372036854775808", "-9223372036854775808"),
        ("BIGINT", "007", "7"),
        ("FLOAT", "0.1", "0.1"),
        ("DOUBLE", "-1.5e3", "-1500.0"),
        ("DOUBLE", "NaN", "NaN"),
        ("DOUBLE", "-Infinity", "-inf"),
        ("DECIMAL(5,2)", "+1.005", "1.01"),
        ("DECIMAL(5,2)", ".5", "0.50"),
        ("DECIMAL(5,2)", "1e2", "100.00"),
        ("BINARY", "abc", "616263"),
        ("DATE", "2024-02-29", "2024-02-29"),
        ("TIMESTAMP", "2024-02-29 10:00:00.5", "2024-02-29T10:00:00.500Z"),
        ("TIMESTAMP", "2024-02-29T10:00:00+02:00", "2024-02-29T08:00:00Z"),
        ("TIMESTAMP", "2024-02-29", "2024-02-29T00:00:00Z"),
        ("INT", "\"12\"", "12"),
        ("INT", "\"\"", "-"),
    ] {
        let got = read(&format!("c {data_type}"), text);
        assert_eq!(got, Ok(vec![wanted.to_owned()]), "{data_type} {text}");
    }
    for (data_type, text) in [
        ("BOOLEAN", "1"),
        ("TINYINT", "128"),
        ("BIGINT", "9223372036854775808"),
        ("BIGINT", "-"),
        ("BIGINT", "1_000"),
        ("BIGINT", "99999999999999999999999999"),
        ("FLOAT", "1e39"),
        ("DOUBLE", "1e309"),
        ("DOUBLE", "1,5"),
        ("DECIMAL(5,2)", "1000"),
        ("DECIMAL(5,2)", "."),
        ("DECIMAL(5,2)", "1e"),
        ("DECIMAL(5,2)", "--1"),
        ("TIMESTAMP", "1767307200"),
    ] {
        assert!(read(&format!("c {data_type}"), text).is_err(), "{data_type} {text}");
    }
    for data_type in ["ARRAY<INT>", "STRUCT<a: INT>", "MAP<STRING, INT>"] {
        let schema = parse_schema(&format!("c {data_type}")).unwrap();
        let spec = FormatSpec::Csv(CsvOptions::default());
        assert!(matches!(
            Decoder::new(schema, vec![0], &spec, &[]),
            Err(CodecError::UnsupportedType { .. })
        ));
    }
}

#[test]
fn options_change_the_dialect() {
    let options = CsvOptions {
        delimiter: b';',
        quote: Some(b'\''),
        escape: None,
        comment: Some(b'#'),
        null_value: "NA".to_owned(),
        trim: true,
        timestamps_by_column: HashMap::from([("t".to_owned(), TimestampFormat::EpochMillis)]),
        ..CsvOptions::default()
    };
    let mut decoder = decoder_with("s STRING, n INT, t TIMESTAMP", options);
    assert!(matches!(append(&mut decoder, "# a comment"), Err(AppendError::NoRow)));
    assert!(matches!(append(&mut decoder, ""), Err(AppendError::NoRow)));
    assert!(matches!(append(&mut decoder, "\r\n"), Err(AppendError::NoRow)));
    append(&mut decoder, "NA ; 1 ; 1500").unwrap();
    append(&mut decoder, r"'NA\';NA;NA").unwrap();
    append(&mut decoder, ";2;0").unwrap();
    append(&mut decoder, "'it''s; ';2;0").unwrap();
    assert_eq!(
        shown(&mut decoder),
        [
            ["-", "1", "1970-01-01T00:00:01.500Z"],
            [r"NA\", "-", "-"],
            ["", "2", "1970-01-01T00:00:00Z"],
            ["it's; ", "2", "1970-01-01T00:00:00Z"]
        ]
    );
    for (option, options) in [
        ("delimiter", CsvOptions { delimiter: b'\n', ..CsvOptions::default() }),
        ("quote", CsvOptions { quote: Some(b','), ..CsvOptions::default() }),
        ("comment", CsvOptions { comment: Some(b'"'), ..CsvOptions::default() }),
        (
            "timestamps_by_column",
            CsvOptions {
                timestamps_by_column: HashMap::from([("c".to_owned(), TimestampFormat::Auto)]),
                ..CsvOptions::default()
            },
        ),
    ] {
        let schema = parse_schema("c STRING").unwrap();
        match Decoder::new(schema, vec![0], &FormatSpec::Csv(options), &[]) {
            Err(CodecError::Option { option: named, .. }) => assert_eq!(named, option),
            other => panic!("{option}: {other:?}"),
        }
    }
}

#[test]
fn permissive_mode_fills_with_nulls() {
    let options = CsvOptions { mode: CsvMode::Permissive, ..CsvOptions::default() };
    let mut decoder = decoder_with("a STRING, n INT, m INT NOT NULL", options);
    append(&mut decoder, "a,x,3,4,5").unwrap();
    assert_eq!(code(append(&mut decoder, "a,1").unwrap_err()).0, "missing_field");
    assert_eq!(code(append(&mut decoder, "a,1,x").unwrap_err()).0, "type_mismatch");
    assert_eq!(shown(&mut decoder), [["a", "-", "3"]]);
}

#[test]
fn a_header_names_the_columns_of_its_file() {
    let options = CsvOptions { header: CsvHeader::Names, ..CsvOptions::default() };
    let schema = parse_schema("id INT NOT NULL, name STRING, price DOUBLE").unwrap();
    let spec = FormatSpec::Csv(options);
    let mut decoder = Decoder::new(schema, vec![2, 0, 1], &spec, &[]).unwrap();
    let with = |header: &Arc<[u8]>, decoder: &mut Decoder, text: &str| {
        let meta = RecordMeta { header: Some(header), ..RecordMeta::default() };
        decoder.append(&Record { meta, ..Record::plain(0, text.as_bytes()) })
    };
    let one: Arc<[u8]> = (*b"\xef\xbb\xbfName,\"ID\",other").into();
    let two: Arc<[u8]> = (*b"id,price,name\r\n").into();
    let none: Arc<[u8]> = (*b"x,y").into();
    let no_id: Arc<[u8]> = (*b"name,price").into();
    with(&one, &mut decoder, "n,1,o").unwrap();
    assert_eq!(code(with(&one, &mut decoder, "n,1").unwrap_err()).0, "field_count");
    with(&two, &mut decoder, "2,2.5,m").unwrap();
    let foreign = code(with(&none, &mut decoder, "3,4").unwrap_err());
    assert_eq!(foreign.0, "incompatible_schema");
    let missing = code(with(&no_id, &mut decoder, "n,4").unwrap_err());
    assert_eq!(missing, ("missing_field", Some("id".to_owned())));
    with(&one, &mut decoder, ",5,").unwrap();
    append(&mut decoder, "6,in order,6").unwrap();
    assert_eq!(
        shown(&mut decoder),
        [["-", "1", "n"], ["2.5", "2", "m"], ["-", "5", "-"], ["6.0", "6", "in order"]]
    );
}

#[test]
fn only_the_projected_columns_are_read() {
    let schema = parse_schema("a INT, b INT, c STRING, file STRING, line BIGINT").unwrap();
    let metadata = [MetadataColumn::File, MetadataColumn::Line];
    let spec = FormatSpec::Csv(CsvOptions::default());
    let mut decoder = Decoder::new(schema, vec![4, 2, 3], &spec, &metadata).unwrap();
    let meta = RecordMeta { file: Some("in.csv"), line: Some(9), ..RecordMeta::default() };
    decoder.append(&Record { meta, ..Record::plain(0, b"x,y,z") }).unwrap();
    assert!(decoder.append(&Record { meta, ..Record::plain(0, b"x,y") }).is_err());
    decoder.append(&Record::plain(0, b"1,2,w")).unwrap();
    assert_eq!(shown(&mut decoder), [["9", "z", "in.csv"], ["-", "w", "-"]]);
}
