//! From settings to what has to be built: schemas parsed, queries planned, sinks described.
//!
//! Nothing here touches a broker, or a disk unless a table has to be asked for the columns that are
//! not declared; so `millpond validate` is little more than this.

mod alerts;
mod detector;
mod format;
mod query;
mod sink;
mod source;
mod table;
mod topology;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use crate::config::{ConfigErrors, Settings};
use crate::graph::{Graph, Root};
use crate::sink::TargetSpec;
use crate::sink::memory::MemoryTable;
use crate::sql::QueryPlan;

pub use detector::DetectorBlueprint;
pub(in crate::actors) use sink::table_spec;
pub use sink::{Feeds, SinkBlueprint, SinkTarget, StagedTarget};
pub use source::{SourceBlueprint, SourceInput, WatermarkBlueprint};
pub use table::TableBlueprint;
pub use topology::{Edge, Node, NodeKind, Topology};

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
    pub tables: Vec<TableBlueprint>,
    /// In the order of the graph: a query comes after those that it reads.
    pub queries: Vec<QueryBlueprint>,
    /// In the order of the configuration.
    pub detectors: Vec<DetectorBlueprint>,
    /// Everything that is written to.
    pub sinks: Vec<SinkBlueprint>,
    /// The queries' plans, joined.
    pub graph: Arc<Graph>,
}

/// A query and where its rows go.
#[derive(Debug)]
pub struct QueryBlueprint {
    /// Its name.
    pub name: Arc<str>,
    /// Its plan.
    pub plan: Arc<QueryPlan>,
    /// Its place in [`Settings::queries`].
    pub settings: usize,
    /// Indexes of its sinks.
    pub sinks: Vec<usize>,
}

impl Blueprint {
    /// Plans a pipeline. All errors are found at once, each at its place in the configuration.
    pub fn new(settings: Settings) -> Result<Self, ConfigErrors> {
        let mut errors = Vec::new();
        let mut sources: Vec<SourceBlueprint> = Vec::new();
        for described in &settings.sources {
            match source::plan_source(&settings, described) {
                Ok(planned) => sources.push(planned),
                Err(error) => errors.push(error),
            }
        }
        let mut tables: Vec<TableBlueprint> = Vec::new();
        for described in &settings.tables {
            match table::plan_table(&settings, described) {
                Ok(planned) => tables.push(planned),
                Err(error) => errors.push(error),
            }
        }
        if !errors.is_empty() {
            return Err(errors.into());
        }
        let joined: Vec<_> = tables.iter().map(|table| table.table.clone()).collect();
        let planned = query::plan_queries(&settings, &sources, &joined)?;
        let names = sources.iter().map(|source| source.name.clone()).collect();
        let plans = planned.iter().map(|(_, plan)| plan.clone()).collect();
        let graph = Graph::new(names, plans)
            .map_err(|error| vec![settings.error_at(&["queries"], error.to_string(), None)])?;
        let mut sinks = Vec::new();
        let mut queries = Vec::new();
        for (index, (described, plan)) in planned.into_iter().enumerate() {
            let first = sinks.len();
            let query = &settings.queries[described];
            match sink::query_sinks(&settings, query, index, &graph) {
                Ok(planned) => sinks.extend(planned),
                Err(found) => errors.extend(found),
            }
            queries.push(QueryBlueprint {
                name: query.name.as_str().into(),
                plan,
                settings: described,
                sinks: (first..sinks.len()).collect(),
            });
        }
        for (index, source) in sources.iter_mut().enumerate() {
            source.project(graph.reads(index));
        }
        let mut detectors = Vec::new();
        for described in &settings.detectors {
            match detector::plan_detector(&settings, described, &graph, &sources, &mut sinks) {
                Ok(planned) => detectors.push(planned),
                Err(error) => errors.push(error),
            }
        }
        errors.extend(alerts::plan_alerts(&settings, &mut detectors, &mut sinks));
        if !errors.is_empty() {
            return Err(errors.into());
        }
        if settings.dead_letters.enabled {
            sinks.push(sink::dead_letters(&settings, &sources));
        }
        let graph = Arc::new(graph);
        Ok(Self { settings, sources, tables, queries, detectors, sinks, graph })
    }

    /// Whether the static tables are there: each that is not is an error at its `path`. Looks at
    /// disks and object stores, and blocks for as long as that takes.
    pub fn look_for_tables(&self) -> Result<(), ConfigErrors> {
        let mut errors = Vec::new();
        for table in &self.tables {
            if let Err(error) = table.reader.look() {
                let path = ["tables", &table.name, "path"];
                errors.push(self.settings.error_at(&path, error.to_string(), None));
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(errors.into()) }
    }

    /// The table of dead letters, if there is one.
    pub fn dead_letters(&self) -> Option<usize> {
        self.sinks.iter().position(|sink| sink.feeds_from == Feeds::DeadLetters)
    }

    /// The operators whose rows meet rules that send some of them to the dead letters. (Readers
    /// send their own there anyway.)
    pub fn rejecting(&self) -> BTreeSet<Root> {
        if self.dead_letters().is_none() {
            return BTreeSet::new();
        }
        let rejects = |query: &usize| {
            let query = &self.queries[*query];
            let misfits = |sink: &usize| self.sinks[*sink].misfits_to_dead_letters;
            query.plan.has_dead_letters() || query.sinks.iter().any(misfits)
        };
        (0..self.graph.operators().len())
            .map(Root::Operator)
            .filter(|root| self.graph.outputs_below(*root).iter().any(rejects))
            .collect()
    }

    /// What memory sinks fill, by sink.
    pub fn memory_tables(&self) -> BTreeMap<String, Arc<MemoryTable>> {
        self.sinks
            .iter()
            .filter_map(|sink| match &sink.target {
                SinkTarget::Staged(staged) => match &staged.spec {
                    TargetSpec::Memory(memory) => {
                        Some((sink.sink.to_string(), memory.table.clone()))
                    }
                    _ => None,
                },
                SinkTarget::Table(_) => None,
            })
            .collect()
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

fn source_names(graph: &Graph, sources: BTreeSet<usize>) -> Vec<Arc<str>> {
    sources.into_iter().map(|source| graph.sources()[source].clone()).collect()
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

fn micros(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
