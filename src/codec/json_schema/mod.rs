//! JSON records with a JSON Schema in a registry (Confluent's framing), or in a file.
//!
//! The columns are the declared ones, read as [`json`](super::json) reads them. The schema is there to
//! be kept to: with `validate`, a record that breaks a rule of the schema that it was written with is
//! a bad one (`schema_violation`), though its columns might be readable. Without it the registry is
//! never asked.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use jsonschema::{Retrieve, Uri, Validator};
use serde_json::Value;

use super::decoder::{RowDecoder, json_error};
use super::registry::{FRAME, Registry, SchemaKind, framed};
use super::{AppendError, CodecError, JsonDecoder, JsonOptions, Reason, RecordError};
use crate::source::Record;

/// How JSON records with a schema are read.
#[derive(Debug, Clone)]
pub struct JsonSchemaOptions {
    /// Where the schema is.
    pub schema: JsonSchemaSource,
    /// Whether records have to keep to it.
    pub validate: bool,
    /// How the columns are read.
    pub json: JsonOptions,
}

/// Where a record's JSON Schema is.
#[derive(Debug, Clone)]
pub enum JsonSchemaSource {
    /// Records begin with a zero byte and the schema's id in the registry.
    Registry(Arc<Registry>),
    /// All records keep to this schema.
    Schema {
        /// The schema's text.
        text: Arc<str>,
        /// Records are framed as above nevertheless; the id counts for nothing.
        framed: bool,
    },
}

/// Turns framed JSON records into Arrow batches.
pub(super) struct JsonSchemaDecoder {
    json: JsonDecoder,
    schema: JsonSchemaSource,
    validate: bool,
    /// By the schema's id; 0 if there is only one.
    validators: Vec<(u32, Result<Validator, RecordError>)>,
    last: usize,
}

impl fmt::Debug for JsonSchemaDecoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JsonSchemaDecoder").field("json", &self.json).finish_non_exhaustive()
    }
}

impl JsonSchemaDecoder {
    /// See [`Decoder::new`](super::Decoder::new).
    pub fn new(
        schema: SchemaRef,
        projection: Vec<usize>,
        options: &JsonSchemaOptions,
    ) -> Result<Self, CodecError> {
        let mut validators = Vec::new();
        if let (JsonSchemaSource::Schema { text, .. }, true) = (&options.schema, options.validate) {
            let validator = compile(text, Vec::new())
                .map_err(|problem| CodecError::Schema { format: "JSON", problem })?;
            validators.push((0, Ok(validator)));
        }
        Ok(Self {
            json: JsonDecoder::new(schema, projection, options.json.clone())?,
            schema: options.schema.clone(),
            validate: options.validate,
            validators,
            last: 0,
        })
    }

    /// The validator of the schema with that id.
    fn validator(&mut self, id: u32) -> Result<&Validator, AppendError> {
        if self.validators.get(self.last).is_none_or(|(known, _)| *known != id) {
            let known = self.validators.iter().position(|(known, _)| *known == id);
            self.last = match (known, &self.schema) {
                (Some(known), _) => known,
                (None, JsonSchemaSource::Registry(registry)) => {
                    let Some(validator) = fetch(registry, id)? else {
                        let error = RecordError::new(Reason::UnknownSchema, 1);
                        return Err(error.with_detail(format!("id {id}")).into());
                    };
                    self.validators.push((id, validator));
                    self.validators.len() - 1
                }
                // `new` has made the only one.
                (None, JsonSchemaSource::Schema { .. }) => 0,
            };
        }
        match self.validators.get(self.last) {
            Some((_, Ok(validator))) => Ok(validator),
            Some((_, Err(error))) => Err(error.clone().into()),
            None => Err(RecordError::new(Reason::IncompatibleSchema, 0).into()),
        }
    }
}

