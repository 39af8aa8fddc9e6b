//! Parquet.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit};
use parquet::arrow::ArrowWriter;
use parquet::data_type::{Int96, Int96Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

use super::*;

fn declared() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("name", DataType::Utf8, true),
        Field::new("price", DataType::Float64, true),
    ]))
}

fn encode(columns: Vec<(&str, ArrayRef)>, group: usize) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(group)).build();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

fn rows(from: i64, count: i64) -> Vec<u8> {
    let ids = from..from + count;
    encode(
        vec![
            ("id", Arc::new(Int64Array::from_iter_values(ids.clone()))),
            ("name", Arc::new(StringArray::from_iter_values(ids.map(|id| format!("n{id}"))))),
            ("price", Arc::new(Float64Array::from(vec![0.5; count as usize]))),
        ],
        37,
    )
}

fn options(place: &Place, projection: &[usize]) -> FilesOptions {
    let mut options = place.options();
    options.format = FileFormat::Parquet { schema: declared(), projection: projection.to_vec() };
    options
}

#[derive(Debug, Default)]
struct Columns {
    batches: Vec<RecordBatch>,
    firsts: Vec<i64>,
    damaged: Vec<Damaged>,
    next: i64,
}

impl Columns {
    fn all(&self) -> RecordBatch {
        concat_batches(&self.batches[0].schema(), &self.batches).unwrap()
    }

    fn ids(&self) -> Vec<i64> {
        let ids =
            |batch: &RecordBatch| batch.column(0).as_primitive::<Int64Type>().values().to_vec();
        self.batches.iter().flat_map(ids).collect()
    }
}

fn read_columns(source: &mut FilesSource, limit: usize) -> Columns {
    let mut columns = Columns::default();
    loop {
        let taken = source.take_columns(limit).unwrap();
        assert!(taken.error.is_none(), "{:?}", taken.error);
        assert!(taken.batch.is_none() || taken.damaged.is_empty(), "not both");
        let next = taken.next.unwrap();
        assert!(next >= columns.next && taken.damaged.iter().all(|part| part.offset >= next));
        if let Some(batch) = taken.batch {
            assert!(batch.num_rows() > 0 && batch.num_rows() <= limit);
            assert!(taken.file.is_some() && taken.modified_us.is_some());
            columns.firsts.push(taken.first);
            columns.batches.push(batch);
        }
        columns.damaged.extend(taken.damaged);
        columns.next = next;
        if taken.finished {
            return columns;
        }
    }
}

fn read(place: &Place, projection: &[usize]) -> Columns {
    let mut source = place.open(&options(place, projection));
    source.bound().unwrap();
    assert_eq!(source.take(10, &mut |_| panic!("no records")).messages, 0);
    read_columns(&mut source, 1000)
}

#[test]
fn every_row_is_a_position() {
    let place = Place::new();
    place.write_aged("1.parquet", rows(0, 100), 20);
    place.write_aged("2.parquet", rows(100, 50), 10);
    let all = read(&place, &[0, 1, 2]);
    assert_eq!(all.ids(), (0..150).collect::<Vec<_>>());
    assert_eq!(all.next, position(2, 0));
    for next in 0..150i64 {
        let at = if next < 100 { position(0, next as u64) } else { position(1, next as u64 - 100) };
        let mut source = place.open(&options(&place, &[0, 1, 2]));
        source.bound().unwrap();
        source.seek(at).unwrap();
        let rest = read_columns(&mut source, 13);
        assert_eq!(rest.ids(), (next..150).collect::<Vec<_>>());
        assert_eq!(rest.firsts[0], at);
    }
}

#[test]
fn columns_are_taken_by_name() {
    let place = Place::new();
    let bytes = encode(
        vec![
            ("extra", Arc::new(Int32Array::from(vec![7, 8])) as ArrayRef),
            ("PRICE", Arc::new(Int32Array::from(vec![3, 4]))),
            ("id", Arc::new(Int32Array::from(vec![Some(1), None]))),
        ],
        10,
    );
    place.write("1.parquet", bytes);
    let all = read(&place, &[2, 0, 1]);
    let batch = all.all();
    assert_eq!(batch.schema().fields()[0].name(), "price");
    let prices = batch.column(0).as_primitive::<arrow::datatypes::Float64Type>();
    assert_eq!(prices.values().to_vec(), [3.0, 4.0]);
    assert_eq!(
        batch.column(1).as_primitive::<Int64Type>().iter().collect::<Vec<_>>(),
        [Some(1), None]
    );
    assert_eq!(batch.column(2).null_count(), 2, "missing is NULL");
}

