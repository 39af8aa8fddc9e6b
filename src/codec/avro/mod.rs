//! Avro records to Arrow batches.
//!
//! Each writer's schema is resolved once against the declared columns: that gives a plan which says
//! for every value where it goes, or that it is passed over. A record then is read in one pass,
//! straight into the columns; when it turns out bad, they are cut back. (The decoder of `arrow-avro`
//! cannot take back half a record, and has to know all writers' schemas when it is built.)
//!
//! What a column takes:
//!
//! | declared | Avro |
//! |---|---|
//! | BOOLEAN | boolean |
//! | TINYINT ... BIGINT | int, long; each value has to be in range |
//! | FLOAT, DOUBLE | float, double (DOUBLE only), int, long |
//! | DECIMAL(p, s) | decimal of bytes or fixed, int, long; rounded half up to `s` digits |
//! | STRING | string, bytes that are UTF-8, enum, uuid |
//! | BINARY | bytes, fixed, string |
//! | DATE | date, string `yyyy-MM-dd` |
//! | TIMESTAMP | timestamp-millis, -micros, -nanos, local ones as UTC; Connect's and Debezium's; text |
//! | STRUCT, ARRAY, MAP | record, array, map |
//! | STRUCT of `member0`, `member1` ... | a union of several types, as Spark reads it |
//!
//! - Fields are found by name; else by an alias that the schema file gives, else without regard to
//!   case. A column that the writer does not have is the schema file's default, or NULL.
//! - A union gives the value of its branch; a value of a branch that does not fit its column makes
//!   that record a bad one. `null` in a NOT NULL column does too.
//! - A writer's schema that does not fit at all makes all of its records bad ones
//!   (`incompatible_schema`), and so does an id that the registry does not know (`unknown_schema`).
//! - A schema that is no record fills the only column there is.

mod default;
mod envelope;
mod input;
mod plan;
mod read;
mod schema;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

pub(super) use self::envelope::{Envelope, EnvelopeField};
use self::input::Input;
pub(super) use self::plan::Misfit;
use self::plan::{Op, Record as RecordPlan, Resolver};
pub use self::schema::AvroSchema;
use super::columns::{Column, MAX_RECORD_VOLUME, Rows};
use super::decoder::RowDecoder;
use super::registry::{FRAME, Registry, SchemaKind, framed};
use super::{AppendError, CodecError, Reason, RecordError};
use crate::source::Record;

/// How Avro records are read.
#[derive(Debug, Clone)]
pub struct AvroOptions {
    /// Where the writers' schemas come from.
    pub writer: AvroWriter,
    /// A schema whose defaults and aliases count for columns that a writer does not have.
    pub defaults: Option<Arc<AvroSchema>>,
}

/// Where a record's schema comes from.
#[derive(Debug, Clone)]
pub enum AvroWriter {
    /// Records begin with a zero byte and the schema's id in the registry, four bytes big-endian
    /// (Confluent's framing).
    Registry(Arc<Registry>),
    /// All records are of this schema.
    Schema {
        /// The schema.
        schema: Arc<AvroSchema>,
        /// They are framed as above nevertheless; the id counts for nothing.
        framed: bool,
    },
}

/// Turns Avro records into Arrow batches.
#[derive(Debug)]
pub(super) struct AvroDecoder {
    rows: Rows,
    /// How many columns are declared, read or not.
    declared: usize,
    options: AvroOptions,
    plans: Plans<Plan>,
}

impl AvroDecoder {
    /// See [`Decoder::new`](super::Decoder::new).
    pub fn new(
        schema: &SchemaRef,
        projection: &[usize],
        options: &AvroOptions,
    ) -> Result<Self, CodecError> {
        let rows = Rows::new(schema.project(projection)?.into())?;
        let declared = schema.fields().len();
        let mut plans = Plans::default();
        if let AvroWriter::Schema { schema, .. } = &options.writer {
            let defaults = options.defaults.as_deref();
            let plan = Plan::new(Arc::clone(schema), defaults, rows.columns(), declared);
            // A schema file is part of the set-up.
            plans.only(plan.map_err(|misfit| misfit.into_codec_error())?);
        }
        Ok(Self { rows, declared, options: options.clone(), plans })
    }
}

