//! What the tests of several formats share.

#[path = "../../tests/it/support/registry.rs"]
mod server;

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, RecordBatch};
use arrow::util::display::array_value_to_string;

pub use self::server::SchemaRegistry;
use super::{AppendError, Registry, RegistryOptions};

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