impl RowDecoder for JsonSchemaDecoder {
    fn append(&mut self, record: &Record<'_>) -> Result<(), AppendError> {
        let Some(payload) = record.payload else { return Err(AppendError::NoRow) };
        let (id, start) = match &self.schema {
            JsonSchemaSource::Registry(_) => (framed(payload)?, FRAME),
            JsonSchemaSource::Schema { framed: true, .. } => {
                framed(payload)?;
                (0, FRAME)
            }
            JsonSchemaSource::Schema { framed: false, .. } => (0, 0),
        };
        // Confluent's framing of JSON leaves nothing between the id and the document.
        let document = payload.get(start..).unwrap_or_default();
        if self.validate {
            let validator = self.validator(id)?;
            let value: Value = serde_json::from_slice(document).map_err(|error| {
                let truncated = error.is_eof() && !document.trim_ascii().is_empty();
                let reason = match truncated {
                    true => Reason::Truncated,
                    false if document.trim_ascii().is_empty() => Reason::Empty,
                    false => Reason::Syntax("a JSON document"),
                };
                RecordError::new(reason, start)
            })?;
            if let Err(violation) = validator.validate(&value) {
                let path = violation.instance_path().as_str();
                let place = if path.is_empty() { "/" } else { path };
                // Masked: dead letters say in words what is wrong, and show values apart.
                let detail = format!("{} at {place}", violation.masked());
                let error = RecordError::new(Reason::SchemaViolation, start).with_detail(detail);
                let column = path.trim_start_matches('/').replace('/', ".");
                return Err(match column.is_empty() {
                    true => error.into(),
                    false => error.at(&column.into()).into(),
                });
            }
        }
        self.json.append(document).map_err(|mut error| {
            error.offset += start;
            json_error(error)
        })
    }

    fn len(&self) -> usize {
        self.json.len()
    }

    fn memory_bytes(&self) -> usize {
        self.json.memory_bytes()
    }

    fn finish(&mut self) -> Result<RecordBatch, CodecError> {
        self.json.finish()
    }
}

/// The validator of the schema with that id, or the verdict on all records that name it. None if the
/// registry does not know it, which may change.
fn fetch(
    registry: &Registry,
    id: u32,
) -> Result<Option<Result<Validator, RecordError>>, AppendError> {
    let schema = match registry.schema_of_record(id, SchemaKind::Json)? {
        Ok(schema) => schema,
        Err(error) if error.reason == Reason::UnknownSchema => return Ok(None),
        Err(error) => return Ok(Some(Err(error))),
    };
    let references = registry.references(&schema)?;
    Ok(Some(compile(&schema.text, references).map_err(|problem| {
        let error = RecordError::new(Reason::IncompatibleSchema, 0);
        error.with_detail(format!("schema {id}: {problem}"))
    })))
}

fn compile(text: &str, references: Vec<(String, Arc<str>)>) -> Result<Validator, String> {
    let schema: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let references = references
        .into_iter()
        .filter_map(|(name, text)| Some((name, serde_json::from_str(&text).ok()?)))
        .collect();
    jsonschema::options()
        .with_retriever(References(references))
        .build(&schema)
        .map_err(|error| error.to_string())
}

/// The schemas that one refers to. Nothing else is ever fetched.
struct References(HashMap<String, Value>);

impl Retrieve for References {
    fn retrieve(&self, uri: &Uri<String>) -> Result<Value, Box<dyn Error + Send + Sync>> {
        let uri = uri.as_str();
        // A relative name has been made absolute by the base of the schema that uses it.
        let found = self.0.get(uri).or_else(|| {
            let mut found = self.0.iter().filter(|(name, _)| {
                let name = name.trim_start_matches("./");
                uri.strip_suffix(name).is_some_and(|base| base.ends_with('/'))
            });
            found.next().map(|(_, schema)| schema)
        });
        found.cloned().ok_or_else(|| format!("{uri} is not among the schema's references").into())
    }
}
