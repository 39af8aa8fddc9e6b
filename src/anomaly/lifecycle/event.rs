//! What happens to an anomaly, and events as rows of a table.

use std::fmt;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use serde::{Deserialize, Serialize};

use crate::anomaly::{DetectorError, Severity};

/// What happened to an anomaly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventKind {
    /// It began.
    Opened,
    /// It became worse, has lasted, or is seen otherwise since late data came.
    Updated,
    /// It is over.
    Closed,
}

impl EventKind {
    /// The name as it is written to tables.
    pub fn as_str(self) -> &'static str {
        match self {
            EventKind::Opened => "opened",
            EventKind::Updated => "updated",
            EventKind::Closed => "closed",
        }
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One step in the life of an anomaly. All numbers are finite, in the unit of the value; all times
/// are microseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AnomalyEvent {
    /// Names the anomaly: the detector, when it began, and a hash of the series. The same
    /// windows give the same name, live and in replay.
    pub id: Arc<str>,
    /// Counts the events of an anomaly from 0: (`id`, `sequence`) names the event.
    pub sequence: u32,
    pub event: EventKind,
    /// Whether it takes back or changes what was said before, because late data has changed a
    /// window that had been judged.
    pub corrected: bool,
    /// The detector's name in the configuration.
    pub detector: Arc<str>,
    /// The detector's kind, such as `traffic_spike`.
    pub kind: &'static str,
    /// The series; empty if the query has no key.
    pub key: Arc<str>,
    /// Start of the last window out of line, inclusive; value, band and score are that window's.
    pub window_start: i64,
    /// End of that window, exclusive.
    pub window_end: i64,
    pub value: f64,
    pub expected: f64,
    pub lower: f64,
    pub upper: f64,
    /// 0 to 1; 0.5 is the edge of the band.
    pub score: f64,
    /// The highest that the anomaly has reached.
    pub severity: Severity,
    /// Start of the first window out of line.
    pub started_at: i64,
    /// End of the last window out of line; `None` while the anomaly is open.
    pub ended_at: Option<i64>,
    /// Windows out of line so far.
    pub windows: u64,
    /// The value furthest out of line so far, by the score.
    pub peak_value: f64,
    /// Its score.
    pub peak_score: f64,
    /// Why, in words: "p95 of /api/checkout 2.4 s, expected 0.3 to 0.6 s, for 3 minutes".
    pub reason: String,
}

impl AnomalyEvent {
    /// Whether the anomaly is open after this event.
    pub fn is_open(&self) -> bool {
        self.event != EventKind::Closed
    }
}

/// One row an event; only `ended_at` is nullable:
///
/// | column | type | |
/// |---|---|---|
/// | `anomaly_id` | string | which anomaly |
/// | `sequence` | integer | counts its events from 0 |
/// | `event` | string | `opened`, `updated` or `closed` |
/// | `corrected` | boolean | whether late data made it |
/// | `detector`, `kind` | string | the rule's name in the configuration, and its kind |
/// | `key` | string | the series; empty if the query has no key |
/// | `window_start`, `window_end` | timestamp (us, UTC) | the last window out of line, end exclusive |
/// | `value`, `expected`, `lower`, `upper` | double | in that window, in the unit of the value |
/// | `score` | double | at most 1; 0.5 is the edge of the band |
/// | `severity` | string | `info`, `warning` or `critical`: the highest it has reached |
/// | `started_at`, `ended_at` | timestamp (us, UTC) | the anomaly; no end while it is open |
/// | `windows` | long | windows out of line so far |
/// | `peak_value`, `peak_score` | double | of the worst window so far |
/// | `reason` | string | why, in words |
pub fn anomaly_schema() -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let field = |name: &str, data_type: &DataType| Field::new(name, data_type.clone(), false);
    Arc::new(Schema::new(vec![
        field("anomaly_id", &DataType::Utf8),
        field("sequence", &DataType::Int32),
        field("event", &DataType::Utf8),
        field("corrected", &DataType::Boolean),
        field("detector", &DataType::Utf8),
        field("kind", &DataType::Utf8),
        field("key", &DataType::Utf8),
        field("window_start", &time),
        field("window_end", &time),
        field("value", &DataType::Float64),
        field("expected", &DataType::Float64),
        field("lower", &DataType::Float64),
        field("upper", &DataType::Float64),
        field("score", &DataType::Float64),
        field("severity", &DataType::Utf8),
        field("started_at", &time),
        Field::new("ended_at", time.clone(), true),
        field("windows", &DataType::Int64),
        field("peak_value", &DataType::Float64),
        field("peak_score", &DataType::Float64),
        field("reason", &DataType::Utf8),
    ]))
}

