//! A place in a payload: white space, literals, escapes, and values that nobody reads.

use std::sync::Arc;

use super::scan::find_special;
use crate::codec::{Reason, RecordError};

/// That the record is bad. What is wrong with it waits in the cursor, so that the results which
/// every field passes through stay in registers.
#[derive(Debug)]
pub(super) struct Fail;

/// A payload and how far it has been read.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    pub bytes: &'a [u8],
    pub at: usize,
    max_depth: usize,
    fault: Option<RecordError>,
}

impl<'a> Cursor<'a> {
    pub fn new(bytes: &'a [u8], max_depth: usize) -> Self {
        Self { bytes, at: 0, max_depth, fault: None }
    }

    #[inline(always)]
    pub fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    #[cold]
    #[inline(never)]
    pub fn fail_at<T>(&mut self, offset: usize, reason: Reason) -> Result<T, Fail> {
        self.fault.get_or_insert(RecordError::new(reason, offset));
        Err(Fail)
    }

    #[cold]
    #[inline(never)]
    pub fn fail<T>(&mut self, reason: Reason) -> Result<T, Fail> {
        self.fail_at(self.at, reason)
    }

    /// For what should have stood here; a payload that ends here was cut short.
    #[cold]
    #[inline(never)]
    pub fn expected<T>(&mut self, what: &'static str) -> Result<T, Fail> {
        let truncated = self.at >= self.bytes.len();
        self.fail(if truncated { Reason::Truncated } else { Reason::Syntax(what) })
    }

    /// For a value of another kind than the column wants.
    #[cold]
    #[inline(never)]
    pub fn mismatch<T>(&mut self, expected: &'static str) -> Result<T, Fail> {
        let found = match self.peek() {
            Some(b'"') => "a string",
            Some(b'{') => "an object",
            Some(b'[') => "an array",
            Some(b't' | b'f') => "a boolean",
            Some(b'n') => "null",
            Some(b'-' | b'0'..=b'9') => "a number",
            _ => return self.expected("a value"),
        };
        self.fail(Reason::TypeMismatch { expected, found })
    }

    /// Names the column that the fault is in, unless one within it has been named already.
    #[cold]
    #[inline(never)]
    pub fn blame(&mut self, column: &Arc<str>) {
        if let Some(fault) = &mut self.fault {
            fault.column.get_or_insert_with(|| Arc::clone(column));
        }
    }

    /// The fault that a [`Fail`] stood for.
    #[cold]
    pub fn into_fault(self) -> RecordError {
        self.fault.unwrap_or(RecordError::new(Reason::Syntax("a value"), self.at))
    }

