//! From settings to what has to be built: schemas parsed, queries planned, tables described.
//!
//! Nothing here touches a broker or a disk, so `millpond validate` is this and no more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef, TimeUnit};

use crate::anomaly::{DetectorSpec, SeriesColumns, SeriesReader, SpecError, anomaly_schema};
use crate::codec::dead_letter::dead_letter_schema;
use crate::codec::{JsonOptions, TimestampFormat, UnknownFields, parse_schema};
use crate::config::{
    self, ConfigError, ConfigErrors, DeltaSinkSettings, DetectorSettings, QuerySettings, Settings,
    SinkSettings, SourceKind, SourceSettings, TimestampSetting,
};
use crate::graph::Graph;
use crate::lake::{Compression, TableSpec};
use crate::source::kafka::{KafkaOptions, Start};
use crate::sql::{Catalog, QueryPlan, QueryRequest, SourceTable, SqlError, plan};

use super::partition_reader::BatchLimits;

/// The sink name of the table of dead letters. Query names hold no dash, so nothing else has it.
pub const DEAD_LETTERS: &str = "dead-letters";
/// The sink name of the first table of anomalies; further ones are numbered.
pub const ANOMALIES: &str = "anomaly-events";

/// A pipeline, planned.
#[derive(Debug)]
pub struct Blueprint {
    /// What it was made from.
    pub settings: Settings,
    /// In the order of the configuration.
    pub sources: Vec<SourceBlueprint>,
    /// In the order of the configuration.
    pub queries: Vec<QueryBlueprint>,
    /// In the order of the configuration.
    pub detectors: Vec<DetectorBlueprint>,
    /// Every Delta table that is written.
    pub tables: Vec<TableBlueprint>,
    /// The queries' plans, joined.
    pub graph: Graph,
}

/// A source, ready to be read.
#[derive(Debug)]
pub struct SourceBlueprint {
    /// Its name.
    pub name: Arc<str>,
    /// The declared columns.
    pub schema: SchemaRef,
    /// The columns that are decoded: what some query reads, and the event time.
    pub projection: Vec<usize>,
    /// How its records are read.
    pub json: JsonOptions,
    /// The event time's name, and the watermark's delay in microseconds.
    pub watermark: Option<WatermarkBlueprint>,
    /// Group, topics and client options.
    pub kafka: KafkaOptions,
    /// How much a reader takes at once.
    pub limits: BatchLimits,
}

/// How a source's event time advances.
#[derive(Debug, Clone)]
pub struct WatermarkBlueprint {
    /// The event time's column.
    pub column: String,
    /// How long late rows are waited for, in microseconds.
    pub delay_us: i64,
    /// A partition that brings nothing for this long is left out, in milliseconds.
    pub idle_timeout_ms: Option<u64>,
    /// Whether the wall clock moves the watermark while all partitions are idle.
    pub wall_clock: bool,
}

/// A query and where its rows go.
#[derive(Debug)]
pub struct QueryBlueprint {
    /// Its name.
    pub name: Arc<str>,
    /// Its plan.
    pub plan: Arc<QueryPlan>,
    /// Indexes of its tables.
    pub tables: Vec<usize>,
}

/// A detector rule.
#[derive(Debug)]
pub struct DetectorBlueprint {
    /// Its name.
    pub name: Arc<str>,
    /// The rule.
    pub spec: DetectorSpec,
    /// The columns that it reads.
    pub columns: SeriesColumns,
    /// The length of its query's windows, in microseconds.
    pub window_us: i64,
    /// Index of its query.
    pub query: usize,
    /// Index of the table that its anomalies go to.
    pub table: usize,
}

/// A table to be written.
#[derive(Debug, Clone)]
pub struct TableBlueprint {
    /// What metrics and the API call it.
    pub sink: Arc<str>,
    /// What it should be like.
    pub spec: TableSpec,
    /// Begins the application identifiers of its transactions.
    pub application: String,
    /// What its rows are.
    pub feeds_from: Feeds,
    /// The sources that feed it, whose positions its commits carry.
    pub sources: Vec<Arc<str>>,
    /// Whether some of what feeds it has state: open windows, or baselines.
    pub stateful: bool,
}

/// What the rows of a table are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feeds {
    /// The output of a query, by its index.
    Query(usize),
    /// The anomalies that detectors find.
    Detectors,
    /// Records that could not be read.
    DeadLetters,
}

