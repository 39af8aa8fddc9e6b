//! The graph of a pipeline: its queries' plans joined by name.
//!
//! A plan's feeds begin at sources, at other queries or at its own operators. Here the names become
//! indexes, and every feed is hung below the *root* whose rows it runs on: a source, or an operator
//! whose results it carries on. A query's output is computed once, however many sinks and queries
//! read it, so feeds form trees: [`Branches`].
//!
//! ```text
//! root: source or operator
//!   └─ feed ─► an operator's input: a part for each of its shards
//!   └─ feed ─► a query's output ─► its sinks and detectors
//!                └─ feed of a query that reads it ─► ...
//! ```
//!
//! Nothing here runs anything by itself: actors do for a pipeline, `trial` does for tests.

mod branches;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::sql::{OperatorPlan, Origin, QueryPlan, Target};

pub use branches::{Branches, Delivery, GraphError};

/// Where rows come into being: what feeds run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Root {
    /// A source, by its place in [`Graph::sources`].
    Source(usize),
    /// An operator, by its place in [`Graph::operators`].
    Operator(usize),
}

/// An operator, with the query it belongs to.
#[derive(Debug, Clone)]
pub struct GraphOperator {
    /// The query's place in [`Graph::queries`].
    pub query: usize,
    /// What it does.
    pub plan: OperatorPlan,
}

/// A feed of a query by the places of both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct FeedId {
    query: usize,
    feed: usize,
}

/// Every query of a pipeline, joined.
#[derive(Debug)]
pub struct Graph {
    sources: Vec<Arc<str>>,
    queries: Vec<Arc<QueryPlan>>,
    operators: Vec<GraphOperator>,
    /// The place of each query's first operator.
    first_operator: Vec<usize>,
    by_name: BTreeMap<String, usize>,
}

impl Graph {
    /// Joins `queries`, which read `sources` and each other. A query comes after those it reads,
    /// as the planner needs them in that order anyway.
    ///
    /// # Errors
    /// [`GraphError::Unknown`] for a feed from what is neither a source nor an earlier query.
    pub fn new(sources: Vec<Arc<str>>, queries: Vec<Arc<QueryPlan>>) -> Result<Self, GraphError> {
        let mut operators = Vec::new();
        let mut first_operator = Vec::new();
        let mut by_name = BTreeMap::new();
        for (query, plan) in queries.iter().enumerate() {
            for feed in &plan.feeds {
                let known = match &feed.from {
                    Origin::Source(name) => sources.iter().any(|source| **source == **name),
                    Origin::Query(name) => by_name.contains_key(name),
                    Origin::Operator(index) => *index < plan.operators.len(),
                };
                if !known {
                    return Err(GraphError::Unknown {
                        query: plan.name.clone(),
                        from: format!("{:?}", feed.from),
                    });
                }
            }
            first_operator.push(operators.len());
            operators.extend(
                plan.operators.iter().map(|plan| GraphOperator { query, plan: plan.clone() }),
            );
            by_name.insert(plan.name.clone(), query);
        }
        Ok(Self { sources, queries, operators, first_operator, by_name })
    }

    /// The sources' names.
    pub fn sources(&self) -> &[Arc<str>] {
        &self.sources
    }

    /// The queries' plans.
    pub fn queries(&self) -> &[Arc<QueryPlan>] {
        &self.queries
    }

    /// Every stateful operator, upstream before downstream.
    pub fn operators(&self) -> &[GraphOperator] {
        &self.operators
    }

    /// The roots whose rows reach an operator without passing another one.
    pub fn roots_of_operator(&self, operator: usize) -> BTreeSet<Root> {
        let query = self.operators[operator].query;
        let index = operator - self.first_operator[query];
        self.roots_of(
            query,
            |target| matches!(target, Target::Operator { index: found, .. } if found == index),
        )
    }

    /// The roots whose rows reach a query's output without passing another operator.
    pub fn roots_of_output(&self, query: usize) -> BTreeSet<Root> {
        self.roots_of(query, |target| target == Target::Output)
    }