    #[inline(always)]
    pub fn space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    #[inline(always)]
    pub fn take(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    #[inline(always)]
    pub fn literal(&mut self, word: &'static [u8], name: &'static str) -> Result<(), Fail> {
        if self.bytes[self.at..].starts_with(word) {
            self.at += word.len();
            return Ok(());
        }
        self.broken_literal(word, name)
    }

    #[cold]
    #[inline(never)]
    fn broken_literal(&mut self, word: &[u8], name: &'static str) -> Result<(), Fail> {
        let rest = &self.bytes[self.at..];
        self.at += rest.iter().zip(word).take_while(|(found, wanted)| found == wanted).count();
        self.expected(name)
    }

    #[inline(always)]
    pub fn null(&mut self) -> Result<(), Fail> {
        self.literal(b"null", "null")
    }

    #[inline(always)]
    pub fn boolean(&mut self) -> Result<bool, Fail> {
        match self.peek() {
            Some(b't') => self.literal(b"true", "true").map(|()| true),
            Some(b'f') => self.literal(b"false", "false").map(|()| false),
            _ => self.mismatch("BOOLEAN"),
        }
    }

    /// Checks the depth of the object or array that starts here (the record's own object is at 1).
    #[inline(always)]
    pub fn enter(&mut self, depth: usize) -> Result<(), Fail> {
        if depth > self.max_depth {
            return self.fail(Reason::TooDeep);
        }
        Ok(())
    }

    /// Moves past one value, which stands here and lies in containers `depth` deep. The whole
    /// grammar is checked, except that the bytes of strings need not be UTF-8.
    #[inline(always)]
    pub fn skip_value(&mut self, depth: usize) -> Result<(), Fail> {
        match self.peek() {
            Some(b'"') => self.skip_string(),
            Some(b'-' | b'0'..=b'9') => self.number().map(|_| ()),
            _ => self.skip_other(depth),
        }
    }

    #[inline(never)]
    fn skip_other(&mut self, depth: usize) -> Result<(), Fail> {
        match self.peek() {
            Some(b't' | b'f') => self.boolean().map(|_| ()),
            Some(b'n') => self.null(),
            Some(b'{') => self.skip_object(depth + 1),
            Some(b'[') => self.skip_array(depth + 1),
            _ => self.expected("a value"),
        }
    }

    fn skip_object(&mut self, depth: usize) -> Result<(), Fail> {
        self.enter(depth)?;
        self.at += 1;
        self.space();
        if self.take(b'}') {
            return Ok(());
        }
        loop {
            if self.peek() != Some(b'"') {
                return self.expected("a key");
            }
            self.skip_string()?;
            self.colon()?;
            self.skip_value(depth)?;
            self.space();
            if self.take(b'}') {
                return Ok(());
            }
            if !self.take(b',') {
                return self.expected("',' or '}'");
            }
            self.space();
        }
    }

    fn skip_array(&mut self, depth: usize) -> Result<(), Fail> {
        self.enter(depth)?;
        self.at += 1;
        self.space();
        if self.take(b']') {
            return Ok(());
        }
        loop {
            self.skip_value(depth)?;
            if !self.comma_or(b']', "',' or ']'")? {
                return Ok(());
            }
        }
    }

    /// After a value: whether another follows. Moves to it, or past `close`.
    #[inline]
    pub fn comma_or(&mut self, close: u8, what: &'static str) -> Result<bool, Fail> {
        self.space();
        if self.take(close) {
            return Ok(false);
        }
        if !self.take(b',') {
            return self.expected(what);
        }
        self.space();
        Ok(true)
    }

    #[inline]
    pub fn colon(&mut self) -> Result<(), Fail> {
        self.space();
        if !self.take(b':') {
            return self.expected("':' after a key");
        }
        self.space();
        Ok(())
    }

    /// Moves past the string that starts here.
    #[inline(always)]
    pub fn skip_string(&mut self) -> Result<(), Fail> {
        let (end, _) = find_special(self.bytes, self.at + 1);
        if self.bytes.get(end) == Some(&b'"') {
            self.at = end + 1;
            return Ok(());
        }
        self.skip_string_from(end)
    }

    #[inline(never)]
    fn skip_string_from(&mut self, special: usize) -> Result<(), Fail> {
        self.at = special;
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => self.escape().map(|_| ())?,
                Some(_) => return self.fail(Reason::ControlCharacter),
                None => return self.fail(Reason::Truncated),
            }
            (self.at, _) = find_special(self.bytes, self.at);
        }
    }

    /// The character that the escape sequence standing here means; moves past it. A surrogate
    /// must be the first half of a pair of escapes (RFC 8259, section 7).
    pub fn escape(&mut self) -> Result<char, Fail> {
        let start = self.at;
        let Some(&kind) = self.bytes.get(start + 1) else {
            return self.fail_at(self.bytes.len(), Reason::Truncated);
        };
        self.at = start + 2;
        Ok(match kind {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let mut code = self.hex(start)?;
                if (0xd800..0xdc00).contains(&code) && self.bytes[self.at..].starts_with(b"\\u") {
                    self.at += 2;
                    let low = self.hex(start)?;
                    if (0xdc00..0xe000).contains(&low) {
                        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
                    }
                }
                match char::from_u32(code) {
                    Some(c) => c,
                    None => return self.fail_at(start, Reason::InvalidEscape),
                }
            }
            _ => return self.fail_at(start, Reason::InvalidEscape),
        })
    }

    /// Four hexadecimal digits of the escape that began at `start`.
    fn hex(&mut self, start: usize) -> Result<u32, Fail> {
        let Some(digits) = self.bytes[self.at..].first_chunk::<4>() else {
            return self.fail_at(self.bytes.len(), Reason::Truncated);
        };
        let mut code = 0;
        for &digit in digits {
            match char::from(digit).to_digit(16) {
                Some(value) => code = code << 4 | value,
                None => return self.fail_at(start, Reason::InvalidEscape),
            }
        }
        self.at += 4;
        Ok(code)
    }
}
