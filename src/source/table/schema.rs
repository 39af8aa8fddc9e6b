//! The columns that a Parquet file has by itself, as Spark would have them.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef, TimeUnit};

/// The columns with types that Spark has, wide enough for every value. All may be NULL, since
/// another file of the table need not have them.
pub(super) fn of_spark(schema: &Schema) -> Result<SchemaRef, String> {
    let fields: Result<Vec<Field>, String> = schema
        .fields()
        .iter()
        .map(|field| Ok(Field::new(field.name(), spark_type(field)?, true)))
        .collect();
    Ok(Arc::new(Schema::new(fields?)))
}

fn spark_type(field: &Field) -> Result<DataType, String> {
    use DataType as T;
    let none = || {
        format!(
            "column `{}` has the type {}, which Spark does not have; declare the columns to read \
             as `schema`, without it",
            field.name(),
            field.data_type()
        )
    };
    Ok(match field.data_type() {
        same
        @ (T::Boolean | T::Int8 | T::Int16 | T::Int32 | T::Int64 | T::Float32 | T::Float64) => {
            same.clone()
        }
        T::UInt8 => T::Int16,
        T::UInt16 => T::Int32,
        T::UInt32 => T::Int64,
        T::UInt64 => T::Decimal128(20, 0),
        T::Float16 => T::Float32,
        T::Decimal32(p, s) | T::Decimal64(p, s) | T::Decimal128(p, s) => T::Decimal128(*p, *s),
        T::Decimal256(p, s) if *p <= 38 => T::Decimal128(*p, *s),
        T::Date32 | T::Date64 => T::Date32,
        // The zone of the session is UTC, so a timestamp without a zone is one in UTC.
        T::Timestamp(_, _) => T::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        // A column of nothing but NULL, as pandas writes it.
        T::Null | T::Utf8 | T::LargeUtf8 | T::Utf8View => T::Utf8,
        T::Binary | T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_) => T::Binary,
        T::Dictionary(_, value) => {
            spark_type(&Field::new(field.name(), value.as_ref().clone(), true))?
        }
        T::Struct(fields) => T::Struct(nullable(fields)?),
        T::List(item)
        | T::LargeList(item)
        | T::ListView(item)
        | T::LargeListView(item)
        | T::FixedSizeList(item, _) => {
            T::List(Arc::new(Field::new("element", spark_type(item)?, true)))
        }
        T::Map(entries, _) => match entries.data_type() {
            T::Struct(pair) if pair.len() == 2 => {
                let key = Field::new("key", spark_type(&pair[0])?, false);
                let value = Field::new("value", spark_type(&pair[1])?, true);
                let entries = T::Struct(Fields::from(vec![key, value]));
                T::Map(Arc::new(Field::new("key_value", entries, false)), false)
            }
            _ => return Err(none()),
        },
        _ => return Err(none()),
    })
}

fn nullable(fields: &Fields) -> Result<Fields, String> {
    let field = |field: &FieldRef| Ok(Field::new(field.name(), spark_type(field)?, true));
    fields.iter().map(field).collect::<Result<Vec<Field>, String>>().map(Fields::from)
}
