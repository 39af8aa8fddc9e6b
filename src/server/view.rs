//! What the page draws, beside the pipelines' reports: the graph, windows over time, anomalies,
//! epochs, faults, dead letters. All of it is kept in memory, a bounded number of each.

use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::data::{State, find};
use super::routes::error;
use crate::telemetry::progress::{AnomalySummary, PipelineProgress, Severity};
use crate::telemetry::time::EventTime;

/// Series of a chart, unless more are asked for: more lines than that nobody tells apart.
const SERIES: usize = 8;
/// At most.
const MOST_SERIES: usize = 16;

pub(super) async fn graph(state: State, name: web::Path<String>) -> HttpResponse {
    match find(&state, &name) {
        Ok((index, pipeline)) => {
            let topology = state.topologies.get(index).cloned().unwrap_or_default();
            HttpResponse::Ok().json(json!({
                "pipeline": &**pipeline.name(),
                "nodes": topology.nodes,
                "edges": topology.edges,
            }))
        }
        Err(refusal) => *refusal,
    }
}

/// `?column=requests&series=8`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Chosen {
    column: Option<String>,
    series: Option<usize>,
}

pub(super) async fn windows(
    request: HttpRequest,
    state: State,
    path: web::Path<(String, String)>,
) -> HttpResponse {
    let (name, query) = path.into_inner();
    let chosen = match web::Query::<Chosen>::from_query(request.query_string()) {
        Ok(chosen) => chosen.into_inner(),
        Err(problem) => {
            let message = format!("{problem}; there are `column` and `series`");
            return error(StatusCode::BAD_REQUEST, &message);
        }
    };
    let pipeline = match find(&state, &name) {
        Ok((_, pipeline)) => pipeline,
        Err(refusal) => return *refusal,
    };
    let series = chosen.series.unwrap_or(SERIES).clamp(1, MOST_SERIES);
    match pipeline.windows(&query, chosen.column.as_deref(), series) {
        Some(report) => HttpResponse::Ok().json(report),
        None => error(StatusCode::NOT_FOUND, &no_windows(pipeline, &query, &chosen)),
    }
}

fn no_windows(pipeline: &PipelineProgress, query: &str, chosen: &Chosen) -> String {
    let report = pipeline.snapshot();
    let known = report.queries.iter().find(|known| *known.name == *query);
    match (known, &chosen.column) {
        (Some(known), Some(column)) if !known.window_columns.is_empty() => {
            let columns: Vec<&str> = known.window_columns.iter().map(|name| &**name).collect();
            format!(
                "the windows of '{query}' have no number called '{column}'; there are: {}",
                columns.join(", ")
            )
        }
        (Some(_), _) => format!("the query '{query}' has no windows with numbers in them"),
        (None, _) => {
            let with: Vec<&str> = report
                .queries
                .iter()
                .filter(|query| !query.window_columns.is_empty())
                .map(|query| &*query.name)
                .collect();
            format!("no query is named '{query}'; those with windows are: {}", with.join(", "))
        }
    }
}

/// Windows of one series, back to back, in which a detector found something.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Incident {
    detector: Arc<str>,
    kind: Arc<str>,
    key: Arc<str>,
    /// Start of the first window.
    began: EventTime,
    /// End of the last one.
    ended: EventTime,
    /// Whether the next window could still belong to it.
    open: bool,
    windows: usize,
    /// The worst of them.
    severity: Severity,
    /// Why, in words: of the last window.
    reason: Arc<str>,
    /// The last window's.
    value: Option<f64>,
    expected: Option<f64>,
    lower: Option<f64>,
    upper: Option<f64>,
    /// The largest of them.
    score: Option<f64>,
}

fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

/// Joins anomalies of one series whose windows touch. `recent` has the newest first.
fn incidents(recent: &[AnomalySummary], watermark: Option<EventTime>) -> Vec<Incident> {
    let mut incidents: Vec<Incident> = Vec::new();
    for anomaly in recent.iter().rev() {
        let length = anomaly.window_end.0.saturating_sub(anomaly.window_start.0);
        let same = incidents.iter_mut().rev().find(|incident| {
            incident.detector == anomaly.detector
                && incident.key == anomaly.key
                // One quiet window does not end it.
                && anomaly.window_start.0 <= incident.ended.0.saturating_add(length)
        });
        // An end of input closes everything.
        let open = watermark.is_none_or(|watermark| {
            watermark != EventTime::INFINITY
                && watermark.0 <= anomaly.window_end.0.saturating_add(length.saturating_mul(2))
        });
        match same {
            Some(incident) => {
                incident.ended = incident.ended.max(anomaly.window_end);
                incident.open = open;
                incident.windows += 1;
                incident.severity = incident.severity.max(anomaly.severity);
                incident.reason = anomaly.reason.clone();
                incident.value = finite(anomaly.value);
                incident.expected = finite(anomaly.expected);
                incident.lower = finite(anomaly.lower);
                incident.upper = finite(anomaly.upper);
                let score = finite(anomaly.score);
                incident.score = match (incident.score, score) {
                    (Some(largest), Some(score)) => Some(largest.max(score)),
                    (largest, score) => largest.or(score),
                };
            }
            None => incidents.push(Incident {
                detector: anomaly.detector.clone(),
                kind: anomaly.kind.clone(),
                key: anomaly.key.clone(),
                began: anomaly.window_start,
                ended: anomaly.window_end,
                open,
                windows: 1,
                severity: anomaly.severity,
                reason: anomaly.reason.clone(),
                value: finite(anomaly.value),
                expected: finite(anomaly.expected),
                lower: finite(anomaly.lower),
                upper: finite(anomaly.upper),
                score: finite(anomaly.score),
            }),
        }
    }
    // Open ones first, of those the worst first, then the newest.
    incidents.sort_by(|a, b| {
        let rank = |incident: &Incident| incident.open.then_some(incident.severity);
        rank(b).cmp(&rank(a)).then(b.began.cmp(&a.began))
    });
    incidents
}

