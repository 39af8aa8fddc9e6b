//! The thread that delivers: one request at a time, in order, for as long as it takes.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::Utc;
use ureq::Agent;

use super::WebhookOptions;
use super::body::{Notification, body};
use super::outbox::Outbox;
use crate::telemetry::events::{DeliveryOutcome, WebhookDone, WebhookRetrying, WebhookWaiting};

/// The pause after the first failure; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// The longest that a receiver may ask to be left alone for.
const LONGEST_REQUEST: Duration = Duration::from_secs(600);
/// How long a stop waits for what can be delivered at once.
const GRACE: Duration = Duration::from_secs(2);
/// Of a receiver's answer, for the log.
const SHOWN: u64 = 300;

/// What the thread and the sink share.
#[derive(Debug)]
pub struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    outbox: Outbox,
    stopping: bool,
    /// The last attempt failed: there is no use in waiting for the rest at a stop.
    failing: bool,
    ended: bool,
}

impl Shared {
    pub fn new(outbox: Outbox) -> Arc<Self> {
        let state = State { outbox, stopping: false, failing: false, ended: false };
        Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The outbox is whole after every call; the thread's panic must not lose notifications.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what was stored in `file`; returns (dropped, waiting).
    pub fn take(&self, file: &std::path::Path, notifications: Vec<Notification>) -> (u64, usize) {
        let mut state = self.lock();
        let dropped = state.outbox.take(file, notifications);
        self.changed.notify_all();
        (dropped, state.outbox.len())
    }

    pub fn waiting(&self) -> usize {
        self.lock().outbox.len()
    }

    /// Ends the thread, after what it can deliver at once.
    pub fn stop(&self) {
        let deadline = Instant::now() + GRACE;
        let mut state = self.lock();
        state.stopping = true;
        self.changed.notify_all();
        while !state.ended && !state.failing && !state.outbox.is_empty() {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { return };
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// What became of an attempt.
enum Answer {
    Taken,
    /// The receiver will not take it at any time.
    Refused(String),
    /// It may do so later, not before this time if it said one.
    Later(String, Option<Duration>),
}

/// Delivers until told to stop.
pub struct Deliverer {
    pub shared: Arc<Shared>,
    pub agent: Agent,
    pub options: WebhookOptions,
    pub pipeline: String,
    pub webhook: String,
}

impl Deliverer {
    pub fn run(self) {
        let mut attempt = 0;
        while let Some(notification) = self.next() {
            match self.attempt(&notification) {
                Answer::Taken => {
                    self.done(&notification, DeliveryOutcome::Delivered, "");
                    attempt = 0;
                }
                Answer::Refused(reason) => {
                    self.done(&notification, DeliveryOutcome::Refused, &reason);
                    attempt = 0;
                }
                Answer::Later(reason, asked) => {
                    attempt += 1;
                    let pause = pause(attempt).max(asked.unwrap_or_default().min(LONGEST_REQUEST));
                    WebhookRetrying {
                        pipeline: &self.pipeline,
                        webhook: &self.webhook,
                        error: &reason,
                        attempt,
                        backoff: pause,
                    }
                    .emit();
                    self.rest(pause);
                }
            }
        }
        let mut state = self.shared.lock();
        state.ended = true;
        self.shared.changed.notify_all();
    }

    /// The next notification, once there is one; `None`: it is time to end.
    fn next(&self) -> Option<Notification> {
        let mut state = self.shared.lock();
        loop {
            if state.stopping && state.failing {
                return None;
            }
            if let Some(first) = state.outbox.first() {
                return Some(first.notification.clone());
            }
            if state.stopping {
                return None;
            }
            let waited = self.shared.changed.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits, or until it is time to end.
    fn rest(&self, pause: Duration) {
        let deadline = Instant::now() + pause;
        let mut state = self.shared.lock();
        state.failing = true;
        self.shared.changed.notify_all();
        while !state.stopping {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { return };
            let waited = self.shared.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn done(&self, notification: &Notification, outcome: DeliveryOutcome, reason: &str) {
        let (pipeline, webhook) = (&*self.pipeline, &*self.webhook);
        WebhookDone { pipeline, webhook, outcome, notifications: 1, reason }.emit();
        let mut state = self.shared.lock();
        state.failing = false;
        // It may have been dropped meanwhile to make room.
        if state.outbox.first().is_some_and(|first| first.notification.id == notification.id) {
            state.outbox.done();
        }
        let notifications = state.outbox.len();
        self.shared.changed.notify_all();
        drop(state);
        WebhookWaiting { pipeline, webhook, notifications }.emit();
    }

    fn attempt(&self, notification: &Notification) -> Answer {
        let body = body(notification, self.options.format, Utc::now()).to_string();
        let mut request = self
            .agent
            .post(self.options.url.as_str())
            .header("content-type", "application/json")
            .header("idempotency-key", &notification.id);
        for (name, value) in &self.options.headers {
            request = request.header(name, value);
        }
        let mut response = match request.send(body) {
            Ok(response) => response,
            // The library's errors do not hold the address.
            Err(error) => return Answer::Later(error.to_string(), None),
        };
        let status = response.status().as_u16();
        if (200..300).contains(&status) {
            return Answer::Taken;
        }
        let asked = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
        let asked = asked.and_then(|value| value.trim().parse().ok()).map(Duration::from_secs);
        let text = response.body_mut().with_config().limit(SHOWN).read_to_string();
        let text: String =
            text.unwrap_or_default().chars().filter(|c| !c.is_control()).take(200).collect();
        let reason = format!("HTTP {status} {text}").trim_end().to_owned();
        match status {
            408 | 425 | 429 | 500.. => Answer::Later(reason, asked),
            // Redirects are not followed: a secret in a header belongs to one receiver.
            _ => Answer::Refused(reason),
        }
    }
}

/// Doubles from half a second to a minute.
fn pause(attempt: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(2u32.saturating_pow(attempt.saturating_sub(1))).min(LONGEST_PAUSE)
}
