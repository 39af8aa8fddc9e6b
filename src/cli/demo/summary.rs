//! What a demo came to, for people and for programs.

use serde::Serialize;

use super::plan::{extent, title};
use super::readback::{ReadBack, Table};
use super::score::{Score, Verdict};
use super::text::{grouped, plural, rate, size, time_of_day};
use crate::telemetry::progress::{FaultReport, PipelineReport};
use crate::telemetry::time::EventTime;

/// False alarms that are listed; the others are counted.
const LISTED: usize = 10;

/// Records at each station.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Events {
    /// Made and delivered to the broker.
    pub generated: u64,
    /// Of those, made to be unreadable.
    pub malformed: u64,
    /// Read by the pipeline; after a restart, some are read again.
    pub read: u64,
    /// Rows of the bronze table.
    pub bronze: u64,
    /// Rows of the table of dead letters.
    pub dead_letters: u64,
    /// Rows that came after their window had closed.
    pub late: u64,
    /// Records a second of wall time while logs were written.
    pub per_second: f64,
}

/// A claim that was checked against the tables.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What is claimed.
    pub claim: &'static str,
    /// Whether it holds.
    pub ok: bool,
    /// The numbers.
    pub numbers: String,
}

/// A demo's outcome.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Whether the pipeline ran right. Says nothing about detection.
    pub ok: bool,
    /// Whether it was ended early.
    pub interrupted: bool,
    /// What failed, if something did.
    pub error: Option<String>,
    /// Begins the same log again.
    pub seed: u64,
    /// Wall time while logs were written, in seconds.
    pub seconds: f64,
    /// The log's first instant.
    pub event_time_start: EventTime,
    /// Where the log ended.
    pub event_time_end: EventTime,
    /// Records at each station.
    pub events: Events,
    /// What was checked.
    pub checks: Vec<Check>,
    /// Epochs that were committed.
    pub epochs: u64,
    /// Restarts of the pipeline.
    pub restarts: u64,
    /// Why it was restarted last.
    pub root_cause: Option<FaultReport>,
    /// Windows that closed.
    pub windows_closed: u64,
    /// The tables.
    pub tables: Vec<Table>,
    /// How the detectors did.
    pub detection: Score,
}

/// Checks what the pipeline did against what is in the tables.
pub fn checks(events: &Events, found: &ReadBack, report: &PipelineReport) -> Vec<Check> {
    let Events { generated, malformed, bronze, dead_letters, late, .. } = *events;
    let sum = bronze + dead_letters;
    let mut checks = vec![
        Check {
            claim: "every event is in the bronze table or in the dead letters",
            ok: generated == sum,
            numbers: format!(
                "{} = {} + {}{}",
                grouped(generated),
                grouped(bronze),
                grouped(dead_letters),
                if generated == sum {
                    String::new()
                } else {
                    format!(", which is {}", grouped(sum))
                }
            ),
        },
        Check {
            claim: "no event is in the bronze table twice",
            ok: found.distinct == bronze,
            numbers: format!("{} request ids in {} rows", grouped(found.distinct), grouped(bronze)),
        },
        Check {
            claim: "the dead letters are the records that were made unreadable",
            ok: dead_letters == malformed,
            numbers: format!("{} of {}", grouped(dead_letters), grouped(malformed)),
        },
    ];
    if found.closed.is_some() {
        let missing = found.before_closed.saturating_sub(found.in_windows);
        // After a restart some rows are read again, and are counted as late again.
        let explained = if report.restarts == 0 { missing == late } else { missing <= late };
        checks.push(Check {
            claim: "the closed windows count every event of their time but the late ones",
            ok: explained && found.in_windows <= found.before_closed,
            numbers: format!(
                "{} of {} rows, {} late{}",
                grouped(found.in_windows),
                grouped(found.before_closed),
                grouped(late),
                if report.restarts == 0 { "" } else { ", some counted again after a restart" }
            ),
        });
    }
    checks
}

