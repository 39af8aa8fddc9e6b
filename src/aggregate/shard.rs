//! Which shard a key belongs to.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, PrimitiveArray, RecordBatch, UInt32Array,
};
use arrow::compute::{filter_record_batch, take_record_batch};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type,
    Int16Type, Int32Type, Int64Type, TimestampMicrosecondType, ToByteSlice,
};
use arrow::row::{RowConverter, SortField};
use datafusion::common::DataFusionError;

use crate::operator::OperatorError;
use crate::sql::{hash_bytes, hash_u64};

/// Stands for NULL, which is a key like any other.
const NULL: u64 = 0x9e37_79b9_7f4a_7c15;

/// Splits partial rows by the shard that their key belongs to.
///
/// `keys` are the columns of the keys without the window
/// ([`AggregatePlan::key_columns`](super::AggregatePlan::key_columns)). All windows of a key go to
/// the same shard. The result has one entry for each shard, `None` where no row belongs to it. With
/// one shard nothing is copied.
///
/// # Errors
/// A key of a type that cannot be hashed.
pub fn split_by_shard(
    rows: &RecordBatch,
    keys: Range<usize>,
    shards: usize,
) -> Result<Vec<Option<RecordBatch>>, OperatorError> {
    let shards = shards.max(1);
    let mut parts: Vec<Option<RecordBatch>> = vec![None; shards];
    if rows.num_rows() == 0 {
        return Ok(parts);
    }
    if shards == 1 || keys.is_empty() {
        parts[0] = Some(rows.clone());
        return Ok(parts);
    }
    let failed = |source| OperatorError::Evaluate { query: Arc::from("shuffle"), source };
    let hashes = hash_keys(&rows.columns()[keys], rows.num_rows()).map_err(failed)?;
    let mut indices: Vec<Vec<u32>> = vec![vec![]; shards];
    for (row, hash) in hashes.iter().enumerate() {
        indices[shard_of(*hash, shards)].push(row as u32);
    }
    for (part, indices) in parts.iter_mut().zip(indices) {
        if indices.len() == rows.num_rows() {
            *part = Some(rows.clone());
        } else if !indices.is_empty() {
            let taken = take_record_batch(rows, &UInt32Array::from(indices))
                .map_err(|error| failed(error.into()))?;
            *part = Some(taken);
        }
    }
    Ok(parts)
}

/// The shard of a key. The high bits decide, evenly for any number of shards (Lemire's
/// multiply-shift reduction).
pub(crate) fn shard_of(hash: u64, shards: usize) -> usize {
    ((u128::from(hash) * shards as u128) >> 64) as usize
}

/// Keeps the rows whose key belongs to `shard` of `shards`.
pub(super) fn keep_shard(
    rows: RecordBatch,
    keys: Range<usize>,
    (shard, shards): (usize, usize),
) -> Result<RecordBatch, DataFusionError> {
    if shards <= 1 {
        return Ok(rows);
    }
    if keys.is_empty() {
        // The one group of each window lives in shard 0, where `split_by_shard` sends it.
        return Ok(if shard == 0 { rows } else { rows.slice(0, 0) });
    }
    let hashes = hash_keys(&rows.columns()[keys], rows.num_rows())?;
    let mask: BooleanArray =
        hashes.iter().map(|hash| Some(shard_of(*hash, shards) == shard)).collect();
    if mask.true_count() == rows.num_rows() {
        return Ok(rows);
    }
    Ok(filter_record_batch(&rows, &mask)?)
}

/// One hash for each row's keys; the same in every release (see `sql::hash`).
pub(crate) fn hash_keys(keys: &[ArrayRef], rows: usize) -> Result<Vec<u64>, DataFusionError> {
    let mut hashes = vec![0; rows];
    for key in keys {
        hash_column(key, &mut hashes)?;
    }
    Ok(hashes)
}

fn hash_column(key: &ArrayRef, hashes: &mut [u64]) -> Result<(), DataFusionError> {
    match key.data_type() {
        DataType::Utf8 => {
            let texts = key.as_string::<i32>();
            for (hash, text) in hashes.iter_mut().zip(texts) {
                *hash = match text {
                    Some(text) => hash_bytes(*hash, text.as_bytes()),
                    None => hash_u64(*hash, NULL),
                };
            }
        }
        DataType::Boolean => {
            for (hash, value) in hashes.iter_mut().zip(key.as_boolean()) {
                *hash = hash_u64(*hash, value.map_or(NULL, u64::from));
            }
        }
        DataType::Int8 => integers::<Int8Type>(key, hashes),
        DataType::Int16 => integers::<Int16Type>(key, hashes),
        DataType::Int32 => integers::<Int32Type>(key, hashes),
        DataType::Int64 => integers::<Int64Type>(key, hashes),
        DataType::Date32 => integers::<Date32Type>(key, hashes),
        data_type if *data_type == crate::sql::timestamp_type() => {
            integers::<TimestampMicrosecondType>(key, hashes);
        }
        DataType::Float32 => {
            each::<Float32Type>(key, hashes, |value| u64::from(canonical_f32(value).to_bits()));
        }
        DataType::Float64 => {
            each::<Float64Type>(key, hashes, |value| canonical_f64(value).to_bits());
        }
        DataType::Decimal128(_, _) => {
            let values = key.as_primitive::<Decimal128Type>();
            for (hash, value) in hashes.iter_mut().zip(values) {
                *hash = match value {
                    Some(value) => hash_bytes(*hash, value.to_byte_slice()),
                    None => hash_u64(*hash, NULL),
                };
            }
        }
        // Structs, arrays and the rest: by their bytes in Arrow's row format.
        data_type => {
            let converter = RowConverter::new(vec![SortField::new(data_type.clone())])?;
            let rows = converter.convert_columns(std::slice::from_ref(key))?;
            for (hash, row) in hashes.iter_mut().zip(&rows) {
                *hash = hash_bytes(*hash, row.as_ref());
            }
        }
    }
    Ok(())
}

fn integers<T: ArrowPrimitiveType>(key: &ArrayRef, hashes: &mut [u64])
where
    T::Native: Into<i64>,
{
    each::<T>(key, hashes, |value| value.into() as u64);
}

fn each<T: ArrowPrimitiveType>(
    key: &ArrayRef,
    hashes: &mut [u64],
    bits: impl Fn(T::Native) -> u64,
) {
    let values: &PrimitiveArray<T> = key.as_primitive();
    for (hash, value) in hashes.iter_mut().zip(values) {
        *hash = hash_u64(*hash, value.map_or(NULL, &bits));
    }
}

/// One zero and one NaN, as Spark groups them.
pub(super) fn canonical_f64(value: f64) -> f64 {
    if value.is_nan() { f64::NAN } else { value + 0.0 }
}

/// One zero and one NaN, as Spark groups them.
pub(super) fn canonical_f32(value: f32) -> f32 {
    if value.is_nan() { f32::NAN } else { value + 0.0 }
}
