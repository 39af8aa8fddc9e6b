//! The thread that lists the directory and cleans up behind the reader, so that neither ever
//! waits for a slow file system in a reader's thread.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::clean::{Cleaned, clean};
use super::log::Entry;
use super::options::{After, Order};
use super::scan::{Found, Scanner};
use crate::source::SourceError;
use crate::source::wake::Waker;

/// How often a warning about one and the same trouble is repeated.
const REPEAT: Duration = Duration::from_secs(60);

/// Files that wait to be numbered, in the order in which they will be.
#[derive(Debug, Default)]
pub(super) struct Waiting(BTreeMap<(i64, PathBuf), u64>);

impl Waiting {
    pub fn extend(&mut self, found: Vec<Found>) {
        self.0.extend(found.into_iter().map(|found| ((found.mtime_ns, found.path), found.size)));
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Takes up to `count` files: those that come first.
    pub fn take(&mut self, count: usize, order: Order) -> Vec<Found> {
        std::iter::from_fn(|| {
            let ((mtime_ns, path), size) = match order {
                Order::OldestFirst => self.0.pop_first()?,
                Order::NewestFirst => self.0.pop_last()?,
            };
            Some(Found { path, size, mtime_ns })
        })
        .take(count)
        .collect()
    }
}

/// What the thread and the reader share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub waiting: Waiting,
    /// Files that are still being written, for all we know.
    pub unsettled: usize,
    /// Numbers of files that need not be remembered any more.
    pub cleaned: Vec<i64>,
    /// Why nothing can be listed at the moment.
    pub trouble: Option<String>,
}

/// Looks for files and cleans up: here, or on a thread.
#[derive(Debug)]
pub(super) struct Lister {
    root: PathBuf,
    shared: Arc<Mutex<Shared>>,
    work: Work,
}

#[derive(Debug)]
enum Work {
    /// Nothing is listed but on demand.
    Here(Box<Worker>),
    Thread(Sender<Command>, JoinHandle<Box<Worker>>),
    /// The thread has ended, which it never does by itself.
    Lost,
}

#[derive(Debug)]
enum Command {
    Clean(Vec<Entry>),
    IgnoreBefore(i64),
}

/// What listing and cleaning need.
#[derive(Debug)]
struct Worker {
    source: Arc<str>,
    scanner: Scanner,
    after: After,
    /// Files that could not be cleaned up yet.
    left: Vec<Entry>,
    warned: Option<(String, Instant)>,
}

impl Lister {
    pub fn new(source: Arc<str>, scanner: Scanner, after: After) -> Self {
        let root = scanner.target().root().to_owned();
        let worker = Worker { source, scanner, after, left: Vec::new(), warned: None };
        Self { root, shared: Arc::default(), work: Work::Here(Box::new(worker)) }
    }

