//! JSON records to Arrow batches in a single pass.
//!
//! A record is one message: one JSON object (RFC 8259) with at most white space around it. Each
//! field goes straight into the Arrow buffers of its column; nothing is built in between. Fields
//! that no query reads are passed over, which checks their structure and nothing else. How keys
//! are recognised without parsing them is told in `fields.rs`.
//!
//! # What a record may hold
//!
//! A record's verdict is its own: [`JsonDecoder::append`] either appends one row or leaves the
//! batch as it was. The rules follow Spark's `from_json` in its `FAILFAST` mode unless noted:
//!
//! | column | takes | refuses |
//! |---|---|---|
//! | BOOLEAN | `true`, `false` | anything else |
//! | TINYINT ... BIGINT | numbers without fraction and exponent, in range | `3.0`, `1e3`, `"3"` |
//! | FLOAT, DOUBLE | numbers, correctly rounded | strings, also `"NaN"`; beyond the type's range |
//! | DECIMAL(p, s) | numbers and strings of one, rounded half up to `s` digits | more than `p` digits |
//! | STRING | strings; of any other value its JSON text, as it is written | |
//! | BINARY | base64 (padded, white space allowed) | |
//! | DATE | `"yyyy-MM-dd"` | |
//! | TIMESTAMP | see [`TimestampFormat`] | years outside 0001 to 9999 |
//! | STRUCT, ARRAY, MAP | objects, arrays, objects | |
//!
//! - `null` and an absent field are the same: null in a nullable column, an error in a NOT NULL
//!   one. Columns that are not read are not checked.
//! - Names are compared exactly, as bytes. Of a field that comes twice the last counts, also among
//!   the keys of a MAP; each has to be valid.
//! - Strings must have valid escapes and no bare control characters everywhere; what is read must
//!   be UTF-8 too. NaN and infinities are not JSON.
//! - Nulls within a null STRUCT are allowed whatever its fields say, and so is an empty object for
//!   one whose fields are all nullable.

mod column;
mod cursor;
mod fields;
pub(in crate::codec) mod members;
pub(in crate::codec) mod number;
mod scan;
mod text;
pub(in crate::codec) mod time;
mod zone;

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, SchemaRef};
use chrono_tz::Tz;

use self::column::Column;
use self::cursor::{Cursor, Fail};
use self::fields::Fields;
use super::decoder::check_projection;
use super::{CodecError, Reason, RecordError};

/// How a TIMESTAMP column is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TimestampFormat {
    /// A string: `yyyy-MM-dd`, then nothing (midnight) or `T` or a space and `HH:mm:ss` with any
    /// number of decimals (cut after microseconds), then `Z`, an offset (`+HH:mm`, `+HHmm`, `+HH`)
    /// or nothing. A time without either is local to [`JsonOptions::zone`]: of one that there is
    /// twice the first is meant, one that falls into a gap moves on by its length (both as Spark
    /// does). `23:59:60` UTC is the next second. Numbers are refused, as their unit is a guess.
    #[default]
    Auto,
    /// Seconds since the Unix epoch: a number, or a string of one, with or without decimals (cut
    /// after microseconds, towards the past).
    EpochSeconds,
    /// The same in milliseconds.
    EpochMillis,
    /// The same in microseconds.
    EpochMicros,
    /// The same in nanoseconds (cut to microseconds).
    EpochNanos,
}

/// What to do with fields that the declared schema does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UnknownFields {
    /// Pass over them.
    #[default]
    Ignore,
    /// Refuse the record.
    Reject,
}

/// How records are read.
#[derive(Debug, Clone)]
pub struct JsonOptions {
    /// How TIMESTAMP columns are written.
    pub timestamps: TimestampFormat,
    /// Exceptions to it, by the column's path: `ts`, `user.seen_at`, `visits.element.at`.
    pub timestamps_by_column: HashMap<String, TimestampFormat>,
    /// The zone of local times that do not name one. Default: UTC.
    pub zone: Tz,
    /// What to do with fields that are not declared. Default: pass over them.
    pub unknown_fields: UnknownFields,
    /// How deep objects and arrays may nest, the record's own object counted; 1 to 512.
    /// Default: 64.
    pub max_depth: usize,
    /// The longest record that is looked at; 1 byte to 1 GiB. Default: 16 MiB.
    pub max_record_bytes: usize,
}

