//! Detectors: plain algorithms over (series, window, value).
//!
//! A detector is given every closed window of a query once, in the order of time, and says which
//! of its series are out of line. It has no clock, no thread and no I/O: the same windows give
//! the same anomalies, live or in replay, and a detector restored from a snapshot goes on as if
//! nothing had happened.
//!
//! ```text
//! batches of a query ─ SeriesReader ─> WindowBuffer ─ ready(watermark) ─> Detector::judge
//!     ─> Judgement ─> Lifecycle::step ─> AnomalyEvent: opened, updated, closed
//! ```
//!
//! | kind | value | weight | out of line when |
//! |---|---|---|---|
//! | [`auto`] | any | - | new to the series, seen in several ways; needs no tuning |
//! | [`static_threshold`] | any | - | above or below a fixed limit |
//! | [`ewma`] | any | - | so many deviations from the exponentially weighted mean |
//! | [`median_mad`] | any | - | so many robust deviations from the median of the last windows |
//! | [`seasonal`] | any | - | far from what is usual at this hour of the day or week |
//! | [`novelty_gap`] | any | - | far from all values before |
//! | [`level_change`] | any | - | a lasting change of level |
//! | [`traffic_spike`] | count in the window | - | far above (or below) the series' own recent level |
//! | [`error_rate`] | rate, 0 to 1 | requests | more errors than the series' own rate can explain |
//! | [`response_time`] | positive, skewed | requests | far above the series' own recent level, as a factor |
//! | [`client_share`] | count of one client | - | its share is far above its own usual one and the other clients' |
//! | [`client_entropy`] | count of one client | - | requests on few clients, or on many, as never |
//! | [`new_keys`] | any | - | many keys that were not there before |
//! | [`scan`] | endpoints of one client | - | one client touches many more than any other |
//! | [`ratio_to_mean`] | any | - | more than 3 times the mean of the windows before |
//!
//! # What all of them share
//!
//! - **Score**, 0 to 1: with `d` the distance of the value from the expected one, in units of the
//!   distance from the expected value to the edge of the band, the score is `d / (1 + d)`. So 0
//!   is as expected, 0.5 on the edge, 0.75 three times as far out as the edge. It means the
//!   same for every detector; an [`Anomaly`] always has more than 0.5. See [`band::score`].
//! - **Severity** from the score: `warning_score` and `critical_score` of the parameters.
//! - **Causal**: a window is judged by what came before it, then learnt.
//! - **Robust**: a window that is out of line is not learnt, unless the series stays there for
//!   `relearn_after` windows: then that is its level.
//! - **Bounded**: constant work and memory a series; at most `max_series` of them, then the one
//!   longest unseen is forgotten ([`DetectorStats::evicted`]).

pub mod auto;
pub mod band;
pub mod binomial;
pub mod buffer;
pub mod client_entropy;
pub mod client_share;
pub mod error_rate;
pub mod ewma;
pub mod exposed;
pub mod level;
pub mod level_change;
pub mod lifecycle;
pub mod median_mad;
pub mod moments;
pub mod new_keys;
pub mod news;
pub mod novelty_gap;
mod parameters;
pub mod per_series;
pub mod ratio_to_mean;
pub mod reader;
pub mod response_time;
pub mod run;
pub mod scan;
pub mod seasonal;
pub mod seen;
pub mod series;
pub mod spec;
mod spec_clients;
mod spec_series;
pub mod state;
pub mod static_threshold;
pub mod track;
pub mod traffic_spike;
pub mod watch;
mod words;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use band::Band;
pub use buffer::{OwnedWindow, Pushed, WindowBuffer};
pub use exposed::{Exposed, Shown};
pub use lifecycle::{AnomalyEvent, EventKind, Lifecycle, Policy, anomaly_schema, to_batch};
pub use reader::{Read, SeriesColumns, SeriesReader};
pub use spec::{Combine, DetectorSpec, SpecError};
pub use watch::{Judged, Outcome, Watch};

/// Values and weights from here on are ignored: sums and squares of lesser ones stay finite,
/// and nothing that is counted or timed comes near.
pub const MAX_VALUE: f64 = 1e30;

/// What one series was in one window.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesValue {
    /// Which series: the key columns as text; empty if the query has no key.
    pub key: Arc<str>,
    /// The value; one that is not finite is ignored and counted.
    pub value: f64,
    /// What the value rests on, such as the number of requests behind a rate; 1 if not given.
    pub weight: f64,
}

/// One closed window: every series that had a value in it.
#[derive(Debug, Clone, Copy)]
pub struct WindowSlice<'a> {
    /// Start, microseconds since the Unix epoch, inclusive.
    pub start: i64,
    /// End, microseconds since the Unix epoch, exclusive.
    pub end: i64,
    /// Sorted by key, each key once.
    pub series: &'a [SeriesValue],
}

/// How bad an anomaly is, by its score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Outside the band.
    Info,
    /// At or above `warning_score`.
    Warning,
    /// At or above `critical_score`.
    Critical,
}

impl Severity {
    /// The name as it is written to tables and metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One series out of line in one window. All numbers are finite, in the unit of the value.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Anomaly {
    /// The detector's name in the configuration.
    pub detector: Arc<str>,
    /// The detector's kind, such as `traffic_spike`.
    pub kind: &'static str,
    /// The series; empty if the query has no key.
    pub key: Arc<str>,
    /// Start of the window, microseconds since the Unix epoch, inclusive.
    pub window_start: i64,
    /// End of the window, microseconds since the Unix epoch, exclusive.
    pub window_end: i64,
    pub value: f64,
    pub expected: f64,
    /// Lower edge of what would have been in line.
    pub lower: f64,
    /// Upper edge of what would have been in line.
    pub upper: f64,
    /// Above 0.5 and at most 1; see the module's text.
    pub score: f64,
    pub severity: Severity,
    /// Why, in words: "requests of /api/checkout 2,400 in the minute, expected 300 to 600".
    pub reason: String,
}

