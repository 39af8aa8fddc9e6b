//! Where a source and its partitions stand.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use super::history::{LetterNote, LetterReport, RecentLetters};
use super::rates::Rates;
use super::report::{EventTimeReport, PartitionReport, SourceReport};
use crate::telemetry::lock;
use crate::telemetry::time::{EventTime, Now};

/// A 64-bit number that may be absent, behind an atomic. `i64::MIN` is taken for absence: no
/// offset is negative, and no event of ours is 290,000 years before the epoch.
#[derive(Debug)]
pub(super) struct Maybe(AtomicI64);

impl Maybe {
    pub const fn none() -> Self {
        Self(AtomicI64::new(i64::MIN))
    }

    pub fn set(&self, value: i64) {
        self.0.store(value, Relaxed);
    }

    pub fn raise(&self, value: i64) {
        self.0.fetch_max(value, Relaxed);
    }

    pub fn clear(&self) {
        self.0.store(i64::MIN, Relaxed);
    }

    pub fn get(&self) -> Option<i64> {
        Some(self.0.load(Relaxed)).filter(|value| *value != i64::MIN)
    }

    pub fn time(&self) -> Option<EventTime> {
        self.get().map(EventTime)
    }
}

/// Counters of a source; its partitions add to them directly.
#[derive(Debug, Default)]
struct Totals {
    input_rows: AtomicU64,
    processed_rows: AtomicU64,
    bytes: AtomicU64,
    tombstones: AtomicU64,
}

impl Totals {
    fn rates(&self) -> [u64; 3] {
        [self.input_rows.load(Relaxed), self.processed_rows.load(Relaxed), self.bytes.load(Relaxed)]
    }
}

/// Where one source stands. Counters are since the daemon started and survive restarts of the
/// pipeline; records that a restart reads again count again.
#[derive(Debug)]
pub struct SourceProgress {
    name: Arc<str>,
    about: Mutex<About>,
    assigned: AtomicBool,
    totals: Arc<Totals>,
    rates: Rates<3>,
    dead_letters: Mutex<BTreeMap<&'static str, u64>>,
    partitions: Mutex<BTreeMap<Arc<str>, Arc<PartitionProgress>>>,
    letters: RecentLetters,
}

#[derive(Debug, Default)]
struct About {
    kind: Arc<str>,
    description: Arc<str>,
}

impl SourceProgress {
    pub(super) fn new(name: &str, now: Now) -> Self {
        Self {
            name: name.into(),
            about: Mutex::default(),
            assigned: AtomicBool::new(false),
            totals: Arc::default(),
            rates: Rates::new(now.instant),
            dead_letters: Mutex::default(),
            partitions: Mutex::default(),
            letters: RecentLetters::default(),
        }
    }

    /// The source's name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// What kind of source it is (`kafka`) and what it reads, for people.
    pub fn describe(&self, kind: &str, description: &str) {
        *lock(&self.about) = About { kind: kind.into(), description: description.into() };
    }

    /// The source has been given its partitions (none, if the group has more members than
    /// partitions): it is connected and at work.
    pub fn assigned(&self) {
        self.assigned.store(true, Relaxed);
    }

    /// The source lost its connection or its place in the group.
    pub fn unassigned(&self) {
        self.assigned.store(false, Relaxed);
    }

    pub(super) fn is_assigned(&self) -> bool {
        self.assigned.load(Relaxed)
    }

    /// The partition of this name, added if it is new. Keep the handle: this takes a lock.
    pub fn partition(&self, name: &str) -> Arc<PartitionProgress> {
        let mut partitions = lock(&self.partitions);
        if let Some(partition) = partitions.get(name) {
            return Arc::clone(partition);
        }
        let name: Arc<str> = name.into();
        let partition = Arc::new(PartitionProgress::new(Arc::clone(&self.totals)));
        partitions.insert(name, Arc::clone(&partition));
        partition
    }

    /// The partition was revoked. What it counted stays counted.
    pub fn drop_partition(&self, name: &str) {
        lock(&self.partitions).remove(name);
    }

    /// All partitions went, and the source with them; a new generation begins.
    pub(super) fn reset(&self) {
        self.unassigned();
        lock(&self.partitions).clear();
    }

    /// `rows` decoded rows have gone through the queries' first stage.
    pub fn processed(&self, rows: u64) {
        self.totals.processed_rows.fetch_add(rows, Relaxed);
    }

    /// A record went to the dead letters, for a reason out of the codec's fixed list.
    pub fn rejected(&self, reason: &'static str) {
        *lock(&self.dead_letters).entry(reason).or_default() += 1;
    }

