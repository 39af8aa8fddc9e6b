//! Deduplication: the first row of each key goes out, those that follow are dropped.
//!
//! A key's bytes lie in the pane of its time, a stretch of event time (or of processing time, if
//! that is what keys are kept by) whose length is a power of two. One hash index over all panes
//! finds them. Keys leave with their pane; one that is due and whose pane is not is treated as if
//! it had left. Only bytes that are equal make a duplicate, not hashes that are.
//!
//! A snapshot holds the keys that are new in each pane.
//!
//! Lateness and expiry are those of Spark's `dropDuplicates` and `dropDuplicatesWithinWatermark`:
//! a row is late if its event time is not after the watermark, and a key is forgotten once the
//! watermark has reached its time of expiry
//! (`WatermarkSupport.watermarkExpression`, `StreamingDeduplicateWithinWatermarkExec`).

mod panes;
mod plan;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray, Int64Array, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use datafusion::common::Result;

use self::panes::{Pane, Panes};
pub use self::plan::{DedupPlan, Keep};
use super::keyed::{KeyCodec, KeyLayout, KeyRouter, bad_plan, of_shard};
use super::segment::{Kind, open, read_stream, seal, write_stream};
use super::wall::WallClock;
use super::{Closed, Merged, Operator, OperatorError, Router, Segment, StateDelta, StateStats};
use crate::sql::{new_batch, nullable_schema};

const KIND: Kind = Kind { name: b"MPDEDUP\0", layout: 1, title: "the keys of a deduplication" };

/// One shard of a deduplication.
pub struct Dedup {
    query: Arc<str>,
    layout: KeyLayout,
    keep: Keep,
    output: SchemaRef,
    codec: KeyCodec,
    /// Keys, and the time of each in microseconds (BIGINT).
    segment_schema: SchemaRef,
    panes: Panes,
    watermark: Option<i64>,
    clock: WallClock,
    /// The newest time that the clock gave: it may jump back, this does not.
    now: i64,
}

impl DedupPlan {
    /// One shard, empty.
    ///
    /// # Errors
    /// The plan cannot be carried out: no key, a key that cannot be compared, no event time.
    pub fn operator(&self) -> Result<Dedup, OperatorError> {
        self.operator_on(WallClock::system())
    }

    pub(crate) fn operator_on(&self, clock: WallClock) -> Result<Dedup, OperatorError> {
        let failed = OperatorError::evaluate(&self.query);
        let layout =
            KeyLayout::new(&self.input, &self.keys, self.time.as_ref()).map_err(&failed)?;
        if layout.time.is_none() && !matches!(self.keep, Keep::Wall { .. }) {
            return Err(bad_plan(
                &self.query,
                "keys that are kept by event time need a column with the event time",
            ));
        }
        let types = layout.key_types();
        let mut fields: Vec<Field> = types
            .iter()
            .enumerate()
            .map(|(number, data_type)| Field::new(format!("key {number}"), data_type.clone(), true))
            .collect();
        fields.push(Field::new("time", DataType::Int64, true));
        Ok(Dedup {
            query: Arc::clone(&self.query),
            keep: self.keep,
            output: nullable_schema(&self.input),
            codec: KeyCodec::new(&types).map_err(&failed)?,
            segment_schema: Arc::new(Schema::new(fields)),
            panes: Panes::new(self.keep),
            watermark: None,
            now: i64::MIN,
            clock,
            layout,
        })
    }

    /// What stands beside each sender.
    ///
    /// # Errors
    /// As for [`operator`](Self::operator).
    pub fn router(&self) -> Result<impl Router + use<>, OperatorError> {
        KeyRouter::new(&self.query, &self.input, &self.keys, self.time.as_ref(), false)
    }
}

impl Dedup {
    /// The time up to which keys are forgotten: those of panes and rows whose time plus the
    /// keeping is not after it.
    fn reached(&mut self) -> Option<i64> {
        match self.keep {
            Keep::UntilWatermark | Keep::EventTime { .. } => self.watermark,
            Keep::Wall { .. } => {
                self.now = self.now.max(self.clock.now());
                Some(self.now)
            }
        }
    }

    fn first_rows(&mut self, rows: &RecordBatch) -> Result<(RecordBatch, Merged)> {
        let reached = self.reached();
        let keys = self.codec.encode(&self.layout.key_arrays(rows))?;
        let event_times = self.layout.times(rows);
        let mut merged = Merged::default();
        let mut is_first = Vec::with_capacity(rows.num_rows());
        for (row, hash) in keys.hashes.iter().enumerate() {
            let event_time = event_times.map(|times| times[row]);
            if is_late(event_time, self.watermark) {
                merged.late_rows += 1;
                is_first.push(false);
                continue;
            }
            let time = match self.keep {
                Keep::Wall { .. } => self.now,
                // A plan without event time was refused.
                _ => event_time.unwrap_or(i64::MIN),
            };
            is_first.push(self.panes.insert(*hash, keys.get(row), time, reached)?);
        }
        let first = is_first.iter().filter(|first| **first).count();
        merged.rows = first as u64;
        merged.duplicates = rows.num_rows() as u64 - merged.late_rows - merged.rows;
        let columns = self.layout.input_columns(rows).to_vec();
        let output = new_batch(&self.output, columns, rows.num_rows())?;
        if first == rows.num_rows() {
            return Ok((output, merged));
        }
        Ok((filter_record_batch(&output, &BooleanArray::from(is_first))?, merged))
    }

