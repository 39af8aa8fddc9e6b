//! What was expected beside what came.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};

/// Sums of doubles differ in their last digits with the order of the rows.
const TOLERANCE: f64 = 1e-12;

/// Where a row was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Expected and there.
    Both,
    /// Expected, and not there.
    Expected,
    /// There, and not expected.
    Got,
}

/// A row of a comparison, as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComparedRow {
    /// Where it was found.
    pub side: Side,
    /// A text for each column.
    pub cells: Vec<String>,
    /// Columns in which it differs from the row of the other side that is most like it and stands
    /// next to it; none if there is no such row.
    pub differs: Vec<usize>,
}

/// Rows that were expected held against rows that came.
#[derive(Debug, Clone)]
pub struct Comparison {
    /// The columns that were compared.
    pub columns: Vec<String>,
    /// In the order that was expected; what came without being expected stands beside what it is
    /// most like, or at the end.
    pub rows: Vec<ComparedRow>,
}

impl Comparison {
    /// Compares the columns of `expected`, which `got` has too, by name and with the same types;
    /// it may have more. `ordered`: whether the order of the rows counts. Floating point numbers
    /// may differ by a relative 1e-12.
    ///
    /// # Errors
    /// `got` does not have the columns, or not with their types.
    pub fn new(
        expected: &RecordBatch,
        got: &[RecordBatch],
        ordered: bool,
    ) -> Result<Self, ArrowError> {
        let names: Vec<String> =
            expected.schema().fields().iter().map(|field| field.name().clone()).collect();
        let got = match got.first() {
            Some(first) => {
                let all = concat_batches(&first.schema(), got)?;
                let places = names.iter().map(|name| all.schema().index_of(name));
                all.project(&places.collect::<Result<Vec<_>, _>>()?)?
            }
            None => expected.slice(0, 0),
        };
        let expected = Table::new(expected)?;
        let got = Table::new(&got)?;
        let pairs = if ordered { in_order(&expected, &got) } else { any_order(&expected, &got) };
        Ok(Self { columns: names, rows: aligned(&expected, &got, &pairs, ordered) })
    }

    /// Whether exactly what was expected came.
    pub fn is_equal(&self) -> bool {
        self.rows.iter().all(|row| row.side == Side::Both)
    }
}

/// Rows with their texts.
struct Table {
    columns: Vec<ArrayRef>,
    cells: Vec<Vec<String>>,
}

impl Table {
    fn new(rows: &RecordBatch) -> Result<Self, ArrowError> {
        let options = FormatOptions::new()
            .with_null("NULL")
            .with_timestamp_format(Some("%Y-%m-%dT%H:%M:%S%.f"))
            .with_timestamp_tz_format(Some("%Y-%m-%dT%H:%M:%S%.fZ"));
        let formatters = rows
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column.as_ref(), &options))
            .collect::<Result<Vec<_>, _>>()?;
        let cells = (0..rows.num_rows())
            .map(|row| {
                formatters
                    .iter()
                    .map(|column| column.value(row).try_to_string())
                    .collect::<Result<Vec<_>, _>>()
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self { columns: rows.columns().to_vec(), cells })
    }

    fn is_same(&self, row: usize, other: &Self, other_row: usize, column: usize) -> bool {
        is_same(&self.columns[column], row, &other.columns[column], other_row)
    }

    fn is_same_row(&self, row: usize, other: &Self, other_row: usize) -> bool {
        (0..self.columns.len()).all(|column| self.is_same(row, other, other_row, column))
    }
}

/// Whether two values of one type are the same: NULL is, and NaN.
fn is_same(left: &ArrayRef, i: usize, right: &ArrayRef, j: usize) -> bool {
    match (left.is_null(i), right.is_null(j)) {
        (true, true) => return true,
        (false, false) => {}
        _ => return false,
    }
    let same_items = |left: &ArrayRef, right: &ArrayRef| {
        left.len() == right.len() && (0..left.len()).all(|at| is_same(left, at, right, at))
    };
    match left.data_type() {
        _ if !left.data_type().equals_datatype(right.data_type()) => false,
        DataType::Float32 => {
            let value = |array: &ArrayRef, at| array.as_primitive::<Float32Type>().value(at);
            is_close(f64::from(value(left, i)), f64::from(value(right, j)))
        }
        DataType::Float64 => {
            let value = |array: &ArrayRef, at| array.as_primitive::<Float64Type>().value(at);
            is_close(value(left, i), value(right, j))
        }
        DataType::Struct(_) => {
            let columns = left.as_struct().columns().iter().zip(right.as_struct().columns());
            columns.into_iter().all(|(left, right)| is_same(left, i, right, j))
        }
        DataType::List(_) => {
            same_items(&left.as_list::<i32>().value(i), &right.as_list::<i32>().value(j))
        }
        DataType::Map(_, _) => {
            let (left, right) = (left.as_map().value(i), right.as_map().value(j));
            let mut columns = left.columns().iter().zip(right.columns());
            columns.all(|(left, right)| same_items(left, right))
        }
        _ => left.slice(i, 1).to_data() == right.slice(j, 1).to_data(),
    }
}

