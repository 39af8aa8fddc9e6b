//! What is written to: append-only Delta tables, and everything that is staged.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use crate::codec::dead_letter::dead_letter_schema;
use crate::config::{
    self, ConfigError, ConsoleSinkSettings, DeltaSinkSettings, FilesFormat, FilesSinkSettings,
    KafkaSinkSettings, PostgresMode, PostgresSinkSettings, QuerySettings, Settings, SinkSettings,
    TextCompression, TypeChange,
};
use crate::graph::Graph;
use crate::lake::{Compression, TableSpec};
use crate::sink::TargetSpec;
use crate::sink::console::{ConsoleOptions, ConsoleOutput, Show};
use crate::sink::delta_table::DeltaTableOptions;
use crate::sink::files::{FileCompression, FileFormat, FilesOptions};
use crate::sink::kafka::{KafkaHeaders, KafkaOptions, KafkaValue};
use crate::sink::memory::{MemoryOptions, MemoryTable};
use crate::sink::postgres::{PostgresOptions, PostgresWrite};
use crate::sql::{FinishPlan, OutputMode, QueryPlan};

use super::alerts;
use super::format::registry_client;
use super::source::SourceBlueprint;
use super::{DEAD_LETTERS, find_column, source_names};

/// Something that is written to.
#[derive(Debug, Clone)]
pub struct SinkBlueprint {
    /// What metrics and the API call it.
    pub sink: Arc<str>,
    /// Where rows go.
    pub target: SinkTarget,
    /// Begins the application identifiers of its transactions.
    pub application: String,
    /// What its rows are.
    pub feeds_from: Feeds,
    /// The sources that feed it, whose positions its commits carry.
    pub sources: Vec<Arc<str>>,
    /// Whether some of what feeds it has state: open windows, or baselines.
    pub stateful: bool,
    /// Of a Delta table that has other types: whether rows that do not fit go to the dead letters.
    pub misfits_to_dead_letters: bool,
}

/// Where the rows of a sink go.
#[derive(Debug, Clone)]
pub enum SinkTarget {
    /// Appended to a Delta table, in one commit with the positions they were read at.
    Table(TableSpec),
    /// Staged beside the ledger, and handed over once the epoch is durable.
    Staged(Box<StagedTarget>),
}

/// A sink whose rows are staged.
#[derive(Debug, Clone)]
pub struct StagedTarget {
    /// Which target, with its options.
    pub spec: TargetSpec,
    /// The query's columns.
    pub schema: SchemaRef,
    /// The query's output mode.
    pub mode: OutputMode,
    /// The columns by which a row replaces another.
    pub keys: Vec<String>,
    /// ORDER BY and LIMIT over all rows of a trigger.
    pub finish: Option<FinishPlan>,
}

/// What the rows of a sink are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feeds {
    /// The output of a query, by its index.
    Query(usize),
    /// The anomalies that detectors find.
    Detectors,
    /// Records that could not be read.
    DeadLetters,
}

impl SinkBlueprint {
    /// `delta`, `kafka`, `console` ...
    pub fn kind(&self) -> &'static str {
        match &self.target {
            SinkTarget::Table(_) => "delta",
            SinkTarget::Staged(staged) => staged.spec.kind(),
        }
    }

    /// The table whose types rows are to be brought into, if that is wanted.
    pub fn fitted_table(&self) -> Option<&TableSpec> {
        if !self.misfits_to_dead_letters {
            return None;
        }
        match &self.target {
            SinkTarget::Table(spec) => Some(spec),
            SinkTarget::Staged(staged) => match &staged.spec {
                TargetSpec::DeltaTable(options) => Some(&options.table),
                _ => None,
            },
        }
    }

    /// The same sink for rows of other types.
    #[must_use]
    pub fn with_schema(&self, schema: SchemaRef) -> Self {
        let target = match &self.target {
            SinkTarget::Table(spec) => SinkTarget::Table(TableSpec { schema, ..spec.clone() }),
            SinkTarget::Staged(staged) => {
                SinkTarget::Staged(Box::new(StagedTarget { schema, ..(**staged).clone() }))
            }
        };
        Self { target, ..self.clone() }
    }

    /// Where rows go, in words, without secrets.
    pub fn address(&self) -> String {
        match &self.target {
            SinkTarget::Table(spec) => spec.uri.clone(),
            SinkTarget::Staged(staged) => staged.spec.address(),
        }
    }
}

