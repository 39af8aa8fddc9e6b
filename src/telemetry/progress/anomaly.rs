//! Anomalies as the API and the live view show them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use indexmap::IndexMap;
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

/// Whether an anomaly lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AnomalyState {
    /// It does.
    Open,
    /// It is over.
    Closed,
}

/// One anomaly, as it stands, in words and numbers. A number that is not finite is `null` in JSON.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AnomalySummary {
    /// Names it for good.
    pub id: Arc<str>,
    /// Whether it lasts.
    pub state: AnomalyState,
    /// The detector's name.
    pub detector: Arc<str>,
    /// The kind of detector.
    pub kind: Arc<str>,
    /// The series' key.
    pub key: Arc<str>,
    /// How much it matters: the most that it has.
    pub severity: Severity,
    /// Start of the first window out of line.
    pub started_at: EventTime,
    /// End of the last window out of line; absent while it is open.
    pub ended_at: Option<EventTime>,
    /// Start of the last window out of line. Value, band and score are of that window.
    pub window_start: EventTime,
    /// End of that window.
    pub window_end: EventTime,
    /// Windows out of line so far.
    pub windows: u64,
    /// The value found.
    pub value: f64,
    /// The value expected.
    pub expected: f64,
    /// Lower edge of the expected band.
    pub lower: f64,
    /// Upper edge of the expected band.
    pub upper: f64,
    /// How far out of line, 0 to 1; 0.5 is the edge of the band.
    pub score: f64,
    /// The value furthest out of line so far.
    pub peak_value: f64,
    /// Its score.
    pub peak_score: f64,
    /// Why, in words.
    pub reason: Arc<str>,
}

/// Anomalies kept for the API: closed ones in all, and open ones beside them.
const KEPT: usize = 100;

/// The last anomalies, the newest first, and those that are open.
#[derive(Debug, Default)]
pub(super) struct Anomalies(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// One entry an anomaly, as it stands; the newest first.
    recent: VecDeque<AnomalySummary>,
    /// By name, in the order in which they began.
    open: IndexMap<Arc<str>, AnomalySummary>,
}

impl Anomalies {
    /// Something happened to an anomaly.
    pub fn tell(&self, anomaly: AnomalySummary) {
        let mut known = lock(&self.0);
        match anomaly.state {
            AnomalyState::Open => {
                known.open.insert(anomaly.id.clone(), anomaly.clone());
            }
            AnomalyState::Closed => {
                known.open.shift_remove(&anomaly.id);
            }
        }
        match known.recent.iter_mut().find(|known| known.id == anomaly.id) {
            Some(place) => *place = anomaly,
            None => {
                known.recent.truncate(KEPT - 1);
                known.recent.push_front(anomaly);
            }
        }
    }

    /// These are the open ones of a detector, and no others.
    pub fn restore(&self, detector: &str, open: Vec<AnomalySummary>) {
        lock(&self.0).open.retain(|_, anomaly| &*anomaly.detector != detector);
        open.into_iter().for_each(|anomaly| self.tell(anomaly));
    }

    pub fn recent(&self) -> Vec<AnomalySummary> {
        lock(&self.0).recent.iter().cloned().collect()
    }

    pub fn open(&self) -> Vec<AnomalySummary> {
        lock(&self.0).open.values().rev().take(KEPT).cloned().collect()
    }
}

/// Where one detector stands.
#[derive(Debug)]
pub struct DetectorProgress {
    name: Arc<str>,
    series: AtomicU64,
    open: AtomicU64,
    /// Windows out of line by severity, in the order of [`Severity::ALL`].
    anomalies: [AtomicU64; 3],
}

impl DetectorProgress {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            series: AtomicU64::new(0),
            open: AtomicU64::new(0),
            anomalies: Default::default(),
        }
    }

    /// The number of series it keeps a baseline of.
    pub fn series(&self, series: usize) {
        self.series.store(series as u64, Ordering::Relaxed);
    }

    /// Anomalies that are open.
    pub fn open(&self, anomalies: usize) {
        self.open.store(anomalies as u64, Ordering::Relaxed);
    }

    /// A series was out of line in a window.
    pub fn found(&self, severity: Severity) {
        self.anomalies[severity as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn report(&self) -> DetectorReport {
        DetectorReport {
            name: Arc::clone(&self.name),
            series: self.series.load(Ordering::Relaxed),
            open: self.open.load(Ordering::Relaxed),
            anomalies: Severity::ALL
                .into_iter()
                .zip(&self.anomalies)
                .map(|(severity, count)| (severity.as_str(), count.load(Ordering::Relaxed)))
                .collect(),
        }
    }
}
