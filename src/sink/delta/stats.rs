//! The statistics of a data file, out of its Parquet footer, as the Delta log keeps them.
//!
//! Readers skip a file when its bounds say that nothing in it can match, so a bound that is too
//! wide costs time and one that is too narrow loses rows. Every rounding here is outwards.
//! <https://github.com/delta-io/delta/blob/master/PROTOCOL.md#per-file-statistics>

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Fields, Float32Type, Float64Type, SchemaRef, TimeUnit};
use chrono::{DateTime, NaiveDate, SecondsFormat, TimeDelta};
use indexmap::IndexMap;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::statistics::Statistics;
use serde::Serialize;
use serde_json::value::RawValue;

/// Delta's default for `delta.dataSkippingNumIndexedCols`.
const INDEXED_COLUMNS: usize = 32;

/// Strings in bounds have at most so many characters, as Spark has it.
const STRING_CHARS: usize = 32;

/// Which leaves of the schema get statistics, and how to read them.
pub(super) struct StatsPlan {
    leaves: Vec<Leaf>,
    /// Indexes into `leaves` of floating-point columns: their NaNs have to be noticed.
    floats: Vec<usize>,
}

/// One column of the Parquet file that statistics are kept for.
struct Leaf {
    /// The Parquet column's index.
    column: usize,
    /// Names from the top-level column down.
    path: Vec<String>,
    /// Indexes from the top-level column down.
    indexes: Vec<usize>,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Integer,
    Float,
    Decimal {
        scale: i8,
    },
    Text,
    Date,
    Timestamp {
        utc: bool,
    },
    /// Only NULLs are counted: bounds of the type are of no use to readers.
    Unbounded,
}

/// A bound while row groups are brought together.
#[derive(Clone, Debug, PartialEq, PartialOrd)]
enum Bound {
    Integer(i128),
    Float(f64),
    Text(String),
}

/// Counts of what the footer does not tell: whether a floating-point column has NaNs, which
/// Parquet's bounds leave out and SQL holds to be greater than everything.
#[derive(Clone, Debug, Default)]
pub(super) struct NanFlags(Vec<bool>);

#[derive(Serialize)]
#[serde(untagged)]
enum Node {
    Value(Box<RawValue>),
    Object(IndexMap<String, Node>),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FileStats {
    num_records: i64,
    min_values: Node,
    max_values: Node,
    null_count: Node,
}

impl StatsPlan {
    /// A plan for files with these columns in a table with these properties;
    /// `delta.dataSkippingStatsColumns` and `delta.dataSkippingNumIndexedCols` are honoured.
    pub fn new(schema: &SchemaRef, properties: &BTreeMap<String, String>) -> Self {
        let mut all = Vec::new();
        let mut column = 0;
        collect_leaves(schema.fields(), &mut Vec::new(), &mut Vec::new(), &mut column, &mut all);
        let named = properties.get("delta.dataSkippingStatsColumns").map(|text| {
            text.split(',').map(|name| name.trim().replace('`', "")).collect::<Vec<_>>()
        });
        let leaves: Vec<Leaf> = match named {
            Some(named) => all
                .into_iter()
                .filter(|leaf| {
                    let path = leaf.path.join(".");
                    named.iter().any(|name| {
                        path.strip_prefix(name.as_str())
                            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
                    })
                })
                .collect(),
            None => {
                let wanted = properties.get("delta.dataSkippingNumIndexedCols");
                let limit = match wanted.and_then(|text| text.trim().parse::<i64>().ok()) {
                    Some(-1) => usize::MAX,
                    Some(limit) => usize::try_from(limit).unwrap_or(INDEXED_COLUMNS),
                    None => INDEXED_COLUMNS,
                };
                all.into_iter().take(limit).collect()
            }
        };
        let floats = (0..leaves.len()).filter(|i| leaves[*i].kind == Kind::Float).collect();
        Self { leaves, floats }
    }

    /// Notes which floating-point columns of `batch` have NaNs.
    pub fn note_nans(&self, batch: &RecordBatch, flags: &mut NanFlags) {
        if self.floats.is_empty() {
            return;
        }
        flags.0.resize(self.leaves.len(), false);
        for &leaf in &self.floats {
            if !flags.0[leaf] {
                flags.0[leaf] = has_nan(batch, &self.leaves[leaf].indexes);
            }
        }
    }

