//! The recorded cases of `tests/conformance`: what real Spark gave for the same batches.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, TimestampMicrosecondType,
};
use serde_json::{Map, Value, json};

use super::*;
use crate::codec::{JsonDecoder, JsonOptions, parse_schema};
use crate::event_time::parse_duration;
use crate::sql::{Catalog, DropDuplicates, OutputMode, QueryRequest, StaticTable, Within, plan};

fn text(value: &Value) -> String {
    match value {
        Value::Array(lines) => {
            lines.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("\n")
        }
        other => other.as_str().unwrap_or_default().to_owned(),
    }
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Rows of a case as a batch.
fn batch(schema: &SchemaRef, rows: &[Value]) -> RecordBatch {
    let all = (0..schema.fields().len()).collect();
    // NaN and Infinity are text in JSON.
    let is_float = |field: &Field| field.data_type().is_floating();
    let fields = schema.fields().iter().map(|field| match is_float(field) {
        true => Field::new(field.name(), DataType::Utf8, true),
        false => field.as_ref().clone(),
    });
    let read = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let mut decoder = JsonDecoder::new(read, all, JsonOptions::default()).unwrap();
    for row in rows {
        let mut row = row.clone();
        for field in schema.fields().iter().filter(|field| is_float(field)) {
            if let Some(number) = row.get_mut(field.name()).filter(|value| value.is_number()) {
                *number = Value::String(number.to_string());
            }
        }
        let record = decoder.append(row.to_string().as_bytes());
        record.unwrap_or_else(|error| panic!("{row}: {error}"));
    }
    let batch = decoder.finish().unwrap();
    let columns = batch.columns().iter().zip(schema.fields());
    let columns = columns.map(|(column, field)| arrow::compute::cast(column, field.data_type()));
    let columns: Vec<ArrayRef> = columns.collect::<Result<_, _>>().unwrap();
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options).unwrap()
}

fn value(column: &dyn Array, row: usize) -> Value {
    if column.is_null(row) {
        return Value::Null;
    }
    let double = |value: f64, text: String| match value {
        value if value.is_nan() => json!("NaN"),
        value if value.is_infinite() => json!(if value > 0.0 { "Infinity" } else { "-Infinity" }),
        _ => serde_json::from_str(&text).unwrap(),
    };
    match column.data_type() {
        DataType::Boolean => json!(column.as_boolean().value(row)),
        DataType::Int8 => json!(column.as_primitive::<Int8Type>().value(row)),
        DataType::Int16 => json!(column.as_primitive::<Int16Type>().value(row)),
        DataType::Int32 => json!(column.as_primitive::<Int32Type>().value(row)),
        DataType::Int64 => json!(column.as_primitive::<Int64Type>().value(row)),
        DataType::Float32 => {
            // As Python shows it, in whose hands it becomes a DOUBLE.
            let value = f64::from(column.as_primitive::<Float32Type>().value(row));
            double(value, format!("{value:?}"))
        }
        DataType::Float64 => {
            let value = column.as_primitive::<Float64Type>().value(row);
            double(value, format!("{value:?}"))
        }
        DataType::Decimal128(_, _) => {
            json!(column.as_primitive::<Decimal128Type>().value_as_string(row))
        }
        DataType::Utf8 => json!(column.as_string::<i32>().value(row)),
        DataType::Binary => {
            json!(base64(column.as_binary::<i32>().value(row)))
        }
        DataType::Date32 => {
            let date = column.as_primitive::<Date32Type>().value_as_date(row).unwrap();
            json!(date.to_string())
        }
        DataType::Timestamp(_, _) => {
            let at = column.as_primitive::<TimestampMicrosecondType>().value(row);
            let at = DateTime::from_timestamp_micros(at).unwrap();
            json!(at.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string())
        }
        DataType::List(_) => {
            let list = column.as_list::<i32>().value(row);
            (0..list.len()).map(|at| value(&list, at)).collect()
        }
        DataType::Struct(fields) => {
            let parts = column.as_struct();
            let entries = fields
                .iter()
                .zip(parts.columns())
                .map(|(field, part)| (field.name().clone(), value(part, row)));
            Value::Object(entries.collect())
        }
        DataType::Map(_, _) => {
            let entries = column.as_map().value(row);
            let entry = |at: usize| {
                let key = value(entries.column(0), at);
                let key = key.as_str().map_or_else(|| key.to_string(), str::to_owned);
                (key, value(entries.column(1), at))
            };
            Value::Object((0..entries.len()).map(entry).collect())
        }
        other => panic!("type {other}"),
    }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().enumerate().fold(0, |w, (i, b)| w | u32::from(*b) << (16 - 8 * i));
        for digit in 0..4 {
            let index = (word >> (18 - 6 * digit) & 63) as usize;
            out.push(if digit <= chunk.len() { char::from(DIGITS[index]) } else { '=' });
        }
    }
    out
}

