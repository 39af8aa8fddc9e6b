//! Joins of two streams.
//!
//! A symmetric hash join: a row that arrives is held against the rows that are kept of the other
//! side, makes its pairs at once, and is kept itself for the rows to come, until the watermark says
//! that nothing can match it any more (Wilschut and Apers, Dataflow query execution in a parallel
//! main-memory environment, 1991; with the bounds of Spark's `StreamingSymmetricHashJoinExec`).
//! Rows that the kind of join preserves go out with NULLs when they become due unmatched.
//!
//! Late rows (event time not after the watermark) are dropped whatever the kind, as in Spark.
//!
//! A snapshot holds, of each pane, the rows that are new and the rows that were matched for the
//! first time.

mod filter;
mod index;
mod pairs;
mod pane;
mod plan;
mod segment;
mod side;
mod snapshot;
mod stored;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use arrow::buffer::ScalarBuffer;
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::SchemaRef;
use datafusion::common::Result;

use self::filter::PairFilter;
use self::index::RowRef;
use self::pairs::{Pairs, Sources};
use self::plan::SideName;
pub use self::plan::{JoinKind, JoinPlan, JoinSide};
use self::segment::Images;
use self::side::{Expiry, Reached, Side};
use self::snapshot::segment_schema;
use self::stored::{Arriving, with_nulls};
use super::keyed::{KeyLayout, KeyRouter, bad_plan, present_keys};
use super::segment::Saved;
use super::wall::WallClock;
use super::{Closed, Merged, Operator, OperatorError, Router, StateDelta, StateStats};
use crate::sql::{BatchClock, new_batch, nullable_schema};

/// One shard of a join.
pub struct Join {
    query: Arc<str>,
    kind: JoinKind,
    sides: [Side; 2],
    /// The routed rows of each side, and when they came if that is what they are kept by.
    segment_schemas: [SchemaRef; 2],
    condition: Option<PairFilter>,
    output: SchemaRef,
    batch_clock: BatchClock,
    clock: WallClock,
    /// The newest time that the clock gave: it may jump back, this does not.
    now: i64,
    watermark: Option<i64>,
    /// Tells this operator's segments from those of other shards.
    writer: u128,
}

impl JoinPlan {
    /// One shard, empty.
    ///
    /// # Errors
    /// The plan cannot be carried out: keys that do not fit each other, a bound in event time
    /// without event time, a condition that cannot be compiled.
    pub fn operator(&self) -> Result<Join, OperatorError> {
        self.operator_on(WallClock::system())
    }

    pub(crate) fn operator_on(&self, clock: WallClock) -> Result<Join, OperatorError> {
        let failed = OperatorError::evaluate(&self.query);
        let left = self.side(&self.left, &self.right)?;
        let right = self.side(&self.right, &self.left)?;
        let types = [left.layout.key_types(), right.layout.key_types()];
        let same = types[0].len() == types[1].len()
            && types[0].iter().zip(&types[1]).all(|(left, right)| left.equals_datatype(right));
        if !same {
            return Err(bad_plan(
                &self.query,
                &format!("the keys of a join are {:?} and {:?}", types[0], types[1]),
            ));
        }
        let output = nullable_schema(&self.output);
        let width = match self.kind {
            JoinKind::LeftSemi => left.layout.width,
            _ => left.layout.width + right.layout.width,
        };
        if output.fields().len() != width {
            let found = output.fields().len();
            return Err(bad_plan(&self.query, &format!("a join of {width} columns gives {found}")));
        }
        let batch_clock = BatchClock::default();
        Ok(Join {
            query: Arc::clone(&self.query),
            kind: self.kind,
            segment_schemas: [segment_schema(&left), segment_schema(&right)],
            sides: [left, right],
            condition: PairFilter::new(self, &batch_clock).map_err(failed)?,
            output,
            batch_clock,
            clock,
            now: i64::MIN,
            watermark: None,
            writer: uuid::Uuid::new_v4().as_u128(),
        })
    }

