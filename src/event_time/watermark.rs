//! How far event time has come, by partition and over all of them.

use std::collections::BTreeMap;

/// How watermarks are derived from the event times that partitions report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WatermarkOptions {
    /// How far behind the newest event the watermark stays, in microseconds (>= 0): the lateness
    /// that is waited for.
    pub delay_us: i64,
    /// After how many milliseconds without input a partition stops holding the watermark back.
    /// `None`: never.
    pub idle_timeout_ms: Option<u64>,
    /// When every partition is idle, let the watermark go on with the wall clock, so that the last
    /// windows close without more input.
    pub advance_when_idle: bool,
}

/// Progress of one partition, for metrics and status pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionProgress {
    /// Newest event time seen, in microseconds. `None`: nothing with an event time yet.
    pub max_event_time: Option<i64>,
    /// No input for the idle timeout: left out of the pipeline's watermark.
    pub idle: bool,
    /// A bounded partition that has been read to its end.
    pub finished: bool,
}

#[derive(Debug, Clone)]
struct Partition {
    max_event_time: Option<i64>,
    /// Wall clock when `max_event_time` last grew.
    advanced_at_ms: i64,
    /// Wall clock when the partition last gave any input, or was added.
    active_at_ms: i64,
    finished: bool,
}

/// The watermark of a pipeline: the minimum over its partitions that are not idle of (newest event
/// time - delay). It never goes back.
///
/// One watermark over all partitions together would drop what the slower ones still hold: during
/// catch-up partitions are minutes of event time apart. So each keeps its own maximum, and a
/// partition that has not reported yet holds the watermark until it does or is idle.
///
/// `P` identifies a partition. The wall clock (`now_ms`, milliseconds) comes from the caller and
/// may stand still or jump back; it only decides about idleness.
#[derive(Debug, Clone)]
pub struct WatermarkTracker<P> {
    options: WatermarkOptions,
    partitions: BTreeMap<P, Partition>,
    watermark: Option<i64>,
}

impl<P: Ord + Clone> WatermarkTracker<P> {
    /// A tracker without partitions; its watermark is unset until they report.
    pub fn new(options: WatermarkOptions) -> Self {
        Self { options, partitions: BTreeMap::new(), watermark: None }
    }

    /// Sets the watermark that a checkpoint recorded: the tracker will not fall below it.
    pub fn restore_watermark(&mut self, watermark: Option<i64>) {
        self.watermark = self.watermark.max(watermark);
    }

    /// Adds a partition, with the newest event time that a checkpoint recorded for it, if any. One
    /// that is already known keeps the newer of the two. It counts as active now.
    pub fn add(&mut self, partition: P, max_event_time: Option<i64>, now_ms: i64) {
        let entry = self.partitions.entry(partition).or_insert(Partition {
            max_event_time: None,
            advanced_at_ms: now_ms,
            active_at_ms: now_ms,
            finished: false,
        });
        entry.max_event_time = entry.max_event_time.max(max_event_time);
        entry.active_at_ms = now_ms;
        entry.advanced_at_ms = now_ms;
    }

    /// Forgets a partition (revoked, deleted): it no longer holds the watermark back.
    pub fn remove(&mut self, partition: &P) {
        self.partitions.remove(partition);
    }

    /// A partition gave input whose newest event time is `max_event_time`; `None` if no row had
    /// one. An unknown partition is added.
    pub fn observe(&mut self, partition: &P, max_event_time: Option<i64>, now_ms: i64) {
        let Some(entry) = self.partitions.get_mut(partition) else {
            self.add(partition.clone(), max_event_time, now_ms);
            return;
        };
        entry.active_at_ms = now_ms;
        if max_event_time > entry.max_event_time {
            entry.max_event_time = max_event_time;
            entry.advanced_at_ms = now_ms;
        }
    }

    /// A bounded partition has been read to its end and will give nothing more.
    pub fn finish(&mut self, partition: &P) {
        if let Some(entry) = self.partitions.get_mut(partition) {
            entry.finished = true;
        }
    }

