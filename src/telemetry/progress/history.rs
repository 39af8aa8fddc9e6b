//! What happened lately: epochs, faults, dead letters. A bounded number of each.

use std::collections::VecDeque;
use std::fmt::Write;
use std::sync::{Arc, Mutex};

use serde::Serialize;

use super::report::DurationReport;
use crate::telemetry::lock;
use crate::telemetry::time::EventTime;

/// Epochs kept: twenty minutes of ten-second ones.
pub(super) const EPOCHS: usize = 120;
/// Faults kept.
pub(super) const FAULTS: usize = 50;
/// Dead letters kept of a source.
const LETTERS: usize = 50;
/// Dead letters of a source that are looked at in a second, so that a topic full of them costs
/// nothing here. All of them are counted, and all are in the table.
const LETTERS_A_SECOND: u32 = 20;
/// Bytes kept of a payload.
const PAYLOAD: usize = 4096;
/// Bytes kept of a key.
const KEY: usize = 256;

/// Pushes onto the front of a list and keeps it to `limit`.
pub(super) fn push_bounded<T>(list: &mut VecDeque<T>, item: T, limit: usize) {
    list.truncate(limit - 1);
    list.push_front(item);
}

/// One epoch.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EpochReport {
    /// Its number; none if it failed before it had one here.
    pub number: Option<u64>,
    /// When it became durable, or failed.
    pub at: EventTime,
    /// How long its phases took.
    pub duration_ms: DurationReport,
    /// Bytes written for it.
    pub bytes: u64,
    /// State segments written for it.
    pub segments: u64,
    /// Whether every sink has committed it.
    pub committed: bool,
    /// What it failed of, if it did.
    pub error: Option<Arc<str>>,
}

/// A fault, and how it ended.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RestartReport {
    /// The actor that failed first.
    pub actor: Arc<str>,
    /// What it said.
    pub error: Arc<str>,
    /// When.
    pub at: EventTime,
    /// When the pipeline ran again; none if it has not yet.
    pub running_at: Option<EventTime>,
}

/// A record that could not be read.
#[derive(Clone, Debug, Default)]
pub struct LetterNote<'a> {
    /// Where it stood: topic and partition, or file.
    pub split: &'a str,
    /// Its offset there.
    pub offset: i64,
    /// Out of the codec's fixed list.
    pub reason: &'static str,
    /// The column at fault, if one is.
    pub column: Option<&'a str>,
    /// In words.
    pub error: &'a str,
    /// Its key, if it has one.
    pub key: Option<&'a [u8]>,
    /// The record.
    pub payload: Option<&'a [u8]>,
    /// The file, if it came from one.
    pub file: Option<&'a str>,
    /// The line there.
    pub line: Option<u64>,
}

/// Bytes as people read them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ShownBytes {
    /// `text` or `hex`: what `shown` is.
    pub encoding: &'static str,
    /// The beginning of the bytes.
    pub shown: String,
    /// How many there are.
    pub bytes: usize,
    /// Whether `shown` is not all of them.
    pub cut: bool,
}

impl ShownBytes {
    /// The first `limit` of some bytes: as text if they are UTF-8, else in hex.
    pub fn new(bytes: &[u8], limit: usize) -> Self {
        let cut = bytes.len() > limit;
        let head = &bytes[..bytes.len().min(limit)];
        let text = match std::str::from_utf8(head) {
            Ok(text) => Some(text),
            // Cut within a character.
            Err(error) if cut && error.error_len().is_none() => {
                std::str::from_utf8(&head[..error.valid_up_to()]).ok()
            }
            Err(_) => None,
        };
        let (encoding, shown) = match text {
            Some(text) => ("text", text.to_owned()),
            None => {
                let mut hex = String::with_capacity(head.len() * 2);
                for byte in head {
                    // Writing to a String cannot fail.
                    let _ = write!(hex, "{byte:02x}");
                }
                ("hex", hex)
            }
        };
        Self { encoding, shown, bytes: bytes.len(), cut }
    }
}

/// A dead letter as the API shows it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LetterReport {
    /// The source.
    pub source: Arc<str>,
    /// Where it stood: topic and partition, or file.
    pub split: Arc<str>,
    /// Its offset there.
    pub offset: i64,
    /// Why, in a word.
    pub reason: &'static str,
    /// The column at fault, if one is.
    pub column: Option<Arc<str>>,
    /// Why, in words.
    pub error: Arc<str>,
    /// Its key, if it has one.
    pub key: Option<ShownBytes>,
    /// The record, if it has content.
    pub payload: Option<ShownBytes>,
    /// The file, if it came from one.
    pub file: Option<Arc<str>>,
    /// The line there.
    pub line: Option<u64>,
    /// When it was rejected.
    pub at: EventTime,
}

/// The last dead letters of a source, the newest first.
#[derive(Debug, Default)]
pub(super) struct RecentLetters(Mutex<Letters>);

#[derive(Debug, Default)]
struct Letters {
    second: i64,
    taken: u32,
    list: VecDeque<LetterReport>,
}

impl RecentLetters {
    pub fn push(&self, source: &Arc<str>, note: &LetterNote<'_>, at: EventTime) {
        let second = at.0.div_euclid(1_000_000);
        let mut letters = lock(&self.0);
        if letters.second != second {
            (letters.second, letters.taken) = (second, 0);
        }
        if letters.taken >= LETTERS_A_SECOND {
            return;
        }
        letters.taken += 1;
        let letter = LetterReport {
            source: Arc::clone(source),
            split: note.split.into(),
            offset: note.offset,
            reason: note.reason,
            column: note.column.map(Into::into),
            error: note.error.into(),
            key: note.key.map(|key| ShownBytes::new(key, KEY)),
            payload: note.payload.map(|payload| ShownBytes::new(payload, PAYLOAD)),
            file: note.file.map(Into::into),
            line: note.line,
            at,
        };
        push_bounded(&mut letters.list, letter, LETTERS);
    }

    pub fn list(&self) -> Vec<LetterReport> {
        lock(&self.0).list.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_text_if_they_are_and_hex_if_not() {
        let text = ShownBytes::new("<script>ü".as_bytes(), 100);
        assert_eq!((text.encoding, &*text.shown, text.cut), ("text", "<script>ü", false));
        let cut = ShownBytes::new("aü".as_bytes(), 2);
        assert_eq!((cut.encoding, &*cut.shown, cut.bytes, cut.cut), ("text", "a", 3, true));
        let hex = ShownBytes::new(&[0xff, 0x00], 100);
        assert_eq!((hex.encoding, &*hex.shown), ("hex", "ff00"));
        // Broken in the middle: not text, whatever the end is.
        assert_eq!(ShownBytes::new(&[0xc3, 0x28, 0x41], 2).encoding, "hex");
        assert_eq!(ShownBytes::new(&[], 0).shown, "");
    }

    #[test]
    fn of_a_flood_a_few_a_second_are_kept() {
        let recent = RecentLetters::default();
        let source: Arc<str> = "logs".into();
        for offset in 0..10_000 {
            let note = LetterNote { offset, reason: "x", ..LetterNote::default() };
            recent.push(&source, &note, EventTime(offset * 1000));
        }
        let list = recent.list();
        assert_eq!(list.len(), LETTERS);
        assert_eq!(list[0].offset, 9019, "the twentieth of the last second");
    }
}
