//! Files that appear in a directory, as a stream.
//!
//! A file is found by listing (`scan`), waits until nobody writes to it any more, gets a number
//! in the discovery log (`log`) and is then read once, from its first record to its last. Its
//! number and the record's make the position, so a restart goes on at the very record. What
//! cannot be read is one dead letter: a source never stands still for good over one file.

mod clean;
mod frame;
mod input;
mod lister;
mod log;
mod options;
pub(super) mod parquet_file;
mod records;
mod scan;
mod take;
#[cfg(test)]
mod tests;
pub(super) mod whole;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use arrow::datatypes::SchemaRef;

pub use options::{After, Compression, CsvFraming, FileFormat, FilesOptions, Framing, Order};

use self::clean::is_unchanged;
use self::lister::Lister;
use self::log::{DiscoveryLog, Entry};
use self::records::RecordOptions;
use self::scan::{Scanner, Target};
use self::take::{Current, Trouble};
use super::wake::Waker;
use super::{
    BacklogUnit, ColumnsTaken, Record, SourceError, SplitReader, Taken, parse_position, position,
};

/// Files that are given numbers in one go, which costs one flush.
const NUMBER_AT_ONCE: usize = 256;
/// The same when the newest come first: a number is a place in the order, which a newer file
/// that appears a moment later could not go before.
const NUMBER_NEWEST: usize = 16;
/// Files that are given numbers in one go in a bounded run.
const NUMBER_ALL: usize = 16 << 10;
/// The discovery log is not searched for what is too old before it has so many entries.
const FORGET_ABOVE: usize = 4096;

/// A directory's files as one split. See the module's documentation.
pub struct FilesSource {
    name: Arc<str>,
    options: FilesOptions,
    shape: Shape,
    log: DiscoveryLog,
    lister: Lister,
    waker: Waker,
    /// Numbered and not begun.
    queue: VecDeque<Entry>,
    current: Option<Current>,
    /// The position of the next record.
    next: i64,
    /// Files begun since the last barrier.
    begun: usize,
    /// Where a bounded run ends.
    end: Option<i64>,
    /// Read to the end, to be cleaned up once they are durable.
    done: VecDeque<Entry>,
    trouble: Option<Trouble>,
    buffer: Vec<u8>,
    forget_above: usize,
}

#[derive(Debug)]
enum Shape {
    Records(RecordOptions),
    Columns(SchemaRef),
}

impl FilesSource {
    /// Opens the source called `name`, whose discovery log is `<sources_dir>/<name>.log`. Nothing
    /// is listed before the first [`SplitReader::take`] or [`SplitReader::bound`].
    ///
    /// Fails if the directory that is to be read does not exist.
    pub fn open(
        options: FilesOptions,
        sources_dir: &Path,
        name: impl Into<Arc<str>>,
    ) -> Result<Self, SourceError> {
        options.check()?;
        let name = name.into();
        let target = Target::new(&options)?;
        std::fs::metadata(target.root())
            .map_err(|error| SourceError::io("list", target.root(), error))?;
        let log = DiscoveryLog::open(&sources_dir.join(format!("{name}.log")))?;
        let shape = match &options.format {
            FileFormat::Records(framing) => Shape::Records(RecordOptions {
                framing: framing.clone(),
                compression: options.compression,
                max_record_bytes: options.max_record_bytes,
            }),
            FileFormat::Parquet { schema, projection } => {
                let output = schema.project(projection).map_err(|error| SourceError::Option {
                    option: "projection",
                    problem: error.to_string(),
                })?;
                Shape::Columns(Arc::new(output))
            }
        };
        let scanner = Scanner::new(target, options.settle);
        let lister = Lister::new(name.clone(), scanner, options.after.clone());
        let mut source = Self {
            name,
            options,
            shape,
            log,
            lister,
            waker: Waker::default(),
            queue: VecDeque::new(),
            current: None,
            next: 0,
            begun: 0,
            end: None,
            done: VecDeque::new(),
            trouble: None,
            buffer: Vec::new(),
            forget_above: FORGET_ABOVE,
        };
        source.lister.know(source.log.entries().values().map(|entry| entry.path.to_path_buf()));
        source.ignore_old();
        source.seek(0)?;
        Ok(source)
    }

    /// Gives numbers to up to `count` files that wait.
    fn number(&mut self, count: usize) -> Result<usize, SourceError> {
        let found = self.lister.shared().waiting.take(count, self.options.order);
        if found.is_empty() {
            return Ok(0);
        }
        match self.log.append(found.clone()) {
            Ok(entries) => {
                let count = entries.len();
                self.queue.extend(entries);
                self.ignore_old();
                Ok(count)
            }
            Err(error) => {
                self.lister.shared().waiting.extend(found);
                Err(error)
            }
        }
    }

