//! The values with their bands, as CSV, Parquet or JSON.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{Field, Schema};
use parquet::arrow::ArrowWriter;

use super::judge::Row;
use super::time;

/// In which form rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Csv,
    Parquet,
    /// One array of objects.
    Json,
    /// One object a line.
    JsonLines,
}

impl Form {
    /// What a file's ending says.
    ///
    /// # Errors
    ///
    /// In words, for an ending that is none of them.
    pub fn of(path: &Path) -> Result<Self, String> {
        let ending = path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
        match ending.as_deref() {
            Some("csv") => Ok(Form::Csv),
            Some("parquet") => Ok(Form::Parquet),
            Some("json") => Ok(Form::Json),
            Some("jsonl" | "ndjson") => Ok(Form::JsonLines),
            _ => Err(format!(
                "--output {}: expected a file ending in .csv, .parquet, .json or .jsonl, or - for CSV on \
                 standard output",
                path.display()
            )),
        }
    }
}

/// Writes the rows to a file, which appears whole or not at all.
pub fn write_file(path: &Path, form: Form, rows: &[Row], keyed: bool) -> anyhow::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.part", std::process::id()));
    let unfinished = path.with_file_name(name);
    let write = || -> anyhow::Result<()> {
        let mut file = BufWriter::new(File::create(&unfinished)?);
        match form {
            Form::Csv => write_csv(&mut file, rows, keyed)?,
            Form::Parquet => {
                let batch = batch(rows, keyed)?;
                let mut writer = ArrowWriter::try_new(&mut file, batch.schema(), None)?;
                writer.write(&batch)?;
                writer.close()?;
            }
            Form::Json => write_json(&mut file, rows, keyed, ["[\n", ",\n", "\n]\n"])?,
            Form::JsonLines => write_json(&mut file, rows, keyed, ["", "\n", "\n"])?,
        }
        file.flush()?;
        Ok(std::fs::rename(&unfinished, path)?)
    };
    let done = write().with_context(|| format!("cannot write {}", path.display()));
    if done.is_err() {
        // What is left behind is only untidy.
        let _ = std::fs::remove_file(&unfinished);
    }
    done
}

/// Writes the rows as CSV: `timestamp,[key,]value,expected,lower,upper,anomaly_score,is_anomaly`.
/// What is not known is empty.
///
/// # Errors
///
/// Those of writing.
pub fn write_csv(to: impl Write, rows: &[Row], keyed: bool) -> io::Result<()> {
    let mut writer = ::csv::Writer::from_writer(to);
    writer.write_record(names(keyed))?;
    let number = |value: Option<f64>| value.map_or(String::new(), |value| value.to_string());
    for row in rows {
        writer.write_field(timestamp(row))?;
        if keyed {
            writer.write_field(&*row.point.key)?;
        }
        writer.write_field(number(row.point.value))?;
        for of in BAND {
            writer.write_field(number(of(row)))?;
        }
        writer.write_field(number(score(row)))?;
        writer.write_field(if row.is_anomaly() { "true" } else { "false" })?;
        writer.write_record(None::<&[u8]>)?;
    }
    writer.flush()
}

/// Expected, lower edge, upper edge; `None` during the warm-up and for what is not judged.
const BAND: [fn(&Row) -> Option<f64>; 3] = [
    |row| row.judgement.as_ref()?.band.map(|band| band.expected),
    |row| row.judgement.as_ref()?.band.map(|band| band.lower),
    |row| row.judgement.as_ref()?.band.map(|band| band.upper),
];

fn score(row: &Row) -> Option<f64> {
    row.judgement.as_ref().map(|judgement| judgement.score)
}

/// As the input has it, where that is text.
fn timestamp(row: &Row) -> String {
    row.point.text.as_deref().map_or_else(|| time::text(row.point.time), str::to_owned)
}

fn names(keyed: bool) -> impl Iterator<Item = &'static str> {
    let all =
        ["timestamp", "key", "value", "expected", "lower", "upper", "anomaly_score", "is_anomaly"];
    all.into_iter().filter(move |name| keyed || *name != "key")
}

fn write_json(to: &mut impl Write, rows: &[Row], keyed: bool, marks: [&str; 3]) -> io::Result<()> {
    let [before, between, after] = marks;
    to.write_all(before.as_bytes())?;
    for (i, row) in rows.iter().enumerate() {
        if i > 0 {
            to.write_all(between.as_bytes())?;
        }
        let mut object = serde_json::Map::new();
        object.insert("timestamp".into(), time::text(row.point.time).into());
        if keyed {
            object.insert("key".into(), (*row.point.key).into());
        }
        let [expected, lower, upper] = BAND;
        for (name, value) in [
            ("value", row.point.value),
            ("expected", expected(row)),
            ("lower", lower(row)),
            ("upper", upper(row)),
            ("anomaly_score", score(row)),
        ] {
            object.insert(name.into(), value.into());
        }
        object.insert("is_anomaly".into(), row.is_anomaly().into());
        serde_json::to_writer(&mut *to, &object)?;
    }
    to.write_all(if rows.is_empty() { after.trim_start() } else { after }.as_bytes())
}

/// `timestamp` is a timestamp of microseconds in UTC.
fn batch(rows: &[Row], keyed: bool) -> anyhow::Result<RecordBatch> {
    let times = TimestampMicrosecondArray::from_iter_values(rows.iter().map(|row| row.point.time));
    let numbers = |of: &dyn Fn(&Row) -> Option<f64>| -> ArrayRef {
        Arc::new(Float64Array::from_iter(rows.iter().map(of)))
    };
    let mut columns: Vec<ArrayRef> = vec![Arc::new(times.with_timezone("UTC"))];
    if keyed {
        let keys = StringArray::from_iter_values(rows.iter().map(|row| &*row.point.key));
        columns.push(Arc::new(keys));
    }
    columns.push(numbers(&|row| row.point.value));
    columns.extend(BAND.iter().map(|of| numbers(of)));
    columns.push(numbers(&score));
    columns.push(Arc::new(BooleanArray::from_iter(rows.iter().map(|row| Some(row.is_anomaly())))));
    let nullable = |name: &str| !["timestamp", "key", "is_anomaly"].contains(&name);
    let fields: Vec<Field> = names(keyed)
        .zip(&columns)
        .map(|(name, column)| Field::new(name, column.data_type().clone(), nullable(name)))
        .collect();
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}
