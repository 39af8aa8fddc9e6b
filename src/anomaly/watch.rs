//! A detector at work: values in any order in, anomalies with a beginning and an end out.
//!
//! ```text
//! values ─ WindowBuffer ─ closed windows ─> Detector::judge ─> Lifecycle::step ─> events
//! ```
//!
//! The daemon's actor, `millpond detect` and the tests all run this, so that a replay over history
//! gives what was given live.
//!
//! # Windows that late data changes
//!
//! A query in append mode gives a window when the watermark has passed it; nothing changes it after
//! that, and it is judged once. A query in update mode gives what there is so far, again and again
//! until the watermark passes. Waiting for the watermark would make detection as slow as the latest
//! row that is waited for; so such a window is judged when event time has passed its end, the
//! watermark's delay before it is final (`settle_us`), and once more whenever it has changed by
//! then. For that the detector's state behind the last *final* window is kept, with the windows
//! since. If one of them changes, they are judged again from that state, and what has been told
//! and is not so any more is told anew ([`AnomalyEvent::corrected`]): an anomaly is withdrawn
//! (closed), opened, reopened, or updated.
//!
//! What is final is the same whatever came when: the state behind final windows depends on their
//! final values alone, and what has been told of them agrees with it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::lifecycle::{AnomalyEvent, EventKind, Lifecycle, Policy};
use super::state::{Reader, Writer};
use super::{
    Detector, DetectorError, DetectorSpec, DetectorStats, Judgement, OwnedWindow, Pushed, Read,
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
    /// Those judged for the first time, in the order of time.
    pub windows: Vec<Judged>,
    /// Corrections first; then in the order of time and, within a window, of keys.
    pub events: Vec<AnomalyEvent>,
    /// Windows judged again because late data had changed them.
    pub rescored: u64,
}

/// A detector and its open anomalies, behind some window.
struct Stage {
    detector: Box<dyn Detector>,
    lifecycle: Lifecycle,
}

impl Stage {
    fn judge(&mut self, window: &OwnedWindow) -> (Judged, Vec<AnomalyEvent>) {
        let (start, end) = (window.start, window.end);
        let judgements = self.detector.judge(&window.as_slice());
        let events = self.lifecycle.step((start, end), &judgements);
        (Judged { start, end, judgements }, events)
    }
}

/// The windows after the last final one, as they were when they were judged.
struct Ahead {
    stage: Stage,
    windows: Vec<OwnedWindow>,
    /// Events of those windows as they stand, each with the start of the window that made it.
    events: Vec<(i64, AnomalyEvent)>,
}

