//! The recorder behind the metrics, its upkeep, and the page that Prometheus scrapes.
//!
//! `metrics-exporter-prometheus` keeps the numbers; it brings no listener of its own, because the
//! page is a route of [`crate::server`]. [`install`] once at start, keep [`Upkeep`] for as long
//! as the daemon runs, [`render`] for every scrape.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use metrics_exporter_prometheus::{
    BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};
use thiserror::Error;

use super::names::{self, ALL, Kind};
use super::process::ProcessStats;
use super::progress::PipelineProgress;
use super::rate_limit;
use super::time::Now;

/// Why metrics could not be set up.
#[derive(Debug, Error)]
pub enum ExporterError {
    /// A recorder had been installed before; metrics would go there.
    #[error("a metrics recorder is installed already")]
    Installed,
    /// The recorder refused the table of metrics.
    #[error("metrics cannot be set up: {0}")]
    Build(#[from] BuildError),
    /// The upkeep thread did not start.
    #[error("the telemetry thread cannot be started: {0}")]
    Thread(#[from] std::io::Error),
}

/// A recorder with the table's buckets, not installed; for tests and for [`install`].
pub fn recorder() -> Result<PrometheusRecorder, ExporterError> {
    let mut builder = PrometheusBuilder::new();
    for entry in ALL.iter().filter(|entry| entry.kind == Kind::Histogram) {
        builder =
            builder.set_buckets_for_metric(Matcher::Full(entry.name.to_owned()), entry.buckets)?;
    }
    let recorder = builder.build_recorder();
    metrics::with_local_recorder(&recorder, names::describe);
    Ok(recorder)
}

/// Makes a recorder the process's own and counts the build. The handle is what [`render`] and
/// [`Upkeep`] take. To be called before anything is counted: a metric that was looked up earlier
/// leads nowhere.
pub fn install() -> Result<PrometheusHandle, ExporterError> {
    let recorder = recorder()?;
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).map_err(|_| ExporterError::Installed)?;
    names::BUILD.with([env!("CARGO_PKG_VERSION"), revision()]).set(1.0);
    Ok(handle)
}

/// The revision of the source that was built, if whoever built it said so in
/// `MILLPOND_REVISION`; else `unknown`.
pub fn revision() -> &'static str {
    option_env!("MILLPOND_REVISION").unwrap_or("unknown")
}

/// The page: every metric in the text exposition format 0.0.4, families and series in the order
/// of their names, then the process's own figures. Gauges that age by themselves (watermark lag,
/// checkpoint age, readiness) are brought up to `now` from `pipelines` first, so that a pipeline
/// that hangs shows it.
pub fn render(handle: &PrometheusHandle, pipelines: &[Arc<PipelineProgress>], now: Now) -> String {
    for pipeline in pipelines {
        pipeline.export(now);
    }
    let mut page = arrange(&handle.render());
    ProcessStats::read().write_to(&mut page);
    page
}

/// Sorts what the recorder renders (in the order of a hash map) so that two scrapes can be
/// compared, and leaves out retired gauges (see [`names::Name::retire`]).
fn arrange(rendered: &str) -> String {
    let mut families: BTreeMap<&str, (Vec<&str>, Vec<&str>)> = BTreeMap::new();
    for block in rendered.split("\n\n") {
        let (head, mut samples): (Vec<&str>, Vec<&str>) =
            block.lines().filter(|line| !line.is_empty()).partition(|line| line.starts_with('#'));
        let Some(kind_line) = head.iter().find_map(|line| line.strip_prefix("# TYPE ")) else {
            continue;
        };
        let (name, kind) = kind_line.split_once(' ').unwrap_or((kind_line, ""));
        if kind == "gauge" {
            samples.retain(|line| !line.ends_with(" NaN"));
        }
        // A histogram's lines belong in the order of their buckets, as the recorder writes them.
        if kind != "histogram" {
            samples.sort_unstable();
        }
        if !samples.is_empty() {
            families.insert(name, (head, samples));
        }
    }
    let mut page = String::with_capacity(rendered.len());
    for (head, samples) in families.into_values() {
        for line in head.into_iter().chain(samples) {
            page.push_str(line);
            page.push('\n');
        }
        page.push('\n');
    }
    page
}

