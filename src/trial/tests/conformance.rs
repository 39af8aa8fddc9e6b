//! The cases that Spark's answers were recorded for: tests/conformance/README.md tells what is in
//! them.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use arrow::datatypes::{DataType, SchemaRef};
use serde::Deserialize;
use serde_json::Value;

use crate::codec::parse_schema;
use crate::event_time::{WatermarkOptions, parse_duration};
use crate::graph::Graph;
use crate::sql::{
    Catalog, DropDuplicates, OutputMode, QueryPlan, QueryRequest, SourceTable, StaticTable, Within,
    plan,
};
use crate::trial::{
    Arrival, Comparison, Outcome, Pipeline, Row, Side, TrialSource, TrialWatermark, rows_of,
};

#[derive(Deserialize)]
struct Case {
    name: String,
    differs: Option<String>,
    sources: Vec<SourceCase>,
    #[serde(default)]
    tables: Vec<TableCase>,
    #[serde(default)]
    views: Vec<View>,
    sql: Text,
    drop_duplicates: Option<Drop>,
    state_ttl: Option<String>,
    mode: String,
    #[serde(default)]
    ordered: bool,
    output_schema: Option<String>,
    batches: Vec<Batch>,
    error: Option<Value>,
    millpond: Option<Instead>,
}

#[derive(Deserialize)]
struct SourceCase {
    name: String,
    schema: String,
    watermark: Option<WatermarkCase>,
}

#[derive(Deserialize)]
struct WatermarkCase {
    column: String,
    delay: String,
}

#[derive(Deserialize)]
struct TableCase {
    name: String,
    schema: String,
    rows: Vec<Row>,
}

#[derive(Deserialize)]
struct View {
    name: String,
    sql: Text,
    drop_duplicates: Option<Drop>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Text {
    Line(String),
    Lines(Vec<String>),
}

#[derive(Deserialize)]
struct Drop {
    columns: Vec<String>,
    #[serde(default)]
    within: bool,
}

#[derive(Deserialize)]
struct Batch {
    inputs: std::collections::BTreeMap<String, Vec<Row>>,
    output: Option<Vec<Row>>,
    late: Option<u64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Instead {
    Refused {
        #[serde(rename = "refused")]
        _why: String,
    },
    Batches(Vec<InsteadOfBatch>),
}

#[derive(Deserialize)]
struct InsteadOfBatch {
    output: Option<Vec<Row>>,
    late: Option<u64>,
}

/// How state is treated between batches.
#[derive(Clone, Copy)]
struct Treatment {
    name: &'static str,
    shards: usize,
    /// After every so many batches everything is thrown away and restored; 0: never.
    restart: usize,
    /// How many shards there are after a restart, if others than before.
    other: usize,
}

const TREATMENTS: [Treatment; 4] = [
    Treatment { name: "run through", shards: 1, restart: 0, other: 1 },
    Treatment { name: "restored after each batch", shards: 1, restart: 1, other: 1 },
    Treatment { name: "2 shards, restored after each batch", shards: 2, restart: 1, other: 2 },
    // Snapshots that build on one another, and keys that change hands.
    Treatment { name: "3 shards, and 2 after every other batch", shards: 3, restart: 2, other: 2 },
];

impl Text {
    fn text(&self) -> String {
        match self {
            Self::Line(line) => line.clone(),
            Self::Lines(lines) => lines.join("\n"),
        }
    }
}

impl Case {
    fn sources(&self) -> Vec<SourceTable> {
        let source = |source: &SourceCase| SourceTable {
            name: source.name.clone(),
            schema: parse_schema(&source.schema).unwrap(),
            event_time: source.watermark.as_ref().map(|watermark| watermark.column.clone()),
            watermark_delay_us: source
                .watermark
                .as_ref()
                .map(|watermark| parse_duration(&watermark.delay).unwrap()),
        };
        self.sources.iter().map(source).collect()
    }

    fn drop(&self, drop: &Option<Drop>) -> Option<DropDuplicates> {
        let drop = drop.as_ref()?;
        // Spark keeps the keys for ever, unless event time is among them.
        let ttl = self.state_ttl.as_ref().map(|ttl| parse_duration(ttl).unwrap());
        let within = match (drop.within, ttl) {
            (false, Some(us)) => Within::Wall(us),
            _ => Within::Watermark,
        };
        Some(DropDuplicates { columns: drop.columns.clone(), within })
    }

