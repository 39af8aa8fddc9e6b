//! Does a table fit what is to be written to it, and may this program write to it at all?

use std::collections::HashMap;

use arrow::datatypes::DataType as ArrowType;
use deltalake::kernel::engine::arrow_conversion::TryIntoArrow;
use deltalake::kernel::{Metadata, Protocol, StructField, StructType};

use super::types::sql_name;
use super::widen::widens;

/// What comparing the rows' columns with a table's comes to.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    /// What is in the way, in words for the user. Empty: the table can be used once `to_add`
    /// is in it.
    pub differences: Vec<String>,
    /// New nullable columns that the table lacks and may be given.
    pub to_add: Vec<StructField>,
}

/// Compares every column by name, and the partitioning. The order of columns is free.
///
/// Rows may promise more than the table asks (NOT NULL into a nullable column), not less.
pub(super) fn compare(
    rows: &[StructField],
    table: &StructType,
    rows_partition: &[String],
    table_partition: &[String],
    evolve: bool,
) -> Comparison {
    let mut result = Comparison::default();
    let differences = &mut result.differences;
    for column in rows {
        let name = column.name();
        match table.field(name) {
            Some(there) => {
                let wanted = sql_name(there.data_type());
                // The names tell the order of a struct's fields apart, which equality does not.
                if (there.data_type() != column.data_type()
                    || wanted != sql_name(column.data_type()))
                    && !is_wider(there, column)
                {
                    differences.push(format!(
                        "column `{name}`: the table has {wanted}, the rows have {}; \
                         cast it in the query: CAST({name} AS {wanted}), or set \
                         on_type_change = \"dead_letter\" on the sink, for rows that do not fit",
                        described(column, there),
                    ));
                }
                if !there.is_nullable() && column.is_nullable() {
                    differences.push(format!(
                        "column `{name}`: NOT NULL in the table, but the rows can have NULL there; \
                         use coalesce({name}, ...) in the query or drop NOT NULL from the table"
                    ));
                }
            }
            None => {
                let twin = table.fields().find(|f| f.name().eq_ignore_ascii_case(name));
                if let Some(twin) = twin {
                    differences.push(format!(
                        "column `{name}`: the table spells it `{}`; rename it in the query with AS",
                        twin.name()
                    ));
                } else if !evolve {
                    differences.push(format!(
                        "column `{name}` {}: not in the table; set evolve = \"add\" on the \
                         sink to add it",
                        sql_name(column.data_type())
                    ));
                } else if !column.is_nullable() {
                    differences.push(format!(
                        "column `{name}`: not in the table, and a NOT NULL column cannot be added \
                         to rows that exist; make it nullable"
                    ));
                } else {
                    result.to_add.push(column.clone());
                }
            }
        }
    }
    for there in table.fields() {
        let name = there.name();
        if rows.iter().any(|column| column.name().eq_ignore_ascii_case(name)) {
            continue;
        }
        if !there.is_nullable() {
            differences.push(format!(
                "column `{name}` {}: NOT NULL in the table and missing from the rows",
                sql_name(there.data_type())
            ));
        } else if !evolve {
            differences.push(format!(
                "column `{name}` {}: in the table and missing from the rows; set \
                 evolve = \"add\" on the sink to fill it with NULL",
                sql_name(there.data_type())
            ));
        }
    }
    if rows_partition != table_partition {
        differences.push(format!(
            "the table is {}, the rows are to be {}; a table cannot be repartitioned in place: \
             change the setting or write to another path",
            partitioning(table_partition),
            partitioning(rows_partition)
        ));
    }
    result
}

/// Whether the table's type holds every value of the rows'.
fn is_wider(there: &StructField, column: &StructField) -> bool {
    let types: Result<(ArrowType, ArrowType), _> = column
        .data_type()
        .try_into_arrow()
        .and_then(|from: ArrowType| Ok((from, there.data_type().try_into_arrow()?)));
    types.is_ok_and(|(from, to)| widens(&from, &to))
}