fn rows_of(batches: &[RecordBatch]) -> Vec<Value> {
    let mut rows = vec![];
    for batch in batches {
        let schema = batch.schema();
        for row in 0..batch.num_rows() {
            let entries = schema
                .fields()
                .iter()
                .zip(batch.columns())
                .map(|(field, column)| (field.name().clone(), value(column, row)));
            rows.push(Value::Object(entries.collect::<Map<_, _>>()));
        }
    }
    rows
}

/// Rows to compare: in an order of their own, and DOUBLEs to twelve digits, because sums depend on
/// the order of their terms.
fn canonical(rows: &[Value], ordered: bool) -> Vec<String> {
    let mut lines: Vec<String> = rows.iter().map(|row| sorted(row).to_string()).collect();
    if !ordered {
        lines.sort();
    }
    lines
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(entries) => {
            let entries: BTreeMap<&String, Value> =
                entries.iter().map(|(key, value)| (key, sorted(value))).collect();
            Value::Object(entries.into_iter().map(|(key, value)| (key.clone(), value)).collect())
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        Value::Number(number) if number.is_f64() => {
            Value::String(format!("{:.12e}", number.as_f64().unwrap_or_default()))
        }
        other => other.clone(),
    }
}

struct Case {
    json: Value,
    sources: Vec<SourceTable>,
    tables: Vec<Arc<StaticTable>>,
}

impl Case {
    fn read(json: Value) -> Self {
        let sources = items(&json["sources"])
            .iter()
            .map(|source| {
                let watermark = &source["watermark"];
                SourceTable {
                    name: text(&source["name"]),
                    schema: parse_schema(source["schema"].as_str().unwrap()).unwrap(),
                    event_time: watermark["column"].as_str().map(str::to_owned),
                    watermark_delay_us: watermark["delay"]
                        .as_str()
                        .map(|delay| parse_duration(delay).unwrap()),
                }
            })
            .collect();
        let tables = items(&json["tables"])
            .iter()
            .map(|table| {
                let schema = parse_schema(table["schema"].as_str().unwrap()).unwrap();
                let rows = batch(&schema, items(&table["rows"]));
                let table = StaticTable::new(text(&table["name"]), schema);
                table.replace(vec![rows]).unwrap();
                Arc::new(table)
            })
            .collect();
        Self { json, sources, tables }
    }

    fn plan_one(
        &self,
        query: &Value,
        name: &str,
        planned: &[QueryPlan],
    ) -> Result<QueryPlan, SqlError> {
        let sql = text(&query["sql"]);
        let drop = &query["drop_duplicates"];
        let within = match drop["within"].as_bool() {
            Some(true) => Within::Watermark,
            _ => Within::Full,
        };
        let columns = || items(&drop["columns"]).iter().map(text).collect();
        let queries: Vec<&QueryPlan> = planned.iter().collect();
        let request = QueryRequest {
            name,
            sql: &sql,
            mode: match query["mode"].as_str() {
                Some("update") => OutputMode::Update,
                Some("complete") => OutputMode::Complete,
                _ => OutputMode::Append,
            },
            drop_duplicates: drop
                .is_object()
                .then(|| DropDuplicates { columns: columns(), within }),
            state_ttl_us: self.json["state_ttl"].as_str().map(|ttl| parse_duration(ttl).unwrap()),
        };
        let catalog = Catalog { sources: &self.sources, queries: &queries, tables: &self.tables };
        plan(&request, &catalog)
    }

    fn plans(&self) -> Result<Vec<QueryPlan>, SqlError> {
        let mut plans = vec![];
        for view in items(&self.json["views"]) {
            plans.push(self.plan_one(view, &text(&view["name"]), &plans)?);
        }
        plans.push(self.plan_one(&self.json, "query", &plans)?);
        Ok(plans)
    }

