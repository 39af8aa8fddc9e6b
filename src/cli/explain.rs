//! `millpond explain`: what a configuration will do, before it does it.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::{Value, json};

use super::run::{key_value, refuse};
use super::{OK, USAGE};
use crate::actors::Blueprint;
use crate::actors::blueprint::{
    DetectorBlueprint, Feeds, SinkBlueprint, SinkTarget, SourceBlueprint,
};
use crate::anomaly::Severity;
use crate::config::{self, Environment};
use crate::sink::Guarantee;
use crate::sql;

const EXAMPLES: &str = "\
Examples:
  millpond explain config/clicks.toml            # everything
  millpond explain config/clicks.toml actions    # one query, with what it reads and writes
  millpond explain config/clicks.toml --json | jq '.queries[].inputs'

A query is shown from its output down to what it reads. Of each operator: its keys, what it
computes, and what it keeps until when. Of each source: which columns are decoded at all.

Nothing is connected to and nothing is written. Exit status: 0, or 2 if the configuration is wrong.";

/// An append-only Delta table's promise.
const TABLE: Guarantee =
    Guarantee::ExactlyOnce("one commit holds an epoch's rows and the positions they were read at");

/// Show what a configuration will do: plans, state, guarantees
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct ExplainArgs {
    /// A TOML file, or a directory of them
    #[arg(value_name = "CONFIG")]
    pub config: PathBuf,
    /// Only this query, and what belongs to it
    #[arg(value_name = "QUERY")]
    pub query: Option<String>,
    /// Leave ${VAR} and ${file:...} as they are, and skip what depends on them
    #[arg(long)]
    pub no_environment: bool,
    /// Override a key, as for `millpond run`
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_value)]
    pub overrides: Vec<(String, String)>,
    /// Print it as JSON
    #[arg(long)]
    pub json: bool,
}

/// Runs the subcommand.
pub fn execute(args: ExplainArgs) -> anyhow::Result<ExitCode> {
    let environment = if args.no_environment { Environment::None } else { Environment::Real };
    let configs = std::slice::from_ref(&args.config);
    let settings = match config::load_with_overrides(configs, &args.overrides, &environment) {
        Ok(settings) => settings,
        Err(errors) => return Ok(refuse(&errors)),
    };
    let blueprint = match Blueprint::new(settings) {
        Ok(blueprint) => blueprint,
        Err(errors) => return Ok(refuse(&errors)),
    };
    let queries = || blueprint.queries.iter();
    if let Some(name) = &args.query
        && !queries().any(|query| *query.name == **name)
    {
        let help = sql::suggestion(name, queries().map(|query| &*query.name), "queries");
        eprintln!("error: there is no query '{name}'; {help}");
        return Ok(ExitCode::from(USAGE));
    }
    let shown = Shown::new(&blueprint, args.query.as_deref());
    if args.json {
        println!("{:#}", shown.as_json());
    } else {
        print!("{}", shown.as_text());
    }
    Ok(ExitCode::from(OK))
}

/// What is shown of a pipeline.
struct Shown<'a> {
    blueprint: &'a Blueprint,
    queries: Vec<usize>,
    sources: Vec<usize>,
}

impl<'a> Shown<'a> {
    /// All of it, or a query with those whose rows it reads.
    fn new(blueprint: &'a Blueprint, query: Option<&str>) -> Self {
        let graph = &blueprint.graph;
        let all = 0..blueprint.queries.len();
        let queries: Vec<usize> = match query {
            None => all.collect(),
            Some(name) => all
                .filter(|index| *blueprint.queries[*index].name == *name)
                .flat_map(|index| graph.queries_behind(index))
                .collect(),
        };
        let sources = match query {
            None => (0..blueprint.sources.len()).collect(),
            Some(_) => {
                let read = queries.iter().flat_map(|query| graph.sources_of_output(*query));
                let read: std::collections::BTreeSet<usize> = read.collect();
                read.into_iter().collect()
            }
        };
        Self { blueprint, queries, sources }
    }

