//! CSV records to Arrow batches.
//!
//! A record is one line of CSV, or several where a quoted field contains line breaks. The rules
//! are those of Spark's CSV source in its `FAILFAST` mode unless noted:
//!
//! - Fields are separated by the delimiter. A field that begins with the quote ends with it; within
//!   it a delimiter and a line break are text, and so is a quote that is doubled (RFC 4180) or has
//!   the escape before it. A quote further inside an unquoted field is text.
//! - An *unquoted* field that equals `null_value` (by default: an empty one) is NULL; a quoted empty
//!   one is the empty STRING, and NULL in columns of other types.
//! - A record with more or fewer fields than there are columns is refused.
//! - BOOLEAN is `true` or `false` in any case; integers may have a sign; FLOAT and DOUBLE take
//!   `NaN`, `Inf` and `Infinity`; a DECIMAL is rounded half up to its scale; a DATE is `yyyy-MM-dd`;
//!   a TIMESTAMP as [`TimestampFormat`] says; a BINARY is the text's bytes. STRUCT, ARRAY and MAP
//!   cannot be declared.
//! - An empty line and a line that begins with the comment character are no rows.
//!
//! In permissive mode, as Spark's default is, missing fields and values that their column cannot
//! take are NULL, and fields too many are dropped. It has to be asked for: it hides bad data.

mod split;
mod value;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use chrono_tz::Tz;

pub use self::split::Dialect;
use self::split::{FieldAt, split};
use self::value::ValueReader;
use super::columns::{Column, MAX_RECORD_VOLUME, Rows};
use super::decoder::RowDecoder;
use super::{AppendError, CodecError, Reason, RecordError, TimestampFormat};
use crate::source::Record;

/// What the first record of a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CsvHeader {
    /// Data.
    #[default]
    None,
    /// The names of the columns, by which they are found in this file: declared columns that are
    /// missing are NULL, others are passed over. Names are compared without regard to case.
    Names,
    /// Something to pass over. The columns have the order in which they are declared.
    Skip,
}

/// What becomes of a record that does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CsvMode {
    /// It is refused, whatever is wrong with it.
    #[default]
    Strict,
    /// As Spark's `PERMISSIVE`: what is missing or cannot be read is NULL.
    Permissive,
}

/// How CSV records are read.
#[derive(Debug, Clone)]
pub struct CsvOptions {
    /// Between fields. Default: a comma.
    pub delimiter: u8,
    /// Around fields. Default: a double quote. None: quotes are text.
    pub quote: Option<u8>,
    /// Before a quote within quotes. Default: a backslash, as Spark's. None: only doubled quotes.
    pub escape: Option<u8>,
    /// What a line begins with that is a comment. Default: None, there are no comments.
    pub comment: Option<u8>,
    /// What the first record of a file is. The source takes it off.
    pub header: CsvHeader,
    /// The unquoted text that means NULL. Default: empty.
    pub null_value: String,
    /// Whether spaces and tabs around unquoted fields count for nothing. Default: false.
    pub trim: bool,
    /// How TIMESTAMP columns are written.
    pub timestamps: TimestampFormat,
    /// Exceptions to it, by column.
    pub timestamps_by_column: HashMap<String, TimestampFormat>,
    /// The zone of local times that do not name one. Default: UTC.
    pub zone: Tz,
    /// What becomes of a record that does not fit.
    pub mode: CsvMode,
}

impl Default for CsvOptions {
    fn default() -> Self {
        Self {
            delimiter: b',',
            quote: Some(b'"'),
            escape: Some(b'\\'),
            comment: None,
            header: CsvHeader::None,
            null_value: String::new(),
            trim: false,
            timestamps: TimestampFormat::Auto,
            timestamps_by_column: HashMap::new(),
            zone: Tz::UTC,
            mode: CsvMode::Strict,
        }
    }
}

impl CsvOptions {
    /// What a source needs to find where records end.
    pub fn dialect(&self) -> Dialect {
        Dialect { delimiter: self.delimiter, quote: self.quote, escape: self.escape }
    }

    fn check(&self, schema: &SchemaRef) -> Result<(), CodecError> {
        let refuse =
            |option, problem: &str| Err(CodecError::Option { option, problem: problem.to_owned() });
        let structure = |byte: u8| matches!(byte, b'\n' | b'\r') || byte >= 0x80;
        if structure(self.delimiter) {
            return refuse("delimiter", "must be one ASCII character and no line break");
        }
        for (option, byte) in
            [("quote", self.quote), ("escape", self.escape), ("comment", self.comment)]
        {
            match byte {
                Some(byte) if structure(byte) => {
                    return refuse(option, "must be one ASCII character and no line break");
                }
                Some(byte) if byte == self.delimiter => {
                    return refuse(option, "must not be the delimiter");
                }
                _ => {}
            }
        }
        if self.comment.is_some() && self.comment == self.quote {
            return refuse("comment", "must not be the quote");
        }
        let is_time = |name: &String| {
            (schema.fields().iter())
                .any(|f| f.name() == name && matches!(f.data_type(), DataType::Timestamp(..)))
        };
        match self.timestamps_by_column.keys().find(|name| !is_time(name)) {
            Some(name) => {
                refuse("timestamps_by_column", &format!("\"{name}\" is not a TIMESTAMP column"))
            }
            None => Ok(()),
        }
    }
}

