//! Debezium's change events: envelopes around rows, in JSON or in Avro.
//!
//! A row of the batch is the row of the table as the event leaves it: `after` for what was created
//! (`c`), read by a snapshot (`r`) or updated (`u`), and `before` for what was deleted (`d`). Columns
//! by these names, if they are declared, tell more about the event:
//!
//! | column | |
//! |---|---|
//! | `_op` STRING | `c`, `r`, `u` or `d` |
//! | `_ts` TIMESTAMP | when the connector processed it (`ts_ms`) |
//! | `_source_ts` TIMESTAMP | when the database did (`source.ts_ms`) |
//!
//! - A tombstone, which follows a deletion in a compacted topic, is no row.
//! - Events that have no row (`t`, a truncated table; `m`, a message in the log) are bad records
//!   (`unsupported_operation`), so that nobody misses them.
//! - Of what was deleted a database may only have kept the key (PostgreSQL's replica identity): the
//!   other columns are NULL then, so they should not be declared NOT NULL.
//! - JSON may have the envelope's schema beside it or not (`schemas.enable`). With it, dates, times
//!   and decimals are read as it says. Without it TIMESTAMPs are as the options say (Debezium writes
//!   numbers of milli- or microseconds, by the database's type), DATEs are days since the epoch or
//!   `yyyy-MM-dd`, and DECIMALs are numbers or, if the options say so, base64.

mod avro;
mod connect;
mod json;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use self::avro::AvroRows;
use self::json::JsonRows;
use super::avro::AvroOptions;
use super::columns::{Column, Rows};
use super::decoder::RowDecoder;
use super::metadata::MetadataColumn;
use super::weave::Weave;
use super::{AppendError, CodecError, JsonOptions, Reason, RecordError};
use crate::source::Record;

/// How change events are read.
#[derive(Debug, Clone)]
pub struct DebeziumOptions {
    /// What envelopes are written in.
    pub format: DebeziumFormat,
    /// The column that holds the operation, a STRING. Default: `_op`.
    pub op_column: String,
    /// The column that holds the time of the event, a TIMESTAMP. Default: `_ts`.
    pub ts_column: String,
}

impl DebeziumOptions {
    /// The defaults, for envelopes in this format.
    pub fn new(format: DebeziumFormat) -> Self {
        Self { format, op_column: "_op".to_owned(), ts_column: "_ts".to_owned() }
    }
}

/// What Debezium's envelopes are written in.
#[derive(Debug, Clone)]
pub enum DebeziumFormat {
    /// JSON, with or without its schema.
    Json {
        /// How the columns are read, where the schema does not say.
        json: JsonOptions,
        /// How DECIMAL columns are written, where the schema does not say.
        decimals: DecimalFormat,
    },
    /// Avro.
    Avro(AvroOptions),
}

/// How Debezium writes decimals in JSON (its `decimal.handling.mode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DecimalFormat {
    /// Numbers, or strings of them (`double`, `string`).
    #[default]
    Text,
    /// Base64 of the unscaled value, whose scale is the column's (`precise`).
    Base64,
}

/// What a column tells about the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum About {
    Op,
    Ts,
    SourceTs,
}

impl About {
    fn of(field: &Field, options: &DebeziumOptions) -> Result<Option<Self>, CodecError> {
        let name = field.name();
        let (about, wanted) = if *name == options.op_column {
            (Self::Op, DataType::Utf8)
        } else if *name == options.ts_column {
            (Self::Ts, MetadataColumn::Timestamp.data_type())
        } else if name == "_source_ts" {
            (Self::SourceTs, MetadataColumn::Timestamp.data_type())
        } else {
            return Ok(None);
        };
        match *field.data_type() == wanted {
            true => Ok(Some(about)),
            false => Err(CodecError::UnsupportedType {
                column: field.name().clone(),
                data_type: field.data_type().to_string(),
                format: "a Debezium event (its operation is STRING, its times are TIMESTAMP)",
            }),
        }
    }
}

/// What an envelope says beside its rows.
#[derive(Debug, Clone, Copy, Default)]
struct Event {
    op: Option<Op>,
    ts_ms: Option<i64>,
    source_ts_ms: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Create,
    Read,
    Update,
    Delete,
    Truncate,
    Message,
}

impl Op {
    fn parse(text: &[u8]) -> Option<Self> {
        Some(match text {
            b"c" => Self::Create,
            b"r" => Self::Read,
            b"u" => Self::Update,
            b"d" => Self::Delete,
            b"t" => Self::Truncate,
            b"m" => Self::Message,
            _ => return None,
        })
    }

    fn code(self) -> &'static str {
        match self {
            Self::Create => "c",
            Self::Read => "r",
            Self::Update => "u",
            Self::Delete => "d",
            Self::Truncate => "t",
            Self::Message => "m",
        }
    }
}

