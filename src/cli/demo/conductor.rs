//! Leads a demo from its first epoch to its last, and shows it meanwhile: starts the generator when
//! the pipeline reads, waits for the rest to be read when it is done, and has the pipeline stopped.

use std::collections::VecDeque;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indexmap::IndexMap;

use super::feed::{Feed, Written, slowest, taken};
use super::plan::Plan;
use super::score::Detection;
use super::view::{self, Abilities, Frame, Phase, Screen};
use crate::actors::Stopper;
use crate::telemetry::progress::{PipelineProgress, PipelineReport};
use crate::telemetry::time::EventTime;
use crate::weblog;

/// How often the demo is looked at, and the live view drawn.
const LOOK: Duration = Duration::from_millis(200);
/// How often a line is written where there is no terminal.
const LINE: Duration = Duration::from_secs(2);
/// What the rate that is shown is taken over.
const LATELY: Duration = Duration::from_secs(3);
/// The pipeline starts within this, or there is something that waiting does not mend.
const START: Duration = Duration::from_secs(60);
/// Draining ends when nothing moves for this long.
const STILL: Duration = Duration::from_secs(30);
/// What was read last has gone through the windows when nothing has moved for this long.
const SETTLED: Duration = Duration::from_millis(500);

/// Where the demo shows itself.
pub enum Show {
    /// On the terminal, live.
    Live(Screen, Abilities),
    /// As lines, on standard output.
    Lines,
    /// As lines, on standard error: standard output is for the summary.
    LinesOnStderr,
}

/// What leading a demo needs.
pub struct Conductor {
    /// Its course.
    pub plan: Plan,
    /// The embedded broker's address.
    pub brokers: String,
    /// Where the pipeline stands.
    pub progress: Arc<PipelineProgress>,
    /// What stops the pipeline.
    pub stopper: Stopper,
    /// Set to end the demo early.
    pub stop: &'static AtomicBool,
    /// Set when the pipeline has ended.
    pub ended: Arc<AtomicBool>,
    /// The windows' length in microseconds.
    pub window: i64,
    /// Where the pipeline's state is served.
    pub address: Option<SocketAddr>,
    /// The log file.
    pub log: PathBuf,
    /// Where to show it.
    pub show: Show,
}

/// How a demo went.
#[derive(Debug)]
pub struct Course {
    /// What was written; nothing, if the pipeline never read.
    pub written: Option<Written>,
    /// For how long logs were written.
    pub writing: Duration,
    /// Why it did not go as it should, if something outside the pipeline is the cause.
    pub error: Option<String>,
}

impl Conductor {
    /// Leads the demo until the pipeline has ended.
    pub fn lead(mut self) -> Course {
        let began = Instant::now();
        let mut course = Course { written: None, writing: Duration::ZERO, error: None };
        let mut phase = Phase::Starting;
        let mut feed: Option<(Feed, Instant)> = None;
        let mut drain = Drain::default();
        let mut shown = Shown::default();
        loop {
            let ended = self.ended.load(Ordering::Acquire);
            if ended {
                self.stop.store(true, Ordering::Relaxed);
            }
            let report = self.progress.snapshot();
            if let Some((feed, since)) = &feed {
                shown.written = feed.progress();
                course.writing = since.elapsed();
            }
            match phase {
                Phase::Starting if self.stop.load(Ordering::Relaxed) => {
                    self.stopper.stop();
                    phase = Phase::Stopping;
                }
                Phase::Starting if slowest(&report).is_some() => {
                    let (brokers, progress) = (self.brokers.clone(), self.progress.clone());
                    match Feed::start(&self.plan, brokers, progress, self.stop) {
                        Ok(started) => {
                            feed = Some((started, Instant::now()));
                            phase = Phase::Running;
                        }
                        Err(error) => {
                            course.error = Some(format!("the generator: {error:#}"));
                            self.stop.store(true, Ordering::Relaxed);
                        }
                    }
                }
                Phase::Starting if began.elapsed() >= START => {
                    course.error = Some(not_started(&report));
                    self.stop.store(true, Ordering::Relaxed);
                }
                Phase::Running if feed.as_ref().is_none_or(|(feed, _)| feed.is_finished()) => {
                    if let Some((feed, since)) = feed.take() {
                        course.writing = since.elapsed();
                        let written = feed.finish();
                        shown.written = written.progress;
                        course.error = written.error.clone();
                        course.written = Some(written);
                    }
                    phase = Phase::Draining;
                }
                Phase::Draining => {
                    let written = course.written.as_ref().map_or(0, Written::records);
                    let windows = report.queries.iter().map(|q| q.num_windows_closed).sum();
                    let state = (taken(&report), report.event_time.watermark, windows);
                    if ended || drain.is_done(written, state, Instant::now()) {
                        self.stopper.stop();
                        phase = Phase::Stopping;
                    }
                }
                Phase::Starting | Phase::Running | Phase::Stopping | Phase::Ended => {}
            }
            shown.take(&report, Instant::now());
            if ended && phase == Phase::Stopping {
                self.show(&mut shown, &report, Phase::Ended, course.writing);
                return course;
            }
            self.show(&mut shown, &report, phase, course.writing);
            std::thread::sleep(LOOK);
        }
    }