#[test]
fn rows_are_counted_even_when_no_column_is_read() {
    let place = Place::new();
    place.write("1.parquet", rows(0, 90));
    let all = read(&place, &[]);
    let count: usize = all.batches.iter().map(RecordBatch::num_rows).sum();
    assert_eq!((count, all.batches[0].num_columns()), (90, 0));
}

#[test]
fn files_that_do_not_fit_are_a_dead_letter_each() {
    let place = Place::new();
    let text = Arc::new(StringArray::from(vec!["x"])) as ArrayRef;
    place.write_aged("1.parquet", encode(vec![("id", text)], 10), 50);
    place.write_aged("2.parquet", "PAR1 and nothing else", 40);
    let whole = rows(0, 100);
    place.write_aged("3.parquet", &whole[..whole.len() - 20], 30);
    place.write_aged("4.parquet", rows(5, 1), 10);
    let all = read(&place, &[0, 1, 2]);
    assert_eq!(all.ids(), [5]);
    assert_eq!(all.damaged.len(), 3);
    let error = &all.damaged[0].error;
    assert!(error.contains("`id`") && error.contains("Utf8"), "{error}");
    let offsets: Vec<i64> = all.damaged.iter().map(|damaged| damaged.offset).collect();
    assert_eq!(offsets, [position(0, 0), position(1, 0), position(2, 0)]);
    assert!(all.damaged.iter().all(|damaged| damaged.reason == "unreadable_file"));
}

#[test]
fn a_page_that_is_damaged_ends_its_file() {
    let place = Place::new();
    let mut bytes = rows(0, 20_000);
    let middle = bytes.len() / 2;
    for byte in &mut bytes[middle..middle + 64] {
        *byte ^= 0xa5;
    }
    place.write_aged("1.parquet", &bytes, 10);
    place.write_aged("2.parquet", rows(30_000, 2), 5);
    let all = read(&place, &[0, 1, 2]);
    let ids = all.ids();
    let good = ids.len() - 2;
    assert_eq!(ids[good..], [30_000, 30_001]);
    assert_eq!(ids[..good], (0..good as i64).collect::<Vec<_>>());
    assert_eq!(all.damaged.len(), 1);
    assert_eq!(all.damaged[0].offset, position(0, good as u64));
}

#[test]
fn int96_timestamps_may_be_far_away() {
    let schema = Arc::new(parse_message_type("message m { optional int96 at; }").unwrap());
    let mut bytes = Vec::new();
    let mut writer =
        SerializedFileWriter::new(&mut bytes, schema, Arc::new(WriterProperties::default()))
            .unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let mut at = Int96::new();
    // 9999-12-31 is Julian day 5,373,484; nanoseconds of the day first.
    at.set_data(1_500, 0, 5_373_484);
    column.typed::<Int96Type>().write_batch(&[at], Some(&[1]), None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
    let place = Place::new();
    place.write("1.parquet", bytes);
    let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let schema = Arc::new(Schema::new(vec![Field::new("at", utc, true)]));
    let mut options = place.options();
    options.format = FileFormat::Parquet { schema, projection: vec![0] };
    let mut source = place.open(&options);
    source.bound().unwrap();
    let all = read_columns(&mut source, 10);
    let at = all.all();
    let at = at.column(0).as_primitive::<arrow::datatypes::TimestampMicrosecondType>();
    assert_eq!(at.value(0), 253_402_214_400_000_001);
}

#[test]
fn a_directory_away_is_waited_for() {
    let place = Place::new();
    place.write("1.parquet", rows(0, 3));
    let mut source = place.open(&options(&place, &[0]));
    source.bound().unwrap();
    let away = place.dir.path().join("away");
    fs::rename(place.input(), &away).unwrap();
    let taken = source.take_columns(10).unwrap();
    assert!(taken.batch.is_none() && taken.damaged.is_empty() && !taken.finished);
    fs::rename(&away, place.input()).unwrap();
    assert_eq!(read_columns(&mut source, 10).ids(), [0, 1, 2]);
}
