//! Where a query stands.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use arrow::array::RecordBatch;

use super::rates::Rates;
use super::report::{EventTimeReport, ExpectationReport, QueryReport, StateReport};
use super::source::Maybe;
use super::windows::{WindowColumns, WindowHistory, WindowsReport};
use crate::telemetry::lock;
use crate::telemetry::time::Now;

/// Where one query stands. Counters are since the daemon started.
#[derive(Debug)]
pub struct QueryProgress {
    name: Arc<str>,
    about: Mutex<About>,
    output_rows: AtomicU64,
    rates: Rates<1>,
    windows_closed: AtomicU64,
    late_rows: AtomicU64,
    null_time_rows: AtomicU64,
    max_event_time: Maybe,
    watermark: Maybe,
    state: Mutex<BTreeMap<usize, ShardState>>,
    /// In the order of the configuration.
    expectations: Mutex<Vec<ExpectationReport>>,
    windows: WindowHistory,
}

#[derive(Debug, Default)]
struct About {
    fingerprint: Arc<str>,
    mode: Arc<str>,
    sql: Arc<str>,
    windowed: bool,
}

/// The size of one shard's state.
#[derive(Clone, Copy, Debug, Default)]
struct ShardState {
    windows: u64,
    groups: u64,
    bytes: u64,
}

impl QueryProgress {
    pub(super) fn new(name: &str, now: Now) -> Self {
        Self {
            name: name.into(),
            about: Mutex::default(),
            output_rows: AtomicU64::new(0),
            rates: Rates::new(now.instant),
            windows_closed: AtomicU64::new(0),
            late_rows: AtomicU64::new(0),
            null_time_rows: AtomicU64::new(0),
            max_event_time: Maybe::none(),
            watermark: Maybe::none(),
            state: Mutex::default(),
            expectations: Mutex::default(),
            windows: WindowHistory::default(),
        }
    }

    /// The query's name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// What it is: the plan's fingerprint, the output mode, the SQL, whether it keeps windows.
    pub fn describe(&self, fingerprint: &str, mode: &str, sql: &str, windowed: bool) {
        *lock(&self.about) =
            About { fingerprint: fingerprint.into(), mode: mode.into(), sql: sql.into(), windowed };
    }

    /// Its rules: name, condition, and what becomes of rows that violate it. Counts stay those of
    /// rules that were there before.
    pub fn expects<'a>(&self, rules: impl IntoIterator<Item = (&'a str, &'a str, &'static str)>) {
        let mut known = lock(&self.expectations);
        *known = rules
            .into_iter()
            .map(|(name, that, on_violation)| {
                let before = known.iter().find(|rule| &*rule.name == name);
                ExpectationReport {
                    name: name.into(),
                    that: that.into(),
                    on_violation,
                    num_passed_rows: before.map_or(0, |rule| rule.num_passed_rows),
                    num_violating_rows: before.map_or(0, |rule| rule.num_violating_rows),
                }
            })
            .collect();
    }

    /// Rows met the rule at this place, or violated it.
    pub fn checked(&self, rule: usize, passed: u64, violated: u64) {
        if let Some(rule) = lock(&self.expectations).get_mut(rule) {
            rule.num_passed_rows += passed;
            rule.num_violating_rows += violated;
        }
    }

    /// Which of its columns make a chart of its windows, if some do. The first call counts.
    pub fn describe_windows(&self, columns: WindowColumns) {
        self.windows.describe(columns);
    }

    /// Looks at rows of its output, for the chart of its windows. Costs nothing where there is
    /// none, else one pass over a column.
    pub fn observe(&self, rows: &RecordBatch) {
        self.windows.observe(rows);
    }

    pub(super) fn windows(&self, column: Option<&str>, series: usize) -> Option<WindowsReport> {
        self.windows.report(&self.name, column, series)
    }

    /// It handed `rows` to its sinks.
    pub fn output(&self, rows: u64) {
        self.output_rows.fetch_add(rows, Relaxed);
    }

    /// The watermark closed `windows`; their rows are told with [`Self::output`].
    pub fn windows_closed(&self, windows: u64) {
        self.windows_closed.fetch_add(windows, Relaxed);
    }

    /// `rows` came too late for all of their windows.
    pub fn late(&self, rows: u64) {
        self.late_rows.fetch_add(rows, Relaxed);
    }

    /// `rows` had no event time.
    pub fn null_time(&self, rows: u64) {
        self.null_time_rows.fetch_add(rows, Relaxed);
    }

    /// Newest event time seen, in microseconds.
    pub fn seen(&self, max_event_time: i64) {
        self.max_event_time.raise(max_event_time);
    }

    /// Its watermark, in microseconds; `i64::MAX` once its input has ended.
    pub fn watermark(&self, time: i64) {
        self.watermark.set(time);
    }

    /// The state of shard `shard`: open windows, groups over them, memory in bytes.
    pub fn state(&self, shard: usize, windows: usize, groups: usize, bytes: usize) {
        let size =
            ShardState { windows: windows as u64, groups: groups as u64, bytes: bytes as u64 };
        lock(&self.state).insert(shard, size);
    }

    pub(super) fn reset(&self) {
        lock(&self.state).clear();
        self.watermark.clear();
    }

    pub(super) fn sample(&self, now: Now) {
        self.rates.sample(now.instant, [self.output_rows.load(Relaxed)]);
    }

    pub(super) fn report(&self, now: Now) -> QueryReport {
        let output = self.output_rows.load(Relaxed);
        let [rate] = self.rates.per_second(now.instant, [output]);
        let late_rows = self.late_rows.load(Relaxed);
        let about = lock(&self.about);
        let shards = lock(&self.state);
        let sum = |of: fn(&ShardState) -> u64| shards.values().map(of).sum::<u64>();
        let state = StateReport {
            operator_name: "windowAggregate",
            num_rows_total: sum(|shard| shard.groups),
            memory_used_bytes: sum(|shard| shard.bytes),
            // Every shard has its part of the same windows.
            num_open_windows: shards.values().map(|shard| shard.windows).max().unwrap_or(0),
            num_rows_dropped_by_watermark: late_rows,
            num_shards: shards.len(),
        };
        QueryReport {
            name: Arc::clone(&self.name),
            fingerprint: Arc::clone(&about.fingerprint),
            output_mode: Arc::clone(&about.mode),
            sql: Arc::clone(&about.sql),
            window_columns: self.windows.columns(),
            num_output_rows: output,
            output_rows_per_second: rate,
            event_time: EventTimeReport {
                max: self.max_event_time.time(),
                watermark: self.watermark.time(),
            },
            num_windows_closed: self.windows_closed.load(Relaxed),
            num_late_rows: late_rows,
            num_null_event_time_rows: self.null_time_rows.load(Relaxed),
            expectations: lock(&self.expectations).clone(),
            state_operators: if about.windowed { vec![state] } else { Vec::new() },
        }
    }
}
