//! The pipeline as a picture shows it: sources, tables, queries, detectors and sinks, with what
//! flows from one to another.

use serde::Serialize;

use super::{Blueprint, DetectorBlueprint, Feeds};
use crate::event_time::Windows;
use crate::sql::{OperatorKind, Origin};

/// What a node stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeKind {
    /// A source.
    Source,
    /// A static table that queries join with.
    Table,
    /// A query, with its operators.
    Query,
    /// A detector rule.
    Detector,
    /// A sink.
    Sink,
}

/// One part of the pipeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Node {
    /// `kind/name`, by which edges name it.
    pub id: String,
    /// What it stands for.
    pub kind: NodeKind,
    /// Its name in the configuration, and in the pipeline's report.
    pub name: String,
    /// What it is, in few words: `kafka`, `windows`, `delta`.
    pub label: String,
    /// Of a query: its stateful operators, upstream first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub operators: Vec<String>,
}

/// Rows flow this way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Edge {
    /// The node they come from.
    pub from: String,
    /// The node they go to.
    pub to: String,
    /// `rows`, `windows` (to detectors), `anomalies`, `deadLetters` or `join` (from tables).
    pub carries: &'static str,
}

/// The nodes and edges of a pipeline.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Topology {
    /// Upstream first.
    pub nodes: Vec<Node>,
    /// Each once.
    pub edges: Vec<Edge>,
}

impl Topology {
    fn node(&mut self, kind: NodeKind, name: &str, label: &str, operators: Vec<String>) -> String {
        let id = match kind {
            NodeKind::Source => format!("source/{name}"),
            NodeKind::Table => format!("table/{name}"),
            NodeKind::Query => format!("query/{name}"),
            NodeKind::Detector => format!("detector/{name}"),
            NodeKind::Sink => format!("sink/{name}"),
        };
        self.nodes.push(Node {
            id: id.clone(),
            kind,
            name: name.to_owned(),
            label: label.to_owned(),
            operators,
        });
        id
    }

    fn edge(&mut self, from: String, to: &str, carries: &'static str) {
        let edge = Edge { from, to: to.to_owned(), carries };
        if !self.edges.contains(&edge) {
            self.edges.push(edge);
        }
    }
}

impl Blueprint {
    /// The pipeline as a picture shows it.
    pub fn topology(&self) -> Topology {
        let mut all = Topology::default();
        for source in &self.sources {
            all.node(NodeKind::Source, &source.name, source.input.kind(), Vec::new());
        }
        for table in &self.tables {
            all.node(NodeKind::Table, &table.name, table.kind, Vec::new());
        }
        for query in &self.queries {
            let operators: Vec<String> = query
                .plan
                .operators
                .iter()
                .map(|operator| match &operator.kind {
                    OperatorKind::Aggregate(plan) if matches!(plan.windows(), Windows::None) => {
                        "aggregate"
                    }
                    OperatorKind::Aggregate(_) => "windows",
                    OperatorKind::Dedup(_) => "deduplication",
                    OperatorKind::Join(_) => "join",
                })
                .map(str::to_owned)
                .collect();
            let label = operators.last().map_or("rows", String::as_str).to_owned();
            let id = all.node(NodeKind::Query, &query.name, &label, operators);
            for feed in &query.plan.feeds {
                match &feed.from {
                    Origin::Source(name) => all.edge(format!("source/{name}"), &id, "rows"),
                    Origin::Query(name) => all.edge(format!("query/{name}"), &id, "rows"),
                    Origin::Operator(_) => {}
                }
            }
            for table in query.plan.tables() {
                all.edge(format!("table/{table}"), &id, "join");
            }
        }
        for detector in &self.detectors {
            let id = all.node(NodeKind::Detector, &detector.name, detector.spec.kind(), Vec::new());
            all.edge(format!("query/{}", self.queries[detector.query].name), &id, "windows");
        }
        for (index, sink) in self.sinks.iter().enumerate() {
            let id = all.node(NodeKind::Sink, &sink.sink, sink.kind(), Vec::new());
            match sink.feeds_from {
                Feeds::Query(query) => {
                    all.edge(format!("query/{}", self.queries[query].name), &id, "rows");
                }
                Feeds::Detectors => {
                    let told =
                        |d: &&DetectorBlueprint| d.sinks.iter().any(|(sink, _)| *sink == index);
                    for detector in self.detectors.iter().filter(told) {
                        all.edge(format!("detector/{}", detector.name), &id, "anomalies");
                    }
                }
                Feeds::DeadLetters => {
                    for source in &self.sources {
                        all.edge(format!("source/{}", source.name), &id, "deadLetters");
                    }
                }
            }
        }
        all
    }
}
