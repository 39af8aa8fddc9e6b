//! Tables of each format, changes, and what cannot be read.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;

use arrow::array::{ArrayRef, AsArray, Int64Array, ListArray, StringArray, UInt64Array};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Decimal128Type, Int64Type, TimeUnit};
use arrow::util::pretty::pretty_format_batches;
use deltalake::kernel::{DataType as DeltaType, PrimitiveType, StructField};
use deltalake::operations::create::CreateBuilder;
use parquet::arrow::ArrowWriter;
use url::Url;

use super::super::files::CsvFraming;
use super::*;
use crate::codec::{CsvHeader, CsvOptions, JsonOptions, parse_schema};

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn at(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    /// Writes a file, as old as files that nobody writes to any more. Its time of change cannot be
    /// set, so that refreshes of these tests take what is not settled.
    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }
}

fn csv(path: String, header: bool) -> TableOptions {
    let framing = CsvFraming { header, ..CsvFraming::default() };
    let header = if header { CsvHeader::Names } else { CsvHeader::None };
    let format = TableFormat::Records {
        framing: Framing::Csv(framing),
        spec: FormatSpec::Csv(CsvOptions { header, ..CsvOptions::default() }),
    };
    TableOptions::new(path, format)
}

fn json(path: String) -> TableOptions {
    let format = TableFormat::Records {
        framing: Framing::Lines { skip_blank: true },
        spec: FormatSpec::Json(JsonOptions::default()),
    };
    TableOptions::new(path, format)
}

fn parquet(path: String) -> TableOptions {
    TableOptions::new(path, TableFormat::Parquet)
}

fn open(options: TableOptions, schema: &str) -> TableReader {
    TableReader::open(options, Some(parse_schema(schema).unwrap())).unwrap()
}

/// The rows, a line each, with `|` between columns.
fn text(reader: &TableReader, rows: &TableRows) -> Vec<String> {
    let all = concat_batches(&reader.schema(), &rows.batches).unwrap();
    let table = pretty_format_batches(&[all]).unwrap().to_string();
    let lines: Vec<&str> = table.lines().collect();
    let rows = lines.get(3..lines.len() - 1).unwrap_or_default();
    rows.iter()
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>().join("|"))
        .collect()
}

fn encode(columns: Vec<(&str, ArrayRef)>) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

fn changed(refreshed: Result<Refreshed, TableError>) -> TableRows {
    match refreshed.unwrap() {
        Refreshed::Changed(rows) => rows,
        other => panic!("{other:?}"),
    }
}

#[test]
fn csv_columns_are_found_by_the_names_in_each_files_header() {
    let place = Place::new();
    place.write("devices/a.csv", "id,room,name\n1,attic,\"a, b\"\n2,,x\n");
    place.write("devices/b.csv", "name,id\ny,3\n");
    place.write("devices/_ignored.csv", "not,a,table\n");
    let reader = open(csv(place.at("devices"), true), "id BIGINT, name STRING, room STRING");
    let rows = reader.read().unwrap();
    assert_eq!(text(&reader, &rows), ["1|a, b|attic", "2|x|", "3|y|"]);
    assert_eq!((rows.len(), rows.is_empty()), (3, false));
    assert!(rows.memory_bytes() > 20);
    let glob = open(csv(place.at("devices/b*.csv"), true), "id BIGINT, name STRING");
    assert_eq!(text(&glob, &glob.read().unwrap()), ["3|y"]);
}

#[test]
fn json_may_be_compressed() {
    let place = Place::new();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(b"{\"id\": 1, \"tags\": [\"a\"]}\n\n{\"id\": 2, \"more\": 0}\n").unwrap();
    place.write("t.json.gz", gzip.finish().unwrap());
    let reader = open(json(place.at("t.json.gz")), "id BIGINT, tags ARRAY<STRING>");
    assert_eq!(text(&reader, &reader.read().unwrap()), ["1|[a]", "2|"]);
}

#[test]
fn more_rows_than_a_batch_holds() {
    let place = Place::new();
    let rows = BATCH * 2 + 5;
    let lines: String = (0..rows).map(|id| format!("{id},n{id}\n")).collect();
    place.write("t.csv", lines);
    let reader = open(csv(place.at("t.csv"), false), "id BIGINT, name STRING");
    let read = reader.read().unwrap();
    assert_eq!((read.len(), read.batches.len()), (rows, 3));
    let ids = read
        .batches
        .iter()
        .flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec());
    assert!(ids.eq(0..rows as i64));
}