impl RowDecoder for AvroDecoder {
    fn append(&mut self, record: &Record<'_>) -> Result<(), AppendError> {
        let Some(payload) = record.payload else { return Err(AppendError::NoRow) };
        let Self { rows, declared, options, plans } = self;
        let (plan, start) = plans.of(payload, &options.writer, |schema| {
            Plan::new(schema, options.defaults.as_deref(), rows.columns(), *declared)
        })?;
        rows.append(|columns, _| plan.read(payload, start, columns))
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

/// What to do with the records of each writer's schema seen so far.
#[derive(Debug)]
pub(super) struct Plans<P> {
    /// By the schema's id; 0 if there is only one.
    known: Vec<(u32, Result<P, RecordError>)>,
    last: usize,
}

impl<P> Default for Plans<P> {
    fn default() -> Self {
        Self { known: Vec::new(), last: 0 }
    }
}

impl<P> Plans<P> {
    /// Sets the plan of all records.
    pub fn only(&mut self, plan: P) {
        self.known = vec![(0, Ok(plan))];
    }

    /// The plan for a record, and where its datum begins. `make` plans for a schema that is new.
    #[inline]
    pub fn of(
        &mut self,
        payload: &[u8],
        writer: &AvroWriter,
        make: impl FnOnce(Arc<AvroSchema>) -> Result<P, Misfit>,
    ) -> Result<(&P, usize), AppendError> {
        if payload.len() > MAX_RECORD_VOLUME {
            return Err(RecordError::new(Reason::Oversized, 0).into());
        }
        let (id, start, registry) = match writer {
            AvroWriter::Registry(registry) => (framed(payload)?, FRAME, Some(registry)),
            AvroWriter::Schema { framed: true, .. } => {
                framed(payload)?;
                (0, FRAME, None)
            }
            AvroWriter::Schema { framed: false, .. } => (0, 0, None),
        };
        if self.known.get(self.last).is_none_or(|(known, _)| *known != id) {
            self.last = match (self.known.iter().position(|(known, _)| *known == id), registry) {
                (Some(found), _) => found,
                (None, Some(registry)) => {
                    let plan = match schema_of(registry, id)? {
                        Ok(schema) => make(schema).map_err(RecordError::from),
                        Err(error) => Err(error),
                    };
                    self.known.push((id, plan));
                    self.known.len() - 1
                }
                // `only` has set it.
                (None, None) => 0,
            };
        }
        match self.known.get(self.last) {
            Some((_, Ok(plan))) => Ok((plan, start)),
            Some((_, Err(error))) => Err(error.clone().into()),
            None => Err(RecordError::new(Reason::IncompatibleSchema, 0).into()),
        }
    }
}

/// The schema with that id. The inner error is a verdict on all records that name it.
fn schema_of(
    registry: &Registry,
    id: u32,
) -> Result<Result<Arc<AvroSchema>, RecordError>, AppendError> {
    let registered = registry.schema_of_record(id, SchemaKind::Avro)?;
    let registered = match registered {
        Ok(registered) => registered,
        Err(error) => return Ok(Err(error)),
    };
    let references = registry.references(&registered)?;
    let references: Vec<&str> = references.iter().map(|(_, text)| text.as_ref()).collect();
    Ok(match AvroSchema::parse_with(&registered.text, &references) {
        Ok(schema) => Ok(Arc::new(schema)),
        Err(error) => {
            let fault = RecordError::new(Reason::IncompatibleSchema, 0);
            Err(fault.with_detail(format!("schema {id}: {error}")))
        }
    })
}

/// A writer's schema and what to do with its values.
#[derive(Debug)]
pub(super) struct Plan {
    schema: Arc<AvroSchema>,
    root: Root,
}

#[derive(Debug)]
enum Root {
    Record(RecordPlan),
    /// Of the only column; None if that is not read.
    Value(Option<Op>),
}

impl Plan {
    /// Plans how to read values of `schema` into `columns`, those that are read of `declared`.
    pub fn new(
        schema: Arc<AvroSchema>,
        defaults: Option<&AvroSchema>,
        columns: &[Column],
        declared: usize,
    ) -> Result<Self, Misfit> {
        let resolver = Resolver { writer: &schema, reader: defaults };
        let root = match schema.fields(&schema.root) {
            Some(fields) => {
                let reader = defaults.map(|schema| &schema.root);
                Root::Record(resolver.record(fields, columns, reader)?)
            }
            None if declared == 1 => {
                let op = columns.first().map(|column| resolver.op(&schema.root, column, None));
                Root::Value(op.transpose()?)
            }
            None => {
                let problem = format!(
                    "{} cannot be read as {declared} columns: it is no record",
                    schema.describe(&schema.root)
                );
                return Err(Misfit { path: "".into(), problem });
            }
        };
        Ok(Self { schema, root })
    }

    /// Reads one datum, which begins at `start` and is all of the rest. Returns what it added.
    #[inline]
    pub fn read(
        &self,
        payload: &[u8],
        start: usize,
        columns: &mut [Column],
    ) -> Result<usize, RecordError> {
        let mut input = Input::new(payload, start);
        match (&self.root, columns.first_mut()) {
            (Root::Record(record), _) => record.read(&self.schema, &mut input, columns)?,
            (Root::Value(Some(op)), Some(column)) => op.read(&self.schema, &mut input, column)?,
            (Root::Value(_), _) => input.skip(&self.schema, &self.schema.root)?,
        }
        input.end()?;
        Ok(input.volume())
    }
}

impl Misfit {
    pub fn into_codec_error(self) -> CodecError {
        let problem = match self.path.is_empty() {
            true => self.problem,
            false => format!("column \"{}\": {}", self.path, self.problem),
        };
        CodecError::Schema { format: "Avro", problem }
    }
}

impl From<Misfit> for RecordError {
    fn from(misfit: Misfit) -> Self {
        let error = RecordError::new(Reason::IncompatibleSchema, 0).with_detail(misfit.problem);
        match misfit.path.is_empty() {
            true => error,
            false => error.at(&misfit.path),
        }
    }
}