/// The sinks of a query.
pub(super) fn query_sinks(
    settings: &Settings,
    query: &QuerySettings,
    index: usize,
    graph: &Graph,
) -> Result<Vec<SinkBlueprint>, Vec<ConfigError>> {
    let plan = &graph.queries()[index];
    let mut sinks = Vec::new();
    let mut errors = Vec::new();
    for (place, sink) in query.sinks.iter().enumerate() {
        let target = match &sink.settings {
            SinkSettings::Delta(delta) => {
                for column in &delta.partition_by {
                    if let Err(help) = find_column(&plan.output_schema, column) {
                        let message = format!("the query's output has no column '{column}'");
                        errors.push(settings.error_at_sink(
                            query,
                            place,
                            "partition_by",
                            message,
                            help,
                        ));
                    }
                }
                let zorder_by = delta.upkeep.as_ref().and_then(|upkeep| upkeep.zorder_by.as_ref());
                for column in zorder_by.into_iter().flatten() {
                    let wrong = match find_column(&plan.output_schema, column) {
                        Err(help) => {
                            Some((format!("the query's output has no column '{column}'"), help))
                        }
                        Ok(_) if delta.partition_by.contains(column) => {
                            let message = format!("the table is partitioned by '{column}'");
                            let help = "every file has one value of it already: leave it out";
                            Some((message, Some(help.to_owned())))
                        }
                        Ok(_) => None,
                    };
                    if let Some((message, help)) = wrong {
                        errors.push(settings.error_at_sink(query, place, "upkeep", message, help));
                    }
                }
                let table = table_spec(delta, plan.output_schema.clone());
                match plan.mode {
                    OutputMode::Update if plan.is_aggregated() => {
                        match update_keys(settings, query, place, &delta.key, plan) {
                            Ok(keys) => staged(delta_table(table), plan, keys),
                            Err(error) => {
                                errors.push(error);
                                continue;
                            }
                        }
                    }
                    OutputMode::Complete => staged(delta_table(table), plan, Vec::new()),
                    OutputMode::Append | OutputMode::Update => SinkTarget::Table(table),
                }
            }
            SinkSettings::Postgres(postgres) => {
                let upsert = postgres.mode == PostgresMode::Upsert;
                let keys = match upsert && plan.mode != OutputMode::Complete {
                    true => update_keys(settings, query, place, &postgres.key, plan),
                    false => Ok(Vec::new()),
                };
                match keys {
                    Ok(keys) => staged(postgres_spec(postgres), plan, keys),
                    Err(error) => {
                        errors.push(error);
                        continue;
                    }
                }
            }
            SinkSettings::Kafka(kafka) => match kafka_spec(kafka) {
                Ok(spec) => staged(spec, plan, plan.key_columns().unwrap_or_default()),
                Err(error) => {
                    let path = ["queries", &query.name];
                    errors.push(settings.error_at(&path, error, None));
                    continue;
                }
            },
            SinkSettings::Console(console) => {
                staged(console_spec(console), plan, plan.key_columns().unwrap_or_default())
            }
            SinkSettings::Memory(memory) => {
                let table = Arc::new(MemoryTable::new(memory.max_rows));
                let spec = TargetSpec::Memory(MemoryOptions { table });
                staged(spec, plan, plan.key_columns().unwrap_or_default())
            }
            SinkSettings::Files(files) => {
                staged(files_spec(files), plan, plan.key_columns().unwrap_or_default())
            }
        };
        sinks.push(SinkBlueprint {
            sink: sink.name.as_str().into(),
            target,
            application: format!("millpond/{}/{}", settings.name, sink.name),
            feeds_from: Feeds::Query(index),
            sources: source_names(graph, graph.sources_of_output(index)),
            stateful: plan.is_stateful(),
            misfits_to_dead_letters: match misfits(settings, query, place, plan) {
                Ok(misfits) => misfits,
                Err(error) => {
                    errors.push(error);
                    continue;
                }
            },
        });
    }
    if errors.is_empty() { Ok(sinks) } else { Err(errors) }
}

