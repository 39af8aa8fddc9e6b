//! Windows that do not overlap, in append mode: each comes out once, when it closes.

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::{DataFusionError, exec_err};

use super::groups::{Emitted, GroupTable};
use super::output::{Bounds, OutputRows};
use super::rows::{Rows, by_window, count, counts, starts};
use super::segment::{decode, encode, segment_schema};
use super::shard::keep_shard;
use super::{AggregatePlan, AggregateSet};
use crate::event_time::{Tumbling, Windows};
use crate::operator::{Closed, Merged, Operator, OperatorError, Segment, StateDelta, StateStats};

/// More segments than this, and the pane is rewritten as one.
const MAX_SEGMENTS: usize = 8;
/// More rows in a pane's segments than this many times its groups, and it is rewritten as one.
const MAX_AMPLIFICATION: usize = 2;

/// One open window.
#[derive(Default)]
struct Pane {
    /// Groups up to the last snapshot.
    main: Option<GroupTable>,
    /// Rows merged since.
    delta: Option<GroupTable>,
    /// Segments that the checkpoint holds of this pane, and the rows in them.
    segments: usize,
    segment_rows: usize,
    /// The next snapshot has to write the pane whole.
    rewrite: bool,
}

/// The state of one shard of one query.
///
/// `merge` and `advance` in any order, `snapshot` at barriers. One thread at a time.
pub struct TumblingState {
    set: AggregateSet,
    windows: Tumbling,
    output: OutputRows,
    segment_schema: SchemaRef,
    panes: BTreeMap<i64, Pane>,
    watermark: Option<i64>,
    /// Closed since the last snapshot, and known to the checkpoint.
    closed: Vec<i64>,
}

impl TumblingState {
    /// An empty state for the plan.
    ///
    /// # Errors
    /// The plan has an aggregate or expression that cannot be compiled; `sql::plan` has tried.
    pub fn new(plan: &AggregatePlan) -> Result<Self, OperatorError> {
        let set = AggregateSet::new(plan)?;
        let Windows::Tumbling(windows) = plan.windows else {
            let error = DataFusionError::Plan("an aggregation without a window".into());
            return Err(OperatorError::evaluate(&plan.query)(error));
        };
        Ok(Self {
            windows,
            output: OutputRows::new(plan),
            segment_schema: segment_schema(set.partial_schema(), set.keys),
            panes: BTreeMap::new(),
            watermark: None,
            closed: vec![],
            set,
        })
    }

    /// Merges a partial batch of this shard's keys.
    ///
    /// Late is what belongs to a window whose end is not after the watermark: it is counted and
    /// dropped.
    ///
    /// # Errors
    /// [`OperatorError::Rows`] for a batch of another plan; [`OperatorError::Evaluate`] if an
    /// accumulator fails.
    pub fn merge(&mut self, partial: &RecordBatch) -> Result<Merged, OperatorError> {
        self.set.check(partial)?;
        let counts = counts(&self.set, partial);
        let mut merged = Merged::default();
        for (start, rows) in by_window(starts(partial)) {
            let count = count(counts, &rows);
            if self.watermark.is_some_and(|mark| self.windows.is_closed(start, mark)) {
                merged.late_rows += count;
                continue;
            }
            self.merge_pane(start, partial, &rows)
                .map_err(OperatorError::evaluate(&self.set.query))?;
            merged.rows += count;
        }
        Ok(merged)
    }

    fn merge_pane(
        &mut self,
        start: i64,
        partial: &RecordBatch,
        rows: &Rows,
    ) -> Result<(), DataFusionError> {
        let batch = rows.of_batch(partial)?;
        let columns = batch.columns();
        let keys = &columns[self.set.key_columns()];
        let states = &columns[self.set.count_column() + 1..];
        let pane = self.panes.entry(start).or_default();
        let delta = match &mut pane.delta {
            Some(delta) => delta,
            None => pane.delta.insert(GroupTable::new(&self.set)?),
        };
        delta.merge(&self.set, keys, states, batch.num_rows())
    }

