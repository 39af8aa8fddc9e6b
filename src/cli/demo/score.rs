//! What was found, held against what really went wrong.

use serde::Serialize;

use crate::telemetry::progress::AnomalySummary;
use crate::telemetry::time::EventTime;
use crate::weblog::{AnomalyKind, TrueAnomaly};

/// Windows after an anomaly's end in which a detector may still speak of it.
const SLACK: i64 = 2;

/// One anomaly that a detector reported.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Detection {
    /// The detector's name.
    pub detector: String,
    /// Its kind.
    pub kind: String,
    /// The series.
    pub key: String,
    /// Start of the first window out of line.
    pub window_start: EventTime,
    /// End of the last window out of line.
    pub window_end: EventTime,
    /// Windows out of line.
    pub windows: u64,
    /// `info`, `warning` or `critical`.
    pub severity: String,
    /// Why, in words.
    pub reason: String,
}

impl From<&AnomalySummary> for Detection {
    fn from(anomaly: &AnomalySummary) -> Self {
        Self {
            detector: anomaly.detector.to_string(),
            kind: anomaly.kind.to_string(),
            key: anomaly.key.to_string(),
            window_start: anomaly.started_at,
            window_end: anomaly.window_end,
            windows: anomaly.windows,
            severity: anomaly.severity.as_str().to_owned(),
            reason: anomaly.reason.to_string(),
        }
    }
}

/// What became of a scripted anomaly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// A detector that is there for it reported it.
    Found,
    /// None did.
    Missed,
    /// The demo ended before a window of it had closed.
    NotReached,
}

/// A detector that found a scripted anomaly.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FoundBy {
    /// The detector's name.
    pub detector: String,
    /// In which window from the anomaly's start, counted from 1.
    pub in_window: i64,
    /// In how many windows it reported it.
    pub windows: u64,
}

/// A scripted anomaly and what became of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Scripted {
    /// What went wrong.
    #[serde(flatten)]
    pub truth: TrueAnomaly,
    /// Whether it was found.
    pub verdict: Verdict,
    /// By whom, the quickest first.
    pub found_by: Vec<FoundBy>,
}

/// How the detectors did.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Score {
    /// Every scripted anomaly, in order of time.
    pub scripted: Vec<Scripted>,
    /// Reports that are about a scripted anomaly, but are not what finds it: its effect on
    /// another series, or by a rule that is there for something else.
    pub side_effects: usize,
    /// Reports of what was never wrong.
    pub false_alarms: Vec<Detection>,
}

impl Score {
    /// How many scripted anomalies had this verdict.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.scripted.iter().filter(|scripted| scripted.verdict == verdict).count()
    }
}

/// What a report is, in the light of the truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// It finds this scripted anomaly.
    Hit(usize),
    /// It is a consequence of one.
    SideEffect,
    /// It is neither.
    FalseAlarm,
}

/// Holds `detections` against the truth. `window` is the windows' length in microseconds,
/// `closed` the event time up to which windows have closed, if any have.
pub fn score(
    truth: &[TrueAnomaly],
    detections: &[Detection],
    window: i64,
    closed: Option<i64>,
) -> Score {
    let window = window.max(1);
    let mut score = Score::default();
    let mut hits: Vec<Vec<&Detection>> = vec![Vec::new(); truth.len()];
    for detection in detections {
        match meaning(truth, detection, window) {
            Meaning::Hit(index) => hits[index].push(detection),
            Meaning::SideEffect => score.side_effects += 1,
            Meaning::FalseAlarm => score.false_alarms.push(detection.clone()),
        }
    }
    for (truth, hits) in truth.iter().zip(hits) {
        let mut found_by: Vec<FoundBy> = Vec::new();
        for hit in hits {
            let in_window = nth_window(truth, hit, window);
            match found_by.iter_mut().find(|found| found.detector == hit.detector) {
                Some(found) => {
                    found.windows += hit.windows;
                    found.in_window = found.in_window.min(in_window);
                }
                None => found_by.push(FoundBy {
                    detector: hit.detector.clone(),
                    in_window,
                    windows: hit.windows,
                }),
            }
        }
        found_by.sort_by(|a, b| (a.in_window, &a.detector).cmp(&(b.in_window, &b.detector)));
        let first_whole_window = truth.start.div_euclid(window) * window + window;
        let verdict = if !found_by.is_empty() {
            Verdict::Found
        } else if closed.is_some_and(|closed| closed >= first_whole_window) {
            Verdict::Missed
        } else {
            Verdict::NotReached
        };
        score.scripted.push(Scripted { truth: truth.clone(), verdict, found_by });
    }
    score
}

/// What a report is. A report in the time of an anomaly that is about something else is a false
/// alarm too: it is the anomaly that was scripted, not everything that happens meanwhile.
pub fn meaning(truth: &[TrueAnomaly], detection: &Detection, window: i64) -> Meaning {
    let in_time = |truth: &TrueAnomaly| {
        detection.window_end.0 > truth.start
            && detection.window_start.0 < truth.end.saturating_add(SLACK * window)
    };
    let same_series = |truth: &TrueAnomaly| truth.key == "all" || truth.key == detection.key;
    let hit = truth.iter().position(|truth| {
        in_time(truth) && same_series(truth) && is_there_for(&detection.kind, truth.kind)
    });
    if let Some(index) = hit {
        return Meaning::Hit(index);
    }
    let consequence = truth.iter().any(|truth| {
        // A series of everything has everything in it; one client's requests go everywhere.
        let elsewhere = detection.key.is_empty() || truth.kind == AnomalyKind::AbusiveIp;
        in_time(truth) && (same_series(truth) || elsewhere)
    });
    if consequence { Meaning::SideEffect } else { Meaning::FalseAlarm }
}