pub(super) async fn anomalies(state: State, name: web::Path<String>) -> HttpResponse {
    match find(&state, &name) {
        Ok((_, pipeline)) => {
            let report = pipeline.snapshot();
            let incidents = incidents(&report.recent_anomalies, report.event_time.watermark);
            let (open, closed): (Vec<_>, Vec<_>) =
                incidents.into_iter().partition(|incident| incident.open);
            HttpResponse::Ok().json(json!({
                "pipeline": report.name,
                "watermark": report.event_time.watermark,
                "open": open,
                "closed": closed,
            }))
        }
        Err(refusal) => *refusal,
    }
}

pub(super) async fn checkpoints(state: State, name: web::Path<String>) -> HttpResponse {
    match find(&state, &name) {
        Ok((_, pipeline)) => HttpResponse::Ok().json(json!({
            "pipeline": &**pipeline.name(),
            "checkpoint": pipeline.snapshot().checkpoint,
            "epochs": pipeline.epochs(),
        })),
        Err(refusal) => *refusal,
    }
}

pub(super) async fn restarts(state: State, name: web::Path<String>) -> HttpResponse {
    match find(&state, &name) {
        Ok((_, pipeline)) => {
            let report = pipeline.snapshot();
            HttpResponse::Ok().json(json!({
                "pipeline": report.name,
                "state": report.state,
                "restarts": report.restarts,
                "faults": pipeline.restarts(),
            }))
        }
        Err(refusal) => *refusal,
    }
}

pub(super) async fn dead_letters(state: State, name: web::Path<String>) -> HttpResponse {
    match find(&state, &name) {
        Ok((_, pipeline)) => {
            let report = pipeline.snapshot();
            let total: u64 = report.sources.iter().map(|source| source.num_dead_letters).sum();
            let sources: Vec<_> = report
                .sources
                .iter()
                .map(|source| json!({"source": source.name, "reasons": source.dead_letters}))
                .collect();
            HttpResponse::Ok().json(json!({
                "pipeline": report.name,
                "total": total,
                "sources": sources,
                "recent": pipeline.letters(),
            }))
        }
        Err(refusal) => *refusal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn anomaly(key: &str, start: i64, severity: Severity) -> AnomalySummary {
        AnomalySummary {
            detector: "d".into(),
            kind: "k".into(),
            key: key.into(),
            window_start: EventTime(start),
            window_end: EventTime(start + 10),
            value: 1.0,
            expected: f64::NAN,
            lower: 0.0,
            upper: f64::INFINITY,
            score: start as f64,
            severity,
            reason: format!("{key} at {start}").as_str().into(),
        }
    }

    #[test]
    fn windows_that_touch_are_one_incident() {
        let recent = [
            anomaly("a", 100, Severity::Info),
            anomaly("b", 30, Severity::Critical),
            anomaly("a", 30, Severity::Info),
            anomaly("a", 10, Severity::Warning),
            anomaly("a", 0, Severity::Info),
        ];
        let found = incidents(&recent, Some(EventTime(130)));
        let told: Vec<(&str, i64, i64, bool, usize)> =
            found.iter().map(|i| (&*i.key, i.began.0, i.ended.0, i.open, i.windows)).collect();
        assert_eq!(
            told,
            [("a", 100, 110, true, 1), ("b", 30, 40, false, 1), ("a", 0, 40, false, 3)]
        );
        assert_eq!(found[2].severity, Severity::Warning);
        assert_eq!(&*found[2].reason, "a at 30");
        assert_eq!((found[2].score, found[2].expected), (Some(30.0), None));
        assert!(incidents(&recent, Some(EventTime::INFINITY)).iter().all(|i| !i.open));
    }
}