impl Blueprint {
    /// Plans a pipeline. All errors are found at once, each at its place in the configuration.
    pub fn new(settings: Settings) -> Result<Self, ConfigErrors> {
        let mut errors = Vec::new();
        let mut sources: Vec<SourceBlueprint> = Vec::new();
        for source in &settings.sources {
            match plan_source(&settings, source) {
                Ok(planned) => sources.push(planned),
                Err(error) => errors.push(error),
            }
        }
        if !errors.is_empty() {
            return Err(errors.into());
        }
        let source_tables: Vec<SourceTable> = sources.iter().map(source_table).collect();
        let mut plans = Vec::new();
        for query in &settings.queries {
            match plan_query(&settings, query, &source_tables) {
                Ok(planned) => plans.push(planned),
                Err(error) => errors.push(error),
            }
        }
        if !errors.is_empty() {
            return Err(errors.into());
        }
        let names = sources.iter().map(|source| source.name.clone()).collect();
        let graph = Graph::new(names, plans.clone())
            .map_err(|error| settings.error_at(&["queries"], error.to_string(), None))?;
        let mut tables = Vec::new();
        let mut queries = Vec::new();
        for (index, (query, plan)) in settings.queries.iter().zip(plans).enumerate() {
            let first = tables.len();
            tables.extend(query_table(&settings, query, index, &graph));
            let name = query.name.as_str().into();
            queries.push(QueryBlueprint { name, plan, tables: (first..tables.len()).collect() });
        }
        for (index, source) in sources.iter_mut().enumerate() {
            let mut columns = graph.reads(index);
            if let Some(watermark) = &source.watermark {
                columns.extend(source.schema.index_of(&watermark.column).ok());
            }
            source.projection = columns.into_iter().collect();
        }
        let mut detectors = Vec::new();
        for detector in &settings.detectors {
            match plan_detector(&settings, detector, &graph, &mut tables) {
                Ok(planned) => detectors.push(planned),
                Err(error) => errors.push(error),
            }
        }
        if !errors.is_empty() {
            return Err(errors.into());
        }
        if settings.dead_letters.enabled {
            tables.push(dead_letter_table(&settings, &sources));
        }
        Ok(Self { settings, sources, queries, detectors, tables, graph })
    }

    /// The table of dead letters, if there is one.
    pub fn dead_letters(&self) -> Option<usize> {
        self.tables.iter().position(|table| &*table.sink == DEAD_LETTERS)
    }

    /// Each operator's fingerprint, by name.
    pub fn fingerprints(&self) -> BTreeMap<String, String> {
        self.graph
            .operators()
            .iter()
            .map(|operator| (operator.plan.id.clone(), operator.plan.fingerprint.clone()))
            .collect()
    }
}

fn plan_source(
    settings: &Settings,
    source: &SourceSettings,
) -> Result<SourceBlueprint, ConfigError> {
    let schema = parse_schema(&source.schema_text).map_err(|error| {
        settings.error_at_schema(source, error.offset, error.message.clone(), None)
    })?;
    let watermark = source
        .watermark
        .as_ref()
        .map(|watermark| {
            let path = ["sources", &source.name, "watermark", "column"];
            let column = find_column(&schema, &watermark.column).map_err(|help| {
                let message = format!("the schema has no column '{}'", watermark.column);
                settings.error_at(&path, message, help)
            })?;
            let field = schema.field(column);
            if !matches!(field.data_type(), DataType::Timestamp(TimeUnit::Microsecond, _)) {
                return Err(settings.error_at(
                    &path,
                    format!("event time must be a TIMESTAMP, and '{}' is not", field.name()),
                    None,
                ));
            }
            Ok(WatermarkBlueprint {
                column: field.name().clone(),
                delay_us: micros(watermark.delay),
                idle_timeout_ms: watermark.idle_timeout.map(|timeout| timeout.as_millis() as u64),
                wall_clock: watermark.wall_clock,
            })
        })
        .transpose()?;
    let format = &source.format;
    let mut timestamps_by_column = std::collections::HashMap::new();
    for (column, setting) in &format.columns {
        // A nested timestamp is named by its path; only the outermost name can be looked up here.
        let outermost = column.split('.').next().unwrap_or(column);
        find_column(&schema, outermost).map_err(|help| {
            settings.error_at_key(
                &["sources", &source.name, "format", "columns", column],
                format!("the schema has no column '{column}'"),
                help,
            )
        })?;
        timestamps_by_column.insert(column.clone(), timestamp_format(*setting));
    }
    let SourceKind::Kafka(kafka) = &source.kind;
    Ok(SourceBlueprint {
        name: source.name.as_str().into(),
        schema,
        projection: Vec::new(),
        json: JsonOptions {
            timestamps: timestamp_format(format.timestamps),
            timestamps_by_column,
            zone: format.timezone,
            unknown_fields: match format.unknown_fields {
                config::UnknownFields::Ignore => UnknownFields::Ignore,
                config::UnknownFields::Reject => UnknownFields::Reject,
            },
            max_record_bytes: source.max_record_bytes,
            ..JsonOptions::default()
        },
        watermark,
        kafka: KafkaOptions {
            brokers: kafka.brokers.clone(),
            topics: kafka.topics.clone(),
            group_id: kafka.group_id.clone(),
            start: match kafka.start {
                config::StartPosition::Earliest => Start::Earliest,
                config::StartPosition::Latest => Start::Latest,
            },
            options: kafka
                .options
                .iter()
                .map(|(key, value)| (key.clone(), value.expose().to_owned()))
                .collect(),
            batch: source.batch.max_rows,
            drain_timeout: settings.checkpoint.drain_timeout,
        },
        limits: BatchLimits {
            rows: source.batch.max_rows,
            bytes: source.batch.max_bytes,
            linger: source.batch.linger,
            record_bytes: source.max_record_bytes,
        },
    })
}

