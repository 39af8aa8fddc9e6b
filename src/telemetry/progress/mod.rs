//! Where each pipeline stands: what `/api/v1/pipelines` and `/readyz` show and the live view draws.
//!
//! A [`PipelineProgress`] lives as long as the daemon, across the pipeline's restarts. Its actors
//! update it from many threads: what moves once a batch is atomic (look the partition's or query's
//! handle up once and keep it), the rest is behind short locks. Whoever looks pays: rates come
//! from a history that is extended when somebody asks, and ages are taken then.

mod anomaly;
mod batch;
mod history;
mod query;
mod rates;
mod readiness;
mod report;
mod sink;
mod source;
mod table;
mod upkeep;
mod windows;

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use indexmap::IndexMap;
use serde::Serialize;

pub use anomaly::{AnomalyState, AnomalySummary, DetectorProgress, Severity};
pub use batch::BatchProgress;
pub use history::{EpochReport, LetterNote, LetterReport, RestartReport, ShownBytes};
pub use query::QueryProgress;
pub use readiness::{Check, Readiness};
pub use report::{
    CheckpointReport, DetectorReport, DurationReport, EventTimeReport, FaultReport,
    PartitionReport, PipelineReport, QueryReport, RetryReport, SinkReport, SourceReport,
    StateReport, TableReport,
};
pub use sink::SinkProgress;
pub use source::{PartitionProgress, SourceProgress};
pub use table::TableProgress;
pub use upkeep::{LastRunReport, RunningReport, UpkeepProgress, UpkeepReport};
pub use windows::{SeriesReport, WindowColumns, WindowsReport};

use anomaly::Anomalies;
use history::{EPOCHS, FAULTS, push_bounded};
use source::{Maybe, sum_known};

use super::events::CheckpointAge;
use super::time::{EventTime, Now, millis};
use super::{lock, names};

/// The state of a pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PipelineState {
    /// Its actors are being started for the first time.
    Starting,
    /// All of them are up.
    Running,
    /// It failed and starts again from the last durable epoch.
    Restarting,
    /// It was told to stop and makes its last commit.
    Stopping,
    /// It stopped as told, or its input has ended.
    Stopped,
    /// It failed in a way that a restart does not mend.
    Failed,
}

impl PipelineState {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Starting,
        Self::Running,
        Self::Restarting,
        Self::Stopping,
        Self::Stopped,
        Self::Failed,
    ];

    /// As a label value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Restarting => "restarting",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Display for PipelineState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A pipeline is not ready when its last durable epoch is older than this, unless
/// [`PipelineProgress::set_checkpoint_limit`] says otherwise.
const CHECKPOINT_LIMIT: Duration = Duration::from_secs(60);

/// Where one pipeline stands.
#[derive(Debug)]
pub struct PipelineProgress {
    name: Arc<str>,
    started: Now,
    restarts: AtomicU64,
    watermark: Maybe,
    life: Mutex<Life>,
    checkpoint: Mutex<Checkpoint>,
    sources: Members<SourceProgress>,
    tables: Members<TableProgress>,
    queries: Members<QueryProgress>,
    sinks: Members<SinkProgress>,
    detectors: Members<DetectorProgress>,
    batch: Members<BatchProgress>,
    anomalies: Anomalies,
    upkeep: Members<UpkeepProgress>,
}

#[derive(Debug)]
struct Life {
    state: PipelineState,
    fault: Option<FaultReport>,
    /// The generation that runs has had its first fault; later ones are its consequences.
    faulted: bool,
    /// The last faults, the newest first.
    restarts: VecDeque<RestartReport>,
}

#[derive(Debug)]
struct Checkpoint {
    limit: Duration,
    /// The last durable epoch and when it became so, by the wall clock.
    durable: Option<(u64, EventTime)>,
    /// When this process last made an epoch durable.
    durable_here: Option<Instant>,
    committed: Option<u64>,
    durations: DurationReport,
    bytes: u64,
    segments: u64,
    failed: u64,
    error: Option<String>,
    /// The last epochs, the newest first.
    recent: VecDeque<EpochReport>,
}

