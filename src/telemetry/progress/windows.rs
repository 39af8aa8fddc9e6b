//! The last windows of each query, for charts.
//!
//! A query's output passes by here on its way to its sinks. Of what it brings, the newest
//! [`WINDOWS`] windows are kept, of each window the [`SERIES`] series with the largest first value,
//! of each of those up to [`VALUES`] numbers: half a megabyte a query at most, whatever flows
//! through. What it costs the query's thread is one pass over one column of numbers; everything
//! else is done for the rows that are kept.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, RecordBatch, UInt32Array};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, Float64Type, Schema, TimeUnit, TimestampMicrosecondType};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use serde::Serialize;

use crate::telemetry::lock;
use crate::telemetry::time::EventTime;

/// Windows kept of a query: four hours of minutes.
const WINDOWS: usize = 240;
/// Series kept of a window.
const SERIES: usize = 16;
/// Numeric columns kept of a series.
const VALUES: usize = 8;
/// Rows of a window lie together, as operators put them out. Where they do not, this many changes
/// from one window to another are followed in a batch, and the rest of it is left out.
const CHANGES: usize = 512;
/// Characters of a key that are kept.
const KEY_CHARS: usize = 120;

/// Which columns of a query's output make a chart of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowColumns {
    start: Start,
    keys: Vec<usize>,
    values: Vec<usize>,
    names: Vec<Arc<str>>,
    key_names: Vec<Arc<str>>,
}

/// Where the start of a row's window is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    /// In a column of times.
    Column(usize),
    /// In the first field of a column of windows.
    Window(usize),
}

impl WindowColumns {
    /// The columns of a query with windows: a time or a window, numbers, and what tells series
    /// apart. `groups` are the columns that the query groups by, where they are known; else text,
    /// dates and truth values are taken for them. `None` if there is no time, or no number.
    pub fn of(schema: &Schema, groups: Option<&[String]>) -> Option<Self> {
        let is_group = |name: &str| groups.is_some_and(|groups| groups.iter().any(|g| g == name));
        let fields = schema.fields();
        let is_time = |kind: &DataType| matches!(kind, DataType::Timestamp(_, _));
        let window = fields.iter().position(|field| match field.data_type() {
            DataType::Struct(parts) => {
                parts.len() == 2 && parts.iter().all(|part| is_time(part.data_type()))
            }
            _ => false,
        });
        // A window may be shown by its start, its end or both.
        let times = || fields.iter().enumerate().filter(|(_, f)| is_time(f.data_type()));
        let time = || {
            times()
                .find(|(_, field)| field.name().to_ascii_lowercase().contains("start"))
                .or_else(|| times().find(|(_, field)| is_group(field.name())))
                .or_else(|| times().next())
                .map(|(index, _)| index)
        };
        let start = window.map(Start::Window).or_else(|| time().map(Start::Column))?;
        let mut columns = Self {
            start,
            keys: Vec::new(),
            values: Vec::new(),
            names: Vec::new(),
            key_names: Vec::new(),
        };
        for (index, field) in fields.iter().enumerate() {
            let kind = field.data_type();
            let is_key = match groups {
                Some(_) => is_group(field.name()),
                None => matches!(
                    kind,
                    DataType::Utf8
                        | DataType::LargeUtf8
                        | DataType::Utf8View
                        | DataType::Boolean
                        | DataType::Date32
                ),
            };
            if is_time(kind) || matches!(kind, DataType::Struct(_)) {
                continue;
            }
            if is_key {
                columns.keys.push(index);
                columns.key_names.push(field.name().as_str().into());
            } else if kind.is_numeric() && columns.values.len() < VALUES {
                columns.values.push(index);
                columns.names.push(field.name().as_str().into());
            }
        }
        (!columns.values.is_empty()).then_some(columns)
    }
}

/// The last windows of one query.
#[derive(Debug, Default)]
pub(super) struct WindowHistory {
    columns: OnceLock<WindowColumns>,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    windows: BTreeMap<i64, Window>,
    /// Some rows were left out unseen.
    sampled: bool,
}

#[derive(Debug, Default)]
struct Window {
    rows: u64,
    series: Vec<Point>,
}

#[derive(Debug)]
struct Point {
    key: Arc<str>,
    values: Vec<f64>,
}

/// The rows of one window of a batch that are worth keeping.
#[derive(Default)]
struct Top {
    rows: u64,
    picked: Vec<(f64, u32)>,
    /// What a row must exceed to get in, once there are enough.
    least: f64,
}

