//! Records that are broken, each in a way that real ones are.

use memchr::memmem;

use super::rng::Rng;

/// How a record is broken. Each is unreadable under [`SCHEMA`](super::SCHEMA).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Malformation {
    /// The JSON ends in the middle.
    Truncated,
    /// `timestamp`, `status_code` or `response_time` is of another type.
    WrongType,
    /// `timestamp`, `endpoint` or `status_code` is missing.
    MissingField,
    /// No bytes at all.
    Empty,
    /// Bytes that are no text; never a line feed or a carriage return, so that a line of a file
    /// remains one record.
    BinaryNoise,
    /// JSON, but not an object.
    NotAnObject,
}

impl Malformation {
    /// Every kind, in the order of the counters in [`Stats`](super::Stats).
    pub const ALL: [Self; 6] = [
        Self::Truncated,
        Self::WrongType,
        Self::MissingField,
        Self::Empty,
        Self::BinaryNoise,
        Self::NotAnObject,
    ];
}

impl std::fmt::Display for Malformation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Truncated => "truncated",
            Self::WrongType => "wrong_type",
            Self::MissingField => "missing_field",
            Self::Empty => "empty",
            Self::BinaryNoise => "binary_noise",
            Self::NotAnObject => "not_an_object",
        })
    }
}

const TYPED: [&[u8]; 3] = [b"\"timestamp\":", b"\"status_code\":", b"\"response_time\":"];
const REQUIRED: [&[u8]; 3] = [b"\"timestamp\":", b"\"endpoint\":", b"\"status_code\":"];
const WRONG: [&[u8]; 3] = [b"[true]", b"\"n/a\"", b"{\"value\":1}"];
const NOT_OBJECTS: [&[u8]; 5] = [b"42", b"[1,2,3]", b"\"GET / 200\"", b"null", b"true"];

/// Breaks the record that begins at `start` of `buffer` and ends with it.
pub(super) fn corrupt(buffer: &mut Vec<u8>, start: usize, how: Malformation, rng: &mut Rng) {
    match how {
        Malformation::Truncated => {
            // At least the opening brace stays, at most all but the closing one.
            let length = (buffer.len() - start) as u32;
            buffer.truncate(start + 1 + rng.below(length.saturating_sub(1)) as usize);
        }
        Malformation::WrongType => {
            let field = rng.below(TYPED.len() as u32) as usize;
            if let Some((_, value)) = find_field(&buffer[start..], TYPED[field]) {
                buffer.splice(start + value.start..start + value.end, WRONG[field].iter().copied());
            }
        }
        Malformation::MissingField => {
            let field = rng.below(REQUIRED.len() as u32) as usize;
            if let Some((name, value)) = find_field(&buffer[start..], REQUIRED[field]) {
                // None of the required fields is the last: a comma follows.
                let end = (start + value.end + 1).min(buffer.len());
                buffer.drain(start + name..end);
            }
        }
        Malformation::Empty => buffer.truncate(start),
        Malformation::BinaryNoise => {
            buffer.truncate(start);
            // 0xff occurs in no UTF-8 text.
            buffer.push(0xff);
            for _ in 0..16 + rng.below(112) {
                let byte = rng.next() as u8;
                buffer.push(if byte == b'\n' || byte == b'\r' { 0 } else { byte });
            }
        }
        Malformation::NotAnObject => {
            buffer.truncate(start);
            buffer.extend_from_slice(NOT_OBJECTS[rng.below(NOT_OBJECTS.len() as u32) as usize]);
        }
    }
}

/// Where the field `name` (quoted, with its colon) begins, and where its value is. Values hold no
/// escaped quotes, and no commas outside quotes.
fn find_field(record: &[u8], name: &[u8]) -> Option<(usize, std::ops::Range<usize>)> {
    let at = memmem::find(record, name)?;
    let from = at + name.len();
    let length = match record.get(from)? {
        b'"' => memchr::memchr(b'"', &record[from + 1..])? + 2,
        _ => memchr::memchr2(b',', b'}', &record[from..])?,
    };
    Some((at, from..from + length))
}