/// The rows' type, and where it only differs in what may be NULL inside, that.
fn described(column: &StructField, there: &StructField) -> String {
    let (rows, table) = (sql_name(column.data_type()), sql_name(there.data_type()));
    if rows == table { format!("{rows} with other elements that can be NULL") } else { rows }
}

fn partitioning(columns: &[String]) -> String {
    if columns.is_empty() {
        "not partitioned".to_owned()
    } else {
        format!("partitioned by ({})", columns.join(", "))
    }
}

/// Writer features that ask nothing of a blind append of complete rows.
const HARMLESS_FEATURES: [&str; 12] = [
    "appendOnly",
    "changeDataFeed",
    "checkConstraints", // the constraints themselves are looked for below, as are the next four
    "checkpointProtection",
    "columnMapping",
    "deletionVectors",
    "generatedColumns",
    "identityColumns",
    "invariants",
    "timestampNtz",
    "v2Checkpoint",
    "vacuumProtocolCheck",
];

/// Field metadata with which a table asks writers to compute or check values.
const DEMANDING_METADATA: [(&str, &str); 4] = [
    ("delta.invariants", "has an invariant to be checked"),
    ("delta.generationExpression", "is a generated column"),
    ("delta.identity.start", "is an identity column"),
    ("CURRENT_DEFAULT", "has a default value"),
];

/// Every reason why appending plain files to such a table would break its rules; none: it may.
pub(super) fn objections(protocol: &Protocol, metadata: &Metadata) -> Vec<String> {
    let mut reasons = Vec::new();
    let version = protocol.min_writer_version();
    if version > 7 {
        reasons.push(format!("it needs writer version {version}; this is version 7"));
    }
    for feature in protocol.writer_features().unwrap_or_default() {
        let name = feature.to_string();
        if !HARMLESS_FEATURES.contains(&name.as_str()) {
            reasons.push(format!("the table feature '{name}' is not supported"));
        }
    }
    let configuration: &HashMap<String, String> = metadata.configuration();
    if let Some(mode) = configuration.get("delta.columnMapping.mode").filter(|m| *m != "none") {
        reasons.push(format!("columns are mapped (delta.columnMapping.mode = {mode})"));
    }
    let mut constraints: Vec<_> = configuration
        .iter()
        .filter_map(|(key, check)| Some((key.strip_prefix("delta.constraints.")?, check)))
        .collect();
    constraints.sort();
    for (name, check) in constraints {
        reasons.push(format!("rows would have to satisfy CHECK constraint '{name}': {check}"));
    }
    if let Ok(schema) = metadata.parse_schema() {
        for field in schema.fields() {
            for (key, what) in DEMANDING_METADATA {
                if field.metadata().contains_key(key) {
                    reasons.push(format!("column `{}` {what}", field.name()));
                }
            }
        }
    }
    reasons
}

/// Why files of such a table cannot be replaced by others that hold the same rows; empty: they can.
///
/// Rows that were accepted once need no second check, so that constraints, generated columns and
/// the like are nothing to worry about here.
pub(super) fn rewrite_objections(protocol: &Protocol, metadata: &Metadata) -> Vec<String> {
    const HARMLESS: [&str; 4] =
        ["clustering", "domainMetadata", "typeWidening", "allowColumnDefaults"];
    let mut reasons = Vec::new();
    let version = protocol.min_writer_version();
    if version > 7 {
        reasons.push(format!("it needs writer version {version}; this is version 7"));
    }
    for feature in protocol.writer_features().unwrap_or_default() {
        let name = feature.to_string();
        if !HARMLESS_FEATURES.contains(&name.as_str()) && !HARMLESS.contains(&name.as_str()) {
            reasons.push(format!("the table feature '{name}' is not supported"));
        }
    }
    if let Some(mode) =
        metadata.configuration().get("delta.columnMapping.mode").filter(|mode| *mode != "none")
    {
        reasons.push(format!("columns are mapped (delta.columnMapping.mode = {mode})"));
    }
    reasons
}

