//! Default values of a reader's schema.

use serde_json::Value;

use super::schema::{AvroSchema, Definition, Kind, Meaning, Node};
use crate::codec::columns::{Column, Values};
use crate::codec::decimal::{big_endian, rescale};

/// What a column gets that a writer's schema does not have.
#[derive(Debug)]
pub(super) struct DefaultValue {
    value: Value,
    schema: AvroSchema,
    node: Node,
    volume: usize,
}

impl DefaultValue {
    /// The default `value` of a field of type `node`, if the column can hold it. (A default that it
    /// cannot hold is none: the column is then NULL, or missing.)
    pub fn new(value: &Value, schema: &AvroSchema, node: &Node, column: &Column) -> Option<Self> {
        let mut trial = Column::new(&column.field, &column.path).ok()?;
        if !push(&mut trial, value, schema, node) {
            return None;
        }
        let volume = trial.bytes();
        Some(Self { value: value.clone(), schema: schema.clone(), node: node.clone(), volume })
    }

    /// What it takes in a column, in bytes.
    pub fn volume(&self) -> usize {
        self.volume
    }

    /// Appends it.
    pub fn push(&self, column: &mut Column) {
        // It has been tried.
        push(column, &self.value, &self.schema, &self.node);
    }
}

/// Appends a default as the specification writes it: bytes as a string of code points to 255, the
/// default of a union by its first branch (or, as newer schemas do, by any).
fn push(column: &mut Column, value: &Value, schema: &AvroSchema, node: &Node) -> bool {
    if let Kind::Union(branches) = &node.kind {
        return branches.iter().any(|branch| push(column, value, schema, branch));
    }
    let meaning = schema.meaning(node);
    match (value, &mut column.values) {
        (Value::Null, _) => matches!(node.kind, Kind::Null) && column.append_null(),
        (Value::Bool(value), _) => column.push_bool(*value),
        (Value::Number(number), Values::Float32(_)) => {
            number.as_f64().is_some_and(|number| column.push_f32(number as f32))
        }
        (Value::Number(number), Values::Float64(_)) => {
            number.as_f64().is_some_and(|number| column.push_f64(number))
        }
        (Value::Number(number), Values::Date(_)) if meaning == Meaning::Date => {
            let days = number.as_i64().and_then(|days| i32::try_from(days).ok());
            days.is_some_and(|days| column.push_i32(days))
        }
        (Value::Number(number), Values::Timestamp(_)) => match meaning {
            Meaning::Timestamp { per_second } => {
                let micros = number.as_i64().map(|value| {
                    (i128::from(value) * 1_000_000).div_euclid(i128::from(per_second.max(1)))
                });
                let micros = micros.and_then(|micros| i64::try_from(micros).ok());
                micros.is_some_and(|micros| column.push_i64(micros))
            }
            _ => false,
        },
        (Value::Number(number), Values::Decimal(_, _, scale)) => {
            let value = number.as_i64().map(i128::from);
            let scale = i32::from(*scale);
            let value = value.and_then(|value| rescale(value, 0, scale));
            value.is_some_and(|value| column.push_decimal(value))
        }
        (Value::Number(number), _) => {
            number.as_i64().is_some_and(|number| column.push_integer(number))
        }
        (Value::String(text), Values::Binary(_)) => {
            latin_1(text).is_some_and(|bytes| column.push_bytes(&bytes))
        }
        (Value::String(text), Values::Decimal(_, _, wanted)) => match meaning {
            Meaning::Decimal { scale } => {
                let wanted = i32::from(*wanted);
                let value = latin_1(text).and_then(|bytes| big_endian(&bytes));
                let value = value.and_then(|value| rescale(value, scale, wanted));
                value.is_some_and(|value| column.push_decimal(value))
            }
            _ => false,
        },
        (Value::String(text), Values::Utf8(_)) => column.push_bytes(text.as_bytes()),
        (Value::Array(items), Values::List(_, element)) => {
            let Kind::Array(of) = &node.kind else { return false };
            let pushed = items.iter().all(|item| push(element, item, schema, of));
            if pushed {
                column.end_container();
            }
            pushed
        }
        (Value::Object(entries), Values::Map(map)) => {
            let Kind::Map(of) = &node.kind else { return false };
            let pushed = entries.iter().all(|(key, value)| {
                map.keys.push(key.as_bytes());
                push(&mut map.values, value, schema, of)
            });
            if pushed {
                column.end_container();
            }
            pushed
        }
        (Value::Object(object), Values::Struct(columns)) => {
            let Some(fields) = fields(schema, node) else { return false };
            let pushed = columns.iter_mut().all(|column| {
                let field = fields.iter().find(|field| field.name == *column.field.name());
                let value = field
                    .and_then(|field| object.get(&field.name).or(field.default.as_ref()))
                    .zip(field);
                match value {
                    Some((value, field)) => push(column, value, schema, &field.node),
                    None => column.append_null(),
                }
            });
            if pushed {
                column.end_container();
            }
            pushed
        }
        _ => false,
    }
}

fn fields<'a>(schema: &'a AvroSchema, node: &Node) -> Option<&'a [super::schema::Field]> {
    match &node.kind {
        Kind::Named(index) => match &schema.types.get(*index)?.definition {
            Definition::Record(fields) => Some(fields),
            _ => None,
        },
        _ => None,
    }
}

fn latin_1(text: &str) -> Option<Vec<u8>> {
    text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect()
}
