//! Values of messages into columns, by a plan that is made once a message type.

use std::sync::Arc;

use prost_reflect::{
    DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value,
};

use crate::codec::columns::{Column, MAX_RECORD_VOLUME, Values};
use crate::codec::ddl::type_name;
use crate::codec::json::time::{FIRST, LAST, OUT_OF_YEARS};
use crate::codec::{Reason, RecordError};

/// Why a field cannot be read into a column.
#[derive(Debug)]
pub(super) struct Misfit {
    pub path: Arc<str>,
    pub problem: String,
}

/// How the fields of a message get into columns.
#[derive(Debug)]
pub(super) struct MessagePlan {
    /// For each column its field, if the message has it.
    fields: Vec<Option<(FieldDescriptor, Op)>>,
}

/// How a value gets into its column.
#[derive(Debug)]
enum Op {
    /// A scalar of any kind, by the column's type.
    Scalar,
    /// To a STRING, by name.
    Enum(EnumDescriptor),
    /// A `google.protobuf.Timestamp`.
    Timestamp(FieldDescriptor, FieldDescriptor),
    /// A wrapper of a scalar, of which this is the field.
    Wrapper(FieldDescriptor),
    Message(MessagePlan),
    List(Box<Op>),
    Map(Box<Op>),
}

impl MessagePlan {
    /// Plans how to read a message into columns. They are found by the field's name, or by its name
    /// in JSON, or by either without regard to case.
    pub fn new(message: &MessageDescriptor, columns: &[Column]) -> Result<Self, Misfit> {
        let fields = columns
            .iter()
            .map(|column| {
                let Some(field) = find(message, column.field.name()) else { return Ok(None) };
                let op = field_op(&field, column)?;
                Ok(Some((field, op)))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { fields })
    }

    /// Appends one message as a row.
    pub fn push(
        &self,
        message: &DynamicMessage,
        columns: &mut [Column],
        volume: &mut usize,
    ) -> Result<(), RecordError> {
        for (field, column) in self.fields.iter().zip(columns) {
            let Some((field, op)) = field else {
                null(column, Reason::MissingField)?;
                continue;
            };
            // Without presence there is no absence: the default is the value.
            if field.supports_presence() && !message.has_field(field) {
                null(column, Reason::NullNotAllowed)?;
                continue;
            }
            let value = message.get_field(field);
            op.push(&value, column, volume).map_err(|fault| match fault {
                Fault::Record(error) => error,
                Fault::Value(reason) => RecordError::new(reason, 0).at(&column.path),
            })?;
        }
        Ok(())
    }
}

fn find(message: &MessageDescriptor, name: &str) -> Option<FieldDescriptor> {
    message.get_field_by_name(name).or_else(|| message.get_field_by_json_name(name)).or_else(|| {
        let mut alike = message.fields().filter(|field| {
            field.name().eq_ignore_ascii_case(name) || field.json_name().eq_ignore_ascii_case(name)
        });
        alike.next().filter(|_| alike.next().is_none())
    })
}

fn null(column: &mut Column, reason: Reason) -> Result<(), RecordError> {
    if column.append_null() {
        return Ok(());
    }
    Err(RecordError::new(reason, 0).at(&column.path))
}

fn field_op(field: &FieldDescriptor, column: &Column) -> Result<Op, Misfit> {
    let misfit = |kind: &str| Misfit {
        path: Arc::clone(&column.path),
        problem: format!("{kind} cannot be read as {}", type_name(column.field.data_type())),
    };
    if field.is_map() {
        let Values::Map(map) = &column.values else { return Err(misfit("a map")) };
        let Kind::Message(entry) = field.kind() else { return Err(misfit("a map")) };
        let value = entry.map_entry_value_field();
        return Ok(Op::Map(Box::new(kind_op(&value.kind(), &map.values)?)));
    }
    if field.is_list() {
        let Values::List(_, element) = &column.values else {
            return Err(misfit("a repeated field"));
        };
        return Ok(Op::List(Box::new(kind_op(&field.kind(), element)?)));
    }
    kind_op(&field.kind(), column)
}

fn kind_op(kind: &Kind, column: &Column) -> Result<Op, Misfit> {
    let misfit = |kind: &str| Misfit {
        path: Arc::clone(&column.path),
        problem: format!("{kind} cannot be read as {}", type_name(column.field.data_type())),
    };
    let integers = matches!(
        column.values,
        Values::Int8(_)
            | Values::Int16(_)
            | Values::Int32(_)
            | Values::Int64(_)
            | Values::Float32(_)
            | Values::Float64(_)
            | Values::Decimal(..)
    );
    let fits = match (kind, &column.values) {
        (Kind::Message(message), values) => return message_op(message, column, values),
        (Kind::Enum(names), Values::Utf8(_)) => return Ok(Op::Enum(names.clone())),
        (Kind::Enum(_), _) => integers,
        (Kind::Bool, Values::Boolean(_)) => true,
        (Kind::Float, Values::Float32(_) | Values::Float64(_)) => true,
        (Kind::Double, Values::Float64(_)) => true,
        (Kind::String, Values::Utf8(_) | Values::Binary(_)) => true,
        (Kind::Bytes, Values::Binary(_)) => true,
        (Kind::Bool | Kind::Float | Kind::Double | Kind::String | Kind::Bytes, _) => false,
        // All that is left are integers.
        _ => integers,
    };
    match fits {
        true => Ok(Op::Scalar),
        false => Err(misfit(&format!("{kind:?}").to_lowercase())),
    }
}

fn message_op(message: &MessageDescriptor, column: &Column, values: &Values) -> Result<Op, Misfit> {
    let name = message.full_name();
    if name == "google.protobuf.Timestamp"
        && let Values::Timestamp(_) = values
        && let (Some(seconds), Some(nanos)) = (message.get_field(1), message.get_field(2))
    {
        return Ok(Op::Timestamp(seconds, nanos));
    }
    if let (Values::Struct(columns), false) = (values, is_wrapper(name)) {
        return Ok(Op::Message(MessagePlan::new(message, columns)?));
    }
    if is_wrapper(name)
        && let Some(value) = message.get_field(1)
        && let Op::Scalar = kind_op(&value.kind(), column)?
    {
        return Ok(Op::Wrapper(value));
    }
    let problem =
        format!("message {name} cannot be read as {}", type_name(column.field.data_type()));
    Err(Misfit { path: Arc::clone(&column.path), problem })
}

/// `google.protobuf.Int64Value` and its like: a scalar that may be absent.
fn is_wrapper(name: &str) -> bool {
    name.strip_prefix("google.protobuf.").and_then(|name| name.strip_suffix("Value")).is_some_and(
        |kind| {
            matches!(
                kind,
                "Double"
                    | "Float"
                    | "Int64"
                    | "UInt64"
                    | "Int32"
                    | "UInt32"
                    | "Bool"
                    | "String"
                    | "Bytes"
            )
        },
    )
}

enum Fault {
    Record(RecordError),
    Value(Reason),
}

impl From<RecordError> for Fault {
    fn from(error: RecordError) -> Self {
        Self::Record(error)
    }
}

impl Op {
    fn push(&self, value: &Value, column: &mut Column, volume: &mut usize) -> Result<(), Fault> {
        match (self, value) {
            (Op::Enum(names), Value::EnumNumber(number)) => match names.get_value(*number) {
                Some(value) => bytes(column, value.name().as_bytes(), volume)?,
                None => return Err(Fault::Value(Reason::UnknownSymbol)),
            },
            (Op::Timestamp(seconds, nanos), Value::Message(message)) => {
                let seconds = message.get_field(seconds).as_i64().unwrap_or_default();
                let nanos = message.get_field(nanos).as_i32().unwrap_or_default();
                let micros = seconds
                    .checked_mul(1_000_000)
                    .and_then(|micros| micros.checked_add(i64::from(nanos.div_euclid(1000))));
                match micros {
                    Some(micros @ FIRST..=LAST) if (0..1_000_000_000).contains(&nanos) => {
                        column.push_i64(micros);
                    }
                    _ => return Err(Fault::Value(Reason::InvalidTime(OUT_OF_YEARS))),
                }
            }
            (Op::Wrapper(field), Value::Message(message)) => {
                scalar(&message.get_field(field), column, volume)?;
            }
            (Op::Message(plan), Value::Message(message)) => {
                if let Values::Struct(columns) = &mut column.values {
                    plan.push(message, columns, volume)?;
                }
                column.end_container();
            }
            (Op::List(op), Value::List(items)) => {
                if let Values::List(_, element) = &mut column.values {
                    for item in items {
                        add(volume, 1)?;
                        push_within(op, item, element, volume)?;
                    }
                }
                column.end_container();
            }
            (Op::Map(op), Value::Map(entries)) => {
                if let Values::Map(map) = &mut column.values {
                    // The order of a hash map would differ from run to run.
                    let mut entries: Vec<_> = entries.iter().collect();
                    entries.sort_by_key(|(key, _)| *key);
                    for (key, value) in entries {
                        let key = key_text(key);
                        add(volume, 1 + key.len())?;
                        map.keys.push(key.as_bytes());
                        push_within(op, value, &mut map.values, volume)?;
                    }
                }
                column.end_container();
            }
            (_, value) => scalar(value, column, volume)?,
        }
        Ok(())
    }
}

/// Appends an element, and names its column if it is at fault.
fn push_within(
    op: &Op,
    value: &Value,
    column: &mut Column,
    volume: &mut usize,
) -> Result<(), RecordError> {
    op.push(value, column, volume).map_err(|fault| match fault {
        Fault::Record(error) => error,
        Fault::Value(reason) => RecordError::new(reason, 0).at(&column.path),
    })
}

fn add(volume: &mut usize, bytes: usize) -> Result<(), RecordError> {
    *volume = volume.saturating_add(bytes);
    match *volume > MAX_RECORD_VOLUME {
        true => Err(RecordError::new(Reason::Oversized, 0)),
        false => Ok(()),
    }
}

fn bytes(column: &mut Column, bytes: &[u8], volume: &mut usize) -> Result<(), Fault> {
    add(volume, bytes.len())?;
    match column.push_bytes(bytes) {
        true => Ok(()),
        false => Err(not_of_its_kind()),
    }
}

/// The plan has seen to it that kinds and columns go together.
fn not_of_its_kind() -> Fault {
    Fault::Value(Reason::TypeMismatch { expected: "another type", found: "a value" })
}

fn scalar(value: &Value, column: &mut Column, volume: &mut usize) -> Result<(), Fault> {
    let pushed = match value {
        Value::Bool(value) => column.push_bool(*value),
        Value::I32(value) | Value::EnumNumber(value) => return integer((*value).into(), column),
        Value::I64(value) => return integer((*value).into(), column),
        Value::U32(value) => return integer((*value).into(), column),
        Value::U64(value) => return integer((*value).into(), column),
        Value::F32(value) => column.push_f32(*value) || column.push_f64(f64::from(*value)),
        Value::F64(value) => column.push_f64(*value),
        Value::String(text) => return bytes(column, text.as_bytes(), volume),
        Value::Bytes(value) => return bytes(column, value, volume),
        Value::Message(_) | Value::List(_) | Value::Map(_) => false,
    };
    match pushed {
        true => Ok(()),
        false => Err(not_of_its_kind()),
    }
}

fn integer(value: i128, column: &mut Column) -> Result<(), Fault> {
    let name = match &column.values {
        Values::Float32(_) => {
            column.push_f32(value as f32);
            return Ok(());
        }
        Values::Float64(_) => {
            column.push_f64(value as f64);
            return Ok(());
        }
        Values::Decimal(_, _, scale) => {
            // The scale is from 0 to 38.
            let unit = 10i128.checked_pow(u32::try_from(*scale).unwrap_or_default());
            let value = unit.and_then(|unit| value.checked_mul(unit));
            if value.is_some_and(|value| column.push_decimal(value)) {
                return Ok(());
            }
            "DECIMAL"
        }
        Values::Int8(_) => "TINYINT",
        Values::Int16(_) => "SMALLINT",
        Values::Int32(_) => "INT",
        _ => "BIGINT",
    };
    match i64::try_from(value) {
        Ok(value) if column.push_integer(value) => Ok(()),
        _ => Err(Fault::Value(Reason::OutOfRange(name))),
    }
}

fn key_text(key: &MapKey) -> String {
    match key {
        MapKey::Bool(value) => value.to_string(),
        MapKey::I32(value) => value.to_string(),
        MapKey::I64(value) => value.to_string(),
        MapKey::U32(value) => value.to_string(),
        MapKey::U64(value) => value.to_string(),
        MapKey::String(text) => text.clone(),
    }
}
