//! JSON in text: `from_json`, `to_json`, `get_json_object`.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, RecordBatch, StringArray, StringBuilder, StructArray,
};
use arrow::compute::{cast, nullif};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};
use serde_json::Value;
use serde_json::value::RawValue;

use super::{PlainFunction, all_scalar, array_argument, scalar_text, wrap, wrong_count};
use crate::codec::{Encoder, EncodingSpec, JsonDecoder, JsonEncoding, JsonOptions, parse_schema};

pub(super) fn functions() -> Vec<PlainFunction> {
    vec![
        PlainFunction::new(
            "to_json",
            |types| match types {
                [one @ (DataType::Struct(_) | DataType::Map(_, _) | DataType::List(_))] => {
                    Ok(vec![one.clone()])
                }
                [other] => plan_err!(
                    "to_json takes a STRUCT, MAP or ARRAY, not {other}; named_struct('name', value) \
                     makes a STRUCT"
                ),
                other => wrong_count("to_json", "a STRUCT, MAP or ARRAY", other.len()),
            },
            |_| Ok(DataType::Utf8),
            to_json,
        ),
        PlainFunction::new(
            "get_json_object",
            |types| match types {
                [_, _] => Ok(vec![DataType::Utf8; 2]),
                other => wrong_count("get_json_object", "text and a path", other.len()),
            },
            |_| Ok(DataType::Utf8),
            get_json_object,
        )
        .check(|args| match args.get(1) {
            Some(Some(path)) => match scalar_text(path).map(steps) {
                Some(None) => plan_err!(
                    "get_json_object: '{}' is not a path; write it like '$.user.tags[0]'",
                    scalar_text(path).unwrap_or_default()
                ),
                _ => Ok(()),
            },
            _ => plan_err!("get_json_object: the path must be a constant, like '$.user.id'"),
        }),
    ]
}

/// `from_json(text, schema)`: the schema is Spark's DDL, a constant.
///
/// As in Spark's PERMISSIVE mode: text that is no JSON, or not of the schema's shape, gives a STRUCT
/// of NULLs (an ARRAY or MAP: NULL); a field of the wrong type is NULL, and the others stay.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct FromJson {
    signature: Signature,
}