impl Default for JsonOptions {
    fn default() -> Self {
        Self {
            timestamps: TimestampFormat::Auto,
            timestamps_by_column: HashMap::new(),
            zone: Tz::UTC,
            unknown_fields: UnknownFields::Ignore,
            max_depth: 64,
            max_record_bytes: 16 << 20,
        }
    }
}

/// How the values of some columns are written, as the serialisers of Kafka Connect do it.
#[derive(Debug, Clone)]
pub(in crate::codec) struct Formats {
    /// How TIMESTAMP columns are written that `timestamps` does not name.
    pub timestamp: TimestampFormat,
    /// By the column's path.
    pub timestamps: HashMap<String, TimestampFormat>,
    /// The zone of local times.
    pub zone: Tz,
    /// Whether DECIMAL columns that `decimals` does not name are in base64, of the column's scale.
    pub base64_decimals: bool,
    /// By the column's path: it is in base64, of that scale.
    pub decimals: HashMap<String, i32>,
}

/// What `max_depth` is limited to: each level takes some hundred bytes of the thread's stack.
const DEEPEST: usize = 512;
const LONGEST_RECORD: usize = 1 << 30;

/// No column can take more bytes or elements than the payloads have bytes. As long as those of a
/// batch stay within Arrow's 32-bit offsets, so does every column.
const MAX_BATCH_INPUT: usize = i32::MAX as usize;

/// Turns JSON records into Arrow batches. It learns the order of the fields from the records:
/// use one for each source, not one for many.
#[derive(Debug)]
pub struct JsonDecoder {
    schema: SchemaRef,
    fields: Fields,
    input_bytes: usize,
    max_depth: usize,
    max_record_bytes: usize,
}

impl JsonDecoder {
    /// `schema` is the declared schema; `projection` the indexes of the columns to decode, in the
    /// order in which the batches shall have them.
    ///
    /// # Errors
    /// [`CodecError`] if a projected column has a type that JSON cannot give, the projection is
    /// not one of the schema, or an option is out of its range.
    pub fn new(
        schema: SchemaRef,
        projection: Vec<usize>,
        options: JsonOptions,
    ) -> Result<Self, CodecError> {
        check_options(&schema, &options)?;
        check_projection(&schema, &projection)?;
        let read: HashSet<usize> = projection.iter().copied().collect();
        let output = Arc::new(schema.project(&projection)?);
        let columns = output
            .fields()
            .iter()
            .map(|field| Column::new(field, field.name(), &options))
            .collect::<Result<Vec<_>, _>>()?;
        let unread = (schema.fields().iter().enumerate())
            .filter(|(index, _)| !read.contains(index))
            .map(|(_, field)| field.name().as_str());
        Ok(Self {
            fields: Fields::new(columns, unread, options.unknown_fields),
            schema: output,
            input_bytes: 0,
            max_depth: options.max_depth,
            max_record_bytes: options.max_record_bytes,
        })
    }

    /// The schema of the batches: the projected columns.
    pub fn output_schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// Reads columns from the next record on as `formats` says; a DATE may be a number of days too.
    pub(in crate::codec) fn set_formats(&mut self, formats: &Formats) {
        self.fields.set_formats(formats);
    }

    /// Appends one record as a row.
    ///
    /// # Errors
    /// [`RecordError`] if it cannot be one; the batch is then as it was. The reason
    /// [`Reason::BatchFull`] does not speak against the record: the payloads of this batch
    /// would exceed 2 GiB; take the batch and append the record again.
    #[inline]
    pub fn append(&mut self, payload: &[u8]) -> Result<(), RecordError> {
        if payload.len() > self.max_record_bytes.min(MAX_BATCH_INPUT - self.input_bytes) {
            return Err(self.too_long(payload));
        }
        let mut cursor = Cursor::new(payload, self.max_depth);
        let rows = self.fields.len();
        if let Err(Fail) = self.record(&mut cursor) {
            self.fields.truncate(rows);
            return Err(cursor.into_fault());
        }
        self.input_bytes += payload.len();
        Ok(())
    }