/// The rows of [`anomaly_schema`], in the order given.
///
/// # Errors
///
/// [`DetectorError::Batch`] if Arrow refuses the columns.
pub fn to_batch(events: &[AnomalyEvent]) -> Result<RecordBatch, DetectorError> {
    fn text<'a>(of: impl Iterator<Item = &'a str>) -> ArrayRef {
        Arc::new(StringArray::from_iter_values(of))
    }
    fn number(of: impl Iterator<Item = f64>) -> ArrayRef {
        Arc::new(Float64Array::from_iter_values(of))
    }
    fn time(of: impl Iterator<Item = Option<i64>>) -> ArrayRef {
        Arc::new(TimestampMicrosecondArray::from_iter(of).with_timezone("UTC"))
    }
    let all = || events.iter();
    // An anomaly of more events or windows than fit would have lasted for ages.
    let sequence = |e: &AnomalyEvent| i32::try_from(e.sequence).unwrap_or(i32::MAX);
    let windows = |e: &AnomalyEvent| i64::try_from(e.windows).unwrap_or(i64::MAX);
    let columns = vec![
        text(all().map(|e| &*e.id)),
        Arc::new(Int32Array::from_iter_values(all().map(sequence))),
        text(all().map(|e| e.event.as_str())),
        Arc::new(BooleanArray::from_iter(all().map(|e| Some(e.corrected)))),
        text(all().map(|e| &*e.detector)),
        text(all().map(|e| e.kind)),
        text(all().map(|e| &*e.key)),
        time(all().map(|e| Some(e.window_start))),
        time(all().map(|e| Some(e.window_end))),
        number(all().map(|e| e.value)),
        number(all().map(|e| e.expected)),
        number(all().map(|e| e.lower)),
        number(all().map(|e| e.upper)),
        number(all().map(|e| e.score)),
        text(all().map(|e| e.severity.as_str())),
        time(all().map(|e| Some(e.started_at))),
        time(all().map(|e| e.ended_at)),
        Arc::new(Int64Array::from_iter_values(all().map(windows))),
        number(all().map(|e| e.peak_value)),
        number(all().map(|e| e.peak_score)),
        text(all().map(|e| e.reason.as_str())),
    ];
    Ok(RecordBatch::try_new(anomaly_schema(), columns)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_become_rows() {
        let opened = AnomalyEvent {
            id: "spikes:19700101T000100Z:00".into(),
            sequence: 0,
            event: EventKind::Opened,
            corrected: false,
            detector: "spikes".into(),
            kind: "traffic_spike",
            key: "/a".into(),
            window_start: 60_000_000,
            window_end: 120_000_000,
            value: 2400.0,
            expected: 430.0,
            lower: 300.0,
            upper: 600.0,
            score: 0.9,
            severity: Severity::Critical,
            started_at: 60_000_000,
            ended_at: None,
            windows: 1,
            peak_value: 2400.0,
            peak_score: 0.9,
            reason: "why".into(),
        };
        let closed = AnomalyEvent {
            sequence: 1,
            event: EventKind::Closed,
            ended_at: Some(120_000_000),
            ..opened.clone()
        };
        let batch = to_batch(&[opened, closed]).unwrap();
        assert_eq!(batch.schema(), anomaly_schema());
        assert_eq!(batch.num_rows(), 2);
        let shown = arrow::util::pretty::pretty_format_batches(&[batch]).unwrap().to_string();
        for wanted in ["1970-01-01T00:01:00Z", "critical", "opened", "closed"] {
            assert!(shown.contains(wanted), "{shown}");
        }
        assert_eq!(to_batch(&[]).unwrap().num_rows(), 0);
    }
}
