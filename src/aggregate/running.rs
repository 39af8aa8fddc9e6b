//! Aggregation without windows, or over windows that do not overlap, in update and complete mode.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::mem;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::{DataFusionError, Result};

use super::output::{Bounds, OutputRows};
use super::pieces::Merger;
use super::rows::{by_window, count, counts, starts};
use super::segment::{decode, encode, segment_schema};
use super::shard::keep_shard;
use super::store::{Emission, Store};
use super::{AggregatePlan, AggregateSet};
use crate::event_time::{Tumbling, Windows};
use crate::operator::{Closed, Merged, Operator, OperatorError, Segment, StateDelta, StateStats};
use crate::sql::OutputMode;

/// Note in a segment: the start of the window that its groups are of.
const WINDOW: &str = "window";

/// Running results: what changed, or all, goes out at each trigger.
///
/// In update mode a window is dropped when the watermark reaches its end, and a row of it that
/// comes later is late; changes that no trigger has shown by then are shown. In complete mode, and
/// without windows, nothing is ever dropped and no row is late. This is what Spark does.
///
/// A group is read and written whole when it changes. So one whose state is large (the distinct
/// values of a `count(DISTINCT ...)`, a list) costs that much at every trigger that it changes in.
pub struct RunningState {
    set: AggregateSet,
    complete: bool,
    /// `None`: there is one window, 0, for all time.
    windows: Option<Tumbling>,
    output: OutputRows,
    segment_schema: SchemaRef,
    stores: BTreeMap<i64, Store>,
    merger: Merger,
    watermark: Option<i64>,
    /// Identifier of the next chunk, which names its pane in the checkpoint.
    next: i64,
    /// Panes that the checkpoint can drop.
    closed: Vec<i64>,
}

impl RunningState {
    /// An empty state for the plan.
    ///
    /// # Errors
    /// The plan has an aggregate that cannot be compiled, or other windows or another output mode.
    pub fn new(plan: &AggregatePlan) -> Result<Self, OperatorError> {
        let set = AggregateSet::new(plan)?;
        let failed = OperatorError::evaluate(&plan.query);
        let windows = match plan.windows {
            Windows::None => None,
            Windows::Tumbling(windows) => Some(windows),
            Windows::Sliding(_) | Windows::Session(_) => {
                return Err(failed(DataFusionError::Plan("windows that overlap".into())));
            }
        };
        let complete = match plan.mode {
            OutputMode::Update => false,
            OutputMode::Complete => true,
            OutputMode::Append => {
                let text =
                    "append mode is for rows that are final, and without windows none ever is";
                return Err(failed(DataFusionError::Plan(text.into())));
            }
        };
        Ok(Self {
            complete,
            windows,
            output: OutputRows::new(plan),
            segment_schema: segment_schema(set.partial_schema(), set.keys),
            stores: BTreeMap::new(),
            merger: Merger::new(&set).map_err(&failed)?,
            watermark: None,
            next: 1,
            closed: vec![],
            set,
        })
    }

