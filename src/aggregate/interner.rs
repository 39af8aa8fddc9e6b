//! The groups of one batch: window and keys to group numbers.

use std::sync::Arc;

use arrow::array::{ArrayRef, PrimitiveArray};
use arrow::datatypes::{DataType, SchemaRef, TimestampMicrosecondType};
use datafusion::common::Result;
use datafusion::logical_expr::EmitTo;
use datafusion::physical_plan::aggregates::group_values::{GroupValues, new_group_values};
use datafusion::physical_plan::aggregates::order::GroupOrdering;

use super::dictionary::KeyDictionary;
use crate::event_time::Tumbling;

/// Cells of the table (windows x known keys) up to which groups are found by index: 4 MB.
const MAX_CELLS: usize = 1 << 20;

/// Finds the groups of a batch, then gives their windows and keys.
pub(super) struct Interner {
    windows: Tumbling,
    /// `None`: a key's type has none.
    dictionary: Option<KeyDictionary>,
    /// For keys without dictionaries, and batches with very many windows.
    general: Box<dyn GroupValues>,
    /// The batch at hand went through `general`.
    is_general: bool,
    /// Starts of the windows in the batch, in the order they occur.
    starts: Vec<i64>,
    /// Window of each row, as an index into `starts`.
    row_windows: Vec<u32>,
    codes: Vec<u32>,
    /// For each window and key number, the group plus one; 0 is none. All 0 between batches.
    cells: Vec<u32>,
    /// For each group, its window and its key's number.
    groups: Vec<(u32, u32)>,
}

impl Interner {
    pub(super) fn new(windows: Tumbling, group_schema: SchemaRef) -> Result<Self> {
        let types: Vec<DataType> =
            group_schema.fields().iter().skip(1).map(|f| f.data_type().clone()).collect();
        Ok(Self {
            windows,
            dictionary: KeyDictionary::new(&types),
            general: new_group_values(group_schema, &GroupOrdering::None)?,
            is_general: false,
            starts: vec![],
            row_windows: vec![],
            codes: vec![],
            cells: vec![],
            groups: vec![],
        })
    }

    /// Puts each row's group number into `out` and returns the number of groups.
    pub(super) fn intern(
        &mut self,
        times: &[i64],
        keys: &[ArrayRef],
        out: &mut Vec<usize>,
    ) -> Result<usize> {
        out.clear();
        self.assign_windows(times);
        if let Some(dictionary) = &mut self.dictionary {
            dictionary.trim();
            dictionary.codes(keys, times.len(), &mut self.codes);
            let cells = dictionary.len().saturating_mul(self.starts.len());
            if cells <= MAX_CELLS {
                self.is_general = false;
                return Ok(self.intern_cells(out));
            }
        }
        self.is_general = true;
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(1 + keys.len());
        columns.push(self.row_starts());
        columns.extend(keys.iter().cloned());
        self.general.intern(&columns, out)?;
        Ok(self.general.len())
    }

    /// Neighbouring rows mostly lie in the same window, and a batch has few: the last window is
    /// tried first, then all in turn.
    fn assign_windows(&mut self, times: &[i64]) {
        self.starts.clear();
        self.row_windows.clear();
        self.row_windows.reserve(times.len());
        let size = self.windows.size() as u64;
        let mut last = 0;
        for time in times {
            // Outside the window (before it, too) the difference is not below the size.
            let inside = |start: &i64| (time.wrapping_sub(*start) as u64) < size;
            if !self.starts.get(last).is_some_and(inside) {
                last = match self.starts.iter().position(inside) {
                    Some(found) => found,
                    None => {
                        let start = self.windows.start(*time);
                        // Times at the rim of 64 bits are put into a window they do not lie in.
                        match self.starts.iter().position(|known| *known == start) {
                            Some(found) => found,
                            None => {
                                self.starts.push(start);
                                self.starts.len() - 1
                            }
                        }
                    }
                };
            }
            self.row_windows.push(last as u32);
        }
    }

    fn intern_cells(&mut self, out: &mut Vec<usize>) -> usize {
        let keys = self.dictionary.as_ref().map_or(1, KeyDictionary::len);
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
        let starts = self.groups.iter().map(|(window, _)| self.starts[*window as usize]);
        let mut columns = vec![start_array(starts)];
        if let Some(dictionary) = &self.dictionary {
            let codes: Vec<u32> = self.groups.iter().map(|(_, code)| *code).collect();
            columns.extend(dictionary.decode(&codes));
        }
        Ok(columns)
    }

    /// Window start of each row, for rows that become groups of their own.
    pub(super) fn window_starts(&mut self, times: &[i64]) -> ArrayRef {
        self.assign_windows(times);
        self.row_starts()
    }

    fn row_starts(&self) -> ArrayRef {
        start_array(self.row_windows.iter().map(|window| self.starts[*window as usize]))
    }
}

fn start_array(starts: impl Iterator<Item = i64>) -> ArrayRef {
    let array = PrimitiveArray::<TimestampMicrosecondType>::from_iter_values(starts);
    Arc::new(array.with_timezone("UTC"))
}
