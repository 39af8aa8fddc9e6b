//! Rows made by the clock, as Spark's `rate` source makes them: `timestamp TIMESTAMP, value
//! BIGINT`, where the value counts from 0.
//!
//! Value and timestamp depend on nothing but the moment when the source first began, which is
//! kept beside the checkpoint: after a restart the same values have the same timestamps, and those
//! that would have come meanwhile come at once.

mod plan;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, RecordBatchOptions};
use arrow::array::{Int64Builder, TimestampMicrosecondBuilder};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use serde::{Deserialize, Serialize};

use self::plan::Plan;
use super::{ColumnsTaken, Record, SourceError, SplitReader, Taken, keep};

/// What a [`RateSource`] is made of.
#[derive(Debug, Clone)]
pub struct RateOptions {
    /// Rows a second, once it is up to speed; at least 1.
    pub rows_per_second: u64,
    /// How long it takes to get up to speed; whole seconds. Zero: at once.
    pub ramp_up: Duration,
    /// Which columns of [`RateSource::schema`] are made, in the order of the output.
    pub projection: Vec<usize>,
}

impl Default for RateOptions {
    fn default() -> Self {
        Self { rows_per_second: 1, ramp_up: Duration::ZERO, projection: vec![0, 1] }
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Began {
    /// Microseconds since the Unix epoch.
    start_us: i64,
    rows_per_second: u64,
    ramp_up_seconds: u64,
}

/// See the module's documentation. Polled: it never wakes its reader.
pub struct RateSource {
    plan: Plan,
    output: SchemaRef,
    projection: Vec<usize>,
    /// Microseconds since the Unix epoch.
    clock: Box<dyn Fn() -> i64 + Send>,
    next: i64,
}

impl RateSource {
    /// Opens the source called `name`; when it began is kept in `<sources_dir>/<name>.rate`.
    ///
    /// With another rate than it began with, all values have other timestamps, and those that
    /// come next may come at once or after a while. Spark does the same.
    pub fn open(
        options: &RateOptions,
        sources_dir: &Path,
        name: impl Into<Arc<str>>,
    ) -> Result<Self, SourceError> {
        let clock = || chrono::Utc::now().timestamp_micros();
        Self::open_at(options, sources_dir, &name.into(), Box::new(clock))
    }

    fn open_at(
        options: &RateOptions,
        sources_dir: &Path,
        name: &str,
        clock: Box<dyn Fn() -> i64 + Send>,
    ) -> Result<Self, SourceError> {
        if options.rows_per_second == 0 {
            let problem = "0 would never make a row".to_owned();
            return Err(SourceError::Option { option: "rows_per_second", problem });
        }
        let output = Self::schema().project(&options.projection).map_err(|error| {
            SourceError::Option { option: "projection", problem: error.to_string() }
        })?;
        let path = sources_dir.join(format!("{name}.rate"));
        let ramp_up_seconds = options.ramp_up.as_secs();
        let rows_per_second = options.rows_per_second;
        let began = match keep::load::<Began>(&path)? {
            Some(began) => {
                if (began.rows_per_second, began.ramp_up_seconds)
                    != (rows_per_second, ramp_up_seconds)
                {
                    tracing::warn!(
                        source = name,
                        was = began.rows_per_second,
                        now = rows_per_second,
                        "the rate has changed since the source began: values have other timestamps"
                    );
                }
                began
            }
            None => {
                let began = Began { start_us: clock(), rows_per_second, ramp_up_seconds };
                keep::store(&path, &began)?;
                began
            }
        };
        let plan = Plan::new(began.start_us, rows_per_second, ramp_up_seconds);
        let projection = options.projection.clone();
        Ok(Self { plan, output: Arc::new(output), projection, clock, next: 0 })
    }

    /// `timestamp TIMESTAMP, value BIGINT`.
    pub fn schema() -> SchemaRef {
        let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        Arc::new(Schema::new(vec![
            Field::new("timestamp", utc, true),
            Field::new("value", DataType::Int64, true),
        ]))
    }

    fn rows(&self, from: i64, to: i64) -> Result<RecordBatch, arrow::error::ArrowError> {
        let count = usize::try_from(to - from).unwrap_or(0);
        let columns = self
            .projection
            .iter()
            .map(|column| -> ArrayRef {
                if *column == 0 {
                    let mut times = TimestampMicrosecondBuilder::with_capacity(count);
                    self.plan.times(from, to, |time| times.append_value(time));
                    Arc::new(times.finish().with_timezone("UTC"))
                } else {
                    let mut values = Int64Builder::with_capacity(count);
                    (from..to).for_each(|value| values.append_value(value));
                    let values: Int64Array = values.finish();
                    Arc::new(values)
                }
            })
            .collect();
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        RecordBatch::try_new_with_options(self.output.clone(), columns, &options)
    }
}

impl SplitReader for RateSource {
    fn take(&mut self, _limit: usize, _visit: &mut dyn FnMut(Record<'_>)) -> Taken {
        Taken::default()
    }

    fn take_columns(&mut self, limit: usize) -> Option<ColumnsTaken> {
        let due = self.plan.due((self.clock)());
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let to = due.min(self.next.saturating_add(limit)).max(self.next);
        let mut taken = ColumnsTaken { first: self.next, ..ColumnsTaken::default() };
        if to > self.next {
            match self.rows(self.next, to) {
                Ok(batch) => {
                    taken.batch = Some(batch);
                    self.next = to;
                }
                Err(error) => taken.error = Some(SourceError::Thread(error.to_string())),
            }
        }
        taken.next = Some(self.next);
        Some(taken)
    }

    fn on_ready(&mut self, _wake: Box<dyn Fn() + Send + Sync>) {}

    fn seek(&mut self, next: i64) -> Result<(), SourceError> {
        self.next = next.max(0);
        Ok(())
    }

    fn backlog(&self) -> Option<u64> {
        u64::try_from(self.plan.due((self.clock)()).saturating_sub(self.next)).ok().or(Some(0))
    }

    fn barrier(&mut self, _epoch: u64) {}

    fn durable(&mut self, _next: i64) {}

    fn bound(&mut self) -> Result<i64, SourceError> {
        Err(SourceError::Unbounded("rate"))
    }
}

#[cfg(test)]
mod tests;
