//! What the demo shows while it runs: a block of lines that is drawn over and over, or a line now
//! and then where there is no terminal.

mod line;
mod terminal;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

pub use line::{Line, Style};
pub use terminal::{Abilities, Screen};

use super::plan::{Plan, extent, title};
use super::score::{Detection, Meaning, Score, Verdict, meaning, score};
use super::text::{clock, grouped, plural, rate, size, time_of_day};
use crate::telemetry::progress::{
    AnomalySummary, PipelineReport, PipelineState, QueryReport, Severity, SinkReport,
};
use crate::weblog;

/// How wide the view is at most: beyond that, eyes get lost in a row of the table.
const WIDEST: usize = 120;
/// From here on nothing has to be left out of a line.
const SPACIOUS: usize = 100;
/// Anomalies that are shown, if there is room.
const ANOMALIES: usize = 6;

/// Where the demo is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The pipeline is joining its consumer group.
    Starting,
    /// Logs are written.
    Running,
    /// All logs are written, and not yet all read.
    Draining,
    /// The last epoch is being finished.
    Stopping,
    /// The pipeline has ended.
    Ended,
}

/// Everything that is shown, at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// What the demo is doing.
    pub phase: Phase,
    /// Its course.
    pub plan: &'a Plan,
    /// Wall time since the generator was started.
    pub elapsed: Duration,
    /// How far the generator is.
    pub written: &'a weblog::Progress,
    /// Records of it that the pipeline has not read.
    pub lag: u64,
    /// Records that the pipeline reads a second, just now.
    pub rate: f64,
    /// Where the pipeline is.
    pub report: &'a PipelineReport,
    /// The newest anomalies, the newest first.
    pub anomalies: &'a [AnomalySummary],
    /// All of them.
    pub detections: &'a [Detection],
    /// The windows' length in microseconds.
    pub window: i64,
    /// Where the pipeline's state is served.
    pub address: Option<SocketAddr>,
    /// The log file.
    pub log: &'a Path,
    /// Whether characters beyond ASCII are shown.
    pub unicode: bool,
}

/// A line and how soon it is left out if there is no room: the highest number first, and of equals
/// the last.
type Ranked = (u8, Line);

/// The block for a terminal of `columns` and `rows`.
pub fn block(frame: &Frame<'_>, columns: usize, rows: usize) -> Vec<Line> {
    let width = columns.min(WIDEST);
    let mut lines: Vec<Ranked> = Vec::new();
    course(frame, width, &mut lines);
    numbers(frame, &mut lines);
    tables(frame, &mut lines);
    anomalies(frame, width, &mut lines);
    footer(frame, &mut lines);
    while lines.len() > rows {
        let Some(least) = lines.iter().map(|(rank, _)| *rank).max() else { break };
        if let Some(index) = lines.iter().rposition(|(rank, _)| *rank == least) {
            lines.remove(index);
        }
    }
    lines.into_iter().map(|(_, line)| line.cut(width, frame.unicode)).collect()
}

/// One line for a log that is not a terminal.
pub fn plain_line(frame: &Frame<'_>) -> String {
    let report = frame.report;
    let (late, dead_letters) = (late(report), dead_letters(report));
    let score = frame.score();
    format!(
        "{} {:>3.0} %  {} events, {}/s, lag {}  watermark {}  epoch {}  windows {}  late {}  \
         dead letters {}  anomalies {} ({} of {} scripted)  {}",
        clock(frame.elapsed),
        frame.plan.part(frame.written.event_time) * 100.0,
        grouped(report.num_input_rows),
        rate(frame.rate),
        grouped(frame.lag),
        report.event_time.watermark.map_or("-".to_owned(), time_of_day),
        report.checkpoint.committed_epoch.map_or("-".to_owned(), |epoch| epoch.to_string()),
        windows(report).map_or(0, |query| query.num_windows_closed),
        grouped(late),
        grouped(dead_letters),
        frame.detections.len(),
        score.count(Verdict::Found),
        frame.plan.truth.len(),
        now(frame, false).0,
    )
}

impl Frame<'_> {
    fn score(&self) -> Score {
        let closed = self.report.event_time.watermark.map(|time| time.0);
        score(&self.plan.truth, self.detections, self.window, closed)
    }
}

/// The query whose windows are counted: the one without a key, because every shard of a query
/// counts the windows that it closes.
pub fn windows(report: &PipelineReport) -> Option<&QueryReport> {
    report.queries.iter().find(|query| &*query.name == "traffic_windows")
}

/// A table as its directory is called.
fn table_name(sink: &SinkReport) -> &str {
    let directory = Path::new(&*sink.description).file_name().and_then(|name| name.to_str());
    directory.unwrap_or(&sink.name)
}

fn late(report: &PipelineReport) -> u64 {
    windows(report).map_or(0, |query| query.num_late_rows)
}

