//! Anomaly events as what is sent: JSON of our own, or alerts as Alertmanager takes them.

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, TimeUnit, TimestampMicrosecondType};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::error::SinkError;

/// What a receiver understands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WebhookFormat {
    /// One event a request, as an object; docs/ALERTS.md has its fields.
    #[default]
    Millpond,
    /// `POST /api/v2/alerts` of Prometheus' Alertmanager.
    Alertmanager,
}

/// How long Alertmanager takes an alert for firing if it hears nothing more: events come when
/// something changes, not every minute as Prometheus sends them.
const FIRING_FOR: TimeDelta = TimeDelta::hours(24);

/// One event of an anomaly, as it waits for its delivery.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Notification {
    /// Unique for good: what a receiver tells repetitions by.
    pub id: String,
    pub pipeline: String,
    /// `opened`, `updated` or `closed`.
    pub event: String,
    pub corrected: bool,
    pub anomaly: NotifiedAnomaly,
}

/// The anomaly, as the event leaves it. Times are RFC 3339 in UTC.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NotifiedAnomaly {
    pub id: String,
    pub sequence: i64,
    /// `open` or `closed`.
    pub state: String,
    pub detector: String,
    pub kind: String,
    pub key: String,
    pub severity: String,
    pub started_at: String,
    pub ended_at: Option<String>,
    pub window_start: String,
    pub window_end: String,
    pub windows: i64,
    pub value: f64,
    pub expected: f64,
    pub lower: f64,
    pub upper: f64,
    pub score: f64,
    pub peak_value: f64,
    pub peak_score: f64,
    pub reason: String,
}

/// The notifications of a batch of [`anomaly_schema`](crate::anomaly::anomaly_schema).
///
/// # Errors
///
/// [`SinkError::Internal`] if a column is missing or of another type.
pub fn notifications(pipeline: &str, batch: &RecordBatch) -> Result<Vec<Notification>, SinkError> {
    let columns = Columns { batch };
    let id = columns.text("anomaly_id")?;
    let sequence = columns.number("sequence")?;
    let event = columns.text("event")?;
    let corrected = columns.flag("corrected")?;
    let [detector, kind, key] = ["detector", "kind", "key"].map(|name| columns.text(name));
    let (detector, kind, key) = (detector?, kind?, key?);
    let (severity, reason) = (columns.text("severity")?, columns.text("reason")?);
    let (started, ended) = (columns.time("started_at")?, columns.time("ended_at")?);
    let (window_start, window_end) = (columns.time("window_start")?, columns.time("window_end")?);
    let windows = columns.number("windows")?;
    let (value, expected) = (columns.number("value")?, columns.number("expected")?);
    let (lower, upper) = (columns.number("lower")?, columns.number("upper")?);
    let score = columns.number("score")?;
    let (peak_value, peak_score) = (columns.number("peak_value")?, columns.number("peak_score")?);
    let of = |row: usize| Notification {
        id: format!("{pipeline}/{}/{}", id.value(row), sequence.value(row)),
        pipeline: pipeline.to_owned(),
        event: event.value(row).to_owned(),
        corrected: corrected.value(row),
        anomaly: NotifiedAnomaly {
            id: id.value(row).to_owned(),
            sequence: sequence.value(row) as i64,
            state: if event.value(row) == "closed" { "closed" } else { "open" }.to_owned(),
            detector: detector.value(row).to_owned(),
            kind: kind.value(row).to_owned(),
            key: key.value(row).to_owned(),
            severity: severity.value(row).to_owned(),
            started_at: instant(started.value(row)),
            ended_at: ended.is_valid(row).then(|| instant(ended.value(row))),
            window_start: instant(window_start.value(row)),
            window_end: instant(window_end.value(row)),
            windows: windows.value(row) as i64,
            value: value.value(row),
            expected: expected.value(row),
            lower: lower.value(row),
            upper: upper.value(row),
            score: score.value(row),
            peak_value: peak_value.value(row),
            peak_score: peak_score.value(row),
            reason: reason.value(row).to_owned(),
        },
    };
    Ok((0..batch.num_rows()).map(of).collect())
}

struct Columns<'a> {
    batch: &'a RecordBatch,
}

impl Columns<'_> {
    fn of(&self, name: &str, data_type: &DataType) -> Result<ArrayRef, SinkError> {
        let column = self.batch.column_by_name(name).ok_or_else(|| {
            SinkError::internal(format!("events of anomalies have no column '{name}'"))
        })?;
        cast(column, data_type).map_err(SinkError::internal)
    }

    fn text(&self, name: &str) -> Result<StringArray, SinkError> {
        Ok(self.of(name, &DataType::Utf8)?.as_string::<i32>().clone())
    }

    fn number(&self, name: &str) -> Result<Float64Array, SinkError> {
        Ok(self.of(name, &DataType::Float64)?.as_primitive::<Float64Type>().clone())
    }

    fn flag(&self, name: &str) -> Result<BooleanArray, SinkError> {
        Ok(self.of(name, &DataType::Boolean)?.as_boolean().clone())
    }

    fn time(&self, name: &str) -> Result<TimestampMicrosecondArray, SinkError> {
        let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        Ok(self.of(name, &utc)?.as_primitive::<TimestampMicrosecondType>().clone())
    }
}

fn instant(micros: i64) -> String {
    match DateTime::from_timestamp_micros(micros) {
        Some(time) => time.to_rfc3339_opts(SecondsFormat::AutoSi, true),
        None => micros.to_string(),
    }
}

/// The body of the request that delivers a notification.
pub fn body(notification: &Notification, format: WebhookFormat, now: DateTime<Utc>) -> Value {
    match format {
        // Made of texts and finite numbers, so it always has a JSON form.
        WebhookFormat::Millpond => serde_json::to_value(notification).unwrap_or_default(),
        WebhookFormat::Alertmanager => Value::Array(alerts(notification, now)),
    }
}

/// Alertmanager knows an alert by its labels, and severity is one, because routes go by it: an
/// anomaly that has become worse is another alert, and the milder one is over.
fn alerts(notification: &Notification, now: DateTime<Utc>) -> Vec<Value> {
    let anomaly = &notification.anomaly;
    let alert = |severity: &str, firing: bool| {
        let at = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Millis, true);
        // Event time may lie ahead of the clock; what is over must not end in the future.
        let ends = if firing { at(now + FIRING_FOR) } else { at(now) };
        json!({
            "labels": {
                "alertname": "MillpondAnomaly",
                "pipeline": notification.pipeline,
                "detector": anomaly.detector,
                "kind": anomaly.kind,
                "series": anomaly.key,
                "severity": severity,
                "anomaly_id": anomaly.id,
            },
            "annotations": {
                "summary": anomaly.reason,
                "value": anomaly.value.to_string(),
                "expected": anomaly.expected.to_string(),
                "lower": anomaly.lower.to_string(),
                "upper": anomaly.upper.to_string(),
                "score": anomaly.score.to_string(),
            },
            "startsAt": anomaly.started_at,
            "endsAt": ends,
        })
    };
    let milder = ["info", "warning", "critical"].into_iter().take_while(|s| *s != anomaly.severity);
    let mut alerts = Vec::new();
    if notification.event != "opened" {
        alerts.extend(milder.map(|severity| alert(severity, false)));
    }
    alerts.push(alert(&anomaly.severity, anomaly.state == "open"));
    alerts
}
