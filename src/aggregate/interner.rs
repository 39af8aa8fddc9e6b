//! The groups of one batch: window and keys to group numbers.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, PrimitiveArray};
use arrow::datatypes::{DataType, SchemaRef, TimestampMicrosecondType};
use datafusion::common::Result;
use datafusion::logical_expr::EmitTo;
use datafusion::physical_plan::aggregates::group_values::{GroupValues, new_group_values};
use datafusion::physical_plan::aggregates::order::GroupOrdering;

use super::dictionary::KeyDictionary;
use crate::event_time::Windows;

/// Cells of the table (windows x known keys) up to which groups are found by index: 4 MB.
const MAX_CELLS: usize = 1 << 20;

/// Windows up to which they are searched one by one.
const FEW_WINDOWS: usize = 16;

/// Finds the groups of a batch, then gives their windows and keys.
pub(super) struct Interner {
    windows: Windows,
    dictionary: KeyDictionary,
    /// For batches with very many windows.
    general: Box<dyn GroupValues>,
    /// The batch at hand went through `general`.
    is_general: bool,
    /// Starts and lengths of the windows (of sliding windows: the panes) in the batch, in the
    /// order they occur.
    starts: Vec<(i64, u64)>,
    /// Where each start is in `starts`.
    sorted: BTreeMap<i64, usize>,
    /// Window of each row, as an index into `starts`.
    row_windows: Vec<u32>,
    codes: Vec<u32>,
    /// For each window and key number, the group plus one; 0 is none. All 0 between batches.
    cells: Vec<u32>,
    /// For each group, its window and its key's number.
    groups: Vec<(u32, u32)>,
}

impl Interner {
    pub(super) fn new(windows: Windows, group_schema: SchemaRef) -> Result<Self> {
        let types: Vec<DataType> =
            group_schema.fields().iter().skip(1).map(|f| f.data_type().clone()).collect();
        Ok(Self {
            windows,
            dictionary: KeyDictionary::new(&types)?,
            general: new_group_values(group_schema, &GroupOrdering::None)?,
            is_general: false,
            starts: vec![],
            sorted: BTreeMap::new(),
            row_windows: vec![],
            codes: vec![],
            cells: vec![],
            groups: vec![],
        })
    }

    /// Puts each row's group number into `out` and returns the number of groups.
    pub(super) fn intern(
        &mut self,
        times: Option<&[i64]>,
        rows: usize,
        keys: &[ArrayRef],
        out: &mut Vec<usize>,
    ) -> Result<usize> {
        out.clear();
        match times {
            Some(times) => self.assign_windows(times),
            None => self.assign_none(rows),
        }
        self.dictionary.trim();
        self.dictionary.codes(keys, rows, &mut self.codes)?;
        let cells = self.dictionary.len().saturating_mul(self.starts.len());
        if cells <= MAX_CELLS {
            self.is_general = false;
            return Ok(self.intern_cells(out));
        }
        self.is_general = true;
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(1 + keys.len());
        columns.push(self.row_starts());
        columns.extend(keys.iter().cloned());
        self.general.intern(&columns, out)?;
        Ok(self.general.len())
    }

    /// Without windows all rows are as of one that starts at 0.
    fn assign_none(&mut self, rows: usize) {
        self.starts.clear();
        self.row_windows.clear();
        self.starts.push((0, 0));
        self.row_windows.resize(rows, 0);
    }

    /// Start and length of the window, or the pane, that a time lies in.
    fn window(&self, time: i64) -> (i64, u64) {
        match &self.windows {
            Windows::None => (0, 0),
            Windows::Tumbling(windows) => (windows.start(time), windows.size() as u64),
            Windows::Sliding(windows) => {
                let (start, end) = windows.pane_bounds(windows.pane(time));
                (start, end.wrapping_sub(start) as u64)
            }
            // Where a session starts is not known before the state has seen the row.
            Windows::Session(_) => (time, 1),
        }
    }

    /// Neighbouring rows mostly lie in the same window, and a batch has few: the last window is
    /// tried first, then the first few in turn.
    fn assign_windows(&mut self, times: &[i64]) {
        self.starts.clear();
        self.sorted.clear();
        self.row_windows.clear();
        self.row_windows.reserve(times.len());
        let mut last = 0;
        for time in times {
            // Outside the window (before it, too) the difference is not below the length.
            let inside =
                |(start, length): &(i64, u64)| (time.wrapping_sub(*start) as u64) < *length;
            if !self.starts.get(last).is_some_and(inside) {
                let few = &self.starts[..self.starts.len().min(FEW_WINDOWS)];
                last = match few.iter().position(inside) {
                    Some(found) => found,
                    None => {
                        let window = self.window(*time);
                        // Times at the rim of 64 bits are put into a window they do not lie in.
                        *self.sorted.entry(window.0).or_insert_with(|| {
                            self.starts.push(window);
                            self.starts.len() - 1
                        })
                    }
                };
            }
            self.row_windows.push(last as u32);
        }
    }

    fn intern_cells(&mut self, out: &mut Vec<usize>) -> usize {
        let keys = self.dictionary.len();
        let cells = keys * self.starts.len();
        if self.cells.len() < cells {
            self.cells.resize(cells.next_power_of_two(), 0);
        }
        self.groups.clear();
        let (groups, cells) = (&mut self.groups, &mut self.cells);
        out.extend(self.row_windows.iter().zip(&self.codes).map(|(window, code)| {
            let cell = &mut cells[*window as usize * keys + *code as usize];
            if *cell == 0 {
                groups.push((*window, *code));
                *cell = groups.len() as u32;
            }
            *cell as usize - 1
        }));
        for (window, code) in &self.groups {
            self.cells[*window as usize * keys + *code as usize] = 0;
        }
        self.groups.len()
    }

    /// Window start and keys of each group of the batch last interned.
    pub(super) fn emit(&mut self, rows: usize) -> Result<Vec<ArrayRef>> {
        if self.is_general {
            let columns = self.general.emit(EmitTo::All)?;
            self.general.clear_shrink(rows);
            return Ok(columns);
        }
        let starts = self.groups.iter().map(|(window, _)| self.starts[*window as usize].0);
        let mut columns = vec![start_array(starts)];
        let codes: Vec<u32> = self.groups.iter().map(|(_, code)| *code).collect();
        columns.extend(self.dictionary.decode(&codes)?);
        Ok(columns)
    }

    /// Window start of each row, for rows that become groups of their own.
    pub(super) fn window_starts(&mut self, times: Option<&[i64]>, rows: usize) -> ArrayRef {
        match times {
            Some(times) if matches!(self.windows, Windows::Session(_)) => {
                return start_array(times.iter().copied());
            }
            Some(times) => self.assign_windows(times),
            None => self.assign_none(rows),
        }
        self.row_starts()
    }

    fn row_starts(&self) -> ArrayRef {
        start_array(self.row_windows.iter().map(|window| self.starts[*window as usize].0))
    }
}

fn start_array(starts: impl Iterator<Item = i64>) -> ArrayRef {
    let array = PrimitiveArray::<TimestampMicrosecondType>::from_iter_values(starts);
    Arc::new(array.with_timezone("UTC"))
}