    /// The watermark as of `now_ms`, in microseconds: no event older than it is waited for. `None`
    /// until every partition has reported or is idle. `i64::MAX` once all partitions are finished.
    pub fn advance(&mut self, now_ms: i64) -> Option<i64> {
        self.watermark = self.watermark.max(self.candidate(now_ms));
        self.watermark
    }

    /// The watermark of the last [`advance`](Self::advance).
    pub fn watermark(&self) -> Option<i64> {
        self.watermark
    }

    /// Newest event time of any partition, in microseconds.
    pub fn max_event_time(&self) -> Option<i64> {
        self.partitions.values().filter_map(|entry| entry.max_event_time).max()
    }

    /// Every partition with its progress as of `now_ms`.
    pub fn partitions(&self, now_ms: i64) -> impl Iterator<Item = (&P, PartitionProgress)> {
        self.partitions.iter().map(move |(partition, entry)| {
            let progress = PartitionProgress {
                max_event_time: entry.max_event_time,
                idle: self.is_idle(entry, now_ms),
                finished: entry.finished,
            };
            (partition, progress)
        })
    }

    fn is_idle(&self, entry: &Partition, now_ms: i64) -> bool {
        let Some(timeout) = self.options.idle_timeout_ms else { return false };
        let silent_ms = now_ms.saturating_sub(entry.active_at_ms);
        u64::try_from(silent_ms).is_ok_and(|silent_ms| silent_ms >= timeout)
    }

    /// What the partitions allow, before "never back".
    fn candidate(&self, now_ms: i64) -> Option<i64> {
        if self.partitions.is_empty() {
            return None;
        }
        if self.partitions.values().all(|entry| entry.finished) {
            return Some(i64::MAX);
        }
        let mut lowest: Option<i64> = None;
        let mut any_active = false;
        for entry in self.partitions.values() {
            if entry.finished || self.is_idle(entry, now_ms) {
                continue;
            }
            any_active = true;
            // An active partition that has no event time yet holds everything.
            let own = entry.max_event_time?;
            lowest = Some(lowest.map_or(own, |lowest| lowest.min(own)));
        }
        if any_active {
            return lowest.map(|lowest| lowest.saturating_sub(self.options.delay_us));
        }
        if self.options.advance_when_idle { self.extrapolated(now_ms) } else { None }
    }

