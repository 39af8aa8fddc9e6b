//! Arrow's types and Delta's: which columns a table can hold, and how they are called.

use std::sync::Arc;

use arrow::datatypes::{DataType as ArrowType, Field, Fields, Schema, TimeUnit};
use deltalake::kernel::engine::arrow_conversion::TryIntoKernel;
use deltalake::kernel::{DataType, PrimitiveType, StructField};

/// The Arrow type a column of type `given` is stored as, or why Delta has none for it.
///
/// Views, dictionaries and large offsets are ways to hold values and fall away. Unsigned
/// integers go to the next wider signed type; `UInt64` (what `approx_distinct` counts in) to
/// BIGINT, where a value that does not fit is an error when it is written. Finer timestamps
/// than microseconds are refused rather than cut.
pub(crate) fn storage_type(given: &ArrowType) -> Result<ArrowType, String> {
    use ArrowType as A;
    let utc = || Some(Arc::from("UTC"));
    Ok(match given {
        A::Boolean | A::Int8 | A::Int16 | A::Int32 | A::Int64 | A::Float32 | A::Float64 => {
            given.clone()
        }
        A::UInt8 => A::Int16,
        A::UInt16 => A::Int32,
        A::UInt32 | A::UInt64 => A::Int64,
        A::Float16 => A::Float32,
        A::Utf8 | A::LargeUtf8 | A::Utf8View => A::Utf8,
        A::Binary | A::LargeBinary | A::BinaryView | A::FixedSizeBinary(_) => A::Binary,
        A::Date32 | A::Date64 => A::Date32,
        A::Timestamp(TimeUnit::Nanosecond, _) => {
            return Err("Delta keeps microseconds, and this timestamp has nanoseconds; \
                 round it with date_trunc('microsecond', ...)"
                .to_owned());
        }
        A::Timestamp(_, Some(_)) => A::Timestamp(TimeUnit::Microsecond, utc()),
        A::Timestamp(_, None) => A::Timestamp(TimeUnit::Microsecond, None),
        A::Decimal32(p, s) | A::Decimal64(p, s) | A::Decimal128(p, s) | A::Decimal256(p, s) => {
            if *p > 38 || *s < 0 || *s as i16 > i16::from(*p) {
                return Err(format!("Delta has no DECIMAL({p}, {s})"));
            }
            A::Decimal128(*p, *s)
        }
        A::Dictionary(_, value) => storage_type(value)?,
        A::List(item) | A::LargeList(item) | A::ListView(item) | A::LargeListView(item) => {
            A::List(Arc::new(storage_field(item)?))
        }
        A::FixedSizeList(item, _) => A::List(Arc::new(storage_field(item)?)),
        A::Struct(fields) if !fields.is_empty() => {
            A::Struct(fields.iter().map(|f| storage_field(f)).collect::<Result<Fields, String>>()?)
        }
        A::Map(entries, sorted) => A::Map(Arc::new(storage_field(entries)?), *sorted),
        A::Null => {
            return Err("it is NULL in every row and has no type; give it one, \
                        for instance CAST(NULL AS STRING)"
                .to_owned());
        }
        other => return Err(format!("Delta has no type for {other}")),
    })
}

fn storage_field(field: &Field) -> Result<Field, String> {
    let stored = storage_type(field.data_type())
        .map_err(|reason| format!("in '{}': {reason}", field.name()))?;
    // Arrow's own metadata stays out of the table's schema.
    Ok(Field::new(field.name(), stored, field.is_nullable()))
}

