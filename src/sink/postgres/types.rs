//! PostgreSQL's types for the columns of rows.

use arrow::datatypes::DataType;

/// The type that lists of lists, structs and maps become.
pub(super) const JSONB: u32 = 3802;

/// The PostgreSQL type that a column is sent as.
#[derive(Clone, Debug)]
pub(super) struct Natural {
    /// As SQL has it, `numeric(10,2)`.
    pub name: String,
    pub oid: u32,
    /// The identifier of its array type; none for jsonb, whose lists are jsonb themselves.
    pub element: Option<u32>,
}

/// <https://github.com/postgres/postgres/blob/REL_15_STABLE/src/include/catalog/pg_type.dat>
pub(super) fn natural(kind: &DataType) -> Natural {
    use DataType as D;
    let (name, oid, array) = match kind {
        D::Boolean => ("boolean", 16, 1000),
        D::Int8 | D::Int16 => ("smallint", 21, 1005),
        D::Int32 => ("integer", 23, 1007),
        D::Int64 => ("bigint", 20, 1016),
        D::Float32 => ("real", 700, 1021),
        D::Float64 => ("double precision", 701, 1022),
        D::Utf8 => ("text", 25, 1009),
        D::Binary => ("bytea", 17, 1001),
        D::Date32 => ("date", 1082, 1182),
        D::Timestamp(_, Some(_)) => ("timestamptz", 1184, 1185),
        D::Timestamp(_, None) => ("timestamp", 1114, 1115),
        D::Decimal128(precision, scale) => {
            let name = format!("numeric({precision},{scale})");
            return Natural { name, oid: 1700, element: Some(1231) };
        }
        D::List(item) => {
            let item = natural(item.data_type());
            return match item.element {
                Some(oid) => Natural { name: format!("{}[]", item.name), oid, element: None },
                None => jsonb(),
            };
        }
        _ => return jsonb(),
    };
    Natural { name: name.to_owned(), oid, element: Some(array) }
}

fn jsonb() -> Natural {
    Natural { name: "jsonb".to_owned(), oid: JSONB, element: None }
}