    fn expiry(&self, side: &JoinSide) -> Expiry {
        match (side.keep_us, self.ttl_us) {
            (Some(keep), _) => Expiry::Event(keep),
            (None, Some(ttl)) => Expiry::Wall(ttl.max(0)),
            (None, None) => Expiry::Never,
        }
    }

    fn side(&self, side: &JoinSide, other: &JoinSide) -> Result<Side, OperatorError> {
        let failed = OperatorError::evaluate(&self.query);
        let layout =
            KeyLayout::new(&side.input, &side.keys, side.time.as_ref()).map_err(&failed)?;
        let expiry = self.expiry(side);
        if layout.time.is_none() && matches!(expiry, Expiry::Event(_)) {
            return Err(bad_plan(
                &self.query,
                "rows that are kept by event time need a column with the event time",
            ));
        }
        Side::new(layout, expiry, expiry.shift(self.expiry(other))).map_err(failed)
    }

    /// What stands beside each sender of input 0 (left) or 1 (right).
    ///
    /// # Errors
    /// As for [`operator`](Self::operator).
    pub fn router(&self, input: usize) -> Result<impl Router + use<>, OperatorError> {
        let (side, name) = match input {
            0 => (&self.left, SideName::Left),
            _ => (&self.right, SideName::Right),
        };
        // A NULL matches nothing: such a row is only of use if it comes out all the same.
        let drop_null_keys = !self.kind.preserves(name);
        KeyRouter::new(&self.query, &side.input, &side.keys, side.time.as_ref(), drop_null_keys)
    }
}

impl Join {
    fn reached(&mut self) -> Reached {
        if self.sides.iter().any(|side| matches!(side.expiry, Expiry::Wall(_))) {
            self.now = self.now.max(self.clock.now());
        }
        Reached { watermark: self.watermark, now: self.now }
    }

    fn take(
        &mut self,
        from: SideName,
        rows: &RecordBatch,
        out: &mut Vec<RecordBatch>,
    ) -> Result<Merged> {
        let reached = self.reached();
        self.batch_clock.tick();
        let taken;
        let mut rows = rows;
        let mut merged = Merged::default();
        let own = &self.sides[from.number()];
        if let (Some(times), Some(mark)) = (own.layout.times(rows), self.watermark) {
            let in_time = times.iter().filter(|time| **time > mark).count();
            if in_time < times.len() {
                merged.late_rows = (times.len() - in_time) as u64;
                let mask: BooleanArray = times.iter().map(|time| Some(*time > mark)).collect();
                taken = filter_record_batch(rows, &mask)?;
                rows = &taken;
            }
        }
        merged.rows = rows.num_rows() as u64;
        if rows.num_rows() > 0 {
            self.join(from, rows, reached, out)?;
        }
        Ok(merged)
    }

