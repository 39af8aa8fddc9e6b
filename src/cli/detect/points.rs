//! From columns to values in time: which column is what, and what is done with what does not fit.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, Float64Type, Schema};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use serde::Serialize;

use super::time::TimeRule;

/// Names that columns of times usually have, the likeliest first.
const TIMES: &[&str] = &[
    "timestamp",
    "time",
    "ts",
    "datetime",
    "window_start",
    "window",
    "event_time",
    "date",
    "ds",
    "_time",
    "minute",
    "hour",
    "day",
    "t",
];
/// Names that columns of values usually have.
const VALUES: &[&str] = &["value", "y", "values", "requests", "count", "n", "metric", "total", "v"];
/// Names that columns of series usually have.
const KEYS: &[&str] = &["key", "series", "series_id", "unique_id"];

/// The columns that are asked for; what is not, is guessed.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    pub time: Option<String>,
    pub value: Option<String>,
    pub keys: Vec<String>,
    pub weight: Option<String>,
}

/// The columns that are read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Columns {
    pub time: String,
    pub value: String,
    pub keys: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<String>,
}

impl Columns {
    /// What is asked for, and for the rest what the columns' names and types suggest.
    ///
    /// # Errors
    ///
    /// Which column there is not, or cannot be guessed, and which there are.
    pub fn find(schema: &Schema, asked: &Asked) -> Result<Self, String> {
        let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
        let named = |role: &str, flag: &str, wanted: &str| -> Result<String, String> {
            let exact = names.iter().find(|name| **name == wanted);
            let found = exact.or_else(|| names.iter().find(|n| n.eq_ignore_ascii_case(wanted)));
            found.map(|name| (*name).to_owned()).ok_or_else(|| {
                let nearest = nearest(wanted, &names)
                    .map_or(String::new(), |n| format!(" (did you mean '{n}'?)"));
                format!(
                    "there is no {role} column '{wanted}'{nearest}; {flag} takes one of: {}",
                    names.join(", ")
                )
            })
        };
        let guess = |usual: &[&str], fits: &dyn Fn(&DataType) -> bool, not: &[String]| {
            let free = |name: &str| !not.iter().any(|taken| taken == name);
            let fields = schema.fields();
            let by_name = usual.iter().find_map(|wanted| {
                fields.iter().find(|f| f.name().eq_ignore_ascii_case(wanted) && free(f.name()))
            });
            let mut fitting = fields.iter().filter(|f| fits(f.data_type()) && free(f.name()));
            let only = match (fitting.next(), fitting.next()) {
                (Some(only), None) => Some(only),
                _ => None,
            };
            by_name.or(only).map(|field| field.name().clone())
        };
        let mut keys = Vec::new();
        for key in &asked.keys {
            keys.push(named("key", "--key", key)?);
        }
        let weight = match &asked.weight {
            Some(weight) => Some(named("weight", "--weight", weight)?),
            None => None,
        };
        let mut taken: Vec<String> = keys.iter().chain(&weight).cloned().collect();
        let unknown = |role: &str, flag: &str| {
            format!(
                "which column has the {role}? Name it with {flag}; there are: {}",
                names.join(", ")
            )
        };
        let is_time = |kind: &DataType| {
            matches!(kind, DataType::Timestamp(..) | DataType::Date32 | DataType::Date64)
        };
        let value = match &asked.value {
            Some(value) => {
                let value = named("value", "--value", value)?;
                taken.push(value.clone());
                Some(value)
            }
            None => None,
        };
        let time = match &asked.time {
            Some(time) => named("time", "--time", time)?,
            None => match guess(TIMES, &is_time, &taken) {
                Some(time) => time,
                // As in files without a header: the first of two.
                None if names.len() - taken.len() <= 2 => names
                    .iter()
                    .find(|name| !taken.iter().any(|t| t == *name))
                    .map(|name| (*name).to_owned())
                    .ok_or_else(|| unknown("times", "--time"))?,
                None => return Err(unknown("times", "--time")),
            },
        };
        taken.push(time.clone());
        if asked.keys.is_empty() {
            let no_type = |_: &DataType| false;
            keys.extend(guess(KEYS, &no_type, &taken));
            taken.extend(keys.iter().cloned());
        }
        let is_text = schema.fields().iter().all(|f| f.data_type() == &DataType::Utf8);
        let is_number = |kind: &DataType| kind.is_numeric() || is_text;
        let value = match value {
            Some(value) => value,
            None => {
                guess(VALUES, &is_number, &taken).ok_or_else(|| unknown("values", "--value"))?
            }
        };
        Ok(Columns { time, value, keys, weight })
    }
}

