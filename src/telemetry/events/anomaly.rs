//! What detectors find.

use tracing::{info, trace, warn};

use crate::telemetry::names;
use crate::telemetry::progress::{AnomalySummary, Severity};

/// What happened to an anomaly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnomalyChange {
    /// It began.
    Opened,
    /// It became worse, has lasted, or is seen otherwise since late data came.
    Updated,
    /// It is over.
    Closed,
}

/// Something happened to an anomaly. The series' key is in the log and in the table of anomalies
/// only: there can be as many keys as clients.
#[derive(Debug)]
pub struct AnomalyChanged<'a> {
    /// The pipeline.
    pub pipeline: &'a str,
    /// What happened.
    pub change: AnomalyChange,
    /// Whether late data made it so.
    pub corrected: bool,
    /// The anomaly as it stands.
    pub anomaly: &'a AnomalySummary,
}

impl AnomalyChanged<'_> {
    /// Logs and counts it.
    pub fn emit(self) {
        let Self { pipeline, change, corrected, anomaly } = self;
        macro_rules! line {
            ($level:ident, $message:literal) => {
                $level!(
                    pipeline,
                    id = &*anomaly.id,
                    detector = &*anomaly.detector,
                    kind = &*anomaly.kind,
                    severity = anomaly.severity.as_str(),
                    key = &*anomaly.key,
                    started_at = %anomaly.started_at,
                    window_start = %anomaly.window_start,
                    window_end = %anomaly.window_end,
                    windows = anomaly.windows,
                    value = anomaly.value,
                    expected = anomaly.expected,
                    lower = anomaly.lower,
                    upper = anomaly.upper,
                    score = anomaly.score,
                    corrected,
                    reason = &*anomaly.reason,
                    $message
                )
            };
        }
        let labels = [pipeline, &anomaly.detector, anomaly.severity.as_str()];
        match (change, anomaly.severity) {
            (AnomalyChange::Opened, Severity::Info) => line!(info, "anomaly opened"),
            (AnomalyChange::Opened, _) => line!(warn, "anomaly opened"),
            (AnomalyChange::Updated, Severity::Info) => line!(info, "anomaly updated"),
            (AnomalyChange::Updated, _) => line!(warn, "anomaly updated"),
            (AnomalyChange::Closed, _) => line!(info, "anomaly closed"),
        }
        match change {
            AnomalyChange::Opened => names::ANOMALIES_OPENED.with(labels).increment(1),
            AnomalyChange::Updated => {}
            AnomalyChange::Closed => names::ANOMALIES_CLOSED.with(labels).increment(1),
        }
    }
}

/// A detector has judged windows.
#[derive(Debug)]
pub struct WindowsJudged<'a> {
    /// The pipeline.
    pub pipeline: &'a str,
    /// The detector.
    pub detector: &'a str,
    /// Windows, each of all series.
    pub windows: usize,
    /// Windows of a series that were out of line, by severity in the order of [`Severity::ALL`].
    pub anomalous: [u64; 3],
    /// Windows judged again because late data had changed them.
    pub rescored: u64,
    /// Anomalies that are open now, by severity in the same order.
    pub open: [u64; 3],
}

impl WindowsJudged<'_> {
    /// Logs and counts it.
    pub fn emit(self) {
        let Self { pipeline, detector, windows, anomalous, rescored, open } = self;
        trace!(pipeline, detector, windows, rescored, "windows judged");
        names::RESCORED.with([pipeline, detector]).increment(rescored);
        for ((severity, count), open) in Severity::ALL.into_iter().zip(anomalous).zip(open) {
            let labels = [pipeline, detector, severity.as_str()];
            names::ANOMALIES.with(labels).increment(count);
            names::ANOMALIES_OPEN.with(labels).set(open as f64);
        }
    }
}

/// What a series was in the last window, for the few series that are shown as metrics.
#[derive(Debug)]
pub struct SeriesJudged<'a> {
    /// The pipeline.
    pub pipeline: &'a str,
    /// The detector.
    pub detector: &'a str,
    /// The series' key.
    pub series: &'a str,
    /// Its value.
    pub value: f64,
    /// (expected, lower, upper); not known during the warm-up.
    pub band: Option<(f64, f64, f64)>,
    /// How far out of line.
    pub score: f64,
}

impl SeriesJudged<'_> {
    /// Sets its gauges.
    pub fn emit(self) {
        let Self { pipeline, detector, series, value, band, score } = self;
        let labels = [pipeline, detector, series];
        names::SERIES_VALUE.with(labels).set(value);
        names::SERIES_SCORE.with(labels).set(score);
        match band {
            Some((expected, lower, upper)) => {
                names::SERIES_EXPECTED.with(labels).set(expected);
                names::SERIES_LOWER.with(labels).set(lower);
                names::SERIES_UPPER.with(labels).set(upper);
            }
            None => {
                for gauge in [&names::SERIES_EXPECTED, &names::SERIES_LOWER, &names::SERIES_UPPER] {
                    gauge.retire(labels);
                }
            }
        }
    }
}

/// A series is not shown as metrics any more.
#[derive(Debug)]
pub struct SeriesHidden<'a> {
    /// The pipeline.
    pub pipeline: &'a str,
    /// The detector.
    pub detector: &'a str,
    /// The series' key.
    pub series: &'a str,
}

impl SeriesHidden<'_> {
    /// Takes its gauges off the page.
    pub fn emit(self) {
        let labels = [self.pipeline, self.detector, self.series];
        let all = [
            &names::SERIES_VALUE,
            &names::SERIES_SCORE,
            &names::SERIES_EXPECTED,
            &names::SERIES_LOWER,
            &names::SERIES_UPPER,
        ];
        all.into_iter().for_each(|gauge| gauge.retire(labels));
    }
}

/// How many series a detector keeps a baseline of.
#[derive(Debug)]
pub struct DetectorSeries<'a> {
    /// The pipeline.
    pub pipeline: &'a str,
    /// The detector.
    pub detector: &'a str,
    /// Series.
    pub series: usize,
}

impl DetectorSeries<'_> {
    /// Logs and counts it. The first time, it also starts the detector's anomaly counters at
    /// zero, so that an alert on their rate sees the first anomaly.
    pub fn emit(self) {
        let Self { pipeline, detector, series } = self;
        trace!(pipeline, detector, series, "detector series");
        names::SERIES.with([pipeline, detector]).set(series as f64);
        for severity in Severity::ALL {
            let labels = [pipeline, detector, severity.as_str()];
            names::ANOMALIES.with(labels).increment(0);
            names::ANOMALIES_OPENED.with(labels).increment(0);
            names::ANOMALIES_CLOSED.with(labels).increment(0);
        }
    }
}
