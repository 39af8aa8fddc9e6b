//! Conditions on partitions: `day >= '2026-11-01' AND hour < 6`.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::common::DFSchema;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::prelude::SessionContext;
use deltalake::kernel::Snapshot;

use super::UpkeepError;
use crate::sql::nearest;

/// A condition over a table's partition columns.
pub(super) struct PartitionFilter {
    table: String,
    text: String,
    schema: SchemaRef,
    condition: Arc<dyn PhysicalExpr>,
}

impl PartitionFilter {
    /// Plans `text`, which may name partition columns only: whole files are chosen, and of other
    /// columns a file has many values.
    pub fn new(table: &str, snapshot: &Snapshot, text: &str) -> Result<Self, UpkeepError> {
        let wrong = |reason: String| UpkeepError::Filter {
            table: table.to_owned(),
            filter: text.to_owned(),
            reason,
        };
        let all = snapshot.arrow_schema();
        let partition_by = snapshot.metadata().partition_columns();
        if partition_by.is_empty() {
            return Err(wrong(
                "the table is not partitioned, so that there is nothing to choose files by"
                    .to_owned(),
            ));
        }
        let context = SessionContext::new();
        let whole = DFSchema::try_from(all.as_ref().clone()).map_err(|e| wrong(e.to_string()))?;
        let parsed = context
            .parse_sql_expr(text, &whole)
            .map_err(|e| wrong(first_line(&e.strip_backtrace())))?;
        for column in parsed.column_refs() {
            let name = column.name();
            if !partition_by.iter().any(|partition| partition == name) {
                let partitions: Vec<&str> = partition_by.iter().map(String::as_str).collect();
                let hint = nearest(name, partitions.iter().copied())
                    .map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
                return Err(wrong(format!(
                    "`{name}` is no partition column, and whole partitions are chosen; they are \
                     by {}{hint}",
                    partitions.join(", ")
                )));
            }
        }
        let fields: Vec<_> = partition_by
            .iter()
            .map(|name| all.field_with_name(name).cloned())
            .collect::<Result<_, _>>()
            .map_err(|e| wrong(e.to_string()))?;
        let schema = Arc::new(Schema::new(fields));
        let narrow =
            DFSchema::try_from(schema.as_ref().clone()).map_err(|e| wrong(e.to_string()))?;
        let condition = context
            .parse_sql_expr(text, &narrow)
            .and_then(|expr| context.create_physical_expr(expr, &narrow))
            .map_err(|e| wrong(first_line(&e.strip_backtrace())))?;
        match condition.data_type(&schema) {
            Ok(DataType::Boolean | DataType::Null) => {}
            Ok(other) => return Err(wrong(format!("it is {other} and no condition"))),
            Err(e) => return Err(wrong(e.to_string())),
        }
        Ok(Self { table: table.to_owned(), text: text.to_owned(), schema, condition })
    }

    /// Whether each of the partitions is meant; NULL is not.
    pub fn matches(
        &self,
        partitions: &[&HashMap<String, Option<String>>],
    ) -> Result<Vec<bool>, UpkeepError> {
        let wrong = |reason: String| UpkeepError::Filter {
            table: self.table.clone(),
            filter: self.text.clone(),
            reason,
        };
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        let strict = CastOptions { safe: false, ..Default::default() };
        let columns: Vec<ArrayRef> = self
            .schema
            .fields()
            .iter()
            .map(|field| {
                // The empty text is NULL (the protocol's "Partition Value Serialization").
                let texts: StringArray = partitions
                    .iter()
                    .map(|values| {
                        values.get(field.name()).cloned().flatten().filter(|text| !text.is_empty())
                    })
                    .collect();
                cast_with_options(&texts, field.data_type(), &strict)
            })
            .collect::<Result<_, _>>()
            .map_err(|e| wrong(e.to_string()))?;
        let schema = Schema::new(
            self.schema
                .fields()
                .iter()
                .map(|f| f.as_ref().clone().with_nullable(true))
                .collect::<Vec<_>>(),
        );
        let batch =
            RecordBatch::try_new(Arc::new(schema), columns).map_err(|e| wrong(e.to_string()))?;
        let value = self
            .condition
            .evaluate(&batch)
            .and_then(|value| value.into_array(partitions.len()))
            .map_err(|e| wrong(first_line(&e.strip_backtrace())))?;
        let Some(value) = value.as_boolean_opt() else {
            return Ok(vec![false; partitions.len()]); // NULL
        };
        let value: &BooleanArray = value;
        Ok((0..value.len()).map(|row| value.is_valid(row) && value.value(row)).collect())
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}