    fn show(
        &mut self,
        shown: &mut Shown,
        report: &PipelineReport,
        phase: Phase,
        elapsed: Duration,
    ) {
        let unicode = matches!(&self.show, Show::Live(_, abilities) if abilities.unicode);
        let written = shown.written.records.saturating_sub(shown.written.failed);
        let detections: Vec<Detection> = shown.detections.values().cloned().collect();
        let frame = Frame {
            phase,
            plan: &self.plan,
            elapsed,
            written: &shown.written,
            // What the generator tells is a moment older than what the readers tell.
            lag: written.saturating_sub(shown.taken),
            rate: shown.rate(),
            report,
            anomalies: &report.recent_anomalies,
            detections: &detections,
            window: self.window,
            address: self.address,
            log: &self.log,
            unicode,
        };
        if let Show::Live(screen, _) = &mut self.show {
            let (columns, rows) = screen.room();
            screen.draw(&view::block(&frame, columns, rows));
            return;
        }
        if phase != Phase::Ended && shown.line.is_some_and(|at| at.elapsed() < LINE) {
            return;
        }
        shown.line = Some(Instant::now());
        let line = view::plain_line(&frame);
        // Whoever read these lines has gone: the demo goes on without them.
        let _ = match self.show {
            Show::LinesOnStderr => writeln!(std::io::stderr(), "{line}"),
            _ => writeln!(std::io::stdout(), "{line}"),
        };
    }
}

fn not_started(report: &PipelineReport) -> String {
    let cause = match &report.root_cause {
        Some(fault) => format!("{}: {}", fault.actor, fault.error),
        None => format!("it is {}", report.state),
    };
    format!("the pipeline did not begin to read within {} s: {cause}", START.as_secs())
}

/// What the view remembers from one frame to the next.
#[derive(Default)]
struct Shown {
    written: weblog::Progress,
    taken: u64,
    /// By the names of their anomalies, in the order in which they began.
    detections: IndexMap<Arc<str>, Detection>,
    line: Option<Instant>,
    /// Records read by then, the oldest first.
    read: VecDeque<(Instant, u64)>,
}

impl Shown {
    /// Records read a second, lately: livelier than the report's rate, which is over ten seconds.
    fn rate(&self) -> f64 {
        match (self.read.front(), self.read.back()) {
            (Some((from, before)), Some((to, now))) if to > from => {
                now.saturating_sub(*before) as f64 / (*to - *from).as_secs_f64()
            }
            _ => 0.0,
        }
    }

    fn take(&mut self, report: &PipelineReport, now: Instant) {
        self.read.push_back((now, report.num_input_rows));
        while self.read.front().is_some_and(|(at, _)| now - *at > LATELY) {
            self.read.pop_front();
        }
        // Readers that are being started again have no offsets; that is no lag.
        self.taken = self.taken.max(taken(report));
        // Each anomaly is one entry that changes while it lasts; the oldest are let go.
        for anomaly in report.recent_anomalies.iter().rev() {
            self.detections.insert(anomaly.id.clone(), Detection::from(anomaly));
        }
    }
}

/// Records taken, the watermark, windows closed.
type Moving = (u64, Option<EventTime>, u64);

/// Whether everything that was written has gone through the pipeline.
#[derive(Debug, Default)]
struct Drain {
    last: Option<(Moving, Instant)>,
}

impl Drain {
    fn is_done(&mut self, written: u64, state: Moving, now: Instant) -> bool {
        match &self.last {
            Some((last, since)) if *last == state => {
                let still = now.saturating_duration_since(*since);
                still >= if state.0 >= written { SETTLED } else { STILL }
            }
            _ => {
                self.last = Some((state, now));
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::progress::{AnomalyState, AnomalySummary, Severity};
    use crate::telemetry::time::EventTime;

    #[test]
    fn draining_ends_when_all_is_read_and_nothing_moves_any_more() {
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        let mark = Some(EventTime(1));
        let mut drain = Drain::default();
        assert!(!drain.is_done(100, (90, mark, 3), after(0)));
        assert!(!drain.is_done(100, (100, mark, 3), after(200)));
        assert!(!drain.is_done(100, (100, mark, 4), after(600)), "a window has closed");
        assert!(!drain.is_done(100, (100, mark, 4), after(1000)));
        assert!(drain.is_done(100, (100, mark, 4), after(1100)));
    }

    #[test]
    fn draining_ends_at_last_when_not_all_is_read() {
        let start = Instant::now();
        let mut drain = Drain::default();
        assert!(!drain.is_done(100, (90, None, 0), start));
        assert!(!drain.is_done(100, (90, None, 0), start + STILL - LOOK));
        assert!(!drain.is_done(100, (91, None, 0), start + STILL));
        assert!(drain.is_done(100, (91, None, 0), start + STILL * 2));
    }

    #[test]
    fn every_anomaly_is_taken_once_and_as_it_is_at_last() {
        let progress = PipelineProgress::new("demo");
        let mut shown = Shown::default();
        let anomaly = |n: i64, windows: u64| AnomalySummary {
            id: format!("d:{n}").into(),
            state: AnomalyState::Open,
            detector: "d".into(),
            kind: "k".into(),
            key: "x".into(),
            severity: Severity::Info,
            started_at: EventTime(n),
            ended_at: None,
            window_start: EventTime(n),
            window_end: EventTime(n + 1),
            windows,
            value: 1.0,
            expected: 0.0,
            lower: 0.0,
            upper: 0.5,
            score: 0.6,
            peak_value: 1.0,
            peak_score: 0.6,
            reason: "r".into(),
        };
        let mut next = 0;
        for found in [0, 2, 0, 99, 1, 0, 3] {
            for _ in 0..found {
                progress.anomaly(anomaly(next, 1));
                next += 1;
            }
            shown.take(&progress.snapshot(), Instant::now());
        }
        progress.anomaly(anomaly(104, 7));
        shown.take(&progress.snapshot(), Instant::now());
        let starts: Vec<i64> = shown.detections.values().map(|d| d.window_start.0).collect();
        assert_eq!(starts, (0..105).collect::<Vec<_>>());
        assert_eq!(shown.detections[104].windows, 7);
    }
}