/// The Delta columns for `schema`, in its order; all problems at once when there are any.
pub(crate) fn delta_fields(schema: &Schema) -> Result<Vec<StructField>, Vec<String>> {
    let mut problems = Vec::new();
    let mut columns: Vec<StructField> = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        let name = field.name();
        if let Some(twin) = columns.iter().find(|c| c.name().eq_ignore_ascii_case(name)) {
            problems.push(format!(
                "two columns are called `{name}` and `{}`; Delta does not tell upper from lower case",
                twin.name()
            ));
            continue;
        }
        if let Some(bad) = name.chars().find(|c| " ,;{}()\n\t=".contains(*c)) {
            problems.push(format!(
                "column `{name}`: Spark refuses {bad:?} in a column's name; rename it with AS"
            ));
            continue;
        }
        let column = storage_field(field)
            .map_err(|reason| format!("column `{name}`: {reason}"))
            .and_then(|stored| {
                TryIntoKernel::<StructField>::try_into_kernel(&stored)
                    .map_err(|e| format!("column `{name}`: {e}"))
            });
        match column {
            Ok(column) => columns.push(column),
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() { Ok(columns) } else { Err(problems) }
}

/// The type's name in Spark SQL: `BIGINT`, `STRUCT<id: BIGINT NOT NULL>`, `ARRAY<STRING>`.
pub(crate) fn sql_name(delta: &DataType) -> String {
    match delta {
        DataType::Primitive(primitive) => match primitive {
            PrimitiveType::String => "STRING".to_owned(),
            PrimitiveType::Long => "BIGINT".to_owned(),
            PrimitiveType::Integer => "INT".to_owned(),
            PrimitiveType::Short => "SMALLINT".to_owned(),
            PrimitiveType::Byte => "TINYINT".to_owned(),
            PrimitiveType::Float => "FLOAT".to_owned(),
            PrimitiveType::Double => "DOUBLE".to_owned(),
            PrimitiveType::Boolean => "BOOLEAN".to_owned(),
            PrimitiveType::Binary => "BINARY".to_owned(),
            PrimitiveType::Date => "DATE".to_owned(),
            PrimitiveType::Timestamp => "TIMESTAMP".to_owned(),
            PrimitiveType::TimestampNtz => "TIMESTAMP_NTZ".to_owned(),
            PrimitiveType::Decimal(d) => format!("DECIMAL({}, {})", d.precision(), d.scale()),
            other => other.to_string().to_uppercase(),
        },
        DataType::Array(array) => format!("ARRAY<{}>", sql_name(array.element_type())),
        DataType::Map(map) => {
            format!("MAP<{}, {}>", sql_name(map.key_type()), sql_name(map.value_type()))
        }
        DataType::Struct(fields) => {
            let inside: Vec<String> = fields
                .fields()
                .map(|f| {
                    let not_null = if f.is_nullable() { "" } else { " NOT NULL" };
                    format!("{}: {}{not_null}", f.name(), sql_name(f.data_type()))
                })
                .collect();
            format!("STRUCT<{}>", inside.join(", "))
        }
        DataType::Variant(_) => "VARIANT".to_owned(),
    }
}

/// Whether the type is, or holds, a timestamp without a zone, which is a table feature of its own.
pub(crate) fn contains_ntz(delta: &DataType) -> bool {
    match delta {
        DataType::Primitive(primitive) => *primitive == PrimitiveType::TimestampNtz,
        DataType::Array(array) => contains_ntz(array.element_type()),
        DataType::Map(map) => contains_ntz(map.key_type()) || contains_ntz(map.value_type()),
        DataType::Struct(fields) | DataType::Variant(fields) => {
            fields.fields().any(|field| contains_ntz(field.data_type()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(fields: Vec<Field>) -> Schema {
        Schema::new(fields)
    }

    #[test]
    fn ways_of_holding_a_value_do_not_matter() {
        let dictionary = ArrowType::Dictionary(ArrowType::Int32.into(), ArrowType::Utf8.into());
        for text in [ArrowType::Utf8, ArrowType::LargeUtf8, ArrowType::Utf8View, dictionary] {
            assert_eq!(storage_type(&text), Ok(ArrowType::Utf8));
        }
        let millis = ArrowType::Timestamp(TimeUnit::Millisecond, Some("+00:00".into()));
        let micros = ArrowType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        assert_eq!(storage_type(&millis), Ok(micros));
        assert_eq!(storage_type(&ArrowType::UInt64), Ok(ArrowType::Int64));
    }

    #[test]
    fn every_problem_is_listed() {
        let nanos = ArrowType::Timestamp(TimeUnit::Nanosecond, None);
        let problems = delta_fields(&schema(vec![
            Field::new("a", ArrowType::Int32, true),
            Field::new("A", ArrowType::Int32, true),
            Field::new("count(*)", ArrowType::Int64, true),
            Field::new("t", nanos, true),
            Field::new("n", ArrowType::Null, true),
        ]))
        .unwrap_err();
        assert_eq!(problems.len(), 4, "{problems:#?}");
        assert!(problems[1].contains("AS"), "{}", problems[1]);
        assert!(problems[2].contains("microsecond"), "{}", problems[2]);
    }

    #[test]
    fn types_are_called_what_spark_calls_them() {
        let item = Field::new("item", ArrowType::LargeUtf8, true);
        let inside = Fields::from(vec![
            Field::new("id", ArrowType::UInt32, false),
            Field::new("tags", ArrowType::List(item.into()), true),
            Field::new("price", ArrowType::Decimal128(10, 2), true),
        ]);
        let columns =
            delta_fields(&schema(vec![Field::new("u", ArrowType::Struct(inside), true)])).unwrap();
        assert_eq!(
            sql_name(columns[0].data_type()),
            "STRUCT<id: BIGINT NOT NULL, tags: ARRAY<STRING>, price: DECIMAL(10, 2)>"
        );
    }
}
