//! Bytes to Arrow: how a message of a source becomes a row of a batch.
//!
//! [`ddl`] reads the declared schema of a source (Spark's DDL strings); [`json`] decodes JSON
//! messages by it. A decoder judges every record on its own: a bad one is reported with a
//! reason and leaves no trace in the batch that its neighbours are in.

pub mod ddl;
pub mod dead_letter;
pub mod json;

pub use ddl::{DdlError, parse_schema};
pub use json::{JsonDecoder, JsonOptions, Reason, RecordError, TimestampFormat, UnknownFields};

/// What is wrong with a decoder's set-up, or with a batch as a whole (never with one record:
/// that is a [`RecordError`]).
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// A column of a type that cannot be decoded from this format.
    #[error("column \"{column}\" has type {data_type}, which cannot be decoded from JSON")]
    UnsupportedType { column: String, data_type: String },
    /// A projection that names a column the schema does not have, or one twice.
    #[error("projection index {index} {problem} (the schema has {columns} columns)")]
    Projection { index: usize, columns: usize, problem: &'static str },
    /// An option out of its range, or one that names an unknown column.
    #[error("option {option}: {problem}")]
    Option { option: &'static str, problem: String },
    /// Arrow refused the columns. This would be a fault of the decoder.
    #[error("could not assemble the batch: {0}")]
    Arrow(#[from] arrow::error::ArrowError),
}