/// Whether rows that do not fit the types of a sink's table go to the dead letters.
fn misfits(
    settings: &Settings,
    query: &QuerySettings,
    place: usize,
    plan: &QueryPlan,
) -> Result<bool, ConfigError> {
    let SinkSettings::Delta(delta) = &query.sinks[place].settings else { return Ok(false) };
    if delta.on_type_change == TypeChange::Refuse {
        return Ok(false);
    }
    let wrong = |message: &str, help: &str| {
        let (message, help) = (message.to_owned(), Some(help.to_owned()));
        settings.error_at_sink(query, place, "on_type_change", message, help)
    };
    if !settings.dead_letters.enabled {
        let help = "leave out `enabled = false` of [dead_letters], or write \"refuse\"";
        return Err(wrong("there is no table of dead letters", help));
    }
    if plan.mode == OutputMode::Complete {
        let message = "in complete mode every row comes out at every trigger, and each time it \
                       would be a dead letter";
        return Err(wrong(message, "cast the column in the query: CAST(column AS type)"));
    }
    Ok(true)
}

fn staged(spec: TargetSpec, plan: &QueryPlan, keys: Vec<String>) -> SinkTarget {
    SinkTarget::Staged(Box::new(StagedTarget {
        spec,
        schema: plan.output_schema.clone(),
        mode: plan.mode,
        keys,
        finish: plan.finish.clone(),
    }))
}

fn delta_table(table: TableSpec) -> TargetSpec {
    TargetSpec::DeltaTable(DeltaTableOptions { table })
}

/// The columns by which a row replaces an earlier one.
fn update_keys(
    settings: &Settings,
    query: &QuerySettings,
    place: usize,
    configured: &[String],
    plan: &QueryPlan,
) -> Result<Vec<String>, ConfigError> {
    for column in configured {
        find_column(&plan.output_schema, column).map_err(|help| {
            let message = format!("the query's output has no column '{column}'");
            settings.error_at_sink(query, place, "key", message, help)
        })?;
    }
    if !configured.is_empty() {
        return Ok(configured.to_vec());
    }
    plan.key_columns().ok_or_else(|| {
        let message = "the query's output does not hold all that it groups by, so nothing tells \
                       which row replaces which";
        let help = "select every GROUP BY expression, or name the columns: key = [\"…\"]";
        settings.error_at_sink(query, place, "key", message, Some(help.to_owned()))
    })
}

fn console_spec(console: &ConsoleSinkSettings) -> TargetSpec {
    TargetSpec::Console(ConsoleOptions {
        show: Show {
            num_rows: console.rows,
            truncate: console.truncate.unwrap_or(0),
            vertical: console.vertical,
        },
        output: ConsoleOutput::Stdout,
    })
}

fn files_spec(files: &FilesSinkSettings) -> TargetSpec {
    let text = |compression| match compression {
        TextCompression::None => FileCompression::None,
        TextCompression::Gzip => FileCompression::Gzip,
        TextCompression::Zstd(level) => FileCompression::Zstd(level),
    };
    let (format, compressed) = match files.format {
        FilesFormat::Ndjson { compression } => (FileFormat::Json, text(compression)),
        FilesFormat::Csv { compression, header, delimiter } => {
            (FileFormat::Csv { delimiter, header }, text(compression))
        }
        FilesFormat::Parquet { compression: pages } => {
            (FileFormat::Parquet(compression(pages)), FileCompression::None)
        }
    };
    TargetSpec::Files(FilesOptions {
        path: files.path.clone().into(),
        format,
        compression: compressed,
        partition_by: files.partition_by.clone(),
        max_file_rows: files.max_file_rows,
    })
}

fn postgres_spec(postgres: &PostgresSinkSettings) -> TargetSpec {
    TargetSpec::Postgres(PostgresOptions {
        url: postgres.connection_string().expose().to_owned(),
        table: postgres.table.clone(),
        write: match postgres.mode {
            PostgresMode::Append => PostgresWrite::Append,
            PostgresMode::Upsert => PostgresWrite::Upsert,
        },
        create: postgres.create_table,
        connect_timeout: postgres.connect_timeout,
        lock_timeout: postgres.lock_timeout,
    })
}

