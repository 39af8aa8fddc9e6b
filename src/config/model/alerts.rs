//! `[alerts]`: where events of anomalies go beside the Delta table.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::super::secret::Secret;
use super::super::units::serialize_duration;
use super::SinkSettings;

/// `[alerts]`
#[derive(Clone, Debug, Default, Serialize)]
pub struct AlertsSettings {
    /// `[alerts.webhooks.NAME]`, in the order of the file.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub webhooks: Vec<WebhookSettings>,
    /// `[alerts.sinks.NAME]`, in the order of the file.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sinks: Vec<AlertSinkSettings>,
}

impl AlertsSettings {
    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        self.webhooks.is_empty() && self.sinks.is_empty()
    }
}

/// Which events a receiver gets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AlertFilter {
    /// Of these detectors; none: of all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub detectors: Vec<String>,
    /// Of anomalies that have reached this severity. Default `info`: all.
    pub min_severity: AlertSeverity,
}

/// How bad an anomaly is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertSeverity {
    #[default]
    Info,
    Warning,
    Critical,
}

/// `[alerts.webhooks.NAME]`
#[derive(Clone, Debug, Serialize)]
pub struct WebhookSettings {
    pub name: String,
    /// `http://` or `https://`.
    pub url: Secret,
    /// Sent with every request.
    pub headers: Vec<(String, Secret)>,
    pub format: WebhookFormat,
    #[serde(flatten)]
    pub filter: AlertFilter,
    /// For one request. Default 10 s.
    #[serde(serialize_with = "serialize_duration")]
    pub timeout: Duration,
    /// Notifications that may wait; the oldest are dropped beyond. Default 1,000.
    pub queue: usize,
    /// Certificate authorities (PEM) instead of the system's.
    pub ca_file: Option<PathBuf>,
}

/// What a webhook's receiver understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WebhookFormat {
    /// One event a request. The default.
    Millpond,
    /// `POST /api/v2/alerts` of Alertmanager.
    Alertmanager,
}

/// `[alerts.sinks.NAME]`: a sink of any type, whose rows are the events.
#[derive(Clone, Debug, Serialize)]
pub struct AlertSinkSettings {
    pub name: String,
    pub settings: SinkSettings,
    #[serde(flatten)]
    pub filter: AlertFilter,
}
