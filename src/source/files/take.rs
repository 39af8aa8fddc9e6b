//! Going from file to file.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::datatypes::SchemaRef;

use super::log::Entry;
use super::parquet_file::{ParquetFile, Unreadable};
use super::records::{Outcome, Reading, RecordFile, RecordOptions, shown};
use super::scan::mtime_ns;
use super::{After, FilesSource, NUMBER_AT_ONCE, NUMBER_NEWEST, Order};
use crate::source::{ColumnsTaken, Damaged, Record, SourceError, Taken, parse_position, position};

/// Bytes that one call reads at most, decompressed: some 30 ms.
const BUDGET: usize = 32 << 20;
/// How often a file is tried again that the operating system cannot read, and how long the first
/// pause is; it doubles, so that all of them take six seconds.
const ATTEMPTS: u32 = 6;
const PAUSE: Duration = Duration::from_millis(100);

/// A file that is being read.
pub(super) struct Current {
    entry: Entry,
    open: Open,
}

enum Open {
    Records(Box<RecordFile>),
    Columns(Box<ParquetFile>),
}

/// A file that cannot be read at the moment.
#[derive(Debug)]
pub(super) struct Trouble {
    entry: Entry,
    attempts: u32,
    again: Instant,
    reason: String,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cannot be read: {}; trying again", self.entry.path.display(), self.reason)
    }
}

/// What came of looking for the next file.
enum Begun {
    /// It is open.
    Yes,
    /// There is none now.
    Nothing,
    /// There will be none before the next barrier.
    Limited,
    /// It is skipped.
    Damaged(Damaged),
    Failed(SourceError),
}

/// What to do about a file that the operating system cannot read.
enum Verdict {
    Wait,
    GiveUp(Damaged),
    Fail(SourceError),
}

