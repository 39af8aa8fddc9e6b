//! Windows that last as long as events of a key keep coming.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, PrimitiveArray, RecordBatch, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{Field, Schema, SchemaRef, TimestampMicrosecondType};
use datafusion::common::{DataFusionError, Result};

use super::dictionary::KeyDictionary;
use super::log::{Place, StateLog};
use super::open_sessions::OpenSessions;
use super::origin::{Marks, ORIGIN, new_origin};
use super::output::{Bounds, OUTPUT_ROWS, OutputRows};
use super::pieces::{Merger, Piece};
use super::rows::{counts, starts};
use super::segment::{Decoded, decode, encode, segment_schema};
use super::shard::keep_shard;
use super::{AggregatePlan, AggregateSet};
use crate::event_time::{Session, Windows};
use crate::operator::{Closed, Merged, Operator, OperatorError, Segment, StateDelta, StateStats};
use crate::sql::{OutputMode, timestamp_type};

/// Session windows in append or complete mode.
///
/// A row is late if the session that it would make by itself is closed: its time plus the gap is
/// not after the watermark. That is so even if a session of its key is still open that it would
/// have been part of; Spark judges each row by itself, too. In complete mode no session closes and
/// no row is late.
pub struct SessionState {
    set: AggregateSet,
    complete: bool,
    windows: Session,
    output: OutputRows,
    /// Keys, start and end of the session, states.
    segment_schema: SchemaRef,
    keys: KeyDictionary,
    sessions: OpenSessions,
    /// State of sessions, up to when they were last settled.
    log: StateLog,
    /// State of the sessions touched since; it begins with what the log has of them.
    touched: Merger,
    merger: Merger,
    /// Sessions that became part of another since.
    absorbed: Vec<u32>,
    watermark: Option<i64>,
    /// Identifier of the next chunk, which names its pane in the checkpoint.
    next: i64,
    marks: Marks,
}

impl SessionState {
    /// An empty state for the plan.
    ///
    /// # Errors
    /// The plan has an aggregate that cannot be compiled, other windows, or update mode: sessions
    /// that were shown would have to be taken back when they become one.
    pub fn new(plan: &AggregatePlan) -> Result<Self, OperatorError> {
        let set = AggregateSet::new(plan)?;
        let failed = OperatorError::evaluate(&plan.query);
        let Windows::Session(windows) = plan.windows else {
            return Err(failed(DataFusionError::Plan("windows that are no sessions".into())));
        };
        if plan.mode == OutputMode::Update {
            let text = "session windows do not come in update mode";
            return Err(failed(DataFusionError::Plan(text.into())));
        }
        Ok(Self {
            complete: plan.mode == OutputMode::Complete,
            windows,
            output: OutputRows::new(plan),
            segment_schema: session_schema(&set),
            keys: KeyDictionary::new(&set.key_types()).map_err(&failed)?,
            sessions: OpenSessions::default(),
            log: StateLog::default(),
            touched: Merger::new(&set).map_err(&failed)?,
            merger: Merger::new(&set).map_err(&failed)?,
            absorbed: vec![],
            watermark: None,
            next: 1,
            marks: Marks::new(new_origin()),
            set,
        })
    }

    fn merge(&mut self, partial: &RecordBatch) -> Result<Merged> {
        let (times, counts) = (starts(partial), counts(&self.set, partial));
        let mut codes = vec![];
        self.keys.codes(self.set.keys_of(partial), partial.num_rows(), &mut codes)?;
        let mut merged = Merged::default();
        let reached = self.watermark.filter(|_| !self.complete);
        let mut order: Vec<(u32, i64, u32)> = Vec::with_capacity(times.len());
        for (row, (time, code)) in (0_u32..).zip(times.iter().zip(&codes)) {
            let count = counts[row as usize].max(0).unsigned_abs();
            if reached.is_some_and(|mark| self.windows.end(*time) <= mark) {
                merged.late_rows += count;
            } else {
                merged.rows += count;
                order.push((*code, *time, row));
            }
        }
        order.sort_unstable();
        // The session of each row, by runs of rows that belong together.
        let mut slots: Vec<u32> = Vec::with_capacity(order.len());
        let mut known: (Vec<u32>, Vec<Place>) = (vec![], vec![]);
        let mut at = 0;
        while let Some((key, start, _)) = order.get(at).copied() {
            let mut end = self.windows.end(start);
            let rest = order[at..].iter().skip(1).take_while(|(other, time, _)| {
                let joins = *other == key && *time <= end;
                if joins {
                    end = self.windows.end(*time);
                }
                joins
            });
            let rows = 1 + rest.count();
            at += rows;
            let slot = self.join(key, start, end, &mut known);
            slots.resize(slots.len() + rows, slot);
        }
        self.touched.clear_marks();
        if !known.0.is_empty() {
            self.touched.add(&self.set, &Piece::new(known.0, self.log.gather(&known.1)?))?;
        }
        let rows = UInt32Array::from_iter_values(order.iter().map(|(_, _, row)| *row));
        let states = self.set.states_of(partial).iter().map(|column| take(column, &rows, None));
        let states = states.collect::<Result<_, _>>()?;
        // Later rows of this batch may have made one session of several.
        for slot in &mut slots {
            *slot = self.sessions.root(*slot);
        }
        self.touched.add(&self.set, &Piece::new(slots, states))?;
        Ok(merged)
    }

