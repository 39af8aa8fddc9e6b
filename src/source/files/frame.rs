//! Where records end.

use memchr::{memchr, memchr2};

use super::options::{CsvFraming, Framing};

/// How often a CSV file's quote may be left open before its lines are taken as records: finding
/// out costs a look at as many bytes as a record may have.
const OPEN_QUOTES: u32 = 64;

/// What the bytes at hand come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// A record of `len` bytes; the next one begins at `next`, `lines` lines further down.
    Record { len: usize, next: usize, lines: u64 },
    /// Its end is not among them.
    More,
}

/// Cuts bytes into records.
#[derive(Debug)]
pub(super) struct Cutter {
    framing: Framing,
    open_quotes: u32,
}

impl Cutter {
    pub fn new(framing: Framing) -> Self {
        Self { framing, open_quotes: 0 }
    }

    /// Cuts off the first record of `bytes`. `last`: nothing follows them in the file.
    pub fn cut(&mut self, bytes: &[u8], last: bool) -> Cut {
        match &self.framing {
            Framing::Lines { .. } => line(bytes, last),
            Framing::Whole if last && !bytes.is_empty() => {
                Cut::Record { len: bytes.len(), next: bytes.len(), lines: 1 }
            }
            Framing::Whole => Cut::More,
            Framing::Csv(csv) => match csv.quote.filter(|_| self.open_quotes < OPEN_QUOTES) {
                None => line(bytes, last),
                Some(quote) => match quoted(bytes, csv, quote, last) {
                    Some(cut) => cut,
                    None if !last => Cut::More,
                    None => self.close_quote(bytes, last),
                },
            },
        }
    }

    /// What to do with bytes that are more than a record may have, and hold no whole one.
    pub fn give_up(&mut self, bytes: &[u8]) -> Cut {
        match &self.framing {
            Framing::Csv(csv) if csv.quote.is_some() => self.close_quote(bytes, false),
            _ => Cut::More,
        }
    }

    /// A quote was opened and is never closed. It is this line that is broken, and not all the
    /// lines after it.
    fn close_quote(&mut self, bytes: &[u8], last: bool) -> Cut {
        self.open_quotes += 1;
        line(bytes, last)
    }

    /// Whether these bytes, cut as a record, are none.
    pub fn is_filler(&self, record: &[u8]) -> bool {
        let blank = || record.iter().all(u8::is_ascii_whitespace);
        match &self.framing {
            Framing::Lines { skip_blank } => *skip_blank && blank(),
            Framing::Csv(csv) => {
                (csv.comment.is_some() && record.first() == csv.comment.as_ref()) || blank()
            }
            Framing::Whole => false,
        }
    }

    /// Whether a file's first record is its header.
    pub fn has_header(&self) -> bool {
        matches!(&self.framing, Framing::Csv(csv) if csv.header)
    }
}

fn line(bytes: &[u8], last: bool) -> Cut {
    match memchr(b'\n', bytes) {
        Some(end) => Cut::Record { len: without_return(bytes, end), next: end + 1, lines: 1 },
        None if last && !bytes.is_empty() => {
            let len = without_return(bytes, bytes.len());
            Cut::Record { len, next: bytes.len(), lines: 1 }
        }
        None => Cut::More,
    }
}

fn without_return(bytes: &[u8], end: usize) -> usize {
    if end > 0 && bytes[end - 1] == b'\r' { end - 1 } else { end }
}

/// The first record of CSV in which quoted fields may hold line ends. `None`: a quote is still
/// open where the bytes end. A quote only opens a field at its beginning, as the `csv` crate and
/// Spark have it: `5" pipe` is a field of seven bytes.
fn quoted(bytes: &[u8], csv: &CsvFraming, quote: u8, last: bool) -> Option<Cut> {
    let first_end = memchr(b'\n', bytes);
    let first = &bytes[..first_end.unwrap_or(bytes.len())];
    // Nearly all lines of nearly all files.
    if memchr(quote, first).is_none()
        || (csv.comment.is_some() && first.first() == csv.comment.as_ref())
    {
        return Some(line(bytes, last));
    }
    let mut at = 0;
    let mut lines = 1;
    loop {
        // At the beginning of a field.
        if bytes.get(at) == Some(&quote) {
            at = closing(bytes, at + 1, quote, csv.escape, &mut lines)?;
        }
        match memchr2(csv.delimiter, b'\n', &bytes[at..]) {
            Some(found) if bytes[at + found] == b'\n' => {
                let end = at + found;
                return Some(Cut::Record { len: without_return(bytes, end), next: end + 1, lines });
            }
            Some(found) => at += found + 1,
            None if last => {
                let len = without_return(bytes, bytes.len());
                return Some(Cut::Record { len, next: bytes.len(), lines });
            }
            None => return Some(Cut::More),
        }
    }
}

/// The place after the quote that closes the field whose text begins at `at`.
fn closing(
    bytes: &[u8],
    mut at: usize,
    quote: u8,
    escape: Option<u8>,
    lines: &mut u64,
) -> Option<usize> {
    let before = at;
    let end = loop {
        let found = at + memchr2(quote, escape.unwrap_or(quote), bytes.get(at..)?)?;
        if bytes[found] == quote {
            // A doubled quote stands for one; what else follows a quote is after the field.
            match bytes.get(found + 1) {
                Some(next) if *next == quote => at = found + 2,
                _ => break found + 1,
            }
        } else {
            at = found + 2;
        }
    };
    *lines += memchr::memchr_iter(b'\n', &bytes[before..end]).count() as u64;
    Some(end)
}

#[cfg(test)]
#[path = "tests/frame.rs"]
mod tests;
