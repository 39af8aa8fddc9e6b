//! The columns of a batch, with their types known: what encoders write from.

use arrow::array::{
    Array, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array,
    Int8Array, Int16Array, Int32Array, Int64Array, ListArray, MapArray, StringArray, StructArray,
    TimestampMicrosecondArray,
};
use arrow::buffer::OffsetBuffer;

/// A column.
pub(super) struct View<'a> {
    array: &'a dyn Array,
    nullable: bool,
    pub values: Values<'a>,
}

pub(super) enum Values<'a> {
    Boolean(&'a BooleanArray),
    Int8(&'a Int8Array),
    Int16(&'a Int16Array),
    Int32(&'a Int32Array),
    Int64(&'a Int64Array),
    Float32(&'a Float32Array),
    Float64(&'a Float64Array),
    Decimal(&'a Decimal128Array, i8),
    Utf8(&'a StringArray),
    Binary(&'a BinaryArray),
    Date(&'a Date32Array),
    Timestamp(&'a TimestampMicrosecondArray),
    Struct(Vec<(&'a str, View<'a>)>),
    List(&'a OffsetBuffer<i32>, Box<View<'a>>),
    Map(&'a OffsetBuffer<i32>, &'a StringArray, Box<View<'a>>),
    /// No type that [`super::usual_type`] yields.
    Nothing,
}

impl<'a> View<'a> {
    pub fn new(array: &'a dyn Array) -> Self {
        let any = array.as_any();
        macro_rules! view {
            ($($array:ident => $values:expr),* $(,)?) => {
                $(if let Some(array) = any.downcast_ref::<$array>() {
                    let values: Values<'a> = ($values)(array);
                    return Self { array, nullable: array.is_nullable(), values };
                })*
            };
        }
        view! {
            StringArray => Values::Utf8,
            Int64Array => Values::Int64,
            Int32Array => Values::Int32,
            Float64Array => Values::Float64,
            TimestampMicrosecondArray => Values::Timestamp,
            BooleanArray => Values::Boolean,
            Int8Array => Values::Int8,
            Int16Array => Values::Int16,
            Float32Array => Values::Float32,
            Decimal128Array => |array: &'a Decimal128Array| Values::Decimal(array, array.scale()),
            BinaryArray => Values::Binary,
            Date32Array => Values::Date,
            StructArray => |array: &'a StructArray| {
                let columns = array.fields().iter().zip(array.columns());
                Values::Struct(
                    columns.map(|(field, column)| (field.name().as_str(), View::new(column))).collect(),
                )
            },
            ListArray => |array: &'a ListArray| {
                Values::List(array.offsets(), Box::new(View::new(array.values())))
            },
            MapArray => |array: &'a MapArray| {
                match array.keys().as_any().downcast_ref::<StringArray>() {
                    Some(keys) => {
                        Values::Map(array.offsets(), keys, Box::new(View::new(array.values())))
                    }
                    None => Values::Nothing,
                }
            },
        }
        Self { array, nullable: true, values: Values::Nothing }
    }

    pub fn is_null(&self, row: usize) -> bool {
        self.nullable && self.array.is_null(row)
    }
}

/// The rows of `offsets` that belong to the value in row `row`.
pub(super) fn range(offsets: &OffsetBuffer<i32>, row: usize) -> std::ops::Range<usize> {
    // Offsets are never negative.
    offsets[row] as usize..offsets[row + 1] as usize
}
