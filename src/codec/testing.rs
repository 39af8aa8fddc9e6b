//! What the tests of several formats share.

#[path = "../../tests/it/support/registry.rs"]
pub(crate) mod server;

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::SchemaRef;
use arrow::util::display::array_value_to_string;
use proptest::prelude::*;

pub use self::server::SchemaRegistry;
use super::columns::{Column, Rows, Values};
use super::{AppendError, Registry, RegistryOptions, parse_schema};

/// Options for a client of `server` that gives up soon.
pub fn options_for(server: &SchemaRegistry) -> RegistryOptions {
    RegistryOptions {
        urls: vec![server.url()],
        attempts: 2,
        timeout: Duration::from_secs(20),
        ..RegistryOptions::default()
    }
}

pub fn registry_for(server: &SchemaRegistry) -> Arc<Registry> {
    Arc::new(Registry::new(options_for(server)).unwrap())
}

/// The code and the column of a verdict.
pub fn code(error: AppendError) -> (&'static str, Option<String>) {
    match error {
        AppendError::Bad(error) => (error.code(), error.column.map(|column| column.to_string())),
        other => panic!("{other}"),
    }
}

/// Rows as text, NULL as `-`.
pub fn shown(batch: &RecordBatch) -> Vec<Vec<String>> {
    let cell = |column: usize, row| match batch.column(column).is_null(row) {
        true => "-".to_owned(),
        false => array_value_to_string(batch.column(column), row).unwrap(),
    };
    (0..batch.num_rows())
        .map(|row| (0..batch.num_columns()).map(|column| cell(column, row)).collect())
        .collect()
}

/// Columns of all types.
pub fn declared() -> SchemaRef {
    parse_schema(
        "b BOOLEAN, i8 TINYINT, i16 SMALLINT, i32 INT NOT NULL, i64 BIGINT, f32 FLOAT, f64 DOUBLE, \
         d DECIMAL(20,3), s STRING NOT NULL, y BINARY, day DATE, at TIMESTAMP NOT NULL, \
         st STRUCT<a: INT, b: STRING NOT NULL, c: STRUCT<x: DOUBLE>>, l ARRAY<STRING>, \
         ll ARRAY<ARRAY<INT>>, m MAP<STRING, BIGINT>, ls ARRAY<STRUCT<k: STRING, v: DECIMAL(5,2)>>",
    )
    .unwrap()
}

/// Random batches of these.
pub fn batches() -> impl Strategy<Value = RecordBatch> {
    prop::collection::vec(any::<u64>(), 0..12).prop_map(|seeds| {
        let mut rows = Rows::new(declared()).unwrap();
        for seed in seeds {
            let mut random = Random(seed);
            rows.append(|columns, _| {
                columns.iter_mut().for_each(|column| fill(column, &mut random));
                Ok(0)
            })
            .unwrap();
        }
        rows.finish().unwrap()
    })
}

/// Splitmix64 (Steele, Lea and Flood, 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn text(&mut self) -> String {
        const PIECES: [&str; 14] =
            ["a", "Z", "0", " ", ",", "\"", "\\", "\n", "\r\n", "é", "日", "null", "'", "\u{1}"];
        let length = self.below(6);
        (0..length).map(|_| PIECES[self.below(14) as usize]).collect()
    }
}

fn fill(column: &mut Column, random: &mut Random) {
    if column.field.is_nullable() && random.below(4) == 0 {
        return column.push_null();
    }
    // Small numbers and large ones.
    let number = (random.next().cast_signed()) >> random.below(64);
    match &mut column.values {
        Values::Boolean(_) => drop(column.push_bool(number % 2 == 0)),
        Values::Int8(_) => drop(column.push_integer((number as i8).into())),
        Values::Int16(_) => drop(column.push_integer((number as i16).into())),
        Values::Int32(_) => drop(column.push_i32(number as i32)),
        Values::Int64(_) => drop(column.push_i64(number)),
        Values::Float32(_) => drop(column.push_f32(number as f32 / 7.0)),
        Values::Float64(_) => drop(column.push_f64(number as f64 / 7.0)),
        Values::Decimal(_, precision, _) => {
            let bound = 10i128.pow(u32::from(*precision));
            column.push_decimal(i128::from(number) % bound);
        }
        Values::Utf8(_) | Values::Binary(_) => drop(column.push_bytes(random.text().as_bytes())),
        Values::Date(_) => drop(column.push_i32((number % 700_000) as i32)),
        Values::Timestamp(_) => drop(column.push_i64(number % 60_000_000_000_000_000)),
        Values::Struct(columns) => {
            columns.iter_mut().for_each(|column| fill(column, random));
            column.end_container();
        }
        Values::List(_, element) => {
            (0..random.below(4)).for_each(|_| fill(element, random));
            column.end_container();
        }
        Values::Map(map) => {
            for entry in 0..random.below(4) {
                map.keys.push(format!("k{entry}").as_bytes());
                fill(&mut map.values, random);
            }
            column.end_container();
        }
    }
}
