//! What a query can read: sources, other queries, tables.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use super::error::{SqlError, suggestion};
use super::{OutputMode, QueryPlan, SourceTable, StaticTable};

/// A query to plan.
#[derive(Debug, Clone, Default)]
pub struct QueryRequest<'a> {
    /// Its name in the configuration.
    pub name: &'a str,
    /// One SELECT.
    pub sql: &'a str,
    /// When which rows come out.
    pub mode: OutputMode,
    /// Of its output rows with equal values in some columns, only the first comes out.
    pub drop_duplicates: Option<DropDuplicates>,
    /// For state that event time does not bound (full deduplication, joins without a time bound):
    /// how long it is kept, in microseconds of processing time.
    pub state_ttl_us: Option<i64>,
}

/// Spark's `dropDuplicates` and its like, on a query's output.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DropDuplicates {
    /// The columns that have to be equal, without regard to case; all if empty.
    pub columns: Vec<String>,
    /// How long a key is remembered.
    pub within: Within,
}

/// How long a key is remembered, so that its duplicates are known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Within {
    /// As Spark's `dropDuplicates`: until the watermark reaches the row's event time if that is
    /// among the columns; otherwise for [`QueryRequest::state_ttl_us`].
    Full,
    /// The same if event time is among the columns; otherwise as Spark's
    /// `dropDuplicatesWithinWatermark`: until the watermark has passed the row's event time by the
    /// watermark's own delay.
    #[default]
    Watermark,
    /// Until the watermark has passed the row's event time by so many microseconds.
    EventTime(i64),
    /// For so many microseconds after the row came.
    Wall(i64),
}

/// All that queries can read. A name means one thing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Catalog<'a> {
    /// The declared sources.
    pub sources: &'a [SourceTable],
    /// The queries that are planned already.
    pub queries: &'a [&'a QueryPlan],
    /// Tables that do not stream.
    pub tables: &'a [Arc<StaticTable>],
}

/// What a name in FROM means.
#[derive(Debug, Clone, Copy)]
pub(super) enum Found<'a> {
    Source(&'a SourceTable),
    Query(&'a QueryPlan),
    Table(&'a Arc<StaticTable>),
}

impl<'a> Catalog<'a> {
    fn all(&self) -> impl Iterator<Item = Found<'a>> + Clone {
        let queries = self.queries.iter().map(|query| Found::Query(query));
        let sources = self.sources.iter().map(Found::Source);
        queries.chain(sources).chain(self.tables.iter().map(Found::Table))
    }

    /// What `name` means: by its exact spelling, else without regard to case.
    pub(super) fn find(&self, name: &str) -> Result<Found<'a>, SqlError> {
        let found = self
            .all()
            .find(|found| found.name() == name)
            .or_else(|| self.all().find(|found| found.name().eq_ignore_ascii_case(name)));
        let Some(found) = found else {
            let (what, kind) = if self.queries.is_empty() && self.tables.is_empty() {
                ("source", "sources")
            } else {
                ("source, query or table", "sources, queries and tables")
            };
            let names = self.all().map(|found| found.name());
            return Err(SqlError::new(format!("unknown {what} '{name}'"))
                .hint(suggestion(name, names, kind)));
        };
        if let Found::Query(query) = found
            && query.mode != OutputMode::Append
            && query.is_stateful()
        {
            return Err(SqlError::new(format!(
                "query '{}' is in {} mode: its rows change after they came out, so no other query \
                 can read them",
                query.name, query.mode
            ))
            .hint("set mode = \"append\" on it, or write its SELECT as a subquery of this one"));
        }
        Ok(found)
    }
}

impl<'a> Found<'a> {
    pub(super) fn name(&self) -> &'a str {
        match self {
            Self::Source(source) => &source.name,
            Self::Query(query) => &query.name,
            Self::Table(table) => table.name(),
        }
    }

    pub(super) fn schema(&self) -> SchemaRef {
        match self {
            Self::Source(source) => Arc::clone(&source.schema),
            Self::Query(query) => Arc::clone(&query.output_schema),
            Self::Table(table) => table.schema(),
        }
    }
}
