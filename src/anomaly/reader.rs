//! From the batches of a query's output to the values of series.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, RecordBatch, TimestampMicrosecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Float64Type, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType,
};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::parameters::nearest;
use super::{DetectorError, SeriesValue, SpecError};

/// Between the parts of a key of several columns.
pub(super) const SEPARATOR: &str = " · ";

/// The columns of a query's output that a detector reads, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeriesColumns {
    /// Of any type; their text joined by " · " is the series' key. None: one series, "".
    pub keys: Vec<String>,
    /// Of any numeric type.
    pub value: String,
    /// Of any numeric type; without it every weight is 1.
    pub weight: Option<String>,
    /// A timestamp, or a struct with the timestamp `start` in it, as `window(...)` gives.
    pub window_start: String,
}

/// What a batch held.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Read {
    /// (window start in microseconds since the Unix epoch, value), in the order of the rows.
    pub items: Vec<(i64, SeriesValue)>,
    /// Of each item the row that it is of, if the reader tells rows apart.
    pub rows: Vec<Arc<str>>,
    /// Rows left out: value or window NULL, or the value not finite.
    pub skipped: u64,
}

/// Reads the values of series out of batches of one schema.
#[derive(Debug, Clone)]
pub struct SeriesReader {
    schema: SchemaRef,
    keys: Vec<usize>,
    value: usize,
    weight: Option<usize>,
    window_start: usize,
    /// The columns by which a row takes the place of an earlier one; empty: none does.
    rows: Vec<usize>,
}

impl SeriesReader {
    /// A reader of these columns.
    ///
    /// # Errors
    ///
    /// [`SpecError::Column`] for a name that the schema lacks, with the nearest it has;
    /// [`SpecError::ColumnType`] for a column of a type that cannot serve.
    pub fn new(schema: SchemaRef, columns: &SeriesColumns) -> Result<Self, SpecError> {
        let keys = columns
            .keys
            .iter()
            .map(|name| find(&schema, "key", name))
            .collect::<Result<Vec<_>, _>>()?;
        let number = |role, name: &str| {
            let at = find(&schema, role, name)?;
            let found = schema.field(at).data_type();
            if found.is_numeric() {
                return Ok(at);
            }
            Err(SpecError::ColumnType {
                role,
                column: name.to_owned(),
                expected: "a number",
                found: found.to_string(),
            })
        };
        let value = number("value", &columns.value)?;
        let weight = columns.weight.as_deref().map(|name| number("weight", name)).transpose()?;
        let window_start = find(&schema, "window", &columns.window_start)?;
        let found = schema.field(window_start).data_type();
        if !is_window(found) {
            return Err(SpecError::ColumnType {
                role: "window",
                column: columns.window_start.clone(),
                expected: "a timestamp, or a window with its start",
                found: found.to_string(),
            });
        }
        Ok(SeriesReader { schema, keys, value, weight, window_start, rows: Vec::new() })
    }

    /// Also tells rows apart by these columns: for queries that give changed rows again.
    ///
    /// # Errors
    ///
    /// [`SpecError::Column`] for a name that the schema lacks.
    pub fn telling_rows(mut self, columns: &[String]) -> Result<Self, SpecError> {
        let found = columns.iter().map(|name| find(&self.schema, "key", name));
        self.rows = found.collect::<Result<_, _>>()?;
        Ok(self)
    }

