//! What happens in event time: watermarks, windows, rows that belong to none.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use metrics::Counter;
use tracing::{debug, trace, warn};

use super::TypesRejected;
use crate::telemetry::names;
use crate::telemetry::rate_limit::{self, LimitKey, RateLimit};
use crate::telemetry::time::{EventTime, Now};

/// The metrics of one query, looked up once by each actor that emits them.
#[derive(Debug)]
pub struct QueryMetrics {
    pipeline: Arc<str>,
    query: Arc<str>,
    output_rows: Counter,
    closed_windows: Counter,
    late_rows: Counter,
    null_time_rows: Counter,
    duplicate_rows: Counter,
    late_limit: Arc<RateLimit>,
    null_time_limit: Arc<RateLimit>,
}

impl QueryMetrics {
    /// Looks the metrics up.
    pub fn new(pipeline: impl Into<Arc<str>>, query: impl Into<Arc<str>>) -> Self {
        let (pipeline, query) = (pipeline.into(), query.into());
        let labels = [&*pipeline, &*query];
        let limit = |message| {
            rate_limit::shared(LimitKey {
                message,
                pipeline: Arc::clone(&pipeline),
                subject: Arc::clone(&query),
                reason: Cow::Borrowed(""),
            })
        };
        Self {
            output_rows: names::OUTPUT_ROWS.with(labels),
            closed_windows: names::CLOSED_WINDOWS.with(labels),
            late_rows: names::LATE_ROWS.with(labels),
            null_time_rows: names::NULL_TIME_ROWS.with(labels),
            duplicate_rows: names::DUPLICATE_ROWS.with(labels),
            late_limit: limit(LateRows::MESSAGE),
            null_time_limit: limit(NullEventTime::MESSAGE),
            pipeline,
            query,
        }
    }
}

impl QueryMetrics {
    /// Rows of the query do not fit the types of a sink's table.
    pub fn types_rejected(&self, sink: &str, rows: u64) {
        TypesRejected { pipeline: &self.pipeline, sink, rows }.emit();
    }
}

/// The watermark of a pipeline moved on.
#[derive(Debug)]
pub struct WatermarkAdvanced<'a> {
    /// The pipeline.
    pub pipeline: &'a str,
    /// Where it is now, in microseconds since the Unix epoch; `i64::MAX` once the input has ended.
    pub watermark: i64,
}

impl WatermarkAdvanced<'_> {
    /// Logs and counts it, with its lag behind the wall clock.
    pub fn emit(self) {
        let Self { pipeline, watermark } = self;
        let watermark = EventTime(watermark);
        let lag_us = watermark.lag_us(Now::read().unix_us);
        debug!(pipeline, watermark = %watermark, lag_ms = lag_us / 1000, "watermark advanced");
        // The end of a bounded input is not a time: the gauge stays at the last one.
        if watermark != EventTime::INFINITY {
            names::WATERMARK.with([pipeline]).set(watermark.unix_seconds());
        }
        names::WATERMARK_LAG.with([pipeline]).set(lag_us as f64 / 1e6);
    }
}

/// A query handed rows to its sinks.
#[derive(Debug)]
pub struct RowsProduced<'a> {
    /// The query.
    pub query: &'a QueryMetrics,
    /// Rows.
    pub rows: u64,
}

impl RowsProduced<'_> {
    /// Logs and counts it.
    pub fn emit(self) {
        let Self { query, rows } = self;
        trace!(pipeline = %query.pipeline, query = %query.query, rows, "rows produced");
        query.output_rows.increment(rows);
    }
}

/// The watermark closed windows; their rows are final.
#[derive(Debug)]
pub struct WindowsClosed<'a> {
    /// The query.
    pub query: &'a QueryMetrics,
    /// Windows.
    pub windows: u64,
}

impl WindowsClosed<'_> {
    /// Logs and counts it.
    pub fn emit(self) {
        let Self { query, windows } = self;
        debug!(pipeline = %query.pipeline, query = %query.query, windows, "windows closed");
        query.closed_windows.increment(windows);
    }
}

/// Rows came after every window they belong to had closed; they are in no result.
#[derive(Debug)]
pub struct LateRows<'a> {
    /// The query.
    pub query: &'a QueryMetrics,
    /// Rows.
    pub rows: u64,
}

impl LateRows<'_> {
    const MESSAGE: &'static str = "late rows";

    /// Counts it, and logs it unless the query had late rows logged a moment ago. Zero rows are
    /// nothing.
    pub fn emit(self) {
        let Self { query, rows } = self;
        if rows == 0 {
            return;
        }
        query.late_rows.increment(rows);
        if let Some(suppressed) = query.late_limit.admit(Instant::now(), rows) {
            warn!(
                pipeline = %query.pipeline,
                query = %query.query,
                rows,
                suppressed,
                "{}",
                Self::MESSAGE
            );
        }
    }
}

