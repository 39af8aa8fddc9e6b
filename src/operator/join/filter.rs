//! The residual condition of a join, over pairs of rows.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use arrow::compute::prep_null_mask_filter;
use arrow::datatypes::{Field, SchemaRef};
use datafusion::common::{DFSchema, Result, exec_err};
use datafusion::physical_expr::PhysicalExpr;

use super::JoinPlan;
use crate::sql::{BatchClock, new_batch, nullable_schema, physical_expr};

/// The condition, compiled on those columns that it reads: pairs that do not meet it have no other
/// columns gathered.
pub(super) struct PairFilter {
    /// Columns of left and right, counted through.
    pub(super) columns: Vec<usize>,
    schema: SchemaRef,
    expr: Arc<dyn PhysicalExpr>,
}

impl PairFilter {
    pub(super) fn new(plan: &JoinPlan, clock: &BatchClock) -> Result<Option<Self>> {
        let Some(filter) = &plan.filter else { return Ok(None) };
        let both = plan.left.input.join(&plan.right.input)?;
        let mut columns = filter
            .column_refs()
            .into_iter()
            .map(|column| both.index_of_column(column))
            .collect::<Result<Vec<_>>>()?;
        columns.sort_unstable();
        columns.dedup();
        let fields = columns
            .iter()
            .map(|column| {
                let (qualifier, field) = both.qualified_field(*column);
                let field = Field::new(field.name(), field.data_type().clone(), true);
                (qualifier.cloned(), Arc::new(field))
            })
            .collect();
        let schema = DFSchema::new_with_metadata(fields, HashMap::new())?;
        let expr = physical_expr(filter, &schema, clock)?;
        Ok(Some(Self { columns, schema: nullable_schema(&schema), expr }))
    }

    /// Which pairs meet the condition; NULL is not met. `columns` are those of
    /// [`columns`](Self::columns).
    pub(super) fn evaluate(&self, columns: Vec<ArrayRef>, pairs: usize) -> Result<BooleanArray> {
        let batch = new_batch(&self.schema, columns, pairs)?;
        let mask = self.expr.evaluate(&batch)?.into_array(pairs)?;
        let Some(mask) = mask.as_boolean_opt() else {
            return exec_err!(
                "a join's condition gave {} instead of true or false",
                mask.data_type()
            );
        };
        Ok(if mask.null_count() > 0 { prep_null_mask_filter(mask) } else { mask.clone() })
    }
}