    /// Everything is idle: event time is taken to run on with the wall clock from where the most
    /// advanced partition left it.
    fn extrapolated(&self, now_ms: i64) -> Option<i64> {
        self.partitions
            .values()
            .filter_map(|entry| {
                let silent_ms = now_ms.saturating_sub(entry.advanced_at_ms).max(0);
                let silent_us = silent_ms.saturating_mul(1_000);
                Some(entry.max_event_time?.saturating_add(silent_us))
            })
            .max()
            .map(|newest| newest.saturating_sub(self.options.delay_us))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const S: i64 = 1_000_000;

    fn tracker(idle_ms: Option<u64>, advance: bool) -> WatermarkTracker<u8> {
        WatermarkTracker::new(WatermarkOptions {
            delay_us: 10 * S,
            idle_timeout_ms: idle_ms,
            advance_when_idle: advance,
        })
    }

    #[test]
    fn the_slowest_partition_decides() {
        let mut tracker = tracker(None, false);
        tracker.add(0, None, 0);
        tracker.add(1, None, 0);
        tracker.observe(&0, Some(100 * S), 0);
        assert_eq!(tracker.advance(0), None, "partition 1 has not reported");
        tracker.observe(&1, Some(50 * S), 0);
        assert_eq!(tracker.advance(0), Some(40 * S));
        tracker.observe(&1, Some(500 * S), 0);
        assert_eq!(tracker.advance(0), Some(90 * S));
        // older events change nothing
        tracker.observe(&0, Some(1), 0);
        assert_eq!(tracker.advance(0), Some(90 * S));
    }

    #[test]
    fn a_new_partition_holds_until_it_reports_or_is_idle() {
        let mut tracker = tracker(Some(1_000), false);
        tracker.observe(&0, Some(100 * S), 0);
        assert_eq!(tracker.advance(0), Some(90 * S));
        tracker.add(1, None, 0);
        tracker.observe(&0, Some(200 * S), 999);
        assert_eq!(tracker.advance(999), Some(90 * S));
        assert_eq!(tracker.advance(1_000), Some(190 * S), "partition 1 is idle");
        tracker.observe(&1, Some(20 * S), 1_100);
        tracker.observe(&0, Some(300 * S), 1_100);
        assert_eq!(tracker.advance(1_100), Some(190 * S), "back, but the watermark is not");
        tracker.remove(&1);
        assert_eq!(tracker.advance(1_100), Some(290 * S));
    }

    #[test]
    fn all_idle_stands_still_or_follows_the_wall_clock() {
        let mut still = tracker(Some(1_000), false);
        still.observe(&0, Some(100 * S), 0);
        still.observe(&1, Some(80 * S), 0);
        assert_eq!(still.advance(0), Some(70 * S));
        assert_eq!(still.advance(60_000), Some(70 * S));
        let mut moving = tracker(Some(1_000), true);
        moving.observe(&0, Some(100 * S), 0);
        moving.observe(&1, Some(80 * S), 0);
        assert_eq!(moving.advance(999), Some(70 * S));
        assert_eq!(moving.advance(60_000), Some(150 * S));
        assert_eq!(moving.advance(10), Some(150 * S), "a clock that jumps back moves nothing");
    }

    #[test]
    fn restored_progress_counts() {
        let mut tracker = tracker(None, false);
        tracker.restore_watermark(Some(55 * S));
        tracker.add(0, Some(60 * S), 0);
        assert_eq!(tracker.advance(0), Some(55 * S));
        tracker.add(0, Some(70 * S), 0);
        assert_eq!(tracker.advance(0), Some(60 * S));
    }

    #[test]
    fn the_end_of_all_input_is_infinity() {
        let mut tracker = tracker(None, false);
        tracker.observe(&0, Some(100 * S), 0);
        tracker.observe(&1, Some(50 * S), 0);
        tracker.finish(&1);
        assert_eq!(tracker.advance(0), Some(90 * S));
        tracker.finish(&0);
        assert_eq!(tracker.advance(0), Some(i64::MAX));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Observe(u8, Option<i64>),
        Add(u8),
        Remove(u8),
        Wait(i64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            (0..4u8, proptest::option::of(-100..1000i64)).prop_map(|(p, t)| Step::Observe(p, t)),
            (0..4u8).prop_map(Step::Add),
            (0..4u8).prop_map(Step::Remove),
            (0..2000i64).prop_map(Step::Wait),
        ];
        proptest::collection::vec(step, 0..60)
    }

    proptest! {
        /// Against a model that keeps every event and recomputes from scratch.
        #[test]
        fn equals_a_recomputation(steps in steps(), idle in proptest::option::of(1..1500u64)) {
            let mut tracker = WatermarkTracker::new(WatermarkOptions {
                delay_us: 7, idle_timeout_ms: idle, advance_when_idle: false,
            });
            let mut history: BTreeMap<u8, (Vec<i64>, i64)> = BTreeMap::new();
            let mut now = 0;
            let mut model: Option<i64> = None;
            for step in steps {
                match step {
                    Step::Observe(p, t) => {
                        tracker.observe(&p, t, now);
                        let entry = history.entry(p).or_default();
                        entry.0.extend(t);
                        entry.1 = now;
                    }
                    Step::Add(p) => {
                        tracker.add(p, None, now);
                        history.entry(p).or_default().1 = now;
                    }
                    Step::Remove(p) => {
                        tracker.remove(&p);
                        history.remove(&p);
                    }
                    Step::Wait(ms) => now += ms,
                }
                let active: Vec<Option<i64>> = history
                    .values()
                    .filter(|(_, at)| idle.is_none_or(|idle| now - at < idle as i64))
                    .map(|(events, _)| events.iter().max().copied())
                    .collect();
                let candidate = if active.is_empty() || active.contains(&None) {
                    None
                } else {
                    active.iter().flatten().min().map(|lowest| lowest - 7)
                };
                model = model.max(candidate);
                prop_assert_eq!(tracker.advance(now), model);
            }
        }
    }
}