#[test]
fn parquet_has_its_own_columns_with_sparks_types() {
    let place = Place::new();
    let list = ListArray::from_iter_primitive::<Int64Type, _, _>([Some([Some(1)]), None]);
    place.write(
        "t.parquet",
        encode(vec![
            ("id", Arc::new(UInt64Array::from(vec![u64::MAX, 1])) as ArrayRef),
            ("list", Arc::new(list)),
            ("at", Arc::new(arrow::array::TimestampNanosecondArray::from(vec![1_000_000, 0]))),
        ]),
    );
    let reader = TableReader::open(parquet(place.at("t.parquet")), None).unwrap();
    let schema = reader.schema();
    assert_eq!(schema.field(0).data_type(), &DataType::Decimal128(20, 0));
    let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    assert_eq!(schema.field(2).data_type(), &utc);
    let rows = reader.read().unwrap();
    let ids = rows.batches[0].column(0).as_primitive::<Decimal128Type>();
    assert_eq!(ids.value(0), i128::from(u64::MAX));
    assert_eq!(rows.batches[0].schema(), schema);
    // Declared ones are taken by name, and what a file lacks is NULL.
    place.write("more/b.parquet", encode(vec![("id", Arc::new(Int64Array::from(vec![7])))]));
    let reader = open(parquet(place.at("more")), "name STRING, ID BIGINT");
    assert_eq!(text(&reader, &reader.read().unwrap()), ["|7"]);
}

#[test]
fn a_type_that_spark_lacks_has_to_be_left_out() {
    let place = Place::new();
    let time = arrow::array::Time64MicrosecondArray::from(vec![1]);
    place.write(
        "t.parquet",
        encode(vec![
            ("id", Arc::new(Int64Array::from(vec![1])) as ArrayRef),
            ("t", Arc::new(time)),
        ]),
    );
    let error = TableReader::open(parquet(place.at("t.parquet")), None).unwrap_err().to_string();
    assert!(error.contains("t.parquet: column `t`") && error.contains("`schema`"), "{error}");
    let reader = open(parquet(place.at("t.parquet")), "id BIGINT");
    assert_eq!(text(&reader, &reader.read().unwrap()), ["1"]);
}

#[test]
fn a_bad_row_is_told_with_file_and_line_and_nothing_is_read() {
    let place = Place::new();
    place.write("a.csv", "id,name\n1,x\n");
    place.write("b.csv", "id,name\n1,x\n\ntwo,y\nthree,z\n");
    let reader = open(csv(place.at("*.csv"), true), "id BIGINT, name STRING");
    match reader.read().unwrap_err() {
        error @ TableError::Content { line: Some(4), .. } => {
            assert!(error.to_string().contains("b.csv, line 4: "), "{error}");
            assert_eq!(error.code(), "content");
        }
        other => panic!("{other}"),
    }
    let reader = open(csv(place.at("a.csv"), true), "id BIGINT NOT NULL, name STRING");
    assert_eq!(text(&reader, &reader.read().unwrap()), ["1|x"]);
    place.write("c.json", "{\"id\": 1}\n{\"id\": }\n");
    let reader = open(json(place.at("c.json")), "id BIGINT");
    assert!(reader.read().unwrap_err().to_string().contains("c.json, line 2: "));
    place.write("d.parquet", b"PAR1 but no footer");
    let reader = open(parquet(place.at("d.parquet")), "id BIGINT");
    assert!(reader.read().unwrap_err().to_string().contains("d.parquet: "));
}

#[test]
fn a_truncated_archive_is_not_half_a_table() {
    let place = Place::new();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let lines: String = (0..10_000).map(|id| format!("{id},{}\n", id * 7919 % 1009)).collect();
    gzip.write_all(lines.as_bytes()).unwrap();
    let bytes = gzip.finish().unwrap();
    place.write("t.csv.gz", &bytes[..bytes.len() / 2]);
    let reader = open(csv(place.at("t.csv.gz"), false), "id BIGINT, x BIGINT");
    match reader.read().unwrap_err() {
        TableError::Content { line: Some(line), reason, .. } => {
            assert!(line > 1 && reason.contains("cannot be read"), "{line} {reason}");
        }
        other => panic!("{other}"),
    }
}

#[test]
fn a_table_that_is_not_there() {
    let place = Place::new();
    let schema = "id BIGINT";
    let reader = open(csv(place.at("none.csv"), false), schema);
    let error = reader.look().unwrap_err();
    assert_eq!(error.code(), "io");
    assert!(error.to_string().contains("none.csv"), "{error}");
    place.write("deep/er/t.csv", "1\n");
    let error = open(csv(place.at("deep"), false), schema).look().unwrap_err();
    assert_eq!(error.code(), "no_file");
    assert!(error.to_string().contains("/**/*"), "{error}");
    let deep = open(csv(place.at("deep/**/*"), false), schema);
    assert_eq!(text(&deep, &deep.read().unwrap()), ["1"]);
    let error = open(csv(place.at("x*.csv"), false), schema).read().unwrap_err();
    assert!(error.to_string().starts_with("there is no file at "), "{error}");
    assert!(TableReader::open(parquet(place.at("none")), None).is_err());
    let delta = TableOptions::new(place.at("none"), TableFormat::Delta);
    assert!(TableReader::open(delta.clone(), None).is_err());
    assert!(open(delta, schema).look().is_err());
    assert!(TableReader::open(csv(place.at("x"), false), None).is_err(), "CSV has no columns");
    let nested = parse_schema("a ARRAY<INT>").unwrap();
    assert!(TableReader::open(csv(place.at("x"), false), Some(nested)).is_err());
}

