//! A detector rule, fed with the closed windows of its query.

use std::sync::Arc;

use actix::prelude::*;

use super::alignment::{Aligner, Step};
use super::checkpoint_writer::{CheckpointWriter, Part, PartOfEpoch};
use super::child::{ActorName, Health, Remedy, Supervision};
use super::flow::{Flow, Item, Outlet};
use crate::anomaly::{
    self, Anomaly, Detector, DetectorError, SeriesReader, WindowBuffer, to_batch,
};
use crate::telemetry::events::{AnomalyFound, DetectorSeries};
use crate::telemetry::progress::{AnomalySummary, DetectorProgress, PipelineProgress, Severity};
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
    pub(super) buffer: WindowBuffer,
    pub(super) detector: Box<dyn Detector>,
    pub(super) outlet: Outlet,
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
                let pushed = self.buffer.push(read.items);
                if read.skipped > 0 {
                    let detector = &*self.name.member;
                    tracing::debug!(detector, rows = read.skipped, "rows without a value");
                }
                if pushed.late + pushed.refused > 0 {
                    let (late, refused) = (pushed.late, pushed.refused);
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
        // An input that has not spoken yet holds the rest back (`None` is the least).
        let Some(reached) = self.watermarks.iter().copied().min().flatten() else {
            return Ok(());
        };
        let mut found = Vec::new();
        for window in self.buffer.ready(reached) {
            found.extend(self.detector.observe(&window.as_slice()));
        }
        if found.is_empty() {
            return Ok(());
        }
        for anomaly in &found {
            let summary = summary(anomaly);
            AnomalyFound { pipeline: &self.pipeline, anomaly: &summary }.emit();
            self.progress.anomaly(summary);
        }
        self.show();
        self.outlet.send(0, Item::Rows(to_batch(&found)?, None));
        Ok(())
    }

    fn snapshot(&mut self, epoch: u64) -> Result<(), DetectorError> {
        fail::fail_point!("anomaly_detector_snapshot");
        let bytes = join(&self.detector.snapshot()?, &self.buffer.snapshot()?);
        self.checkpoint.do_send(PartOfEpoch {
            epoch,
            part: Part::Operator { name: operator_name(&self.name.member), bytes },
        });
        self.outlet.send(0, Item::Barrier(epoch));
        self.show();
        Ok(())
    }

    fn show(&self) {
        let series = self.detector.series();
        self.own_progress.series(series);
        DetectorSeries { pipeline: &self.pipeline, detector: &self.name.member, series }.emit();
    }
}

fn summary(anomaly: &Anomaly) -> AnomalySummary {
    AnomalySummary {
        detector: anomaly.detector.clone(),
        kind: anomaly.kind.into(),
        key: anomaly.key.clone(),
        window_start: EventTime(anomaly.window_start),
        window_end: EventTime(anomaly.window_end),
        value: anomaly.value,
        expected: anomaly.expected,
        lower: anomaly.lower,
        upper: anomaly.upper,
        score: anomaly.score,
        severity: match anomaly.severity {
            anomaly::Severity::Info => Severity::Info,
            anomaly::Severity::Warning => Severity::Warning,
            anomaly::Severity::Critical => Severity::Critical,
        },
        reason: anomaly.reason.as_str().into(),
    }
}

/// A detector's name among the operators of a checkpoint.
pub fn operator_name(detector: &str) -> String {
    format!("detector/{detector}")
}

/// The detector's state and the buffer's, as one: the length of the first, then both.
fn join(detector: &[u8], buffer: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(8 + detector.len() + buffer.len());
    bytes.extend_from_slice(&(detector.len() as u64).to_le_bytes());
    bytes.extend_from_slice(detector);
    bytes.extend_from_slice(buffer);
    bytes
}

/// Undoes what [`AnomalyDetector`] writes into a checkpoint: the detector's state and the
/// buffer's. `None` if the bytes are too short to be that.
pub fn split_state(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<8>()?;
    rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)
}

impl Actor for AnomalyDetector {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(usize::MAX);
        self.show();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_states_come_apart_again() {
        assert_eq!(split_state(&join(b"ab", b"c")), Some((&b"ab"[..], &b"c"[..])));
        assert_eq!(split_state(&join(b"", b"")), Some((&b""[..], &b""[..])));
        assert_eq!(split_state(b"short"), None);
        assert_eq!(split_state(&[255; 9]), None);
    }
}