/// Named parts in the order they were added.
#[derive(Debug)]
struct Members<T>(Mutex<IndexMap<Arc<str>, Arc<T>>>);

impl<T> Members<T> {
    fn new() -> Self {
        Self(Mutex::new(IndexMap::new()))
    }

    fn get_or_add(&self, name: &str, make: impl FnOnce() -> T) -> Arc<T> {
        let mut members = lock(&self.0);
        if let Some(member) = members.get(name) {
            return Arc::clone(member);
        }
        let member = Arc::new(make());
        members.insert(name.into(), Arc::clone(&member));
        member
    }

    /// A copy of the handles, so that no lock is held while they are read.
    fn list(&self) -> Vec<Arc<T>> {
        lock(&self.0).values().cloned().collect()
    }
}

impl PipelineProgress {
    /// A pipeline that is starting. Add its sources, queries and sinks before it does, so that it
    /// is not ready before they all are.
    pub fn new(name: impl Into<Arc<str>>) -> Arc<Self> {
        Self::new_at(name.into(), Now::read())
    }

    fn new_at(name: Arc<str>, now: Now) -> Arc<Self> {
        Arc::new(Self {
            name,
            started: now,
            restarts: AtomicU64::new(0),
            watermark: Maybe::none(),
            life: Mutex::new(Life {
                state: PipelineState::Starting,
                fault: None,
                faulted: false,
                restarts: VecDeque::new(),
            }),
            checkpoint: Mutex::new(Checkpoint {
                limit: CHECKPOINT_LIMIT,
                durable: None,
                durable_here: None,
                committed: None,
                durations: DurationReport::default(),
                bytes: 0,
                segments: 0,
                failed: 0,
                error: None,
                recent: VecDeque::new(),
            }),
            sources: Members::new(),
            tables: Members::new(),
            queries: Members::new(),
            sinks: Members::new(),
            detectors: Members::new(),
            batch: Members::new(),
            anomalies: Anomalies::default(),
            upkeep: Members::new(),
        })
    }

    /// The pipeline's name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The source of this name, added if it is new. Keep the handle.
    pub fn source(&self, name: &str) -> Arc<SourceProgress> {
        self.sources.get_or_add(name, || SourceProgress::new(name, Now::read()))
    }

    /// The static table of this name, added if it is new. Keep the handle.
    pub fn table(&self, name: &str) -> Arc<TableProgress> {
        self.tables.get_or_add(name, || TableProgress::new(name))
    }

    /// The progress of one task of a table's upkeep, made if it is new.
    pub fn upkeep(&self, table: &str, task: &'static str) -> Arc<UpkeepProgress> {
        self.upkeep.get_or_add(&format!("{table}/{task}"), || UpkeepProgress::new(table, task))
    }

    /// The batch job of this name, added if it is new. Keep the handle.
    pub fn batch(&self, name: &str) -> Arc<BatchProgress> {
        self.batch.get_or_add(name, || BatchProgress::new(name))
    }

    /// The query of this name, added if it is new. Keep the handle.
    pub fn query(&self, name: &str) -> Arc<QueryProgress> {
        self.queries.get_or_add(name, || QueryProgress::new(name, Now::read()))
    }

    /// The sink of this name, added if it is new. Keep the handle.
    pub fn sink(&self, name: &str) -> Arc<SinkProgress> {
        self.sinks.get_or_add(name, || SinkProgress::new(name))
    }

    /// The detector of this name, added if it is new. Keep the handle.
    pub fn detector(&self, name: &str) -> Arc<DetectorProgress> {
        self.detectors.get_or_add(name, || DetectorProgress::new(name))
    }

    /// The state it is in.
    pub fn state(&self) -> PipelineState {
        lock(&self.life).state
    }

