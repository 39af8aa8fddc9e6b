//! A detector rule, fed with the closed windows of its query.

use std::sync::Arc;

use actix::prelude::*;

use super::alignment::{Aligner, Step};
use super::checkpoint_writer::{CheckpointWriter, Part, PartOfEpoch};
use super::child::{ActorName, Health, Remedy, Supervision};
use super::flow::{Flow, Item, Outlet};
use crate::anomaly::{
    self, AnomalyEvent, DetectorError, EventKind, Exposed, Outcome, SeriesReader, Watch, to_batch,
};
use crate::telemetry::events::{
    AnomalyChange, AnomalyChanged, DetectorSeries, SeriesHidden, SeriesJudged, WindowsJudged,
};
use crate::telemetry::progress::{
    AnomalyState, AnomalySummary, DetectorProgress, PipelineProgress, Severity,
};
use crate::telemetry::time::EventTime;

/// Windows are judged in order of time and, within a window, in order of keys, whatever order the
/// shards close them in: they wait in a buffer until every shard's watermark has passed them.
pub struct AnomalyDetector {
    pub(super) pipeline: Arc<str>,
    pub(super) name: ActorName,
    pub(super) health: Arc<Health>,
    pub(super) supervision: Supervision,
    pub(super) aligner: Aligner,
    /// The watermark of each input.
    pub(super) watermarks: Vec<Option<i64>>,
    pub(super) reader: SeriesReader,
    pub(super) watch: Watch,
    pub(super) exposed: Exposed,
    /// The query gives changed rows again, and the detector judges at barriers, where all shards
    /// have given what they have.
    pub(super) at_barriers: bool,
    /// The query gives all rows again: those of windows that are final are no news.
    pub(super) repeats: bool,
    /// Where events go, and the severity that an anomaly must have reached for it.
    pub(super) outlets: Vec<(Outlet, anomaly::Severity)>,
    pub(super) checkpoint: Addr<CheckpointWriter>,
    pub(super) progress: Arc<PipelineProgress>,
    pub(super) own_progress: Arc<DetectorProgress>,
}

impl AnomalyDetector {
    fn take(&mut self, flow: Flow) -> Result<(), DetectorError> {
        let step = match self.aligner.offer(flow) {
            Ok(step) => step,
            Err(error) => {
                self.supervision.fail(&self.name, error, Remedy::Restart);
                return Ok(());
            }
        };
        match step {
            Step::Held => Ok(()),
            Step::Process(Flow { item: Item::Rows(rows, _), .. }) => {
                let read = self.reader.read(&rows)?;
                let skipped = read.skipped;
                let pushed = self.watch.take_in(read);
                if skipped > 0 {
                    let detector = &*self.name.member;
                    tracing::debug!(detector, rows = skipped, "rows without a value");
                }
                let late = if self.repeats { 0 } else { pushed.late };
                if late + pushed.refused > 0 {
                    let refused = pushed.refused;
                    let detector = &*self.name.member;
                    tracing::warn!(detector, late, refused, "values that no window could take");
                }
                Ok(())
            }
            Step::Process(Flow { item: Item::Watermark(time), from, .. }) => {
                self.advance(time, from as usize)
            }
            Step::Process(Flow { item: Item::Barrier(_), .. }) => Ok(()),
            Step::Aligned(epoch) => {
                if self.at_barriers {
                    self.judge()?;
                }
                self.snapshot(epoch)?;
                for held in self.aligner.release() {
                    self.take(held)?;
                }
                Ok(())
            }
        }
    }

    fn advance(&mut self, time: i64, from: usize) -> Result<(), DetectorError> {
        if let Some(slot) = self.watermarks.get_mut(from) {
            *slot = (*slot).max(Some(time));
        }
        if self.at_barriers { Ok(()) } else { self.judge() }
    }

    fn judge(&mut self) -> Result<(), DetectorError> {
        // An input that has not spoken yet holds the rest back (`None` is the least).
        let Some(reached) = self.watermarks.iter().copied().min().flatten() else {
            return Ok(());
        };
        let outcome = self.watch.advance(reached)?;
        self.tell(&outcome)
    }

    fn tell(&mut self, outcome: &Outcome) -> Result<(), DetectorError> {
        for event in &outcome.events {
            let anomaly = summary(event);
            let change = match event.event {
                EventKind::Opened => AnomalyChange::Opened,
                EventKind::Updated => AnomalyChange::Updated,
                EventKind::Closed => AnomalyChange::Closed,
            };
            let (pipeline, corrected) = (&*self.pipeline, event.corrected);
            AnomalyChanged { pipeline, change, corrected, anomaly: &anomaly }.emit();
            self.progress.anomaly(anomaly);
        }
        if !outcome.windows.is_empty() || outcome.rescored > 0 {
            self.show_windows(outcome);
            self.show();
        }
        for (outlet, min_severity) in &self.outlets {
            let mut wanted = outcome.events.clone();
            wanted.retain(|event| event.severity >= *min_severity);
            if !wanted.is_empty() {
                outlet.send(0, Item::Rows(to_batch(&wanted)?, None));
            }
        }
        Ok(())
    }

