//! `sum` of decimals, which is NULL once it has more digits than its type, as in Spark.
//!
//! DataFusion's wraps around at 128 bits, to a number that looks like any other.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Decimal128Array};
use arrow::compute::nullif;
use arrow::datatypes::{DataType, Decimal128Type};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};

/// Stands for a sum that is too large, in states: no decimal has so many digits.
const TOO_LARGE: i128 = i128::MAX;

/// An accumulator for sums of this type; `None` if it is no decimal.
pub(super) fn accumulator(name: &str, of: &DataType) -> Option<Box<dyn GroupsAccumulator>> {
    let DataType::Decimal128(precision, _) = of else { return None };
    let limit = 10i128.checked_pow(u32::from(*precision))?;
    (name == "sum").then(|| Box::new(DecimalSum { of: of.clone(), limit, held: vec![] }) as Box<_>)
}

struct DecimalSum {
    of: DataType,
    /// The least that is too large.
    limit: i128,
    /// One for each group; `None` as long as all its values were NULL.
    held: Vec<Option<i128>>,
}

impl DecimalSum {
    fn take(&mut self, group: usize, value: i128) {
        let held = &mut self.held[group];
        let sum = match *held {
            Some(TOO_LARGE) => return,
            _ if value == TOO_LARGE => None,
            held => held.unwrap_or(0).checked_add(value),
        };
        let within = |sum: &i128| -self.limit < *sum && *sum < self.limit;
        *held = Some(sum.filter(within).unwrap_or(TOO_LARGE));
    }

    fn column<'a>(&self, values: &'a [ArrayRef]) -> Result<&'a Decimal128Array> {
        match values.first().and_then(|values| values.as_primitive_opt::<Decimal128Type>()) {
            Some(values) => Ok(values),
            None => exec_err!("a sum of {} is of one column of decimals", self.of),
        }
    }
}

impl GroupsAccumulator for DecimalSum {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        let values = self.column(values)?;
        self.held.resize(total_num_groups, None);
        for (row, group) in group_indices.iter().enumerate() {
            let chosen = opt_filter.is_none_or(|chosen| chosen.is_valid(row) && chosen.value(row));
            if chosen && values.is_valid(row) {
                self.take(*group, values.value(row));
            }
        }
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let held = emit_to.take_needed(&mut self.held);
        let sums = held.into_iter().map(|sum| sum.filter(|sum| *sum != TOO_LARGE));
        Ok(Arc::new(Decimal128Array::from_iter(sums).with_data_type(self.of.clone())))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let held = emit_to.take_needed(&mut self.held);
        Ok(vec![Arc::new(Decimal128Array::from(held).with_data_type(self.of.clone()))])
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
        let values = self.column(values)?.clone().with_data_type(self.of.clone());
        let Some(chosen) = opt_filter else { return Ok(vec![Arc::new(values)]) };
        let left_out: BooleanArray =
            chosen.iter().map(|chosen| Some(chosen != Some(true))).collect();
        Ok(vec![nullif(&values, &left_out)?])
    }

    fn size(&self) -> usize {
        self.held.capacity() * size_of::<Option<i128>>()
    }
}