    /// The session that a run of rows belongs to: a new one, an open one, or what several become.
    /// Notes where the state is that the log has of it.
    fn join(&mut self, key: u32, start: i64, end: i64, known: &mut (Vec<u32>, Vec<Place>)) -> u32 {
        let joined = self.sessions.join(key, start, end);
        for slot in joined.absorbed.iter().chain([&joined.slot]) {
            if let Some(place) = self.log.place(*slot)
                && !self.touched.contains(*slot)
                && self.touched.mark(*slot)
            {
                known.0.push(*slot);
                known.1.push(place);
            }
        }
        self.absorbed.extend(joined.absorbed);
        joined.slot
    }

    /// Moves what was touched into the log.
    fn settle(&mut self) -> Result<()> {
        let mut piece = self.touched.take_piece()?;
        if !self.absorbed.is_empty() {
            let ids = piece.ids.iter().map(|slot| self.sessions.root(*slot)).collect();
            self.merger.add(&self.set, &Piece::new(ids, piece.states))?;
            piece = self.merger.take_piece()?;
            for absorbed in self.absorbed.drain(..) {
                self.log.remove(absorbed);
                self.sessions.free(absorbed);
            }
        }
        self.log.append(piece.ids.to_vec(), piece.states)
    }

    /// Pushes sessions that are settled.
    fn emit(&mut self, slots: &[u32], out: &mut Vec<RecordBatch>) -> Result<()> {
        for slots in slots.chunks(OUTPUT_ROWS) {
            let places: Vec<Place> = slots.iter().filter_map(|s| self.log.place(*s)).collect();
            let states = self.log.gather(&places)?;
            let values = self.merger.evaluate(&self.set, &states, slots.len())?;
            let (keys, starts, ends) = self.sessions.columns(slots);
            let keys = self.keys.decode(&keys)?;
            let bounds = Bounds::Each(&starts, &ends);
            out.push(self.output.batch(bounds, keys, values, slots.len())?);
        }
        Ok(())
    }

    fn close(&mut self, watermark: i64, out: &mut Vec<RecordBatch>) -> Result<Closed> {
        if self.complete {
            return Ok(Closed::default());
        }
        let slots = self.sessions.due(watermark);
        if slots.is_empty() {
            return Ok(Closed::default());
        }
        self.settle()?;
        self.emit(&slots, out)?;
        for slot in &slots {
            self.log.remove(*slot);
            self.sessions.close(*slot);
        }
        if self.keys.is_large() {
            let used = self.sessions.used(self.keys.len());
            if let Some(moved) = self.keys.compact(&used)? {
                self.sessions.renumber(&moved, self.keys.len());
            }
        }
        Ok(Closed { windows: slots.len() as u64 })
    }

    fn changes(&mut self) -> Result<StateDelta> {
        self.settle()?;
        let mut segments = vec![];
        let (keys, sessions, schema) = (&self.keys, &self.sessions, &self.segment_schema);
        let origin = self.marks.origin();
        self.log.snapshot(&mut self.next, |chunk| {
            let (codes, starts, ends) = sessions.columns(chunk.slots);
            let mut columns = keys.decode(&codes)?;
            columns.extend([times(starts), times(ends)]);
            columns.extend(chunk.states.iter().cloned());
            let (pane, groups) = (chunk.id, chunk.slots.len());
            let bytes = encode(schema, pane, columns, groups, &[(ORIGIN, origin)])?;
            segments.push(Segment { pane, whole: true, bytes, groups });
            Ok(())
        })?;
        if !self.complete {
            segments.extend(self.marks.segment(schema, self.watermark)?);
        }
        let closed = self.log.take_closed();
        Ok(StateDelta { segments, closed, watermark: self.watermark })
    }