fn dead_letters(report: &PipelineReport) -> u64 {
    report.sources.iter().map(|source| source.num_dead_letters).sum()
}

/// What happens now, how it is meant, and what then.
fn now(frame: &Frame<'_>, brief: bool) -> (String, Style, Option<String>) {
    let time = frame.written.event_time;
    match frame.phase {
        Phase::Starting => {
            ("starting: the broker, the topic, the consumer group".into(), Style::Faint, None)
        }
        Phase::Draining => ("all logs are written; reading the rest".into(), Style::Faint, None),
        Phase::Stopping => ("stopping: finishing the last epoch".into(), Style::Faint, None),
        Phase::Ended => ("it is over; counting what is in the tables".into(), Style::Faint, None),
        Phase::Running => {
            let next = frame.plan.next(time).map(|anomaly| {
                let away = frame.plan.wall_time(anomaly.start - time);
                format!("next in {}: {}", clock(away), title(anomaly))
            });
            match frame.plan.current(time) {
                Some(anomaly) => {
                    let text = match (brief, title(anomaly)) {
                        (true, title) => title,
                        (false, title) => format!("{title} ({})", extent(anomaly)),
                    };
                    (text, Style::Warning, next)
                }
                None => ("the usual traffic".into(), Style::Good, next),
            }
        }
    }
}

fn course(frame: &Frame<'_>, width: usize, lines: &mut Vec<Ranked>) {
    let part = frame.plan.part(frame.written.event_time);
    let mut line = Line::default();
    line.push(Style::Strong, "Millpond demo").text("  ");
    let time = format!("{} of {}", clock(frame.elapsed), clock(frame.plan.wall));
    line.text(format!("{time:<14}"));
    let bar = width.saturating_sub(line.width() + 24).min(40);
    if bar >= 10 {
        let full = (part * bar as f64).round() as usize;
        let (on, off) = if frame.unicode { ("█", "░") } else { ("#", ".") };
        line.push(Style::Good, on.repeat(full.min(bar)));
        line.push(Style::Faint, off.repeat(bar.saturating_sub(full)));
    }
    line.text(format!(" {:>3.0} %", part * 100.0));
    line.push(Style::Faint, "   Ctrl-C ends it");
    lines.push((0, line));

    let (text, style, next) = now(frame, width < SPACIOUS);
    let mut line = Line::default();
    line.text("now").column(8).push(style, text);
    if let Some(next) = next {
        line.push(Style::Faint, format!("   {next}"));
    }
    lines.push((1, line));
    lines.push((20, Line::default()));
}

fn numbers(frame: &Frame<'_>, lines: &mut Vec<Ranked>) {
    let report = frame.report;
    let mut add = |rank, name: &str, build: &dyn Fn(&mut Line)| {
        let mut line = Line::default();
        line.push(Style::Faint, name).column(8);
        build(&mut line);
        lines.push((rank, line));
    };
    add(1, "events", &|line| {
        line.push(Style::Strong, format!("{}/s", rate(frame.rate)));
        line.text(format!(
            "   {} read, {} written, lag {}   {}/s",
            grouped(report.num_input_rows),
            grouped(frame.written.records.saturating_sub(frame.written.failed)),
            grouped(frame.lag),
            size(report.input_bytes_per_second as u64),
        ));
    });
    add(2, "time", &|line| {
        let watermark = report.event_time.watermark;
        line.text("watermark ");
        line.push(Style::Strong, watermark.map_or("-".to_owned(), time_of_day));
        if let Some(watermark) = watermark.filter(|watermark| watermark.0 != i64::MAX) {
            // Behind the log itself, not behind the wall clock: the log's time is compressed.
            let behind = frame.written.event_time.saturating_sub(watermark.0).max(0);
            line.text(format!(", {:.0} s behind the log", behind as f64 / 1e6));
        }
        if let Some(query) = windows(report) {
            let open: u64 = query.state_operators.iter().map(|s| s.num_open_windows).sum();
            line.text(format!(
                "   windows {} closed, {open} open",
                grouped(query.num_windows_closed)
            ));
        }
    });
    add(2, "epochs", &|line| {
        let checkpoint = &report.checkpoint;
        let epoch = checkpoint.committed_epoch.map_or("-".to_owned(), |epoch| epoch.to_string());
        line.push(Style::Strong, epoch);
        let ms = |duration: Option<u64>| duration.map_or("-".to_owned(), |ms| format!("{ms} ms"));
        let durations = &report.duration_ms;
        line.text(format!(
            "   align {}, snapshot {}, write {}, commit {}",
            ms(durations.align),
            ms(durations.snapshot),
            ms(durations.write),
            ms(durations.commit),
        ));
        if checkpoint.failed > 0 {
            line.push(Style::Bad, format!("   {} failed", grouped(checkpoint.failed)));
        }
    });
    add(3, "late", &|line| {
        line.text(plural(late(report), "row"));
        line.text(format!("   dead letters {}", grouped(dead_letters(report))));
        let reasons: Vec<String> = report
            .sources
            .iter()
            .flat_map(|source| &source.dead_letters)
            .map(|(reason, count)| format!("{reason} {}", grouped(*count)))
            .collect();
        if !reasons.is_empty() {
            line.push(Style::Faint, format!(" ({})", reasons.join(", ")));
        }
    });
    trouble(report, lines);
    lines.push((20, Line::default()));
}

