//! Anomalies as the API and the live view show them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use super::report::DetectorReport;
use crate::telemetry::lock;
use crate::telemetry::time::EventTime;

/// How much an anomaly matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth a look.
    Info,
    /// Out of the band.
    Warning,
    /// Far out of the band.
    Critical,
}

impl Severity {
    /// All of them, the mildest first.
    pub const ALL: [Self; 3] = [Self::Info, Self::Warning, Self::Critical];

    /// As a label value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// One anomaly, in words and numbers. A number that is not finite is `null` in JSON.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AnomalySummary {
    /// The detector's name.
    pub detector: Arc<str>,
    /// The kind of detector.
    pub kind: Arc<str>,
    /// The series' key.
    pub key: Arc<str>,
    /// Start of the window.
    pub window_start: EventTime,
    /// End of the window.
    pub window_end: EventTime,
    /// The value found.
    pub value: f64,
    /// The value expected.
    pub expected: f64,
    /// Lower edge of the expected band.
    pub lower: f64,
    /// Upper edge of the expected band.
    pub upper: f64,
    /// How far out of line, on the detector's own scale.
    pub score: f64,
    /// How much it matters.
    pub severity: Severity,
    /// Why, in words.
    pub reason: Arc<str>,
}

/// Anomalies kept for the API.
const RECENT: usize = 100;

/// The last anomalies, the newest first.
#[derive(Debug, Default)]
pub(super) struct RecentAnomalies(Mutex<VecDeque<AnomalySummary>>);

impl RecentAnomalies {
    pub fn push(&self, anomaly: AnomalySummary) {
        let mut recent = lock(&self.0);
        recent.truncate(RECENT - 1);
        recent.push_front(anomaly);
    }

    pub fn list(&self) -> Vec<AnomalySummary> {
        lock(&self.0).iter().cloned().collect()
    }
}

/// Where one detector stands.
#[derive(Debug)]
pub struct DetectorProgress {
    name: Arc<str>,
    series: AtomicU64,
    /// By severity, in the order of [`Severity::ALL`].
    anomalies: [AtomicU64; 3],
}

impl DetectorProgress {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.into(), series: AtomicU64::new(0), anomalies: Default::default() }
    }

    /// The number of series it keeps a baseline of.
    pub fn series(&self, series: usize) {
        self.series.store(series as u64, Ordering::Relaxed);
    }

    pub(super) fn found(&self, severity: Severity) {
        self.anomalies[severity as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn report(&self) -> DetectorReport {
        DetectorReport {
            name: Arc::clone(&self.name),
            series: self.series.load(Ordering::Relaxed),
            anomalies: Severity::ALL
                .into_iter()
                .zip(&self.anomalies)
                .map(|(severity, count)| (severity.as_str(), count.load(Ordering::Relaxed)))
                .collect(),
        }
    }
}
