//! One file of records, from its first to its last.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use memchr::memchr;

use super::frame::{Cut, Cutter};
use super::input::{Input, is_system};
use super::log::Entry;
use super::options::{Compression, Framing};
use crate::source::{Damaged, Record, RecordMeta, position};

/// How much is read at once: small enough to stay in the cache until it is decoded.
const CHUNK: usize = 256 << 10;
/// A buffer that one large record has grown is not kept for the next file.
const KEEP: usize = 4 << 20;
/// How much of what cannot be read goes into its dead letter.
const SAMPLE: usize = 1 << 10;

/// How a file stands after some of it was read.
#[derive(Debug)]
pub(super) enum Outcome {
    /// As many records were shown as were asked for.
    Limit,
    /// Enough bytes were read for one call.
    Budget,
    /// Something could not be read and is reported; it goes on behind it.
    Damage,
    /// Everything has been shown.
    End,
    /// The operating system could not read on, which may pass.
    Trouble(io::Error),
}

/// What reading a file leaves behind for its caller.
pub(super) struct Reading<'a> {
    /// At most so many records.
    pub limit: usize,
    /// Records shown.
    pub shown: usize,
    /// At most about so many bytes, counted down.
    pub budget: usize,
    /// What cannot be read.
    pub damaged: Vec<Damaged>,
    pub visit: &'a mut dyn FnMut(Record<'_>),
}

/// What is the same for all files of a source.
#[derive(Debug, Clone)]
pub(super) struct RecordOptions {
    pub framing: Framing,
    pub compression: Compression,
    pub max_record_bytes: usize,
}

/// A file of records that is being read.
pub(super) struct RecordFile {
    seq: i64,
    name: Arc<str>,
    modified_us: i64,
    input: Input,
    cutter: Cutter,
    max_record_bytes: usize,
    /// What has been read and not been cut yet is at `start..end`.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    is_new: bool,
    eof: bool,
    /// Why there is nothing more has been reported.
    failed: bool,
    /// In the middle of a record that is too long.
    discarding: bool,
    /// The number and the line of the record at `start`.
    record: u64,
    line: u64,
    /// Records before this one were shown already.
    skip_to: u64,
    header: Option<Arc<[u8]>>,
    wants_header: bool,
}

impl RecordFile {
    /// Opens a file to show its records from `skip_to` on. `buffer` is used again.
    pub fn open(
        entry: &Entry,
        skip_to: u64,
        options: &RecordOptions,
        buffer: Vec<u8>,
    ) -> io::Result<Self> {
        let input = Input::open(&entry.path, entry.size, options.compression)?;
        let cutter = Cutter::new(options.framing.clone());
        let wants_header = cutter.has_header();
        Ok(Self {
            seq: entry.seq,
            name: shown(&entry.path),
            modified_us: entry.mtime_ns.div_euclid(1000),
            input,
            cutter,
            max_record_bytes: options.max_record_bytes,
            buffer,
            start: 0,
            end: 0,
            is_new: true,
            eof: false,
            failed: false,
            discarding: false,
            record: 0,
            line: 1,
            skip_to,
            header: None,
            wants_header,
        })
    }

    /// The number of the next record to show.
    pub fn record(&self) -> u64 {
        self.record.max(self.skip_to)
    }

    /// The buffer, for the next file.
    pub fn into_buffer(mut self) -> Vec<u8> {
        if self.buffer.len() > KEEP {
            self.buffer = Vec::new();
        }
        self.buffer
    }

    /// The file as it is now, to see whether it has changed.
    pub fn input(&self) -> &Input {
        &self.input
    }

    /// Shows records until one of the limits is met.
    pub fn read(&mut self, reading: &mut Reading<'_>) -> Outcome {
        loop {
            self.cut(reading);
            if !reading.damaged.is_empty() {
                return Outcome::Damage;
            }
            if reading.shown >= reading.limit {
                return Outcome::Limit;
            }
            if self.eof {
                self.look_for_missing(reading);
                if !reading.damaged.is_empty() {
                    return Outcome::Damage;
                }
                return Outcome::End;
            }
            if reading.budget == 0 {
                return Outcome::Budget;
            }
            if let Err(error) = self.fill(&mut reading.budget) {
                if is_system(&error) {
                    return Outcome::Trouble(error);
                }
                reading.damaged.extend(self.damage("unreadable_file", self.complaint(&error)));
                (self.start, self.eof, self.failed) = (self.end, true, true);
            }
        }
    }

