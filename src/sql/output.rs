//! The columns that come out: named and typed so that a Delta table can hold them.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::{Column, DFSchema, DataFusionError};
use datafusion::logical_expr::expr::TryCast;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::sql::sqlparser::ast::{
    Expr as SqlExpr, Query, Select, SelectItem, SetExpr, Spanned,
};

use super::analyze::storable_type;
use super::error::SqlError;

/// Every output column must have a name that a table can have.
pub(super) fn named_output(query: &Query) -> Result<(), SqlError> {
    let SetExpr::Select(select) = query.body.as_ref() else {
        if let SetExpr::Query(inner) = query.body.as_ref() {
            return named_output(inner);
        }
        return Ok(());
    };
    named_items(select)
}

fn named_items(select: &Select) -> Result<(), SqlError> {
    for item in &select.projection {
        match item {
            SelectItem::UnnamedExpr(SqlExpr::Identifier(_)) => {}
            SelectItem::UnnamedExpr(expr) => {
                return Err(SqlError::new(format!(
                    "'{expr}' has no name, and it becomes a column"
                ))
                .hint("add AS and a name")
                .at(expr.span()));
            }
            SelectItem::ExprWithAlias { expr, alias } => {
                if alias.value.is_empty() || alias.value.contains(INVALID_IN_NAMES) {
                    return Err(SqlError::new(format!(
                        "'{}' cannot be a column's name: Delta tables allow none of ' ,;{{}}()=' \
                         nor line breaks and tabs in it",
                        alias.value
                    ))
                    .hint("use letters, digits and underscores")
                    .at(expr.span()));
                }
            }
            SelectItem::ExprWithAliases { expr, .. } => {
                return Err(SqlError::new("an expression has one name here, not several")
                    .hint("write each column with its own AS")
                    .at(expr.span()));
            }
            SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(_, _) => {}
        }
    }
    Ok(())
}

/// Delta's protocol without column mapping.
const INVALID_IN_NAMES: [char; 10] = [' ', ',', ';', '{', '}', '(', ')', '\n', '\t', '='];

/// Delta's names ignore case.
pub(super) fn unique_names(schema: &DFSchema) -> Result<(), SqlError> {
    let mut seen = HashSet::new();
    for field in schema.fields() {
        if !seen.insert(field.name().to_lowercase()) {
            return Err(SqlError::new(format!("two columns are named '{}'", field.name()))
                .hint("give one of them another name with AS; case makes no difference"));
        }
    }
    Ok(())
}

/// Casts each output column to a type that a Delta table can hold.
pub(super) fn storable_output(plan: LogicalPlan) -> Result<LogicalPlan, DataFusionError> {
    let schema = Arc::clone(plan.schema());
    let mut exprs = Vec::with_capacity(schema.fields().len());
    let mut changed = false;
    for (qualifier, field) in schema.iter() {
        let column = Expr::Column(Column::from((qualifier, field)));
        let Some(data_type) = storable_type(field.data_type()) else {
            return Err(DataFusionError::Plan(not_storable(field.name(), field.data_type())));
        };
        exprs.push(if data_type == *field.data_type() {
            column
        } else {
            changed = true;
            Expr::TryCast(TryCast::new(Box::new(column), data_type)).alias(field.name())
        });
    }
    if !changed {
        return Ok(plan);
    }
    LogicalPlanBuilder::from(plan).project(exprs)?.build()
}

fn not_storable(name: &str, data_type: &DataType) -> String {
    match data_type {
        DataType::Null => {
            format!("column '{name}' is only ever NULL: cast it to a type, as CAST(NULL AS STRING)")
        }
        DataType::Interval(_) | DataType::Duration(_) => format!(
            "column '{name}' is an interval, which tables cannot hold: make it a number, as with \
             unix_timestamp"
        ),
        other => format!("column '{name}' is of type {other}, which tables cannot hold: cast it"),
    }
}

pub(super) fn output_schema(schema: &DFSchema) -> SchemaRef {
    let fields: Vec<Field> = schema
        .as_arrow()
        .fields()
        .iter()
        .map(|field| Field::new(field.name(), field.data_type().clone(), true))
        .collect();
    Arc::new(Schema::new(fields))
}
