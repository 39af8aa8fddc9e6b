//! Why a record was refused, and what else can go wrong between bytes and columns.

use std::fmt;
use std::sync::Arc;

use super::registry::RegistryError;

/// The verdict on one record that could not become a row. The batch it was meant for is as it
/// was before. Cheap to make and to clone: a stream of nothing but bad records must not be slow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct RecordError {
    /// What is wrong.
    pub reason: Reason,
    /// The path of the column that it is wrong in, dotted (`user.id`), where there is one.
    pub column: Option<Arc<str>>,
    /// Where in the payload, in bytes from its start.
    pub offset: usize,
    /// More about it, where the reason alone would not tell enough.
    pub detail: Option<Arc<str>>,
}

/// What can be wrong with a record. [`Reason::code`] is the form for metric labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// Longer than `max_record_bytes`.
    Oversized,
    /// Nothing but white space.
    Empty,
    /// JSON, perhaps, but its outermost value is not an object.
    NotAnObject,
    /// Ends in the middle of a value.
    Truncated,
    /// Not JSON; the text says what was expected.
    Syntax(&'static str),
    /// More than white space after the object.
    TrailingData,
    /// Objects and arrays nested deeper than `max_depth`.
    TooDeep,
    /// Valid JSON of a kind that the column's type does not take.
    TypeMismatch { expected: &'static str, found: &'static str },
    /// A number beyond the range of the column's type.
    OutOfRange(&'static str),
    /// A timestamp, date or epoch number that is not one, or lies outside the years 0001 to 9999.
    InvalidTime(&'static str),
    /// Text for a DECIMAL column that is not a number.
    InvalidNumber,
    /// Text for a BINARY column that is not base64.
    InvalidBase64,
    /// A string that is not UTF-8.
    InvalidUtf8,
    /// A backslash followed by what JSON does not define, or half of a surrogate pair.
    InvalidEscape,
    /// A control character (below U+0020) that is not escaped.
    ControlCharacter,
    /// `null` in a NOT NULL column.
    NullNotAllowed,
    /// A NOT NULL column that the record does not have.
    MissingField,
    /// A field that the schema does not have, where such are to be refused.
    UnknownField,
    /// Not what the format says, other than JSON; the text says what was expected.
    Malformed(&'static str),
    /// A CSV record with more or fewer fields than the schema or the header has columns.
    FieldCount,
    /// The payload does not begin as a registry's serialisers begin one.
    Framing(&'static str),
    /// The registry does not know the schema that the payload names.
    UnknownSchema,
    /// The schema that the payload was written with does not fit the declared columns.
    IncompatibleSchema,
    /// A text that is none of the values that an enumeration has, or a number that is none.
    UnknownSymbol,
    /// The record breaks a rule of its JSON Schema.
    SchemaViolation,
    /// A change event of a kind that has no row (Debezium's truncate and message events).
    UnsupportedOperation,
    /// Not a fault of the record: the batch cannot hold it without overflowing Arrow's 32-bit
    /// offsets. Finish the batch and append the same record again.
    BatchFull,
}

impl Reason {
    /// A fixed name for metric labels and dead letters.
    pub fn code(&self) -> &'static str {
        match self {
            Reason::Oversized => "oversized",
            Reason::Empty => "empty",
            Reason::NotAnObject => "not_an_object",
            Reason::Truncated => "truncated",
            Reason::Syntax(_) => "syntax",
            Reason::TrailingData => "trailing_data",
            Reason::TooDeep => "too_deep",
            Reason::TypeMismatch { .. } => "type_mismatch",
            Reason::OutOfRange(_) => "out_of_range",
            Reason::InvalidTime(_) => "invalid_time",
            Reason::InvalidNumber => "invalid_number",
            Reason::InvalidBase64 => "invalid_base64",
            Reason::InvalidUtf8 => "invalid_utf8",
            Reason::InvalidEscape => "invalid_escape",
            Reason::ControlCharacter => "control_character",
            Reason::NullNotAllowed => "null_not_allowed",
            Reason::MissingField => "missing_field",
            Reason::UnknownField => "unknown_field",
            Reason::Malformed(_) => "malformed",
            Reason::FieldCount => "field_count",
            Reason::Framing(_) => "framing",
            Reason::UnknownSchema => "unknown_schema",
            Reason::IncompatibleSchema => "incompatible_schema",
            Reason::UnknownSymbol => "unknown_symbol",
            Reason::SchemaViolation => "schema_violation",
            Reason::UnsupportedOperation => "unsupported_operation",
            Reason::BatchFull => "batch_full",
        }
    }
}

impl RecordError {
    /// A verdict that names no column.
    #[cold]
    pub(super) fn new(reason: Reason, offset: usize) -> Self {
        Self { reason, column: None, offset, detail: None }
    }

    /// Names the column at fault, unless one within it has been named already.
    #[cold]
    pub(super) fn at(mut self, column: &Arc<str>) -> Self {
        self.column.get_or_insert_with(|| Arc::clone(column));
        self
    }

    /// Says more about it.
    #[cold]
    pub(super) fn with_detail(mut self, detail: impl Into<Arc<str>>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// The reason's fixed name, see [`Reason::code`].
    pub fn code(&self) -> &'static str {
        self.reason.code()
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Oversized => f.write_str("the record is longer than is allowed"),
            Reason::Empty => f.write_str("the record is empty"),
            Reason::NotAnObject => f.write_str("the record is not a JSON object"),
            Reason::Truncated => f.write_str("the record ends too early"),
            Reason::Syntax(expected) => write!(f, "invalid JSON: expected {expected}"),
            Reason::TrailingData => f.write_str("the record goes on after its end"),
            Reason::TooDeep => f.write_str("nested too deep"),
            Reason::TypeMismatch { expected, found } => {
                write!(f, "expected {expected}, found {found}")
            }
            Reason::OutOfRange(name) => write!(f, "the number is out of range for {name}"),
            Reason::InvalidTime(problem) => f.write_str(problem),
            Reason::InvalidNumber => f.write_str("the text is not a number"),
            Reason::InvalidBase64 => f.write_str("the text is not base64"),
            Reason::InvalidUtf8 => f.write_str("the string is not UTF-8"),
            Reason::InvalidEscape => f.write_str("invalid escape in a string"),
            Reason::ControlCharacter => f.write_str("unescaped control character in a string"),
            Reason::NullNotAllowed => f.write_str("null in a NOT NULL column"),
            Reason::MissingField => f.write_str("a NOT NULL column is missing"),
            Reason::UnknownField => f.write_str("the schema does not have this field"),
            Reason::Malformed(problem) => f.write_str(problem),
            Reason::FieldCount => f.write_str("the number of fields is wrong"),
            Reason::Framing(problem) => f.write_str(problem),
            Reason::UnknownSchema => f.write_str("the schema registry does not know the schema"),
            Reason::IncompatibleSchema => {
                f.write_str("the schema it was written with does not fit the declared columns")
            }
            Reason::UnknownSymbol => f.write_str("not a value of the enumeration"),
            Reason::SchemaViolation => f.write_str("the record breaks its JSON Schema"),
            Reason::UnsupportedOperation => f.write_str("the operation has no row"),
            Reason::BatchFull => f.write_str("the batch is full; finish it first"),
        }
    }
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(column) = &self.column {
            write!(f, "column \"{column}\": ")?;
        }
        write!(f, "{}", self.reason)?;
        if let Some(detail) = &self.detail {
            write!(f, ": {detail}")?;
        }
        write!(f, " (at byte {})", self.offset)
    }
}

/// Why [`Decoder::append`](super::Decoder::append) added no row. The batch is what it was before.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The record is bad: a dead letter.
    #[error(transparent)]
    Bad(#[from] RecordError),
    /// There is no row in it, and nothing is wrong: a record without a value (a tombstone), a
    /// comment or an empty line of CSV.
    #[error("there is no row in the record")]
    NoRow,
    /// Not the record's fault: finish the batch and append the same record again.
    #[error("the batch is full; finish it first")]
    BatchFull,
    /// Not the record's fault: nothing can be said about it before the schema registry answers.
    /// It has been asked several times already; try the same record again later.
    #[error("schema registry: {0}")]
    Registry(#[from] RegistryError),
}

/// What is wrong with a decoder's or an encoder's set-up, or with a batch as a whole (never with
/// one record: that is a [`RecordError`]).
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// A column of a type that this format does not have.
    #[error("column \"{column}\" has type {data_type}, which cannot be decoded from {format}")]
    UnsupportedType { column: String, data_type: String, format: &'static str },
    /// A projection that names a column the schema does not have, or one twice.
    #[error("projection index {index} {problem} (the schema has {columns} columns)")]
    Projection { index: usize, columns: usize, problem: &'static str },
    /// An option out of its range, or one that names an unknown column.
    #[error("option {option}: {problem}")]
    Option { option: &'static str, problem: String },
    /// A schema (Avro, Protobuf, JSON Schema) that is not one, or that does not fit the columns.
    #[error("{format} schema: {problem}")]
    Schema { format: &'static str, problem: String },
    /// The schema registry did not answer, or refused.
    #[error("schema registry: {0}")]
    Registry(#[from] RegistryError),
    /// A column of a type that a sink's format does not have.
    #[error("column \"{column}\" has type {data_type}, which the format cannot hold")]
    UnwritableType { column: String, data_type: String },
    /// Arrow refused the columns. This would be a fault of the decoder.
    #[error("could not assemble the batch: {0}")]
    Arrow(#[from] arrow::error::ArrowError),
}

impl CodecError {
    /// Whether the same call may succeed later.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Registry(error) if error.is_transient())
    }
}
