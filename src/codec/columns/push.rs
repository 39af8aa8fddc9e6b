//! Appending single values.
//!
//! Each `push_*` takes the value if the column's type holds such values, and says whether it did;
//! a decoder that knows the column's type need not look at the answer.

use super::buffers::Bytes;
use super::{Column, Values};

impl Column {
    /// Appends a null, if the column may have one.
    #[inline]
    pub fn append_null(&mut self) -> bool {
        if self.field.is_nullable() {
            self.push_null();
        }
        self.field.is_nullable()
    }

    /// Appends a null, also to a NOT NULL column: within a STRUCT that is null itself.
    pub fn push_null(&mut self) {
        match &mut self.values {
            Values::Boolean(values) => values.append(false),
            Values::Int8(values) => values.push(0),
            Values::Int16(values) => values.push(0),
            Values::Int32(values) | Values::Date(values) => values.push(0),
            Values::Int64(values) | Values::Timestamp(values) => values.push(0),
            Values::Float32(values) => values.push(0.0),
            Values::Float64(values) => values.push(0.0),
            Values::Decimal(values, ..) => values.push(0),
            Values::Utf8(bytes) | Values::Binary(bytes) => bytes.end_row(),
            Values::Struct(columns) => columns.iter_mut().for_each(Column::push_null),
            Values::List(offsets, _) => offsets.push(offsets.last()),
            Values::Map(map) => map.offsets.push(map.offsets.last()),
        }
        self.validity.push_null();
    }

    /// Appends to a BOOLEAN.
    #[inline]
    pub fn push_bool(&mut self, value: bool) -> bool {
        let Values::Boolean(values) = &mut self.values else { return false };
        values.append(value);
        self.validity.push_valid();
        true
    }

    /// Appends to an INT or a DATE (days since the epoch).
    #[inline]
    pub fn push_i32(&mut self, value: i32) -> bool {
        let (Values::Int32(values) | Values::Date(values)) = &mut self.values else {
            return false;
        };
        values.push(value);
        self.validity.push_valid();
        true
    }

    /// Appends to a BIGINT or a TIMESTAMP (microseconds since the epoch).
    #[inline]
    pub fn push_i64(&mut self, value: i64) -> bool {
        let (Values::Int64(values) | Values::Timestamp(values)) = &mut self.values else {
            return false;
        };
        values.push(value);
        self.validity.push_valid();
        true
    }

    /// Appends to any of TINYINT to BIGINT, if the value is in its range.
    #[inline]
    pub fn push_integer(&mut self, value: i64) -> bool {
        let fits = match &mut self.values {
            Values::Int8(values) => i8::try_from(value).map(|value| values.push(value)).is_ok(),
            Values::Int16(values) => i16::try_from(value).map(|value| values.push(value)).is_ok(),
            Values::Int32(values) => i32::try_from(value).map(|value| values.push(value)).is_ok(),
            Values::Int64(values) => {
                values.push(value);
                true
            }
            _ => false,
        };
        if fits {
            self.validity.push_valid();
        }
        fits
    }

    /// Appends to a FLOAT.
    #[inline]
    pub fn push_f32(&mut self, value: f32) -> bool {
        let Values::Float32(values) = &mut self.values else { return false };
        values.push(value);
        self.validity.push_valid();
        true
    }

    /// Appends to a DOUBLE.
    #[inline]
    pub fn push_f64(&mut self, value: f64) -> bool {
        let Values::Float64(values) = &mut self.values else { return false };
        values.push(value);
        self.validity.push_valid();
        true
    }

    /// Appends to a DECIMAL an unscaled value, if it has no more digits than the precision allows.
    pub fn push_decimal(&mut self, unscaled: i128) -> bool {
        let Values::Decimal(values, precision, _) = &mut self.values else { return false };
        // 10^38 is below 2^127.
        if unscaled.unsigned_abs() >= 10u128.pow(u32::from(*precision).min(38)) {
            return false;
        }
        values.push(unscaled);
        self.validity.push_valid();
        true
    }

    /// Appends to a STRING (the bytes are UTF-8, the caller has made sure) or a BINARY.
    #[inline]
    pub fn push_bytes(&mut self, value: &[u8]) -> bool {
        let (Values::Utf8(bytes) | Values::Binary(bytes)) = &mut self.values else {
            return false;
        };
        bytes.push(value);
        self.validity.push_valid();
        true
    }

    /// Ends a STRUCT whose fields have been appended, or an ARRAY or MAP whose elements or entries
    /// have.
    #[inline]
    pub fn end_container(&mut self) {
        match &mut self.values {
            Values::List(offsets, element) => offsets.push(element.len()),
            Values::Map(map) => map.offsets.push(map.values.len()),
            _ => {}
        }
        self.validity.push_valid();
    }
}

impl Bytes {
    /// Appends a row.
    #[inline]
    pub fn push(&mut self, value: &[u8]) {
        self.values.extend_from_slice(value);
        self.end_row();
    }
}