impl FromJson {
    pub(super) fn new() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for FromJson {
    fn name(&self) -> &'static str {
        "from_json"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        match arg_types {
            [DataType::Binary, _] => Ok(vec![DataType::Binary, DataType::Utf8]),
            [_, _] => Ok(vec![DataType::Utf8; 2]),
            [_, _, _] => plan_err!("from_json with options is not supported; leave them out"),
            other => wrong_count("from_json", "text and a schema", other.len()),
        }
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        plan_err!("from_json: the schema must be a constant, like 'id BIGINT, name STRING'")
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let Some(ddl) = args.scalar_arguments.get(1).copied().flatten().and_then(scalar_text)
        else {
            return plan_err!(
                "from_json: the schema must be a constant, like 'id BIGINT, name STRING'"
            );
        };
        Ok(Arc::new(Field::new("from_json", json_type(ddl)?, true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let texts = array_argument(&args, 0)?;
        let data_type = args.return_field.data_type();
        let parsed = match data_type {
            DataType::Struct(fields) => structs(&texts, fields)?,
            other => values(&texts, other)?,
        };
        wrap(&args, parsed)
    }
}

/// The type that a schema text describes: columns make a STRUCT; a single type may be an ARRAY or
/// a MAP.
fn json_type(ddl: &str) -> Result<DataType> {
    let columns = match parse_schema(ddl) {
        Ok(schema) => return Ok(nullable(&DataType::Struct(schema.fields().clone()))),
        Err(error) => error,
    };
    match parse_schema(&format!("value {ddl}")) {
        Ok(schema) => match schema.field(0).data_type() {
            data_type @ (DataType::Struct(_) | DataType::List(_) | DataType::Map(_, _)) => {
                Ok(nullable(data_type))
            }
            other => {
                plan_err!("from_json: the schema is {other}; it must be a STRUCT, ARRAY or MAP")
            }
        },
        Err(_) => plan_err!("from_json: '{ddl}' is not a schema: {columns}"),
    }
}

/// The type with everything in it nullable, as Spark makes it: a field may be missing.
fn nullable(data_type: &DataType) -> DataType {
    let field = |field: &FieldRef| -> FieldRef {
        Arc::new(Field::new(field.name(), nullable(field.data_type()), true))
    };
    match data_type {
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(field).collect()),
        DataType::List(item) => DataType::List(field(item)),
        DataType::Map(entries, sorted) => {
            let DataType::Struct(parts) = entries.data_type() else { return data_type.clone() };
            let [key, value] = parts.as_ref() else { return data_type.clone() };
            let parts = Fields::from(vec![Arc::clone(key), field(value)]);
            let entries = entries.as_ref().clone().with_data_type(DataType::Struct(parts));
            DataType::Map(Arc::new(entries), *sorted)
        }
        other => other.clone(),
    }
}

fn decoder(fields: Fields) -> Result<JsonDecoder> {
    let schema: SchemaRef = Arc::new(Schema::new(fields));
    let all = (0..schema.fields().len()).collect();
    match JsonDecoder::new(schema, all, JsonOptions::default()) {
        Ok(decoder) => Ok(decoder),
        Err(error) => plan_err!("from_json: {error}"),
    }
}

fn finish(decoder: &mut JsonDecoder) -> Result<RecordBatch> {
    match decoder.finish() {
        Ok(batch) => Ok(batch),
        Err(error) => exec_err!("from_json: {error}"),
    }
}

fn text_of(texts: &ArrayRef, row: usize) -> Option<&[u8]> {
    if texts.is_null(row) {
        return None;
    }
    if let Some(texts) = texts.as_string_opt::<i32>() {
        return Some(texts.value(row).as_bytes());
    }
    texts.as_binary_opt::<i32>().map(|texts| texts.value(row))
}

fn structs(texts: &ArrayRef, fields: &Fields) -> Result<ArrayRef> {
    let mut rows = decoder(fields.clone())?;
    let mut nulls = Vec::with_capacity(texts.len());
    for row in 0..texts.len() {
        let text = text_of(texts, row);
        nulls.push(text.is_none());
        let Some(text) = text else {
            append(&mut rows, b"{}")?;
            continue;
        };
        if rows.append(text).is_err() {
            let rest = readable_fields(text, fields)?;
            append(&mut rows, &rest)?;
        }
    }
    let batch = finish(&mut rows)?;
    let columns = batch.columns().to_vec();
    let parsed: ArrayRef = match fields.is_empty() {
        true => Arc::new(StructArray::new_empty_fields(texts.len(), None)),
        false => Arc::new(StructArray::try_new(fields.clone(), columns, None)?),
    };
    Ok(nullif(&parsed, &nulls.into())?)
}

fn append(decoder: &mut JsonDecoder, text: &[u8]) -> Result<()> {
    match decoder.append(text) {
        Ok(()) => Ok(()),
        Err(error) => exec_err!("from_json: {error}"),
    }
}

/// An object of only those fields of `text` that can be read as declared.
fn readable_fields(text: &[u8], fields: &Fields) -> Result<Vec<u8>> {
    let mut object = b"{".to_vec();
    let Ok(parsed) = serde_json::from_slice::<std::collections::BTreeMap<String, &RawValue>>(text)
    else {
        return Ok(b"{}".to_vec());
    };
    for field in fields {
        let Some(value) = parsed.get(field.name()) else { continue };
        let one = format!("{}:{}", Value::from(field.name().as_str()), value.get());
        let mut alone = decoder(vec![Arc::clone(field)].into())?;
        if alone.append(format!("{{{one}}}").as_bytes()).is_ok() {
            if object.len() > 1 {
                object.push(b',');
            }
            object.extend_from_slice(one.as_bytes());
        }
    }
    object.push(b'}');
    Ok(object)
}

/// ARRAYs and MAPs: NULL where the text is none.
fn values(texts: &ArrayRef, data_type: &DataType) -> Result<ArrayRef> {
    let field = Arc::new(Field::new("value", data_type.clone(), true));
    let mut rows = decoder(vec![field].into())?;
    let mut wrapped = vec![];
    for row in 0..texts.len() {
        wrapped.clear();
        wrapped.extend_from_slice(b"{\"value\":");
        wrapped.extend_from_slice(text_of(texts, row).unwrap_or(b"null"));
        wrapped.push(b'}');
        // A text like `1}, {"value": 2` must not pass for a value.
        let is_value = text_of(texts, row)
            .is_none_or(|text| serde_json::from_slice::<&RawValue>(text).is_ok());
        if !is_value || rows.append(&wrapped).is_err() {
            append(&mut rows, b"{}")?;
        }
    }
    let batch = finish(&mut rows)?;
    Ok(Arc::clone(batch.column(0)))
}

/// As Spark: fields that are NULL are left out.
fn to_json(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let array = array_argument(args, 0)?;
    // Rows of a STRUCT are objects. Other values are made by way of a field around them.
    let schema: SchemaRef =
        Arc::new(Schema::new(vec![Field::new("v", array.data_type().clone(), true)]));
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![Arc::clone(&array)])?;
    let spec = EncodingSpec::Json(JsonEncoding::default());
    let encoded = Encoder::new(&schema, &spec).and_then(|mut encoder| encoder.encode(&batch));
    let rows = match encoded {
        Ok(rows) => rows,
        Err(error) => return exec_err!("to_json: {error}"),
    };
    let mut texts = StringBuilder::with_capacity(array.len(), rows.bytes().len());
    for row in 0..array.len() {
        let text = rows.row(row).strip_prefix(b"{\"v\":").and_then(|t| t.strip_suffix(b"}"));
        match text.map(std::str::from_utf8) {
            Some(Ok(text)) if array.is_valid(row) => texts.append_value(text),
            _ => texts.append_null(),
        }
    }
    wrap(args, Arc::new(texts.finish()))
}

/// One step of a JSON path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Field(String),
    Index(usize),
    All,
}