    #[cold]
    fn too_long(&self, payload: &[u8]) -> RecordError {
        let oversized = payload.len() > self.max_record_bytes;
        let reason = if oversized { Reason::Oversized } else { Reason::BatchFull };
        RecordError::new(reason, 0)
    }

    #[inline(always)]
    fn record(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Fail> {
        cursor.space();
        match cursor.peek() {
            Some(b'{') => self.fields.append(cursor, 1)?,
            None => return cursor.fail(Reason::Empty),
            Some(_) => return not_an_object(cursor),
        }
        if cursor.at < cursor.bytes.len() {
            cursor.space();
            if cursor.at < cursor.bytes.len() {
                return cursor.fail(Reason::TrailingData);
            }
        }
        Ok(())
    }

    /// How many rows the batch has.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether the batch has no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the rows of the batch take in memory, in bytes (room that is reserved not counted).
    pub fn memory_bytes(&self) -> usize {
        self.fields.bytes()
    }

    /// Takes the rows as a batch of [`Self::output_schema`]; the next record begins a new one.
    ///
    /// # Errors
    /// [`CodecError::Arrow`] if Arrow refuses the columns, which would be a fault of this decoder.
    pub fn finish(&mut self) -> Result<RecordBatch, CodecError> {
        self.input_bytes = 0;
        // A batch without columns still has its number of rows.
        let options = RecordBatchOptions::new().with_row_count(Some(self.len()));
        let columns = self.fields.finish()?;
        Ok(RecordBatch::try_new_with_options(self.output_schema(), columns, &options)?)
    }
}

#[cold]
fn not_an_object(cursor: &mut Cursor<'_>) -> Result<(), Fail> {
    let reason = match cursor.peek() {
        Some(b'"' | b'[' | b't' | b'f' | b'n' | b'-' | b'0'..=b'9') => Reason::NotAnObject,
        _ => Reason::Syntax("an object"),
    };
    cursor.fail(reason)
}

fn check_options(schema: &SchemaRef, options: &JsonOptions) -> Result<(), CodecError> {
    let refuse = |option, problem| Err(CodecError::Option { option, problem });
    if !(1..=DEEPEST).contains(&options.max_depth) {
        return refuse("max_depth", format!("must be from 1 to {DEEPEST}"));
    }
    if !(1..=LONGEST_RECORD).contains(&options.max_record_bytes) {
        return refuse("max_record_bytes", format!("must be from 1 to {LONGEST_RECORD}"));
    }
    let mut paths = Vec::new();
    schema.fields().iter().for_each(|field| timestamp_paths(field, field.name(), &mut paths));
    for path in options.timestamps_by_column.keys() {
        if !paths.contains(path) {
            let known = if paths.is_empty() { "none".to_owned() } else { paths.join(", ") };
            let problem = format!("\"{path}\" is not a TIMESTAMP column (there are: {known})");
            return refuse("timestamps_by_column", problem);
        }
    }
    Ok(())
}

/// The paths of the TIMESTAMP columns in `field`, which has the path `path`.
fn timestamp_paths(field: &Field, path: &str, paths: &mut Vec<String>) {
    match field.data_type() {
        DataType::Timestamp(..) => paths.push(path.to_owned()),
        DataType::Struct(fields) => {
            for field in fields {
                timestamp_paths(field, &format!("{path}.{}", field.name()), paths);
            }
        }
        DataType::List(element) => timestamp_paths(element, &format!("{path}.element"), paths),
        DataType::Map(entries, _) => {
            if let DataType::Struct(entry) = entries.data_type()
                && let Some(value) = entry.get(1)
            {
                timestamp_paths(value, &format!("{path}.value"), paths);
            }
        }
        _ => {}
    }
}