    /// What is different from the recording.
    fn check(&self) -> Result<(), String> {
        let own = &self.json["millpond"];
        let refused_by_spark = self.json["error"].is_object();
        let refused_here = own["refused"].is_string();
        let plans = match self.plans() {
            Ok(plans) => plans,
            Err(_) if refused_here || (refused_by_spark && !own.is_array()) => return Ok(()),
            Err(error) => return Err(format!("refused: {error}")),
        };
        if refused_here || (refused_by_spark && !own.is_array()) {
            return Err("was planned, and should be refused".to_owned());
        }
        let last = plans.len() - 1;
        let query = plans[last].clone();
        let differs = self.json["differs"].is_string();
        if let Some(ddl) = self.json["output_schema"].as_str().filter(|_| !differs) {
            let wanted = parse_schema(ddl).map_err(|error| error.to_string())?;
            let types = |schema: &SchemaRef| -> Vec<String> {
                let fields = schema.fields().iter();
                fields
                    .map(|f| format!("{} {}", f.name(), crate::sql::show::type_name(f.data_type())))
                    .collect()
            };
            if types(&wanted) != types(&query.output_schema) {
                return Err(format!(
                    "schema: {:?} instead of {:?}",
                    types(&query.output_schema),
                    types(&wanted)
                ));
            }
        }
        let names = self.sources.iter().map(|source| source.name.as_str().into()).collect();
        let graph = Graph::new(names, plans.into_iter().map(Arc::new).collect()).unwrap();
        let decoded: Vec<SchemaRef> = self.sources.iter().map(|s| s.schema.clone()).collect();
        let timed: Vec<bool> =
            self.sources.iter().map(|source| source.watermark_delay_us.is_some()).collect();
        let mut trial =
            Trial::new(Arc::new(graph), &decoded, &timed).map_err(|error| error.to_string())?;
        let finish = query.finish.as_ref().map(|f| f.bind("query", &query.output_schema).unwrap());
        let mut newest: Vec<Option<i64>> = vec![None; self.sources.len()];
        let mut late_before = 0;
        for (number, step) in items(&self.json["batches"]).iter().enumerate() {
            for (index, source) in self.sources.iter().enumerate() {
                let rows = items(&step["inputs"][&source.name]);
                let rows = batch(&source.schema, rows);
                trial.rows(index, &rows).map_err(|error| error.to_string())?;
                let column = source.event_time.as_ref().and_then(|name| rows.column_by_name(name));
                let times = column.and_then(|c| c.as_primitive_opt::<TimestampMicrosecondType>());
                let max = times.and_then(arrow::compute::max);
                newest[index] = newest[index].max(max);
            }
            for (index, source) in self.sources.iter().enumerate() {
                if let (Some(newest), Some(delay)) = (newest[index], source.watermark_delay_us) {
                    trial.watermark(index, newest - delay).map_err(|error| error.to_string())?;
                }
            }
            trial.trigger().map_err(|error| error.to_string())?;
            let output = trial.take_output().into_iter().filter(|output| output.query == last);
            let mut output: Vec<RecordBatch> = output.map(|output| output.rows).collect();
            if let Some(finish) = &finish {
                output = finish.apply(&output).map_err(|error| error.to_string())?;
            }
            let ordered = self.json["ordered"].as_bool() == Some(true);
            let pick = |key: &str| match &own[number][key] {
                Value::Null => step[key].clone(),
                other => other.clone(),
            };
            let wanted = canonical(items(&pick("output")), ordered);
            let found = canonical(&rows_of(&output), ordered);
            if wanted != found {
                return Err(format!(
                    "batch {number}:\n  Spark    {}\n  Millpond {}",
                    wanted.join("\n           "),
                    found.join("\n           ")
                ));
            }
            let late: u64 = (0..=last).map(|query| trial.dropped(query).late).sum();
            if let Some(wanted) = pick("late").as_u64()
                && wanted != late - late_before
            {
                return Err(format!("batch {number}: {} late, Spark {wanted}", late - late_before));
            }
            late_before = late;
        }
        Ok(())
    }
}

/// Every case on the graph alone, without the daemon around it.
#[test]
fn recorded_cases_give_the_same_rows() {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/cases");
    let mut failures = vec![];
    let mut count = 0;
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let json: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        count += 1;
        let checked = std::panic::catch_unwind(|| Case::read(json).check());
        match checked {
            Ok(Ok(())) => {}
            Ok(Err(difference)) => failures.push(format!("{name}: {difference}")),
            Err(_) => failures.push(format!("{name}: panicked")),
        }
    }
    failures.sort();
    assert!(failures.is_empty(), "{} of {count} differ\n{}", failures.len(), failures.join("\n"));
}