    /// Joins rows that are not late with what is there, and keeps them.
    fn join(
        &mut self,
        from: SideName,
        rows: &RecordBatch,
        reached: Reached,
        out: &mut Vec<RecordBatch>,
    ) -> Result<()> {
        let (own, other) = (from.number(), from.other().number());
        let count = rows.num_rows();
        let key_arrays = self.sides[own].layout.key_arrays(rows);
        let keys = self.sides[own].codec.encode(&key_arrays)?;
        let present = present_keys(&key_arrays);
        let has_key = |row: usize| present.as_ref().is_none_or(|present| present.is_valid(row));
        let mut matched = vec![false; if self.kind.tracks(from) { count } else { 0 }];

        let mut pairs = Pairs::default();
        for row in (0..count).filter(|row| has_key(*row)) {
            let (hash, key) = (keys.hashes[row], keys.get(row));
            self.sides[other].for_each_match(hash, key, reached, |stored| pairs.push(row, stored));
            if pairs.is_full() {
                self.emit(from, rows, &pairs, &mut matched, out)?;
                pairs.clear();
            }
        }
        self.emit(from, rows, &pairs, &mut matched, out)?;

        let is_semi = self.kind == JoinKind::LeftSemi && from == SideName::Left;
        if is_semi && matched.contains(&true) {
            let first = filter_record_batch(rows, &BooleanArray::from(matched.clone()))?;
            let columns = self.sides[own].layout.input_columns(&first).to_vec();
            out.push(new_batch(&self.output, columns, first.num_rows())?);
        }
        let side = &mut self.sides[own];
        let times: ScalarBuffer<i64> = match (side.expiry, side.layout.times(rows)) {
            (Expiry::Wall(_), _) => vec![self.now; count].into(),
            (_, Some(times)) => times.to_vec().into(),
            (_, None) => ScalarBuffer::default(),
        };
        let is_matched = |row: usize| matched.get(row).is_some_and(|matched| *matched);
        let expiry = side.expiry;
        let is_due = |row: usize| times.get(row).is_some_and(|time| expiry.is_due(*time, reached));
        let preserves = self.kind.preserves(from);
        if preserves {
            // Nothing will ever match these.
            let alone: BooleanArray =
                (0..count).map(|row| Some(is_due(row) && !is_matched(row))).collect();
            if alone.true_count() > 0 {
                let alone = filter_record_batch(rows, &alone)?;
                let columns = side.layout.input_columns(&alone).to_vec();
                out.push(with_nulls(&self.output, columns, from == SideName::Left)?);
            }
        }
        let is_of_use = |row: usize| preserves || has_key(row);
        let is_done = |row: usize| is_due(row) || (is_semi && is_matched(row));
        let arriving = Arriving {
            rows,
            keys: &keys,
            present: present.as_ref(),
            times: times.clone(),
            matched: &matched,
        };
        side.store(&arriving, |row| is_of_use(row) && !is_done(row))
    }

    /// Puts out what pairs of arriving and stored rows come to, and notes the matches.
    fn emit(
        &mut self,
        from: SideName,
        rows: &RecordBatch,
        pairs: &Pairs,
        matched: &mut [bool],
        out: &mut Vec<RecordBatch>,
    ) -> Result<()> {
        let (own, other) = (from.number(), from.other().number());
        let is_semi = self.kind == JoinKind::LeftSemi;
        for (arriving, stored) in pairs.chunks() {
            let sources = Sources {
                from,
                batch: rows,
                width: self.sides[own].layout.width,
                state: &self.sides[other],
            };
            let matches = sources.matches(arriving, stored, self.condition.as_ref())?;
            if matches.stored.is_empty() {
                continue;
            }
            if !is_semi {
                out.push(sources.joined(&matches, &self.output)?);
            }
            if self.kind.tracks(from) {
                for row in &matches.arriving {
                    matched[*row as usize] = true;
                }
            }
            if self.kind.tracks(from.other()) {
                let side = &mut self.sides[other];
                let first: Vec<RowRef> =
                    matches.stored.iter().copied().filter(|row| side.set_matched(*row)).collect();
                if is_semi && !first.is_empty() {
                    let gather = side.gather(&first);
                    let columns: Vec<ArrayRef> = (0..side.layout.width)
                        .map(|column| gather.column(column))
                        .collect::<Result<_>>()?;
                    out.push(new_batch(&self.output, columns, first.len())?);
                    // They are done; their memory goes with the pane.
                    first.iter().for_each(|row| side.unlink(*row));
                }
            }
        }
        Ok(())
    }

    /// Drops what is due, and puts out what the join preserves of it.
    fn evict(&mut self, out: &mut Vec<RecordBatch>) -> Result<()> {
        let reached = self.reached();
        for name in [SideName::Left, SideName::Right] {
            let mut alone = vec![];
            let preserves = self.kind.preserves(name);
            let sink = preserves.then_some(&mut alone);
            self.sides[name.number()].evict(reached, sink)?;
            let batches = alone
                .into_iter()
                .map(|columns| with_nulls(&self.output, columns, name == SideName::Left))
                .collect::<Result<Vec<_>>>()?;
            match batches.as_slice() {
                [] => {}
                [_] => out.extend(batches),
                _ => out.push(concat_batches(&self.output, &batches)?),
            }
        }
        Ok(())
    }
}