/// See the module.
pub struct Watch {
    name: Arc<str>,
    spec: DetectorSpec,
    settle_us: i64,
    /// Behind the last final window.
    last: Stage,
    ahead: Option<Ahead>,
    buffer: WindowBuffer,
    /// Of each anomaly that is open or may yet be corrected: events that it has had, and when it
    /// began.
    told: BTreeMap<Arc<str>, (u32, i64)>,
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
            name: Arc::from(name),
            spec: spec.clone(),
            settle_us: 0,
            last: Stage { lifecycle: Lifecycle::new(name, detector.kind(), policy), detector },
            ahead: None,
            buffer: WindowBuffer::new(window_us, spec.combine(), max_values)?,
            told: BTreeMap::new(),
        })
    }

    /// For a query that gives changed rows again: windows are judged `settle_us` microseconds
    /// before they are final. Values then go in by rows.
    pub fn settling(mut self, settle_us: i64) -> Self {
        self.settle_us = settle_us.max(0);
        self
    }

    /// Takes in what a [`SeriesReader`](super::SeriesReader) has read, in any order.
    pub fn take_in(&mut self, read: Read) -> Pushed {
        if read.rows.is_empty() {
            return self.buffer.push(read.items);
        }
        let items = read.items.into_iter().zip(read.rows);
        self.buffer.replace(items.map(|((start, value), row)| (start, row, value)))
    }

    /// Takes in (window start, value) items in any order.
    pub fn push(&mut self, items: impl IntoIterator<Item = (i64, SeriesValue)>) -> Pushed {
        self.buffer.push(items)
    }

    /// Judges the windows that end at or before `up_to` (microseconds since the Unix epoch; what all
    /// inputs have passed; `i64::MAX` at the end of the input), which are final.
    ///
    /// With [`settling`](Self::settling) also those that end by `settle_us` after; it must then be
    /// called where the inputs agree on what has come, which is at a barrier.
    ///
    /// # Errors
    ///
    /// As [`Detector::snapshot`] and [`Detector::restore`]; none without `settling`.
    pub fn advance(&mut self, up_to: i64) -> Result<Outcome, DetectorError> {
        let mut outcome = Outcome::default();
        let last = self.buffer.ready(up_to);
        if self.settle_us == 0 {
            for window in &last {
                self.judge_final(window, &mut outcome);
            }
            return Ok(outcome);
        }
        let early = self.buffer.ahead(up_to.saturating_add(self.settle_us));
        let now: Vec<OwnedWindow> = last.iter().cloned().chain(early).collect();
        let judged = self.ahead.as_ref().map_or(&[][..], |ahead| &ahead.windows);
        let same = judged.iter().zip(&now).take_while(|(judged, now)| judged == now).count();
        if same < judged.len() {
            outcome.rescored = (judged.len() - same) as u64;
            outcome.events = self.correct(&now)?;
        }
        self.judge_ahead(&now, &mut outcome)?;
        self.make_final(&last)?;
        Ok(outcome)
    }

    /// Judges a window that is complete and final, past the buffer: for history whose times lie
    /// as they come. Windows come in the order of time.
    pub fn take(&mut self, window: &OwnedWindow) -> Outcome {
        let mut outcome = Outcome::default();
        self.judge_final(window, &mut outcome);
        outcome
    }

    fn judge_final(&mut self, window: &OwnedWindow, outcome: &mut Outcome) {
        let (judged, events) = self.last.judge(window);
        for mut event in events {
            event.sequence = self.number(&event);
            if !event.is_open() {
                self.told.remove(&event.id);
            }
            outcome.events.push(event);
        }
        outcome.windows.push(judged);
    }

    /// The next number of an anomaly's events.
    fn number(&mut self, event: &AnomalyEvent) -> u32 {
        let (told, _) = self.told.entry(event.id.clone()).or_insert((0, event.started_at));
        let sequence = *told;
        *told = told.saturating_add(1);
        sequence
    }

    /// The same detector in the same state as behind the last final window.
    fn copy_of_last(&self) -> Result<Stage, DetectorError> {
        let mut detector = build(&self.name, &self.spec);
        detector.restore(&self.last.detector.snapshot()?)?;
        Ok(Stage { detector, lifecycle: self.last.lifecycle.clone() })
    }

    /// Judges those of `now` that have not been judged.
    fn judge_ahead(
        &mut self,
        now: &[OwnedWindow],
        outcome: &mut Outcome,
    ) -> Result<(), DetectorError> {
        let mut ahead = match self.ahead.take() {
            Some(ahead) => ahead,
            None => {
                let stage = self.copy_of_last()?;
                Ahead { stage, windows: Vec::new(), events: Vec::new() }
            }
        };
        for window in now.get(ahead.windows.len()..).unwrap_or_default() {
            let (judged, events) = ahead.stage.judge(window);
            outcome.windows.push(judged);
            for mut event in events {
                event.sequence = self.number(&event);
                outcome.events.push(event.clone());
                ahead.events.push((window.start, event));
            }
            ahead.windows.push(window.clone());
        }
        self.ahead = Some(ahead);
        Ok(())
    }

    /// Judges again what had been judged and has changed; gives what has to be told of it.
    fn correct(&mut self, now: &[OwnedWindow]) -> Result<Vec<AnomalyEvent>, DetectorError> {
        let Some(before) = self.ahead.take() else { return Ok(Vec::new()) };
        let mut stage = self.copy_of_last()?;
        let windows: Vec<OwnedWindow> = now.iter().take(before.windows.len()).cloned().collect();
        let mut events = Vec::new();
        for window in &windows {
            let made = stage.judge(window).1;
            events.extend(made.into_iter().map(|event| (window.start, event)));
        }
        let said = by_anomaly(&before.events);
        let made = by_anomaly(&events);
        let open_before: BTreeMap<Arc<str>, AnomalyEvent> =
            self.last.lifecycle.open().map(|event| (event.id.clone(), event)).collect();
        let open_now: BTreeMap<Arc<str>, AnomalyEvent> =
            stage.lifecycle.open().map(|event| (event.id.clone(), event)).collect();
        let mut corrections = Vec::new();
        let ids: BTreeSet<&Arc<str>> = said.keys().chain(made.keys()).copied().collect();
        for id in ids {
            let correction = match (said.get(id), made.get(id)) {
                (Some(said), Some(made)) if same(said, made) => None,
                (_, Some(made)) => {
                    let known = said.contains_key(id) || open_before.contains_key(id);
                    let event = match made.event {
                        EventKind::Closed => EventKind::Closed,
                        _ if known => EventKind::Updated,
                        _ => EventKind::Opened,
                    };
                    // One that nobody has heard of, and that is over: both are told.
                    if event == EventKind::Closed && !known {
                        let open = EventKind::Opened;
                        corrections.push(AnomalyEvent {
                            event: open,
                            ended_at: None,
                            ..(*made).clone()
                        });
                    }
                    Some(AnomalyEvent { event, ..(*made).clone() })
                }
                // It was open before and is as it was then.
                (Some(_), None) if open_now.contains_key(id) => open_now.get(id).cloned(),
                (Some(said), None) => {
                    let reason = format!("{}; withdrawn, late data has changed it", said.reason);
                    let (event, ended_at) = (EventKind::Closed, Some(said.window_end));
                    Some(AnomalyEvent { event, ended_at, reason, ..(*said).clone() })
                }
                (None, None) => None,
            };
            corrections.extend(correction);
        }
        for correction in &mut corrections {
            correction.corrected = true;
            correction.sequence = self.number(correction);
        }
        corrections.sort_by(|a, b| {
            (a.started_at, &a.key, a.sequence).cmp(&(b.started_at, &b.key, b.sequence))
        });
        self.ahead = Some(Ahead { stage, windows, events });
        Ok(corrections)
    }

    /// Windows that will not change any more. They have been told as they are.
    fn make_final(&mut self, last: &[OwnedWindow]) -> Result<(), DetectorError> {
        let Some(ahead) = &mut self.ahead else { return Ok(()) };
        ahead.windows.drain(..last.len().min(ahead.windows.len()));
        if let Some(window) = last.last() {
            ahead.events.retain(|(start, _)| *start > window.start);
        }
        if ahead.windows.is_empty() {
            // All of it is final, so this is the state behind the last final window.
            if let Some(Ahead { stage, .. }) = self.ahead.take() {
                self.last = stage;
            }
        } else {
            for window in last {
                // Nothing is new in it.
                self.last.judge(window);
            }
        }
        let mut kept: BTreeSet<Arc<str>> = self.last.lifecycle.open().map(|e| e.id).collect();
        if let Some(ahead) = &self.ahead {
            kept.extend(ahead.stage.lifecycle.open().map(|event| event.id));
            kept.extend(ahead.events.iter().map(|(_, event)| event.id.clone()));
        }
        // One that was withdrawn may come back for as long as its first window may change.
        let settled = last.last().map(|window| window.start);
        self.told.retain(|id, (_, began)| {
            kept.contains(id) || settled.is_none_or(|settled| *began > settled)
        });
        Ok(())
    }

    fn newest(&self) -> &Stage {
        self.ahead.as_ref().map_or(&self.last, |ahead| &ahead.stage)
    }

    /// The anomalies that are open, sorted by series.
    pub fn open(&self) -> Vec<AnomalyEvent> {
        let numbered = |mut event: AnomalyEvent| {
            event.sequence = self.told.get(&event.id).map_or(0, |(told, _)| told.saturating_sub(1));
            event
        };
        self.newest().lifecycle.open().map(numbered).collect()
    }

    /// Counts for metrics.
    pub fn stats(&self) -> DetectorStats {
        self.newest().detector.stats()
    }

    /// All that it will do depends on, versioned.
    ///
    /// # Errors
    ///
    /// As [`Detector::snapshot`].
    pub fn snapshot(&self) -> Result<Vec<u8>, DetectorError> {
        let mut out = Writer::new(KIND);
        out.block(&self.last.detector.snapshot()?);
        out.block(&self.buffer.snapshot()?);
        out.block(&self.last.lifecycle.snapshot());
        out.varint(self.told.len() as u64);
        for (id, (told, began)) in &self.told {
            out.text(id);
            out.varint(u64::from(*told));
            out.i64(*began);
        }
        let ahead = self.ahead.as_ref().map_or(&[][..], |ahead| &ahead.windows);
        out.varint(ahead.len() as u64);
        for window in ahead {
            out.i64(window.start);
            out.i64(window.end);
            out.varint(window.series.len() as u64);
            for series in &window.series {
                out.text(&series.key);
                out.bits(series.value);
                out.bits(series.weight);
            }
        }
        Ok(out.finish())
    }

    /// Goes on from a snapshot. Parameters may have changed since; windows that were judged and
    /// are not final are then as if they had been judged by the new ones. On error it is as it
    /// was.
    ///
    /// # Errors
    ///
    /// [`DetectorError::Kind`] if the snapshot is of another kind of detector; others if the bytes
    /// are damaged or of another window length.
    pub fn restore(&mut self, bytes: &[u8]) -> Result<(), DetectorError> {
        let mut input = Reader::new(KIND, bytes)?;
        let (state, windows, open) = (input.block()?, input.block()?, input.block()?);
        let mut told = BTreeMap::new();
        for _ in 0..input.count(10)? {
            let id = input.text()?;
            told.insert(id, (input.u32()?, input.i64()?));
        }
        let mut judged = Vec::new();
        for _ in 0..input.count(17)? {
            let (start, end) = (input.i64()?, input.i64()?);
            let mut series = Vec::new();
            for _ in 0..input.count(17)? {
                let key = input.text()?;
                series.push(SeriesValue { key, value: input.bits()?, weight: input.bits()? });
            }
            judged.push(OwnedWindow { start, end, series });
        }
        input.finish()?;
        let (mut buffer, mut lifecycle) = (self.buffer.clone(), self.last.lifecycle.clone());
        let mut detector = build(&self.name, &self.spec);
        detector.restore(state)?;
        buffer.restore(windows)?;
        lifecycle.restore(open)?;
        let last = Stage { detector, lifecycle };
        let before = std::mem::replace(&mut self.last, last);
        let ahead = match self.judged_again(judged) {
            Ok(ahead) => ahead,
            Err(error) => {
                self.last = before;
                return Err(error);
            }
        };
        (self.buffer, self.told, self.ahead) = (buffer, told, ahead);
        Ok(())
    }

    /// The windows of a snapshot that are not final, as they had been judged: their events are
    /// those that were told.
    fn judged_again(&self, windows: Vec<OwnedWindow>) -> Result<Option<Ahead>, DetectorError> {
        if windows.is_empty() || self.settle_us == 0 {
            return Ok(None);
        }
        let mut stage = self.copy_of_last()?;
        let mut events = Vec::new();
        for window in &windows {
            let made = stage.judge(window).1;
            events.extend(made.into_iter().map(|event| (window.start, event)));
        }
        Ok(Some(Ahead { stage, windows, events }))
    }
}

/// The last event of each anomaly.
fn by_anomaly(events: &[(i64, AnomalyEvent)]) -> BTreeMap<&Arc<str>, &AnomalyEvent> {
    events.iter().map(|(_, event)| (&event.id, event)).collect()
}

/// Whether two events leave an anomaly as the same.
fn same(one: &AnomalyEvent, other: &AnomalyEvent) -> bool {
    let state = |event: &AnomalyEvent| AnomalyEvent {
        sequence: 0,
        corrected: false,
        // An anomaly that was opened and one that was updated are both open.
        event: if event.is_open() { EventKind::Opened } else { EventKind::Closed },
        ..event.clone()
    };
    state(one) == state(other)
}