    /// Spark's `maxFileAge`; with the newest files first it is not used, as there: it would leave
    /// out files that have only been waiting.
    fn floor_ns(&self) -> Option<i64> {
        let age = self.options.max_file_age.filter(|_| self.options.order == Order::OldestFirst)?;
        let age = i64::try_from(age.as_nanos()).unwrap_or(i64::MAX);
        Some(self.log.newest_ns()?.saturating_sub(age))
    }

    fn ignore_old(&mut self) {
        if let Some(floor) = self.floor_ns() {
            self.lister.ignore_before(floor);
        }
    }

    /// Drops entries that nobody will ask for again from the discovery log.
    fn forget(&mut self, durable: i64) {
        let mut gone = std::mem::take(&mut self.lister.shared().cleaned);
        if let Some(floor) =
            self.floor_ns().filter(|_| self.log.entries().len() > self.forget_above)
        {
            let durable = self.log.entries().range(..durable);
            gone.extend(durable.filter(|(_, entry)| entry.mtime_ns < floor).map(|(seq, _)| *seq));
            self.forget_above = (2 * (self.log.entries().len() - gone.len())).max(FORGET_ABOVE);
        }
        if gone.is_empty() {
            return;
        }
        if let Err(error) = self.log.remove(&gone) {
            // The entries are out of memory and still in the file; a restart finds them again.
            tracing::warn!(source = &*self.name, %error, "the discovery log could not be shortened");
        }
    }
}

impl SplitReader for FilesSource {
    fn take(&mut self, limit: usize, visit: &mut dyn FnMut(Record<'_>)) -> Taken {
        match &self.shape {
            Shape::Records(options) => {
                let options = options.clone();
                self.take_records(&options, limit, visit)
            }
            Shape::Columns(_) => Taken::default(),
        }
    }

    fn take_columns(&mut self, limit: usize) -> Option<ColumnsTaken> {
        match &self.shape {
            Shape::Records(_) => None,
            Shape::Columns(output) => {
                let output = output.clone();
                Some(self.take_rows(&output, limit))
            }
        }
    }

    fn on_ready(&mut self, wake: Box<dyn Fn() + Send + Sync>) {
        self.waker.set(wake);
    }

    fn seek(&mut self, next: i64) -> Result<(), SourceError> {
        let (seq, record) = parse_position(next);
        let entries = self.log.entries();
        let known = self.log.next();
        if seq > known || (record > 0 && !entries.contains_key(&seq)) {
            return Err(SourceError::Position {
                position: next,
                reason: format!(
                    "it is in file {seq}, and the discovery log of source '{}' knows {known} files: \
                     the log does not belong to this checkpoint",
                    self.name
                ),
            });
        }
        self.queue = entries.range(seq..).map(|(_, entry)| entry.clone()).collect();
        if self.options.after != After::Keep {
            // What the run before this cleaned up, and what has come under those names since.
            let read = entries.range(..seq).map(|(_, entry)| entry.clone());
            let (gone, left): (Vec<Entry>, Vec<Entry>) =
                read.partition(|entry| matches!(is_unchanged(entry), Ok(None | Some(false))));
            self.done = left.into();
            self.lister.forget(&gone);
            self.log.remove(&gone.iter().map(|entry| entry.seq).collect::<Vec<i64>>())?;
        }
        self.current = None;
        self.trouble = None;
        self.begun = 0;
        self.next = next.max(0);
        Ok(())
    }

    /// Files that were found and are not read to their end.
    fn backlog(&self) -> Option<u64> {
        let waiting = self.lister.shared().waiting.len();
        Some((self.queue.len() + waiting + usize::from(self.current.is_some())) as u64)
    }

    fn backlog_unit(&self) -> BacklogUnit {
        BacklogUnit::Files
    }

    fn barrier(&mut self, _epoch: u64) {
        self.begun = 0;
    }

    fn durable(&mut self, next: i64) {
        let (seq, _) = parse_position(next);
        if self.options.after != After::Keep {
            let count = self.done.iter().take_while(|entry| entry.seq < seq).count();
            self.lister.clean(self.done.drain(..count).collect());
        }
        self.forget(seq);
    }

    /// What is in the directory now, whether or not it is still being written.
    fn bound(&mut self) -> Result<i64, SourceError> {
        if let Some(end) = self.end {
            return Ok(end);
        }
        self.lister.stop()?;
        self.lister.scan(Instant::now(), false)?;
        while self.number(NUMBER_ALL)? > 0 {}
        let end = position(self.log.next(), 0);
        self.end = Some(end);
        Ok(end)
    }

    fn trouble(&self) -> Option<String> {
        self.trouble
            .as_ref()
            .map(Trouble::to_string)
            .or_else(|| self.lister.shared().trouble.clone())
    }
}
