//! Why a record was refused.

use std::fmt;
use std::sync::Arc;

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
            Reason::BatchFull => "batch_full",
        }
    }
}

impl RecordError {
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
            Reason::TrailingData => f.write_str("more than one JSON object in the record"),
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
            Reason::BatchFull => f.write_str("the batch is full; finish it first"),
        }
    }
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(column) = &self.column {
            write!(f, "column \"{column}\": ")?;
        }
        write!(f, "{} (at byte {})", self.reason, self.offset)
    }
}