/// What of a change to a table matters to a writer that has it open; empty: nothing.
pub(super) fn changes(
    before: (&Protocol, &Metadata),
    after: (&Protocol, &Metadata),
) -> Vec<String> {
    let mut changes = Vec::new();
    if before.1.id() != after.1.id() {
        changes.push("it was replaced by another table".to_owned());
    }
    if let (Ok(old), Ok(new)) = (before.1.parse_schema(), after.1.parse_schema()) {
        for field in old.fields() {
            match new.field(field.name()) {
                None => changes.push(format!("column `{}` is gone", field.name())),
                Some(now) if now.data_type() != field.data_type() => changes.push(format!(
                    "column `{}` was {} and is {}",
                    field.name(),
                    sql_name(field.data_type()),
                    sql_name(now.data_type())
                )),
                Some(now) if now.is_nullable() != field.is_nullable() => {
                    let now = if now.is_nullable() { "may be NULL now" } else { "is NOT NULL now" };
                    changes.push(format!("column `{}` {now}", field.name()));
                }
                Some(_) => {}
            }
        }
        for field in new.fields().filter(|f| old.field(f.name()).is_none()) {
            let kind = sql_name(field.data_type());
            changes.push(format!("column `{}` {kind} is new", field.name()));
        }
    } else {
        changes.push("its schema cannot be read any more".to_owned());
    }
    if before.1.partition_columns() != after.1.partition_columns() {
        changes.push(format!("it is {} now", partitioning(after.1.partition_columns())));
    }
    // A property may be set at any time and does not concern files written before, unless it
    // brings a demand; so demands are looked for, not properties compared.
    changes.extend(objections(after.0, after.1));
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use deltalake::kernel::DataType;

    fn table() -> StructType {
        StructType::try_new(vec![
            StructField::new("day", DataType::DATE, true),
            StructField::new("ip", DataType::STRING, false),
            StructField::new("latency", DataType::INTEGER, true),
        ])
        .unwrap()
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|n| (*n).to_owned()).collect()
    }

    #[test]
    fn the_same_columns_in_another_order_fit() {
        let rows = [
            StructField::new("latency", DataType::INTEGER, false),
            StructField::new("ip", DataType::STRING, false),
            StructField::new("day", DataType::DATE, true),
        ];
        let result = compare(&rows, &table(), &names(&["day"]), &names(&["day"]), false);
        assert!(result.differences.is_empty(), "{:?}", result.differences);
        assert!(result.to_add.is_empty());
    }

    #[test]
    fn every_difference_is_told() {
        let rows = [
            StructField::new("latency", DataType::DOUBLE, true),
            StructField::new("ip", DataType::STRING, true),
            StructField::new("DAY", DataType::DATE, true),
            StructField::new("agent", DataType::STRING, true),
        ];
        let told =
            compare(&rows, &table(), &names(&["day"]), &names(&["day", "hour"]), false).differences;
        assert_eq!(told.len(), 5, "{told:#?}");
        assert!(told[0].contains("CAST(latency AS INT)"), "{}", told[0]);
        assert!(told[1].contains("NOT NULL"), "{}", told[1]);
        assert!(told[2].contains("`day`"), "{}", told[2]);
        assert!(told[3].contains("`agent` STRING"), "{}", told[3]);
        assert!(told[4].contains("(day, hour)") && told[4].contains("(day)"), "{}", told[4]);
    }

    #[test]
    fn evolution_adds_nullable_columns_only() {
        let rows = [
            StructField::new("ip", DataType::STRING, false),
            StructField::new("agent", DataType::STRING, true),
            StructField::new("size", DataType::LONG, false),
        ];
        let result = compare(&rows, &table(), &[], &[], true);
        assert_eq!(result.to_add.len(), 1);
        assert_eq!(result.to_add[0].name(), "agent");
        assert_eq!(result.differences.len(), 1, "{:?}", result.differences);
        assert!(result.differences[0].contains("`size`"), "{}", result.differences[0]);
    }
}
