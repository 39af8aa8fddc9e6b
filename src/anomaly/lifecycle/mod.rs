//! From windows out of line to anomalies that begin, become worse and end.
//!
//! A detector judges window by window; somebody who is woken at night wants one message when it
//! begins and one when it is over. A series that is out of line for `open_after` windows in a row
//! opens an anomaly; while it lasts, every further window out of line belongs to it. It closes
//! after `clear_after` clean windows. A window inside the band, but near the edge that the
//! series had crossed, is neither: it does not count as clean, so that a value that wavers around
//! the edge makes one anomaly and not ten (hysteresis, as in a Schmitt trigger). A series that has
//! no value in a window is clean there. What is near the edge for long is the new usual, and
//! closes all the same.
//!
//! Between the two, an event comes only when the severity rises, which it can twice, and every
//! `update_every` windows. An anomaly's severity never falls while it is open.
//!
//! No clock, no randomness: the same judgements give the same events. The state is one entry an
//! open anomaly; a series has at most one.

mod event;

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::DateTime;

pub use event::{AnomalyEvent, EventKind, anomaly_schema, to_batch};

use super::state::{Reader, Writer};
use super::words::lasting;
use super::{Band, DetectorError, Judgement, Severity};

/// Name of the lifecycle's bytes.
const KIND: &str = "lifecycle";

/// Part of the way from the expected value to the edge from which a value is near the edge.
const NEAR: f64 = 0.8;

/// Windows near the edge after which an anomaly closes, as a multiple of `clear_after`.
const NEAR_PATIENCE: u32 = 5;

/// When anomalies open, speak and close.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Windows in a row out of line before an anomaly opens; at least 1.
    pub open_after: u32,
    /// Clean windows before it closes; at least 1.
    pub clear_after: u32,
    /// Windows out of line between two updates; 0: none but for the severity.
    pub update_every: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Policy { open_after: 1, clear_after: 3, update_every: 10 }
    }
}

/// An anomaly that is open, or about to be.
#[derive(Debug, Clone, PartialEq)]
struct Open {
    started: i64,
    window: (i64, i64),
    windows: u64,
    /// It has lasted for `open_after` windows, and everybody knows.
    told: bool,
    /// Clean windows in a row.
    clean: u32,
    /// Windows in a row near the edge.
    near: u32,
    /// Windows out of line since the last event.
    silent: u32,
    value: f64,
    band: Band,
    score: f64,
    peak_value: f64,
    peak_score: f64,
    severity: Severity,
    /// The detector's words on the worst window.
    words: String,
}

/// The open anomalies of one detector.
#[derive(Debug, Clone, PartialEq)]
pub struct Lifecycle {
    detector: Arc<str>,
    kind: &'static str,
    policy: Policy,
    open: BTreeMap<Arc<str>, Open>,
}

impl Lifecycle {
    /// For the detector of this name and kind, without open anomalies.
    pub fn new(detector: &str, kind: &'static str, policy: Policy) -> Self {
        let policy = Policy {
            open_after: policy.open_after.max(1),
            clear_after: policy.clear_after.max(1),
            ..policy
        };
        Lifecycle { detector: Arc::from(detector), kind, policy, open: BTreeMap::new() }
    }

    /// Takes in what the detector made of a window, `judgements` sorted by key. Windows come in the
    /// order of time. The events come sorted by key, at most one a series; their `sequence` is
    /// left at 0, because only who passes them on knows how many there were.
    pub fn step(&mut self, window: (i64, i64), judgements: &[Judgement]) -> Vec<AnomalyEvent> {
        let mut events = Vec::new();
        for judgement in judgements {
            let key = &judgement.key;
            if judgement.outside || judgement.anomaly.is_some() {
                let open = self.open.entry(key.clone()).or_insert_with(|| Open::new(window.0));
                if let Some(event) = open.outside(window, judgement, &self.policy) {
                    events.push(self.event(key, event));
                }
            } else if let Some(open) = self.open.get_mut(key) {
                let near = judgement.band.is_some_and(|band| open.is_near(judgement.value, band));
                if open.inside(near, &self.policy) {
                    events.extend(self.close(&key.clone()));
                }
            }
        }
        let absent: Vec<Arc<str>> = self
            .open
            .keys()
            .filter(|key| judgements.binary_search_by(|j| j.key.cmp(key)).is_err())
            .cloned()
            .collect();
        for key in absent {
            let over = self.open.get_mut(&key).is_some_and(|open| open.inside(false, &self.policy));
            if over {
                events.extend(self.close(&key));
            }
        }
        events.sort_by(|a, b| a.key.cmp(&b.key));
        events
    }