    fn bounds(&self, start: i64) -> Bounds<'static> {
        match &self.windows {
            Some(windows) => Bounds::Same(start, windows.end(start)),
            None => Bounds::None,
        }
    }

    fn is_closed(&self, start: i64) -> bool {
        let reached = self.windows.zip(self.watermark).filter(|_| !self.complete);
        reached.is_some_and(|(windows, watermark)| windows.is_closed(start, watermark))
    }

    fn merge(&mut self, partial: &RecordBatch) -> Result<Merged> {
        let counts = counts(&self.set, partial);
        let mut merged = Merged::default();
        for (start, rows) in by_window(starts(partial)) {
            let count = count(counts, &rows);
            if self.is_closed(start) {
                merged.late_rows += count;
                continue;
            }
            let store = store_of(&mut self.stores, &self.set, start)?;
            // The group of all rows, when there were none: it is there already.
            if count == 0 && store.is_started() {
                continue;
            }
            let keys = rows.of_columns(self.set.keys_of(partial))?;
            let states = rows.of_columns(self.set.states_of(partial))?;
            store.merge(&self.set, &keys, states, rows.len(partial))?;
            merged.rows += count;
        }
        Ok(merged)
    }

    fn emit(&mut self, start: i64, out: &mut Vec<RecordBatch>) -> Result<()> {
        let bounds = self.bounds(start);
        let Some(store) = self.stores.get_mut(&start) else { return Ok(()) };
        let (set, rows, merger) = (&self.set, &self.output, &mut self.merger);
        let mut to = Emission { set, merger, rows, bounds, out };
        match self.complete {
            true => store.all(&mut to),
            false => store.changed(&mut to),
        }
    }

    fn close(&mut self, out: &mut Vec<RecordBatch>) -> Result<Closed> {
        let mut closed = Closed::default();
        while let Some(start) = self.stores.keys().next().copied().filter(|s| self.is_closed(*s)) {
            self.emit(start, out)?;
            let gone = self.stores.remove(&start);
            self.closed.extend(gone.into_iter().flat_map(Store::into_closed));
            closed.windows += 1;
        }
        Ok(closed)
    }

    fn changes(&mut self) -> Result<StateDelta> {
        let mut segments = vec![];
        for (start, store) in &mut self.stores {
            let schema = &self.segment_schema;
            store.snapshot(&mut self.next, |pane, columns, groups| {
                let bytes = encode(schema, pane, columns, groups, &[(WINDOW, *start)])?;
                segments.push(Segment { pane, whole: true, bytes, groups });
                Ok(())
            })?;
            self.closed.extend(store.take_closed());
        }
        Ok(StateDelta { segments, closed: mem::take(&mut self.closed), watermark: self.watermark })
    }

    fn restore_batch(
        &mut self,
        start: i64,
        batch: RecordBatch,
        keep: (usize, usize),
    ) -> Result<()> {
        let batch = keep_shard(batch, 0..self.set.keys, keep)?;
        if batch.num_rows() == 0 {
            return Ok(());
        }
        store_of(&mut self.stores, &self.set, start)?.restore(&self.set, &batch)
    }

    fn failed(&self) -> impl Fn(DataFusionError) -> OperatorError + use<> {
        let query = Arc::clone(&self.set.query);
        move |source| OperatorError::Evaluate { query: Arc::clone(&query), source }
    }
}

impl Operator for RunningState {
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
        self.watermark = self.watermark.max(Some(watermark));
        self.close(out).map_err(self.failed())
    }

    fn trigger(&mut self, out: &mut Vec<RecordBatch>) -> Result<(), OperatorError> {
        let shown = self.stores.iter().filter(|(_, store)| self.complete || store.is_changed());
        let starts: Vec<i64> = shown.map(|(start, _)| *start).collect();
        starts.into_iter().try_for_each(|start| self.emit(start, out)).map_err(self.failed())
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
        let mut chunks = segments
            .iter()
            .map(|bytes| decode(&self.segment_schema, bytes).map_err(refused))
            .collect::<Result<Vec<_>, _>>()?;
        // A newer chunk's row of a group replaces an older one's.
        chunks.sort_by_key(|chunk| chunk.pane);
        self.next = chunks.last().map_or(1, |chunk| chunk.pane.saturating_add(1));
        self.watermark = watermark;
        self.stores.clear();
        self.closed.clear();
        for chunk in chunks {
            let Some(start) = chunk.note(WINDOW) else {
                let detail = "it does not say which window it is of".to_owned();
                return Err(OperatorError::Segment { query: Arc::clone(&self.set.query), detail });
            };
            if self.is_closed(start) {
                continue;
            }
            for batch in chunk.batches {
                self.restore_batch(start, batch, keep).map_err(self.failed())?;
            }
        }
        Ok(())
    }

    fn stats(&self) -> StateStats {
        let stores = self.stores.values();
        StateStats {
            open_windows: if self.windows.is_some() { self.stores.len() } else { 0 },
            groups: stores.clone().map(Store::len).sum(),
            bytes: stores.map(Store::size).sum::<usize>() + self.merger.size(),
        }
    }

    fn watermark(&self) -> Option<i64> {
        self.watermark
    }
}

/// The store of a window, which may be new.
fn store_of<'a>(
    stores: &'a mut BTreeMap<i64, Store>,
    set: &AggregateSet,
    start: i64,
) -> Result<&'a mut Store> {
    Ok(match stores.entry(start) {
        Entry::Occupied(entry) => entry.into_mut(),
        Entry::Vacant(entry) => entry.insert(Store::new(set)?),
    })
}