/// The thread that keeps telemetry going between scrapes: it folds observations into their
/// buckets (they pile up in memory until then), takes the samples that rates are computed from,
/// and reports suppressed log lines. Stops when dropped.
#[derive(Debug)]
pub struct Upkeep {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Rates are over ten samples of this.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(1);

impl Upkeep {
    /// Starts the thread.
    pub fn start(
        handle: PrometheusHandle,
        pipelines: Vec<Arc<PipelineProgress>>,
    ) -> Result<Self, ExporterError> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("telemetry".to_owned()).spawn(move || {
            while !stopped.load(Ordering::Acquire) {
                tidy(&handle, &pipelines, Now::read());
                std::thread::park_timeout(UPKEEP_INTERVAL);
            }
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Upkeep {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A panic in there has been reported by the panic hook; there is nothing to add.
            let _ = thread.join();
        }
    }
}

fn tidy(handle: &PrometheusHandle, pipelines: &[Arc<PipelineProgress>], now: Now) {
    handle.run_upkeep();
    for pipeline in pipelines {
        pipeline.sample(now);
    }
    rate_limit::flush(now.instant);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_sorted_and_retired_gauges_left_out() {
        let recorder = recorder().expect("the table is sound");
        metrics::with_local_recorder(&recorder, || {
            names::CONSUMER_LAG.with(["p", "logs", "t-1"]).set(5.0);
            names::CONSUMER_LAG.with(["p", "logs", "t-0"]).set(7.0);
            names::IDLE.with(["p", "logs", "t-1"]).set(1.0);
            names::CONSUMER_LAG.retire(["p", "logs", "t-1"]);
            names::IDLE.retire(["p", "logs", "t-1"]);
            names::RECORDS.with(["p", "logs", "t-0"]).increment(3);
            names::DECODE_SECONDS.with(["p", "logs"]).record(0.002);
        });
        let page = arrange(&recorder.handle().render());
        let lag = "millpond_source_consumer_lag_records{pipeline=\"p\",source=\"logs\",partition";
        assert!(page.contains(&format!("{lag}=\"t-0\"}} 7\n")), "{page}");
        assert!(!page.contains("t-1") && !page.contains("idle"), "{page}");
        let names: Vec<&str> =
            page.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
        assert!(names.is_sorted(), "{names:?}");
        let buckets: Vec<&str> = page.lines().filter(|line| line.contains("le=\"")).collect();
        assert!(buckets.first().is_some_and(|line| line.contains("le=\"0.0001\"")), "{page}");
        assert!(buckets.last().is_some_and(|line| line.contains("le=\"+Inf\"")), "{page}");

        metrics::with_local_recorder(&recorder, || {
            names::CONSUMER_LAG.with(["p", "logs", "t-1"]).set(2.0);
        });
        let page = arrange(&recorder.handle().render());
        assert!(page.contains(&format!("{lag}=\"t-1\"}} 2\n")), "it came back: {page}");
    }

    #[test]
    fn a_label_value_with_quotes_and_newlines_stays_one_line() {
        let recorder = recorder().expect("the table is sound");
        metrics::with_local_recorder(&recorder, || {
            names::OUTPUT_ROWS.with(["a\n\n# TYPE x\"", "q\\"]).increment(1);
        });
        let page = arrange(&recorder.handle().render());
        let samples: Vec<&str> = page.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(samples.len(), 2, "{page}");
        assert!(samples[0].starts_with("millpond_query_output_rows_total{"), "{page}");
    }

    #[test]
    fn upkeep_stops_at_once_when_dropped() {
        let recorder = recorder().expect("the table is sound");
        let upkeep = Upkeep::start(recorder.handle(), Vec::new()).expect("a thread starts");
        let started = std::time::Instant::now();
        drop(upkeep);
        assert!(started.elapsed() < UPKEEP_INTERVAL);
    }
}
