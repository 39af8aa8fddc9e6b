//! The codecs, as targets use them.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::{Field, Schema, SchemaRef};

use super::error::{SinkError, chain};
use crate::codec::{CodecError, EncodedRows, Encoder, EncodingSpec, JsonEncoding};

/// An encoder of rows of `schema`. Blocks if a schema has to be registered.
pub(crate) fn encoder(
    sink: &str,
    target: &str,
    schema: &SchemaRef,
    spec: &EncodingSpec,
) -> Result<Encoder, SinkError> {
    Encoder::new(schema, spec).map_err(|error| encoding(sink, target, &error))
}

fn encoding(sink: &str, target: &str, error: &CodecError) -> SinkError {
    if error.is_transient() {
        SinkError::Unavailable { target: target.to_owned(), reason: chain(error) }
    } else {
        SinkError::definition(sink, chain(error))
    }
}

/// The values of one column as JSON, each for itself.
pub(crate) struct JsonValues {
    rows: EncodedRows,
}

/// What stands around the value in an object whose only field is `v`.
const BEFORE: &[u8] = b"{\"v\":";
const AFTER: &[u8] = b"}";

impl JsonValues {
    /// Encodes all values of `array`.
    pub fn new(array: &ArrayRef) -> Result<Self, SinkError> {
        let field = Field::new("v", array.data_type().clone(), true);
        let schema = Arc::new(Schema::new(vec![field]));
        let rows = RecordBatch::try_new(schema.clone(), vec![array.clone()])
            .map_err(SinkError::internal)?;
        let mut encoder = Encoder::new(&schema, &EncodingSpec::Json(JsonEncoding::default()))
            .map_err(SinkError::internal)?;
        Ok(Self { rows: encoder.encode(&rows).map_err(SinkError::internal)? })
    }

    /// The value in `row`; `null` for NULL.
    pub fn value(&self, row: usize) -> &[u8] {
        let object = self.rows.row(row);
        // NULL is left out of the object.
        object.strip_prefix(BEFORE).and_then(|rest| rest.strip_suffix(AFTER)).unwrap_or(b"null")
    }
}

/// Why a column cannot be written as JSON, if it cannot.
pub(crate) fn json_objection(field: &Field) -> Option<String> {
    let schema = Arc::new(Schema::new(vec![field.clone()]));
    let spec = EncodingSpec::Json(JsonEncoding::default());
    Encoder::new(&schema, &spec).err().map(|error| chain(&error))
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int32Array, StringArray, StructArray};
    use arrow::datatypes::DataType;

    use super::*;

    #[test]
    fn values_stand_for_themselves() {
        let inner = Arc::new(Int32Array::from(vec![Some(1), None, None])) as ArrayRef;
        let field = Arc::new(Field::new("x", DataType::Int32, true));
        let nulls = arrow::buffer::NullBuffer::from(vec![true, true, false]);
        let structs = StructArray::new(vec![field].into(), vec![inner], Some(nulls));
        assert!(structs.is_null(2));
        let structs: ArrayRef = Arc::new(structs);
        let values = JsonValues::new(&structs).unwrap();
        assert_eq!(values.value(0), b"{\"x\":1}");
        assert_eq!(values.value(1), b"{}");
        assert_eq!(values.value(2), b"null");
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["}\"v\":"]));
        assert_eq!(JsonValues::new(&texts).unwrap().value(0), b"\"}\\\"v\\\":\"");
    }
}
