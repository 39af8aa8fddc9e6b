//! One CSV record to its fields.

use memchr::{memchr, memchr2};

use crate::codec::{Reason, RecordError};

/// The three bytes that structure a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialect {
    /// Between fields.
    pub delimiter: u8,
    /// Around fields that hold a delimiter, a quote or a line break. None: quotes are text.
    pub quote: Option<u8>,
    /// Within quotes, before a quote or before itself. A doubled quote is one quote in any case.
    pub escape: Option<u8>,
}

/// A field of a record: where its text is, quotes left off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FieldAt {
    pub start: usize,
    pub end: usize,
    pub quoted: bool,
    /// There are escapes in it, or doubled quotes.
    pub escaped: bool,
}

impl FieldAt {
    /// Its text: in place, or in `scratch` if there are escapes in it.
    pub fn text<'t>(
        &self,
        record: &'t [u8],
        dialect: Dialect,
        scratch: &'t mut Vec<u8>,
    ) -> &'t [u8] {
        let text = &record[self.start..self.end];
        if !self.escaped {
            return text;
        }
        scratch.clear();
        let mut rest = text;
        while let Some((&byte, after)) = rest.split_first() {
            rest = after;
            if let Some(&next) = after.first()
                && (Some(byte) == dialect.escape || Some(byte) == dialect.quote)
                && (Some(next) == dialect.quote || (Some(byte) == dialect.escape && next == byte))
            {
                scratch.push(next);
                rest = &after[1..];
                continue;
            }
            scratch.push(byte);
        }
        scratch
    }
}

/// Splits a record, which has no line end any more, into `fields`.
///
/// # Errors
/// [`RecordError`] if a quoted field does not end, if text follows its end, or if an unquoted line
/// break says that there is more than one record.
pub(super) fn split(
    record: &[u8],
    dialect: Dialect,
    fields: &mut Vec<FieldAt>,
) -> Result<(), RecordError> {
    fields.clear();
    // Line breaks are rare, and only allowed within quotes.
    let one_line = memchr2(b'\n', b'\r', record).is_none();
    let mut at = 0;
    loop {
        let field = match record.get(at) {
            Some(&byte) if Some(byte) == dialect.quote => quoted(record, at + 1, byte, dialect)?,
            _ => {
                let rest = &record[at..];
                let end = at + memchr(dialect.delimiter, rest).unwrap_or(rest.len());
                if !one_line && let Some(line) = memchr2(b'\n', b'\r', &record[at..end]) {
                    return Err(RecordError::new(Reason::TrailingData, at + line));
                }
                FieldAt { start: at, end, quoted: false, escaped: false }
            }
        };
        let next = field.end + usize::from(field.quoted);
        fields.push(field);
        match record.get(next) {
            None => return Ok(()),
            Some(byte) if *byte == dialect.delimiter => at = next + 1,
            Some(_) => {
                let problem = "invalid CSV: text after the closing quote of a field";
                return Err(RecordError::new(Reason::Malformed(problem), next));
            }
        }
    }
}

/// The quoted field whose text starts at `start`.
fn quoted(
    record: &[u8],
    start: usize,
    quote: u8,
    dialect: Dialect,
) -> Result<FieldAt, RecordError> {
    let escape = dialect.escape.unwrap_or(quote);
    let (mut at, mut escaped) = (start, false);
    loop {
        let Some(found) = memchr2(quote, escape, &record[at..]) else {
            return Err(RecordError::new(Reason::Truncated, record.len()));
        };
        at += found;
        let (byte, next) = (record[at], record.get(at + 1).copied());
        if byte == quote && next != Some(quote) {
            return Ok(FieldAt { start, end: at, quoted: true, escaped });
        }
        // A doubled quote, or an escape; one before anything else is text.
        let pair = next == Some(quote) || next == Some(escape);
        escaped |= pair;
        at += 1 + usize::from(pair);
    }
}