/// Turns CSV records into Arrow batches.
#[derive(Debug)]
pub(super) struct CsvDecoder {
    rows: Rows,
    readers: Vec<ValueReader>,
    options: CsvOptions,
    /// The names of all declared columns, and which of them are read.
    declared: Vec<String>,
    projection: Vec<usize>,
    /// Where the fields of the columns read stand in a record.
    layout: Layout,
    /// The header that `layout` is made from.
    header: Option<Arc<[u8]>>,
    fields: Vec<FieldAt>,
    scratch: Vec<u8>,
}

#[derive(Debug)]
struct Layout {
    /// How many fields a record has.
    fields: usize,
    /// For each column read, its field; None if the file does not have it.
    columns: Vec<Option<usize>>,
    /// The header has none of the declared columns.
    foreign: bool,
}

impl CsvDecoder {
    /// See [`Decoder::new`](super::Decoder::new).
    pub fn new(
        schema: &SchemaRef,
        projection: &[usize],
        options: &CsvOptions,
    ) -> Result<Self, CodecError> {
        options.check(schema)?;
        let output: SchemaRef = schema.project(projection)?.into();
        let readers = (output.fields().iter())
            .map(|field| ValueReader::new(field, options))
            .collect::<Result<_, _>>()?;
        let declared: Vec<String> = schema.fields().iter().map(|f| f.name().clone()).collect();
        Ok(Self {
            rows: Rows::new(output)?,
            readers,
            options: options.clone(),
            layout: Layout::positional(declared.len(), projection),
            declared,
            projection: projection.to_vec(),
            header: None,
            fields: Vec::new(),
            scratch: Vec::new(),
        })
    }

    /// Takes the layout from a file's header, if it is not the one we know.
    fn follow_header(&mut self, header: Option<&Arc<[u8]>>) {
        if self.options.header != CsvHeader::Names {
            return;
        }
        match (header, &self.header) {
            (None, None) => return,
            (Some(new), Some(known)) if Arc::ptr_eq(new, known) => return,
            _ => {}
        }
        self.header = header.cloned();
        self.layout = match header {
            None => Layout::positional(self.declared.len(), &self.projection),
            Some(header) => self.named(header),
        };
    }

    fn named(&mut self, header: &[u8]) -> Layout {
        let header = header.strip_prefix(b"\xef\xbb\xbf").unwrap_or(header);
        let dialect = self.options.dialect();
        let mut names: Vec<String> = Vec::new();
        if split(line(header), dialect, &mut self.fields).is_ok() {
            for field in &self.fields {
                let text = field.text(line(header), dialect, &mut self.scratch);
                names.push(String::from_utf8_lossy(text).trim().to_lowercase());
            }
        }
        let place = |column: &String| {
            let column = column.to_lowercase();
            names.iter().position(|name| *name == column)
        };
        let places: Vec<Option<usize>> = self.declared.iter().map(place).collect();
        Layout {
            fields: names.len(),
            foreign: places.iter().all(Option::is_none),
            columns: self.projection.iter().map(|index| places[*index]).collect(),
        }
    }
}

impl Layout {
    fn positional(fields: usize, projection: &[usize]) -> Self {
        let columns = projection.iter().map(|index| Some(*index)).collect();
        Self { fields, columns, foreign: false }
    }
}

/// A record without its line end, if that was left on.
fn line(record: &[u8]) -> &[u8] {
    let record = record.strip_suffix(b"\n").unwrap_or(record);
    record.strip_suffix(b"\r").unwrap_or(record)
}

impl RowDecoder for CsvDecoder {
    fn append(&mut self, record: &Record<'_>) -> Result<(), AppendError> {
        let Some(payload) = record.payload else { return Err(AppendError::NoRow) };
        let text = line(payload);
        if text.is_empty() || self.options.comment.is_some_and(|byte| text[0] == byte) {
            return Err(AppendError::NoRow);
        }
        if text.len() > MAX_RECORD_VOLUME {
            return Err(RecordError::new(Reason::Oversized, 0).into());
        }
        self.follow_header(record.meta.header);
        let Self { rows, readers, options, layout, fields, scratch, .. } = self;
        if layout.foreign {
            let detail = "the file's header names none of the declared columns";
            return Err(RecordError::new(Reason::IncompatibleSchema, 0).with_detail(detail).into());
        }
        let permissive = options.mode == CsvMode::Permissive;
        split(text, options.dialect(), fields)?;
        if fields.len() != layout.fields && !permissive {
            let detail = format!("expected {}, found {}", layout.fields, fields.len());
            let error = RecordError::new(Reason::FieldCount, text.len());
            return Err(error.with_detail(detail).into());
        }
        rows.append(|columns, row| {
            for ((column, reader), place) in columns.iter_mut().zip(readers).zip(&layout.columns) {
                let field = place.and_then(|place| fields.get(place));
                let Some(field) = field else {
                    null(column, Reason::MissingField, text.len())?;
                    continue;
                };
                let mut value = field.text(text, options.dialect(), scratch);
                if options.trim && !field.quoted {
                    value = value.trim_ascii();
                }
                let of_text = matches!(column.field.data_type(), DataType::Utf8 | DataType::Binary);
                if value == options.null_value.as_bytes() && !(field.quoted && of_text) {
                    null(column, Reason::NullNotAllowed, field.start)?;
                } else if let Err(reason) = reader.push(column, value) {
                    column.truncate(row);
                    if !permissive || !column.append_null() {
                        return Err(RecordError::new(reason, field.start).at(&column.path));
                    }
                }
            }
            Ok(text.len())
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

fn null(column: &mut Column, reason: Reason, offset: usize) -> Result<(), RecordError> {
    if column.append_null() {
        return Ok(());
    }
    Err(RecordError::new(reason, offset).at(&column.path))
}
