//! Notifications on their way to somebody else's server.

use std::fmt::Display;
use std::time::Duration;

use tracing::{debug, error, warn};

use crate::telemetry::names;

/// What became of a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryOutcome {
    /// The receiver took it.
    Delivered,
    /// The receiver said that it will never take it.
    Refused,
    /// It was the oldest when the queue was full.
    Dropped,
}

impl DeliveryOutcome {
    /// As a label value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Refused => "refused",
            Self::Dropped => "dropped",
        }
    }
}

/// The webhook is done with notifications.
#[derive(Debug)]
pub struct WebhookDone<'a> {
    /// The pipeline.
    pub pipeline: &'a str,
    /// The webhook's name.
    pub webhook: &'a str,
    /// What became of them.
    pub outcome: DeliveryOutcome,
    /// How many.
    pub notifications: u64,
    /// Why they were not delivered.
    pub reason: &'a str,
}

impl WebhookDone<'_> {
    /// Logs and counts it.
    pub fn emit(self) {
        let Self { pipeline, webhook, outcome, notifications, reason } = self;
        match outcome {
            _ if notifications == 0 => {}
            DeliveryOutcome::Delivered => {
                debug!(pipeline, webhook, notifications, "notifications delivered");
            }
            DeliveryOutcome::Refused => {
                error!(pipeline, webhook, notifications, reason, "notifications refused");
            }
            DeliveryOutcome::Dropped => {
                error!(pipeline, webhook, notifications, reason, "notifications dropped");
            }
        }
        let labels = [pipeline, webhook, outcome.as_str()];
        names::WEBHOOK_DELIVERIES.with(labels).increment(notifications);
    }
}

/// A notification could not be delivered and is tried again.
pub struct WebhookRetrying<'a> {
    /// The pipeline.
    pub pipeline: &'a str,
    /// The webhook's name.
    pub webhook: &'a str,
    /// What went wrong, without the address and its secrets.
    pub error: &'a dyn Display,
    /// Attempts that have failed.
    pub attempt: u32,
    /// Time to the next.
    pub backoff: Duration,
}

impl WebhookRetrying<'_> {
    /// Logs and counts it.
    pub fn emit(self) {
        let Self { pipeline, webhook, error, attempt, backoff } = self;
        let backoff_ms = backoff.as_millis() as u64;
        warn!(pipeline, webhook, %error, attempt, backoff_ms, "notification is tried again");
        names::WEBHOOK_RETRIES.with([pipeline, webhook]).increment(1);
    }
}

/// How many notifications a webhook has before it.
#[derive(Debug)]
pub struct WebhookWaiting<'a> {
    /// The pipeline.
    pub pipeline: &'a str,
    /// The webhook's name.
    pub webhook: &'a str,
    /// Notifications.
    pub notifications: usize,
}

impl WebhookWaiting<'_> {
    /// Counts them. The first time, it also starts the counters at zero.
    pub fn emit(self) {
        let Self { pipeline, webhook, notifications } = self;
        names::WEBHOOK_WAITING.with([pipeline, webhook]).set(notifications as f64);
        names::WEBHOOK_RETRIES.with([pipeline, webhook]).increment(0);
        for outcome in
            [DeliveryOutcome::Delivered, DeliveryOutcome::Refused, DeliveryOutcome::Dropped]
        {
            names::WEBHOOK_DELIVERIES.with([pipeline, webhook, outcome.as_str()]).increment(0);
        }
    }
}