impl FilesSource {
    pub(super) fn take_records(
        &mut self,
        options: &RecordOptions,
        limit: usize,
        visit: &mut dyn FnMut(Record<'_>),
    ) -> Taken {
        let mut taken = Taken::default();
        let mut reading = Reading { limit, shown: 0, budget: BUDGET, damaged: Vec::new(), visit };
        // What is damaged ends a take: it has to stand behind the take's records.
        while reading.shown < limit && reading.damaged.is_empty() {
            if self.current.is_none() {
                let buffer = std::mem::take(&mut self.buffer);
                let begun = self.begin(|entry, skip_to| {
                    RecordFile::open(entry, skip_to, options, buffer)
                        .map(|file| Open::Records(Box::new(file)))
                        .map_err(Unreadable::from)
                });
                match begun {
                    Begun::Yes => {}
                    Begun::Nothing => break,
                    Begun::Limited => {
                        taken.limited = true;
                        break;
                    }
                    Begun::Damaged(damaged) => {
                        reading.damaged.push(damaged);
                        continue;
                    }
                    Begun::Failed(error) => {
                        taken.error = Some(error);
                        break;
                    }
                }
            }
            let Some(Current { entry, open: Open::Records(file) }) = &mut self.current else {
                break;
            };
            let outcome = file.read(&mut reading);
            self.next = position(entry.seq, file.record());
            match outcome {
                Outcome::Limit | Outcome::Damage => break,
                Outcome::Budget => {
                    // Nothing need have been shown, and yet there is more.
                    self.waker.wake();
                    break;
                }
                Outcome::End => {
                    if let Ok(now) = file.input().metadata() {
                        warn_if_changed(&self.name, entry, now.size(), mtime_ns(&now));
                    }
                    self.finish();
                }
                Outcome::Trouble(error) => {
                    let entry = entry.clone();
                    self.current = None;
                    match self.verdict(entry, error) {
                        Verdict::Wait => break,
                        Verdict::GiveUp(damaged) => reading.damaged.push(damaged),
                        Verdict::Fail(error) => {
                            taken.error = Some(error);
                            break;
                        }
                    }
                }
            }
        }
        taken.messages = reading.shown;
        taken.damaged = reading.damaged;
        if self.current.is_none() && taken.damaged.is_empty() {
            taken.end = Some(self.next);
            taken.finished = self.is_finished();
        }
        taken
    }

    pub(super) fn take_rows(&mut self, output: &SchemaRef, limit: usize) -> ColumnsTaken {
        let mut taken = ColumnsTaken::default();
        loop {
            if self.current.is_none() {
                let begun = self.begin(|entry, skip_to| {
                    ParquetFile::open(entry, skip_to, output)
                        .map(|file| Open::Columns(Box::new(file)))
                });
                match begun {
                    Begun::Yes => {}
                    Begun::Nothing => break,
                    Begun::Limited => {
                        taken.limited = true;
                        break;
                    }
                    Begun::Damaged(damaged) => {
                        return behind(taken, damaged);
                    }
                    Begun::Failed(error) => {
                        taken.error = Some(error);
                        break;
                    }
                }
            }
            let Some(Current { entry, open: Open::Columns(file) }) = &mut self.current else {
                break;
            };
            let row = file.row();
            match file.next(limit) {
                Some(Ok(batch)) => {
                    taken.first = position(entry.seq, row);
                    self.next = position(entry.seq, file.row());
                    taken.file = Some(file.name.clone());
                    taken.modified_us = Some(file.modified_us);
                    taken.batch = Some(batch);
                    break;
                }
                None => {
                    if let Ok(now) = fs::metadata(&*entry.path) {
                        warn_if_changed(&self.name, entry, now.size(), mtime_ns(&now));
                    }
                    self.finish();
                }
                Some(Err(error)) => {
                    let entry = entry.clone();
                    self.current = None;
                    // The reader does not tell a disk that fails from a file that is damaged: a
                    // second try does.
                    if self.trouble.as_ref().is_none_or(|trouble| trouble.entry.seq != entry.seq) {
                        self.wait(entry, 0, error);
                        break;
                    }
                    return behind(taken, self.give_up(&entry, &error));
                }
            }
        }
        taken.next = Some(self.next);
        taken.finished = self.current.is_none() && self.is_finished();
        taken
    }

    /// Opens the next file at the position that was reached.
    fn begin(&mut self, open: impl FnOnce(&Entry, u64) -> Result<Open, Unreadable>) -> Begun {
        if let Some(trouble) = &self.trouble
            && Instant::now() < trouble.again
        {
            return Begun::Nothing;
        }
        if self.end.is_none()
            && let Err(error) = self.lister.start(self.options.poll_interval, self.waker.clone())
        {
            return Begun::Failed(error);
        }
        let room = match self.options.max_files_per_trigger {
            Some(max) => max.saturating_sub(self.begun),
            None => usize::MAX,
        };
        if self.queue.is_empty() && self.end.is_none() && room > 0 {
            let batch = match self.options.order {
                Order::OldestFirst => NUMBER_AT_ONCE,
                Order::NewestFirst => NUMBER_NEWEST,
            };
            if let Err(error) = self.number(batch.min(room)) {
                return Begun::Failed(error);
            }
        }
        let Some(entry) = self.queue.front().cloned() else { return Begun::Nothing };
        let is_retry = self.trouble.as_ref().is_some_and(|trouble| trouble.entry.seq == entry.seq);
        if !is_retry {
            if room == 0 {
                return Begun::Limited;
            }
            self.begun += 1;
        }
        let (seq, record) = parse_position(self.next);
        let skip_to = if seq == entry.seq { record } else { 0 };
        self.next = position(entry.seq, skip_to);
        let error = match open(&entry, skip_to) {
            Ok(open) => {
                self.queue.pop_front();
                self.current = Some(Current { entry, open });
                return Begun::Yes;
            }
            Err(error) => error,
        };
        self.queue.pop_front();
        match error {
            Unreadable::Content(reason) => Begun::Damaged(self.give_up(&entry, &reason)),
            Unreadable::System(error) => match self.verdict(entry, error) {
                Verdict::Wait => Begun::Nothing,
                Verdict::GiveUp(damaged) => Begun::Damaged(damaged),
                Verdict::Fail(error) => Begun::Failed(error),
            },
        }
    }

    /// The current file has been read to its end.
    fn finish(&mut self) {
        self.trouble = None;
        let Some(Current { entry, open }) = self.current.take() else { return };
        if let Open::Records(file) = open {
            self.buffer = file.into_buffer();
        }
        self.leave(entry);
    }

    fn leave(&mut self, entry: Entry) {
        self.next = position(entry.seq + 1, 0);
        if self.options.after != After::Keep {
            self.done.push_back(entry);
        }
    }

    fn is_finished(&self) -> bool {
        self.end.is_some() && self.queue.is_empty() && self.trouble.is_none()
    }

    fn verdict(&mut self, entry: Entry, error: io::Error) -> Verdict {
        // Whatever is wrong is wrong with more than this file.
        if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM)) {
            let failed = SourceError::io("read", &entry.path, error);
            self.queue.push_front(entry);
            return Verdict::Fail(failed);
        }
        let attempts = match &self.trouble {
            Some(trouble) if trouble.entry.seq == entry.seq => trouble.attempts + 1,
            _ => 0,
        };
        let root = self.lister.root();
        let hopeless = attempts >= ATTEMPTS
            || matches!(
                error.kind(),
                io::ErrorKind::NotFound
                    | io::ErrorKind::PermissionDenied
                    | io::ErrorKind::IsADirectory
                    | io::ErrorKind::NotADirectory
            );
        // As long as the whole directory is away, so are its files, and they come back with it.
        if hopeless && fs::metadata(&root).is_ok() {
            let reason = match error.kind() {
                io::ErrorKind::NotFound => "it was found, and is gone again".to_owned(),
                _ => error.to_string(),
            };
            return Verdict::GiveUp(self.give_up(&entry, &reason));
        }
        self.wait(entry, attempts, error.to_string());
        Verdict::Wait
    }

    fn wait(&mut self, entry: Entry, attempts: u32, reason: String) {
        let pause = PAUSE * 2u32.pow(attempts.min(ATTEMPTS));
        tracing::warn!(
            source = &*self.name,
            path = %entry.path.display(),
            error = reason,
            "a file cannot be read; trying again"
        );
        self.queue.push_front(entry.clone());
        self.trouble = Some(Trouble { entry, attempts, again: Instant::now() + pause, reason });
    }

    /// Leaves what is left of a file.
    fn give_up(&mut self, entry: &Entry, reason: &str) -> Damaged {
        self.trouble = None;
        let offset = self.next.max(position(entry.seq, 0));
        let (_, records) = parse_position(offset);
        let name: Arc<str> = shown(&entry.path);
        let what = if records == 0 { "the file" } else { "the rest of the file" };
        self.leave(entry.clone());
        Damaged {
            offset,
            reason: "unreadable_file",
            error: format!("{what} cannot be read: {reason}"),
            file: Some(name),
            line: None,
            payload: Vec::new(),
        }
    }
}

/// What is damaged and nothing else: the position does not go past it by itself.
fn behind(mut taken: ColumnsTaken, damaged: Damaged) -> ColumnsTaken {
    taken.next = Some(damaged.offset);
    taken.damaged.push(damaged);
    taken
}

impl From<io::Error> for Unreadable {
    fn from(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(_) => Self::System(error),
            None => Self::Content(error.to_string()),
        }
    }
}

fn warn_if_changed(source: &str, entry: &Entry, size: u64, mtime_ns: i64) {
    if (size, mtime_ns) != (entry.size, entry.mtime_ns) {
        tracing::warn!(
            source,
            path = %entry.path.display(),
            bytes_found = entry.size,
            bytes_now = size,
            "a file changed after it was found; what was added is not read. \
             Write under another name and rename, or raise the source's settle time"
        );
    }
}
