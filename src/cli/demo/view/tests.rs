//! The view as text, on terminals of any size.

use std::sync::Arc;

use super::*;
use crate::telemetry::progress::{AnomalyState, PipelineProgress};
use crate::telemetry::time::EventTime;
use crate::weblog::DEFAULT_START;

const WINDOW: i64 = 30_000_000;

struct Scene {
    plan: Plan,
    written: weblog::Progress,
    progress: Arc<PipelineProgress>,
    address: SocketAddr,
}

fn anomaly(plan: &Plan, key: &str) -> AnomalySummary {
    let start = plan.truth[0].start;
    AnomalySummary {
        id: format!("traffic_spike:{key}").into(),
        state: AnomalyState::Open,
        detector: "traffic_spike".into(),
        kind: "traffic_spike".into(),
        key: key.into(),
        started_at: EventTime(start),
        ended_at: None,
        windows: 1,
        peak_value: 4000.0,
        peak_score: 0.9,
        window_start: EventTime(start),
        window_end: EventTime(start + WINDOW),
        value: 4000.0,
        expected: 800.0,
        lower: 600.0,
        upper: 1000.0,
        score: 0.9,
        severity: Severity::Critical,
        reason: format!("requests of {key} 4,000 in 30 seconds, expected 600 to 1,000").into(),
    }
}

fn scene() -> Scene {
    let plan = Plan::new(DEFAULT_START, Duration::from_secs(120), 5000.0, 1);
    let progress = PipelineProgress::new("demo");
    let source = progress.source("logs");
    let partition = source.partition("web-logs-0");
    partition.starts_at(0);
    partition.read(312_000, 100_000_000);
    source.rejected("not_json");
    source.rejected("missing");
    source.rejected("missing");
    progress.query("bronze").describe("f", "append", "SELECT", false);
    progress.query("traffic_windows").describe("f", "append", "SELECT", true);
    for table in ["bronze", "traffic_windows", "anomaly-events", "dead-letters"] {
        let directory = table.replace("anomaly-events", "anomalies");
        progress.sink(table).describe("delta", &format!("./data/demo/{directory}"));
        progress.sink(table).committed(Some(31), 12_345, 62, 4_500_000, Duration::from_millis(9));
    }
    progress.epoch_committed(31, Duration::from_millis(40));
    progress.watermark(plan.truth[0].start + 5_000_000);
    progress.set_state(PipelineState::Running);
    progress.anomaly(anomaly(&plan, "/products"));
    progress.anomaly(anomaly(&plan, "/login"));
    let event_time = plan.truth[0].start + 20_000_000;
    let written = weblog::Progress { records: 312_400, event_time, ..weblog::Progress::default() };
    Scene { plan, written, progress, address: ([127, 0, 0, 1], 9898).into() }
}

fn with_frame<T>(
    scene: &Scene,
    change: impl FnOnce(&mut Frame<'_>),
    use_it: impl FnOnce(&Frame<'_>) -> T,
) -> T {
    let report = scene.progress.snapshot();
    let detections: Vec<Detection> = report.recent_anomalies.iter().map(Detection::from).collect();
    let mut frame = Frame {
        phase: Phase::Running,
        plan: &scene.plan,
        elapsed: Duration::from_secs(49),
        written: &scene.written,
        lag: 400,
        rate: 5123.4,
        report: &report,
        anomalies: &report.recent_anomalies,
        detections: &detections,
        window: WINDOW,
        address: Some(scene.address),
        log: Path::new("data/demo/demo.log"),
        unicode: true,
    };
    change(&mut frame);
    use_it(&frame)
}

fn text(scene: &Scene, columns: usize, rows: usize) -> Vec<String> {
    with_frame(scene, |_| (), |frame| block(frame, columns, rows).iter().map(Line::plain).collect())
}

#[test]
fn everything_is_there_on_a_usual_terminal() {
    let scene = scene();
    let lines = text(&scene, 119, 40);
    let all = lines.join("\n");
    for wanted in [
        "Millpond demo  0:49 of 2:00",
        "41 %",
        "now     traffic spike on /products (5 times the usual requests)",
        "next in 0:16: error burst on /api/v1/cart",
        "events  5,123/s   312,000 read, 312,400 written, lag 400",
        "15 s behind the log",
        "epochs  31",
        "commit 40 ms",
        "late    0 rows   dead letters 3 (missing 2, not_json 1)",
        "running, 0 restarts",
        "Delta table       version         rows   files       size",
        "bronze                 31       12,345      62     4.5 MB",
        "anomalies              31       12,345",
        "anomalies  2, 1 of 4 scripted ones found, 1 false alarm",
        "critical traffic_spike  requests of /login 4,000",
        "(a false alarm)",
        "http://127.0.0.1:9898/metrics",
        "data/demo/demo.log",
    ] {
        assert!(all.contains(wanted), "{wanted:?} is missing in\n{all}");
    }
    assert!(lines.len() <= 25, "{}\n{all}", lines.len());
}

#[test]
fn it_fits_on_any_terminal() {
    let scene = scene();
    for columns in [1, 2, 10, 40, 60, 79, 119, 200, 1000] {
        for rows in [1, 2, 5, 10, 15, 23, 60] {
            let lines = text(&scene, columns, rows);
            assert!(lines.len() <= rows, "{columns}x{rows}");
            assert!(lines.iter().all(|line| line.chars().count() <= columns), "{columns}x{rows}");
            assert!(lines[0].starts_with(&"Millpond"[..columns.min(8) - 1]), "{lines:?}");
        }
    }
}

#[test]
fn what_matters_least_goes_first() {
    let scene = scene();
    let small = text(&scene, 79, 14).join("\n");
    assert!(small.contains(" traffic_spike  requests of /login 4,000 in 30 seconds"), "{small}");
    assert!(!small.contains("http://") && !small.contains("\n\n"), "{small}");
    let tiny = text(&scene, 79, 3).join("\n");
    assert!(tiny.contains("Millpond demo") && tiny.contains("now ") && tiny.contains("events "));
}

#[test]
fn trouble_is_shown() {
    let scene = scene();
    scene.progress.fault("delta_committer[bronze]", "no space left on device");
    scene.progress.restarted();
    scene.progress.set_state(PipelineState::Restarting);
    let all = text(&scene, 119, 40).join("\n");
    assert!(
        all.contains("restarting, 1 restart, the last after delta_committer[bronze]: no space")
    );
    scene.progress.sink("bronze").retrying("disk full", 2, Duration::from_secs(1));
    let all = text(&scene, 119, 40).join("\n");
    assert!(all.contains("bronze is retrying: disk full"), "{all}");
}

#[test]
fn before_anything_has_happened_there_is_a_view_too() {
    let scene = Scene { progress: PipelineProgress::new("demo"), ..scene() };
    let change = |frame: &mut Frame<'_>| {
        frame.phase = Phase::Starting;
        frame.unicode = false;
    };
    let lines = with_frame(&scene, change, |frame| block(frame, 79, 30));
    let all = lines.iter().map(Line::plain).collect::<Vec<_>>().join("\n");
    assert!(all.contains("starting") && all.is_ascii(), "{all}");
    assert!(all.contains("watermark -"), "{all}");
}

#[test]
fn without_a_terminal_it_is_a_line() {
    let scene = scene();
    let line = with_frame(&scene, |_| (), plain_line);
    assert!(!line.contains('\n') && !line.contains('\x1b'), "{line}");
    for wanted in ["0:49", "312,000 events", "epoch 31", "anomalies 2 (1 of 4 scripted)"] {
        assert!(line.contains(wanted), "{wanted:?} is missing in {line}");
    }
}
