//! `min` and `max` of FLOAT and DOUBLE with Spark's order: NaN is larger than anything else.
//!
//! DataFusion's keep the smallest finite number where all there is is NaN or minus infinity.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, PrimitiveArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::functions_aggregate::min_max::{max_udaf, min_udaf};
use datafusion::logical_expr::function::{AccumulatorArgs, AggregateFunctionSimplification};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, ReversedUDAF, Signature,
};

/// Both, under DataFusion's names.
pub(in crate::sql) fn aggregates() -> Vec<Arc<AggregateUDF>> {
    [min_udaf(), max_udaf()]
        .into_iter()
        .map(|plain| {
            let is_max = plain.name() == "max";
            Arc::new(AggregateUDF::new_from_impl(Extreme { plain, is_max }))
        })
        .collect()
}

/// DataFusion's function for every type but floating ones.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Extreme {
    plain: Arc<AggregateUDF>,
    is_max: bool,
}

impl AggregateUDFImpl for Extreme {
    fn name(&self) -> &str {
        self.plain.name()
    }

    fn aliases(&self) -> &[String] {
        self.plain.aliases()
    }

    fn signature(&self) -> &Signature {
        self.plain.signature()
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.plain.return_type(arg_types)
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        self.plain.coerce_types(arg_types)
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        match args.return_field.data_type() {
            DataType::Float32 => Ok(Box::new(One(self.floats::<Float32Type>()))),
            DataType::Float64 => Ok(Box::new(One(self.floats::<Float64Type>()))),
            _ => self.plain.accumulator(args),
        }
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        self.plain.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        match args.return_field.data_type() {
            DataType::Float32 => Ok(Box::new(self.floats::<Float32Type>())),
            DataType::Float64 => Ok(Box::new(self.floats::<Float64Type>())),
            _ => self.plain.create_groups_accumulator(args),
        }
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }

    fn simplify(&self) -> Option<AggregateFunctionSimplification> {
        None
    }
}

impl Extreme {
    fn floats<T: ArrowPrimitiveType>(&self) -> Floats<T>
    where
        T::Native: num_like::Float,
    {
        Floats { is_max: self.is_max, values: vec![], seen: vec![] }
    }
}

/// What the two types have in common.
mod num_like {
    pub trait Float: Copy + PartialOrd {
        const NAN: Self;
        const LEAST: Self;
        fn is_nan(self) -> bool;
    }

    impl Float for f32 {
        const NAN: Self = Self::NAN;
        const LEAST: Self = Self::NEG_INFINITY;

        fn is_nan(self) -> bool {
            self.is_nan()
        }
    }

    impl Float for f64 {
        const NAN: Self = Self::NAN;
        const LEAST: Self = Self::NEG_INFINITY;

        fn is_nan(self) -> bool {
            self.is_nan()
        }
    }
}

/// The extreme value of each group.
struct Floats<T: ArrowPrimitiveType> {
    is_max: bool,
    values: Vec<T::Native>,
    /// Whether the group has a value at all.
    seen: Vec<bool>,
}

impl<T: ArrowPrimitiveType> Floats<T>
where
    T::Native: num_like::Float,
{
    fn grow(&mut self, groups: usize) {
        use num_like::Float;
        // What every value is better than, or as good as.
        let worst = if self.is_max { T::Native::LEAST } else { T::Native::NAN };
        if groups > self.values.len() {
            self.values.resize(groups, worst);
            self.seen.resize(groups, false);
        }
    }

    #[inline]
    fn take(&mut self, group: usize, new: T::Native) {
        use num_like::Float;
        let value = &mut self.values[group];
        let better =
            if self.is_max { new > *value || new.is_nan() } else { new < *value || value.is_nan() };
        if better {
            *value = new;
        }
        self.seen[group] = true;
    }

    fn update(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        let Some(values) = values.first().and_then(|values| values.as_primitive_opt::<T>()) else {
            return exec_err!("min and max take one column of the type that was planned");
        };
        self.grow(total);
        if values.null_count() == 0 && filter.is_none() {
            for (group, value) in groups.iter().zip(values.values()) {
                self.take(*group, *value);
            }
            return Ok(());
        }
        for (row, group) in groups.iter().enumerate() {
            let passes = filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
            if passes && values.is_valid(row) {
                self.take(*group, values.value(row));
            }
        }
        Ok(())
    }

    fn emit(&mut self, emit_to: EmitTo) -> PrimitiveArray<T> {
        let values = emit_to.take_needed(&mut self.values);
        let seen = emit_to.take_needed(&mut self.seen);
        let nulls = seen.iter().any(|seen| !seen).then(|| NullBuffer::from(seen));
        PrimitiveArray::new(values.into(), nulls)
    }
}