impl Top {
    fn offer(&mut self, value: f64, row: u32) {
        self.rows += 1;
        if self.picked.len() < SERIES {
            self.picked.push((value, row));
            self.least = least(&self.picked).map_or(f64::NEG_INFINITY, |(_, value)| value);
        } else if value > self.least {
            if let Some((place, _)) = least(&self.picked) {
                self.picked[place] = (value, row);
            }
            self.least = least(&self.picked).map_or(f64::NEG_INFINITY, |(_, value)| value);
        }
    }
}

fn least(picked: &[(f64, u32)]) -> Option<(usize, f64)> {
    picked.iter().map(|(value, _)| *value).enumerate().min_by(|a, b| a.1.total_cmp(&b.1))
}

impl WindowHistory {
    /// What the query's rows are. The first call counts.
    pub fn describe(&self, columns: WindowColumns) {
        let _ = self.columns.set(columns);
    }

    /// Looks at rows of the query's output, on their way.
    pub fn observe(&self, rows: &RecordBatch) {
        let Some(columns) = self.columns.get() else { return };
        // A chart is not worth an error: rows that do not have the columns are not shown.
        let _ = self.try_observe(columns, rows);
    }

    fn try_observe(&self, columns: &WindowColumns, rows: &RecordBatch) -> Option<()> {
        let starts = starts(columns.start, rows)?;
        let ranks = numbers(rows.columns().get(*columns.values.first()?)?)?;
        let mut tops: BTreeMap<i64, Top> = BTreeMap::new();
        let mut changes = 0;
        let mut row = 0;
        let total = rows.num_rows();
        let times = starts.as_primitive::<TimestampMicrosecondType>();
        while row < total && changes < CHANGES {
            if times.is_null(row) {
                row += 1;
                continue;
            }
            let start = times.value(row);
            let top = tops.entry(start).or_default();
            while row < total && times.is_valid(row) && times.value(row) == start {
                let value = if ranks.is_valid(row) { ranks.value(row) } else { f64::NAN };
                let rank = if value.is_nan() { f64::NEG_INFINITY } else { value };
                top.offer(rank, u32::try_from(row).ok()?);
                row += 1;
            }
            changes += 1;
        }
        let skip = tops.len().saturating_sub(WINDOWS);
        let newest: Vec<(i64, Top)> = tops.into_iter().skip(skip).collect();
        let picks: UInt32Array = newest
            .iter()
            .flat_map(|(_, top)| top.picked.iter().map(|(_, row)| *row))
            .collect::<Vec<u32>>()
            .into();
        let picked = |index: usize| take(rows.columns().get(index)?, &picks, None).ok();
        let values: Vec<Float64Array> =
            columns.values.iter().map(|index| numbers(&picked(*index)?)).collect::<Option<_>>()?;
        let keys: Vec<ArrayRef> =
            columns.keys.iter().map(|index| picked(*index)).collect::<Option<_>>()?;
        let options = FormatOptions::default().with_null("NULL");
        let keys: Vec<ArrayFormatter<'_>> = keys
            .iter()
            .map(|key| ArrayFormatter::try_new(key.as_ref(), &options).ok())
            .collect::<Option<_>>()?;

        let mut place = 0;
        let mut kept = lock(&self.kept);
        kept.sampled |= row < total;
        for (start, top) in newest {
            let window = kept.windows.entry(start).or_default();
            window.rows += top.rows;
            for _ in 0..top.picked.len() {
                let at = |column: &Float64Array| {
                    if column.is_valid(place) { column.value(place) } else { f64::NAN }
                };
                let point =
                    Point { key: key_at(&keys, place), values: values.iter().map(at).collect() };
                window.take(point);
                place += 1;
            }
        }
        while kept.windows.len() > WINDOWS {
            kept.windows.pop_first();
        }
        Some(())
    }

