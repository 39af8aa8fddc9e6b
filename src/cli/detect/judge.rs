//! Runs a detector over values, as the daemon would have.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::anomaly::{
    AnomalyEvent, DetectorSpec, DetectorStats, EventKind, Judged, Judgement, OwnedWindow, Policy,
    SeriesValue, Watch,
};

use super::points::Point;

/// One value and what the detector made of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub point: Point,
    /// `None` for what is neither judged nor learnt: a row without a value, or one that is outside
    /// what the kind takes.
    pub judgement: Option<Judgement>,
}

impl Row {
    /// Whether it is out of line, or belongs to what is.
    pub fn is_anomaly(&self) -> bool {
        self.judgement.as_ref().is_some_and(|judgement| judgement.anomaly.is_some())
    }
}

/// What a run over history gave.
#[derive(Debug, Clone)]
pub struct Found {
    /// In the order of time and series.
    pub rows: Vec<Row>,
    /// All events, in order.
    pub events: Vec<AnomalyEvent>,
    /// Each anomaly as its last event says, in the order in which they began.
    pub anomalies: Vec<AnomalyEvent>,
    pub stats: DetectorStats,
}

/// How the windows of a run lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spacing {
    /// Each time is a window of its own, which lasts until the next, at most so long
    /// (microseconds). Nothing is said of times that are not there.
    AsItComes(i64),
    /// Windows of this length, as in the daemon: one in which nothing came is one too.
    Windows(i64),
}

/// Judges the points, which are in the order of time and series, each once.
///
/// # Errors
///
/// [`crate::anomaly::SpecError::Window`] if the windows have no length.
pub fn run(
    name: &str,
    spec: &DetectorSpec,
    policy: Policy,
    spacing: Spacing,
    points: Vec<Point>,
) -> anyhow::Result<Found> {
    let (Spacing::AsItComes(length) | Spacing::Windows(length)) = spacing;
    let mut watch = Watch::new(name, spec, policy, length, usize::MAX)?;
    let value = |point: &Point| {
        let (key, weight) = (point.key.clone(), point.weight);
        point.value.map(|value| SeriesValue { key, value, weight })
    };
    let (mut windows, mut events) = (Vec::new(), Vec::new());
    match spacing {
        Spacing::Windows(_) => {
            watch.push(points.iter().filter_map(|point| Some((point.time, value(point)?))));
            let outcome = watch.advance(i64::MAX)?;
            (windows, events) = (outcome.windows, outcome.events);
        }
        Spacing::AsItComes(length) => {
            let mut groups = points.chunk_by(|a, b| a.time == b.time).peekable();
            while let Some(group) = groups.next() {
                let Some(start) = group.first().map(|point| point.time) else { continue };
                let mut end = start.saturating_add(length);
                if let Some(next) = groups.peek().and_then(|next| next.first()) {
                    end = end.min(next.time);
                }
                let series: Vec<SeriesValue> = group.iter().filter_map(value).collect();
                // Values that are all missing say nothing, not that there were none.
                if series.is_empty() {
                    continue;
                }
                let outcome = watch.take(&OwnedWindow { start, end, series });
                windows.extend(outcome.windows);
                events.extend(outcome.events);
            }
        }
    }
    let mut latest: BTreeMap<Arc<str>, AnomalyEvent> = BTreeMap::new();
    for event in &events {
        latest.insert(event.id.clone(), event.clone());
    }
    // One that lasts is as it stands now, not as it was last told.
    latest.extend(watch.open().into_iter().map(|event| (event.id.clone(), event)));
    let mut anomalies: Vec<AnomalyEvent> = latest.into_values().collect();
    anomalies.sort_by(|a, b| (a.started_at, &a.key).cmp(&(b.started_at, &b.key)));
    let rows = rows(points, windows);
    Ok(Found { rows, events, anomalies, stats: watch.stats() })
}

fn rows(points: Vec<Point>, windows: Vec<Judged>) -> Vec<Row> {
    let mut by_start: BTreeMap<i64, Vec<Judgement>> =
        windows.into_iter().map(|window| (window.start, window.judgements)).collect();
    points
        .into_iter()
        .map(|point| {
            let judgement = point.value.and_then(|_| {
                let judgements = by_start.get_mut(&point.time)?;
                let at = judgements.binary_search_by(|j| j.key.cmp(&point.key)).ok()?;
                judgements.get(at).cloned()
            });
            Row { point, judgement }
        })
        .collect()
}

impl Found {
    /// Anomalies that had been raised by `opened`, per series and day of what was looked at.
    pub fn alerts_per_series_day(&self) -> Option<f64> {
        let from = self.rows.first()?.point.time;
        let to = self.rows.last()?.point.time;
        let days = to.saturating_sub(from) as f64 / 86_400e6;
        let series: BTreeSet<&str> = self.rows.iter().map(|row| &*row.point.key).collect();
        let opened = self.events.iter().filter(|e| e.event == EventKind::Opened).count();
        (days > 0.0).then(|| opened as f64 / days / series.len().max(1) as f64)
    }
}