#[test]
fn a_refresh_reads_only_what_has_changed() {
    let place = Place::new();
    let path = place.write("t.csv", "1,a\n");
    place.write("other.csv", "9,z\n");
    let reader = open(csv(place.at("t*.csv"), false), "id BIGINT, name STRING");
    let rows = reader.read().unwrap();
    // It was written a moment ago: whether another write in the same tick would show is unsure.
    assert!(matches!(reader.refresh(&rows.stamp, true).unwrap(), Refreshed::Unsettled));
    let rows = changed(reader.refresh(&rows.stamp, false));
    let settled = TableStamp(match rows.stamp.0 {
        Seen::Files { files, .. } => Seen::Files { files, settled: true },
        other => other,
    });
    assert!(matches!(reader.refresh(&settled, true).unwrap(), Refreshed::Unchanged));
    place.write("other.csv", "10,zz\n");
    assert!(matches!(reader.refresh(&settled, false).unwrap(), Refreshed::Unchanged));
    // Another file of the same size and time under the same name.
    let before = fs::metadata(&path).unwrap().modified().unwrap();
    let new = place.write("new", "2,b\n");
    File::options().write(true).open(&new).unwrap().set_modified(before).unwrap();
    fs::rename(&new, &path).unwrap();
    let rows = changed(reader.refresh(&settled, false));
    assert_eq!(text(&reader, &rows), ["2|b"]);
    place.write("t2.csv", "3,c\n");
    let rows = changed(reader.refresh(&rows.stamp, false));
    assert_eq!(text(&reader, &rows), ["2|b", "3|c"]);
    place.write("t.csv", "broken\n");
    assert!(reader.refresh(&rows.stamp, false).is_err());
    fs::remove_file(&path).unwrap();
    assert_eq!(text(&reader, &changed(reader.refresh(&rows.stamp, false))), ["3|c"]);
}

#[test]
fn a_delta_table_is_read_at_its_newest_version() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let place = Place::new();
    let path = place.at("delta");
    fs::create_dir(&path).unwrap();
    let url = Url::from_directory_path(&path).unwrap();
    let column = |name, kind| StructField::nullable(name, DeltaType::Primitive(kind));
    runtime
        .block_on(
            CreateBuilder::new()
                .with_location(url.clone())
                .with_columns([
                    column("id", PrimitiveType::Long),
                    column("name", PrimitiveType::String),
                ])
                .with_partition_columns(["name"])
                .into_future(),
        )
        .unwrap();
    let append = |ids: Vec<i64>, name: &str| {
        let names = vec![name; ids.len()];
        let batch = RecordBatch::try_from_iter([
            ("id", Arc::new(Int64Array::from(ids)) as ArrayRef),
            ("name", Arc::new(StringArray::from(names))),
        ])
        .unwrap();
        runtime.block_on(async {
            deltalake::open_table(url.clone()).await.unwrap().write(vec![batch]).await.unwrap()
        });
    };
    let options = TableOptions::new(path, TableFormat::Delta);
    let reader = TableReader::open(options.clone(), None).unwrap();
    reader.look().unwrap();
    let rows = reader.read().unwrap();
    assert!(rows.is_empty());
    assert!(matches!(reader.refresh(&rows.stamp, true).unwrap(), Refreshed::Unchanged));
    append(vec![1, 2], "a");
    let rows = changed(reader.refresh(&rows.stamp, true));
    append(vec![3], "b");
    let rows = changed(reader.refresh(&rows.stamp, true));
    let mut seen = text(&reader, &rows);
    seen.sort();
    assert_eq!(seen, ["1|a", "2|a", "3|b"]);
    runtime.block_on(async {
        let table = deltalake::open_table(url.clone()).await.unwrap();
        table.delete().with_predicate("id = 2").await.unwrap()
    });
    let rows = changed(reader.refresh(&rows.stamp, true));
    let mut seen = text(&reader, &rows);
    seen.sort();
    assert_eq!(seen, ["1|a", "3|b"]);
    assert!(matches!(reader.refresh(&rows.stamp, true).unwrap(), Refreshed::Unchanged));
    // Declared: fewer columns, and one that the table lacks is an error.
    let fewer = open(options.clone(), "name STRING");
    assert_eq!(fewer.read().unwrap().len(), 2);
    let error = open(options, "id BIGINT, colour STRING").read().unwrap_err();
    assert!(error.to_string().contains("colour"), "{error}");
}