fn nearest<'a>(wanted: &str, names: &[&'a str]) -> Option<&'a str> {
    let likeness = |name: &&str| strsim::jaro_winkler(&wanted.to_lowercase(), &name.to_lowercase());
    let best = names.iter().map(|n| (likeness(n), *n)).max_by(|a, b| a.0.total_cmp(&b.0));
    best.filter(|(likeness, _)| *likeness >= 0.75).map(|(_, name)| name)
}

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// Microseconds since the Unix epoch.
    pub time: i64,
    /// The time as the input has it, where that is text and stays what it is.
    pub text: Option<Box<str>>,
    pub key: Arc<str>,
    /// `None`: empty or not finite.
    pub value: Option<f64>,
    pub weight: f64,
}

/// What was done with the rows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Rows of the input.
    pub rows: u64,
    /// Left out: without a time, or with one that is none.
    pub without_time: u64,
    /// Written out, neither judged nor learnt: no value, or NaN or infinity.
    pub without_value: u64,
    /// The same: text that is no number.
    pub not_numbers: u64,
    /// Put in order: earlier than a row before it.
    pub out_of_order: u64,
    /// Combined with another of the same series and time.
    pub duplicates: u64,
}

/// The values of all rows, in the order of the rows.
#[derive(Debug, Clone, Default)]
pub struct Points {
    pub points: Vec<Point>,
    pub counts: Counts,
    /// The first text that was no time, and the first that was no number, with their rows.
    pub examples: Vec<String>,
}

/// Reads the values out of batches of one schema.
///
/// # Errors
///
/// In words, if a column is of a type that cannot serve.
pub fn read(batches: &[RecordBatch], columns: &Columns, rule: &TimeRule) -> Result<Points, String> {
    let Some(first) = batches.first() else { return Ok(Points::default()) };
    let batch = concat_batches(&first.schema(), batches).map_err(|error| error.to_string())?;
    let column = |name: &str| -> Result<&ArrayRef, String> {
        batch.column_by_name(name).ok_or_else(|| format!("there is no column '{name}'"))
    };
    let time = column(&columns.time)?;
    let times = rule.column(time).ok_or_else(|| {
        format!(
            "the time column '{}' is of type {}, which has no times",
            columns.time,
            time.data_type()
        )
    })?;
    let numbers = |name: &str, role: &str| -> Result<Vec<Number>, String> {
        let column = column(name)?;
        as_numbers(column).ok_or_else(|| {
            format!(
                "the {role} column '{name}' is of type {}, which has no numbers",
                column.data_type()
            )
        })
    };
    let values = numbers(&columns.value, "value")?;
    let weights = columns.weight.as_deref().map(|name| numbers(name, "weight")).transpose()?;
    let shown = |name: &str| -> Result<ArrayFormatter<'_>, String> {
        const OPTIONS: FormatOptions<'static> = FormatOptions::new().with_null("null");
        ArrayFormatter::try_new(column(name)?, &OPTIONS).map_err(|error| error.to_string())
    };
    let keys = columns.keys.iter().map(|name| shown(name)).collect::<Result<Vec<_>, _>>()?;
    let text = time.as_string_opt::<i32>();
    let mut found = Points::default();
    found.counts.rows = batch.num_rows() as u64;
    let mut known: BTreeMap<String, Arc<str>> = BTreeMap::new();
    let mut latest = i64::MIN;
    let (mut wrong_time, mut wrong_value) = (None, None);
    for row in 0..batch.num_rows() {
        let Some(at) = times[row] else {
            found.counts.without_time += 1;
            let written = text.filter(|text| text.is_valid(row)).map(|text| text.value(row));
            wrong_time = wrong_time.or(written.map(|text| (row, text.to_owned())));
            continue;
        };
        if at < latest {
            found.counts.out_of_order += 1;
        }
        latest = latest.max(at);
        let value = match &values[row] {
            Number::Finite(value) => Some(*value),
            Number::None => {
                found.counts.without_value += 1;
                None
            }
            Number::Not(text) => {
                found.counts.not_numbers += 1;
                wrong_value = wrong_value.or(Some((row, text.clone())));
                None
            }
        };
        let mut key = String::new();
        for (i, part) in keys.iter().enumerate() {
            if i > 0 {
                key.push_str(" · ");
            }
            // Writing to a String fails only if the value has no text.
            write!(key, "{}", part.value(row)).map_err(|_| "a key has no text".to_owned())?;
        }
        let key = match known.get(&key) {
            Some(key) => key.clone(),
            None => {
                let shared: Arc<str> = Arc::from(key.as_str());
                known.insert(key, shared.clone());
                shared
            }
        };
        let weight = match weights.as_ref().map(|weights| &weights[row]) {
            None => 1.0,
            Some(Number::Finite(weight)) => *weight,
            // A detector that goes by weight leaves a value without one alone.
            Some(_) => 0.0,
        };
        let text = text.map(|text| Box::from(text.value(row)));
        found.points.push(Point { time: at, text, key, value, weight });
    }
    let example = |what: &str, found: Option<(usize, String)>| {
        // Rows are counted from 1, and a header is none of them.
        found.map(|(row, text)| format!("row {} has {what}: '{text}'", row + 1))
    };
    found.examples.extend(example("a time that cannot be read", wrong_time));
    found.examples.extend(example("a value that is no number", wrong_value));
    Ok(found)
}