    pub fn shared(&self) -> MutexGuard<'_, Shared> {
        lock(&self.shared)
    }

    /// Lists once, now, in this thread; not while the other one does.
    pub fn scan(&mut self, now: Instant, settled: bool) -> Result<(), SourceError> {
        let Work::Here(worker) = &mut self.work else { return Ok(()) };
        let found = worker.scanner.scan(now, settled)?;
        let mut shared = lock(&self.shared);
        shared.waiting.extend(found);
        shared.unsettled = worker.scanner.unsettled();
        Ok(())
    }

    /// These files are known; only before the thread runs.
    pub fn know(&mut self, known: impl Iterator<Item = PathBuf>) {
        if let Work::Here(worker) = &mut self.work {
            known.for_each(|path| worker.scanner.known(path));
        }
    }

    /// These are gone, or other files by now; only before the thread runs.
    pub fn forget(&mut self, gone: &[Entry]) {
        if let Work::Here(worker) = &mut self.work {
            gone.iter().for_each(|entry| worker.scanner.forget(&entry.path));
        }
    }

    /// The directory that has to be there.
    pub fn root(&self) -> PathBuf {
        self.root.clone()
    }

    /// Lists every `interval` from now on, on a thread that ends with this value.
    pub fn start(&mut self, interval: Duration, waker: Waker) -> Result<(), SourceError> {
        let Work::Here(_) = &self.work else { return Ok(()) };
        let (sender, receiver) = mpsc::channel();
        let Work::Here(mut worker) = std::mem::replace(&mut self.work, Work::Lost) else {
            return Ok(());
        };
        let shared = self.shared.clone();
        let thread = thread::Builder::new()
            .name("file-lister".into())
            .spawn(move || {
                worker.run(&receiver, interval, &shared, &waker);
                worker
            })
            .map_err(|error| SourceError::Thread(format!("no thread to list files on: {error}")))?;
        self.work = Work::Thread(sender, thread);
        Ok(())
    }

    /// Ends the thread, if it runs, and lists on demand again.
    pub fn stop(&mut self) -> Result<(), SourceError> {
        self.work = match std::mem::replace(&mut self.work, Work::Lost) {
            Work::Thread(commands, thread) => {
                drop(commands);
                let lost = |_| SourceError::Thread("the thread that lists files is gone".into());
                Work::Here(thread.join().map_err(lost)?)
            }
            other => other,
        };
        Ok(())
    }

    /// Cleans these files up, and those that could not be cleaned up before.
    pub fn clean(&mut self, entries: Vec<Entry>) {
        match &mut self.work {
            Work::Here(worker) => worker.clean(entries, &self.shared),
            // A thread that is gone has been reported where it ended.
            Work::Thread(commands, _) => drop(commands.send(Command::Clean(entries))),
            Work::Lost => {}
        }
    }

    pub fn ignore_before(&mut self, floor_ns: i64) {
        match &mut self.work {
            Work::Here(worker) => worker.scanner.ignore_before(floor_ns),
            Work::Thread(commands, _) => drop(commands.send(Command::IgnoreBefore(floor_ns))),
            Work::Lost => {}
        }
    }
}

impl Worker {
    fn run(
        &mut self,
        commands: &Receiver<Command>,
        interval: Duration,
        shared: &Arc<Mutex<Shared>>,
        waker: &Waker,
    ) {
        let mut due = Instant::now();
        loop {
            let now = Instant::now();
            if now >= due {
                due = now + interval;
                self.list(now, shared, waker);
            }
            let pause = due.saturating_duration_since(Instant::now());
            match commands.recv_timeout(pause) {
                Ok(Command::Clean(entries)) => self.clean(entries, shared),
                Ok(Command::IgnoreBefore(floor_ns)) => self.scanner.ignore_before(floor_ns),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn list(&mut self, now: Instant, shared: &Mutex<Shared>, waker: &Waker) {
        let found = self.scanner.scan(now, true);
        let mut shared = lock(shared);
        shared.unsettled = self.scanner.unsettled();
        let news = match found {
            Ok(found) => {
                shared.trouble = None;
                let news = !found.is_empty();
                shared.waiting.extend(found);
                news
            }
            Err(error) => {
                let error = error.to_string();
                shared.trouble = Some(error.clone());
                self.warn(error, "files cannot be listed; trying again");
                false
            }
        };
        drop(shared);
        if news {
            waker.wake();
        }
    }

    fn clean(&mut self, entries: Vec<Entry>, shared: &Mutex<Shared>) {
        self.left.extend(entries);
        let mut done = Vec::new();
        for entry in std::mem::take(&mut self.left) {
            match clean(&entry, self.scanner.target().root(), &self.after) {
                Ok(outcome) => {
                    if outcome == Cleaned::Changed {
                        tracing::warn!(
                            source = &*self.source,
                            path = %entry.path.display(),
                            "a file changed after it was read; it stays, and will be read as a new one"
                        );
                    }
                    self.scanner.forget(&entry.path);
                    done.push(entry.seq);
                }
                Err(error) => {
                    let error = format!("{}: {error}", entry.path.display());
                    self.warn(error, "a file that was read cannot be archived or deleted yet");
                    self.left.push(entry);
                }
            }
        }
        lock(shared).cleaned.extend(done);
    }

    fn warn(&mut self, error: String, message: &str) {
        let now = Instant::now();
        let recent = self
            .warned
            .as_ref()
            .is_some_and(|(last, when)| *last == error && now.duration_since(*when) < REPEAT);
        if !recent {
            tracing::warn!(source = &*self.source, error, "{message}");
            self.warned = Some((error, now));
        }
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    // Nothing panics while it holds the lock, and the lists would be whole if something did.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