    /// The views' plans and the query's.
    fn plan(&self) -> Result<Vec<Arc<QueryPlan>>, String> {
        let sources = self.sources();
        let tables: Vec<_> = self
            .tables
            .iter()
            .map(|table| {
                let schema = parse_schema(&table.schema).unwrap();
                let rows = rows_of(&table.rows, &schema).unwrap();
                let ready = StaticTable::new(&table.name, schema);
                ready.replace(vec![rows]).unwrap();
                Arc::new(ready)
            })
            .collect();
        let mut plans: Vec<Arc<QueryPlan>> = vec![];
        let mut add = |name: &str, sql: &Text, mode, drop: &Option<Drop>| {
            let queries: Vec<&QueryPlan> = plans.iter().map(|plan| &**plan).collect();
            let catalog = Catalog { sources: &sources, queries: &queries, tables: &tables };
            let request = QueryRequest {
                name,
                sql: &sql.text(),
                mode,
                drop_duplicates: self.drop(drop),
                state_ttl_us: self.state_ttl.as_ref().map(|ttl| parse_duration(ttl).unwrap()),
            };
            let planned = plan(&request, &catalog).map_err(|error| error.to_string())?;
            plans.push(Arc::new(planned));
            Ok::<_, String>(())
        };
        for view in &self.views {
            add(&view.name, &view.sql, OutputMode::Append, &view.drop_duplicates)?;
        }
        let mode = match self.mode.as_str() {
            "append" => OutputMode::Append,
            "update" => OutputMode::Update,
            "complete" => OutputMode::Complete,
            other => panic!("{}: mode {other}", self.name),
        };
        add("q", &self.sql, mode, &self.drop_duplicates)?;
        Ok(plans)
    }

    fn pipeline(&self, plans: &[Arc<QueryPlan>], shards: usize) -> Pipeline {
        let names = self.sources.iter().map(|source| source.name.as_str().into()).collect();
        let graph = Arc::new(Graph::new(names, plans.to_vec()).unwrap());
        let sources = self.sources().into_iter().enumerate().map(|(index, table)| {
            let mut projection = graph.reads(index);
            projection.extend(table.event_time.iter().map(|c| table.schema.index_of(c).unwrap()));
            let watermark = table.event_time.zip(table.watermark_delay_us);
            TrialSource {
                projection: projection.into_iter().collect(),
                schema: table.schema,
                decoder: None,
                record_bytes: usize::MAX,
                header: false,
                watermark: watermark.map(|(column, delay_us)| TrialWatermark {
                    column,
                    options: WatermarkOptions {
                        delay_us,
                        idle_timeout_ms: None,
                        advance_when_idle: false,
                    },
                }),
            }
        });
        let sources = sources.collect();
        Pipeline::new(graph, sources, shards).unwrap()
    }

    /// What is wrong.
    fn check(&self) -> Result<(), String> {
        let refused = match &self.millpond {
            Some(Instead::Refused { .. }) => true,
            Some(Instead::Batches(_)) => false,
            None => self.error.is_some(),
        };
        let plans = match (self.plan(), refused) {
            (Err(_), true) => return Ok(()),
            (Ok(_), true) => return Err("is refused by Spark, and was planned".to_owned()),
            (Err(error), false) => return Err(format!("is refused: {error}")),
            (Ok(plans), false) => plans,
        };
        let schema = plans[plans.len() - 1].output_schema.clone();
        // Other types may be what differs on purpose.
        if let Some(text) = self.output_schema.as_ref().filter(|_| self.differs.is_none()) {
            let recorded = parse_schema(text).unwrap();
            if types(&recorded) != types(&schema) {
                return Err(format!(
                    "has other columns\n  - {}\n  + {}",
                    types(&recorded),
                    types(&schema)
                ));
            }
        }
        TREATMENTS.iter().try_for_each(|treatment| {
            self.run(&plans, &schema, *treatment)
                .map_err(|problem| format!("({}) {problem}", treatment.name))
        })
    }

