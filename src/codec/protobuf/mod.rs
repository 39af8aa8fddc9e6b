//! Protobuf records to Arrow batches.
//!
//! The schema is a `.proto` file or a descriptor set, or comes from a registry, where records are
//! framed: a zero byte, the schema's id, and the place of the message in the schema's file.
//!
//! | declared | Protobuf |
//! |---|---|
//! | BOOLEAN | bool |
//! | TINYINT ... BIGINT, FLOAT, DOUBLE, DECIMAL | all integers, enum (its number); checked, unsigned too |
//! | FLOAT, DOUBLE | float, double (DOUBLE only) |
//! | STRING | string, enum (its name) |
//! | BINARY | bytes, string |
//! | TIMESTAMP | `google.protobuf.Timestamp`, cut after microseconds |
//! | STRUCT, ARRAY, MAP | message, repeated, map (keys as text) |
//!
//! - A field that can be absent (`optional`, in a `oneof`, a message, proto2) is NULL when it is. A
//!   field that cannot is never NULL: its default stands for absence (`0`, `""`, the first symbol).
//! - Wrappers (`google.protobuf.Int64Value` ...) are their value, or NULL.
//! - A column that the message does not have is NULL. An enum's number without a name is a bad
//!   record where its name is asked for.
//! - Strings must be UTF-8. Unknown fields are passed over, as Protobuf has it: most garbage is
//!   *not* recognised as such.

mod schema;
mod value;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use prost_reflect::{DynamicMessage, MessageDescriptor};

pub use self::schema::ProtobufSchema;
use self::value::{MessagePlan, Misfit};
use super::columns::{Column, MAX_RECORD_VOLUME, Rows};
use super::decoder::RowDecoder;
use super::registry::{FRAME, Registry, SchemaKind, framed};
use super::{AppendError, CodecError, Reason, RecordError};
use crate::source::Record;

/// How Protobuf records are read.
#[derive(Debug, Clone)]
pub struct ProtobufOptions {
    /// Where the schema is.
    pub schema: ProtobufSource,
    /// The message that records are. With a registry it may be left out; if it is given, records that
    /// are other messages are bad ones.
    pub message: Option<String>,
}

/// Where a record's schema is.
#[derive(Debug, Clone)]
pub enum ProtobufSource {
    /// Records begin with a zero byte, the schema's id in the registry, and the message's indexes.
    Registry(Arc<Registry>),
    /// All records are messages of this schema.
    Schema {
        /// The schema.
        schema: Arc<ProtobufSchema>,
        /// They are framed as above nevertheless; id and indexes count for nothing.
        framed: bool,
    },
}

/// Turns Protobuf messages into Arrow batches.
#[derive(Debug)]
pub(super) struct ProtobufDecoder {
    rows: Rows,
    options: ProtobufOptions,
    schemas: Vec<(u32, Result<ProtobufSchema, RecordError>)>,
    /// By the schema's id and the message's indexes.
    plans: Vec<(u32, Vec<usize>, Result<Plan, RecordError>)>,
    last: usize,
    indexes: Vec<usize>,
}

#[derive(Debug)]
struct Plan {
    message: MessageDescriptor,
    columns: MessagePlan,
}

impl ProtobufDecoder {
    /// See [`Decoder::new`](super::Decoder::new).
    pub fn new(
        schema: &SchemaRef,
        projection: &[usize],
        options: &ProtobufOptions,
    ) -> Result<Self, CodecError> {
        let rows = Rows::new(schema.project(projection)?.into())?;
        let mut plans = Vec::new();
        if let ProtobufSource::Schema { schema, .. } = &options.schema {
            let Some(name) = &options.message else {
                let problem = "must say which message of the schema records are".to_owned();
                return Err(CodecError::Option { option: "message", problem });
            };
            let plan = Plan::new(schema.message(name)?, rows.columns());
            // A schema file is part of the set-up.
            let plan = plan.map_err(|misfit| CodecError::Schema {
                format: "Protobuf",
                problem: format!("column \"{}\": {}", misfit.path, misfit.problem),
            })?;
            plans.push((0, Vec::new(), Ok(plan)));
        }
        let options = options.clone();
        Ok(Self { rows, options, schemas: Vec::new(), plans, last: 0, indexes: Vec::new() })
    }

    /// The position of the plan for messages of schema `id` at `self.indexes`.
    fn plan(&mut self, id: u32) -> Result<usize, AppendError> {
        let is = |(known, at, _): &(u32, Vec<usize>, _)| *known == id && *at == self.indexes;
        if self.plans.get(self.last).is_some_and(is) {
            return Ok(self.last);
        }
        if let Some(found) = self.plans.iter().position(is) {
            return Ok(found);
        }
        let ProtobufSource::Registry(registry) = &self.options.schema else {
            // `new` has made the only one.
            return Ok(0);
        };
        let schema = match self.schemas.iter().position(|(known, _)| *known == id) {
            Some(known) => known,
            None => {
                let compiled = match registry.schema_of_record(id, SchemaKind::Protobuf)? {
                    // It may be known later.
                    Err(error) if error.reason == Reason::UnknownSchema => return Err(error.into()),
                    Err(error) => Err(error),
                    Ok(schema) => {
                        let imports = registry.references(&schema)?;
                        ProtobufSchema::compile(&schema.text, &imports).map_err(|error| {
                            let fault = RecordError::new(Reason::IncompatibleSchema, 0);
                            fault.with_detail(format!("schema {id}: {error}"))
                        })
                    }
                };
                self.schemas.push((id, compiled));
                self.schemas.len() - 1
            }
        };
        let plan = match &self.schemas[schema].1 {
            Err(error) => Err(error.clone()),
            Ok(schema) => self.plan_of(schema),
        };
        self.plans.push((id, self.indexes.clone(), plan));
        Ok(self.plans.len() - 1)
    }

