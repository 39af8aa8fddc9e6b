//! Bytes to Arrow: how a message of a source becomes a row of a batch, and back for sinks.
//!
//! [`ddl`] reads the declared schema of a source (Spark's DDL strings). A [`Decoder`] turns the
//! records of one partition into batches of that schema, by one of the formats of [`FormatSpec`].
//! It judges every record on its own: a bad one is reported with a reason and leaves no trace in
//! the batch that its neighbours are in. That a schema registry does not answer is not a record's
//! fault, and is told apart ([`AppendError`]).

pub mod avro;
mod columns;
pub mod csv;
pub mod ddl;
pub mod dead_letter;
pub mod debezium;
mod decimal;
mod decoder;
pub mod encode;
mod error;
pub mod json;
pub mod json_schema;
mod metadata;
pub mod protobuf;
mod raw;
pub mod registry;
mod text;
mod weave;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use avro::{AvroOptions, AvroSchema, AvroWriter};
pub use csv::{CsvHeader, CsvMode, CsvOptions};
pub use ddl::{DdlError, parse_schema, type_name};
pub use debezium::{DebeziumFormat, DebeziumOptions, DecimalFormat};
pub use decoder::{Decoder, FormatSpec};
pub use encode::{AvroEncoding, CsvEncoding, EncodedRows, Encoder, EncodingSpec, JsonEncoding};
pub use error::{AppendError, CodecError, Reason, RecordError};
pub use json::{JsonDecoder, JsonOptions, TimestampFormat, UnknownFields};
pub use json_schema::{JsonSchemaOptions, JsonSchemaSource};
pub use metadata::{MetadataColumn, raw_schema};
pub use protobuf::{ProtobufOptions, ProtobufSchema, ProtobufSource};
pub use registry::{Registry, RegistryAuth, RegistryError, RegistryOptions};
pub use text::text_schema;
