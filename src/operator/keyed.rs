//! What the operators that keep rows by key have in common: where keys and event time are in a
//! batch, how rows find their shard, and keys as bytes.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, UInt32Array};
use arrow::buffer::NullBuffer;
use arrow::compute::{filter_record_batch, take_record_batch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType};
use arrow::row::{RowConverter, SortField};
use datafusion::common::{DFSchema, DataFusionError, Result, plan_err};
use datafusion::logical_expr::Expr;
use datafusion::physical_expr::PhysicalExpr;

use super::{OperatorError, Routed, Router};
use crate::aggregate::{canonical, hash_keys, shard_of};
use crate::sql::{BatchClock, hash_bytes, new_batch, nullable_schema, physical_expr, unalias};

/// Seed of the hash that finds keys within a shard. Another than the shuffle's, whose hashes have
/// their high bits in common within a shard.
const SEED: u64 = 0x6d69_6c6c_706f_6e64;

/// Where the keys and the event time are in routed rows: the input's columns, and behind them those
/// keys and times that are not columns of the input as they stand.
pub(super) struct KeyLayout {
    /// The columns of routed rows, all nullable.
    pub(super) schema: SchemaRef,
    /// How many of them are the input's.
    pub(super) width: usize,
    /// The columns of the keys.
    pub(super) keys: Vec<usize>,
    /// The column of the event time.
    pub(super) time: Option<usize>,
}

/// The layout, and what has to be evaluated for it.
struct Evaluated {
    layout: KeyLayout,
    exprs: Vec<Arc<dyn PhysicalExpr>>,
}

impl KeyLayout {
    /// The layout of an input.
    ///
    /// # Errors
    /// An expression cannot be compiled, there is no key, a key's type has no equality, or the
    /// event time is not a TIMESTAMP.
    pub(super) fn new(input: &DFSchema, keys: &[Expr], time: Option<&Expr>) -> Result<Self> {
        Ok(Evaluated::new(input, keys, time, &BatchClock::default())?.layout)
    }

    /// The key columns of routed rows.
    pub(super) fn key_arrays(&self, rows: &RecordBatch) -> Vec<ArrayRef> {
        self.keys.iter().map(|key| Arc::clone(rows.column(*key))).collect()
    }

    /// The columns of the input, without what the router added.
    pub(super) fn input_columns<'a>(&self, rows: &'a RecordBatch) -> &'a [ArrayRef] {
        &rows.columns()[..self.width]
    }

    /// The types of the keys.
    pub(super) fn key_types(&self) -> Vec<DataType> {
        self.keys.iter().map(|key| self.schema.field(*key).data_type().clone()).collect()
    }

    /// Event times of routed rows, in microseconds; the router has dropped those without.
    pub(super) fn times<'a>(&self, rows: &'a RecordBatch) -> Option<&'a [i64]> {
        let column = rows.column(self.time?);
        Some(column.as_primitive::<TimestampMicrosecondType>().values())
    }

    /// Whether a batch has the columns of routed rows.
    pub(super) fn check(&self, query: &Arc<str>, rows: &RecordBatch) -> Result<(), OperatorError> {
        if same_types(&self.schema, &rows.schema()) {
            return Ok(());
        }
        let detail = format!("expected {}, got {}", self.schema, rows.schema());
        Err(OperatorError::Rows { query: Arc::clone(query), detail })
    }
}

/// Whether two schemas have the same types in the same order.
pub(super) fn same_types(left: &Schema, right: &Schema) -> bool {
    left.fields().len() == right.fields().len()
        && left
            .fields()
            .iter()
            .zip(right.fields())
            .all(|(left, right)| left.data_type().equals_datatype(right.data_type()))
}