    fn plan_of(&self, schema: &ProtobufSchema) -> Result<Plan, RecordError> {
        let Some(message) = schema.by_indexes(&self.indexes) else {
            let problem = "the record names a message that its schema does not have";
            return Err(RecordError::new(Reason::Framing(problem), FRAME));
        };
        if let Some(wanted) = &self.options.message
            && wanted != message.full_name()
            && wanted != message.name()
        {
            let detail = format!("it is message {}, expected {wanted}", message.full_name());
            return Err(RecordError::new(Reason::IncompatibleSchema, 0).with_detail(detail));
        }
        Plan::new(message, self.rows.columns()).map_err(|misfit| {
            let error = RecordError::new(Reason::IncompatibleSchema, 0);
            error.at(&misfit.path).with_detail(misfit.problem)
        })
    }
}

impl Plan {
    fn new(message: MessageDescriptor, columns: &[Column]) -> Result<Self, Misfit> {
        let columns = MessagePlan::new(&message, columns)?;
        Ok(Self { message, columns })
    }
}

impl RowDecoder for ProtobufDecoder {
    fn append(&mut self, record: &Record<'_>) -> Result<(), AppendError> {
        let Some(payload) = record.payload else { return Err(AppendError::NoRow) };
        // A value of one byte can take four in a column of numbers.
        if payload.len() > MAX_RECORD_VOLUME / 8 {
            return Err(RecordError::new(Reason::Oversized, 0).into());
        }
        let (id, start) = match &self.options.schema {
            ProtobufSource::Schema { framed: false, .. } => (0, 0),
            source => {
                let id = framed(payload)?;
                let start = read_indexes(payload, &mut self.indexes)?;
                match source {
                    ProtobufSource::Registry(_) => (id, start),
                    ProtobufSource::Schema { .. } => {
                        self.indexes.clear();
                        (0, start)
                    }
                }
            }
        };
        self.last = self.plan(id)?;
        let plan = match self.plans.get(self.last) {
            Some((_, _, Ok(plan))) => plan,
            Some((_, _, Err(error))) => return Err(error.clone().into()),
            None => return Err(RecordError::new(Reason::IncompatibleSchema, 0).into()),
        };
        let body = payload.get(start..).unwrap_or_default();
        let message = DynamicMessage::decode(plan.message.clone(), body).map_err(|error| {
            let fault = RecordError::new(Reason::Malformed("invalid Protobuf"), start);
            fault.with_detail(error.to_string())
        })?;
        self.rows.append(|columns, _| {
            let mut volume = 0;
            plan.columns.push(&message, columns, &mut volume)?;
            Ok(volume)
        })
    }

    fn len(&self) -> usize {
        self.rows.len()
    }

    fn memory_bytes(&self) -> usize {
        self.rows.bytes()
    }

    fn finish(&mut self) -> Result<RecordBatch, CodecError> {
        self.rows.finish()
    }
}

/// How deep messages may be defined within each other; far above any real schema.
const MAX_INDEXES: u64 = 64;

/// Reads the message's indexes, which follow the schema's id: how many there are and each of them, as
/// zig-zag varints; a single zero stands for the first message of the file. Returns where the message
/// begins.
fn read_indexes(payload: &[u8], indexes: &mut Vec<usize>) -> Result<usize, RecordError> {
    indexes.clear();
    let mut at = FRAME;
    let count = varint(payload, &mut at)?;
    if count == 0 {
        indexes.push(0);
        return Ok(at);
    }
    if count > MAX_INDEXES {
        let problem = "the record's message indexes are not valid";
        return Err(RecordError::new(Reason::Framing(problem), FRAME));
    }
    for _ in 0..count {
        let index = varint(payload, &mut at)?;
        indexes.push(usize::try_from(index).unwrap_or(usize::MAX));
    }
    Ok(at)
}

/// A zig-zag varint that is not negative.
fn varint(payload: &[u8], at: &mut usize) -> Result<u64, RecordError> {
    let mut value = 0u64;
    for shift in (0..35).step_by(7) {
        let Some(byte) = payload.get(*at) else {
            return Err(RecordError::new(Reason::Truncated, payload.len()));
        };
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            if value & 1 == 0 {
                return Ok(value >> 1);
            }
            break;
        }
    }
    let problem = "the record's message indexes are not valid";
    Err(RecordError::new(Reason::Framing(problem), *at))
}