    /// Puts it in a state; returns the one it was in, for
    /// [`super::events::PipelineStateChanged`].
    pub fn set_state(&self, state: PipelineState) -> PipelineState {
        let mut life = lock(&self.life);
        if state == PipelineState::Running
            && let Some(restart) = life.restarts.front_mut()
        {
            restart.running_at.get_or_insert_with(|| Now::read().wall());
        }
        std::mem::replace(&mut life.state, state)
    }

    /// A new generation of actors begins: partitions, state sizes and open sinks are told anew,
    /// and its first fault will be the root cause. Counters go on.
    pub fn generation_started(&self) {
        lock(&self.life).faulted = false;
        self.watermark.clear();
        self.sources.list().iter().for_each(|source| source.reset());
        self.queries.list().iter().for_each(|query| query.reset());
        self.sinks.list().iter().for_each(|sink| sink.reset());
    }

    /// An actor failed. The first fault of a generation is kept as the root cause; says whether
    /// this was it.
    pub fn fault(&self, actor: &str, error: &str) -> bool {
        let at = Now::read().wall();
        let mut life = lock(&self.life);
        if life.faulted {
            return false;
        }
        life.faulted = true;
        life.fault = Some(FaultReport { actor: actor.to_owned(), error: error.to_owned(), at });
        let restart =
            RestartReport { actor: actor.into(), error: error.into(), at, running_at: None };
        push_bounded(&mut life.restarts, restart, FAULTS);
        true
    }

    /// The last faults, the newest first: what the pipeline was restarted for, or ended by.
    pub fn restarts(&self) -> Vec<RestartReport> {
        lock(&self.life).restarts.iter().cloned().collect()
    }

    /// The last epochs, the newest first.
    pub fn epochs(&self) -> Vec<EpochReport> {
        lock(&self.checkpoint).recent.iter().cloned().collect()
    }

    /// The last dead letters of all sources, the newest first.
    pub fn letters(&self) -> Vec<LetterReport> {
        let mut letters: Vec<LetterReport> =
            self.sources.list().iter().flat_map(|source| source.letters()).collect();
        letters.sort_by_key(|letter| std::cmp::Reverse(letter.at));
        letters
    }

    /// One column of the last windows of a query as time series, at most `series` of them; without
    /// a column the first. `None` if there is no such query, it has no windows, or no such column.
    pub fn windows(
        &self,
        query: &str,
        column: Option<&str>,
        series: usize,
    ) -> Option<WindowsReport> {
        let query = lock(&self.queries.0).get(query).cloned()?;
        query.windows(column, series)
    }

    /// The pipeline is being restarted.
    pub fn restarted(&self) {
        self.restarts.fetch_add(1, Relaxed);
    }

    /// The pipeline's watermark, in microseconds; `i64::MAX` once its input has ended.
    pub fn watermark(&self, time: i64) {
        self.watermark.set(time);
    }

    /// How old the last durable epoch may be before the pipeline is not ready: a few checkpoint
    /// intervals.
    pub fn set_checkpoint_limit(&self, limit: Duration) {
        lock(&self.checkpoint).limit = limit;
    }

    /// Work goes on from durable epoch `number`, written `created_at_ms` milliseconds after the
    /// Unix epoch, perhaps by an earlier process.
    pub fn epoch_restored(&self, number: u64, created_at_ms: i64) {
        let at = EventTime(created_at_ms.saturating_mul(1000));
        lock(&self.checkpoint).durable = Some((number, at));
    }

    /// All barriers of the epoch in flight have met, `align` after it started.
    pub fn epoch_aligned(&self, align: Duration) {
        lock(&self.checkpoint).durations.align = Some(millis(align));
    }

    /// Epoch `number` is durable.
    pub fn epoch_durable(
        &self,
        number: u64,
        bytes: u64,
        segments: u64,
        snapshot: Duration,
        write: Duration,
    ) {
        self.epoch_durable_at(number, bytes, segments, snapshot, write, Now::read());
    }