    /// Moves the watermark to `watermark` (never back) and closes every window whose end is not
    /// after it. Returns their final rows, oldest window first.
    ///
    /// # Errors
    /// [`OperatorError::Evaluate`] if an accumulator or expression fails.
    pub fn advance(&mut self, watermark: i64) -> Result<Vec<RecordBatch>, OperatorError> {
        let watermark = self.watermark.map_or(watermark, |current| current.max(watermark));
        self.watermark = Some(watermark);
        let mut batches = vec![];
        while let Some(entry) = self.panes.first_entry() {
            if !self.windows.is_closed(*entry.key(), watermark) {
                break;
            }
            let (start, pane) = entry.remove_entry();
            if pane.segments > 0 {
                self.closed.push(start);
            }
            let rows = self.close(start, pane).map_err(OperatorError::evaluate(&self.set.query))?;
            if rows.num_rows() > 0 {
                batches.push(rows);
            }
        }
        Ok(batches)
    }

    fn close(&self, start: i64, pane: Pane) -> Result<RecordBatch, DataFusionError> {
        let results = match (pane.main, pane.delta) {
            (Some(mut main), Some(delta)) => {
                let state = delta.into_state()?;
                main.merge(&self.set, &state.keys, &state.values, state.groups)?;
                main.into_results()?
            }
            (Some(only), None) | (None, Some(only)) => only.into_results()?,
            (None, None) => return exec_err!("a pane without groups"),
        };
        let bounds = Bounds::Same(start, self.windows.end(start));
        self.output.batch(bounds, results.keys, results.values, results.groups)
    }

    /// Windows that are open and have rows; cheaper than [`stats`](Self::stats).
    pub fn open_windows(&self) -> usize {
        self.panes.len()
    }

    /// The watermark of the last [`advance`](Self::advance) or restore.
    pub fn watermark(&self) -> Option<i64> {
        self.watermark
    }

    /// What changed since the last snapshot, for the checkpoint. The first one after a restore
    /// holds every pane whole.
    ///
    /// # Errors
    /// [`OperatorError::Evaluate`] if an accumulator fails or a segment cannot be encoded.
    pub fn snapshot(&mut self) -> Result<StateDelta, OperatorError> {
        let mut segments = vec![];
        for (start, pane) in &mut self.panes {
            let segment = snapshot_pane(&self.set, &self.segment_schema, *start, pane)
                .map_err(OperatorError::evaluate(&self.set.query))?;
            segments.extend(segment);
        }
        Ok(StateDelta { segments, closed: mem::take(&mut self.closed), watermark: self.watermark })
    }

    /// Replaces the state by what a checkpoint holds: all live segments of the query, of any number
    /// of shards, in the order they were written; of them the keys of shard `keep.0` of `keep.1` are
    /// kept. Since old segments of other shards may stand for keys that are here now, the caller
    /// drops all segments of the query when the next snapshot is durable.
    ///
    /// # Errors
    /// [`OperatorError::Segment`] for bytes that are no segment, or of another plan.
    pub fn restore(
        &mut self,
        segments: &[&[u8]],
        watermark: Option<i64>,
        keep: (usize, usize),
    ) -> Result<(), OperatorError> {
        let mut panes: BTreeMap<i64, Pane> = BTreeMap::new();
        for bytes in segments {
            let decoded = decode(&self.segment_schema, bytes).map_err(|detail| {
                OperatorError::Segment { query: Arc::clone(&self.set.query), detail }
            })?;
            let start = decoded.pane;
            // Its rows went out before the checkpoint was taken.
            if watermark.is_some_and(|mark| self.windows.is_closed(start, mark)) {
                continue;
            }
            for batch in decoded.batches {
                restore_batch(&self.set, &mut panes, start, batch, keep)
                    .map_err(OperatorError::evaluate(&self.set.query))?;
            }
        }
        self.panes = panes;
        self.watermark = watermark;
        self.closed.clear();
        Ok(())
    }

    /// Size of the state. Asks every accumulator, so once a second is fine and once a batch is not.
    pub fn stats(&self) -> StateStats {
        let tables = self.panes.values().flat_map(|pane| pane.main.iter().chain(&pane.delta));
        let mut stats = StateStats { open_windows: self.panes.len(), ..StateStats::default() };
        for table in tables {
            stats.groups += table.len();
            stats.bytes += table.size();
        }
        stats
    }
}