impl Evaluated {
    fn new(
        input: &DFSchema,
        keys: &[Expr],
        time: Option<&Expr>,
        clock: &BatchClock,
    ) -> Result<Self> {
        if keys.is_empty() {
            return plan_err!("an operator that keeps rows by key needs a key");
        }
        let base = nullable_schema(input);
        let width = base.fields().len();
        let mut fields: Vec<_> = base.fields().iter().cloned().collect();
        let mut exprs: Vec<Arc<dyn PhysicalExpr>> = vec![];
        let mut place = |expr: &Expr, name: String, is_key: bool| -> Result<usize> {
            let compiled = physical_expr(expr, input, clock)?;
            let data_type = compiled.data_type(&base)?;
            if is_key && !RowConverter::supports_fields(&[SortField::new(data_type.clone())]) {
                return plan_err!("values of type {data_type} cannot be compared");
            }
            // Floats are not taken as they stand: equal ones may differ in their bits.
            let as_it_stands = !(is_key && data_type.is_floating());
            if let (Expr::Column(column), true) = (unalias(expr), as_it_stands) {
                return input.index_of_column(column);
            }
            fields.push(Arc::new(Field::new(name, data_type, true)));
            exprs.push(compiled);
            Ok(fields.len() - 1)
        };
        let keys = keys
            .iter()
            .enumerate()
            .map(|(number, key)| place(key, format!("key {number}"), true))
            .collect::<Result<Vec<_>>>()?;
        let time = time.map(|time| place(time, "time".to_owned(), false)).transpose()?;
        if let Some(time) = time
            && !matches!(fields[time].data_type(), DataType::Timestamp(TimeUnit::Microsecond, _))
        {
            return plan_err!(
                "the event time is {} instead of TIMESTAMP",
                fields[time].data_type()
            );
        }
        let schema = Arc::new(Schema::new(fields));
        Ok(Self { layout: KeyLayout { schema, width, keys, time }, exprs })
    }
}

/// Sends rows to the shard of their key.
pub(super) struct KeyRouter {
    query: Arc<str>,
    evaluated: Evaluated,
    /// Rows with a NULL among their keys are of no use to the operator.
    drop_null_keys: bool,
    clock: BatchClock,
}

impl KeyRouter {
    /// A router for one input.
    ///
    /// # Errors
    /// As for [`KeyLayout::new`].
    pub(super) fn new(
        query: &Arc<str>,
        input: &DFSchema,
        keys: &[Expr],
        time: Option<&Expr>,
        drop_null_keys: bool,
    ) -> Result<Self, OperatorError> {
        let clock = BatchClock::default();
        let evaluated =
            Evaluated::new(input, keys, time, &clock).map_err(OperatorError::evaluate(query))?;
        Ok(Self { query: Arc::clone(query), evaluated, drop_null_keys, clock })
    }

    fn evaluate(&self, rows: &RecordBatch, shards: usize) -> Result<Routed> {
        let layout = &self.evaluated.layout;
        let count = rows.num_rows();
        if rows.num_columns() != layout.width {
            return plan_err!("a batch has {} columns, not {}", rows.num_columns(), layout.width);
        }
        let mut columns = rows.columns().to_vec();
        for expr in &self.evaluated.exprs {
            columns.push(canonical(expr.evaluate(rows)?.into_array(count)?));
        }
        let mut rows = new_batch(&layout.schema, columns, count)?;
        let mut null_time = 0;
        let times = layout.time.and_then(|time| rows.column(time).logical_nulls());
        if let Some(times) = times.filter(|times| times.null_count() > 0) {
            null_time = times.null_count() as u64;
            rows = filter_record_batch(&rows, &BooleanArray::new(times.into_inner(), None))?;
        }
        if self.drop_null_keys
            && let Some(present) = present_keys(&layout.key_arrays(&rows))
        {
            rows = filter_record_batch(&rows, &BooleanArray::new(present.into_inner(), None))?;
        }
        let parts = split(&rows, &layout.key_arrays(&rows), shards)?;
        Ok(Routed { parts, null_time })
    }
}

impl Router for KeyRouter {
    fn route(&mut self, rows: &RecordBatch, shards: usize) -> Result<Routed, OperatorError> {
        self.clock.tick();
        self.evaluate(rows, shards).map_err(OperatorError::evaluate(&self.query))
    }
}

/// The rows that have all keys; `None` if all rows do.
pub(super) fn present_keys(keys: &[ArrayRef]) -> Option<NullBuffer> {
    let nulls = keys
        .iter()
        .fold(None, |all, key| NullBuffer::union(all.as_ref(), key.logical_nulls().as_ref()));
    nulls.filter(|nulls| nulls.null_count() > 0)
}