#[derive(Debug, Clone)]
enum Number {
    Finite(f64),
    None,
    Not(String),
}

/// `None` for a type that holds no numbers.
fn as_numbers(column: &ArrayRef) -> Option<Vec<Number>> {
    let of = |value: f64| if value.is_finite() { Number::Finite(value) } else { Number::None };
    match column.data_type() {
        kind if kind.is_numeric() || kind == &DataType::Boolean => {
            let numbers = cast(column, &DataType::Float64).ok()?;
            let numbers = numbers.as_primitive_opt::<Float64Type>()?;
            Some(numbers.iter().map(|n| n.map_or(Number::None, of)).collect())
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Dictionary(..) => {
            let texts = cast(column, &DataType::Utf8).ok()?;
            let texts = texts.as_string_opt::<i32>()?;
            let number = |text: Option<&str>| {
                let text = text.unwrap_or_default().trim();
                let nothing = ["", "null", "none", "na", "n/a", "-"];
                match text.parse::<f64>() {
                    Ok(value) => of(value),
                    Err(_) if nothing.contains(&text.to_lowercase().as_str()) => Number::None,
                    Err(_) => Number::Not(text.chars().take(40).collect()),
                }
            };
            Some(texts.iter().map(number).collect())
        }
        DataType::Null => Some(vec![Number::None; column.len()]),
        _ => None,
    }
}

/// How values of one series and time become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Combine {
    /// The one that comes last in the input
    Last,
    /// The one that comes first
    First,
    /// Their sum
    Sum,
    /// Their mean, by weight if there is one
    Mean,
    /// The least
    Min,
    /// The greatest
    Max,
    /// How many there are
    Count,
}

impl Points {
    /// In the order of time and series, each once. With `window` (microseconds), times become the
    /// starts of windows of that length.
    pub fn in_order(mut self, window: Option<i64>, combine: Combine) -> Self {
        if let Some(length) = window {
            for point in &mut self.points {
                let start = point.time - point.time.rem_euclid(length);
                if start != point.time {
                    point.text = None;
                }
                point.time = start;
            }
        }
        self.points.sort_by(|a, b| (a.time, &a.key).cmp(&(b.time, &b.key)));
        let mut single: Vec<Point> = Vec::with_capacity(self.points.len());
        for group in self.points.chunk_by(|a, b| a.time == b.time && a.key == b.key) {
            let one = combined(group, combine);
            if window.is_none() {
                self.counts.duplicates += group.len() as u64 - 1;
            }
            single.extend(one);
        }
        self.points = single;
        self
    }

    /// The usual distance between two times: the median, in microseconds; `None` for one time.
    pub fn interval(&self) -> Option<i64> {
        let mut times: Vec<i64> = self.points.iter().map(|point| point.time).collect();
        times.dedup();
        let mut gaps: Vec<i64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        gaps.sort_unstable();
        gaps.get(gaps.len() / 2).copied()
    }

    /// Places where more than one and a half of the usual distances lie between two times, and the
    /// longest of them in microseconds.
    pub fn gaps(&self, interval: i64) -> (u64, i64) {
        let mut times: Vec<i64> = self.points.iter().map(|point| point.time).collect();
        times.dedup();
        let long = times.windows(2).map(|pair| pair[1].saturating_sub(pair[0]));
        let long: Vec<i64> = long.filter(|gap| *gap > interval.saturating_mul(3) / 2).collect();
        (long.len() as u64, long.iter().copied().max().unwrap_or(0))
    }
}

fn combined(group: &[Point], combine: Combine) -> Option<Point> {
    // Where some have a value, those without one do not count.
    let having: Vec<&Point> = group.iter().filter(|point| point.value.is_some()).collect();
    let (first, last) = (group.first()?, group.last()?);
    if having.is_empty() {
        return Some(last.clone());
    }
    let values = || having.iter().filter_map(|point| point.value);
    let weight: f64 = having.iter().map(|point| point.weight).sum();
    let of = |value: f64| Point { value: Some(value), weight, ..first.clone() };
    Some(match combine {
        Combine::Last => (**having.last()?).clone(),
        Combine::First => (**having.first()?).clone(),
        Combine::Sum => of(values().sum()),
        Combine::Mean if weight > 0.0 => {
            of(having.iter().filter_map(|p| Some(p.value? * p.weight)).sum::<f64>() / weight)
        }
        Combine::Mean => of(values().sum::<f64>() / having.len() as f64),
        Combine::Min => of(values().fold(f64::INFINITY, f64::min)),
        Combine::Max => of(values().fold(f64::NEG_INFINITY, f64::max)),
        Combine::Count => of(having.len() as f64),
    })
}