    fn close(&mut self, key: &Arc<str>) -> Option<AnomalyEvent> {
        let told = self.open.get(key)?.told;
        let event = told.then(|| self.event(key, EventKind::Closed));
        self.open.remove(key);
        event
    }

    /// The anomalies that are open, sorted by series, each as an event that says so.
    pub fn open(&self) -> impl Iterator<Item = AnomalyEvent> {
        let told = self.open.iter().filter(|(_, open)| open.told);
        told.map(|(key, _)| self.event(key, EventKind::Updated))
    }

    fn event(&self, key: &Arc<str>, event: EventKind) -> AnomalyEvent {
        let blank = || Open::new(0);
        // Called with keys of the map alone.
        let open = self.open.get(key).cloned().unwrap_or_else(blank);
        let mut reason = open.words;
        if open.windows > 1 {
            let duration = open.window.1.saturating_sub(open.started);
            reason.push_str(&format!(", for {}", lasting(duration)));
        }
        if event == EventKind::Closed {
            reason.push_str("; over");
        }
        AnomalyEvent {
            id: id(&self.detector, key, open.started),
            sequence: 0,
            event,
            corrected: false,
            detector: self.detector.clone(),
            kind: self.kind,
            key: key.clone(),
            window_start: open.window.0,
            window_end: open.window.1,
            value: open.value,
            expected: open.band.expected,
            lower: open.band.lower,
            upper: open.band.upper,
            score: open.score,
            severity: open.severity,
            started_at: open.started,
            ended_at: (event == EventKind::Closed).then_some(open.window.1),
            windows: open.windows,
            peak_value: open.peak_value,
            peak_score: open.peak_score,
            reason,
        }
    }

    /// All that the next [`step`](Self::step) depends on, versioned.
    pub fn snapshot(&self) -> Vec<u8> {
        let mut out = Writer::new(KIND);
        out.varint(self.open.len() as u64);
        for (key, open) in &self.open {
            out.text(key);
            open.write(&mut out);
        }
        out.finish()
    }

    /// Replaces the open anomalies by those of a snapshot. On error they are as they were.
    ///
    /// # Errors
    ///
    /// [`DetectorError`] if the bytes are damaged or not a lifecycle's.
    pub fn restore(&mut self, bytes: &[u8]) -> Result<(), DetectorError> {
        let mut input = Reader::new(KIND, bytes)?;
        let mut open = BTreeMap::new();
        // A key's length, two times and the numbers.
        for _ in 0..input.count(80)? {
            let key = input.text()?;
            open.insert(key, Open::read(&mut input)?);
        }
        input.finish()?;
        self.open = open;
        Ok(())
    }
}

impl Open {
    fn new(started: i64) -> Self {
        Open {
            started,
            window: (started, started),
            windows: 0,
            told: false,
            clean: 0,
            near: 0,
            silent: 0,
            value: 0.0,
            band: Band { expected: 0.0, lower: 0.0, upper: 0.0 },
            score: 0.0,
            peak_value: 0.0,
            peak_score: 0.0,
            severity: Severity::Info,
            words: String::new(),
        }
    }

