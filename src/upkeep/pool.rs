//! Threads that do the work, each with a small runtime and storage of its own.
//!
//! Reading, decoding and encoding Parquet is CPU time, seconds of it at a stretch. On the caller's
//! runtime it would hold up everything else there, and the caller may be an actor.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

use super::{Progress, UpkeepError, open};
use crate::lake::{ExistingTable, TableLocation};

/// How often a caller that waits asks whether it should give up.
const ASK: Duration = Duration::from_millis(100);

/// What a piece of work can use while it runs.
pub(super) struct Worker<T> {
    /// The table, with storage that belongs to this thread's runtime.
    pub table: ExistingTable,
    cancelled: Arc<AtomicBool>,
    tell: UnboundedSender<Event<T>>,
}

impl<T> Worker<T> {
    /// An error if the work should be given up; to be asked between batches.
    pub fn go_on(&self) -> Result<(), UpkeepError> {
        if self.cancelled.load(Ordering::Relaxed) { Err(UpkeepError::Cancelled) } else { Ok(()) }
    }

    /// Tells how much was done.
    pub fn advance(&self, files: u64, bytes: u64) {
        let _ = self.tell.send(Event::Advanced { files, bytes });
    }
}

enum Event<T> {
    Advanced { files: u64, bytes: u64 },
    Done(Result<T, UpkeepError>),
}

/// Work under way. Dropping it gives the rest up.
pub(super) struct Pool<T> {
    events: UnboundedReceiver<Event<T>>,
    cancelled: Arc<AtomicBool>,
    name: String,
    /// Pieces that are not done.
    left: usize,
}

impl<T> Drop for Pool<T> {
    fn drop(&mut self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }
}

/// One piece of work.
pub(super) type Work<'a, T> = Pin<Box<dyn Future<Output = Result<T, UpkeepError>> + 'a>>;

impl<T: Send + 'static> Pool<T> {
    /// Begins to do `jobs` with `work` on so many threads, the first ones first.
    pub fn start<J, F>(
        location: &TableLocation,
        threads: usize,
        jobs: Vec<J>,
        work: F,
    ) -> Result<Self, UpkeepError>
    where
        J: Send + 'static,
        F: for<'a> Fn(J, &'a Worker<T>) -> Work<'a, T> + Send + Sync + 'static,
    {
        let (tell, events) = mpsc::unbounded_channel();
        let cancelled = Arc::new(AtomicBool::new(false));
        let threads = threads.clamp(1, jobs.len().max(1));
        let left = jobs.len();
        let jobs = Arc::new(Mutex::new(VecDeque::from(jobs)));
        let work = Arc::new(work);
        for _ in 0..threads {
            let (location, jobs, work) = (location.clone(), jobs.clone(), work.clone());
            let (cancelled, tell) = (cancelled.clone(), tell.clone());
            thread::Builder::new()
                .name("upkeep-work".to_owned())
                .spawn(move || {
                    let last = tell.clone();
                    if let Err(error) = run(location, &jobs, work.as_ref(), cancelled, tell) {
                        let _ = last.send(Event::Done(Err(error)));
                    }
                })
                .map_err(|source| UpkeepError::Spill {
                    action: "start",
                    path: "a thread".to_owned(),
                    source,
                })?;
        }
        Ok(Self { events, cancelled, name: location.uri().to_owned(), left })
    }

    /// The next piece that is done, in any order; `None` after the last.
    pub async fn next(&mut self, progress: &dyn Progress) -> Option<Result<T, UpkeepError>> {
        loop {
            match tokio::time::timeout(ASK, self.events.recv()).await {
                Err(_) => {}
                Ok(None) if self.left == 0 => return None,
                Ok(None) => {
                    // All threads are gone, and so is the work of one that panicked.
                    self.left = 0;
                    let reason = "a thread that worked on it is gone";
                    return Some(Err(UpkeepError::internal(&self.name, reason)));
                }
                Ok(Some(Event::Advanced { files, bytes })) => progress.advance(files, bytes),
                Ok(Some(Event::Done(result))) => {
                    self.left = self.left.saturating_sub(1);
                    return Some(result);
                }
            }
            if progress.cancelled() {
                self.cancelled.store(true, Ordering::Relaxed);
            }
        }
    }

    /// All pieces, in any order, or the first error.
    pub async fn all(&mut self, progress: &dyn Progress) -> Result<Vec<T>, UpkeepError> {
        let mut done = Vec::new();
        while let Some(result) = self.next(progress).await {
            done.push(result?);
        }
        Ok(done)
    }

    /// How errors call the table.
    pub fn name(&self) -> &str {
        &self.name
    }
}

fn run<J, T, F>(
    location: TableLocation,
    jobs: &Mutex<VecDeque<J>>,
    work: &F,
    cancelled: Arc<AtomicBool>,
    tell: UnboundedSender<Event<T>>,
) -> Result<(), UpkeepError>
where
    F: for<'a> Fn(J, &'a Worker<T>) -> Work<'a, T>,
{
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| UpkeepError::internal(location.uri(), e))?;
    runtime.block_on(async {
        let table = open(&location).await?;
        let worker = Worker { table, cancelled, tell };
        loop {
            let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let Some(job) = job else { return Ok(()) };
            let result = match worker.go_on() {
                Ok(()) => work(job, &worker).await,
                Err(error) => Err(error),
            };
            if worker.tell.send(Event::Done(result)).is_err() {
                return Ok(());
            }
        }
    })
}