/// Splits rows by the shard of their keys; one entry for each shard.
fn split(rows: &RecordBatch, keys: &[ArrayRef], shards: usize) -> Result<Vec<Option<RecordBatch>>> {
    let shards = shards.max(1);
    let mut parts = vec![None; shards];
    let count = rows.num_rows();
    if count == 0 {
        return Ok(parts);
    }
    if shards == 1 {
        parts[0] = Some(rows.clone());
        return Ok(parts);
    }
    let mut indices: Vec<Vec<u32>> = vec![vec![]; shards];
    for (row, hash) in hash_keys(keys, count)?.iter().enumerate() {
        indices[shard_of(*hash, shards)].push(row as u32);
    }
    for (part, indices) in parts.iter_mut().zip(indices) {
        if indices.len() == count {
            *part = Some(rows.clone());
        } else if !indices.is_empty() {
            *part = Some(take_record_batch(rows, &UInt32Array::from(indices))?);
        }
    }
    Ok(parts)
}

/// Which rows belong to shard `shard` of `shards`, by their keys.
pub(super) fn of_shard(
    keys: &[ArrayRef],
    rows: usize,
    (shard, shards): (usize, usize),
) -> Result<Option<BooleanArray>> {
    if shards <= 1 {
        return Ok(None);
    }
    let hashes = hash_keys(keys, rows)?;
    Ok(Some(hashes.iter().map(|hash| Some(shard_of(*hash, shards) == shard)).collect()))
}

/// Turns keys into bytes that are equal where the keys are, and back.
pub(super) struct KeyCodec {
    converter: RowConverter,
}

/// The keys of a batch as bytes, with their hashes.
pub(super) struct EncodedKeys {
    rows: arrow::row::Rows,
    pub(super) hashes: Vec<u64>,
}

impl KeyCodec {
    pub(super) fn new(types: &[DataType]) -> Result<Self> {
        let fields = types.iter().map(|data_type| SortField::new(data_type.clone())).collect();
        Ok(Self { converter: RowConverter::new(fields)? })
    }

    pub(super) fn encode(&self, keys: &[ArrayRef]) -> Result<EncodedKeys> {
        let rows = self.converter.convert_columns(keys)?;
        let hashes = rows.iter().map(|row| hash_key(row.data())).collect();
        Ok(EncodedKeys { rows, hashes })
    }

    /// The columns of keys that this codec encoded.
    pub(super) fn decode<'a>(&self, keys: impl Iterator<Item = &'a [u8]>) -> Result<Vec<ArrayRef>> {
        let parser = self.converter.parser();
        // `convert_rows` wants rows of its own parser, which borrows; the collected rows live as
        // long as it does.
        let rows: Vec<_> = keys.map(|key| parser.parse(key)).collect();
        Ok(self.converter.convert_rows(rows)?)
    }
}

impl EncodedKeys {
    pub(super) fn get(&self, row: usize) -> &[u8] {
        self.rows.row(row).data()
    }
}

/// The hash of a key's bytes.
pub(super) fn hash_key(key: &[u8]) -> u64 {
    hash_bytes(SEED, key)
}

/// Byte strings, one after the other.
#[derive(Default)]
pub(super) struct KeyBytes {
    ends: Vec<usize>,
    bytes: Vec<u8>,
}

impl KeyBytes {
    pub(super) fn with_capacity(keys: usize, bytes: usize) -> Self {
        Self { ends: Vec::with_capacity(keys), bytes: Vec::with_capacity(bytes) }
    }

    pub(super) fn push(&mut self, key: &[u8]) {
        self.bytes.extend_from_slice(key);
        self.ends.push(self.bytes.len());
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn get(&self, index: usize) -> &[u8] {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..self.ends[index]]
    }

    /// Bytes of all keys together.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes of memory.
    pub(super) fn size(&self) -> usize {
        self.ends.capacity() * size_of::<usize>() + self.bytes.capacity()
    }
}

/// The error of a plan that the planner should not have made.
pub(super) fn bad_plan(query: &Arc<str>, message: &str) -> OperatorError {
    OperatorError::Evaluate {
        query: Arc::clone(query),
        source: DataFusionError::Plan(message.to_owned()),
    }
}
