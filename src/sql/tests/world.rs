//! Several sources, queries and tables, run step by step.

use std::collections::BTreeMap;

use arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, Int64Array, ListBuilder, MapBuilder, RecordBatch,
    StringArray, StringBuilder, StructArray, TimestampMicrosecondArray,
};
use arrow::datatypes::TimestampMicrosecondType;

use super::*;
use crate::sql::{
    Catalog, DropDuplicates, Finish, OutputMode, QueryRequest, StaticTable, Within, plan,
};

pub(super) const SECOND: i64 = 1_000_000;

/// 2026-01-01T00:00:00Z; rows are written in seconds since then.
pub(super) const EPOCH: i64 = 1_767_225_600 * SECOND;

/// Columns from `name type` pairs: `ts` TIMESTAMP, `s` STRING, `n` BIGINT, `x` DOUBLE, `l`
/// ARRAY<STRING>, `m` MAP<STRING, STRING>, `u` STRUCT<Id, Name>.
pub(super) fn columns(spec: &str) -> SchemaRef {
    let text = DataType::Utf8;
    let fields = spec.split(", ").map(|column| {
        let (name, kind) = column.split_once(' ').unwrap();
        let data_type = match kind {
            "ts" => timestamp_type(),
            "s" => text.clone(),
            "n" => DataType::Int64,
            "x" => DataType::Float64,
            "l" => DataType::List(Arc::new(Field::new_list_field(text.clone(), true))),
            "m" => MapBuilder::new(None, StringBuilder::new(), StringBuilder::new())
                .finish()
                .data_type()
                .clone(),
            "u" => DataType::Struct(
                vec![
                    Field::new("Id", DataType::Int64, true),
                    Field::new("Name", text.clone(), true),
                ]
                .into(),
            ),
            other => panic!("type {other}"),
        };
        Field::new(name, data_type, true)
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// Rows of text: `1.5|a|3`, a line each. `-` is NULL, `;` separates elements.
pub(super) fn rows(schema: &SchemaRef, text: &str) -> RecordBatch {
    let lines: Vec<Vec<&str>> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(|line| line.split('|').collect())
        .collect();
    let arrays = schema.fields().iter().enumerate().map(|(index, field)| -> ArrayRef {
        let cells = || lines.iter().map(|line| Some(line[index]).filter(|cell| *cell != "-"));
        match field.data_type() {
            DataType::Timestamp(_, _) => {
                let at = |cell: &str| EPOCH + (cell.parse::<f64>().unwrap() * 1e6) as i64;
                let times: TimestampMicrosecondArray = cells().map(|cell| cell.map(at)).collect();
                Arc::new(times.with_timezone("UTC"))
            }
            DataType::Int64 => {
                Arc::new(cells().map(|c| c.map(|c| c.parse().unwrap())).collect::<Int64Array>())
            }
            DataType::Float64 => {
                Arc::new(cells().map(|c| c.map(|c| c.parse().unwrap())).collect::<Float64Array>())
            }
            DataType::List(_) => {
                let mut builder = ListBuilder::new(StringBuilder::new());
                for cell in cells() {
                    for item in cell.into_iter().flat_map(|cell| cell.split(';')) {
                        if !item.is_empty() {
                            builder.values().append_value(item);
                        }
                    }
                    builder.append(cell.is_some());
                }
                Arc::new(builder.finish())
            }
            DataType::Map(_, _) => {
                let mut builder = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
                for cell in cells() {
                    for item in cell.into_iter().flat_map(|cell| cell.split(';')) {
                        if let Some((key, value)) = item.split_once('=') {
                            builder.keys().append_value(key);
                            builder.values().append_value(value);
                        }
                    }
                    builder.append(cell.is_some()).unwrap();
                }
                Arc::new(builder.finish())
            }
            DataType::Struct(fields) => {
                let part = |at: usize| cells().map(move |c| c.and_then(|c| c.split(';').nth(at)));
                let ids: Int64Array = part(0).map(|c| c.map(|c| c.parse().unwrap())).collect();
                let names: StringArray = part(1).collect();
                Arc::new(
                    StructArray::try_new(
                        fields.clone(),
                        vec![Arc::new(ids), Arc::new(names)],
                        None,
                    )
                    .unwrap(),
                )
            }
            _ => Arc::new(cells().collect::<StringArray>()),
        }
    });
    RecordBatch::try_new(Arc::clone(schema), arrays.collect()).unwrap()
}

/// Rows as lines like those of [`rows`], times in seconds, windows as `0..10`.
pub(super) fn lines(batches: &[RecordBatch]) -> Vec<String> {
    let mut lines = vec![];
    for batch in batches {
        for row in 0..batch.num_rows() {
            let cells: Vec<String> =
                batch.columns().iter().map(|column| cell(column, row)).collect();
            lines.push(cells.join("|"));
        }
    }
    lines
}

fn cell(column: &ArrayRef, row: usize) -> String {
    if column.is_null(row) {
        return "-".to_owned();
    }
    match column.data_type() {
        DataType::Timestamp(_, _) => {
            let at = column.as_primitive::<TimestampMicrosecondType>().value(row);
            format!("{}", (at - EPOCH) as f64 / 1e6)
        }
        DataType::Struct(fields) if fields[0].name() == "start" => {
            let bounds = column.as_struct();
            format!("{}..{}", cell(bounds.column(0), row), cell(bounds.column(1), row))
        }
        _ => arrow::util::display::array_value_to_string(column, row).unwrap(),
    }
}

/// Sources, queries and tables.
pub(super) struct World {
    sources: Vec<SourceTable>,
    tables: Vec<Arc<StaticTable>>,
    plans: Vec<QueryPlan>,
    trial: Option<Trial>,
    finish: BTreeMap<usize, Finish>,
    pending: BTreeMap<usize, Vec<RecordBatch>>,
}

/// What a query is beside its name and SQL.
#[derive(Default, Clone)]
pub(super) struct Extra {
    pub(super) mode: OutputMode,
    pub(super) drop: Option<(&'static str, Within)>,
    pub(super) ttl: Option<i64>,
}

pub(super) fn mode(mode: OutputMode) -> Extra {
    Extra { mode, ..Extra::default() }
}

impl World {
    pub(super) fn new() -> Self {
        Self {
            sources: vec![],
            tables: vec![],
            plans: vec![],
            trial: None,
            finish: BTreeMap::new(),
            pending: BTreeMap::new(),
        }
    }

    /// With the sources that most tests read: all with a delay of 10 seconds on `ts`, but for
    /// `plain`, which has no watermark.
    pub(super) fn usual() -> Self {
        let world = Self::new()
            .source("clicks", "ts ts, user s, ad n", Some(10))
            .source("impressions", "ts ts, site s, ad n", Some(10))
            .source("words", "ts ts, value s, tags l, extra m, User u", Some(10))
            .source("plain", "ts ts, value s, n n", None)
            .table("users", "user s, country s, age n");
        world.tables[0]
            .replace(vec![rows(&world.tables[0].schema(), "ann|at|30\nbob|be|40\n-|xx|1")])
            .unwrap();
        world
    }

    pub(super) fn source(mut self, name: &str, spec: &str, delay: Option<i64>) -> Self {
        self.sources.push(SourceTable {
            name: name.to_owned(),
            schema: columns(spec),
            event_time: Some("ts".to_owned()),
            watermark_delay_us: delay.map(|delay| delay * SECOND),
        });
        self
    }

    pub(super) fn table(mut self, name: &str, spec: &str) -> Self {
        self.tables.push(Arc::new(StaticTable::new(name, columns(spec))));
        self
    }

    pub(super) fn replace(&self, name: &str, text: &str) {
        let table = self.tables.iter().find(|table| table.name() == name).unwrap();
        table.replace(vec![rows(&table.schema(), text)]).unwrap();
    }

    pub(super) fn try_plan(
        &self,
        name: &str,
        sql: &str,
        extra: &Extra,
    ) -> Result<QueryPlan, SqlError> {
        let queries: Vec<&QueryPlan> = self.plans.iter().collect();
        let catalog = Catalog { sources: &self.sources, queries: &queries, tables: &self.tables };
        let drop = extra.drop.map(|(names, within)| DropDuplicates {
            columns: names.split(", ").filter(|n| !n.is_empty()).map(str::to_owned).collect(),
            within,
        });
        let request = QueryRequest {
            name,
            sql,
            mode: extra.mode,
            drop_duplicates: drop,
            state_ttl_us: extra.ttl.map(|ttl| ttl * SECOND),
        };
        plan(&request, &catalog)
    }

    #[track_caller]
    pub(super) fn query(self, name: &str, sql: &str) -> Self {
        self.query_with(name, sql, Extra::default())
    }

    #[track_caller]
    pub(super) fn query_with(mut self, name: &str, sql: &str, extra: Extra) -> Self {
        match self.try_plan(name, sql, &extra) {
            Ok(plan) => self.plans.push(plan),
            Err(error) => panic!("{sql}\n{error}"),
        }
        self
    }

    #[track_caller]
    pub(super) fn refused(&self, sql: &str, extra: &Extra) -> SqlError {
        match self.try_plan("q", sql, extra) {
            Ok(_) => panic!("planned: {sql}"),
            Err(error) => error,
        }
    }

    pub(super) fn plan(&self, name: &str) -> &QueryPlan {
        self.plans.iter().find(|plan| plan.name == name).unwrap()
    }

    fn trial(&mut self) -> &mut Trial {
        let Self { sources, plans, finish, .. } = self;
        self.trial.get_or_insert_with(|| {
            for (index, plan) in plans.iter().enumerate() {
                if let Some(last) = &plan.finish {
                    finish.insert(index, last.bind(&plan.name, &plan.output_schema).unwrap());
                }
            }
            let names = sources.iter().map(|source| source.name.as_str().into()).collect();
            let graph = Graph::new(names, plans.iter().cloned().map(Arc::new).collect()).unwrap();
            let decoded: Vec<SchemaRef> = sources.iter().map(|s| Arc::clone(&s.schema)).collect();
            let timed: Vec<bool> =
                sources.iter().map(|source| source.watermark_delay_us.is_some()).collect();
            Trial::new(Arc::new(graph), &decoded, &timed).unwrap()
        })
    }

    fn index(&self, source: &str) -> usize {
        self.sources.iter().position(|known| known.name == source).unwrap()
    }

    /// Rows come in.
    pub(super) fn rows(&mut self, source: &str, text: &str) -> &mut Self {
        let index = self.index(source);
        let batch = rows(&Arc::clone(&self.sources[index].schema), text);
        self.trial().rows(index, &batch).unwrap();
        self
    }

    /// Every watermark moves to so many seconds.
    pub(super) fn watermark(&mut self, seconds: i64) -> &mut Self {
        for index in 0..self.sources.len() {
            if self.sources[index].watermark_delay_us.is_some() {
                self.trial().watermark(index, EPOCH + seconds * SECOND).unwrap();
            }
        }
        self
    }

    pub(super) fn end(&mut self) -> &mut Self {
        for index in 0..self.sources.len() {
            self.trial().watermark(index, i64::MAX).unwrap();
        }
        self
    }

    /// Triggers, and gives what has come out of a query, sorted by line unless the query sorts.
    #[track_caller]
    pub(super) fn out(&mut self, query: &str) -> Vec<String> {
        self.trial().trigger().unwrap();
        for output in self.trial().take_output() {
            self.pending.entry(output.query).or_default().push(output.rows);
        }
        let index = self.plans.iter().position(|plan| plan.name == query).unwrap();
        let batches = self.pending.remove(&index).unwrap_or_default();
        let batches = match self.finish.get(&index) {
            Some(finish) => finish.apply(&batches).unwrap(),
            None => batches,
        };
        for batch in &batches {
            assert_eq!(batch.schema(), self.plans[index].output_schema, "{query}");
        }
        let mut lines = lines(&batches);
        if !self.finish.contains_key(&index) {
            lines.sort();
        }
        lines
    }
}