    fn epoch_durable_at(
        &self,
        number: u64,
        bytes: u64,
        segments: u64,
        snapshot: Duration,
        write: Duration,
        now: Now,
    ) {
        let mut checkpoint = lock(&self.checkpoint);
        checkpoint.durable = Some((number, now.wall()));
        checkpoint.durable_here = Some(now.instant);
        checkpoint.durations.snapshot = Some(millis(snapshot));
        checkpoint.durations.write = Some(millis(write));
        checkpoint.bytes = bytes;
        checkpoint.segments = segments;
        checkpoint.error = None;
        let epoch = EpochReport {
            number: Some(number),
            at: now.wall(),
            duration_ms: DurationReport { commit: None, ..checkpoint.durations },
            bytes,
            segments,
            committed: false,
            error: None,
        };
        push_bounded(&mut checkpoint.recent, epoch, EPOCHS);
    }

    /// Every sink has committed epoch `number`, `commit` after it became durable.
    pub fn epoch_committed(&self, number: u64, commit: Duration) {
        let mut checkpoint = lock(&self.checkpoint);
        checkpoint.committed = Some(number);
        checkpoint.durations.commit = Some(millis(commit));
        if let Some(epoch) = checkpoint.recent.iter_mut().find(|e| e.number == Some(number)) {
            epoch.committed = true;
            epoch.duration_ms.commit = Some(millis(commit));
        }
    }

    /// An epoch was given up.
    pub fn epoch_failed(&self, error: &str) {
        let mut checkpoint = lock(&self.checkpoint);
        checkpoint.failed += 1;
        checkpoint.error = Some(error.to_owned());
        let epoch = EpochReport {
            number: None,
            at: Now::read().wall(),
            duration_ms: DurationReport::default(),
            bytes: 0,
            segments: 0,
            committed: false,
            error: Some(error.into()),
        };
        push_bounded(&mut checkpoint.recent, epoch, EPOCHS);
    }

    /// Whether some sink waits for a fault to heal.
    pub fn is_retrying(&self) -> bool {
        self.snapshot().sinks.iter().any(|sink| sink.retrying.is_some())
    }

    /// An anomaly began, changed or is over.
    pub fn anomaly(&self, anomaly: AnomalySummary) {
        self.anomalies.tell(anomaly);
    }

    /// A detector starts with these anomalies open, and no others.
    pub fn anomalies_restored(&self, detector: &str, open: Vec<AnomalySummary>) {
        self.anomalies.restore(detector, open);
    }

    /// Whether it is fit to work, and what is missing.
    pub fn readiness(&self) -> Readiness {
        self.readiness_at(Now::read())
    }

    fn readiness_at(&self, now: Now) -> Readiness {
        let state = self.state();
        let running = (state != PipelineState::Running).then(|| format!("the pipeline is {state}"));
        let assigned =
            self.sources.list().iter().find(|source| !source.is_assigned()).map(|source| {
                format!("source '{}' has not been given its partitions yet", source.name())
            });
        let sinks = self.sinks.list().iter().find_map(|sink| sink.trouble());
        let checkpointing = {
            let checkpoint = lock(&self.checkpoint);
            let failure = checkpoint.error.as_ref();
            let of =
                failure.map_or(String::new(), |error| format!("; the last one failed: {error}"));
            match checkpoint.durable_here {
                None => Some(format!("no epoch has become durable yet{of}")),
                Some(_) if failure.is_some() => Some(format!("the checkpoint is not current{of}")),
                Some(durable) => {
                    let age = now.instant.saturating_duration_since(durable);
                    (age > checkpoint.limit).then(|| {
                        format!(
                            "the last durable epoch is {} s old, more than {} s{of}",
                            age.as_secs(),
                            checkpoint.limit.as_secs()
                        )
                    })
                }
            }
        };
        Readiness::new(running, assigned, checkpointing, sinks)
    }

    /// Everything about it, now. Also what the live view draws from.
    pub fn snapshot(&self) -> PipelineReport {
        self.snapshot_at(Now::read())
    }

