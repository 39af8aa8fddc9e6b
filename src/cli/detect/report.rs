//! What was found, in a table, as JSON, and as a chart.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde::Serialize;

use super::judge::Found;
use super::points::{Columns, Counts};
use super::time;
use crate::anomaly::AnomalyEvent;
use crate::plot::{Axis, Band, Chart, Mark, Series, SeriesKind};

/// Anomalies that the table shows; JSON has all.
const SHOWN: usize = 50;

/// What is said about a run.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    pub input: String,
    /// The detector's kind, and its name if the configuration has one.
    pub kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detector: Option<String>,
    pub columns: Columns,
    #[serde(flatten)]
    pub counts: Counts,
    /// The first of what could not be read.
    pub examples: Vec<String>,
    /// Values that were judged or learnt.
    pub values: u64,
    /// Values that the kind does not take, such as a rate above 1.
    pub ignored: u64,
    pub series: usize,
    pub from: Option<String>,
    pub to: Option<String>,
    /// The usual distance between two times, or the length of the windows, in seconds.
    pub interval_seconds: Option<f64>,
    /// Places where much more than that lies between two times, and the longest of them.
    pub gaps: u64,
    pub longest_gap_seconds: f64,
    pub anomalous_values: u64,
    pub alerts_per_series_and_day: Option<f64>,
    pub anomalies: Vec<Anomaly>,
}

/// One anomaly.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Anomaly {
    pub id: String,
    pub key: String,
    pub severity: &'static str,
    pub started_at: String,
    /// `null` for one that lasts at the end of the input.
    pub ended_at: Option<String>,
    pub seconds: f64,
    pub windows: u64,
    pub peak_value: f64,
    pub expected: f64,
    pub lower: f64,
    pub upper: f64,
    pub peak_score: f64,
    pub reason: String,
}

impl From<&AnomalyEvent> for Anomaly {
    fn from(event: &AnomalyEvent) -> Self {
        Anomaly {
            id: event.id.to_string(),
            key: event.key.to_string(),
            severity: event.severity.as_str(),
            started_at: time::text(event.started_at),
            ended_at: event.ended_at.map(time::text),
            seconds: event.window_end.saturating_sub(event.started_at) as f64 / 1e6,
            windows: event.windows,
            peak_value: event.peak_value,
            expected: event.expected,
            lower: event.lower,
            upper: event.upper,
            peak_score: event.peak_score,
            reason: event.reason.trim_end_matches("; over").to_owned(),
        }
    }
}

impl Summary {
    /// For a reader, `width` characters wide.
    pub fn as_text(&self, width: u16) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let mut line = |label: &str, value: String| {
            let _ = writeln!(text, "{label:<10} {value}");
        };
        let columns = &self.columns;
        let keys = match columns.keys.as_slice() {
            [] => String::new(),
            keys => format!(", series by {}", keys.join(", ")),
        };
        line("input", format!("{}: {} of {}{keys}", self.input, columns.value, columns.time));
        let named = self.detector.as_ref().map_or(String::new(), |name| format!(" \"{name}\""));
        line("detector", format!("{}{named}", self.kind));
        let mut values =
            format!("{} of {} series", grouped(self.values), grouped(self.series as u64));
        if let (Some(from), Some(to)) = (&self.from, &self.to) {
            let _ = write!(values, ", {} to {}", from.replace('T', " "), to.replace('T', " "));
        }
        if let Some(interval) = self.interval_seconds {
            let _ = write!(values, ", one every {}", duration(interval));
        }
        line("values", values);
        let counts = &self.counts;
        let told = [
            (counts.without_time, "rows without a time that can be read are left out"),
            (counts.without_value, "without a value (empty, NaN, infinite) are not judged"),
            (counts.not_numbers, "whose value is no number are not judged"),
            (self.ignored, "outside what this kind takes are not judged"),
            (counts.out_of_order, "came out of order and were put in order"),
            (counts.duplicates, "were combined with another of the same series and time"),
            (self.gaps, "times were missed"),
        ];
        for (count, what) in told.into_iter().filter(|(count, _)| *count > 0) {
            let longest = match what {
                "times were missed" => {
                    format!(" (the longest gap: {})", duration(self.longest_gap_seconds))
                }
                _ => String::new(),
            };
            line("", format!("{} {what}{longest}", grouped(count)));
        }
        for example in &self.examples {
            line("", example.clone());
        }
        let rate = self
            .alerts_per_series_and_day
            .map_or(String::new(), |rate| format!(", {rate:.2} a series and day"));
        line(
            "anomalies",
            format!(
                "{}{rate}, {} of {} values",
                self.anomalies.len(),
                grouped(self.anomalous_values),
                grouped(self.values)
            ),
        );
        if !self.anomalies.is_empty() {
            text.push('\n');
            text.push_str(&self.table(width));
        }
        text
    }

    fn table(&self, width: u16) -> String {
        let keyed = self.anomalies.iter().any(|anomaly| !anomaly.key.is_empty());
        let mut table = Table::new();
        table.load_preset(presets::NOTHING);
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width.max(60));
        let key = keyed.then_some("SERIES");
        let header =
            ["BEGAN (UTC)", "LASTED"].into_iter().chain(key).chain(["SEVERITY", "SCORE", "WHY"]);
        table.set_header(header);
        for anomaly in self.anomalies.iter().take(SHOWN) {
            let began = anomaly.started_at.trim_end_matches('Z').replace('T', " ");
            let lasted = match anomaly.ended_at {
                Some(_) => duration(anomaly.seconds),
                None => format!("{}, open", duration(anomaly.seconds)),
            };
            let mut row = vec![began, lasted];
            row.extend(keyed.then(|| anomaly.key.clone()));
            row.push(anomaly.severity.to_owned());
            row.push(format!("{:.2}", anomaly.peak_score));
            row.push(anomaly.reason.clone());
            table.add_row(row);
        }
        let score = if keyed { 4 } else { 3 };
        if let Some(column) = table.column_mut(score) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        let mut text = String::new();
        for line in table.to_string().lines() {
            let _ = writeln!(text, "{}", line.trim_end().trim_start_matches(' '));
        }
        if self.anomalies.len() > SHOWN {
            let _ = writeln!(text, "... and {} more", self.anomalies.len() - SHOWN);
        }
        text
    }
}