impl<T: ArrowPrimitiveType> GroupsAccumulator for Floats<T>
where
    T::Native: num_like::Float,
{
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.update(values, group_indices, opt_filter, total_num_groups)
    }

    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        total_num_groups: usize,
    ) -> Result<()> {
        self.update(values, group_indices, None, total_num_groups)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        Ok(Arc::new(self.emit(emit_to)))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(vec![Arc::new(self.emit(emit_to))])
    }

    /// Each row is the state of a group of its own.
    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        opt_filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        let Some(values) = values.first() else {
            return exec_err!("min and max take one column");
        };
        let Some(filter) = opt_filter else { return Ok(vec![Arc::clone(values)]) };
        // What does not pass is NULL.
        let out: BooleanArray = filter.iter().map(|passes| Some(passes != Some(true))).collect();
        Ok(vec![arrow::compute::nullif(values, &out)?])
    }

    fn size(&self) -> usize {
        self.values.capacity() * size_of::<T::Native>() + self.seen.capacity()
    }
}

/// One group, for whoever asks for it alone.
struct One<T: ArrowPrimitiveType>(Floats<T>);

impl<T: ArrowPrimitiveType> fmt::Debug for One<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of a {}", if self.0.is_max { "max" } else { "min" }, T::DATA_TYPE)
    }
}

impl<T: ArrowPrimitiveType> One<T>
where
    T::Native: num_like::Float,
{
    fn value(&self) -> Result<ScalarValue> {
        let seen = self.0.seen.first().copied().unwrap_or(false);
        let value = self.0.values.first().copied().filter(|_| seen);
        let array: PrimitiveArray<T> = std::iter::once(value).collect();
        ScalarValue::try_from_array(&array, 0)
    }
}

impl<T: ArrowPrimitiveType> Accumulator for One<T>
where
    T::Native: num_like::Float,
{
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let rows = values.first().map_or(0, |values| values.len());
        self.0.update(values, &vec![0; rows], None, 1)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.value()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.value()?])
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::Float64Array;

    use super::*;

    #[test]
    fn nan_is_the_largest() {
        let inf = f64::INFINITY;
        for (values, least, most) in [
            (vec![Some(1.0), None, Some(-2.0)], Some(-2.0), Some(1.0)),
            (vec![Some(f64::NAN), Some(3.0)], Some(3.0), Some(f64::NAN)),
            (vec![Some(3.0), Some(f64::NAN), Some(inf)], Some(3.0), Some(f64::NAN)),
            (vec![Some(f64::NAN)], Some(f64::NAN), Some(f64::NAN)),
            (vec![Some(-inf)], Some(-inf), Some(-inf)),
            (vec![None], None, None),
        ] {
            for (is_max, expected) in [(false, least), (true, most)] {
                let mut floats = Floats::<Float64Type> { is_max, values: vec![], seen: vec![] };
                let array: ArrayRef = Arc::new(Float64Array::from(values.clone()));
                floats.update_batch(&[array], &vec![0; values.len()], None, 1).unwrap();
                let state = floats.state(EmitTo::All).unwrap();
                floats.merge_batch(&state, &[0], 1).unwrap();
                let found = floats.evaluate(EmitTo::All).unwrap();
                let found = found.as_primitive::<Float64Type>().iter().next().unwrap();
                assert_eq!(
                    found.map(f64::to_bits),
                    expected.map(f64::to_bits),
                    "{is_max} of {values:?}: {found:?}"
                );
            }
        }
    }
}
