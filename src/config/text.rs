//! Strings of a TOML file, with the place in the file that each of their bytes came from.
//!
//! Other rooms parse what stands in strings (SQL, column declarations) and report errors by
//! their own line and column. A string may be on one line with escapes, or on many lines in
//! `"""` or `'''`, or hold `${…}`; the map made here leads from its text back into the file.

use std::ops::Range;
use std::sync::Arc;

use super::diagnostics::{Location, SourceFile};

/// Where a text that another room parses stands in its file.
#[derive(Clone)]
pub struct TextLocation {
    file: Arc<SourceFile>,
    /// For each byte of the text, and for its end, the offset in the file.
    offsets: Arc<[usize]>,
}

impl TextLocation {
    pub(crate) fn new(file: &Arc<SourceFile>, offsets: Vec<usize>) -> Self {
        Self { file: Arc::clone(file), offsets: offsets.into() }
    }

    /// The place of one byte of the text; past its end, of its end.
    pub fn at_offset(&self, offset: usize) -> Location {
        let last = self.offsets.len().saturating_sub(1);
        let at = self.offsets.get(offset.min(last)).copied().unwrap_or(0);
        let width = self.file.text.get(at..).and_then(|rest| rest.chars().next());
        let end = at + width.filter(|c| *c != '\n').map_or(0, char::len_utf8);
        Location::new(&self.file, at..end)
    }

    /// The place where the text starts.
    pub fn start(&self) -> Location {
        self.at_offset(0)
    }

    /// The place of a line and column (characters), both from 1, of `text`, which is the text
    /// that this is the location of. Places that `text` does not have give the nearest one.
    pub fn at_line_column(&self, text: &str, line: usize, column: usize) -> Location {
        let mut start = 0;
        for _ in 1..line {
            match text[start..].find('\n') {
                Some(at) => start += at + 1,
                None => return self.at_offset(text.len()),
            }
        }
        let rest = &text[start..];
        let rest = &rest[..rest.find('\n').unwrap_or(rest.len())];
        let within = rest.char_indices().nth(column.saturating_sub(1));
        self.at_offset(start + within.map_or(rest.len(), |(at, _)| at))
    }
}

impl std::fmt::Debug for TextLocation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(&self.start(), f)
    }
}

/// The offset in the file of each byte of `value` and of its end; `span` is where the string
/// stands, with its quotes (or without: an override on the command line has none).
pub(crate) fn offsets_of(file: &SourceFile, span: Range<usize>, value: &str) -> Vec<usize> {
    let raw = file.text.get(span.clone()).unwrap_or("");
    let mut decoder =
        Decoder { raw, base: span.start, at: 0, text: String::new(), offsets: vec![] };
    decoder.run();
    let Decoder { text, mut offsets, at, base, .. } = decoder;
    if text == value {
        offsets.push(base + at);
        offsets
    } else {
        // The parser read the string in some other way: its start is the best that is known.
        vec![span.start; value.len() + 1]
    }
}

struct Decoder<'a> {
    raw: &'a str,
    base: usize,
    at: usize,
    text: String,
    offsets: Vec<usize>,
}

impl Decoder<'_> {
    fn run(&mut self) {
        for (quote, escapes) in [("\"\"\"", true), ("'''", false), ("\"", true), ("'", false)] {
            if self.raw.len() >= 2 * quote.len()
                && self.raw.starts_with(quote)
                && self.raw.ends_with(quote)
            {
                self.at = quote.len();
                if quote.len() == 3 {
                    // A line break right after the opening quotes is not part of the string.
                    let body = &self.raw[3..];
                    self.at += if body.starts_with("\r\n") {
                        2
                    } else {
                        usize::from(body.starts_with('\n'))
                    };
                }
                return self.body(self.raw.len() - quote.len(), escapes);
            }
        }
        self.body(self.raw.len(), false);
    }

    fn body(&mut self, end: usize, escapes: bool) {
        while self.at < end {
            let Some(c) = self.raw[self.at..].chars().next() else { return };
            if c == '\\' && escapes {
                self.escape(end);
            } else {
                self.push(c, self.at);
                self.at += c.len_utf8();
            }
        }
    }

    fn escape(&mut self, end: usize) {
        let start = self.at;
        let rest = &self.raw[start + 1..end];
        let Some(c) = rest.chars().next() else {
            self.at = end;
            return;
        };
        let digits = match c {
            'x' => 2,
            'u' => 4,
            'U' => 8,
            ' ' | '\t' | '\r' | '\n' => {
                // A backslash at the end of a line swallows all white space that follows.
                let kept = rest.trim_start_matches([' ', '\t', '\r', '\n']);
                self.at = end - kept.len();
                return;
            }
            _ => 0,
        };
        if digits > 0 {
            let code = rest.get(1..1 + digits).and_then(|hex| u32::from_str_radix(hex, 16).ok());
            if let Some(c) = code.and_then(char::from_u32) {
                self.push(c, start);
            }
            self.at = (start + 2 + digits).min(end);
            return;
        }
        let plain = match c {
            'b' => '\u{8}',
            't' => '\t',
            'n' => '\n',
            'f' => '\u{c}',
            'r' => '\r',
            'e' => '\u{1b}',
            other => other,
        };
        self.push(plain, start);
        self.at = start + 1 + c.len_utf8();
    }

    fn push(&mut self, c: char, from: usize) {
        self.text.push(c);
        // Every byte of a character points to its beginning: places are characters.
        self.offsets.extend(std::iter::repeat_n(self.base + from, c.len_utf8()));
    }
}