/// Restarts and retries: nothing to see as long as all is well.
fn trouble(report: &PipelineReport, lines: &mut Vec<Ranked>) {
    let mut line = Line::default();
    line.push(Style::Faint, "state").column(8);
    let style = match report.state {
        PipelineState::Running | PipelineState::Stopped => Style::Good,
        PipelineState::Starting | PipelineState::Stopping => Style::Faint,
        PipelineState::Restarting | PipelineState::Failed => Style::Bad,
    };
    line.push(style, report.state.as_str());
    let style = if report.restarts == 0 { Style::Plain } else { Style::Bad };
    line.push(style, format!(", {}", plural(report.restarts, "restart")));
    let retrying = report.sinks.iter().find_map(|sink| Some((sink, sink.retrying.as_ref()?)));
    match (retrying, &report.root_cause) {
        (Some((sink, retry)), _) => {
            line.push(Style::Bad, format!(", {} is retrying: {}", table_name(sink), retry.error));
        }
        (None, Some(fault)) => {
            line.push(Style::Warning, format!(", the last after {}: {}", fault.actor, fault.error));
        }
        (None, None) => {}
    }
    lines.push((3, line));
}

fn tables(frame: &Frame<'_>, lines: &mut Vec<Ranked>) {
    let name_width =
        frame.report.sinks.iter().map(|sink| table_name(sink).len()).max().unwrap_or(0).max(16);
    let row = |name: &str, cells: [&str; 4], style| {
        let mut line = Line::default();
        line.push(style, format!("{name:<name_width$}"));
        for (cell, width) in cells.into_iter().zip([8, 12, 7, 10]) {
            line.push(style, format!(" {cell:>width$}"));
        }
        line
    };
    lines.push((10, row("Delta table", ["version", "rows", "files", "size"], Style::Faint)));
    for sink in &frame.report.sinks {
        let version = sink.version.map_or("-".to_owned(), |version| version.to_string());
        let cells = [
            version.as_str(),
            &grouped(sink.num_output_rows),
            &grouped(sink.num_files),
            &size(sink.num_bytes),
        ];
        lines.push((10, row(table_name(sink), cells, Style::Plain)));
    }
    lines.push((20, Line::default()));
}

fn anomalies(frame: &Frame<'_>, width: usize, lines: &mut Vec<Ranked>) {
    let score = frame.score();
    let mut line = Line::default();
    line.push(Style::Faint, "anomalies").text(format!(
        "  {}, {} of {} scripted ones found",
        grouped(frame.detections.len() as u64),
        score.count(Verdict::Found),
        frame.plan.truth.len(),
    ));
    if !score.false_alarms.is_empty() {
        let count = plural(score.false_alarms.len() as u64, "false alarm");
        line.push(Style::Warning, format!(", {count}"));
    }
    lines.push((2, line));
    for (index, anomaly) in frame.anomalies.iter().take(ANOMALIES).enumerate() {
        let mut line = Line::default();
        line.push(Style::Faint, time_of_day(anomaly.started_at)).text(" ");
        let style = match anomaly.severity {
            Severity::Info => Style::Plain,
            Severity::Warning => Style::Warning,
            Severity::Critical => Style::Bad,
        };
        // Where there is little room, it is the words that count.
        if width >= SPACIOUS {
            line.push(style, format!("{:<8} ", anomaly.severity.as_str()));
        }
        line.push(style, format!("{:<14}", anomaly.detector));
        line.text(format!(" {}", anomaly.reason));
        let detection = Detection::from(anomaly);
        if meaning(&frame.plan.truth, &detection, frame.window) == Meaning::FalseAlarm {
            line.push(Style::Warning, " (a false alarm)");
        }
        // The newest stay longest.
        lines.push((4 + index as u8, line));
    }
    lines.push((20, Line::default()));
}

fn footer(frame: &Frame<'_>, lines: &mut Vec<Ranked>) {
    let mut line = Line::default();
    if let Some(address) = frame.address {
        line.push(Style::Faint, format!("http://{address}/metrics and /api/v1/pipelines   "));
    }
    line.push(Style::Faint, format!("log {}", frame.log.display()));
    lines.push((15, line));
}