    /// One column of them as time series: of `series` series, those that are the largest over all
    /// windows. Without a name the first column. `None` if the query has no windows to show, or no
    /// such column.
    pub fn report(
        &self,
        query: &Arc<str>,
        column: Option<&str>,
        series: usize,
    ) -> Option<WindowsReport> {
        let columns = self.columns.get()?;
        let index = match column {
            Some(name) => columns.names.iter().position(|known| **known == *name)?,
            None => 0,
        };
        let kept = lock(&self.kept);
        let mut sums: BTreeMap<&Arc<str>, f64> = BTreeMap::new();
        for point in kept.windows.values().flat_map(|window| &window.series) {
            let rank = point.values.first().copied().unwrap_or(0.0);
            *sums.entry(&point.key).or_default() += if rank.is_finite() { rank } else { 0.0 };
        }
        let known = sums.len();
        let mut ranked: Vec<(&Arc<str>, f64)> = sums.into_iter().collect();
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(b.0)));
        let series = ranked
            .into_iter()
            .take(series)
            .map(|(key, _)| SeriesReport {
                key: Arc::clone(key),
                values: kept
                    .windows
                    .values()
                    .map(|window| {
                        let point = window.series.iter().find(|point| point.key == *key)?;
                        point.values.get(index).copied().filter(|value| value.is_finite())
                    })
                    .collect(),
            })
            .collect();
        Some(WindowsReport {
            query: Arc::clone(query),
            columns: columns.names.clone(),
            column: columns.names[index].clone(),
            keys: columns.key_names.clone(),
            starts: kept.windows.keys().map(|start| EventTime(*start)).collect(),
            rows: kept.windows.values().map(|window| window.rows).collect(),
            series,
            known_series: known,
            sampled: kept.sampled,
        })
    }

    /// The names of the columns that can be shown.
    pub fn columns(&self) -> Vec<Arc<str>> {
        self.columns.get().map(|columns| columns.names.clone()).unwrap_or_default()
    }
}

impl Window {
    fn take(&mut self, point: Point) {
        if let Some(same) = self.series.iter_mut().find(|known| known.key == point.key) {
            // A window that changed.
            *same = point;
            return;
        }
        if self.series.len() < SERIES {
            self.series.push(point);
            return;
        }
        let rank = |point: &Point| match point.values.first() {
            Some(value) if !value.is_nan() => *value,
            _ => f64::NEG_INFINITY,
        };
        let least = self.series.iter_mut().min_by(|a, b| rank(a).total_cmp(&rank(b)));
        if let Some(least) = least
            && rank(least) < rank(&point)
        {
            *least = point;
        }
    }
}

fn key_at(keys: &[ArrayFormatter<'_>], row: usize) -> Arc<str> {
    let parts: Vec<String> = keys.iter().map(|key| key.value(row).to_string()).collect();
    let whole = parts.join(", ");
    match whole.char_indices().nth(KEY_CHARS) {
        Some((end, _)) => format!("{}\u{2026}", &whole[..end]).into(),
        None => whole.into(),
    }
}

fn starts(start: Start, rows: &RecordBatch) -> Option<ArrayRef> {
    let column = match start {
        Start::Column(index) => rows.columns().get(index)?.clone(),
        Start::Window(index) => {
            rows.columns().get(index)?.as_struct_opt()?.columns().first()?.clone()
        }
    };
    match column.data_type() {
        DataType::Timestamp(TimeUnit::Microsecond, _) => Some(column),
        DataType::Timestamp(_, zone) => {
            cast(&column, &DataType::Timestamp(TimeUnit::Microsecond, zone.clone())).ok()
        }
        _ => None,
    }
}

fn numbers(column: &ArrayRef) -> Option<Float64Array> {
    let column = match column.data_type() {
        DataType::Float64 => column.clone(),
        _ => cast(column, &DataType::Float64).ok()?,
    };
    column.as_primitive_opt::<Float64Type>().cloned()
}

/// The last windows of a query, one column of them.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WindowsReport {
    /// The query's name.
    pub query: Arc<str>,
    /// The columns that there are.
    pub columns: Vec<Arc<str>>,
    /// The column that this is.
    pub column: Arc<str>,
    /// The columns that tell series apart.
    pub keys: Vec<Arc<str>>,
    /// The starts of the windows, the oldest first.
    pub starts: Vec<EventTime>,
    /// The rows that each window had.
    pub rows: Vec<u64>,
    /// The series.
    pub series: Vec<SeriesReport>,
    /// How many series there are values of; `series` has the largest of them.
    pub known_series: usize,
    /// Rows came faster than they were looked at: windows may be missing.
    pub sampled: bool,
}