    fn sinks_of(&self, query: usize) -> impl Iterator<Item = &'a SinkBlueprint> {
        let blueprint = self.blueprint;
        blueprint.queries[query].sinks.iter().map(|sink| &blueprint.sinks[*sink])
    }

    fn detectors(&self) -> impl Iterator<Item = &'a DetectorBlueprint> {
        let detectors = self.blueprint.detectors.iter();
        detectors.filter(|detector| self.queries.contains(&detector.query))
    }

    fn as_text(&self) -> String {
        let mut text = format!("pipeline {}\n", self.blueprint.settings.name);
        // Writing to a String cannot fail.
        for source in &self.sources {
            let source = &self.blueprint.sources[*source];
            let _ = write!(text, "\nsource {} ({})\n", source.name, source.input.kind());
            let mut line = |label: &str, value: &str| {
                let _ = writeln!(text, "  {label:<9}  {value}");
            };
            line("from", &source.input.describe());
            line("format", format(source));
            let decoded = decoded(source);
            let total = source.schema.fields().len();
            line(
                "decodes",
                &format!("{} of {total} columns: {}", decoded.len(), decoded.join(", ")),
            );
            line("watermark", &watermark(source).unwrap_or_else(|| "none".to_owned()));
        }
        for index in &self.queries {
            let explained = sql::explain(&self.blueprint.queries[*index].plan);
            let _ = write!(text, "\n{explained}");
            for sink in self.sinks_of(*index) {
                let _ =
                    writeln!(text, "  -> {} sink [{}] {}", sink.kind(), sink.sink, sink.address());
                let _ = writeln!(text, "     {:<9}  {}", "rows", what_rows_do(sink));
                let promise = promise(sink);
                let _ = writeln!(
                    text,
                    "     {:<9}  {}: {}",
                    "guarantee",
                    promise.label(),
                    promise.words()
                );
            }
        }
        for detector in self.detectors() {
            let query = &self.blueprint.queries[detector.query].name;
            let _ = write!(text, "\ndetector {} ({})\n", detector.name, detector.spec.kind());
            let _ =
                writeln!(text, "  {:<9}  {} of query {query}", "watches", detector.columns.value);
            let _ = writeln!(text, "  {:<9}  {}", "by", keys(detector));
            for (index, min_severity) in &detector.sinks {
                let sink = &self.blueprint.sinks[*index];
                let from = match min_severity {
                    Severity::Info => String::new(),
                    severity => format!(", from {severity} on"),
                };
                let (kind, name) = (sink.kind(), &sink.sink);
                let _ = writeln!(text, "  -> {kind} sink [{name}] {}{from}", sink.address());
            }
        }
        let letters = self.blueprint.dead_letters().map(|sink| &self.blueprint.sinks[sink]);
        let letters = match letters {
            Some(sink) => format!("go to the Delta table {}", sink.address()),
            None => "are counted and dropped".to_owned(),
        };
        let _ = write!(text, "\nrecords that cannot be read {letters}\n");
        text
    }

    fn as_json(&self) -> Value {
        let sink = |sink: &SinkBlueprint| {
            let promise = promise(sink);
            json!({
                "name": &*sink.sink,
                "type": sink.kind(),
                "address": sink.address(),
                "rows": what_rows_do(sink),
                "guarantee": promise.label(),
                "because": promise.words(),
            })
        };
        let sources = self.sources.iter().map(|index| {
            let source = &self.blueprint.sources[*index];
            json!({
                "name": &*source.name,
                "type": source.input.kind(),
                "from": source.input.describe(),
                "format": format(source),
                "columns": source.schema.fields().len(),
                "decodes": decoded(source),
                "watermark": source.watermark.as_ref().map(|watermark| json!({
                    "column": watermark.column,
                    "delay_us": watermark.delay_us,
                    "idle_timeout_ms": watermark.idle_timeout_ms,
                })),
            })
        });
        let queries = self.queries.iter().map(|index| {
            let explained = sql::explain(&self.blueprint.queries[*index].plan);
            let mut value = serde_json::to_value(explained).unwrap_or(Value::Null);
            if let Value::Object(object) = &mut value {
                let sinks: Vec<_> = self.sinks_of(*index).map(sink).collect();
                object.insert("sinks".to_owned(), Value::from(sinks));
            }
            value
        });
        let detectors = self.detectors().map(|detector| {
            json!({
                "name": &*detector.name,
                "kind": detector.spec.kind(),
                "query": &*self.blueprint.queries[detector.query].name,
                "value": detector.columns.value,
                "keys": detector.columns.keys,
                "sinks": detector
                    .sinks
                    .iter()
                    .map(|(index, _)| sink(&self.blueprint.sinks[*index]))
                    .collect::<Vec<_>>(),
            })
        });
        let letters = self.blueprint.dead_letters().map(|index| sink(&self.blueprint.sinks[index]));
        json!({
            "name": self.blueprint.settings.name,
            "sources": sources.collect::<Vec<_>>(),
            "queries": queries.collect::<Vec<_>>(),
            "detectors": detectors.collect::<Vec<_>>(),
            "dead_letters": letters,
        })
    }
}

fn format(source: &SourceBlueprint) -> &'static str {
    source.format.as_ref().map_or("columns of its own", |format| format.name())
}

fn decoded(source: &SourceBlueprint) -> Vec<&str> {
    source.projection.iter().map(|column| source.schema.field(*column).name().as_str()).collect()
}

fn watermark(source: &SourceBlueprint) -> Option<String> {
    let watermark = source.watermark.as_ref()?;
    let mut text = format!("{} less {}", watermark.column, sql::duration(watermark.delay_us));
    if let Some(idle) = watermark.idle_timeout_ms {
        let idle = sql::duration(i64::try_from(idle).unwrap_or(i64::MAX).saturating_mul(1_000));
        text += &format!("; a partition without records for {idle} is not waited for");
    }
    if watermark.wall_clock {
        text += ", and when all are quiet the wall clock moves it on";
    }
    Some(text)
}

/// What becomes of a row that is there already.
fn what_rows_do(sink: &SinkBlueprint) -> String {
    match &sink.target {
        SinkTarget::Table(_) => "appended".to_owned(),
        SinkTarget::Staged(staged) => match staged.mode {
            sql::OutputMode::Append => "appended".to_owned(),
            sql::OutputMode::Complete => "all of them, at each trigger".to_owned(),
            sql::OutputMode::Update if staged.keys.is_empty() => {
                "those that changed, at each trigger".to_owned()
            }
            sql::OutputMode::Update => {
                format!("those that changed, at each trigger; by {}", staged.keys.join(", "))
            }
        },
    }
}

fn promise(sink: &SinkBlueprint) -> Guarantee {
    match (&sink.target, sink.feeds_from) {
        (SinkTarget::Staged(staged), _) => staged.spec.guarantee(),
        (SinkTarget::Table(_), Feeds::Query(_) | Feeds::Detectors | Feeds::DeadLetters) => TABLE,
    }
}

fn keys(detector: &DetectorBlueprint) -> String {
    match detector.columns.keys.as_slice() {
        [] => "the query as a whole".to_owned(),
        keys => keys.join(", "),
    }
}