/// What a detector made of one value: the band it was held against and how far out it is, whether
/// or not that is an anomaly. All numbers are finite.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    /// The series; empty if the query has no key.
    pub key: Arc<str>,
    /// The value; 0 for a series that is missing from the window, where that counts as 0.
    pub value: f64,
    /// What was expected, in the unit of the value; `None` during the warm-up.
    pub band: Option<Band>,
    /// 0 to 1, see the module's text; 0 during the warm-up. For a deviation that is not reported
    /// (such as a drop where spikes are looked for) it may be above 0.5 without an anomaly.
    pub score: f64,
    /// Whether the value is out of line in a direction that is reported. An anomaly that was
    /// raised lasts for as long as this is so.
    pub outside: bool,
    /// The anomaly, if this value raises or continues one. Kinds that alert once for a whole
    /// incident raise it on the first value only, and say by `outside` that it lasts.
    pub anomaly: Option<Anomaly>,
}

impl Judgement {
    /// Of a value that is learnt and cannot be judged yet.
    pub fn warming_up(key: Arc<str>, value: f64) -> Self {
        Judgement { key, value, band: None, score: 0.0, outside: false, anomaly: None }
    }
}

/// Counts of a detector since it was built; for metrics, not part of its snapshot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DetectorStats {
    /// Series with a baseline now.
    pub series: usize,
    /// Series forgotten because a new one needed their place.
    pub evicted: u64,
    /// Values of new series that found no place: every known series was in the same window.
    pub refused: u64,
    /// Values that could not be used: not finite, outside the kind's domain, without weight, or
    /// in a window that is not after the one before.
    pub ignored: u64,
}

/// A snapshot that cannot be taken or restored, or a batch that cannot be read or made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DetectorError {
    #[error("the state of a {found} detector cannot be restored into a {expected} detector")]
    Kind { expected: &'static str, found: String },
    #[error("detector state has version {found}, this program reads up to {known}")]
    Version { found: u8, known: u8 },
    #[error("detector state is damaged at byte {offset}: {detail}")]
    Corrupt { offset: usize, detail: &'static str },
    #[error("a batch does not fit the detector: {0}")]
    Batch(String),
}

impl From<arrow::error::ArrowError> for DetectorError {
    fn from(error: arrow::error::ArrowError) -> Self {
        DetectorError::Batch(error.to_string())
    }
}

/// A streaming detector: causal, with bounded memory and no clock of its own.
pub trait Detector: Send {
    /// The kind, as in [`DetectorSpec`]'s tag.
    fn kind(&self) -> &'static str;

    /// Judges one closed window by the windows before it, then learns it. Windows come in the
    /// order of their starts, each once; one that does not is ignored and counted.
    /// Judgements come sorted by key, at most one a series: one for every value that the detector
    /// could use (of [`client_share`], for the clients it watches), and for the series missing
    /// from the window that count as 0.
    fn judge(&mut self, window: &WindowSlice<'_>) -> Vec<Judgement>;

    /// As [`judge`](Detector::judge), for who asks for the anomalies alone.
    fn observe(&mut self, window: &WindowSlice<'_>) -> Vec<Anomaly> {
        self.judge(window).into_iter().filter_map(|judgement| judgement.anomaly).collect()
    }

    /// All that the next [`observe`](Detector::observe) depends on, versioned.
    fn snapshot(&self) -> Result<Vec<u8>, DetectorError>;

    /// Replaces the state by a snapshot of a detector of the same kind. Parameters may have
    /// changed since. On error the state is as it was.
    fn restore(&mut self, bytes: &[u8]) -> Result<(), DetectorError>;

    /// Counts for metrics.
    fn stats(&self) -> DetectorStats;

    /// Series with a baseline now.
    fn series(&self) -> usize {
        self.stats().series
    }
}

/// Makes the detector that a specification asks for. `name` is what its anomalies carry.
pub fn build(name: &str, spec: &DetectorSpec) -> Box<dyn Detector> {
    match spec {
        DetectorSpec::Auto(p) => Box::new(auto::detector(name, p)),
        DetectorSpec::StaticThreshold(p) => Box::new(static_threshold::detector(name, p)),
        DetectorSpec::Ewma(p) => Box::new(ewma::detector(name, p)),
        DetectorSpec::MedianMad(p) => Box::new(median_mad::detector(name, p)),
        DetectorSpec::Seasonal(p) => Box::new(seasonal::detector(name, p)),
        DetectorSpec::NoveltyGap(p) => Box::new(novelty_gap::detector(name, p)),
        DetectorSpec::LevelChange(p) => Box::new(level_change::detector(name, p)),
        DetectorSpec::ClientEntropy(p) => Box::new(client_entropy::ClientEntropy::new(name, p)),
        DetectorSpec::NewKeys(p) => Box::new(new_keys::NewKeys::new(name, p)),
        DetectorSpec::Scan(p) => Box::new(scan::Scan::new(name, p)),
        DetectorSpec::TrafficSpike(p) => Box::new(traffic_spike::detector(name, p)),
        DetectorSpec::ErrorRate(p) => Box::new(error_rate::ErrorRate::new(name, p)),
        DetectorSpec::ResponseTime(p) => Box::new(response_time::detector(name, p)),
        DetectorSpec::ClientShare(p) => Box::new(client_share::ClientShare::new(name, p)),
        DetectorSpec::RatioToMean(p) => Box::new(ratio_to_mean::RatioToMean::new(name, p)),
    }
}
