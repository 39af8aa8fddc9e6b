//! Windows that overlap.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::SchemaRef;
use datafusion::common::{DataFusionError, Result};

use super::dictionary::KeyDictionary;
use super::origin::{Marks, ORIGIN, new_origin};
use super::output::{Bounds, OUTPUT_ROWS, OutputRows};
use super::pieces::{Merger, Piece};
use super::rows::{by_window, count, counts, starts};
use super::segment::{Decoded, decode, encode, segment_schema};
use super::shard::keep_shard;
use super::tiers::Panes;
use super::{AggregatePlan, AggregateSet};
use crate::event_time::{Sliding, Windows};
use crate::operator::{Closed, Merged, Operator, OperatorError, Segment, StateDelta, StateStats};
use crate::sql::OutputMode;

/// More segments than this, and the pane is rewritten as one.
const MAX_SEGMENTS: usize = 8;
/// More rows in a pane's segments than this many times its groups, and it is rewritten as one.
const MAX_AMPLIFICATION: usize = 2;

/// Sliding windows in any output mode.
///
/// A row that comes when some of its windows are closed counts in those that are open; it is late
/// only if all are closed. A pane goes when its last window closes. In complete mode none closes.
pub struct SlidingState {
    set: AggregateSet,
    mode: OutputMode,
    windows: Sliding,
    output: OutputRows,
    segment_schema: SchemaRef,
    keys: KeyDictionary,
    panes: Panes,
    merger: Merger,
    watermark: Option<i64>,
    /// Windows before this one are closed, and what they came to is out.
    first_open: i64,
    /// Update mode: the keys that changed in each pane since the last trigger.
    changed: BTreeMap<i64, Vec<u32>>,
    /// Panes that changed since the last snapshot.
    unsaved: BTreeSet<i64>,
    /// Panes that the checkpoint can drop.
    closed: Vec<i64>,
    /// Rows of windows that some shard had closed, and others had not, when the checkpoint was
    /// taken that this state is restored from: the others' share, which is due.
    due: Vec<RecordBatch>,
    marks: Marks,
}

impl SlidingState {
    /// An empty state for the plan.
    ///
    /// # Errors
    /// The plan has an aggregate that cannot be compiled, or other windows.
    pub fn new(plan: &AggregatePlan) -> Result<Self, OperatorError> {
        let set = AggregateSet::new(plan)?;
        let failed = OperatorError::evaluate(&plan.query);
        let Windows::Sliding(windows) = plan.windows else {
            return Err(failed(DataFusionError::Plan("windows that do not slide".into())));
        };
        Ok(Self {
            mode: plan.mode,
            windows,
            output: OutputRows::new(plan),
            segment_schema: segment_schema(set.partial_schema(), set.keys),
            keys: KeyDictionary::new(&set.key_types()).map_err(&failed)?,
            panes: new_panes(&windows),
            merger: Merger::new(&set).map_err(&failed)?,
            watermark: None,
            first_open: i64::MIN,
            changed: BTreeMap::new(),
            unsaved: BTreeSet::new(),
            closed: vec![],
            due: vec![],
            marks: Marks::new(new_origin()),
            set,
        })
    }

    fn merge(&mut self, partial: &RecordBatch) -> Result<Merged> {
        let counts = counts(&self.set, partial);
        let mut merged = Merged::default();
        let mut codes = vec![];
        self.keys.codes(self.set.keys_of(partial), partial.num_rows(), &mut codes)?;
        for (start, rows) in by_window(starts(partial)) {
            let pane = self.windows.pane(start);
            let count = count(counts, &rows);
            if *self.windows.windows_of(pane).end() < self.first_open {
                merged.late_rows += count;
                continue;
            }
            let ids = rows.of_list(&codes);
            if self.mode == OutputMode::Update {
                self.changed.entry(pane).or_default().extend(&ids);
            }
            let piece = Piece::new(ids, rows.of_columns(self.set.states_of(partial))?);
            self.panes.push(&self.set, &mut self.merger, pane, piece)?;
            self.unsaved.insert(pane);
            merged.rows += count;
        }
        Ok(merged)
    }

    /// The first window, of those in `range`, that has rows.
    fn next_window(&self, range: Range<i64>) -> Option<i64> {
        let first = self.panes.first(i64::MIN)?;
        let mut window = range.start.max(*self.windows.windows_of(first).start());
        while window < range.end {
            let panes = self.windows.panes_of(window);
            let first = self.panes.first(panes.start)?;
            if first < panes.end {
                return Some(window);
            }
            window = *self.windows.windows_of(first).start();
        }
        None
    }