    /// The record that went there, to be shown for a while.
    pub fn letter(&self, letter: &LetterNote<'_>) {
        self.letters.push(&self.name, letter, Now::read().wall());
    }

    pub(super) fn letters(&self) -> Vec<LetterReport> {
        self.letters.list()
    }

    /// `records` without a payload were passed over.
    pub fn tombstones(&self, records: u64) {
        self.totals.tombstones.fetch_add(records, Relaxed);
    }

    pub(super) fn sample(&self, now: Now) {
        self.rates.sample(now.instant, self.totals.rates());
    }

    pub(super) fn report(&self, now: Now) -> SourceReport {
        let counters = self.totals.rates();
        let [input_rate, processed_rate, byte_rate] = self.rates.per_second(now.instant, counters);
        let partitions: Vec<PartitionReport> = lock(&self.partitions)
            .iter()
            .map(|(name, partition)| partition.report(Arc::clone(name)))
            .collect();
        let dead_letters = lock(&self.dead_letters).clone();
        let about = lock(&self.about);
        SourceReport {
            name: Arc::clone(&self.name),
            kind: Arc::clone(&about.kind),
            description: Arc::clone(&about.description),
            assigned: self.is_assigned(),
            num_input_rows: counters[0],
            num_processed_rows: counters[1],
            num_input_bytes: counters[2],
            input_rows_per_second: input_rate,
            processed_rows_per_second: processed_rate,
            input_bytes_per_second: byte_rate,
            lag: sum_known(partitions.iter().map(|partition| partition.lag)),
            event_time: EventTimeReport {
                max: partitions.iter().filter_map(|partition| partition.event_time.max).max(),
                watermark: partitions
                    .iter()
                    .filter(|partition| !partition.idle)
                    .filter_map(|partition| partition.event_time.watermark)
                    .min(),
            },
            num_dead_letters: dead_letters.values().sum(),
            dead_letters,
            num_tombstones: self.totals.tombstones.load(Relaxed),
            partitions,
        }
    }
}

/// The sum of what is known; none if nothing is.
pub(super) fn sum_known(values: impl Iterator<Item = Option<u64>>) -> Option<u64> {
    values.flatten().reduce(u64::saturating_add)
}

/// Where one partition stands. Updated once a batch by its reader, without a lock.
#[derive(Debug)]
pub struct PartitionProgress {
    totals: Arc<Totals>,
    start: Maybe,
    next: Maybe,
    latest: Maybe,
    max_event_time: Maybe,
    watermark: Maybe,
    idle: AtomicBool,
}

impl PartitionProgress {
    fn new(totals: Arc<Totals>) -> Self {
        Self {
            totals,
            start: Maybe::none(),
            next: Maybe::none(),
            latest: Maybe::none(),
            max_event_time: Maybe::none(),
            watermark: Maybe::none(),
            idle: AtomicBool::new(false),
        }
    }

    /// Reading starts at `offset`: the restored position, or where the source begins.
    pub fn starts_at(&self, offset: i64) {
        self.start.set(offset);
        self.next.set(offset);
    }

    /// `rows` records of `bytes` bytes were read.
    pub fn read(&self, rows: u64, bytes: u64) {
        self.totals.input_rows.fetch_add(rows, Relaxed);
        self.totals.bytes.fetch_add(bytes, Relaxed);
    }

    /// The next offset to read, and the newest event time (microseconds) if there was one.
    pub fn advanced(&self, next: i64, max_event_time: Option<i64>) {
        self.next.set(next);
        if let Some(time) = max_event_time {
            self.max_event_time.raise(time);
        }
    }

    /// Where the partition ends at the source: the offset that its next record will get.
    pub fn ends_at(&self, offset: i64) {
        self.latest.set(offset);
    }

    /// The partition's watermark, in microseconds; `i64::MAX` once it has ended.
    pub fn watermark(&self, time: i64) {
        self.watermark.set(time);
    }

    /// Whether the watermark goes on without it.
    pub fn idle(&self, idle: bool) {
        self.idle.store(idle, Relaxed);
    }

    fn report(&self, name: Arc<str>) -> PartitionReport {
        let (next, latest) = (self.next.get(), self.latest.get());
        PartitionReport {
            partition: name,
            start_offset: self.start.get(),
            next_offset: next,
            latest_offset: latest,
            // The end may have been asked for before the last records came: no lag, not less.
            lag: latest.zip(next).map(|(latest, next)| latest.saturating_sub(next).max(0) as u64),
            event_time: EventTimeReport {
                max: self.max_event_time.time(),
                watermark: self.watermark.time(),
            },
            idle: self.idle.load(Relaxed),
        }
    }
}