/// Whether a detector of this kind is there for such an anomaly.
fn is_there_for(detector: &str, anomaly: AnomalyKind) -> bool {
    match anomaly {
        AnomalyKind::TrafficSpike => matches!(detector, "traffic_spike" | "ratio_to_mean"),
        AnomalyKind::ErrorBurst => detector == "error_rate",
        AnomalyKind::SlowDown => detector == "response_time",
        AnomalyKind::AbusiveIp => {
            matches!(detector, "client_share" | "traffic_spike" | "ratio_to_mean")
        }
    }
}

/// The window that holds the anomaly's first instant is number 1.
fn nth_window(truth: &TrueAnomaly, detection: &Detection, window: i64) -> i64 {
    let first = truth.start.div_euclid(window) * window;
    (detection.window_start.0.saturating_sub(first).div_euclid(window) + 1).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: i64 = 30_000_000;

    fn truth() -> Vec<TrueAnomaly> {
        let anomaly = |kind, key: &str, from, to| TrueAnomaly {
            kind,
            key: key.to_owned(),
            start: from * WINDOW,
            end: to * WINDOW,
            magnitude: 5.0,
        };
        vec![
            anomaly(AnomalyKind::TrafficSpike, "/products", 20, 24),
            anomaly(AnomalyKind::SlowDown, "all", 40, 44),
            anomaly(AnomalyKind::AbusiveIp, "203.0.113.66", 60, 64),
        ]
    }

    fn report(kind: &str, key: &str, window: i64) -> Detection {
        Detection {
            detector: format!("my_{kind}"),
            kind: kind.to_owned(),
            key: key.to_owned(),
            window_start: EventTime(window * WINDOW),
            window_end: EventTime((window + 1) * WINDOW),
            windows: 1,
            severity: "warning".to_owned(),
            reason: "because".to_owned(),
        }
    }

    #[test]
    fn an_anomaly_is_found_by_those_that_are_there_for_it() {
        let reports = [
            report("ratio_to_mean", "/products", 21),
            report("traffic_spike", "/products", 20),
            report("traffic_spike", "/products", 23),
            report("response_time", "/api/v1/search", 41),
        ];
        let score = score(&truth(), &reports, WINDOW, Some(100 * WINDOW));
        let verdicts: Vec<Verdict> = score.scripted.iter().map(|s| s.verdict).collect();
        assert_eq!(verdicts, [Verdict::Found, Verdict::Found, Verdict::Missed]);
        assert_eq!(
            score.scripted[0].found_by,
            [
                FoundBy { detector: "my_traffic_spike".into(), in_window: 1, windows: 2 },
                FoundBy { detector: "my_ratio_to_mean".into(), in_window: 2, windows: 1 },
            ]
        );
        assert_eq!(score.scripted[1].found_by[0].in_window, 2);
        assert!(score.false_alarms.is_empty() && score.side_effects == 0);
    }

    #[test]
    fn time_has_two_windows_of_slack_after_the_end_and_none_before_the_start() {
        let verdict =
            |window| meaning(&truth(), &report("traffic_spike", "/products", window), WINDOW);
        assert_eq!(verdict(19), Meaning::FalseAlarm);
        for window in 20..26 {
            assert_eq!(verdict(window), Meaning::Hit(0), "{window}");
        }
        assert_eq!(verdict(26), Meaning::FalseAlarm);
    }

    #[test]
    fn an_anomaly_that_begins_within_a_window_is_found_in_it() {
        let mut truth = truth();
        truth[0].start += WINDOW / 2;
        let found = score(&truth, &[report("traffic_spike", "/products", 20)], WINDOW, None);
        assert_eq!(found.scripted[0].found_by[0].in_window, 1);
    }

    #[test]
    fn what_is_about_something_else_is_a_false_alarm_or_a_consequence() {
        let verdict = |report: Detection| meaning(&truth(), &report, WINDOW);
        assert_eq!(verdict(report("traffic_spike", "/login", 21)), Meaning::FalseAlarm);
        assert_eq!(verdict(report("error_rate", "/login", 21)), Meaning::FalseAlarm);
        assert_eq!(verdict(report("error_rate", "/products", 21)), Meaning::SideEffect);
        assert_eq!(verdict(report("traffic_spike", "", 21)), Meaning::SideEffect);
        assert_eq!(verdict(report("traffic_spike", "/login", 61)), Meaning::SideEffect);
        assert_eq!(verdict(report("client_share", "203.0.113.66", 61)), Meaning::Hit(2));
        assert_eq!(verdict(report("client_share", "203.0.113.66", 30)), Meaning::FalseAlarm);
        let all = [report("error_rate", "/login", 21), report("error_rate", "/products", 21)];
        let score = score(&truth(), &all, WINDOW, Some(0));
        assert_eq!((score.side_effects, score.false_alarms.len()), (1, 1));
    }

    #[test]
    fn nothing_is_missed_that_the_demo_did_not_come_to() {
        let of = |closed| score(&truth()[..1], &[], WINDOW, closed).scripted[0].verdict;
        assert_eq!(of(None), Verdict::NotReached);
        assert_eq!(of(Some(21 * WINDOW - 1)), Verdict::NotReached);
        assert_eq!(of(Some(21 * WINDOW)), Verdict::Missed);
    }
}