/// One series of a query's windows.
#[derive(Clone, Debug, Serialize)]
pub struct SeriesReport {
    /// What tells it apart; empty if nothing does.
    pub key: Arc<str>,
    /// A value a window; `null` where it had none, or was not among the largest.
    pub values: Vec<Option<f64>>,
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, StringArray, TimestampMicrosecondArray};
    use arrow::datatypes::Field;

    use super::*;

    fn schema() -> Arc<Schema> {
        let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        Arc::new(Schema::new(vec![
            Field::new("window_start", time.clone(), true),
            Field::new("window_end", time, true),
            Field::new("endpoint", DataType::Utf8, true),
            Field::new("status", DataType::Int64, true),
            Field::new("requests", DataType::Int64, true),
            Field::new("rate", DataType::Float64, true),
        ]))
    }

    fn batch(rows: &[(i64, &str, i64, f64)]) -> RecordBatch {
        let times = |offset: i64| -> ArrayRef {
            let times: Vec<i64> = rows.iter().map(|row| row.0 + offset).collect();
            Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC"))
        };
        let columns: Vec<ArrayRef> = vec![
            times(0),
            times(60),
            Arc::new(StringArray::from(rows.iter().map(|row| row.1).collect::<Vec<_>>())),
            Arc::new(Int64Array::from(vec![200; rows.len()])),
            Arc::new(Int64Array::from(rows.iter().map(|row| row.2).collect::<Vec<_>>())),
            Arc::new(Float64Array::from(rows.iter().map(|row| row.3).collect::<Vec<_>>())),
        ];
        RecordBatch::try_new(schema(), columns).expect("columns of one length")
    }

    fn history() -> WindowHistory {
        let groups = ["window_start", "endpoint", "status"].map(str::to_owned);
        let columns = WindowColumns::of(&schema(), Some(&groups)).expect("it has windows");
        assert_eq!(columns.key_names, ["endpoint".into(), "status".into()]);
        let history = WindowHistory::default();
        history.describe(columns);
        history
    }

    fn report(history: &WindowHistory, column: Option<&str>, series: usize) -> WindowsReport {
        history.report(&"q".into(), column, series).expect("it has windows")
    }

    #[test]
    fn windows_become_series() {
        let history = history();
        history.observe(&batch(&[(0, "/a", 5, 0.5), (0, "/b", 7, f64::NAN), (60, "/a", 9, 1.5)]));
        // The other shard's part of the same window, and a window that changed.
        history.observe(&batch(&[(0, "/c", 1, 0.0), (60, "/a", 10, 2.5)]));
        let shown = report(&history, None, 2);
        assert_eq!(shown.columns, ["requests".into(), "rate".into()]);
        assert_eq!(shown.starts, [EventTime(0), EventTime(60)]);
        assert_eq!(&*shown.series[0].key, "/a, 200");
        assert_eq!(shown.series[0].values, [Some(5.0), Some(10.0)]);
        assert_eq!(shown.series[1].values, [Some(7.0), None]);
        assert_eq!((shown.series.len(), shown.known_series), (2, 3));
        let rates = report(&history, Some("rate"), 3);
        assert_eq!(rates.series[0].values, [Some(0.5), Some(2.5)]);
        assert_eq!(rates.series[1].values, [None, None], "not a number is no point");
        assert!(history.report(&"q".into(), Some("nope"), 1).is_none());
        assert!(!rates.sampled);
    }

    #[test]
    fn of_many_keys_the_largest_are_kept_and_old_windows_go() {
        let history = history();
        let keys: Vec<String> = (0..5000).map(|key| format!("/{key}")).collect();
        for window in 0..300 {
            let rows: Vec<(i64, &str, i64, f64)> = keys
                .iter()
                .enumerate()
                .map(|(key, name)| (window, name.as_str(), (key as i64 * 7919) % 5000, 0.0))
                .collect();
            history.observe(&batch(&rows));
        }
        let shown = report(&history, None, 1000);
        assert_eq!(shown.starts.len(), WINDOWS);
        assert_eq!(shown.starts[0], EventTime(60));
        assert_eq!(shown.series.len(), SERIES);
        assert_eq!(shown.series[0].values[0], Some(4999.0));
        assert_eq!(shown.series[SERIES - 1].values[0], Some((5000 - SERIES) as f64));
        assert_eq!(shown.rows[0], 5000);
    }

    #[test]
    fn rows_that_jump_between_windows_are_left_out_and_it_says_so() {
        let history = history();
        let rows: Vec<(i64, &str, i64, f64)> = (0..4096).map(|i| (i % 2, "/a", i, 0.0)).collect();
        history.observe(&batch(&rows));
        assert!(report(&history, None, 1).sampled);
    }

    #[test]
    fn what_has_no_time_or_no_number_makes_no_chart() {
        let text = Schema::new(vec![Field::new("a", DataType::Utf8, true)]);
        assert!(WindowColumns::of(&text, None).is_none());
        let numbers = Schema::new(vec![Field::new("a", DataType::Int64, true)]);
        assert!(WindowColumns::of(&numbers, None).is_none());
        // Rows without the columns are no error.
        let history = history();
        let other = RecordBatch::new_empty(Arc::new(text));
        history.observe(&other);
        assert!(report(&history, None, 1).starts.is_empty());
    }
}
