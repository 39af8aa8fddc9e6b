//! Anomaly events by HTTP, to whoever wakes people.
//!
//! A receiver that is slow, broken or gone must not hold up the pipeline, so a commit does not wait
//! for it: it puts the epoch's events into an outbox on the disk beside the ledger, which is flushed
//! before the epoch counts as committed, and a thread delivers them from there, one request at a
//! time and in order, trying again with longer and longer pauses. As staged rows are handed over
//! only once their epoch is durable, nobody is told of what a crash takes back.
//!
//! **At least once.** A crash between a request's answer and the outbox's next state repeats the
//! request. Each event has an identifier that is the same in every repetition (`id` in the body,
//! `Idempotency-Key` in the headers), so receivers can leave repetitions out.
//!
//! **Bounded.** At most `queue` notifications wait. Beyond that the oldest are dropped, counted and
//! logged: the newest say how things stand. A receiver's refusal (a status from 400 on, but for 408,
//! 425, 429 and 5xx) is final for that notification.

mod body;
mod deliver;
mod outbox;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use ureq::Agent;
use url::Url;

pub use self::body::{Notification, NotifiedAnomaly, WebhookFormat, notifications};
use self::deliver::{Deliverer, Shared};
use self::outbox::Outbox;
use super::disk;
use super::error::SinkError;
use super::staged::StagedRows;
use super::target::{CommitInfo, Decision, Guarantee, Marker, TargetContext};
use crate::telemetry::events::{DeliveryOutcome, WebhookDone, WebhookWaiting};

/// Where and how to send.
#[derive(Clone)]
pub struct WebhookOptions {
    /// The webhook's name in the configuration.
    pub name: String,
    /// `http://` or `https://`. Often a secret as a whole: only its host is ever shown.
    pub url: String,
    /// Sent with every request; values are never shown.
    pub headers: Vec<(String, String)>,
    pub format: WebhookFormat,
    /// For one request, from connecting to the end of the answer.
    pub timeout: Duration,
    /// Notifications that may wait.
    pub queue: usize,
    /// Certificate authorities (PEM) instead of the system's.
    pub ca: Option<String>,
}

impl std::fmt::Debug for WebhookOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("WebhookOptions")
            .field("name", &self.name)
            .field("url", &self.address())
            .field("headers", &names)
            .field("format", &self.format)
            .finish_non_exhaustive()
    }
}

impl WebhookOptions {
    /// The receiver without what may be secret: scheme, host and port.
    pub fn address(&self) -> String {
        match Url::parse(&self.url) {
            Ok(url) => {
                let port = url.port().map_or(String::new(), |port| format!(":{port}"));
                format!("{}://{}{port}/", url.scheme(), url.host_str().unwrap_or_default())
            }
            Err(_) => "an address that is none".to_owned(),
        }
    }
}

/// What is noted beside the outbox.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Note {
    last: Option<Marker>,
}

/// Puts events into the outbox. Dropped, it gives the thread two seconds for what is left.
pub struct WebhookTarget {
    options: WebhookOptions,
    context: TargetContext,
    dir: PathBuf,
    shared: Arc<Shared>,
    expected: Option<Marker>,
}

impl WebhookTarget {
    pub(super) const GUARANTEE: Guarantee = Guarantee::AtLeastOnce(
        "events wait on disk until the receiver has taken them; each has an identifier",
    );

    pub(super) async fn open(
        options: WebhookOptions,
        context: TargetContext,
    ) -> Result<Self, SinkError> {
        let refuse = |problem: String| SinkError::definition(&context.sink, problem);
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_global(Some(options.timeout))
            .user_agent(concat!("millpond/", env!("CARGO_PKG_VERSION")));
        if options.url.starts_with("https://") {
            let tls = crate::codec::registry::tls(options.ca.as_deref()).map_err(refuse)?;
            config = config.tls_config(tls);
        }
        let agent: Agent = config.build().new_agent();
        let dir = context.state_dir.join("outbox");
        let (opened, most) = (dir.clone(), options.queue);
        let outbox = disk::blocking(move || Outbox::open(&opened, most)).await?;
        let waiting = outbox.len();
        let shared = Shared::new(outbox);
        let deliverer = Deliverer {
            shared: shared.clone(),
            agent,
            options: options.clone(),
            pipeline: context.pipeline.clone(),
            webhook: options.name.clone(),
        };
        let (pipeline, webhook) = (&*context.pipeline, &*options.name);
        WebhookWaiting { pipeline, webhook, notifications: waiting }.emit();
        thread::Builder::new()
            .name(format!("webhook-{}", options.name))
            .spawn(move || deliverer.run())
            .map_err(|error| SinkError::internal(format!("no thread to deliver from: {error}")))?;
        let mut target = Self { options, context, dir, shared, expected: None };
        let found = target.marker().await?;
        target.expected = target.context.check(&target.address(), found)?;
        Ok(target)
    }

    pub(super) fn address(&self) -> String {
        self.options.address()
    }

    fn note(&self) -> PathBuf {
        self.context.state_dir.join("outbox.note")
    }

    pub(super) async fn marker(&mut self) -> Result<Option<Marker>, SinkError> {
        let path = self.note();
        disk::blocking(move || match disk::read(&path)? {
            None => Ok(None),
            Some(bytes) => {
                let note: Note = serde_json::from_slice(&bytes).map_err(|error| {
                    SinkError::internal(format!("{} is damaged: {error}", path.display()))
                })?;
                Ok(note.last)
            }
        })
        .await
    }

    pub(super) async fn commit(
        &mut self,
        epoch: u64,
        rows: &StagedRows,
    ) -> Result<CommitInfo, SinkError> {
        let started = Instant::now();
        let mut info = CommitInfo { rows: rows.num_rows(), ..CommitInfo::default() };
        let found = self.marker().await?;
        let decided =
            self.context.decide(&self.address(), epoch, rows.token(), &self.expected, &found)?;
        let marker = self.context.marker(epoch, rows.token());
        if decided == Decision::AlreadyThere {
            info.already_there = true;
            self.expected = Some(marker);
            return Ok(info);
        }
        let mut all = Vec::new();
        for batch in rows.batches()? {
            all.extend(notifications(&self.context.pipeline, &batch?)?);
        }
        info.written = all.len() as u64;
        let file = Outbox::file(&self.dir, epoch, rows.token());
        let (note, noted) = (self.note(), Note { last: Some(marker.clone()) });
        let stored = (file.clone(), all.clone());
        disk::blocking(move || {
            // First what is to be sent, then that it is there: the other way round a crash in
            // between would lose it.
            Outbox::store(&stored.0, &stored.1)?;
            disk::replace(&note, &serde_json::to_vec(&noted).map_err(SinkError::internal)?)
        })
        .await?;
        self.expected = Some(marker);
        let (dropped, waiting) = self.shared.take(&file, all);
        let (pipeline, webhook) = (&*self.context.pipeline, &*self.options.name);
        let outcome = DeliveryOutcome::Dropped;
        let reason = "the queue is full";
        WebhookDone { pipeline, webhook, outcome, notifications: dropped, reason }.emit();
        WebhookWaiting { pipeline, webhook, notifications: waiting }.emit();
        info.took = started.elapsed();
        Ok(info)
    }
}

impl Drop for WebhookTarget {
    fn drop(&mut self) {
        self.shared.stop();
        let waiting = self.shared.waiting();
        if waiting > 0 {
            let webhook = &*self.options.name;
            tracing::warn!(webhook, waiting, "notifications wait for the next start");
        }
    }
}