    /// A window out of line; gives what is to be said.
    fn outside(
        &mut self,
        window: (i64, i64),
        judgement: &Judgement,
        policy: &Policy,
    ) -> Option<EventKind> {
        self.window = window;
        self.windows = self.windows.saturating_add(1);
        (self.clean, self.near) = (0, 0);
        self.silent = self.silent.saturating_add(1);
        self.value = judgement.value;
        self.band = judgement.band.unwrap_or(self.band);
        self.score = judgement.score;
        let mut worse = false;
        if let Some(anomaly) = &judgement.anomaly {
            self.score = anomaly.score;
            self.band =
                Band { expected: anomaly.expected, lower: anomaly.lower, upper: anomaly.upper };
            worse = anomaly.severity > self.severity;
            self.severity = self.severity.max(anomaly.severity);
            if self.words.is_empty() || anomaly.score > self.peak_score {
                self.words.clone_from(&anomaly.reason);
            }
        }
        if self.windows == 1 || self.score > self.peak_score {
            (self.peak_value, self.peak_score) = (self.value, self.score);
        }
        let event = if !self.told {
            (self.windows >= u64::from(policy.open_after)).then_some(EventKind::Opened)
        } else if worse || policy.update_every > 0 && self.silent >= policy.update_every {
            Some(EventKind::Updated)
        } else {
            None
        };
        if event.is_some() {
            self.told = true;
            self.silent = 0;
        }
        event
    }

    /// A window in line; gives whether the anomaly is over.
    fn inside(&mut self, near: bool, policy: &Policy) -> bool {
        if near {
            self.near = self.near.saturating_add(1);
        } else {
            self.clean = self.clean.saturating_add(1);
        }
        // Before it is told it has to be out of line in every window.
        !self.told
            || self.clean >= policy.clear_after
            || self.near >= policy.clear_after.saturating_mul(NEAR_PATIENCE)
    }

    /// Whether a value inside the band is near the edge that was crossed.
    fn is_near(&self, value: f64, band: Band) -> bool {
        let above = self.value >= self.band.expected;
        let edge = if above { band.upper } else { band.lower };
        let reach = edge - band.expected;
        reach != 0.0 && (value - band.expected) / reach > NEAR
    }

    fn write(&self, out: &mut Writer) {
        out.i64(self.started);
        out.i64(self.window.0);
        out.i64(self.window.1);
        out.varint(self.windows);
        out.u8(u8::from(self.told));
        out.varint(u64::from(self.clean));
        out.varint(u64::from(self.near));
        out.varint(u64::from(self.silent));
        for number in [
            self.value,
            self.band.expected,
            self.band.lower,
            self.band.upper,
            self.score,
            self.peak_value,
            self.peak_score,
        ] {
            out.f64(number);
        }
        out.u8(self.severity as u8);
        out.text(&self.words);
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, DetectorError> {
        let started = input.i64()?;
        let window = (input.i64()?, input.i64()?);
        let windows = input.varint()?;
        let told = input.u8()? != 0;
        let (clean, near, silent) = (input.u32()?, input.u32()?, input.u32()?);
        let value = input.f64()?;
        let band = Band { expected: input.f64()?, lower: input.f64()?, upper: input.f64()? };
        let (score, peak_value, peak_score) = (input.f64()?, input.f64()?, input.f64()?);
        let severity = match input.u8()? {
            0 => Severity::Info,
            1 => Severity::Warning,
            2 => Severity::Critical,
            _ => return Err(input.corrupt("an unknown severity")),
        };
        let words = input.text()?.to_string();
        Ok(Open {
            started,
            window,
            windows,
            told,
            clean,
            near,
            silent,
            value,
            band,
            score,
            peak_value,
            peak_score,
            severity,
            words,
        })
    }
}

/// The name of the anomaly of a series that began then.
fn id(detector: &str, key: &str, started: i64) -> Arc<str> {
    let time = match DateTime::from_timestamp_micros(started) {
        Some(time) => time.format("%Y%m%dT%H%M%S%.fZ").to_string(),
        None => started.to_string(),
    };
    Arc::from(format!("{detector}:{time}:{:016x}", fnv1a(key.as_bytes())))
}

/// FNV-1a, 64 bits (G. Fowler, L. Noll, K.-P. Vo): short, and the same for ever, which the standard
/// library's hashes do not promise.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests;
