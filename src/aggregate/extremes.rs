//! `max` and `min` of floating point numbers in Spark's order, where NaN is greater than all else.
//!
//! DataFusion's accumulators compare with `<`, for which NaN is neither: the greatest of NaN alone
//! comes out as the least number that there is.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, PrimitiveArray};
use arrow::datatypes::{ArrowPrimitiveType, DataType, Float32Type, Float64Type};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};

/// An accumulator for a function of this name over numbers of this type; `None` for all but the
/// extremes of floating point numbers.
pub(super) fn accumulator(name: &str, of: &DataType) -> Option<Box<dyn GroupsAccumulator>> {
    let wanted = match name {
        "max" => Ordering::Greater,
        "min" => Ordering::Less,
        _ => return None,
    };
    match of {
        DataType::Float32 => Some(Box::new(Extremes::<Float32Type> { wanted, held: vec![] })),
        DataType::Float64 => Some(Box::new(Extremes::<Float64Type> { wanted, held: vec![] })),
        _ => None,
    }
}

/// A number with one NaN, which is the greatest.
trait Ordered: Copy {
    fn order(self, other: Self) -> Ordering;
}

impl Ordered for f32 {
    fn order(self, other: Self) -> Ordering {
        f64::from(self).order(f64::from(other))
    }
}

impl Ordered for f64 {
    fn order(self, other: Self) -> Ordering {
        // Only NaN has no order, and is then greater than what is not.
        self.partial_cmp(&other).unwrap_or_else(|| self.is_nan().cmp(&other.is_nan()))
    }
}

struct Extremes<T: ArrowPrimitiveType> {
    /// How a value compares with the one that it replaces.
    wanted: Ordering,
    /// One for each group; `None` as long as all its values were NULL.
    held: Vec<Option<T::Native>>,
}

impl<T> GroupsAccumulator for Extremes<T>
where
    T: ArrowPrimitiveType + Send,
    T::Native: Ordered,
{
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        let values = column::<T>(values)?;
        self.held.resize(total_num_groups, None);
        let wanted = self.wanted;
        let mut take = |row: usize, group: usize| {
            let value = values.value(row);
            let held = &mut self.held[group];
            if held.is_none_or(|held| value.order(held) == wanted) {
                *held = Some(value);
            }
        };
        if opt_filter.is_none() && values.null_count() == 0 {
            group_indices.iter().enumerate().for_each(|(row, group)| take(row, *group));
            return Ok(());
        }
        for (row, group) in group_indices.iter().enumerate() {
            let chosen = opt_filter.is_none_or(|chosen| chosen.is_valid(row) && chosen.value(row));
            if chosen && values.is_valid(row) {
                take(row, *group);
            }
        }
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let held = emit_to.take_needed(&mut self.held);
        Ok(Arc::new(PrimitiveArray::<T>::from_iter(held)))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.evaluate(emit_to)?])
    }

    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        total_num_groups: usize,
    ) -> Result<()> {
        self.update_batch(values, group_indices, None, total_num_groups)
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        opt_filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        let values = column::<T>(values)?;
        let Some(chosen) = opt_filter else { return Ok(vec![Arc::new(values.clone())]) };
        let values =
            values.iter().zip(chosen).map(|(value, chosen)| value.filter(|_| chosen == Some(true)));
        Ok(vec![Arc::new(PrimitiveArray::<T>::from_iter(values))])
    }

    fn size(&self) -> usize {
        self.held.capacity() * size_of::<Option<T::Native>>()
    }
}

fn column<T: ArrowPrimitiveType>(values: &[ArrayRef]) -> Result<&PrimitiveArray<T>> {
    match values.first().and_then(|values| values.as_primitive_opt::<T>()) {
        Some(values) => Ok(values),
        None => exec_err!("an extreme is of one column of {}", T::DATA_TYPE),
    }
}