fn is_close(left: f64, right: f64) -> bool {
    left == right
        || (left.is_nan() && right.is_nan())
        || (left - right).abs() <= TOLERANCE * left.abs().max(right.abs())
}

/// The row that came for each row that was expected, each at most once, in one order: a longest
/// common subsequence.
fn in_order(expected: &Table, got: &Table) -> Vec<Option<usize>> {
    let (m, n) = (expected.cells.len(), got.cells.len());
    let mut lengths = vec![vec![0u32; n + 1]; m + 1];
    for i in (0..m).rev() {
        for j in (0..n).rev() {
            lengths[i][j] = match expected.is_same_row(i, got, j) {
                true => lengths[i + 1][j + 1] + 1,
                false => lengths[i + 1][j].max(lengths[i][j + 1]),
            };
        }
    }
    let mut pairs = vec![None; m];
    let (mut i, mut j) = (0, 0);
    while i < m && j < n {
        if lengths[i][j] == lengths[i + 1][j] {
            i += 1;
        } else if lengths[i][j] == lengths[i][j + 1] {
            j += 1;
        } else {
            pairs[i] = Some(j);
            (i, j) = (i + 1, j + 1);
        }
    }
    pairs
}

fn any_order(expected: &Table, got: &Table) -> Vec<Option<usize>> {
    let mut free: BTreeMap<&[String], Vec<usize>> = BTreeMap::new();
    for (row, cells) in got.cells.iter().enumerate().rev() {
        free.entry(cells).or_default().push(row);
    }
    let mut taken = vec![false; got.cells.len()];
    let mut pairs = vec![None; expected.cells.len()];
    for (row, cells) in expected.cells.iter().enumerate() {
        let Some(same) = free.get_mut(cells.as_slice()) else { continue };
        // The text NULL is written as NULL is.
        let found = same.iter().rposition(|other| expected.is_same_row(row, got, *other));
        if let Some(at) = found {
            let other = same.remove(at);
            taken[other] = true;
            pairs[row] = Some(other);
        }
    }
    // Those that differ in a last digit.
    for (row, pair) in pairs.iter_mut().enumerate().filter(|(_, pair)| pair.is_none()) {
        let other =
            (0..taken.len()).find(|other| !taken[*other] && expected.is_same_row(row, got, *other));
        if let Some(other) = other {
            taken[other] = true;
            *pair = Some(other);
        }
    }
    pairs
}

fn aligned(
    expected: &Table,
    got: &Table,
    pairs: &[Option<usize>],
    ordered: bool,
) -> Vec<ComparedRow> {
    let mut left: Vec<usize> =
        (0..got.cells.len()).filter(|row| !pairs.contains(&Some(*row))).collect();
    let mut rows = Vec::new();
    let row = |table: &Table, row: usize, side, differs| ComparedRow {
        side,
        cells: table.cells[row].clone(),
        differs,
    };
    for (at, pair) in pairs.iter().enumerate() {
        if let Some(other) = pair {
            // What came out of turn before it.
            while ordered && left.first().is_some_and(|first| first < other) {
                rows.push(row(got, left.remove(0), Side::Got, Vec::new()));
            }
            rows.push(row(got, *other, Side::Both, Vec::new()));
            continue;
        }
        let unlike = |other: usize| -> Vec<usize> {
            let columns = 0..expected.columns.len();
            columns.filter(|column| !expected.is_same(at, got, other, *column)).collect()
        };
        // At least one column in common makes it the same row, changed.
        let nearest = (0..left.len())
            .map(|place| (unlike(left[place]), place))
            .filter(|(unlike, _)| unlike.len() < expected.columns.len())
            .min_by_key(|(unlike, place)| (unlike.len(), *place));
        match nearest {
            Some((differs, place)) if !differs.is_empty() => {
                rows.push(row(expected, at, Side::Expected, differs.clone()));
                rows.push(row(got, left.remove(place), Side::Got, differs));
            }
            _ => rows.push(row(expected, at, Side::Expected, Vec::new())),
        }
    }
    rows.extend(left.into_iter().map(|other| row(got, other, Side::Got, Vec::new())));
    rows
}
