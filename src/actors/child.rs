//! Supervision: every actor is spawned here, and no exit goes unheard.
//!
//! `actix::Supervisor` does not survive a panic (the panic takes the supervisor with it), so an
//! actor's context runs as a task whose join handle a second task awaits. Whatever way the actor
//! ends, the pipeline's supervisor gets a [`ChildExited`].

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use actix::prelude::*;
use actix::{Addr, Arbiter, ArbiterHandle};
use futures::channel::oneshot;
use tokio::sync::mpsc::UnboundedSender;

use super::supervisor::SupervisorEvent;
use crate::telemetry::events::ExitCause;

/// Who an actor is: its kind, and which of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ActorName {
    /// For instance `partition_reader`; a bounded metric label.
    pub kind: &'static str,
    /// For instance `logs/web-logs-3`.
    pub member: Arc<str>,
}

impl ActorName {
    /// The actor `member` of `kind`.
    pub fn new(kind: &'static str, member: impl Into<Arc<str>>) -> Self {
        Self { kind, member: member.into() }
    }
}

impl fmt::Display for ActorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.kind, self.member)
    }
}

/// How an actor ended.
#[derive(Debug)]
pub struct ChildExited {
    /// The generation that it belonged to; an exit of an older one is no news.
    pub generation: u64,
    /// Who.
    pub actor: ActorName,
    /// In which way.
    pub cause: ExitCause,
    /// In words.
    pub error: String,
    /// What helps.
    pub remedy: Remedy,
}

/// What helps after a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// Starting again from the last epoch.
    Restart,
    /// Somebody has to change the configuration or a table; the daemon ends.
    Mend,
    /// Another daemon is at work on the same tables; this one must end.
    Yield,
}

/// An actor's line to its supervisor.
#[derive(Clone)]
pub struct Supervision {
    generation: u64,
    events: UnboundedSender<SupervisorEvent>,
}

impl Supervision {
    /// For the actors of `generation`.
    pub fn new(generation: u64, events: UnboundedSender<SupervisorEvent>) -> Self {
        Self { generation, events }
    }

    /// Which generation this is.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Tells the supervisor something.
    pub fn tell(&self, event: SupervisorEvent) {
        // The supervisor is only gone when the process ends.
        let _ = self.events.send(event);
    }

    /// Reports that `actor` can't go on. The supervisor ends the generation.
    pub fn fail(&self, actor: &ActorName, error: impl fmt::Display, remedy: Remedy) {
        self.exited(actor, ExitCause::Error, error.to_string(), remedy);
    }

    fn exited(&self, actor: &ActorName, cause: ExitCause, error: String, remedy: Remedy) {
        self.tell(SupervisorEvent::ChildExited(ChildExited {
            generation: self.generation,
            actor: actor.clone(),
            cause,
            error,
            remedy,
        }));
    }
}

/// What the supervisor can see of an actor from outside.
#[derive(Debug)]
pub struct Health {
    /// Who it is about.
    pub actor: ActorName,
    born: Instant,
    queued: AtomicUsize,
    /// When the handler that runs now was entered, in ms since `born` plus one; 0 between.
    busy_since: AtomicU64,
    /// The handler waits for something outside (a table, a disk): slow is not stuck.
    waiting: AtomicBool,
}

impl Health {
    /// Of an actor that has just been made.
    pub fn new(actor: ActorName) -> Arc<Self> {
        Arc::new(Self {
            actor,
            born: Instant::now(),
            queued: AtomicUsize::new(0),
            busy_since: AtomicU64::new(0),
            waiting: AtomicBool::new(false),
        })
    }

    /// A message was put into the mailbox.
    pub fn enqueued(&self) {
        self.queued.fetch_add(1, Ordering::Relaxed);
    }

