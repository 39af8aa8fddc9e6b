//! Groups whose current value can be asked for at any time: those of the update and complete modes.

use datafusion::common::Result;

use arrow::array::{ArrayRef, RecordBatch};

use super::AggregateSet;
use super::dictionary::KeyDictionary;
use super::log::{Place, StateLog, Written};
use super::output::{Bounds, OUTPUT_ROWS, OutputRows};
use super::pieces::{Merger, Piece};

/// The groups of one window, or of all time.
///
/// Accumulators can be merged into but not looked at: their state is taken out or stays. So only
/// the groups that were touched since the last trigger have accumulators, which begin with the
/// state that the log holds of them. At the trigger it is taken out again, and is what the row of
/// output and the row of the checkpoint are made of.
pub(super) struct Store {
    keys: KeyDictionary,
    log: StateLog,
    touched: Option<Merger>,
    /// Groups whose change no trigger has shown, and that are in the log all the same.
    owed: Vec<u32>,
}

impl Store {
    pub(super) fn new(set: &AggregateSet) -> Result<Self> {
        Ok(Self {
            keys: KeyDictionary::new(&set.key_types())?,
            log: StateLog::default(),
            touched: None,
            owed: vec![],
        })
    }

    /// Number of groups.
    pub(super) fn len(&self) -> usize {
        let new = self.touched.iter().flat_map(Merger::ids);
        self.log.len() + new.filter(|id| self.log.place(**id).is_none()).count()
    }

    /// Bytes of memory.
    pub(super) fn size(&self) -> usize {
        self.keys.size() + self.log.size() + self.touched.as_ref().map_or(0, Merger::size)
    }

    /// Merges rows of intermediate state.
    pub(super) fn merge(
        &mut self,
        set: &AggregateSet,
        keys: &[ArrayRef],
        states: Vec<ArrayRef>,
        rows: usize,
    ) -> Result<()> {
        let mut ids = vec![];
        self.keys.codes(keys, rows, &mut ids)?;
        let touched = match &mut self.touched {
            Some(touched) => touched,
            None => self.touched.insert(Merger::new(set)?),
        };
        // What is known of the groups that are touched for the first time; it comes first, so that
        // `first_value` stays what it is.
        let mut known: (Vec<u32>, Vec<Place>) = (vec![], vec![]);
        for id in &ids {
            if let Some(place) = self.log.place(*id)
                && !touched.contains(*id)
                && touched.mark(*id)
            {
                known.0.push(*id);
                known.1.push(place);
            }
        }
        touched.clear_marks();
        if !known.0.is_empty() {
            touched.add(set, &Piece::new(known.0, self.log.gather(&known.1)?))?;
        }
        touched.add(set, &Piece::new(ids, states))
    }

    /// Whether there is a group without keys.
    pub(super) fn is_started(&self) -> bool {
        self.log.len() > 0 || self.touched.is_some()
    }

    /// Whether a trigger has something to show.
    pub(super) fn is_changed(&self) -> bool {
        self.touched.is_some() || !self.owed.is_empty()
    }

    /// Moves what was touched into the log.
    fn settle(&mut self) -> Result<Vec<u32>> {
        let Some(mut touched) = self.touched.take() else { return Ok(vec![]) };
        let piece = touched.take_piece()?;
        let ids = piece.ids.to_vec();
        self.log.append(ids.clone(), piece.states)?;
        Ok(ids)
    }

    /// Pushes the groups that changed since the last trigger.
    pub(super) fn changed(&mut self, to: &mut Emission<'_>) -> Result<()> {
        let mut ids = self.settle()?;
        if !self.owed.is_empty() {
            ids.append(&mut self.owed);
            ids.sort_unstable();
            ids.dedup();
        }
        self.emit(&ids, to)
    }

    /// Pushes all groups, in the order in which they first came.
    pub(super) fn all(&mut self, to: &mut Emission<'_>) -> Result<()> {
        self.settle()?;
        self.owed.clear();
        let ids: Vec<u32> = (0..self.keys.len() as u32).collect();
        self.emit(&ids, to)
    }

    fn emit(&self, ids: &[u32], to: &mut Emission<'_>) -> Result<()> {
        for ids in ids.chunks(OUTPUT_ROWS) {
            let (ids, places): (Vec<u32>, Vec<Place>) =
                ids.iter().filter_map(|id| Some((*id, self.log.place(*id)?))).unzip();
            if ids.is_empty() {
                continue;
            }
            let states = self.log.gather(&places)?;
            let values = to.merger.evaluate(to.set, &states, ids.len())?;
            let keys = self.keys.decode(&ids)?;
            to.out.push(to.rows.batch(to.bounds, keys, values, ids.len())?);
        }
        Ok(())
    }

    /// Shows what the checkpoint lacks, as columns of keys and states, to `write`.
    pub(super) fn snapshot(
        &mut self,
        next: &mut i64,
        mut write: impl FnMut(i64, Vec<ArrayRef>, usize) -> Result<()>,
    ) -> Result<()> {
        let ids = self.settle()?;
        self.owed.extend(ids);
        let keys = &self.keys;
        self.log.snapshot(next, |Written { id, slots, states }| {
            let mut columns = keys.decode(slots)?;
            columns.extend(states.iter().cloned());
            write(id, columns, slots.len())
        })
    }

    /// Puts rows of a segment in the place of what is known of their groups.
    pub(super) fn restore(&mut self, set: &AggregateSet, batch: &RecordBatch) -> Result<()> {
        let (keys, states) = batch.columns().split_at(set.keys);
        let mut ids = vec![];
        self.keys.codes(keys, batch.num_rows(), &mut ids)?;
        self.log.append(ids, states.to_vec())
    }

    /// Chunks that the checkpoint can drop since this was last asked.
    pub(super) fn take_closed(&mut self) -> Vec<i64> {
        self.log.take_closed()
    }

    /// All chunks that the checkpoint holds.
    pub(super) fn into_closed(self) -> Vec<i64> {
        self.log.into_closed()
    }
}

/// Where output goes, and what it is made with.
pub(super) struct Emission<'a> {
    pub(super) set: &'a AggregateSet,
    pub(super) merger: &'a mut Merger,
    pub(super) rows: &'a OutputRows,
    pub(super) bounds: Bounds<'a>,
    pub(super) out: &'a mut Vec<RecordBatch>,
}