    /// Pushes the rows of a window: all, or those of keys that changed since the last trigger.
    fn emit(&mut self, window: i64, all: bool, out: &mut Vec<RecordBatch>) -> Result<()> {
        let range = self.windows.panes_of(window);
        if !all && self.changed.range(range.clone()).next().is_none() {
            return Ok(());
        }
        let (set, merger) = (&self.set, &mut self.merger);
        let (changed, last) = (&self.changed, self.panes.last().unwrap_or(i64::MIN));
        // In append mode, only windows whose panes are all in the past are asked for.
        let append = self.mode == OutputMode::Append;
        let settled = |panes: &Range<i64>| {
            append || (panes.end <= last && changed.range(panes.clone()).next().is_none())
        };
        let pieces = self.panes.pieces(set, merger, range.clone(), &settled)?;
        if !all {
            merger.select(changed.range(range).flat_map(|(_, ids)| ids));
        }
        for piece in &pieces {
            merger.add(set, piece)?;
        }
        let (ids, values) = merger.take_results()?;
        let (start, end) = self.windows.bounds(window);
        for (at, ids) in (0..).step_by(OUTPUT_ROWS).zip(ids.chunks(OUTPUT_ROWS)) {
            let keys = self.keys.decode(ids)?;
            let values = values.iter().map(|column| column.slice(at, ids.len())).collect();
            out.push(self.output.batch(Bounds::Same(start, end), keys, values, ids.len())?);
        }
        Ok(())
    }

    /// Closes windows at the watermark.
    fn close(&mut self, watermark: i64, out: &mut Vec<RecordBatch>) -> Result<Closed> {
        let mut closed = Closed::default();
        if self.mode == OutputMode::Complete {
            return Ok(closed);
        }
        let first_open = self.first_open.max(self.windows.first_open(watermark));
        let mut at = self.first_open;
        while let Some(window) = self.next_window(at..first_open) {
            self.emit(window, self.mode == OutputMode::Append, out)?;
            closed.windows += 1;
            at = window + 1;
        }
        self.first_open = first_open;
        self.drop_panes()?;
        Ok(closed)
    }

    fn drop_panes(&mut self) -> Result<()> {
        while let Some(first) = self.panes.first(i64::MIN)
            && *self.windows.windows_of(first).end() < self.first_open
        {
            self.changed.remove(&first);
            self.unsaved.remove(&first);
            if self.panes.pop_first().is_some_and(|(_, pane)| pane.segments > 0) {
                self.closed.push(self.windows.pane_bounds(first).0);
            }
        }
        if self.keys.is_large() {
            let used = self.panes.used(self.keys.len());
            if let Some(moved) = self.keys.compact(&used)? {
                self.panes.renumber(&moved);
                for id in self.changed.values_mut().flatten() {
                    *id = moved[*id as usize];
                }
            }
        }
        Ok(())
    }

    fn show(&mut self, out: &mut Vec<RecordBatch>) -> Result<()> {
        let mut at = self.first_open;
        match self.mode {
            OutputMode::Append => {}
            OutputMode::Update => {
                let panes: Vec<i64> = self.changed.keys().copied().collect();
                for pane in panes {
                    for window in self.windows.windows_of(pane) {
                        // Earlier ones are closed, or were shown for an earlier pane.
                        if window >= at {
                            self.emit(window, false, out)?;
                            at = window + 1;
                        }
                    }
                }
                self.changed.clear();
            }
            OutputMode::Complete => {
                while let Some(window) = self.next_window(at..i64::MAX) {
                    self.emit(window, true, out)?;
                    at = window + 1;
                }
            }
        }
        Ok(())
    }

    fn changes(&mut self) -> Result<StateDelta> {
        let mut segments = vec![];
        for ordinal in mem::take(&mut self.unsaved) {
            let Some(pane) = self.panes.get_mut(ordinal) else { continue };
            let (set, merger) = (&self.set, &mut self.merger);
            pane.stack.merge_from(set, merger, pane.saved)?;
            let changed = pane.stack.pieces.last().map_or(0, Piece::rows);
            let groups = pane.stack.pieces.iter().map(Piece::rows).max().unwrap_or(0);
            let whole = pane.rewrite
                || pane.segments == 0
                || pane.segments >= MAX_SEGMENTS
                || pane.segment_rows + changed > MAX_AMPLIFICATION * groups;
            if whole {
                pane.stack.merge_from(set, merger, 0)?;
                (pane.segments, pane.segment_rows, pane.rewrite) = (0, 0, false);
            }
            let Some(piece) = pane.stack.pieces.last() else { continue };
            pane.segments += 1;
            pane.segment_rows += piece.rows();
            pane.saved = pane.stack.pieces.len();
            let mut columns = self.keys.decode(&piece.ids)?;
            columns.extend(piece.states.iter().cloned());
            let (start, groups) = (self.windows.pane_bounds(ordinal).0, piece.rows());
            let notes = [(ORIGIN, self.marks.origin())];
            let bytes = encode(&self.segment_schema, start, columns, groups, &notes)?;
            segments.push(Segment { pane: start, whole, bytes, groups });
        }
        if self.mode == OutputMode::Append {
            segments.extend(self.marks.segment(&self.segment_schema, self.watermark)?);
        }
        Ok(StateDelta { segments, closed: mem::take(&mut self.closed), watermark: self.watermark })
    }