impl Operator for TumblingState {
    fn rows(
        &mut self,
        _: usize,
        rows: &RecordBatch,
        _: &mut Vec<RecordBatch>,
    ) -> Result<Merged, OperatorError> {
        self.merge(rows)
    }

    fn advance(
        &mut self,
        watermark: i64,
        out: &mut Vec<RecordBatch>,
    ) -> Result<Closed, OperatorError> {
        let open = self.panes.len();
        out.extend(self.advance(watermark)?);
        Ok(Closed { windows: open.saturating_sub(self.panes.len()) as u64 })
    }

    fn trigger(&mut self, _: &mut Vec<RecordBatch>) -> Result<(), OperatorError> {
        Ok(())
    }

    fn snapshot(&mut self) -> Result<StateDelta, OperatorError> {
        self.snapshot()
    }

    fn restore(
        &mut self,
        segments: &[&[u8]],
        watermark: Option<i64>,
        keep: (usize, usize),
    ) -> Result<(), OperatorError> {
        self.restore(segments, watermark, keep)
    }

    fn stats(&self) -> StateStats {
        self.stats()
    }

    fn watermark(&self) -> Option<i64> {
        self.watermark
    }
}

fn restore_batch(
    set: &AggregateSet,
    panes: &mut BTreeMap<i64, Pane>,
    start: i64,
    batch: RecordBatch,
    keep: (usize, usize),
) -> Result<(), DataFusionError> {
    let batch = keep_shard(batch, 0..set.keys, keep)?;
    if batch.num_rows() == 0 {
        return Ok(());
    }
    let pane = panes.entry(start).or_default();
    pane.rewrite = true;
    // The checkpoint knows the pane, so closing it has to be told.
    pane.segments += 1;
    let main = match &mut pane.main {
        Some(main) => main,
        None => pane.main.insert(GroupTable::new(set)?),
    };
    let (keys, states) = batch.columns().split_at(set.keys);
    main.merge(set, keys, states, batch.num_rows())
}

fn snapshot_pane(
    set: &AggregateSet,
    schema: &SchemaRef,
    start: i64,
    pane: &mut Pane,
) -> Result<Option<Segment>, DataFusionError> {
    let delta = pane.delta.take();
    if delta.is_none() && !pane.rewrite {
        return Ok(None);
    }
    let changed = delta.map(GroupTable::into_state).transpose()?;
    let mut main = match pane.main.take() {
        Some(main) => main,
        None => GroupTable::new(set)?,
    };
    let first = main.len() == 0;
    if let Some(changed) = &changed {
        main.merge(set, &changed.keys, &changed.values, changed.groups)?;
    }
    let changed_rows = changed.as_ref().map_or(0, |changed| changed.groups);
    let rewrite = pane.rewrite
        || pane.segments >= MAX_SEGMENTS
        || pane.segment_rows + changed_rows > MAX_AMPLIFICATION * main.len().max(1);
    let (whole, emitted) = match changed {
        // All there is: the same groups whether it is called whole or not.
        Some(changed) if !rewrite || first => (first, changed),
        _ => {
            let all = main.into_state()?;
            main = GroupTable::new(set)?;
            main.merge(set, &all.keys, &all.values, all.groups)?;
            (true, all)
        }
    };
    pane.main = Some(main);
    pane.rewrite = false;
    if whole {
        (pane.segments, pane.segment_rows) = (0, 0);
    }
    pane.segments += 1;
    pane.segment_rows += emitted.groups;
    let segment = to_segment(schema, start, whole, &emitted)?;
    Ok(Some(segment))
}

fn to_segment(
    schema: &SchemaRef,
    pane: i64,
    whole: bool,
    emitted: &Emitted,
) -> Result<Segment, DataFusionError> {
    let columns = emitted.keys.iter().chain(&emitted.values).cloned().collect();
    let bytes = encode(schema, pane, columns, emitted.groups, &[])?;
    Ok(Segment { pane, whole, bytes, groups: emitted.groups })
}