/// Rows had no event time; they belong to no window.
#[derive(Debug)]
pub struct NullEventTime<'a> {
    /// The query.
    pub query: &'a QueryMetrics,
    /// Rows.
    pub rows: u64,
}

impl NullEventTime<'_> {
    const MESSAGE: &'static str = "rows without event time";

    /// Counts it, and logs it unless the query had such rows logged a moment ago. Zero rows are
    /// nothing.
    pub fn emit(self) {
        let Self { query, rows } = self;
        if rows == 0 {
            return;
        }
        query.null_time_rows.increment(rows);
        if let Some(suppressed) = query.null_time_limit.admit(Instant::now(), rows) {
            warn!(
                pipeline = %query.pipeline,
                query = %query.query,
                rows,
                suppressed,
                "{}",
                Self::MESSAGE
            );
        }
    }
}

/// A deduplication left rows out, because one like them had come before.
#[derive(Debug)]
pub struct DuplicatesDropped<'a> {
    /// The query.
    pub query: &'a QueryMetrics,
    /// Rows.
    pub rows: u64,
}

impl DuplicatesDropped<'_> {
    /// Counts it. That is what such a query is for, so there is nothing to warn of.
    pub fn emit(self) {
        let Self { query, rows } = self;
        query.duplicate_rows.increment(rows);
    }
}

/// The metrics of one rule of a query.
#[derive(Debug)]
pub struct ExpectationMetrics {
    pipeline: Arc<str>,
    query: Arc<str>,
    rule: Arc<str>,
    outcome: &'static str,
    passed: Counter,
    violated: Counter,
    limit: Arc<RateLimit>,
}

impl ExpectationMetrics {
    /// Looks the metrics up. `outcome`: what becomes of rows that violate the rule.
    pub fn new(
        pipeline: impl Into<Arc<str>>,
        query: impl Into<Arc<str>>,
        rule: impl Into<Arc<str>>,
        outcome: &'static str,
    ) -> Self {
        let (pipeline, query, rule) = (pipeline.into(), query.into(), rule.into());
        let limit = rate_limit::shared(LimitKey {
            message: ExpectationChecked::MESSAGE,
            pipeline: Arc::clone(&pipeline),
            subject: format!("{query}.{rule}").into(),
            reason: Cow::Borrowed(""),
        });
        Self {
            passed: names::EXPECTATION_ROWS.with([&*pipeline, &*query, &*rule, "passed"]),
            violated: names::EXPECTATION_ROWS.with([&*pipeline, &*query, &*rule, outcome]),
            outcome,
            limit,
            pipeline,
            query,
            rule,
        }
    }
}

/// A batch of a query's rows was held against a rule.
#[derive(Debug)]
pub struct ExpectationChecked<'a> {
    /// The rule.
    pub rule: &'a ExpectationMetrics,
    /// Rows that met it.
    pub passed: u64,
    /// Rows that did not.
    pub violated: u64,
}

impl ExpectationChecked<'_> {
    const MESSAGE: &'static str = "rows violate an expectation";

    /// Counts it, and logs violations unless the rule had some logged a moment ago.
    pub fn emit(self) {
        let Self { rule, passed, violated } = self;
        rule.passed.increment(passed);
        if violated == 0 {
            return;
        }
        rule.violated.increment(violated);
        if let Some(suppressed) = rule.limit.admit(Instant::now(), violated) {
            warn!(
                pipeline = %rule.pipeline,
                query = %rule.query,
                rule = %rule.rule,
                outcome = rule.outcome,
                rows = violated,
                suppressed,
                "{}",
                Self::MESSAGE
            );
        }
    }
}

/// How large the state of one shard of a query is; told after a snapshot and when windows close.
#[derive(Debug)]
pub struct StateSize<'a> {
    /// The pipeline.
    pub pipeline: &'a str,
    /// The query.
    pub query: &'a str,
    /// The shard's number.
    pub shard: usize,
    /// Open windows.
    pub windows: usize,
    /// Groups over all open windows.
    pub groups: usize,
    /// Memory, in bytes.
    pub bytes: usize,
}

impl StateSize<'_> {
    /// Logs and counts it.
    pub fn emit(self) {
        let Self { pipeline, query, shard, windows, groups, bytes } = self;
        trace!(pipeline, query, shard, windows, groups, bytes, "state size");
        let shard = shard.to_string();
        let labels = [pipeline, query, &*shard];
        names::STATE_WINDOWS.with(labels).set(windows as f64);
        names::STATE_GROUPS.with(labels).set(groups as f64);
        names::STATE_BYTES.with(labels).set(bytes as f64);
    }
}