    fn forget(&mut self) {
        if let Some(reached) = self.reached() {
            self.panes.forget(reached);
        }
    }

    fn segment(&self, start: i64, pane: &Pane, whole: bool) -> Result<Segment> {
        let range = if whole { 0..pane.len() } else { pane.saved.rows..pane.len() };
        let groups = range.len();
        let mut columns = self.codec.decode(range.clone().map(|index| pane.keys.get(index)))?;
        columns.push(Arc::new(Int64Array::from(pane.times[range].to_vec())));
        let batch = new_batch(&self.segment_schema, columns, groups)?;
        let bytes = seal(KIND, start, |out| write_stream(out, &self.segment_schema, [&batch]))?;
        Ok(Segment { pane: start, whole, bytes, groups })
    }

    fn restore_batch(&mut self, batch: &RecordBatch, keep: (usize, usize)) -> Result<()> {
        let count = batch.num_columns() - 1;
        let taken;
        let mut batch = batch;
        if let Some(mask) = of_shard(&batch.columns()[..count], batch.num_rows(), keep)? {
            taken = filter_record_batch(batch, &mask)?;
            batch = &taken;
        }
        let reached = self.reached();
        let keys = self.codec.encode(&batch.columns()[..count])?;
        let times = batch.column(count).as_primitive::<Int64Type>();
        for (row, hash) in keys.hashes.iter().enumerate() {
            self.panes.restore(*hash, keys.get(row), times.value(row), reached)?;
        }
        Ok(())
    }
}

/// Spark's rule: what the watermark has reached is late, to the microsecond.
fn is_late(event_time: Option<i64>, watermark: Option<i64>) -> bool {
    matches!((event_time, watermark), (Some(time), Some(mark)) if time <= mark)
}

impl Operator for Dedup {
    fn rows(
        &mut self,
        input: usize,
        rows: &RecordBatch,
        out: &mut Vec<RecordBatch>,
    ) -> Result<Merged, OperatorError> {
        if input != 0 {
            let detail = format!("a deduplication has one input, not input {input}");
            return Err(OperatorError::Rows { query: Arc::clone(&self.query), detail });
        }
        self.layout.check(&self.query, rows)?;
        let query = Arc::clone(&self.query);
        let (output, merged) = self.first_rows(rows).map_err(OperatorError::evaluate(&query))?;
        if output.num_rows() > 0 {
            out.push(output);
        }
        Ok(merged)
    }

    fn advance(
        &mut self,
        watermark: i64,
        _out: &mut Vec<RecordBatch>,
    ) -> Result<Closed, OperatorError> {
        self.watermark = self.watermark.max(Some(watermark));
        self.forget();
        Ok(Closed::default())
    }

    /// Forgets what is due by processing time, since a source may have no watermark that moves.
    fn trigger(&mut self, _out: &mut Vec<RecordBatch>) -> Result<(), OperatorError> {
        self.forget();
        Ok(())
    }

    fn snapshot(&mut self) -> Result<StateDelta, OperatorError> {
        let mut segments = vec![];
        for (start, number) in self.panes.in_order() {
            let Some(pane) = self.panes.get(number) else { continue };
            let rows = pane.len();
            if rows == pane.saved.rows && !pane.saved.rewrite {
                continue;
            }
            let whole = pane.saved.is_whole_due(rows);
            let segment =
                self.segment(start, pane, whole).map_err(OperatorError::evaluate(&self.query))?;
            segments.push(segment);
            if let Some(pane) = self.panes.get_mut(number) {
                pane.saved.wrote(whole, rows);
            }
        }
        Ok(StateDelta { segments, closed: self.panes.take_closed(), watermark: self.watermark })
    }

    fn restore(
        &mut self,
        segments: &[&[u8]],
        watermark: Option<i64>,
        keep: (usize, usize),
    ) -> Result<(), OperatorError> {
        self.panes = Panes::new(self.keep);
        self.watermark = watermark;
        let query = Arc::clone(&self.query);
        let refused = |detail| OperatorError::Segment { query: Arc::clone(&query), detail };
        for bytes in segments {
            let (_, body) = open(KIND, bytes).map_err(refused)?;
            for batch in read_stream(&self.segment_schema, body).map_err(refused)? {
                self.restore_batch(&batch, keep).map_err(OperatorError::evaluate(&query))?;
            }
        }
        Ok(())
    }

    fn stats(&self) -> StateStats {
        StateStats {
            open_windows: self.panes.count(),
            groups: self.panes.keys(),
            bytes: self.panes.size(),
        }
    }

    fn watermark(&self) -> Option<i64> {
        self.watermark
    }
}