impl Summary {
    /// For people.
    pub fn text(&self) -> String {
        let mut lines = vec![String::new()];
        let events = &self.events;
        lines.push(format!(
            "Millpond demo, {:.0} s{}: {} events/s, event time {} to {} (seed {})",
            self.seconds,
            if self.interrupted { ", ended early" } else { "" },
            rate(events.per_second),
            time_of_day(self.event_time_start),
            time_of_day(self.event_time_end),
            self.seed,
        ));
        if let Some(error) = &self.error {
            lines.push(format!("  failed: {error}"));
        }
        lines.push(format!(
            "  events       {} generated, {} read, {} in bronze, {} dead letters, {} late for \
             their windows",
            grouped(events.generated),
            grouped(events.read),
            grouped(events.bronze),
            grouped(events.dead_letters),
            grouped(events.late),
        ));
        lines.push(format!(
            "  epochs       {}, {}, {} closed",
            grouped(self.epochs),
            plural(self.restarts, "restart"),
            plural(self.windows_closed, "window"),
        ));
        if let Some(fault) = &self.root_cause {
            lines.push(format!("               the last after {}: {}", fault.actor, fault.error));
        }
        lines.push(String::new());
        lines.push("Read back from the tables".to_owned());
        for check in &self.checks {
            let mark = if check.ok { "ok   " } else { "WRONG" };
            lines.push(format!("  {mark} {}: {}", check.claim, check.numbers));
        }
        lines.push(String::new());
        self.tables_text(&mut lines);
        lines.push(String::new());
        self.detection_text(&mut lines);
        lines.join("\n")
    }

    fn tables_text(&self, lines: &mut Vec<String>) {
        let paths = self.tables.iter().map(|t| t.path.chars().count()).max().unwrap_or(0).max(12);
        lines.push(format!(
            "{:<paths$}  {:>8} {:>12} {:>7} {:>10}",
            "Delta tables", "version", "rows", "files", "size"
        ));
        for table in &self.tables {
            lines.push(format!(
                "{:<paths$}  {:>8} {:>12} {:>7} {:>10}",
                table.path,
                table.version,
                grouped(table.rows),
                grouped(table.files as u64),
                size(table.bytes)
            ));
        }
    }