    fn rebuild(
        &mut self,
        segments: Vec<Decoded>,
        watermark: Option<i64>,
        keep: (usize, usize),
    ) -> Result<()> {
        let marks = Marks::read(&segments);
        let newest = marks.values().copied().max().max(watermark);
        let mut origins: BTreeMap<i64, Vec<Decoded>> = BTreeMap::new();
        for segment in segments {
            if !Marks::is_mark(&segment) {
                origins.entry(segment.note(ORIGIN).unwrap_or(0)).or_default().push(segment);
            }
        }
        self.keys = KeyDictionary::new(&self.set.key_types())?;
        self.panes = new_panes(&self.windows);
        self.changed.clear();
        self.unsaved.clear();
        self.closed.clear();
        self.due.clear();
        self.marks = Marks::new(new_origin());
        let complete = self.mode == OutputMode::Complete;
        let newest = newest.filter(|_| !complete);
        for (origin, segments) in origins {
            // Without a mark it had no watermark yet.
            let seen = marks.get(&origin).copied();
            // The other shards' panes are put aside while this one's are looked at alone.
            let others = mem::replace(&mut self.panes, new_panes(&self.windows));
            for segment in segments {
                let pane = self.windows.pane(segment.pane);
                for batch in segment.batches {
                    self.restore_batch(pane, batch, keep)?;
                }
            }
            self.first_open = seen.map_or(i64::MIN, |seen| self.windows.first_open(seen));
            if self.mode == OutputMode::Append && seen < newest {
                let mut due = mem::take(&mut self.due);
                let to = newest.map_or(i64::MIN, |newest| self.windows.first_open(newest));
                let mut at = self.first_open;
                while let Some(window) = self.next_window(at..to) {
                    self.emit(window, true, &mut due)?;
                    at = window + 1;
                }
                self.due = due;
            }
            let own = mem::replace(&mut self.panes, others);
            for (ordinal, pane) in own.iter() {
                for piece in &pane.stack.pieces {
                    self.panes.push(&self.set, &mut self.merger, ordinal, piece.clone())?;
                }
            }
        }
        self.first_open = newest.map_or(i64::MIN, |newest| self.windows.first_open(newest));
        self.watermark = watermark;
        self.drop_panes()?;
        self.unsaved = self.panes.iter().map(|(ordinal, _)| ordinal).collect();
        for ordinal in &self.unsaved {
            if let Some(pane) = self.panes.get_mut(*ordinal) {
                // The checkpoint knows the pane, so closing it has to be told.
                (pane.rewrite, pane.segments) = (true, 1);
            }
        }
        Ok(())
    }

    fn restore_batch(&mut self, pane: i64, batch: RecordBatch, keep: (usize, usize)) -> Result<()> {
        let batch = keep_shard(batch, 0..self.set.keys, keep)?;
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let (keys, states) = batch.columns().split_at(self.set.keys);
        let mut ids = vec![];
        self.keys.codes(keys, batch.num_rows(), &mut ids)?;
        self.panes.push(&self.set, &mut self.merger, pane, Piece::new(ids, states.to_vec()))
    }

    fn failed(&self) -> impl Fn(DataFusionError) -> OperatorError + use<> {
        let query = Arc::clone(&self.set.query);
        move |source| OperatorError::Evaluate { query: Arc::clone(&query), source }
    }
}

/// No panes yet, for windows of this many.
fn new_panes(windows: &Sliding) -> Panes {
    let panes = windows.panes_of(0);
    Panes::new((panes.end - panes.start) as usize)
}

impl Operator for SlidingState {
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
        out.append(&mut self.due);
        let reached = self.watermark.map_or(watermark, |current| current.max(watermark));
        self.watermark = Some(reached);
        self.close(reached, out).map_err(self.failed())
    }

    fn trigger(&mut self, out: &mut Vec<RecordBatch>) -> Result<(), OperatorError> {
        out.append(&mut self.due);
        self.show(out).map_err(self.failed())
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
        let mut open_windows = 0;
        // Panes are in ascending order, and so are the windows of each.
        let mut from = self.first_open;
        for (pane, _) in self.panes.iter() {
            let windows = self.windows.windows_of(pane);
            open_windows +=
                windows.end().saturating_add(1).saturating_sub(from.max(*windows.start())).max(0);
            from = from.max(windows.end().saturating_add(1));
        }
        let changed: usize = self.changed.values().map(|ids| ids.capacity() * 4).sum();
        StateStats {
            open_windows: open_windows as usize,
            groups: self.panes.groups(),
            bytes: self.keys.size() + self.panes.size() + self.merger.size() + changed,
        }
    }

    fn watermark(&self) -> Option<i64> {
        self.watermark
    }
}
