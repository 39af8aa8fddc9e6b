//! Rows as Avro data.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use arrow_avro::schema::{FingerprintStrategy, SCHEMA_METADATA_KEY};
use arrow_avro::writer::{self, WriterBuilder, format::AvroSoeFormat};
use serde_json::{Value, json};

use super::EncodedRows;
use crate::codec::CodecError;
use crate::codec::registry::{FRAME, Registry, SchemaKind};

/// How Avro is written.
#[derive(Debug, Clone)]
pub struct AvroEncoding {
    /// Where the schema is registered and under which subject (`<topic>-value` by custom). Each datum
    /// then begins with a zero byte and the schema's id; without, data stand alone.
    pub registry: Option<(Arc<Registry>, String)>,
    /// The record's name, perhaps with a namespace: `com.example.Totals`.
    pub name: String,
}

/// The Avro schema of rows of `schema`, a record by the name `name`. Columns that may be NULL are
/// unions with null, whose default is null, so that a column can be added or left out later.
///
/// # Errors
/// [`CodecError`] if a type has no counterpart, or a name is not one that Avro allows (letters,
/// digits and `_`).
pub fn avro_schema(schema: &Schema, name: &str) -> Result<String, CodecError> {
    if !name.split('.').all(is_name) {
        let problem = format!("\"{name}\" is not a name that Avro allows");
        return Err(CodecError::Option { option: "name", problem });
    }
    Ok(record(schema.fields(), name, "")?.to_string())
}

fn record(fields: &Fields, name: &str, path: &str) -> Result<Value, CodecError> {
    let fields = fields.iter().map(|field| {
        let path = match path.is_empty() {
            true => field.name().clone(),
            false => format!("{path}.{}", field.name()),
        };
        if !is_name(field.name()) {
            let problem = format!(
                "column \"{path}\" has a name that Avro does not allow: give it another with AS"
            );
            return Err(CodecError::Schema { format: "Avro", problem });
        }
        // Types of records have to have names of their own.
        let inner = format!("{name}_{}", field.name());
        let data_type = data_type(field, &inner, &path)?;
        Ok(match field.is_nullable() {
            true => json!({"name": field.name(), "type": data_type, "default": null}),
            false => json!({"name": field.name(), "type": data_type}),
        })
    });
    let fields = fields.collect::<Result<Vec<_>, _>>()?;
    Ok(json!({"type": "record", "name": name, "fields": fields}))
}

fn data_type(field: &Field, name: &str, path: &str) -> Result<Value, CodecError> {
    let plain = match field.data_type() {
        DataType::Boolean => json!("boolean"),
        DataType::Int8 | DataType::Int16 | DataType::Int32 => json!("int"),
        DataType::Int64 => json!("long"),
        DataType::Float32 => json!("float"),
        DataType::Float64 => json!("double"),
        DataType::Decimal128(precision, scale) if *scale >= 0 => json!({
            "type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale
        }),
        DataType::Utf8 => json!("string"),
        DataType::Binary => json!("bytes"),
        DataType::Date32 => json!({"type": "int", "logicalType": "date"}),
        DataType::Timestamp(..) => json!({"type": "long", "logicalType": "timestamp-micros"}),
        DataType::Struct(fields) => record(fields, name, path)?,
        DataType::List(element) => {
            json!({"type": "array", "items": data_type(element, name, path)?})
        }
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(entry) if entry.len() == 2 => {
                json!({"type": "map", "values": data_type(&entry[1], name, path)?})
            }
            other => return Err(super::unsupported(path, other)),
        },
        other => return Err(super::unsupported(path, other)),
    };
    Ok(match field.is_nullable() {
        true => json!(["null", plain]),
        false => plain,
    })
}

fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

pub(super) struct AvroEncoder {
    writer: writer::Encoder,
    /// What batches are relabelled with: it carries the Avro schema.
    schema: SchemaRef,
    framed: bool,
}

impl fmt::Debug for AvroEncoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AvroEncoder").field("schema", &self.schema).finish_non_exhaustive()
    }
}

impl AvroEncoder {
    pub fn new(schema: &SchemaRef, options: &AvroEncoding) -> Result<Self, CodecError> {
        let text = avro_schema(schema, &options.name)?;
        let id = match &options.registry {
            Some((registry, subject)) => {
                Some(registry.register(subject, SchemaKind::Avro, &text)?)
            }
            None => None,
        };
        let metadata = HashMap::from([(SCHEMA_METADATA_KEY.to_owned(), text)]);
        let schema = Schema::new_with_metadata(schema.fields().clone(), metadata);
        let writer = WriterBuilder::new(schema.clone())
            // The frame of data that stand alone is cut off again.
            .with_fingerprint_strategy(FingerprintStrategy::Id(id.unwrap_or_default()))
            .build_encoder::<AvroSoeFormat>()
            .map_err(refused)?;
        Ok(Self { writer, schema: Arc::new(schema), framed: id.is_some() })
    }

    pub fn encode(&mut self, batch: &RecordBatch) -> Result<EncodedRows, CodecError> {
        let batch = batch.clone().with_schema(Arc::clone(&self.schema))?;
        // Whatever an earlier failure has left.
        self.writer.flush();
        self.writer.encode(&batch).map_err(refused)?;
        let written = self.writer.flush();
        let mut rows = EncodedRows::default();
        rows.bytes.reserve(written.bytes().len());
        for row in written.iter() {
            let start = if self.framed { 0 } else { FRAME };
            rows.bytes.extend_from_slice(row.get(start..).unwrap_or_default());
            rows.end_row();
        }
        Ok(rows)
    }
}

fn refused(error: impl fmt::Display) -> CodecError {
    CodecError::Schema { format: "Avro", problem: error.to_string() }
}