impl Event {
    /// Whether the row is the one before the event (or the one after it).
    fn row_is_before(&self) -> Result<bool, RecordError> {
        let unsupported = |op: Op| {
            let error = RecordError::new(Reason::UnsupportedOperation, 0);
            Err(error.with_detail(format!("op '{}'", op.code())))
        };
        match self.op {
            Some(Op::Create | Op::Read | Op::Update) => Ok(false),
            Some(Op::Delete) => Ok(true),
            Some(op @ (Op::Truncate | Op::Message)) => unsupported(op),
            None => Err(not_an_envelope()),
        }
    }
}

fn not_an_envelope() -> RecordError {
    RecordError::new(Reason::Malformed("not a Debezium envelope: it has no valid \"op\""), 0)
}

fn no_row(before: bool) -> RecordError {
    let problem = match before {
        true => "a deletion without the row before it",
        false => "a change without the row after it",
    };
    RecordError::new(Reason::Malformed(problem), 0)
}

#[derive(Debug)]
enum Inner {
    Json(Box<JsonRows>),
    Avro(Box<AvroRows>),
}

/// Turns change events into Arrow batches.
#[derive(Debug)]
pub(super) struct DebeziumDecoder {
    inner: Inner,
    about: Rows,
    columns: Vec<About>,
    weave: Weave,
    schema: SchemaRef,
}

impl DebeziumDecoder {
    /// See [`Decoder::new`](super::Decoder::new).
    pub fn new(
        schema: &SchemaRef,
        projection: &[usize],
        options: &DebeziumOptions,
    ) -> Result<Self, CodecError> {
        let about = schema.fields().iter().map(|field| About::of(field, options));
        let about = about.collect::<Result<Vec<_>, _>>()?;
        let output: SchemaRef = schema.project(projection)?.into();
        let what = |index: usize| about.get(index).copied().flatten();
        let (weave, of_row, of_event) = Weave::new(projection, &output, what);
        let (columns, fields): (Vec<_>, Vec<_>) = of_event.into_iter().unzip();
        // The table's columns are all that are not about the event.
        let is_row = |index: &usize| what(*index).is_none();
        let declared: Vec<usize> = (0..schema.fields().len()).filter(is_row).collect();
        let row: SchemaRef = schema.project(&declared)?.into();
        let place = |index: &usize| declared.iter().position(|of_row| of_row == index);
        let of_row: Vec<usize> = of_row.iter().filter_map(place).collect();
        let inner = match &options.format {
            DebeziumFormat::Json { json, decimals } => {
                Inner::Json(Box::new(JsonRows::new(row, of_row, json, *decimals)?))
            }
            DebeziumFormat::Avro(avro) => {
                Inner::Avro(Box::new(AvroRows::new(&row, &of_row, avro)?))
            }
        };
        let about = Rows::new(Arc::new(Schema::new(fields)))?;
        Ok(Self { inner, about, columns, weave, schema: output })
    }
}

impl RowDecoder for DebeziumDecoder {
    fn append(&mut self, record: &Record<'_>) -> Result<(), AppendError> {
        let Some(payload) = record.payload else { return Err(AppendError::NoRow) };
        let Self { inner, about, columns, .. } = self;
        // The event goes first, as it can be taken back.
        let rows = about.len();
        let mut tell = |event: Event| {
            about.append(|to, _| {
                for (what, column) in columns.iter().zip(to) {
                    push(*what, event, column)?;
                }
                Ok(0)
            })
        };
        let verdict = match inner {
            Inner::Json(inner) => inner.append(payload, &mut tell),
            Inner::Avro(inner) => inner.append(payload, &mut tell),
        };
        if verdict.is_err() {
            about.truncate(rows);
        }
        verdict
    }

    fn len(&self) -> usize {
        self.about.len()
    }

    fn memory_bytes(&self) -> usize {
        let inner = match &self.inner {
            Inner::Json(inner) => inner.memory_bytes(),
            Inner::Avro(inner) => inner.memory_bytes(),
        };
        inner + self.about.bytes()
    }

    fn finish(&mut self) -> Result<RecordBatch, CodecError> {
        let rows = match &mut self.inner {
            Inner::Json(inner) => inner.finish(),
            Inner::Avro(inner) => inner.finish(),
        };
        // Both, so that after an error neither is ahead of the other.
        let (about, rows) = (self.about.finish()?, rows?);
        self.weave.batch(&self.schema, &rows, &about)
    }
}

fn push(what: About, event: Event, column: &mut Column) -> Result<(), RecordError> {
    let millis = match what {
        About::Op => {
            let op = event.op.ok_or_else(not_an_envelope)?;
            column.push_bytes(op.code().as_bytes());
            return Ok(());
        }
        About::Ts => event.ts_ms,
        About::SourceTs => event.source_ts_ms,
    };
    match millis.map(|millis| millis.checked_mul(1000)) {
        Some(Some(micros)) => {
            column.push_i64(micros);
            Ok(())
        }
        None if column.append_null() => Ok(()),
        None => Err(RecordError::new(Reason::MissingField, 0).at(&column.path)),
        Some(None) => {
            let problem = "the time is outside the years 0001 to 9999";
            Err(RecordError::new(Reason::InvalidTime(problem), 0).at(&column.path))
        }
    }
}