    fn show_windows(&mut self, outcome: &Outcome) {
        let mut anomalous = [0; 3];
        let found = outcome.windows.iter().flat_map(|window| &window.judgements);
        for anomaly in found.filter_map(|judgement| judgement.anomaly.as_ref()) {
            let severity = shown(anomaly.severity);
            anomalous[severity as usize] += 1;
            self.own_progress.found(severity);
        }
        let open = self.watch.open();
        let keys = open.iter().map(|event| event.key.clone()).collect();
        self.show_open(outcome.windows.len(), anomalous, outcome.rescored, &open);
        let (pipeline, detector) = (&*self.pipeline, &*self.name.member);
        let mut last = Vec::new();
        for window in &outcome.windows {
            let now = self.exposed.take(window, &keys);
            for series in &now.hidden {
                SeriesHidden { pipeline, detector, series }.emit();
            }
            last = now.judgements;
        }
        for judgement in last {
            SeriesJudged {
                pipeline,
                detector,
                series: &judgement.key,
                value: judgement.value,
                band: judgement.band.map(|band| (band.expected, band.lower, band.upper)),
                score: judgement.score,
            }
            .emit();
        }
    }

    fn show_open(&self, windows: usize, anomalous: [u64; 3], rescored: u64, open: &[AnomalyEvent]) {
        let mut by_severity = [0; 3];
        open.iter().for_each(|event| by_severity[shown(event.severity) as usize] += 1);
        self.own_progress.open(open.len());
        let (pipeline, detector) = (&*self.pipeline, &*self.name.member);
        let open = by_severity;
        WindowsJudged { pipeline, detector, windows, anomalous, rescored, open }.emit();
    }

    fn snapshot(&mut self, epoch: u64) -> Result<(), DetectorError> {
        fail::fail_point!("anomaly_detector_snapshot");
        let bytes = self.watch.snapshot()?;
        self.checkpoint.do_send(PartOfEpoch {
            epoch,
            part: Part::Operator { name: operator_name(&self.name.member), bytes },
        });
        for (outlet, _) in &self.outlets {
            outlet.send(0, Item::Barrier(epoch));
        }
        self.show();
        Ok(())
    }

    fn show(&self) {
        let series = self.watch.stats().series;
        self.own_progress.series(series);
        DetectorSeries { pipeline: &self.pipeline, detector: &self.name.member, series }.emit();
    }
}

fn shown(severity: anomaly::Severity) -> Severity {
    match severity {
        anomaly::Severity::Info => Severity::Info,
        anomaly::Severity::Warning => Severity::Warning,
        anomaly::Severity::Critical => Severity::Critical,
    }
}

fn summary(event: &AnomalyEvent) -> AnomalySummary {
    AnomalySummary {
        id: event.id.clone(),
        state: if event.is_open() { AnomalyState::Open } else { AnomalyState::Closed },
        detector: event.detector.clone(),
        kind: event.kind.into(),
        key: event.key.clone(),
        severity: shown(event.severity),
        started_at: EventTime(event.started_at),
        ended_at: event.ended_at.map(EventTime),
        window_start: EventTime(event.window_start),
        window_end: EventTime(event.window_end),
        windows: event.windows,
        value: event.value,
        expected: event.expected,
        lower: event.lower,
        upper: event.upper,
        score: event.score,
        peak_value: event.peak_value,
        peak_score: event.peak_score,
        reason: event.reason.as_str().into(),
    }
}

/// A detector's name among the operators of a checkpoint.
pub fn operator_name(detector: &str) -> String {
    format!("detector/{detector}")
}

impl Actor for AnomalyDetector {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(usize::MAX);
        let open = self.watch.open();
        self.progress.anomalies_restored(&self.name.member, open.iter().map(summary).collect());
        self.show_open(0, [0; 3], 0, &open);
        self.show();
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        // What is shown of a detector that is gone must not be taken for the present.
        for series in self.exposed.clear() {
            let (pipeline, detector) = (&*self.pipeline, &*self.name.member);
            SeriesHidden { pipeline, detector, series: &series }.emit();
        }
    }
}

impl Handler<Flow> for AnomalyDetector {
    type Result = ();

    fn handle(&mut self, flow: Flow, ctx: &mut Self::Context) {
        self.health.dequeued();
        let _busy = self.health.busy();
        fail::fail_point!("anomaly_detector");
        if let Err(error) = self.take(flow) {
            self.supervision.fail(&self.name, error, Remedy::Restart);
            ctx.stop();
        }
    }
}