    /// The statistics of a file as the JSON text of an `add` action.
    pub fn json(&self, file: &ParquetMetaData, nans: &NanFlags) -> String {
        let object = || Node::Object(IndexMap::new());
        let mut stats = FileStats {
            num_records: file.file_metadata().num_rows(),
            min_values: object(),
            max_values: object(),
            null_count: object(),
        };
        for (i, leaf) in self.leaves.iter().enumerate() {
            let groups = || {
                file.row_groups().iter().map(|group| {
                    let chunk = group.column(leaf.column);
                    (chunk.statistics(), chunk.num_values())
                })
            };
            let nulls: Option<u64> =
                groups().map(|(stats, _)| stats.and_then(Statistics::null_count_opt)).sum();
            if let Some(nulls) = nulls {
                put(&mut stats.null_count, &leaf.path, nulls.to_string());
            }
            if nans.0.get(i).copied().unwrap_or(false) || leaf.kind == Kind::Unbounded {
                continue;
            }
            if let Some(text) =
                merge(groups(), leaf.kind, false).and_then(|b| leaf.render(b, false))
            {
                put(&mut stats.min_values, &leaf.path, text);
            }
            if let Some(text) = merge(groups(), leaf.kind, true).and_then(|b| leaf.render(b, true))
            {
                put(&mut stats.max_values, &leaf.path, text);
            }
        }
        // Only maps with string keys and valid JSON inside: there is nothing that can fail.
        serde_json::to_string(&stats)
            .unwrap_or_else(|_| format!("{{\"numRecords\":{}}}", stats.num_records))
    }
}

impl Leaf {
    /// The bound as JSON; `None` where it has no form that is surely a bound.
    fn render(&self, bound: Bound, max: bool) -> Option<String> {
        let quoted = |text: String| serde_json::to_string(&text).ok();
        match (self.kind, bound) {
            (Kind::Integer, Bound::Integer(value)) => Some(value.to_string()),
            (Kind::Decimal { scale }, Bound::Integer(value)) => Some(decimal(value, scale)),
            (Kind::Float, Bound::Float(value)) => {
                // JSON has no infinities.
                value.is_finite().then(|| serde_json::to_string(&value).ok()).flatten()
            }
            (Kind::Text, Bound::Text(text)) => {
                quoted(if max { shortened_up(text)? } else { shortened(&text).to_owned() })
            }
            (Kind::Date, Bound::Integer(days)) => {
                let days = TimeDelta::try_days(i64::try_from(days).ok()?)?;
                let date = NaiveDate::from_ymd_opt(1970, 1, 1)?.checked_add_signed(days)?;
                quoted(date.format("%Y-%m-%d").to_string())
            }
            (Kind::Timestamp { utc }, Bound::Integer(micros)) => {
                // Delta's statistics have milliseconds: down for the minimum, up for the maximum.
                let micros = i64::try_from(micros).ok()?;
                let part = micros.rem_euclid(1000);
                let micros = match (max, part) {
                    (_, 0) => micros,
                    (false, part) => micros.checked_sub(part)?,
                    (true, part) => micros.checked_add(1000 - part)?,
                };
                let time = DateTime::from_timestamp_micros(micros)?;
                quoted(if utc {
                    time.to_rfc3339_opts(SecondsFormat::Millis, true)
                } else {
                    time.format("%Y-%m-%d %H:%M:%S%.3f").to_string()
                })
            }
            _ => None,
        }
    }
}

fn collect_leaves(
    fields: &Fields,
    path: &mut Vec<String>,
    indexes: &mut Vec<usize>,
    column: &mut usize,
    leaves: &mut Vec<Leaf>,
) {
    for (index, field) in fields.iter().enumerate() {
        path.push(field.name().clone());
        indexes.push(index);
        match field.data_type() {
            DataType::Struct(inside) => collect_leaves(inside, path, indexes, column, leaves),
            nested @ (DataType::List(_) | DataType::Map(_, _)) => *column += leaf_count(nested),
            simple => {
                let (path, indexes) = (path.clone(), indexes.clone());
                leaves.push(Leaf { column: *column, path, indexes, kind: kind(simple) });
                *column += 1;
            }
        }
        path.pop();
        indexes.pop();
    }
}

fn leaf_count(nested: &DataType) -> usize {
    match nested {
        DataType::List(item) => leaf_count(item.data_type()),
        DataType::Map(entries, _) => leaf_count(entries.data_type()),
        DataType::Struct(fields) => fields.iter().map(|field| leaf_count(field.data_type())).sum(),
        _ => 1,
    }
}

fn kind(simple: &DataType) -> Kind {
    match simple {
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => Kind::Integer,
        DataType::Float32 | DataType::Float64 => Kind::Float,
        DataType::Decimal128(_, scale) => Kind::Decimal { scale: *scale },
        DataType::Utf8 => Kind::Text,
        DataType::Date32 => Kind::Date,
        DataType::Timestamp(TimeUnit::Microsecond, zone) => Kind::Timestamp { utc: zone.is_some() },
        _ => Kind::Unbounded,
    }
}

fn has_nan(batch: &RecordBatch, indexes: &[usize]) -> bool {
    let Some((first, below)) = indexes.split_first() else { return false };
    let mut column = batch.column(*first);
    for index in below {
        column = match column.as_struct_opt() {
            Some(fields) => fields.column(*index),
            None => return false,
        };
    }
    match column.data_type() {
        DataType::Float32 => {
            column.as_primitive::<Float32Type>().values().iter().any(|v| v.is_nan())
        }
        DataType::Float64 => {
            column.as_primitive::<Float64Type>().values().iter().any(|v| v.is_nan())
        }
        _ => false,
    }
}

/// The bound over all row groups; `None` if one of them has values without a bound, or none has.
fn merge<'a>(
    groups: impl Iterator<Item = (Option<&'a Statistics>, i64)>,
    kind: Kind,
    max: bool,
) -> Option<Bound> {
    let mut merged: Option<Bound> = None;
    for (stats, values) in groups {
        let stats = stats?;
        if stats.null_count_opt().is_some_and(|nulls| i64::try_from(nulls) == Ok(values)) {
            continue;
        }
        let bound = read_bound(stats, kind, max)?;
        let replaces = match &merged {
            None => true,
            Some(so_far) if max => bound > *so_far,
            Some(so_far) => bound < *so_far,
        };
        if replaces {
            merged = Some(bound);
        }
    }
    merged
}

fn read_bound(stats: &Statistics, kind: Kind, max: bool) -> Option<Bound> {
    macro_rules! bound {
        ($values:expr) => {
            if max { $values.max_opt() } else { $values.min_opt() }
        };
    }
    match stats {
        Statistics::Int32(v) => Some(Bound::Integer(i128::from(*bound!(v)?))),
        Statistics::Int64(v) => Some(Bound::Integer(i128::from(*bound!(v)?))),
        Statistics::Float(v) => Some(Bound::Float(f64::from(*bound!(v)?))),
        Statistics::Double(v) => Some(Bound::Float(*bound!(v)?)),
        Statistics::ByteArray(v) if kind == Kind::Text => {
            // Parquet has cut long strings already, the maximum rounded up, both still UTF-8.
            String::from_utf8(bound!(v)?.data().to_vec()).ok().map(Bound::Text)
        }
        Statistics::FixedLenByteArray(v) if matches!(kind, Kind::Decimal { .. }) => {
            let bytes = bound!(v)?.data();
            if bytes.is_empty() || bytes.len() > 16 {
                return None;
            }
            let sign = if bytes[0] & 0x80 == 0 { 0x00 } else { 0xff };
            let mut wide = [sign; 16];
            wide[16 - bytes.len()..].copy_from_slice(bytes);
            Some(Bound::Integer(i128::from_be_bytes(wide)))
        }
        _ => None,
    }
}

/// An unscaled decimal as an exact JSON number; a float would round, and not always outwards.
fn decimal(value: i128, scale: i8) -> String {
    let Ok(scale @ 1..) = usize::try_from(scale) else { return value.to_string() };
    let digits = format!("{:0>width$}", value.unsigned_abs(), width = scale + 1);
    let (whole, part) = digits.split_at(digits.len() - scale);
    format!("{}{whole}.{part}", if value < 0 { "-" } else { "" })
}

/// The first characters: never greater than the whole.
fn shortened(text: &str) -> &str {
    text.char_indices().nth(STRING_CHARS).map_or(text, |(end, _)| &text[..end])
}

/// The first characters with the last one that can be raised raised: greater than the whole.
fn shortened_up(text: String) -> Option<String> {
    let kept = shortened(&text);
    if kept.len() == text.len() {
        return Some(text);
    }
    let mut kept = kept.to_owned();
    while let Some(last) = kept.pop() {
        // A range of characters steps over the surrogates, which are none.
        if let Some(next) = (last..=char::MAX).nth(1) {
            kept.push(next);
            return Some(kept);
        }
    }
    None
}

fn put(node: &mut Node, path: &[String], json: String) {
    let Node::Object(object) = node else { return };
    match path {
        [] => {}
        [name] => {
            if let Ok(value) = RawValue::from_string(json) {
                object.insert(name.clone(), Node::Value(value));
            }
        }
        [name, below @ ..] => {
            let inner = object.entry(name.clone()).or_insert_with(|| Node::Object(IndexMap::new()));
            put(inner, below, json);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_cut_outwards() {
        let long = "a".repeat(40);
        assert_eq!(shortened(&long), "a".repeat(32));
        assert_eq!(shortened_up(long).unwrap(), format!("{}b", "a".repeat(31)));
        assert_eq!(shortened_up("short".to_owned()).unwrap(), "short");
        let top = format!("x{}", char::MAX.to_string().repeat(40));
        assert_eq!(shortened_up(top).unwrap(), "y");
        assert_eq!(shortened_up(char::MAX.to_string().repeat(40)), None);
        let before_surrogates = "\u{d7ff}".repeat(33);
        let raised = shortened_up(before_surrogates.clone()).unwrap();
        assert!(raised > before_surrogates && raised.ends_with('\u{e000}'));
    }

    #[test]
    fn decimals_are_exact() {
        assert_eq!(decimal(-105, 2), "-1.05");
        assert_eq!(decimal(5, 3), "0.005");
        assert_eq!(decimal(12, 0), "12");
        assert_eq!(decimal(i128::from(i64::MAX), 1), "922337203685477580.7");
    }

    #[test]
    fn timestamps_are_rounded_outwards() {
        let leaf = Leaf {
            column: 0,
            path: vec!["t".into()],
            indexes: vec![0],
            kind: Kind::Timestamp { utc: true },
        };
        let micros = Bound::Integer(-1);
        assert_eq!(leaf.render(micros.clone(), false).unwrap(), "\"1969-12-31T23:59:59.999Z\"");
        assert_eq!(leaf.render(micros, true).unwrap(), "\"1970-01-01T00:00:00.000Z\"");
    }
}