    /// The schema that batches must have.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Reads one batch.
    ///
    /// # Errors
    ///
    /// [`DetectorError::Batch`] if the batch is not of the reader's schema.
    pub fn read(&self, batch: &RecordBatch) -> Result<Read, DetectorError> {
        if batch.num_columns() != self.schema.fields().len() {
            return Err(DetectorError::Batch(format!(
                "a detector's input has {} columns, expected {}",
                batch.num_columns(),
                self.schema.fields().len()
            )));
        }
        let values = numbers(batch.column(self.value))?;
        let weights = self.weight.map(|at| numbers(batch.column(at))).transpose()?;
        let starts = starts(batch.column(self.window_start))?;
        let options = FormatOptions::new().with_null("null");
        let keys = self
            .keys
            .iter()
            .map(|at| ArrayFormatter::try_new(batch.column(*at), &options))
            .collect::<Result<Vec<_>, _>>()?;
        let parts = self
            .rows
            .iter()
            .map(|at| ArrayFormatter::try_new(batch.column(*at), &options))
            .collect::<Result<Vec<_>, _>>()?;
        let items = Vec::with_capacity(batch.num_rows());
        let mut read = Read { items, ..Read::default() };
        let mut key = String::new();
        for row in 0..batch.num_rows() {
            let finite = values.is_valid(row) && values.value(row).is_finite();
            if !finite || starts.is_null(row) {
                read.skipped += 1;
                continue;
            }
            key.clear();
            for (i, part) in keys.iter().enumerate() {
                if i > 0 {
                    key.push_str(SEPARATOR);
                }
                write!(key, "{}", part.value(row))
                    .map_err(|_| DetectorError::Batch("a key has no text".to_owned()))?;
            }
            let weight = match &weights {
                None => 1.0,
                // A detector that goes by weight leaves a value without one alone.
                Some(weights) if weights.is_null(row) => 0.0,
                Some(weights) => weights.value(row),
            };
            let item =
                SeriesValue { key: Arc::from(key.as_str()), value: values.value(row), weight };
            read.items.push((starts.value(row), item));
            if !parts.is_empty() {
                key.clear();
                for part in &parts {
                    // Between parts what no text of a value holds, so that no two rows are one.
                    write!(key, "{}\u{1f}", part.value(row))
                        .map_err(|_| DetectorError::Batch("a key has no text".to_owned()))?;
                }
                read.rows.push(Arc::from(key.as_str()));
            }
        }
        Ok(read)
    }
}

fn find(schema: &Schema, role: &'static str, name: &str) -> Result<usize, SpecError> {
    schema.index_of(name).map_err(|_| {
        let valid: Vec<String> = schema.fields().iter().map(|f| f.name().clone()).collect();
        SpecError::Column { role, column: name.to_owned(), nearest: nearest(name, &valid), valid }
    })
}

fn is_window(data_type: &DataType) -> bool {
    match data_type {
        DataType::Timestamp(_, _) => true,
        DataType::Struct(fields) => fields
            .iter()
            .any(|f| f.name() == "start" && matches!(f.data_type(), DataType::Timestamp(_, _))),
        _ => false,
    }
}

fn numbers(column: &ArrayRef) -> Result<Float64Array, ArrowError> {
    Ok(cast(column, &DataType::Float64)?.as_primitive::<Float64Type>().clone())
}