/// A path like `$.user.tags[0]`, `$['a b']` or `$.items[*].id`. `None` if it is none.
fn steps(path: &str) -> Option<Vec<Step>> {
    let mut rest = path.trim().strip_prefix('$')?;
    let mut steps = vec![];
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('.') {
            let end = after.find(['.', '[']).unwrap_or(after.len());
            let name = &after[..end];
            steps.push(match name {
                "" => return None,
                "*" => Step::All,
                name => Step::Field(name.to_owned()),
            });
            rest = &after[end..];
            continue;
        }
        let after = rest.strip_prefix('[')?;
        let (inner, behind) = match after.strip_prefix('\'') {
            Some(quoted) => {
                let (name, behind) = quoted.split_once("']")?;
                steps.push(Step::Field(name.to_owned()));
                rest = behind;
                continue;
            }
            None => after.split_once(']')?,
        };
        steps.push(match inner.trim() {
            "*" => Step::All,
            number => Step::Index(number.parse().ok()?),
        });
        rest = behind;
    }
    Some(steps)
}

/// What a path leads to; several values after `[*]`.
fn follow<'v>(value: &'v Value, steps: &[Step], found: &mut Vec<&'v Value>) {
    let Some((step, rest)) = steps.split_first() else {
        found.push(value);
        return;
    };
    match (step, value) {
        (Step::Field(name), Value::Object(object)) => {
            if let Some(value) = object.get(name) {
                follow(value, rest, found);
            }
        }
        // A field of an array is that field of each of its elements.
        (Step::Field(_), Value::Array(items)) => {
            items.iter().for_each(|item| follow(item, steps, found));
        }
        (Step::Index(index), Value::Array(items)) => {
            if let Some(item) = items.get(*index) {
                follow(item, rest, found);
            }
        }
        (Step::All, Value::Array(items)) => {
            items.iter().for_each(|item| follow(item, rest, found));
        }
        (Step::All, Value::Object(object)) => {
            object.values().for_each(|item| follow(item, rest, found));
        }
        _ => {}
    }
}

fn at_path(text: &str, steps: &[Step]) -> Option<String> {
    let value: Value = serde_json::from_str(text).ok()?;
    let mut found = vec![];
    follow(&value, steps, &mut found);
    match found.as_slice() {
        [] | [Value::Null] => None,
        [Value::String(text)] => Some(text.clone()),
        [one] => Some(one.to_string()),
        several => serde_json::to_string(several).ok(),
    }
}

fn get_json_object(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let path = super::constant_text(args, 1, "the path")?;
    let Some(steps) = path.and_then(steps) else {
        return Ok(ColumnarValue::Scalar(ScalarValue::Utf8(None)));
    };
    let texts = cast(&array_argument(args, 0)?, &DataType::Utf8)?;
    let found: StringArray = texts
        .as_string::<i32>()
        .iter()
        .map(|text| text.and_then(|text| at_path(text, &steps)))
        .collect();
    debug_assert!(all_scalar(args) || found.len() == args.number_rows, "a row for each text");
    wrap(args, Arc::new(found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read() {
        let field = |name: &str| Step::Field(name.to_owned());
        assert_eq!(steps("$"), Some(vec![]));
        assert_eq!(steps("$.a.b[2]"), Some(vec![field("a"), field("b"), Step::Index(2)]));
        assert_eq!(steps("$['a b'][*].c"), Some(vec![field("a b"), Step::All, field("c")]));
        for bad in ["", "a", "$a", "$.", "$..a", "$[", "$[x]", "$['a"] {
            assert_eq!(steps(bad), None, "{bad}");
        }
    }

    #[test]
    fn schemas_are_structs_arrays_or_maps() {
        assert!(matches!(json_type("a INT, b STRING").unwrap(), DataType::Struct(_)));
        assert!(matches!(json_type("STRUCT<a: INT NOT NULL>").unwrap(), DataType::Struct(_)));
        assert!(matches!(json_type("ARRAY<INT>").unwrap(), DataType::List(_)));
        assert!(matches!(json_type("MAP<STRING, INT>").unwrap(), DataType::Map(_, _)));
        assert!(json_type("INT").is_err() && json_type("a NONSENSE").is_err());
    }
}