    fn detection_text(&self, lines: &mut Vec<String>) {
        let score = &self.detection;
        if score.scripted.is_empty() && score.false_alarms.is_empty() {
            lines.push("Detection: it ended before the first scripted anomaly began".to_owned());
            return;
        }
        lines.push(format!(
            "Detection: {} of {} scripted anomalies found, {}",
            score.count(Verdict::Found),
            score.scripted.len() - score.count(Verdict::NotReached),
            plural(score.false_alarms.len() as u64, "false alarm"),
        ));
        for scripted in &score.scripted {
            let truth = &scripted.truth;
            let when = time_of_day(EventTime(truth.start));
            let what = format!("{} ({})", title(truth), extent(truth));
            let by: Vec<String> = scripted
                .found_by
                .iter()
                .map(|found| format!("{} in window {}", found.detector, found.in_window))
                .collect();
            let verdict = match scripted.verdict {
                Verdict::Found => "found  ",
                Verdict::Missed => "MISSED ",
                Verdict::NotReached => "not yet",
            };
            lines
                .push(format!("  {verdict} {when} {what:<62} {}", by.join(", ")).trim_end().into());
        }
        for alarm in score.false_alarms.iter().take(LISTED) {
            let when = time_of_day(alarm.window_start);
            lines.push(format!("  FALSE   {when} {}: {}", alarm.detector, alarm.reason));
        }
        if score.false_alarms.len() > LISTED {
            lines.push(format!("  and {} more", score.false_alarms.len() - LISTED));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::demo::score::{Detection, score};
    use crate::telemetry::progress::PipelineProgress;
    use crate::weblog::{DEFAULT_START, Script};

    fn found() -> ReadBack {
        ReadBack {
            distinct: 990,
            closed: Some(DEFAULT_START),
            before_closed: 900,
            in_windows: 893,
            ..ReadBack::default()
        }
    }

    fn events() -> Events {
        Events {
            generated: 1000,
            malformed: 10,
            read: 1000,
            bronze: 990,
            dead_letters: 10,
            late: 7,
            per_second: 100.0,
        }
    }

    #[test]
    fn numbers_that_do_not_add_up_are_wrong() {
        let progress = PipelineProgress::new("demo");
        let verdicts = |events: &Events, found: &ReadBack| -> Vec<bool> {
            checks(events, found, &progress.snapshot()).iter().map(|check| check.ok).collect()
        };
        assert_eq!(verdicts(&events(), &found()), [true; 4]);
        let lost = Events { bronze: 989, ..events() };
        assert_eq!(verdicts(&lost, &found()), [false, false, true, true]);
        let twice = ReadBack { distinct: 989, ..found() };
        assert_eq!(verdicts(&events(), &twice), [true, false, true, true]);
        let early = ReadBack { in_windows: 892, ..found() };
        assert_eq!(verdicts(&events(), &early), [true, true, true, false]);
        let not_closed = ReadBack { closed: None, ..found() };
        assert_eq!(verdicts(&events(), &not_closed).len(), 3);
        let twice_in_windows = ReadBack { in_windows: 901, ..found() };
        assert_eq!(verdicts(&events(), &twice_in_windows), [true, true, true, false]);
        progress.restarted();
        let recounted = Events { late: 9, ..events() };
        assert_eq!(verdicts(&recounted, &found()), [true; 4]);
        assert_eq!(verdicts(&events(), &early), [true, true, true, false]);
    }

    #[test]
    fn the_summary_says_it_in_text_and_in_json() {
        let truth = Script::demo().ground_truth(DEFAULT_START, i64::MAX);
        let alarm = Detection {
            detector: "error_rate".into(),
            kind: "error_rate".into(),
            key: "/login".into(),
            window_start: EventTime(DEFAULT_START),
            window_end: EventTime(DEFAULT_START + 30_000_000),
            windows: 1,
            severity: "info".into(),
            reason: "error rate of /login 30 %".into(),
        };
        let progress = PipelineProgress::new("demo");
        let checks =
            checks(&Events { generated: 1001, ..events() }, &found(), &progress.snapshot());
        let summary = Summary {
            ok: false,
            interrupted: true,
            error: None,
            seed: 7,
            seconds: 10.2,
            event_time_start: EventTime(DEFAULT_START),
            event_time_end: EventTime(DEFAULT_START + 60_000_000),
            events: events(),
            checks,
            epochs: 5,
            restarts: 0,
            root_cause: None,
            windows_closed: 12,
            tables: vec![Table {
                name: "bronze".into(),
                path: "./data/demo/bronze".into(),
                version: 5,
                rows: 990,
                files: 6,
                bytes: 12_345,
            }],
            detection: score(&truth, &[alarm], 30_000_000, Some(i64::MAX)),
        };
        let text = summary.text();
        for wanted in [
            "10 s, ended early: 100 events/s",
            "1,000 generated, 1,000 read, 990 in bronze, 10 dead letters, 7 late",
            "WRONG every event is in the bronze table or in the dead letters: 1,001 = 990 + 10, \
             which is 1,000",
            "ok    no event is in the bronze table twice",
            "./data/demo/bronze         5          990       6    12.3 kB",
            "0 of 4 scripted anomalies found, 1 false alarm",
            "MISSED  00:12:00 traffic spike on /products (5 times the usual requests)",
            "FALSE   00:00:00 error_rate: error rate of /login 30 %",
        ] {
            assert!(text.contains(wanted), "{wanted:?} is missing in\n{text}");
        }
        let json = serde_json::to_value(&summary).expect("it can be written");
        assert_eq!(json["events"]["deadLetters"], 10);
        assert_eq!(json["detection"]["scripted"][0]["verdict"], "missed");
        assert_eq!(json["detection"]["falseAlarms"][0]["key"], "/login");
        assert_eq!(json["checks"][0]["ok"], false);
    }
}