impl Operator for Join {
    fn rows(
        &mut self,
        input: usize,
        rows: &RecordBatch,
        out: &mut Vec<RecordBatch>,
    ) -> Result<Merged, OperatorError> {
        let from = match input {
            0 => SideName::Left,
            1 => SideName::Right,
            _ => {
                let detail = format!("a join has inputs 0 and 1, not {input}");
                return Err(OperatorError::Rows { query: Arc::clone(&self.query), detail });
            }
        };
        self.sides[input].layout.check(&self.query, rows)?;
        let query = Arc::clone(&self.query);
        self.take(from, rows, out).map_err(OperatorError::evaluate(&query))
    }

    fn advance(
        &mut self,
        watermark: i64,
        out: &mut Vec<RecordBatch>,
    ) -> Result<Closed, OperatorError> {
        self.watermark = self.watermark.max(Some(watermark));
        let query = Arc::clone(&self.query);
        self.evict(out).map_err(OperatorError::evaluate(&query))?;
        Ok(Closed::default())
    }

    /// Drops what is due by processing time, since the watermark may not move.
    fn trigger(&mut self, out: &mut Vec<RecordBatch>) -> Result<(), OperatorError> {
        let query = Arc::clone(&self.query);
        self.evict(out).map_err(OperatorError::evaluate(&query))
    }

    fn snapshot(&mut self) -> Result<StateDelta, OperatorError> {
        let query = Arc::clone(&self.query);
        let mut segments = vec![];
        let mut closed = vec![];
        for name in [SideName::Left, SideName::Right] {
            self.snapshot_side(name, &mut segments).map_err(OperatorError::evaluate(&query))?;
            let gone = self.sides[name.number()].take_closed();
            closed.extend(gone.into_iter().map(|start| start | name.number() as i64));
        }
        Ok(StateDelta { segments, closed, watermark: self.watermark })
    }

    fn restore(
        &mut self,
        segments: &[&[u8]],
        watermark: Option<i64>,
        keep: (usize, usize),
    ) -> Result<(), OperatorError> {
        let query = Arc::clone(&self.query);
        let mut images = Images::default();
        for bytes in segments {
            let schemas = [&self.segment_schemas[0], &self.segment_schemas[1]];
            images
                .add(schemas, bytes)
                .map_err(|detail| OperatorError::Segment { query: Arc::clone(&query), detail })?;
        }
        self.sides.iter_mut().for_each(Side::clear);
        for (pane, image) in images.into_panes() {
            self.restore_pane(pane, &image, keep).map_err(OperatorError::evaluate(&query))?;
        }
        for side in &mut self.sides {
            side.panes.values_mut().for_each(|pane| pane.saved = Saved::restored());
        }
        self.watermark = watermark;
        // Rows are numbered anew.
        self.writer = uuid::Uuid::new_v4().as_u128();
        Ok(())
    }

    fn stats(&self) -> StateStats {
        StateStats {
            open_windows: self.sides.iter().map(|side| side.panes.len()).sum(),
            groups: self.sides.iter().map(Side::len).sum(),
            bytes: self.sides.iter().map(Side::size).sum(),
        }
    }

    fn watermark(&self) -> Option<i64> {
        self.watermark
    }

    /// A row that is kept comes out when its partner arrives or when it is due, by which time the
    /// watermark has passed its event time by as much as it is kept. Like Spark's
    /// `produceOutputWatermark`, the lower of both sides, since what follows may go by either.
    fn output_watermark(&self) -> Option<i64> {
        let mark = self.watermark?;
        if mark == i64::MAX {
            return Some(mark);
        }
        let shown = if self.kind == JoinKind::LeftSemi { 1 } else { 2 };
        let behind = self.sides[..shown].iter().filter_map(|side| match side.expiry {
            // A row that is not due has a time of at least this, and late is what is not after.
            Expiry::Event(keep) => Some(mark.saturating_sub(keep).saturating_sub(1)),
            Expiry::Never | Expiry::Wall(_) => None,
        });
        behind.chain([mark]).min()
    }
}
