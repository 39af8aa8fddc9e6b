//! Elements of arrays and maps.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, ListArray, StructArray, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, Fields};
use datafusion::common::{Result, exec_err, plan_err};
use datafusion::functions_nested::extract::array_element_udf;
use datafusion::functions_nested::map_extract::map_extract_udf;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs};

use super::{PlainFunction, all_scalar, wrap, wrong_count};

pub(super) fn functions() -> Vec<PlainFunction> {
    vec![
        PlainFunction::new(
            "element_at",
            |types| match types {
                [list @ DataType::List(_), _] => Ok(vec![list.clone(), DataType::Int64]),
                [map @ DataType::Map(entries, _), _] => {
                    Ok(vec![map.clone(), map_entry(entries, 0)?])
                }
                [other, _] => plan_err!("element_at takes an ARRAY or a MAP, not {other}"),
                other => {
                    wrong_count("element_at", "an ARRAY or MAP and an index or key", other.len())
                }
            },
            |types| match types {
                [DataType::List(item), _] => Ok(item.data_type().clone()),
                [DataType::Map(entries, _), _] => map_entry(entries, 1),
                _ => plan_err!("element_at takes an ARRAY or a MAP"),
            },
            element_at,
        ),
        // DataFusion's wants the entries' fields called `key` and `value`; those of some maps are not.
        PlainFunction::new(
            "map_entries",
            |types| match types {
                [map @ DataType::Map(_, _)] => Ok(vec![map.clone()]),
                _ => plan_err!("map_entries takes a MAP"),
            },
            |types| match types {
                [DataType::Map(entries, _)] => entries_type(entries),
                _ => plan_err!("map_entries takes a MAP"),
            },
            map_entries,
        ),
        // Not Spark's: `posexplode` takes its result apart.
        PlainFunction::new(
            "with_positions",
            |types| match types {
                [list @ DataType::List(_)] => Ok(vec![list.clone()]),
                _ => plan_err!("posexplode takes an ARRAY or a MAP"),
            },
            |types| match types {
                [DataType::List(item)] => Ok(positions_type(item.data_type())),
                _ => plan_err!("posexplode takes an ARRAY or a MAP"),
            },
            with_positions,
        ),
    ]
}

/// An ARRAY of STRUCTs of `key` and `value`.
fn entries_type(entries: &Arc<Field>) -> Result<DataType> {
    let element = Fields::from(vec![
        Field::new("key", map_entry(entries, 0)?, true),
        Field::new("value", map_entry(entries, 1)?, true),
    ]);
    Ok(DataType::List(Arc::new(Field::new_list_field(DataType::Struct(element), true))))
}

fn map_entries(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let rows = if all_scalar(args) { 1 } else { args.number_rows };
    let maps = match args.args.first() {
        Some(value) => value.to_array(rows)?,
        None => return exec_err!("map_entries takes a MAP"),
    };
    let Some(maps) = maps.as_map_opt() else {
        return exec_err!("map_entries takes a MAP, not {}", maps.data_type());
    };
    let DataType::List(item) = args.return_type() else {
        return exec_err!("map_entries makes an ARRAY");
    };
    let DataType::Struct(fields) = item.data_type() else {
        return exec_err!("map_entries makes an ARRAY of STRUCTs");
    };
    let columns = vec![Arc::clone(maps.keys()), Arc::clone(maps.values())];
    let entries = StructArray::try_new(fields.clone(), columns, None)?;
    let nulls = maps.nulls().cloned();
    let list =
        ListArray::try_new(Arc::clone(item), maps.offsets().clone(), Arc::new(entries), nulls)?;
    wrap(args, Arc::new(list))
}

fn position_fields(item: &DataType) -> Fields {
    Fields::from(vec![
        Field::new("pos", DataType::Int32, true),
        Field::new("col", item.clone(), true),
    ])
}

fn positions_type(item: &DataType) -> DataType {
    let element = DataType::Struct(position_fields(item));
    DataType::List(Arc::new(Field::new_list_field(element, true)))
}

/// Each element with its place in the list, from 0.
fn with_positions(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let rows = if all_scalar(args) { 1 } else { args.number_rows };
    let lists = match args.args.first() {
        Some(value) => value.to_array(rows)?,
        None => return exec_err!("posexplode takes an ARRAY"),
    };
    let Some(lists) = lists.as_list_opt::<i32>() else {
        return exec_err!("posexplode takes an ARRAY, not {}", lists.data_type());
    };
    let mut places: Vec<i32> = vec![0; lists.values().len()];
    for range in lists.value_offsets().windows(2) {
        for at in range[0]..range[1] {
            // Offsets of a list are not negative and within its values.
            places[at as usize] = at - range[0];
        }
    }
    let fields = position_fields(lists.values().data_type());
    let columns: Vec<ArrayRef> =
        vec![Arc::new(Int32Array::from(places)), Arc::clone(lists.values())];
    let elements = StructArray::try_new(fields, columns, None)?;
    let DataType::List(item) = positions_type(lists.values().data_type()) else {
        return exec_err!("posexplode makes an ARRAY");
    };
    let offsets = lists.offsets().clone();
    let with = ListArray::try_new(item, offsets, Arc::new(elements), lists.nulls().cloned())?;
    wrap(args, Arc::new(with))
}

/// The type of a map's keys (0) or values (1).
fn map_entry(entries: &Arc<Field>, index: usize) -> Result<DataType> {
    match entries.data_type() {
        DataType::Struct(fields) if fields.len() == 2 => Ok(fields[index].data_type().clone()),
        other => plan_err!("a MAP with entries of type {other}"),
    }
}

/// The element at an index from 1 (from the end if negative), or the value of a key; NULL if there
/// is none.
fn element_at(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let is_map = matches!(args.arg_fields[0].data_type(), DataType::Map(_, _));
    if !is_map {
        return array_element_udf().invoke_with_args(args.clone());
    }
    let value = Field::new_list_field(args.return_type().clone(), true);
    let list_args = ScalarFunctionArgs {
        return_field: Arc::new(Field::new("values", DataType::List(Arc::new(value)), true)),
        ..args.clone()
    };
    // A list of the one value of the key, or of none.
    let lists = map_extract_udf().invoke_with_args(list_args)?;
    let rows = if all_scalar(args) { 1 } else { args.number_rows };
    let lists = lists.into_array(rows)?;
    let Some(lists) = lists.as_list_opt::<i32>() else {
        return exec_err!("element_at found no values");
    };
    let firsts: UInt32Array = (0..lists.len())
        .map(|row| {
            let found = lists.is_valid(row) && lists.value_length(row) > 0;
            found.then(|| lists.value_offsets()[row] as u32)
        })
        .collect();
    wrap(args, take(lists.values(), &firsts, None)?)
}
