//! What detectors find.

use tracing::{info, trace, warn};

use crate::telemetry::names;
use crate::telemetry::progress::{AnomalySummary, Severity};

/// A detector found a series out of line. The series' key is in the log and in the table of
/// anomalies only: there can be as many keys as clients.
#[derive(Debug)]
pub struct AnomalyFound<'a> {
    /// The pipeline.
    pub pipeline: &'a str,
    /// What was found.
    pub anomaly: &'a AnomalySummary,
}

impl AnomalyFound<'_> {
    /// Logs and counts it.
    pub fn emit(self) {
        let Self { pipeline, anomaly } = self;
        macro_rules! line {
            ($level:ident) => {
                $level!(
                    pipeline,
                    detector = &*anomaly.detector,
                    kind = &*anomaly.kind,
                    severity = anomaly.severity.as_str(),
                    key = &*anomaly.key,
                    window_start = %anomaly.window_start,
                    window_end = %anomaly.window_end,
                    value = anomaly.value,
                    expected = anomaly.expected,
                    lower = anomaly.lower,
                    upper = anomaly.upper,
                    score = anomaly.score,
                    reason = &*anomaly.reason,
                    "anomaly found"
                )
            };
        }
        match anomaly.severity {
            Severity::Info => line!(info),
            Severity::Warning | Severity::Critical => line!(warn),
        }
        names::ANOMALIES
            .with([pipeline, &anomaly.detector, anomaly.severity.as_str()])
            .increment(1);
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
            names::ANOMALIES.with([pipeline, detector, severity.as_str()]).increment(0);
        }
    }
}