    fn run(
        &self,
        plans: &[Arc<QueryPlan>],
        schema: &SchemaRef,
        treatment: Treatment,
    ) -> Result<(), String> {
        let mut pipeline = self.pipeline(plans, treatment.shards);
        for (number, batch) in self.batches.iter().enumerate() {
            let arrivals: Vec<_> = self
                .sources
                .iter()
                .enumerate()
                .filter_map(|(index, source)| Some((index, batch.inputs.get(&source.name)?)))
                .map(|(index, rows)| (index, Arrival::Rows(rows)))
                .collect();
            let instead = match &self.millpond {
                Some(Instead::Batches(batches)) => batches.get(number),
                _ => None,
            };
            // Ten seconds a batch, so that nothing is kept too short by the wall clock.
            let at = number as i64 * 10_000_000;
            let outcome = pipeline
                .batch(at, &arrivals)
                .map_err(|error| format!("batch {}: {error}", number + 1))?;
            let output = instead
                .and_then(|instead| instead.output.as_ref())
                .or(batch.output.as_ref())
                .ok_or("nothing was recorded")?;
            let late = instead.and_then(|instead| instead.late).or(batch.late);
            self.compare(&outcome, schema, output, late)
                .map_err(|problem| format!("batch {}: {problem}", number + 1))?;
            if treatment.restart > 0 {
                pipeline.snapshot().map_err(|error| error.to_string())?;
                if (number + 1).is_multiple_of(treatment.restart) {
                    let now = pipeline.shards();
                    let shards =
                        if now == treatment.shards { treatment.other } else { treatment.shards };
                    pipeline.restart(shards).map_err(|error| error.to_string())?;
                }
            }
        }
        Ok(())
    }

    fn compare(
        &self,
        outcome: &Outcome,
        schema: &SchemaRef,
        output: &[Row],
        late: Option<u64>,
    ) -> Result<(), String> {
        let query = outcome.output.len() - 1;
        let expected = rows_of(output, schema).map_err(|error| format!("recorded {error}"))?;
        let compared = Comparison::new(&expected, &outcome.output[query], self.ordered)
            .map_err(|error| error.to_string())?;
        if !compared.is_equal() {
            return Err(format!("{}\n{}", compared.columns.join(" | "), shown(&compared)));
        }
        match late {
            Some(late) if late != outcome.dropped[query].late => {
                Err(format!("{} late rows, expected {late}", outcome.dropped[query].late))
            }
            _ => Ok(()),
        }
    }
}

fn shown(compared: &Comparison) -> String {
    let mut text = String::new();
    for row in &compared.rows {
        let mark = match row.side {
            Side::Both => ' ',
            Side::Expected => '-',
            Side::Got => '+',
        };
        writeln!(text, "  {mark} {}", row.cells.join(" | ")).unwrap();
    }
    text
}

/// Names and types, whatever can be NULL.
fn types(schema: &SchemaRef) -> String {
    fn of(data_type: &DataType) -> String {
        match data_type {
            DataType::Struct(fields) => {
                let fields: Vec<_> =
                    fields.iter().map(|f| format!("{}: {}", f.name(), of(f.data_type()))).collect();
                format!("struct<{}>", fields.join(", "))
            }
            DataType::List(item) => format!("array<{}>", of(item.data_type())),
            DataType::Map(entries, _) => match entries.data_type() {
                DataType::Struct(fields) => {
                    format!("map<{}, {}>", of(fields[0].data_type()), of(fields[1].data_type()))
                }
                other => other.to_string(),
            },
            other => other.to_string(),
        }
    }
    let fields = schema.fields().iter().map(|f| format!("{} {}", f.name(), of(f.data_type())));
    fields.collect::<Vec<_>>().join(", ")
}

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/cases");
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    paths
}

/// Every case, with the state run through, through bytes after each batch, and on several shards.
#[test]
fn millpond_gives_what_spark_gave() {
    let paths = cases();
    assert!(paths.len() >= 40, "{} cases", paths.len());
    let waiting = Mutex::new(paths.iter());
    let results = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let next = waiting.lock().unwrap().next();
                    let Some(path) = next else { break };
                    let text = std::fs::read_to_string(path).unwrap();
                    let case: Case = serde_json::from_str(&text)
                        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                    let caught =
                        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| case.check()));
                    let result = caught.unwrap_or_else(|_| Err("panics".to_owned()));
                    results.lock().unwrap().push((case, result));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap();
    results.sort_by(|(left, _), (right, _)| left.name.cmp(&right.name));
    let (mut differing, mut failed) = (String::new(), String::new());
    let mut failures = 0;
    for (case, result) in &results {
        if let Some(reason) = &case.differs {
            writeln!(differing, "  {}: {reason}", case.name).unwrap();
        } else {
            assert!(case.millpond.is_none(), "{}: differs without a reason", case.name);
        }
        if let Err(problem) = result {
            failures += 1;
            writeln!(failed, "{} {problem}\n", case.name).unwrap();
        }
    }
    let deliberate = differing.lines().count();
    println!(
        "{} cases, {} as in Spark, {deliberate} different on purpose:\n{differing}",
        results.len(),
        results.len() - deliberate - failures,
    );
    assert!(failures == 0, "{failures} of {} cases fail:\n\n{failed}", results.len());
}