fn kafka_spec(kafka: &KafkaSinkSettings) -> Result<TargetSpec, String> {
    Ok(TargetSpec::Kafka(KafkaOptions {
        brokers: kafka.brokers.clone(),
        topic: Some(kafka.topic.clone()),
        topic_column: kafka.topic_column.clone(),
        key: kafka.key.clone(),
        headers: match &kafka.headers {
            config::KafkaHeaders::Columns(columns) if columns.is_empty() => KafkaHeaders::None,
            config::KafkaHeaders::Columns(columns) => KafkaHeaders::Columns(columns.clone()),
            config::KafkaHeaders::Column(column) => KafkaHeaders::Map(column.clone()),
        },
        partition_column: kafka.partition_column.clone(),
        value: match &kafka.value {
            config::KafkaValue::Json => KafkaValue::Json,
            config::KafkaValue::Column(column) => KafkaValue::Column(column.clone()),
            config::KafkaValue::Avro { registry, subject } => {
                let of_topic = || format!("{}-value", kafka.topic);
                let subject = subject.clone().unwrap_or_else(of_topic);
                KafkaValue::avro(registry_client(registry)?, &subject)
            }
        },
        timestamp_column: kafka.timestamp_column.clone(),
        tombstone_column: kafka.tombstone_column.clone(),
        marker_topic: None,
        transaction_timeout: kafka.transaction_timeout,
        properties: kafka
            .options
            .iter()
            .map(|(key, value)| (key.clone(), value.expose().to_owned()))
            .collect(),
    }))
}

/// A sink of anomaly events.
pub(super) fn alert_target(
    settings: &SinkSettings,
    schema: SchemaRef,
) -> Result<SinkTarget, String> {
    let column = |name: &String| {
        find_column(&schema, name).map(|_| ()).map_err(|help| {
            let help = help.map_or(String::new(), |help| format!("; {help}"));
            format!("events of anomalies have no column '{name}'{help}")
        })
    };
    Ok(match settings {
        SinkSettings::Delta(delta) => {
            delta.partition_by.iter().try_for_each(column)?;
            SinkTarget::Table(table_spec(delta, schema))
        }
        SinkSettings::Postgres(postgres) => alerts::staged(postgres_spec(postgres), schema),
        SinkSettings::Kafka(kafka) => alerts::staged(kafka_spec(kafka)?, schema),
        SinkSettings::Console(console) => alerts::staged(console_spec(console), schema),
        SinkSettings::Memory(memory) => {
            let table = Arc::new(MemoryTable::new(memory.max_rows));
            alerts::staged(TargetSpec::Memory(MemoryOptions { table }), schema)
        }
        SinkSettings::Files(files) => alerts::staged(files_spec(files), schema),
    })
}

pub(super) fn dead_letters(settings: &Settings, sources: &[SourceBlueprint]) -> SinkBlueprint {
    let spec = TableSpec {
        storage_options: settings.dead_letters.storage.clone(),
        // A table of an earlier version lacks columns that were added since.
        evolve: true,
        ..TableSpec::new(settings.dead_letters.path.clone(), dead_letter_schema())
    };
    SinkBlueprint {
        sink: DEAD_LETTERS.into(),
        target: SinkTarget::Table(spec),
        application: format!("millpond/{}/{DEAD_LETTERS}", settings.name),
        feeds_from: Feeds::DeadLetters,
        sources: sources.iter().map(|source| source.name.clone()).collect(),
        stateful: false,
        misfits_to_dead_letters: false,
    }
}

pub(in crate::actors) fn table_spec(sink: &DeltaSinkSettings, schema: SchemaRef) -> TableSpec {
    TableSpec {
        partition_by: sink.partition_by.clone(),
        compression: compression(sink.compression),
        target_file_bytes: sink.target_file_size,
        evolve: sink.evolve,
        properties: sink.properties.clone(),
        checkpoint_interval: sink.checkpoint_interval,
        storage_options: sink.storage.clone(),
        ..TableSpec::new(sink.path.clone(), schema)
    }
}

fn compression(setting: config::Compression) -> Compression {
    match setting {
        config::Compression::None => Compression::None,
        config::Compression::Snappy => Compression::Snappy,
        config::Compression::Lz4 => Compression::Lz4,
        config::Compression::Zstd(level) => Compression::Zstd(level),
    }
}
