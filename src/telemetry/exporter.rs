//! The recorder behind the metrics, its upkeep, and the page that Prometheus scrapes.
//!
//! `metrics-exporter-prometheus` keeps the numbers; it brings no listener of its own, because the
//! page is a route of [`crate::server`]. [`install`] once at start, keep [`Upkeep`] for as long
//! as the daemon runs, [`render`] for every scrape.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use metrics_exporter_prometheus::{
    BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};
use thiserror::Error;

use super::exposition::{self, Format};
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

/// The page: every metric, families and series in the order of their names, the process's own
/// figures among them. Gauges that age by themselves (watermark lag, checkpoint age, readiness) are
/// brought up to `now` from `pipelines` first, so that a pipeline that hangs shows it.
pub fn render(
    handle: &PrometheusHandle,
    pipelines: &[Arc<PipelineProgress>],
    now: Now,
    format: Format,
) -> String {
    for pipeline in pipelines {
        pipeline.export(now);
    }
    let rendered = handle.render();
    let mut families = exposition::parse(&rendered);
    ProcessStats::read().add_to(&mut families);
    exposition::write(&families, format)
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
    fn upkeep_stops_at_once_when_dropped() {
        let recorder = recorder().expect("the table is sound");
        let upkeep = Upkeep::start(recorder.handle(), Vec::new()).expect("a thread starts");
        let started = std::time::Instant::now();
        drop(upkeep);
        assert!(started.elapsed() < UPKEEP_INTERVAL);
    }
}