    fn snapshot_at(&self, now: Now) -> PipelineReport {
        let sources: Vec<SourceReport> =
            self.sources.list().iter().map(|source| source.report(now)).collect();
        let tables = self.tables.list().iter().map(|table| table.report()).collect();
        let queries = self.queries.list().iter().map(|query| query.report(now)).collect();
        let sinks = self.sinks.list().iter().map(|sink| sink.report()).collect();
        let detectors = self.detectors.list().iter().map(|detector| detector.report()).collect();
        let checkpoint = self.checkpoint_report(now);
        let (state, root_cause) = {
            let life = lock(&self.life);
            (life.state, life.fault.clone())
        };
        let watermark = self.watermark.time();
        PipelineReport {
            name: Arc::clone(&self.name),
            state,
            timestamp: now.wall(),
            started_at: self.started.wall(),
            uptime_ms: millis(now.since(self.started)),
            restarts: self.restarts.load(Relaxed),
            root_cause,
            epoch: checkpoint.epoch,
            num_input_rows: sources.iter().map(|source| source.num_input_rows).sum(),
            input_rows_per_second: sources.iter().map(|s| s.input_rows_per_second).sum(),
            processed_rows_per_second: sources.iter().map(|s| s.processed_rows_per_second).sum(),
            input_bytes_per_second: sources.iter().map(|s| s.input_bytes_per_second).sum(),
            lag: sum_known(sources.iter().map(|source| source.lag)),
            duration_ms: checkpoint.duration_ms,
            event_time: EventTimeReport {
                max: sources.iter().filter_map(|source| source.event_time.max).max(),
                watermark,
            },
            watermark_lag_ms: watermark.map(|time| (time.lag_us(now.unix_us) / 1000) as u64),
            readiness: self.readiness_at(now),
            checkpoint,
            sources,
            tables,
            queries,
            sinks,
            detectors,
            batch: self.batch.list().iter().map(|job| job.report()).collect(),
            open_anomalies: self.anomalies.open(),
            recent_anomalies: self.anomalies.recent(),
            upkeep: self.upkeep.list().iter().map(|task| task.report()).collect(),
        }
    }

    fn checkpoint_report(&self, now: Now) -> CheckpointReport {
        let checkpoint = lock(&self.checkpoint);
        CheckpointReport {
            epoch: checkpoint.durable.map(|(number, _)| number),
            committed_epoch: checkpoint.committed,
            durable_at: checkpoint.durable.map(|(_, at)| at),
            age_ms: checkpoint.age(now).map(millis),
            duration_ms: checkpoint.durations,
            bytes: checkpoint.bytes,
            segments: checkpoint.segments,
            failed: checkpoint.failed,
            error: checkpoint.error.clone(),
        }
    }

    /// Extends the history that rates are computed from. Called by the upkeep thread.
    pub(super) fn sample(&self, now: Now) {
        self.sources.list().iter().for_each(|source| source.sample(now));
        self.queries.list().iter().for_each(|query| query.sample(now));
    }

    /// Sets the gauges that change while nothing happens: ages, lag and readiness.
    pub(super) fn export(&self, now: Now) {
        let pipeline = &*self.name;
        if let Some(age) = lock(&self.checkpoint).age(now) {
            CheckpointAge { pipeline, age }.emit();
        }
        if let Some(watermark) = self.watermark.time() {
            let lag = watermark.lag_us(now.unix_us) as f64 / 1e6;
            names::WATERMARK_LAG.with([pipeline]).set(lag);
        }
        for (name, check) in self.readiness_at(now).checks() {
            names::READY.with([pipeline, name]).set(if check.ok { 1.0 } else { 0.0 });
        }
    }
}

impl Checkpoint {
    /// Age of the last durable epoch. An epoch of an earlier process is aged by the wall clock.
    fn age(&self, now: Now) -> Option<Duration> {
        match (self.durable_here, self.durable) {
            (Some(here), _) => Some(now.instant.saturating_duration_since(here)),
            (None, Some((_, at))) => {
                Some(Duration::from_micros(at.lag_us(now.unix_us).unsigned_abs()))
            }
            (None, None) => None,
        }
    }
}

#[cfg(test)]
mod tests;