fn starts(column: &ArrayRef) -> Result<TimestampMicrosecondArray, ArrowError> {
    if let Some(window) = column.as_struct_opt() {
        let start = window
            .column_by_name("start")
            .ok_or_else(|| ArrowError::SchemaError("a window without start".to_owned()))?;
        let starts = starts(start)?;
        // A NULL window is NULL whatever its fields hold.
        let nulls = arrow::buffer::NullBuffer::union(window.nulls(), starts.nulls());
        return Ok(TimestampMicrosecondArray::new(starts.values().clone(), nulls));
    }
    // Also drops the zone, which does not change the instant.
    let zone = match column.data_type() {
        DataType::Timestamp(_, zone) => zone.clone(),
        _ => None,
    };
    let micros = cast(column, &DataType::Timestamp(TimeUnit::Microsecond, zone))?;
    Ok(micros.as_primitive::<TimestampMicrosecondType>().clone())
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        Decimal128Array, Int64Array, StringArray, StructArray, TimestampMillisecondArray,
    };
    use arrow::datatypes::Field;

    use super::*;

    fn batch() -> RecordBatch {
        let window = StructArray::from(vec![(
            Arc::new(Field::new("start", DataType::Timestamp(TimeUnit::Microsecond, None), true)),
            Arc::new(TimestampMicrosecondArray::from(vec![Some(1), Some(1), None, Some(3)]))
                as ArrayRef,
        )]);
        let minutes = TimestampMillisecondArray::from(vec![1, 2, 3, 4]).with_timezone("UTC");
        let endpoints = StringArray::from(vec![Some("/a"), None, Some("/c"), Some("/d")]);
        let rates = Decimal128Array::from(vec![125, 250, 375, 500]);
        let columns: [(&str, ArrayRef); 6] = [
            ("window", Arc::new(window)),
            ("minute", Arc::new(minutes)),
            ("endpoint", Arc::new(endpoints)),
            ("status", Arc::new(Int64Array::from(vec![200, 404, 500, 200]))),
            ("requests", Arc::new(Int64Array::from(vec![Some(7), Some(8), Some(9), None]))),
            ("rate", Arc::new(rates.with_precision_and_scale(10, 3).unwrap())),
        ];
        RecordBatch::try_from_iter(columns).unwrap()
    }

    fn columns(keys: &[&str], value: &str, weight: Option<&str>, window: &str) -> SeriesColumns {
        SeriesColumns {
            keys: keys.iter().map(|k| (*k).to_owned()).collect(),
            value: value.to_owned(),
            weight: weight.map(str::to_owned),
            window_start: window.to_owned(),
        }
    }

    #[test]
    fn rows_become_values() {
        let batch = batch();
        let columns = columns(&["endpoint", "status"], "rate", Some("requests"), "window");
        let read = SeriesReader::new(batch.schema(), &columns).unwrap().read(&batch).unwrap();
        let item = |start, key: &str, value, weight| {
            (start, SeriesValue { key: key.into(), value, weight })
        };
        assert_eq!(
            read.items,
            [
                item(1, "/a · 200", 0.125, 7.0),
                item(1, "null · 404", 0.25, 8.0),
                item(3, "/d · 200", 0.5, 0.0)
            ]
        );
        assert_eq!(read.skipped, 1);
    }

    #[test]
    fn milliseconds_and_no_key_serve_as_well() {
        let batch = batch();
        let columns = columns(&[], "requests", None, "minute");
        let read = SeriesReader::new(batch.schema(), &columns).unwrap().read(&batch).unwrap();
        let starts: Vec<i64> = read.items.iter().map(|(start, _)| *start).collect();
        assert_eq!(starts, [1000, 2000, 3000]);
        assert!(read.items.iter().all(|(_, item)| item.key.is_empty() && item.weight == 1.0));
        assert_eq!(read.skipped, 1);
    }

    #[test]
    fn wrong_columns_are_named() {
        let schema = batch().schema();
        let error = |c: SeriesColumns| SeriesReader::new(schema.clone(), &c).unwrap_err();
        let e = error(columns(&["endpont"], "rate", None, "window"));
        assert!(
            e.to_string()
                .starts_with("unknown key column \"endpont\" (did you mean \"endpoint\"?)"),
            "{e}"
        );
        let e = error(columns(&[], "endpoint", None, "window"));
        assert_eq!(e.to_string(), "value column \"endpoint\": expected a number, found Utf8");
        let e = error(columns(&[], "rate", None, "status"));
        assert!(matches!(e, SpecError::ColumnType { role: "window", .. }), "{e}");
        assert!(matches!(
            error(columns(&[], "rate", Some("zzz"), "window")),
            SpecError::Column { role: "weight", nearest: None, .. }
        ));
    }

    #[test]
    fn a_batch_of_another_schema_is_an_error() {
        let batch = batch();
        let columns = columns(&["endpoint"], "rate", None, "window");
        let reader = SeriesReader::new(batch.schema(), &columns).unwrap();
        assert!(reader.read(&batch.project(&[0, 1]).unwrap()).is_err());
    }
}