    fn look_for_missing(&mut self, reading: &mut Reading<'_>) {
        let Some((there, entered)) = self.input.missing().filter(|_| !self.failed) else { return };
        self.failed = true;
        let error = format!("the file had {entered} bytes when it was found and has {there} now");
        reading.damaged.extend(self.damage("unreadable_file", error));
    }

    /// Shows the records that are in the buffer.
    fn cut(&mut self, reading: &mut Reading<'_>) {
        while reading.shown < reading.limit && reading.damaged.is_empty() {
            let bytes = &self.buffer[self.start..self.end];
            if self.discarding {
                let Some(end) = memchr(b'\n', bytes) else {
                    self.start = self.end;
                    return;
                };
                self.start += end + 1;
                self.line += 1;
                self.discarding = false;
                continue;
            }
            let mut cut = self.cutter.cut(bytes, self.eof);
            if cut == Cut::More && bytes.len() > self.max_record_bytes {
                cut = self.cutter.give_up(bytes);
            }
            let (len, next, lines) = match cut {
                Cut::Record { len, next, lines } => (len, next, lines),
                Cut::More if bytes.len() > self.max_record_bytes => {
                    reading.damaged.extend(self.oversized(None));
                    (self.start, self.discarding) = (self.end, true);
                    continue;
                }
                Cut::More => return,
            };
            if len > self.max_record_bytes {
                reading.damaged.extend(self.oversized(Some(len)));
                self.start += next;
                self.line += lines;
                continue;
            }
            let payload = &bytes[..len];
            let number = self.record;
            if self.cutter.is_filler(payload) {
                // Counted, so that numbers do not depend on what a filler is.
            } else if self.wants_header {
                self.header = Some(Arc::from(payload));
                self.wants_header = false;
            } else if number >= self.skip_to {
                (reading.visit)(Record {
                    offset: position(self.seq, number),
                    payload: Some(payload),
                    key: None,
                    meta: RecordMeta {
                        file: Some(&self.name),
                        line: Some(self.line),
                        modified_us: Some(self.modified_us),
                        header: self.header.as_ref(),
                        ..RecordMeta::default()
                    },
                });
                reading.shown += 1;
            }
            self.record += 1;
            self.start += next;
            self.line += lines;
        }
    }

    /// Reads more into the buffer.
    fn fill(&mut self, budget: &mut usize) -> io::Result<()> {
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        if self.buffer.len() - self.end < CHUNK {
            // Doubled, so that a long record is copied a few times and not once a chunk.
            self.buffer.resize((self.end * 2).max(self.end + CHUNK), 0);
        }
        let read = loop {
            match self.input.read(&mut self.buffer[self.end..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        *budget = budget.saturating_sub(read.max(1));
        self.end += read;
        self.eof = read == 0;
        if self.is_new && (self.end >= 3 || self.eof) {
            self.is_new = false;
            let begin = &self.buffer[..self.end];
            if begin.starts_with(b"\xef\xbb\xbf") {
                self.start = 3;
            } else if begin.starts_with(b"\xff\xfe") || begin.starts_with(b"\xfe\xff") {
                return Err(io::Error::other("it is UTF-16; only UTF-8 can be read"));
            }
        }
        Ok(())
    }

    fn complaint(&self, error: &io::Error) -> String {
        let so_far = match self.record {
            0 => "nothing of it could be read".to_owned(),
            1 => "1 record was read before that".to_owned(),
            records => format!("{records} records were read before that"),
        };
        format!("the rest of the file cannot be read: {error}; {so_far}")
    }

    fn oversized(&mut self, bytes: Option<usize>) -> Option<Damaged> {
        let limit = self.max_record_bytes;
        let bytes = bytes.map_or_else(|| format!("more than {limit}"), |bytes| bytes.to_string());
        let error = format!("the record has {bytes} bytes; the source accepts {limit}");
        self.damage("oversized", error)
    }

    /// Takes a record number for what is at `start` and cannot be a record. `None` when it was
    /// reported before the restart.
    fn damage(&mut self, reason: &'static str, error: String) -> Option<Damaged> {
        let number = self.record;
        self.record += 1;
        let rest = &self.buffer[self.start..self.end];
        (number >= self.skip_to).then(|| Damaged {
            offset: position(self.seq, number),
            reason,
            error,
            file: Some(self.name.clone()),
            line: Some(self.line),
            payload: rest[..rest.len().min(SAMPLE)].to_vec(),
        })
    }
}

/// A path as messages and metadata columns show it.
pub(super) fn shown(path: &Path) -> Arc<str> {
    path.to_string_lossy().into()
}
