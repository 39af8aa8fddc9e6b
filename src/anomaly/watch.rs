//! A detector at work: values in any order in, anomalies with a beginning and an end out.
//!
//! ```text
//! values ─ WindowBuffer ─ closed windows ─> Detector::judge ─> Lifecycle::step ─> events
//! ```
//!
//! The daemon's actor, `millpond detect` and the tests all run this, so that a replay over history
//! gives what was given live.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::lifecycle::{AnomalyEvent, Lifecycle, Policy};
use super::state::{Reader, Writer};
use super::{
    Detector, DetectorError, DetectorSpec, DetectorStats, Judgement, OwnedWindow, Pushed,
    SeriesValue, SpecError, WindowBuffer, build,
};

/// Name of the bytes of all of it.
const KIND: &str = "watch";

/// A window and what the detector made of its values.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    /// Start, microseconds since the Unix epoch, inclusive.
    pub start: i64,
    /// End, microseconds since the Unix epoch, exclusive.
    pub end: i64,
    /// Sorted by key.
    pub judgements: Vec<Judgement>,
}

/// What became of windows that closed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outcome {
    /// In the order of time.
    pub windows: Vec<Judged>,
    /// In the order of time and, within a window, of keys.
    pub events: Vec<AnomalyEvent>,
}

/// See the module.
pub struct Watch {
    detector: Box<dyn Detector>,
    lifecycle: Lifecycle,
    buffer: WindowBuffer,
    /// Events that each open anomaly has had.
    told: BTreeMap<Arc<str>, u32>,
}

impl Watch {
    /// The detector that a specification asks for, over tumbling windows of this length, holding
    /// at most `max_values` values that wait for their windows to close.
    ///
    /// # Errors
    ///
    /// [`SpecError::Window`] if the length is not above 0.
    pub fn new(
        name: &str,
        spec: &DetectorSpec,
        policy: Policy,
        window_us: i64,
        max_values: usize,
    ) -> Result<Self, SpecError> {
        let detector = build(name, spec);
        Ok(Watch {
            lifecycle: Lifecycle::new(name, detector.kind(), policy),
            detector,
            buffer: WindowBuffer::new(window_us, spec.combine(), max_values)?,
            told: BTreeMap::new(),
        })
    }

    /// Takes in (window start, value) items in any order.
    pub fn push(&mut self, items: impl IntoIterator<Item = (i64, SeriesValue)>) -> Pushed {
        self.buffer.push(items)
    }

    /// Judges the windows that end at or before `up_to` (microseconds since the Unix epoch; what all
    /// inputs have passed; `i64::MAX` at the end of the input).
    pub fn advance(&mut self, up_to: i64) -> Outcome {
        let mut outcome = Outcome::default();
        for window in self.buffer.ready(up_to) {
            self.judge(&window, &mut outcome);
        }
        outcome
    }

    /// Judges a window that is complete, past the buffer: for history whose times lie as they
    /// come. Windows come in the order of time.
    pub fn take(&mut self, window: &OwnedWindow) -> Outcome {
        let mut outcome = Outcome::default();
        self.judge(window, &mut outcome);
        outcome
    }

    fn judge(&mut self, window: &OwnedWindow, outcome: &mut Outcome) {
        let (start, end) = (window.start, window.end);
        let judgements = self.detector.judge(&window.as_slice());
        for mut event in self.lifecycle.step((start, end), &judgements) {
            event.sequence = self.number(&event.id, event.is_open());
            outcome.events.push(event);
        }
        outcome.windows.push(Judged { start, end, judgements });
    }

    fn number(&mut self, id: &Arc<str>, open: bool) -> u32 {
        let told = self.told.entry(id.clone()).or_default();
        let sequence = *told;
        *told = told.saturating_add(1);
        if !open {
            self.told.remove(id);
        }
        sequence
    }

    /// The anomalies that are open, sorted by series.
    pub fn open(&self) -> Vec<AnomalyEvent> {
        let numbered = |mut event: AnomalyEvent| {
            event.sequence = self.told.get(&event.id).map_or(0, |told| told.saturating_sub(1));
            event
        };
        self.lifecycle.open().map(numbered).collect()
    }

    /// Counts for metrics.
    pub fn stats(&self) -> DetectorStats {
        self.detector.stats()
    }

    /// All that it will do depends on, versioned.
    ///
    /// # Errors
    ///
    /// As [`Detector::snapshot`].
    pub fn snapshot(&self) -> Result<Vec<u8>, DetectorError> {
        let mut out = Writer::new(KIND);
        out.block(&self.detector.snapshot()?);
        out.block(&self.buffer.snapshot()?);
        out.block(&self.lifecycle.snapshot());
        out.varint(self.told.len() as u64);
        for (id, told) in &self.told {
            out.text(id);
            out.varint(u64::from(*told));
        }
        Ok(out.finish())
    }

    /// Goes on from a snapshot. Parameters may have changed since. On error it is as it was.
    ///
    /// # Errors
    ///
    /// [`DetectorError::Kind`] if the snapshot is of another kind of detector; others if the bytes
    /// are damaged or of another window length.
    pub fn restore(&mut self, bytes: &[u8]) -> Result<(), DetectorError> {
        let mut input = Reader::new(KIND, bytes)?;
        let (detector, windows, open) = (input.block()?, input.block()?, input.block()?);
        let mut told = BTreeMap::new();
        for _ in 0..input.count(2)? {
            let id = input.text()?;
            told.insert(id, input.u32()?);
        }
        input.finish()?;
        let (mut buffer, mut lifecycle) = (self.buffer.clone(), self.lifecycle.clone());
        buffer.restore(windows)?;
        lifecycle.restore(open)?;
        self.detector.restore(detector)?;
        (self.buffer, self.lifecycle, self.told) = (buffer, lifecycle, told);
        Ok(())
    }
}
