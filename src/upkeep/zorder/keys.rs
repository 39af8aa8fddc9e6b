//! Places on the curve.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, Int64Type, SchemaRef};
use arrow::error::ArrowError;
use arrow::row::{RowConverter, SortField};

/// Bits of a column's range at most; with 200,000 sampled values more would not be ranges of equal
/// numbers of rows any more.
const MOST_BITS: u32 = 12;

/// Values of the columns, of some of the rows.
pub(super) struct Sample {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
}

impl Sample {
    pub fn new(schema: SchemaRef) -> Self {
        Self { schema, batches: Vec::new() }
    }

    pub fn add(&mut self, batches: Vec<RecordBatch>) {
        self.batches.extend(batches);
    }

    /// The curve through the sampled rows.
    pub fn curve(self) -> Result<Curve, ArrowError> {
        let rows = concat_batches(&self.schema, &self.batches)?;
        let columns = self.schema.fields().len().max(1);
        let bits = (64 / u32::try_from(columns).unwrap_or(64)).clamp(1, MOST_BITS);
        let ranges = rows
            .columns()
            .iter()
            .map(|column| Ranges::of(column, 1 << bits))
            .collect::<Result<Vec<_>, _>>()?;
        let mut curve = Curve { bits, ranges, sampled: Vec::new() };
        curve.sampled = curve.places(rows.columns())?;
        curve.sampled.sort_unstable();
        Ok(curve)
    }
}

/// Where rows are on the curve.
pub(super) struct Curve {
    bits: u32,
    ranges: Vec<Ranges>,
    /// The places of the sampled rows, rising.
    sampled: Vec<u64>,
}

impl Curve {
    /// The place of each row of these columns.
    pub fn places(&self, columns: &[ArrayRef]) -> Result<Vec<u64>, ArrowError> {
        let rows = columns.first().map_or(0, |column| column.len());
        let mut places = vec![0u64; rows];
        let count = self.ranges.len();
        for (index, (ranges, column)) in self.ranges.iter().zip(columns).enumerate() {
            for (place, range) in places.iter_mut().zip(ranges.numbers(column)?) {
                *place |= spread(range, self.bits, count) << (count - 1 - index);
            }
        }
        Ok(places)
    }

    /// Places that cut the rows into about so many pieces of about equal size, rising; fewer
    /// where many rows share a place. A piece begins with its cut.
    pub fn cuts(&self, pieces: usize) -> Vec<u64> {
        let rows = self.sampled.len();
        let mut cuts: Vec<u64> = (1..pieces)
            .filter_map(|piece| self.sampled.get(rows * piece / pieces.max(1)).copied())
            .collect();
        cuts.dedup();
        // Nothing is before the first place.
        cuts.retain(|cut| Some(cut) != self.sampled.first());
        cuts
    }
}

/// The `bits` low bits of `number`, `apart` places from each other.
fn spread(number: u32, bits: u32, apart: usize) -> u64 {
    (0..bits).fold(0, |spread, bit| spread | u64::from(number >> bit & 1) << (bit as usize * apart))
}

/// Where a column's ranges begin.
enum Ranges {
    /// Of numbers, times and dates: by a number that has the same order.
    Numbers { kind: DataType, begins: Vec<i64>, nulls: bool },
    /// Of anything else: by its row format, which has the same order.
    Bytes { converter: Arc<RowConverter>, begins: Vec<Box<[u8]>> },
}

impl Ranges {
    /// Up to `count` ranges with about equal numbers of these values.
    fn of(column: &ArrayRef, count: usize) -> Result<Self, ArrowError> {
        if let Some(numbers) = numbers(column)? {
            let mut values: Vec<i64> = numbers.iter().flatten().collect();
            values.sort_unstable();
            let mut begins: Vec<i64> =
                quantiles(values.len(), count).map(|at| values[at]).collect();
            begins.dedup();
            let kind = column.data_type().clone();
            return Ok(Self::Numbers { kind, begins, nulls: column.null_count() > 0 });
        }
        let converter = RowConverter::new(vec![SortField::new(column.data_type().clone())])?;
        let rows = converter.convert_columns(std::slice::from_ref(column))?;
        let mut values: Vec<&[u8]> = (0..rows.num_rows()).map(|row| rows.row(row).data()).collect();
        values.sort_unstable();
        let mut begins: Vec<Box<[u8]>> =
            quantiles(values.len(), count).map(|at| values[at].into()).collect();
        begins.dedup();
        Ok(Self::Bytes { converter: Arc::new(converter), begins })
    }

    /// The number of each value's range; NULL comes first.
    fn numbers(&self, column: &ArrayRef) -> Result<Vec<u32>, ArrowError> {
        match self {
            Self::Numbers { kind, begins, nulls } => {
                debug_assert_eq!(kind, column.data_type());
                let Some(values) = numbers(column)? else { return Ok(vec![0; column.len()]) };
                let first = u32::from(*nulls);
                let last = u32::try_from(begins.len()).unwrap_or(u32::MAX);
                let range = |value: i64| {
                    let at = begins.partition_point(|begin| *begin <= value);
                    (u32::try_from(at).unwrap_or(u32::MAX).saturating_sub(1) + first).min(last)
                };
                Ok(values.iter().map(|value| value.map_or(0, range)).collect())
            }
            Self::Bytes { converter, begins } => {
                let rows = converter.convert_columns(std::slice::from_ref(column))?;
                Ok((0..rows.num_rows())
                    .map(|row| {
                        let row = rows.row(row);
                        let at = begins.partition_point(|begin| begin.as_ref() <= row.data());
                        u32::try_from(at).unwrap_or(u32::MAX).saturating_sub(1)
                    })
                    .collect())
            }
        }
    }
}

/// Where `count` ranges begin among `len` sorted values.
fn quantiles(len: usize, count: usize) -> impl Iterator<Item = usize> {
    (0..count.min(len)).map(move |range| range * len / count.min(len).max(1))
}

/// The column as numbers of the same order, where there are such.
fn numbers(column: &ArrayRef) -> Result<Option<arrow::array::Int64Array>, ArrowError> {
    use DataType as T;
    let numbers = match column.data_type() {
        T::Int8
        | T::Int16
        | T::Int32
        | T::Int64
        | T::UInt8
        | T::UInt16
        | T::UInt32
        | T::Boolean => cast(column, &T::Int64)?,
        T::Date32 => cast(&cast(column, &T::Int32)?, &T::Int64)?,
        T::Timestamp(_, _) => cast(column, &T::Int64)?,
        T::Float32 | T::Float64 => {
            let floats = cast(column, &T::Float64)?;
            let floats = floats.as_primitive::<arrow::datatypes::Float64Type>();
            // The bits of a float have its order once those of negative ones are turned round
            // (as in `f64::total_cmp`).
            let ordered = floats.unary::<_, Int64Type>(|value| {
                let bits = value.to_bits().cast_signed();
                bits ^ (((bits >> 63).cast_unsigned()) >> 1).cast_signed()
            });
            return Ok(Some(ordered));
        }
        _ => return Ok(None),
    };
    Ok(Some(numbers.as_primitive::<Int64Type>().clone()))
}
