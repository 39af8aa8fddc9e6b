//! From the columns that a file has to the columns that a source declares.
//!
//! Columns are found by name: exactly, or else by the only one that differs in upper and lower
//! case (Spark's default). A column that the file lacks is NULL in every row. Types are converted
//! where nothing can be lost by the type alone; these are the conversions that Spark's Parquet
//! reader does, and those of plain ways of holding a value (dictionaries, views, large offsets).

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, ListArray, MapArray, RecordBatch, RecordBatchOptions, StructArray,
    new_null_array,
};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef, TimeUnit};
use datafusion::common::ScalarValue;

/// Where an output column comes from.
#[derive(Debug, Clone)]
enum Origin {
    /// The column at this place among those that are read.
    Read(usize),
    /// It is NULL.
    Missing,
    /// It is the same in every row.
    Constant(ScalarValue),
}

/// How the columns of one file become the declared ones.
#[derive(Debug, Clone)]
pub(super) struct Conform {
    output: SchemaRef,
    origins: Vec<Origin>,
    roots: Vec<usize>,
}

impl Conform {
    /// Plans the way from a file with the columns of `file` to `output`; `constants` are
    /// columns by their output names that are not in the file. On failure, every problem in
    /// words.
    pub fn new(
        output: &SchemaRef,
        file: &Schema,
        constants: &[(String, ScalarValue)],
    ) -> Result<Self, Vec<String>> {
        let mut problems = Vec::new();
        let mut found = Vec::new();
        for wanted in output.fields() {
            let constant = constants.iter().find(|(name, _)| name == wanted.name());
            if let Some((_, value)) = constant {
                found.push(Err(Origin::Constant(value.clone())));
                continue;
            }
            match by_name(file.fields(), wanted.name()) {
                Err(problem) => problems.push(problem),
                Ok(None) if wanted.is_nullable() => found.push(Err(Origin::Missing)),
                Ok(None) => problems.push(format!(
                    "column `{}` is declared NOT NULL and is not in the file",
                    wanted.name()
                )),
                Ok(Some(index)) => {
                    let there = file.field(index).data_type();
                    match fits(there, wanted.data_type()) {
                        Ok(()) => found.push(Ok(index)),
                        Err(reason) => {
                            problems.push(format!("column `{}`: {reason}", wanted.name()));
                        }
                    }
                }
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let mut roots: Vec<usize> = found.iter().filter_map(|f| f.as_ref().ok().copied()).collect();
        roots.sort_unstable();
        roots.dedup();
        let origins = found
            .into_iter()
            .map(|found| match found {
                Ok(index) => {
                    // Every index is among the roots, which were made from them.
                    Origin::Read(roots.binary_search(&index).unwrap_or(usize::MAX))
                }
                Err(origin) => origin,
            })
            .collect();
        Ok(Self { output: output.clone(), origins, roots })
    }

    /// The file's columns that have to be read, rising.
    pub fn roots(&self) -> &[usize] {
        &self.roots
    }

    /// Makes a batch of the declared columns out of one of the columns that were read.
    pub fn apply(&self, batch: &RecordBatch) -> Result<RecordBatch, String> {
        let rows = batch.num_rows();
        let columns = self
            .origins
            .iter()
            .zip(self.output.fields())
            .map(|(origin, field)| {
                let of = |reason: String| format!("column `{}`: {reason}", field.name());
                match origin {
                    Origin::Missing => Ok(new_null_array(field.data_type(), rows)),
                    Origin::Constant(value) => value
                        .to_array_of_size(rows)
                        .map_err(|error| of(error.to_string()))
                        .and_then(|array| convert(&array, field).map_err(of)),
                    Origin::Read(index) => {
                        let array = batch
                            .columns()
                            .get(*index)
                            .ok_or_else(|| of("it is not in the batch".to_owned()))?;
                        convert(array, field).map_err(of)
                    }
                }
            })
            .collect::<Result<Vec<ArrayRef>, String>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(self.output.clone(), columns, &options)
            .map_err(|error| error.to_string())
    }
}

/// The one field of this name, whatever its case; two that only differ in case are a problem.
fn by_name(fields: &Fields, name: &str) -> Result<Option<usize>, String> {
    if let Some(index) = fields.iter().position(|field| field.name() == name) {
        return Ok(Some(index));
    }
    let mut alike =
        fields.iter().enumerate().filter(|(_, field)| field.name().eq_ignore_ascii_case(name));
    match (alike.next(), alike.next()) {
        (Some((_, first)), Some((_, second))) => Err(format!(
            "column `{name}` may be `{}` or `{}`, which differ from it in case",
            first.name(),
            second.name()
        )),
        (found, _) => Ok(found.map(|(index, _)| index)),
    }
}

/// Whether every value of type `from` that can be expected has one of type `to`.
pub(super) fn fits(from: &DataType, to: &DataType) -> Result<(), String> {
    use DataType as T;
    let utf8 = |t: &T| matches!(t, T::Utf8 | T::LargeUtf8 | T::Utf8View);
    let binary =
        |t: &T| matches!(t, T::Binary | T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_));
    let ok = match (from, to) {
        (from, to) if from == to => true,
        (T::Null, _) => true,
        (T::Dictionary(_, value), to) => return fits(value, to),
        (from, T::Utf8 | T::Binary) => utf8(from) || binary(from),
        (T::Struct(there), T::Struct(wanted)) => {
            for field in wanted {
                match by_name(there, field.name())? {
                    Some(index) => fits(there[index].data_type(), field.data_type())
                        .map_err(|reason| format!("field `{}`: {reason}", field.name()))?,
                    None if field.is_nullable() => {}
                    None => return Err(format!("field `{}` is missing", field.name())),
                }
            }
            true
        }
        (
            T::List(there)
            | T::LargeList(there)
            | T::ListView(there)
            | T::LargeListView(there)
            | T::FixedSizeList(there, _),
            T::List(wanted),
        ) => return fits(there.data_type(), wanted.data_type()),
        (T::Map(there, _), T::Map(wanted, _)) => match (there.data_type(), wanted.data_type()) {
            (T::Struct(there), T::Struct(wanted)) if there.len() == 2 && wanted.len() == 2 => {
                fits(there[0].data_type(), wanted[0].data_type())?;
                return fits(there[1].data_type(), wanted[1].data_type());
            }
            _ => false,
        },
        // Parquet has no integers narrower than 32 bits of its own, so what is in a column of
        // 32 bits may well be meant; a value that is not is an error when it is met.
        (T::Int8 | T::Int16 | T::Int32, T::Int8 | T::Int16) => true,
        (T::Int8 | T::Int16 | T::UInt8 | T::UInt16, T::Int32) => true,
        (T::UInt8, T::Int16) => true,
        (from, T::Int64) => from.is_integer(),
        (from, T::Float64) => {
            matches!(from, T::Float16 | T::Float32 | T::Int8 | T::Int16 | T::Int32)
                || matches!(from, T::UInt8 | T::UInt16 | T::UInt32)
        }
        (T::Float16, T::Float32) => true,
        (T::Date64, T::Date32) => true,
        (T::Date32, T::Timestamp(TimeUnit::Microsecond, None)) => true,
        // The zone of the session is UTC, so a timestamp without a zone is one in UTC.
        (T::Timestamp(_, _), T::Timestamp(TimeUnit::Microsecond, _)) => true,
        (from, T::Decimal128(p, s)) => digits(from).is_some_and(|(whole, fraction)| {
            fraction <= i32::from(*s) && whole <= i32::from(*p) - i32::from(*s)
        }),
        _ => false,
    };
    if ok { Ok(()) } else { Err(format!("the file has {from}, which is not read as {to}")) }
}

/// The digits before and after the point of a type's values.
fn digits(data_type: &DataType) -> Option<(i32, i32)> {
    use DataType as T;
    Some(match data_type {
        T::Decimal32(p, s) | T::Decimal64(p, s) | T::Decimal128(p, s) | T::Decimal256(p, s) => {
            (i32::from(*p) - i32::from(*s), i32::from(*s))
        }
        T::Int8 | T::UInt8 => (3, 0),
        T::Int16 | T::UInt16 => (5, 0),
        T::Int32 | T::UInt32 => (10, 0),
        T::Int64 => (19, 0),
        T::UInt64 => (20, 0),
        _ => return None,
    })
}

/// Converts an array to a field's type; [`fits`] has said that it can be.
fn convert(array: &ArrayRef, to: &Field) -> Result<ArrayRef, String> {
    if array.data_type() == to.data_type() {
        return not_null(array.clone(), to);
    }
    let words = |error: arrow::error::ArrowError| error.to_string();
    let cast = |array: &ArrayRef, to: &DataType| {
        let options = CastOptions { safe: false, ..CastOptions::default() };
        cast_with_options(array, to, &options).map_err(words)
    };
    let converted: ArrayRef = match (array.data_type(), to.data_type()) {
        (DataType::Struct(there), DataType::Struct(wanted)) => {
            let array = array.as_struct();
            let columns = wanted
                .iter()
                .map(|field| match by_name(there, field.name())? {
                    Some(index) => convert(array.column(index), field)
                        .map_err(|reason| format!("field `{}`: {reason}", field.name())),
                    None => Ok(new_null_array(field.data_type(), array.len())),
                })
                .collect::<Result<Vec<ArrayRef>, String>>()?;
            if wanted.is_empty() {
                Arc::new(StructArray::new_empty_fields(array.len(), array.nulls().cloned()))
            } else {
                Arc::new(
                    StructArray::try_new(wanted.clone(), columns, array.nulls().cloned())
                        .map_err(words)?,
                )
            }
        }
        (from, DataType::List(wanted)) => {
            let list = match from {
                DataType::List(_) => array.clone(),
                _ => cast(array, &DataType::List(Arc::new(item(from)?.as_ref().clone())))?,
            };
            let (_, offsets, values, nulls) = list.as_list::<i32>().clone().into_parts();
            let values = convert(&values, wanted)?;
            Arc::new(ListArray::try_new(wanted.clone(), offsets, values, nulls).map_err(words)?)
        }
        (DataType::Map(_, _), DataType::Map(wanted, sorted)) => {
            let DataType::Struct(fields) = wanted.data_type() else {
                return Err("a map's entries are no struct".to_owned());
            };
            let (_, offsets, entries, nulls, _) = array.as_map().clone().into_parts();
            let columns = entries
                .columns()
                .iter()
                .zip(fields)
                .map(|(column, field)| convert(column, field))
                .collect::<Result<Vec<ArrayRef>, String>>()?;
            let entries = StructArray::try_new(fields.clone(), columns, None).map_err(words)?;
            Arc::new(
                MapArray::try_new(wanted.clone(), offsets, entries, nulls, *sorted)
                    .map_err(words)?,
            )
        }
        (_, to) => cast(array, to)?,
    };
    not_null(converted, to)
}

fn not_null(array: ArrayRef, field: &Field) -> Result<ArrayRef, String> {
    if !field.is_nullable() && array.null_count() > 0 {
        return Err("it is declared NOT NULL and holds a NULL".to_owned());
    }
    Ok(array)
}

fn item(list: &DataType) -> Result<&FieldRef, String> {
    match list {
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _) => Ok(item),
        other => Err(format!("{other} is no list")),
    }
}

#[cfg(test)]
#[path = "columns_tests.rs"]
mod tests;