    /// A message was taken out of it.
    pub fn dequeued(&self) {
        // Saturating, as not every sender counts.
        let _ = self
            .queued
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |queued| queued.checked_sub(1));
    }

    /// Messages in the mailbox.
    pub fn mailbox(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }

    /// Marks the time until the guard is dropped as spent in one handler.
    pub fn busy(self: &Arc<Self>) -> Busy {
        let now = self.born.elapsed().as_millis() as u64 + 1;
        self.busy_since.store(now, Ordering::Relaxed);
        Busy(self.clone())
    }

    /// Says whether the actor waits for something outside itself.
    pub fn set_waiting(&self, waiting: bool) {
        self.waiting.store(waiting, Ordering::Relaxed);
    }

    /// How long the handler that runs now has been running, unless it waits for something outside.
    pub fn stuck_for(&self) -> Option<Duration> {
        let since = self.busy_since.load(Ordering::Relaxed);
        if since == 0 || self.waiting.load(Ordering::Relaxed) {
            return None;
        }
        Some(self.born.elapsed().saturating_sub(Duration::from_millis(since - 1)))
    }
}

/// See [`Health::busy`].
#[derive(Debug)]
pub struct Busy(Arc<Health>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy_since.store(0, Ordering::Relaxed);
    }
}

/// Spawns an actor on `arbiter` and returns its address. `make` runs on the arbiter's thread.
///
/// Returns `None` if the arbiter is gone, which the caller treats as a failed start.
pub async fn spawn<A>(
    arbiter: &ArbiterHandle,
    name: ActorName,
    supervision: Supervision,
    make: impl FnOnce() -> A + Send + 'static,
) -> Option<Addr<A>>
where
    A: Actor<Context = Context<A>>,
{
    let (ready, address) = oneshot::channel();
    arbiter.spawn_fn(move || {
        let context = Context::<A>::new();
        // The receiver is only gone if the caller was dropped; the actor then ends with its
        // arbiter.
        let _ = ready.send(context.address());
        let actor = actix::spawn(context.into_future(make()));
        actix::spawn(watch(name, supervision, actor));
    });
    address.await.ok()
}

async fn watch<F>(name: ActorName, supervision: Supervision, handle: F)
where
    F: Future<Output = Result<(), tokio::task::JoinError>>,
{
    match handle.await {
        Ok(()) => supervision.exited(&name, ExitCause::Stopped, "stopped".into(), Remedy::Restart),
        Err(error) if error.is_panic() => {
            let panic = error.into_panic();
            let text = panic
                .downcast_ref::<&str>()
                .map(|text| (*text).to_owned())
                .or_else(|| panic.downcast_ref::<String>().cloned())
                .unwrap_or_else(|| "panic without a message".into());
            supervision.exited(&name, ExitCause::Panic, text, Remedy::Restart);
        }
        Err(error) => {
            supervision.exited(&name, ExitCause::Stopped, error.to_string(), Remedy::Restart)
        }
    }
}

/// The threads of one generation. Ending them ends every actor on them, at its next await.
pub struct Threads {
    arbiters: Vec<Arbiter>,
}

impl Threads {
    /// No threads yet.
    pub fn new() -> Self {
        Self { arbiters: Vec::new() }
    }

    /// Starts `count` threads, at least one.
    pub fn start(&mut self, count: usize) -> std::io::Result<Vec<ArbiterHandle>> {
        (0..count.max(1))
            .map(|_| {
                let arbiter = Arbiter::try_new()?;
                let handle = arbiter.handle();
                self.arbiters.push(arbiter);
                Ok(handle)
            })
            .collect()
    }

    /// Ends all threads and waits for them, at most `patience`. Returns how many did not end: they
    /// hang in code that does not await, and end with it.
    pub async fn end(self, patience: Duration) -> usize {
        for arbiter in &self.arbiters {
            arbiter.stop();
        }
        let count = self.arbiters.len();
        let (ended, mut heard) = tokio::sync::mpsc::unbounded_channel();
        for arbiter in self.arbiters {
            let ended = ended.clone();
            std::thread::spawn(move || {
                // A panic on the arbiter's thread has been reported by `watch`.
                let _ = arbiter.join();
                let _ = ended.send(());
            });
        }
        drop(ended);
        let mut left = count;
        let deadline = tokio::time::Instant::now() + patience;
        while left > 0 {
            match tokio::time::timeout_at(deadline, heard.recv()).await {
                Ok(Some(())) => left -= 1,
                Ok(None) | Err(_) => break,
            }
        }
        left
    }
}

impl Default for Threads {
    fn default() -> Self {
        Self::new()
    }
}