fn source_table(source: &SourceBlueprint) -> SourceTable {
    SourceTable {
        name: source.name.to_string(),
        schema: source.schema.clone(),
        event_time: source.watermark.as_ref().map(|watermark| watermark.column.clone()),
        watermark_delay_us: source.watermark.as_ref().map(|watermark| watermark.delay_us),
    }
}

fn plan_query(
    settings: &Settings,
    query: &QuerySettings,
    sources: &[SourceTable],
) -> Result<Arc<QueryPlan>, ConfigError> {
    let request =
        QueryRequest { name: &query.name, sql: &query.sql, ..QueryRequest::default() };
    let catalog = Catalog { sources, ..Catalog::default() };
    let planned = plan(&request, &catalog)
        .map_err(|error| sql_error(settings, query, &error))?;
    let Some(SinkSettings::Delta(sink)) = query.sinks.first() else {
        return Err(settings.error_at(&["queries", &query.name], "the query has no sink", None));
    };
    for column in &sink.partition_by {
        find_column(&planned.output_schema, column).map_err(|help| {
            let message = format!("the query's output has no column '{column}'");
            settings.error_at_sink(query, "partition_by", message, help)
        })?;
    }
    Ok(Arc::new(planned))
}

fn query_table(
    settings: &Settings,
    query: &QuerySettings,
    index: usize,
    graph: &Graph,
) -> Option<TableBlueprint> {
    let Some(SinkSettings::Delta(sink)) = query.sinks.first() else { return None };
    let plan = &graph.queries()[index];
    Some(TableBlueprint {
        sink: query.name.as_str().into(),
        spec: table_spec(sink, plan.output_schema.clone()),
        application: format!("millpond/{}/{}", settings.name, query.name),
        feeds_from: Feeds::Query(index),
        sources: source_names(graph, graph.sources_of_output(index)),
        stateful: plan.is_stateful(),
    })
}

fn source_names(graph: &Graph, sources: BTreeSet<usize>) -> Vec<Arc<str>> {
    sources.into_iter().map(|source| graph.sources()[source].clone()).collect()
}