    /// What the segments say of a session is as old as they are: what the newest says of a time of
    /// a key holds. A session only grows, and swallows others whole, so an older row that overlaps
    /// a newer one is of the same session, or of one that became part of it. What the watermark of
    /// its shard had closed went out before the checkpoint was taken.
    fn rebuild(
        &mut self,
        mut segments: Vec<Decoded>,
        watermark: Option<i64>,
        keep: (usize, usize),
    ) -> Result<()> {
        let marks = Marks::read(&segments);
        segments.retain(|segment| !Marks::is_mark(segment));
        segments.sort_by_key(|segment| segment.pane);
        self.next = segments.last().map_or(1, |segment| segment.pane.saturating_add(1));
        self.keys = KeyDictionary::new(&self.set.key_types())?;
        self.sessions = OpenSessions::default();
        self.log = StateLog::default();
        self.absorbed.clear();
        self.touched = Merger::new(&self.set)?;
        self.marks = Marks::new(new_origin());
        self.watermark = watermark;
        for segment in segments.into_iter().rev() {
            let seen = segment.note(ORIGIN).and_then(|origin| marks.get(&origin).copied());
            let seen = seen.filter(|_| !self.complete);
            for batch in &segment.batches {
                self.restore_batch(batch, seen, keep)?;
            }
        }
        Ok(())
    }

    fn restore_batch(
        &mut self,
        batch: &RecordBatch,
        seen: Option<i64>,
        keep: (usize, usize),
    ) -> Result<()> {
        let batch = keep_shard(batch.clone(), 0..self.set.keys, keep)?;
        let columns = batch.columns();
        let mut codes = vec![];
        self.keys.codes(&columns[..self.set.keys], batch.num_rows(), &mut codes)?;
        let starts = columns[self.set.keys].as_primitive::<TimestampMicrosecondType>().values();
        let ends = columns[self.set.keys + 1].as_primitive::<TimestampMicrosecondType>().values();
        let (mut rows, mut slots) = (vec![], vec![]);
        for (row, key) in (0_u32..).zip(codes) {
            let (start, end) = (starts[row as usize], ends[row as usize]);
            if seen.is_none_or(|mark| end > mark)
                && let Some(slot) = self.sessions.open_unless_known(key, start, end)
            {
                rows.push(row);
                slots.push(slot);
            }
        }
        let rows = UInt32Array::from(rows);
        let states = columns[self.set.keys + 2..].iter().map(|column| take(column, &rows, None));
        self.log.append(slots, states.collect::<Result<_, _>>()?)
    }

    fn failed(&self) -> impl Fn(DataFusionError) -> OperatorError + use<> {
        let query = Arc::clone(&self.set.query);
        move |source| OperatorError::Evaluate { query: Arc::clone(&query), source }
    }
}

fn session_schema(set: &AggregateSet) -> SchemaRef {
    let plain = segment_schema(set.partial_schema(), set.keys);
    let (keys, states) = plain.fields().split_at(set.keys);
    let bounds = ["session_start", "session_end"];
    let bounds = bounds.map(|name| Arc::new(Field::new(name, timestamp_type(), false)));
    Arc::new(Schema::new(
        keys.iter().cloned().chain(bounds).chain(states.iter().cloned()).collect::<Vec<_>>(),
    ))
}

fn times(values: Vec<i64>) -> ArrayRef {
    Arc::new(
        PrimitiveArray::<TimestampMicrosecondType>::from_iter_values(values).with_timezone("UTC"),
    )
}

impl Operator for SessionState {
    fn rows(
        &mut self,
        _: usize,
        rows: &RecordBatch,
        _: &mut Vec<RecordBatch>,
    ) -> Result<Merged, OperatorError> {
        self.set.check(rows)?;
        self.merge(rows).map_err(self.failed())
    }

    fn advance(
        &mut self,
        watermark: i64,
        out: &mut Vec<RecordBatch>,
    ) -> Result<Closed, OperatorError> {
        let reached = self.watermark.map_or(watermark, |current| current.max(watermark));
        self.watermark = Some(reached);
        self.close(reached, out).map_err(self.failed())
    }

    fn trigger(&mut self, out: &mut Vec<RecordBatch>) -> Result<(), OperatorError> {
        if !self.complete {
            return Ok(());
        }
        let failed = self.failed();
        self.settle().map_err(&failed)?;
        let slots = self.sessions.all();
        self.emit(&slots, out).map_err(failed)
    }

    fn snapshot(&mut self) -> Result<StateDelta, OperatorError> {
        self.changes().map_err(self.failed())
    }

    fn restore(
        &mut self,
        segments: &[&[u8]],
        watermark: Option<i64>,
        keep: (usize, usize),
    ) -> Result<(), OperatorError> {
        let refused =
            |detail: String| OperatorError::Segment { query: Arc::clone(&self.set.query), detail };
        let segments = segments
            .iter()
            .map(|bytes| decode(&self.segment_schema, bytes).map_err(refused))
            .collect::<Result<Vec<_>, _>>()?;
        self.rebuild(segments, watermark, keep).map_err(self.failed())
    }

    fn stats(&self) -> StateStats {
        let open = self.sessions.len();
        let bytes = self.keys.size() + self.sessions.size() + self.log.size();
        let bytes = bytes + self.touched.size() + self.merger.size();
        StateStats { open_windows: open, groups: open, bytes }
    }

    fn watermark(&self) -> Option<i64> {
        self.watermark
    }
}