    /// The sources whose rows end up in an operator, through whatever is before it.
    pub fn sources_of_operator(&self, operator: usize) -> BTreeSet<usize> {
        self.sources_behind(self.roots_of_operator(operator))
    }

    /// The sources whose rows end up in a query's output, through whatever is before it.
    pub fn sources_of_output(&self, query: usize) -> BTreeSet<usize> {
        self.sources_behind(self.roots_of_output(query))
    }

    /// The operators that rows of `root` reach next.
    pub fn operators_below(&self, root: Root) -> BTreeSet<usize> {
        (0..self.operators.len())
            .filter(|operator| self.roots_of_operator(*operator).contains(&root))
            .collect()
    }

    /// The queries whose output rows of `root` reach without passing another operator.
    pub fn outputs_below(&self, root: Root) -> BTreeSet<usize> {
        (0..self.queries.len())
            .filter(|query| self.roots_of_output(*query).contains(&root))
            .collect()
    }

    /// The queries whose outputs an operator's rows end up in, through whatever is behind it.
    pub fn outputs_of_operator(&self, operator: usize) -> BTreeSet<usize> {
        let root = Root::Operator(operator);
        let mut outputs = self.outputs_below(root);
        for below in self.operators_below(root) {
            outputs.extend(self.outputs_of_operator(below));
        }
        outputs
    }

    /// The queries that a query's rows have come through: those it reads, those that they read, and
    /// itself.
    pub fn queries_behind(&self, query: usize) -> BTreeSet<usize> {
        let mut behind = BTreeSet::from([query]);
        for feed in &self.queries[query].feeds {
            if let Origin::Query(name) = &feed.from
                && let Some(upstream) = self.by_name.get(name)
            {
                behind.extend(self.queries_behind(*upstream));
            }
        }
        behind
    }

    /// The columns of a source that some query reads, as indexes into its schema.
    pub fn reads(&self, source: usize) -> BTreeSet<usize> {
        self.queries.iter().flat_map(|query| query.reads(&self.sources[source])).collect()
    }

    fn roots_of(&self, query: usize, wanted: impl Fn(Target) -> bool) -> BTreeSet<Root> {
        let mut roots = BTreeSet::new();
        for feed in self.queries[query].feeds.iter().filter(|feed| wanted(feed.to)) {
            match &feed.from {
                Origin::Source(name) => {
                    let found = self.sources.iter().position(|source| **source == **name);
                    roots.extend(found.map(Root::Source));
                }
                Origin::Query(name) => {
                    if let Some(upstream) = self.by_name.get(name) {
                        roots.extend(self.roots_of_output(*upstream));
                    }
                }
                Origin::Operator(index) => {
                    roots.insert(Root::Operator(self.first_operator[query] + index));
                }
            }
        }
        roots
    }

    fn sources_behind(&self, roots: BTreeSet<Root>) -> BTreeSet<usize> {
        let mut sources = BTreeSet::new();
        for root in roots {
            match root {
                Root::Source(source) => {
                    sources.insert(source);
                }
                Root::Operator(operator) => sources.extend(self.sources_of_operator(operator)),
            }
        }
        sources
    }

    /// The feeds that begin right at `root`.
    fn feeds_at(&self, root: Root) -> Vec<FeedId> {
        self.feeds(|query, from| match (root, from) {
            (Root::Source(source), Origin::Source(name)) => *self.sources[source] == **name,
            (Root::Operator(operator), Origin::Operator(index)) => {
                self.operators[operator].query == query
                    && self.first_operator[query] + index == operator
            }
            _ => false,
        })
    }

    /// The feeds that begin at the output of `query`.
    fn feeds_behind(&self, query: usize) -> Vec<FeedId> {
        let name = &self.queries[query].name;
        self.feeds(|_, from| matches!(from, Origin::Query(found) if found == name))
    }

    fn feeds(&self, wanted: impl Fn(usize, &Origin) -> bool) -> Vec<FeedId> {
        let mut feeds = Vec::new();
        for (query, plan) in self.queries.iter().enumerate() {
            for (feed, planned) in plan.feeds.iter().enumerate() {
                if wanted(query, &planned.from) {
                    feeds.push(FeedId { query, feed });
                }
            }
        }
        feeds
    }
}