fn plan_detector(
    settings: &Settings,
    detector: &DetectorSettings,
    graph: &Graph,
    tables: &mut Vec<TableBlueprint>,
) -> Result<DetectorBlueprint, ConfigError> {
    let at = |key: Option<&str>, message: String, help| {
        settings.error_at_detector(detector, key, message, help)
    };
    let Some(query) = graph.queries().iter().position(|query| query.name == detector.query) else {
        return Err(at(Some("query"), format!("there is no query '{}'", detector.query), None));
    };
    let planned = &graph.queries()[query];
    let Some(window_us) = planned.window_us() else {
        return Err(at(
            Some("query"),
            format!("a detector watches windows, and the query '{}' has none", detector.query),
            Some("group the query by window(...)".into()),
        ));
    };
    let spec = DetectorSpec::from_parameters(&detector.kind, &detector.parameters)
        .map_err(|error| spec_error(settings, detector, &error))?;
    if spec.needs_weight() && detector.weight.is_none() {
        return Err(at(
            None,
            format!("a detector of kind '{}' needs a weight", detector.kind),
            Some("set `weight` to the column that counts the events behind the value".into()),
        ));
    }
    let columns = SeriesColumns {
        keys: detector.key.clone(),
        value: detector.value.clone(),
        weight: detector.weight.clone(),
        window_start: detector.window.clone(),
    };
    SeriesReader::new(planned.output_schema.clone(), &columns)
        .map_err(|error| spec_error(settings, detector, &error))?;
    let sources = source_names(graph, graph.sources_of_output(query));
    let spec_of_table = table_spec(&detector.sink, anomaly_schema());
    let table = match tables
        .iter()
        .position(|table| table.sink.starts_with(ANOMALIES) && table.spec.uri == spec_of_table.uri)
    {
        Some(table) => {
            for source in sources {
                if !tables[table].sources.contains(&source) {
                    tables[table].sources.push(source);
                }
            }
            table
        }
        None => {
            let others = tables.iter().filter(|t| t.sink.starts_with(ANOMALIES)).count();
            let sink = match others {
                0 => ANOMALIES.to_owned(),
                _ => format!("{ANOMALIES}-{}", others + 1),
            };
            tables.push(TableBlueprint {
                application: format!("millpond/{}/{sink}", settings.name),
                sink: sink.into(),
                spec: spec_of_table,
                feeds_from: Feeds::Detectors,
                sources,
                stateful: true,
            });
            tables.len() - 1
        }
    };
    Ok(DetectorBlueprint {
        name: detector.name.as_str().into(),
        spec,
        columns,
        window_us,
        query,
        table,
    })
}

fn dead_letter_table(settings: &Settings, sources: &[SourceBlueprint]) -> TableBlueprint {
    TableBlueprint {
        sink: DEAD_LETTERS.into(),
        spec: TableSpec::new(settings.dead_letters.path.clone(), dead_letter_schema()),
        application: format!("millpond/{}/{DEAD_LETTERS}", settings.name),
        feeds_from: Feeds::DeadLetters,
        sources: sources.iter().map(|source| source.name.clone()).collect(),
        stateful: false,
    }
}

fn table_spec(sink: &DeltaSinkSettings, schema: SchemaRef) -> TableSpec {
    TableSpec {
        partition_by: sink.partition_by.clone(),
        compression: match sink.compression {
            config::Compression::None => Compression::None,
            config::Compression::Snappy => Compression::Snappy,
            config::Compression::Lz4 => Compression::Lz4,
            config::Compression::Zstd(level) => Compression::Zstd(level),
        },
        target_file_bytes: sink.target_file_size,
        evolve: sink.evolve,
        properties: sink.properties.clone(),
        checkpoint_interval: sink.checkpoint_interval,
        ..TableSpec::new(sink.path.clone(), schema)
    }
}

/// The column of this name; an error is the nearest name, as help.
fn find_column(schema: &SchemaRef, name: &str) -> Result<usize, Option<String>> {
    if let Ok(index) = schema.index_of(name) {
        return Ok(index);
    }
    let nearest = schema
        .fields()
        .iter()
        .map(|field| (strsim::damerau_levenshtein(field.name(), name), field.name()))
        .min()
        .filter(|(distance, _)| *distance <= name.len().div_ceil(2));
    Err(nearest.map(|(_, nearest)| format!("there is '{nearest}'")))
}

fn sql_error(settings: &Settings, query: &QuerySettings, error: &SqlError) -> ConfigError {
    let (line, column) = error.location.unwrap_or((1, 1));
    settings.error_at_sql(query, line, column, error.message.clone(), error.hint.clone())
}

fn spec_error(settings: &Settings, detector: &DetectorSettings, error: &SpecError) -> ConfigError {
    settings.error_at_detector(detector, Some(error.key()), error.to_string(), None)
}

fn timestamp_format(setting: TimestampSetting) -> TimestampFormat {
    match setting {
        TimestampSetting::Auto => TimestampFormat::Auto,
        TimestampSetting::EpochSeconds => TimestampFormat::EpochSeconds,
        TimestampSetting::EpochMillis => TimestampFormat::EpochMillis,
        TimestampSetting::EpochMicros => TimestampFormat::EpochMicros,
    }
}

fn micros(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