/// "5 min", "1.5 h".
fn duration(seconds: f64) -> String {
    let (size, unit) = match seconds {
        s if s >= 172_800.0 => (86_400.0, "d"),
        s if s >= 7200.0 => (3600.0, "h"),
        s if s >= 120.0 => (60.0, "min"),
        s if s >= 1.0 => (1.0, "s"),
        _ => (1e-3, "ms"),
    };
    let text = format!("{:.1}", seconds / size);
    format!("{} {unit}", text.trim_end_matches(".0"))
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The chart of one series: its values, the band that they were held against, and the anomalies
/// where they were worst. Of several series: the one with the worst anomaly, or else the first.
pub fn chart(summary: &Summary, found: &Found) -> Chart {
    let worst = found
        .anomalies
        .iter()
        .max_by(|a, b| a.peak_score.total_cmp(&b.peak_score))
        .map(|anomaly| anomaly.key.clone());
    let first = || found.rows.first().map(|row| row.point.key.clone());
    let key = worst.or_else(first).unwrap_or_else(|| "".into());
    let name = &summary.columns.value;
    let title = match &*key {
        "" => name.clone(),
        key => format!("{name} of {key}"),
    };
    let detector = summary.detector.as_ref().unwrap_or(&summary.kind);
    let mut chart =
        Chart::new(&format!("{title} ({detector})"), Axis::time(""), Axis::number(name));
    let rows = || found.rows.iter().filter(|row| row.point.key == key);
    let at = |row: &super::judge::Row| row.point.time as f64;
    let none = f64::NAN;
    chart.series.push(Series {
        name: title,
        kind: SeriesKind::Line,
        points: rows().map(|row| (at(row), row.point.value.unwrap_or(none))).collect(),
    });
    let band = |row: &super::judge::Row| {
        let band = row.judgement.as_ref().and_then(|judgement| judgement.band);
        band.map_or((at(row), none, none), |band| (at(row), band.lower, band.upper))
    };
    chart.bands.push(Band { name: "expected".to_owned(), points: rows().map(band).collect() });
    for anomaly in found.anomalies.iter().filter(|anomaly| anomaly.key == key) {
        let worst = rows()
            .filter(|row| (anomaly.started_at..anomaly.window_end).contains(&row.point.time))
            .find(|row| row.point.value == Some(anomaly.peak_value));
        chart.marks.push(Mark {
            x: worst.map_or(anomaly.started_at, |row| row.point.time) as f64,
            y: anomaly.peak_value,
            label: label(anomaly),
            severity: anomaly.severity,
        });
    }
    chart
}

fn label(anomaly: &AnomalyEvent) -> String {
    let lasted = anomaly.window_end.saturating_sub(anomaly.started_at) as f64 / 1e6;
    if anomaly.windows > 1 { duration(lasted) } else { String::new() }
}

/// Series that a chart of one of them leaves out.
pub fn other_series(found: &Found) -> usize {
    let keys: BTreeSet<&str> = found.rows.iter().map(|row| &*row.point.key).collect();
    keys.len().saturating_sub(1)
}

/// Series in which the same time comes more than once although they are told to be one.
pub fn unkeyed(counts: &Counts, columns: &Columns, other: &[String]) -> Option<String> {
    let many = columns.keys.is_empty() && counts.duplicates * 5 > counts.rows && counts.rows > 0;
    many.then(|| {
        let names: BTreeMap<&String, ()> = other.iter().map(|name| (name, ())).collect();
        let names: Vec<&str> = names.keys().map(|name| name.as_str()).collect();
        let hint = if names.is_empty() { String::new() } else { format!(" ({})", names.join(", ")) };
        format!(
            "{} of {} rows have the time of another row: if these are several series, name the column \
             that tells them apart with --key{hint}",
            counts.duplicates, counts.rows
        )
    })
}
